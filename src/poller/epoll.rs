//! epoll(7), edge-triggered: what Linux has.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use super::{Interest, Poll, Readiness};
use crate::sys;

pub struct Epoll {
    epoll: OwnedFd,
    ready: Box<[sys::EpollEvent]>,
}

impl Epoll {
    fn control(
        &self,
        operation: sys::EpollOperation,
        fd: BorrowedFd,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        let events = match interest {
            Interest::Read => sys::EPOLLIN | sys::EPOLLRDHUP | sys::EPOLLPRI,
            Interest::Write => sys::EPOLLOUT,
            Interest::ReadWrite => sys::EPOLLIN | sys::EPOLLRDHUP | sys::EPOLLOUT,
        };
        sys::control_epoll(
            &self.epoll,
            operation,
            fd,
            sys::EpollEvent { events: events | sys::EPOLLET, token },
        )
    }
}

impl Poll for Epoll {
    fn new(batch: usize) -> io::Result<Self> {
        Ok(Self { epoll: sys::new_epoll()?, ready: vec![sys::EpollEvent::default(); batch].into() })
    }

    fn add(&mut self, fd: BorrowedFd, token: u64) -> io::Result<()> {
        self.control(sys::EpollOperation::Add, fd, token, Interest::Read)
    }

    fn set(&mut self, fd: BorrowedFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(sys::EpollOperation::Change, fd, token, interest)
    }

    fn remove(&mut self, _fd: BorrowedFd) {
        // Closing the descriptor removes it: it has no duplicate.
    }

    fn wait(&mut self, events: &mut Vec<Readiness>, timeout: Option<Duration>) -> io::Result<()> {
        let ready = sys::wait_epoll(&self.epoll, &mut self.ready, timeout)?;
        events.clear();
        events.extend(self.ready[..ready].iter().map(|event| Readiness {
            token: event.token,
            hup: event.events & !(sys::EPOLLIN | sys::EPOLLOUT) != 0,
        }));
        Ok(())
    }
}
