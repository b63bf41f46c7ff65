//! A task on its way: where it goes, what is sent, what the answer means.

use std::time::Instant;

use super::{LinkState, MOST_OWED, MOST_UNSENT, RedisSession};
use crate::store::redis::cluster::{ErrorReply, refused};
use crate::store::redis::counters::Count;
use crate::store::redis::engine::{NO_NODE, NodeId, Slots};
use crate::store::redis::link::{Broken, Link, Pending};
use crate::store::redis::resp::{self, Reply};
use crate::store::redis::script::{self, Swap};
use crate::store::redis::task::{Order, Place, Redirect, Task};
use crate::store::redis::url::Address;
use crate::streams::batch::{Batch, Lack};

impl RedisSession {
    /// Sends a task that waits where it belongs, has it wait on, or gives it up.
    pub(super) fn dispatch(&mut self, now: Instant, id: u32, order: &Order, batch: &mut Batch) {
        let task = &self.tasks[id as usize];
        match task.place {
            Place::Waiting => {}
            Place::NoRecord => return self.unreadable(id, batch),
            Place::Disputed if task.is_in(batch, order) => {
                self.tasks[id as usize].place = Place::Done;
                return;
            }
            Place::Disputed => return self.fail(id, Lack::Unsure),
            _ => return,
        }
        let user = batch.arena.get(task.user);
        if !task.is_applied && task.is_again {
            // The record that won is where the next batch begins.
            self.engine.hints.set(task.hash, user, &task.old);
        }
        let node = match task.redirect {
            Some(redirect) => redirect.node,
            None => match self.map.route(&self.engine.prefix, user) {
                Some(node) => node,
                None if matches!(self.map.keys, Slots::Unknown) => return self.fail(id, Lack::Away),
                // That may change in a moment.
                None => return self.engine.refresh(),
            },
        };
        let is_down = self.map.node(node).is_some_and(|node| node.is_down());
        match self.link(node) {
            LinkState::Open(link) if link.owes() >= MOST_OWED || link.unsent() >= MOST_UNSENT => {
                self.fail(id, Lack::Late);
            }
            LinkState::Open(_) => self.send(now, id, node, order, batch),
            _ if is_down => self.fail(id, Lack::Away),
            // It is being connected: then this is looked at again.
            _ => self.want(node, false),
        }
    }

    /// Applies what is not applied yet, and appends the compare-and-set to what the link sends.
    fn send(&mut self, now: Instant, id: u32, node: NodeId, order: &Order, batch: &mut Batch) {
        let task = &mut self.tasks[id as usize];
        let LinkState::Open(link) = &mut self.links[node as usize] else { return };
        let engine_now = link.engine_now(now);
        if !task.is_applied && task.apply(batch, order, engine_now, &self.engine.policy).is_err() {
            return self.unreadable(id, batch);
        }
        let user = batch.arena.get(task.user);
        if task.redirect.take().is_some_and(|redirect| redirect.asking) {
            resp::command(&[b"ASKING"], link.out());
            link.expect(Pending::Asking, now);
        }
        let Task { old, new, keep, .. } = &*task;
        let swap = Swap { prefix: &self.engine.prefix, user, old, new, keep: *keep };
        let knows = std::mem::replace(&mut link.knows_script, true);
        script::compare_and_set(&swap, knows, link.out());
        link.expect(Pending::Task(id), now);
        // The next batch goes on from there; if this one loses its race, that one does too, and learns of it.
        if task.old != task.new {
            self.engine.hints.set(task.hash, user, &task.new);
        }
        if std::mem::replace(&mut task.is_again, true) {
            self.outside.counts.bump(Count::Retries);
        }
        task.place = Place::Sent;
        self.has_to_flush(node);
    }

    /// What is under the key is no record: that is told with the key.
    fn unreadable(&mut self, id: u32, batch: &Batch) {
        self.outside.counts.bump(Count::Corrupt);
        self.fail(id, Lack::Unreadable);
        let key = [&self.engine.prefix, batch.arena.get(self.tasks[id as usize].user)].concat();
        self.engine.errands.leave(|errands| errands.unreadable = Some(key));
    }

    /// Gives a task up.
    fn fail(&mut self, id: u32, lack: Lack) {
        let task = &mut self.tasks[id as usize];
        task.place = Place::Failed(lack);
        self.outside.counts.bump_by(Count::Unavailable, task.entries.len());
    }

    /// Takes an answer to a compare-and-set.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        sent: Instant,
        id: u32,
        reply: &Reply,
        link: &mut Link,
    ) -> Result<(), Broken> {
        self.outside.counts.round_trip(now.saturating_duration_since(sent));
        let task = &mut self.tasks[id as usize];
        task.place = Place::Waiting;
        match *reply {
            Reply::Integer(1) => {
                task.place = Place::Done;
                link.has_served = true;
                if task.old != task.new && link.node.is_down() {
                    link.node.recover(&self.engine);
                }
            }
            Reply::Integer(_) => task.place = Place::NoRecord,
            Reply::Bulk(there) if task.is_unsure && task.new == there => task.place = Place::Done,
            Reply::Bulk(there) if task.is_unsure => {
                task.old.clear();
                task.old.extend_from_slice(there);
                task.place = Place::Disputed;
            }
            Reply::Bulk(there) => {
                let count = if task.old.is_empty() { Count::Misses } else { Count::Conflicts };
                task.old.clear();
                task.old.extend_from_slice(there);
                task.is_applied = false;
                self.outside.counts.bump(count);
            }
            Reply::Error(error) => return self.refused(id, error, link),
            _ => return Err(Broken),
        }
        self.tell(id);
        Ok(())
    }

    /// The engine has answered with an error: the compare-and-set was not carried out.
    fn refused(&mut self, id: u32, error: &[u8], link: &mut Link) -> Result<(), Broken> {
        match refused(error, &link.node.address) {
            ErrorReply::Moved(target) => {
                self.engine.moved();
                self.redirect(id, target.as_ref(), false);
            }
            ErrorReply::Ask(target) => self.redirect(id, target.as_ref(), true),
            // Until there is a new map.
            ErrorReply::Later => {
                link.node.suspect();
                self.engine.refresh();
            }
            ErrorReply::Elsewhere => return Err(Broken),
            ErrorReply::NoScript => {
                link.knows_script = false;
                self.tell(id);
            }
            ErrorReply::NoRecord => {
                self.tasks[id as usize].place = Place::NoRecord;
                self.tell(id);
            }
            ErrorReply::Never => {
                link.node.suspect();
                self.outside.counts.bump(Count::Errors);
                self.fail(id, Lack::Refused);
                self.tell(id);
            }
        }
        Ok(())
    }

    /// The engine has named another node for a task; if it does not know the address, that is for a new map to tell.
    fn redirect(&mut self, id: u32, target: Option<&Address>, asking: bool) {
        self.outside.counts.bump(Count::Redirects);
        match target {
            Some(target) => match self.engine.redirected(target) {
                // No thread could be started for it.
                NO_NODE => self.engine.refresh(),
                node => {
                    self.tasks[id as usize].redirect = Some(Redirect { node, asking });
                    self.tell(id);
                }
            },
            None => self.engine.refresh(),
        }
    }
}
