//! `--pass`: what a player shows to a CDN that cannot ask here.

use std::time::{SystemTime, UNIX_EPOCH};

use streamer::codec::jwt::{self, MAX_PART};
use streamer::codec::sha256::HmacKey;

use crate::server::{Client, Response, Scratch, Server, basic, eventually, run};

const PASS_KEY: &str = "the/first+key=that.signs~every_pass!";
const OTHER_PASS_KEY: &str = "the-second-key,that-verifies-only";
const SECRET: &str = "a-key-for-tests-of-32-bytes-or-more";

/// What a CDN reads, which has the first key.
#[track_caller]
fn read(pass: &str) -> String {
    let mut buffer = [0; MAX_PART];
    let claims = jwt::open(pass.as_bytes(), &[HmacKey::new(PASS_KEY.as_bytes())], &mut buffer);
    String::from_utf8(claims.expect("the first key has signed it").to_vec()).unwrap()
}

/// The claims but `exp`, and how many seconds are left.
#[track_caller]
fn open(pass: &str) -> (String, i64) {
    let claims = read(pass);
    let (rest, exp) = claims.strip_suffix('}').and_then(|text| text.split_once(",\"exp\":")).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    (rest.to_owned(), exp.parse::<i64>().unwrap() - now as i64)
}

/// The member of a body, as it is written, without its quotes.
fn member<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    let (_, rest) = answer.body.split_once(&format!("\"{name}\":\""))?;
    rest.split('"').next()
}

#[track_caller]
fn check_pass(pass: Option<&str>, claims: &str, lease: i64) {
    let (said, left) = open(pass.expect("there is a pass"));
    assert_eq!(said, claims);
    assert!((lease - 20..=lease + 1).contains(&left), "{left} s are left");
}

struct Passing {
    server: Server,
    client: Client,
    _scratch: Scratch,
}

impl Passing {
    fn start(name: &str, flags: &[&str]) -> Self {
        let scratch = Scratch::new(name);
        let keys = scratch.write("keys", &format!("{PASS_KEY}\n{OTHER_PASS_KEY}\n"));
        let server = Server::start(&[&["--pass", &keys], flags].concat());
        Self { client: server.connect(), server, _scratch: scratch }
    }

    #[track_caller]
    fn call(&mut self, call: &str, body: &str) -> Response {
        self.client.call("al\u{e9}ce", call, body)
    }
}

#[test]
fn who_plays_gets_a_pass_that_ends_with_the_lease() {
    let mut it = Passing::start("pass", &["--limit", "1", "--lease", "120s"]);
    let claims = r#"{"sub":"aléce","id":"V","device":"t v""#;
    let posted = it.call("POST /?id=V&device=t+v", "");
    assert_eq!(posted.status, 201);
    check_pass(member(&posted, "pass"), claims, 120);
    for (call, body, status) in
        [("PATCH /?id=V&device=t+v", r#"{"time":"1:00"}"#, 200), ("POST /?id=V&device=t+v", "", 200)]
    {
        let answer = it.call(call, body);
        assert_eq!(answer.status, status);
        check_pass(member(&answer, "pass"), claims, 120);
    }
    let gate = it.call("GET /gate?id=V&device=t+v", "");
    assert_eq!(gate.status, 204);
    check_pass(gate.field("x-stream-pass"), claims, 120);

    // Who does not play, or only asks, gets none.
    for (call, body, status) in [
        ("GET /?id=V&device=t+v", "", 200),
        ("GET /", "", 200),
        ("POST /?id=W", "", 409),
        ("GET /gate?id=W", "", 403),
        ("PATCH /?id=V&device=t+v", r#"{"state":"paused"}"#, 200),
        ("PATCH /?id=V&device=t+v", "", 200),
        ("DELETE /?id=V&device=t+v", "", 200),
        ("PATCH /?id=V&device=t+v", "", 410),
    ] {
        let answer = it.call(call, body);
        assert_eq!(answer.status, status, "{call} {body}");
        assert!(!answer.body.contains("pass") && answer.field("x-stream-pass").is_none(), "{answer:?}");
    }
    let plain = r#"{"sub":"aléce","id":"W\"\\/""#;
    check_pass(member(&it.call("POST /?id=W%22%5C/", ""), "pass"), plain, 120);
    assert!(!it.server.look("/users/al%C3%A9ce").body.contains("pass"));
}

#[test]
fn an_endpoint_holds_the_pass() {
    let template = "https://cdn.example/pass/{pass}/videos/{id}/m.m3u8?pass={pass}";
    let mut it = Passing::start("pass-endpoint", &["--endpoint", template]);
    let claims = r#"{"sub":"aléce","id":"V""#;
    let posted = it.call("POST /?id=V", "");
    let pass = member(&posted, "pass").unwrap();
    check_pass(Some(pass), claims, 90);
    let expected = format!("https://cdn.example/pass/{pass}/videos/V/m.m3u8?pass={pass}");
    assert_eq!(member(&posted, "endpoint"), Some(&*expected));
    // A question about what plays has one too; its three members stay three.
    let asked = it.call("GET /?id=V", "");
    let endpoint = member(&asked, "endpoint").unwrap();
    check_pass(endpoint.rsplit_once("?pass=").map(|(_, pass)| pass), claims, 90);
    assert!(asked.body.ends_with("\",\"count\":1}"), "{asked:?}");
    // What does not play has none: empty, and `-` in a path, as for all that is absent.
    for call in ["GET /?id=W", "DELETE /?id=V"] {
        let answer = it.call(call, "");
        let endpoint = member(&answer, "endpoint").unwrap_or_default();
        assert!(
            endpoint.starts_with("https://cdn.example/pass/-/videos/") && endpoint.ends_with("?pass="),
            "{answer:?}"
        );
    }
}

#[test]
fn a_pass_lets_nobody_in_here() {
    let scratch = Scratch::new("pass-in");
    let secret = scratch.write("secret", SECRET);
    let mut it = Passing::start("pass-nobody", &["--secret", &secret]);
    let token = run(&["token", "ann", "--secret", &secret]).stdout;
    let answer = it.client.ask("POST /?id=V", &[&format!("Authorization: Bearer {}", token.trim_end())], "");
    let pass = member(&answer, "pass").expect("there is a pass").to_owned();
    for field in [format!("Authorization: Bearer {pass}"), basic("ann", &pass)] {
        assert_eq!(it.client.ask("GET /?id=V", &[&field], "").status, 401);
    }
    assert_eq!(it.server.metric("streamer_auth_failures_total{cause=\"signature\"}"), 2.0);
}

#[test]
fn no_key_stands_in_both_files() {
    let scratch = Scratch::new("pass-both");
    let secret = scratch.write("secret", &format!("{SECRET}\n{PASS_KEY}\n"));
    let keys = scratch.write("keys", &format!("{OTHER_PASS_KEY}\n{PASS_KEY}\n"));
    let said = "--pass and --secret have a key in common: a pass would let its holder in; give one of them another key";
    let flags = ["--secret", &secret, "--pass", &keys];
    let ended = run(&[&flags[..], &["--listen", "127.0.0.1:0", "--admin", "off"]].concat());
    assert_eq!((ended.status.code(), ended.stderr), (Some(2), format!("streamer: {said}\n")));

    scratch.write("secret", SECRET);
    let server = Server::start(&flags);
    assert!(server.greeting.contains(&format!("1 key from {secret}")), "{}", server.greeting);
    assert!(server.greeting.contains(&format!("; passes: 2 keys from {keys}")), "{}", server.greeting);
    scratch.write("secret", PASS_KEY);
    server.process.signal("HUP");
    assert_eq!(server.process.stderr.line("reloaded"), format!("streamer: nothing reloaded: {said}"));
    eventually("it is counted", || server.metric("streamer_reloads_total{result=\"refused\"}") == 1.0);
    let token = run(&["token", "ann", "--secret", &scratch.write("old", SECRET)]).stdout;
    let mut client = server.connect();
    let post = |client: &mut Client| {
        client.ask("POST /?id=V", &[&format!("Authorization: Bearer {}", token.trim_end())], "")
    };
    assert!(post(&mut client).status < 300, "the old ones hold");
    // New keys for passes are taken with the next turn.
    scratch.write("secret", SECRET);
    scratch.write("keys", &format!("{PASS_KEY}\n"));
    server.process.signal("HUP");
    eventually("the other key signs", || {
        let answer = post(&mut client);
        let mut buffer = [0; MAX_PART];
        let pass = member(&answer, "pass").unwrap().as_bytes();
        jwt::open(pass, &[HmacKey::new(PASS_KEY.as_bytes())], &mut buffer).is_ok()
    });
}
