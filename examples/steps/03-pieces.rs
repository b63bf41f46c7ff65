//! # 3. Bytes come in pieces
//!
//! A request that stops in the middle of a word and goes on two seconds later, as on a bad mobile network:
//!
//! ```sh
//! (printf 'GET /?id=a HT'; sleep 2; printf 'TP/1.1\r\n\r\n'; sleep 1) |
//!     curl -s -m 4 telnet://localhost:8000 | grep -o '{.*}'
//! ```
//!
//! ```text before
//! {"title":"Bad Request"}
//! ```
//!
//! ```text
//! {"canWatch":true,"endpoint":"/?id=a"}
//! ```
//!
//! ## The idea
//!
//! A TCP connection is a stream of bytes. What one side writes at once may arrive in ten pieces, and what it writes in ten
//! pieces may arrive at once. "Fewer bytes than the buffer holds" does not mean that the request has ended. Only the bytes
//! themselves say that: the head ends with an empty line, and `Content-Length` says how long the body is.
//!
//! So reading and understanding are two things. One function gathers bytes. Another looks at what there is, and has three
//! answers: a request, an error, or "not yet". **"Not yet" is not an error.**
//!
//! ## The code
//!
//! The parser is handed bytes, and never a socket. So it can be tested without one.
//!
//! ```rust
//! fn parse(bytes: &mut Vec<u8>) -> Result<Option<Request>, &'static str> {
//! ```
//!
//! `serve` goes on until the parser has decided:
//!
//! ```rust
//! let answer = match parse(&mut bytes) {
//!     Ok(Some(request)) => answer(&request),
//!     Err(status) => problem(status),
//!     Ok(None) => {
//!         if more(&mut stream, &mut bytes)? {
//!             continue;
//!         }
//!         return Ok(());
//!     }
//! };
//! ```
//!
//! "Not yet" must not go on for ever: a client could fill our memory with a head that never ends. So whatever grows has a
//! limit, and a status that says so.
//!
//! The length is the most dangerous number in HTTP. If a proxy in front of us and we disagree about where a request ends, then
//! the rest of its body is a request of its own to one of us. That attack is called request smuggling. So the parser refuses the
//! known tricks: two lengths, `+5`, a blank before the colon, a line that begins with a blank, a bare line feed, and any
//! `Transfer-Encoding`, which it does not know.
//!
//! ```rust
//! Some(digits) if !digits.bytes().all(|byte| byte.is_ascii_digit()) => return Err(BAD),
//! ```
//!
//! ## What still fails
//!
//! Each answer ends its connection. A player asks every 30 s, and each time it has to connect first: that is one more way to
//! the server and back, and with TLS two. Step 4 keeps the connection.
//!
//! `parse` begins at the front each time more bytes have come. It is slow for a client that sends single bytes.
//!
//! ## In the real server
//!
//! `src/http/parse.rs` goes on where it has stopped, allocates nothing, and is stricter. `src/http/body.rs` knows
//! `Transfer-Encoding: chunked`. docs/http.md lists what is refused, and why.

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

/// Reads one request, answers it, and closes the connection.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let answer = match parse(&mut bytes) {
            Ok(Some(request)) => answer(&request),
            Err(status) => problem(status),
            Ok(None) => {
                if more(&mut stream, &mut bytes)? {
                    continue;
                }
                return Ok(());
            }
        };
        return stream.write_all(response(&answer).as_bytes());
    }
}

/// Appends what has come, and waits until something has. False when the client will send no more.
fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; 1024];
    let n = stream.read(&mut piece)?;
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

fn response(answer: &Answer) -> String {
    let (status, body) = answer;
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
