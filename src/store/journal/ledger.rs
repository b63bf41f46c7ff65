//! What the threads of a journal share: the accounts, what is kept, which files are complete.
//!
//! *Invariant:* no lock is held here while a file is written or synced. (Not tested.)

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Acquire};

use super::SyncPolicy;
use super::directory::Disk;
use super::health::Health;
use crate::store::memory::Memory;
use crate::time::Millis;

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

pub struct Ledger {
    pub memory: Memory<Note>,
    pub disk: Box<dyn Disk>,
    pub sync: SyncPolicy,
    pub lease: Millis,
    pub health: Health,
    /// All records up to this number are kept.
    pub kept: AtomicU64,
    /// All records up to this number are on the disk.
    pub synced: AtomicU64,
    /// Records with a lower sequence number are void.
    pub horizon: AtomicU64,
    /// The length of the file that is being written; 0 while there is none.
    pub length: AtomicU64,
    /// The files that are complete.
    pub closed: Mutex<Vec<Closed>>,
}

impl Ledger {
    /// Whether a record is kept; None while it may soon be.
    pub fn is_kept(&self, sequence: u64) -> Option<bool> {
        if self.kept.load(Acquire) >= sequence {
            return Some(true);
        }
        (!self.health.is_up()).then_some(false)
    }
}
