//! # 9. A refusal that says why
//!
//! Bob is full, starts a fourth video in the place of the first, and the first player wants to go on:
//!
//! ```sh
//! for v in a b c; do curl -s -o /dev/null -u bob:x -X POST "localhost:8000/?id=$v"; done
//! curl -s -u bob:x -X POST 'localhost:8000/?id=d'; echo
//! curl -s -u bob:x -X POST 'localhost:8000/?id=d&replace=a'; echo
//! curl -s -u bob:x -X PATCH 'localhost:8000/?id=a'; echo
//! ```
//!
//! ```text before
//! {"title":"Conflict","status":409,"canWatch":false,"endpoint":null,"count":3}
//! {"title":"Conflict","status":409,"canWatch":false,"endpoint":null,"count":3}
//! {"canWatch":true,"endpoint":"/?id=a","count":3}
//! ```
//!
//! ```text
//! {"title":"Conflict","status":409,"canWatch":false,"endpoint":null,"count":3,"streams":["a","b","c"]}
//! {"canWatch":true,"endpoint":"/?id=d","count":3}
//! {"title":"Gone","status":410,"reason":"replaced"}
//! ```
//!
//! ## The idea
//!
//! A refusal is an answer like any other, and the player has to do something with it. Ask of each status: *what does the
//! client do next?*
//!
//! - 409 with the list: it shows "Which one shall I stop?", and comes back with `replace`.
//! - 410 with a reason: it stops, and says why. It must not start again by itself, or two players throw each other out for ever.
//! - 404: it was not ended on purpose, so its lease ran out, as on a train in a tunnel. It starts again, and nobody notices.
//!
//! That is why there are two statuses. To tell them apart, the account remembers for one lease what has ended. Any player that
//! is still there has come back by then.
//!
//! ## The code
//!
//! Commands and outcomes can carry data, each its own. The compiler then asks for every case that we forget:
//!
//! ```rust
//! Full { streams: Vec<String> },
//! Ended(&'static str),
//! ```
//!
//! Look first, change afterwards. A start that is refused must have ended nothing:
//!
//! ```rust
//! match (self.streams.len(), old) {
//!     (count, _) if count < limit => {}
//!     // With more than `limit` (it was higher once) there is no room even when one has ended.
//!     (count, Some(old)) if count == limit => self.end(now, old, "replaced"),
//!     _ => return Outcome::Full { streams: self.streams.iter().map(|s| s.id.clone()).collect() },
//! }
//! ```
//!
//! The replacement is one command and not a DELETE and a POST. Between these two another player could take the place.
//!
//! `replace` is only carried out if there is no room without it. So a player may repeat the request, and nothing else ends.
//!
//! ## What still fails
//!
//! Press Ctrl-C while a request is under way, and its client gets no answer. It does not know whether it may play. Step 10
//! finishes such a request.
//!
//! ## In the real server
//!
//! `src/streams/account/admit.rs` decides who may play and who gives way. `src/app/response.rs` writes what the player reads,
//! and docs/player.md tells it what to do on each status.

use std::collections::HashMap;
use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

#[path = "parts/http.rs"]
mod http;

use http::{Answer, BAD, Request, is_word, parse, problem, response, user};

const THREADS: usize = 64;
/// How long to wait when `accept` has failed. It would fail at once again.
const PAUSE: Duration = Duration::from_millis(100);
const LIMIT: usize = 3;
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(5);
/// How long a stream lives without a heartbeat.
const LEASE: Duration = Duration::from_secs(90);

type Users = Mutex<HashMap<String, Account>>;

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
            Ok(Some(request)) => (answer(&request, users, Instant::now()), request.closes()),
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

fn answer(request: &Request, users: &Users, now: Instant) -> Answer {
    let Some(user) = user(request) else { return problem("401 Unauthorized") };
    let id = match request.parameter("id") {
        Some(id) if is_word(id) => id,
        _ => return problem(BAD),
    };
    let command = match request.method.as_str() {
        "GET" => Command::Ask,
        "POST" => Command::Start { replace: request.parameter("replace") },
        "PATCH" => Command::Renew,
        "DELETE" => Command::End,
        _ => return problem("405 Method Not Allowed"),
    };
    let outcome = users.lock().unwrap().entry(user).or_default().apply(now, LIMIT, &command, id);
    match outcome {
        Outcome::Done { count, can_watch } => view("200 OK", id, count, can_watch),
        Outcome::Started { count } => view("201 Created", id, count, true),
        Outcome::Full { streams } => full(&streams),
        Outcome::Ended(reason) => gone(reason),
        Outcome::Unknown => problem("404 Not Found"),
    }
}

/// What a user watches, and what has ended on purpose less than a lease ago.
#[derive(Default)]
struct Account {
    streams: Vec<Stream>,
    ended: Vec<(Stream, &'static str)>,
}

struct Stream {
    id: String,
    /// When its lease runs out; of one that has ended, until when we remember why.
    until: Instant,
}

enum Command<'a> {
    Ask,
    /// Ends the stream named in `replace` if there is no room without that.
    Start {
        replace: Option<&'a str>,
    },
    Renew,
    End,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Done { count: usize, can_watch: bool },
    Started { count: usize },
    Full { streams: Vec<String> },
    Ended(&'static str),
    Unknown,
}

impl Account {
    /// The rules, all of them. They read no clock and know no socket.
    fn apply(&mut self, now: Instant, limit: usize, command: &Command, id: &str) -> Outcome {
        self.streams.retain(|stream| now < stream.until);
        self.ended.retain(|(stream, _)| now < stream.until);
        let count = self.streams.len();
        let found = self.position(id);
        match (command, found) {
            (Command::Ask, _) => Outcome::Done { count, can_watch: found.is_some() || count < limit },
            (Command::Start { .. } | Command::Renew, Some(at)) => {
                self.streams[at].until = now + LEASE;
                Outcome::Done { count, can_watch: true }
            }
            // We look at the command through a reference, so `replace` is one, too. `*` copies what it refers to.
            (Command::Start { replace }, None) => self.start(now, limit, id, *replace),
            (Command::End, Some(at)) => {
                self.end(now, at, "stopped");
                Outcome::Done { count: count - 1, can_watch: true }
            }
            (Command::Renew | Command::End, None) => {
                match self.ended.iter().find(|(stream, _)| stream.id == id) {
                    Some((_, reason)) => Outcome::Ended(reason),
                    None => Outcome::Unknown,
                }
            }
        }
    }

    /// Looks first and changes afterwards: a start that is refused has ended nothing.
    fn start(&mut self, now: Instant, limit: usize, id: &str, replace: Option<&str>) -> Outcome {
        let old = replace.and_then(|id| self.position(id));
        match (self.streams.len(), old) {
            (count, _) if count < limit => {}
            // With more than `limit` (it was higher once) there is no room even when one has ended.
            (count, Some(old)) if count == limit => self.end(now, old, "replaced"),
            _ => return Outcome::Full { streams: self.streams.iter().map(|s| s.id.clone()).collect() },
        }
        self.ended.retain(|(stream, _)| stream.id != id);
        self.streams.push(Stream { id: id.to_owned(), until: now + LEASE });
        Outcome::Started { count: self.streams.len() }
    }

    fn end(&mut self, now: Instant, at: usize, reason: &'static str) {
        let id = self.streams.remove(at).id;
        self.ended.push((Stream { id, until: now + LEASE }, reason));
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.streams.iter().position(|stream| stream.id == id)
    }
}

fn view(status: &'static str, id: &str, count: usize, can_watch: bool) -> Answer {
    let endpoint = if can_watch { format!(r#""/?id={id}""#) } else { "null".into() };
    (status, format!(r#"{{"canWatch":{can_watch},"endpoint":{endpoint},"count":{count}}}"#))
}

fn full(streams: &[String]) -> Answer {
    let count = streams.len();
    let streams = streams.join(r#"",""#);
    let body = format!(
        r#"{{"title":"Conflict","status":409,"canWatch":false,"endpoint":null,"count":{count},"streams":["{streams}"]}}"#
    );
    ("409 Conflict", body)
}

fn gone(reason: &str) -> Answer {
    ("410 Gone", format!(r#"{{"title":"Gone","status":410,"reason":"{reason}"}}"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Command = Command::Start { replace: None };

    #[test]
    fn who_was_replaced_is_told_so_for_a_lease() {
        let mut account = Account::default();
        let now = Instant::now();
        for id in ["a", "b", "c"] {
            account.apply(now, 3, &START, id);
        }
        let full = Outcome::Full { streams: ["a", "b", "c"].map(String::from).into() };
        assert_eq!(account.apply(now, 3, &Command::Start { replace: Some("x") }, "d"), full);
        let replace = Command::Start { replace: Some("a") };
        assert_eq!(account.apply(now, 3, &replace, "d"), Outcome::Started { count: 3 });
        assert_eq!(account.apply(now, 3, &Command::Renew, "a"), Outcome::Ended("replaced"));
        account.apply(now, 3, &Command::End, "b");
        assert_eq!(account.apply(now, 3, &Command::Renew, "b"), Outcome::Ended("stopped"));
        assert_eq!(account.apply(now + LEASE, 3, &Command::Renew, "b"), Outcome::Unknown);
    }
}
