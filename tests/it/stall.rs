//! A process that stands still: its leases wait for it.

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::thread::sleep;
use std::time::Duration;

use streamer::store::memory::Memory;
use streamer::store::{Census, Session, Store, Swept};
use streamer::time::Timestamp;

use crate::inside::{InProcess, memory};
use crate::server::Server;

/// Longer than what counts as a stall.
const LONG: Duration = Duration::from_millis(2_500);

#[test]
fn a_stall_of_the_whole_process_does_not_count() {
    let server = Server::start(&["--lease", "3s", "--workers", "2", "--log", "off"]);
    // Past the time in which a new server adopts what it does not know.
    sleep(Duration::from_millis(3_100));
    for id in ["A", "B", "C"] {
        assert_eq!(server.call("alice", &format!("POST /?id={id}"), "").status, 201);
    }
    server.process.signal("STOP");
    // Longer than a lease, and than what counts as a stall.
    sleep(Duration::from_millis(4_500));
    server.process.signal("CONT");
    assert_eq!(server.call("alice", "POST /?id=D", "").status, 409, "the three still play");
    for id in ["A", "B", "C"] {
        assert_eq!(server.call("alice", &format!("PATCH /?id={id}"), "").status, 200, "{id}");
    }
    let stalled = server.metric("streamer_clock_stalled_seconds_total");
    assert!((4.0..60.0).contains(&stalled), "{stalled}");
}

#[test]
fn a_stop_that_waits_for_a_slow_client_is_no_stall() {
    let server = Server::start(&["--log", "off"]);
    let mut slow = server.connect();
    // Once the first is answered, the server knows of the second.
    slow.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\n");
    assert_eq!(slow.answer().status, 200);
    server.process.signal("TERM");
    server.process.stderr.line("stopping");
    // No other request wakes a worker meanwhile.
    sleep(LONG);
    assert_eq!(server.metric("streamer_clock_stalled_seconds_total") as u64, 0);
    slow.send("Host: a\r\n\r\n");
    assert_eq!(slow.answer().status, 200);
}

/// Streams in memory, in a store whose sweeps take long, as on a disk that hangs.
struct Slow(Arc<Memory>);

impl Store for Slow {
    fn session(self: Arc<Self>, waker: Waker) -> io::Result<Box<dyn Session>> {
        Arc::clone(&self.0).session(waker)
    }

    fn sweep(&self, now: Timestamp) -> Swept {
        sleep(LONG);
        self.0.sweep(now)
    }

    fn census(&self) -> Option<Census> {
        self.0.census()
    }

    fn describe(&self) -> String {
        "memory, slowly swept".into()
    }
}

#[test]
fn a_sweep_that_waits_for_a_slow_disk_is_no_stall() {
    let server = InProcess::start(&["--log", "off"], Slow(Arc::new(memory())));
    sleep(LONG + Duration::from_millis(500));
    assert_eq!(server.metric("streamer_clock_stalled_seconds_total") as u64, 0);
}
