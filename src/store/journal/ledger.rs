//! What the threads of a journal share: the accounts, what is kept, which files are complete.
//!
//! *Invariant:* no lock is held here while a file is written or synced. (Not tested.)

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed};
use std::time::Duration;

use super::SyncPolicy;
use super::directory::Disk;
use super::health::Health;
use super::replay::Replayed;
use crate::measures::bucket;
use crate::store::memory::Memory;
use crate::sync::lock;
use crate::time::Millis;

/// The buckets of the histogram of syncs, in microseconds.
pub const BOUNDS: [u64; 9] = [250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000];

/// What is noted beside each account.
#[derive(Default)]
pub struct Note {
    /// The number of the last record of it that was more than the renewal of a lease; 0 for none in this run.
    pub changed: u64,
    /// Whether a lease was renewed since it was last recorded, so that its user is among the marks.
    pub marked: bool,
}

/// A file that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    pub number: u64,
    /// No record in it, or in a file before, has a higher sequence number.
    pub last: u64,
    pub length: u64,
}

#[derive(Default)]
pub struct Counts {
    pub writes: AtomicU64,
    pub written_bytes: AtomicU64,
    /// By how long they took: as many as there are bounds, and those that took longer.
    pub syncs: [AtomicU64; BOUNDS.len() + 1],
    pub sync_micros: AtomicU64,
}

impl Counts {
    pub fn wrote(&self, bytes: usize) {
        self.writes.fetch_add(1, Relaxed);
        self.written_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub fn synced(&self, took: Duration) {
        let micros = took.as_micros() as u64;
        self.syncs[bucket(&BOUNDS, micros)].fetch_add(1, Relaxed);
        self.sync_micros.fetch_add(micros, Relaxed);
    }
}

pub struct Ledger {
    pub memory: Memory<Note>,
    pub disk: Box<dyn Disk>,
    pub sync: SyncPolicy,
    pub lease: Millis,
    pub health: Health,
    pub counts: Counts,
    /// All records up to this number are kept.
    pub kept: AtomicU64,
    /// All records up to this number are on the disk.
    pub synced: AtomicU64,
    /// Records with a lower sequence number are void.
    pub horizon: AtomicU64,
    /// The length of the file that is being written; 0 while there is none.
    pub length: AtomicU64,
    closed: Mutex<Vec<Closed>>,
}

impl Ledger {
    pub fn new(
        memory: Memory<Note>,
        disk: Box<dyn Disk>,
        health: Health,
        sync: SyncPolicy,
        found: &Replayed,
    ) -> Self {
        let (counts, length) = Default::default();
        let [kept, synced] = [(); 2].map(|()| found.header.sequence.into());
        let (lease, horizon) = (found.header.lease, found.horizon.into());
        let closed = Mutex::new(found.files.clone());
        Self { memory, disk, sync, lease, health, counts, kept, synced, horizon, length, closed }
    }

    /// Whether a record is kept; None while it may soon be.
    pub fn is_kept(&self, sequence: u64) -> Option<bool> {
        if self.kept.load(Acquire) >= sequence {
            return Some(true);
        }
        (!self.health.is_up()).then_some(false)
    }

    /// The files that are complete, to be looked at or changed.
    pub fn closed<R>(&self, look: impl FnOnce(&mut Vec<Closed>) -> R) -> R {
        look(&mut lock(&self.closed))
    }
}
