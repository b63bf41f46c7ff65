//! A worker whose turns are made by hand, so that something can go wrong between them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::app::Settings;
use crate::app::auth::Credentials;
use crate::app::counters::Sum;
use crate::codec::template::Template;
use crate::server::mailbox::Mailbox;
use crate::server::shared::{Capacity, Message, Newcomer, Questions};
use crate::store::memory::Memory;
use crate::streams::account::{Policy, WhenFull};

struct Bench {
    worker: Worker,
    listener: TcpListener,
    counters: Arc<Counters>,
}

impl Bench {
    fn new() -> Self {
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
        let store = Arc::new(Memory::new(Policy::default()));
        let capacity = Capacity { public: 9, admin: 9, refused: 9 };
        let (questions, turned_away) = (Questions::new().0, Mailbox::new().unwrap().0);
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
        Self { worker, listener: TcpListener::bind("127.0.0.1:0").unwrap(), counters }
    }

    /// A client whose connection is in the worker's inbox.
    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (stream, peer) = self.listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        self.worker.links.shared.open[Side::Public as usize].fetch_add(1, Relaxed);
        self.worker.links.inbox.leave(Message::Serve(Newcomer { stream, peer, side: Side::Public }));
        client
    }

    /// Makes turns until the client has a response.
    fn serve(&mut self, mut client: &TcpStream) {
        client.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let bytes_sent = |bench: &Self| Sum::from_iter([&*bench.counters]).total(Counter::Sent);
        let before = bytes_sent(self);
        while bytes_sent(self) == before {
            self.worker.turn(&mut Vec::new());
        }
        let mut bytes = [0; 1000];
        let read = client.read(&mut bytes).unwrap();
        assert!(bytes[..read].starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
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
