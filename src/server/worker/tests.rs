//! A worker whose turns are made by hand, so that something can go wrong between them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::Receiver;

use super::*;
use crate::app::Settings;
use crate::app::auth::Credentials;
use crate::app::counters::Sum;
use crate::codec::template::Template;
use crate::server::mailbox::Mailbox;
use crate::server::shared::{Capacity, Message, Newcomer, Question, Questions};
use crate::store::memory::Memory;
use crate::store::{Census, Registry, Session, Store, Submitted, Swept};
use crate::streams::account::{Policy, WhenFull};
use crate::streams::batch::Batch;

struct Bench {
    worker: Worker,
    listener: TcpListener,
    counters: Arc<Counters>,
    /// What the observer would be asked.
    asked: Receiver<Question>,
}

impl Bench {
    fn new() -> Self {
        Self::over(Arc::new(Memory::new(Policy::default())))
    }

    fn over(store: Arc<dyn Store>) -> Self {
        let settings = Arc::new(Settings {
            limit: 3,
            lease: Millis::from_secs(90),
            when_full: WhenFull::Refuse,
            endpoint: Template::default(),
            cors: None,
            proxies: Default::default(),
            log: None,
            keep_recent: false,
        });
        let capacity = Capacity { public: 9, admin: 9, refused: 9 };
        let ((questions, asked), turned_away) = (Questions::new(), Mailbox::new().unwrap().0);
        let of = (Arc::clone(&settings), questions, Credentials::Open, capacity, turned_away);
        let shared = Arc::new(Shared::new(store, of.0, of.1, of.2, of.3, of.4, 1));
        let (inbox, wake_ups) = Inbox::new().unwrap();
        let (inbox, counters) = (Arc::new(inbox), Arc::<Counters>::default());
        let app = App::new(
            settings,
            Arc::new(Credentials::Open),
            Arc::clone(&shared) as _,
            Arc::clone(&counters),
            Arc::default(),
            Arc::default(),
        );
        let links = Links {
            number: 0,
            shared,
            inboxes: [Arc::clone(&inbox)].into(),
            inbox,
            wake_ups,
            counters: Arc::clone(&counters),
            logger: None,
            grace: Millis::ZERO,
        };
        let worker =
            Worker::new(links, app, Clock::starting_at(Timestamp::BEGINNING), Millis::from_secs(75)).unwrap();
        Self { worker, listener: TcpListener::bind("127.0.0.1:0").unwrap(), counters, asked }
    }

    /// A client whose connection is in the worker's inbox.
    fn client(&self) -> TcpStream {
        self.client_of(Side::Public)
    }

    fn client_of(&self, side: Side) -> TcpStream {
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (stream, peer) = self.listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        self.worker.links.shared.open[side as usize].fetch_add(1, Relaxed);
        self.worker.links.inbox.leave(Message::Serve(Newcomer { stream, peer, side }));
        client
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
        let bytes_sent = |bench: &Self| Sum::from_iter([&*bench.counters]).total(Counter::Sent);
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

/// A store that carries nothing out. It gives a batch of two back as if the first were done, when it is told to.
#[derive(Default)]
struct Slow {
    has_news: AtomicBool,
    panics: AtomicBool,
    /// How many batches it has.
    batches: AtomicUsize,
}

struct SlowSession(Arc<Slow>, Option<Batch>);

impl Store for Slow {
    fn session(self: Arc<Self>, _: Waker) -> std::io::Result<Box<dyn Session>> {
        Ok(Box::new(SlowSession(self, None)))
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
    fn submit(&mut self, _: Timestamp, batch: &mut Batch, _: &mut dyn Registry) -> Submitted {
        self.take_back(std::mem::take(batch));
        Submitted::Parked
    }

    fn complete(&mut self, _: Timestamp, _: &mut dyn Registry) -> Option<Batch> {
        assert!(!self.0.panics.load(Relaxed), "this panic is part of the test");
        self.0.has_news.swap(false, Relaxed).then(|| {
            self.0.batches.fetch_sub(1, Relaxed);
            let mut batch = self.1.take().unwrap();
            batch.awaited = vec![false, true];
            batch
        })
    }

    fn take_back(&mut self, batch: Batch) {
        self.0.batches.fetch_add(1, Relaxed);
        self.1 = Some(batch);
    }
}

/// Two clients whose commands are parked.
fn parked(bench: &mut Bench, store: &Slow) -> [TcpStream; 2] {
    let mut clients = [(); 2].map(|()| bench.client());
    bench.until(|bench| bench.worker.connections.slab.handles().count() == 2);
    for client in &mut clients {
        client.write_all(b"GET /?id=V HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YTph\r\n\r\n").unwrap();
    }
    bench.until(|_| store.batches.load(Relaxed) == 1);
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
    bench.worker.contain_all(|worker| {
        let mut events = Vec::new();
        worker.wait(&mut events);
        worker.links.wake_ups.clear();
        worker.read_all(&events);
        panic!("this panic is part of the test");
    });
    for mut client in [idle, partial, read] {
        // The end, or a reset for what was not read.
        assert!(!matches!(client.read(&mut [0]), Ok(1..)));
    }
    bench.serve(&waiting);
    bench.serve(&bench.client());
    let counted = Sum::from_iter([&*bench.counters]);
    assert_eq!([Counter::Panics, Counter::Closed].map(|counter| counted.total(counter)), [1, 3]);
    assert_eq!(bench.worker.links.shared.open[Side::Public as usize].load(Relaxed), 2);
}

#[test]
fn a_batch_that_is_shown_in_part_goes_back_although_the_worker_panics() {
    let store = Arc::<Slow>::default();
    let mut bench = Bench::over(Arc::clone(&store) as _);
    let clients = parked(&mut bench, &store);
    let handle = bench.worker.connections.slab.handles().next().unwrap();
    // Bytes to write that are not there.
    bench.worker.output.writes.push((handle, 0..usize::MAX));
    store.has_news.store(true, Relaxed);
    bench.worker.contain_all(Worker::complete);
    assert_eq!((store.batches.load(Relaxed), bench.worker.engine.submitted()), (1, 0));
    for mut client in clients {
        assert!(!matches!(client.read(&mut [0]), Ok(1..)));
    }
    // It comes back once more, and goes nowhere.
    store.has_news.store(true, Relaxed);
    bench.serve(&bench.client());
    assert_eq!(Sum::from_iter([&*bench.counters]).total(Counter::Panics), 1);
}

#[test]
fn a_panic_of_the_session_costs_what_waits_for_it_and_not_what_the_observer_is_asked() {
    let store = Arc::<Slow>::default();
    let mut bench = Bench::over(Arc::clone(&store) as _);
    let clients = parked(&mut bench, &store);
    let mut operator = bench.client_of(Side::Admin);
    bench.until(|bench| bench.worker.connections.slab.handles().count() == 3);
    operator.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    bench.until(|bench| bench.worker.engine.ticket() == 2);
    store.panics.store(true, Relaxed);
    bench.worker.complete();
    for mut client in clients {
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    store.panics.store(false, Relaxed);
    let Question { ticket, inbox, .. } = bench.asked.try_recv().unwrap();
    inbox.leave(Message::Observed { ticket, page: Some(b"page"[..].into()) });
    bench.worker.turn(&mut Vec::new());
    is_ok(&operator);
}
