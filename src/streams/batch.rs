//! What a turn asks of the store, and what comes of it: commands in, outcomes out.
//!
//! A batch holds a turn's commands in the order in which they came. The bytes that they name (users, streams, messages)
//! lie one after the other in an [`Arena`], and a [`Word`] says where. All of it is cleared and used again, so that in
//! steady state a turn allocates nothing.
//!
//! What commands name lies in one arena ([`Asked`]), what outcomes name in another ([`Found`]), and the compiler keeps
//! their words apart.
//!
//! *Invariant:* a command is only data: what it means is decided in `account`, and who sent it in `app`.

use super::arena::{Arena, Word, clear};
use super::position::Position;
use crate::time::Millis;

/// Splits a stream's key into its id and its device. Neither may hold a control character, so NUL keeps them apart.
pub fn id_and_device(key: &[u8]) -> (&[u8], Option<&[u8]>) {
    match key.iter().position(|&byte| byte == 0) {
        Some(at) => (&key[..at], Some(&key[at + 1..])),
        None => (key, None),
    }
}

/// The arena of what commands name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked;

/// The arena of what outcomes name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found;

/// What a user asks for.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Who asks.
    pub user: Word<Asked>,
    /// The stream it is about: its id or, with a device, `id NUL device`. Empty when it is about all.
    pub key: Word<Asked>,
    /// How many streams this user may play at once.
    pub limit: u32,
    /// What to do.
    pub action: Action,
}

/// The calls of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Says whether the stream may start. Changes nothing.
    Look,
    /// Says what the user watches. Changes nothing.
    List,
    /// Starts the stream, or restarts, resumes and renews it.
    Start {
        /// Where to; where it was, or the beginning, when absent.
        position: Option<Position>,
        /// Who is to end when the user is full.
        replace: Replace,
        /// Whether this device is to play nothing else.
        switch: bool,
    },
    /// Renews the stream, and moves, pauses or resumes it.
    Beat {
        /// Where to.
        position: Option<Position>,
        /// `Some(true)` resumes, `Some(false)` pauses.
        playing: Option<bool>,
    },
    /// A part of the video is asked for: starts, resumes or renews the stream, but not one that was ended on purpose.
    Gate {
        /// Who is to end when the user is full.
        replace: Replace,
        /// Whether this device is to play nothing else.
        switch: bool,
    },
    /// Ends the stream.
    End,
    /// The operator ends the stream or, without a key, every stream of the user.
    Evict {
        /// What the player is told; empty for nothing.
        message: Word<Asked>,
    },
    /// The operator ends every stream of the user, and nothing starts for so long.
    Hold {
        /// How long; no time at all lifts a hold, and ends nothing.
        length: Millis,
        /// What the player is told; empty for nothing.
        message: Word<Asked>,
    },
}

impl Action {
    /// Who is to give way, if it is a start of any kind.
    pub fn replaces(self) -> Option<Replace> {
        match self {
            Self::Start { replace, .. } | Self::Gate { replace, .. } => Some(replace),
            _ => None,
        }
    }

    /// Whether it changes nothing, whatever comes of it.
    pub fn is_question(self) -> bool {
        matches!(self, Self::Look | Self::List)
    }
}

/// Which stream gives way when a start finds the user full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// What the server's policy says.
    ByPolicy,
    /// The one that started first.
    Oldest,
    /// The one with this key, if it plays.
    Stream(Word<Asked>),
}

/// What became of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// The store has not carried it out. What every command begins with, so that one that is never reached says so.
    #[default]
    Unavailable,
    /// It was a question, and the rest of the outcome says what was asked.
    Info,
    /// A new stream plays.
    Started,
    /// A stream that was there has been renewed.
    Renewed,
    /// The stream ended, or all of them.
    Ended,
    /// No such stream.
    Unknown,
    /// The stream was ended on purpose less than one lease ago.
    Gone(Why),
    /// The user plays as many streams as the limit allows.
    Full,
    /// The operator keeps the user out.
    Held,
}

/// Why a stream was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// By a DELETE of the user.
    Stopped,
    /// Another one, [`Outcome::other`], took its place.
    Replaced,
    /// By the operator, whose message is [`Outcome::other`].
    Operator,
}

/// What a command did to the account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing that has to be kept. What has run out may have been dropped, but a later reader of the old account drops
    /// that too.
    #[default]
    None,
    /// A lease was renewed, and perhaps a position moved: losing that ends nothing that a client was promised.
    Lease,
    /// More than that: a stream began, ended, paused or resumed, or a hold changed.
    State,
}

/// What a command did, with all that a response needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// What became of it.
    pub verdict: Verdict,
    /// What has to be kept.
    pub change: Change,
    /// Whether this user may watch this stream now without ending another.
    pub can_watch: bool,
    /// What happened besides, for the counters.
    pub notes: Notes,
    /// When the verdict is `Full`, how many streams would have to end first. When a stream started, how many more would
    /// play than the limit allows if none had given way.
    pub excess: u16,
    /// How many streams the user plays now.
    pub count: u32,
    /// In [`Findings::arena`], the stream that was replaced or that replaced this one, or the operator's message; empty
    /// when there is none.
    pub other: Word<Found>,
    /// In [`Findings::streams`], the stream that was started or renewed, or all of the user's: for `List`, for what is
    /// about all, and when the verdict is `Full`.
    pub streams: (u32, u32),
    /// When the verdict is `Full`, until the first lease of a playing stream can run out; else until the end of a hold.
    /// Zero when there is neither.
    pub wait: Millis,
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, ..Self::default() }
    }
}

/// What happened besides the verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The stream was not known, and taken over because the store has only just started.
    pub adopted: bool,
    /// The user was full, and the policy let the stream through.
    pub over_limit: bool,
    /// How many streams gave way to this one.
    pub replaced: u16,
    /// How many leases were found to have run out. A store that keeps an account elsewhere finds the same ones again
    /// until it has written it, and counts them then.
    pub expired: u16,
}

/// A stream as a response shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamView {
    /// Its key, in [`Findings::arena`]; empty where the command's own key says it.
    pub key: Word<Found>,
    /// Where it is.
    pub position: Position,
    /// Whether it plays, or is paused.
    pub playing: bool,
    /// Until its lease runs out.
    pub expires_in: Millis,
}

/// What outcomes point into.
#[derive(Debug, Default)]
pub struct Findings {
    /// The keys of the streams below, and of [`Outcome::other`].
    pub arena: Arena<Found>,
    /// Lists of streams, one after the other.
    pub streams: Vec<StreamView>,
}

/// One command and its outcome.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What was asked.
    pub command: Command,
    /// What came of it.
    pub outcome: Outcome,
}

/// A turn's commands, in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// The worker's number for the batch, to know it again when an engine gives it back. An engine leaves it as it is.
    pub ticket: u32,
    /// What the commands name.
    pub arena: Arena<Asked>,
    /// The commands and their outcomes.
    pub entries: Vec<Entry>,
    /// What the outcomes name.
    pub findings: Findings,
    /// Of each entry, whether it is still to be carried out. Empty once all are: only an engine that gives a batch back in
    /// parts fills it.
    pub awaited: Vec<bool>,
}

impl Batch {
    /// Adds a command; returns where its outcome will stand in `entries`.
    pub fn push(&mut self, command: Command) -> u32 {
        self.entries.push(Entry { command, outcome: Outcome::default() });
        self.entries.len() as u32 - 1
    }

    /// Says of every command but questions that the store could not carry it out.
    pub fn refuse_changes(&mut self) {
        for entry in self.entries.iter_mut().filter(|entry| !entry.command.action.is_question()) {
            entry.outcome = Outcome::default();
        }
    }

    /// Whether this entry is still to be carried out.
    pub fn awaits(&self, entry: u32) -> bool {
        self.awaited.get(entry as usize) == Some(&true)
    }

    /// Whether a command has done more than to renew a lease.
    pub fn has_state_change(&self) -> bool {
        self.entries.iter().any(|entry| entry.outcome.change == Change::State)
    }

    /// The streams that `outcome` lists.
    pub fn streams(&self, outcome: &Outcome) -> &[StreamView] {
        &self.findings.streams[outcome.streams.0 as usize..outcome.streams.1 as usize]
    }

    /// Forgets all. The memory is kept for the next turn, unless it is far more than a turn usually takes.
    pub fn clear(&mut self) {
        self.arena.clear();
        clear(&mut self.entries);
        self.findings.arena.clear();
        clear(&mut self.findings.streams);
    }
}
