//! The admin listener: health, metrics, the page and its numbers, and what support can do for one viewer.

use std::collections::HashSet;

use streamer::codec::{base64, json, sha256};

use crate::server::{Client, Response, Server, basic, eventually, request, steady};

#[track_caller]
fn delete(server: &Server, target: &str) -> Response {
    Client::connect(server.admin()).ask(&format!("DELETE {target}"), &[], "")
}

#[test]
fn every_path_is_there_and_no_other() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.admin());
    for (target, media_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/healthz", "text/plain; charset=utf-8"),
        ("/readyz", "text/plain; charset=utf-8"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/stats", "application/json"),
        ("/history", "application/json"),
        ("/users/alice", "application/json"),
    ] {
        let answer = client.ask(&format!("GET {target}"), &[], "");
        assert_eq!((answer.status, answer.field("content-type")), (200, Some(media_type)), "{target}");
        let head = client.ask(&format!("HEAD {target}"), &[], "");
        assert_eq!((head.status, head.field("content-type")), (200, Some(media_type)), "{target}");
        let allow =
            if target.starts_with("/users/") { "GET, HEAD, DELETE, OPTIONS" } else { "GET, HEAD, OPTIONS" };
        for (method, status) in [("OPTIONS", 204), ("POST", 405), ("PATCH", 405), ("PUT", 405)] {
            let answer = client.ask(&format!("{method} {target}"), &[], "");
            assert_eq!((answer.status, answer.field("allow")), (status, Some(allow)), "{method} {target}");
        }
        assert_eq!(client.ask(&format!("BREW {target}"), &[], "").status, 501);
    }
    for target in ["/users", "/nope", "/metrics/", "/?id=V/"] {
        let answer = client.ask(&format!("GET {target}"), &[], "");
        assert_eq!(answer.status, if target.starts_with("/?") { 200 } else { 404 }, "{target}");
    }
    for target in ["/healthz", "/readyz"] {
        assert_eq!(server.look(target).body, "ok");
    }
}

#[test]
fn readyz_says_so_while_the_server_stops() {
    let server = Server::start(&["--grace", "1h", "--workers", "3"]);
    let mut busy = server.connect();
    let half = request("POST /?id=V", &[&basic("alice", "x")], "");
    busy.send(&half[..30]);
    let mut idle = server.connect();
    assert_eq!(idle.call("alice", "GET /", "").status, 200);
    assert_eq!(server.metric("streamer_ready"), 1.0);
    server.process.signal("TERM");
    idle.closed();

    // More than once, so that each worker has its turn.
    for _ in 0..6 {
        let answer = server.look("/readyz");
        let problem = r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"The server is stopping; try another one."}"#;
        assert_eq!((answer.status, &*answer.body), (503, problem));
        assert!(answer.field("retry-after") == Some("1") && answer.closes(), "{answer:?}");
    }
    assert_eq!(server.look("/healthz").body, "ok", "stopping is not dying");
    assert_eq!(server.metric("streamer_ready"), 0.0);
    assert!(server.look("/stats").body.contains(r#","trouble":"The server is stopping; try another one.""#));

    busy.send(&half[30..]);
    assert_eq!(busy.answer().status, 201);
    drop(busy);
    assert_eq!(server.process.end().status.code(), Some(0));
}

/// What a scrape has to keep to, as far as it can be said in a few lines: see the text format 0.0.4.
#[track_caller]
fn check_format(text: &str) {
    assert!(text.ends_with('\n'));
    let (mut families, mut samples) = (HashSet::new(), HashSet::new());
    let mut lines = text.lines().peekable();
    while let Some(help) = lines.next() {
        let (name, _) =
            help.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).expect("a help line");
        let kind = lines
            .next()
            .and_then(|line| line.strip_prefix(&format!("# TYPE {name} ")[..]))
            .expect("a type line");
        assert!(families.insert(name), "{name} comes twice");
        assert!(name.starts_with("streamer_") || name.starts_with("process_"), "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
            let (key, value) = sample.rsplit_once(' ').expect("a sample");
            assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{sample}");
            assert!(samples.insert(key), "{key} comes twice");
            let bare = key.split('{').next().unwrap_or_default();
            let suffix = bare.strip_prefix(name).unwrap_or_else(|| panic!("{key} stands under {name}"));
            assert!(
                suffix.is_empty() || kind == "histogram" && ["_bucket", "_sum", "_count"].contains(&suffix)
            );
        }
    }
}

#[test]
fn each_number_moves_with_what_it_counts() {
    let server = Server::start(&["--limit", "1", "--workers", "2"]);
    let mut client = server.connect();
    for (user, call, body, status, moved) in [
        (
            "alice",
            "POST /?id=A",
            "",
            201,
            &[
                ("streamer_requests_total{method=\"POST\",status=\"201\"}", 1.0),
                ("streamer_admissions_total", 1.0),
                ("streamer_streams{state=\"playing\"}", 1.0),
                ("streamer_users", 1.0),
                ("streamer_users_by_playing{playing=\"1\"}", 1.0),
                ("streamer_users_at_limit", 1.0),
                ("streamer_starts_total{playing=\"1\"}", 1.0),
                ("streamer_users_by_peak{day=\"today\",peak=\"1\"}", 1.0),
            ][..],
        ),
        ("alice", "POST /?id=A", "", 200, &[("streamer_admissions_total", 1.0)]),
        (
            "alice",
            "POST /?id=B",
            "",
            409,
            &[
                ("streamer_refusals_total{policy=\"refuse\"}", 1.0),
                ("streamer_requests_total{method=\"POST\",status=\"409\"}", 1.0),
                ("streamer_starts_total{playing=\"2\"}", 1.0),
            ],
        ),
        ("alice", "POST /?id=B&replace=X", "", 409, &[("streamer_refusals_total{policy=\"replace\"}", 1.0)]),
        (
            "alice",
            "POST /?id=B&replace=A",
            "",
            201,
            &[
                ("streamer_replacements_total", 1.0),
                ("streamer_admissions_total", 2.0),
                ("streamer_streams{state=\"playing\"}", 1.0),
            ],
        ),
        (
            "alice",
            "PATCH /?id=A",
            "",
            410,
            &[("streamer_requests_total{method=\"PATCH\",status=\"410\"}", 1.0)],
        ),
        (
            "alice",
            "PATCH /?id=B",
            r#"{"state":"paused"}"#,
            200,
            &[
                ("streamer_streams{state=\"playing\"}", 0.0),
                ("streamer_streams{state=\"paused\"}", 1.0),
                ("streamer_users_by_playing{playing=\"0\"}", 1.0),
                ("streamer_users_by_playing{playing=\"1\"}", 0.0),
                ("streamer_users_at_limit", 0.0),
            ],
        ),
        (
            "bob",
            "PATCH /?id=V",
            "",
            200,
            &[("streamer_adoptions_total", 1.0), ("streamer_users", 2.0), ("streamer_admissions_total", 2.0)],
        ),
        (
            "carol",
            "PATCH /?id=V",
            r#"{"state":"paused"}"#,
            200,
            &[("streamer_adoptions_total", 2.0), ("streamer_starts_total{playing=\"1\"}", 2.0)],
        ),
        ("alice", "DELETE /?id=B", "", 200, &[("streamer_streams{state=\"paused\"}", 1.0)]),
        ("bob", "GET /?id=V", "", 200, &[("streamer_requests_total{method=\"GET\",status=\"200\"}", 12.0)]),
        ("bob", "HEAD /", "", 200, &[("streamer_requests_total{method=\"HEAD\",status=\"200\"}", 1.0)]),
        ("bob", "BREW /", "", 501, &[("streamer_requests_total{method=\"other\",status=\"501\"}", 1.0)]),
        ("", "GET /", "", 401, &[("streamer_auth_failures_total{cause=\"malformed\"}", 1.0)]),
    ] {
        assert_eq!(client.call(user, call, body).status, status, "{call}");
        let text = server.look("/metrics").body;
        check_format(&text);
        for (sample, value) in moved {
            // The GETs that read the metrics are counted too, and how many there were is of no interest.
            if sample.contains("GET") {
                assert!(text.contains(&format!("\n{sample} ")), "{call}: {sample}");
                continue;
            }
            assert!(text.contains(&format!("\n{sample} {value}\n")), "{call}: {sample} {value} in {text}");
        }
    }
}

#[test]
fn durations_connections_bytes_and_the_process_are_counted() {
    let server = Server::start(&["--max-connections", "50"]);
    let mut clients: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.call("alice", "GET /", "").status, 200);
    }
    let text = server.look("/metrics").body;
    let value = |sample: &str| -> f64 {
        let found = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {sample} in {text}")).parse().unwrap()
    };
    assert_eq!(value("streamer_request_duration_seconds_count"), 5.0);
    assert_eq!(value("streamer_request_duration_seconds_bucket{le=\"+Inf\"}"), 5.0);
    assert!(value("streamer_request_duration_seconds_sum") > 0.0);
    let buckets = text.lines().filter(|line| line.starts_with("streamer_request_duration_seconds_bucket"));
    let buckets: Vec<u64> = buckets.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
    assert!(buckets.len() > 10 && buckets.is_sorted(), "{buckets:?}");
    assert_eq!(value("streamer_connections_accepted_total"), 6.0);
    assert_eq!(value("streamer_connections_open"), 6.0);
    assert!(value("streamer_connections_max") <= 50.0);
    assert_eq!(value("streamer_connections_refused_total"), 0.0);
    assert!(value("streamer_received_bytes_total") > 5.0 * 60.0);
    assert!(value("streamer_sent_bytes_total") > 5.0 * 100.0);
    for kind in ["head", "body", "idle", "write", "drain"] {
        assert_eq!(value(&format!("streamer_timeouts_total{{kind=\"{kind}\"}}")), 0.0);
    }
    assert_eq!(value("streamer_build_info{version=\"2.0.0\"}"), 1.0);
    assert_eq!(
        (value("streamer_panics_total"), value("streamer_log_lines_lost_total{cause=\"failed\"}")),
        (0.0, 0.0)
    );
    if cfg!(target_os = "linux") {
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") >= 10.0 && value("process_threads") >= 4.0);
        assert!(value("process_start_time_seconds") > 1.7e9);
    }
    drop(clients);
    // The one that asks is open as well.
    eventually("the connections are closed", || server.metric("streamer_connections_open") <= 1.0);
}

#[test]
fn at_max_connections_the_one_that_was_idle_longest_makes_room() {
    let server = Server::start(&["--max-connections", "2", "--workers", "1"]);
    let (mut first, mut second) = (server.connect(), server.connect());
    assert_eq!(first.call("alice", "GET /", "").status, 200);
    assert_eq!(second.call("alice", "GET /", "").status, 200);
    let mut third = server.connect();
    assert_eq!(third.call("alice", "GET /", "").status, 200);
    first.closed();
    assert_eq!(second.call("alice", "GET /", "").status, 200);
    assert_eq!(server.metric("streamer_connections_reclaimed_total"), 1.0);
    assert_eq!(server.metric("streamer_connections_refused_total"), 0.0);
}

#[test]
fn stats_are_json_with_the_latest_events_and_the_numbers_are_in_the_metrics() {
    let server = Server::start(&["--limit", "1", "--workers", "2", "--max-connections", "50"]);
    let mut client = server.connect();
    for (call, status) in
        [("POST /?id=%22A%5C&device=tv", 201), ("POST /?id=B", 409), ("POST /?id=C&replace=", 201)]
    {
        assert_eq!(client.call("\"al\\", call, "").status, status);
    }
    assert_eq!(delete(&server, "/users/bob?id=V").status, 404);
    assert_eq!(delete(&server, "/users/bob").status, 200);
    let text = server.look("/stats").body;
    json::any(text.as_bytes()).expect("it is JSON");
    for part in [
        r#"{"version":"2.0.0","time":""#,
        r#","limit":1,"lease":90,"listen":"127.0.0.1:"#,
        r#","credentials":"open","store":"memory","latest":["#,
        r#""user":"bob","what":"ended","count":0,"limit":1},{"time":"#,
        r#""user":"\"al\\","id":"C","what":"replaced","count":1,"limit":1},{"time":"#,
        r#""user":"\"al\\","id":"B","what":"refused","count":1,"limit":1}]}"#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let metrics = server.look("/metrics").body;
    for line in [
        r#"streamer_requests_total{method="POST",status="201"} 2"#,
        "streamer_admissions_total 2",
        r#"streamer_refusals_total{policy="refuse"} 1"#,
        r#"streamer_starts_total{playing="2"} 2"#,
        r#"streamer_streams{state="playing"} 1"#,
        "streamer_users 1",
        r#"streamer_users_by_playing{playing="1"} 1"#,
        "streamer_users_at_limit 1",
        r#"streamer_users_by_peak{day="today",peak="1"} 1"#,
        "streamer_connections_max 50",
        "streamer_workers 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    let families: Vec<&str> = metrics.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let distinct: std::collections::HashSet<_> = families.iter().collect();
    assert_eq!(families.len(), distinct.len(), "{families:?}");
}

#[test]
fn the_page_is_self_contained_and_its_policy_allows_nothing_else() {
    let server = Server::start(&[]);
    let page = server.look("/");
    let hash = |tag: &str| {
        let inside = page
            .body
            .split_once(&format!("<{tag}>"))
            .and_then(|(_, rest)| rest.split_once(&format!("</{tag}>")));
        let mut text = Vec::new();
        base64::encode(&sha256::digest(inside.expect("the page has one").0.as_bytes()), &mut text);
        String::from_utf8(text).unwrap()
    };
    let expected = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    );
    assert_eq!(page.field("content-security-policy"), Some(&*expected));
    assert_eq!(page.field("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.field("referrer-policy"), Some("no-referrer"));
    assert!(page.body.starts_with("<!doctype html>") && page.body.trim_end().ends_with("</html>"));
    for external in ["src=", "@import", "url(", "//cdn", "https://"] {
        assert!(!page.body.contains(external), "{external}");
    }
}

#[test]
fn support_sees_what_a_user_watches() {
    let server = Server::start(&[]);
    for user in ["Żółw & 1+1", "bob"] {
        assert_eq!(server.call(user, "POST /?id=V&device=tv", r#"{"time":"1:00"}"#).status, 201);
    }
    let listed = r#"{"canWatch":true,"endpoint":null,"count":1,"limit":3,"streams":[{"id":"V","device":"tv","time":"1:00","state":"playing","expiresIn":"#;
    for target in
        ["/users/%C5%BB%C3%B3%C5%82w%20%26%201+1", "/users/%c5%bb%c3%b3%c5%82w%20&%201%2B1", "/users/bob"]
    {
        let answer = server.look(target);
        assert!(answer.status == 200 && answer.body.starts_with(listed), "{target}: {answer:?}");
    }
    let asked = server.look("/users/bob?id=V&device=tv").body;
    assert_eq!(asked, r#"{"canWatch":true,"endpoint":"/?id=V","count":1}"#);
    let nobody = server.look("/users/nobody").body;
    assert_eq!(nobody, r#"{"canWatch":true,"endpoint":null,"count":0,"limit":3,"streams":[]}"#);
    let long = format!("/users/{}", "x".repeat(257));
    for target in [
        "/users/",
        "/users/a:b",
        "/users/a%3Ab",
        "/users/%FF",
        "/users/a%00",
        &long,
        "/users/bob?id=",
        "/users/bob?device=tv",
    ] {
        for answer in [server.look(target), delete(&server, target)] {
            assert_eq!(answer.status, 400, "{target}: {answer:?}");
            assert_eq!(answer.field("content-type"), Some("application/problem+json"));
        }
    }
}

#[test]
fn support_ends_one_stream_or_all_and_the_player_is_told_why() {
    let server = Server::start(&[]);
    let mut player = server.connect();
    for target in ["/?id=A", "/?id=B", "/?id=B&device=tv"] {
        assert_eq!(player.call("alice", &format!("POST {target}"), "").status, 201);
        assert_eq!(player.call("bob", &format!("POST {target}"), "").status, 201);
    }
    assert_eq!(player.call("alice", "PATCH /?id=A", r#"{"state":"paused"}"#).status, 200);

    let ended = delete(&server, "/users/alice?id=B&device=tv");
    assert_eq!((ended.status, &*ended.body), (200, r#"{"canWatch":true,"endpoint":"/?id=B","count":1}"#));
    let again = delete(&server, "/users/alice?id=B&device=tv");
    assert!(again.status == 404 && again.body.contains("alice is not watching this stream"), "{again:?}");
    let beat = player.call("alice", "PATCH /?id=B&device=tv", "");
    assert!(beat.status == 410 && beat.body.ends_with(r#""reason":"operator"}"#), "{beat:?}");
    assert_eq!(player.call("alice", "PATCH /?id=B", "").status, 200, "the other device goes on");

    let none = r#"{"canWatch":true,"endpoint":null,"count":0,"limit":3,"streams":[]}"#;
    for _ in 0..2 {
        let ended = delete(&server, "/users/alice");
        assert_eq!((ended.status, &*ended.body), (200, none));
    }
    for target in ["/?id=A", "/?id=B", "/?id=B&device=tv"] {
        let beat = player.call("alice", &format!("PATCH {target}"), "");
        assert!(beat.status == 410 && beat.body.ends_with(r#""reason":"operator"}"#), "{target}: {beat:?}");
        assert_eq!(player.call("bob", &format!("PATCH {target}"), "").status, 200, "others go on");
    }
    assert_eq!(delete(&server, "/users/nobody").body, none);
    assert_eq!(player.call("alice", "POST /?id=A", "").status, 201, "who was stopped may start again");
}

#[test]
fn a_kicked_player_stays_out_while_the_user_is_held() {
    let server = Server::start(&["--lease", "1h"]);
    let mut player = server.connect();
    for target in ["/?id=A", "/?id=B&device=tv"] {
        assert_eq!(player.call("alice", &format!("POST {target}"), "").status, 201);
    }
    let held = delete(&server, "/users/alice?hold=10m&reason=One%20account,+one%20household");
    let shown = r#"{"canWatch":false,"endpoint":null,"count":0,"limit":3,"streams":[],"heldFor":600,"message":"One account, one household"}"#;
    let steady = |body: &str| steady(body, "heldFor", 600);
    assert_eq!((held.status, &*steady(&held.body)), (200, shown));
    assert_eq!(steady(&server.look("/users/alice").body), shown);

    let refused = r#"{"type":"about:blank","title":"Forbidden","status":403,"detail":"The operator keeps alice out for now; try again after `Retry-After`.","canWatch":false,"endpoint":null,"count":0,"reason":"held","message":"One account, one household"}"#;
    for call in ["POST /?id=A", "POST /?id=A&replace", "PATCH /?id=A", "PATCH /?id=X", "GET /gate?id=A"] {
        let answer = player.call("alice", call, "");
        assert_eq!((answer.status, &*answer.body), (403, refused), "{call}");
        let secs = answer.field("retry-after").and_then(|secs| secs.parse().ok());
        assert!(matches!(secs, Some(570..=600)), "{answer:?}");
    }
    let asked = player.call("alice", "GET /?id=A", "").body;
    assert_eq!(asked, r#"{"canWatch":false,"endpoint":null,"count":0}"#);
    let listed = player.call("alice", "GET /", "").body;
    assert_eq!(listed, r#"{"canWatch":false,"endpoint":null,"count":0,"limit":3,"streams":[]}"#);
    assert_eq!(player.call("alice", "DELETE /?id=A", "").status, 404);
    assert_eq!(player.call("bob", "POST /?id=A", "").status, 201, "others go on");

    let free = r#"{"canWatch":true,"endpoint":null,"count":0,"limit":3,"streams":[]}"#;
    assert_eq!(delete(&server, "/users/alice?hold=0s").body, free);
    let gone = player.call("alice", "PATCH /?id=B&device=tv", "");
    let reason = r#""reason":"operator","message":"One account, one household"}"#;
    assert!(gone.status == 410 && gone.body.ends_with(reason), "{gone:?}");
    assert_eq!(player.call("alice", "POST /?id=A", "").status, 201);
}

#[test]
fn what_an_operator_writes_out_of_range_changes_nothing() {
    let server = Server::start(&[]);
    assert_eq!(server.call("alice", "POST /?id=A", "").status, 201);
    let long = format!("reason={}", "x".repeat(201));
    for query in [
        "hold=31d",
        "hold=2592001s",
        "hold=soon",
        "hold=",
        "hold=-1s",
        "hold=1m&hold=2m",
        "hold=1m&id=A",
        "reason=%00",
        "reason=%FF",
        "reason=a&reason=b",
        &long,
    ] {
        let answer = delete(&server, &format!("/users/alice?{query}"));
        assert_eq!((answer.status, answer.field("content-type")), (400, Some("application/problem+json")));
        assert!(server.look("/users/alice").body.contains(r#""count":1"#), "{query}");
    }
    let reason = format!("reason={}", "%E2%82%AC".repeat(66) + "xx");
    assert_eq!(delete(&server, &format!("/users/alice?id=A&{reason}")).status, 200);
    let gone = server.call("alice", "PATCH /?id=A", "");
    assert!(gone.body.ends_with(&format!("{}xx\"}}", "€".repeat(66))), "{gone:?}");
}

#[test]
fn a_user_whom_no_path_can_name_is_named_in_the_query() {
    let server = Server::start(&[]);
    for (user, query) in [("..", ".."), (".", "."), ("a b", "a+b")] {
        assert_eq!(server.call(user, "POST /?id=A", "").status, 201);
        assert!(server.look(&format!("/users/?user={query}")).body.contains(r#""id":"A""#), "{user}");
        assert_eq!(delete(&server, &format!("/users/?user={query}&id=A")).status, 200, "{user}");
        assert_eq!(server.call(user, "PATCH /?id=A", "").status, 410, "{user}");
    }
    for target in ["/users/?user=", "/users/?user=a:b", "/users/?user=%00", "/users/?user=a&user=b"] {
        assert_eq!(server.look(target).status, 400, "{target}");
    }
    // What the path names counts.
    assert_eq!(server.call("ann", "POST /?id=A", "").status, 201);
    assert!(server.look("/users/ann?user=bob").body.contains(r#""count":1"#));
}
