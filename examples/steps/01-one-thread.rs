//! # 1. One thread
//!
//! Nothing listens yet, so this line fails:
//!
//! ```sh
//! curl -s 'localhost:8000/?id=a' && echo || echo 'no answer'
//! ```
//!
//! ```text before
//! no answer
//! ```
//!
//! Run this step in a second terminal (`cargo run --example 01-one-thread`), and the same line prints:
//!
//! ```text
//! {"canWatch":true,"endpoint":"/?id=a"}
//! ```
//!
//! ## The idea
//!
//! A player, a browser and curl all do the same: they connect, send a text, and read a text. HTTP is the agreement on what
//! these texts look like. `curl -v` shows both. A request begins with a line that says what the client wants:
//! `GET /?id=a HTTP/1.1`. A response begins with a line that says how it went: `HTTP/1.1 200 OK`. Then come fields, one a
//! line, then an empty line, then the body. Every line ends with `\r\n`.
//!
//! TCP carries bytes and knows nothing of texts. So the field `Content-Length` tells the client where the body ends.
//!
//! `read` and `write_all` belong to the traits `Read` and `Write`. They can be called where these traits are imported.
//!
//! ## The code
//!
//! One connection, one request, one answer:
//!
//! ```rust
//! fn serve(mut stream: TcpStream) -> io::Result<()> {
//!     let mut bytes = [0; 1024];
//!     let n = stream.read(&mut bytes)?;
//!     stream.write_all(answer(&bytes[..n]).as_bytes())
//! }
//! ```
//!
//! `serve` owns the stream. When it returns, the stream is dropped, and that closes the connection.
//!
//! One client's fault must not end the server. So `serve` hands every error to `main`, and `main` reports it and goes on:
//!
//! ```rust
//! let served = match stream {
//!     Ok(stream) => serve(stream),
//!     Err(error) => Err(error),
//! };
//! ```
//!
//! `is_word` looks like a detail and is not one. The answer repeats the id. An id with a quote in it would end the string in
//! our JSON, and the client could write the rest of the answer itself.
//!
//! ## What still fails
//!
//! `main` serves one client after the other. If a client connects and says nothing, `read` waits for it, and everybody else
//! waits too. Step 2 begins with that client.
//!
//! ## In the real server
//!
//! `src/server/listener.rs` accepts connections and deals them to the threads. `src/http/encode.rs` writes responses. Names
//! with any character in them are escaped in `src/codec/json/string.rs` and decoded in `src/codec/urlencoded.rs`.

use std::env;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process;

fn main() -> io::Result<()> {
    let listener = listen()?;
    for stream in listener.incoming() {
        let served = match stream {
            Ok(stream) => serve(stream),
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            eprintln!("a connection failed: {error}");
        }
    }
    Ok(())
}

/// Binds the address that is the only argument. Port 0 is any free port.
fn listen() -> io::Result<TcpListener> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8000".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on http://{} (process {})", listener.local_addr()?, process::id());
    Ok(listener)
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
