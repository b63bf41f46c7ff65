//! Reading a journal: of each user the record with the highest sequence number holds, if it is not below the horizon.
//!
//! Files are read by as many threads as there are cores, the newest first: most of what comes later is known to be old
//! without being decoded.
//!
//! *Invariant:* a file is changed only to cut a torn tail off, after that tail has been kept aside. (Tested by
//! `a_tail_is_cut_off_once_and_kept_aside`.)

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::iter;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use super::directory::{CONTROL, Directory};
use super::format::{self, Block, Checkpoint, HEADER, Header, Kept, Unreadable};
use super::health::Say;
use super::ledger::{Closed, Note};
use super::source::{self, Segment, cannot_read, unreadable};
use crate::store::memory::{Memory, SHARDS};
use crate::streams::account::Account;
use crate::streams::name::Name;
use crate::streams::record::Corrupt;
use crate::sync::lock;
use crate::time::{Millis, Timestamp};

/// How much of a file is read at once.
const CHUNK: usize = 4 * 1024 * 1024;

/// What a journal was found to hold.
#[derive(Debug)]
pub struct Replayed {
    pub files: Vec<Closed>,
    /// For the file that is begun next: it goes on with the highest numbers that were used, and where the lease clock stopped.
    pub header: Header,
    pub control: Checkpoint,
    /// Records with a lower sequence number are void: nobody who lives has one.
    pub horizon: u64,
}

/// Reads the whole journal into `memory`. `lease` is that of the run that begins now: what lived when the lease clock
/// stopped lives so much longer.
///
/// # Errors
///
/// A sentence that says which file cannot be read, where, and what to do.
pub fn replay(
    directory: &Directory,
    memory: &Memory<Note>,
    lease: Millis,
    say: Say,
) -> Result<Replayed, String> {
    let path = directory.path.join(CONTROL);
    let numbers = directory.numbers().map_err(|error| cannot_read(&directory.path, &error))?;
    let control = std::fs::read(&path).map_err(|error| cannot_read(&path, &error))?;
    let control = match Checkpoint::decode(&control) {
        // It is on the disk before there is any other file.
        Err(Unreadable::Corrupt) if numbers.is_empty() => Checkpoint::default(),
        control => control.map_err(|why| unreadable(&path, 0, why))?,
    };
    let files = numbers.into_iter().rev().filter_map(|number| Segment::open(directory, number).transpose());
    let mut files = files.collect::<Result<Vec<_>, _>>()?;
    source::vouch(directory, &mut files, control.horizon)?;
    let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
    let (horizon, lowest) = (control.horizon, u64::MAX.into());
    let replay = Replay { directory, memory, horizon, shards, lowest, say };
    in_parallel(&mut files, |file| replay.read_file(file))?;
    let mut found = Replayed::of(&files, control, lease);
    let run = |file: &Segment| (file.header.run, file.header.start, file.header.lease);
    let mut runs: BTreeSet<_> = files.iter().map(run).collect();
    runs.insert((found.header.run, found.header.start, lease));
    in_parallel(&mut Vec::from_iter(0..SHARDS), |shard| {
        replay.fill(*shard, &runs);
        Ok(())
    })?;
    found.horizon = replay.lowest.into_inner().min(found.header.sequence + 1).max(horizon);
    Ok(found)
}

/// Does `work` for each of the items, the first ones first, on as many threads as there are cores.
fn in_parallel<T: Send>(
    items: &mut [T],
    work: impl Fn(&mut T) -> Result<(), String> + Sync,
) -> Result<(), String> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let rest = Mutex::new(items.iter_mut());
    let next = || lock(&rest).next();
    let one = || iter::from_fn(next).try_for_each(&work);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        // A panic is a fault of the program: it goes on in the thread that waits.
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

impl Replayed {
    /// From what was found in the files, the newest first.
    fn of(files: &[Segment], control: Checkpoint, lease: Millis) -> Self {
        let (mut last, mut closed) = (0, Vec::new());
        for (i, file) in files.iter().enumerate().rev() {
            // The header of the next file may say more: some of this one may have been written there again.
            let next = i.checked_sub(1).map_or(0, |i| files[i].header.sequence);
            last = next.max(last).max(file.last);
            closed.push(Closed { number: file.header.number, last, length: file.length });
        }
        let times = files.iter().map(|file| file.time);
        let newest = files.first();
        let header = Header {
            number: newest.map_or(0, |file| file.header.number),
            run: files.iter().map(|file| file.header.run).max().unwrap_or(0) + 1,
            start: times.fold(control.time.max(Timestamp::BEGINNING), Timestamp::max),
            lease,
            sequence: last.max(control.horizon.saturating_sub(1)),
            before: newest.map(|file| format::vouch(file.header.number, file.synced)),
        };
        Self { files: closed, header, control, horizon: control.horizon }
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
    memory: &'a Memory<Note>,
    horizon: u64,
    /// The users, spread as in the memory that they will be in.
    shards: Vec<Mutex<HashMap<Name, Latest>>>,
    /// The lowest sequence number among the records of those who live.
    lowest: AtomicU64,
    say: Say,
}

impl Replay<'_> {
    fn read_file(&self, segment: &mut Segment) -> Result<(), String> {
        let number = segment.header.number;
        let path = self.directory.file(number);
        let failed = |error: io::Error| cannot_read(&path, &error);
        let mut file = File::open(&path).map_err(failed)?;
        let (mut buffer, mut offset, mut at) = (Vec::with_capacity(2 * CHUNK), 0, HEADER);
        loop {
            let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut buffer).map_err(failed)?;
            let readable = loop {
                let place = offset + at as u64;
                match format::read_block(buffer.get(at..).unwrap_or_default(), number, place) {
                    Ok(Some((block, length))) => {
                        self.take(segment, &block).map_err(|why| unreadable(&path, place, why))?;
                        at += length;
                    }
                    Ok(None) => break true,
                    Err(_) => break false,
                }
            };
            buffer.drain(..at);
            (offset, at) = (offset + at as u64, 0);
            if readable && read > 0 {
                continue;
            }
            file.read_to_end(&mut buffer).map_err(failed)?;
            return if buffer.is_empty() { Ok(()) } else { self.cut_off(segment, offset, &buffer) };
        }
    }

    fn take(&self, segment: &mut Segment, block: &Block) -> Result<(), Unreadable> {
        let (mut rest, mut records) = (block.records, Vec::new());
        while !rest.is_empty() {
            let (record, length) = format::read_record(rest).ok_or(Unreadable::Corrupt)?;
            rest = &rest[length..];
            segment.last = segment.last.max(record.sequence);
            if record.sequence >= self.horizon {
                records.push((self.memory.shard_of(record.user), record));
            }
        }
        // Shard by shard: so its users are in the cache when they are looked up.
        records.sort_by_key(|(shard, _)| *shard);
        for of_one in records.chunk_by(|(a, _), (b, _)| a == b) {
            let mut users = lock(&self.shards[of_one[0].0]);
            of_one.iter().try_for_each(|(_, record)| insert(segment.header.run, record, &mut users))?;
        }
        segment.time = segment.time.max(block.time);
        segment.synced = segment.synced.max(block.synced);
        Ok(())
    }

    /// Cuts off what cannot be read from `offset` on, if it never was on the disk for certain.
    fn cut_off(&self, segment: &mut Segment, offset: u64, tail: &[u8]) -> Result<(), String> {
        let number = segment.header.number;
        let path = self.directory.file(number);
        if offset < segment.vouched || format::is_damage(tail, number, offset) {
            return Err(unreadable(&path, offset, Unreadable::Corrupt));
        }
        segment.length = offset;
        let became = match self.directory.cut(number, offset, tail) {
            Ok(aside) => format!("were cut off, and are kept in {}", aside.display()),
            // As on a full disk. The next start passes over it again.
            Err(error) => format!("were passed over, and could not be cut off: {error}"),
        };
        (self.say)(&format!(
            "{} ended in the middle of a write: its last {} bytes {became}",
            path.display(),
            tail.len(),
        ));
        Ok(())
    }

    /// Puts a shard's accounts into the memory, each with a fresh lease for every start that it has lived through, this one
    /// among them.
    fn fill(&self, shard: usize, runs: &BTreeSet<(u64, Timestamp, Millis)>) {
        let mut lowest = u64::MAX;
        let users = std::mem::take(&mut *lock(&self.shards[shard]));
        let accounts = users.into_iter().filter_map(|(user, latest)| {
            let mut account = latest.account?;
            for (_, start, lease) in runs.iter().filter(|(run, ..)| *run > latest.run) {
                account.renew_all(*start, *lease);
            }
            if !account.is_empty() {
                lowest = lowest.min(latest.sequence);
            }
            Some((user, account))
        });
        self.memory.fill(shard, accounts);
        self.lowest.fetch_min(lowest, Relaxed);
    }
}

/// Puts a record in the place of an earlier one.
fn insert(run: u64, record: &Kept, users: &mut HashMap<Name, Latest>) -> Result<(), Unreadable> {
    let Kept { sequence, user, account } = *record;
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
