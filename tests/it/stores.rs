//! One suite for all engines: random commands, and each outcome must be the one that streams in memory give.
//!
//! The journal is opened anew every now and then. Redis is tried when `STREAMER_TEST_STORE` names one.

use std::path::Path;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use streamer::poller::{Poll, Poller, Registry, engine_key};
use streamer::store::journal::{Journal, SyncPolicy};
use streamer::store::memory::Memory;
use streamer::store::redis::url::Url;
use streamer::store::redis::{Redis, Settings};
use streamer::store::{Session, Store, Ticket};
use streamer::streams::account::Policy;
use streamer::streams::batch::{Action, Batch, Command, Outcome, Replace, StreamView, Verdict};
use streamer::streams::limits::Limits;
use streamer::streams::position::Position;
use streamer::time::{Millis, Timestamp};

use crate::server::{PATIENCE, Scratch, shared_store};

/// So long that nothing runs out.
fn policy() -> Policy {
    Policy { lease: Millis::from_secs(3600), ..Policy::default() }
}

/// A session, driven as a worker drives it.
struct Driver {
    store: Arc<dyn Store>,
    session: Box<dyn Session>,
    poller: Poller,
    /// What the clock showed at the beginning.
    start: Timestamp,
}

impl Driver {
    fn new(store: Arc<dyn Store>, start: Timestamp) -> Self {
        let session = Arc::clone(&store).session(Waker::noop().clone()).unwrap();
        Self { store, session, poller: Poller::new(16).unwrap(), start }
    }

    fn journal(path: &Path, sync: SyncPolicy) -> Self {
        let open = || Journal::open(path, policy(), sync, |text| println!("{text}"));
        let began = std::time::Instant::now();
        let (journal, start) = loop {
            match open() {
                // A program that another test is starting has the lock too, until it is what it is to be.
                Err(error) if error.contains("another server") && began.elapsed() < PATIENCE => {
                    std::thread::yield_now();
                }
                opened => break opened.unwrap(),
            }
        };
        Self::new(Arc::new(journal), start)
    }

    /// Has the batch carried out and kept, `elapsed` after the beginning.
    fn carry_out(&mut self, elapsed: Millis, ticket: Ticket, mut batch: Batch) -> Batch {
        let Self { session, poller, start, .. } = self;
        let now = *start + elapsed;
        session.submit(now, ticket, &mut batch, &mut Registry(poller));
        let began = std::time::Instant::now();
        let mut events = Vec::new();
        while batch.waits() {
            while let Some(news_of) = session.complete(now, &mut Registry(poller)) {
                assert_eq!(news_of, ticket);
                session.resume(now, ticket, &mut batch, &mut Registry(poller));
            }
            assert!(began.elapsed() < PATIENCE, "no outcome");
            poller.wait(&mut events, Some(Duration::from_millis(1))).unwrap();
            for key in events.iter().filter_map(|event| engine_key(event.token)) {
                session.ready(now, key, &mut Registry(poller));
            }
        }
        batch
    }
}

impl Drop for Driver {
    /// As the server does in the end.
    fn drop(&mut self) {
        assert_eq!(self.store.stop(PATIENCE), Ok(()));
    }
}

/// Vigna's "splitmix64".
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }

    fn is(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }

    fn key(&mut self) -> String {
        let id = self.below(6);
        if self.is(2) { format!("v{id}") } else { format!("v{id}\0d{}", self.below(2)) }
    }

    fn position(&mut self) -> Option<Position> {
        self.is(2).then(|| Position::from_secs(self.below(9000) as u32))
    }

    /// Some commands of some users.
    fn batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..=self.below(12) {
            let user = batch.arena.add(format!("user{}", self.below(10)).as_bytes());
            let (key, other, message) = (self.key(), self.key(), "because");
            let mut key = batch.arena.add(key.as_bytes());
            let replace = match self.below(4) {
                0 => Replace::Oldest,
                1 => Replace::Stream(batch.arena.add(other.as_bytes())),
                _ => Replace::ByPolicy,
            };
            let action = match self.below(20) {
                0..6 => Action::Start { position: self.position(), replace, switch: self.is(5) },
                6..11 => Action::Beat {
                    position: self.position(),
                    playing: [None, None, Some(true), Some(false)][self.below(4) as usize],
                },
                11 => Action::Gate { replace, switch: self.is(5) },
                12..15 => Action::End,
                15..17 => Action::Look,
                17 => Action::List,
                18 => Action::Evict { message: batch.arena.add(message.as_bytes()) },
                _ => {
                    let length = Millis::from_secs(if self.is(3) { 3000 } else { 0 });
                    Action::Hold { length, message: batch.arena.add(message.as_bytes()) }
                }
            };
            if matches!(action, Action::List | Action::Hold { .. }) {
                key = batch.arena.add(b"");
            }
            let limits = self.one(&["1", "2", "3", "3,mobile=1", "2,live=1,mobile=0"]);
            let limits = Limits::parse(limits.as_bytes()).unwrap().into_arena(&mut batch.arena);
            let classes = batch.arena.add(self.one(&["", "", "mobile", "live", "live,mobile"]).as_bytes());
            let if_match = if self.is(8) { self.one(&["\"0000000000000000\"", "\"no\""]) } else { "" };
            let if_match = batch.arena.add(if_match.as_bytes());
            batch.push(Command {
                classes,
                names_classes: self.is(2),
                generation: self.below(3),
                if_match,
                ..Command::new(user, key, limits, action)
            });
        }
        batch
    }
}

/// A stream as it is shown: its key, its classes, its generation, its position, and whether it plays.
type Shown = (Vec<u8>, Vec<u8>, u64, u32, bool);

/// All of an outcome but what is left of leases, which a restart makes fresh.
fn told(batch: &Batch, outcome: &Outcome) -> (Verdict, bool, u32, u16, u16, Vec<u8>, Vec<Shown>) {
    let text = |word| batch.findings.arena.get(word).to_vec();
    let shown = |s: &StreamView| (text(s.key), text(s.classes), s.generation, s.position.secs(), s.playing);
    let streams = batch.streams(outcome).iter().map(shown);
    let Outcome { verdict, can_watch, count, excess, notes, other, .. } = *outcome;
    (verdict, can_watch, count, excess, notes.replaced, text(other), streams.collect())
}

/// Runs the same commands in memory and on an engine, which `open` opens and may open anew.
fn check(batches: u32, reopen_every: u32, mut open: impl FnMut() -> Driver) {
    let seed = u64::from(std::process::id()) ^ u64::from(batches) << 32;
    println!("seed {seed}");
    let (mut commands, mut same) = (Random(seed), Random(seed));
    let memory_start = Timestamp::from_millis(86_400_000);
    let mut memory = Driver::new(Arc::new(Memory::new(policy())), memory_start);
    let mut engine = open();
    let mut opened = 0;
    for n in 0..batches {
        if n > 0 && n % reopen_every == 0 {
            // The old one is gone before the new one begins.
            drop(engine);
            (engine, opened) = (open(), n);
        }
        let elapsed = |since: u32| Millis::from_millis(u64::from(n - since) * 100);
        let expected = memory.carry_out(elapsed(0), n.into(), commands.batch());
        let found = engine.carry_out(elapsed(opened), n.into(), same.batch());
        for (found_entry, expected_entry) in found.entries.iter().zip(&expected.entries) {
            let user = String::from_utf8_lossy(expected.arena.get(expected_entry.command.user));
            let said = format!("batch {n}: {user} {:?}", expected_entry.command.action);
            assert_eq!(
                told(&found, &found_entry.outcome),
                told(&expected, &expected_entry.outcome),
                "{said}"
            );
        }
    }
}

#[test]
fn a_journal_gives_the_outcomes_of_memory_through_every_restart() {
    for sync in [SyncPolicy::Always, SyncPolicy::Second] {
        let scratch = Scratch::new(&format!("stores-{sync:?}"));
        let path = scratch.0.join("journal");
        // What would be adopted in an empty directory is no stream of memory's.
        let mut first = Driver::journal(&path, sync);
        let mut batch = Batch::default();
        let (user, key) = (batch.arena.add(b"first"), batch.arena.add(b"v"));
        batch.push(Command::new(user, key, 3, Action::start()));
        first.carry_out(Millis::ZERO, 0, batch);
        drop(first);
        check(1000, 37, || Driver::journal(&path, sync));
    }
}

#[test]
fn redis_gives_the_outcomes_of_memory() {
    let Some(url) = shared_store("stores") else { return };
    let settings = Settings {
        url: Url::parse(&url).unwrap(),
        timeout: Millis::from_secs(5),
        policy: policy(),
        say: |text| println!("{text}"),
    };
    let redis: Arc<dyn Store> = Arc::new(Redis::start(settings).unwrap());
    let start = Timestamp::from_millis(86_400_000);
    check(300, u32::MAX, || Driver::new(Arc::clone(&redis), start));
}
