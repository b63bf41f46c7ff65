//! One user's streams, and every rule about them.
//!
//! ```text
//!            start               pause
//!   (none) ────────▶ Playing ◀──────────▶ Paused        each POST and PATCH renews the lease
//!                     │   │     resume      │
//!             DELETE  │   │ gave way        │ DELETE
//!                     ▼   ▼                 ▼
//!                  Ended(None | Some(by)) ◀─┘            kept for one lease, so that a PATCH can say 410
//!
//!   whatever its state, a stream whose lease has run out is gone
//! ```
//!
//! An account is a pure function of what it was and of (`now`, policy, command): no lock, no clock, no socket. The count
//! is always derived from the streams, never kept beside them.
//!
//! *Invariant:* between commands at most `limit` streams play (unless the policy only reports), at most [`MAX_PAUSED`]
//! are paused, and at most [`MAX_ENDED`] are remembered.

use super::arena::{Arena, Word};
use super::batch::{Action, Asked, Command, Findings, Found, Notes, Outcome, Replace, StreamView, Verdict};
use super::inline_vec::InlineVec;
use super::name::Name;
use super::position::Position;
use crate::time::{Millis, Timestamp};

/// How many paused streams a user may hold; the one paused longest gives way.
pub const MAX_PAUSED: usize = 16;
/// How many ended streams are remembered for their 410; the one ended first is forgotten.
pub const MAX_ENDED: usize = 16;
/// How many streams play at most, whatever the limit and the policy: a bound on what one user can make us hold.
pub const MAX_PLAYING: usize = 1000;

/// What happens to a start when the user is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It is refused.
    #[default]
    Refuse,
    /// The stream that started first gives way.
    ReplaceOldest,
    /// It is let through and counted: for trying a limit out.
    Report,
}

/// The rules that hold for every user.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long a stream lives without being renewed.
    pub lease: Millis,
    /// What happens to a start that does not say itself whom to replace.
    pub when_full: WhenFull,
    /// Until when a PATCH of an unknown stream takes it over: one lease after a start with an empty store.
    pub adopt_until: Timestamp,
}

/// One user's streams, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Account {
    streams: InlineVec<Stream>,
}

#[derive(Clone, Debug)]
struct Stream {
    /// Its id or, with a device, `id NUL device`.
    key: Name,
    /// When it is gone unless renewed; for an ended stream, when it is forgotten.
    expires: Timestamp,
    state: State,
    position: Position,
}

#[derive(Clone, Debug)]
enum State {
    Playing,
    Paused {
        since: Timestamp,
    },
    /// Ended on purpose: by the key in the box, which replaced it, or by a DELETE.
    Ended(Option<Box<Name>>),
}

/// How many streams of each state accounts hold, those not yet found to have expired among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Streams that play.
    pub playing: u32,
    /// Streams that are paused.
    pub paused: u32,
}

/// What an account has to know to carry out a command.
struct Call<'a> {
    now: Timestamp,
    policy: &'a Policy,
    command: &'a Command,
    /// The bytes of the command.
    arena: &'a Arena<Asked>,
    findings: &'a mut Findings,
}

impl Account {
    /// Carries `command` out. `arena` holds the bytes that it names; what the outcome names is added to `findings`.
    pub fn apply(
        &mut self,
        now: Timestamp,
        policy: &Policy,
        command: &Command,
        arena: &Arena<Asked>,
        findings: &mut Findings,
    ) -> Outcome {
        let expired = self.expire(now);
        let mut call = Call { now, policy, command, arena, findings };
        let mut outcome = match command.action {
            Action::Look => Verdict::Info.into(),
            Action::List => self.list(&mut call, Verdict::Info),
            Action::Start { position, replace } => self.start(&mut call, position, replace),
            Action::Beat { position, playing } => self.beat(&mut call, position, playing),
            Action::End => self.end(&call),
            Action::EndAll => self.end_all(&call),
        };
        outcome.count = self.playing() as u32;
        outcome.can_watch = outcome.verdict != Verdict::Full
            && (outcome.count < command.limit
                || policy.when_full == WhenFull::Report
                || self.find(arena.get(command.key)).is_some_and(|i| self.streams[i].plays()));
        outcome.notes.expired = expired;
        outcome
    }

    /// Drops what has run out by `now`; returns how many of them were streams that had not ended.
    pub fn expire(&mut self, now: Timestamp) -> u32 {
        if self.streams.iter().all(|stream| now < stream.expires) {
            return 0;
        }
        let mut expired = 0;
        self.streams.retain(|stream| {
            let keep = now < stream.expires;
            expired += u32::from(!keep && !matches!(stream.state, State::Ended(_)));
            keep
        });
        self.streams.shrink();
        expired
    }

    /// How many streams it holds, by state; None when there is nothing left to remember.
    pub fn tally(&self) -> Option<Tally> {
        if self.streams.is_empty() {
            return None;
        }
        let mut tally = Tally::default();
        for stream in self.streams.iter() {
            match stream.state {
                State::Playing => tally.playing += 1,
                State::Paused { .. } => tally.paused += 1,
                State::Ended(_) => {}
            }
        }
        Some(tally)
    }

    fn playing(&self) -> usize {
        self.streams.iter().filter(|stream| stream.plays()).count()
    }

    fn find(&self, key: &[u8]) -> Option<usize> {
        self.streams.iter().position(|stream| stream.key.as_bytes() == key)
    }

    /// Lists what plays and what is paused.
    fn list(&self, call: &mut Call, verdict: Verdict) -> Outcome {
        let from = call.findings.streams.len() as u32;
        for stream in self.streams.iter().filter(|stream| stream.lives()) {
            let key = call.findings.arena.add(stream.key.as_bytes());
            call.findings.streams.push(stream.shown(key, call.now));
        }
        Outcome { verdict, streams: (from, call.findings.streams.len() as u32), ..Outcome::default() }
    }

    fn start(&mut self, call: &mut Call, position: Option<Position>, replace: Replace) -> Outcome {
        let key = call.arena.get(call.command.key);
        if let Some(i) = self.find(key).filter(|&i| self.streams[i].plays()) {
            self.streams[i].renew(call, position);
            return self.showing(call, i, Verdict::Renewed, Notes::default());
        }
        let (notes, other) = match self.make_room(call, replace) {
            Ok(made) => made,
            Err(full) => return full,
        };
        let (i, verdict) = match self.find(key).filter(|&i| self.streams[i].lives()) {
            Some(i) => {
                self.streams[i].state = State::Playing;
                self.streams[i].renew(call, position);
                (i, Verdict::Renewed)
            }
            None => {
                self.streams.retain(|stream| stream.key.as_bytes() != key);
                (self.add(call, position, State::Playing), Verdict::Started)
            }
        };
        Outcome { other, ..self.showing(call, i, verdict, notes) }
    }

    fn beat(&mut self, call: &mut Call, position: Option<Position>, playing: Option<bool>) -> Outcome {
        let Some(i) = self.find(call.arena.get(call.command.key)) else {
            return self.adopt(call, position, playing);
        };
        if let State::Ended(by) = &self.streams[i].state {
            let other = by.as_ref().map_or(Word::default(), |by| call.findings.arena.add(by.as_bytes()));
            return Outcome { other, ..Outcome::from(Verdict::Gone) };
        }
        self.streams[i].renew(call, position);
        let mut notes = Notes::default();
        match (playing, &self.streams[i].state) {
            (Some(true), State::Paused { .. }) => {
                if self.is_full(call) {
                    if call.policy.when_full != WhenFull::Report || self.playing() >= MAX_PLAYING {
                        return self.full(call);
                    }
                    notes.over_limit = true;
                }
                self.streams[i].state = State::Playing;
            }
            (Some(false), State::Playing) => {
                self.make_room_for_paused();
                // The stream itself plays, so it was not the one to go, but those behind that one have moved up.
                let Some(i) = self.find(call.arena.get(call.command.key)) else {
                    return Verdict::Unknown.into();
                };
                self.streams[i].state = State::Paused { since: call.now };
                return self.showing(call, i, Verdict::Renewed, notes);
            }
            _ => {}
        }
        self.showing(call, i, Verdict::Renewed, notes)
    }

    /// A PATCH of a stream that nobody knows: soon after a start it is taken for one from before, and started.
    fn adopt(&mut self, call: &mut Call, position: Option<Position>, playing: Option<bool>) -> Outcome {
        if call.now >= call.policy.adopt_until {
            return Verdict::Unknown.into();
        }
        let mut outcome = if playing == Some(false) {
            self.make_room_for_paused();
            let i = self.add(call, position, State::Paused { since: call.now });
            self.showing(call, i, Verdict::Renewed, Notes::default())
        } else {
            self.start(call, position, Replace::ByPolicy)
        };
        if outcome.verdict != Verdict::Full {
            outcome.verdict = Verdict::Renewed;
            outcome.notes.adopted = true;
        }
        outcome
    }

    fn end(&mut self, call: &Call) -> Outcome {
        match self.find(call.arena.get(call.command.key)) {
            Some(i) if self.streams[i].lives() => {
                self.streams[i].end(call, None);
                self.forget_ended();
                Verdict::Ended.into()
            }
            _ => Verdict::Unknown.into(),
        }
    }

    fn end_all(&mut self, call: &Call) -> Outcome {
        for stream in self.streams.iter_mut().filter(|stream| stream.lives()) {
            stream.end(call, None);
        }
        self.forget_ended();
        Verdict::Ended.into()
    }

    fn is_full(&self, call: &Call) -> bool {
        self.playing() >= call.command.limit as usize
    }

    /// Sees to it that one more stream may play. Gives what that took, or the refusal.
    fn make_room(&mut self, call: &mut Call, replace: Replace) -> Result<(Notes, Word<Found>), Outcome> {
        let mut notes = Notes::default();
        let excess = (self.playing() + 1).saturating_sub(call.command.limit as usize);
        if excess == 0 {
            return Ok((notes, Word::default()));
        }
        let oldest = match (replace, call.policy.when_full) {
            (Replace::Stream(other), _) => {
                let other = call.arena.get(other);
                // One stream gives way; where the limit was lowered meanwhile that may not be enough.
                match self.streams.iter().position(|s| s.plays() && s.key.as_bytes() == other) {
                    Some(i) if excess == 1 => {
                        return Ok((Notes { replaced: 1, ..notes }, self.replace(call, i)));
                    }
                    _ => return Err(self.full(call)),
                }
            }
            (Replace::Oldest, _) | (Replace::ByPolicy, WhenFull::ReplaceOldest) => excess,
            (Replace::ByPolicy, WhenFull::Report) => {
                notes.over_limit = true;
                (self.playing() + 1).saturating_sub(MAX_PLAYING)
            }
            (Replace::ByPolicy, WhenFull::Refuse) => return Err(self.full(call)),
        };
        let mut first = Word::default();
        for _ in 0..oldest {
            let Some(i) = self.streams.iter().position(Stream::plays) else { break };
            let other = self.replace(call, i);
            first = if notes.replaced == 0 { other } else { first };
            notes.replaced += 1;
        }
        Ok((notes, first))
    }

    /// Ends stream `i` in favour of the one that the command starts; names it.
    fn replace(&mut self, call: &mut Call, i: usize) -> Word<Found> {
        let by = Name::from(call.arena.get(call.command.key));
        let word = call.findings.arena.add(self.streams[i].key.as_bytes());
        self.streams[i].end(call, Some(Box::new(by)));
        self.forget_ended();
        word
    }

    fn full(&self, call: &mut Call) -> Outcome {
        let first = self.streams.iter().filter(|s| s.plays()).map(|s| s.expires).min();
        let retry_after = first.map_or(Millis::default(), |first| call.now.until(first));
        Outcome { retry_after, ..self.list(call, Verdict::Full) }
    }

    fn add(&mut self, call: &Call, position: Option<Position>, state: State) -> usize {
        self.streams.push(Stream {
            key: Name::from(call.arena.get(call.command.key)),
            expires: call.now + call.policy.lease,
            state,
            position: position.unwrap_or_default(),
        });
        self.streams.len() - 1
    }

    fn make_room_for_paused(&mut self) {
        self.keep_at_most(MAX_PAUSED - 1, |stream| match stream.state {
            State::Paused { since } => Some(since),
            _ => None,
        });
    }

    fn forget_ended(&mut self) {
        self.keep_at_most(MAX_ENDED, |stream| match stream.state {
            State::Ended(_) => Some(stream.expires),
            _ => None,
        });
    }

    /// Of the streams that `at` gives a time for, drops the earliest until `most` are left.
    fn keep_at_most(&mut self, most: usize, at: impl Fn(&Stream) -> Option<Timestamp>) {
        while self.streams.iter().filter(|stream| at(stream).is_some()).count() > most {
            let timed = self.streams.iter().enumerate().filter_map(|(i, stream)| Some((at(stream)?, i)));
            let Some((_, first)) = timed.min() else { return };
            self.streams.remove(first);
        }
    }

    fn showing(&self, call: &Call, i: usize, verdict: Verdict, notes: Notes) -> Outcome {
        let stream = Some(self.streams[i].shown(Word::default(), call.now));
        Outcome { verdict, stream, notes, ..Outcome::default() }
    }
}

impl Stream {
    fn plays(&self) -> bool {
        matches!(self.state, State::Playing)
    }

    fn lives(&self) -> bool {
        !matches!(self.state, State::Ended(_))
    }

    fn renew(&mut self, call: &Call, position: Option<Position>) {
        self.expires = call.now + call.policy.lease;
        self.position = position.unwrap_or(self.position);
    }

    fn end(&mut self, call: &Call, by: Option<Box<Name>>) {
        self.expires = call.now + call.policy.lease;
        self.state = State::Ended(by);
    }

    fn shown(&self, key: Word<Found>, now: Timestamp) -> StreamView {
        StreamView {
            key,
            position: self.position,
            playing: self.plays(),
            expires_in: now.until(self.expires),
        }
    }
}

#[cfg(test)]
mod tests;
