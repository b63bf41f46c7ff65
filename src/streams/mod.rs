//! The rules: what a user watches, and whether one more stream may start.
//!
//! An [`Account`](account::Account) is one user's streams; it takes a [`Command`](batch::Command) and gives an
//! [`Outcome`](batch::Outcome), and that is all there is. Commands come in a [`Batch`](batch::Batch), a turn's worth at
//! a time, so that a store can pay for a disk or a network once a turn.
//!
//! *Invariant:* nothing here reads a clock, takes a lock, or knows what HTTP is: `now` is an argument.

/// The highest limit that a user, or all of them, can be given. 0 is one too: nothing starts.
pub const MAX_LIMIT: u32 = 1000;

pub mod name;

pub mod inline_vec;

pub mod arena;

pub mod position;

pub mod account;

pub mod record;

pub mod batch;
