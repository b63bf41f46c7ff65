//! Connecting to a server, over TCP or a socket in the file system.

use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::url::Address;
use crate::sync::lock;

/// How much longer than the attempt itself its end is waited for, so that the system's own word is told.
const LONGER: Duration = Duration::from_millis(100);

/// A connection to a server. What std does with one, the system does for each kind of stream alike: so one type is enough,
/// whatever the address was.
pub type EngineStream = UnixStream;

/// Connects, in little more than `timeout`; in twice that if an earlier attempt is just failing. A name is looked up anew
/// each time, so that one that follows the master leads to it. How long that takes is for the system to say, and so it is of a
/// socket of the file system whose queue is full. So a thread of its own waits for it; and who asks for the same address
/// later waits for what is under way already.
pub fn connect(address: &Address, timeout: Duration) -> io::Result<EngineStream> {
    static LATE: Mutex<Vec<(Address, Receiver<io::Result<EngineStream>>)>> = Mutex::new(Vec::new());
    let late = {
        let mut late = lock(&LATE);
        let found = late.iter().position(|(of, _)| of == address);
        found.map(|at| late.swap_remove(at).1)
    };
    let is_late = late.is_some();
    let coming = late.map_or_else(|| begin(address.clone(), timeout), Ok)?;
    match coming.recv_timeout(timeout + LONGER) {
        // That was an earlier attempt's end.
        Ok(Err(_)) if is_late => connect(address, timeout),
        Ok(end) => end,
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the attempt has panicked")),
        Err(RecvTimeoutError::Timeout) => {
            lock(&LATE).push((address.clone(), coming));
            let error = "it was not connected, or its name looked up, in time";
            Err(io::Error::new(ErrorKind::TimedOut, error))
        }
    }
}

fn begin(address: Address, timeout: Duration) -> io::Result<Receiver<io::Result<EngineStream>>> {
    let (tell, coming) = channel();
    // Nobody may ask for it again.
    let connect = move || drop(tell.send(connect_slowly(&address, timeout)));
    thread::Builder::new().name("connect".into()).spawn(connect)?;
    Ok(coming)
}

fn connect_slowly(address: &Address, timeout: Duration) -> io::Result<EngineStream> {
    let (host, port) = match address {
        Address::Tcp { host, port } => (host, port),
        Address::Unix(path) => return UnixStream::connect(path),
    };
    let until = Instant::now() + timeout;
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (host.as_str(), *port).to_socket_addrs()? {
        // `connect_timeout` refuses a time of zero.
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(OwnedFd::from(stream).into());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;

    #[test]
    fn what_the_system_is_slow_at_is_given_up_in_time_and_taken_up_again() {
        let path = std::env::temp_dir().join(format!("streamer-connect-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        crate::sys::set_backlog(listener.as_fd(), 0).unwrap();
        let address = Address::Unix(path.clone());
        let connect = |millis| super::connect(&address, Duration::from_millis(millis));
        let first = connect(5000).unwrap();
        // The queue is full now.
        let late = |error: io::Error| error.kind() == ErrorKind::TimedOut;
        (0..3).for_each(|_| assert!(connect(50).err().is_some_and(late)));
        drop(listener.accept().unwrap());
        let _second = connect(5000).unwrap();
        drop(listener.accept().unwrap());
        listener.set_nonblocking(true).unwrap();
        thread::sleep(Duration::from_millis(50));
        assert!(listener.accept().is_err(), "three tries in vain were one connection");
        drop(first);
        std::fs::remove_file(&path).unwrap();
    }
}
