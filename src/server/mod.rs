//! Sockets, threads, signals, files and the clock: everything that the other rooms may not touch.
//!
//! ```text
//! reloader ──credentials──▶ shared
//!     ▲                        │
//! listener ──accept──▶ inbox ──▶ worker ⟲ turn ──lines──▶ logger
//!     ▲                  ▲         │ │
//!  signals             page        │ └──question──▶ observer
//!                        └─────────┼─────────────────┘
//!                                store ◀── sweeper
//! ```
//!
//! *Invariant:* the number of threads does not depend on the load. Those of a store are its own; all others are made
//! here, and live as long as the server.

mod listener;

mod refusals;

mod signals;

mod worker;

mod slab;

mod connection;

mod deadlines;

pub mod poller;

mod mailbox;

mod shared;

mod notice;

mod logger;

mod sweeper;

mod observer;

mod clock;

mod files;

mod reloader;

mod sockets;

mod stores;

mod crew;

use core::net::SocketAddr;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::app::{Side, log};
use crate::config::{Config, LogFormat};
use crate::store::Store;
use crate::time::Timestamp;

use clock::Clock;
use crew::Crew;
use listener::Listener;
use logger::Logger;
use shared::Shared;
use sockets::{bind, capacity};

pub use files::keys;
pub use notice::{greet, notice};
pub use signals::Signals;

/// A server that is bound and ready to run.
pub struct Server {
    config: Config,
    listen: SocketAddr,
    admin: Option<SocketAddr>,
    max_connections: usize,
    /// What was read for `--users` or `--secret`.
    credentials: String,
    shared: Arc<Shared>,
    listener: Listener,
    sweeper: JoinHandle<()>,
    logger: Option<(Arc<Logger>, JoinHandle<()>)>,
}

impl Server {
    /// Reads the credentials, binds the sockets and starts the threads.
    ///
    /// # Errors
    ///
    /// A sentence that says what is lacking, and why.
    pub fn start(config: Config, signals: Signals) -> Result<Self, String> {
        begin_notices(&config);
        let (store, first) = stores::open(&config)?;
        Self::start_with(config, signals, store, &Clock::starting_at(first))
    }

    /// As [`Server::start`], over a store of the caller's.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn start_over(config: Config, signals: Signals, store: Arc<dyn Store>) -> Result<Self, String> {
        begin_notices(&config);
        Self::start_with(config, signals, store, &Clock::starting_at(Timestamp::BEGINNING))
    }

    fn start_with(
        config: Config,
        signals: Signals,
        store: Arc<dyn Store>,
        clock: &Clock,
    ) -> Result<Self, String> {
        let (credentials, said) = files::load(&config.credentials)?;
        let public = bind(config.listen, "--listen")?;
        let admin = config.admin.map(|admin| bind(admin, "--admin")).transpose()?;
        let address = |sockets: &Vec<TcpListener>| sockets[0].local_addr().map_err(|error| error.to_string());
        let listen = address(&public)?;
        let admin_address = admin.as_ref().map(address).transpose()?;
        let config = Config { listen, ..config };
        let capacity = capacity(&config);
        let crew = Crew::start(&config, store, credentials, capacity, clock)?;
        let public = public.into_iter().map(|socket| (Side::Public, socket));
        let admin = admin.into_iter().flatten().map(|socket| (Side::Admin, socket));
        let shared = Arc::clone(&crew.links.shared);
        let listener = Listener::new(public.chain(admin).collect(), signals, crew.links)
            .map_err(|error| format!("cannot wait for connections: {error}"))?;
        Ok(Self {
            listen,
            admin: admin_address,
            max_connections: capacity.public,
            credentials: said,
            shared,
            listener,
            sweeper: crew.sweeper,
            logger: crew.logger,
            config,
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Where operators connect.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What is said at the start, in one line.
    pub fn greeting(&self) -> String {
        let Config { limit, lease, workers, .. } = &self.config;
        let admin = self.admin.map_or("no admin".into(), |admin| format!("admin on http://{admin}"));
        let (version, listen, credentials) = (env!("CARGO_PKG_VERSION"), self.listen, &self.credentials);
        format!(
            "streamer {version} listens on http://{listen} ({admin}): limit {limit}, lease {lease}, workers {workers}, \
             store {}, connections {}; {credentials}",
            self.shared.store.describe(),
            self.max_connections
        )
    }

    /// Serves until it is told to stop, and then at most `--grace`. Returns the exit code: 0, or what a second signal
    /// makes it.
    pub fn run(self) -> u8 {
        let Self { config, listener, sweeper, logger, .. } = self;
        let [drain, grace] = [config.drain, config.grace].map(|time| Duration::from_millis(time.millis()));
        let second = listener.run(drain, grace);
        if let Some(signal) = second {
            return 128 + signal;
        }
        notice("stopped");
        sweeper.thread().unpark();
        if let Some((logger, thread)) = logger {
            logger.stop();
            join_for(thread, Duration::from_secs(1));
        }
        0
    }
}

/// Chooses how notices are written, and gives the first.
fn begin_notices(config: &Config) {
    if config.log == LogFormat::Json {
        notice::set_format(log::Format::Json);
    }
    if !config.endpoint.names_id() {
        notice("--endpoint has no {id}, so that it sends the players of all videos to one place");
    }
}

/// Waits for a thread, but not for ever: a log that is not read must not keep the program.
fn join_for(thread: JoinHandle<()>, most: Duration) {
    let until = Instant::now() + most;
    while !thread.is_finished() && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
    if thread.is_finished() {
        let _ = thread.join();
    }
}
