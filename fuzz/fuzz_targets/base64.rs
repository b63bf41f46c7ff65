//! What was encoded is decoded again, and no two texts stand for the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer::codec::base64::{self, Invalid};

fuzz_target!(|input: &[u8]| {
    check(input, base64::encode, base64::decode);
    check(input, base64::encode_url, base64::decode_url);
    if let Ok(digest) = input.try_into() {
        let mut encoded = Vec::new();
        base64::encode_url(input, &mut encoded);
        assert_eq!(base64::encode_url_digest(digest), encoded[..]);
    }
});

fn check(
    input: &[u8],
    encode: impl Fn(&[u8], &mut Vec<u8>),
    decode: impl Fn(&[u8], &mut Vec<u8>) -> Result<(), Invalid>,
) {
    let (mut text, mut bytes) = (Vec::new(), Vec::new());
    encode(input, &mut text);
    assert_eq!(decode(&text, &mut bytes), Ok(()));
    assert_eq!(bytes, input);

    let mut bytes = b"kept".to_vec();
    let mut text = Vec::new();
    match decode(input, &mut bytes) {
        Ok(()) => encode(&bytes[4..], &mut text),
        Err(Invalid) => return assert_eq!(bytes, b"kept"),
    }
    assert_eq!(text, input);
}
