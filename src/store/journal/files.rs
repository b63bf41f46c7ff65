//! What the lanes of a journal share: the files that come and go, the numbers that are drawn, what is counted, and
//! whether the disk does its work.
//!
//! *Invariant:* no lock is held here while a file is written or synced.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::directory::Disk;
use super::format::{HEADER, Header};
use super::writer::{self, LogFile};
use crate::store::bucket;
use crate::time::{Millis, Timestamp};

/// The disk's troubles are told at most so often.
const QUIET: Duration = Duration::from_secs(10);
/// The buckets of the histogram of syncs, in microseconds.
pub const BOUNDS: [u64; 9] = [250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000];

/// A file that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    pub number: u64,
    /// No record in it has a higher sequence number.
    pub last: u64,
    pub length: u64,
}

/// What was counted since the start.
#[derive(Default)]
pub struct Counters {
    pub writes: AtomicU64,
    pub written_bytes: AtomicU64,
    /// By how long they took: as many as there are bounds, and those that took longer.
    pub syncs: [AtomicU64; BOUNDS.len() + 1],
    pub sync_micros: AtomicU64,
    pub failures: AtomicU64,
}

/// Tells the operator something.
pub type Say = fn(&str);

/// What the lanes share.
pub struct Files {
    pub disk: Box<dyn Disk>,
    /// The directory, for messages.
    pub place: String,
    say: Say,
    pub run: u64,
    pub start: Timestamp,
    pub lease: Millis,
    /// The last sequence number that was drawn.
    pub sequence: AtomicU64,
    /// The last number that was given to a file.
    pub number: AtomicU64,
    pub counters: Counters,
    closed: Mutex<Vec<Closed>>,
    /// How many lanes cannot keep what they are given.
    faults: AtomicU64,
    told: Mutex<Told>,
}

/// What was last said of the disk.
#[derive(Default)]
struct Told {
    /// What fails.
    why: String,
    /// When it was said that it fails, and since when it does.
    down: Option<Instant>,
    /// Whether it has been said since that it works again.
    up: bool,
}

impl Told {
    /// Whether it is to be said now that the disk fails. Not as often as a disk may fail and recover; but one that goes on
    /// failing is tried again and again, so that it is said as soon as it may be.
    fn is_news(&mut self, now: Instant) -> bool {
        let is_news = self.up && self.down.is_none_or(|at| now.duration_since(at) > QUIET);
        if is_news {
            (self.down, self.up) = (Some(now), false);
        }
        is_news
    }
}

impl Files {
    pub fn new(disk: Box<dyn Disk>, place: String, say: Say, header: &Header, closed: Vec<Closed>) -> Self {
        Self {
            disk,
            place,
            say,
            run: header.run,
            start: header.start,
            lease: header.lease,
            sequence: AtomicU64::new(header.sequence),
            number: AtomicU64::new(header.number),
            counters: Counters::default(),
            closed: Mutex::new(closed),
            faults: AtomicU64::new(0),
            told: Mutex::new(Told { up: true, ..Told::default() }),
        }
    }

    /// Begins a file, which a power cut does not make go away.
    pub fn create(&self, lane: u32) -> io::Result<LogFile> {
        let number = self.number.fetch_add(1, Relaxed) + 1;
        let header = Header {
            lane,
            number,
            run: self.run,
            start: self.start,
            lease: self.lease,
            sequence: self.sequence.load(Relaxed),
        };
        let file = writer::begin(self.disk.create(number)?, &header).and_then(|file| {
            self.disk.sync()?;
            Ok(file)
        });
        if file.is_err() {
            let _ = self.disk.remove(number);
        }
        file
    }

    /// The files that are complete.
    pub fn closed(&self) -> MutexGuard<'_, Vec<Closed>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file is complete. One without blocks goes at once: on a disk that takes no block more of them would come and come.
    pub fn close(&self, file: &LogFile) {
        let LogFile { number, last, length, .. } = *file;
        if length <= HEADER as u64 && self.disk.remove(number).is_ok() {
            return;
        }
        self.closed().push(Closed { number, last, length });
    }

    /// Whether every lane can keep what it is given.
    pub fn is_up(&self) -> bool {
        self.faults.load(Relaxed) == 0
    }

    /// Something was written.
    pub fn wrote(&self, bytes: usize) {
        self.counters.writes.fetch_add(1, Relaxed);
        self.counters.written_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// A sync took this long.
    pub fn synced(&self, took: Duration) {
        let micros = took.as_micros() as u64;
        self.counters.syncs[bucket(&BOUNDS, micros)].fetch_add(1, Relaxed);
        self.counters.sync_micros.fetch_add(micros, Relaxed);
    }

    /// Something failed; `first` says that this lane was well before.
    pub fn failed(&self, error: &io::Error, first: bool) {
        self.counters.failures.fetch_add(1, Relaxed);
        let mut told = self.told();
        told.why = format!(
            "cannot write to {}: {error}; changes are answered 503 until it can be written again",
            self.place
        );
        self.faults.fetch_add(first.into(), Relaxed);
        if !self.is_up() && told.is_news(Instant::now()) {
            (self.say)(&told.why);
        }
    }

    /// What fails, in a sentence; None while every lane can keep what it is given.
    pub fn trouble(&self) -> Option<String> {
        (!self.is_up()).then(|| format!("The server {}.", self.told().why))
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane that had failed can keep everything again.
    pub fn recovered(&self) {
        if self.faults.fetch_sub(1, Relaxed) > 1 {
            return;
        }
        let mut told = self.told();
        if !std::mem::replace(&mut told.up, true) {
            let secs = told.down.map_or(0, |at| at.elapsed().as_secs());
            (self.say)(&format!("{} can be written again, after {secs} s", self.place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_failing_is_said_although_it_began_soon_after_the_last_time() {
        let mut told = Told { up: true, ..Told::default() };
        let (began, tick) = (Instant::now(), Duration::from_secs(1));
        assert!(told.is_news(began) && !told.is_news(began + tick) && !told.is_news(began + 2 * QUIET));
        told.up = true;
        assert!(told.is_news(began + 3 * QUIET));
        told.up = true;
        assert!(!told.is_news(began + 3 * QUIET + tick));
        assert!(told.is_news(began + 4 * QUIET + tick) && !told.is_news(began + 5 * QUIET));
    }
}
