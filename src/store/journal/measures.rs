//! What a journal counts and measures.
//!
//! *Invariant:* nothing here waits for the disk.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::files::{BOUNDS, Files};
use super::lane::Lane;
use crate::store::Measure;
use crate::store::Value::{Counter, Gauge, Histogram};

/// The measures, with the files of these lanes.
pub fn of(files: &Files, lanes: &[Arc<Lane>]) -> Vec<Measure> {
    let counters = &files.counters;
    let (mut n_files, mut bytes) = (lanes.len() as u64, 0);
    for lane in lanes {
        bytes += lane.writer().file().length;
    }
    for closed in files.closed().iter() {
        n_files += 1;
        bytes += closed.length;
    }
    let syncs = Histogram {
        bounds: &BOUNDS,
        counts: counters.syncs.iter().map(|n| n.load(Relaxed)).collect(),
        sum: counters.sync_micros.load(Relaxed),
    };
    [
        ("streamer_journal_bytes", "Size of the journal's files.", Gauge(bytes)),
        ("streamer_journal_files", "Files of the journal.", Gauge(n_files)),
        ("streamer_journal_writes_total", "Writes to the journal.", Counter(counters.writes.load(Relaxed))),
        (
            "streamer_journal_written_bytes_total",
            "Bytes written to the journal.",
            Counter(counters.written_bytes.load(Relaxed)),
        ),
        (
            "streamer_journal_failures_total",
            "Writes, syncs and new files of the journal that failed.",
            Counter(counters.failures.load(Relaxed)),
        ),
        ("streamer_journal_sync_duration_seconds", "How long syncs of the journal took.", syncs),
    ]
    .map(|(family, help, value)| Measure::single(family, help, value))
    .into()
}
