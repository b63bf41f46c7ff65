//! A way that takes time: a proxy that passes on every byte a while after it has come, however many come.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Leads to the port `to` of this machine, and takes half of `round_trip` each way. Ends with the process.
pub fn proxy(to: u16, round_trip: Duration) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            // Without a far end the near one is closed.
            let _ = connect(near, to, round_trip / 2);
        }
    });
    Ok(port)
}

fn connect(near: TcpStream, to: u16, delay: Duration) -> io::Result<()> {
    let far = TcpStream::connect((Ipv4Addr::LOCALHOST, to))?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    pass_on(near.try_clone()?, far.try_clone()?, delay);
    pass_on(far, near, delay);
    Ok(())
}

/// One thread reads and another writes, so that what is under way holds up nothing behind it.
fn pass_on(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, under_way) = channel();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if sender.send((Instant::now() + delay, buffer[..read].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in under_way {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
