//! From a turn's requests to their responses: through the store, or parked until an engine is done.
//!
//! ```text
//! execute ── submit ──▶ settle ── what does not wait ──────────▶ respond
//!                         ▲  └── what waits ──▶ park
//!                         │                      │
//!                         └── resume, give up ◀──┘  news of it, or its time is over
//! ```
//!
//! *Invariant:* a panic of the store costs the requests that it was to carry out, and no others. (Tested by
//! `a_batch_at_which_the_session_panicked_is_not_taken_for_another`.)

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Worker;
use super::parking::Work;
use crate::app::counters::Counter;
use crate::poller::Registry;
use crate::store::{Session, Ticket};
use crate::streams::account;
use crate::time::Timestamp;

impl Worker {
    /// Has the batch carried out and answers the turn's requests; those that have to wait are parked.
    pub(super) fn execute(&mut self) {
        if self.work.exchanges.is_empty() {
            return;
        }
        let mut work = self.parking.number(&mut self.work, self.app.now.steady);
        let Work { requests, ticket, .. } = &mut *work;
        let (batch, ticket) = (&mut requests.batch, *ticket);
        if !batch.entries.is_empty()
            && self.ask(|session, now, registry| session.submit(now, ticket, batch, registry)).is_none()
        {
            batch.give_up();
        }
        self.settle(work);
    }

    /// Asks the session for something. A panic is counted, and leaves no result: what has not been carried out stays undone.
    fn ask<T>(&mut self, ask: impl FnOnce(&mut dyn Session, Timestamp, &mut Registry) -> T) -> Option<T> {
        let (session, registry) = (&mut *self.session, &mut Registry(&mut self.connections.poller));
        let now = self.app.now.steady;
        let done = catch_unwind(AssertUnwindSafe(|| ask(session, now, registry)));
        done.inspect_err(|_| self.counters().bump(Counter::Panics, 0)).ok()
    }

    /// Answers the connections of which nothing waits, and parks the others.
    fn settle(&mut self, mut work: Box<Work>) {
        if let Some(policy) = &self.lenient {
            account::allow(self.app.now.steady, policy, &mut work.requests.batch);
        }
        self.respond(&mut work);
        if work.exchanges.is_empty() {
            return self.parking.recycle(work);
        }
        for (handle, _) in &work.exchanges {
            // A stale handle may point to a slot that another connection has taken.
            if self.connections.slab.get_mut(*handle).is_some() {
                self.connections.deadlines.end(*handle);
            }
        }
        self.parking.park(work);
    }

    /// Something that the session watches is ready.
    pub(super) fn session_ready(&mut self, key: u32) {
        if self.ask(|session, now, registry| session.ready(now, key, registry)).is_none() {
            self.give_up_parked(Timestamp::MAX);
        }
    }

    /// Answers what an engine has carried out meanwhile, and what is not worth waiting for any longer.
    pub(super) fn complete(&mut self) {
        loop {
            match self.ask(|session, now, registry| session.complete(now, registry)) {
                Some(Some(ticket)) => self.resume(ticket),
                Some(None) => return self.give_up_parked(self.app.now.steady),
                // What waits for it will not come.
                None => return self.give_up_parked(Timestamp::MAX),
            }
        }
    }

    fn resume(&mut self, ticket: Ticket) {
        let Some(mut work) = self.parking.take(ticket) else { return };
        let batch = &mut work.requests.batch;
        if self.ask(|session, now, registry| session.resume(now, ticket, batch, registry)).is_none() {
            batch.give_up();
        }
        self.settle(work);
    }

    /// Answers what is parked and not worth waiting for at this time.
    fn give_up_parked(&mut self, now: Timestamp) {
        while let Some(mut work) = self.parking.take_due(now) {
            work.requests.batch.give_up();
            self.settle(work);
        }
    }

    /// Encodes the responses of the connections of which nothing waits, connection by connection, and then writes each
    /// connection's at once. Leaves the other connections in `work`.
    fn respond(&mut self, work: &mut Work) {
        let micros = self.clock.micros();
        let (mut at, mut left) = (0, 0);
        while let Some(group) = work.exchanges[at..].chunk_by(|(a, _), (b, _)| a == b).next() {
            let end = at + group.len();
            if group.iter().any(|(_, exchange)| exchange.waits(&work.requests)) {
                work.exchanges.copy_within(at..end, left);
                left += end - at;
            } else {
                self.encode(group, &work.requests, micros);
            }
            at = end;
        }
        work.exchanges.truncate(left);
        self.write_all();
    }
}
