//! What is counted. Every thread counts for itself, and whoever asks adds up.
//!
//! *Invariant:* a set of counters is written by one thread alone, so that counting is a load and a store and no worker
//! ever waits for another's cache line.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::auth::Failure;
use crate::http::Method;
use crate::http::status::Status;
use crate::streams::batch::{Action, Notes, Replace, Verdict};

/// The upper bounds of the duration buckets, in microseconds; one more bucket takes all that is longer.
pub const BOUNDS: [u64; 15] = [
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    10_000_000,
];

/// The methods that are told apart, with their labels.
pub const METHODS: [(Method, &str); 10] = [
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

/// What a connection waits for, and is given up for when it does not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// The rest of a head.
    Head,
    /// The rest of a content.
    Body,
    /// Another request.
    Idle,
    /// Another request of an operator, whose connection makes room for nobody.
    IdleAdmin,
    /// That an answer is read.
    Write,
    /// That the client closes after the last answer.
    Drain,
}

impl Timeout {
    /// Every kind, in the order of the enum, with its label.
    pub const ALL: [(Self, &str); 6] = [
        (Self::Head, "head"),
        (Self::Body, "body"),
        (Self::Idle, "idle"),
        (Self::IdleAdmin, "idle_admin"),
        (Self::Write, "write"),
        (Self::Drain, "drain"),
    ];
}

/// The labels of `Table::refusals`: refused by the policy, because what was to be replaced does not play, and let through
/// by a policy that only reports.
pub const REFUSALS: [&str; 3] = ["refuse", "replace", "report"];

/// One number that only goes up.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the thread that owns the counter may call this: it is no atomic addition.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds one.
    pub fn bump(&self) {
        self.add(1);
    }

    /// What it has come to.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A table of things that are counted, generic over what stands for a number: a [`Counter`] where one counts, a `u64`
/// where one adds up.
#[derive(Default)]
pub struct Table<N> {
    /// Requests by method and status.
    pub requests: [[N; Status::COUNT]; METHODS.len()],
    /// Answers by how long they took, by [`BOUNDS`].
    pub durations: [N; BOUNDS.len() + 1],
    /// The sum of all durations, in microseconds.
    pub duration_sum: N,
    /// New streams that were let in.
    pub admissions: N,
    /// Starts that found the user full, by [`REFUSALS`].
    pub refusals: [N; REFUSALS.len()],
    /// Streams that gave way to another.
    pub replacements: N,
    /// Leases that ran out.
    pub expirations: N,
    /// Streams taken over after a start.
    pub adoptions: N,
    /// Connections accepted.
    pub accepted: N,
    /// Connections refused for want of room.
    pub refused: N,
    /// Idle connections closed to make room.
    pub reclaimed: N,
    /// Connections closed.
    pub closed: N,
    /// Connections given up, by [`Timeout`].
    pub timeouts: [N; Timeout::ALL.len()],
    /// Credentials refused, by [`Failure`].
    pub auth_failures: [N; Failure::ALL.len()],
    /// Log lines lost.
    pub lines_lost: N,
    /// Panics caught.
    pub panics: N,
    /// Bytes read from clients.
    pub received: N,
    /// Bytes written to clients.
    pub sent: N,
}

/// The counters of one thread.
pub type Counters = Table<Counter>;
/// The sum over all threads.
pub type Sum = Table<u64>;

impl Counters {
    /// Counts one answer and how long it took.
    pub fn answered(&self, method: Method, status: Status, micros: u64) {
        self.requests[method as usize][status as usize].bump();
        self.durations[bucket(micros)].bump();
        self.duration_sum.add(micros);
    }

    /// Counts what became of a command.
    pub fn decided(&self, action: Action, verdict: Verdict, notes: Notes) {
        match verdict {
            Verdict::Started => self.admissions.bump(),
            Verdict::Full => {
                let by_name = matches!(action, Action::Start { replace: Replace::Stream(_), .. });
                self.refusals[usize::from(by_name)].bump();
            }
            _ => {}
        }
        if notes == Notes::default() {
            return;
        }
        self.adoptions.add(u64::from(notes.adopted));
        self.replacements.add(u64::from(notes.replaced));
        self.expirations.add(u64::from(notes.expired));
        self.refusals[2].add(u64::from(notes.over_limit));
    }
}

impl Sum {
    /// Adds the counters of one thread.
    pub fn add(&mut self, counters: &Counters) {
        fn all(sums: &mut [u64], counters: &[Counter]) {
            sums.iter_mut().zip(counters).for_each(|(sum, counter)| *sum += counter.get());
        }
        self.requests.iter_mut().zip(&counters.requests).for_each(|(sums, counters)| all(sums, counters));
        all(&mut self.durations, &counters.durations);
        all(&mut self.refusals, &counters.refusals);
        all(&mut self.timeouts, &counters.timeouts);
        all(&mut self.auth_failures, &counters.auth_failures);
        for (sum, counter) in [
            (&mut self.duration_sum, &counters.duration_sum),
            (&mut self.admissions, &counters.admissions),
            (&mut self.replacements, &counters.replacements),
            (&mut self.expirations, &counters.expirations),
            (&mut self.adoptions, &counters.adoptions),
            (&mut self.accepted, &counters.accepted),
            (&mut self.refused, &counters.refused),
            (&mut self.reclaimed, &counters.reclaimed),
            (&mut self.closed, &counters.closed),
            (&mut self.lines_lost, &counters.lines_lost),
            (&mut self.panics, &counters.panics),
            (&mut self.received, &counters.received),
            (&mut self.sent, &counters.sent),
        ] {
            *sum += counter.get();
        }
    }
}

/// Which bucket a duration falls into.
fn bucket(micros: u64) -> usize {
    BOUNDS.iter().position(|&bound| micros <= bound).unwrap_or(BOUNDS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_in_the_order_of_their_enums() {
        METHODS.iter().enumerate().for_each(|(i, (method, _))| assert_eq!(*method as usize, i));
        Timeout::ALL.iter().enumerate().for_each(|(i, (kind, _))| assert_eq!(*kind as usize, i));
        Failure::ALL.iter().enumerate().for_each(|(i, (cause, _))| assert_eq!(*cause as usize, i));
    }

    #[test]
    fn a_bucket_takes_its_bound() {
        for (micros, expected) in
            [(0, 0), (25, 0), (26, 1), (1000, 5), (1001, 6), (10_000_000, 14), (u64::MAX, 15)]
        {
            assert_eq!(bucket(micros), expected, "{micros}");
        }
    }

    #[test]
    fn sums_every_counter() {
        let counters = Counters::default();
        counters.answered(Method::Patch, Status::Gone, 30);
        counters.answered(Method::Patch, Status::Gone, 40);
        let notes = Notes { adopted: true, over_limit: true, replaced: 2, expired: 3 };
        let start = Action::Start { position: None, replace: Replace::ByPolicy };
        counters.decided(start, Verdict::Started, notes);
        counters.decided(start, Verdict::Full, Notes::default());
        let by_name = Action::Start { position: None, replace: Replace::Stream(Default::default()) };
        counters.decided(by_name, Verdict::Full, Notes::default());
        let mut sum = Sum::default();
        sum.add(&counters);
        sum.add(&counters);
        assert_eq!(sum.requests[Method::Patch as usize][Status::Gone as usize], 4);
        assert_eq!((sum.durations[1], sum.duration_sum), (4, 140));
        assert_eq!((sum.admissions, sum.adoptions, sum.replacements, sum.expirations), (2, 2, 4, 6));
        assert_eq!(sum.refusals, [2, 2, 2]);
    }
}
