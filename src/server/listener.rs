//! The main thread: accepts connections, deals them to the workers in turn, and listens for signals.
//!
//! ```text
//! Serving ──the first SIGTERM or SIGINT──▶ Draining ──after --drain──▶ Stopping ──idle, or after --grace──▶ end
//! ```
//!
//! *Invariant:* a failing `accept` neither ends nor spins it, and much to accept at one socket delays no other.

use core::net::{IpAddr, SocketAddr};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::mailbox::WakeUps;
use super::notice;
use super::poller::{Event, Poll, Poller};
use super::refusals::Refusals;
use super::reloader::Reloader;
use super::shared::{Inbox, Message, Newcomer, Shared, Stage};
use super::signals::{Signal, Signals};
use crate::app::Side;
use crate::app::counters::{Counter, Counters};
use crate::store::Interest;
use crate::sys;

/// How long to wait before the next attempt when `accept` has failed because descriptors or memory were used up.
const BACK_OFF: Duration = Duration::from_millis(50);
/// How many connections are accepted at one socket before it is the others' turn, and the signals'.
const MAX_ACCEPTED: usize = 32;
/// How long an operator's connection has to have been idle before it makes room for another, in milliseconds.
const MIN_IDLE_ADMIN: u64 = 1000;
/// How often to look whether the workers are done, while stopping.
const STOP_TICK: Duration = Duration::from_millis(5);

/// The token of the signals; a socket's is its index.
const SIGNALS: u64 = u64::MAX;
/// The token of what wakes the listener when a worker has found no room.
const TURNED_AWAY: u64 = u64::MAX - 1;

/// The listening sockets, and the workers that they deal to.
pub struct Listener {
    /// None once they are closed.
    sockets: Vec<(Side, Option<TcpListener>)>,
    signals: Signals,
    poller: Poller,
    links: Links,
    /// The worker that was dealt to last.
    last: usize,
    /// Until when sockets are left alone whose `accept` has failed.
    paused: Option<Instant>,
}

/// What the listener shares with the other threads, and how it reaches them.
pub struct Links {
    pub shared: Arc<Shared>,
    /// Those of all workers.
    pub inboxes: Arc<[Arc<Inbox>]>,
    /// A byte in it tells that there is something in [`Shared::turned_away`].
    pub wake_ups: WakeUps,
    pub reloader: Reloader,
    pub refusals: Refusals,
    pub counters: Arc<Counters>,
}

/// How far the server's life has come, and until when it stays there.
#[derive(Clone, Copy)]
enum Phase {
    Serving,
    /// Connections are still taken, until then.
    Draining(Instant),
    /// No more, and what is under way has until then.
    Stopping(Instant),
}

impl Listener {
    /// A listener that has not begun.
    pub fn new(sockets: Vec<(Side, TcpListener)>, signals: Signals, links: Links) -> io::Result<Self> {
        let mut poller = Poller::new(8)?;
        poller.add(signals.as_fd(), SIGNALS)?;
        poller.add(links.wake_ups.as_fd(), TURNED_AWAY)?;
        for ((_, socket), token) in sockets.iter().zip(0..) {
            socket.set_nonblocking(true)?;
            sys::set_backlog(socket.as_fd(), 4096)?;
            sys::set_urgent_inline(socket.as_fd())?;
            poller.add(socket.as_fd(), token)?;
        }
        let sockets = sockets.into_iter().map(|(side, socket)| (side, Some(socket))).collect();
        Ok(Self { sockets, signals, poller, links, last: 0, paused: None })
    }

    /// Accepts until it is told to stop, and `drain` longer; then waits until the workers are done, at most for
    /// `grace`. Returns the number of a second signal, which ends it at once.
    pub fn run(mut self, drain: Duration, grace: Duration) -> Option<u8> {
        let mut events = Vec::new();
        let mut phase = Phase::Serving;
        while self.links.shared.working.load(Relaxed) > 0 {
            match phase {
                Phase::Stopping(by) if by <= Instant::now() => return None,
                Phase::Stopping(_) => self.end_if_idle(),
                Phase::Draining(until) if until <= Instant::now() => {
                    self.stop();
                    phase = Phase::Stopping(Instant::now() + grace);
                }
                Phase::Draining(_) | Phase::Serving => {}
            }
            for signal in self.turn(&mut events, phase) {
                match (signal, phase) {
                    (Signal::Reload, _) => self.links.reloader.ask(),
                    (Signal::Stop(number), Phase::Serving) => {
                        let name = if number == 2 { "SIGINT" } else { "SIGTERM" };
                        notice(&format!("stopping on {name}"));
                        self.links.shared.reach(Stage::Draining);
                        phase = Phase::Draining(Instant::now() + drain);
                    }
                    (Signal::Stop(number), _) => return Some(number),
                }
            }
        }
        None
    }

    /// Lets the workers end once no client is connected. Until then they serve the admin listener.
    fn end_if_idle(&self) {
        if self.links.shared.open[Side::Public as usize].load(Relaxed) == 0 {
            self.links.shared.reach(Stage::Stopped);
            self.links.inboxes.iter().for_each(|inbox| inbox.wake_worker());
        }
    }

    /// Waits, accepts and refuses; returns the signals that have come.
    fn turn(&mut self, events: &mut Vec<Event>, phase: Phase) -> Vec<Signal> {
        let timeout = self.timeout(phase);
        if let Err(error) = self.poller.wait(events, timeout) {
            notice(&format!("cannot wait for connections: {error}"));
            std::thread::sleep(BACK_OFF);
        }
        if self.paused.is_some_and(|until| until <= Instant::now()) {
            self.paused = None;
            // The poller tells of what waits there already.
            (0..self.sockets.len()).for_each(|index| self.set_interest(index, Interest::Read));
        }
        let mut signals = Vec::new();
        for event in &*events {
            match event.token {
                SIGNALS => signals.extend(self.signals.take()),
                TURNED_AWAY => self.refuse_all(),
                index => {
                    self.accept_some(index as usize);
                }
            }
        }
        signals
    }

    /// Until there is something to do that the poller does not tell of.
    fn timeout(&mut self, phase: Phase) -> Option<Duration> {
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        let next = match phase {
            Phase::Serving => None,
            Phase::Draining(at) => Some(until(at)),
            Phase::Stopping(_) => Some(STOP_TICK),
        };
        [next, self.links.refusals.close_due(), self.paused.map(until)].into_iter().flatten().min()
    }

    /// Closes the public sockets once what waits there is accepted, and tells the workers. The admin listener goes on,
    /// so that `/readyz` can say what is happening.
    fn stop(&mut self) {
        for index in 0..self.sockets.len() {
            if self.sockets[index].0 == Side::Public {
                // As many as may wait there.
                for _ in 0..4096 / MAX_ACCEPTED {
                    if !self.accept_some(index) {
                        break;
                    }
                }
                if let Some(socket) = self.sockets[index].1.take() {
                    self.poller.remove(socket.as_fd());
                }
            }
        }
        self.links.shared.reach(Stage::Stopping);
        self.links.inboxes.iter().for_each(|inbox| inbox.wake_worker());
    }

    /// Accepts what waits at one socket; returns whether there may be more, of which the poller then tells again.
    fn accept_some(&mut self, index: usize) -> bool {
        let side = self.sockets[index].0;
        for _ in 0..MAX_ACCEPTED {
            match self.sockets[index].1.as_ref().map(TcpListener::accept) {
                None => return false,
                Some(Ok((stream, peer))) => self.admit(Newcomer { stream, peer: canonical(peer), side }),
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
        if let Some((inbox, _)) = Inbox::longest_idle(&self.links.inboxes, Side::Public) {
            inbox.leave(Message::Reclaim);
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

    /// Deals a connection to a worker, or refuses it: when there are as many as there may be, and none is idle.
    fn admit(&mut self, newcomer: Newcomer) {
        self.links.counters.bump(Counter::Accepted, 0);
        if newcomer.stream.set_nonblocking(true).is_err() {
            self.links.counters.bump(Counter::Closed, 0);
            return;
        }
        // Responses are written whole; waiting for more to send would only delay them.
        let _ = newcomer.stream.set_nodelay(true);
        let side = newcomer.side as usize;
        let full = self.links.shared.open[side].fetch_add(1, Relaxed) >= self.links.shared.most[side];
        if !full {
            self.last = (self.last + 1) % self.links.inboxes.len();
            return self.links.inboxes[self.last].leave(Message::Serve(newcomer));
        }
        match self.idle_worker(newcomer.side) {
            Some(inbox) => inbox.leave(Message::MakeRoom(newcomer, 0)),
            None => self.refuse(newcomer),
        }
    }

    /// The worker that has the connection that makes room, or may have it.
    fn idle_worker(&mut self, side: Side) -> Option<&Inbox> {
        // Looked for first: one that becomes idle meanwhile is found either way.
        let busy = Inbox::busy(&self.links.inboxes);
        let Some((inbox, since)) = Inbox::longest_idle(&self.links.inboxes, side) else { return busy };
        // A flood of operators' connections must not keep the workers busy with closing them.
        let is_old = side == Side::Public || self.links.refusals.now().millis() >= since + MIN_IDLE_ADMIN;
        is_old.then_some(inbox)
    }

    /// Refuses the connections for which the workers have found no room.
    fn refuse_all(&mut self) {
        self.links.wake_ups.clear();
        self.links.shared.turned_away.take().into_iter().for_each(|newcomer| self.refuse(newcomer));
    }

    fn refuse(&mut self, newcomer: Newcomer) {
        self.links.shared.open[newcomer.side as usize].fetch_sub(1, Relaxed);
        self.links.refusals.refuse(newcomer);
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
