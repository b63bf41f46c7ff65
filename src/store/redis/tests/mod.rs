//! A session against an engine that misbehaves on purpose, and the lessons that other clients have paid for.
//!
//! *Invariant:* what a test claims about time holds on a loaded machine too.

mod fake;

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

use fake::{Act, Fake};

use super::{Redis, Settings};
use crate::codec::redis_url::Url;
use crate::codec::resp;
use crate::store::{Interest, Registry, Session, Store, Submitted, Value};
use crate::streams::account::{Account, Policy};
use crate::streams::batch::{Action, Batch, Command, Replace, Verdict};
use crate::time::{Millis, Timestamp};

const START: Action = Action::Start { position: None, replace: Replace::ByPolicy, switch: false };
const BEAT: Action = Action::Beat { position: None, playing: None };
const TIMEOUT: Duration = Duration::from_millis(400);

/// The clock of the deadline counts in whole milliseconds, and a loaded machine may be late.
#[track_caller]
fn is_about_the_timeout(began: Instant) {
    let (took, a_tick) = (began.elapsed(), Duration::from_millis(2));
    assert!((TIMEOUT - a_tick..TIMEOUT * 3).contains(&took), "{took:?}");
}

struct AllReady;

impl Registry for AllReady {
    fn watch(&mut self, _: BorrowedFd<'_>, _: u32, _: Interest) -> std::io::Result<()> {
        Ok(())
    }

    fn unwatch(&mut self, _: BorrowedFd<'_>) {}
}

/// A store with time enough for a loaded machine.
fn patient(url: &str) -> Arc<Redis> {
    store(url, Duration::from_secs(4), false)
}

fn impatient(url: &str) -> Arc<Redis> {
    store(url, TIMEOUT, false)
}

fn store(url: &str, timeout: Duration, local: bool) -> Arc<Redis> {
    outspoken(url, timeout, local, |_| {})
}

fn outspoken(url: &str, timeout: Duration, local: bool, say: fn(&str)) -> Arc<Redis> {
    let policy = Policy { lease: Millis::from_secs(90), ..Policy::default() };
    let timeout = Millis::from_millis(timeout.as_millis() as u64);
    let url = Url::parse(url).unwrap();
    Arc::new(Redis::start(Settings { url, timeout, local, policy, say }).unwrap())
}

/// A worker with a session: it tells the session all the time that everything may be ready.
struct Worker {
    session: Box<dyn Session>,
    began: Instant,
}

fn batch(commands: &[(&str, &str, Action)]) -> Batch {
    let mut batch = Batch::default();
    for (user, key, action) in commands {
        let (user, key) = (batch.arena.add(user.as_bytes()), batch.arena.add(key.as_bytes()));
        batch.push(Command { user, key, limit: 3, action: *action });
    }
    batch
}

impl Worker {
    fn new(store: &Arc<Redis>) -> Self {
        let session = Arc::clone(store).session(Waker::noop().clone()).unwrap();
        Self { session, began: Instant::now() }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1000 + self.began.elapsed().as_millis() as u64)
    }

    /// Sends commands; those that are parked are waited for.
    fn run(&mut self, commands: &[(&str, &str, Action)]) -> Vec<(Verdict, u32)> {
        let mut batch = Batch { ticket: 7, ..batch(commands) };
        let now = self.now();
        if self.session.submit(now, &mut batch, &mut AllReady) == Submitted::Parked {
            batch = self.wait().expect("a parked batch comes back");
        }
        assert_eq!((batch.ticket, batch.entries.len()), (7, commands.len()));
        batch.entries.iter().map(|entry| (entry.outcome.verdict, entry.outcome.count)).collect()
    }

    fn one(&mut self, user: &str, key: &str, action: Action) -> Verdict {
        self.run(&[(user, key, action)])[0].0
    }

    /// Repeats what is answered 503, as a player does.
    fn surely(&mut self, user: &str, key: &str, action: Action) -> Verdict {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            match self.one(user, key, action) {
                Verdict::Unavailable if Instant::now() < until => drop(self.turn()),
                verdict => return verdict,
            }
        }
    }

    fn wait(&mut self) -> Option<Batch> {
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            if let Some(batch) = self.turn() {
                return Some(batch);
            }
        }
        None
    }

    fn turn(&mut self) -> Option<Batch> {
        std::thread::sleep(Duration::from_millis(1));
        let now = self.now();
        (0..4).for_each(|key| self.session.ready(now, key, &mut AllReady));
        while let Some(batch) = self.session.complete(now, &mut AllReady) {
            if batch.awaited.is_empty() {
                return Some(batch);
            }
            self.session.take_back(batch);
        }
        None
    }

    /// Turns until something holds.
    fn until(&mut self, what: &str, holds: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(5);
        while !holds() {
            assert!(Instant::now() < until, "still waiting until {what}");
            assert!(self.turn().is_none());
        }
    }
}

#[test]
fn commands_of_one_user_go_in_order_and_two_workers_have_one_count() {
    let fake = Fake::new();
    let store = patient(&fake.url());
    let (mut a, mut b) = (Worker::new(&store), Worker::new(&store));
    use Verdict::{Ended, Full, Info, Renewed, Started, Unknown};
    let commands = [
        ("ann", "a", BEAT),
        ("ann", "a", START),
        ("bob", "x", START),
        ("ann", "a", BEAT),
        ("ann", "b", START),
    ];
    assert_eq!(a.run(&commands), [(Unknown, 0), (Started, 1), (Started, 1), (Renewed, 1), (Started, 2)]);
    assert_eq!(b.run(&[("ann", "c", START), ("ann", "d", START)]), [(Started, 3), (Full, 3)]);
    assert_eq!(a.run(&[("ann", "a", Action::End), ("ann", "", Action::List)]), [(Ended, 2), (Info, 2)]);
    assert_eq!(b.run(&[("ann", "d", START), ("bob", "x", BEAT)]), [(Started, 3), (Renewed, 1)]);
}

#[test]
fn no_answer_is_taken_for_another_after_a_time_out() {
    let fake = Fake::with(|call| {
        if call.is("EVAL") && call.before == 0 {
            Act::Late(TIMEOUT + Duration::from_millis(200))
        } else {
            Act::Normal
        }
    });
    let store = impatient(&fake.url());
    let mut worker = Worker::new(&store);
    worker.until("it is connected", || fake.asked("TIME") == 1);
    let (began, connections) = (Instant::now(), fake.connections());
    assert_eq!(worker.one("ann", "a", START), Verdict::Unavailable);
    is_about_the_timeout(began);
    // The engine carried it out all the same; the late answer must not be taken for that to bob.
    for (user, key, expected) in [("bob", "b", Verdict::Started), ("ann", "a", Verdict::Renewed)] {
        assert_eq!(worker.surely(user, key, START), expected);
    }
    assert!(fake.connections() > connections, "the connection was used again");
}

#[test]
fn there_is_one_deadline_for_all_tries() {
    let mut n = 0;
    // Another instance is faster, each time.
    let fake = Fake::with(move |call| {
        n += 1;
        if call.is("EVAL") {
            std::thread::sleep(Duration::from_millis(20));
            let mut account = Account::default();
            let mut batch = Batch::default();
            let (user, key) = (batch.arena.add(b"ann"), batch.arena.add(format!("v{n}").as_bytes()));
            let command = Command { user, key, limit: 3, action: START };
            let now = Timestamp::from_millis(1_700_000_000_000);
            let policy = Policy { lease: Millis::from_secs(90), ..Policy::default() };
            account.apply(now, &policy, &command, &batch.arena, &mut batch.findings);
            let mut record = Vec::new();
            account.encode(&mut record);
            let mut out = Vec::new();
            resp::bulk(&record, &mut out);
            Act::Bytes(out)
        } else {
            Act::Normal
        }
    });
    let store = impatient(&fake.url());
    let began = Instant::now();
    assert_eq!(Worker::new(&store).one("ann", "a", START), Verdict::Unavailable);
    is_about_the_timeout(began);
    assert!(fake.asked("EVAL") > 3);
}

#[test]
fn an_answer_that_was_lost_is_found_in_the_record() {
    let fake =
        Fake::with(|call| if call.is("EVAL") && call.before == 0 { Act::CloseAfter } else { Act::Normal });
    let store = patient(&fake.url());
    let mut worker = Worker::new(&store);
    assert_eq!(worker.run(&[("ann", "a", START)]), [(Verdict::Started, 1)]);
    assert_eq!(worker.run(&[("ann", "a", START)]), [(Verdict::Renewed, 1)]);
}

#[test]
fn a_server_that_has_become_a_replica_is_left() {
    let fake = Fake::with(|call| {
        let readonly = "-READONLY You can't write against a read only replica.\r\n";
        if call.is("EVAL") && call.before == 0 { Act::Say(readonly.into()) } else { Act::Normal }
    });
    let store = patient(&fake.url());
    let mut worker = Worker::new(&store);
    worker.until("it is connected", || fake.asked("TIME") == 1);
    let connections = fake.connections();
    assert_eq!(worker.one("ann", "a", Action::Look), Verdict::Info);
    assert_eq!(fake.connections(), connections + 1);
}

#[test]
fn a_server_that_has_forgotten_the_script_is_sent_it_again() {
    let fake = Fake::new();
    let store = patient(&fake.url());
    let mut worker = Worker::new(&store);
    assert_eq!(worker.one("ann", "a", START), Verdict::Started);
    fake.forget_scripts();
    let commands = [("ann", "a", BEAT), ("bob", "b", START), ("joe", "c", START)];
    assert_eq!(worker.run(&commands), [(Verdict::Renewed, 1), (Verdict::Started, 1), (Verdict::Started, 1)]);
    assert_eq!(fake.asked("EVAL"), 7, "one before, three in vain, and three again");
    assert_eq!(fake.connections(), 2, "the connector's, and the session's");
}

#[test]
fn of_several_addresses_the_master_is_found() {
    let replica =
        Fake::with(
            |call| {
                if call.is("ROLE") { Act::Say("*1\r\n$5\r\nslave\r\n".into()) } else { Act::Normal }
            },
        );
    let master = Fake::new();
    let url = format!("redis://127.0.0.1:{},127.0.0.1:{}", replica.port, master.port);
    assert_eq!(Worker::new(&patient(&url)).one("ann", "a", START), Verdict::Started);
    assert_eq!((replica.asked("EVAL"), master.asked("EVAL")), (0, 1));
}

/// Two nodes: the first has the slots of `joe`, the second those of `ann`.
fn cluster(a: &Fake, b: &Fake) {
    let half = super::cluster::slot(b"streamer:joe");
    assert!(half < super::cluster::slot(b"streamer:ann"));
    for fake in [a, b] {
        fake.set_slots(&[(0, half, a.port), (half + 1, 16383, b.port)]);
    }
}

/// A store over those two, and a worker through which `joe` and `ann` play `x`.
fn playing(a: &Fake, b: &Fake, open: fn(&str) -> Arc<Redis>) -> (Arc<Redis>, Worker) {
    cluster(a, b);
    let store = open(&a.url());
    let mut worker = Worker::new(&store);
    for user in ["joe", "ann"] {
        assert_eq!(worker.surely(user, "x", START), Verdict::Started);
    }
    (store, worker)
}

#[test]
fn a_cluster_is_found_and_each_key_goes_to_its_node() {
    let (a, b) = (Fake::new(), Fake::new());
    cluster(&a, &b);
    let mut worker = Worker::new(&patient(&b.url()));
    assert_eq!(worker.run(&[("joe", "x", START), ("ann", "x", START)]), [(Verdict::Started, 1); 2]);
    assert_eq!((a.asked("EVAL"), b.asked("EVAL")), (1, 1));
}

#[test]
fn no_user_waits_for_another_users_node() {
    let (a, b) = (Fake::new(), Fake::new());
    let (_store, mut worker) = playing(&a, &b, impatient);
    a.set_rule(|call| if call.is("EVAL") { Act::Silence } else { Act::Normal });
    let began = Instant::now();
    let mut batch = batch(&[("ann", "x", BEAT), ("joe", "x", BEAT)]);
    assert_eq!(worker.session.submit(worker.now(), &mut batch, &mut AllReady), Submitted::Parked);
    let batch = loop {
        let now = worker.now();
        (0..4).for_each(|key| worker.session.ready(now, key, &mut AllReady));
        if let Some(batch) = worker.session.complete(now, &mut AllReady) {
            break batch;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(began.elapsed() < TIMEOUT / 2, "{:?}", began.elapsed());
    assert_eq!(
        (&batch.awaited[..], batch.entries[0].outcome.verdict),
        (&[false, true][..], Verdict::Renewed)
    );
    worker.session.take_back(batch);
    let batch = worker.wait().expect("it is given up");
    is_about_the_timeout(began);
    let verdicts = batch.entries.iter().map(|entry| entry.outcome.verdict);
    assert!(verdicts.eq([Verdict::Renewed, Verdict::Unavailable]));
}

#[test]
fn a_node_that_hangs_keeps_no_other_from_being_connected_to() {
    let (a, b) = (Fake::new(), Fake::new());
    let (_store, mut worker) = playing(&a, &b, patient);
    // The connection is lost, and a new one is accepted and told nothing, for the second that an attempt lasts.
    a.set_rule(|call| if call.is("EVAL") { Act::Close } else { Act::Silence });
    let before = a.connections();
    let mut batch = batch(&[("joe", "x", BEAT)]);
    assert_eq!(worker.session.submit(worker.now(), &mut batch, &mut AllReady), Submitted::Parked);
    worker.until("that one is being tried", || a.connections() > before);
    let (began, before) = (Instant::now(), b.connections());
    let mut lost = false;
    b.set_rule(
        move |call| {
            if call.is("EVAL") && !std::mem::replace(&mut lost, true) { Act::Close } else { Act::Normal }
        },
    );
    assert_eq!(worker.one("ann", "x", BEAT), Verdict::Renewed);
    assert!(
        b.connections() > before && began.elapsed() < Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_node_that_owes_very_many_answers_gets_no_more_commands() {
    let (a, b) = (Fake::new(), Fake::new());
    let (_store, mut worker) = playing(&a, &b, patient);
    a.set_rule(|_| Act::Silence);
    let is_of_a = |user: &&String| {
        super::cluster::slot(format!("streamer:{user}").as_bytes()) <= super::cluster::slot(b"streamer:joe")
    };
    let users: Vec<String> =
        (0..).map(|i| format!("user{i}")).filter(|user| is_of_a(&user)).take(8192).collect();
    let mut batch = batch(&users.iter().map(|user| (user.as_str(), "x", START)).collect::<Vec<_>>());
    assert_eq!(worker.session.submit(worker.now(), &mut batch, &mut AllReady), Submitted::Parked);
    let began = Instant::now();
    assert_eq!(worker.one("joe", "x", BEAT), Verdict::Unavailable);
    assert_eq!(worker.one("ann", "x", BEAT), Verdict::Renewed);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn redirects_are_followed_and_asking_is_said() {
    let (a, b) = (Fake::new(), Fake::new());
    cluster(&a, &b);
    let mut worker = Worker::new(&patient(&a.url()));
    for (kind, asking) in [("MOVED", 0), ("ASK", 1)] {
        let to = format!("-{kind} 1 127.0.0.1:{}\r\n", b.port);
        a.set_rule(move |call| if call.is("EVAL") { Act::Say(to.clone()) } else { Act::Normal });
        assert_ne!(worker.one("joe", kind, START), Verdict::Unavailable);
        assert_eq!(b.asked("ASKING"), asking, "{kind}");
    }
}

#[test]
fn the_map_is_asked_for_again_when_a_connection_breaks_or_says_nothing() {
    for act in [|| Act::Close, || Act::Silence] {
        let (a, b) = (Fake::new(), Fake::new());
        cluster(&a, &b);
        let store = impatient(&a.url());
        let mut worker = Worker::new(&store);
        assert_ne!(worker.surely("joe", "x", START), Verdict::Unavailable);
        assert_ne!(worker.surely("ann", "x", START), Verdict::Unavailable);
        // A dead node never says MOVED. Its slots are with the other one meanwhile.
        a.set_rule(move |_| act());
        b.set_slots(&[(0, 16383, b.port)]);
        let began = Instant::now();
        let mut tries = 0;
        while worker.one("joe", "x", START) == Verdict::Unavailable {
            tries += 1;
            assert!(began.elapsed() < Duration::from_secs(2), "not found after {tries} tries");
            // Those of the other shard are served as ever.
            let asked = Instant::now();
            assert_ne!(worker.one("ann", "x", START), Verdict::Unavailable);
            assert!(asked.elapsed() < TIMEOUT);
            worker.turn();
        }
        assert!(b.asked("CLUSTER") > 0);
    }
}

#[test]
fn while_a_node_is_down_commands_are_refused_at_once_and_its_probe_is_no_command() {
    let fake = Fake::new();
    let store = impatient(&fake.url());
    let mut worker = Worker::new(&store);
    assert_ne!(worker.surely("ann", "a", START), Verdict::Unavailable);
    fake.set_rule(|_| Act::Silence);
    assert_eq!(worker.one("ann", "a", BEAT), Verdict::Unavailable);
    worker.until("it counts as down", || !store.is_up());
    let asked = fake.asked("EVAL");
    let began = Instant::now();
    assert_eq!(worker.one("ann", "a", BEAT), Verdict::Unavailable);
    assert!(began.elapsed() < TIMEOUT / 2, "{:?}", began.elapsed());
    assert_eq!(fake.asked("EVAL"), asked);
    fake.set_rule(|_| Act::Normal);
    worker.until("it is up again", || store.is_up());
    assert_eq!(worker.surely("ann", "a", BEAT), Verdict::Renewed);
}

/// What a store has counted, by the middle of the family's name; of a distribution, how many there are.
fn counted(store: &Redis) -> impl Fn(&str) -> u64 {
    let measures = store.measures();
    move |name| {
        let is =
            |family: &str| family.trim_start_matches("streamer_store_").trim_end_matches("_total") == name;
        let value = |measure: &crate::store::Measure| match &measure.value {
            Value::Counter(n) | Value::Gauge(n) => *n,
            Value::Histogram { counts, .. } => counts.iter().sum(),
        };
        measures.iter().filter(|measure| is(measure.family)).map(value).sum()
    }
}

#[test]
fn what_happens_is_counted() {
    let (a, b) = (Fake::new(), Fake::new());
    cluster(&a, &b);
    // Time enough for a loaded machine, and not too much to wait for.
    let open = || store(&a.url(), Duration::from_millis(1500), false);
    let (here, there) = (open(), open());
    let (mut worker, mut other) = (Worker::new(&here), Worker::new(&there));
    assert_eq!(worker.surely("joe", "x", START), Verdict::Started);
    // Joe's record is not known there; and then it is another than was seen here last.
    assert_eq!(other.surely("joe", "x", BEAT), Verdict::Renewed);
    assert_eq!(worker.one("joe", "x", Action::End), Verdict::Ended);
    let (mine, theirs) = (counted(&here), counted(&there));
    assert_eq!((theirs("misses"), theirs("conflicts"), theirs("retries")), (1, 0, 1));
    assert_eq!((mine("misses"), mine("conflicts"), mine("retries")), (0, 1, 1));
    assert_eq!((mine("round_trip_seconds"), mine("refreshes"), mine("node_up")), (3, 1, 2));

    let to = format!("-MOVED 1 127.0.0.1:{}\r\n", b.port);
    a.set_rule(move |call| if call.is("EVAL") { Act::Say(to.clone()) } else { Act::Normal });
    assert_eq!(worker.one("dan", "x", START), Verdict::Started);
    let now = counted(&here);
    assert_eq!((now("redirects"), now("retries"), now("round_trip_seconds")), (1, 2, 5));
    worker.until("the map was asked for again", || counted(&here)("refreshes") == 2);

    a.set_rule(|call| if call.is("EVAL") { Act::Say("-OOM no memory\r\n".into()) } else { Act::Normal });
    let commands = [("joe", "x", BEAT), ("joe", "x", Action::Look)];
    assert_eq!(worker.run(&commands), [(Verdict::Unavailable, 0); 2]);
    a.set_rule(|call| if call.is("EVAL") { Act::Say("$1\r\n?\r\n".into()) } else { Act::Normal });
    assert_eq!(worker.one("joe", "x", BEAT), Verdict::Unavailable);
    let now = counted(&here);
    assert_eq!((now("errors"), now("corrupt"), now("unavailable"), now("timeouts")), (1, 1, 3, 0));

    let lost = now("disconnects");
    a.set_rule(|_| Act::Silence);
    // Joe's record cannot be read, so this is about another user.
    assert_eq!(worker.run(&[("amy", "x", START), ("amy", "x", BEAT)]), [(Verdict::Unavailable, 0); 2]);
    let now = counted(&here);
    assert_eq!((now("timeouts"), now("unavailable"), now("disconnects")), (2, 5, lost + 1));
    a.set_rule(|_| Act::Close);
    worker.until("the node is down", || counted(&here)("node_up") == 1);
    assert!(!here.is_up());
}

#[test]
fn sixteen_workers_make_no_storm_of_connections() {
    let fake = Fake::new();
    let store = impatient(&fake.url());
    let mut workers: Vec<Worker> = (0..16).map(|_| Worker::new(&store)).collect();
    workers.iter_mut().for_each(|worker| assert_ne!(worker.surely("ann", "a", START), Verdict::Unavailable));
    let before = fake.connections();
    fake.set_rule(|_| Act::Close);
    workers.iter_mut().for_each(|worker| assert_eq!(worker.one("ann", "a", START), Verdict::Unavailable));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        workers.iter_mut().for_each(|worker| drop(worker.turn()));
    }
    let tries = fake.connections() - before;
    // 50, 100, 200, 400 ms and their jitter, not sixteen times as many.
    assert!((2..=8).contains(&tries), "{tries}");
}

#[test]
fn an_engine_that_is_away_at_the_start_may_come_later() {
    let fake = Fake::with(|_| Act::Close);
    let store = impatient(&fake.url());
    let mut worker = Worker::new(&store);
    assert!(!store.is_up());
    assert!(store.describe().ends_with(" (away)"));
    assert_eq!(worker.one("ann", "a", START), Verdict::Unavailable);
    fake.set_rule(|_| Act::Normal);
    worker.until("it is up", || store.is_up());
    assert_ne!(worker.surely("ann", "a", START), Verdict::Unavailable);
}

#[test]
fn what_has_to_be_changed_is_said_at_the_start_without_the_password() {
    for (rule, error, url, expected) in [
        ("AUTH", "-WRONGPASS SECRET", "redis://:SECRET@", "refuses the password"),
        ("AUTH", "-ERR AUTH SECRET", "redis://:SECRET@", "wants no password"),
        ("AUTH", "-DENIED SECRET", "redis://:SECRET@", "`protected-mode no`"),
        ("PING", "-DENIED SECRET", "redis://", "`protected-mode no`"),
        ("PING", "-NOAUTH SECRET", "redis://", "wants a password"),
        ("PING", "-NOPERM SECRET", "redis://", "the rights"),
        ("SELECT", "-ERR SECRET", "redis://", "refuses the database"),
    ] {
        let fake = Fake::with(
            move |call| {
                if call.is(rule) { Act::Say(format!("{error}\r\n")) } else { Act::Normal }
            },
        );
        let url = Url::parse(&format!("{url}127.0.0.1:{}/1", fake.port)).unwrap();
        let policy = Policy::default();
        let settings = Settings { url, timeout: Millis::from_millis(250), local: false, policy, say: |_| {} };
        let said = Redis::start(settings).err().expect("it is refused");
        assert!(said.contains(expected) && !said.contains("SECRET"), "{said}");
    }
}

#[test]
fn an_engine_that_has_no_room_for_another_client_may_have_it_later() {
    let full = |_: &fake::Call| Act::Say("-ERR max number of clients reached\r\n".into());
    let fake = Fake::with(full);
    let store = impatient(&fake.url().replace("redis://", "redis://:SECRET@"));
    assert!(store.trouble().is_some_and(|trouble| trouble.contains("`maxclients`")));
    let mut worker = Worker::new(&store);
    fake.set_rule(|_| Act::Normal);
    worker.until("it is up", || store.is_up());
}

#[test]
fn the_operator_is_told_once_what_has_to_be_changed() {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let fake = Fake::new();
    let tell = |text: &str| TOLD.lock().unwrap().push(text.into());
    let store = outspoken(&fake.url(), Duration::from_secs(4), false, tell);
    let mut worker = Worker::new(&store);
    assert_eq!(worker.surely("ann", "a", START), Verdict::Started);
    let few = "-NOREPLICAS Not enough good replicas to write.\r\n";
    fake.set_rule(|call| if call.is("EVAL") { Act::Say(few.into()) } else { Act::Normal });
    (0..3).for_each(|_| assert_eq!(worker.one("ann", "a", BEAT), Verdict::Unavailable));
    fake.set_rule(|_| Act::Say("-LOADING Redis is loading\r\n".into()));
    assert_eq!(worker.one("ann", "a", BEAT), Verdict::Unavailable);
    let before = fake.connections();
    worker.until("it was tried again", || fake.connections() > before + 1);
    fake.set_rule(|_| Act::Say("-DENIED Redis is running in protected mode\r\n".into()));
    worker.until("the reason is another", || TOLD.lock().unwrap().len() == 3);
    fake.set_rule(|_| Act::Normal);
    worker.until("it answers", || TOLD.lock().unwrap().len() == 4);
    let address = format!("127.0.0.1:{}", fake.port);
    for (told, expected) in TOLD.lock().unwrap().iter().zip([
        format!("the store cannot be used: {address} takes no changes"),
        format!("the store is away: {address} says LOADING; trying on"),
        format!("the store is away: {address} is in protected mode"),
        format!("the store answers: {address}"),
    ]) {
        assert!(told.starts_with(&expected), "{told}");
    }
}

#[test]
fn readiness_says_what_the_operator_has_to_change() {
    let fake = Fake::new();
    let store = patient(&fake.url());
    let mut worker = Worker::new(&store);
    assert_eq!(worker.surely("ann", "a", START), Verdict::Started);
    let said = |expected: &str| store.trouble().is_some_and(|trouble| trouble.contains(expected));
    // One command that fails is no reason to send clients elsewhere.
    fake.set_rule(|call| if call.is("EVAL") { Act::Say("-ERR words\r\n".into()) } else { Act::Normal });
    assert_eq!((worker.one("ann", "a", BEAT), store.trouble()), (Verdict::Unavailable, None));
    let few = "-NOREPLICAS Not enough good replicas to write.\r\n";
    fake.set_rule(|call| if call.is("EVAL") { Act::Say(few.into()) } else { Act::Normal });
    assert_eq!(worker.one("ann", "a", BEAT), Verdict::Unavailable);
    assert!(said(&format!("127.0.0.1:{} takes no changes", fake.port)), "{:?}", store.trouble());
    assert!(said("`min-replicas-to-write`."), "{:?}", store.trouble());
    // No client comes while it is not ready, and so no command that would show that all is well again.
    assert_eq!(store.shared.trouble(Instant::now() + Duration::from_secs(6)), None);
    // A server that was started anew, with another configuration.
    for (error, expected) in [("NOAUTH", "wants a password"), ("DENIED", "`protected-mode no`")] {
        fake.set_rule(|_| Act::Close);
        let _ = worker.one("ann", "a", BEAT);
        fake.set_rule(move |_| Act::Say(format!("-{error} and more\r\n")));
        worker.until(expected, || said(expected));
    }
}

#[test]
fn counted_here_while_the_engine_is_away_no_viewer_is_interrupted_either_way() {
    let fake = Fake::new();
    let store = store(&fake.url(), TIMEOUT, true);
    let mut worker = Worker::new(&store);
    worker.until("it is connected", || fake.asked("TIME") == 1);
    assert_eq!(worker.one("ann", "a", START), Verdict::Started);
    assert_eq!(worker.one("ann", "z", BEAT), Verdict::Unknown);
    fake.set_rule(|_| Act::Close);
    // Past the deadline, or at once: answered here, where the stream is adopted, and the limit holds.
    let one_to_three: Vec<_> = ["a", "b", "c"].map(|key| worker.one("ann", key, BEAT)).to_vec();
    assert_eq!(one_to_three, [Verdict::Renewed; 3]);
    assert_eq!(worker.one("ann", "d", START), Verdict::Full);
    assert!(store.is_up());
    fake.set_rule(|_| Act::Normal);
    let began = Instant::now();
    let mut asked = fake.asked("EVAL");
    while fake.asked("EVAL") == asked {
        asked = fake.asked("EVAL");
        assert_eq!(worker.one("ann", "b", BEAT), Verdict::Renewed);
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    // The engine knows `a` alone, and adopts the others.
    assert_eq!(
        worker.run(&[("ann", "c", BEAT), ("ann", "d", START)]),
        [(Verdict::Renewed, 3), (Verdict::Full, 3)]
    );
}
