//! Base 16 (RFC 4648, section 8): two digits a byte.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends two lower-case digits for every byte.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len() * 2, 0);
    let (pairs, _) = out[start..].as_chunks_mut();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
}

/// The eight lower-case digits of a number: all at once, each in a byte of one word, since every response has some.
#[must_use]
pub const fn digits(number: u32) -> [u8; 8] {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    let mut word = number as u64;
    word = (word | word << 16) & 0x0000_FFFF_0000_FFFF;
    word = (word | word << 8) & 0x00FF_00FF_00FF_00FF;
    word = (word | word << 4) & 0x0F0F_0F0F_0F0F_0F0F;
    let letters = (word + 6 * EACH) >> 4 & EACH;
    (word + b'0' as u64 * EACH + letters * (b'a' - b'0' - 10) as u64).to_be_bytes()
}

/// The `N` bytes that exactly `2 * N` digits of either case stand for.
#[must_use]
pub fn decode<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, odd) = digits.as_chunks::<2>();
    if pairs.len() != N || !odd.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// The value of one digit of either case, below 16.
#[must_use]
pub const fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_bytes<const N: usize>(digits: &str, expected: Option<[u8; N]>) {
        assert_eq!(decode(digits.as_bytes()), expected, "{digits:?}");
        if let Some(bytes) = expected {
            let mut out = b"kept ".to_vec();
            encode(&bytes, &mut out);
            assert_eq!(out, format!("kept {}", digits.to_lowercase()).into_bytes());
        }
    }

    #[test]
    fn decodes_exactly_the_bytes_asked_for() {
        check_bytes("", Some([]));
        check_bytes("00", Some([0]));
        check_bytes("666f6f626172", Some(*b"foobar"));
        check_bytes("DeadBeef", Some([0xde, 0xad, 0xbe, 0xef]));
        check_bytes("09afAF", Some([0x09, 0xaf, 0xaf]));
        check_bytes::<1>("", None);
        check_bytes::<1>("0", None);
        check_bytes::<1>("000", None);
        check_bytes::<1>("0000", None);
        check_bytes::<0>("00", None);
        for bad in ["0g", "g0", " 0", "0 ", "+1", "-1", "0x", "0/", "0:", "0@", "0G", "0`", "é"] {
            check_bytes::<1>(bad, None);
        }
    }

    #[test]
    fn writes_the_digits_of_a_number() {
        for number in (0..=u32::MAX).step_by(99_991).chain([9, 10, 0x9A9A_A9A9, u32::MAX]) {
            assert_eq!(String::from_utf8_lossy(&digits(number)), format!("{number:08x}"));
        }
    }

    #[test]
    fn every_byte_is_a_digit_exactly_when_std_says_so() {
        for c in 0..=u8::MAX {
            assert_eq!(digit(c).map(u32::from), char::from(c).to_digit(16), "{c}");
        }
    }
}
