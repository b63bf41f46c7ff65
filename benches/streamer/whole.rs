//! Whole requests: the release binary beside a bare loop, by turns in the same run.
//!
//! *Invariant:* every row is a ratio to the bare loop under the same load.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Stdio;

use streamer::app::auth::keys::{Claims, Keys};
use streamer::codec::{hex, sha256};

use crate::Effort;
use crate::pair::{CONNECTIONS, Case, Length, Rounds};
use crate::process::{APART, BINARY, Cores, Process, SAME, scratch};
use crate::requests::{PASSWORD, PLAIN, Scenario, Style, USERS, user};

/// From so many the outermost two values need not be believed.
const ROUNDS: usize = 12;

const SCENARIOS: [(&str, Scenario); 4] = [
    ("get", Scenario::Get),
    ("heartbeat", Scenario::Heartbeat),
    ("churn", Scenario::Churn),
    ("mixed", Scenario::Mixed),
];

/// Measures all rows.
pub fn run(effort: Effort) -> io::Result<()> {
    let length = Length::new(effort, ROUNDS);
    let (same, apart) = (SAME.or_any(), APART.or_any());
    println!(
        "\nwhole requests: {CONNECTIONS} connections, {USERS} users, one worker, {} rounds; streamer / bare loop",
        length.rounds
    );
    title(same);
    for (name, scenario) in SCENARIOS {
        measure(&plain(name, scenario, same), length, &[])?;
    }
    variants(same, length)?;
    credentials(same, length)?;
    engines(same, length)?;
    if apart.load_spins() {
        title(apart);
        for (name, scenario) in SCENARIOS {
            measure(&plain(name, scenario, apart), length, &[])?;
        }
    }
    Ok(())
}

fn plain(name: &str, scenario: Scenario, cores: Cores) -> Case<'_> {
    Case { name, cores, scenario, style: PLAIN, pipeline: 1 }
}

/// Heartbeats as other clients send them, and to servers started otherwise.
fn variants(cores: Cores, length: Length) -> io::Result<()> {
    let case = |name| plain(name, Scenario::Heartbeat, cores);
    let fat = Case { style: Style { fat: true, ..PLAIN }, ..case("heartbeat, browser heads") };
    measure(&fat, length, &[])?;
    measure(&Case { pipeline: 16, ..case("heartbeat, pipelined 16 deep") }, length, &[])?;
    measure(&case("heartbeat, text log to a file"), length, &["--log", "text"])?;
    measure(&case("heartbeat, JSON log to a file"), length, &["--log", "json"])?;
    measure(&case("heartbeat, --admin off"), length, &["--admin", "off"])
}

/// Heartbeats to servers that check who asks or sign passes, beside a plain one that is sent the same.
fn credentials(cores: Cores, length: Length) -> io::Result<()> {
    let files = Files::write()?;
    let [users, secret, pass] = [&files.users, &files.secret, &files.pass].map(|path| path.to_string_lossy());
    let signed =
        |user: &str| files.keys.mint(&Claims { user, expiry: u64::from(u32::MAX), ..Claims::default() });
    // As players call: each on a connection of its own.
    let own = Style { users: CONNECTIONS, ..PLAIN };
    let (token, mixed) = (Style { password: &signed, ..own }, Style { password: &signed, ..PLAIN });
    println!("\nserver and load on the same core, heartbeats; with these flags / without");
    for (name, style, flags) in [
        ("--users", own, ["--users", &users]),
        ("--secret", token, ["--secret", &secret]),
        ("--secret, mixed users", mixed, ["--secret", &secret]),
        ("--pass", own, ["--pass", &pass]),
    ] {
        let case = Case { style, ..plain(name, Scenario::Heartbeat, cores) };
        let start = |i| Process::of(BINARY, cores, if i == 0 { &flags } else { &[] }, Stdio::null());
        print(name, &case.measure(length, start)?);
    }
    files.remove()
}

/// Streams in a directory. It is that of the build, so its disk is what syncs cost.
fn engines(cores: Cores, length: Length) -> io::Result<()> {
    let directory = scratch("journal");
    let store = format!("dir:{}", directory.display());
    for (name, scenario, sync) in [
        ("heartbeat, dir:", Scenario::Heartbeat, "always"),
        ("churn, dir:, --sync second", Scenario::Churn, "second"),
        ("churn, dir:, --sync always", Scenario::Churn, "always"),
    ] {
        measure(&plain(name, scenario, cores), length, &["--store", &store, "--sync", sync])?;
    }
    fs::remove_dir_all(directory)
}

/// Measures one row: the server with `flags`. If it logs, it logs to a file; if it has a journal, it begins a new one.
fn measure(case: &Case, length: Length, flags: &[&str]) -> io::Result<()> {
    let log = scratch("access.log");
    let logs = flags.contains(&"--log");
    let journal = flags.iter().find_map(|flag| flag.strip_prefix("dir:"));
    let rounds = case.measure(length, |i| {
        if i == 1 {
            return Process::bare(case.cores);
        }
        if let Some(path) = journal.filter(|path| fs::exists(path).is_ok_and(|exists| exists)) {
            fs::remove_dir_all(path)?;
        }
        let log = if logs { Stdio::from(File::create(&log)?) } else { Stdio::null() };
        Process::of(BINARY, case.cores, flags, log)
    })?;
    if logs {
        fs::remove_file(&log)?;
    }
    print(case.name, &rounds);
    Ok(())
}

fn title(cores: Cores) {
    let columns = ["CPU µs", "p50 µs", "p99 µs", "1000/s"].map(|column| format!("{column:>15}")).concat();
    println!("\n{:<32}{:>22}{:>24}{columns}", cores.name(), "CPU, times bare", "spread, rounds for 5 %");
}

fn print(name: &str, rounds: &Rounds) {
    let ratio = rounds.ratio();
    println!(
        "  {name:<30}{:>22}{:>24}{:>15}{:>15}{:>15}{:>15}",
        ratio.interval(2),
        ratio.said(),
        rounds.medians(|figures| figures.cpu, 2),
        rounds.medians(|figures| figures.p50, 0),
        rounds.medians(|figures| figures.p99, 0),
        rounds.medians(|figures| figures.per_second / 1e3, 1),
    );
    rounds.print_failures();
}

/// What `--users`, `--secret` and `--pass` read.
struct Files {
    users: PathBuf,
    secret: PathBuf,
    pass: PathBuf,
    keys: Keys,
}

impl Files {
    fn write() -> io::Result<Self> {
        let [users, secret, pass] = ["users", "secret", "pass"].map(scratch);
        let mut digest = Vec::new();
        hex::encode(&sha256::digest(PASSWORD.as_bytes()), &mut digest);
        let digest = String::from_utf8_lossy(&digest);
        let mut file = io::BufWriter::new(File::create(&users)?);
        (0..USERS).try_for_each(|number| writeln!(file, "{}:{digest}", user(number)))?;
        file.flush()?;
        let key = "a-key-of-this-run-alone,thirty-two-bytes-and-more";
        fs::write(&secret, key)?;
        fs::write(&pass, "another-key,for-the-passes-of-this-run")?;
        let keys = Keys::read(key.as_bytes()).map_err(|(_, what)| io::Error::other(what))?;
        Ok(Self { users, secret, pass, keys })
    }

    fn remove(&self) -> io::Result<()> {
        [&self.users, &self.secret, &self.pass].into_iter().try_for_each(fs::remove_file)
    }
}
