//! Where accounts are kept. One interface, so that the cost of durability or of distance is paid once a turn.
//!
//! ```text
//!             submit(batch)         memory                 carries it out at once
//! worker ───────────────▶ Session ─┤
//!    │                             journal, redis         mark the entries that wait for the disk or the network
//!    │◀── complete() ─ ticket ◀────┘
//!    └── resume(batch) ──────────▶ Session                fills in what has come meanwhile
//! ```
//!
//! A [`Store`] is shared by all threads. Each worker has a [`Session`] of its own, with its own sockets, so that
//! workers do not wait for each other. The batch stays with the worker, which alone knows until when it is worth waiting:
//! what it has given up is answered, and a session that comes to it later finds nothing.
//!
//! A batch through the store in memory, at a time of our own choice:
//!
//! ```
//! use streamer::store::memory::Memory;
//! use streamer::streams::account::Policy;
//! use streamer::streams::batch::{Action, Batch, Command, Verdict};
//! use streamer::time::{Millis, Timestamp};
//!
//! let lease = Millis::from_secs(90);
//! let store = Memory::new(Policy::new(lease));
//! let mut batch = Batch::default();
//! for id in ["a", "b", "c", "d"] {
//!     let (user, key) = (batch.arena.add(b"alice"), batch.arena.add(id.as_bytes()));
//!     batch.push(Command::new(user, key, 3, Action::start()));
//! }
//! store.execute(Timestamp::from_millis(1_000), &mut batch);
//! let verdicts = batch.entries.iter().map(|entry| entry.outcome.verdict);
//! assert!(verdicts.eq([Verdict::Started, Verdict::Started, Verdict::Started, Verdict::Full]));
//! ```
//!
//! *Invariant:* a store knows streams and time; it never sees a request, a response or a client's socket. (Tested
//! by `arrows_point_down_only`.)

#[cfg(feature = "journal")]
pub mod journal;
pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::measures::Measure;
use crate::poller::Registry;
use crate::streams::account::Policy;
use crate::streams::batch::{Batch, StreamEnd};
use crate::time::{Millis, Timestamp};

/// The contract of every store.
///
/// - Commands of one user are carried out in the order of the batch. Those of different users may be reordered.
/// - Each command is atomic, although other workers and other instances may work on the same user at the same time: of
///   N parallel starts exactly as many as the limit allows succeed.
/// - The outcome of an entry that waits no longer holds, durably if the store promises that. One that could not be had
///   is left [`Unavailable`](crate::streams::batch::Verdict::Unavailable): the change may or may not have been made, and
///   repeating it is safe.
pub trait Store: Send + Sync {
    /// A session for one worker. `waker` wakes that worker from any thread, so that it calls [`Session::complete`].
    ///
    /// # Errors
    ///
    /// When the system lacks what the session needs: descriptors, files, threads.
    fn session(self: Arc<Self>, waker: Waker) -> io::Result<Box<dyn Session>>;

    /// How long a command may wait for this store; what has waited longer is given up.
    fn patience(&self) -> Millis {
        Millis::from_secs(10)
    }

    /// The rules by which what it cannot carry out is answered as if there were room; None: it is answered 503.
    fn lenient(&self) -> Option<Policy> {
        None
    }

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

    /// Ends what it has begun, and waits so long at most. No session is in use any more.
    ///
    /// # Errors
    ///
    /// A sentence that says what was answered and could not be kept.
    fn stop(&self, _most: Duration) -> Result<(), String> {
        Ok(())
    }

    /// What it is, for the greeting: `memory`, `dir:/var/lib/streamer`, an address without its password.
    fn describe(&self) -> String;

    /// What it counts and measures, for `/metrics` and the page.
    fn measures(&self) -> Vec<Measure> {
        Vec::new()
    }
}

/// The worker's number for a batch of which something waits.
pub type Ticket = u64;

/// One worker's way to a store. A session never blocks, and bounds how much it has under way: what is too much is left
/// [`Unavailable`](crate::streams::batch::Verdict::Unavailable) at once.
pub trait Session: Send {
    /// Carries a turn's commands out, or begins to. An entry that [waits](crate::streams::batch::Entry::waits) has no
    /// outcome yet that may be told; those of other users may be told at once.
    fn submit(&mut self, now: Timestamp, ticket: Ticket, batch: &mut Batch, registry: &mut Registry);

    /// A source that is watched under `key` is ready, or was: it may be told too often, never too seldom.
    fn ready(&mut self, _now: Timestamp, _key: u32, _registry: &mut Registry) {}

    /// The ticket of a batch of which there is something new, in any order: it is to be given to [`Session::resume`].
    /// Called until there is none, once a turn. A ticket that the worker has given up is skipped.
    fn complete(&mut self, _now: Timestamp, _registry: &mut Registry) -> Option<Ticket> {
        None
    }

    /// Fills in what has come for the entries that wait, and goes on with those that still do.
    fn resume(&mut self, _now: Timestamp, _ticket: Ticket, _batch: &mut Batch, _registry: &mut Registry) {}
}

/// What one visit of the sweeper did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many visits make one round of all users.
    pub visits: u32,
    /// The streams whose lease was found to have run out.
    pub ends: Vec<StreamEnd>,
}

/// How many numbers of playing streams are told apart: 0 to 7, and 8 or more.
pub const PLAYING_KINDS: usize = 9;

/// What a store holds at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub playing: u64,
    pub paused: u64,
    /// Users by how many streams they play: 0 (paused or ended ones only) to 7, and 8 or more.
    pub users: [u64; PLAYING_KINDS],
}
