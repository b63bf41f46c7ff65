//! The one thread that writes and syncs the log files, so that no worker waits for a disk. It is called `journal`.
//!
//! ```text
//! worker ── records, marks, its waker ──▶ Intake ──▶ lane ── write, once for all that is queued ──▶ Log
//!    ▲                                                │ ──── sync, if a record is not kept, or once a second
//!    └──────────────── waker ─────────────────────────┘ says up to which sequence number all is kept
//! ```
//!
//! Sequence numbers are drawn here, in the order of the queue: so one number says what is kept.
//!
//! A heartbeat is a **mark**: its user's name, as a rule once until the lane comes by. Once a second the lane records the
//! accounts that are marked, so that a user who renews a lease a thousand times a second is written once.
//!
//! *Invariant:* a record counts as kept only when a sync that began after it had been written has returned without an
//! error, or, with `--sync second`, when it has been written. (Tested by
//! `no_power_cut_forgets_what_was_answered_or_leaves_what_a_start_refuses`.)

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::SyncPolicy;
use super::format::{self, Header};
use super::health::{Duty, Failed, Failing};
use super::ledger::Ledger;
use super::log::Log;
use crate::streams::account::Account;
use crate::sync::Mailbox;
use crate::time::Timestamp;

/// How often what nobody waits for is written and synced. Tests need not wait so long.
const TICK: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });
/// After a failure it is tried again so soon, and then after twice as long, up to [`TICK`].
const RETRY: Duration = Duration::from_millis(100);
/// What nobody waits for is synced too when it is so much. Tests need not write so much.
pub const SYNC_AT: usize = if cfg!(test) { 32 * 1024 } else { 8 * 1024 * 1024 };

/// What the lane is to do.
#[derive(Default)]
pub struct Intake {
    /// Whether it may begin: the retention has put the control file on the disk.
    pub may_begin: bool,
    pub now: Timestamp,
    /// The last sequence number that was drawn.
    pub sequence: u64,
    records: Vec<u8>,
    /// The users whose accounts are to be recorded, as records without an account.
    marks: Vec<u8>,
    /// Who is to be woken when all that is in it is kept.
    waiting: Vec<Waker>,
    /// How many bytes the lane has taken out that are not on the disk.
    unsynced: usize,
    /// Since when the oldest of all that is in it waits, and of all that the lane has taken out.
    since: [Option<Timestamp>; 2],
}

impl Intake {
    pub fn new(header: &Header) -> Self {
        Self { now: header.start, sequence: header.sequence, ..Self::default() }
    }

    /// The present state of an account is to be kept; returns under which number. The lock of its user's shard is held, so
    /// that of two records the later one has the higher number.
    pub fn record(&mut self, now: Timestamp, user: &[u8], account: &Account) -> u64 {
        self.begin(now);
        self.sequence += 1;
        let encode = |out: &mut Vec<u8>| {
            if !account.is_empty() {
                account.encode(out);
            }
        };
        format::put_record(self.sequence, user, encode, &mut self.records);
        self.sequence
    }

    /// A user's account is to be recorded at the next tick.
    pub fn mark(&mut self, now: Timestamp, user: &[u8]) {
        self.begin(now);
        format::put_record(0, user, |_| (), &mut self.marks);
    }

    fn begin(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.since[0].get_or_insert(now);
    }

    /// Somebody waits for what is in it.
    pub fn wait(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|waiting| waiting.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    /// How many bytes wait for the disk.
    pub fn queued(&self) -> usize {
        self.records.len() + self.unsynced
    }

    /// Since when the oldest work waits that is not done.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.since.iter().flatten().min().copied()
    }
}

pub struct Lane {
    ledger: Arc<Ledger>,
    log: Log,
    now: Timestamp,
    marks: Vec<u8>,
    waiting: Vec<Waker>,
    has_begun: bool,
    tick: Instant,
    /// When to try again, and how long the pause was.
    retry: Option<(Instant, Duration)>,
}

impl Lane {
    pub fn new(ledger: Arc<Ledger>, header: Header) -> Self {
        let (marks, waiting, has_begun, retry) = Default::default();
        let (now, tick) = (header.start, Instant::now() + TICK);
        let log = Log::new(Arc::clone(&ledger), header);
        Self { ledger, log, now, marks, waiting, has_begun, tick, retry }
    }

    /// Waits for work, and does what is there. Returns whether the thread is to stop.
    pub fn run(&mut self, mailbox: &Mailbox<Intake>) -> bool {
        // For ever before it may begin.
        let until = self.has_begun.then(|| self.retry.map_or(self.tick, |(at, _)| at));
        let stops = mailbox.wait(until, |queue| self.take(queue)).1;
        let now = Instant::now();
        if !self.has_begun || !stops && self.retry.is_some_and(|(at, _)| now < at) {
            // Who waits is told at once that the disk says no.
            if !self.ledger.health.is_up() {
                self.wake();
            }
            return stops;
        }
        let is_tick = stops || now >= self.tick;
        // While the disk fails, what has to be kept is not to grow.
        if is_tick && (stops || self.retry.is_none()) {
            self.record_marked(mailbox);
        }
        match self.keep(is_tick) {
            Ok(()) => mailbox.look(|queue| {
                queue.unsynced = self.log.unsynced();
                if self.marks.is_empty() && queue.unsynced == 0 {
                    queue.since[1] = None;
                }
            }),
            Err(failed) => self.fail(now, failed),
        }
        self.wake();
        if is_tick && self.retry.is_none() {
            self.end_tick(now, stops);
        }
        stops
    }

    fn take(&mut self, queue: &mut Intake) {
        self.now = queue.now;
        self.take_records(queue);
        self.marks.append(&mut queue.marks);
        let [new, old] = &mut queue.since;
        *old = old.or(new.take());
        if self.retry.is_some() {
            // What waits for a disk that says no waits anew with each try.
            *old = old.map(|_| queue.now);
        }
        self.has_begun = queue.may_begin;
    }

    fn take_records(&mut self, queue: &mut Intake) {
        self.log.take(&mut queue.records, queue.sequence);
        self.waiting.append(&mut queue.waiting);
        queue.unsynced = self.log.unsynced();
    }

    /// Writes what there is, and syncs it if it is time to.
    fn keep(&mut self, is_tick: bool) -> Result<(), Failed> {
        let (Ledger { kept, synced, .. }, fails) = (&*self.ledger, self.retry.is_some());
        if is_tick || fails {
            Failing::Directory.of(self.ledger.disk.check())?;
        }
        if fails && self.log.unsynced() == 0 {
            // So that it is seen when it works again although nobody changes anything.
            self.log.end_block(self.now);
        }
        self.log.write(self.now)?;
        let last = self.log.last;
        if self.ledger.sync == SyncPolicy::Second {
            kept.store(last, Release);
        }
        let is_waited_for = kept.load(Acquire) < last;
        if !(is_tick || is_waited_for || fails || self.log.unsynced() > SYNC_AT) {
            return Ok(());
        }
        self.log.sync()?;
        kept.store(last, Release);
        synced.store(last, Release);
        if self.retry.take().is_some() {
            self.ledger.health.works(Duty::Lane);
        }
        Ok(())
    }

    fn record_marked(&mut self, mailbox: &Mailbox<Intake>) {
        let (marks, now) = (std::mem::take(&mut self.marks), self.now);
        let mut rest = &marks[..];
        while let Some((mark, length)) = format::read_record(rest) {
            self.ledger.memory.visit_user(mark.user, |account, note| {
                // A later change has recorded it already.
                if std::mem::take(&mut note.marked) {
                    mailbox.look(|queue| queue.record(now, mark.user, account));
                }
            });
            rest = &rest[length..];
        }
        // Marks that have come meanwhile wait for the next tick, and so does their moment.
        mailbox.look(|queue| self.take_records(queue));
    }

    fn fail(&mut self, now: Instant, failed: Failed) {
        self.ledger.health.failed(Duty::Lane, failed);
        let pause = self.retry.map_or(RETRY, |(_, pause)| (pause * 2).min(TICK));
        self.retry = Some((now + pause, pause));
    }

    /// Wakes who waits for what has been taken: all of it is kept, or the disk says no.
    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// All is on the disk: time for a new file, or for the end.
    fn end_tick(&mut self, now: Instant, stops: bool) {
        self.tick = now + TICK;
        let age = Duration::from_millis(self.ledger.lease.millis() / 8);
        let (duty, done) = match stops {
            true => (Duty::Lane, self.log.finish(self.now)),
            false => (Duty::Rotation, self.log.rotate(age)),
        };
        match done {
            Ok(()) => self.ledger.health.works(duty),
            Err(failed) => self.ledger.health.failed(duty, failed),
        }
    }
}
