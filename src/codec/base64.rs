//! Base 64 (RFC 4648): the standard alphabet with padding (section 4), and for digests the one for URLs and
//! file names without (section 5).
//!
//! The decoder takes exactly what the encoder writes, so that no two texts stand for the same bytes: padding
//! is where it belongs or the text is refused, and so are bits left over that are not zero (section 3.5) and
//! anything outside the alphabet, line breaks included (section 3.3).

/// The text is not the encoding of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// Appends `bytes` in the standard alphabet, padded.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        out.extend_from_slice(&quad(three, STANDARD)[..=three.len()]);
        out.extend_from_slice(&b"=="[..3 - three.len()]);
    }
}

/// Appends the bytes that a padded text in the standard alphabet stands for.
///
/// # Errors
/// [`Invalid`] when it stands for none; `out` is then as it was.
pub fn decode(encoded: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    let former = out.len();
    let decoded = decode_whole(without_padding(encoded)?, out);
    if decoded.is_err() {
        out.truncate(former);
    }
    decoded
}

/// A 256-bit digest in the alphabet for URLs and file names, without padding. It is written in place: a check of a
/// signature allocates nothing.
#[must_use]
pub fn encode_url_digest(digest: &[u8; 32]) -> [u8; 43] {
    let mut out = [0; 43];
    for (symbols, three) in out.chunks_mut(4).zip(digest.chunks(3)) {
        symbols.copy_from_slice(&quad(three, URL)[..symbols.len()]);
    }
    out
}

/// A third `=`, or one in the middle, stays in the text and is refused with it: no alphabet has that symbol.
fn without_padding(encoded: &[u8]) -> Result<&[u8], Invalid> {
    if !encoded.len().is_multiple_of(4) {
        return Err(Invalid);
    }
    let ([symbols @ .., b'=', b'='] | [symbols @ .., b'='] | symbols) = encoded;
    Ok(symbols)
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The value of each byte in the standard alphabet.
static VALUES: [u32; 256] = {
    let mut values = [NO_SYMBOL; 256];
    let mut value = 0;
    while value < 64 {
        values[STANDARD[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// What [`VALUES`] holds for a byte that is no symbol: wherever it stands among four, a bit of it comes to lie above the
/// 24 that they make.
const NO_SYMBOL: u32 = 1 << 24 | 1 << 18 | 1 << 12 | 1 << 6;
const BITS: u32 = 24;

/// Four symbols for up to three bytes, of which one more than there are bytes mean something.
fn quad(three: &[u8], alphabet: &[u8; 64]) -> [u8; 4] {
    let byte = |i: usize| three.get(i).copied().unwrap_or(0);
    let bits = u32::from_be_bytes([0, byte(0), byte(1), byte(2)]);
    [bits >> 18, bits >> 12, bits >> 6, bits].map(|six| alphabet[(six & 63) as usize])
}

/// As `decode`, but an error leaves `out` with whatever it got to.
fn decode_whole(symbols: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    out.reserve(symbols.len() * 3 / 4);
    let (quads, rest) = symbols.as_chunks::<4>();
    let start = out.len();
    out.resize(start + quads.len() * 3, 0);
    let (triples, _) = out[start..].as_chunks_mut::<3>();
    let mut seen = 0;
    for (triple, quad) in triples.iter_mut().zip(quads) {
        *triple = bytes_of(*quad, &mut seen);
    }
    decode_rest(rest, &mut seen, out)?;
    if seen >> BITS == 0 { Ok(()) } else { Err(Invalid) }
}

/// One symbol holds no whole byte; of two or three, the bits past the last whole byte must be zero.
fn decode_rest(symbols: &[u8], seen: &mut u32, out: &mut Vec<u8>) -> Result<(), Invalid> {
    match *symbols {
        [] => {}
        [a, b] => match bytes_of([a, b, b'A', b'A'], seen) {
            [first, 0, 0] => out.push(first),
            _ => return Err(Invalid),
        },
        [a, b, c] => match bytes_of([a, b, c, b'A'], seen) {
            [first, second, 0] => out.extend_from_slice(&[first, second]),
            _ => return Err(Invalid),
        },
        _ => return Err(Invalid),
    }
    Ok(())
}

/// Three bytes from four symbols. `seen` gathers all bits: an unknown symbol shows in it to the end.
fn bytes_of(quad: [u8; 4], seen: &mut u32) -> [u8; 3] {
    let [a, b, c, d] = quad.map(|symbol| VALUES[usize::from(symbol)]);
    let bits = a << 18 | b << 12 | c << 6 | d;
    *seen |= bits;
    let [_, bytes @ ..] = bits.to_be_bytes();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in `out` already stays there, and stays alone when the text is refused.
    #[track_caller]
    fn check_decode(encoded: &str, expected: Result<&[u8], Invalid>) {
        let mut out = b"kept ".to_vec();
        assert_eq!(decode(encoded.as_bytes(), &mut out), expected.map(|_| ()), "{encoded:?}");
        assert_eq!(out, [b"kept ", expected.unwrap_or_default()].concat(), "{encoded:?}");
    }

    #[track_caller]
    fn check(bytes: &[u8], text: &str) {
        let mut out = b"kept ".to_vec();
        encode(bytes, &mut out);
        assert_eq!(String::from_utf8(out), Ok(format!("kept {text}")));
        check_decode(text, Ok(bytes));
    }

    #[test]
    fn speaks_the_vectors_of_section_10() {
        check(b"", "");
        check(b"f", "Zg==");
        check(b"fo", "Zm8=");
        check(b"foo", "Zm9v");
        check(b"foob", "Zm9vYg==");
        check(b"fooba", "Zm9vYmE=");
        check(b"foobar", "Zm9vYmFy");
        check(b"Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        check(b"\xfb\xff\xfe", "+//+");
        check(b"\xff", "/w==");
        check(b"\0\0", "AAA=");
    }

    #[test]
    fn the_alphabets_differ_in_the_last_two_symbols() {
        for foreign in ["-__-", "AA-A", "AAA_", "_w=="] {
            check_decode(foreign, Err(Invalid));
        }
        for seed in 0..=u8::MAX {
            let digest = core::array::from_fn(|i| seed.wrapping_mul(i as u8 | 1) ^ 0xfb);
            let mut standard = Vec::new();
            encode(&digest, &mut standard);
            let standard = String::from_utf8(standard).unwrap();
            let url = encode_url_digest(&digest);
            assert_eq!(
                str::from_utf8(&url),
                Ok(&*standard.replace('+', "-").replace('/', "_").replace('=', ""))
            );
        }
    }

    #[test]
    fn padding_is_required_and_only_at_the_end() {
        let unpadded = ["Z", "Zg", "Zg=", "Zm8", "Zm9vYg", "Zm9vYmE", "Zm9vY"];
        let overpadded = ["=", "==", "===", "====", "Z===", "Zg===", "Zm8==", "Zm9v=", "Zm9v==", "Zm9v===="];
        let misplaced = ["Zg==Zg==", "Zm8=Zm8=", "=Zm8", "Z=m8", "Zm=8", "Zg=A", "=A==", "Zm9v=A=="];
        for bad in [&unpadded[..], &overpadded, &misplaced].concat() {
            check_decode(bad, Err(Invalid));
        }
    }

    #[test]
    fn bits_left_over_must_be_zero() {
        for last in ["h", "i", "k", "o", "v"] {
            check_decode(&format!("Z{last}=="), Err(Invalid));
        }
        for last in ["9", "+", "/"] {
            check_decode(&format!("Zm{last}="), Err(Invalid));
        }
    }

    #[test]
    fn every_byte_outside_the_alphabet_is_refused_everywhere() {
        for byte in (0..=u8::MAX).filter(|&c| !c.is_ascii_alphanumeric()) {
            for at in 0..7 {
                let mut text = *b"QUJDREU=";
                text[at] = byte;
                let known = at < 6 && matches!(byte, b'+' | b'/');
                assert_eq!(decode(&text, &mut Vec::new()).is_ok(), known, "{}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn what_was_encoded_decodes_to_itself_at_every_length() {
        let bytes: Vec<u8> = (0..=u8::MAX).rev().collect();
        for length in 0..=bytes.len() {
            let mut text = Vec::new();
            encode(&bytes[..length], &mut text);
            check_decode(&String::from_utf8_lossy(&text), Ok(&bytes[..length]));
        }
    }
}
