//! Heads in, answers out. Each row is fed whole, byte by byte, cut at every place, and followed by another
//! request.

use super::Parser;
use crate::http::{self, Framing, Head, Method, Refusal, Refusal::*, Span, limits};

const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: next\r\n\r\n";

#[track_caller]
fn check(input: impl AsRef<[u8]>, expected: Result<&str, Refusal>) {
    let input = input.as_ref();
    let found = feed(input);
    let text = show(input);
    let words = found.map(|head| head.map_or("incomplete".into(), |head| describe(&head, input)));
    assert_eq!(words.as_deref(), expected.as_ref().map(|&words| words), "{text}");
    if words.as_deref() != Ok("incomplete") {
        let followed = [input, NEXT].concat();
        assert_eq!(Parser::new().parse(&followed), found, "followed by a request: {text}");
    }
}

/// The answer to `input`, the same however it is cut: at each place, what has come so far is answered alike
/// whether it came at once, byte by byte, or in two parts; and an answer once given stands.
#[track_caller]
fn feed(input: &[u8]) -> Result<Option<Head>, Refusal> {
    let whole = Parser::new().parse(input);
    let mut dripped = Parser::new();
    let mut answer = dripped.parse(b"");
    for end in 0..=input.len() {
        let before = answer;
        answer = dripped.parse(&input[..end]);
        if before != Ok(None) {
            assert_eq!(answer, before, "at byte {end} of {}", show(input));
        }
        if end % (1 + input.len() / 300) == 0 || input.len() - end < 20 {
            let mut cut = Parser::new();
            assert_eq!(cut.parse(&input[..end]), answer, "at byte {end} of {}", show(input));
            assert_eq!(cut.parse(input), whole, "from byte {end} of {}", show(input));
        }
    }
    assert_eq!(answer, whole, "byte by byte: {}", show(input));
    whole
}

/// The last byte of `input` is the fault: nothing before it is, and nothing behind it is waited for.
#[track_caller]
fn check_at_once(input: impl AsRef<[u8]>, expected: Refusal) {
    let input = input.as_ref();
    check(input, Err(expected));
    assert_eq!(Parser::new().parse(&input[..input.len() - 1]), Ok(None), "{}", show(input));
}

/// The end of `input`, readable.
fn show(input: &[u8]) -> String {
    format!("{} bytes that end in {}", input.len(), input[input.len().saturating_sub(200)..].escape_ascii())
}

/// What was understood, in words.
fn describe(head: &Head, bytes: &[u8]) -> String {
    let method = match head.method {
        Method::Unknown => format!("?{}", head.method_name.of(bytes).escape_ascii()),
        known => format!("{known:?}"),
    };
    let mut words = vec![method];
    let spans = [
        ("path", head.path),
        ("query", head.query),
        ("host", head.host),
        ("auth", head.authorization),
        ("type", head.content_type),
        ("encoding", head.content_encoding),
        ("id", head.request_id),
        ("trace", head.traceparent),
    ];
    let present = spans.iter().filter(|(_, span)| !span.is_empty());
    words.extend(present.map(|(name, span)| format!("{name}={}", span.of(bytes).escape_ascii())));
    let framing = match head.framing {
        Framing::Length(0) => String::new(),
        Framing::Length(length) => format!("length={length}"),
        Framing::Chunked => "chunked".into(),
    };
    words.push(framing);
    words.push(if head.version == http::Version::Http10 { "1.0".into() } else { String::new() });
    words.push(if head.expects_continue { "continue".into() } else { String::new() });
    words.push(if head.keep_alive { String::new() } else { "close".into() });
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

/// A request line with the rest of a good head.
fn with_line(line: impl AsRef<[u8]>) -> Vec<u8> {
    [line.as_ref(), b"\r\nHost: h\r\n\r\n"].concat()
}

fn with_target(target: impl AsRef<[u8]>) -> Vec<u8> {
    with_line([b"GET ", target.as_ref(), b" HTTP/1.1"].concat())
}

/// A good head with these lines in it.
fn with_lines(lines: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nHost: h\r\n", lines.as_ref(), b"\r\n\r\n"].concat()
}

/// The same on HTTP/1.0, without Host.
fn with_lines_on_10(lines: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET / HTTP/1.0\r\n", lines.as_ref(), b"\r\n\r\n"].concat()
}

fn with_host(host: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nHost: ", host.as_ref(), b"\r\n\r\n"].concat()
}

#[test]
fn reads_a_whole_head() {
    check(
        "POST /a/b?id=V&device=tv HTTP/1.1\r\nHost: example.com:8000\r\nAuthorization: Basic YTpi\r\n\
         Content-Type: application/json; charset=utf-8\r\nContent-Encoding: identity\r\nContent-Length: 15\r\n\
         X-Request-Id: abc-1\r\ntraceparent: 00-0af7-b7ad-01\r\nExpect: 100-continue\r\n\r\n",
        Ok("Post path=/a/b query=id=V&device=tv host=example.com:8000 auth=Basic YTpi \
            type=application/json; charset=utf-8 encoding=identity id=abc-1 trace=00-0af7-b7ad-01 length=15 continue"),
    );
    check("GET / HTTP/1.1\r\nHost: h\r\n\r\n", Ok("Get path=/ host=h"));
    check(b"GET / HTTP/1.1\r\nhOST:h\r\nACCEPT-LANGUAGE:\r\nx: \xE9\r\n\r\n", Ok("Get path=/ host=h"));
}

#[test]
fn counts_every_byte_of_a_head() {
    for input in ["GET / HTTP/1.1\r\nHost: h\r\n\r\n", "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"] {
        let head = feed(input.as_bytes()).unwrap().unwrap();
        assert_eq!(head.len, input.len());
        assert_eq!(head.method_name.of(input.as_bytes()), b"GET");
        assert_eq!(head.target.of(input.as_bytes()), b"/");
    }
}

#[test]
fn a_head_is_complete_at_its_last_byte_only() {
    let input = "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
    for end in 0..input.len() {
        check(&input[..end], Ok("incomplete"));
    }
}

#[test]
fn skips_one_empty_line_and_no_more() {
    check("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", Ok("Get path=/ host=h"));
    check_at_once("\r\n\r", SecondEmptyLine);
    check("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", Err(SecondEmptyLine));
    check_at_once("\n", BareLineFeed);
    check_at_once("\r\n\n", BareLineFeed);
    check_at_once("\rG", BareCarriageReturn);
    check_at_once("\r\r", BareCarriageReturn);
}

#[test]
fn knows_the_methods_and_their_case() {
    for (name, expected) in [
        ("GET", "Get"),
        ("HEAD", "Head"),
        ("POST", "Post"),
        ("PUT", "Put"),
        ("DELETE", "Delete"),
        ("OPTIONS", "Options"),
        ("TRACE", "Trace"),
        ("PATCH", "Patch"),
        ("get", "?get"),
        ("GETT", "?GETT"),
        ("G", "?G"),
        ("M-SEARCH", "?M-SEARCH"),
        ("!#$%&'*+-.^_`|~09", "?!#$%&\\'*+-.^_`|~09"),
    ] {
        check(with_line(format!("{name} / HTTP/1.1")), Ok(&format!("{expected} path=/ host=h")));
    }
}

#[test]
fn tells_the_method_even_of_a_refused_request() {
    let method_of = |input: &str| {
        let mut parser = Parser::new();
        let _ = parser.parse(input.as_bytes());
        parser.head().map(|head| head.method)
    };
    assert_eq!(method_of(""), None);
    assert_eq!(method_of("HEAD"), None);
    assert_eq!(method_of("HEAD\t/"), None);
    assert_eq!(method_of("HEAD "), Some(Method::Head));
    assert_eq!(method_of("HEAD \\"), Some(Method::Head));
    assert_eq!(method_of("HEAD / HTTP/1.1\r\n: x"), Some(Method::Head));
    assert_eq!(method_of("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"), Some(Method::Head));
    assert_eq!(method_of("HEAF / HTTP/2.0\r\n"), Some(Method::Unknown));
    let (mut parser, line) = (Parser::new(), b"PRI * HTTP/2.0\r\n");
    assert_eq!(parser.parse(line), Err(MajorVersion));
    assert_eq!(parser.head().unwrap().request_line().of(line), b"PRI *");
}

#[test]
fn refuses_garbage_at_its_first_byte() {
    check_at_once(b"\x16", RequestLine);
    check(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Err(RequestLine));
    check_at_once(b"\0", RequestLine);
    check_at_once(b"\x80", RequestLine);
    check_at_once(b"{", RequestLine);
    check_at_once(b" ", RequestLine);
    check_at_once(b"\t", RequestLine);
    check_at_once(b"G\xC3", RequestLine);
    check_at_once(b"SSH-2.0-OpenSSH_9.2\r", RequestLine);
    check_at_once(b"GET /\0", Target);
    check_at_once(b"GET \x16", Target);
}

#[test]
fn refuses_any_separator_but_one_space() {
    check_at_once("GET  ", RequestLine);
    check_at_once("GET\t", RequestLine);
    check_at_once("GET \t", RequestLine);
    check_at_once("GET /\t", RequestLine);
    check_at_once("GET /  ", RequestLine);
    check_at_once("GET / \t", RequestLine);
    check_at_once("GET / HTTP/1.1 ", RequestLine);
    check_at_once("GET / HTTP/1.1\t", RequestLine);
    check_at_once("GET / HTTP/1.1\r ", BareCarriageReturn);
    check_at_once("GET /a b", Version);
    check_at_once("GET /\x0B", Target);
    check_at_once("GET /\x0C", Target);
    check_at_once("GET\x0B", RequestLine);
    check_at_once(b"GET\xA0", RequestLine);
    check(with_target(b"/\xA0"), Err(Target));
    check_at_once("GET / \x0B", Version);
    check_at_once("GET:", RequestLine);
}

#[test]
fn refuses_a_request_line_that_does_not_end_in_crlf() {
    check_at_once("GET\r", RequestLine);
    check_at_once("GET\n", BareLineFeed);
    check_at_once("GET \n", BareLineFeed);
    check_at_once("GET /\n", BareLineFeed);
    check_at_once("GET / \n", BareLineFeed);
    check_at_once("GET / HTTP\n", BareLineFeed);
    check_at_once("GET / HTTP/1.1\n", BareLineFeed);
    check_at_once("GET / HTTP/1.0\n", BareLineFeed);
    check_at_once("GET / HTTP/1.1\r\r", BareCarriageReturn);
    check_at_once("GET / HTTP/1.1\rX", BareCarriageReturn);
    check("GET / HTTP/1.1\n\rHost: h\r\n\r\n", Err(BareLineFeed));
}

#[test]
fn refuses_a_version_that_is_missing_or_malformed() {
    check_at_once("GET /\r", Version);
    check("GET /\r\n", Err(Version));
    check_at_once("GET / \r", Version);
    check_at_once("GET / h", Version);
    check_at_once("GET / HTTP\r", Version);
    check_at_once("GET / HTTP/\r", Version);
    check_at_once("GET / HTTP/1\r", Version);
    check_at_once("GET / HTTP/1.\r", Version);
    check_at_once("GET / HTTP/.", Version);
    check_at_once("GET / HTTP/11", Version);
    check_at_once("GET / HTTP/01", Version);
    check_at_once("GET / HTTP/1,", Version);
    check_at_once("GET / HTTP/1.1x", Version);
    check_at_once("GET / HTTP/1.10", Version);
    check_at_once("GET / HTTP/1.1.", Version);
    check_at_once("GET / HTTP/2\r", Version);
    check_at_once("GET / HTTP/-", Version);
    check_at_once("GET / HTTP-", Version);
    check_at_once("GET / HTTPS", Version);
    check_at_once("GET / Ht", Version);
    check_at_once("GET / S", Version);
    check_at_once(b"GET / HTTP/1.\xB2", Version);
}

#[test]
fn speaks_every_minor_of_major_1() {
    check("GET / HTTP/1.0\r\n\r\n", Ok("Get path=/ 1.0 close"));
    for minor in 1..=9 {
        check(with_line(format!("GET / HTTP/1.{minor}")), Ok("Get path=/ host=h"));
    }
    for version in ["0.9", "0.0", "2.0", "3.0", "9.9"] {
        check_at_once(format!("GET / HTTP/{version}\r"), MajorVersion);
    }
}

#[test]
fn takes_an_origin_form_apart() {
    for (target, expected) in [
        ("/", "path=/"),
        ("//", "path=//"),
        ("//evil.example/x", "path=//evil.example/x"),
        ("/?", "path=/"),
        ("/?id=V", "path=/ query=id=V"),
        ("/??", "path=/ query=?"),
        ("/?a?b=/?c", "path=/ query=a?b=/?c"),
        ("/a/../b;c=1,2", "path=/a/../b;c=1,2"),
        ("/?id=%00%0D%0a%C3%A9", "path=/ query=id=%00%0D%0a%C3%A9"),
        ("/?id=a+b&c", "path=/ query=id=a+b&c"),
        ("/%7E%2f", "path=/%7E%2f"),
        ("/http://h/", "path=/http://h/"),
        ("/*", "path=/*"),
        ("/:@!$&'()*+,;=-._~", "path=/:@!$&\\'()*+,;=-._~"),
        ("/?q={a|b}^<c>`[d]", "path=/ query=q={a|b}^<c>`[d]"),
    ] {
        check(with_target(target), Ok(&format!("Get {expected} host=h")));
    }
}

#[test]
fn refuses_what_a_target_cannot_hold() {
    for target in [
        "/#", "/?a=b#", "#", "/\\", "\\", "/%G", "/%0G", "/%", "/%2", "/%%", "/?%", "/%+", "?", "%", ".",
        "i", "/%zz#",
    ] {
        check(with_target(target), Err(Target));
    }
    check(with_target(b"/\x80"), Err(Target));
    check(with_target(b"/\xC3\xA9"), Err(Target));
    check_at_once("GET /\x7F", Target);
    check_at_once("GET /\x01", Target);
    check_at_once("GET /#\0", Target);
}

/// Another major version has other targets, so that one is no fault there; every other fault behind it changes nothing.
#[test]
fn the_answer_to_a_malformed_target_waits_for_the_version() {
    for target in ["*", "x", "#", "/\\", "/%zz", "**", "http://", "/\u{E9}", "a:443"] {
        for method in ["PRI", "GET", "BREW"] {
            let line = |version: &str| format!("{method} {target} {version}");
            check(line(""), Ok("incomplete"));
            check(line("HTTP/2.0"), Ok("incomplete"));
            check_at_once(line("HTTP/2.0\r"), MajorVersion);
            check_at_once(line("HTTP/0.9\r"), MajorVersion);
            check(line("HTTP/2.0\r\n\r\nSM\r\n\r\n"), Err(MajorVersion));
            for other in
                ["HTTP/1.1\r\n", "HTTP/1.7\r\n", "HTTP/2\r", "HTTP/2.0\n", "HTTP/2.0 ", " ", "\r", "\n", "x"]
            {
                check(line(other), Err(Target));
            }
        }
    }
    check(format!("GET /{} HTTP/2.0\r\n", "#".repeat(limits::REQUEST_LINE - 14)), Err(MajorVersion));
    check(format!("GET /{} HTTP/2.0\r\n", "#".repeat(limits::REQUEST_LINE - 13)), Err(RequestLineTooLong));
    check_at_once("GET #".to_owned() + &"a".repeat(limits::REQUEST_LINE - 4), RequestLineTooLong);
}

#[test]
fn takes_an_absolute_form_apart_and_believes_its_host() {
    for (target, expected) in [
        ("http://a", "host=a"),
        ("http://a/", "path=/ host=a"),
        ("http://a?id=V", "query=id=V host=a"),
        ("http://a/?id=V", "path=/ query=id=V host=a"),
        ("HTTP://A:80/b", "path=/b host=A:80"),
        ("hTTps://a:443/b?c", "path=/b query=c host=a:443"),
        ("http://a:/", "path=/ host=a:"),
        ("http://[::1]:8000/", "path=/ host=[::1]:8000"),
        ("http://a/http://b/", "path=/http://b/ host=a"),
        ("http://a/?u=http://b/@c", "path=/ query=u=http://b/@c host=a"),
    ] {
        check(with_target(target), Ok(&format!("Get {expected}")));
    }
    check("GET http://a/ HTTP/1.0\r\n\r\n", Ok("Get path=/ host=a 1.0 close"));
    check("OPTIONS http://a HTTP/1.1\r\nHost: h\r\n\r\n", Ok("Options host=a"));
    check("GET http://a/ HTTP/1.1\r\n\r\n", Err(HostMissing));
    check("GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n", Err(HostInvalid));
}

#[test]
fn refuses_every_other_absolute_form() {
    let targets = "h http http: http:/ http:/a http:// http:/// http://?a http://:80/ https:// http://u@a/ \
        http://u:p@a/ http://@a/ http://a@ http://a:b/ http://a:65536/ http://a:-1/ http://a:+1/ \
        http://a:80:80/ http://[::1/ http://::1/ http://[::1]x/ http://[g::1]/ http://a%2/ http://a|b/ \
        http://a\"b/ httpx://a/ htt://a/ https:a host:80 h:80 http//a/";
    for target in targets.split(' ') {
        check(with_target(target), Err(Target));
    }
    check("GET ftp://a/ HTTP/1.1\r\nHost: h\r\n\r\n", Err(Target));
    check("GET ws://a/ HTTP/1.1\r\nHost: h\r\n\r\n", Err(Target));
}

#[test]
fn allows_the_asterisk_for_options_alone() {
    check(with_line("OPTIONS * HTTP/1.1"), Ok("Options host=h"));
    check(with_line("OPTIONS / HTTP/1.1"), Ok("Options path=/ host=h"));
    check(with_line("OPTIONS ** HTTP/1.1"), Err(Target));
    check(with_line("OPTIONS *? HTTP/1.1"), Err(Target));
    check(with_line("OPTIONS */ HTTP/1.1"), Err(Target));
    for method in ["GET", "HEAD", "POST", "TRACE", "PRI", "options"] {
        check(with_line(format!("{method} * HTTP/1.1")), Err(Target));
    }
}

#[test]
fn allows_the_authority_form_for_connect_alone() {
    check(with_line("CONNECT a:443 HTTP/1.1"), Ok("Connect host=a:443"));
    check(with_line("CONNECT [::1]:1 HTTP/1.1"), Ok("Connect host=[::1]:1"));
    let targets = "a a: :443 a:x a:65536 http://a:443 * u@a:443 a:443/ a:443? [::1] a:443:1";
    for target in targets.split(' ') {
        check(with_line(format!("CONNECT {target} HTTP/1.1")), Err(Target));
    }
    check(with_line("CONNECT / HTTP/1.1"), Err(Target));
    check(with_target("h.example:443"), Err(Target));
}

#[test]
fn limits_the_request_line() {
    let line = |len: usize| ["GET /", &"a".repeat(len - 14), " HTTP/1.1"].concat();
    let most = limits::REQUEST_LINE;
    let path = format!("Get path=/{} host=h", "a".repeat(most - 14));
    check(with_line(line(most)), Ok(&path));
    check([b"\r\n", &with_line(line(most))[..]].concat(), Ok(&path));
    check(with_line(line(most + 1)), Err(RequestLineTooLong));
    check_at_once(line(most + 1), RequestLineTooLong);
    check_at_once(["\r\n", &line(most + 1)].concat(), RequestLineTooLong);
    check(with_line(line(8000)), Ok(&format!("Get path=/{} host=h", "a".repeat(8000 - 14))));
}

#[test]
fn looks_at_nothing_behind_the_limit_of_the_request_line() {
    let most = limits::REQUEST_LINE;
    let path = |len: usize| ["GET /", &"a".repeat(len - 5)].concat();
    for behind in ["a", "\0", "\n", " ", "#", "%zz"] {
        check([&path(most), behind].concat(), Err(RequestLineTooLong));
    }
    check_at_once(path(most) + "\r", Version);
    check_at_once(path(most - 1) + "\0", Target);
    check_at_once(path(most - 1) + "\n", BareLineFeed);
    check(path(most - 1) + "%zz", Err(RequestLineTooLong));
    check(path(most - 2) + "%4z", Err(RequestLineTooLong));
    check(path(most - 2) + "%zz", Err(RequestLineTooLong));
    check(path(most - 2) + "%z\0", Err(RequestLineTooLong));
    check(path(most - 3) + "%z\0", Err(Target));
    check(path(most - 8) + " HTTP/1.1\r\n", Err(RequestLineTooLong));
    check(path(most - 4) + " HTTx/1.1\r\n", Err(RequestLineTooLong));
    check(path(most - 4) + " HTT\r", Err(Version));
    check(path(most - 4) + " Hxxx/1.1\r\n", Err(Version));
    check(path(most - 9) + " HTTP/1.1\n", Err(RequestLineTooLong));
    check(path(most - 9) + " HTTP/1.1\rX", Err(BareCarriageReturn));
    check("A".repeat(most) + " ", Err(RequestLineTooLong));
    check("A".repeat(most) + "\r", Err(RequestLine));
    check("A".repeat(most - 1) + " ", Ok("incomplete"));
    check("A".repeat(most - 1) + " /", Err(RequestLineTooLong));
}

#[test]
fn limits_the_head() {
    let head = |len: usize| with_lines(format!("x: {}", "v".repeat(len - 32)));
    assert_eq!(head(100).len(), 100);
    check(head(limits::HEAD), Ok("Get path=/ host=h"));
    check([b"\r\n", &head(limits::HEAD - 2)[..]].concat(), Ok("Get path=/ host=h"));
    check(head(limits::HEAD + 1), Err(HeadTooLarge));
    check([b"\r\n", &head(limits::HEAD - 1)[..]].concat(), Err(HeadTooLarge));
    check_at_once(&head(limits::HEAD + 1)[..limits::HEAD], HeadTooLarge);
    check_at_once(&head(limits::HEAD + 50)[..limits::HEAD], HeadTooLarge);
}

#[test]
fn looks_at_nothing_behind_the_limit_of_the_head() {
    let start = b"GET / HTTP/1.1\r\nHost: h\r\nx: ".to_vec();
    let fill = |len: usize| [&start[..], &vec![b'v'; len - start.len()]].concat();
    check([&fill(limits::HEAD), &b"\0"[..]].concat(), Err(HeadTooLarge));
    check([&fill(limits::HEAD - 1), &b"\0"[..]].concat(), Err(FieldValue));
    check([&fill(limits::HEAD - 2), &b"\r\n\0"[..]].concat(), Err(HeadTooLarge));
    check([&fill(limits::HEAD - 3), &b"\r\n\0"[..]].concat(), Err(FieldName));
}

#[test]
fn limits_the_number_of_fields() {
    let fields = |count: usize| vec!["a:"; count - 1].join("\r\n");
    check(with_lines(fields(limits::FIELDS)), Ok("Get path=/ host=h"));
    check(with_lines(fields(limits::FIELDS + 1)), Err(TooManyFields));
    let full = [&b"GET / HTTP/1.1\r\n"[..], &b"a:\r\n".repeat(limits::FIELDS)].concat();
    check_at_once([&full[..], b"a"].concat(), TooManyFields);
    check_at_once([&full[..], b" "].concat(), TooManyFields);
    check_at_once([&full[..], b"\rx"].concat(), BareCarriageReturn);
    check([&full[..], b"\r\n"].concat(), Err(HostMissing));
}

#[test]
fn refuses_a_malformed_field_name() {
    check_at_once("GET / HTTP/1.1\r\n:", FieldName);
    check_at_once("GET / HTTP/1.1\r\n\"", FieldName);
    check_at_once("GET / HTTP/1.1\r\nHost: h\r\n\0", FieldName);
    for byte in b"\0\x01\x7f\"(),/;<=>?@[\\]{}\x80\xff\x0b" {
        check_at_once([b"GET / HTTP/1.1\r\na", &[*byte][..]].concat(), FieldName);
    }
    check(with_lines("Content-Length\x0B: 5"), Err(FieldName));
    check(with_lines("Content-Length\0: 5"), Err(FieldName));
    check(with_lines("\u{FEFF}Content-Length: 5"), Err(FieldName));
}

#[test]
fn refuses_a_blank_before_the_colon_and_a_line_without_one() {
    check_at_once("GET / HTTP/1.1\r\nHost ", SpaceBeforeColon);
    check_at_once("GET / HTTP/1.1\r\nHost\t", SpaceBeforeColon);
    check(with_lines("Transfer-Encoding : chunked"), Err(SpaceBeforeColon));
    check(with_lines("Content-Length\t: 5"), Err(SpaceBeforeColon));
    check_at_once("GET / HTTP/1.1\r\nHost\r", NoColon);
    check_at_once("GET / HTTP/1.1\r\nHost\n", BareLineFeed);
    check(with_lines("GET /x HTTP/1.1"), Err(SpaceBeforeColon));
}

#[test]
fn refuses_a_folded_line() {
    check_at_once("GET / HTTP/1.1\r\n ", Folded);
    check_at_once("GET / HTTP/1.1\r\n\t", Folded);
    check(with_lines("a: b\r\n c"), Err(Folded));
    check(with_lines("a: b\r\n\tc: d"), Err(Folded));
    check(with_lines("a:\r\n b"), Err(Folded));
    check(with_lines("Transfer-Encoding:\r\n chunked"), Err(TransferEncoding));
    check(with_lines(" Content-Length: 5"), Err(Folded));
}

#[test]
fn refuses_a_field_line_that_does_not_end_in_crlf() {
    check_at_once("GET / HTTP/1.1\r\nHost: h\n", BareLineFeed);
    check_at_once("GET / HTTP/1.1\r\nHost: h\rX", BareCarriageReturn);
    check_at_once("GET / HTTP/1.1\r\nHost: h\r\r", BareCarriageReturn);
    check_at_once("GET / HTTP/1.1\r\nHost: h\r\n\n", BareLineFeed);
    check_at_once("GET / HTTP/1.1\r\nHost: h\r\n\rX", BareCarriageReturn);
    check(with_lines("a: b\nContent-Length: 5"), Err(BareLineFeed));
    check(with_lines("a: b\rContent-Length: 5"), Err(BareCarriageReturn));
    check(with_lines("a:\nb: c"), Err(BareLineFeed));
}

#[test]
fn refuses_controls_in_a_value_and_nothing_else() {
    for byte in 0..=u8::MAX {
        let expected = match byte {
            b'\r' => Err(BareCarriageReturn),
            b'\n' => Err(BareLineFeed),
            b'\t' | b' '..=b'~' | 0x80.. => Ok("Get path=/ host=h"),
            _ => Err(FieldValue),
        };
        check(with_lines([b"a: b", &[byte][..], b"c"].concat()), expected);
        check(with_lines([b"abcdefgh: 0123456789", &[byte][..], b"0123456789"].concat()), expected);
    }
    check_at_once("GET / HTTP/1.1\r\na:\0", FieldValue);
}

#[test]
fn takes_blanks_off_both_ends_of_a_value() {
    for host in ["h", " h", "\th", "  \t h", "h ", "h\t", " h \t "] {
        check(["GET / HTTP/1.1\r\nHost:", host, "\r\n\r\n"].concat(), Ok("Get path=/ host=h"));
    }
    check(with_lines("Authorization:  Basic  a \t"), Ok("Get path=/ host=h auth=Basic  a"));
    check(with_lines("Authorization: \t "), Ok("Get path=/ host=h"));
}

#[test]
fn requires_exactly_one_host_on_11() {
    check("GET / HTTP/1.1\r\n\r\n", Err(HostMissing));
    check("GET / HTTP/1.2\r\n\r\n", Err(HostMissing));
    check("GET / HTTP/1.1\r\nHosts: h\r\n\r\n", Err(HostMissing));
    check(with_lines("Host: h"), Err(HostRepeated));
    check(with_lines("host: other"), Err(HostRepeated));
    check(with_lines("HOST:"), Err(HostRepeated));
    check(with_lines_on_10("a: b"), Ok("Get path=/ 1.0 close"));
    check(with_lines_on_10("Host: h"), Ok("Get path=/ host=h 1.0 close"));
    check(with_lines_on_10("Host: h\r\nHost: h"), Err(HostRepeated));
    check(with_lines_on_10("Host:"), Err(HostInvalid));
}

#[test]
fn accepts_every_host_of_the_grammar() {
    let hosts = "h example.com EXAMPLE.com. a_b ~ 1.2.3.4 999.999 a:80 a: a:0 a:65535 a:00080 a%20b a%C3%a9:1 \
        a!$&()*+,;=b xn--bcher-kva.example [::] [::1]:80 [::1]: [2001:db8::1] [1:2:3:4:5:6:7:8] \
        [::ffff:1.2.3.4] [v1.a] [vF.a:b]:1 [V0.~]";
    for host in hosts.split(' ') {
        check(with_host(host), Ok(&format!("Get path=/ host={host}")));
    }
}

#[test]
fn refuses_every_other_host() {
    let hosts = ":80 : a/b a/ a?b a#b u@a a\\b \"a\" a|b <a> {a} a^b a`b a:b a:80x a:-1 a:+1 a:65536 \
        a:99999999999999999999999 a:80:80 ::1 a% a%2 a%zz % a%2:80 [::1 ::1] [] [ ] [::1]80 [::1]x:80 \
        [::1]] [[::1]] [g::] [1:2:3:4:5:6:7] [1:2:3:4:5:6:7:8:9] [:::] [1::2::3] [12345::] [::1%eth0] \
        [::1%25eth0] [::1.2.3] [::256.1.1.1] [1.2.3.4] [a] [v.a] [v1.] [v1] [vg.a] [v1.a/b] [v1.a%20] \
        http://a *:*";
    for host in hosts.split(' ').chain(["", " ", "a b", "a: 80", "a :80", "a\tb", "h, h", "a,b c"]) {
        check(with_host(host), Err(HostInvalid));
    }
    check(with_host(b"\xC3\xA9.example"), Err(HostInvalid));
    check(with_host(b"[::1\xFF]"), Err(HostInvalid));
}

#[test]
fn reads_a_length() {
    check(with_lines("Content-Length: 0"), Ok("Get path=/ host=h"));
    check(with_lines("Content-Length: 1"), Ok("Get path=/ host=h length=1"));
    check(with_lines("content-length:42"), Ok("Get path=/ host=h length=42"));
    check(with_lines("Content-Length: \t 42 \t"), Ok("Get path=/ host=h length=42"));
    check(with_lines("Content-Length: 8192"), Ok("Get path=/ host=h length=8192"));
    check(with_lines("Content-Length: 8193"), Err(BodyTooLarge));
    check(with_lines("Content-Length: 18446744073709551615"), Err(BodyTooLarge));
    check(with_lines_on_10("Content-Length: 5"), Ok("Get path=/ length=5 1.0 close"));
    check_at_once("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 8193\r\n\r\n", BodyTooLarge);
}

#[test]
fn refuses_a_length_that_is_no_plain_number() {
    let lengths = "+5 -5 -0 00 05 0005 5,5 5, ,5 0x5 5h 5.0 1e3 1_000 five \"5\" 5; 5;a=b 5\\ 18446744073709551616 \
        99999999999999999999999999999 \u{665} \u{FF15} chunked NaN";
    for length in lengths.split(' ').chain(["", "5, 5", "5 5", "5\t5", "5 x"]) {
        check(with_lines(format!("Content-Length: {length}")), Err(ContentLength));
    }
    check(with_lines(b"Content-Length: 5\xA0"), Err(ContentLength));
    check(with_lines("Content-Length: 5\x0B"), Err(FieldValue));
    check(with_lines("Content-Length: 5\0"), Err(FieldValue));
}

#[test]
fn rejects_two_lengths() {
    check(with_lines("Content-Length: 5\r\nContent-Length: 5"), Err(ContentLengthRepeated));
    check(with_lines("Content-Length: 5\r\ncontent-length: 6"), Err(ContentLengthRepeated));
    check(with_lines("Content-Length: 0\r\na: b\r\nContent-Length: 0"), Err(ContentLengthRepeated));
    check(with_lines("Content-Length: 5\r\nContent-Length: x"), Err(ContentLengthRepeated));
    check(with_lines_on_10("Content-Length: 5\r\nContent-Length: 5"), Err(ContentLengthRepeated));
    check(with_lines("Content-Length: x\r\nContent-Length: 5"), Err(ContentLength));
    check(with_lines("Content-Length: 5\r\nContent-Length : 5"), Err(SpaceBeforeColon));
    check(with_lines("Content-Length: 5\r\nContent_Length: 6"), Ok("Get path=/ host=h length=5"));
    check(with_lines("Content-Length: 5\r\nX-Content-Length: 6"), Ok("Get path=/ host=h length=5"));
}

#[test]
fn rejects_a_length_beside_a_coding() {
    check(with_lines("Content-Length: 5\r\nTransfer-Encoding: chunked"), Err(LengthAndCoding));
    check(with_lines("Transfer-Encoding: chunked\r\nContent-Length: 5"), Err(LengthAndCoding));
    check(with_lines("Transfer-Encoding: chunked\r\nContent-Length: 0"), Err(LengthAndCoding));
    check(with_lines("Content-Length: 0\r\nTransfer-Encoding: gzip"), Err(LengthAndCoding));
    check(with_lines("Content-Length: 0\r\nTransfer-Encoding:"), Err(LengthAndCoding));
    check(with_lines("Transfer-Encoding: chunked\r\nContent-Length: x"), Err(LengthAndCoding));
    for coding in ["chunked", "gzip", "identity", "gzip, chunked", "", "x y"] {
        for length in ["0", "5", "8193"] {
            let (coding, length) =
                (format!("Transfer-Encoding: {coding}"), format!("Content-Length: {length}"));
            check(with_lines(format!("{length}\r\n{coding}")), Err(LengthAndCoding));
            let expected = match &coding[18..] {
                " " | " x y" => TransferEncoding,
                _ => LengthAndCoding,
            };
            check(with_lines(format!("{coding}\r\n{length}")), Err(expected));
        }
    }
}

#[test]
fn takes_chunked_once_and_by_its_name_alone() {
    for value in ["chunked", "Chunked", "CHUNKED", "cHuNkEd", " chunked ", "\tchunked\t"] {
        check(with_lines(format!("Transfer-Encoding:{value}")), Ok("Get path=/ host=h chunked"));
    }
    let values = ", chunked, ,chunked chunked,, chunked,chunked chunked,identity chunked; chunked;a=b \"chunked\" \
        'chunked\" chunked\\ chunked=1 (chunked) chunked/1.1 ;chunked chunked:";
    for value in values.split(' ').chain([
        "",
        " ",
        ", ,",
        "chunked, chunked",
        "chunked, gzip",
        "chunked ;a",
        "chunked a",
        "a chunked",
        "chunked chunked",
        "chun\tked",
        "gzip x",
    ]) {
        check(with_lines(format!("Transfer-Encoding: {value}")), Err(TransferEncoding));
    }
    for value in [
        &b"chunked\xA0"[..],
        b"\xA0chunked",
        b"\xC4\x8Dhunked",
        b"chunked\x85",
        b"chun\xE2\x84\xAAed",
        b"\xEF\xBB\xBFchunked",
    ] {
        check(with_lines([b"Transfer-Encoding: ", value].concat()), Err(TransferEncoding));
    }
    for control in ["\x0B", "\x0C", "\0", "\x08", "\x7F", "\x1F"] {
        check(with_lines(format!("Transfer-Encoding: {control}chunked")), Err(FieldValue));
        check(with_lines(format!("Transfer-Encoding: chunked{control}")), Err(FieldValue));
    }
}

#[test]
fn does_not_implement_any_other_coding() {
    let values = "gzip gzip,chunked,chunked identity deflate x-chunked chunkedd xchunked chunke gzip;q=1 trailers \
        'chunked' chunked' *";
    for value in
        values.split(' ').chain(["gzip, chunked", "identity, chunked", "gzip ; q=\"a,b\"", "br, gzip"])
    {
        check(with_lines(format!("Transfer-Encoding: {value}")), Err(UnknownCoding));
    }
}

#[test]
fn reads_several_codings_lines_as_one_list() {
    check(with_lines("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Err(TransferEncoding));
    check(with_lines("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"), Err(TransferEncoding));
    check(with_lines("Transfer-Encoding: chunked\r\nTransfer-Encoding:"), Err(TransferEncoding));
    check(with_lines("Transfer-Encoding:\r\nTransfer-Encoding: chunked"), Err(TransferEncoding));
    check(with_lines("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"), Err(UnknownCoding));
    check(with_lines("Transfer-Encoding: gzip\r\nTransfer-Encoding:"), Err(TransferEncoding));
    check(with_lines("Transfer_Encoding: chunked"), Ok("Get path=/ host=h"));
    check(with_lines("Transfer-Encoding: chunked\r\ntransfer-encodings: x"), Ok("Get path=/ host=h chunked"));
}

#[test]
fn rejects_a_coding_on_10() {
    check(with_lines_on_10("Transfer-Encoding: chunked"), Err(TransferEncodingOn10));
    check(with_lines_on_10("Transfer-Encoding: gzip"), Err(TransferEncodingOn10));
    check(with_lines_on_10("Transfer-Encoding:"), Err(TransferEncodingOn10));
    check(with_lines_on_10("Content-Length: 5\r\nTransfer-Encoding: chunked"), Err(TransferEncodingOn10));
}

#[test]
fn meets_one_expectation() {
    check(with_lines("Expect: 100-continue"), Ok("Get path=/ host=h continue"));
    check(with_lines("Expect: 100-Continue \t"), Ok("Get path=/ host=h continue"));
    check(with_lines("Expect: 100-continue\r\nExpect: 100-continue"), Ok("Get path=/ host=h continue"));
    for value in [
        "",
        "100",
        "100-continues",
        "200-ok",
        "100-continue, x",
        "100-continue,100-continue",
        "100-continue;a",
        "\"100-continue\"",
    ] {
        check(with_lines(format!("Expect: {value}")), Err(Expectation));
    }
    check(with_lines("Expect: 100-continue\r\nExpect: x"), Err(Expectation));
    check(with_lines_on_10("Expect: 100-continue"), Ok("Get path=/ 1.0 close"));
    check(with_lines_on_10("Expect: x"), Ok("Get path=/ 1.0 close"));
}

#[test]
fn compares_connection_options_whole() {
    for value in [
        "close",
        "Close",
        "CLOSE",
        "close, TE",
        "TE,close",
        " , close ,",
        "keep-alive, close",
        "close, keep-alive",
    ] {
        check(with_lines(format!("Connection: {value}")), Ok("Get path=/ host=h close"));
    }
    for value in [
        "",
        "closed",
        "clos",
        "close-",
        "not close",
        "close;a",
        "\"close\"",
        "keep-alive",
        "Upgrade, HTTP2-Settings",
        "TE",
    ] {
        check(with_lines(format!("Connection: {value}")), Ok("Get path=/ host=h"));
    }
    check(with_lines("Connection: keep-alive\r\nConnection: close"), Ok("Get path=/ host=h close"));
    check(with_lines("Connection: close\r\nConnection: keep-alive"), Ok("Get path=/ host=h close"));
    check(with_lines("Connections: close"), Ok("Get path=/ host=h"));
}

#[test]
fn keeps_a_10_connection_only_when_asked() {
    for value in ["keep-alive", "Keep-Alive", "a, keep-alive", "KEEP-ALIVE,"] {
        check(with_lines_on_10(format!("Connection: {value}")), Ok("Get path=/ 1.0"));
    }
    for value in ["close", "", "keep-alive, close", "close, keep-alive", "keep-alives", "keepalive"] {
        check(with_lines_on_10(format!("Connection: {value}")), Ok("Get path=/ 1.0 close"));
    }
    check(with_lines_on_10("Connection: x\r\nConnection: keep-alive"), Ok("Get path=/ 1.0"));
}

#[test]
fn rejects_two_fields_where_two_readers_could_pick_different_ones() {
    for name in ["Authorization", "Content-Type", "Content-Encoding", "X-Request-Id"] {
        let upper = name.to_uppercase();
        check(with_lines(format!("{name}: a\r\n{upper}: a")), Err(RepeatedField));
        check(with_lines(format!("{name}:\r\n{upper}: a")), Err(RepeatedField));
        check(with_lines(format!("{name}: a\r\nb: c\r\n{name}:")), Err(RepeatedField));
    }
    check(with_lines("Cookie: a\r\nCookie: b"), Ok("Get path=/ host=h"));
}

#[test]
fn a_field_that_only_resembles_a_known_one_is_ignored() {
    for line in [
        "Hos_: a b",
        "Expec_: x",
        "Connectio_: close",
        "traceparen_: x",
        "Content-Typ_: x",
        "X-Request-I_: x",
        "Authorizatio_: x",
        "Content-Lengt_: x",
        "Content-Encodin_: x",
        "Transfer-Encodin_: x",
    ] {
        check(with_lines(line), Ok("Get path=/ host=h"));
    }
}

#[test]
fn keeps_a_request_id_that_can_be_echoed() {
    let longest = "x".repeat(128);
    check(with_lines(format!("X-Request-Id: {longest}")), Ok(&format!("Get path=/ host=h id={longest}")));
    check(with_lines("X-Request-Id: !~"), Ok("Get path=/ host=h id=!~"));
    for value in ["", "a b", "a\tb", "\u{E9}", &(longest + "x")] {
        check(with_lines(format!("X-Request-Id: {value}")), Ok("Get path=/ host=h"));
    }
}

#[test]
fn keeps_the_first_traceparent() {
    let longest = "x".repeat(128);
    check(with_lines(format!("traceparent: {longest}")), Ok(&format!("Get path=/ host=h trace={longest}")));
    check(with_lines(format!("traceparent: {longest}x")), Ok("Get path=/ host=h"));
    check(with_lines("Traceparent: a\r\ntraceparent: b"), Ok("Get path=/ host=h trace=a"));
    check(with_lines("traceparent: a b\r\ntraceparent: b"), Ok("Get path=/ host=h"));
}

#[test]
fn ignores_upgrade() {
    check(
        with_lines("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__"),
        Ok("Get path=/ host=h"),
    );
    check(with_lines("Connection: Upgrade\r\nUpgrade: websocket"), Ok("Get path=/ host=h"));
}

#[test]
fn the_first_fault_is_told() {
    check(with_lines("Content-Length: x\r\n: y"), Err(ContentLength));
    check(with_lines(": y\r\nContent-Length: x"), Err(FieldName));
    check(with_lines("Content-Length: x\0"), Err(FieldValue));
    check("GET # HTTP/9\r\nbad\n", Err(Target));
    check("GET / HTTP/3.0\r\n bad", Err(MajorVersion));
    check("GET / HTTP/1.1\r\n\r\n\0", Err(HostMissing));
}

/// However much a head asks for, a fault in it is a 400.
#[test]
fn a_fault_counts_more_than_what_is_not_done() {
    for (line, refusal) in [
        ("Content-Length: 8193", BodyTooLarge),
        ("Transfer-Encoding: gzip", UnknownCoding),
        ("Expect: x", Expectation),
    ] {
        check(with_lines(line), Err(refusal));
        check(with_lines([line, "\r\nExpect: y"].concat()), Err(refusal));
        check(with_lines([line, "\r\n: y"].concat()), Err(FieldName));
        check(with_lines([line, "\r\nHost: h"].concat()), Err(HostRepeated));
        check(with_lines([line, "\r\nX-Request-Id: a\r\nX-Request-Id: a"].concat()), Err(RepeatedField));
        check(["GET / HTTP/1.1\r\n", line, "\r\n\r\n"].concat(), Err(HostMissing));
        check(["GET / HTTP/1.1\r\n", line, "\r\n"].concat(), Ok("incomplete"));
    }
    check(with_lines("Content-Length: 8193\r\nContent-Length: 8193"), Err(ContentLengthRepeated));
}

#[test]
fn a_span_is_where_its_bytes_are() {
    let input = b"\r\nPUT /p?q HTTP/1.1\r\nHost: h\r\n\r\n";
    let head = feed(input).unwrap().unwrap();
    assert_eq!(head.path, Span { start: 6, end: 8 });
    assert_eq!(head.query.of(input), b"q");
    assert_eq!(head.content_type, Span::default());
}
