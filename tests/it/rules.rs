//! Generations and classes, as a client meets them.

use crate::server::{Client, Response, Server, basic};

/// A call of alice's with fields of its own.
fn call(client: &mut Client, call: &str, fields: &[&str], body: &str) -> Response {
    let alice = basic("alice", "x");
    let fields: Vec<&str> = [&*alice].into_iter().chain(fields.iter().copied()).collect();
    client.ask(call, &fields, body)
}

#[test]
fn a_page_that_was_loaded_again_is_not_hit_by_what_the_old_one_says() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let tag = |response: &Response| response.field("etag").unwrap_or_default().to_owned();
    let old = tag(&call(&mut client, "POST /?id=V", &[], ""));
    assert!(old.len() == 18 && old.starts_with('"') && old.ends_with('"'), "{old}");
    for (name, body) in
        [("GET", ""), ("HEAD", ""), ("PATCH", r#"{"state":"paused"}"#), ("PATCH", r#"{"state":"playing"}"#)]
    {
        assert_eq!(tag(&call(&mut client, &format!("{name} /?id=V"), &[], body)), old, "{name} {body}");
    }
    assert_eq!(tag(&call(&mut client, "GET /gate?id=V", &[], "")), old);
    let new = tag(&call(&mut client, "POST /?id=V", &[], ""));
    assert_ne!(new, old);
    let names_old = format!("If-Match: {old}");
    let outdated = r#"{"type":"about:blank","title":"Precondition Failed","status":412,"detail":"alice has started this stream anew; leave it to the newer session.","canWatch":true,"endpoint":"/?id=V","count":1}"#;
    for (name, body) in [("DELETE", ""), ("PATCH", r#"{"time":"9:00","state":"paused"}"#)] {
        let answer = call(&mut client, &format!("{name} /?id=V"), &[&names_old], body);
        assert_eq!((answer.status, &*answer.body, answer.field("etag")), (412, outdated, None), "{name}");
    }
    // Of no account elsewhere.
    for (name, expected) in
        [("GET /?id=V", 200), ("GET /gate?id=V", 204), ("POST /?id=W", 201), ("DELETE /?id=X", 404)]
    {
        assert_eq!(call(&mut client, name, &[&names_old], "").status, expected, "{name}");
    }
    let weak = format!("If-Match: {old}, W/{new}");
    assert_eq!(call(&mut client, "PATCH /?id=V", &[&weak], "").status, 200);
    assert_eq!(call(&mut client, "PATCH /?id=V", &["If-Match: *"], "").status, 200);
    let strong = format!("If-Match: {new}");
    assert_eq!(call(&mut client, "DELETE /?id=V", &[&strong], "").status, 200);
    assert_eq!(call(&mut client, "PATCH /?id=V", &[&strong], "").status, 410);
    assert_eq!(call(&mut client, "GET /?id=V", &[], "").field("etag"), None);
}

#[test]
fn if_match_is_a_list_of_tags_or_a_400() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for (field, expected) in [
        (r#"If-Match: "a""#, 412),
        (r#"If-Match: "a", "b,c" ,W/"d""#, 412),
        (r#"If-Match: ,"a",,"#, 412),
        (r#"If-Match: """#, 412),
        ("If-Match: \"a\"\r\nIf-Match: \"b\"", 400),
        ("If-Match: *", 200),
        ("If-Match: ", 200),
        ("If-Match: a", 400),
        (r#"If-Match: "a"#, 400),
        (r#"If-Match: "a" "b""#, 400),
        (r#"If-Match: w/"a""#, 400),
        (r#"If-Match: *, "a""#, 400),
        (r#"If-Match: "a b""#, 400),
    ] {
        call(&mut client, "POST /?id=V", &[], "");
        for name in ["PATCH", "DELETE"] {
            let answer = call(&mut client, &format!("{name} /?id=V"), &[field], "");
            assert_eq!(answer.status, expected, "{name} {field}: {}", answer.body);
        }
        // No other method looks at it.
        assert_eq!(call(&mut client, "GET /?id=V", &[field], "").status, 200, "{field}");
    }
}

/// One on the phone, one live, three in all.
const PLAN: &str = "3,mobile=1,live=1";

#[test]
fn a_class_that_is_full_is_named_and_each_class_has_its_own_wait() {
    let server = Server::start(&["--limit", PLAN]);
    let mut client = server.connect();
    let started = call(&mut client, "POST /?id=A&class=mobile", &[], "");
    let shown = r#""stream":{"id":"A","class":["mobile"],"time":"0:00","state":"playing","expiresIn":"#;
    assert!(started.status == 201 && started.body.contains(shown), "{}", started.body);
    let asks = |client: &mut Client, query: &str| call(client, &format!("GET /?{query}"), &[], "").body;
    let may = r#"{"canWatch":true,"endpoint":"/?id=B","count":1}"#;
    let may_not = r#"{"canWatch":false,"endpoint":null,"count":1}"#;
    for (query, expected) in [
        ("id=B", may),
        ("id=B&class=", may),
        ("id=B&class=live", may),
        ("id=B&class=live,mobile", may_not),
        ("id=B&class=mob%69le", may_not),
    ] {
        assert_eq!(asks(&mut client, query), expected, "{query}");
    }
    let refused = call(&mut client, "POST /?id=B&class=live,mobile", &[], "");
    let rule = r#","rule":{"class":"mobile","limit":1,"count":1}}"#;
    let detail = r#""detail":"alice is watching 1 of 1 mobile streams; stop or replace one of them first.""#;
    assert!(refused.status == 409 && refused.field("retry-after").is_some(), "{refused:?}");
    assert!(refused.body.ends_with(rule) && refused.body.contains(detail), "{}", refused.body);
    let gate = call(&mut client, "GET /gate?id=B&class=mobile", &[], "");
    assert!(gate.status == 403 && gate.body.ends_with(rule), "{gate:?}");
    assert_eq!(call(&mut client, "GET /gate?id=B&class=live", &[], "").status, 204);
    let replaced = call(&mut client, "POST /?id=C&class=mobile&replace=A", &[], "");
    assert!(replaced.body.ends_with(r#""replaced":{"id":"A"}}"#), "{}", replaced.body);
    assert!(asks(&mut client, "").contains(r#"{"id":"C","class":["mobile"],"#));
    // It is counted, and the latest events say it.
    server.check_metric("streamer_class_refusals_total{policy=\"refuse\"}", 2.0);
    server.check_metric("streamer_class_refusals_total{policy=\"replace\"}", 0.0);
    if cfg!(feature = "operators") {
        let stats = server.look("/stats").body;
        assert!(stats.contains(r#""what":"refused","class":"mobile","count":1,"limit":1}"#), "{stats}");
    }
}

#[test]
fn a_list_of_classes_is_good_or_a_400() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let longest = ["a", "b", "c", "d"].map(|letter| letter.repeat(16)).join(",");
    for (list, expected) in [
        ("", 201),
        (&*longest, 201),
        ("live", 201),
        ("live&class=kids", 400),
        ("live,live", 400),
        ("live,", 400),
        ("Live", 400),
        ("li%20ve", 400),
        ("a,b,c,d,e", 400),
        (&"a".repeat(17), 400),
    ] {
        let answer = call(&mut client, &format!("POST /?id=V&class={list}"), &[], "");
        assert_eq!(answer.status, expected, "{list}: {}", answer.body);
        call(&mut client, "DELETE /?id=V", &[], "");
    }
}

#[test]
fn the_log_names_the_class_that_was_full() {
    let server = Server::start(&["--limit", "3,live=0", "--log", "text"]);
    assert_eq!(server.call("alice", "POST /?id=V&class=kids,live", "").status, 409);
    let line = server.process.stdout.line(" 409 ");
    assert!(line.ends_with(" class=\"live\""), "{line}");
}

#[test]
fn players_that_name_no_device_can_be_kept_out() {
    let server = Server::start(&["--require-device"]);
    let mut client = server.connect();
    for (line, expected) in [
        ("POST /?id=V", 400),
        ("PATCH /?id=V", 400),
        ("GET /gate?id=V", 400),
        ("POST /?id=V&device=tv", 201),
        ("PATCH /?id=V&device=tv", 200),
        ("GET /gate?id=V&device=tv", 204),
        ("GET /?id=V", 200),
        ("DELETE /?id=V", 404),
    ] {
        let answer = call(&mut client, line, &[], "");
        assert_eq!(answer.status, expected, "{line}: {}", answer.body);
    }
    let refused = call(&mut client, "POST /?id=V", &[], "");
    assert!(refused.body.contains("The query has no `device`; say which with `&device=DEVICE`."));
}

#[test]
fn a_stream_starts_playing_and_a_heartbeat_pauses_it() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for (body, expected) in
        [(r#"{"state":"paused"}"#, 400), (r#"{"state":"playing"}"#, 201), (r#"{"state":null}"#, 200)]
    {
        assert_eq!(call(&mut client, "POST /?id=V", &[], body).status, expected, "{body}");
    }
    let refused = call(&mut client, "POST /?id=V", &[], r#"{"state":"paused"}"#).body;
    assert!(refused.contains(r#"POST without `state`, then PATCH {\"state\":\"paused\"}."#), "{refused}");
}
