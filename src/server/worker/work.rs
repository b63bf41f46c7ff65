//! A turn's requests on their way: decoded, carried out, answered; or parked until a slow engine has carried them out.
//!
//! *Invariant:* a connection whose response is parked is not read, so its responses stay in order.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::app::{Exchange, Turn};
use crate::server::poller::{Poll, Poller};
use crate::server::slab::Handle;
use crate::store::{Interest, Registry, Session, Submitted};
use crate::streams::batch::Batch;
use crate::time::Timestamp;

/// How many empty turns are kept for the next to be parked.
const MAX_SPARE: usize = 16;

/// Requests that are answered together.
#[derive(Default)]
pub struct Work {
    /// Each with its connection. Those of one connection stand together, in order.
    pub exchanges: Vec<(Handle, Exchange)>,
    /// What they ask, and what the log and the responses name.
    pub turn: Turn,
    /// What the observer has put together, for a request that asked for it.
    pub page: Option<Arc<[u8]>>,
}

impl Work {
    /// Whether the observer answers it, and not the session.
    fn is_observed(&self) -> bool {
        self.exchanges.iter().any(|(_, exchange)| exchange.observes().is_some())
    }

    /// Forgets all, and keeps the memory for the next turn.
    pub fn clear(&mut self) {
        self.exchanges.clear();
        self.turn.clear();
        self.page = None;
    }
}

/// The worker's session with the store, and the turns that wait for it or for the observer.
pub struct Engine {
    session: Box<dyn Session>,
    parked: HashMap<u32, Work>,
    /// How many of them wait for the session to carry them out.
    submitted: usize,
    /// How many of them are carried out, and wait for the session to keep what they have changed.
    pending: usize,
    next_ticket: u32,
    spare: Vec<Work>,
    /// By when the session wants to be called.
    pub deadline: Option<Timestamp>,
}

impl Engine {
    /// Nothing is parked.
    pub fn new(session: Box<dyn Session>) -> Self {
        let (parked, spare, deadline) = (HashMap::new(), Vec::new(), session.deadline());
        Self { session, parked, submitted: 0, pending: 0, next_ticket: 0, spare, deadline }
    }

    /// Has the commands carried out. Unless they are done, their work, or a part of it, has to be parked.
    pub fn submit(&mut self, now: Timestamp, batch: &mut Batch, poller: &mut Poller) -> Submitted {
        if batch.entries.is_empty() {
            return Submitted::Done;
        }
        batch.ticket = self.next_ticket;
        let submitted = self.session.submit(now, batch, &mut Watch(poller));
        self.deadline = self.session.deadline();
        self.submitted += usize::from(submitted == Submitted::Parked);
        self.pending += usize::from(submitted == Submitted::Pending);
        submitted
    }

    /// The ticket of the batch that was submitted last, or of the next work to be parked.
    pub fn ticket(&self) -> u32 {
        self.next_ticket
    }

    /// The session has panicked at the batch that was submitted last. It may have kept it all the same, so that no other
    /// batch is to be taken for that one.
    pub fn spend_ticket(&mut self) {
        self.next_ticket = self.next_ticket.wrapping_add(1);
    }

    /// Parks `work` under the [`Engine::ticket`], and leaves an empty one in its place.
    pub fn park(&mut self, work: &mut Work) {
        let parked = std::mem::replace(work, self.spare.pop().unwrap_or_default());
        self.parked.insert(self.next_ticket, parked);
        self.next_ticket = self.next_ticket.wrapping_add(1);
    }

    /// Takes the work back that was parked under this ticket.
    pub fn unpark(&mut self, ticket: u32) -> Option<Work> {
        self.parked.remove(&ticket)
    }

    /// Something that the session watches is ready.
    pub fn ready(&mut self, now: Timestamp, key: u32, poller: &mut Poller) {
        self.session.ready(now, key, &mut Watch(poller));
        self.deadline = self.session.deadline();
    }

    /// Work whose commands the session has carried out or given up, all or some of them, or whose changes it has kept or
    /// lost.
    pub fn complete(&mut self, now: Timestamp, poller: &mut Poller) -> Option<Work> {
        // Work that is parked no longer was taken back when the session panicked, and is not counted either.
        while let Some((ticket, kept)) = self.session.kept() {
            if let Some(mut work) = self.parked.remove(&ticket) {
                self.pending -= 1;
                if !kept {
                    work.turn.batch.refuse_changes();
                }
                return Some(work);
            }
        }
        loop {
            let batch = self.session.complete(now, &mut Watch(poller));
            self.deadline = self.session.deadline();
            let batch = batch?;
            if let Some(mut work) = self.parked.remove(&batch.ticket) {
                self.submitted -= 1;
                work.turn.batch = batch;
                return Some(work);
            }
            if !batch.awaited.is_empty() {
                self.session.take_back(batch);
            }
        }
    }

    /// Parks what is left of work of which the session has carried out a part.
    pub fn park_rest(&mut self, mut work: Work) {
        let batch = std::mem::take(&mut work.turn.batch);
        self.parked.insert(batch.ticket, work);
        self.submitted += 1;
        self.session.take_back(batch);
    }

    /// Whether the session has anything to complete: a batch, or work of its own whose time has come.
    pub fn is_waiting(&self) -> bool {
        self.submitted + self.pending > 0 || self.deadline.is_some()
    }

    /// All that waits for the session, which will not give it back.
    pub fn take_asked(&mut self) -> Vec<Work> {
        (self.submitted, self.pending) = (0, 0);
        self.parked.extract_if(|_, work| !work.is_observed()).map(|(_, work)| work).collect()
    }

    /// Keeps the memory of work that is done.
    pub fn recycle(&mut self, mut work: Work) {
        work.clear();
        if self.spare.len() < MAX_SPARE {
            self.spare.push(work);
        }
    }

    /// How many turns wait for the session.
    pub fn submitted(&self) -> usize {
        self.submitted + self.pending
    }
}

/// The tokens of what the session watches: those of a generation that no connection's handle has.
const SESSION: u64 = (u32::MAX as u64) << 32;

/// The key under which the session watches the source of this token.
pub fn session_key(token: u64) -> Option<u32> {
    (token & SESSION == SESSION).then_some(token as u32)
}

/// The poller as a session sees it.
struct Watch<'a>(&'a mut Poller);

impl Registry for Watch<'_> {
    fn watch(&mut self, source: BorrowedFd<'_>, key: u32, interest: Interest) -> io::Result<()> {
        let token = SESSION | u64::from(key);
        match self.0.set(source, token, interest) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.0.add(source, token)?;
                self.0.set(source, token, interest)
            }
            done => done,
        }
    }

    fn unwatch(&mut self, source: BorrowedFd<'_>) {
        self.0.remove(source);
    }
}
