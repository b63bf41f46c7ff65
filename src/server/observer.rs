//! What the admin listener shows: the sum of all counters, the store's census, and the process as its system sees it.
//!
//! *Invariant:* whoever looks pays for it; nobody who serves does.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::shared::Shared;
use crate::app::Observer;
use crate::app::counters::Counters;
use crate::app::recent::Recent;
use crate::app::snapshot::{Process, Snapshot};
use crate::app::usage::Usage;
use crate::time::{Millis, Timestamp};

/// Looks at everything.
pub struct Watcher {
    pub shared: Arc<Shared>,
    /// Those of every thread.
    pub counters: Vec<Arc<Counters>>,
    pub recent: Vec<Arc<Recent>>,
    pub usage: Arc<Usage>,
    pub max_connections: usize,
    pub started: Instant,
    /// Seconds since the Unix epoch.
    pub start_time: f64,
}

impl Observer for Watcher {
    fn snapshot(&self) -> Snapshot {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Timestamp::from_millis(wall.as_millis() as u64);
        Snapshot {
            wall,
            uptime: Millis::from_millis(self.started.elapsed().as_millis() as u64),
            ready: self.is_ready(),
            workers: self.recent.len(),
            sum: self.counters.iter().map(|counters| &**counters).collect(),
            census: self.shared.store.census(),
            store: self.shared.store.measures(),
            max_connections: self.max_connections,
            limit: self.shared.settings.limit,
            process: process(self.start_time),
            peaks: self.usage.peaks(wall),
            latest: Recent::latest(self.recent.iter().map(|recent| &**recent)),
        }
    }

    fn is_ready(&self) -> bool {
        !self.shared.stopping.load(Relaxed)
    }
}

/// What proc(5) says; None on systems that have no /proc.
fn process(start_time: f64) -> Option<Process> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may hold anything; the third begins behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    // Clock ticks are hundredths of a second and pages 4 KiB on every Linux that Rust's tier 1 knows.
    let (ticks, page) = (100.0, 4096);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    Some(Process {
        cpu_seconds: (number(14)? + number(15)?) as f64 / ticks,
        threads: number(20)?,
        virtual_size: number(23)?,
        resident: number(24)? * page,
        open_fds: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as u64,
        max_fds: files.and_then(|files| files.split_whitespace().next()?.parse().ok()).unwrap_or(0),
        start_time,
    })
}
