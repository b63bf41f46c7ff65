//! The bytes of a journal's files. `docs/journal.md` has the same for the author of a reader.
//!
//! ```text
//! file    = header *block
//! header  = "streamer" version:u32 back:u32 number:u64 run:u64 start:u64 lease:u64 sequence:u64 before:u32 crc:u32
//! block   = "turn" crc:u32 length:u32 zero:u32 time:u64 synced:u64 *record       ; length: of the records
//! record  = sequence:u64 account-length:u32 user-length:u16 user account         ; no account: nothing is known of the user
//! control = 2 slot
//! slot    = "streamer" horizon:u64 time:u64 version:u16 turn:u16 crc:u32
//! ```
//!
//! Numbers are little-endian, times are milliseconds of the lease clock, checks are CRC-32C. A block's check covers the
//! file's number and the block's place in it too, so that a block which a crash has put elsewhere is not taken for one.
//!
//! A block says how much of its file was on the disk for certain when it was written, and a header how much of the file
//! before. What cannot be read behind that is a **torn tail**: it was cut off while it was being written. What cannot be
//! read before it is **damage**.
//!
//! Version 1 had a series of files for each worker, so that no file said which one was before it.

use super::crc32c::{crc32c, crc32c_append};
use crate::time::{Millis, Timestamp};

/// What every file and every slot begins with.
const MAGIC: &[u8; 8] = b"streamer";
/// What every block begins with.
const MARK: &[u8; 4] = b"turn";
pub const VERSION: u32 = 2;
/// The length of a file's header.
pub const HEADER: usize = 64;
/// The length of a block without its records.
pub const BLOCK: usize = 32;
/// The length of one slot of the control file.
pub const SLOT: usize = 32;
/// A record beside its user and its account.
const RECORD: usize = 14;

/// Why bytes cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// They are not what was written: cut off or damaged.
    Corrupt,
    /// They were written by a later version of the program.
    Newer(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The file's number, which is also its name.
    pub number: u64,
    /// How many times the journal had been opened, this time among them.
    pub run: u64,
    /// The lease clock when the run began.
    pub start: Timestamp,
    /// The lease of the run: what lived when it began lived so much longer.
    pub lease: Millis,
    /// No record in the files before has a higher sequence number.
    pub sequence: u64,
    /// The file before, if there is one, and so much of it at least was on the disk.
    pub before: Option<(u64, u32)>,
}

/// What a header says of a file before, of which so much is on the disk.
pub fn vouch(number: u64, synced: u64) -> (u64, u32) {
    (number, u32::try_from(synced).unwrap_or(u32::MAX))
}

impl Header {
    pub fn encode(&self) -> Vec<u8> {
        let (before, length) = self.before.unwrap_or((self.number, 0));
        let [version, back, length] = [VERSION, (self.number - before) as u32, length].map(u32::to_le_bytes);
        let numbers = [self.number, self.run, self.start.millis(), self.lease.millis(), self.sequence];
        let numbers = numbers.map(u64::to_le_bytes);
        with_check([MAGIC, &version[..], &back, numbers.as_flattened(), &length].concat())
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let Some(bytes) = bytes.first_chunk::<HEADER>() else { return Err(Unreadable::Corrupt) };
        // The version before the check: a later one may have put the check elsewhere.
        if bytes[..8] != *MAGIC {
            return Err(Unreadable::Corrupt);
        }
        let version = u32_at(bytes, 8);
        match has_check(bytes) {
            _ if version > VERSION => return Err(Unreadable::Newer(version)),
            true if version > 0 => {}
            _ => return Err(Unreadable::Corrupt),
        }
        let (number, back) = (u64_at(bytes, 16), u64::from(u32_at(bytes, 12)));
        let has_before = version > 1 && (1..number).contains(&back);
        Ok(Self {
            number,
            run: u64_at(bytes, 24),
            start: Timestamp::from_millis(u64_at(bytes, 32)),
            lease: Millis::from_millis(u64_at(bytes, 40)),
            sequence: u64_at(bytes, 48),
            before: has_before.then(|| (number - back, u32_at(bytes, 56))),
        })
    }
}

/// What was written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    pub time: Timestamp,
    /// So many bytes of the file were on the disk for certain.
    pub synced: u64,
    /// The records laid end to end, for [`read_record`].
    pub records: &'a [u8],
}

/// What became of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept<'a> {
    /// Of two records of a user the one with the higher number holds.
    pub sequence: u64,
    pub user: &'a [u8],
    /// The account as it encodes itself; empty when nothing is known of the user any more.
    pub account: &'a [u8],
}

/// Appends a record. `encode` appends the account, or nothing; if it panics there is no record.
pub fn put_record(sequence: u64, user: &[u8], encode: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    /// Whole records up to a length.
    struct Whole<'a>(&'a mut Vec<u8>, usize);
    impl Drop for Whole<'_> {
        fn drop(&mut self) {
            self.0.truncate(self.1);
        }
    }
    let at = out.len();
    let Whole(out, whole) = &mut Whole(out, at);
    out.extend_from_slice(&[0; RECORD]);
    out.extend_from_slice(user);
    let account = out.len();
    encode(out);
    let account = (out.len() - account) as u32;
    let head = &mut out[at..at + RECORD];
    head[..8].copy_from_slice(&sequence.to_le_bytes());
    head[8..12].copy_from_slice(&account.to_le_bytes());
    head[12..].copy_from_slice(&(user.len() as u16).to_le_bytes());
    *whole = out.len();
}

/// Ends a block, which is [`BLOCK`] bytes and records behind them; [`seal`] makes it one.
pub fn end_block(block: &mut [u8], time: Timestamp) {
    let length = (block.len() - BLOCK) as u32;
    block[..4].copy_from_slice(MARK);
    block[8..12].copy_from_slice(&length.to_le_bytes());
    block[16..24].copy_from_slice(&time.millis().to_le_bytes());
}

/// Seals the blocks that lie end to end in `blocks`, and will stand at `offset` of the file with this number, of which
/// `synced` bytes are on the disk. Blocks that were meant for another place may be sealed again.
pub fn seal(mut blocks: &mut [u8], number: u64, mut offset: u64, synced: u64) {
    while blocks.len() >= BLOCK {
        let length = (BLOCK + u32_at(blocks, 8) as usize).min(blocks.len());
        let (block, behind) = blocks.split_at_mut(length);
        block[24..32].copy_from_slice(&synced.to_le_bytes());
        let crc = check_of(block, number, offset);
        block[4..8].copy_from_slice(&crc.to_le_bytes());
        (blocks, offset) = (behind, offset + length as u64);
    }
}

fn check_of(block: &[u8], number: u64, offset: u64) -> u32 {
    let place = crc32c_append(crc32c(&number.to_le_bytes()), &offset.to_le_bytes());
    crc32c_append(place, &block[8..])
}

/// Reads the block at the beginning of `bytes`, which stand at `offset` of the file with this number. Gives its length
/// too, or None when there are too few bytes to tell.
pub fn read_block(bytes: &[u8], number: u64, offset: u64) -> Result<Option<(Block<'_>, usize)>, Unreadable> {
    if !bytes.starts_with(&MARK[..bytes.len().min(4)]) {
        return Err(Unreadable::Corrupt);
    }
    if bytes.len() < BLOCK {
        return Ok(None);
    }
    let length = BLOCK + u32_at(bytes, 8) as usize;
    let Some(block) = bytes.get(..length) else { return Ok(None) };
    if u32_at(block, 4) != check_of(block, number, offset) {
        return Err(Unreadable::Corrupt);
    }
    let time = Timestamp::from_millis(u64_at(block, 16));
    Ok(Some((Block { time, synced: u64_at(block, 24), records: &block[BLOCK..] }, length)))
}

/// What a block that cannot be read is, given all bytes from its beginning to the end of the file.
pub fn is_damage(rest: &[u8], number: u64, offset: u64) -> bool {
    let mut at = 1;
    while let Some(found) = rest[at..].windows(4).position(|four| four == MARK) {
        at += found;
        match read_block(&rest[at..], number, offset + at as u64) {
            Ok(Some((block, _))) if block.synced > offset => return true,
            Ok(Some((_, length))) => at += length,
            _ => at += 1,
        }
    }
    false
}

/// Reads the record at the beginning of `bytes`, and its length. None if it is not whole.
pub fn read_record(bytes: &[u8]) -> Option<(Kept<'_>, usize)> {
    let (head, rest) = bytes.split_first_chunk::<RECORD>()?;
    let (account, user) = (u32_at(head, 8) as usize, usize::from(u16_at(head, 12)));
    let (user, rest) = rest.split_at_checked(user)?;
    let (account, rest) = rest.split_at_checked(account)?;
    Some((Kept { sequence: u64_at(head, 0), user, account }, bytes.len() - rest.len()))
}

/// What is written over again and again, in two slots by turns, so that one is whole whenever the power goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Records with a lower sequence number are void.
    pub horizon: u64,
    pub time: Timestamp,
    /// How many times this has been written; the higher one of two slots holds.
    pub turn: u16,
}

impl Checkpoint {
    /// The slot's bytes, and where they belong.
    pub fn encode(&self) -> (Vec<u8>, u64) {
        let numbers = [self.horizon, self.time.millis()].map(u64::to_le_bytes);
        let [version, turn] = [VERSION as u16, self.turn].map(u16::to_le_bytes);
        let slot = with_check([MAGIC, numbers.as_flattened(), &version, &turn].concat());
        (slot, u64::from(self.turn % 2) * SLOT as u64)
    }

    /// Reads both slots; the later one that is whole holds. Nothing at all is a journal that has not begun, and zeros are
    /// what a crash leaves of a first slot that was not yet on the disk.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let is_whole = |slot: &&[u8; SLOT]| slot.starts_with(MAGIC) && has_check(*slot);
        let slots = || bytes.as_chunks().0.iter().take(2).filter(is_whole);
        let version = |slot: &[u8; SLOT]| u32::from(u16_at(slot, 24));
        if let Some(newer) = slots().map(version).find(|&version| version > VERSION) {
            return Err(Unreadable::Newer(newer));
        }
        // Turns are counted in 16 bits: the later of two is the one that is ahead, also past the end.
        let ahead = |a: &Self, b: &Self| (a.turn.wrapping_sub(b.turn) as i16).cmp(&0);
        match slots().map(Self::decode_slot).max_by(ahead) {
            Some(later) => Ok(later),
            None if bytes.len() < 2 * SLOT || bytes.iter().all(|byte| *byte == 0) => Ok(Self::default()),
            None => Err(Unreadable::Corrupt),
        }
    }

    fn decode_slot(bytes: &[u8; SLOT]) -> Self {
        let time = Timestamp::from_millis(u64_at(bytes, 16));
        Self { horizon: u64_at(bytes, 8), time, turn: u16_at(bytes, 26) }
    }
}

/// Ends a header or a slot with the check of what is before.
fn with_check(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(crc32c(&bytes).to_le_bytes());
    bytes
}

fn has_check(bytes: &[u8]) -> bool {
    bytes.split_last_chunk().is_some_and(|(before, check)| crc32c(before) == u32::from_le_bytes(*check))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes[at..].first_chunk().map_or(0, |two| u16::from_le_bytes(*two))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight))
}

#[cfg(test)]
mod tests;
