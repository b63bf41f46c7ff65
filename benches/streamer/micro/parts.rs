//! The rooms one by one: parsing, decoding, checking, and the rules of an account.

use std::hint::black_box;
use std::io::Cursor;

use streamer::app::auth::Credentials;
use streamer::app::auth::signed::Keys;
use streamer::app::auth::users::Users;
use streamer::app::body::StreamUpdate;
use streamer::app::query::Query;
use streamer::codec::sha256::{HmacKey, Sha256};
use streamer::codec::{base64, hex, sha256};
use streamer::http::Framing;
use streamer::http::body::BodyDecoder;
use streamer::http::parse::Parser;
use streamer::streams::account::{Account, Policy};
use streamer::streams::arena::Arena;
use streamer::streams::batch::{Action, Asked, Command, Findings, Replace};
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
    let encoded = authorization(PASSWORD)[6..].to_vec();
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
            black_box(Query::decode(black_box(query.as_bytes()), &mut arena)).ok();
        });
    }
    let (mut hash, block) = (Sha256::new(), [7; 64]);
    timing.row("SHA-256, a block of 64 bytes", 1, || hash.update(black_box(&block)));
    black_box(hash.finish());
    let key = HmacKey::new(&[7; 32]);
    timing.row("HMAC-SHA-256 of 34 bytes", 1, || {
        black_box(key.sign(black_box(&[b"v1\n", b"user0000001", b"\n", b"3", b"\n", b"1800000000"])));
    });
}

fn credentials(timing: Timing) {
    title("credentials, of 10000 users");
    let mut digest = Vec::new();
    hex::encode(&sha256::digest(PASSWORD.as_bytes()), &mut digest);
    let digest = String::from_utf8_lossy(&digest);
    let lines: String = (0..10_000).map(|number| format!("{}:{digest}\n", user(number))).collect();
    let (Ok(users), Ok(keys)) = (Users::read(Cursor::new(lines), 0), Keys::read(&[b'k'; 32])) else { return };
    let token = keys.mint(user(1).as_bytes(), Some(3), NOW.secs() + 3600);
    for (name, credentials, password) in [
        ("--open", Credentials::Open, PASSWORD),
        ("--users, the right token", Credentials::Users(users), PASSWORD),
        ("--secret, a good token", Credentials::Signed(keys), &token),
    ] {
        let authorization = authorization(password);
        let mut arena = Arena::default();
        timing.row(name, 1, || {
            arena.bytes().clear();
            black_box(credentials.check(black_box(&authorization), NOW, 3, &mut arena)).ok();
        });
    }
}

fn authorization(password: &str) -> Vec<u8> {
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
        let policy = Policy {
            lease: Millis::from_secs(90),
            when_full: Default::default(),
            one_per_device: false,
            adopt_until: NOW,
        };
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
        Command { user, key, limit: 3, action }
    }

    fn apply(&mut self, command: &Command) {
        self.findings.arena.bytes().clear();
        self.findings.streams.clear();
        let Self { account, policy, arena, findings } = self;
        black_box(account.apply(NOW, policy, black_box(command), arena, findings));
    }
}

const START: Action = Action::Start { position: None, replace: Replace::ByPolicy, switch: false };

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
        ("beat the last of 3 streams", 3, "v0000002", Action::Beat { position: None, playing: None }),
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
