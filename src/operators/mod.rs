//! What only operators see: metrics, the page and what it shows, and what is noted for that.
//!
//! ```text
//! every thread ── counts, notes ──▶ Counters, Recent, Usage
//!                                        │ looked at once in a while, and when somebody asks
//! the operators' thread ──────────▶ measured ──▶ /metrics;  /stats, /history
//! ```
//!
//! *Invariant:* nothing here changes what a player is told, and no player's thread waits here. (Tested by
//! `arrows_point_down_only`.)

pub mod history;
pub mod measured;
pub mod metrics;
pub mod page;
pub mod process;
pub mod recent;
pub mod stats;
pub mod usage;

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use crate::app::site::{Observer, Page, Site};
use crate::http::encode::ResponseStart;
use crate::http::status::Status;
use crate::streams::batch::{Batch, Entry, Verdict};
use crate::sync::lock;
use crate::time::{Now, Timestamp};

use history::History;
use recent::Recent;
use usage::Usage;

/// The pages, and whether each names users.
static PAGES: [Page; 4] = [
    Page { path: "/metrics", names_users: false },
    Page { path: "/", names_users: true },
    Page { path: "/stats", names_users: true },
    Page { path: "/history", names_users: true },
];

/// Watches for the operators.
pub struct Operators {
    /// The latest events of each thread that answers requests.
    recent: Box<[Recent]>,
    /// How many of these events there have been.
    events: AtomicU64,
    usage: Usage,
    /// Written and read by the operators' thread alone.
    history: Mutex<History>,
}

impl Operators {
    /// Has seen nothing, of so many threads that answer requests.
    pub fn new(threads: usize) -> Self {
        let recent = (0..threads).map(|_| Recent::default()).collect();
        Self { recent, events: AtomicU64::new(0), usage: Usage::default(), history: Mutex::default() }
    }
}

impl Observer for Operators {
    fn note(&self, thread: usize, at: Timestamp, operator: &[u8], entry: &Entry, batch: &Batch) {
        if matches!(entry.outcome.verdict, Verdict::Started | Verdict::Full) {
            self.usage.note(at, batch.arena.get(entry.command.user), entry.outcome.count);
        }
        self.recent[thread].note(&self.events, at, operator, entry, batch);
    }

    fn find(&self, path: &[u8]) -> Option<&'static Page> {
        PAGES.iter().find(|page| page.path.as_bytes() == path)
    }

    fn show(&self, page: &Page, site: &Site, now: Now, start: &mut ResponseStart) -> Status {
        let response = start.status(Status::Ok);
        match page.path {
            "/metrics" => {
                let all = measured::all(site, &self.usage, now);
                response.body(metrics::MEDIA_TYPE, |out| metrics::write(&all, out));
            }
            "/stats" => response.body("application/json", |out| stats::write(site, now, &self.recent, out)),
            "/history" => response.body("application/json", |out| lock(&self.history).write(out)),
            _ => page::write(response),
        }
        Status::Ok
    }

    fn look(&self, site: &Site, now: Now) -> Timestamp {
        lock(&self.history).add(now.wall, site.store.census(), &site.sum());
        now.steady + history::EVERY
    }
}
