//! What happens between this program and its engine, counted.
//!
//! Each session counts for itself, so that no two workers write to one line of cache; the sums are taken when they are
//! asked for.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::measures::{Family, Kind, Measure, bucket};

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
}

/// The upper bounds of the buckets of round trips, in microseconds.
const BOUNDS: [u64; 10] = [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000];

/// What they are called, in the order of [`Count`]; behind those the round trips.
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
    Family {
        name: "streamer_store_round_trip_seconds",
        kind: Kind::Histogram(&BOUNDS),
        help: "How long the engine took to answer a command.",
        labels: &[],
    },
];

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, help, labels: &[] }
}

const ROUND_TRIPS: usize = FAMILIES.len() - 1;
const CELLS: usize = ROUND_TRIPS + FAMILIES[ROUND_TRIPS].width();

/// The numbers of one session, family by family.
#[derive(Default)]
pub struct EngineCounts([AtomicU64; CELLS]);

impl EngineCounts {
    pub fn bump(&self, count: Count) {
        self.add(count as usize, 1);
    }

    pub fn bump_by(&self, count: Count, n: usize) {
        self.add(count as usize, n as u64);
    }

    pub fn round_trip(&self, took: Duration) {
        let micros = took.as_micros() as u64;
        self.add(ROUND_TRIPS + bucket(&BOUNDS, micros), 1);
        self.add(CELLS - 1, micros);
    }

    fn add(&self, at: usize, n: u64) {
        self.0[at].fetch_add(n, Relaxed);
    }
}

/// The sums, as measures.
pub fn measures(all: &[&EngineCounts]) -> Vec<Measure> {
    let sum = |at: usize| all.iter().map(|one| one.0[at].load(Relaxed)).sum();
    let sums: Vec<u64> = (0..CELLS).map(sum).collect();
    let (counts, round_trips) = sums.split_at(ROUND_TRIPS);
    let numbers = counts.chunks(1).chain([round_trips]);
    FAMILIES.iter().zip(numbers).flat_map(|(family, numbers)| family.measures(numbers)).collect()
}
