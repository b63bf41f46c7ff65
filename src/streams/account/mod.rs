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
//! which rule; `stream` what it holds of each, `admit` who may play, and `end` how it ends.
//!
//! *Invariant:* between commands at most `limit` streams play (unless the limit was lowered, or the policy only
//! reports), at most [`MAX_PAUSED`] are paused, and at most [`MAX_ENDED`] are remembered. (Tested by
//! `no_sequence_of_commands_breaks_the_bounds`.)

mod stream;

mod admit;

mod end;

use std::num::NonZeroU32;

use super::arena::{Arena, Word};
use super::batch::{
    Action, Asked, Batch, Change, Command, Ending, Entry, Findings, Lack, Notes, Outcome, StreamEnd, Verdict,
};
use super::few::Few;
use super::limits::Limits;
use super::position::Position;
use crate::time::{Millis, Timestamp};

pub(super) use end::{Cause, Ended, Hold, Rare, hash};
pub use stream::tag;
pub(super) use stream::{MAX_NAME, Stream};

/// How many paused streams a user may hold; the one paused longest gives way.
pub const MAX_PAUSED: usize = 16;
/// How many ended streams are remembered for their 410; the one ended first is forgotten.
pub const MAX_ENDED: usize = 16;
/// How many streams play at most, whatever the limit and the policy: a bound on what one user can make us hold.
pub const MAX_PLAYING: usize = 1000;

/// What happens to a start when the user is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    #[default]
    Refuse,
    /// The stream that started first gives way.
    ReplaceOldest,
    /// It is let through and counted: for trying a limit out.
    Report,
}

/// When a PATCH of an unknown stream starts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// Until then: for one lease after a start with an empty store.
    Until(Timestamp),
    /// At any time, since streams start and end while nobody counts them. So to any start that finds the user full another
    /// stream of the same device gives way: its DELETE may have been said meanwhile.
    Always,
}

impl Default for Adoption {
    fn default() -> Self {
        Self::Until(Timestamp::default())
    }
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
    /// When a PATCH of an unknown stream takes it over.
    pub adoption: Adoption,
    /// How many users a store in this process may know of, give or take a few that come at the same moment; None for any number.
    pub max_users: Option<usize>,
}

/// One user's streams: what plays and what is paused, in the order of the starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub(super) streams: Few<Stream, Rare>,
}

/// How much an account holds, streams not yet found to have expired among it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// 1 if there is anything to remember.
    pub users: u32,
    pub playing: u32,
    pub paused: u32,
}

/// What an account has to know to carry out a command.
struct Call<'a> {
    now: Timestamp,
    policy: &'a Policy,
    /// The stream that the command is about; empty when it is about all.
    key: &'a [u8],
    limits: Limits<&'a [u8]>,
    /// The classes that the command names.
    classes: &'a [u8],
    /// Whether a stream that is there keeps its classes and its generation.
    keeps: bool,
    generation: u64,
    /// The bytes of the command.
    arena: &'a Arena<Asked>,
    findings: &'a mut Findings,
}

/// Answers what the store has not carried out as if the user played nothing: `--store-down allow`. Nothing of it is kept.
/// What an operator changes, and what is unreadable, stays undone.
pub fn allow(now: Timestamp, policy: &Policy, batch: &mut Batch) {
    let Batch { arena, entries, findings } = batch;
    for Entry { command, outcome, waits } in entries {
        let is_undone = outcome.verdict == Verdict::Unavailable && outcome.notes.lack != Lack::Unreadable;
        if *waits || !is_undone || matches!(command.action, Action::Evict { .. } | Action::Hold { .. }) {
            continue;
        }
        let anyhow = Command { if_match: Word::default(), ..*command };
        let mut found = Account::default().apply(now, policy, &anyhow, arena, findings);
        if command.action == Action::Look && found.can_watch {
            // A question is answered as when the stream plays, with a pass for it.
            let start = Command { action: Action::start(), ..anyhow };
            found.streams = Account::default().apply(now, policy, &start, arena, findings).streams;
        }
        let verdict = match found.verdict {
            Verdict::Unknown if command.action == Action::End => Verdict::Ended,
            verdict => verdict,
        };
        let notes = Notes { uncounted: true, ..Notes::default() };
        *outcome = Outcome { verdict, notes, count: 0, change: Change::None, ..found };
    }
}

impl Policy {
    /// The plainest rules.
    pub fn new(lease: Millis) -> Self {
        Self { lease, ..Self::default() }
    }
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
        let ends = findings.ends.len() as u32;
        self.expire(now, &mut findings.ends);
        let was_cut = self.cut(now, policy.lease);
        let Command { key, limits, classes, generation, action, .. } = *command;
        let (key, limits, classes) = (arena.get(key), limits.of(arena), arena.get(classes));
        let keeps = command.keeps();
        let mut call = Call { now, policy, key, limits, classes, keeps, generation, arena, findings };
        let mut outcome = match self.refused(&mut call, command) {
            Some(refused) => refused,
            None => self.carry_out(&mut call, action),
        };
        let playing = self.playing();
        outcome.count = playing as u32;
        outcome.can_watch = outcome.verdict != Verdict::Full && self.can_watch(&call);
        outcome.ends = (ends, findings.ends.len() as u32);
        if was_cut && !action.is_question() {
            outcome.change = outcome.change.max(Change::Lease);
        }
        outcome
    }

    /// What comes before every rule about the stream: a hold, a suspension, and another generation than is meant.
    fn refused(&self, call: &mut Call, command: &Command) -> Option<Outcome> {
        let starts =
            matches!(command.action, Action::Start { .. } | Action::Beat { .. } | Action::Gate { .. });
        if starts && self.hold().is_some() {
            return Some(Outcome { verdict: Verdict::Held, ..self.told_of_hold(call) });
        }
        if starts && call.limits.total == 0 {
            return Some(self.full(call, None));
        }
        let is_meant = |i: usize| self.streams[i].is_one_of(call.arena.get(command.if_match));
        let is_another = !command.if_match.is_empty() && self.find(call.key).is_some_and(|i| !is_meant(i));
        is_another.then(|| Verdict::Outdated.into())
    }

    fn carry_out(&mut self, call: &mut Call, action: Action) -> Outcome {
        match action {
            Action::Look => self.look(call),
            Action::List => self.list(call, Verdict::Info),
            Action::Start { position, replace, switch } => self.start(call, position, replace, switch),
            Action::Beat { position, playing } => self.beat(call, position, playing),
            Action::Gate { replace, switch } => {
                self.gone(call).unwrap_or_else(|| self.start(call, None, replace, switch))
            }
            Action::End => self.end(call),
            Action::Evict { message } => self.evict(call, message),
            Action::Hold { length: Millis::ZERO, .. } => self.lift(call),
            Action::Hold { length, message } => self.hold_for(call, length, message),
        }
    }

    /// Drops what has run out by `now`, and adds the streams among it to `ends`.
    pub fn expire(&mut self, now: Timestamp, ends: &mut Vec<StreamEnd>) {
        let has_expired = self.streams.iter().any(|stream| now >= stream.expires);
        if !has_expired && self.streams.rare().is_none() {
            return;
        }
        if has_expired {
            self.streams.retain(|stream| {
                let lives = now < stream.expires;
                if !lives {
                    ends.push(stream.end(Ending::Expired, stream.expires));
                }
                lives
            });
        }
        if self.streams.rare_mut().is_some_and(|rare| rare.expire(now)) {
            self.streams.take_rare();
        }
        self.streams.shrink();
    }

    /// Cuts to a lease whatever lasts longer, and says whether a stream did: a clock may have jumped back.
    fn cut(&mut self, now: Timestamp, lease: Millis) -> bool {
        let (last, mut was_cut) = (now + lease, false);
        for stream in self.streams.iter_mut().filter(|stream| stream.expires > last) {
            (stream.expires, was_cut) = (last, true);
            stream.started = stream.started.min(now);
        }
        if let Some(rare) = self.streams.rare_mut() {
            rare.cut(now, lease);
        }
        was_cut
    }

    /// Time has stood still, and players could not renew what they play: whatever lives at `now` has a fresh lease.
    pub fn renew_all(&mut self, now: Timestamp, lease: Millis) {
        self.expire(now, &mut Vec::new());
        self.streams.iter_mut().for_each(|stream| stream.expires = now + lease);
    }

    /// Whether a stream of this generation is in it.
    pub fn knows(&self, generation: u64) -> bool {
        self.streams.iter().any(|stream| stream.generation == generation)
    }

    /// How much it holds.
    pub fn tally(&self) -> Tally {
        let playing = self.playing();
        let paused = (self.streams.len() - playing) as u32;
        Tally { users: (!self.is_empty()).into(), playing: playing as u32, paused }
    }

    /// Whether there is nothing left to remember.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.streams.rare().is_none()
    }

    /// When nothing of it is worth keeping any more; None when it is empty.
    pub fn forgotten_at(&self) -> Option<Timestamp> {
        let rare = self.streams.rare().into_iter().flat_map(Rare::ends);
        self.streams.iter().map(|stream| stream.expires).chain(rare).max()
    }

    fn playing(&self) -> usize {
        self.streams.iter().filter(|stream| stream.plays()).count()
    }

    fn find(&self, key: &[u8]) -> Option<usize> {
        self.streams.iter().position(|stream| stream.is(key))
    }

    fn plays(&self, key: &[u8]) -> bool {
        self.find(key).is_some_and(|i| self.streams[i].plays())
    }

    fn look(&self, call: &mut Call) -> Outcome {
        match self.find(call.key) {
            Some(i) => Outcome { change: Change::None, ..self.view(call, i, Verdict::Info) },
            None => Verdict::Info.into(),
        }
    }

    /// Lists what plays and what is paused, and says how long a hold lasts.
    fn list(&self, call: &mut Call, verdict: Verdict) -> Outcome {
        let from = call.findings.streams.len() as u32;
        for stream in self.streams.iter() {
            let (key, classes) = stream.parts();
            let key = call.findings.arena.add(key);
            call.findings.show(stream, key, classes, call.now);
        }
        Outcome { streams: (from, call.findings.streams.len() as u32), verdict, ..self.told_of_hold(call) }
    }

    /// Shows the command's stream, which is at `i`.
    fn view(&self, call: &mut Call, i: usize, verdict: Verdict) -> Outcome {
        let from = call.findings.streams.len() as u32;
        let classes = self.streams[i].classes_behind(call.key);
        call.findings.show(&self.streams[i], Word::default(), classes, call.now);
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
            call.findings.ends.push(self.streams[first].end(Ending::Replaced, call.now));
            self.streams.remove(first);
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
