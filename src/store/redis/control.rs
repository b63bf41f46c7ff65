//! A conversation with a server that waits for each answer: logging in, and asking for the map of the Cluster.
//!
//! Only an attempt's thread holds such conversations; a worker never does.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::cluster;
use super::stream::Stream;
use crate::codec::redis_url::Address;
use crate::codec::resp::{self, Reply};

/// How to get in.
pub struct LogIn {
    /// The user of the engine's access list.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The number of the database.
    pub database: u32,
    /// How long that may take, with whatever is asked then.
    pub timeout: Duration,
}

/// Why a server is of no use.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is away, or not ready: it may come.
    Away(String),
    /// It is there and will not have us: the operator has to change something.
    Unwelcome(String),
}

impl Trouble {
    /// What there is to say.
    pub fn why(&self) -> &str {
        let (Self::Away(why) | Self::Unwelcome(why)) = self;
        why
    }
}

/// A server that answers.
pub struct Control<'a> {
    stream: Stream,
    address: &'a Address,
    until: Instant,
    input: Vec<u8>,
}

impl<'a> Control<'a> {
    /// Connects and logs in.
    pub fn open(address: &'a Address, log_in: &LogIn) -> Result<Self, Trouble> {
        let timeout = log_in.timeout;
        let until = Instant::now() + timeout;
        let stream = Stream::connect(address, timeout)
            .and_then(|stream| stream.set_timeout(Some(timeout)).map(|()| stream))
            .map_err(|error| Trouble::Away(format!("{address}: {error}")))?;
        let mut control = Self { stream, address, until, input: Vec::new() };
        control.log_in(log_in)?;
        Ok(control)
    }

    fn log_in(&mut self, LogIn { user, password, database, .. }: &LogIn) -> Result<(), Trouble> {
        if let Some(password) = password {
            let words = [Some(&b"AUTH"[..]), user.as_ref().map(String::as_bytes), Some(password.as_bytes())];
            let words: Vec<&[u8]> = words.into_iter().flatten().collect();
            self.must_be_ok(&words, "it wants no password, or refuses it: see --store")?;
        }
        let address = self.address;
        self.ask(&[b"PING"], |reply| match reply {
            Reply::Error(error) => Err(trouble(address, error, None)),
            _ => Ok(()),
        })?;
        if *database > 0 {
            let number = database.to_string();
            self.must_be_ok(
                &[b"SELECT", number.as_bytes()],
                "it refuses the database; a Cluster has only number 0",
            )?;
        }
        // For those who look at `CLIENT LIST`; not every user may.
        self.ask(&[b"CLIENT", b"SETNAME", b"streamer"], |_| Ok(()))
    }

    fn must_be_ok(&mut self, words: &[&[u8]], otherwise: &str) -> Result<(), Trouble> {
        let address = self.address;
        self.ask(words, |reply| match reply {
            Reply::Error(error) => Err(trouble(address, error, Some(otherwise))),
            _ => Ok(()),
        })
    }

    /// Whether it says that it is the replica of another. Not every user may ask; then no.
    pub fn is_replica(&mut self) -> Result<bool, Trouble> {
        self.ask(&[b"ROLE"], |reply| match reply {
            Reply::Array(mut items) => Ok(items.next() == Some(Reply::Bulk(b"slave"))),
            _ => Ok(false),
        })
    }

    /// Asks, and waits for the answer.
    pub fn ask<T>(
        &mut self,
        words: &[&[u8]],
        read: impl FnOnce(Reply) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut out = Vec::new();
        resp::command(words, &mut out);
        (&self.stream).write_all(&out).map_err(|error| self.away(&error))?;
        loop {
            match resp::reply(&self.input) {
                Ok(Some((reply, end))) => {
                    let said = read(reply);
                    self.input.drain(..end);
                    return said;
                }
                Ok(None) => self.read_more()?,
                Err(resp::Malformed) => {
                    let why = format!("{} speaks something else than Redis does", self.address);
                    return Err(Trouble::Unwelcome(why));
                }
            }
        }
    }

    fn read_more(&mut self) -> Result<(), Trouble> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Trouble::Away(format!("{}: no answer in time", self.address)));
        }
        self.stream.set_timeout(Some(left)).map_err(|error| self.away(&error))?;
        let mut buffer = [0; 16 * 1024];
        match (&self.stream).read(&mut buffer) {
            Ok(0) => Err(Trouble::Away(format!("{}: it closed the connection", self.address))),
            Ok(read) => {
                self.input.extend_from_slice(&buffer[..read]);
                Ok(())
            }
            Err(error) => Err(self.away(&error)),
        }
    }

    fn away(&self, error: &std::io::Error) -> Trouble {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        match error.kind() {
            TimedOut | WouldBlock => Trouble::Away(format!("{}: no answer in time", self.address)),
            _ => Trouble::Away(format!("{}: {error}", self.address)),
        }
    }

    /// The connection, for a session: from now on its reads and writes return at once.
    pub fn into_stream(self) -> Result<Stream, Trouble> {
        self.stream.set_timeout(None).map_err(|error| self.away(&error))?;
        Ok(self.stream)
    }
}

/// What an error at the door means; `otherwise` is said if the server does not say what is wrong itself.
fn trouble(address: &Address, error: &[u8], otherwise: Option<&str>) -> Trouble {
    // Of what the server says only the first word: the rest may repeat what it was sent.
    let word = String::from_utf8_lossy(error.split(|byte| *byte == b' ').next().unwrap_or_default());
    match (&*word, cluster::advice(error), otherwise) {
        ("DENIED" | "NOAUTH" | "WRONGPASS" | "NOPERM", Some(advice), _) => {
            Trouble::Unwelcome(format!("{address} {advice} ({word})"))
        }
        (_, Some(advice), _) => Trouble::Away(format!("{address} {advice} ({word})")),
        ("LOADING", ..) | (_, None, None) => Trouble::Away(format!("{address} says {word}")),
        (_, None, Some(otherwise)) => Trouble::Unwelcome(format!("{address}: {otherwise} ({word})")),
    }
}
