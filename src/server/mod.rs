//! Sockets, threads, signals, files and the clock: everything that the other rooms may not touch.
//!
//! ```text
//!                    reloader ── credentials ──▶ site
//!                       ▲                          │
//! signals ──▶ listener ─┴─ connections ─▶ inbox ──▶ worker ⟲ turn ── lines ──▶ logger
//!                                                   │
//!                                                 store ◀── sweeper
//! ```
//!
//! | thread | how many | waits for | its queue holds at most |
//! |---|---|---|---|
//! | listener | the caller's own | sockets, signals, workers that found no room | what the workers hand back |
//! | worker | `--workers` | its sockets, its inbox, the store's news | its share of `--max-connections`, and newcomers that it has not taken up |
//! | operators | 1, with `--admin` | the same | 64 connections |
//! | logger | 1, unless `--log off` | lines | 1 MiB a worker; what is more is lost and counted |
//! | reloader | 1 | SIGHUP, then files | one mark |
//! | sweeper, clock | 1 each | 250 ms | nothing |
//! | start | 1, until the server has begun | the store, files | nothing |
//!
//! A journal has two more, `journal` and `retention`; over Redis there are `scout`, a `node` for each server of the engine,
//! and one for each attempt to connect.
//!
//! *Invariant:* the number of threads does not depend on the load. Those of a store are its own; all others are started in
//! this file, and but for `start` they live as long as the server. (Not tested.)

mod listener;

mod refusals;

mod signals;

mod worker;

mod slab;

mod connection;

mod deadlines;

mod shared;

mod notice;

mod logger;

mod sweeper;

mod clock;

mod files;

mod reloader;

mod sockets;

mod open;

use core::net::SocketAddr;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::app::Side;
use crate::app::auth::Credentials;
use crate::app::counters::Counter;
use crate::app::site::Site;
use crate::codec::template::Placeholder;
use crate::config::{Config, CredentialsKind};
use crate::store::Store;
use crate::sync::Service;
use crate::time::Timestamp;

use clock::Clock;
use listener::Listener;
use logger::LogLines;
use refusals::Refusals;
use shared::{Shared, Station, WakeUps};
use sockets::{Capacity, bind, capacity};
use worker::Worker;

pub use files::keys;
pub use notice::{greet, notice};
pub use signals::Signals;

/// Why a server does not start.
#[derive(Debug)]
pub struct StartError {
    /// A sentence that says what is lacking.
    pub said: String,
    /// The program's exit code: 2 when the flags cannot be, 0 when it was told to stop before it had begun, else 1.
    pub code: u8,
}

impl From<String> for StartError {
    fn from(said: String) -> Self {
        Self { said, code: 1 }
    }
}

/// So long a stop waits for the store to keep what was answered, once the workers are done.
const MOST_TO_KEEP: Duration = Duration::from_secs(5);

/// A server that is bound and ready to run.
pub struct Server {
    admin: Option<SocketAddr>,
    /// What was read for `--users`, `--secret` and `--pass`.
    credentials: String,
    shared: Arc<Shared>,
    listener: Listener,
    waiting: Waiting,
}

struct Waiting {
    logger: Option<Service<LogLines>>,
    others: [Service<()>; 2],
    reloader: Service<bool>,
}

impl Server {
    /// Opens the store, reads the credentials, binds the sockets and starts the threads.
    ///
    /// # Errors
    ///
    /// A sentence that says what is lacking, and why. A journal that was opened by then keeps its directory locked until the
    /// program ends.
    pub fn start(config: Config, signals: Signals) -> Result<Self, StartError> {
        Self::start_with(config, signals, open::store)
    }

    /// As [`Server::start`], over a store of the caller's.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn start_over(config: Config, signals: Signals, store: Arc<dyn Store>) -> Result<Self, StartError> {
        Self::start_with(config, signals, |_| Ok((store, Timestamp::BEGINNING)))
    }

    fn start_with(
        config: Config,
        signals: Signals,
        store: impl FnOnce(&Config) -> Result<(Arc<dyn Store>, Timestamp), String> + Send + 'static,
    ) -> Result<Self, StartError> {
        begin_notices(&config);
        let read = move || {
            let (store, first) = store(&config)?;
            let (credentials, said) = files::load(&config)?;
            Ok((config, store, Clock::starting_at(first), credentials, said))
        };
        let (config, store, clock, credentials, said) = unless_stopped(&signals, read)?;
        let public = bind(config.listen, "--listen")?;
        let admin = config.admin.map(|admin| bind(admin, "--admin")).transpose()?;
        let address = |sockets: &Vec<TcpListener>| sockets[0].local_addr().map_err(|error| error.to_string());
        let listen = address(&public)?;
        let admin_address = admin.as_ref().map(address).transpose()?;
        let capacity = capacity(&config);
        let config = Config { listen, max_connections: capacity.public, ..config };
        let public = public.into_iter().map(|socket| (Side::Public, socket));
        let admin = admin.into_iter().flatten().map(|socket| (Side::Admin, socket));
        let sockets = public.chain(admin).collect();
        let threads = start_threads(config, store, credentials, capacity, &clock);
        let (shared, waiting, wake_ups) =
            threads.map_err(|error| format!("cannot start a thread: {error}"))?;
        let refusals = Refusals::new(Arc::clone(&shared), capacity.refused);
        let reloader = Arc::clone(&waiting.reloader.mailbox);
        let listener = Listener::new(sockets, signals, Arc::clone(&shared), wake_ups, reloader, refusals)
            .map_err(|error| format!("cannot wait for connections: {error}"))?;
        Ok(Self { admin: admin_address, credentials: said, shared, listener, waiting })
    }

    pub fn address(&self) -> SocketAddr {
        self.shared.site.config.listen
    }

    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What is said at the start, in one line.
    pub fn greeting(&self) -> String {
        let Site { config, store, .. } = &*self.shared.site;
        let Config { listen, limits, lease, workers, max_connections, .. } = config;
        let admin = self.admin.map_or("no admin".into(), |admin| format!("admin on http://{admin}"));
        let (version, credentials) = (env!("CARGO_PKG_VERSION"), &self.credentials);
        format!(
            "streamer {version} listens on http://{listen} ({admin}): limit {limits}, lease {lease}, workers {workers}, \
             store {}, connections {max_connections}; {credentials}",
            store.describe(),
        )
    }

    /// Serves until it is told to stop, and then at most `--grace`. Returns the exit code: 0, what a second signal makes it,
    /// or 1 when not everything could be kept.
    pub fn run(self) -> u8 {
        let Self { listener, waiting, shared, .. } = self;
        if let Some(signal) = listener.run() {
            return 128 + signal;
        }
        let kept = shared.site.store.stop(MOST_TO_KEEP);
        match &kept {
            Ok(()) => notice("stopped"),
            Err(why) => notice(&format!("stopped, and what was answered last may be lost: {why}")),
        }
        waiting.others.iter().for_each(|service| service.mailbox.stop());
        waiting.reloader.mailbox.stop();
        // But not for ever: a log that is not read must not keep the program.
        waiting.logger.map(|logger| logger.stop(Duration::from_secs(1)));
        u8::from(kept.is_err())
    }
}

/// Does what may wait for long, as for a file that is a FIFO to which nobody writes; unless a signal to stop comes first.
fn unless_stopped<T: Send + 'static>(
    signals: &Signals,
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    const TICK: Duration = Duration::from_millis(20);
    let (result, done) = mpsc::channel();
    let thread = thread::Builder::new().name("start".into()).spawn(move || result.send(work()));
    thread.map_err(|error| format!("cannot start a thread: {error}"))?;
    loop {
        match done.recv_timeout(TICK) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => {
                return Err("a panic, which is told above".to_owned().into());
            }
            Err(RecvTimeoutError::Timeout) if signals.say_stop() => {
                return Err(StartError { said: "told to stop before it had begun".into(), code: 0 });
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Starts all threads but the listener's. Returns what they share, and what wakes the listener.
fn start_threads(
    config: Config,
    store: Arc<dyn Store>,
    credentials: Credentials,
    capacity: Capacity,
    clock: &Clock,
) -> io::Result<(Arc<Shared>, Waiting, WakeUps)> {
    let (workers, has_operators) = (config.workers, config.admin.is_some());
    let (observer, started) = (open::observer(&config), clock.clone().now(clock.micros()));
    let site = Site::new(config, store, credentials, observer, workers + Station::COUNT, started);
    let site = Arc::new(site);
    let logger = logger::start(&site, io::stdout())?;
    let (inboxes, mut wake_ups): (Vec<_>, Vec<_>) =
        Shared::inboxes(workers, capacity.public, capacity.admin)?.into_iter().unzip();
    let shared = Arc::new(Shared {
        clock: clock.clone(),
        inboxes: inboxes.into(),
        log: logger.as_ref().map(|logger| Arc::clone(&logger.mailbox)),
        working: AtomicUsize::new(workers + usize::from(has_operators)),
        site,
    });
    let of_listener = wake_ups.remove(shared.number(Station::Listener));
    wake_ups.truncate(shared.working.load(std::sync::atomic::Ordering::Relaxed));
    for (number, wake_ups) in wake_ups.into_iter().enumerate() {
        let worker = Worker::new(Arc::clone(&shared), number, wake_ups)?;
        let name = if number < workers { format!("worker-{number}") } else { "operators".into() };
        thread::Builder::new().name(name).spawn(move || worker.run())?;
    }
    let counting = Arc::clone(&shared);
    let clock =
        clock.start(move |stalled| counting.counters(Station::Clock).set(Counter::Stalled, stalled))?;
    let others = [clock, sweeper::start(&shared)?];
    let waiting = Waiting { logger, others, reloader: reloader::start(&shared)? };
    Ok((shared, waiting, of_listener))
}

/// Chooses how notices are written, and gives the first.
fn begin_notices(config: &Config) {
    notice::set_format(config.log);
    if !config.endpoint.names(Placeholder::Id) {
        notice("--endpoint has no {id}, so that it sends the players of all videos to one place");
    }
    if let Some(admin) = config.admin.filter(|admin| !admin.ip().to_canonical().is_loopback()) {
        let who = match config.credentials {
            CredentialsKind::Open => "loopback alone (with --open nobody can prove to be an operator)",
            CredentialsKind::Users(_) | CredentialsKind::Secret(_) => "loopback and for users marked admin",
        };
        notice(&format!(
            "--admin {admin} can be reached from other machines: /healthz, /readyz and /metrics are for all of them, \
             the page and whatever names users are for {who}"
        ));
    }
}
