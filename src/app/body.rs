//! The body of POST and PATCH: a small JSON object, every member of it optional.
//!
//! *Invariant:* a body that is not what the contract says never becomes a command. (Tested by
//! `says_what_is_wrong`.)

use super::problem::Problem;
use crate::codec::json::{self, Value};
use crate::streams::position::Position;

/// What a body says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamUpdate {
    /// `time`.
    pub position: Option<Position>,
    /// `state`: true for `playing`, false for `paused`.
    pub playing: Option<bool>,
}

/// What a method takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// JSON.
    Post,
    /// JSON, also as the JSON merge patch (RFC 7396) that it is.
    Patch,
}

impl Accept {
    /// The field of a 415 that says so (W3C Linked Data Platform section 7.1; RFC 5789 section 3.1).
    pub fn field(self) -> (&'static str, &'static str) {
        match self {
            Self::Post => ("Accept-Post", "application/json"),
            Self::Patch => ("Accept-Patch", "application/json, application/merge-patch+json"),
        }
    }
}

/// Whether the value of a field `Content-Type` is one of the media types, with or without `charset=utf-8`. None at all
/// is taken as JSON (RFC 9110 section 8.3 leaves that to the recipient).
///
/// ```text
/// media-type = type "/" subtype parameters     parameters = *( OWS ";" OWS [ parameter ] )   ; RFC 9110 section 8.3.1
/// ```
pub fn is_json(content_type: &[u8], accept: Accept) -> bool {
    if content_type == b"application/json" {
        return true;
    }
    let (_, media_types) = accept.field();
    let taken =
        |named: &[u8]| media_types.split(", ").any(|known| named.eq_ignore_ascii_case(known.as_bytes()));
    let mut parts = content_type.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    match parts.next() {
        None | Some(b"") => return content_type.is_empty(),
        Some(media_type) if !taken(media_type) => return false,
        Some(_) => {}
    }
    parts.all(|parameter| {
        let Some(equals) = parameter.iter().position(|&byte| byte == b'=') else {
            return parameter.is_empty();
        };
        let (name, value) = (&parameter[..equals], &parameter[equals + 1..]);
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        !name.eq_ignore_ascii_case(b"charset") || value.eq_ignore_ascii_case(b"utf-8")
    })
}

impl StreamUpdate {
    /// Decodes `body`; nothing at all is an object without members.
    /// An error is the first [`Problem`]; that it is no JSON comes before all others.
    pub fn decode(body: &[u8]) -> Result<Self, Problem> {
        let mut update = Self::default();
        let mut fault = None;
        let (mut time, mut state) = (false, false);
        if body.is_empty() {
            return Ok(update);
        }
        json::members(body, |name, value| {
            let taken = if name.is("time") {
                take(&mut time, &mut update.position, "time", position(value), Problem::BodyTime)
            } else if name.is("state") {
                take(&mut state, &mut update.playing, "state", playing(value), Problem::BodyState)
            } else {
                Ok(())
            };
            if let Err(problem) = taken {
                fault.get_or_insert(problem);
            }
        })
        .map_err(Problem::BodyJson)?;
        fault.map_or(Ok(update), Err)
    }
}

/// Sets what a member says. `read` is `Some(None)` for null, which counts as absent, and `None` for what makes no sense.
fn take<T>(
    seen: &mut bool,
    member: &mut Option<T>,
    name: &'static str,
    read: Option<Option<T>>,
    wrong: Problem,
) -> Result<(), Problem> {
    if std::mem::replace(seen, true) {
        return Err(Problem::BodyRepeated(name));
    }
    *member = read.ok_or(wrong)?;
    Ok(())
}

fn position(value: Value) -> Option<Option<Position>> {
    let position = match value {
        Value::Null => return Some(None),
        Value::Number(number) => Position::parse(number),
        Value::String(text) => match text.plain() {
            Some(plain) => Position::parse(plain),
            // No player escapes anything in a position, so that this may allocate.
            None => Position::parse(&text.chars().collect::<String>()),
        },
        _ => None,
    };
    position.map(Some)
}

fn playing(value: Value) -> Option<Option<bool>> {
    match value {
        Value::Null => Some(None),
        Value::String(text) if text.is("playing") => Some(Some(true)),
        Value::String(text) if text.is("paused") => Some(Some(false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_json_under_its_own_name_alone() {
        for (content_type, expected) in [
            ("", true),
            ("application/json", true),
            ("Application/JSON", true),
            ("application/json; charset=utf-8", true),
            ("application/json;charset=UTF-8", true),
            ("application/json ; charset=\"utf-8\"", true),
            ("application/json;", true),
            ("application/json; version=1", true),
            ("application/json; charset=latin1", false),
            ("application/json; charset=", false),
            ("application/json; charset", false),
            ("application/jsonp", false),
            ("application/x-www-form-urlencoded", false),
            ("application/merge-patch+json; charset=latin1", false),
            ("text/plain", false),
            ("json", false),
            (";", false),
        ] {
            for accept in [Accept::Post, Accept::Patch] {
                assert_eq!(is_json(content_type.as_bytes(), accept), expected, "{content_type}");
            }
        }
        for content_type in ["application/merge-patch+json", "Application/Merge-Patch+JSON;charset=utf-8"] {
            assert!(is_json(content_type.as_bytes(), Accept::Patch), "{content_type}");
            assert!(!is_json(content_type.as_bytes(), Accept::Post), "{content_type}");
        }
    }

    #[track_caller]
    fn check(body: &str, expected: Result<(Option<u32>, Option<bool>), Problem>) {
        let decoded = StreamUpdate::decode(body.as_bytes());
        assert_eq!(decoded.map(|body| (body.position.map(Position::secs), body.playing)), expected, "{body}");
    }

    #[test]
    fn reads_time_and_state_and_ignores_the_rest() {
        for (body, position, playing) in [
            ("", None, None),
            ("{}", None, None),
            (r#"{"time":"1:00"}"#, Some(60), None),
            (r#" { "time" : 75.5 } "#, Some(75), None),
            (r#"{"time":"1:0\u0030"}"#, Some(60), None),
            (r#"{"t\u0069me":"1:00"}"#, Some(60), None),
            (r#"{"time":"99:59:59"}"#, Some(359_999), None),
            (r#"{"time":"100:00:00"}"#, Some(360_000), None),
            (r#"{"time":"00:01:00.000"}"#, Some(60), None),
            (r#"{"time":"75"}"#, Some(75), None),
            (r#"{"time":"1:00\u002e5"}"#, Some(60), None),
            (r#"{"time":1558804912.387}"#, Some(1_558_804_912), None),
            (r#"{"time":-0.04}"#, Some(0), None),
            (r#"{"time":1e300}"#, Some(u32::MAX), None),
            (r#"{"time":null}"#, None, None),
            (r#"{"state":null,"time":1}"#, Some(1), None),
            (r#"{"state":"playing"}"#, None, Some(true)),
            (r#"{"state":"paused","time":0,"Time":"x","x":[{"time":1}]}"#, Some(0), Some(false)),
        ] {
            check(body, Ok((position, playing)));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (body, fault) in [
            (r#"{"time":"1:0"}"#, Problem::BodyTime),
            (r#"{"time":"99:59:599"}"#, Problem::BodyTime),
            (r#"{"time":"99:59:59x"}"#, Problem::BodyTime),
            (r#"{"time":null,"time":1}"#, Problem::BodyRepeated("time")),
            (r#"{"state":null,"state":"paused"}"#, Problem::BodyRepeated("state")),
            (r#"{"time":"abc"}"#, Problem::BodyTime),
            (r#"{"time":"1:60"}"#, Problem::BodyTime),
            (r#"{"time":true}"#, Problem::BodyTime),
            (r#"{"time":["1:00"]}"#, Problem::BodyTime),
            (r#"{"time":"€"}"#, Problem::BodyTime),
            (r#"{"state":"stopped"}"#, Problem::BodyState),
            (r#"{"state":1}"#, Problem::BodyState),
            (r#"{"time":1,"time":1}"#, Problem::BodyRepeated("time")),
            (r#"{"state":"paused","state":"paused"}"#, Problem::BodyRepeated("state")),
            (r#"{"time":"x","state":"x"}"#, Problem::BodyTime),
            (r#"["time"]"#, Problem::BodyJson(json::Error::NotAnObject)),
        ] {
            check(body, Err(fault));
        }
        for body in ["{", r#"{"time":"x""#, "{} x", "\u{feff}{}", " "] {
            assert!(matches!(StreamUpdate::decode(body.as_bytes()), Err(Problem::BodyJson(_))), "{body}");
        }
    }
}
