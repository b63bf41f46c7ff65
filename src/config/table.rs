//! One row an option, from which everything else follows: flags, variables, defaults and the rows of `--help`.
//! The rules between options are in `parse`.

#[cfg(feature = "redis")]
use super::StoreDown;
use super::values::{address, address_or_off, audience, choice, classes, file, limits, number, store, time};
use super::{Config, CredentialsKind, LogFormat, StoreKind, TokenArgs};
use crate::codec::template::Template;
use crate::http::forwarded::Proxies;
use crate::http::origin::Origins;
#[cfg(feature = "journal")]
use crate::store::journal::SyncPolicy;
use crate::streams::account::WhenFull;
use crate::streams::limits::Limits;
use crate::time::Millis;

/// An option that sets something in a `T`.
pub struct Opt<T = Config> {
    /// The flag's name without its dashes.
    pub name: &'static str,
    /// What stands for the value in `--help`; `None` for a switch.
    pub value: Option<&'static str>,
    /// The value that holds when none is given, if there is one.
    pub default: Option<&'static str>,
    /// What it is for, in a line that fits beside the flag and its default.
    pub help: &'static str,
    /// Sets it, or says what to write instead. A switch is handed an empty text.
    pub(super) set: fn(&mut T, &str) -> Result<(), String>,
}

impl<T> Opt<T> {
    /// The flag as `--help` shows it: `--limit N`.
    pub fn usage(&self) -> String {
        let value = self.value.map_or(String::new(), |value| format!(" {value}"));
        format!("--{}{value}", self.name)
    }
}

/// A row: the name, the value if it takes one, the default if there is one; what it is for; and how it is set.
macro_rules! rows {
    ($of:ty: $($(#[$when:meta])? $name:literal $($value:literal)? $(= $default:expr)?, $help:literal
        |$into:ident, $text:tt| $set:expr;)*) => {
        &[$($(#[$when])? Opt::<$of> {
            name: $name,
            value: optional!($($value)?),
            default: optional!($($default)?),
            help: $help,
            set: |$into, $text| {
                $set;
                Ok(())
            },
        }),*]
    };
}

macro_rules! optional {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

/// The options of `streamer serve`, in the order in which `--help` lists them.
pub fn options() -> &'static [Opt] {
    OPTIONS
}

const OPTIONS: &[Opt] = rows! { Config:
    "listen" "ADDR:PORT" = DEFAULT_LISTEN, "Where clients connect; :8000 is every interface, also IPv6"
        |config, text| config.listen = address(text)?;
    "admin" "ADDR:PORT" = "127.0.0.1:8001", "Where health, metrics and support are, or off"
        |config, text| config.admin = address_or_off(text)?;
    "limit" "N" = "3", "Streams a user may play at once, 0 to 1000, or by class too: 3,live=1"
        |config, text| config.limits = limits(text)?;
    "lease" "TIME" = "90s", "How long a stream lives without a heartbeat, 1s to 24h"
        |config, text| config.lease = time(text, Millis::from_secs(1), Millis::from_secs(24 * 3600))?;
    "when-full" "POLICY" = "refuse", "One stream too many: refuse, replace-oldest or report"
        |config, text| config.when_full = choice(text, &POLICIES)?;
    "one-per-device", "A start that names a device ends what else that device has"
        |config, _| config.one_per_device = true;
    "require-device", "Refuse players that name no device: without, they share a stream"
        |config, _| config.require_device = true;
    "endpoint" "TEMPLATE" = "/?id={id}", "Where players go next, from {id}, {device} and {pass}"
        |config, text| config.endpoint = Template::parse(text)?;
    "cors" "ORIGIN,...", "Whose pages may call from a browser: https://*.app.example, null or *"
        |config, text| config.cors = Some(Origins::parse(text)?);
    "proxy" "NET,...", "Peers whose X-Forwarded-For names the client for the log: 10.0.0.0/8,::1"
        |config, text| config.proxies = Proxies::parse(text)?;
    "open", "Let in anybody, with any password; the default on a loopback address"
        |config, _| config.credentials = CredentialsKind::Open;
    "users" "FILE", "Let in the users of a file, a line each: user:sha256[:limit[:admin]]"
        |config, text| config.credentials = CredentialsKind::Users(file(text)?);
    "secret" "FILE", "Let in the holders of tokens (JWT) signed with a key of a file"
        |config, text| config.credentials = CredentialsKind::Secret(file(text)?);
    "audience" "NAME", "With --secret: whom tokens must be meant for, by their claim aud"
        |config, text| config.audience = Some(audience(text)?);
    "pass" "FILE", "Answer passes, signed with a key of a file, for a CDN that cannot ask"
        |config, text| config.pass = Some(file(text)?);
    "store" "STORE" = "memory", "Where streams are kept: memory, dir:PATH or redis://HOST[:PORT]"
        |config, text| config.store = store(text)?;
    #[cfg(feature = "journal")]
    "sync" "WHEN" = "always", "With dir:PATH: always (on the disk before the answer) or second"
        |config, text| config.sync = choice(text, &SYNCS)?;
    #[cfg(feature = "redis")]
    "store-timeout" "TIME" = "250ms", "How long a store on the network may take, 10ms to 1m"
        |config, text| config.store_timeout = time(text, Millis::from_millis(10), Millis::from_secs(60))?;
    #[cfg(feature = "redis")]
    "store-down" "POLICY" = "refuse", "While it is away: refuse with 503, or allow everybody, uncounted"
        |config, text| config.store_down = choice(text, &STORE_DOWN)?;
    "workers" "N", "Worker threads, 1 to 1024; one a core unless given"
        |config, text| config.workers = number(text, 1, MOST_WORKERS)?;
    "max-connections" "N" = "10000", "Connections at once, 1 to 1000000"
        |config, text| config.max_connections = number(text, 1, 1_000_000)?;
    "max-users" "N", "In memory or dir:PATH: users at once; with --open 1000000 unless given"
        |config, text| config.max_users = Some(number(text, 1, 1_000_000_000)?);
    "idle" "TIME" = "75s", "How long a connection may be idle, 1s to 1h"
        |config, text| config.idle = time(text, Millis::from_secs(1), Millis::from_secs(3600))?;
    "drain" "TIME" = "0s", "How long a stop still takes new connections, 0s to 1h"
        |config, text| config.drain = time(text, Millis::ZERO, Millis::from_secs(3600))?;
    "grace" "TIME" = "10s", "How long a stop waits for answers under way, 0s to 1h"
        |config, text| config.grace = time(text, Millis::ZERO, Millis::from_secs(3600))?;
    "log" "FORMAT" = "text", "A line for each request: text, json or off"
        |config, text| config.log = choice(text, &LOG_FORMATS)?;
};

pub(super) const DEFAULT_LISTEN: &str = "127.0.0.1:8000";

const POLICIES: [(&str, WhenFull); 3] =
    [("refuse", WhenFull::Refuse), ("replace-oldest", WhenFull::ReplaceOldest), ("report", WhenFull::Report)];

#[cfg(feature = "journal")]
const SYNCS: [(&str, SyncPolicy); 2] = [("always", SyncPolicy::Always), ("second", SyncPolicy::Second)];
#[cfg(feature = "redis")]
const STORE_DOWN: [(&str, StoreDown); 2] = [("refuse", StoreDown::Refuse), ("allow", StoreDown::Allow)];

const LOG_FORMATS: [(&str, LogFormat); 3] =
    [("text", LogFormat::Text), ("json", LogFormat::Json), ("off", LogFormat::Off)];

const MOST_WORKERS: usize = 1024;

impl Config {
    /// Where reading begins. The defaults of the table overwrite everything but `cors`, `proxies`, `credentials`,
    /// `workers` and `max_users`.
    pub(super) fn unset(cores: usize) -> Self {
        Self {
            listen: ([127, 0, 0, 1], 0).into(),
            admin: None,
            limits: Limits::from(0),
            lease: Millis::ZERO,
            when_full: WhenFull::Refuse,
            one_per_device: false,
            require_device: false,
            endpoint: Template::default(),
            cors: None,
            proxies: Proxies::default(),
            credentials: CredentialsKind::Open,
            audience: None,
            pass: None,
            store: StoreKind::Memory,
            #[cfg(feature = "journal")]
            sync: SyncPolicy::Always,
            #[cfg(feature = "redis")]
            store_timeout: Millis::ZERO,
            #[cfg(feature = "redis")]
            store_down: StoreDown::Refuse,
            workers: cores.clamp(1, MOST_WORKERS),
            max_connections: 0,
            max_users: None,
            idle: Millis::ZERO,
            drain: Millis::ZERO,
            grace: Millis::ZERO,
            log: LogFormat::Off,
        }
    }
}

pub(super) const TOKEN_OPTIONS: &[Opt<TokenArgs>] = rows! { TokenArgs:
    "secret" "FILE", "Sign the token with the key in this file"
        |args, text| args.secret = Some(file(text)?);
    "ttl" "TIME", "With --secret: how long it holds, 1s to 3650d; 24h unless given"
        |args, text| args.ttl = Some(time(text, Millis::from_secs(1), Millis::from_secs(3650 * 86_400))?);
    "limit" "LIMIT", "Streams the user may play at once; the server's --limit unless given"
        |args, text| args.limits = Some(limits(text)?);
    "class" "CLASS,...", "With --secret: what all that the user starts carries, at most 4 words"
        |args, text| args.classes = Some(classes(text)?);
    "audience" "NAME", "With --secret: for servers with this --audience"
        |args, text| args.audience = Some(audience(text)?);
    "admin", "Let the user look at others and change things on the admin listener"
        |args, _| args.admin = true;
};
