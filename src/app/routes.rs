//! Which request is which call: path, method, credentials, query, media type, body, in the contract's order of checks.
//!
//! *Invariant:* a player's command is made only for a [`User`](super::auth::User), which only `auth` can make; an
//! operator's only after `authorize`. (Tested by
//! `what_names_users_is_for_loopback_under_no_foreign_name_or_for_admins`.)

use super::App;
use super::auth::signed::LastToken;
use super::auth::{self, Asking, Mode};
use super::body::{self, Accept, StreamUpdate};
use super::counters::Counter;
use super::exchange::Plan;
use super::problem::Problem;
use super::query::{Query, UserQuery};
use super::site::Page;
use crate::codec::{text, urlencoded};
use crate::http::conn::Request;
use crate::http::{Method, address, split_port};
use crate::streams::arena::Word;
use crate::streams::batch::{Action, Asked, Batch, Command, Replace, id_and_device};

const STREAM_METHODS: &str = "GET, HEAD, POST, PATCH, DELETE, OPTIONS";
const GATE_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, TRACE, OPTIONS";
const READ_METHODS: &str = "GET, HEAD, OPTIONS";
const USER_METHODS: &str = "GET, HEAD, DELETE, OPTIONS";

/// One request, on its way to what will be done for it.
pub(super) struct Router<'a> {
    pub(super) app: &'a App,
    pub(super) request: &'a Request<'a>,
    /// Drawn for this request.
    pub(super) generation: u64,
    /// Whether it comes from this machine, and nobody has passed it on.
    pub(super) is_local: bool,
    pub(super) batch: &'a mut Batch,
    /// What the connection remembers of the last token.
    pub(super) last: &'a mut LastToken,
    /// Who asks or is asked about, as soon as that is known: of a request that is refused, too, for the log.
    pub(super) user: Word<Asked>,
    /// Who has shown an operator's credentials.
    pub(super) operator: Word<Asked>,
}

impl<'a> Router<'a> {
    pub(super) fn public(&mut self) -> Result<Plan, Problem> {
        match self.path() {
            b"/" => self.stream(),
            b"/gate" => self.gate(),
            b"/healthz" => self.read_only(Plan::Healthy),
            _ => Err(Problem::NoPath),
        }
    }

    /// `/`: the streams of the user who asks.
    fn stream(&mut self) -> Result<Plan, Problem> {
        let method = match self.request.head.method {
            Method::Options => return Ok(Plan::Options(STREAM_METHODS)),
            Method::Unknown => return Err(Problem::UnknownMethod),
            Method::Put | Method::Connect | Method::Trace => return Err(Problem::Method(STREAM_METHODS)),
            method => method,
        };
        let (command, replace, switch) = self.player()?;
        if command.key.is_empty() && !matches!(method, Method::Get | Method::Head) {
            return Err(Problem::IdMissing);
        }
        if matches!(method, Method::Post | Method::Patch) {
            self.require_device(command.key)?;
        }
        let if_match = match method {
            Method::Patch | Method::Delete => self.if_match()?,
            _ => Word::default(),
        };
        let action = match method {
            Method::Post => {
                let StreamUpdate { position, playing } = update(self.request)?;
                if playing == Some(false) {
                    return Err(Problem::BodyPaused);
                }
                Action::Start { position, replace, switch }
            }
            Method::Patch => {
                let StreamUpdate { position, playing } = update(self.request)?;
                Action::Beat { position, playing }
            }
            Method::Delete => Action::End,
            _ if command.key.is_empty() => Action::List,
            _ => Action::Look,
        };
        Ok(Plan::Ask(self.batch.push(Command { action, if_match, ..command })))
    }

    /// `/gate`: a proxy asks before it serves a part of the video. It passes on whatever method the viewer's request has.
    fn gate(&mut self) -> Result<Plan, Problem> {
        match self.request.head.method {
            Method::Options => return Ok(Plan::Options(GATE_METHODS)),
            Method::Unknown => return Err(Problem::UnknownMethod),
            _ => {}
        }
        let (command, replace, switch) = self.player()?;
        if command.key.is_empty() {
            return Err(Problem::IdMissing);
        }
        self.require_device(command.key)?;
        Ok(Plan::Ask(self.batch.push(Command { action: Action::Gate { replace, switch }, ..command })))
    }

    /// Which player asks, and about what: a command without its action, and what a start has besides, `replace` and `switch`.
    fn player(&mut self) -> Result<(Command, Replace, bool), Problem> {
        let known = self.authenticate()?;
        self.user = known.name();
        let query = self.request.get(self.request.head.query);
        let Query { key, replace, switch, classes, names_classes } =
            Query::decode(query, known.classes, &mut self.batch.arena)?;
        let command = Command::new(self.user, key.unwrap_or_default(), known.limits, Action::Look);
        let command = Command { classes, names_classes, generation: self.generation, ..command };
        Ok((command, replace, switch))
    }

    /// Without a device all players of a user on one video are one stream.
    fn require_device(&self, key: Word<Asked>) -> Result<(), Problem> {
        let lacks_device = || id_and_device(self.batch.arena.get(key)).1.is_none();
        if self.app.site.config.require_device && lacks_device() {
            Err(Problem::DeviceMissing)
        } else {
            Ok(())
        }
    }

    /// The generations that are meant; nothing for any of them.
    ///
    /// ```text
    /// If-Match   = "*" / #entity-tag          entity-tag = [ "W/" ] opaque-tag       ; RFC 9110 sections 13.1.1, 8.8.3
    /// opaque-tag = DQUOTE *etagc DQUOTE       etagc      = %x21 / %x23-7E / obs-text
    /// ```
    ///
    /// Laxer: a weak tag counts as a strong one. It names a generation and no bytes, and a proxy that compresses has made it
    /// weak.
    fn if_match(&mut self) -> Result<Word<Asked>, Problem> {
        match self.request.get(self.request.head.if_match) {
            b"" | b"*" => Ok(Word::default()),
            tags if is_tags(tags) => Ok(self.batch.arena.add(tags)),
            _ => Err(Problem::IfMatch),
        }
    }

    pub(super) fn admin(&mut self) -> Result<Plan, Problem> {
        match self.path() {
            b"/healthz" => self.read_only(Plan::Healthy),
            b"/readyz" => self.read_only(Plan::Ready),
            path => match (path.strip_prefix(b"/users/"), &self.app.site.observer) {
                (Some(name), _) => self.streams_of(name),
                (None, Some(observer)) => self.page(observer.find(path).ok_or(Problem::NoPath)?),
                (None, None) => Err(Problem::NoPath),
            },
        }
    }

    fn page(&mut self, page: &'static Page) -> Result<Plan, Problem> {
        let plan = self.read_only(Plan::Show(page))?;
        if page.names_users && self.request.head.method != Method::Options {
            self.authorize()?;
        }
        Ok(plan)
    }

    /// `/users/{user}[?id=…[&device=…]]`: what the user watches, and the end of it. `/users/?user=…` is the same for a user
    /// called `..`, which clients take out of a path.
    fn streams_of(&mut self, name: &[u8]) -> Result<Plan, Problem> {
        let changes = match self.request.head.method {
            Method::Get | Method::Head => false,
            Method::Delete => true,
            Method::Options => return Ok(Plan::Options(USER_METHODS)),
            Method::Unknown => return Err(Problem::UnknownMethod),
            _ => return Err(Problem::Method(USER_METHODS)),
        };
        self.authorize()?;
        let query = UserQuery::decode(self.request.get(self.request.head.query), &mut self.batch.arena);
        self.user = match (name, &query) {
            (b"", Ok(UserQuery { user: Some(user), .. })) => checked_user(*user, self.batch)?,
            _ => decode_user(name, self.batch)?,
        };
        let UserQuery { key, reason: message, hold, .. } = query?;
        let action = match (changes, key, hold) {
            (false, None, _) => Action::List,
            (false, Some(_), _) => Action::Look,
            (true, _, None) => Action::Evict { message },
            (true, _, Some(length)) => Action::Hold { length, message },
        };
        let user = self.batch.arena.get(self.user);
        let own = self.app.credentials.users().and_then(|users| users.grant(user)?.limits);
        let limits = own.unwrap_or(self.app.site.config.limits.borrow());
        let limits = limits.into_arena(&mut self.batch.arena);
        let key = key.unwrap_or_default();
        Ok(Plan::Ask(self.batch.push(Command::new(self.user, key, limits, action))))
    }

    fn authenticate(&mut self) -> Result<auth::User, Problem> {
        let App { credentials, now, site, .. } = self.app;
        let authorization = self.request.get(self.request.head.authorization);
        let (limits, arena) = (site.config.limits.borrow(), &mut self.batch.arena);
        let asking = Asking { wall: now.wall, limits, last: self.last, arena };
        credentials.check(authorization, asking).map_err(|failure| {
            self.app.counters().bump(Counter::AuthFailures, failure as usize);
            Problem::Credentials(credentials.challenge(authorization))
        })
    }

    /// What names a user, to read or to change, is for loopback, or for a user marked `admin`. Who shows credentials is held
    /// to them, also over loopback: so the log can say who it was.
    ///
    /// A page in an operator's browser can reach loopback too, under a name of its own that resolves there. So without
    /// credentials `Host` has to be an address or `localhost`. Under such a host the page is of another origin, and the
    /// browser stops it: it may not read the response, and DELETE takes a CORS preflight, which this listener never grants.
    fn authorize(&mut self) -> Result<(), Problem> {
        let head = &self.request.head;
        let open = matches!(self.app.credentials.mode, Mode::Open);
        match self.is_local {
            _ if !open && !head.authorization.is_empty() => {}
            true if is_foreign(self.request.get(head.host)) => return Err(Problem::ForeignHost),
            true => return Ok(()),
            // Here anybody's credentials are good, and so nobody's.
            false if open => return Err(Problem::Forbidden),
            false => {}
        }
        let user = self.authenticate()?;
        if !user.is_admin {
            return Err(Problem::Forbidden);
        }
        self.operator = user.name();
        Ok(())
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
            Method::Options => Ok(Plan::Options(READ_METHODS)),
            Method::Unknown => Err(Problem::UnknownMethod),
            _ => Err(Problem::Method(READ_METHODS)),
        }
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
    StreamUpdate::decode(request.body.unwrap_or_default())
}

fn decode_user(name: &[u8], batch: &mut Batch) -> Result<Word<Asked>, Problem> {
    let mark = batch.arena.mark();
    urlencoded::decode_path(name, batch.arena.bytes()).map_err(|_| Problem::User)?;
    checked_user(batch.arena.since(mark), batch)
}

fn checked_user(word: Word<Asked>, batch: &Batch) -> Result<Word<Asked>, Problem> {
    if text::is_user_id(batch.arena.get(word)) { Ok(word) } else { Err(Problem::User) }
}

/// Whether this is a list of entity tags.
fn is_tags(list: &[u8]) -> bool {
    let mut rest = list;
    loop {
        while let [b',' | b' ' | b'\t', after @ ..] = rest {
            rest = after;
        }
        if rest.is_empty() {
            return true;
        }
        let Some(tag) = rest.strip_prefix(b"W/").unwrap_or(rest).strip_prefix(b"\"") else { return false };
        let Some(end) = tag.iter().position(|&byte| byte <= b' ' || byte == b'"' || byte == 0x7F) else {
            return false;
        };
        rest = tag[end + 1..].trim_ascii_start();
        if tag[end] != b'"' || !(rest.is_empty() || rest[0] == b',') {
            return false;
        }
    }
}

/// Whether `host` is a name that anybody could have pointed at this machine. Every browser sends one.
fn is_foreign(host: &[u8]) -> bool {
    let (name, _port) = split_port(host);
    !(host.is_empty() || name.eq_ignore_ascii_case(b"localhost") || address(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_not_foreign() {
        for (host, foreign) in [
            ("localhost", false),
            ("LocalHost:8001", false),
            ("127.0.0.1:8001", false),
            ("10.0.0.1", false),
            ("[::1]", false),
            ("[::1]:8001", false),
            ("", false),
            (":8001", true),
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
