//! HTTP/1.1 (RFC 9110 and 9112): bytes in, requests out; responses in, bytes out.
//!
//! ```text
//!           parse::Parser           body::BodyDecoder
//! bytes ──▶ Head (spans) ─────────▶ body ─────────▶ Request   (conn.rs keeps what is incomplete)
//! bytes ◀── encode::Response ◀─────────────────────── status, fields, body
//! ```
//!
//! The "body" of a message is here what RFC 9110 calls its content: the bytes that are left when the transfer coding is
//! taken off.
//!
//! There is no socket in it, so that a whole exchange fits on a page:
//!
//! ```
//! use streamer::http::Method;
//! use streamer::http::conn::{Received, Receiver};
//! use streamer::http::encode::{CommonFields, Persistence, ResponseStart};
//! use streamer::http::status::Status;
//! use streamer::time::Timestamp;
//!
//! // Bytes come as the network cuts them. What is no whole request yet stays in the buffer.
//! let mut receiver = Receiver::default();
//! let mut bytes = b"POST /greet?name=Ann HTTP/1.1\r\nHost: exam".to_vec();
//! assert!(matches!(receiver.receive(&mut bytes), Ok(Received::Incomplete)));
//! bytes.extend_from_slice(b"ple.com\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
//! let length = bytes.len();
//! let Ok(Received::Request(request, taken)) = receiver.receive(&mut bytes) else { panic!("it is whole") };
//! assert_eq!(request.head.method, Method::Post);
//! assert_eq!(request.get(request.head.path), b"/greet");
//! assert_eq!(request.get(request.head.query), b"name=Ann");
//! assert_eq!(request.body, Some(&b"hello"[..]));
//! assert_eq!(taken, length);
//!
//! // A response is appended to the bytes that go out. The time is an argument.
//! let mut common = CommonFields::new(None);
//! common.refresh(Timestamp::from_millis(784_111_777_000));
//! let mut out = Vec::new();
//! let persistence = Persistence::Keep;
//! ResponseStart { out: &mut out, common: &common, origin: b"", request_id: b"id-1", persistence, head_only: false }
//!     .status(Status::Ok)
//!     .body("text/plain", |out| out.extend_from_slice(b"Hello, Ann"));
//! assert_eq!(
//!     String::from_utf8_lossy(&out),
//!     "HTTP/1.1 200 OK\r\n\
//!      Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
//!      Cache-Control: no-store\r\n\
//!      X-Request-Id: id-1\r\n\
//!      Content-Type: text/plain\r\n\
//!      Content-Length: 10\r\n\
//!      \r\n\
//!      Hello, Ann"
//! );
//!
//! // What is no request says why, and what to do.
//! let refusal = Receiver::default().receive(&mut b"GET / HTTP/1.1\nHost: h\r\n\r\n".to_vec()).unwrap_err();
//! assert_eq!(refusal.status(), Status::BadRequest);
//! assert_eq!(refusal.detail(), "A line ended in LF alone; end every line with CRLF.");
//! ```
//!
//! *Invariant:* nothing here reads a socket or a clock, and nothing here knows what a stream is. (Tested by
//! `arrows_point_down_only`.)

pub mod status;

mod refusal;

pub mod parse;

mod target;

mod line;

mod fields;

mod scan;

pub mod body;

pub mod conn;

pub mod origin;

pub mod forwarded;

pub mod encode;

use std::ops::Range;

use crate::codec::labelled;

pub use refusal::Refusal;
pub use target::{address, has_port, split_port};

/// The limits of the contract. Each is tested on both sides.
pub mod limits {
    /// Bytes of a request line, its CRLF not counted. RFC 9112 section 3 recommends at least 8,000.
    pub const REQUEST_LINE: usize = 8 * 1024;
    /// Bytes of a head in all: request line, field lines and the empty line. Node allows 16 KiB too, nginx 32.
    pub const HEAD: usize = 16 * 1024;
    /// Field lines in a head. Apache allows 100 too.
    pub const FIELDS: usize = 100;
    /// Bytes of a body, after its transfer coding is taken off.
    pub const BODY: usize = 8 * 1024;
    /// Bytes of chunk extensions, leading zeros of chunk sizes and trailer fields of one message, in all: what a
    /// chunked message may hold besides its body.
    pub const CHUNK_EXTRAS: usize = 4 * 1024;
}

/// Where a part of the head stands: offsets from the first byte of the request. Empty for a part that is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u16,
    /// One past the last byte.
    pub end: u16,
}

impl Span {
    /// The bytes of this span in the request that it was parsed from.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[Range::from(self)]
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// From here to the end of a later part.
    fn until(self, last: Self) -> Self {
        if self.is_empty() { last } else { Self { end: last.end, ..self } }
    }
}

impl From<Span> for Range<usize> {
    fn from(span: Span) -> Self {
        span.start.into()..span.end.into()
    }
}

/// Whether this is a list of tokens (RFC 9110 section 5.6.1), as lists of field names are; an empty one is none.
#[must_use]
pub fn is_token_list(value: &[u8]) -> bool {
    line::list(value).all(scan::is_token)
}

labelled! {
    /// The methods of RFC 9110 section 9.1 and RFC 5789. They are case-sensitive.
    #[derive(Default)]
    pub enum Method {
        Get = "GET",
        Head = "HEAD",
        Post = "POST",
        Put = "PUT",
        Delete = "DELETE",
        Connect = "CONNECT",
        Options = "OPTIONS",
        Trace = "TRACE",
        Patch = "PATCH",
        /// A token that is none of them: 501.
        #[default]
        Unknown = "other",
    }
}

/// The versions that differ for a server: 1.0, and 1.1 with every later minor (RFC 9110 section 2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    #[default]
    Http11,
}

/// How the body is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By `Content-Length`, which never exceeds [`limits::BODY`] here; 0 where there is no body.
    Length(usize),
    /// By `Transfer-Encoding: chunked`.
    Chunked,
}

impl Default for Framing {
    fn default() -> Self {
        Self::Length(0)
    }
}

/// A whole head, as spans into the request's bytes: small, `Copy`, and kept without them while the body arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub method: Method,
    /// The version, for persistence and `Expect`.
    pub version: Version,
    /// The method as sent, for the log.
    pub method_name: Span,
    /// The request target as sent, for the log.
    pub target: Span,
    /// The target's path. Empty for `OPTIONS *`, for an absolute-form without one, and for CONNECT.
    pub path: Span,
    /// The target's query, without its `?`; empty when absent.
    pub query: Span,
    /// `Host`, valid; an authority in the target counts in its place (RFC 9112 section 3.2.2).
    pub host: Span,
    /// `Authorization`, blanks around it taken off, as are those of the fields below.
    pub authorization: Span,
    pub content_type: Span,
    pub content_encoding: Span,
    /// `X-Request-Id`, present only if it is 1 to 128 visible ASCII characters.
    pub request_id: Span,
    /// `traceparent`, the first one sent.
    pub traceparent: Span,
    /// `Origin`, which browsers send across origins.
    pub origin: Span,
    /// `Access-Control-Request-Headers`, which browsers ask for leave with.
    pub cors_headers: Span,
    /// From the first `If-Match` value to the end of the last one, with the lines between them.
    pub if_match: Span,
    /// From the first `X-Forwarded-For` value to the end of the last one, with the lines between them.
    pub forwarded_for: Span,
    /// Whether any field says that a proxy has passed the request on: `Forwarded`, `X-Forwarded-…`, `X-Real-IP`.
    pub is_forwarded: bool,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether `Expect: 100-continue` was sent, on 1.1.
    pub expects_continue: bool,
    /// Whether the client lets the connection go on behind the response (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// Bytes of the head: up to and with the empty line that ends it, and with one that came before it.
    pub len: usize,
}

impl Head {
    /// Method and target, as sent; of a head that is not all there, what has come of them.
    pub fn request_line(&self) -> Span {
        Span { start: self.method_name.start, end: self.method_name.end.max(self.target.end) }
    }
}

#[cfg(test)]
mod torture;
