//! What one worker appends: its file, and the blocks that are not known to be on the disk.
//!
//! ```text
//! unsynced  |  in the file  |  still to be written  |  the turn that is under way
//!           0            written                  ended
//! ```
//!
//! Blocks are kept here until a sync has put them on the disk. So whatever fails, nothing that was taken is lost: after a
//! failed write they are written again at the same place, and after a failed sync, whose file may hold anything,
//! they go into a new file. Their order does not matter, since each record has its sequence number.
//!
//! *Invariant:* `0 <= written <= ended <= unsynced.len()`, and the file holds whole blocks up to its length.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::directory::Medium;
use super::format::{self, FULL_BLOCK, HEADER};
use crate::time::Timestamp;

/// So much may wait for the disk; past it a store refuses changes.
const MAX_UNSYNCED: usize = 64 * 1024 * 1024;
/// What is kept of a buffer for the next time.
const KEPT: usize = 1024 * 1024;

/// A file that is being written.
pub struct LogFile {
    pub medium: Arc<dyn Medium>,
    pub number: u64,
    /// How many bytes of whole blocks, and the header, are in it.
    pub length: u64,
    /// How many of them are on the disk.
    pub synced: u64,
    /// No record in it has a higher sequence number.
    pub last: u64,
    /// When its last block was made, by the lease clock.
    pub time: Timestamp,
    /// When it was begun.
    pub begun: Instant,
}

/// A writer and its file.
pub struct Writer {
    file: LogFile,
    /// Whether the file may be written: no sync of it has failed.
    trusted: bool,
    unsynced: Vec<u8>,
    written: usize,
    ended: usize,
    /// The block that is under way.
    open: Option<Open>,
    /// How many bytes a sync that is under way has taken out of `unsynced`.
    syncing: usize,
    /// Of the last buffer that was synced, to be used again.
    spare: Vec<u8>,
    /// How many turns have been ended: by this number a turn is waited for.
    turns: u64,
}

/// A block that is under way.
#[derive(Clone, Copy)]
struct Open {
    begin: usize,
    /// Where its last whole record ends: what is behind was left by a panic.
    end: usize,
}

/// What a sync is about.
pub struct Syncing {
    pub medium: Arc<dyn Medium>,
    number: u64,
    length: u64,
    blocks: Vec<u8>,
    last: u64,
    /// The turns up to this one will be on the disk.
    pub turn: u64,
}

impl Writer {
    /// A writer of a file that has a header and nothing else.
    pub fn new(file: LogFile) -> Self {
        Self {
            file,
            trusted: true,
            unsynced: Vec::new(),
            written: 0,
            ended: 0,
            open: None,
            syncing: 0,
            spare: Vec::new(),
            turns: 0,
        }
    }

    /// Takes a record into the turn. `encode` appends the account, or nothing.
    pub fn record(&mut self, sequence: u64, user: &[u8], now: Timestamp, encode: impl FnOnce(&mut Vec<u8>)) {
        let begin = match self.open {
            Some(Open { begin, end }) if end - begin < FULL_BLOCK => {
                self.unsynced.truncate(end);
                begin
            }
            _ => {
                self.end_block(now);
                let begin = self.unsynced.len();
                format::begin_block(&mut self.unsynced);
                self.open = Some(Open { begin, end: self.unsynced.len() });
                begin
            }
        };
        format::put_record(sequence, user, encode, &mut self.unsynced);
        self.open = Some(Open { begin, end: self.unsynced.len() });
        self.file.last = self.file.last.max(sequence);
    }

    /// Ends the turn; None if there was nothing to record in it.
    pub fn end_turn(&mut self, now: Timestamp) -> Option<u64> {
        self.open?;
        self.end_block(now);
        self.turns += 1;
        Some(self.turns)
    }

    fn end_block(&mut self, now: Timestamp) {
        let Some(Open { begin, end }) = self.open.take() else { return };
        self.unsynced.truncate(end);
        format::end_block(&mut self.unsynced[begin..], now);
        self.ended = end;
        self.file.time = now;
    }

    /// Writes what is still to be written. Returns how many bytes that were.
    ///
    /// # Errors
    ///
    /// Those of the write. What was to be written is kept for the next time; half-written blocks are cut off again.
    pub fn flush(&mut self) -> io::Result<usize> {
        if !self.trusted {
            return Err(io::Error::other("a sync of the file has failed"));
        }
        let blocks = &mut self.unsynced[self.written..self.ended];
        if blocks.is_empty() {
            return Ok(0);
        }
        let LogFile { medium, number, length, synced, .. } = &mut self.file;
        format::seal(blocks, *number, *length, *synced);
        if let Err(error) = write_all(&**medium, blocks, *length) {
            // If that fails too, the next write goes to the same place all the same.
            let _ = medium.truncate(*length);
            return Err(error);
        }
        let bytes = blocks.len();
        *length += bytes as u64;
        self.written = self.ended;
        Ok(bytes)
    }

    /// Whether the disk is so far behind that nothing more should be taken.
    pub fn is_behind(&self) -> bool {
        self.syncing + self.unsynced.len() > MAX_UNSYNCED
    }

    /// Whether there is something that is not on the disk.
    pub fn is_dirty(&self) -> bool {
        self.ended > 0
    }

    /// Whether all that was taken is at least in a file that can be trusted.
    pub fn is_sound(&self) -> bool {
        self.trusted && self.written == self.ended
    }

    /// The number of the last turn.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// The file.
    pub fn file(&self) -> &LogFile {
        &self.file
    }

    /// Takes out what a sync of the file is going to put on the disk. The blocks have been written.
    pub fn begin_sync(&mut self) -> Syncing {
        let blocks = std::mem::replace(&mut self.unsynced, std::mem::take(&mut self.spare));
        (self.written, self.ended, self.syncing) = (0, 0, blocks.len());
        let LogFile { medium, number, length, last, .. } = &self.file;
        let medium = Arc::clone(medium);
        Syncing { medium, number: *number, length: *length, last: *last, blocks, turn: self.turns }
    }

    /// The sync has returned.
    pub fn end_sync(&mut self, mut done: Syncing) {
        self.syncing = 0;
        if self.file.number == done.number {
            self.file.synced = done.length;
        }
        done.blocks.clear();
        done.blocks.shrink_to(KEPT);
        self.spare = done.blocks;
    }

    /// The sync has failed: its file is not used again, and what was to be synced is to be written once more.
    pub fn fail_sync(&mut self, failed: &Syncing) {
        self.syncing = 0;
        if self.file.number == failed.number {
            self.abandon();
        }
        self.unsynced.truncate(self.ended);
        self.unsynced.extend_from_slice(&failed.blocks);
        self.ended = self.unsynced.len();
        self.file.last = self.file.last.max(failed.last);
    }

    /// The file is not to be used any more: whatever is not on the disk is to be written once more.
    pub fn abandon(&mut self) {
        self.trusted = false;
        self.written = 0;
    }

    /// Goes on in a new file; returns the old one.
    pub fn replace(&mut self, file: LogFile) -> LogFile {
        self.trusted = true;
        let old = std::mem::replace(&mut self.file, file);
        // What is written again has old numbers.
        if self.ended > 0 {
            self.file.last = self.file.last.max(old.last);
        }
        old
    }
}

/// Writes all of `bytes`. A disk that takes nothing is full.
pub fn write_all(medium: &dyn Medium, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match medium.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => (bytes, offset) = (&bytes[n..], offset + n as u64),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes the last block of a file that is complete and on the disk: it has no records, and says so.
pub fn finish(file: &mut LogFile) {
    let mut block = Vec::new();
    format::begin_block(&mut block);
    format::end_block(&mut block, file.time);
    format::seal(&mut block, file.number, file.length, file.length);
    // It only makes damage easier to tell from a torn tail.
    if write_all(&*file.medium, &block, file.length).is_ok() {
        file.length += block.len() as u64;
    }
}

/// Begins a file with its header, and puts that on the disk.
pub fn begin(medium: Arc<dyn Medium>, header: &format::Header) -> io::Result<LogFile> {
    write_all(&*medium, &header.encode(), 0)?;
    medium.sync()?;
    let (length, number) = (HEADER as u64, header.number);
    let (last, time, begun) = (header.sequence, header.start, Instant::now());
    Ok(LogFile { medium, number, length, synced: length, last, time, begun })
}
