//! A conversation with a server that waits for each answer: logging in, asking who it is, proving that it takes changes.
//!
//! *Invariant:* only threads that have nothing else to do hold such conversations; a worker never does. (Tested by
//! `tests/strace.py`.)

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use super::cluster::{self, Range};
use super::connect::{EngineStream, connect};
use super::resp::{self, Reply};
use super::script::{self, Swap};
use super::url::{Access, Address, Password};
use crate::codec::decimal;
use crate::time::Millis;

/// How long connecting, and what is said then, may take: a few round trips to another continent.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a key of ours stays.
const KEEP: Millis = Millis::from_secs(2);

/// Why a server is of no use.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is away, or not ready: it may come.
    Away(String),
    /// It is there and will not have us: the operator has to change something.
    Unwelcome(String),
}

impl Trouble {
    pub fn why(&self) -> &str {
        let (Self::Away(why) | Self::Unwelcome(why)) = self;
        why
    }
}

#[derive(Debug)]
pub enum Who {
    /// A node of a Cluster, with this map.
    Part(Vec<Range>),
    Master,
    Replica,
}

/// A clock that was read: what it showed, in milliseconds, at the middle of the round trip.
pub type ClockReading = (Instant, u64);

pub struct Dialogue {
    stream: EngineStream,
    address: Address,
    until: Instant,
    out: Vec<u8>,
    input: Vec<u8>,
}

impl Dialogue {
    /// Connects and logs in. The password file is read each time: it may have another one now.
    pub fn open(address: &Address, access: &Access) -> Result<Self, Trouble> {
        let stream =
            connect(address, PATIENCE).map_err(|error| Trouble::Away(format!("{address}: {error}")))?;
        let (address, until) = (address.clone(), Instant::now() + PATIENCE);
        let mut dialogue = Self { stream, address, until, out: Vec::new(), input: Vec::new() };
        dialogue.log_in(access)?;
        Ok(dialogue)
    }

    /// All in one flight: far away each round trip counts.
    fn log_in(&mut self, access: &Access) -> Result<(), Trouble> {
        let (password, number) = (password(access)?, access.database.to_string());
        let mut must_be_ok = Vec::new();
        if let Some(password) = &password {
            let user = access.user.as_ref().map(String::as_bytes);
            let words = [Some(&b"AUTH"[..]), user, Some(password.as_bytes())];
            self.say(&words.into_iter().flatten().collect::<Vec<_>>());
            must_be_ok.push(Some("it wants no password, or refuses it: see --store"));
        }
        if access.database > 0 {
            self.say(&[b"SELECT", number.as_bytes()]);
            must_be_ok.push(Some("it refuses the database; a Cluster has only number 0"));
        }
        self.say(&[b"PING"]);
        must_be_ok.push(None);
        // For those who look at `CLIENT LIST`; not every user may.
        self.say(&[b"CLIENT", b"SETNAME", b"streamer"]);
        for otherwise in must_be_ok {
            self.hear(otherwise, |_| Some(()))?;
        }
        self.hear_any(|_, _| Ok(()))
    }

    /// Asks what it is, and for the map of its Cluster. If this user may not ask for the role, it is a master that takes a
    /// change under `key`.
    pub fn ask_who(&mut self, key: &[u8]) -> Result<Who, Trouble> {
        self.say(&[b"ROLE"]);
        self.say(&[b"CLUSTER", b"SLOTS"]);
        self.say(&[b"CLUSTER", b"MYID"]);
        let is_master = self.hear_any(Self::is_master)?;
        let ranges = self.hear_any(|this, reply| match reply {
            Reply::Error(error) if error.starts_with(b"NOPERM") => Err(this.trouble(error, None)),
            Reply::Error(_) => Ok(None),
            reply => cluster::map(reply, &this.address).map(Some).ok_or_else(|| this.strange()),
        })?;
        let id =
            self.hear_any(|_, reply| Ok(if let Reply::Bulk(id) = reply { Some(id.to_vec()) } else { None }))?;
        let Some(ranges) = ranges else {
            let is_master = is_master.unwrap_or_else(|| self.prove(Some(key)).is_ok());
            return Ok(if is_master { Who::Master } else { Who::Replica });
        };
        let is_in = |id: Vec<u8>| ranges.iter().any(|range| range.ids.contains(&id));
        if ranges.is_empty() || !id.is_none_or(is_in) {
            let address = &self.address;
            let why = format!("{address} has no slots of a Cluster, and follows no node that has");
            return Err(Trouble::Away(why));
        }
        Ok(Who::Part(ranges))
    }

    /// Reads the answer to `ROLE`. None: this user may not ask.
    fn is_master(&self, reply: &Reply) -> Result<Option<bool>, Trouble> {
        let role = match reply {
            Reply::Error(error) if error.starts_with(b"NOPERM") || error.starts_with(b"ERR") => {
                return Ok(None);
            }
            Reply::Error(error) => return Err(self.trouble(error, None)),
            Reply::Array(items) => items.first(),
            _ => None,
        };
        match role {
            Some(Reply::Bulk(b"master")) => Ok(Some(true)),
            Some(Reply::Bulk(b"slave")) => Ok(Some(false)),
            Some(Reply::Bulk(b"sentinel")) => {
                let address = &self.address;
                let why = format!("{address} is a Sentinel: write redis+sentinel://{address}/NAME");
                Err(Trouble::Unwelcome(why))
            }
            _ => Err(self.strange()),
        }
    }

    /// Asks a Sentinel for the address of the master of this name.
    pub fn ask_sentinel(&mut self, name: &str) -> Result<Address, Trouble> {
        self.say(&[b"SENTINEL", b"get-master-addr-by-name", name.as_bytes()]);
        let otherwise = Some("it is no Sentinel, or does not let this user ask it");
        let master = self.hear(otherwise, |reply| {
            let Reply::Array(items) = reply else { return (*reply == Reply::Null).then_some(None) };
            let [Reply::Bulk(host), Reply::Bulk(port)] = items[..] else { return None };
            let host = String::from_utf8(host.to_vec()).ok()?;
            Some(Some(Address::Tcp { host, port: decimal::parse_port(port)? }))
        })?;
        master.ok_or_else(|| {
            Trouble::Unwelcome(format!("{} watches no master of the name {name}", self.address))
        })
    }

    /// Proves that it does all that commands need: it tells the time, and takes changes under a key of ours, by the
    /// script's text and by its hash. Without a key it need only tell the time.
    pub fn prove(&mut self, key: Option<&[u8]>) -> Result<ClockReading, Trouble> {
        self.until = Instant::now() + PATIENCE;
        let asked = Instant::now();
        self.say(&[b"TIME"]);
        let steps: &[_] = if key.is_some() { &[("", "1"), ("1", "1"), ("1", "")] } else { &[] };
        for (old, new) in steps {
            let (old, new) = (old.as_bytes(), new.as_bytes());
            let swap = Swap { prefix: key.unwrap_or_default(), user: b"", old, new, keep: KEEP };
            script::compare_and_set(&swap, !old.is_empty(), &mut self.out);
        }
        let clock = self.hear(None, |reply| clock(asked, Instant::now(), reply))?;
        for _ in steps {
            self.hear_any(|this, reply| match reply {
                Reply::Integer(1) => Ok(()),
                // The map is older than the Cluster: that is no fault of the node.
                Reply::Error(error) if error.starts_with(b"MOVED") || error.starts_with(b"ASK") => Ok(()),
                Reply::Error(error) => Err(this.trouble(error, None)),
                _ => Err(this.strange()),
            })?;
        }
        Ok(clock)
    }

    fn say(&mut self, words: &[&[u8]]) {
        resp::command(words, &mut self.out);
    }

    /// The next answer, as `read` takes it; None: it is none that this command has. An error is one, which means `otherwise`
    /// if it does not say itself what is wrong.
    fn hear<T>(
        &mut self,
        otherwise: Option<&str>,
        read: impl FnOnce(&Reply) -> Option<T>,
    ) -> Result<T, Trouble> {
        self.hear_any(|this, reply| match reply {
            Reply::Error(error) => Err(this.trouble(error, otherwise)),
            reply => read(reply).ok_or_else(|| this.strange()),
        })
    }

    /// Sends what was said, and waits for the next answer.
    fn hear_any<T>(&mut self, read: impl FnOnce(&Self, &Reply) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let out = std::mem::take(&mut self.out);
        self.stream.set_write_timeout(Some(PATIENCE)).map_err(|error| self.away(&error))?;
        self.stream.write_all(&out).map_err(|error| self.away(&error))?;
        loop {
            match resp::reply(&self.input) {
                Ok(Some((reply, end))) => {
                    let said = read(self, &reply);
                    self.input.drain(..end);
                    return said;
                }
                Ok(None) => self.read_more()?,
                Err(resp::Malformed) => return Err(self.strange()),
            }
        }
    }

    fn read_more(&mut self) -> Result<(), Trouble> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.away(&ErrorKind::TimedOut.into()));
        }
        self.stream.set_read_timeout(Some(left)).map_err(|error| self.away(&error))?;
        let mut buffer = [0; 16 * 1024];
        let read = self.stream.read(&mut buffer).map_err(|error| self.away(&error))?;
        if read == 0 {
            return Err(Trouble::Away(format!("{}: it closed the connection", self.address)));
        }
        self.input.extend_from_slice(&buffer[..read]);
        Ok(())
    }

    fn away(&self, error: &io::Error) -> Trouble {
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => {
                Trouble::Away(format!("{}: no answer in time", self.address))
            }
            _ => Trouble::Away(format!("{}: {error}", self.address)),
        }
    }

    fn strange(&self) -> Trouble {
        Trouble::Unwelcome(format!("{} speaks something else than Redis does", self.address))
    }

    /// What an error means; `otherwise` is said if the server does not say what is wrong itself.
    fn trouble(&self, error: &[u8], otherwise: Option<&str>) -> Trouble {
        let address = &self.address;
        // Of what the server says only the first word: the rest may repeat what it was sent.
        let word = String::from_utf8_lossy(error.split(|byte| *byte == b' ').next().unwrap_or_default());
        match (&*word, cluster::advice(error), otherwise) {
            ("DENIED" | "NOAUTH" | "WRONGPASS", Some(advice), _) => {
                Trouble::Unwelcome(format!("{address} {advice} ({word})"))
            }
            (_, Some(advice), _) => Trouble::Away(format!("{address} {advice} ({word})")),
            ("LOADING", ..) | (_, None, None) => Trouble::Away(format!("{address} says {word}")),
            (_, None, Some(otherwise)) => Trouble::Unwelcome(format!("{address}: {otherwise} ({word})")),
        }
    }

    /// The connection, for a session: from now on its reads and writes return at once.
    pub fn into_stream(self) -> Result<EngineStream, Trouble> {
        self.stream.set_nonblocking(true).map_err(|error| self.away(&error))?;
        Ok(self.stream)
    }
}

pub fn clock(asked: Instant, now: Instant, reply: &Reply) -> Option<ClockReading> {
    let Reply::Array(items) = reply else { return None };
    let [Reply::Bulk(seconds), Reply::Bulk(micros)] = items[..] else { return None };
    let millis = decimal::parse(seconds)?.checked_mul(1000)?.checked_add(decimal::parse(micros)? / 1000)?;
    Some((asked + now.saturating_duration_since(asked) / 2, millis))
}

fn password(access: &Access) -> Result<Option<String>, Trouble> {
    match &access.password {
        Password::None => Ok(None),
        Password::Given(password) => Ok(Some(password.clone())),
        Password::File(path) => match fs::read_to_string(path) {
            Ok(text) => Ok(Some(text.lines().next().unwrap_or_default().to_owned())),
            Err(error) => Err(Trouble::Unwelcome(format!("{}: {error}", path.display()))),
        },
    }
}
