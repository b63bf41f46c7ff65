//! The rooms one by one: parsing, decoding, checking, and the rules of an account.

use std::hint::black_box;
use std::io::Cursor;

use streamer::app::auth::keys::{Claims, Keys};
use streamer::app::auth::signed::{LastToken, Signed};
use streamer::app::auth::users::Users;
use streamer::app::auth::{Asking, Credentials, Mode};
use streamer::app::body::StreamUpdate;
use streamer::app::query::Query;
use streamer::codec::sha256::{self, HmacKey};
use streamer::codec::{base64, hex};
use streamer::http::Framing;
use streamer::http::body::BodyDecoder;
use streamer::http::parse::Parser;
use streamer::streams::account::{Account, Policy};
use streamer::streams::arena::{Arena, Word};
use streamer::streams::batch::{Action, Asked, Command, Findings};
use streamer::streams::position::Position;
use streamer::time::{Millis, Timestamp};

use crate::requests::{self, PASSWORD, PLAIN, Style, user};
use crate::timing::{Timing, title};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Measures all rows.
pub fn run(timing: Timing) {
    http(timing);
    codecs(timing);
    credentials(timing);
    account(timing);
}

fn http(timing: Timing) {
    title("http");
    for (name, fat) in [("thin", false), ("browser's", true)] {
        let mut head = Vec::new();
        requests::write(&mut head, Style { fat, ..PLAIN }, "GET", 1, 1);
        timing.row(&format!("parse a {name} head, {} bytes", head.len()), 1, || {
            black_box(Parser::new().parse(black_box(&head))).ok();
        });
    }
    let chunked = b"7\r\n{\"time\"\r\n9\r\n:\"12:34\"}\r\n0\r\n\r\n";
    let mut bytes = *chunked;
    timing.row("body in two chunks, 16 bytes", 1, || {
        // Decoding moves the body together.
        bytes = *chunked;
        black_box(BodyDecoder::new(Framing::Chunked).decode(black_box(&mut bytes))).ok();
    });
}

fn codecs(timing: Timing) {
    title("codecs");
    let mut out = Vec::new();
    let encoded = basic(PASSWORD)[6..].to_vec();
    timing.row(&format!("base64 decode, {} symbols", encoded.len()), 1, || {
        out.clear();
        black_box(base64::decode(black_box(&encoded), &mut out)).ok();
    });
    for body in [r#"{"time":"12:34"}"#, r#"{"time":754.25,"state":"paused"}"#] {
        timing.row(&format!("JSON {body}"), 1, || {
            black_box(StreamUpdate::decode(black_box(body.as_bytes()))).ok();
        });
    }
    let mut arena = Arena::default();
    for query in ["id=v0001234", "id=v0001234&device=living%20room"] {
        timing.row(&format!("query {query}"), 1, || {
            arena.bytes().clear();
            black_box(Query::decode(black_box(query.as_bytes()), Word::default(), &mut arena)).ok();
        });
    }
    timing.row("SHA-256 of 1024 bytes", 1, || {
        black_box(sha256::digest(black_box(&[7; 1024])));
    });
    let key = HmacKey::new(&[7; 32]);
    timing.row("HMAC-SHA-256 of 92 bytes, as of a pass", 1, || {
        black_box(key.sign(black_box(&[7; 92])));
    });
}

fn credentials(timing: Timing) {
    title("credentials, of 10000 users");
    let mut digest = Vec::new();
    hex::encode(&sha256::digest(PASSWORD.as_bytes()), &mut digest);
    let digest = String::from_utf8_lossy(&digest);
    let lines: String = (0..10_000).map(|number| format!("{}:{digest}\n", user(number))).collect();
    let key = b"0123456789abcdef0123456789abcdef";
    let (Ok(users), Ok(keys)) = (Users::read(Cursor::new(lines), 0), Keys::read(key)) else { return };
    let expiry = NOW.secs() + 3600;
    let token = |user: &str| keys.mint(&Claims { user, expiry, limit: Some("3"), ..Claims::default() });
    let [one, other] = [1, 2].map(|number| token(&user(number)));
    let signed: Credentials = Mode::Signed(Signed::new(keys, None)).into();
    for (name, credentials, fields) in [
        ("--open", &Mode::Open.into(), vec![basic(PASSWORD)]),
        ("--users, the right token", &Mode::Users(users).into(), vec![basic(PASSWORD)]),
        ("--secret, the last token again", &signed, vec![basic(&one)]),
        ("--secret, Bearer again", &signed, vec![bearer(&one)]),
        ("--secret, two tokens by turns", &signed, vec![bearer(&one), bearer(&other)]),
    ] {
        let (mut arena, mut last) = (Arena::default(), LastToken::default());
        timing.row(name, fields.len(), || {
            for field in &fields {
                arena.bytes().clear();
                let asking = Asking { wall: NOW, limits: 3.into(), last: &mut last, arena: &mut arena };
                black_box(credentials.check(black_box(field), asking)).ok();
            }
        });
    }
}

fn bearer(token: &str) -> Vec<u8> {
    format!("Bearer {token}").into_bytes()
}

fn basic(password: &str) -> Vec<u8> {
    let mut authorization = b"Basic ".to_vec();
    base64::encode(format!("{}:{password}", user(1)).as_bytes(), &mut authorization);
    authorization
}

/// An account, and what its commands need.
struct Rules {
    account: Account,
    policy: Policy,
    arena: Arena<Asked>,
    findings: Findings,
}

impl Rules {
    /// Of a user who plays `streams`.
    fn playing(streams: usize) -> Self {
        let policy = Policy::new(Millis::from_secs(90));
        let (arena, findings) = (Arena::default(), Findings::default());
        let mut rules = Self { account: Account::default(), policy, arena, findings };
        for stream in 0..streams {
            let start = rules.command(&format!("v{stream:07}"), START);
            rules.apply(&start);
        }
        rules
    }

    fn command(&mut self, key: &str, action: Action) -> Command {
        let (user, key) = (self.arena.add(b"user0000001"), self.arena.add(key.as_bytes()));
        Command::new(user, key, 3, action)
    }

    fn apply(&mut self, command: &Command) {
        self.findings.arena.bytes().clear();
        self.findings.streams.clear();
        let Self { account, policy, arena, findings } = self;
        black_box(account.apply(NOW, policy, black_box(command), arena, findings));
    }
}

const START: Action = Action::start();

fn account(timing: Timing) {
    title("an account, limit 3");
    for (name, playing, key, action) in [
        ("look, 1 stream", 1, "v0000000", Action::Look),
        (
            "beat, 1 stream",
            1,
            "v0000000",
            Action::Beat { position: Some(Position::from_secs(754)), playing: None },
        ),
        ("beat the last of 3 streams", 3, "v0000002", Action::beat()),
        ("a start refused, 3 streams listed", 3, "v0000003", START),
    ] {
        let mut rules = Rules::playing(playing);
        let command = rules.command(key, action);
        timing.row(name, 1, || rules.apply(&command));
    }
    let mut rules = Rules::playing(0);
    let (start, end) = (rules.command("v0000000", START), rules.command("v0000000", Action::End));
    timing.row("start and end, each", 2, || {
        rules.apply(&start);
        rules.apply(&end);
    });
}
