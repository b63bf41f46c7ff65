//! What other threads ask of a worker: take a connection, make room for one, answer with a page, stop.
//!
//! *Invariant:* messages come last in a turn, so that a connection that makes way for a newcomer has had its response.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;

use super::{Handle, MAX_EVENTS, Worker};
use crate::app::Side;
use crate::app::counters::Counter;
use crate::server::connection::{Connection, idle};
use crate::server::poller::Poll;
use crate::server::shared::{Inbox, Message, Newcomer, Stage};

impl Worker {
    /// Does what other threads have left in the inbox.
    pub(super) fn take_messages(&mut self) {
        let messages = self.links.inbox.take();
        let count = messages.len();
        for message in messages {
            // A panic at one does not lose those behind it.
            self.contain_all(|worker| worker.take_message(message));
        }
        self.say_longest_idle(Side::Public);
        self.say_longest_idle(Side::Admin);
        self.links.inbox.done(count);
        if self.stop_by.is_none() && self.links.shared.has_reached(Stage::Stopping) {
            self.stop_by = Some(self.time.now.steady + self.links.grace);
            // What has arrived is still served; then the idle are closed.
            let all: Vec<Handle> = self.connections.slab.handles().collect();
            all.into_iter().for_each(|handle| self.read_once_more(handle));
        }
    }

    fn take_message(&mut self, message: Message) {
        match message {
            Message::Serve(newcomer) => self.accept(newcomer),
            Message::MakeRoom(newcomer, passed_on) => self.make_room(newcomer, passed_on),
            Message::Reclaim => drop(self.reclaim(Side::Public)),
            Message::Observed { ticket, page } => {
                if let Some(mut work) = self.engine.unpark(ticket) {
                    work.page = page;
                    let work = self.respond(work);
                    self.engine.recycle(work);
                }
            }
        }
    }

    /// Visits a connection in the next turn, whether or not the poller tells of it.
    pub(super) fn read_once_more(&mut self, handle: Handle) {
        if let Some(connection) = self.connections.slab.get_mut(handle) {
            connection.socket.unread = true;
            self.schedule(handle);
        }
    }

    /// Has a connection visited in the next turn.
    pub(super) fn schedule(&mut self, handle: Handle) {
        if let Some(connection) = self.connections.slab.get_mut(handle)
            && !std::mem::replace(&mut connection.scheduled, true)
        {
            self.connections.scheduled.push_back(handle);
        }
    }

    fn accept(&mut self, newcomer: Newcomer) {
        let Newcomer { stream, peer, side } = newcomer;
        let mut connection = Connection::new(stream, peer, side);
        connection.arrived = self.time.micros;
        let handle = self.connections.slab.insert(connection);
        let Some(connection) = self.connections.slab.get_mut(handle) else { return };
        if self.connections.poller.add(connection.socket.stream.as_fd(), handle.token()).is_err() {
            return self.close(handle);
        }
        self.connections.deadlines.begin(handle, idle(side), self.time.now.steady);
        if self.stop_by.is_some() && side == Side::Public {
            self.read_once_more(handle);
        }
    }

    /// Serves the newcomer in place of the connection that has been idle longest. `passed_on` says how many workers have
    /// left that to another one.
    fn make_room(&mut self, newcomer: Newcomer, passed_on: usize) {
        let (side, shared) = (newcomer.side, &self.links.shared);
        if shared.open[side as usize].load(Relaxed) <= shared.most[side as usize] {
            // Others have gone meanwhile.
            return self.accept(newcomer);
        }
        let own = self.say_longest_idle(side);
        let idle_for = |since: u64| self.time.now.steady.millis().saturating_sub(since);
        let inboxes = &self.links.inboxes;
        if let Some((other, since)) = Inbox::longest_idle(inboxes, side)
            // In a burst each worker closes some: for a little difference no newcomer is passed on, and for none for ever.
            && (own == u64::MAX || idle_for(since) > 2 * idle_for(own))
            && passed_on < 2 * inboxes.len()
        {
            return other.leave(Message::MakeRoom(newcomer, passed_on + 1));
        }
        if self.reclaim(side) {
            self.accept(newcomer);
        } else {
            self.links.shared.turned_away.leave(newcomer);
        }
    }

    /// Tells the other threads since when this worker's longest idle connection of that side is idle, and returns it.
    pub(super) fn say_longest_idle(&mut self, side: Side) -> u64 {
        let longest = self.connections.deadlines.longest_idle(idle(side));
        let since = longest.map_or(u64::MAX, |(_, since)| since.millis());
        self.links.inbox.idle_since[side as usize].store(since, Relaxed);
        since
    }

    /// Closes the connection of this side that has been idle longest; false if none is. One whose next request is there
    /// already, only not yet read, is not idle.
    fn reclaim(&mut self, side: Side) -> bool {
        for _ in 0..MAX_EVENTS {
            let Some((handle, _)) = self.connections.deadlines.longest_idle(idle(side)) else { break };
            let Some(connection) = self.connections.slab.get_mut(handle) else { break };
            if !matches!(connection.socket.stream.peek(&mut [0]), Ok(1..)) {
                self.links.counters.bump(Counter::Reclaimed, 0);
                self.close(handle);
                return true;
            }
            self.connections.deadlines.begin(handle, idle(side), self.time.now.steady);
            self.read_once_more(handle);
        }
        false
    }
}
