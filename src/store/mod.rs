//! Where accounts are kept. One interface, so that the cost of durability or of distance is paid once a turn.
//!
//! *Invariant:* a store knows streams and time; it never sees a request or a socket.

pub mod memory;

use crate::streams::batch::Batch;
use crate::time::Timestamp;

/// The contract of every store.
///
/// - Commands of one user are carried out in the order of the batch. Those of different users may be reordered.
/// - Each command is atomic, whoever else works on the same user at the same time: of N parallel starts exactly as
///   many as the limit allows succeed.
/// - When `execute` returns, every outcome holds, durably if the store promises that; an outcome that could not be had
///   is left [`Unavailable`](crate::streams::batch::Verdict::Unavailable).
pub trait Store: Send + Sync {
    /// Carries out every command of `batch` and fills in the outcomes.
    fn execute(&self, now: Timestamp, batch: &mut Batch);

    /// Frees some of what has expired untouched: a bounded piece of work, the next one at each call.
    fn sweep(&self, now: Timestamp) -> Swept;

    /// What the store holds, streams not yet found to have expired among it.
    fn census(&self) -> Census;
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
