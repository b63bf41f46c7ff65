//! What was encoded is decoded again; names and values are read alike by those who copy them and those who
//! compare them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer::codec::{Invalid, urlencoded};

fuzz_target!(|query: &[u8]| {
    check_decode(query);
    for (name, value) in urlencoded::pairs(query) {
        assert!(!name.contains(&b'&') && !name.contains(&b'=') && !value.contains(&b'&'));
        check_decode(name);
        check_decode(value);
    }
    let (mut encoded, mut decoded) = (Vec::new(), Vec::new());
    urlencoded::encode(query, &mut encoded);
    assert!(
        encoded.iter().all(u8::is_ascii_graphic) && !encoded.iter().any(|byte| b"&=+?#/\"\\".contains(byte))
    );
    assert_eq!(urlencoded::decode(&encoded, &mut decoded), Ok(()));
    assert_eq!(decoded, query);
});

fn check_decode(raw: &[u8]) {
    let mut plain = b"kept".to_vec();
    let decoded = urlencoded::decode(raw, &mut plain);
    assert!(plain.starts_with(b"kept"));
    match decoded {
        Ok(()) => assert!(urlencoded::is(raw, &plain[4..])),
        Err(Invalid) => assert!(plain == b"kept" && !urlencoded::is(raw, b"")),
    }
}
