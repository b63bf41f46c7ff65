//! Streams in memory: a `Mutex<HashMap>` cut into shards.
//!
//! A map that grows stops everybody who waits for its lock, so there are many small ones: growing or sweeping one
//! pauses few of the users, and them for less than a millisecond. `std::sync::Mutex` because a command holds it for less than a
//! microsecond and never across anything that waits; std's keyed hash because user names come from clients.
//!
//! *Invariant:* nothing is done under a shard's lock but the account's own work and what a [`Recorder`] notes of it: no other
//! shard's lock is taken, and nothing is waited for but the lock of the queue that it notes it in. (Not tested.)

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use super::{Census, PLAYING_KINDS, Session, Store, Swept, Ticket};
use crate::poller::Registry;
use crate::streams::account::{Account, Policy, Tally};
use crate::streams::batch::{Batch, Change, Verdict};
use crate::streams::name::Name;
use crate::sync::lock;
use crate::time::Timestamp;

/// A power of two: many enough that a growing one stops few users and that workers seldom meet at one, few enough that
/// their locks stay in the cache.
pub const SHARDS: usize = 256;

/// Is told what becomes of accounts, while the user's shard is locked: so of two changes of a user the later one is told
/// later.
pub trait Recorder {
    /// What it notes beside each account.
    type Note: Default;

    /// Whether changes may be made now, other than the renewal of a lease.
    fn takes_changes(&self) -> bool {
        true
    }

    /// A command that is no question has done this to the account. Says whether its outcome has to wait.
    fn carried_out(&mut self, _: &[u8], _: &Account, _: &mut Self::Note, _: Change) -> bool {
        false
    }

    /// Whether an account with this note may go once it is empty.
    fn may_go(&self, _: &Self::Note) -> bool {
        true
    }
}

/// Memory alone records nothing.
impl Recorder for () {
    type Note = ();
}

/// Streams in memory, gone when the process ends. An engine that keeps them elsewhere too has a note of its own, `N`,
/// beside each account.
pub struct Memory<N = ()> {
    pub(super) policy: Policy,
    shards: Box<[Shard<N>]>,
    /// Odd and random: what spreads the users over the shards.
    key: u64,
    /// The shard that the sweeper visits next.
    sweep_at: AtomicUsize,
}

#[derive(Default)]
struct Annotated<N> {
    account: Account,
    note: N,
}

/// A part of the users. Lock and map share a cache line of their own, so that two workers on neighbouring shards do not
/// pass one to and fro.
#[repr(align(64))]
struct Shard<N> {
    users: Mutex<HashMap<Name, Annotated<N>>>,
    tallies: Tallies,
}

/// The sums over a shard's users, so that they are known without a visit to a million accounts. Written under the shard's
/// lock, read without it.
#[derive(Default)]
struct Tallies {
    /// How many users there are, in all shards together. Written when one comes or goes.
    all: Arc<AtomicUsize>,
    playing: AtomicU32,
    paused: AtomicU32,
    /// Users by how many streams they play.
    users: [AtomicU32; PLAYING_KINDS],
}

impl<N: Default> Memory<N> {
    pub fn new(policy: Policy) -> Self {
        let all = Arc::new(AtomicUsize::new(0));
        let tallies = || Tallies { all: Arc::clone(&all), ..Tallies::default() };
        let shards = (0..SHARDS).map(|_| Shard { users: Mutex::default(), tallies: tallies() }).collect();
        let key = RandomState::new().hash_one(()) | 1;
        Self { policy, shards, key, sweep_at: AtomicUsize::new(0) }
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

    /// Carries out every command of `batch`, in their order, and tells `recorder` what becomes of the accounts.
    pub fn execute_and_record(
        &self,
        now: Timestamp,
        batch: &mut Batch,
        recorder: &mut impl Recorder<Note = N>,
    ) {
        let Batch { arena, entries, findings } = batch;
        for entry in entries {
            let user = arena.get(entry.command.user);
            let shard = &self.shards[self.shard_of(user)];
            shard.work_on(user, |Annotated { account, note }, is_known| {
                let is_question = entry.command.action.is_question();
                let refusal = match self.policy.max_users {
                    Some(most) if !is_known && shard.tallies.all.load(Relaxed) >= most => {
                        Some(Verdict::NoRoom)
                    }
                    _ => (!recorder.takes_changes()).then_some(Verdict::Unavailable),
                };
                let before = refusal.filter(|_| !is_question).map(|refusal| (refusal, account.clone()));
                entry.outcome = account.apply(now, &self.policy, &entry.command, arena, findings);
                match before {
                    // What cannot be kept is not made.
                    Some((refusal, before)) if entry.outcome.change == Change::State => {
                        (entry.outcome, *account) = (refusal.into(), before);
                    }
                    _ if is_question => {}
                    _ => entry.waits = recorder.carried_out(user, account, note, entry.outcome.change),
                }
                account.is_empty() && recorder.may_go(note)
            });
        }
    }

    /// Visits the next shard: drops what has run out, and shows `visit` each account. It says whether one that is empty is
    /// to stay.
    pub fn sweep_and_visit(
        &self,
        now: Timestamp,
        mut visit: impl FnMut(&Name, &Account, &mut N) -> bool,
    ) -> Swept {
        let Shard { users, tallies } = &self.shards[self.sweep_at.fetch_add(1, Relaxed) % SHARDS];
        let mut ends = Vec::new();
        let mut users = lock(users);
        users.retain(|user, Annotated { account, note }| {
            let before = account.tally();
            account.expire(now, &mut ends);
            tallies.change(before, account.tally());
            visit(user, account, note) || !account.is_empty()
        });
        // A wave of users has passed: give most of the room back, and keep some so that the next is not all growth.
        if users.capacity() > 64 && users.len() < users.capacity() / 8 {
            let room = users.len() * 2;
            users.shrink_to(room);
        }
        Swept { visits: SHARDS as u32, ends }
    }

    /// Shows `visit` a user's account, if there is one.
    pub fn visit_user(&self, user: &[u8], visit: impl FnOnce(&Account, &mut N)) {
        if let Some(noted) = lock(&self.shards[self.shard_of(user)].users).get_mut(user) {
            visit(&noted.account, &mut noted.note);
        }
    }

    /// Puts in accounts of users who belong to one shard and are not there yet.
    pub fn fill(&self, shard: usize, accounts: impl Iterator<Item = (Name, Account)>) {
        let Shard { users, tallies } = &self.shards[shard];
        let mut users = lock(users);
        users.reserve(accounts.size_hint().1.unwrap_or(0));
        for (user, account) in accounts.filter(|(_, account)| !account.is_empty()) {
            tallies.change(Tally::default(), account.tally());
            users.insert(user, Annotated { account, note: N::default() });
        }
    }

    /// What all accounts hold together.
    pub fn sums(&self) -> Census {
        self.shards.iter().fold(Census::default(), |mut sum, shard| {
            let get = |n: &AtomicU32| u64::from(n.load(Relaxed));
            sum.playing += get(&shard.tallies.playing);
            sum.paused += get(&shard.tallies.paused);
            sum.users.iter_mut().zip(&shard.tallies.users).for_each(|(sum, n)| *sum += get(n));
            sum
        })
    }
}

impl Memory {
    /// Carries out every command of `batch`, in their order.
    pub fn execute(&self, now: Timestamp, batch: &mut Batch) {
        self.execute_and_record(now, batch, &mut ());
    }
}

impl Store for Memory {
    fn session(self: Arc<Self>, _waker: Waker) -> io::Result<Box<dyn Session>> {
        Ok(Box::new(InMemory(self)))
    }

    fn sweep(&self, now: Timestamp) -> Swept {
        self.sweep_and_visit(now, |_, _, ()| false)
    }

    fn census(&self) -> Option<Census> {
        Some(self.sums())
    }

    fn describe(&self) -> String {
        "memory".into()
    }
}

/// A worker's session: there is nothing to wait for.
struct InMemory(Arc<Memory>);

impl Session for InMemory {
    fn submit(&mut self, now: Timestamp, _ticket: Ticket, batch: &mut Batch, _registry: &mut Registry) {
        self.0.execute(now, batch);
    }
}

impl<N: Default> Shard<N> {
    /// Does `work` on a user's account, which is made if nothing is known of the user; the second argument says which. It
    /// says whether the account may go.
    fn work_on(&self, user: &[u8], work: impl FnOnce(&mut Annotated<N>, bool) -> bool) {
        let (mut users, mut new) = (lock(&self.users), None);
        let (noted, is_known) = match users.get_mut(user) {
            Some(noted) => (noted, true),
            None => (new.insert(Annotated::default()), false),
        };
        let (before, tallies) = (noted.account.tally(), &self.tallies);
        let mut counted = Counted { noted, before, tallies, is_kept: is_known };
        let may_go = work(counted.noted, is_known);
        counted.is_kept = true;
        drop(counted);
        match new {
            None if may_go => drop(users.remove(user)),
            Some(noted) if !may_go => drop(users.insert(Name::from(user), noted)),
            _ => {}
        }
    }
}

/// An account that is being worked on. The sums follow what it has become, also if that work panics half way; then a new
/// one is not kept.
struct Counted<'a, N> {
    noted: &'a mut Annotated<N>,
    before: Tally,
    tallies: &'a Tallies,
    is_kept: bool,
}

impl<N> Drop for Counted<'_, N> {
    fn drop(&mut self) {
        if self.is_kept {
            self.tallies.change(self.before, self.noted.account.tally());
        }
    }
}

impl Tallies {
    /// What a user's account holds was `before` and is `after`. No atomic addition is needed but to what is of all shards:
    /// the writer holds the shard's lock.
    fn change(&self, before: Tally, after: Tally) {
        if before == after {
            return;
        }
        let add = |sum: &AtomicU32, before: u32, after: u32| {
            sum.store(sum.load(Relaxed).wrapping_add(after).wrapping_sub(before), Relaxed);
        };
        let kind = |tally: Tally| &self.users[(tally.playing as usize).min(PLAYING_KINDS - 1)];
        add(&self.playing, before.playing, after.playing);
        add(&self.paused, before.paused, after.paused);
        add(kind(before), before.users, 0);
        add(kind(after), 0, after.users);
        if before.users != after.users {
            self.all.fetch_add((after.users as usize).wrapping_sub(before.users as usize), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::batch::{Action, Command, Replace};
    use crate::time::Millis;

    const LEASE: u64 = 90;
    /// So many that every shard has grown.
    const USERS: u64 = 20_000;

    fn memory() -> Memory {
        Memory::new(Policy::new(Millis::from_secs(LEASE)))
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn run(memory: &Memory, secs: u64, commands: &[(&str, &str, Action)]) -> Vec<(Verdict, u32)> {
        let mut batch = Batch::default();
        for (user, key, action) in commands {
            let (user, key) = (batch.arena.add(user.as_bytes()), batch.arena.add(key.as_bytes()));
            batch.push(Command::new(user, key, 3, *action));
        }
        memory.execute(at(secs), &mut batch);
        batch.entries.iter().map(|entry| (entry.outcome.verdict, entry.outcome.count)).collect()
    }

    const START: Action = Action::start();
    const BEAT: Action = Action::beat();

    #[test]
    fn who_is_one_too_many_is_refused_and_all_others_are_served() {
        use Verdict::{Ended, Info, NoRoom, Renewed, Started, Unknown};
        let mut memory = memory();
        memory.policy.max_users = Some(2);
        let said = run(
            &memory,
            0,
            &[
                ("ann", "a", START),
                ("bob", "a", START),
                ("cat", "a", START),
                ("cat", "a", Action::Gate { replace: Replace::ByPolicy, switch: false }),
                ("cat", "a", BEAT),
                ("cat", "a", Action::End),
                ("cat", "a", Action::Look),
                ("ann", "b", START),
                ("bob", "a", BEAT),
            ],
        );
        let verdicts = said.iter().map(|(verdict, _)| *verdict).collect::<Vec<_>>();
        assert_eq!(verdicts, [Started, Started, NoRoom, NoRoom, Unknown, Unknown, Info, Started, Renewed]);
        // Whoever has gone makes room, also for who has been refused.
        for _ in 0..SHARDS {
            memory.sweep(at(LEASE));
        }
        let said = run(&memory, LEASE, &[("cat", "a", START), ("dan", "a", START), ("ann", "a", START)]);
        assert_eq!(said, [(Started, 1), (Started, 1), (NoRoom, 0)]);
        let evict = Action::Evict { message: Default::default() };
        assert_eq!(run(&memory, LEASE, &[("eve", "", evict)]), [(Ended, 0)]);
    }

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
            let pause = Action::pause();
            run(&memory, 0, &[(&user, "a", START), (&user, "b", START), (&user, "b", pause)]);
            run(&memory, 50, &[(&user, "a", BEAT)]);
        }
        let users = |kind: usize, n: u64| std::array::from_fn(|i| if i == kind { n } else { 0 });
        let census = Census { playing: USERS, paused: USERS, users: users(1, USERS) };
        assert_eq!(memory.sums(), census);
        let sweep = |secs| (0..SHARDS).map(|_| memory.sweep(at(secs)).ends.len() as u64).sum::<u64>();
        assert_eq!((sweep(89), memory.sums()), (0, census));
        assert_eq!((sweep(90), memory.sums().paused), (USERS, 0));
        assert_eq!((sweep(140), memory.sums()), (USERS, Census::default()));
        // A shard that by chance never had many users keeps its small table.
        let room: usize = memory.shards.iter().map(|shard| lock(&shard.users).capacity()).sum();
        assert!((room as u64) < USERS / 5, "{room}");
    }

    #[test]
    fn an_account_that_is_emptied_is_gone_at_once() {
        let memory = memory();
        run(&memory, 0, &[("ann", "a", START)]);
        assert_eq!(run(&memory, LEASE, &[("ann", "a", BEAT)]), [(Verdict::Unknown, 0)]);
        assert!(memory.shards.iter().all(|shard| lock(&shard.users).is_empty()));
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
        batch.push(Command::new(user, key, 3, Action::Look));
        let work = std::panic::AssertUnwindSafe(|| memory.execute(at(LEASE), &mut batch));
        assert!(std::panic::catch_unwind(work).is_err());
        assert_eq!(memory.sums().playing, 1);
        run(&memory, 200, &[("ann", "a", Action::Look)]);
        assert_eq!(memory.sums(), Census::default());
    }

    #[test]
    fn users_are_spread_over_all_shards() {
        let memory = memory();
        let mut counts = [0; SHARDS];
        (0..SHARDS * 100).for_each(|user| counts[memory.shard_of(format!("user{user:07}").as_bytes())] += 1);
        // The key is drawn by lot: one in some thousands leaves a shard a tenth of its share.
        assert!(counts.iter().all(|count| (1..400).contains(count)), "{counts:?}");
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
