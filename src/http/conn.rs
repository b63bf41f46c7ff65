//! The receiving side of one connection: bytes in, requests out.
//!
//! ```text
//!            head complete              content complete
//!   Head ─────────────────────▶ Body ─────────────────────▶ Head, for the next request
//!     │                          │
//!     └──────── Refusal ─────────┘   after which nothing more is read as a request
//! ```
//!
//! *Invariant:* the requests that come out depend on the bytes alone, not on how they were cut.

use super::body::BodyDecoder;
use super::parse::Parser;
use super::{Framing, Head, Refusal, Span};

/// How far the current request of a connection has come.
#[derive(Default)]
pub struct Receiver(Stage);

enum Stage {
    Head(Parser),
    Body { head: Head, body: BodyDecoder, continued: bool },
}

impl Default for Stage {
    fn default() -> Self {
        Self::Head(Parser::new())
    }
}

/// What the bytes so far amount to.
pub enum Received<'a> {
    /// Not yet a whole request.
    Incomplete,
    /// The client waits for `100 Continue` before it sends the content (RFC 9110 section 10.1.1).
    AwaitsContinue,
    /// A request, and how many bytes it took.
    Request(Request<'a>, usize),
}

/// A whole request.
pub struct Request<'a> {
    /// Its head, with spans into `bytes`.
    pub head: Head,
    /// The bytes of the head.
    pub bytes: &'a [u8],
    /// The content, with the transfer coding taken off.
    pub content: &'a [u8],
}

impl Request<'_> {
    /// The bytes of a part of the head.
    pub fn get(&self, span: Span) -> &[u8] {
        span.of(self.bytes)
    }
}

impl Receiver {
    /// Looks at `bytes`, which begin with the first byte of the current request and hold all that has come of it.
    ///
    /// # Errors
    ///
    /// The first offence in the bytes; the connection is then to be closed.
    pub fn receive<'a>(&mut self, bytes: &'a mut [u8]) -> Result<Received<'a>, Refusal> {
        if let Stage::Head(parser) = &mut self.0 {
            let Some(head) = parser.parse(bytes)? else {
                return Ok(Received::Incomplete);
            };
            self.0 = Stage::Body { head, body: BodyDecoder::new(head.framing), continued: false };
        }
        let Stage::Body { head, body, continued } = &mut self.0 else {
            return Ok(Received::Incomplete);
        };
        let (head_bytes, rest) = bytes.split_at_mut(head.len);
        let nothing_yet = rest.is_empty();
        let Some(decoded) = body.decode(rest)? else {
            // A client that has begun to send the content waits for nothing.
            let awaits = head.expects_continue && nothing_yet && !*continued;
            *continued = true;
            return Ok(if awaits { Received::AwaitsContinue } else { Received::Incomplete });
        };
        let request = Request { head: *head, bytes: head_bytes, content: &rest[..decoded.content] };
        let consumed = head.len + decoded.consumed;
        self.0 = Stage::default();
        Ok(Received::Request(request, consumed))
    }

    /// As much of the current request's head as has come, once there is a method.
    pub fn head(&self) -> Option<&Head> {
        match &self.0 {
            Stage::Head(parser) => parser.head(),
            Stage::Body { head, .. } => Some(head),
        }
    }

    /// Whether the head is complete, and the content is what is missing.
    pub fn awaits_content(&self) -> bool {
        matches!(&self.0, Stage::Body { head, .. } if head.framing != Framing::Length(0))
    }
}
