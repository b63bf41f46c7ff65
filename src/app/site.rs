//! What the threads of one server share, as far as the meaning of a request depends on it.
//!
//! *Invariant:* a lock here is taken when files are read again, and by a thread that notices it: never per request.
//! (Not tested.)

use std::borrow::Cow;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, Mutex};

use super::auth::Credentials;
use super::counters::{Counters, Sum};
use crate::config::Config;
use crate::http::encode::ResponseStart;
use crate::http::status::Status;
use crate::store::Store;
use crate::streams::batch::{Batch, Entry};
use crate::sync::lock;
use crate::time::{Now, Timestamp};

/// How far a server's life has come. It never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Requests are welcome.
    Serving,
    /// It has been told to stop: `/readyz` says so, and new connections are still taken.
    Draining,
    /// No new clients are taken, and idle connections are closed.
    Stopping,
}

/// What all threads of a server share. Each thread has a number.
pub struct Site {
    /// What it was told at the start.
    pub config: Config,
    pub store: Arc<dyn Store>,
    pub counters: Box<[Counters]>,
    /// What watches for the operators, if anything does.
    pub observer: Option<Box<dyn Observer>>,
    pub started: Now,
    life: AtomicU8,
    /// The credentials that are taken, and which reading of the files they come from.
    credentials: Mutex<(usize, Arc<Credentials>)>,
    /// The number of the reading that is in force.
    reading: AtomicUsize,
}

impl Site {
    /// A server of so many threads to which nothing has happened yet.
    pub fn new(
        config: Config,
        store: Arc<dyn Store>,
        credentials: Credentials,
        observer: Option<Box<dyn Observer>>,
        threads: usize,
        started: Now,
    ) -> Self {
        Self {
            config,
            store,
            counters: (0..threads).map(|_| Counters::default()).collect(),
            observer,
            started,
            life: AtomicU8::new(Life::Serving as u8),
            credentials: Mutex::new((0, Arc::new(credentials))),
            reading: AtomicUsize::new(0),
        }
    }

    /// Notes how far its life has come.
    pub fn reach(&self, life: Life) {
        self.life.fetch_max(life as u8, Release);
    }

    /// Whether its life has come so far. What was done before that was noted is seen by whoever is told.
    pub fn has_reached(&self, life: Life) -> bool {
        self.life.load(Acquire) >= life as u8
    }

    /// Why no requests should be sent here, in a sentence that says what to do; None when they should.
    pub fn trouble(&self) -> Option<Cow<'static, str>> {
        if self.has_reached(Life::Draining) {
            return Some("The server is stopping; try another one.".into());
        }
        self.store.trouble().map(Cow::from)
    }

    /// Whether requests should be sent here: `/readyz` says 200.
    pub fn is_ready(&self) -> bool {
        self.trouble().is_none() || self.is_lenient()
    }

    /// Whether what the store cannot carry out is answered as if there were room; a server that stops is not.
    pub fn is_lenient(&self) -> bool {
        self.store.lenient().is_some() && !self.has_reached(Life::Draining)
    }

    /// What all threads have counted.
    pub fn sum(&self) -> Sum {
        Sum::of(&self.counters)
    }

    /// The credentials that are taken.
    pub fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&lock(&self.credentials).1)
    }

    /// The credentials that are taken, if they are not those of reading `known`, which becomes theirs.
    pub(super) fn newer_credentials(&self, known: &mut usize) -> Option<Arc<Credentials>> {
        if self.reading.load(Relaxed) == *known {
            return None;
        }
        let current = lock(&self.credentials);
        *known = current.0;
        Some(Arc::clone(&current.1))
    }

    /// Replaces the credentials, from the next turn of each worker on. Returns the old ones.
    pub fn set_credentials(&self, credentials: Credentials) -> Arc<Credentials> {
        let mut current = lock(&self.credentials);
        let reading = current.0 + 1;
        let (_, old) = std::mem::replace(&mut *current, (reading, Arc::new(credentials)));
        self.reading.store(reading, Relaxed);
        old
    }
}

/// What watches for the operators, and shows them what it has seen.
pub trait Observer: Send + Sync {
    /// Notes what became of a command, on the thread of this number. `operator` is whose it was, empty if nobody's.
    fn note(&self, thread: usize, at: Timestamp, operator: &[u8], entry: &Entry, batch: &Batch);

    /// Which of its pages has this path.
    fn find(&self, path: &[u8]) -> Option<&'static Page>;

    /// Writes a page; returns the status. It may take long: a thread of their own serves the operators.
    fn show(&self, page: &Page, site: &Site, now: Now, start: &mut ResponseStart) -> Status;

    /// Looks at everything, as it does every now and then; returns when it wants to do so again.
    fn look(&self, site: &Site, now: Now) -> Timestamp;
}

/// A page of an [`Observer`].
#[derive(Debug)]
pub struct Page {
    pub path: &'static str,
    /// Whether it names users, so that it is for operators alone.
    pub names_users: bool,
}

#[cfg(test)]
impl Site {
    /// A server as it is without any flag, of two threads.
    pub fn of_test() -> Self {
        let store = Arc::new(crate::store::memory::Memory::new(Default::default()));
        let nobody = super::auth::Mode::Open.into();
        Self::new(Config::default(), store, nobody, None, 2, Now::default())
    }
}
