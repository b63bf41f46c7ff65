//! poll(2): slower with every descriptor, and on every system. On Linux only its tests use it.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use super::{Interest, Poll, Readiness};
use crate::sys;

/// The descriptors that are waited for.
pub struct PollSet {
    /// A descriptor that rests is negated, which is passed over.
    fds: Vec<sys::PollFd>,
    /// The token of each of `fds`.
    tokens: Vec<u64>,
    /// Which of `fds` a descriptor is.
    places: HashMap<RawFd, usize>,
    batch: usize,
    /// Where the next round begins, so that with more ready than a batch takes each has its turn.
    from: usize,
}

impl Poll for PollSet {
    fn new(batch: usize) -> io::Result<Self> {
        let places = HashMap::new();
        Ok(Self { fds: Vec::new(), tokens: Vec::new(), places, batch, from: 0 })
    }

    fn add(&mut self, fd: BorrowedFd, token: u64) -> io::Result<()> {
        self.places.insert(fd.as_raw_fd(), self.fds.len());
        self.fds.push(sys::PollFd { fd: fd.as_raw_fd(), events: sys::POLLIN, revents: 0 });
        self.tokens.push(token);
        Ok(())
    }

    fn set(&mut self, fd: BorrowedFd, token: u64, interest: Interest) -> io::Result<()> {
        let place = self.places.get(&fd.as_raw_fd()).ok_or(io::ErrorKind::NotFound)?;
        self.tokens[*place] = token;
        self.fds[*place].fd = fd.as_raw_fd();
        self.fds[*place].events = match interest {
            Interest::Read => sys::POLLIN,
            Interest::Write => sys::POLLOUT,
            Interest::ReadWrite => sys::POLLIN | sys::POLLOUT,
        };
        Ok(())
    }

    fn rest(&mut self, fd: BorrowedFd) {
        if let Some(place) = self.places.get(&fd.as_raw_fd()) {
            self.fds[*place].fd = !fd.as_raw_fd();
        }
    }

    fn go_on(&mut self, fd: BorrowedFd) {
        if let Some(place) = self.places.get(&fd.as_raw_fd()) {
            self.fds[*place].fd = fd.as_raw_fd();
        }
    }

    fn remove(&mut self, fd: BorrowedFd) {
        let Some(place) = self.places.remove(&fd.as_raw_fd()) else { return };
        self.fds.swap_remove(place);
        self.tokens.swap_remove(place);
        if let Some(moved) = self.fds.get(place) {
            self.places.insert(moved.fd.max(!moved.fd), place);
        }
    }

    fn wait(&mut self, events: &mut Vec<Readiness>, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        if sys::wait_poll(&mut self.fds, timeout)? == 0 {
            return Ok(());
        }
        let count = self.fds.len();
        for step in 0..count {
            let place = (self.from + step) % count;
            let revents = self.fds[place].revents;
            if revents != 0 {
                let hup = revents & !(sys::POLLIN | sys::POLLOUT) != 0;
                events.push(Readiness { token: self.tokens[place], hup });
            }
            if events.len() == self.batch {
                self.from = place + 1;
                break;
            }
        }
        Ok(())
    }
}
