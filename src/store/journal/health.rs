//! Whether the disk does its work: what fails is counted, said once, and taken back when it works again.
//!
//! *Invariant:* no lock is held here while a file is written or synced. (Not tested.)

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::measures::{FAMILIES, Figure};
use crate::codec::labelled;
use crate::measures::Counts;
use crate::sync::lock;

/// That the same part fails again is said at most so often.
const QUIET: Duration = Duration::from_secs(10);

/// Tells the operator something.
pub type Say = fn(&str);

labelled! {
    /// What failed, for the counters.
    pub enum Failing {
        Write = "write",
        Sync = "sync",
        /// Work was not done in time. It may yet be.
        Hang = "hang",
        Delete = "delete",
        /// A file could not be made, the directory could not be synced, or is not where it was.
        Directory = "directory",
    }
}

impl Failing {
    /// What failed if it was not done.
    pub fn of<T>(self, done: io::Result<T>) -> Result<T, Failed> {
        done.map_err(|error| (self, error))
    }
}

pub type Failed = (Failing, io::Error);

/// What does its work or fails on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// The lane writes and syncs, in the directory where it should be.
    Lane,
    /// It does so in time.
    Watch,
    /// What is void is deleted.
    Retention,
    /// A new file is begun in time.
    Rotation,
}

impl Duty {
    /// What is said when it fails, and when it works again.
    fn words(self) -> [&'static str; 3] {
        match self {
            Self::Lane | Self::Watch => [
                "cannot write to",
                "changes are answered 503 until it can be written again",
                "it can be written",
            ],
            Self::Retention => [
                "cannot delete what is void in",
                "it grows until that can be done",
                "what is void can be deleted",
            ],
            Self::Rotation => {
                ["cannot begin a file in", "the last one grows until that can be done", "files can be begun"]
            }
        }
    }
}

pub struct Health {
    pub place: String,
    say: Say,
    is_up: AtomicBool,
    pub counts: Counts,
    symptoms: Mutex<[Symptom; 4]>,
}

#[derive(Default)]
struct Symptom {
    /// Why the duty is not done.
    why: Option<String>,
    /// When that was last said.
    said: Option<Instant>,
    /// Whether it has not been said since that it works again.
    is_open: bool,
}

impl Symptom {
    /// Whether it is to be said now that it fails. Not as often as a disk may fail and recover; but what goes on failing
    /// is tried again and again, so that it is said as soon as it may be.
    fn is_news(&mut self, now: Instant) -> bool {
        let is_news = !self.is_open && self.said.is_none_or(|at| now.duration_since(at) > QUIET);
        if is_news {
            (self.said, self.is_open) = (Some(now), true);
        }
        is_news
    }
}

impl Health {
    pub fn new(place: String, say: Say) -> Self {
        let (counts, symptoms) = (Counts::new(&FAMILIES), Mutex::default());
        Self { place, say, is_up: AtomicBool::new(true), counts, symptoms }
    }

    /// Whether changes can be kept.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Relaxed)
    }

    pub fn failed(&self, duty: Duty, (what, error): Failed) {
        self.counts.add(Figure::Failures as usize, what as usize, 1);
        let [cannot, until, _] = duty.words();
        let why = format!("{cannot} {}: {error}; {until}", self.place);
        let mut symptoms = lock(&self.symptoms);
        symptoms[duty as usize].why = Some(why.clone());
        self.is_up.store(Self::vital(&symptoms).is_none(), Relaxed);
        let is_news = symptoms[duty as usize].is_news(Instant::now());
        // Nobody is to wait for standard error who only asks how it is.
        drop(symptoms);
        if is_news {
            (self.say)(&why);
        }
    }

    pub fn works(&self, duty: Duty) {
        let mut symptoms = lock(&self.symptoms);
        if symptoms[duty as usize].why.take().is_none() {
            return;
        }
        self.is_up.store(Self::vital(&symptoms).is_none(), Relaxed);
        let Symptom { said, is_open, .. } = &mut symptoms[duty as usize];
        if std::mem::take(is_open) {
            let secs = said.map_or(0, |at| at.elapsed().as_secs());
            drop(symptoms);
            (self.say)(&format!("{}: {} again, after {secs} s", self.place, duty.words()[2]));
        }
    }

    /// Why no change can be kept, in a sentence.
    pub fn trouble(&self) -> Option<String> {
        Self::vital(&lock(&self.symptoms)).map(|why| format!("The server {why}."))
    }

    /// Without the lane no change can be kept.
    fn vital(symptoms: &[Symptom; 4]) -> Option<&str> {
        [Duty::Lane, Duty::Watch].iter().find_map(|duty| symptoms[*duty as usize].why.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measures::Reading;
    use std::sync::LazyLock;
    use std::sync::atomic::AtomicU32;

    impl Health {
        /// How often each kind has failed.
        pub fn failures(&self) -> [u64; Failing::ALL.len()] {
            let measures = self.counts.measures(&[]);
            Failing::LABELS.map(|kind| {
                let counted = measures.iter().find(|measure| measure.labels == [("kind", kind.into())]);
                let Reading::Counter(n) = counted.unwrap().value else { panic!("it is a counter") };
                n
            })
        }
    }

    #[test]
    fn what_goes_on_failing_is_said_although_it_began_soon_after_the_last_time() {
        let mut topic = Symptom::default();
        let (began, tick) = (Instant::now(), Duration::from_secs(1));
        let mut said = |at| topic.is_news(at);
        assert!(said(began) && !said(began + tick) && !said(began + 2 * QUIET));
        topic.is_open = false;
        let mut said = |at| topic.is_news(at);
        assert!(said(began + 3 * QUIET));
        topic.is_open = false;
        let mut said = |at| topic.is_news(at);
        assert!(!said(began + 3 * QUIET + tick));
        assert!(said(began + 4 * QUIET + tick) && !said(began + 5 * QUIET));
    }

    /// A health page does not wait for standard error.
    #[test]
    fn what_is_said_is_said_without_the_lock() {
        static HEALTH: LazyLock<Health> = LazyLock::new(|| {
            Health::new("/x".into(), |_| {
                assert!(HEALTH.symptoms.try_lock().is_ok());
                SAID.fetch_add(1, Relaxed);
            })
        });
        static SAID: AtomicU32 = AtomicU32::new(0);
        for duty in [Duty::Lane, Duty::Retention] {
            HEALTH.failed(duty, (Failing::Sync, io::Error::from_raw_os_error(5)));
            HEALTH.works(duty);
        }
        assert_eq!(SAID.load(Relaxed), 4);
    }

    #[test]
    fn only_what_no_change_can_do_without_takes_it_down() {
        let error = || io::Error::from_raw_os_error(5);
        let health = Health::new("/x".into(), |_| {});
        health.failed(Duty::Retention, (Failing::Delete, error()));
        health.failed(Duty::Rotation, (Failing::Directory, error()));
        assert!(health.is_up() && health.trouble().is_none());
        health.failed(Duty::Lane, (Failing::Sync, error()));
        health.failed(Duty::Watch, (Failing::Hang, error()));
        assert!(health.trouble().unwrap().starts_with("The server cannot write to /x: "));
        health.works(Duty::Lane);
        assert!(!health.is_up());
        health.works(Duty::Watch);
        assert!(health.is_up());
        assert_eq!(health.failures(), [0, 1, 1, 1, 1]);
    }
}
