//! The thread that puts the operators' pages together: the sum of all counters, the store's census, and the process as
//! its system sees it.
//!
//! That takes milliseconds: with thousands of connections the system alone takes ten to count descriptors. So a worker
//! only hands the question on, and answers when the page comes back to its inbox.
//!
//! *Invariant:* a worker never waits here: a question too many is refused.

use core::net::SocketAddr;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::clock::{Clock, wall};
use super::shared::{Inbox, Message, Question, Shared};
use crate::app::counters::{Counter, Counters};
use crate::app::history::{self, History};
use crate::app::recent::Recent;
use crate::app::snapshot::{Process, Snapshot};
use crate::app::usage::Usage;
use crate::app::{Readiness, View, render};
use crate::time::Millis;

/// Looks at everything.
pub struct Observer {
    pub shared: Arc<Shared>,
    /// Those of every thread.
    pub counters: Vec<Arc<Counters>>,
    /// Those of this one.
    pub own_counters: Arc<Counters>,
    pub recent: Vec<Arc<Recent>>,
    pub usage: Arc<Usage>,
    pub inboxes: Vec<Arc<Inbox>>,
    pub clock: Clock,
    pub max_connections: usize,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// What they show: `open`, `users` or `secret`.
    pub credentials: &'static str,
    pub started: Instant,
    /// Seconds since the Unix epoch.
    pub start_time: f64,
}

impl Observer {
    /// Answers questions as long as there is a worker that could ask, and keeps the history.
    pub fn run(&self, asked: &Receiver<Question>) {
        let (every, mut history) = (Duration::from_millis(history::EVERY.millis()), History::default());
        let mut due = Instant::now();
        loop {
            let now = Instant::now();
            if due <= now {
                if let Some(counted) = self.contain(|| self.counted()) {
                    history.add(&counted);
                }
                due = now + every;
            }
            match asked.recv_timeout(due - now) {
                Ok(first) => self.answer(first, asked, &history),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Answers all that wait; those that ask for the same view get the same page.
    fn answer(&self, first: Question, asked: &Receiver<Question>, history: &History) {
        // Before looking: what is asked afterwards wants to see what has happened since.
        let questions: Vec<Question> = std::iter::once(first).chain(asked.try_iter()).collect();
        let snapshot = self.contain(|| self.snapshot(history));
        for view in [View::Metrics, View::Stats, View::History] {
            let mut asking = questions.iter().filter(|question| question.view == view).peekable();
            if asking.peek().is_none() {
                continue;
            }
            let render = |snapshot| render(view, snapshot, &self.shared.settings).into();
            let page: Option<Arc<[u8]>> =
                snapshot.as_ref().and_then(|snapshot| self.contain(|| render(snapshot)));
            for Question { ticket, inbox, .. } in asking {
                inbox.leave(Message::Observed { ticket: *ticket, page: page.clone() });
            }
        }
    }

    /// Does a part of the work. A panic costs the pages that it was for, and no others.
    fn contain<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(work));
        done.inspect_err(|_| self.own_counters.bump(Counter::Panics, 0)).ok()
    }

    /// What the history needs: a few sums.
    fn counted(&self) -> Snapshot {
        Snapshot {
            wall: wall(),
            sum: self.counters.iter().map(|counters| &**counters).collect(),
            census: self.shared.store.census(),
            ..Snapshot::default()
        }
    }

    /// Everything that is counted and measured, now.
    fn snapshot(&self, history: &History) -> Snapshot {
        let Shared { store, settings, reloads, .. } = &*self.shared;
        let counted = self.counted();
        Snapshot {
            uptime: Millis::from_millis(self.started.elapsed().as_millis() as u64),
            ready: self.shared.trouble().is_none(),
            workers: self.recent.len(),
            store_name: store.describe(),
            store_is_up: store.is_up(),
            store: store.measures(),
            parked: self.inboxes.iter().map(|inbox| inbox.parked.load(Relaxed) as u64).sum(),
            stalled: self.clock.stalled(),
            max_connections: self.max_connections,
            reloads: [reloads.taken.load(Relaxed), reloads.refused.load(Relaxed)],
            reload_failing: reloads.failing.load(Relaxed),
            limit: settings.limit,
            process: process(self.start_time),
            peaks: self.usage.peaks(counted.wall),
            latest: Recent::latest(self.recent.iter().map(|recent| &**recent)),
            history: history.clone(),
            listen: Some(self.listen),
            credentials: self.credentials,
            ..counted
        }
    }
}

/// What proc(5) says; None on systems that have no /proc.
fn process(start_time: f64) -> Option<Process> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may hold anything; the third begins behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    // Clock ticks are hundredths of a second and pages 4 KiB on every Linux that Rust's tier 1 knows.
    let (ticks, page) = (100.0, 4096);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    Some(Process {
        cpu_seconds: (number(14)? + number(15)?) as f64 / ticks,
        threads: number(20)?,
        virtual_size: number(23)?,
        resident: number(24)? * page,
        open_fds: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as u64,
        max_fds: files.and_then(|files| files.split_whitespace().next()?.parse().ok()).unwrap_or(0),
        start_time,
    })
}
