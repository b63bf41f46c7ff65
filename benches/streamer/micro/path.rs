//! The whole way of a request without its socket: as a worker goes it, receive, decode, execute, encode.

use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;

use streamer::app::Turn;
use streamer::app::auth::Credentials;
use streamer::app::log::Format;
use streamer::app::{App, Exchange, Readiness, Settings, Side, Source};
use streamer::http::conn::{Received, Receiver};
use streamer::store::memory::Memory;
use streamer::streams::account::Policy;
use streamer::time::{Millis, Now, Timestamp};

use crate::requests::{self, PLAIN, Style};
use crate::timing::{Timing, title};

/// How many requests a turn has; one for each of as many users.
const TURN: usize = 16;
const NOW: Now =
    Now { steady: Timestamp::from_millis(86_400_000), wall: Timestamp::from_millis(1_800_000_000_000) };

/// What a worker has, but for its connections.
struct Path {
    app: App,
    store: Memory,
    turn: Turn,
    exchanges: Vec<Exchange>,
    out: Vec<u8>,
}

/// Nobody asks for what it would see.
struct Nothing;

impl Readiness for Nothing {
    fn trouble(&self) -> Option<Cow<'static, str>> {
        None
    }
}

impl Path {
    fn new(log: Option<Format>) -> Self {
        let (lease, when_full) = (Millis::from_secs(90), Default::default());
        let (endpoint, cors, proxies) = (Default::default(), None, Default::default());
        let settings =
            Settings { limit: 3, lease, when_full, endpoint, cors, proxies, log, keep_recent: true };
        let credentials = Arc::new(Credentials::Open);
        let app = App::new(
            Arc::new(settings),
            credentials,
            Arc::new(Nothing),
            Arc::default(),
            Arc::default(),
            Arc::default(),
        );
        let store = Memory::new(Policy { lease, when_full, one_per_device: false, adopt_until: NOW.steady });
        Self { app, store, turn: Turn::default(), exchanges: Vec::new(), out: Vec::new() }
    }

    /// The first half of a turn: bytes to commands.
    fn decode(&mut self, bytes: &mut [u8]) {
        self.turn.clear();
        self.exchanges.clear();
        self.app.begin(NOW, 0);
        let mut from = 0;
        let source = Source { side: Side::Public, peer: ([127, 0, 0, 1], 50_000).into(), arrived: 0 };
        while let Ok(Received::Request(request, len)) = Receiver::default().receive(&mut bytes[from..]) {
            self.exchanges.push(self.app.decode(source, &request, &mut self.turn));
            from += len;
            if from == bytes.len() {
                break;
            }
        }
    }

    fn execute(&mut self) {
        self.store.execute(NOW.steady, &mut self.turn.batch);
    }

    /// The other half: outcomes to bytes.
    fn encode(&mut self) {
        self.out.clear();
        self.app.lines.clear();
        for exchange in &self.exchanges {
            self.app.encode(exchange, 85, &self.turn, None, &mut self.out);
        }
        black_box(&self.out);
    }

    fn turn(&mut self, bytes: &mut [u8]) {
        self.decode(black_box(bytes));
        self.execute();
        self.encode();
    }
}

/// A turn's requests: each of the users sends all of `methods`, about the same stream.
fn requests(style: Style, methods: &[&str], video: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for user in 0..TURN {
        methods.iter().for_each(|method| requests::write(&mut bytes, style, method, user, video));
    }
    bytes
}

/// Measures all rows.
pub fn run(timing: Timing) {
    whole(timing);
    stages(timing);
    answers(timing);
}

fn whole(timing: Timing) {
    title("bytes to bytes, but for the socket");
    let fat = Style { fat: true, ..PLAIN };
    for (name, style, methods, log) in [
        ("GET", PLAIN, &["GET"][..], None),
        ("PATCH", PLAIN, &["PATCH"], None),
        ("POST and DELETE, each", PLAIN, &["POST", "DELETE"], None),
        ("PATCH, a browser's head", fat, &["PATCH"], None),
        ("PATCH, a line of text for the log", PLAIN, &["PATCH"], Some(Format::Text)),
        ("PATCH, a line of JSON for the log", PLAIN, &["PATCH"], Some(Format::Json)),
    ] {
        let mut path = Path::new(log);
        path.turn(&mut requests(PLAIN, &["POST"], 1));
        let mut bytes = requests(style, methods, 1);
        timing.row(name, TURN * methods.len(), || path.turn(&mut bytes));
    }
    let mut path = full();
    let mut bytes = requests(PLAIN, &["POST"], 9);
    timing.row("POST, refused, 3 streams listed", TURN, || path.turn(&mut bytes));
}

/// Every user plays 3 streams.
fn full() -> Path {
    let mut path = Path::new(None);
    (0..3).for_each(|video| path.turn(&mut requests(PLAIN, &["POST"], video)));
    path
}

fn stages(timing: Timing) {
    title("of which, for a PATCH");
    let mut path = Path::new(None);
    path.turn(&mut requests(PLAIN, &["POST"], 1));
    let mut bytes = requests(PLAIN, &["PATCH"], 1);
    timing.row("receive: head and body", TURN, || {
        let mut from = 0;
        while let Ok(Received::Request(request, len)) =
            Receiver::default().receive(black_box(&mut bytes[from..]))
        {
            black_box(request.body);
            from += len;
            if from == bytes.len() {
                break;
            }
        }
    });
    timing.row("receive and decode", TURN, || path.decode(black_box(&mut bytes)));
    timing.row("execute", TURN, || path.execute());
    timing.row("encode, count", TURN, || path.encode());
}

fn answers(timing: Timing) {
    title("encode, by answer");
    for (method, video) in
        [("GET", 1), ("PATCH", 1), ("POST", 1), ("POST", 9), ("PATCH", 9), ("DELETE", 1), ("PUT", 1)]
    {
        let mut path = full();
        path.decode(&mut requests(PLAIN, &[method], video));
        path.execute();
        path.encode();
        let status = String::from_utf8_lossy(&path.out[9..12]);
        let name = format!("{method}, {status}, {} bytes", path.out.len() / TURN);
        timing.row(&name, TURN, || path.encode());
    }
}
