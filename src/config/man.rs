//! The man page, from the tables of options and the words of `--help`.
//!
//! *Invariant:* what an option is called, takes and defaults to comes from its row.

use super::help::{ABOUT, CHECK_HELP, COMMANDS, HELP_TAIL, TOKEN_HEAD, TOKEN_TAIL};
use super::table::{OPTIONS, Opt, TOKEN_OPTIONS};

/// `streamer(1)`, in the macros of man(7).
pub(super) fn page() -> String {
    let synopsis: Vec<_> = COMMANDS.iter().map(|(_, usage, _)| synopsis(usage)).collect();
    let commands =
        COMMANDS.iter().map(|(name, _, help)| item(&format!("\\fB{name}\\fR"), &format!("{help}.")));
    [
        HEAD.replace("VERSION", env!("CARGO_PKG_VERSION")),
        section("SYNOPSIS", &synopsis.join(".br\n")),
        section("DESCRIPTION", &prose(ABOUT)),
        section("COMMANDS", &commands.collect::<String>()),
        section("OPTIONS", &(options(OPTIONS) + ".PP\n" + &prose(HELP_TAIL))),
        section("TOKENS", &(prose(TOKEN_HEAD) + &options(TOKEN_OPTIONS) + ".PP\n" + &prose(TOKEN_TAIL))),
        section("CHECK", &prose(CHECK_HELP)),
        TAIL.into(),
    ]
    .concat()
}

fn section(title: &str, text: &str) -> String {
    format!(".SH {title}\n{text}")
}

/// What is to be written as it stands is bold, what stands for something else (in capitals) is not.
fn synopsis(usage: &str) -> String {
    let words = usage.split(' ').map(|word| match word.contains(|c: char| c.is_ascii_uppercase()) {
        true => format!("\\fI{}\\fR", plain(word)),
        false => format!("\\fB{}\\fR", plain(word)),
    });
    format!("\\fBstreamer\\fR {}\n", words.collect::<Vec<_>>().join(" "))
}

fn options<T>(table: &[Opt<T>]) -> String {
    table.iter().map(option).collect()
}

fn option<T>(opt: &Opt<T>) -> String {
    let value = opt.value.map(|value| format!(" \\fI{}\\fR", plain(value))).unwrap_or_default();
    let default = opt.default.map(|default| format!("\nThe default is {default}.")).unwrap_or_default();
    item(&format!("\\fB{}\\fR{value}", plain(&format!("--{}", opt.name))), &format!("{}.{default}", opt.help))
}

/// `tag` is in roff already, and `text` is not.
fn item(tag: &str, text: &str) -> String {
    format!(".TP\n{tag}\n{}\n", plain(text))
}

/// Each line of a help text as a paragraph. The lists are left out: the page has sections for them.
fn prose(text: &str) -> String {
    let is_list = |paragraph: &&str| ["Usage:", "Flags:"].iter().any(|list| paragraph.starts_with(list));
    let lines = text.trim().split("\n\n").filter(|paragraph| !is_list(paragraph)).flat_map(str::lines);
    lines.map(plain).collect::<Vec<_>>().join("\n.PP\n") + "\n"
}

/// Text that is no roff: a backslash, a hyphen and what would begin a line as a command are shown as they are.
fn plain(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

const HEAD: &str = "\
.TH STREAMER 1 \"\" \"streamer VERSION\" \"User Commands\"
.SH NAME
streamer \\- tell a video platform whether a user may start one more stream
";

const TAIL: &str = "\
.SH SIGNALS
SIGTERM and SIGINT stop the server when it has finished what is under way, a second one at once.
SIGHUP reads the users or the key again.
.SH EXIT STATUS
0 when all went well, 2 for a bad flag or variable, 1 for anything else that went wrong,
and 128 plus the number of a signal that ended it at once.
.SH EXAMPLES
.nf
streamer &
curl \\-u alice: \\-X POST 'http://127.0.0.1:8000/?id=V'
.fi
";
