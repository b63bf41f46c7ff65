//! Request heads: bytes in, a [`Head`] out.
//!
//! ```text
//!        ┌──────────▶ Method ──SP──▶ Target ──SP──▶ Version ──CRLF──▶ Fields ──empty line──▶ Head
//! Empty ─┤               ▲             │
//!        └──CRLF, once───┘             └─malformed─▶ BadTarget ──▶ Refused
//! ```
//!
//! Each stage ends at a byte that belongs to it alone, and goes on where it stopped when bytes ran out. A
//! byte is judged when it is seen, a part with a grammar of its own (a target, a field value) at the byte
//! that ends it; so the first fault in byte order is the one that is told, however the bytes were cut, and
//! binary garbage is refused before its line ends. Two refusals wait for more bytes: that of a malformed
//! target, since another major version has other targets; and that of a head without a fault that asks for
//! more than this server does, since a fault behind it counts more.
//!
//! *Invariant:* no byte is judged twice but the few of a version, an escape or a line end; a client that sends
//! single bytes costs what one costs that sends them together. (Not tested.)

use super::fields::{Fields, span};
use super::line::{FieldLine, Lines};
use super::{Head, Method, Refusal, Version, limits, scan, target};

/// Parses one head. Sans I/O: it borrows the bytes anew on each call.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    stage: Stage,
    /// Where the request line begins: at 0, or at 2 behind an empty line.
    line: usize,
    /// Where the current part of the request line begins.
    part: usize,
    /// Everything in the request line before this is known to be good: `line <= part <= at`.
    at: usize,
    /// The target's first `?`.
    question: Option<usize>,
    lines: Lines,
    fields: Fields,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    /// An empty line, perhaps.
    #[default]
    Empty,
    Method,
    Target,
    /// The rest of a malformed target and a version, which may be another major one.
    BadTarget,
    Version,
    Fields,
    Refused(Refusal),
}

impl Parser {
    /// A parser for one request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with `bytes`, which begin with the first byte of the request and may only have grown since the
    /// last call. `None` asks for more of them.
    /// An error is the first fault in byte order. The parser stays at it.
    pub fn parse(&mut self, bytes: &[u8]) -> Result<Option<Head>, Refusal> {
        let found = self.go_on(&bytes[..bytes.len().min(limits::HEAD)]);
        if let Err(refusal) = found {
            self.stage = Stage::Refused(refusal);
        }
        found
    }

    /// As much of the head as has been read, once there is a method: a response to HEAD has no body, even one that
    /// refuses it, and a response to a request with an id names it.
    pub fn head(&self) -> Option<&Head> {
        let head = &self.fields.head;
        (!head.method_name.is_empty()).then_some(head)
    }

    #[inline]
    fn go_on(&mut self, bytes: &[u8]) -> Result<Option<Head>, Refusal> {
        if self.request_line(bytes)?
            && let Some(len) = self.field_lines(bytes)?
        {
            return self.fields.finish(len).map(Some);
        }
        if bytes.len() == limits::HEAD { Err(Refusal::HeadTooLarge) } else { Ok(None) }
    }

    /// ```text
    /// RFC 9112 sections 2.1 and 3
    /// start-line   = request-line / status-line
    /// request-line = method SP request-target SP HTTP-version
    /// ```
    ///
    /// Stricter than section 3 allows: other whitespace does not separate.
    #[inline]
    fn request_line(&mut self, bytes: &[u8]) -> Result<bool, Refusal> {
        loop {
            let (stage, end) = match self.stage {
                Stage::Empty => (Stage::Method, self.empty_line(bytes)?),
                Stage::Method => (Stage::Target, self.method_name(bytes)?),
                Stage::Target => match self.target(bytes) {
                    Err(Refusal::Target) => (Stage::BadTarget, Some(self.at)),
                    end => (Stage::Version, end?),
                },
                Stage::BadTarget => return self.bad_target(bytes).map(|()| false),
                Stage::Version => (Stage::Fields, self.version(bytes)?),
                Stage::Fields => return Ok(true),
                Stage::Refused(refusal) => return Err(refusal),
            };
            let Some(end) = end else { return Ok(false) };
            self.stage = stage;
            (self.part, self.at) = (end, end);
        }
    }

    /// RFC 9112 section 2.2: a server should ignore at least one empty line before the request line, and one
    /// is what old clients send behind a POST. Only one is ignored.
    fn empty_line(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        match bytes {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] => self.line = 2,
            [b'\r', ..] => return Err(Refusal::BareCarriageReturn),
            _ => {}
        }
        Ok(Some(self.line))
    }

    /// RFC 9110 section 9.1: `method = token`, and it is case-sensitive.
    #[inline]
    fn method_name(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        self.at = scan::run(bytes, self.at, scan::TCHAR);
        let Some(byte) = self.peek(bytes, self.at)? else { return Ok(None) };
        match byte {
            b' ' if self.at > self.part => {}
            b'\r' if self.at == self.part => return Err(Refusal::SecondEmptyLine),
            b'\n' => return Err(Refusal::BareLineFeed),
            _ => return Err(Refusal::RequestLine),
        }
        let head = &mut self.fields.head;
        head.method_name = span(self.part, self.at);
        head.method = method(head.method_name.of(bytes));
        Ok(Some(self.at + 1))
    }

    /// RFC 9112 section 3.2.
    #[inline]
    fn target(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        if !self.is_target_complete(bytes)? {
            return Ok(None);
        }
        let method = self.fields.head.method;
        let parts = target::parts(method, bytes, self.part..self.at, self.question).ok_or(Refusal::Target)?;
        self.fields.authority = span(parts.authority.start, parts.authority.end);
        let head = &mut self.fields.head;
        head.target = span(self.part, self.at);
        head.path = span(parts.path.start, parts.path.end);
        head.query = span(parts.query.start, parts.query.end);
        Ok(Some(self.at + 1))
    }

    /// Whether the space behind the target has come. Up to it, each byte is one that a target may hold.
    #[inline]
    fn is_target_complete(&mut self, bytes: &[u8]) -> Result<bool, Refusal> {
        if self.at == self.part
            && let Some(first) = self.peek(bytes, self.at)?
            && first.is_ascii_graphic()
            && !target::may_begin(self.fields.head.method, first)
        {
            return Err(Refusal::Target);
        }
        loop {
            self.at = scan::run(bytes, self.at, scan::TARGET);
            let Some(byte) = self.peek(bytes, self.at)? else { return Ok(false) };
            match byte {
                b' ' if self.at > self.part => return Ok(true),
                b'?' => {
                    self.question.get_or_insert(self.at);
                    self.at += 1;
                }
                b'%' if self.is_escape_complete(bytes)? => self.at += 3,
                b'%' => return Ok(false),
                // The line ends without a version, as in HTTP/0.9.
                b'\r' => return Err(Refusal::Version),
                b'\n' => return Err(Refusal::BareLineFeed),
                b' ' | b'\t' => return Err(Refusal::RequestLine),
                _ => return Err(Refusal::Target),
            }
        }
    }

    /// RFC 3986 section 2.1: `pct-encoded = "%" HEXDIG HEXDIG`.
    fn is_escape_complete(&self, bytes: &[u8]) -> Result<bool, Refusal> {
        for place in [self.at + 1, self.at + 2] {
            match self.peek(bytes, place)? {
                None => return Ok(false),
                Some(digit) if digit.is_ascii_hexdigit() => {}
                Some(_) => return Err(Refusal::Target),
            }
        }
        Ok(true)
    }

    /// Refuses a malformed target, once the version is known: another major version has other targets, as in
    /// `PRI * HTTP/2.0` (RFC 9113 section 3.4), and is refused for itself. `Ok` asks for more bytes.
    #[cold]
    fn bad_target(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        while let Some(byte) = self.peek(bytes, self.at)? {
            match byte {
                b' ' => {
                    // For the log.
                    self.fields.head.target = span(self.part, self.at);
                    return match self.has_unusual_version(bytes, self.at + 1) {
                        Ok(false) => Ok(()),
                        Err(refusal @ (Refusal::MajorVersion | Refusal::RequestLineTooLong)) => Err(refusal),
                        _ => Err(Refusal::Target),
                    };
                }
                _ if byte.is_ascii_control() => return Err(Refusal::Target),
                _ => self.at += 1,
            }
        }
        Ok(())
    }

    /// ```text
    /// RFC 9112 section 2.3
    /// HTTP-version = HTTP-name "/" DIGIT "." DIGIT
    /// HTTP-name    = %s"HTTP"
    /// ```
    ///
    /// RFC 9110 section 2.5: a later minor version is answered as the latest known one, another major version
    /// with a 505.
    #[inline]
    fn version(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        let version = &bytes[self.part..];
        let is_usual =
            version.starts_with(b"HTTP/1.1\r\n") && self.part + 8 <= self.line + limits::REQUEST_LINE;
        if !is_usual && !self.has_unusual_version(bytes, self.part)? {
            return Ok(None);
        }
        self.fields.head.version = if version[7] == b'0' { Version::Http10 } else { Version::Http11 };
        self.lines = Lines::starting(self.part + 10);
        Ok(Some(self.part + 10))
    }

    /// Whether there is a version at `from` that is spoken here, and a line end; or not yet.
    #[cold]
    fn has_unusual_version(&self, bytes: &[u8], from: usize) -> Result<bool, Refusal> {
        for (place, &expected) in (from..).zip(b"HTTP/0.0\r") {
            let Some(byte) = self.peek(bytes, place)? else { return Ok(false) };
            let fits = if expected == b'0' { byte.is_ascii_digit() } else { byte == expected };
            match byte {
                _ if fits => {}
                b'\n' => return Err(Refusal::BareLineFeed),
                b' ' | b'\t' => return Err(Refusal::RequestLine),
                _ => return Err(Refusal::Version),
            }
        }
        if bytes[from + 5] != b'1' {
            return Err(Refusal::MajorVersion);
        }
        match bytes.get(from + 9) {
            None => Ok(false),
            Some(b'\n') => Ok(true),
            Some(_) => Err(Refusal::BareCarriageReturn),
        }
    }

    /// The byte at `at`, if it is there and if the request line may be that long: behind the last byte there
    /// is only a CR.
    #[inline]
    fn peek(&self, bytes: &[u8], at: usize) -> Result<Option<u8>, Refusal> {
        let at = at.min(self.line + limits::REQUEST_LINE);
        match bytes.get(at) {
            Some(&byte) if byte != b'\r' && at == self.line + limits::REQUEST_LINE => {
                Err(Refusal::RequestLineTooLong)
            }
            byte => Ok(byte.copied()),
        }
    }

    /// The length of the head, once all its field lines were there.
    #[inline]
    fn field_lines(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        loop {
            if self.fields.are_full() && bytes.get(self.lines.start).is_some_and(|&byte| byte != b'\r') {
                return Err(Refusal::TooManyFields);
            }
            match self.lines.next(bytes)? {
                FieldLine::Incomplete => return Ok(None),
                FieldLine::Field(field) => self.fields.take(bytes, &field)?,
                FieldLine::End(len) => return Ok(Some(len)),
            }
        }
    }
}

/// RFC 9110 section 9.3, RFC 5789.
#[inline]
fn method(name: &[u8]) -> Method {
    match name {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"POST" => Method::Post,
        b"PUT" => Method::Put,
        b"DELETE" => Method::Delete,
        b"CONNECT" => Method::Connect,
        b"OPTIONS" => Method::Options,
        b"TRACE" => Method::Trace,
        b"PATCH" => Method::Patch,
        _ => Method::Unknown,
    }
}

#[cfg(test)]
mod tests;
