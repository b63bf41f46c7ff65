//! What `--store dir:PATH` costs beside memory, how long heartbeats wait beside synced starts, how long a start takes, and
//! how large the directory grows.
//!
//! *Invariant:* each server has a directory of its own, empty at first and removed at the end.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Effort;
use crate::load::{AtEnd, Load, Tally};
use crate::pair::{CONNECTIONS, Case, Length};
use crate::process::{ANY, Process, SAME, scratch};
use crate::requests::{PLAIN, Scenario, USERS};
use crate::scale::{fill, row, share};

const ROUNDS: usize = 12;

/// Measures everything here.
pub fn run(effort: Effort) -> io::Result<()> {
    println!("\njournal");
    costs(effort)?;
    // The load was pinned; what follows is not, and neither is what it starts.
    ANY.pin_load();
    waits(effort)?;
    replay(effort)?;
    size(effort)
}

/// A directory for a journal.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> io::Result<Self> {
        let path = scratch(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Self(path)),
        }
    }

    fn store(&self) -> String {
        format!("dir:{}", self.0.display())
    }

    fn bytes(&self) -> io::Result<u64> {
        // A file may be deleted while this looks.
        let lengths = fs::read_dir(&self.0)?.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len()));
        Ok(lengths.sum())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// CPU time a request, with a journal and without.
fn costs(effort: Effort) -> io::Result<()> {
    let (length, cores) = (Length::new(effort, ROUNDS), SAME.or_any());
    println!("  {CONNECTIONS} connections, {USERS} users, one worker, {}; journal / memory", cores.name());
    for (name, scenario, sync) in [
        ("heartbeat, --sync always", Scenario::Heartbeat, "always"),
        ("heartbeat, --sync second", Scenario::Heartbeat, "second"),
        ("start and end, --sync always", Scenario::Churn, "always"),
        ("start and end, --sync second", Scenario::Churn, "second"),
        ("mixed, --sync always", Scenario::Mixed, "always"),
    ] {
        let case = Case { name, cores, scenario, style: PLAIN, pipeline: 1 };
        let directory = Directory::new("journal-costs")?;
        let rounds = case.measure(length, |i| match i {
            0 => {
                let directory = Directory::new("journal-costs")?;
                let flags = ["--store", &directory.store(), "--sync", sync];
                // The next one empties it.
                std::mem::forget(directory);
                Process::server(cores, &flags)
            }
            _ => Process::server(cores, &[]),
        })?;
        drop(directory);
        row(name, &rounds.said());
        rounds.print_failures();
    }
    Ok(())
}

/// How often the steady load asks.
const PACE: Duration = Duration::from_millis(1);
/// How many connections start and end streams meanwhile.
const BUSY: usize = 16;

/// How long a heartbeat waits alone, beside starts and ends in memory, and beside such as are synced.
fn waits(effort: Effort) -> io::Result<()> {
    let time = effort.pick(Duration::from_secs(5), Duration::from_millis(200));
    let directory = Directory::new("journal-waits")?;
    let store = directory.store();
    for (name, flags, busy) in [
        ("a heartbeat alone, memory", &[][..], 0),
        ("a heartbeat alone, journal", &["--store", &store][..], 0),
        ("a heartbeat beside starts and ends, memory", &[][..], BUSY),
        ("a heartbeat beside starts and ends, journal", &["--store", &store][..], BUSY),
    ] {
        let server = Process::server(ANY, flags)?;
        let (latency, others) = wait_beside(&server, busy, time)?;
        let [half, most] = [0.5, 0.99].map(|share| latency.latency.at(share));
        let rate = others / time.as_secs_f64() / 1e3;
        row(name, &format!("p50 {half:.0} µs, p99 {most:.0} µs, beside {rate:.1} thousand/s"));
        drop(server);
    }
    Ok(())
}

fn wait_beside(server: &Process, busy: usize, time: Duration) -> io::Result<(Tally, f64)> {
    let mut probe = Load::connect(server.address, 1, 1)?;
    probe.set(|_| Scenario::Heartbeat.once(PLAIN, 0..1));
    probe.run_once()?;
    probe.set(|_| Scenario::Heartbeat.ring(PLAIN, 0..1));
    std::thread::scope(|scope| {
        let others = (busy > 0).then(|| {
            scope.spawn(|| {
                let mut load = Load::connect(server.address, busy, 1)?;
                load.set(|i| Scenario::Churn.ring(PLAIN, 1 + i * 100..1 + (i + 1) * 100));
                load.run_for(time)
            })
        });
        let mut probed = Tally::default();
        let mut due = Instant::now();
        let end = due + time;
        while due < end {
            let waits = probe.collect(&mut probed)?;
            if waits || Instant::now() < due {
                std::thread::sleep(Duration::from_micros(20));
                continue;
            }
            // It counts from when it was due.
            probe.send(due, AtEnd::Repeat)?;
            due += PACE;
        }
        let others =
            others.map(|others| others.join().unwrap_or_else(|_| Ok(Tally::default()))).transpose()?;
        Ok((probed, others.map_or(0.0, |others| others.answers as f64)))
    })
}

/// From the start of a server with a full journal to its first answer.
fn replay(effort: Effort) -> io::Result<()> {
    let (users, rounds) = (effort.pick(1_000_000, 10_000), 3);
    let directory = Directory::new("journal-replay")?;
    let store = directory.store();
    // So that there are several files, as there are when the same heartbeats take a lease of 90 s.
    let flags = ["--store", &store, "--sync", "second", "--lease", "25s"];
    let server = Process::server(ANY, &flags)?;
    fill(&server, users)?;
    let mut load = Load::connect(server.address, CONNECTIONS, 16)?;
    for _ in 0..rounds {
        load.set(share("PATCH", users, CONNECTIONS));
        load.run_once()?;
    }
    drop((load, server));
    let megabytes = directory.bytes()? as f64 / 1e6;
    let from = Instant::now();
    let server = Process::server(ANY, &flags)?;
    let mut load = Load::connect(server.address, 1, 1)?;
    load.set(|_| Scenario::Get.ring(PLAIN, 0..1));
    load.run_once()?;
    let took = from.elapsed().as_secs_f64();
    let (peak, after) = (server.peak() / 1e6, server.resident() / 1e6);
    let said = format!(
        "{took:.2} s to the first answer, {megabytes:.0} MB read, at most {peak:.0} MB of memory, {after:.0} MB after"
    );
    row(&format!("start with {users} users, {} records each", rounds + 1), &said);
    Ok(())
}

/// How much a directory holds at most, as so many leases of what is written.
fn size(effort: Effort) -> io::Result<()> {
    let lease = effort.pick(30, 2);
    let users = effort.pick(100_000, 2_000);
    let directory = Directory::new("journal-size")?;
    let (store, lease_flag) = (directory.store(), format!("{lease}s"));
    let server = Process::server(ANY, &["--store", &store, "--sync", "second", "--lease", &lease_flag])?;
    fill(&server, users)?;
    let mut load = Load::connect(server.address, 8, 16)?;
    load.set(share("PATCH", users, 8));
    let time = Duration::from_secs(lease) * 5 / 2;
    let (mut most, mut answers) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < time {
        answers += load.run_for(Duration::from_millis(250))?.answers;
        most = most.max(directory.bytes()?);
    }
    let per_lease = answers as f64 / begun.elapsed().as_secs_f64() * lease as f64;
    let leases = most as f64 / per_lease / BYTES;
    let said = format!("at most {:.0} MB: {leases:.2} leases of heartbeats", most as f64 / 1e6);
    row(&format!("the directory under heartbeats, --lease {lease}s"), &said);
    Ok(())
}

/// What a heartbeat of this load takes in the journal: 14 bytes, `user0000000`, and an account of 20 with `v0000000`.
const BYTES: f64 = 45.0;
