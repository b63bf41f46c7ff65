//! The program: arguments in, exit code out.

mod check;
mod token;

use std::io::{self, Write};
use std::process::ExitCode;

use streamer::config::{self, Config, Invocation};
use streamer::server::{Server, Signals, greet, notice};

/// A bad flag or variable.
const USAGE: u8 = 2;
/// Anything else that went wrong.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let invocation =
        match config::parse(std::env::args_os().skip(1), std::env::vars_os(), cores, check::first_process) {
            Ok(invocation) => invocation,
            Err(error) => return fail(USAGE, &error.to_string()),
        };
    let done = match invocation {
        Invocation::Serve(config) => return serve(*config),
        Invocation::Token(args) => token::make(&args).and_then(|said| say(&said)),
        Invocation::Key => token::key().and_then(|key| say(&format!("{key}\n"))),
        Invocation::Check(args) => check::check(&args),
        Invocation::Print(text) => say(&text),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &error),
    }
}

fn serve(config: Config) -> ExitCode {
    let signals = Signals::of_process().map_err(|error| format!("cannot catch signals: {error}").into());
    let server = match signals.and_then(|signals| Server::start(config, signals)) {
        Ok(server) => server,
        Err(error) => return fail(error.code, &error.said),
    };
    greet(&server.greeting());
    ExitCode::from(server.run())
}

/// Prints what was asked for. That its reader has gone, as in `streamer --help | head -1`, is no failure.
fn say(text: &str) -> Result<(), String> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot print: {error}")),
        _ => Ok(()),
    }
}

fn fail(code: u8, error: &str) -> ExitCode {
    notice(error);
    ExitCode::from(code)
}
