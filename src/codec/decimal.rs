//! Decimal numbers as wires carry them: `1*DIGIT` (RFC 5234, section 3.6 and appendix B.1), nothing but
//! digits.
//!
//! `str::parse` also takes a leading `+`, which no length or port of HTTP allows: two parsers in a row that
//! disagree about it are how requests get smuggled.

/// The number these digits stand for. `None` for no digits, for anything but digits, and above [`u64::MAX`].
///
/// Leading zeros are allowed: a caller whose grammar refuses them says so itself.
#[must_use]
pub fn parse(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, &c| match c {
        b'0'..=b'9' => n.checked_mul(10)?.checked_add(u64::from(c - b'0')),
        _ => None,
    })
}

/// A number of JSON (RFC 8259 section 6) with its fraction cut off; above [`u64::MAX`] it is that. `None` below zero, and for
/// what is no number.
#[must_use]
pub fn whole(number: &str) -> Option<u64> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (digits, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    let size = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || size.is_empty() || ![digits, fraction, size].into_iter().all(are_digits) {
        return None;
    }
    let size = parse(size.as_bytes()).and_then(|n| i64::try_from(n).ok()).unwrap_or(i64::MAX);
    let exponent = if exponent.starts_with('-') { -size } else { size };
    let places = (digits.len() as i64).saturating_add(exponent);
    let mut rest = digits.bytes().chain(fraction.bytes());
    let mut n = 0u64;
    for _ in 0..places {
        let digit = rest.next();
        if n == u64::MAX || n == 0 && digit.is_none() {
            break;
        }
        n = n.saturating_mul(10).saturating_add(digit.map_or(0, |digit| u64::from(digit - b'0')));
    }
    Some(n)
}

/// The port that these digits stand for. `None` for what [`parse`] refuses, and above 65,535.
#[must_use]
pub fn parse_port(digits: &[u8]) -> Option<u16> {
    parse(digits)?.try_into().ok()
}

/// Appends `n`. Most numbers here have one or two digits.
#[inline]
pub fn write(n: u64, out: &mut Vec<u8>) {
    match n {
        0..10 => out.push(b'0' + n as u8),
        10..100 => out.extend_from_slice(&[b'0' + (n / 10) as u8, b'0' + (n % 10) as u8]),
        _ => write_long(n, out),
    }
}

fn write_long(mut n: u64, out: &mut Vec<u8>) {
    // As many as the largest number has.
    let mut digits = [0; 20];
    let mut at = digits.len();
    while n > 0 {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_parse(digits: &str, expected: Option<u64>) {
        assert_eq!(parse(digits.as_bytes()), expected, "{digits:?}");
    }

    #[test]
    fn digits_are_digits() {
        check_parse("0", Some(0));
        check_parse("7", Some(7));
        check_parse("1048576", Some(1_048_576));
        check_parse("007", Some(7));
        check_parse("0000000000000000000000000000001", Some(1));
        for bad in [
            "", "+5", "-5", " 5", "5 ", "5\t", "5,5", "0x5", "5.0", "5e1", "1_000", "a", "5\0", "/", ":", "٣",
        ] {
            check_parse(bad, None);
        }
    }

    #[test]
    fn numbers_past_64_bits_are_refused_not_wrapped() {
        check_parse("18446744073709551615", Some(u64::MAX));
        check_parse("18446744073709551616", None);
        check_parse("18446744073709551620", None);
        check_parse("184467440737095516150", None);
        check_parse("99999999999999999999999999", None);
    }

    #[test]
    fn a_number_is_cut_to_a_whole_one() {
        for (number, expected) in [
            ("0", Some(0)),
            ("1800000000", Some(1_800_000_000)),
            ("1.9999999999999999999", Some(1)),
            ("9007199254740993", Some(9_007_199_254_740_993)),
            ("1.8e9", Some(1_800_000_000)),
            ("17999999999999999999999E-13", Some(1_799_999_999)),
            ("0.00012e+5", Some(12)),
            ("5e-1", Some(0)),
            ("5e-99999999999999999999", Some(0)),
            ("0e99999999999999999999", Some(0)),
            ("1e400", Some(u64::MAX)),
            ("1e99999999999999999999", Some(u64::MAX)),
            ("18446744073709551615.5", Some(u64::MAX)),
            ("18446744073709551616", Some(u64::MAX)),
            ("-1", None),
            ("-0", None),
            ("", None),
            (".5", None),
            ("1e", None),
            ("1e+-5", None),
            ("1e5e5", None),
            ("1.5.5", None),
            ("inf", None),
            ("0x10", None),
        ] {
            assert_eq!(whole(number), expected, "{number}");
        }
    }

    #[track_caller]
    fn check_write(n: u64) {
        let mut out = b"kept ".to_vec();
        write(n, &mut out);
        assert_eq!(String::from_utf8(out), Ok(format!("kept {n}")));
    }

    #[test]
    fn writes_what_format_writes() {
        (0..=1_000).for_each(check_write);
        for power in (0..=19).map(|exponent| 10u64.pow(exponent)) {
            for n in [power - 1, power, power + 1, power.saturating_mul(9)] {
                check_write(n);
            }
        }
        check_write(u64::MAX);
    }

    #[test]
    fn a_port_has_16_bits() {
        for (digits, port) in [
            ("0", Some(0)),
            ("65535", Some(65_535)),
            ("065535", Some(65_535)),
            ("65536", None),
            ("", None),
            ("+1", None),
        ] {
            assert_eq!(parse_port(digits.as_bytes()), port, "{digits:?}");
        }
    }
}
