//! The process as its system sees it.

use std::fs;

use crate::measures::{
    Measure,
    Reading::{self, Gauge, Time},
};
use crate::time::Timestamp;

/// What proc(5) says of this one, which has run since `started`; nothing on systems that have no /proc.
pub fn measures(started: Timestamp) -> Vec<Measure> {
    let readings = readings(started).unwrap_or_default();
    readings.into_iter().map(|(family, help, value)| Measure::single(family, help, value)).collect()
}

fn readings(started: Timestamp) -> Option<Vec<(&'static str, &'static str, Reading)>> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may hold anything; the third begins behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    // Clock ticks are hundredths of a second and pages 4 KiB on every Linux that Rust's tier 1 knows.
    let (tick, page) = (10_000, 4096);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let max_fds = files.and_then(|files| files.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    let open_fds = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as u64;
    Some(vec![
        (
            "process_cpu_seconds_total",
            "User and system CPU time spent.",
            Time((number(14)? + number(15)?) * tick),
        ),
        ("process_start_time_seconds", "Start time, Unix epoch.", Gauge(started.secs())),
        ("process_resident_memory_bytes", "Resident memory.", Gauge(number(24)? * page)),
        ("process_virtual_memory_bytes", "Virtual memory.", Gauge(number(23)?)),
        ("process_open_fds", "Open file descriptors.", Gauge(open_fds)),
        ("process_max_fds", "File descriptors that there may be.", Gauge(max_fds)),
        ("process_threads", "Threads.", Gauge(number(20)?)),
    ])
}
