//! The latest events that support is asked about: refusals, replacements, and what an operator ended. They are kept as the
//! page reads them.
//!
//! *Invariant:* a worker never waits here: it writes into its own ring, and while that is being read it drops the
//! event. (Not tested.)

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::app::counters::Operation;
use crate::codec::append;
use crate::codec::json::Quoted;
use crate::streams::batch::{Batch, Entry, Verdict, id_and_device};
use crate::sync::lock;
use crate::time::{self, Timestamp};

/// How many are kept: of each worker, and on the page.
pub const MAX_EVENTS: usize = 128;

/// The events of one thread.
#[derive(Default)]
pub struct Recent(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    /// The latest first, in JSON; each with its number among those of all threads.
    events: VecDeque<(u64, Vec<u8>)>,
    /// How many came in the current second. A page shows a few: no person reads a thousand a second.
    second: u64,
    in_second: usize,
}

impl Recent {
    /// Keeps what became of `entry`, if support may be asked about it. `operator` is whose it was, empty if nobody's; `count`
    /// numbers the events of all workers.
    pub fn note(&self, count: &AtomicU64, at: Timestamp, operator: &[u8], entry: &Entry, batch: &Batch) {
        let Some(what) = what(entry) else { return };
        let Ok(mut ring) = self.0.try_lock() else { return };
        if ring.has_room(at) {
            let is_full = ring.events.len() == MAX_EVENTS;
            // Whose memory is used again.
            let (_, mut event) = if is_full { ring.events.pop_back() } else { None }.unwrap_or_default();
            event.clear();
            write(at, operator, what, entry, batch, &mut event);
            ring.events.push_front((count.fetch_add(1, Relaxed), event));
        }
    }

    /// The latest of several workers in JSON, newest first, at most [`MAX_EVENTS`].
    pub fn latest(workers: &[Self]) -> Vec<u8> {
        let all = workers.iter().flat_map(|worker| lock(&worker.0).events.clone());
        let mut events: Vec<_> = all.collect();
        events.sort_by_key(|(number, _)| Reverse(*number));
        let latest: Vec<_> = events.into_iter().take(MAX_EVENTS).map(|(_, event)| event).collect();
        latest.join(&b',')
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

/// What happened to `entry`, if it is one of the events.
fn what(entry: &Entry) -> Option<&'static str> {
    let (verdict, notes) = (entry.outcome.verdict, entry.outcome.notes);
    match verdict {
        Verdict::Full => Some("refused"),
        // Because an operator holds the user.
        Verdict::Held => Some("kept out"),
        Verdict::Ended => Operation::of(entry).map(|done| Operation::LABELS[done as usize]),
        // It was let in although the user was full, because the policy only reports.
        Verdict::Started | Verdict::Renewed if notes.over_limit => Some("reported"),
        Verdict::Started | Verdict::Renewed if notes.replaced > 0 => Some("replaced"),
        _ => None,
    }
}

/// Appends an event in JSON. What it has not is left out: a device, an operator who has shown credentials, or the video where
/// it is about all streams of the user. Of a class that was full, and not the user, count and limit are the class's.
fn write(at: Timestamp, operator: &[u8], what: &str, entry: &Entry, batch: &Batch, out: &mut Vec<u8>) {
    let (id, device) = id_and_device(batch.arena.get(entry.command.key));
    let user = batch.arena.get(entry.command.user);
    let (class, limit) = batch.class_full(entry).unwrap_or((b"", entry.command.limits.total));
    let count = entry.outcome.class_full.map_or(entry.outcome.count, |full| full.count.into());
    append!(out, "{\"time\":\"");
    time::rfc3339(at, out);
    append!(out, "\"");
    for (name, text) in [
        ("user", user),
        ("id", id),
        ("device", device.unwrap_or_default()),
        ("operator", operator),
        ("what", what.as_bytes()),
        ("class", class),
    ] {
        if !text.is_empty() {
            append!(out, ",\"", name, "\":", Quoted(text));
        }
    }
    append!(out, ",\"count\":", count, ",\"limit\":", limit, "}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json;
    use crate::streams::arena::Word;
    use crate::streams::batch::{Action, ClassFull, Command, Notes, Outcome};
    use crate::streams::limits::Limits;

    const START: Action = Action::start();

    fn note(recent: &Recent, secs: u64, key: &[u8], action: Action, verdict: Verdict, replaced: u16) {
        let mut batch = Batch::default();
        let (user, key) = (batch.arena.add(b"ann"), batch.arena.add(key));
        let i = batch.push(Command::new(user, key, 3, action));
        let notes = Notes { replaced, ..Notes::default() };
        batch.entries[i as usize].outcome = Outcome { verdict, count: 2, notes, ..Outcome::default() };
        static COUNT: AtomicU64 = AtomicU64::new(0);
        recent.note(&COUNT, Timestamp::from_millis(secs * 1000), b"ops", &batch.entries[i as usize], &batch);
    }

    fn latest(workers: &[Recent]) -> Vec<String> {
        let text = String::from_utf8(Recent::latest(workers)).unwrap();
        text.split_inclusive('}').map(str::to_owned).collect()
    }

    fn refused(i: usize) -> String {
        format!(
            r#""user":"ann","id":"v{i}","device":"tv","operator":"ops","what":"refused","count":2,"limit":3}}"#
        )
    }

    #[test]
    fn keeps_the_latest_of_all_workers_newest_first() {
        let workers = [Recent::default(), Recent::default()];
        for secs in 0..200 {
            let key = format!("v{secs}\0tv");
            note(&workers[secs as usize % 2], secs, key.as_bytes(), START, Verdict::Full, 0);
        }
        note(&workers[0], 200, b"w", START, Verdict::Started, 1);
        note(&workers[1], 201, b"", Action::Evict { message: Word::default() }, Verdict::Ended, 0);
        for verdict in [Verdict::Started, Verdict::Renewed, Verdict::Ended, Verdict::Info, Verdict::Unknown] {
            note(&workers[1], 202, b"x", START, verdict, 0);
        }
        let latest = latest(&workers);
        assert_eq!(latest.len(), MAX_EVENTS);
        for (i, expected) in [
            (0, r#""user":"ann","operator":"ops","what":"ended","count":2,"limit":3}"#.to_owned()),
            (
                1,
                r#""user":"ann","id":"w","operator":"ops","what":"replaced","count":2,"limit":3}"#.to_owned(),
            ),
            (2, refused(199)),
            (MAX_EVENTS - 1, refused(202 - MAX_EVENTS)),
        ] {
            assert!(latest[i].ends_with(&expected), "{expected} is not {}", latest[i]);
        }
    }

    #[test]
    fn takes_no_more_in_a_second_than_it_keeps() {
        let recent = [Recent::default()];
        for i in 0..10 * MAX_EVENTS {
            note(&recent[0], 7, format!("v{i}").as_bytes(), START, Verdict::Full, 0);
        }
        assert!(latest(&recent).last().unwrap().contains(r#""id":"v0""#));
    }

    #[test]
    fn an_event_is_json_whatever_the_names() {
        let mut batch = Batch::default();
        let (user, key) = (batch.arena.add(b"a\"b"), batch.arena.add("\\\0é".as_bytes()));
        let limits = Limits::parse(b"3,live=1").unwrap().into_arena(&mut batch.arena);
        batch.push(Command { limits, ..Command::new(user, key, 3, START) });
        let outcome = &mut batch.entries[0].outcome;
        outcome.class_full = Some(ClassFull { at: 0, count: 1 });
        let mut text = Vec::new();
        write(Timestamp::BEGINNING, b"o\"p", "reported", &batch.entries[0], &batch, &mut text);
        json::any(&text).unwrap();
        let expected = r#""user":"a\"b","id":"\\","device":"é","operator":"o\"p","what":"reported","class":"live","count":1,"limit":1}"#;
        assert!(text.ends_with(expected.as_bytes()), "{}", String::from_utf8_lossy(&text));
    }
}
