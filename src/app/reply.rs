//! Responses that need no store: status, fields and what there is to say.

use super::Site;
use super::problem::{self, Problem};
use crate::codec::append;
use crate::codec::json::Inside;
use crate::http::encode::ResponseStart;
use crate::http::status::Status;

/// That all is well; or why not, and what to do, if what is wrong keeps requests from being served.
pub(super) fn ready(start: &mut ResponseStart, site: &Site) -> Status {
    let trouble = match site.trouble() {
        // Whoever comes is served all the same.
        Some(_) if site.is_lenient() => return text(start, "degraded"),
        Some(trouble) => trouble,
        None => return text(start, "ok"),
    };
    let mut response = start.status(Status::ServiceUnavailable);
    response.field("Retry-After", "1");
    response.body(problem::MEDIA_TYPE, |out| {
        problem::begin(Status::ServiceUnavailable, |out| append!(out, Inside(trouble.as_bytes())), out);
        append!(out, "}");
    });
    Status::ServiceUnavailable
}

pub(super) fn text(start: &mut ResponseStart, text: &str) -> Status {
    start.status(Status::Ok).body("text/plain; charset=utf-8", |out| append!(out, text));
    Status::Ok
}

pub(super) fn options(start: &mut ResponseStart, allow: &str) -> Status {
    let mut response = start.status(Status::NoContent);
    response.field("Allow", allow);
    response.without_body();
    Status::NoContent
}

/// Grants all methods, also those that the path lacks: only then can a script read the 405.
pub(super) fn preflight(start: &mut ResponseStart, allow: &str, names: &[u8]) -> Status {
    let mut response = start.status(Status::NoContent);
    if !allow.is_empty() {
        response.field("Allow", allow);
    }
    let usual = b"Authorization, Content-Type, If-Match, X-Request-Id, traceparent";
    response.field("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    response.field("Access-Control-Allow-Headers", if names.is_empty() { usual } else { names });
    response.field("Access-Control-Max-Age", "86400");
    response.without_body();
    Status::NoContent
}

/// What is wrong with a request that the store is not asked about.
pub(super) fn problem(start: &mut ResponseStart, problem: Problem) -> Status {
    let status = problem.status();
    let mut response = start.status(status);
    match problem {
        Problem::Credentials(challenge) => {
            response.field("WWW-Authenticate", "Basic realm=\"streamer\", charset=\"UTF-8\"");
            if let Some(bearer) = challenge.bearer() {
                response.field("WWW-Authenticate", bearer);
            }
        }
        Problem::Method(allow) => response.field("Allow", allow),
        Problem::MediaType(accept) | Problem::ContentCoding(accept) => {
            let (name, media_types) = accept.field();
            response.field(name, media_types);
        }
        Problem::NoCapacity => response.field("Retry-After", "1"),
        _ => {}
    }
    response.body(problem::MEDIA_TYPE, |out| {
        problem::begin(status, |out| problem.detail(out), out);
        append!(out, "}");
    });
    status
}
