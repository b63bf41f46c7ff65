//! # 4. Keep-alive and pipelining
//!
//! Three requests by one client, then two requests in one piece:
//!
//! ```sh
//! curl -s -w ' (%{num_connects} new)\n' 'localhost:8000/?id=[1-3]'
//! (printf 'GET /?id=a HTTP/1.1\r\n\r\nGET /?id=b HTTP/1.1\r\n\r\n'; sleep 1) |
//!     curl -s -m 4 telnet://localhost:8000 | grep -o '{.*}'
//! ```
//!
//! Before, each request needs a connection, and the second of the pair is lost:
//!
//! ```text before
//! {"canWatch":true,"endpoint":"/?id=1"} (1 new)
//! {"canWatch":true,"endpoint":"/?id=2"} (1 new)
//! {"canWatch":true,"endpoint":"/?id=3"} (1 new)
//! {"canWatch":true,"endpoint":"/?id=a"}
//! ```
//!
//! ```text
//! {"canWatch":true,"endpoint":"/?id=1"} (1 new)
//! {"canWatch":true,"endpoint":"/?id=2"} (0 new)
//! {"canWatch":true,"endpoint":"/?id=3"} (0 new)
//! {"canWatch":true,"endpoint":"/?id=a"}
//! {"canWatch":true,"endpoint":"/?id=b"}
//! ```
//!
//! ## The idea
//!
//! In HTTP/1.1 a connection stays open unless one side says `Connection: close`. That works because every message says where
//! it ends. A client may even send its next request before it has the answer to the last one: that is pipelining.
//!
//! After step 3 this costs nearly nothing. `parse` takes one request off the front of `bytes` and leaves the rest, so the loop
//! goes round once more. It reads from the socket only when there is no whole request left.
//!
//! ```rust
//! Ok(None) => {
//!     if more(&mut stream, &mut bytes)? {
//!         continue;
//!     }
//!     return Ok(());
//! }
//! ```
//!
//! ## The code
//!
//! After an error we cannot know where the next request begins. So we answer, and close:
//!
//! ```rust
//! Err(status) => (problem(status), true),
//! ```
//!
//! A kept connection keeps its thread, too. 64 clients that ask once and stay would use up the pool. So nobody may be silent
//! for more than five seconds:
//!
//! ```rust
//! stream.set_read_timeout(Some(IDLE))?;
//! ```
//!
//! When the time is up, `read` returns an error, of a kind that depends on the system:
//!
//! ```rust
//! Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
//! ```
//!
//! `set_nodelay` matters only now. Without it the system holds a small answer back until the client has confirmed the answer
//! before: Nagle's algorithm. Clients confirm late, to save packets: delayed ACK. Together they cost 40 ms for nothing.
//!
//! ## What still fails
//!
//! Anybody may ask about anybody: the server does not know who is asking. Step 5 asks for a name.
//!
//! Five seconds is too short for a player that comes every 30 s, and too long for the threads. A pool cannot solve that. In step
//! 12 an idle connection costs no thread, and may stay for a minute.
//!
//! ## In the real server
//!
//! `src/http/conn.rs` keeps what has come beyond a request. `src/server/connection.rs` draws the life of a connection as a
//! picture, and `src/server/deadlines.rs` keeps 10,000 time-outs.

use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

const THREADS: usize = 64;
/// How long to wait when `accept` has failed. It would fail at once again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(5);
const MOST_OF_A_HEAD: usize = 16 * 1024;
const MOST_OF_A_BODY: usize = 8 * 1024;

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

/// Answers the requests of a connection one after the other, until either side has had enough.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    loop {
        let (answer, closes) = match parse(&mut bytes) {
            Ok(Some(request)) => (answer(&request), request.closes()),
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

struct Request {
    method: String,
    /// What stands behind `/?`.
    query: String,
    /// Names in lower case, and values.
    fields: Vec<(String, String)>,
}

impl Request {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Whether the client wants no further answer on this connection.
    fn closes(&self) -> bool {
        self.field("connection").is_some_and(|option| option.eq_ignore_ascii_case("close"))
    }
}

const BAD: &str = "400 Bad Request";

/// Takes one request off the front of `bytes`. None means that it has not all come, which is no error.
fn parse(bytes: &mut Vec<u8>) -> Result<Option<Request>, &'static str> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        let too_long = bytes.len() > MOST_OF_A_HEAD;
        return if too_long { Err("431 Request Header Fields Too Large") } else { Ok(None) };
    };
    let Ok(head) = str::from_utf8(&bytes[..end]) else { return Err(BAD) };
    let request = parse_head(head)?;
    let length = match request.field("content-length") {
        None => 0,
        // `str::parse` reads "+5" as 5. HTTP forbids it.
        Some(digits) if !digits.bytes().all(|byte| byte.is_ascii_digit()) => return Err(BAD),
        Some(digits) => match digits.parse() {
            Ok(length) => length,
            Err(_) => return Err(BAD),
        },
    };
    if length > MOST_OF_A_BODY {
        return Err("413 Content Too Large");
    }
    if bytes.len() < end + 4 + length {
        return Ok(None);
    }
    bytes.drain(..end + 4 + length);
    Ok(Some(request))
}

fn parse_head(head: &str) -> Result<Request, &'static str> {
    let mut lines = head.split("\r\n");
    // For some servers a bare line feed ends a line, and for others it does not.
    if lines.clone().any(|line| line.chars().any(|c| c.is_control() && c != '\t')) {
        return Err(BAD);
    }
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return Err(BAD) };
    let mut fields = Vec::new();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { return Err(BAD) };
        // A blank before the colon or at the front of the line: some servers read a length there, and others do not.
        if !is_token(name) {
            return Err(BAD);
        }
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let lengths = fields.iter().filter(|(name, _)| name == "content-length").count();
    if lengths > 1 {
        return Err(BAD);
    }
    if fields.iter().any(|(name, _)| name == "transfer-encoding") {
        return Err("501 Not Implemented");
    }
    let Some(query) = target.strip_prefix("/?") else { return Err("404 Not Found") };
    Ok(Request { method: method.to_owned(), query: query.to_owned(), fields })
}

/// Whether this can be the name of a field (RFC 9110 section 5.6.2).
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A status and a body.
type Answer = (&'static str, String);

fn answer(request: &Request) -> Answer {
    match request.parameter("id") {
        _ if request.method != "GET" => problem("405 Method Not Allowed"),
        Some(id) if is_word(id) => ("200 OK", format!(r#"{{"canWatch":true,"endpoint":"/?id={id}"}}"#)),
        _ => problem(BAD),
    }
}

fn problem(status: &'static str) -> Answer {
    let (number, title) = status.split_at(3);
    (status, format!(r#"{{"title":"{}","status":{number}}}"#, title.trim()))
}

/// Whether a name can stand in JSON and in a URL as it is. The course has no other names.
fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn response(answer: &Answer, closes: bool) -> String {
    let (status, body) = answer;
    let length = body.len();
    let connection = if closes { "Connection: close\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{connection}\r\n{body}"
    )
}
