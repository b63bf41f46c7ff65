//! One request between its decoding and its response.
//!
//! *Invariant:* an exchange is decided when it is made: its plan says where the response comes from.

use core::net::SocketAddr;

use super::problem::Problem;
use crate::http::Method;
use crate::http::encode::Persistence;
use crate::streams::arena::{Arena, Word};
use crate::streams::batch::{Batch, Change};

/// Which of the two listeners a connection came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `--listen`: players.
    Public,
    /// `--admin`: operators.
    Admin,
}

/// Who sent a request, and when.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Which listener it came through.
    pub side: Side,
    /// The other end, an IPv4 address in the form of IPv4; or the client that a proxy names, which has no port.
    pub peer: SocketAddr,
    /// When its first byte was read, in microseconds of the steady clock.
    pub arrived: u64,
}

/// The arena of what only the log and the response's head name: no engine sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted;

/// What a turn's requests amount to.
#[derive(Debug, Default)]
pub struct Turn {
    /// What is asked of the store.
    pub batch: Batch,
    /// Request ids, and what is kept for the log.
    pub texts: Arena<Noted>,
}

impl Turn {
    /// Forgets all, and keeps the memory for the next turn.
    pub fn clear(&mut self) {
        self.batch.clear();
        self.texts.clear();
    }
}

/// One request between its decoding and its response. Its words are in a [`Turn`].
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    pub(super) source: Source,
    /// When it had been read whole, in microseconds of the steady clock: what the server takes is counted from here, since a
    /// client may send as slowly as it likes.
    pub(super) complete: u64,
    pub(super) method: Method,
    pub(super) persistence: Persistence,
    pub(super) request_id: Word<Noted>,
    /// The origin whose scripts may read the response; empty for none.
    pub(super) origin: Word<Noted>,
    /// Method and target; kept only for a log.
    pub(super) request: Word<Noted>,
    pub(super) traceparent: Word<Noted>,
    /// Who asks, where the store is not asked; kept only for a log. Where it is, its entry says who.
    pub(super) user: Word<Noted>,
    pub(super) plan: Plan,
}

/// How a request will be answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plan {
    /// By the outcome of this entry of the batch.
    Ask(u32),
    /// By what is known already.
    Reply(Reply),
    /// By what the observer puts together.
    Observe(View),
    /// By `100 Continue`; the response itself is still to come.
    Continue,
}

/// Responses that need no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// What is wrong.
    Problem(Problem),
    /// That the server is alive.
    Healthy,
    /// Whether requests should be sent here.
    Ready,
    /// Which methods there are.
    Options(&'static str),
    /// Which methods there are, if the path is one; and that a script may call, with the fields that it named.
    Preflight(&'static str, Word<Noted>),
    /// The page.
    Page,
}

/// What only the observer can tell: it reads every thread's counters and the system's view of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Everything counted, for Prometheus.
    Metrics,
    /// Everything counted, for the page.
    Stats,
    /// The last ten minutes, for the page's charts.
    History,
}

impl Exchange {
    /// The interim response to a client that waits for it.
    pub fn interim(source: Source) -> Self {
        Self {
            source,
            complete: source.arrived,
            method: Method::Unknown,
            persistence: Persistence::Keep,
            request_id: Word::default(),
            origin: Word::default(),
            request: Word::default(),
            traceparent: Word::default(),
            user: Word::default(),
            plan: Plan::Continue,
        }
    }

    /// The same exchange, and the connection is to be closed behind the response.
    #[must_use]
    pub fn closing(self) -> Self {
        Self { persistence: Persistence::Close, ..self }
    }

    /// Whether the connection is to be closed behind the response.
    pub fn closes(&self) -> bool {
        self.persistence == Persistence::Close
    }

    /// What was wrong with the request, before any store was asked.
    pub(super) fn problem(&self) -> Option<Problem> {
        match self.plan {
            Plan::Reply(Reply::Problem(problem)) => Some(problem),
            _ => None,
        }
    }

    /// Whether the store has to be asked.
    pub fn asks(&self) -> bool {
        matches!(self.plan, Plan::Ask(_))
    }

    /// Whether the store has still to carry it out.
    pub fn is_awaited(&self, turn: &Turn) -> bool {
        matches!(self.plan, Plan::Ask(entry) if turn.batch.awaits(entry))
    }

    /// Whether the store has done more for it than to renew a lease.
    pub fn has_state_change(&self, turn: &Turn) -> bool {
        let Plan::Ask(at) = self.plan else { return false };
        turn.batch.entries.get(at as usize).is_some_and(|entry| entry.outcome.change == Change::State)
    }

    /// What the observer has to be asked for.
    pub fn observes(&self) -> Option<View> {
        match self.plan {
            Plan::Observe(view) => Some(view),
            _ => None,
        }
    }

    /// The same exchange, its words copied from one turn to another: for one that has to wait longer than its turn.
    #[must_use]
    pub fn moved(self, from: &Turn, to: &mut Turn) -> Self {
        let mut text = |word| to.texts.add(from.texts.get(word));
        let (request_id, request, user) = (text(self.request_id), text(self.request), text(self.user));
        let (traceparent, origin) = (text(self.traceparent), text(self.origin));
        let plan = match self.plan {
            Plan::Reply(Reply::Preflight(allow, names)) => Plan::Reply(Reply::Preflight(allow, text(names))),
            plan => plan,
        };
        Self { request_id, request, traceparent, origin, user, plan, ..self }
    }
}
