//! What a journal counts and measures.

use std::sync::atomic::Ordering::Relaxed;

use super::health::Failing;
use super::ledger::Ledger;
use crate::measures::Kind::{Counter, Histogram};
use crate::measures::{Family, Label, Measure, Reading::Gauge};
use crate::sync::lock;
use crate::time::Millis;

/// One thing that is counted.
#[derive(Clone, Copy)]
pub enum Figure {
    Writes,
    WrittenBytes,
    Failures,
    Syncs,
}

/// The buckets of the histogram of syncs, in microseconds.
const BOUNDS: [u64; 9] = [250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000];

/// What they are called, in the order of [`Figure`].
pub const FAMILIES: [Family; 4] = [
    Family::new("streamer_journal_writes_total", Counter, "Writes to the journal."),
    Family::new("streamer_journal_written_bytes_total", Counter, "Bytes written to the journal."),
    Family {
        labels: &[Label { name: "kind", values: &Failing::LABELS }],
        ..Family::new("streamer_journal_failures_total", Counter, "What failed of the journal's work.")
    },
    Family::new(
        "streamer_journal_sync_duration_seconds",
        Histogram(&BOUNDS),
        "How long syncs of the journal took.",
    ),
];

/// The measures; the oldest work has waited for so long.
pub fn of(ledger: &Ledger, oldest: Millis) -> Vec<Measure> {
    let open = ledger.length.load(Relaxed);
    let closed: Vec<u64> = lock(&ledger.closed).iter().map(|file| file.length).collect();
    let gauges = [
        ("streamer_journal_bytes", "Size of the journal's files.", open + closed.iter().sum::<u64>()),
        ("streamer_journal_files", "Files of the journal.", closed.len() as u64 + u64::from(open > 0)),
        (
            "streamer_journal_oldest_seconds",
            "How long the oldest change has waited that is not on the disk.",
            oldest.millis() / 1000,
        ),
    ]
    .map(|(family, help, n)| Measure::single(family, help, Gauge(n)));
    gauges.into_iter().chain(ledger.health.counts.measures(&[])).collect()
}
