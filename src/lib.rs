//! **streamer** tells a video platform whether a user may start one more stream.
//!
//! A hand-written HTTP/1.1 server on std alone: no package at run time. `docs/tour.md` is the way in, with reading times.
//!
//! ```text
//! bytes ──http──▶ Request ──app──▶ Command ──store──▶ Outcome ──app──▶ response ──http──▶ bytes
//!                             └──────────── refused? straight to ────────▶ response
//! ```
//!
//! Each room knows only what stands above it in this list. Sockets, files and the clock are for [`server`] and the two
//! engines that need them, threads for [`sync`] too; `core::net` is used for addresses, because it has no sockets.
//!
//! 0. `sys`: the few system calls that std lacks, and all the unsafe code.
//! 1. [`time`]: points and lengths of time. The rules read no clock; `now` is an argument.
//! 2. [`codec`]: base64, JSON, urlencoded, SHA-256, each from its specification.
//! 3. [`http`]: heads and bodies in, responses out.
//! 4. [`streams`]: the rules. An account is a pure function of what it was, the time and a command.
//! 5. [`measures`]: the form of a number for `/metrics`. [`sync`]: a thread that waits, with what others leave for it.
//!    [`poller`]: waiting for sockets.
//! 6. [`store`]: where accounts are kept: in a `Mutex<HashMap>`, in a journal, in Redis.
//! 7. [`config`]: one table of options, from which flags, variables and `--help` follow.
//! 8. [`app`]: what a request means.
//! 9. `operators`, a feature: `/metrics`, the live page, history and events.
//! 10. [`server`]: the listener, the workers and their turns, the log. `main.rs`, `check.rs` and `token.rs` are the
//!     program around it.

mod sys;

pub mod time;

pub mod codec;

pub mod http;

pub mod streams;

pub mod measures;

pub mod sync;

pub mod poller;

pub mod store;

pub mod config;

pub mod app;

#[cfg(feature = "operators")]
pub mod operators;

pub mod server;
