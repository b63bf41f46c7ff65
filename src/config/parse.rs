//! Reading arguments and environment by the table.

use core::net::{IpAddr, SocketAddr};
use std::ffi::OsString;
use std::iter::Peekable;
use std::slice;

use super::env::{Env, variable};
use super::table::{DEFAULT_LISTEN, Opt, TOKEN_OPTIONS, options};
use super::values::{address, health_url, reach, switch, user};
use super::{CheckArgs, Config, CredentialsKind, Invocation, TokenArgs, UsageError, help};
use crate::codec::template::Placeholder;

/// Reads the arguments, without the program's name, and for what they leave open the environment. `cores` is how many
/// workers to run when neither says. `first` is the command line of the first process, which in a container is the
/// server: `check` alone asks for it.
///
/// A flag wins over its variable, and an empty variable counts as none. A variable whose name begins with `STREAMER_` has
/// to be an option's. A flag that says who gets in (`--open`, `--users`, `--secret`) wins over the variables of all three.
///
/// # Errors
///
/// For the first argument or variable that cannot be taken, in one line.
pub fn parse(
    args: impl Iterator<Item = impl Into<OsString>>,
    env: impl Iterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    cores: usize,
    first: impl FnOnce() -> Vec<String>,
) -> Result<Invocation, UsageError> {
    let env = Env::new(env);
    let args = args.map(|arg| utf8(arg.into())).collect::<Result<Vec<_>, _>>()?;
    let (command, args) = match args.split_first() {
        Some((first, rest)) if !first.starts_with('-') => (first.as_str(), rest),
        _ => ("serve", args.as_slice()),
    };
    let help = |command| help::of(command).map(Invocation::Print).ok_or_else(|| unknown_command(command));
    if asks_for(args, ["--help", "-h"]) {
        return help(command);
    }
    if asks_for(args, ["--version", "-V"]) {
        return Ok(Invocation::Print(version()));
    }
    match command {
        "serve" => serve(args, &env, cores).map(|config| Invocation::Serve(Box::new(config))),
        "token" => token(args).map(Invocation::Token),
        "key" => key(args),
        "check" => check(args, &env, first).map(Invocation::Check),
        "version" => Ok(Invocation::Print(version())),
        "help" => help(args.first().map_or("serve", String::as_str)),
        _ => Err(unknown_command(command)),
    }
}

fn version() -> String {
    concat!("streamer ", env!("CARGO_PKG_VERSION"), "\n").into()
}

fn utf8(arg: OsString) -> Result<String, UsageError> {
    arg.into_string()
        .map_err(|arg| UsageError(format!("the argument {arg:?} is not UTF-8; write it in UTF-8")))
}

/// Whether one of these flags is there. It wins over whatever else is wrong.
fn asks_for(args: &[String], names: [&str; 2]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| names.contains(&arg.as_str()))
}

fn unknown_command(command: &str) -> UsageError {
    let hint = closest(command, &help::COMMANDS.map(|(name, ..)| name))
        .map_or("write serve, token, key, check or help".into(), |name| format!("did you mean {name}?"));
    UsageError(format!("there is no command {command:?}: {hint}"))
}

/// The ways to say who gets in, one of which is taken.
const CREDENTIALS: [&str; 3] = ["open", "users", "secret"];

fn serve(args: &[String], env: &Env, cores: usize) -> Result<Config, UsageError> {
    let given = Given::read("streamer", options(), args)?;
    env.check()?;
    given.at_most_words(0, "serve takes flags alone, and a command comes before them")?;

    let mut config = Config::unset(cores);
    let mut credentials = Vec::new();
    for opt in options() {
        let Some((source, text)) = choose(opt, &given, env)? else { continue };
        (opt.set)(&mut config, &text).map_err(|said| UsageError(format!("{source}: {said}")))?;
        if CREDENTIALS.contains(&opt.name) {
            credentials.push(source);
        }
    }
    check_uses(&given, env, &config)?;
    if config.credentials == CredentialsKind::Open && config.store.name() != "redis" {
        // Anybody can make users here, as many as they like.
        config.max_users.get_or_insert(OPEN_USERS);
    }
    check_credentials(&credentials, &config)?;
    check_addresses(&config)?;
    Ok(config)
}

/// Where an option is set, and to which text: by its flag, else by its variable, else by default.
fn choose(opt: &Opt, given: &Given<Config>, env: &Env) -> Result<Option<(String, String)>, UsageError> {
    let flag = format!("--{}", opt.name);
    if let Some(text) = given.text(opt.name) {
        return Ok(Some((flag, text.into())));
    }
    let is_settled =
        CREDENTIALS.contains(&opt.name) && CREDENTIALS.iter().any(|name| given.text(name).is_some());
    let variable = variable(opt.name);
    if is_settled {
        return Ok(None);
    }
    match env.get(&variable)? {
        Some(text) if opt.value.is_some() => Ok(Some((variable, text.into()))),
        Some(text) => {
            let is_on = switch(text).map_err(|said| UsageError(format!("{variable}: {said}")))?;
            Ok(is_on.then(|| (variable, String::new())))
        }
        None => Ok(opt.default.map(|text| (flag, text.into()))),
    }
}

/// How many users there may be under `--open` unless `--max-users` says it: they take less than a gigabyte.
const OPEN_USERS: usize = 1_000_000;

/// An option that does nothing beside the others is a mistake in one of them.
fn check_uses(given: &Given<Config>, env: &Env, config: &Config) -> Result<(), UsageError> {
    let is_signed = matches!(config.credentials, CredentialsKind::Secret(_));
    let [is_dir, is_redis] = ["dir", "redis"].map(|name| config.store.name() == name);
    for opt in options() {
        let (is_used, with) = match opt.name {
            "audience" => (is_signed, "--secret FILE"),
            "sync" => (is_dir, "--store dir:PATH"),
            "max-users" => (!is_redis, "--store memory or dir:PATH"),
            "store-timeout" | "store-down" => (is_redis, "--store redis://HOST"),
            _ => continue,
        };
        let (flag, variable) = (given.text(opt.name).map(|_| format!("--{}", opt.name)), variable(opt.name));
        let is_given = flag.is_some() || env.get(&variable)?.is_some();
        if is_given && !is_used {
            let source = flag.unwrap_or(variable);
            return Err(UsageError(format!("{source} is for {with}; add that, or leave it out")));
        }
    }
    if config.endpoint.names(Placeholder::Pass) && config.pass.is_none() {
        return Err(UsageError("{pass} in --endpoint is for --pass FILE; add that, or leave it out".into()));
    }
    Ok(())
}

/// `sources` names the flags and variables that say who gets in.
fn check_credentials(sources: &[String], config: &Config) -> Result<(), UsageError> {
    match sources {
        [] if config.listen.ip().to_canonical().is_loopback() => Ok(()),
        [] => Err(UsageError(format!(
            "{} can be reached from other machines, so say who gets in: --open (anybody, with any password), \
             --users FILE (the users that the file lists) or --secret FILE (who holds a token signed with its key)",
            config.listen
        ))),
        [_] => Ok(()),
        [one, another, ..] => Err(UsageError(format!(
            "{one} and {another} exclude each other; choose one way to say who gets in"
        ))),
    }
}

/// Two listeners cannot share a port on one address, nor where one of them has it on every address. `[::]` takes
/// IPv4 in.
fn check_addresses(config: &Config) -> Result<(), UsageError> {
    let listen = config.listen;
    let covers = |one: IpAddr, other: IpAddr| {
        one == other || one.is_unspecified() && (one.is_ipv6() || other.is_ipv4())
    };
    let overlaps = |admin: &SocketAddr| {
        let shares_ip = covers(admin.ip(), listen.ip()) || covers(listen.ip(), admin.ip());
        admin.port() == listen.port() && admin.port() != 0 && shares_ip
    };
    match config.admin.filter(overlaps) {
        Some(admin) => Err(UsageError(format!(
            "--admin {admin} and --listen {listen} overlap; give one another port or write --admin off"
        ))),
        None => Ok(()),
    }
}

fn token(args: &[String]) -> Result<TokenArgs, UsageError> {
    let given = Given::read("streamer token", TOKEN_OPTIONS, args)?;
    given.at_most_words(1, "token takes one user; quote a name with blanks")?;
    let name = given
        .words
        .first()
        .ok_or_else(|| UsageError("token needs a user; write streamer token USER".into()))?;
    let user = user(name).map_err(|said| UsageError(format!("USER: {said}")))?;

    let mut token = TokenArgs { user, ..TokenArgs::default() };
    for (opt, text) in &given.flags {
        (opt.set)(&mut token, text).map_err(|said| UsageError(format!("--{}: {said}", opt.name)))?;
    }
    if token.secret.is_none() {
        let is_signed = token.ttl.is_some() || token.classes.is_some() || token.audience.is_some();
        if is_signed {
            let said =
                "--ttl, --class and --audience are for signed tokens; add --secret FILE or leave them out";
            return Err(UsageError(said.into()));
        }
        if token.user.starts_with('#') {
            let said = "USER: a line that begins with # is a comment; choose another name";
            return Err(UsageError(said.into()));
        }
    }
    Ok(token)
}

fn key(args: &[String]) -> Result<Invocation, UsageError> {
    let given = Given::<()>::read("streamer key", &[], args)?;
    given.at_most_words(0, "key takes nothing")?;
    Ok(Invocation::Key)
}

fn check(args: &[String], env: &Env, first: impl FnOnce() -> Vec<String>) -> Result<CheckArgs, UsageError> {
    let given = Given::<()>::read("streamer check", &[], args)?;
    given.at_most_words(1, "check takes one URL")?;
    let url = match given.words.first() {
        Some(url) => url.clone(),
        None => format!("http://{}", reach(listening(env, &first())?)),
    };
    let (authority, path) = health_url(&url).map_err(|said| UsageError(format!("URL: {said}")))?;
    Ok(CheckArgs { authority, path })
}

/// Where the server of this container listens, or else one that was started with the same environment and no flags.
fn listening(env: &Env, first: &[String]) -> Result<SocketAddr, UsageError> {
    if let Some(text) = listen_flag(first) {
        return address(&text).map_err(|said| UsageError(format!("--listen of the first process: {said}")));
    }
    let text = env.get("STREAMER_LISTEN")?;
    address(text.unwrap_or(DEFAULT_LISTEN)).map_err(|said| UsageError(format!("STREAMER_LISTEN: {said}")))
}

/// The `--listen` in a command line that runs this program, perhaps by another: `docker-init -- /streamer --listen :80`.
fn listen_flag(line: &[String]) -> Option<String> {
    let program = line.iter().position(|word| word.rsplit('/').next() == Some("streamer"))?;
    let given = Given::read("streamer", options(), &line[program + 1..]).ok()?;
    given.text("listen").map(str::to_owned)
}

/// The arguments of a command, told apart but not yet understood.
struct Given<T: 'static> {
    /// Each option at most once.
    flags: Vec<(&'static Opt<T>, String)>,
    /// What is no flag, and everything after `--`.
    words: Vec<String>,
}

type Args<'a> = Peekable<slice::Iter<'a, String>>;

impl<T> Given<T> {
    /// `command` is what to write before `--help` to see this table.
    fn read(command: &str, table: &'static [Opt<T>], args: &[String]) -> Result<Self, UsageError> {
        let mut given = Self { flags: Vec::new(), words: Vec::new() };
        let mut args = args.iter().peekable();
        while let Some(arg) = args.next() {
            if arg == "--" {
                given.words.extend(args.by_ref().cloned());
            } else if arg.starts_with('-') {
                let (opt, text) = read_flag(command, table, arg, &mut args)?;
                if given.text(opt.name).is_some() {
                    return Err(UsageError(format!("--{} is given twice; write it once", opt.name)));
                }
                given.flags.push((opt, text));
            } else {
                given.words.push(arg.clone());
            }
        }
        Ok(given)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|(opt, _)| opt.name == name).map(|(_, text)| text.as_str())
    }

    fn at_most_words(&self, most: usize, hint: &str) -> Result<(), UsageError> {
        match self.words.get(most) {
            Some(word) => Err(UsageError(format!("{word:?} is one argument too many: {hint}"))),
            None => Ok(()),
        }
    }
}

/// Reads `--flag`, `--flag=VALUE`, or `--flag` and the VALUE that follows it.
fn read_flag<T>(
    command: &str,
    table: &'static [Opt<T>],
    arg: &str,
    rest: &mut Args<'_>,
) -> Result<(&'static Opt<T>, String), UsageError> {
    let (flag, joined) = match arg.split_once('=') {
        Some((flag, text)) => (flag, Some(text)),
        None => (arg, None),
    };
    let found = table.iter().find(|opt| flag.strip_prefix("--") == Some(opt.name));
    let opt = found.ok_or_else(|| unknown_flag(command, table, flag))?;
    let text = match (opt.value, joined) {
        (None, None) => Ok(String::new()),
        (None, Some(_)) => Err(UsageError(format!("{flag} takes no value; write {flag} alone"))),
        (Some(_), Some(text)) => Ok(text.into()),
        // The next flag is no value: `--users --log json` forgot one, and a file of such a name goes after `=`.
        (Some(_), None) => rest
            .next_if(|next| !next.starts_with("--"))
            .cloned()
            .ok_or_else(|| UsageError(format!("{flag} needs a value; write {}", opt.usage()))),
    };
    text.map(|text| (opt, text))
}

fn unknown_flag<T>(command: &str, table: &[Opt<T>], flag: &str) -> UsageError {
    let names: Vec<_> = table.iter().map(|opt| opt.name).chain(["help", "version"]).collect();
    let written = flag.trim_start_matches('-');
    let hint = match closest(written, &names) {
        Some(name) => format!("did you mean --{name}?"),
        None => format!("{command} --help lists those there are"),
    };
    // Behind a colon there might be a password.
    let flag = flag.split(':').next().unwrap_or_default();
    UsageError(format!("there is no flag {}: {hint}", flag.escape_debug()))
}

/// What was probably meant: the name that differs from `written` in one place, and there by two letters at most, or one of a short name.
pub(super) fn closest<'a>(written: &str, names: &[&'a str]) -> Option<&'a str> {
    names.iter().copied().find(|name| {
        let (written, name) = (written.as_bytes(), name.as_bytes());
        let (shorter, longer) = (written.len().min(name.len()), written.len().max(name.len()));
        let begin = written.iter().zip(name).take_while(|(a, b)| a == b).count();
        let end = written.iter().rev().zip(name.iter().rev()).take_while(|(a, b)| a == b).count();
        longer - (begin + end).min(shorter) <= if name.len() < 4 { 1 } else { 2 }
    })
}
