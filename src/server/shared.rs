//! What the threads share, and how they reach each other: each has a number.
//!
//! *Invariant:* a lock here is taken once a connection or once a turn, and held for a few stores. (Not tested.)

use core::net::SocketAddr;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::{Arc, Mutex};
use std::task::Wake;

use super::clock::Clock;
use super::logger::LogLines;
use crate::app::Side;
use crate::app::counters::Counters;
use crate::app::site::Site;
use crate::sync::{Mailbox, lock};
use crate::time::Timestamp;

/// The threads behind the workers, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Station {
    /// The worker of the admin listener.
    Operators,
    Listener,
    /// Frees what has run out.
    Sweeper,
    Logger,
    Reloader,
    /// Keeps the clock from standing still.
    Clock,
}

impl Station {
    /// How many there are.
    pub const COUNT: usize = 6;
    /// How many of them have an inbox: the first.
    const WITH_INBOX: usize = 2;

    /// The number of this thread where there are so many workers.
    pub fn number(self, workers: usize) -> usize {
        workers + self as usize
    }
}

pub struct Shared {
    pub site: Arc<Site>,
    /// To be cloned by each thread.
    pub clock: Clock,
    /// By the number of the thread that reads them.
    pub inboxes: Box<[Arc<Inbox>]>,
    /// What is to be logged, if anything is.
    pub log: Option<Arc<Mailbox<LogLines>>>,
    /// How many workers are still at work, that of the operators among them.
    pub working: AtomicUsize,
}

impl Shared {
    /// The number of a thread.
    pub fn number(&self, station: Station) -> usize {
        station.number(self.site.config.workers)
    }

    pub fn counters(&self, station: Station) -> &Counters {
        &self.site.counters[self.number(station)]
    }

    /// Where a thread is reached.
    pub fn inbox(&self, station: Station) -> &Inbox {
        &self.inboxes[self.number(station)]
    }

    /// Those of the workers of players.
    pub fn players(&self) -> &[Arc<Inbox>] {
        &self.inboxes[..self.site.config.workers]
    }

    /// Wakes all that wait in a poller.
    pub fn wake_all(&self) {
        self.inboxes.iter().for_each(|inbox| inbox.wake_owner());
    }

    /// The inboxes, each with what becomes readable when its owner is to wake up. The workers share `most` connections, that
    /// of the operators has as many as it likes.
    pub fn inboxes(
        workers: usize,
        most: usize,
        of_operators: usize,
    ) -> io::Result<Vec<(Arc<Inbox>, WakeUps)>> {
        let share = |number| most / workers + usize::from(number < most % workers);
        let most = |number| if number < workers { share(number) } else { of_operators };
        let made = (0..workers + Station::WITH_INBOX).map(|number| Inbox::new(most(number)));
        made.map(|made| made.map(|(inbox, wake_ups)| (Arc::new(inbox), wake_ups))).collect()
    }
}

/// A connection that has just been accepted.
pub struct Newcomer {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub side: Side,
}

/// How a thread that waits in its poller is reached, and what it says of itself.
pub struct Inbox {
    newcomers: Mutex<Vec<Newcomer>>,
    /// How many of them have not been taken up yet.
    pending: AtomicUsize,
    /// Whether it is to close a connection, because there are no more descriptors.
    pub reclaim: AtomicBool,
    /// A byte in it wakes the owner.
    waker: UnixStream,
    /// How many connections it may have.
    pub most: usize,
    /// How many it has, those dealt to it and not yet taken up among them.
    pub open: AtomicUsize,
    /// From when on one of them gives way to a newcomer, in milliseconds of steady time; `u64::MAX` for none.
    pub gives_way_at: AtomicU64,
    /// How many of its connections hold a buffer.
    pub holding: AtomicUsize,
    /// How many did at most since the sweeper last looked.
    pub held: AtomicUsize,
}

impl Inbox {
    fn new(most: usize) -> io::Result<(Self, WakeUps)> {
        let (waker, wake_ups) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        wake_ups.set_nonblocking(true)?;
        let [pending, open, holding, held] = Default::default();
        let (newcomers, gives_way_at) = (Mutex::default(), AtomicU64::new(u64::MAX));
        let reclaim = AtomicBool::new(false);
        let inbox = Self { newcomers, pending, reclaim, waker, most, open, gives_way_at, holding, held };
        Ok((inbox, WakeUps(wake_ups)))
    }

    pub fn leave(&self, newcomer: Newcomer) {
        self.pending.fetch_add(1, Relaxed);
        let mut newcomers = lock(&self.newcomers);
        newcomers.push(newcomer);
        let first = newcomers.len() == 1;
        drop(newcomers);
        // For those before, the owner has been woken already.
        if first {
            self.wake_owner();
        }
    }

    pub fn take(&self) -> Vec<Newcomer> {
        std::mem::take(&mut *lock(&self.newcomers))
    }

    /// So many have been taken up.
    pub fn done(&self, newcomers: usize) {
        self.pending.fetch_sub(newcomers, Release);
    }

    /// Wakes the owner. If its wake-ups are full, it will wake up anyway.
    pub fn wake_owner(&self) {
        let _ = (&self.waker).write(&[0]);
    }

    /// Whether there is room for one more connection.
    pub fn has_room(&self) -> bool {
        self.open.load(Relaxed) < self.most
    }

    /// Whether a connection gives way to a newcomer; or may, since the owner has not taken up all that it was dealt.
    pub fn gives_way(&self, now: Timestamp) -> bool {
        // Looked at first: one that becomes idle meanwhile is found either way.
        let is_busy = self.pending.load(Acquire) > 0;
        is_busy || self.gives_way_at.load(Relaxed) <= now.millis()
    }
}

/// So that a store's threads can wake the worker through a [`std::task::Waker`].
impl Wake for Inbox {
    fn wake(self: Arc<Self>) {
        self.wake_owner();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_owner();
    }
}

/// An owner's end: what becomes readable when it is to wake up.
pub struct WakeUps(UnixStream);

impl WakeUps {
    /// Forgets the wake-ups so far; to be called before looking for what they were.
    pub fn clear(&mut self) {
        while matches!(self.0.read(&mut [0; 64]), Ok(1..)) {}
    }
}

impl AsFd for WakeUps {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
