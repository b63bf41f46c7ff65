//! Where accounts are kept. One interface, so that the cost of durability or of distance is paid once a turn.
//!
//! ```text
//!             submit(batch)          memory                 Done: carried out at once
//! worker ────────────────▶ Session ─┤
//!    ▲                               journal, redis         Parked: the disk or the network has to answer first
//!    └── complete() ◀── a socket is ready, the waker was used, or a deadline has come
//! ```
//!
//! A [`Store`] is shared by all threads. Each worker has a [`Session`] of its own, with its own sockets, files and hints,
//! so that workers do not wait for each other.
//!
//! A batch through the store in memory, at a time of our own choice:
//!
//! ```
//! use streamer::store::memory::Memory;
//! use streamer::streams::account::Policy;
//! use streamer::streams::batch::{Action, Batch, Command, Replace, Verdict};
//! use streamer::time::{Millis, Timestamp};
//!
//! let lease = Millis::from_secs(90);
//! let store = Memory::new(Policy { lease, ..Policy::default() });
//! let mut batch = Batch::default();
//! for id in ["a", "b", "c", "d"] {
//!     let (user, key) = (batch.arena.add(b"alice"), batch.arena.add(id.as_bytes()));
//!     let action = Action::Start { position: None, replace: Replace::ByPolicy, switch: false };
//!     batch.push(Command { user, key, limit: 3, action });
//! }
//! store.execute(Timestamp::from_millis(1_000), &mut batch);
//! let verdicts = batch.entries.iter().map(|entry| entry.outcome.verdict);
//! assert!(verdicts.eq([Verdict::Started, Verdict::Started, Verdict::Started, Verdict::Full]));
//! ```
//!
//! *Invariant:* a store knows streams and time; it never sees a request, a response or a client's socket.

pub mod journal;
pub mod memory;
pub mod redis;

use std::borrow::Cow;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::Waker;

use crate::streams::batch::Batch;
use crate::time::Timestamp;

/// The contract of every store.
///
/// - Commands of one user are carried out in the order of the batch. Those of different users may be reordered.
/// - Each command is atomic, although other workers and other instances may work on the same user at the same time: of
///   N parallel starts exactly as many as the limit allows succeed.
/// - When a batch is given back, every outcome in it holds, durably if the store promises that. An outcome that could
///   not be had is left [`Unavailable`](crate::streams::batch::Verdict::Unavailable): the change may or may not have
///   been made, and repeating it is safe.
pub trait Store: Send + Sync {
    /// A session for one worker. `waker` wakes that worker from any thread, so that it calls [`Session::complete`].
    ///
    /// # Errors
    ///
    /// When the system lacks what the session needs: descriptors, files, threads.
    fn session(self: Arc<Self>, waker: Waker) -> io::Result<Box<dyn Session>>;

    /// Frees some of what has expired untouched: a bounded piece of work, the next one at each call.
    fn sweep(&self, now: Timestamp) -> Swept;

    /// What the store holds, streams not yet found to have expired among it; None where only an engine far away knows.
    fn census(&self) -> Option<Census>;

    /// Why no command, or none that changes anything, can be carried out now: a sentence that says what to do, for
    /// `/readyz`. None while all can.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Whether all commands can be carried out now.
    fn is_up(&self) -> bool {
        self.trouble().is_none()
    }

    /// What it is, for the greeting: `memory`, `dir:/var/lib/streamer`, an address without its password.
    fn describe(&self) -> String;

    /// What it counts and measures, for `/metrics` and the page.
    fn measures(&self) -> Vec<Measure> {
        Vec::new()
    }
}

/// One worker's way to a store. It bounds how much it has waiting: what is too much is left unavailable at once.
pub trait Session: Send {
    /// Carries a turn's commands out. A session never blocks: a batch that has to wait is taken out of `batch`, which is
    /// left empty, and comes back from [`Session::complete`] with its ticket.
    fn submit(&mut self, now: Timestamp, batch: &mut Batch, registry: &mut dyn Registry) -> Submitted;

    /// A source that is watched under `key` is ready, or was: it may be told too often, never too seldom.
    fn ready(&mut self, _now: Timestamp, _key: u32, _registry: &mut dyn Registry) {}

    /// A parked batch that is done, in any order; what is late is given up, and comes back with what it has. Called
    /// until there is none: after `ready`, after the waker was used, and at the deadline.
    ///
    /// A batch may come as often as a part of it is done. While some of it is [awaited](Batch::awaited), it goes back by
    /// [`Session::take_back`] before the session is asked anything else.
    fn complete(&mut self, _now: Timestamp, _registry: &mut dyn Registry) -> Option<Batch> {
        None
    }

    /// Takes a batch back of which [`Session::complete`] has shown a part.
    fn take_back(&mut self, _batch: Batch) {}

    /// The ticket of a batch that was [`Submitted::Pending`], and whether its changes are kept. Called as
    /// [`Session::complete`] is.
    fn kept(&mut self) -> Option<(u32, bool)> {
        None
    }

    /// By when [`Session::complete`] is to be called though nothing has become ready.
    fn deadline(&self) -> Option<Timestamp> {
        None
    }
}

/// What became of a batch that was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is carried out, every outcome filled in.
    Done,
    /// It has to wait, and the session has it now.
    Parked,
    /// It is carried out, every outcome filled in, and the batch is where it was. But the engine has not kept it yet:
    /// outcomes with [`Change::State`](crate::streams::batch::Change) may be told to clients only after [`Session::kept`] has
    /// given the batch's ticket.
    Pending,
}

/// What a session waits for on a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes to read, or the end.
    Read,
    /// Space to write.
    Write,
    /// Both.
    ReadWrite,
}

/// The worker's poller, as a session sees it. As with [`Session::ready`], readiness is only a hint.
pub trait Registry {
    /// From now on tells when `source` is ready, under `key`; a source that is watched already changes its interest.
    /// What was ready before is told, too.
    ///
    /// # Errors
    ///
    /// Those of the poller's system call.
    fn watch(&mut self, source: BorrowedFd<'_>, key: u32, interest: Interest) -> io::Result<()>;

    /// Tells no more of `source`. To be called before it is closed.
    fn unwatch(&mut self, source: BorrowedFd<'_>);
}

/// Something that a store counts or measures, as Prometheus has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// The family's name: `streamer_store_retries_total`. Measures of one family follow each other.
    pub family: &'static str,
    /// What the family says, in one sentence.
    pub help: &'static str,
    /// One label, if the family has one.
    pub label: Option<(&'static str, Cow<'static, str>)>,
    /// The number, or the distribution.
    pub value: Value,
}

impl Measure {
    /// The only measure of its family.
    pub fn single(family: &'static str, help: &'static str, value: Value) -> Self {
        Self { family, help, label: None, value }
    }
}

/// What a measure says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number that only goes up.
    Counter(u64),
    /// A number that goes up and down.
    Gauge(u64),
    /// How long something took, in microseconds.
    Histogram {
        /// The upper bounds of the buckets.
        bounds: &'static [u64],
        /// How many there are in each bucket alone; the last one takes all that is longer.
        counts: Vec<u64>,
        /// All of them together.
        sum: u64,
    },
}

/// The bucket of a histogram with these bounds that a time falls into.
#[inline]
pub fn bucket(bounds: &[u64], micros: u64) -> usize {
    bounds.iter().position(|&bound| micros <= bound).unwrap_or(bounds.len())
}

/// What one visit of the sweeper did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many visits make one round of all users.
    pub visits: u32,
    /// How many leases were found to have run out.
    pub expired: u32,
}

/// How many numbers of playing streams are told apart: 0 to 7, and 8 or more.
pub const PLAYING_KINDS: usize = 9;

/// What a store holds at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Streams that play.
    pub playing: u64,
    /// Streams that are paused.
    pub paused: u64,
    /// Users by how many streams they play: 0 (paused or ended ones only) to 7, and 8 or more.
    pub users: [u64; PLAYING_KINDS],
}
