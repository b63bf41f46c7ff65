//! The program: flags, variables, exit codes, signals and the log.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::fs;
use std::io::{self, Read};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use streamer::codec::json;
use streamer::config;

use crate::server::{Client, Process, Scratch, Server, basic, eventually, program, request, run};

#[test]
fn help_and_version_are_printed_and_nothing_else() {
    let helps = [&["--help"][..], &["-h"], &["help"], &["serve", "--help"], &["--limit", "no", "--help"]];
    for args in helps {
        let ended = run(args);
        assert_eq!((ended.status.code(), &*ended.stderr), (Some(0), ""), "{args:?}");
        for option in config::options() {
            assert!(ended.stdout.contains(&format!("\n  {} ", option.usage())), "{args:?}: {}", option.name);
        }
    }
    for args in [&["token", "--help"][..], &["help", "token"]] {
        assert!(run(args).stdout.contains("streamer token USER [FLAGS]"), "{args:?}");
    }
    assert!(run(&["key", "--help"]).stdout.contains("streamer key\n"));
    for args in [&["check", "-h"][..], &["help", "check"]] {
        assert!(run(args).stdout.contains("streamer check [URL]"), "{args:?}");
    }
    for args in [["--version"], ["-V"]] {
        let ended = run(&args);
        assert_eq!((ended.status.code(), &*ended.stdout), (Some(0), "streamer 2.0.0\n"));
    }
}

#[test]
fn help_ends_quietly_when_nobody_reads_it() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let ended = Process::spawn(program(&["--help"]).stdout(writer)).end();
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn bad_usage_exits_2_and_says_what_to_write_instead() {
    for (args, said) in [
        (&["--limt", "3"][..], "there is no flag --limt: did you mean --limit?"),
        (&["--zzz"], "there is no flag --zzz: streamer --help lists those there are"),
        (&["-x"], "there is no flag -x: streamer --help lists those there are"),
        (&["serv"], "there is no command \"serv\": did you mean serve?"),
        (&["--limit"], "--limit needs a value; write --limit N"),
        (&["--limit", "--open"], "--limit needs a value; write --limit N"),
        (
            &["--limit", "1001"],
            "--limit: write 0 to 1000, or that for classes too as in 3,live=1, not \"1001\"",
        ),
        (&["--limit=+3"], "--limit: write 0 to 1000, or that for classes too as in 3,live=1, not \"+3\""),
        (&["--limit", "3", "--limit", "3"], "--limit is given twice; write it once"),
        (&["--lease", "25h"], "--lease: write a time from 1s to 24h, not \"25h\""),
        (&["--open=yes"], "--open takes no value; write --open alone"),
        (&["--when-full", "ask"], "--when-full: write refuse, replace-oldest or report, not \"ask\""),
        (&["--log", "xml"], "--log: write text, json or off, not \"xml\""),
        (
            &["--open", "--users", "f"],
            "--open and --users exclude each other; choose one way to say who gets in",
        ),
        (
            &["serve", "now"],
            "\"now\" is one argument too many: serve takes flags alone, and a command comes before them",
        ),
        (&["token"], "token needs a user; write streamer token USER"),
        (&["token", "a:b"], "USER: a user is 1 to 256 bytes without colons and control characters"),
        (
            &["token", "ann", "--ttl", "1h"],
            "--ttl, --class and --audience are for signed tokens; add --secret FILE or leave them out",
        ),
        (
            &["check", "https://localhost"],
            "URL: write http://host:port/path, as in http://127.0.0.1:8000/healthz, not \"https://localhost\"",
        ),
    ] {
        let ended = run(args);
        let expected = format!("streamer: {said}\n");
        assert_eq!(
            (ended.status.code(), &*ended.stderr, &*ended.stdout),
            (Some(2), &*expected, ""),
            "{args:?}"
        );
    }
}

#[test]
fn beyond_loopback_a_mode_has_to_be_chosen() {
    for listen in ["0.0.0.0:0", ":0", "[::]:0", "10.1.2.3:0"] {
        let ended = run(&["--listen", listen]);
        assert_eq!(ended.status.code(), Some(2), "{listen}");
        for mode in ["--open", "--users FILE", "--secret FILE"] {
            assert!(ended.stderr.contains(mode), "{listen}: {}", ended.stderr);
        }
    }
}

#[test]
fn the_greeting_says_what_holds() {
    let server = Server::start(&["--workers", "2", "--max-connections", "100"]);
    let expected = format!(
        "streamer 2.0.0 listens on http://{} (admin on http://{}): limit 3, lease 90s, workers 2, store memory, \
         connections 100; anybody is let in (--open)",
        server.listen,
        server.admin()
    );
    assert_eq!(server.greeting, expected);
    let server = Server::start(&["--admin", "off", "--limit", "5", "--lease", "120s", "--open"]);
    assert!(server.greeting.contains(" (no admin): limit 5, lease 2m, workers "), "{}", server.greeting);
    let ended = server.stop();
    assert_eq!(ended.stderr.lines().count(), 3, "{}", ended.stderr);
}

#[test]
fn a_variable_sets_what_no_flag_does() {
    let mut command = program(&["--lease", "5m"]);
    for (name, value) in [
        ("STREAMER_LEASE", "nonsense, but the flag wins"),
        ("STREAMER_LIMIT", "7"),
        ("STREAMER_WORKERS", "1"),
        ("STREAMER_OPEN", "1"),
        ("STREAMER_USERS", ""),
        ("STREAMER_LOG", "off"),
    ] {
        command.env(name, value);
    }
    let server = Server::spawn(&mut command);
    assert!(server.greeting.contains(": limit 7, lease 5m, workers 1, "), "{}", server.greeting);
    assert_eq!(server.call("alice", "GET /?id=V", "").status, 200);
    assert_eq!(server.stop().stdout, "", "the log is off");

    for (name, value, said) in [
        (
            "STREAMER_LIMIT",
            "many",
            "STREAMER_LIMIT: write 0 to 1000, or that for classes too as in 3,live=1, not \"many\"",
        ),
        (
            "STREAMER_OPEN",
            "maybe",
            "STREAMER_OPEN: write 1, true, yes or on, or else 0, false, no or off, not \"maybe\"",
        ),
    ] {
        let ended = Process::spawn(program(&[]).env(name, value)).end();
        assert_eq!((ended.status.code(), ended.stderr), (Some(2), format!("streamer: {said}\n")));
    }
}

#[test]
fn an_address_that_is_taken_exits_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (args, flag) in [
        (["--listen", &address, "--admin", "off"], "--listen"),
        (["--listen", "127.0.0.1:0", "--admin", &address], "--admin"),
    ] {
        let ended = run(&args);
        assert_eq!(ended.status.code(), Some(1));
        assert!(ended.stderr.starts_with(&format!("streamer: {flag} {address}: ")), "{}", ended.stderr);
        assert!(ended.stderr.ends_with("; stop whatever listens there or choose another port\n"));
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
}

#[test]
fn check_tells_a_healthy_server_from_a_wrong_one_and_from_none() {
    let server = Server::start(&[]);
    let well = |args: &[&str], listen: &str| {
        let ended = Process::spawn(program(args).env("STREAMER_LISTEN", listen)).end();
        assert_eq!(ended.stdout, "");
        (ended.status.code(), ended.stderr)
    };
    let url = format!("http://{}", server.listen);
    let ready = format!("http://{}/readyz", server.admin());
    let healthy = (Some(0), String::new());
    assert_eq!(well(&["check", &url], ""), healthy);
    assert_eq!(well(&["check", &ready], ""), healthy);
    assert_eq!(well(&["check"], &server.listen.to_string()), healthy);
    assert_eq!(well(&["check"], &format!(":{}", server.listen.port())), healthy);

    let lost = format!("{url}/nope");
    let said = format!("streamer: {lost} answered `HTTP/1.1 404 Not Found`\n");
    assert_eq!(well(&["check", &lost], ""), (Some(1), said));

    // Nobody listens there: all tests listen at 127.0.0.1.
    let address = format!("127.0.0.2:{}", server.listen.port());
    let (code, said) = well(&["check", &format!("http://{address}")], "");
    assert!(code == Some(1) && said.starts_with("streamer: cannot connect to http://"), "{said}");

    // Somebody who hangs up without a word.
    let rude = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = rude.local_addr().unwrap();
    let rude = thread::spawn(move || drop(rude.accept()));
    let (code, said) = well(&["check", &format!("http://{address}")], "");
    assert!(code == Some(1) && said.contains(&address.to_string()), "{said}");
    rude.join().unwrap();
}

#[test]
fn sigterm_and_sigint_finish_what_is_under_way_and_exit_0() {
    for signal in ["TERM", "INT"] {
        let server = Server::start(&["--grace", "1h"]);
        let mut idle = server.connect();
        assert_eq!(idle.call("alice", "GET /", "").status, 200);
        let silent = server.connect();
        let (mut in_head, mut in_body) = (server.connect(), server.connect());
        let head = request("POST /?id=V", &[&basic("alice", "x")], "");
        in_head.send(&head[..20]);
        let body = request("POST /?id=W", &[&basic("alice", "x")], r#"{"time":"1:00"}"#);
        in_body.send(&body[..body.len() - 5]);

        server.process.signal(signal);
        idle.closed();
        { silent }.closed();
        eventually("nobody listens any more", || std::net::TcpStream::connect(server.listen).is_err());

        in_head.send(&head[20..]);
        in_body.send(&body[body.len() - 5..]);
        for mut client in [in_head, in_body] {
            let answer = client.answer();
            assert!(answer.status == 201 && answer.closes(), "{answer:?}");
            assert_eq!(client.rest(), b"");
        }
        let ended = server.process.end();
        assert_eq!(ended.status.code(), Some(0));
        assert_eq!(ended.stdout.lines().count(), 3, "every answer is logged: {}", ended.stdout);
        assert_eq!(ended.stderr.lines().count(), 3, "{}", ended.stderr);
    }
}

#[test]
fn a_fifo_is_waited_for_and_a_signal_ends_the_wait() {
    let scratch = Scratch::new("fifo");
    let fifo = scratch.0.join("users");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let flags = ["--users", fifo.to_str().unwrap(), "--endpoint", "/", "--listen", "127.0.0.1:0"];
    let waiting = Process::spawn(&mut program(&flags));
    // What it says before it opens the file.
    waiting.stderr.line("--endpoint has no {id}");
    waiting.signal("TERM");
    let ended = waiting.end();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("told to stop before it had begun"), "{}", ended.stderr);

    let token = "3b9c358f36f0a31b6ad3e14f309c7cf198ac9246e8316f9ce543d5b19ac02b80";
    let written = fifo.clone();
    let writer = thread::spawn(move || fs::write(written, format!("alice:{token}\n")));
    let server = Server::start(&flags[..4]);
    writer.join().unwrap().unwrap();
    assert!(server.greeting.contains("1 user from "), "{}", server.greeting);
}

#[test]
fn a_stop_takes_no_longer_than_the_grace() {
    let server = Server::start(&["--grace", "300ms"]);
    let mut stuck = server.connect();
    // Once the first is answered, the server knows of the second.
    stuck.send("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\nGET / HT");
    assert_eq!(stuck.answer().status, 200);
    let asked = Instant::now();
    let ended = server.stop();
    assert_eq!(ended.status.code(), Some(0));
    assert!(asked.elapsed() >= Duration::from_millis(300), "{:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn while_it_drains_new_connections_are_taken_and_it_says_that_it_is_not_ready() {
    let server = Server::start(&["--drain", "1h", "--workers", "2"]);
    let ready = |server: &Server| Client::connect(server.admin()).ask("GET /readyz", &[], "").status;
    assert_eq!(ready(&server), 200);
    server.process.signal("TERM");
    server.process.stderr.line("stopping on SIGTERM");
    assert_eq!(ready(&server), 503);
    assert_eq!(server.call("alice", "POST /?id=V", "").status, 201);
    server.process.signal("INT");
    assert_eq!(server.process.end().status.code(), Some(130));

    let server = Server::start(&["--drain", "1s"]);
    let mut kept = server.connect();
    assert_eq!(kept.call("alice", "GET /", "").status, 200);
    let begun = Instant::now();
    assert_eq!(server.stop().status.code(), Some(0));
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    kept.closed();
}

#[test]
fn an_idle_connection_is_closed_after_the_time_that_is_set() {
    let server = Server::start(&["--idle", "1s"]);
    let mut client = server.connect();
    assert_eq!(client.call("alice", "GET /", "").status, 200);
    let begun = Instant::now();
    client.closed();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    server.check_metric("streamer_timeouts_total{kind=\"idle\"}", 1.0);
}

#[test]
fn the_log_names_the_client_behind_a_proxy_that_is_believed() {
    for (proxies, fields, expected) in [
        ("127.0.0.1", &["X-Forwarded-For: 9.9.9.9, 192.0.2.1"][..], "192.0.2.1"),
        (
            "127.0.0.0/8,10.0.0.0/8",
            &["X-Forwarded-For: 192.0.2.1", "Accept: */*", "x-forwarded-for: 10.1.2.3"],
            "192.0.2.1",
        ),
        ("127.0.0.1", &["X-Forwarded-For: [2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.0/8", &["X-Forwarded-For: 192.0.2.1"], ""),
        ("127.0.0.1", &["X-Forwarded-For: unknown"], ""),
        ("127.0.0.1", &[], ""),
    ] {
        let server = Server::start(&["--proxy", proxies]);
        let mut client = server.connect();
        client.ask("GET /?id=V", fields, "");
        let own = client.stream.local_addr().unwrap().to_string();
        let expected = format!(" {} public ", if expected.is_empty() { &own } else { expected });
        let line = server.process.stdout.line("GET /?id=V");
        assert!(line.contains(&expected), "{proxies} {fields:?}: {line} has{expected}");
    }
}

#[test]
fn a_second_signal_exits_at_once() {
    for (first, second, code) in [("TERM", "TERM", 143), ("INT", "INT", 130), ("TERM", "INT", 130)] {
        let server = Server::start(&["--grace", "1h"]);
        let (mut idle, mut stuck) = (server.connect(), server.connect());
        stuck.send("GET / HT");
        server.process.signal(first);
        idle.closed();
        server.process.signal(second);
        assert_eq!(server.process.end().status.code(), Some(code));
    }
}

/// A line of either format with what differs from run to run taken out: `T`, `P` and `0` for the time, the peer and the
/// duration.
#[track_caller]
fn masked(line: &str, client: &Client) -> String {
    let peer = client.stream.local_addr().unwrap().to_string();
    let is_json = line.starts_with('{');
    let (before, line) = line.split_at(if is_json { "{\"time\":\"".len() } else { 0 });
    let (time, line) = line.split_at(24);
    assert!(time.as_bytes()[10] == b'T' && time.as_bytes()[19] == b'.' && time.ends_with('Z'), "{time}");
    let line = format!("{before}T{}", line.replacen(&peer, "P", 1));
    if is_json {
        let (line, micros) = line.split_once("\"duration_us\":").unwrap();
        assert!(micros.strip_suffix('}').unwrap().parse::<u64>().is_ok(), "{micros}");
        return format!("{line}\"duration_us\":0}}");
    }
    let is_duration = |word: &str| word.strip_suffix("us").is_some_and(|n| n.parse::<u64>().is_ok());
    let words = line.split(' ').map(|word| if is_duration(word) { "0us" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// On a socket for both IPv6 and IPv4, an IPv4 client is told as an address of IPv6.
#[test]
fn a_peer_of_ipv4_is_one_on_every_socket() {
    if TcpListener::bind("[::]:0").is_err() {
        return println!("skipped: this system has no IPv6");
    }
    let server = Server::start(&["--listen", ":0", "--admin", ":0", "--open"]);
    assert_eq!(
        Client::connect((Ipv6Addr::LOCALHOST, server.listen.port()).into())
            .ask("GET /healthz", &[], "")
            .status,
        200
    );
    let connect = |at: SocketAddr| Client::connect((Ipv4Addr::LOCALHOST, at.port()).into());
    let mut player = connect(server.listen);
    assert_eq!(player.call("alice", "POST /?id=V", "").status, 201);
    let line = server.process.stdout.line("POST /?id=V");
    let peer = format!(" {} ", player.stream.local_addr().unwrap());
    assert!(peer.starts_with(" 127.0.0.1:") && line.contains(&peer), "{line} names{peer}");
    let mut operator = connect(server.admin());
    assert_eq!(operator.ask("DELETE /users/alice", &[], "").status, 200, "it is loopback");
    operator.send("GET /users/alice HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(operator.answer().status, 403, "also where that forbids something");
}

#[test]
fn each_request_is_one_line_with_its_fields_escaped() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traceparent = format!("traceparent: {parent}");
    let alice = basic("alice", "a-secret");
    let rows = [
        (
            "POST /?id=V",
            &[&*alice][..],
            r#""POST /?id=V" "alice" 201 - 1 0us"#.to_owned(),
            r#""method":"POST","target":"/?id=V","user":"alice","status":201,"count":1"#.to_owned(),
        ),
        (
            "GET /?id=%0A%22",
            &[&alice],
            r#""GET /?id=%0A%22" "alice" 400 QueryControl - 0us"#.into(),
            r#""method":"GET","target":"/?id=%0A%22","user":"alice","status":400,"problem":"QueryControl""#
                .into(),
        ),
        (
            "HEAD /?id=\"a'",
            &[&alice],
            r#""HEAD /?id=\"a'" "alice" 200 - 1 0us"#.into(),
            r#""method":"HEAD","target":"/?id=\"a'","user":"alice","status":200,"count":1"#.into(),
        ),
        (
            "GET /",
            &[],
            r#""GET /" - 401 Credentials - 0us"#.into(),
            r#""method":"GET","target":"/","status":401,"problem":"Credentials""#.into(),
        ),
        (
            "GET /",
            &[&basic("a\n200 \"", "x")],
            r#""GET /" - 401 Credentials - 0us"#.into(),
            r#""method":"GET","target":"/","status":401,"problem":"Credentials""#.into(),
        ),
        (
            "GET /",
            &[&basic(r#"a" 200 \é"#, "x")],
            r#""GET /" "a\" 200 \\é" 200 - 0 0us"#.into(),
            r#""method":"GET","target":"/","user":"a\" 200 \\é","status":200,"count":0"#.into(),
        ),
        (
            "OPTIONS *",
            &[&traceparent],
            format!(r#""OPTIONS *" - 204 - - 0us traceparent="{parent}""#),
            format!(r#""method":"OPTIONS","target":"*","traceparent":"{parent}","status":204"#),
        ),
        (
            "BREW /nope",
            &["traceparent: two words"],
            r#""BREW /nope" - 404 NoPath - 0us"#.into(),
            r#""method":"BREW","target":"/nope","status":404,"problem":"NoPath""#.into(),
        ),
    ];
    for format in ["text", "json"] {
        let server = Server::start(&["--log", format, "--workers", "1"]);
        let mut client = server.connect();
        for (i, (call, fields, _, _)) in rows.iter().enumerate() {
            let id = format!("X-Request-Id: \"r{i}");
            client.ask(call, &[fields, &[&*id][..]].concat(), "");
        }
        client.send("nonsense\r\n\r\n");
        let refused = client.answer();
        let lines = server.process.stdout.lines(rows.len() + 1);
        for (i, ((_, _, text, json), line)) in rows.iter().zip(&lines).enumerate() {
            let expected = match format {
                "text" => format!(r#"T P public "\"r{i}" {text}"#),
                _ => format!(
                    r#"{{"time":"T","peer":"P","listener":"public","id":"\"r{i}",{json},"duration_us":0}}"#
                ),
            };
            assert_eq!(masked(line, &client), expected);
            assert!(format == "text" || json::any(line.as_bytes()).is_ok(), "{line}");
        }
        let id = refused.field("x-request-id").unwrap();
        let expected = match format {
            "text" => format!(r#"T P public "{id}" - - 400 RequestLine - 0us"#),
            _ => format!(
                r#"{{"time":"T","peer":"P","listener":"public","id":"{id}","status":400,"problem":"RequestLine","duration_us":0}}"#
            ),
        };
        assert_eq!(masked(&lines[rows.len()], &client), expected);
        // A server waits a while for a client that it has sent away to hang up too.
        client.half_close();
        let ended = server.stop();
        assert_eq!(ended.stdout.lines().count(), rows.len() + 1, "{}", ended.stdout);
        assert!(!format!("{ended:?}").contains("a-secret"));
    }
}

#[cfg(feature = "operators")]
#[test]
fn a_log_that_nobody_can_read_any_more_holds_up_nobody() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let server = Server::spawn(program(&[]).stdout(writer));
    let mut client = server.connect();
    for _ in 0..20 {
        assert_eq!(client.call("alice", "POST /?id=V", "").status / 100, 2);
    }
    eventually("lost lines are counted", || {
        server.metric("streamer_log_lines_lost_total{cause=\"failed\"}") >= 20.0
    });
    let ended = server.stop();
    let lost = "log lines were lost: standard output cannot be written: Broken pipe (os error 32)";
    assert_eq!(ended.status.code(), Some(0));
    // At once, and what came later within the minute at the end.
    let lost = ended.stderr.lines().filter_map(|line| line.strip_suffix(lost)?.strip_prefix("streamer: "));
    let lost: Vec<u32> = lost.map(|n| n.trim_end().parse().unwrap()).collect();
    assert!(lost.len() <= 2 && lost.iter().sum::<u32>() >= 20, "{}", ended.stderr);
}

#[test]
fn a_full_disk_under_the_log_is_told_of() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(full) = full else { return println!("skipped: this system has no /dev/full") };
    let server = Server::spawn(program(&["--log", "json"]).stdout(full));
    server.look("/");
    let line = server.process.stderr.line("log lines were lost");
    assert!(line.contains("No space left on device"), "{line}");
}

#[test]
fn with_json_every_line_is_json_with_a_time() {
    let scratch = Scratch::new("json");
    let hash = "0".repeat(64);
    let users = scratch.write("users", &format!("ann:{hash}\n"));
    let server = Server::start(&["--log", "json", "--users", &users, "--endpoint", "/play"]);
    server.process.signal("HUP");
    server.process.stderr.line("reloaded: ");
    scratch.write("users", "nonsense\n");
    server.process.signal("HUP");
    server.process.stderr.line("nothing reloaded: ");
    server.connect().ask("GET /", &[], "");
    let ended = server.stop();
    let mut heard = Vec::new();
    for line in ended.stderr.lines().chain(ended.stdout.lines()) {
        assert!(json::any(line.as_bytes()).is_ok() && line.starts_with("{\"time\":\"20"), "{line}");
        heard.extend(line.split_once("\"message\":\"").map(|(_, text)| text.to_owned()));
    }
    for said in [
        "--endpoint has no {id}",
        "streamer 2.0.0 listens on http://",
        "reloaded: 1 user",
        "nothing reloaded: ",
        "stopping on SIGTERM",
        "stopped",
    ] {
        assert!(heard.iter().any(|text| text.starts_with(said)), "{said}: {heard:?}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ended = run(&["--log", "json", "--listen", &taken.local_addr().unwrap().to_string()]);
    assert!(ended.status.code() == Some(1) && ended.stderr.starts_with("{\"time\":\"20"), "{}", ended.stderr);
}

/// Sends so much for the log that neither its pipe nor its memory can hold it.
#[track_caller]
fn flood(server: &Server) -> usize {
    let mut client = server.connect();
    let call = format!("GET /?id=V&x={}", "y".repeat(7900));
    for _ in 0..1000 {
        assert_eq!(client.call("alice", &call, "").status, 200);
    }
    1000
}

#[test]
fn a_stalled_log_holds_up_nobody_and_says_what_it_lost() {
    let (mut reader, writer) = io::pipe().unwrap();
    let server = Server::spawn(program(&["--workers", "1", "--admin", "off"]).stdout(writer));
    let sent = flood(&server);
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    assert_eq!(server.stop().status.code(), Some(0));
    let text = reading.join().unwrap().unwrap();
    let (mut written, mut lost) = (0, 0);
    for line in text.lines() {
        match line.strip_suffix(" log lines were lost: the log was not read in time") {
            Some(n) => lost += n.parse::<usize>().unwrap(),
            None => written += usize::from(line.contains("\"GET /?id=V&x=") && line.ends_with("us")),
        }
    }
    assert!(lost > 0);
    assert_eq!(written + lost, sent);
}

#[cfg(feature = "operators")]
#[test]
fn a_stalled_log_is_counted_and_does_not_keep_the_program() {
    let (reader, writer) = io::pipe().unwrap();
    let server = Server::spawn(program(&["--workers", "1"]).stdout(writer));
    flood(&server);
    eventually("lost lines are counted", || {
        server.metric("streamer_log_lines_lost_total{cause=\"slow\"}") > 0.0
    });
    let asked = Instant::now();
    assert_eq!(server.stop().status.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    drop(reader);
}

#[test]
fn the_last_line_is_whole_when_nobody_reads_on() {
    let (mut reader, writer) = io::pipe().unwrap();
    let server = Server::spawn(program(&["--workers", "1", "--log", "json"]).stdout(writer));
    let mut client = server.connect();
    for i in 0..2000 {
        let call = format!("GET /?id=V&x={}", "y".repeat(i % 1500));
        assert_eq!(client.call("alice", &call, "").status, 200);
    }
    assert_eq!(server.stop().status.code(), Some(0));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(text.len() > 32_000 && text.ends_with("}\n"), "{} bytes", text.len());
    text.lines().for_each(|line| assert!(json::any(line.as_bytes()).is_ok(), "{line}"));
}

#[cfg(feature = "operators")]
#[test]
fn the_program_needs_no_file_beside_it() {
    let empty = Scratch::new("empty");
    // Linked and not copied: a file that was just written may still be open in a child of another test's.
    let alone = empty.0.join("streamer");
    fs::hard_link(env!("CARGO_BIN_EXE_streamer"), &alone).unwrap();
    let mut command = std::process::Command::new(&alone);
    command.current_dir(&empty.0).env_clear().stdout(std::process::Stdio::piped());
    let server = Server::spawn(&mut command);
    assert_eq!(server.call("alice", "POST /?id=V", "").status, 201);
    assert!(server.look("/").body.contains("<html"));
    assert_eq!(server.stop().status.code(), Some(0));
    let left: Vec<_> = fs::read_dir(&empty.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["streamer"], "it leaves nothing behind");
}
