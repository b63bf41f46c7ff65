//! What happens between this program and its engine, counted.
//!
//! Each session counts for itself, so that no two workers write to one line of cache; the sums are taken when they are
//! asked for.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::store::{Measure, MeasureKind};

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

/// The upper bounds of the buckets of round trips, in microseconds, and as Prometheus writes them.
const BUCKETS: [(u64, &str); 10] = [
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
];

/// The counts of one session.
#[derive(Default)]
pub struct Counters {
    counts: [AtomicU64; NAMES.len()],
    /// Round trips by how long they took; the last takes what is longer than all bounds.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

impl Counters {
    /// Counts one.
    pub fn bump(&self, count: Count) {
        self.add(count, 1);
    }

    /// Counts some.
    pub fn add(&self, count: Count, n: usize) {
        self.counts[count as usize].fetch_add(n as u64, Relaxed);
    }

    /// An answer took so long.
    pub fn round_trip(&self, took: Duration) {
        let micros = took.as_micros() as u64;
        let bucket = BUCKETS.iter().position(|(most, _)| micros <= *most).unwrap_or(BUCKETS.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.micros.fetch_add(micros, Relaxed);
    }
}

/// The sums, as measures.
pub fn measures(all: &[std::sync::Arc<Counters>]) -> Vec<Measure> {
    let sum = |get: &dyn Fn(&Counters) -> u64| all.iter().map(|one| get(one)).sum::<u64>() as f64;
    let counter = |i: usize| Measure {
        family: NAMES[i].0,
        kind: MeasureKind::Counter,
        help: NAMES[i].1,
        suffix: "",
        label: None,
        value: sum(&|one| one.counts[i].load(Relaxed)),
    };
    let mut measures: Vec<Measure> = (0..NAMES.len()).map(counter).collect();
    let trip = |suffix, label, value| Measure {
        family: "streamer_store_round_trip_seconds",
        kind: MeasureKind::Histogram,
        help: "How long the engine took to answer a command.",
        suffix,
        label,
        value,
    };
    let mut below = 0.0;
    for (i, bound) in BUCKETS.iter().map(|(_, bound)| *bound).chain(["+Inf"]).enumerate() {
        below += sum(&|one| one.buckets[i].load(Relaxed));
        measures.push(trip("_bucket", Some(("le", Cow::Borrowed(bound))), below));
    }
    measures.push(trip("_sum", None, sum(&|one| one.micros.load(Relaxed)) / 1e6));
    measures.push(trip("_count", None, below));
    measures
}
