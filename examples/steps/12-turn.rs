//! # 12. One thread, and a turn
//!
//! Two hundred slow clients this time, and bob waits for one second. (The line takes ten seconds, as before.)
//!
//! ```sh
//! cargo run -q --example drip -- 200 localhost:8000 |
//!     (read begun; curl -s -m 1 -u bob:x 'localhost:8000/?id=a' && echo || echo 'no answer')
//! ```
//!
//! Before, bob is told 503, or not even that:
//!
//! ```text before, mostly
//! {"title":"Service Unavailable","status":503}
//! ```
//!
//! ```text
//! {"canWatch":true,"endpoint":"/?id=a","count":0}
//! ```
//!
//! ## The idea
//!
//! 64 threads could wait for 64 clients. Here *one* thread waits for all, with the poller of step 10. It asks the system (on
//! Linux by epoll): "Which of these sockets has something for me?" Then it does for each of them what can be done without
//! waiting, and asks again. What it does for one connection is a **turn**.
//!
//! The parser, the rules and `answer` are the same: `parts/` has not changed. None of them ever knew how their bytes came. That
//! is what steps 3 and 8 were for.
//!
//! ## The code
//!
//! Each socket has a number, its *token*. The poller gives the token back with the event, and a map finds the connection. So
//! `main` is this loop:
//!
//! ```rust
//! // The only place where this thread waits.
//! server.poller.wait(&mut events, Some(TICK))?;
//! let (now, stops) = (Instant::now(), signals.take().next().is_some());
//! for event in &events {
//!     server.turn(event.token, &users, now);
//! }
//! server.accept(now);
//! ```
//!
//! In the steps before, a thread's stack remembered how far a conversation had come. Now a value has to:
//!
//! ```rust
//! struct Connection {
//!     stream: TcpStream,
//!     input: Vec<u8>,
//!     /// What is answered and not sent yet.
//!     output: Vec<u8>,
//! ```
//!
//! Read `Connection::turn` beside `serve` of step 4: it is the same loop. Only its ends differ: where `serve` waited, `turn`
//! returns, and the same place is reached at the next event.
//!
//! ```rust
//! Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
//! ```
//!
//! The poller tells of a change once, and `set` has it tell again what is there already. A turn goes on until `WouldBlock`: it does
//! all that it can.
//!
//! A client that does not read must not make us keep answers without end. As long as `output` is not empty we read nothing more
//! from it. That is backpressure.
//!
//! ```rust
//! let interest = if connection.output.is_empty() { Interest::Read } else { Interest::Write };
//! ```
//!
//! An idle connection costs no thread now. So a player may be silent for a minute, and keeps it between its heartbeats.
//!
//! ## What still fails
//!
//! The system gives a process so many open files, often 1,024 (`ulimit -n`). Further clients wait until one leaves.
//!
//! A turn must never wait: with the `limit_of` of step 6 in it, everybody would wait for bob. A disk or a database needs another
//! way. One thread uses one core. A client that sends requests without end keeps the thread.
//!
//! ## In the real server
//!
//! `src/server/worker/mod.rs` is this loop, with a bound for each turn. `src/store/mod.rs` says how a turn hands a command to a
//! slow store, and goes on. Go on with docs/tour.md.

use std::collections::HashMap;
use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process;
use std::time::{Duration, Instant};

use streamer::poller::{Interest, Poll, Poller};
use streamer::server::Signals;

#[path = "parts/account.rs"]
mod account;
#[path = "parts/app.rs"]
mod app;
#[path = "parts/http.rs"]
mod http;

use app::{Users, answer};
use http::{parse, problem, response};

/// How many connections there may be. Further ones wait in the system's queue.
const MOST: usize = 10_000;
/// How long a connection may be silent between two requests.
const IDLE: Duration = Duration::from_secs(60);
/// How long a request may take to come, from its first byte to its last, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the time-outs are looked at.
const TICK: Duration = Duration::from_millis(100);

fn main() -> io::Result<()> {
    let listener = listen()?;
    listener.set_nonblocking(true)?;
    let mut signals = Signals::of_process()?;
    // At most 1,024 events at a time.
    let mut poller = Poller::new(1024)?;
    poller.add(listener.as_fd(), 0)?;
    poller.add(signals.as_fd(), 1)?;
    // No connection has these two numbers: `turn` does nothing for them.
    let connections = HashMap::new();
    let mut server = Server { listener: Some(listener), poller, connections, next: 2, idle: IDLE };
    // `Users` keeps its lock. One thread never waits for it.
    let (users, mut events, mut looked) = (Users::default(), Vec::new(), Instant::now());
    while server.listener.is_some() || !server.connections.is_empty() {
        // The only place where this thread waits.
        server.poller.wait(&mut events, Some(TICK))?;
        let (now, stops) = (Instant::now(), signals.take().next().is_some());
        for event in &events {
            server.turn(event.token, &users, now);
        }
        server.accept(now);
        if stops {
            server.stop();
        }
        // There may be ten thousand: too many to look at each time.
        if now.duration_since(looked) >= TICK {
            server.give_up(now);
            looked = now;
        }
    }
    println!("stopped");
    Ok(())
}

/// Binds the address that is the only argument. Port 0 is any free port.
fn listen() -> io::Result<TcpListener> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8000".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on http://{} (process {})", listener.local_addr()?, process::id());
    Ok(listener)
}

struct Server {
    /// None from the moment when we are told to stop.
    listener: Option<TcpListener>,
    poller: Poller,
    /// By their tokens. The listener has token 0, the signals have 1.
    connections: HashMap<u64, Connection>,
    /// The next token. None is given twice, so an event never reaches a connection that it is not about.
    next: u64,
    /// How long a connection may be silent.
    idle: Duration,
}

/// What the stack of a thread held in the steps before: how far this conversation has come.
struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    /// What is answered and not sent yet.
    output: Vec<u8>,
    closes: bool,
    /// When the request began, or the last answer was made.
    since: Instant,
}

impl Server {
    /// Takes all connections that wait. If that fails, mostly for want of open files, the next `TICK` tries again.
    fn accept(&mut self, now: Instant) {
        let Some(listener) = &self.listener else { return };
        while self.connections.len() < MOST {
            let Ok((stream, _)) = listener.accept() else { return };
            let token = self.next;
            self.next += 1;
            // Both must have worked.
            let can = stream.set_nonblocking(true).and(stream.set_nodelay(true));
            if can.is_ok() && self.poller.add(stream.as_fd(), token).is_ok() {
                self.connections.insert(token, Connection::new(stream, now));
            }
        }
    }

    /// Takes no new connections. Of the others, whoever has been silent for `PATIENCE` is closed at the next tick. The rest may
    /// still ask until then.
    fn stop(&mut self) {
        if let Some(listener) = self.listener.take() {
            self.poller.remove(listener.as_fd());
        }
        self.idle = PATIENCE;
    }

    /// Does for a connection all that can be done without waiting.
    fn turn(&mut self, token: u64, users: &Users, now: Instant) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let stops = self.listener.is_none();
        let stays = connection.turn(users, stops, now).unwrap_or(false);
        // A client that does not read what it is sent gets no further answers: we wait for room, and read no more.
        let interest = if connection.output.is_empty() { Interest::Read } else { Interest::Write };
        if !stays || self.poller.set(connection.stream.as_fd(), token, interest).is_err() {
            self.poller.remove(connection.stream.as_fd());
            self.connections.remove(&token);
        }
    }

    /// Ends what has taken too long.
    fn give_up(&mut self, now: Instant) {
        self.connections.retain(|_, connection| {
            if !connection.is_late(now, self.idle) {
                return true;
            }
            if !connection.input.is_empty() && connection.output.is_empty() {
                let _ = connection.stream.write(response(&problem("408 Request Timeout"), true).as_bytes());
            }
            self.poller.remove(connection.stream.as_fd());
            false
        });
    }
}

impl Connection {
    fn new(stream: TcpStream, now: Instant) -> Self {
        Self { stream, input: Vec::new(), output: Vec::new(), closes: false, since: now }
    }

    /// Sends, answers and reads until one of them would have to wait. False when the conversation is over.
    fn turn(&mut self, users: &Users, stops: bool, now: Instant) -> io::Result<bool> {
        loop {
            if !self.send()? {
                return Ok(true);
            }
            if self.closes {
                return Ok(false);
            }
            let (answer, closes) = match parse(&mut self.input) {
                Ok(Some(request)) => (answer(&request, users, now), request.closes()),
                Err(status) => (problem(status), true),
                Ok(None) => match self.receive(now) {
                    Ok(0) => return Ok(false),
                    Ok(_) => continue,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                    Err(error) => return Err(error),
                },
            };
            self.closes = closes || (stops && self.input.is_empty());
            self.output = response(&answer, self.closes).into_bytes();
            self.since = now;
        }
    }

    /// Reads what has come, and says how many bytes that were. 0 means that the client will send no more.
    fn receive(&mut self, now: Instant) -> io::Result<usize> {
        let mut piece = [0; 1024];
        let n = self.stream.read(&mut piece)?;
        if self.input.is_empty() {
            self.since = now;
        }
        self.input.extend_from_slice(&piece[..n]);
        Ok(n)
    }

    /// Sends what the socket takes. True when that was all.
    fn send(&mut self) -> io::Result<bool> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                // `drain` gives what it takes out. We do not want it.
                Ok(n) => drop(self.output.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Whether the client has taken too long: to ask, to finish its request, or to read its answer.
    fn is_late(&self, now: Instant, idle: Duration) -> bool {
        let is_idle = self.input.is_empty() && self.output.is_empty();
        now.duration_since(self.since) > if is_idle { idle } else { PATIENCE }
    }
}
