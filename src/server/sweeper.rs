//! The thread that frees what is not asked for any more: streams that ran out, of users who never came back, and what a
//! flood of connections has left behind.
//!
//! It also has the store look whether a disk hangs, and with a journal it records the accounts that outlive their file.
//!
//! *Invariant:* what a client is told of its streams does not depend on the sweeps; an account drops what has expired whenever
//! it is touched. (Tested by `a_lease_runs_out_unless_it_is_renewed`.)

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::shared::{Shared, Station};
use crate::app::counters::Counter;
use crate::sync::Service;
use crate::sys;

const TICK: Duration = Duration::from_millis(250);
/// How many connections have to have held buffers at once before giving back the room is worth it.
const FLOOD: usize = 256;

/// Starts the thread. It goes round and round the store, an eighth of a lease a round and at most ten seconds.
pub fn start(shared: &Arc<Shared>) -> io::Result<Service<()>> {
    let (shared, panics) = (Arc::clone(shared), Arc::clone(shared));
    let round = (shared.site.config.lease.millis() / 8).clamp(1_000, 10_000);
    let ticks = round as f64 / TICK.as_millis() as f64;
    let (mut clock, mut owed, mut peak) = (shared.clock.clone(), 0.0, 0);
    Service::start(
        "sweeper",
        (),
        move |mailbox| {
            let ((), stops) = mailbox.wait(Some(Instant::now() + TICK), |()| ());
            let now = clock.now(clock.micros()).steady;
            owed += 1.0;
            while owed > 0.0 && !stops {
                // Paid before it is done, so that a panic is paid for.
                owed -= ticks;
                let swept = shared.site.store.sweep(now);
                shared.counters(Station::Sweeper).count_ends(&swept.ends);
                // One visit of so many in a round pays for so much of a tick.
                owed += ticks - ticks / f64::from(swept.visits.max(1));
            }
            peak = after_flood(&shared, peak);
            stops
        },
        move || panics.counters(Station::Sweeper).bump(Counter::Panics, 0),
    )
}

/// Gives back the memory that a flood of connections had taken, once it has passed. Returns the new peak.
fn after_flood(shared: &Shared, peak: usize) -> usize {
    let holding: usize = shared.inboxes.iter().map(|inbox| inbox.holding.load(Relaxed)).sum();
    let held: usize = shared.inboxes.iter().map(|inbox| inbox.held.swap(0, Relaxed)).sum();
    let peak = peak.max(held);
    if peak < FLOOD || holding > peak / 4 {
        return peak;
    }
    sys::release_memory();
    holding
}
