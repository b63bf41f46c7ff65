//! The program: arguments in, exit code out.

mod check;
mod token;

use std::process::ExitCode;

use streamer::config::{self, Command, Config};
use streamer::server::{Server, Signals};

/// A bad flag or variable.
const USAGE: u8 = 2;
/// Anything else that went wrong.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let command = match config::parse(std::env::args_os().skip(1), variable, cores) {
        Ok(command) => command,
        Err(error) => return fail(USAGE, &error.to_string()),
    };
    let done = match command {
        Command::Serve(config) => return serve(config),
        Command::Token(args) => token::make(&args).map(|said| print!("{said}")),
        Command::Check(args) => check::check(&args),
        Command::Help(text) | Command::Version(text) => {
            print!("{text}");
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &error),
    }
}

fn serve(config: Config) -> ExitCode {
    let signals = Signals::of_process().map_err(|error| format!("cannot catch signals: {error}"));
    let server = match signals.and_then(|signals| Server::start(config, signals)) {
        Ok(server) => server,
        Err(error) => return fail(FAILED, &error),
    };
    eprintln!("{}", server.greeting());
    ExitCode::from(server.run())
}

fn fail(code: u8, error: &str) -> ExitCode {
    eprintln!("streamer: {error}");
    ExitCode::from(code)
}
