//! `--store-down local`: while the engine is away each instance counts alone, in memory, by the same rules.
//!
//! A PATCH of an unknown stream is adopted for one lease: in memory from when the engine went, and on the engine from
//! when it came back. So no viewer is interrupted either way, and meanwhile the limit holds for each instance.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::store::Swept;
use crate::streams::account::{Account, Policy};
use crate::streams::name::Name;
use crate::time::{Millis, Timestamp};

/// Enough that workers seldom meet at one.
const SHARDS: usize = 64;

/// What is counted here meanwhile.
pub struct Local {
    lease: Millis,
    key: RandomState,
    shards: Box<[Mutex<HashMap<Name, Account>>]>,
    /// Whether the engine is away.
    away: AtomicBool,
    /// Until when what is unknown is adopted here, in milliseconds of steady time.
    adopt_until: AtomicU64,
    /// When a command was last carried out here, in milliseconds of steady time; 0: never.
    last: AtomicU64,
    /// The shard that is swept next.
    sweep_at: AtomicUsize,
}

impl Local {
    /// Nothing has happened yet.
    pub fn new(lease: Millis) -> Self {
        Self {
            lease,
            key: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            away: AtomicBool::new(false),
            adopt_until: AtomicU64::new(0),
            last: AtomicU64::new(0),
            sweep_at: AtomicUsize::new(0),
        }
    }

    /// Has a user's account changed here, now that the engine cannot. What was counted here in an earlier outage is
    /// forgotten by the first command of this one.
    pub fn change<T>(
        &self,
        now: Timestamp,
        policy: &Policy,
        user: &[u8],
        change: impl FnOnce(&mut Account, &Policy) -> T,
    ) -> T {
        self.last.fetch_max(now.millis(), Relaxed);
        if !self.away.swap(true, Relaxed) {
            self.adopt_until.store((now + self.lease).millis(), Relaxed);
            (0..SHARDS).for_each(|at| self.with(at, HashMap::clear));
        }
        let policy =
            Policy { adopt_until: Timestamp::from_millis(self.adopt_until.load(Relaxed)), ..*policy };
        self.with(self.key.hash_one(user) as usize % SHARDS, |users| {
            let mut account = users.remove(user).unwrap_or_default();
            let done = change(&mut account, &policy);
            if account.tally().is_some() {
                users.insert(Name::from(user), account);
            }
            done
        })
    }

    /// Whether commands are carried out here.
    pub fn is_away(&self) -> bool {
        self.away.load(Relaxed)
    }

    /// The engine has answered, and adopts what was counted here.
    pub fn is_back(&self) {
        self.away.store(false, Relaxed);
    }

    /// How much longer the engine adopts what was counted here.
    pub fn adopts_for(&self, now: Timestamp) -> Millis {
        match self.last.load(Relaxed) {
            0 => Millis::ZERO,
            last => now.until(Timestamp::from_millis(last) + self.lease),
        }
    }

    /// Frees what has expired in one shard.
    pub fn sweep(&self, now: Timestamp) -> Swept {
        let at = self.sweep_at.fetch_add(1, Relaxed) % SHARDS;
        let mut expired = 0;
        self.with(at, |users| {
            users.retain(|_, account| {
                expired += account.expire(now);
                account.tally().is_some()
            });
            users.shrink_to(users.len() * 2);
        });
        Swept { visits: SHARDS as u32, expired }
    }

    fn with<T>(&self, at: usize, work: impl FnOnce(&mut HashMap<Name, Account>) -> T) -> T {
        work(&mut self.shards[at].lock().unwrap_or_else(PoisonError::into_inner))
    }
}
