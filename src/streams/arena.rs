//! Bytes laid end to end, and words that say where in them.
//!
//! A turn names users, streams and texts by the hundred. Kept in one buffer that is used again they cost no allocation,
//! and a [`Word`] is eight bytes that can be copied.
//!
//! *Invariant:* a word is only good for the arena that made it. The type parameter says which that is, so that the
//! compiler refuses a word of one arena to another. (Not tested.)

use std::marker::PhantomData;

/// Bytes in the arena `A`. The default is a word without bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word<A> {
    start: u32,
    end: u32,
    arena: PhantomData<A>,
}

impl<A: Copy> Word<A> {
    /// Whether there are no bytes in it, as in a word that was never set.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Bytes laid end to end, given out as [`Word`]s. `A` only names the arena.
#[derive(Debug, Default)]
pub struct Arena<A> {
    bytes: Vec<u8>,
    name: PhantomData<A>,
}

impl<A: Copy> Arena<A> {
    pub fn get(&self, word: Word<A>) -> &[u8] {
        &self.bytes[word.start as usize..word.end as usize]
    }

    pub fn add(&mut self, bytes: &[u8]) -> Word<A> {
        let mark = self.mark();
        self.bytes.extend_from_slice(bytes);
        self.since(mark)
    }

    /// Where the next word will begin, for use with [`Arena::since`].
    pub fn mark(&self) -> usize {
        self.bytes.len()
    }

    /// What has been appended to [`Arena::bytes`] since `mark`.
    pub fn since(&self, mark: usize) -> Word<A> {
        Word { start: mark as u32, end: self.bytes.len() as u32, arena: PhantomData }
    }

    /// The arena's own bytes, for decoders that append.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Forgets all. The memory is kept for the next turn, unless it is far more than a turn usually takes.
    pub fn clear(&mut self) {
        clear(&mut self.bytes);
    }
}

/// Empties a list, and gives back what it has grown beyond what a turn usually takes.
pub(super) fn clear<T>(list: &mut Vec<T>) {
    const MOST_BYTES: usize = 256 * 1024;
    list.clear();
    list.shrink_to(MOST_BYTES / size_of::<T>());
}
