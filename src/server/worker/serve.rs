//! Serving one connection: what a turn does with each.
//!
//! ```text
//! wake ──▶ visit ──▶ receive ──▶ decode ──▶ keep        what is read and asked
//!                └─▶ drain                              what is thrown away
//!                    answer ──▶ sent ◀── flush          what is written
//! ```
//!
//! *Invariant:* whatever happens here happens to one connection; the others are none the wiser, not even of a panic.

use std::ops::Range;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;

use super::{MAX_PIPELINED, Worker};
use crate::app::problem::Problem;
use crate::app::{Exchange, Origin};
use crate::http::conn::{Received, Receiver};
use crate::server::connection::{Io, Kept, MAX_DRAIN, Phase, READ};
use crate::server::deadlines::Wait;
use crate::server::poller::{Interest, Poll};

impl Worker {
    /// Something has happened to a connection.
    pub(super) fn wake(&mut self, slot: u32, ends: bool) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.unread = true;
        connection.ends |= ends;
        if connection.answer_due {
            // One visit a turn, so that a connection's answers go out together and in order.
            return self.list(slot);
        }
        if connection.output.is_some() {
            self.flush(slot);
        }
        self.visit(slot);
    }

    /// Reads from a connection, unless it still has an answer to take.
    pub(super) fn visit(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        match connection.phase {
            _ if connection.output.is_some() => {}
            Phase::Open => self.contain(slot, Self::receive),
            Phase::Closing => {}
            Phase::Draining { .. } => self.drain(slot),
        }
    }

    /// Does something with one connection. If it panics, that connection is closed, and the others are none the wiser.
    pub(super) fn contain(&mut self, slot: u32, work: impl FnOnce(&mut Self, u32)) {
        if catch_unwind(AssertUnwindSafe(|| work(self, slot))).is_err() {
            self.counters.panics.bump();
            self.close(slot);
        }
    }

    /// Reads what has come, and decodes the requests in it.
    fn receive(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let mut receiver = Receiver::default();
        let mut filled = 0;
        let mut kept = connection.kept.take();
        let begun = kept.as_ref().is_some_and(|kept| kept.is_begun());
        if let Some(kept) = &mut kept {
            filled = kept.bytes.len();
            self.buffer[..filled].copy_from_slice(&kept.bytes);
            receiver = std::mem::take(&mut kept.receiver);
        }
        if !std::mem::take(&mut connection.backlog) && connection.unread {
            match connection.read(&mut self.buffer[filled..filled + READ]) {
                Io::Failed => return self.close(slot),
                Io::NotNow => {}
                Io::Done(read) => {
                    if !begun {
                        connection.arrived = self.micros;
                    }
                    filled += read;
                    self.counters.received.add(read as u64);
                }
            }
        }
        let taken = self.decode(slot, &mut receiver, filled);
        self.keep(slot, kept, receiver, taken..filled);
    }

    /// Decodes the requests in the buffer; returns how many of its bytes they took.
    fn decode(&mut self, slot: u32, receiver: &mut Receiver, filled: usize) -> usize {
        let token = self.connections.token(slot);
        let Some(connection) = self.connections.get_mut(slot) else { return filled };
        let (mut at, mut requests) = (0, 0);
        while at < filled {
            let origin = Origin { side: connection.side, peer: connection.peer, arrived: connection.arrived };
            if requests == MAX_PIPELINED {
                connection.backlog = true;
                break;
            }
            match receiver.receive(&mut self.buffer[at..filled]) {
                Ok(Received::Incomplete) => break,
                Ok(Received::AwaitsContinue) => {
                    connection.answer_due = true;
                    self.exchanges.push((token, self.app.go_on(origin, &self.batch)));
                    break;
                }
                Ok(Received::Request(request, len)) => {
                    let exchange = self.app.decode(origin, &request, &mut self.batch);
                    connection.answer_due = true;
                    self.exchanges.push((token, exchange));
                    at += len;
                    requests += 1;
                    connection.arrived = self.micros;
                    if exchange.closes() {
                        connection.phase = Phase::Closing;
                        return filled;
                    }
                }
                Err(refusal) => {
                    self.refuse(slot, Problem::Framing(refusal), receiver);
                    return filled;
                }
            }
        }
        at
    }

    /// Keeps what is left of the buffer, and decides what the connection waits for now.
    fn keep(&mut self, slot: u32, kept: Option<Box<Kept>>, receiver: Receiver, rest: Range<usize>) {
        let now = self.now.steady;
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if connection.phase != Phase::Open {
            return;
        }
        let anew = rest.start > 0 || kept.is_none();
        if rest.is_empty() {
            self.deadlines.begin(slot, Wait::Idle, now);
        } else {
            let mut kept =
                kept.unwrap_or_else(|| Box::new(Kept { bytes: Vec::new(), receiver: Receiver::default() }));
            kept.bytes.clear();
            kept.bytes.extend_from_slice(&self.buffer[rest]);
            kept.receiver = receiver;
            match wait_of(&kept) {
                wait if anew => self.deadlines.begin(slot, wait, now),
                wait => self.deadlines.go_on(slot, wait, now),
            }
            connection.kept = Some(kept);
        }
        if connection.backlog || connection.unread {
            self.list(slot);
        } else if connection.ended {
            self.half_closed(slot);
        }
    }

    /// The client has sent its last byte, and every whole request in it has been decoded.
    fn half_closed(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if let Some(kept) = connection.kept.take().filter(|kept| kept.is_begun()) {
            self.refuse(slot, Problem::Truncated, &kept.receiver);
        } else if connection.answer_due {
            connection.phase = Phase::Closing;
        } else {
            self.close(slot);
        }
    }

    /// Answers that no request can be had from this connection any more.
    pub(super) fn refuse(&mut self, slot: u32, problem: Problem, receiver: &Receiver) {
        let token = self.connections.token(slot);
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.phase = Phase::Closing;
        connection.kept = None;
        connection.answer_due = true;
        let origin = Origin { side: connection.side, peer: connection.peer, arrived: connection.arrived };
        let exchange = self.app.refuse(origin, problem, receiver.method(), &mut self.batch);
        self.exchanges.push((token, exchange));
    }

    pub(super) fn answer(&mut self, slot: u32, group: &[(u64, Exchange)]) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.answer_due = false;
        let stops = self.stop_by.is_some() && !connection.backlog;
        if stops {
            connection.phase = Phase::Closing;
            connection.kept = None;
        }
        self.out.clear();
        for (i, (_, exchange)) in group.iter().enumerate() {
            let close = stops && i + 1 == group.len();
            self.app.encode(exchange, close, self.micros, &self.batch, &mut self.out);
        }
        match connection.send(&self.out) {
            Io::Done(sent) => self.counters.sent.add(sent as u64),
            Io::NotNow | Io::Failed => return self.close(slot),
        }
        self.sent(slot);
    }

    /// Goes on writing what the client was slow to take.
    fn flush(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        match connection.flush() {
            Io::Done(sent) => self.counters.sent.add(sent as u64),
            Io::NotNow => return,
            Io::Failed => return self.close(slot),
        }
        if connection.output.is_none() {
            let token = self.connections.token(slot);
            let Some(connection) = self.connections.get_mut(slot) else { return };
            if self.poller.set(connection.stream.as_fd(), token, Interest::Read).is_err() {
                return self.close(slot);
            }
            let wait = connection.kept.as_deref().map_or(Wait::Idle, wait_of);
            self.deadlines.begin(slot, wait, self.now.steady);
            self.sent(slot);
        }
    }

    /// Something was written: all of it, or the client has to be waited for.
    fn sent(&mut self, slot: u32) {
        let token = self.connections.token(slot);
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if connection.output.is_some() {
            self.deadlines.go_on(slot, Wait::Write, self.now.steady);
            if self.poller.set(connection.stream.as_fd(), token, Interest::Write).is_err() {
                self.close(slot);
            }
        } else if connection.phase == Phase::Closing {
            let shut = connection.stream.shutdown(std::net::Shutdown::Write);
            if connection.ended || shut.is_err() {
                return self.close(slot);
            }
            connection.phase = Phase::Draining { bytes: 0 };
            self.deadlines.begin(slot, Wait::Drain, self.now.steady);
            if connection.unread {
                self.list(slot);
            }
        }
    }

    /// Reads and throws away, until the client has ended too or has sent too much.
    fn drain(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let Phase::Draining { bytes } = &mut connection.phase else { return };
        let drained = *bytes;
        match connection.read(&mut self.buffer[..READ]) {
            Io::NotNow => {}
            Io::Done(read @ 1..) if drained < MAX_DRAIN => {
                connection.phase = Phase::Draining { bytes: drained + read };
                if connection.unread {
                    self.list(slot);
                }
            }
            Io::Done(_) | Io::Failed => self.close(slot),
        }
    }

    pub(super) fn close(&mut self, slot: u32) {
        self.deadlines.end(slot);
        if let Some(connection) = self.connections.remove(slot) {
            self.poller.remove(connection.stream.as_fd());
            self.counters.closed.bump();
            self.shared.open[connection.side as usize].fetch_sub(1, Relaxed);
        }
    }
}

/// What a connection waits for whose request is not all there.
fn wait_of(kept: &Kept) -> Wait {
    match kept.receiver.awaits_content() {
        true => Wait::Body,
        false if kept.is_begun() => Wait::Head,
        false => Wait::Idle,
    }
}
