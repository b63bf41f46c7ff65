//! The clients that there is no room for: each is told so at once, and its connection is closed soon.
//!
//! The listener does this itself. So a flood of them costs the workers nothing, and they count among nothing: once the
//! others have left there is room again, however many refused clients stay connected.
//!
//! *Invariant:* no more refused connections are open than there is an allowance for, and none for longer than [`LINGER`].

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::logger::Logger;
use super::shared::Newcomer;
use crate::app::counters::{Counter, Counters};
use crate::app::problem::Problem;
use crate::app::{App, Source, Turn};
use crate::time::Timestamp;

/// How long a refused connection stays open. A client whose request is still on its way would else be sent a reset, and
/// never see the response.
const LINGER: Duration = Duration::from_millis(500);
/// How many bytes of a refused client are read and thrown away.
const MAX_DRAIN: usize = 64 * 1024;

/// Refuses, and remembers what is to be closed.
pub struct Refusals {
    app: App,
    clock: Clock,
    turn: Turn,
    out: Vec<u8>,
    /// The log, and which of its slots is the listener's.
    logger: Option<(Arc<Logger>, usize)>,
    counters: Arc<Counters>,
    /// What is still open, the oldest first, and when it is to be closed in microseconds of the clock.
    lingering: VecDeque<(TcpStream, u64)>,
    most: usize,
}

impl Refusals {
    /// Keeps `most` connections open at most.
    pub fn new(
        app: App,
        clock: Clock,
        logger: Option<(Arc<Logger>, usize)>,
        counters: Arc<Counters>,
        most: usize,
    ) -> Self {
        let (turn, out, lingering) = (Turn::default(), Vec::new(), VecDeque::new());
        Self { app, clock, turn, out, logger, counters, lingering, most: most.max(1) }
    }

    /// Tells a client that there is no room.
    pub fn refuse(&mut self, newcomer: Newcomer) {
        let Newcomer { mut stream, peer, side } = newcomer;
        let micros = self.clock.micros();
        self.app.begin(self.clock.now(micros), micros);
        let source = Source { side, peer, arrived: micros };
        let exchange = self.app.refuse(source, Problem::NoCapacity, None, &mut self.turn);
        self.app.encode(&exchange, micros, &self.turn, None, &mut self.out);
        self.counters.bump(Counter::TurnedAway, 0);
        // The socket is new and takes that much. If the client has gone already, there is nothing to be done about it.
        if let Ok(sent) = stream.write(&self.out) {
            self.counters.add(Counter::Sent, 0, sent as u64);
        }
        let _ = stream.shutdown(Shutdown::Write);
        if let Some((logger, slot)) = &self.logger {
            logger.take(*slot, &mut self.app.lines, &self.counters);
        }
        self.turn.clear();
        self.out.clear();
        if self.lingering.len() == self.most {
            self.close_oldest();
        }
        self.lingering.push_back((stream, micros + LINGER.as_micros() as u64));
    }

    /// The steady clock.
    pub fn now(&mut self) -> Timestamp {
        self.clock.now(self.clock.micros()).steady
    }

    /// Closes what has lingered long enough; returns in how long there is more to close.
    pub fn close_due(&mut self) -> Option<Duration> {
        let now = if self.lingering.is_empty() { 0 } else { self.clock.micros() };
        loop {
            match self.lingering.front()?.1.checked_sub(now) {
                None | Some(0) => self.close_oldest(),
                Some(micros) => return Some(Duration::from_micros(micros)),
            }
        }
    }

    fn close_oldest(&mut self) {
        let Some((mut stream, _)) = self.lingering.pop_front() else { return };
        // What is closed before all has been read is reset.
        let (mut drained, mut buffer) = (0, [0; 4096]);
        while drained < MAX_DRAIN
            && let Ok(read @ 1..) = stream.read(&mut buffer)
        {
            drained += read;
        }
        self.counters.bump(Counter::Closed, 0);
    }
}
