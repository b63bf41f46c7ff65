//! What a request means: a [`Request`] becomes a [`Command`] or a response, and an [`Outcome`] becomes a response.
//!
//! ```text
//!            routes ──▶ auth ──▶ query ──▶ body
//! Request ─────────────────────────────────────▶ Plan::Ask(command) ──store──▶ Outcome ──response──▶ bytes
//!               └──────── refused? ────────────▶ Plan::Reply(problem) ────────────────────response──▶ bytes
//! ```
//!
//! An [`App`] is one worker's view of it all: the settings that it shares with the others, and the counters, request ids
//! and log lines that are its own.
//!
//! *Invariant:* nothing here touches a socket, a file, a thread or the clock; what it must know of the process
//! is handed in, or asked of [`Readiness`].
//!
//! [`Command`]: crate::streams::batch::Command
//! [`Outcome`]: crate::streams::batch::Outcome

pub mod exchange;

pub mod routes;

pub mod auth;

pub mod query;

pub mod body;

pub mod response;

pub mod endpoint;

pub mod problem;

pub mod ids;

mod cors;

pub mod log;

pub mod counters;

pub mod recent;

pub mod usage;

pub mod snapshot;

pub mod metrics;

pub mod stats;

pub mod history;

pub mod page;

use core::net::SocketAddr;
use std::borrow::Cow;
use std::sync::Arc;

use crate::codec::template::Template;
use crate::http::conn::Request;
use crate::http::encode::{CONTINUE, CommonFields, Persistence, ResponseStart};
use crate::http::forwarded::Proxies;
use crate::http::origin::Origins;
use crate::http::status::Status;
use crate::http::{Head, Method, Version};
use crate::streams::account::WhenFull;
use crate::streams::arena::Word;
use crate::streams::batch::{Action, Command, Verdict};
use crate::time::{Millis, Now, Timestamp};

use auth::Credentials;
use counters::Counters;
use ids::RequestIds;
use problem::Problem;
use recent::Recent;
use routes::Router;
use snapshot::Snapshot;
use usage::Usage;

use exchange::Plan;
pub use exchange::{Exchange, Reply, Side, Source, Turn, View};

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
    /// Whose scripts may read the responses.
    pub cors: Option<Origins>,
    /// From which peers it is believed who the client is.
    pub proxies: Proxies,
    /// How requests are logged; None for not at all.
    pub log: Option<log::Format>,
    /// Whether the latest events are kept, for the page.
    pub keep_recent: bool,
}

/// Says whether requests should be sent here: not while stopping, nor while the store is away.
pub trait Readiness: Send + Sync {
    /// Why not, in a sentence that says what to do; None when they should.
    fn trouble(&self) -> Option<Cow<'static, str>>;
}

/// Puts `view` together from what was observed.
pub fn render(view: View, snapshot: &Snapshot, settings: &Settings) -> Vec<u8> {
    let mut out = Vec::new();
    match view {
        View::Metrics => metrics::write(snapshot, &mut out),
        View::Stats => stats::write(snapshot, settings, &mut out),
        View::History => snapshot.history.write(&mut out),
    }
    out
}

/// How many streams a response may list and still count as short: ten kilobytes or so at most.
const LONG_LIST: u32 = 16;

/// One worker's view of the application.
pub struct App {
    settings: Arc<Settings>,
    credentials: Arc<Credentials>,
    readiness: Arc<dyn Readiness>,
    counters: Arc<Counters>,
    recent: Arc<Recent>,
    usage: Arc<Usage>,
    ids: RequestIds,
    /// The fields that all responses of a second share, for each [`Side`].
    common: [CommonFields; 2],
    now: Now,
    /// The steady clock at the beginning of the turn, in microseconds.
    micros: u64,
    /// Lines of the access log, to be taken away by the worker.
    pub lines: Vec<u8>,
    last_date: log::LastDate,
}

impl App {
    /// A worker's view, which counts into `counters`, leaves its latest events in `recent`, and notes users in `usage`.
    pub fn new(
        settings: Arc<Settings>,
        credentials: Arc<Credentials>,
        readiness: Arc<dyn Readiness>,
        counters: Arc<Counters>,
        recent: Arc<Recent>,
        usage: Arc<Usage>,
    ) -> Self {
        let common = [CommonFields::new(settings.cors.as_ref()), CommonFields::new(None)];
        let (ids, now, lines) = (RequestIds::new(), Now::default(), Vec::new());
        Self {
            settings,
            credentials,
            readiness,
            counters,
            recent,
            usage,
            ids,
            common,
            now,
            micros: 0,
            lines,
            last_date: log::LastDate::default(),
        }
    }

    /// Begins a turn: from here on it is `now`, and `micros` on the steady clock.
    pub fn begin(&mut self, now: Now, micros: u64) {
        (self.now, self.micros) = (now, micros);
        self.common.iter_mut().for_each(|common| common.refresh(now.wall));
    }

    /// Replaces the credentials.
    pub fn set_credentials(&mut self, credentials: Arc<Credentials>) {
        self.credentials = credentials;
    }

    /// Decodes a request: adds its command to the batch, or finds its response.
    pub fn decode(&mut self, source: Source, request: &Request, turn: &mut Turn) -> Exchange {
        let (head, peer) = (&request.head, source.peer);
        let source = self.behind_proxies(source, head, request.bytes);
        let is_local = routes::is_local(peer.ip(), source.peer.ip());
        let batch = &mut turn.batch;
        let mut router = Router { app: self, request, is_local, batch, user: Word::default() };
        let plan = match source.side {
            Side::Public => router.public(),
            Side::Admin => router.admin(),
        };
        let user = router.user;
        let plan = match self.preflight(source.side, request, &mut turn.texts) {
            Some(names) => Plan::Reply(cors::reply(&plan, names)),
            None => plan.unwrap_or_else(|problem| Plan::Reply(Reply::Problem(problem))),
        };
        let persistence = match (head.keep_alive, head.version) {
            // What follows a CONNECT would be meant for the server that the client believes to be connected to.
            _ if head.method == Method::Connect => Persistence::Close,
            (false, _) => Persistence::Close,
            (true, Version::Http10) => Persistence::KeepAlive,
            (true, Version::Http11) => Persistence::Keep,
        };
        let user = match plan {
            Plan::Ask(_) => Word::default(),
            // An engine takes the batch along, and this exchange may be answered before it gives it back.
            _ if self.settings.log.is_some() => turn.texts.add(turn.batch.arena.get(user)),
            _ => Word::default(),
        };
        Exchange { persistence, user, plan, ..self.exchange(source, Some((head, request.bytes)), turn) }
    }

    /// Judges a request whose body is still to come by its head. `Some` is a refusal that needs no body; the connection
    /// closes behind it if the client `waits` with the body, since the client may then send it or not.
    pub fn judge(
        &mut self,
        source: Source,
        request: &Request,
        waits: bool,
        turn: &mut Turn,
    ) -> Option<Exchange> {
        let commands = turn.batch.entries.len();
        let mut exchange = self.decode(source, request, turn);
        if !matches!(exchange.plan, Plan::Reply(Reply::Problem(_))) {
            // It is decoded again when its body is there.
            turn.batch.entries.truncate(commands);
            return None;
        }
        if waits {
            exchange.persistence = Persistence::Close;
        }
        Some(exchange)
    }

    /// Whether the response may list more streams than fit into some ten kilobytes.
    pub fn may_be_long(&self, exchange: &Exchange, turn: &Turn) -> bool {
        let Plan::Ask(entry) = exchange.plan else { return false };
        let Command { action, limit, .. } = turn.batch.entries[entry as usize].command;
        match action {
            Action::Look | Action::End | Action::Evict { .. } | Action::Hold { .. } => false,
            Action::List => true,
            _ => limit > LONG_LIST || self.settings.when_full == WhenFull::Report,
        }
    }

    /// The response to bytes that are no request, or that never became one; the connection closes behind it. `known` is
    /// as much of the head as there is, and the bytes that it is of.
    pub fn refuse(
        &mut self,
        source: Source,
        problem: Problem,
        known: Option<(&Head, &[u8])>,
        turn: &mut Turn,
    ) -> Exchange {
        let source = known.map_or(source, |(head, bytes)| self.behind_proxies(source, head, bytes));
        let plan = Plan::Reply(Reply::Problem(problem));
        let exchange =
            Exchange { persistence: Persistence::Close, plan, ..self.exchange(source, known, turn) };
        self.make_readable(exchange, problem, known, &mut turn.texts)
    }

    /// An exchange with what the head says of itself, as far as there is one.
    fn exchange(&mut self, source: Source, known: Option<(&Head, &[u8])>, turn: &mut Turn) -> Exchange {
        let mut exchange = Exchange { complete: self.micros, ..Exchange::interim(source) };
        if let Some((head, bytes)) = known {
            exchange.method = head.method;
            exchange.origin = self.granted(source.side, head, bytes, &mut turn.texts);
            if !head.request_id.is_empty() {
                exchange.request_id = turn.texts.add(head.request_id.of(bytes));
            }
            if self.settings.log.is_some() {
                exchange.traceparent = turn.texts.add(head.traceparent.of(bytes));
                exchange.request = turn.texts.add(head.request_line().of(bytes));
            }
        }
        if exchange.request_id.is_empty() {
            exchange.request_id = self.ids.next(&mut turn.texts);
        }
        exchange
    }

    /// The source as the proxies name it, if it is one of them.
    fn behind_proxies(&self, source: Source, head: &Head, bytes: &[u8]) -> Source {
        if head.forwarded_for.is_empty() || !self.settings.proxies.contain(source.peer.ip()) {
            return source;
        }
        let client = self.settings.proxies.client(head.forwarded_for.of(bytes));
        Source { peer: client.map_or(source.peer, |client| SocketAddr::new(client, 0)), ..source }
    }

    /// Appends the response to `out`; then counts and logs it. `page` is what the observer has put together for it, if it
    /// was asked. `micros` is the steady clock now.
    pub fn encode(
        &mut self,
        exchange: &Exchange,
        micros: u64,
        turn: &Turn,
        page: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) {
        let mut start = ResponseStart {
            out,
            common: &self.common[exchange.source.side as usize],
            origin: turn.texts.get(exchange.origin),
            request_id: turn.texts.get(exchange.request_id),
            persistence: exchange.persistence,
            head_only: exchange.method == Method::Head,
        };
        let status = match exchange.plan {
            Plan::Ask(entry) => {
                let entry = &turn.batch.entries[entry as usize];
                let reader = match exchange.source.side {
                    Side::Public => response::Reader::Player,
                    Side::Admin => {
                        let user = turn.batch.arena.get(entry.command.user);
                        response::Reader::Operator { known: self.credentials.knows(user) }
                    }
                };
                response::outcome(&mut start, &self.settings, reader, entry, &turn.batch)
            }
            Plan::Reply(reply) => response::reply(&mut start, &*self.readiness, &turn.texts, reply),
            Plan::Observe(view) => response::view(&mut start, view, page),
            Plan::Continue => return start.out.extend_from_slice(CONTINUE),
        };
        self.record(exchange, status, micros, turn);
    }

    fn record(&mut self, exchange: &Exchange, status: Status, micros: u64, turn: &Turn) {
        let Turn { batch, texts } = turn;
        let took = micros.saturating_sub(exchange.source.arrived);
        self.counters.count_response(exchange.method, status, micros.saturating_sub(exchange.complete));
        let (mut count, mut user) = (None, texts.get(exchange.user));
        if let Plan::Ask(entry) = exchange.plan {
            let entry = &batch.entries[entry as usize];
            let outcome = &entry.outcome;
            (count, user) = (Some(outcome.count), batch.arena.get(entry.command.user));
            self.counters.count_outcome(entry);
            if matches!(outcome.verdict, Verdict::Started | Verdict::Full) {
                self.usage.note(self.now.wall, batch.arena.get(entry.command.user), outcome.count);
            }
            if self.settings.keep_recent {
                self.recent.note(self.now.wall, exchange.source.side, entry, batch);
            }
        }
        let Some(format) = self.settings.log else { return };
        log::Line {
            arrived: Timestamp::from_millis(self.now.wall.millis().saturating_sub(took / 1000)),
            peer: exchange.source.peer,
            side: exchange.source.side,
            request_id: texts.get(exchange.request_id),
            request: texts.get(exchange.request),
            user,
            status,
            problem: exchange.problem(),
            count,
            micros: took,
            traceparent: texts.get(exchange.traceparent),
        }
        .write(format, &mut self.last_date, &mut self.lines);
    }
}
