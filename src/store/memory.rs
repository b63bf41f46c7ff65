//! Streams in memory: a `Mutex<HashMap>` cut into shards.
//!
//! A map that grows stops everybody who waits for its lock, so there are many small ones: growing or sweeping one
//! pauses a thousandth of the users for some microseconds. `std::sync::Mutex` because it is held for less than a
//! microsecond and never across anything that waits; std's keyed hash because user names come from clients.
//!
//! *Invariant:* one lock is held at a time, and nothing is done under it but the account's own work.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Census, PLAYING_KINDS, Store, Swept};
use crate::streams::account::{Account, Policy, Tally};
use crate::streams::batch::{Arena, Batch, Command, Findings, Outcome};
use crate::streams::name::Name;
use crate::time::Timestamp;

/// A power of two. At ten million users a shard holds ten thousand, and a visit of the sweeper still takes under a
/// millisecond.
const SHARDS: usize = 1024;

/// Streams in memory, gone when the process ends.
pub struct Memory {
    policy: Policy,
    shards: Box<[Line<Mutex<Shard>>]>,
    hasher: RandomState,
    /// The shard that the sweeper visits next.
    sweep_at: AtomicUsize,
}

/// A cache line of its own, so that two workers on neighbouring shards do not pass one to and fro.
#[repr(align(64))]
struct Line<T>(T);

#[derive(Default)]
struct Shard {
    users: HashMap<Name, Account>,
    /// The sum over `users`, so that nobody has to visit a million accounts to know it.
    census: Census,
}

impl Memory {
    /// An empty store.
    pub fn new(policy: Policy) -> Self {
        let shards = (0..SHARDS).map(|_| Line(Mutex::default())).collect();
        Self { policy, shards, hasher: RandomState::new(), sweep_at: AtomicUsize::new(0) }
    }

    fn shard(&self, user: &[u8]) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.hasher.hash_one(user) as usize % SHARDS])
    }
}

/// Takes the lock even if a thread has panicked under it: that request is lost, the users of its shard are not.
fn lock(shard: &Line<Mutex<Shard>>) -> MutexGuard<'_, Shard> {
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for Memory {
    fn execute(&self, now: Timestamp, batch: &mut Batch) {
        let Batch { arena, entries, findings } = batch;
        for entry in entries {
            let user = arena.get(entry.command.user);
            entry.outcome = self.shard(user).apply(now, &self.policy, &entry.command, arena, findings);
        }
    }

    fn sweep(&self, now: Timestamp) -> Swept {
        let at = self.sweep_at.fetch_add(1, Relaxed) % SHARDS;
        Swept { visits: SHARDS as u32, expired: lock(&self.shards[at]).sweep(now) }
    }

    fn census(&self) -> Census {
        self.shards.iter().fold(Census::default(), |mut sum, shard| {
            sum.add(&lock(shard).census);
            sum
        })
    }
}

impl Shard {
    fn apply(
        &mut self,
        now: Timestamp,
        policy: &Policy,
        command: &Command,
        arena: &Arena,
        findings: &mut Findings,
    ) -> Outcome {
        let user = arena.get(command.user);
        let Some(account) = self.users.get_mut(user) else {
            let mut account = Account::default();
            let outcome = account.apply(now, policy, command, arena, findings);
            if !account.is_empty() {
                self.census.join(account.tally());
                self.users.insert(Name::from(user), account);
            }
            return outcome;
        };
        let before = account.tally();
        let outcome = account.apply(now, policy, command, arena, findings);
        let after = account.tally();
        if before != after {
            self.census.leave(before);
            self.census.join(after);
        }
        if account.is_empty() {
            self.users.remove(user);
            self.census.leave(after);
        }
        outcome
    }

    fn sweep(&mut self, now: Timestamp) -> u32 {
        let mut expired = 0;
        let mut census = Census::default();
        self.users.retain(|_, account| {
            expired += account.expire(now);
            if !account.is_empty() {
                census.join(account.tally());
            }
            !account.is_empty()
        });
        self.census = census;
        // A wave of users has passed: give most of the room back, and keep some so that the next is not all growth.
        if self.users.capacity() > 64 && self.users.len() < self.users.capacity() / 8 {
            self.users.shrink_to(self.users.len() * 2);
        }
        expired
    }
}

impl Census {
    fn join(&mut self, account: Tally) {
        self.playing += u64::from(account.playing);
        self.paused += u64::from(account.paused);
        self.users[kind(account)] += 1;
    }

    fn leave(&mut self, account: Tally) {
        self.playing -= u64::from(account.playing);
        self.paused -= u64::from(account.paused);
        self.users[kind(account)] -= 1;
    }

    fn add(&mut self, other: &Self) {
        self.playing += other.playing;
        self.paused += other.paused;
        self.users.iter_mut().zip(other.users).for_each(|(sum, n)| *sum += n);
    }
}

fn kind(account: Tally) -> usize {
    (account.playing as usize).min(PLAYING_KINDS - 1)
}
