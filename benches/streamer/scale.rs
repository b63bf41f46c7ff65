//! What many users and many connections cost.
//!
//! *Invariant:* a store of a million users is filled over the wire, as it would be in earnest.

use std::io;
use std::time::{Duration, Instant};

use crate::Effort;
use crate::load::{AtEnd, Load, Tally};
use crate::process::{ANY, APART, Cores, Process, SAME};
use crate::requests::{PLAIN, Random, Scenario, Script};
use crate::spread::{Spread, median};

const CONNECTIONS: usize = 64;
const PIPELINE: usize = 16;
/// So long that nothing expires.
const STAYS: [&str; 2] = ["--lease", "24h"];

/// Measures everything here.
pub fn run(effort: Effort) -> io::Result<()> {
    println!("\nscale");
    memory_and_heartbeat(effort)?;
    pauses(effort)?;
    idle_connections(effort)?;
    start_up(effort)
}

/// What a connection of `connections` does for its share of `users`, in no order that memory could follow.
pub fn share(method: &'static str, users: usize, connections: usize) -> impl Fn(usize) -> Script {
    move |i| {
        let mut mine: Vec<usize> = (i..users).step_by(connections).collect();
        Random::new(i as u64).shuffle(&mut mine);
        let mut script = Script::default();
        mine.into_iter().for_each(|user| script.push(PLAIN, method, user, user));
        script
    }
}

fn memory_and_heartbeat(effort: Effort) -> io::Result<()> {
    let cores = SAME.or_any();
    cores.pin_load();
    let (few, many) = effort.pick((1_000, 1_000_000), (1_000, 20_000));
    let small = Process::server(cores, &STAYS)?;
    let large = Process::server(cores, &STAYS)?;
    fill(&small, few)?;
    let grown = fill(&large, many)?;
    row(&format!("memory a user, of {many}"), &format!("{:.0} bytes", grown / many as f64));
    let mut loads = Vec::new();
    for (server, users) in [(&small, few), (&large, many)] {
        let mut load = Load::connect(server.address, CONNECTIONS, 1)?;
        load.set(share("PATCH", users, CONNECTIONS));
        loads.push((server, load));
    }
    let mut ratios = Vec::new();
    let mut costs = [Vec::new(), Vec::new()];
    for round in 0..effort.pick(16, 2) {
        for i in [round & 1, round & 1 ^ 1] {
            let (server, load) = &mut loads[i];
            let before = server.cpu_seconds();
            let answers =
                load.run_for(effort.pick(Duration::from_millis(300), Duration::from_millis(50)))?.answers;
            costs[i].push((server.cpu_seconds() - before) * 1e6 / answers as f64);
        }
        ratios.extend(costs[1].last().zip(costs[0].last()).map(|(large, small)| large / small));
    }
    let ratio = Spread::of(&mut ratios);
    let [small, large] = costs.map(|mut costs| median(&mut costs));
    let said = format!(
        "{large:.2} µs / {small:.2} µs, {} times; spread, rounds for 5 %: {}",
        ratio.interval(2),
        ratio.said()
    );
    row(&format!("a heartbeat at {many} / {few} users"), &said);
    Ok(())
}

/// Starts a stream for each of `users`; returns by how many bytes the server has grown.
pub fn fill(server: &Process, users: usize) -> io::Result<f64> {
    let mut load = Load::connect(server.address, CONNECTIONS, PIPELINE)?;
    // The buffers that a pipeline takes are there before it counts.
    load.set(|_| Scenario::Get.ring(PLAIN, 0..PIPELINE));
    load.run_once()?;
    load.set(share("POST", users, CONNECTIONS));
    let before = server.resident();
    load.run_once()?;
    Ok(server.resident() - before)
}

/// How long a request waits at worst while a million users come, and while they are swept away.
fn pauses(effort: Effort) -> io::Result<()> {
    let cores = APART.or_any();
    cores.pin_load();
    let users = effort.pick(1_000_000, 20_000);
    // A round of the sweeper takes a second, and it may just have passed by.
    let swept = Duration::from_secs(4);
    let server = pause(&Process::server(cores, &["--lease", "2s"])?, users, effort.pick(swept, swept / 4))?;
    // What the machine and the load add: there is nothing to grow or sweep, so that less will do.
    let bare = pause(&Process::bare(cores)?, users / 2, Duration::ZERO)?;
    for (who, latency) in [("streamer", &server.latency), ("bare loop", &bare.latency)] {
        let millis = [0.5, 0.99, 0.9999, 1.0].map(|share| format!("{:.2}", latency.at(share) / 1e3));
        let [half, most, nearly_all, all] = millis;
        let said = format!("p50 {half} ms, p99 {most} ms, p99.99 {nearly_all} ms, longest {all} ms");
        row(&format!("waits while {users} users come and go: {who}"), &said);
    }
    Ok(())
}

/// How often the steady load asks.
const PACE: Duration = Duration::from_micros(500);
/// Over how many connections the users come: so many times [`PIPELINE`] each time that the steady load asks.
const DOORS: usize = 4;

/// Asks at a steady pace while `users` start a stream each, and for a time `after` that.
fn pause(server: &Process, users: usize, after: Duration) -> io::Result<Tally> {
    let mut load = Load::connect(server.address, DOORS, PIPELINE)?;
    load.set(share("POST", users, DOORS));
    let mut probe = Load::connect(server.address, 1, 1)?;
    probe.set(|_| Scenario::Get.ring(PLAIN, users..users + 1));
    let (mut started, mut probed) = (Tally::default(), Tally::default());
    let mut due = Instant::now();
    let mut until = None;
    while until.is_none_or(|until| due < until) {
        let waits = probe.collect(&mut probed)?;
        let starts = load.collect(&mut started)?;
        let now = Instant::now();
        if now < due {
            continue;
        }
        if !starts && !load.send(now, AtEnd::Rest)? {
            until.get_or_insert(now + after);
        }
        if !waits {
            // It counts from when it was due: who cannot ask for a while is kept waiting too. What a machine is more
            // than a second behind with it will not catch up with, and the run should end.
            probe.send(due, AtEnd::Repeat)?;
            due = (due + PACE).max(now - Duration::from_secs(1));
        }
    }
    Ok(probed)
}

fn idle_connections(effort: Effort) -> io::Result<()> {
    let cores: Cores = SAME.or_any();
    let server = Process::server(cores, &STAYS)?;
    let one = |load: &mut Load| {
        load.set(|i| Scenario::Get.ring(PLAIN, i..i + 1));
        load.run_once()
    };
    one(&mut Load::connect(server.address, 1, 1)?)?;
    let before = server.resident();
    let mut load = Load::connect(server.address, effort.pick(5_000, 500), 1)?;
    one(&mut load)?;
    let grown = server.resident() - before;
    let n = load.len();
    row(&format!("memory an idle connection, of {n}"), &format!("{:.0} bytes", grown / n as f64));
    Ok(())
}

/// From the start of the process to its first answer.
fn start_up(effort: Effort) -> io::Result<()> {
    ANY.pin_load();
    let mut times = Vec::new();
    for _ in 0..effort.pick(21, 3) {
        let from = Instant::now();
        // Not pinned: that would be one more program to start.
        let server = Process::server(ANY, &[])?;
        let mut load = Load::connect(server.address, 1, 1)?;
        load.set(|_| Scenario::Get.ring(PLAIN, 0..1));
        load.run_once()?;
        times.push(from.elapsed().as_secs_f64() * 1e3);
    }
    let median = median(&mut times);
    row("start-up to the first answer", &format!("median {median:.1} ms, best {:.1} ms", times[0]));
    Ok(())
}

pub fn row(name: &str, said: &str) {
    println!("  {name:<56}{said}");
}
