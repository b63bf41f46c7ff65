//! A stream that plays or is paused.
//!
//! *Invariant:* a key and a class hold no control character, so that `SOH` keeps them apart in one [`Name`]. (Not
//! tested.)

use std::num::NonZeroU32;

use super::Call;
use crate::codec::hex;
use crate::streams::arena::Word;
use crate::streams::batch::{Ending, Findings, Found, StreamEnd, StreamView};
use crate::streams::limits::{self, MAX_LIST};
use crate::streams::name::Name;
use crate::streams::position::Position;
use crate::streams::{MAX_DEVICE, MAX_ID};
use crate::time::Timestamp;

/// What stands between a key and classes.
const SOH: u8 = 1;
/// How long a name may be.
pub const MAX_NAME: usize = MAX_ID + 1 + MAX_DEVICE + 1 + MAX_LIST;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its key, which is its id or, with a device, `id NUL device`; and behind `SOH` its classes, if it carries any: few
    /// do, and so they cost the others nothing.
    pub name: Name,
    /// When it was first started.
    pub started: Timestamp,
    /// When it is gone unless renewed.
    pub expires: Timestamp,
    pub position: Position,
    /// None while it plays. Of two paused streams the one with the lower number was paused first: a time would not tell
    /// two pauses of one millisecond apart.
    pub paused: Option<NonZeroU32>,
    /// Which start of it this is; 0 if that was before there were generations.
    pub generation: u64,
}

impl Stream {
    /// The command's stream, which plays from now on.
    pub(super) fn new(call: &Call, position: Option<Position>) -> Self {
        Self {
            name: name(call.key, call.classes),
            started: call.now,
            expires: call.now + call.policy.lease,
            position: position.unwrap_or_default(),
            paused: None,
            generation: call.generation,
        }
    }

    pub(super) fn plays(&self) -> bool {
        self.paused.is_none()
    }

    pub(super) fn is(&self, key: &[u8]) -> bool {
        let rest = self.name.as_bytes().strip_prefix(key);
        rest.is_some_and(|rest| rest.first().is_none_or(|&byte| byte == SOH))
    }

    pub(super) fn key(&self) -> &[u8] {
        self.parts().0
    }

    pub(super) fn classes(&self) -> &[u8] {
        self.parts().1
    }

    /// The same of a stream whose key is known, without a search for its end.
    pub(super) fn classes_behind(&self, key: &[u8]) -> &[u8] {
        self.name.as_bytes().get(key.len() + 1..).unwrap_or_default()
    }

    pub(super) fn carries(&self, class: &[u8]) -> bool {
        limits::classes(self.classes()).any(|carried| carried == class)
    }

    /// Whether it is one of the generations in a list of them, each in 16 hexadecimal digits between quotes.
    pub(super) fn is_one_of(&self, generations: &[u8]) -> bool {
        generations.windows(TAG).any(|part| part == tag(self.generation))
    }

    pub(super) fn renew(&mut self, call: &Call, position: Option<Position>) {
        self.expires = call.now + call.policy.lease;
        self.position = position.unwrap_or(self.position);
    }

    /// The command is a new start of it.
    pub(super) fn begin(&mut self, call: &Call) {
        self.generation = call.generation;
        if self.classes() != call.classes {
            self.name = name(call.key, call.classes);
        }
    }

    /// It has ended so at this time.
    pub(super) fn end(&self, how: Ending, at: Timestamp) -> StreamEnd {
        StreamEnd { how, lasted: self.started.until(at) }
    }

    /// Its key and its classes.
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        let name = self.name.as_bytes();
        match name.iter().position(|&byte| byte == SOH) {
            Some(at) => (&name[..at], &name[at + 1..]),
            None => (name, &[]),
        }
    }
}

impl Findings {
    /// Adds a stream of these classes, which is shown under `key`.
    pub(super) fn show(&mut self, stream: &Stream, key: Word<Found>, classes: &[u8], now: Timestamp) {
        let classes = if classes.is_empty() { Word::default() } else { self.arena.add(classes) };
        self.streams.push(StreamView {
            key,
            classes,
            position: stream.position,
            playing: stream.plays(),
            expires_in: now.until(stream.expires),
            generation: stream.generation,
        });
    }
}

/// How long the text of a generation is.
pub const TAG: usize = 18;

/// A generation as it is told and named: 16 hexadecimal digits between quotes.
pub fn tag(generation: u64) -> [u8; TAG] {
    let mut tag = [b'"'; TAG];
    tag[1..9].copy_from_slice(&hex::digits((generation >> 32) as u32));
    tag[9..17].copy_from_slice(&hex::digits(generation as u32));
    tag
}

fn name(key: &[u8], classes: &[u8]) -> Name {
    if classes.is_empty() { Name::from(key) } else { Name::from(&[key, classes].join(&SOH)[..]) }
}
