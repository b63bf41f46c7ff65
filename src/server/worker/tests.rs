//! A worker whose turns are made by hand, so that something can go wrong between them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::*;
use crate::app::auth::Mode;
use crate::app::site::Site;
use crate::config::Config;
use crate::poller::Registry;
use crate::server::clock::Clock;
use crate::server::shared::Newcomer;
use crate::store::memory::Memory;
use crate::store::{Census, Session, Store, Swept, Ticket};
use crate::streams::account::Policy;
use crate::streams::batch::Batch;
use crate::time::Now;

struct Bench {
    worker: Worker,
    listener: TcpListener,
}

impl Bench {
    fn new() -> Self {
        Self::over(Arc::new(Memory::new(Policy::default())))
    }

    fn over(store: Arc<dyn Store>) -> Self {
        let threads = 1 + Station::COUNT;
        let site = Site::new(Config::default(), store, Mode::Open.into(), None, threads, Now::default());
        let (inboxes, mut wake_ups): (Vec<_>, Vec<_>) = Shared::inboxes(1, 9, 9).unwrap().into_iter().unzip();
        let shared = Shared {
            site: Arc::new(site),
            clock: Clock::starting_at(Timestamp::BEGINNING),
            inboxes: inboxes.into(),
            log: None,
            working: AtomicUsize::new(1),
        };
        let worker = Worker::new(Arc::new(shared), 0, wake_ups.remove(0)).unwrap();
        Self { worker, listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    fn counted(&self, counter: Counter) -> u64 {
        self.worker.shared.site.sum().total(counter)
    }

    /// A client whose connection is in the worker's inbox.
    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (stream, peer) = self.listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        self.worker.inbox().open.fetch_add(1, Relaxed);
        self.worker.inbox().leave(Newcomer { stream, peer, side: Side::Public });
        client
    }

    /// Does something that concerns all connections, and panics.
    fn panic(&mut self, work: impl FnOnce(&mut Worker)) {
        assert!(catch_unwind(AssertUnwindSafe(|| work(&mut self.worker))).is_err());
        self.worker.recover();
    }

    /// Makes turns until something holds.
    fn until(&mut self, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            self.worker.turn(&mut Vec::new());
        }
    }

    /// Makes turns until the client has a response.
    fn serve(&mut self, mut client: &TcpStream) {
        client.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let bytes_sent = |bench: &Self| bench.counted(Counter::Sent);
        let before = bytes_sent(self);
        self.until(|bench| bytes_sent(bench) > before);
        is_ok(client);
    }
}

#[track_caller]
fn is_ok(mut client: &TcpStream) {
    let mut bytes = [0; 1000];
    let read = client.read(&mut bytes).unwrap();
    assert!(bytes[..read].starts_with(b"HTTP/1.1 200 OK\r\n"));
}

/// A store that carries nothing out, and tells of every batch for ever.
#[derive(Default)]
struct Slow {
    has_news: AtomicBool,
    panics: AtomicBool,
}

struct SlowSession(Arc<Slow>, Vec<Ticket>);

impl Store for Slow {
    fn session(self: Arc<Self>, _: Waker) -> std::io::Result<Box<dyn Session>> {
        Ok(Box::new(SlowSession(self, Vec::new())))
    }

    fn sweep(&self, _: Timestamp) -> Swept {
        Swept::default()
    }

    fn census(&self) -> Option<Census> {
        None
    }

    fn describe(&self) -> String {
        "slow".into()
    }
}

impl Session for SlowSession {
    fn submit(&mut self, _: Timestamp, ticket: Ticket, batch: &mut Batch, _: &mut Registry) {
        batch.entries.iter_mut().for_each(|entry| entry.waits = true);
        self.1.push(ticket);
    }

    fn complete(&mut self, _: Timestamp, _: &mut Registry) -> Option<Ticket> {
        assert!(!self.0.panics.load(Relaxed), "this panic is part of the test");
        self.0.has_news.load(Relaxed).then(|| self.1.pop())?
    }

    fn resume(&mut self, _: Timestamp, _: Ticket, batch: &mut Batch, _: &mut Registry) {
        batch.give_up();
    }
}

/// Two clients whose commands are parked.
fn parked(bench: &mut Bench) -> [TcpStream; 2] {
    let mut clients = [(); 2].map(|()| bench.client());
    bench.until(|bench| bench.worker.connections.slab.handles().count() == 2);
    for client in &mut clients {
        client.write_all(b"GET /?id=V HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YTph\r\n\r\n").unwrap();
    }
    bench
        .until(|bench| bench.worker.parking.len() > 0 && bench.worker.connections.deadlines.next().is_none());
    clients
}

#[test]
fn after_a_panic_that_concerns_all_the_connections_are_closed_and_those_that_wait_are_served() {
    let mut bench = Bench::new();
    let [idle, mut partial, mut read] = [(); 3].map(|()| bench.client());
    bench.serve(&idle);
    partial.write_all(b"GET / HT").unwrap();
    bench.serve(&read);
    let waiting = bench.client();
    read.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    bench.panic(|worker| {
        let mut events = Vec::new();
        worker.wait(&mut events);
        worker.wake_ups.clear();
        worker.read_all(&events);
        panic!("this panic is part of the test");
    });
    for mut client in [idle, partial, read] {
        // The end, or a reset for what was not read.
        assert!(!matches!(client.read(&mut [0]), Ok(1..)));
    }
    bench.serve(&waiting);
    bench.serve(&bench.client());
    assert_eq!([Counter::Panics, Counter::Closed].map(|counter| bench.counted(counter)), [1, 3]);
    assert_eq!(bench.worker.inbox().open.load(Relaxed), 2);
}

#[test]
fn a_panic_that_concerns_all_costs_what_is_parked_and_news_of_it_go_nowhere() {
    let store = Arc::<Slow>::default();
    let mut bench = Bench::over(Arc::clone(&store) as _);
    let clients = parked(&mut bench);
    let handle = bench.worker.connections.slab.handles().next().unwrap();
    // Bytes to write that are not there.
    bench.worker.output.writes.push((handle, 0..usize::MAX));
    bench.panic(Worker::write_all);
    assert_eq!(bench.worker.parking.len(), 0);
    for mut client in clients {
        assert!(!matches!(client.read(&mut [0]), Ok(1..)));
    }
    store.has_news.store(true, Relaxed);
    bench.serve(&bench.client());
    assert_eq!(bench.counted(Counter::Panics), 1);
}

#[test]
fn a_panic_of_the_session_costs_what_waits_for_it() {
    let store = Arc::<Slow>::default();
    let mut bench = Bench::over(Arc::clone(&store) as _);
    let clients = parked(&mut bench);
    store.panics.store(true, Relaxed);
    bench.worker.complete();
    for mut client in clients {
        let mut bytes = [0; 1000];
        let read = client.read(&mut bytes).unwrap();
        assert!(bytes[..read].starts_with(b"HTTP/1.1 503 "));
    }
    store.panics.store(false, Relaxed);
    bench.serve(&bench.client());
}
