//! What was encoded is decoded again, whichever way it was written; and of tokens no two texts stand for the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer::codec::{Invalid, base64};

fuzz_target!(|input: &[u8]| {
    let (mut text, mut bytes) = (Vec::new(), Vec::new());
    base64::encode(input, &mut text);
    assert_eq!(base64::decode(&text, &mut bytes), Ok(()));
    assert_eq!(bytes, input);

    let mut url = input.to_vec();
    base64::encode_url_in_place(&mut url, 0);
    let mut room = vec![0; input.len()];
    assert_eq!(base64::decode_url(&url, &mut room), Ok(input));

    let mut lax = b"kept".to_vec();
    let decoded = base64::decode(input, &mut lax);
    assert_eq!(decoded.is_err(), lax == b"kept" && !input.is_empty());
    match base64::decode_url(input, &mut vec![0; input.len()]) {
        Ok(bytes) => {
            assert_eq!(bytes, &lax[4..]);
            let mut text = bytes.to_vec();
            base64::encode_url_in_place(&mut text, 0);
            assert_eq!(text, input);
        }
        Err(Invalid) => assert!(decoded.is_err() || input.iter().any(|byte| b"+/=".contains(byte))),
    }
});
