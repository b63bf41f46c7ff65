//! Clients that do their worst, and the good ones beside them.
//!
//! Figures that are worth reading are printed; `--nocapture` shows them.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use streamer::measures::Measure;
use streamer::poller::Registry;
use streamer::store::memory::Memory;
use streamer::store::{Census, Session, Store, Swept, Ticket};
use streamer::streams::batch::Batch;
use streamer::time::Timestamp;

use crate::inside::{Before, InProcess, memory};
use crate::server::{Client, PATIENCE, Response, Server, basic, eventually, is_remote, request};
use crate::wire::read;

const GOOD: &str = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
const PARTIAL: &str = "GET /healthz HTTP/1.1\r\nHo";

fn start(flags: &[&str]) -> Server {
    Server::start(&[&["--log", "off"], flags].concat())
}

/// One good request on this connection.
#[track_caller]
fn good(client: &mut Client) {
    client.send(GOOD);
    let answer = read(client, false);
    assert_eq!((answer.status, &*answer.body), (200, "ok"));
}

/// One good request, and the beginning of another one: once the first is answered, the server knows of the second.
#[track_caller]
fn good_and_partial(client: &mut Client) {
    client.send([GOOD, PARTIAL].concat());
    assert_eq!(read(client, false).status, 200);
}

/// So many connections as are wanted, or as the system has files for on both sides.
fn affordable(wanted: usize) -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let files = files.and_then(|files| files.split_whitespace().next()?.parse().ok()).unwrap_or(1024_usize);
    wanted.min(files.saturating_sub(600))
}

// ------------------------------------------------------------------------------------------------- half-closed

#[test]
fn a_half_close_behind_whole_requests_still_gets_every_answer() {
    let server = start(&["--workers", "1"]);
    let post = "POST /?id=V HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YTpi\r\nContent-Length: 2\r\n\r\n{}";
    for (claim, input, answers) in [
        ("one", GOOD.to_owned(), 1),
        ("with a body", post.to_owned(), 1),
        ("a pipeline", GOOD.repeat(3), 3),
        ("more than a turn takes", GOOD.repeat(100), 100),
        ("more than one read takes", GOOD.repeat(2_000), 2_000),
    ] {
        let mut client = server.connect();
        client.send(&input);
        client.half_close();
        for n in 0..answers {
            assert!(matches!(read(&mut client, false).status, 200 | 201), "{claim}: answer {n}");
        }
        assert_eq!(client.rest(), b"", "{claim}");
    }
}

#[test]
fn a_half_close_in_mid_request_is_told_what_is_missing() {
    let server = start(&["--workers", "1"]);
    let head = "POST /?id=V HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YTpi\r\n";
    for (claim, input, good_ones) in [
        ("in a request line", "GET /hea".to_owned(), 0),
        ("in a head", PARTIAL.to_owned(), 0),
        ("in a body", format!("{head}Content-Length: 5\r\n\r\n1234"), 0),
        ("before a body", format!("{head}Content-Length: 5\r\n\r\n"), 0),
        ("in a chunk", format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n12"), 0),
        ("before the last line end", format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n"), 0),
        ("behind good ones", GOOD.repeat(2) + PARTIAL, 2),
        ("behind more than a turn takes", GOOD.repeat(20) + PARTIAL, 20),
    ] {
        let mut client = server.connect();
        client.send(&input);
        client.half_close();
        for _ in 0..good_ones {
            assert_eq!(read(&mut client, false).status, 200, "{claim}");
        }
        let answer = read(&mut client, false);
        assert_eq!((answer.status, answer.closes()), (400, true), "{claim}");
        assert_eq!(client.rest(), b"", "{claim}");
    }
    let mut client = server.connect();
    client.half_close();
    assert_eq!(client.rest(), b"", "who has asked nothing is answered nothing");
    let mut client = server.connect();
    client.send(GOOD.to_owned() + "\r\n");
    client.half_close();
    assert_eq!(read(&mut client, false).status, 200);
    assert_eq!(client.rest(), b"", "an empty line is no request");
}

// ------------------------------------------------------------------------------------------------------ slow

/// What the contract allows for a head, for a body, and for the reading of an answer; and what is allowed here for a
/// machine that is busy, or stands still now and then.
const TEN_SECONDS: core::ops::Range<Duration> = Duration::from_millis(9_900)..Duration::from_millis(18_000);

/// Sends `first`, then `drop` again and again; returns the answer, and when it came.
fn drip(client: &mut Client, first: &str, drop: &str) -> (Response, Duration) {
    let started = Instant::now();
    client.send(first);
    client.stream.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    while let Err(error) = client.stream.peek(&mut [0]) {
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        assert!(started.elapsed() < PATIENCE, "no answer");
        client.send(drop);
    }
    let took = started.elapsed();
    client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (read(client, false), took)
}

const LENGTH: &str =
    "POST /?id=V HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YTpi\r\nContent-Length: 8000\r\n\r\n";
const CHUNKED: &str =
    "POST /?id=V HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YTpi\r\nTransfer-Encoding: chunked\r\n\r\n";
const LAST_CHUNK: &str =
    "POST /?id=V HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YTpi\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";

/// A claim, a request that is answered first, what is sent at once, what again and again, and what was too slow.
const LATE: &[(&str, &str, &str, &str, &str)] = &[
    ("a silent head", "", PARTIAL, "", "The head"),
    ("a dripping head", "", PARTIAL, "x", "The head"),
    ("a head that drips whole lines", "", "GET / HTTP/1.1\r\n", "a: b\r\n", "The head"),
    ("a dripping head behind a request", GOOD, PARTIAL, "x", "The head"),
    ("a silent body", "", LENGTH, "", "The body"),
    ("a dripping body", "", LENGTH, "x", "The body"),
    ("dripping chunks", "", CHUNKED, "1\r\nx\r\n", "The body"),
    ("dripping trailers", "", LAST_CHUNK, "a: b\r\n", "The body"),
    ("a dripping body behind a request", GOOD, LENGTH, "x", "The body"),
];

/// All at once, because each takes ten seconds.
#[test]
fn who_takes_longer_than_ten_seconds_is_given_up_and_who_is_idle_is_not() {
    let server = &start(&["--workers", "1", "--limit", "1000"]);
    fill(server);
    thread::scope(|scope| {
        for row in LATE {
            scope.spawn(|| late(server, row));
        }
        scope.spawn(|| late_behind_its_answer(server));
        scope.spawn(|| an_answer_is_not_read(server));
        scope.spawn(|| slow_but_each_in_time(server));
        scope.spawn(|| idle(server));
    });
}

fn late(server: &Server, &(claim, before, first, drop, part): &(&str, &str, &str, &str, &str)) {
    let mut client = server.connect();
    if !before.is_empty() {
        client.send(before);
        assert_eq!(read(&mut client, false).status, 200, "{claim}");
    }
    let (answer, took) = drip(&mut client, first, drop);
    assert_eq!((answer.status, answer.closes()), (408, true), "{claim}");
    assert!(answer.body.contains(part), "{claim}: {answer:?}");
    assert!(TEN_SECONDS.contains(&took), "{claim}: after {took:?}");
    assert_eq!(client.rest(), b"", "{claim}");
}

/// A request that was answered at its head has no second answer.
fn late_behind_its_answer(server: &Server) {
    let (mut client, started) = (server.connect(), Instant::now());
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8000\r\n\r\n1");
    assert_eq!(read(&mut client, false).status, 401);
    assert_eq!(client.rest(), b"");
    let took = started.elapsed();
    assert!(TEN_SECONDS.contains(&took), "after {took:?}");
}

/// `reader` plays so many streams that a list of them fills buffers soon.
fn fill(server: &Server) {
    let mut client = server.connect();
    for n in 0..900 {
        let target = format!("POST /?id={}{n}", "x".repeat(200));
        assert_eq!(client.call("reader", &target, "").status, 201);
    }
}

/// Asks for `reader`'s list until nothing more can be sent; returns how many bytes could.
fn ask_and_never_read(client: &mut Client) -> usize {
    let list = request("GET /", &[&basic("reader", "x")], "").repeat(16);
    client.stream.set_write_timeout(Some(Duration::from_millis(700))).unwrap();
    let mut sent = 0;
    while let Ok(n) = client.stream.write(list.as_bytes()) {
        sent += n;
        assert!(sent < 64 << 20, "{sent} bytes of requests were taken");
    }
    sent
}

fn an_answer_is_not_read(server: &Server) {
    let mut client = server.connect();
    let started = Instant::now();
    ask_and_never_read(&mut client);
    eventually("it is given up", || server.metric("streamer_timeouts_total{kind=\"write\"}") == 1.0);
    let took = started.elapsed();
    println!(
        "an answer that is not read is given up after {took:?}, with the time that it took to fill all buffers"
    );
    assert!(took > TEN_SECONDS.start, "an answer that is not read: after {took:?}");
}

/// Each request has its own ten seconds.
fn slow_but_each_in_time(server: &Server) {
    let mut client = server.connect();
    for _ in 0..3 {
        let (begin, end) = GOOD.split_at(20);
        client.send(begin);
        thread::sleep(Duration::from_secs(4));
        client.send(end);
        assert_eq!(read(&mut client, false).status, 200);
    }
}

fn idle(server: &Server) {
    let (mut fresh, mut used) = (server.connect(), server.connect());
    good(&mut used);
    thread::sleep(Duration::from_secs(12));
    good(&mut fresh);
    good(&mut used);
}

// ------------------------------------------------------------------------------------------- too many of them

#[test]
fn the_longest_idle_connection_makes_room() {
    let server = start(&["--max-connections", "4", "--workers", "1"]);
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(server.connect());
        good(clients.last_mut().unwrap());
        settle();
    }
    // The first is busy once more, so the second has been idle longest now.
    good(&mut clients[0]);
    settle();
    let mut fifth = server.connect();
    good(&mut fifth);
    clients.remove(1).closed();
    settle();
    good(&mut server.connect());
    clients.remove(1).closed();
    good(&mut clients[0]);
    good(&mut clients[1]);
    good(&mut fifth);
    assert_eq!(server.metric("streamer_connections_reclaimed_total"), 2.0);
    assert_eq!(server.metric("streamer_connections_refused_total"), 0.0);
}

/// Idle times are told apart by the millisecond, and by the listener once a worker's turn has ended.
fn settle() {
    thread::sleep(Duration::from_millis(20));
}

#[test]
fn a_burst_finds_room_wherever_connections_are_idle() {
    for workers in ["1", "4"] {
        let server = start(&["--max-connections", "16", "--workers", workers]);
        let mut idle: Vec<Client> = (0..16).map(|_| server.connect()).collect();
        idle.iter_mut().for_each(good);
        settle();
        // As many again at once: each has sent its request before it could be taken for idle.
        let mut burst: Vec<Client> = (0..8)
            .map(|_| {
                let mut client = server.connect();
                client.send(GOOD);
                client
            })
            .collect();
        for client in &mut burst {
            assert_eq!(read(client, false).status, 200, "with {workers} workers");
        }
    }
}

#[test]
fn room_that_has_just_been_made_is_room() {
    let server = start(&["--max-connections", "16", "--workers", "1"]);
    for round in 0..50 {
        let mut idle: Vec<Client> = (0..16).map(|_| server.connect()).collect();
        idle.iter_mut().for_each(good);
        drop(idle);
        let mut client = server.connect();
        client.send(GOOD);
        assert_eq!(read(&mut client, false).status, 200, "round {round}");
    }
}

#[test]
fn who_comes_when_none_is_idle_is_told_to_come_later() {
    for workers in ["1", "3"] {
        let server = start(&["--max-connections", "6", "--workers", workers]);
        let mut busy: Vec<Client> = (0..6).map(|_| server.connect()).collect();
        busy.iter_mut().for_each(good_and_partial);
        for _ in 0..10 {
            let mut refused = server.connect();
            let answer = read(&mut refused, false);
            assert_eq!((answer.status, answer.closes()), (503, true), "with {workers} workers");
            assert_eq!(refused.rest(), b"");
        }
        // Who was there is served, and makes room.
        for client in &mut busy {
            client.send("st: h\r\n\r\n");
            assert_eq!(read(client, false).status, 200, "with {workers} workers");
        }
        settle();
        good(&mut server.connect());
    }
}

#[test]
fn those_who_are_refused_keep_nobody_out() {
    for workers in ["1", "3"] {
        let server = start(&["--max-connections", "6", "--workers", workers]);
        let mut busy: Vec<Client> = (0..6).map(|_| server.connect()).collect();
        busy.iter_mut().for_each(good_and_partial);
        // They read why, and never close; more of them than there is an allowance for.
        let before = Instant::now();
        let mut refused: Vec<Client> = (0..300).map(|_| server.connect()).collect();
        for client in &mut refused {
            assert_eq!(read(client, false).status, 503, "with {workers} workers");
        }
        assert!(before.elapsed() < Duration::from_secs(10), "each is told at once: {:?}", before.elapsed());
        drop(busy);
        eventually("the busy ones are gone", || server.metric("streamer_connections_open") < 260.0);
        let mut clients: Vec<Client> = (0..6).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(good);
        eventually("the refused are closed", || server.metric("streamer_connections_open") <= 7.0);
        assert_eq!(server.metric("streamer_connections_refused_total"), 300.0, "with {workers} workers");
        clients.iter_mut().for_each(good);
    }
}

#[test]
fn no_newcomer_is_closed_while_an_older_one_is_idle() {
    let server = start(&["--max-connections", "120", "--workers", "3"]);
    let mut old: Vec<Client> = (0..120).map(|_| server.connect()).collect();
    old.iter_mut().for_each(good);
    settle();
    let mut newcomers: Vec<Client> = (0..120).map(|_| server.connect()).collect();
    newcomers.iter_mut().for_each(good);
    old.into_iter().for_each(|mut client| client.closed());
    assert_eq!(server.metric("streamer_connections_refused_total"), 0.0);
}

/// So long a client may take before it makes room.
const PROMPT: Duration = Duration::from_secs(1);

#[test]
fn half_sent_heads_make_room_after_a_second_and_before_the_idle() {
    let server = start(&["--max-connections", "8", "--workers", "1"]);
    let mut idle = server.connect();
    good(&mut idle);
    let mut halves: Vec<Client> = (0..7).map(|_| server.connect()).collect();
    halves.iter_mut().for_each(good_and_partial);
    thread::sleep(PROMPT + Duration::from_millis(100));
    let mut newcomers: Vec<Client> = (0..7).map(|_| server.connect()).collect();
    newcomers.iter_mut().for_each(good);
    halves.into_iter().for_each(|mut half| half.closed());
    good(&mut idle);
    assert_eq!(server.metric("streamer_connections_refused_total"), 0.0);
}

/// Else bodies without end, which need no credentials, would keep everybody out; and so would responses that nobody reads.
#[test]
fn whatever_a_client_is_slow_with_it_makes_room() {
    let unwanted = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n";
    let rows = [
        ("a head", PARTIAL),
        ("a body", LENGTH),
        ("chunks", CHUNKED),
        ("a body of what was answered at its head", unwanted),
        ("reading", ""),
    ];
    thread::scope(|scope| {
        rows.iter().for_each(|(claim, sent)| drop(scope.spawn(|| makes_room(claim, sent))));
    });
}

fn makes_room(claim: &str, sent: &str) {
    let be_slow = |client: &mut Client| match sent {
        "" => assert!(ask_and_never_read(client) > 0),
        sent => client.send(sent),
    };
    let server = start(&["--max-connections", "8", "--workers", "1", "--limit", "1000"]);
    if claim == "reading" {
        fill(&server);
    }
    let mut slow: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    thread::scope(|scope| slow.iter_mut().for_each(|client| drop(scope.spawn(|| be_slow(client)))));
    eventually("newcomers are served", || {
        thread::sleep(PROMPT);
        let mut newcomers: Vec<Client> = (0..8).map(|_| server.connect()).collect();
        newcomers.iter_mut().for_each(|client| client.send(GOOD));
        newcomers.iter_mut().all(|client| read(client, false).status == 200)
    });
    for kind in ["head", "body", "write"] {
        server.check_metric(&format!("streamer_timeouts_total{{kind=\"{kind}\"}}"), 0.0);
    }
    println!("{claim}: {} made room", server.metric("streamer_connections_reclaimed_total"));
}

#[test]
fn whatever_keeps_operators_places_a_probe_gets_in() {
    let server = start(&["--workers", "1"]);
    let unread = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    let body = "DELETE /users/ann HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{";
    for sent in ["", "GET /rea", "GET /readyz HTTP/1.1\r\nHost: localhost\r\n", body, &unread] {
        let kept: Vec<Client> = (0..64)
            .map(|_| {
                let mut client = Client::connect(server.admin());
                client.send(sent);
                client
            })
            .collect();
        for _ in 0..3 {
            let mut probe = Client::connect(server.admin());
            probe.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(probe.answer().status, 200, "beside 64 that sent {sent:.20?}");
        }
        drop(kept);
    }
}

// -------------------------------------------------------------------------------------------- out of descriptors

/// A server that may open 64 files, and its process id.
fn short_of_files() -> (Server, u32) {
    let script = "echo process $$ >&2; ulimit -n 64; exec \"$0\" --log off --workers 1 \"$@\"";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_streamer")]).env_clear().stdout(Stdio::null());
    let server = Server::spawn(&mut command);
    let line = server.process.stderr.line("process ");
    (server, line.trim_start_matches("process ").parse().unwrap())
}

/// Processor time that a process has used.
fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[test]
fn running_out_of_descriptors_is_said_survived_and_recovered_from() {
    let (server, pid) = short_of_files();
    let said = server.process.stderr.line("64 open files");
    assert!(said.contains("ulimit -n"), "{said}");

    // Idle connections give way, so that a good client always gets in.
    let idle: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    good(&mut server.connect());
    drop(idle);

    // Connections in mid-request do not, and there is nothing left for those behind them.
    let mut early = server.connect();
    good_and_partial(&mut early);
    let mut flood: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = server.connect();
            let _ = client.stream.write(PARTIAL.as_bytes());
            client
        })
        .collect();
    let mut waiting = server.connect();
    waiting.send(GOOD);
    thread::sleep(Duration::from_millis(500));
    let before = cpu_time(pid);
    thread::sleep(Duration::from_secs(1));
    let spent = cpu_time(pid) - before;
    println!("out of descriptors: {spent:?} of processor time in a second");
    assert!(spent < Duration::from_millis(200), "it spins: {spent:?} in a second");
    early.send("st: h\r\n\r\n");
    assert_eq!(read(&mut early, false).status, 200, "who was there is served");

    flood.truncate(20);
    let mut late = server.connect();
    late.send(GOOD);
    for client in [&mut waiting, &mut late] {
        assert!(matches!(read(client, false).status, 200 | 503), "nobody waits for ever");
    }
    drop(flood);
    eventually("all is well again", || {
        let mut client = server.connect();
        client.send(GOOD);
        read(&mut client, false).status == 200
    });
}

// ------------------------------------------------------------------------------------------------------ unfair

/// How much of the greedy client's and of the modest one's was carried out in each turn.
static TURNS: Mutex<Vec<[usize; 2]>> = Mutex::new(Vec::new());
/// Held by the test to keep the worker at its turn.
static TURN: Mutex<()> = Mutex::new(());

fn note_turn(batch: &Batch) {
    let users = || batch.entries.iter().map(|entry| batch.arena.get(entry.command.user));
    let turn = [b"greedy", b"modest"].map(|name| users().filter(|user| user == name).count());
    TURNS.lock().unwrap().push(turn);
    drop(TURN.lock());
}

#[test]
fn a_pipeline_of_ten_thousand_is_answered_in_order_and_starves_nobody() {
    const REQUESTS: usize = 10_000;
    let server = InProcess::start(&["--log", "off", "--workers", "1"], Before::new(note_turn));
    let [mut first, mut greedy, mut modest] = [(); 3].map(|()| Client::connect(server.listen));
    [&mut greedy, &mut modest].into_iter().for_each(good);
    let turn = TURN.lock().unwrap();
    first.send(request("GET /?id=V", &[&basic("first", "x")], ""));
    eventually("the worker is at its turn", || TURNS.lock().unwrap().len() == 1);
    let pipeline = |user, n| {
        let request = |n| request("GET /?id=V", &[&basic(user, "x"), &format!("X-Request-Id: {n}")], "");
        (0..n).map(request).collect::<String>()
    };
    let all = pipeline("greedy", REQUESTS);
    // So much fits into the system's buffers. Both have asked before the worker goes on.
    let (begin, rest) = all.split_at(64 * 1024);
    greedy.send(begin);
    modest.send(pipeline("modest", 100));
    drop(turn);
    let mut sender = greedy.stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || sender.write_all(rest.as_bytes()).unwrap());
        for n in 0..REQUESTS {
            let answer = greedy.answer();
            assert_eq!((answer.status, answer.field("x-request-id")), (200, Some(&*n.to_string())));
        }
    });
    (0..100).for_each(|_| assert_eq!(modest.answer().status, 200));
    let turns = TURNS.lock().unwrap();
    let last = turns.iter().rposition(|[_, modest]| *modest > 0).expect("the modest one was served");
    let before: usize = turns[..=last].iter().map(|[greedy, _]| greedy).sum();
    println!("{before} of a pipeline before the last of a hundred beside it");
    // By turns of sixteen it is a hundred and some. Starved, it would be the 600 of the beginning, and more.
    assert!(before < 200, "{before} before the last of a hundred");
}

#[test]
fn who_pipelines_and_never_reads_is_read_no_further() {
    let server = start(&["--workers", "1", "--limit", "1000"]);
    fill(&server);
    let mut modest = server.connect();
    good(&mut modest);
    let before = server.metric("process_resident_memory_bytes");
    let mut greedy: Vec<Client> = (0..16).map(|_| server.connect()).collect();
    let sent = thread::scope(|scope| {
        let senders: Vec<_> =
            greedy.iter_mut().map(|client| scope.spawn(|| ask_and_never_read(client))).collect();
        while !senders.iter().all(ScopedJoinHandle::is_finished) {
            good(&mut modest);
        }
        senders.into_iter().map(|sender| sender.join().unwrap()).max()
    });
    let grown = (server.metric("process_resident_memory_bytes") - before) / 1e6;
    println!(
        "sixteen that never read could send {sent:?} bytes at most; the server has grown by {grown:.1} MB"
    );
    assert!(grown < 30.0, "{grown} MB");
    good(&mut modest);
}

// ------------------------------------------------------------------------------------------------------ floods

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let server = start(&["--workers", "2"]);
    let mut modest = server.connect();
    good(&mut modest);
    let files = server.metric("process_open_fds");
    for n in 0..3_000 {
        let mut client = server.connect();
        match n % 4 {
            0 => {}
            1 => client.send(PARTIAL),
            // The answer is not read, so closing resets the connection: while it is made, or behind it.
            2 => client.send(GOOD.repeat(3)),
            _ => {
                client.send(GOOD);
                client.stream.peek(&mut [0]).unwrap();
            }
        }
        drop(client);
        if n % 100 == 0 {
            good(&mut modest);
        }
    }
    good(&mut modest);
    eventually("all are gone", || server.metric("streamer_connections_open") == 2.0);
    eventually("their files are closed", || server.metric("process_open_fds") <= files);
    assert_eq!(server.metric("streamer_panics_total"), 0.0);
}

#[test]
fn garbage_is_refused_and_harms_nobody() {
    let server = start(&["--workers", "1"]);
    let mut modest = server.connect();
    let mut seed = std::process::id().into();
    println!("seed {seed}");
    for _ in 0..400 {
        let length = 3 + random(&mut seed) as usize % 3_000;
        let mut bytes: Vec<u8> = (0..length).map(|_| random(&mut seed) as u8).collect();
        // Half of it begins like a request.
        if random(&mut seed).is_multiple_of(2) {
            bytes.splice(0..0, GOOD.bytes().take(random(&mut seed) as usize % (GOOD.len() - 2)));
        }
        let mut client = server.connect();
        client.send(&bytes);
        client.half_close();
        let answer = read(&mut client, false);
        assert!(
            answer.closes() && (400..=505).contains(&answer.status),
            "{}: {answer:?}",
            bytes.escape_ascii()
        );
        assert_eq!(client.rest(), b"");
    }
    good(&mut modest);
    assert_eq!(server.metric("streamer_panics_total"), 0.0);
}

#[test]
fn zeros_without_end_are_no_chunk_size() {
    let server = start(&[]);
    let mut client = server.connect();
    client.send(request("POST /?id=V", &[&basic("alice", "x"), "Transfer-Encoding: chunked"], ""));
    let zeros = [b'0'; 64 * 1024];
    // Of four megabytes as much as it takes before it hangs up.
    let _ = (0..64).try_for_each(|_| client.stream.write_all(&zeros));
    let answer = read(&mut client, false);
    assert!(answer.status == 400 && answer.closes() && answer.body.contains("chunk size"), "{answer:?}");
}

/// Under `--open` anybody makes users, as many as they like.
#[test]
fn users_without_end_are_refused_and_those_who_are_there_served() {
    if is_remote() {
        return println!("skipped: an engine elsewhere bounds its own memory");
    }
    let server = start(&["--open", "--max-users", "100"]);
    let mut client = server.connect();
    for i in 0..100 {
        assert_eq!(client.call(&format!("user{i}"), "POST /?id=V", "").status, 201);
    }
    for call in ["POST /?id=V", "GET /gate?id=V", "PATCH /?id=V"] {
        let refused = client.call("late", call, "");
        assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")), "{call}");
        assert!(
            refused.body.contains("There are as many users as there may be; try again later."),
            "{refused:?}"
        );
    }
    for (user, call, status) in [
        ("late", "GET /", 200),
        ("late", "DELETE /?id=V", 404),
        ("user7", "POST /?id=W", 201),
        ("user7", "DELETE /?id=V", 200),
        ("user8", "GET /gate?id=V", 204),
    ] {
        assert_eq!(client.call(user, call, "").status, status, "{user} {call}");
    }
    assert_eq!(server.metric("streamer_users"), 100.0);
    assert_eq!(server.metric("streamer_users_max"), 100.0);
    assert_eq!(server.metric("streamer_users_refused_total"), 3.0);
}

/// Connections share a worker's buffer: what is thrown away of one must not be taken for another's.
#[test]
fn what_is_drained_of_one_client_never_gets_into_anothers_request() {
    let server = &start(&["--workers", "1"]);
    let until = Instant::now() + Duration::from_secs(1);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(move || {
                while Instant::now() < until {
                    let mut bad = server.connect();
                    bad.send("GET / HTTP/1.1\r\nbad\r\n\r\n");
                    for _ in 0..50 {
                        let evil = "GET /evil HTTP/1.1\r\nHost: h\r\nX-Request-Id: evil\r\n\r\n".repeat(10);
                        // Of a client that takes longer than two seconds the server takes no more.
                        let _ = bad.stream.write_all(evil.as_bytes());
                    }
                    assert_eq!(read(&mut bad, false).status, 400);
                }
            });
        }
        for user in ["alice", "bob", "carol"] {
            scope.spawn(move || {
                let mut client = server.connect();
                let mut n = 0;
                while Instant::now() < until {
                    n += 1;
                    let (time, id) = (format!("{}:{:02}", n / 60 % 60, n % 60), format!("{user}-{n}"));
                    let body = format!("{{\"time\":\"{time}\"}}");
                    let fields = [basic(user, "x"), format!("X-Request-Id: {id}")];
                    let whole = request("POST /?id=V", &fields.each_ref().map(String::as_str), &body);
                    // In two parts, so that half of it is kept meanwhile.
                    let (begin, end) = whole.split_at(n % whole.len());
                    client.send(begin);
                    client.send(end);
                    let answer = read(&mut client, false);
                    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
                    assert_eq!(answer.field("x-request-id"), Some(&*id));
                    assert!(answer.body.contains(&format!("\"time\":\"{time}\"")), "{time} in {answer:?}");
                }
            });
        }
    });
}

/// splitmix64
fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[test]
fn memory_returns_after_a_flood() {
    let server = start(&["--workers", "1"]);
    let n = affordable(2_000);
    let mut modest = server.connect();
    good(&mut modest);
    let resident = || server.metric("process_resident_memory_bytes") / 1e6;
    let before = resident();
    let partial = format!("GET /healthz HTTP/1.1\r\nHost: h\r\nA: {}", "a".repeat(8 * 1024));
    let mut flood: Vec<Client> = (0..n).map(|_| server.connect()).collect();
    for client in &mut flood {
        client.send(&partial);
    }
    let sent = (n * partial.len()) as f64;
    eventually("all has been read", || server.metric("streamer_received_bytes_total") >= sent);
    good(&mut modest);
    // Long enough for whoever tidies up to have seen it.
    thread::sleep(Duration::from_millis(600));
    let during = resident();
    assert!(during - before > sent / 2e6, "the flood did not arrive");
    let most = before + 0.25 * (during - before) + 2.0;

    // They complete their requests, and are idle.
    for client in &mut flood {
        client.send("\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
    eventually("idle connections hold no buffers", || resident() < most);
    let idle = resident();
    drop(flood);
    eventually("all are gone", || server.metric("streamer_connections_open") <= 2.0);
    eventually("nothing is left", || resident() < most);
    let after = resident();
    println!(
        "{n} connections with 8 KiB each: {before:.1} MB before, {during:.1} MB during, {idle:.1} MB when idle, \
         {after:.1} MB after"
    );
}

// ------------------------------------------------------------------------------------------------------ panics

fn trap(batch: &Batch) {
    let of_mallory = |user| batch.arena.get(user) == b"mallory";
    assert!(
        !batch.entries.iter().any(|entry| of_mallory(entry.command.user)),
        "this panic is part of the test"
    );
}

#[test]
fn a_panic_in_one_request_is_counted_and_the_next_are_served() {
    let server = InProcess::start(&["--log", "off", "--workers", "1"], Before::new(trap));
    let mut alice = Client::connect(server.listen);
    assert_eq!(alice.call("alice", "POST /?id=V", "").status, 201);
    for n in 1..=3 {
        let mut mallory = Client::connect(server.listen);
        mallory.send(request("GET /", &[&basic("mallory", "x")], ""));
        // Either will do: an answer that says so, or the end.
        if mallory.stream.peek(&mut [0]).unwrap() > 0 {
            assert_eq!(read(&mut mallory, false).status, 503);
        }
        assert_eq!(server.metric("streamer_panics_total"), f64::from(n));
        assert_eq!(alice.call("alice", "GET /?id=V", "").status, 200, "the worker goes on");
    }
    assert_eq!(Client::connect(server.listen).call("alice", "DELETE /?id=V", "").status, 200);
}

/// Streams in memory, in a store whose sessions panic when they end.
struct Unending(Arc<Memory>);

impl Store for Unending {
    fn session(self: Arc<Self>, _waker: Waker) -> io::Result<Box<dyn Session>> {
        Ok(Box::new(Self(Arc::clone(&self.0))))
    }

    fn sweep(&self, now: Timestamp) -> Swept {
        self.0.sweep(now)
    }

    fn census(&self) -> Option<Census> {
        self.0.census()
    }

    fn describe(&self) -> String {
        "memory, without end".into()
    }
}

impl Session for Unending {
    fn submit(&mut self, now: Timestamp, _: Ticket, batch: &mut Batch, _: &mut Registry) {
        self.0.execute(now, batch);
    }
}

impl Drop for Unending {
    fn drop(&mut self) {
        let is_of_worker = thread::current().name().is_some_and(|name| name.starts_with("worker"));
        assert!(!is_of_worker, "this panic is part of the test");
    }
}

#[test]
fn a_session_that_panics_at_its_end_does_not_hold_up_the_stop() {
    let server = InProcess::start(&["--log", "off", "--grace", "30s"], Unending(Arc::new(memory())));
    assert_eq!(Client::connect(server.listen).call("alice", "POST /?id=V", "").status, 201);
    let begun = Instant::now();
    drop(server);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// Streams in memory, in a store whose first sweep panics, and its pages' numbers while it is told to.
struct Faulty {
    memory: Arc<Memory>,
    sweeps: Arc<AtomicUsize>,
    panics: Arc<AtomicBool>,
}

impl Store for Faulty {
    fn session(self: Arc<Self>, waker: Waker) -> io::Result<Box<dyn Session>> {
        Arc::clone(&self.memory).session(waker)
    }

    fn sweep(&self, now: Timestamp) -> Swept {
        assert!(self.sweeps.fetch_add(1, SeqCst) > 0, "this panic is part of the test");
        self.memory.sweep(now)
    }

    fn census(&self) -> Option<Census> {
        self.memory.census()
    }

    fn describe(&self) -> String {
        "memory, with faults".into()
    }

    fn measures(&self) -> Vec<Measure> {
        assert!(!self.panics.load(SeqCst), "this panic is part of the test");
        Vec::new()
    }
}

#[test]
fn a_panic_of_the_store_ends_neither_the_sweeps_nor_the_pages() {
    let (sweeps, panics) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let store =
        Faulty { memory: Arc::new(memory()), sweeps: Arc::clone(&sweeps), panics: Arc::clone(&panics) };
    let server = InProcess::start(&["--log", "off", "--workers", "1"], store);
    let mut operator = Client::connect(server.admin);
    operator.send(request("GET /metrics", &[], ""));
    operator.closed();
    assert_eq!(Client::connect(server.admin).ask("GET /stats", &[], "").status, 200);
    panics.store(false, SeqCst);
    eventually("it sweeps again", || sweeps.load(SeqCst) > 2);
    assert_eq!(server.metric("streamer_panics_total") as u64, 2);
}
