//! # 5. Who asks
//!
//! One request without a name, one by bob:
//!
//! ```sh
//! curl -s 'localhost:8000/?id=a'; echo
//! curl -s -u bob:x 'localhost:8000/?id=a'; echo
//! ```
//!
//! ```text before
//! {"canWatch":true,"endpoint":"/?id=a"}
//! {"canWatch":true,"endpoint":"/?id=a"}
//! ```
//!
//! ```text
//! {"title":"Unauthorized","status":401}
//! {"canWatch":true,"endpoint":"/?id=a","user":"bob"}
//! ```
//!
//! ## The idea
//!
//! `curl -u bob:x` adds one field: `Authorization: Basic Ym9iOng=`. Behind `Basic` stands `bob:x` in base64. That is no
//! secret, only a spelling without odd characters: whoever sees the field has the password. So Basic is used over TLS, or on
//! one machine.
//!
//! A 401 has to say what would do. That is the field `WWW-Authenticate`, and a browser then asks its user.
//!
//! ## The code
//!
//! From field to name, and at each `?` a reason to say no:
//!
//! ```rust
//! fn user(request: &Request) -> Option<String> {
//!     let coded = request.field("authorization")?.strip_prefix("Basic ")?;
//!     let pair = String::from_utf8(decode(coded)?).ok()?;
//!     let (user, _password) = pair.split_once(':')?;
//!     if is_word(user) { Some(user.to_owned()) } else { None }
//! }
//! ```
//!
//! The caller learns *that* it failed and not *why*. A server that says "no such user" to one and "wrong password" to another
//! tells a stranger who its users are.
//!
//! `answer` begins with the user. No line below it can forget to ask:
//!
//! ```rust
//! let Some(user) = user(request) else { return problem("401 Unauthorized") };
//! ```
//!
//! Base64 is short enough to write. Each letter stands for 6 bits. As soon as 8 bits have come together, they are a byte:
//!
//! ```rust
//! for letter in coded.trim_end_matches('=').bytes() {
//!     let value = LETTERS.iter().position(|&known| known == letter)?;
//!     // The mask keeps `bits` from growing without end.
//!     bits = (bits << 6 | value) & 0xFFFF;
//!     count += 6;
//!     if count >= 8 {
//!         count -= 8;
//!         bytes.push((bits >> count & 0xFF) as u8);
//!     }
//! }
//! ```
//!
//! Try it with `echo -n bob:x | base64`.
//!
//! ## What still fails
//!
//! Any password gets in. To check one, never store it, store a hash of it; and compare in a time that does not depend on where
//! the first difference is, or a patient stranger can find the secret byte by byte.
//!
//! And the server only repeats names: it remembers nothing. Step 6 counts.
//!
//! ## In the real server
//!
//! `src/app/auth/mod.rs`: only this module can make a `User`, so the compiler keeps every route from forgetting to ask.
//! `src/codec/base64.rs` refuses what is not exactly base64. `src/codec/sha256.rs` hashes.

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
    let Some(user) = user(request) else { return problem("401 Unauthorized") };
    match request.parameter("id") {
        _ if request.method != "GET" => problem("405 Method Not Allowed"),
        Some(id) if is_word(id) => {
            ("200 OK", format!(r#"{{"canWatch":true,"endpoint":"/?id={id}","user":"{user}"}}"#))
        }
        _ => problem(BAD),
    }
}

/// Who asks: `Authorization: Basic`, and `user:password` in base64 (RFC 7617). Any password will do.
fn user(request: &Request) -> Option<String> {
    let coded = request.field("authorization")?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(decode(coded)?).ok()?;
    let (user, _password) = pair.split_once(':')?;
    if is_word(user) { Some(user.to_owned()) } else { None }
}

/// Base64 (RFC 4648): each letter stands for 6 bits, so four letters are three bytes.
fn decode(coded: &str) -> Option<Vec<u8>> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0, 0);
    for letter in coded.trim_end_matches('=').bytes() {
        let value = LETTERS.iter().position(|&known| known == letter)?;
        // The mask keeps `bits` from growing without end.
        bits = (bits << 6 | value) & 0xFFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xFF) as u8);
        }
    }
    Some(bytes)
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
    let ask = if status.starts_with("401") { "WWW-Authenticate: Basic realm=\"streamer\"\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{connection}{ask}\r\n{body}"
    )
}
