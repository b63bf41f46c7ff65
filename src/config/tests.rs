//! Whole command lines and environments, and what becomes of them.

#![cfg(all(feature = "journal", feature = "redis"))]

use std::ffi::OsString;

use super::*;
use crate::streams::limits::Limits;

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
        Ok(Invocation::Serve(config)) => *config,
        other => panic!("{other:?}"),
    }
}

/// Both `line` and `env` lead to the configuration that `edit` makes of the default one.
#[track_caller]
fn check(line: &str, env: &str, edit: impl Fn(&mut Config)) {
    let mut expected = serving("", "");
    let open = expected.max_users.take();
    edit(&mut expected);
    // The bound by default is for who lets in anybody, and counts here.
    if expected.credentials == CredentialsKind::Open && !matches!(expected.store, StoreKind::Redis(_)) {
        expected.max_users = expected.max_users.or(open);
    }
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
        limits: Limits::from(3),
        lease: Millis::from_secs(90),
        when_full: WhenFull::Refuse,
        one_per_device: false,
        require_device: false,
        endpoint: Template::parse("/?id={id}").unwrap(),
        cors: None,
        proxies: Proxies::default(),
        credentials: CredentialsKind::Open,
        audience: None,
        pass: None,
        store: StoreKind::Memory,
        sync: SyncPolicy::Always,
        store_timeout: Millis::from_millis(250),
        store_down: StoreDown::Refuse,
        workers: 4,
        max_connections: 10_000,
        max_users: Some(1_000_000),
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
    check("--limit 0", "LIMIT=0", |c| c.limits = Limits::from(0));
    check("--limit 1000", "LIMIT=1000", |c| c.limits = Limits::from(1000));
    let classes = Limits::parse(b"3,mobile=1,live=0").unwrap();
    check("--limit 3,mobile=1,live=0", "LIMIT=3,mobile=1,live=0", |c| c.limits = classes.into_owned());
    check("--lease 5m", "LEASE=5m", |c| c.lease = Millis::from_secs(300));
    check("--one-per-device", "ONE_PER_DEVICE=1", |c| c.one_per_device = true);
    check("--require-device", "REQUIRE_DEVICE=1", |c| c.require_device = true);
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
    let secret = |c: &mut Config| c.credentials = CredentialsKind::Secret("k".into());
    check("--secret k --audience tv", "SECRET=k AUDIENCE=tv", |c| {
        secret(c);
        c.audience = Some("tv".into());
    });
    check("--pass keys", "PASS=keys", |c| c.pass = Some("keys".into()));
    check("--endpoint /{id}?p={pass} --pass k", "ENDPOINT=/{id}?p={pass} PASS=k", |c| {
        c.endpoint = Template::parse("/{id}?p={pass}").unwrap();
        c.pass = Some("k".into());
    });
    check("--store memory", "STORE=memory", |c| c.store = StoreKind::Memory);
    check("--store dir:/var/a:b", "STORE=dir:/var/a:b", |c| c.store = StoreKind::Dir("/var/a:b".into()));
    check("--store dir:/v --sync second", "STORE=dir:/v SYNC=second", |c| {
        c.store = StoreKind::Dir("/v".into());
        c.sync = SyncPolicy::Second;
    });
    let redis =
        |c: &mut Config| c.store = StoreKind::Redis(Box::new(RedisUrl::parse("redis://:p@h/1").unwrap()));
    check("--store redis://:p@h/1", "STORE=redis://:p@h/1", redis);
    check("--store redis://:p@h/1 --store-timeout 1s", "STORE=redis://:p@h/1 STORE_TIMEOUT=1s", |c| {
        redis(c);
        c.store_timeout = Millis::from_secs(1);
    });
    check("--store redis://:p@h/1 --store-down allow", "STORE=redis://:p@h/1 STORE_DOWN=allow", |c| {
        redis(c);
        c.store_down = StoreDown::Allow;
    });
    check("--workers 1024", "WORKERS=1024", |c| c.workers = 1024);
    check("--max-connections 1000000", "MAX_CONNECTIONS=1000000", |c| c.max_connections = 1_000_000);
    check("--max-users 5", "MAX_USERS=5", |c| c.max_users = Some(5));
    check("--users u --max-users 5", "USERS=u MAX_USERS=5", |c| {
        c.credentials = CredentialsKind::Users("u".into());
        c.max_users = Some(5);
    });
    check("--grace 0s", "GRACE=0", |c| c.grace = Millis::ZERO);
    check("--log off", "LOG=off", |c| c.log = LogFormat::Off);
    check("--log json", "LOG=json", |c| c.log = LogFormat::Json);
}

#[test]
fn lets_a_flag_win() {
    assert_eq!(serving("--limit 5", "LIMIT=7").limits.total, 5);
    assert_eq!(serving("--limit 5", "LIMIT=nonsense").limits.total, 5);
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
    refused(
        "--limit 1001",
        "",
        "--limit: write 0 to 1000, or that for classes too as in 3,live=1, not \"1001\"",
    );
    refused("--limit=", "", "--limit: write 0 to 1000, or that for classes too as in 3,live=1, not \"\"");
    refused("--limit -1", "", "--limit: write 0 to 1000, or that for classes too as in 3,live=1, not \"-1\"");
    refused(
        "",
        "LIMIT=1001",
        "STREAMER_LIMIT: write 0 to 1000, or that for classes too as in 3,live=1, not \"1001\"",
    );
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
        "--endpoint: write {id}, {device} or {pass}, not {x}: there is no other placeholder",
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
fn refuses_what_does_nothing_beside_the_others() {
    let secret = "is for --secret FILE; add that, or leave it out";
    refused("--audience tv", "", &format!("--audience {secret}"));
    refused("--users u", "AUDIENCE=tv", &format!("STREAMER_AUDIENCE {secret}"));
    let pass = "{pass} in --endpoint is for --pass FILE; add that, or leave it out";
    refused("--endpoint /{id}?p={pass}", "", pass);
    refused("", "ENDPOINT=/{id}?p={pass}", pass);
    refused("--secret k --audience=", "", "--audience: write a name, as in tv.example, not \"\"");
    let dir = "is for --store dir:PATH; add that, or leave it out";
    let redis = "is for --store redis://HOST; add that, or leave it out";
    refused("--sync always", "", &format!("--sync {dir}"));
    refused("--sync second --store redis://h", "", &format!("--sync {dir}"));
    refused("", "SYNC=always STORE=memory", &format!("STREAMER_SYNC {dir}"));
    refused("--store-timeout 1s --store dir:/v", "", &format!("--store-timeout {redis}"));
    refused("--store-down refuse", "", &format!("--store-down {redis}"));
    let memory = "is for --store memory or dir:PATH; add that, or leave it out";
    refused("--max-users 9 --store redis://h", "", &format!("--max-users {memory}"));
    refused("", "STORE_DOWN=refuse", &format!("STREAMER_STORE_DOWN {redis}"));
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
        ("--max-connection", "--max-connections"),
        ("--opne", "--open"),
        ("--user", "--users"),
        ("--logs", "--log"),
        ("--hlep", "--help"),
    ] {
        let flag = written.split('=').next().unwrap();
        refused(written, "", &format!("there is no flag {flag}: did you mean {meant}?"));
    }
    for written in ["--token", "--foo", "--port", "--pools", "-c", "-", "-x", "--\u{1b}", "--é"] {
        let expected =
            format!("there is no flag {}: streamer --help lists those there are", written.escape_debug());
        refused(written, "", &expected);
    }
    refused("token --tll 1h", "", "there is no flag --tll: did you mean --ttl?");
    refused("token --cors x", "", "there is no flag --cors: streamer token --help lists those there are");
    refused("check --limit 3", "", "there is no flag --limit: streamer check --help lists those there are");
    refused("sevre", "", "there is no command \"sevre\": did you mean serve?");
    refused("start", "", "there is no command \"start\": write serve, token, key, check or help");
    refused("help start", "", "there is no command \"start\": write serve, token, key, check or help");
}

#[test]
fn refuses_variables_that_no_option_reads() {
    for (written, hint) in [
        ("LIMT", "did you mean STREAMER_LIMIT?"),
        ("MAX_CONNECTION", "did you mean STREAMER_MAX_CONNECTIONS?"),
        ("limit", "did you mean STREAMER_LIMIT?"),
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
    fn check(line: &str, user: &str, args: TokenArgs) {
        let expected = TokenArgs { user: user.into(), ..args };
        assert_eq!(read(line, "LIMIT=7 SECRET=elsewhere OPEN=x"), Ok(Invocation::Token(expected)));
    }
    let listed = |limit: Option<u32>, admin| TokenArgs {
        limits: limit.map(Limits::from),
        admin,
        ..TokenArgs::default()
    };
    let signed = |limit, ttl: Option<u64>| TokenArgs {
        secret: Some("key".into()),
        ttl: ttl.map(Millis::from_secs),
        ..listed(limit, false)
    };
    check("token alice", "alice", listed(None, false));
    check("token alice --limit 5", "alice", listed(Some(5), false));
    check("token --admin --limit=5 alice", "alice", listed(Some(5), true));
    check("token -- --help", "--help", listed(None, false));
    check("token alice --secret key", "alice", signed(None, None));
    check("token --secret=key --ttl 7d --limit 1 alice", "alice", signed(Some(1), Some(604_800)));
    check("token --secret key -- #alice", "#alice", signed(None, None));
    let args = TokenArgs {
        classes: Some("mobile,profile-ann".into()),
        admin: true,
        audience: Some("tv".into()),
        ..signed(None, None)
    };
    check("token --secret key --class mobile,profile-ann --admin --audience tv ops", "ops", args);
}

#[test]
fn a_password_is_never_repeated() {
    for line in [
        "redis://x:SECRET@h",
        "x:SECRET@h",
        "redis://:SEC:\"RET@h@h/0",
        "help redis://x:SECRET@h",
        "check redis://x:SECRET@h",
        "check http://x:SECRET@h:1/ redis://x:SECRET@h",
        "token a redis://x:SECRET@h",
        "key redis://x:SECRET@h",
        "--store memory redis://x:SECRET@h",
        "--store=redis//x:SECRET@h",
        "--listen redis://x:SECRET@h",
        "--limit redis://x:SECRET@h",
        "--endpoint x{redis://x:SECRET@h}",
        "--cors redis://x:SECRET@h",
        "--proxy redis://x:SECRET@h",
        "--log redis://x:SECRET@h",
        "--redis://x:SECRET@h",
        "--stoer:SECRET@h",
    ] {
        for line in [line.to_owned(), line.replace("SECRET", "SE@CRET")] {
            let said = read(&line, "").unwrap_err().to_string();
            assert!(!said.contains("SEC") && !said.contains("RET"), "{line}: {said}");
        }
    }
    refused(
        "redis://x:PW@h",
        "",
        "there is no command \"redis:…@h\": write serve, token, key, check or help",
    );
}

#[test]
fn makes_a_key_of_nothing() {
    assert_eq!(read("key", ""), Ok(Invocation::Key));
    refused("key 5", "", "\"5\" is one argument too many: key takes nothing");
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
    for flag in ["--ttl 1h", "--class mobile", "--audience tv"] {
        let said = "--ttl, --class and --audience are for signed tokens; add --secret FILE or leave them out";
        refused(&format!("token alice {flag}"), "", said);
    }
    for classes in ["", "a,b,c,d,e", "a,a", "a,,b", "Mobile", "seventeen-letters"] {
        let said =
            format!("--class: write at most 4 words of a-z, 0-9 and -, as in mobile,live, not {classes:?}");
        refused(&format!("token alice --secret key --class={classes}"), "", &said);
    }
    refused("token alice --secret key --ttl 0s", "", "--ttl: write a time from 1s to 3650d, not \"0s\"");
    refused(
        "token alice --limit 1001",
        "",
        "--limit: write 0 to 1000, or that for classes too as in 3,live=1, not \"1001\"",
    );
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
    let help = help::of("serve").unwrap();
    check(
        &["--help", "-h", "help", "serve --help", "help serve", "help --help", "--lmit --help", "--open -h"],
        &help,
    );
    check(&["token --help", "token -h", "help token", "token a b --help"], &help::of("token").unwrap());
    check(&["check --help", "check -h", "help check"], &help::of("check").unwrap());
    for opt in options() {
        assert!(help.contains(&format!("\n  {} ", opt.usage())), "{}", opt.name);
        assert!(opt.default.is_none_or(|default| help.contains(&format!(" [{default}]\n"))), "{}", opt.name);
    }
    assert!(
        help.contains("\n  --limit N             Streams a user may play at once, 0 to 1000, or by class too: 3,live=1 [3]\n"),
        "{help}"
    );
}

#[test]
fn says_its_version() {
    for line in ["--version", "-V", "version", "serve -V", "--lmit --version"] {
        let expected = format!("streamer {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(read(line, ""), Ok(Invocation::Print(expected)));
    }
}

#[test]
fn knows_each_name_once() {
    let mut names: Vec<_> = options().iter().map(|opt| opt.name).collect();
    assert_eq!(env::variable(options()[4].name), "STREAMER_WHEN_FULL");
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
