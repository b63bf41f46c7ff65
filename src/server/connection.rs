//! One client's connection: its socket, and the state machine of its life.
//!
//! ```text
//!   ┌──────────▶ Waiting ──the socket is ready──▶ Read ──decoded, no whole request──▶ Waiting
//!   │                                             ▲ │
//!   │                      Ready ──its next turn──┘ │ decoded, a response is due
//!   │                        ▲                      ▼
//!   │ written                │ written          Responding       a slow engine keeps it here; it is not read meanwhile
//!   ├────────────────────────┴──────────────────────┤
//!   │                        │ written              │ the socket is full
//!   └────────────────────────┴─────────────────── Writing
//!                                                   │ the last response is written
//!                                                   ▼
//!                                               Draining ──the end, or enough──▶ closed
//! ```
//!
//! *Invariant:* only [`Connection::step`] changes the state. A buffer belongs to a connection only while it holds
//! bytes, so an idle one costs its slot and no more. (Tested by `each_step_leads_where_the_drawing_says`.)

use core::net::SocketAddr;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::app::Source;
use crate::app::auth::signed::LastToken;
use crate::app::counters::{Counter, Counters, Timeout};
use crate::http::conn::Receiver;

/// How many bytes are read from one connection in one turn.
pub const READ: usize = 32 * 1024;
/// How many bytes are read and thrown away of a client that goes on sending after its last response.
pub const MAX_DRAIN: usize = 256 * 1024;

pub struct Connection {
    pub socket: Socket,
    pub peer: SocketAddr,
    state: State,
    /// It is in the list of those to be visited in the next turn.
    pub scheduled: bool,
    /// When the first byte of the current request was read, in microseconds.
    pub arrived: u64,
    /// So that a token is verified once, and not with each request.
    pub last_token: LastToken,
}

/// Where a connection is in its life.
enum State {
    /// A request, or the rest of one, is still to come.
    Waiting(Option<Box<Partial>>),
    /// What has come may hold a whole request: it was another connection's turn.
    Ready(Box<Partial>),
    /// What has come is in the worker's buffer, to be decoded in this turn.
    Read(Option<Box<Partial>>),
    /// Responses are due, and have not been written.
    Responding(Next),
    /// The client is slow to read its responses.
    Writing(Box<Unsent>, Next),
    /// The client may still be sending. A reset for what it sends would destroy the last response, so it is read and
    /// thrown away: so many bytes so far.
    Draining(usize),
}

/// What follows when all responses are written.
pub enum Next {
    /// The next request, or the rest of one.
    Wait(Option<Box<Partial>>),
    /// Requests that have come already.
    Decode(Box<Partial>),
    /// Nothing: the last response was the last.
    Close,
}

/// What happens to a connection.
pub enum Step {
    /// What has come is in the worker's buffer.
    Taken,
    /// It has been decoded: whether a response is due, and what follows.
    Decoded(bool, Next),
    /// The responses are to be the last.
    Last,
    /// The responses are written, but for these bytes.
    Written(Option<Box<Unsent>>),
    /// So many bytes were thrown away.
    Drained(usize),
}

/// What a step asks of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    /// Give it up when this does not come in time. The time goes on if it waits for this already.
    Await(Timeout),
    /// The same, and the time begins now.
    AwaitAnew(Timeout),
    /// Tell when there is space to write, and give it up when that does not come in time.
    AwaitSpace,
    Close,
}

/// A request that is not all there.
#[derive(Default)]
pub struct Partial {
    /// Everything that has come since the last whole request.
    pub bytes: Vec<u8>,
    /// How far they have been looked at.
    pub receiver: Receiver,
}

impl Partial {
    /// Whether it is still to be answered. The body of one that was answered at its head is none, nor is the empty line
    /// that old clients send behind a request (RFC 9112 section 2.2).
    pub fn is_begun(&self) -> bool {
        !self.receiver.is_answered() && !matches!(&self.bytes[..], b"\r" | b"\r\n")
    }
}

/// Responses that the client has not yet taken.
pub struct Unsent {
    bytes: Vec<u8>,
    /// `sent < bytes.len()`
    sent: usize,
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(stream: TcpStream, peer: SocketAddr) -> Self {
        let socket = Socket { stream, unread: false, hup: false, eof: false };
        let (state, last_token) = (State::Waiting(None), LastToken::default());
        Self { socket, peer, state, scheduled: false, arrived: 0, last_token }
    }

    /// Changes the state. Inlined, since each caller knows which step it is: little is left of the match then.
    #[inline(always)]
    pub fn step(&mut self, step: Step) -> Effect {
        let state = std::mem::replace(&mut self.state, State::Waiting(None));
        let (state, effect) = match (state, step) {
            (State::Waiting(partial), Step::Taken) => (State::Read(partial), Effect::None),
            (State::Ready(partial), Step::Taken) => (State::Read(Some(partial)), Effect::None),
            (_, Step::Decoded(true, next)) => (State::Responding(next), Effect::None),
            (_, Step::Decoded(false, next)) => self.follow(next, Effect::Await),
            (State::Responding(_), Step::Last) => (State::Responding(Next::Close), Effect::None),
            (State::Responding(next) | State::Writing(_, next), Step::Written(Some(unsent))) => {
                (State::Writing(unsent, next), Effect::AwaitSpace)
            }
            (State::Responding(next) | State::Writing(_, next), Step::Written(None)) => {
                self.follow(next, Effect::AwaitAnew)
            }
            (State::Draining(before), Step::Drained(n)) if n > 0 && before < MAX_DRAIN => {
                (State::Draining(before + n), Effect::Await(Timeout::Drain))
            }
            (State::Draining(before), Step::Drained(_)) => (State::Draining(before), Effect::Close),
            // A step that does not fit changes nothing.
            (state, _) => (state, Effect::None),
        };
        // What stood there meanwhile holds nothing, so that there is nothing to drop.
        std::mem::forget(std::mem::replace(&mut self.state, state));
        effect
    }

    /// The state behind the responses, or behind bytes that called for none.
    #[inline(always)]
    fn follow(&mut self, next: Next, wait: fn(Timeout) -> Effect) -> (State, Effect) {
        match next {
            Next::Wait(None) if self.socket.eof => (State::Waiting(None), Effect::Close),
            Next::Wait(partial) => {
                let timeout = self.timeout(partial.as_deref());
                (State::Waiting(partial), wait(timeout))
            }
            Next::Decode(partial) => {
                let timeout = self.timeout(Some(&partial));
                (State::Ready(partial), wait(timeout))
            }
            // A client that has gone already needs no time to read.
            Next::Close if self.socket.shut().is_err() || self.socket.eof => {
                (State::Draining(0), Effect::Close)
            }
            Next::Close => (State::Draining(0), Effect::AwaitAnew(Timeout::Drain)),
        }
    }

    fn timeout(&self, partial: Option<&Partial>) -> Timeout {
        match partial {
            Some(partial) if partial.receiver.awaits_body() => Timeout::Body,
            Some(partial) if partial.is_begun() => Timeout::Head,
            _ => Timeout::Idle,
        }
    }

    /// What is to be done when it is visited.
    pub fn visit(&self) -> Visit {
        match &self.state {
            State::Waiting(_) if self.socket.unread => Visit::Read,
            State::Ready(_) => Visit::Decode,
            State::Writing(..) => Visit::Flush,
            State::Draining(_) if self.socket.unread => Visit::Drain,
            _ => Visit::Nothing,
        }
    }

    /// Whether it should be visited in the next turn though the poller may not tell of it again.
    pub fn wants_visit(&self) -> bool {
        !matches!(self.visit(), Visit::Flush | Visit::Nothing)
    }

    /// Takes what has come of a request before, to be decoded or refused.
    pub fn take_partial(&mut self) -> Option<Box<Partial>> {
        match &mut self.state {
            State::Waiting(partial) | State::Read(partial) => partial.take(),
            _ => None,
        }
    }

    /// Whether nothing of a request has come and nothing is due.
    pub fn is_idle(&self) -> bool {
        match &self.state {
            State::Waiting(partial) => partial.as_ref().is_none_or(|partial| !partial.is_begun()),
            _ => false,
        }
    }

    /// Whether a response is due.
    pub fn is_responding(&self) -> bool {
        matches!(self.state, State::Responding(_))
    }

    /// Whether the responses that are due are the last of what has come.
    pub fn is_last(&self) -> bool {
        match &self.state {
            State::Responding(Next::Wait(partial)) => {
                partial.as_ref().is_none_or(|partial| !partial.is_begun())
            }
            State::Responding(next) => matches!(next, Next::Close),
            _ => false,
        }
    }

    /// Who sends the current request.
    pub fn source(&self) -> Source {
        Source { peer: self.peer, arrived: self.arrived }
    }

    /// Puts what has come of a request before into `buffer`, and behind it what the socket holds, unless enough has come
    /// already. Returns how many bytes there are to decode, or why there are none.
    pub fn read(&mut self, buffer: &mut [u8], micros: u64, counters: &Counters) -> Result<usize, Effect> {
        let (mut len, mut is_begun) = (0, false);
        if let State::Waiting(Some(partial)) | State::Ready(partial) = &self.state {
            (len, is_begun) = (partial.bytes.len(), partial.is_begun());
            buffer[..len].copy_from_slice(&partial.bytes);
        }
        if matches!(self.state, State::Waiting(_)) {
            len += self.socket.read(&mut buffer[len..len + READ], counters)?;
            if !is_begun {
                self.arrived = micros;
            }
        }
        self.step(Step::Taken);
        Ok(len)
    }

    /// Sends `bytes` as far as the socket takes them, and keeps the rest.
    pub fn send(&mut self, bytes: &[u8], counters: &Counters) -> Effect {
        let sent = match self.socket.write(bytes, counters) {
            Err(Effect::Close) => return Effect::Close,
            sent => sent.unwrap_or(0),
        };
        let unsent =
            (sent < bytes.len()).then(|| Box::new(Unsent { bytes: bytes[sent..].to_vec(), sent: 0 }));
        self.step(Step::Written(unsent))
    }

    /// Sends what is still to be sent, as far as the socket takes it.
    pub fn flush(&mut self, counters: &Counters) -> Effect {
        let State::Writing(unsent, _) = &mut self.state else { return Effect::None };
        match self.socket.write(&unsent.bytes[unsent.sent..], counters) {
            Ok(sent) if unsent.sent + sent == unsent.bytes.len() => self.step(Step::Written(None)),
            Ok(sent) => {
                unsent.sent += sent;
                Effect::None
            }
            Err(effect) => effect,
        }
    }

    /// Reads and throws away, until the client has ended too or has sent too much.
    pub fn drain(&mut self, buffer: &mut [u8], counters: &Counters) -> Effect {
        let read = self.socket.read(&mut buffer[..READ], counters);
        read.map_or_else(|effect| effect, |read| self.step(Step::Drained(read)))
    }
}

/// A client's socket, and what an edge-triggered poller has told of it and will not tell again.
pub struct Socket {
    pub stream: TcpStream,
    /// It may hold bytes that have not been read.
    pub unread: bool,
    /// The poller has told of the end or of urgent data; either may stand behind bytes that are still to be read.
    pub hup: bool,
    /// The end has been read: the client has sent its last byte.
    pub eof: bool,
}

impl Socket {
    /// Reads into `buffer` once; 0 is the end. A read that does not fill it has emptied the socket, but for `hup`.
    fn read(&mut self, buffer: &mut [u8], counters: &Counters) -> Result<usize, Effect> {
        let read = done(self.stream.read(buffer), Counter::Received, counters);
        self.eof |= read == Ok(0);
        self.unread = !self.eof && (self.hup || read == Ok(buffer.len()));
        read
    }

    fn write(&mut self, bytes: &[u8], counters: &Counters) -> Result<usize, Effect> {
        done(self.stream.write(bytes), Counter::Sent, counters)
    }

    fn shut(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }
}

/// How many bytes were moved; or what is to be done when none can be, now or for good.
fn done(result: io::Result<usize>, counter: Counter, counters: &Counters) -> Result<usize, Effect> {
    match result.map_err(|error| error.kind()) {
        Ok(n) => {
            counters.add(counter, 0, n as u64);
            Ok(n)
        }
        Err(io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Err(Effect::None),
        Err(_) => Err(Effect::Close),
    }
}

/// What there is to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Read from its socket, and decode what has come.
    Read,
    /// Decode what has come before.
    Decode,
    /// Write what the socket did not take before.
    Flush,
    /// Read from its socket, and throw away what has come.
    Drain,
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn connection() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = listener.accept().unwrap();
        (Connection::new(stream, peer), client)
    }

    fn partial(bytes: &[u8]) -> Option<Box<Partial>> {
        Some(Box::new(Partial { bytes: bytes.to_vec(), receiver: Receiver::default() }))
    }

    /// Takes a new connection through these steps; `expected` is what the last one asks for.
    #[track_caller]
    fn check(eof: bool, steps: Vec<Step>, expected: Effect, visit: Visit) {
        let (mut connection, _client) = connection();
        connection.socket.eof = eof;
        connection.socket.unread = !eof;
        let effects: Vec<Effect> = steps.into_iter().map(|step| connection.step(step)).collect();
        assert_eq!((effects.last().copied(), connection.visit()), (Some(expected), visit));
    }

    #[test]
    fn each_step_leads_where_the_drawing_says() {
        use Step::{Decoded, Drained, Last, Taken, Written};
        let unsent = || Some(Box::new(Unsent { bytes: vec![1, 2], sent: 1 }));
        let rest = || Next::Decode(partial(b"GET").unwrap());
        check(false, vec![Taken], Effect::None, Visit::Nothing);
        check(
            false,
            vec![Taken, Decoded(false, Next::Wait(None))],
            Effect::Await(Timeout::Idle),
            Visit::Read,
        );
        let begun = || Next::Wait(partial(b"GET"));
        check(false, vec![Taken, Decoded(false, begun())], Effect::Await(Timeout::Head), Visit::Read);
        let crlf = || Next::Wait(partial(b"\r\n"));
        check(false, vec![Taken, Decoded(false, crlf())], Effect::Await(Timeout::Idle), Visit::Read);
        check(true, vec![Taken, Decoded(false, Next::Wait(None))], Effect::Close, Visit::Nothing);
        let due = |next| vec![Taken, Decoded(true, next)];
        check(false, due(Next::Wait(None)), Effect::None, Visit::Nothing);
        let and = |mut steps: Vec<Step>, step| {
            steps.push(step);
            steps
        };
        let written = |next| and(due(next), Written(None));
        check(false, written(Next::Wait(None)), Effect::AwaitAnew(Timeout::Idle), Visit::Read);
        check(false, written(begun()), Effect::AwaitAnew(Timeout::Head), Visit::Read);
        check(false, written(rest()), Effect::AwaitAnew(Timeout::Head), Visit::Decode);
        check(false, written(Next::Close), Effect::AwaitAnew(Timeout::Drain), Visit::Drain);
        check(true, written(Next::Close), Effect::Close, Visit::Nothing);
        check(true, written(Next::Wait(None)), Effect::Close, Visit::Nothing);
        check(
            false,
            and(and(due(rest()), Last), Written(None)),
            Effect::AwaitAnew(Timeout::Drain),
            Visit::Drain,
        );
        let writing = |next| and(due(next), Written(unsent()));
        check(false, writing(begun()), Effect::AwaitSpace, Visit::Flush);
        check(false, and(writing(begun()), Taken), Effect::None, Visit::Flush);
        check(false, and(writing(rest()), Written(None)), Effect::AwaitAnew(Timeout::Head), Visit::Decode);
        let draining = |n| and(written(Next::Close), Drained(n));
        check(false, draining(9), Effect::Await(Timeout::Drain), Visit::Drain);
        check(false, draining(0), Effect::Close, Visit::Drain);
        check(false, and(draining(MAX_DRAIN), Drained(1)), Effect::Close, Visit::Drain);
    }
}
