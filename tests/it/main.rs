//! The server from the outside: the real program as a process, over real sockets.
//!
//! One binary for all of it, so that a helper which nobody needs any more is flagged.

mod admin;
mod allocations;
mod api;
mod count;
mod credentials;
mod hostile;
mod inside;
mod journal;
mod parked;
mod pending;
mod program;
mod server;
mod stall;
mod stores;
mod tidy;
mod wire;
