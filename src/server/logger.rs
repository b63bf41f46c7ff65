//! The thread that writes the access log.
//!
//! A worker leaves a turn's lines in the thread's mailbox. When that is full, because the reader of the log has stalled,
//! lines are lost and counted; no answer waits for a log.
//!
//! *Invariant:* nothing is written while the mailbox is locked. (Tested by
//! `a_stalled_log_loses_lines_says_how_many_and_holds_no_worker_up`.)

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::shared::Station;
use super::{clock, notice};
use crate::app::counters::{Counter, Lost};
use crate::app::log;
use crate::app::site::Site;
use crate::config::LogFormat;
use crate::sync::{Mailbox, Service};

/// How many bytes of lines may wait, for each worker.
const ROOM: usize = 1 << 20;
/// How long lines are gathered, so that a busy server makes a hundred writes a second and not a hundred thousand.
const GATHER: Duration = Duration::from_millis(10);
/// How long to wait before it is told once more that lines cannot be written.
const REPEAT: Duration = Duration::from_secs(60);

/// Lines that wait to be written.
pub struct LogLines {
    bytes: Vec<u8>,
    /// How many bytes may wait.
    room: usize,
    /// How many were lost since the log last said so.
    lost: u64,
}

impl LogLines {
    /// Takes a turn's lines and leaves `lines` empty. Returns how many did not fit and are gone.
    pub fn take(&mut self, lines: &mut Vec<u8>) -> u64 {
        if self.bytes.is_empty() {
            std::mem::swap(&mut self.bytes, lines);
        } else if self.bytes.len() + lines.len() <= self.room {
            self.bytes.append(lines);
        } else {
            let lost = count(lines);
            self.lost += lost;
            lines.clear();
            return lost;
        }
        0
    }
}

/// Starts the thread, which writes lines to `out` until it is told to stop; None if nothing is to be logged.
pub fn start(site: &Arc<Site>, out: impl Write + Send + 'static) -> io::Result<Option<Service<LogLines>>> {
    let format = site.config.log;
    if format == LogFormat::Off {
        return Ok(None);
    }
    let number = Station::Logger.number(site.config.workers);
    let (site, panics) = (Arc::clone(site), Arc::clone(site));
    let room = ROOM * site.config.workers;
    let mut writer = Writer { out, format, site, number, failed: 0, told: None };
    let mut bytes = Vec::new();
    let work = move |mailbox: &Mailbox<LogLines>| {
        bytes.clear();
        // Their memory goes round between the threads, so that in steady state none allocates.
        let take = |lines: &mut LogLines| {
            std::mem::swap(&mut lines.bytes, &mut bytes);
            std::mem::take(&mut lines.lost)
        };
        let (lost, stops) = mailbox.wait(None, take);
        writer.write(&mut bytes, lost);
        if stops {
            writer.tell_of_failures();
        } else {
            std::thread::sleep(GATHER);
        }
        stops
    };
    let panicked = move || panics.counters[number].bump(Counter::Panics, 0);
    Service::start("logger", LogLines { bytes: Vec::new(), room, lost: 0 }, work, panicked).map(Some)
}

struct Writer<W> {
    out: W,
    format: LogFormat,
    site: Arc<Site>,
    /// That of the thread.
    number: usize,
    /// Lines that could not be written, and of which the operator has not been told.
    failed: u64,
    /// When the operator was last told, and why they could not.
    told: Option<(Instant, String)>,
}

impl<W: Write> Writer<W> {
    fn write(&mut self, bytes: &mut Vec<u8>, lost: u64) {
        let gathered = count(bytes);
        if lost > 0 {
            let text = format!("{lost} log lines were lost: the log was not read in time");
            log::write_notice(self.format, clock::wall(), &text, bytes);
        }
        if let Err(error) = self.write_whole(bytes) {
            // As good as lost; how many of them came through cannot be known.
            self.site.counters[self.number].add(Counter::LinesLost, Lost::Failed as usize, gathered);
            self.failed(gathered + lost, &error);
        }
    }

    /// Writes as many lines at once as a pipe takes whole or not at all: so none is cut when the program ends while nobody
    /// reads.
    fn write_whole(&mut self, mut lines: &[u8]) -> io::Result<()> {
        while !lines.is_empty() {
            let most = &lines[..lines.len().min(log::MAX_LINE)];
            let whole = most.iter().rposition(|&byte| byte == b'\n').map_or(most.len(), |at| at + 1);
            self.out.write_all(&lines[..whole])?;
            lines = &lines[whole..];
        }
        self.out.flush()
    }

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
    use std::sync::Mutex;
    use std::sync::mpsc::{self, Receiver};

    /// A pipe whose reader may stall: each write waits for a permit, or until there are to be no more.
    struct Pipe(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of `lines`, and how many are lost, when the reader stalls until all of them are left.
    fn written(lines: impl Iterator<Item = String>) -> (String, u64) {
        let (permits, stalled) = mpsc::channel();
        let written = Arc::new(Mutex::default());
        let pipe = Pipe(stalled, Arc::clone(&written));
        let service = start(&Arc::new(Site::of_test()), pipe).unwrap().unwrap();
        let lost = lines.map(|line| service.mailbox.leave(|lines| lines.take(&mut line.into_bytes()))).sum();
        drop(permits);
        assert!(service.stop(Duration::from_secs(60)));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        (text, lost)
    }

    #[test]
    fn writes_all_lines_in_order() {
        let lines: Vec<String> = (0..1000).map(|i| format!("{i}\n")).collect();
        assert_eq!(written(lines.iter().cloned()), (lines.concat(), 0));
    }

    #[test]
    fn a_stalled_log_loses_lines_says_how_many_and_holds_no_worker_up() {
        let line = "x".repeat(1023) + "\n";
        let (text, lost) = written((0..16 << 10).map(|_| line.clone()));
        assert!((14 << 10..=16 << 10).contains(&lost), "{lost}");
        assert_eq!(text.matches("x\n").count() as u64, (16 << 10) - lost);
        let said = text
            .lines()
            .filter_map(|line| line.strip_suffix(" log lines were lost: the log was not read in time"));
        assert_eq!(said.map(|n| n.parse::<u64>().unwrap()).sum::<u64>(), lost);
    }
}
