//! The rules: what a user watches, and whether one more stream may start.
//!
//! An [`Account`](account::Account) is one user's streams; it takes a [`Command`](batch::Command) and gives an
//! [`Outcome`](batch::Outcome), and that is all there is. Commands come in a [`Batch`](batch::Batch), a turn's worth at
//! a time, so that a store can pay for a disk or a network once a turn.
//!
//! ```
//! use streamer::streams::account::{Account, Policy};
//! use streamer::streams::arena::Arena;
//! use streamer::streams::batch::{Action, Command, Findings, Verdict};
//! use streamer::time::{Millis, Timestamp};
//!
//! let policy = Policy::new(Millis::from_secs(90));
//! let mut arena = Arena::default();
//! let user = arena.add(b"alice");
//! let (news, match_on_tv) = (arena.add(b"news"), arena.add(b"match\0tv"));
//!
//! let mut alice = Account::default();
//! let mut apply = |secs: u64, key, action| {
//!     let command = Command::new(user, key, 1, action);
//!     let now = Timestamp::from_millis(1000 * secs);
//!     alice.apply(now, &policy, &command, &arena, &mut Findings::default())
//! };
//! assert_eq!(apply(0, news, Action::start()).verdict, Verdict::Started);
//!
//! let refused = apply(1, match_on_tv, Action::start());
//! assert_eq!((refused.verdict, refused.count, refused.can_watch), (Verdict::Full, 1, false));
//! assert_eq!(refused.wait, Millis::from_secs(89));
//!
//! // The lease of the news has run out: no heartbeat came.
//! assert_eq!(apply(90, match_on_tv, Action::start()).verdict, Verdict::Started);
//! assert_eq!(apply(91, news, Action::beat()).verdict, Verdict::Unknown);
//! ```
//!
//! *Invariant:* nothing here reads a clock, takes a lock, or knows what HTTP is: `now` is an argument. (Tested by
//! `only_the_server_and_the_program_touch_the_world`.)

/// The highest limit that a user, or all of them, can be given. 0 is one too: nothing starts.
pub const MAX_LIMIT: u32 = 1000;
/// How long a video's id may be, in bytes.
pub const MAX_ID: usize = 256;
/// How long a device may be, in bytes.
pub const MAX_DEVICE: usize = 64;

pub mod name;

pub mod few;

pub mod arena;

pub mod position;

pub mod limits;

pub mod account;

pub mod record;

pub mod batch;
