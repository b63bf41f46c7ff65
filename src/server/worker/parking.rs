//! A turn's requests on their way: decoded, carried out, answered; or parked until an engine has carried them out.
//!
//! *Invariant:* a connection whose response is parked is not read, so its responses stay in order. (Tested by
//! `responses_stay_in_order_on_each_connection`.)

use std::collections::VecDeque;

use crate::app::{Exchange, Requests};
use crate::server::slab::Handle;
use crate::store::Ticket;
use crate::time::{Millis, Timestamp};

/// How many empty works are kept for the next turns.
const MAX_SPARE: usize = 16;

/// Requests that were decoded in one turn.
#[derive(Default)]
pub struct Work {
    /// Each with its connection. Those of one connection stand together, in order.
    pub exchanges: Vec<(Handle, Exchange)>,
    /// What they ask, and what the log and the responses name.
    pub requests: Requests,
    /// Which work it is for the session.
    pub ticket: Ticket,
    /// From then on it is worth waiting for no longer.
    due: Timestamp,
}

/// The works of which something waits.
pub struct Parking {
    /// In the order of their tickets, which is that of their deadlines too. Boxed, since they change hands several times a
    /// turn.
    works: VecDeque<Box<Work>>,
    /// How long each is worth waiting for.
    patience: Millis,
    last: Ticket,
    #[expect(clippy::vec_box)]
    spare: Vec<Box<Work>>,
}

impl Parking {
    /// Nothing is parked.
    pub fn new(patience: Millis) -> Self {
        Self { works: VecDeque::new(), patience, last: 0, spare: Vec::new() }
    }

    /// Takes what a turn has decoded, and gives it a ticket; leaves work with nothing in it. `now` never goes back from call
    /// to call.
    pub fn number(&mut self, turn: &mut Box<Work>, now: Timestamp) -> Box<Work> {
        let mut work = std::mem::replace(turn, self.spare.pop().unwrap_or_default());
        self.last += 1;
        (work.ticket, work.due) = (self.last, now + self.patience);
        work
    }

    /// Parks work, until it is taken.
    pub fn park(&mut self, work: Box<Work>) {
        let place = self.works.partition_point(|other| other.ticket < work.ticket);
        self.works.insert(place, work);
    }

    /// Takes the work of this ticket, unless it was taken before.
    pub fn take(&mut self, ticket: Ticket) -> Option<Box<Work>> {
        let place = self.works.binary_search_by_key(&ticket, |work| work.ticket).ok()?;
        self.works.remove(place)
    }

    /// Takes work that is not worth waiting for any longer.
    pub fn take_due(&mut self, now: Timestamp) -> Option<Box<Work>> {
        if self.due()? <= now { self.works.pop_front() } else { None }
    }

    /// When the next work is not worth waiting for any longer.
    pub fn due(&self) -> Option<Timestamp> {
        self.works.front().map(|work| work.due)
    }

    /// How many works are parked.
    pub fn len(&self) -> usize {
        self.works.len()
    }

    /// Nothing is parked any more.
    pub fn clear(&mut self) {
        self.works.clear();
    }

    /// Keeps the memory of work that is done.
    pub fn recycle(&mut self, mut work: Box<Work>) {
        work.exchanges.clear();
        work.requests.clear();
        if self.spare.len() < MAX_SPARE {
            self.spare.push(work);
        }
    }
}
