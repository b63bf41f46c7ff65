//! # 10. A stop that finishes what it has begun
//!
//! A request comes in two pieces. Between them the server is told to stop, as at every update. Write the number of the process
//! for `PID`: the server prints it when it starts.
//!
//! ```sh
//! (printf 'POST /?id=a HTTP/1.1\r\n'; sleep 2; printf 'Authorization: Basic Ym9iOng=\r\n\r\n'; sleep 1) |
//!     (curl -s -m 9 telnet://localhost:8000 | grep -o '{.*}' || echo 'no answer') &
//! sleep 1; kill PID; wait
//! ```
//!
//! ```text before
//! no answer
//! ```
//!
//! ```text
//! {"canWatch":true,"endpoint":"/?id=a","count":1}
//! ```
//!
//! ## The idea
//!
//! To stop is to end in the right order: first no new connections, then no new requests, then wait for what is under way. Each
//! thread waits for something, so each has to notice. If one does not, the server never stops.
//!
//! - The main thread has two things to wait for now: a connection and a signal. `accept` waits for one. A **poller** waits for
//!   several things at once, and returns as soon as there is something.
//! - Idle threads of the pool wait in `recv`. It fails as soon as the channel is empty *and* nobody holds the sending end. If we
//!   forget to drop the sender, the scope waits for ever.
//! - Busy threads wait in `read`. They take naps of 100 ms, and look at a flag after each.
//!
//! ## The code
//!
//! ```rust
//! while !stops {
//!     poller.wait(&mut events, Some(NAP))?;
//!     // First the signals that have come, then the connections: whoever came before the signal is served.
//!     stops = signals.take().next().is_some();
//!     accept_all(listener, sender);
//! }
//! ```
//!
//! `accept` may no longer wait, so the listener is non-blocking: with nobody there, `accept` fails with `WouldBlock`. This
//! poller is *edge-triggered*: it tells of a change once. So `accept_all` goes on until `WouldBlock`: the poller would not tell
//! again of a connection that it left.
//!
//! After the loop comes the order that matters:
//!
//! ```rust
//! drop(listener);
//! drop(sender);
//! shared.stopping.store(true, Ordering::Relaxed);
//! ```
//!
//! Each thread of the pool then closes the connections on which nobody has begun to ask. Who has begun may finish, and then gets
//! an answer with `Connection: close`.
//!
//! std can neither catch signals nor poll. The system calls for both need `unsafe`, and the course has none: `Signals` and
//! `Poller` come from the server. `Signals` installs a handler. The handler only writes a byte into a pipe.
//!
//! What steps 6 to 9 have made has moved to `parts/` as well.
//!
//! ## What still fails
//!
//! Between the last `accept` and the drop of the listener lies a moment. Who connects in it gets a reset.
//!
//! A client that sends one byte every four seconds is never idle, and never done. It keeps its thread, and the stop waits for
//! it. Seventy such clients are the end of the pool: step 11.
//!
//! What is in memory is lost with the process.
//!
//! ## In the real server
//!
//! `src/server/signals.rs`, `src/server/listener.rs`; `--grace` bounds the stop. `src/store/journal/mod.rs` keeps the count in a
//! directory, so that a restart forgets nothing.

use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use streamer::poller::{Poll, Poller};
use streamer::server::Signals;

#[path = "parts/account.rs"]
mod account;
#[path = "parts/app.rs"]
mod app;
#[path = "parts/http.rs"]
mod http;

use app::{Users, answer};
use http::{parse, problem, response};

const THREADS: usize = 64;
/// How often a thread that waits looks up: does the server stop, may a connection be taken again?
const NAP: Duration = Duration::from_millis(100);
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(5);

/// What all threads share.
#[derive(Default)]
struct Shared {
    users: Users,
    stopping: AtomicBool,
}

impl Shared {
    /// `Relaxed`: the flag alone counts, and says nothing about other data.
    fn stops(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

fn main() -> io::Result<()> {
    let listener = listen()?;
    let signals = Signals::of_process()?;
    let shared = Shared::default();
    let (sender, receiver) = mpsc::channel();
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| work(&receiver, &shared));
        }
        let dealt = deal(&listener, signals, &sender);
        // In this order: no new connections, no more work, the flag. The scope waits until each thread has done its own.
        drop(listener);
        drop(sender);
        shared.stopping.store(true, Ordering::Relaxed);
        dealt
    })?;
    println!("stopped");
    Ok(())
}

/// Hands connections to the pool until a signal comes.
fn deal(listener: &TcpListener, mut signals: Signals, sender: &Sender<TcpStream>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut poller = Poller::new(2)?;
    // A number for each. The poller could tell us which of the two it was, but we try both in any case.
    poller.add(listener.as_fd(), 0)?;
    poller.add(signals.as_fd(), 1)?;
    let (mut events, mut stops) = (Vec::new(), false);
    while !stops {
        poller.wait(&mut events, Some(NAP))?;
        // First the signals that have come, then the connections: whoever came before the signal is served.
        stops = signals.take().next().is_some();
        accept_all(listener, sender);
    }
    Ok(())
}

/// Goes on until nobody waits, as the poller tells of a connection once.
fn accept_all(listener: &TcpListener, sender: &Sender<TcpStream>) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => sender.send(stream).expect("the receiver lives as long as we do"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => {
                eprintln!("no connection: {error}");
                thread::sleep(NAP);
                return;
            }
        }
    }
}

/// Binds the address that is the only argument. Port 0 is any free port.
fn listen() -> io::Result<TcpListener> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8000".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on http://{} (process {})", listener.local_addr()?, process::id());
    Ok(listener)
}

/// What each thread of the pool does: it takes the next connection, serves it, and comes back.
fn work(receiver: &Mutex<Receiver<TcpStream>>, shared: &Shared) {
    while let Some(stream) = next(receiver) {
        if let Err(error) = serve(stream, shared) {
            eprintln!("a connection failed: {error}");
        }
    }
}

/// The guard of the lock is dropped when this function returns, so nobody holds the lock while it serves.
fn next(receiver: &Mutex<Receiver<TcpStream>>) -> Option<TcpStream> {
    receiver.lock().unwrap().recv().ok()
}

/// Answers the requests of a connection one after the other, until either side has had enough.
fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    // On some systems it is as its listener is.
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(NAP))?;
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    loop {
        let (answer, closes) = match parse(&mut bytes) {
            Ok(Some(request)) => {
                let answer = answer(&request, &shared.users, Instant::now());
                (answer, request.closes() || (shared.stops() && bytes.is_empty()))
            }
            Err(status) => (problem(status), true),
            Ok(None) => {
                if more(&mut stream, &mut bytes, shared)? {
                    continue;
                }
                return Ok(());
            }
        };
        stream.write_all(response(&answer, closes).as_bytes())?;
        if closes {
            return Ok(());
        }
    }
}

/// Waits for more bytes. False when none will come: the client has closed or has been silent for too long, or we stop and
/// it has not begun to ask.
fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>, shared: &Shared) -> io::Result<bool> {
    let mut piece = [0; 1024];
    let since = Instant::now();
    loop {
        match stream.read(&mut piece) {
            // A signal may interrupt it.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            read => {
                let n = read?;
                bytes.extend_from_slice(&piece[..n]);
                return Ok(n > 0);
            }
        }
        if since.elapsed() > IDLE || (shared.stops() && bytes.is_empty()) {
            return Ok(false);
        }
    }
}
