//! Who gets in: `--users`, `--secret`, `streamer token`, reloading, and the admin listener's changing calls.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use streamer::app::auth::keys::{Claims, Keys};
use streamer::codec::{base64, hex, sha256};

use crate::server::{Client, Response, Scratch, Server, basic, eventually, run};

const KEY: &str = "a-key-for-tests-of-32-bytes-or-more";
const OTHER_KEY: &str = "another/key+for=tests,long-enough-too";
/// Long after these tests, in seconds since the Unix epoch.
const FAR: u64 = 32_503_680_000;

/// A line of the users file.
fn line(user: &str, token: &str, rest: &str) -> String {
    let mut digits = Vec::new();
    hex::encode(&sha256::digest(token.as_bytes()), &mut digits);
    format!("{user}:{}{rest}\n", String::from_utf8(digits).unwrap())
}

fn mint(key: &str, user: &str, limit: Option<&str>, expiry: u64) -> String {
    sign(key, &Claims { user, limit, expiry, ..Claims::default() })
}

fn sign(key: &str, claims: &Claims) -> String {
    Keys::read(key.as_bytes()).expect("it is a key").mint(claims)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
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
    let token = mint(KEY, "alice", Some("5"), FAR);
    let mut client = server.connect();
    for (user, token) in [
        ("alice", &token),
        ("Żółw", &mint(KEY, "Żółw", None, FAR)),
        ("alice", &mint(KEY, "alice", Some("0"), FAR)),
    ] {
        assert_eq!(look(&mut client, user, token), 200);
        assert_eq!(client.ask("GET /?id=V", &[&bearer(token)], "").status, 200);
        assert_eq!(client.ask("GET /?id=V", &[&format!("authorization: bEARER   {token}")], "").status, 200);
    }

    let mut wrong = vec![
        mint(OTHER_KEY, "alice", Some("5"), FAR),
        mint(KEY, "alice", Some("5"), 1_000_000_000),
        mint(KEY, "alice", Some("1001"), FAR),
        mint(KEY, "alice:", None, FAR),
        sign(KEY, &Claims { user: "alice", expiry: FAR, audience: Some("tv"), ..Claims::default() }),
        format!("{token}="),
        format!("{token}.x"),
        format!("{token}{}", "A".repeat(5000)),
        "v1.5.1800000000.RqwS6wMMOPtAWv4-h_VBHMFsRswtnqfLbhldMVpNLVs".into(),
        String::new(),
        KEY.into(),
        format!("{token}é"),
    ];
    for at in 0..token.len() {
        let mut tampered = token.clone().into_bytes();
        tampered[at] ^= 1;
        wrong.push(String::from_utf8(tampered).unwrap());
        wrong.push(token[..at].to_owned());
    }
    let fields: Vec<String> = wrong.iter().map(|token| bearer(token)).collect();
    check_all_refused(&server, &fields, r#"Bearer realm="streamer", error="invalid_token""#);
    // The same as a password, and what only a password can be.
    wrong.extend([format!(" {token}"), format!("{token}\x7f"), mint(KEY, "alice5", None, FAR)]);
    let pairs: Vec<Vec<u8>> = wrong.iter().map(|token| format!("alice:{token}").into_bytes()).collect();
    let mut pairs: Vec<&[u8]> = pairs.iter().map(Vec::as_slice).collect();
    let bobs = format!("bob:{token}");
    pairs.extend([bobs.as_bytes(), b"alice:\xFF", token.as_bytes()]);
    check_refused(&server, &pairs);
    for fields in [&[&*bearer(&token), &basic("alice", &token)][..], &[&bearer(&token), &bearer(&token)]] {
        assert_eq!(server.connect().ask("GET /?id=V", fields, "").status, 400);
    }
}

/// Each field gets the same answer, with `challenge` behind that of Basic.
#[track_caller]
fn check_all_refused(server: &Server, fields: &[String], challenge: &str) {
    let mut client = server.connect();
    let mut first = None;
    for field in fields {
        let mut answer = client.ask("GET /?id=V", &[field], "");
        let challenges: Vec<_> = answer
            .fields
            .extract_if(.., |(name, _)| name == "www-authenticate")
            .map(|(_, said)| said)
            .collect();
        assert_eq!(challenges, ["Basic realm=\"streamer\", charset=\"UTF-8\"", challenge], "{field}");
        answer.fields.retain(|(name, _)| !matches!(&**name, "date" | "x-request-id"));
        let answer = format!("{answer:?}");
        assert_eq!(first.get_or_insert(answer.clone()), &answer, "{field}");
    }
}

#[test]
fn a_bearer_token_where_none_is_taken_is_told_so() {
    let scratch = Scratch::new("bearer");
    let users = scratch.write("users", &line("alice", "x", ""));
    let token = mint(KEY, "alice", None, FAR);
    for flags in [&["--open"][..], &["--users", &users]] {
        let server = Server::start(flags);
        let answer = server.connect().ask("GET /?id=V", &[&bearer(&token)], "");
        assert_eq!(answer.status, 401);
        assert_eq!(answer.field("www-authenticate"), Some("Basic realm=\"streamer\", charset=\"UTF-8\""));
        assert!(
            answer.body.contains("No Bearer token is taken here; send `Authorization: Basic`"),
            "{answer:?}"
        );
        assert_eq!(server.metric("streamer_auth_failures_total{cause=\"scheme\"}"), 1.0);
    }
}

#[test]
fn a_page_of_another_origin_shows_a_token_and_can_read_why_it_is_not_taken() {
    let scratch = Scratch::new("cors");
    let origin = "Origin: https://tv.example";
    let server = Server::start(&["--secret", &scratch.write("secret", KEY), "--cors", "https://tv.example"]);
    let mut client = server.connect();
    let wanted = "Access-Control-Request-Headers: authorization, content-type";
    let asked = [origin, "Access-Control-Request-Method: PATCH", wanted];
    let preflight = client.ask("OPTIONS /?id=V", &asked, "");
    assert_eq!(
        (preflight.status, preflight.field("access-control-allow-headers")),
        (204, Some(&wanted[32..]))
    );
    for (token, status) in [(mint(KEY, "ann", None, FAR), 201), (mint(OTHER_KEY, "ann", None, FAR), 401)] {
        let answer = client.ask("POST /?id=V", &[origin, &bearer(&token)], "");
        assert_eq!(answer.status, status);
        assert_eq!(answer.field("access-control-allow-origin"), Some("https://tv.example"));
        let exposed = answer.field("access-control-expose-headers").unwrap_or_default();
        assert!(exposed.contains("WWW-Authenticate"), "{exposed}");
    }
}

#[test]
fn an_audience_is_held_to() {
    let scratch = Scratch::new("audience");
    let secret = scratch.write("secret", KEY);
    let of = |audience| sign(KEY, &Claims { user: "ann", expiry: FAR, audience, ..Claims::default() });
    for (flags, good, bad) in [
        (&["--secret", &*secret][..], of(None), [of(Some("tv")), of(Some(""))]),
        (&["--secret", &secret, "--audience", "tv"], of(Some("tv")), [of(Some("web")), of(None)]),
    ] {
        let server = Server::start(flags);
        let mut client = server.connect();
        assert_eq!(look(&mut client, "ann", &good), 200);
        for bad in bad {
            assert_eq!(look(&mut client, "ann", &bad), 401);
        }
        assert_eq!(server.metric("streamer_auth_failures_total{cause=\"audience\"}"), 2.0);
    }
}

/// One connection may carry many users' requests, as a proxy's does: what it remembers of one token is of no other.
#[test]
fn a_connection_that_many_share_mixes_nobody_up() {
    let scratch = Scratch::new("mixed");
    let server = Server::start(&["--secret", &scratch.write("secret", KEY), "--workers", "1"]);
    let mut client = server.connect();
    let [ann, bob] =
        ["ann", "bob"].map(|user| mint(KEY, user, Some(if user == "ann" { "1" } else { "2" }), FAR));
    let expired = mint(KEY, "ann", None, 1_000_000_000);
    for _ in 0..3 {
        for (token, limit) in [(&ann, 1), (&ann, 1), (&bob, 2), (&ann, 1), (&bob, 2), (&bob, 2)] {
            let list = client.ask("GET /", &[&bearer(token)], "").body;
            assert!(list.contains(&format!("\"limit\":{limit},")), "{list}");
            assert_eq!(client.ask("GET /", &[&bearer(&expired)], "").status, 401);
            assert_eq!(client.ask("GET /", &[&basic("eve", token)], "").status, 401);
        }
    }
    // The newest request's limit holds.
    assert_eq!(client.ask("POST /?id=V", &[&bearer(&ann)], "").status, 201);
    assert_eq!(client.ask("POST /?id=W", &[&bearer(&ann)], "").status, 409);
    let more = mint(KEY, "ann", Some("2"), FAR);
    assert_eq!(client.ask("POST /?id=W", &[&bearer(&more)], "").status, 201);
    assert_eq!(client.ask("POST /?id=X", &[&bearer(&ann)], "").status, 409);
}

#[test]
fn a_user_has_a_limit_of_their_own() {
    let scratch = Scratch::new("limits");
    let users = [line("few", "x", ":1"), line("many", "x", ":4:admin"), line("usual", "x", "::")].concat();
    let by_list = Server::start(&["--limit", "2", "--users", &scratch.write("users", &users)]);
    let by_token = Server::start(&["--limit", "2", "--secret", &scratch.write("secret", KEY)]);
    for (user, own, limit) in [("few", Some("1"), 1), ("many", Some("4"), 4), ("usual", None, 2)] {
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
    // What a token carries is not known without it.
    let seen = by_token.look("/users/few").body;
    assert!(
        seen.starts_with(r#"{"canWatch":null,"endpoint":null,"count":1,"limit":null,"streams":[{"#),
        "{seen}"
    );
    let seen = by_token.look("/users/few?id=w").body;
    assert_eq!(seen, r#"{"canWatch":null,"endpoint":null,"count":1}"#);
    assert_eq!(operate(&by_token, "DELETE /users/few?hold=1h", &[]).status, 200);
    let seen = by_token.look("/users/few").body;
    assert!(seen.starts_with(r#"{"canWatch":false,"endpoint":null,"count":0,"limit":null,"#), "{seen}");
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
    let key = run(&["key"]).stdout;
    assert!(key.len() == 44 && key.ends_with('\n') && key != run(&["key"]).stdout, "{key}");
    let secret = scratch.write("secret", &key);
    let server = Server::start(&["--secret", &secret, "--audience", "tv"]);
    let mut client = server.connect();
    for (args, limit) in [
        (&["token", "ann", "--secret", &secret, "--audience", "tv"][..], 3),
        (&["token", "--limit", "2", "ann", "--secret", &secret, "--ttl", "3650d", "--audience", "tv"], 2),
        (&["token", "ann", "--secret", &secret, "--audience=tv", "--limit=5,live=1", "--class=live,kids"], 5),
    ] {
        let made = run(args);
        let token = made.stdout.strip_suffix('\n').expect("one line");
        assert!(made.status.success(), "{made:?}");
        assert_eq!((look(&mut client, "ann", token), look(&mut client, "bob", token)), (200, 401));
        let list = client.ask("GET /", &[&bearer(token)], "").body;
        assert!(list.contains(&format!("\"limit\":{limit},")), "{list}");
        assert_eq!(operate(&server, "GET /stats", &[&bearer(token)]).status, 403);
    }
    let made = run(&["token", "ops", "--secret", &secret, "--audience", "tv", "--admin"]);
    assert_eq!(operate(&server, "GET /stats", &[&bearer(made.stdout.trim_end())]).status, 200);
    let made = run(&["token", "ann", "--secret", &secret]);
    assert_eq!(look(&mut client, "ann", made.stdout.trim_end()), 401, "it is for nobody here");
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

    // Whatever the connection remembers, a reload voids it.
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
        (
            "--users",
            "alice\n".to_owned(),
            1,
            "after the user comes the SHA-256 of the token as 64 hex digits; `streamer token USER` prints a line",
        ),
        (
            "--users",
            line("ann", "x", "") + line("bob", "x", ":0").trim_end(),
            2,
            "the file is cut short: its last line has no line feed; end it with one",
        ),
        (
            "--users",
            line(" ann", "x", ""),
            1,
            "the line begins with a blank, which would be part of the user; remove it",
        ),
        (
            "--users",
            line("ann", "x", "") + "# \n" + &line("bob", "x", ":1001"),
            3,
            "the limit behind the hash is no number from 0 to 1000, nor that and limits of classes, as in 3,live=1",
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
            "this is no key but a comment; the file holds keys alone, and `streamer key` prints one",
        ),
        (
            "--secret",
            line("alice", "x", ""),
            1,
            "this is no key but a line of a users file; the file holds keys alone, and `streamer key` prints one",
        ),
        (
            "--secret",
            "short\n".to_owned(),
            1,
            "a key has 32 to 512 bytes, this one 5; `streamer key` prints a good one",
        ),
        ("--secret", "\n\n".to_owned(), 1, "there is no key; `streamer key` prints one"),
    ] {
        let path = scratch.write("file", &text);
        let ended = run(&[flag, &path, "--listen", "127.0.0.1:0", "--admin", "off"]);
        let expected = format!("streamer: {path}, line {number}: {said}\n");
        assert_eq!((ended.status.code(), ended.stderr), (Some(1), expected));
    }
    // A gigabyte that takes no room on the disk, nor in memory.
    let huge = scratch.0.join("huge");
    fs::File::create(&huge).and_then(|file| file.set_len(1 << 30)).unwrap();
    for flag in ["--users", "--secret"] {
        let ended = run(&[flag, huge.to_str().unwrap(), "--listen", "127.0.0.1:0", "--admin", "off"]);
        let said = format!("streamer: {flag} {}: it has 1073741824 bytes, more than such", huge.display());
        assert!(ended.status.code() == Some(1) && ended.stderr.starts_with(&said), "{ended:?}");
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
        "streamer: nothing reloaded: {users}, line 2: after the user comes the SHA-256 of the token as 64 hex digits; \
         `streamer token USER` prints a line"
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
    let mut malformed: Vec<String> =
        ["Basic !", "Digest the-token", "Basic YQ=="].map(|field| format!("Authorization: {field}")).into();
    malformed.push(basic("alice", "the-token\n"));
    let too_much = mint(KEY, "alice", Some("1001"), FAR);
    let for_others =
        sign(KEY, &Claims { user: "alice", expiry: FAR, audience: Some("x"), ..Claims::default() });
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", signed.split('.').nth(1).unwrap());
    let wrong_tokens =
        ["a-wrong-token", &expired, &too_much, &for_others, &unsigned, &mint(OTHER_KEY, "x", None, FAR)];
    for (flags, right, wrong, causes) in [
        (
            ["--users", &users],
            "the-token",
            vec![basic("alice", "a-wrong-token"), basic("bob", "the-token"), bearer("the-token")],
            &[("scheme", 1), ("unknown_user", 1), ("wrong_token", 1), ("form", 0)][..],
        ),
        (
            ["--secret", &secret],
            &*signed,
            [basic("bob", &signed)]
                .into_iter()
                .chain(wrong_tokens.iter().flat_map(|token| [basic("alice", token), bearer(token)]))
                .collect(),
            &[
                ("other_user", 1),
                ("form", 2),
                ("expired", 2),
                ("claims", 2),
                ("audience", 2),
                ("algorithm", 2),
                ("signature", 2),
                ("scheme", 0),
            ],
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
            for (name, count) in [("missing", 1), ("malformed", 4)].iter().chain(causes) {
                let sample = format!("streamer_auth_failures_total{{cause=\"{name}\"}}");
                assert_eq!(server.metric(&sample), f64::from(*count), "{flags:?} {name}");
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

/// A call on the admin listener.
#[track_caller]
fn operate(server: &Server, call: &str, fields: &[&str]) -> Response {
    let host =
        if fields.iter().any(|field| field.starts_with("Host: ")) { "" } else { "Host: localhost\r\n" };
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let mut client = Client::connect(server.admin());
    client.send(format!("{call} HTTP/1.1\r\n{host}{fields}\r\n"));
    client.answer()
}

#[test]
fn what_names_users_is_for_loopback_under_no_foreign_name_or_for_admins() {
    let scratch = Scratch::new("admins");
    let users = [line("ann", "x", ""), line("ops", "x", "::admin")].concat();
    let secret = scratch.write("secret", KEY);
    let users = scratch.write("users", &users);
    let (ops, ann) = (basic("ops", "x"), basic("ann", "x"));
    let (wrong, unknown) = (basic("ops", "y"), basic("eve", "x"));
    let token = |admin| sign(KEY, &Claims { user: "ops", expiry: FAR, admin, ..Claims::default() });
    let (signed, signed_ops) = (bearer(&token(false)), bearer(&token(true)));
    let (open, behind): (&[&str], &[&str]) = (&[], &["--proxy", "127.0.0.1"]);
    let (listed, signing): (&[&str], &[&str]) = (&["--users", &users], &["--secret", &secret]);
    let foreign = "Over loopback this call takes an address or localhost as Host; use one of them.";
    let forbidden = "This call is for loopback or for users marked `admin`; use one of them.";
    let unauthorized = "Valid credentials are needed; send `Authorization: Basic` with user and token.";
    let needs_token =
        "A valid token is needed; send `Authorization: Bearer` with it, or `Basic` with user and token.";
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
        (signing, &["Host: evil.example", &signed], 403, forbidden),
        (signing, &[&signed], 403, forbidden),
        (signing, &[&signed_ops], 200, ""),
        (signing, &["Host: evil.example", &signed_ops], 200, ""),
        (signing, &[&basic("ops", &token(true))], 200, ""),
        (signing, &[&basic("ann", &token(true))], 401, needs_token),
        (signing, &[&ops], 401, needs_token),
        (signing, &["X-Real-IP: 127.0.0.1"], 401, needs_token),
        // Who forwards is not local, whatever it says; nor is a proxy of ours that says nothing.
        (open, &["X-Forwarded-For: unknown"], 403, forbidden),
        (open, &["X-Forwarded-For: 127.0.0.1"], 403, forbidden),
        (open, &["Forwarded: for=127.0.0.1"], 403, forbidden),
        (open, &["x-real-ip: ::1"], 403, forbidden),
        (open, &["X-Forwarded-Proto: https"], 403, forbidden),
        (open, &["X-Forwarded-For:"], 403, forbidden),
        (open, &["X-Forwarding: 1"], 200, ""),
        (behind, &[], 403, forbidden),
        (behind, &["X-Forwarded-For: unix:"], 403, forbidden),
        (behind, &["X-Forwarded-For: ,"], 403, forbidden),
        (behind, &["X-Forwarded-For: fe80::1%eth0"], 403, forbidden),
        (behind, &["X-Forwarded-For: 127.0.0.1"], 403, forbidden),
        (listed, &["X-Real-IP: 127.0.0.1"], 401, unauthorized),
        (listed, &["X-Real-IP: 127.0.0.1", &ops], 200, ""),
        (listed, &["Forwarded: for=127.0.0.1", &ann], 403, forbidden),
    ] {
        let server = Server::start(flags);
        for call in ["DELETE /users/ann", "GET /users/ann", "GET /", "GET /stats", "GET /history"] {
            let answer = operate(&server, call, fields);
            assert_eq!(answer.status, status, "{flags:?} {call} {fields:?}: {answer:?}");
            let says = answer.body.contains(&format!(r#""detail":"{detail}""#));
            assert_eq!(says, status != 200, "{answer:?}");
            let is_challenged = answer.fields.iter().any(|(name, _)| name == "www-authenticate");
            assert_eq!(is_challenged, status == 401);
        }
        for call in ["GET /healthz", "GET /readyz", "GET /metrics", "OPTIONS /stats", "OPTIONS /users/ann"] {
            let answer = operate(&server, call, fields);
            assert_eq!(answer.status / 100, 2, "{flags:?} {call} {fields:?}: {answer:?}");
        }
    }
    // No browser leaves the host out.
    let server = Server::start(&[]);
    let mut client = Client::connect(server.admin());
    client.send("GET /users/ann HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().status, 200);
}

/// From another machine, as far as one machine can try it: an address of it that is not loopback.
#[test]
fn from_elsewhere_what_names_users_takes_an_operators_credentials() {
    let udp = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = udp.connect("192.0.2.1:9").and_then(|()| udp.local_addr());
    let Ok(own) = own.map(|address| address.ip()) else {
        return println!("skipped: no address but loopback");
    };
    let scratch = Scratch::new("elsewhere");
    let users = scratch.write("users", &[line("ann", "x", ""), line("ops", "x", "::admin")].concat());
    let (ops, ann) = (basic("ops", "x"), basic("ann", "x"));
    for (flags, fields, status) in [
        (&["--open"][..], &[][..], 403),
        (&["--open"], &[&*ops], 403),
        (&["--users", &users], &[], 401),
        (&["--users", &users], &[&ann], 403),
        (&["--users", &users], &[&ops], 200),
    ] {
        let server = Server::start(&[flags, &["--admin", &format!("{own}:0")]].concat());
        let told = server.process.stderr.line("can be reached from other machines");
        assert_eq!(told.contains("for users marked admin"), flags.len() == 2, "{told}");
        for call in ["DELETE /users/ann", "GET /users/ann", "GET /", "GET /stats", "GET /history"] {
            assert_eq!(operate(&server, call, fields).status, status, "{flags:?} {call} {fields:?}");
            // A page that has brought its own name here is no operator either.
            let rebound = operate(&server, call, &[&["Host: evil.example"][..], fields].concat());
            assert_eq!(rebound.status, status, "{flags:?} {call} {fields:?}");
        }
        assert_eq!(operate(&server, "GET /metrics", &[]).status, 200);
    }
}

#[test]
fn what_an_operator_does_is_told_with_who_it_was() {
    let scratch = Scratch::new("operator");
    let users = scratch.write("users", &[line("bob", "x", ""), line("ops", "x", "::admin")].concat());
    let server = Server::start(&["--users", &users, "--log", "json", "--workers", "2"]);
    let ops = basic("ops", "x");
    assert_eq!(server.connect().call("bob", "POST /?id=V", "").status, 201);
    for (call, fields, operator, counted) in [
        ("DELETE /users/bob?id=V", &[&*ops][..], ",\"operator\":\"ops\"", "ended"),
        ("DELETE /users/bob?hold=1h", &[&ops], ",\"operator\":\"ops\"", "held"),
        ("DELETE /users/bob?hold=0s", &[], "", "lifted"),
    ] {
        assert_eq!(operate(&server, call, fields).status, 200, "{call}");
        let (_, target) = call.split_once(' ').unwrap();
        let line = server.process.stdout.line(target);
        let said = format!("\"target\":\"{target}\",\"user\":\"bob\"{operator},\"status\":200,");
        assert!(line.contains(&said), "{said} in {line}");
        assert_eq!(server.metric(&format!("streamer_operations_total{{what=\"{counted}\"}}")), 1.0);
        let latest = server.look("/stats").body;
        let (_, latest) = latest.split_once("\"latest\":[").unwrap();
        let event = latest.split('}').next().unwrap();
        let said = format!("{operator},\"what\":\"{counted}\"");
        assert!(event.contains("\"user\":\"bob\"") && event.contains(&said), "{said} in {event}");
    }
    assert_eq!(operate(&server, "GET /users/bob", &[&ops]).status, 200);
    let line = server.process.stdout.line("\"method\":\"GET\",\"target\":\"/users/bob\"");
    assert!(line.contains("\"operator\":\"ops\""), "{line}");
}
