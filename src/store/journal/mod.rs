//! `--store dir:PATH`: streams in memory, and every change of them in a journal on one directory.
//!
//! ```text
//! worker ── commands ──▶ memory ── what changed ──▶ lane ── one write and one sync for all that is queued ──▶ file
//!    ▲                                                │
//!    └──────────────── what is kept ──────────────────┘             retention ── deletes what a lease has voided
//! ```
//!
//! | part | does |
//! |---|---|
//! | `format` | the bytes |
//! | `directory` | the files, as the system has them |
//! | `ledger` | what the threads share: the accounts, what is kept |
//! | `log` | appends blocks to a file, and keeps what is not on the disk |
//! | `lane` | the thread that writes and syncs; the numbers that are drawn |
//! | `retention` | the thread that deletes |
//! | `health` | what fails: counted, and said once |
//! | `replay`, `source` | read it all at the start |
//!
//! What is promised stands in `docs/stores.md`. While an account has a change that is not kept, whatever else is asked of it
//! waits too, since its answer would tell of that change; questions alone do not.
//!
//! A record holds the whole account and a number that is drawn under the lock of the account: so a later record of a user
//! holds what the earlier ones did, and none has to wait for another.
//!
//! **When the disk fails**, or has not answered for ten seconds, what waits is answered 503, and no change is made until all
//! that was taken before is on the disk: memory and disk do not drift further apart. Leases are renewed all the same.
//!
//! *Invariant:* no worker touches the disk, and no answer that acknowledges a change leaves before the change is
//! kept. (Tested by `tests/strace.py` and `a_change_is_answered_when_it_is_kept_and_others_of_its_turn_before`.)

mod crc32c;
mod directory;
mod format;
mod health;
mod lane;
mod ledger;
mod log;
mod measures;
mod replay;
mod retention;
mod source;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use super::memory::{Memory, Recorder, SHARDS};
use super::{Census, Session, Store, Swept, Ticket};
use crate::measures::Measure;
use crate::poller::Registry;
use crate::streams::account::{Account, Adoption, Policy};
use crate::streams::batch::{Batch, Change, StreamEnd};
use crate::sync::{Service, lock};
use crate::time::{Millis, Timestamp};

use directory::{Directory, Disk};
use format::Header;
use health::{Duty, Failing, Health, Say};
use lane::{Intake, Lane, SYNC_AT};
use ledger::{Ledger, Note};
use replay::Replayed;
use retention::Retention;

/// So long a change waits for the disk: one that does not answer in that time has failed.
const PATIENCE: Millis = Millis::from_secs(10);
/// So many bytes may wait for the disk; past it changes are refused.
const MAX_QUEUED: usize = 8 * SYNC_AT;

/// When a change is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before it is answered, if it is more than the renewal of a lease.
    #[default]
    Always,
    /// Within a second of its answer.
    Second,
}

/// Streams in memory with a journal. Its threads, and with them the lock on its directory, last until [`Store::stop`].
pub struct Journal {
    ledger: Arc<Ledger>,
    lane: Service<Intake>,
    retention: Service<()>,
    round: Mutex<Round>,
}

/// A round of the sweep that is under way.
#[derive(Default)]
struct Round {
    /// What had been drawn when it began.
    sequence: u64,
    visits: u32,
    /// Whether it has recorded all accounts so far, as the first one does behind earlier runs, so that their files are void
    /// once that is on the disk. Later ones record what would be void too early: accounts that are held.
    copies: bool,
    /// Whether one that is held could not be recorded.
    has_gap: bool,
    /// The last record.
    last: u64,
    /// From some time on, when one record is on the disk, those with a lower sequence number than another are void.
    voids: Vec<(Timestamp, u64, u64)>,
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
        policy: Policy,
        sync: SyncPolicy,
        say: Say,
    ) -> Result<(Self, Timestamp), String> {
        let directory = Directory::open(path)?;
        let mut memory = Memory::new(policy);
        let found = replay::replay(&directory, &memory, policy.lease, say)?;
        let Header { start, sequence, .. } = found.header;
        // Players who come from another store are taken over, if this one is empty.
        memory.policy.adoption = Adoption::Until(if sequence > 0 { start } else { start + policy.lease });
        let health = Health::new(path.display().to_string(), say);
        let journal = Self::begin(memory, Box::new(directory), health, sync, found)
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok((journal, start))
    }

    fn begin(
        memory: Memory<Note>,
        disk: Box<dyn Disk>,
        health: Health,
        sync: SyncPolicy,
        Replayed { files, header, control, horizon }: Replayed,
    ) -> io::Result<Self> {
        let (sequence, lease, intake) = (header.sequence, header.lease, Intake::new(&header));
        let [kept, synced, horizon, length] = [sequence, sequence, horizon, 0].map(AtomicU64::new);
        let closed = Mutex::new(files);
        let ledger =
            Arc::new(Ledger { memory, disk, sync, lease, health, kept, synced, horizon, length, closed });
        let mut lane = Lane::new(Arc::clone(&ledger), header);
        // A panic is told by the program's hook, and the work goes on.
        let lane = Service::start("journal", intake, move |queue| lane.run(queue), || {})?;
        let mut retention = Retention::new(Arc::clone(&ledger), Arc::clone(&lane.mailbox), control);
        let retention = Service::start("retention", (), move |wanted| retention.run(wanted), || {})?;
        let round = Round { sequence, copies: sequence > 0, ..Round::default() };
        Ok(Self { ledger, lane, retention, round: Mutex::new(round) })
    }

    /// Whether a change that is made now can be kept, as far as is known.
    fn takes_changes(&self) -> bool {
        self.ledger.health.is_up() && self.lane.mailbox.look(|queue| queue.queued() < MAX_QUEUED)
    }

    /// Whether the lane has all that it can do, as far as is known; it is woken for that.
    fn has_enough_to_write(&self) -> bool {
        let is_much = self.lane.mailbox.look(|queue| queue.queued() >= SYNC_AT);
        if is_much {
            self.lane.mailbox.leave(|_| ());
        }
        is_much && self.ledger.health.is_up()
    }

    /// Looks whether the lane's work is done in time.
    fn watch(&self, now: Timestamp) {
        let health = &self.ledger.health;
        let oldest = self.lane.mailbox.look(|queue| {
            queue.now = queue.now.max(now);
            queue.oldest()
        });
        match oldest.filter(|since| *since + PATIENCE <= now) {
            None => health.works(Duty::Watch),
            // It says no, or that it does not answer is known.
            Some(_) if !health.is_up() => {}
            Some(_) => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer");
                health.failed(Duty::Watch, (Failing::Hang, error));
            }
        }
    }
}

impl Store for Journal {
    fn session(self: Arc<Self>, waker: Waker) -> io::Result<Box<dyn Session>> {
        Ok(Box::new(InJournal { journal: self, waker, pending: VecDeque::new(), known: (0, true) }))
    }

    fn patience(&self) -> Millis {
        PATIENCE
    }

    fn sweep(&self, now: Timestamp) -> Swept {
        self.watch(now);
        let mut round = lock(&self.round);
        let mut ends = Vec::new();
        // The first round takes as long as the disk does, and what it records never fills the queue.
        while !(round.copies && self.has_enough_to_write()) {
            ends.append(&mut self.visit(&mut round, now));
            if !round.copies {
                break;
            }
        }
        self.void(&mut round, now);
        Swept { visits: SHARDS as u32, ends }
    }

    fn census(&self) -> Option<Census> {
        Some(self.ledger.memory.sums())
    }

    fn trouble(&self) -> Option<String> {
        self.ledger.health.trouble()
    }

    fn describe(&self) -> String {
        format!("dir:{}", self.ledger.health.place)
    }

    fn measures(&self) -> Vec<Measure> {
        let waited = self.lane.mailbox.look(|queue| queue.oldest().map(|since| since.until(queue.now)));
        measures::of(&self.ledger, waited.unwrap_or_default())
    }

    fn stop(&self, most: Duration) -> Result<(), String> {
        let until = Instant::now() + most;
        let now = self.lane.mailbox.look(|queue| queue.now);
        // So that starts do not add files for ever, however soon a stop follows.
        while lock(&self.round).copies && Instant::now() + most / 2 < until {
            self.sweep(now);
            thread::sleep(Duration::from_millis(1));
        }
        let done = self.lane.stop(until.saturating_duration_since(Instant::now()));
        if done {
            // It has answered, however late.
            self.ledger.health.works(Duty::Watch);
        }
        self.void(&mut lock(&self.round), now);
        let trouble = self.trouble();
        self.retention.stop(until.saturating_duration_since(Instant::now()));
        match trouble {
            None if done => Ok(()),
            Some(_) if done => Err("not all that was answered could be written".into()),
            _ => Err("the disk did not answer in time".into()),
        }
    }
}

impl Journal {
    /// Visits the next accounts of a round. What lay behind it when it began is void a lease after its end, and at once if
    /// that lies in it again.
    fn visit(&self, round: &mut Round, now: Timestamp) -> Vec<StreamEnd> {
        let Round { sequence, visits, copies, has_gap, last, voids } = round;
        let (ledger, mailbox, due) = (&*self.ledger, &self.lane.mailbox, now + self.ledger.lease);
        let Swept { visits: of_a_round, ends } = ledger.memory.sweep_and_visit(now, |user, account, note| {
            let outlives = account.forgotten_at().is_some_and(|at| at > due);
            if (*copies || outlives) && self.takes_changes() {
                *last = mailbox.look(|queue| queue.record(now, user.as_bytes(), account));
            } else {
                *copies = false;
                *has_gap |= outlives;
            }
            ledger.is_kept(note.changed) != Some(true)
        });
        *visits += 1;
        if *visits >= of_a_round {
            if !*has_gap {
                voids.push((if *copies { now } else { due }, *last, *sequence + 1));
            }
            (*visits, *copies, *has_gap, *last) = (0, false, false, 0);
            *sequence = mailbox.look(|queue| queue.sequence);
        }
        ends
    }

    /// Moves the horizon to what is void now.
    fn void(&self, round: &mut Round, now: Timestamp) {
        let synced = self.ledger.synced.load(Acquire);
        for (.., below) in round.voids.extract_if(.., |(due, needs, _)| *due <= now && *needs <= synced) {
            self.ledger.horizon.fetch_max(below, Relaxed);
        }
    }
}

/// A turn of a worker that is under way.
struct Recording<'a> {
    journal: &'a Journal,
    now: Timestamp,
    takes_changes: bool,
    /// The number of the last record that something waits for; 0 for none.
    until: u64,
}

impl Recorder for Recording<'_> {
    type Note = Note;

    fn takes_changes(&self) -> bool {
        self.takes_changes
    }

    fn carried_out(&mut self, user: &[u8], account: &Account, note: &mut Note, change: Change) -> bool {
        let queue = &self.journal.lane.mailbox;
        match change {
            Change::State => {
                let changed = queue.look(|queue| queue.record(self.now, user, account));
                *note = Note { changed, marked: false };
            }
            Change::Lease if !note.marked => {
                note.marked = true;
                queue.look(|queue| queue.mark(self.now, user));
            }
            Change::Lease | Change::None => {}
        }
        let waits = !self.may_go(note);
        if waits {
            self.until = self.until.max(note.changed);
        }
        waits
    }

    fn may_go(&self, note: &Note) -> bool {
        self.journal.ledger.is_kept(note.changed) == Some(true)
    }
}

struct InJournal {
    journal: Arc<Journal>,
    waker: Waker,
    /// Each batch that waits, the oldest first, and the number of the last record that it waits for.
    pending: VecDeque<(Ticket, u64)>,
    /// The last batch of which all is known, and whether that is kept.
    known: (Ticket, bool),
}

impl Session for InJournal {
    fn submit(&mut self, now: Timestamp, ticket: Ticket, batch: &mut Batch, _registry: &mut Registry) {
        let journal = &*self.journal;
        let mut turn = Recording { journal, now, takes_changes: journal.takes_changes(), until: 0 };
        journal.ledger.memory.execute_and_record(now, batch, &mut turn);
        if turn.until > 0 {
            self.pending.push_back((ticket, turn.until));
            journal.lane.mailbox.leave(|queue| queue.wait(&self.waker));
        }
    }

    fn complete(&mut self, _now: Timestamp, _registry: &mut Registry) -> Option<Ticket> {
        let (ticket, until) = *self.pending.front()?;
        self.known = (ticket, self.journal.ledger.is_kept(until)?);
        self.pending.pop_front();
        Some(ticket)
    }

    fn resume(&mut self, _now: Timestamp, ticket: Ticket, batch: &mut Batch, _registry: &mut Registry) {
        if self.known == (ticket, true) {
            batch.entries.iter_mut().for_each(|entry| entry.waits = false);
        } else {
            batch.give_up();
        }
    }
}

#[cfg(test)]
mod tests;
