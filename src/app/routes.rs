//! Which request is which call: path, method, credentials, query, media type, body, in the contract's order of checks.
//!
//! *Invariant:* a command is made only for a [`User`](super::auth::User), whom only `auth` can make.

use core::net::{IpAddr, SocketAddr};

use super::App;
use super::auth::{self, Credentials, Failure};
use super::body::{self, Accept, StreamUpdate};
use super::counters::Counter;
use super::exchange::{Plan, Reply, View};
use super::problem::Problem;
use super::query::{Query, UserQuery};
use crate::codec::{text, urlencoded};
use crate::http::Method;
use crate::http::conn::Request;
use crate::streams::arena::Word;
use crate::streams::batch::{Action, Asked, Batch, Command};

const STREAM_METHODS: &str = "GET, HEAD, POST, PATCH, DELETE, OPTIONS";
const GATE_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, TRACE, OPTIONS";
const READ_METHODS: &str = "GET, HEAD, OPTIONS";
const USER_METHODS: &str = "GET, HEAD, DELETE, OPTIONS";

impl App {
    /// The public listener's calls. Says in `user` who asks, as soon as that is known.
    pub(super) fn route(
        &self,
        request: &Request,
        user: &mut Word<Asked>,
        batch: &mut Batch,
    ) -> Result<Plan, Problem> {
        match path(request) {
            b"/" => self.route_stream(request, user, batch),
            b"/gate" => self.route_gate(request, user, batch),
            b"/healthz" => fixed(request, Reply::Healthy),
            _ => Err(Problem::NoPath),
        }
    }

    /// `/`: the streams of the user who asks.
    fn route_stream(
        &self,
        request: &Request,
        user: &mut Word<Asked>,
        batch: &mut Batch,
    ) -> Result<Plan, Problem> {
        let method = match request.head.method {
            Method::Options => return Ok(Plan::Reply(Reply::Options(STREAM_METHODS))),
            Method::Unknown => return Err(Problem::UnknownMethod),
            Method::Put | Method::Connect | Method::Trace => return Err(Problem::Method(STREAM_METHODS)),
            method => method,
        };
        let (known, Query { key, replace, switch }) = self.ask(request, user, batch)?;
        if key.is_none() && !matches!(method, Method::Get | Method::Head) {
            return Err(Problem::IdMissing);
        }
        let action = match method {
            Method::Post => {
                let StreamUpdate { position, .. } = update(request)?;
                Action::Start { position, replace, switch }
            }
            Method::Patch => {
                let StreamUpdate { position, playing } = update(request)?;
                Action::Beat { position, playing }
            }
            Method::Delete => Action::End,
            _ if key.is_some() => Action::Look,
            _ => Action::List,
        };
        let (user, key) = (known.name(), key.unwrap_or_default());
        Ok(Plan::Ask(batch.push(Command { user, key, limit: known.limit(), action })))
    }

    /// `/gate`: a proxy asks before it serves a part of the video. It passes on whatever method the viewer's request has.
    fn route_gate(
        &self,
        request: &Request,
        user: &mut Word<Asked>,
        batch: &mut Batch,
    ) -> Result<Plan, Problem> {
        match request.head.method {
            Method::Options => return Ok(Plan::Reply(Reply::Options(GATE_METHODS))),
            Method::Unknown => return Err(Problem::UnknownMethod),
            _ => {}
        }
        let (known, Query { key, replace, switch }) = self.ask(request, user, batch)?;
        let (user, key) = (known.name(), key.ok_or(Problem::IdMissing)?);
        let action = Action::Gate { replace, switch };
        Ok(Plan::Ask(batch.push(Command { user, key, limit: known.limit(), action })))
    }

    /// Who asks, and about what.
    fn ask(
        &self,
        request: &Request,
        user: &mut Word<Asked>,
        batch: &mut Batch,
    ) -> Result<(auth::User, Query), Problem> {
        let known = self.authenticate(request, batch).map_err(|_| Problem::Credentials)?;
        *user = known.name();
        let query = Query::decode(request.get(request.head.query), &mut batch.arena);
        Ok((known, query.map_err(Problem::Query)?))
    }

    /// The admin listener's calls.
    pub(super) fn route_admin(
        &self,
        request: &Request,
        peer: SocketAddr,
        user: &mut Word<Asked>,
        batch: &mut Batch,
    ) -> Result<Plan, Problem> {
        match path(request) {
            b"/" => fixed(request, Reply::Page),
            b"/healthz" => fixed(request, Reply::Healthy),
            b"/readyz" => fixed(request, Reply::Ready),
            b"/metrics" => observed(request, View::Metrics),
            b"/stats" => {
                self.authorize(request, peer, false, batch)?;
                observed(request, View::Stats)
            }
            b"/history" => {
                self.authorize(request, peer, false, batch)?;
                observed(request, View::History)
            }
            path => match path.strip_prefix(b"/users/") {
                Some(name) => self.route_user(request, name, peer, user, batch),
                None => Err(Problem::NoPath),
            },
        }
    }

    /// `/users/{user}[?id=…[&device=…]]`: what the user watches, and the end of it. `/users/?user=…` is the same for a user
    /// called `..`, whom clients take out of a path.
    fn route_user(
        &self,
        request: &Request,
        name: &[u8],
        peer: SocketAddr,
        user: &mut Word<Asked>,
        batch: &mut Batch,
    ) -> Result<Plan, Problem> {
        let changes = match request.head.method {
            Method::Get | Method::Head => false,
            Method::Delete => true,
            Method::Options => return Ok(Plan::Reply(Reply::Options(USER_METHODS))),
            Method::Unknown => return Err(Problem::UnknownMethod),
            _ => return Err(Problem::Method(USER_METHODS)),
        };
        self.authorize(request, peer, changes, batch)?;
        let query = UserQuery::decode(request.get(request.head.query), &mut batch.arena);
        *user = match (name, &query) {
            (b"", Ok(UserQuery { user: Some(user), .. })) => checked_user(*user, batch)?,
            _ => decode_user(name, batch)?,
        };
        let UserQuery { key, reason: message, hold, .. } = query.map_err(Problem::Query)?;
        let action = match (changes, key, hold) {
            (false, None, _) => Action::List,
            (false, Some(_), _) => Action::Look,
            (true, _, None) => Action::Evict { message },
            (true, _, Some(length)) => Action::Hold { length, message },
        };
        let limit = self.credentials.limit_of(batch.arena.get(*user), self.settings.limit);
        Ok(Plan::Ask(batch.push(Command { user: *user, key: key.unwrap_or_default(), limit, action })))
    }

    fn authenticate(&self, request: &Request, batch: &mut Batch) -> Result<auth::User, Failure> {
        let authorization = request.get(request.head.authorization);
        let checked =
            self.credentials.check(authorization, self.now.wall, self.settings.limit, &mut batch.arena);
        checked.inspect_err(|failure| self.counters.bump(Counter::AuthFailures, *failure as usize))
    }

    /// What tells of users is for everybody who can reach this listener; what changes something is for loopback, or for a user
    /// marked `admin`.
    ///
    /// A page in an operator's browser can reach loopback too, under a name of its own that resolves there. So over
    /// loopback only addresses and `localhost` will do as `Host`, for both. That such a page cannot do so across origins is
    /// the browser's part; for DELETE that takes a CORS preflight, which this listener never grants.
    fn authorize(
        &self,
        request: &Request,
        peer: SocketAddr,
        changes: bool,
        batch: &mut Batch,
    ) -> Result<(), Problem> {
        let configured = matches!(*self.credentials, Credentials::Users(_));
        let local = peer.ip().is_loopback();
        let foreign = local && is_foreign(request.get(request.head.host));
        if configured && (changes || foreign) && !request.head.authorization.is_empty() {
            return match self.authenticate(request, batch) {
                Ok(user) if user.is_admin() => Ok(()),
                Ok(_) => Err(Problem::Forbidden),
                Err(_) => Err(Problem::Credentials),
            };
        }
        match (changes, local) {
            _ if foreign => Err(Problem::ForeignHost),
            (true, false) if configured => Err(Problem::Credentials),
            (true, false) => Err(Problem::Forbidden),
            _ => Ok(()),
        }
    }
}

/// Where an operator's call comes from: `peer`, which may be a proxy that names its `client`. It can say that the client is
/// not of this machine, but not that it is: what it was told may be made up.
pub(super) fn operator(peer: SocketAddr, client: SocketAddr) -> SocketAddr {
    if peer.ip().is_loopback() { client } else { peer }
}

/// An absolute-form target may have no path, and `OPTIONS *` has none: both mean the whole (RFC 9112 section 3.2.4).
fn path<'a>(request: &'a Request) -> &'a [u8] {
    match request.get(request.head.path) {
        b"" => b"/",
        path => path,
    }
}

/// A path that can only be read.
fn fixed(request: &Request, reply: Reply) -> Result<Plan, Problem> {
    read_only(request, Plan::Reply(reply))
}

/// As [`fixed`], for what the observer puts together.
fn observed(request: &Request, view: View) -> Result<Plan, Problem> {
    read_only(request, Plan::Observe(view))
}

fn read_only(request: &Request, plan: Plan) -> Result<Plan, Problem> {
    match request.head.method {
        Method::Get | Method::Head => Ok(plan),
        Method::Options => Ok(Plan::Reply(Reply::Options(READ_METHODS))),
        Method::Unknown => Err(Problem::UnknownMethod),
        _ => Err(Problem::Method(READ_METHODS)),
    }
}

/// What the body says. Of a body that is still to come, all that the head says of it is judged.
fn update(request: &Request) -> Result<StreamUpdate, Problem> {
    if !request.has_body() {
        // Nothing has no media type; `curl -d ''` would name one all the same.
        return Ok(StreamUpdate::default());
    }
    let accept = if request.head.method == Method::Patch { Accept::Patch } else { Accept::Post };
    let coding = request.get(request.head.content_encoding);
    if !(coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::ContentCoding(accept));
    }
    if !body::is_json(request.get(request.head.content_type), accept) {
        return Err(Problem::MediaType(accept));
    }
    StreamUpdate::decode(request.body.unwrap_or_default()).map_err(Problem::Body)
}

fn decode_user(name: &[u8], batch: &mut Batch) -> Result<Word<Asked>, Problem> {
    let mark = batch.arena.mark();
    // In a path `+` is a plus (RFC 3986), not the blank that it is in a query.
    for (i, part) in name.split(|&byte| byte == b'+').enumerate() {
        if i > 0 {
            batch.arena.bytes().push(b'+');
        }
        urlencoded::decode(part, batch.arena.bytes()).map_err(|_| Problem::User)?;
    }
    checked_user(batch.arena.since(mark), batch)
}

fn checked_user(word: Word<Asked>, batch: &Batch) -> Result<Word<Asked>, Problem> {
    if text::is_user_id(batch.arena.get(word)) { Ok(word) } else { Err(Problem::User) }
}

/// Whether `host` is a name that anybody could have pointed at this machine.
fn is_foreign(host: &[u8]) -> bool {
    let host = std::str::from_utf8(host).unwrap_or_default();
    let bracketed = host.rfind(']').map_or(0, |at| at + 1);
    let name = match host[bracketed..].find(':') {
        Some(at) => &host[..bracketed + at],
        None => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    !(name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_elsewhere_makes_no_client_local() {
        for (peer, client, local) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "[::1]:0", true),
            ("127.0.0.1:1", "192.0.2.1:0", false),
            ("192.0.2.1:1", "127.0.0.1:0", false),
            ("192.0.2.1:1", "192.0.2.1:1", false),
        ] {
            let operator = operator(peer.parse().unwrap(), client.parse().unwrap());
            assert_eq!(operator.ip().is_loopback(), local, "{peer} {client}");
        }
    }

    #[test]
    fn only_addresses_and_localhost_are_not_foreign() {
        for (host, foreign) in [
            ("localhost", false),
            ("LocalHost:8001", false),
            ("127.0.0.1:8001", false),
            ("10.0.0.1", false),
            ("[::1]", false),
            ("[::1]:8001", false),
            ("", true),
            ("evil.example", true),
            ("evil.example:8001", true),
            ("localhost.evil.example", true),
            ("127.0.0.1.evil.example", true),
            ("streamer", true),
        ] {
            assert_eq!(is_foreign(host.as_bytes()), foreign, "{host}");
        }
    }
}
