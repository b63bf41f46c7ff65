//! What has to be done for one user of a batch: all of the user's commands as one compare-and-set.

use std::ops::Range;

use super::engine::NodeId;
use super::script::{put_stamp, split};
use crate::streams::account::{Account, Policy};
use crate::streams::arena::Word;
use crate::streams::batch::{Asked, Batch, Change, Lack, Notes, Outcome};
use crate::streams::record::Corrupt;
use crate::time::{Millis, Timestamp};

/// How much longer than needed the engine keeps a record: the clocks of two instances are never quite the same.
const KEEP_LONGER: Millis = Millis::from_secs(5);

/// One user's commands on their way.
#[derive(Debug, Default)]
pub struct Task {
    pub submission: u32,
    pub user: Word<Asked>,
    /// The user's hash among the hints.
    pub hash: u64,
    /// Which of the batch's entries: a part of the order.
    pub entries: Range<usize>,
    /// The record that was seen last, which the commands have been applied to.
    pub old: Vec<u8>,
    pub new: Vec<u8>,
    /// How long the engine is to keep that.
    pub keep: Millis,
    /// Whether `new` and the outcomes are made from `old`.
    pub is_applied: bool,
    /// Whether it was sent, would have changed the record, and the answer was lost: so it may have been carried out.
    pub is_unsure: bool,
    /// Whether it was sent before.
    pub is_again: bool,
    pub place: Place,
    /// Where a redirect sends it.
    pub redirect: Option<Redirect>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// It has to be sent, or waits for a connection or a map.
    #[default]
    Waiting,
    Sent,
    /// The engine has carried it out.
    Done,
    /// Its answer was lost, and another record is there now, which is [`Task::old`].
    Disputed,
    /// It will not be carried out, for what is under the key is no record.
    NoRecord,
    /// It will not be carried out, or nobody can tell whether it was.
    Failed(Lack),
}

/// A node that another one has named for a key.
#[derive(Clone, Copy, Debug)]
pub struct Redirect {
    pub node: NodeId,
    /// Whether it wants `ASKING` first.
    pub asking: bool,
}

/// The places of a batch's entries and their users' hashes, those of one user side by side and in the order in which they
/// came.
#[derive(Debug, Default)]
pub struct Order(Vec<(u64, u32)>);

impl Order {
    /// Puts the entries of each user side by side.
    pub fn sort(&mut self, batch: &Batch, hash: impl Fn(&[u8]) -> u64) {
        let user = |i: u32| batch.arena.get(batch.entries[i as usize].command.user);
        self.0.clear();
        self.0.extend((0..batch.entries.len() as u32).map(|i| (hash(user(i)), i)));
        // Two users may have one hash.
        self.0
            .sort_unstable_by(|(a, i), (b, j)| a.cmp(b).then_with(|| user(*i).cmp(user(*j))).then(i.cmp(j)));
    }

    /// The entries of the user whose first stands at `from`, with that user and the hash; None behind the last.
    pub fn group(&self, batch: &Batch, from: usize) -> Option<(Range<usize>, Word<Asked>, u64)> {
        let word = |i: u32| batch.entries[i as usize].command.user;
        let &(hash, first) = self.0.get(from)?;
        let user = batch.arena.get(word(first));
        let is_same = |(other, i): &&(u64, u32)| *other == hash && batch.arena.get(word(*i)) == user;
        let count = self.0[from..].iter().take_while(is_same).count();
        Some((from..from + count, word(first), hash))
    }

    /// The numbers of a task's entries.
    fn of(&self, entries: &Range<usize>) -> impl Iterator<Item = usize> {
        self.0[entries.clone()].iter().map(|(_, i)| *i as usize)
    }
}

impl Task {
    /// Applies the commands to `old`: fills in the outcomes, `new` and `keep`.
    pub fn apply(
        &mut self,
        batch: &mut Batch,
        order: &Order,
        now: Timestamp,
        policy: &Policy,
    ) -> Result<(), Corrupt> {
        let mut account = match &self.old[..] {
            [] => Account::default(),
            record => Account::decode(split(record).1)?,
        };
        let Batch { arena, entries, findings, .. } = batch;
        let mut changes = false;
        for i in order.of(&self.entries) {
            let entry = &mut entries[i];
            entry.outcome = account.apply(now, policy, &entry.command, arena, findings);
            changes |= entry.outcome.change != Change::None;
        }
        if !changes {
            // They will be found to have run out again, and counted when that is written.
            order.of(&self.entries).for_each(|i| entries[i].outcome.ends = (0, 0));
        }
        self.new.clear();
        self.keep = Millis::ZERO;
        match account.forgotten_at() {
            // A question leaves the record as it is; what has run out goes with the next change.
            _ if !changes => self.new.extend_from_slice(&self.old),
            Some(at) if at > now => {
                put_stamp(&mut self.new);
                account.encode(&mut self.new);
                self.keep = Millis::from_millis(now.until(at).millis() + KEEP_LONGER.millis());
            }
            _ => {}
        }
        self.is_applied = true;
        Ok(())
    }

    /// Whether the record that is there was made from this task's: then a stream that it started is in it, for no generation
    /// ever comes again.
    pub fn is_in(&self, batch: &Batch, order: &Order) -> bool {
        let generation =
            |i: usize| Some(batch.entries[i].command.generation).filter(|generation| *generation != 0);
        let there = Account::decode(split(&self.old).1);
        there.is_ok_and(|there| {
            order.of(&self.entries).filter_map(generation).any(|generation| there.knows(generation))
        })
    }

    /// Its outcomes may be told; they are unavailable unless it was carried out.
    pub fn tell(&self, batch: &mut Batch, order: &Order) {
        for i in order.of(&self.entries) {
            let entry = &mut batch.entries[i];
            entry.waits = false;
            if let Place::Failed(lack) = self.place {
                let notes = Notes { lack, ..Notes::default() };
                entry.outcome = Outcome { notes, ..Outcome::default() };
            }
        }
    }
}
