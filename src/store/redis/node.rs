//! A node, and the thread that connects to it: for all sessions that want it, and to prove that it takes changes.
//!
//! ```text
//! session ── want, suspect ──▶ node's thread ── Connected | Failed ──▶ letters to the session
//! ```
//!
//! A connection is good when the node has told the time on it, and has taken a change under a key of ours. So a node is up
//! if it does what commands need, and not because it lets us in. A session that has met anything else says that it suspects
//! the node, which is then tried at once, but at most once a second while it answers. Between tries that fail there is a
//! pause that doubles and is drawn by lot, so that a server that comes back is not met by a crowd.
//!
//! *Invariant:* a node that is down is sent no command but over a connection that is open still. (Tested by
//! `while_a_node_is_down_commands_are_refused_at_once_and_its_probe_is_no_command`.)

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::counters::Count;
use super::dialogue::{Dialogue, Trouble};
use super::engine::{Engine, Letter, NodeId, Subscriber};
use super::hints;
use super::url::Address;
use crate::sync::{Mailbox, Service, lock};

/// Between the first try that fails and the second; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A node that answers is tried this often at most because sessions suspect it.
const BETWEEN_PROBES: Duration = Duration::from_secs(1);
/// After so long without another connection that was lost soon after it was made, that is forgotten.
const FORGIVEN_AFTER: Duration = Duration::from_secs(1);
/// After so many of those the node counts as down.
const MOST_STRIKES: u32 = 3;
/// How many sessions are connected at a time.
const AT_ONCE: usize = 8;
/// A node without slots is forgotten so long after it was last named.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// A server that has keys.
pub struct Node {
    id: NodeId,
    pub address: Address,
    /// What its thread is to do.
    pub wishes: Mailbox<Wishes>,
    /// When it was last named: at first, or by a redirect.
    named: Mutex<Instant>,
    health: Mutex<Condition>,
    /// Whether the last try has failed: then commands are not kept waiting for a connection.
    down: AtomicBool,
    /// Whether a command was not carried out, and its thread has not tried since.
    suspected: AtomicBool,
}

/// What sessions want of a node's thread.
#[derive(Default)]
pub struct Wishes {
    /// Those that want a connection.
    sessions: Vec<Arc<Subscriber>>,
    /// Whether one was lost soon after it was made.
    is_struck: bool,
}

/// Since when it is as it is, and what is wrong; None: it takes changes.
struct Condition {
    since: Instant,
    trouble: Option<String>,
}

impl Node {
    /// A node of which nothing is known yet, and its thread.
    pub fn start(id: NodeId, address: Address, engine: &Arc<Engine>) -> io::Result<Arc<Self>> {
        let now = Instant::now();
        let trouble = Some(format!("{address} is not connected yet"));
        let node = Arc::new(Self {
            id,
            address,
            wishes: Mailbox::new(Wishes::default()),
            named: Mutex::new(now),
            health: Mutex::new(Condition { since: now, trouble }),
            down: AtomicBool::new(false),
            suspected: AtomicBool::new(false),
        });
        let mut connector = Connector {
            node: Arc::clone(&node),
            engine: Arc::clone(engine),
            wanted: Vec::new(),
            failures: 0,
            strikes: 0,
            struck: now,
            next: now,
            next_probe: now,
        };
        Service::start("node", (), move |_| connector.work(), || {})?;
        Ok(node)
    }

    /// A redirect leads to it.
    pub fn name(&self) {
        *lock(&self.named) = Instant::now();
    }

    /// Whether nobody has named it for so long that it may be forgotten.
    pub fn is_left(&self, now: Instant) -> bool {
        now.saturating_duration_since(*lock(&self.named)) >= FORGOTTEN_AFTER
    }

    /// A session wants a connection, and says whether it has lost one soon after it was made.
    pub fn want(&self, session: &Arc<Subscriber>, is_strike: bool) {
        self.wishes.leave(|wishes| {
            wishes.is_struck |= is_strike;
            if !wishes.sessions.iter().any(|other| Arc::ptr_eq(other, session)) {
                wishes.sessions.push(Arc::clone(session));
            }
        });
    }

    /// A command was not carried out, and it may be the node's fault.
    pub fn suspect(&self) {
        if !self.suspected.swap(true, Relaxed) {
            self.wishes.leave(|_| ());
        }
    }

    /// Whether the last try has failed.
    pub fn is_down(&self) -> bool {
        self.down.load(Relaxed)
    }

    /// Why it cannot be used.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.health).trouble.clone()
    }

    /// For how long it has not been of use.
    pub fn waits(&self) -> Duration {
        let health = lock(&self.health);
        health.trouble.as_ref().map_or(Duration::ZERO, |_| health.since.elapsed())
    }

    /// It has taken a change.
    pub fn recover(&self, engine: &Engine) {
        let mut health = lock(&self.health);
        let was_down = self.down.swap(false, Relaxed);
        *health = Condition { since: Instant::now(), trouble: None };
        drop(health);
        if was_down {
            (engine.say)(&format!("the store answers: {}", self.address));
        }
    }

    fn fail(&self, why: &str, engine: &Engine) {
        let mut health = lock(&self.health);
        let is_news = health.trouble.as_deref() != Some(why);
        if health.trouble.is_none() {
            health.since = Instant::now();
        }
        health.trouble = Some(why.into());
        self.down.store(true, Relaxed);
        drop(health);
        // It may be away at first, and come back with something that the operator has to change.
        if is_news {
            (engine.say)(&format!("the store cannot be used: {why}; trying on"));
        }
    }
}

/// What one thread works with. No other thread sees it.
struct Connector {
    node: Arc<Node>,
    engine: Arc<Engine>,
    wanted: Vec<Arc<Subscriber>>,
    /// How many tries have failed since the last that did not.
    failures: u32,
    /// How many connections were lost soon after they were made, and when the last of them was.
    strikes: u32,
    struck: Instant,
    /// When the next try may be made, and when one only because the node is suspected.
    next: Instant,
    next_probe: Instant,
}

impl Connector {
    /// Waits until there is something to do, and does it; returns whether the thread is to end.
    fn work(&mut self) -> bool {
        let node = Arc::clone(&self.node);
        let (wishes, stops) = node.wishes.wait(self.due(), std::mem::take);
        self.note(wishes);
        if !stops && self.due().is_some_and(|due| due <= Instant::now()) {
            self.attempt();
        }
        stops
    }

    fn due(&self) -> Option<Instant> {
        if !self.wanted.is_empty() || self.node.trouble().is_some() {
            return Some(self.next);
        }
        self.node.suspected.load(Relaxed).then_some(self.next_probe)
    }

    fn note(&mut self, Wishes { sessions, is_struck }: Wishes) {
        for session in sessions {
            if !self.wanted.iter().any(|other| Arc::ptr_eq(other, &session)) {
                self.wanted.push(session);
            }
        }
        if is_struck {
            (self.strikes, self.struck) = (self.strikes + 1, Instant::now());
            self.next = self.struck + pause(self.strikes);
            if self.strikes >= MOST_STRIKES {
                let address = &self.node.address;
                let why = format!("{address} closes each connection before it has carried anything out");
                self.node.fail(&why, &self.engine);
            }
        }
    }

    fn attempt(&mut self) {
        if self.struck.elapsed() >= FORGIVEN_AFTER {
            self.strikes = 0;
        }
        // What is suspected from now on is tried again.
        self.node.suspected.store(false, Relaxed);
        self.next_probe = Instant::now() + BETWEEN_PROBES;
        match connect(&self.engine, &self.node) {
            Ok(connected) => {
                self.failures = 0;
                if self.strikes < MOST_STRIKES {
                    self.node.recover(&self.engine);
                }
                self.wanted.pop().inspect(|session| session.put(connected));
                self.next = Instant::now() + pause(self.strikes);
                if self.strikes == 0 {
                    self.connect_others();
                }
            }
            Err(trouble) => self.failed(&trouble),
        }
    }

    /// The node is good: all that want it are connected, some at a time.
    fn connect_others(&mut self) {
        let mut left = std::mem::take(&mut self.wanted);
        while !left.is_empty() {
            let some = left.drain(..left.len().min(AT_ONCE)).collect();
            let (engine, node) = (Arc::clone(&self.engine), Arc::clone(&self.node));
            for (session, connected) in at_once(some, move |_| connect(&engine, &node)) {
                match connected {
                    Ok(connected) => session.put(connected),
                    Err(_) => self.wanted.push(session),
                }
            }
        }
    }

    fn failed(&mut self, trouble: &Trouble) {
        if matches!(trouble, Trouble::Unwelcome(_)) {
            self.engine.counts.bump(Count::RefusedLogins);
        }
        self.failures += 1;
        self.next = Instant::now() + pause(self.failures);
        self.node.fail(trouble.why(), &self.engine);
        self.wanted.drain(..).for_each(|session| session.put(Letter::Failed(self.node.id)));
        self.engine.refresh();
    }
}

/// A connection that is proven.
fn connect(engine: &Engine, node: &Node) -> Result<Letter, Trouble> {
    let mut dialogue = Dialogue::open(&node.address, &engine.access)?;
    let clock = dialogue.prove(engine.own_key_at(node.id).as_deref())?;
    Ok(Letter::Connected(node.id, dialogue.into_stream()?, clock))
}

/// Does something for several at once, by a thread each, so that one that hangs keeps no other from being done.
pub fn at_once<T: Clone + Send + 'static, R: Send + 'static>(
    all: Vec<T>,
    work: impl Fn(&T) -> Result<R, Trouble> + Clone + Send + 'static,
) -> Receiver<(T, Result<R, Trouble>)> {
    let (tell, done) = channel();
    for one in all {
        let (work, told, of) = (work.clone(), tell.clone(), one.clone());
        let work = move || {
            // A panic is told by the program's hook.
            let done = catch_unwind(AssertUnwindSafe(|| work(&of)));
            let done = done.unwrap_or_else(|_| Err(Trouble::Away("a thread has panicked".into())));
            drop(told.send((of, done)));
        };
        if let Err(error) = thread::Builder::new().name("ask".into()).spawn(work) {
            let _ = tell.send((one, Err(Trouble::Away(format!("cannot start a thread: {error}")))));
        }
    }
    done
}

/// How long to wait after so many failures: between the half and the whole of a time that doubles, by lot.
pub fn pause(failures: u32) -> Duration {
    let most = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
    most / 2 + most * (hints::random() % 1024) as u32 / 2048
}
