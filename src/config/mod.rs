//! What the program is asked to do: arguments and environment in, one [`Invocation`] out.
//!
//! ```text
//! arguments, environment ──▶ parse ──▶ Invocation::Serve(Config)
//!                              │ reads by
//!                            table ──▶ --help            each row sets one field, through values
//! ```
//!
//! *Invariant:* nothing here opens a socket or a file, starts a thread or reads a clock, nor asks the system for
//! arguments, environment or cores: all three are handed in.

mod parse;

mod env;

mod suggest;

mod help;

mod man;

mod complete;

mod table;

mod values;

use core::net::SocketAddr;
use std::fmt;
use std::path::PathBuf;

use crate::codec::redis_url::Url as RedisUrl;
use crate::codec::template::Template;
use crate::http::forwarded::Proxies;
use crate::http::origin::Origins;
use crate::store::journal::SyncPolicy;
use crate::streams::account::WhenFull;
use crate::time::Millis;

pub use parse::parse;
pub use table::{Opt, options};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// `streamer [serve]`: answer requests until told to stop.
    Serve(Config),
    /// `streamer token`: make a token and print it.
    Token(TokenArgs),
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
    /// Streams that a user without a limit of their own may play at once: 0 to 1,000.
    pub limit: u32,
    /// How long a stream lives without being renewed: 1 s to 24 h.
    pub lease: Millis,
    /// What happens to the start of a stream too many.
    pub when_full: WhenFull,
    /// Whether a start that names a device ends what else that device has.
    pub one_per_device: bool,
    /// Where a player goes next.
    pub endpoint: Template,
    /// The origins whose pages may call from a browser; `None` for those of no other origin than the server's.
    pub cors: Option<Origins>,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub proxies: Proxies,
    /// Who gets in.
    pub credentials: CredentialsKind,
    /// Where streams are kept.
    pub store: StoreKind,
    /// When a journal is on the disk.
    pub sync: SyncPolicy,
    /// How long a store on the network may take for a command, all tries together: 10 ms to 1 min.
    pub store_timeout: Millis,
    /// What becomes of commands while a store on the network is away.
    pub store_down: StoreDown,
    /// Worker threads: 1 to 1,024.
    pub workers: usize,
    /// Client connections at once: 1 to 1,000,000.
    pub max_connections: usize,
    /// How long a connection may wait for its next request: 1 s to 1 h.
    pub idle: Millis,
    /// How long new connections are still taken after the signal to stop: at most 1 h.
    pub drain: Millis,
    /// How long stopping may wait for what is under way: at most 1 h.
    pub grace: Millis,
    /// How requests are logged.
    pub log: LogFormat,
}

/// Whose credentials are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsKind {
    /// Anybody's, with any password.
    Open,
    /// Those of the users in this file.
    Users(PathBuf),
    /// Tokens signed with the key in this file.
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

/// Where streams are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In this process, until it ends.
    Memory,
    /// In this process, with a journal in this directory.
    Dir(PathBuf),
    /// In Redis or Valkey.
    Redis(Box<RedisUrl>),
}

/// What becomes of commands while a store on the network is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreDown {
    /// They are answered 503.
    Refuse,
    /// This instance counts alone, in memory.
    Local,
}

/// How the access log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line of words a request, for people.
    Text,
    /// A line of JSON a request, for programs.
    Json,
    /// Not at all.
    Off,
}

/// For which user to make a token, and of which kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenArgs {
    /// The user-id: 1 to 256 bytes without colons and control characters.
    pub user: String,
    /// The kind.
    pub kind: TokenKind,
}

/// The two kinds of tokens. A limit of `None` leaves it to the server's `--limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A random one, and the line for the users file that lets it in: `user:sha256[:limit[:admin]]`. The user does
    /// not begin with `#`, which would make that line a comment.
    Listed {
        /// The user's own limit: 0 to 1,000.
        limit: Option<u32>,
        /// Whether the user may make the admin listener's changing calls.
        admin: bool,
    },
    /// One that carries its limit and expiry, signed with a key.
    Signed {
        /// The file with the key.
        secret: PathBuf,
        /// The limit it carries: 0 to 1,000.
        limit: Option<u32>,
        /// How long it holds: 1 s to 3,650 days.
        ttl: Millis,
    },
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

#[cfg(test)]
mod tests;
