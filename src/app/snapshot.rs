//! Everything counted and measured at one moment, and the table of what is measured.
//!
//! *Invariant:* a number is in [`COUNTED`](super::counters::COUNTED), in `MEASURED`, or among the store's own, once; what
//! shows numbers walks [`Snapshot::families`] and [`Snapshot::store`].

use core::net::SocketAddr;

use super::counters::{Counter, Family, Kind, Label, Sum};
use super::history::History;
use super::recent::Event;
use crate::store::{Census, Measure, PLAYING_KINDS};
use crate::time::{Millis, Timestamp};

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
    /// What the store holds; None where it cannot say.
    pub census: Option<Census>,
    /// What the store is.
    pub store_name: String,
    /// Whether it can carry commands out.
    pub store_is_up: bool,
    /// What the store itself counts and measures, the numbers of a family behind each other.
    pub store: Vec<Measure>,
    /// Turns that wait for the store.
    pub parked: u64,
    /// Time taken out of the steady clock because the whole process stood still.
    pub stalled: Millis,
    /// How often the credentials were read again: taken, and refused.
    pub reloads: [u64; 2],
    /// Whether the last of these readings was refused.
    pub reload_failing: bool,
    /// How many client connections there may be.
    pub max_connections: usize,
    /// The server's limit, for how many users sit at it.
    pub limit: u32,
    /// The operating system's view; None where it has none to offer.
    pub process: Option<Process>,
    /// Users by how many streams they played at once at most: of today, and of yesterday.
    pub peaks: [[u64; PLAYING_KINDS]; 2],
    /// The latest events, newest first.
    pub latest: Vec<Event>,
    /// The last ten minutes.
    pub history: History,
    /// Where clients connect; None before that is known.
    pub listen: Option<SocketAddr>,
    /// What clients show: `open`, `users` or `secret`.
    pub credentials: &'static str,
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

/// A family that is measured, and its numbers; None where nothing can be said.
type Measured = (Family, fn(&Snapshot) -> Option<Vec<f64>>);

const NONE: &[Label] = &[];
const VERSION: &[Label] = &[Label { name: "version", values: &[env!("CARGO_PKG_VERSION")] }];
const STATE: &[Label] = &[Label { name: "state", values: &["playing", "paused"] }];
const KINDS: [&str; PLAYING_KINDS] = ["0", "1", "2", "3", "4", "5", "6", "7", "8+"];
const RESULT: &[Label] = &[Label { name: "result", values: &["taken", "refused"] }];
const PLAYING: &[Label] = &[Label { name: "playing", values: &KINDS }];
const PEAK: &[Label] =
    &[Label { name: "day", values: &["today", "yesterday"] }, Label { name: "peak", values: &KINDS }];

const fn family(name: &'static str, kind: Kind, help: &'static str, labels: &'static [Label]) -> Family {
    Family { name, kind, help, labels }
}

const fn gauge(name: &'static str, help: &'static str, labels: &'static [Label]) -> Family {
    family(name, Kind::Gauge, help, labels)
}

/// Everything that is measured when an operator looks.
const MEASURED: [Measured; 22] = [
    (gauge("streamer_build_info", "Always 1; the version is in the label.", VERSION), |_| one(1)),
    (gauge("streamer_ready", "Whether requests should be sent here: 0 while stopping.", NONE), |s| {
        one(s.ready)
    }),
    (gauge("streamer_connections_open", "Connections that are open.", NONE), |s| one(s.open() as f64)),
    (gauge("streamer_connections_max", "Client connections that there may be.", NONE), |s| {
        one(s.max_connections as f64)
    }),
    (gauge("streamer_streams", "Streams, by state.", STATE), |s| {
        s.census.map(|census| vec![census.playing as f64, census.paused as f64])
    }),
    (gauge("streamer_users", "Users of whom a stream is known, ended ones too.", NONE), |s| {
        one(s.census?.users.iter().sum::<u64>() as f64)
    }),
    (gauge("streamer_users_by_playing", "Users, by how many streams they play.", PLAYING), |s| {
        Some(s.census?.users.map(|n| n as f64).to_vec())
    }),
    (
        gauge(
            "streamer_users_at_limit",
            "Users who play as many streams as --limit allows, or 8 or more under a higher limit.",
            NONE,
        ),
        |s| one(s.users_at_limit()? as f64),
    ),
    (
        gauge(
            "streamer_users_by_peak",
            "Users who asked for a start, by how many streams they played at once at most that day (UTC); estimated.",
            PEAK,
        ),
        |s| Some(s.peaks.as_flattened().iter().map(|&n| n as f64).collect()),
    ),
    (family("process_cpu_seconds_total", Kind::Counter, "User and system CPU time spent.", NONE), |s| {
        one(s.process?.cpu_seconds)
    }),
    (gauge("process_start_time_seconds", "Start time, Unix epoch.", NONE), |s| one(s.process?.start_time)),
    (gauge("process_resident_memory_bytes", "Resident memory.", NONE), |s| one(s.process?.resident as f64)),
    (gauge("process_virtual_memory_bytes", "Virtual memory.", NONE), |s| one(s.process?.virtual_size as f64)),
    (gauge("process_open_fds", "Open file descriptors.", NONE), |s| one(s.process?.open_fds as f64)),
    (gauge("process_max_fds", "File descriptors that there may be.", NONE), |s| {
        one(s.process?.max_fds as f64)
    }),
    (gauge("process_threads", "Threads.", NONE), |s| one(s.process?.threads as f64)),
    (gauge("streamer_workers", "Worker threads.", NONE), |s| one(s.workers as f64)),
    (gauge("streamer_store_up", "Whether the store can carry commands out.", NONE), |s| one(s.store_is_up)),
    (
        family("streamer_reloads_total", Kind::Counter, "How often credentials were read again.", RESULT),
        |s| Some(s.reloads.map(|n| n as f64).to_vec()),
    ),
    (
        gauge(
            "streamer_reload_failing",
            "Whether the last reload failed, so that the old files are in force.",
            NONE,
        ),
        |s| one(s.reload_failing),
    ),
    (gauge("streamer_parked_turns", "Turns of workers that wait for the store.", NONE), |s| {
        one(s.parked as f64)
    }),
    (
        family(
            "streamer_clock_stalled_seconds_total",
            Kind::Counter,
            "Time in which the whole process stood still, taken out of the clock of the leases.",
            NONE,
        ),
        |s| one(s.stalled.millis() as f64 / 1000.0),
    ),
];

/// The numbers of a family that has one.
fn one(value: impl Into<f64>) -> Option<Vec<f64>> {
    Some(vec![value.into()])
}

impl Snapshot {
    /// Every family with its numbers: one for each value of its labels, the last label's values side by side; of a histogram as
    /// [`Family::width`] says.
    pub fn families(&self) -> impl Iterator<Item = (&'static Family, Vec<f64>)> {
        let counted = self.sum.families();
        let counted = counted.map(|(family, numbers)| (family, numbers.iter().map(|&n| n as f64).collect()));
        let measured = const { &MEASURED }.iter();
        counted.chain(measured.filter_map(|(family, measure)| Some((family, measure(self)?))))
    }

    /// Connections that are open.
    fn open(&self) -> u64 {
        self.sum.total(Counter::Accepted).saturating_sub(self.sum.total(Counter::Closed))
    }

    /// Users who play as many streams as the server's limit allows, or more.
    fn users_at_limit(&self) -> Option<u64> {
        let limit = (self.limit as usize).min(PLAYING_KINDS - 1);
        Some(self.census?.users[limit..].iter().sum())
    }
}
