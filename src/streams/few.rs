//! A list that is seldom longer than one, and beside it what few have: its only element stands in place.
//!
//! Most users watch one stream. Kept in place it costs no heap block and, on every heartbeat, no pointer to follow: at a
//! million users that is one cache miss less of four. What is rare stands beside a list on the heap, in room that the
//! element leaves free there.
//!
//! *Invariant:* the elements are in the order in which they were pushed. (Tested by `does_what_a_vector_does`.)

use std::ops::{Deref, DerefMut};

/// A list of `T`, with an `R` beside it or not; it reads as a slice.
#[derive(Clone, Debug)]
pub struct Few<T, R>(Repr<T, R>);

#[derive(Clone, Debug)]
enum Repr<T, R> {
    One(T),
    /// Any number: a list that has grown keeps its room until [`Few::shrink`].
    Many(Vec<T>, Option<Box<R>>),
}

impl<T, R> Few<T, R> {
    /// Adds an element at the end.
    pub fn push(&mut self, element: T) {
        match &mut self.0 {
            Repr::Many(elements, None) if elements.is_empty() => self.0 = Repr::One(element),
            _ => {
                let (elements, _) = self.spread();
                // Room for twice as many, as `push` makes it, would be mostly air.
                elements.reserve_exact(1);
                elements.push(element);
            }
        }
    }

    /// Takes out the element at `i`.
    pub fn remove(&mut self, i: usize) {
        self.spread().0.remove(i);
    }

    /// Keeps only the elements that `keep` says yes to.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        match &mut self.0 {
            Repr::One(element) if keep(element) => {}
            Repr::One(_) => *self = Self::default(),
            Repr::Many(elements, _) => elements.retain(keep),
        }
    }

    /// Gives back the room that is not needed.
    pub fn shrink(&mut self) {
        let Repr::Many(elements, rare) = &mut self.0 else { return };
        match elements.pop() {
            Some(element) if elements.is_empty() && rare.is_none() => self.0 = Repr::One(element),
            last => {
                elements.extend(last);
                elements.shrink_to_fit();
            }
        }
    }

    /// What few have, if it is there.
    pub fn rare(&self) -> Option<&R> {
        match &self.0 {
            Repr::One(_) => None,
            Repr::Many(_, rare) => rare.as_deref(),
        }
    }

    /// The same, to be changed.
    pub fn rare_mut(&mut self) -> Option<&mut R> {
        match &mut self.0 {
            Repr::One(_) => None,
            Repr::Many(_, rare) => rare.as_deref_mut(),
        }
    }

    /// The same, made if it is not there.
    pub fn rare_or_default(&mut self) -> &mut R
    where
        R: Default,
    {
        self.spread().1.get_or_insert_default()
    }

    /// Takes away what few have.
    pub fn take_rare(&mut self) {
        if let Repr::Many(_, rare) = &mut self.0 {
            *rare = None;
        }
    }

    fn spread(&mut self) -> (&mut Vec<T>, &mut Option<Box<R>>) {
        if let Repr::One(_) = &self.0
            && let Repr::One(element) = std::mem::take(self).0
        {
            self.0 = Repr::Many(vec![element], None);
        }
        match &mut self.0 {
            Repr::Many(elements, rare) => (elements, rare),
            Repr::One(_) => unreachable!("it has just been spread"),
        }
    }
}

impl<T: PartialEq, R: PartialEq> PartialEq for Few<T, R> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other && self.rare() == other.rare()
    }
}

impl<T: Eq, R: Eq> Eq for Few<T, R> {}

impl<T, R> Default for Few<T, R> {
    fn default() -> Self {
        Self(Repr::Many(Vec::new(), None))
    }
}

impl<T, R> Deref for Few<T, R> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Repr::One(element) => std::slice::from_ref(element),
            Repr::Many(elements, _) => elements,
        }
    }
}

impl<T, R> DerefMut for Few<T, R> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Repr::One(element) => std::slice::from_mut(element),
            Repr::Many(elements, _) => elements,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a vector and an option.
    #[test]
    fn does_what_a_vector_does() {
        let (mut few, mut plain, mut rare) = (Few::<u64, u64>::default(), Vec::new(), None);
        let mut seed = 7_u64;
        for step in 0..10_000_u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (seed >> 40) as usize % 4;
            match (seed >> 33) % 10 {
                0..=3 if plain.len() < 6 => {
                    few.push(step);
                    plain.push(step);
                }
                4 if at < plain.len() => {
                    few.remove(at);
                    plain.remove(at);
                }
                5 => {
                    few.retain(|n| n % 3 != at as u64);
                    plain.retain(|n| n % 3 != at as u64);
                }
                6 => few.shrink(),
                7 => {
                    few.take_rare();
                    rare = None;
                }
                8 => {
                    *few.rare_or_default() += step;
                    rare = Some(rare.unwrap_or(0) + step);
                }
                _ => {
                    few.iter_mut().for_each(|n| *n += 1);
                    few.rare_mut().into_iter().for_each(|n| *n += 1);
                    plain.iter_mut().for_each(|n| *n += 1);
                    rare = rare.map(|n| n + 1);
                }
            }
            assert_eq!((&few[..], few.rare()), (&plain[..], rare.as_ref()));
        }
    }
}
