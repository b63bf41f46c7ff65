//! What the threads share: the store, the credentials, the inboxes and a few flags.
//!
//! *Invariant:* a lock here is taken per connection or per signal, never per request.

use core::net::SocketAddr;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::app::auth::Credentials;
use crate::app::{Settings, Side};
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

/// What every thread may ask.
pub struct Shared {
    pub store: Arc<dyn Store>,
    pub settings: Arc<Settings>,
    /// Whom to let in, and by which reading of the files that was found out.
    credentials: Mutex<(usize, Arc<Credentials>)>,
    /// The number of the reading that is in force.
    pub credentials_version: AtomicUsize,
    /// Whether the server is stopping.
    pub stopping: AtomicBool,
    /// Whether it has stopped: nothing is under way any more.
    pub stopped: AtomicBool,
    /// How many connections each [`Side`] has, those dealt to a worker and not yet taken up among them.
    pub open: [AtomicUsize; 2],
    /// How many connections each [`Side`] may have.
    pub most: [usize; 2],
    /// How many refused connections may linger until their clients have read why.
    pub most_refused: usize,
    /// How many workers are still at work.
    pub working: AtomicUsize,
}

impl Shared {
    /// Nothing has happened yet.
    pub fn new(
        store: Arc<dyn Store>,
        settings: Arc<Settings>,
        credentials: Credentials,
        room: Capacity,
        workers: usize,
    ) -> Self {
        Self {
            store,
            settings,
            credentials: Mutex::new((0, Arc::new(credentials))),
            credentials_version: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            open: Default::default(),
            most: [room.public, room.admin],
            most_refused: room.refused,
            working: AtomicUsize::new(workers),
        }
    }

    /// Whom to let in.
    pub fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.credentials.lock().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// Lets other people in from the next turn on, unless a later reading of the files has ended before this one. Returns
    /// whether it did.
    pub fn set_credentials(&self, reading: usize, credentials: Credentials) -> bool {
        let mut current = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        if reading < current.0 {
            return false;
        }
        *current = (reading, Arc::new(credentials));
        self.credentials_version.store(reading, Relaxed);
        true
    }
}

/// Something for a worker to do.
pub enum Message {
    /// Serve this connection. When there are as many as there may be already, close the longest idle for it, or refuse it.
    Serve { stream: TcpStream, peer: SocketAddr, side: Side, full: bool },
    /// Close the longest idle connection: there are no more descriptors.
    Reclaim,
}

/// How a worker is reached.
pub struct Inbox {
    errands: Mutex<Vec<Message>>,
    bell: UnixStream,
    /// Since when the longest idle of the worker's connections is idle, in milliseconds of steady time; `u64::MAX` when
    /// none is.
    pub idle_since: AtomicU64,
    /// How many of them are idle and could make room, less those that have been asked to.
    pub idle: AtomicUsize,
    /// How many of the worker's connections hold a buffer.
    pub holding: AtomicUsize,
    /// How many did at most since the sweeper last looked.
    pub held: AtomicUsize,
}

impl Inbox {
    /// An inbox, and what becomes readable when there is something in it.
    pub fn new() -> std::io::Result<(Self, Bell)> {
        let (bell, heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        let idle_since = AtomicU64::new(u64::MAX);
        let [idle, holding, held] = Default::default();
        Ok((Self { errands: Mutex::default(), bell, idle_since, idle, holding, held }, Bell(heard)))
    }

    /// Leaves an errand.
    pub fn leave(&self, errand: Message) {
        let mut errands = self.errands.lock().unwrap_or_else(PoisonError::into_inner);
        errands.push(errand);
        let first = errands.len() == 1;
        drop(errands);
        // Whoever left the one before has rung.
        if first {
            self.ring();
        }
    }

    /// Wakes the worker.
    pub fn ring(&self) {
        // A full bell has been rung often enough.
        let _ = (&self.bell).write(&[0]);
    }

    /// Takes everything out.
    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut *self.errands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The worker's end of the bell.
pub struct Bell(pub UnixStream);

impl Bell {
    /// Forgets that it has been rung; to be called before looking what for.
    pub fn hush(&mut self) {
        while matches!(self.0.read(&mut [0; 64]), Ok(1..)) {}
    }
}
