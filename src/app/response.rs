//! Outcomes and sayings as answers: status, fields and JSON, written straight into the connection's output.
//!
//! *Invariant:* `endpoint` is null exactly where `canWatch` is false, or where no single stream is meant.

use super::exchange::Noted;
use super::problem::{self, Problem};
use super::{Observer, Reply, Settings, View, endpoint, metrics, page};
use crate::codec::{decimal, json};
use crate::http::encode::{CommonFields, Persistence, Response};
use crate::http::status::Status;
use crate::streams::arena::Arena;
use crate::streams::batch::{
    Action, Batch, Entry, Found, Outcome, Replace, StreamView, Verdict, id_and_device,
};

const JSON: &str = "application/json";

/// All that an answer begins with but its status.
pub(super) struct ResponseStart<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) common: &'a CommonFields,
    pub(super) origin: &'a [u8],
    pub(super) request_id: &'a [u8],
    pub(super) persistence: Persistence,
    pub(super) head_only: bool,
}

impl ResponseStart<'_> {
    fn status(&mut self, status: Status) -> Response<'_> {
        let Self { common, origin, request_id, persistence, head_only, .. } = *self;
        Response::begin(self.out, status, common, origin, request_id, persistence, head_only)
    }
}

/// Writes what became of a command; returns the status.
pub(super) fn outcome(
    start: &mut ResponseStart,
    settings: &Settings,
    entry: &Entry,
    batch: &Batch,
) -> Status {
    let Entry { command, outcome } = entry;
    let key = batch.arena.get(command.key);
    let found = |out: &mut Vec<u8>| {
        out.push(b'{');
        three_members(settings, key, outcome, out);
    };
    let status = match outcome.verdict {
        Verdict::Started => Status::Created,
        Verdict::Info | Verdict::Renewed | Verdict::Ended => Status::Ok,
        Verdict::Unknown => Status::NotFound,
        Verdict::Gone => Status::Gone,
        Verdict::Full => Status::Conflict,
        Verdict::Unavailable => Status::ServiceUnavailable,
    };
    let mut answer = start.status(status);
    match outcome.verdict {
        Verdict::Started | Verdict::Renewed => {
            if status == Status::Created {
                answer.field_with("Location", |out| endpoint::write_location(key, out));
            }
            answer.content(JSON, |out| {
                found(out);
                started(key, outcome, &batch.findings.arena, out);
                out.push(b'}');
            });
        }
        Verdict::Info | Verdict::Ended if key.is_empty() => {
            answer.content(JSON, |out| {
                found(out);
                list(command.limit, batch.streams(outcome), &batch.findings.arena, out);
                out.push(b'}');
            });
        }
        Verdict::Info | Verdict::Ended => answer.content(JSON, |out| {
            found(out);
            out.push(b'}');
        }),
        Verdict::Unknown | Verdict::Gone | Verdict::Full | Verdict::Unavailable => {
            refusal(answer, settings, entry, batch, status);
        }
    }
    status
}

/// Writes a command's problem, with the members that a client looks for in every answer.
fn refusal(mut answer: Response, settings: &Settings, entry: &Entry, batch: &Batch, status: Status) {
    let Entry { command, outcome } = entry;
    let key = batch.arena.get(command.key);
    match outcome.verdict {
        Verdict::Full => {
            let secs = outcome.retry_after.secs_ceil().max(1);
            answer.field_with("Retry-After", |out| decimal::write(secs, out));
        }
        Verdict::Unavailable => {
            answer.field("Retry-After", b"1");
        }
        _ => {}
    }
    answer.content(problem::MEDIA_TYPE, |out| {
        problem::begin(status, |out| detail(entry, batch, out), out);
        if outcome.verdict != Verdict::Unavailable {
            out.push(b',');
            three_members(settings, key, outcome, out);
        }
        match outcome.verdict {
            Verdict::Full => list(command.limit, batch.streams(outcome), &batch.findings.arena, out),
            Verdict::Gone if outcome.other.is_empty() => out.extend_from_slice(b",\"reason\":\"stopped\""),
            Verdict::Gone => {
                out.extend_from_slice(b",\"reason\":\"replaced\",\"by\":{");
                name(batch.findings.arena.get(outcome.other), out);
                out.push(b'}');
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
    match outcome.verdict {
        Verdict::Full => {
            json::write_inside(user, out);
            out.extend_from_slice(b" is watching ");
            decimal::write(outcome.count.into(), out);
            out.extend_from_slice(b" of ");
            decimal::write(command.limit.into(), out);
            out.extend_from_slice(match command.action {
                Action::Start { replace: Replace::Stream(_), .. } => {
                    b" streams, and the one to replace is not among them; name one that plays."
                }
                _ => b" streams; stop or replace one of them first.",
            });
        }
        Verdict::Gone if outcome.other.is_empty() => {
            out.extend_from_slice(b"This stream was stopped; POST to start it again.");
        }
        Verdict::Gone => {
            out.extend_from_slice(b"This stream gave way to another one of ");
            json::write_inside(user, out);
            out.extend_from_slice(b"; POST to start it again.");
        }
        Verdict::Unknown => {
            json::write_inside(user, out);
            out.extend_from_slice(b" is not watching this stream; POST to start it.");
        }
        _ => out.extend_from_slice(b"The streams cannot be reached; try again in a second."),
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
fn started(key: &[u8], outcome: &Outcome, arena: &Arena<Found>, out: &mut Vec<u8>) {
    if let Some(shown) = &outcome.stream {
        out.extend_from_slice(b",\"stream\":");
        stream(key, shown, out);
    }
    if !outcome.other.is_empty() {
        out.extend_from_slice(b",\"replaced\":{");
        name(arena.get(outcome.other), out);
        out.push(b'}');
    }
}

/// Appends `limit` and `streams`.
fn list(limit: u32, streams: &[StreamView], arena: &Arena<Found>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"limit\":");
    decimal::write(limit.into(), out);
    out.extend_from_slice(b",\"streams\":[");
    for (i, shown) in streams.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        stream(arena.get(shown.key), shown, out);
    }
    out.push(b']');
}

fn stream(key: &[u8], shown: &StreamView, out: &mut Vec<u8>) {
    out.push(b'{');
    name(key, out);
    out.extend_from_slice(b",\"time\":\"");
    shown.position.write(out);
    out.extend_from_slice(if shown.playing {
        b"\",\"state\":\"playing\",\"expiresIn\":"
    } else {
        b"\",\"state\":\"paused\",\"expiresIn\":"
    });
    decimal::write(shown.expires_in.secs_ceil(), out);
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
    observer: &dyn Observer,
    texts: &Arena<Noted>,
    reply: Reply,
) -> Status {
    match reply {
        Reply::Problem(problem) => return self::problem(start, problem),
        Reply::Ready if !observer.is_ready() => return self::problem(start, Problem::Stopping),
        Reply::Options(allow) => {
            let mut answer = start.status(Status::NoContent);
            answer.field("Allow", allow.as_bytes());
            answer.without_content();
            return Status::NoContent;
        }
        Reply::Preflight(allow, names) => {
            preflight(start, allow, texts.get(names));
            return Status::NoContent;
        }
        Reply::Healthy | Reply::Ready => {
            start.status(Status::Ok).content("text/plain; charset=utf-8", |out| out.extend_from_slice(b"ok"));
        }
        Reply::Page => {
            let mut answer = start.status(Status::Ok);
            answer.field("Content-Security-Policy", page::POLICY.as_bytes());
            answer.field("X-Content-Type-Options", b"nosniff");
            answer.field("Referrer-Policy", b"no-referrer");
            answer.content("text/html; charset=utf-8", |out| out.extend_from_slice(page::TEXT.as_bytes()));
        }
    }
    Status::Ok
}

/// Writes what the observer has put together; returns the status.
pub(super) fn view(start: &mut ResponseStart, view: View, page: Option<&[u8]>) -> Status {
    let Some(page) = page else { return problem(start, Problem::Unobserved) };
    let media_type = match view {
        View::Metrics => metrics::MEDIA_TYPE,
        View::Stats => JSON,
    };
    start.status(Status::Ok).content(media_type, |out| out.extend_from_slice(page));
    Status::Ok
}

/// Grants all methods, also those that the path lacks: only then can a script read the 405.
fn preflight(start: &mut ResponseStart, allow: &str, names: &[u8]) {
    let mut answer = start.status(Status::NoContent);
    if !allow.is_empty() {
        answer.field("Allow", allow.as_bytes());
    }
    let usual = b"Authorization, Content-Type, X-Request-Id, traceparent";
    answer.field("Access-Control-Allow-Methods", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    answer.field("Access-Control-Allow-Headers", if names.is_empty() { usual } else { names });
    answer.field("Access-Control-Max-Age", b"86400");
    answer.without_content();
}

fn problem(start: &mut ResponseStart, problem: Problem) -> Status {
    let status = problem.status();
    let mut answer = start.status(status);
    match problem {
        Problem::Credentials => {
            answer.field("WWW-Authenticate", b"Basic realm=\"streamer\", charset=\"UTF-8\"");
        }
        Problem::Method(allow) => {
            answer.field("Allow", allow.as_bytes());
        }
        Problem::NoCapacity | Problem::Stopping | Problem::Unobserved => {
            answer.field("Retry-After", b"1");
        }
        _ => {}
    }
    answer.content(problem::MEDIA_TYPE, |out| {
        problem::begin(status, |out| problem.detail(out), out);
        out.push(b'}');
    });
    status
}
