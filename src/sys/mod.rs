//! The few system calls that std lacks, the instructions that not every processor has, and all the unsafe code there is.
//! Std links libc already, so declaring these is no package.
//!
//! *Invariant:* every descriptor made here is an `OwnedFd` from birth, every failure of a call is told or harmless
//! and said to be, and every block states the fact that makes it sound. (Not tested.)

#![allow(unsafe_code, reason = "here, and nowhere else")]

mod sha256;

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

/// Hang-up: read the files again.
pub const SIGHUP: c_int = 1;
/// A file would become longer than it may: the same number wherever this runs.
pub const SIGXFSZ: c_int = 25;
/// Interrupt: stop.
pub const SIGINT: c_int = 2;
/// Terminate: stop.
pub const SIGTERM: c_int = 15;

unsafe extern "C" {
    fn listen(fd: c_int, backlog: c_int) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, size: u32) -> c_int;
    fn signal(signum: c_int, handler: extern "C" fn(c_int)) -> usize;
    fn write(fd: c_int, bytes: *const c_void, count: usize) -> isize;
    fn getrlimit(resource: c_int, limit: *mut Limit) -> c_int;
    fn setrlimit(resource: c_int, limit: *const Limit) -> c_int;
    #[cfg_attr(target_os = "linux", link_name = "__errno_location")]
    #[cfg_attr(any(target_os = "netbsd", target_os = "openbsd"), link_name = "__errno")]
    #[cfg_attr(any(target_vendor = "apple", target_os = "freebsd"), link_name = "__error")]
    fn errno() -> *mut c_int;
}

/// `struct rlimit`, both fields 64 bits wide wherever this compiles: on 64-bit systems `rlim_t` is.
#[repr(C)]
struct Limit {
    current: u64,
    most: u64,
}

#[cfg(target_os = "linux")]
const RLIMIT_NOFILE: c_int = 7;
#[cfg(not(target_os = "linux"))]
const RLIMIT_NOFILE: c_int = 8;

const _: () = assert!(size_of::<usize>() == 8, "the declarations above are those of 64-bit systems");

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Lets `backlog` connections wait to be accepted; std asks for 128.
pub fn set_backlog(listener: BorrowedFd, backlog: c_int) -> io::Result<()> {
    // SAFETY: plain integers, and the descriptor is open as long as it is borrowed.
    check(unsafe { listen(listener.as_raw_fd(), backlog) }).map(drop)
}

#[cfg(target_os = "linux")]
const SOL_SOCKET_AND_OOBINLINE: (c_int, c_int) = (1, 10);
#[cfg(not(target_os = "linux"))]
const SOL_SOCKET_AND_OOBINLINE: (c_int, c_int) = (0xFFFF, 0x100);

/// Leaves urgent data where it stands among the other bytes, which is what TCP means by it (RFC 6093 section 5); by
/// default a system takes the last byte of it out. What a listener accepts inherits this.
pub fn set_urgent_inline(socket: BorrowedFd) -> io::Result<()> {
    let ((level, name), on): (_, c_int) = (SOL_SOCKET_AND_OOBINLINE, 1);
    let (value, size) = ((&raw const on).cast(), size_of::<c_int>() as u32);
    // SAFETY: pointer and size are of one live integer, which the call reads, and the descriptor is open as long as it is
    // borrowed.
    check(unsafe { setsockopt(socket.as_raw_fd(), level, name, value, size) }).map(drop)
}

/// Sends `bytes` as urgent data.
#[cfg(test)]
pub fn send_urgent(socket: BorrowedFd, bytes: &[u8]) -> io::Result<()> {
    const MSG_OOB: c_int = 1;
    unsafe extern "C" {
        fn send(fd: c_int, bytes: *const c_void, count: usize, flags: c_int) -> isize;
    }
    // SAFETY: pointer and count are of one live slice, which the call reads, and the descriptor is open as long as it is
    // borrowed.
    let sent = unsafe { send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), MSG_OOB) };
    if sent == bytes.len() as isize { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Raises the limit of open files as far as it goes; returns how far that is.
pub fn raise_file_limit() -> io::Result<u64> {
    let mut limit = Limit { current: 0, most: 0 };
    // SAFETY: the pointer is to a live `struct rlimit`, which the call fills in.
    check(unsafe { getrlimit(RLIMIT_NOFILE, &raw mut limit) })?;
    let before = limit.current;
    limit.current = limit.most;
    // SAFETY: the pointer is to a live `struct rlimit`, which the call reads.
    match check(unsafe { setrlimit(RLIMIT_NOFILE, &raw const limit) }) {
        Ok(_) => Ok(limit.most),
        Err(_) => Ok(before),
    }
}

/// Gives memory that has been freed back to the system. glibc keeps what lies below anything still in use.
pub fn release_memory() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> c_int;
        }
        // SAFETY: takes a plain integer, and locks whatever it looks at.
        unsafe { malloc_trim(0) };
    }
}

/// Works whole blocks into the state of a SHA-256 by the processor's own instructions; `k` are the constants of the rounds.
/// False, and nothing done, where the processor has none, or none that are known.
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), expect(unused_variables))]
pub fn compress_sha256(state: &mut [u32; 8], blocks: &[[u8; 64]], k: &[[u32; 16]; 4]) -> bool {
    #[cfg(target_arch = "x86_64")]
    let can = is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1");
    #[cfg(target_arch = "aarch64")]
    let can = std::arch::is_aarch64_feature_detected!("sha2");
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if can {
        // SAFETY: the processor has the features that the function asks for.
        unsafe { sha256::compress(state, blocks, k) };
        return true;
    }
    false
}

/// The signals that have come and have not been taken: a bit each.
static COME: AtomicU32 = AtomicU32::new(0);
/// Where the signal handler writes; -1 until [`catch_signals`] has been called.
static WAKER: AtomicI32 = AtomicI32::new(-1);

/// Notes a signal, and wakes the thread that takes them unless it has been woken already: so no number of signals fills
/// the socket, and none is lost.
///
/// A signal handler may call nothing but what is async-signal-safe, and has to leave `errno` as it was: the thread that
/// was interrupted may be about to read it.
extern "C" fn on_signal(signum: c_int) {
    if COME.fetch_or(bit(signum), SeqCst) != 0 {
        return;
    }
    let wake = 0_u8;
    // SAFETY: `errno` points to the thread's own number, which lives as long as the thread. `write` is async-signal-safe;
    // its pointer is to one live byte, and its descriptor was forgotten, so it is never closed. Should it fail, because
    // the other end is gone, then no thread waits for signals any more.
    unsafe {
        let before = *errno();
        write(WAKER.load(SeqCst), (&raw const wake).cast(), 1);
        *errno() = before;
    }
}

/// The bit of a signal.
pub fn bit(signum: c_int) -> u32 {
    1 << signum
}

/// From now on each of `signals` is noted for [`take_signals`], and a byte of 0 is written to `waker`, which stays open for
/// good.
pub fn catch_signals(signals: &[c_int], waker: OwnedFd) -> io::Result<()> {
    const SIG_ERR: usize = usize::MAX;
    WAKER.store(waker.into_raw_fd(), SeqCst);
    for &signum in signals {
        // SAFETY: the handler is async-signal-safe, as it says above, and lives as long as the program.
        if unsafe { signal(signum, on_signal) } == SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The bits of the signals that have come since they were last taken. To be called after the bytes that woke were read.
pub fn take_signals() -> u32 {
    COME.swap(0, SeqCst)
}

/// The bits of those that have come, which stay there to be taken.
pub fn come_signals() -> u32 {
    COME.load(SeqCst)
}

fn none_if_interrupted(ready: io::Result<c_int>) -> io::Result<usize> {
    match ready {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        ready => ready.map(|ready| ready as usize),
    }
}

/// Milliseconds, rounded up: a wait that ends before its deadline would only begin again.
fn millis(timeout: Option<Duration>) -> c_int {
    let Some(timeout) = timeout else { return -1 };
    c_int::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX)
}

#[cfg(any(test, not(target_os = "linux")))]
pub use poll::*;

#[cfg(any(test, not(target_os = "linux")))]
mod poll {
    use super::{c_int, check, millis, none_if_interrupted};
    use std::ffi::c_short;
    use std::io;
    use std::os::fd::RawFd;
    use std::time::Duration;

    /// `nfds_t`.
    #[cfg(target_os = "linux")]
    type Count = std::ffi::c_ulong;
    /// `nfds_t`.
    #[cfg(not(target_os = "linux"))]
    type Count = std::ffi::c_uint;

    unsafe extern "C" {
        fn poll(fds: *mut PollFd, count: Count, timeout: c_int) -> c_int;
    }

    /// `struct pollfd` of poll(2).
    #[repr(C)]
    #[derive(Clone, Copy, Debug)]
    pub struct PollFd {
        /// The descriptor; a negative one is passed over.
        pub fd: RawFd,
        /// What is waited for.
        pub events: c_short,
        /// What has come.
        pub revents: c_short,
    }

    /// There is something to read, or the end.
    pub const POLLIN: c_short = 1;
    /// There is room to write.
    pub const POLLOUT: c_short = 4;

    /// Waits until one of `fds` is ready, at most `timeout`; returns how many are. An interruption is no error: none is.
    pub fn wait_poll(fds: &mut [PollFd], timeout: Option<Duration>) -> io::Result<usize> {
        // SAFETY: pointer and length are of one live slice of `struct pollfd`s, whose `revents` the call fills in.
        none_if_interrupted(check(unsafe { poll(fds.as_mut_ptr(), fds.len() as Count, millis(timeout)) }))
    }
}

#[cfg(target_os = "linux")]
pub use linux::*;

#[cfg(target_os = "linux")]
mod linux {
    use super::{c_int, check, millis, none_if_interrupted};
    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
    use std::time::Duration;

    unsafe extern "C" {
        fn epoll_create1(flags: c_int) -> c_int;
        fn epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut EpollEvent) -> c_int;
        fn epoll_wait(epoll: c_int, events: *mut EpollEvent, most: c_int, timeout: c_int) -> c_int;
    }

    /// `struct epoll_event`, which only x86-64 packs.
    #[cfg_attr(target_arch = "x86_64", repr(C, packed))]
    #[cfg_attr(not(target_arch = "x86_64"), repr(C))]
    #[derive(Clone, Copy, Default)]
    pub struct EpollEvent {
        /// What is waited for, or has come.
        pub events: u32,
        /// Whatever was given when the descriptor was added.
        pub token: u64,
    }

    /// There is something to read.
    pub const EPOLLIN: u32 = 0x1;
    /// There is urgent data to read.
    pub const EPOLLPRI: u32 = 0x2;
    /// There is room to write.
    pub const EPOLLOUT: u32 = 0x4;
    /// The other end has sent its last byte.
    pub const EPOLLRDHUP: u32 = 0x2000;
    /// Each change is told once.
    pub const EPOLLET: u32 = 1 << 31;

    const EPOLL_CLOEXEC: c_int = 0o2_000_000;

    /// What to do with a descriptor.
    #[derive(Clone, Copy, Debug)]
    pub enum EpollOperation {
        /// `EPOLL_CTL_ADD`
        Add = 1,
        /// `EPOLL_CTL_MOD`
        Change = 3,
    }

    /// An epoll instance.
    pub fn new_epoll() -> io::Result<OwnedFd> {
        // SAFETY: takes plain integers; the descriptor that it returns is new, so it is ours alone to own.
        check(unsafe { epoll_create1(EPOLL_CLOEXEC) }).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Adds or changes `fd`; closing it removes it.
    pub fn control_epoll(
        epoll: &OwnedFd,
        operation: EpollOperation,
        fd: BorrowedFd,
        mut event: EpollEvent,
    ) -> io::Result<()> {
        // SAFETY: both descriptors are open as long as they are borrowed; the event is live, and read only.
        check(unsafe { epoll_ctl(epoll.as_raw_fd(), operation as c_int, fd.as_raw_fd(), &raw mut event) })
            .map(drop)
    }

    /// Waits until something is ready, at most `timeout`; returns how many of `events` were filled in. An interruption is
    /// no error: none are.
    pub fn wait_epoll(
        epoll: &OwnedFd,
        events: &mut [EpollEvent],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let most = events.len() as c_int;
        // SAFETY: pointer and length are of one live slice of `struct epoll_event`s, which the call fills in.
        none_if_interrupted(check(unsafe {
            epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), most, millis(timeout))
        }))
    }
}
