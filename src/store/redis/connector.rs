//! The thread that sees to connections: which node is tried when, and when the map is asked for.
//!
//! It waits for nothing but messages: each attempt, and each asking for the map, has a thread for as long as it lasts
//! ([`attempt`]). So a node that hangs, or a name that cannot be looked up, keeps no other from being connected to.
//!
//! It also is the breaker: a node counts as down from an attempt that failed to one that succeeded, and what an attempt
//! sends is `PING`, never a user's command.
//!
//! ```text
//! session ──Want(node)──▶ connector ──Connected(node, stream) | Failed(node)──▶ mailbox of the session
//!         ──Refresh─────▶   │   ▲    ──new map──▶ all sessions
//!                           ▼   │ Tried, Asked
//!                          attempts
//! ```
//!
//! A node has one attempt at a time for all sessions that want it, and between those that fail there is a pause that
//! doubles and is drawn by lot: so a server that comes back is not met by a crowd. Refreshes are one at a time too.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::attempt::{self, Connected, Found};
use super::control::{LogIn, Trouble};
use super::shared::{Keys, Letter, Mailbox, NodeId, Shared};
use crate::codec::redis_url::Address;

/// Between the first attempt that fails and the second; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How soon after a refresh the next may be, at least.
const BETWEEN_REFRESHES: Duration = Duration::from_millis(100);
/// The map is asked for this often although nothing happens.
const REFRESH_ANYWAY: Duration = Duration::from_secs(60);

/// How many nodes are tried at once, each by a thread. Of a Cluster of which more hang, the others wait for their turn.
const MOST_ATTEMPTS: usize = 16;

/// What the connector is told.
pub enum Wish {
    /// A session wants a connection to this node.
    Want(NodeId, Arc<Mailbox>),
    /// A session wants the map again.
    Refresh,
    /// What came of an attempt to connect to this node.
    Tried(NodeId, Result<Connected, Trouble>),
    /// What came of asking for the map.
    Asked(Result<Found, Trouble>),
    /// This is to be told to the operator.
    Say(String),
    /// The store and its sessions are gone.
    End,
}

/// The way to the connector; it ends when the store and the sessions have all dropped it.
pub struct Wishes(Sender<Wish>);

impl Wishes {
    /// Tells the connector something.
    pub fn send(&self, wish: Wish) {
        // It is gone only when the program ends.
        let _ = self.0.send(wish);
    }
}

impl Drop for Wishes {
    fn drop(&mut self) {
        self.send(Wish::End);
    }
}

/// The thread's own.
pub struct Connector {
    shared: Arc<Shared>,
    seeds: Vec<Address>,
    log_in: Arc<LogIn>,
    say: fn(&str),
    inbox: Receiver<Wish>,
    /// For the attempts.
    outbox: Sender<Wish>,
    nodes: HashMap<NodeId, Wanted>,
    /// How many nodes are being tried. `attempts <= MOST_ATTEMPTS`
    attempts: usize,
    refresh_at: Instant,
    refreshed_at: Option<Instant>,
    refresh_wanted: bool,
    /// Whether the map is being asked for.
    is_refreshing: bool,
    refresh_failures: u32,
    /// Which peer is asked first for the map.
    next_peer: usize,
    lot: RandomState,
    draws: u64,
}

/// Who wants a connection to a node.
struct Wanted {
    sessions: Vec<Arc<Mailbox>>,
    /// Whether it is being tried.
    is_tried: bool,
    failures: u32,
    /// What the operator was last told of it; nothing when it answers.
    told: String,
    next: Instant,
    /// Which of the node's addresses was the last that was good.
    good: usize,
}

impl Wanted {
    /// When it is to be tried; None while it is, or when no session wants it.
    fn due(&self) -> Option<Instant> {
        (!self.is_tried && !self.sessions.is_empty()).then_some(self.next)
    }
}

impl Connector {
    /// One that has not asked any server yet, and the way to it.
    pub fn new(
        shared: Arc<Shared>,
        seeds: Vec<Address>,
        log_in: LogIn,
        say: fn(&str),
    ) -> (Self, Arc<Wishes>) {
        let (outbox, inbox) = channel();
        let wishes = Arc::new(Wishes(outbox.clone()));
        let connector = Self {
            shared,
            seeds,
            log_in: Arc::new(log_in),
            say,
            inbox,
            outbox,
            nodes: HashMap::new(),
            attempts: 0,
            refresh_at: Instant::now() + REFRESH_ANYWAY,
            refreshed_at: None,
            refresh_wanted: false,
            is_refreshing: false,
            refresh_failures: 0,
            next_peer: 0,
            lot: RandomState::new(),
            draws: 0,
        };
        (connector, wishes)
    }

    /// Asks for the map, and waits for it; to be done before [`Connector::run`].
    pub fn discover(&mut self) -> Result<(), Trouble> {
        let peers = self.begin_refresh();
        let found = attempt::find(&peers, &self.log_in);
        found.map(|found| self.publish(found)).inspect_err(|trouble| self.shared.set_away(trouble.why()))
    }

    /// Works until the store is dropped.
    pub fn run(mut self) {
        if matches!(self.shared.map().1.keys, Keys::Unknown) {
            self.refresh_at = Instant::now() + FIRST_PAUSE;
        }
        loop {
            match self.inbox.recv_timeout(self.due().saturating_duration_since(Instant::now())) {
                Ok(Wish::Want(node, session)) => self.want(node, session),
                Ok(Wish::Refresh) => self.want_refresh(),
                Ok(Wish::Tried(node, result)) => self.tried(node, result),
                Ok(Wish::Asked(result)) => self.asked(result),
                Ok(Wish::Say(text)) => (self.say)(&text),
                Ok(Wish::End) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if !self.is_refreshing && self.refresh_at <= Instant::now() {
                self.refresh();
            }
            self.try_due();
        }
    }

    /// When there is something to do although no message comes.
    fn due(&self) -> Instant {
        let refresh = (!self.is_refreshing).then_some(self.refresh_at);
        let nodes = self.nodes.values().filter(|_| self.attempts < MOST_ATTEMPTS).filter_map(Wanted::due);
        nodes.chain(refresh).min().unwrap_or_else(|| Instant::now() + REFRESH_ANYWAY)
    }

    fn want(&mut self, node: NodeId, session: Arc<Mailbox>) {
        let wanted = self.nodes.entry(node).or_insert_with(|| Wanted {
            sessions: Vec::new(),
            is_tried: false,
            failures: 0,
            told: String::new(),
            next: Instant::now(),
            good: 0,
        });
        if !wanted.sessions.iter().any(|other| Arc::ptr_eq(other, &session)) {
            wanted.sessions.push(session);
        }
    }

    fn want_refresh(&mut self) {
        // Many sessions find out at once; they are told together.
        if !self.refresh_wanted {
            let pause = self.draw(BETWEEN_REFRESHES / 5);
            let earliest = self.refreshed_at.map_or(Instant::now(), |at| at + BETWEEN_REFRESHES);
            self.refresh_wanted = true;
            self.refresh_at = self.refresh_at.min(earliest.max(Instant::now()) + pause);
        }
    }

    /// Has something that waits done by a thread, which tells what came of it.
    fn aside<T>(
        &self,
        work: impl FnOnce(&LogIn) -> Result<T, Trouble> + Send + 'static,
        told: impl FnOnce(Result<T, Trouble>) -> Wish + Copy + Send + 'static,
    ) {
        let (log_in, outbox) = (Arc::clone(&self.log_in), self.outbox.clone());
        let tell = move || {
            // What has panicked would else be waited for without end.
            let done = catch_unwind(AssertUnwindSafe(|| work(&log_in)));
            let done = done.unwrap_or_else(|_| Err(Trouble::Away("a panic, which is told above".into())));
            outbox.send(told(done))
        };
        if let Err(error) = thread::Builder::new().name("attempt".into()).spawn(tell) {
            let why = Trouble::Away(format!("cannot start a thread: {error}"));
            let _ = self.outbox.send(told(Err(why)));
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

    /// Whom to ask for the map, in this order; the next refresh asks in another.
    fn begin_refresh(&mut self) -> Vec<Address> {
        self.refresh_wanted = false;
        self.refreshed_at = Some(Instant::now());
        self.refresh_at = Instant::now() + REFRESH_ANYWAY;
        self.shared.refreshes.fetch_add(1, Relaxed);
        let (_, map) = self.shared.map();
        let is_down = |address: &&Address| {
            map.nodes.iter().any(|node| node.addresses.contains(address) && node.down.load(Relaxed))
        };
        let (down, up): (Vec<&Address>, Vec<&Address>) = map.peers.iter().partition(is_down);
        let first = self.next_peer % up.len().max(1);
        self.next_peer += 1;
        up[first..].iter().chain(&up[..first]).chain(&down).copied().chain(&self.seeds).cloned().collect()
    }

    fn refresh(&mut self) {
        if self.shared.map().1.is_single() {
            self.refresh_wanted = false;
            self.refresh_at = Instant::now() + REFRESH_ANYWAY;
            return;
        }
        let peers = self.begin_refresh();
        self.is_refreshing = true;
        self.aside(move |log_in| attempt::find(&peers, log_in), Wish::Asked);
    }

    fn publish(&self, found: Found) {
        match found {
            Found::Cluster(ranges) => self.shared.set_cluster(ranges),
            Found::Single => self.shared.set_single(self.seeds.clone()),
        }
    }

    fn asked(&mut self, result: Result<Found, Trouble>) {
        self.is_refreshing = false;
        let was_unknown = matches!(self.shared.map().1.keys, Keys::Unknown);
        match result {
            Ok(found) => {
                self.publish(found);
                if was_unknown || self.refresh_failures > 0 {
                    (self.say)("the store answers");
                }
                self.refresh_failures = 0;
            }
            Err(trouble) => {
                let why = trouble.why();
                self.shared.set_away(why);
                if self.refresh_failures == 0 && !was_unknown {
                    (self.say)(&format!("the store cannot be asked for its nodes: {why}"));
                }
                self.refresh_failures += 1;
                let pause = self.pause(self.refresh_failures);
                self.refresh_at = self.refresh_at.min(Instant::now() + pause);
            }
        }
    }

    /// Tries the nodes that are due, those behind the others that have failed more often.
    fn try_due(&mut self) {
        let now = Instant::now();
        let is_due = |node: &Wanted| node.due().is_some_and(|due| due <= now);
        let mut due: Vec<(u32, NodeId)> = self
            .nodes
            .iter()
            .filter(|(_, node)| is_due(node))
            .map(|(id, node)| (node.failures, *id))
            .collect();
        due.sort_unstable();
        for (_, id) in due {
            if self.attempts == MOST_ATTEMPTS {
                return;
            }
            self.attempt(id);
        }
    }

    fn attempt(&mut self, id: NodeId) {
        let (_, map) = self.shared.map();
        let (Some(node), Some(wanted)) = (map.nodes.get(id as usize), self.nodes.get_mut(&id)) else {
            // What was a Cluster is one server now.
            self.nodes.remove(&id);
            return;
        };
        wanted.is_tried = true;
        self.attempts += 1;
        let (node, good) = (Arc::clone(node), wanted.good);
        self.aside(
            move |log_in| attempt::connect(&node.addresses, good, log_in),
            move |result| Wish::Tried(id, result),
        );
    }

    fn tried(&mut self, id: NodeId, result: Result<Connected, Trouble>) {
        self.attempts -= 1;
        let (_, map) = self.shared.map();
        let Some(mut wanted) = self.nodes.remove(&id) else { return };
        let Some(node) = map.nodes.get(id as usize) else { return };
        wanted.is_tried = false;
        match result {
            Ok(Connected { stream, at }) => {
                if node.down.swap(false, Relaxed) {
                    (self.say)(&format!("the store answers: {}", node.addresses[at]));
                }
                (wanted.good, wanted.failures) = (at, 0);
                wanted.told.clear();
                if let Some(session) = wanted.sessions.pop() {
                    session.put(Letter::Connected(id, stream));
                }
            }
            Err(trouble) => {
                node.down.store(true, Relaxed);
                self.failed(id, &mut wanted, trouble.why(), map.owners.contains(&id));
            }
        }
        self.nodes.insert(id, wanted);
    }

    /// One attempt goes for all sessions that want the node: the first that fails is the last for now. A node that has no
    /// slots any more need not be tried for ever; but the map may be old.
    fn failed(&mut self, id: NodeId, wanted: &mut Wanted, why: &str, tries_on: bool) {
        self.shared.set_away(why);
        wanted.failures += 1;
        wanted.next = Instant::now() + self.pause(wanted.failures);
        // It may be away at first, and come back with something that the operator has to change.
        if wanted.told != why {
            (self.say)(&format!("the store is away: {why}; trying on"));
            why.clone_into(&mut wanted.told);
        }
        for session in &wanted.sessions {
            session.put(Letter::Failed { node: id, tries_on });
        }
        if !tries_on {
            wanted.sessions.clear();
        }
        self.refresh_at = self.refresh_at.min(wanted.next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_panics_has_failed() {
        let shared = Arc::new(Shared::new(Default::default(), Vec::new(), Default::default(), None));
        let log_in = LogIn { user: None, password: None, database: 0, timeout: FIRST_PAUSE };
        let (connector, _wishes) = Connector::new(shared, Vec::new(), log_in, |_| {});
        connector.aside(|_| panic!("as the test wants it"), Wish::Asked);
        let told = connector.inbox.recv_timeout(Duration::from_secs(5));
        assert!(matches!(told, Ok(Wish::Asked(Err(Trouble::Away(_))))));
    }
}
