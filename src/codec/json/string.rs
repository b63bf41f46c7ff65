//! What stands between the quotes of a string (RFC 8259, section 7), read and written.

use std::iter;

use crate::codec::{Append, append, hex};

/// A valid string, or a member's name, as written between its quotes.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    pub(super) raw: &'a str,
    /// Whether `raw` holds a backslash.
    pub(super) escaped: bool,
}

impl<'a> Text<'a> {
    /// What it means, if it was written without escapes: as nearly all text is.
    #[must_use]
    pub fn plain(&self) -> Option<&'a str> {
        (!self.escaped).then_some(self.raw)
    }

    /// Whether it means `plain`, however it was written.
    #[must_use]
    pub fn is(&self, plain: &str) -> bool {
        if self.escaped { self.chars().eq(plain.chars()) } else { self.raw == plain }
    }

    /// Whether both mean the same.
    #[must_use]
    pub fn means(&self, other: &Self) -> bool {
        if self.escaped || other.escaped { self.chars().eq(other.chars()) } else { self.raw == other.raw }
    }

    /// Appends what it means.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self.plain() {
            Some(plain) => out.extend_from_slice(plain.as_bytes()),
            None => self.chars().for_each(|c| out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes())),
        }
    }

    /// The characters it means.
    pub fn chars(&self) -> impl Iterator<Item = char> + use<'a> {
        let mut rest = self.raw;
        iter::from_fn(move || {
            let written = rest.chars().next()?;
            let (meant, length) = unescape(rest.as_bytes()).unwrap_or((written, written.len_utf8()));
            rest = &rest[length..];
            Some(meant)
        })
    }
}

/// Text that is appended as the string that means it, quotes and all. Only what must be escaped is.
///
/// It is UTF-8, taken as bytes, so that a caller that has checked them once need not check them again for a `&str`.
pub struct Quoted<'a>(pub &'a [u8]);

impl Append for Quoted<'_> {
    fn append(self, out: &mut Vec<u8>) {
        out.reserve(self.0.len() + 2);
        append!(out, "\"", Inside(self.0), "\"");
    }
}

/// Text that is appended as what stands between the quotes of that string.
pub struct Inside<'a>(pub &'a [u8]);

impl Append for Inside<'_> {
    fn append(self, out: &mut Vec<u8>) {
        let mut rest = self.0;
        loop {
            let (plain, special) = rest.split_at(plain_run(rest));
            out.extend_from_slice(plain);
            let Some((&c, after)) = special.split_first() else {
                return;
            };
            write_escaped(c, out);
            rest = after;
        }
    }
}

fn write_escaped(c: u8, out: &mut Vec<u8>) {
    let letter = match c {
        b'"' | b'\\' => c,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(b"\\u00");
            return hex::encode(&[c], out);
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

/// How many bytes come before the first that cannot stand for itself in a string.
///
/// Eight bytes at a time, the last eight perhaps a second time.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let special = |&c: &u8| matches!(c, b'"' | b'\\' | 0..b' ');
    let Some(last) = bytes.last_chunk() else {
        return bytes.iter().position(special).unwrap_or(bytes.len());
    };
    let (eights, _) = bytes.as_chunks();
    for (i, eight) in eights.iter().enumerate() {
        if let Some(at) = first_special(*eight) {
            return 8 * i + at;
        }
    }
    first_special(*last).map_or(bytes.len(), |at| bytes.len() - 8 + at)
}

/// Where the first byte is that cannot stand for itself.
///
/// Of each byte the highest bit says whether it is one. A borrow may set that bit of a byte above such a one, which does
/// not matter: the lowest counts.
fn first_special(eight: [u8; 8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let bytes = u64::from_le_bytes(eight);
    let below = |bytes: u64, bound: u64| bytes.wrapping_sub(ONES * bound) & !bytes;
    let is = |c: u8| below(bytes ^ (ONES * u64::from(c)), 1);
    let special = (below(bytes, 0x20) | is(b'"') | is(b'\\')) & (ONES << 7);
    (special != 0).then(|| special.trailing_zeros() as usize / 8)
}

/// The character that the escape at the beginning means, and the escape's length; `None` without a valid one.
pub(super) fn unescape(text: &[u8]) -> Option<(char, usize)> {
    let [b'\\', c, ..] = *text else {
        return None;
    };
    let meant = match c {
        b'"' | b'\\' | b'/' => char::from(c),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unescape_utf16(text),
        _ => return None,
    };
    Some((meant, 2))
}

/// `\uXXXX` for one character, or two of them in a row for a surrogate pair.
fn unescape_utf16(text: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        hex::decode(digits).map(u16::from_be_bytes)
    };
    let first = unit(0)?;
    if let Some(meant) = char::from_u32(first.into()) {
        return Some((meant, 6));
    }
    let meant = char::decode_utf16([first, unit(6)?]).next()?.ok()?;
    Some((meant, 12))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json::members;

    #[track_caller]
    fn check_is(written: &str, plain: &str, expected: bool) {
        let mut seen = None;
        assert_eq!(
            members(format!("{{{written}:0}}").as_bytes(), |name, _| seen = Some(name.is(plain))),
            Ok(())
        );
        assert_eq!(seen, Some(expected), "{written} and {plain:?}");
    }

    #[test]
    fn text_is_compared_by_what_it_means() {
        check_is(r#""time""#, "time", true);
        check_is(r#""t\u0069me""#, "time", true);
        check_is(r#""""#, "", true);
        check_is(r#""\\""#, "\\", true);
        check_is(r#""\/""#, "/", true);
        check_is(r#""\u00e9""#, "é", true);
        check_is(r#""\ud83d\ude00""#, "\u{1f600}", true);
        check_is(r#""Time""#, "time", false);
        check_is(r#""tim""#, "time", false);
        check_is(r#""t\u0069m""#, "time", false);
        check_is(r#""t\u0069mes""#, "time", false);
        check_is(r#""\n""#, r"\n", false);
        check_is(r#""\u0000""#, "", false);
        check_is(r#""\u0065\u0301""#, "é", false);
    }

    #[track_caller]
    fn check_written(text: &str, expected: &str) {
        let mut out = b"kept ".to_vec();
        Quoted(text.as_bytes()).append(&mut out);
        assert_eq!(String::from_utf8(out), Ok(format!("kept {expected}")));
        check_is(expected, text, true);
    }

    #[test]
    fn writes_strings_that_read_back() {
        check_written("", r#""""#);
        check_written("video-42", r#""video-42""#);
        check_written("\"\\\"", r#""\"\\\"""#);
        check_written("\u{8}\u{c}\n\r\t", r#""\b\f\n\r\t""#);
        check_written("a\0b\u{1}\u{1f}c\u{7f}", "\"a\\u0000b\\u0001\\u001fc\u{7f}\"");
        check_written("é世\u{1f600}/\u{2028}", "\"é世\u{1f600}/\u{2028}\"");
        check_written("a long one, then \" and more of it", r#""a long one, then \" and more of it""#);
    }
}
