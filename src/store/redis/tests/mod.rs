//! A session against an engine that misbehaves on purpose, and the lessons that other clients have paid for.
//!
//! *Invariant:* what a test claims about time holds on a loaded machine too. (Not tested.)

mod fake;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

use fake::{Act, Fake};

use super::url::Url;
use super::{Redis, Settings, resp};
use crate::measures::Reading;
use crate::poller::{Poll, Poller, Registry};
use crate::store::{Session, Store, Ticket};
use crate::streams::account::{Account, Policy};
use crate::streams::batch::{Action, Batch, Command, Lack, Verdict};
use crate::streams::position::Position;
use crate::time::{Millis, Timestamp};

const START: Action = Action::start();
const BEAT: Action = Action::beat();
const TIMEOUT: Duration = Duration::from_millis(1000);
/// What comes at once, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// The clock of the deadline counts in whole milliseconds, and a loaded machine may be late.
#[track_caller]
fn is_about_the_timeout(began: Instant) {
    let (took, a_tick) = (began.elapsed(), Duration::from_millis(2));
    assert!((TIMEOUT - a_tick..TIMEOUT * 3).contains(&took), "{took:?}");
}

/// A store with time enough for a loaded machine.
fn patient(url: &str) -> Arc<Redis> {
    found(store(url, PATIENCE))
}

/// Waits until a store has found out who has the keys: a start does not wait for long, and commands wait not at all.
fn found(store: Arc<Redis>) -> Arc<Redis> {
    let until = Instant::now() + PATIENCE;
    while store.describe().ends_with(" (away)") {
        assert!(Instant::now() < until, "nobody has the keys");
        std::thread::sleep(Duration::from_millis(1));
    }
    store
}

fn impatient(url: &str) -> Arc<Redis> {
    store(url, TIMEOUT)
}

fn store(url: &str, timeout: Duration) -> Arc<Redis> {
    outspoken(url, timeout, |text| println!("{text}"))
}

fn outspoken(url: &str, timeout: Duration, say: fn(&str)) -> Arc<Redis> {
    let policy = Policy { lease: Millis::from_secs(90), ..Policy::default() };
    let timeout = Millis::from_millis(timeout.as_millis() as u64);
    let url = Url::parse(url).unwrap();
    Arc::new(Redis::start(Settings { url, timeout, policy, say }).unwrap())
}

/// A worker with a session: it tells the session all the time that everything may be ready.
struct Worker {
    session: Box<dyn Session>,
    poller: Poller,
    began: Instant,
    patience: Millis,
    next_ticket: Ticket,
    /// Batches of which something waits, and until when they do.
    parked: Vec<(Timestamp, Ticket, Batch)>,
}

fn batch(commands: &[(&str, &str, Action)]) -> Batch {
    let mut batch = Batch::default();
    for (user, key, action) in commands {
        let (user, key) = (batch.arena.add(user.as_bytes()), batch.arena.add(key.as_bytes()));
        batch.push(Command::new(user, key, 3, *action));
    }
    batch
}

impl Worker {
    fn new(store: &Arc<Redis>) -> Self {
        let session = Arc::clone(store).session(Waker::noop().clone()).unwrap();
        let (poller, parked) = (Poller::new(4).unwrap(), Vec::new());
        Self { session, poller, began: Instant::now(), patience: store.patience(), next_ticket: 0, parked }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1000 + self.began.elapsed().as_millis() as u64)
    }

    fn submit(&mut self, mut batch: Batch) -> Ticket {
        let now = self.now();
        self.next_ticket += 1;
        self.session.submit(now, self.next_ticket, &mut batch, &mut Registry(&mut self.poller));
        self.parked.push((now + self.patience, self.next_ticket, batch));
        self.next_ticket
    }

    /// The batch of this ticket, if nothing of it waits any more.
    fn done(&mut self, ticket: Ticket) -> Option<Batch> {
        let is_done = |(_, other, batch): &(_, Ticket, Batch)| *other == ticket && !batch.waits();
        let at = self.parked.iter().position(is_done)?;
        Some(self.parked.remove(at).2)
    }

    fn wait(&mut self, ticket: Ticket) -> Batch {
        loop {
            match self.done(ticket) {
                Some(batch) => return batch,
                None => self.turn(),
            }
        }
    }

    /// Sends commands; those that are parked are waited for.
    fn run(&mut self, commands: &[(&str, &str, Action)]) -> Vec<(Verdict, u32)> {
        let ticket = self.submit(batch(commands));
        let batch = self.wait(ticket);
        assert_eq!(batch.entries.len(), commands.len());
        batch.entries.iter().map(|entry| (entry.outcome.verdict, entry.outcome.count)).collect()
    }

    fn one(&mut self, user: &str, key: &str, action: Action) -> Verdict {
        self.run(&[(user, key, action)])[0].0
    }

    /// Repeats what is answered 503, as a player does.
    fn surely(&mut self, user: &str, key: &str, action: Action) -> Verdict {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.one(user, key, action) {
                Verdict::Unavailable if Instant::now() < until => self.turn(),
                verdict => return verdict,
            }
        }
    }

    fn turn(&mut self) {
        std::thread::sleep(Duration::from_millis(1));
        let now = self.now();
        let Self { session, poller, parked, .. } = self;
        let registry = &mut Registry(poller);
        (0..4).for_each(|key| session.ready(now, key, registry));
        while let Some(ticket) = session.complete(now, registry) {
            if let Some((.., batch)) = parked.iter_mut().find(|(_, other, _)| *other == ticket) {
                session.resume(now, ticket, batch, registry);
            }
        }
        parked.iter_mut().filter(|(due, ..)| *due <= now).for_each(|(.., batch)| batch.give_up());
    }

    /// Turns until something holds.
    fn until(&mut self, what: &str, holds: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < until, "still waiting until {what}");
            self.turn();
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
    let (tell, late) = channel();
    let mut late = Some(late);
    let fake = Fake::with(move |call| match late.take_if(|_| call.is("EVAL")) {
        Some(late) => Act::Late(late),
        None => Act::Normal,
    });
    let store = impatient(&fake.url());
    let mut worker = Worker::new(&store);
    worker.until("it is connected", || fake.asked("TIME") > 1);
    let (began, connections) = (Instant::now(), fake.connections());
    assert_eq!(worker.one("ann", "a", START), Verdict::Unavailable);
    is_about_the_timeout(began);
    worker.until("there is another connection", || fake.connections() > connections);
    tell.send(()).unwrap();
    // The engine carried it out all the same; the late answer must not be taken for that to bob.
    for (user, key, expected) in [("bob", "b", Verdict::Started), ("ann", "a", Verdict::Renewed)] {
        assert_eq!(worker.surely(user, key, START), expected);
    }
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
            let command = Command::new(user, key, 3, START);
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
    let store = found(impatient(&fake.url()));
    let mut worker = Worker::new(&store);
    worker.until("it is connected", || fake.asked("TIME") > 1);
    // A machine that stands still for most of a second has no time for several tries; hardly three times.
    let are_several = |_| {
        let (began, before) = (Instant::now(), fake.asked("EVAL"));
        assert_eq!(worker.one("ann", "a", START), Verdict::Unavailable);
        is_about_the_timeout(began);
        fake.asked("EVAL") > before + 3
    };
    assert!((0..3).any(are_several));
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
fn a_lost_answer_is_not_taken_for_what_another_record_says() {
    for (action, expected) in [(START, Verdict::Started), (Action::End, Verdict::Unavailable)] {
        let fake = Fake::new();
        let store = patient(&fake.url());
        let (mut one, mut other) = (Worker::new(&store), Worker::new(&store));
        let key = if action == START { "new" } else { "x" };
        assert_eq!(
            (one.one("ann", "x", START), other.one("bob", "x", START)),
            (Verdict::Started, Verdict::Started)
        );
        let mut is_first = true;
        fake.set_rule(move |call| {
            if call.is("EVAL") && std::mem::take(&mut is_first) { Act::CloseAfter } else { Act::Normal }
        });
        let mut batch = batch(&[("ann", key, action)]);
        batch.entries[0].command.generation = 7;
        let (asked, ticket) = (fake.asked("EVAL"), one.submit(batch));
        other.until("it is carried out", || fake.asked("EVAL") > asked);
        assert_eq!(other.one("ann", "y", START), Verdict::Started);
        let outcome = one.wait(ticket).entries[0].outcome;
        assert_eq!(outcome.verdict, expected, "{action:?}");
        assert!(expected == Verdict::Started || outcome.notes.lack == Lack::Unsure);
    }
}

#[test]
fn what_is_no_record_is_that_users_alone_and_told_with_the_key() {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    for said in ["$1\r\n?\r\n", ":0\r\n", "-WRONGTYPE Operation against a key\r\n"] {
        let fake = Fake::new();
        let store = outspoken(&fake.url(), TIMEOUT, |text| TOLD.lock().unwrap().push(text.into()));
        let mut worker = Worker::new(&store);
        assert_eq!(worker.surely("bob", "x", START), Verdict::Started);
        fake.set_rule(move |call| {
            let is_anns = call.words.get(3).is_some_and(|key| key.ends_with(b"ann"));
            if is_anns { Act::Say(said.into()) } else { Act::Normal }
        });
        let ticket = worker.submit(batch(&[("ann", "x", START), ("bob", "x", BEAT)]));
        let batch = worker.wait(ticket);
        let [ann, bob] = [0, 1].map(|at| batch.entries[at].outcome);
        assert_eq!((ann.verdict, ann.notes.lack), (Verdict::Unavailable, Lack::Unreadable), "{said:?}");
        assert_eq!((bob.verdict, store.trouble()), (Verdict::Renewed, None));
        let is_told = || TOLD.lock().unwrap().iter().any(|text| text.contains("\"streamer:ann\""));
        worker.until("it is told", is_told);
        TOLD.lock().unwrap().clear();
    }
}

#[test]
fn two_masters_are_named_and_a_map_is_replaced_by_a_whole_one_alone() {
    let (a, b) = (Fake::new(), Fake::new());
    let store = impatient(&format!("redis://127.0.0.1:{},127.0.0.1:{}", a.port, b.port));
    let mut worker = Worker::new(&store);
    worker.until("both are named", || {
        let said = store.trouble().unwrap_or_default();
        [a.port, b.port].iter().all(|port| said.contains(&port.to_string()))
    });
    assert_eq!(worker.one("ann", "x", START), Verdict::Unavailable);
    b.set_rule(|call| if call.is("ROLE") { Act::Say("*1\r\n$5\r\nslave\r\n".into()) } else { Act::Normal });
    worker.until("one has given way", || store.is_up());
    assert_eq!(worker.surely("ann", "x", START), Verdict::Started);
    drop(store);

    let (store, mut worker) = playing(&a, &b, impatient);
    for error in ["-NOPERM CLUSTER", "-ERR This instance has cluster support disabled", "*0"] {
        b.set_rule(
            move |call| if call.is("CLUSTER") { Act::Say(format!("{error}\r\n")) } else { Act::Normal },
        );
        let asked = b.asked("CLUSTER");
        worker.until("it was asked", || {
            store.engine.refresh();
            b.asked("CLUSTER") > asked
        });
        assert!(store.describe().ends_with("(Cluster of 2)"), "{error}: {}", store.describe());
    }
}

#[test]
fn a_server_that_has_become_a_replica_is_left() {
    let fake = Fake::with(|call| {
        let readonly = "-READONLY You can't write against a read only replica.\r\n";
        if call.is("EVAL") && call.before == 0 { Act::Say(readonly.into()) } else { Act::Normal }
    });
    let store = patient(&fake.url());
    let mut worker = Worker::new(&store);
    worker.until("it is connected", || fake.asked("TIME") > 1);
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
    assert!(fake.connections() <= 3, "the scout's, the node's, and the session's");
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
    let store = patient(&url);
    assert_eq!(Worker::new(&store).one("ann", "a", START), Verdict::Started);
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
        assert_ne!(worker.surely(user, "x", START), Verdict::Unavailable);
    }
    (store, worker)
}

#[test]
fn a_cluster_is_found_and_each_key_goes_to_its_node() {
    let (a, b) = (Fake::new(), Fake::new());
    cluster(&a, &b);
    let store = patient(&b.url());
    let mut worker = Worker::new(&store);
    assert_eq!(worker.run(&[("joe", "x", START), ("ann", "x", START)]), [(Verdict::Started, 1); 2]);
    assert_eq!((a.asked("EVAL"), b.asked("EVAL")), (1, 1));
}

#[test]
fn no_user_waits_for_another_users_node() {
    let (a, b) = (Fake::new(), Fake::new());
    let (_store, mut worker) = playing(&a, &b, impatient);
    a.set_rule(|call| if call.is("EVAL") { Act::Silence } else { Act::Normal });
    let began = Instant::now();
    let ticket = worker.submit(batch(&[("ann", "x", BEAT), ("joe", "x", BEAT)]));
    while worker.parked[0].2.entries[0].waits {
        worker.turn();
    }
    let entries = &worker.parked[0].2.entries;
    assert_eq!((entries[0].outcome.verdict, entries[1].waits), (Verdict::Renewed, true));
    let batch = worker.wait(ticket);
    is_about_the_timeout(began);
    let verdicts = batch.entries.iter().map(|entry| entry.outcome.verdict);
    assert!(verdicts.eq([Verdict::Renewed, Verdict::Unavailable]));
}

#[test]
fn a_node_that_hangs_keeps_no_other_from_being_connected_to() {
    let (a, b) = (Fake::new(), Fake::new());
    let (store, mut worker) = playing(&a, &b, patient);
    // An attempt lasts a second: of some one has to be outrun, on a machine that stands still now and then.
    let is_outrun = |_| {
        a.set_rule(|_| Act::Normal);
        assert_eq!(worker.surely("joe", "x", BEAT), Verdict::Renewed);
        // The connection is lost, and of a new one it is not said whether it takes changes.
        a.set_rule(|call| {
            if call.is("EVAL") {
                Act::Close
            } else if call.is("PROOF") {
                Act::Silence
            } else {
                Act::Normal
            }
        });
        let before = a.asked("PROOF");
        worker.submit(batch(&[("joe", "x", BEAT)]));
        worker.until("that one is being tried", || a.asked("PROOF") > before);
        let (before, mut lost) = (b.connections(), false);
        b.set_rule(move |call| {
            if call.is("EVAL") && !std::mem::replace(&mut lost, true) { Act::Close } else { Act::Normal }
        });
        assert_eq!(worker.one("ann", "x", BEAT), Verdict::Renewed);
        assert!(b.connections() > before);
        // When the attempt has ended, that node is down.
        counted(&store)("node_up") == 2
    };
    assert!((0..8).any(is_outrun));
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
    worker.submit(batch(&users.iter().map(|user| (user.as_str(), "x", START)).collect::<Vec<_>>()));
    let began = Instant::now();
    assert_eq!(worker.one("joe", "x", BEAT), Verdict::Unavailable);
    assert_eq!(worker.one("ann", "x", BEAT), Verdict::Renewed);
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
}

#[test]
fn redirects_are_followed_and_asking_is_said() {
    let (a, b) = (Fake::new(), Fake::new());
    cluster(&a, &b);
    let store = patient(&a.url());
    let mut worker = Worker::new(&store);
    for (kind, asking) in [("MOVED", 0), ("ASK", 1)] {
        let to = format!("-{kind} 1 127.0.0.1:{}\r\n", b.port);
        a.set_rule(move |call| if call.is("EVAL") { Act::Say(to.clone()) } else { Act::Normal });
        assert_ne!(worker.one("joe", kind, START), Verdict::Unavailable);
        assert_eq!(b.asked("ASKING"), asking, "{kind}");
    }
}

#[test]
fn a_node_without_slots_is_forgotten_once_nobody_names_it() {
    let (a, b, other) = (Fake::new(), Fake::new(), Fake::new());
    cluster(&a, &b);
    let (store, _worker) = playing(&a, &b, patient);
    let address = Url::parse(&other.url()).unwrap().addresses.remove(0);
    let nodes = || store.engine.map().nodes.iter().flatten().count();
    let id = store.engine.redirected(&address);
    assert_eq!((id, nodes()), (2, 3));
    let first = Instant::now();
    store.engine.tick(first + Duration::from_secs(9));
    assert_eq!(nodes(), 3);
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(store.engine.redirected(&address), id, "it is named again");
    store.engine.tick(first + Duration::from_secs(10));
    assert_eq!(nodes(), 3);
    store.engine.tick(first + Duration::from_secs(11));
    assert_eq!((nodes(), store.describe().ends_with("(Cluster of 2)")), (2, true));
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
            assert!(began.elapsed() < PATIENCE, "not found after {tries} tries");
            // Those of the other shard are served as ever.
            assert_ne!(worker.one("ann", "x", START), Verdict::Unavailable);
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
    let ticket = worker.submit(batch(&[("ann", "a", BEAT)]));
    let refused = worker.done(ticket).expect("it waits for nothing");
    assert_eq!(refused.entries[0].outcome.verdict, Verdict::Unavailable);
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
        let value = |measure: &crate::measures::Measure| match &measure.value {
            Reading::Counter(n) | Reading::Gauge(n) | Reading::Time(n) => *n,
            Reading::Histogram { counts, .. } => counts.iter().sum(),
        };
        measures.iter().filter(|measure| is(measure.family)).map(value).sum()
    }
}

#[test]
fn what_happens_is_counted() {
    let (a, b) = (Fake::new(), Fake::new());
    cluster(&a, &b);
    // Time enough for a loaded machine, and not too much to wait for.
    let open = || store(&a.url(), Duration::from_millis(1500));
    let (here, there) = (open(), open());
    let (mut worker, mut other) = (Worker::new(&here), Worker::new(&there));
    assert_eq!(worker.surely("joe", "x", START), Verdict::Started);
    // Joe's record is not known there; and then it is another than was seen here last.
    let moved = Action::Beat { position: Some(Position::from_secs(5)), playing: None };
    assert_eq!(other.surely("joe", "x", moved), Verdict::Renewed);
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
    worker.until("the map was asked for again", || counted(&here)("refreshes") >= 2);

    a.set_rule(|call| if call.is("EVAL") { Act::Say("-OOM no memory\r\n".into()) } else { Act::Normal });
    let commands = [("joe", "x", BEAT), ("joe", "x", Action::Look)];
    assert_eq!(worker.run(&commands), [(Verdict::Unavailable, 0); 2]);
    a.set_rule(|call| if call.is("EVAL") { Act::Say("$1\r\n?\r\n".into()) } else { Act::Normal });
    assert_eq!(worker.one("joe", "x", BEAT), Verdict::Unavailable);
    let now = counted(&here);
    assert_eq!((now("errors"), now("corrupt"), now("unavailable"), now("timeouts")), (1, 1, 3, 0));
}

/// After no error: else it might be found to be down first.
#[test]
fn what_a_silent_node_costs_is_counted() {
    let (a, b) = (Fake::new(), Fake::new());
    let (store, mut worker) = playing(&a, &b, impatient);
    let before = counted(&store);
    a.set_rule(|_| Act::Silence);
    assert_eq!(worker.run(&[("joe", "x", START), ("joe", "x", BEAT)]), [(Verdict::Unavailable, 0); 2]);
    let more = |name| counted(&store)(name) - before(name);
    worker.until("they are found to be given up", || more("timeouts") == 2);
    assert_eq!((more("unavailable"), more("disconnects")), (2, 1));
    a.set_rule(|_| Act::Close);
    worker.until("the node is down", || counted(&store)("node_up") == 1);
    assert!(!store.is_up());
}

#[test]
fn sixteen_workers_make_no_storm_of_connections() {
    let fake = Fake::new();
    let store = impatient(&fake.url());
    let mut workers: Vec<Worker> = (0..16).map(|_| Worker::new(&store)).collect();
    workers.iter_mut().for_each(|worker| assert_ne!(worker.surely("ann", "a", START), Verdict::Unavailable));
    let before = fake.connections();
    let began = Instant::now();
    fake.set_rule(|_| Act::Close);
    workers.iter_mut().for_each(|worker| assert_eq!(worker.one("ann", "a", START), Verdict::Unavailable));
    while began.elapsed() < Duration::from_secs(2) {
        workers.iter_mut().for_each(Worker::turn);
    }
    let tries = fake.connections() - before;
    // 50, 100, 200, 400 ms and their jitter, not sixteen times as many.
    let most = 5 + 5 * began.elapsed().as_secs() as usize;
    assert!((2..=most).contains(&tries), "{tries}");
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
        ("SELECT", "-ERR SECRET", "redis://", "refuses the database"),
    ] {
        let fake = Fake::with(
            move |call| {
                if call.is(rule) { Act::Say(format!("{error}\r\n")) } else { Act::Normal }
            },
        );
        let url = Url::parse(&format!("{url}127.0.0.1:{}/1", fake.port)).unwrap();
        let (timeout, policy) = (Millis::from_millis(250), Policy::default());
        // A start does not wait for long: on a machine that stands still meanwhile it is told nothing yet.
        let start = |_| Redis::start(Settings { url: url.clone(), timeout, policy, say: |_| {} }).err();
        let said = (0..3).find_map(start).expect("it is refused");
        assert!(said.contains(expected) && !said.contains("SECRET"), "{said}");
    }
}

#[test]
fn an_engine_that_has_no_room_for_another_client_may_have_it_later() {
    let full = |_: &fake::Call| Act::Say("-ERR max number of clients reached\r\n".into());
    let fake = Fake::with(full);
    let store = impatient(&fake.url().replace("redis://", "redis://:SECRET@"));
    let mut worker = Worker::new(&store);
    worker.until("it is said", || store.trouble().is_some_and(|trouble| trouble.contains("`maxclients`")));
    fake.set_rule(|_| Act::Normal);
    worker.until("it is up", || store.is_up());
}

#[test]
fn the_operator_is_told_once_what_has_to_be_changed() {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let fake = Fake::new();
    let tell = |text: &str| TOLD.lock().unwrap().push(text.into());
    let store = outspoken(&fake.url(), Duration::from_secs(4), tell);
    let mut worker = Worker::new(&store);
    assert_eq!(worker.surely("ann", "a", START), Verdict::Started);
    let few = "-NOREPLICAS Not enough good replicas to write.\r\n";
    fake.set_rule(|call| if call.is_change() { Act::Say(few.into()) } else { Act::Normal });
    (0..3).for_each(|_| assert_eq!(worker.one("ann", "a", BEAT), Verdict::Unavailable));
    worker.until("that is told", || TOLD.lock().unwrap().len() == 1);
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
        format!("the store cannot be used: {address} says LOADING; trying on"),
        format!("the store cannot be used: {address} is in protected mode"),
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
    fake.set_rule(|call| if call.is_change() { Act::Say(few.into()) } else { Act::Normal });
    assert_eq!(worker.one("ann", "a", BEAT), Verdict::Unavailable);
    worker.until("it is found out", || said(&format!("127.0.0.1:{} takes no changes", fake.port)));
    assert!(said("`min-replicas-to-write`"), "{:?}", store.trouble());
    // A server that was started anew, with another configuration.
    for (error, expected) in [("NOAUTH", "wants a password"), ("DENIED", "`protected-mode no`")] {
        fake.set_rule(|_| Act::Close);
        let _ = worker.one("ann", "a", BEAT);
        fake.set_rule(move |_| Act::Say(format!("-{error} and more\r\n")));
        worker.until(expected, || said(expected));
    }
}
