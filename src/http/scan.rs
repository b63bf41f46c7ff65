//! Byte classes, and the loops that run over them.

/// ```text
/// RFC 9110 section 5.6.2
/// token = 1*tchar
/// tchar = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." / "^" / "_" / "`" / "|" / "~" / DIGIT / ALPHA
/// ```
pub(super) const TCHAR: u8 = 1;
/// Bytes of a request target that need no second look: visible ASCII without `#`, `\`, `%` and `?`.
///
/// RFC 3986 section 2 also forbids `"`, `<`, `>`, `^`, `` ` ``, `{`, `|` and `}`. Browsers send some of them
/// raw, and no two parsers disagree on where a target with them ends, so they pass.
pub(super) const TARGET: u8 = 2;
/// RFC 3986 section 3.2.2, without `%`: `reg-name = *( unreserved / pct-encoded / sub-delims )`
pub(super) const REG_NAME: u8 = 4;

/// The classes of every byte.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = classes_of(byte as u8);
        byte += 1;
    }
    classes
};

const fn classes_of(byte: u8) -> u8 {
    let mut classes = 0;
    if byte.is_ascii_alphanumeric() || within(b"!#$%&'*+-.^_`|~", byte) {
        classes |= TCHAR;
    }
    if byte.is_ascii_graphic() && !within(b"#\\%?", byte) {
        classes |= TARGET;
    }
    if byte.is_ascii_alphanumeric() || within(b"-._~!$&'()*+,;=", byte) {
        classes |= REG_NAME;
    }
    classes
}

const fn within(set: &[u8], byte: u8) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == byte {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether all of `bytes` is one token: `token = 1*tchar`.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && run(bytes, 0, TCHAR) == bytes.len()
}

pub(super) fn is_tchar(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TCHAR != 0
}

/// Where the bytes of a class that begin at `from` end.
#[inline]
pub(super) fn run(bytes: &[u8], from: usize, class: u8) -> usize {
    let is_outside = |byte: u8| CLASSES[usize::from(byte)] & class == 0;
    let mut at = from;
    // Whether there is a next byte is asked once in four bytes.
    while let Some(&[first, second, third, fourth]) = bytes[at..].first_chunk() {
        match () {
            () if is_outside(first) => return at,
            () if is_outside(second) => return at + 1,
            () if is_outside(third) => return at + 2,
            () if is_outside(fourth) => return at + 3,
            () => at += 4,
        }
    }
    while at < bytes.len() && !is_outside(bytes[at]) {
        at += 1;
    }
    at
}

/// Where the text of a field value that begins at `from` ends: at the first control character but HTAB.
///
/// RFC 9110 section 5.5: `field-content` is made of `VCHAR`, `obs-text` (0x80 and above), SP and HTAB.
#[inline]
pub(super) fn text(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        at = before_control(bytes, at);
        if bytes.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
}

/// Whether a byte of text: [`text`] runs over it.
pub(super) fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

/// Where the first control character at or behind `from` is; eight bytes a step.
#[inline]
fn before_control(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(word) = bytes[at..].first_chunk() {
        let controls = controls(u64::from_le_bytes(*word));
        if controls != 0 {
            return at + controls.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < bytes.len() && !bytes[at].is_ascii_control() {
        at += 1;
    }
    at
}

/// Sets the top bit of each byte below 0x20 or equal to 0x7F. A borrow may set wrong bits, but only above the
/// lowest right one, which is all that is asked for.
#[inline]
fn controls(word: u64) -> u64 {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    const TOP: u64 = EACH << 7;
    let below_space = word.wrapping_sub(EACH * 0x20) & !word;
    let delete = word ^ (EACH * 0x7F);
    let is_delete = delete.wrapping_sub(EACH) & !delete;
    (below_space | is_delete) & TOP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_at_every_control_in_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..20 {
                let mut line = [0xFF; 20];
                line[place] = byte;
                let control = (byte < 0x20 && byte != b'\t') || byte == 0x7F;
                assert_eq!(text(&line, 0), if control { place } else { 20 }, "byte {byte:#x} at {place}");
                assert_eq!(is_text(byte), !control, "byte {byte:#x}");
            }
        }
    }

    #[test]
    fn the_first_of_two_controls_counts() {
        for (first, second) in (0..8).flat_map(|a| (a + 1..8).map(move |b| (a, b))) {
            for (one, other) in [(0x00, 0x7F), (0x7F, 0x00), (0x1F, 0x1F), (0x7F, 0x7F)] {
                let mut line = [b' '; 8];
                (line[first], line[second]) = (one, other);
                assert_eq!(text(&line, 0), first);
            }
        }
    }

    #[test]
    fn classes_hold_what_the_grammar_says() {
        let count = |class| CLASSES.iter().filter(|&classes| classes & class != 0).count();
        assert_eq!((count(TCHAR), count(TARGET), count(REG_NAME)), (62 + 15, 94 - 4, 62 + 4 + 11));
        assert!(is_token(b"X-Request-Id") && !is_token(b"") && !is_token(b"a b") && !is_token(b"a/b"));
        assert!(is_tchar(b'|') && !is_tchar(b'"') && !is_tchar(b':') && !is_tchar(0x80));
    }
}
