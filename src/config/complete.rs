//! Completions for shells, filled in from the tables of options.
//!
//! *Invariant:* what an option is called and takes comes from its row.

use super::help::{COMMANDS, TOPICS};
use super::table::{OPTIONS, Opt, TOKEN_OPTIONS};

/// For bash: a function that `complete` calls.
pub(super) fn bash() -> String {
    let values = bash_values("serve", OPTIONS) + &bash_values("token", TOKEN_OPTIONS);
    fill(
        include_str!("complete/streamer.bash"),
        [values, flags(OPTIONS), flags(TOKEN_OPTIONS)],
        &join(COMMANDS.iter().map(|(name, _, _)| *name)),
    )
}

/// For zsh: a function for its `fpath`.
pub(super) fn zsh() -> String {
    let describe = |name: &str, help: &str| quote(&format!("{name}:{}", escape(help, &[':'])));
    let commands = COMMANDS.iter().map(|(name, _, help)| format!("    {}\n", describe(name, help)));
    fill(
        include_str!("complete/_streamer"),
        [String::new(), lines(OPTIONS, zsh_option), lines(TOKEN_OPTIONS, zsh_option)],
        &commands.collect::<String>(),
    )
}

/// For fish: a line an option.
pub(super) fn fish() -> String {
    let commands = COMMANDS.iter().map(|(name, _, help)| {
        format!("{FISH} -n __fish_use_subcommand -a {name} -d {}\n", fish_quote(help))
    });
    let is_serve = "'not __fish_seen_subcommand_from token check help'";
    let is_token = "'__fish_seen_subcommand_from token'";
    fill(
        include_str!("complete/streamer.fish"),
        [
            String::new(),
            lines(OPTIONS, |opt| fish_option(is_serve, opt)),
            lines(TOKEN_OPTIONS, |opt| fish_option(is_token, opt)),
        ],
        &commands.collect::<String>(),
    )
}

fn fill(template: &str, [values, serve, token]: [String; 3], commands: &str) -> String {
    template
        .replace("@VALUES@", &values)
        .replace("@SERVE@", &serve)
        .replace("@TOKEN@", &token)
        .replace("@COMMANDS@", commands)
        .replace("@TOPICS@", &join(TOPICS))
}

fn join<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().collect::<Vec<_>>().join(" ")
}

fn lines<T>(table: &[Opt<T>], line: impl Fn(&Opt<T>) -> String) -> String {
    table.iter().map(line).collect()
}

fn flags<T>(table: &[Opt<T>]) -> String {
    table.iter().map(|opt| format!("--{} ", opt.name)).collect::<String>() + "--help"
}

fn takes_file<T>(opt: &Opt<T>) -> bool {
    opt.value == Some("FILE")
}

/// A case for each option that takes a value: the words to choose from, none, or `FILE`.
fn bash_values<T>(command: &str, table: &[Opt<T>]) -> String {
    let case = |opt: &Opt<T>| {
        let choices = if takes_file(opt) { "FILE".into() } else { join(opt.choices.iter().copied()) };
        format!("    '{command} --{}') choices='{choices}' ;;\n", opt.name)
    };
    table.iter().filter(|opt| opt.value.is_some()).map(case).collect()
}

/// `--flag=[help]:VALUE:action`. The action for words adds no blank behind them if one of them is only a beginning.
fn zsh_option<T>(opt: &Opt<T>) -> String {
    let words = join(opt.choices.iter().copied()).replace(':', "\\:");
    let action = match opt.choices {
        _ if takes_file(opt) => "_files".into(),
        [] => " ".into(),
        choices if choices.iter().any(|word| is_open(word)) => format!("{{compadd -S \"\" -- {words}}}"),
        _ => format!("({words})"),
    };
    let help = escape(opt.help, &['\\', '[', ']', ':']);
    let spec = match opt.value {
        Some(value) => format!("--{}=[{help}]:{}:{action}", opt.name, escape(value, &[':'])),
        None => format!("--{}[{help}]", opt.name),
    };
    format!("    {}\n", quote(&spec))
}

/// Whether a word is only a beginning.
fn is_open(word: &str) -> bool {
    word.ends_with([':', '/'])
}

const FISH: &str = "complete -c streamer";

fn fish_option<T>(condition: &str, opt: &Opt<T>) -> String {
    let value = match opt.value {
        Some(_) if takes_file(opt) => " -r -F".into(),
        Some(_) if opt.choices.is_empty() => " -x".into(),
        Some(_) => format!(" -x -a {}", fish_quote(&join(opt.choices.iter().copied()))),
        None => String::new(),
    };
    format!("{FISH} -n {condition} -l {}{value} -d {}\n", opt.name, fish_quote(opt.help))
}

fn escape(text: &str, special: &[char]) -> String {
    text.chars().flat_map(|c| special.contains(&c).then_some('\\').into_iter().chain([c])).collect()
}

/// In single quotes, as bash and zsh read them.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// In single quotes, as fish reads them.
fn fish_quote(text: &str) -> String {
    format!("'{}'", escape(text, &['\\', '\'']))
}
