//! Streams in Redis or Valkey, or in a Cluster of them: one count for any number of instances.
//!
//! ```text
//! worker ─ session ──pipelines──────────────▶ node        EVAL compare-and-set, TIME
//!           ▲   ▲
//!           │ letters ◀──── node's thread ───▶ node        connect, log in, prove that it takes changes
//!          map ◀─────────── scout ───────────▶ any         who has the keys: ROLE, CLUSTER SLOTS, Sentinels
//! ```
//!
//! The engine knows an account as an opaque record under one key a user. A command is applied here, to the record last
//! seen, and the record is exchanged for the new one if it is still there: so the rules are in one place, and the engine
//! needs to know nothing but one short script. If another instance was faster, the engine says which record is there, and
//! the command is applied to that.
//!
//! Leases are measured by the engine's clock, so that all instances have one.
//!
//! *Invariant:* a worker never waits here. All that waits is done by the scout, the threads of the nodes, and those that
//! these start.
//! (Tested by `tests/strace.py`.)

pub mod resp;
pub mod url;

mod cluster;
mod connect;
mod counters;
mod dialogue;
mod engine;
mod hints;
mod link;
mod node;
mod scout;
mod script;
mod session;
mod task;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::task::Waker;
use std::time::Duration;

use super::{Census, Session, Store, Swept};
use crate::measures::{Measure, Reading};
use crate::streams::account::{Adoption, Policy};
use crate::sync::Service;
use crate::time::{Millis, Timestamp};

use dialogue::Trouble;
use engine::{Engine, Slots};
use scout::Scout;
use session::RedisSession;
use url::Url;

/// How long a start waits for the engine.
const FIRST_LOOK: Duration = Duration::from_millis(900);

pub struct Settings {
    pub url: Url,
    /// One deadline for all tries of a command.
    pub timeout: Millis,
    pub policy: Policy,
    /// Tells the operator something.
    pub say: fn(&str),
}

pub struct Redis {
    engine: Arc<Engine>,
    /// Without password.
    name: String,
}

impl Redis {
    /// Starts the thread that asks the engine who has the keys, and waits for it, but not long: an engine that is away may
    /// come later.
    ///
    /// # Errors
    ///
    /// What has to be changed: the password, the database, the address of something else than Redis.
    pub fn start(settings: Settings) -> Result<Self, String> {
        let Settings { url, timeout, policy, say } = settings;
        let name = url.to_string();
        let engine = Arc::new(Engine::new(policy, url.prefix, timeout, url.access, say));
        let (first, found) = sync_channel(1);
        let mut scout = Scout::new(Arc::clone(&engine), url.addresses, url.watched, first);
        Service::start("scout", (), move |_| scout.work(), || {})
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        let redis = Self { engine, name };
        match found.recv_timeout(FIRST_LOOK) {
            Ok(Ok(())) => {}
            Ok(Err(Trouble::Unwelcome(why))) => return Err(format!("--store {}: {why}", redis.name)),
            Ok(Err(Trouble::Away(why))) => say(&format!("the store is away: {why}; trying on")),
            Err(_) => say("the store is away: no answer yet; trying on"),
        }
        Ok(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.engine.stop();
    }
}

impl Store for Redis {
    fn session(self: Arc<Self>, waker: Waker) -> io::Result<Box<dyn Session>> {
        Ok(Box::new(RedisSession::new(Arc::clone(&self.engine), waker)))
    }

    fn patience(&self) -> Millis {
        self.engine.timeout
    }

    fn lenient(&self) -> Option<Policy> {
        let policy = &self.engine.policy;
        (policy.adoption == Adoption::Always).then_some(*policy)
    }

    /// The engine frees what has expired by itself.
    fn sweep(&self, _now: Timestamp) -> Swept {
        Swept { visits: 1, ends: Vec::new() }
    }

    fn census(&self) -> Option<Census> {
        None
    }

    fn trouble(&self) -> Option<String> {
        let why = self.engine.map().trouble()?;
        Some(format!("The server cannot use its store: {why}."))
    }

    fn describe(&self) -> String {
        let map = self.engine.map();
        match &map.keys {
            Slots::Unknown => format!("{} (away)", self.name),
            Slots::Single(_) => self.name.clone(),
            Slots::Cluster(_) => format!("{} (Cluster of {})", self.name, map.owners.len()),
        }
    }

    fn measures(&self) -> Vec<Measure> {
        let map = self.engine.map();
        let of_nodes = |family, help, value: fn(&node::Node) -> u64| {
            let measure = |node: &Arc<node::Node>| {
                let label = ("node", node.address.to_string());
                Measure::labelled(family, help, label, Reading::Gauge(value(node)))
            };
            map.owners().map(measure).collect::<Vec<_>>()
        };
        let (up, waits) = ("streamer_store_node_up", "streamer_store_node_waits_seconds");
        let mut measures =
            of_nodes(up, "Whether the engine's node takes changes.", |node| node.trouble().is_none().into());
        measures.extend(of_nodes(waits, "For how long the engine's node has taken no changes.", |node| {
            node.waits().as_secs()
        }));
        measures.extend(self.engine.measures());
        measures
    }
}

#[cfg(test)]
mod tests;
