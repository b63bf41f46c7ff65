//! What `--help` prints: the rows of the tables, and the words around them.
//!
//! *Invariant:* what an option is called, takes and defaults to comes from its row. (Tested by `helps`.)

use super::table::{Opt, TOKEN_OPTIONS, options};

/// The help of a command, if there is one.
pub(super) fn of(command: &str) -> Option<String> {
    match command {
        "serve" | "help" => {
            let usage = COMMANDS.map(|(_, usage, help)| format!("  streamer {usage:20}  {help}\n")).concat();
            Some(format!(
                "{ABOUT}\nUsage:\n{usage}\nFlags, with their defaults:\n{}{HELP_TAIL}",
                rows(options())
            ))
        }
        "token" => Some(format!("{TOKEN_HEAD}{}{TOKEN_TAIL}", rows(TOKEN_OPTIONS))),
        "key" => Some(KEY_HELP.into()),
        "check" => Some(CHECK_HELP.into()),
        _ => None,
    }
}

/// The options one below the other, what they are for aligned, their defaults in brackets.
fn rows<T>(table: &[Opt<T>]) -> String {
    let width = table.iter().map(|opt| opt.usage().len()).max().unwrap_or(0);
    let row = |opt: &Opt<T>| {
        let default = opt.default.map(|default| format!(" [{default}]")).unwrap_or_default();
        format!("  {:width$}  {}{default}\n", opt.usage(), opt.help)
    };
    table.iter().map(row).collect()
}

/// Each command: its name, how it is written, and what it does.
pub(super) const COMMANDS: [(&str, &str, &str); 5] = [
    ("serve", "[serve] [FLAGS]", "Serve until SIGTERM or SIGINT"),
    ("token", "token USER [FLAGS]", "Make a token for a user"),
    ("key", "key", "Make a key for --secret or --pass"),
    ("check", "check [URL]", "Ask a server for its health: exit 0 when it is well"),
    ("help", "help [COMMAND]", "Print the help of a command, or this"),
];

const ABOUT: &str = "\
streamer tells a video platform whether a user may start one more stream.
";

const HELP_TAIL: &str = "
-h and --help print the help of the command before them, -V and --version the version.
A TIME is a whole number and a unit: 500ms, 90s, 5m, 24h or 7d. A number alone counts seconds.
Every flag has a variable: --when-full is STREAMER_WHEN_FULL, and STREAMER_OPEN=1 is --open.
A flag wins over its variable, and an empty variable counts as none.
--idle should be longer than the idle time of a load balancer in front, which is 60s with most.
During --drain /readyz already says 503, so that a load balancer sends no more clients.
Where the system has no IPv6, :8000 is every IPv4 interface.
Of --open, --users and --secret choose one; beyond a loopback address one is needed.
Under --when-full report a stream too many goes through and is counted: for trying a limit out.
";

const TOKEN_HEAD: &str = "\
Makes a token, which is the user's password.

Usage:
  streamer token USER [FLAGS]

Without --secret: a random token, and the line to add to the file that --users names.
With --secret: a signed token (JWT), which needs no line anywhere.

Flags:
";

const TOKEN_TAIL: &str = "
A USER is 1 to 256 bytes without colons and control characters. Variables are not read.
";

const KEY_HELP: &str = "\
Makes a key of 256 random bits, for the files that --secret and --pass name.

Usage:
  streamer key

A file has a key a line: the first signs, each verifies. So a new key goes behind the old one, on every server;
then before it, where tokens are minted; and the old one goes when its last token has expired.
";

const CHECK_HELP: &str = "\
Asks a server for its health, and exits 0 when it is well.

Usage:
  streamer check [URL]

The URL is http://host:port[/path], whose path is /healthz unless given.
Without a URL: in a container the server that is its first process, wherever it listens.
Else the one at STREAMER_LISTEN, else the one at 127.0.0.1:8000.
";
