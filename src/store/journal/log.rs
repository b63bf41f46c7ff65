//! The file that is being written, and the blocks that are not known to be on the disk.
//!
//! ```text
//! unsynced  |  in the file  |  still to be written  |  records: not in a block yet
//!           0            written                   len
//! ```
//!
//! Blocks are kept here until a sync has put them on the disk. So whatever fails, nothing that was taken is lost: after a
//! failed write they are written again at the same place or into a new file, and after a failed sync, whose file may
//! hold anything, into a new one. Their order does not matter, since each record has its sequence number.
//!
//! *Invariant:* `0 <= written <= unsynced.len()`, and the file holds whole blocks up to its length. (Not
//! tested.)

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::directory::Medium;
use super::format::{self, BLOCK, HEADER, Header};
use super::health::{Failed, Failing};
use super::ledger::{Closed, Ledger};
use super::measures::Figure;
use crate::sync::lock;
use crate::time::Timestamp;

/// What is kept of a buffer for the next time.
const KEPT: usize = 1024 * 1024;

struct LogFile {
    medium: Arc<dyn Medium>,
    number: u64,
    /// How many bytes of whole blocks, and the header, are in it.
    length: u64,
    /// How many of them are on the disk.
    synced: u64,
    begun: Instant,
}

pub struct Log {
    ledger: Arc<Ledger>,
    /// That of the last file that was begun.
    header: Header,
    file: Option<LogFile>,
    /// Taken, and not in a block yet.
    records: Vec<u8>,
    /// The highest sequence number that was taken.
    pub last: u64,
    /// Blocks that are not known to be on the disk.
    unsynced: Vec<u8>,
    written: usize,
    /// Files of which nothing is known to be on the disk. They hold what a killed process has answered, until a later one
    /// does.
    abandoned: Vec<u64>,
}

impl Log {
    /// The log goes on behind the file of this header.
    pub fn new(ledger: Arc<Ledger>, header: Header) -> Self {
        let (file, records, unsynced, written, abandoned) = Default::default();
        Self { ledger, last: header.sequence, header, file, records, unsynced, written, abandoned }
    }

    /// Takes what is queued, the last of which has this number.
    pub fn take(&mut self, records: &mut Vec<u8>, last: u64) {
        self.last = last;
        if self.records.is_empty() {
            std::mem::swap(&mut self.records, records);
        } else {
            self.records.append(records);
        }
    }

    /// How many bytes are not known to be on the disk.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len() + self.records.len()
    }

    /// Puts what was taken into a block. Without any record, a block only shows that the disk takes it.
    pub fn end_block(&mut self, now: Timestamp) {
        let at = self.unsynced.len();
        self.unsynced.extend_from_slice(&[0; BLOCK]);
        self.unsynced.append(&mut self.records);
        self.records.shrink_to(KEPT);
        format::end_block(&mut self.unsynced[at..], now);
    }

    /// Writes what is still to be written.
    pub fn write(&mut self, now: Timestamp) -> Result<(), Failed> {
        if !self.records.is_empty() {
            self.end_block(now);
        }
        if self.written == self.unsynced.len() {
            return Ok(());
        }
        loop {
            if self.file.is_none() {
                self.file = Some(self.begin()?);
            }
            let Err(error) = self.append() else { return Ok(()) };
            if self.file.as_ref().is_none_or(|file| file.length <= HEADER as u64) {
                return Err((Failing::Write, error));
            }
            // It may have become as long as it may. On a full disk there is no new one, and the old one had no room.
            self.close();
        }
    }

    fn append(&mut self) -> io::Result<()> {
        let Some(LogFile { medium, number, length, synced, .. }) = &mut self.file else { return Ok(()) };
        let blocks = &mut self.unsynced[self.written..];
        format::seal(blocks, *number, *length, *synced);
        // What is written of a block if this fails is a torn tail, until it is written over.
        medium.write_all_at(blocks, *length)?;
        *length += blocks.len() as u64;
        let counts = &self.ledger.health.counts;
        counts.add(Figure::Writes as usize, 0, 1);
        counts.add(Figure::WrittenBytes as usize, 0, blocks.len() as u64);
        self.ledger.length.store(*length, Relaxed);
        self.written = self.unsynced.len();
        for number in self.abandoned.drain(..) {
            if self.ledger.disk.remove(number).is_err() {
                // It has nothing that is not elsewhere: the retention tries again.
                lock(&self.ledger.closed).push(Closed { number, last: 0, length: 0 });
            }
        }
        Ok(())
    }

    /// Puts what is written on the disk. A file whose sync has failed is not used again.
    pub fn sync(&mut self) -> Result<(), Failed> {
        let Some(file) = self.file.as_mut().filter(|file| file.synced < file.length) else { return Ok(()) };
        let begun = Instant::now();
        if let Err(error) = file.medium.sync() {
            self.close();
            // A file that has been deleted is so with its directory, as a rule, and that is more to the point.
            return Err((Failing::Sync, self.ledger.disk.check().err().unwrap_or(error)));
        }
        file.synced = file.length;
        self.ledger.health.counts.time(Figure::Syncs as usize, begun.elapsed());
        self.unsynced.clear();
        self.unsynced.shrink_to(KEPT);
        self.written = 0;
        Ok(())
    }

    /// Goes on in a new file if the present one has lasted so long. All is on the disk.
    pub fn rotate(&mut self, most: Duration) -> Result<(), Failed> {
        if self.file.as_ref().is_some_and(|file| file.length > HEADER as u64 && file.begun.elapsed() >= most)
        {
            self.vouch();
            // Without a new one the old one serves longer.
            let new = self.begin()?;
            if let Some(old) = self.file.replace(new) {
                self.complete(&old);
            }
        }
        Ok(())
    }

    /// Ends the series, all of which is on the disk, with a block that has no records: so damage to the one before is not
    /// taken for a torn tail. On a full disk there is none.
    pub fn finish(&mut self, now: Timestamp) -> Result<(), Failed> {
        let has_blocks = |file: &&LogFile| file.length > HEADER as u64;
        let Some(file) = self.file.as_ref().filter(has_blocks) else { return Ok(()) };
        let mut block = [0; BLOCK];
        format::end_block(&mut block, now);
        format::seal(&mut block, file.number, file.length, file.synced);
        let _ = file.medium.write_all_at(&block, file.length);
        Failing::Sync.of(file.medium.sync())
    }

    /// The file is not written any more. What is not on the disk is to be written once more.
    fn close(&mut self) {
        self.vouch();
        self.written = 0;
        self.ledger.length.store(0, Relaxed);
        match self.file.take() {
            Some(file) if file.synced <= HEADER as u64 => self.abandoned.push(file.number),
            Some(file) => self.complete(&file),
            None => {}
        }
    }

    fn complete(&self, file: &LogFile) {
        let closed = Closed { number: file.number, last: self.header.sequence, length: file.length };
        lock(&self.ledger.closed).push(closed);
    }

    /// The next header vouches for the file, if anything of it is on the disk.
    fn vouch(&mut self) {
        if let Some(file) = self.file.as_ref().filter(|file| file.synced > HEADER as u64) {
            self.header.before = Some(format::vouch(file.number, file.synced));
            // What is taken later is in none of the files so far.
            self.header.sequence = self.last;
        }
    }

    /// Begins a file, which a power cut does not make go away.
    fn begin(&mut self) -> Result<LogFile, Failed> {
        self.header.number += 1;
        let (disk, number) = (&self.ledger.disk, self.header.number);
        let medium = Failing::Directory.of(disk.create(number))?;
        let begun = Failing::Write
            .of(medium.write_all_at(&self.header.encode(), 0))
            .and_then(|()| Failing::Sync.of(medium.sync()))
            .and_then(|()| Failing::Directory.of(disk.sync()));
        if let Err(failed) = begun {
            let _ = disk.remove(number);
            return Err(failed);
        }
        let length = HEADER as u64;
        self.ledger.length.store(length, Relaxed);
        Ok(LogFile { medium, number, length, synced: length, begun: Instant::now() })
    }
}
