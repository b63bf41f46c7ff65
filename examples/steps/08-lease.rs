//! # 8. A lease
//!
//! Three players start and crash. Four seconds later bob wants to watch something else:
//!
//! ```sh
//! for v in a b c; do curl -s -o /dev/null -u bob:x -X POST "localhost:8000/?id=$v"; done
//! sleep 4; curl -s -u bob:x -X POST "localhost:8000/?id=d"; echo
//! ```
//!
//! ```text before
//! {"title":"Conflict","status":409,"canWatch":false,"endpoint":null,"count":3}
//! ```
//!
//! ```text
//! {"canWatch":true,"endpoint":"/?id=d","count":1}
//! ```
//!
//! ## The idea
//!
//! Nobody can tell a player that has crashed from one that has nothing to say. So a stream is not owned, it is leased. It lives
//! for a while (here 3 s, in earnest 90 s), and each POST and PATCH renews it. Who crashes says nothing more, and the slot
//! comes back by itself. No thread has to look for dead streams: whoever looks at an account throws them out first.
//!
//! ```rust
//! self.streams.retain(|stream| now < stream.until);
//! ```
//!
//! ## The code
//!
//! How is that tested? Not by sleeping. A test that sleeps is slow, and fails on a slow machine. The rules get the time as an
//! argument:
//!
//! ```rust
//! fn apply(&mut self, now: Instant, limit: usize, command: &Command, id: &str) -> Outcome {
//! ```
//!
//! The same account, time and command always give the same outcome. Nothing else goes in: no clock, no socket, no lock, no HTTP.
//! That is a *pure* function (it changes the account, which it was handed). The clock is read in one place, in `serve`. A test
//! hands in any time that it likes:
//!
//! ```rust
//! let almost = start + LEASE - Duration::from_nanos(1);
//! assert_eq!(account.apply(almost, 3, &Command::Start, "d"), Outcome::Full { count: 3 });
//! assert_eq!(account.apply(start + LEASE, 3, &Command::Start, "d"), Outcome::Started { count: 2 });
//! ```
//!
//! Run it: `cargo test --example 08-lease`. It tries a year in a microsecond.
//!
//! `answer` has become three steps: a request becomes a `Command`, `apply` makes an `Outcome` of it, and the outcome becomes an
//! answer. The first and the last know HTTP, the middle knows the rules.
//!
//! ```rust
//! let outcome = users.lock().unwrap().entry(user).or_default().apply(now, LIMIT, &command, id);
//! ```
//!
//! (We no longer need the slow service of step 6. From here on the limit is a number.)
//!
//! ## What still fails
//!
//! A full user is told "no", and neither what is playing nor how to go on. A player whose stream was ended by another one learns
//! nothing. Step 9 gives reasons.
//!
//! Accounts that are empty stay in the map for ever.
//!
//! ## In the real server
//!
//! `src/streams/account/mod.rs`: the same function for every store. `src/time.rs` has points in time without a clock, and
//! `src/server/clock.rs` a clock that stands still while the machine sleeps. `src/server/sweeper.rs` removes empty accounts.

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
/// How long a stream lives without a heartbeat. So short that you can see it end.
const LEASE: Duration = Duration::from_secs(3);

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
        "POST" => Command::Start,
        "PATCH" => Command::Renew,
        "DELETE" => Command::End,
        _ => return problem("405 Method Not Allowed"),
    };
    let outcome = users.lock().unwrap().entry(user).or_default().apply(now, LIMIT, &command, id);
    match outcome {
        Outcome::Done { count, can_watch } => view("200 OK", id, count, can_watch),
        Outcome::Started { count } => view("201 Created", id, count, true),
        Outcome::Full { count } => full(count),
        Outcome::Unknown => problem("404 Not Found"),
    }
}

/// What a user watches.
#[derive(Default)]
struct Account {
    streams: Vec<Stream>,
}

struct Stream {
    id: String,
    /// When its lease runs out.
    until: Instant,
}

enum Command {
    Ask,
    Start,
    Renew,
    End,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Done { count: usize, can_watch: bool },
    Started { count: usize },
    Full { count: usize },
    Unknown,
}

impl Account {
    /// The rules, all of them. They read no clock and know no socket.
    fn apply(&mut self, now: Instant, limit: usize, command: &Command, id: &str) -> Outcome {
        self.streams.retain(|stream| now < stream.until);
        let count = self.streams.len();
        let found = self.streams.iter().position(|stream| stream.id == id);
        match (command, found) {
            (Command::Ask, _) => Outcome::Done { count, can_watch: found.is_some() || count < limit },
            (Command::Start | Command::Renew, Some(at)) => {
                self.streams[at].until = now + LEASE;
                Outcome::Done { count, can_watch: true }
            }
            (Command::Start, None) if count >= limit => Outcome::Full { count },
            (Command::Start, None) => {
                self.streams.push(Stream { id: id.to_owned(), until: now + LEASE });
                Outcome::Started { count: count + 1 }
            }
            (Command::End, Some(at)) => {
                self.streams.remove(at);
                Outcome::Done { count: count - 1, can_watch: true }
            }
            (Command::Renew | Command::End, None) => Outcome::Unknown,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crashed_player_frees_its_slot_after_a_lease_and_not_before() {
        let mut account = Account::default();
        let start = Instant::now();
        for (count, id) in ["a", "b", "c"].into_iter().enumerate() {
            let outcome = account.apply(start, 3, &Command::Start, id);
            assert_eq!(outcome, Outcome::Started { count: count + 1 });
        }
        let soon = start + LEASE / 2;
        account.apply(soon, 3, &Command::Renew, "a");
        let almost = start + LEASE - Duration::from_nanos(1);
        assert_eq!(account.apply(almost, 3, &Command::Start, "d"), Outcome::Full { count: 3 });
        assert_eq!(account.apply(start + LEASE, 3, &Command::Start, "d"), Outcome::Started { count: 2 });
        // A year later nobody plays, and no test has slept.
        let year = start + Duration::from_secs(365 * 24 * 3600);
        assert_eq!(account.apply(year, 3, &Command::Renew, "a"), Outcome::Unknown);
    }
}
