//! A journal that is opened, used, broken and opened again.
//!
//! *Invariant:* time is an argument here too; a test waits only for a thread, never for a length of time to be long
//! enough. (Not tested.)

mod cuts;
mod faults;
mod hangs;
mod power;
mod retention;
mod upkeep;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::task::Wake;

use super::*;
use crate::poller::{Poll, Poller};
use crate::streams::arena::Word;
use crate::streams::batch::{Action, Command, Ending, Replace, Verdict};
use crate::streams::position::Position;
use crate::time::Millis;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The tests' harness shows what goes through this macro only when a test fails.
const SAY: Say = |text| eprintln!("{text}");
const LEASE: Millis = Millis::from_secs(90);
const START: Action = Action::start();
const BEAT: Action = Action::beat();
const PAUSE: Action = Action::pause();

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

/// So long a stop waits for the disk.
const STOP: Duration = Duration::from_secs(10);

/// As the server does in the end.
impl Drop for Journal {
    fn drop(&mut self) {
        let _ = self.stop(STOP);
    }
}

/// How a session wakes the thread that waits for it.
#[derive(Default)]
struct Woken(Mutex<bool>, Condvar);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *lock(&self.0) = true;
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
    poller: Poller,
    woken: Arc<Woken>,
    tickets: Ticket,
}

impl Client {
    fn new(journal: &Arc<Journal>) -> Self {
        let woken = Arc::new(Woken::default());
        let session = Arc::clone(journal).session(Arc::clone(&woken).into()).unwrap();
        Self { session, poller: Poller::new(1).unwrap(), woken, tickets: 0 }
    }

    /// The batch may wait under the last ticket.
    fn submit(&mut self, now: Timestamp, commands: &[(&str, &str, Action)]) -> Batch {
        let mut batch = Batch::default();
        for (user, key, action) in commands {
            let (user, key) = (batch.arena.add(user.as_bytes()), batch.arena.add(key.as_bytes()));
            batch.push(Command::new(user, key, 3, *action));
        }
        self.tickets += 1;
        self.session.submit(now, self.tickets, &mut batch, &mut Registry(&mut self.poller));
        batch
    }

    /// What came of the commands, and whether any had to wait.
    fn turn(&mut self, now: Timestamp, commands: &[(&str, &str, Action)]) -> (Batch, bool) {
        let mut batch = self.submit(now, commands);
        let waited = batch.waits();
        if waited {
            self.wait(now, self.tickets, &mut batch);
        }
        (batch, waited)
    }

    /// Waits until there is news of that batch.
    fn wait(&mut self, now: Timestamp, ticket: Ticket, batch: &mut Batch) {
        let registry = &mut Registry(&mut self.poller);
        while batch.waits() {
            match self.session.complete(now, registry) {
                Some(news_of) => {
                    assert_eq!(news_of, ticket);
                    self.session.resume(now, ticket, batch, registry);
                }
                None => self.woken.wait(),
            }
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

/// Waits until nothing is left that is not on the disk.
fn settle(journal: &Journal) {
    until(|| journal.lane.mailbox.look(|queue| queue.oldest().is_none()));
}

/// The last sequence number that was drawn.
fn drawn(journal: &Journal) -> u64 {
    journal.lane.mailbox.look(|queue| queue.sequence)
}

/// Waits until it is so.
#[track_caller]
fn until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn policy(lease: Millis) -> Policy {
    Policy::new(lease)
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
    assert_eq!(client.one(start, "bob", "a", BEAT), (Gone(Ending::Stopped), 0));
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
        settle(&journal);
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
    assert_eq!(client.one(start, "ann", "v29", BEAT), (Gone(Ending::Stopped), 1));
}

#[test]
fn changes_wait_and_heartbeats_and_questions_do_not() {
    for sync in [SyncPolicy::Always, SyncPolicy::Second] {
        let temp = Temp::new();
        let (journal, start) = open(&temp, sync);
        let mut client = Client::new(&journal);
        for (action, expected) in [
            (START, true),
            // A new generation, which a heartbeat may name.
            (START, true),
            (BEAT, false),
            (Action::Look, false),
            (PAUSE, true),
            (Action::End, true),
        ] {
            let (_, waited) = client.turn(start, &[("ann", "a", action)]);
            assert_eq!(waited, expected, "{action:?}");
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
fn a_panic_under_way_leaves_whole_records() {
    let mut records = Vec::new();
    format::put_record(1, b"ann", |out| out.push(b'x'), &mut records);
    let panics = AssertUnwindSafe(|| {
        let half = |out: &mut Vec<u8>| {
            out.push(b'z');
            panic!("this panic is part of the test")
        };
        format::put_record(2, b"zoe", half, &mut records);
    });
    assert!(catch_unwind(panics).is_err());
    format::put_record(3, b"bob", |out| out.push(b'y'), &mut records);
    let (ann, at) = format::read_record(&records).unwrap();
    let (bob, rest) = format::read_record(&records[at..]).unwrap();
    assert_eq!((ann.user, bob.user, at + rest), (&b"ann"[..], &b"bob"[..], records.len()));
}

#[test]
fn a_user_who_renews_a_thousand_times_is_written_once_a_second() {
    let temp = Temp::new();
    let (journal, start) = open(&temp, SyncPolicy::Always);
    let (mut client, mut other) = (Client::new(&journal), Client::new(&journal));
    client.one(start, "ann", "a", START);
    settle(&journal);
    let (before, begun) = (drawn(&journal), Instant::now());
    for n in 1..=1000 {
        let moved = Action::Beat { position: Some(Position::from_secs(n)), playing: None };
        let client = if n % 2 == 0 { &mut client } else { &mut other };
        assert_eq!(client.one(start, "ann", "a", moved), (Renewed, 1));
    }
    settle(&journal);
    let records = drawn(&journal) - before;
    let ticks = begun.elapsed().as_millis() / 20;
    // One more is the first copy's.
    assert!((1..=ticks as u64 + 2).contains(&records), "{records} in {ticks}");
    drop((client, other, journal));
    let (journal, start) = open(&temp, SyncPolicy::Always);
    let (batch, _) = Client::new(&journal).turn(start, &[("ann", "", Action::List)]);
    assert_eq!(batch.streams(&batch.entries[0].outcome)[0].position.secs(), 1000);
}

#[test]
fn a_shorter_lease_shortens_what_lives() {
    let temp = Temp::new();
    let (journal, start) = open(&temp, SyncPolicy::Always);
    Client::new(&journal).one(start, "ann", "a", START);
    drop(journal);
    let (journal, start) = Journal::open(&temp.0, policy(secs(10)), SyncPolicy::Always, SAY).unwrap();
    let mut client = Client::new(&Arc::new(journal));
    let (batch, _) = client.turn(start, &[("ann", "", Action::List)]);
    assert_eq!(batch.streams(&batch.entries[0].outcome)[0].expires_in, secs(10));
}
