//! What the program is asked to do: arguments and environment in, one [`Invocation`] out.
//!
//! ```text
//! arguments, environment ──▶ parse ──▶ Invocation::Serve(Config)
//!                              │ reads by
//!                            table ──▶ --help            each row sets one field, through values
//! ```
//!
//! *Invariant:* nothing here opens a socket or a file, starts a thread or reads a clock, nor asks the system for
//! arguments, environment or cores: all three are handed in. (Tested by
//! `only_the_server_and_the_program_touch_the_world`.)

mod parse;

mod env;

mod help;

mod table;

mod values;

use core::net::SocketAddr;
use std::fmt;
use std::path::PathBuf;

use crate::codec::template::Template;
use crate::http::forwarded::Proxies;
use crate::http::origin::Origins;
#[cfg(feature = "journal")]
use crate::store::journal::SyncPolicy;
#[cfg(feature = "redis")]
use crate::store::redis::url::Url as RedisUrl;
use crate::streams::account::WhenFull;
use crate::streams::limits::Limits;
use crate::time::Millis;

pub use parse::parse;
pub use table::{Opt, options};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// `streamer [serve]`: answer requests until told to stop.
    Serve(Box<Config>),
    /// `streamer token`: make a token and print it.
    Token(TokenArgs),
    /// `streamer key`: make a key and print it.
    Key,
    /// `streamer check`: ask a running server for its health.
    Check(CheckArgs),
    /// `--help`, `--version` and `streamer help`: print this text, which ends in a line feed.
    Print(String),
}

/// How to serve. The table of [`options`] says what each field is for and which values it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where clients connect. Port 0 leaves the choice to the system; `[::]` is every interface, IPv4 too.
    pub listen: SocketAddr,
    /// Where operators connect, never the same as `listen`; `None` for `off`.
    pub admin: Option<SocketAddr>,
    /// Streams that a user without a limit of their own may play at once.
    pub limits: Limits<Box<[u8]>>,
    /// How long a stream lives without being renewed: 1 s to 24 h.
    pub lease: Millis,
    /// What happens to the start of a stream too many.
    pub when_full: WhenFull,
    /// Whether a start that names a device ends what else that device has.
    pub one_per_device: bool,
    /// Whether every POST, PATCH and request at the gate has to name a device.
    pub require_device: bool,
    /// Where a player goes next.
    pub endpoint: Template,
    /// The origins whose pages may call from a browser; `None` for those of no other origin than the server's.
    pub cors: Option<Origins>,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub proxies: Proxies,
    pub credentials: CredentialsKind,
    /// Whom tokens must be meant for; `None` for no claim `aud` at all.
    pub audience: Option<String>,
    /// The file with the keys that passes are signed with; `None` for no passes.
    pub pass: Option<PathBuf>,
    pub store: StoreKind,
    /// When a journal is on the disk.
    #[cfg(feature = "journal")]
    pub sync: SyncPolicy,
    /// How long a store on the network may take for a command, all tries together: 10 ms to 1 min.
    #[cfg(feature = "redis")]
    pub store_timeout: Millis,
    /// What becomes of commands while a store on the network is away.
    #[cfg(feature = "redis")]
    pub store_down: StoreDown,
    /// Worker threads: 1 to 1,024.
    pub workers: usize,
    /// Client connections at once: 1 to 1,000,000.
    pub max_connections: usize,
    /// Users of whom a store of this process may know something at once; `None` for no bound.
    pub max_users: Option<usize>,
    /// How long a connection may wait for its next request: 1 s to 1 h.
    pub idle: Millis,
    /// How long new connections are still taken after the signal to stop: at most 1 h.
    pub drain: Millis,
    /// How long stopping may wait for what is under way: at most 1 h.
    pub grace: Millis,
    pub log: LogFormat,
}

/// As without any flag, and with one worker.
impl Default for Config {
    fn default() -> Self {
        let none = [("", ""); 0].into_iter();
        match parse([""; 0].into_iter(), none, 1, Vec::new) {
            Ok(Invocation::Serve(config)) => *config,
            _ => unreachable!("no default is wrong"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsKind {
    /// Anybody's, with any password.
    Open,
    /// Those of the users in this file.
    Users(PathBuf),
    /// Tokens signed with one of the keys in this file.
    Secret(PathBuf),
}

impl CredentialsKind {
    /// The option that chooses it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Users(_) => "users",
            Self::Secret(_) => "secret",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In this process, until it ends.
    Memory,
    /// In this process, with a journal in this directory.
    #[cfg(feature = "journal")]
    Dir(PathBuf),
    #[cfg(feature = "redis")]
    Redis(Box<RedisUrl>),
}

impl StoreKind {
    /// The beginning that chooses it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            #[cfg(feature = "journal")]
            Self::Dir(_) => "dir",
            #[cfg(feature = "redis")]
            Self::Redis(_) => "redis",
        }
    }
}

/// What becomes of commands while a store on the network is away.
#[cfg(feature = "redis")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreDown {
    /// They are answered 503.
    Refuse,
    /// They are answered as if there were room, and nothing of them is kept.
    Allow,
}

/// How the access log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line of words a request, for people.
    Text,
    /// A line of JSON a request, for programs.
    Json,
    Off,
}

/// For which user to make a token, and of which kind. What is `None` is left to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenArgs {
    /// The user-id: 1 to 256 bytes without colons and control characters.
    pub user: String,
    /// The file with the key that a JWT is signed with. Without it: a random token, and the line for the users file that lets
    /// it in. The user does not begin with `#` then, which would make that line a comment.
    pub secret: Option<PathBuf>,
    pub limits: Option<Limits<Box<[u8]>>>,
    /// The `class` of a JWT, with commas between the words.
    pub classes: Option<String>,
    /// Whether the user may make the admin listener's changing calls.
    pub admin: bool,
    /// Whom a JWT is meant for.
    pub audience: Option<String>,
    /// How long a JWT holds: 1 s to 3,650 days; a day unless given.
    pub ttl: Option<Millis>,
}

/// Which server to ask for its health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckArgs {
    /// `host:port`, where to connect and what `Host` says.
    pub authority: String,
    /// The request target, which begins with a slash.
    pub path: String,
}

/// What is wrong with an argument or a variable and what to write instead, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    /// What was written is repeated between quotes, but for the password of a URL in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = self.0.find('"').unwrap_or(0)..self.0.rfind('"').unwrap_or(0);
        let end = quoted.start + self.0[quoted.clone()].rfind('@').unwrap_or(0);
        match self.0[quoted.start..end].find(':') {
            Some(colon) => write!(f, "{}:…{}", &self.0[..quoted.start + colon], &self.0[end..]),
            None => f.write_str(&self.0),
        }
    }
}

impl std::error::Error for UsageError {}

#[cfg(test)]
mod tests;
