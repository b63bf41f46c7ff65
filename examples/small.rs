//! The server on one page: `TcpListener`, a fixed pool of threads, a `Mutex<HashMap>` of users. It joins parts of `src/`:
//!
//! ```text
//! bytes ──http──▶ Request ──app──▶ Command ──streams──▶ Outcome ──app──▶ bytes
//! ```
//!
//! `http` finds requests in bytes, `app` knows what they ask and how an answer is written, `streams` has the rules. From
//! `config`, `store`, `sync` and `time` come the values that these three are made with.
//!
//! To learn how such parts are made, walk the course first (docs/course.md): this program comes after its step 12.
//!
//! `cargo run --example small` listens on `127.0.0.1:8000`; another address is the only argument. It answers as the program
//! does without flags, and the program's own tests hold it to that. The program also has: connections that cost no thread
//! while they are idle, a bound for a client that asks much and reads slowly, a count that outlives the process, passwords,
//! a log, metrics, a stop that finishes what has begun.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use std::{env, thread};

use streamer::app::auth::{Mode, signed::LastToken};
use streamer::app::{App, Exchange, Requests, Side, Source, problem::Problem, site::Site};
use streamer::config::{Config, LogFormat};
use streamer::http::conn::{Received, Receiver};
use streamer::store::memory::Memory;
use streamer::streams::account::{Account, Adoption, Policy};
use streamer::streams::{batch::Batch, name::Name};
use streamer::sync::lock;
use streamer::time::{Millis, Now, Timestamp};

const THREADS: usize = 64;
const LEASE: Millis = Millis::from_secs(90);
/// How long a connection may be silent: it has a thread, and others may need that. Also how long we listen to a client that
/// has had its last answer.
const IDLE: Duration = Duration::from_secs(5);
/// How long a request may take from its first byte to its last, and how long one write may wait for the client.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(env::args().nth(1).unwrap_or("127.0.0.1:8000".to_owned()))?;
    println!("listening on http://{}", listener.local_addr()?);
    // For one lease we take over streams that we do not know: they may have begun before a restart.
    // (`..` takes all other fields from the value behind it.)
    let policy = Policy { adoption: Adoption::Until(Timestamp::BEGINNING + LEASE), ..Policy::new(LEASE) };
    let server = Server { users: Mutex::default(), policy, started: Instant::now() };
    let config = Config { lease: LEASE, log: LogFormat::Off, ..Config::default() };
    // `Site` is what all `App`s share. It wants a store, and only asks it whether it works: the users are in `server.users`.
    let (store, now) = (Arc::new(Memory::new(policy)), server.now());
    let site = Arc::new(Site::new(config, store, Mode::Open.into(), None, THREADS, now));
    thread::scope(|scope| {
        for number in 0..THREADS {
            let app = App::new(Arc::clone(&site), number, Side::Public);
            scope.spawn(|| server.work(&listener, app));
        }
        loop {
            thread::sleep(Duration::from_secs(1));
            // Nobody asks about a user who has left. So once a second we throw out what has expired.
            lock(&server.users).retain(|_, account| {
                account.expire(server.now().steady, &mut Vec::new());
                !account.is_empty()
            });
        }
    })
}

/// What all threads share.
struct Server {
    users: Mutex<HashMap<Name, Account>>,
    policy: Policy,
    started: Instant,
}

impl Server {
    /// What each thread of the pool does. All wait in `accept` at once; the system gives a connection to one of them.
    fn work(&self, listener: &TcpListener, mut app: App) {
        loop {
            let Ok((stream, peer)) = listener.accept() else {
                // Mostly there are too many open files, and it would fail at once again.
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            // A panic ends this connection, and not the thread. By `AssertUnwindSafe` we tell the compiler that we use
            // nothing afterwards that the panic has left half done.
            let _ = catch_unwind(AssertUnwindSafe(|| self.serve(&mut app, stream, peer)));
        }
    }

    /// Answers the requests of a connection one after the other, until either side has had enough.
    fn serve(&self, app: &mut App, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(IDLE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // How far the current request has been read. And the last signed token, which `decode` wants to know: here any
        // password will do.
        let (mut receiver, mut last) = (Receiver::default(), LastToken::default());
        let (mut bytes, mut begun) = (Vec::new(), Instant::now());
        loop {
            // A turn holds the commands of requests, and the outcomes. The program answers many requests in one turn.
            let (mut requests, mut out) = (Requests::default(), Vec::new());
            app.begin(self.now(), self.micros());
            let source = Source { peer, arrived: self.micros() };
            // An exchange is a request that waits for its outcome, and remembers how to answer. `used` bytes are read.
            let (used, exchange) = match receiver.receive(&mut bytes) {
                Ok(Received::Request(request, used)) => {
                    (used, app.decode(source, &request, &mut last, &mut requests))
                }
                // The client sends the body only when it has been told `100 Continue`.
                Ok(Received::Head { waits: true, .. }) => (0, Exchange::new(source)),
                received => {
                    let problem = match received {
                        Err(refusal) => Problem::Framing(refusal),
                        Ok(_) => match more(&mut stream, &mut receiver, &mut bytes) {
                            // The first bytes of a request: its time begins.
                            Ok(n) if n > 0 && n == bytes.len() => {
                                begun = Instant::now();
                                continue;
                            }
                            Ok(n) if n > 0 && begun.elapsed() < PATIENCE => continue,
                            // The client has closed or been silent, and has asked for nothing.
                            _ if bytes.is_empty() => return Ok(()),
                            Ok(0) => Problem::Truncated,
                            _ if receiver.awaits_body() => Problem::LateBody,
                            _ => Problem::LateHead,
                        },
                    };
                    // What is known of the request decides how its refusal looks.
                    let known = receiver.head().map(|head| (head, &bytes[..]));
                    (0, app.refuse(source, problem, known, &mut requests))
                }
            };
            self.execute(&mut requests.batch);
            app.encode(&exchange, self.micros(), &requests, &mut out);
            stream.write_all(&out)?;
            if exchange.closes() {
                break;
            }
            bytes.drain(..used);
            begun = Instant::now();
        }
        // If we close while bytes are unread, the system sends a reset. The reset may reach the client before our answer.
        stream.shutdown(Shutdown::Write)?;
        let closed = Instant::now();
        while closed.elapsed() < IDLE && stream.read(&mut [0; 4096])? > 0 {}
        Ok(())
    }

    /// Carries out what is asked: one map, one lock, one command at a time.
    fn execute(&self, batch: &mut Batch) {
        for entry in &mut batch.entries {
            let (command, now) = (&entry.command, self.now().steady);
            let mut users = lock(&self.users);
            // A command holds no texts. It says where in the arena they are.
            let account = users.entry(batch.arena.get(command.user).into()).or_default();
            // `findings` is the arena of the outcomes: the list of streams, for one.
            entry.outcome = account.apply(now, &self.policy, command, &batch.arena, &mut batch.findings);
        }
    }

    fn micros(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let steady = Timestamp::BEGINNING + Millis::from_millis(self.micros() / 1000);
        Now { steady, wall: Timestamp::from_millis(wall.as_millis() as u64) }
    }
}

/// Waits for more bytes of a request that has not all come; says how many. 0 means that the client will send no more.
fn more(stream: &mut TcpStream, receiver: &mut Receiver, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let (mut piece, mut kept) = ([0; 4096], Vec::new());
    // What has been decoded of a body need not be kept as it came.
    receiver.keep(bytes, &mut kept);
    *bytes = kept;
    let n = stream.read(&mut piece)?;
    bytes.extend_from_slice(&piece[..n]);
    Ok(n)
}
