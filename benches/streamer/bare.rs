//! The limit: the least that a server can do for a request. One thread, one poller; it reads, finds the empty line,
//! writes a constant.
//!
//! It runs in a process of its own, this program started again, so that its time can be told from the load's.
//!
//! *Invariant:* nothing is parsed but the ends of heads; bodies are passed over because no empty line is in them.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use streamer::poller::{Poll, Poller, Readiness};

/// The argument with which this program is the bare loop.
pub const ARGUMENT: &str = "serve-the-bare-loop";

/// What a heartbeat is answered.
const ANSWER: &str = "\
    HTTP/1.1 200 OK\r\n\
    Date: Mon, 23 Nov 2026 12:00:00 GMT\r\n\
    Cache-Control: no-store\r\n\
    X-Request-Id: 9f3c01aa5b7d2e6000000001\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 128\r\n\
    \r\n\
    {\"canWatch\":true,\"endpoint\":\"/?id=v0001234\",\"count\":1,\
    \"stream\":{\"id\":\"v0001234\",\"time\":\"1:03\",\"state\":\"playing\",\"expiresIn\":90}}";

const LISTENER: u64 = u64::MAX;
/// How many events are taken at a time.
const EVENTS: usize = 512;
/// Room for what one read brings, and for the end of what came before.
const BUFFER: usize = 64 * 1024;
/// How many bytes of an empty line can have come without the whole of it.
const CUT: usize = 3;

struct Connection {
    stream: TcpStream,
    /// The last bytes that were read: an empty line may begin in them.
    last: [u8; CUT],
}

/// Serves until it is killed, and says where on standard error.
pub fn serve() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let mut poller = Poller::new(EVENTS)?;
    poller.add(listener.as_fd(), LISTENER)?;
    eprintln!("the bare loop listens on http://{}", listener.local_addr()?);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events: Vec<Readiness> = Vec::new();
    let mut buffer = vec![0; BUFFER];
    let answers = ANSWER.repeat(BUFFER / ANSWER.len());
    loop {
        poller.wait(&mut events, None)?;
        for event in &events {
            if event.token == LISTENER {
                accept(&listener, &mut poller, &mut connections)?;
                continue;
            }
            let slot = &mut connections[event.token as usize];
            let served = slot.as_mut().is_none_or(|one| serve_one(one, &mut buffer, &answers).is_ok());
            if !served && let Some(gone) = slot.take() {
                poller.remove(gone.stream.as_fd());
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poller: &mut Poller,
    connections: &mut Vec<Option<Connection>>,
) -> io::Result<()> {
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        poller.add(stream.as_fd(), connections.len() as u64)?;
        connections.push(Some(Connection { stream, last: [0; CUT] }));
    }
    Ok(())
}

/// One read and one write, as long as reads fill the buffer.
fn serve_one(connection: &mut Connection, buffer: &mut [u8], answers: &str) -> io::Result<()> {
    loop {
        buffer[..CUT].copy_from_slice(&connection.last);
        let read = match connection.stream.read(&mut buffer[CUT..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            read => read?,
        };
        let bytes = &buffer[..CUT + read];
        let mut heads = 0;
        let mut at = 0;
        while let Some(end) = after_empty_line(bytes, at) {
            heads += 1;
            at = end;
        }
        connection.last.copy_from_slice(&bytes[read..]);
        connection.stream.write_all(&answers.as_bytes()[..heads * ANSWER.len()])?;
        if CUT + read < buffer.len() {
            return Ok(());
        }
    }
}

/// Where the bytes behind the first CRLF CRLF at or after `from` begin.
///
/// Looks at every fourth byte where it can (Horspool, 1980): std has no fast search for bytes, and the limit should not
/// be slowed by that.
pub fn after_empty_line(bytes: &[u8], from: usize) -> Option<usize> {
    let mut last = from + 3;
    loop {
        last += match bytes.get(last)? {
            b'\n' if bytes[last - 3..last] == *b"\r\n\r" => return Some(last + 1),
            b'\n' => 2,
            b'\r' => 1,
            _ => 4,
        };
    }
}
