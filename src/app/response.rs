//! Outcomes as responses: status, fields and JSON, written straight into the connection's output.
//!
//! *Invariant:* `endpoint` is null exactly where `canWatch` is false, or where no single stream is meant. (Tested
//! by `the_fourth_stream_is_refused_and_those_that_play_are_not`.)

use super::problem;
use crate::codec::append;
use crate::codec::json::{Inside, Quoted};
use crate::codec::urlencoded;
use crate::config::Config;
use crate::http::encode::{Response, ResponseStart};
use crate::http::status::Status;
use crate::streams::account::tag;
use crate::streams::batch::{
    Action, Batch, ClassFull, Ending, Entry, Replace, StreamView, Verdict, id_and_device,
};
use crate::streams::limits;
use crate::time::Millis;

/// The media type of what is no problem.
const JSON: &str = "application/json";

/// Who reads a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience<'a> {
    /// A client of the public listener, and the pass of the stream that it plays; empty for none.
    Player { pass: &'a [u8] },
    /// A client of the admin listener; whether the credentials name the user, if they name users, and whether the user's
    /// limit is known: one that a token carries is not.
    Operator { known: Option<bool>, has_limit: bool },
}

/// What became of a command, on its way to who asked.
pub(super) struct Answer<'a> {
    pub(super) config: &'a Config,
    pub(super) reader: Audience<'a>,
    pub(super) entry: &'a Entry,
    pub(super) batch: &'a Batch,
}

impl<'a> Answer<'a> {
    /// Writes the response; returns its status.
    pub(super) fn write(&self, start: &mut ResponseStart) -> Status {
        let Entry { command, outcome, .. } = self.entry;
        let (status, pass) = (self.status(), self.pass());
        let mut response = start.status(status);
        if let Some(view) = self.its_stream() {
            response.field("ETag", &tag(view.generation)[..]);
        }
        match outcome.verdict {
            Verdict::Started | Verdict::Renewed if status == Status::NoContent => {
                response.field("X-Stream-Count", outcome.count);
                response.field("X-Stream-Limit", command.limits.total);
                if !pass.is_empty() {
                    response.field("X-Stream-Pass", pass);
                }
                response.without_body();
            }
            Verdict::Started | Verdict::Renewed | Verdict::Info | Verdict::Ended => {
                if status == Status::Created {
                    response.field_with("Location", |out| location(self.key(), out));
                }
                response.body(JSON, |out| self.said(out));
            }
            _ => self.refusal(response, status),
        }
        status
    }

    fn key(&self) -> &'a [u8] {
        self.batch.arena.get(self.entry.command.key)
    }

    fn pass(&self) -> &'a [u8] {
        if let Audience::Player { pass } = self.reader { pass } else { b"" }
    }

    /// The one stream that it is about, if that is there.
    fn its_stream(&self) -> Option<&StreamView> {
        let Entry { command, outcome, .. } = self.entry;
        match (outcome.verdict, self.batch.streams(outcome)) {
            (Verdict::Started | Verdict::Renewed | Verdict::Info, [view])
                if !command.key.is_empty() && !outcome.notes.uncounted =>
            {
                Some(view)
            }
            _ => None,
        }
    }

    /// At the gate a proxy asks, and what it understands is yes and no: 2xx and 403.
    fn status(&self) -> Status {
        let gate = matches!(self.entry.command.action, Action::Gate { .. });
        match self.entry.outcome.verdict {
            Verdict::Started | Verdict::Renewed if gate => Status::NoContent,
            Verdict::Started => Status::Created,
            Verdict::Info | Verdict::Renewed | Verdict::Ended => Status::Ok,
            Verdict::Gone(_) | Verdict::Full if gate => Status::Forbidden,
            Verdict::Unknown => Status::NotFound,
            Verdict::Gone(_) => Status::Gone,
            Verdict::Full => Status::Conflict,
            Verdict::Held => Status::Forbidden,
            Verdict::Outdated => Status::PreconditionFailed,
            Verdict::Unavailable | Verdict::NoRoom => Status::ServiceUnavailable,
        }
    }

    /// Appends what is said of a command that was carried out.
    fn said(&self, out: &mut Vec<u8>) {
        let Entry { command, outcome, .. } = self.entry;
        append!(out, "{");
        self.three_members(out);
        if matches!(outcome.verdict, Verdict::Started | Verdict::Renewed) {
            if let [view] = self.batch.streams(outcome) {
                append!(out, ",\"stream\":");
                self.stream(self.key(), view, out);
            }
            if !self.pass().is_empty() {
                append!(out, ",\"pass\":\"", self.pass(), "\"");
            }
            self.other(",\"replaced\":{", out);
        } else if command.key.is_empty() {
            self.list(out);
            self.for_operator(out);
        }
        self.uncounted(out);
        append!(out, "}");
    }

    /// Writes a command's problem, with the members that a client looks for in every response.
    fn refusal(&self, mut response: Response, status: Status) {
        let outcome = &self.entry.outcome;
        let is_unavailable = status == Status::ServiceUnavailable;
        let wait = if is_unavailable { 1 } else { outcome.wait.secs_ceil() };
        if wait > 0 {
            response.field("Retry-After", wait);
        }
        response.body(problem::MEDIA_TYPE, |out| {
            problem::begin(status, |out| self.detail(out), out);
            if !is_unavailable {
                append!(out, ",");
                self.three_members(out);
            }
            match outcome.verdict {
                Verdict::Full => {
                    self.list(out);
                    self.rule(out);
                }
                Verdict::Gone(Ending::Stopped) => append!(out, ",\"reason\":\"stopped\""),
                Verdict::Gone(Ending::Operator) => {
                    append!(out, ",\"reason\":\"operator\"");
                    self.message(out);
                }
                Verdict::Gone(_) => {
                    append!(out, ",\"reason\":\"replaced\"");
                    self.other(",\"by\":{", out);
                }
                Verdict::Held => {
                    append!(out, ",\"reason\":\"held\"");
                    self.message(out);
                }
                _ => {}
            }
            self.uncounted(out);
            append!(out, "}");
        });
    }

    /// Appends that nobody has counted it, if so; but what asks for one video has three members.
    fn uncounted(&self, out: &mut Vec<u8>) {
        if self.entry.outcome.notes.uncounted && self.entry.command.action != Action::Look {
            append!(out, ",\"counted\":false");
        }
    }

    /// Appends `rule`, if it is a class that has no room.
    fn rule(&self, out: &mut Vec<u8>) {
        if let Some((class, limit)) = self.batch.class_full(self.entry) {
            append!(out, ",\"rule\":{\"class\":\"", class, "\",\"limit\":", limit);
            append!(out, ",\"count\":", self.playing(), "}");
        }
    }

    /// Appends one sentence about a command that failed, as the inside of a JSON string.
    fn detail(&self, out: &mut Vec<u8>) {
        let Entry { command, outcome, .. } = self.entry;
        let text = match outcome.verdict {
            Verdict::Full if command.limits.total == 0 => {
                "{} may watch no stream at all; ask the operator to raise the limit."
            }
            Verdict::Full => "{} is watching ",
            Verdict::Gone(Ending::Stopped) => "This stream was stopped; POST to start it again.",
            Verdict::Gone(Ending::Operator) => "The operator ended this stream; POST to start it again.",
            Verdict::Gone(_) => "This stream gave way to another one of {}; POST to start it again.",
            Verdict::Unknown if command.action == Action::End => {
                "{} is not watching this stream; there is nothing to end."
            }
            Verdict::Unknown => "{} is not watching this stream; POST to start it.",
            Verdict::Outdated => "{} has started this stream anew; leave it to the newer session.",
            Verdict::Held => "The operator keeps {} out for now; try again after `Retry-After`.",
            Verdict::NoRoom => "There are as many users as there may be; try again later.",
            _ => "The streams cannot be reached; try again in a second.",
        };
        match text.split_once("{}") {
            Some((before, after)) => append!(out, before, Inside(self.batch.arena.get(command.user)), after),
            None => append!(out, text),
        }
        if outcome.verdict == Verdict::Full && command.limits.total > 0 {
            self.too_many(out);
        }
    }

    /// Appends how full the user is, and what to do.
    fn too_many(&self, out: &mut Vec<u8>) {
        let Entry { command, outcome, .. } = self.entry;
        let (class, limit) = self.batch.class_full(self.entry).unwrap_or((b"", command.limits.total));
        append!(
            out,
            self.playing(),
            " of ",
            limit,
            if class.is_empty() { "" } else { " " },
            class,
            " streams"
        );
        let by_name = matches!(command.action.replaces(), Some(Replace::Stream(_)));
        let advice = match outcome.excess {
            _ if limit == 0 => "; ask the operator to raise the limit.",
            2.. => {
                append!(out, "; ", u32::from(outcome.excess));
                " of them have to end before another one can play."
            }
            _ if by_name => ", and the one to replace is not among them; name one that plays.",
            _ => "; stop or replace one of them first.",
        };
        append!(out, advice);
    }

    /// How many streams play, of that class if one is full.
    fn playing(&self) -> u32 {
        let outcome = &self.entry.outcome;
        outcome.class_full.map_or(outcome.count, |ClassFull { count, .. }| count.into())
    }

    /// Appends what only an operator is told: `heldFor`, and `message` where there is one, if the user is held; and `known` if
    /// the credentials do not name the user.
    fn for_operator(&self, out: &mut Vec<u8>) {
        let Audience::Operator { known, .. } = self.reader else { return };
        let wait = self.entry.outcome.wait;
        if wait > Millis::ZERO {
            append!(out, ",\"heldFor\":", wait.secs_ceil());
            self.message(out);
        }
        if known == Some(false) {
            append!(out, ",\"known\":false");
        }
    }

    /// Appends the operator's `message`, if there is one.
    fn message(&self, out: &mut Vec<u8>) {
        let message = self.batch.findings.arena.get(self.entry.outcome.other);
        if !message.is_empty() {
            append!(out, ",\"message\":", Quoted(message));
        }
    }

    /// Whether the user's limit is known.
    fn has_limit(&self) -> bool {
        !matches!(self.reader, Audience::Operator { has_limit: false, .. })
    }

    /// Appends `canWatch`, `endpoint` and `count`.
    fn three_members(&self, out: &mut Vec<u8>) {
        let outcome = &self.entry.outcome;
        // Of who is held, no limit need be known.
        let is_known = self.has_limit() || outcome.wait > Millis::ZERO;
        append!(
            out,
            match outcome.can_watch {
                _ if !is_known => "\"canWatch\":null,\"endpoint\":",
                true => "\"canWatch\":true,\"endpoint\":",
                false => "\"canWatch\":false,\"endpoint\":",
            }
        );
        let key = self.key();
        if outcome.can_watch && is_known && !key.is_empty() {
            // A JSON string as it is: percent-encoding leaves nothing to escape, and a template has nothing of the kind.
            let (id, device) = id_and_device(key);
            append!(out, "\"");
            self.config.endpoint.write(id, device, self.pass(), out);
            append!(out, "\",\"count\":", outcome.count);
        } else {
            append!(out, "null,\"count\":", outcome.count);
        }
    }

    /// Appends the other stream, if there is one.
    fn other(&self, before: &str, out: &mut Vec<u8>) {
        let key = self.batch.findings.arena.get(self.entry.outcome.other);
        if !key.is_empty() {
            append!(out, before);
            name(key, out);
            append!(out, "}");
        }
    }

    /// Appends `limit`, as far as it is known, and `streams`.
    fn list(&self, out: &mut Vec<u8>) {
        let Entry { command, outcome, .. } = self.entry;
        append!(out, ",\"limit\":");
        if self.has_limit() {
            append!(out, command.limits.total);
        } else {
            append!(out, "null");
        }
        append!(out, ",\"streams\":[");
        for (i, view) in self.batch.streams(outcome).iter().enumerate() {
            append!(out, if i > 0 { "," } else { "" });
            self.stream(self.batch.findings.arena.get(view.key), view, out);
        }
        append!(out, "]");
    }

    /// Appends one stream. The key of `view` is `key`, or absent.
    fn stream(&self, key: &[u8], view: &StreamView, out: &mut Vec<u8>) {
        append!(out, "{");
        name(key, out);
        for (i, class) in limits::classes(self.batch.findings.arena.get(view.classes)).enumerate() {
            append!(out, if i == 0 { ",\"class\":[\"" } else { "\",\"" }, class);
        }
        if !view.classes.is_empty() {
            append!(out, "\"]");
        }
        append!(out, ",\"time\":\"");
        view.position.write(out);
        let state = if view.playing {
            "\",\"state\":\"playing\",\"expiresIn\":"
        } else {
            "\",\"state\":\"paused\",\"expiresIn\":"
        };
        append!(out, state, view.expires_in.secs_ceil(), "}");
    }
}

/// Appends `id`, and `device` where there is one.
pub(super) fn name(key: &[u8], out: &mut Vec<u8>) {
    let (id, device) = id_and_device(key);
    append!(out, "\"id\":", Quoted(id));
    if let Some(device) = device {
        append!(out, ",\"device\":", Quoted(device));
    }
}

/// Appends the path and query of the stream with this key.
fn location(key: &[u8], out: &mut Vec<u8>) {
    let (id, device) = id_and_device(key);
    append!(out, "/?id=");
    urlencoded::encode(id, out);
    if let Some(device) = device {
        append!(out, "&device=");
        urlencoded::encode(device, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_names_the_stream_itself() {
        for (key, expected) in [(&b"V"[..], "/?id=V"), (b"a&b\0t=v", "/?id=a%26b&device=t%3Dv")] {
            let mut out = Vec::new();
            location(key, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
