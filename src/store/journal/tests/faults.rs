//! A disk that fails. Where the system can be made to fail, `tests/it/journal.rs` does that; here is what it cannot be made
//! to do.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::*;
use crate::store::journal::directory::Medium;

/// What fails.
#[derive(Default)]
struct Faults {
    /// So many bytes can be written yet.
    space: AtomicUsize,
    /// So long a file may become; 0 for as long as one likes.
    most: AtomicUsize,
    writes: AtomicBool,
    syncs: AtomicBool,
    truncates: AtomicBool,
    /// Syncs do not return.
    hangs: AtomicBool,
    /// How many syncs have begun.
    begun: AtomicUsize,
    creates: AtomicBool,
    /// How many writes there were to a file whose sync had failed.
    misplaced: AtomicUsize,
}

impl Faults {
    fn check(fails: &AtomicBool) -> io::Result<()> {
        // EIO
        if fails.load(Relaxed) { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

struct BadDisk(Directory, Arc<Faults>);

struct BadFile {
    medium: Arc<dyn Medium>,
    faults: Arc<Faults>,
    failed: AtomicBool,
}

impl Disk for BadDisk {
    fn check(&self) -> io::Result<()> {
        self.0.check()
    }

    fn create(&self, number: u64) -> io::Result<Arc<dyn Medium>> {
        Faults::check(&self.1.creates)?;
        let (medium, faults) = (self.0.create(number)?, Arc::clone(&self.1));
        Ok(Arc::new(BadFile { medium, faults, failed: AtomicBool::new(false) }))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        self.0.remove(number)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn control(&self) -> &dyn Medium {
        self.0.control()
    }
}

impl Medium for BadFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.faults.misplaced.fetch_add(usize::from(self.failed.load(Relaxed)), Relaxed);
        let most = self.faults.most.load(Relaxed);
        if most > 0 && offset as usize + bytes.len() > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let space = self.faults.space.load(Relaxed).min(bytes.len());
        if space > 0 {
            self.faults.space.fetch_sub(space, Relaxed);
            return self.medium.write_at(&bytes[..space], offset);
        }
        Faults::check(&self.faults.writes)?;
        self.medium.write_at(bytes, offset)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        Faults::check(&self.faults.truncates)?;
        self.medium.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.begun.fetch_add(1, Relaxed);
        while self.faults.hangs.load(Relaxed) {
            std::thread::yield_now();
        }
        let synced = Faults::check(&self.faults.syncs).and_then(|()| self.medium.sync());
        self.failed.fetch_or(synced.is_err(), Relaxed);
        synced
    }
}

fn open_bad(temp: &Temp, sync: SyncPolicy) -> (Arc<Journal>, Arc<Faults>) {
    let directory = Directory::open(&temp.0).unwrap();
    let memory = Memory::new(policy(LEASE));
    let found = replay::replay(&directory, &memory, LEASE, SAY).unwrap();
    let faults = Arc::new(Faults::default());
    let disk = Box::new(BadDisk(directory, Arc::clone(&faults)));
    let journal = Journal::begin(disk, "bad".into(), SAY, memory, LEASE, sync, found).unwrap();
    (Arc::new(journal), faults)
}

/// Waits until the journal takes changes again, or does so no more.
fn wait_for(journal: &Journal, up: bool) {
    while journal.is_up() != up {
        std::thread::yield_now();
    }
}

const NOW: Timestamp = Timestamp::BEGINNING;

/// What all faults have in common: nothing is acknowledged that is not kept, questions are answered, and it goes on by
/// itself.
fn check(sync: SyncPolicy, fail: impl Fn(&Faults), mend: impl Fn(&Faults)) {
    let temp = Temp::new();
    let (journal, faults) = open_bad(&temp, sync);
    let (mut client, mut other) = (Client::new(&journal), Client::new(&journal));
    assert_eq!(client.one(NOW, "ann", "a", START), (Started, 1));
    assert_eq!(client.one(NOW, "ann", "a", BEAT), (Renewed, 1));
    fail(&faults);
    // With `second` a failed sync is seen later than what was answered before it.
    if client.one(NOW, "ann", "b", START).0 == Started {
        assert_eq!(sync, SyncPolicy::Second);
        wait_for(&journal, false);
    }
    assert!(!journal.is_up());
    for client in [&mut client, &mut other] {
        assert_eq!(client.one(NOW, "ann", "b", Action::End), (Unavailable, 0));
        assert_eq!(client.one(NOW, "ann", "a", BEAT), (Unavailable, 0));
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
fn a_half_write_that_cannot_even_be_cut_off() {
    let fail = |faults: &Faults| {
        faults.space.store(50, Relaxed);
        faults.writes.store(true, Relaxed);
        faults.truncates.store(true, Relaxed);
    };
    check(SyncPolicy::Always, fail, |f| f.writes.store(false, Relaxed));
}

#[test]
fn a_sync_that_fails() {
    for sync in [SyncPolicy::Always, SyncPolicy::Second] {
        check(sync, |f| f.syncs.store(true, Relaxed), |f| f.syncs.store(false, Relaxed));
    }
}

#[test]
fn a_sync_that_fails_when_no_new_file_can_be_had() {
    let fail = |faults: &Faults| {
        faults.syncs.store(true, Relaxed);
        faults.creates.store(true, Relaxed);
    };
    let mend = |faults: &Faults| {
        faults.syncs.store(false, Relaxed);
        std::thread::sleep(std::time::Duration::from_millis(300));
        faults.creates.store(false, Relaxed);
    };
    check(SyncPolicy::Always, fail, mend);
}

/// A client of whose first start the sync hangs.
fn hanging(temp: &Temp) -> (Arc<Journal>, Arc<Faults>, Client) {
    let (journal, faults) = open_bad(temp, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    let begun = faults.begun.load(Relaxed);
    faults.hangs.store(true, Relaxed);
    assert_eq!(client.submit(NOW, &[("ann", "a", START)]).1, Submitted::Pending);
    while faults.begun.load(Relaxed) == begun {
        std::thread::yield_now();
    }
    (journal, faults, client)
}

#[test]
fn what_is_written_and_waits_is_given_up_when_no_more_can_be_written() {
    let temp = Temp::new();
    let (journal, faults, mut client) = hanging(&temp);
    assert_eq!(client.submit(NOW, &[("ann", "b", START)]).1, Submitted::Pending);
    faults.writes.store(true, Relaxed);
    assert_eq!(client.one(NOW, "ann", "c", START), (Unavailable, 0));
    faults.hangs.store(false, Relaxed);
    assert!(client.is_kept(), "the first is on the disk");
    assert!(!client.is_kept(), "the second is not, as long as the disk is full");
    faults.writes.store(false, Relaxed);
    wait_for(&journal, true);
    assert_eq!(client.one(NOW, "ann", "b", START), (Renewed, 3), "all had been made after all");
}

#[test]
fn a_disk_that_does_not_answer_has_failed() {
    let temp = Temp::new();
    let (journal, faults, mut client) = hanging(&temp);
    let (due, early) = (NOW + SYNC_TIMEOUT, NOW + Millis::from_millis(SYNC_TIMEOUT.millis() - 1));
    assert_eq!(client.session.deadline(), Some(due));
    assert!(client.session.complete(early, &mut NoSockets).is_none() && client.session.kept().is_none());
    assert!(client.session.complete(due, &mut NoSockets).is_none() && !client.is_kept());
    assert_eq!((client.session.deadline(), journal.is_up()), (None, false));
    assert_eq!(client.one(due, "ann", "b", START), (Unavailable, 0));
    assert_eq!(client.one(due, "ann", "b", Action::Look), (Info, 1));
    faults.hangs.store(false, Relaxed);
    wait_for(&journal, true);
    assert_eq!(client.one(due, "ann", "a", START), (Renewed, 1));
}

#[test]
fn what_is_measured_is_told_while_the_sweeper_waits_for_the_disk() {
    let temp = Temp::new();
    let (journal, faults) = open_bad(&temp, SyncPolicy::Always);
    // A hold is what the sweeper writes again, and syncs.
    let hold = Action::Hold { length: Millis::from_secs(1000), message: Word::default() };
    assert_eq!(Client::new(&journal).one(NOW, "ann", "", hold).0, Ended);
    faults.hangs.store(true, Relaxed);
    let begun = faults.begun.load(Relaxed);
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while faults.begun.load(Relaxed) == begun {
                journal.sweep(NOW);
            }
        });
        while faults.begun.load(Relaxed) == begun {
            std::thread::yield_now();
        }
        scope.spawn(|| told.send(journal.measures()));
        let measures = heard.recv_timeout(std::time::Duration::from_secs(10));
        faults.hangs.store(false, Relaxed);
        assert!(measures.is_ok_and(|measures| !measures.is_empty()));
    });
}

#[test]
fn what_fits_into_no_file_does_not_make_more_and_more_of_them() {
    let temp = Temp::new();
    let (journal, faults) = open_bad(&temp, SyncPolicy::Always);
    let (mut client, long) = (Client::new(&journal), "x".repeat(300));
    faults.most.store(200, Relaxed);
    assert_eq!(client.one(NOW, "ann", &long, START), (Unavailable, 0));
    while journal.files.counters.failures.load(Relaxed) < 9 {
        std::thread::yield_now();
    }
    // The sweeper's, the client's, and one that is about to take its place.
    assert!(temp.files().len() <= 3, "{:?}", temp.files());
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
