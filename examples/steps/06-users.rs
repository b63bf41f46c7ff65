//! # 6. Three at most
//!
//! The question that all this is for. Bob starts four videos, and may watch three:
//!
//! ```sh
//! for v in a b c d; do curl -s -u bob:x -X POST "localhost:8000/?id=$v"; echo; done
//! ```
//!
//! ```text before
//! {"title":"Method Not Allowed","status":405}
//! {"title":"Method Not Allowed","status":405}
//! {"title":"Method Not Allowed","status":405}
//! {"title":"Method Not Allowed","status":405}
//! ```
//!
//! ```text
//! {"canWatch":true,"endpoint":"/?id=a","count":1}
//! {"canWatch":true,"endpoint":"/?id=b","count":2}
//! {"canWatch":true,"endpoint":"/?id=c","count":3}
//! {"title":"Conflict","status":409,"canWatch":false,"endpoint":null,"count":3}
//! ```
//!
//! ## The idea
//!
//! Four methods are four verbs: GET asks and changes nothing, POST starts, PATCH says "still playing", DELETE ends. What each
//! user watches is in a map, and all threads share it:
//!
//! ```rust
//! type Users = Mutex<HashMap<String, Vec<String>>>;
//! ```
//!
//! A `Mutex` in Rust holds its data. There is no way to the map but through `lock`, so nobody can forget to lock.
//!
//! What steps 3 to 5 have made no longer changes. So it has moved to `parts/http.rs`, word for word. `#[path = "…"]` above
//! `mod http;` says where that file is.
//!
//! ## The code
//!
//! ```rust
//! let watching = users.lock().unwrap().get(&user).cloned().unwrap_or_default();
//! ```
//!
//! That is a copy of the user's list, made in a moment. In a `let` the guard lives to the semicolon (step 2), so the lock is free
//! again, and all that follows can take its time. One thing does: another service knows how many streams a user may watch, and
//! to ask it takes 200 ms. Here a `sleep` stands for that service.
//!
//! ```rust
//! fn limit_of(_user: &str) -> usize {
//!     thread::sleep(Duration::from_millis(200));
//!     LIMIT
//! }
//! ```
//!
//! Then the rules, one a line. Read them from top to bottom; the first that fits counts:
//!
//! ```rust
//! "POST" | "PATCH" if plays => view("200 OK", id, count, true),
//! "POST" if count >= limit_of(&user) => full(count),
//! ```
//!
//! To start what already plays is no second stream. A player whose network fails repeats its POST, and the repetition must do
//! no harm. That is called idempotence.
//!
//! ## What still fails
//!
//! This server looks right, and passes the line above. It is not right: bob can watch 24 videos. Find out how before you go on.
//! Step 7 shows it.
//!
//! Also, a player that crashes never says DELETE (step 8), and bob is not told what he is watching (step 9).
//!
//! ## In the real server
//!
//! `src/store/memory.rs` is the same map, in 256 parts, so that threads seldom meet. `src/app/routes.rs` has the verbs.

use std::collections::HashMap;
use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

#[path = "parts/http.rs"]
mod http;

use http::{Answer, BAD, Request, is_word, parse, problem, response, user};

const THREADS: usize = 64;
/// How long to wait when `accept` has failed. It would fail at once again.
const PAUSE: Duration = Duration::from_millis(100);
const LIMIT: usize = 3;
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(5);

/// What each user watches.
type Users = Mutex<HashMap<String, Vec<String>>>;

fn main() -> io::Result<()> {
    let listener = listen()?;
    let (sender, receiver) = mpsc::channel();
    let receiver = Mutex::new(receiver);
    let users = Users::default();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| work(&receiver, &users));
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
fn work(receiver: &Mutex<Receiver<TcpStream>>, users: &Users) {
    while let Some(stream) = next(receiver) {
        if let Err(error) = serve(stream, users) {
            eprintln!("a connection failed: {error}");
        }
    }
}

/// The guard of the lock is dropped when this function returns, so nobody holds the lock while it serves.
fn next(receiver: &Mutex<Receiver<TcpStream>>) -> Option<TcpStream> {
    receiver.lock().unwrap().recv().ok()
}

/// Answers the requests of a connection one after the other, until either side has had enough.
fn serve(mut stream: TcpStream, users: &Users) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    loop {
        let (answer, closes) = match parse(&mut bytes) {
            Ok(Some(request)) => (answer(&request, users), request.closes()),
            Err(status) => (problem(status), true),
            Ok(None) => {
                if more(&mut stream, &mut bytes)? {
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

/// Waits for more bytes. False when none will come: the client has closed, or has been silent for too long.
fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; 1024];
    let n = match stream.read(&mut piece) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
        read => read?,
    };
    bytes.extend_from_slice(&piece[..n]);
    Ok(n > 0)
}

fn answer(request: &Request, users: &Users) -> Answer {
    let Some(user) = user(request) else { return problem("401 Unauthorized") };
    let id = match request.parameter("id") {
        Some(id) if is_word(id) => id,
        _ => return problem(BAD),
    };
    // A copy, so that the lock is held for a moment only.
    let watching = users.lock().unwrap().get(&user).cloned().unwrap_or_default();
    let count = watching.len();
    let plays = watching.iter().any(|stream| stream == id);
    match request.method.as_str() {
        "GET" => view("200 OK", id, count, plays || count < limit_of(&user)),
        "POST" | "PATCH" if plays => view("200 OK", id, count, true),
        "POST" if count >= limit_of(&user) => full(count),
        "POST" => {
            users.lock().unwrap().entry(user).or_default().push(id.to_owned());
            view("201 Created", id, count + 1, true)
        }
        "DELETE" if plays => {
            users.lock().unwrap().entry(user).or_default().retain(|stream| stream != id);
            view("200 OK", id, count - 1, true)
        }
        "PATCH" | "DELETE" => problem("404 Not Found"),
        _ => problem("405 Method Not Allowed"),
    }
}

/// How many streams a user may watch at once. The sleep stands for another service, which has to be asked.
fn limit_of(_user: &str) -> usize {
    thread::sleep(Duration::from_millis(200));
    LIMIT
}

fn view(status: &'static str, id: &str, count: usize, can_watch: bool) -> Answer {
    let endpoint = if can_watch { format!(r#""/?id={id}""#) } else { "null".into() };
    (status, format!(r#"{{"canWatch":{can_watch},"endpoint":{endpoint},"count":{count}}}"#))
}

fn full(count: usize) -> Answer {
    let body =
        format!(r#"{{"title":"Conflict","status":409,"canWatch":false,"endpoint":null,"count":{count}}}"#);
    ("409 Conflict", body)
}
