//! A worker: one thread, its own poller, its own connections, and the turn.
//!
//! A turn has six steps: **wait**; **read** whatever has come; **decode** it into one batch of commands; **give up** on
//! whoever is due; **execute** the batch, so that what a store costs for durability or distance is paid once a turn; and
//! **answer**. Each step is done for all connections before the next.
//!
//! *Invariant:* a worker waits only in the poller, and nothing of it is shared but the store, the counters and the inbox.

use core::net::SocketAddr;
use std::collections::VecDeque;
use std::net::TcpStream;
use std::ops::Range;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::clock::Clock;
use super::connection::{Connection, READ, Slab};
use super::deadlines::Deadlines;
use super::logger::Logger;
use super::notice;
use super::poller::{Event, Poll, Poller};
use super::shared::{Bell, Inbox, Message, Shared};
use crate::app::counters::{Counter, Counters, Timeout};
use crate::app::problem::Problem;
use crate::app::{App, Exchange, Side, Turn};
use crate::http::limits;
use crate::store::Session;
use crate::time::{Millis, Now, Timestamp};

mod serve;

/// How many connections are served in a turn at most. Few enough that the first need not wait long for the last: all
/// answers of a turn go out at its end.
const MAX_EVENTS: usize = 32;
/// How many requests of one connection are served in a turn at most; a pipeline goes on in the next.
const MAX_PIPELINED: usize = 16;
/// A request that is not all there takes no more than this: a head, a body, and a trailer field that has not ended; and
/// what one read adds when it is another connection's turn.
const MAX_KEPT: usize = limits::HEAD + limits::BODY + limits::CHUNK_EXTRAS + READ;
/// Room for what has been kept and one more read, and for the usual reads of a whole turn behind each other.
const BUFFER: usize = 2 * (MAX_KEPT + READ);
/// How many bytes of answers are gathered before they are written.
const MAX_OUT: usize = 256 * 1024;
/// The token of the bell; no slab makes one like it.
const BELL: u64 = u64::MAX;

/// One worker.
pub struct Worker {
    number: usize,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    bell: Bell,
    app: App,
    credentials_version: usize,
    counters: Arc<Counters>,
    logger: Option<Arc<Logger>>,
    poller: Poller,
    connections: Slab<Connection>,
    deadlines: Deadlines,
    /// Connections to be visited in the next turn though nobody will tell of them, by their tokens.
    to_revisit: VecDeque<u64>,
    /// Those to be visited in this turn.
    visiting: Vec<u64>,
    /// How many turns there have been; a connection remembers in which it was visited.
    turn: u64,
    /// Where bytes are read to, whosever they are, and how far it is filled.
    buffer: Box<[u8]>,
    filled: usize,
    /// What has been read and not yet decoded: whose bytes of the buffer.
    arrivals: Vec<(u64, Range<usize>)>,
    /// The turn's requests, each with its connection's token.
    exchanges: Vec<(u64, Exchange)>,
    batch: Turn,
    /// Where answers are encoded, whosever they are.
    out: Vec<u8>,
    /// What has been encoded and not yet written: whose bytes of `out`.
    writes: Vec<(u64, Range<usize>)>,
    session: Box<dyn Session>,
    clock: Clock,
    now: Now,
    /// The steady clock at the beginning of the turn, in microseconds.
    micros: u64,
    /// When the server has to have stopped; None while it need not.
    stop_by: Option<Timestamp>,
    grace: Millis,
}

/// What a worker is made of.
pub struct WorkerParts {
    pub number: usize,
    pub shared: Arc<Shared>,
    pub inbox: Arc<Inbox>,
    pub bell: Bell,
    pub app: App,
    pub counters: Arc<Counters>,
    pub logger: Option<Arc<Logger>>,
    pub clock: Clock,
    pub grace: Millis,
}

impl Worker {
    /// A worker that has not begun.
    pub fn new(parts: WorkerParts) -> std::io::Result<Self> {
        let WorkerParts { number, shared, inbox, bell, app, counters, logger, clock, grace } = parts;
        let mut poller = Poller::new(MAX_EVENTS)?;
        poller.add(bell.0.as_fd(), BELL)?;
        let session = Arc::clone(&shared.store).session(std::task::Waker::noop().clone())?;
        Ok(Self {
            session,
            number,
            shared,
            inbox,
            bell,
            app,
            credentials_version: 0,
            counters,
            logger,
            poller,
            connections: Slab::new(),
            deadlines: Deadlines::new(),
            to_revisit: VecDeque::new(),
            visiting: Vec::new(),
            turn: 0,
            buffer: vec![0; BUFFER].into(),
            filled: 0,
            arrivals: Vec::new(),
            exchanges: Vec::new(),
            batch: Turn::default(),
            out: Vec::new(),
            writes: Vec::new(),
            clock,
            now: Now::default(),
            micros: 0,
            stop_by: None,
            grace,
        })
    }

    /// Turns until the server stops.
    pub fn run(mut self) {
        let mut events = Vec::with_capacity(MAX_EVENTS);
        while !self.is_done() {
            self.turn(&mut events);
        }
        let left: Vec<u32> = self.connections.taken().collect();
        left.into_iter().for_each(|slot| self.close(slot));
        self.shared.working.fetch_sub(1, Relaxed);
    }

    /// While others still have requests under way, this one goes on for the sake of the admin listener.
    fn is_done(&self) -> bool {
        let Some(stop_by) = self.stop_by else { return false };
        let idle = |slot| matches!(self.deadlines.waits_for(slot), Some(Timeout::Idle | Timeout::IdleAdmin));
        stop_by <= self.now.steady || self.shared.stopped.load(Relaxed) && self.connections.taken().all(idle)
    }

    fn turn(&mut self, events: &mut Vec<Event>) {
        self.wait(events);
        let rung = self.read_all(events);
        self.decode_arrivals();
        self.give_up();
        self.execute();
        self.answer_all();
        if rung {
            // Last, so that whoever makes room for a newcomer has had their answer.
            self.answer_bell();
        }
        self.end();
    }

    /// Waits for something to happen; from then on it is `now`.
    fn wait(&mut self, events: &mut Vec<Event>) {
        if let Err(error) = self.poller.wait(events, self.timeout()) {
            // It can only be misused; better a slow server than a dead or a spinning one.
            notice(&format!("cannot wait for connections: {error}"));
            std::thread::sleep(Duration::from_millis(100));
        }
        self.begin();
    }

    /// Reads from whoever was left for this turn, and from whoever the poller tells of. Returns whether the bell was rung.
    fn read_all(&mut self, events: &[Event]) -> bool {
        self.revisit_all();
        let mut rung = false;
        for event in events {
            match self.connections.slot(event.token) {
                Some(slot) => self.wake(slot, event.hup),
                // Or it was closed earlier in this turn.
                None => rung |= event.token == BELL,
            }
        }
        rung
    }

    /// Until the next deadline; not at all when somebody is to be visited or answered.
    fn timeout(&self) -> Option<Duration> {
        if !self.to_revisit.is_empty() || !self.exchanges.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = self.deadlines.next().into_iter().chain(self.stop_by).min()?;
        Some(Duration::from_millis(self.now.steady.until(due).millis()))
    }

    fn begin(&mut self) {
        self.turn += 1;
        self.micros = self.clock.micros();
        self.now = self.clock.now(self.micros);
        self.app.begin(self.now);
        let version = self.shared.credentials_version.load(Relaxed);
        if version != self.credentials_version {
            self.credentials_version = version;
            self.app.set_credentials(self.shared.credentials());
        }
    }

    fn end(&mut self) {
        if let Some(logger) = &self.logger
            && !self.app.lines.is_empty()
        {
            logger.take(self.number, &mut self.app.lines, &self.counters);
        }
        let idle_since = self.deadlines.longest_idle().map_or(u64::MAX, |(_, since)| since.millis());
        self.inbox.idle_since.store(idle_since, Relaxed);
        self.inbox.idle.store(self.deadlines.idle(), Relaxed);
        let holding = self.deadlines.holding();
        self.inbox.holding.store(holding, Relaxed);
        if holding > self.inbox.held.load(Relaxed) {
            self.inbox.held.store(holding, Relaxed);
        }
    }

    fn answer_bell(&mut self) {
        self.bell.hush();
        for errand in self.inbox.take() {
            match errand {
                Message::Serve { stream, peer, side, full } => self.accept(stream, peer, side, full),
                Message::Reclaim => drop(self.reclaim()),
            }
        }
        if self.stop_by.is_none() && self.shared.stopping.load(Relaxed) {
            self.stop_by = Some(self.now.steady + self.grace);
            // Whatever has arrived is still served; then the idle are closed.
            for slot in self.connections.taken().collect::<Vec<_>>() {
                self.read_once_more(slot);
            }
        }
    }

    /// Visits a connection in the next turn, whether or not the poller tells of it.
    fn read_once_more(&mut self, slot: u32) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.unread = true;
            self.revisit(slot);
        }
    }

    fn accept(&mut self, stream: TcpStream, peer: SocketAddr, side: Side, full: bool) {
        // Since it was dealt, room may have been made.
        let full = full && self.shared.open[side as usize].load(Relaxed) > self.shared.most[side as usize];
        let refused = full && (side == Side::Admin || !self.reclaim());
        let slot = self.connections.insert(Connection::new(stream, peer, side));
        let token = self.connections.token(slot);
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.arrived = self.micros;
        if self.poller.add(connection.stream.as_fd(), token).is_err() {
            return self.close(slot);
        }
        if refused {
            self.counters.bump(Counter::TurnedAway, 0);
            self.refuse(slot, Problem::NoCapacity, None);
        } else {
            self.deadlines.begin(slot, serve::idle(side), self.now.steady);
        }
        if self.stop_by.is_some() && side == Side::Public {
            self.read_once_more(slot);
        }
    }

    /// Closes the connection that has been idle longest; false if none is. One whose next request is there already, only
    /// not yet read, is not idle.
    fn reclaim(&mut self) -> bool {
        for _ in 0..self.deadlines.idle().min(MAX_EVENTS) {
            let Some((slot, _)) = self.deadlines.longest_idle() else { break };
            let Some(connection) = self.connections.get_mut(slot) else { break };
            if !matches!(connection.stream.peek(&mut [0]), Ok(1..)) {
                self.counters.bump(Counter::Reclaimed, 0);
                self.close(slot);
                return true;
            }
            self.deadlines.begin(slot, Timeout::Idle, self.now.steady);
            self.read_once_more(slot);
        }
        false
    }

    /// Visits whoever was left for this turn.
    fn revisit_all(&mut self) {
        // As many as there may be events, so that many long pipelines make no long turn.
        let count = self.to_revisit.len().min(MAX_EVENTS);
        self.visiting.extend(self.to_revisit.drain(..count));
        for i in 0..count {
            let Some(slot) = self.connections.slot(self.visiting[i]) else { continue };
            if let Some(connection) = self.connections.get_mut(slot) {
                connection.to_revisit = false;
            }
            self.visit(slot);
        }
        if self.stop_by.is_some() {
            self.decode_arrivals();
            for i in 0..count {
                self.close_if_idle(self.visiting[i]);
            }
        }
        self.visiting.clear();
    }

    fn close_if_idle(&mut self, token: u64) {
        let Some(slot) = self.connections.slot(token) else { return };
        let idle = self.deadlines.waits_for(slot) == Some(Timeout::Idle);
        if idle && self.connections.get_mut(slot).is_some_and(|connection| !connection.answer_due) {
            self.close(slot);
        }
    }

    /// Has a connection visited in the next turn.
    fn revisit(&mut self, slot: u32) {
        let token = self.connections.token(slot);
        if let Some(connection) = self.connections.get_mut(slot)
            && !std::mem::replace(&mut connection.to_revisit, true)
        {
            self.to_revisit.push_back(token);
        }
    }

    /// Gives up on whoever has kept us waiting too long.
    fn give_up(&mut self) {
        while let Some((slot, wait)) = self.deadlines.take_due(self.now.steady) {
            self.counters.bump(Counter::Timeouts, wait as usize);
            let kept = self.connections.get_mut(slot).and_then(|connection| connection.kept.take());
            match (wait, kept) {
                (Timeout::Head | Timeout::Body, Some(kept)) if kept.is_begun() => {
                    self.refuse(slot, Problem::Late { content: wait == Timeout::Body }, Some(&kept));
                }
                _ => self.close(slot),
            }
        }
    }

    fn execute(&mut self) {
        if self.batch.batch.entries.is_empty() {
            return;
        }
        let (session, batch, now) = (&mut self.session, &mut self.batch.batch, self.now.steady);
        // What a panic leaves without an outcome is answered as unavailable.
        if catch_unwind(AssertUnwindSafe(|| session.submit(now, batch, &mut NoRegistry))).is_err() {
            self.counters.bump(Counter::Panics, 0);
        }
    }

    /// Encodes the answers, connection by connection, and then writes each connection's at once.
    fn answer_all(&mut self) {
        if self.exchanges.is_empty() {
            return;
        }
        self.micros = self.clock.micros();
        let exchanges = std::mem::take(&mut self.exchanges);
        for group in exchanges.chunk_by(|(a, _), (b, _)| a == b) {
            if let Some(slot) = self.connections.slot(group[0].0) {
                self.contain(slot, |worker, slot| worker.encode(slot, group));
            }
            if self.out.len() > MAX_OUT {
                self.write_all();
            }
        }
        self.exchanges = exchanges;
        self.write_all();
        self.batch.clear();
        self.exchanges.clear();
    }
}

struct NoRegistry;

impl crate::store::Registry for NoRegistry {
    fn watch(
        &mut self,
        _source: std::os::fd::BorrowedFd<'_>,
        _key: u32,
        _interest: crate::store::Interest,
    ) -> std::io::Result<()> {
        Ok(())
    }

    fn unwatch(&mut self, _source: std::os::fd::BorrowedFd<'_>) {}
}
