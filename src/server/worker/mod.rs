//! A worker: one thread, its own poller, its own connections, and the turn.
//!
//! A turn has six steps: **wait**; **read** what has come; **decode** it into one batch of commands; **give up** the
//! connections that are due; **execute** the batch, so that what a store costs for durability or distance is paid once a
//! turn; and **respond**. Each step is done for all connections before the next. A batch that has to wait for a slow
//! engine is parked with its requests, and the worker goes on with further turns.
//!
//! *Invariant:* a worker blocks only in its poller (and, when a turn fails, in a short sleep). What it shares with other
//! threads is listed in [`Links`]; it takes their locks for a few stores at most. No panic ends it.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::Duration;

use super::clock::Clock;
use super::connection::{Connection, READ};
use super::deadlines::Deadlines;
use super::logger::Logger;
use super::mailbox::WakeUps;
use super::notice;
use super::poller::{Event, Poll, Poller};
use super::shared::{Inbox, Shared, Stage};
use super::slab::{Handle, Slab};
use crate::app::counters::{Counter, Counters};
use crate::app::problem::Problem;
use crate::app::{App, Side};
use crate::http::limits;
use crate::http::timeouts::Timeout;
use crate::time::{Millis, Now, Timestamp};

use work::{Engine, Work, session_key};

mod execute;
mod messages;
mod serve;
mod work;

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

/// One worker.
pub struct Worker {
    links: Links,
    app: App,
    connections: Connections,
    input: Input,
    work: Work,
    engine: Engine,
    output: Output,
    time: Time,
    /// Which reading of the files the app's credentials come from.
    credentials_version: usize,
    /// When the server has to have stopped; None while it need not.
    stop_by: Option<Timestamp>,
}

/// What a worker shares with the other threads.
pub struct Links {
    pub number: usize,
    pub shared: Arc<Shared>,
    pub inbox: Arc<Inbox>,
    /// Those of all workers.
    pub inboxes: Arc<[Arc<Inbox>]>,
    pub wake_ups: WakeUps,
    pub counters: Arc<Counters>,
    pub logger: Option<Arc<Logger>>,
    /// How long a stop waits for what is under way.
    pub grace: Millis,
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

/// What has been encoded and not yet written.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    writes: Vec<(Handle, Range<usize>)>,
}

/// The turn's one reading of the clock.
struct Time {
    clock: Clock,
    now: Now,
    /// The steady clock at the beginning of the turn, in microseconds.
    micros: u64,
}

impl Worker {
    /// A worker that has not begun.
    pub fn new(links: Links, app: App, clock: Clock, idle: Millis) -> std::io::Result<Self> {
        let mut poller = Poller::new(MAX_EVENTS)?;
        poller.add(links.wake_ups.as_fd(), WAKE)?;
        let waker = Waker::from(Arc::clone(&links.inbox));
        let session = Arc::clone(&links.shared.store).session(waker)?;
        let (slab, deadlines, scheduled) = (Slab::new(), Deadlines::new(idle), VecDeque::new());
        Ok(Self {
            links,
            app,
            connections: Connections { slab, poller, deadlines, scheduled },
            input: Input { buffer: vec![0; BUFFER].into(), filled: 0, arrivals: Vec::new() },
            work: Work::default(),
            engine: Engine::new(session),
            output: Output::default(),
            time: Time { clock, now: Now::default(), micros: 0 },
            credentials_version: 0,
            stop_by: None,
        })
    }

    /// Turns until the server stops.
    pub fn run(mut self) {
        let mut events = Vec::with_capacity(MAX_EVENTS);
        while !self.is_done() {
            self.contain_all(|worker| worker.turn(&mut events));
        }
        self.close_all();
        let shared = Arc::clone(&self.links.shared);
        // Before the server may end: a session puts on the disk what is not there. It ends even if that panics.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(self)));
        shared.working.fetch_sub(1, Relaxed);
    }

    /// Does something. A panic is counted, and leaves no result.
    fn contain<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(|| work(self)));
        done.inspect_err(|_| self.links.counters.bump(Counter::Panics, 0)).ok()
    }

    /// Does something that concerns all connections. If it panics, what is known of them cannot be trusted any more, so
    /// that all are closed.
    fn contain_all(&mut self, work: impl FnOnce(&mut Self)) {
        if self.contain(work).is_some() {
            return;
        }
        drop((self.engine.take_asked(), std::mem::take(&mut self.work), std::mem::take(&mut self.output)));
        // The session may have kept a batch that is not parked.
        self.engine.spend_ticket();
        (self.input.arrivals, self.input.filled) = (Vec::new(), 0);
        self.connections.scheduled.clear();
        self.connections.deadlines.clear();
        let closed = self.close_all();
        let number = self.links.number;
        notice(&format!(
            "a panic, which is told above, has cost worker {number} its {closed} connections; it goes on, please report \
             the panic"
        ));
        std::thread::sleep(REST);
        // The wake-ups may have been cleared, and the messages not taken.
        self.links.inbox.wake_worker();
    }

    /// While other workers still have requests under way, this one goes on for the sake of the admin listener.
    fn is_done(&mut self) -> bool {
        let Some(stop_by) = self.stop_by else { return false };
        if stop_by <= self.time.now.steady {
            return true;
        }
        let Connections { slab, deadlines, .. } = &self.connections;
        let idle = |handle| matches!(deadlines.waits_for(handle), Some(Timeout::Idle | Timeout::IdleAdmin));
        self.links.shared.has_reached(Stage::Stopped) && slab.handles().all(idle)
    }

    fn turn(&mut self, events: &mut Vec<Event>) {
        self.wait(events);
        let woken = self.read_all(events);
        self.decode_arrivals();
        self.give_up();
        self.execute();
        if woken {
            // Before looking for what it was: what comes after the look wakes the worker again.
            self.links.wake_ups.clear();
        }
        self.complete();
        if woken {
            // Last, so that a connection that makes way for a newcomer has had its response.
            self.take_messages();
        }
        self.end();
    }

    /// Waits for something to happen; from then on it is `now`.
    fn wait(&mut self, events: &mut Vec<Event>) {
        let timeout = self.timeout();
        if let Err(error) = self.connections.poller.wait(events, timeout) {
            // It can only be misused.
            notice(&format!("cannot wait for connections: {error}"));
            std::thread::sleep(REST);
        }
        self.begin();
    }

    /// Until the next deadline; not at all when a connection is to be visited or answered.
    fn timeout(&self) -> Option<Duration> {
        if !self.connections.scheduled.is_empty() || !self.work.exchanges.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = [self.connections.deadlines.next(), self.stop_by, self.engine.deadline];
        let due = due.into_iter().flatten().min()?;
        Some(Duration::from_millis(self.time.now.steady.until(due).millis()))
    }

    fn begin(&mut self) {
        self.time.micros = self.time.clock.micros();
        self.time.now = self.time.clock.now(self.time.micros);
        self.app.begin(self.time.now, self.time.micros);
        let shared = &self.links.shared;
        if shared.credentials_version.load(Relaxed) != self.credentials_version {
            let (version, credentials) = shared.credentials();
            self.credentials_version = version;
            self.app.set_credentials(credentials);
        }
    }

    /// Reads from the connections that were left for this turn, and from those that the poller tells of. Returns whether
    /// the worker was woken.
    fn read_all(&mut self, events: &[Event]) -> bool {
        self.visit_scheduled();
        let mut woken = false;
        for event in events {
            match session_key(event.token) {
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
        if connection.is_some_and(|connection| connection.side == Side::Public && connection.is_idle()) {
            self.close(handle);
        }
    }

    /// Gives up the connections that have kept the worker waiting too long.
    fn give_up(&mut self) {
        while let Some((handle, wait)) = self.connections.deadlines.take_due(self.time.now.steady) {
            let Some(connection) = self.connections.slab.get_mut(handle) else { continue };
            if connection.is_responding() {
                // The rest of its request has come in this very turn.
                continue;
            }
            self.links.counters.bump(Counter::Timeouts, wait as usize);
            match (wait, connection.take_partial()) {
                (Timeout::Head | Timeout::Body, Some(partial)) if partial.is_begun() => {
                    let problem = Problem::Late { body: wait == Timeout::Body };
                    self.refuse(handle, problem, Some(&partial));
                }
                _ => self.close(handle),
            }
        }
    }

    /// Leaves the turn's log lines to the logger, and says how busy this worker is.
    fn end(&mut self) {
        self.say_longest_idle(Side::Public);
        self.say_longest_idle(Side::Admin);
        let Links { inbox, logger, counters, number, .. } = &self.links;
        if let Some(logger) = logger
            && !self.app.lines.is_empty()
        {
            logger.take(*number, &mut self.app.lines, counters);
        }
        let deadlines = &self.connections.deadlines;
        inbox.parked.store(self.engine.submitted(), Relaxed);
        let holding = deadlines.holding();
        inbox.holding.store(holding, Relaxed);
        if holding > inbox.held.load(Relaxed) {
            inbox.held.store(holding, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
