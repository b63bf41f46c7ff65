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
//! *Invariant:* nothing here reads a socket or a clock, and nothing here knows what a stream is.

pub mod status;

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

pub mod timeouts;

use std::ops::Range;

use status::Status;

pub use target::{has_port, split_port};

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
    /// The first byte.
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
}

impl From<Span> for Range<usize> {
    fn from(span: Span) -> Self {
        span.start.into()..span.end.into()
    }
}

/// Whether this is a list of tokens (RFC 9110 section 5.6.1), as lists of field names are; an empty one is none.
#[must_use]
pub fn is_token_list(value: &[u8]) -> bool {
    value.split(|&byte| byte == b',').all(|element| scan::is_token(element.trim_ascii()))
}

/// The methods of RFC 9110 section 9.1 and RFC 5789. They are case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its own name")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// A token that is none of them: 501.
    Unknown,
}

/// The versions that differ for a server: 1.0, and 1.1 with every later minor (RFC 9110 section 2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is its own name")]
pub enum Version {
    Http10,
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

/// A whole head, as spans into the request's bytes: small, `Copy`, and kept without them while the body arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The method.
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
    /// `Content-Type`.
    pub content_type: Span,
    /// `Content-Encoding`.
    pub content_encoding: Span,
    /// `X-Request-Id`, present only if it is 1 to 128 visible ASCII characters.
    pub request_id: Span,
    /// `traceparent`, the first one sent.
    pub traceparent: Span,
    /// `Origin`, which browsers send across origins.
    pub origin: Span,
    /// `Access-Control-Request-Headers`, which browsers ask for leave with.
    pub cors_headers: Span,
    /// From the first `X-Forwarded-For` value to the end of the last one, with the lines between them.
    pub forwarded_for: Span,
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

/// Why a message cannot be framed, or is not taken. After any of these the connection closes, and
/// nothing that follows is read as a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "`detail` says what each is")]
pub enum Refusal {
    RequestLine,
    SecondEmptyLine,
    BareLineFeed,
    BareCarriageReturn,
    Target,
    Version,
    MajorVersion,
    RequestLineTooLong,
    FieldName,
    FieldValue,
    NoColon,
    SpaceBeforeColon,
    Folded,
    HeadTooLarge,
    TooManyFields,
    RepeatedField,
    HostMissing,
    HostRepeated,
    HostInvalid,
    ContentLength,
    ContentLengthRepeated,
    LengthAndCoding,
    TransferEncoding,
    TransferEncodingOn10,
    UnknownCoding,
    Expectation,
    BodyTooLarge,
    ChunkSize,
    ChunkExtension,
    ChunkEnd,
    Trailer,
    ChunkExtrasTooLarge,
}

impl Refusal {
    /// The status of the response to it (RFC 9110 section 15, RFC 6585 for 431).
    pub fn status(self) -> Status {
        match self {
            Self::BodyTooLarge => Status::ContentTooLarge,
            Self::RequestLineTooLong => Status::UriTooLong,
            Self::Expectation => Status::ExpectationFailed,
            Self::HeadTooLarge | Self::TooManyFields | Self::ChunkExtrasTooLarge => Status::FieldsTooLarge,
            Self::UnknownCoding => Status::NotImplemented,
            Self::MajorVersion => Status::VersionNotSupported,
            _ => Status::BadRequest,
        }
    }

    /// One sentence for the client: what was wrong and what to do.
    pub fn detail(self) -> &'static str {
        match self {
            Self::RequestLine => "The request line is not `METHOD target HTTP/1.1` with single spaces.",
            Self::SecondEmptyLine => {
                "More than one empty line came before the request line; send at most one."
            }
            Self::BareLineFeed => "A line ended in LF alone; end every line with CRLF.",
            Self::BareCarriageReturn => "A CR came without its LF; end every line with CRLF.",
            Self::Target => "The request target is malformed; percent-encode what a URI cannot hold.",
            Self::Version => "The protocol version is malformed; send HTTP/1.1.",
            Self::MajorVersion => "Only HTTP/1.x is spoken here; send HTTP/1.1.",
            Self::RequestLineTooLong => "The request line is longer than 8192 bytes; send a shorter target.",
            Self::FieldName => "A field name is empty or not a token; use letters, digits and hyphens.",
            Self::FieldValue => "A field value holds a control character; remove it.",
            Self::NoColon => "A field line has no colon; write `Name: value`.",
            Self::SpaceBeforeColon => "A blank stands between a field name and its colon; remove it.",
            Self::Folded => "A field line begins with a blank; folded lines are not accepted, use one line.",
            Self::HeadTooLarge => "The head is larger than 16384 bytes; send fewer or shorter fields.",
            Self::TooManyFields => "The head has more than 100 fields; send fewer.",
            Self::RepeatedField => "A field that may come only once is repeated; send it once.",
            Self::HostMissing => "HTTP/1.1 needs a Host field; send one.",
            Self::HostRepeated => "There is more than one Host field; send one.",
            Self::HostInvalid => "The host is not `host` or `host:port`; send a valid one.",
            _ => self.body_detail(),
        }
    }

    /// The same, of what is wrong with the framing of a body.
    fn body_detail(self) -> &'static str {
        match self {
            Self::ContentLength => {
                "Content-Length is not a plain decimal number; send one without sign or leading zero."
            }
            Self::ContentLengthRepeated => "There is more than one Content-Length; send one.",
            Self::LengthAndCoding => {
                "Content-Length and Transfer-Encoding exclude each other; send one of them."
            }
            Self::TransferEncoding => "Transfer-Encoding must be `chunked`, once and last.",
            Self::TransferEncodingOn10 => "HTTP/1.0 has no Transfer-Encoding; send Content-Length.",
            Self::UnknownCoding => {
                "Only the transfer coding `chunked` is implemented; send that or Content-Length."
            }
            Self::Expectation => "Only `Expect: 100-continue` can be met; send that or no Expect.",
            Self::BodyTooLarge => "The body is larger than 8192 bytes; send a smaller one.",
            Self::ChunkSize => {
                "A chunk size is not a plain hexadecimal number followed by CRLF or an extension."
            }
            Self::ChunkExtension => "A chunk extension is malformed; leave it out.",
            Self::ChunkEnd => "A chunk is not followed by CRLF; send as many bytes as its size says.",
            Self::Trailer => "A trailer field is malformed; leave it out.",
            _ => "Chunk extensions and trailers exceed 4096 bytes; leave them out.",
        }
    }
}

#[cfg(test)]
mod torture;
