//! Streams in memory: a `Mutex<HashMap>` cut into shards.
//!
//! A map that grows stops everybody who waits for its lock, so there are many small ones: growing or sweeping one
//! pauses few of the users, and them for less than a millisecond. `std::sync::Mutex` because it is held for less than a
//! microsecond and never across anything that waits; std's keyed hash because user names come from clients.
//!
//! *Invariant:* one lock is held at a time, and nothing is done under it but the account's own work.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::{Census, PLAYING_KINDS, Registry, Session, Store, Submitted, Swept};
use crate::streams::account::{Account, Policy, Tally};
use crate::streams::arena::Arena;
use crate::streams::batch::{Action, Asked, Batch, Change, Command, Findings, Outcome};
use crate::streams::name::Name;
use crate::time::Timestamp;

/// A power of two: many enough that a growing one stops few users and that workers seldom meet at one, few enough that
/// their locks stay in the cache.
pub const SHARDS: usize = 256;

/// Is told of every change, while the user's shard is locked: so of two changes of a user the later one is told later.
pub trait Recorder {
    /// The account has changed, and is this now.
    fn changed(&mut self, user: &[u8], account: &Account);
}

/// Memory alone records nothing.
impl Recorder for () {
    fn changed(&mut self, _user: &[u8], _account: &Account) {}
}

/// Streams in memory, gone when the process ends.
pub struct Memory {
    policy: Policy,
    shards: Box<[Shard]>,
    /// Odd and random: what spreads the users over the shards.
    key: u64,
    /// The shard that the sweeper visits next.
    sweep_at: AtomicUsize,
}

type Users = HashMap<Name, Account>;

/// A part of the users. Lock and map share a cache line of their own, so that two workers on neighbouring shards do not
/// pass one to and fro.
#[repr(align(64))]
#[derive(Default)]
struct Shard {
    users: Mutex<Users>,
    tallies: Tallies,
}

/// The sums over a shard's users, so that they are known without a visit to a million accounts. Written under the shard's
/// lock, read without it.
#[derive(Default)]
struct Tallies {
    playing: AtomicU32,
    paused: AtomicU32,
    /// Users by how many streams they play.
    users: [AtomicU32; PLAYING_KINDS],
}

impl Memory {
    /// An empty store.
    pub fn new(policy: Policy) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        let key = RandomState::new().hash_one(()) | 1;
        Self { policy, shards, key, sweep_at: AtomicUsize::new(0) }
    }

    /// The same under another policy.
    pub fn with_policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Which shard a user belongs to: multiply and fold, eight bytes at a time, under a random key.
    ///
    /// The map behind it hashes again, and properly: names come from clients. A client that found names which meet in one
    /// shard would have made that shard a larger map, and no slower one.
    pub fn shard_of(&self, user: &[u8]) -> usize {
        let mut hash = self.key;
        for chunk in user.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let product = u128::from(hash ^ u64::from_le_bytes(word)) * u128::from(self.key);
            hash = product as u64 ^ (product >> 64) as u64;
        }
        hash as usize % SHARDS
    }

    /// Carries out every command of `batch`, in their order.
    pub fn execute(&self, now: Timestamp, batch: &mut Batch) {
        self.execute_and_record(now, batch, &mut ());
    }

    /// Carries out every command of `batch`, in their order, and tells `recorder` what they change.
    pub fn execute_and_record(&self, now: Timestamp, batch: &mut Batch, recorder: &mut impl Recorder) {
        self.execute_where(now, batch, |_| true, recorder);
    }

    /// Carries out only the commands of `batch` that change nothing.
    pub fn execute_questions(&self, now: Timestamp, batch: &mut Batch) {
        self.execute_where(now, batch, Action::is_question, &mut ());
    }

    fn execute_where(
        &self,
        now: Timestamp,
        batch: &mut Batch,
        may: impl Fn(Action) -> bool,
        recorder: &mut impl Recorder,
    ) {
        let Batch { arena, entries, findings, .. } = batch;
        for entry in entries.iter_mut().filter(|entry| may(entry.command.action)) {
            let user = arena.get(entry.command.user);
            let shard = &self.shards[self.shard_of(user)];
            entry.outcome = shard.apply(now, &self.policy, &entry.command, arena, findings, recorder);
        }
    }

    /// Visits the next shard: drops what has run out, and shows `visit` what is left.
    pub fn sweep_and_visit(&self, now: Timestamp, visit: impl FnMut(&Name, &Account)) -> Swept {
        let at = self.sweep_at.fetch_add(1, Relaxed) % SHARDS;
        Swept { visits: SHARDS as u32, expired: self.shards[at].sweep(now, visit) }
    }

    /// Puts in accounts of users who belong to one shard and are not there yet.
    pub fn fill(&self, shard: usize, accounts: impl Iterator<Item = (Name, Account)>) {
        let Shard { tallies, .. } = &self.shards[shard];
        let mut users = self.shards[shard].lock();
        users.reserve(accounts.size_hint().1.unwrap_or(0));
        for (user, account) in accounts {
            if let Some(tally) = account.tally() {
                tallies.change(None, Some(tally));
                users.insert(user, account);
            }
        }
    }
}

impl Store for Memory {
    fn session(self: Arc<Self>, _waker: Waker) -> io::Result<Box<dyn Session>> {
        Ok(Box::new(InMemory(self)))
    }

    fn sweep(&self, now: Timestamp) -> Swept {
        self.sweep_and_visit(now, |_, _| {})
    }

    fn census(&self) -> Option<Census> {
        Some(self.shards.iter().fold(Census::default(), |mut sum, shard| {
            let get = |n: &AtomicU32| u64::from(n.load(Relaxed));
            sum.playing += get(&shard.tallies.playing);
            sum.paused += get(&shard.tallies.paused);
            sum.users.iter_mut().zip(&shard.tallies.users).for_each(|(sum, n)| *sum += get(n));
            sum
        }))
    }

    fn describe(&self) -> String {
        "memory".into()
    }
}

/// A worker's session: there is nothing to wait for.
struct InMemory(Arc<Memory>);

impl Session for InMemory {
    fn submit(&mut self, now: Timestamp, batch: &mut Batch, _registry: &mut dyn Registry) -> Submitted {
        self.0.execute(now, batch);
        Submitted::Done
    }
}

impl Shard {
    /// Takes the lock even if a thread has panicked under it: that request is lost, the users of its shard are not.
    fn lock(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(
        &self,
        now: Timestamp,
        policy: &Policy,
        command: &Command,
        arena: &Arena<Asked>,
        findings: &mut Findings,
        recorder: &mut impl Recorder,
    ) -> Outcome {
        let user = arena.get(command.user);
        let mut users = self.lock();
        let Some(account) = users.get_mut(user) else {
            let mut account = Account::default();
            let outcome = account.apply(now, policy, command, arena, findings);
            if outcome.change != Change::None {
                recorder.changed(user, &account);
            }
            if let Some(tally) = account.tally() {
                self.tallies.change(None, Some(tally));
                users.insert(Name::from(user), account);
            }
            return outcome;
        };
        let counted = Counted { before: account.tally(), account, tallies: &self.tallies };
        let outcome = counted.account.apply(now, policy, command, arena, findings);
        if outcome.change != Change::None {
            recorder.changed(user, counted.account);
        }
        let is_empty = counted.account.is_empty();
        drop(counted);
        if is_empty {
            users.remove(user);
        }
        outcome
    }

    fn sweep(&self, now: Timestamp, mut visit: impl FnMut(&Name, &Account)) -> u32 {
        let mut expired = 0;
        let mut users = self.lock();
        users.retain(|user, account| {
            let before = account.tally();
            expired += account.expire(now);
            let after = account.tally();
            self.tallies.change(before, after);
            if after.is_some() {
                visit(user, account);
            }
            after.is_some()
        });
        // A wave of users has passed: give most of the room back, and keep some so that the next is not all growth.
        if users.capacity() > 64 && users.len() < users.capacity() / 8 {
            let room = users.len() * 2;
            users.shrink_to(room);
        }
        expired
    }
}

/// An account that is being worked on. The sums follow what it has become, also if that work panics half way.
struct Counted<'a> {
    account: &'a mut Account,
    before: Option<Tally>,
    tallies: &'a Tallies,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.tallies.change(self.before, self.account.tally());
    }
}

impl Tallies {
    /// A user's account was `before` and is `after`; None is no account.
    fn change(&self, before: Option<Tally>, after: Option<Tally>) {
        if before != after {
            before.inspect(|&tally| self.add(tally, u32::wrapping_sub));
            after.inspect(|&tally| self.add(tally, u32::wrapping_add));
        }
    }

    /// No atomic addition is needed: the writer holds the shard's lock.
    fn add(&self, tally: Tally, sum: fn(u32, u32) -> u32) {
        let kind = (tally.playing as usize).min(PLAYING_KINDS - 1);
        for (total, n) in
            [(&self.playing, tally.playing), (&self.paused, tally.paused), (&self.users[kind], 1)]
        {
            total.store(sum(total.load(Relaxed), n), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::account::WhenFull;
    use crate::streams::batch::{Replace, Verdict};
    use crate::time::Millis;

    const LEASE: u64 = 90;
    /// So many that every shard has grown.
    const USERS: u64 = 20_000;

    fn memory() -> Memory {
        let adopt_until = Timestamp::default();
        Memory::new(Policy {
            lease: Millis::from_secs(LEASE),
            when_full: WhenFull::Refuse,
            one_per_device: false,
            adopt_until,
        })
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn run(memory: &Memory, secs: u64, commands: &[(&str, &str, Action)]) -> Vec<(Verdict, u32)> {
        let mut batch = Batch::default();
        for (user, key, action) in commands {
            let (user, key) = (batch.arena.add(user.as_bytes()), batch.arena.add(key.as_bytes()));
            batch.push(Command { user, key, limit: 3, action: *action });
        }
        memory.execute(at(secs), &mut batch);
        batch.entries.iter().map(|entry| (entry.outcome.verdict, entry.outcome.count)).collect()
    }

    const START: Action = Action::Start { position: None, replace: Replace::ByPolicy, switch: false };
    const BEAT: Action = Action::Beat { position: None, playing: None };

    #[test]
    fn a_batch_is_carried_out_in_order_and_users_are_apart() {
        let said = run(
            &memory(),
            0,
            &[
                ("ann", "a", BEAT),
                ("ann", "a", START),
                ("bob", "a", Action::Look),
                ("ann", "a", BEAT),
                ("ann", "b", START),
                ("ann", "c", START),
                ("ann", "d", START),
                ("bob", "d", START),
                ("ann", "a", Action::End),
                ("ann", "d", START),
            ],
        );
        use Verdict::{Ended, Full, Info, Renewed, Started, Unknown};
        let expected = [
            (Unknown, 0),
            (Started, 1),
            (Info, 0),
            (Renewed, 1),
            (Started, 2),
            (Started, 3),
            (Full, 3),
            (Started, 1),
            (Ended, 2),
            (Started, 3),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn sweeping_frees_what_is_not_asked_for_and_the_census_follows() {
        let memory = memory();
        for user in 0..USERS {
            let user = format!("user{user}");
            let pause = Action::Beat { position: None, playing: Some(false) };
            run(&memory, 0, &[(&user, "a", START), (&user, "b", START), (&user, "b", pause)]);
            run(&memory, 50, &[(&user, "a", BEAT)]);
        }
        let users = |kind: usize, n: u64| std::array::from_fn(|i| if i == kind { n } else { 0 });
        let census = Census { playing: USERS, paused: USERS, users: users(1, USERS) };
        assert_eq!(memory.census(), Some(census));
        let sweep = |secs| (0..SHARDS).map(|_| memory.sweep(at(secs)).expired).map(u64::from).sum::<u64>();
        assert_eq!((sweep(89), memory.census()), (0, Some(census)));
        assert_eq!((sweep(90), memory.census().unwrap().paused), (USERS, 0));
        assert_eq!((sweep(140), memory.census()), (USERS, Some(Census::default())));
        // A shard that by chance never had many users keeps its small table.
        let room: usize = memory.shards.iter().map(|shard| shard.lock().capacity()).sum();
        assert!((room as u64) < USERS / 5, "{room}");
    }

    #[test]
    fn an_account_that_is_emptied_is_gone_at_once() {
        let memory = memory();
        run(&memory, 0, &[("ann", "a", START)]);
        assert_eq!(run(&memory, LEASE, &[("ann", "a", BEAT)]), [(Verdict::Unknown, 0)]);
        assert!(memory.shards.iter().all(|shard| shard.lock().is_empty()));
    }

    #[test]
    fn a_panic_leaves_the_sums_right() {
        let memory = memory();
        run(&memory, 0, &[("ann", "a", START), ("ann", "b", START)]);
        run(&memory, 50, &[("ann", "a", BEAT)]);
        // A word of another batch, beyond the end of this one: what has run out goes, and then it panics.
        let mut batch = Batch::default();
        let user = batch.arena.add(b"ann");
        let key = crate::streams::arena::Arena::default().add(&[0; 100]);
        batch.push(Command { user, key, limit: 3, action: Action::Look });
        let work = std::panic::AssertUnwindSafe(|| memory.execute(at(LEASE), &mut batch));
        assert!(std::panic::catch_unwind(work).is_err());
        assert_eq!(memory.census().unwrap().playing, 1);
        run(&memory, 200, &[("ann", "a", Action::Look)]);
        assert_eq!(memory.census(), Some(Census::default()));
    }

    #[test]
    fn users_are_spread_over_all_shards() {
        let memory = memory();
        let mut counts = [0; SHARDS];
        (0..SHARDS * 100).for_each(|user| counts[memory.shard_of(format!("user{user:07}").as_bytes())] += 1);
        assert!(counts.iter().all(|count| (30..300).contains(count)), "{counts:?}");
    }

    #[test]
    fn of_many_parallel_starts_exactly_as_many_as_the_limit_succeed() {
        let memory = memory();
        for user in 0..200 {
            let user = format!("user{user}");
            let started: usize = std::thread::scope(|scope| {
                let starts: Vec<_> = (0..8)
                    .map(|i| {
                        let (memory, user) = (&memory, &user);
                        scope.spawn(move || run(memory, 0, &[(user, &format!("v{i}"), START)])[0].0)
                    })
                    .collect();
                starts
                    .into_iter()
                    .map(|start| start.join().unwrap())
                    .filter(|v| *v == Verdict::Started)
                    .count()
            });
            assert_eq!(started, 3);
        }
    }
}
