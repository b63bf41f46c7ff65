//! Two builds of the server side by side: which one spends less on a request?
//!
//! *Invariant:* both get the same flags and the same requests, and no verdict is given that the spread does not allow.

use std::io;
use std::process::Stdio;

use crate::Effort;
use crate::pair::{CONNECTIONS, Case, Length};
use crate::process::{Process, SAME};
use crate::requests::{PLAIN, Scenario, USERS};
use crate::spread::Spread;

/// How many rounds: where nothing else runs, a difference of 1 % is seen.
const ROUNDS: usize = 16;

/// Compares the binaries `old` and `new`, both started with `flags`.
pub fn run(effort: Effort, old: &str, new: &str, flags: &[&str]) -> io::Result<()> {
    let cores = SAME.or_any();
    let length = Length::new(effort, ROUNDS);
    println!("\nold: {old}\nnew: {new}\n{}", cores.name());
    println!(
        "{CONNECTIONS} connections, {USERS} users, one worker, {} rounds; CPU time of the server a request",
        length.rounds
    );
    println!(
        "\n{:<32}{:>18}{:>26}{:>24}{:>16}  verdict",
        "new / old", "CPU µs", "CPU, times old", "spread, rounds for 5 %", "p99 µs"
    );
    for (name, scenario, pipeline) in [
        ("get", Scenario::Get, 1),
        ("heartbeat", Scenario::Heartbeat, 1),
        ("churn", Scenario::Churn, 1),
        ("mixed", Scenario::Mixed, 1),
        ("heartbeat, pipelined 16 deep", Scenario::Heartbeat, 16),
    ] {
        let case = Case { name, cores, scenario, style: PLAIN, pipeline };
        let binaries = [new, old];
        let rounds = case.measure(length, |i| Process::of(binaries[i], cores, flags, Stdio::null()))?;
        let ratio = rounds.ratio();
        println!(
            "  {name:<30}{:>18}{:>26}{:>24}{:>16}  {}",
            rounds.medians(|figures| figures.cpu, 2),
            ratio.interval(3),
            ratio.said(),
            rounds.medians(|figures| figures.p99, 0),
            verdict(&ratio)
        );
        rounds.print_failures();
    }
    Ok(())
}

fn verdict(ratio: &Spread) -> &'static str {
    match ratio.between {
        Some([_, high]) if high < 1.0 => "faster",
        Some([low, _]) if low > 1.0 => "slower",
        _ => "cannot tell",
    }
}
