//! A reply reads the same however its bytes are cut, and what it says can be written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer::store::redis::resp::{self, Reply};

fuzz_target!(|bytes: &[u8]| {
    let whole = resp::reply(bytes);
    for cut in 0..bytes.len().min(256) {
        match resp::reply(&bytes[..cut]) {
            Ok(None) => {}
            early => assert_eq!(early, whole),
        }
    }
    if let Ok(Some((reply, end))) = whole {
        assert!(end <= bytes.len());
        check(reply);
    }
});

fn check(reply: Reply) {
    match reply {
        Reply::Bulk(bytes) => {
            let mut out = Vec::new();
            resp::bulk(bytes, &mut out);
            assert_eq!(resp::reply(&out), Ok(Some((Reply::Bulk(bytes), out.len()))));
        }
        Reply::Array(items) => items.into_iter().for_each(check),
        _ => {}
    }
}
