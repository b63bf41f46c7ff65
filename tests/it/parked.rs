//! A slow engine: what a worker does while its turns are parked.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use streamer::store::memory::Memory;
use streamer::store::{Census, Registry, Session, Store, Submitted, Swept};
use streamer::streams::batch::Batch;
use streamer::time::Timestamp;

use crate::inside::{InProcess, memory};
use crate::server::{Client, basic, eventually, request};

/// Streams in memory behind a barrier: each batch is parked until the test opens it.
struct Barrier {
    memory: Arc<Memory>,
    is_open: AtomicBool,
    /// Whether it is open to questions only.
    lets_questions_pass: AtomicBool,
    /// How many batches have come.
    submitted: AtomicUsize,
    /// Held by the test to keep a worker at its turn, so that all that comes meanwhile is in the next one.
    turn: Mutex<()>,
    /// Whether the session panics at the next batch, which it has taken already.
    panics: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

struct Behind {
    barrier: Arc<Barrier>,
    parked: VecDeque<Batch>,
    /// The batch at which it has panicked.
    odd: Option<Batch>,
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
struct Shut(Arc<Barrier>);

fn barrier() -> (Shut, Key) {
    let (is_open, lets_questions_pass, submitted) = Default::default();
    let (turn, panics, wakers) = (Mutex::default(), AtomicBool::new(false), Mutex::default());
    let memory = Arc::new(memory());
    let barrier = Arc::new(Barrier { memory, is_open, lets_questions_pass, submitted, turn, panics, wakers });
    (Shut(Arc::clone(&barrier)), Key(barrier))
}

impl Store for Shut {
    fn session(self: Arc<Self>, waker: Waker) -> io::Result<Box<dyn Session>> {
        self.0.wakers.lock().unwrap().push(waker);
        Ok(Box::new(Behind { barrier: Arc::clone(&self.0), parked: VecDeque::new(), odd: None }))
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
    fn submit(&mut self, _now: Timestamp, batch: &mut Batch, _registry: &mut dyn Registry) -> Submitted {
        batch.awaited.resize(batch.entries.len(), true);
        self.parked.push_back(std::mem::take(batch));
        self.barrier.submitted.fetch_add(1, SeqCst);
        drop(self.barrier.turn.lock());
        if self.barrier.panics.swap(false, SeqCst) {
            self.odd = self.parked.pop_back();
            panic!("this panic is part of the test");
        }
        Submitted::Parked
    }

    fn complete(&mut self, now: Timestamp, _registry: &mut dyn Registry) -> Option<Batch> {
        if !self.barrier.is_open.load(SeqCst) {
            return self.questions(now);
        }
        // The last comes first: an engine may answer in any order.
        let mut batch = self.odd.take().or_else(|| self.parked.pop_back())?;
        self.barrier.memory.execute(now, &mut batch);
        batch.awaited.clear();
        Some(batch)
    }

    fn take_back(&mut self, batch: Batch) {
        self.parked.push_back(batch);
    }
}

impl Behind {
    /// The first batch with a question that was not answered, if questions may pass.
    fn questions(&mut self, now: Timestamp) -> Option<Batch> {
        let asks =
            |batch: &Batch, i: usize| batch.awaited[i] && batch.entries[i].command.action.is_question();
        let any = |batch: &Batch| (0..batch.entries.len()).any(|i| asks(batch, i));
        let at =
            self.parked.iter().position(any).filter(|_| self.barrier.lets_questions_pass.load(SeqCst))?;
        let mut batch = self.parked.remove(at)?;
        self.barrier.memory.execute_questions(now, &mut batch);
        for i in 0..batch.entries.len() {
            batch.awaited[i] &= !batch.entries[i].command.action.is_question();
        }
        if !batch.awaited.contains(&true) {
            batch.awaited.clear();
        }
        Some(batch)
    }
}

fn start() -> (InProcess, Key) {
    let (store, key) = barrier();
    (InProcess::start(&["--log", "off", "--workers", "1"], store), key)
}

fn parked(server: &InProcess) -> usize {
    server.metric("streamer_parked_turns") as usize
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
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(server.listen)).collect();
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
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(server.listen)).collect();
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
    lost.closed();
    let mut next = Client::connect(server.listen);
    call(&mut next, "POST /?id=W");
    eventually("the turn is parked", || parked(&server) == 1);
    key.set(true);
    assert_eq!(next.answer().field("location"), Some("/?id=W"));
    eventually("none is parked", || parked(&server) == 0);
    assert_eq!(
        server.metric("streamer_panics_total") as u64,
        2,
        "at the batch, and at a response without one"
    );
    key.set(false);
    call(&mut next, "POST /?id=X");
    eventually("the turn is parked", || parked(&server) == 1);
    key.set(true);
    assert_eq!(next.answer().field("location"), Some("/?id=X"));
}
