//! The main thread: accepts connections, deals them to the workers, and listens for signals.
//!
//! ```text
//! Serving ──the first SIGTERM or SIGINT──▶ Draining ──after --drain──▶ Stopping ──idle, or after --grace──▶ end
//! ```
//!
//! *Invariant:* a failing `accept` neither ends nor spins it, and much to accept at one socket delays no other.
//! (Tested by `running_out_of_descriptors_is_said_survived_and_recovered_from` and
//! `those_who_are_refused_keep_nobody_out`.)

use core::net::{IpAddr, SocketAddr};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::notice;
use super::refusals::Refusals;
use super::shared::{Inbox, Newcomer, Shared, Station, WakeUps};
use super::signals::{Signal, Signals};
use crate::app::Side;
use crate::app::counters::Counter;
use crate::app::site::Life;
use crate::poller::{Interest, Poll, Poller, Readiness};
use crate::sync::Mailbox;
use crate::sys;

/// How long to wait before the next attempt when `accept` has failed because descriptors or memory were used up.
const BACK_OFF: Duration = Duration::from_millis(50);
/// How many connections are accepted at one socket before it is the others' turn, and the signals'.
const MAX_ACCEPTED: usize = 32;
/// How often to look whether the workers are done, while stopping.
const STOP_TICK: Duration = Duration::from_millis(5);

/// The token of the signals; a socket's is its index.
const SIGNALS: u64 = u64::MAX;
/// The token of what wakes the listener when a worker has found no room.
const WAKE: u64 = u64::MAX - 1;

/// The listening sockets, and the workers that they deal to.
pub struct Listener {
    /// None once they are closed.
    sockets: Vec<(Side, Option<TcpListener>)>,
    signals: Signals,
    poller: Poller,
    shared: Arc<Shared>,
    wake_ups: WakeUps,
    clock: Clock,
    /// How files are asked to be read again.
    reloader: Arc<Mailbox<bool>>,
    refusals: Refusals,
    /// The worker that was dealt to last.
    last: usize,
    /// Until when sockets are left alone whose `accept` has failed.
    paused: Option<Instant>,
    /// How long to drain, and how long to stop.
    times: [Duration; 2],
    /// When draining or stopping is over, whichever it is.
    until: Option<Instant>,
}

impl Listener {
    /// A listener that has not begun.
    pub fn new(
        sockets: Vec<(Side, TcpListener)>,
        signals: Signals,
        shared: Arc<Shared>,
        wake_ups: WakeUps,
        reloader: Arc<Mailbox<bool>>,
        refusals: Refusals,
    ) -> io::Result<Self> {
        let mut poller = Poller::new(8)?;
        poller.add(signals.as_fd(), SIGNALS)?;
        poller.add(wake_ups.as_fd(), WAKE)?;
        for ((_, socket), token) in sockets.iter().zip(0..) {
            socket.set_nonblocking(true)?;
            sys::set_backlog(socket.as_fd(), 4096)?;
            sys::set_urgent_inline(socket.as_fd())?;
            poller.add(socket.as_fd(), token)?;
        }
        let sockets = sockets.into_iter().map(|(side, socket)| (side, Some(socket))).collect();
        let config = &shared.site.config;
        let times = [config.drain, config.grace].map(|time| Duration::from_millis(time.millis()));
        let (clock, last, paused, until) = (shared.clock.clone(), 0, None, None);
        Ok(Self {
            sockets,
            signals,
            poller,
            clock,
            wake_ups,
            reloader,
            refusals,
            shared,
            last,
            paused,
            times,
            until,
        })
    }

    /// Accepts until it is told to stop, and `--drain` longer; then waits until the workers are done, at most for
    /// `--grace`. Returns the number of a second signal, which ends it at once.
    pub fn run(mut self) -> Option<u8> {
        let mut events = Vec::new();
        while self.shared.working.load(Relaxed) > 0 {
            let is_due = self.until.is_some_and(|until| until <= Instant::now());
            match (is_due, self.shared.site.has_reached(Life::Stopping)) {
                (true, true) => return None,
                (true, false) => self.stop(),
                (false, _) => {}
            }
            let turn = catch_unwind(AssertUnwindSafe(|| self.turn(&mut events)));
            let second = turn.unwrap_or_else(|_| {
                self.shared.counters(Station::Listener).bump(Counter::Panics, 0);
                std::thread::sleep(BACK_OFF);
                None
            });
            if second.is_some() {
                return second;
            }
        }
        None
    }

    /// Waits, accepts and refuses; returns the number of a second signal to stop.
    fn turn(&mut self, events: &mut Vec<Readiness>) -> Option<u8> {
        let timeout = self.timeout();
        if let Err(error) = self.poller.wait(events, timeout) {
            notice(&format!("cannot wait for connections: {error}"));
            std::thread::sleep(BACK_OFF);
        }
        if self.paused.is_some_and(|until| until <= Instant::now()) {
            self.paused = None;
            // The poller tells of what waits there already.
            (0..self.sockets.len()).for_each(|index| self.set_interest(index, Interest::Read));
        }
        let mut second = None;
        for event in &*events {
            match event.token {
                SIGNALS => second = self.take_signals(),
                WAKE => self.refuse_all(),
                index => {
                    self.accept_some(index as usize);
                }
            }
        }
        second
    }

    /// Does what the signals ask for; returns the number of a second one to stop.
    fn take_signals(&mut self) -> Option<u8> {
        for signal in self.signals.take() {
            match signal {
                Signal::Reload => self.reloader.leave(|asked| *asked = true),
                Signal::Stop(number) if self.shared.site.has_reached(Life::Draining) => return Some(number),
                Signal::Stop(number) => {
                    notice(&format!("stopping on {}", if number == 2 { "SIGINT" } else { "SIGTERM" }));
                    self.shared.site.reach(Life::Draining);
                    self.until = Some(Instant::now() + self.times[0]);
                }
            }
        }
        None
    }

    /// Until there is something to do that the poller does not tell of.
    fn timeout(&mut self) -> Option<Duration> {
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        let tick = self.shared.site.has_reached(Life::Stopping).then_some(STOP_TICK);
        let paused = self.paused.map(until);
        [self.until.map(until), tick, paused, self.refusals.close_due()].into_iter().flatten().min()
    }

    /// Accepts what waits at the public sockets, tells the workers, and closes the sockets. The admin listener goes on, so
    /// that `/readyz` can say what is happening.
    fn stop(&mut self) {
        let public = |(side, _): &(Side, Option<TcpListener>)| *side == Side::Public;
        for index in (0..self.sockets.len()).filter(|index| public(&self.sockets[*index])).collect::<Vec<_>>()
        {
            // As many as may wait there.
            for _ in 0..4096 / MAX_ACCEPTED {
                if !self.accept_some(index) {
                    break;
                }
            }
        }
        self.shared.site.reach(Life::Stopping);
        self.until = Some(Instant::now() + self.times[1]);
        self.shared.wake_all();
        for (_, socket) in self.sockets.iter_mut().filter(|socket| public(socket)) {
            if let Some(socket) = socket.take() {
                self.poller.remove(socket.as_fd());
            }
        }
    }

    /// Accepts what waits at one socket; returns whether there may be more, of which the poller then tells again.
    fn accept_some(&mut self, index: usize) -> bool {
        let side = self.sockets[index].0;
        for _ in 0..MAX_ACCEPTED {
            match self.sockets[index].1.as_ref().map(TcpListener::accept) {
                None => return false,
                Some(Ok((stream, peer))) => self.deal(Newcomer { stream, peer: canonical(peer), side }),
                Some(Err(error)) => match error.kind() {
                    io::ErrorKind::WouldBlock => return false,
                    // The client has gone already, or a signal came.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => {
                        self.pause(index);
                        return false;
                    }
                },
            }
        }
        self.set_interest(index, Interest::Read);
        true
    }

    /// There are no more descriptors, or no memory: makes room, and leaves the socket alone for a while.
    fn pause(&mut self, index: usize) {
        let now = self.clock.now(self.clock.micros()).steady;
        let giving = self.shared.players().iter().filter(|inbox| inbox.gives_way(now));
        if let Some(inbox) = giving.max_by_key(|inbox| inbox.open.load(Relaxed)) {
            inbox.reclaim.store(true, Relaxed);
            inbox.wake_owner();
        }
        // Nothing can be written to it, so the poller tells nothing of it.
        self.set_interest(index, Interest::Write);
        self.paused = Some(Instant::now() + BACK_OFF);
    }

    fn set_interest(&mut self, index: usize, interest: Interest) {
        if let Some(socket) = &self.sockets[index].1
            && let Err(error) = self.poller.set(socket.as_fd(), index as u64, interest)
        {
            notice(&format!("cannot wait for connections: {error}"));
        }
    }

    /// Deals a connection to a worker, or refuses it: when there are as many as there may be, and none gives way.
    fn deal(&mut self, newcomer: Newcomer) {
        let counters = self.shared.counters(Station::Listener);
        counters.bump(Counter::Accepted, 0);
        if newcomer.stream.set_nonblocking(true).is_err() {
            return counters.bump(Counter::Closed, 0);
        }
        // Responses are written whole; waiting for more to send would only delay them.
        let _ = newcomer.stream.set_nodelay(true);
        let inbox = match newcomer.side {
            Side::Public => self.emptiest(),
            Side::Admin => Some(self.shared.inbox(Station::Operators)),
        };
        match inbox {
            Some(inbox) => {
                inbox.open.fetch_add(1, Relaxed);
                inbox.leave(newcomer);
            }
            None => self.refusals.refuse(newcomer),
        }
    }

    /// The emptiest of the workers that have room; if none has, the next of those that can make it.
    fn emptiest(&mut self) -> Option<&Inbox> {
        let workers = self.shared.players();
        self.last = (self.last + 1) % workers.len();
        let (before, from) = workers.split_at(self.last);
        let in_turn = || from.iter().chain(before).map(|inbox| &**inbox);
        let with_room = in_turn().filter(|inbox| inbox.has_room());
        if let Some(emptiest) = with_room.min_by_key(|inbox| inbox.open.load(Relaxed)) {
            return Some(emptiest);
        }
        let now = self.clock.now(self.clock.micros()).steady;
        in_turn().find(|inbox| inbox.gives_way(now))
    }

    /// Refuses the connections for which the workers have found no room.
    fn refuse_all(&mut self) {
        self.wake_ups.clear();
        self.refusals.begin();
        let turned_away = self.shared.inbox(Station::Listener).take();
        turned_away.into_iter().for_each(|newcomer| self.refusals.refuse(newcomer));
    }
}

/// An IPv4 peer of a socket that takes both is told as an address of IPv6 (RFC 4291 section 2.5.5.2); it is IPv4 from
/// here on, wherever it is written or compared.
fn canonical(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, peer.port()),
        // As it is: it may name an interface too.
        IpAddr::V6(_) => peer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_the_address_that_it_is() {
        for (told, is) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("[::ffff:127.0.0.1]:36840", "127.0.0.1:36840"),
            ("[::ffff:c000:201]:2", "192.0.2.1:2"),
            ("[::1]:3", "[::1]:3"),
            ("[::127.0.0.1]:4", "[::7f00:1]:4"),
            ("[fe80::1%7]:5", "[fe80::1%7]:5"),
        ] {
            assert_eq!(canonical(told.parse().unwrap()).to_string(), is, "{told}");
        }
    }
}
