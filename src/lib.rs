//! **streamer** tells a video platform whether a user may start one more stream.
//!
//! A hand-written HTTP/1.1 server on std alone: no package at run time. Read it in this order, an hour in all; each room
//! knows only what stands above it, and [`server`] alone touches sockets, files, threads and the clock.
//!
//! ```text
//! bytes ──http──▶ Request ──app──▶ Command ──store──▶ Outcome ──app──▶ answer ──http──▶ bytes
//!                             └──────────── refused? straight to ────────▶ answer
//! ```
//!
//! One [turn](server) of a worker takes every ready connection's requests that way, all commands in one batch: wait, read,
//! execute, encode and write, give up on whoever is due.
//!
//! 1. [`time`]: points and lengths of time. Nobody reads a clock but the server; `now` is an argument.
//! 2. [`codec`]: base64, JSON, urlencoded, SHA-256, each from its specification.
//! 3. [`http`]: heads and bodies in, answers out.
//! 4. [`streams`]: the rules. An account is a pure function of what it was, the time and a command.
//! 5. [`store`]: where accounts are kept; a `Mutex<HashMap>` in a thousand pieces.
//! 6. [`config`]: one table of options, from which flags, variables and `--help` follow.
//! 7. [`app`]: what a request means.
//! 8. [`server`]: the listener, the workers, the log.

pub mod time;

pub mod codec;

pub mod http;

pub mod streams;

pub mod store;

pub mod config;

pub mod app;

pub mod server;
