//! The wire: bytes in, answers out, for every row of the contract's section on HTTP and both sides of its limits.
//!
//! Each row goes to the real server whole, byte by byte, cut in two at every place, and with a good request right behind
//! it; the answers are the same. Behind a row that leaves the connection open a good request is answered; behind one that
//! does not, nothing is, and the connection ends without a reset.

use core::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use crate::server::{Client, Response, Server};

/// The request line is 8 KiB at most, the body too.
const KIB_8: usize = 8 * 1024;
/// The head in all.
const KIB_16: usize = 16 * 1024;
/// Chunk extensions and trailers in all.
const KIB_4: usize = 4 * 1024;

/// `alice:x`; she plays `V` before the first row.
const ALICE: &str = "Authorization: Basic YWxpY2U6eA==\r\n";
/// A good request, to be told by its id.
const NEXT: &str = "GET /healthz HTTP/1.1\r\nHost: h\r\nX-Request-Id: next\r\n\r\n";

/// Bytes, and what answers them.
struct Row {
    claim: &'static str,
    /// Statuses in order: `200 404h` with an `h` where the answer has no body because a HEAD asked, `100?` where an
    /// interim answer depends on how the bytes were cut, `close` at the end where the connection does not outlive it.
    answers: String,
    input: Vec<u8>,
    /// What stands in the answers, in this order; what nowhere does begins with `!`.
    says: &'static [&'static str],
}

fn row(claim: &'static str, answers: impl Into<String>, input: impl AsRef<[u8]>) -> Row {
    Row { claim, answers: answers.into(), input: input.as_ref().to_vec(), says: &[] }
}

impl Row {
    fn says(self, says: &'static [&'static str]) -> Self {
        Self { says, ..self }
    }

    fn closes(&self) -> bool {
        self.answers.ends_with("close")
    }

    fn statuses(&self) -> impl Iterator<Item = &str> {
        self.answers.split(' ').filter(|word| *word != "close")
    }
}

/// A request for `/healthz`, with these lines in its head.
fn with(lines: &str) -> String {
    format!("GET /healthz HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n")
}

fn with_bytes(lines: &[u8]) -> Vec<u8> {
    [b"GET /healthz HTTP/1.1\r\nHost: h\r\n", lines, b"\r\n\r\n"].concat()
}

/// The same on HTTP/1.0, without Host.
fn on_10(lines: &str) -> String {
    format!("GET /healthz HTTP/1.0\r\n{lines}\r\n")
}

fn with_line(line: &str) -> String {
    format!("{line}\r\nHost: h\r\n\r\n")
}

fn with_target(target: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET ", target.as_ref(), b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat()
}

fn with_host(host: &str) -> String {
    format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// A start of `V` by alice, with these lines in its head, and with what follows it.
fn post(lines: &str, body: &str) -> String {
    format!("POST /?id=V HTTP/1.1\r\nHost: h\r\n{ALICE}{lines}\r\n\r\n{body}")
}

/// The same, its body framed by `Content-Length`.
fn post_json(json: &str) -> String {
    post(&format!("Content-Length: {}", json.len()), json)
}

/// The same, chunked.
fn post_chunks(chunks: &str) -> String {
    post("Transfer-Encoding: chunked", chunks)
}

/// One row a value, all of them answered alike.
fn each(claim: &'static str, answers: &str, inputs: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<Row> {
    inputs.into_iter().map(|input| row(claim, answers, input)).collect()
}

fn rows() -> Vec<Row> {
    [
        request_lines(),
        versions(),
        targets(),
        hosts(),
        field_lines(),
        lengths(),
        codings(),
        chunks(),
        trailers(),
        expectations(),
        persistence(),
        methods(),
        bodies(),
        pipelines(),
        garbage(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn request_lines() -> Vec<Row> {
    let line = |len: usize| format!("GET /healthz?{} HTTP/1.1", "a".repeat(len - 22));
    let path = |len: usize| format!("GET /{} HTTP/1.1", "a".repeat(len - 14));
    let mut rows = vec![
        row("a request is answered", "200", with("Accept: */*")).says(&["200", "content-length: 2", "ok"]),
        row("one empty line before a request line is skipped", "200", ["\r\n", NEXT].concat()),
        row("a second empty line is not", "400 close", ["\r\n\r\n", NEXT].concat()),
        row("one empty line between two requests is skipped", "200 200", [NEXT, "\r\n", NEXT].concat()),
        row("two are not", "200 400 close", [NEXT, "\r\n\r\n", NEXT].concat()),
        row("a request line of 8,000 bytes passes", "200", with_line(&line(8_000))),
        row("a request line of 8 KiB passes", "200", with_line(&line(KIB_8))),
        row("an empty line before it does not count", "200", ["\r\n", &with_line(&line(KIB_8))].concat()),
        row("one of 8 KiB and a byte does not", "414 close", with_line(&line(KIB_8 + 1))),
        row("a path of 8 KiB is no exception", "404", with_line(&path(KIB_8))),
        row("nor is a longer one", "414 close", with_line(&path(KIB_8 + 1))),
        row(
            "an endless target is refused before it ends",
            "414 close",
            format!("GET /{}", "a".repeat(9_000)),
        ),
        row("an endless method is too", "414 close", "A".repeat(9_000)),
    ];
    rows.extend(each(
        "single spaces alone separate",
        "400 close",
        "GET  /healthz HTTP/1.1^GET /healthz  HTTP/1.1^GET\t/healthz HTTP/1.1^GET /healthz\tHTTP/1.1\
            ^GET /healthz HTTP/1.1 ^GET /healthz HTTP/1.1\t^ GET /healthz HTTP/1.1^GET\x0B/healthz HTTP/1.1\
            ^GET /healthz\x0CHTTP/1.1^GET /healthz x HTTP/1.1^GET: /healthz HTTP/1.1^GET/healthz HTTP/1.1\
            ^/healthz HTTP/1.1^G\"T /healthz HTTP/1.1"
            .split('^')
            .map(with_line),
    ));
    rows.extend(each(
        "a request line ends in CRLF",
        "400 close",
        [
            "\nGET /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
            "\rGET /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /healthz HTTP/1.1\nHost: h\r\n\r\n",
            "GET /healthz HTTP/1.1\nHost: h\n\n",
            "GET /healthz HTTP/1.1\rHost: h\r\n\r\n",
            "GET /healthz HTTP/1.1\r\r\nHost: h\r\n\r\n",
            "GET /healthz HTTP/1.0\n\n",
        ],
    ));
    rows
}

fn versions() -> Vec<Row> {
    let version = |version: &str| with_line(&format!("GET /healthz {version}"));
    let mut rows = Vec::new();
    rows.extend(each(
        "a later minor version is answered as 1.1",
        "200",
        ["HTTP/1.1", "HTTP/1.2", "HTTP/1.9"].map(version),
    ));
    rows.extend(each(
        "another major version is not spoken",
        "505 close",
        ["HTTP/2.0", "HTTP/3.0", "HTTP/0.9", "HTTP/0.0", "HTTP/9.9"].map(version),
    ));
    rows.extend(each(
        "whatever its target",
        "505 close",
        [
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET * HTTP/2.0\r\n\r\n",
            "GET \\ HTTP/3.0\r\n\r\n",
            "CONNECT h HTTP/2.0\r\n\r\n",
        ],
    ));
    rows.extend(each(
        "a version is HTTP, a slash, a digit, a point and a digit",
        "400 close",
        "HTTP/1  HTTP/1.  HTTP/.1  HTTP/11  HTTP/1.10  HTTP/01.1  HTTP/1.1x  HTTP/1,1  HTTP/1.x  \
            HTTP/+1.1  http/1.1  Http/1.1  HTTPS/1.1  HTTP  HTTP/  HTTP-1.1  ICY/1.1  1.1"
            .split("  ")
            .map(version),
    ));
    rows.extend(each(
        "no version at all is HTTP/0.9",
        "400 close",
        ["GET /healthz\r\n", "GET /healthz\r\n\r\n", "GET /healthz \r\n\r\n"],
    ));
    rows
}

fn targets() -> Vec<Row> {
    let mut rows = vec![
        row("origin-form", "200", with_target("/healthz?a=b&c")),
        row("absolute-form", "200", with_target("http://h/healthz")),
        row("its scheme has no case", "200", with_target("HTTP://H:80/healthz")),
        row("https may have been meant", "200", with_target("https://h/healthz")),
        row(
            "its host counts and not that of the field",
            "200",
            with_target("http://other.example:1/healthz"),
        ),
        row("one without a path means the whole", "401", with_target("http://h")).says(&["www-authenticate"]),
        row(
            "one without a path may have a query",
            "200",
            format!("GET http://h?id=V HTTP/1.1\r\nHost: h\r\n{ALICE}\r\n"),
        )
        .says(&["\"endpoint\":\"/?id=V\""]),
        row("it does not replace Host", "400 close", "GET http://h/healthz HTTP/1.1\r\n\r\n"),
        row("nor a valid one", "400 close", "GET http://h/healthz HTTP/1.1\r\nHost: a b\r\n\r\n"),
        row("it does on 1.0", "200 close", "GET http://h/healthz HTTP/1.0\r\n\r\n"),
        row("OPTIONS has an absolute-form too", "204", "OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n")
            .says(&["allow: "]),
        row("asterisk-form", "204", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
            .says(&["allow: GET", "!content-length"]),
        row("authority-form is refused", "405 close", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n")
            .says(&["allow: "]),
        row(
            "%00 is valid syntax and no id",
            "400",
            format!("GET /?id=%00 HTTP/1.1\r\nHost: h\r\n{ALICE}\r\n"),
        ),
        row(
            "%0D%0A is valid syntax and no id",
            "400",
            format!("GET /?id=a%0D%0Ab HTTP/1.1\r\nHost: h\r\n{ALICE}\r\n"),
        ),
        row("%00 is valid syntax in a path", "404", with_target("/%00")),
        row("two slashes are a path of their own", "404", with_target("//h/healthz")),
    ];
    rows.extend(each(
        "a target is visible ASCII, without fragment or backslash, its escapes whole",
        "400 close",
        [
            &b"/healthz#a"[..],
            b"/healthz?a#",
            b"#",
            b"/a\\b",
            b"/\\..\\healthz",
            b"/healthz?\x80",
            b"/\xC3\xA9",
            b"/\xFF",
            b"/\x7F",
            b"/\0",
            b"/\x01",
            b"/\x0B",
            b"/%",
            b"/%2",
            b"/%zz",
            b"/%2g",
            b"/?%",
            b"/?id=%%30",
        ]
        .map(with_target),
    ));
    rows.extend(each(
        "a target has one of the four forms, and its method's",
        "400 close",
        "GET * HTTP/1.1  POST * HTTP/1.1  OPTIONS ** HTTP/1.1  OPTIONS */ HTTP/1.1  \
            OPTIONS *?a HTTP/1.1  GET h:443 HTTP/1.1  GET h HTTP/1.1  GET healthz HTTP/1.1  \
            GET ?id=V HTTP/1.1  CONNECT / HTTP/1.1  CONNECT h HTTP/1.1  CONNECT h: HTTP/1.1  \
            CONNECT h:x HTTP/1.1  CONNECT h:65536 HTTP/1.1  CONNECT * HTTP/1.1  \
            CONNECT http://h:1 HTTP/1.1  CONNECT u@h:443 HTTP/1.1  GET ftp://h/ HTTP/1.1  \
            GET ws://h/ HTTP/1.1  GET http:/healthz HTTP/1.1  GET http:// HTTP/1.1  \
            GET http:///healthz HTTP/1.1  GET http://?a HTTP/1.1  GET http://:80/ HTTP/1.1  \
            GET http://u@h/ HTTP/1.1  GET http://u:p@h/ HTTP/1.1  GET http://@h/ HTTP/1.1  \
            GET http://h:x/ HTTP/1.1  GET http://h:65536/ HTTP/1.1  GET http://h:1:2/ HTTP/1.1  \
            GET http://[::1/ HTTP/1.1  GET http://::1/ HTTP/1.1  GET http://h%2/ HTTP/1.1  \
            GET http://h|/ HTTP/1.1"
            .split("  ")
            .map(with_line),
    ));
    rows
}

fn hosts() -> Vec<Row> {
    let mut rows = vec![
        row("1.1 needs Host", "400 close", "GET /healthz HTTP/1.1\r\n\r\n"),
        row("1.2 does too", "400 close", "GET /healthz HTTP/1.2\r\nA: b\r\n\r\n"),
        row("1.0 does not", "200 close", on_10("")),
        row("1.0 may have it", "200 close", on_10("Host: h\r\n")),
        row("1.0 may not have two", "400 close", on_10("Host: h\r\nHost: h\r\n")),
        row("nor an empty one", "400 close", on_10("Host:\r\n")),
        row("nor an invalid one", "400 close", on_10("Host: a/b\r\n")),
        row("Host comes once", "400 close", with("Host: h")),
        row("in whatever case", "400 close", with("hOST: other")),
        row("even empty", "400 close", with("Host:")),
    ];
    rows.extend(each(
        "every host of the grammar is one",
        "200",
        "h  h:80  h:  h:0  h:65535  127.0.0.1:8000  [::1]  [::1]:8000  [2001:db8::1]:  [v1.a:b]  \
            EXAMPLE.com.  a_b  a%20b  a!$&'()*+,;=b  xn--bcher-kva.example"
            .split("  ")
            .map(with_host),
    ));
    rows.extend(each(
        "nothing else is",
        "400 close",
        "^ ^a b^h, h^h:x^h:-1^h:+1^h:65536^h:80:80^h: 80^:80^:^::1^[::1^::1]^[::1]80^[]^[g::]^[1.2.3.4]\
            ^[::1%25lo]^a/b^http://h^u@h^a?b^a#b^a\\b^\"h\"^<h>^{h}^a|b^a%^a%2^a%zz^h\t:80"
            .split('^')
            .map(with_host),
    ));
    rows.push(row("a host is ASCII", "400 close", with_host("\u{E9}.example")));
    rows
}

fn field_lines() -> Vec<Row> {
    let head = |len: usize| with(&format!("a: {}", "v".repeat(len - 39)));
    assert_eq!(head(100).len(), 100);
    // With Host there is one more.
    let fields = |count: usize| with(&vec!["a:"; count - 1].join("\r\n"));
    let mut rows = vec![
        row("blanks around a value are no part of it", "200", with("X-Request-Id: \t n1 \t")).says(&["x-request-id: n1\n"]),
        row("none are needed", "200", with("X-Request-Id:n2")).says(&["x-request-id: n2\n"]),
        row("names have no case", "200", with("x-rEQUEST-iD: n3")).says(&["x-request-id: n3\n"]),
        row("every token is a name", "200", with("!#$%&'*+-.^_`|~09aZ: a")),
        row("a value may be empty", "200", with("a:\r\nb: \t ")),
        row("a value may hold tabs", "200", with("a: b\tc")),
        row("a value may hold what is not ASCII", "200", with_bytes(b"a: \x80\xFF\xC3\xA9")),
        row("100 fields pass", "200", fields(100)),
        row("101 do not", "431 close", fields(101)),
        row("a head of 16 KiB passes", "200", head(KIB_16)),
        row("one of 16 KiB and a byte does not", "431 close", head(KIB_16 + 1)),
        row("an endless head is refused before it ends", "431 close", &head(20_000)[..19_000]),
        row("an empty line before it counts", "431 close", ["\r\n", &head(KIB_16 - 1)].concat()),
        row("an id of 128 bytes is echoed", "200", with(&format!("X-Request-Id: {}", "x".repeat(128)))).says(&[
            "x-request-id: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
             xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
        ]),
        row("a longer one is made anew", "200", with(&format!("X-Request-Id: {}", "x".repeat(129)))).says(&["!xx"]),
        row("so is one with a blank", "200", with("X-Request-Id: x x")).says(&["!x x"]),
        row("so is one that is not ASCII", "200", with_bytes(b"X-Request-Id: x\xC3\xA9")).says(&["!id: x"]),
        row("so is one that would end its line", "400 close", with("X-Request-Id: x\rSet-Cookie: a")).says(&["!cookie"]),
    ];
    rows.extend(each(
        "a field line is a token, a colon, a value without controls, and CRLF",
        "400 close",
        [
            &b"a: b\nc: d"[..],
            b"a: b\rc: d",
            b"a: b\r\r\nc: d",
            b"a: b\n\r\nc: d",
            b"a: b\r\n\n",
            b"\na: b",
            b"a: b\r\n c",
            b"a: b\r\n\tc: d",
            b" a: b",
            b"a:\r\n b",
            b"a : b",
            b"a\t: b",
            b"a",
            b"a b",
            b": b",
            b":",
            b"a(b): c",
            b"a/b: c",
            b"a@b: c",
            b"\"a\": b",
            b"a\x00: b",
            b"a\x0B: b",
            b"\x80: b",
            b"\xEF\xBB\xBFa: b",
            b"a: b\x00c",
            b"a: b\x01c",
            b"a: b\x0Bc",
            b"a: b\x1Bc",
            b"a: b\x7Fc",
            b"a: \x00",
        ]
        .map(with_bytes),
    ));
    rows.extend(each(
        "no smuggled length or coding hides in its line",
        "400 close",
        "Content-Length : 5^Content-Length\t: 5^ Content-Length: 5^a: b\nContent-Length: 5\
            ^a: b\rContent-Length: 5^Content-Length\x0B: 5^Transfer-Encoding : chunked\
            ^Transfer-Encoding\r\n : chunked^Transfer-Encoding:\r\n chunked^a: b\nTransfer-Encoding: chunked\
            ^Transfer-Encoding: \x0Bchunked^Transfer-Encoding: chunked\0"
            .split('^')
            .map(with),
    ));
    rows.extend(each(
        "a field that means one thing comes once",
        "400 close",
        [
            "X-Request-Id: a\r\nX-Request-Id: a",
            "Authorization: Basic YTpi\r\nauthorization: Basic YTpi",
            "Content-Type: a/b\r\nContent-Type: a/b",
        ]
        .map(with),
    ));
    rows
}

fn lengths() -> Vec<Row> {
    let padded = |len: usize| post_json(&format!("{{\"time\":\"1:23\"{}}}", " ".repeat(len - 15)));
    let mut rows = vec![
        row("a body is read to its length", "200", post_json("{\"time\":\"1:01\"}"))
            .says(&["\"time\":\"1:01\""]),
        row(
            "blanks around a length are valid",
            "200",
            post("Content-Length: \t 15 \t", "{\"time\":\"1:02\"}"),
        )
        .says(&["\"time\":\"1:02\""]),
        row("a length of zero is one", "200", post("Content-Length: 0", "")),
        row("no length is none", "200", post("A: b", "")),
        row("GET may have a body", "200", with("Content-Length: 5") + "hello"),
        row("which is no request", "200", with(&format!("Content-Length: {}", NEXT.len())) + NEXT)
            .says(&["!next"]),
        row(
            "a body stays out of the next request, whatever the answer",
            "404 200",
            ["POST /none HTTP/1.1\r\nHost: h\r\nContent-Length: 54\r\n\r\n", NEXT, NEXT].concat(),
        )
        .says(&["404", "200", "x-request-id: next"]),
        row("an unauthorized one too", "401", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /"),
        row("an unknown method's too", "501", "BREW / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /"),
        row("that of 1.0 too", "200", on_10("Connection: keep-alive\r\nContent-Length: 5\r\n") + "hello"),
        row("a body of 8 KiB passes", "200", padded(KIB_8)).says(&["\"time\":\"1:23\""]),
        row("one of 8 KiB and a byte does not", "413 close", padded(KIB_8 + 1)),
        row("it is refused once announced", "413 close", post("Content-Length: 8193", "")),
        row(
            "wherever it is sent",
            "413 close",
            "GET /none HTTP/1.1\r\nHost: h\r\nContent-Length: 8193\r\n\r\n",
        ),
        row("64 bits hold a length", "413 close", post("Content-Length: 18446744073709551615", "")),
        row("a length above them is none", "400 close", post("Content-Length: 18446744073709551616", "")),
        row(
            "names that only look alike mean nothing",
            "200",
            with("Content_Length: 5\r\nX-Content-Length: 6"),
        ),
    ];
    rows.extend(each(
        "a length is digits without a leading zero, once",
        "400 close",
        "^+5^-5^-0^05^00^5,5^5, 5^5,^,5^5 5^5;a^0x5^5h^5.0^1e1^five^\"5\"^\u{665}^99999999999999999999999"
            .split('^')
            .map(|length| post(&format!("Content-Length: {length}"), "hello")),
    ));
    rows.extend(each(
        "a fault is a 400, whatever else is asked for",
        "400 close",
        [
            "Content-Length: 8193\r\nContent-Length: 8193",
            "Expect: x\r\nContent-Length: x",
            "Expect: x\r\na b",
        ]
        .map(|lines| post(lines, "")),
    ));
    rows.extend(each(
        "a repeated length is none, even an equal one",
        "400 close",
        [
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 0\r\ncontent-length: 0",
            "Content-Length: 5\r\nA: b\r\nContent-Length: 6",
        ]
        .map(|lines| post(lines, "hello")),
    ));
    rows
}

fn codings() -> Vec<Row> {
    let coded = |coding: &str| post(&format!("Transfer-Encoding: {coding}"), "0\r\n\r\n");
    let mut rows = Vec::new();
    rows.extend(each(
        "chunked is chunked in any case",
        "200",
        ["chunked", "Chunked", "CHUNKED", "\t chunked \t"].map(coded),
    ));
    rows.extend(each(
        "an unknown coding is not implemented",
        "501 close",
        "gzip  gzip, chunked  gzip,chunked  identity  identity, chunked  x-chunked  xchunked  chunkedd  \
            deflate;q=1  'chunked'"
            .split("  ")
            .map(coded),
    ));
    rows.extend(each(
        "chunked is last and once, and no element is empty",
        "400 close",
        "^,^, chunked^chunked,^chunked, chunked^chunked,chunked^chunked, gzip^chunked, identity\
            ^chunked;a=b^\"chunked\"^chunked chunked^chun ked^chunked/1.1"
            .split('^')
            .map(coded),
    ));
    rows.extend(each(
        "several lines are one list",
        "400 close",
        [
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding:",
        ]
        .map(|lines| post(lines, "0\r\n\r\n")),
    ));
    rows.extend(each(
        "a length beside a coding is refused, in either order",
        "400 close",
        [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Content-Length: 0\r\nTransfer-Encoding: chunked",
            "Content-Length: 5\r\nTransfer-Encoding: gzip",
            "Content-Length: 5\r\nTransfer-Encoding:",
            "Content-Length: 5\r\nTransfer-Encoding: identity",
            "Transfer-Encoding: identity\r\nContent-Length: 5",
            "Transfer-Encoding: gzip, chunked\r\nContent-Length: 0",
            "Content-Length: 8193\r\nTransfer-Encoding: chunked",
        ]
        .map(|lines| post(lines, "0\r\n\r\n")),
    ));
    rows.extend(each(
        "1.0 has no coding",
        "400 close",
        [
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        ]
        .map(|lines| on_10(lines) + "0\r\n\r\n"),
    ));
    rows.push(row("TE is another field", "200", with("TE: trailers, chunked\r\nTrailer: a")));
    rows.push(row(
        "names that only look alike mean nothing",
        "200",
        with("Transfer_Encoding: chunked\r\nXTransfer-Encoding: a"),
    ));
    rows
}

fn chunks() -> Vec<Row> {
    let extended = |len: usize| post_chunks(&format!("0;{}\r\n\r\n", "a".repeat(len - 1)));
    let mut rows = vec![
        row("chunks are put together", "200", post_chunks("5\r\n{\"tim\r\nA\r\ne\":\"1:03\"}\r\n0\r\n\r\n"))
            .says(&["\"time\":\"1:03\""]),
        row(
            "sizes are hexadecimal in any case",
            "200",
            post_chunks("a\r\n{\"time\":\"1\r\n5\r\n:04\"}\r\n0\r\n\r\n"),
        )
        .says(&["\"time\":\"1:04\""]),
        row("sizes may have leading zeros", "200", post_chunks("000F\r\n{\"time\":\"1:05\"}\r\n000\r\n\r\n"))
            .says(&["\"time\":\"1:05\""]),
        row("there may be nothing in them", "200", post_chunks("0\r\n\r\n")),
        row("GET may have some", "200", with("Transfer-Encoding: chunked") + "5\r\nGET /\r\n0\r\n\r\n"),
        row(
            "8 KiB in one pass",
            "200",
            post_chunks(&format!("2000\r\n{{}}{}\r\n0\r\n\r\n", " ".repeat(KIB_8 - 2))),
        ),
        row(
            "8 KiB in two pass",
            "200",
            post_chunks(&format!("2\r\n{{}}\r\n1ffe\r\n{}\r\n0\r\n\r\n", " ".repeat(KIB_8 - 2))),
        ),
        row("a byte at a time passes, with as much around it as there may be", "200", {
            let chunks: String =
                format!("{{}}{}", " ".repeat(KIB_8 - 2)).chars().map(|c| format!("1\r\n{c}\r\n")).collect();
            let extension = "a".repeat(KIB_4 - 1);
            let head =
                |pad: usize| post(&format!("Transfer-Encoding: chunked\r\nA: {}", "a".repeat(pad)), "");
            head(KIB_16 - head(0).len()) + &chunks + "0;" + &extension + "\r\n\r\n"
        }),
        row("8 KiB and a byte do not", "413 close", post_chunks("2001\r\n")),
        row("nor do they in two", "413 close", post_chunks("2\r\n{}\r\n1fff\r\n")),
        row("a size of 64 bits is too large", "413 close", post_chunks("ffffffffffffffff\r\n")),
        row(
            "one that overflows them is none",
            "400 close",
            post_chunks("10000000000000005\r\n{\"a\"}\r\n0\r\n\r\n"),
        ),
        row("one with more digits than that may be small", "200", {
            post_chunks("00000000000000002\r\n{}\r\n00000000000000000\r\n\r\n")
        }),
        row("zeros count with extensions and trailers", "200", {
            post_chunks(&format!("{}\r\n\r\n", "0".repeat(KIB_4 + 1)))
        }),
        row("and may be as many: what is too long there is no field", "400 close", {
            post_chunks(&format!("{}\r\n\r\n", "0".repeat(KIB_4 + 2)))
        }),
        row("extensions of 4 KiB pass", "200", extended(KIB_4)),
        row("longer ones do not", "431 close", extended(KIB_4 + 1)),
        row("those of several chunks count together", "431 close", {
            let extension = "a".repeat(KIB_4 / 2);
            post_chunks(&format!("1;{extension}\r\n{{\r\n1;{extension}\r\n}}\r\n0\r\n\r\n"))
        }),
    ];
    rows.extend(each(
        "an extension is a token with or without a value, and ignored",
        "200",
        "2;a  2;a=b  2;a=\"b\"  2;a=\"b;\\\"\\\\ c\"  2;a;b=c;d  2 ; a = b ; c  2\t;\ta\t=\t\"b\"  \
            2;a=\"\"  2;a=\"\u{E9}\"  2;chunked=yes;Content-Length=9"
            .split("  ")
            .map(|size| post_chunks(&format!("{size}\r\n{{}}\r\n0;last\r\n\r\n"))),
    ));
    rows.extend(each(
        "a size is plain hexadecimal, an extension what the grammar says",
        "400 close",
        "+2^-2^0x2^x2^ 2^2 ^2\t^2 2^2_0^2.0^2g^^\r\n2^2,a^2;^2; ^2;;a^2;a;^2;a=^2;=b^2;a=b=c^2;a=b c^2;a ^2;a(b)\
         ^2;a=\"b^2;a=\"b\"c^2;a=\"\x01\"^2;a=\"\n\"^2;a\rb^2;a\nb^2;\r\n"
            .split('^')
            .map(|size| post_chunks(&format!("{size}\r\n{{}}\r\n0\r\n\r\n"))),
    ));
    rows.extend(each(
        "a chunk has so many bytes, and each line ends in CRLF",
        "400 close",
        [
            "2\n{}\r\n0\r\n\r\n",
            "2\r{}\r\n0\r\n\r\n",
            "2\r\r\n{}\r\n0\r\n\r\n",
            "2;a\n{}\r\n0\r\n\r\n",
            "2\r\n{}\n0\r\n\r\n",
            "2\r\n{}\r0\r\n\r\n",
            "2\r\n{}0\r\n\r\n",
            "2\r\n{}x\r\n0\r\n\r\n",
            "2\r\n{}\n\r0\r\n\r\n",
            "1\r\n{}\r\n0\r\n\r\n",
            "3\r\n{}\r\n0\r\n\r\n",
            "2\r\n{}\r\n\r\n\r\n",
            "2\r\n{}\r\n0\n\r\n",
            "2\r\n{}\r\n0\r\n\n",
            "2\r\n{}\r\n0\r\n\rx",
        ]
        .map(post_chunks),
    ));
    rows
}

fn trailers() -> Vec<Row> {
    let trailing = |trailers: &str| post_chunks(&format!("2\r\n{{}}\r\n0\r\n{trailers}\r\n\r\n"));
    let long = |len: usize| trailing(&format!("a:{}", "v".repeat(len - 4)));
    let mut rows = vec![
        row("trailers are read and dropped", "200", trailing("A: b\r\nX-Request-Id: dropped"))
            .says(&["!dropped"]),
        row(
            "whatever their names",
            "200",
            trailing("Content-Length: 5\r\nTransfer-Encoding: gzip\r\nHost: a b"),
        ),
        row("they close nothing", "200", trailing("Connection: close\r\nExpect: x")),
        row("they carry no credentials", "401", {
            format!("POST /?id=V HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{ALICE}\r\n")
        }),
        row("they may be many", "200", trailing(&vec!["a:"; 200].join("\r\n"))),
        row("4 KiB of them pass", "200", long(KIB_4)),
        row("more do not", "431 close", long(KIB_4 + 1)),
        row("they count together with extensions", "431 close", {
            let half = "a".repeat(KIB_4 / 2);
            post_chunks(&format!("0;{half}\r\n{half}:\r\n\r\n"))
        }),
        row("endless ones are refused before they end", "431 close", &long(9_000)[..8_000]),
    ];
    rows.extend(each(
        "a trailer is a field line like any other",
        "400 close",
        "a^a b^a : b^ a: b^: b^a: b\nc: d^a: b\rc: d^a: \0^a: b\r\n c^a@b: c^a: \x7F"
            .split('^')
            .map(trailing),
    ));
    rows
}

fn expectations() -> Vec<Row> {
    let expecting =
        |value: &str| post(&format!("Expect: {value}\r\nContent-Length: 15"), "{\"time\":\"1:06\"}");
    let mut rows = vec![
        row("who expects may send at once", "100? 200", expecting("100-continue"))
            .says(&["\"time\":\"1:06\""]),
        row("in any case", "100? 200", expecting("100-Continue")),
        row("chunked too", "100? 200", {
            post("Expect: 100-continue\r\nTransfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n")
        }),
        row(
            "who has nothing to send waits for nothing",
            "200",
            post("Expect: 100-continue\r\nContent-Length: 0", ""),
        ),
        row("who announces nothing waits for nothing", "200", with("Expect: 100-continue")),
        row(
            "who announces too much is told so",
            "413 close",
            post("Expect: 100-continue\r\nContent-Length: 8193", ""),
        ),
        row(
            "1.0 expects nothing",
            "200 close",
            on_10("Expect: 100-continue\r\nContent-Length: 5\r\n") + "hello",
        ),
        row("whatever it says", "200 close", on_10("Expect: 200-ok\r\n")),
        row("HEAD is told of an expectation without body", "417h close", {
            "HEAD /healthz HTTP/1.1\r\nHost: h\r\nExpect: x\r\n\r\n"
        }),
    ];
    rows.extend(each(
        "one expectation can be met",
        "417 close",
        ["", "x", "100", "200-ok", "100-continues", "100-continue, x", "100-continue;a", "\"100-continue\""]
            .map(expecting),
    ));
    rows
}

fn persistence() -> Vec<Row> {
    let mut rows = vec![
        row("1.0 closes", "200 close", on_10("")),
        row("1.0 stays if asked, and is told", "200", on_10("Connection: keep-alive\r\n"))
            .says(&["connection: keep-alive"]),
        row("in any case", "200", on_10("Connection: a, Keep-Alive\r\n")).says(&["connection: keep-alive"]),
        row("1.0 closes if asked for both", "200 close", on_10("Connection: keep-alive, close\r\n")),
        row("keep-alives is another option", "200 close", on_10("Connection: keep-alives\r\n")),
        row("1.1 stays without a word", "200", with("Connection: keep-alive")).says(&["!connection:"]),
        row("what comes behind close is no request", "200 200 close", {
            [NEXT, &with("Connection: close"), NEXT, NEXT].concat()
        }),
        row("close behind a body", "200 close", post("Connection: close\r\nContent-Length: 2", "{}")),
        row(
            "close with a HEAD",
            "200h close",
            "HEAD /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        ),
        row("close with a 204", "204 close", "OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
        row("close with a refusal", "401 close", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
    ];
    rows.extend(each(
        "close closes, in any case and company",
        "200 close",
        ["close", "Close", "CLOSE", "keep-alive, close", "close, TE", " , close ,", "a\r\nConnection: close"]
            .map(|options| with(&format!("Connection: {options}"))),
    ));
    rows.extend(each(
        "options are compared whole",
        "200",
        ["", "closed", "clos", "close-", "\"close\"", "not close", "close;a", "x-close", "TE"]
            .map(|options| with(&format!("Connection: {options}"))),
    ));
    rows.extend(each(
        "Upgrade is ignored, and the connection stays in step",
        "200 200",
        [
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            "Upgrade: TLS/1.0, HTTP/2.0",
        ]
        .map(|lines| with(lines) + NEXT),
    ));
    rows.push(row("an upgrade's body is a body", "200 200", {
        with("Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5") + "GET /" + NEXT
    }));
    rows
}

fn methods() -> Vec<Row> {
    let head = |target: &str, lines: &str| format!("HEAD {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    let mut rows = vec![
        row("HEAD is GET without the body", "200h", head("/healthz", ""))
            .says(&["content-length: 2\n", "!ok"]),
        row("HEAD of a stream", "200h", head("/?id=V", ALICE)).says(&["content-type: application/json\n"]),
        row("HEAD of nothing", "404h", head("/none", "")).says(&["application/problem+json"]),
        row("HEAD without credentials", "401h", head("/", "")).says(&["www-authenticate: Basic"]),
        row("HEAD without an id lists", "200h", head("/", ALICE)),
        row("HEAD that is refused for its query", "400h", head("/?id=", ALICE)),
        row("HEAD that is refused for a field", "400h close", head("/healthz", "a b\r\n")),
        row("HEAD that is refused for its target", "400h close", head("/#", "")),
        row("HEAD that is refused for its version", "505h close", "HEAD / HTTP/2.0\r\nHost: h\r\n\r\n"),
        row(
            "HEAD that is refused for its length",
            "413h close",
            head("/healthz", "Content-Length: 8193\r\n"),
        ),
        row(
            "HEAD that is refused for its coding",
            "501h close",
            head("/healthz", "Transfer-Encoding: gzip\r\n"),
        ),
        row("HEAD that is refused for its size", "431h close", head("/healthz", &"a:\r\n".repeat(100))),
        row("HEAD that is refused for its line", "414h close", head(&format!("/{}", "a".repeat(KIB_8)), "")),
        row("HEAD that is refused for its body", "400h close", {
            head("/healthz", "Transfer-Encoding: chunked\r\n") + "x"
        }),
        row("OPTIONS of the whole", "204", with_line("OPTIONS * HTTP/1.1")).says(&[
            "allow: GET, HEAD, POST, PATCH, DELETE, OPTIONS\n",
            "!content-",
            "!transfer-encoding",
        ]),
        row("OPTIONS of /", "204", with_line("OPTIONS / HTTP/1.1"))
            .says(&["allow: GET, HEAD, POST, PATCH, DELETE, OPTIONS\n"]),
        row("OPTIONS of /healthz", "204", with_line("OPTIONS /healthz HTTP/1.1"))
            .says(&["allow: GET, HEAD, OPTIONS\n"]),
        row("OPTIONS of nothing", "404", with_line("OPTIONS /none HTTP/1.1")),
        row("OPTIONS with a body", "204", "OPTIONS * HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /"),
        row("a refused method leaves the connection in step", "405 200", {
            "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /".to_owned() + NEXT
        }),
    ];
    for (claim, answers, lines) in [
        (
            "a known method that a path lacks",
            "405",
            &["PUT /", "TRACE /", "PUT /healthz", "POST /healthz", "PATCH /healthz"][..],
        ),
        (
            "a method that nobody knows",
            "501",
            &["BREW /", "get /healthz", "Get /healthz", "GETT /", "M-SEARCH /", "!#$%&'*+-.^_`|~ /"],
        ),
        ("the path comes before the method", "404", &["BREW /none", "PUT /none"]),
    ] {
        rows.extend(each(claim, answers, lines.iter().map(|line| with_line(&format!("{line} HTTP/1.1")))));
    }
    rows
}

fn bodies() -> Vec<Row> {
    let nested = |levels: usize| {
        post_json(&format!("{{\"a\":{}1{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1)))
    };
    let typed = |lines: &str| post(&format!("{lines}\r\nContent-Length: 2"), "{}");
    vec![
        row("JSON nested 32 deep passes", "200", nested(32)),
        row("33 deep does not", "400", nested(33)),
        row("however deep", "400", post_json(&"[".repeat(KIB_8))),
        row("bad JSON leaves the connection in step", "400", post_json("GET /healthz HTTP/1.1\r\n\r\n")),
        row("a media type that is not JSON", "415", typed("Content-Type: text/plain")),
        row("a charset that is not UTF-8", "415", typed("Content-Type: application/json; charset=latin1")),
        row("a content coding", "415", typed("Content-Encoding: gzip")),
        row("JSON with its charset", "200", typed("Content-Type: application/json;charset=\"UTF-8\"")),
        row(
            "framing comes before the path",
            "400 close",
            "GET /none HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        ),
        row("credentials come before the query", "401", "POST /?id=a&id=b HTTP/1.1\r\nHost: h\r\n\r\n"),
    ]
}

fn pipelines() -> Vec<Row> {
    let numbered = |n: usize| format!("GET /healthz HTTP/1.1\r\nHost: h\r\nX-Request-Id: n{n}\r\n\r\n");
    let many = |n: usize| (1..=n).map(numbered).collect::<String>();
    let oks = |n: usize| vec!["200"; n].join(" ");
    vec![
        row("answers come in the order of the requests", "200 404h 204 200 401", {
            [
                &numbered(1),
                "HEAD /none HTTP/1.1\r\nHost: h\r\nX-Request-Id: n2\r\n\r\n",
                "OPTIONS * HTTP/1.1\r\nHost: h\r\nX-Request-Id: n3\r\n\r\n",
                &post("X-Request-Id: n4\r\nContent-Length: 15", "{\"time\":\"1:07\"}"),
                "GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: n5\r\n\r\n",
            ]
            .concat()
        })
        .says(&[
            "id: n1\n",
            "ok",
            "id: n2\n",
            "id: n3\n",
            "allow: ",
            "id: n4\n",
            "1:07",
            "id: n5\n",
            "Unauthorized",
        ]),
        row("chunks and lengths take turns", "200 200 200", {
            [post_chunks("2\r\n{}\r\n0\r\nA: b\r\n\r\n"), post_json("{}"), post_chunks("0\r\n\r\n")].concat()
        }),
        row("more than a turn takes", oks(40), many(40)).says(&[
            "id: n1\n",
            "id: n16\n",
            "id: n17\n",
            "id: n40\n",
        ]),
        row("more than a read takes", oks(10), {
            post_json(&format!("{{\"time\":\"1:08\"{}}}", " ".repeat(KIB_8 - 15))).repeat(10)
        }),
        row("and then a close", oks(34) + " close", many(33) + &with("Connection: close") + NEXT)
            .says(&["id: n33\n", "!next"]),
        row("and then an error", oks(33) + " 400 close", many(33) + &with("a b") + NEXT)
            .says(&["id: n33\n", "!next"]),
        row("good requests before an error are answered", "200 200 400 close", {
            many(2) + "GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n" + NEXT
        })
        .says(&["id: n1\n", "id: n2\n", "!next"]),
        row("nothing behind an error is read", "400 close", with("Content-Length: x") + NEXT)
            .says(&["!next"]),
        row("a body that is refused holds no request", "400 close", post_chunks("zz\r\n") + NEXT)
            .says(&["!next"]),
    ]
}

fn garbage() -> Vec<Row> {
    each(
        "garbage is refused",
        "400 close",
        [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A\x0B\x0C\x0D"[..],
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\0\0\0\0\0\0\0\0",
            b"\xFF\xFE\xFD",
            b"{\"time\":\"1:00\"}\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"\x05\x01\x00",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"<policy-file-request/>\0",
        ],
    )
}

/// Rows above this length are cut at a few places only.
const LONG: usize = 400;

#[test]
fn every_row_is_answered_the_same_however_its_bytes_are_cut() {
    let server = Server::start(&["--workers", "2", "--log", "off", "--admin", "off"]);
    assert_eq!(server.call("alice", "POST /?id=V", "").status, 201);
    let (rows, next, failures) = (rows(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Relaxed)) {
                    if let Err(said) = run(server.listen, row, &ways(row)) {
                        failures.lock().unwrap().push(said);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} rows:\n{}", failures.len(), rows.len(), failures.join("\n"));
}

#[test]
fn the_server_of_one_page_answers_the_rows_alike() {
    let server = Server::small();
    assert_eq!(server.call("alice", "POST /?id=V", "").status, 201);
    let rows = rows();
    let failures: Vec<String> =
        rows.iter().filter_map(|row| run(server.listen, row, &ways(row)[..3]).err()).collect();
    assert!(failures.is_empty(), "{} of {} rows:\n{}", failures.len(), rows.len(), failures.join("\n"));
}

/// How a row's bytes are sent: where each piece ends.
struct Way {
    name: String,
    ends: Vec<usize>,
    /// With a good request behind it, in the last piece.
    followed: bool,
}

fn ways(row: &Row) -> Vec<Way> {
    let len = row.input.len();
    let dripped = if len > LONG { (61..len).step_by(61).chain([len]).collect() } else { (1..=len).collect() };
    let mut ways = vec![
        Way { name: "whole".into(), ends: vec![len], followed: false },
        Way { name: "followed".into(), ends: vec![len], followed: true },
        Way { name: "dripped".into(), ends: dripped, followed: false },
    ];
    let cuts = (1..len).filter(|cut| len <= LONG || cut % (len / 8) == 1 || len - cut < 5);
    ways.extend(cuts.map(|cut| Way {
        name: format!("cut at {cut}"),
        ends: vec![cut, len],
        followed: cut == len / 2,
    }));
    ways
}

/// How many connections a row has at a time; most systems allow a process 1,024 files.
const AT_ONCE: usize = 50;

/// Many ways at once, piece after piece: so that the server sees most pieces one by one, without any waiting.
fn run(server: SocketAddr, row: &Row, ways: &[Way]) -> Result<(), String> {
    let mut way_name = "connecting";
    let ran = catch_unwind(AssertUnwindSafe(|| {
        for ways in ways.chunks(AT_ONCE) {
            let mut clients: Vec<Client> = ways.iter().map(|_| Client::connect(server)).collect();
            let most = ways.iter().map(|way| way.ends.len()).max().unwrap_or_default();
            for piece in 0..most {
                for (way, client) in ways.iter().zip(&mut clients).filter(|(way, _)| piece < way.ends.len()) {
                    way_name = &way.name;
                    let start = piece.checked_sub(1).map_or(0, |before| way.ends[before]);
                    let mut bytes = row.input[start..way.ends[piece]].to_vec();
                    if way.followed && piece + 1 == way.ends.len() {
                        bytes.extend_from_slice(NEXT.as_bytes());
                    }
                    client.send(bytes);
                }
            }
            for (way, client) in ways.iter().zip(&mut clients) {
                way_name = &way.name;
                verify(row, way, client);
            }
        }
    }));
    ran.map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
        let input = &row.input[..row.input.len().min(200)];
        format!("- {} ({way_name}): {said}\n  {}", row.claim, input.escape_ascii())
    })
}

/// Reads what there should be, and then the end.
fn verify(row: &Row, way: &Way, client: &mut Client) {
    let mut seen = String::new();
    let mut answer = None;
    let mut statuses = row.statuses().peekable();
    while let Some(expected) = statuses.next() {
        let head_only = expected.ends_with('h');
        let answered = answer.take().unwrap_or_else(|| read(client, head_only));
        if expected == "100?" && answered.status != 100 {
            answer = Some(answered);
            continue;
        }
        assert_eq!(answered.status.to_string(), expected.trim_end_matches(['h', '?']), "after {seen}");
        assert_eq!(answered.closes(), row.closes() && statuses.peek().is_none(), "{answered:?}");
        seen.push_str(&show(&answered));
    }
    check_says(row.says, &seen);
    if !row.closes() {
        if !way.followed {
            client.send(NEXT);
        }
        let answered = read(client, false);
        let id = answered.field("x-request-id");
        assert_eq!((answered.status, id, &*answered.body), (200, Some("next"), "ok"), "the next request");
        client.half_close();
    }
    assert_eq!(client.rest().escape_ascii().to_string(), "", "behind the last answer");
}

/// What stands in the answers, in order.
fn check_says(says: &[&str], seen: &str) {
    let mut rest = seen;
    for needle in says {
        match needle.strip_prefix('!') {
            Some(absent) => assert!(!seen.contains(absent), "{absent:?} in {seen}"),
            None => match rest.split_once(needle) {
                Some((_, behind)) => rest = behind,
                None => panic!("no {needle:?} in {seen}"),
            },
        }
    }
}

fn show(answer: &Response) -> String {
    let fields: String = answer.fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    format!("{}\n{fields}\n{}\n", answer.status, answer.body)
}

/// Reads an answer, and holds it to what is true of all of them.
pub fn read(client: &mut Client, head_only: bool) -> Response {
    let answer = if head_only { client.answer_to_head() } else { client.answer() };
    let Response { status, fields, body } = &answer;
    let has = |name: &str| answer.field(name).is_some();
    let count = |name: &str| fields.iter().filter(|(field, _)| field == name).count();
    if *status == 100 {
        assert!(fields.is_empty(), "{answer:?}");
        return answer;
    }
    assert!(fields.iter().all(|(name, _)| count(name) == 1), "a field twice: {answer:?}");
    let date = answer.field("date").unwrap_or_default();
    assert!(date.len() == 29 && date.ends_with(" GMT") && date.as_bytes()[3] == b',', "{answer:?}");
    assert_eq!(answer.field("cache-control"), Some("no-store"), "{answer:?}");
    let id = answer.field("x-request-id").unwrap_or_default();
    assert!((1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()), "{answer:?}");
    assert!(matches!(answer.field("connection"), None | Some("close" | "keep-alive")), "{answer:?}");
    assert!(!has("transfer-encoding"), "{answer:?}");
    assert_eq!((has("content-length"), has("content-type")), (*status != 204, *status != 204), "{answer:?}");
    assert_eq!(has("www-authenticate"), *status == 401, "{answer:?}");
    assert_eq!(has("allow"), matches!(status, 204 | 405), "{answer:?}");
    assert_eq!(has("retry-after"), matches!(status, 409 | 503), "{answer:?}");
    if *status >= 400 {
        assert_eq!(answer.field("content-type"), Some("application/problem+json"), "{answer:?}");
        let begins = body.starts_with("{\"type\":\"about:blank\",\"title\":\"");
        let ends = body.contains(&format!("\",\"status\":{status},\"detail\":\"")) && body.ends_with('}');
        assert!(head_only || begins && ends, "{answer:?}");
    }
    answer
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_and_one_that_cannot_does_not() {
    let server = Server::start(&["--workers", "1", "--log", "off", "--admin", "off"]);
    let body = "{\"time\":\"1:00\"}";
    let post = |lines: &str| post(lines, "");

    let mut client = server.connect();
    for round in 0..3 {
        client.send(post("Expect: 100-continue\r\nContent-Length: 15"));
        assert_eq!(read(&mut client, false).status, 100);
        client.send(body);
        let answer = read(&mut client, false);
        assert_eq!(answer.status, if round == 0 { 201 } else { 200 });
        assert!(answer.body.contains("\"time\":\"1:00\""), "{answer:?}");
    }
    client.send(post("Expect: 100-continue\r\nTransfer-Encoding: chunked"));
    assert_eq!(read(&mut client, false).status, 100, "for chunks");
    client.send("2\r\n{}\r\n0\r\n\r\n");
    assert_eq!(read(&mut client, false).status, 200);

    // Behind a pipelined request, and once only however the body comes.
    client.send([NEXT, &post("Expect: 100-continue\r\nContent-Length: 15")].concat());
    assert_eq!(read(&mut client, false).status, 200);
    assert_eq!(read(&mut client, false).status, 100);
    for byte in body.split("") {
        client.send(byte);
    }
    assert_eq!(read(&mut client, false).status, 200);

    // It may have gone without: the body alone makes the answer.
    let mut client = server.connect();
    client.send(post("Expect: 100-continue\r\nContent-Length: 15") + body);
    assert_eq!(read(&mut client, false).status, 200, "who has sent it all needs no leave");

    // HTTP/1.0 knows no interim answers.
    let mut client = server.connect();
    client.send("GET /healthz HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    client.send("hello");
    let answer = read(&mut client, false);
    assert_eq!((answer.status, answer.closes()), (200, true));
    assert_eq!(client.rest(), b"");

    // A refusal takes the place of the leave.
    for (lines, status) in [
        ("Expect: 100-continue\r\nContent-Length: 8193", 413),
        ("Expect: 100-continue\r\nTransfer-Encoding: gzip", 501),
        ("Expect: something\r\nContent-Length: 15", 417),
    ] {
        let mut client = server.connect();
        client.send(post(lines));
        let answer = read(&mut client, false);
        assert_eq!((answer.status, answer.closes()), (status, true), "{lines}");
        assert_eq!(client.rest(), b"", "{lines}");
    }
}

/// What is wrong with a request by its head alone: request line, lines of its head, and the answer.
const REFUSED: [(&str, &str, u16); 9] = [
    ("POST /none", "", 404),
    ("PUT /?id=V", ALICE, 405),
    ("BREW /?id=V", ALICE, 501),
    ("POST /?id=V", "", 401),
    ("POST /?id=V", "Authorization: Basic ?\r\n", 401),
    ("POST /", ALICE, 400),
    ("POST /?id=V&id=W", ALICE, 400),
    ("POST /?id=V", "Authorization: Basic YWxpY2U6eA==\r\nContent-Type: text/plain\r\n", 415),
    ("PATCH /?id=V", "Authorization: Basic YWxpY2U6eA==\r\nContent-Encoding: gzip\r\n", 415),
];
const FRAMINGS: [(&str, &str); 2] =
    [("Content-Length: 15", "{\"time\":\"1:00\"}"), ("Transfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n")];

/// The client that waits may send the body all the same, or not: so the connection ends there.
#[test]
fn what_the_head_decides_is_answered_before_the_body_is_asked_for() {
    let server = Server::start(&["--workers", "1", "--log", "off", "--admin", "off"]);
    for ((line, lines, status), (framing, body)) in pairs(&REFUSED, &FRAMINGS) {
        let head = format!("{line} HTTP/1.1\r\nHost: h\r\n{lines}{framing}\r\nExpect: 100-continue\r\n\r\n");
        for sends in ["", body, NEXT] {
            let mut client = server.connect();
            client.send([NEXT, &head].concat());
            assert_eq!(read(&mut client, false).status, 200);
            let answer = read(&mut client, false);
            assert_eq!((answer.status, answer.closes()), (status, true), "{head}");
            client.send(sends);
            assert_eq!(client.rest(), b"", "{head}");
        }
        // Who has begun to send goes on.
        let mut client = server.connect();
        client.send([&head, &body[..1]].concat());
        let answer = read(&mut client, false);
        assert_eq!((answer.status, answer.closes()), (status, false), "{head}");
        client.send([&body[1..], NEXT].concat());
        assert_eq!(read(&mut client, false).status, 200, "{head}");
    }
}

#[test]
fn what_the_head_decides_needs_no_body_to_be_answered_and_the_next_request_is_found_behind_it() {
    let server = Server::start(&["--workers", "1", "--log", "off"]);
    for ((line, lines, status), (framing, body)) in pairs(&REFUSED, &FRAMINGS) {
        if (status, framing) == (415, FRAMINGS[1].0) {
            // There may be nothing in the chunks, and nothing has no media type.
            continue;
        }
        let head = format!("{line} HTTP/1.1\r\nHost: h\r\n{lines}{framing}\r\n\r\n");
        let answered = || {
            let mut client = server.connect();
            client.send(&head);
            let answer = read(&mut client, false);
            assert_eq!((answer.status, answer.closes()), (status, false), "{head}");
            client
        };
        let mut client = answered();
        for byte in body.split("") {
            client.send(byte);
        }
        client.send(NEXT);
        assert_eq!(read(&mut client, false).status, 200, "{head}");

        // It is over for the client: what is wrong with the body, or lacks, has no answer of its own.
        let mut client = answered();
        client.send(&body[..1]);
        client.half_close();
        assert_eq!(client.rest(), b"", "{head}");
        if framing == FRAMINGS[1].0 {
            let mut client = answered();
            client.send("x");
            assert_eq!(client.rest(), b"", "{head}");
        }
    }
    server.check_metric("streamer_auth_failures_total{cause=\"missing\"}", 5.0);
}

fn pairs<A: Copy, B: Copy>(a: &[A], b: &[B]) -> impl Iterator<Item = (A, B)> {
    a.iter().flat_map(move |&a| b.iter().map(move |&b| (a, b)))
}

/// The write side is shut down and what still comes is drained, so that no reset eats the answer.
#[test]
fn a_client_that_goes_on_sending_after_an_error_still_reads_the_whole_answer() {
    let server = Server::start(&["--workers", "1", "--log", "off", "--admin", "off"]);
    for (claim, pieces, size) in
        [("in large pieces", 6, 32 * 1024), ("in small pieces", 100, 100), ("byte by byte", 200, 1)]
    {
        let mut client = server.connect();
        client.send(post("Content-Length: 100000000", ""));
        for n in 0..pieces {
            client.send(vec![b'x'; size]);
            // Not often: on a loaded machine each takes long, and the server drains for seconds only.
            if n % 20 == 0 {
                thread::yield_now();
            }
        }
        let answer = read(&mut client, false);
        assert_eq!((answer.status, answer.closes()), (413, true), "{claim}");
        assert_eq!(client.rest(), b"", "{claim}");
    }
}

/// What one turn answers of a pipeline must not close the connection before the rest of it is answered.
#[test]
fn pipelines_that_come_in_pieces_on_many_connections_are_answered_to_their_end() {
    let server = Server::start(&["--workers", "1", "--log", "off", "--admin", "off"]);
    for (last, status) in [(&with("Connection: close"), 200), (&with("a b"), 400)].repeat(20) {
        let mut clients: Vec<Client> = (0..24).map(|_| server.connect()).collect();
        let pieces = [NEXT.repeat(20), NEXT.repeat(3) + last + NEXT];
        for piece in &pieces {
            for client in &mut clients {
                client.send(piece);
            }
        }
        for client in &mut clients {
            for n in 1..24 {
                let answer = read(client, false);
                assert_eq!((answer.status, answer.closes()), (200, false), "answer {n}");
            }
            let answer = read(client, false);
            assert_eq!((answer.status, answer.closes()), (status, true));
            assert_eq!(client.rest(), b"");
        }
    }
}
