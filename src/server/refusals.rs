//! The clients that there is no room for: each is told so at once, and its connection is closed soon.
//!
//! The listener does this itself. So a flood of them costs the workers nothing, and they count among nothing: once the
//! others have left there is room again, however many refused clients stay connected.
//!
//! *Invariant:* no more refused connections are open than there is an allowance for, and none for longer than
//! [`LINGER`]. (Tested by `those_who_are_refused_keep_nobody_out`.)

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::shared::{Newcomer, Shared, Station};
use crate::app::counters::{Counter, Lost};
use crate::app::problem::Problem;
use crate::app::{App, Requests, Side, Source};

/// How long a refused connection stays open. A client whose request is still on its way would else be sent a reset, and
/// never see the response.
const LINGER: Duration = Duration::from_millis(500);
/// How many bytes of a refused client are read and thrown away.
const MAX_DRAIN: usize = 64 * 1024;

/// Refuses, and remembers what is to be closed.
pub struct Refusals {
    shared: Arc<Shared>,
    app: App,
    clock: Clock,
    requests: Requests,
    out: Vec<u8>,
    /// What is still open, the oldest first, and when it is to be closed in microseconds of the clock.
    lingering: VecDeque<(TcpStream, u64)>,
    most: usize,
}

impl Refusals {
    /// Keeps `most` connections open at most.
    pub fn new(shared: Arc<Shared>, most: usize) -> Self {
        let app = App::new(Arc::clone(&shared.site), shared.number(Station::Listener), Side::Public);
        let (clock, requests, out, lingering) =
            (shared.clock.clone(), Requests::default(), Vec::new(), VecDeque::new());
        Self { shared, app, clock, requests, out, lingering, most: most.max(1) }
    }

    /// Begins a turn, and lets go of credentials that hold no more; returns the steady clock in microseconds.
    pub fn begin(&mut self) -> u64 {
        let micros = self.clock.micros();
        self.app.begin(self.clock.now(micros), micros);
        micros
    }

    /// Tells a client that there is no room.
    pub fn refuse(&mut self, newcomer: Newcomer) {
        let Newcomer { mut stream, peer, side } = newcomer;
        let micros = self.begin();
        self.app.side = side;
        let counters = self.shared.counters(Station::Listener);
        let source = Source { peer, arrived: micros };
        let exchange = self.app.refuse(source, Problem::NoCapacity, None, &mut self.requests);
        self.app.encode(&exchange, micros, &self.requests, &mut self.out);
        counters.bump(Counter::TurnedAway, 0);
        // The socket is new and takes that much. If the client has gone already, there is nothing to be done about it.
        if let Ok(sent) = stream.write(&self.out) {
            counters.add(Counter::Sent, 0, sent as u64);
        }
        let _ = stream.shutdown(Shutdown::Write);
        if let Some(log) = &self.shared.log {
            let lost = log.leave(|lines| lines.take(&mut self.app.lines));
            counters.add(Counter::LinesLost, Lost::Slow as usize, lost);
        }
        self.requests.clear();
        self.out.clear();
        if self.lingering.len() == self.most {
            self.close_oldest();
        }
        self.lingering.push_back((stream, micros + LINGER.as_micros() as u64));
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
        self.shared.counters(Station::Listener).bump(Counter::Closed, 0);
    }
}
