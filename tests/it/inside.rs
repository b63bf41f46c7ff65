//! A server inside this process, over an engine of the test's own.

use core::net::SocketAddr;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::Waker;
use std::thread::{self, JoinHandle};

use streamer::config;
use streamer::poller::Registry;
use streamer::server::{Server, Signals};
use streamer::store::memory::Memory;
use streamer::store::{Census, Session, Store, Swept, Ticket};
use streamer::streams::account::Policy;
use streamer::streams::batch::Batch;
use streamer::time::{Millis, Timestamp};

use crate::server::Client;

/// A server inside this process. It is told to stop when dropped.
pub struct InProcess {
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pipe: UnixStream,
    thread: Option<JoinHandle<u8>>,
}

impl InProcess {
    /// Starts it over a store of the test's own.
    pub fn start(flags: &[&str], store: impl Store + 'static) -> Self {
        let args = [&["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"], flags].concat();
        let Ok(config::Invocation::Serve(config)) =
            config::parse(args.iter(), [("", ""); 0].into_iter(), 1, Vec::new)
        else {
            panic!("the flags are good");
        };
        let (pipe, signals) = UnixStream::pair().unwrap();
        let server =
            Server::start_over(*config, Signals::of_pipe(signals).unwrap(), Arc::new(store)).unwrap();
        let (listen, admin) = (server.address(), server.admin_address().unwrap());
        let thread = Some(thread::spawn(|| server.run()));
        Self { listen, admin, pipe, thread }
    }

    /// What `/metrics` says of one sample.
    pub fn metric(&self, sample: &str) -> f64 {
        let body = Client::connect(self.admin).ask("GET /metrics", &[], "").body;
        body.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')).unwrap().parse().unwrap()
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        const SIGTERM: u8 = 15;
        self.pipe.write_all(&[SIGTERM]).unwrap();
        let code = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(code, Some(Ok(0))), "{code:?}");
    }
}

/// Streams in memory, as the program has them.
pub fn memory() -> Memory {
    Memory::new(Policy::new(Millis::from_secs(90)))
}

/// Streams in memory, before which something happens to each batch.
pub struct Before(Arc<Memory>, fn(&Batch));

impl Before {
    pub fn new(before: fn(&Batch)) -> Self {
        Self(Arc::new(memory()), before)
    }
}

impl Store for Before {
    fn session(self: Arc<Self>, _waker: Waker) -> io::Result<Box<dyn Session>> {
        Ok(Box::new(Self(Arc::clone(&self.0), self.1)))
    }

    fn sweep(&self, now: Timestamp) -> Swept {
        self.0.sweep(now)
    }

    fn census(&self) -> Option<Census> {
        self.0.census()
    }

    fn describe(&self) -> String {
        "memory, watched".into()
    }
}

impl Session for Before {
    fn submit(&mut self, now: Timestamp, _: Ticket, batch: &mut Batch, _: &mut Registry) {
        (self.1)(batch);
        self.0.execute(now, batch);
    }
}
