//! One worker's part of the journal: its writer, and the thread that syncs it, so that the worker never waits for a disk.
//!
//! ```text
//! worker ── turn ──▶ Writer ── write ──▶ file
//!    ▲                 │ blocks
//!    └─── waker ── syncer thread ── sync, once for all turns that came meanwhile
//! ```
//!
//! *Invariant:* a turn counts as synced only after a sync that began when it had been written has returned without an
//! error.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::files::Files;
use super::writer::{self, Syncing, Writer};

/// How often a lane is synced that nothing waits for.
const TICK: Duration = Duration::from_secs(1);
/// How often a lane tries again that cannot be written.
const RETRY: Duration = Duration::from_millis(100);

/// A writer, and who waits for it.
pub struct Lane {
    number: u32,
    writer: Mutex<Writer>,
    /// The turns up to this one are on the disk.
    synced: AtomicU64,
    /// The turns up to this one, if they are not on the disk, were not put there when that was tried.
    failed: AtomicU64,
    /// Whether it cannot keep what it is given. Changed under the writer's lock alone.
    faulty: AtomicBool,
    wanted: Mutex<Wanted>,
    more: Condvar,
    waker: Waker,
}

/// What the syncer is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Nothing,
    Sync,
    Stop,
}

impl Lane {
    /// A lane with a file of its own.
    pub fn new(number: u32, files: &Files, waker: Waker) -> io::Result<Self> {
        Ok(Self {
            number,
            writer: Mutex::new(Writer::new(files.create(number)?)),
            synced: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            faulty: AtomicBool::new(false),
            wanted: Mutex::new(Wanted::Nothing),
            more: Condvar::new(),
            waker,
        })
    }

    /// The writer. Never kept across anything that waits for the disk, but for a write.
    pub fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what was taken.
    pub fn write(&self, writer: &mut Writer, files: &Files) -> io::Result<()> {
        match writer.flush() {
            Ok(0) => Ok(()),
            Ok(bytes) => {
                files.wrote(bytes);
                Ok(())
            }
            Err(error) => {
                self.fail(files, &error);
                self.want_sync();
                Err(error)
            }
        }
    }

    /// Has all that was written put on the disk.
    pub fn want_sync(&self) {
        self.tell(Wanted::Sync);
    }

    /// Has the syncer end, after a last sync.
    pub fn stop(&self) {
        self.tell(Wanted::Stop);
    }

    fn tell(&self, what: Wanted) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if *wanted != Wanted::Stop {
            *wanted = what;
        }
        self.more.notify_one();
    }

    /// Whether a turn is on the disk; None while that is not known.
    pub fn is_kept(&self, turn: u64) -> Option<bool> {
        if self.is_synced(turn) {
            return Some(true);
        }
        (self.failed.load(Acquire) >= turn).then_some(false)
    }

    /// Whether this turn, and all before it, are on the disk.
    pub fn is_synced(&self, turn: u64) -> bool {
        self.synced.load(Acquire) >= turn
    }

    /// The work of the syncer, until it is stopped.
    pub fn run(&self, files: &Files) {
        while self.wait() != Wanted::Stop {
            self.tend(files);
        }
        self.tend(files);
    }

    fn wait(&self) -> Wanted {
        let timeout = if self.faulty.load(Relaxed) { RETRY } else { TICK };
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.more.wait_timeout_while(wanted, timeout, |wanted| *wanted == Wanted::Nothing);
        let mut wanted = waited.unwrap_or_else(PoisonError::into_inner).0;
        let told = *wanted;
        if told == Wanted::Sync {
            *wanted = Wanted::Nothing;
        }
        drop(wanted);
        if self.faulty.load(Relaxed) && told != Wanted::Stop {
            // What fails at once is not to be tried as fast as it fails.
            std::thread::sleep(RETRY);
        }
        told
    }

    /// Puts on the disk what is not there, in a new file where the old one cannot be trusted or has lasted long enough.
    pub fn tend(&self, files: &Files) {
        let (sound, old) = {
            let writer = self.writer();
            let age = Duration::from_millis(files.lease.millis() / 8);
            let has_blocks = writer.file().length > super::format::HEADER as u64;
            (writer.is_sound(), has_blocks && writer.file().begun.elapsed() >= age)
        };
        if !sound && self.repair(files).is_err() {
            return;
        }
        if sound && old && self.begin_file(files) {
            return;
        }
        let syncing = {
            let mut writer = self.writer();
            (writer.is_sound() && writer.is_dirty()).then(|| writer.begin_sync())
        };
        match syncing {
            Some(syncing) => drop(self.sync(syncing, files)),
            None => self.recover(files),
        }
    }

    /// Tries again what failed: to write at the same place, or else in a new file. A file whose sync has failed is not
    /// tried again.
    fn repair(&self, files: &Files) -> io::Result<()> {
        let done = self.retry(files);
        match &done {
            Ok(bytes) => files.wrote(*bytes),
            Err(error) => self.give_up(files, error),
        }
        done.map(drop)
    }

    /// Tells the turns that wait that they are not on the disk, and may not get there.
    pub fn give_up(&self, files: &Files, error: &io::Error) {
        let writer = self.writer();
        let before = self.failed.swap(writer.turns(), Release);
        let is_news = before < writer.turns();
        self.fail(files, error);
        drop(writer);
        if is_news {
            self.waker.wake_by_ref();
        }
    }

    fn retry(&self, files: &Files) -> io::Result<usize> {
        if let Ok(bytes) = self.writer().flush() {
            return Ok(bytes);
        }
        let file = files.create(self.number)?;
        let old = {
            let mut writer = self.writer();
            writer.abandon();
            writer.replace(file)
        };
        files.close(&old);
        self.writer().flush()
    }

    /// Goes on in a new file, and puts the old one on the disk. Returns whether it did.
    fn begin_file(&self, files: &Files) -> bool {
        // If there can be no new one, the old one serves longer.
        let Ok(file) = files.create(self.number) else { return false };
        let (syncing, mut old) = {
            let mut writer = self.writer();
            if !writer.is_sound() {
                let _ = files.disk.remove(file.number);
                return false;
            }
            (writer.begin_sync(), writer.replace(file))
        };
        if self.sync(syncing, files).is_ok() {
            writer::finish(&mut old);
        }
        files.close(&old);
        true
    }

    fn sync(&self, syncing: Syncing, files: &Files) -> io::Result<()> {
        let begun = Instant::now();
        // A file that has been deleted is so with its directory, as a rule, and that is more to the point.
        let synced = syncing.medium.sync().map_err(|error| files.disk.check().err().unwrap_or(error));
        let turn = syncing.turn;
        match &synced {
            Ok(()) => {
                files.synced(begun.elapsed());
                self.writer().end_sync(syncing);
                self.synced.store(turn, Release);
                self.recover(files);
                self.waker.wake_by_ref();
            }
            Err(error) => {
                self.writer().fail_sync(&syncing);
                self.give_up(files, error);
            }
        }
        synced
    }

    /// It cannot keep what it is given. The writer is locked.
    fn fail(&self, files: &Files, error: &io::Error) {
        let first = !self.faulty.swap(true, Relaxed);
        files.failed(error, first);
    }

    /// Takes a fault back that is over: everything is on the disk.
    fn recover(&self, files: &Files) {
        let writer = self.writer();
        if self.faulty.load(Relaxed) && writer.is_sound() && !writer.is_dirty() {
            self.faulty.store(false, Relaxed);
            files.recovered();
        }
    }
}
