//! Outcomes and replies as responses: status, fields and JSON, written straight into the connection's output.
//!
//! *Invariant:* `endpoint` is null exactly where `canWatch` is false, or where no single stream is meant.

use super::exchange::Noted;
use super::problem::{self, Problem};
use super::{Readiness, Reply, Settings, View, endpoint, metrics, page};
use crate::codec::{decimal, json};
use crate::http::encode::{Response, ResponseStart};
use crate::http::status::Status;
use crate::streams::arena::Arena;
use crate::streams::batch::{
    Action, Batch, Entry, Outcome, Replace, StreamView, Verdict, Why, id_and_device,
};
use crate::time::Millis;

const JSON: &str = "application/json";

/// Who reads a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// A client of the public listener.
    Player,
    /// A client of the admin listener; whether the credentials name the user, if they name users.
    Operator { known: Option<bool> },
}

/// Writes what became of a command; returns the status.
pub(super) fn outcome(
    start: &mut ResponseStart,
    settings: &Settings,
    reader: Reader,
    entry: &Entry,
    batch: &Batch,
) -> Status {
    let Entry { command, outcome } = entry;
    let key = batch.arena.get(command.key);
    let status = status(entry);
    let mut response = start.status(status);
    match outcome.verdict {
        Verdict::Started | Verdict::Renewed if status == Status::NoContent => {
            response.field_with("X-Stream-Count", |out| decimal::write(outcome.count.into(), out));
            response.field_with("X-Stream-Limit", |out| decimal::write(command.limit.into(), out));
            response.without_body();
        }
        Verdict::Started | Verdict::Renewed | Verdict::Info | Verdict::Ended => {
            if status == Status::Created {
                response.field_with("Location", |out| endpoint::write_location(key, out));
            }
            response.body(JSON, |out| {
                out.push(b'{');
                three_members(settings, key, outcome, out);
                match outcome.verdict {
                    Verdict::Started | Verdict::Renewed => started(key, outcome, batch, out),
                    _ if key.is_empty() => list(command.limit, outcome, batch, out),
                    _ => {}
                }
                if key.is_empty() {
                    for_operator(reader, outcome, batch, out);
                }
                out.push(b'}');
            });
        }
        _ => refusal(response, settings, entry, batch, status),
    }
    status
}

/// At the gate a proxy asks, and what it understands is yes and no: 2xx and 403.
fn status(Entry { command, outcome }: &Entry) -> Status {
    let gate = matches!(command.action, Action::Gate { .. });
    match outcome.verdict {
        Verdict::Started | Verdict::Renewed if gate => Status::NoContent,
        Verdict::Started => Status::Created,
        Verdict::Info | Verdict::Renewed | Verdict::Ended => Status::Ok,
        Verdict::Gone(_) | Verdict::Full if gate => Status::Forbidden,
        Verdict::Unknown => Status::NotFound,
        Verdict::Gone(_) => Status::Gone,
        Verdict::Full => Status::Conflict,
        Verdict::Held => Status::Forbidden,
        Verdict::Unavailable => Status::ServiceUnavailable,
    }
}

/// Writes a command's problem, with the members that a client looks for in every response.
fn refusal(mut response: Response, settings: &Settings, entry: &Entry, batch: &Batch, status: Status) {
    let Entry { command, outcome } = entry;
    if outcome.verdict == Verdict::Unavailable {
        response.field("Retry-After", b"1");
    } else if outcome.wait > Millis::ZERO {
        response.field_with("Retry-After", |out| decimal::write(outcome.wait.secs_ceil(), out));
    }
    response.body(problem::MEDIA_TYPE, |out| {
        problem::begin(status, |out| detail(entry, batch, out), out);
        if outcome.verdict != Verdict::Unavailable {
            out.push(b',');
            three_members(settings, batch.arena.get(command.key), outcome, out);
        }
        match outcome.verdict {
            Verdict::Full => list(command.limit, outcome, batch, out),
            Verdict::Gone(Why::Stopped) => out.extend_from_slice(b",\"reason\":\"stopped\""),
            Verdict::Gone(Why::Replaced) => {
                out.extend_from_slice(b",\"reason\":\"replaced\",\"by\":{");
                name(batch.findings.arena.get(outcome.other), out);
                out.push(b'}');
            }
            Verdict::Gone(Why::Operator) => {
                out.extend_from_slice(b",\"reason\":\"operator\"");
                message(outcome, batch, out);
            }
            Verdict::Held => {
                out.extend_from_slice(b",\"reason\":\"held\"");
                message(outcome, batch, out);
            }
            _ => {}
        }
        out.push(b'}');
    });
}

/// Appends one sentence about a command that failed, as the inside of a JSON string.
fn detail(entry: &Entry, batch: &Batch, out: &mut Vec<u8>) {
    let Entry { command, outcome } = entry;
    let user = batch.arena.get(command.user);
    let about_user = |before: &str, after: &str, out: &mut Vec<u8>| {
        out.extend_from_slice(before.as_bytes());
        json::write_inside(user, out);
        out.extend_from_slice(after.as_bytes());
    };
    match outcome.verdict {
        Verdict::Full if command.limit == 0 => {
            about_user("", " may watch no stream at all; ask the operator to raise the limit.", out);
        }
        Verdict::Full => {
            about_user("", " is watching ", out);
            decimal::write(outcome.count.into(), out);
            out.extend_from_slice(b" of ");
            decimal::write(command.limit.into(), out);
            too_many(entry, out);
        }
        Verdict::Gone(why) => match why {
            Why::Stopped => out.extend_from_slice(b"This stream was stopped; POST to start it again."),
            Why::Replaced => {
                about_user("This stream gave way to another one of ", "; POST to start it again.", out);
            }
            Why::Operator => {
                out.extend_from_slice(b"The operator ended this stream; POST to start it again.");
            }
        },
        Verdict::Unknown => about_user("", " is not watching this stream; POST to start it.", out),
        Verdict::Held => {
            about_user("The operator keeps ", " out for now; try again after `Retry-After`.", out);
        }
        _ => out.extend_from_slice(b"The streams cannot be reached; try again in a second."),
    }
}

/// Appends what to do when the user is full.
fn too_many(Entry { command, outcome }: &Entry, out: &mut Vec<u8>) {
    let by_name = matches!(command.action.replaces(), Some(Replace::Stream(_)));
    if outcome.excess > 1 {
        out.extend_from_slice(b" streams; ");
        decimal::write(outcome.excess.into(), out);
        out.extend_from_slice(b" of them have to end before another one can play.");
    } else if by_name {
        out.extend_from_slice(b" streams, and the one to replace is not among them; name one that plays.");
    } else {
        out.extend_from_slice(b" streams; stop or replace one of them first.");
    }
}

/// Appends what only an operator is told: `heldFor`, and `message` where there is one, if the user is held; and `known` if the
/// credentials do not name the user.
fn for_operator(reader: Reader, outcome: &Outcome, batch: &Batch, out: &mut Vec<u8>) {
    let Reader::Operator { known } = reader else { return };
    if outcome.wait > Millis::ZERO {
        out.extend_from_slice(b",\"heldFor\":");
        decimal::write(outcome.wait.secs_ceil(), out);
        message(outcome, batch, out);
    }
    if known == Some(false) {
        out.extend_from_slice(b",\"known\":false");
    }
}

/// Appends the operator's `message`, if there is one.
fn message(outcome: &Outcome, batch: &Batch, out: &mut Vec<u8>) {
    if !outcome.other.is_empty() {
        out.extend_from_slice(b",\"message\":");
        json::write_string(batch.findings.arena.get(outcome.other), out);
    }
}

/// Appends `canWatch`, `endpoint` and `count`.
fn three_members(settings: &Settings, key: &[u8], outcome: &Outcome, out: &mut Vec<u8>) {
    out.extend_from_slice(if outcome.can_watch {
        b"\"canWatch\":true,\"endpoint\":"
    } else {
        b"\"canWatch\":false,\"endpoint\":"
    });
    if outcome.can_watch && !key.is_empty() {
        endpoint::write(&settings.endpoint, key, out);
    } else {
        out.extend_from_slice(b"null");
    }
    out.extend_from_slice(b",\"count\":");
    decimal::write(outcome.count.into(), out);
}

/// Appends `stream`, and `replaced` where another one gave way.
fn started(key: &[u8], outcome: &Outcome, batch: &Batch, out: &mut Vec<u8>) {
    if let [view] = batch.streams(outcome) {
        out.extend_from_slice(b",\"stream\":");
        stream(key, view, out);
    }
    if !outcome.other.is_empty() {
        out.extend_from_slice(b",\"replaced\":{");
        name(batch.findings.arena.get(outcome.other), out);
        out.push(b'}');
    }
}

/// Appends `limit` and `streams`.
fn list(limit: u32, outcome: &Outcome, batch: &Batch, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"limit\":");
    decimal::write(limit.into(), out);
    out.extend_from_slice(b",\"streams\":[");
    for (i, view) in batch.streams(outcome).iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        stream(batch.findings.arena.get(view.key), view, out);
    }
    out.push(b']');
}

/// Appends one stream. The key of `view` is `key`, or absent.
fn stream(key: &[u8], view: &StreamView, out: &mut Vec<u8>) {
    let StreamView { key: _, position, playing, expires_in } = view;
    out.push(b'{');
    name(key, out);
    out.extend_from_slice(b",\"time\":\"");
    position.write(out);
    out.extend_from_slice(if *playing {
        b"\",\"state\":\"playing\",\"expiresIn\":"
    } else {
        b"\",\"state\":\"paused\",\"expiresIn\":"
    });
    decimal::write(expires_in.secs_ceil(), out);
    out.push(b'}');
}

/// Appends `id`, and `device` where there is one.
fn name(key: &[u8], out: &mut Vec<u8>) {
    let (id, device) = id_and_device(key);
    out.extend_from_slice(b"\"id\":");
    json::write_string(id, out);
    if let Some(device) = device {
        out.extend_from_slice(b",\"device\":");
        json::write_string(device, out);
    }
}

/// Writes a response that needed no store; returns the status.
pub(super) fn reply(
    start: &mut ResponseStart,
    readiness: &dyn Readiness,
    texts: &Arena<Noted>,
    reply: Reply,
) -> Status {
    match reply {
        Reply::Problem(problem) => return self::problem(start, problem),
        Reply::Options(allow) => {
            let mut response = start.status(Status::NoContent);
            response.field("Allow", allow.as_bytes());
            response.without_body();
            return Status::NoContent;
        }
        Reply::Preflight(allow, names) => {
            preflight(start, allow, texts.get(names));
            return Status::NoContent;
        }
        Reply::Healthy => ok(start),
        Reply::Ready => match readiness.trouble() {
            Some(trouble) => return unready(start, &trouble),
            None => ok(start),
        },
        Reply::Page => {
            let mut response = start.status(Status::Ok);
            response.field("Content-Security-Policy", page::POLICY.as_bytes());
            response.field("X-Content-Type-Options", b"nosniff");
            response.field("Referrer-Policy", b"no-referrer");
            response.body("text/html; charset=utf-8", |out| out.extend_from_slice(page::TEXT.as_bytes()));
        }
    }
    Status::Ok
}

/// Writes what the observer has put together; returns the status.
pub(super) fn view(start: &mut ResponseStart, view: View, page: Option<&[u8]>) -> Status {
    let Some(page) = page else { return problem(start, Problem::Unobserved) };
    let media_type = match view {
        View::Metrics => metrics::MEDIA_TYPE,
        View::Stats | View::History => JSON,
    };
    start.status(Status::Ok).body(media_type, |out| out.extend_from_slice(page));
    Status::Ok
}

/// Grants all methods, also those that the path lacks: only then can a script read the 405.
fn preflight(start: &mut ResponseStart, allow: &str, names: &[u8]) {
    let mut response = start.status(Status::NoContent);
    if !allow.is_empty() {
        response.field("Allow", allow.as_bytes());
    }
    let usual = b"Authorization, Content-Type, X-Request-Id, traceparent";
    response.field("Access-Control-Allow-Methods", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    response.field("Access-Control-Allow-Headers", if names.is_empty() { usual } else { names });
    response.field("Access-Control-Max-Age", b"86400");
    response.without_body();
}

fn ok(start: &mut ResponseStart) {
    start.status(Status::Ok).body("text/plain; charset=utf-8", |out| out.extend_from_slice(b"ok"));
}

/// `trouble` says why, and what to do.
fn unready(start: &mut ResponseStart, trouble: &str) -> Status {
    let status = Status::ServiceUnavailable;
    let mut response = start.status(status);
    response.field("Retry-After", b"1");
    response.body(problem::MEDIA_TYPE, |out| {
        problem::begin(status, |out| json::write_inside(trouble.as_bytes(), out), out);
        out.push(b'}');
    });
    status
}

fn problem(start: &mut ResponseStart, problem: Problem) -> Status {
    let status = problem.status();
    let mut response = start.status(status);
    match problem {
        Problem::Credentials => {
            response.field("WWW-Authenticate", b"Basic realm=\"streamer\", charset=\"UTF-8\"");
        }
        Problem::Method(allow) => {
            response.field("Allow", allow.as_bytes());
        }
        Problem::MediaType(accept) | Problem::ContentCoding(accept) => {
            let (name, media_types) = accept.field();
            response.field(name, media_types.as_bytes());
        }
        Problem::NoCapacity | Problem::Unobserved => {
            response.field("Retry-After", b"1");
        }
        _ => {}
    }
    response.body(problem::MEDIA_TYPE, |out| {
        problem::begin(status, |out| problem.detail(out), out);
        out.push(b'}');
    });
    status
}
