//! Torture: good requests, mutated. Whatever comes of them, nothing panics, the answers are the same however
//! the bytes are cut, and what is accepted means what a plain reading of its lines says.
//!
//! A failure prints its seed. `STREAMER_TORTURE_SEED` repeats that case first; `STREAMER_TORTURE_CASES` sets
//! how many there are.

use super::conn::{Received, Receiver};
use super::{Framing, Head, Method, Refusal, limits};
use std::hash::{BuildHasher, RandomState};

const CASES: u64 = 1_000_000;

/// One in so many cases is cut at every place, and not only at a few.
const CUT_EVERYWHERE: u64 = 128;

const GOOD: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "\r\nGET /?id=V&device=tv HTTP/1.1\r\nHost: example.com:8000\r\nAuthorization: Basic YTpi\r\nAccept: */*\r\n\r\n",
    "HEAD /a%20b?c=%C3%A9 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "POST /?id=V HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"time\":\"1:00\"}",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n",
    "PATCH / HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding:\tChunked \r\n\r\n1 ; q = \"a;\\\"\" ;r\r\nx\r\n00\r\nTrailer: t\r\nHost: h\r\n\r\n",
    "PUT /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    "DELETE http://h:1/p?q HTTP/1.1\r\nHost: h\r\nX-Request-Id: 1\r\ntraceparent: 00-1-2-03\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nxGET /3 HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
];

/// Lines that mean something, and lines that some parser takes for one that does.
const LINES: &[&str] = &[
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "content-length:5\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length : 5\r\n",
    "Content-Length: 05\r\n",
    "Content-Length: 8193\r\n",
    "Content-Length: 18446744073709551616\r\n",
    "Content-Length:\r\n",
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding:CHUNKED\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding: chunked,\r\n",
    "Transfer-Encoding: x\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding:\r\n",
    "Transfer-Encoding\r\n : chunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding: \x0Bchunked\r\n",
    "Host: h\r\n",
    "Host: a b\r\n",
    "Host:\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, TE\r\n",
    "Expect: 100-continue\r\n",
    "Expect: 200-ok\r\n",
    "X: y\r\n",
    " folded\r\n",
    "no colon\r\n",
    ": no name\r\n",
    "Authorization: Basic\r\n",
    "\r\n",
    "\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\n",
];

/// Bytes that decide where something ends.
const BYTES: &[u8] = b"\r\n\r\n\r\n\t  ::;,=\"\\%#?/*@[]0159aFxX+-\0\x0B\x7F\x80\xFF";

#[test]
fn mutated_requests_are_answered_alike_however_they_are_cut() {
    let number = |name| std::env::var(name).ok().and_then(|value: String| value.parse().ok());
    let cases = number("STREAMER_TORTURE_CASES").unwrap_or(CASES);
    let seed = number("STREAMER_TORTURE_SEED").unwrap_or_else(|| RandomState::new().hash_one(cases));
    let (mut input, mut accepted) = (Vec::new(), 0);
    for case in 0..cases {
        let seed = Seed(seed.wrapping_add(case));
        let mut random = Random::new(seed.0);
        mutate(&mut random, &mut input);
        let mut whole = Feed::default();
        whole.add(&input);
        accepted += whole.read_plainly(&input);
        if random.below(CUT_EVERYWHERE as usize) == 0 {
            (0..input.len()).for_each(|cut| whole.check_cut(&input, &[cut]));
            whole.check_cut(&input, &(0..input.len()).collect::<Vec<_>>());
        } else {
            let mut cuts = [0; 3].map(|_| random.below(input.len() + 1));
            cuts.sort_unstable();
            whole.check_cut(&input, &cuts);
        }
    }
    println!("{accepted} requests accepted in {cases} cases");
    assert!(accepted > cases / 4, "so few good requests test nothing: {accepted} of {cases}");
}

/// Prints itself when a case fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("STREAMER_TORTURE_SEED={}", self.0);
        }
    }
}

/// Marsaglia's xorshift64*.
struct Random(u64);

impl Random {
    /// Neighbouring seeds give unlike numbers: the step of splitmix64.
    fn new(seed: u64) -> Self {
        let mixed = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self((mixed ^ (mixed >> 31)).max(1))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D);
        ((u128::from(number) * end as u128) >> 64) as usize
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A good request with up to four things done to it.
fn mutate(random: &mut Random, input: &mut Vec<u8>) {
    input.clear();
    input.extend_from_slice(random.of(GOOD).as_bytes());
    for _ in 0..random.below(5) {
        let at = random.below(input.len() + 1);
        let end = (at + 1 + random.below(8)).min(input.len());
        match random.below(12) {
            0 | 1 => input.insert(at, random.of(BYTES)),
            2 => drop(input.drain(at..end.min(at + 1))),
            3 => drop(input.drain(at..end)),
            4 => {
                let again = input[at..end].to_vec();
                splice(input, at, &again);
            }
            5 if at < end => input[at] ^= 1 << random.below(8),
            6 if at < end => input[at] = random.of(BYTES),
            7 => input.truncate(at),
            8 => splice(input, at, random.of(GOOD).as_bytes()),
            9 => end_otherwise(random, input, at),
            _ => {
                let line = line_end(input, at);
                splice(input, line, random.of(LINES).as_bytes());
            }
        }
    }
}

fn splice(input: &mut Vec<u8>, at: usize, more: &[u8]) {
    input.splice(at..at, more.iter().copied());
}

/// Where the line after the one at `at` begins, or the first one.
fn line_end(input: &[u8], at: usize) -> usize {
    let find =
        |from: usize| input[from..].iter().position(|&byte| byte == b'\n').map(|place| from + place + 1);
    find(at).or(find(0)).unwrap_or(input.len())
}

/// Puts something else where a line ends.
fn end_otherwise(random: &mut Random, input: &mut Vec<u8>, at: usize) {
    let end = line_end(input, at);
    let other: &[u8] =
        random.of(&[b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n\n", b"\r\n\r\n", b"\r\n ", b" \r\n", b"\0\r\n"]);
    input.splice(end.saturating_sub(2)..end, other.iter().copied());
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// Its head, where it begins, where its body ends among all bodies, where it ends on the wire.
    Taken(Head, usize, usize, usize),
    Refused(Refusal, Option<Method>),
}

/// The receiving side of a connection.
#[derive(Default)]
struct Feed {
    /// What is kept of the current request, and what has come since.
    bytes: Vec<u8>,
    /// Where the current request begins on the wire, and where what has come ends.
    start: usize,
    end: usize,
    receiver: Receiver,
    answers: Vec<Answer>,
    /// The bodies of all requests.
    bodies: Vec<u8>,
}

impl Feed {
    fn add(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
        self.end += more.len();
        while !matches!(self.answers.last(), Some(Answer::Refused(..))) {
            match self.receiver.receive(&mut self.bytes) {
                Ok(Received::Request(request, len)) => {
                    self.bodies.extend_from_slice(request.body.expect("it is whole"));
                    let (head, start) = (request.head, self.start);
                    self.bytes.drain(..len);
                    self.start = self.end - self.bytes.len();
                    self.answers.push(Answer::Taken(head, start, self.bodies.len(), self.start));
                }
                Ok(_) => {
                    let bytes = std::mem::take(&mut self.bytes);
                    return self.receiver.keep(&bytes, &mut self.bytes);
                }
                Err(refusal) => {
                    let method = self.receiver.head().map(|head| head.method);
                    self.answers.push(Answer::Refused(refusal, method));
                }
            }
        }
    }

    #[track_caller]
    fn check_cut(&self, input: &[u8], cuts: &[usize]) {
        let (mut cut, mut start) = (Self::default(), 0);
        for &end in cuts.iter().chain([&input.len()]) {
            cut.add(&input[start..end]);
            start = end;
        }
        let same = (&cut.answers, &cut.bodies, cut.start) == (&self.answers, &self.bodies, self.start);
        assert!(
            same,
            "cut at {cuts:?}: {:?}\ninstead of {:?}\nfor {}",
            cut.answers,
            self.answers,
            input.escape_ascii()
        );
    }

    /// How many requests were accepted, each of which means what a plain reading says.
    #[track_caller]
    fn read_plainly(&self, input: &[u8]) -> u64 {
        let (mut count, mut body_start) = (0, 0);
        for answer in &self.answers {
            let &Answer::Taken(head, start, body_end, end) = answer else { break };
            let (bytes, wire) = input[start..end].split_at(head.len);
            let body = &self.bodies[body_start..body_end];
            let as_expected =
                plain_framing(bytes) == Some(head.framing) && plain_body(head.framing, wire) == body;
            assert!(as_expected, "{head:?} for {}", input[start..].escape_ascii());
            (count, body_start) = (count + 1, body_end);
        }
        count
    }
}

/// How the body behind a good head is framed, if it is a good one: read line by line, with nothing in mind
/// but the rules.
fn plain_framing(head: &[u8]) -> Option<Framing> {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head).strip_suffix(b"\r\n\r\n")?;
    let controls = head.iter().filter(|&&byte| byte.is_ascii_control() && byte != b'\t').count();
    let text: String = head.iter().copied().map(char::from).collect();
    let (request_line, field_lines) = text.split_once("\r\n").unwrap_or((&text, ""));
    if controls != 2 * text.matches("\r\n").count() || request_line.split([' ', '\t']).count() != 3 {
        return None;
    }
    let mut fields = Vec::new();
    for line in field_lines.split_terminator("\r\n") {
        let (name, value) = line.split_once(':')?;
        if name.is_empty()
            || !name.chars().all(|c| c.is_ascii_graphic() && !"\"(),/:;<=>?@[\\]{}".contains(c))
        {
            return None;
        }
        fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])));
    }
    let values = |sought: &str| -> Vec<&str> {
        fields.iter().filter(|(name, _)| name == sought).map(|&(_, value)| value).collect()
    };
    let is_10 = request_line.ends_with(" HTTP/1.0");
    if !(request_line.contains(" HTTP/1.")
        && (values("host").len() == 1 || is_10 && values("host").is_empty()))
    {
        return None;
    }
    match (&values("content-length")[..], &values("transfer-encoding")[..]) {
        ([], []) => Some(Framing::Length(0)),
        ([length], []) => {
            let number: usize = length.parse().ok()?;
            (number <= limits::BODY && number.to_string() == *length).then_some(Framing::Length(number))
        }
        ([], [coding]) => (coding.eq_ignore_ascii_case("chunked") && !is_10).then_some(Framing::Chunked),
        _ => None,
    }
}

/// The body that a good message has on the wire.
fn plain_body(framing: Framing, wire: &[u8]) -> Vec<u8> {
    let (mut body, mut rest) = (Vec::new(), wire);
    if let Framing::Length(_) = framing {
        return wire.to_vec();
    }
    loop {
        let line = rest.windows(2).position(|end| end == b"\r\n").expect("a line");
        let digits = rest[..line].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(&rest[..digits]).expect("digits");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            let end = rest[line..].windows(4).position(|end| end == b"\r\n\r\n").expect("an empty line");
            assert_eq!(line + end + 4, rest.len());
            return body;
        }
        body.extend_from_slice(&rest[line + 2..][..size]);
        rest = rest[line + 2 + size..].strip_prefix(b"\r\n").expect("a line end");
    }
}
