//! Field lines, in a head and in a trailer section: where each has its name and its value.

use super::{Refusal, scan};

/// Reads one field line after the other, and goes on where the bytes ran out.
///
/// ```text
/// RFC 9112 sections 2.1 and 5, RFC 9110 sections 5.1 and 5.5
/// HTTP-message  = start-line CRLF *( field-line CRLF ) CRLF [ message-body ]
/// field-line    = field-name ":" OWS field-value OWS
/// field-name    = token
/// field-value   = *field-content
/// field-content = field-vchar [ 1*( SP / HTAB / field-vchar ) field-vchar ]
/// field-vchar   = VCHAR / obs-text
/// ```
///
/// `obs-fold` is refused (RFC 9112 section 5.2 allows that), and so is a line end that is not CRLF (section
/// 2.2 would allow a bare LF): both have hidden fields from one of two parsers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines {
    /// Where the current line begins.
    pub(super) start: usize,
    /// Where its colon stands, once it was seen.
    colon: Option<usize>,
    /// Everything of the line before this is known to be good.
    at: usize,
}

/// What [`Lines::next`] found.
pub(super) enum FieldLine {
    /// The bytes ended within a line.
    Incomplete,
    Field(Field),
    /// The empty line that ends the section, and what stands behind it.
    End(usize),
}

/// Where the parts of a field line stand.
pub(super) struct Field {
    /// The first byte of the name, which is at least one byte long.
    pub(super) name: usize,
    /// The colon, one past the name.
    pub(super) colon: usize,
    /// The first byte of the value, blanks taken off.
    pub(super) value: usize,
    /// One past the last byte of the value, blanks taken off.
    pub(super) end: usize,
}

impl Lines {
    /// Starts with a line at `start`.
    pub(super) fn starting(start: usize) -> Self {
        Self { start, colon: None, at: start }
    }

    /// Takes note that so many bytes before the current line were taken out.
    pub(super) fn move_up(&mut self, by: usize) {
        self.start -= by;
        self.at -= by;
        self.colon = self.colon.map(|colon| colon - by);
    }

    /// The next line. `bytes` may only have grown since the last call.
    #[inline]
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<FieldLine, Refusal> {
        let colon = match self.colon {
            Some(colon) => colon,
            None => {
                self.at = scan::run(bytes, self.at, scan::TCHAR);
                if bytes.get(self.at) != Some(&b':') || self.at == self.start {
                    return self.no_field(bytes);
                }
                *self.colon.insert(self.at)
            }
        };
        // The colon is text too.
        self.at = scan::text(bytes, self.at);
        match &bytes[self.at..] {
            [b'\r', b'\n', ..] => {}
            [] | [b'\r'] => return Ok(FieldLine::Incomplete),
            [b'\r', ..] => return Err(Refusal::BareCarriageReturn),
            [b'\n', ..] => return Err(Refusal::BareLineFeed),
            _ => return Err(Refusal::FieldValue),
        }
        let (value, end) = trim(bytes, colon + 1, self.at);
        let field = Field { name: self.start, colon, value, end };
        *self = Self::starting(self.at + 2);
        Ok(FieldLine::Field(field))
    }

    /// The line has no name with a colon behind it. It may be the empty line, or may yet become a field line.
    #[cold]
    fn no_field(&self, bytes: &[u8]) -> Result<FieldLine, Refusal> {
        let rest = &bytes[self.at..];
        if self.at > self.start {
            return match rest.first() {
                None => Ok(FieldLine::Incomplete),
                Some(b' ' | b'\t') => Err(Refusal::SpaceBeforeColon),
                Some(b'\r') => Err(Refusal::NoColon),
                Some(b'\n') => Err(Refusal::BareLineFeed),
                Some(_) => Err(Refusal::FieldName),
            };
        }
        match rest {
            [] | [b'\r'] => Ok(FieldLine::Incomplete),
            [b'\r', b'\n', ..] => Ok(FieldLine::End(self.at + 2)),
            [b'\r', ..] => Err(Refusal::BareCarriageReturn),
            [b'\n', ..] => Err(Refusal::BareLineFeed),
            [b' ' | b'\t', ..] => Err(Refusal::Folded),
            _ => Err(Refusal::FieldName),
        }
    }
}

/// Takes the optional whitespace off both ends. RFC 9110 section 5.6.3: `OWS = *( SP / HTAB )`
#[inline]
fn trim(bytes: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    while start < end && is_blank(bytes[start]) {
        start += 1;
    }
    while start < end && is_blank(bytes[end - 1]) {
        end -= 1;
    }
    (start, end)
}

/// SP or HTAB.
#[inline]
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The elements of a list, blanks taken off; empty ones too. RFC 9110 section 5.6.1:
/// `#element => [ element ] *( OWS "," OWS [ element ] )`
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(|element| {
        let (start, end) = trim(element, 0, element.len());
        &element[start..end]
    })
}
