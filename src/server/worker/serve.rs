//! Serving one connection: what a turn does with each.
//!
//! ```text
//! wake ──▶ visit ──▶ read_in ──▶ receive ──▶ decode ──▶ keep        what is read and asked
//!                └─▶ drain                                          what is thrown away
//!                    encode ──▶ write ──▶ sent ◀── flush            what is answered
//! ```
//!
//! The turn does each of these for all its connections before it does the next for any: the kernel's code and ours push each
//! other out of the cache, and so do so a few times a turn and not twice a request.
//!
//! *Invariant:* whatever happens here happens to one connection; the others are none the wiser, not even of a panic.

use std::ops::Range;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;

use super::{MAX_PIPELINED, Worker};
use crate::app::counters::{Counter, Timeout};
use crate::app::problem::Problem;
use crate::app::{Exchange, Side, Source};
use crate::http::conn::{Received, Receiver};
use crate::server::connection::{Io, Kept, MAX_DRAIN, Phase, READ};
use crate::server::poller::{Interest, Poll};

impl Worker {
    /// Something has happened to a connection.
    pub(super) fn wake(&mut self, slot: u32, hup: bool) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.unread = true;
        connection.hup |= hup;
        if connection.visited == self.turn {
            // One visit a turn, so that a connection's answers go out together and in order.
            return self.revisit(slot);
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
            Phase::Open => self.read_in(slot),
            Phase::Closing => {}
            Phase::Draining { .. } => self.drain(slot),
        }
    }

    /// Does something with one connection. If it panics, that connection is closed, and the others are none the wiser.
    pub(super) fn contain(&mut self, slot: u32, work: impl FnOnce(&mut Self, u32)) {
        if catch_unwind(AssertUnwindSafe(|| work(self, slot))).is_err() {
            self.counters.bump(Counter::Panics, 0);
            self.close(slot);
        }
    }

    /// Reads what has come, behind what has been kept, to be decoded with what has come on other connections.
    fn read_in(&mut self, slot: u32) {
        let token = self.connections.token(slot);
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let len = connection.kept.as_ref().map_or(0, |kept| kept.bytes.len());
        let from = self.make_room(len + READ);
        let mut to = from + len;
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if let Some(kept) = &connection.kept {
            self.buffer[from..to].copy_from_slice(&kept.bytes);
        }
        let goes_on = std::mem::take(&mut connection.backlog);
        if !goes_on && connection.unread {
            match connection.read(&mut self.buffer[to..to + READ]) {
                Io::Failed => return self.close(slot),
                Io::NotNow => return,
                Io::Done(read) => {
                    if !connection.kept.as_ref().is_some_and(|kept| kept.is_begun()) {
                        connection.arrived = self.micros;
                    }
                    to += read;
                    self.counters.add(Counter::Received, 0, read as u64);
                }
            }
        } else if !goes_on {
            return;
        }
        connection.visited = self.turn;
        self.filled = to;
        self.arrivals.push((token, from..to));
    }

    /// Sees to it that there are `len` free bytes in the buffer; returns where.
    fn make_room(&mut self, len: usize) -> usize {
        if self.filled + len > self.buffer.len() {
            self.decode_arrivals();
        }
        self.filled
    }

    /// Decodes what has been read so far.
    pub(super) fn decode_arrivals(&mut self) {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        for (token, bytes) in arrivals.drain(..) {
            if let Some(slot) = self.connections.slot(token) {
                self.contain(slot, |worker, slot| worker.receive(slot, bytes));
            }
        }
        self.arrivals = arrivals;
        self.filled = 0;
    }

    /// Decodes one connection's bytes, and keeps what is left of them.
    fn receive(&mut self, slot: u32, bytes: Range<usize>) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let mut kept = connection.kept.take();
        let mut receiver =
            kept.as_mut().map_or(Receiver::default(), |kept| std::mem::take(&mut kept.receiver));
        let rest = self.decode(slot, &mut receiver, bytes.clone());
        let anew = rest.start > bytes.start || kept.is_none();
        self.keep(slot, kept, receiver, rest, anew);
    }

    /// Decodes the requests in these bytes of the buffer; returns which of them are left.
    fn decode(&mut self, slot: u32, receiver: &mut Receiver, bytes: Range<usize>) -> Range<usize> {
        let token = self.connections.token(slot);
        let Range { start: mut at, end } = bytes;
        let Some(connection) = self.connections.get_mut(slot) else { return end..end };
        let mut requests = 0;
        while at < end {
            let source = Source { side: connection.side, peer: connection.peer, arrived: connection.arrived };
            if requests == MAX_PIPELINED {
                connection.backlog = true;
                break;
            }
            match receiver.receive(&mut self.buffer[at..end]) {
                Ok(Received::Incomplete) => break,
                Ok(Received::Head { request, waits }) => {
                    let refused = self.app.judge(source, &request, waits, &mut self.batch);
                    if refused.is_some() {
                        receiver.answer();
                    }
                    if let Some(exchange) = refused.or_else(|| waits.then(|| Exchange::interim(source))) {
                        connection.answer_due = true;
                        self.exchanges.push((token, exchange));
                        if exchange.closes() {
                            connection.phase = Phase::Closing;
                            self.deadlines.end(slot);
                            return end..end;
                        }
                    }
                    break;
                }
                Ok(Received::Rest(len)) => {
                    at += len;
                    connection.arrived = self.micros;
                }
                Ok(Received::Request(request, len)) => {
                    let exchange = self.app.decode(source, &request, &mut self.batch);
                    connection.answer_due = true;
                    self.exchanges.push((token, exchange));
                    at += len;
                    requests += 1;
                    connection.arrived = self.micros;
                    if exchange.closes() {
                        connection.phase = Phase::Closing;
                        self.deadlines.end(slot);
                        return end..end;
                    }
                    if self.app.may_be_long(&exchange, &self.batch) {
                        // Answers that are not read must not fill the memory: the rest waits until this one is written.
                        connection.backlog = at < end;
                        break;
                    }
                }
                Err(_) if receiver.is_answered() => {
                    self.end_of(slot);
                    return end..end;
                }
                Err(refusal) => {
                    let known = receiver.head().map(|head| (head, &self.buffer[at..end]));
                    let exchange = self.app.refuse(source, Problem::Framing(refusal), known, &mut self.batch);
                    self.close_behind(slot, exchange);
                    return end..end;
                }
            }
        }
        at..end
    }

    /// Keeps what is left of the buffer, and decides what the connection waits for now.
    /// `anew` says whether what is left began to arrive in this turn.
    fn keep(
        &mut self,
        slot: u32,
        kept: Option<Box<Kept>>,
        receiver: Receiver,
        rest: Range<usize>,
        anew: bool,
    ) {
        let now = self.now.steady;
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if connection.phase != Phase::Open {
            return;
        }
        if rest.is_empty() {
            self.deadlines.begin(slot, idle(connection.side), now);
        } else {
            let mut kept =
                kept.unwrap_or_else(|| Box::new(Kept { bytes: Vec::new(), receiver: Receiver::default() }));
            kept.receiver = receiver;
            kept.receiver.keep(&self.buffer[rest], &mut kept.bytes);
            match wait_of(&kept, connection.side) {
                wait if anew => self.deadlines.begin(slot, wait, now),
                wait => self.deadlines.go_on(slot, wait, now),
            }
            connection.kept = Some(kept);
        }
        if connection.backlog || connection.unread {
            self.revisit(slot);
        } else if connection.eof {
            self.half_closed(slot);
        }
    }

    /// The client has sent its last byte, and every whole request in it has been decoded.
    fn half_closed(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if let Some(kept) = connection.kept.take().filter(|kept| kept.is_begun()) {
            self.refuse(slot, Problem::Truncated, Some(&kept));
        } else {
            self.end_of(slot);
        }
    }

    /// Nothing more is read as a request, and every request has its response or is about to get it.
    fn end_of(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if connection.answer_due {
            connection.phase = Phase::Closing;
        } else {
            self.close(slot);
        }
    }

    /// Answers that no request can be had from this connection any more; `kept` is what has come of one.
    pub(super) fn refuse(&mut self, slot: u32, problem: Problem, kept: Option<&Kept>) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let source = Source { side: connection.side, peer: connection.peer, arrived: connection.arrived };
        let known = kept.and_then(|kept| Some((kept.receiver.head()?, &kept.bytes[..])));
        let exchange = self.app.refuse(source, problem, known, &mut self.batch);
        self.close_behind(slot, exchange);
    }

    /// Nothing more is read as a request; what is answered last is this.
    fn close_behind(&mut self, slot: u32, exchange: Exchange) {
        let token = self.connections.token(slot);
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.phase = Phase::Closing;
        connection.kept = None;
        connection.answer_due = true;
        self.deadlines.end(slot);
        self.exchanges.push((token, exchange));
    }

    /// Encodes one connection's answers.
    pub(super) fn encode(&mut self, slot: u32, group: &[(u64, Exchange)]) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.answer_due = false;
        // A request of which the beginning is there is under way too.
        let under_way = connection.backlog || connection.kept.as_ref().is_some_and(|kept| kept.is_begun());
        let stops = self.stop_by.is_some() && !under_way;
        if stops {
            connection.phase = Phase::Closing;
            connection.kept = None;
            self.deadlines.end(slot);
        }
        let from = self.out.len();
        for (i, (_, exchange)) in group.iter().enumerate() {
            let close = stops && i + 1 == group.len();
            let page = exchange.observes().map(|view| self.app.render(view));
            self.app.encode(exchange, close, self.micros, &self.batch, page.as_deref(), &mut self.out);
        }
        self.writes.push((group[0].0, from..self.out.len()));
    }

    /// Writes what has been encoded so far, once a connection.
    pub(super) fn write_all(&mut self) {
        let mut writes = std::mem::take(&mut self.writes);
        for (token, bytes) in writes.drain(..) {
            let Some(slot) = self.connections.slot(token) else { continue };
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            match connection.send(&self.out[bytes]) {
                Io::Done(sent) => {
                    self.counters.add(Counter::Sent, 0, sent as u64);
                    self.sent(slot);
                }
                Io::NotNow | Io::Failed => self.close(slot),
            }
        }
        self.writes = writes;
        self.out.clear();
    }

    /// Goes on writing what the client was slow to take.
    fn flush(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        match connection.flush() {
            Io::Done(sent) => self.counters.add(Counter::Sent, 0, sent as u64),
            Io::NotNow => return,
            Io::Failed => return self.close(slot),
        }
        if connection.output.is_none() {
            let token = self.connections.token(slot);
            let Some(connection) = self.connections.get_mut(slot) else { return };
            if self.poller.set(connection.stream.as_fd(), token, Interest::Read).is_err() {
                return self.close(slot);
            }
            let wait = match &connection.kept {
                Some(kept) => wait_of(kept, connection.side),
                None => idle(connection.side),
            };
            self.deadlines.begin(slot, wait, self.now.steady);
            self.sent(slot);
            if self.stop_by.is_some() {
                self.read_once_more(slot);
            }
        }
    }

    /// Something was written: all of it, or the client has to be waited for.
    fn sent(&mut self, slot: u32) {
        let token = self.connections.token(slot);
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if connection.output.is_some() {
            self.deadlines.go_on(slot, Timeout::Write, self.now.steady);
            if self.poller.set(connection.stream.as_fd(), token, Interest::Write).is_err() {
                self.close(slot);
            }
        } else if connection.phase == Phase::Closing {
            let shut = connection.stream.shutdown(std::net::Shutdown::Write);
            if connection.eof || shut.is_err() {
                return self.close(slot);
            }
            connection.phase = Phase::Draining { bytes: 0 };
            self.deadlines.begin(slot, Timeout::Drain, self.now.steady);
            if connection.unread {
                self.revisit(slot);
            }
        }
    }

    /// Reads and throws away, until the client has ended too or has sent too much.
    fn drain(&mut self, slot: u32) {
        let from = self.make_room(READ);
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let Phase::Draining { bytes: drained } = connection.phase else { return };
        match connection.read(&mut self.buffer[from..from + READ]) {
            Io::NotNow => {}
            Io::Done(read @ 1..) if drained < MAX_DRAIN => {
                connection.phase = Phase::Draining { bytes: drained + read };
                if connection.unread {
                    self.revisit(slot);
                }
            }
            Io::Done(_) | Io::Failed => self.close(slot),
        }
    }

    pub(super) fn close(&mut self, slot: u32) {
        self.deadlines.end(slot);
        if let Some(connection) = self.connections.remove(slot) {
            self.poller.remove(connection.stream.as_fd());
            self.counters.bump(Counter::Closed, 0);
            self.shared.open[connection.side as usize].fetch_sub(1, Relaxed);
        }
    }
}

/// What a connection waits for whose request is not all there.
fn wait_of(kept: &Kept, side: Side) -> Timeout {
    match kept.receiver.awaits_body() {
        true => Timeout::Body,
        false if kept.is_begun() => Timeout::Head,
        false => idle(side),
    }
}

/// What a connection waits for that has sent nothing.
pub(super) fn idle(side: Side) -> Timeout {
    match side {
        Side::Public => Timeout::Idle,
        Side::Admin => Timeout::IdleAdmin,
    }
}
