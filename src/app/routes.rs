//! Which request is which call: path, method, credentials, query, media type, body, in the contract's order of checks.
//!
//! *Invariant:* a player's command is made only for a [`User`](super::auth::User), which only `auth` can make; an operator's
//! only after `authorize`.

use core::net::IpAddr;

use super::App;
use super::auth::{self, Credentials, Failure};
use super::body::{self, Accept, StreamUpdate};
use super::counters::Counter;
use super::exchange::{Plan, Reply, View};
use super::problem::Problem;
use super::query::{Query, UserQuery};
use crate::codec::{text, urlencoded};
use crate::http::conn::Request;
use crate::http::{Method, split_port};
use crate::streams::arena::Word;
use crate::streams::batch::{Action, Asked, Batch, Command};

const STREAM_METHODS: &str = "GET, HEAD, POST, PATCH, DELETE, OPTIONS";
const GATE_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, TRACE, OPTIONS";
const READ_METHODS: &str = "GET, HEAD, OPTIONS";
const USER_METHODS: &str = "GET, HEAD, DELETE, OPTIONS";

/// One request, on its way to what will be done for it.
pub(super) struct Router<'a> {
    pub(super) app: &'a App,
    pub(super) request: &'a Request<'a>,
    /// Whether it comes from this machine.
    pub(super) is_local: bool,
    pub(super) batch: &'a mut Batch,
    /// Who asks, as soon as that is known: of a request that is refused, too, for the log.
    pub(super) user: Word<Asked>,
}

/// What an operator's call does to what it names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Change,
}

impl<'a> Router<'a> {
    /// The public listener's calls.
    pub(super) fn public(&mut self) -> Result<Plan, Problem> {
        match self.path() {
            b"/" => self.stream(),
            b"/gate" => self.gate(),
            b"/healthz" => self.read_only(Plan::Reply(Reply::Healthy)),
            _ => Err(Problem::NoPath),
        }
    }

    /// `/`: the streams of the user who asks.
    fn stream(&mut self) -> Result<Plan, Problem> {
        let method = match self.request.head.method {
            Method::Options => return Ok(Plan::Reply(Reply::Options(STREAM_METHODS))),
            Method::Unknown => return Err(Problem::UnknownMethod),
            Method::Put | Method::Connect | Method::Trace => return Err(Problem::Method(STREAM_METHODS)),
            method => method,
        };
        let (known, Query { key, replace, switch }) = self.player()?;
        if key.is_none() && !matches!(method, Method::Get | Method::Head) {
            return Err(Problem::IdMissing);
        }
        let action = match method {
            Method::Post => {
                let StreamUpdate { position, .. } = update(self.request)?;
                Action::Start { position, replace, switch }
            }
            Method::Patch => {
                let StreamUpdate { position, playing } = update(self.request)?;
                Action::Beat { position, playing }
            }
            Method::Delete => Action::End,
            _ if key.is_some() => Action::Look,
            _ => Action::List,
        };
        Ok(self.ask(key, known.limit(), action))
    }

    /// `/gate`: a proxy asks before it serves a part of the video. It passes on whatever method the viewer's request has.
    fn gate(&mut self) -> Result<Plan, Problem> {
        match self.request.head.method {
            Method::Options => return Ok(Plan::Reply(Reply::Options(GATE_METHODS))),
            Method::Unknown => return Err(Problem::UnknownMethod),
            _ => {}
        }
        let (known, Query { key, replace, switch }) = self.player()?;
        let key = key.ok_or(Problem::IdMissing)?;
        Ok(self.ask(Some(key), known.limit(), Action::Gate { replace, switch }))
    }

    /// Which player asks, and about what.
    fn player(&mut self) -> Result<(auth::User, Query), Problem> {
        let known = self.authenticate().map_err(|_| Problem::Credentials)?;
        self.user = known.name();
        let query = Query::decode(self.request.get(self.request.head.query), &mut self.batch.arena);
        Ok((known, query.map_err(Problem::Query)?))
    }

    fn ask(&mut self, key: Option<Word<Asked>>, limit: u32, action: Action) -> Plan {
        let (user, key) = (self.user, key.unwrap_or_default());
        Plan::Ask(self.batch.push(Command { user, key, limit, action }))
    }

    /// The admin listener's calls.
    pub(super) fn admin(&mut self) -> Result<Plan, Problem> {
        match self.path() {
            b"/" => self.read_only(Plan::Reply(Reply::Page)),
            b"/healthz" => self.read_only(Plan::Reply(Reply::Healthy)),
            b"/readyz" => self.read_only(Plan::Reply(Reply::Ready)),
            b"/metrics" => self.read_only(Plan::Observe(View::Metrics)),
            b"/stats" => {
                self.authorize(Access::Read)?;
                self.read_only(Plan::Observe(View::Stats))
            }
            b"/history" => {
                self.authorize(Access::Read)?;
                self.read_only(Plan::Observe(View::History))
            }
            path => match path.strip_prefix(b"/users/") {
                Some(name) => self.streams_of(name),
                None => Err(Problem::NoPath),
            },
        }
    }

    /// `/users/{user}[?id=…[&device=…]]`: what the user watches, and the end of it. `/users/?user=…` is the same for a user
    /// called `..`, which clients take out of a path.
    fn streams_of(&mut self, name: &[u8]) -> Result<Plan, Problem> {
        let access = match self.request.head.method {
            Method::Get | Method::Head => Access::Read,
            Method::Delete => Access::Change,
            Method::Options => return Ok(Plan::Reply(Reply::Options(USER_METHODS))),
            Method::Unknown => return Err(Problem::UnknownMethod),
            _ => return Err(Problem::Method(USER_METHODS)),
        };
        self.authorize(access)?;
        let query = UserQuery::decode(self.request.get(self.request.head.query), &mut self.batch.arena);
        self.user = match (name, &query) {
            (b"", Ok(UserQuery { user: Some(user), .. })) => checked_user(*user, self.batch)?,
            _ => decode_user(name, self.batch)?,
        };
        let UserQuery { key, reason: message, hold, .. } = query.map_err(Problem::Query)?;
        let action = match (access, key, hold) {
            (Access::Read, None, _) => Action::List,
            (Access::Read, Some(_), _) => Action::Look,
            (Access::Change, _, None) => Action::Evict { message },
            (Access::Change, _, Some(length)) => Action::Hold { length, message },
        };
        let user = self.batch.arena.get(self.user);
        let limit = self.app.credentials.limit_of(user, self.app.settings.limit);
        Ok(self.ask(key, limit, action))
    }

    fn authenticate(&mut self) -> Result<auth::User, Failure> {
        let App { credentials, now, settings, counters, .. } = self.app;
        let authorization = self.request.get(self.request.head.authorization);
        let checked = credentials.check(authorization, now.wall, settings.limit, &mut self.batch.arena);
        checked.inspect_err(|failure| counters.bump(Counter::AuthFailures, *failure as usize))
    }

    /// Every client that can reach this listener may read of users. Changes are for loopback, or for a user marked `admin`.
    ///
    /// A page in an operator's browser can reach loopback too, under a name of its own that resolves there. So over
    /// loopback `Host` has to be an address or `localhost`, to read and to change. Under such a host the page is of another
    /// origin, and the browser stops it: it may not read the response, and DELETE takes a CORS preflight, which this
    /// listener never grants.
    fn authorize(&mut self, access: Access) -> Result<(), Problem> {
        let head = &self.request.head;
        let configured = matches!(*self.app.credentials, Credentials::Users(_));
        let foreign = self.is_local && is_foreign(self.request.get(head.host));
        if configured && (access == Access::Change || foreign) && !head.authorization.is_empty() {
            return match self.authenticate() {
                Ok(user) if user.is_admin() => Ok(()),
                Ok(_) => Err(Problem::Forbidden),
                Err(_) => Err(Problem::Credentials),
            };
        }
        match access {
            _ if foreign => Err(Problem::ForeignHost),
            Access::Change if !self.is_local && configured => Err(Problem::Credentials),
            Access::Change if !self.is_local => Err(Problem::Forbidden),
            Access::Read | Access::Change => Ok(()),
        }
    }

    /// An absolute-form target may have no path, and `OPTIONS *` has none: both mean the whole (RFC 9112 section 3.2.4).
    fn path(&self) -> &'a [u8] {
        match self.request.get(self.request.head.path) {
            b"" => b"/",
            path => path,
        }
    }

    /// `plan`, of a path that can only be read.
    fn read_only(&self, plan: Plan) -> Result<Plan, Problem> {
        match self.request.head.method {
            Method::Get | Method::Head => Ok(plan),
            Method::Options => Ok(Plan::Reply(Reply::Options(READ_METHODS))),
            Method::Unknown => Err(Problem::UnknownMethod),
            _ => Err(Problem::Method(READ_METHODS)),
        }
    }
}

/// Whether a call comes from this machine. A proxy on it is believed that its `client` is elsewhere. A proxy elsewhere is
/// not believed that its client is here: what it was told may be made up.
pub(super) fn is_local(peer: IpAddr, client: IpAddr) -> bool {
    peer.is_loopback() && client.is_loopback()
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
    urlencoded::decode_path(name, batch.arena.bytes()).map_err(|_| Problem::User)?;
    checked_user(batch.arena.since(mark), batch)
}

fn checked_user(word: Word<Asked>, batch: &Batch) -> Result<Word<Asked>, Problem> {
    if text::is_user_id(batch.arena.get(word)) { Ok(word) } else { Err(Problem::User) }
}

/// Whether `host` is a name that anybody could have pointed at this machine.
fn is_foreign(host: &[u8]) -> bool {
    let (name, _port) = split_port(host);
    let address = name.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]")).unwrap_or(name);
    let is_address = std::str::from_utf8(address).is_ok_and(|address| address.parse::<IpAddr>().is_ok());
    !(name.eq_ignore_ascii_case(b"localhost") || is_address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_elsewhere_makes_no_client_local() {
        for (peer, client, local) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "::1", true),
            ("127.0.0.1", "192.0.2.1", false),
            ("192.0.2.1", "127.0.0.1", false),
            ("192.0.2.1", "192.0.2.1", false),
        ] {
            let [peer, client] = [peer, client].map(|address| address.parse().unwrap());
            assert_eq!(is_local(peer, client), local, "{peer} {client}");
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
