//! Sockets, threads, signals, files and the clock: everything that the other rooms may not touch.
//!
//! ```text
//! listener ──accept──▶ inbox ──▶ worker ⟲ turn ──lines──▶ logger
//!     ▲                            │
//!  signals                       store ◀── sweeper
//! ```
//!
//! *Invariant:* threads are made here alone, and their number does not depend on the load; all but that of a reload live as
//! long as the server.

mod listener;

mod worker;

mod slab;

mod connection;

mod deadlines;

pub mod poller;

mod shared;

mod logger;

mod sweeper;

mod observer;

mod clock;

mod files;

use core::net::{Ipv6Addr, SocketAddr};
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::app::auth::Credentials;
use crate::app::counters::Counters;
use crate::app::recent::Recent;
use crate::app::usage::Usage;
use crate::app::{App, Settings, Side, log};
use crate::config::{Config, LogFormat, Mode, StoreKind};
use crate::store::Store;
use crate::store::memory::Memory;
use crate::streams::account::Policy;
use crate::sys;

use clock::Clock;
use listener::Listener;
use logger::Logger;
use observer::{Observer, Questions};
use shared::{Capacity, Inbox, Shared};
use worker::{Links, Worker};

pub use files::keys;

/// Descriptors that are no connections: standard streams, listeners, signals, files; and a few for each worker.
const RESERVED_FILES: usize = 16;
const FILES_PER_WORKER: usize = 4;
/// How many connections the admin listener may have, beside `--max-connections`.
const MAX_ADMIN: usize = 64;
/// How many refused connections may linger until their clients have read why.
const MAX_REFUSED: usize = 256;

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

/// How a server is told to stop, or to read its files again, by anybody who has the other end of its pipe: a byte with
/// the number of the signal.
pub struct Signals(UnixStream);

impl Signals {
    /// From SIGTERM, SIGINT and SIGHUP of this process.
    ///
    /// # Errors
    ///
    /// When there are no more descriptors.
    pub fn of_process() -> io::Result<Self> {
        let (signals, pipe) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        sys::catch_signals(&[sys::SIGTERM, sys::SIGINT, sys::SIGHUP], pipe.into());
        Ok(Self(signals))
    }

    /// From whoever writes to the other end of this pair: for a server inside another program.
    pub fn of_pipe(pipe: UnixStream) -> Self {
        Self(pipe)
    }
}

impl Server {
    /// Reads the credentials, binds the sockets and starts the threads.
    ///
    /// # Errors
    ///
    /// A sentence that says what could not be had, and why.
    pub fn start(config: Config, signals: Signals) -> Result<Self, String> {
        let clock = Clock::starting_at(clock::FIRST);
        let Config { lease, when_full, .. } = config;
        let StoreKind::Memory = config.store;
        let adopt_until = clock::FIRST + lease;
        let store = Memory::new(Policy { lease, when_full, one_per_device: false, adopt_until });
        Self::start_with(config, signals, Arc::new(store), &clock)
    }

    /// As [`Server::start`], over a store of the caller's.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn start_over(config: Config, signals: Signals, store: Arc<dyn Store>) -> Result<Self, String> {
        Self::start_with(config, signals, store, &Clock::starting_at(clock::FIRST))
    }

    fn start_with(
        config: Config,
        signals: Signals,
        store: Arc<dyn Store>,
        clock: &Clock,
    ) -> Result<Self, String> {
        if !config.endpoint.names_id() {
            notice("--endpoint has no {id}, so that it sends the players of all videos to one place");
        }
        let (credentials, said) = files::load(&config.credentials)?;
        let public = bind(config.listen, "--listen")?;
        let admin = config.admin.map(|admin| bind(admin, "--admin")).transpose()?;
        let address = |sockets: &Vec<TcpListener>| sockets[0].local_addr().map_err(|error| error.to_string());
        let listen = address(&public)?;
        let admin_address = admin.as_ref().map(address).transpose()?;
        let capacity = capacity(&config);
        let (shared, crew) = Crew::new(&config, store, credentials, capacity, clock)?;
        let public = public.into_iter().map(|socket| (Side::Public, socket));
        let admin = admin.into_iter().flatten().map(|socket| (Side::Admin, socket));
        let listener = Listener::new(
            public.chain(admin).collect(),
            signals.0,
            Arc::clone(&shared),
            crew.inboxes,
            crew.listener_counters,
        );
        let listener = listener.map_err(|error| format!("cannot wait for connections: {error}"))?;
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
             store memory, connections {}; {credentials}",
            self.max_connections
        )
    }

    /// Serves until it is told to stop, and then at most `--grace`. Returns the exit code: 0, or what a second signal
    /// makes it.
    pub fn run(self) -> u8 {
        let Self { config, shared, listener, sweeper, logger, .. } = self;
        let grace = std::time::Duration::from_millis(config.grace.millis());
        let second = listener.run(grace, |reading| reload(&config.credentials, &shared, reading));
        if let Some(signal) = second {
            return 128 + signal;
        }
        sweeper.thread().unpark();
        if let Some((logger, thread)) = logger {
            logger.stop();
            join_for(thread, std::time::Duration::from_secs(1));
        }
        0
    }
}

/// What the threads are made of, and the threads themselves.
struct Crew {
    inboxes: Vec<Arc<Inbox>>,
    listener_counters: Arc<Counters>,
    sweeper: JoinHandle<()>,
    logger: Option<(Arc<Logger>, JoinHandle<()>)>,
}

impl Crew {
    fn new(
        config: &Config,
        store: Arc<dyn Store>,
        credentials: Credentials,
        capacity: Capacity,
        clock: &Clock,
    ) -> Result<(Arc<Shared>, Self), String> {
        let failed = |error: io::Error| format!("cannot start a thread: {error}");
        let settings = Arc::new(settings(config));
        let (questions, asked) = Questions::new();
        let shared = Shared::new(store, settings, questions, credentials, capacity, config.workers);
        let shared = Arc::new(shared);
        let of_workers: Vec<Arc<Counters>> = (0..config.workers).map(|_| Arc::default()).collect();
        let [of_listener, of_sweeper, of_logger]: [Arc<Counters>; 3] = Default::default();
        let recent: Vec<Arc<Recent>> = (0..config.workers).map(|_| Arc::default()).collect();
        let usage = Arc::<Usage>::default();
        let logger = shared.settings.log.map(|format| start_logger(format, config.workers, &of_logger));
        let logger = logger.transpose().map_err(failed)?;
        let mut inboxes = Vec::new();
        for number in 0..config.workers {
            let (inbox, wake_ups) = Inbox::new().map_err(failed)?;
            let inbox = Arc::new(inbox);
            inboxes.push(Arc::clone(&inbox));
            let (counters, recent) = (Arc::clone(&of_workers[number]), Arc::clone(&recent[number]));
            let app = App::new(
                Arc::clone(&shared.settings),
                shared.credentials().1,
                Arc::clone(&shared) as _,
                Arc::clone(&counters),
                recent,
                Arc::clone(&usage),
            );
            let logger = logger.as_ref().map(|(logger, _)| Arc::clone(logger));
            let (shared, grace) = (Arc::clone(&shared), config.grace);
            let links = Links { number, shared, inbox, wake_ups, counters, logger, grace };
            let worker = Worker::new(links, app, clock.clone(), config.idle).map_err(failed)?;
            spawn(&format!("worker-{number}"), move || worker.run()).map_err(failed)?;
        }
        let others = [&of_listener, &of_sweeper, &of_logger];
        let observer = Observer {
            shared: Arc::clone(&shared),
            counters: of_workers.iter().chain(others).cloned().collect(),
            recent,
            usage,
            inboxes: inboxes.clone(),
            clock: clock.clone(),
            max_connections: capacity.public,
            started: Instant::now(),
            start_time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        };
        spawn("observer", move || observer.run(&asked)).map_err(failed)?;
        let sweeper = {
            let (shared, counters, clock) = (Arc::clone(&shared), of_sweeper, clock.clone());
            let inboxes = inboxes.clone();
            spawn("sweeper", move || sweeper::run(&shared, &inboxes, &counters, clock)).map_err(failed)?
        };
        Ok((shared, Self { inboxes, listener_counters: of_listener, sweeper, logger }))
    }
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
    let logger = Arc::new(Logger::new(format, workers, Arc::clone(counters)));
    let writer = Arc::clone(&logger);
    Ok((logger, spawn("logger", move || writer.run(io::stdout()))?))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(work)
}

/// The sockets of an address: two for `[::]` on a system that keeps IPv4 apart from IPv6, else one.
fn bind(address: SocketAddr, flag: &str) -> Result<Vec<TcpListener>, String> {
    let every_ipv4 = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let bound = match TcpListener::bind(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && lacks_ipv6(&error) => {
            TcpListener::bind(every_ipv4(address.port()))
        }
        bound => bound,
    };
    let first = bound.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "; stop whatever listens there or choose another port",
            io::ErrorKind::PermissionDenied => "; ports below 1024 take a privilege, choose another one",
            _ => "",
        };
        format!("{flag} {address}: {error}{hint}")
    })?;
    let port = first.local_addr().map_err(|error| format!("{flag} {address}: {error}"))?.port();
    let mut sockets = vec![first];
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // Where the first one takes IPv4 too, as on Linux unless net.ipv6.bindv6only is set, this fails.
        sockets.extend(TcpListener::bind(every_ipv4(port)));
    }
    Ok(sockets)
}

/// Whether the system has no IPv6, or has it switched off.
fn lacks_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = if cfg!(target_os = "linux") { 97 } else { 47 };
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// `--max-connections`, or what the system has descriptors for.
fn capacity(config: &Config) -> Capacity {
    let files = sys::raise_file_limit().map_or(usize::MAX, |files| files as usize);
    let spare = files.saturating_sub(RESERVED_FILES + FILES_PER_WORKER * config.workers);
    let (admin, refused) = ((spare / 8).clamp(1, MAX_ADMIN), (spare / 8).min(MAX_REFUSED));
    let public = spare.saturating_sub(admin + refused).max(1);
    if public < config.max_connections {
        notice(&format!(
            "{files} open files are allowed, so there can be {public} connections and not {}; raise it with `ulimit -n` \
             or LimitNOFILE=",
            config.max_connections
        ));
    }
    Capacity { public: public.min(config.max_connections), admin, refused }
}

/// Reads the files again, on a thread of its own: a million lines take a second, and connections go on coming.
fn reload(mode: &Mode, shared: &Arc<Shared>, reading: usize) {
    let (mode, shared) = (mode.clone(), Arc::clone(shared));
    let work = move || match files::load(&mode) {
        Ok((credentials, said)) => {
            if shared.set_credentials(reading, credentials) {
                notice(&format!("reloaded: {said}"));
            }
        }
        Err(error) => notice(&format!("nothing reloaded: {error}")),
    };
    if let Err(error) = spawn("reload", work) {
        notice(&format!("nothing reloaded: cannot start a thread: {error}"));
    }
}

/// Waits for a thread, but not for ever: a log that nobody reads must not keep the program.
fn join_for(thread: JoinHandle<()>, most: std::time::Duration) {
    let until = Instant::now() + most;
    while !thread.is_finished() && Instant::now() < until {
        thread::sleep(std::time::Duration::from_millis(1));
    }
    if thread.is_finished() {
        let _ = thread.join();
    }
}

/// Tells the operator something, on standard error. If nobody reads that, the server has better things to do than to
/// panic, as `eprintln!` would.
pub fn notice(text: &str) {
    let _ = writeln!(io::stderr(), "streamer: {text}");
}
