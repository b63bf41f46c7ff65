//! Who gets in: `--users`, `--secret`, `streamer token`, reloading, and the admin listener's changing calls.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use streamer::app::auth::signed::Keys;
use streamer::codec::{base64, hex, sha256};

use crate::server::{Client, Response, Scratch, Server, basic, eventually, run};

const KEY: &str = "a key for tests, of 32 bytes or more";
const OTHER_KEY: &str = "another key for tests, long enough too";
/// Long after these tests, in seconds since the Unix epoch.
const FAR: u64 = 32_503_680_000;

/// A line of the users file.
fn line(user: &str, token: &str, rest: &str) -> String {
    let mut digits = Vec::new();
    hex::encode(&sha256::digest(token.as_bytes()), &mut digits);
    format!("{user}:{}{rest}\n", String::from_utf8(digits).unwrap())
}

fn mint(key: &str, user: &str, limit: Option<u32>, expiry: u64) -> String {
    Keys::read(key.as_bytes()).expect("the key is long enough").mint(user.as_bytes(), limit, expiry)
}

/// An authorization field over any bytes, which need not be text.
fn basic_bytes(pair: &[u8]) -> String {
    let mut field = b"Authorization: Basic ".to_vec();
    base64::encode(pair, &mut field);
    String::from_utf8(field).unwrap()
}

#[track_caller]
fn look(client: &mut Client, user: &str, token: &str) -> u16 {
    client.ask("GET /?id=V", &[&basic(user, token)], "").status
}

/// Sends one wrong pair after the other. All must get the same answer: it may not tell what was wrong.
#[track_caller]
fn check_refused(server: &Server, pairs: &[&[u8]]) {
    let plain = |mut answer: Response| {
        answer.fields.retain(|(name, _)| !matches!(&**name, "date" | "x-request-id"));
        answer
    };
    let mut client = server.connect();
    let nobody = plain(client.ask("GET /?id=V", &[], ""));
    assert_eq!(nobody.status, 401);
    for pair in pairs {
        let answer = plain(client.ask("GET /?id=V", &[&basic_bytes(pair)], ""));
        assert_eq!(format!("{answer:?}"), format!("{nobody:?}"), "{}", pair.escape_ascii());
    }
}

#[test]
fn of_a_users_file_only_the_right_token_gets_in() {
    let scratch = Scratch::new("users");
    let token = "T0ken-of_alice";
    let text =
        ["# staff\n\n", &line("alice", token, ""), &line("Żółw", "€", "\r"), &line("empty", "", "")].concat();
    let server = Server::start(&["--users", &scratch.write("users", &text)]);
    let mut client = server.connect();
    assert_eq!(look(&mut client, "alice", token), 200);
    assert_eq!(look(&mut client, "Żółw", "€"), 200);
    assert_eq!(look(&mut client, "empty", ""), 200);

    let hash = line("alice", token, "");
    let overlong = format!("alice:{token}{}", "x".repeat(5000));
    check_refused(
        &server,
        &[
            b"alice:t0ken-of_alice",
            b"alice:T0ken-of_alic",
            b"alice:T0ken-of_alice ",
            b"alice: T0ken-of_alice",
            b"alice:T0ken-of_alice\0",
            b"alice:T0ken-of_alice\n",
            b"alice:",
            b"alice:\xFF\xFE",
            "alice:T0ken-of_alicé".as_bytes(),
            overlong.as_bytes(),
            hash.trim_end().as_bytes(),
            b"Alice:T0ken-of_alice",
            b"alice :T0ken-of_alice",
            b"bob:T0ken-of_alice",
            b"empty:T0ken-of_alice",
            b"alice:alice",
            b":T0ken-of_alice",
            b"alice",
            b"# staff:",
            "Zolw:€".as_bytes(),
        ],
    );
}

#[test]
fn of_signed_tokens_only_the_users_own_and_valid_gets_in() {
    let scratch = Scratch::new("secret");
    let server = Server::start(&["--secret", &scratch.write("secret", KEY)]);
    let token = mint(KEY, "alice", Some(5), FAR);
    let mut client = server.connect();
    assert_eq!(look(&mut client, "alice", &token), 200);
    assert_eq!(look(&mut client, "Żółw", &mint(KEY, "Żółw", None, FAR)), 200);
    assert_eq!(look(&mut client, "alice", &mint(KEY, "alice", Some(0), FAR)), 200);

    let mut wrong = vec![
        mint(OTHER_KEY, "alice", Some(5), FAR),
        mint(KEY, "alice", Some(5), 1_000_000_000),
        mint(KEY, "alice5", None, FAR),
        mint(KEY, "alice", Some(5), FAR).replace("v1.5.", "v1.6."),
        mint(KEY, "alice", Some(5), FAR).replace("v1.5.", "v1.."),
        mint(KEY, "alice", Some(5), FAR).replace("v1.", "v2."),
        mint(KEY, "alice", Some(5), FAR).replace(&FAR.to_string(), "99999999999"),
        mint(KEY, "alice", Some(1001), FAR),
        format!("{token}="),
        format!("{token}.x"),
        format!(" {token}"),
        format!("{token}{}", "A".repeat(5000)),
        String::new(),
        "v1".into(),
        "v1...".into(),
        KEY.into(),
        format!("{token}é"),
    ];
    for at in 0..token.len() {
        let mut tampered = token.clone().into_bytes();
        tampered[at] ^= 1;
        wrong.push(String::from_utf8(tampered).unwrap());
        wrong.push(token[..at].to_owned());
    }
    let pairs: Vec<Vec<u8>> = wrong.iter().map(|token| format!("alice:{token}").into_bytes()).collect();
    let mut pairs: Vec<&[u8]> = pairs.iter().map(Vec::as_slice).collect();
    let bobs = format!("bob:{token}");
    pairs.extend([bobs.as_bytes(), b"alice:\xFF"]);
    check_refused(&server, &pairs);
}

#[test]
fn a_user_has_a_limit_of_their_own() {
    let scratch = Scratch::new("limits");
    let users = [line("few", "x", ":1"), line("many", "x", ":4:admin"), line("usual", "x", "::")].concat();
    let by_list = Server::start(&["--limit", "2", "--users", &scratch.write("users", &users)]);
    let by_token = Server::start(&["--limit", "2", "--secret", &scratch.write("secret", KEY)]);
    for (user, own, limit) in [("few", Some(1), 1), ("many", Some(4), 4), ("usual", None, 2)] {
        for (server, token) in [(&by_list, "x"), (&by_token, &*mint(KEY, user, own, FAR))] {
            let mut client = server.connect();
            let fields = basic(user, token);
            for i in 0..limit {
                assert_eq!(client.ask(&format!("POST /?id=v{i}"), &[&fields], "").status, 201, "{user} {i}");
            }
            let refused = client.ask("POST /?id=w", &[&fields], "");
            assert_eq!(refused.status, 409);
            let members = format!(r#""canWatch":false,"endpoint":null,"count":{limit},"limit":{limit},"#);
            assert!(refused.body.contains(&members), "{refused:?}");
        }
        let seen = by_list.look(&format!("/users/{user}")).body;
        assert!(seen.contains(&format!(r#""count":{limit},"limit":{limit},"#)), "{seen}");
        assert!(!seen.contains("known"), "{seen}");
    }
    for (server, unknown) in [(&by_list, true), (&by_token, false)] {
        let seen = server.look("/users/stranger").body;
        assert_eq!(seen.ends_with(r#","streams":[],"known":false}"#), unknown, "{seen}");
    }
}

#[test]
fn a_made_token_gets_its_user_in_by_the_line_beside_it() {
    let scratch = Scratch::new("made");
    let mut tokens = Vec::new();
    let mut file = String::new();
    for (args, tail) in [
        (&["token", "ann"][..], ""),
        (&["token", "ann b", "--limit", "2"], ":2"),
        (&["token", "ops", "--admin"], "::admin"),
        (&["token", "--admin", "--limit=7", "chief"], ":7:admin"),
    ] {
        let made = run(args);
        assert_eq!((made.status.code(), &*made.stderr), (Some(0), ""), "{args:?}");
        let lines: Vec<&str> = made.stdout.lines().collect();
        let [token, listed] = lines[..] else { panic!("{made:?}") };
        let (token, listed) =
            (token.strip_prefix("token: ").unwrap(), listed.strip_prefix("line:  ").unwrap());
        assert!(token.len() == 43 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        let user = listed.split(':').next().unwrap().to_owned();
        assert_eq!(format!("{listed}\n"), line(&user, token, tail));
        file += &format!("{listed}\n");
        assert!(!tokens.iter().any(|(_, other)| other == token), "no token is made twice");
        tokens.push((user, token.to_owned()));
    }
    let server = Server::start(&["--users", &scratch.write("users", &file)]);
    let mut client = server.connect();
    for (user, token) in &tokens {
        assert_eq!(look(&mut client, user, token), 200, "{user}");
    }
    assert_eq!(look(&mut client, "ann", &tokens[1].1), 401);
}

#[test]
fn a_minted_token_gets_its_user_in_without_any_line() {
    let scratch = Scratch::new("minted");
    let secret = scratch.write("secret", &format!("{KEY}\n"));
    let server = Server::start(&["--secret", &secret]);
    let mut client = server.connect();
    for (args, start) in [
        (&["token", "ann", "--secret", &secret][..], "v1.."),
        (&["token", "--limit", "2", "ann", "--secret", &secret, "--ttl", "3650d"], "v1.2."),
    ] {
        let made = run(args);
        let token = made.stdout.strip_suffix('\n').expect("one line");
        assert!(made.status.success() && token.starts_with(start), "{made:?}");
        assert_eq!((look(&mut client, "ann", token), look(&mut client, "bob", token)), (200, 401));
    }
    let made = run(&["token", "ann", "--secret", &secret, "--ttl", "1s"]);
    eventually("the token has expired", || look(&mut client, "ann", made.stdout.trim_end()) == 401);
    assert!(server.metric("streamer_auth_failures_total{cause=\"expired\"}") >= 1.0);
}

#[test]
fn keys_are_changed_without_an_outage() {
    let scratch = Scratch::new("keys");
    let secret = scratch.write("secret", KEY);
    let server = Server::start(&["--secret", &secret]);
    assert!(server.greeting.contains(&format!("1 key from {secret}")), "{}", server.greeting);
    let mut client = server.connect();
    let (old, new) = (mint(KEY, "ann", None, FAR), mint(OTHER_KEY, "ann", None, FAR));
    assert_eq!((look(&mut client, "ann", &old), look(&mut client, "ann", &new)), (200, 401));

    scratch.write("secret", &format!("{OTHER_KEY}\n{KEY}\n"));
    server.process.signal("HUP");
    assert_eq!(
        server.process.stderr.line("reloaded"),
        format!("streamer: reloaded: 2 keys from {secret}{}", warning(&secret))
    );
    eventually("the new key is taken", || look(&mut client, "ann", &new) == 200);
    assert_eq!(look(&mut client, "ann", &old), 200);
    let made = run(&["token", "ann", "--secret", &secret, "--ttl", "9d"]).stdout;
    scratch.write("secret", OTHER_KEY);
    server.process.signal("HUP");
    eventually("the old key is gone", || look(&mut client, "ann", &old) == 401);
    assert_eq!((look(&mut client, "ann", &new), look(&mut client, "ann", made.trim_end())), (200, 200));
}

/// What is said of a file that everybody can read, as those are that tests write.
fn warning(path: &str) -> String {
    let mode = fs::metadata(path).unwrap().permissions().mode();
    match mode & 0o004 {
        0 => String::new(),
        _ => format!("; warning: everybody on this machine can read it, `chmod o= {path}`"),
    }
}

#[test]
fn a_secret_that_everybody_can_read_gets_a_warning() {
    let scratch = Scratch::new("readable");
    let secret = scratch.write("secret", KEY);
    for (mode, warned) in [(0o644, true), (0o604, true), (0o640, false), (0o600, false)] {
        fs::set_permissions(&secret, Permissions::from_mode(mode)).unwrap();
        let server = Server::start(&["--secret", &secret]);
        assert_eq!(
            server.greeting.contains("warning: everybody on this machine can read it"),
            warned,
            "{mode:o}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_used_is_told_of_with_its_line() {
    let scratch = Scratch::new("bad");
    for (flag, text, number, said) in [
        ("--users", "alice".to_owned(), 1, "after the user comes the SHA-256 of the token as 64 hex digits"),
        (
            "--users",
            line("ann", "x", "") + "# \n" + &line("bob", "x", ":1001"),
            3,
            "the limit behind the hash is not a number from 0 to 1000",
        ),
        ("--users", line("ann", "x", "").repeat(2), 2, "this user has a line already; keep one"),
        (
            "--users",
            format!("\u{feff}{}", line("ann", "x", "")),
            1,
            "the line begins with a byte order mark; save the file without one",
        ),
        (
            "--secret",
            format!("{KEY}\n# the old key, to be gone by the first of May\n"),
            2,
            "this is no key but a comment or a PEM line; a file of keys holds nothing but keys",
        ),
        ("--secret", "short\n".to_owned(), 1, "a key has at least 32 bytes, this one 5"),
        ("--secret", "\n\n".to_owned(), 1, "there is no key; write one of at least 32 bytes on a line"),
        ("--secret", format!("{KEY}\nshort"), 2, "a key has at least 32 bytes, this one 5"),
    ] {
        let path = scratch.write("file", &text);
        let ended = run(&[flag, &path, "--listen", "127.0.0.1:0", "--admin", "off"]);
        let expected = format!("streamer: {path}, line {number}: {said}\n");
        assert_eq!((ended.status.code(), ended.stderr), (Some(1), expected));
    }
    let missing = scratch.0.join("missing");
    for (path, said) in [
        (&*missing, "there is no such file; write the path of one"),
        (&scratch.0, "this is a directory; name a file"),
    ] {
        let path = path.to_str().unwrap();
        for args in [
            &["--users", path, "--listen", "127.0.0.1:0", "--admin", "off"][..],
            &["--secret", path, "--listen", "127.0.0.1:0", "--admin", "off"],
            &["token", "ann", "--secret", path],
        ] {
            let ended = run(args);
            let flag = if args[0] == "--users" { "--users" } else { "--secret" };
            let expected = format!("streamer: {flag} {path}: {said}\n");
            assert_eq!((ended.status.code(), ended.stderr), (Some(1), expected));
        }
    }
}

#[test]
fn a_hangup_reads_the_users_again_and_a_bad_file_keeps_the_old() {
    let scratch = Scratch::new("reload");
    let users = scratch.write("users", &[line("ann", "x", ""), line("bob", "x", "")].concat());
    let server = Server::start(&["--users", &users, "--workers", "2"]);
    assert!(server.greeting.ends_with(&format!("; 2 users from {users}")), "{}", server.greeting);
    let mut clients = [server.connect(), server.connect()];
    for (client, id) in clients.iter_mut().zip(["V", "W"]) {
        assert_eq!(client.ask(&format!("POST /?id={id}"), &[&basic("ann", "x")], "").status, 201);
    }

    scratch.write("users", &[line("cat", "x", ""), "ann:nonsense\n".into()].concat());
    server.process.signal("HUP");
    let said = format!(
        "streamer: nothing reloaded: {users}, line 2: after the user comes the SHA-256 of the token as 64 hex digits"
    );
    assert_eq!(server.process.stderr.line("nothing reloaded"), said);
    fs::remove_file(&users).unwrap();
    server.process.signal("HUP");
    assert!(server.process.stderr.line("there is no such file").starts_with("streamer: nothing reloaded: "));
    for client in &mut clients {
        assert_eq!(["ann", "bob", "cat"].map(|user| look(client, user, "x")), [200, 200, 401]);
    }

    scratch.write("users", &[line("ann", "x", ":1"), line("cat", "y", ""), line("dan", "x", "")].concat());
    server.process.signal("HUP");
    assert_eq!(
        server.process.stderr.line(": reloaded: "),
        format!("streamer: reloaded: 3 users from {users}")
    );
    for client in &mut clients {
        eventually("the new list holds", || look(client, "dan", "x") == 200);
        assert_eq!(["ann", "bob", "cat"].map(|user| look(client, user, "x")), [200, 401, 401]);
        assert_eq!(look(client, "cat", "y"), 200);
        // Two play, one may: both go on, and no third begins.
        let list = client.ask("GET /", &[&basic("ann", "x")], "").body;
        assert!(list.starts_with(r#"{"canWatch":false,"endpoint":null,"count":2,"limit":1,"#), "{list}");
        assert_eq!(client.ask("PATCH /?id=V", &[&basic("ann", "x")], "").status, 200);
        assert_eq!(client.ask("POST /?id=U", &[&basic("ann", "x")], "").status, 409);
    }
    let reloads = ["taken", "refused"]
        .map(|result| server.metric(&format!("streamer_reloads_total{{result=\"{result}\"}}")));
    assert_eq!(reloads, [1.0, 2.0]);
}

#[test]
fn no_number_of_hangups_hides_a_stop_or_the_last_list() {
    let scratch = Scratch::new("hangups");
    let users = scratch.write("users", &line("ann", "x", ""));
    let server = Server::start(&["--users", &users, "--workers", "2"]);
    server.process.signals("HUP", 2000);
    scratch.write("users", &line("bob", "x", ""));
    server.process.signal("HUP");
    let mut client = server.connect();
    eventually("the last list holds", || look(&mut client, "bob", "x") == 200);
    server.process.signals("HUP", 2000);
    assert_eq!(server.stop().status.code(), Some(0));
}

#[test]
fn a_hangup_without_files_changes_nothing() {
    let server = Server::start(&[]);
    server.process.signal("HUP");
    assert_eq!(server.process.stderr.line("reloaded"), "streamer: reloaded: anybody is let in (--open)");
    assert_eq!(server.call("alice", "POST /?id=V", "").status, 201);
}

#[test]
fn failures_are_counted_by_cause_and_no_secret_is_written_down() {
    let scratch = Scratch::new("causes");
    let users = scratch.write("users", &line("alice", "the-token", ""));
    let secret = scratch.write("secret", KEY);
    let signed = mint(KEY, "alice", None, FAR);
    let expired = mint(KEY, "alice", None, 1_000_000_000);
    let too_much = mint(KEY, "alice", Some(1001), FAR);
    let malformed =
        ["Authorization: Basic !", "Authorization: Bearer the-token", "Authorization: Basic YQ=="];
    let mut malformed: Vec<String> = malformed.iter().map(|&field| field.into()).collect();
    malformed.push(basic("alice", "the-token\n"));
    for (flags, right, wrong, causes) in [
        (
            ["--users", &users],
            "the-token",
            vec![basic("alice", "a-wrong-token"), basic("bob", "the-token")],
            [1, 4, 1, 1, 0, 0],
        ),
        (
            ["--secret", &secret],
            &*signed,
            vec![basic("alice", "a-wrong-token"), basic("alice", &expired), basic("alice", &too_much)],
            [1, 4, 0, 1, 1, 1],
        ),
    ] {
        for format in ["text", "json"] {
            let server = Server::start(&[&flags[..], &["--log", format]].concat());
            let mut client = server.connect();
            assert_eq!(look(&mut client, "alice", right), 200);
            assert_eq!(client.ask("GET /", &[], "").status, 401);
            for field in malformed.iter().chain(&wrong) {
                assert_eq!(client.ask("GET /", &[field], "").status, 401, "{field}");
            }
            let names =
                ["missing", "malformed", "unknown_user", "wrong_token", "expired", "limit_out_of_range"];
            for (name, count) in names.iter().zip(causes) {
                let sample = format!("streamer_auth_failures_total{{cause=\"{name}\"}}");
                assert_eq!(server.metric(&sample), f64::from(count), "{flags:?} {name}");
            }
            let page = server.look("/stats").body + &server.look("/metrics").body;
            server.process.signal("HUP");
            server.process.stderr.line("reloaded");
            let ended = server.stop();
            let refused =
                |line: &&str| line.contains(" 401 Credentials - ") || line.contains(r#""status":401,"#);
            assert_eq!(ended.stdout.lines().filter(refused).count(), 1 + malformed.len() + wrong.len());
            let written = format!("{page}{ended:?}");
            for secret in ["the-token", "a-wrong-token", KEY, &signed, &expired] {
                let mut encoded = Vec::new();
                base64::encode(format!("alice:{secret}").as_bytes(), &mut encoded);
                assert!(!written.contains(secret) && !written.contains(str::from_utf8(&encoded).unwrap()));
            }
        }
    }
}

/// A DELETE on the admin listener.
#[track_caller]
fn end(server: &Server, user: &str, fields: &[&str]) -> Response {
    let host =
        if fields.iter().any(|field| field.starts_with("Host: ")) { "" } else { "Host: localhost\r\n" };
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let mut client = Client::connect(server.admin());
    client.send(format!("DELETE /users/{user} HTTP/1.1\r\n{host}{fields}\r\n"));
    client.answer()
}

#[test]
fn changing_calls_are_for_loopback_under_no_foreign_name_or_for_admins() {
    let scratch = Scratch::new("admins");
    let users = [line("ann", "x", ""), line("ops", "x", "::admin")].concat();
    let secret = scratch.write("secret", KEY);
    let users = scratch.write("users", &users);
    let (ops, ann) = (basic("ops", "x"), basic("ann", "x"));
    let (wrong, unknown) = (basic("ops", "y"), basic("eve", "x"));
    let signed = basic("ops", &mint(KEY, "ops", None, FAR));
    let open: &[&str] = &[];
    let (listed, signing): (&[&str], &[&str]) = (&["--users", &users], &["--secret", &secret]);
    let foreign = "Over loopback this call takes an address or localhost as Host; use one of them.";
    let forbidden = "This call is for loopback or for users marked `admin`; use one of them.";
    let unauthorized = "Valid credentials are needed; send `Authorization: Basic` with user and token.";
    for (flags, fields, status, detail) in [
        (open, &[][..], 200, ""),
        (open, &["Host: 127.0.0.1:8001"], 200, ""),
        (open, &["Host: [::1]:8001"], 200, ""),
        (open, &["Host: LOCALHOST:1"], 200, ""),
        (open, &["Host: evil.example"], 403, foreign),
        (open, &["Host: localhost.evil.example"], 403, foreign),
        (open, &["Host: 127.0.0.1.evil.example:8001"], 403, foreign),
        (open, &["Host: evil.example", &ops], 403, foreign),
        (listed, &[], 200, ""),
        (listed, &["Host: evil.example"], 403, foreign),
        (listed, &[&ops], 200, ""),
        (listed, &["Host: admin.example", &ops], 200, ""),
        (listed, &[&ann], 403, forbidden),
        (listed, &[&wrong], 401, unauthorized),
        (listed, &[&unknown], 401, unauthorized),
        (listed, &["Authorization: Basic !"], 401, unauthorized),
        (signing, &[], 200, ""),
        (signing, &["Host: evil.example"], 403, foreign),
        (signing, &["Host: evil.example", &signed], 403, foreign),
    ] {
        let server = Server::start(flags);
        let answer = end(&server, "ann", fields);
        assert_eq!(answer.status, status, "{flags:?} {fields:?}: {answer:?}");
        let says = answer.body.contains(&format!(r#""detail":"{detail}""#));
        assert_eq!(says, status != 200, "{answer:?}");
        assert_eq!(answer.field("www-authenticate").is_some(), status == 401);
    }
    // Looking changes nothing, and is for everybody who can reach the listener; but no page may look through a name.
    let server = Server::start(&["--users", &users]);
    for (target, host, status) in [
        ("/users/ann", "localhost", 200),
        ("/users/ann", "evil.example", 403),
        ("/stats", "[::1]", 200),
        ("/stats", "evil.example", 403),
        ("/history", "evil.example", 403),
        ("/metrics", "evil.example", 200),
    ] {
        let mut client = Client::connect(server.admin());
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.answer().status, status, "{target} as {host}");
    }
}
