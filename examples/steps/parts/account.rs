//! What the steps 8 and 9 have made, as it stands there: the rules. No clock, no socket, no HTTP.

use std::time::{Duration, Instant};

/// How long a stream lives without a heartbeat.
const LEASE: Duration = Duration::from_secs(90);

/// What a user watches, and what has ended on purpose less than a lease ago.
#[derive(Default)]
pub struct Account {
    streams: Vec<Stream>,
    ended: Vec<(Stream, &'static str)>,
}

struct Stream {
    id: String,
    /// When its lease runs out; of one that has ended, until when we remember why.
    until: Instant,
}

pub enum Command<'a> {
    Ask,
    /// Ends the stream named in `replace` if there is no room without that.
    Start {
        replace: Option<&'a str>,
    },
    Renew,
    End,
}

#[derive(Debug, PartialEq)]
pub enum Outcome {
    Done { count: usize, can_watch: bool },
    Started { count: usize },
    Full { streams: Vec<String> },
    Ended(&'static str),
    Unknown,
}

impl Account {
    /// The rules, all of them. They read no clock and know no socket.
    pub fn apply(&mut self, now: Instant, limit: usize, command: &Command, id: &str) -> Outcome {
        self.streams.retain(|stream| now < stream.until);
        self.ended.retain(|(stream, _)| now < stream.until);
        let count = self.streams.len();
        let found = self.position(id);
        match (command, found) {
            (Command::Ask, _) => Outcome::Done { count, can_watch: found.is_some() || count < limit },
            (Command::Start { .. } | Command::Renew, Some(at)) => {
                self.streams[at].until = now + LEASE;
                Outcome::Done { count, can_watch: true }
            }
            // We look at the command through a reference, so `replace` is one, too. `*` copies what it refers to.
            (Command::Start { replace }, None) => self.start(now, limit, id, *replace),
            (Command::End, Some(at)) => {
                self.end(now, at, "stopped");
                Outcome::Done { count: count - 1, can_watch: true }
            }
            (Command::Renew | Command::End, None) => {
                match self.ended.iter().find(|(stream, _)| stream.id == id) {
                    Some((_, reason)) => Outcome::Ended(reason),
                    None => Outcome::Unknown,
                }
            }
        }
    }

    /// Looks first and changes afterwards: a start that is refused has ended nothing.
    fn start(&mut self, now: Instant, limit: usize, id: &str, replace: Option<&str>) -> Outcome {
        let old = replace.and_then(|id| self.position(id));
        match (self.streams.len(), old) {
            (count, _) if count < limit => {}
            // With more than `limit` (it was higher once) there is no room even when one has ended.
            (count, Some(old)) if count == limit => self.end(now, old, "replaced"),
            _ => return Outcome::Full { streams: self.streams.iter().map(|s| s.id.clone()).collect() },
        }
        self.ended.retain(|(stream, _)| stream.id != id);
        self.streams.push(Stream { id: id.to_owned(), until: now + LEASE });
        Outcome::Started { count: self.streams.len() }
    }

    fn end(&mut self, now: Instant, at: usize, reason: &'static str) {
        let id = self.streams.remove(at).id;
        self.ended.push((Stream { id, until: now + LEASE }, reason));
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.streams.iter().position(|stream| stream.id == id)
    }
}
