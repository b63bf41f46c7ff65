//! Things in numbered slots, and handles to them.
//!
//! *Invariant:* a handle names one thing for good. A slot is used again, but its generation tells the things apart,
//! so a handle whose thing has gone finds nothing. (Tested by `a_stale_handle_names_nothing`.)

/// Names a thing in a [`Slab`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    slot: u32,
    generation: u32,
}

impl Handle {
    /// Which slot it is in: an index for tables beside the slab.
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// As a poller's token. No handle has the generation `u32::MAX`: those tokens are free for other uses.
    pub fn token(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The handle of a token.
    pub fn of_token(token: u64) -> Self {
        Self { slot: token as u32, generation: (token >> 32) as u32 }
    }
}

/// Things in numbered slots.
pub struct Slab<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Puts a thing into a free slot.
    pub fn insert(&mut self, thing: T) -> Handle {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        let (generation, place) = &mut self.slots[slot as usize];
        *place = Some(thing);
        Handle { slot, generation: *generation }
    }

    pub fn remove(&mut self, handle: Handle) -> Option<T> {
        let (generation, place) = self.slots.get_mut(handle.slot())?;
        if *generation != handle.generation {
            return None;
        }
        let thing = place.take()?;
        *generation = (*generation + 1) % u32::MAX;
        self.free.push(handle.slot);
        Some(thing)
    }

    /// The thing, if it is still there.
    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let (generation, place) = self.slots.get_mut(handle.slot())?;
        if *generation == handle.generation { place.as_mut() } else { None }
    }

    /// The handles of all that is there.
    pub fn handles(&self) -> impl Iterator<Item = Handle> + '_ {
        let there = (0..).zip(&self.slots).filter(|(_, (_, thing))| thing.is_some());
        there.map(|(slot, (generation, _))| Handle { slot, generation: *generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_handle_names_nothing() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!((slab.remove(a), slab.remove(a), slab.get_mut(a)), (Some('a'), None, None));
        let c = slab.insert('c');
        assert_eq!(
            (c.slot(), slab.get_mut(a).copied(), slab.get_mut(c).copied()),
            (a.slot(), None, Some('c'))
        );
        assert_eq!(slab.remove(a), None, "nor does it remove what came after it");
        assert_eq!(Handle::of_token(c.token()), c);
        assert_eq!(slab.handles().collect::<Vec<_>>(), [c, b]);
    }

    #[test]
    fn no_handle_has_the_last_generation() {
        let mut slab = Slab { slots: vec![(u32::MAX - 1, None)], free: vec![0] };
        let last = slab.insert('a');
        assert_eq!(last.generation, u32::MAX - 1);
        slab.remove(last);
        assert_eq!(slab.insert('b').generation, 0);
    }
}
