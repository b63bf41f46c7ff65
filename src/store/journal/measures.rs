//! What a journal counts and measures.
//!
//! *Invariant:* nothing here waits for the disk.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::files::{BOUNDS, Counters, Files};
use super::lane::Lane;
use crate::store::{Measure, MeasureKind};

/// The measures, with the files of these lanes.
pub fn of(files: &Files, lanes: &[Arc<Lane>]) -> Vec<Measure> {
    use MeasureKind::{Counter, Gauge};
    let Counters { writes, written_bytes, failures, .. } = &files.counters;
    let (mut n_files, mut bytes) = (lanes.len() as u64, 0);
    for lane in lanes {
        bytes += lane.writer().file().length;
    }
    for closed in files.closed().iter() {
        n_files += 1;
        bytes += closed.length;
    }
    let single = |family, kind, help, value: u64| Measure {
        family,
        kind,
        help,
        suffix: "",
        label: None,
        value: value as f64,
    };
    let mut measures = vec![
        single("streamer_journal_bytes", Gauge, "Size of the journal's files.", bytes),
        single("streamer_journal_files", Gauge, "Files of the journal.", n_files),
        single("streamer_journal_writes_total", Counter, "Writes to the journal.", writes.load(Relaxed)),
        single(
            "streamer_journal_written_bytes_total",
            Counter,
            "Bytes written to the journal.",
            written_bytes.load(Relaxed),
        ),
        single(
            "streamer_journal_failures_total",
            Counter,
            "Writes, syncs and new files of the journal that failed.",
            failures.load(Relaxed),
        ),
    ];
    syncs(&files.counters, &mut measures);
    measures
}

fn syncs(counters: &Counters, measures: &mut Vec<Measure>) {
    let mut part = |suffix, label: Option<Cow<'static, str>>, value| {
        measures.push(Measure {
            family: "streamer_journal_sync_duration_seconds",
            kind: MeasureKind::Histogram,
            help: "How long syncs of the journal took.",
            suffix,
            label: label.map(|label| ("le", label)),
            value,
        });
    };
    let mut below = 0;
    for (n, bound) in counters.syncs.iter().zip(BOUNDS) {
        below += n.load(Relaxed);
        part("_bucket", Some((bound as f64 / 1e6).to_string().into()), below as f64);
    }
    let all = below + counters.syncs[BOUNDS.len()].load(Relaxed);
    part("_bucket", Some("+Inf".into()), all as f64);
    part("_sum", None, counters.sync_micros.load(Relaxed) as f64 / 1e6);
    part("_count", None, all as f64);
}
