//! `/metrics`: everything counted, in the Prometheus text format 0.0.4.
//!
//! *Invariant:* a name and its labels, once published, keep their meaning; dashboards outlive releases.

use std::fmt::Write;

use super::auth::Failure;
use super::counters::{BOUNDS, METHODS, REFUSALS, Sum, Timeout};
use super::recent::Decision;
use crate::http::status::Status;
use crate::store::{Census, PLAYING_KINDS};
use crate::time::{Millis, Timestamp};

/// What Prometheus asks for.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is counted and measured, at one moment.
#[derive(Default)]
pub struct Snapshot {
    /// When.
    pub wall: Timestamp,
    /// Since the start.
    pub uptime: Millis,
    /// Whether requests should be sent here.
    pub ready: bool,
    /// Worker threads.
    pub workers: usize,
    /// What all threads have counted.
    pub sum: Sum,
    /// What the store holds.
    pub census: Census,
    /// How many client connections there may be.
    pub max_connections: usize,
    /// The server's limit, for how many users sit at it.
    pub limit: u32,
    /// The operating system's view; None where it has none to offer.
    pub process: Option<Process>,
    /// The latest decisions, newest first.
    pub latest: Vec<Decision>,
}

/// The process as its system sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// User and system time spent.
    pub cpu_seconds: f64,
    /// Resident memory in bytes.
    pub resident: u64,
    /// Virtual memory in bytes.
    pub virtual_size: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// How many there may be.
    pub max_fds: u64,
    /// Threads.
    pub threads: u64,
    /// Seconds since the Unix epoch.
    pub start_time: f64,
}

impl Snapshot {
    /// Connections that are open.
    pub fn open(&self) -> u64 {
        self.sum.accepted.saturating_sub(self.sum.closed)
    }

    /// Users who play as many streams as the server's limit allows, or more.
    pub fn users_at_limit(&self) -> u64 {
        let limit = (self.limit as usize).min(PLAYING_KINDS - 1);
        self.census.users[limit..].iter().sum()
    }

    /// All users of whom anything is known.
    pub fn users(&self) -> u64 {
        self.census.users.iter().sum()
    }
}

/// Appends the page of metrics.
pub fn write(snapshot: &Snapshot, out: &mut Vec<u8>) {
    let mut text = String::with_capacity(16 * 1024);
    requests(snapshot, &mut text);
    streams(snapshot, &mut text);
    connections(snapshot, &mut text);
    if let Some(process) = &snapshot.process {
        self::process(process, &mut text);
    }
    out.extend_from_slice(text.as_bytes());
}

/// Appends the two lines that a family begins with.
fn family(name: &str, kind: &str, help: &str, text: &mut String) {
    // Writing to a string cannot fail; neither can the lines below.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn single(name: &str, kind: &str, help: &str, value: impl std::fmt::Display, text: &mut String) {
    family(name, kind, help, text);
    let _ = writeln!(text, "{name} {value}");
}

fn labelled<'a>(
    name: &str,
    kind: &str,
    help: &str,
    label: &str,
    values: impl IntoIterator<Item = (&'a str, u64)>,
    text: &mut String,
) {
    family(name, kind, help, text);
    for (value, n) in values {
        let _ = writeln!(text, "{name}{{{label}=\"{value}\"}} {n}");
    }
}

fn requests(snapshot: &Snapshot, text: &mut String) {
    let sum = &snapshot.sum;
    family("streamer_requests_total", "counter", "Requests answered, by method and status.", text);
    for ((_, method), by_status) in METHODS.iter().zip(&sum.requests) {
        for (status, &n) in Status::all().zip(by_status).filter(|(_, n)| **n > 0) {
            let status = status.digits();
            let _ = writeln!(text, "streamer_requests_total{{method=\"{method}\",status=\"{status}\"}} {n}");
        }
    }
    let name = "streamer_request_duration_seconds";
    family(name, "histogram", "From the first byte of a request read to its answer made.", text);
    let mut below = 0;
    for (bound, n) in BOUNDS.iter().zip(&sum.durations) {
        below += n;
        let bound = *bound as f64 / 1e6;
        let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {below}");
    }
    let all: u64 = sum.durations.iter().sum();
    let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {all}");
    let _ = writeln!(text, "{name}_sum {}\n{name}_count {all}", sum.duration_sum as f64 / 1e6);
    labelled(
        "streamer_auth_failures_total",
        "counter",
        "Requests refused for their credentials, by cause.",
        "cause",
        Failure::ALL.iter().zip(sum.auth_failures).map(|((_, cause), n)| (*cause, n)),
        text,
    );
    single("streamer_log_lines_lost_total", "counter", "Access log lines lost.", sum.lines_lost, text);
    single("streamer_panics_total", "counter", "Panics caught; each closed a connection.", sum.panics, text);
}

fn streams(snapshot: &Snapshot, text: &mut String) {
    let (sum, census) = (&snapshot.sum, &snapshot.census);
    single("streamer_admissions_total", "counter", "New streams let in.", sum.admissions, text);
    labelled(
        "streamer_refusals_total",
        "counter",
        "Starts that found the user full: refused, refused for naming a stream that does not play, only reported.",
        "policy",
        REFUSALS.into_iter().zip(sum.refusals),
        text,
    );
    single(
        "streamer_replacements_total",
        "counter",
        "Streams that gave way to another.",
        sum.replacements,
        text,
    );
    single("streamer_expirations_total", "counter", "Leases that ran out.", sum.expirations, text);
    single(
        "streamer_adoptions_total",
        "counter",
        "Unknown streams taken over after a start.",
        sum.adoptions,
        text,
    );
    labelled(
        "streamer_streams",
        "gauge",
        "Streams, by state.",
        "state",
        [("playing", census.playing), ("paused", census.paused)],
        text,
    );
    single(
        "streamer_users",
        "gauge",
        "Users of whom a stream is known, ended ones too.",
        snapshot.users(),
        text,
    );
    labelled(
        "streamer_users_by_playing",
        "gauge",
        "Users, by how many streams they play.",
        "playing",
        ["0", "1", "2", "3", "4", "5", "6", "7", "8+"].into_iter().zip(census.users),
        text,
    );
    single(
        "streamer_users_at_limit",
        "gauge",
        "Users who play as many streams as --limit allows, or 8 or more under a higher limit.",
        snapshot.users_at_limit(),
        text,
    );
}

fn connections(snapshot: &Snapshot, text: &mut String) {
    let sum = &snapshot.sum;
    for (name, kind, help, value) in [
        ("streamer_connections_open", "gauge", "Connections that are open.", snapshot.open()),
        (
            "streamer_connections_max",
            "gauge",
            "Client connections that there may be.",
            snapshot.max_connections as u64,
        ),
        ("streamer_connections_accepted_total", "counter", "Connections accepted.", sum.accepted),
        (
            "streamer_connections_refused_total",
            "counter",
            "Connections turned away for want of room.",
            sum.refused,
        ),
        (
            "streamer_connections_reclaimed_total",
            "counter",
            "Idle connections closed to make room.",
            sum.reclaimed,
        ),
        ("streamer_received_bytes_total", "counter", "Bytes read from clients.", sum.received),
        ("streamer_sent_bytes_total", "counter", "Bytes written to clients.", sum.sent),
        (
            "streamer_ready",
            "gauge",
            "Whether requests should be sent here: 0 while stopping.",
            u64::from(snapshot.ready),
        ),
    ] {
        single(name, kind, help, value, text);
    }
    labelled(
        "streamer_timeouts_total",
        "counter",
        "Connections given up, by what did not come in time.",
        "kind",
        Timeout::ALL.iter().zip(sum.timeouts).map(|((_, kind), n)| (*kind, n)),
        text,
    );
    labelled(
        "streamer_build_info",
        "gauge",
        "Always 1; the version is in the label.",
        "version",
        [(env!("CARGO_PKG_VERSION"), 1)],
        text,
    );
}

fn process(process: &Process, text: &mut String) {
    single(
        "process_cpu_seconds_total",
        "counter",
        "User and system CPU time spent.",
        process.cpu_seconds,
        text,
    );
    single("process_start_time_seconds", "gauge", "Start time, Unix epoch.", process.start_time, text);
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Resident memory.", process.resident),
        ("process_virtual_memory_bytes", "Virtual memory.", process.virtual_size),
        ("process_open_fds", "Open file descriptors.", process.open_fds),
        ("process_max_fds", "File descriptors that there may be.", process.max_fds),
        ("process_threads", "Threads.", process.threads),
    ] {
        single(name, "gauge", help, value, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_every_family_once_and_buckets_that_add_up() {
        let mut snapshot = Snapshot { limit: 3, process: Some(Process::default()), ..Snapshot::default() };
        snapshot.sum.durations[0] = 2;
        snapshot.sum.durations[BOUNDS.len()] = 1;
        snapshot.sum.requests[0][0] = 3;
        snapshot.census.users = [1, 2, 3, 4, 5, 0, 0, 0, 6];
        let mut out = Vec::new();
        write(&snapshot, &mut out);
        let text = String::from_utf8(out).unwrap();
        for line in [
            "streamer_requests_total{method=\"GET\",status=\"200\"} 3",
            "streamer_request_duration_seconds_bucket{le=\"0.000025\"} 2",
            "streamer_request_duration_seconds_bucket{le=\"10\"} 2",
            "streamer_request_duration_seconds_bucket{le=\"+Inf\"} 3",
            "streamer_request_duration_seconds_count 3",
            "streamer_users 21",
            "streamer_users_by_playing{playing=\"8+\"} 6",
            "streamer_users_at_limit 15",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        let families: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let distinct: std::collections::HashSet<&&str> = families.iter().collect();
        assert_eq!((families.len(), distinct.len()), (31, 31), "{families:?}");
    }
}
