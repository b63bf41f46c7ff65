//! How many users played how many streams at once, at the peak of their day.
//!
//! To remember each user of a day would take more memory than the accounts themselves, which are gone a lease after the last
//! stream. So users are not remembered but estimated: a `HyperLogLog` (Flajolet and others, 2007) for each number of streams
//! takes 4 KiB, whatever the number of users, and is right within some 2 %. A user who plays 3 streams at once is added to
//! those of 0, 1, 2 and 3; the users whose peak was 2 are those of 2 without those of 3.
//!
//! *Invariant:* only starts pay, with a hash and some loads. A register is written only where it rises, which
//! becomes rare soon, so workers may share them. (Not tested.)

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use crate::store::PLAYING_KINDS;
use crate::time::Timestamp;

/// A power of two; the estimates' standard error is 1.04 by its square root.
const REGISTERS: usize = 4096;

/// The users of two days, by how many streams they played at once at most.
pub struct Usage {
    /// Secret, so that names cannot be chosen for what they do to the estimate.
    hasher: RandomState,
    /// Days with an even number, and days with an odd one.
    days: [Day; 2],
}

struct Day {
    /// Days since the Unix epoch.
    number: AtomicU64,
    /// For each number of streams, the users who have played so many at once.
    users: [HyperLogLog; PLAYING_KINDS],
}

/// A set of users of which only the size is known. A user chooses a register by some bits of the hash; it holds the greatest
/// number of leading zeros, and one, in the rest of the hashes that chose it.
struct HyperLogLog([AtomicU8; REGISTERS]);

impl Default for Usage {
    fn default() -> Self {
        let users = || HyperLogLog([const { AtomicU8::new(0) }; REGISTERS]);
        let day = || Day { number: AtomicU64::new(0), users: std::array::from_fn(|_| users()) };
        Self { hasher: RandomState::new(), days: [day(), day()] }
    }
}

impl Usage {
    /// Notes that `user` has asked for a start and plays `count` streams now.
    pub fn note(&self, wall: Timestamp, user: &[u8], count: u32) {
        let day = self.begin(day_of(wall));
        let hash = self.hasher.hash_one(user);
        let most = (count as usize).min(PLAYING_KINDS - 1);
        day.users[..=most].iter().for_each(|users| users.add(hash));
    }

    /// How many users of the day of `wall`, and of the day before, played 0, 1, 2 … streams at once at most.
    pub fn peaks(&self, wall: Timestamp) -> [[u64; PLAYING_KINDS]; 2] {
        [0, 1].map(|ago| {
            let number = day_of(wall).saturating_sub(ago);
            let day = &self.days[number as usize % 2];
            if day.number.load(Relaxed) != number {
                return [0; PLAYING_KINDS];
            }
            let reached: [u64; PLAYING_KINDS] = std::array::from_fn(|k| day.users[k].count());
            std::array::from_fn(|k| reached[k].saturating_sub(*reached.get(k + 1).unwrap_or(&0)))
        })
    }

    /// The day of this number. Whatever other day had its place is over, or was never there if the clock was set back.
    fn begin(&self, number: u64) -> &Day {
        let day = &self.days[number as usize % 2];
        let seen = day.number.load(Relaxed);
        if seen != number && day.number.compare_exchange(seen, number, Relaxed, Relaxed).is_ok() {
            // What other workers add before this is done may be lost: a few users of a new day's first instant.
            day.users.iter().flat_map(|users| &users.0).for_each(|register| register.store(0, Relaxed));
        }
        day
    }
}

/// Days begin at midnight UTC.
fn day_of(wall: Timestamp) -> u64 {
    wall.secs() / (24 * 60 * 60)
}

impl HyperLogLog {
    fn add(&self, hash: u64) {
        let register = &self.0[hash as usize % REGISTERS];
        let rank = (hash | (REGISTERS as u64 - 1)).leading_zeros() as u8 + 1;
        if register.load(Relaxed) < rank {
            register.fetch_max(rank, Relaxed);
        }
    }

    fn count(&self) -> u64 {
        let (mut sum, mut zeros) = (0.0, 0);
        for register in &self.0 {
            let rank = register.load(Relaxed);
            sum += 0.5_f64.powi(rank.into());
            zeros += usize::from(rank == 0);
        }
        let m = REGISTERS as f64;
        let estimate = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
        // For few users the registers that no user has chosen say more.
        if estimate <= 2.5 * m && zeros > 0 {
            return (m * (m / zeros as f64).ln()).round() as u64;
        }
        estimate.round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn note(usage: &Usage, secs: u64, users: std::ops::Range<u32>, count: u32) {
        users.for_each(|user| usage.note(at(secs), format!("user{user}").as_bytes(), count));
    }

    #[track_caller]
    fn check(usage: &Usage, secs: u64, expected: [&[u64]; 2]) {
        for (seen, expected) in usage.peaks(at(secs)).into_iter().zip(expected) {
            // The difference of two estimates, each 1.6 % of all users off at one standard deviation.
            let tolerance = expected.iter().sum::<u64>() / 10 + 2;
            for (k, n) in seen.into_iter().enumerate() {
                assert!(n.abs_diff(*expected.get(k).unwrap_or(&0)) <= tolerance, "{k}: {seen:?}");
            }
        }
    }

    #[test]
    fn few_users_are_counted_nearly_exactly_and_only_once() {
        let usage = Usage::default();
        for _ in 0..3 {
            note(&usage, 100 * DAY, 0..3, 1);
            note(&usage, 100 * DAY + 5, 2..5, 2);
            note(&usage, 101 * DAY - 1, 9..10, 0);
            note(&usage, 100 * DAY, 7..8, 1000);
        }
        let [today, yesterday] = usage.peaks(at(100 * DAY + 9));
        assert!(
            today.into_iter().zip([1, 2, 3, 0, 0, 0, 0, 0, 1]).all(|(n, expected)| n.abs_diff(expected) <= 1)
        );
        assert_eq!(yesterday, [0; PLAYING_KINDS]);
    }

    #[test]
    fn many_users_are_estimated() {
        let usage = Usage::default();
        note(&usage, DAY, 0..20_000, 1);
        note(&usage, DAY, 0..8_000, 2);
        note(&usage, DAY, 0..2_000, 3);
        check(&usage, DAY, [&[0, 12_000, 6_000, 2_000], &[]]);
    }

    #[test]
    fn yesterday_is_kept_and_the_day_before_is_not() {
        let usage = Usage::default();
        note(&usage, 10 * DAY, 0..100, 2);
        note(&usage, 11 * DAY, 0..50, 1);
        check(&usage, 11 * DAY, [&[0, 50], &[0, 0, 100]]);
        note(&usage, 12 * DAY, 0..20, 3);
        check(&usage, 12 * DAY, [&[0, 0, 0, 20], &[0, 50]]);
        check(&usage, 13 * DAY, [&[], &[0, 0, 0, 20]]);
        check(&usage, 14 * DAY, [&[], &[]]);
    }

    #[test]
    fn a_clock_set_forward_and_back_silences_no_day() {
        for far in [2, 3, 1000] {
            let usage = Usage::default();
            note(&usage, 10 * DAY, 0..100, 2);
            note(&usage, (10 + far) * DAY, 0..50, 1);
            note(&usage, 10 * DAY, 0..100, 2);
            check(&usage, 10 * DAY, [&[0, 0, 100], &[]]);
        }
    }
}
