//! The server from the outside: the real program as a process, over real sockets.
//!
//! One binary for all of it, so that a helper which nobody needs any more is flagged. Without the program's features those
//! parts are left out that look at metrics.

#![cfg_attr(not(all(feature = "journal", feature = "redis", feature = "operators")), allow(dead_code))]

#[cfg(feature = "operators")]
mod admin;
mod allocations;
mod api;
mod count;
mod course;
#[cfg(feature = "operators")]
mod credentials;
#[cfg(feature = "operators")]
mod hostile;
mod inside;
#[cfg(feature = "journal")]
mod journal;
#[cfg(feature = "operators")]
mod passes;
mod program;
mod rules;
mod server;
#[cfg(feature = "operators")]
mod stall;
#[cfg(all(feature = "journal", feature = "redis"))]
mod stores;
mod tidy;
#[cfg(feature = "operators")]
mod waits;
mod wire;
