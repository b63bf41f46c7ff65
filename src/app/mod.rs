//! What a request means: a [`Request`] becomes a [`Command`] or a response, and an [`Outcome`] becomes a response.
//!
//! ```text
//!            routes ──▶ auth ──▶ query ──▶ body
//! Request ─────────────────────────────────────▶ Plan::Ask(command) ──store──▶ Outcome ──response──▶ bytes
//!               └──────── refused? ────────────▶ Plan::Problem ──────────────────────────response──▶ bytes
//! ```
//!
//! An [`App`] is one thread's view of it all: the [`Site`] that it shares with the others, and the request ids and log lines
//! that are its own.
//!
//! *Invariant:* nothing here touches a socket, a file, a thread or the clock; what it must know of the process is
//! handed in, or asked of the [`Site`]. (Tested by `only_the_server_and_the_program_touch_the_world`.)
//!
//! [`Command`]: crate::streams::batch::Command
//! [`Outcome`]: crate::streams::batch::Outcome

pub mod exchange;

pub mod routes;

pub mod auth;

pub mod query;

pub mod body;

pub mod response;

mod reply;

mod pass;

pub mod problem;

pub mod ids;

mod cors;

pub mod log;

pub mod counters;

pub mod site;

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::LogFormat;
use crate::http::conn::Request;
use crate::http::encode::{CONTINUE, CommonFields, Persistence, ResponseStart};
use crate::http::status::Status;
use crate::http::{Head, Method, Version};
use crate::streams::account::WhenFull;
use crate::streams::arena::Word;
use crate::streams::batch::{Action, Command, Verdict};
use crate::time::{Now, Timestamp};

use auth::signed::LastToken;
use auth::{Credentials, Mode};
use counters::{Counter, Counters};
use ids::RequestIds;
use problem::Problem;
use routes::Router;
use site::Site;

use exchange::Plan;
pub use exchange::{Exchange, Requests, Side, Source};

/// How many streams a response may list and still count as short: ten kilobytes or so at most.
const LONG_LIST: u32 = 16;

/// One thread's view of the application.
pub struct App {
    site: Arc<Site>,
    thread: usize,
    /// The listener whose requests these are.
    pub side: Side,
    credentials: Arc<Credentials>,
    /// Which reading of the files the credentials come from.
    reading: usize,
    ids: RequestIds,
    /// The fields that all responses of a second share.
    common: CommonFields,
    pub now: Now,
    /// The steady clock at the beginning of the turn, in microseconds.
    pub micros: u64,
    /// The pass that goes with a response, while it is written.
    pass: Vec<u8>,
    /// When the observer wants to look at everything; never on the thread of players.
    pub due: Option<Timestamp>,
    /// Lines of the access log, to be taken away by the worker.
    pub lines: Vec<u8>,
    last_date: log::LastDate,
}

impl App {
    /// The view of the thread of this number, for the requests of one listener.
    pub fn new(site: Arc<Site>, thread: usize, side: Side) -> Self {
        let cors = site.config.cors.as_ref().filter(|_| side == Side::Public);
        Self {
            thread,
            side,
            credentials: site.credentials(),
            reading: 0,
            ids: RequestIds::default(),
            common: CommonFields::new(cors),
            now: Now::default(),
            micros: 0,
            pass: Vec::new(),
            due: (side == Side::Admin && site.observer.is_some()).then_some(Timestamp::BEGINNING),
            lines: Vec::new(),
            last_date: log::LastDate::default(),
            site,
        }
    }

    /// Begins a turn: from here on it is `now`, and `micros` on the steady clock.
    pub fn begin(&mut self, now: Now, micros: u64) {
        (self.now, self.micros) = (now, micros);
        self.common.refresh(now.wall);
        if let Some(credentials) = self.site.newer_credentials(&mut self.reading) {
            self.credentials = credentials;
        }
        if self.due.is_some_and(|due| due <= now.steady) {
            self.due = self.site.observer.as_ref().map(|observer| observer.look(&self.site, now));
        }
    }

    fn counters(&self) -> &Counters {
        &self.site.counters[self.thread]
    }

    /// Decodes a request: adds its command to the batch, or finds its response. `last` is what its connection remembers.
    pub fn decode(
        &mut self,
        source: Source,
        request: &Request,
        last: &mut LastToken,
        requests: &mut Requests,
    ) -> Exchange {
        let head = &request.head;
        let is_local = self.is_local(source.peer.ip(), head);
        let source = self.behind_proxies(source, head, request.bytes);
        let (batch, nobody) = (&mut requests.batch, Word::default());
        let generation = self.ids.generation();
        let mut router =
            Router { app: self, request, generation, is_local, batch, last, user: nobody, operator: nobody };
        let plan = match self.side {
            Side::Public => router.public(),
            Side::Admin => router.admin(),
        };
        let Router { user, operator, .. } = router;
        let plan = match (self.preflight(request, &mut requests.texts), plan) {
            (Some(names), Ok(Plan::Options(allow))) => Plan::Preflight(allow, names),
            (Some(names), _) => Plan::Preflight("", names),
            (None, plan) => plan.unwrap_or_else(Plan::Problem),
        };
        let mut exchange = self.exchange(source, Some((head, request.bytes)), requests);
        exchange.persistence = match (head.keep_alive, head.version) {
            // What follows a CONNECT would be meant for the server that the client believes to be connected to.
            _ if head.method == Method::Connect => Persistence::Close,
            (false, _) => Persistence::Close,
            (true, Version::Http10) => Persistence::KeepAlive,
            (true, Version::Http11) => Persistence::Keep,
        };
        Exchange { user, operator, plan, ..exchange }
    }

    /// Judges a request whose body is still to come by its head. `Some` is a refusal that needs no body; the connection
    /// closes behind it if the client `waits` with the body, since the client may then send it or not.
    pub fn judge(
        &mut self,
        source: Source,
        request: &Request,
        waits: bool,
        last: &mut LastToken,
        requests: &mut Requests,
    ) -> Option<Exchange> {
        let commands = requests.batch.entries.len();
        let mut exchange = self.decode(source, request, last, requests);
        if !matches!(exchange.plan, Plan::Problem(_)) {
            // It is decoded again when its body is there.
            requests.batch.entries.truncate(commands);
            return None;
        }
        if waits {
            exchange.persistence = Persistence::Close;
        }
        Some(exchange)
    }

    /// Whether the response may list more streams than fit into some ten kilobytes.
    pub fn may_be_long(&self, exchange: &Exchange, requests: &Requests) -> bool {
        let entry = match exchange.plan {
            Plan::Ask(entry) => entry,
            plan => return matches!(plan, Plan::Show(_)),
        };
        let Command { action, limits, .. } = requests.batch.entries[entry as usize].command;
        match action {
            Action::Look | Action::End | Action::Evict { .. } | Action::Hold { .. } => false,
            Action::List => true,
            _ => limits.total > LONG_LIST || self.site.config.when_full == WhenFull::Report,
        }
    }

    /// The response to bytes that are no request, or that never became one; the connection closes behind it. `known` is
    /// as much of the head as there is, and the bytes that it is of.
    pub fn refuse(
        &mut self,
        source: Source,
        problem: Problem,
        known: Option<(&Head, &[u8])>,
        requests: &mut Requests,
    ) -> Exchange {
        let source = known.map_or(source, |(head, bytes)| self.behind_proxies(source, head, bytes));
        let plan = Plan::Problem(problem);
        let exchange =
            Exchange { persistence: Persistence::Close, plan, ..self.exchange(source, known, requests) };
        self.make_readable(exchange, problem, known, &mut requests.texts)
    }

    /// An exchange with what the head says of itself, as far as there is one.
    fn exchange(
        &mut self,
        source: Source,
        known: Option<(&Head, &[u8])>,
        requests: &mut Requests,
    ) -> Exchange {
        let mut exchange = Exchange { complete: self.micros, ..Exchange::new(source) };
        if let Some((head, bytes)) = known {
            exchange.method = head.method;
            (exchange.origin, exchange.is_granted) = self.origin(head, bytes, &mut requests.texts);
            if !head.request_id.is_empty() {
                exchange.request_id = requests.texts.add(head.request_id.of(bytes));
            }
            if self.is_logged() {
                exchange.traceparent = requests.texts.add(head.traceparent.of(bytes));
                exchange.request = requests.texts.add(head.request_line().of(bytes));
            }
        }
        if exchange.request_id.is_empty() {
            exchange.request_id = self.ids.next(&mut requests.texts);
        }
        exchange
    }

    /// Whether a request comes from this machine. What a proxy passes on may come from anywhere, whatever it says, and so may
    /// what one of ours sends that says nothing.
    fn is_local(&self, peer: IpAddr, head: &Head) -> bool {
        peer.is_loopback() && !head.is_forwarded && !self.site.config.proxies.contain(peer)
    }

    /// The source as the proxies name it, if it is one of them.
    fn behind_proxies(&self, source: Source, head: &Head, bytes: &[u8]) -> Source {
        if head.forwarded_for.is_empty() || !self.site.config.proxies.contain(source.peer.ip()) {
            return source;
        }
        let client = self.site.config.proxies.client(head.forwarded_for.of(bytes));
        Source { peer: client.map_or(source.peer, |client| SocketAddr::new(client, 0)), ..source }
    }

    fn is_logged(&self) -> bool {
        self.site.config.log != LogFormat::Off
    }

    /// Appends the response to `out`; then counts and logs it. `micros` is the steady clock now.
    pub fn encode(&mut self, exchange: &Exchange, micros: u64, requests: &Requests, out: &mut Vec<u8>) {
        self.make_pass(exchange, requests);
        let mut start = ResponseStart {
            out,
            common: &self.common,
            origin: if exchange.is_granted { requests.texts.get(exchange.origin) } else { b"" },
            request_id: requests.texts.get(exchange.request_id),
            persistence: exchange.persistence,
            head_only: exchange.method == Method::Head,
        };
        let status = match exchange.plan {
            Plan::Ask(entry) => {
                let entry = &requests.batch.entries[entry as usize];
                let reader = match self.side {
                    Side::Public => response::Audience::Player { pass: &self.pass },
                    Side::Admin => {
                        let user = requests.batch.arena.get(entry.command.user);
                        let known = self.credentials.users().map(|users| users.grant(user).is_some());
                        let has_limit = !matches!(self.credentials.mode, Mode::Signed(_));
                        response::Audience::Operator { known, has_limit }
                    }
                };
                response::Answer { config: &self.site.config, reader, entry, batch: &requests.batch }
                    .write(&mut start)
            }
            Plan::Problem(problem) => reply::problem(&mut start, problem),
            Plan::Healthy => reply::text(&mut start, "ok"),
            Plan::Ready => reply::ready(&mut start, &self.site),
            Plan::Options(allow) => reply::options(&mut start, allow),
            Plan::Preflight(allow, names) => reply::preflight(&mut start, allow, requests.texts.get(names)),
            Plan::Show(page) => match &self.site.observer {
                Some(observer) => observer.show(page, &self.site, self.now, &mut start),
                None => reply::problem(&mut start, Problem::NoPath),
            },
            Plan::Continue => return start.out.extend_from_slice(CONTINUE),
        };
        self.record(exchange, status, micros, requests);
    }

    fn record(&mut self, exchange: &Exchange, status: Status, micros: u64, requests: &Requests) {
        let (batch, counters) = (&requests.batch, self.counters());
        counters.count_response(exchange.method, status, micros.saturating_sub(exchange.complete));
        if !exchange.is_granted && !exchange.origin.is_empty() {
            counters.bump(Counter::UnlistedOrigins, 0);
        }
        if let Some(entry) = exchange.entry(requests) {
            counters.count_outcome(entry);
            counters.count_ends(batch.ends(&entry.outcome));
            if let Some(observer) = &self.site.observer {
                observer.note(self.thread, self.now.wall, batch.arena.get(exchange.operator), entry, batch);
            }
        }
        if self.is_logged() {
            self.log(exchange, status, micros, requests);
        }
    }

    fn log(&mut self, exchange: &Exchange, status: Status, micros: u64, requests: &Requests) {
        let Requests { batch, texts } = requests;
        let entry = exchange.entry(requests);
        let took = micros.saturating_sub(exchange.source.arrived);
        let waited = self.micros.saturating_sub(exchange.source.arrived);
        let outcome = entry.map(|entry| &entry.outcome);
        log::LogEntry {
            arrived: Timestamp::from_millis(self.now.wall.millis().saturating_sub(waited / 1000)),
            peer: exchange.source.peer,
            side: self.side,
            request_id: texts.get(exchange.request_id),
            request: texts.get(exchange.request),
            user: batch.arena.get(entry.map_or(exchange.user, |entry| entry.command.user)),
            status,
            problem: exchange.problem(),
            lack: outcome
                .filter(|outcome| outcome.verdict == Verdict::Unavailable)
                .map(|outcome| outcome.notes.lack),
            count: outcome.map(|outcome| outcome.count),
            micros: took,
            class: entry.and_then(|entry| batch.class_full(entry)).map_or(b"", |(class, _)| class),
            operator: batch.arena.get(exchange.operator),
            origin: if exchange.is_granted { b"" } else { texts.get(exchange.origin) },
            traceparent: texts.get(exchange.traceparent),
        }
        .write(self.site.config.log, &mut self.last_date, &mut self.lines);
    }
}
