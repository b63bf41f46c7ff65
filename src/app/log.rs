//! The access log: one line a request, from its arrival to its response.
//!
//! ```text
//! 2026-11-23T12:00:00.123Z 127.0.0.1:52514 public "9f3c01aa5b7d2e6000000001" "POST /?id=V" "alice" 201 - 1 85us
//! time                     peer            side   request id                 request       user    status problem count duration
//! ```
//!
//! The side is the listener that the request came through; a problem is named as [`Problem`], or the refusal in it, names it.
//! What is absent is `-`. Behind it stands what few lines have, as `operator="ops"`. With `--log json` the same as an object.
//!
//! *Invariant:* a line is one line of at most [`MAX_LINE`] bytes: whatever a client sends stands escaped between
//! quotes, and no secret is in it. (Tested by `the_longest_line_fits_into_a_pipe_at_once` and
//! `failures_are_counted_by_cause_and_no_secret_is_written_down`.)

use core::net::SocketAddr;
use std::io::Write;

use super::exchange::Side;
use super::problem::Problem;
use crate::codec::json::{Inside, Quoted};
use crate::codec::{Append, append};
use crate::config::LogFormat;
use crate::http::status::Status;
use crate::streams::batch::Lack;
use crate::time::{self, Timestamp};

pub struct LogEntry<'a> {
    pub arrived: Timestamp,
    pub peer: SocketAddr,
    /// The listener that it came through.
    pub side: Side,
    /// Its id, taken from the client or made.
    pub request_id: &'a [u8],
    /// Method and target as sent, visible ASCII; empty when there was no request line.
    pub request: &'a [u8],
    /// Who asked, or is asked about; empty when that is not known.
    pub user: &'a [u8],
    /// The status of its response.
    pub status: Status,
    /// What was wrong with it, before any store was asked.
    pub problem: Option<Problem>,
    /// Why the store has not carried it out.
    pub lack: Option<Lack>,
    /// How many streams the user plays; None where no store was asked.
    pub count: Option<u32>,
    /// From its first byte to its response, in microseconds.
    pub micros: u64,
    /// The class that was full; empty for none.
    pub class: &'a [u8],
    /// Who has shown an operator's credentials; empty where none were needed.
    pub operator: &'a [u8],
    /// The origin of a script that may not read the response; empty for none.
    pub origin: &'a [u8],
    /// `traceparent`; empty when absent.
    pub traceparent: &'a [u8],
}

/// Bytes of a line. So many a pipe takes whole or not at all (pipe(7)).
pub const MAX_LINE: usize = 4096;
/// Bytes of a request between its quotes, escapes and all; what is longer is cut.
const MAX_REQUEST: usize = 1700;
/// The same of every other text. A user of 256 quotation marks fits.
const MAX_TEXT: usize = 512;

/// The date of the last line: many lines have the same, and then it is copied.
#[derive(Debug, Default)]
pub struct LastDate {
    at: Option<Timestamp>,
    text: Vec<u8>,
}

impl LastDate {
    fn write(&mut self, at: Timestamp, out: &mut Vec<u8>) {
        if self.at != Some(at) {
            self.at = Some(at);
            self.text.clear();
            time::rfc3339(at, &mut self.text);
        }
        out.extend_from_slice(&self.text);
    }
}

impl LogEntry<'_> {
    /// Appends the line with its line feed.
    pub fn write(&self, format: LogFormat, date: &mut LastDate, out: &mut Vec<u8>) {
        match format {
            LogFormat::Text | LogFormat::Off => self.write_text(date, out),
            LogFormat::Json => self.write_json(date, out),
        }
    }

    fn write_text(&self, date: &mut LastDate, out: &mut Vec<u8>) {
        date.write(self.arrived, out);
        append!(out, " ");
        write_peer(self.peer, out);
        append!(out, " ", side(self.side));
        for (text, most) in [(self.request_id, MAX_TEXT), (self.request, MAX_REQUEST), (self.user, MAX_TEXT)]
        {
            append!(out, " ");
            if text.is_empty() { append!(out, "-") } else { quoted(text, most, out) }
        }
        append!(out, " ", self.status.digits(), " ");
        self.why(out);
        append!(out, " ");
        match self.count {
            Some(count) => append!(out, count),
            None => append!(out, "-"),
        }
        append!(out, " ", self.micros, "us");
        for (name, text) in self.rare().into_iter().filter(|(_, text)| !text.is_empty()) {
            append!(out, " ", name, "=");
            quoted(text, MAX_TEXT, out);
        }
        append!(out, "\n");
    }

    /// Appends in one word what was wrong, or why the store could not.
    fn why(&self, out: &mut Vec<u8>) {
        match (self.problem, self.lack) {
            (Some(problem), _) => problem.name(out),
            // Writing to a vector cannot fail.
            (None, Some(lack)) => drop(write!(out, "{lack:?}")),
            (None, None) => append!(out, "-"),
        }
    }

    /// What few lines have.
    fn rare(&self) -> [(&'static str, &[u8]); 4] {
        [
            ("class", self.class),
            ("operator", self.operator),
            ("origin", self.origin),
            ("traceparent", self.traceparent),
        ]
    }

    fn write_json(&self, date: &mut LastDate, out: &mut Vec<u8>) {
        append!(out, "{\"time\":\"");
        date.write(self.arrived, out);
        append!(out, "\",\"peer\":\"");
        write_peer(self.peer, out);
        append!(out, "\",\"listener\":\"", side(self.side), "\"");
        let space = self.request.iter().position(|&byte| byte == b' ').unwrap_or(self.request.len());
        let (method, target) = self.request.split_at(space);
        // Of a method of several kilobytes the beginning will do, too.
        let (method, target) = (&method[..method.len().min(32)], target.trim_ascii_start());
        let often = [("id", self.request_id), ("method", method), ("target", target), ("user", self.user)];
        for (name, text) in often.into_iter().chain(self.rare()).filter(|(_, text)| !text.is_empty()) {
            append!(out, ",\"", name, "\":");
            quoted(text, if name == "target" { MAX_REQUEST } else { MAX_TEXT }, out);
        }
        append!(out, ",\"status\":", self.status.digits());
        if self.problem.is_some() || self.lack.is_some() {
            append!(out, ",\"problem\":\"");
            self.why(out);
            append!(out, "\"");
        }
        if let Some(count) = self.count {
            append!(out, ",\"count\":", count);
        }
        append!(out, ",\"duration_us\":", self.micros, "}\n");
    }
}

/// Appends a line that is about no request: what the program tells its operator.
pub fn write_notice(format: LogFormat, now: Timestamp, text: &str, out: &mut Vec<u8>) {
    if format != LogFormat::Json {
        return append!(out, text, "\n");
    }
    append!(out, "{\"time\":\"");
    time::rfc3339(now, out);
    append!(out, "\",\"message\":", Quoted(text.as_bytes()), "}\n");
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Public => "public",
        Side::Admin => "admin",
    }
}

/// Appends address and port. Of a client behind a proxy the address alone is known. IPv4 is written by hand: there is one
/// in every line, and formatting would be the slowest part of it.
pub fn write_peer(peer: SocketAddr, out: &mut Vec<u8>) {
    let SocketAddr::V4(peer) = peer else {
        // Writing to a vector cannot fail.
        let _ = if peer.port() == 0 { write!(out, "{}", peer.ip()) } else { write!(out, "{peer}") };
        return;
    };
    let [a, b, c, d] = peer.ip().octets().map(u32::from);
    append!(out, a, ".", b, ".", c, ".", d);
    if peer.port() != 0 {
        append!(out, ":", u32::from(peer.port()));
    }
}

/// Appends `text` as a JSON string in which all can be seen that is there: what a reader would not see, or what would turn
/// the line around, is escaped. A text that takes more than `most` bytes is cut.
fn quoted(text: &[u8], most: usize, out: &mut Vec<u8>) {
    let from = out.len();
    Quoted(text).append(out);
    if out[from..].is_ascii() && out.len() - from <= most + 2 {
        return;
    }
    out.truncate(from + 1);
    for c in String::from_utf8_lossy(text).chars() {
        let before = out.len();
        if c.is_alphanumeric() || is_visible(c) {
            Inside(c.encode_utf8(&mut [0; 4]).as_bytes()).append(out);
        } else {
            // Writing to a vector cannot fail.
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| drop(write!(out, "\\u{unit:04x}")));
        }
        if out.len() - from > most + 1 {
            out.truncate(before);
            out.extend_from_slice("…".as_bytes());
            break;
        }
    }
    out.push(b'"');
}

/// Whether it stands for itself where Rust shows text to programmers: so control and format characters, line and paragraph
/// separators, odd blanks and what is not assigned do not. A letter before it, since an accent needs one.
fn is_visible(c: char) -> bool {
    let mut bytes = *b"a....";
    let len = 1 + c.encode_utf8(&mut bytes[1..]).len();
    c.is_ascii() || std::str::from_utf8(&bytes[..len]).is_ok_and(|text| text.escape_debug().eq(text.chars()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json;

    fn line() -> LogEntry<'static> {
        LogEntry {
            arrived: Timestamp::from_millis(784_111_777_123),
            peer: "127.0.0.1:52514".parse().unwrap(),
            side: Side::Public,
            request_id: b"id-1",
            request: b"POST /?id=V",
            user: b"alice",
            status: Status::Created,
            problem: None,
            lack: None,
            count: Some(1),
            micros: 85,
            class: b"",
            operator: b"",
            origin: b"",
            traceparent: b"",
        }
    }

    #[track_caller]
    fn check(line: &LogEntry, format: LogFormat, expected: &str) {
        let mut out = Vec::new();
        line.write(format, &mut LastDate::default(), &mut out);
        assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
        if format == LogFormat::Json {
            json::any(&out).unwrap();
        }
    }

    #[test]
    fn says_all_in_words() {
        let expected =
            r#"1994-11-06T08:49:37.123Z 127.0.0.1:52514 public "id-1" "POST /?id=V" "alice" 201 - 1 85us"#;
        check(&line(), LogFormat::Text, &format!("{expected}\n"));
        let all =
            LogEntry { operator: b"ops", origin: b"https://a\"b", traceparent: b"00-ab-01-00", ..line() };
        let rare = r#" operator="ops" origin="https://a\"b" traceparent="00-ab-01-00""#;
        check(&all, LogFormat::Text, &format!("{expected}{rare}\n"));
    }

    #[test]
    fn says_all_in_json() {
        check(
            &LogEntry { operator: b"ops", traceparent: b"00-ab-01-00", ..line() },
            LogFormat::Json,
            "{\"time\":\"1994-11-06T08:49:37.123Z\",\"peer\":\"127.0.0.1:52514\",\"listener\":\"public\",\"id\":\"id-1\",\"method\":\"POST\",\
             \"target\":\"/?id=V\",\"user\":\"alice\",\"operator\":\"ops\",\"traceparent\":\"00-ab-01-00\",\"status\":201,\"count\":1,\
             \"duration_us\":85}\n",
        );
    }

    #[test]
    fn what_a_client_sends_stays_between_its_quotes() {
        let user = "a\" 200\\ é".as_bytes();
        let odd = LogEntry { request: b"GET /?id=\"x\\", user, ..line() };
        let expected = r#"public "id-1" "GET /?id=\"x\\" "a\" 200\\ é" 201 - 1 85us"#;
        check(&odd, LogFormat::Text, &format!("1994-11-06T08:49:37.123Z 127.0.0.1:52514 {expected}\n"));
        check(
            &odd,
            LogFormat::Json,
            "{\"time\":\"1994-11-06T08:49:37.123Z\",\"peer\":\"127.0.0.1:52514\",\"listener\":\"public\",\"id\":\"id-1\",\"method\":\"GET\",\
             \"target\":\"/?id=\\\"x\\\\\",\"user\":\"a\\\" 200\\\\ é\",\"status\":201,\"count\":1,\"duration_us\":85}\n",
        );
    }

    #[test]
    fn what_cannot_be_seen_is_escaped_and_what_is_too_long_is_cut() {
        for (text, expected) in [
            ("Żółw 東京 हिन्दी e\u{301} 👍", "Żółw 東京 हिन्दी e\u{301} 👍"),
            ("a\u{202e}b\u{2028}c\u{2066}", r"a\u202eb\u2028c\u2066"),
            ("\u{feff}\u{200b}\u{a0}\u{3000}", r"\ufeff\u200b\u00a0\u3000"),
            ("\u{e0001}\u{10ffff}", r"\udb40\udc01\udbff\udfff"),
            ("é\"\\", r#"é\"\\"#),
            (&"x".repeat(513), &("x".repeat(512) + "…")),
            (&"é".repeat(300), &("é".repeat(256) + "…")),
            (&"\"".repeat(300), &("\\\"".repeat(256) + "…")),
        ] {
            let mut out = b"before ".to_vec();
            quoted(text.as_bytes(), MAX_TEXT, &mut out);
            assert_eq!(String::from_utf8(out.clone()).unwrap(), format!("before \"{expected}\""));
            json::any(&out[7..]).unwrap();
        }
        let mut out = Vec::new();
        quoted(b"a\xffb", MAX_TEXT, &mut out);
        assert_eq!(out, "\"a\u{fffd}b\"".as_bytes());
    }

    #[test]
    fn the_longest_line_fits_into_a_pipe_at_once() {
        for text in ["\"".repeat(9000), "\u{202e}".repeat(9000), "é".repeat(9000)] {
            let id = &b"\"".repeat(128);
            let longest = LogEntry {
                peer: "[1111:2222:3333:4444:5555:6666:7777:8888]:65535".parse().unwrap(),
                request_id: id,
                request: &[b"DELETE ", text.as_bytes()].concat(),
                user: text.as_bytes(),
                problem: Some(Problem::Framing(crate::http::Refusal::ContentLengthRepeated)),
                count: Some(u32::MAX),
                micros: u64::MAX,
                operator: text.as_bytes(),
                origin: text.as_bytes(),
                traceparent: id,
                ..line()
            };
            for format in [LogFormat::Text, LogFormat::Json] {
                let mut out = Vec::new();
                longest.write(format, &mut LastDate::default(), &mut out);
                assert!(out.len() <= MAX_LINE, "{} bytes", out.len());
            }
        }
    }

    #[test]
    fn what_is_absent_is_a_dash_or_left_out() {
        let peer = "[::1]:80".parse().unwrap();
        let empty = LogEntry {
            peer,
            side: Side::Admin,
            request: b"",
            user: b"",
            count: None,
            status: Status::BadRequest,
            problem: Some(Problem::Truncated),
            ..line()
        };
        check(
            &empty,
            LogFormat::Text,
            "1994-11-06T08:49:37.123Z [::1]:80 admin \"id-1\" - - 400 Truncated - 85us\n",
        );
        check(
            &empty,
            LogFormat::Json,
            "{\"time\":\"1994-11-06T08:49:37.123Z\",\"peer\":\"[::1]:80\",\"listener\":\"admin\",\"id\":\"id-1\",\"status\":400,\
             \"problem\":\"Truncated\",\
             \"duration_us\":85}\n",
        );
    }

    #[test]
    fn a_client_behind_a_proxy_has_no_port() {
        for (peer, expected) in
            [("1.2.3.4:0", "1.2.3.4"), ("[2001:db8::1]:0", "2001:db8::1"), ("[::1]:5", "[::1]:5")]
        {
            let mut out = Vec::new();
            write_peer(peer.parse().unwrap(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_notice_is_a_line_of_its_format() {
        let now = Timestamp::from_millis(784_111_777_123);
        for (format, expected) in [
            (LogFormat::Text, "it is \"so\"\n"),
            (LogFormat::Json, "{\"time\":\"1994-11-06T08:49:37.123Z\",\"message\":\"it is \\\"so\\\"\"}\n"),
        ] {
            let mut out = Vec::new();
            write_notice(format, now, "it is \"so\"", &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
