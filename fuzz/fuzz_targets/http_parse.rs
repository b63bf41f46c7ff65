//! A connection's bytes are answered alike however they are cut, and a request that was taken is taken again on its
//! own.

#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer::http::body::BodyDecoder;
use streamer::http::parse::Parser;
use streamer::http::{Head, Method, Refusal};

// The first byte says how the others are cut.
fuzz_target!(|input: &[u8]| {
    let [cut, bytes @ ..] = input else { return };
    let whole = answers([bytes]);
    let (first, second) = bytes.split_at(usize::from(*cut) * bytes.len() / 256);
    assert_eq!(answers([first, second]), whole);
    assert_eq!(answers(bytes.chunks(usize::from(*cut).max(1))), whole);
    let mut rest = bytes;
    for answer in &whole {
        let Answer::Taken(head, content, length) = answer else { return };
        let (own, behind) = rest.split_at(*length);
        assert_eq!(answers([own]), [Answer::Taken(*head, content.clone(), *length)]);
        assert!(own[..head.len].ends_with(b"\r\n\r\n"));
        rest = behind;
    }
});

#[derive(Debug, PartialEq)]
enum Answer {
    /// A request: its head, its content, its length on the wire.
    Taken(Head, Vec<u8>, usize),
    Refused(Refusal, Option<Method>),
}

/// What a connection answers that receives these pieces.
fn answers<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Answer> {
    let (mut bytes, mut answers) = (Vec::new(), Vec::new());
    let (mut parser, mut current) = (Parser::new(), None);
    for piece in pieces {
        bytes.extend_from_slice(piece);
        loop {
            match next(&mut bytes, &mut parser, &mut current) {
                Ok(None) => break,
                Ok(Some(answer)) => {
                    answers.push(answer);
                    (parser, current) = (Parser::new(), None);
                }
                Err(refusal) => {
                    answers.push(Answer::Refused(refusal, parser.head().map(|head| head.method)));
                    return answers;
                }
            }
        }
    }
    answers
}

/// The request at the beginning of `bytes`, taken off them.
fn next(
    bytes: &mut Vec<u8>,
    parser: &mut Parser,
    current: &mut Option<(Head, BodyDecoder)>,
) -> Result<Option<Answer>, Refusal> {
    if current.is_none() {
        *current = parser.parse(bytes)?.map(|head| (head, BodyDecoder::new(head.framing)));
    }
    let Some((head, body)) = current else { return Ok(None) };
    let rest = &mut bytes[head.len..];
    let Some(decoded) = body.decode(rest)? else { return Ok(None) };
    let content = rest[..decoded.content].to_vec();
    let length = head.len + decoded.consumed;
    bytes.drain(..length);
    Ok(Some(Answer::Taken(*head, content, length)))
}
