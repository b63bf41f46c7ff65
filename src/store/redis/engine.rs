//! What the sessions, the nodes' threads and the scout share: the map of nodes, the hints, and the way to each session.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Instant;

use super::cluster::{self, Range, SLOTS, slot};
use super::connect::EngineStream;
use super::counters::EngineCounts;
use super::dialogue::ClockReading;
use super::hints::Hints;
use super::node::Node;
use super::url::{Access, Address};
use crate::measures::Measure;
use crate::streams::account::Policy;
use crate::sync::{Mailbox, lock};
use crate::time::Millis;

/// The number of a node: its place in [`Map::nodes`]. None ever comes again.
pub type NodeId = u32;

/// What all threads of one store share.
pub struct Engine {
    pub policy: Policy,
    /// What stands before a user in a key.
    pub prefix: Vec<u8>,
    /// One deadline for all tries of a command.
    pub timeout: Millis,
    pub access: Access,
    /// Tells the operator something.
    pub say: fn(&str),
    pub hints: Hints,
    pub errands: Mailbox<Errands>,
    /// What the scout and the nodes' threads count.
    pub counts: EngineCounts,
    map: Mutex<Arc<Map>>,
    sessions: Mutex<Vec<Arc<Subscriber>>>,
    /// A number that no two keys of ours have.
    pub next_key: AtomicU64,
}

/// What a session wants of the scout.
#[derive(Default)]
pub struct Errands {
    /// To ask again who has the keys, for somebody is away.
    pub refresh: bool,
    /// The same, for a server says that another one has them.
    pub moved: bool,
    /// To tell the operator of a key whose record cannot be read.
    pub unreadable: Option<Vec<u8>>,
}

/// Which nodes there are, and who has which slot.
#[derive(Clone, Default)]
pub struct Map {
    /// The nodes that have keys, or that a redirect has named a moment ago.
    pub nodes: Vec<Option<Arc<Node>>>,
    /// What keys go by.
    pub keys: Slots,
    /// The nodes that have keys.
    pub owners: Vec<NodeId>,
    /// Whom to ask for the map, replicas among them.
    pub peers: Vec<Address>,
    /// What is wrong with the map itself; empty for nothing.
    pub trouble: String,
}

/// Who has a key.
#[derive(Clone, Default)]
pub enum Slots {
    #[default]
    Unknown,
    Single(NodeId),
    /// The node with this number has those of the slot; [`NO_NODE`] where none has.
    Cluster(Arc<[NodeId]>),
}

/// What the scout has found out about who has the keys.
pub enum Finding {
    Cluster(Vec<Range>),
    Master(Address),
    /// Nobody can tell, and why.
    Nobody(String),
}

/// No node has this slot.
pub const NO_NODE: NodeId = NodeId::MAX;

impl Map {
    /// Who has the key of these parts; None: nobody is known to have it now.
    pub fn route(&self, prefix: &[u8], user: &[u8]) -> Option<NodeId> {
        match &self.keys {
            Slots::Unknown => None,
            Slots::Single(node) => Some(*node),
            Slots::Cluster(owners) => {
                let mut key = [0; 1024];
                let slot = match key.get_mut(..prefix.len() + user.len()) {
                    Some(key) => {
                        key[..prefix.len()].copy_from_slice(prefix);
                        key[prefix.len()..].copy_from_slice(user);
                        slot(key)
                    }
                    None => slot(&[prefix, user].concat()),
                };
                Some(owners[usize::from(slot)]).filter(|node| *node != NO_NODE)
            }
        }
    }

    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(id as usize)?.as_ref()
    }

    /// The nodes that have keys.
    pub fn owners(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.owners.iter().filter_map(|id| self.node(*id))
    }

    /// Why not all commands can be carried out now.
    pub fn trouble(&self) -> Option<String> {
        let of_map = (!self.trouble.is_empty()).then(|| self.trouble.clone());
        of_map.or_else(|| self.owners().find_map(|node| node.trouble()))
    }

    fn find(&self, address: &Address) -> Option<NodeId> {
        let is_it = |node: &Option<Arc<Node>>| node.as_ref().is_some_and(|node| node.address == *address);
        self.nodes.iter().position(is_it).map(|id| id as NodeId)
    }

    /// The node at an address, which is added if it is a new one; [`NO_NODE`] if there is no thread for it.
    fn add(&mut self, address: &Address, engine: &Arc<Engine>) -> NodeId {
        self.find(address).unwrap_or_else(|| {
            let id = self.nodes.len() as NodeId;
            match Node::start(id, address.clone(), engine) {
                Ok(node) => self.nodes.push(Some(node)),
                Err(error) => {
                    (engine.say)(&format!("the store is away: cannot start a thread: {error}"));
                    return NO_NODE;
                }
            }
            id
        })
    }

    /// From now on these nodes have the keys; others are forgotten.
    fn settle(&mut self, keys: Slots, trouble: String) {
        self.trouble = trouble;
        self.owners = match &keys {
            Slots::Unknown => Vec::new(),
            Slots::Single(node) => vec![*node],
            Slots::Cluster(owners) => owners.to_vec(),
        };
        self.owners.retain(|node| *node != NO_NODE);
        self.owners.sort_unstable();
        self.owners.dedup();
        self.keys = keys;
        self.forget(Instant::now());
    }

    /// The nodes that have no keys, and that nobody has named for a while.
    fn left(&self, now: Instant) -> Vec<NodeId> {
        let is_left = |id: &NodeId| self.node(*id).is_some_and(|node| node.is_left(now));
        (0..self.nodes.len() as NodeId).filter(|id| !self.owners.contains(id)).filter(is_left).collect()
    }

    fn forget(&mut self, now: Instant) {
        let left = self.left(now).into_iter().filter_map(|id| self.nodes[id as usize].take());
        left.for_each(|node| node.wishes.stop());
    }
}

/// A session, as other threads see it.
pub struct Subscriber {
    letters: Mutex<Vec<Letter>>,
    waker: Waker,
    pub counts: EngineCounts,
}

/// What other threads have to say to a session.
pub enum Letter {
    Map(Arc<Map>),
    /// A connection to this node, proven.
    Connected(NodeId, EngineStream, ClockReading),
    /// There is none to be had now.
    Failed(NodeId),
}

impl Subscriber {
    pub fn put(&self, letter: Letter) {
        lock(&self.letters).push(letter);
        self.waker.wake_by_ref();
    }

    pub fn take(&self) -> Vec<Letter> {
        std::mem::take(&mut *lock(&self.letters))
    }
}

impl Engine {
    /// Nothing is known yet.
    pub fn new(policy: Policy, prefix: Vec<u8>, timeout: Millis, access: Access, say: fn(&str)) -> Self {
        let trouble = "no server has answered yet".into();
        Self {
            policy,
            prefix,
            timeout,
            access,
            say,
            hints: Hints::new(),
            errands: Mailbox::new(Errands::default()),
            counts: EngineCounts::default(),
            map: Mutex::new(Arc::new(Map { trouble, ..Map::default() })),
            sessions: Mutex::default(),
            next_key: AtomicU64::new(super::hints::random()),
        }
    }

    /// What other threads see of a new session.
    pub fn enlist(&self, waker: Waker) -> Arc<Subscriber> {
        let (letters, counts) = Default::default();
        let session = Arc::new(Subscriber { letters, waker, counts });
        lock(&self.sessions).push(Arc::clone(&session));
        session
    }

    pub fn measures(&self) -> Vec<Measure> {
        let sessions = lock(&self.sessions);
        self.counts.measures(sessions.iter().map(|session| &session.counts))
    }

    pub fn map(&self) -> Arc<Map> {
        Arc::clone(&lock(&self.map))
    }

    /// Has the scout ask again who has the keys.
    pub fn refresh(&self) {
        self.errands.leave(|errands| errands.refresh = true);
    }

    /// A server has said that another one has a key.
    pub fn moved(&self) {
        self.errands.leave(|errands| errands.moved = true);
    }

    /// Makes what the scout has found the map. Only a whole map of a Cluster replaces a whole one.
    pub fn take(self: &Arc<Self>, finding: Finding) {
        let map = self.map();
        match finding {
            Finding::Master(address) => {
                let is_it = |id: NodeId| map.find(&address) == Some(id) && map.trouble.is_empty();
                if !matches!(map.keys, Slots::Single(id) if is_it(id)) {
                    self.publish(|map| match map.add(&address, self) {
                        NO_NODE => {
                            map.settle(Slots::Unknown, format!("no thread can be started for {address}"));
                        }
                        node => map.settle(Slots::Single(node), String::new()),
                    });
                }
            }
            Finding::Nobody(why) if map.trouble == why => {}
            Finding::Nobody(why) => self.publish(|map| map.settle(Slots::Unknown, why)),
            Finding::Cluster(ranges) => self.publish(|map| self.set_cluster(map, ranges)),
        }
    }

    fn set_cluster(self: &Arc<Self>, map: &mut Map, ranges: Vec<Range>) {
        let trouble = match cluster::uncovered(&ranges) {
            0 => String::new(),
            n => format!("{n} slots of the Cluster are served by no node"),
        };
        let is_whole = matches!(&map.keys, Slots::Cluster(owners) if !owners.contains(&NO_NODE));
        if is_whole && !trouble.is_empty() {
            map.trouble = trouble;
            return;
        }
        let mut owners = vec![NO_NODE; SLOTS];
        map.peers.clear();
        for Range { slots: (first, last), master, replicas, .. } in ranges {
            if let Some(master) = master {
                let node = map.add(&master, self);
                owners[usize::from(first)..=usize::from(last.max(first))].fill(node);
                map.peers.push(master);
            }
            map.peers.extend(replicas);
        }
        map.peers.sort_by_key(ToString::to_string);
        map.peers.dedup();
        map.settle(Slots::Cluster(owners.into()), trouble);
    }

    /// The node at an address that a redirect has named.
    pub fn redirected(self: &Arc<Self>, address: &Address) -> NodeId {
        let map = self.map();
        // Looked for first: a known one needs no new map, which all sessions would have to take.
        if let Some(id) = map.find(address) {
            map.node(id).inspect(|node| node.name());
            return id;
        }
        let mut added = NO_NODE;
        self.publish(|map| added = map.add(address, self));
        added
    }

    /// Once a second: forgets the nodes that are left, and wakes all sessions.
    pub fn tick(&self, now: Instant) {
        if self.map().left(now).is_empty() {
            return self.wake_all();
        }
        self.publish(|map| map.forget(now));
    }

    /// Changes the map and tells all sessions, each change in its turn.
    fn publish(&self, change: impl FnOnce(&mut Map)) {
        let mut map = lock(&self.map);
        let mut changed = Map::clone(&map);
        change(&mut changed);
        *map = Arc::new(changed);
        lock(&self.sessions).iter().for_each(|session| session.put(Letter::Map(Arc::clone(&map))));
    }

    fn wake_all(&self) {
        lock(&self.sessions).iter().for_each(|session| session.waker.wake_by_ref());
    }

    /// Has all threads of the store end.
    pub fn stop(&self) {
        self.errands.stop();
        self.map().nodes.iter().flatten().for_each(|node| node.wishes.stop());
    }

    /// A key of ours that was never used.
    pub fn own_key(&self) -> Vec<u8> {
        // No user has a control character.
        [&self.prefix[..], format!("\x01{:x}", self.next_key.fetch_add(1, Relaxed)).as_bytes()].concat()
    }

    /// One in a slot that the node of this number has; None if there is none, as when the prefix puts all keys into one slot
    /// of another node.
    pub fn own_key_at(&self, node: NodeId) -> Option<Vec<u8>> {
        let map = self.map();
        (0..SLOTS * 8).map(|_| self.own_key()).find(|key| map.route(key, b"") == Some(node))
    }
}
