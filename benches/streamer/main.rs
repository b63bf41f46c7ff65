//! `cargo bench`: what the parts cost, what a request costs beside a bare loop, and what a million users cost.
//!
//! ```text
//! micro ─▶ timing                                  the parts, in this process
//! whole ─▶ pair ─▶ load ══requests══▶ process       the release binary beside `bare`, by turns in the same run
//! compare ─▶ pair ─▶ load ══requests══▶ process     two binaries, by turns: faster, slower, or cannot tell
//! scale ─▶ load ══requests══▶ process               the same at a million users and thousands of connections
//! journal ─▶ pair, scale, load                      a directory beside memory, a start with a full one, its size
//! redis ─▶ pair, load, delay                        an engine beside memory, and one that is far away
//! ```
//!
//! Read it in this order: `spread`, `timing`, `micro`; `requests`, `load`, `bare`, `process`, `pair`, `whole`, `compare`,
//! `scale`, `journal`, `delay`, `redis`.
//!
//! *Invariant:* a slow machine gets slow figures, not a failure.

mod spread;

mod timing;

mod micro;

mod requests;

mod load;

mod bare;

mod process;

mod pair;

mod whole;

mod compare;

mod scale;

mod journal;

mod delay;

mod redis;

use std::io;
use std::process::ExitCode;

/// How much to measure.
#[derive(Clone, Copy)]
struct Effort {
    /// Only whether everything works, in some seconds.
    quick: bool,
}

impl Effort {
    /// The first, or the second when there is little time.
    fn pick<T>(self, usual: T, quick: T) -> T {
        if self.quick { quick } else { usual }
    }
}

const USAGE: &str = "\
usage: cargo bench [-- [micro] [whole] [scale] [journal] [redis] [--quick]]
       cargo bench -- compare OLD NEW [--quick] [-- FLAGS]    OLD, NEW: binaries; FLAGS: for both servers";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args == [bare::ARGUMENT] {
        return report(bare::serve());
    }
    // Cargo passes `--bench` from `cargo bench` alone; from `cargo test --all-targets` there is nothing to test here.
    if !args.iter().any(|arg| arg == "--bench") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let args: Vec<&str> = args.iter().map(String::as_str).filter(|&arg| arg != "--bench").collect();
    let end = args.iter().position(|&arg| arg == "--").unwrap_or(args.len());
    let (flags, parts): (Vec<&str>, Vec<&str>) = args[..end].iter().partition(|arg| arg.starts_with('-'));
    let effort = Effort { quick: !flags.is_empty() };
    let for_servers = args.get(end + 1..).unwrap_or_default();
    if flags.iter().any(|&flag| flag != "--quick") {
        return usage();
    }
    match parts[..] {
        ["compare", old, new] => report(compare::run(effort, old, new, for_servers)),
        _ if end < args.len()
            || parts.iter().any(|part| !["micro", "whole", "scale", "journal", "redis"].contains(part)) =>
        {
            usage()
        }
        _ => report(run(effort, &parts)),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Measures the parts that are named, or all.
fn run(effort: Effort, parts: &[&str]) -> io::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // The first figure is of the last minute; absent off Linux.
    let others = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let others = others.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown");
    println!("streamer {}, cores: {cores}, load average before: {others}", env!("CARGO_PKG_VERSION"));
    let wanted = |part| parts.is_empty() || parts.contains(&part);
    if wanted("micro") {
        micro::run(effort);
    }
    if wanted("whole") {
        whole::run(effort)?;
    }
    if wanted("scale") {
        scale::run(effort)?;
    }
    if wanted("journal") {
        journal::run(effort)?;
    }
    if wanted("redis") {
        redis::run(effort)?;
    }
    Ok(())
}

fn report(done: io::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("streamer bench: {error}");
            ExitCode::FAILURE
        }
    }
}
