//! **streamer** tells a video platform whether a user may start one more stream.
//!
//! A hand-written HTTP/1.1 server on std alone: no package at run time. Each room knows only what stands above it, and
//! [`server`] alone touches sockets, files, threads and the clock. (`core::net` is used for addresses, because it has no
//! sockets.) With an hour, read the spine: [`streams::batch`], [`streams::account`], [`store::memory`], [`app`] with its
//! `routes.rs`, and of the server `worker.rs`, `worker/serve.rs` and `connection.rs`.
//!
//! ```text
//! bytes ──http──▶ Request ──app──▶ Command ──store──▶ Outcome ──app──▶ answer ──http──▶ bytes
//!                             └──────────── refused? straight to ────────▶ answer
//! ```
//!
//! One [turn](server) of a worker takes every ready connection's requests that way, all commands in one batch: wait, read,
//! decode, give up on whoever is due, execute, answer.
//!
//! 0. `sys`: the few system calls that std lacks, and all the unsafe code.
//! 1. [`time`]: points and lengths of time. Nobody reads a clock but the server; `now` is an argument.
//! 2. [`codec`]: base64, JSON, urlencoded, SHA-256, each from its specification.
//! 3. [`http`]: heads and bodies in, answers out.
//! 4. [`streams`]: the rules. An account is a pure function of what it was, the time and a command.
//! 5. [`store`]: where accounts are kept; a mutex over a hash table, cut into shards.
//! 6. [`config`]: one table of options, from which flags, variables and `--help` follow.
//! 7. [`app`]: what a request means.
//! 8. [`server`]: the listener, the workers, the log. `main.rs`, `check.rs` and `token.rs` are the program around it.

mod sys;

pub mod time;

pub mod codec;

pub mod http;

pub mod streams;

pub mod store;

pub mod config;

pub mod app;

pub mod server;
