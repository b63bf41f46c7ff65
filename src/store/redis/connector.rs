//! The thread that connects: it looks names up, logs in, asks for the map, and hands connections to the sessions.
//!
//! All of that waits, which no worker may. It also is the breaker: a node counts as down from an attempt that failed to
//! one that succeeded, and what an attempt sends is `PING`, never a user's command.
//!
//! ```text
//! session ──Want(node)──▶ connector ──Connected(node, stream) | Failed(node)──▶ mailbox of the session
//!         ──Refresh─────▶            ──new map──▶ all sessions
//! ```
//!
//! One attempt goes first for all sessions that want the same node, and between attempts there is a pause that doubles and
//! is drawn by lot: so a server that comes back is not met by a crowd. Refreshes are one at a time, because there is one
//! thread.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::cluster;
use super::control::{Control, LogIn, Trouble};
use super::shared::{Keys, Letter, Mailbox, NodeId, Shared};
use crate::codec::redis_url::Address;
use crate::codec::resp::Reply;

/// Between the first attempt that fails and the second; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How soon after a refresh the next may be, at least.
const BETWEEN_REFRESHES: Duration = Duration::from_millis(100);
/// The map is asked for this often although nothing happens.
const REFRESH_ANYWAY: Duration = Duration::from_secs(60);

/// What a session asks for.
pub enum Wish {
    /// A connection to this node.
    Want(NodeId, Arc<Mailbox>),
    /// The map again.
    Refresh,
}

/// The thread's own.
pub struct Connector {
    shared: Arc<Shared>,
    seeds: Vec<Address>,
    log_in: LogIn,
    timeout: Duration,
    say: fn(&str),
    nodes: HashMap<NodeId, Wanted>,
    refresh_at: Instant,
    refreshed_at: Option<Instant>,
    refresh_wanted: bool,
    refresh_failures: u32,
    /// Which peer is asked first for the map.
    next_peer: usize,
    lot: RandomState,
    draws: u64,
}

/// Who wants a connection to a node.
struct Wanted {
    sessions: Vec<Arc<Mailbox>>,
    failures: u32,
    next: Instant,
    /// Which of the node's addresses was the last that was good.
    good: usize,
}

impl Connector {
    /// One that has not asked anybody yet.
    pub fn new(shared: Arc<Shared>, seeds: Vec<Address>, log_in: LogIn, say: fn(&str)) -> Self {
        // Time enough for a few round trips to another continent, and not so long that one node that hangs keeps the
        // others waiting.
        let timeout = Duration::from_millis(shared.timeout.millis().clamp(250, 1000));
        Self {
            shared,
            seeds,
            log_in,
            timeout,
            say,
            nodes: HashMap::new(),
            refresh_at: Instant::now() + REFRESH_ANYWAY,
            refreshed_at: None,
            refresh_wanted: false,
            refresh_failures: 0,
            next_peer: 0,
            lot: RandomState::new(),
            draws: 0,
        }
    }

    /// Asks for the map, of one seed after the other; to be done before [`Connector::run`].
    pub fn discover(&mut self) -> Result<(), Trouble> {
        self.refresh()
    }

    /// Works until the store is dropped.
    pub fn run(mut self, wishes: &Receiver<Wish>) {
        if matches!(self.shared.map().1.keys, Keys::Unknown) {
            self.refresh_later(FIRST_PAUSE);
        }
        loop {
            let due = self.nodes.values().filter(|node| !node.sessions.is_empty()).map(|node| node.next);
            let due = due.chain([self.refresh_at]).min().unwrap_or(self.refresh_at);
            match wishes.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(wish) => {
                    self.take(wish);
                    wishes.try_iter().for_each(|wish| self.take(wish));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.refresh_at <= Instant::now() {
                self.refresh_and_say();
            }
            let is_due = |wanted: &Wanted| !wanted.sessions.is_empty() && wanted.next <= Instant::now();
            let due: Vec<NodeId> =
                self.nodes.iter().filter(|(_, node)| is_due(node)).map(|(id, _)| *id).collect();
            due.into_iter().for_each(|node| self.connect_all(node));
        }
    }

    fn take(&mut self, wish: Wish) {
        match wish {
            Wish::Want(node, mailbox) => {
                let next = Instant::now();
                let wanted = Wanted { sessions: Vec::new(), failures: 0, next, good: 0 };
                let sessions = &mut self.nodes.entry(node).or_insert(wanted).sessions;
                if !sessions.iter().any(|session| Arc::ptr_eq(session, &mailbox)) {
                    sessions.push(mailbox);
                }
            }
            // Many sessions find out at once; they are told together.
            Wish::Refresh if !self.refresh_wanted => {
                let pause = self.draw(BETWEEN_REFRESHES / 5);
                let earliest = self.refreshed_at.map_or(Instant::now(), |at| at + BETWEEN_REFRESHES);
                self.refresh_wanted = true;
                self.refresh_at = self.refresh_at.min(earliest.max(Instant::now()) + pause);
            }
            Wish::Refresh => {}
        }
    }

    /// A time between the half and the whole of `most`, by lot.
    fn draw(&mut self, most: Duration) -> Duration {
        self.draws += 1;
        let lot = self.lot.hash_one(self.draws) % 1024;
        most / 2 + most * lot as u32 / 2048
    }

    fn pause(&mut self, failures: u32) -> Duration {
        let most = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
        self.draw(most)
    }

    fn refresh_later(&mut self, pause: Duration) {
        self.refresh_at = Instant::now() + pause;
    }

    fn refresh_and_say(&mut self) {
        let was_unknown = matches!(self.shared.map().1.keys, Keys::Unknown);
        match self.refresh() {
            Ok(()) => {
                if was_unknown || self.refresh_failures > 0 {
                    (self.say)("the store answers");
                }
                self.refresh_failures = 0;
                self.refresh_later(REFRESH_ANYWAY);
            }
            Err(Trouble::Away(why) | Trouble::Unwelcome(why)) => {
                if self.refresh_failures == 0 && !was_unknown {
                    (self.say)(&format!("the store cannot be asked for its nodes: {why}"));
                }
                self.refresh_failures += 1;
                let pause = self.pause(self.refresh_failures);
                self.refresh_later(pause);
            }
        }
    }

    /// Asks one server after the other until one answers.
    fn refresh(&mut self) -> Result<(), Trouble> {
        self.refresh_wanted = false;
        self.refreshed_at = Some(Instant::now());
        let (_, map) = self.shared.map();
        if map.is_single() {
            return Ok(());
        }
        self.shared.refreshes.fetch_add(1, Relaxed);
        let is_down = |address: &&Address| {
            map.nodes.iter().any(|node| node.addresses.contains(address) && node.down.load(Relaxed))
        };
        let (down, up): (Vec<&Address>, Vec<&Address>) = map.peers.iter().partition(is_down);
        let first = self.next_peer % up.len().max(1);
        self.next_peer += 1;
        let order = up[first..].iter().chain(&up[..first]).chain(&down).copied().chain(&self.seeds);
        let mut last = Trouble::Away("no server is known".into());
        for address in order {
            match self.ask_for_map(address) {
                Ok(()) => return Ok(()),
                // What the operator has to change is more worth saying than which node is away.
                Err(trouble) if matches!(last, Trouble::Away(_)) => last = trouble,
                Err(_) => {}
            }
        }
        Err(last)
    }

    fn ask_for_map(&self, address: &Address) -> Result<(), Trouble> {
        let mut control = Control::open(address, &self.log_in, self.timeout)?;
        let ranges = control.ask(&[b"CLUSTER", b"SLOTS"], |reply| match reply {
            Reply::Error(_) => Ok(None),
            reply => Ok(cluster::map(reply, address)),
        })?;
        match ranges {
            Some(ranges) => self.shared.set_cluster(ranges),
            None => self.shared.set_single(self.seeds.clone()),
        }
        Ok(())
    }

    /// Connects to a node for all sessions that want it; the first attempt that fails is the last for now.
    fn connect_all(&mut self, id: NodeId) {
        let (_, map) = self.shared.map();
        let Some(node) = map.nodes.get(id as usize) else { return };
        let Some(mut wanted) = self.nodes.remove(&id) else { return };
        while let Some(session) = wanted.sessions.pop() {
            match self.connect(&node.addresses, &mut wanted.good) {
                Ok(stream) => {
                    if node.down.swap(false, Relaxed) {
                        (self.say)(&format!("the store answers: {}", node.addresses[wanted.good]));
                    }
                    wanted.failures = 0;
                    session.put(Letter::Connected(id, stream));
                }
                Err(Trouble::Away(why) | Trouble::Unwelcome(why)) => {
                    wanted.sessions.push(session);
                    wanted.failures += 1;
                    wanted.next = Instant::now() + self.pause(wanted.failures);
                    if !node.down.swap(true, Relaxed) {
                        (self.say)(&format!("the store is away: {why}; trying on"));
                    }
                    // A node that has no slots any more need not be tried for ever. But the map may be old.
                    let tries_on = map.owners.contains(&id);
                    for session in &wanted.sessions {
                        session.put(Letter::Failed { node: id, tries_on });
                    }
                    if !tries_on {
                        wanted.sessions.clear();
                    }
                    self.refresh_at = self.refresh_at.min(wanted.next);
                    break;
                }
            }
        }
        self.nodes.insert(id, wanted);
    }

    /// Connects to the first of a node's addresses that is a master, the one that was good last before the others.
    fn connect(&self, addresses: &[Address], good: &mut usize) -> Result<super::stream::Stream, Trouble> {
        let mut last = Trouble::Away("no address".into());
        for i in 0..addresses.len() {
            let at = (*good + i) % addresses.len();
            let address = &addresses[at];
            let connected = Control::open(address, &self.log_in, self.timeout).and_then(|mut control| {
                match control.is_replica()? {
                    true => Err(Trouble::Away(format!("{address} is a replica"))),
                    false => control.into_stream(),
                }
            });
            match connected {
                Ok(stream) => {
                    *good = at;
                    return Ok(stream);
                }
                Err(trouble) => last = trouble,
            }
        }
        Err(last)
    }
}
