//! What has to be done for one user of a batch: all of the user's commands as one compare-and-set.

use std::ops::Range;

use super::local::Local;
use super::shared::NodeId;
use crate::streams::account::{Account, Policy};
use crate::streams::arena::Word;
use crate::streams::batch::{Asked, Batch, Change, Outcome};
use crate::streams::record::Corrupt;
use crate::time::{Millis, Timestamp};

/// How much longer than needed the engine keeps a record: the clocks of two instances are never quite the same.
const KEEP_LONGER: Millis = Millis::from_secs(5);

/// One user's commands on their way.
#[derive(Debug, Default)]
pub struct Task {
    /// Which parked batch they belong to.
    pub parked: u32,
    /// The user.
    pub user: Word<Asked>,
    /// The user's hash among the hints.
    pub hash: u64,
    /// Which of the batch's entries: a part of [`Parked::order`].
    pub entries: Range<usize>,
    /// The record that was seen last, which the commands have been applied to.
    pub old: Vec<u8>,
    /// What it becomes.
    pub new: Vec<u8>,
    /// How long the engine is to keep that.
    pub keep: Millis,
    /// Whether `new` and the outcomes are made from `old`.
    pub is_applied: bool,
    /// Whether the compare-and-set was sent and its answer lost: so it may have been carried out.
    pub is_unsure: bool,
    /// How often it was sent.
    pub tries: u8,
    /// Where it is.
    pub place: Place,
    /// Until when it waits at least.
    pub not_before: Timestamp,
    /// Where a redirect sends it.
    pub redirect: Option<Redirect>,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// It is done, or none.
    #[default]
    Free,
    /// It waits for a connection, a map, or a moment.
    Waiting,
    /// It is sent to this node.
    Sent(NodeId),
}

/// A node that another one has named for a key.
#[derive(Clone, Copy, Debug)]
pub struct Redirect {
    /// That node.
    pub node: NodeId,
    /// Whether it wants `ASKING` first.
    pub asking: bool,
}

/// A batch that waits for the engine.
#[derive(Debug, Default)]
pub struct Parked {
    /// The batch.
    pub batch: Batch,
    /// Its entries' places and their users' hashes, those of one user side by side and in the order in which they came.
    pub order: Vec<(u64, u32)>,
    /// Its tasks.
    pub tasks: Vec<u32>,
    /// How many of them are not done.
    pub left: usize,
    /// Whether some are done that the worker does not know of.
    pub has_news: bool,
    /// By when it is given back.
    pub deadline: Timestamp,
}

impl Parked {
    /// Puts the entries of each user side by side.
    pub fn sort(&mut self, hash: impl Fn(&[u8]) -> u64) {
        let Self { batch, order, .. } = self;
        let user = |i: u32| batch.arena.get(batch.entries[i as usize].command.user);
        order.clear();
        order.extend((0..batch.entries.len() as u32).map(|i| (hash(user(i)), i)));
        // Two users may have one hash.
        order.sort_unstable_by(|(a, i), (b, j)| a.cmp(b).then_with(|| user(*i).cmp(user(*j))).then(i.cmp(j)));
    }

    /// The entries of the user whose first stands at `from` in the order.
    pub fn group(&self, from: usize) -> Range<usize> {
        let user =
            |at: usize| self.batch.arena.get(self.batch.entries[self.order[at].1 as usize].command.user);
        let is_same = |at: usize| self.order[at].0 == self.order[from].0 && user(at) == user(from);
        let mut to = from + 1;
        while to < self.order.len() && is_same(to) {
            to += 1;
        }
        from..to
    }
}

impl Task {
    /// Applies the commands to `old`: fills in the outcomes, `new` and `keep`.
    pub fn apply(&mut self, parked: &mut Parked, now: Timestamp, policy: &Policy) -> Result<(), Corrupt> {
        let mut account = match &self.old[..] {
            [] => Account::default(),
            record => Account::decode(record)?,
        };
        let Batch { arena, entries, findings, .. } = &mut parked.batch;
        let mut changes = false;
        for &(_, i) in &parked.order[self.entries.clone()] {
            let entry = &mut entries[i as usize];
            entry.outcome = account.apply(now, policy, &entry.command, arena, findings);
            changes |= entry.outcome.change != Change::None;
        }
        if !changes {
            // They will be found to have run out again, and counted when that is written.
            self.entries
                .clone()
                .for_each(|at| entries[parked.order[at].1 as usize].outcome.notes.expired = 0);
        }
        self.new.clear();
        self.keep = Millis::ZERO;
        match account.forgotten_at() {
            // A question leaves the record as it is; what has run out goes with the next change.
            _ if !changes => self.new.extend_from_slice(&self.old),
            Some(at) if at > now => {
                account.encode(&mut self.new);
                self.keep = Millis::from_millis(now.until(at).millis() + KEEP_LONGER.millis());
            }
            _ => {}
        }
        self.is_applied = true;
        Ok(())
    }

    /// Leaves every outcome unavailable, or has the commands carried out in memory instead. Returns how many commands
    /// that are.
    pub fn fail(&self, parked: &mut Parked, now: Timestamp, policy: &Policy, local: Option<&Local>) -> usize {
        let Batch { arena, entries, findings, .. } = &mut parked.batch;
        for &(_, i) in &parked.order[self.entries.clone()] {
            let entry = &mut entries[i as usize];
            entry.outcome = local.map_or(Outcome::default(), |local| {
                local.change(now, policy, arena.get(self.user), |account, policy| {
                    account.apply(now, policy, &entry.command, arena, findings)
                })
            });
        }
        self.entries.len()
    }
}
