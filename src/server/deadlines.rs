//! When to give a connection up.
//!
//! A connection waits for one thing at a time, and for each thing there is one length of time. So the connection that
//! begins to wait last is also due last: a queue for each thing is always in order, and beginning to wait, ceasing to, and
//! finding what is due each cost a few stores. The queue of the idle also tells which has been idle longest.
//!
//! *Invariant:* each queue is in the order of its deadlines, because `now` never goes back. (Tested by
//! `agrees_with_a_plain_list`.)

use super::slab::Handle;
use crate::app::counters::Timeout;
use crate::time::{Millis, Timestamp};

/// No slot.
const NONE: u32 = u32::MAX;

/// The queues of one worker. Each connection's place is found by its slot.
pub struct Deadlines {
    links: Vec<Queued>,
    /// How long an idle connection is kept.
    idle_time: Millis,
    queues: [Queue; Timeout::ALL.len()],
}

#[derive(Clone, Copy)]
struct Queue {
    first: u32,
    last: u32,
    len: usize,
}

/// One connection's place in the queue that it stands in.
#[derive(Clone, Copy)]
struct Queued {
    handle: Handle,
    before: u32,
    behind: u32,
    wait: Option<Timeout>,
    due: Timestamp,
}

impl Deadlines {
    /// No connection waits. An idle one is kept for `idle_time`.
    pub fn new(idle_time: Millis) -> Self {
        let empty = Queue { first: NONE, last: NONE, len: 0 };
        Self { links: Vec::new(), idle_time, queues: [empty; Timeout::ALL.len()] }
    }

    /// From `now` on the connection waits for this, and no longer for what it has waited for before.
    pub fn begin(&mut self, handle: Handle, wait: Timeout, now: Timestamp) {
        self.end(handle);
        let slot = handle.slot();
        if self.links.len() <= slot {
            let nowhere = Queued { handle, before: NONE, behind: NONE, wait: None, due: Timestamp::MAX };
            self.links.resize(slot + 1, nowhere);
        }
        let queue = &mut self.queues[wait as usize];
        let (slot, last) = (slot as u32, std::mem::replace(&mut queue.last, slot as u32));
        queue.len += 1;
        match last {
            NONE => queue.first = slot,
            last => self.links[last as usize].behind = slot,
        }
        let due = now + wait.duration(self.idle_time);
        self.links[slot as usize] = Queued { handle, before: last, behind: NONE, wait: Some(wait), due };
    }

    /// Goes on waiting for this, or begins to.
    pub fn go_on(&mut self, handle: Handle, wait: Timeout, now: Timestamp) {
        if self.waits_for(handle) != Some(wait) {
            self.begin(handle, wait, now);
        }
    }

    /// The connection waits for nothing.
    pub fn end(&mut self, handle: Handle) {
        let Some(link) = self.links.get_mut(handle.slot()) else { return };
        let Some(wait) = link.wait.take() else { return };
        let Queued { before, behind, .. } = *link;
        let queue = &mut self.queues[wait as usize];
        queue.len -= 1;
        match before {
            NONE => queue.first = behind,
            before => self.links[before as usize].behind = behind,
        }
        match behind {
            NONE => queue.last = before,
            behind => self.links[behind as usize].before = before,
        }
    }

    /// No connection waits any more.
    pub fn clear(&mut self) {
        *self = Self::new(self.idle_time);
    }

    /// What the connection waits for.
    pub fn waits_for(&self, handle: Handle) -> Option<Timeout> {
        self.links.get(handle.slot())?.wait
    }

    /// A connection that has waited too long, and for what; it waits no longer.
    pub fn take_due(&mut self, now: Timestamp) -> Option<(Handle, Timeout)> {
        let firsts = self.queues.iter().filter_map(|queue| self.links.get(queue.first as usize));
        let link = firsts.into_iter().find(|link| link.due <= now)?;
        let (handle, wait) = (link.handle, link.wait?);
        self.end(handle);
        Some((handle, wait))
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.queues.iter().filter_map(|queue| Some(self.links.get(queue.first as usize)?.due)).min()
    }

    /// Which connection has waited longest for this, and since when.
    pub fn longest(&self, kind: Timeout) -> Option<(Handle, Timestamp)> {
        let link = self.links.get(self.queues[kind as usize].first as usize)?;
        let since = link.due.millis() - kind.duration(self.idle_time).millis();
        Some((link.handle, Timestamp::from_millis(since)))
    }

    /// How many wait for something that they hold a buffer for.
    pub fn holding(&self) -> usize {
        let holds = [Timeout::Head, Timeout::Body, Timeout::Write];
        holds.into_iter().map(|wait| self.queues[wait as usize].len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Millis = Millis::from_secs(75);

    fn on(slot: u64) -> Handle {
        Handle::of_token(slot)
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn what_waits_too_long_is_found_in_order() {
        let mut deadlines = Deadlines::new(IDLE);
        assert_eq!(
            (deadlines.next(), deadlines.take_due(at(99)), deadlines.longest(Timeout::Idle)),
            (None, None, None)
        );
        deadlines.begin(on(3), Timeout::Idle, at(0));
        deadlines.begin(on(0), Timeout::Head, at(1));
        deadlines.begin(on(1), Timeout::Head, at(2));
        deadlines.begin(on(2), Timeout::Body, at(3));
        assert_eq!(deadlines.next(), Some(at(11)));
        assert_eq!(deadlines.take_due(at(10)), None);
        assert_eq!(deadlines.take_due(at(12)), Some((on(0), Timeout::Head)));
        assert_eq!(deadlines.take_due(at(12)), Some((on(1), Timeout::Head)));
        assert_eq!(deadlines.take_due(at(12)), None);
        assert_eq!(deadlines.next(), Some(at(13)));
        assert_eq!(deadlines.waits_for(on(0)), None);
    }

    #[test]
    fn dripping_does_not_extend_a_deadline_and_a_new_request_does() {
        let mut deadlines = Deadlines::new(IDLE);
        deadlines.begin(on(0), Timeout::Head, at(0));
        deadlines.go_on(on(0), Timeout::Head, at(5));
        assert_eq!(deadlines.next(), Some(at(10)));
        deadlines.go_on(on(0), Timeout::Body, at(9));
        assert_eq!(deadlines.next(), Some(at(19)));
        deadlines.begin(on(0), Timeout::Body, at(12));
        assert_eq!(deadlines.next(), Some(at(22)));
    }

    #[test]
    fn the_longest_idle_is_the_one_that_was_busy_first() {
        let mut deadlines = Deadlines::new(IDLE);
        for slot in 0..4 {
            deadlines.begin(on(slot), Timeout::Idle, at(slot));
        }
        deadlines.begin(on(0), Timeout::Idle, at(10));
        deadlines.end(on(1));
        assert_eq!(deadlines.longest(Timeout::Idle), Some((on(2), at(2))));
        deadlines.begin(on(2), Timeout::Write, at(11));
        assert_eq!(deadlines.longest(Timeout::Idle), Some((on(3), at(3))));
        deadlines.end(on(3));
        deadlines.end(on(3));
        assert_eq!(deadlines.longest(Timeout::Idle), Some((on(0), at(10))));
    }

    /// Against a list that is searched.
    #[test]
    fn agrees_with_a_plain_list() {
        let (mut deadlines, mut plain) = (Deadlines::new(IDLE), vec![None; 50]);
        let mut seed = 1_u64;
        for step in 0..20_000_u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (slot, kind) = ((seed >> 33) as usize % 50, (seed >> 53) as usize % 8);
            let waits = [Timeout::Head, Timeout::Body, Timeout::Idle, Timeout::Write, Timeout::Drain];
            match waits.get(kind) {
                Some(&wait) => {
                    deadlines.begin(on(slot as u64), wait, at(step));
                    plain[slot] = Some((at(step) + wait.duration(IDLE), wait));
                }
                None => {
                    deadlines.end(on(slot as u64));
                    plain[slot] = None;
                }
            }
            while let Some((handle, wait)) = deadlines.take_due(at(step)) {
                let (due, expected) = plain[handle.slot()].take().unwrap();
                assert!(due <= at(step) && wait == expected);
            }
            let holds = |wait: &Timeout| !matches!(wait, Timeout::Idle | Timeout::Drain);
            let holding = plain.iter().flatten().filter(|(_, wait)| holds(wait)).count();
            assert_eq!(deadlines.holding(), holding);
            assert_eq!(deadlines.next(), plain.iter().flatten().map(|(due, _)| *due).min());
        }
    }
}
