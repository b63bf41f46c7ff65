//! What one thread leaves for another that waits in its poller.
//!
//! *Invariant:* a message that was left before the other thread looks is seen, whether or not it was woken for it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

/// Where messages are left.
pub struct Mailbox<M> {
    messages: Mutex<Vec<M>>,
    /// A byte in it wakes the other thread.
    waker: UnixStream,
}

impl<M> Mailbox<M> {
    /// A mailbox, and what becomes readable when its owner is to wake up.
    pub fn new() -> io::Result<(Self, WakeUps)> {
        let (waker, wake_ups) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        wake_ups.set_nonblocking(true)?;
        Ok((Self { messages: Mutex::default(), waker }, WakeUps(wake_ups)))
    }

    /// Leaves a message.
    pub fn leave(&self, message: M) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.push(message);
        let first = messages.len() == 1;
        drop(messages);
        // For the messages before, the owner has been woken already.
        if first {
            self.wake();
        }
    }

    /// Wakes the owner.
    pub fn wake(&self) {
        // If it is full, the owner will wake up anyway.
        let _ = (&self.waker).write(&[0]);
    }

    /// Takes everything out.
    pub fn take(&self) -> Vec<M> {
        std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The owner's end: what becomes readable when it is to wake up.
pub struct WakeUps(UnixStream);

impl WakeUps {
    /// Forgets the wake-ups so far; to be called before looking for what they were.
    pub fn clear(&mut self) {
        while matches!(self.0.read(&mut [0; 64]), Ok(1..)) {}
    }
}

impl AsFd for WakeUps {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
