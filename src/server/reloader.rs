//! The thread that reads the files of `--users`, `--secret` and `--pass` again.
//!
//! A million users take a second to read and some milliseconds to free, and no worker may spend either. So this thread does
//! both: it keeps the old table until the last worker has let go of it. Only then does it read again, however often it
//! is asked: there are never more than two tables.
//!
//! *Invariant:* the old credentials hold until new ones have been read whole. (Tested by
//! `a_hangup_reads_the_users_again_and_a_bad_file_keeps_the_old`.)

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::shared::{Shared, Station};
use super::{files, notice};
use crate::app::counters::Counter;
use crate::sync::Service;

/// How often to look whether all workers have let go of the old credentials.
const TICK: Duration = Duration::from_millis(2);

/// Starts the thread; in its mailbox is whether it is asked to read.
pub fn start(shared: &Arc<Shared>) -> io::Result<Service<bool>> {
    let (shared, panics) = (Arc::clone(shared), Arc::clone(shared));
    Service::start(
        "reloader",
        false,
        move |mailbox| {
            let (asked, stops) = mailbox.wait(None, std::mem::take);
            if asked && !stops {
                reload(&shared);
            }
            stops
        },
        move || panics.counters(Station::Reloader).bump(Counter::Panics, 0),
    )
}

fn reload(shared: &Shared) {
    let (site, counters) = (&shared.site, shared.counters(Station::Reloader));
    match files::load(&site.config) {
        Ok((credentials, said)) => {
            let old = site.set_credentials(credentials);
            notice(&format!("reloaded: {said}"));
            counters.bump(Counter::Reloads, 0);
            counters.set(Counter::ReloadFailing, 0);
            // A worker lets go in its next turn, and an idle one has no turn unless it is woken.
            shared.wake_all();
            while Arc::strong_count(&old) > 1 && shared.working.load(Relaxed) > 0 {
                std::thread::sleep(TICK);
            }
        }
        Err(error) => {
            notice(&format!("nothing reloaded: {}", error.said));
            counters.bump(Counter::Reloads, 1);
            counters.set(Counter::ReloadFailing, 1);
        }
    }
}
