//! How a server is told to stop, or to read its files again.
//!
//! *Invariant:* a signal is told at least once after it has come, however many come. (Tested by
//! `each_signal_is_told_once_however_often_it_came`.)

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::sys;

/// The signals of this process, or what stands for them in a server inside another program.
pub struct Signals {
    /// A byte for the signal of that number; or 0, when the process has caught some.
    woken: UnixStream,
    of_process: bool,
}

/// What the server is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: read the files again.
    Reload,
    /// SIGINT or SIGTERM, which is its number: stop.
    Stop(u8),
}

impl Signals {
    /// From SIGTERM, SIGINT and SIGHUP of this process.
    ///
    /// # Errors
    ///
    /// When there are no more descriptors, or a signal cannot be caught.
    pub fn of_process() -> io::Result<Self> {
        let (woken, waker) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        // SIGXFSZ is caught and means nothing: the write that it comes with fails, and that says all.
        sys::catch_signals(&[sys::SIGTERM, sys::SIGINT, sys::SIGHUP, sys::SIGXFSZ], waker.into())?;
        Self::reading(woken, true)
    }

    /// From the bytes that are written to the other end of this pair, each the number of a signal.
    ///
    /// # Errors
    ///
    /// When it cannot be made non-blocking.
    pub fn of_pipe(pipe: UnixStream) -> io::Result<Self> {
        Self::reading(pipe, false)
    }

    fn reading(woken: UnixStream, of_process: bool) -> io::Result<Self> {
        woken.set_nonblocking(true)?;
        Ok(Self { woken, of_process })
    }

    /// What becomes readable when a signal has come.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }

    /// Whether the process has been told to stop, and that has not been taken.
    pub fn say_stop(&self) -> bool {
        self.of_process && sys::come_signals() & (sys::bit(sys::SIGINT) | sys::bit(sys::SIGTERM)) != 0
    }

    /// The signals that have come since they were last taken, each once.
    pub fn take(&mut self) -> impl Iterator<Item = Signal> + use<> {
        let mut come = 0;
        let mut numbers = [0; 64];
        while let Ok(n @ 1..) = self.woken.read(&mut numbers) {
            come = numbers[..n].iter().fold(come, |come, &number| come | sys::bit(i32::from(number) & 31));
        }
        if self.of_process {
            come |= sys::take_signals();
        }
        [(sys::SIGHUP, Signal::Reload), (sys::SIGINT, Signal::Stop(2)), (sys::SIGTERM, Signal::Stop(15))]
            .into_iter()
            .filter_map(move |(number, signal)| (come & sys::bit(number) != 0).then_some(signal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn each_signal_is_told_once_however_often_it_came() {
        let (mut pipe, woken) = UnixStream::pair().unwrap();
        let mut signals = Signals::of_pipe(woken).unwrap();
        assert_eq!(signals.take().count(), 0);
        pipe.write_all(&[1; 300]).unwrap();
        pipe.write_all(&[0, 31, 15, 2]).unwrap();
        let all = [Signal::Reload, Signal::Stop(2), Signal::Stop(15)];
        assert_eq!(signals.take().collect::<Vec<_>>(), all);
        assert_eq!(signals.take().count(), 0);
    }
}
