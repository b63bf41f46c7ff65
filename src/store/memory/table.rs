//! A shard's users: a hash table whose places can be fetched into the cache before they are needed, which std's cannot.
//!
//! Open addressing: a user is in the first place from its home on that was free when the user came (Knuth, The Art of
//! Computer Programming 3, section 6.4, algorithms L and R). Beside the places stand their tags, the upper halves of the
//! names' hashes, so that hardly a place is looked at in vain, and growing hashes no name again.
//!
//! *Invariant:* between a user and the home of its tag no place is free, and a quarter of all places are.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::streams::account::Account;
use crate::streams::name::Name;
use crate::sys;

/// Users by name.
#[derive(Default)]
pub(super) struct Table {
    /// Of each place the tag of the user in it, or [`FREE`]. As many as a power of two says, or none at all.
    tags: Box<[Tag]>,
    places: Box<[Option<(Name, Account)>]>,
    len: usize,
}

/// The upper half of a name's hash, its highest bit set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tag(u32);

const FREE: Tag = Tag(0);

impl Tag {
    pub(super) fn new(hash: u64) -> Self {
        Self((hash >> 32) as u32 | 1 << 31)
    }

    fn home(self, mask: usize) -> usize {
        self.0 as usize & mask
    }
}

impl Table {
    /// How many users there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many places there are.
    pub(super) fn capacity(&self) -> usize {
        self.tags.len()
    }

    /// By what a place's number is cut to what there are.
    fn mask(&self) -> usize {
        self.tags.len().wrapping_sub(1)
    }

    /// Where a user is; else the free place where the user would be, if there is any.
    pub(super) fn find(&self, tag: Tag, user: &[u8]) -> Result<usize, usize> {
        let mask = self.mask();
        let mut at = tag.home(mask);
        while let Some(&there) = self.tags.get(at)
            && there != FREE
        {
            if there == tag && self.places[at].as_ref().is_some_and(|(name, _)| name.as_bytes() == user) {
                return Ok(at);
            }
            at = (at + 1) & mask;
        }
        Err(at)
    }

    /// The account of the user who is there.
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Account> {
        self.places[at].as_mut().map(|(_, account)| account)
    }

    /// Puts in a user who is not there; says whether the table had to grow for that.
    pub(super) fn insert(&mut self, tag: Tag, user: Name, account: Account) -> bool {
        let grows = (self.len + 1) * 4 > self.capacity() * 3;
        if grows {
            self.resize(self.len + 1);
        }
        self.put(tag, Some((user, account)));
        self.len += 1;
        grows
    }

    fn put(&mut self, tag: Tag, place: Option<(Name, Account)>) {
        let mask = self.mask();
        let mut at = tag.home(mask);
        while self.tags[at] != FREE {
            at = (at + 1) & mask;
        }
        (self.tags[at], self.places[at]) = (tag, place);
    }

    /// Takes out the user who is there. What follows without a gap moves up where it may, or would not be found again.
    pub(super) fn remove(&mut self, mut free: usize) {
        self.len -= 1;
        let mask = self.mask();
        (self.tags[free], self.places[free]) = (FREE, None);
        let mut at = (free + 1) & mask;
        while self.tags[at] != FREE {
            let from = |place: usize| at.wrapping_sub(place) & mask;
            if from(self.tags[at].home(mask)) >= from(free) {
                (self.tags[free], self.places[free]) = (self.tags[at], self.places[at].take());
                self.tags[at] = FREE;
                free = at;
            }
            at = (at + 1) & mask;
        }
    }

    /// Takes out the users of whom `keep` does not say that they stay. It is asked once about each.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Name, &mut Account) -> bool) {
        // What is behind a free place moves up no further than to it, so never to where it would be seen again.
        let Some(free) = self.tags.iter().position(|&tag| tag == FREE) else { return };
        for i in 1..self.tags.len() {
            let at = (free + i) & self.mask();
            while let Some((name, account)) = &mut self.places[at]
                && !keep(name, account)
            {
                self.remove(at);
            }
        }
    }

    /// Makes more places or fewer: so many that `users` leave a quarter of them free.
    pub(super) fn resize(&mut self, users: usize) {
        let places = (users * 4 / 3 + 1).next_power_of_two().max(4);
        let tags = std::mem::replace(&mut self.tags, vec![FREE; places].into());
        let none = std::iter::repeat_with(|| None).take(places).collect();
        let old = std::mem::replace(&mut self.places, none);
        for (tag, place) in tags.into_iter().zip(old) {
            if tag != FREE {
                self.put(tag, place);
            }
        }
    }
}

/// Where a table lies, for whom does not hold its lock. It may have moved in the meantime: then nothing is gained.
#[derive(Default)]
pub(super) struct Hint {
    tags: AtomicUsize,
    places: AtomicUsize,
    mask: AtomicUsize,
}

impl Hint {
    /// To be called when the table has made more places or fewer.
    pub(super) fn set(&self, table: &Table) {
        self.tags.store(table.tags.as_ptr().addr(), Relaxed);
        self.places.store(table.places.as_ptr().addr(), Relaxed);
        self.mask.store(table.mask(), Relaxed);
    }

    /// Has the place where a user's search begins fetched into the cache.
    pub(super) fn prefetch(&self, tag: Tag) {
        let home = tag.home(self.mask.load(Relaxed));
        sys::prefetch(self.tags.load(Relaxed).wrapping_add(home * size_of::<Tag>()));
        let place = self.places.load(Relaxed).wrapping_add(home * size_of::<Option<(Name, Account)>>());
        // A place is longer than a cache line.
        sys::prefetch(place);
        sys::prefetch(place.wrapping_add(64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A table and what should be in it. Of `homes` there are so few that users crowd.
    struct Twin {
        table: Table,
        model: BTreeMap<u32, Tag>,
        homes: u32,
    }

    impl Twin {
        fn name(user: u32) -> Vec<u8> {
            format!("user{user}").into_bytes()
        }

        fn tag(&self, user: u32) -> Tag {
            Tag::new(u64::from(user.wrapping_mul(0x9E37_79B1) % self.homes) << 32)
        }

        fn change(&mut self, user: u32) {
            let (tag, name) = (self.tag(user), Self::name(user));
            match self.table.find(tag, &name) {
                Ok(at) => {
                    assert_eq!(self.model.remove(&user), Some(tag));
                    self.table.remove(at);
                }
                Err(_) => {
                    assert_eq!(self.model.insert(user, tag), None);
                    self.table.insert(tag, Name::from(&name[..]), Account::default());
                }
            }
        }

        #[track_caller]
        fn check(&self) {
            assert_eq!(self.table.len(), self.model.len());
            assert!(self.table.len() * 4 <= self.table.capacity() * 3);
            for (&user, &tag) in &self.model {
                let at = self.table.find(tag, &Self::name(user)).ok().unwrap();
                assert!(self.table.places[at].is_some() && self.table.tags[at] == tag);
            }
            let taken = self.table.tags.iter().filter(|&&tag| tag != FREE).count();
            assert_eq!((taken, self.table.places.iter().flatten().count()), (self.len(), self.len()));
        }

        fn len(&self) -> usize {
            self.model.len()
        }
    }

    #[test]
    fn is_a_map_whatever_comes_and_goes() {
        for homes in [1, 2, 7, 64, u32::MAX] {
            let mut twin = Twin { table: Table::default(), model: BTreeMap::new(), homes };
            twin.check();
            let mut random = 1_u32;
            for step in 0..3000 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                twin.change((random >> 16) % 60);
                if step % 7 == 0 {
                    twin.check();
                }
                if step % 500 == 499 {
                    let mut asked = Vec::new();
                    twin.table.retain(|name, _| {
                        asked.push(name.as_bytes().to_vec());
                        name.as_bytes().last().is_some_and(|digit| digit % 3 != 0)
                    });
                    let mut expected: Vec<_> = twin.model.keys().map(|&user| Twin::name(user)).collect();
                    asked.sort();
                    expected.sort();
                    assert_eq!(asked, expected, "each is asked about, and once");
                    twin.model.retain(|&user, _| Twin::name(user).last().is_some_and(|digit| digit % 3 != 0));
                    twin.check();
                    twin.table.resize(twin.len());
                    twin.check();
                }
            }
        }
    }

    #[test]
    fn a_place_is_no_larger_than_what_is_in_it() {
        assert_eq!(size_of::<Option<(Name, Account)>>(), size_of::<(Name, Account)>());
    }
}
