//! The thread that finds out who has the keys: the master among several servers, the one that Sentinels name, or the map of
//! a Cluster.
//!
//! ```text
//! session, node ── refresh ──▶ scout ── a new map ──▶ all sessions
//!                               │ asks servers, several at a time
//! ```
//!
//! One server's word changes nothing for good. The map of a Cluster is replaced by a whole one, from a node that has a part
//! in it; an error or an empty answer means asking the next, and the last good map stays. Several servers that are no
//! Cluster are all asked, once a second and after every failure: if two say that they are the master, nobody can tell
//! which count is the one, and no command is carried out until one of them has given way.
//!
//! It also wakes the sessions once a second, so that they ask the time and see what is late.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use super::cluster::{self, Range};
use super::counters::Count;
use super::dialogue::{Dialogue, Trouble, Who};
use super::engine::{Engine, Errands, Finding, Map, Slots};
use super::node::{at_once, pause};
use super::url::{Address, Watched};

/// How soon after one look the next may be.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// How often several servers, or Sentinels, are asked, and a Cluster that has no whole map.
const OFTEN: Duration = Duration::from_secs(1);
/// How often a Cluster is, in which a master is away: another may take over at any moment.
const WHILE_DOWN: Duration = Duration::from_millis(250);
/// A map of a Cluster is asked for this often although nothing happens.
const SELDOM: Duration = Duration::from_secs(60);
/// How often the sessions are woken.
const TICK: Duration = Duration::from_secs(1);
/// How many nodes of a Cluster are asked at a time; the first whole map is taken.
const AT_ONCE: usize = 3;
/// How long to wait before the next record that cannot be read is reported.
const BETWEEN_UNREADABLE: Duration = Duration::from_secs(10);

/// What one thread works with. No other thread sees it.
pub struct Scout {
    engine: Arc<Engine>,
    seeds: Vec<Address>,
    watched: Option<Watched>,
    looked: Instant,
    /// When it looks next; None: when it is told that the keys have moved.
    look_at: Option<Instant>,
    tick_at: Instant,
    failures: u32,
    /// What the operator was last told; nothing when all is well.
    told: String,
    told_unreadable: Option<Instant>,
    /// Which peer is asked first.
    next_peer: usize,
    /// Who waits for what comes of the first look.
    first: Option<SyncSender<Result<(), Trouble>>>,
}

impl Scout {
    /// One that has not asked anybody yet.
    pub fn new(
        engine: Arc<Engine>,
        seeds: Vec<Address>,
        watched: Option<Watched>,
        first: SyncSender<Result<(), Trouble>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            engine,
            seeds,
            watched,
            looked: now,
            look_at: Some(now),
            tick_at: now + TICK,
            failures: 0,
            told: String::new(),
            told_unreadable: None,
            next_peer: 0,
            first: Some(first),
        }
    }

    /// Waits until there is something to do, and does it; returns whether the thread is to end.
    pub fn work(&mut self) -> bool {
        let engine = Arc::clone(&self.engine);
        let until = self.look_at.map_or(self.tick_at, |at| at.min(self.tick_at));
        let (errands, stops) = engine.errands.wait(Some(until), std::mem::take);
        if stops {
            return true;
        }
        let Errands { refresh, moved, unreadable } = errands;
        // A server that is alone is none the more known for being asked.
        if moved || refresh && self.look_at.is_some() {
            let soon = self.looked + BETWEEN_LOOKS;
            self.look_at = Some(self.look_at.map_or(soon, |at| at.min(soon)));
        }
        if let Some(key) = unreadable
            && self.told_unreadable.is_none_or(|at| at.elapsed() >= BETWEEN_UNREADABLE)
        {
            self.told_unreadable = Some(Instant::now());
            let key = String::from_utf8_lossy(&key).escape_debug().to_string();
            (engine.say)(&format!("what is under the key \"{key}\" is no record that this version can read"));
        }
        let now = Instant::now();
        if self.tick_at <= now {
            self.tick_at = now + TICK;
            engine.tick(now);
        }
        if self.look_at.is_some_and(|at| at <= Instant::now()) {
            self.look();
        }
        false
    }

    fn look(&mut self) {
        self.engine.counts.bump(Count::Refreshes);
        let found = match &self.watched {
            Some(watched) => self.ask_sentinels(watched),
            None => self.ask_servers(),
        };
        self.looked = Instant::now();
        let said = match &found {
            Ok(Finding::Nobody(why)) => why.clone(),
            Ok(_) => String::new(),
            Err(trouble) => trouble.why().to_owned(),
        };
        let told = self.publish(found);
        // The start tells of the first look, unless it has waited long enough.
        let heard = self.first.take().is_some_and(|first| first.try_send(told).is_ok());
        if said != self.told && !heard {
            (self.engine.say)(&match &said[..] {
                "" => "the store answers".to_owned(),
                why => format!("the store cannot be asked who has its keys: {why}; trying on"),
            });
        }
        self.told = said;
    }

    /// Makes what was found the map, and says when to look again.
    fn publish(&mut self, found: Result<Finding, Trouble>) -> Result<(), Trouble> {
        let (engine, is_alone) = (&self.engine, self.seeds.len() == 1 && self.watched.is_none());
        self.failures = if found.is_ok() { 0 } else { self.failures + 1 };
        let told = match found {
            Ok(finding) => {
                engine.take(finding);
                Ok(())
            }
            Err(trouble) => {
                if matches!(engine.map().keys, Slots::Unknown) {
                    engine.take(Finding::Nobody(trouble.why().into()));
                }
                Err(trouble)
            }
        };
        let map = engine.map();
        let pause = match &map.keys {
            _ if told.is_err() => Some(pause(self.failures)),
            Slots::Cluster(_) if map.trouble.is_empty() => match peers(&map) {
                (up, down) if up.is_empty() || down.is_empty() => Some(SELDOM),
                _ => Some(WHILE_DOWN),
            },
            Slots::Single(_) if is_alone => None,
            _ => Some(OFTEN),
        };
        self.look_at = pause.map(|pause| Instant::now() + pause);
        told
    }

    /// Asks servers what they are; what has to be told of those that cannot say is kept in `last`.
    fn ask_who(&self, of: &[Address], last: &mut Option<Trouble>) -> impl Iterator<Item = (Address, Who)> {
        let engine = Arc::clone(&self.engine);
        let said = at_once(of.to_vec(), move |address| {
            Dialogue::open(address, &engine.access)?.ask_who(&engine.own_key())
        });
        heard(said, last)
    }

    /// Asks the servers of `--store`; of a Cluster its nodes first, some at a time, until one has a whole map.
    fn ask_servers(&mut self) -> Result<Finding, Trouble> {
        let map = self.engine.map();
        let is_cluster = matches!(map.keys, Slots::Cluster(_));
        let (mut first, mut then) = (self.seeds.clone(), Vec::new());
        if is_cluster {
            (first, then) = peers(&map);
            self.next_peer = (self.next_peer + 1) % first.len().max(1);
            first.rotate_left(self.next_peer);
            then.extend(self.seeds.iter().filter(|seed| !map.peers.contains(seed)).cloned());
        }
        let some = if is_cluster { AT_ONCE } else { first.len() };
        let (mut masters, mut best, mut last) = (Vec::new(), None, None);
        // Whoever is down is asked once nobody else has a whole map: its own thread tries it often enough.
        for some in first.chunks(some).chain(then.chunks(AT_ONCE)) {
            for (address, who) in self.ask_who(some, &mut last) {
                match who {
                    Who::Part(ranges) => {
                        if let Some(whole) = keep_best(&mut best, ranges) {
                            return Ok(Finding::Cluster(whole));
                        }
                    }
                    // Whether one that is alone takes changes is for its node to prove.
                    Who::Replica if first.len() > 1 => {}
                    _ => masters.push(address),
                }
            }
        }
        match best {
            Some(ranges) => Ok(Finding::Cluster(ranges)),
            // What was a Cluster is none that has a master.
            None if is_cluster => the_one(Vec::new(), last),
            None => the_one(masters, last),
        }
    }

    /// Asks all Sentinels who the master is, and those that they name whether they are (redis.io, "Guidelines for Redis
    /// clients with support for Redis Sentinel").
    fn ask_sentinels(&self, watched: &Watched) -> Result<Finding, Trouble> {
        let Watched { name, access } = watched.clone();
        let (mut last, mut votes) = (None, Vec::<(Address, usize)>::new());
        let said =
            at_once(self.seeds.clone(), move |address| Dialogue::open(address, &access)?.ask_sentinel(&name));
        for (_, named) in heard(said, &mut last) {
            match votes.iter_mut().find(|(other, _)| *other == named) {
                Some((_, votes)) => *votes += 1,
                None => votes.push((named, 1)),
            }
        }
        let named: Vec<Address> = votes.iter().map(|(address, _)| address.clone()).collect();
        let said = self.ask_who(&named, &mut last);
        let is_master = |(_, who): &(Address, Who)| matches!(who, Who::Master);
        let mut masters: Vec<Address> = said.filter(is_master).map(|(address, _)| address).collect();
        // If two say that they are, most Sentinels may know better.
        let most = votes.iter().map(|(_, votes)| *votes).max();
        let has_most =
            |address: &Address| votes.iter().any(|(other, n)| other == address && Some(*n) == most);
        if masters.iter().any(&has_most) {
            masters.retain(&has_most);
        }
        the_one(masters, last)
    }
}

/// Whom to ask for the map of a Cluster: those that are up, and those that are down.
fn peers(map: &Map) -> (Vec<Address>, Vec<Address>) {
    let is_down =
        |peer: &Address| map.nodes.iter().flatten().any(|node| node.address == *peer && node.is_down());
    map.peers.iter().cloned().partition(|peer| !is_down(peer))
}

/// The master, if there is one alone.
fn the_one(mut masters: Vec<Address>, last: Option<Trouble>) -> Result<Finding, Trouble> {
    masters.sort_by_key(ToString::to_string);
    match &masters[..] {
        [] => Err(last.unwrap_or_else(|| Trouble::Away("no server says that it is the master".into()))),
        [master] => Ok(Finding::Master(master.clone())),
        [a, b, ..] => Ok(Finding::Nobody(format!(
            "{a} and {b} both say that they are the master: make one of them a replica of the other"
        ))),
    }
}

/// Gives a map back that is whole; else keeps the one that has the most slots.
fn keep_best(best: &mut Option<Vec<Range>>, ranges: Vec<Range>) -> Option<Vec<Range>> {
    let left = cluster::uncovered(&ranges);
    if left == 0 {
        return Some(ranges);
    }
    if best.as_deref().is_none_or(|best| left < cluster::uncovered(best)) {
        *best = Some(ranges);
    }
    None
}

/// Who has an answer, and which, as they come. Of the others what the operator has to change is more worth keeping than
/// who is away.
fn heard<T>(
    said: Receiver<(Address, Result<T, Trouble>)>,
    last: &mut Option<Trouble>,
) -> impl Iterator<Item = (Address, T)> {
    said.into_iter().filter_map(|(address, said)| match said {
        Ok(said) => Some((address, said)),
        Err(trouble) => {
            if !matches!(last, Some(Trouble::Unwelcome(_))) {
                *last = Some(trouble);
            }
            None
        }
    })
}
