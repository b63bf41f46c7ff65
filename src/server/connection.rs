//! A connection, as its worker keeps it; and the slab in which all of a worker's connections are kept.
//!
//! *Invariant:* a buffer belongs to a connection only while it holds bytes, so an idle one costs its slot and no more.

use core::net::SocketAddr;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::app::Side;
use crate::http::conn::Receiver;

/// How many bytes are read from one connection in one turn.
pub const READ: usize = 32 * 1024;
/// How many bytes are read and thrown away of a client that goes on sending after its last answer.
pub const MAX_DRAIN: usize = 256 * 1024;

/// One client.
pub struct Connection {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub side: Side,
    pub phase: Phase,
    /// The socket may hold bytes that nobody will tell of again.
    pub unread: bool,
    /// `kept` may hold a whole request: it was another connection's turn.
    pub backlog: bool,
    /// The poller has told of the end or of urgent data, which it does once; either may stand behind bytes that are still
    /// to be read.
    pub hup: bool,
    /// The end has been read: the client has sent its last byte.
    pub eof: bool,
    /// The last turn in which it was read from.
    pub visited: u64,
    /// A request of this turn has not been answered yet.
    pub answer_due: bool,
    /// It is in the list of those to be visited in the next turn.
    pub to_revisit: bool,
    /// When the first byte of the current request was read, in microseconds.
    pub arrived: u64,
    /// What has been read and is not yet a whole request.
    pub kept: Option<Box<Kept>>,
    /// What the socket has not yet taken.
    pub output: Option<Box<Output>>,
}

/// Where a connection is in its life.
///
/// ```text
/// Open ──last answer known──▶ Closing ──it is written, write side shut down──▶ Draining ──end, or enough──▶ closed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Requests are read.
    Open,
    /// The last answer is on its way; nothing more is read as a request.
    Closing,
    /// The client may still be sending; a reset for what it sends would eat the answer, so it is read and thrown away.
    Draining {
        /// How much has been.
        bytes: usize,
    },
}

/// A request that is not all there.
pub struct Kept {
    /// Everything that has come since the last whole request.
    pub bytes: Vec<u8>,
    /// How far they have been looked at.
    pub receiver: Receiver,
}

impl Kept {
    /// Whether it is still to be answered. The body of one that was answered at its head is none, nor is the empty line that
    /// old clients send behind a request (RFC 9112 section 2.2).
    pub fn is_begun(&self) -> bool {
        !self.receiver.is_answered() && !matches!(&self.bytes[..], b"\r" | b"\r\n")
    }
}

/// Answers that the client has not yet taken.
pub struct Output {
    bytes: Vec<u8>,
    /// `sent < bytes.len()`
    sent: usize,
}

/// What a read or write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// So many bytes; 0 from a read is the end.
    Done(usize),
    /// Nothing, for now.
    NotNow,
    /// The connection has failed.
    Failed,
}

fn io(result: io::Result<usize>) -> Io {
    match result {
        Ok(n) => Io::Done(n),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Io::NotNow
        }
        Err(_) => Io::Failed,
    }
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(stream: TcpStream, peer: SocketAddr, side: Side) -> Self {
        Self {
            stream,
            peer,
            side,
            phase: Phase::Open,
            unread: false,
            backlog: false,
            hup: false,
            eof: false,
            visited: 0,
            answer_due: false,
            to_revisit: false,
            arrived: 0,
            kept: None,
            output: None,
        }
    }

    /// Reads into `buffer` once. A read that does not fill it has emptied the socket, but for `hup`.
    pub fn read(&mut self, buffer: &mut [u8]) -> Io {
        let read = io(self.stream.read(buffer));
        self.eof |= read == Io::Done(0);
        self.unread = !self.eof && (self.hup || read == Io::Done(buffer.len()));
        read
    }

    /// Sends `bytes` behind what is still to be sent, as far as the socket takes them; keeps the rest. Returns how many
    /// were sent.
    pub fn send(&mut self, bytes: &[u8]) -> Io {
        if let Some(output) = &mut self.output {
            output.bytes.extend_from_slice(bytes);
            return Io::Done(0);
        }
        match io(self.stream.write(bytes)) {
            Io::Failed => Io::Failed,
            Io::Done(sent) if sent == bytes.len() => Io::Done(sent),
            some => {
                let sent = if let Io::Done(sent) = some { sent } else { 0 };
                self.output = Some(Box::new(Output { bytes: bytes[sent..].to_vec(), sent: 0 }));
                Io::Done(sent)
            }
        }
    }

    /// Sends what is still to be sent, as far as the socket takes it. Returns how many bytes it took.
    pub fn flush(&mut self) -> Io {
        let Some(output) = &mut self.output else { return Io::Done(0) };
        let sent = io(self.stream.write(&output.bytes[output.sent..]));
        if let Io::Done(sent) = sent {
            output.sent += sent;
            if output.sent == output.bytes.len() {
                self.output = None;
            }
        }
        sent
    }
}

/// Things in numbered slots. A slot is used again; its generation tells whose it was.
pub struct Slab<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    /// No slot at all.
    pub fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Puts a thing into a free slot.
    pub fn insert(&mut self, thing: T) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize].1 = Some(thing);
                slot
            }
            None => {
                self.slots.push((0, Some(thing)));
                self.slots.len() as u32 - 1
            }
        }
    }

    /// Takes a thing out.
    pub fn remove(&mut self, slot: u32) -> Option<T> {
        let (generation, thing) = self.slots.get_mut(slot as usize)?;
        let thing = thing.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(slot);
        Some(thing)
    }

    /// The thing in a slot.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot as usize)?.1.as_mut()
    }

    /// A name for the thing in `slot`, which no later thing in that slot will have.
    pub fn token(&self, slot: u32) -> u64 {
        let generation = self.slots.get(slot as usize).map_or(0, |(generation, _)| *generation);
        u64::from(generation) << 32 | u64::from(slot)
    }

    /// The slot of the thing that was named so, if it is still there.
    pub fn slot(&self, token: u64) -> Option<u32> {
        let (generation, thing) = self.slots.get(token as u32 as usize)?;
        (thing.is_some() && u64::from(*generation) == token >> 32).then_some(token as u32)
    }

    /// The slots that are taken.
    pub fn taken(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.slots).filter(|(_, (_, thing))| thing.is_some()).map(|(slot, _)| slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_token_names_nothing() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        let old = slab.token(a);
        assert_eq!((slab.remove(a), slab.remove(a), slab.slot(old)), (Some('a'), None, None));
        let c = slab.insert('c');
        assert_eq!((c, slab.slot(old), slab.slot(slab.token(c))), (a, None, Some(c)));
        assert_eq!((slab.get_mut(b).copied(), slab.slot(99)), (Some('b'), None));
        assert_eq!(slab.taken().collect::<Vec<_>>(), [0, 1]);
    }
}
