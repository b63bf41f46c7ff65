//! Everything that can be wrong with a request, as `application/problem+json` (RFC 9457).
//!
//! *Invariant:* every problem has a status and one sentence that says what was wrong and what to do. (Tested by
//! `every_problem_is_one_json_sentence_that_says_what_to_do`.)

use std::io::Write;

use super::auth::Challenge;
use super::body::Accept;
use crate::codec::{append, json};
use crate::http::Refusal;
use crate::http::status::Status;

pub const MEDIA_TYPE: &str = "application/problem+json";

/// Makes [`Problem`] from one list, so that no problem can lack what the others have.
macro_rules! problems {
    ($($(#[$doc:meta])* $problem:ident $(($($part:ident: $type:ty),+))?, $status:expr, $($detail:expr),+;)+) => {
        /// What was wrong with a request, before any store was asked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Problem { $($(#[$doc])* $problem $(($($type),+))?,)+ }

        impl Problem {
            /// The status that answers it.
            #[allow(unused_variables, reason = "few statuses depend on what a problem holds")]
            pub fn status(self) -> Status {
                match self { $(Self::$problem $(($($part),+))? => $status,)+ }
            }

            /// Appends the sentence, as the inside of a JSON string.
            #[allow(unused_variables, reason = "few sentences have in them what a problem holds")]
            pub fn detail(self, out: &mut Vec<u8>) {
                // Writing to a vector cannot fail.
                let _ = match self { $(Self::$problem $(($($part),+))? => write!(out, $($detail),+),)+ };
            }
        }
    };
}

use Status::{
    BadRequest, Forbidden, MethodNotAllowed, NotFound, NotImplemented, RequestTimeout, ServiceUnavailable,
    Unauthorized, UnsupportedMediaType,
};

problems! {
    /// It could not be framed.
    Framing(refusal: Refusal), refusal.status(), "{}", refusal.detail();
    Truncated, BadRequest, "The request ended before it was complete; send all of it.";
    LateHead, RequestTimeout, "The head did not arrive within 10 seconds; send it at once.";
    LateBody, RequestTimeout, "The body did not arrive within 10 seconds; send it at once.";
    NoCapacity, ServiceUnavailable, "There are as many connections as there may be; try again later.";
    NoPath, NotFound, "There is nothing at this path; `/` is where to begin.";
    /// The path has these methods.
    Method(allow: &'static str), MethodNotAllowed, "This path does not have this method; it has {allow}.";
    UnknownMethod, NotImplemented, "This method is not implemented; use one that `OPTIONS` names, in capitals.";
    Credentials(challenge: Challenge), Unauthorized, "{}", challenge.detail();
    /// Good credentials, but not those of an administrator, or none at all from another machine.
    Forbidden, Forbidden, "This call is for loopback or for users marked `admin`; use one of them.";
    /// An operator's call over loopback, under a name that a web page could have brought there.
    ForeignHost, Forbidden, "Over loopback this call takes an address or localhost as Host; use one of them.";
    IdMissing, BadRequest, "The query has no `id`; say which video with `/?id=VIDEO`.";
    /// The server takes no player that names no `device`.
    DeviceMissing, BadRequest, "The query has no `device`; say which with `&device=DEVICE`.";
    QueryRepeated(name: &'static str), BadRequest, "The query has `{name}` more than once; give it once.";
    QueryEmpty(name: &'static str), BadRequest, "The query has an empty `{name}`; give it a value.";
    QueryTooLong(name: &'static str, most: usize), BadRequest, "`{name}` is longer than {most} bytes; shorten it.";
    QueryUtf8(name: &'static str), BadRequest, "`{name}` is not UTF-8; percent-encode its UTF-8 bytes.";
    QueryControl(name: &'static str), BadRequest, "`{name}` holds a control character; remove it.";
    QueryAlone(name: &'static str, other: &'static str), BadRequest,
        "`{name}` needs `{other}` beside it; give both.";
    QueryBeside(name: &'static str, other: &'static str), BadRequest,
        "`{name}` is for the whole user; leave `{other}` out.";
    QueryValue(name: &'static str), BadRequest, "`{name}` takes no value; write it alone, or leave it out.";
    QueryHold, BadRequest, "`hold` is no length of time up to 30 days; write 10m, 24h, or 0s to lift it.";
    QueryClasses, BadRequest,
        "`class` and the credentials name at most 4 different classes of a-z, 0-9 and -; mend it.";
    QueryPercent, BadRequest, "The query has a `%` without two hex digits; write %25 for it.";
    /// The user in the path is none.
    User, BadRequest, "The path has no valid user; write /users/ and the percent-encoded user.";
    /// `If-Match` is no list of entity tags.
    IfMatch, BadRequest, "`If-Match` is no list of tags; send back the `ETag` that the start was answered with.";
    MediaType(accept: Accept), UnsupportedMediaType,
        "The body has to be JSON; send `Content-Type: application/json`.";
    ContentCoding(accept: Accept), UnsupportedMediaType, "The body has a content coding; send it as plain JSON.";
    BodyJson(error: json::Error), BadRequest, "The body is {error}; send an object, {{}} at least.";
    BodyTime, BadRequest, r#"`time` is no position; write \"M:SS\", \"H:MM:SS\" or seconds."#;
    /// A start says `paused`.
    BodyPaused, BadRequest,
        r#"A stream starts playing; POST without `state`, then PATCH {{\"state\":\"paused\"}}."#;
    BodyState, BadRequest, r#"`state` is neither \"playing\" nor \"paused\"; write one of them."#;
    /// Two readers could pick different ones.
    BodyRepeated(name: &'static str), BadRequest, "The body has `{name}` more than once; give it once.";
}

impl Problem {
    /// Appends its name for the log: the variant's, or that of the refusal in it.
    pub fn name(self, out: &mut Vec<u8>) {
        let from = out.len();
        // Writing to a vector cannot fail.
        let _ = match self {
            Self::Framing(refusal) => write!(out, "{refusal:?}"),
            other => write!(out, "{other:?}"),
        };
        let len = out[from..].iter().position(|byte| !byte.is_ascii_alphanumeric());
        out.truncate(len.map_or(out.len(), |len| from + len));
    }
}

/// Appends the members that every problem has, `detail` given as the inside of a JSON string; the object stays open.
pub fn begin(status: Status, detail: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    append!(
        out,
        "{\"type\":\"about:blank\",\"title\":\"",
        status.reason(),
        "\",\"status\":",
        status.digits()
    );
    append!(out, ",\"detail\":\"");
    detail(out);
    append!(out, "\"");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json;

    #[test]
    fn a_name_is_one_word() {
        for (problem, expected) in [
            (Problem::Framing(Refusal::HostMissing), "HostMissing"),
            (Problem::LateBody, "LateBody"),
            (Problem::LateHead, "LateHead"),
            (Problem::Method("GET, HEAD"), "Method"),
            (Problem::IdMissing, "IdMissing"),
            (Problem::QueryTooLong("id", 256), "QueryTooLong"),
            (Problem::QueryPercent, "QueryPercent"),
            (Problem::BodyJson(json::any(b"{").unwrap_err()), "BodyJson"),
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
            Problem::LateBody,
            Problem::LateHead,
            Problem::NoCapacity,
            Problem::NoPath,
            Problem::Method("GET"),
            Problem::UnknownMethod,
            Problem::Credentials(Challenge::Basic),
            Problem::Credentials(Challenge::NotBearer),
            Problem::Credentials(Challenge::InvalidToken),
            Problem::Forbidden,
            Problem::ForeignHost,
            Problem::IdMissing,
            Problem::DeviceMissing,
            Problem::QueryRepeated("id"),
            Problem::QueryEmpty("id"),
            Problem::QueryTooLong("id", 256),
            Problem::QueryUtf8("id"),
            Problem::QueryControl("id"),
            Problem::QueryAlone("device", "id"),
            Problem::QueryPercent,
            Problem::QueryBeside("hold", "id"),
            Problem::QueryValue("switch"),
            Problem::QueryHold,
            Problem::QueryClasses,
            Problem::IfMatch,
            Problem::BodyPaused,
            Problem::User,
            Problem::MediaType(Accept::Post),
            Problem::ContentCoding(Accept::Patch),
            Problem::BodyJson(json_error),
            Problem::BodyTime,
            Problem::BodyState,
            Problem::BodyRepeated("time"),
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
