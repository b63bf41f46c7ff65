//! Which files may be deleted, and what the lease clock shows: the sweeper's part of the journal.
//!
//! Whatever lives was renewed within the last lease, and each renewal is in the journal. So a record that was followed by
//! a whole lease is about what is gone, or there is a newer one. Only a hold outlives a lease: each round of the sweep
//! writes such accounts again.
//!
//! ```text
//! horizon := the sequence number at the beginning of a round of the sweep, when a lease has passed since its end
//! ```
//!
//! The horizon is put on the disk before a file is deleted. A replay passes over what lies below it, so that it does not
//! matter which of the files below it are gone: an older record cannot come back because a newer one was deleted first.
//!
//! *Invariant:* the horizon moves only when what the rounds before it have written is on the disk.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;

use super::files::{Closed, Files};
use super::format::Control;
use super::lane::Lane;
use super::writer;
use crate::streams::account::Account;
use crate::time::{Millis, Timestamp};

/// How often the lease clock is written down; with a short lease an eighth of it.
const TICK: Millis = Millis::from_secs(1);

/// A round of the sweep that is over.
struct Round {
    /// What had been drawn when it began.
    sequence: u64,
    /// When it ended.
    ended: Timestamp,
}

/// How far each lane had come.
struct Mark {
    at: Timestamp,
    turns: Vec<(Arc<Lane>, u64)>,
}

/// What the sweeper keeps of a journal.
pub struct Retention {
    control: Control,
    /// Where accounts are written again.
    lane: Arc<Lane>,
    /// What had been drawn when the present round began.
    sequence: u64,
    rounds: VecDeque<Round>,
    /// Where the horizon may be put.
    reached: u64,
    mark: Option<Mark>,
    /// All that was written by then is on the disk.
    synced: Timestamp,
    /// The directory was not where it should be when that was last looked for.
    is_astray: bool,
}

impl Retention {
    /// Begins with what the control file holds, and with a file for what is written again.
    pub fn new(files: &Files, control: Control) -> io::Result<Self> {
        let lane = Arc::new(Lane::new(0, files, Waker::noop().clone())?);
        let sequence = files.sequence.load(Relaxed);
        let mut retention = Self {
            control,
            lane,
            sequence,
            rounds: VecDeque::new(),
            reached: control.horizon,
            mark: None,
            synced: files.start,
            is_astray: false,
        };
        retention.write_control(files, files.start, control.horizon)?;
        Ok(retention)
    }

    /// Writes an account again that has to outlive its record.
    pub fn keep(&mut self, files: &Files, now: Timestamp, user: &[u8], account: &Account) {
        let outlives = account.forgotten_at().is_some_and(|at| at > now + files.lease);
        if outlives {
            let sequence = files.sequence.fetch_add(1, Relaxed) + 1;
            self.lane.writer().record(sequence, user, now, |out| account.encode(out));
        }
    }

    /// Whether the next [`Retention::tick`] is due.
    pub fn is_due(&self, files: &Files, now: Timestamp) -> bool {
        now >= self.control.time + Millis::from_millis(files.lease.millis() / 8).min(TICK)
    }

    /// The lease clock shows `now`. `lanes` are those of the workers.
    pub fn tick(&mut self, files: &Files, now: Timestamp, lanes: &[Arc<Lane>]) {
        self.look(files);
        // If it cannot be written, a start finds the time of the last record, or the one before.
        let _ = self.write_control(files, now, self.control.horizon);
        if files.is_up() {
            self.mark(now, lanes);
            if let Err(error) = self.forget(files, now) {
                files.failed(&error, false);
            }
        }
    }

    /// Looks whether the directory is where it should be. What fails to tell says nothing of that.
    fn look(&mut self, files: &Files) {
        let error = files.disk.check().err().filter(|error| error.kind() == io::ErrorKind::NotFound);
        let was_astray = std::mem::replace(&mut self.is_astray, error.is_some());
        match error {
            Some(error) => files.failed(&error, !was_astray),
            None if was_astray => files.recovered(),
            None => {}
        }
    }

    /// A round of the sweep has ended.
    pub fn end_round(&mut self, files: &Files, now: Timestamp) {
        let kept = self.write_kept(files, now);
        let began = std::mem::replace(&mut self.sequence, files.sequence.load(Relaxed));
        if kept && files.is_up() {
            self.rounds.push_back(Round { sequence: began + 1, ended: now });
        }
    }

    /// Puts on the disk what was written again. Returns whether it is there.
    fn write_kept(&self, files: &Files, now: Timestamp) -> bool {
        let turn = {
            let mut writer = self.lane.writer();
            writer.end_turn(now);
            // A failure is tried again by `tend`.
            let _ = self.lane.write(&mut writer, files);
            writer.turns()
        };
        self.lane.tend(files);
        self.lane.is_synced(turn)
    }

    /// Looks whether all lanes have put on the disk what they had at the last mark, and sets the next.
    fn mark(&mut self, now: Timestamp, lanes: &[Arc<Lane>]) {
        if let Some(mark) = &self.mark {
            if !mark.turns.iter().all(|(lane, turn)| lane.is_synced(*turn)) {
                return;
            }
            self.synced = mark.at;
        }
        let turns = lanes.iter().map(|lane| (Arc::clone(lane), lane.writer().turns())).collect();
        self.mark = Some(Mark { at: now, turns });
    }

    /// Moves the horizon, and deletes the files below it.
    fn forget(&mut self, files: &Files, now: Timestamp) -> io::Result<()> {
        while let Some(round) = self.rounds.front()
            && round.ended + files.lease <= self.synced
        {
            self.reached = round.sequence;
            self.rounds.pop_front();
        }
        let horizon = self.reached;
        let below = |file: &Closed| file.last < horizon;
        if !files.closed().iter().any(below) {
            return Ok(());
        }
        self.write_control(files, now, horizon)?;
        files.disk.control().sync()?;
        loop {
            let Some(file) = files.closed().iter().find(|file| below(file)).copied() else { break };
            match files.disk.remove(file.number) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => files.closed().retain(|closed| closed.number != file.number),
            }
        }
        files.disk.sync()
    }

    fn write_control(&mut self, files: &Files, time: Timestamp, horizon: u64) -> io::Result<()> {
        let control = Control { time, horizon, turn: self.control.turn.wrapping_add(1) };
        let (slot, offset) = control.encode();
        writer::write_all(files.disk.control(), &slot, offset)?;
        self.control = control;
        Ok(())
    }

    /// The lane of what is written again.
    pub fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }
}
