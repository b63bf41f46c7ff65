//! What the operator is told on standard error: in words, or in JSON with `--log json`.
//!
//! *Invariant:* nothing is told for each request: a standard error that is not read would hold up the worker. (Not
//! tested.)

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::clock;
use crate::app::log;
use crate::config::LogFormat;

/// Whether notices are in JSON. Of the whole process, which has one standard error.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on notices are in this format.
pub fn set_format(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Relaxed);
}

/// Tells what has happened, or what is wrong.
pub fn notice(text: &str) {
    if JSON.load(Relaxed) {
        write(LogFormat::Json, text);
    } else {
        write(LogFormat::Text, &format!("streamer: {text}"));
    }
}

/// Tells what the program is, in a line that begins with its name.
pub fn greet(text: &str) {
    write(if JSON.load(Relaxed) { LogFormat::Json } else { LogFormat::Text }, text);
}

/// That standard error cannot be written must not end the server, as the panic of `eprintln!` would.
fn write(format: LogFormat, text: &str) {
    let mut line = Vec::new();
    log::write_notice(format, clock::wall(), text, &mut line);
    if cfg!(test) {
        // What a test provokes is shown only if that test fails.
        return eprint!("{}", String::from_utf8_lossy(&line));
    }
    let _ = io::stderr().write_all(&line);
}
