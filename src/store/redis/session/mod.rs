//! A worker's session: it sends what a batch asks for, and puts together what comes back.
//!
//! ```text
//! submit ─▶ a task for each user ─▶ route ─▶ apply ─▶ compare-and-set ─▶ done
//!                                     ▲        ▲            │ another record is there
//!                 no connection yet   │        └────────────┤
//!                 MOVED, ASK, lost    └─────────────────────┘          past the deadline: unavailable
//! ```
//!
//! A batch is given back as often as some of it is done, so that no user waits for another's node.
//!
//! *Invariant:* nothing here waits. A batch is given back when its deadline has come, whatever has happened by then.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::connector::Wishes;
use super::counters::{Count, Counters};
use super::link::Link;
use super::shared::{Mailbox, Map, NodeId, Shared};
use super::task::{Parked, Place, Task};
use crate::store::{Registry, Session, Submitted};
use crate::streams::batch::Batch;
use crate::time::{Millis, Timestamp};

mod links;
mod tasks;

/// How often one compare-and-set is sent at most.
const MOST_TRIES: u8 = 32;
/// How long a command waits before it is sent again to a Cluster that is changing.
const MOMENT: Millis = Millis::from_millis(15);
/// How many answers a node may owe. A core of an engine gives so many in some 60 ms: of one that owes more, further ones
/// would be late.
const MOST_OWED: usize = 8192;
/// How much memory a task keeps for the next one's records.
const MOST_KEPT: usize = 4096;
/// How often the connections are looked at.
const LOOK: Millis = Millis::from_millis(250);
/// A connection to a node without slots is closed when it was not used for so long.
const UNUSED: Millis = Millis::from_secs(10);

/// One worker's.
pub struct RedisSession {
    shared: Arc<Shared>,
    wishes: Arc<Wishes>,
    mailbox: Arc<Mailbox>,
    counters: Arc<Counters>,
    map: Arc<Map>,
    version: u64,
    /// The connections, and what is known of those that are not there, by the number of the node.
    links: Vec<LinkState>,
    tasks: Vec<Task>,
    free_tasks: Vec<u32>,
    parked: Vec<Parked>,
    free_parked: Vec<u32>,
    /// The parked batches, the oldest first; some may have been given back already.
    by_age: VecDeque<(Timestamp, u32)>,
    /// The parked batches of which something is done that was not shown yet.
    done: VecDeque<u32>,
    /// The parked batch of which a part is being shown.
    lent: Option<u32>,
    /// Tasks that wait, in no order.
    waiting: Vec<u32>,
    /// When those are to be looked at although nothing has happened.
    retry_at: Option<Timestamp>,
    /// When the connections are looked at next.
    look_at: Timestamp,
    /// Nodes to which something is to be sent.
    unsent: Vec<NodeId>,
}

/// The connection to a node.
#[derive(Default)]
enum LinkState {
    /// There is none, and none is wanted.
    #[default]
    None,
    /// The connector has been asked for one.
    Wanted,
    Open(Box<Link>),
}

/// When it is, by the worker's clock for deadlines, and by the system's for the engine's clock.
#[derive(Clone, Copy)]
struct Now {
    steady: Timestamp,
    at: Instant,
}

impl Now {
    fn new(steady: Timestamp) -> Self {
        Self { steady, at: Instant::now() }
    }
}

impl RedisSession {
    /// A session with no connection yet; it asks for all.
    pub fn new(
        shared: Arc<Shared>,
        wishes: Arc<Wishes>,
        mailbox: Arc<Mailbox>,
        counters: Arc<Counters>,
    ) -> Self {
        let (version, map) = shared.map();
        let mut session = Self {
            shared,
            wishes,
            mailbox,
            counters,
            map,
            version,
            links: Vec::new(),
            tasks: Vec::new(),
            free_tasks: Vec::new(),
            parked: Vec::new(),
            free_parked: Vec::new(),
            by_age: VecDeque::new(),
            done: VecDeque::new(),
            lent: None,
            waiting: Vec::new(),
            retry_at: None,
            look_at: Timestamp::default(),
            unsent: Vec::new(),
        };
        session.want_owners();
        session
    }

    /// Makes the tasks of a batch and sets them going.
    fn begin(&mut self, now: Now, batch: &mut Batch) -> u32 {
        let id = self.free_parked.pop().unwrap_or_else(|| {
            self.parked.push(Parked::default());
            self.parked.len() as u32 - 1
        });
        let mut parked = std::mem::take(&mut self.parked[id as usize]);
        std::mem::swap(&mut parked.batch, batch);
        parked.sort(|user| self.shared.hints.hash(user));
        parked.tasks.clear();
        parked.deadline = now.steady + self.shared.timeout;
        parked.batch.awaited.resize(parked.batch.entries.len(), true);
        let mut from = 0;
        while from < parked.order.len() {
            let entries = parked.group(from);
            from = entries.end;
            let (hash, first) = parked.order[entries.start];
            let user = parked.batch.entries[first as usize].command.user;
            let task = self.new_task();
            let Task { old, .. } = &mut self.tasks[task as usize];
            self.shared.hints.get(hash, parked.batch.arena.get(user), old);
            let old = std::mem::take(old);
            let new = std::mem::take(&mut self.tasks[task as usize].new);
            self.tasks[task as usize] =
                Task { parked: id, user, hash, entries, old, new, place: Place::Waiting, ..Task::default() };
            parked.tasks.push(task);
        }
        parked.left = parked.tasks.len();
        self.by_age.push_back((parked.deadline, id));
        self.parked[id as usize] = parked;
        for i in 0..self.parked[id as usize].tasks.len() {
            self.dispatch(now, self.parked[id as usize].tasks[i]);
        }
        id
    }

    fn new_task(&mut self) -> u32 {
        let id = self.free_tasks.pop().unwrap_or_else(|| {
            self.tasks.push(Task::default());
            self.tasks.len() as u32 - 1
        });
        let Task { old, new, .. } = &mut self.tasks[id as usize];
        old.clear();
        old.shrink_to(MOST_KEPT);
        new.shrink_to(MOST_KEPT);
        id
    }

    /// Looks at everything that waits once more, and sends what is to be sent.
    fn go_on(&mut self, now: Now, registry: &mut dyn Registry) {
        // What is put back among the waiting waits for something that has still to happen.
        for _ in 0..2 {
            let mut waiting = std::mem::take(&mut self.waiting);
            for id in waiting.drain(..) {
                if self.tasks[id as usize].place == Place::Waiting {
                    self.dispatch(now, id);
                }
            }
            waiting.append(&mut self.waiting);
            self.waiting = waiting;
            if self.unsent.is_empty() {
                break;
            }
            while let Some(node) = self.unsent.pop() {
                if let LinkState::Open(link) = self.link(node)
                    && link.flush(registry).is_err()
                {
                    self.close(node, registry);
                }
            }
        }
    }

    /// Gives up the batches whose deadline has come.
    fn give_up_late(&mut self, now: Now, registry: &mut dyn Registry) {
        while let Some(&(deadline, id)) = self.by_age.front() {
            if self.parked[id as usize].left > 0 && self.parked[id as usize].deadline == deadline {
                if deadline > now.steady {
                    return;
                }
                self.give_up(now, id, registry);
            }
            self.by_age.pop_front();
        }
    }

    fn give_up(&mut self, now: Now, id: u32, registry: &mut dyn Registry) {
        for task in self.parked[id as usize].tasks.clone() {
            if let Place::Sent(node) = self.tasks[task as usize].place {
                self.close(node, registry);
            }
            if self.tasks[task as usize].place != Place::Free {
                self.counters.add(Count::TimeOuts, self.tasks[task as usize].entries.len());
                self.fail(now, task);
            }
        }
        self.waiting.retain(|task| self.tasks[*task as usize].place == Place::Waiting);
        self.refresh();
    }

    /// Gives a batch back: for good if all of it is done.
    fn give_back(&mut self, id: u32) -> Batch {
        let parked = &mut self.parked[id as usize];
        parked.has_news = false;
        if parked.left == 0 {
            parked.batch.awaited.clear();
            self.free_parked.push(id);
        } else {
            self.lent = Some(id);
        }
        std::mem::take(&mut parked.batch)
    }
}

impl Session for RedisSession {
    fn submit(&mut self, now: Timestamp, batch: &mut Batch, registry: &mut dyn Registry) -> Submitted {
        let now = Now::new(now);
        self.take_letters(now, registry);
        let id = self.begin(now, batch);
        self.go_on(now, registry);
        if self.parked[id as usize].left > 0 {
            // What is done of it already is shown by the next `complete`, which follows at once.
            return Submitted::Parked;
        }
        self.done.retain(|done| *done != id);
        *batch = self.give_back(id);
        Submitted::Done
    }

    fn ready(&mut self, now: Timestamp, key: u32, registry: &mut dyn Registry) {
        // What is to be sent now goes with what the turn adds to it, or in `complete`.
        self.read(Now::new(now), key, registry);
    }

    fn complete(&mut self, now: Timestamp, registry: &mut dyn Registry) -> Option<Batch> {
        let now = Now::new(now);
        self.take_letters(now, registry);
        self.look_after_links(now, registry);
        if self.retry_at.is_some_and(|at| at <= now.steady) {
            self.retry_at = None;
        }
        self.give_up_late(now, registry);
        self.go_on(now, registry);
        self.done.pop_front().map(|id| self.give_back(id))
    }

    fn take_back(&mut self, batch: Batch) {
        if let Some(id) = self.lent.take() {
            self.parked[id as usize].batch = batch;
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        let oldest = self.by_age.front().map(|(deadline, _)| *deadline);
        [Some(self.look_at), oldest, self.retry_at].into_iter().flatten().min()
    }
}
