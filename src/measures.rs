//! Numbers that are shown: one kind of row, from an engine's thread to `/metrics`.
//!
//! *Invariant:* a family's name keeps its meaning once it is published: dashboards outlive releases. (Not tested.)

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Something that is counted or measured, as Prometheus has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// The family's name: `streamer_store_retries_total`. Measures of one family follow each other.
    pub family: &'static str,
    /// What the family says, in one sentence.
    pub help: &'static str,
    /// What it is told apart by from the others of its family.
    pub labels: Vec<(&'static str, Cow<'static, str>)>,
    /// The number, or the distribution.
    pub value: Reading,
}

impl Measure {
    /// The only measure of its family.
    pub fn single(family: &'static str, help: &'static str, value: Reading) -> Self {
        Self { family, help, labels: Vec::new(), value }
    }

    /// One of a family that has one label.
    pub fn labelled(
        family: &'static str,
        help: &'static str,
        (name, of): (&'static str, impl Into<Cow<'static, str>>),
        value: Reading,
    ) -> Self {
        Self { labels: vec![(name, of.into())], ..Self::single(family, help, value) }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// A number that only goes up.
    Counter(u64),
    /// A number that goes up and down.
    Gauge(u64),
    /// Time that only adds up, in microseconds; shown in seconds.
    Time(u64),
    /// How long something took, in microseconds; shown in seconds.
    Histogram {
        /// The upper bounds of the buckets.
        bounds: &'static [u64],
        /// How many there are in each bucket alone; the last one takes all that is longer.
        counts: Vec<u64>,
        /// All of them together.
        sum: u64,
    },
}

/// One name in `/metrics`, and all numbers that stand under it.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name, which keeps its meaning once it is published: dashboards outlive releases.
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    /// What its numbers are told apart by. A series exists from the start, with the value 0: Prometheus sees a counter
    /// rise only from a value that it has seen.
    pub labels: &'static [Label],
}

/// What kind of numbers a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only go up.
    Counter,
    /// They go up and down.
    Gauge,
    /// Times that add up, in microseconds.
    Time,
    /// Durations in microseconds, by these upper bounds; one more bucket takes all that is longer.
    Histogram(&'static [u64]),
}

/// A label, and all values that it takes.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    pub name: &'static str,
    /// Its values, in the order of the numbers.
    pub values: &'static [&'static str],
}

impl Family {
    /// One whose numbers have no labels.
    pub const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, help, labels: &[] }
    }

    /// How many numbers stand under the name and one set of labels. A histogram has its buckets, and the sum behind them.
    const fn unit(&self) -> usize {
        if let Kind::Histogram(bounds) = self.kind { bounds.len() + 2 } else { 1 }
    }

    /// How many numbers stand under the name.
    pub const fn width(&self) -> usize {
        let mut width = self.unit();
        let mut i = 0;
        while i < self.labels.len() {
            width *= self.labels[i].values.len();
            i += 1;
        }
        width
    }

    /// Its numbers as they are shown: the last label's values stand side by side.
    pub fn measures(&self, numbers: &[u64]) -> Vec<Measure> {
        let Self { name, kind, help, labels } = *self;
        let measure = |(mut i, numbers): (usize, &[u64])| {
            let mut of = Vec::new();
            for Label { name, values } in labels.iter().rev() {
                of.insert(0, (*name, values[i % values.len()].into()));
                i /= values.len();
            }
            let value = match (kind, numbers) {
                (Kind::Gauge, _) => Reading::Gauge(numbers[0]),
                (Kind::Time, _) => Reading::Time(numbers[0]),
                (Kind::Histogram(bounds), [counts @ .., sum]) => {
                    Reading::Histogram { bounds, counts: counts.into(), sum: *sum }
                }
                _ => Reading::Counter(numbers[0]),
            };
            Measure { labels: of, ..Measure::single(name, help, value) }
        };
        numbers.chunks(self.unit()).enumerate().map(measure).collect()
    }
}

/// The numbers of some families, to which any thread may add.
pub struct Counts {
    families: &'static [Family],
    /// Where the numbers of each family begin.
    starts: Vec<usize>,
    numbers: Vec<AtomicU64>,
}

impl Counts {
    /// Nothing has been counted.
    pub fn new(families: &'static [Family]) -> Self {
        let mut numbers = Vec::new();
        let starts = families.iter().map(|family| {
            let start = numbers.len();
            numbers.resize_with(start + family.width(), AtomicU64::default);
            start
        });
        Self { families, starts: starts.collect(), numbers }
    }

    /// Adds `n` to the number of a family, given by its place, that stands under its label `label`, or 0 where it has none.
    pub fn add(&self, family: usize, label: usize, n: u64) {
        self.numbers[self.starts[family] + label].fetch_add(n, Relaxed);
    }

    /// Counts how long something took, in a histogram that has no labels.
    pub fn time(&self, family: usize, took: Duration) {
        if let Kind::Histogram(bounds) = self.families[family].kind {
            let micros = took.as_micros() as u64;
            self.add(family, bucket(bounds, micros), 1);
            self.add(family, bounds.len() + 1, micros);
        }
    }

    /// Its numbers, as they are shown, with those of others that count the same.
    pub fn measures(&self, others: &[&Self]) -> Vec<Measure> {
        let sum = |at: usize| others.iter().chain([&self]).map(|one| one.numbers[at].load(Relaxed)).sum();
        let sums: Vec<u64> = (0..self.numbers.len()).map(sum).collect();
        let families = self.families.iter().zip(&self.starts);
        families.flat_map(|(family, start)| family.measures(&sums[*start..start + family.width()])).collect()
    }
}

/// The bucket of a histogram with these bounds that a time falls into.
#[inline]
pub fn bucket(bounds: &[u64], micros: u64) -> usize {
    bounds.iter().position(|&bound| micros <= bound).unwrap_or(bounds.len())
}
