//! Text that people can read: UTF-8 without control characters. Ids, devices and user-ids are made of it.

/// Bytes of a user-id at most.
pub const MAX_USER_ID: usize = 256;

/// Why bytes are no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextError {
    Utf8,
    /// They hold a control character.
    Control,
}

/// Holds `bytes` to the rule.
/// An error is the first rule that they break.
pub fn check(bytes: &[u8]) -> Result<(), TextError> {
    if is_printable_ascii(bytes) {
        return Ok(());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| TextError::Utf8)?;
    if text.chars().any(char::is_control) { Err(TextError::Control) } else { Ok(()) }
}

/// Nearly all names are printable ASCII, and then nothing else need be looked at. This loop and the next have no early end,
/// so that the compiler compares sixteen bytes at a time.
fn is_printable_ascii(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |so_far, byte| so_far & matches!(byte, b' '..=b'~'))
}

/// Whether there is a control character of ASCII in it: CTL of RFC 5234 appendix B.1.
#[must_use]
pub fn has_control(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |so_far, byte| so_far | byte.is_ascii_control())
}

/// Whether `bytes` can be a user-id: text without a colon (RFC 7617 section 2), of 1 to [`MAX_USER_ID`] bytes.
#[must_use]
pub fn is_user_id(bytes: &[u8]) -> bool {
    (1..=MAX_USER_ID).contains(&bytes.len()) && check(bytes).is_ok() && !bytes.contains(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_utf8_without_control_characters() {
        for (bytes, expected) in [
            (&b""[..], Ok(())),
            (b"a b~", Ok(())),
            ("Żółw €".as_bytes(), Ok(())),
            (b"a\0", Err(TextError::Control)),
            (b"\x7f", Err(TextError::Control)),
            ("a\u{85}".as_bytes(), Err(TextError::Control)),
            (b"\xff", Err(TextError::Utf8)),
            (b"\xc3", Err(TextError::Utf8)),
        ] {
            assert_eq!(check(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn knows_who_can_be_a_user() {
        for text in ["a", "alice", "Zoë", "a b", "a@b.example", "-", "..", &"x".repeat(256), &"é".repeat(128)]
        {
            assert!(is_user_id(text.as_bytes()), "{text}");
        }
        for text in ["", ":", "a:b", "a\n", "a\0", "\u{7f}", "\u{85}", &"x".repeat(257), &"é".repeat(129)] {
            assert!(!is_user_id(text.as_bytes()), "{text:?}");
        }
        assert!(!is_user_id(b"\xff"));
    }
}
