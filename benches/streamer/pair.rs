//! Two servers under the same load, by turns.
//!
//! A round starts both anew, so that what differs from one start to the next (where things lie in memory, the seeds of
//! hashes) is part of the spread. It then loads them in short slices, first one, twice the other, then the first again: a
//! machine that is slow for a while is slow for both. The ratio is taken within the round.
//!
//! *Invariant:* the figure that counts is the time that the server's threads ran for a request, not how many requests
//! came through: the load and whatever else runs here do not weigh on it so much.

use std::io;
use std::time::Duration;

use crate::Effort;
use crate::load::{Load, Tally};
use crate::process::{Cores, Process};
use crate::requests::{Scenario, Style};
use crate::spread::{Spread, median};

pub const CONNECTIONS: usize = 64;

/// What is sent, and where things run.
#[derive(Clone)]
pub struct Case<'a> {
    pub name: &'a str,
    pub cores: Cores,
    pub scenario: Scenario,
    pub style: Style<'a>,
    /// How many requests a connection sends at a time.
    pub pipeline: usize,
}

/// How long to measure.
#[derive(Clone, Copy)]
pub struct Length {
    pub rounds: usize,
    slice: Duration,
}

impl Length {
    /// As much as there is time for; `rounds` if there is enough.
    pub fn new(effort: Effort, rounds: usize) -> Self {
        let slice = effort.pick(Duration::from_millis(100), Duration::from_millis(15));
        Self { rounds: effort.pick(rounds, 1), slice }
    }
}

/// One server in one round.
#[derive(Clone, Copy)]
pub struct Figures {
    /// Microseconds of the server's threads for a request.
    pub cpu: f64,
    pub p50: f64,
    pub p99: f64,
    pub per_second: f64,
    failed: u64,
}

/// What came out: both servers, for each round.
pub struct Rounds(Vec<[Figures; 2]>);

/// A server with its load, and what was measured so far.
struct Side {
    server: Process,
    load: Load,
    cpu: f64,
    tally: Tally,
}

impl Case<'_> {
    /// Measures the servers that `start` starts, the first and the second.
    pub fn measure(
        &self,
        length: Length,
        start: impl Fn(usize) -> io::Result<Process>,
    ) -> io::Result<Rounds> {
        self.cores.pin_load();
        let mut rounds = Vec::new();
        for round in 0..length.rounds {
            let mut sides = [self.side(start(0)?, length)?, self.side(start(1)?, length)?];
            // The server that goes first finds the machine a little different, so they take turns at that too.
            for i in [0, 1, 1, 0] {
                sides[i ^ (round & 1)].slice(length.slice)?;
            }
            rounds.push(sides.map(|side| side.figures()));
        }
        Ok(Rounds(rounds))
    }

    /// Fills the server and warms it up.
    fn side(&self, server: Process, length: Length) -> io::Result<Side> {
        let mut load = Load::connect(server.address, CONNECTIONS, self.pipeline)?;
        let share = |i: usize| i * self.style.users / CONNECTIONS..(i + 1) * self.style.users / CONNECTIONS;
        load.set(|i| self.scenario.once(self.style, share(i)));
        let mut tally = Tally::default();
        tally.failed += load.run_once()?.failed;
        load.spins = self.cores.load_spins();
        load.set(|i| self.scenario.ring(self.style, share(i)));
        tally.failed += load.run_for(length.slice / 2)?.failed;
        Ok(Side { server, load, cpu: 0.0, tally })
    }
}

impl Side {
    fn slice(&mut self, time: Duration) -> io::Result<()> {
        let before = self.server.cpu_seconds();
        self.tally.add(&self.load.run_for(time)?);
        self.cpu += self.server.cpu_seconds() - before;
        Ok(())
    }

    fn figures(&self) -> Figures {
        let Tally { answers, failed, seconds, latency } = &self.tally;
        Figures {
            cpu: self.cpu * 1e6 / *answers as f64,
            p50: latency.at(0.5),
            p99: latency.at(0.99),
            per_second: *answers as f64 / seconds,
            failed: *failed,
        }
    }
}

impl Rounds {
    /// The first server's CPU time a request, as so many times the second's.
    pub fn ratio(&self) -> Spread {
        Spread::of(&mut self.0.iter().map(|[first, second]| first.cpu / second.cpu).collect::<Vec<_>>())
    }

    /// Of one figure the medians of both, `FIRST / SECOND`.
    pub fn medians(&self, figure: fn(&Figures) -> f64, places: usize) -> String {
        let of = |i: usize| median(&mut self.0.iter().map(|round| figure(&round[i])).collect::<Vec<_>>());
        format!("{:.places$} / {:.places$}", of(0), of(1))
    }

    /// The ratio, and the medians of what a store costs.
    pub fn said(&self) -> String {
        format!(
            "{} times; CPU {} µs, p99 {} µs, {} thousand/s",
            self.ratio().interval(2),
            self.medians(|figures| figures.cpu, 2),
            self.medians(|figures| figures.p99, 0),
            self.medians(|figures| figures.per_second / 1e3, 1)
        )
    }

    /// Says it if requests failed.
    pub fn print_failures(&self) {
        let failed: u64 = self.0.iter().flatten().map(|figures| figures.failed).sum();
        if failed > 0 {
            println!("  {failed} requests were not answered 2xx, so this row is worth nothing");
        }
    }
}
