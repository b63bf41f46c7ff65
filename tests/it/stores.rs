//! One suite for all engines: random commands, and each outcome must be the one that streams in memory give.
//!
//! The journal is opened anew every now and then. Redis is tried when `STREAMER_TEST_STORE` names one.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use streamer::codec::redis_url::Url;
use streamer::server::poller::{Poll, Poller};
use streamer::store::journal::{Journal, SyncPolicy};
use streamer::store::memory::Memory;
use streamer::store::redis::{Redis, Settings};
use streamer::store::{Interest, Registry, Session, Store, Submitted};
use streamer::streams::account::Policy;
use streamer::streams::batch::{Action, Batch, Command, Outcome, Replace, Verdict};
use streamer::streams::position::Position;
use streamer::time::{Millis, Timestamp};

use crate::server::{PATIENCE, Scratch, shared_store};

/// So long that nothing runs out.
fn policy() -> Policy {
    Policy { lease: Millis::from_secs(3600), ..Policy::default() }
}

/// A session, driven as a worker drives it.
struct Driver {
    session: Box<dyn Session>,
    sources: Sources,
    /// What the clock showed at the beginning.
    start: Timestamp,
}

struct Sources(Poller);

impl Registry for Sources {
    fn watch(&mut self, source: BorrowedFd<'_>, key: u32, interest: Interest) -> io::Result<()> {
        if self.0.set(source, key.into(), interest).is_err() {
            self.0.add(source, key.into())?;
            self.0.set(source, key.into(), interest)?;
        }
        Ok(())
    }

    fn unwatch(&mut self, source: BorrowedFd<'_>) {
        self.0.remove(source);
    }
}

impl Driver {
    fn new(store: Arc<dyn Store>, start: Timestamp) -> Self {
        let session = store.session(Waker::noop().clone()).unwrap();
        Self { session, sources: Sources(Poller::new(16).unwrap()), start }
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
    fn carry_out(&mut self, elapsed: Millis, mut batch: Batch) -> Batch {
        let Self { session, sources, start } = self;
        let now = *start + elapsed;
        let submitted = session.submit(now, &mut batch, sources);
        let began = std::time::Instant::now();
        let mut events = Vec::new();
        loop {
            match submitted {
                Submitted::Done => return batch,
                Submitted::Pending => {
                    if let Some((_, kept)) = session.kept() {
                        assert!(kept);
                        return batch;
                    }
                }
                Submitted::Parked => {
                    while let Some(batch) = session.complete(now, sources) {
                        if batch.awaited.is_empty() {
                            return batch;
                        }
                        session.take_back(batch);
                    }
                }
            }
            assert!(began.elapsed() < PATIENCE, "no outcome");
            sources.0.wait(&mut events, Some(Duration::from_millis(1))).unwrap();
            for event in &events {
                session.ready(now, event.token as u32, sources);
            }
        }
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

    fn key(&mut self) -> String {
        let id = self.below(6);
        if self.is(2) { format!("v{id}") } else { format!("v{id}\0d{}", self.below(2)) }
    }

    fn position(&mut self) -> Option<Position> {
        self.is(2).then(|| Position::from_secs(self.below(9000) as u32))
    }

    /// Some commands of some users.
    fn batch(&mut self, ticket: u32) -> Batch {
        let mut batch = Batch { ticket, ..Batch::default() };
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
            batch.push(Command { user, key, limit: 1 + self.below(3) as u32, action });
        }
        batch
    }
}

/// A stream as it is shown: its key, its position, and whether it plays.
type Shown = (Vec<u8>, u32, bool);

/// All of an outcome but what is left of leases, which a restart makes fresh.
fn told(batch: &Batch, outcome: &Outcome) -> (Verdict, bool, u32, u16, u16, Vec<u8>, Vec<Shown>) {
    let text = |word| batch.findings.arena.get(word).to_vec();
    let streams = batch.streams(outcome).iter().map(|s| (text(s.key), s.position.secs(), s.playing));
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
            let Driver { session, .. } = engine;
            drop(session);
            (engine, opened) = (open(), n);
        }
        let elapsed = |since: u32| Millis::from_millis(u64::from(n - since) * 100);
        let expected = memory.carry_out(elapsed(0), commands.batch(n));
        let found = engine.carry_out(elapsed(opened), same.batch(n));
        assert_eq!(found.ticket, n);
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
        let action = Action::Start { position: None, replace: Replace::ByPolicy, switch: false };
        batch.push(Command { user, key, limit: 3, action });
        first.carry_out(Millis::ZERO, batch);
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
        local: false,
        policy: policy(),
        say: |text| println!("{text}"),
    };
    let redis: Arc<dyn Store> = Arc::new(Redis::start(settings).unwrap());
    let start = Timestamp::from_millis(86_400_000);
    check(300, u32::MAX, || Driver::new(Arc::clone(&redis), start));
}
