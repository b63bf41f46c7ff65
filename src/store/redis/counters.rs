//! What happens between this program and its engine, counted.
//!
//! Each session counts for itself, so that no two workers write to one line of cache; the sums are taken when they are
//! asked for.

use std::time::Duration;

use crate::measures::Kind::{Counter, Histogram};
use crate::measures::{Counts, Family, Measure};

/// One thing that is counted.
#[derive(Clone, Copy)]
pub enum Count {
    /// A command sent again: it lost a race, was redirected, or its answer was lost.
    Retries,
    /// A record was another than the hint said.
    Conflicts,
    /// A record was there and no hint.
    Misses,
    /// A command was given up at its deadline.
    TimeOuts,
    /// A connection was lost, or closed because an answer was late.
    Disconnects,
    Redirects,
    Errors,
    Corrupt,
    Unavailable,
    Refreshes,
    RefusedLogins,
    RoundTrips,
}

/// The upper bounds of the buckets of round trips, in microseconds.
const BOUNDS: [u64; 10] = [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000];

/// What they are called, in the order of [`Count`].
const FAMILIES: [Family; 12] = [
    counter("streamer_store_retries_total", "Commands sent to the engine again."),
    counter("streamer_store_conflicts_total", "Records that had changed since they were last seen here."),
    counter("streamer_store_misses_total", "Records that were not known here and had to be fetched."),
    counter("streamer_store_timeouts_total", "Commands given up at --store-timeout."),
    counter("streamer_store_disconnects_total", "Connections to the engine lost or given up."),
    counter("streamer_store_redirects_total", "MOVED and ASK answers of a Cluster."),
    counter("streamer_store_errors_total", "Errors of the engine other than those."),
    counter("streamer_store_corrupt_total", "Records that this version cannot read."),
    counter("streamer_store_unavailable_total", "Commands that got a 503 because of the engine."),
    counter("streamer_store_refreshes_total", "How often the engine was asked who has the keys."),
    counter("streamer_store_refused_logins_total", "How often a server did not let this program in."),
    Family::new(
        "streamer_store_round_trip_seconds",
        Histogram(&BOUNDS),
        "How long the engine took to answer a command.",
    ),
];

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family::new(name, Counter, help)
}

/// The numbers of one session.
pub struct EngineCounts(Counts);

impl Default for EngineCounts {
    fn default() -> Self {
        Self(Counts::new(&FAMILIES))
    }
}

impl EngineCounts {
    pub fn bump(&self, count: Count) {
        self.bump_by(count, 1);
    }

    pub fn bump_by(&self, count: Count, n: usize) {
        self.0.add(count as usize, 0, n as u64);
    }

    pub fn round_trip(&self, took: Duration) {
        self.0.time(Count::RoundTrips as usize, took);
    }

    /// The sums of these and of other sessions', as measures.
    pub fn measures<'a>(&self, others: impl Iterator<Item = &'a Self>) -> Vec<Measure> {
        let others: Vec<_> = others.map(|other| &other.0).collect();
        self.0.measures(&others)
    }
}
