//! One request between its decoding and its response.

use core::net::SocketAddr;

use super::problem::Problem;
use super::site::Page;
use crate::http::Method;
use crate::http::encode::Persistence;
use crate::streams::arena::{Arena, Word};
use crate::streams::batch::{Asked, Batch, Entry};

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
pub struct Requests {
    /// What is asked of the store.
    pub batch: Batch,
    /// Request ids, and what is kept for the log.
    pub texts: Arena<Noted>,
}

impl Requests {
    /// Forgets all, and keeps the memory for the next turn.
    pub fn clear(&mut self) {
        self.batch.clear();
        self.texts.clear();
    }
}

/// One request between its decoding and its response. Its words are in a [`Requests`].
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    pub(super) source: Source,
    /// When it had been read whole, in microseconds of the steady clock: what the server takes is counted from here, since a
    /// client may send as slowly as it likes.
    pub(super) complete: u64,
    pub(super) method: Method,
    pub(super) persistence: Persistence,
    pub(super) request_id: Word<Noted>,
    /// The origin that is to be written beside the response or, if it is none of those listed, into the log; empty for none.
    pub(super) origin: Word<Noted>,
    /// Whether its scripts may read the response.
    pub(super) is_granted: bool,
    /// Method and target; kept only for a log.
    pub(super) request: Word<Noted>,
    pub(super) traceparent: Word<Noted>,
    /// The user, for the log, of a request that does not ask the store. The entry of one that does names its user.
    pub(super) user: Word<Asked>,
    /// Who has shown an operator's credentials.
    pub(super) operator: Word<Asked>,
    pub(super) plan: Plan,
}

/// How a request will be answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plan {
    /// By the outcome of this entry of the batch.
    Ask(u32),
    /// By what is wrong.
    Problem(Problem),
    /// That the server is alive.
    Healthy,
    /// Whether requests should be sent here.
    Ready,
    /// Which methods there are.
    Options(&'static str),
    /// Which methods there are, if the path is one; and that a script may call, with the fields that it named.
    Preflight(&'static str, Word<Noted>),
    /// By a page of the observer.
    Show(&'static Page),
    /// By `100 Continue`; the response itself is still to come.
    Continue,
}

impl Exchange {
    /// That of a request of which nothing is known yet: a client that waits is told to go on.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            complete: source.arrived,
            method: Method::Unknown,
            persistence: Persistence::Keep,
            request_id: Word::default(),
            origin: Word::default(),
            is_granted: false,
            request: Word::default(),
            traceparent: Word::default(),
            user: Word::default(),
            operator: Word::default(),
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
            Plan::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether the store has still to carry it out, or to keep it.
    pub fn waits(&self, requests: &Requests) -> bool {
        self.entry(requests).is_some_and(|entry| entry.waits)
    }

    /// What it asks the store, and what came of it.
    pub(super) fn entry<'a>(&self, requests: &'a Requests) -> Option<&'a Entry> {
        match self.plan {
            Plan::Ask(entry) => Some(&requests.batch.entries[entry as usize]),
            _ => None,
        }
    }
}
