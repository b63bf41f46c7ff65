//! What is sent: requests, written out before anything is measured.
//!
//! *Invariant:* a connection's users are its own, so the order on the connection decides every status, and with it that
//! no request fails.

use std::io::Write;
use std::ops::Range;

use streamer::codec::base64;

/// What the requests of a run have in common.
#[derive(Clone, Copy)]
pub struct Style<'a> {
    /// Whether they carry what a browser sends, or what a small client does.
    pub fat: bool,
    /// How many users there are.
    pub users: usize,
    /// The password of a user.
    pub password: &'a dyn Fn(&str) -> String,
}

/// How many users there usually are.
pub const USERS: usize = 10_000;

/// Small heads, and a password that an open server does not look at.
pub const PLAIN: Style = Style { fat: false, users: USERS, password: &|_| PASSWORD.into() };

/// The password that every user has unless told otherwise; as long as a real token.
pub const PASSWORD: &str = "one-token-for-all-as-long-as-256-random-bit";

const THIN: &str = "User-Agent: bench/1\r\nAccept: */*\r\n";

/// What Chrome sends along with a fetch from a page of another origin.
const FAT: &str = "\
    Connection: keep-alive\r\n\
    sec-ch-ua-platform: \"Windows\"\r\n\
    User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/131.0.0.0 Safari/537.36\r\n\
    Accept: application/json, text/plain, */*\r\n\
    sec-ch-ua: \"Google Chrome\";v=\"131\", \"Chromium\";v=\"131\", \"Not_A Brand\";v=\"24\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    Origin: https://video.example\r\n\
    Sec-Fetch-Site: same-site\r\n\
    Sec-Fetch-Mode: cors\r\n\
    Sec-Fetch-Dest: empty\r\n\
    Referer: https://video.example/watch/v0001234?from=continue-watching\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en-US;q=0.9,en;q=0.8\r\n";

/// The name of a user.
pub fn user(number: usize) -> String {
    format!("user{number:07}")
}

/// Appends a request about a user's stream.
pub fn write(out: &mut Vec<u8>, style: Style, method: &str, number: usize, video: usize) {
    let user = user(number);
    let mut authorization = Vec::new();
    base64::encode(format!("{user}:{}", (style.password)(&user)).as_bytes(), &mut authorization);
    let authorization = String::from_utf8_lossy(&authorization);
    let extra = if style.fat { FAT } else { THIN };
    let head = format!(
        "{method} /?id=v{video:07} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\
         {extra}Authorization: Basic {authorization}\r\n"
    );
    out.extend_from_slice(head.as_bytes());
    let body = match method {
        "POST" | "PATCH" => format!("{{\"time\":\"{}:{:02}\"}}", number % 90, number % 60),
        _ => return out.extend_from_slice(b"\r\n"),
    };
    // Writing to a vector cannot fail.
    let _ = write!(out, "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
}

/// Requests laid end to end, in the order in which one connection sends them.
#[derive(Default)]
pub struct Script {
    pub bytes: Vec<u8>,
    /// Where each request ends in `bytes`.
    ends: Vec<u32>,
}

impl Script {
    /// Adds a request.
    pub fn push(&mut self, style: Style, method: &str, user: usize, video: usize) {
        write(&mut self.bytes, style, method, user, video);
        self.ends.push(self.bytes.len() as u32);
    }

    /// How many requests there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of some requests.
    pub fn get(&self, requests: Range<usize>) -> &[u8] {
        let end = |i: usize| i.checked_sub(1).map_or(0, |i| self.ends[i] as usize);
        &self.bytes[end(requests.start)..end(requests.end)]
    }
}

/// What a fleet of players does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Each looks whether it may start.
    Get,
    /// Each renews its stream.
    Heartbeat,
    /// Each starts a stream and ends it.
    Churn,
    /// Of twenty requests 16 renew, two look, and two start and end a second stream.
    Mixed,
}

impl Scenario {
    /// What is sent over and over for `users`.
    pub fn ring(self, style: Style, users: Range<usize>) -> Script {
        let mut ring = Script::default();
        match self {
            Self::Get => users.for_each(|user| ring.push(style, "GET", user, user)),
            Self::Heartbeat => users.for_each(|user| ring.push(style, "PATCH", user, user)),
            Self::Churn => users.for_each(|user| {
                ring.push(style, "POST", user, user);
                ring.push(style, "DELETE", user, user);
            }),
            Self::Mixed => mix(&mut ring, style, &users),
        }
        ring
    }

    /// What is sent once before that: a stream for each of `users`.
    pub fn once(self, style: Style, users: Range<usize>) -> Script {
        let mut once = Script::default();
        if self != Self::Churn {
            users.for_each(|user| once.push(style, "POST", user, user));
        }
        once
    }
}

fn mix(ring: &mut Script, style: Style, users: &Range<usize>) {
    let mut random = Random::new(users.start as u64);
    for _ in 0..users.len().div_ceil(8) {
        let mut methods = [["PATCH"; 16].as_slice(), &["GET"; 2], &["POST", "DELETE"]].concat();
        random.shuffle(&mut methods);
        let second = users.start + random.below(users.len());
        let mut pair = ["POST", "DELETE"].iter();
        for method in methods {
            let user = users.start + random.below(users.len());
            match method {
                // Whichever of the two comes first starts the stream.
                "POST" | "DELETE" => {
                    pair.next().into_iter().for_each(|method| ring.push(style, method, second, second + 1));
                }
                _ => ring.push(style, method, user, user),
            }
        }
    }
}

/// Numbers without a pattern, the same in every run: xorshift64 (Marsaglia, 2003).
pub struct Random(u64);

impl Random {
    /// Seeds differ in their sequences.
    pub fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// A number from 0 to `n` - 1.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % n
    }

    /// Puts `things` in any order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for i in (1..things.len()).rev() {
            things.swap(i, self.below(i + 1));
        }
    }
}
