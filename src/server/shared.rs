//! What the threads share: the store, the credentials, the inboxes and a few flags.
//!
//! *Invariant:* a lock here is taken per connection or per signal, never per request.

use core::net::SocketAddr;
use std::borrow::Cow;
use std::net::TcpStream;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

use super::mailbox::{Mailbox, WakeUps};
use crate::app::auth::Credentials;
use crate::app::{Readiness, Settings, Side, View};
use crate::store::Store;

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Of clients.
    pub public: usize,
    /// Of operators, who want in when all is full.
    pub admin: usize,
    /// Of clients who are being told that there is no room.
    pub refused: usize,
}

/// What became of the readings of the credentials after the first.
#[derive(Default)]
pub struct Reloads {
    pub taken: AtomicU64,
    pub refused: AtomicU64,
    /// Whether the last one was refused.
    pub failing: AtomicBool,
}

impl Reloads {
    /// Counts a reading.
    pub fn count(&self, taken: bool) {
        let counter = if taken { &self.taken } else { &self.refused };
        counter.fetch_add(1, Relaxed);
        self.failing.store(!taken, Relaxed);
    }
}

/// How far the server's life has come. It never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Requests are welcome.
    Serving,
    /// It has been told to stop: `/readyz` says so, and new connections are still taken.
    Draining,
    /// No new clients are taken, and idle connections are closed.
    Stopping,
    /// No client is connected any more.
    Stopped,
}

/// What every thread may ask.
pub struct Shared {
    pub store: Arc<dyn Store>,
    pub settings: Arc<Settings>,
    /// Who puts the operators' pages together.
    pub observer: Questions,
    /// The credentials that are taken, and which reading of the files they come from.
    credentials: Mutex<(usize, Arc<Credentials>)>,
    /// The number of the reading that is in force.
    pub credentials_version: AtomicUsize,
    pub reloads: Reloads,
    /// How far the server's life has come: a [`Stage`].
    stage: AtomicU8,
    /// How many connections each [`Side`] has, those dealt to a worker and not yet taken up among them.
    pub open: [AtomicUsize; 2],
    /// How many connections each [`Side`] may have.
    pub most: [usize; 2],
    /// Connections for which the workers have found no room.
    pub turned_away: Mailbox<Newcomer>,
    /// How many workers are still at work.
    pub working: AtomicUsize,
}

impl Shared {
    /// Nothing has happened yet.
    pub fn new(
        store: Arc<dyn Store>,
        settings: Arc<Settings>,
        observer: Questions,
        credentials: Credentials,
        capacity: Capacity,
        turned_away: Mailbox<Newcomer>,
        workers: usize,
    ) -> Self {
        Self {
            store,
            settings,
            observer,
            credentials: Mutex::new((0, Arc::new(credentials))),
            credentials_version: AtomicUsize::new(0),
            reloads: Reloads::default(),
            stage: AtomicU8::new(Stage::Serving as u8),
            open: Default::default(),
            most: [capacity.public, capacity.admin],
            turned_away,
            working: AtomicUsize::new(workers),
        }
    }

    /// Notes how far the server's life has come.
    pub fn reach(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Relaxed);
    }

    /// Whether the server's life has come so far.
    pub fn has_reached(&self, stage: Stage) -> bool {
        self.stage.load(Relaxed) >= stage as u8
    }

    /// The credentials that are taken, and which reading of the files they come from.
    pub fn credentials(&self) -> (usize, Arc<Credentials>) {
        let current = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        (current.0, Arc::clone(&current.1))
    }

    /// Replaces the credentials, from the next turn of each worker on. Returns the old ones.
    pub fn set_credentials(&self, credentials: Credentials) -> Arc<Credentials> {
        let mut current = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        let version = current.0 + 1;
        let (_, old) = std::mem::replace(&mut *current, (version, Arc::new(credentials)));
        self.credentials_version.store(version, Relaxed);
        old
    }
}

impl Readiness for Shared {
    fn trouble(&self) -> Option<Cow<'static, str>> {
        if self.has_reached(Stage::Draining) {
            return Some("The server is stopping; try another one.".into());
        }
        self.store.trouble().map(Cow::from)
    }
}

/// A connection that has just been accepted.
pub struct Newcomer {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub side: Side,
}

/// Something for a worker to do.
pub enum Message {
    /// Serve this connection.
    Serve(Newcomer),
    /// Serve it in place of the one that has been idle longest of all workers'. So many workers have passed it on.
    MakeRoom(Newcomer, usize),
    /// Close the longest idle connection: there are no more descriptors.
    Reclaim,
    /// The request that is parked under this ticket can be answered, with this page if it could be put together.
    Observed { ticket: u32, page: Option<Arc<[u8]>> },
}

/// How a worker is reached.
pub struct Inbox {
    messages: Mailbox<Message>,
    /// How many messages the worker has not done yet.
    pending: AtomicUsize,
    /// Since when the longest idle of the worker's connections of each [`Side`] is idle, in milliseconds of steady time;
    /// `u64::MAX` when none is.
    pub idle_since: [AtomicU64; 2],
    /// How many of the worker's connections hold a buffer.
    pub holding: AtomicUsize,
    /// How many did at most since the sweeper last looked.
    pub held: AtomicUsize,
    /// How many of the worker's turns wait for the store.
    pub parked: AtomicUsize,
}

impl Inbox {
    /// An inbox, and what becomes readable when its worker is to wake up.
    pub fn new() -> std::io::Result<(Self, WakeUps)> {
        let (messages, wake_ups) = Mailbox::new()?;
        let idle_since = [u64::MAX; 2].map(AtomicU64::new);
        let [pending, holding, held, parked] = Default::default();
        Ok((Self { messages, pending, idle_since, holding, held, parked }, wake_ups))
    }

    /// Leaves a message.
    pub fn leave(&self, message: Message) {
        self.pending.fetch_add(1, Relaxed);
        self.messages.leave(message);
    }

    /// Takes everything out.
    pub fn take(&self) -> Vec<Message> {
        self.messages.take()
    }

    /// So many messages are done.
    pub fn done(&self, messages: usize) {
        self.pending.fetch_sub(messages, Release);
    }

    /// Wakes the worker.
    pub fn wake_worker(&self) {
        self.messages.wake();
    }

    /// A worker that has not done all its messages. What it serves may be idle without having been said to be.
    pub fn busy(inboxes: &[Arc<Self>]) -> Option<&Self> {
        inboxes.iter().map(|inbox| &**inbox).find(|inbox| inbox.pending.load(Acquire) > 0)
    }

    /// Which worker has the connection of this side that has been idle longest, and since when, as they last said.
    pub fn longest_idle(inboxes: &[Arc<Self>], side: Side) -> Option<(&Self, u64)> {
        let idle = inboxes.iter().map(|inbox| (&**inbox, inbox.idle_since[side as usize].load(Relaxed)));
        idle.filter(|(_, since)| *since != u64::MAX).min_by_key(|(_, since)| *since)
    }
}

/// So that a store's threads can wake the worker through a [`std::task::Waker`].
impl Wake for Inbox {
    fn wake(self: Arc<Self>) {
        self.wake_worker();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_worker();
    }
}

/// How many questions may wait.
const MAX_QUESTIONS: usize = 64;

/// What a worker asks the observer.
pub struct Question {
    pub view: View,
    /// Under which ticket the worker has parked the request.
    pub ticket: u32,
    /// That worker's inbox.
    pub inbox: Arc<Inbox>,
}

/// Where questions are asked.
pub struct Questions(SyncSender<Question>);

impl Questions {
    /// Where questions are asked, and where the observer finds them.
    pub fn new() -> (Self, Receiver<Question>) {
        let (questions, asked) = sync_channel(MAX_QUESTIONS);
        (Self(questions), asked)
    }

    /// Asks; false if too many questions wait already.
    pub fn ask(&self, question: Question) -> bool {
        self.0.try_send(question).is_ok()
    }
}
