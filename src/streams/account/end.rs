//! How streams end, and what is remembered of that.
//!
//! *Invariant:* every stream that ends on purpose ends in [`Account::end_where`].

use super::{Account, Call, Cause, Ended, Hold, MAX_ENDED, Rare, Stream};
use crate::streams::arena::Word;
use crate::streams::batch::{Asked, Change, Found, Outcome, Verdict, Why};
use crate::streams::name::Name;
use crate::time::Millis;

/// Which streams a command ended.
#[derive(Default)]
pub(super) struct Ends {
    pub(super) n: u16,
    /// The key of the first of them that played, else of the first.
    pub(super) first: Word<Found>,
    /// Whether that one played.
    played: bool,
}

impl Account {
    /// The user's own end of one stream.
    pub(super) fn end(&mut self, call: &mut Call) -> Outcome {
        let key = call.key;
        match self.end_where(call, || Cause::Stopped, |stream| stream.key.as_bytes() == key).n {
            0 => Verdict::Unknown.into(),
            _ => Outcome { change: Change::State, ..Verdict::Ended.into() },
        }
    }

    /// The operator's end of one stream or, without a key, of all.
    pub(super) fn evict(&mut self, call: &mut Call, message: Word<Asked>) -> Outcome {
        let (key, message) = (call.key, Name::from(call.arena.get(message)));
        let cause = || Cause::Operator(message.clone());
        let n = self.end_where(call, cause, |stream| key.is_empty() || stream.key.as_bytes() == key).n;
        if n == 0 && !key.is_empty() {
            return Verdict::Unknown.into();
        }
        let change = if n > 0 { Change::State } else { Change::None };
        Outcome { change, ..self.list(call, Verdict::Ended) }
    }

    /// Ends all and keeps the user out for `length`; no length at all lifts a hold, and ends nothing.
    pub(super) fn hold_for(&mut self, call: &mut Call, length: Millis, message: Word<Asked>) -> Outcome {
        let (until, was_held) = (call.now + length, self.hold().is_some());
        let holds = length > Millis::ZERO;
        if holds {
            self.evict(call, message);
        }
        if holds || was_held {
            let rare = self.rare.get_or_insert_default();
            let message = Name::from(call.arena.get(message));
            rare.hold = Some(Hold { until, message }).filter(|_| holds);
            // What a hold has ended, this one or the one before it, is still to be told so when the hold is over.
            let lease = call.now + call.policy.lease;
            let by_hold =
                |ended: &&mut Ended| matches!(ended.cause, Cause::Operator(_)) && ended.expires >= lease;
            for ended in rare.ended.iter_mut().filter(by_hold) {
                ended.expires = until + call.policy.lease;
            }
            self.expire(call.now);
        }
        let change = if holds || was_held { Change::State } else { Change::None };
        Outcome { change, ..self.list(call, Verdict::Ended) }
    }

    /// What to say of the command's stream if it was ended on purpose less than one lease ago.
    pub(super) fn gone(&self, call: &mut Call) -> Option<Outcome> {
        let (why, other) = match &self.ended(call.key)?.cause {
            Cause::Stopped => (Why::Stopped, None),
            Cause::Replaced(by) => (Why::Replaced, Some(by)),
            Cause::Operator(message) => (Why::Operator, Some(message)),
        };
        let other = other.map_or(Word::default(), |other| call.findings.arena.add(other.as_bytes()));
        Some(Outcome { other, ..Verdict::Gone(why).into() })
    }

    /// Forgets that the stream with this key was ended.
    pub(super) fn forget(&mut self, key: &[u8]) {
        if let Some(rare) = &mut self.rare {
            rare.ended.retain(|ended| ended.key.as_bytes() != key);
            if rare.is_empty() {
                self.rare = None;
            }
        }
    }

    /// Ends the streams that `leaves` says yes to, which is asked about the oldest first.
    pub(super) fn end_where(
        &mut self,
        call: &mut Call,
        cause: impl Fn() -> Cause,
        mut leaves: impl FnMut(&Stream) -> bool,
    ) -> Ends {
        let expires = call.now + call.policy.lease;
        let mut ends = Ends::default();
        self.streams.retain(|stream| {
            if !leaves(stream) {
                return true;
            }
            if ends.n == 0 || (!ends.played && stream.plays()) {
                (ends.first, ends.played) = (call.findings.arena.add(stream.key.as_bytes()), stream.plays());
            }
            ends.n += 1;
            let ended = Ended { key: stream.key.clone(), expires, cause: cause() };
            self.rare.get_or_insert_default().remember(ended);
            false
        });
        ends
    }
}

impl Rare {
    fn remember(&mut self, ended: Ended) {
        if self.ended.len() == MAX_ENDED {
            self.ended.remove(0);
        }
        self.ended.push(ended);
    }
}
