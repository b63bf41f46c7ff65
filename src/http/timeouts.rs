//! What a connection waits for, and how long.
//!
//! *Invariant:* a connection waits for one thing at a time.

use crate::time::Millis;

/// What a connection waits for, and is given up for when it does not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
    /// Another request.
    Idle,
    /// Another request of an operator, whose connection makes room for operators only.
    IdleAdmin,
    /// That a response is read.
    Write,
    /// That the client closes after the last response.
    Drain,
}

impl Timeout {
    /// Every kind, in the order of the enum, with its label.
    pub const ALL: [(Self, &str); 6] = [
        (Self::Head, "head"),
        (Self::Body, "body"),
        (Self::Idle, "idle"),
        (Self::IdleAdmin, "idle_admin"),
        (Self::Write, "write"),
        (Self::Drain, "drain"),
    ];

    /// How long it is waited for, where an idle connection is kept for `idle`.
    pub fn duration(self, idle: Millis) -> Millis {
        match self {
            Self::Head | Self::Body | Self::Write => Millis::from_secs(10),
            Self::Idle | Self::IdleAdmin => idle,
            Self::Drain => Millis::from_secs(2),
        }
    }
}
