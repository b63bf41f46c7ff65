//! A worker's session: it sends what a batch asks for, and puts together what comes back.
//!
//! ```text
//! submit ─▶ a task for each user ─▶ route ─▶ apply ─▶ compare-and-set ─▶ done
//!                                     ▲        ▲            │ another record is there
//!                 no connection yet   │        └────────────┤
//!                 MOVED, ASK, lost    └──────── resume ─────┘
//! ```
//!
//! An answer is noted on its task, and `complete` says that there is news of the task's batch. So the batch stays with
//! the worker, and what the worker has given up meanwhile is never sent again: only a batch that is handed over is gone
//! on with.
//!
//! *Invariant:* nothing here waits, and nothing is sent for a batch that the worker has given up. (Tested by
//! `tests/strace.py` and `what_waits_too_long_is_given_up_whatever_the_engine_does`.)

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::counters::Count;
use super::engine::{Engine, Map, NodeId, Subscriber};
use super::link::Link;
use super::task::{Order, Place, Task};
use crate::poller::Registry;
use crate::store::{Session, Ticket};
use crate::streams::batch::Batch;
use crate::time::Timestamp;

mod links;
mod tasks;

/// How many answers a node may owe. A core of an engine gives so many in some 60 ms: of one that owes more, further ones
/// would be late.
const MOST_OWED: usize = 8192;
/// How many bytes may wait to be sent to a node: records can be long.
const MOST_UNSENT: usize = 16 << 20;
/// How much memory a task keeps for the next one's records.
const MOST_KEPT: usize = 4096;
/// How often the connections are looked at, at most; they are at each second's tick.
const LOOK: Duration = Duration::from_millis(500);
/// A connection that was lost sooner, and has carried nothing out, was of no use.
const SHORT_LIVED: Duration = Duration::from_secs(1);

/// One worker's.
pub struct RedisSession {
    engine: Arc<Engine>,
    /// What other threads see of it.
    outside: Arc<Subscriber>,
    map: Arc<Map>,
    /// The connections, and what is known of those that are not there, by the number of the node.
    links: Vec<LinkState>,
    tasks: Vec<Task>,
    free_tasks: Vec<u32>,
    submissions: Vec<Submission>,
    free_submissions: Vec<u32>,
    /// The submissions of which there is something new.
    news: VecDeque<u32>,
    /// The submission that `complete` has named last. One that is not resumed before the next call was given up.
    named: Option<u32>,
    /// When the connections are looked at next.
    look_at: Instant,
    /// Nodes to which something is to be sent.
    unsent: Vec<NodeId>,
}

/// A batch that the worker holds, and of which something waits.
#[derive(Default)]
struct Submission {
    ticket: Ticket,
    order: Order,
    /// Its tasks that are not told yet.
    tasks: Vec<u32>,
    /// Whether it is among the news.
    has_news: bool,
}

/// The connection to a node.
#[derive(Default)]
enum LinkState {
    /// There is none, and none is wanted.
    #[default]
    None,
    /// The node's thread has been asked for one.
    Wanted,
    Open(Box<Link>),
}

impl RedisSession {
    /// A session with no connection yet; it asks for all.
    pub fn new(engine: Arc<Engine>, waker: Waker) -> Self {
        // Told of each change of the map from now on.
        let outside = engine.enlist(waker);
        let mut session = Self {
            map: engine.map(),
            engine,
            outside,
            links: Vec::new(),
            tasks: Vec::new(),
            free_tasks: Vec::new(),
            submissions: Vec::new(),
            free_submissions: Vec::new(),
            news: VecDeque::new(),
            named: None,
            look_at: Instant::now(),
            unsent: Vec::new(),
        };
        session.want_owners();
        session
    }

    /// Makes the tasks of a batch.
    fn begin(&mut self, ticket: Ticket, batch: &mut Batch) -> u32 {
        let id = self.free_submissions.pop().unwrap_or_else(|| {
            self.submissions.push(Submission::default());
            self.submissions.len() as u32 - 1
        });
        let mut submission = std::mem::take(&mut self.submissions[id as usize]);
        submission.ticket = ticket;
        submission.order.sort(batch, |user| self.engine.hints.hash(user));
        batch.entries.iter_mut().for_each(|entry| entry.waits = true);
        let mut from = 0;
        while let Some((entries, user, hash)) = submission.order.group(batch, from) {
            from = entries.end;
            let task = self.free_tasks.pop().unwrap_or_else(|| {
                self.tasks.push(Task::default());
                self.tasks.len() as u32 - 1
            });
            let Task { mut old, mut new, .. } = std::mem::take(&mut self.tasks[task as usize]);
            old.clear();
            old.shrink_to(MOST_KEPT);
            new.shrink_to(MOST_KEPT);
            self.engine.hints.get(hash, batch.arena.get(user), &mut old);
            self.tasks[task as usize] =
                Task { submission: id, user, hash, entries, old, new, ..Task::default() };
            submission.tasks.push(task);
        }
        self.submissions[id as usize] = submission;
        id
    }

    /// Goes on with all of a batch that can: tells what is done, and sends what is to be sent.
    fn go_on(&mut self, now: Instant, id: u32, batch: &mut Batch, registry: &mut Registry) {
        let mut submission = std::mem::take(&mut self.submissions[id as usize]);
        let Submission { order, tasks, .. } = &mut submission;
        tasks.retain(|&task| {
            self.dispatch(now, task, order, batch);
            let is_told = matches!(self.tasks[task as usize].place, Place::Done | Place::Failed(_));
            if is_told {
                self.tasks[task as usize].tell(batch, order);
                self.free_tasks.push(task);
            }
            !is_told
        });
        self.put_back(id, submission);
        self.flush(now, registry);
    }

    fn put_back(&mut self, id: u32, submission: Submission) {
        if submission.tasks.is_empty() {
            self.free_submissions.push(id);
        }
        self.submissions[id as usize] = submission;
    }

    /// The worker has given this one up: nothing more is sent for it. What is under way is waited for.
    fn forget(&mut self, id: u32) {
        let mut submission = std::mem::take(&mut self.submissions[id as usize]);
        submission.tasks.retain(|&task| {
            let Task { place, entries, .. } = &self.tasks[task as usize];
            let is_under_way = *place == Place::Sent;
            if !is_under_way {
                self.outside.counts.bump_by(Count::TimeOuts, entries.len());
                self.outside.counts.bump_by(Count::Unavailable, entries.len());
                self.free_tasks.push(task);
            }
            is_under_way
        });
        self.put_back(id, submission);
    }

    /// There is news of a task.
    fn tell(&mut self, task: u32) {
        let id = self.tasks[task as usize].submission;
        if !std::mem::replace(&mut self.submissions[id as usize].has_news, true) {
            self.news.push_back(id);
        }
    }

    /// Something has changed that tasks may have waited for.
    fn tell_waiting(&mut self) {
        for id in 0..self.submissions.len() {
            let is_waiting = |task: &&u32| self.tasks[**task as usize].place == Place::Waiting;
            if let Some(&task) = self.submissions[id].tasks.iter().find(is_waiting) {
                self.tell(task);
            }
        }
    }

    /// Sends what is to be sent.
    fn flush(&mut self, now: Instant, registry: &mut Registry) {
        while let Some(node) = self.unsent.pop() {
            if let LinkState::Open(link) = self.link(node)
                && link.flush(registry).is_err()
            {
                self.close(node, now, registry);
            }
        }
    }
}

impl Session for RedisSession {
    fn submit(&mut self, _now: Timestamp, ticket: Ticket, batch: &mut Batch, registry: &mut Registry) {
        let now = Instant::now();
        self.take_letters(now, registry);
        let id = self.begin(ticket, batch);
        self.go_on(now, id, batch, registry);
    }

    fn ready(&mut self, _now: Timestamp, key: u32, registry: &mut Registry) {
        // What is to be sent now goes with what the turn adds to it, or in `complete`.
        self.read(Instant::now(), key, registry);
    }

    fn complete(&mut self, _now: Timestamp, registry: &mut Registry) -> Option<Ticket> {
        if let Some(id) = self.named.take() {
            self.forget(id);
        }
        if self.news.is_empty() {
            let now = Instant::now();
            self.take_letters(now, registry);
            self.look_after_links(now, registry);
            self.flush(now, registry);
        }
        let id = self.news.pop_front()?;
        let submission = &mut self.submissions[id as usize];
        submission.has_news = false;
        self.named = Some(id);
        Some(submission.ticket)
    }

    fn resume(&mut self, _now: Timestamp, ticket: Ticket, batch: &mut Batch, registry: &mut Registry) {
        let is_it = |id: &u32| self.submissions[*id as usize].ticket == ticket;
        if let Some(id) = self.named.take_if(|id| is_it(id)) {
            self.go_on(Instant::now(), id, batch, registry);
        }
    }
}
