//! Serving one connection: what a turn does with each.
//!
//! ```text
//! wake ──▶ visit ──▶ what is read ──▶ decode                    what is asked
//!            ├─────▶ what is thrown away, or was slow to be taken
//!                                     encode ──▶ write_all      what is answered
//! ```
//!
//! The turn does each of these for as many connections as a buffer takes before it does the next for any: the kernel's code
//! and ours push each other out of the cache, and so do so a few times a turn and not twice a request.
//!
//! *Invariant:* what is decoded or encoded here is one connection's. The others do not notice, not even a panic.
//! (Tested by `a_panic_in_one_request_is_counted_and_the_next_are_served`.)

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;

use super::parking::Work;
use super::{Connections, Handle, MAX_OUT, MAX_PARTIAL, MAX_PIPELINED, Output, Worker};
use crate::app::counters::{Counter, Timeout};
use crate::app::problem::Problem;
use crate::app::site::Life;
use crate::app::{App, Exchange, Requests, Source};
use crate::http::conn::{Received, Receiver};
use crate::poller::{Interest, Poll};
use crate::server::connection::{Connection, Effect, Next, READ, Step, Visit};

impl Worker {
    /// Something has happened to a connection.
    pub(super) fn wake(&mut self, handle: Handle, hup: bool) {
        // It may have been closed earlier in this turn.
        let Some(connection) = self.connections.slab.get_mut(handle) else { return };
        connection.socket.unread = true;
        connection.socket.hup |= hup;
        if connection.visit() == Visit::Nothing {
            self.connections.poller.rest(connection.socket.stream.as_fd());
        }
        self.visit(handle);
    }

    /// Does what there is to do with a connection. What is read is to be decoded with what has come on other connections.
    pub(super) fn visit(&mut self, handle: Handle) {
        if self.input.filled + MAX_PARTIAL + READ > self.input.buffer.len() {
            self.decode_arrivals();
        }
        let counters = &self.shared.site.counters[self.number];
        let Connections { slab, poller, .. } = &mut self.connections;
        let Some(connection) = slab.get_mut(handle) else { return };
        let buffer = &mut self.input.buffer[self.input.filled..];
        let visit = connection.visit();
        if connection.wants_visit() {
            poller.go_on(connection.socket.stream.as_fd());
        }
        let effect = match visit {
            Visit::Nothing => return,
            Visit::Read | Visit::Decode => match connection.read(buffer, self.app.micros, counters) {
                Ok(len) => return self.input.add(handle, len),
                Err(effect) => effect,
            },
            Visit::Drain => connection.drain(buffer, counters),
            Visit::Flush => connection.flush(counters),
        };
        self.apply(handle, effect);
        if self.stop_by.is_some() && matches!(effect, Effect::AwaitAnew(_)) {
            self.read_once_more(handle);
        }
    }

    /// Decodes what has been read so far.
    pub(super) fn decode_arrivals(&mut self) {
        let mut arrivals = std::mem::take(&mut self.input.arrivals);
        for (handle, bytes) in arrivals.drain(..) {
            let Some(connection) = self.connections.slab.get_mut(handle) else { continue };
            let (app, work, bytes) = (&mut self.app, &mut self.work, &mut self.input.buffer[bytes]);
            let decoded = catch_unwind(AssertUnwindSafe(|| work.decode(app, handle, connection, bytes)));
            match decoded {
                Ok(effect) => self.apply(handle, effect),
                Err(_) => self.close_after_panic(handle),
            }
        }
        self.input.arrivals = arrivals;
        self.input.filled = 0;
    }

    /// Encodes the responses of one connection.
    pub(super) fn encode(&mut self, group: &[(Handle, Exchange)], requests: &Requests, micros: u64) {
        let handle = group[0].0;
        let Some(connection) = self.connections.slab.get_mut(handle) else { return };
        // Asked of the site: this worker may not have looked for messages since.
        let stops = self.shared.site.has_reached(Life::Stopping) && connection.is_last();
        if stops {
            connection.step(Step::Last);
        }
        let (app, Output { bytes, writes }) = (&mut self.app, &mut self.output);
        let from = bytes.len();
        let encoded = catch_unwind(AssertUnwindSafe(|| {
            for (i, (_, exchange)) in group.iter().enumerate() {
                let is_last = stops && i + 1 == group.len();
                let exchange = if is_last { &exchange.closing() } else { exchange };
                app.encode(exchange, micros, requests, bytes);
            }
        }));
        match encoded {
            Ok(()) => writes.push((handle, from..bytes.len())),
            Err(_) => return self.close_after_panic(handle),
        }
        if self.output.bytes.len() > MAX_OUT {
            self.write_all();
        }
    }

    /// Writes what has been encoded so far, once a connection.
    pub(super) fn write_all(&mut self) {
        let mut writes = std::mem::take(&mut self.output.writes);
        for (handle, bytes) in writes.drain(..) {
            let counters = &self.shared.site.counters[self.number];
            let Some(connection) = self.connections.slab.get_mut(handle) else { continue };
            let effect = connection.send(&self.output.bytes[bytes], counters);
            self.apply(handle, effect);
        }
        self.output.writes = writes;
        self.output.bytes.clear();
    }

    /// Does what a step of the connection asks for.
    fn apply(&mut self, handle: Handle, effect: Effect) {
        let (now, Connections { slab, poller, deadlines, .. }) = (self.app.now.steady, &mut self.connections);
        let Some(connection) = slab.get_mut(handle) else { return };
        let watched = match effect {
            Effect::None => return,
            Effect::Close => return self.close(handle),
            Effect::Await(timeout) => {
                deadlines.go_on(handle, timeout, now);
                None
            }
            Effect::AwaitAnew(timeout) => {
                let was_writing = deadlines.waits_for(handle) == Some(Timeout::Write);
                deadlines.begin(handle, timeout, now);
                was_writing.then_some(Interest::Read)
            }
            Effect::AwaitSpace => {
                deadlines.go_on(handle, Timeout::Write, now);
                Some(Interest::Write)
            }
        };
        let (stream, token) = (connection.socket.stream.as_fd(), handle.token());
        if watched.is_some_and(|interest| poller.set(stream, token, interest).is_err()) {
            self.close(handle);
        } else if connection.wants_visit() {
            self.schedule(handle);
        }
    }

    /// Closes all connections; returns how many there were.
    pub(super) fn close_all(&mut self) -> usize {
        let all: Vec<Handle> = self.connections.slab.handles().collect();
        all.iter().for_each(|handle| self.close(*handle));
        all.len()
    }

    /// What concerns one connection alone has panicked: the others go on.
    fn close_after_panic(&mut self, handle: Handle) {
        self.counters().bump(Counter::Panics, 0);
        self.close(handle);
    }

    pub(super) fn close(&mut self, handle: Handle) {
        if let Some(connection) = self.connections.slab.remove(handle) {
            // Only now: of a handle that is stale, the slot may be another connection's.
            self.connections.deadlines.end(handle);
            self.connections.poller.remove(connection.socket.stream.as_fd());
            self.counters().bump(Counter::Closed, 0);
            self.inbox().open.fetch_sub(1, Relaxed);
        }
    }
}

/// Why no more of a connection's bytes are decoded.
enum Stop {
    /// What is left is not a whole request.
    Incomplete,
    /// What is left may be one.
    OthersTurn,
    /// Nothing more is read as a request.
    Last,
}

impl Work {
    /// Decodes one connection's bytes; it keeps what is left of them.
    fn decode(
        &mut self,
        app: &mut App,
        handle: Handle,
        connection: &mut Connection,
        bytes: &mut [u8],
    ) -> Effect {
        let mut partial = connection.take_partial();
        let mut receiver =
            partial.as_mut().map_or_else(Receiver::default, |partial| std::mem::take(&mut partial.receiver));
        let due = self.exchanges.len();
        let (at, stop) = self.decode_all((app, handle, connection), &mut receiver, bytes);
        let rest = &bytes[at..];
        let mut keep = || {
            let mut partial = partial.take().unwrap_or_default();
            receiver.keep(rest, &mut partial.bytes);
            partial.receiver = std::mem::take(&mut receiver);
            partial
        };
        let next = match stop {
            Stop::Last => Next::Close,
            _ if rest.is_empty() => Next::Wait(None),
            Stop::OthersTurn => Next::Decode(keep()),
            // The client has sent its last byte, so nothing follows, and the beginning of one more request is refused.
            Stop::Incomplete if connection.socket.eof => {
                let partial = keep();
                if partial.is_begun() {
                    let (receiver, bytes) = (&partial.receiver, &partial.bytes[..]);
                    self.refuse(app, (handle, connection.source()), Problem::Truncated, receiver, bytes);
                }
                Next::Wait(None)
            }
            Stop::Incomplete => Next::Wait(Some(keep())),
        };
        connection.step(Step::Decoded(self.exchanges.len() > due, next))
    }

    /// Decodes the requests in these bytes; returns how many bytes they took, and why it stopped.
    fn decode_all(
        &mut self,
        (app, handle, connection): (&mut App, Handle, &mut Connection),
        receiver: &mut Receiver,
        bytes: &mut [u8],
    ) -> (usize, Stop) {
        let (mut at, due) = (0, self.exchanges.len());
        let stop = loop {
            if at == bytes.len() {
                break Stop::Incomplete;
            }
            if self.exchanges.len() - due == MAX_PIPELINED {
                break Stop::OthersTurn;
            }
            match self.decode_request(app, handle, connection, receiver, &mut bytes[at..]) {
                Err(stop) => break stop,
                Ok(0) => {}
                Ok(len) => {
                    at += len;
                    connection.arrived = app.micros;
                }
            }
            let Some((_, exchange)) = self.exchanges[due..].last() else { continue };
            if exchange.closes() {
                break Stop::Last;
            }
            if app.may_be_long(exchange, &self.requests) {
                // Responses that are not read must not fill the memory: the rest waits until this one is written.
                break Stop::OthersTurn;
            }
        };
        (at, stop)
    }

    /// Decodes what these bytes begin with to an exchange, and says how many of them it took: none for one of a head alone.
    /// The rest of a request that was answered at its head makes no exchange.
    fn decode_request(
        &mut self,
        app: &mut App,
        handle: Handle,
        connection: &mut Connection,
        receiver: &mut Receiver,
        bytes: &mut [u8],
    ) -> Result<usize, Stop> {
        let (source, last, requests) = (connection.source(), &mut connection.last_token, &mut self.requests);
        match receiver.receive(bytes) {
            Ok(Received::Incomplete) => Err(Stop::Incomplete),
            Ok(Received::Head { request, waits }) => {
                let refused = app.judge(source, &request, waits, last, requests);
                if refused.is_some() {
                    receiver.answer();
                }
                let interim = || waits.then(|| Exchange::new(source));
                self.exchanges.push((handle, refused.or_else(interim).ok_or(Stop::Incomplete)?));
                Ok(0)
            }
            Ok(Received::Rest(len)) => Ok(len),
            Ok(Received::Request(request, len)) => {
                self.exchanges.push((handle, app.decode(source, &request, last, requests)));
                Ok(len)
            }
            Err(_) if receiver.is_answered() => Err(Stop::Last),
            Err(refusal) => {
                self.refuse(app, (handle, source), Problem::Framing(refusal), receiver, bytes);
                Ok(0)
            }
        }
    }

    /// Responds that no more requests are taken from a connection. `bytes` are what has come of one, and `receiver` has looked
    /// at them.
    pub(super) fn refuse(
        &mut self,
        app: &mut App,
        (handle, source): (Handle, Source),
        problem: Problem,
        receiver: &Receiver,
        bytes: &[u8],
    ) {
        let known = receiver.head().map(|head| (head, bytes));
        self.exchanges.push((handle, app.refuse(source, problem, known, &mut self.requests)));
    }
}
