//! `application/x-www-form-urlencoded` (WHATWG URL, section 5) over percent-encoding (RFC 3986, section 2.1).
//!
//! Stricter than WHATWG in one thing: there, a `%` without two hexadecimal digits stands for itself. Here it
//! is [`Invalid`], for it comes from a client that forgot to encode, or from one that hopes a proxy and a
//! server will read the same query differently.

use super::{Invalid, hex};

/// The names and values of a query, still encoded, in order. A piece without `=` is a name with an empty
/// value; an empty piece is none at all.
pub fn pairs(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|&c| c == b'&').filter(|piece| !piece.is_empty()).map(name_and_value)
}

fn name_and_value(piece: &[u8]) -> (&[u8], &[u8]) {
    match piece.iter().position(|&c| c == b'=') {
        Some(at) => (&piece[..at], &piece[at + 1..]),
        None => (piece, &[]),
    }
}

/// Appends a name or a value decoded: `+` is a space, `%` and two digits are one byte.
/// An error is [`Invalid`] when a `%` has no two digits; `out` is then as it was.
pub fn decode(raw: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    decode_with(b' ', raw, out)
}

/// As [`decode`], for what is no query: there `+` is itself (RFC 3986, section 2.2).
pub fn decode_path(raw: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    decode_with(b'+', raw, out)
}

fn decode_with(plus: u8, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    let former = out.len();
    let mut rest = raw;
    while let Some(plain) = rest.iter().position(|c| matches!(c, b'%' | b'+')) {
        out.extend_from_slice(&rest[..plain]);
        let Some((byte, after)) = next(&rest[plain..]) else {
            out.truncate(former);
            return Err(Invalid);
        };
        out.push(if rest[plain] == b'+' { plus } else { byte });
        rest = after;
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// Whether a name or a value decodes to `plain`: `%69d` is `id`.
#[must_use]
pub fn is(raw: &[u8], plain: &[u8]) -> bool {
    let mut rest = raw;
    for &expected in plain {
        match next(rest) {
            Some((byte, after)) if byte == expected => rest = after,
            _ => return false,
        }
    }
    rest.is_empty()
}

/// The first byte decoded, and what follows it. `None` at the end, and for a `%` without two digits.
fn next(raw: &[u8]) -> Option<(u8, &[u8])> {
    match *raw {
        [b'%', high, low, ref after @ ..] => Some((hex::digit(high)? << 4 | hex::digit(low)?, after)),
        [] | [b'%', ..] => None,
        [b'+', ref after @ ..] => Some((b' ', after)),
        [plain, ref after @ ..] => Some((plain, after)),
    }
}

/// Appends `bytes` percent-encoded, all but the unreserved characters of RFC 3986, section 2.3: safe in every
/// part of a URL. A space becomes `%20`, which means a space in forms and outside of them; `+` means one in
/// forms alone.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.iter().fold(true, |plain, &c| plain & is_unreserved(c)) {
        return out.extend_from_slice(bytes);
    }
    let mut rest = bytes;
    while let Some(plain) = rest.iter().position(|&c| !is_unreserved(c)) {
        out.extend_from_slice(&rest[..plain]);
        let byte = rest[plain];
        out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        rest = &rest[plain + 1..];
    }
    out.extend_from_slice(rest);
}

/// Upper case, as section 2.1 asks of those who write.
const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// `unreserved = ALPHA / DIGIT / "-" / "." / "_" / "~"`
const fn is_unreserved(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_pairs(query: &str, expected: &[(&str, &str)]) {
        let expected = expected.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        assert!(pairs(query.as_bytes()).eq(expected), "{query:?}");
    }

    #[test]
    fn splits_at_every_ampersand_and_the_first_equals_sign() {
        check_pairs("", &[]);
        check_pairs("&", &[]);
        check_pairs("&&&", &[]);
        check_pairs("id=v", &[("id", "v")]);
        check_pairs("id=v&device=tv", &[("id", "v"), ("device", "tv")]);
        check_pairs("&id=v&&device=tv&", &[("id", "v"), ("device", "tv")]);
        check_pairs("id", &[("id", "")]);
        check_pairs("id=", &[("id", "")]);
        check_pairs("=", &[("", "")]);
        check_pairs("=v", &[("", "v")]);
        check_pairs("id=a=b==", &[("id", "a=b==")]);
        check_pairs("id=a;b=c", &[("id", "a;b=c")]);
        check_pairs("id=a?b/c", &[("id", "a?b/c")]);
        check_pairs("id=1&id=2", &[("id", "1"), ("id", "2")]);
        check_pairs("%69d=%26%3D+", &[("%69d", "%26%3D+")]);
    }

    /// What is in `out` already stays there, and stays alone when the text is refused.
    #[track_caller]
    fn check_decode(raw: &str, expected: Result<&[u8], Invalid>) {
        let mut out = b"kept ".to_vec();
        assert_eq!(decode(raw.as_bytes(), &mut out), expected.map(|_| ()), "{raw:?}");
        assert_eq!(out, [b"kept ", expected.unwrap_or_default()].concat(), "{raw:?}");
        if let Ok(plain) = expected {
            assert!(is(raw.as_bytes(), plain), "{raw:?}");
        }
    }

    #[test]
    fn decodes_plus_and_percent() {
        check_decode("", Ok(b""));
        check_decode("plain-Text_1.~", Ok(b"plain-Text_1.~"));
        check_decode("a+b++c", Ok(b"a b  c"));
        check_decode("+", Ok(b" "));
        check_decode("%2B%2b", Ok(b"++"));
        check_decode("%20a%20", Ok(b" a "));
        check_decode("100%25", Ok(b"100%"));
        check_decode("%2541", Ok(b"%41"));
        check_decode("%00%0D%0A%ff", Ok(b"\0\r\n\xff"));
        check_decode("%C3%a9", Ok("é".as_bytes()));
        check_decode("é", Ok("é".as_bytes()));
        check_decode("a=b?c/d", Ok(b"a=b?c/d"));
    }

    #[test]
    fn outside_of_a_query_plus_is_itself() {
        for (raw, expected) in [
            ("", Ok("")),
            ("+", Ok("+")),
            ("a+b%2B%20+", Ok("a+b+ +")),
            ("a+%", Err(Invalid)),
            ("%+a", Err(Invalid)),
        ] {
            let mut out = b"kept ".to_vec();
            assert_eq!(decode_path(raw.as_bytes(), &mut out), expected.map(|_| ()), "{raw:?}");
            assert_eq!(out, format!("kept {}", expected.unwrap_or_default()).into_bytes(), "{raw:?}");
        }
    }

    #[test]
    fn a_percent_sign_without_two_digits_is_refused() {
        for bad in
            ["%", "%4", "%%", "%%41", "%g1", "%1g", "%+1", "%1+", "% 1", "%-1", "%0x41", "%u0041", "%4%31"]
        {
            check_decode(bad, Err(Invalid));
            check_decode(&format!("plain+%41{bad}"), Err(Invalid));
        }
        check_decode("100%", Err(Invalid));
        check_decode("100% sure", Err(Invalid));
    }

    #[track_caller]
    fn check_is(raw: &str, plain: &str, expected: bool) {
        assert_eq!(is(raw.as_bytes(), plain.as_bytes()), expected, "{raw:?} and {plain:?}");
    }

    #[test]
    fn compares_what_was_meant_not_how_it_was_written() {
        check_is("", "", true);
        check_is("id", "id", true);
        check_is("%69d", "id", true);
        check_is("%69%64", "id", true);
        check_is("a+b%2B", "a b+", true);
        check_is("a+b", "a+b", false);
        check_is("%69d", "%69d", false);
        check_is("ID", "id", false);
        check_is("", "id", false);
        check_is("id", "", false);
        check_is("i", "id", false);
        check_is("idx", "id", false);
        check_is("id%00", "id", false);
        check_is("id%", "id", false);
        check_is("id%4", "id", false);
        check_is("%", "%", false);
        check_is("%6", "6", false);
    }

    #[track_caller]
    fn check_encode(bytes: &[u8], expected: &str) {
        let mut out = b"kept ".to_vec();
        encode(bytes, &mut out);
        assert_eq!(String::from_utf8(out), Ok(format!("kept {expected}")));
        check_decode(expected, Ok(bytes));
    }

    #[test]
    fn encodes_all_but_the_unreserved() {
        check_encode(b"", "");
        check_encode(b"AZaz09-._~", "AZaz09-._~");
        check_encode(b"a b+c", "a%20b%2Bc");
        check_encode(b"/?#[]@:", "%2F%3F%23%5B%5D%40%3A");
        check_encode(b"!$&'()*,;=", "%21%24%26%27%28%29%2A%2C%3B%3D");
        check_encode(b"%", "%25");
        check_encode(b"\0\r\n\x7f\xff", "%00%0D%0A%7F%FF");
        check_encode("é世".as_bytes(), "%C3%A9%E4%B8%96");
        check_encode(&(0..=u8::MAX).collect::<Vec<_>>()[b'0'.into()..=b'9'.into()], "0123456789");
    }

    #[test]
    fn every_byte_survives_the_way_there_and_back() {
        for byte in 0..=u8::MAX {
            let mut out = Vec::new();
            encode(&[byte], &mut out);
            assert!(is(&out, &[byte]) && out.iter().all(u8::is_ascii_graphic), "{byte}");
        }
    }
}
