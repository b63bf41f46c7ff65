//! Whole requests: the release binary beside a bare loop, by turns in the same run.
//!
//! *Invariant:* every row is a ratio to the bare loop under the same load.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Stdio;

use streamer::app::auth::signed::Keys;
use streamer::codec::{hex, sha256};

use crate::Effort;
use crate::pair::{CONNECTIONS, Case, Length, Rounds, USERS};
use crate::process::{APART, BINARY, Cores, Process, SAME, scratch};
use crate::requests::{PASSWORD, PLAIN, Scenario, Style, user};

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
    let files = Files::write()?;
    let signed = |user: &str| files.keys.mint(user.as_bytes(), None, u64::from(u32::MAX));
    let (users, secret) = (files.users.to_string_lossy(), files.secret.to_string_lossy());
    let case = |name| plain(name, Scenario::Heartbeat, cores);
    let fat = Case { style: Style { fat: true, ..PLAIN }, ..case("heartbeat, browser heads") };
    measure(&fat, length, &[])?;
    measure(&Case { pipeline: 16, ..case("heartbeat, pipelined 16 deep") }, length, &[])?;
    measure(&case("heartbeat, text log to a file"), length, &["--log", "text"])?;
    measure(&case("heartbeat, JSON log to a file"), length, &["--log", "json"])?;
    measure(&case("heartbeat, --users"), length, &["--users", &users])?;
    let signs = Style { password: &signed, ..PLAIN };
    measure(&Case { style: signs, ..case("heartbeat, --secret") }, length, &["--secret", &secret])?;
    measure(&case("heartbeat, --admin off"), length, &["--admin", "off"])?;
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
