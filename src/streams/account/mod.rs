//! One user's streams, and every rule about them.
//!
//! ```text
//!            start               pause
//!   (none) ────────▶ Playing ◀──────────▶ Paused        each POST and PATCH renews the lease
//!                     │   │     resume      │
//!             DELETE, │   │ gave way        │ DELETE, operator, gave way to its own device
//!            operator ▼   ▼                 ▼
//!                  Ended(cause) ◀───────────┘            kept for one lease, so that a PATCH can say 410
//!
//!   whatever its state, a stream whose lease has run out is gone
//! ```
//!
//! An account is a pure function of what it was and of (`now`, policy, command): no lock, no clock, no socket. The count
//! is always derived from the streams, never kept beside them. This file says what an account is and which command is
//! which rule; `admit` says who may play, and `end` how it ends.
//!
//! *Invariant:* between commands at most `limit` streams play (unless the limit was lowered, or the policy only reports),
//! at most [`MAX_PAUSED`] are paused, and at most [`MAX_ENDED`] are remembered.

mod admit;

mod end;

use std::num::NonZeroU32;

use super::arena::{Arena, Word};
use super::batch::{Action, Asked, Change, Command, Findings, Found, Outcome, StreamView, Verdict};
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
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// How long a stream lives without being renewed.
    pub lease: Millis,
    /// What happens to a start that does not say itself which stream is to give way.
    pub when_full: WhenFull,
    /// Whether every start that names a device ends what else that device has.
    pub one_per_device: bool,
    /// Until when a PATCH of an unknown stream takes it over: one lease after a start with an empty store.
    pub adopt_until: Timestamp,
}

/// One user's streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// What plays and what is paused, in the order of the starts.
    pub(super) streams: InlineVec<Stream>,
    /// What few accounts have, apart so that the others are small. Never there and empty.
    pub(super) rare: Option<Box<Rare>>,
}

/// A stream that plays or is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    /// Its id or, with a device, `id NUL device`.
    pub(super) key: Name,
    /// When it is gone unless renewed.
    pub(super) expires: Timestamp,
    pub(super) position: Position,
    /// None while it plays. Of two paused streams the one with the lower number was paused first: a time would not tell
    /// two pauses of one millisecond apart.
    pub(super) paused: Option<NonZeroU32>,
}

/// What an account holds besides streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rare {
    /// What ended on purpose, in the order of the ends.
    pub(super) ended: InlineVec<Ended>,
    /// While it lasts nothing starts.
    pub(super) hold: Option<Hold>,
}

/// A stream that ended on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) key: Name,
    /// When it is forgotten.
    pub(super) expires: Timestamp,
    pub(super) cause: Cause,
}

/// Why a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// By a DELETE of the user.
    Stopped,
    /// By the start of the stream with this key.
    Replaced(Name),
    /// By the operator, with this message; empty when there was none.
    Operator(Name),
}

/// What keeps a user out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) until: Timestamp,
    /// Why; empty when the operator did not say.
    pub(super) message: Name,
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
    /// The stream that the command is about; empty when it is about all.
    key: &'a [u8],
    limit: usize,
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
        let (key, limit) = (arena.get(command.key), (command.limit as usize).min(MAX_PLAYING));
        let mut call = Call { now, policy, key, limit, arena, findings };
        let mut outcome = match command.action {
            Action::Look => Verdict::Info.into(),
            Action::List => self.list(&mut call, Verdict::Info),
            Action::Start { .. } | Action::Beat { .. } | Action::Gate { .. } if self.hold().is_some() => {
                self.held(&mut call)
            }
            Action::Start { position, replace, switch } => self.start(&mut call, position, replace, switch),
            Action::Beat { position, playing } => self.beat(&mut call, position, playing),
            Action::Gate { replace, switch } => self.gate(&mut call, replace, switch),
            Action::End => self.end(&mut call),
            Action::Evict { message } => self.evict(&mut call, message),
            Action::Hold { length, message } => self.hold_for(&mut call, length, message),
        };
        let playing = self.playing();
        outcome.count = playing as u32;
        outcome.can_watch = outcome.verdict != Verdict::Full && self.can_watch(&call, playing);
        outcome.notes.expired = expired as u16;
        outcome
    }

    /// Drops what has run out by `now`; returns how many of them were streams that had not ended.
    pub fn expire(&mut self, now: Timestamp) -> u32 {
        let has_expired = self.streams.iter().any(|stream| now >= stream.expires);
        if !has_expired && self.rare.is_none() {
            return 0;
        }
        let before = self.streams.len();
        if has_expired {
            self.streams.retain(|stream| now < stream.expires);
            self.streams.shrink();
        }
        if let Some(rare) = &mut self.rare
            && rare.expire(now)
        {
            self.rare = None;
            self.streams.shrink();
        }
        (before - self.streams.len()) as u32
    }

    /// Time has stood still, and players could not renew what they play: whatever lives at `now` has a fresh lease.
    pub fn renew_all(&mut self, now: Timestamp, lease: Millis) {
        self.expire(now);
        self.streams.iter_mut().for_each(|stream| stream.expires = stream.expires.max(now + lease));
    }

    /// How many streams it holds, by state; None when there is nothing left to remember.
    pub fn tally(&self) -> Option<Tally> {
        if self.is_empty() {
            return None;
        }
        let playing = self.playing();
        Some(Tally { playing: playing as u32, paused: (self.streams.len() - playing) as u32 })
    }

    /// Whether there is nothing left to remember.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.rare.is_none()
    }

    /// When nothing of it is worth keeping any more; None when nothing is now.
    pub fn forgotten_at(&self) -> Option<Timestamp> {
        let rare = self.rare.iter().flat_map(|rare| {
            let ended = rare.ended.iter().map(|ended| ended.expires);
            ended.chain(rare.hold.as_ref().map(|hold| hold.until))
        });
        self.streams.iter().map(|stream| stream.expires).chain(rare).max()
    }

    fn playing(&self) -> usize {
        self.streams.iter().filter(|stream| stream.plays()).count()
    }

    fn find(&self, key: &[u8]) -> Option<usize> {
        self.streams.iter().position(|stream| stream.key.as_bytes() == key)
    }

    fn plays(&self, key: &[u8]) -> bool {
        self.find(key).is_some_and(|i| self.streams[i].plays())
    }

    fn ended(&self, key: &[u8]) -> Option<&Ended> {
        self.rare.as_ref()?.ended.iter().find(|ended| ended.key.as_bytes() == key)
    }

    fn hold(&self) -> Option<&Hold> {
        self.rare.as_ref()?.hold.as_ref()
    }

    /// Lists what plays and what is paused, and says how long a hold lasts.
    fn list(&self, call: &mut Call, verdict: Verdict) -> Outcome {
        let from = call.findings.streams.len() as u32;
        for stream in self.streams.iter() {
            let key = call.findings.arena.add(stream.key.as_bytes());
            call.findings.streams.push(stream.view(key, call.now));
        }
        Outcome { streams: (from, call.findings.streams.len() as u32), verdict, ..self.told_of_hold(call) }
    }

    fn held(&self, call: &mut Call) -> Outcome {
        Outcome { verdict: Verdict::Held, ..self.told_of_hold(call) }
    }

    fn told_of_hold(&self, call: &mut Call) -> Outcome {
        let Some(Hold { until, message }) = self.hold() else { return Outcome::default() };
        let other = call.findings.arena.add(message.as_bytes());
        Outcome { wait: call.now.until(*until), other, ..Outcome::default() }
    }

    fn view(&self, call: &mut Call, i: usize, verdict: Verdict) -> Outcome {
        let from = call.findings.streams.len() as u32;
        call.findings.streams.push(self.streams[i].view(Word::default(), call.now));
        Outcome { verdict, change: Change::Lease, streams: (from, from + 1), ..Outcome::default() }
    }

    fn beat(&mut self, call: &mut Call, position: Option<Position>, playing: Option<bool>) -> Outcome {
        let Some(i) = self.find(call.key) else {
            return self.gone(call).unwrap_or_else(|| self.adopt(call, position, playing));
        };
        self.streams[i].renew(call, position);
        match (playing, self.streams[i].plays()) {
            (Some(true), false) => self.resume(call, i),
            (Some(false), true) => self.pause(call, i, Verdict::Renewed),
            _ => self.view(call, i, Verdict::Renewed),
        }
    }

    fn pause(&mut self, call: &mut Call, i: usize, verdict: Verdict) -> Outcome {
        let last = self.streams.iter().filter_map(|stream| stream.paused).max();
        self.streams[i].paused = Some(last.map_or(NonZeroU32::MIN, |last| last.saturating_add(1)));
        let outcome = Outcome { change: Change::State, ..self.view(call, i, verdict) };
        let paused = || self.streams.iter().enumerate().filter_map(|(i, stream)| Some((stream.paused?, i)));
        if paused().count() > MAX_PAUSED
            && let Some((_, first)) = paused().min()
        {
            self.streams.remove(first);
        }
        outcome
    }

    fn add(&mut self, call: &Call, position: Option<Position>) -> usize {
        self.streams.push(Stream {
            key: Name::from(call.key),
            expires: call.now + call.policy.lease,
            position: position.unwrap_or_default(),
            paused: None,
        });
        self.streams.len() - 1
    }
}

impl Stream {
    fn plays(&self) -> bool {
        self.paused.is_none()
    }

    fn renew(&mut self, call: &Call, position: Option<Position>) {
        self.expires = call.now + call.policy.lease;
        self.position = position.unwrap_or(self.position);
    }

    fn view(&self, key: Word<Found>, now: Timestamp) -> StreamView {
        StreamView {
            key,
            position: self.position,
            playing: self.plays(),
            expires_in: now.until(self.expires),
        }
    }
}

impl Rare {
    /// Drops what has run out; says whether nothing is left.
    fn expire(&mut self, now: Timestamp) -> bool {
        self.ended.retain(|ended| now < ended.expires);
        self.hold.take_if(|hold| now >= hold.until);
        self.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.ended.is_empty() && self.hold.is_none()
    }
}

#[cfg(test)]
mod tests;
