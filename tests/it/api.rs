//! The contract of `/` and `/healthz`: every call, and what it answers.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ureq::Agent;

use streamer::codec::{hex, sha256};

use crate::server::{
    Client, PATIENCE, Response, Scratch, Server, basic, eventually, is_remote, request, steady,
};

/// A call, its body, and the status and the body of the response.
type Row<'a> = (&'a str, &'a str, u16, &'a str);

/// Holds a conversation of alice's with a new server, once through `ureq` and once through bare sockets.
///
/// It takes any `expiresIn` that a slow machine may show: see [`steady`].
///
/// What needs no flag is answered alike by the server of one page.
#[track_caller]
fn talk(flags: &[&str], rows: &[Row]) {
    for is_raw in [false, true] {
        converse(&Server::start(flags), is_raw, rows);
        if flags.is_empty() {
            converse(&Server::small(), is_raw, rows);
        }
    }
}

#[track_caller]
fn converse(server: &Server, is_raw: bool, rows: &[Row]) {
    let (agent, mut client) = (agent(), server.connect());
    for (i, &(call, body, status, expected)) in rows.iter().enumerate() {
        let (name, answer) = if is_raw {
            ("socket", client.call("alice", call, body))
        } else {
            ("ureq", ask(&agent, server, call, body))
        };
        let context = format!("{name}, row {i} of {}: {call}", server.greeting);
        assert_eq!((answer.status, &*steady(&answer.body, "expiresIn", 90)), (status, expected), "{context}");
        check_media_type(&answer);
    }
}

fn check_media_type(answer: &Response) {
    let expected = if answer.status < 300 { "application/json" } else { "application/problem+json" };
    assert_eq!(answer.field("content-type"), Some(expected), "{answer:?}");
}

fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into()
}

/// The same as [`Client::call`] by a client that many people use.
#[track_caller]
fn ask(agent: &Agent, server: &Server, call: &str, body: &str) -> Response {
    let (method, target) = call.split_once(' ').expect("a call is method and target");
    let uri = format!("http://{}{target}", server.listen);
    let credentials = basic("alice", "x");
    let (_, credentials) = credentials.split_once(": ").expect("a field has a colon");
    let request = ureq::http::Request::builder().method(method).uri(uri).header("Authorization", credentials);
    let request = match body {
        "" => request.body(String::new()),
        _ => request.header("Content-Type", "application/json").body(body.to_owned()),
    };
    let mut answer = agent.run(request.expect("the call is a request")).expect("the server answers");
    let fields = answer.headers().iter().map(|(name, value)| {
        (name.as_str().to_owned(), value.to_str().expect("fields are ASCII").to_owned())
    });
    let fields = fields.collect();
    let body = answer.body_mut().read_to_string().expect("the body comes");
    Response { status: answer.status().as_u16(), fields, body }
}

/// The body of an answer that shows one stream of alice's, which plays at 0:00.
fn playing(id: &str, count: u32) -> String {
    format!(
        r#"{{"canWatch":true,"endpoint":"/?id={id}","count":{count},"stream":{{"id":"{id}","time":"0:00","state":"playing","expiresIn":90}}}}"#
    )
}

const FULL: &str = r#"{"type":"about:blank","title":"Conflict","status":409,"detail":"alice is watching 3 of 3 streams; stop or replace one of them first.","canWatch":false,"endpoint":null,"count":3,"limit":3,"streams":[{"id":"A","time":"0:00","state":"playing","expiresIn":90},{"id":"B","time":"0:00","state":"playing","expiresIn":90},{"id":"C","time":"0:00","state":"playing","expiresIn":90}]}"#;

#[test]
fn a_stream_is_asked_for_started_renewed_and_ended() {
    talk(
        &[],
        &[
            ("GET /?id=V", "", 200, r#"{"canWatch":true,"endpoint":"/?id=V","count":0}"#),
            ("GET /", "", 200, r#"{"canWatch":true,"endpoint":null,"count":0,"limit":3,"streams":[]}"#),
            (
                "POST /?id=V",
                r#"{"time":"1:00"}"#,
                201,
                r#"{"canWatch":true,"endpoint":"/?id=V","count":1,"stream":{"id":"V","time":"1:00","state":"playing","expiresIn":90}}"#,
            ),
            ("GET /?id=V", "", 200, r#"{"canWatch":true,"endpoint":"/?id=V","count":1}"#),
            ("GET /?id=W", "", 200, r#"{"canWatch":true,"endpoint":"/?id=W","count":1}"#),
            (
                "POST /?id=V",
                "",
                200,
                r#"{"canWatch":true,"endpoint":"/?id=V","count":1,"stream":{"id":"V","time":"1:00","state":"playing","expiresIn":90}}"#,
            ),
            (
                "PATCH /?id=V",
                r#"{"time":"62:03"}"#,
                200,
                r#"{"canWatch":true,"endpoint":"/?id=V","count":1,"stream":{"id":"V","time":"1:02:03","state":"playing","expiresIn":90}}"#,
            ),
            (
                "PATCH /?id=V",
                "",
                200,
                r#"{"canWatch":true,"endpoint":"/?id=V","count":1,"stream":{"id":"V","time":"1:02:03","state":"playing","expiresIn":90}}"#,
            ),
            (
                "GET /",
                "",
                200,
                r#"{"canWatch":true,"endpoint":null,"count":1,"limit":3,"streams":[{"id":"V","time":"1:02:03","state":"playing","expiresIn":90}]}"#,
            ),
            ("DELETE /?id=V", "", 200, r#"{"canWatch":true,"endpoint":"/?id=V","count":0}"#),
            (
                "DELETE /?id=V",
                "",
                404,
                r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"alice is not watching this stream; there is nothing to end.","canWatch":true,"endpoint":"/?id=V","count":0}"#,
            ),
            (
                "PATCH /?id=V",
                "",
                410,
                r#"{"type":"about:blank","title":"Gone","status":410,"detail":"This stream was stopped; POST to start it again.","canWatch":true,"endpoint":"/?id=V","count":0,"reason":"stopped"}"#,
            ),
            ("POST /?id=V", "", 201, &playing("V", 1)),
        ],
    );
}

#[test]
fn the_fourth_stream_is_refused_and_those_that_play_are_not() {
    talk(
        &[],
        &[
            ("POST /?id=A", "", 201, &playing("A", 1)),
            ("POST /?id=B", "", 201, &playing("B", 2)),
            ("POST /?id=C", "", 201, &playing("C", 3)),
            ("GET /?id=D", "", 200, r#"{"canWatch":false,"endpoint":null,"count":3}"#),
            ("POST /?id=D", "", 409, FULL),
            (if is_remote() { "POST /?id=D" } else { "PATCH /?id=D" }, "", 409, FULL),
            ("GET /?id=A", "", 200, r#"{"canWatch":true,"endpoint":"/?id=A","count":3}"#),
            ("GET /?id=A&device=tv", "", 200, r#"{"canWatch":false,"endpoint":null,"count":3}"#),
            ("POST /?id=A", "", 200, &playing("A", 3)),
            ("PATCH /?id=B", "", 200, &playing("B", 3)),
            ("DELETE /?id=B", "", 200, r#"{"canWatch":true,"endpoint":"/?id=B","count":2}"#),
            ("POST /?id=D", "", 201, &playing("D", 3)),
            (
                "GET /",
                "",
                200,
                r#"{"canWatch":false,"endpoint":null,"count":3,"limit":3,"streams":[{"id":"A","time":"0:00","state":"playing","expiresIn":90},{"id":"C","time":"0:00","state":"playing","expiresIn":90},{"id":"D","time":"0:00","state":"playing","expiresIn":90}]}"#,
            ),
        ],
    );
}

#[test]
fn a_refusal_says_when_the_earliest_lease_runs_out() {
    let server = Server::start(&["--limit", "1"]);
    assert_eq!(server.call("alice", "POST /?id=A", "").field("retry-after"), None);
    let refused = server.call("alice", "POST /?id=B", "");
    assert_eq!(refused.status, 409);
    let secs: u32 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((60..=90).contains(&secs), "{secs}");
    assert!(server.call("bob", "POST /?id=B", "").status == 201, "another user has slots of their own");
}

#[test]
fn two_devices_on_one_video_are_two_streams() {
    talk(
        &["--limit", "2"],
        &[
            (
                "POST /?id=V&device=tv",
                "",
                201,
                r#"{"canWatch":true,"endpoint":"/?id=V","count":1,"stream":{"id":"V","device":"tv","time":"0:00","state":"playing","expiresIn":90}}"#,
            ),
            ("POST /?id=V", "", 201, &playing("V", 2)),
            ("GET /?device=pad&id=V", "", 200, r#"{"canWatch":false,"endpoint":null,"count":2}"#),
            ("GET /?device=tv&id=V", "", 200, r#"{"canWatch":true,"endpoint":"/?id=V","count":2}"#),
            (
                "GET /",
                "",
                200,
                r#"{"canWatch":false,"endpoint":null,"count":2,"limit":2,"streams":[{"id":"V","device":"tv","time":"0:00","state":"playing","expiresIn":90},{"id":"V","time":"0:00","state":"playing","expiresIn":90}]}"#,
            ),
            ("DELETE /?id=V", "", 200, r#"{"canWatch":true,"endpoint":"/?id=V","count":1}"#),
            ("DELETE /?id=V&device=tv", "", 200, r#"{"canWatch":true,"endpoint":"/?id=V","count":0}"#),
        ],
    );
}

#[test]
fn one_video_is_one_stream_however_its_id_is_written() {
    talk(
        &[],
        &[
            (
                "POST /?id=a%20b%2fc",
                "",
                201,
                r#"{"canWatch":true,"endpoint":"/?id=a%20b%2Fc","count":1,"stream":{"id":"a b/c","time":"0:00","state":"playing","expiresIn":90}}"#,
            ),
            (
                "POST /?x=y&%69d=%61+b%2Fc&",
                "",
                200,
                r#"{"canWatch":true,"endpoint":"/?id=a%20b%2Fc","count":1,"stream":{"id":"a b/c","time":"0:00","state":"playing","expiresIn":90}}"#,
            ),
            (
                "POST /?id=%E2%82%AC%22%5C",
                "",
                201,
                r#"{"canWatch":true,"endpoint":"/?id=%E2%82%AC%22%5C","count":2,"stream":{"id":"€\"\\","time":"0:00","state":"playing","expiresIn":90}}"#,
            ),
        ],
    );
}

#[test]
fn a_paused_stream_keeps_its_position_and_frees_its_slot() {
    talk(
        &["--limit", "1"],
        &[
            ("POST /?id=A", "", 201, &playing("A", 1)),
            (
                "PATCH /?id=A",
                r#"{"time":"5:07","state":"paused"}"#,
                200,
                r#"{"canWatch":true,"endpoint":"/?id=A","count":0,"stream":{"id":"A","time":"5:07","state":"paused","expiresIn":90}}"#,
            ),
            ("POST /?id=B", "", 201, &playing("B", 1)),
            (
                "PATCH /?id=A",
                r#"{"state":"playing"}"#,
                409,
                r#"{"type":"about:blank","title":"Conflict","status":409,"detail":"alice is watching 1 of 1 streams; stop or replace one of them first.","canWatch":false,"endpoint":null,"count":1,"limit":1,"streams":[{"id":"A","time":"5:07","state":"paused","expiresIn":90},{"id":"B","time":"0:00","state":"playing","expiresIn":90}]}"#,
            ),
            (
                "PATCH /?id=A",
                "{}",
                200,
                r#"{"canWatch":false,"endpoint":null,"count":1,"stream":{"id":"A","time":"5:07","state":"paused","expiresIn":90}}"#,
            ),
            ("DELETE /?id=B", "", 200, r#"{"canWatch":true,"endpoint":"/?id=B","count":0}"#),
            (
                "PATCH /?id=A",
                r#"{"state":"playing"}"#,
                200,
                r#"{"canWatch":true,"endpoint":"/?id=A","count":1,"stream":{"id":"A","time":"5:07","state":"playing","expiresIn":90}}"#,
            ),
            (
                "PATCH /?id=A",
                r#"{"state":"paused"}"#,
                200,
                r#"{"canWatch":true,"endpoint":"/?id=A","count":0,"stream":{"id":"A","time":"5:07","state":"paused","expiresIn":90}}"#,
            ),
            (
                "POST /?id=A",
                r#"{"time":310}"#,
                200,
                r#"{"canWatch":true,"endpoint":"/?id=A","count":1,"stream":{"id":"A","time":"5:10","state":"playing","expiresIn":90}}"#,
            ),
        ],
    );
}

#[test]
fn of_seventeen_paused_streams_the_one_paused_longest_gives_way() {
    let server = Server::start(&["--limit", "1"]);
    let mut client = server.connect();
    for i in 0..17 {
        assert_eq!(client.call("alice", &format!("POST /?id=v{i}"), "").status, 201);
        assert_eq!(client.call("alice", &format!("PATCH /?id=v{i}"), r#"{"state":"paused"}"#).status, 200);
    }
    let list = client.call("alice", "GET /", "").body;
    let ids: Vec<&str> = list.split("\"id\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let expected: Vec<String> = (1..17).map(|i| format!("v{i}")).collect();
    assert_eq!(ids, expected);
}

#[test]
fn replace_ends_the_named_stream_only_if_the_user_is_full() {
    talk(
        &["--limit", "2"],
        &[
            ("POST /?id=A", "", 201, &playing("A", 1)),
            ("POST /?id=B&replace=A", "", 201, &playing("B", 2)),
            ("POST /?id=A&replace=B", "", 200, &playing("A", 2)),
            (
                "POST /?id=C&replace=A&device=tv",
                "",
                201,
                r#"{"canWatch":true,"endpoint":"/?id=C","count":2,"stream":{"id":"C","device":"tv","time":"0:00","state":"playing","expiresIn":90},"replaced":{"id":"A"}}"#,
            ),
            (
                "PATCH /?id=A",
                "",
                410,
                r#"{"type":"about:blank","title":"Gone","status":410,"detail":"This stream gave way to another one of alice; POST to start it again.","canWatch":false,"endpoint":null,"count":2,"reason":"replaced","by":{"id":"C","device":"tv"}}"#,
            ),
            (
                "POST /?id=D&replace=C",
                "",
                409,
                r#"{"type":"about:blank","title":"Conflict","status":409,"detail":"alice is watching 2 of 2 streams, and the one to replace is not among them; name one that plays.","canWatch":false,"endpoint":null,"count":2,"limit":2,"streams":[{"id":"B","time":"0:00","state":"playing","expiresIn":90},{"id":"C","device":"tv","time":"0:00","state":"playing","expiresIn":90}]}"#,
            ),
            (
                "POST /?id=D&replace=C&replaceDevice=tv",
                "",
                201,
                r#"{"canWatch":true,"endpoint":"/?id=D","count":2,"stream":{"id":"D","time":"0:00","state":"playing","expiresIn":90},"replaced":{"id":"C","device":"tv"}}"#,
            ),
            (
                "POST /?id=E&replace=",
                "",
                201,
                r#"{"canWatch":true,"endpoint":"/?id=E","count":2,"stream":{"id":"E","time":"0:00","state":"playing","expiresIn":90},"replaced":{"id":"B"}}"#,
            ),
            (
                "POST /?id=F&replace",
                "",
                201,
                r#"{"canWatch":true,"endpoint":"/?id=F","count":2,"stream":{"id":"F","time":"0:00","state":"playing","expiresIn":90},"replaced":{"id":"D"}}"#,
            ),
            (
                "PATCH /?id=B",
                r#"{"state":"paused"}"#,
                410,
                r#"{"type":"about:blank","title":"Gone","status":410,"detail":"This stream gave way to another one of alice; POST to start it again.","canWatch":false,"endpoint":null,"count":2,"reason":"replaced","by":{"id":"E"}}"#,
            ),
        ],
    );
}

#[test]
fn when_full_replace_oldest_makes_room_by_itself() {
    talk(
        &["--when-full", "replace-oldest", "--limit", "1"],
        &[
            ("POST /?id=A", "", 201, &playing("A", 1)),
            ("GET /?id=B", "", 200, r#"{"canWatch":false,"endpoint":null,"count":1}"#),
            (
                "POST /?id=B",
                "",
                201,
                r#"{"canWatch":true,"endpoint":"/?id=B","count":1,"stream":{"id":"B","time":"0:00","state":"playing","expiresIn":90},"replaced":{"id":"A"}}"#,
            ),
            (
                "PATCH /?id=A",
                "",
                410,
                r#"{"type":"about:blank","title":"Gone","status":410,"detail":"This stream gave way to another one of alice; POST to start it again.","canWatch":false,"endpoint":null,"count":1,"reason":"replaced","by":{"id":"B"}}"#,
            ),
            (
                "POST /?id=C&replace=A",
                "",
                409,
                r#"{"type":"about:blank","title":"Conflict","status":409,"detail":"alice is watching 1 of 1 streams, and the one to replace is not among them; name one that plays.","canWatch":false,"endpoint":null,"count":1,"limit":1,"streams":[{"id":"B","time":"0:00","state":"playing","expiresIn":90}]}"#,
            ),
        ],
    );
}

#[test]
fn when_full_report_lets_everybody_through_and_counts_them() {
    talk(
        &["--when-full", "report", "--limit", "1"],
        &[
            ("POST /?id=A", "", 201, &playing("A", 1)),
            ("GET /?id=B", "", 200, r#"{"canWatch":true,"endpoint":"/?id=B","count":1}"#),
            ("POST /?id=B", "", 201, &playing("B", 2)),
            ("GET /?id=C", "", 200, r#"{"canWatch":true,"endpoint":"/?id=C","count":2}"#),
            ("DELETE /?id=A", "", 200, r#"{"canWatch":true,"endpoint":"/?id=A","count":1}"#),
        ],
    );
    let server = Server::start(&["--when-full", "report", "--limit", "1"]);
    for id in ["A", "B", "C"] {
        assert_eq!(server.call("alice", &format!("POST /?id={id}"), "").status, 201);
    }
    server.check_metric("streamer_refusals_total{policy=\"report\"}", 2.0);
}

#[test]
fn soon_after_a_start_a_heartbeat_of_an_unknown_stream_adopts_it() {
    if is_remote() {
        return;
    }
    talk(
        &["--limit", "2"],
        &[
            (
                "PATCH /?id=A",
                r#"{"time":"12:34"}"#,
                200,
                r#"{"canWatch":true,"endpoint":"/?id=A","count":1,"stream":{"id":"A","time":"12:34","state":"playing","expiresIn":90}}"#,
            ),
            (
                "PATCH /?id=B&device=tv",
                r#"{"state":"paused"}"#,
                200,
                r#"{"canWatch":true,"endpoint":"/?id=B","count":1,"stream":{"id":"B","device":"tv","time":"0:00","state":"paused","expiresIn":90}}"#,
            ),
            ("PATCH /?id=C", r#"{"state":"playing"}"#, 200, &playing("C", 2)),
            (
                "PATCH /?id=D",
                "",
                409,
                r#"{"type":"about:blank","title":"Conflict","status":409,"detail":"alice is watching 2 of 2 streams; stop or replace one of them first.","canWatch":false,"endpoint":null,"count":2,"limit":2,"streams":[{"id":"A","time":"12:34","state":"playing","expiresIn":90},{"id":"B","device":"tv","time":"0:00","state":"paused","expiresIn":90},{"id":"C","time":"0:00","state":"playing","expiresIn":90}]}"#,
            ),
        ],
    );
}

/// A lease of three seconds, and five users who see it run out at once.
#[test]
fn a_lease_runs_out_by_itself_unless_it_is_renewed() {
    let server = Server::start(&["--lease", "3s", "--limit", "1"]);
    let mut client = server.connect();
    let started = Instant::now();
    for (user, call) in [
        ("crashed", "POST /?id=V"),
        ("beating", "POST /?id=V"),
        ("paused", "POST /?id=V"),
        ("stopped", "POST /?id=V"),
        ("replaced", "POST /?id=V"),
    ] {
        assert_eq!(client.call(user, call, "").status, 201, "{user}");
    }
    let wait = client.call("crashed", "POST /?id=W", "").field("retry-after").map(str::to_owned);
    assert!(matches!(wait.as_deref(), Some("1" | "2" | "3")), "{wait:?}");
    assert_eq!(client.call("paused", "PATCH /?id=V", r#"{"state":"paused"}"#).status, 200);
    assert_eq!(client.call("stopped", "DELETE /?id=V", "").status, 200);
    assert_eq!(client.call("stopped", "PATCH /?id=V", "").status, 410);
    assert_eq!(client.call("replaced", "POST /?id=W&replace=V", "").status, 201);
    assert_eq!(client.call("replaced", "PATCH /?id=V", "").status, 410);
    let settled = Instant::now();

    // Looking renews nothing, or this would never end; beating does.
    let mut beats = 0;
    eventually("the lease of the crashed player has run out", || {
        assert_eq!(client.call("beating", "PATCH /?id=V", "").status, 200);
        beats += 1;
        client.call("crashed", "GET /?id=V", "").body.ends_with(r#""count":0}"#)
    });
    // The server counts in whole milliseconds.
    assert!(started.elapsed() >= Duration::from_millis(2990), "{:?}", started.elapsed());
    eventually("everything ended or paused is forgotten", || {
        assert_eq!(client.call("beating", "PATCH /?id=V", "").status, 200);
        settled.elapsed() > Duration::from_millis(3010)
    });
    assert!(beats > 1);

    for user in ["crashed", "paused", "stopped", "replaced"] {
        let late = client.call(user, "PATCH /?id=V", "");
        assert_eq!(late.status, 404, "{user}");
        let detail = format!(r#""detail":"{user} is not watching this stream; POST to start it.""#);
        assert!(late.body.contains(&detail), "{late:?}");
        assert_eq!(client.call(user, "DELETE /?id=V", "").status, 404, "{user}");
    }
    let empty = r#"{"canWatch":true,"endpoint":null,"count":0,"limit":1,"streams":[]}"#;
    assert_eq!(client.call("crashed", "GET /", "").body, empty);
    assert_eq!(client.call("crashed", "POST /?id=W", "").status, 201);
    // An engine far away forgets by itself, and tells no number.
    eventually("what ran out is counted", || {
        is_remote() || cfg!(not(feature = "operators")) || server.metric("streamer_expirations_total") >= 2.0
    });
}

#[test]
fn positions_are_read_in_every_form_and_answered_in_one() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for (time, expected) in [
        (r#""0:00""#, "0:00"),
        (r#""1:00""#, "1:00"),
        (r#""01:00""#, "1:00"),
        (r#""90:05""#, "1:30:05"),
        (r#""1:02:03""#, "1:02:03"),
        (r#""99:59:59""#, "99:59:59"),
        (r#""1\u003a00""#, "1:00"),
        ("0", "0:00"),
        ("59", "0:59"),
        ("60.9", "1:00"),
        ("6e1", "1:00"),
        ("359999", "99:59:59"),
        (r#""100:00:00""#, "100:00:00"),
        (r#""000100:00""#, "1:40:00"),
        (r#""00:01:00.000""#, "1:00"),
        (r#""60""#, "1:00"),
        (r#""60.9""#, "1:00"),
        ("917302", "254:48:22"),
        ("1558804912.387", "433001:21:52"),
        ("4294967295", "1193046:28:15"),
        ("4294967296", "1193046:28:15"),
        ("1e300", "1193046:28:15"),
        (r#""9999999:00:00""#, "1193046:28:15"),
        ("null", "1193046:28:15"),
        ("-0.04", "0:00"),
        (r#""-1:00""#, "0:00"),
        ("-1e300", "0:00"),
        ("null", "0:00"),
    ] {
        let answer = client.call("alice", "POST /?id=V", &format!(r#"{{"time":{time}}}"#));
        assert!(answer.body.contains(&format!(r#""time":"{expected}""#)), "{time}: {answer:?}");
    }
    for time in [
        r#""""#,
        r#""abc""#,
        r#""1:0""#,
        r#""1:60""#,
        r#""1:60:00""#,
        r#"" 1:00""#,
        r#""+1:00""#,
        r#""1:00:""#,
        r#""1:2:03""#,
        "true",
        "[]",
        "{}",
    ] {
        let answer = client.call("alice", "POST /?id=V", &format!(r#"{{"time":{time}}}"#));
        let problem = r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"`time` is no position; write \"M:SS\", \"H:MM:SS\" or seconds."}"#;
        assert_eq!((answer.status, &*answer.body), (400, problem), "{time}");
    }
}

#[test]
fn the_endpoint_is_the_template_filled_in_and_percent_encoded() {
    let server = Server::start(&["--endpoint", "https://cdn.example.com/{id}/{device}/master.m3u8"]);
    let mut client = server.connect();
    for (target, expected) in [
        ("/?id=V", "https://cdn.example.com/V/-/master.m3u8"),
        ("/?id=V&device=tv", "https://cdn.example.com/V/tv/master.m3u8"),
        (
            "/?id=a+b/%3F%23%25&device=%E2%82%AC",
            "https://cdn.example.com/a%20b%2F%3F%23%25/%E2%82%AC/master.m3u8",
        ),
        ("/?id=AZaz09-._~", "https://cdn.example.com/AZaz09-._~/-/master.m3u8"),
        ("/?id=..", "https://cdn.example.com/-/-/master.m3u8"),
        ("/?id=%2E&device=..", "https://cdn.example.com/-/-/master.m3u8"),
        ("/?id=%7Bdevice%7D&device=x", "https://cdn.example.com/%7Bdevice%7D/x/master.m3u8"),
    ] {
        let answer = client.call("alice", &format!("GET {target}"), "");
        assert_eq!(answer.body, format!(r#"{{"canWatch":true,"endpoint":"{expected}","count":0}}"#));
    }
}

#[test]
fn a_new_stream_has_a_location_and_an_old_one_has_none() {
    let server = Server::start(&[]);
    for (target, location) in [("/?id=V", "/?id=V"), ("/?device=t+v&id=%26&x=y", "/?id=%26&device=t%20v")] {
        let call = format!("POST {target}");
        assert_eq!(server.call("alice", &call, "").field("location"), Some(location));
        assert_eq!(server.call("alice", &call, "").field("location"), None);
        let found = server.call("alice", &format!("GET {location}"), "");
        assert_eq!((found.status, found.field("location")), (200, None));
    }
}

#[test]
fn malformed_queries_and_bodies_are_named() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let long = |name: &str, n: usize| format!("{name}={}", "x".repeat(n));
    for (query, detail) in [
        ("", "The query has no `id`; say which video with `/?id=VIDEO`."),
        ("x=y", "The query has no `id`; say which video with `/?id=VIDEO`."),
        ("id=", "The query has an empty `id`; give it a value."),
        ("id", "The query has an empty `id`; give it a value."),
        ("id=V&id=V", "The query has `id` more than once; give it once."),
        ("id=V&%69%64=W", "The query has `id` more than once; give it once."),
        ("id=V&device=a&device=b", "The query has `device` more than once; give it once."),
        ("id=V&device=", "The query has an empty `device`; give it a value."),
        ("device=tv", "`device` needs `id` beside it; give both."),
        ("id=%00", "`id` holds a control character; remove it."),
        ("id=a%0D%0Ab", "`id` holds a control character; remove it."),
        ("id=%7F", "`id` holds a control character; remove it."),
        ("id=%C2%85", "`id` holds a control character; remove it."),
        ("id=%FF", "`id` is not UTF-8; percent-encode its UTF-8 bytes."),
        ("id=%ED%A0%80", "`id` is not UTF-8; percent-encode its UTF-8 bytes."),
        ("id=V&device=%C0%80", "`device` is not UTF-8; percent-encode its UTF-8 bytes."),
        (&long("id", 257), "`id` is longer than 256 bytes; shorten it."),
        (&format!("id=V&{}", long("device", 65)), "`device` is longer than 64 bytes; shorten it."),
        ("id=V&replace=&replace=", "The query has `replace` more than once; give it once."),
        ("id=V&replaceDevice=tv", "`replaceDevice` needs `replace` beside it; give both."),
        ("id=V&replace=W&replaceDevice=", "The query has an empty `replaceDevice`; give it a value."),
        (&format!("id=V&{}", long("replace", 257)), "`replace` is longer than 256 bytes; shorten it."),
    ] {
        for method in ["POST", "PATCH", "DELETE"] {
            let answer = client.call("alice", &format!("{method} /?{query}"), "");
            check_problem(&answer, 400, "Bad Request", detail);
        }
    }
    for id in [long("id", 256), format!("id={}", "%E2%82%AC".repeat(85))] {
        let target = format!("/?{id}&{}", long("device", 64));
        assert_eq!(client.call("alice", &format!("GET {target}"), "").status, 200, "{target}");
    }
    // A `%` without two digits is no part of any target: the connection ends as well.
    for query in ["id=%", "id=%4", "id=%4G", "id=V&x=%"] {
        let answer = server.call("alice", &format!("POST /?{query}"), "");
        assert!(answer.status == 400 && answer.closes(), "{query}: {answer:?}");
    }
    for (body, detail) in [
        (r#"{"state":"stopped"}"#, r#"`state` is neither \"playing\" nor \"paused\"; write one of them."#),
        (r#"{"time":1,"time":2}"#, "The body has `time` more than once; give it once."),
        (r#"{"state":"paused","state":"paused"}"#, "The body has `state` more than once; give it once."),
    ] {
        check_problem(&client.call("alice", "PATCH /?id=V", body), 400, "Bad Request", detail);
    }
    let deep = |n: usize| format!("{{\"x\":{}{}}}", "[".repeat(n), "]".repeat(n));
    for body in [
        "{",
        "}",
        "[]",
        "null",
        "1",
        r#""""#,
        " ",
        "{} {}",
        "{,}",
        r#"{"time":"1:00",}"#,
        "{'time':1}",
        "{time:1}",
        r#"{"time":01}"#,
        r#"{"time":+1}"#,
        r#"{"time":1.}"#,
        r#"{"time":NaN}"#,
        "{\"x\":\"\t\"}",
        r#"{"x":"\x"}"#,
        r#"{"x":"\ud800"}"#,
        r#"{"x":"unended}"#,
        r#"{"x":tru}"#,
        "\u{feff}{}",
        "{}//",
        &deep(32),
    ] {
        let answer = client.call("alice", "POST /?id=V", body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.contains(r#""detail":"The body is "#), "{body}: {answer:?}");
    }
    for body in ["{}", " {\r\n} ", r#"{"x":[1,{"time":"no"}],"Time":"no","y":null}"#, &deep(31)] {
        assert!(client.call("alice", "POST /?id=V", body).status < 202, "{body}");
    }
}

#[track_caller]
fn check_problem(answer: &Response, status: u16, title: &str, detail: &str) {
    let expected =
        format!(r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}"}}"#);
    assert_eq!((answer.status, &*answer.body), (status, &*expected));
    assert_eq!(answer.field("content-type"), Some("application/problem+json"));
}

const NO_CREDENTIALS: &str = "Valid credentials are needed; send `Authorization: Basic` with user and token.";

#[test]
fn who_does_not_say_who_they_are_is_told_how() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let challenge = r#"Basic realm="streamer", charset="UTF-8""#;
    let overlong = basic(&"x".repeat(257), "x");
    for fields in [
        &[][..],
        &["Authorization:"],
        &["Authorization: Basic"],
        &["Authorization: Basic YWxpY2U6e"],
        &["Authorization: Basic YWxpY2U6eB=="],
        &["Authorization: Basic YWxp Y2U6eA=="],
        &["Authorization: Basic !!!!"],
        &[&basic("", "x")],
        &[&overlong],
        &[&basic("a\nb", "x")],
        &["Authorization: Basic YWxpY2U="],
        &["Authorization: Basic /////w=="],
    ] {
        let answer = client.ask("GET /?id=V", fields, "");
        check_problem(&answer, 401, "Unauthorized", NO_CREDENTIALS);
        assert_eq!(answer.field("www-authenticate"), Some(challenge), "{fields:?}");
    }
    for fields in [[basic("alice", "")], [basic("Żółw", "€")], [basic("al ice", "a:b")]] {
        assert_eq!(client.ask("GET /?id=V", &[&fields[0]], "").status, 200, "{fields:?}");
    }
    // The scheme in any case, more blanks than one behind it, and blanks at the end, which are no part of a field's value.
    assert_eq!(client.ask("GET /", &["authorization: bASIC  YWxpY2U6eA== "], "").status, 200);
    // Without padding, and in the alphabet for URLs.
    assert_eq!(client.ask("GET /", &["Authorization: Basic YWxpY2U6Pz4_eA"], "").status, 200);
}

#[test]
fn paths_and_methods_that_are_not_there_are_told_apart() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let no_path = "There is nothing at this path; `/` is where to begin.";
    for target in
        ["/nope", "//", "/index.html", "/healthz/", "/Healthz", "/metrics", "/users/alice", "/stats", "/%2F"]
    {
        check_problem(&client.call("alice", &format!("GET {target}"), ""), 404, "Not Found", no_path);
    }
    for (call, allow) in [
        ("PUT /?id=V", "GET, HEAD, POST, PATCH, DELETE, OPTIONS"),
        ("TRACE /", "GET, HEAD, POST, PATCH, DELETE, OPTIONS"),
        ("POST /healthz", "GET, HEAD, OPTIONS"),
        ("DELETE /healthz", "GET, HEAD, OPTIONS"),
        ("PATCH /healthz", "GET, HEAD, OPTIONS"),
    ] {
        let answer = client.call("alice", call, "");
        let no_method = format!("This path does not have this method; it has {allow}.");
        check_problem(&answer, 405, "Method Not Allowed", &no_method);
        assert_eq!(answer.field("allow"), Some(allow), "{call}");
    }
    let unknown = "This method is not implemented; use one that `OPTIONS` names, in capitals.";
    for call in ["BREW /?id=V", "get /?id=V", "PROPFIND /", "GETS /", "GET- /", "BREW /healthz"] {
        check_problem(&client.call("alice", call, ""), 501, "Not Implemented", unknown);
    }
}

#[test]
fn checks_come_in_the_order_of_the_contract() {
    let server = Server::start(&["--limit", "1"]);
    let mut client = server.connect();
    assert_eq!(client.call("alice", "POST /?id=A", "").status, 201);
    let alice = basic("alice", "x");
    let text = "Content-Type: text/plain";
    // Each row is wrong in everything that comes after what it is answered for.
    for (call, fields, body, status) in [
        ("BREW /nope?id=", &[text][..], "{", 404),
        ("BREW /?id=", &[text], "{", 501),
        ("PUT /?id=", &[text], "{", 405),
        ("POST /?id=", &[text], "{", 401),
        ("POST /?id=", &[&alice, text], "{", 400),
        ("POST /?id=B", &[&alice, text], "{", 415),
        ("POST /?id=B", &[&alice], "{", 400),
        ("POST /?id=B", &[&alice], "{}", 409),
    ] {
        assert_eq!(client.ask(call, fields, body).status, status, "{call}");
    }
    // Framing comes before everything.
    client.send("BREW /nope?id= HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n");
    let answer = client.answer();
    assert!(answer.status == 400 && answer.closes(), "{answer:?}");
}

#[test]
fn a_body_is_json_by_its_type_or_by_having_none() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let alice = basic("alice", "x");
    for (content_type, is_json) in [
        ("Content-Type: application/json", true),
        ("content-type: APPLICATION/Json; Charset=\"UTF-8\"", true),
        ("Content-Type: application/json;charset=utf-8", true),
        ("X-No-Type: at all", true),
        ("Content-Type: application/json; charset=latin1", false),
        ("Content-Type: application/problem+json", false),
        ("Content-Type: application/x-www-form-urlencoded", false),
        ("Content-Type: text/plain", false),
        ("Content-Encoding: gzip", false),
        ("Content-Encoding: identity", true),
    ] {
        for method in ["POST", "PATCH"] {
            let call = format!("{method} /?id=V");
            let answer = client.ask(&call, &[&alice, content_type], r#"{"time":"1:00"}"#);
            assert_eq!(answer.status == 415, !is_json, "{content_type}: {answer:?}");
            assert!(is_json || answer.field("content-type") == Some("application/problem+json"));
            let nothing = client.ask(&call, &[&alice, content_type, "Content-Length: 0"], "");
            assert_eq!(nothing.status, 200, "no body has no type: {content_type}");
        }
        for call in ["GET /?id=V", "GET /"] {
            assert_eq!(client.ask(call, &[&alice, content_type], "{").status, 200, "{content_type}");
        }
    }
    assert_eq!(client.ask("DELETE /?id=V", &[&alice, "Content-Type: text/plain"], "{").status, 200);
}

#[test]
fn head_is_get_without_the_body() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    assert_eq!(client.call("alice", "POST /?id=A", "").status, 201);
    let mut heads = 0;
    for target in ["/", "/?id=A", "/?id=B", "/?id=", "/nope", "/healthz"] {
        let plain = |answer: &Response| {
            let own = |name: &str| matches!(name, "date" | "x-request-id");
            let fields = answer.fields.iter().filter(|(name, _)| !own(name)).cloned();
            (answer.status, fields.collect::<Vec<_>>())
        };
        let get = client.call("alice", &format!("GET {target}"), "");
        let head = client.call("alice", &format!("HEAD {target}"), "");
        assert_eq!(plain(&head), plain(&get), "{target}");
        assert_eq!(head.field("content-length"), Some(&*get.body.len().to_string()));
        heads += usize::from(head.body.is_empty());
    }
    assert_eq!(heads, 6);
    assert_eq!(client.ask("HEAD /?id=A", &[], "").status, 401);
}

#[test]
fn options_need_no_credentials() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for (target, allow) in [
        ("/", "GET, HEAD, POST, PATCH, DELETE, OPTIONS"),
        ("/?id=V", "GET, HEAD, POST, PATCH, DELETE, OPTIONS"),
        ("*", "GET, HEAD, POST, PATCH, DELETE, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
    ] {
        let answer = client.ask(&format!("OPTIONS {target}"), &["Origin: https://app.example"], "");
        assert_eq!((answer.status, answer.field("allow")), (204, Some(allow)), "{target}");
        let grants = |(name, _): &(String, String)| name.starts_with("access-control-") || name == "vary";
        assert!(!answer.fields.iter().any(grants), "without --cors nothing is granted: {answer:?}");
    }
    assert_eq!(client.ask("OPTIONS /nope", &[], "").status, 404);
}

#[test]
fn cors_lets_pages_of_other_origins_call_and_read_every_answer() {
    let listed = "https://app.example,https://*.tv.example,null,capacitor://localhost";
    for (origins, origin, echoed) in [
        ("https://app.example", "https://app.example", Some("https://app.example")),
        ("https://app.example", "https://evil.example", None),
        (listed, "https://app.example", Some("https://app.example")),
        (listed, "https://lg.de.tv.example", Some("https://lg.de.tv.example")),
        (listed, "null", Some("null")),
        (listed, "capacitor://localhost", Some("capacitor://localhost")),
        (listed, "https://tv.example", None),
        ("*", "https://anybody.example", Some("*")),
    ] {
        let server = Server::start(&["--cors", origins]);
        let mut client = server.connect();
        let from = format!("Origin: {origin}");
        let alice = basic("alice", "x");
        let answers = [
            client.ask("POST /?id=V", &[&from, &alice], ""),
            client.ask("GET /", &[&from], ""),
            client.ask("GET /nope", &[&from], ""),
            client.ask("PUT /", &[&from], ""),
            client.ask("BREW /", &[&from], ""),
            client.ask("GET /", &[&from, "Expect: tea"], ""),
        ];
        let statuses = answers.map(|answer| {
            assert_eq!(answer.field("access-control-allow-origin"), echoed, "{origins} {origin}");
            let exposed =
                "Accept-Patch, Accept-Post, Allow, ETag, Location, Retry-After, WWW-Authenticate, X-Request-Id";
            assert_eq!(answer.field("access-control-expose-headers"), Some(exposed));
            assert_eq!(answer.field("vary"), (origins != "*").then_some("Origin"));
            answer.status
        });
        assert_eq!(statuses, [201, 401, 404, 405, 501, 417]);
        let admin = Client::connect(server.admin()).ask("GET /healthz", &[&from], "");
        assert_eq!(admin.field("access-control-allow-origin"), None, "the admin listener grants nothing");
    }
}

#[test]
fn a_preflight_is_answered_on_every_path_and_grants_what_it_asks_for() {
    let server = Server::start(&["--cors", "https://app.example,https://*.app.example"]);
    let usual = "Authorization, Content-Type, If-Match, X-Request-Id, traceparent";
    let long = format!("/?id={}", "x".repeat(9000));
    for (target, allow, asked, granted) in [
        (
            "/?id=V",
            true,
            "authorization,content-type,x-datadog-trace-id",
            "authorization,content-type,x-datadog-trace-id",
        ),
        ("/", true, "", usual),
        ("/", true, "a b", usual),
        ("/", true, "a,,b", usual),
        ("/healthz", true, "b3, baggage", "b3, baggage"),
        ("/nope", false, "authorization", "authorization"),
        (&long, false, "authorization", "Authorization, *"),
    ] {
        let mut client = server.connect();
        let fields = [
            "Origin: https://tv.app.example",
            "Access-Control-Request-Method: PUT",
            &format!("Access-Control-Request-Headers: {asked}"),
        ];
        let answer = client.ask(&format!("OPTIONS {target}"), &fields, "");
        assert_eq!(answer.status, 204, "{target}");
        assert_eq!(answer.field("allow").is_some(), allow, "{target}");
        for (name, value) in [
            ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            ("access-control-allow-headers", granted),
            ("access-control-max-age", "86400"),
        ] {
            assert_eq!(answer.field(name), Some(value), "{target}");
        }
        let origin = if target == long { "*" } else { "https://tv.app.example" };
        assert_eq!(answer.field("access-control-allow-origin"), Some(origin), "{target}");
    }
    // What is refused before its head was read, scripts of all may read: it says nothing of anybody.
    let answer = server.connect().ask(&format!("GET {long}"), &["Origin: https://tv.app.example"], "");
    assert_eq!((answer.status, answer.field("access-control-allow-origin")), (414, Some("*")));
    // Without an origin it is no preflight.
    assert_eq!(server.connect().ask("OPTIONS /nope", &[], "").status, 404);
    assert_eq!(server.connect().ask(&format!("OPTIONS {long}"), &[], "").status, 204);
    // Nor on the admin listener, nor without --cors.
    let fields = ["Origin: https://tv.app.example", "Access-Control-Request-Method: DELETE"];
    assert_eq!(Client::connect(server.admin()).ask("OPTIONS /nope", &fields, "").status, 404);
    let server = Server::start(&[]);
    assert_eq!(server.connect().ask("OPTIONS /nope", &fields, "").status, 404);
    assert_eq!(server.connect().ask(&format!("OPTIONS {long}"), &fields, "").status, 414);
}

#[test]
fn healthz_needs_no_credentials() {
    let server = Server::start(&[]);
    let answer = server.connect().ask("GET /healthz?x=y", &[], "");
    assert_eq!((answer.status, &*answer.body), (200, "ok"));
    assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
}

#[test]
fn a_request_id_is_echoed_or_made() {
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.connect();
    let alice = basic("alice", "x");
    let longest = "~".repeat(128);
    for id in ["1", "a-b/c:\"d\"{}", &longest] {
        for call in ["GET /?id=V", "GET /nope", "BREW /", "GET /?id=", "OPTIONS *"] {
            let answer = client.ask(call, &[&alice, &format!("X-Request-ID: {id}")], "");
            assert_eq!(answer.field("x-request-id"), Some(id), "{call}");
        }
        assert_eq!(
            client.ask("GET /", &[&format!("x-request-id: {id}")], "").field("x-request-id"),
            Some(id)
        );
    }
    let is_made = |id: &str| id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    for id in ["", "a b", &"x".repeat(129)] {
        let answer = client.ask("GET /", &[&alice, &format!("X-Request-Id: {id}")], "");
        assert!(answer.field("x-request-id").is_some_and(is_made), "{id:?}: {answer:?}");
    }
}

#[test]
fn no_request_id_is_made_twice_by_any_worker_nor_after_a_restart() {
    let mut seen = HashSet::new();
    for _ in 0..2 {
        let server = Server::start(&["--workers", "4"]);
        let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
        for _ in 0..10 {
            for client in &mut clients {
                let answer = client.ask("GET /healthz", &[], "");
                assert!(seen.insert(answer.field("x-request-id").unwrap().to_owned()), "{answer:?}");
            }
        }
    }
}

#[test]
fn the_limit_is_the_flags() {
    for limit in [1, 5] {
        let server = Server::start(&["--limit", &limit.to_string()]);
        let mut client = server.connect();
        for i in 0..limit + 2 {
            let answer = client.call("alice", &format!("POST /?id=v{i}"), "");
            assert_eq!(answer.status, if i < limit { 201 } else { 409 }, "{i} of {limit}");
        }
        let list = client.call("alice", "GET /", "").body;
        assert!(list.contains(&format!(r#""count":{limit},"limit":{limit},"#)), "{list}");
    }
}

#[test]
fn pipelined_calls_of_one_user_see_each_other_in_order() {
    let server = Server::start(&["--limit", "1"]);
    let mut client = server.connect();
    let alice = basic("alice", "x");
    let calls = [
        ("POST /?id=A", 201),
        ("POST /?id=B", 409),
        ("DELETE /?id=A", 200),
        ("POST /?id=B", 201),
        ("HEAD /?id=A", 200),
        ("PATCH /?id=A", 410),
        ("DELETE /?id=B", 200),
    ];
    // More than a worker takes from one connection in one turn.
    for _ in 0..20 {
        client.send(calls.map(|(call, _)| request(call, &[&alice], "")).concat());
    }
    for round in 0..20 {
        for (call, status) in calls {
            let answer = if call.starts_with("HEAD ") { client.answer_to_head() } else { client.answer() };
            assert_eq!(answer.status, status, "{call} in round {round}");
        }
    }
}

#[test]
fn zapping_on_one_device_takes_one_slot() {
    let on = |id: &str, count: u32, replaced: &str| {
        format!(
            r#"{{"canWatch":true,"endpoint":"/?id={id}","count":{count},"stream":{{"id":"{id}","device":"tv","time":"0:00","state":"playing","expiresIn":90}}{replaced}}}"#
        )
    };
    let replaced = |id: &str| format!(r#","replaced":{{"id":"{id}","device":"tv"}}"#);
    let (a, b, c, d) =
        (on("A", 1, ""), on("B", 1, &replaced("A")), on("C", 3, &replaced("B")), on("D", 3, ""));
    let gone = r#"{"type":"about:blank","title":"Gone","status":410,"detail":"This stream gave way to another one of alice; POST to start it again.","canWatch":true,"endpoint":"/?id=A","count":1,"reason":"replaced","by":{"id":"B","device":"tv"}}"#;
    talk(
        &[],
        &[
            ("POST /?id=A&device=tv&switch", "", 201, &a),
            ("POST /?id=B&device=tv&switch", "", 201, &b),
            ("PATCH /?id=A&device=tv", "", 410, gone),
            ("POST /?id=X", "", 201, &playing("X", 2)),
            ("POST /?id=Y", "", 201, &playing("Y", 3)),
            ("POST /?switch=&id=C&device=tv", "", 201, &c),
            ("DELETE /?id=C&device=tv", "", 200, r#"{"canWatch":true,"endpoint":"/?id=C","count":2}"#),
            ("POST /?id=D&device=tv", "", 201, &d),
        ],
    );
    let (b, c) = (on("B", 1, &replaced("A")), on("C", 1, &replaced("B")));
    talk(
        &["--one-per-device", "--limit", "1"],
        &[
            ("POST /?id=A&device=tv", "", 201, &a),
            ("POST /?id=B&device=tv", "", 201, &b),
            ("POST /?id=C&device=tv", "", 201, &c),
        ],
    );
    let server = Server::start(&[]);
    for (query, detail) in [
        ("id=V&switch", "`switch` needs `device` beside it; give both."),
        ("id=V&device=tv&switch=1", "`switch` takes no value; write it alone, or leave it out."),
    ] {
        check_problem(&server.call("alice", &format!("POST /?{query}"), ""), 400, "Bad Request", detail);
    }
}

#[test]
fn a_position_of_no_use_costs_no_viewer_the_lease() {
    let server = Server::start(&["--lease", "2s"]);
    let mut client = server.connect();
    assert_eq!(client.call("alice", "POST /?id=V", "").status, 201);
    let started = Instant::now();
    for time in ["917302", "1558804912.387", "-0.04", "null", r#""00:01:00.000""#].iter().cycle() {
        let beat = client.call("alice", "PATCH /?id=V", &format!(r#"{{"time":{time},"state":null}}"#));
        assert_eq!(beat.status, 200, "{time}: {beat:?}");
        if started.elapsed() > Duration::from_millis(2500) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(client.call("alice", "GET /?id=V", "").body.ends_with(r#""count":1}"#));
}

#[test]
fn a_limit_of_zero_is_a_suspended_account() {
    for policy in ["refuse", "replace-oldest", "report"] {
        let server = Server::start(&["--limit", "0", "--when-full", policy]);
        let mut client = server.connect();
        let asked = client.call("alice", "GET /?id=V", "");
        assert_eq!(asked.body, r#"{"canWatch":false,"endpoint":null,"count":0}"#);
        let adopted = if is_remote() { "POST /?id=W" } else { "PATCH /?id=V" };
        for call in ["POST /?id=V", "POST /?id=V&replace", adopted, "POST /?id=V&device=tv&switch"] {
            let refused = client.call("alice", call, "");
            assert_eq!((refused.status, refused.field("retry-after")), (409, None), "{call}");
            let detail = "alice may watch no stream at all; ask the operator to raise the limit.";
            assert!(refused.body.contains(detail), "{refused:?}");
            assert!(refused.body.ends_with(r#""count":0,"limit":0,"streams":[]}"#), "{refused:?}");
        }
        let gate = client.call("alice", "GET /gate?id=V", "");
        assert_eq!((gate.status, gate.field("retry-after")), (403, None));
    }
}

#[test]
fn of_seventeen_streams_that_end_in_one_pipeline_the_first_is_forgotten() {
    let server = Server::start(&["--limit", "17", "--lease", "1h"]);
    let mut client = server.connect();
    let alice = basic("alice", "x");
    let mut calls = |method: &str, order: &[usize]| -> Vec<u16> {
        let call = |i: &usize| request(&format!("{method} /?id=v{i}"), &[&alice], "");
        client.send(order.iter().map(call).collect::<String>());
        order.iter().map(|_| client.answer().status).collect()
    };
    let started: Vec<usize> = (0..17).collect();
    let ended: Vec<usize> = (0..17).rev().collect();
    assert_eq!(calls("POST", &started), [201; 17]);
    assert_eq!(calls("DELETE", &ended), [200; 17]);
    assert_eq!(calls("PATCH", &ended[1..]), [410; 16]);
    // So soon after a start what is unknown is adopted.
    assert_eq!(calls("PATCH", &ended[..1]), [if is_remote() { 404 } else { 200 }]);
}

#[test]
fn a_lowered_limit_says_how_many_have_to_end() {
    let scratch = Scratch::new("lowered");
    let line = |limit: u32| {
        let mut line = b"alice:".to_vec();
        hex::encode(&sha256::digest(b"x"), &mut line);
        String::from_utf8(line).unwrap() + &format!(":{limit}\n")
    };
    let users = scratch.write("users", &line(5));
    let server = Server::start(&["--users", &users]);
    for i in 0..5 {
        assert_eq!(server.call("alice", &format!("POST /?id=v{i}"), "").status, 201);
    }
    scratch.write("users", &line(3));
    server.process.signal("HUP");
    server.process.stderr.line("reloaded");
    for call in ["POST /?id=w&replace=v0", "POST /?id=w", "GET /gate?id=w&replace=v0"] {
        let refused = server.call("alice", call, "");
        let detail = "alice is watching 5 of 3 streams; 3 of them have to end before another one can play.";
        assert!(refused.body.contains(detail), "{call}: {refused:?}");
    }
    let replaced = server.call("alice", "POST /?id=w&replace", "");
    assert!(replaced.body.ends_with(r#""replaced":{"id":"v0"}}"#), "{replaced:?}");
    assert!(replaced.body.contains(r#""count":3"#), "{replaced:?}");
}

#[test]
fn the_gate_lets_through_what_plays_and_keeps_out_the_rest() {
    let server = Server::start(&["--limit", "2"]);
    let mut client = server.connect();
    let plays = |answer: &Response, count: &str| {
        assert_eq!(answer.status, 204, "{answer:?}");
        assert_eq!(
            (answer.field("x-stream-count"), answer.field("x-stream-limit")),
            (Some(count), Some("2"))
        );
        assert_eq!((answer.field("content-length"), &*answer.body), (None, ""));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    };
    // Whatever method the viewer's request has.
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"] {
        plays(&client.call("alice", &format!("{method} /gate?id=A&device=tv"), ""), "1");
    }
    plays(&client.call("alice", "POST /gate?id=A&device=tv", "not json, and dropped"), "1");
    assert_eq!(client.call("alice", "PATCH /?id=A&device=tv", r#"{"time":"1:00"}"#).status, 200);
    plays(&client.call("alice", "GET /gate?id=A&device=tv", r#"{"time":"9:00"}"#), "1");
    plays(&client.call("alice", "GET /gate?id=B", ""), "2");
    let refused = client.call("alice", "GET /gate?id=C", "");
    assert_eq!((refused.status, refused.field("content-type")), (403, Some("application/problem+json")));
    let expected = r#"{"type":"about:blank","title":"Forbidden","status":403,"detail":"alice is watching 2 of 2 streams; stop or replace one of them first.","canWatch":false,"endpoint":null,"count":2,"limit":2,"streams":[{"id":"A","device":"tv","time":"1:00","state":"playing","expiresIn":90},{"id":"B","time":"0:00","state":"playing","expiresIn":90}]}"#;
    assert_eq!(steady(&refused.body, "expiresIn", 90), expected);
    assert!(refused.field("retry-after").is_some());
    assert_eq!(client.call("alice", "HEAD /gate?id=C", "").status, 403);
    // What is paused is resumed if there is room.
    assert_eq!(client.call("alice", "PATCH /?id=B", r#"{"state":"paused"}"#).status, 200);
    plays(&client.call("alice", "GET /gate?id=B", ""), "2");
    // `replace` and `switch` are those of a POST.
    plays(&client.call("alice", "GET /gate?id=C&replace=B", ""), "2");
    plays(&client.call("alice", "GET /gate?id=D&device=tv&switch", ""), "2");
    for (target, reason) in [("id=B", r#""reason":"replaced"}"#), ("id=C", "")] {
        client.call("alice", "DELETE /?id=C", "");
        let gone = client.call("alice", &format!("GET /gate?{target}"), "");
        let reason = if reason.is_empty() { r#""reason":"stopped"}"# } else { reason };
        assert!(gone.status == 403 && gone.body.ends_with(reason), "{gone:?}");
        assert!(gone.body.contains(r#""title":"Forbidden","status":403"#), "{gone:?}");
    }
}

#[test]
fn the_gate_keeps_to_the_order_of_checks() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    assert_eq!(client.ask("GET /gate?id=V", &[], "").status, 401);
    assert_eq!(client.ask("GET /gate", &[], "").status, 401);
    let missing = "The query has no `id`; say which video with `/?id=VIDEO`.";
    check_problem(&client.call("alice", "GET /gate", ""), 400, "Bad Request", missing);
    assert_eq!(client.call("alice", "GET /gate?id=V&switch", "").status, 400);
    let options = client.ask("OPTIONS /gate", &[], "");
    let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, TRACE, OPTIONS";
    assert_eq!((options.status, options.field("allow")), (204, Some(methods)));
    assert_eq!(client.call("alice", "BREW /gate?id=V", "").status, 501);
    assert_eq!(client.call("alice", "GET /gate/?id=V", "").status, 404);
    assert_eq!(Client::connect(server.admin()).call("alice", "GET /gate?id=V", "").status, 404);
    let large = client.call("alice", "POST /gate?id=V", &"x".repeat(8193));
    assert_eq!(large.status, 413);
}

#[test]
fn a_415_says_what_will_do_and_a_merge_patch_will() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let alice = basic("alice", "x");
    let all = "application/json, application/merge-patch+json";
    for field in ["Content-Type: text/plain", "Content-Encoding: gzip"] {
        let post = client.ask("POST /?id=V", &[&alice, field], "{}");
        assert_eq!((post.status, post.field("accept-post")), (415, Some("application/json")), "{field}");
        let patch = client.ask("PATCH /?id=V", &[&alice, field], "{}");
        assert_eq!((patch.status, patch.field("accept-patch")), (415, Some(all)), "{field}");
    }
    let merge = "Content-Type: application/merge-patch+json";
    assert_eq!(client.ask("POST /?id=V", &[&alice, merge], "{}").status, 415);
    assert_eq!(client.call("alice", "POST /?id=V", "").status, 201);
    let beat = client.ask("PATCH /?id=V", &[&alice, merge], r#"{"time":"1:00","state":null}"#);
    assert!(beat.status == 200 && beat.body.contains(r#""time":"1:00""#), "{beat:?}");
}

/// So that a wrong `--cors`, which lets players go on uncounted, is seen.
#[test]
fn an_origin_that_is_not_listed_is_logged_and_counted() {
    let preflight: &[&str] = &["Origin: https://b.example", "Access-Control-Request-Method: POST"];
    for (flags, call, fields, counts) in [
        (&["--cors", "https://a.example"][..], "OPTIONS /?id=V", preflight, true),
        (&["--cors", "https://a.example"], "GET /?id=V", &["Origin: https://b.example"], true),
        (&["--cors", "https://a.example"], "GET /?id=V", &["Origin: https://a.example"], false),
        (&["--cors", "https://a.example"], "GET /?id=V", &["Origin: http://127.0.0.1"], false),
        (&["--cors", "https://a.example"], "GET /?id=V", &[], false),
        (&["--cors", "*"], "OPTIONS /?id=V", preflight, false),
        (&[], "OPTIONS /?id=V", preflight, true),
        // A page of the same origin says so too, and nobody has to list it.
        (&[], "POST /?id=V", &["Origin: https://b.example"], false),
    ] {
        let server = Server::start(flags);
        let mut client = server.connect();
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        client.send(format!("{call} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n"));
        client.answer();
        let line = server.process.stdout.line(call);
        assert_eq!(line.ends_with(" origin=\"https://b.example\""), counts, "{flags:?} {call}: {line}");
        server.check_metric("streamer_unlisted_origins_total", f64::from(u8::from(counts)));
    }
}
