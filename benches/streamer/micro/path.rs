//! The whole way of a request without its socket: as a worker goes it, receive, decode, execute, encode.

use std::hint::black_box;
use std::sync::Arc;

use streamer::app::Requests;
use streamer::app::auth::Mode;
use streamer::app::auth::signed::LastToken;
use streamer::app::site::{Observer, Site};
use streamer::app::{App, Exchange, Side, Source};
use streamer::config::{Config, LogFormat};
use streamer::http::conn::{Received, Receiver};
use streamer::operators::Operators;
use streamer::store::memory::Memory;
use streamer::streams::account::Policy;
use streamer::time::{Now, Timestamp};

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
    last: LastToken,
    requests: Requests,
    exchanges: Vec<Exchange>,
    out: Vec<u8>,
}

impl Path {
    fn new(log: LogFormat) -> Self {
        let config = Config { log, ..Config::default() };
        let policy = Policy::new(config.lease);
        let observer: Box<dyn Observer> = Box::new(Operators::new(1));
        let nobody = Arc::new(Memory::new(policy));
        let site = Site::new(config, nobody, Mode::Open.into(), Some(observer), 1, NOW);
        let app = App::new(Arc::new(site), 0, Side::Public);
        let store = Memory::new(policy);
        let (last, requests, exchanges, out) = Default::default();
        Self { app, store, last, requests, exchanges, out }
    }

    /// The first half of a turn: bytes to commands.
    fn decode(&mut self, bytes: &mut [u8]) {
        self.requests.clear();
        self.exchanges.clear();
        self.app.begin(NOW, 0);
        let mut from = 0;
        let source = Source { peer: ([127, 0, 0, 1], 50_000).into(), arrived: 0 };
        while let Ok(Received::Request(request, len)) = Receiver::default().receive(&mut bytes[from..]) {
            self.exchanges.push(self.app.decode(source, &request, &mut self.last, &mut self.requests));
            from += len;
            if from == bytes.len() {
                break;
            }
        }
    }

    fn execute(&mut self) {
        self.store.execute(NOW.steady, &mut self.requests.batch);
    }

    /// The other half: outcomes to bytes.
    fn encode(&mut self) {
        self.out.clear();
        self.app.lines.clear();
        for exchange in &self.exchanges {
            self.app.encode(exchange, 85, &self.requests, &mut self.out);
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
        ("GET", PLAIN, &["GET"][..], LogFormat::Off),
        ("PATCH", PLAIN, &["PATCH"], LogFormat::Off),
        ("POST and DELETE, each", PLAIN, &["POST", "DELETE"], LogFormat::Off),
        ("PATCH, a browser's head", fat, &["PATCH"], LogFormat::Off),
        ("PATCH, a line of text for the log", PLAIN, &["PATCH"], LogFormat::Text),
        ("PATCH, a line of JSON for the log", PLAIN, &["PATCH"], LogFormat::Json),
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
    let mut path = Path::new(LogFormat::Off);
    (0..3).for_each(|video| path.turn(&mut requests(PLAIN, &["POST"], video)));
    path
}

fn stages(timing: Timing) {
    title("of which, for a PATCH");
    let mut path = Path::new(LogFormat::Off);
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
