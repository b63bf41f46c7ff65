//! What the sessions and the connector share: the map of nodes, the mailboxes, the hints and the counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::cluster::{Range, SLOTS, slot};
use super::counters::Counters;
use super::hints::Hints;
use super::local::Local;
use super::stream::Stream;
use crate::codec::redis_url::Address;
use crate::streams::account::Policy;
use crate::time::Millis;

/// The number of a node: its place in [`Map::nodes`], which stays the same as long as the program runs.
pub type NodeId = u32;

/// How long it counts that a node has refused all changes. Only commands show that it takes them again, and while none come
/// it must not count for ever.
const REFUSAL_COUNTS: Duration = Duration::from_secs(5);

/// What all threads of one store share.
pub struct Shared {
    /// The rules.
    pub policy: Policy,
    /// What stands before a user in a key.
    pub prefix: Vec<u8>,
    /// One deadline for all tries of a command.
    pub timeout: Millis,
    /// The hints.
    pub hints: Hints,
    /// What is done while the engine is away; None: 503.
    pub local: Option<Local>,
    map: Mutex<Arc<Map>>,
    version: AtomicU64,
    mailboxes: Mutex<Vec<Arc<Mailbox>>>,
    counters: Mutex<Vec<Arc<Counters>>>,
    /// Why a server could not be used, as the connector has found out last.
    away: Mutex<String>,
    /// Why a node that answers refuses all changes, and when it did so last.
    refusal: Mutex<Option<(Instant, String)>>,
    /// How often the map of a Cluster was asked for.
    pub refreshes: AtomicU64,
}

/// Which nodes there are, and who has which slot.
#[derive(Default)]
pub struct Map {
    /// Every node that was ever heard of. A node that has left is only never asked.
    pub nodes: Vec<Arc<Node>>,
    /// What keys go by.
    pub keys: Keys,
    /// The nodes that have keys.
    pub owners: Vec<NodeId>,
    /// Whom to ask for the map, replicas among them.
    pub peers: Vec<Address>,
}

/// Who has a key.
#[derive(Default)]
pub enum Keys {
    /// It is not known yet: no server has answered since the start.
    #[default]
    Unknown,
    /// Node 0 has all of them.
    Single,
    /// The node with this number has those of the slot; [`NO_NODE`] where none has.
    Cluster(Box<[NodeId]>),
}

/// No node has this slot.
pub const NO_NODE: NodeId = NodeId::MAX;

/// A server, or several one of which is the master.
pub struct Node {
    /// Where it is.
    pub addresses: Vec<Address>,
    /// Whether the last attempt to connect has failed: then commands for it are not kept waiting.
    pub down: AtomicBool,
}

/// Where a command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To this node.
    To(NodeId),
    /// No node has the slot now; that may change in a moment.
    NoNode,
    /// No server has answered since the start.
    Unknown,
}

impl Map {
    /// Who has a key.
    pub fn route(&self, key: &[u8]) -> Route {
        match &self.keys {
            Keys::Unknown => Route::Unknown,
            Keys::Single => Route::To(0),
            Keys::Cluster(owners) => match owners[usize::from(slot(key))] {
                NO_NODE => Route::NoNode,
                node => Route::To(node),
            },
        }
    }

    /// Whether one node has all keys.
    pub fn is_single(&self) -> bool {
        matches!(self.keys, Keys::Single)
    }

    /// Whether every node that has keys can be reached, as far as is known.
    pub fn is_up(&self) -> bool {
        let is_up = |node: &NodeId| !self.nodes[*node as usize].down.load(Relaxed);
        !self.owners.is_empty() && self.owners.iter().all(is_up)
    }

    /// The node at an address, which is added if it is a new one.
    fn node(&mut self, address: &Address) -> NodeId {
        let known = self.nodes.iter().position(|node| node.addresses[..] == [address.clone()]);
        known.unwrap_or_else(|| {
            self.nodes
                .push(Arc::new(Node { addresses: vec![address.clone()], down: AtomicBool::new(false) }));
            self.nodes.len() - 1
        }) as NodeId
    }

    fn copy(&self) -> Self {
        let keys = match &self.keys {
            Keys::Unknown => Keys::Unknown,
            Keys::Single => Keys::Single,
            Keys::Cluster(owners) => Keys::Cluster(owners.clone()),
        };
        Self { nodes: self.nodes.clone(), keys, owners: self.owners.clone(), peers: self.peers.clone() }
    }
}

/// How a session is reached by the connector.
pub struct Mailbox {
    letters: Mutex<Vec<Letter>>,
    any: AtomicBool,
    waker: Waker,
}

/// What the connector has to say.
pub enum Letter {
    /// A connection to this node, logged in.
    Connected(NodeId, Stream),
    /// There is none to be had now.
    Failed {
        /// The node.
        node: NodeId,
        /// Whether the connector goes on trying.
        tries_on: bool,
    },
}

impl Mailbox {
    /// An empty one.
    pub fn new(waker: Waker) -> Self {
        Self { letters: Mutex::default(), any: AtomicBool::new(false), waker }
    }

    /// Leaves a letter.
    pub fn put(&self, letter: Letter) {
        lock(&self.letters).push(letter);
        self.any.store(true, SeqCst);
        self.waker.wake_by_ref();
    }

    /// Takes all letters out.
    pub fn take(&self) -> Vec<Letter> {
        if !self.any.swap(false, SeqCst) {
            return Vec::new();
        }
        std::mem::take(&mut *lock(&self.letters))
    }
}

impl Shared {
    /// Nothing is known yet.
    pub fn new(policy: Policy, prefix: Vec<u8>, timeout: Millis, local: Option<Local>) -> Self {
        Self {
            policy,
            prefix,
            timeout,
            hints: Hints::new(),
            local,
            map: Mutex::default(),
            version: AtomicU64::new(0),
            mailboxes: Mutex::default(),
            counters: Mutex::default(),
            away: Mutex::default(),
            refusal: Mutex::default(),
            refreshes: AtomicU64::new(0),
        }
    }

    /// The mailbox and the counters of a new session.
    pub fn enlist(&self, waker: Waker) -> (Arc<Mailbox>, Arc<Counters>) {
        let (mailbox, counters) = (Arc::new(Mailbox::new(waker)), Arc::<Counters>::default());
        lock(&self.mailboxes).push(Arc::clone(&mailbox));
        lock(&self.counters).push(Arc::clone(&counters));
        (mailbox, counters)
    }

    /// The counters of all sessions.
    pub fn counters(&self) -> Vec<Arc<Counters>> {
        lock(&self.counters).clone()
    }

    /// A server cannot be used.
    pub fn set_away(&self, why: &str) {
        why.clone_into(&mut lock(&self.away));
    }

    /// A node has refused a change for a reason that holds for all of them. Returns what the operator is to be told, if that
    /// is news.
    pub fn set_refusal(&self, now: Instant, node: &Address, advice: &str) -> Option<String> {
        let mut refusal = lock(&self.refusal);
        match &mut *refusal {
            Some((last, _)) if now.saturating_duration_since(*last) < REFUSAL_COUNTS => {
                *last = now;
                None
            }
            _ => {
                let why = format!("{node} {advice}");
                *refusal = Some((now, why.clone()));
                Some(why)
            }
        }
    }

    /// Why not all commands can be carried out now.
    pub fn trouble(&self, now: Instant) -> Option<String> {
        if self.local.is_some() {
            return None;
        }
        if !self.map().1.is_up() {
            return Some(lock(&self.away).clone());
        }
        let refusal = lock(&self.refusal);
        let (last, why) = refusal.as_ref()?;
        (now.saturating_duration_since(*last) < REFUSAL_COUNTS).then(|| why.clone())
    }

    /// The map, and its version.
    pub fn map(&self) -> (u64, Arc<Map>) {
        let map = lock(&self.map);
        (self.version.load(SeqCst), Arc::clone(&map))
    }

    /// The version of the map.
    pub fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    /// All keys are with one server, which is at one of these addresses.
    pub fn set_single(&self, addresses: Vec<Address>) {
        let node = Arc::new(Node { addresses, down: AtomicBool::new(false) });
        self.publish(|map| {
            *map = Map { nodes: vec![node], keys: Keys::Single, owners: vec![0], peers: Vec::new() };
        });
    }

    /// A Cluster has told who has which slots.
    pub fn set_cluster(&self, ranges: Vec<Range>) {
        self.publish(|map| {
            let mut owners = vec![NO_NODE; SLOTS];
            map.peers.clear();
            for Range { slots: (first, last), master, replicas } in ranges {
                if let Some(master) = master {
                    let node = map.node(&master);
                    owners[usize::from(first)..=usize::from(last.max(first))].fill(node);
                    map.peers.push(master);
                }
                map.peers.extend(replicas);
            }
            map.peers.sort_by_key(ToString::to_string);
            map.peers.dedup();
            map.owners = owners.iter().copied().filter(|node| *node != NO_NODE).collect();
            map.owners.sort_unstable();
            map.owners.dedup();
            map.keys = Keys::Cluster(owners.into());
        });
    }

    /// The node at an address that a redirect has named.
    pub fn node(&self, address: &Address) -> NodeId {
        // Looked for first: a known one needs no new map, which all sessions would have to take.
        let (_, map) = self.map();
        let known = map.nodes.iter().position(|node| node.addresses[..] == [address.clone()]);
        if let Some(known) = known {
            return known as NodeId;
        }
        let mut added = 0;
        self.publish(|map| added = map.node(address));
        added
    }

    /// Changes the map and tells all sessions.
    fn publish(&self, change: impl FnOnce(&mut Map)) {
        let mut map = lock(&self.map);
        let mut changed = map.copy();
        change(&mut changed);
        *map = Arc::new(changed);
        self.version.fetch_add(1, SeqCst);
        drop(map);
        self.wake_all();
    }

    /// Wakes all sessions.
    pub fn wake_all(&self) {
        lock(&self.mailboxes).iter().for_each(|mailbox| mailbox.waker.wake_by_ref());
    }
}

/// Takes a lock although a thread may have panicked under it: nothing is half done under these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
