//! A worker: one thread, its own poller, its own connections, and the turn.
//!
//! A turn has six steps: **wait**; **read** what has come; **decode** it into one batch of commands; **give up** the
//! connections that are due; **execute** the batch, so that what a store costs for durability or distance is paid once a
//! turn; and **respond**. Each step is done for all connections before the next, unless a buffer is full. Then come the
//! batches that were parked and can go on, and the newcomers. A batch that has to wait for a slow
//! engine is parked with its requests, and the worker goes on with further turns.
//!
//! *Invariant:* a worker waits in its poller alone (and, when a turn fails, in a short sleep). It shares with other
//! threads what is in [`Shared`], and takes their locks for a few stores at most. No panic ends it. (Tested by
//! `tests/strace.py`.)

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::Duration;

use super::clock::Clock;
use super::connection::{Connection, Next, READ, Step};
use super::deadlines::Deadlines;
use super::notice;
use super::shared::{Inbox, Shared, Station, WakeUps};
use super::slab::{Handle, Slab};
use crate::app::counters::{Counter, Counters, Lost, Timeout};
use crate::app::problem::Problem;
use crate::app::{App, Side};
use crate::http::limits;
use crate::poller::{Poll, Poller, Readiness, engine_key};
use crate::store::Session;
use crate::streams::account::Policy;
use crate::time::Timestamp;

use parking::{Parking, Work};

mod execute;
mod parking;
mod room;
mod serve;

/// How many connections are served in a turn at most. Few enough that the first need not wait long for the last: all
/// responses of a turn go out at its end.
const MAX_EVENTS: usize = 32;
/// How many requests of one connection are served in a turn at most; a pipeline goes on in the next.
const MAX_PIPELINED: usize = 16;
/// A request that is not all there takes no more than this: a head, a body, and a trailer field that has not ended; and
/// what one read adds when it is another connection's turn.
const MAX_PARTIAL: usize = limits::HEAD + limits::BODY + limits::CHUNK_EXTRAS + READ;
/// Space for a partial request and one more read, and for the usual reads of a whole turn behind each other.
const BUFFER: usize = 2 * (MAX_PARTIAL + READ);
/// How many bytes of responses are gathered before they are written.
const MAX_OUT: usize = 256 * 1024;
/// The token of the worker's wake-ups: a session has no such key.
const WAKE: u64 = u64::MAX;
/// How long to rest after a failure that may come again at once: better a slow server than a spinning one.
const REST: Duration = Duration::from_millis(100);

pub struct Worker {
    shared: Arc<Shared>,
    number: usize,
    wake_ups: WakeUps,
    app: App,
    connections: Connections,
    input: Input,
    work: Box<Work>,
    session: Box<dyn Session>,
    parking: Parking,
    /// Under `--store-down allow` the rules by which what is not carried out is answered.
    lenient: Option<Policy>,
    output: Output,
    clock: Clock,
    /// When the server has to have stopped; None while it need not.
    stop_by: Option<Timestamp>,
}

/// The connections, and how they are waited for.
struct Connections {
    slab: Slab<Connection>,
    poller: Poller,
    deadlines: Deadlines,
    /// Those to be visited in the next turn though the poller will not tell of them.
    scheduled: VecDeque<Handle>,
}

/// What has been read and not yet decoded.
struct Input {
    /// The bytes of all connections, one behind the other, and how far it is filled.
    buffer: Box<[u8]>,
    filled: usize,
    /// Which connection's bytes are where.
    arrivals: Vec<(Handle, Range<usize>)>,
}

impl Input {
    /// So many bytes of a connection have been read.
    fn add(&mut self, handle: Handle, len: usize) {
        self.arrivals.push((handle, self.filled..self.filled + len));
        self.filled += len;
    }
}

/// What has been encoded and not yet written.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    writes: Vec<(Handle, Range<usize>)>,
}

impl Worker {
    /// A worker that has not begun.
    pub fn new(shared: Arc<Shared>, number: usize, wake_ups: WakeUps) -> std::io::Result<Self> {
        let mut poller = Poller::new(MAX_EVENTS)?;
        poller.add(wake_ups.as_fd(), WAKE)?;
        let site = &shared.site;
        let waker = Waker::from(Arc::clone(&shared.inboxes[number]));
        let session = Arc::clone(&site.store).session(waker)?;
        let side = if number == shared.number(Station::Operators) { Side::Admin } else { Side::Public };
        let (slab, deadlines, scheduled) = (Slab::new(), Deadlines::new(site.config.idle), VecDeque::new());
        Ok(Self {
            number,
            wake_ups,
            app: App::new(Arc::clone(site), number, side),
            connections: Connections { slab, poller, deadlines, scheduled },
            input: Input { buffer: vec![0; BUFFER].into(), filled: 0, arrivals: Vec::new() },
            work: Box::default(),
            session,
            parking: Parking::new(site.store.patience()),
            lenient: site.store.lenient(),
            output: Output::default(),
            clock: shared.clock.clone(),
            stop_by: None,
            shared,
        })
    }

    fn inbox(&self) -> &Inbox {
        &self.shared.inboxes[self.number]
    }

    fn counters(&self) -> &Counters {
        &self.shared.site.counters[self.number]
    }

    /// Turns until the server stops.
    pub fn run(mut self) {
        let mut events = Vec::with_capacity(MAX_EVENTS);
        while !self.is_done() {
            if catch_unwind(AssertUnwindSafe(|| self.turn(&mut events))).is_err() {
                self.recover();
            }
        }
        self.close_all();
        let shared = Arc::clone(&self.shared);
        // Before the server may end. It ends even if that panics.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(self)));
        shared.working.fetch_sub(1, Relaxed);
        // That of the operators goes on until it is the last.
        shared.inbox(Station::Operators).wake_owner();
    }

    /// What concerns all connections has panicked: what is known of them cannot be trusted any more, so that all are closed.
    fn recover(&mut self) {
        self.counters().bump(Counter::Panics, 0);
        self.parking.clear();
        (self.work, self.output) = Default::default();
        (self.input.arrivals, self.input.filled) = (Vec::new(), 0);
        self.connections.scheduled.clear();
        self.connections.deadlines.clear();
        let closed = self.close_all();
        let number = self.number;
        notice(&format!(
            "a panic, which is told above, has cost worker {number} its {closed} connections; it goes on, please report \
             the panic"
        ));
        std::thread::sleep(REST);
        // The wake-ups may have been cleared, and the messages not taken.
        self.inbox().wake_owner();
    }

    /// Whether the server stops and there is nothing left to do. For the sake of `/readyz` the worker of the operators goes on
    /// while there is another one.
    fn is_done(&self) -> bool {
        let Some(stop_by) = self.stop_by else { return false };
        let Connections { slab, deadlines, .. } = &self.connections;
        let is_idle = |handle| deadlines.waits_for(handle) == Some(Timeout::Idle);
        stop_by <= self.app.now.steady
            || match self.app.side {
                Side::Public => slab.handles().next().is_none(),
                Side::Admin => self.shared.working.load(Relaxed) <= 1 && slab.handles().all(is_idle),
            }
    }

    fn turn(&mut self, events: &mut Vec<Readiness>) {
        self.wait(events);
        let woken = self.read_all(events);
        self.decode_arrivals();
        self.give_up();
        self.execute();
        if woken {
            // Before looking for what it was: what comes after the look wakes the worker again.
            self.wake_ups.clear();
        }
        self.complete();
        if woken {
            // Last, so that a connection that makes way for a newcomer has had its response.
            self.take_messages();
        }
        self.end();
    }

    /// Waits for something to happen; from then on it is `now`.
    fn wait(&mut self, events: &mut Vec<Readiness>) {
        let timeout = self.timeout();
        if let Err(error) = self.connections.poller.wait(events, timeout) {
            // The poller was used wrongly: it cannot fail otherwise.
            notice(&format!("cannot wait for connections: {error}"));
            std::thread::sleep(REST);
        }
        self.begin();
    }

    /// Until the next deadline; not at all when a connection is to be visited or answered.
    fn timeout(&mut self) -> Option<Duration> {
        if !self.connections.scheduled.is_empty() || !self.work.exchanges.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = [self.connections.deadlines.next(), self.stop_by, self.parking.due(), self.app.due];
        let due = due.into_iter().flatten().min()?;
        Some(Duration::from_millis(self.app.now.steady.until(due).millis()))
    }

    fn begin(&mut self) {
        let micros = self.clock.micros();
        self.app.begin(self.clock.now(micros), micros);
    }

    /// Reads from the connections that were left for this turn, and from those that the poller tells of. Returns whether
    /// the worker was woken.
    fn read_all(&mut self, events: &[Readiness]) -> bool {
        self.visit_scheduled();
        let mut woken = false;
        for event in events {
            match engine_key(event.token) {
                _ if event.token == WAKE => woken = true,
                Some(key) => self.session_ready(key),
                None => self.wake(Handle::of_token(event.token), event.hup),
            }
        }
        woken
    }

    /// Visits the connections that were left for this turn.
    fn visit_scheduled(&mut self) {
        // As many as there may be events, so that many long pipelines make no long turn.
        let count = self.connections.scheduled.len().min(MAX_EVENTS);
        for _ in 0..count {
            let Some(handle) = self.connections.scheduled.pop_front() else { break };
            let Some(connection) = self.connections.slab.get_mut(handle) else { continue };
            connection.scheduled = false;
            self.visit(handle);
            if self.stop_by.is_some() {
                self.decode_arrivals();
                self.close_if_idle(handle);
            }
        }
    }

    fn close_if_idle(&mut self, handle: Handle) {
        let connection = self.connections.slab.get_mut(handle);
        if self.app.side == Side::Public && connection.is_some_and(|connection| connection.is_idle()) {
            self.close(handle);
        }
    }

    /// Gives up the connections that have kept the worker waiting too long.
    fn give_up(&mut self) {
        while let Some((handle, wait)) = self.connections.deadlines.take_due(self.app.now.steady) {
            let Some(connection) = self.connections.slab.get_mut(handle) else { continue };
            if connection.is_responding() {
                // The rest of its request has come in this very turn.
                continue;
            }
            self.shared.site.counters[self.number].bump(Counter::Timeouts, wait as usize);
            match (wait, connection.take_partial()) {
                (Timeout::Head | Timeout::Body, Some(partial)) if partial.is_begun() => {
                    let problem = if wait == Timeout::Body { Problem::LateBody } else { Problem::LateHead };
                    let (from, receiver) = ((handle, connection.source()), &partial.receiver);
                    self.work.refuse(&mut self.app, from, problem, receiver, &partial.bytes);
                    connection.step(Step::Decoded(true, Next::Close));
                }
                _ => self.close(handle),
            }
        }
    }

    /// Leaves the turn's log lines to the logger, and says how busy this worker is.
    fn end(&mut self) {
        self.say_who_gives_way();
        if let Some(log) = self.shared.log.as_ref().filter(|_| !self.app.lines.is_empty()) {
            let lost = log.leave(|lines| lines.take(&mut self.app.lines));
            self.counters().add(Counter::LinesLost, Lost::Slow as usize, lost);
        }
        self.counters().set(Counter::Parked, self.parking.len() as u64);
        let (inbox, holding) = (self.inbox(), self.connections.deadlines.holding());
        inbox.holding.store(holding, Relaxed);
        if holding > inbox.held.load(Relaxed) {
            inbox.held.store(holding, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
