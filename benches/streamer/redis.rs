//! What `--store redis://` costs beside memory, what it costs the engine, and how many requests it serves when the engine
//! is near and when it is two milliseconds away. Over the `redis-server` that is installed.
//!
//! *Invariant:* the engine is this run's own, and keeps nothing on a disk.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Effort;
use crate::delay;
use crate::load::Load;
use crate::pair::{CONNECTIONS, Case, Length};
use crate::process::{ANY, Process, SAME, cpu_seconds};
use crate::requests::{PLAIN, Scenario, USERS};
use crate::scale::row;

const ROUNDS: usize = 12;
const SCENARIOS: [(&str, Scenario); 2] =
    [("heartbeat", Scenario::Heartbeat), ("start and end", Scenario::Churn)];
/// There and back.
const AWAY: Duration = Duration::from_millis(2);

/// Measures everything here, if there is an engine.
pub fn run(effort: Effort) -> io::Result<()> {
    println!("\nredis");
    ANY.pin_load();
    let engine = match Engine::start() {
        Ok(engine) => engine,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!("  skipped: redis-server is not installed");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    throughput(effort, &engine, "two workers", engine.port)?;
    let far = delay::proxy(engine.port, AWAY)?;
    throughput(effort, &engine, "two workers, the engine 2 ms away", far)?;
    costs(effort, &engine)
}

/// A server of Redis.
struct Engine {
    child: Child,
    port: u16,
}

impl Engine {
    fn start() -> io::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let engine = Self { child, port };
        let until = Instant::now() + Duration::from_secs(10);
        while let Err(error) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            if Instant::now() > until {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(engine)
    }

    fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.child.id())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address for `--store`.
fn store(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// CPU time of the server a request, with the engine and without.
fn costs(effort: Effort, engine: &Engine) -> io::Result<()> {
    let (length, cores, store) = (Length::new(effort, ROUNDS), SAME.or_any(), store(engine.port));
    println!("  {CONNECTIONS} connections, {USERS} users, one worker, {}; redis / memory", cores.name());
    for (name, scenario) in SCENARIOS {
        let case = Case { name, cores, scenario, style: PLAIN, pipeline: 1 };
        let flags = ["--store", &store];
        let rounds = case.measure(length, |i| Process::server(cores, if i == 0 { &flags } else { &[] }))?;
        row(name, &rounds.said());
        rounds.print_failures();
    }
    Ok(())
}

/// Requests a second through the engine at `port`, and the CPU time of both, wherever the system puts server, engine and load.
fn throughput(effort: Effort, engine: &Engine, name: &str, port: u16) -> io::Result<()> {
    let time = effort.pick(Duration::from_secs(4), Duration::from_millis(100));
    for (what, scenario) in SCENARIOS {
        let server = Process::server(ANY, &["--workers", "2", "--store", &store(port)])?;
        let share = |i: usize| i * USERS / CONNECTIONS..(i + 1) * USERS / CONNECTIONS;
        let mut load = Load::connect(server.address, CONNECTIONS, 1)?;
        load.set(|i| scenario.once(PLAIN, share(i)));
        load.run_once()?;
        load.set(|i| scenario.ring(PLAIN, share(i)));
        load.run_for(time / 4)?;
        let before = [server.cpu_seconds(), engine.cpu_seconds()];
        let tally = load.run_for(time)?;
        let each = |at: f64, before: f64| (at - before) * 1e6 / tally.answers as f64;
        let said = format!(
            "{:.1} thousand/s, p50 {:.0} µs, p99 {:.0} µs; CPU a request {:.2} µs, of the engine {:.2} µs",
            tally.answers as f64 / tally.seconds / 1e3,
            tally.latency.at(0.5),
            tally.latency.at(0.99),
            each(server.cpu_seconds(), before[0]),
            each(engine.cpu_seconds(), before[1])
        );
        row(&format!("{what}, {name}"), &said);
        if tally.failed > 0 {
            println!("  {} requests were not answered 2xx, so this row is worth nothing", tally.failed);
        }
    }
    Ok(())
}
