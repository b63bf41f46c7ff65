//! `--store dir:PATH`: streams in memory, and every change of them in a journal on one directory.
//!
//! ```text
//! worker ── commands ──▶ memory ── what changed ──▶ the worker's own file        one write a turn
//!                                                        │
//!                                                     syncer                     one sync for all turns that wait
//! ```
//!
//! | part | does |
//! |---|---|
//! | `format` | the bytes |
//! | `directory` | the files, as the system has them |
//! | `writer` | appends blocks to a file, and keeps what is not on the disk |
//! | `lane` | a worker's writer and the thread that syncs it |
//! | `files` | what lanes share: numbers, counters, trouble |
//! | `retention` | which files may go |
//! | `replay` | reads it all at the start |
//!
//! **What is promised.** A change is in the file before it is answered, so that a killed process loses nothing that was
//! answered. With `--sync always` whatever is more than the renewal of a lease is on the disk before it is answered. A
//! record holds the whole account and a number that is drawn under the lock of the account: so a later record of a user,
//! in whatever file, holds what the earlier ones did, and none has to wait for another.
//!
//! **What others see meanwhile.** A change is in memory a little before it is on the disk. A question, a refusal and a 404
//! are answered from memory at once: they acknowledge nothing, and may show a change that a power cut then takes back
//! before it was answered to the one who made it.
//!
//! **When the disk fails**, the changes of the turn are answered 503, and from then on every command but a question,
//! without being looked at: memory and disk do not drift further apart. What was taken before is written again until it
//! is on the disk, and only then are changes taken again. So a client that repeats what was answered 503 finds it
//! either refused again or kept.
//!
//! *Invariant:* no answer that acknowledges a change leaves before the change is kept.

mod directory;
mod files;
mod format;
mod lane;
mod measures;
mod replay;
mod retention;
mod writer;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::{self, JoinHandle};

use super::memory::{Memory, Recorder};
use super::{Census, Measure, Registry, Session, Store, Submitted, Swept};
use crate::streams::account::{Account, Policy};
use crate::streams::batch::Batch;
use crate::time::{Millis, Timestamp};

use directory::{Directory, Disk};
use files::{Files, Say};
use format::Header;
use lane::Lane;
use replay::Found;
use retention::Retention;
use writer::Writer;

/// So many turns of a worker may wait for the disk; past it changes are refused.
const MAX_PENDING: usize = 1024;
/// So long they wait: a disk that does not answer in that time has failed.
const SYNC_TIMEOUT: Millis = Millis::from_secs(10);

/// When a change is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before it is answered, if it is more than the renewal of a lease.
    #[default]
    Always,
    /// Within a second of its answer.
    Second,
}

/// Streams in memory with a journal.
pub struct Journal {
    memory: Memory,
    sync: SyncPolicy,
    files: Arc<Files>,
    /// Those of the workers.
    lanes: Mutex<Vec<Arc<Lane>>>,
    /// That of the sweeper.
    sweepers_lane: Arc<Lane>,
    sweeper: Mutex<Sweeper>,
}

struct Sweeper {
    retention: Retention,
    /// How many visits of the present round have been made.
    visits: u32,
}

impl Journal {
    /// Opens the journal in a directory, which is made if it is not there, and reads it. Gives the moment too at which
    /// the lease clock is to go on: it has not run since the last record. `say` tells the operator what goes on.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with the directory or with a file in it, and what to do.
    pub fn open(
        path: &Path,
        mut policy: Policy,
        sync: SyncPolicy,
        say: Say,
    ) -> Result<(Self, Timestamp), String> {
        let directory = Directory::open(path)?;
        let memory = Memory::new(policy);
        let found = replay::replay(&directory, &memory, policy.lease, say)?;
        let start = found.start();
        // Players who come from another store are taken over, if this one is empty.
        policy.adopt_until = if found.has_records { start } else { start + policy.lease };
        let (place, memory) = (path.display().to_string(), memory.with_policy(policy));
        let journal = Self::begin(Box::new(directory), place, say, memory, policy.lease, sync, found);
        let journal = journal.map_err(|error| format!("cannot write to {}: {error}", path.display()))?;
        Ok((journal, start))
    }

    fn begin(
        disk: Box<dyn Disk>,
        place: String,
        say: Say,
        memory: Memory,
        lease: Millis,
        sync: SyncPolicy,
        found: Found,
    ) -> io::Result<Self> {
        let start = found.start();
        let Found { sequence, number, run, control, files: closed, .. } = found;
        let header = Header { lane: 0, number, run: run + 1, start, lease, sequence };
        let files = Files::new(disk, place, say, &header, closed);
        let retention = Retention::new(&files, control)?;
        Ok(Self {
            memory,
            sync,
            files: Arc::new(files),
            lanes: Mutex::default(),
            sweepers_lane: Arc::clone(retention.lane()),
            sweeper: Mutex::new(Sweeper { retention, visits: 0 }),
        })
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Journal {
    fn session(self: Arc<Self>, waker: Waker) -> io::Result<Box<dyn Session>> {
        let mut lanes = self.lanes();
        let number = lanes.len() as u32 + 1;
        let lane = Arc::new(Lane::new(number, &self.files, waker)?);
        lanes.push(Arc::clone(&lane));
        drop(lanes);
        let syncer = {
            let (lane, files) = (Arc::clone(&lane), Arc::clone(&self.files));
            thread::Builder::new().name(format!("syncer-{number}")).spawn(move || lane.run(&files))?
        };
        Ok(Box::new(InJournal { journal: self, lane, pending: VecDeque::new(), syncer: Some(syncer) }))
    }

    fn sweep(&self, now: Timestamp) -> Swept {
        let mut sweeper = self.sweeper.lock().unwrap_or_else(PoisonError::into_inner);
        let Sweeper { retention, visits } = &mut *sweeper;
        let swept = self.memory.sweep_and_visit(now, |user, account| {
            retention.keep(&self.files, now, user.as_bytes(), account);
        });
        *visits += 1;
        if *visits >= swept.visits {
            *visits = 0;
            retention.end_round(&self.files, now);
        }
        if retention.is_due(&self.files, now) {
            let lanes = self.lanes().clone();
            retention.tick(&self.files, now, &lanes);
        }
        swept
    }

    fn census(&self) -> Option<Census> {
        self.memory.census()
    }

    fn trouble(&self) -> Option<String> {
        self.files.trouble()
    }

    fn describe(&self) -> String {
        format!("dir:{}", self.files.place)
    }

    fn measures(&self) -> Vec<Measure> {
        let mut lanes = self.lanes().clone();
        // Not asked of the sweeper: that may be waiting for the disk.
        lanes.push(Arc::clone(&self.sweepers_lane));
        measures::of(&self.files, &lanes)
    }
}

/// Writes down what a turn changes.
struct Recording<'a> {
    now: Timestamp,
    files: &'a Files,
    writer: &'a mut Writer,
}

impl Recorder for Recording<'_> {
    fn changed(&mut self, user: &[u8], account: &Account) {
        let sequence = self.files.sequence.fetch_add(1, Relaxed) + 1;
        self.writer.record(sequence, user, self.now, |out| {
            if account.tally().is_some() {
                account.encode(out);
            }
        });
    }
}

/// A turn that waits for the disk.
struct Pending {
    turn: u64,
    /// That of its batch.
    ticket: u32,
    since: Timestamp,
}

/// A worker's session.
struct InJournal {
    journal: Arc<Journal>,
    lane: Arc<Lane>,
    /// The turns that wait for the disk.
    pending: VecDeque<Pending>,
    syncer: Option<JoinHandle<()>>,
}

impl Session for InJournal {
    fn submit(&mut self, now: Timestamp, batch: &mut Batch, _registry: &mut dyn Registry) -> Submitted {
        let Journal { memory, files, sync, .. } = &*self.journal;
        let mut writer = self.lane.writer();
        if !files.is_up() || writer.is_behind() || self.pending.len() >= MAX_PENDING {
            memory.execute_questions(now, batch);
            return Submitted::Done;
        }
        let mut recording = Recording { now, files, writer: &mut writer };
        let executed = catch_unwind(AssertUnwindSafe(|| {
            memory.execute_and_record(now, batch, &mut recording);
        }));
        let turn = writer.end_turn(now);
        let written = self.lane.write(&mut writer, files);
        drop(writer);
        if written.is_err() || executed.is_err() {
            batch.refuse_changes();
        }
        if let Err(panic) = executed {
            resume_unwind(panic);
        }
        match turn {
            Some(turn) if *sync == SyncPolicy::Always && batch.has_state_change() => {
                self.lane.want_sync();
                self.pending.push_back(Pending { turn, ticket: batch.ticket, since: now });
                Submitted::Pending
            }
            _ => Submitted::Done,
        }
    }

    fn complete(&mut self, now: Timestamp, _registry: &mut dyn Registry) -> Option<Batch> {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer");
            self.lane.give_up(&self.journal.files, &error);
        }
        None
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.pending.front().map(|pending| pending.since + SYNC_TIMEOUT)
    }

    fn kept(&mut self) -> Option<(u32, bool)> {
        let Pending { turn, ticket, .. } = *self.pending.front()?;
        let kept = self.lane.is_kept(turn)?;
        self.pending.pop_front();
        Some((ticket, kept))
    }
}

impl Drop for InJournal {
    /// What was answered is put on the disk before the server ends.
    fn drop(&mut self) {
        self.lane.stop();
        if let Some(syncer) = self.syncer.take() {
            let _ = syncer.join();
        }
    }
}

#[cfg(test)]
mod tests;
