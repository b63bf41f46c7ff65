//! Whole requests: the release binary beside a bare loop, by turns in the same run.
//!
//! A round starts both anew and loads them one after the other for as long; the ratio is taken within the round, so
//! that a machine that is slow for a while is slow for both.
//!
//! *Invariant:* the figure that counts is the time that the server's threads ran for a request, not how many requests
//! came through: the load and whatever else runs here do not weigh on it so much.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use streamer::app::auth::signed::Keys;
use streamer::codec::{hex, sha256};

use crate::Effort;
use crate::load::{Load, Tally};
use crate::process::{APART, Cores, Process, SAME, scratch};
use crate::requests::{PASSWORD, PLAIN, Scenario, Style, user};
use crate::timing::median;

const CONNECTIONS: usize = 64;
const USERS: usize = 10_000;

/// One row: what is sent, and how the server is started.
#[derive(Clone)]
struct Case<'a> {
    name: &'a str,
    cores: Cores,
    scenario: Scenario,
    style: Style<'a>,
    pipeline: usize,
    flags: &'a [&'a str],
    log: Option<PathBuf>,
}

/// One server in one round.
#[derive(Clone, Copy, Default)]
struct Figures {
    /// Microseconds of the server's threads for a request.
    cpu: f64,
    p50: f64,
    p99: f64,
    per_second: f64,
    failed: u64,
}

/// Measures all rows.
pub fn run(effort: Effort) -> io::Result<()> {
    let files = Files::write()?;
    let (same, apart) = (SAME.or_any(), APART.or_any());
    println!("\nwhole requests: {CONNECTIONS} connections, {USERS} users, one worker; streamer / bare loop");
    title(same);
    let plain = |name, scenario, cores| {
        let (style, log) = (PLAIN, None);
        Case { name, cores, scenario, style, pipeline: 1, flags: &[], log }
    };
    let scenarios = [
        ("get", Scenario::Get),
        ("heartbeat", Scenario::Heartbeat),
        ("churn", Scenario::Churn),
        ("mixed", Scenario::Mixed),
    ];
    for (name, scenario) in scenarios {
        measure(&plain(name, scenario, same), effort)?;
    }
    variants(&plain("", Scenario::Heartbeat, same), &files, effort)?;
    if apart.load_spins() {
        title(apart);
        for (name, scenario) in scenarios {
            measure(&plain(name, scenario, apart), effort)?;
        }
    }
    files.remove()
}

/// Heartbeats as other clients send them, and to servers started otherwise.
fn variants(usual: &Case, files: &Files, effort: Effort) -> io::Result<()> {
    let signed = |user: &str| files.keys.mint(user.as_bytes(), None, u64::from(u32::MAX));
    let (users, secret) = (files.users.to_string_lossy(), files.secret.to_string_lossy());
    let case = |name| Case { name, ..usual.clone() };
    let cases = [
        Case { style: Style { fat: true, ..PLAIN }, ..case("heartbeat, browser heads") },
        Case { pipeline: 16, ..case("heartbeat, pipelined 16 deep") },
        Case {
            flags: &["--log", "text"],
            log: Some(scratch("access.log")),
            ..case("heartbeat, text log to a file")
        },
        Case { flags: &["--users", &users], ..case("heartbeat, --users") },
        Case {
            flags: &["--secret", &secret],
            style: Style { password: &signed, ..PLAIN },
            ..case("heartbeat, --secret")
        },
        Case { flags: &["--admin", "off"], ..case("heartbeat, --admin off") },
    ];
    cases.iter().try_for_each(|case| measure(case, effort))
}

fn measure(case: &Case, effort: Effort) -> io::Result<()> {
    case.cores.pin_load();
    let mut rounds = Vec::new();
    for round in 0..effort.pick(5, 1) {
        let time = effort.pick(Duration::from_millis(300), Duration::from_millis(60));
        // Whoever goes first finds the machine a little different, so they take turns at that too.
        rounds.push(if round % 2 == 0 {
            let server = case.load(&case.server()?, time)?;
            [server, case.load(&Process::bare(case.cores)?, time)?]
        } else {
            let bare = case.load(&Process::bare(case.cores)?, time)?;
            [case.load(&case.server()?, time)?, bare]
        });
    }
    case.log.iter().try_for_each(fs::remove_file)?;
    print(case.name, &rounds);
    Ok(())
}

impl Case<'_> {
    fn server(&self) -> io::Result<Process> {
        let log = self.log.as_ref().map(File::create).transpose()?;
        Process::server_logging_to(self.cores, self.flags, log.map_or(Stdio::null(), Stdio::from))
    }

    fn load(&self, server: &Process, time: Duration) -> io::Result<Figures> {
        let mut load = Load::connect(server.address, CONNECTIONS, self.pipeline)?;
        let share = |i: usize| i * USERS / CONNECTIONS..(i + 1) * USERS / CONNECTIONS;
        load.set(|i| self.scenario.once(self.style, share(i)));
        let mut failed = load.run_once()?.failed;
        load.spins = self.cores.load_spins();
        load.set(|i| self.scenario.ring(self.style, share(i)));
        failed += load.run_for(time / 4)?.failed;
        let before = server.cpu_seconds();
        let Tally { answers, failed: more, seconds, latency } = load.run_for(time)?;
        Ok(Figures {
            cpu: (server.cpu_seconds() - before) * 1e6 / answers as f64,
            p50: latency.at(0.5),
            p99: latency.at(0.99),
            per_second: answers as f64 / seconds,
            failed: failed + more,
        })
    }
}

fn title(cores: Cores) {
    let columns = ["CPU µs", "p50 µs", "p99 µs", "1000/s"].map(|column| format!("{column:>15}")).concat();
    println!("\n{:<32}{:>26}{columns}", cores.name(), "CPU, times bare");
}

fn print(name: &str, rounds: &[[Figures; 2]]) {
    let mut ratios: Vec<f64> = rounds.iter().map(|[server, bare]| server.cpu / bare.cpu).collect();
    let ratio = median(&mut ratios);
    let pair = |figure: fn(&Figures) -> f64, places: usize| {
        let of = |i: usize| median(&mut rounds.iter().map(|round| figure(&round[i])).collect::<Vec<_>>());
        format!("{:>15}", format!("{:.places$} / {:.places$}", of(0), of(1)))
    };
    println!(
        "  {name:<30}{:>26}{}{}{}{}",
        format!("{ratio:.2} ({:.2} to {:.2})", ratios[0], ratios[ratios.len() - 1]),
        pair(|figures| figures.cpu, 2),
        pair(|figures| figures.p50, 0),
        pair(|figures| figures.p99, 0),
        pair(|figures| figures.per_second / 1e3, 1),
    );
    let failed: u64 = rounds.iter().map(|[server, _]| server.failed).sum();
    if failed > 0 {
        println!("  {failed} requests were not answered 2xx, so this row is worth nothing");
    }
}

/// What `--users` and `--secret` read.
struct Files {
    users: PathBuf,
    secret: PathBuf,
    keys: Keys,
}

impl Files {
    fn write() -> io::Result<Self> {
        let (users, secret) = (scratch("users"), scratch("secret"));
        let mut digest = Vec::new();
        hex::encode(&sha256::digest(PASSWORD.as_bytes()), &mut digest);
        let digest = String::from_utf8_lossy(&digest);
        let mut file = io::BufWriter::new(File::create(&users)?);
        (0..USERS).try_for_each(|number| writeln!(file, "{}:{digest}", user(number)))?;
        file.flush()?;
        let key = "a key of this run alone, thirty-two bytes and more";
        fs::write(&secret, key)?;
        let keys = Keys::read(key.as_bytes()).map_err(|(_, what)| io::Error::other(what))?;
        Ok(Self { users, secret, keys })
    }

    fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.users)?;
        fs::remove_file(&self.secret)
    }
}
