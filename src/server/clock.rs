//! The clocks of all threads. A worker reads them when a turn begins and when its responses are made.
//!
//! The steady clock runs only while the server does. A process that was stopped, or a machine that was suspended, could
//! not take heartbeats: the leases that ran meanwhile would all be gone when it goes on. So a gap of more than
//! [`STALL`] in which no thread has read the clock is taken out of it.
//!
//! *Invariant:* steady time never goes back, and wall time is at most a second stale. (Tested by
//! `a_thread_that_stands_still_in_the_middle_of_a_reading_does_not_go_back`.)

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::sync::{Mailbox, Service, lock};
use crate::time::{Millis, Now, Timestamp};

/// A gap of more than so many microseconds does not count.
const STALL: u64 = 2_000_000;
/// How often it is noted that the clock was read, in microseconds.
const NOTED_EVERY: u64 = 100_000;
/// How often it is read when nothing else happens: more often than [`STALL`], so that an idle server is none that stands
/// still.
const TICK: Duration = Duration::from_millis(250);

/// Reads the clocks. Clones share the steady clock, so that the times of all threads compare.
#[derive(Clone)]
pub struct Clock {
    steady: Arc<Steady>,
    /// Wall time less steady time, in milliseconds; looked up once a second.
    offset: i64,
    /// The second of steady time in which it was.
    looked_up: Option<u64>,
}

struct Steady {
    began: Instant,
    /// What the clock showed when it began.
    first: Timestamp,
    /// When a thread last read the clock, in microseconds since it began; as exact as [`NOTED_EVERY`].
    last_read: AtomicU64,
    /// How many microseconds of stalls have been taken out.
    taken_out: AtomicU64,
    /// Held while a stall is taken out, so that it is taken out once.
    stall: Mutex<()>,
}

impl Steady {
    /// Microseconds since the clock began, less the stalls. `elapsed` reads the same with them.
    fn micros(&self, elapsed: impl Fn() -> u64) -> u64 {
        loop {
            let (taken_out, elapsed) = (self.taken_out.load(Ordering::Acquire), elapsed());
            let last_read = self.last_read.load(Ordering::Acquire);
            if elapsed > last_read + STALL {
                self.take_out(elapsed);
            } else if elapsed > last_read + NOTED_EVERY {
                self.last_read.fetch_max(elapsed, Ordering::Release);
            }
            // The process may have stood still since `elapsed` was read, and another thread may have taken that out.
            if self.taken_out.load(Ordering::Acquire) == taken_out {
                return elapsed.saturating_sub(taken_out);
            }
        }
    }

    fn take_out(&self, elapsed: u64) {
        let _one_at_a_time = lock(&self.stall);
        let last_read = self.last_read.load(Ordering::Acquire);
        if elapsed > last_read + STALL {
            // The clock may have been read once more without a note, and is not to go back behind that.
            self.taken_out.fetch_add(elapsed - last_read - NOTED_EVERY, Ordering::Release);
            self.last_read.store(elapsed, Ordering::Release);
        }
    }
}

pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as u64)
}

impl Clock {
    /// A clock whose steady time begins now, and with `first`.
    pub fn starting_at(first: Timestamp) -> Self {
        let (began, last_read, taken_out) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
        let steady = Arc::new(Steady { began, first, last_read, taken_out, stall: Mutex::new(()) });
        Self { steady, offset: 0, looked_up: None }
    }

    /// Starts a thread that does nothing else but read it, so that nothing holds that up. It tells `noted` how many
    /// microseconds have been taken out because the whole process stood still.
    pub fn start(&self, noted: impl Fn(u64) + Send + 'static) -> io::Result<Service<()>> {
        let clock = self.clone();
        let work = move |mailbox: &Mailbox<()>| {
            clock.micros();
            noted(clock.stalled());
            mailbox.wait(Some(Instant::now() + TICK), |()| ()).1
        };
        Service::start("clock", (), work, || ())
    }

    /// Microseconds of steady time since the clock began.
    pub fn micros(&self) -> u64 {
        self.steady.micros(|| self.steady.began.elapsed().as_micros() as u64)
    }

    /// The time, given the microseconds of steady time that it is.
    pub fn now(&mut self, micros: u64) -> Now {
        let steady = self.steady.first + Millis::from_millis(micros / 1000);
        if self.looked_up != Some(steady.secs()) {
            self.looked_up = Some(steady.secs());
            self.offset = wall().millis() as i64 - steady.millis() as i64;
        }
        Now { steady, wall: Timestamp::from_millis(steady.millis().saturating_add_signed(self.offset)) }
    }

    fn stalled(&self) -> u64 {
        self.steady.taken_out.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_does_not_count_and_what_is_shorter_does() {
        let clock = Clock::starting_at(Timestamp::BEGINNING);
        let (mut taken_out, mut elapsed, mut shown) = (0, 0, 0);
        for (gap, counts) in [
            (0, true),
            (50_000, true),
            (1_000_000, true),
            (2_000_000, true),
            (2_200_000, false),
            (99_000, true),
            (2_000_000, false),
            (50_000, true),
            (600_000_000, false),
            (10, true),
        ] {
            elapsed += gap;
            // What was noted last may be up to NOTED_EVERY older than the last reading: so much of a stall counts.
            let before = clock.steady.last_read.load(Ordering::Relaxed);
            taken_out += if counts { 0 } else { elapsed - before - NOTED_EVERY };
            assert_eq!(clock.steady.micros(|| elapsed), elapsed - taken_out, "after {gap}");
            assert!(elapsed - taken_out >= shown, "it goes back after {gap}");
            shown = elapsed - taken_out;
        }
        assert_eq!(clock.stalled(), taken_out);
    }

    #[test]
    fn a_stall_is_taken_out_once_whichever_thread_sees_it_first() {
        for _ in 0..200 {
            let clock = Clock::starting_at(Timestamp::BEGINNING);
            let (barrier, clock) = (std::sync::Barrier::new(4), &clock);
            let readings: Vec<u64> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|i| {
                        let barrier = &barrier;
                        scope.spawn(move || {
                            barrier.wait();
                            clock.steady.micros(|| 100_000_000 + i)
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(readings.iter().all(|&micros| micros < NOTED_EVERY + 10), "{readings:?}");
        }
    }

    #[test]
    fn a_thread_that_stands_still_in_the_middle_of_a_reading_does_not_go_back() {
        let Clock { steady, .. } = &Clock::starting_at(Timestamp::BEGINNING);
        let before = steady.micros(|| 50_000);
        let stands_still = std::cell::Cell::new(true);
        let after = steady.micros(|| {
            if stands_still.take() {
                // The whole process is stopped here, and another thread is the first to read the clock again.
                steady.micros(|| 10_000_000);
                return 60_000;
            }
            10_000_001
        });
        assert!((before..=NOTED_EVERY + 1).contains(&after), "{before} {after}");
    }
}
