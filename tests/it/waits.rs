//! A slow engine: what a worker does while requests wait for it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use streamer::poller::Registry;
use streamer::store::memory::Memory;
use streamer::store::{Census, Session, Store, Swept, Ticket};
use streamer::streams::batch::{Batch, Change};
use streamer::time::{Millis, Timestamp};

use crate::inside::{InProcess, memory};
use crate::server::{Client, basic, eventually, request};

/// What an entry waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    /// To be carried out, as with an engine far away.
    Work,
    /// To be kept, as with a disk: changes alone wait.
    Disk,
}

/// Streams in memory behind a barrier: what waits does so until the test opens it.
struct Barrier {
    memory: Arc<Memory>,
    waits_for: For,
    is_open: AtomicBool,
    /// Whether it is open to questions only.
    lets_questions_pass: AtomicBool,
    /// Whether the disk says no.
    fails: AtomicBool,
    /// How many batches have come.
    submitted: AtomicUsize,
    /// Held by the test to keep a worker at its turn, so that all that comes meanwhile is in the next one.
    turn: Mutex<()>,
    /// Whether the session panics at the next batch, which it knows already.
    panics: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

struct Behind {
    barrier: Arc<Barrier>,
    /// What waits, and whether its questions have been let pass.
    parked: Vec<(Ticket, bool)>,
}

/// The test's end of a [`Barrier`].
struct Key(Arc<Barrier>);

impl Key {
    fn set(&self, is_open: bool) {
        self.0.is_open.store(is_open, SeqCst);
        self.0.wakers.lock().unwrap().iter().for_each(Waker::wake_by_ref);
    }
}

/// A [`Store`] is handed over whole, and the test keeps its key.
struct Shut(Arc<Barrier>, Millis);

fn barrier(waits_for: For, patience: Millis) -> (Shut, Key) {
    let [is_open, lets_questions_pass, fails, panics] = Default::default();
    let (submitted, turn, wakers) = (AtomicUsize::new(0), Mutex::default(), Mutex::default());
    let memory = Arc::new(memory());
    let barrier =
        Barrier { memory, waits_for, is_open, lets_questions_pass, fails, submitted, turn, panics, wakers };
    let barrier = Arc::new(barrier);
    (Shut(Arc::clone(&barrier), patience), Key(barrier))
}

impl Store for Shut {
    fn session(self: Arc<Self>, waker: Waker) -> io::Result<Box<dyn Session>> {
        self.0.wakers.lock().unwrap().push(waker);
        Ok(Box::new(Behind { barrier: Arc::clone(&self.0), parked: Vec::new() }))
    }

    fn patience(&self) -> Millis {
        self.1
    }

    fn sweep(&self, now: Timestamp) -> Swept {
        self.0.memory.sweep(now)
    }

    fn census(&self) -> Option<Census> {
        self.0.memory.census()
    }

    fn describe(&self) -> String {
        "memory behind a barrier".into()
    }
}

impl Session for Behind {
    fn submit(&mut self, now: Timestamp, ticket: Ticket, batch: &mut Batch, _: &mut Registry) {
        self.parked.push((ticket, false));
        self.barrier.submitted.fetch_add(1, SeqCst);
        drop(self.barrier.turn.lock());
        assert!(!self.barrier.panics.swap(false, SeqCst), "this panic is part of the test");
        if self.barrier.waits_for == For::Disk {
            self.barrier.memory.execute(now, batch);
        }
        for entry in &mut batch.entries {
            entry.waits = self.barrier.waits_for == For::Work || entry.outcome.change == Change::State;
        }
    }

    fn complete(&mut self, _: Timestamp, _: &mut Registry) -> Option<Ticket> {
        if self.barrier.is_open.load(SeqCst) {
            // The last comes first: an engine may answer in any order.
            return self.parked.pop().map(|(ticket, _)| ticket);
        }
        let may_pass = self.barrier.lets_questions_pass.load(SeqCst);
        let (ticket, passed) = self.parked.iter_mut().find(|(_, passed)| may_pass && !passed)?;
        *passed = true;
        Some(*ticket)
    }

    fn resume(&mut self, now: Timestamp, _: Ticket, batch: &mut Batch, _: &mut Registry) {
        let Barrier { memory, waits_for, is_open, fails, .. } = &*self.barrier;
        let is_open = is_open.load(SeqCst);
        match waits_for {
            For::Work if is_open => memory.execute(now, batch),
            For::Work => {
                let mut all = std::mem::take(&mut batch.entries);
                for entry in all.iter_mut().filter(|entry| entry.command.action.is_question()) {
                    batch.entries.push(*entry);
                    memory.execute(now, batch);
                    entry.outcome = batch.entries.remove(0).outcome;
                }
                batch.entries = all;
            }
            For::Disk if fails.load(SeqCst) => batch.give_up(),
            For::Disk => {}
        }
        for entry in &mut batch.entries {
            entry.waits &= !is_open && !entry.command.action.is_question();
        }
    }
}

fn start() -> (InProcess, Key) {
    start_waiting(For::Work, Millis::from_secs(60))
}

fn start_waiting(waits_for: For, patience: Millis) -> (InProcess, Key) {
    let (store, key) = barrier(waits_for, patience);
    (InProcess::start(&["--log", "off", "--workers", "1"], store), key)
}

fn parked(server: &InProcess) -> usize {
    server.metric("streamer_parked_turns") as usize
}

/// A client that the worker has: one that has just connected may wait for the worker's next turn but one.
fn known(server: &InProcess) -> Client {
    let mut client = Client::connect(server.listen);
    assert_eq!(client.ask("GET /healthz", &[], "").body, "ok");
    client
}

fn call(client: &mut Client, line: &str) {
    client.send(request(line, &[&basic("alice", "x")], ""));
}

#[test]
fn a_worker_goes_on_while_turns_are_parked() {
    let (server, key) = start();
    let mut slow = Client::connect(server.listen);
    call(&mut slow, "POST /?id=V");
    eventually("the turn is parked", || parked(&server) == 1);
    let mut other = Client::connect(server.listen);
    for _ in 0..3 {
        assert_eq!(other.ask("GET /healthz", &[], "").body, "ok");
        assert_eq!(other.ask("GET /nowhere", &[], "").status, 404);
        assert_eq!(Client::connect(server.admin).ask("GET /readyz", &[], "").status, 200);
    }
    key.set(true);
    assert_eq!(slow.answer().status, 201);
    assert_eq!(slow.call("alice", "PATCH /?id=V", "").status, 200);
}

#[test]
fn responses_stay_in_order_on_each_connection() {
    let (server, key) = start();
    let mut client = Client::connect(server.listen);
    let lines =
        ["GET /healthz", "POST /?id=A", "GET /healthz", "GET /?id=A", "DELETE /?id=A", "GET /nowhere"];
    let all: String = lines.iter().map(|line| request(line, &[&basic("alice", "x")], "")).collect();
    client.send(all);
    eventually("the turn is parked", || parked(&server) == 1);
    // What comes behind is not read before the responses are written.
    call(&mut client, "POST /?id=B");
    let mut last = Client::connect(server.listen);
    call(&mut last, "POST /?id=C");
    eventually("the turn is parked", || parked(&server) == 2);
    key.set(true);
    for status in [200, 201, 200, 200, 200, 404, 201] {
        assert_eq!(client.answer().status, status);
    }
    assert_eq!(last.answer().status, 201);
}

#[test]
fn what_needs_no_engine_is_answered_beside_a_parked_request_of_the_same_turn() {
    let (server, key) = start();
    let mut clients: Vec<Client> = (0..3).map(|_| known(&server)).collect();
    let turn = key.0.turn.lock().unwrap();
    call(&mut clients[0], "POST /?id=V");
    eventually("the worker is at its turn", || key.0.submitted.load(SeqCst) == 1);
    call(&mut clients[1], "POST /?id=W");
    call(&mut clients[2], "POST /?id=");
    drop(turn);
    assert_eq!(clients[2].answer().status, 400, "its user is known, and its query is wrong");
    key.set(true);
    assert_eq!((clients[0].answer().status, clients[1].answer().status), (201, 201));
}

#[test]
fn what_is_done_of_a_turn_is_answered_before_the_rest_of_it() {
    let (server, key) = start();
    let mut clients: Vec<Client> = (0..5).map(|_| known(&server)).collect();
    let turn = key.0.turn.lock().unwrap();
    call(&mut clients[0], "POST /?id=V");
    eventually("the worker is at its turn", || key.0.submitted.load(SeqCst) == 1);
    for (client, line) in clients[1..].iter_mut().zip(["POST /?id=W", "GET /?id=W", "GET /", "POST /?id="]) {
        call(client, line);
    }
    // Behind its question this connection asks for a change, and so it waits for both.
    call(&mut clients[2], "PATCH /?id=U");
    key.0.lets_questions_pass.store(true, SeqCst);
    drop(turn);
    assert_eq!((clients[3].answer().status, clients[4].answer().status), (200, 400));
    assert_eq!(clients[3].call("alice", "GET /?id=Z", "").status, 200, "it goes on");
    eventually("the rest of both turns is parked", || parked(&server) == 2);
    key.set(true);
    assert_eq!((clients[0].answer().status, clients[1].answer().status), (201, 201));
    assert_eq!((clients[2].answer().status, clients[2].answer().status), (200, 404));
    eventually("none is parked", || parked(&server) == 0);
}

#[test]
fn many_turns_may_be_parked_and_none_is_refused_for_it() {
    let (server, key) = start();
    let mut clients: Vec<Client> = (0..100)
        .map(|i| {
            let mut client = Client::connect(server.listen);
            call(&mut client, &format!("PATCH /?id=V{i}"));
            eventually("the turn is parked", || parked(&server) == i + 1);
            client
        })
        .collect();
    key.set(true);
    clients.iter_mut().for_each(|client| assert_eq!(client.answer().status, 404));
    eventually("none is parked", || parked(&server) == 0);
}

#[test]
fn a_client_that_leaves_while_its_turn_is_parked_harms_no_other() {
    let (server, key) = start();
    let mut gone = Client::connect(server.listen);
    call(&mut gone, "POST /?id=V");
    eventually("the turn is parked", || parked(&server) == 1);
    drop(gone);
    let mut next = Client::connect(server.listen);
    assert_eq!(next.ask("GET /healthz", &[], "").status, 200);
    key.set(true);
    eventually("none is parked", || parked(&server) == 0);
    assert_eq!(
        next.call("alice", "GET /?id=V", "").body,
        r#"{"canWatch":true,"endpoint":"/?id=V","count":1}"#
    );
}

#[test]
fn a_stop_waits_for_what_is_parked() {
    let (server, key) = start();
    let mut client = Client::connect(server.listen);
    call(&mut client, "POST /?id=V");
    eventually("the turn is parked", || parked(&server) == 1);
    let stopped = std::thread::spawn(move || drop(server));
    // Not before it is stopping: then it takes no further connection.
    let address = client.stream.peer_addr().unwrap();
    eventually("it is stopping", || std::net::TcpStream::connect(address).is_err());
    key.set(true);
    let response = client.answer();
    assert!(response.status == 201 && response.closes(), "{response:?}");
    stopped.join().unwrap();
}

#[test]
fn a_batch_at_which_the_session_panicked_is_not_taken_for_another() {
    let (server, key) = start();
    key.0.panics.store(true, SeqCst);
    let mut lost = Client::connect(server.listen);
    call(&mut lost, "POST /?id=V");
    assert_eq!(lost.answer().status, 503);
    let mut next = Client::connect(server.listen);
    call(&mut next, "POST /?id=W");
    eventually("the turn is parked", || parked(&server) == 1);
    // It tells of the lost one too, which nobody waits for.
    key.set(true);
    assert_eq!(next.answer().field("location"), Some("/?id=W"));
    eventually("none is parked", || parked(&server) == 0);
    assert_eq!(server.metric("streamer_panics_total") as u64, 1);
    key.set(false);
    call(&mut next, "POST /?id=X");
    eventually("the turn is parked", || parked(&server) == 1);
    key.set(true);
    assert_eq!(next.answer().field("location"), Some("/?id=X"));
}

#[test]
fn what_waits_too_long_is_given_up_whatever_the_engine_does() {
    let (server, key) = start_waiting(For::Work, Millis::from_secs(1));
    let mut client = Client::connect(server.listen);
    call(&mut client, "POST /?id=V");
    assert_eq!(client.answer().status, 503);
    eventually("none is parked", || parked(&server) == 0);
    // It tells of that one now, too late.
    key.set(true);
    assert_eq!(client.call("alice", "POST /?id=W", "").field("location"), Some("/?id=W"));
}

/// A start, two heartbeats behind it, and questions, on a connection each and all in one turn; and how the first ends.
#[track_caller]
fn check_disk(fails: bool, started: u16) {
    let (server, key) = start_waiting(For::Disk, Millis::from_secs(60));
    let mut clients: Vec<Client> = (0..4).map(|_| known(&server)).collect();
    let turn = key.0.turn.lock().unwrap();
    call(&mut clients[0], "GET /?id=V");
    eventually("the worker is at its turn", || key.0.submitted.load(SeqCst) == 1);
    for (client, lines) in clients[1..].iter_mut().zip([
        ["PATCH /?id=B", "POST /?id=A"].as_slice(),
        &["PATCH /?id=B"],
        &["GET /", "GET /?id=C"],
    ]) {
        lines.iter().for_each(|line| call(client, line));
    }
    drop(turn);
    assert_eq!((clients[0].answer().status, clients[2].answer().status), (200, 404));
    assert_eq!((clients[3].answer().status, clients[3].answer().status), (200, 200));
    // The worker goes on meanwhile, and nothing has come on the first connection, whose requests wait together.
    assert_eq!(clients[2].ask("GET /healthz", &[], "").status, 200);
    clients[1].stream.set_nonblocking(true).unwrap();
    assert!(clients[1].stream.peek(&mut [0]).is_err());
    clients[1].stream.set_nonblocking(false).unwrap();
    key.0.fails.store(fails, SeqCst);
    key.set(true);
    assert_eq!((clients[1].answer().status, clients[1].answer().status), (404, started));
}

#[test]
fn a_change_is_answered_when_it_is_kept_and_others_of_its_turn_before() {
    check_disk(false, 201);
}

#[test]
fn a_change_that_could_not_be_kept_is_answered_503() {
    check_disk(true, 503);
}
