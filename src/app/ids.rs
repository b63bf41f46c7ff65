//! Request ids for requests that bring none.
//!
//! *Invariant:* no id is given out twice, by whichever worker and after however many starts: 64 random bits name the
//! worker's run, 32 bits count within it, and a run that has counted to the end takes a new name.

use std::hash::{BuildHasher, RandomState};

use crate::codec::hex;
use crate::streams::arena::{Arena, Word};

/// One worker's ids: 24 hex digits each.
pub struct RequestIds {
    /// The 16 digits that name this run.
    run: [u8; 16],
    next: u32,
}

impl RequestIds {
    /// A new run.
    pub fn new() -> Self {
        Self { run: new_run(), next: 0 }
    }

    /// Adds an id to `arena`.
    pub fn next<A: Copy>(&mut self, arena: &mut Arena<A>) -> Word<A> {
        let mark = arena.mark();
        arena.bytes().extend_from_slice(&self.run);
        hex::encode(&self.next.to_be_bytes(), arena.bytes());
        self.next = self.next.wrapping_add(1);
        if self.next == 0 {
            self.run = new_run();
        }
        arena.since(mark)
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

/// Std seeds the keys of its hash maps with the kernel's randomness; the hash of nothing under new keys is as random.
fn new_run() -> [u8; 16] {
    let mut digits = Vec::with_capacity(16);
    hex::encode(&RandomState::new().hash_one(()).to_be_bytes(), &mut digits);
    let mut run = [0; 16];
    run.copy_from_slice(&digits);
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_comes_twice() {
        let mut arena = Arena::<()>::default();
        let mut ids = RequestIds::new();
        let mut seen = std::collections::HashSet::new();
        for next in [0, 1, u32::MAX - 1, u32::MAX, 0, 1] {
            if ids.next != next {
                ids.next = next;
            }
            let id = ids.next(&mut arena);
            assert_eq!(arena.get(id).len(), 24);
            assert!(seen.insert(arena.get(id).to_vec()));
        }
        assert_ne!(RequestIds::new().run, RequestIds::new().run);
    }
}
