//! A slow disk: what is carried out and not yet kept waits for it, and nothing else does.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use streamer::store::memory::Memory;
use streamer::store::{Census, Registry, Session, Store, Submitted, Swept};
use streamer::streams::batch::Batch;
use streamer::time::Timestamp;

use crate::inside::{InProcess, memory};
use crate::server::{Client, basic, request};

/// Streams in memory, whose changes are kept when the test says so.
struct SlowDisk {
    memory: Memory,
    pace: Arc<Pace>,
    /// Each batch waits for a word before it is carried out: so the test decides what comes into one turn.
    turns: Mutex<Option<Receiver<()>>>,
}

#[derive(Default)]
struct Pace {
    is_done: AtomicBool,
    is_kept: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

struct OnDisk {
    disk: Arc<SlowDisk>,
    turns: Receiver<()>,
    pending: VecDeque<u32>,
}

impl Store for SlowDisk {
    fn session(self: Arc<Self>, waker: Waker) -> io::Result<Box<dyn Session>> {
        *self.pace.waker.lock().unwrap() = Some(waker);
        let turns = self.turns.lock().unwrap().take().expect("there is one worker");
        Ok(Box::new(OnDisk { disk: self, turns, pending: VecDeque::new() }))
    }

    fn sweep(&self, now: Timestamp) -> Swept {
        self.memory.sweep(now)
    }

    fn census(&self) -> Option<Census> {
        self.memory.census()
    }

    fn describe(&self) -> String {
        "memory and a slow disk".into()
    }
}

impl Session for OnDisk {
    fn submit(&mut self, now: Timestamp, batch: &mut Batch, _registry: &mut dyn Registry) -> Submitted {
        // The test may be over.
        let _ = self.turns.recv();
        self.disk.memory.execute(now, batch);
        if !batch.has_state_change() {
            return Submitted::Done;
        }
        self.pending.push_back(batch.ticket);
        Submitted::Pending
    }

    fn kept(&mut self) -> Option<(u32, bool)> {
        let Pace { is_done, is_kept, .. } = &*self.disk.pace;
        is_done.load(SeqCst).then(|| self.pending.pop_front())?.map(|ticket| (ticket, is_kept.load(SeqCst)))
    }
}

/// The test's end.
struct Disk {
    server: InProcess,
    pace: Arc<Pace>,
    turns: Sender<()>,
}

impl Disk {
    fn start() -> Self {
        let (turns, receiver) = mpsc::channel();
        let pace = Arc::new(Pace::default());
        let turns_of_worker = Mutex::new(Some(receiver));
        let disk = SlowDisk { memory: memory(), pace: Arc::clone(&pace), turns: turns_of_worker };
        let server = InProcess::start(&["--log", "off", "--workers", "1"], disk);
        Self { server, pace, turns }
    }

    /// Sends each client's requests, so that all of them are in one turn.
    fn one_turn(&self, clients: &mut [Client], requests: &[&[&str]]) {
        let mut first = Client::connect(self.server.listen);
        first.send(request("GET /?id=V", &[&basic("zoe", "x")], ""));
        // It holds the worker up, or will.
        for (client, lines) in clients.iter_mut().zip(requests) {
            let all: String = lines.iter().map(|line| request(line, &[&basic("alice", "x")], "")).collect();
            client.send(all);
        }
        // One would do, and one more; but the listener may be slow to hand the connections over.
        (0..8).for_each(|_| self.turns.send(()).unwrap());
        assert_eq!(first.answer().status, 200);
    }

    fn end(&self, is_kept: bool) {
        self.pace.is_kept.store(is_kept, SeqCst);
        self.pace.is_done.store(true, SeqCst);
        self.pace.waker.lock().unwrap().as_ref().unwrap().wake_by_ref();
    }
}

/// A start, two heartbeats behind it, and a question, each on a connection of its own; and how they end.
fn check(is_kept: bool, started: u16) {
    let disk = Disk::start();
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(disk.server.listen)).collect();
    let requests: [&[&str]; 3] =
        [&["PATCH /?id=B", "POST /?id=A"], &["PATCH /?id=B"], &["GET /", "GET /?id=C"]];
    disk.one_turn(&mut clients, &requests);
    assert_eq!(clients[1].answer().status, 404);
    let list = clients[2].answer();
    assert_eq!((list.status, clients[2].answer().status), (200, 200));
    // The worker goes on meanwhile, and nothing has come on the first connection, whose requests wait together.
    assert_eq!(clients[1].ask("GET /healthz", &[], "").status, 200);
    clients[0].stream.set_nonblocking(true).unwrap();
    assert!(clients[0].stream.peek(&mut [0]).is_err());
    clients[0].stream.set_nonblocking(false).unwrap();
    disk.end(is_kept);
    assert_eq!(clients[0].answer().status, if is_kept { 404 } else { 503 });
    assert_eq!(clients[0].answer().status, started);
}

#[test]
fn a_change_is_answered_when_it_is_kept_and_others_of_its_turn_before() {
    check(true, 201);
}

#[test]
fn a_change_that_could_not_be_kept_is_answered_503() {
    check(false, 503);
}
