//! What a turn asks of the store, and what comes of it: commands in, outcomes out.
//!
//! A batch holds a turn's commands in the order in which they came. The bytes that they name (users, streams, messages)
//! lie one after the other in an [`Arena`], and a [`Word`] says where. All of it is cleared and used again, so that in
//! steady state a turn allocates nothing.
//!
//! What commands name lies in one arena ([`Asked`]), what outcomes name in another ([`Found`]), and the compiler keeps
//! their words apart.

use super::arena::{Arena, Word, clear};
use super::limits::Limits;
use super::position::Position;
use crate::codec::labelled;
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
    pub user: Word<Asked>,
    /// The stream it is about: its id or, with a device, `id NUL device`. Empty when it is about all.
    pub key: Word<Asked>,
    /// How many streams this user may play at once.
    pub limits: Limits<Word<Asked>>,
    /// The classes of a stream that it starts: `mobile,live`.
    pub classes: Word<Asked>,
    /// Whether the client named classes, or none on purpose: a question without goes by those of a stream that is there.
    pub names_classes: bool,
    /// The generation of a stream that it starts: random, drawn once for a command however often it is tried.
    pub generation: u64,
    /// The generations that are meant, each as 16 hexadecimal digits between quotes, whatever stands between them. Empty
    /// for any.
    pub if_match: Word<Asked>,
    pub action: Action,
}

impl Command {
    /// A command about no class and any generation.
    pub fn new(
        user: Word<Asked>,
        key: Word<Asked>,
        limits: impl Into<Limits<Word<Asked>>>,
        action: Action,
    ) -> Self {
        let (classes, if_match) = Default::default();
        let (limits, names_classes, generation) = (limits.into(), false, 0);
        Self { user, key, limits, classes, names_classes, generation, if_match, action }
    }

    /// Whether a stream that is there keeps its classes and its generation, whatever the command names.
    pub fn keeps(&self) -> bool {
        match self.action {
            Action::Beat { .. } | Action::Gate { .. } => true,
            Action::Look => !self.names_classes,
            _ => false,
        }
    }
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
    /// A start as plain as there is.
    pub const fn start() -> Self {
        Self::Start { position: None, replace: Replace::ByPolicy, switch: false }
    }

    /// A heartbeat that says nothing else.
    pub const fn beat() -> Self {
        Self::Beat { position: None, playing: None }
    }

    pub const fn pause() -> Self {
        Self::Beat { position: None, playing: Some(false) }
    }

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
    Unknown,
    /// The stream was ended on purpose less than one lease ago.
    Gone(Ending),
    /// The user plays as many streams as the limit allows.
    Full,
    /// The operator keeps the user out.
    Held,
    /// The stream is there, in another generation than is meant.
    Outdated,
    /// The user has nothing here, and there are as many users as there may be.
    NoRoom,
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
    /// When the verdict is `Full` for want of room in a class, in which; or in which more play than its limit allows, because
    /// the policy only reports.
    pub class_full: Option<ClassFull>,
    /// In [`Findings::streams`], the stream that was started, renewed or looked at, or all of the user's: for `List`, for
    /// what is about all, and when the verdict is `Full`.
    pub streams: (u32, u32),
    /// In [`Findings::ends`], what ended: by the command, or because its lease had run out before. A store that keeps an
    /// account elsewhere finds the latter again until it has written it, and tells them then.
    pub ends: (u32, u32),
    /// When the verdict is `Full`, until the first lease of a playing stream, of that class, can run out; else until the end of a hold.
    /// Zero when there is neither.
    pub wait: Millis,
}

/// A class in which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassFull {
    /// Its place among the limits of classes.
    pub at: u8,
    /// How many of the user's streams that play carry it.
    pub count: u16,
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
    /// When the verdict is `Unavailable`, why.
    pub lack: Lack,
    /// It was answered as if there were room, since nobody can count.
    pub uncounted: bool,
}

/// Why a store has not carried a command out, in the one word that the log has for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lack {
    /// There was no answer in time, or no room to wait for it.
    #[default]
    Late,
    Away,
    /// The engine has refused it.
    Refused,
    /// Its answer was lost, and nobody can tell whether it was carried out.
    Unsure,
    /// What is kept of the user cannot be read.
    Unreadable,
}

labelled! {
    /// How a stream ended.
    pub enum Ending {
        /// By a DELETE of the user.
        Stopped = "stopped",
        /// Another one, [`Outcome::other`], took its place.
        Replaced = "replaced",
        /// By the operator, whose message is [`Outcome::other`].
        Operator = "operator",
        /// Its lease ran out; a verdict never says so.
        Expired = "expired",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamEnd {
    pub how: Ending,
    /// From its start to its end.
    pub lasted: Millis,
}

/// A stream as a response shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamView {
    /// Its key, in [`Findings::arena`]; empty where the command's own key says it.
    pub key: Word<Found>,
    /// Its classes, in [`Findings::arena`].
    pub classes: Word<Found>,
    pub position: Position,
    /// Whether it plays, or is paused.
    pub playing: bool,
    /// Until its lease runs out.
    pub expires_in: Millis,
    /// Which start of it this is.
    pub generation: u64,
}

/// What outcomes point into.
#[derive(Debug, Default)]
pub struct Findings {
    /// The keys of the streams below, and of [`Outcome::other`].
    pub arena: Arena<Found>,
    /// Lists of streams, one after the other.
    pub streams: Vec<StreamView>,
    pub ends: Vec<StreamEnd>,
}

/// One command and its outcome.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub command: Command,
    pub outcome: Outcome,
    /// Whether an engine has still to carry it out, or to keep it: its outcome may not be told yet.
    pub waits: bool,
}

/// A turn's commands, in order.
#[derive(Debug, Default)]
pub struct Batch {
    pub arena: Arena<Asked>,
    /// The commands and their outcomes.
    pub entries: Vec<Entry>,
    pub findings: Findings,
}

impl Batch {
    /// Adds a command; returns where its outcome will stand in `entries`.
    pub fn push(&mut self, command: Command) -> u32 {
        self.entries.push(Entry { command, outcome: Outcome::default(), waits: false });
        self.entries.len() as u32 - 1
    }

    /// Whether an engine has still to carry something of it out, or to keep it.
    pub fn waits(&self) -> bool {
        self.entries.iter().any(|entry| entry.waits)
    }

    /// Says of every entry that waits that it could not be carried out, and waits no longer.
    pub fn give_up(&mut self) {
        for entry in self.entries.iter_mut().filter(|entry| entry.waits) {
            (entry.outcome, entry.waits) = (Outcome::default(), false);
        }
    }

    /// The class without room, if that is what an entry lacks, and its limit.
    pub fn class_full(&self, entry: &Entry) -> Option<(&[u8], u32)> {
        let ClassFull { at, .. } = entry.outcome.class_full?;
        entry.command.limits.of(&self.arena).of_classes().nth(at.into())
    }

    /// The ends that `outcome` tells.
    pub fn ends(&self, outcome: &Outcome) -> &[StreamEnd] {
        &self.findings.ends[outcome.ends.0 as usize..outcome.ends.1 as usize]
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
        clear(&mut self.findings.ends);
    }
}
