//! What the steps 6 to 9 have made, as it stands there: a request becomes a command, an outcome becomes an answer.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use super::account::{Account, Command, Outcome};
use super::http::{Answer, BAD, Request, is_word, problem, user};

const LIMIT: usize = 3;

/// What each user watches.
pub type Users = Mutex<HashMap<String, Account>>;

pub fn answer(request: &Request, users: &Users, now: Instant) -> Answer {
    let Some(user) = user(request) else { return problem("401 Unauthorized") };
    let id = match request.parameter("id") {
        Some(id) if is_word(id) => id,
        _ => return problem(BAD),
    };
    let command = match request.method.as_str() {
        "GET" => Command::Ask,
        "POST" => Command::Start { replace: request.parameter("replace") },
        "PATCH" => Command::Renew,
        "DELETE" => Command::End,
        _ => return problem("405 Method Not Allowed"),
    };
    let outcome = users.lock().unwrap().entry(user).or_default().apply(now, LIMIT, &command, id);
    match outcome {
        Outcome::Done { count, can_watch } => view("200 OK", id, count, can_watch),
        Outcome::Started { count } => view("201 Created", id, count, true),
        Outcome::Full { streams } => full(&streams),
        Outcome::Ended(reason) => gone(reason),
        Outcome::Unknown => problem("404 Not Found"),
    }
}

fn view(status: &'static str, id: &str, count: usize, can_watch: bool) -> Answer {
    let endpoint = if can_watch { format!(r#""/?id={id}""#) } else { "null".into() };
    (status, format!(r#"{{"canWatch":{can_watch},"endpoint":{endpoint},"count":{count}}}"#))
}

fn full(streams: &[String]) -> Answer {
    let count = streams.len();
    let streams = streams.join(r#"",""#);
    let body = format!(
        r#"{{"title":"Conflict","status":409,"canWatch":false,"endpoint":null,"count":{count},"streams":["{streams}"]}}"#
    );
    ("409 Conflict", body)
}

fn gone(reason: &str) -> Answer {
    ("410 Gone", format!(r#"{{"title":"Gone","status":410,"reason":"{reason}"}}"#))
}
