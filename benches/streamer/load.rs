//! The load: keep-alive connections on one thread, each of which sends its next requests when the last are answered.
//!
//! *Invariant:* when a run returns, every request that it has sent has been answered and counted.

use core::net::SocketAddr;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use streamer::poller::{Poll, Poller, Readiness};

use crate::bare::after_empty_line;
use crate::requests::Script;

/// How long nothing may come before the server is given up.
const PATIENCE: Duration = Duration::from_secs(10);
const BUFFER: usize = 256 * 1024;

/// Some connections to one server.
pub struct Load {
    poller: Poller,
    events: Vec<Readiness>,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    /// How many requests are sent at a time.
    pipeline: usize,
    /// Whether to look for answers again and again rather than to sleep.
    pub spins: bool,
    /// How many connections wait for answers.
    busy: usize,
}

struct Connection {
    stream: TcpStream,
    script: Script,
    /// The request that is next.
    next: usize,
    /// How many requests were sent last.
    asked: usize,
    /// How many of them are not answered yet.
    waiting: usize,
    /// When they were asked for.
    since: Instant,
    /// The beginning of an answer that is not all there.
    kept: Vec<u8>,
}

/// What came back.
#[derive(Default)]
pub struct Tally {
    pub answers: u64,
    /// How many of them were not 2xx.
    pub failed: u64,
    pub seconds: f64,
    pub latency: Histogram,
}

impl Tally {
    /// Adds what came back in another run.
    pub fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.failed += other.failed;
        self.seconds += other.seconds;
        self.latency.add_all(&other.latency);
    }
}

/// What a connection does when its script is at its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AtEnd {
    /// Nothing.
    Rest,
    /// It begins again.
    Repeat,
}

impl Load {
    /// Connects `n` times, or as often as there are descriptors for.
    pub fn connect(address: SocketAddr, n: usize, pipeline: usize) -> io::Result<Self> {
        let mut load = Self {
            poller: Poller::new(1024)?,
            events: Vec::new(),
            connections: Vec::new(),
            buffer: vec![0; BUFFER],
            pipeline,
            spins: false,
            busy: 0,
        };
        for _ in 0..n {
            match load.connect_one(address) {
                Err(error) if load.connections.is_empty() => return Err(error),
                Err(_) => break,
                Ok(()) => {}
            }
        }
        Ok(load)
    }

    fn connect_one(&mut self, address: SocketAddr) -> io::Result<()> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        self.poller.add(stream.as_fd(), self.connections.len() as u64)?;
        let (script, kept) = (Script::default(), Vec::new());
        let since = Instant::now();
        self.connections.push(Connection { stream, script, next: 0, asked: 0, waiting: 0, since, kept });
        Ok(())
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Gives every connection something to send.
    pub fn set(&mut self, script: impl Fn(usize) -> Script) {
        for (i, connection) in self.connections.iter_mut().enumerate() {
            (connection.script, connection.next) = (script(i), 0);
        }
    }

    /// Sends all that the scripts hold, once.
    pub fn run_once(&mut self) -> io::Result<Tally> {
        self.run(AtEnd::Rest, |_| true)
    }

    /// Goes on sending what the scripts hold, over and over, for so long.
    pub fn run_for(&mut self, duration: Duration) -> io::Result<Tally> {
        let end = Instant::now() + duration;
        self.run(AtEnd::Repeat, |now| now < end)
    }

    fn run(&mut self, at_end: AtEnd, goes_on: impl Fn(Instant) -> bool) -> io::Result<Tally> {
        let mut tally = Tally::default();
        let begun = Instant::now();
        self.send(begun, at_end)?;
        let mut latest = begun;
        while self.busy > 0 {
            let timeout = if self.spins { Duration::ZERO } else { PATIENCE };
            let now = self.turn(timeout, &mut tally, at_end, &goes_on)?;
            if !self.events.is_empty() {
                latest = now;
            } else if now - latest >= PATIENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer came for ten seconds"));
            }
        }
        tally.seconds = begun.elapsed().as_secs_f64();
        Ok(tally)
    }

    /// Sends what is next on every connection, as asked for at `since`. False when nothing was left to send.
    pub fn send(&mut self, since: Instant, at_end: AtEnd) -> io::Result<bool> {
        (0..self.connections.len()).try_for_each(|i| self.send_next(i, since, at_end))?;
        Ok(self.busy > 0)
    }

    /// Takes what answers there are, and sends nothing. False when all is answered.
    pub fn collect(&mut self, tally: &mut Tally) -> io::Result<bool> {
        if self.busy > 0 {
            self.turn(Duration::ZERO, tally, AtEnd::Rest, &|_| false)?;
        }
        Ok(self.busy > 0)
    }

    fn turn(
        &mut self,
        timeout: Duration,
        tally: &mut Tally,
        at_end: AtEnd,
        goes_on: &impl Fn(Instant) -> bool,
    ) -> io::Result<Instant> {
        self.poller.wait(&mut self.events, Some(timeout))?;
        let now = Instant::now();
        let goes_on = goes_on(now);
        for at in 0..self.events.len() {
            let i = self.events[at].token as usize;
            let connection = &mut self.connections[i];
            if connection.waiting == 0 {
                continue;
            }
            connection.receive(&mut self.buffer, tally)?;
            if connection.waiting == 0 {
                tally.latency.add(now - connection.since, connection.asked);
                self.busy -= 1;
                if goes_on {
                    self.send_next(i, now, at_end)?;
                }
            }
        }
        Ok(now)
    }

    fn send_next(&mut self, i: usize, now: Instant, at_end: AtEnd) -> io::Result<()> {
        let connection = &mut self.connections[i];
        if connection.next == connection.script.len() && at_end == AtEnd::Repeat {
            connection.next = 0;
        }
        let until = (connection.next + self.pipeline).min(connection.script.len());
        if connection.next < until {
            connection.since = now;
            connection.send(until)?;
            self.busy += 1;
        }
        Ok(())
    }
}

impl Connection {
    /// Sends the requests up to `until`. A batch is smaller than what a socket takes at once.
    fn send(&mut self, until: usize) -> io::Result<()> {
        (&self.stream).write_all(self.script.get(self.next..until))?;
        self.asked = until - self.next;
        self.waiting = self.asked;
        self.next = until;
        Ok(())
    }

    /// Reads what there is, and counts the answers in it.
    fn receive(&mut self, buffer: &mut [u8], tally: &mut Tally) -> io::Result<()> {
        let kept = self.kept.len();
        buffer[..kept].copy_from_slice(&self.kept);
        self.kept.clear();
        let read = match self.stream.read(&mut buffer[kept..]) {
            Ok(0) => return Err(io::Error::other("the server has closed a connection")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            read => read?,
        };
        let mut rest = &buffer[..kept + read];
        while let Some((status, len)) = answer(rest) {
            tally.answers += 1;
            tally.failed += u64::from(status != b'2');
            self.waiting = self.waiting.saturating_sub(1);
            rest = &rest[len..];
        }
        self.kept.extend_from_slice(rest);
        Ok(())
    }
}

/// The first digit of the status, and the length, of the answer that `bytes` begin with, if it is all there.
fn answer(bytes: &[u8]) -> Option<(u8, usize)> {
    let head = after_empty_line(bytes, 0)?;
    let length = bytes[..head].split(|&byte| byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(16)?;
        name.eq_ignore_ascii_case(b"content-length: ").then_some(value.trim_ascii_end())
    });
    let length = length.map_or(0, |digits| digits.iter().fold(0, |n, d| n * 10 + usize::from(d - b'0')));
    (head + length <= bytes.len()).then_some((bytes[9], head + length))
}

/// How many steps an octave of a [`Histogram`] has: each is 1.6 % of what it stands for.
const STEPS: usize = 64;
/// From 1 ns to 18 minutes.
const OCTAVES: usize = 40;

/// How often what took how long.
pub struct Histogram {
    steps: Vec<u64>,
    most: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { steps: vec![0; STEPS * OCTAVES], most: Duration::ZERO }
    }
}

impl Histogram {
    /// Adds `n` things that took so long.
    pub fn add(&mut self, took: Duration, n: usize) {
        self.most = self.most.max(took);
        let step = (took.as_nanos().max(1) as f64).log2() * STEPS as f64;
        self.steps[(step as usize).min(STEPS * OCTAVES - 1)] += n as u64;
    }

    /// Adds all that another has.
    fn add_all(&mut self, other: &Self) {
        self.most = self.most.max(other.most);
        self.steps.iter_mut().zip(&other.steps).for_each(|(step, n)| *step += n);
    }

    /// In microseconds, what this share of them took at most.
    pub fn at(&self, share: f64) -> f64 {
        let all: u64 = self.steps.iter().sum();
        let mut left = (all as f64 * share).ceil() as u64;
        for (step, &n) in self.steps.iter().enumerate() {
            if n >= left {
                return (((step + 1) as f64 / STEPS as f64).exp2() / 1e3).min(self.most.as_secs_f64() * 1e6);
            }
            left -= n;
        }
        f64::NAN
    }
}
