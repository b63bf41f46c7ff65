//! Whole command lines and environments, and what becomes of them.
//!
//! *Invariant:* no test here reads the environment or the arguments of the process it runs in.

use std::ffi::OsString;

use super::*;

/// Parses `line` split at blanks; `env` is `NAME=value` with the prefix left out, also split at blanks. What belongs to
/// others is in the environment too.
fn read(line: &str, env: &str) -> Result<Invocation, UsageError> {
    read_args(&line.split_whitespace().collect::<Vec<_>>(), env)
}

fn read_args(args: &[&str], env: &str) -> Result<Invocation, UsageError> {
    let ours = env.split_whitespace().filter_map(|pair| pair.split_once('='));
    let ours = ours.map(|(name, value)| (format!("STREAMER_{name}"), value.to_owned()));
    let others =
        [("PATH", "/bin"), ("STREAM", "1"), ("LIMIT", "9")].map(|(name, value)| (name.into(), value.into()));
    parse(args.iter().copied(), others.into_iter().chain(ours), 4, || vec!["/sbin/init".into()])
}

#[track_caller]
fn serving(line: &str, env: &str) -> Config {
    match read(line, env) {
        Ok(Invocation::Serve(config)) => config,
        other => panic!("{other:?}"),
    }
}

/// Both `line` and `env` lead to the configuration that `edit` makes of the default one.
#[track_caller]
fn check(line: &str, env: &str, edit: impl Fn(&mut Config)) {
    let mut expected = serving("", "");
    edit(&mut expected);
    assert_eq!(serving(line, ""), expected);
    assert_eq!(serving(&line.replacen(' ', "=", 1), ""), expected);
    assert_eq!(serving(&format!("serve {line}"), ""), expected);
    assert_eq!(serving("", env), expected);
}

#[track_caller]
fn refused(line: &str, env: &str, expected: &str) {
    let said = read(line, env).unwrap_err().to_string();
    assert_eq!(said, expected);
    assert!(!said.contains(char::is_control));
}

#[test]
fn has_the_defaults_of_the_contract() {
    let expected = Config {
        listen: "127.0.0.1:8000".parse().unwrap(),
        admin: Some("127.0.0.1:8001".parse().unwrap()),
        limit: 3,
        lease: Millis::from_secs(90),
        when_full: WhenFull::Refuse,
        one_per_device: false,
        endpoint: Template::parse("/?id={id}").unwrap(),
        cors: None,
        proxies: Proxies::default(),
        credentials: CredentialsKind::Open,
        store: StoreKind::Memory,
        sync: SyncPolicy::Always,
        store_timeout: Millis::from_millis(250),
        store_down: StoreDown::Refuse,
        workers: 4,
        max_connections: 10_000,
        idle: Millis::from_secs(75),
        drain: Millis::ZERO,
        grace: Millis::from_secs(10),
        log: LogFormat::Text,
    };
    assert_eq!(serving("", ""), expected);
    assert_eq!(serving("serve", ""), expected);
    assert_eq!(serving("", "LIMIT= OPEN= USERS= LISTEN="), expected);
}

const NO_ENV: [(&str, &str); 0] = [];

#[test]
fn takes_cores_for_workers_within_bounds() {
    for (cores, workers) in [(0, 1), (1, 1), (64, 64), (1024, 1024), (1025, 1024)] {
        let Ok(Invocation::Serve(config)) = parse([""; 0].into_iter(), NO_ENV.into_iter(), cores, Vec::new)
        else {
            panic!("{cores}")
        };
        assert_eq!(config.workers, workers);
    }
}

#[test]
fn sets_each_option_by_flag_and_by_variable() {
    check("--listen localhost:9000", "LISTEN=localhost:9000", |c| {
        c.listen = "127.0.0.1:9000".parse().unwrap();
    });
    check("--listen [::1]:9000", "LISTEN=[::1]:9000", |c| c.listen = "[::1]:9000".parse().unwrap());
    check("--admin :9001", "ADMIN=:9001", |c| c.admin = Some("[::]:9001".parse().unwrap()));
    check("--admin off", "ADMIN=off", |c| c.admin = None);
    check("--limit 0", "LIMIT=0", |c| c.limit = 0);
    check("--limit 1000", "LIMIT=1000", |c| c.limit = 1000);
    check("--lease 5m", "LEASE=5m", |c| c.lease = Millis::from_secs(300));
    check("--one-per-device", "ONE_PER_DEVICE=1", |c| c.one_per_device = true);
    check("--when-full refuse", "WHEN_FULL=refuse", |c| c.when_full = WhenFull::Refuse);
    check("--when-full report", "WHEN_FULL=report", |c| c.when_full = WhenFull::Report);
    check("--when-full replace-oldest", "WHEN_FULL=replace-oldest", |c| {
        c.when_full = WhenFull::ReplaceOldest;
    });
    let template = |c: &mut Config| c.endpoint = Template::parse("/{id}/{device}?a=b").unwrap();
    check("--endpoint /{id}/{device}?a=b", "ENDPOINT=/{id}/{device}?a=b", template);
    check("--cors https://a.example,null", "CORS=https://a.example,null", |c| {
        c.cors = Some(Origins::parse("https://a.example,null").unwrap());
    });
    check("--proxy 10.0.0.0/8,::1", "PROXY=10.0.0.0/8,::1", |c| {
        c.proxies = Proxies::parse("10.0.0.0/8,::1").unwrap();
    });
    check("--idle 1h", "IDLE=1h", |c| c.idle = Millis::from_secs(3600));
    check("--drain 5s", "DRAIN=5", |c| c.drain = Millis::from_secs(5));
    check("--open", "OPEN=1", |c| c.credentials = CredentialsKind::Open);
    check("--users u=1", "USERS=u=1", |c| c.credentials = CredentialsKind::Users("u=1".into()));
    check("--secret /run/key", "SECRET=/run/key", |c| {
        c.credentials = CredentialsKind::Secret("/run/key".into());
    });
    check("--store memory", "STORE=memory", |c| c.store = StoreKind::Memory);
    check("--store dir:/var/a:b", "STORE=dir:/var/a:b", |c| c.store = StoreKind::Dir("/var/a:b".into()));
    check("--sync second", "SYNC=second", |c| c.sync = SyncPolicy::Second);
    check("--store redis://:p@h/1", "STORE=redis://:p@h/1", |c| {
        c.store = StoreKind::Redis(Box::new(RedisUrl::parse("redis://:p@h/1").unwrap()));
    });
    check("--store-timeout 1s", "STORE_TIMEOUT=1s", |c| c.store_timeout = Millis::from_secs(1));
    check("--store-down local", "STORE_DOWN=local", |c| c.store_down = StoreDown::Local);
    check("--workers 1024", "WORKERS=1024", |c| c.workers = 1024);
    check("--max-connections 1000000", "MAX_CONNECTIONS=1000000", |c| c.max_connections = 1_000_000);
    check("--grace 0s", "GRACE=0", |c| c.grace = Millis::ZERO);
    check("--log off", "LOG=off", |c| c.log = LogFormat::Off);
    check("--log json", "LOG=json", |c| c.log = LogFormat::Json);
}

#[test]
fn lets_a_flag_win() {
    assert_eq!(serving("--limit 5", "LIMIT=7").limit, 5);
    assert_eq!(serving("--limit 5", "LIMIT=nonsense").limit, 5);
    assert_eq!(serving("--open", "USERS=u SECRET=s").credentials, CredentialsKind::Open);
    assert_eq!(serving("--users u", "OPEN=1").credentials, CredentialsKind::Users("u".into()));
    assert_eq!(
        serving("--users u", "USERS=v SECRET=s OPEN=maybe").credentials,
        CredentialsKind::Users("u".into())
    );
}

#[test]
fn reads_switches_from_the_environment() {
    for on in ["1", "true", "yes", "on", "ON"] {
        let env = format!("OPEN={on} LISTEN=:8000");
        assert_eq!(serving("", &env).credentials, CredentialsKind::Open);
    }
    for off in ["0", "false", "no", "off", ""] {
        assert_eq!(
            serving("", &format!("OPEN={off} USERS=u")).credentials,
            CredentialsKind::Users("u".into())
        );
        assert!(read("", &format!("OPEN={off} LISTEN=:8000")).is_err());
    }
    let expected = "STREAMER_OPEN: write 1, true, yes or on, or else 0, false, no or off, not \"maybe\"";
    refused("", "OPEN=maybe", expected);
}

#[test]
fn needs_to_know_who_gets_in_beyond_loopback() {
    for listen in ["127.0.0.1:80", "127.9.9.9:80", "localhost:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
        assert_eq!(serving(&format!("--listen {listen}"), "").credentials, CredentialsKind::Open);
    }
    let expected = "[::]:8000 can be reached from other machines, so say who gets in: --open (anybody, with any \
                    password), --users FILE (the users that the file lists) or --secret FILE (who holds a token \
                    signed with its key)";
    refused("--listen :8000", "", expected);
    refused("", "LISTEN=:8000", expected);
    for listen in ["[::]:80", "10.0.0.1:80", "[::ffff:10.0.0.1]:80"] {
        assert!(read(&format!("--listen {listen}"), "").is_err());
        assert_eq!(serving(&format!("--listen {listen} --open"), "").credentials, CredentialsKind::Open);
    }
    let exclusive = |one: &str, other: &str| {
        format!("{one} and {other} exclude each other; choose one way to say who gets in")
    };
    refused("--secret s --users u", "", &exclusive("--users", "--secret"));
    refused("--open --users u", "", &exclusive("--open", "--users"));
    refused("--open --users u --secret s", "", &exclusive("--open", "--users"));
    refused("", "OPEN=1 SECRET=s", &exclusive("STREAMER_OPEN", "STREAMER_SECRET"));
}

#[test]
fn keeps_the_listeners_apart() {
    let overlap = "--admin 127.0.0.1:8001 and --listen 127.0.0.1:8001 overlap; \
                   give one another port or write --admin off";
    refused("--listen localhost:8001", "", overlap);
    assert!(read("--open --listen :8001", "").is_err());
    assert!(read("--open --admin :8000", "").is_err());
    for line in [
        "--listen localhost:8001 --admin off",
        "--listen [::1]:8001",
        "--listen localhost:0 --admin localhost:0",
    ] {
        serving(line, "");
    }
}

#[test]
fn says_what_to_write_instead() {
    refused("--limit 1001", "", "--limit: write a whole number from 0 to 1000, not \"1001\"");
    refused("--limit=", "", "--limit: write a whole number from 0 to 1000, not \"\"");
    refused("--limit -1", "", "--limit: write a whole number from 0 to 1000, not \"-1\"");
    refused("", "LIMIT=1001", "STREAMER_LIMIT: write a whole number from 0 to 1000, not \"1001\"");
    refused(
        "",
        "MAX_CONNECTIONS=many",
        "STREAMER_MAX_CONNECTIONS: write a whole number from 1 to 1000000, not \"many\"",
    );
    refused("--workers 1025", "", "--workers: write a whole number from 1 to 1024, not \"1025\"");
    refused("--lease 25h", "", "--lease: write a time from 1s to 24h, not \"25h\"");
    refused("--grace 61m", "", "--grace: write a time from 0s to 1h, not \"61m\"");
    refused("--drain 61m", "", "--drain: write a time from 0s to 1h, not \"61m\"");
    refused("--idle 0", "", "--idle: write a time from 1s to 1h, not \"0\"");
    refused(
        "--proxy lb.example",
        "",
        "--proxy: write addresses or networks with commas between them, as in 127.0.0.1,10.0.0.0/8,::1, not \"lb.example\"",
    );
    let time = "--lease: \"soon\" is not a length of time; write a whole number and a unit: 500ms, 90s, 5m, 24h or 7d";
    refused("--lease soon", "", time);
    refused("--when-full drop", "", "--when-full: write refuse, replace-oldest or report, not \"drop\"");
    refused("--log xml", "", "--log: write text, json or off, not \"xml\"");
    refused("--users=", "", "--users: write the path of a file, not \"\"");
    refused(
        "--endpoint /{x}",
        "",
        "--endpoint: write {id} or {device}, not {x}: there is no other placeholder",
    );
    let listen = "--listen: \"8000\" lacks an address; write :8000 for all interfaces, 127.0.0.1:8000 for this machine";
    refused("--listen 8000", "", listen);
    refused("--sync never", "", "--sync: write always or second, not \"never\"");
    for store in ["dir:", "Memory", "x"] {
        let known = "write memory, dir:PATH as in dir:/var/lib/streamer, or redis://HOST:PORT";
        refused(&format!("--store {store}"), "", &format!("--store: {known}"));
        refused("", &format!("STORE={store}"), &format!("STREAMER_STORE: {known}"));
    }
}

#[test]
fn refuses_flags_out_of_form() {
    refused("--limit", "", "--limit needs a value; write --limit N");
    refused("--users --log json", "", "--users needs a value; write --users FILE");
    refused("--open=1", "", "--open takes no value; write --open alone");
    refused("--limit 3 --limit=3", "", "--limit is given twice; write it once");
    refused("--open --open", "", "--open is given twice; write it once");
    refused(
        "--limit 3 token",
        "",
        "\"token\" is one argument too many: serve takes flags alone, and a command comes before them",
    );
    refused(
        "serve -- --open",
        "",
        "\"--open\" is one argument too many: serve takes flags alone, and a command comes before them",
    );
}

#[test]
fn guesses_what_was_meant() {
    for (written, meant) in [
        ("--lmit", "--limit"),
        ("--lmiit=5", "--limit"),
        ("--lsiten", "--listen"),
        ("--Limit", "--limit"),
        ("-limit", "--limit"),
        ("--when_full", "--when-full"),
        ("--maxconnection", "--max-connections"),
        ("--opne", "--open"),
        ("--user", "--users"),
        ("--logs", "--log"),
        ("--hlep", "--help"),
    ] {
        let flag = written.split('=').next().unwrap();
        refused(written, "", &format!("there is no flag {flag}: did you mean {meant}?"));
    }
    for (written, meant) in [
        ("--port", "--listen"),
        ("--host=0.0.0.0", "--listen"),
        ("-p", "--listen"),
        ("--threads", "--workers"),
        ("--max-streams", "--limit"),
        ("--origin", "--cors"),
        ("--keep-alive", "--idle"),
        ("--trusted-proxies", "--proxy"),
    ] {
        let flag = written.split('=').next().unwrap();
        refused(written, "", &format!("there is no flag {flag}: did you mean {meant}?"));
    }
    for written in ["--config", "-c", "--config-file"] {
        let said = "there is no configuration file; write flags or variables";
        refused(&format!("{written} x"), "", &format!("there is no flag {written}: {said}"));
    }
    for written in ["--token", "--foo", "-", "-x", "--\u{1b}", "--é"] {
        let expected =
            format!("there is no flag {}: streamer --help lists those there are", written.escape_debug());
        refused(written, "", &expected);
    }
    refused("token --tll 1h", "", "there is no flag --tll: did you mean --ttl?");
    refused("token --cors x", "", "there is no flag --cors: streamer token --help lists those there are");
    refused("check --limit 3", "", "there is no flag --limit: streamer check --help lists those there are");
    refused("sevre", "", "there is no command \"sevre\": did you mean serve?");
    refused("start", "", "there is no command \"start\": write serve, token, check or help");
    refused("help start", "", "there is no command \"start\": write serve, token, check or help");
}

#[test]
fn refuses_variables_that_no_option_reads() {
    for (written, hint) in [
        ("LIMT", "did you mean STREAMER_LIMIT?"),
        ("MAX_CONNECTION", "did you mean STREAMER_MAX_CONNECTIONS?"),
        ("PORT", "did you mean STREAMER_LISTEN?"),
        ("limit", "did you mean STREAMER_LIMIT?"),
        ("CONFIG", "there is no configuration file; write flags or variables"),
        ("COLOUR_OF_THE_SKY", "every flag of streamer --help has one; unset it or rename it"),
    ] {
        let expected = format!("there is no variable STREAMER_{written}: {hint}");
        refused("", &format!("LIMIT=3 {written}=8000"), &expected);
        refused("", &format!("{written}="), &expected);
    }
    // A flag does not excuse it, but a token reads no variables, and a check only one.
    assert!(read("--limit 3", "LIMT=3").is_err());
    assert!(read("token alice", "LIMT=3").is_ok() && read("check", "LIMT=3").is_ok());
}

#[test]
fn takes_no_offence_at_what_kubernetes_says_of_a_service_of_our_name() {
    let links = "SERVICE_HOST=10.0.0.1 SERVICE_PORT=8000 SERVICE_PORT_HTTP=8000 PORT=tcp://10.0.0.1:8000 \
                 PORT_8000_TCP=tcp://10.0.0.1:8000 PORT_8000_TCP_PROTO=tcp PORT_8000_TCP_PORT=8000 \
                 PORT_8000_TCP_ADDR=10.0.0.1 API_SERVICE_HOST=10.0.0.2 API_PORT=tcp://10.0.0.2:80 \
                 API_PORT_80_TCP_ADDR=10.0.0.2 API_PORT_80_TCP=tcp://10.0.0.2:80";
    serving("", links);
    assert!(read("", "API_PORT=80").is_err());
}

#[test]
fn reads_what_token_to_make() {
    #[track_caller]
    fn check(line: &str, user: &str, kind: TokenKind) {
        assert_eq!(
            read(line, "LIMIT=7 SECRET=elsewhere OPEN=x"),
            Ok(Invocation::Token(TokenArgs { user: user.into(), kind }))
        );
    }
    let signed = |limit, ttl| TokenKind::Signed { secret: "key".into(), limit, ttl: Millis::from_secs(ttl) };
    check("token alice", "alice", TokenKind::Listed { limit: None, admin: false });
    check("token alice --limit 5", "alice", TokenKind::Listed { limit: Some(5), admin: false });
    check("token --admin --limit=5 alice", "alice", TokenKind::Listed { limit: Some(5), admin: true });
    check("token -- --help", "--help", TokenKind::Listed { limit: None, admin: false });
    check("token alice --secret key", "alice", signed(None, 86_400));
    check("token --secret=key --ttl 7d --limit 1 alice", "alice", signed(Some(1), 604_800));
    check("token --secret key -- #alice", "#alice", signed(None, 86_400));
}

#[test]
fn refuses_tokens_that_cannot_be() {
    refused("token", "", "token needs a user; write streamer token USER");
    refused(
        "token alice bob",
        "",
        "\"bob\" is one argument too many: token takes one user; quote a name with blanks",
    );
    refused("token al:ice", "", "USER: a user is 1 to 256 bytes without colons and control characters");
    refused("token #alice", "", "USER: a line that begins with # is a comment; choose another name");
    let admin = "--admin: signed tokens carry no admin mark; leave out --admin or --secret";
    refused("token alice --secret key --admin", "", admin);
    refused(
        "token alice --ttl 1h",
        "",
        "--ttl: only signed tokens expire; add --secret FILE or leave out --ttl",
    );
    refused("token alice --secret key --ttl 0s", "", "--ttl: write a time from 1s to 3650d, not \"0s\"");
    refused("token alice --limit 1001", "", "--limit: write a whole number from 0 to 1000, not \"1001\"");
    refused("token alice --secret", "", "--secret needs a value; write --secret FILE");
}

#[test]
fn reads_whom_to_check() {
    #[track_caller]
    fn check(line: &str, env: &str, authority: &str, path: &str) {
        assert_eq!(
            read(line, env),
            Ok(Invocation::Check(CheckArgs { authority: authority.into(), path: path.into() }))
        );
    }
    check("check", "", "127.0.0.1:8000", "/healthz");
    check("check", "LISTEN=", "127.0.0.1:8000", "/healthz");
    check("check", "LISTEN=:9000", "127.0.0.1:9000", "/healthz");
    check("check", "LISTEN=[::]:9000", "127.0.0.1:9000", "/healthz");
    check("check", "LISTEN=[::1]:9000 LIMT=3", "[::1]:9000", "/healthz");
    check("check", "LISTEN=10.1.2.3:9000 LIMIT=nonsense", "10.1.2.3:9000", "/healthz");
    check("check http://localhost:8001/readyz", "LISTEN=nonsense", "localhost:8001", "/readyz");
    refused(
        "check localhost",
        "",
        "URL: write http://host:port/path, as in http://127.0.0.1:8000/healthz, not \"localhost\"",
    );
    refused(
        "check http://a:1 http://b:1",
        "",
        "\"http://b:1\" is one argument too many: check takes one URL",
    );
    assert!(
        read("check", "LISTEN=nonsense").unwrap_err().to_string().starts_with("STREAMER_LISTEN: write an IP")
    );
}

#[test]
fn checks_where_the_first_process_of_a_container_listens() {
    #[track_caller]
    fn check(first: &str, expected: &str) {
        let env = [("STREAMER_LISTEN", "0.0.0.0:8000")].into_iter();
        let first = || first.split(' ').map(str::to_owned).collect();
        let Ok(Invocation::Check(args)) = parse(["check"].into_iter(), env, 1, first) else { panic!() };
        assert_eq!(args.authority, expected);
    }
    check("/streamer --open --listen :9000", "127.0.0.1:9000");
    check("/streamer serve --listen=[::1]:9000 --log off", "[::1]:9000");
    check("streamer --listen 10.0.0.1:9000", "10.0.0.1:9000");
    check("/sbin/docker-init -- /streamer --listen :9000", "127.0.0.1:9000");
    for other in ["", "/streamer", "/streamer --limit 5", "/streamer --nonsense", "/sbin/init --listen :9000"]
    {
        check(other, "127.0.0.1:8000");
    }
}

#[test]
fn helps() {
    #[track_caller]
    fn check(lines: &[&str], expected: &str) {
        for line in lines {
            match read(line, "LIMIT=nonsense") {
                Ok(Invocation::Print(text)) => assert_eq!(text, expected, "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
        assert!(expected.ends_with('\n'));
        assert!(expected.lines().all(|line| line.chars().count() <= 100 && line.trim_end() == line));
    }
    let help = help::serve();
    check(
        &["--help", "-h", "help", "serve --help", "help serve", "help --help", "--lmit --help", "--open -h"],
        &help,
    );
    check(&["token --help", "token -h", "help token", "token a b --help"], &help::token());
    check(&["check --help", "check -h", "help check"], &help::check());
    for opt in options() {
        assert!(help.contains(&format!("\n  {} ", opt.usage())), "{}", opt.name);
        assert!(opt.default.is_none_or(|default| help.contains(&format!(" [{default}]\n"))), "{}", opt.name);
    }
    assert!(
        help.contains("\n  --limit N             Streams a user may play at once, 0 to 1000 [3]\n"),
        "{help}"
    );
}

#[test]
fn completes_every_option_and_has_each_in_the_man_page() {
    #[track_caller]
    fn check<T>(command: &str, table: &[Opt<T>]) {
        let [bash, fish, zsh, man] = ["bash", "fish", "zsh", "man"].map(|topic| {
            match read(&format!("help {topic}"), "LIMIT=nonsense") {
                Ok(Invocation::Print(text)) => text,
                other => panic!("{topic}: {other:?}"),
            }
        });
        for Opt { name, value, choices, help, .. } in table {
            let choices = choices.join(" ");
            assert!(bash.contains(&format!("--{name} ")), "bash: {name}");
            let case = bash.contains(&format!("'{command} --{name}') choices="));
            assert_eq!(case, value.is_some(), "bash: {name}");
            assert!(bash.contains(&format!("='{choices}'")) || *value == Some("FILE"), "bash: {choices}");
            assert!(zsh.contains(&format!("'--{name}")), "zsh: {name}");
            assert!(zsh.replace("\\:", ":").contains(&choices), "zsh: {choices}");
            assert!(fish.contains(&format!(" -l {name} ")), "fish: {name}");
            assert!(fish.contains(&format!(" '{choices}' ")) || choices.is_empty(), "fish: {choices}");
            assert!(fish.replace("\\'", "'").contains(help), "fish: {help}");
            assert!(man.contains(&format!("\n\\fB\\-\\-{}\\fR", name.replace('-', "\\-"))), "man: {name}");
            assert!(man.replace("\\-", "-").contains(&format!("\n{help}.\n")), "man: {help}");
        }
    }
    check("serve", table::OPTIONS);
    check("token", table::TOKEN_OPTIONS);
}

#[test]
fn offers_no_choice_that_is_refused() {
    for opt in options() {
        for word in opt.choices.iter().filter(|word| !word.ends_with([':', '/'])) {
            serving(&format!("--{} {word}", opt.name), "");
        }
    }
}

#[test]
fn says_its_version() {
    for line in ["--version", "-V", "serve -V", "--lmit --version"] {
        let expected = format!("streamer {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(read(line, ""), Ok(Invocation::Print(expected)));
    }
}

#[test]
fn knows_each_name_once() {
    let mut names: Vec<_> = options().iter().map(|opt| opt.name).collect();
    assert_eq!(options()[4].variable(), "STREAMER_WHEN_FULL");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), options().len());
}

#[test]
fn takes_arguments_with_blanks_as_they_are() {
    let Ok(Invocation::Token(args)) = read_args(&["token", "alice in wonderland"], "") else { panic!() };
    assert_eq!(args.user, "alice in wonderland");
    assert!(read_args(&["--limit", " 3"], "").is_err());
    assert!(read_args(&[""], "").unwrap_err().to_string().starts_with("there is no command \"\""));
}

#[cfg(unix)]
#[test]
fn refuses_what_is_not_utf8() {
    use std::os::unix::ffi::OsStringExt;
    let args = [OsString::from("--users"), OsString::from_vec(b"u\xffx".to_vec())];
    let said = parse(args.into_iter(), NO_ENV.into_iter(), 1, Vec::new).unwrap_err();
    assert_eq!(said.to_string(), r#"the argument "u\xFFx" is not UTF-8; write it in UTF-8"#);
    let env = [("STREAMER_USERS", OsString::from_vec(b"u\xffx".to_vec()))];
    let said = parse([""; 0].into_iter(), env.into_iter(), 1, Vec::new).unwrap_err();
    assert_eq!(said.to_string(), r#"STREAMER_USERS: "u\xFFx" is not UTF-8; write it in UTF-8"#);
}
