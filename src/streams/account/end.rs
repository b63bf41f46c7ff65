//! How streams end, and what is remembered of that.
//!
//! What is remembered is small, whatever was said: of an ended stream a hash of its key, and of all that operators said
//! the last. So no client and no operator decides what an account weighs.
//!
//! *Invariant:* every stream whose end a 410 tells of ends in [`Account::end_where`]. Who gives way as one paused too many is
//! forgotten. (Not tested.)

use super::{Account, Call, MAX_ENDED, Stream};
use crate::streams::arena::Word;
use crate::streams::batch::{Asked, Change, Ending, Found, Outcome, Verdict};
use crate::streams::name::Name;
use crate::time::{Millis, Timestamp};

/// What an account holds besides streams: few have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// What ended on purpose, in the order of the ends.
    pub ended: Vec<Ended>,
    /// While it lasts nothing starts.
    pub hold: Option<Hold>,
    /// What an operator said last.
    pub message: Name,
}

/// A stream that ended on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The [`hash`] of its key.
    pub key: u64,
    pub expires: Timestamp,
    pub cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// By a DELETE of the user.
    Stopped,
    /// By the start of the stream whose key has this hash.
    Replaced(u64),
    /// By the operator; whether the account's message is about it.
    Operator { told: bool },
}

/// What keeps a user out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub until: Timestamp,
    /// Whether the account's message is about it.
    pub told: bool,
}

/// Which streams a command ended.
#[derive(Default)]
pub(super) struct Ends {
    pub(super) n: u16,
    /// The key of the first of them that played, else of the first.
    pub(super) first: Word<Found>,
    played: bool,
}

impl Account {
    /// The user's own end of one stream.
    pub(super) fn end(&mut self, call: &mut Call) -> Outcome {
        let key = call.key;
        match self.end_where(call, Cause::Stopped, |stream| stream.is(key)).n {
            0 => Verdict::Unknown.into(),
            _ => Outcome { change: Change::State, ..Verdict::Ended.into() },
        }
    }

    /// The operator's end of one stream or, without a key, of all.
    pub(super) fn evict(&mut self, call: &mut Call, message: Word<Asked>) -> Outcome {
        let (key, told) = (call.key, !message.is_empty());
        let cause = Cause::Operator { told };
        let n = self.end_where(call, cause, |stream| key.is_empty() || stream.is(key)).n;
        if n == 0 && !key.is_empty() {
            return Verdict::Unknown.into();
        }
        if n > 0 && told {
            self.streams.rare_or_default().say(call.arena.get(message), n.into());
        }
        let change = if n > 0 { Change::State } else { Change::None };
        Outcome { change, ..self.list(call, Verdict::Ended) }
    }

    /// Ends all and keeps the user out for `length`, instead of any hold before it.
    pub(super) fn hold_for(&mut self, call: &mut Call, length: Millis, message: Word<Asked>) -> Outcome {
        let (until, told) = (call.now + length, !message.is_empty());
        let n = self.end_where(call, Cause::Operator { told }, |_| true).n;
        let rare = self.streams.rare_or_default();
        rare.hold = Some(Hold { until, told });
        if told {
            rare.say(call.arena.get(message), n.into());
        }
        self.remember_held(call, until)
    }

    /// Lifts a hold, if there is one, and ends nothing.
    pub(super) fn lift(&mut self, call: &mut Call) -> Outcome {
        match self.streams.rare_mut().and_then(|rare| rare.hold.take()) {
            Some(_) => self.remember_held(call, call.now),
            None => Outcome { change: Change::None, ..self.list(call, Verdict::Ended) },
        }
    }

    /// What a hold has ended is still to be told so for a lease when the hold is over, which is `until`. Nothing else lasts
    /// longer than a lease from now: so what does was ended by this hold, or by the one before it.
    fn remember_held(&mut self, call: &mut Call, until: Timestamp) -> Outcome {
        let lease = call.now + call.policy.lease;
        for ended in &mut self.streams.rare_or_default().ended {
            if matches!(ended.cause, Cause::Operator { .. }) && ended.expires >= lease {
                ended.expires = until + call.policy.lease;
            }
        }
        self.expire(call.now, &mut call.findings.ends);
        Outcome { change: Change::State, ..self.list(call, Verdict::Ended) }
    }

    pub(super) fn hold(&self) -> Option<&Hold> {
        self.streams.rare()?.hold.as_ref()
    }

    /// How long a hold lasts, and why.
    pub(super) fn told_of_hold(&self, call: &mut Call) -> Outcome {
        let Some(Rare { hold: Some(Hold { until, told }), message, .. }) = self.streams.rare() else {
            return Outcome::default();
        };
        let other = if *told { call.findings.arena.add(message.as_bytes()) } else { Word::default() };
        Outcome { wait: call.now.until(*until), other, ..Outcome::default() }
    }

    /// What to say of the command's stream if it was ended on purpose less than one lease ago.
    pub(super) fn gone(&self, call: &mut Call) -> Option<Outcome> {
        let (rare, key) = (self.streams.rare()?, hash(call.key));
        let cause = rare.ended.iter().find(|ended| ended.key == key)?.cause;
        let other = match cause {
            Cause::Replaced(by) => self.streams.iter().map(Stream::key).find(|key| hash(key) == by),
            Cause::Operator { told: true } => Some(rare.message.as_bytes()),
            _ => None,
        };
        let other = other.map_or(Word::default(), |other| call.findings.arena.add(other));
        Some(Outcome { other, ..Verdict::Gone(cause.into()).into() })
    }

    /// Forgets that the stream with this key was ended.
    pub(super) fn forget(&mut self, key: &[u8]) {
        let Some(rare) = self.streams.rare_mut() else { return };
        let key = hash(key);
        rare.ended.retain(|ended| ended.key != key);
        if rare.is_empty() {
            self.streams.take_rare();
        }
    }

    /// Ends the streams that `leaves` says yes to, which is asked about the oldest first.
    pub(super) fn end_where(
        &mut self,
        call: &mut Call,
        cause: Cause,
        mut leaves: impl FnMut(&Stream) -> bool,
    ) -> Ends {
        let expires = call.now + call.policy.lease;
        let (mut ends, mut ended) = (Ends::default(), Vec::new());
        self.streams.retain(|stream| {
            if !leaves(stream) {
                return true;
            }
            let key = stream.key();
            if ends.n == 0 || (!ends.played && stream.plays()) {
                (ends.first, ends.played) = (call.findings.arena.add(key), stream.plays());
            }
            ends.n += 1;
            ended.push(Ended { key: hash(key), expires, cause });
            call.findings.ends.push(stream.end(cause.into(), call.now));
            false
        });
        if !ended.is_empty() {
            let all = &mut self.streams.rare_or_default().ended;
            if all.is_empty() {
                *all = ended;
            } else {
                all.append(&mut ended);
            }
            all.drain(..all.len().saturating_sub(MAX_ENDED));
        }
        ends
    }
}

impl From<Cause> for Ending {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Stopped => Self::Stopped,
            Cause::Replaced(_) => Self::Replaced,
            Cause::Operator { .. } => Self::Operator,
        }
    }
}

impl Cause {
    pub(super) fn replaced(by: &[u8]) -> Self {
        Self::Replaced(hash(by))
    }
}

impl Rare {
    /// Drops what has run out; says whether nothing is left.
    pub(super) fn expire(&mut self, now: Timestamp) -> bool {
        self.ended.retain(|ended| now < ended.expires);
        self.hold.take_if(|hold| now >= hold.until);
        self.is_empty()
    }

    /// Cuts to a lease, counted from the end of a hold, whatever is remembered for longer.
    pub(super) fn cut(&mut self, now: Timestamp, lease: Millis) {
        let last = self.hold.as_ref().map_or(now, |hold| hold.until) + lease;
        self.ended.iter_mut().for_each(|ended| ended.expires = ended.expires.min(last));
    }

    /// When each thing in it is over.
    pub(super) fn ends(&self) -> impl Iterator<Item = Timestamp> {
        self.ended.iter().map(|ended| ended.expires).chain(self.hold.as_ref().map(|hold| hold.until))
    }

    pub fn is_empty(&self) -> bool {
        self.ended.is_empty() && self.hold.is_none()
    }

    /// Keeps what an operator says of the last `n` that ended. What was said before it is forgotten.
    pub fn say(&mut self, message: &[u8], n: usize) {
        if self.message.as_bytes() == message {
            return;
        }
        self.message = Name::from(message);
        let before = self.ended.len().saturating_sub(n);
        for ended in &mut self.ended[..before] {
            if let Cause::Operator { told } = &mut ended.cause {
                *told = false;
            }
        }
    }
}

/// FNV-1a, of 64 bits. Whoever looks for two keys that meet can only find two of their own.
pub fn hash(key: &[u8]) -> u64 {
    key.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
