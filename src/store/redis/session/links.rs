//! The session's connections: asked for, opened, read, watched over, and given up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{LOOK, LinkState, RedisSession, SHORT_LIVED};
use crate::poller::Registry;
use crate::store::redis::counters::Count;
use crate::store::redis::engine::{Letter, NodeId};
use crate::store::redis::link::{Broken, Link, Pending};
use crate::store::redis::task::Place;

impl RedisSession {
    pub(super) fn want_owners(&mut self) {
        for i in 0..self.map.owners.len() {
            self.want(self.map.owners[i], false);
        }
    }

    /// Asks a node for a connection, unless there is one or it was asked. Says whether one was lost soon after it was made.
    pub(super) fn want(&mut self, node: NodeId, is_strike: bool) {
        if matches!(self.link(node), LinkState::None)
            && let Some(there) = self.map.node(node)
        {
            there.want(&self.outside, is_strike);
            *self.link(node) = LinkState::Wanted;
        }
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
    pub(super) fn read(&mut self, now: Instant, node: NodeId, registry: &mut Registry) {
        let Some(mut link) = self.take_link(node) else { return };
        let done = link.read(|link, pending, sent, reply| match pending {
            Pending::Task(id) => self.answer(now, sent, id, reply, link),
            Pending::Time => link.set_time(sent, now, reply),
            Pending::Asking => Ok(()),
        });
        match done {
            Ok(()) => {
                *self.link(node) = LinkState::Open(link);
                // There may be space to write.
                self.has_to_flush(node);
            }
            Err(Broken) => self.lost(*link, now, registry),
        }
    }

    pub(super) fn has_to_flush(&mut self, node: NodeId) {
        if !self.unsent.contains(&node) {
            self.unsent.push(node);
        }
    }

    /// A connection is gone: what it has not answered may have been carried out or not, and is sent again.
    fn lost(&mut self, link: Link, now: Instant, registry: &mut Registry) {
        self.outside.counts.bump(Count::Disconnects);
        let id = link.id;
        let is_strike = !link.has_served && now < link.opened + SHORT_LIVED;
        for (pending, _) in link.close(registry) {
            if let Pending::Task(id) = pending {
                let task = &mut self.tasks[id as usize];
                task.is_unsure |= task.old != task.new;
                task.place = Place::Waiting;
            }
        }
        *self.link(id) = LinkState::None;
        if self.map.owners.contains(&id) {
            self.want(id, is_strike);
        }
        // A dead node never says MOVED.
        self.engine.refresh();
    }

    pub(super) fn close(&mut self, node: NodeId, now: Instant, registry: &mut Registry) {
        if let Some(link) = self.take_link(node) {
            self.lost(*link, now, registry);
        }
    }

    /// Takes what other threads have to say.
    pub(super) fn take_letters(&mut self, now: Instant, registry: &mut Registry) {
        let letters = self.outside.take();
        if letters.is_empty() {
            return;
        }
        for letter in letters {
            match letter {
                Letter::Map(map) => {
                    self.map = map;
                    for node in 0..self.links.len() as NodeId {
                        if self.map.node(node).is_none() {
                            self.close(node, now, registry);
                            *self.link(node) = LinkState::None;
                        }
                    }
                }
                Letter::Connected(id, stream, clock) => {
                    if let Some(node) = self.map.node(id).map(Arc::clone)
                        && !matches!(self.link(id), LinkState::Open(_))
                    {
                        let link = Link::new((id, node), stream, clock, now, registry);
                        *self.link(id) = link.map_or(LinkState::None, |link| LinkState::Open(Box::new(link)));
                    }
                }
                Letter::Failed(id) => {
                    if matches!(self.link(id), LinkState::Wanted) {
                        *self.link(id) = LinkState::None;
                    }
                }
            }
        }
        self.want_owners();
        self.tell_waiting();
    }

    /// Closes the connections that are late; once a second asks each node for the time, and looks at whatever waits.
    pub(super) fn look_after_links(&mut self, now: Instant, registry: &mut Registry) {
        let is_tick = self.look_at <= now;
        let timeout = Duration::from_millis(self.engine.timeout.millis());
        for node in 0..self.links.len() as NodeId {
            // It may be we who have stood still, and the answer is there.
            if matches!(self.link(node), LinkState::Open(link) if link.is_late(now, timeout)) {
                self.read(now, node, registry);
            }
            let LinkState::Open(link) = self.link(node) else { continue };
            if link.is_late(now, timeout) {
                self.close(node, now, registry);
            } else if is_tick {
                link.ask_time(now);
                self.has_to_flush(node);
            }
        }
        if is_tick {
            self.look_at = now + LOOK;
            self.tell_waiting();
        }
    }
}
