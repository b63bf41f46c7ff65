//! What a turn asks of the store, and what the store answers: commands in, outcomes out.
//!
//! A batch holds a turn's commands in the order in which they came, and the bytes that they name in one arena. The
//! vectors are cleared and used again, so that in steady state a turn allocates nothing.
//!
//! *Invariant:* a command is only data: what it means is decided in `account`, and by whom it was sent in `app`.

use std::ops::Range;

use super::position::Position;
use crate::time::Millis;

/// Bytes in a batch's arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word {
    start: u32,
    end: u32,
}

impl Word {
    /// Whether there are no bytes in it, as in a word that was never set.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Bytes laid end to end, given out as [`Word`]s.
#[derive(Debug, Default)]
pub struct Arena(Vec<u8>);

impl Arena {
    /// The bytes of `word`.
    pub fn get(&self, word: Word) -> &[u8] {
        &self.0[word.start as usize..word.end as usize]
    }

    /// Copies `bytes` in.
    pub fn add(&mut self, bytes: &[u8]) -> Word {
        self.0.extend_from_slice(bytes);
        self.since(self.0.len() - bytes.len())
    }

    /// Where the next word will begin, for use with [`Arena::since`].
    pub fn mark(&self) -> usize {
        self.0.len()
    }

    /// What has been appended to [`Arena::bytes`] since `mark`.
    pub fn since(&self, mark: usize) -> Word {
        Word { start: mark as u32, end: self.0.len() as u32 }
    }

    /// The arena's own bytes, for decoders that append.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// A part of `word`: the bytes that `range` of it covers.
    pub fn part(word: Word, range: Range<usize>) -> Word {
        debug_assert!(range.start <= range.end && range.end <= (word.end - word.start) as usize);
        Word { start: word.start + range.start as u32, end: word.start + range.end as u32 }
    }
}

/// Splits a stream's key into its id and its device. Neither may hold a control character, so NUL keeps them apart.
pub fn id_and_device(key: &[u8]) -> (&[u8], Option<&[u8]>) {
    match key.iter().position(|&byte| byte == 0) {
        Some(at) => (&key[..at], Some(&key[at + 1..])),
        None => (key, None),
    }
}

/// What a user asks for.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Who asks.
    pub user: Word,
    /// The stream it is about: its id or, with a device, `id NUL device`. Empty for [`Action::List`] and
    /// [`Action::EndAll`].
    pub key: Word,
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
        /// Whom to end when the user is full.
        replace: Replace,
    },
    /// Renews the stream, and moves, pauses or resumes it.
    Beat {
        /// Where to.
        position: Option<Position>,
        /// `Some(true)` resumes, `Some(false)` pauses.
        playing: Option<bool>,
    },
    /// Ends the stream.
    End,
    /// Ends every stream of the user.
    EndAll,
}

/// Which stream gives way when a start finds the user full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// What the server's policy says.
    ByPolicy,
    /// The one that started first.
    Oldest,
    /// The one with this key, if it plays.
    Stream(Word),
}

/// What became of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// The store has not answered. What every command begins with, so that one that is never reached says so.
    #[default]
    Unavailable,
    /// It was a question; `Outcome` is the answer.
    Info,
    /// A new stream plays.
    Started,
    /// A stream that was there has been renewed.
    Renewed,
    /// The stream ended, or all of them.
    Ended,
    /// No such stream.
    Unknown,
    /// The stream was ended on purpose less than one lease ago: replaced by `Outcome::other`, or stopped when that is
    /// empty.
    Gone,
    /// The user plays as many streams as the limit allows.
    Full,
}

/// What a command did, with all that an answer needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// What became of it.
    pub verdict: Verdict,
    /// Whether this user may watch this stream now without ending another.
    pub can_watch: bool,
    /// How many streams the user plays now.
    pub count: u32,
    /// The stream that the command started or renewed.
    pub stream: Option<StreamView>,
    /// The stream that was replaced or that replaced this one, in [`Findings::arena`]; empty when there is none.
    pub other: Word,
    /// The user's streams, in [`Findings::streams`]: for `List`, and when the verdict is `Full`.
    pub streams: (u32, u32),
    /// Until the first lease of a playing stream can run out; zero unless the verdict is `Full`.
    pub retry_after: Millis,
    /// What happened besides, for the counters.
    pub notes: Notes,
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
    pub replaced: u32,
    /// How many leases were found to have run out.
    pub expired: u32,
}

/// A stream as an answer shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamView {
    /// Its key, in [`Findings::arena`]; empty where the command's own key says it.
    pub key: Word,
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
    pub arena: Arena,
    /// Lists of streams, one after the other.
    pub streams: Vec<StreamView>,
}

/// The room that a turn may keep, in bytes of each list.
const ROOM: usize = 256 * 1024;

fn clear<T>(list: &mut Vec<T>) {
    list.clear();
    list.shrink_to(ROOM / size_of::<T>());
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
    /// What the commands name.
    pub arena: Arena,
    /// The commands and their outcomes.
    pub entries: Vec<Entry>,
    /// What the outcomes name.
    pub findings: Findings,
}

impl Batch {
    /// Adds a command; returns where its outcome will stand in `entries`.
    pub fn push(&mut self, command: Command) -> usize {
        self.entries.push(Entry { command, outcome: Outcome::default() });
        self.entries.len() - 1
    }

    /// The streams that `outcome` lists.
    pub fn streams(&self, outcome: &Outcome) -> &[StreamView] {
        &self.findings.streams[outcome.streams.0 as usize..outcome.streams.1 as usize]
    }

    /// Forgets all, and keeps the room, unless it is far more than a turn usually takes.
    pub fn clear(&mut self) {
        clear(&mut self.arena.0);
        clear(&mut self.entries);
        clear(&mut self.findings.arena.0);
        clear(&mut self.findings.streams);
    }
}
