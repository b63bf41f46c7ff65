//! Everything that can be wrong with a request, as `application/problem+json` (RFC 9457).
//!
//! *Invariant:* every problem has a status and one sentence that says what was wrong and what to do.

use std::fmt;
use std::io::Write;

use super::body::{Accept, BodyError};
use super::query::QueryError;
use crate::http::Refusal;
use crate::http::status::Status;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What was wrong with a request, before any store was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It could not be framed.
    Framing(Refusal),
    /// It ended before it was complete.
    Truncated,
    /// It did not arrive in time: the head, or else the body.
    Late {
        /// Whether the body is what was missing.
        body: bool,
    },
    /// There are as many connections as there may be.
    NoCapacity,
    /// No such path.
    NoPath,
    /// The path has no such method; its methods are these.
    Method(&'static str),
    /// No standard knows the method.
    UnknownMethod,
    /// No credentials, or wrong ones.
    Credentials,
    /// Good credentials, but not those of an administrator, or none at all from another machine.
    Forbidden,
    /// An operator's call over loopback, under a name that a web page could have brought there.
    ForeignHost,
    /// The call needs an `id`.
    IdMissing,
    /// The query is wrong.
    Query(QueryError),
    /// The user in the path is none.
    User,
    /// The body is not JSON by its type.
    MediaType(Accept),
    /// The body is compressed.
    ContentCoding(Accept),
    /// The body is wrong.
    Body(BodyError),
    /// The observer has too much to do, or has gone.
    Unobserved,
}

impl Problem {
    /// The status that answers it.
    pub fn status(self) -> Status {
        match self {
            Self::Framing(refusal) => refusal.status(),
            Self::Late { .. } => Status::RequestTimeout,
            Self::NoCapacity | Self::Unobserved => Status::ServiceUnavailable,
            Self::NoPath => Status::NotFound,
            Self::Method(_) => Status::MethodNotAllowed,
            Self::UnknownMethod => Status::NotImplemented,
            Self::Credentials => Status::Unauthorized,
            Self::Forbidden | Self::ForeignHost => Status::Forbidden,
            Self::MediaType(_) | Self::ContentCoding(_) => Status::UnsupportedMediaType,
            Self::Truncated | Self::IdMissing | Self::Query(_) | Self::User | Self::Body(_) => {
                Status::BadRequest
            }
        }
    }

    /// Appends its name for the log, one word: the variant's, and that of the enum in it.
    pub fn name(self, out: &mut Vec<u8>) {
        match self {
            Self::Framing(refusal) => first_word(&refusal, out),
            Self::Late { body: false } => out.extend_from_slice(b"LateHead"),
            Self::Late { body: true } => out.extend_from_slice(b"LateBody"),
            Self::Query(error) => {
                out.extend_from_slice(b"Query");
                first_word(&error, out);
            }
            Self::Body(error) => {
                out.extend_from_slice(b"Body");
                first_word(&error, out);
            }
            other => first_word(&other, out),
        }
    }

    /// Appends the sentence, as the inside of a JSON string.
    pub fn detail(self, out: &mut Vec<u8>) {
        let text = match self {
            Self::Framing(refusal) => refusal.detail(),
            Self::Truncated => "The request ended before it was complete; send all of it.",
            Self::Late { body: false } => "The head did not arrive within 10 seconds; send it at once.",
            Self::Late { body: true } => "The body did not arrive within 10 seconds; send it at once.",
            Self::NoCapacity => "There are as many connections as there may be; try again later.",
            Self::NoPath => "There is nothing at this path; `/` is where to begin.",
            Self::Method(_) => "This path does not have this method; `Allow` names those it has.",
            Self::UnknownMethod => {
                "This method is not implemented; use one that `OPTIONS` names, in capitals."
            }
            Self::Credentials => {
                "Valid credentials are needed; send `Authorization: Basic` with user and token."
            }
            Self::Forbidden => "This call is for loopback or for users marked `admin`; use one of them.",
            Self::ForeignHost => {
                "Over loopback this call takes an address or localhost as Host; use one of them."
            }
            Self::IdMissing => "The query has no `id`; say which video with `/?id=VIDEO`.",
            Self::Query(error) => return query_detail(error, out),
            Self::User => "The path has no valid user; write /users/ and the percent-encoded user.",
            Self::MediaType(_) => "The body has to be JSON; send `Content-Type: application/json`.",
            Self::ContentCoding(_) => "The body has a content coding; send it as plain JSON.",
            Self::Body(error) => return body_detail(error, out),
            Self::Unobserved => "This page could not be put together in time; try again in a second.",
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// Appends the name of a variant without what it holds.
fn first_word(variant: &dyn fmt::Debug, out: &mut Vec<u8>) {
    let from = out.len();
    // Writing to a vector cannot fail.
    let _ = write!(out, "{variant:?}");
    let len = out[from..].iter().position(|byte| !byte.is_ascii_alphanumeric());
    out.truncate(len.map_or(out.len(), |len| from + len));
}

fn query_detail(error: QueryError, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = match error {
        QueryError::Repeated(name) => write!(out, "The query has `{name}` more than once; give it once."),
        QueryError::Empty(name) => write!(out, "The query has an empty `{name}`; give it a value."),
        QueryError::Utf8(name) => write!(out, "`{name}` is not UTF-8; percent-encode its UTF-8 bytes."),
        QueryError::Control(name) => write!(out, "`{name}` holds a control character; remove it."),
        QueryError::Percent => write!(out, "The query has a `%` without two hex digits; write %25 for it."),
        QueryError::Alone(name, other) => write!(out, "`{name}` needs `{other}` beside it; give both."),
        QueryError::Beside(name, other) => {
            write!(out, "`{name}` is for the whole user; leave `{other}` out.")
        }
        QueryError::Value(name) => write!(out, "`{name}` takes no value; write it alone, or leave it out."),
        QueryError::Hold => {
            write!(out, "`hold` is no length of time up to 30 days; write 10m, 24h, or 0s to lift it.")
        }
        QueryError::TooLong(name, most) => {
            write!(out, "`{name}` is longer than {most} bytes; shorten it.")
        }
    };
}

fn body_detail(error: BodyError, out: &mut Vec<u8>) {
    let _ = match error {
        BodyError::Time => {
            write!(out, r#"`time` is no position; write \"M:SS\", \"H:MM:SS\" or seconds."#)
        }
        BodyError::State => {
            write!(out, r#"`state` is neither \"playing\" nor \"paused\"; write one of them."#)
        }
        BodyError::Repeated(name) => write!(out, "The body has `{name}` more than once; give it once."),
        BodyError::Json(error) => write!(out, "The body is {error}; send an object, {{}} at least."),
    };
}

/// Appends the members that every problem has, `detail` given as the inside of a JSON string; the object stays open.
pub fn begin(status: Status, detail: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"about:blank\",\"title\":\"");
    out.extend_from_slice(status.reason().as_bytes());
    out.extend_from_slice(b"\",\"status\":");
    out.extend_from_slice(status.digits().as_bytes());
    out.extend_from_slice(b",\"detail\":\"");
    detail(out);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json;

    #[test]
    fn a_name_is_one_word() {
        for (problem, expected) in [
            (Problem::Framing(Refusal::HostMissing), "HostMissing"),
            (Problem::Late { body: true }, "LateBody"),
            (Problem::Late { body: false }, "LateHead"),
            (Problem::Method("GET, HEAD"), "Method"),
            (Problem::IdMissing, "IdMissing"),
            (Problem::Query(QueryError::TooLong("id", 256)), "QueryTooLong"),
            (Problem::Query(QueryError::Percent), "QueryPercent"),
            (Problem::Body(BodyError::Json(json::any(b"{").unwrap_err())), "BodyJson"),
        ] {
            let mut out = b"400 ".to_vec();
            problem.name(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("400 {expected}"));
        }
    }

    #[test]
    fn every_problem_is_one_json_sentence_that_says_what_to_do() {
        let json_error = json::any(b"{").unwrap_err();
        for problem in [
            Problem::Framing(Refusal::HostMissing),
            Problem::Truncated,
            Problem::Late { body: true },
            Problem::Late { body: false },
            Problem::NoCapacity,
            Problem::NoPath,
            Problem::Method("GET"),
            Problem::UnknownMethod,
            Problem::Credentials,
            Problem::Forbidden,
            Problem::ForeignHost,
            Problem::IdMissing,
            Problem::Query(QueryError::Repeated("id")),
            Problem::Query(QueryError::Empty("id")),
            Problem::Query(QueryError::TooLong("id", 256)),
            Problem::Query(QueryError::Utf8("id")),
            Problem::Query(QueryError::Control("id")),
            Problem::Query(QueryError::Alone("device", "id")),
            Problem::Query(QueryError::Percent),
            Problem::Query(QueryError::Beside("hold", "id")),
            Problem::Query(QueryError::Value("switch")),
            Problem::Query(QueryError::Hold),
            Problem::User,
            Problem::MediaType(Accept::Post),
            Problem::ContentCoding(Accept::Patch),
            Problem::Body(BodyError::Json(json_error)),
            Problem::Body(BodyError::Time),
            Problem::Body(BodyError::State),
            Problem::Body(BodyError::Repeated("time")),
            Problem::Unobserved,
        ] {
            let mut out = Vec::new();
            begin(problem.status(), |out| problem.detail(out), &mut out);
            out.push(b'}');
            json::any(&out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.ends_with(".\"}") && text.contains("; "), "{text}");
        }
    }
}
