//! Who may play: starts, resumptions, the gate, and who gives way to them.
//!
//! Every one of them asks the same: is there room in all, and in each class that has a limit and that the stream carries?
//! [`Account::admit`] answers it, and the answer is a [`Admission`].
//!
//! *Invariant:* a refused start changes nothing: a plan is made from the account as it is, and carried out only
//! when there is room at the end of it. (Tested by `a_refused_start_changes_nothing`.)

use super::end::Ends;
use super::{Account, Adoption, Call, Cause, MAX_PLAYING, Stream, WhenFull};
use crate::streams::batch::{Change, ClassFull, Outcome, Replace, Verdict, id_and_device};
use crate::streams::limits::{MAX_CLASSES, classes};
use crate::streams::position::Position;
use crate::time::Millis;

/// Who gives way to a stream for which there is no room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Yields<'a> {
    None,
    /// Nobody has to: it is let through and counted.
    Report,
    /// The stream with this key.
    Named(&'a [u8]),
    /// Streams of this device, oldest first.
    Device(&'a [u8]),
    /// Any, oldest first.
    Oldest,
}

/// A rule that holds for a stream that wants to play.
#[derive(Clone, Copy, Default)]
pub(super) struct Rule<'a> {
    /// Whose streams it counts, and its place among the limits of classes; None for all streams.
    class: Option<(&'a [u8], u8)>,
    /// How many streams have to end before there is room.
    excess: usize,
}

/// Who gives way to a start.
#[derive(Clone)]
struct Admission<'a> {
    /// Whatever this device has,
    device: Option<&'a [u8]>,
    /// and those of the others that yield, as far as there is a rule without room that counts them.
    yields: Yields<'a>,
    rules: [Rule<'a>; 1 + MAX_CLASSES],
    n_rules: usize,
    /// The first rule under which more play then than the limit allows, because the policy only reports.
    reported: Option<Rule<'a>>,
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
        let mut plan = match self.admission(call, replace, switch) {
            Ok(plan) => plan,
            Err(rule) => return self.full(call, Some(rule)),
        };

        let (reported, excess) = (plan.reported, plan.excess);
        let ends = self.give_way(call, &mut plan);
        let (i, verdict, mut change) = match self.find(call.key) {
            Some(i) => {
                let stream = &mut self.streams[i];
                let resumed = stream.paused.take().is_some();
                stream.renew(call, position);
                if !call.keeps {
                    stream.begin(call);
                }
                (i, Verdict::Renewed, if call.keeps && !resumed { Change::Lease } else { Change::State })
            }
            None => {
                self.forget(call.key);
                self.streams.push(Stream::new(call, position));
                (self.streams.len() - 1, Verdict::Started, Change::State)
            }
        };
        if ends.n > 0 {
            change = Change::State;
        }
        let mut outcome = Outcome { change, other: ends.first, ..self.view(call, i, verdict) };
        outcome.notes.replaced = ends.n;
        self.report(&mut outcome, reported);
        outcome.excess = excess as u16;
        outcome
    }

    /// A PATCH of an unknown stream: it may be one that started where nobody counted it.
    pub(super) fn adopt(
        &mut self,
        call: &mut Call,
        position: Option<Position>,
        playing: Option<bool>,
    ) -> Outcome {
        if matches!(call.policy.adoption, Adoption::Until(end) if call.now >= end) {
            return Verdict::Unknown.into();
        }
        let mut outcome = if playing == Some(false) {
            self.streams.push(Stream::new(call, position));
            self.pause(call, self.streams.len() - 1, Verdict::Renewed)
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
        let yields = if call.policy.when_full == WhenFull::Report { Yields::Report } else { Yields::None };
        let reported = match self.admit(call, None, yields) {
            Ok(plan) => plan.reported,
            Err(rule) => return Outcome { change: Change::Lease, ..self.full(call, Some(rule)) },
        };
        self.streams[i].paused = None;
        let mut outcome = Outcome { change: Change::State, ..self.view(call, i, Verdict::Renewed) };
        self.report(&mut outcome, reported);
        outcome
    }

    pub(super) fn can_watch(&self, call: &Call) -> bool {
        if self.hold().is_some() || call.limits.total == 0 {
            return false;
        }
        // Nearly nobody has limits of classes: then the total says it all.
        let has_room = self.playing() < call.limits.total as usize;
        if has_room && call.limits.classes.is_empty() || self.plays(call.key) {
            return true;
        }
        // Under `Report` whatever is not forbidden, says the contract; not only up to the bound that keeps a record small.
        if call.policy.when_full == WhenFull::Report {
            return call.rules(self.classes_of(call)).all(|(_, limit)| limit > 0);
        }
        has_room && self.admit(call, None, Yields::None).is_ok()
    }

    /// The classes that the command's stream is to play in.
    fn classes_of<'s>(&'s self, call: &Call<'s>) -> &'s [u8] {
        match self.find(call.key) {
            Some(i) if call.keeps => self.streams[i].classes(),
            _ => call.classes,
        }
    }

    /// Who gives way to a start. Where nobody counts for a while, its own device does before the policy is asked, and after the
    /// stream that the command itself names: the DELETE of what that device played may have been said meanwhile.
    fn admission<'a>(
        &self,
        call: &Call<'a>,
        replace: Replace,
        switch: bool,
    ) -> Result<Admission<'a>, Rule<'a>> {
        let own = id_and_device(call.key).1;
        let device = own.filter(|_| switch || call.policy.one_per_device);
        let said = call.yields(replace);
        let Some(own) = own.filter(|_| call.policy.adoption == Adoption::Always).map(Yields::Device) else {
            return self.admit(call, device, said);
        };
        let (first, second) = if replace == Replace::ByPolicy { (own, said) } else { (said, own) };
        self.admit(call, device, first).or_else(|_| self.admit(call, device, second))
    }

    /// The rule: whether there is room for the command's stream, and who gives way to it. If there is none, the first rule
    /// without room.
    fn admit<'a>(
        &self,
        call: &Call<'a>,
        device: Option<&'a [u8]>,
        yields: Yields<'a>,
    ) -> Result<Admission<'a>, Rule<'a>> {
        let (rules, n_rules) = ([Rule::default(); 1 + MAX_CLASSES], 0);
        let mut plan = Admission { device, yields, rules, n_rules, reported: None, excess: 0 };
        let others = || self.streams.iter().filter(|stream| stream.plays() && !stream.is(call.key));
        let playing = self.find(call.key).map(|i| &self.streams[i]).filter(|stream| stream.plays());
        for (class, limit) in call.rules(self.classes_of(call)) {
            // What plays has its slot already, even where the limit has been lowered since.
            if playing.is_some_and(|stream| class.is_none_or(|(class, _)| stream.carries(class))) {
                continue;
            }
            let mut rule = Rule { class, excess: 0 };
            let would_play =
                others().filter(|stream| rule.counts(stream) && !plan.is_of_device(stream)).count() + 1;
            let over = would_play.saturating_sub(limit);
            let is_reported = yields == Yields::Report && limit > 0;
            rule.excess = if is_reported { would_play.saturating_sub(MAX_PLAYING) } else { over };
            plan.reported = plan.reported.or(Some(rule).filter(|_| is_reported && over > 0));
            plan.excess = if class.is_none() { over } else { plan.excess };
            plan.rules[plan.n_rules] = rule;
            plan.n_rules += 1;
        }
        let Some(first) = plan.first_without_room() else { return Ok(plan) };
        let mut trial = plan.clone();
        for stream in others() {
            trial.takes_away(stream);
        }
        if trial.first_without_room().is_some() { Err(first) } else { Ok(plan) }
    }

    fn give_way(&mut self, call: &mut Call, plan: &mut Admission) -> Ends {
        let key = call.key;
        self.end_where(call, Cause::replaced(key), |stream| !stream.is(key) && plan.takes_away(stream))
    }

    /// More play than this rule allows.
    fn report(&self, outcome: &mut Outcome, rule: Option<Rule>) {
        outcome.notes.over_limit = rule.is_some();
        outcome.class_full = rule.and_then(|rule| self.class_full(rule));
    }

    fn class_full(&self, rule: Rule) -> Option<ClassFull> {
        let (_, at) = rule.class?;
        let counted = self.streams.iter().filter(|stream| stream.plays() && rule.counts(stream));
        Some(ClassFull { at, count: counted.count() as u16 })
    }

    /// The user is full: says when that can change, and by which rule it is so. Without a rule it is suspended.
    pub(super) fn full(&self, call: &mut Call, rule: Option<Rule>) -> Outcome {
        let rule = rule.unwrap_or_default();
        let counted = || self.streams.iter().filter(|stream| stream.plays() && rule.counts(stream));
        let first = counted().map(|stream| stream.expires).min();
        let wait = first.map_or(Millis::ZERO, |first| call.now.until(first));
        let class_full = self.class_full(rule);
        Outcome { wait, class_full, excess: rule.excess as u16, ..self.list(call, Verdict::Full) }
    }
}

impl Rule<'_> {
    fn counts(&self, stream: &Stream) -> bool {
        self.class.is_none_or(|(class, _)| stream.carries(class))
    }
}

impl<'a> Admission<'a> {
    fn is_of_device(&self, stream: &Stream) -> bool {
        self.device.is_some() && id_and_device(stream.key()).1 == self.device
    }

    fn first_without_room(&self) -> Option<Rule<'a>> {
        self.rules[..self.n_rules].iter().find(|rule| rule.excess > 0).copied()
    }

    /// Whether a stream that is not the command's ends. Asked about the oldest first, and about each once.
    fn takes_away(&mut self, stream: &Stream) -> bool {
        if self.is_of_device(stream) {
            return true;
        }
        let may_end = match self.yields {
            Yields::None | Yields::Report => false,
            Yields::Named(key) => stream.is(key),
            Yields::Device(device) => id_and_device(stream.key()).1 == Some(device),
            Yields::Oldest => true,
        };
        let rules = &mut self.rules[..self.n_rules];
        let ends =
            may_end && stream.plays() && rules.iter().any(|rule| rule.excess > 0 && rule.counts(stream));
        if ends {
            rules
                .iter_mut()
                .filter(|rule| rule.counts(stream))
                .for_each(|rule| rule.excess = rule.excess.saturating_sub(1));
        }
        ends
    }
}

impl<'a> Call<'a> {
    /// The limits that hold for a stream of these classes: the total first, then those of its classes as they are written.
    fn rules<'s>(
        &self,
        carried: &'s [u8],
    ) -> impl Iterator<Item = (Option<(&'a [u8], u8)>, usize)> + use<'a, 's> {
        let of_classes = self.limits.of_classes().zip(0..);
        let its_own = of_classes.filter(move |((class, _), _)| classes(carried).any(|word| word == *class));
        let its_own = its_own.map(|((class, limit), at)| (Some((class, at)), limit as usize));
        [(None, self.limits.total as usize)].into_iter().chain(its_own)
    }

    fn yields(&self, replace: Replace) -> Yields<'a> {
        match (replace, self.policy.when_full) {
            (Replace::Stream(key), _) => Yields::Named(self.arena.get(key)),
            (Replace::Oldest, _) | (Replace::ByPolicy, WhenFull::ReplaceOldest) => Yields::Oldest,
            (Replace::ByPolicy, WhenFull::Refuse) => Yields::None,
            (Replace::ByPolicy, WhenFull::Report) => Yields::Report,
        }
    }
}
