//! The latest events that support is asked about: refusals, replacements, and what an operator ended.
//!
//! *Invariant:* a worker never waits here: it writes into its own ring, and while that is being read it drops the event.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::Side;
use crate::streams::batch::{Action, Batch, Entry, Verdict, id_and_device};
use crate::streams::name::Name;
use crate::time::{Millis, Timestamp};

/// How many are kept: of each worker, and on the page.
pub const MAX_EVENTS: usize = 128;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A stream was refused because the user is full.
    Refused,
    /// A stream was refused because an operator holds the user.
    KeptOut,
    /// It was let in although the user was full, because the policy only reports.
    Reported,
    /// It was let in, and another one gave way.
    Replaced,
    /// An operator ended one stream, or all of them.
    Ended,
    /// An operator ended all of them, and lets none start for a while.
    Held,
    /// An operator lets them start again.
    Lifted,
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Whose streams it is about.
    pub user: Name,
    /// Which video; None for all streams of the user.
    pub id: Option<Name>,
    /// On which device.
    pub device: Option<Name>,
    /// What happened.
    pub kind: EventKind,
    /// How many streams the user plays.
    pub count: u32,
    /// How many the user may play.
    pub limit: u32,
}

/// One worker's latest events.
#[derive(Default)]
pub struct Recent(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    events: VecDeque<Event>,
    /// How many came in the current second. A page shows a few: no person reads a thousand a second.
    second: u64,
    in_second: usize,
}

impl Recent {
    /// Keeps what became of `entry`, if support may be asked about it.
    pub fn note(&self, at: Timestamp, side: Side, entry: &Entry, batch: &Batch) {
        let Some(kind) = kind(side, entry) else { return };
        let Ok(mut ring) = self.0.try_lock() else { return };
        if !ring.has_room(at) {
            return;
        }
        let (id, device) = id_and_device(batch.arena.get(entry.command.key));
        ring.events.truncate(MAX_EVENTS - 1);
        ring.events.push_front(Event {
            at,
            user: Name::from(batch.arena.get(entry.command.user)),
            id: Some(id).filter(|id| !id.is_empty()).map(Name::from),
            device: device.map(Name::from),
            kind,
            count: entry.outcome.count,
            limit: entry.command.limit,
        });
    }

    /// The latest of several workers, newest first, at most [`MAX_EVENTS`].
    pub fn latest<'a>(workers: impl IntoIterator<Item = &'a Self>) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        for worker in workers {
            let ring = worker.0.lock().unwrap_or_else(PoisonError::into_inner);
            events.extend(ring.events.iter().cloned());
        }
        // Stable, so that of one worker's events in the same millisecond the latest stays first.
        events.sort_by_key(|event| std::cmp::Reverse(event.at));
        events.truncate(MAX_EVENTS);
        events
    }
}

/// What happened to `entry`, if it is one of the events.
fn kind(side: Side, entry: &Entry) -> Option<EventKind> {
    let (verdict, notes) = (entry.outcome.verdict, entry.outcome.notes);
    match verdict {
        Verdict::Full => Some(EventKind::Refused),
        Verdict::Held => Some(EventKind::KeptOut),
        Verdict::Ended if side == Side::Admin => Some(match entry.command.action {
            Action::Hold { length, .. } if length > Millis::ZERO => EventKind::Held,
            Action::Hold { .. } => EventKind::Lifted,
            _ => EventKind::Ended,
        }),
        Verdict::Started | Verdict::Renewed if notes.over_limit => Some(EventKind::Reported),
        Verdict::Started | Verdict::Renewed if notes.replaced > 0 => Some(EventKind::Replaced),
        _ => None,
    }
}

impl Ring {
    fn has_room(&mut self, at: Timestamp) -> bool {
        if self.second != at.secs() {
            (self.second, self.in_second) = (at.secs(), 0);
        }
        self.in_second += 1;
        self.in_second <= MAX_EVENTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::batch::{Command, Notes, Outcome, Replace};

    const START: Action = Action::Start { position: None, replace: Replace::ByPolicy, switch: false };

    fn note(recent: &Recent, secs: u64, key: &[u8], side: Side, verdict: Verdict, replaced: u16) {
        let mut batch = Batch::default();
        let (user, key) = (batch.arena.add(b"ann"), batch.arena.add(key));
        let i = batch.push(Command { user, key, limit: 3, action: START });
        let notes = Notes { replaced, ..Notes::default() };
        batch.entries[i as usize].outcome = Outcome { verdict, count: 2, notes, ..Outcome::default() };
        recent.note(Timestamp::from_millis(secs * 1000), side, &batch.entries[i as usize], &batch);
    }

    #[test]
    fn keeps_the_latest_of_all_workers_newest_first() {
        let workers = [Recent::default(), Recent::default()];
        for secs in 0..200 {
            let key = format!("v{secs}\0tv");
            note(&workers[secs as usize % 2], secs, key.as_bytes(), Side::Public, Verdict::Full, 0);
        }
        note(&workers[0], 200, b"w", Side::Public, Verdict::Started, 1);
        note(&workers[1], 201, b"", Side::Admin, Verdict::Ended, 0);
        for verdict in [Verdict::Started, Verdict::Renewed, Verdict::Ended, Verdict::Info, Verdict::Unknown] {
            note(&workers[1], 202, b"x", Side::Public, verdict, 0);
        }
        let latest = Recent::latest(&workers);
        let shown = |i: usize| {
            format!("{:?} {:?} {:?} {:?}", latest[i].user, latest[i].id, latest[i].device, latest[i].kind)
        };
        assert_eq!((latest.len(), shown(0)), (MAX_EVENTS, r#""ann" None None Ended"#.into()));
        assert_eq!(shown(1), r#""ann" Some("w") None Replaced"#);
        assert_eq!(shown(2), r#""ann" Some("v199") Some("tv") Refused"#);
        let last = 202 - MAX_EVENTS;
        assert_eq!(shown(MAX_EVENTS - 1), format!(r#""ann" Some("v{last}") Some("tv") Refused"#));
    }

    #[test]
    fn takes_no_more_in_a_second_than_it_keeps() {
        let recent = Recent::default();
        for i in 0..10 * MAX_EVENTS {
            note(&recent, 7, format!("v{i}").as_bytes(), Side::Public, Verdict::Full, 0);
        }
        let first = Some(Name::from(&b"v0"[..]));
        assert!(Recent::latest([&recent]).iter().any(|event| event.id == first));
    }
}
