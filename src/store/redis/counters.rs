//! What happens between this program and its engine, counted.
//!
//! Each session counts for itself, so that no two workers write to one line of cache; the sums are taken when they are
//! asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::store::{Measure, Value, bucket};

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
    /// MOVED and ASK.
    Redirects,
    /// Errors of the engine.
    Errors,
    /// Records that this version cannot read.
    Corrupt,
    /// Commands carried out in memory because the engine was away.
    Local,
    /// Commands answered 503.
    Unavailable,
}

const NAMES: [(&str, &str); 10] = [
    ("streamer_store_retries_total", "Commands sent to the engine again."),
    ("streamer_store_conflicts_total", "Records that had changed since they were last seen here."),
    ("streamer_store_misses_total", "Records that were not known here and had to be fetched."),
    ("streamer_store_timeouts_total", "Commands given up at --store-timeout."),
    ("streamer_store_disconnects_total", "Connections to the engine lost or given up."),
    ("streamer_store_redirects_total", "MOVED and ASK answers of a Cluster."),
    ("streamer_store_errors_total", "Errors of the engine other than those."),
    ("streamer_store_corrupt_total", "Records that this version cannot read."),
    ("streamer_store_local_total", "Commands carried out in memory while the engine was away."),
    ("streamer_store_unavailable_total", "Commands that got a 503 because of the engine."),
];

/// The upper bounds of the buckets of round trips, in microseconds.
const BOUNDS: [u64; 10] = [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000];

/// The counts of one session.
#[derive(Default)]
pub struct Counters {
    counts: [AtomicU64; NAMES.len()],
    /// Round trips by how long they took; the last takes what is longer than all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Counters {
    /// Counts one.
    pub fn bump(&self, count: Count) {
        self.add(count, 1);
    }

    /// Counts some.
    pub fn add(&self, count: Count, n: usize) {
        add(&self.counts[count as usize], n as u64);
    }

    /// An answer took so long.
    pub fn round_trip(&self, took: Duration) {
        let micros = took.as_micros() as u64;
        add(&self.buckets[bucket(&BOUNDS, micros)], 1);
        add(&self.micros, micros);
    }
}

/// No atomic addition is needed: one thread writes.
fn add(sum: &AtomicU64, n: u64) {
    sum.store(sum.load(Relaxed) + n, Relaxed);
}

/// The sums, as measures.
pub fn measures(all: &[Arc<Counters>]) -> Vec<Measure> {
    let sum = |get: &dyn Fn(&Counters) -> &AtomicU64| all.iter().map(|one| get(one).load(Relaxed)).sum();
    let counters = NAMES
        .iter()
        .enumerate()
        .map(|(i, (family, help))| Measure::single(family, help, Value::Counter(sum(&|one| &one.counts[i]))));
    let round_trips = Value::Histogram {
        bounds: &BOUNDS,
        counts: (0..=BOUNDS.len()).map(|i| sum(&|one| &one.buckets[i])).collect(),
        sum: sum(&|one| &one.micros),
    };
    let (family, help) =
        ("streamer_store_round_trip_seconds", "How long the engine took to answer a command.");
    counters.chain([Measure::single(family, help, round_trips)]).collect()
}
