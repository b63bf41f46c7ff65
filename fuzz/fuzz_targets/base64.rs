//! What was encoded is decoded again, and no two texts stand for the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer::codec::base64::{self, Invalid};

fuzz_target!(|input: &[u8]| {
    let (mut text, mut bytes) = (Vec::new(), Vec::new());
    base64::encode(input, &mut text);
    assert_eq!(base64::decode(&text, &mut bytes), Ok(()));
    assert_eq!(bytes, input);

    let mut bytes = b"kept".to_vec();
    let mut text = Vec::new();
    match base64::decode(input, &mut bytes) {
        Ok(()) => base64::encode(&bytes[4..], &mut text),
        Err(Invalid) => return assert_eq!(bytes, b"kept"),
    }
    assert_eq!(text, input);
});
