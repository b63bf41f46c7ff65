//! Records last seen, so that a command need not fetch what it is about to change.
//!
//! A hint is never a truth: the engine compares it with the record that is there. So it may be old, and it may be lost:
//! there is one place for each remainder of a hash, and the newcomer takes it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Mutex;

use crate::sync::lock;

/// Locks: enough that workers seldom meet at one.
const SHARDS: usize = 64;
/// Places under each lock.
const PLACES: usize = 4096;
/// What the records under a lock may take together: 128 MiB in all, whatever users do. With records of 200 bytes, all
/// places full, they take some 60 MiB.
const MOST_BYTES: usize = 2 * 1024 * 1024;

pub struct Hints {
    key: RandomState,
    shards: Box<[Mutex<Shelf>]>,
}

/// What is under one lock.
struct Shelf {
    places: Box<[Hint]>,
    /// What they take together.
    bytes: usize,
}

#[derive(Clone, Default)]
struct Hint {
    hash: u64,
    /// The user, then the record.
    bytes: Vec<u8>,
    user: u16,
}

impl Hints {
    pub fn new() -> Self {
        let shelf = || Mutex::new(Shelf { places: vec![Hint::default(); PLACES].into(), bytes: 0 });
        Self { key: RandomState::new(), shards: (0..SHARDS).map(|_| shelf()).collect() }
    }

    /// A user's hash, by which they are found here. Keyed, for names come from clients.
    pub fn hash(&self, user: &[u8]) -> u64 {
        self.key.hash_one(user)
    }

    /// Appends the record last seen of a user; returns whether there is one.
    pub fn get(&self, hash: u64, user: &[u8], out: &mut Vec<u8>) -> bool {
        let shelf = &mut *lock(&self.shards[hash as usize % SHARDS]);
        let hint = &shelf.places[place(hash)];
        let (name, record) = hint.bytes.split_at(hint.user.into());
        let found = hint.hash == hash && name == user && !name.is_empty();
        if found {
            out.extend_from_slice(record);
        }
        found
    }

    /// Remembers a record, if there is room; what was in its place is forgotten.
    pub fn set(&self, hash: u64, user: &[u8], record: &[u8]) {
        let shelf = &mut *lock(&self.shards[hash as usize % SHARDS]);
        let hint = &mut shelf.places[place(hash)];
        shelf.bytes -= hint.bytes.capacity();
        (hint.hash, hint.user) = (hash, 0);
        hint.bytes.clear();
        let needed = user.len() + record.len();
        if shelf.bytes + needed.max(hint.bytes.capacity()) > MOST_BYTES {
            hint.bytes = Vec::new();
        }
        if shelf.bytes + needed <= MOST_BYTES {
            hint.user = user.len() as u16;
            hint.bytes.reserve_exact(needed);
            hint.bytes.extend_from_slice(user);
            hint.bytes.extend_from_slice(record);
        }
        shelf.bytes += hint.bytes.capacity();
    }
}

fn place(hash: u64) -> usize {
    (hash >> 32) as usize % PLACES
}

/// A number that nobody can guess.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
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
        set("ann", &[7; 100_000]);
        assert_eq!(get("ann"), Some(vec![7; 100_000]), "a long one too");
        set("ann", &vec![7; MOST_BYTES]);
        assert_eq!(get("ann"), None, "but none that leaves no room for others");
        (0..2000).for_each(|user| set(&format!("long{user}"), &[7; 100_000]));
        let bytes: usize = hints.shards.iter().map(|shelf| lock(shelf).bytes).sum();
        assert!(bytes <= MOST_BYTES * SHARDS, "{bytes}");
        for user in 0..500_000 {
            set(&format!("user{user}"), b"x");
        }
        assert_eq!(get("user499999"), Some(b"x".to_vec()));
    }
}
