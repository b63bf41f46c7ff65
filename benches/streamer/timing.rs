//! Timing small things: many batches, of which the best and the median count.
//!
//! The best is what the code costs when nothing disturbs it, the median what it cost here today.
//!
//! *Invariant:* a batch is long beside the two clock readings around it.

use std::time::{Duration, Instant};

use crate::Effort;
use crate::spread::Spread;

/// How long a batch takes, and how many there are.
#[derive(Clone, Copy)]
pub struct Timing {
    batch: Duration,
    pub batches: usize,
}

impl Timing {
    /// As much as there is time for.
    pub fn new(effort: Effort) -> Self {
        Self {
            batch: effort.pick(Duration::from_millis(2), Duration::from_micros(200)),
            batches: effort.pick(50, 10),
        }
    }

    /// Times `call`, which does a thing `times` times, and prints a row.
    pub fn row(self, name: &str, times: usize, mut call: impl FnMut()) {
        let calls = self.calls(&mut call);
        let batches = (0..self.batches).map(|_| nanos(calls, &mut call) / (calls * times) as f64);
        print(name, batches.collect());
    }

    /// How many calls make a batch; making them warms up caches and branches too.
    fn calls(self, call: &mut impl FnMut()) -> usize {
        let mut calls = 1;
        while nanos(calls, call) < self.batch.as_nanos() as f64 {
            calls *= 2;
        }
        calls
    }
}

fn nanos(calls: usize, call: &mut impl FnMut()) -> f64 {
    let from = Instant::now();
    for _ in 0..calls {
        call();
    }
    from.elapsed().as_nanos() as f64
}

/// Begins a table.
pub fn title(text: &str) {
    println!("\n{text:<52}{:>10}{:>10}{:>26}", "best ns", "median", "spread, batches for 5 %");
}

/// Prints a row: the best and the median of nanoseconds per operation.
pub fn print(name: &str, mut nanos: Vec<f64>) {
    let spread = Spread::of(&mut nanos);
    println!("  {name:<50}{:>10.1}{:>10.1}{:>26}", nanos[0], spread.median, spread.said());
}
