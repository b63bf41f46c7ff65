//! The thread that frees what is not asked for any more: streams that ran out, of users who never came back, and what a
//! flood of connections has left behind.
//!
//! *Invariant:* what a client is told does not depend on the sweeps; an account drops what has expired whenever it is
//! touched.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::clock::Clock;
use super::shared::{Inbox, Shared, Stage};
use crate::app::counters::{Counter, Counters};
use crate::store::Swept;
use crate::sys;

/// How often it wakes.
const TICK: Duration = Duration::from_millis(250);
/// How many connections have to have held buffers at once before giving back the room is worth it.
const FLOOD: usize = 256;

/// Goes round and round the store, an eighth of a lease a round and at most ten seconds, until the server stops.
pub fn run(shared: &Shared, inboxes: &[Arc<Inbox>], counters: &Counters, mut clock: Clock) {
    let round = (shared.settings.lease.millis() / 8).clamp(1_000, 10_000);
    let ticks = round as f64 / TICK.as_millis() as f64;
    let (mut owed, mut peak) = (0.0, 0);
    while !shared.has_reached(Stage::Stopping) {
        std::thread::park_timeout(TICK);
        let now = clock.now(clock.micros()).steady;
        owed += 1.0;
        while owed > 0.0 {
            let sweep = AssertUnwindSafe(|| shared.store.sweep(now));
            let swept = catch_unwind(sweep).unwrap_or_else(|_| {
                counters.bump(Counter::Panics, 0);
                Swept::default()
            });
            counters.add(Counter::Expirations, 0, swept.expired.into());
            // One visit of so many in a round pays for so much of a tick.
            owed -= ticks / f64::from(swept.visits.max(1));
        }
        peak = after_flood(inboxes, peak);
    }
}

/// Gives back the memory that a flood of connections had taken, once it has passed. Returns the new peak.
fn after_flood(inboxes: &[Arc<Inbox>], peak: usize) -> usize {
    let holding: usize = inboxes.iter().map(|inbox| inbox.holding.load(Relaxed)).sum();
    let held: usize = inboxes.iter().map(|inbox| inbox.held.swap(0, Relaxed)).sum();
    let peak = peak.max(held);
    if peak < FLOOD || holding > peak / 4 {
        return peak;
    }
    sys::release_memory();
    holding
}
