//! Request ids for requests that bring none, and the generations of the streams that they start.
//!
//! *Invariant:* no id and no generation is given out twice, by whichever worker and after however many starts: 64
//! random bits name the worker's run, 32 bits count within it, and a run that has counted to the end takes a new
//! name. (Tested by `no_id_comes_twice`.)

use std::hash::{BuildHasher, RandomState};

use crate::codec::hex;
use crate::streams::arena::{Arena, Word};

/// One worker's ids: 24 hex digits each.
pub struct RequestIds {
    /// The 16 digits that name this run.
    run: [u8; 16],
    next: u32,
    /// Of all generations that this worker draws, where it is.
    generations: u64,
}

impl RequestIds {
    /// Draws a generation: `SplitMix64` (Steele and others, 2014), which from a random beginning goes through all numbers of 64
    /// bits and repeats none. It costs no system call, and nobody gains by guessing the next one: a generation is no secret.
    pub fn generation(&mut self) -> u64 {
        self.generations = self.generations.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.generations;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Adds an id to `arena`.
    pub fn next<A: Copy>(&mut self, arena: &mut Arena<A>) -> Word<A> {
        let mark = arena.mark();
        arena.bytes().extend_from_slice(&self.run);
        arena.bytes().extend_from_slice(&hex::digits(self.next));
        self.next = self.next.wrapping_add(1);
        if self.next == 0 {
            self.run = new_run();
        }
        arena.since(mark)
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self { run: new_run(), next: 0, generations: random() }
    }
}

/// Std seeds the keys of its hash maps with the kernel's randomness; the hash of nothing under new keys is as random.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

fn new_run() -> [u8; 16] {
    let mut digits = Vec::with_capacity(16);
    hex::encode(&random().to_be_bytes(), &mut digits);
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
        let mut ids = RequestIds::default();
        let mut seen = std::collections::HashSet::new();
        for next in [0, 1, u32::MAX - 1, u32::MAX, 0, 1] {
            if ids.next != next {
                ids.next = next;
            }
            let id = ids.next(&mut arena);
            assert_eq!(arena.get(id).len(), 24);
            assert!(seen.insert(arena.get(id).to_vec()));
        }
        assert_ne!(RequestIds::default().run, RequestIds::default().run);
    }
}
