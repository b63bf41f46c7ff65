//! # 7. Twenty-four starts at once
//!
//! Bob starts 24 videos at the same time. How many are let in?
//!
//! ```sh
//! curl --no-progress-meter -Z --parallel-immediate -u bob:x -X POST -o /dev/null -w '%{http_code}\n' \
//!     'localhost:8000/?id=[1-24]' | sort | uniq -c
//! ```
//!
//! Before, nearly or exactly all of them:
//!
//! ```text before, roughly
//!      24 201
//! ```
//!
//! ```text
//!       3 201
//!      21 409
//! ```
//!
//! ## The idea
//!
//! Step 6 looked, and then acted, and between the two it let go of the lock. 24 threads looked at the same empty list. All 24
//! asked for the limit. All 24 found "0 of 3". Then all 24 acted, each on what it had seen 200 ms ago.
//!
//! A mutex does not make a program right. It only keeps others out from `lock` until the guard is dropped. **What was looked at
//! must still be true when we act. So looking and acting belong under one lock.**
//!
//! Without the `sleep` the mistake is the same. It only shows once in a thousand times, on a Saturday evening, and in no test.
//!
//! Now make the opposite mistake: take the lock first, and ask for the limit under it. The count is right again. But *all* users
//! now wait 200 ms for each request of anybody: five requests a second, whatever the number of threads. So: what is slow comes
//! before the lock, what has to be true at once comes under it.
//!
//! ## The code
//!
//! ```rust
//! // What is slow comes before the lock.
//! let limit = limit_of(&user);
//! let mut users = users.lock().unwrap();
//! let watching = users.entry(user).or_default();
//! ```
//!
//! `watching` is now the list itself and no copy. It borrows from the guard `users`. So the compiler sees to it that the list is
//! not used after the lock has been given back.
//!
//! ```rust
//! "POST" => {
//!     watching.push(id.to_owned());
//!     view("201 Created", id, count + 1, true)
//! }
//! ```
//!
//! Nothing below the lock waits for anything. The answer is only put together there; `serve` writes it to the socket after
//! `answer` has returned, and so after the guard is gone. A client that reads slowly holds no lock.
//!
//! ## What still fails
//!
//! Start three videos and pull the plug of the TV. Nobody sends DELETE, and bob is full until the server is restarted. Step 8
//! gives each stream an end of its own.
//!
//! If a thread panics while it holds the lock, the mutex is *poisoned*: every later `lock().unwrap()` panics too.
//!
//! ## In the real server
//!
//! `src/store/memory.rs` holds a lock for a batch of commands, and says what a panic there may leave behind. The test that
//! sends 24 starts at once to every engine is `tests/it/count.rs`.

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
    // What is slow comes before the lock.
    let limit = limit_of(&user);
    let mut users = users.lock().unwrap();
    let watching = users.entry(user).or_default();
    let count = watching.len();
    let plays = watching.iter().any(|stream| stream == id);
    match request.method.as_str() {
        "GET" => view("200 OK", id, count, plays || count < limit),
        "POST" | "PATCH" if plays => view("200 OK", id, count, true),
        "POST" if count >= limit => full(count),
        "POST" => {
            watching.push(id.to_owned());
            view("201 Created", id, count + 1, true)
        }
        "DELETE" if plays => {
            watching.retain(|stream| stream != id);
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
