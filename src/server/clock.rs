//! The clocks of the workers and the sweeper: a worker reads them when a turn begins and when its answers are made.
//!
//! *Invariant:* steady time never goes back, and wall time is at most a second stale.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::time::{Now, Timestamp};

/// Reads the clocks. All of a process's clocks begin at the same moment, so that their steady times compare.
#[derive(Clone)]
pub struct Clock {
    start: Instant,
    /// Wall time less steady time, in milliseconds; looked up once a second.
    offset: i64,
    /// The second of steady time in which it was.
    looked_up: Option<u64>,
}

impl Clock {
    /// A clock that begins now.
    pub fn new() -> Self {
        Self { start: Instant::now(), offset: 0, looked_up: None }
    }

    /// Microseconds of steady time.
    pub fn micros(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// The time, given the microseconds of steady time that it is.
    ///
    /// Steady time begins at one day, so that whatever was a minute ago has a time too.
    pub fn now(&mut self, micros: u64) -> Now {
        let steady = micros / 1000 + 24 * 60 * 60 * 1000;
        if self.looked_up != Some(steady / 1000) {
            self.looked_up = Some(steady / 1000);
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            self.offset = wall as i64 - steady as i64;
        }
        let wall = Timestamp::from_millis(steady.saturating_add_signed(self.offset));
        Now { steady: Timestamp::from_millis(steady), wall }
    }
}
