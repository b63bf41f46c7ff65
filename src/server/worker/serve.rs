//! Serving one connection: what a turn does with each.
//!
//! ```text
//! wake ──▶ visit ──▶ read ──▶ receive ──▶ decode                what is read and asked
//!             ├────▶ drain                                      what is thrown away
//!             └────▶ flush        encode ──▶ write_all          what is answered
//! ```
//!
//! The turn does each of these for all its connections before it does the next for any: the kernel's code and ours push each
//! other out of the cache, and so do so a few times a turn and not twice a request.
//!
//! *Invariant:* what is decoded or encoded here is one connection's. The others do not notice, not even a panic.

use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;

use super::work::Work;
use super::{Handle, MAX_PIPELINED, Worker};
use crate::app::counters::Counter;
use crate::app::problem::Problem;
use crate::app::{Exchange, Side, Source};
use crate::http::conn::{Received, Receiver};
use crate::http::timeouts::Timeout;
use crate::server::connection::{Effect, Io, Next, Partial, READ, Step, Visit};
use crate::server::poller::Poll;
use crate::store::Interest;

/// What the next bytes have been decoded to.
enum Decoded {
    /// Not a whole request.
    Incomplete,
    /// An exchange, and how many bytes it took: none for one of a head alone. No exchange is the rest of a request that
    /// was answered at its head.
    Exchange(usize, Option<Exchange>),
    /// The broken body of a request that was answered at its head.
    Broken,
}

/// Why decoding has stopped.
enum Stop {
    /// What is left is not a whole request.
    Incomplete,
    /// What is left may be one.
    OthersTurn,
    /// Nothing more is read as a request.
    Last,
}

impl Worker {
    /// Something has happened to a connection.
    pub(super) fn wake(&mut self, handle: Handle, hup: bool) {
        // It may have been closed earlier in this turn.
        let Some(connection) = self.connections.slab.get_mut(handle) else { return };
        connection.socket.unread = true;
        connection.socket.hup |= hup;
        self.visit(handle);
    }

    /// Does what there is to do with a connection.
    pub(super) fn visit(&mut self, handle: Handle) {
        let Some(connection) = self.connections.slab.get_mut(handle) else { return };
        match connection.visit() {
            Visit::Read => self.read(handle, true),
            Visit::Decode => self.read(handle, false),
            Visit::Flush => self.flush(handle),
            Visit::Drain => self.drain(handle),
            Visit::Nothing => {}
        }
    }

    /// Does something with one connection. If it panics, that connection is closed.
    pub(super) fn contain_one(&mut self, handle: Handle, work: impl FnOnce(&mut Self, Handle)) {
        if self.contain(|worker| work(worker, handle)).is_none() {
            self.close(handle);
        }
    }

    /// Takes what has come before into the buffer, and reads behind it if the socket may hold something; to be decoded
    /// with what has come on other connections.
    fn read(&mut self, handle: Handle, from_socket: bool) {
        let Some(connection) = self.connections.slab.get_mut(handle) else { return };
        let len = connection.partial().map_or(0, |partial| partial.bytes.len());
        let from = self.reserve(len + READ);
        let Some(connection) = self.connections.slab.get_mut(handle) else { return };
        let mut to = from;
        let mut begun = false;
        if let Some(partial) = connection.partial() {
            to += partial.bytes.len();
            begun = partial.is_begun();
            self.input.buffer[from..to].copy_from_slice(&partial.bytes);
        }
        if from_socket {
            match connection.socket.read(&mut self.input.buffer[to..to + READ]) {
                Io::Failed => return self.close(handle),
                Io::NotNow => return,
                Io::Done(read) => {
                    to += read;
                    self.links.counters.add(Counter::Received, 0, read as u64);
                }
            }
            if !begun {
                connection.arrived = self.time.micros;
            }
        }
        connection.step(Step::Taken);
        self.input.filled = to;
        self.input.arrivals.push((handle, from..to));
    }

    /// Makes `len` bytes of the buffer free; returns where.
    fn reserve(&mut self, len: usize) -> usize {
        if self.input.filled + len > self.input.buffer.len() {
            self.decode_arrivals();
        }
        self.input.filled
    }

    /// Decodes what has been read so far.
    pub(super) fn decode_arrivals(&mut self) {
        let mut arrivals = std::mem::take(&mut self.input.arrivals);
        for (handle, bytes) in arrivals.drain(..) {
            self.contain_one(handle, |worker, handle| worker.receive(handle, bytes));
        }
        self.input.arrivals = arrivals;
        self.input.filled = 0;
    }

    /// Decodes one connection's bytes, and keeps what is left of them.
    fn receive(&mut self, handle: Handle, bytes: Range<usize>) {
        let Some(connection) = self.connections.slab.get_mut(handle) else { return };
        let mut partial = connection.take_partial();
        let mut receiver =
            partial.as_mut().map_or(Receiver::default(), |partial| std::mem::take(&mut partial.receiver));
        let due = self.work.exchanges.len();
        let (rest, stop) = self.decode(handle, &mut receiver, bytes);
        let mut keep = |rest: Range<usize>| {
            let mut partial = partial.take().unwrap_or_default();
            partial.receiver = std::mem::take(&mut receiver);
            partial.receiver.keep(&self.input.buffer[rest], &mut partial.bytes);
            partial
        };
        let next = match stop {
            Stop::Last => Next::Close,
            _ if rest.is_empty() => Next::Wait(None),
            Stop::OthersTurn => Next::Decode(keep(rest)),
            Stop::Incomplete => Next::Wait(Some(keep(rest))),
        };
        let next = self.at_end(handle, next);
        self.step(handle, Step::Decoded(self.work.exchanges.len() > due, next));
    }

    /// What follows where the client has sent its last byte, and every whole request has been decoded: nothing, and a
    /// refusal for the beginning of one more.
    fn at_end(&mut self, handle: Handle, next: Next) -> Next {
        let Some(connection) = self.connections.slab.get_mut(handle) else { return next };
        match next {
            Next::Wait(partial) if connection.socket.eof => {
                let source = connection.source();
                if let Some(partial) = partial.filter(|partial| partial.is_begun()) {
                    let known = partial.receiver.head().map(|head| (head, &partial.bytes[..]));
                    let exchange = self.app.refuse(source, Problem::Truncated, known, &mut self.work.turn);
                    self.work.exchanges.push((handle, exchange));
                }
                Next::Wait(None)
            }
            next => next,
        }
    }

    /// Decodes the requests in these bytes of the buffer; returns which of them are left, and why it stopped.
    fn decode(
        &mut self,
        handle: Handle,
        receiver: &mut Receiver,
        bytes: Range<usize>,
    ) -> (Range<usize>, Stop) {
        let Range { start: mut at, end } = bytes;
        let Some(connection) = self.connections.slab.get_mut(handle) else { return (end..end, Stop::Last) };
        let (mut source, mut requests) = (connection.source(), 0);
        let most = if source.side == Side::Admin { 1 } else { MAX_PIPELINED };
        let stop = loop {
            if at == end {
                break Stop::Incomplete;
            }
            if requests == most {
                break Stop::OthersTurn;
            }
            let (len, exchange) = match self.decode_one(source, receiver, at..end) {
                Decoded::Incomplete => break Stop::Incomplete,
                Decoded::Broken => break Stop::Last,
                Decoded::Exchange(len, exchange) => (len, exchange),
            };
            if len > 0 {
                at += len;
                source.arrived = self.time.micros;
            }
            let Some(exchange) = exchange else { continue };
            self.work.exchanges.push((handle, exchange));
            requests += 1;
            if let Some(stop) = self.stop_behind(&exchange) {
                break stop;
            }
        };
        if let Some(connection) = self.connections.slab.get_mut(handle) {
            connection.arrived = source.arrived;
        }
        (at..end, stop)
    }

    /// Whether no more is to be decoded behind this exchange.
    fn stop_behind(&self, exchange: &Exchange) -> Option<Stop> {
        if exchange.closes() {
            return Some(Stop::Last);
        }
        // Responses that are not read must not fill the memory: the rest waits until this one is written.
        self.app.may_be_long(exchange, &self.work.turn).then_some(Stop::OthersTurn)
    }

    /// Decodes what these bytes of the buffer begin with.
    fn decode_one(&mut self, source: Source, receiver: &mut Receiver, bytes: Range<usize>) -> Decoded {
        let turn = &mut self.work.turn;
        match receiver.receive(&mut self.input.buffer[bytes.clone()]) {
            Ok(Received::Incomplete) => Decoded::Incomplete,
            Ok(Received::Head { request, waits }) => {
                let refused = self.app.judge(source, &request, waits, turn);
                if refused.is_some() {
                    receiver.answer();
                }
                match refused.or_else(|| waits.then(|| Exchange::interim(source))) {
                    Some(exchange) => Decoded::Exchange(0, Some(exchange)),
                    None => Decoded::Incomplete,
                }
            }
            Ok(Received::Rest(len)) => Decoded::Exchange(len, None),
            Ok(Received::Request(request, len)) => {
                Decoded::Exchange(len, Some(self.app.decode(source, &request, turn)))
            }
            Err(_) if receiver.is_answered() => Decoded::Broken,
            Err(refusal) => {
                let known = receiver.head().map(|head| (head, &self.input.buffer[bytes]));
                Decoded::Exchange(0, Some(self.app.refuse(source, Problem::Framing(refusal), known, turn)))
            }
        }
    }

    /// Responds that no more requests are taken from this connection; `partial` is what has come of one.
    pub(super) fn refuse(&mut self, handle: Handle, problem: Problem, partial: Option<&Partial>) {
        let Some(connection) = self.connections.slab.get_mut(handle) else { return };
        let known = partial.and_then(|partial| Some((partial.receiver.head()?, &partial.bytes[..])));
        let exchange = self.app.refuse(connection.source(), problem, known, &mut self.work.turn);
        self.work.exchanges.push((handle, exchange));
        self.step(handle, Step::Decoded(true, Next::Close));
    }

    /// Encodes one connection's responses.
    pub(super) fn encode(&mut self, handle: Handle, group: &[(Handle, Exchange)], work: &Work) {
        let Some(connection) = self.connections.slab.get_mut(handle) else { return };
        let stops = self.stop_by.is_some() && connection.is_last();
        if stops {
            connection.step(Step::Last);
        }
        let from = self.output.bytes.len();
        for (i, (_, exchange)) in group.iter().enumerate() {
            let is_last = stops && i + 1 == group.len();
            let exchange = if is_last { &exchange.closing() } else { exchange };
            let (micros, page) = (self.time.micros, work.page.as_deref());
            self.app.encode(exchange, micros, &work.turn, page, &mut self.output.bytes);
        }
        self.output.writes.push((handle, from..self.output.bytes.len()));
    }

    /// Writes what has been encoded so far, once a connection.
    pub(super) fn write_all(&mut self) {
        let mut writes = std::mem::take(&mut self.output.writes);
        for (handle, bytes) in writes.drain(..) {
            let Some(connection) = self.connections.slab.get_mut(handle) else { continue };
            let (io, effect) = connection.send(&self.output.bytes[bytes]);
            self.sent(handle, io, effect);
        }
        self.output.writes = writes;
        self.output.bytes.clear();
    }

    /// Goes on writing what the client was slow to take.
    fn flush(&mut self, handle: Handle) {
        let Some(connection) = self.connections.slab.get_mut(handle) else { return };
        let (io, effect) = connection.flush();
        let is_all = matches!(effect, Effect::AwaitAnew(_));
        if is_all {
            let (stream, token) = (connection.socket.stream.as_fd(), handle.token());
            if self.connections.poller.set(stream, token, Interest::Read).is_err() {
                return self.close(handle);
            }
        }
        self.sent(handle, io, effect);
        if is_all && self.stop_by.is_some() {
            self.read_once_more(handle);
        }
    }

    fn sent(&mut self, handle: Handle, io: Io, effect: Effect) {
        if let Io::Done(sent) = io {
            self.links.counters.add(Counter::Sent, 0, sent as u64);
        }
        self.effect(handle, effect);
    }

    /// Reads and throws away, until the client has ended too or has sent too much.
    fn drain(&mut self, handle: Handle) {
        let from = self.reserve(READ);
        let Some(connection) = self.connections.slab.get_mut(handle) else { return };
        match connection.socket.read(&mut self.input.buffer[from..from + READ]) {
            Io::NotNow => {}
            Io::Done(read) => self.step(handle, Step::Drained(read)),
            Io::Failed => self.close(handle),
        }
    }

    fn step(&mut self, handle: Handle, step: Step) {
        let Some(connection) = self.connections.slab.get_mut(handle) else { return };
        let effect = connection.step(step);
        self.effect(handle, effect);
    }

    /// Does what a step of the connection asks for.
    fn effect(&mut self, handle: Handle, effect: Effect) {
        let (now, token) = (self.time.now.steady, handle.token());
        let Some(connection) = self.connections.slab.get_mut(handle) else { return };
        match effect {
            Effect::None => return,
            Effect::Await(timeout) => self.connections.deadlines.go_on(handle, timeout, now),
            Effect::AwaitAnew(timeout) => self.connections.deadlines.begin(handle, timeout, now),
            Effect::AwaitSpace => {
                self.connections.deadlines.go_on(handle, Timeout::Write, now);
                let stream = connection.socket.stream.as_fd();
                if self.connections.poller.set(stream, token, Interest::Write).is_err() {
                    return self.close(handle);
                }
            }
            Effect::Close => return self.close(handle),
        }
        if connection.wants_visit() {
            self.schedule(handle);
        }
    }

    /// Closes all connections; returns how many there were.
    pub(super) fn close_all(&mut self) -> usize {
        let all: Vec<Handle> = self.connections.slab.handles().collect();
        all.iter().for_each(|handle| self.close(*handle));
        all.len()
    }

    pub(super) fn close(&mut self, handle: Handle) {
        if let Some(connection) = self.connections.slab.remove(handle) {
            // Only now: of a handle that is stale, the slot may be another connection's.
            self.connections.deadlines.end(handle);
            self.connections.poller.remove(connection.socket.stream.as_fd());
            self.links.counters.bump(Counter::Closed, 0);
            self.links.shared.open[connection.side as usize].fetch_sub(1, Relaxed);
        }
    }
}
