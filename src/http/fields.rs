//! What the fields of a head mean: which host is asked for, how the body is framed, how long the connection
//! lives.

use super::line::{Field, list};
use super::{Framing, Head, Refusal, Span, Version, limits, scan, target};
use crate::codec::decimal;

/// Bytes of `X-Request-Id` and `traceparent` at most; longer ones are treated as absent.
const ID: usize = 128;

// A span counts in u16.
const _: () = assert!(limits::HEAD <= u16::MAX as usize);

/// The fields that are read; every other one is checked for its syntax and ignored.
#[derive(Clone, Copy)]
enum Known {
    Host,
    Expect,
    Origin,
    Connection,
    TraceParent,
    ContentType,
    IfMatch,
    RequestId,
    Authorization,
    ContentLength,
    Forwarded,
    ForwardedFor,
    ContentEncoding,
    TransferEncoding,
    CorsHeaders,
}

impl Known {
    /// Length and first letter tell all of them apart, so that a name is compared with one other at most.
    #[inline]
    fn named(name: &[u8]) -> Option<Self> {
        match (name.len(), name[0] | 0x20) {
            (4, b'h') if is(name, b"host") => Some(Self::Host),
            (6, b'e') if is(name, b"expect") => Some(Self::Expect),
            (6, b'o') if is(name, b"origin") => Some(Self::Origin),
            (9, b'f') if is(name, b"forwarded") => Some(Self::Forwarded),
            (9, b'x') if is(name, b"x-real-ip") => Some(Self::Forwarded),
            (8, b'i') if is(name, b"if-match") => Some(Self::IfMatch),
            (10, b'c') if is(name, b"connection") => Some(Self::Connection),
            (11, b't') if is(name, b"traceparent") => Some(Self::TraceParent),
            (12, b'c') if is(name, b"content-type") => Some(Self::ContentType),
            (12, b'x') if is(name, b"x-request-id") => Some(Self::RequestId),
            (13, b'a') if is(name, b"authorization") => Some(Self::Authorization),
            (14, b'c') if is(name, b"content-length") => Some(Self::ContentLength),
            (15, b'x') if is(name, b"x-forwarded-for") => Some(Self::ForwardedFor),
            (16, b'c') if is(name, b"content-encoding") => Some(Self::ContentEncoding),
            (17, b't') if is(name, b"transfer-encoding") => Some(Self::TransferEncoding),
            (30, b'a') if is(name, b"access-control-request-headers") => Some(Self::CorsHeaders),
            (_, b'x') if name.get(..12).is_some_and(|begin| is(begin, b"x-forwarded-")) => {
                Some(Self::Forwarded)
            }
            _ => None,
        }
    }
}

/// Whether a part of a field line is this word of lower-case letters, digits and hyphens, in whatever case:
/// names are case-insensitive (RFC 9110 section 5.1), and so are all the words that values are compared with.
///
/// The bit of the case is set in each of these characters. Only control characters lack it and are otherwise
/// the same as a digit or a hyphen, and a field line has none; so no other byte passes. With its length
/// known, a word is compared at once.
#[inline]
fn is<const N: usize>(part: &[u8], word: &[u8; N]) -> bool {
    let difference = |part: &[u8; N]| part.iter().zip(word).fold(0, |all, (a, b)| all | ((a | 0x20) ^ b));
    part.try_into().is_ok_and(|part| difference(part) == 0)
}

/// A head while its fields arrive.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    /// What is known so far. The request line fills in its part.
    pub(super) head: Head,
    /// The authority of an absolute-form target; empty for every other form.
    pub(super) authority: Span,
    /// How many field lines there were.
    count: usize,
    /// One bit for each [`Known`] field that was there.
    seen: u16,
    /// `Connection: close` was there.
    close: bool,
    /// `Connection: keep-alive` was there.
    keep: bool,
    /// What this head asks for without a fault, and this server does not do: the first such thing. It is refused
    /// when the head is complete: so a fault behind it is a 400, as it would be before it.
    unmet: Option<Refusal>,
}

impl Fields {
    /// Whether there can be no further field.
    #[inline]
    pub(super) fn are_full(&self) -> bool {
        self.count == limits::FIELDS
    }

    /// Takes in one field line.
    #[inline]
    pub(super) fn take(&mut self, bytes: &[u8], field: &Field) -> Result<(), Refusal> {
        self.count += 1;
        let Some(known) = Known::named(&bytes[field.name..field.colon]) else { return Ok(()) };
        let span = span(field.value, field.end);
        let value = span.of(bytes);
        match known {
            Known::Host => self.host(span, value)?,
            Known::Expect => self.expect(value),
            Known::Connection => self.connection(value),
            Known::ContentLength => self.content_length(value)?,
            Known::TransferEncoding => self.transfer_encoding(value)?,
            Known::Authorization => self.head.authorization = self.once(known, span)?,
            Known::ContentType => self.head.content_type = self.once(known, span)?,
            Known::ContentEncoding => self.head.content_encoding = self.once(known, span)?,
            Known::RequestId => {
                let id = self.once(known, span)?;
                self.head.request_id = if is_id(value) { id } else { Span::default() };
            }
            // W3C Trace Context section 3.2: a sender adds one, so the first one is kept.
            Known::TraceParent if !self.was_seen(known) && is_id(value) => self.head.traceparent = span,
            Known::TraceParent => {}
            Known::Origin => self.head.origin = span,
            Known::CorsHeaders => self.head.cors_headers = span,
            Known::IfMatch => self.head.if_match = self.head.if_match.until(span),
            Known::Forwarded => self.head.is_forwarded = true,
            Known::ForwardedFor => {
                self.head.is_forwarded = true;
                self.head.forwarded_for = self.head.forwarded_for.until(span);
            }
        }
        Ok(())
    }

    /// The head, now that its last field was taken.
    pub(super) fn finish(&mut self, len: usize) -> Result<Head, Refusal> {
        let head = &mut self.head;
        head.len = len;
        // RFC 9112 section 3.2.
        if head.version == Version::Http11 && head.host.is_empty() {
            return Err(Refusal::HostMissing);
        }
        if let Some(refusal) = self.unmet {
            return Err(refusal);
        }
        // RFC 9112 section 3.2.2: an authority in the target counts instead of Host.
        if !self.authority.is_empty() {
            head.host = self.authority;
        }
        // RFC 9112 section 9.3.
        head.keep_alive = !self.close && (self.keep || head.version == Version::Http11);
        Ok(*head)
    }

    /// Whether a field was there.
    fn has(&self, known: Known) -> bool {
        self.seen & (1 << known as u16) != 0
    }

    /// Notes that a field is there, and whether it was there before.
    #[inline]
    fn was_seen(&mut self, known: Known) -> bool {
        let seen = self.has(known);
        self.seen |= 1 << known as u16;
        seen
    }

    /// A field that means one thing (RFC 9110 section 5.3) comes once: of two, each reader may believe
    /// another one.
    #[inline]
    fn once(&mut self, known: Known, span: Span) -> Result<Span, Refusal> {
        if self.was_seen(known) { Err(Refusal::RepeatedField) } else { Ok(span) }
    }

    /// RFC 9110 section 7.2, RFC 9112 section 3.2.
    #[inline]
    fn host(&mut self, span: Span, value: &[u8]) -> Result<(), Refusal> {
        if self.was_seen(Known::Host) {
            return Err(Refusal::HostRepeated);
        }
        if !target::is_authority(value) {
            return Err(Refusal::HostInvalid);
        }
        self.head.host = span;
        Ok(())
    }

    /// ```text
    /// RFC 9110 section 8.6
    /// Content-Length = 1*DIGIT
    /// ```
    ///
    /// Stricter: no leading zero, and no repetition even of equal numbers (RFC 9110 would allow `5, 5`). Each
    /// has been read in two ways by two parsers.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.was_seen(Known::ContentLength) {
            return Err(Refusal::ContentLengthRepeated);
        }
        if self.has(Known::TransferEncoding) {
            return Err(Refusal::LengthAndCoding);
        }
        if let [b'0', _, ..] = value {
            return Err(Refusal::ContentLength);
        }
        let length = decimal::parse(value).ok_or(Refusal::ContentLength)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > limits::BODY {
            self.unmet.get_or_insert(Refusal::BodyTooLarge);
        }
        self.head.framing = Framing::Length(length);
        Ok(())
    }

    /// ```text
    /// RFC 9112 section 6.1, RFC 9110 section 10.1.4
    /// Transfer-Encoding = #transfer-coding
    /// transfer-coding   = token *( OWS ";" OWS transfer-parameter )
    /// ```
    ///
    /// Several field lines are one list. Stricter: an empty element is refused, as is a parameter on
    /// `chunked`; with a Content-Length beside it the request is refused, where RFC 9112 section 6.3 would
    /// let the coding win.
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.head.version == Version::Http10 {
            return Err(Refusal::TransferEncodingOn10);
        }
        if self.has(Known::ContentLength) {
            return Err(Refusal::LengthAndCoding);
        }
        self.was_seen(Known::TransferEncoding);
        for coding in list(value) {
            // `chunked` is the last coding, so nothing comes behind it.
            if self.head.framing == Framing::Chunked {
                return Err(Refusal::TransferEncoding);
            }
            if is(coding, b"chunked") {
                self.head.framing = Framing::Chunked;
            } else if is_other_coding(coding) {
                // Its parameters may hold commas in quotes, so what stands behind it is not looked at.
                self.unmet.get_or_insert(Refusal::UnknownCoding);
                return Ok(());
            } else {
                return Err(Refusal::TransferEncoding);
            }
        }
        Ok(())
    }

    /// ```text
    /// RFC 9110 section 10.1.1
    /// Expect      = #expectation
    /// expectation = token [ "=" ( token / quoted-string ) parameters ]
    /// ```
    ///
    /// A server MUST ignore `100-continue` from an HTTP/1.0 client; the others came with 1.1.
    fn expect(&mut self, value: &[u8]) {
        match self.head.version {
            Version::Http10 => {}
            Version::Http11 if is(value, b"100-continue") => self.head.expects_continue = true,
            Version::Http11 => self.unmet = self.unmet.or(Some(Refusal::Expectation)),
        }
    }

    /// ```text
    /// RFC 9110 section 7.6.1
    /// Connection        = #connection-option
    /// connection-option = token
    /// ```
    #[inline]
    fn connection(&mut self, value: &[u8]) {
        for option in list(value) {
            self.close |= is(option, b"close");
            self.keep |= is(option, b"keep-alive");
        }
    }
}

/// Whether this is a well-formed coding that is not `chunked`. What another parser might take for `chunked` is malformed.
fn is_other_coding(coding: &[u8]) -> bool {
    let name = coding.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
    scan::is_token(name) && !is(name, b"chunked")
}

fn is_id(value: &[u8]) -> bool {
    (1..=ID).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

/// A span from offsets within a head.
#[inline]
pub(super) fn span(start: usize, end: usize) -> Span {
    Span { start: start as u16, end: end as u16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_itself_in_any_case_and_nothing_else() {
        for byte in (0x20..=u8::MAX).filter(|byte| !byte.is_ascii_control()) {
            for place in 0..14 {
                let mut part = *b"cOnTeNt-LeNgTh";
                part[place] = byte;
                assert_eq!(
                    is(&part, b"content-length"),
                    part.eq_ignore_ascii_case(b"content-length"),
                    "{byte:#x}"
                );
            }
            let mut part = *b"100-Continue";
            part[0] = byte;
            assert_eq!(is(&part, b"100-continue"), byte == b'1', "{byte:#x}");
        }
        assert!(!is(b"bmose", b"close"), "two differences that are the same");
        assert!(!is(b"", b"close") && !is(b"clos", b"close") && !is(b"closed", b"close"));
    }
}
