//! What the memory allocator is asked for per request: nothing, once the buffers have grown.
//!
//! Figures are printed; `--nocapture` shows them. There is one counter, so one test in a process uses it.

#![allow(unsafe_code, reason = "an allocator cannot be had without; it counts, and hands on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use streamer::streams::batch::Batch;

use crate::inside::{Before, InProcess};
use crate::server::{Client, Scratch, basic, request, run};
use crate::wire::read;

/// The system's allocator, which counts what it is asked for by the threads that are watched.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often watched threads have allocated, or have had an allocation grown.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread is watched. It needs no destructor and no allocation, so an allocator may ask.
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if WATCHED.get() {
        ALLOCATIONS.fetch_add(1, Relaxed);
    }
}

// SAFETY: everything is handed on to the system's allocator as it comes.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller promises of `layout` what `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `pointer` came from `System` with this `layout`, as all do here.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Any thread that asks for streams is a worker of this test's server, and watched from then on.
fn watch(_: &Batch) {
    if !WATCHED.replace(true) {
        // One that is counted, so that it shows if none would be.
        drop(black_box(Box::new(0)));
    }
}

const ROUNDS: u64 = 1_000;
/// Enough for the server's buffers to grow as far as they will.
const WARM_UP: u64 = 200;

/// A request, and its status.
type Asked = (Vec<u8>, u16);

fn ask(user: &str, line: &str, body: &str) -> Vec<u8> {
    request(line, &[&basic(user, "x")], body).into_bytes()
}

/// How often the worker allocates while these are asked in turn, so many rounds.
fn allocations(client: &mut Client, asked: &[Asked]) -> u64 {
    let mut before = 0;
    for round in 0..WARM_UP + ROUNDS {
        if round == WARM_UP {
            before = ALLOCATIONS.load(Relaxed);
        }
        for (bytes, status) in asked {
            client.send(bytes);
            assert_eq!(read(client, false).status, *status);
        }
    }
    ALLOCATIONS.load(Relaxed) - before
}

#[test]
fn requests_in_steady_state_allocate_nothing() {
    measure("off", 0);
}

/// A log's lines wait in buffers that go from hand to hand, and each grows until it has seen the longest wait; so a few
/// times there is no telling when.
///
/// The log goes to the standard output, so this is done in a process of its own: this test, run by itself.
#[test]
fn a_log_allocates_only_until_its_buffers_have_grown() {
    const ALONE: &str = "STREAMER_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return measure("text", ROUNDS / 20);
    }
    let test = "allocations::a_log_allocates_only_until_its_buffers_have_grown";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env(ALONE, "1").stdout(Stdio::null());
    // It may take long on a loaded machine; what hangs in it gives up by itself.
    let ended = command.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("log text"), "{said}");
}

/// Tokens that are verified and passes that are signed: the same token over and over, and two by turns, as behind a proxy.
fn measure_tokens(log: &str, most: u64) {
    let scratch = Scratch::new(&format!("allocations-{log}"));
    let secret = scratch.write("secret", "a-key-for-tests-of-32-bytes-or-more");
    let keys = scratch.write("keys", "another-key-for-the-passes-of-tests");
    let token = |user: &str| {
        let claims = ["--limit", "3,live=2", "--class", "live,kids", "--secret", &secret];
        run(&[&["token", user], &claims[..]].concat()).stdout.trim_end().to_owned()
    };
    let [ann, bob] = ["ann", "bob-has-a-name-that-is-longer-than-most"].map(|user| (user, token(user)));
    let bearer = |(_, token): &(&str, String), call: &str| {
        request(call, &[&format!("Authorization: Bearer {token}")], "").into_bytes()
    };
    let as_password =
        |(user, token): &(&str, String), call: &str| request(call, &[&basic(user, token)], "").into_bytes();
    let flags = ["--workers", "1", "--log", log, "--secret", &secret, "--pass", &keys];
    let server = InProcess::start(&flags, Before::new(watch));
    let mut client = Client::connect(server.listen);
    for user in [&ann, &bob] {
        client.send(bearer(user, "POST /?id=a"));
        assert_eq!(read(&mut client, false).status, 201);
    }
    let beat = "PATCH /?id=a";
    for (name, asked) in [
        ("one token", vec![(bearer(&ann, beat), 200)]),
        ("two tokens by turns", vec![(bearer(&ann, beat), 200), (bearer(&bob, beat), 200)]),
        ("two as passwords", vec![(as_password(&ann, beat), 200), (as_password(&bob, beat), 200)]),
        ("a renewing POST", vec![(bearer(&ann, "POST /?id=a"), 200)]),
    ] {
        let n = allocations(&mut client, &asked);
        eprintln!("log {log}, --secret and --pass, {name}: {n} allocations in {ROUNDS} rounds");
        assert!(n <= most, "log {log}, {name}: {n} allocations in {ROUNDS} rounds");
    }
}

fn measure(log: &str, most: u64) {
    measure_tokens(log, most);
    let get = || (ask("alice", "GET /?id=a", ""), 200);
    let beat = || (ask("alice", "PATCH /?id=a", "{\"time\":\"1:00\"}"), 200);
    let refused = || (ask("alice", "POST /?id=d", "{\"time\":\"1:00\"}"), 409);
    let delete = |user, id| (ask(user, &format!("DELETE /?id={id}"), ""), 200);
    let post = |user, id| (ask(user, &format!("POST /?id={id}"), ""), 201);
    let long = "x".repeat(256);
    let nothing = [
        ("GET", vec![get()]),
        ("PATCH", vec![beat()]),
        ("refused POST", vec![refused()]),
        ("all three in turn", vec![get(), beat(), refused()]),
        ("renewing POST", vec![(ask("alice", "POST /?id=a", "{}"), 200)]),
        ("GET of the list", vec![(ask("alice", "GET /", ""), 200)]),
        ("DELETE of nothing", vec![(ask("alice", "DELETE /?id=d", ""), 404)]),
        ("bad query", vec![(ask("alice", "GET /?id=", ""), 400)]),
        ("no credentials", vec![(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 401)]),
    ];
    let churn = [
        ("a user's only stream", vec![post("bob", "a"), delete("bob", "a")]),
        ("a user's only stream, with a long name", vec![post("bob", &long), delete("bob", &long)]),
        ("one of three streams", vec![delete("alice", "c"), post("alice", "c")]),
    ];
    let server = InProcess::start(&["--workers", "1", "--log", log], Before::new(watch));
    let mut client = Client::connect(server.listen);
    for id in ["a", "b", "c"] {
        client.send(post("alice", id).0);
        assert_eq!(read(&mut client, false).status, 201);
    }
    assert!(ALLOCATIONS.load(Relaxed) > 0, "the counter counts");
    for (name, asked) in &nothing {
        let n = allocations(&mut client, asked);
        eprintln!("log {log}, {name}: {n} allocations in {ROUNDS} rounds");
        assert!(n <= most, "log {log}, {name}: {n} allocations in {ROUNDS} rounds");
    }
    for (name, asked) in &churn {
        let n = allocations(&mut client, asked);
        eprintln!("log {log}, POST and DELETE of {name}: {n} allocations in {ROUNDS} rounds");
        assert!(n <= 4 * ROUNDS + most, "log {log}, {name}: {n} allocations in {ROUNDS} rounds");
    }
}
