//! A process that stands still: its leases wait for it.

use std::thread::sleep;
use std::time::Duration;

use crate::server::Server;

#[test]
fn a_stall_of_the_whole_process_does_not_count() {
    let server = Server::start(&["--lease", "2s", "--workers", "2", "--log", "off"]);
    // Past the time in which a new server adopts what it does not know.
    sleep(Duration::from_millis(2_100));
    for id in ["A", "B", "C"] {
        assert_eq!(server.call("alice", &format!("POST /?id={id}"), "").status, 201);
    }
    server.process.signal("STOP");
    // Longer than a lease, and than what counts as a stall.
    sleep(Duration::from_millis(3_500));
    server.process.signal("CONT");
    assert_eq!(server.call("alice", "POST /?id=D", "").status, 409, "the three still play");
    for id in ["A", "B", "C"] {
        assert_eq!(server.call("alice", &format!("PATCH /?id={id}"), "").status, 200, "{id}");
    }
    let stalled = server.metric("streamer_clock_stalled_seconds_total");
    assert!((3.0..60.0).contains(&stalled), "{stalled}");
}

#[test]
fn a_stop_that_waits_for_a_slow_client_is_no_stall() {
    let server = Server::start(&["--log", "off"]);
    let mut slow = server.connect();
    slow.send("GET /healthz HTTP/1.1\r\n");
    server.process.signal("TERM");
    server.process.stderr.line("stopping");
    // Longer than what counts as a stall; no other request wakes a worker meanwhile.
    sleep(Duration::from_millis(2_500));
    assert_eq!(server.metric("streamer_clock_stalled_seconds_total") as u64, 0);
    slow.send("Host: a\r\n\r\n");
    assert_eq!(slow.answer().status, 200);
}
