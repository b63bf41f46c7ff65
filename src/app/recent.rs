//! The latest admissions and refusals, for whoever watches the page.
//!
//! *Invariant:* a worker never waits here: it writes into its own ring, and when that is being read it lets one go by.

use std::sync::{Mutex, PoisonError};

use crate::streams::batch::{Action, Batch, Entry, Verdict, id_and_device};
use crate::streams::name::Name;
use crate::time::Timestamp;

/// How many are kept: of each worker, and on the page.
pub const KEPT: usize = 32;

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The stream was let in.
    Admitted,
    /// It was let in, and another one gave way.
    Replaced,
    /// It was let in although the user was full, because the policy only reports.
    Reported,
    /// It was refused.
    Refused,
}

/// One decision.
#[derive(Clone, Debug)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// Who asked.
    pub user: Name,
    /// For which video.
    pub id: Name,
    /// On which device.
    pub device: Option<Name>,
    /// What was decided.
    pub what: What,
    /// How many streams the user plays.
    pub count: u32,
    /// How many the user may play.
    pub limit: u32,
}

/// One worker's latest decisions.
#[derive(Default)]
pub struct Recent(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    events: Vec<Decision>,
    /// Where the next one goes once the ring is full.
    next: usize,
    /// How many came in the current second. A page shows a few; nobody reads a thousand a second.
    second: u64,
    in_second: usize,
}

impl Recent {
    /// Keeps what was decided about `entry`, if it was an admission or a refusal.
    pub fn note(&self, at: Timestamp, entry: &Entry, batch: &Batch) {
        let notes = entry.outcome.notes;
        let what = match (entry.outcome.verdict, entry.command.action) {
            (Verdict::Full, _) => What::Refused,
            (Verdict::Started | Verdict::Renewed, _) if notes.over_limit => What::Reported,
            (Verdict::Started | Verdict::Renewed, Action::Start { .. }) if notes.replaced > 0 => {
                What::Replaced
            }
            (Verdict::Started, _) => What::Admitted,
            _ => return,
        };
        let Ok(mut ring) = self.0.try_lock() else { return };
        if !ring.has_room(at) {
            return;
        }
        let (id, device) = id_and_device(batch.arena.get(entry.command.key));
        ring.push(Decision {
            at,
            user: Name::from(batch.arena.get(entry.command.user)),
            id: Name::from(id),
            device: device.map(Name::from),
            what,
            count: entry.outcome.count,
            limit: entry.command.limit,
        });
    }

    /// The latest of several workers, newest first, at most [`KEPT`].
    pub fn latest<'a>(workers: impl IntoIterator<Item = &'a Self>) -> Vec<Decision> {
        let mut events: Vec<Decision> = Vec::new();
        for worker in workers {
            let ring = worker.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (newer, older) = ring.events.split_at(ring.next);
            events.extend(newer.iter().rev().chain(older.iter().rev()).cloned());
        }
        // Stable, so that of one worker's decisions in the same millisecond the latest stays first.
        events.sort_by_key(|event| std::cmp::Reverse(event.at));
        events.truncate(KEPT);
        events
    }
}

impl Ring {
    fn has_room(&mut self, at: Timestamp) -> bool {
        if self.second != at.secs() {
            (self.second, self.in_second) = (at.secs(), 0);
        }
        self.in_second += 1;
        self.in_second <= KEPT
    }

    fn push(&mut self, event: Decision) {
        if self.events.len() < KEPT {
            self.events.push(event);
        } else {
            self.events[self.next] = event;
            self.next = (self.next + 1) % KEPT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::batch::{Command, Outcome, Replace};

    fn note(recent: &Recent, secs: u64, key: &[u8], verdict: Verdict, action: Action) {
        let mut batch = Batch::default();
        let (user, key) = (batch.arena.add(b"ann"), batch.arena.add(key));
        let i = batch.push(Command { user, key, limit: 3, action });
        batch.entries[i as usize].outcome = Outcome { verdict, count: 2, ..Outcome::default() };
        recent.note(Timestamp::from_millis(secs * 1000), &batch.entries[i as usize], &batch);
    }

    #[test]
    fn keeps_the_latest_of_all_workers_newest_first() {
        let workers = [Recent::default(), Recent::default()];
        let start = Action::Start { position: None, replace: Replace::ByPolicy };
        for secs in 0..100 {
            let key = format!("v{secs}\0tv");
            note(&workers[secs as usize % 2], secs, key.as_bytes(), Verdict::Started, start);
        }
        note(&workers[0], 100, b"w", Verdict::Full, start);
        note(&workers[1], 101, b"x", Verdict::Info, Action::Look);
        let latest = Recent::latest(&workers);
        let shown = |i: usize| {
            format!("{:?} {:?} {:?} {:?}", latest[i].user, latest[i].id, latest[i].device, latest[i].what)
        };
        assert_eq!((latest.len(), shown(0)), (KEPT, r#""ann" "w" None Refused"#.into()));
        assert_eq!(shown(1), r#""ann" "v99" Some("tv") Admitted"#);
        assert_eq!(shown(KEPT - 1), format!(r#""ann" "v{}" Some("tv") Admitted"#, 101 - KEPT));
    }

    #[test]
    fn takes_no_more_in_a_second_than_it_keeps() {
        let recent = Recent::default();
        let start = Action::Start { position: None, replace: Replace::ByPolicy };
        for i in 0..10 * KEPT {
            note(&recent, 7, format!("v{i}").as_bytes(), Verdict::Started, start);
        }
        assert!(Recent::latest([&recent]).iter().any(|event| event.id == Name::from(&b"v0"[..])));
    }
}
