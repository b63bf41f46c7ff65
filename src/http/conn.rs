//! The receiving side of one connection: bytes in, requests out.
//!
//! ```text
//!            head complete              body complete
//!   Head ─────────────────────▶ Body ─────────────────────▶ Head, for the next request
//!     │                          │
//!     └──────── Refusal ─────────┘   after which nothing more is read as a request
//! ```
//!
//! A head whose body is still to come is handed out too, once: what it alone decides need not wait. A request that
//! got its response so is over for the client. Its body is read to its end all the same, so that the next request is
//! found behind it.
//!
//! *Invariant:* the requests that come out depend on the bytes alone, not on how they were cut. (Tested by
//! `every_row_is_answered_the_same_however_its_bytes_are_cut`.)

use super::body::BodyDecoder;
use super::parse::Parser;
use super::{Framing, Head, Refusal, Span};

/// How far the current request of a connection has come.
#[derive(Default)]
pub struct Receiver(Phase);

enum Phase {
    Head(Parser),
    Body { head: Head, body: BodyDecoder, head_is: HeadIs },
}

/// What has become of a head whose body is still to come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HeadIs {
    Unseen,
    HandedOut,
    Answered,
}

impl Default for Phase {
    fn default() -> Self {
        Self::Head(Parser::new())
    }
}

/// What the bytes so far amount to.
#[derive(Debug)]
pub enum Received<'a> {
    /// Not yet a whole request.
    Incomplete,
    /// The head of a request whose body is still to come: once a request, and never of one that comes whole.
    Head {
        /// The request, without a body.
        request: Request<'a>,
        /// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 section 10.1.1).
        waits: bool,
    },
    /// A request, and how many bytes it took.
    Request(Request<'a>, usize),
    /// The end of a request that was answered at its head, and how many bytes it took.
    Rest(usize),
}

#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its head, with spans into `bytes`.
    pub head: Head,
    /// The bytes of the head.
    pub bytes: &'a [u8],
    /// The body, with the transfer coding taken off; None while it is still to come.
    pub body: Option<&'a [u8]>,
}

impl Request<'_> {
    /// The bytes of a part of the head.
    pub fn get(&self, span: Span) -> &[u8] {
        span.of(self.bytes)
    }

    /// Whether there is a body of at least one byte, or certainly will be. Of a chunked one that is still to come only
    /// `Expect` says so: a client must not send that without a body (RFC 9110 section 10.1.1).
    pub fn has_body(&self) -> bool {
        match self.body {
            Some(body) => !body.is_empty(),
            None => self.head.framing != Framing::Chunked || self.head.expects_continue,
        }
    }
}

impl Receiver {
    /// Looks at `bytes`, which begin with the first byte of the current request and hold all that has come of it.
    /// An error is the first fault in the bytes; the connection is then to be closed.
    pub fn receive<'a>(&mut self, bytes: &'a mut [u8]) -> Result<Received<'a>, Refusal> {
        if let Phase::Head(parser) = &mut self.0 {
            let Some(head) = parser.parse(bytes)? else {
                return Ok(Received::Incomplete);
            };
            let body = BodyDecoder::new(head.framing);
            self.0 = Phase::Body { head, body, head_is: HeadIs::Unseen };
        }
        let Phase::Body { head, body, head_is } = &mut self.0 else {
            return Ok(Received::Incomplete);
        };
        let (head_bytes, rest) = bytes.split_at_mut(head.len);
        let nothing_yet = rest.is_empty();
        let mut request = Request { head: *head, bytes: head_bytes, body: None };
        let Some(decoded) = body.decode(rest)? else {
            if *head_is != HeadIs::Unseen {
                return Ok(Received::Incomplete);
            }
            *head_is = HeadIs::HandedOut;
            // A client that has begun to send the body waits for nothing.
            return Ok(Received::Head { request, waits: head.expects_continue && nothing_yet });
        };
        request.body = Some(&rest[..decoded.body]);
        let (consumed, answered) = (head.len + decoded.consumed, *head_is == HeadIs::Answered);
        self.0 = Phase::default();
        Ok(if answered { Received::Rest(consumed) } else { Received::Request(request, consumed) })
    }

    /// Notes that the current request was answered, its body still to come.
    pub fn answer(&mut self) {
        if let Phase::Body { head_is, .. } = &mut self.0 {
            *head_is = HeadIs::Answered;
        }
    }

    /// Whether the current request was answered, and only its body is still to come.
    pub fn is_answered(&self) -> bool {
        matches!(self.0, Phase::Body { head_is: HeadIs::Answered, .. })
    }

    /// Replaces `kept` by what is still needed of `bytes`, which `receive` has just looked at and which it is to be shown
    /// again with more behind them: the head, the body as far as it is decoded, and what is not decoded yet.
    pub fn keep(&mut self, bytes: &[u8], kept: &mut Vec<u8>) {
        let gap = match &mut self.0 {
            Phase::Head(_) => 0..0,
            Phase::Body { head, body, .. } => {
                let gap = body.close_gap();
                head.len + gap.start..head.len + gap.end
            }
        };
        kept.clear();
        // Not the usual growth by doubling: this is what a client can make a server hold.
        kept.reserve_exact(bytes.len() - gap.len());
        kept.extend_from_slice(&bytes[..gap.start]);
        kept.extend_from_slice(&bytes[gap.end..]);
    }

    /// As much of the current request's head as has come, once there is a method.
    pub fn head(&self) -> Option<&Head> {
        match &self.0 {
            Phase::Head(parser) => parser.head(),
            Phase::Body { head, .. } => Some(head),
        }
    }

    /// Whether the head is complete, and the body is what is missing.
    pub fn awaits_body(&self) -> bool {
        matches!(&self.0, Phase::Body { .. })
    }
}

#[cfg(test)]
mod tests;
