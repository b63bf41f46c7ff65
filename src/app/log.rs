//! The access log: one line a request, from its arrival to its response.
//!
//! ```text
//! 2026-11-23T12:00:00.123Z 127.0.0.1:52514 public 9f3c01aa5b7d2e6000000001 "POST /?id=V" "alice" 201 - 1 85us
//! time                     peer            side   request id               request       user    status problem count duration
//! ```
//!
//! The side is the listener that the request came through; a problem is named as [`Problem`] and the enums in it name it.
//! What is absent is `-`. A `traceparent` follows where one was sent. With `--log json` the same as an object.
//!
//! *Invariant:* a line is one line: whatever a client sends stands escaped between quotes, and no secret is in it.

use core::net::SocketAddr;
use std::io::Write;

use super::exchange::Side;
use super::problem::Problem;
use crate::codec::{decimal, json};
use crate::http::status::Status;
use crate::time::{self, Timestamp};

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Words, for people.
    Text,
    /// JSON, for programs.
    Json,
}

/// What a line says.
pub struct Line<'a> {
    /// When the request arrived.
    pub arrived: Timestamp,
    /// Who sent it.
    pub peer: SocketAddr,
    /// The listener that it came through.
    pub side: Side,
    /// Its id, taken from the client or made.
    pub request_id: &'a [u8],
    /// Method and target as sent, visible ASCII; empty when there was no request line.
    pub request: &'a [u8],
    /// Who asked; empty when that is not known.
    pub user: &'a [u8],
    /// The status of its response.
    pub status: Status,
    /// What was wrong with it, before any store was asked.
    pub problem: Option<Problem>,
    /// How many streams the user plays; None where no store was asked.
    pub count: Option<u32>,
    /// From its first byte to its response, in microseconds.
    pub micros: u64,
    /// `traceparent`; empty when absent.
    pub traceparent: &'a [u8],
}

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

impl Line<'_> {
    /// Appends the line with its line feed.
    pub fn write(&self, format: Format, date: &mut LastDate, out: &mut Vec<u8>) {
        match format {
            Format::Text => self.write_text(date, out),
            Format::Json => self.write_json(date, out),
        }
    }

    fn write_text(&self, date: &mut LastDate, out: &mut Vec<u8>) {
        date.write(self.arrived, out);
        out.push(b' ');
        write_peer(self.peer, out);
        out.push(b' ');
        out.extend_from_slice(side(self.side));
        out.push(b' ');
        out.extend_from_slice(self.request_id);
        out.push(b' ');
        quoted_or_dash(self.request, out);
        out.push(b' ');
        quoted_or_dash(self.user, out);
        out.push(b' ');
        out.extend_from_slice(self.status.digits().as_bytes());
        out.push(b' ');
        match self.problem {
            Some(problem) => problem.name(out),
            None => out.push(b'-'),
        }
        out.push(b' ');
        match self.count {
            Some(count) => decimal::write(count.into(), out),
            None => out.push(b'-'),
        }
        out.push(b' ');
        decimal::write(self.micros, out);
        out.extend_from_slice(b"us");
        if !self.traceparent.is_empty() {
            out.push(b' ');
            out.extend_from_slice(self.traceparent);
        }
        out.push(b'\n');
    }

    fn write_json(&self, date: &mut LastDate, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        date.write(self.arrived, out);
        out.extend_from_slice(b"\",\"peer\":\"");
        write_peer(self.peer, out);
        out.extend_from_slice(b"\",\"listener\":\"");
        out.extend_from_slice(side(self.side));
        out.push(b'"');
        let space = self.request.iter().position(|&byte| byte == b' ').unwrap_or(self.request.len());
        let (method, target) = self.request.split_at(space);
        for (name, text) in [
            ("id", self.request_id),
            ("method", method),
            ("target", target.trim_ascii_start()),
            ("user", self.user),
            ("traceparent", self.traceparent),
        ] {
            if !text.is_empty() {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
                json::write_string(text, out);
            }
        }
        out.extend_from_slice(b",\"status\":");
        out.extend_from_slice(self.status.digits().as_bytes());
        if let Some(problem) = self.problem {
            out.extend_from_slice(b",\"problem\":\"");
            problem.name(out);
            out.push(b'"');
        }
        if let Some(count) = self.count {
            out.extend_from_slice(b",\"count\":");
            decimal::write(count.into(), out);
        }
        out.extend_from_slice(b",\"duration_us\":");
        decimal::write(self.micros, out);
        out.extend_from_slice(b"}\n");
    }
}

/// Appends a line that is about no request: what the program tells its operator.
pub fn write_notice(format: Format, now: Timestamp, text: &str, out: &mut Vec<u8>) {
    match format {
        Format::Text => out.extend_from_slice(text.as_bytes()),
        Format::Json => {
            out.extend_from_slice(b"{\"time\":\"");
            time::rfc3339(now, out);
            out.extend_from_slice(b"\",\"message\":");
            json::write_string(text.as_bytes(), out);
            out.push(b'}');
        }
    }
    out.push(b'\n');
}

fn side(side: Side) -> &'static [u8] {
    match side {
        Side::Public => b"public",
        Side::Admin => b"admin",
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
    for (i, octet) in peer.ip().octets().into_iter().enumerate() {
        if i > 0 {
            out.push(b'.');
        }
        decimal::write(octet.into(), out);
    }
    if peer.port() != 0 {
        out.push(b':');
        decimal::write(peer.port().into(), out);
    }
}

fn quoted_or_dash(text: &[u8], out: &mut Vec<u8>) {
    if text.is_empty() {
        return out.push(b'-');
    }
    json::write_string(text, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line<'static> {
        Line {
            arrived: Timestamp::from_millis(784_111_777_123),
            peer: "127.0.0.1:52514".parse().unwrap(),
            side: Side::Public,
            request_id: b"id-1",
            request: b"POST /?id=V",
            user: b"alice",
            status: Status::Created,
            problem: None,
            count: Some(1),
            micros: 85,
            traceparent: b"",
        }
    }

    #[track_caller]
    fn check(line: &Line, format: Format, expected: &str) {
        let mut out = Vec::new();
        line.write(format, &mut LastDate::default(), &mut out);
        assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
        if format == Format::Json {
            json::any(&out).unwrap();
        }
    }

    #[test]
    fn says_all_in_words() {
        let expected =
            r#"1994-11-06T08:49:37.123Z 127.0.0.1:52514 public id-1 "POST /?id=V" "alice" 201 - 1 85us"#;
        check(&line(), Format::Text, &format!("{expected}\n"));
        let expected = format!("{expected} 00-ab-01-00\n");
        check(&Line { traceparent: b"00-ab-01-00", ..line() }, Format::Text, &expected);
    }

    #[test]
    fn says_all_in_json() {
        check(
            &Line { traceparent: b"00-ab-01-00", ..line() },
            Format::Json,
            "{\"time\":\"1994-11-06T08:49:37.123Z\",\"peer\":\"127.0.0.1:52514\",\"listener\":\"public\",\"id\":\"id-1\",\"method\":\"POST\",\
             \"target\":\"/?id=V\",\"user\":\"alice\",\"traceparent\":\"00-ab-01-00\",\"status\":201,\"count\":1,\
             \"duration_us\":85}\n",
        );
    }

    #[test]
    fn what_a_client_sends_stays_between_its_quotes() {
        let user = "a\" 200\\ é".as_bytes();
        let odd = Line { request: b"GET /?id=\"x\\", user, ..line() };
        let expected = r#"public id-1 "GET /?id=\"x\\" "a\" 200\\ é" 201 - 1 85us"#;
        check(&odd, Format::Text, &format!("1994-11-06T08:49:37.123Z 127.0.0.1:52514 {expected}\n"));
        check(
            &odd,
            Format::Json,
            "{\"time\":\"1994-11-06T08:49:37.123Z\",\"peer\":\"127.0.0.1:52514\",\"listener\":\"public\",\"id\":\"id-1\",\"method\":\"GET\",\
             \"target\":\"/?id=\\\"x\\\\\",\"user\":\"a\\\" 200\\\\ é\",\"status\":201,\"count\":1,\"duration_us\":85}\n",
        );
    }

    #[test]
    fn what_is_absent_is_a_dash_or_left_out() {
        let peer = "[::1]:80".parse().unwrap();
        let empty = Line {
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
            Format::Text,
            "1994-11-06T08:49:37.123Z [::1]:80 admin id-1 - - 400 Truncated - 85us\n",
        );
        check(
            &empty,
            Format::Json,
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
            (Format::Text, "it is \"so\"\n"),
            (Format::Json, "{\"time\":\"1994-11-06T08:49:37.123Z\",\"message\":\"it is \\\"so\\\"\"}\n"),
        ] {
            let mut out = Vec::new();
            write_notice(format, now, "it is \"so\"", &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
