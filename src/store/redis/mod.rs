//! Streams in Redis or Valkey, or in a Cluster of them: one count for any number of instances.
//!
//! ```text
//! worker ─ session ──pipelines──────────────▶ node        EVAL compare-and-set, TIME
//!             ▲
//!          mailbox ◀── connector ─ attempts ──▶ node        connect, log in, PING, ROLE, CLUSTER SLOTS
//! ```
//!
//! The engine knows an account as an opaque record under one key a user. A command is applied here, to the record last
//! seen, and the record is exchanged for the new one if it is still there: so the rules are in one place, and the engine
//! needs to know nothing but one short script. If another instance was faster, the engine says which record is there, and
//! the command is applied to that.
//!
//! Leases are measured by the engine's clock, so that all instances have one.
//!
//! *Invariant:* a worker never waits here. All that waits is done by threads that the connector starts.

mod attempt;
mod cluster;
mod connector;
mod control;
mod counters;
mod hints;
mod link;
mod local;
mod script;
mod session;
mod shared;
mod stream;
mod task;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::{Census, Measure, Session, Store, Swept, Value};
use crate::streams::account::Policy;
use crate::time::{Millis, Timestamp};

use crate::codec::redis_url::{Password, Url};
use connector::{Connector, Wishes};
use control::{LogIn, Trouble};
use local::Local;
use session::RedisSession;
use shared::{Keys, Shared};

/// How to keep streams in an engine.
pub struct Settings {
    /// Where it is.
    pub url: Url,
    /// One deadline for all tries of a command.
    pub timeout: Millis,
    /// Whether each instance counts alone while the engine is away, instead of answering 503.
    pub local: bool,
    /// The rules. Nothing is adopted but after an outage under `local`.
    pub policy: Policy,
    /// Tells the operator something.
    pub say: fn(&str),
}

/// Streams in Redis or Valkey.
pub struct Redis {
    shared: Arc<Shared>,
    /// Without password.
    name: String,
    wishes: Arc<Wishes>,
}

impl Redis {
    /// Asks the engine for its nodes, once, and starts the thread that connects. An engine that is away may come later.
    ///
    /// # Errors
    ///
    /// What has to be changed: the password, the database, the address of something else than Redis.
    pub fn start(settings: Settings) -> Result<Self, String> {
        let Settings { url, timeout, local, policy, say } = settings;
        let policy = Policy { adopt_until: Timestamp::default(), ..policy };
        let name = url.to_string();
        let password = match url.password {
            Password::None => None,
            Password::Given(password) => Some(password),
            Password::File(path) => {
                let read = fs::read_to_string(&path);
                let text = read.map_err(|error| format!("--store: {}: {error}", path.display()))?;
                Some(text.lines().next().unwrap_or_default().to_owned())
            }
        };
        // Time enough for a few round trips to another continent.
        let login_timeout = Duration::from_millis(timeout.millis().clamp(250, 1000));
        let log_in = LogIn { user: url.user, password, database: url.database, timeout: login_timeout };
        let shared =
            Arc::new(Shared::new(policy, url.prefix, timeout, local.then(|| Local::new(policy.lease))));
        let (mut connector, wishes) = Connector::new(Arc::clone(&shared), url.addresses, log_in, say);
        match connector.discover() {
            Ok(()) => {}
            Err(Trouble::Away(why)) => say(&format!("the store is away: {why}; trying on")),
            Err(Trouble::Unwelcome(why)) => return Err(format!("--store {name}: {why}")),
        }
        let thread = thread::Builder::new().name("connector".into());
        thread.spawn(move || connector.run()).map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self { shared, name, wishes })
    }
}

impl Store for Redis {
    fn session(self: Arc<Self>, waker: Waker) -> io::Result<Box<dyn Session>> {
        let (mailbox, counters) = self.shared.enlist(waker);
        let (shared, wishes) = (Arc::clone(&self.shared), Arc::clone(&self.wishes));
        Ok(Box::new(RedisSession::new(shared, wishes, mailbox, counters)))
    }

    /// The engine frees what has expired by itself.
    fn sweep(&self, now: Timestamp) -> Swept {
        self.shared.local.as_ref().map_or(Swept { visits: 1, expired: 0 }, |local| local.sweep(now))
    }

    fn census(&self) -> Option<Census> {
        None
    }

    fn trouble(&self) -> Option<String> {
        let why = self.shared.trouble(Instant::now())?;
        Some(format!("The server cannot use its store: {why}."))
    }

    fn describe(&self) -> String {
        match &self.shared.map().1.keys {
            Keys::Unknown => format!("{} (away)", self.name),
            Keys::Single => self.name.clone(),
            Keys::Cluster(_) => format!("{} (Cluster of {})", self.name, self.shared.map().1.owners.len()),
        }
    }

    fn measures(&self) -> Vec<Measure> {
        let map = self.shared.map().1;
        let node = |id: &u32| {
            let node = &map.nodes[*id as usize];
            Measure {
                family: "streamer_store_node_up",
                help: "Whether the engine's node answers.",
                label: Some(("node", node.addresses[0].to_string().into())),
                value: Value::Gauge((!node.down.load(Relaxed)).into()),
            }
        };
        let mut measures: Vec<Measure> = map.owners.iter().map(node).collect();
        measures.push(Measure::single(
            "streamer_store_refreshes_total",
            "How often the engine was asked for its nodes.",
            Value::Counter(self.shared.refreshes.load(Relaxed)),
        ));
        measures.extend(counters::measures(&self.shared.counters()));
        measures
    }
}

#[cfg(test)]
mod tests;
