//! A task on its way: where it goes, what is sent, what the answer means.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::{LinkState, MOMENT, MOST_OWED, MOST_TRIES, Now, RedisSession};
use crate::codec::redis_url::Address;
use crate::codec::resp::{self, Reply};
use crate::store::redis::cluster::{Refused, refused};
use crate::store::redis::connector::Wish;
use crate::store::redis::counters::Count;
use crate::store::redis::link::{Broken, Link, Pending};
use crate::store::redis::script::{self, Swap};
use crate::store::redis::shared::{NodeId, Route, Shared};
use crate::store::redis::task::{Place, Redirect, Task};
use crate::streams::account::Policy;
use crate::time::Millis;

impl RedisSession {
    /// Sends a task where it belongs, has it wait, or gives it up.
    pub(super) fn dispatch(&mut self, now: Now, id: u32) {
        let task = &self.tasks[id as usize];
        if task.tries >= MOST_TRIES {
            return self.fail(now, id);
        }
        if task.not_before > now.steady {
            return self.wait(id);
        }
        let node = match task.redirect {
            Some(redirect) => redirect.node,
            None => match self.route(id) {
                Route::To(node) => node,
                Route::NoNode => return self.wait_a_moment(now, id),
                Route::Unknown => return self.fail(now, id),
            },
        };
        let is_down = self.is_down(node);
        match self.link(node) {
            LinkState::Open(link) if link.owes() >= MOST_OWED => self.fail(now, id),
            LinkState::Open(link) if link.has_clock() => self.send(now, id, node),
            // It is being connected, or asked for the time: then this is looked at again.
            LinkState::Open(_) => self.wait(id),
            _ if is_down => {
                self.want(node);
                self.fail(now, id);
            }
            _ => {
                self.want(node);
                self.wait(id);
            }
        }
    }

    pub(super) fn is_down(&self, node: NodeId) -> bool {
        self.map.nodes.get(node as usize).is_none_or(|node| node.down.load(Relaxed))
    }

    pub(super) fn route(&self, id: u32) -> Route {
        let task = &self.tasks[id as usize];
        let user = self.parked[task.parked as usize].batch.arena.get(task.user);
        if self.map.is_single() {
            return Route::To(0);
        }
        let mut key = [0; 1024];
        let prefix = &self.shared.prefix;
        match key.get_mut(..prefix.len() + user.len()) {
            Some(key) => {
                key[..prefix.len()].copy_from_slice(prefix);
                key[prefix.len()..].copy_from_slice(user);
                self.map.route(key)
            }
            None => self.map.route(&[prefix, user].concat()),
        }
    }

    pub(super) fn wait(&mut self, id: u32) {
        self.tasks[id as usize].place = Place::Waiting;
        self.waiting.push(id);
    }

    pub(super) fn wait_a_moment(&mut self, now: Now, id: u32) {
        self.wait(id);
        let retry_at = now.steady + MOMENT;
        self.tasks[id as usize].not_before = retry_at;
        self.retry_at = Some(self.retry_at.map_or(retry_at, |at| at.min(retry_at)));
    }

    /// Applies what is not applied yet, and appends the compare-and-set to what the link sends.
    pub(super) fn send(&mut self, now: Now, id: u32, node: NodeId) {
        let task = &mut self.tasks[id as usize];
        let parked = &mut self.parked[task.parked as usize];
        let LinkState::Open(link) = &mut self.links[node as usize] else { return };
        let Some(engine_now) = link.engine_now(now.at) else { return };
        if !task.is_applied {
            let adopts_for =
                self.shared.local.as_ref().map_or(Millis::ZERO, |local| local.adopts_for(now.steady));
            let policy = Policy { adopt_until: engine_now + adopts_for, ..self.shared.policy };
            if task.apply(parked, engine_now, &policy).is_err() {
                self.counters.bump(Count::Corrupt);
                return self.fail(now, id);
            }
        }
        let user = parked.batch.arena.get(task.user);
        if task.redirect.take().is_some_and(|redirect| redirect.asking) {
            resp::command(&[b"ASKING"], link.out());
            link.expect(Pending::Asking);
        }
        let Task { old, new, keep, .. } = &*task;
        let swap = Swap { prefix: &self.shared.prefix, user, old, new, keep: *keep };
        let knows = std::mem::replace(&mut link.knows_script, true);
        script::compare_and_set(&swap, knows, link.out());
        link.expect(Pending::Task(id, now.at));
        link.used_at = now.steady;
        // The next batch goes on from there; if this one loses its race, that one does too, and learns of it.
        if task.old != task.new {
            self.shared.hints.set(task.hash, user, &task.new);
        }
        if task.tries > 0 {
            self.counters.bump(Count::Retries);
        }
        task.tries += 1;
        task.place = Place::Sent(node);
        self.has_to_flush(node);
    }

    /// Gives a task up.
    pub(super) fn fail(&mut self, now: Now, id: u32) {
        let task = &self.tasks[id as usize];
        let Shared { policy, local, .. } = &*self.shared;
        let parked = &mut self.parked[task.parked as usize];
        let commands = task.fail(parked, now.steady, policy, local.as_ref());
        let count = if self.shared.local.is_some() { Count::Local } else { Count::Unavailable };
        self.counters.add(count, commands);
        self.finish(id);
    }

    /// A task is done, one way or the other.
    pub(super) fn finish(&mut self, id: u32) {
        let task = &mut self.tasks[id as usize];
        task.place = Place::Free;
        let parked_id = task.parked;
        let parked = &mut self.parked[parked_id as usize];
        for at in task.entries.clone() {
            parked.batch.awaited[parked.order[at].1 as usize] = false;
        }
        parked.left -= 1;
        if parked.left == 0 {
            self.free_tasks.append(&mut parked.tasks);
        }
        if !std::mem::replace(&mut parked.has_news, true) {
            self.done.push_back(parked_id);
        }
    }

    /// Takes an answer to a compare-and-set. What is to be sent again is put among the waiting.
    pub(super) fn answer(
        &mut self,
        now: Now,
        id: u32,
        sent: Instant,
        reply: Reply,
        link: &mut Link,
    ) -> Result<(), Broken> {
        self.counters.round_trip(now.at.saturating_duration_since(sent));
        let task = &mut self.tasks[id as usize];
        match reply {
            Reply::Integer(_) => self.succeed(id),
            Reply::Bulk(there) if task.is_unsure && task.new == there => self.succeed(id),
            Reply::Bulk(there) => {
                let count = if task.old.is_empty() { Count::Misses } else { Count::Conflicts };
                task.old.clear();
                task.old.extend_from_slice(there);
                (task.is_applied, task.is_unsure) = (false, false);
                let user = self.parked[task.parked as usize].batch.arena.get(task.user);
                self.shared.hints.set(task.hash, user, there);
                self.counters.bump(count);
                self.wait(id);
            }
            Reply::Error(error) => return self.refused(now, id, error, link),
            _ => return Err(Broken),
        }
        Ok(())
    }

    pub(super) fn succeed(&mut self, id: u32) {
        if let Some(local) = &self.shared.local
            && local.is_away()
            && !self.map.owners.iter().any(|node| self.is_down(*node))
        {
            local.is_back();
        }
        self.finish(id);
    }

    /// The engine has answered with an error: the compare-and-set was not carried out.
    pub(super) fn refused(&mut self, now: Now, id: u32, error: &[u8], link: &mut Link) -> Result<(), Broken> {
        let Some(asked) = self.map.nodes.get(link.node as usize).map(|node| node.addresses[0].clone()) else {
            return Err(Broken);
        };
        match refused(error, &asked) {
            Refused::Moved(target) => {
                self.refresh();
                self.redirect(now, id, target.as_ref(), false);
            }
            Refused::Ask(target) => self.redirect(now, id, target.as_ref(), true),
            Refused::Later => {
                self.refresh();
                self.wait_a_moment(now, id);
            }
            Refused::Elsewhere => {
                self.wait(id);
                return Err(Broken);
            }
            Refused::NoScript => {
                link.knows_script = false;
                self.wait(id);
            }
            Refused::Never => self.fail_for_good(now, id),
            Refused::All(advice) => {
                if let Some(why) = self.shared.set_refusal(now.at, &asked, advice) {
                    self.wishes.send(Wish::Say(format!("the store cannot be used: {why}")));
                }
                self.fail_for_good(now, id);
            }
        }
        Ok(())
    }

    fn fail_for_good(&mut self, now: Now, id: u32) {
        self.counters.bump(Count::Errors);
        self.fail(now, id);
    }

    /// The engine has named another node for a task.
    fn redirect(&mut self, now: Now, id: u32, target: Option<&Address>, asking: bool) {
        self.counters.bump(Count::Redirects);
        match target {
            Some(target) => {
                let node = self.shared.node(target);
                self.tasks[id as usize].redirect = Some(Redirect { node, asking });
                self.wait(id);
            }
            None => self.wait_a_moment(now, id),
        }
    }
}
