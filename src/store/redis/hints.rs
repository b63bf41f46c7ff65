//! Records last seen, so that a command need not fetch what it is about to change.
//!
//! A hint is never a truth: the engine compares it with the record that is there. So it may be old, and it may be lost:
//! there is one place for each remainder of a hash, and the newcomer takes it.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

/// Locks: enough that workers seldom meet at one.
const SHARDS: usize = 64;
/// Places under each lock. With records of 200 bytes, all full, they take some 60 MiB.
const PLACES: usize = 4096;
/// Larger records are not kept: 128 MiB are the bound, whatever users do.
const MOST_BYTES: usize = 512;

/// The records last seen by all workers.
pub struct Hints {
    key: RandomState,
    shards: Box<[Mutex<Box<[Hint]>>]>,
}

#[derive(Clone, Default)]
struct Hint {
    hash: u64,
    /// The user, then the record.
    bytes: Vec<u8>,
    user: u16,
}

impl Hints {
    /// None yet.
    pub fn new() -> Self {
        let shard = || Mutex::new(vec![Hint::default(); PLACES].into());
        Self { key: RandomState::new(), shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    /// A user's hash, by which they are found here. Keyed, for names come from clients.
    pub fn hash(&self, user: &[u8]) -> u64 {
        self.key.hash_one(user)
    }

    /// Appends the record last seen of a user; returns whether there is one.
    pub fn get(&self, hash: u64, user: &[u8], out: &mut Vec<u8>) -> bool {
        self.with(hash, |hint| {
            let (name, record) = hint.bytes.split_at(hint.user.into());
            let found = hint.hash == hash && name == user && !name.is_empty();
            if found {
                out.extend_from_slice(record);
            }
            found
        })
    }

    /// Remembers a record.
    pub fn set(&self, hash: u64, user: &[u8], record: &[u8]) {
        self.with(hash, |hint| {
            hint.bytes.clear();
            hint.user = 0;
            if user.len() + record.len() <= MOST_BYTES {
                hint.hash = hash;
                hint.user = user.len() as u16;
                hint.bytes.extend_from_slice(user);
                hint.bytes.extend_from_slice(record);
            }
        });
    }

    fn with<T>(&self, hash: u64, work: impl FnOnce(&mut Hint) -> T) -> T {
        let shard = &self.shards[hash as usize % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut shard[(hash >> 32) as usize % PLACES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_was_seen_last_and_nothing_else() {
        let hints = Hints::new();
        let get = |user: &str| {
            let mut out = Vec::new();
            hints.get(hints.hash(user.as_bytes()), user.as_bytes(), &mut out).then_some(out)
        };
        assert_eq!(get("ann"), None);
        let set = |user: &str, record: &[u8]| hints.set(hints.hash(user.as_bytes()), user.as_bytes(), record);
        set("ann", b"one");
        set("bob", b"");
        assert_eq!((get("ann"), get("bob"), get("an")), (Some(b"one".to_vec()), Some(vec![]), None));
        set("ann", b"other");
        assert_eq!(get("ann"), Some(b"other".to_vec()));
        set("ann", &[0; 600]);
        assert_eq!(get("ann"), None);
        for user in 0..500_000 {
            set(&format!("user{user}"), b"x");
        }
        assert_eq!(get("user499999"), Some(b"x".to_vec()));
    }
}
