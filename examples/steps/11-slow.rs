//! # 11. Slow clients, and too many
//!
//! Seventy clients begin a request, and send one byte a second. As soon as all have begun, bob asks. (The line takes ten
//! seconds, because `drip` does.)
//!
//! ```sh
//! cargo run -q --example drip -- 70 localhost:8000 |
//!     (read begun; curl -s -m 5 -u bob:x 'localhost:8000/?id=a' && echo || echo 'no answer')
//! ```
//!
//! ```text before
//! no answer
//! ```
//!
//! ```text
//! {"canWatch":true,"endpoint":"/?id=a","count":0}
//! ```
//!
//! ## The idea
//!
//! Step 10 had a time-out: five seconds *without a byte*. These clients always send a byte in time. So a time-out for each read
//! bounds nothing. What bounds a request is a **deadline**: two seconds from its first byte to its last, however they come.
//!
//! The answer has an end, too. A client may ask and not read; then `write` waits, once the buffers are full. An answer is so
//! small that one `write` takes it whole. So here a time-out for each write is enough.
//!
//! And there may simply be too many clients. The channel of step 2 takes any number of connections, and makes all of them wait.
//! Those at its front have given up long before a thread serves them. So the queue gets an end. Who does not fit in is told 503
//! at once, and can try elsewhere. **Every wait has an end, and every queue has one.**
//!
//! ## The code
//!
//! `since` was the time of the last byte. Now it is the time of the first:
//!
//! ```rust
//! More::Came if was_idle => since = Instant::now(),
//! ```
//!
//! ```rust
//! if !bytes.is_empty() && since.elapsed() > PATIENCE {
//!     return Ok(More::Late);
//! }
//! ```
//!
//! The queue is a `sync_channel` with a length, and `try_send` does not wait:
//!
//! ```rust
//! if let Err(TrySendError::Full(stream)) = sender.try_send(stream) {
//!     refuse(stream);
//! }
//! ```
//!
//! The thread that accepts must never wait for a client, not even to refuse it. So the socket does not block. The `read`
//! before the answer looks useless and is not:
//!
//! ```rust
//! let _ = stream.set_nonblocking(true);
//! // If we close while bytes are unread, the system sends a reset. It may reach the client before the answer.
//! let _ = stream.read(&mut [0; 1024]);
//! let _ = stream.write(response(&problem("503 Service Unavailable"), true).as_bytes());
//! ```
//!
//! ## What still fails
//!
//! The clients still take all 64 threads for two seconds, and can come again. Two hundred of them fill the queue as well, and bob
//! is told 503. More threads only move the number. Most threads only wait, and a thread is expensive to keep waiting. Step 12
//! waits without.
//!
//! A client that sends many requests and reads the answers slowly keeps its thread: each answer is taken in time.
//!
//! A client whose request comes only after we have closed may get the reset, and no 503.
//!
//! ## In the real server
//!
//! `src/server/deadlines.rs` has one queue for each length of time. `src/server/refusals.rs` waits until the client
//! has read its refusal. `src/server/worker/serve.rs` makes room: if all connections are taken, the one that has dawdled longest
//! has to go. `tests/it/hostile.rs` is a collection of clients that nobody wants.

use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
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
/// How many connections may wait for a thread.
const QUEUE: usize = 64;
/// How often a thread that waits looks up: does the server stop, may a connection be taken again?
const NAP: Duration = Duration::from_millis(100);
/// How long a connection may be silent between two requests.
const IDLE: Duration = Duration::from_secs(5);
/// How long a request may take to come, from its first byte to its last, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(2);

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
    let (sender, receiver) = mpsc::sync_channel(QUEUE);
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
fn deal(listener: &TcpListener, mut signals: Signals, sender: &SyncSender<TcpStream>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut poller = Poller::new(2)?;
    // A number for each. The poller could tell us which of the two it was, but we try both in any case.
    poller.add(listener.as_fd(), 0)?;
    poller.add(signals.as_fd(), 1)?;
    let (mut events, mut stops) = (Vec::new(), false);
    while !stops {
        poller.wait(&mut events, Some(NAP))?;
        // First the signal, then the connections: whoever came before the signal is served.
        stops = signals.take().next().is_some();
        accept_all(listener, sender);
    }
    Ok(())
}

/// Goes on until nobody waits, as the poller tells of a connection once.
fn accept_all(listener: &TcpListener, sender: &SyncSender<TcpStream>) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(TrySendError::Full(stream)) = sender.try_send(stream) {
                    refuse(stream);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => {
                eprintln!("no connection: {error}");
                thread::sleep(NAP);
                return;
            }
        }
    }
}

/// Says that there are too many, without waiting for anything: whoever accepts must never wait for a client.
fn refuse(mut stream: TcpStream) {
    let _ = stream.set_nonblocking(true);
    // If we close while bytes are unread, the system sends a reset. It may reach the client before the answer.
    let _ = stream.read(&mut [0; 1024]);
    let _ = stream.write(response(&problem("503 Service Unavailable"), true).as_bytes());
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
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    // When the first byte of the request came, or when the last request was answered. Further bytes do not change it.
    let mut since = Instant::now();
    loop {
        let (answer, closes) = match parse(&mut bytes) {
            Ok(Some(request)) => {
                let answer = answer(&request, &shared.users, Instant::now());
                (answer, request.closes() || (shared.stops() && bytes.is_empty()))
            }
            Err(status) => (problem(status), true),
            Ok(None) => {
                let was_idle = bytes.is_empty();
                match more(&mut stream, &mut bytes, since, shared)? {
                    More::Came if was_idle => since = Instant::now(),
                    More::Came => {}
                    More::Late => {
                        let late = response(&problem("408 Request Timeout"), true);
                        return stream.write_all(late.as_bytes());
                    }
                    More::Ended => return Ok(()),
                }
                continue;
            }
        };
        stream.write_all(response(&answer, closes).as_bytes())?;
        if closes {
            return Ok(());
        }
        since = Instant::now();
    }
}

enum More {
    Came,
    /// The client has closed or been idle for too long, or we stop and it has not begun to ask.
    Ended,
    /// A request has begun, and its time is up.
    Late,
}

/// Waits for more bytes of the request that began at `since`, or of the one that may begin.
fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>, since: Instant, shared: &Shared) -> io::Result<More> {
    let mut piece = [0; 1024];
    loop {
        if !bytes.is_empty() && since.elapsed() > PATIENCE {
            return Ok(More::Late);
        }
        match stream.read(&mut piece) {
            // A signal may interrupt it.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            read => {
                let n = read?;
                bytes.extend_from_slice(&piece[..n]);
                return Ok(if n > 0 { More::Came } else { More::Ended });
            }
        }
        if bytes.is_empty() && (since.elapsed() > IDLE || shared.stops()) {
            return Ok(More::Ended);
        }
    }
}
