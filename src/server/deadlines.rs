//! When to give a connection up.
//!
//! A connection waits for one thing at a time, and for each thing there is one length of time. So whoever begins to wait
//! last is also due last: a queue for each thing is always in order, and beginning to wait, ceasing to, and finding who is
//! due each cost a few stores. The queue of the idle tells besides who has been idle longest.
//!
//! *Invariant:* each queue is in the order of its deadlines, because `now` never goes back.

use crate::app::counters::Timeout;
use crate::time::{Millis, Timestamp};

impl Timeout {
    /// How long it is waited for.
    fn time(self) -> Millis {
        match self {
            Self::Head | Self::Body | Self::Write => Millis::from_secs(10),
            Self::Idle | Self::IdleAdmin => Millis::from_secs(60),
            Self::Drain => Millis::from_secs(2),
        }
    }
}

/// No slot.
const NONE: u32 = u32::MAX;

/// The queues of one worker. Connections are known by their slots.
pub struct Deadlines {
    links: Vec<Link>,
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
struct Link {
    before: u32,
    behind: u32,
    wait: Option<Timeout>,
    due: Timestamp,
}

impl Deadlines {
    /// Nobody waits.
    pub fn new() -> Self {
        Self { links: Vec::new(), queues: [Queue { first: NONE, last: NONE, len: 0 }; Timeout::ALL.len()] }
    }

    /// From `now` on, `slot` waits for this, and for nothing that it has waited for before.
    pub fn begin(&mut self, slot: u32, wait: Timeout, now: Timestamp) {
        self.end(slot);
        if self.links.len() <= slot as usize {
            let nowhere = Link { before: NONE, behind: NONE, wait: None, due: Timestamp::MAX };
            self.links.resize(slot as usize + 1, nowhere);
        }
        let last = self.queues[wait as usize].last;
        self.links[slot as usize] =
            Link { before: last, behind: NONE, wait: Some(wait), due: now + wait.time() };
        match last {
            NONE => self.queues[wait as usize].first = slot,
            last => self.links[last as usize].behind = slot,
        }
        self.queues[wait as usize].last = slot;
        self.queues[wait as usize].len += 1;
    }

    /// Goes on waiting for this, or begins to.
    pub fn go_on(&mut self, slot: u32, wait: Timeout, now: Timestamp) {
        if self.waits_for(slot) != Some(wait) {
            self.begin(slot, wait, now);
        }
    }

    /// `slot` waits for nothing.
    pub fn end(&mut self, slot: u32) {
        let Some(link) = self.links.get_mut(slot as usize) else { return };
        let Some(wait) = link.wait.take() else { return };
        let Link { before, behind, .. } = *link;
        self.queues[wait as usize].len -= 1;
        match before {
            NONE => self.queues[wait as usize].first = behind,
            before => self.links[before as usize].behind = behind,
        }
        match behind {
            NONE => self.queues[wait as usize].last = before,
            behind => self.links[behind as usize].before = before,
        }
    }

    /// What `slot` waits for.
    pub fn waits_for(&self, slot: u32) -> Option<Timeout> {
        self.links.get(slot as usize)?.wait
    }

    /// Somebody who has waited too long; they wait no longer.
    pub fn take_due(&mut self, now: Timestamp) -> Option<(u32, Timeout)> {
        let due = |queue: &Queue| self.due(queue.first).is_some_and(|due| due <= now);
        let slot = self.queues.iter().find(|queue| due(queue))?.first;
        let wait = self.waits_for(slot)?;
        self.end(slot);
        Some((slot, wait))
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.queues.iter().filter_map(|queue| self.due(queue.first)).min()
    }

    /// Who has been idle longest, and since when.
    pub fn longest_idle(&self) -> Option<(u32, Timestamp)> {
        let first = self.queues[Timeout::Idle as usize].first;
        let since = self.due(first)?.millis() - Timeout::Idle.time().millis();
        Some((first, Timestamp::from_millis(since)))
    }

    /// How many are idle and could make room.
    pub fn idle(&self) -> usize {
        self.queues[Timeout::Idle as usize].len
    }

    /// How many wait for something that they hold a buffer for.
    pub fn holding(&self) -> usize {
        [Timeout::Head, Timeout::Body, Timeout::Write]
            .into_iter()
            .map(|wait| self.queues[wait as usize].len)
            .sum()
    }

    fn due(&self, slot: u32) -> Option<Timestamp> {
        self.links.get(slot as usize).map(|link| link.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn who_waits_too_long_is_found_in_order() {
        let mut deadlines = Deadlines::new();
        assert_eq!(
            (deadlines.next(), deadlines.take_due(at(99)), deadlines.longest_idle()),
            (None, None, None)
        );
        deadlines.begin(3, Timeout::Idle, at(0));
        deadlines.begin(0, Timeout::Head, at(1));
        deadlines.begin(1, Timeout::Head, at(2));
        deadlines.begin(2, Timeout::Body, at(3));
        assert_eq!(deadlines.next(), Some(at(11)));
        assert_eq!(deadlines.take_due(at(10)), None);
        assert_eq!(deadlines.take_due(at(12)), Some((0, Timeout::Head)));
        assert_eq!(deadlines.take_due(at(12)), Some((1, Timeout::Head)));
        assert_eq!(deadlines.take_due(at(12)), None);
        assert_eq!(deadlines.next(), Some(at(13)));
        assert_eq!(deadlines.waits_for(0), None);
    }

    #[test]
    fn dripping_does_not_extend_a_deadline_and_a_new_request_does() {
        let mut deadlines = Deadlines::new();
        deadlines.begin(0, Timeout::Head, at(0));
        deadlines.go_on(0, Timeout::Head, at(5));
        assert_eq!(deadlines.next(), Some(at(10)));
        deadlines.go_on(0, Timeout::Body, at(9));
        assert_eq!(deadlines.next(), Some(at(19)));
        deadlines.begin(0, Timeout::Body, at(12));
        assert_eq!(deadlines.next(), Some(at(22)));
    }

    #[test]
    fn the_longest_idle_is_the_one_that_was_busy_first() {
        let mut deadlines = Deadlines::new();
        for slot in 0..4 {
            deadlines.begin(slot, Timeout::Idle, at(u64::from(slot)));
        }
        deadlines.begin(0, Timeout::Idle, at(10));
        deadlines.end(1);
        assert_eq!(deadlines.longest_idle(), Some((2, at(2))));
        deadlines.begin(2, Timeout::Write, at(11));
        assert_eq!(deadlines.longest_idle(), Some((3, at(3))));
        deadlines.end(3);
        deadlines.end(3);
        assert_eq!(deadlines.longest_idle(), Some((0, at(10))));
    }

    /// Against a list that is searched.
    #[test]
    fn agrees_with_a_plain_list() {
        let (mut deadlines, mut plain) = (Deadlines::new(), vec![None; 50]);
        let mut seed = 1_u64;
        for step in 0..20_000_u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (slot, kind) = ((seed >> 33) as usize % 50, (seed >> 53) as usize % 8);
            let waits = [
                Timeout::Head,
                Timeout::Body,
                Timeout::Idle,
                Timeout::IdleAdmin,
                Timeout::Write,
                Timeout::Drain,
            ];
            match waits.get(kind) {
                Some(&wait) => {
                    deadlines.begin(slot as u32, wait, at(step));
                    plain[slot] = Some((at(step) + wait.time(), wait));
                }
                None => {
                    deadlines.end(slot as u32);
                    plain[slot] = None;
                }
            }
            while let Some((slot, wait)) = deadlines.take_due(at(step)) {
                let (due, expected) = plain[slot as usize].take().unwrap();
                assert!(due <= at(step) && wait == expected);
            }
            let holds = |wait: &Timeout| !matches!(wait, Timeout::Idle | Timeout::IdleAdmin | Timeout::Drain);
            let holding = plain.iter().flatten().filter(|(_, wait)| holds(wait)).count();
            assert_eq!(deadlines.holding(), holding);
            assert_eq!(deadlines.next(), plain.iter().flatten().map(|(due, _)| *due).min());
        }
    }
}
