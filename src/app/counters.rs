//! What is counted: one table, in which every counter is one line. Each thread counts for itself; a snapshot adds up.
//!
//! ```text
//! counters.bump(Counter::Admissions, 0)     where it happens, in the thread's own cells
//!         └▶ Sum ─▶ Snapshot ─▶ /metrics, /stats, the page     all of them walk the table
//! ```
//!
//! *Invariant:* a set of counters is written by one thread alone, so that counting is a load and a store and no worker
//! ever waits for another's cache line.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::auth::Failure;
use crate::http::Method;
use crate::http::status::Status;
use crate::http::timeouts::Timeout;
use crate::store::bucket;
use crate::streams::batch::{Command, Entry, Notes, Outcome, Replace, Verdict};

/// One name in `/metrics`, and all numbers that stand under it.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name, which keeps its meaning once it is published: dashboards outlive releases.
    pub name: &'static str,
    /// What its numbers are.
    pub kind: Kind,
    /// One sentence for people.
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
    /// Durations, counted by [`BOUNDS`].
    Histogram,
}

/// A label, and all values that it takes.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values, in the order of the numbers.
    pub values: &'static [&'static str],
}

/// The upper bounds of the duration buckets, in microseconds; one more bucket takes all that is longer.
pub const BOUNDS: [u64; 15] = [
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    10_000_000,
];

impl Family {
    /// How many numbers stand under the name. A histogram has its buckets, and the sum in microseconds behind them.
    pub const fn width(&self) -> usize {
        let mut width = if matches!(self.kind, Kind::Histogram) { BOUNDS.len() + 2 } else { 1 };
        let mut i = 0;
        while i < self.labels.len() {
            width *= self.labels[i].values.len();
            i += 1;
        }
        width
    }
}

/// Makes the [`Counter`]s and their table from one list, so that neither can lack what the other has.
macro_rules! counters {
    ($($id:ident, $kind:ident, $name:literal, $help:literal, $labels:expr;)+) => {
        /// Something that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter { $(#[doc = $help] $id,)+ }

        /// Every [`Counter`], in the order of the enum.
        pub const COUNTED: [Family; [$($name),+].len()] =
            [$(Family { name: $name, kind: Kind::$kind, help: $help, labels: $labels },)+];
    };
}

counters! {
    Requests, Counter, "streamer_requests_total", "Requests answered, by method and status.",
        &[Label { name: "method", values: &labels(&METHODS) }, Label { name: "status", values: &Status::DIGITS }];
    Durations, Histogram, "streamer_request_duration_seconds",
        "From a request read whole to its response made.", &[];
    Unavailable, Counter, "streamer_unavailable_total", "Commands answered 503 because the store could not.", &[];
    AuthFailures, Counter, "streamer_auth_failures_total", "Requests refused for their credentials, by cause.",
        &[Label { name: "cause", values: &labels(&Failure::ALL) }];
    Admissions, Counter, "streamer_admissions_total", "New streams let in.", &[];
    Refusals, Counter, "streamer_refusals_total",
        "Starts that found the user full: refused, refused for naming a stream that does not play, only reported.",
        &[Label { name: "policy", values: &labels(&Refused::ALL) }];
    Starts, Counter, "streamer_starts_total",
        "Starts asked for, let in or not, by how many streams the user would have played with it.",
        &[Label { name: "playing", values: &["1", "2", "3", "4", "5", "6", "7", "8+"] }];
    Replacements, Counter, "streamer_replacements_total", "Streams that gave way to another.", &[];
    Expirations, Counter, "streamer_expirations_total", "Leases that ran out.", &[];
    Adoptions, Counter, "streamer_adoptions_total", "Unknown streams taken over after a start.", &[];
    Accepted, Counter, "streamer_connections_accepted_total", "Connections accepted.", &[];
    Closed, Counter, "streamer_connections_closed_total", "Connections closed.", &[];
    TurnedAway, Counter, "streamer_connections_refused_total", "Connections turned away for want of room.", &[];
    Reclaimed, Counter, "streamer_connections_reclaimed_total", "Idle connections closed to make room.", &[];
    Timeouts, Counter, "streamer_timeouts_total", "Connections given up, by what did not come in time.",
        &[Label { name: "kind", values: &labels(&Timeout::ALL) }];
    Received, Counter, "streamer_received_bytes_total", "Bytes read from clients.", &[];
    Sent, Counter, "streamer_sent_bytes_total", "Bytes written to clients.", &[];
    LinesLost, Counter, "streamer_log_lines_lost_total",
        "Access log lines lost: the log was not read in time, or could not be written.",
        &[Label { name: "cause", values: &labels(&Lost::ALL) }];
    Panics, Counter, "streamer_panics_total", "Panics caught, each a fault of the program.", &[];
}

/// The methods that are told apart, with their labels.
const METHODS: [(Method, &str); 10] = [
    (Method::Get, "GET"),
    (Method::Head, "HEAD"),
    (Method::Post, "POST"),
    (Method::Put, "PUT"),
    (Method::Delete, "DELETE"),
    (Method::Connect, "CONNECT"),
    (Method::Options, "OPTIONS"),
    (Method::Trace, "TRACE"),
    (Method::Patch, "PATCH"),
    (Method::Unknown, "other"),
];

/// How a start that found the user full was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Refused by the policy.
    ByPolicy,
    /// Refused, because what was to be replaced does not play.
    ByName,
    /// Let through by a policy that only reports.
    Reported,
}

impl Refused {
    /// Every kind, in the order of the enum, with its label.
    pub const ALL: [(Self, &str); 3] =
        [(Self::ByPolicy, "refuse"), (Self::ByName, "replace"), (Self::Reported, "report")];
}

/// Why a line of the log was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The log was not read in time, and there was no more room to keep the line.
    Slow,
    /// Writing it failed.
    Failed,
}

impl Lost {
    /// Every cause, in the order of the enum, with its label.
    pub const ALL: [(Self, &str); 2] = [(Self::Slow, "slow"), (Self::Failed, "failed")];
}

/// The labels of a list of values.
const fn labels<T, const N: usize>(all: &[(T, &'static str); N]) -> [&'static str; N] {
    let mut labels = [""; N];
    let mut i = 0;
    while i < N {
        labels[i] = all[i].1;
        i += 1;
    }
    labels
}

/// Where the numbers of each counter begin among the cells; and behind the last, how many cells there are.
const FIRST: [usize; COUNTED.len() + 1] = {
    let mut first = [0; COUNTED.len() + 1];
    let mut i = 0;
    while i < COUNTED.len() {
        first[i + 1] = first[i] + COUNTED[i].width();
        i += 1;
    }
    first
};

const CELLS: usize = FIRST[COUNTED.len()];

/// The counters of one thread.
pub struct Counters([AtomicU64; CELLS]);

impl Default for Counters {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; CELLS])
    }
}

impl Counters {
    /// Adds `n` to the number of `counter` that stands under its label `label`, or 0 where it has none. Only the thread that
    /// owns the counters may call this: it is no atomic addition.
    pub fn add(&self, counter: Counter, label: usize, n: u64) {
        debug_assert!(label < COUNTED[counter as usize].width());
        let cell = &self.0[FIRST[counter as usize] + label];
        cell.store(cell.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds one.
    pub fn bump(&self, counter: Counter, label: usize) {
        self.add(counter, label, 1);
    }

    /// Counts one response and how long it took.
    pub fn count_response(&self, method: Method, status: Status, micros: u64) {
        self.bump(Counter::Requests, method as usize * Status::COUNT + status as usize);
        self.bump(Counter::Durations, bucket(&BOUNDS, micros));
        self.add(Counter::Durations, BOUNDS.len() + 1, micros);
    }

    /// Counts what became of a command.
    pub fn count_outcome(&self, Entry { command, outcome }: &Entry) {
        let Outcome { verdict, notes, .. } = *outcome;
        self.count_start(command, outcome);
        match verdict {
            Verdict::Started => self.bump(Counter::Admissions, 0),
            Verdict::Full => {
                let by_name = matches!(command.action.replaces(), Some(Replace::Stream(_)));
                let refused = if by_name { Refused::ByName } else { Refused::ByPolicy };
                self.bump(Counter::Refusals, refused as usize);
            }
            Verdict::Unavailable => self.bump(Counter::Unavailable, 0),
            _ => {}
        }
        if notes == Notes::default() {
            return;
        }
        self.add(Counter::Adoptions, 0, notes.adopted.into());
        self.add(Counter::Replacements, 0, notes.replaced.into());
        self.add(Counter::Expirations, 0, notes.expired.into());
        self.add(Counter::Refusals, Refused::Reported as usize, notes.over_limit.into());
    }

    /// Counts a start, let in or not, under how many streams the user would have played with it.
    fn count_start(&self, command: &Command, outcome: &Outcome) {
        let playing = match (outcome.verdict, outcome.excess) {
            (Verdict::Started, 0) => outcome.count,
            (Verdict::Renewed, 0) if outcome.notes.adopted => outcome.count,
            (Verdict::Started, excess) => command.limit + u32::from(excess),
            (Verdict::Full, excess) if command.action.replaces().is_some() => {
                command.limit + u32::from(excess)
            }
            _ => return,
        };
        let most = COUNTED[Counter::Starts as usize].width();
        self.bump(Counter::Starts, (playing as usize).clamp(1, most) - 1);
    }
}

/// The sum of the counters of several threads.
pub struct Sum([u64; CELLS]);

impl Default for Sum {
    fn default() -> Self {
        Self([0; CELLS])
    }
}

impl Sum {
    /// Adds the counters of one thread.
    pub fn add(&mut self, counters: &Counters) {
        self.0.iter_mut().zip(&counters.0).for_each(|(sum, cell)| *sum += cell.load(Relaxed));
    }

    /// All numbers of a counter, in the order of its labels.
    pub fn all(&self, counter: Counter) -> &[u64] {
        &self.0[FIRST[counter as usize]..FIRST[counter as usize + 1]]
    }

    /// The number of a counter over all labels.
    pub fn total(&self, counter: Counter) -> u64 {
        self.all(counter).iter().sum()
    }

    /// Every family with its numbers.
    pub fn families(&self) -> impl Iterator<Item = (&'static Family, &[u64])> {
        let ranges = FIRST.windows(2).map(|ends| &self.0[ends[0]..ends[1]]);
        const { &COUNTED }.iter().zip(ranges)
    }
}

impl<'a> FromIterator<&'a Counters> for Sum {
    fn from_iter<I: IntoIterator<Item = &'a Counters>>(threads: I) -> Self {
        let mut sum = Self::default();
        threads.into_iter().for_each(|counters| sum.add(counters));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::batch::{Action, Command};

    #[test]
    fn labels_stand_in_the_order_of_their_enums() {
        METHODS.iter().enumerate().for_each(|(i, (method, _))| assert_eq!(*method as usize, i));
        Timeout::ALL.iter().enumerate().for_each(|(i, (kind, _))| assert_eq!(*kind as usize, i));
        Failure::ALL.iter().enumerate().for_each(|(i, (cause, _))| assert_eq!(*cause as usize, i));
        Refused::ALL.iter().enumerate().for_each(|(i, (refused, _))| assert_eq!(*refused as usize, i));
        Lost::ALL.iter().enumerate().for_each(|(i, (lost, _))| assert_eq!(*lost as usize, i));
    }

    #[test]
    fn a_bucket_takes_its_bound() {
        for (micros, expected) in
            [(0, 0), (25, 0), (26, 1), (1000, 5), (1001, 6), (10_000_000, 14), (u64::MAX, 15)]
        {
            assert_eq!(bucket(&BOUNDS, micros), expected, "{micros}");
        }
    }

    #[test]
    fn every_counter_has_cells_of_its_own_and_is_summed() {
        let counters = Counters::default();
        (0..).zip(&counters.0).for_each(|(i, cell)| cell.store(i, Relaxed));
        let sum: Sum = [&counters, &counters].into_iter().collect();
        let mut next = 0;
        for (family, numbers) in sum.families() {
            let last = next + family.width() as u64;
            assert!(numbers.iter().copied().eq((next..last).map(|i| 2 * i)), "{}", family.name);
            next = last;
        }
        assert_eq!(next, CELLS as u64);
        counters.add(Counter::Panics, 0, 7);
        assert_eq!(Sum::from_iter([&counters]).total(Counter::Panics), next - 1 + 7);
    }

    #[test]
    fn responses_and_outcomes_are_counted_where_they_belong() {
        let counters = Counters::default();
        counters.count_response(Method::Patch, Status::Gone, 30);
        counters.count_response(Method::Patch, Status::Gone, 40);
        let start = |replace| Action::Start { position: None, replace, switch: false };
        let notes = Notes { over_limit: true, replaced: 2, expired: 3, ..Notes::default() };
        let adopted = Notes { adopted: true, ..Notes::default() };
        for (replace, verdict, excess, notes) in [
            (Replace::ByPolicy, Verdict::Started, 0, Notes::default()),
            (Replace::ByPolicy, Verdict::Started, 900, notes),
            (Replace::ByPolicy, Verdict::Renewed, 0, adopted),
            (Replace::ByPolicy, Verdict::Full, 1, Notes::default()),
            (Replace::Stream(Default::default()), Verdict::Full, 2, Notes::default()),
            (Replace::ByPolicy, Verdict::Renewed, 0, Notes::default()),
            (Replace::ByPolicy, Verdict::Unavailable, 0, Notes::default()),
        ] {
            let (user, key) = Default::default();
            let command = Command { user, key, limit: 3, action: start(replace) };
            counters.count_outcome(&Entry {
                command,
                outcome: Outcome { verdict, excess, count: 2, notes, ..Outcome::default() },
            });
        }
        let sum: Sum = [&counters].into_iter().collect();
        let patched = Method::Patch as usize * Status::COUNT + Status::Gone as usize;
        assert_eq!((sum.all(Counter::Requests)[patched], sum.total(Counter::Requests)), (2, 2));
        let durations = sum.all(Counter::Durations);
        assert_eq!((durations[1], durations[BOUNDS.len() + 1]), (2, 70));
        assert_eq!(sum.all(Counter::Refusals), [1, 1, 1]);
        assert_eq!(sum.all(Counter::Starts), [0, 2, 0, 1, 1, 0, 0, 1]);
        for (counter, expected) in [
            (Counter::Admissions, 2),
            (Counter::Adoptions, 1),
            (Counter::Replacements, 2),
            (Counter::Expirations, 3),
            (Counter::Unavailable, 1),
        ] {
            assert_eq!(sum.total(counter), expected, "{counter:?}");
        }
    }
}
