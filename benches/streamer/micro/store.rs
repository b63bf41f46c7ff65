//! The store under one thread and under several.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use streamer::store::memory::Memory;
use streamer::streams::account::Policy;
use streamer::streams::batch::{Action, Batch, Command};
use streamer::streams::position::Position;
use streamer::time::{Millis, Timestamp};

use crate::Effort;
use crate::requests::{Random, user};
use crate::timing::{Timing, print, title};

const NOW: Timestamp = Timestamp::from_millis(86_400_000);
/// How many commands a batch has, as in a busy turn.
const BATCH: usize = 32;
/// How many heartbeats are measured at a time: of so many users, whose accounts no cache near a core holds.
const BEATS: usize = 1 << 17;

/// Measures all rows.
pub fn run(timing: Timing, effort: Effort) {
    for users in effort.pick([10_000, 1_000_000], [1_000, 10_000]) {
        title(&format!("a heartbeat in a store of {users} users"));
        let store = filled(users);
        for threads in [1, 2, 4] {
            let mut work = work(users, threads, effort.pick(BEATS, BEATS / 16));
            let rounds = (0..timing.batches).map(|_| round(&store, &mut work));
            print(&format!("threads: {threads}; wall time by all heartbeats"), rounds.collect());
        }
    }
}

/// A stream for each user.
fn filled(users: usize) -> Memory {
    let store = Memory::new(Policy::new(Millis::from_secs(90)));
    let mut batch = Batch::default();
    for number in 0..users {
        push(&mut batch, number, Action::start());
        if batch.entries.len() == BATCH || number + 1 == users {
            store.execute(NOW, &mut batch);
            batch.clear();
        }
    }
    store
}

fn push(batch: &mut Batch, number: usize, action: Action) {
    let user = batch.arena.add(user(number).as_bytes());
    let key = batch.arena.add(b"v0001234");
    batch.push(Command::new(user, key, 3, action));
}

/// For each thread the batches of its heartbeats, from users met by chance.
fn work(users: usize, threads: usize, beats: usize) -> Vec<Vec<Batch>> {
    let mut random = Random::new(threads as u64);
    let mut batch = || {
        let mut batch = Batch::default();
        for _ in 0..BATCH {
            let action = Action::Beat { position: Some(Position::from_secs(754)), playing: None };
            push(&mut batch, random.below(users), action);
        }
        batch
    };
    (0..threads).map(|_| (0..beats / threads / BATCH).map(|_| batch()).collect()).collect()
}

/// All threads do their work once; returns nanoseconds of the clock on the wall for each heartbeat, from when the first
/// thread begins until the last is done.
fn round(store: &Memory, work: &mut [Vec<Batch>]) -> f64 {
    let beats: usize = work.iter().flatten().map(|batch| batch.entries.len()).sum();
    let barrier = Barrier::new(work.len());
    let beat = |batches: &mut [Batch]| {
        barrier.wait();
        let begun = Instant::now();
        batches.iter_mut().for_each(|batch| store.execute(NOW, batch));
        (begun, Instant::now())
    };
    let times: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = work.iter_mut().map(|batches| scope.spawn(|| beat(batches))).collect();
        threads.into_iter().flat_map(thread::ScopedJoinHandle::join).collect()
    });
    let begun = times.iter().map(|(begun, _)| begun).min();
    let done = times.iter().map(|(_, done)| done).max();
    begun.zip(done).map_or(f64::NAN, |(&begun, &done)| (done - begun).as_nanos() as f64 / beats as f64)
}
