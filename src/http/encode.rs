//! Answers: status line, fields and content, written once, straight into the connection's output.
//!
//! *Invariant:* every answer that leaves here is complete: a status line of HTTP/1.1, `Date`, `Cache-Control`,
//! `X-Request-Id`, and a `Content-Length` that is true (but for 1xx and 204).

use crate::codec::decimal;
use crate::time::{self, Timestamp};

/// RFC 9110 section 15.2.1. Interim, so that it has no fields at all.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The fields that all answers of a second share, with the empty line before none of them.
pub struct Shared {
    second: u64,
    lines: Vec<u8>,
    /// `--cors`: what a browser has to be told beside every answer.
    origin: Option<String>,
}

impl Shared {
    /// For a server whose answers scripts from `origin` may read.
    pub fn new(origin: Option<String>) -> Self {
        Self { second: u64::MAX, lines: Vec::new(), origin }
    }

    /// Brings the date up to `wall`; cheap unless a second has passed.
    pub fn refresh(&mut self, wall: Timestamp) {
        if self.second == wall.secs() {
            return;
        }
        self.second = wall.secs();
        self.lines.clear();
        self.lines.extend_from_slice(b"Date: ");
        time::http_date(wall, &mut self.lines);
        self.lines.extend_from_slice(b"\r\nCache-Control: no-store\r\n");
        let Some(origin) = &self.origin else { return };
        self.lines.extend_from_slice(b"Access-Control-Allow-Origin: ");
        self.lines.extend_from_slice(origin.as_bytes());
        self.lines.extend_from_slice(
            b"\r\nAccess-Control-Expose-Headers: Location, Retry-After, WWW-Authenticate, X-Request-Id\r\n",
        );
        if origin != "*" {
            self.lines.extend_from_slice(b"Vary: Origin\r\n");
        }
    }
}

/// What the fields of an answer say about the connection it goes out on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It stays open, as 1.1 assumes.
    Keep,
    /// It stays open, which a 1.0 client has to be told.
    KeepSaid,
    /// It closes behind this answer.
    Close,
}

/// An answer in the making: fields first, then the content or none.
pub struct Answer<'a> {
    out: &'a mut Vec<u8>,
    /// HEAD: the fields of the content, without it.
    head_only: bool,
}

impl<'a> Answer<'a> {
    /// Writes the status line and the fields that every answer has.
    pub fn begin(
        out: &'a mut Vec<u8>,
        status: u16,
        shared: &Shared,
        request_id: &[u8],
        persistence: Persistence,
        head_only: bool,
    ) -> Self {
        out.extend_from_slice(status_line(status));
        out.extend_from_slice(&shared.lines);
        out.extend_from_slice(b"X-Request-Id: ");
        out.extend_from_slice(request_id);
        out.extend_from_slice(match persistence {
            Persistence::Keep => b"\r\n",
            Persistence::KeepSaid => b"\r\nConnection: keep-alive\r\n",
            Persistence::Close => b"\r\nConnection: close\r\n",
        });
        Self { out, head_only }
    }

    /// Writes a field; the value's bytes are the caller's to vouch for.
    pub fn field(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.field_with(name, |out| out.extend_from_slice(value))
    }

    /// Writes a field whose value `write` appends.
    pub fn field_with(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        write(self.out);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Ends the answer without content, as 204 must be: it has no `Content-Length` either (RFC 9110 section 8.6).
    pub fn without_content(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }

    /// Ends the answer with the content that `write` appends.
    ///
    /// The length is known only afterwards. Its digits are put in then, which moves the content by a few bytes: cheaper
    /// than writing it somewhere else first.
    pub fn content(&mut self, media_type: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.extend_from_slice(b"Content-Type: ");
        self.out.extend_from_slice(media_type.as_bytes());
        self.out.extend_from_slice(b"\r\nContent-Length: ");
        let digits_at = self.out.len();
        self.out.extend_from_slice(b"000\r\n\r\n");
        let content_at = self.out.len();
        write(self.out);
        let length = self.out.len() - content_at;
        if self.head_only {
            self.out.truncate(content_at);
        }
        if let 100..=999 = length {
            // Three digits, as most answers have them, are where they belong.
            let digits = [length / 100, length / 10 % 10, length % 10].map(|digit| b'0' + digit as u8);
            self.out[digits_at..digits_at + 3].copy_from_slice(&digits);
            return;
        }
        let mut digits = Vec::new();
        decimal::write(length as u64, &mut digits);
        self.out.splice(digits_at..digits_at + 3, digits);
    }
}

/// RFC 9110 section 15, and RFC 6585 for 431.
pub fn reason(status: u16) -> &'static str {
    let line = status_line(status);
    std::str::from_utf8(&line[13..line.len() - 2]).unwrap_or_default()
}

fn status_line(status: u16) -> &'static [u8] {
    match status {
        200 => b"HTTP/1.1 200 OK\r\n",
        201 => b"HTTP/1.1 201 Created\r\n",
        204 => b"HTTP/1.1 204 No Content\r\n",
        400 => b"HTTP/1.1 400 Bad Request\r\n",
        401 => b"HTTP/1.1 401 Unauthorized\r\n",
        403 => b"HTTP/1.1 403 Forbidden\r\n",
        404 => b"HTTP/1.1 404 Not Found\r\n",
        405 => b"HTTP/1.1 405 Method Not Allowed\r\n",
        408 => b"HTTP/1.1 408 Request Timeout\r\n",
        409 => b"HTTP/1.1 409 Conflict\r\n",
        410 => b"HTTP/1.1 410 Gone\r\n",
        413 => b"HTTP/1.1 413 Content Too Large\r\n",
        414 => b"HTTP/1.1 414 URI Too Long\r\n",
        415 => b"HTTP/1.1 415 Unsupported Media Type\r\n",
        417 => b"HTTP/1.1 417 Expectation Failed\r\n",
        431 => b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
        501 => b"HTTP/1.1 501 Not Implemented\r\n",
        503 => b"HTTP/1.1 503 Service Unavailable\r\n",
        505 => b"HTTP/1.1 505 HTTP Version Not Supported\r\n",
        _ => b"HTTP/1.1 500 Internal Server Error\r\n",
    }
}
