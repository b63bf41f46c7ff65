//! One row an option, from which everything else follows: flags, variables, defaults and the rows of `--help`.
//!
//! *Invariant:* what an option is called, takes and defaults to is said nowhere else; the rules between options are
//! in `parse`.

use std::path::PathBuf;

use super::values::{address, address_or_off, choice, file, limit, size, store, time};
use super::{Config, CredentialsKind, LogFormat, StoreDown, StoreKind};
use crate::codec::template::Template;
use crate::http::forwarded::Proxies;
use crate::http::origin::Origins;
use crate::store::journal::SyncPolicy;
use crate::streams::account::WhenFull;
use crate::time::Millis;

/// An option that sets something in a `T`.
pub struct Opt<T = Config> {
    /// The flag's name without its dashes.
    pub name: &'static str,
    /// What stands for the value in `--help`; `None` for a switch.
    pub value: Option<&'static str>,
    /// The words to choose from, for a shell to complete; one that ends in a colon or a slash is only a
    /// beginning.
    pub choices: &'static [&'static str],
    /// The value that holds when none is given, if there is one.
    pub default: Option<&'static str>,
    /// What it is for, in a line that fits beside the flag and its default.
    pub help: &'static str,
    /// Sets it, or says what to write instead. A switch is handed an empty text.
    pub(super) set: fn(&mut T, &str) -> Result<(), String>,
}

impl<T> Opt<T> {
    /// The environment variable of the same meaning: `--when-full` is `STREAMER_WHEN_FULL`.
    pub fn variable(&self) -> String {
        format!("STREAMER_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// The flag as `--help` shows it: `--limit N`.
    pub fn usage(&self) -> String {
        match self.value {
            Some(value) => format!("--{} {value}", self.name),
            None => format!("--{}", self.name),
        }
    }
}

/// The options of `streamer serve`, in the order in which `--help` lists them.
pub fn options() -> &'static [Opt] {
    OPTIONS
}

pub(super) const OPTIONS: &[Opt] = &[
    Opt {
        name: "listen",
        value: Some("ADDR:PORT"),
        choices: &[],
        default: Some(DEFAULT_LISTEN),
        help: "Where clients connect; :8000 is every interface, also IPv6",
        set: |config, text| address(text).map(|address| config.listen = address),
    },
    Opt {
        name: "admin",
        value: Some("ADDR:PORT"),
        choices: &["off"],
        default: Some("127.0.0.1:8001"),
        help: "Where health, metrics and support are, or off",
        set: |config, text| address_or_off(text).map(|address| config.admin = address),
    },
    Opt {
        name: "limit",
        value: Some("N"),
        choices: &[],
        default: Some("3"),
        help: "Streams a user may play at once, 0 to 1000",
        set: |config, text| limit(text).map(|limit| config.limit = limit),
    },
    Opt {
        name: "lease",
        value: Some("TIME"),
        choices: &[],
        default: Some("90s"),
        help: "How long a stream lives without a heartbeat, 1s to 24h",
        set: |config, text| {
            time(text, Millis::from_secs(1), Millis::from_secs(24 * 3600)).map(|lease| config.lease = lease)
        },
    },
    Opt {
        name: "when-full",
        value: Some("POLICY"),
        choices: &words(&POLICIES),
        default: Some("refuse"),
        help: "One stream too many: refuse, replace-oldest or report",
        set: |config, text| choice(text, &POLICIES).map(|policy| config.when_full = policy),
    },
    Opt {
        name: "one-per-device",
        value: None,
        choices: &[],
        default: None,
        help: "A start that names a device ends what else that device has",
        set: |config, _| {
            config.one_per_device = true;
            Ok(())
        },
    },
    Opt {
        name: "endpoint",
        value: Some("TEMPLATE"),
        choices: &[],
        default: Some("/?id={id}"),
        help: "Where players go next, from {id} and {device}",
        set: |config, text| Template::parse(text).map(|template| config.endpoint = template),
    },
    Opt {
        name: "cors",
        value: Some("ORIGIN,..."),
        choices: &[],
        default: None,
        help: "Whose pages may call from a browser: https://*.app.example, null or *",
        set: |config, text| Origins::parse(text).map(|origins| config.cors = Some(origins)),
    },
    Opt {
        name: "proxy",
        value: Some("NET,..."),
        choices: &[],
        default: None,
        help: "Peers whose X-Forwarded-For names the client for the log: 10.0.0.0/8,::1",
        set: |config, text| Proxies::parse(text).map(|proxies| config.proxies = proxies),
    },
    Opt {
        name: "open",
        value: None,
        choices: &[],
        default: None,
        help: "Let in anybody, with any password; the default on a loopback address",
        set: |config, _| {
            config.credentials = CredentialsKind::Open;
            Ok(())
        },
    },
    Opt {
        name: "users",
        value: Some("FILE"),
        choices: &[],
        default: None,
        help: "Let in the users of a file, a line each: user:sha256[:limit[:admin]]",
        set: |config, text| file(text).map(|path| config.credentials = CredentialsKind::Users(path)),
    },
    Opt {
        name: "secret",
        value: Some("FILE"),
        choices: &[],
        default: None,
        help: "Let in the holders of tokens signed with the key in a file",
        set: |config, text| file(text).map(|path| config.credentials = CredentialsKind::Secret(path)),
    },
    Opt {
        name: "store",
        value: Some("STORE"),
        choices: &["memory", "dir:", "redis://", "redis+unix://"],
        default: Some("memory"),
        help: "Where streams are kept: memory, dir:PATH or redis://HOST[:PORT]",
        set: |config, text| store(text).map(|store| config.store = store),
    },
    Opt {
        name: "sync",
        value: Some("WHEN"),
        choices: &words(&SYNCS),
        default: Some("always"),
        help: "With dir:PATH: always (on the disk before the answer) or second",
        set: |config, text| choice(text, &SYNCS).map(|sync| config.sync = sync),
    },
    Opt {
        name: "store-timeout",
        value: Some("TIME"),
        choices: &[],
        default: Some("250ms"),
        help: "How long a store on the network may take, 10ms to 1m",
        set: |config, text| {
            let (least, most) = (Millis::from_millis(10), Millis::from_secs(60));
            time(text, least, most).map(|timeout| config.store_timeout = timeout)
        },
    },
    Opt {
        name: "store-down",
        value: Some("POLICY"),
        choices: &words(&STORE_DOWN),
        default: Some("refuse"),
        help: "While it is away: refuse with 503, or count in this process: local",
        set: |config, text| choice(text, &STORE_DOWN).map(|down| config.store_down = down),
    },
    Opt {
        name: "workers",
        value: Some("N"),
        choices: &[],
        default: None,
        help: "Worker threads, 1 to 1024; one a core unless given",
        set: |config, text| size(text, 1, MOST_WORKERS).map(|workers| config.workers = workers),
    },
    Opt {
        name: "max-connections",
        value: Some("N"),
        choices: &[],
        default: Some("10000"),
        help: "Connections at once, 1 to 1000000",
        set: |config, text| size(text, 1, 1_000_000).map(|most| config.max_connections = most),
    },
    Opt {
        name: "idle",
        value: Some("TIME"),
        choices: &[],
        default: Some("75s"),
        help: "How long a connection may be idle, 1s to 1h",
        set: |config, text| {
            time(text, Millis::from_secs(1), Millis::from_secs(3600)).map(|idle| config.idle = idle)
        },
    },
    Opt {
        name: "drain",
        value: Some("TIME"),
        choices: &[],
        default: Some("0s"),
        help: "How long a stop still takes new connections, 0s to 1h",
        set: |config, text| {
            time(text, Millis::ZERO, Millis::from_secs(3600)).map(|drain| config.drain = drain)
        },
    },
    Opt {
        name: "grace",
        value: Some("TIME"),
        choices: &[],
        default: Some("10s"),
        help: "How long a stop waits for answers under way, 0s to 1h",
        set: |config, text| {
            time(text, Millis::ZERO, Millis::from_secs(3600)).map(|grace| config.grace = grace)
        },
    },
    Opt {
        name: "log",
        value: Some("FORMAT"),
        choices: &words(&LOG_FORMATS),
        default: Some("text"),
        help: "A line for each request: text, json or off",
        set: |config, text| choice(text, &LOG_FORMATS).map(|format| config.log = format),
    },
];

pub(super) const DEFAULT_LISTEN: &str = "127.0.0.1:8000";

const POLICIES: [(&str, WhenFull); 3] =
    [("refuse", WhenFull::Refuse), ("replace-oldest", WhenFull::ReplaceOldest), ("report", WhenFull::Report)];

const SYNCS: [(&str, SyncPolicy); 2] = [("always", SyncPolicy::Always), ("second", SyncPolicy::Second)];
const STORE_DOWN: [(&str, StoreDown); 2] = [("refuse", StoreDown::Refuse), ("local", StoreDown::Local)];

const LOG_FORMATS: [(&str, LogFormat); 3] =
    [("text", LogFormat::Text), ("json", LogFormat::Json), ("off", LogFormat::Off)];

/// The words alone.
const fn words<T: Copy, const N: usize>(choices: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut at = 0;
    while at < N {
        words[at] = choices[at].0;
        at += 1;
    }
    words
}

const MOST_WORKERS: u32 = 1024;

impl Config {
    /// Where reading begins. The defaults of the table overwrite everything but `cors`, `proxies`, `credentials` and
    /// `workers`.
    pub(super) fn unset(cores: usize) -> Self {
        Self {
            listen: ([127, 0, 0, 1], 0).into(),
            admin: None,
            limit: 0,
            lease: Millis::ZERO,
            when_full: WhenFull::Refuse,
            one_per_device: false,
            endpoint: Template::default(),
            cors: None,
            proxies: Proxies::default(),
            credentials: CredentialsKind::Open,
            store: StoreKind::Memory,
            sync: SyncPolicy::Always,
            store_timeout: Millis::ZERO,
            store_down: StoreDown::Refuse,
            workers: cores.clamp(1, MOST_WORKERS as usize),
            max_connections: 0,
            idle: Millis::ZERO,
            drain: Millis::ZERO,
            grace: Millis::ZERO,
            log: LogFormat::Off,
        }
    }
}

/// What the flags of `streamer token` set, before it is known which kind of token they make.
#[derive(Default)]
pub(super) struct TokenFlags {
    pub(super) secret: Option<PathBuf>,
    pub(super) limit: Option<u32>,
    pub(super) ttl: Option<Millis>,
    pub(super) admin: bool,
}

pub(super) const TOKEN_OPTIONS: &[Opt<TokenFlags>] = &[
    Opt {
        name: "secret",
        value: Some("FILE"),
        choices: &[],
        default: None,
        help: "Sign the token with the key in this file",
        set: |flags, text| file(text).map(|path| flags.secret = Some(path)),
    },
    Opt {
        name: "ttl",
        value: Some("TIME"),
        choices: &[],
        default: None,
        help: "With --secret: how long it holds, 1s to 3650d; 24h unless given",
        set: |flags, text| {
            time(text, Millis::from_secs(1), Millis::from_secs(3650 * 86_400))
                .map(|ttl| flags.ttl = Some(ttl))
        },
    },
    Opt {
        name: "limit",
        value: Some("N"),
        choices: &[],
        default: None,
        help: "Streams the user may play at once, 0 to 1000; the server's --limit unless given",
        set: |flags, text| limit(text).map(|limit| flags.limit = Some(limit)),
    },
    Opt {
        name: "admin",
        value: None,
        choices: &[],
        default: None,
        help: "Without --secret: let the user change things on the admin listener",
        set: |flags, _| {
            flags.admin = true;
            Ok(())
        },
    },
];
