//! What a journal counts and measures.

use std::sync::atomic::Ordering::Relaxed;

use super::ledger::{BOUNDS, Ledger};
use crate::measures::Measure;
use crate::measures::Reading::{Counter, Gauge, Histogram};
use crate::time::Millis;

/// The measures; the oldest work has waited for so long.
pub fn of(ledger: &Ledger, oldest: Millis) -> Vec<Measure> {
    let (counts, length) = (&ledger.counts, ledger.length.load(Relaxed));
    let (n_files, bytes) =
        ledger.closed(|closed| (closed.len() as u64, closed.iter().map(|file| file.length).sum::<u64>()));
    let syncs = Histogram {
        bounds: &BOUNDS,
        counts: counts.syncs.iter().map(|n| n.load(Relaxed)).collect(),
        sum: counts.sync_micros.load(Relaxed),
    };
    let single = [
        ("streamer_journal_bytes", "Size of the journal's files.", Gauge(bytes + length)),
        ("streamer_journal_files", "Files of the journal.", Gauge(n_files + u64::from(length > 0))),
        ("streamer_journal_writes_total", "Writes to the journal.", Counter(counts.writes.load(Relaxed))),
        (
            "streamer_journal_written_bytes_total",
            "Bytes written to the journal.",
            Counter(counts.written_bytes.load(Relaxed)),
        ),
        (
            "streamer_journal_oldest_seconds",
            "How long the oldest change has waited that is not on the disk.",
            Gauge(oldest.millis() / 1000),
        ),
        ("streamer_journal_sync_duration_seconds", "How long syncs of the journal took.", syncs),
    ]
    .map(|(family, help, value)| Measure::single(family, help, value));
    let failures = ledger.health.counts().map(|(kind, n)| {
        let (family, help) = ("streamer_journal_failures_total", "What failed of the journal's work.");
        Measure::labelled(family, help, ("kind", kind), Counter(n))
    });
    single.into_iter().chain(failures).collect()
}
