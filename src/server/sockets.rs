//! The listening sockets, and how many connections there may be.
//!
//! *Invariant:* an address that cannot be bound is an error that names its flag and says what to do. (Tested by
//! `an_address_that_is_taken_exits_1`.)

use core::net::{Ipv6Addr, SocketAddr};
use std::io;
use std::net::TcpListener;

use super::notice;
use crate::config::Config;
use crate::sys;

/// Descriptors that are no connections: standard streams, listeners, signals, files; and a few for each worker.
const RESERVED_FILES: usize = 16;
const FILES_PER_WORKER: usize = 4;
/// How many connections the admin listener may have, beside `--max-connections`.
const MAX_ADMIN: usize = 64;
/// How many refused connections may linger until their clients have read why.
const MAX_REFUSED: usize = 256;

/// The sockets of an address: two for `[::]` on a system that keeps IPv4 apart from IPv6, else one.
///
/// # Errors
///
/// A sentence with the flag.
pub fn bind(address: SocketAddr, flag: &str) -> Result<Vec<TcpListener>, String> {
    let every_ipv4 = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let bound = match TcpListener::bind(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && lacks_ipv6(&error) => {
            TcpListener::bind(every_ipv4(address.port()))
        }
        bound => bound,
    };
    let first = bound.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "; stop whatever listens there or choose another port",
            io::ErrorKind::PermissionDenied => "; ports below 1024 take a privilege, choose another one",
            _ => "",
        };
        format!("{flag} {address}: {error}{hint}")
    })?;
    let port = first.local_addr().map_err(|error| format!("{flag} {address}: {error}"))?.port();
    let mut sockets = vec![first];
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // Where the first one takes IPv4 too, as on Linux unless net.ipv6.bindv6only is set, this fails.
        sockets.extend(TcpListener::bind(every_ipv4(port)));
    }
    Ok(sockets)
}

/// Whether the system has no IPv6, or has it switched off.
fn lacks_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = if cfg!(target_os = "linux") { 97 } else { 47 };
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    pub public: usize,
    /// Of operators, who want in when all is full.
    pub admin: usize,
    /// Of clients who are being told that there is no room.
    pub refused: usize,
}

/// `--max-connections`, or what the system has descriptors for.
pub fn capacity(config: &Config) -> Capacity {
    let files = sys::raise_file_limit().map_or(usize::MAX, |files| files as usize);
    let spare = files.saturating_sub(RESERVED_FILES + FILES_PER_WORKER * config.workers);
    let (admin, refused) = ((spare / 8).clamp(1, MAX_ADMIN), (spare / 8).min(MAX_REFUSED));
    let public = spare.saturating_sub(admin + refused).max(1);
    if public < config.max_connections {
        notice(&format!(
            "{files} open files are allowed, so there can be {public} connections and not {}; raise it with `ulimit -n` \
             or LimitNOFILE=",
            config.max_connections
        ));
    }
    Capacity { public: public.min(config.max_connections), admin, refused }
}
