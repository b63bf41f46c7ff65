//! Bytes in, bodies out. Each row is fed whole, byte by byte, cut at every place, and followed by another
//! request.

use super::{BodyDecoder, WholeBody};
use crate::http::{Framing, Refusal, Refusal::*, limits};

const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: next\r\n\r\n";

/// What a decoder says of the bytes that it has been shown, and the body if that is whole.
type Answer = Result<Option<(WholeBody, Vec<u8>)>, Refusal>;

/// A connection's bytes behind the head, and the decoder at work on them.
struct Feed {
    bytes: Vec<u8>,
    body: BodyDecoder,
}

impl Feed {
    fn new(framing: Framing) -> Self {
        Self { bytes: Vec::new(), body: BodyDecoder::new(framing) }
    }

    /// Keeps no more than is needed; returns how much that was too much.
    fn keep(&mut self) -> usize {
        let gap = self.body.close_gap();
        self.bytes.drain(gap.clone());
        gap.len()
    }

    fn add(&mut self, more: &[u8]) -> Answer {
        self.bytes.extend_from_slice(more);
        let decoded = self.body.decode(&mut self.bytes)?;
        Ok(decoded.map(|decoded| (decoded, self.bytes[..decoded.body].to_vec())))
    }
}

/// The answer to chunked `input`, the same however it is cut; and an answer once given stands.
#[track_caller]
fn feed(framing: Framing, input: &[u8]) -> Answer {
    let whole = Feed::new(framing).add(input);
    let mut dripped = Feed::new(framing);
    let mut answer = dripped.add(b"");
    let (mut kept, mut dropped) = (Feed::new(framing), 0);
    for end in 0..=input.len() {
        let before = answer;
        answer = dripped.add(&input[end.saturating_sub(1)..end]);
        if before != Ok(None) {
            assert_eq!(answer, before, "at byte {end} of {}", show(input));
        }
        let mut by_kept = kept.add(&input[end.saturating_sub(1)..end]);
        if let Ok(Some((decoded, _))) = &mut by_kept {
            decoded.consumed += dropped;
        }
        assert_eq!(by_kept, answer, "keeping what is needed, at byte {end} of {}", show(input));
        if answer == Ok(None) {
            dropped += kept.keep();
        }
        if end % (1 + input.len() / 300) == 0 || input.len() - end < 20 {
            let mut cut = Feed::new(framing);
            assert_eq!(cut.add(&input[..end]), answer, "at byte {end} of {}", show(input));
            assert_eq!(cut.add(&input[end..]), whole, "from byte {end} of {}", show(input));
        }
    }
    assert_eq!(answer, whole, "byte by byte: {}", show(input));
    whole
}

/// The end of `input`, readable.
fn show(input: &[u8]) -> String {
    format!("{} bytes that end in {}", input.len(), input[input.len().saturating_sub(200)..].escape_ascii())
}

#[track_caller]
fn check_framed(framing: Framing, input: &[u8], expected: Result<&[u8], Refusal>) {
    let found = feed(framing, input);
    match (&found, expected) {
        (Ok(Some((decoded, body))), Ok(expected)) => {
            assert_eq!(body.escape_ascii().to_string(), expected.escape_ascii().to_string());
            assert_eq!(
                decoded,
                &WholeBody { body: expected.len(), consumed: input.len() },
                "{}",
                show(input)
            );
        }
        (Err(refusal), Err(expected)) => assert_eq!(*refusal, expected, "{}", show(input)),
        _ => panic!("{found:?} instead of {expected:?}: {}", show(input)),
    }
    let mut followed = Feed::new(framing);
    assert_eq!(followed.add(&[input, NEXT].concat()), found, "followed by a request: {}", show(input));
    if let Ok(Some((decoded, _))) = found {
        assert_eq!(
            &followed.bytes[decoded.consumed..],
            NEXT,
            "the next request is untouched: {}",
            show(input)
        );
    }
}

#[track_caller]
fn check(input: impl AsRef<[u8]>, expected: Result<&str, Refusal>) {
    check_framed(Framing::Chunked, input.as_ref(), expected.map(str::as_bytes));
}

/// The last byte of `input` is the fault: nothing before it is, and nothing behind it is waited for.
#[track_caller]
fn check_at_once(input: impl AsRef<[u8]>, expected: Refusal) {
    let input = input.as_ref();
    check(input, Err(expected));
    assert_eq!(Feed::new(Framing::Chunked).add(&input[..input.len() - 1]), Ok(None), "{}", show(input));
}

/// A chunk with this between its size and the CRLF.
fn with_extension(extension: impl AsRef<[u8]>) -> Vec<u8> {
    [b"1", extension.as_ref(), b"\r\nx\r\n0\r\n\r\n"].concat()
}

fn with_trailers(lines: impl AsRef<[u8]>) -> Vec<u8> {
    [b"1\r\nx\r\n0\r\n", lines.as_ref(), b"\r\n"].concat()
}

#[test]
fn takes_as_much_as_the_length_says() {
    check_framed(Framing::Length(0), b"", Ok(b""));
    check_framed(Framing::Length(1), b"\r", Ok(b"\r"));
    check_framed(Framing::Length(5), b"0\r\n\r\n", Ok(b"0\r\n\r\n"));
    let most = vec![0xFF; limits::BODY];
    check_framed(Framing::Length(limits::BODY), &most, Ok(&most));
    assert_eq!(feed(Framing::Length(5), b"four"), Ok(None));
}

#[test]
fn puts_chunks_together() {
    check("0\r\n\r\n", Ok(""));
    check("5\r\nhello\r\n0\r\n\r\n", Ok("hello"));
    check("1\r\na\r\n2\r\nbc\r\n00003\r\ndef\r\n000\r\n\r\n", Ok("abcdef"));
    check(
        "A\r\n0123456789\r\nb\r\n0123456789a\r\nC\r\n0123456789ab\r\n0\r\n\r\n",
        Ok("01234567890123456789a0123456789ab"),
    );
    check("4\r\n\r\n\r\n\r\n0\r\n\r\n", Ok("\r\n\r\n"));
    check("5\r\n0\r\n\r\n\r\n0\r\n\r\n", Ok("0\r\n\r\n"));
    check("0000000000000001\r\nx\r\n0000000000000000\r\n\r\n", Ok("x"));
    check("00000000000000001\r\nx\r\n00000000000000000\r\n\r\n", Ok("x"));
    let all: Vec<u8> = (0..=u8::MAX).collect();
    check_framed(Framing::Chunked, &[b"100\r\n", &all[..], b"\r\n0\r\n\r\n"].concat(), Ok(&all));
}

#[test]
fn a_message_is_complete_at_its_last_byte_only() {
    let input = b"3;a=\"b\"\r\nabc\r\n0\r\nx: y\r\n\r\n";
    for end in 0..input.len() {
        assert_eq!(feed(Framing::Chunked, &input[..end]), Ok(None));
    }
}

#[test]
fn refuses_a_size_that_is_no_plain_number() {
    for byte in "\0\t +-,.;:/@Ggxh_\"\r\x7F".bytes().chain([0x80, 0xB2, 0xFF]) {
        check_at_once([byte], ChunkSize);
        check([&[byte][..], b"5\r\nhello\r\n0\r\n\r\n"].concat(), Err(ChunkSize));
    }
    for input in ["0x", "0X", "5h", "5,", "5.", "5_", "5:", "5=", "5\"", "5\0", "5\x0B", "5\x0C", "1+", "1-"]
    {
        check_at_once(input, ChunkSize);
    }
    check_at_once("\n", BareLineFeed);
    check_at_once("5\n", BareLineFeed);
    check("\r\n5\r\nhello\r\n0\r\n\r\n", Err(ChunkSize));
    check("1\r\nx\r\n\r\n0\r\n\r\n", Err(ChunkSize));
    check("1\r\nx\r\n-1\r\n\r\n", Err(ChunkSize));
    check("\u{665}\r\n", Err(ChunkSize));
}

#[test]
fn refuses_a_size_above_64_bits() {
    check_at_once("10000000000000000", ChunkSize);
    check_at_once("FFFFFFFFFFFFFFFFF", ChunkSize);
    check_at_once("00010000000000000000", ChunkSize);
    check_at_once("FFFFFFFFFFFFFFFF\r", BodyTooLarge);
    check_at_once("0FFFFFFFFFFFFFFFF\r", BodyTooLarge);
    check_at_once("1000000000000000\r", BodyTooLarge);
    check_at_once("0000000100000001\r", BodyTooLarge);
    check_at_once("000000000000000100000001\r", BodyTooLarge);
}

#[test]
fn limits_the_body() {
    let chunk = |size: usize| [format!("{size:x}\r\n").as_bytes(), &vec![b'x'; size], b"\r\n"].concat();
    let (most, last) = (limits::BODY, b"0\r\n\r\n".as_slice());
    check([&chunk(most), last].concat(), Ok(&"x".repeat(most)));
    check([&chunk(most - 1), &chunk(1), last].concat(), Ok(&"x".repeat(most)));
    check([&chunk(1).repeat(most), last].concat(), Ok(&"x".repeat(most)));
    check_at_once("2001\r", BodyTooLarge);
    check_at_once("2001;", BodyTooLarge);
    check_at_once("2001 ", BodyTooLarge);
    check_at_once("2001\t", BodyTooLarge);
    check("2001\n", Err(BareLineFeed));
    check("2001x", Err(ChunkSize));
    check_at_once([&chunk(most), &b"1\r"[..]].concat(), BodyTooLarge);
    check_at_once([&chunk(1), &b"2000\r"[..]].concat(), BodyTooLarge);
    check_at_once([&chunk(1), &b"FFFFFFFFFFFFFFFF\r"[..]].concat(), BodyTooLarge);
    check_at_once([&chunk(1).repeat(most), &b"1\r"[..]].concat(), BodyTooLarge);
}

#[test]
fn requires_crlf_behind_a_size() {
    check_at_once("1\rx", BareCarriageReturn);
    check_at_once("1\r\r", BareCarriageReturn);
    check_at_once("0\r0", BareCarriageReturn);
    check_at_once("1;a\rx", BareCarriageReturn);
    check_at_once("1;a\n", BareLineFeed);
    check("1\nx\r\n0\r\n\r\n", Err(BareLineFeed));
    check("1\rx\r\n0\r\n\r\n", Err(BareCarriageReturn));
}

#[test]
fn requires_crlf_behind_a_chunk() {
    check_at_once("1\r\nx\n", ChunkEnd);
    check_at_once("1\r\nxx", ChunkEnd);
    check_at_once("1\r\nx0", ChunkEnd);
    check_at_once("1\r\nx\rx", ChunkEnd);
    check_at_once("1\r\nx\r\r", ChunkEnd);
    check_at_once("1\r\nx ", ChunkEnd);
    check("5\r\nhell\r\n0\r\n\r\n", Err(ChunkEnd));
    check("3\r\nhello\r\n0\r\n\r\n", Err(ChunkEnd));
    check("1\r\nxXX0\r\n\r\n", Err(ChunkEnd));
}

#[test]
fn ignores_extensions() {
    for extension in [
        "",
        ";a",
        ";a=b",
        ";a=\"b\"",
        ";a;b;c",
        ";a=b;c=\"d\";e",
        " ;a",
        "\t;\ta",
        " ; a = b ; c",
        ";a= \"b\" ;c",
        ";a =b",
        ";a=\"\"",
        ";a=\"b;c=d\"",
        ";a=\"\\\"\"",
        ";a=\"\\\\\"",
        ";a=\"\\b\t \u{E9}\"",
        ";!#$%&'*+-.^_`|~=~",
        ";a=\"\\\t\"",
        ";0",
        ";a=1",
        ";a;a=1",
    ] {
        check(with_extension(extension), Ok("x"));
        check(["0", extension, "\r\n\r\n"].concat(), Ok(""));
    }
}

#[test]
fn refuses_a_malformed_extension() {
    for extension in [
        ";",
        ";;",
        ";;a",
        ";a;",
        "; ",
        " ",
        "\t",
        "  ",
        " \t",
        ";a ",
        ";a\t",
        ";a=",
        ";a= ",
        ";=",
        ";=b",
        ";a==b",
        ";a=b=c",
        ";a=b c",
        ";a b",
        ";a=\"b",
        ";a=\"b\"c",
        ";a=\"b\" c",
        ";a=\"b\" ",
        ";a=b ",
        ";a=\"\\",
        ";\"a\"",
        ";a=b\"",
        ";a,b",
        ";a/b",
        ";a=b,c",
        ";a=(b)",
        ";a\0",
        ";a=\0",
        ";a=\"\0\"",
        ";a=\"\\\0\"",
        ";a=\"\x7F\"",
        ";\u{E9}",
        ";a=\u{E9}",
        " a",
        " =b",
        ";a\x0B",
    ] {
        check(with_extension(extension), Err(ChunkExtension));
        check(["0", extension, "\r\n\r\n"].concat(), Err(ChunkExtension));
    }
    check_at_once("1 \r", ChunkExtension);
    check_at_once("1;\r", ChunkExtension);
    check_at_once("1;a \r", ChunkExtension);
    check_at_once("1;a=\"\r", ChunkExtension);
    check_at_once("1;a=\"\\\r", ChunkExtension);
    for place in [" ", ";", ";a", ";a ", ";a=", ";a= ", ";a=b", ";a=\"", ";a=\"\\", ";a=\"\"", ";a=\"\" "] {
        check_at_once(["1", place, "\n"].concat(), BareLineFeed);
    }
}

#[test]
fn drops_trailers_whatever_their_name() {
    for lines in [
        "a: b\r\n",
        "a:\r\n",
        "a: b\r\nc: d\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: x\r\nContent-Length: y\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Host: a b\r\nHost:\r\n",
        "Expect: x\r\n",
        "Authorization: a\r\nAuthorization: b\r\n",
        "Connection: close\r\n",
        "a: \u{E9}\t \r\n",
    ] {
        check(with_trailers(lines), Ok("x"));
    }
}

#[test]
fn refuses_a_malformed_trailer() {
    for lines in [
        "a\r\n",
        "a : b\r\n",
        " a: b\r\n",
        "\ta: b\r\n",
        "a: b\r\n c\r\n",
        ": b\r\n",
        "a b: c\r\n",
        "a: b\n",
        "a: b\rc\r\n",
        "a: \0\r\n",
        "a: \x7F\r\n",
        "\n",
        "a\n",
        "\0",
        "GET / HTTP/1.1\r\n",
        "\u{E9}: b\r\n",
        "a: b\r\n\n",
        "\r\r\n",
    ] {
        check(with_trailers(lines), Err(Trailer));
    }
    check_at_once("0\r\n\n", Trailer);
    check_at_once("0\r\n\rx", Trailer);
    check_at_once("0\r\n ", Trailer);
    check_at_once("0\r\n\0", Trailer);
    check_at_once("0\r\na ", Trailer);
}

#[test]
fn limits_extensions() {
    let most = limits::CHUNK_EXTRAS;
    let extension = |len: usize| [";", &"e".repeat(len - 1)].concat();
    check(with_extension(extension(most)), Ok("x"));
    check(with_extension(extension(most + 1)), Err(ChunkExtrasTooLarge));
    check_at_once(["1", &extension(most + 1)].concat(), ChunkExtrasTooLarge);
    check_at_once(["1", &extension(most), "\0"].concat(), ChunkExtrasTooLarge);
    check_at_once(["1", &extension(most - 1), "\0"].concat(), ChunkExtension);
    let chunk = |len| ["1", &extension(len), "\r\nx\r\n"].concat();
    check([&chunk(100), &chunk(most - 100), "0\r\n\r\n"].concat(), Ok("xx"));
    check([&chunk(100), &chunk(most - 99), "0\r\n\r\n"].concat(), Err(ChunkExtrasTooLarge));
    check([&chunk(most), "0\r\n\r\n"].concat(), Ok("x"));
    check([&chunk(most), "0;"].concat(), Err(ChunkExtrasTooLarge));
}

#[test]
fn limits_trailers() {
    let most = limits::CHUNK_EXTRAS;
    let trailer = |len: usize| ["t:", &"v".repeat(len - 4), "\r\n"].concat();
    check(with_trailers(trailer(most)), Ok("x"));
    check(with_trailers(trailer(most + 1)), Err(ChunkExtrasTooLarge));
    check_at_once(["0\r\n", &trailer(most + 1)[..most]].concat(), ChunkExtrasTooLarge);
    check(with_trailers("t:\r\n".repeat(most / 4)), Ok("x"));
    check(with_trailers("t:\r\n".repeat(most / 4) + "t"), Err(ChunkExtrasTooLarge));
    check(with_trailers("t:\r\n".repeat(most / 4) + "\0"), Err(ChunkExtrasTooLarge));
    check(with_trailers(trailer(most - 1) + "t"), Err(ChunkExtrasTooLarge));
    check(["0\r\n", &trailer(most), "\rx"].concat(), Err(Trailer));
    check(["0\r\n", &trailer(most - 1), "\0"].concat(), Err(Trailer));
}

#[test]
fn limits_extensions_trailers_and_leading_zeros_in_all() {
    let most = limits::CHUNK_EXTRAS;
    let message = |trailer: usize| {
        let (extension, trailer) = (";e=".to_owned() + &"e".repeat(97), "v".repeat(trailer - 4));
        ["1", &extension, "\r\nx\r\n000", &extension, "\r\nt:", &trailer, "\r\n\r\n"].concat()
    };
    check(message(most - 202), Ok("x"));
    check(message(most - 201), Err(ChunkExtrasTooLarge));
    let zeros = "0000000000000001\r\nx\r\n".repeat(most / 15);
    check([&zeros, "0\r\n\r\n"].concat(), Ok(&"x".repeat(most / 15)));
    check([&zeros, "00\r\n\r\n"].concat(), Ok(&"x".repeat(most / 15)));
    check_at_once([&zeros, "000"].concat(), ChunkSize);
    check(["0".repeat(most + 1), "\r\n\r\n".into()].concat(), Ok(""));
    check(["0".repeat(most), "1\r\nx\r\n0\r\n\r\n".into()].concat(), Ok("x"));
    check_at_once("0".repeat(most + 2), ChunkSize);
}

#[test]
fn the_first_fault_is_told() {
    check("1;;\r\nxx", Err(ChunkExtension));
    check("1\r\nxx0\r\n bad", Err(ChunkEnd));
    check("2001\r\n\0", Err(BodyTooLarge));
    check("2001;;", Err(BodyTooLarge));
}
