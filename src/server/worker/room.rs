//! Newcomers, and room for them: what a worker does when others have left something in its inbox.
//!
//! *Invariant:* newcomers come last in a turn, so that a connection that makes way for one has had its response.
//! (Not tested.)

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;

use super::{Handle, MAX_EVENTS, Worker};
use crate::app::Side;
use crate::app::counters::{Counter, Timeout};
use crate::app::site::Life;
use crate::poller::Poll;
use crate::server::connection::Connection;
use crate::server::shared::{Newcomer, Station};
use crate::time::{Millis, Timestamp};

/// What a good client does at once: sends the rest of a request, reads a response, ends.
const URGENT: [Timeout; 4] = [Timeout::Head, Timeout::Body, Timeout::Write, Timeout::Drain];
/// How long it may take before its connection gives way.
const PROMPT: Millis = Millis::from_secs(1);

impl Worker {
    /// Does what other threads have left in the inbox.
    pub(super) fn take_messages(&mut self) {
        // Before looking: whatever was left before the stop is taken up.
        let stops = self.shared.site.has_reached(Life::Stopping);
        let newcomers = self.inbox().take();
        let count = newcomers.len();
        for newcomer in newcomers {
            // A panic at one does not lose those behind it.
            if catch_unwind(AssertUnwindSafe(|| self.take_up(newcomer))).is_err() {
                self.recover();
            }
        }
        if self.inbox().reclaim.swap(false, Relaxed) {
            self.make_room();
        }
        self.say_who_gives_way();
        self.inbox().done(count);
        if self.stop_by.is_none() && stops {
            self.stop_by = Some(self.app.now.steady + self.shared.site.config.grace);
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

    /// Serves a newcomer, if there is room or one gives way. It is counted among the connections already.
    fn take_up(&mut self, newcomer: Newcomer) {
        let inbox = self.inbox();
        if inbox.open.load(Relaxed) > inbox.most && !self.make_room() {
            self.inbox().open.fetch_sub(1, Relaxed);
            return self.shared.inbox(Station::Listener).leave(newcomer);
        }
        let mut connection = Connection::new(newcomer.stream, newcomer.peer);
        connection.arrived = self.app.micros;
        let handle = self.connections.slab.insert(connection);
        let Some(connection) = self.connections.slab.get_mut(handle) else { return };
        if self.connections.poller.add(connection.socket.stream.as_fd(), handle.token()).is_err() {
            return self.close(handle);
        }
        self.connections.deadlines.begin(handle, Timeout::Idle, self.app.now.steady);
        if self.stop_by.is_some() {
            self.read_once_more(handle);
        }
    }

    /// Tells the listener from when on a connection gives way. It asks only if there is no room.
    pub(super) fn say_who_gives_way(&mut self) {
        if self.inbox().has_room() {
            return;
        }
        let idle = self.waits_longest([Timeout::Idle]).map(|(_, since)| since);
        let slow = self.waits_longest(URGENT).map(|(_, since)| since + PROMPT);
        let next = [idle, slow].into_iter().flatten().min();
        self.inbox().gives_way_at.store(next.map_or(u64::MAX, Timestamp::millis), Relaxed);
    }

    /// Closes a connection for a newcomer: that of the slowest client, if it is late; else the one that has been idle longest;
    /// on the admin listener else any, so that there is always a place for a probe, which comes with its whole request.
    /// Returns whether one was closed.
    fn make_room(&mut self) -> bool {
        let now = self.app.now.steady;
        let late = self.waits_longest(URGENT).filter(|(_, since)| *since + PROMPT <= now);
        let gives_way = late.map(|(handle, _)| handle).or_else(|| self.idle()).or_else(|| {
            let any = self.waits_longest(Timeout::ALL);
            any.filter(|_| self.app.side == Side::Admin).map(|(handle, _)| handle)
        });
        if let Some(handle) = gives_way {
            self.counters().bump(Counter::Reclaimed, 0);
            self.close(handle);
        }
        gives_way.is_some()
    }

    /// Which connection has waited longest for one of these, and since when.
    fn waits_longest<const N: usize>(&self, kinds: [Timeout; N]) -> Option<(Handle, Timestamp)> {
        let waits = kinds.into_iter().filter_map(|kind| self.connections.deadlines.longest(kind));
        waits.min_by_key(|(_, since)| *since)
    }

    /// The connection that has been idle longest. One whose next request is there already, only not yet read, is not idle.
    fn idle(&mut self) -> Option<Handle> {
        for _ in 0..MAX_EVENTS {
            let (handle, _) = self.connections.deadlines.longest(Timeout::Idle)?;
            let connection = self.connections.slab.get_mut(handle)?;
            if !matches!(connection.socket.stream.peek(&mut [0]), Ok(1..)) {
                return Some(handle);
            }
            self.connections.deadlines.begin(handle, Timeout::Idle, self.app.now.steady);
            self.read_once_more(handle);
        }
        None
    }
}
