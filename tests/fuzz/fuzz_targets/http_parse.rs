//! A connection's bytes are answered alike however they are cut, and a request that was taken is taken again on its
//! own.

#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer::http::conn::{Received, Receiver};
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
        let Answer::Taken(head, body, length) = answer else { return };
        let (own, behind) = rest.split_at(*length);
        assert_eq!(answers([own]), [Answer::Taken(*head, body.clone(), *length)]);
        assert!(own[..head.len].ends_with(b"\r\n\r\n"));
        rest = behind;
    }
});

#[derive(Debug, PartialEq)]
enum Answer {
    /// A request: its head, its body, its length on the wire.
    Taken(Head, Vec<u8>, usize),
    Refused(Refusal, Option<Method>),
}

/// What a connection answers that receives these pieces.
fn answers<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Answer> {
    let (mut receiver, mut bytes, mut answers) = (Receiver::default(), Vec::new(), Vec::new());
    // How much has come, and how much of it is of requests that were taken.
    let (mut received, mut taken) = (0, 0);
    for piece in pieces {
        bytes.extend_from_slice(piece);
        received += piece.len();
        loop {
            match receiver.receive(&mut bytes) {
                Ok(Received::Request(request, len)) => {
                    let (head, body) = (request.head, request.body.unwrap_or_default().to_vec());
                    bytes.drain(..len);
                    let before = std::mem::replace(&mut taken, received - bytes.len());
                    answers.push(Answer::Taken(head, body, taken - before));
                }
                Ok(_) => {
                    let all = std::mem::take(&mut bytes);
                    receiver.keep(&all, &mut bytes);
                    break;
                }
                Err(refusal) => {
                    answers.push(Answer::Refused(refusal, receiver.head().map(|head| head.method)));
                    return answers;
                }
            }
        }
    }
    answers
}
