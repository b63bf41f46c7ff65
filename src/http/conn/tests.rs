//! Bytes in, requests out; and what is kept of those that are not whole.

use super::{Received, Receiver, Request};
use crate::http::{Refusal, limits};

/// What came of some bytes, in words.
fn words(received: &Result<Received, Refusal>) -> String {
    let text = |request: &Request| {
        let body = request.body.map_or("?".into(), |body| body.escape_ascii().to_string());
        format!("{} {body}", request.get(request.head.target).escape_ascii())
    };
    match received {
        Ok(Received::Incomplete) => "incomplete".into(),
        Ok(Received::Head { request, waits: false }) => format!("head {}", text(request)),
        Ok(Received::Head { request, waits: true }) => format!("waits {}", text(request)),
        Ok(Received::Request(request, len)) => format!("{} in {len}", text(request)),
        Ok(Received::Rest(len)) => format!("rest in {len}"),
        Err(refusal) => format!("{refusal:?}"),
    }
}

/// Shows a receiver one piece after the other, keeping what is needed in between; `!` stands for an answer to the head.
#[track_caller]
fn check(pieces: &[&str], expected: &[&str]) {
    let (mut receiver, mut kept, mut seen) = (Receiver::default(), Vec::new(), Vec::new());
    for &piece in pieces {
        if piece == "!" {
            receiver.answer();
            continue;
        }
        let mut bytes = [&kept[..], piece.as_bytes()].concat();
        let received = receiver.receive(&mut bytes);
        seen.push(words(&received));
        match received {
            Ok(Received::Request(_, len) | Received::Rest(len)) => kept = bytes.split_off(len),
            _ => receiver.keep(&bytes, &mut kept),
        }
    }
    assert_eq!(seen, expected, "{pieces:?}");
}

const LENGTH: &str = "PUT /l HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
const CHUNKED: &str = "PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
const EXPECTING: &str = "PUT /e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";

#[test]
fn a_head_is_told_once_and_only_while_its_body_is_to_come() {
    check(&["GET / HTTP/1.1\r\nHost: h\r\n\r\n"], &["/  in 27"]);
    check(&[&[LENGTH, "abc"].concat()], &["/l abc in 50"]);
    check(&[LENGTH, "a", "b", "c"], &["head /l ?", "incomplete", "incomplete", "/l abc in 50"]);
    check(&["PUT", &LENGTH[3..], "abc"], &["incomplete", "head /l ?", "/l abc in 50"]);
    check(
        &[CHUNKED, "1\r\na\r\n2", "\r\nbc\r\n0\r\nx: ", "y\r\n", "\r\n"],
        &["head /c ?", "incomplete", "incomplete", "incomplete", "/c abc in 61"],
    );
}

#[test]
fn a_client_waits_until_it_sends() {
    check(&[EXPECTING, "ab", "c"], &["waits /e ?", "incomplete", "/e abc in 72"]);
    check(&[&[EXPECTING, "a"].concat(), "bc"], &["head /e ?", "/e abc in 72"]);
    check(&[&[EXPECTING, "abc"].concat()], &["/e abc in 72"]);
}

#[test]
fn behind_a_request_that_was_answered_at_its_head_stands_the_next() {
    check(&[LENGTH, "!", "ab", "c", LENGTH], &["head /l ?", "incomplete", "rest in 50", "head /l ?"]);
    check(&[CHUNKED, "!", "3\r\nabc\r\n0\r\n\r\n"], &["head /c ?", "rest in 69"]);
    check(&[CHUNKED, "!", "3\r\nabcd"], &["head /c ?", "ChunkEnd"]);
}

#[test]
fn a_body_that_is_to_come_is_one_where_the_head_says_so() {
    let has_body = |head: &str| match Receiver::default().receive(&mut head.as_bytes().to_vec()) {
        Ok(Received::Head { request, .. } | Received::Request(request, _)) => request.has_body(),
        other => panic!("{}", words(&other)),
    };
    assert!(has_body(LENGTH) && has_body(EXPECTING));
    assert!(!has_body(CHUNKED) && !has_body(&[CHUNKED, "0\r\n\r\n"].concat()));
    assert!(has_body(&CHUNKED.replace("h\r\n", "h\r\nExpect: 100-continue\r\n")));
    assert!(has_body(&[CHUNKED, "1\r\na\r\n0\r\n\r\n"].concat()));
    assert!(!has_body("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n"));
}

/// Chunks of one byte take six on the wire.
#[test]
fn what_is_kept_is_the_head_and_the_decoded_body() {
    let head = |len: usize| CHUNKED.replace("h\r\n", &format!("h\r\nx: {}\r\n", "x".repeat(len)));
    let head = head(limits::HEAD - head(0).len());
    let (mut receiver, mut kept) = (Receiver::default(), Vec::new());
    let mut bytes = head.into_bytes();
    for sent in 0..limits::BODY {
        assert!(!matches!(receiver.receive(&mut bytes), Ok(Received::Request(..)) | Err(_)));
        receiver.keep(&bytes, &mut kept);
        assert_eq!((kept.len(), kept.capacity()), (limits::HEAD + sent, limits::HEAD + sent));
        bytes.clone_from(&kept);
        bytes.extend_from_slice(b"1\r\nx\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    let Ok(Received::Request(request, len)) = receiver.receive(&mut bytes) else { panic!("it is whole") };
    assert_eq!((request.body.unwrap().len(), len), (limits::BODY, limits::HEAD + limits::BODY + 10));
}
