//! Reading a journal: of each user the record with the highest sequence number holds, if it is not below the horizon.
//!
//! Files are read by as many threads as there are cores, the newest first: most of what comes later is known to be old
//! without being decoded.
//!
//! *Invariant:* a file is changed only to cut a torn tail off, after that tail has been kept aside.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::directory::{CONTROL, Directory, Disk};
use super::files::{Closed, Say};
use super::format::{self, BLOCK, Block, Control, HEADER, Header, Record, Unreadable};
use crate::store::memory::{Memory, SHARDS};
use crate::streams::account::Account;
use crate::streams::name::Name;
use crate::streams::record::Corrupt;
use crate::time::{Millis, Timestamp};

/// How much of a file is read at once. Much, so that each shard has many records in it.
const CHUNK: usize = 4 * 1024 * 1024;

/// What a journal was found to hold.
#[derive(Debug, Default)]
pub struct Found {
    pub files: Vec<Closed>,
    /// The highest numbers that were used.
    pub sequence: u64,
    pub number: u64,
    pub run: u64,
    /// Where the lease clock stopped; None in a journal that has not begun.
    pub time: Option<Timestamp>,
    /// Whether there was a record in it, void ones among them.
    pub has_records: bool,
    pub control: Control,
}

impl Found {
    /// Where the lease clock goes on.
    pub fn start(&self) -> Timestamp {
        self.time.unwrap_or(Timestamp::BEGINNING)
    }
}

/// Reads the whole journal into `memory`. `lease` is that of the run that begins now: what lived when the lease clock
/// stopped lives so much longer.
///
/// # Errors
///
/// A sentence that says which file cannot be read, where, and what to do.
pub fn replay(directory: &Directory, memory: &Memory, lease: Millis, say: Say) -> Result<Found, String> {
    let path = directory.path().join(CONTROL);
    let control = directory.read_control().map_err(|error| cannot_read(&path, &error))?;
    let control = Control::decode(&control).map_err(|why| unreadable(&path, 0, why))?;
    let replay = Replay::new(directory, memory, control, say)?;
    in_parallel(replay.files.len(), |i| replay.read_file(&replay.files[i]))?;
    let found = replay.found(control);
    if let Some(time) = found.time {
        in_parallel(SHARDS, |shard| {
            replay.fill(shard, time, lease);
            Ok(())
        })?;
    }
    Ok(found)
}

/// Does `work` for each number below `n`, on as many threads as there are cores.
fn in_parallel(n: usize, work: impl Fn(usize) -> Result<(), String> + Sync) -> Result<(), String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(n);
    let next = AtomicUsize::new(0);
    let one = || loop {
        let i = next.fetch_add(1, Relaxed);
        if i >= n {
            return Ok(());
        }
        work(i)?;
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        // A panic is a fault of the program: it goes on in the thread that waits.
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn cannot_read(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

fn unreadable(path: &Path, offset: u64, why: Unreadable) -> String {
    let path = path.display();
    match why {
        Unreadable::Newer(version) => format!(
            "{path} was written by a later version of streamer (format {version}); start that one, or name another \
             directory"
        ),
        Unreadable::Corrupt => format!(
            "{path} is damaged at byte {offset}; put a copy in its place or, to do without what it holds, move it away"
        ),
    }
}

/// The newest record of a user that has been seen.
struct Latest {
    sequence: u64,
    run: u64,
    /// None when nothing is known of the user any more.
    account: Option<Account>,
}

struct Replay<'a> {
    directory: &'a Directory,
    memory: &'a Memory,
    horizon: u64,
    /// The newest first.
    files: Vec<Source>,
    /// The runs, the earliest first: when each began, and its lease.
    runs: Vec<(u64, Timestamp, Millis)>,
    /// The users, spread as in the memory that they will be in.
    shards: Vec<Mutex<HashMap<Name, Latest>>>,
    progress: Progress,
}

/// A file to be read, and what has been found in it.
struct Source {
    header: Header,
    length: AtomicU64,
    last: AtomicU64,
    /// In milliseconds.
    time: AtomicU64,
    has_records: AtomicBool,
}

impl<'a> Replay<'a> {
    fn new(directory: &'a Directory, memory: &'a Memory, control: Control, say: Say) -> Result<Self, String> {
        let numbers = directory.numbers().map_err(|error| cannot_read(directory.path(), &error))?;
        let mut files = Vec::new();
        for number in numbers.into_iter().rev() {
            files.extend(Source::open(directory, number)?);
        }
        let run = |file: &Source| (file.header.run, file.header.start, file.header.lease);
        let mut runs: Vec<_> = files.iter().map(run).collect();
        runs.sort_unstable();
        runs.dedup();
        let bytes = files.iter().map(|file| file.length.load(Relaxed)).sum();
        Ok(Self {
            directory,
            memory,
            horizon: control.horizon,
            files,
            runs,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            progress: Progress::new(directory, bytes, say),
        })
    }

    fn read_file(&self, source: &Source) -> Result<(), String> {
        let number = source.header.number;
        let path = self.directory.file(number);
        let failed = |error: io::Error| cannot_read(&path, &error);
        let mut file = File::open(&path).map_err(failed)?;
        let (mut buffer, mut offset) = (Vec::with_capacity(2 * CHUNK), 0);
        let mut by_shard = vec![Vec::new(); SHARDS];
        loop {
            let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut buffer).map_err(failed)?;
            self.progress.add(read as u64);
            let mut at = if offset == 0 { HEADER } else { 0 };
            let readable = loop {
                match format::read_block(&buffer[at..], number, offset + at as u64) {
                    Ok(Some((block, length))) => {
                        let fits = self.sort(source, &block, at + BLOCK, &mut by_shard);
                        fits.ok_or_else(|| unreadable(&path, offset + at as u64, Unreadable::Corrupt))?;
                        at += length;
                    }
                    Ok(None) => break true,
                    Err(_) => break false,
                }
            };
            self.take_all(source, &buffer, &mut by_shard)
                .map_err(|(at, why)| unreadable(&path, offset + at as u64, why))?;
            buffer.drain(..at);
            offset += at as u64;
            if readable && read > 0 {
                continue;
            }
            file.read_to_end(&mut buffer).map_err(failed)?;
            return if buffer.is_empty() { Ok(()) } else { self.cut_off(source, offset, &buffer) };
        }
    }

    /// Notes where in the buffer each shard's records are; the block's begin at `at`. None if they do not fill it.
    fn sort(&self, source: &Source, block: &Block, mut at: usize, by_shard: &mut [Vec<u32>]) -> Option<()> {
        let (mut rest, mut last) = (block.records, 0);
        while !rest.is_empty() {
            let (record, length) = format::read_record(rest)?;
            last = last.max(record.sequence);
            if record.sequence >= self.horizon {
                by_shard[self.memory.shard_of(record.user)].push(at as u32);
            }
            (rest, at) = (&rest[length..], at + length);
        }
        source.time.fetch_max(block.time.millis(), Relaxed);
        source.last.fetch_max(last, Relaxed);
        source.has_records.fetch_or(last > 0, Relaxed);
        Some(())
    }

    /// Takes the records, shard by shard: so a lock is taken seldom, and a shard's users are in the cache when they are
    /// looked up. An error comes with its place in the buffer.
    fn take_all(
        &self,
        source: &Source,
        buffer: &[u8],
        by_shard: &mut [Vec<u32>],
    ) -> Result<(), (usize, Unreadable)> {
        for (shard, places) in self.shards.iter().zip(by_shard) {
            let mut users = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for at in places.drain(..) {
                if let Some((record, _)) = format::read_record(&buffer[at as usize..]) {
                    take(source.header.run, &record, &mut users).map_err(|why| (at as usize, why))?;
                }
            }
        }
        Ok(())
    }

    /// Cuts off what cannot be read from `offset` on, if it never was on the disk for certain.
    fn cut_off(&self, source: &Source, offset: u64, tail: &[u8]) -> Result<(), String> {
        let number = source.header.number;
        let path = self.directory.file(number);
        if format::is_damage(tail, number, offset) {
            return Err(unreadable(&path, offset, Unreadable::Corrupt));
        }
        let aside = self.directory.cut(number, offset, tail);
        let aside = aside.map_err(|error| format!("cannot cut {} off: {error}", path.display()))?;
        source.length.store(offset, Relaxed);
        (self.progress.say)(&format!(
            "{} ended in the middle of a write: its last {} bytes were cut off, and are kept in {}",
            path.display(),
            tail.len(),
            aside.display()
        ));
        Ok(())
    }

    fn found(&self, control: Control) -> Found {
        let load = |n: &AtomicU64| n.load(Relaxed);
        let files = self.files.iter().map(|file| Closed {
            number: file.header.number,
            last: load(&file.last),
            length: load(&file.length),
        });
        let times = self.files.iter().map(|file| Timestamp::from_millis(load(&file.time)));
        let control_time = Some(control.time).filter(|&time| time > Timestamp::default());
        Found {
            sequence: self.files.iter().map(|file| load(&file.last)).max().unwrap_or(0).max(control.horizon),
            number: self.files.iter().map(|file| file.header.number).max().unwrap_or(0),
            run: self.files.iter().map(|file| file.header.run).max().unwrap_or(0),
            time: times.chain(control_time).max(),
            has_records: control.horizon > 0 || self.files.iter().any(|file| file.has_records.load(Relaxed)),
            files: files.collect(),
            control,
        }
    }

    /// Puts a shard's accounts into the memory, each with a fresh lease for every start that it has lived through.
    fn fill(&self, shard: usize, time: Timestamp, lease: Millis) {
        let users = std::mem::take(&mut *self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner));
        let accounts = users.into_iter().filter_map(|(user, latest)| {
            let mut account = latest.account?;
            for (_, start, lease) in self.runs.iter().filter(|(run, ..)| *run > latest.run) {
                account.renew_all(*start, *lease);
            }
            account.renew_all(time, lease);
            Some((user, account))
        });
        self.memory.fill(shard, accounts);
    }
}

/// Takes a record, unless a later one of the user is known.
fn take(run: u64, record: &Record, users: &mut HashMap<Name, Latest>) -> Result<(), Unreadable> {
    let Record { sequence, user, account } = *record;
    let known = users.get_mut(user);
    if known.as_ref().is_some_and(|latest| latest.sequence >= sequence) {
        return Ok(());
    }
    let account = match account {
        [] => None,
        [version, ..] => Some(Account::decode(account).map_err(|why| match why {
            Corrupt::Version => Unreadable::Newer(u32::from(*version)),
            Corrupt::Content => Unreadable::Corrupt,
        })?),
    };
    let latest = Latest { sequence, run, account };
    match known {
        Some(known) => *known = latest,
        None => drop(users.insert(Name::from(user), latest)),
    }
    Ok(())
}

impl Source {
    /// Reads a file's header. None for a file that was being begun when the power went.
    fn open(directory: &Directory, number: u64) -> Result<Option<Self>, String> {
        let path = directory.file(number);
        let failed = |error: io::Error| cannot_read(&path, &error);
        let mut file = File::open(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut bytes = Vec::with_capacity(HEADER);
        file.by_ref().take(HEADER as u64).read_to_end(&mut bytes).map_err(failed)?;
        let header = match Header::decode(&bytes) {
            Ok(header) if header.number == number => header,
            Err(Unreadable::Corrupt) if length <= HEADER as u64 => {
                directory.remove(number).map_err(failed)?;
                return Ok(None);
            }
            Ok(_) => return Err(unreadable(&path, 16, Unreadable::Corrupt)),
            Err(why) => return Err(unreadable(&path, 0, why)),
        };
        Ok(Some(Self {
            last: header.sequence.into(),
            time: header.start.millis().into(),
            length: length.into(),
            has_records: false.into(),
            header,
        }))
    }
}

/// How much has been read, for people who wait.
struct Progress {
    place: String,
    begun: Instant,
    bytes: u64,
    read: AtomicU64,
    /// For how many seconds it has been said.
    said: AtomicU64,
    say: Say,
}

impl Progress {
    fn new(directory: &Directory, bytes: u64, say: Say) -> Self {
        let place = directory.path().display().to_string();
        Self { place, begun: Instant::now(), bytes, read: 0.into(), said: 0.into(), say }
    }

    fn add(&self, bytes: u64) {
        let read = self.read.fetch_add(bytes, Relaxed) + bytes;
        let secs = self.begun.elapsed().as_secs();
        if self.said.fetch_max(secs, Relaxed) < secs {
            let percent = read * 100 / self.bytes.max(1);
            (self.say)(&format!("reading {}: {percent} % of {} MB", self.place, self.bytes / 1_000_000));
        }
    }
}
