//! # 2. A pool
//!
//! A client that says nothing, for four seconds. Meanwhile a second client asks:
//!
//! ```sh
//! sleep 4 | curl -s -m 4 telnet://localhost:8000 &
//! sleep 1; curl -s -m 2 'localhost:8000/?id=a' && echo || echo 'no answer'
//! ```
//!
//! (`curl telnet://` connects, sends what it reads, and prints what comes. `sleep 4 |` gives it nothing to send.)
//!
//! ```text before
//! no answer
//! ```
//!
//! ```text
//! {"canWatch":true,"endpoint":"/?id=a"}
//! ```
//!
//! ## The idea
//!
//! One thread accepts connections and puts them into a channel. 64 other threads take them out and serve them. So a client
//! that says nothing costs one thread of 64. The number is fixed: a thread for each connection would let any client decide
//! how many threads we have.
//!
//! `thread::scope` waits for all threads that it has started. Because it does, they may borrow `receiver` from `main`, and no
//! `Arc` is needed.
//!
//! ## The code
//!
//! The channel has one receiving end, and 64 threads want it. So it is in a `Mutex`:
//!
//! ```rust
//! fn next(receiver: &Mutex<Receiver<TcpStream>>) -> Option<TcpStream> {
//!     receiver.lock().unwrap().recv().ok()
//! }
//! ```
//!
//! ```rust
//! while let Some(stream) = next(receiver) {
//!     if let Err(error) = serve(stream) {
//!         eprintln!("a connection failed: {error}");
//!     }
//! }
//! ```
//!
//! Why is `next` a function? Try the loop without it:
//!
//! ```text
//! while let Ok(stream) = receiver.lock().unwrap().recv() {
//! ```
//!
//! It compiles, and passes every test with one client. But `lock` returns a *guard*: the lock is held as long as the guard
//! lives. Nobody has given this guard a name, so it is a temporary value. In a `let` such a value lives to the semicolon. In the
//! head of a `while let` it lives to the end of the loop's *body*. So a thread would serve its client while it holds the lock,
//! and 63 threads would wait for it. `next` drops the guard when it returns, before anybody is served.
//!
//! One thread at a time waits in `recv`, and holds the lock. That is right: there is only one queue to wait for.
//!
//! If the process has too many open files, `accept` fails at once, again and again. So `main` pauses after a failure.
//!
//! ## What still fails
//!
//! `read` returns what has come *so far*, and `serve` takes that for the request. It mostly is, on your own machine. Step 3
//! sends a request in two pieces.
//!
//! Since each thread has a stack and a place in the scheduler, thousands of silent clients are too many for any pool. Steps
//! 11 and 12 are about them.
//!
//! ## In the real server
//!
//! `src/server/listener.rs` and `src/server/worker/mod.rs`: a few threads, each with thousands of connections of its own, so
//! that there is no common queue and no lock.

use std::env;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

const THREADS: usize = 64;
/// How long to wait when `accept` has failed. It would fail at once again.
const PAUSE: Duration = Duration::from_millis(100);

fn main() -> io::Result<()> {
    let listener = listen()?;
    let (sender, receiver) = mpsc::channel();
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| work(&receiver));
        }
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => sender.send(stream).expect("the receiver lives as long as we do"),
                Err(error) => {
                    eprintln!("no connection: {error}");
                    thread::sleep(PAUSE);
                }
            }
        }
    });
    Ok(())
}

/// Binds the address that is the only argument. Port 0 is any free port.
fn listen() -> io::Result<TcpListener> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8000".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on http://{} (process {})", listener.local_addr()?, process::id());
    Ok(listener)
}

/// What each thread of the pool does: it takes the next connection, serves it, and comes back.
fn work(receiver: &Mutex<Receiver<TcpStream>>) {
    while let Some(stream) = next(receiver) {
        if let Err(error) = serve(stream) {
            eprintln!("a connection failed: {error}");
        }
    }
}

/// The guard of the lock is dropped when this function returns, so nobody holds the lock while it serves.
fn next(receiver: &Mutex<Receiver<TcpStream>>) -> Option<TcpStream> {
    receiver.lock().unwrap().recv().ok()
}

/// Reads one request, answers it, and closes the connection.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut bytes = [0; 1024];
    let n = stream.read(&mut bytes)?;
    stream.write_all(answer(&bytes[..n]).as_bytes())
}

/// Looks at the first line alone: `GET /?id=a HTTP/1.1`.
fn answer(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    let words: Vec<&str> = text.lines().next().unwrap_or_default().split(' ').collect();
    let ["GET", target, "HTTP/1.1"] = words[..] else {
        return response("400 Bad Request", r#"{"title":"Bad Request"}"#);
    };
    match target.strip_prefix("/?id=") {
        Some(id) if is_word(id) => {
            response("200 OK", &format!(r#"{{"canWatch":true,"endpoint":"/?id={id}"}}"#))
        }
        _ => response("404 Not Found", r#"{"title":"Not Found"}"#),
    }
}

/// Whether a name can stand in JSON and in a URL as it is. The course has no other names.
fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn response(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
