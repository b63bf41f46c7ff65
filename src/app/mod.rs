//! What a request means: a [`Request`] becomes a [`Command`] or an answer, and an [`Outcome`] becomes an answer.
//!
//! ```text
//!            routes ──▶ auth ──▶ query ──▶ body
//! Request ─────────────────────────────────────▶ Plan::Ask(command) ──store──▶ Outcome ──answer──▶ bytes
//!               └──────── refused? ────────────▶ Plan::Reply(problem) ────────────────────answer──▶ bytes
//! ```
//!
//! An [`App`] is one worker's view of it all: the settings that it shares with the others, and the counters, request ids
//! and log lines that are its own.
//!
//! *Invariant:* nothing here touches a socket, a file, a thread or the clock; what it must know of the process it asks
//! of an [`Observer`].
//!
//! [`Command`]: crate::streams::batch::Command
//! [`Outcome`]: crate::streams::batch::Outcome

pub mod routes;

pub mod auth;

pub mod query;

pub mod body;

pub mod response;

pub mod endpoint;

pub mod problem;

pub mod ids;

pub mod log;

pub mod counters;

pub mod metrics;

pub mod recent;

pub mod stats;

use core::net::SocketAddr;
use std::sync::Arc;

use crate::config::Template;
use crate::http::conn::Request;
use crate::http::encode::{CONTINUE, CommonFields, Persistence};
use crate::http::status::Status;
use crate::http::{Head, Method, Version};
use crate::streams::account::WhenFull;
use crate::streams::batch::{Action, Batch, Command, Word};
use crate::time::{Millis, Now, Timestamp};

use auth::Credentials;
use counters::Counters;
use ids::RequestIds;
use metrics::Snapshot;
use problem::Problem;
use recent::Recent;

/// What holds for every request.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many streams a user may play at once who has no limit of their own.
    pub limit: u32,
    /// How long a stream lives without being renewed.
    pub lease: Millis,
    /// What happens to a start that is one too many.
    pub when_full: WhenFull,
    /// Where a player goes next.
    pub endpoint: Template,
    /// Whose scripts may read the answers.
    pub cors: Option<String>,
    /// How requests are logged; None for not at all.
    pub log: Option<log::Format>,
    /// Whether anybody looks at the latest admissions and refusals.
    pub keep_recent: bool,
}

/// What the answers of the admin listener need to know of the process.
pub trait Observer: Send + Sync {
    /// Everything that is counted and measured, now.
    fn snapshot(&self) -> Snapshot;
    /// Whether requests should be sent here: false while stopping.
    fn is_ready(&self) -> bool;
}

/// Which of the two listeners a connection came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `--listen`: players.
    Public,
    /// `--admin`: operators.
    Admin,
}

/// How many streams an answer may list and still count as short: some ten kilobytes at the worst.
const LONG_LIST: u32 = 16;

/// One worker's view of the application.
pub struct App {
    settings: Arc<Settings>,
    credentials: Arc<Credentials>,
    observer: Arc<dyn Observer>,
    counters: Arc<Counters>,
    recent: Arc<Recent>,
    ids: RequestIds,
    /// The fields that all answers of a second share, for each [`Side`].
    common: [CommonFields; 2],
    now: Now,
    /// Lines of the access log, to be taken away by the worker.
    pub lines: Vec<u8>,
}

/// Who sent a request, and when.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Which listener it came through.
    pub side: Side,
    /// The other end.
    pub peer: SocketAddr,
    /// When its first byte was read, in microseconds of the steady clock.
    pub arrived: u64,
}

/// One request between its decoding and its answer. Its words are in the batch's arena.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    source: Source,
    method: Method,
    persistence: Persistence,
    request_id: Word,
    /// Method and target; kept only for a log.
    request: Word,
    user: Word,
    traceparent: Word,
    plan: Plan,
}

/// How a request will be answered.
#[derive(Clone, Copy, Debug)]
enum Plan {
    /// By the outcome of this entry of the batch.
    Ask(usize),
    /// By what is known already.
    Reply(Reply),
    /// By `100 Continue`; the answer itself is still to come.
    Continue,
}

/// Answers that need no store.
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
    /// Everything counted, for Prometheus.
    Metrics,
    /// Everything counted, for the page.
    Stats,
    /// The page.
    Page,
}

impl Exchange {
    /// The interim answer to a client that waits for it.
    pub fn interim(source: Source) -> Self {
        Self::new(source, Method::Unknown, Plan::Continue)
    }

    fn new(source: Source, method: Method, plan: Plan) -> Self {
        let none = Word::default();
        let persistence = Persistence::Keep;
        Self {
            source,
            method,
            persistence,
            request_id: none,
            request: none,
            user: none,
            traceparent: none,
            plan,
        }
    }

    /// Whether the connection is to be closed behind the answer.
    pub fn closes(&self) -> bool {
        self.persistence == Persistence::Close
    }
}

impl App {
    /// A worker's view, which counts into `counters` and leaves its latest decisions in `recent`.
    pub fn new(
        settings: Arc<Settings>,
        credentials: Arc<Credentials>,
        observer: Arc<dyn Observer>,
        counters: Arc<Counters>,
        recent: Arc<Recent>,
    ) -> Self {
        let common = [CommonFields::new(settings.cors.clone()), CommonFields::new(None)];
        let (ids, now, lines) = (RequestIds::new(), Now::default(), Vec::new());
        Self { settings, credentials, observer, counters, recent, ids, common, now, lines }
    }

    /// Begins a turn: from here on it is `now`.
    pub fn begin(&mut self, now: Now) {
        self.now = now;
        self.common.iter_mut().for_each(|common| common.refresh(now.wall));
    }

    /// Lets other people in than so far.
    pub fn set_credentials(&mut self, credentials: Arc<Credentials>) {
        self.credentials = credentials;
    }

    /// Decodes a request: adds its command to the batch, or finds its answer.
    pub fn decode(&mut self, source: Source, request: &Request, batch: &mut Batch) -> Exchange {
        let head = &request.head;
        let mut exchange = self.begin_exchange(source, head, request.bytes, batch);
        exchange.persistence = match (head.keep_alive, head.version) {
            (false, _) => Persistence::Close,
            (true, Version::Http10) => Persistence::KeepSaid,
            (true, Version::Http11) => Persistence::Keep,
        };
        let plan = match source.side {
            Side::Public => self.route(request, &mut exchange.user, batch),
            Side::Admin => self.route_admin(request, source.peer, &mut exchange.user, batch),
        };
        exchange.plan = plan.unwrap_or_else(|problem| Plan::Reply(Reply::Problem(problem)));
        if head.method == Method::Connect {
            // What follows would be meant for whomever the client believes to be connected to.
            exchange.persistence = Persistence::Close;
        }
        if exchange.request_id.is_empty() {
            exchange.request_id = self.ids.next(&mut batch.arena);
        }
        exchange
    }

    /// Whether the answer may list more streams than fit into some ten kilobytes.
    pub fn may_be_long(&self, exchange: &Exchange, batch: &Batch) -> bool {
        let Plan::Ask(entry) = exchange.plan else { return false };
        let Command { action, limit, .. } = batch.entries[entry].command;
        match action {
            Action::Look | Action::End => false,
            Action::List => true,
            _ => limit > LONG_LIST || self.settings.when_full == WhenFull::Report,
        }
    }

    /// The answer to bytes that are no request, or that never became one; the connection closes behind it. `known` is as
    /// much of the head as there is, and the bytes that it is of.
    pub fn refuse(
        &mut self,
        source: Source,
        problem: Problem,
        known: Option<(&Head, &[u8])>,
        batch: &mut Batch,
    ) -> Exchange {
        let mut exchange = match known {
            Some((head, bytes)) => self.begin_exchange(source, head, bytes, batch),
            None => Exchange::new(source, Method::Unknown, Plan::Continue),
        };
        if exchange.request_id.is_empty() {
            exchange.request_id = self.ids.next(&mut batch.arena);
        }
        exchange.persistence = Persistence::Close;
        exchange.plan = Plan::Reply(Reply::Problem(problem));
        exchange
    }

    /// An exchange that knows what the head says of itself.
    fn begin_exchange(&self, source: Source, head: &Head, bytes: &[u8], batch: &mut Batch) -> Exchange {
        let mut exchange = Exchange::new(source, head.method, Plan::Continue);
        if !head.request_id.is_empty() {
            exchange.request_id = batch.arena.add(head.request_id.of(bytes));
        }
        if self.settings.log.is_some() {
            exchange.traceparent = batch.arena.add(head.traceparent.of(bytes));
            exchange.request = batch.arena.add(head.request_line().of(bytes));
        }
        exchange
    }

    /// Appends the answer to `out`; then counts and logs it. `micros` is the steady clock now.
    pub fn encode(
        &mut self,
        exchange: &Exchange,
        close: bool,
        micros: u64,
        batch: &Batch,
        out: &mut Vec<u8>,
    ) {
        let persistence = if close { Persistence::Close } else { exchange.persistence };
        let mut begun = response::ResponseStart {
            out,
            common: &self.common[exchange.source.side as usize],
            request_id: batch.arena.get(exchange.request_id),
            persistence,
            head_only: exchange.method == Method::Head,
        };
        let status = match exchange.plan {
            Plan::Ask(entry) => response::outcome(&mut begun, &self.settings, &batch.entries[entry], batch),
            Plan::Reply(saying) => response::saying(&mut begun, &self.settings, &*self.observer, saying),
            Plan::Continue => return begun.out.extend_from_slice(CONTINUE),
        };
        self.record(exchange, status, micros, batch);
    }

    fn record(&mut self, exchange: &Exchange, status: Status, micros: u64, batch: &Batch) {
        let took = micros.saturating_sub(exchange.source.arrived);
        self.counters.answered(exchange.method, status, took);
        let mut count = None;
        if let Plan::Ask(entry) = exchange.plan {
            let entry = &batch.entries[entry];
            let outcome = &entry.outcome;
            count = Some(outcome.count);
            self.counters.decided(entry.command.action, outcome.verdict, outcome.notes);
            if self.settings.keep_recent {
                self.recent.note(self.now.wall, entry, batch);
            }
        }
        let Some(format) = self.settings.log else { return };
        log::Line {
            arrived: Timestamp::from_millis(self.now.wall.millis().saturating_sub(took / 1000)),
            peer: exchange.source.peer,
            request_id: batch.arena.get(exchange.request_id),
            request: batch.arena.get(exchange.request),
            user: batch.arena.get(exchange.user),
            status,
            count,
            micros: took,
            traceparent: batch.arena.get(exchange.traceparent),
        }
        .write(format, &mut self.lines);
    }
}
