//! The count holds: however many start at once, and on however many workers, no user plays more than the limit.

use std::sync::Barrier;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::server::{Client, Response, Server, is_remote, shared_store};

const LIMIT: u64 = 3;

/// The number behind the first `"count":`.
#[track_caller]
fn count(answer: &Response) -> u64 {
    let (_, rest) = answer.body.split_once(r#""count":"#).unwrap_or_else(|| panic!("no count: {answer:?}"));
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().expect("a count is a number")
}

/// Has 24 clients make the same call for one user after the other, all at the same moment. Returns their answers, user by
/// user. `{i}` in the call is the client's number.
fn at_once(server: &Server, users: usize, call: &str) -> Vec<Vec<Response>> {
    at_once_on(&[server], users, call)
}

/// The same, the clients dealt to several servers.
fn at_once_on(servers: &[&Server], users: usize, call: &str) -> Vec<Vec<Response>> {
    const CLIENTS: usize = 24;
    let barrier = Barrier::new(CLIENTS);
    let one = |i: usize| {
        let mut client = servers[i % servers.len()].connect();
        let call = call.replace("{i}", &i.to_string());
        let ask = |user: usize| {
            barrier.wait();
            client.call(&format!("user{user}"), &call, "")
        };
        (0..users).map(ask).collect::<Vec<_>>()
    };
    let by_client: Vec<Vec<Response>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|i| scope.spawn(move || one(i))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    (0..users).map(|user| by_client.iter().map(|answers| answers[user].clone()).collect()).collect()
}

#[track_caller]
fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values
}

#[test]
fn of_24_parallel_starts_exactly_3_are_admitted() {
    for workers in ["1", "2", "4"] {
        let server = Server::start(&["--workers", workers, "--log", "off"]);
        for (user, answers) in at_once(&server, 60, "POST /?id=v{i}").iter().enumerate() {
            let (admitted, refused): (Vec<&Response>, Vec<&Response>) =
                answers.iter().partition(|answer| answer.status == 201);
            assert_eq!(sorted(admitted.iter().map(|answer| count(answer))), [1, 2, 3], "{user} on {workers}");
            assert!(
                refused.iter().all(|answer| answer.status == 409 && count(answer) == LIMIT),
                "{refused:?}"
            );
        }
        server.check_metric("streamer_admissions_total", 60.0 * LIMIT as f64);
        if !is_remote() {
            server.check_metric("streamer_streams{state=\"playing\"}", 60.0 * LIMIT as f64);
        }
    }
}

#[test]
fn of_24_parallel_starts_of_one_stream_one_is_new_and_none_is_refused() {
    for workers in ["1", "2", "4"] {
        let server = Server::start(&["--workers", workers, "--log", "off", "--limit", "1"]);
        for answers in at_once(&server, 20, "POST /?id=V") {
            let statuses = sorted(answers.iter().map(|answer| answer.status));
            assert!(
                statuses[..23].iter().all(|&status| status == 200) && statuses[23] == 201,
                "{statuses:?}"
            );
            assert!(answers.iter().all(|answer| count(answer) == 1));
        }
    }
}

#[test]
fn of_24_parallel_replacements_all_are_admitted_and_3_play() {
    let server = Server::start(&["--workers", "4", "--log", "off"]);
    for (user, answers) in at_once(&server, 20, "POST /?id=v{i}&replace=").iter().enumerate() {
        assert!(answers.iter().all(|answer| answer.status == 201 && count(answer) <= LIMIT), "{answers:?}");
        let replaced = answers.iter().filter(|answer| answer.body.contains(r#""replaced":{"id":"v"#)).count();
        assert_eq!(replaced, 21);
        assert_eq!(count(&server.call(&format!("user{user}"), "GET /", "")), LIMIT);
    }
}

/// Random numbers good enough to mix calls with: xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

/// Makes one random call for one of four users; holds what it answers to the limit.
fn churn(client: &mut Client, random: &mut Random) {
    let stream = |random: &mut Random| {
        let (id, device) = (random.one_of(&["A", "B", "C", "D", "E"]), random.one_of(&["", "&device=tv"]));
        format!("id={id}{device}")
    };
    let target = format!("/?{}", stream(random));
    let (call, body) = match random.below(10) {
        0..3 => (format!("POST {target}"), ""),
        3 => (format!("POST {target}&replace="), ""),
        4 => (format!("POST {target}&replace={}", random.one_of(&["A", "B&replaceDevice=tv", "C"])), ""),
        5 => (format!("PATCH {target}"), random.one_of(&["", r#"{"time":"1:00"}"#])),
        6 => (format!("PATCH {target}"), random.one_of(&[r#"{"state":"paused"}"#, r#"{"state":"playing"}"#])),
        7 => (format!("DELETE {target}"), ""),
        8 => (format!("GET {target}"), ""),
        _ => ("GET /".to_owned(), ""),
    };
    let user = random.one_of(&["ann", "bob", "cat", "dan"]);
    let answer = client.call(user, &call, body);
    assert!([200, 201, 404, 409, 410].contains(&answer.status), "{call}: {answer:?}");
    assert!(count(&answer) <= LIMIT, "{call}: {answer:?}");
    if call == "GET /" || answer.status == 409 {
        let playing = answer.body.matches(r#""state":"playing""#).count() as u64;
        assert_eq!(playing, count(&answer), "{call}: {answer:?}");
    }
    if answer.status == 409 {
        assert_eq!(count(&answer), LIMIT, "{call}: {answer:?}");
    }
}

#[test]
fn under_churn_no_answer_ever_counts_more_than_the_limit() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    println!("seed {seed}");
    for workers in ["2", "4"] {
        let server = Server::start(&["--workers", workers, "--log", "off"]);
        thread::scope(|scope| {
            for i in 0..8 {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.connect();
                    let mut random = Random(seed.wrapping_mul(2 * i + 1));
                    for _ in 0..1500 {
                        churn(&mut client, &mut random);
                    }
                });
            }
        });
        let mut client = server.connect();
        for user in ["ann", "bob", "cat", "dan"] {
            for id in ["A", "B", "C", "D", "E"] {
                for device in ["", "&device=tv"] {
                    let status = client.call(user, &format!("DELETE /?id={id}{device}"), "").status;
                    assert!([200, 404].contains(&status));
                }
            }
            let empty = r#"{"canWatch":true,"endpoint":null,"count":0,"limit":3,"streams":[]}"#;
            assert_eq!(client.call(user, "GET /", "").body, empty);
        }
        for state in ["playing", "paused"].into_iter().filter(|_| !is_remote()) {
            server.check_metric(&format!("streamer_streams{{state=\"{state}\"}}"), 0.0);
        }
    }
}

#[test]
fn of_parallel_starts_on_two_servers_exactly_3_are_admitted() {
    let Some(store) = shared_store("parallel") else { return };
    let flags = ["--store", &store, "--store-timeout", "5s", "--log", "off"];
    let (a, b) = (Server::start(&flags), Server::start(&flags));
    for (user, answers) in at_once_on(&[&a, &b], 200, "POST /?id=v{i}").iter().enumerate() {
        let admitted = answers.iter().filter(|answer| answer.status == 201);
        assert_eq!(sorted(admitted.map(count)), [1, 2, 3], "{user}");
        let refused = answers.iter().filter(|answer| answer.status != 201);
        assert!(refused.into_iter().all(|answer| answer.status == 409 && count(answer) == LIMIT), "{user}");
    }
}

#[test]
fn a_client_that_is_moved_at_every_request_is_served_as_by_one_server() {
    let Some(store) = shared_store("moved") else { return };
    let flags = ["--store", &store, "--store-timeout", "5s"];
    let servers = [Server::start(&flags), Server::start(&flags)];
    let mut clients = [servers[0].connect(), servers[1].connect()];
    for (i, (call, body, status, expected)) in [
        ("POST /?id=A", r#"{"time":"1:00"}"#, 201, r#""count":1"#),
        ("PATCH /?id=A", r#"{"time":"2:00"}"#, 200, r#""time":"2:00""#),
        ("POST /?id=B&device=tv", "", 201, r#""count":2"#),
        ("PATCH /?id=A", r#"{"state":"paused"}"#, 200, r#""count":1"#),
        ("POST /?id=C", "", 201, r#""count":2"#),
        ("POST /?id=D", "", 201, r#""count":3"#),
        ("PATCH /?id=A", r#"{"state":"playing"}"#, 409, r#""count":3"#),
        ("POST /?id=E&replace=C", "", 201, r#""replaced":{"id":"C"}"#),
        ("PATCH /?id=C", "", 410, r#""reason":"replaced""#),
        ("POST /?id=F&device=tv&switch", "", 201, r#""replaced":{"id":"B","device":"tv"}"#),
        ("DELETE /?id=D", "", 200, r#""count":2"#),
        ("PATCH /?id=D", "", 410, r#""reason":"stopped""#),
        ("GET /", "", 200, r#""time":"2:00","state":"paused""#),
    ]
    .iter()
    .enumerate()
    {
        let answer = clients[i % 2].call("alice", call, body);
        assert_eq!(answer.status, *status, "{call}: {answer:?}");
        assert!(answer.body.contains(expected), "{call}: {answer:?}");
    }
}
