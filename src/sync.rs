//! What threads share: a lock that outlives a panic, and the one kind of thread that waits.
//!
//! A worker never waits. What waits for long (for a disk, a server, a reader of the log) is a [`Service`]: a thread, and a
//! mailbox of its own in which others leave what it is to do. Whoever leaves something decides under the mailbox's lock
//! whether there is room, so each mailbox has its own bound: bytes, entries, or one mark that it is wanted at all.
//!
//! *Invariant:* nobody holds a mailbox's lock while waiting for anything, so leaving something takes no longer than
//! to put it down. (Not tested.)

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Locks, even if a thread has panicked under the lock: its own work is lost, nobody else's is.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is left for a thread that waits for it.
pub struct Mailbox<S> {
    state: Mutex<Told<S>>,
    more: Condvar,
}

struct Told<S> {
    state: S,
    /// Whether something was left since the thread last looked.
    told: bool,
    stopping: bool,
}

impl<S> Mailbox<S> {
    /// A mailbox with this in it.
    pub fn new(state: S) -> Self {
        Self { state: Mutex::new(Told { state, told: false, stopping: false }), more: Condvar::new() }
    }

    /// Leaves something, and wakes the thread. What `leave` returns says whether there was room.
    pub fn leave<R>(&self, leave: impl FnOnce(&mut S) -> R) -> R {
        let mut told = lock(&self.state);
        let left = leave(&mut told.state);
        let knew = std::mem::replace(&mut told.told, true);
        // A thread that is woken is not to wait for the lock at once.
        drop(told);
        if !knew {
            self.more.notify_one();
        }
        left
    }

    /// Looks at what is there, or changes it, and wakes nobody.
    pub fn look<R>(&self, look: impl FnOnce(&mut S) -> R) -> R {
        look(&mut lock(&self.state).state)
    }

    /// Waits until something is left, the thread is to stop, or `until` has come; for ever without it. Then takes what is
    /// there. Returns whether the thread is to stop too.
    pub fn wait<R>(&self, until: Option<Instant>, take: impl FnOnce(&mut S) -> R) -> (R, bool) {
        let mut told = lock(&self.state);
        while !told.told && !told.stopping {
            told = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.more.wait(told).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => self.more.wait_timeout(told, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        told.told = false;
        (take(&mut told.state), told.stopping)
    }

    /// Has the thread stop, once it has done what is there.
    pub fn stop(&self) {
        lock(&self.state).stopping = true;
        self.more.notify_all();
    }
}

/// A thread that waits, and its mailbox.
pub struct Service<S> {
    /// What is left for it.
    pub mailbox: Arc<Mailbox<S>>,
    thread: JoinHandle<()>,
}

impl<S: Send + 'static> Service<S> {
    /// Starts a thread that does `work` until that says that it is done, with true. A panic in it is told by `panicked`,
    /// and the work begins again.
    ///
    /// # Errors
    ///
    /// When the system has no more threads.
    pub fn start(
        name: &str,
        state: S,
        mut work: impl FnMut(&Mailbox<S>) -> bool + Send + 'static,
        panicked: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        /// A panic that comes back at once is not to be met as fast as it comes.
        const REST: Duration = Duration::from_millis(100);
        let mailbox = Arc::new(Mailbox::new(state));
        let inbox = Arc::clone(&mailbox);
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            loop {
                match catch_unwind(AssertUnwindSafe(|| work(&inbox))) {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(_) => {
                        panicked();
                        thread::sleep(REST);
                    }
                }
            }
        })?;
        Ok(Self { mailbox, thread })
    }

    /// Has the thread stop once it has done what is there, and waits for that, but not for ever. Returns whether it is done.
    pub fn stop(&self, most: Duration) -> bool {
        self.mailbox.stop();
        let until = Instant::now() + most;
        while !self.thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        self.thread.is_finished()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    #[test]
    fn what_is_left_is_done_before_the_thread_stops_and_a_panic_does_not_end_it() {
        let (done, panics) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (sum, told) = (Arc::clone(&done), Arc::clone(&panics));
        let work = move |mailbox: &Mailbox<Vec<u32>>| {
            let (taken, stops) = mailbox.wait(None, std::mem::take);
            sum.fetch_add(taken.iter().sum(), Relaxed);
            assert!(!taken.contains(&7), "this panic is part of the test");
            stops
        };
        let service = Service::start("adder", Vec::new(), work, move || {
            told.fetch_add(1, Relaxed);
        })
        .unwrap();
        for n in [1, 7, 2, 3] {
            service.mailbox.leave(|numbers| numbers.push(n));
        }
        assert!(service.stop(Duration::from_secs(10)));
        assert_eq!((done.load(Relaxed), panics.load(Relaxed)), (13, 1));
    }

    #[test]
    fn waits_no_longer_than_asked() {
        let mailbox = Mailbox::new(1);
        let now = Instant::now();
        assert_eq!(mailbox.wait(Some(now), |n| *n), (1, false));
        mailbox.leave(|n| *n = 2);
        assert_eq!(mailbox.wait(Some(now + Duration::from_secs(60)), |n| *n), (2, false));
        mailbox.stop();
        assert_eq!(mailbox.wait(None, |n| *n), (2, true));
    }
}
