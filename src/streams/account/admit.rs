//! Who may play: starts, resumptions, the gate, and who gives way to them.
//!
//! *Invariant:* a refused start changes nothing. Who gives way is a [`Plan`], made from the account as it is, and carried
//! out only when there is room at the end of it.

use super::end::Ends;
use super::{Account, Call, Cause, MAX_PLAYING, Stream, WhenFull};
use crate::streams::batch::{Change, Outcome, Replace, Verdict, id_and_device};
use crate::streams::name::Name;
use crate::streams::position::Position;
use crate::time::Millis;

/// Who gives way to a start.
struct Plan<'a> {
    /// Whatever this device has,
    device: Option<&'a [u8]>,
    /// the stream with this key,
    named: Option<&'a [u8]>,
    /// and so many of the others that play, oldest first.
    oldest: usize,
    /// Whether more play then than the limit allows, because the policy only reports.
    over_limit: bool,
    /// How many more would play than the limit allows if none gave way.
    excess: usize,
}

impl Account {
    pub(super) fn start(
        &mut self,
        call: &mut Call,
        position: Option<Position>,
        replace: Replace,
        switch: bool,
    ) -> Outcome {
        let plan = match self.plan(call, replace, switch) {
            Ok(plan) => plan,
            Err(excess) => return self.full(call, excess),
        };

        let ends = self.carry_out(call, &plan);
        let (i, verdict, mut change) = match self.find(call.key) {
            Some(i) => {
                let resumed = self.streams[i].paused.take().is_some();
                self.streams[i].renew(call, position);
                (i, Verdict::Renewed, if resumed { Change::State } else { Change::Lease })
            }
            None => {
                self.forget(call.key);
                (self.add(call, position), Verdict::Started, Change::State)
            }
        };
        if ends.n > 0 {
            change = Change::State;
        }
        let mut outcome = Outcome { change, other: ends.first, ..self.view(call, i, verdict) };
        (outcome.notes.replaced, outcome.notes.over_limit) = (ends.n, plan.over_limit);
        outcome.excess = plan.excess as u16;
        outcome
    }

    /// A request for a part of the video: a start, but of nothing that was ended on purpose.
    pub(super) fn gate(&mut self, call: &mut Call, replace: Replace, switch: bool) -> Outcome {
        self.gone(call).unwrap_or_else(|| self.start(call, None, replace, switch))
    }

    /// A PATCH of an unknown stream: soon after a start it is taken for one from before, and started.
    pub(super) fn adopt(
        &mut self,
        call: &mut Call,
        position: Option<Position>,
        playing: Option<bool>,
    ) -> Outcome {
        if call.now >= call.policy.adopt_until {
            return Verdict::Unknown.into();
        }
        let mut outcome = if playing == Some(false) {
            let i = self.add(call, position);
            self.pause(call, i, Verdict::Renewed)
        } else {
            self.start(call, position, Replace::ByPolicy, false)
        };
        if outcome.verdict != Verdict::Full {
            outcome.verdict = Verdict::Renewed;
            outcome.notes.adopted = true;
        }
        outcome
    }

    /// Lets the paused stream `i`, which has just been renewed, play; nothing gives way to it.
    pub(super) fn resume(&mut self, call: &mut Call, i: usize) -> Outcome {
        let playing = self.playing() + 1;
        let excess = playing.saturating_sub(call.most_playing(Replace::ByPolicy));
        if excess > 0 {
            return Outcome { change: Change::Lease, ..self.full(call, excess) };
        }
        self.streams[i].paused = None;
        let mut outcome = Outcome { change: Change::State, ..self.view(call, i, Verdict::Renewed) };
        outcome.notes.over_limit = playing > call.limit;
        outcome
    }

    pub(super) fn can_watch(&self, call: &Call, playing: usize) -> bool {
        // Under `Report` always, says the contract; not only up to the bound that keeps a record small.
        let room = match call.policy.when_full {
            WhenFull::Report => call.limit > 0,
            _ => playing < call.limit,
        };
        self.hold().is_none() && (room || self.plays(call.key))
    }

    /// Who gives way to the command's stream, or how many would have to.
    fn plan<'a>(&self, call: &Call<'a>, replace: Replace, switch: bool) -> Result<Plan<'a>, usize> {
        let device = id_and_device(call.key).1.filter(|_| switch || call.policy.one_per_device);
        let mut plan = Plan { device, named: None, oldest: 0, over_limit: false, excess: 0 };
        if self.plays(call.key) {
            // It has its slot already, even where the limit has been lowered since.
            return Ok(plan);
        }
        let stays = |stream: &&Stream| stream.plays() && !plan.is_of_device(stream);
        let playing = self.streams.iter().filter(stays).count() + 1;
        let most = call.most_playing(replace);
        let excess = playing.saturating_sub(most);
        match (excess, replace) {
            (0, _) => plan.over_limit = playing > call.limit,
            _ if call.limit == 0 => return Err(excess),
            // One stream gives way; where the limit was lowered meanwhile that may not be enough.
            (1, Replace::Stream(key)) => {
                let named = call.arena.get(key);
                if !self.streams.iter().filter(stays).any(|stream| stream.key.as_bytes() == named) {
                    return Err(excess);
                }
                plan.named = Some(named);
            }
            (_, Replace::Stream(_)) => return Err(excess),
            (_, Replace::ByPolicy) if call.policy.when_full == WhenFull::Refuse => return Err(excess),
            (_, Replace::ByPolicy | Replace::Oldest) => {
                (plan.oldest, plan.over_limit) = (excess, most > call.limit);
            }
        }
        plan.excess = playing.saturating_sub(call.limit);
        Ok(plan)
    }

    fn carry_out(&mut self, call: &mut Call, plan: &Plan) -> Ends {
        let (key, mut oldest) = (call.key, plan.oldest);
        self.end_where(
            call,
            || Cause::Replaced(Name::from(key)),
            |stream| {
                let this = stream.key.as_bytes();
                if this == key {
                    return false;
                }
                let leaves = plan.is_of_device(stream) || plan.named == Some(this);
                let oldest_leaves = !leaves && oldest > 0 && stream.plays();
                oldest -= usize::from(oldest_leaves);
                leaves || oldest_leaves
            },
        )
    }

    fn full(&self, call: &mut Call, excess: usize) -> Outcome {
        let first = self.streams.iter().filter(|stream| stream.plays()).map(|stream| stream.expires).min();
        let wait = first.map_or(Millis::ZERO, |first| call.now.until(first));
        Outcome { wait, excess: excess as u16, ..self.list(call, Verdict::Full) }
    }
}

impl Plan<'_> {
    fn is_of_device(&self, stream: &Stream) -> bool {
        self.device.is_some() && id_and_device(stream.key.as_bytes()).1 == self.device
    }
}

impl Call<'_> {
    /// The rule: how many streams may play once the command has been carried out.
    fn most_playing(&self, replace: Replace) -> usize {
        match (replace, self.policy.when_full) {
            (Replace::ByPolicy, WhenFull::Report) if self.limit > 0 => MAX_PLAYING,
            _ => self.limit,
        }
    }
}
