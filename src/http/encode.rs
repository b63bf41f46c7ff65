//! Responses: status line, fields and body, written once, straight into the connection's output.
//!
//! *Invariant:* every response that leaves here is complete: a status line of HTTP/1.1, `Date`, `Cache-Control`,
//! `X-Request-Id`, and a `Content-Length` that is true. 1xx and 204 have none. (Tested by
//! `the_length_is_that_of_the_body_whatever_its_digits`.)

use super::origin::Origins;
use super::status::Status;
use crate::codec::{Append, append, decimal};
use crate::time::{self, Timestamp};

/// RFC 9110 section 15.2.1. Interim, so that it has no fields at all.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The field lines that all responses of one second have in common: `Date`, `Cache-Control`, and what CORS needs.
pub struct CommonFields {
    second: u64,
    lines: Vec<u8>,
    /// Which scripts of other origins may read a response, as a browser is told; None for none.
    cors: Option<&'static str>,
}

/// Which fields scripts may read besides those that they always may.
const EXPOSED: &str = "Access-Control-Expose-Headers: Accept-Patch, Accept-Post, Allow, ETag, Location, Retry-After, \
    WWW-Authenticate, X-Request-Id\r\n";

impl CommonFields {
    /// For a server whose responses scripts of these origins may read.
    pub fn new(origins: Option<&Origins>) -> Self {
        let cors = origins.map(|origins| match origins {
            Origins::Any => "Access-Control-Allow-Origin: *\r\n",
            // Each response also names the origin that it is for.
            Origins::Listed(_) => "Vary: Origin\r\n",
        });
        Self { second: u64::MAX, lines: Vec::new(), cors }
    }

    /// Brings the date up to `wall`; cheap unless a second has passed.
    pub fn refresh(&mut self, wall: Timestamp) {
        if self.second == wall.secs() {
            return;
        }
        self.second = wall.secs();
        self.lines.clear();
        append!(&mut self.lines, "\r\nDate: ");
        time::http_date(wall, &mut self.lines);
        append!(&mut self.lines, "\r\nCache-Control: no-store\r\n");
        if let Some(cors) = self.cors {
            append!(&mut self.lines, cors, EXPOSED);
        }
    }
}

/// What the fields of a response say about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It stays open, as 1.1 assumes.
    Keep,
    /// It stays open, which a 1.0 client has to be told.
    KeepAlive,
    /// It closes behind this response.
    Close,
}

/// What a response begins with, all but its status.
pub struct ResponseStart<'a> {
    pub out: &'a mut Vec<u8>,
    /// What it has in common with the others.
    pub common: &'a CommonFields,
    /// The origin whose scripts may read it; empty for none.
    pub origin: &'a [u8],
    pub request_id: &'a [u8],
    /// What becomes of the connection.
    pub persistence: Persistence,
    /// The request was a HEAD: the fields of the body are written, and the body is not.
    pub head_only: bool,
}

impl ResponseStart<'_> {
    /// Writes the status line and the fields that every response has.
    pub fn status(&mut self, status: Status) -> Response<'_> {
        let Self { out, common, origin, request_id, persistence, head_only } = self;
        append!(out, status.line(), &common.lines[..]);
        if !origin.is_empty() {
            append!(out, "Access-Control-Allow-Origin: ", *origin, "\r\n");
        }
        let behind = match persistence {
            Persistence::Keep => "\r\n",
            Persistence::KeepAlive => "\r\nConnection: keep-alive\r\n",
            Persistence::Close => "\r\nConnection: close\r\n",
        };
        append!(out, "X-Request-Id: ", *request_id, behind);
        Response { out, head_only: *head_only }
    }
}

/// A response in the making: fields first, then the body or none.
pub struct Response<'a> {
    out: &'a mut Vec<u8>,
    head_only: bool,
}

impl Response<'_> {
    /// Writes a field; the value's bytes are the caller's to vouch for.
    pub fn field(&mut self, name: &str, value: impl Append) {
        self.field_with(name, |out| value.append(out));
    }

    /// Writes a field whose value `write` appends.
    pub fn field_with(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        append!(self.out, name, ": ");
        write(self.out);
        append!(self.out, "\r\n");
    }

    /// Ends the response without a body, as 204 must be: it has no `Content-Length` either (RFC 9110 section 8.6).
    pub fn without_body(self) {
        append!(self.out, "\r\n");
    }

    /// Ends the response with the body that `write` appends.
    ///
    /// The length is known only afterwards. Nearly all have two or three digits, so room is left for three, and two of
    /// them move the body by one.
    pub fn body(self, media_type: &str, write: impl FnOnce(&mut Vec<u8>)) {
        append!(self.out, "Content-Type: ", media_type, "\r\nContent-Length: ");
        let digits_at = self.out.len();
        append!(self.out, "000\r\n\r\n");
        let body_at = self.out.len();
        write(self.out);
        let length = self.out.len() - body_at;
        if self.head_only {
            self.out.truncate(body_at);
        }
        let digit = |power: usize| b'0' + (length / power % 10) as u8;
        match length {
            100..1000 => {
                self.out[digits_at..digits_at + 3].copy_from_slice(&[digit(100), digit(10), digit(1)]);
            }
            10..100 => {
                self.out[digits_at..digits_at + 2].copy_from_slice(&[digit(10), digit(1)]);
                self.out.remove(digits_at + 2);
            }
            _ => {
                let end = self.out.len();
                decimal::write(length as u64, self.out);
                let digits = self.out.len() - end;
                self.out[digits_at..].rotate_right(digits);
                self.out.drain(digits_at + digits..digits_at + digits + 3);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(origins: Option<&str>) -> CommonFields {
        let mut common = CommonFields::new(origins.map(|text| Origins::parse(text).unwrap()).as_ref());
        common.refresh(Timestamp::from_millis(784_111_777_999));
        common
    }

    fn start<'a>(out: &'a mut Vec<u8>, common: &'a CommonFields) -> ResponseStart<'a> {
        let persistence = Persistence::Keep;
        ResponseStart { out, common, origin: b"", request_id: b"id-1", persistence, head_only: false }
    }

    #[track_caller]
    fn check(length: usize, head_only: bool, persistence: Persistence, expected_fields: &str) {
        let mut out = b"before".to_vec();
        let common = common(None);
        let mut start = start(&mut out, &common);
        (start.persistence, start.head_only) = (persistence, head_only);
        let mut response = start.status(Status::Ok);
        response.field("Allow", "GET");
        response.body("text/plain", |out| out.resize(out.len() + length, b'x'));
        let body = if head_only { String::new() } else { "x".repeat(length) };
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                "beforeHTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nCache-Control: no-store\r\n\
                 X-Request-Id: id-1\r\n{expected_fields}Allow: GET\r\nContent-Type: text/plain\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            )
        );
    }

    #[test]
    fn the_length_is_that_of_the_body_whatever_its_digits() {
        for length in [0, 1, 9, 10, 54, 99, 100, 999, 1000, 12_345] {
            check(length, false, Persistence::Keep, "");
            check(length, true, Persistence::Keep, "");
        }
        check(3, false, Persistence::KeepAlive, "Connection: keep-alive\r\n");
        check(3, false, Persistence::Close, "Connection: close\r\n");
    }

    #[test]
    fn a_204_has_neither_body_nor_length() {
        let mut out = Vec::new();
        start(&mut out, &common(None)).status(Status::NoContent).without_body();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 204 No Content\r\n") && text.ends_with("X-Request-Id: id-1\r\n\r\n"),
            "{text}"
        );
    }

    #[test]
    fn every_response_tells_a_browser_who_may_read_it() {
        for (origins, origin, vary, allowed) in [
            (None, "", false, None),
            (Some("*"), "", false, Some("*")),
            (Some("https://app.example,null"), "", true, None),
            (Some("https://app.example,null"), "null", true, Some("null")),
        ] {
            let mut out = Vec::new();
            let common = common(origins);
            let mut start = start(&mut out, &common);
            start.origin = origin.as_bytes();
            start.status(Status::NoContent).without_body();
            let text = String::from_utf8(out).unwrap();
            let field =
                |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            assert_eq!(field("Access-Control-Allow-Origin"), allowed, "{text}");
            assert_eq!(field("Vary").is_some(), vary, "{text}");
            assert_eq!(field("Access-Control-Expose-Headers").is_some(), origins.is_some(), "{text}");
        }
    }

    #[test]
    fn the_date_follows_the_clock() {
        let mut common = common(None);
        common.refresh(Timestamp::from_millis(784_111_778_000));
        assert!(common.lines.starts_with(b"\r\nDate: Sun, 06 Nov 1994 08:49:38 GMT\r\n"));
    }
}
