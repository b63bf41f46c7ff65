//! From a turn's requests to their responses: through the store, or parked until a slow engine is done, or the observer,
//! which is the thread that puts operators' pages together.
//!
//! ```text
//!            submit ── Done ─────────────────────────────────▶ respond
//! execute ──▶   └──── Parked ──▶ park ···▶ complete, in parts ─▶ respond
//!    │          └── Pending ──▶ park what changes ···▶ kept ───▶ respond
//!    └──────▶ ask the observer ──▶ park ···▶ message Observed ─▶ respond
//! ```
//!
//! *Invariant:* a panic of the store costs the requests that it was to carry out, and no others.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::work::Work;
use super::{Handle, MAX_OUT, Worker};
use crate::app::{Exchange, Turn, View};
use crate::server::shared::Question;
use crate::store::Submitted;

impl Worker {
    /// Has the batch carried out and answers the turn's requests; those that have to wait are parked.
    pub(super) fn execute(&mut self) {
        if self.work.exchanges.is_empty() {
            return;
        }
        self.park_observed();
        let submitted = self.contain(|worker| {
            let (batch, poller) = (&mut worker.work.turn.batch, &mut worker.connections.poller);
            worker.engine.submit(worker.time.now.steady, batch, poller)
        });
        let submitted = submitted.unwrap_or_else(|| {
            // Commands that the panic has kept from being carried out say `Unavailable`.
            self.engine.spend_ticket();
            Submitted::Done
        });
        match submitted {
            Submitted::Done => {
                let work = std::mem::take(&mut self.work);
                self.work = self.respond(work);
            }
            Submitted::Parked => self.park(|exchange, _| exchange.asks()),
            // A heartbeat does not wait for a disk because another request of its turn does.
            Submitted::Pending => self.park(Exchange::has_state_change),
        }
    }

    /// Parks the connections any of whose requests `waits` for the engine, and answers the others.
    fn park(&mut self, waits: fn(&Exchange, &Turn) -> bool) {
        let mut work = std::mem::take(&mut self.work);
        self.respond_unless(&mut work, waits);
        work.exchanges.iter().for_each(|(handle, _)| self.connections.deadlines.end(*handle));
        self.engine.park(&mut work);
        self.work = work;
    }

    /// Hands the requests that only the observer can answer to it, and parks them. Each is the only one of its connection
    /// in this turn.
    fn park_observed(&mut self) {
        let view = |(_, exchange): &(Handle, Exchange)| exchange.observes();
        while let Some(at) = self.work.exchanges.iter().position(|entry| view(entry).is_some()) {
            let (handle, exchange) = self.work.exchanges.remove(at);
            let mut alone = Work::default();
            alone.exchanges.push((handle, exchange.moved(&self.work.turn, &mut alone.turn)));
            let (inbox, ticket) = (Arc::clone(&self.links.inbox), self.engine.ticket());
            let view = view(&(handle, exchange)).unwrap_or(View::Metrics);
            if self.links.shared.observer.ask(Question { view, ticket, inbox }) {
                self.connections.deadlines.end(handle);
                self.engine.park(&mut alone);
            } else {
                // There are too many questions already: it is answered without a page.
                self.respond(alone);
            }
        }
    }

    /// Something that the session watches is ready.
    pub(super) fn session_ready(&mut self, key: u32) {
        let ready = |worker: &mut Self| {
            worker.engine.ready(worker.time.now.steady, key, &mut worker.connections.poller);
        };
        if self.contain(ready).is_none() {
            self.fail_parked();
        }
    }

    /// Answers the turns that the engine has carried out meanwhile.
    pub(super) fn complete(&mut self) {
        if !self.engine.is_waiting() {
            return;
        }
        let complete = |worker: &mut Self| {
            worker.engine.complete(worker.time.now.steady, &mut worker.connections.poller)
        };
        loop {
            match self.contain(complete) {
                Some(Some(mut work)) if !work.turn.batch.awaited.is_empty() => {
                    // Those whose part of the engine has answered do not wait for a part that is slow, or hangs.
                    let respond = AssertUnwindSafe(|| self.respond_unless(&mut work, Exchange::is_awaited));
                    let responded = catch_unwind(respond);
                    // Even after a panic: a session that lacks a batch of its own would panic again and again.
                    if self.contain(|worker| worker.engine.park_rest(work)).is_none() {
                        return self.fail_parked();
                    }
                    if let Err(panic) = responded {
                        resume_unwind(panic);
                    }
                }
                Some(Some(work)) => {
                    let work = self.respond(work);
                    self.engine.recycle(work);
                }
                Some(None) => return,
                None => return self.fail_parked(),
            }
        }
    }

    /// The session has panicked: what it was to carry out is lost, and those connections are closed.
    fn fail_parked(&mut self) {
        for work in self.engine.take_asked() {
            work.exchanges.into_iter().for_each(|(handle, _)| self.close(handle));
        }
    }

    /// Encodes the responses, connection by connection, and then writes each connection's at once. Gives the work back,
    /// empty, so that its memory is used again.
    pub(super) fn respond(&mut self, mut work: Work) -> Work {
        self.time.micros = self.time.clock.micros();
        for group in work.exchanges.chunk_by(|(a, _), (b, _)| a == b) {
            self.respond_to(group, &work);
        }
        self.write_all();
        work.clear();
        work
    }

    /// Responds to the connections none of whose requests `waits`, and leaves the others in `work`.
    fn respond_unless(&mut self, work: &mut Work, waits: fn(&Exchange, &Turn) -> bool) {
        self.time.micros = self.time.clock.micros();
        let (mut at, mut left) = (0, 0);
        while let Some(group) = work.exchanges[at..].chunk_by(|(a, _), (b, _)| a == b).next() {
            let end = at + group.len();
            if group.iter().any(|(_, exchange)| waits(exchange, &work.turn)) {
                work.exchanges.copy_within(at..end, left);
                left += end - at;
            } else {
                self.respond_to(group, work);
            }
            at = end;
        }
        work.exchanges.truncate(left);
        self.write_all();
    }

    /// Encodes the responses of one connection.
    fn respond_to(&mut self, group: &[(Handle, Exchange)], work: &Work) {
        self.contain_one(group[0].0, |worker, handle| worker.encode(handle, group, work));
        if self.output.bytes.len() > MAX_OUT {
            self.write_all();
        }
    }
}
