//! A disk that fails. Where the system can be made to fail, `tests/it/journal.rs` does that; here is what it cannot be made
//! to do.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::*;
use crate::store::journal::directory::{Disk, Medium};

/// What fails.
#[derive(Default)]
pub struct Faults {
    /// So many bytes can be written yet.
    space: AtomicUsize,
    /// So long a file may become; 0 for as long as one likes.
    most: AtomicUsize,
    pub writes: AtomicBool,
    pub syncs: AtomicBool,
    /// Syncs of a file that has blocks in it.
    data_syncs: AtomicBool,
    pub removes: AtomicBool,
    pub control_syncs: AtomicBool,
    pub directory_syncs: AtomicBool,
    /// Syncs of the control file do not return.
    pub hanging_control: AtomicBool,
    /// Nor do those of other files.
    pub hangs: AtomicBool,
    /// Nor do writes.
    pub hanging_writes: AtomicBool,
    /// How many writes and syncs have begun.
    pub begun: AtomicUsize,
    pub creates: AtomicBool,
    /// How many writes there were to a file whose sync had failed.
    misplaced: AtomicUsize,
}

impl Faults {
    fn check(fails: &AtomicBool) -> io::Result<()> {
        // EIO
        if fails.load(Relaxed) { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    fn hang(&self, hangs: &AtomicBool) {
        self.begun.fetch_add(1, Relaxed);
        until(|| !hangs.load(Relaxed));
    }
}

/// One of them.
pub type Fault = fn(&Faults) -> &AtomicBool;

struct BadDisk(Directory, Arc<Faults>);

struct BadFile {
    medium: Arc<dyn Medium>,
    faults: Arc<Faults>,
    failed: AtomicBool,
    length: AtomicUsize,
}

impl BadFile {
    fn new(medium: Arc<dyn Medium>, faults: &Arc<Faults>) -> Self {
        let (failed, length) = Default::default();
        Self { medium, faults: Arc::clone(faults), failed, length }
    }
}

impl Disk for BadDisk {
    fn check(&self) -> io::Result<()> {
        self.0.check()
    }

    fn create(&self, number: u64) -> io::Result<Arc<dyn Medium>> {
        Faults::check(&self.1.creates)?;
        Ok(Arc::new(BadFile::new(self.0.create(number)?, &self.1)))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        Faults::check(&self.1.removes)?;
        self.0.remove(number)
    }

    fn sync(&self) -> io::Result<()> {
        Faults::check(&self.1.directory_syncs)?;
        self.0.sync()
    }

    fn control(&self) -> &dyn Medium {
        self
    }
}

impl Medium for BadDisk {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.control().write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        until(|| !self.1.hanging_control.load(Relaxed));
        Faults::check(&self.1.control_syncs)?;
        self.0.control().sync()
    }
}

impl Medium for BadFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.faults.hang(&self.faults.hanging_writes);
        self.length.fetch_max(offset as usize + bytes.len(), Relaxed);
        self.faults.misplaced.fetch_add(usize::from(self.failed.load(Relaxed)), Relaxed);
        let most = self.faults.most.load(Relaxed);
        if most > 0 && offset as usize + bytes.len() > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let space = self.faults.space.load(Relaxed).min(bytes.len());
        if space > 0 {
            self.faults.space.fetch_sub(space, Relaxed);
            self.medium.write_all_at(&bytes[..space], offset)?;
        }
        if space < bytes.len() {
            Faults::check(&self.faults.writes)?;
        }
        self.medium.write_all_at(&bytes[space..], offset + space as u64)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.hang(&self.faults.hangs);
        let has_blocks = self.length.load(Relaxed) > format::HEADER;
        let fails = if has_blocks { &self.faults.data_syncs } else { &self.faults.syncs };
        let synced = Faults::check(&self.faults.syncs)
            .and_then(|()| Faults::check(fails))
            .and_then(|()| self.medium.sync());
        self.failed.fetch_or(synced.is_err(), Relaxed);
        synced
    }
}

pub fn open_bad(temp: &Temp, sync: SyncPolicy) -> (Arc<Journal>, Arc<Faults>) {
    open_on(temp, sync, LEASE, SAY, Faults::default())
}

/// Opens a journal on a disk that has these faults from the beginning.
pub fn open_on(
    temp: &Temp,
    sync: SyncPolicy,
    lease: Millis,
    say: Say,
    faults: Faults,
) -> (Arc<Journal>, Arc<Faults>) {
    let directory = Directory::open(&temp.0).unwrap();
    let memory = Memory::new(policy(lease));
    let found = replay::replay(&directory, &memory, lease, say).unwrap();
    let faults = Arc::new(faults);
    let disk = Box::new(BadDisk(directory, Arc::clone(&faults)));
    let journal = Journal::begin(memory, disk, Health::new("bad".into(), say), sync, found);
    (Arc::new(journal.unwrap()), faults)
}

/// Waits until the journal takes changes again, or does so no more.
#[track_caller]
pub fn wait_for(journal: &Journal, up: bool) {
    until(|| {
        // As the sweeper does all the time.
        journal.watch(Timestamp::BEGINNING);
        journal.is_up() == up
    });
}

pub const NOW: Timestamp = Timestamp::BEGINNING;

/// What all faults have in common: nothing is acknowledged that is not kept, questions are answered, and it goes on by
/// itself.
fn check(sync: SyncPolicy, fail: impl Fn(&Faults), mend: impl Fn(&Faults)) {
    let temp = Temp::new();
    let (journal, faults) = open_bad(&temp, sync);
    let (mut client, mut other) = (Client::new(&journal), Client::new(&journal));
    assert_eq!(client.one(NOW, "ann", "a", START), (Started, 1));
    assert_eq!(client.one(NOW, "ann", "a", BEAT), (Renewed, 1));
    assert_eq!(client.one(NOW, "zoe", "a", START), (Started, 1));
    settle(&journal);
    fail(&faults);
    // With `second` a failed sync is seen later than what was answered before it.
    let is_written = client.one(NOW, "ann", "b", START).0 == Started;
    if is_written {
        assert_eq!(sync, SyncPolicy::Second);
        wait_for(&journal, false);
    }
    assert!(!journal.is_up());
    for client in [&mut client, &mut other] {
        assert_eq!(client.one(NOW, "ann", "b", Action::End), (Unavailable, 0));
        let beat = if is_written { (Renewed, 2) } else { (Unavailable, 0) };
        assert_eq!(client.one(NOW, "ann", "a", BEAT), beat, "her last change may not be kept");
        assert_eq!(client.one(NOW, "zoe", "a", BEAT), (Renewed, 1), "a lease is renewed all the same");
        assert_eq!(client.one(NOW, "zoe", "a", PAUSE), (Unavailable, 0));
        assert_eq!(client.one(NOW, "zoe", "b", Action::End), (Unknown, 1));
        assert_eq!(client.one(NOW, "bob", "a", START), (Unavailable, 0));
        assert_eq!(client.one(NOW, "ann", "a", Action::Look).0, Info);
        assert_eq!(client.one(NOW, "bob", "a", Action::Look), (Info, 0), "it was not even tried");
    }
    mend(&faults);
    wait_for(&journal, true);
    assert_eq!(client.one(NOW, "ann", "b", START), (Renewed, 2), "it had been made after all");
    assert_eq!(other.one(NOW, "ann", "c", START), (Started, 3));
    assert_eq!(faults.misplaced.load(Relaxed), 0);
    drop((client, other, journal));
    let (journal, start) = open(&temp, sync);
    let mut client = Client::new(&journal);
    assert_eq!(client.one(start, "ann", "b", Action::End), (Ended, 2));
    assert_eq!(client.one(start, "ann", "c", Action::End), (Ended, 1));
    assert_eq!(client.one(start, "bob", "a", BEAT), (Unknown, 0));
}

#[test]
fn a_write_that_fails() {
    for sync in [SyncPolicy::Always, SyncPolicy::Second] {
        check(sync, |f| f.writes.store(true, Relaxed), |f| f.writes.store(false, Relaxed));
    }
}

#[test]
fn a_write_that_ends_half_way() {
    for space in (1..60).step_by(7) {
        let fail = |faults: &Faults| {
            faults.space.store(space, Relaxed);
            faults.writes.store(true, Relaxed);
        };
        check(SyncPolicy::Always, fail, |f| f.writes.store(false, Relaxed));
    }
}

#[test]
fn a_sync_that_fails() {
    for sync in [SyncPolicy::Always, SyncPolicy::Second] {
        check(sync, |f| f.syncs.store(true, Relaxed), |f| f.syncs.store(false, Relaxed));
    }
}

#[test]
fn a_sync_that_fails_when_no_new_file_can_be_had() {
    let new_files: [Fault; 2] = [|faults| &faults.creates, |faults| &faults.directory_syncs];
    for new_files in new_files {
        let fail = |faults: &Faults| {
            faults.syncs.store(true, Relaxed);
            new_files(faults).store(true, Relaxed);
        };
        let mend = |faults: &Faults| {
            faults.syncs.store(false, Relaxed);
            std::thread::sleep(std::time::Duration::from_millis(300));
            new_files(faults).store(false, Relaxed);
        };
        check(SyncPolicy::Always, fail, mend);
    }
}

/// A client of whose first start the sync hangs.
fn hanging(temp: &Temp) -> (Arc<Journal>, Arc<Faults>, Client, Batch) {
    let (journal, faults) = open_bad(temp, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    assert_eq!(client.one(NOW, "zoe", "a", START), (Started, 1));
    settle(&journal);
    let begun = faults.begun.load(Relaxed) + 1;
    faults.hangs.store(true, Relaxed);
    let batch = client.submit(NOW, &[("ann", "a", START)]);
    assert!(batch.waits());
    until(|| faults.begun.load(Relaxed) > begun);
    (journal, faults, client, batch)
}

#[test]
fn what_is_written_and_waits_is_given_up_when_no_more_can_be_written() {
    let temp = Temp::new();
    let (journal, faults, mut client, mut first) = hanging(&temp);
    let mut second = client.submit(NOW, &[("ann", "b", START)]);
    faults.writes.store(true, Relaxed);
    faults.hangs.store(false, Relaxed);
    client.wait(NOW, 2, &mut first);
    assert_eq!(first.entries[0].outcome.verdict, Started, "it is on the disk");
    client.wait(NOW, 3, &mut second);
    assert_eq!(second.entries[0].outcome.verdict, Unavailable, "as long as the disk is full");
    faults.writes.store(false, Relaxed);
    wait_for(&journal, true);
    assert_eq!(client.one(NOW, "ann", "b", START), (Renewed, 2), "it had been made after all");
}

/// The file that was abandoned goes as soon as a later one holds what it held.
#[test]
fn a_disk_that_takes_headers_and_fails_data_does_not_fill_with_files() {
    let temp = Temp::new();
    let (journal, faults) = open_bad(&temp, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    assert_eq!(client.one(NOW, "ann", "a", START), (Started, 1));
    faults.data_syncs.store(true, Relaxed);
    assert_eq!(client.one(NOW, "ann", "b", START), (Unavailable, 0));
    until(|| failures(&journal) > 5);
    assert!(temp.files().len() <= 4, "{:?}", temp.files());
    faults.data_syncs.store(false, Relaxed);
    wait_for(&journal, true);
    drop((client, journal));
    let (journal, start) = open(&temp, SyncPolicy::Always);
    assert_eq!(Client::new(&journal).one(start, "ann", "a", Action::Look), (Info, 2));
}

pub fn failed(journal: &Journal, kind: Failing) -> u64 {
    journal.ledger.health.failures()[kind as usize]
}

/// Of what has failed since `begun` there were no more attempts than pauses of one second, two, four and so on allow.
#[track_caller]
pub fn check_pauses(journal: &Journal, kind: Failing, begun: Instant) {
    // The time is looked at last: the machine may stand still in between.
    let (failed, elapsed) = (failed(journal, kind), begun.elapsed());
    let most = 1 + (1 + elapsed.as_secs()).ilog2();
    assert!((1..=most.into()).contains(&failed), "{failed} attempts in {elapsed:?}");
}

pub fn failures(journal: &Journal) -> u64 {
    journal.ledger.health.failures().iter().sum()
}

#[test]
fn what_fits_into_no_file_does_not_make_more_and_more_of_them() {
    let temp = Temp::new();
    let (journal, faults) = open_bad(&temp, SyncPolicy::Always);
    let (mut client, long) = (Client::new(&journal), "x".repeat(300));
    faults.most.store(200, Relaxed);
    assert_eq!(client.one(NOW, "ann", &long, START), (Unavailable, 0));
    until(|| failures(&journal) >= 6);
    assert!(temp.files().len() <= 2, "{:?}", temp.files());
    faults.most.store(0, Relaxed);
    wait_for(&journal, true);
    assert_eq!(client.one(NOW, "ann", &long, START), (Renewed, 1));
}

#[test]
fn a_killed_server_has_what_it_answered_before_a_sync_failed() {
    let temp = Temp::new();
    let (journal, faults) = open_bad(&temp, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    client.one(NOW, "ann", "a", START);
    let moved = Action::Beat { position: Some(Position::from_secs(7)), playing: None };
    client.one(NOW, "ann", "a", moved);
    settle(&journal);
    faults.syncs.store(true, Relaxed);
    assert_eq!(client.one(NOW, "bob", "a", START), (Unavailable, 0));
    // What is in the files at this moment is what a kill would leave.
    let copy = Temp::new();
    fs::create_dir_all(&copy.0).unwrap();
    for file in temp.files() {
        fs::copy(&file, copy.0.join(file.file_name().unwrap())).unwrap();
    }
    let (journal, start) = open(&copy, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    let (batch, _) = client.turn(start, &[("ann", "", Action::List)]);
    assert_eq!(batch.streams(&batch.entries[0].outcome)[0].position.secs(), 7);
}
