//! Both readers agree on what JSON is, and every string that is read can be written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer::codec::Append;
use streamer::codec::json::{self, Error, Quoted, Text, Value};

fuzz_target!(|text: &[u8]| {
    let mut strings = Vec::new();
    let members = json::members(text, |name, value| {
        strings.push(name);
        match value {
            Value::String(string) => strings.push(string),
            Value::Number(number) => assert!(number.parse::<f64>().is_ok(), "{number}"),
            _ => {}
        }
    });
    match (json::any(text), members) {
        (Ok(()), Ok(())) => assert!(text.trim_ascii_start().starts_with(b"{")),
        (Ok(()), Err(error)) => assert_eq!(error, Error::NotAnObject),
        (Err(_), members) => assert!(members.is_err()),
    }
    if members.is_ok() {
        strings.into_iter().for_each(check_string);
    }
});

fn check_string(string: Text) {
    let meant: String = string.chars().collect();
    assert!(string.is(&meant));
    assert!(string.plain().is_none_or(|plain| plain == meant));
    let mut written = b"{".to_vec();
    Quoted(meant.as_bytes()).append(&mut written);
    written.extend_from_slice(b":1}");
    let read = json::members(&written, |name, _| assert!(name.is(&meant) && name.chars().eq(meant.chars())));
    assert_eq!(read, Ok(()));
}
