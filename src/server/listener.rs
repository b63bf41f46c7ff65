//! The main thread: accepts connections, deals them to the workers in turn, and listens for signals.
//!
//! *Invariant:* a failing `accept` neither ends nor spins it.

use core::net::{IpAddr, SocketAddr};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::notice;
use super::poller::{Event, Poll, Poller};
use super::reloader::Reloader;
use super::shared::{Inbox, Message, Shared};
use super::signals::{Signal, Signals};
use crate::app::Side;
use crate::app::counters::{Counter, Counters};
use crate::sys;

/// How long to wait before the next attempt when `accept` has failed for want of descriptors or memory.
const BACK_OFF: Duration = Duration::from_millis(50);
/// How many connections are accepted before signals are heard again.
const MAX_ACCEPTED: usize = 256;
/// How often to look whether the workers are done, while stopping.
const STOP_TICK: Duration = Duration::from_millis(5);

/// The token of the signals; a socket's is its index.
const SIGNALS: u64 = u64::MAX;

/// The listening sockets, and the workers that they deal to.
pub struct Listener {
    /// None once they are closed.
    sockets: Vec<(Side, Option<TcpListener>)>,
    signals: Signals,
    poller: Poller,
    shared: Arc<Shared>,
    inboxes: Vec<Arc<Inbox>>,
    reloader: Reloader,
    counters: Arc<Counters>,
    next: usize,
    /// A socket may hold connections that the poller will not tell of again: the last `accept` failed.
    retry: bool,
    /// A socket may hold more connections: it was the signals' turn.
    more: bool,
}

impl Listener {
    /// A listener that has not begun.
    pub fn new(
        sockets: Vec<(Side, TcpListener)>,
        signals: Signals,
        shared: Arc<Shared>,
        inboxes: Vec<Arc<Inbox>>,
        reloader: Reloader,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let mut poller = Poller::new(8)?;
        poller.add(signals.as_fd(), SIGNALS)?;
        for ((_, socket), token) in sockets.iter().zip(0..) {
            socket.set_nonblocking(true)?;
            sys::set_backlog(socket.as_fd(), 4096)?;
            sys::set_urgent_inline(socket.as_fd())?;
            poller.add(socket.as_fd(), token)?;
        }
        Ok(Self {
            sockets: sockets.into_iter().map(|(side, socket)| (side, Some(socket))).collect(),
            signals,
            poller,
            shared,
            inboxes,
            reloader,
            counters,
            next: 0,
            retry: false,
            more: false,
        })
    }

    /// Accepts until told to stop; then until the workers are done, or `grace` has passed, or it is told once more.
    /// Returns the number of the second signal, if there was one.
    pub fn run(mut self, grace: Duration) -> Option<u8> {
        let mut events = Vec::new();
        let mut stop_by: Option<Instant> = None;
        while self.shared.working.load(Relaxed) > 0 && stop_by.is_none_or(|by| Instant::now() < by) {
            let tick = stop_by.map(|_| STOP_TICK);
            if stop_by.is_some() && self.shared.open[Side::Public as usize].load(Relaxed) == 0 {
                self.shared.stopped.store(true, Relaxed);
                self.inboxes.iter().for_each(|inbox| inbox.wake_worker());
            }
            for heard in self.turn(&mut events, tick) {
                match heard {
                    Signal::Reload => self.reloader.ask(),
                    Signal::Stop(signal) if stop_by.is_some() => return Some(signal),
                    Signal::Stop(number) => {
                        notice(&format!("stopping on {}", if number == 2 { "SIGINT" } else { "SIGTERM" }));
                        stop_by = Some(Instant::now() + grace);
                        self.stop();
                    }
                }
            }
        }
        None
    }

    fn turn(&mut self, events: &mut Vec<Event>, tick: Option<Duration>) -> Vec<Signal> {
        let mut timeout = tick;
        if std::mem::take(&mut self.more) {
            timeout = Some(Duration::ZERO);
            self.accept_everywhere();
        }
        if self.retry {
            // Slept and not waited: a level-triggered poller would tell of the same connection at once, and again.
            std::thread::sleep(BACK_OFF);
            timeout = Some(Duration::ZERO);
        }
        if let Err(error) = self.poller.wait(events, timeout) {
            notice(&format!("cannot wait for connections: {error}"));
            std::thread::sleep(BACK_OFF);
        }
        let mut heard = Vec::new();
        if std::mem::take(&mut self.retry) {
            self.accept_everywhere();
        }
        for event in &*events {
            match event.token {
                SIGNALS => heard.extend(self.signals.take()),
                socket => self.accept_all(socket as usize),
            }
        }
        heard
    }

    /// Deals what is waiting already, closes the public socket, and tells the workers. The admin listener goes on, so
    /// that `/readyz` can say what is happening.
    fn stop(&mut self) {
        for _ in 0..16 {
            self.more = false;
            self.accept_everywhere();
            if !self.more {
                break;
            }
        }
        for (side, socket) in &mut self.sockets {
            if *side == Side::Public
                && let Some(socket) = socket.take()
            {
                self.poller.remove(socket.as_fd());
            }
        }
        self.shared.stopping.store(true, Relaxed);
        self.inboxes.iter().for_each(|inbox| inbox.wake_worker());
    }

    fn accept_everywhere(&mut self) {
        (0..self.sockets.len()).for_each(|index| self.accept_all(index));
    }

    /// Accepts what waits at one socket.
    fn accept_all(&mut self, index: usize) {
        let side = self.sockets[index].0;
        let most = self.shared.most[side as usize] + self.shared.most_refused;
        for _ in 0..MAX_ACCEPTED {
            if self.shared.open[side as usize].load(Relaxed) >= most {
                // So many are being told already that there is no room that these have to wait to be told.
                self.retry = true;
                return;
            }
            match self.sockets[index].1.as_ref().map(TcpListener::accept) {
                None => return,
                Some(Ok((stream, peer))) => self.deal(stream, canonical(peer), side),
                Some(Err(error)) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    // The client has gone already, or a signal came.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => {
                        self.longest_idle().leave(Message::Reclaim);
                        self.retry = true;
                        return;
                    }
                },
            }
        }
        self.more = true;
    }

    fn deal(&mut self, stream: TcpStream, peer: SocketAddr, side: Side) {
        self.counters.bump(Counter::Accepted, 0);
        if stream.set_nonblocking(true).is_err() {
            self.counters.bump(Counter::Closed, 0);
            return;
        }
        // Answers are written whole; waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        let most = self.shared.most[side as usize];
        let open = self.shared.open[side as usize].fetch_add(1, Relaxed);
        let full = open >= most;
        let inbox = if full { self.longest_idle() } else { self.next_inbox() };
        inbox.leave(Message::Serve { stream, peer, side, full });
    }

    fn next_inbox(&mut self) -> &Inbox {
        self.next = (self.next + 1) % self.inboxes.len();
        &self.inboxes[self.next]
    }

    /// The worker that has the connection that has been idle longest; any one when none is idle.
    ///
    /// In a burst a worker may not yet have closed those that it was asked to; it is asked for no more than it has.
    fn longest_idle(&mut self) -> &Inbox {
        let idle = (0..self.inboxes.len()).filter(|&i| self.inboxes[i].idle.load(Relaxed) > 0);
        match idle.min_by_key(|&i| self.inboxes[i].idle_since.load(Relaxed)) {
            Some(i) => {
                // The worker may have just said that it has none.
                let _ = self.inboxes[i].idle.fetch_update(Relaxed, Relaxed, |idle| idle.checked_sub(1));
                &self.inboxes[i]
            }
            None => self.next_inbox(),
        }
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
