//! The thread that reads the files of `--users` and `--secret` again.
//!
//! A million users take a second to read and some milliseconds to free, and no worker may spend either. So this thread does
//! both: it keeps the old table until the last worker has let go of it. Only then does it read again, however often it
//! is asked: there are never more than two tables.
//!
//! *Invariant:* the old credentials hold until new ones have been read whole.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::crew::spawn;
use super::shared::{Inbox, Shared};
use super::{files, notice};
use crate::config::CredentialsKind;

/// How often to look whether all workers have let go of the old credentials.
const TICK: Duration = Duration::from_millis(2);

/// How the thread is asked. It ends when this is dropped.
pub struct Reloader(SyncSender<()>);

impl Reloader {
    /// Starts the thread.
    pub fn start(kind: &CredentialsKind, shared: &Arc<Shared>, inboxes: &[Arc<Inbox>]) -> io::Result<Self> {
        let (wanted, asked) = sync_channel(1);
        let (kind, shared, inboxes) = (kind.clone(), Arc::clone(shared), inboxes.to_vec());
        spawn("reloader", move || run(&kind, &shared, &inboxes, &asked))?;
        Ok(Self(wanted))
    }

    /// Has the files read again, as they are from now on.
    pub fn ask(&self) {
        // One that waits already has not begun to read.
        let _ = self.0.try_send(());
    }
}

fn run(kind: &CredentialsKind, shared: &Shared, inboxes: &[Arc<Inbox>], asked: &Receiver<()>) {
    while asked.recv().is_ok() {
        match files::load(kind) {
            Ok((credentials, said)) => {
                let old = shared.set_credentials(credentials);
                notice(&format!("reloaded: {said}"));
                shared.reloads.count(true);
                // A worker lets go in its next turn, and an idle one has no turn unless it is woken.
                inboxes.iter().for_each(|inbox| inbox.wake_worker());
                while Arc::strong_count(&old) > 1 && shared.working.load(Relaxed) > 0 {
                    std::thread::sleep(TICK);
                }
            }
            Err(error) => {
                notice(&format!("nothing reloaded: {error}"));
                shared.reloads.count(false);
            }
        }
    }
}
