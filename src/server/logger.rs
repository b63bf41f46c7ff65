//! The thread that writes the access log.
//!
//! A worker puts a turn's lines into its own slot, under a lock that the logger holds just long enough to swap the slot
//! for an empty one. When a slot is full, because the reader of the log has stalled, lines are lost and counted; no
//! answer waits for a log.
//!
//! *Invariant:* nothing is written while a slot is locked.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{clock, notice};
use crate::app::counters::{Counter, Counters, Lost};
use crate::app::log::{self, Format};

/// How many bytes of lines may wait in a slot.
const SLOT: usize = 1 << 20;
/// How long lines are gathered, so that a busy server makes a hundred writes a second and not a hundred thousand.
const GATHER: Duration = Duration::from_millis(10);
/// How long to wait before it is told once more that lines cannot be written.
const REPEAT: Duration = Duration::from_secs(60);

/// What workers and the logger share.
pub struct Logger {
    format: Format,
    slots: Vec<Mutex<Vec<u8>>>,
    /// Whether there is something in a slot.
    waiting: Mutex<bool>,
    more: Condvar,
    /// Lines lost that the log does not yet say.
    lost: AtomicU64,
    stopping: AtomicBool,
    /// Where the logger counts lines that could not be written.
    counters: Arc<Counters>,
}

impl Logger {
    /// A logger for so many threads, each of which has a slot.
    pub fn new(format: Format, workers: usize, counters: Arc<Counters>) -> Self {
        Self {
            format,
            slots: (0..workers).map(|_| Mutex::default()).collect(),
            waiting: Mutex::new(false),
            more: Condvar::new(),
            lost: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            counters,
        }
    }

    /// Takes a worker's lines and leaves `lines` empty. What does not fit is counted in `counters` and gone.
    pub fn take(&self, worker: usize, lines: &mut Vec<u8>, counters: &Counters) {
        let mut slot = self.slots[worker].lock().unwrap_or_else(PoisonError::into_inner);
        let first = slot.is_empty();
        if first {
            std::mem::swap(&mut *slot, lines);
        } else if slot.len() + lines.len() <= SLOT {
            slot.append(lines);
        } else {
            drop(slot);
            let lost = count(lines);
            counters.add(Counter::LinesLost, Lost::Slow as usize, lost);
            self.lost.fetch_add(lost, Relaxed);
            lines.clear();
            return;
        }
        drop(slot);
        if first {
            self.wake();
        }
    }

    /// Writes whatever is left, and ends `run`.
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
        self.wake();
    }

    fn wake(&self) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.more.notify_one();
    }

    /// Writes lines to `out` until told to stop.
    pub fn run(&self, out: impl Write) {
        let mut writer = Writer { out, failed: 0, told: None };
        let mut lines = Vec::new();
        loop {
            let stopping = self.stopping.load(Relaxed);
            for slot in &self.slots {
                std::mem::swap(&mut *slot.lock().unwrap_or_else(PoisonError::into_inner), &mut lines);
                self.write(&mut writer, &mut lines);
                lines.clear();
            }
            if stopping {
                return writer.tell_of_failures();
            }
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = self.more.wait_while(waiting, |waiting| !*waiting);
            *waiting.unwrap_or_else(PoisonError::into_inner) = false;
            if !self.stopping.load(Relaxed) {
                std::thread::sleep(GATHER);
            }
        }
    }

    fn write(&self, writer: &mut Writer<impl Write>, lines: &mut Vec<u8>) {
        let lost = self.lost.swap(0, Relaxed);
        if lines.is_empty() && lost == 0 {
            return;
        }
        let gathered = count(lines);
        if lost > 0 {
            let text = format!("{lost} log lines were lost: the log was not read in time");
            log::write_notice(self.format, clock::wall(), &text, lines);
        }
        if let Err(error) = writer.out.write_all(lines).and_then(|()| writer.out.flush()) {
            // As good as lost; how many of them came through cannot be known.
            self.counters.add(Counter::LinesLost, Lost::Failed as usize, gathered);
            self.lost.fetch_add(lost, Relaxed);
            writer.failed(gathered, &error);
        }
    }
}

/// Where the log goes.
struct Writer<W> {
    out: W,
    /// Lines that could not be written, and of which the operator has not been told.
    failed: u64,
    /// When the operator was last told, and why they could not.
    told: Option<(Instant, String)>,
}

impl<W> Writer<W> {
    /// Lines could not be written. Tells so on standard error, once a minute at most.
    fn failed(&mut self, lines: u64, error: &io::Error) {
        self.failed += lines;
        if self.told.as_ref().is_none_or(|(at, _)| at.elapsed() >= REPEAT) {
            self.told = Some((Instant::now(), error.to_string()));
            self.tell_of_failures();
        }
    }

    fn tell_of_failures(&mut self) {
        let lines = std::mem::take(&mut self.failed);
        if let Some((_, error)) = self.told.as_ref().filter(|_| lines > 0) {
            notice(&format!("{lines} log lines were lost: standard output cannot be written: {error}"));
        }
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::counters::Sum;
    use std::sync::mpsc;

    fn logger() -> Logger {
        Logger::new(Format::Text, 2, Arc::default())
    }

    #[test]
    fn writes_all_lines_in_the_order_of_each_worker() {
        let logger = logger();
        let counters = Counters::default();
        for i in 0..100 {
            logger.take(i % 2, &mut format!("{} {i}\n", i % 2).into_bytes(), &counters);
        }
        logger.stop();
        let mut out = Vec::new();
        logger.run(&mut out);
        let text = String::from_utf8(out).unwrap();
        for worker in 0..2 {
            let mine = text.lines().filter_map(|line| line.strip_prefix(&format!("{worker} ")));
            assert!(mine.map(|n| n.parse::<usize>().unwrap()).eq((worker..100).step_by(2)));
        }
    }

    /// A pipe whose reader has stalled: each write waits for a permit.
    struct Stalled(mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_log_loses_lines_says_how_many_and_holds_no_worker_up() {
        let logger = logger();
        let counters = Counters::default();
        let (permits, stalled) = mpsc::channel();
        let written = Arc::new(Mutex::default());
        let out = Stalled(stalled, Arc::clone(&written));
        std::thread::scope(|scope| {
            scope.spawn(|| logger.run(out));
            let line = [&[b'x'; 1023][..], b"\n"].concat();
            for _ in 0..4096 {
                logger.take(0, &mut line.clone(), &counters);
            }
            logger.stop();
            drop(permits);
        });
        let lost = Sum::from_iter([&counters]).all(Counter::LinesLost)[Lost::Slow as usize];
        assert!((2048..=4096).contains(&lost), "{lost}");
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("x\n").count() as u64, 4096 - lost);
        let said = text
            .lines()
            .filter_map(|line| line.strip_suffix(" log lines were lost: the log was not read in time"));
        assert_eq!(said.map(|n| n.parse::<u64>().unwrap()).sum::<u64>(), lost);
    }
}
