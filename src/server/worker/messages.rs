//! What other threads ask of a worker: take a connection, make room for one, answer with a page, stop.
//!
//! *Invariant:* messages come last in a turn, so that a connection that makes way for a newcomer has had its response.

use core::net::SocketAddr;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;

use super::{Handle, MAX_EVENTS, Worker};
use crate::app::Side;
use crate::app::counters::Counter;
use crate::app::problem::Problem;
use crate::http::timeouts::Timeout;
use crate::server::connection::Connection;
use crate::server::poller::Poll;
use crate::server::shared::Message;

impl Worker {
    /// Does what other threads have left in the inbox.
    pub(super) fn take_messages(&mut self) {
        for message in self.links.inbox.take() {
            match message {
                Message::Serve { stream, peer, side, full } => self.accept(stream, peer, side, full),
                Message::Reclaim => drop(self.reclaim()),
                Message::Observed { ticket, page } => {
                    if let Some(mut work) = self.engine.unpark(ticket) {
                        work.page = Some(page);
                        let work = self.respond(work);
                        self.engine.recycle(work);
                    }
                }
            }
        }
        if self.stop_by.is_none() && self.links.shared.stopping.load(Relaxed) {
            self.stop_by = Some(self.time.now.steady + self.links.grace);
            // What has arrived is still served; then the idle are closed.
            let all: Vec<Handle> = self.connections.slab.handles().collect();
            all.into_iter().for_each(|handle| self.read_once_more(handle));
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

    fn accept(&mut self, stream: TcpStream, peer: SocketAddr, side: Side, full: bool) {
        let shared = &self.links.shared;
        // Since it was dealt, others may have gone.
        let full = full && shared.open[side as usize].load(Relaxed) > shared.most[side as usize];
        let refused = full && (side == Side::Admin || !self.reclaim());
        let mut connection = Connection::new(stream, peer, side);
        connection.arrived = self.time.micros;
        let handle = self.connections.slab.insert(connection);
        let Some(connection) = self.connections.slab.get_mut(handle) else { return };
        if self.connections.poller.add(connection.socket.stream.as_fd(), handle.token()).is_err() {
            return self.close(handle);
        }
        if refused {
            self.links.counters.bump(Counter::TurnedAway, 0);
            self.refuse(handle, Problem::NoCapacity, None);
        } else {
            let idle = connection.idle();
            self.connections.deadlines.begin(handle, idle, self.time.now.steady);
        }
        if self.stop_by.is_some() && side == Side::Public {
            self.read_once_more(handle);
        }
    }

    /// Closes the connection that has been idle longest; false if none is. One whose next request is there already, only
    /// not yet read, is not idle.
    fn reclaim(&mut self) -> bool {
        for _ in 0..self.connections.deadlines.idle().min(MAX_EVENTS) {
            let Some((handle, _)) = self.connections.deadlines.longest_idle() else { break };
            let Some(connection) = self.connections.slab.get_mut(handle) else { break };
            if !matches!(connection.socket.stream.peek(&mut [0]), Ok(1..)) {
                self.links.counters.bump(Counter::Reclaimed, 0);
                self.close(handle);
                return true;
            }
            self.connections.deadlines.begin(handle, Timeout::Idle, self.time.now.steady);
            self.read_once_more(handle);
        }
        false
    }
}
