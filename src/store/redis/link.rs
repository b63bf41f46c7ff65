//! A session's connection to one node: what is sent, what has come, and which answer belongs to what.
//!
//! Answers come in the order of the commands, so a queue says what each belongs to. A connection on which an answer is
//! late is closed, and never used again: so no answer is ever taken for another's.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connect::EngineStream;
use super::dialogue::{self, ClockReading};
use super::engine::NodeId;
use super::node::Node;
use super::resp::{self, Reply};
use crate::poller::{Interest, Registry};
use crate::time::Timestamp;

/// How much is read at a time.
const READ: usize = 64 * 1024;
/// What a buffer may keep when it is empty.
const KEEP: usize = 256 * 1024;

/// What an answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    Task(u32),
    Time,
    /// `ASKING`; what it says does not matter.
    Asking,
}

/// The connection cannot be used any more.
#[derive(Debug)]
pub struct Broken;

pub struct Link {
    /// Where it leads, and that node's number.
    pub id: NodeId,
    pub node: Arc<Node>,
    stream: EngineStream,
    out: Vec<u8>,
    /// How much of `out` is sent. `0 <= sent <= out.len()`
    sent: usize,
    input: Vec<u8>,
    /// How much of `input` has come and was not handed over.
    filled: usize,
    /// What has not been answered, and when it was sent.
    pending: VecDeque<(Pending, Instant)>,
    /// Whether the server has been sent the script's text, and has not said that it does not know it.
    pub knows_script: bool,
    /// Whether the poller is to tell of space to write.
    waits_to_write: bool,
    /// The engine's clock: what it showed when.
    clock: ClockReading,
    /// Whether it has carried a command out.
    pub has_served: bool,
    pub opened: Instant,
}

impl Link {
    /// Begins to watch a connection that is proven.
    pub fn new(
        (id, node): (NodeId, Arc<Node>),
        stream: EngineStream,
        clock: ClockReading,
        now: Instant,
        registry: &mut Registry,
    ) -> std::io::Result<Self> {
        registry.watch(stream.as_fd(), id, Interest::Read)?;
        Ok(Self {
            id,
            node,
            stream,
            out: Vec::new(),
            sent: 0,
            input: Vec::new(),
            filled: 0,
            pending: VecDeque::new(),
            knows_script: true,
            waits_to_write: false,
            clock,
            has_served: false,
            opened: now,
        })
    }

    pub fn engine_now(&self, at: Instant) -> Timestamp {
        let (then, millis) = self.clock;
        Timestamp::from_millis(millis + at.saturating_duration_since(then).as_millis() as u64)
    }

    /// Where a command is appended; [`Link::expect`] says what its answer will belong to.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// The answer to the command just appended belongs to this.
    pub fn expect(&mut self, pending: Pending, now: Instant) {
        self.pending.push_back((pending, now));
    }

    pub fn ask_time(&mut self, now: Instant) {
        resp::command(&[b"TIME"], &mut self.out);
        self.expect(Pending::Time, now);
    }

    /// Takes the time that the engine has said.
    pub fn set_time(&mut self, asked: Instant, now: Instant, reply: &Reply) -> Result<(), Broken> {
        self.clock = dialogue::clock(asked, now, reply).ok_or(Broken)?;
        Ok(())
    }

    pub fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    /// How many answers are awaited.
    pub fn owes(&self) -> usize {
        self.pending.len()
    }

    /// Whether an answer has not come in time.
    pub fn is_late(&self, now: Instant, timeout: Duration) -> bool {
        self.pending.front().is_some_and(|(_, sent)| *sent + timeout <= now)
    }

    /// Sends what there is, as far as it goes now.
    pub fn flush(&mut self, registry: &mut Registry) -> Result<(), Broken> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(0) => return Err(Broken),
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Broken),
            }
        }
        let waits = self.sent < self.out.len();
        if !waits {
            self.out.clear();
            self.out.shrink_to(KEEP);
            self.sent = 0;
        }
        if waits != self.waits_to_write {
            let interest = if waits { Interest::ReadWrite } else { Interest::Read };
            registry.watch(self.stream.as_fd(), self.id, interest).map_err(|_| Broken)?;
            self.waits_to_write = waits;
        }
        Ok(())
    }

    /// Reads what has come, and hands over each answer and what it belongs to. What is handed over counts although the
    /// connection turns out to be broken behind it.
    pub fn read(
        &mut self,
        mut take: impl FnMut(&mut Self, Pending, Instant, &Reply) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        loop {
            if self.input.len() < self.filled + READ {
                self.input.resize(self.filled + READ, 0);
            }
            let space = self.input.len() - self.filled;
            match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => return Err(Broken),
                Ok(read) => {
                    self.filled += read;
                    self.hand_over(&mut take)?;
                    if read < space {
                        // There is no more: the poller will tell of what comes next.
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Broken),
            }
        }
    }

    fn hand_over(
        &mut self,
        take: &mut impl FnMut(&mut Self, Pending, Instant, &Reply) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let mut input = std::mem::take(&mut self.input);
        let mut from = 0;
        while let Some((reply, length)) = resp::reply(&input[from..self.filled]).map_err(|_| Broken)? {
            // An answer to nothing: the server has lost its place, or is none.
            let (pending, sent) = self.pending.pop_front().ok_or(Broken)?;
            take(self, pending, sent, &reply)?;
            from += length;
        }
        input.copy_within(from..self.filled, 0);
        self.filled -= from;
        if self.filled == 0 && input.len() > KEEP {
            input = Vec::new();
        }
        self.input = input;
        Ok(())
    }

    /// Ends it; gives what has not been answered.
    pub fn close(self, registry: &mut Registry) -> VecDeque<(Pending, Instant)> {
        registry.unwatch(self.stream.as_fd());
        self.pending
    }
}
