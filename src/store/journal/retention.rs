//! Which files may be deleted, and what the lease clock shows: a thread of its own, so that a disk without room gets some
//! whatever becomes of what is written.
//!
//! ```text
//! horizon := the sequence number at the beginning of a round of the sweep, when a lease has passed since its end,
//!            and what it has written again is on the disk; the first round may write all again: then at once
//! ```
//!
//! The horizon is put on the disk before a file is deleted: an older record cannot come back because a newer one was deleted
//! first. `docs/journal.md` says why there is no snapshot.
//!
//! *Invariant:* the horizon depends on the clock, and on the few accounts that are held; on no other's being kept,
//! but for the first round's that has written all.
//! (Tested by `deletion_depends_on_the_clock_alone`.)

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::format::Checkpoint;
use super::health::{Duty, Failed, Failing};
use super::lane::Intake;
use super::ledger::{Closed, Ledger};
use crate::sync::{Mailbox, lock};

/// How often the lease clock is written down; with a short lease an eighth of it.
const TICK: Duration = Duration::from_secs(1);
/// What could not be deleted is tried again after a pause that doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

pub struct Retention {
    ledger: Arc<Ledger>,
    /// The lane, whose clock shows the time.
    lane: Arc<Mailbox<Intake>>,
    control: Checkpoint,
    /// Whether the control file is on the disk; the lane waits for that.
    has_begun: bool,
    tick: Duration,
    next: Instant,
    /// When to try again to delete, and how long the pause was.
    retry: Option<(Instant, Duration)>,
}

impl Retention {
    pub fn new(ledger: Arc<Ledger>, lane: Arc<Mailbox<Intake>>, control: Checkpoint) -> Self {
        let tick = Duration::from_millis(ledger.lease.millis() / 8).min(TICK);
        Self { ledger, lane, control, has_begun: false, tick, next: Instant::now(), retry: None }
    }

    /// Waits for the next tick, and does what is due. Returns whether the thread is to stop.
    pub fn run(&mut self, mailbox: &Mailbox<()>) -> bool {
        let ((), stops) = mailbox.wait(Some(self.next), |()| ());
        self.next = Instant::now() + self.tick;
        // If it cannot be written, a start finds the time of the last record, or the one before.
        let written = self.write_control(self.control.horizon);
        if !self.has_begun {
            self.begin(written);
        } else if stops || self.retry.is_none_or(|(at, _)| at <= Instant::now()) {
            self.forget();
        }
        stops
    }

    /// Puts the control file on the disk, before there is any other, and deletes what is void already.
    fn begin(&mut self, written: Result<(), Failed>) {
        let Ledger { disk, health, .. } = &*self.ledger;
        let synced = written
            .and_then(|()| Failing::Sync.of(disk.control().sync()))
            .and_then(|()| Failing::Directory.of(disk.sync()));
        if let Err(failed) = synced {
            health.failed(Duty::Lane, failed);
            // It tells who waits.
            return self.lane.leave(|_| ());
        }
        health.works(Duty::Lane);
        self.forget();
        self.has_begun = true;
        self.lane.leave(|queue| queue.may_begin = true);
    }

    /// Moves the horizon, and deletes the files below it.
    fn forget(&mut self) {
        if let Err(failed) = self.delete() {
            self.ledger.health.failed(Duty::Retention, failed);
            let pause = self.retry.map_or(TICK, |(_, pause)| (pause * 2).min(LONGEST_PAUSE));
            self.retry = Some((Instant::now() + pause, pause));
        } else {
            self.retry = None;
            self.ledger.health.works(Duty::Retention);
        }
    }

    fn delete(&mut self) -> Result<(), Failed> {
        // A file that was abandoned is always below.
        let horizon = self.ledger.horizon.load(Relaxed).max(1);
        let is_below = |file: &&Closed| file.last < horizon;
        let below: Vec<u64> =
            lock(&self.ledger.closed).iter().filter(is_below).map(|file| file.number).collect();
        if below.is_empty() {
            return Ok(());
        }
        if self.control.horizon < horizon {
            self.write_control(horizon)?;
        }
        let disk = &self.ledger.disk;
        Failing::Sync.of(disk.control().sync())?;
        let (mut gone, mut done) = (below, Ok(()));
        // One that stays is not to keep the others.
        gone.retain(|number| match disk.remove(*number) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                done = Err((Failing::Delete, error));
                false
            }
            _ => true,
        });
        Failing::Directory.of(disk.sync())?;
        lock(&self.ledger.closed).retain(|file| !gone.contains(&file.number));
        done
    }

    fn write_control(&mut self, horizon: u64) -> Result<(), Failed> {
        let time = self.lane.look(|queue| queue.now);
        let control = Checkpoint { time, horizon, turn: self.control.turn.wrapping_add(1) };
        let (slot, offset) = control.encode();
        Failing::Write.of(self.ledger.disk.control().write_all_at(&slot, offset))?;
        self.control = control;
        Ok(())
    }
}
