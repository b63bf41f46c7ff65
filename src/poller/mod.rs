//! Waiting for readiness: epoll on Linux, poll(2) elsewhere.
//!
//! Both keep one contract, which is what an edge-triggered poller can promise: whatever happens to a descriptor after it
//! was added, or after its interest was set, is told at least once; and so is what was there already. It may be told more
//! often. So an owner that leaves bytes unread must remember that itself, or set the interest anew.
//!
//! Edge-triggered, because a level-triggered epoll looks at every descriptor that it has told about once more, only to
//! find it empty; and because it tells in the order of arrival, so that of many busy connections none waits twice.
//!
//! *Invariant:* a token comes back as it was given; what it means, and whether it is stale, only the caller knows.
//! (Tested by `epoll_tells_of_urgent_data_before_which_a_read_stops` and `poll`.)

#[cfg(target_os = "linux")]
mod epoll;

#[cfg(any(test, not(target_os = "linux")))]
mod poll;

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// The poller of this system.
#[cfg(target_os = "linux")]
pub type Poller = epoll::Epoll;
/// The poller of this system.
#[cfg(not(target_os = "linux"))]
pub type Poller = poll::PollSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// As given to `add`.
    pub token: u64,
    /// The other end has sent its last byte or urgent data, or the connection has failed: from now on a read that came
    /// short has not emptied the socket, since it stops before urgent data too.
    pub hup: bool,
}

/// What to wait for on a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes to read, or the end.
    Read,
    Write,
    ReadWrite,
}

/// What both pollers can do.
pub trait Poll: Sized {
    /// One that waits for nothing yet, and tells at most `batch` events at a time.
    fn new(batch: usize) -> io::Result<Self>;
    /// Waits for `fd` to become readable.
    fn add(&mut self, fd: BorrowedFd, token: u64) -> io::Result<()>;
    /// Waits for something else from now on, and tells it if it is there already.
    fn set(&mut self, fd: BorrowedFd, token: u64, interest: Interest) -> io::Result<()>;
    /// Tells nothing more of `fd` until its owner says that it reads on, or its interest is set. One that is edge-triggered
    /// does so anyway.
    fn rest(&mut self, _fd: BorrowedFd) {}
    /// Tells of `fd` again, of what is there already, too.
    fn go_on(&mut self, _fd: BorrowedFd) {}
    /// Waits for `fd` no longer. To be called before it is closed.
    fn remove(&mut self, fd: BorrowedFd);
    /// Waits at most `timeout`, for ever without one; what has happened replaces `events`.
    fn wait(&mut self, events: &mut Vec<Readiness>, timeout: Option<Duration>) -> io::Result<()>;
}

/// The tokens of an engine's sources: the upper half names no connection.
const ENGINE: u64 = (u32::MAX as u64) << 32;

/// The key under which an engine's source with this token was registered.
pub fn engine_key(token: u64) -> Option<u32> {
    (token & ENGINE == ENGINE).then_some(token as u32)
}

/// A worker's poller as its session with an engine sees it: sources have keys of their own there.
pub struct Registry<'a>(pub &'a mut Poller);

impl Registry<'_> {
    /// From now on tells when `source` is ready, under `key`; a source that is watched already changes its interest.
    /// What was ready before is told, too.
    ///
    /// # Errors
    ///
    /// Those of the poller's system call.
    pub fn watch(&mut self, source: BorrowedFd<'_>, key: u32, interest: Interest) -> io::Result<()> {
        let token = ENGINE | u64::from(key);
        match self.0.set(source, token, interest) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.0.add(source, token)?;
                self.0.set(source, token, interest)
            }
            done => done,
        }
    }

    /// Tells no more of `source`. To be called before it is closed.
    pub fn unwatch(&mut self, source: BorrowedFd<'_>) {
        self.0.remove(source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    const SOON: Option<Duration> = Some(Duration::from_millis(500));
    const NOW: Option<Duration> = Some(Duration::ZERO);

    fn pair() -> (UnixStream, UnixStream) {
        let (a, b) = UnixStream::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        b.set_nonblocking(true).unwrap();
        (a, b)
    }

    fn wait(poller: &mut impl Poll, timeout: Option<Duration>) -> Vec<Readiness> {
        let mut events = Vec::new();
        poller.wait(&mut events, timeout).unwrap();
        events.sort_by_key(|event| event.token);
        events
    }

    fn tokens(events: &[Readiness]) -> Vec<u64> {
        events.iter().map(|event| event.token).collect()
    }

    fn tells_what_arrives<P: Poll>() {
        let mut poller = P::new(8).unwrap();
        let ((a, mut far_a), (b, mut far_b)) = (pair(), pair());
        far_b.write_all(b"early").unwrap();
        poller.add(a.as_fd(), 7).unwrap();
        poller.add(b.as_fd(), u64::MAX).unwrap();
        assert_eq!(tokens(&wait(&mut poller, SOON)), [u64::MAX], "what was there before it was added");
        (&b).read_exact(&mut [0; 5]).unwrap();
        far_a.write_all(b"x").unwrap();
        assert_eq!(wait(&mut poller, SOON), [Readiness { token: 7, hup: false }]);
        (&a).read_exact(&mut [0; 1]).unwrap();
        assert_eq!(tokens(&wait(&mut poller, NOW)), [0; 0], "nothing new");
    }

    fn tells_the_end<P: Poll>() {
        let mut poller = P::new(8).unwrap();
        let (a, far) = pair();
        poller.add(a.as_fd(), 1).unwrap();
        drop(far);
        assert_eq!(wait(&mut poller, SOON), [Readiness { token: 1, hup: true }]);
    }

    /// `poll` tells anyway of what a short read has left; `epoll` does so once.
    #[cfg(target_os = "linux")]
    #[test]
    fn epoll_tells_of_urgent_data_before_which_a_read_stops() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        sys::set_urgent_inline(listener.as_fd()).unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut near, _) = listener.accept().unwrap();
        let mut poller = super::epoll::Epoll::new(8).unwrap();
        poller.add(near.as_fd(), 1).unwrap();
        far.write_all(b"ab").unwrap();
        sys::send_urgent(far.as_fd(), b"cd").unwrap();
        far.write_all(b"ef").unwrap();
        let mut bytes = [0; 6];
        let told = (0..8).any(|_| wait(&mut poller, SOON).contains(&Readiness { token: 1, hup: true }));
        assert!(told);
        assert_eq!(near.read(&mut bytes).unwrap(), 3, "a read stops before the last byte of urgent data");
        near.read_exact(&mut bytes[3..]).unwrap();
        assert_eq!(&bytes, b"abcdef", "which stands where it was sent");
    }

    fn tells_room_to_write_only_to_who_waits_for_it<P: Poll>() {
        let mut poller = P::new(8).unwrap();
        let (mut a, mut far) = pair();
        poller.add(a.as_fd(), 1).unwrap();
        while a.write(&[0; 65536]).is_ok() {}
        poller.set(a.as_fd(), 1, Interest::Write).unwrap();
        assert_eq!(tokens(&wait(&mut poller, NOW)), [0; 0], "full");
        far.write_all(b"x").unwrap();
        assert_eq!(tokens(&wait(&mut poller, NOW)), [0; 0], "reading is not waited for");
        let mut sink = vec![0; 1 << 20];
        while far.read(&mut sink).is_ok() {}
        assert_eq!(tokens(&wait(&mut poller, SOON)), [1]);
        poller.set(a.as_fd(), 2, Interest::Read).unwrap();
        assert_eq!(tokens(&wait(&mut poller, SOON)), [2], "what arrived meanwhile");
    }

    fn tells_no_more_of_what_was_removed<P: Poll>() {
        let mut poller = P::new(8).unwrap();
        let ends: Vec<_> = (0..4).map(|_| pair()).collect();
        for (i, (near, _)) in ends.iter().enumerate() {
            poller.add(near.as_fd(), i as u64).unwrap();
        }
        let mut ends: Vec<_> = ends.into_iter().map(Some).collect();
        let (near, far) = ends[1].take().unwrap();
        poller.remove(near.as_fd());
        drop(near);
        drop(far);
        for (_, far) in ends.iter_mut().flatten() {
            far.write_all(b"x").unwrap();
        }
        assert_eq!(tokens(&wait(&mut poller, SOON)), [0, 2, 3]);
    }

    fn passes_none_over_when_a_batch_is_full<P: Poll>() {
        let mut poller = P::new(2).unwrap();
        let mut ends: Vec<_> = (0..5).map(|_| pair()).collect();
        for (i, (near, far)) in ends.iter_mut().enumerate() {
            poller.add(near.as_fd(), i as u64).unwrap();
            far.write_all(b"x").unwrap();
        }
        let mut seen = Vec::new();
        for _ in 0..5 {
            let told = tokens(&wait(&mut poller, SOON));
            assert!(told.len() <= 2);
            seen.extend(told);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }

    fn rests_while_the_owner_does_not_read<P: Poll>() {
        let mut poller = P::new(8).unwrap();
        let ((mut a, mut far), (b, _far)) = (pair(), pair());
        poller.add(b.as_fd(), 2).unwrap();
        poller.add(a.as_fd(), 1).unwrap();
        far.write_all(b"x").unwrap();
        assert_eq!(tokens(&wait(&mut poller, SOON)), [1]);
        poller.rest(a.as_fd());
        assert_eq!(tokens(&wait(&mut poller, NOW)), [0; 0], "a response is parked");
        // It takes the other's place.
        poller.remove(b.as_fd());
        drop(b);
        a.read_exact(&mut [0; 1]).unwrap();
        poller.go_on(a.as_fd());
        far.write_all(b"y").unwrap();
        assert_eq!(tokens(&wait(&mut poller, SOON)), [1]);
        poller.rest(a.as_fd());
        poller.set(a.as_fd(), 3, Interest::Read).unwrap();
        assert_eq!(tokens(&wait(&mut poller, SOON)), [3]);
    }

    fn waits_no_longer_than_asked<P: Poll>() {
        let mut poller = P::new(8).unwrap();
        let (a, _far) = pair();
        poller.add(a.as_fd(), 1).unwrap();
        assert_eq!(tokens(&wait(&mut poller, Some(Duration::from_millis(1)))), [0; 0]);
    }

    /// Every claim for both pollers.
    macro_rules! contract {
        ($($claim:ident),*) => {
            $(mod $claim {
                #[test]
                #[cfg(target_os = "linux")]
                fn epoll() {
                    super::$claim::<crate::poller::epoll::Epoll>();
                }

                #[test]
                fn poll() {
                    super::$claim::<crate::poller::poll::PollSet>();
                }
            })*
        };
    }

    contract!(
        tells_what_arrives,
        tells_the_end,
        tells_room_to_write_only_to_who_waits_for_it,
        tells_no_more_of_what_was_removed,
        passes_none_over_when_a_batch_is_full,
        rests_while_the_owner_does_not_read,
        waits_no_longer_than_asked
    );
}
