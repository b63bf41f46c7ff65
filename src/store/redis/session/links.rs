//! The session's connections: asked for, opened, read, watched over, and given up.

use std::sync::Arc;

use super::{LOOK, LinkState, Now, RedisSession, UNUSED};
use crate::store::Registry;
use crate::store::redis::connector::Wish;
use crate::store::redis::counters::Count;
use crate::store::redis::link::{Broken, Link, Pending};
use crate::store::redis::shared::{Letter, NodeId};
use crate::store::redis::stream::Stream;

impl RedisSession {
    pub(super) fn want_owners(&mut self) {
        for i in 0..self.map.owners.len() {
            self.want(self.map.owners[i]);
        }
    }

    /// Asks the connector for a connection, unless there is one or it was asked.
    pub(super) fn want(&mut self, node: NodeId) {
        let link = self.link(node);
        if matches!(link, LinkState::None) {
            *link = LinkState::Wanted;
            self.wishes.send(Wish::Want(node, Arc::clone(&self.mailbox)));
        }
    }

    pub(super) fn refresh(&self) {
        self.wishes.send(Wish::Refresh);
    }

    pub(super) fn link(&mut self, node: NodeId) -> &mut LinkState {
        let at = node as usize;
        if self.links.len() <= at {
            self.links.resize_with(at + 1, LinkState::default);
        }
        &mut self.links[at]
    }

    /// Takes a connection out, if it is there. That one is wanted is not forgotten.
    fn take_link(&mut self, node: NodeId) -> Option<Box<Link>> {
        match std::mem::take(self.link(node)) {
            LinkState::Open(link) => Some(link),
            other => {
                *self.link(node) = other;
                None
            }
        }
    }

    /// Reads what a node has answered.
    pub(super) fn read(&mut self, now: Now, node: NodeId, registry: &mut dyn Registry) {
        let Some(mut link) = self.take_link(node) else { return };
        let done = link.read(|link, pending, reply| match pending {
            Pending::Task(id, sent) => self.answer(now, id, sent, reply, link),
            Pending::Time(asked) => link.set_time(asked, now.at, reply),
            Pending::Asking => Ok(()),
        });
        match done {
            Ok(()) => {
                *self.link(node) = LinkState::Open(link);
                // There may be space to write.
                self.has_to_flush(node);
            }
            Err(Broken) => self.lost(*link, node, registry),
        }
    }

    pub(super) fn has_to_flush(&mut self, node: NodeId) {
        if !self.unsent.contains(&node) {
            self.unsent.push(node);
        }
    }

    /// A connection is gone: what it has not answered may have been carried out or not, and is sent again.
    pub(super) fn lost(&mut self, link: Link, node: NodeId, registry: &mut dyn Registry) {
        self.counters.bump(Count::Disconnects);
        for pending in link.close(registry) {
            if let Pending::Task(id, _) = pending {
                self.tasks[id as usize].is_unsure = true;
                self.wait(id);
            }
        }
        *self.link(node) = LinkState::None;
        if self.map.owners.contains(&node) {
            self.want(node);
        }
        // A dead node never says MOVED.
        self.refresh();
    }

    pub(super) fn close(&mut self, node: NodeId, registry: &mut dyn Registry) {
        if let Some(link) = self.take_link(node) {
            self.lost(*link, node, registry);
        }
    }

    /// Takes what the connector has to say.
    pub(super) fn take_letters(&mut self, now: Now, registry: &mut dyn Registry) {
        for letter in self.mailbox.take() {
            match letter {
                Letter::Connected(node, stream) => {
                    if !matches!(self.link(node), LinkState::Open(_)) {
                        *self.link(node) = self.open(now, node, stream, registry);
                    }
                }
                Letter::Failed { node, tries_on: false } => *self.link(node) = LinkState::None,
                // What waits for it is given up, now that the node counts as down.
                Letter::Failed { .. } => {}
            }
        }
        if self.shared.version() != self.version {
            (self.version, self.map) = self.shared.map();
            self.want_owners();
        }
    }

    pub(super) fn open(
        &mut self,
        now: Now,
        node: NodeId,
        stream: Stream,
        registry: &mut dyn Registry,
    ) -> LinkState {
        let Ok(mut link) = Link::new(node, stream, now.steady, registry) else { return LinkState::None };
        link.ask_time(now.steady, now.at, self.shared.timeout);
        self.unsent.push(node);
        LinkState::Open(Box::new(link))
    }

    /// Asks each node for the time once a second, and closes the connections that are late or not needed.
    pub(super) fn look_after_links(&mut self, now: Now, registry: &mut dyn Registry) {
        if now.steady < self.look_at {
            return;
        }
        self.look_at = now.steady + LOOK;
        for node in 0..self.links.len() as NodeId {
            let LinkState::Open(link) = &mut self.links[node as usize] else { continue };
            if link.time_due.is_some_and(|due| due <= now.steady) {
                self.close(node, registry);
            } else if link.ask_time_at <= now.steady {
                let is_unused = link.owes() == 0 && link.used_at + UNUSED <= now.steady;
                if is_unused && !self.map.owners.contains(&node) {
                    self.take_link(node).map(|link| link.close(registry));
                } else {
                    link.ask_time(now.steady, now.at, self.shared.timeout);
                    self.unsent.push(node);
                }
            }
        }
    }
}
