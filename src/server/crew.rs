//! The threads and what they share, made once at the start.
//!
//! *Invariant:* the number of threads does not depend on the load.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::clock::{Clock, wall};
use super::listener;
use super::logger::Logger;
use super::mailbox::{Mailbox, WakeUps};
use super::observer::Observer;
use super::refusals::Refusals;
use super::reloader::Reloader;
use super::shared::{Capacity, Inbox, Questions, Shared};
use super::sweeper;
use super::worker::{Links, Worker};
use crate::app::auth::Credentials;
use crate::app::counters::Counters;
use crate::app::recent::Recent;
use crate::app::usage::Usage;
use crate::app::{App, Settings, Side, log};
use crate::config::{Config, LogFormat};
use crate::store::Store;

/// The threads that run.
pub struct Crew {
    /// How the listener reaches them.
    pub links: listener::Links,
    pub sweeper: JoinHandle<()>,
    pub logger: Option<(Arc<Logger>, JoinHandle<()>)>,
}

/// What each kind of thread counts in, notes in and reads, before the threads are there.
struct Books {
    of_workers: Vec<Arc<Counters>>,
    of_listener: Arc<Counters>,
    of_sweeper: Arc<Counters>,
    of_logger: Arc<Counters>,
    of_observer: Arc<Counters>,
    recent: Vec<Arc<Recent>>,
    usage: Arc<Usage>,
}

impl Books {
    fn new(workers: usize) -> Self {
        let [of_listener, of_sweeper, of_logger, of_observer]: [Arc<Counters>; 4] = Default::default();
        let of_workers = (0..workers).map(|_| Arc::default()).collect();
        let recent = (0..workers).map(|_| Arc::default()).collect();
        Self { of_workers, of_listener, of_sweeper, of_logger, of_observer, recent, usage: Arc::default() }
    }

    /// What reads them all.
    fn observer(
        &self,
        config: &Config,
        shared: &Arc<Shared>,
        inboxes: &[Arc<Inbox>],
        clock: &Clock,
    ) -> Observer {
        Observer {
            shared: Arc::clone(shared),
            counters: self.all_counters(),
            own_counters: Arc::clone(&self.of_observer),
            recent: self.recent.clone(),
            usage: Arc::clone(&self.usage),
            inboxes: inboxes.to_vec(),
            clock: clock.clone(),
            max_connections: shared.most[Side::Public as usize],
            listen: config.listen,
            credentials: config.credentials.name(),
            started: Instant::now(),
            start_time: wall().millis() as f64 / 1000.0,
        }
    }

    /// What refuses clients when there is no room. It knows no user, and its slot of the log is the last.
    fn refusals(
        &self,
        shared: &Arc<Shared>,
        logger: Option<Arc<Logger>>,
        capacity: Capacity,
        workers: usize,
        clock: &Clock,
    ) -> Refusals {
        let app = App::new(
            Arc::clone(&shared.settings),
            Arc::new(Credentials::Open),
            Arc::clone(shared) as _,
            Arc::clone(&self.of_listener),
            Arc::default(),
            Arc::clone(&self.usage),
        );
        let logger = logger.map(|logger| (logger, workers));
        Refusals::new(app, clock.clone(), logger, Arc::clone(&self.of_listener), capacity.refused)
    }

    fn all_counters(&self) -> Vec<Arc<Counters>> {
        let others = [&self.of_listener, &self.of_sweeper, &self.of_logger, &self.of_observer];
        self.of_workers.iter().chain(others).cloned().collect()
    }
}

impl Crew {
    /// Starts all threads but the listener's, which is the caller's own.
    ///
    /// # Errors
    ///
    /// A sentence that says what is lacking.
    pub fn start(
        config: &Config,
        store: Arc<dyn Store>,
        credentials: Credentials,
        capacity: Capacity,
        clock: &Clock,
    ) -> Result<Self, String> {
        let failed = |error: io::Error| format!("cannot start a thread: {error}");
        let (questions, asked) = Questions::new();
        let settings = Arc::new(settings(config));
        let (turned_away, wake_ups) = Mailbox::new().map_err(failed)?;
        let shared =
            Shared::new(store, settings, questions, credentials, capacity, turned_away, config.workers);
        let (shared, books) = (Arc::new(shared), Books::new(config.workers));
        let logger = shared.settings.log.map(|format| start_logger(format, config.workers, &books.of_logger));
        let logger = logger.transpose().map_err(failed)?;
        let log = logger.as_ref().map(|(logger, _)| Arc::clone(logger));
        let inboxes = start_workers(config, &shared, &books, log.as_ref(), clock).map_err(failed)?;
        let observer = books.observer(config, &shared, &inboxes, clock);
        spawn("observer", move || observer.run(&asked)).map_err(failed)?;
        let ticking = clock.clone();
        spawn("clock", move || ticking.tick()).map_err(failed)?;
        let reloader = Reloader::start(&config.credentials, &shared, &inboxes).map_err(failed)?;
        let sweeper = {
            let (shared, inboxes, clock) = (Arc::clone(&shared), inboxes.clone(), clock.clone());
            let counters = Arc::clone(&books.of_sweeper);
            let work = move || sweeper::run(&shared, &inboxes, &counters, clock);
            spawn("sweeper", work).map_err(failed)?
        };
        let counters = Arc::clone(&books.of_listener);
        let refusals = books.refusals(&shared, log, capacity, config.workers, clock);
        let links = listener::Links { shared, inboxes, wake_ups, reloader, refusals, counters };
        Ok(Self { links, sweeper, logger })
    }
}

/// Starts the workers; returns how they are reached.
fn start_workers(
    config: &Config,
    shared: &Arc<Shared>,
    books: &Books,
    logger: Option<&Arc<Logger>>,
    clock: &Clock,
) -> io::Result<Arc<[Arc<Inbox>]>> {
    let made: io::Result<Vec<_>> = (0..config.workers).map(|_| Inbox::new()).collect();
    let (inboxes, wake_ups): (Vec<_>, Vec<_>) =
        made?.into_iter().map(|(inbox, wake_ups)| (Arc::new(inbox), wake_ups)).unzip();
    let inboxes: Arc<[Arc<Inbox>]> = inboxes.into();
    for (number, wake_ups) in wake_ups.into_iter().enumerate() {
        start_worker(number, config, shared, books, logger.cloned(), clock, (&inboxes, wake_ups))?;
    }
    Ok(inboxes)
}

fn start_worker(
    number: usize,
    config: &Config,
    shared: &Arc<Shared>,
    books: &Books,
    logger: Option<Arc<Logger>>,
    clock: &Clock,
    (inboxes, wake_ups): (&Arc<[Arc<Inbox>]>, WakeUps),
) -> io::Result<()> {
    let (inboxes, counters) = (Arc::clone(inboxes), Arc::clone(&books.of_workers[number]));
    let app = App::new(
        Arc::clone(&shared.settings),
        shared.credentials().1,
        Arc::clone(shared) as _,
        Arc::clone(&counters),
        Arc::clone(&books.recent[number]),
        Arc::clone(&books.usage),
    );
    let (shared, grace, inbox) = (Arc::clone(shared), config.grace, Arc::clone(&inboxes[number]));
    let links = Links { number, shared, inbox, inboxes, wake_ups, counters, logger, grace };
    let worker = Worker::new(links, app, clock.clone(), config.idle)?;
    spawn(&format!("worker-{number}"), move || worker.run()).map(drop)
}

fn settings(config: &Config) -> Settings {
    Settings {
        limit: config.limit,
        lease: config.lease,
        when_full: config.when_full,
        endpoint: config.endpoint.clone(),
        cors: config.cors.clone(),
        proxies: config.proxies.clone(),
        log: match config.log {
            LogFormat::Text => Some(log::Format::Text),
            LogFormat::Json => Some(log::Format::Json),
            LogFormat::Off => None,
        },
        keep_recent: config.admin.is_some(),
    }
}

fn start_logger(
    format: log::Format,
    workers: usize,
    counters: &Arc<Counters>,
) -> io::Result<(Arc<Logger>, JoinHandle<()>)> {
    let logger = Arc::new(Logger::new(format, workers + 1, Arc::clone(counters)));
    let writer = Arc::clone(&logger);
    Ok((logger, spawn("logger", move || writer.run(io::stdout()))?))
}

/// Starts a thread.
///
/// # Errors
///
/// When the system has no more.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(work)
}
