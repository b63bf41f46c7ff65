//! A journal that is opened, used, broken and opened again.
//!
//! *Invariant:* time is an argument here too; a test waits only for a thread, never for a length of time to be long enough.

mod faults;
mod power;
mod retention;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::task::Wake;

use super::*;
use crate::store::Interest;
use crate::streams::account::WhenFull;
use crate::streams::arena::Word;
use crate::streams::batch::{Action, Command, Replace, Verdict, Why};
use crate::streams::position::Position;
use crate::time::Millis;

/// The tests' harness shows what goes through this macro only when a test fails.
const SAY: Say = |text| eprintln!("{text}");
const LEASE: Millis = Millis::from_secs(90);
const START: Action = Action::Start { position: None, replace: Replace::ByPolicy, switch: false };
const BEAT: Action = Action::Beat { position: None, playing: None };
const PAUSE: Action = Action::Beat { position: None, playing: Some(false) };

/// A directory of its own for one test, which goes with it.
struct Temp(PathBuf);

impl Temp {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("streamer-journal-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        // In memory where there is such a place: these tests sync a great deal.
        let shm = Path::new("/dev/shm");
        let parent = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        Self(parent.join(name))
    }

    /// The journal files, the lowest number first.
    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        files.sort();
        files
    }

    /// How many tails have been kept aside.
    fn torn(&self) -> usize {
        let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".torn")).count()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A journal does not watch sockets.
struct NoSockets;

impl Registry for NoSockets {
    fn watch(&mut self, _: std::os::fd::BorrowedFd<'_>, _: u32, _: Interest) -> io::Result<()> {
        Ok(())
    }

    fn unwatch(&mut self, _: std::os::fd::BorrowedFd<'_>) {}
}

/// How a session wakes the thread that waits for it.
#[derive(Default)]
struct Woken(Mutex<bool>, Condvar);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

impl Woken {
    fn wait(&self) {
        let timeout = std::time::Duration::from_secs(60);
        let woken = self.1.wait_timeout_while(self.0.lock().unwrap(), timeout, |woken| !*woken);
        let (mut woken, waited) = woken.unwrap();
        assert!(!waited.timed_out(), "nothing wakes the worker");
        *woken = false;
    }
}

/// A worker that does one turn after the other.
struct Client {
    session: Box<dyn Session>,
    woken: Arc<Woken>,
}

impl Client {
    fn new(journal: &Arc<Journal>) -> Self {
        let woken = Arc::new(Woken::default());
        let session = Arc::clone(journal).session(Arc::clone(&woken).into()).unwrap();
        Self { session, woken }
    }

    fn submit(&mut self, now: Timestamp, commands: &[(&str, &str, Action)]) -> (Batch, Submitted) {
        let mut batch = Batch::default();
        for (user, key, action) in commands {
            let (user, key) = (batch.arena.add(user.as_bytes()), batch.arena.add(key.as_bytes()));
            batch.push(Command { user, key, limit: 3, action: *action });
        }
        let submitted = self.session.submit(now, &mut batch, &mut NoSockets);
        (batch, submitted)
    }

    fn turn(&mut self, now: Timestamp, commands: &[(&str, &str, Action)]) -> (Batch, Submitted) {
        let (mut batch, submitted) = self.submit(now, commands);
        if submitted == Submitted::Pending && !self.is_kept() {
            batch.refuse_changes();
        }
        (batch, submitted)
    }

    /// Waits until it is known.
    fn is_kept(&mut self) -> bool {
        loop {
            if let Some((_, kept)) = self.session.kept() {
                return kept;
            }
            self.woken.wait();
        }
    }

    fn run(&mut self, now: Timestamp, commands: &[(&str, &str, Action)]) -> Vec<(Verdict, u32)> {
        let (batch, _) = self.turn(now, commands);
        batch.entries.iter().map(|entry| (entry.outcome.verdict, entry.outcome.count)).collect()
    }

    fn one(&mut self, now: Timestamp, user: &str, key: &str, action: Action) -> (Verdict, u32) {
        self.run(now, &[(user, key, action)])[0]
    }
}

fn policy(lease: Millis) -> Policy {
    let adopt_until = Timestamp::default();
    Policy { lease, when_full: WhenFull::Refuse, one_per_device: false, adopt_until }
}

fn open(temp: &Temp, sync: SyncPolicy) -> (Arc<Journal>, Timestamp) {
    let (journal, start) = Journal::open(&temp.0, policy(LEASE), sync, SAY).unwrap();
    (Arc::new(journal), start)
}

fn secs(secs: u64) -> Millis {
    Millis::from_secs(secs)
}

use Verdict::{Ended, Gone, Held, Info, Renewed, Started, Unavailable, Unknown};

#[test]
fn what_was_answered_is_there_after_a_restart() {
    let temp = Temp::new();
    let (journal, start) = open(&temp, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    let hold = Action::Hold { length: secs(3600), message: Word::default() };
    let said = client.run(
        start,
        &[
            ("ann", "a", START),
            ("ann", "b", START),
            ("ann", "b", PAUSE),
            (
                "ann",
                "c",
                Action::Start {
                    position: Some(Position::from_secs(62)),
                    replace: Replace::ByPolicy,
                    switch: false,
                },
            ),
            ("bob", "a", START),
            ("bob", "a", Action::End),
            ("carl", "a", START),
            ("carl", "", hold),
        ],
    );
    let verdicts: Vec<Verdict> = said.into_iter().map(|(verdict, _)| verdict).collect();
    assert_eq!(verdicts, [Started, Started, Renewed, Started, Started, Ended, Started, Ended]);
    assert_eq!(client.one(start + secs(10), "ann", "a", BEAT), (Renewed, 2));
    drop(client);
    drop(journal);

    let (journal, start) = open(&temp, SyncPolicy::Always);
    assert_eq!(start, Timestamp::BEGINNING + secs(10));
    let mut client = Client::new(&journal);
    let (batch, _) = client.turn(start, &[("ann", "", Action::List)]);
    let listed = batch.streams(&batch.entries[0].outcome);
    let streams: Vec<_> = listed.iter().map(|s| (s.position.secs(), s.playing, s.expires_in)).collect();
    assert_eq!(streams, [(0, true, LEASE), (0, false, LEASE), (62, true, LEASE)]);
    assert_eq!(client.one(start, "ann", "z", START), (Started, 3));
    assert_eq!(client.one(start, "bob", "a", BEAT), (Gone(Why::Stopped), 0));
    assert_eq!(client.one(start, "carl", "a", START), (Held, 0));
    assert_eq!(client.one(start, "dora", "a", BEAT), (Unknown, 0), "nothing is adopted");
}

#[test]
fn an_empty_journal_adopts_for_one_lease() {
    let temp = Temp::new();
    let (journal, start) = open(&temp, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    assert_eq!(client.one(start, "ann", "a", BEAT), (Renewed, 1));
    assert_eq!(client.one(start + LEASE, "bob", "a", BEAT), (Unknown, 0));
}

/// The lease clock stands still while the server does, and each start gives those who lived a fresh lease.
#[test]
fn who_was_renewed_before_several_restarts_lives_on() {
    let temp = Temp::new();
    let (journal, start) = open(&temp, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    client.one(start, "ann", "a", START);
    client.one(start + secs(80), "bob", "a", START);
    drop((client, journal));
    for n in 1..=5 {
        let (journal, now) = open(&temp, SyncPolicy::Always);
        assert_eq!(now, start + secs(80) + secs(60 * (n - 1)));
        let mut client = Client::new(&journal);
        // A lease and more after ann's only record she lives, but only because of the starts since.
        client.one(now + secs(60), "bob", "a", BEAT);
    }
    let (journal, now) = open(&temp, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    assert_eq!(client.one(now + secs(89), "ann", "a", BEAT), (Renewed, 1));
    assert_eq!(client.one(now + secs(90), "bob", "b", BEAT), (Unknown, 0));
}

#[test]
fn the_last_record_of_a_user_holds_in_whatever_file_it_is() {
    let temp = Temp::new();
    let (journal, start) = open(&temp, SyncPolicy::Always);
    let mut clients = [Client::new(&journal), Client::new(&journal), Client::new(&journal)];
    for i in 0..30 {
        let (n, key) = (i % 3, format!("v{i}"));
        assert_eq!(clients[n].one(start, "ann", &key, START), (Started, 1));
        assert_eq!(clients[(i * 7 + 1) % 3].one(start, "ann", &key, Action::End), (Ended, 0));
    }
    clients[1].one(start, "ann", "last", START);
    drop((clients, journal));
    let (journal, start) = open(&temp, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    assert_eq!(client.one(start, "ann", "last", Action::Look), (Info, 1));
    assert_eq!(client.one(start, "ann", "v29", BEAT), (Gone(Why::Stopped), 1));
}

#[test]
fn heartbeats_and_questions_wait_for_no_sync_and_with_second_nothing_does() {
    for (sync, started) in [(SyncPolicy::Always, Submitted::Pending), (SyncPolicy::Second, Submitted::Done)] {
        let temp = Temp::new();
        let (journal, start) = open(&temp, sync);
        let mut client = Client::new(&journal);
        for (action, expected) in [
            (START, started),
            (START, Submitted::Done),
            (BEAT, Submitted::Done),
            (Action::Look, Submitted::Done),
            (PAUSE, started),
            (Action::End, started),
        ] {
            let (_, submitted) = client.turn(start, &[("ann", "a", action)]);
            assert_eq!(submitted, expected, "{action:?}");
        }
    }
}

#[test]
fn a_directory_serves_one_server() {
    let temp = Temp::new();
    let (journal, _) = open(&temp, SyncPolicy::Always);
    let error = Journal::open(&temp.0, policy(LEASE), SyncPolicy::Always, SAY).err().unwrap();
    assert!(
        error.ends_with("another server uses this directory; stop it, or name another directory"),
        "{error}"
    );
    drop(journal);
    open(&temp, SyncPolicy::Always);
}

#[test]
fn what_is_no_directory_is_refused_with_a_hint() {
    let temp = Temp::new();
    fs::write(&temp.0, "").unwrap();
    let error = Journal::open(&temp.0, policy(LEASE), SyncPolicy::Always, SAY).err().unwrap();
    assert!(error.ends_with("; name a directory"), "{error}");
    let error = Journal::open(&temp.0.join("x"), policy(LEASE), SyncPolicy::Always, SAY).err().unwrap();
    assert!(error.ends_with("; name a directory"), "{error}");
    fs::remove_file(&temp.0).unwrap();
}

#[test]
fn a_panic_under_way_leaves_a_whole_journal() {
    let temp = Temp::new();
    let (journal, start) = open(&temp, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    let lane = Arc::clone(&journal.lanes()[0]);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let mut writer = lane.writer();
        writer.record(u64::MAX / 2, b"zoe", start, |_| panic!("as it was to be"));
    }));
    assert!(caught.is_err());
    assert_eq!(client.one(start, "ann", "a", START), (Started, 1));
    drop((client, journal, lane));
    let (journal, start) = open(&temp, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    assert_eq!(client.one(start, "ann", "a", Action::Look), (Info, 1));
    assert_eq!(journal.census().unwrap().users.iter().sum::<u64>(), 1);
}
