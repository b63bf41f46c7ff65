//! A session's connection to one node: what is sent, what has come, and which answer belongs to what.
//!
//! Answers come in the order of the commands, so a queue says what each belongs to. A connection on which an answer is
//! late is closed, and never used again: so no answer is ever taken for another's.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use super::shared::NodeId;
use super::stream::Stream;
use crate::codec::resp::{self, Reply};
use crate::store::{Interest, Registry};
use crate::time::{Millis, Timestamp};

/// How much is read at a time.
const READ: usize = 64 * 1024;
/// What a buffer may keep when it is empty.
const KEEP: usize = 256 * 1024;

/// What an answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// The compare-and-set of this task, sent then.
    Task(u32, Instant),
    /// `TIME`, sent then.
    Time(Instant),
    /// `ASKING`; what it says does not matter.
    Asking,
}

/// The connection cannot be used any more.
#[derive(Debug)]
pub struct Broken;

/// One connection.
pub struct Link {
    /// Where it leads.
    pub node: NodeId,
    stream: Stream,
    out: Vec<u8>,
    /// How much of `out` is sent. `0 <= sent <= out.len()`
    sent: usize,
    input: Vec<u8>,
    /// How much of `input` has come and was not handed over.
    filled: usize,
    pending: VecDeque<Pending>,
    /// Whether the server has been sent the script's text, and has not said that it does not know it.
    pub knows_script: bool,
    /// Whether the poller is to tell of space to write.
    waits_to_write: bool,
    /// The engine's clock: what it showed when. None until it has said so once.
    clock: Option<(Instant, u64)>,
    /// When the clock is to be asked for again.
    pub ask_time_at: Timestamp,
    /// By when the answer to `TIME` has to be there.
    pub time_due: Option<Timestamp>,
    /// When a command was last sent.
    pub used_at: Timestamp,
}

impl Link {
    /// Begins to watch a connection that is logged in. [`Link::ask_time`] is to be called next.
    pub fn new(
        node: NodeId,
        stream: Stream,
        now: Timestamp,
        registry: &mut dyn Registry,
    ) -> std::io::Result<Self> {
        registry.watch(stream.as_fd(), node, Interest::Read)?;
        Ok(Self {
            node,
            stream,
            out: Vec::new(),
            sent: 0,
            input: Vec::new(),
            filled: 0,
            pending: VecDeque::new(),
            knows_script: false,
            waits_to_write: false,
            clock: None,
            ask_time_at: now,
            time_due: None,
            used_at: now,
        })
    }

    /// Whether the engine has said its time.
    pub fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    /// The engine's clock; None when it has not said yet.
    pub fn engine_now(&self, at: Instant) -> Option<Timestamp> {
        let (then, millis) = self.clock?;
        Some(Timestamp::from_millis(millis + at.saturating_duration_since(then).as_millis() as u64))
    }

    /// Where a command is appended; [`Link::expect`] says what its answer will belong to.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// The answer to the command just appended belongs to this.
    pub fn expect(&mut self, pending: Pending) {
        self.pending.push_back(pending);
    }

    /// Asks for the time, at most once at a time.
    pub fn ask_time(&mut self, now: Timestamp, at: Instant, timeout: Millis) {
        if self.time_due.is_none() {
            resp::command(&[b"TIME"], &mut self.out);
            self.expect(Pending::Time(at));
            self.time_due = Some(now + timeout);
        }
        self.ask_time_at = now + Millis::from_secs(1);
    }

    /// Takes the time that the engine has said: it is that of the middle of the round trip.
    pub fn set_time(&mut self, asked: Instant, at: Instant, reply: Reply) -> Result<(), Broken> {
        self.time_due = None;
        let Reply::Array(mut items) = reply else { return Err(Broken) };
        let mut number = || match items.next() {
            Some(Reply::Bulk(digits)) => crate::codec::decimal::parse(digits).ok_or(Broken),
            _ => Err(Broken),
        };
        let (seconds, micros) = (number()?, number()?);
        let millis = seconds.checked_mul(1000).ok_or(Broken)? + micros / 1000;
        self.clock = Some((asked + at.saturating_duration_since(asked) / 2, millis));
        Ok(())
    }

    /// How many answers are awaited.
    pub fn owes(&self) -> usize {
        self.pending.len()
    }

    /// Sends what there is, as far as it goes now.
    pub fn flush(&mut self, registry: &mut dyn Registry) -> Result<(), Broken> {
        while self.sent < self.out.len() {
            match (&self.stream).write(&self.out[self.sent..]) {
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
            registry.watch(self.stream.as_fd(), self.node, interest).map_err(|_| Broken)?;
            self.waits_to_write = waits;
        }
        Ok(())
    }

    /// Reads what has come, and hands over each answer and what it belongs to. What is handed over counts although the
    /// connection turns out to be broken behind it.
    pub fn read(
        &mut self,
        mut take: impl FnMut(&mut Self, Pending, Reply) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        loop {
            if self.input.len() < self.filled + READ {
                self.input.resize(self.filled + READ, 0);
            }
            let space = self.input.len() - self.filled;
            match (&self.stream).read(&mut self.input[self.filled..]) {
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
        take: &mut impl FnMut(&mut Self, Pending, Reply) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let mut input = std::mem::take(&mut self.input);
        let mut from = 0;
        while let Some((reply, length)) = resp::reply(&input[from..self.filled]).map_err(|_| Broken)? {
            // An answer to nothing: the server has lost its place, or is none.
            let pending = self.pending.pop_front().ok_or(Broken)?;
            take(self, pending, reply)?;
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
    pub fn close(self, registry: &mut dyn Registry) -> VecDeque<Pending> {
        registry.unwatch(self.stream.as_fd());
        self.pending
    }
}
