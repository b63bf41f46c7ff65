//! The files that a replay reads: their headers, and whether one is missing or too short.
//!
//! *Invariant:* nothing is changed here but that a file which was being begun when the power went is deleted. (Not
//! tested.)

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::directory::{Directory, Disk, LOST};
use super::format::{HEADER, Header, Unreadable};
use crate::time::Timestamp;

/// A file to be read, and what has been found in it.
pub struct Segment {
    pub header: Header,
    pub length: u64,
    /// So many bytes were on the disk for certain. A process that was killed may have left more.
    pub synced: u64,
    /// And so many by the header of the file behind it.
    pub vouched: u64,
    /// No record in it or in the files before has a higher sequence number.
    pub last: u64,
    /// The latest in it.
    pub time: Timestamp,
}

/// Notes how much of each file is vouched for by the header of the one behind it.
///
/// # Errors
///
/// A sentence that names a file that is missing or too short, unless all that it held is void.
pub fn vouch(directory: &Directory, files: &mut [Segment], horizon: u64) -> Result<(), String> {
    let needed = |file: &Segment| file.header.before.filter(|_| file.header.sequence >= horizon);
    for (number, length) in files.iter().filter_map(needed).collect::<Vec<_>>() {
        let is = match files.iter_mut().find(|file| file.header.number == number) {
            Some(found) if found.length < length.into() => format!("cut short to {} bytes", found.length),
            None if !directory.is_given_up(number) => "missing".into(),
            found => {
                found.into_iter().for_each(|found| found.vouched = found.vouched.max(length.into()));
                continue;
            }
        };
        return Err(format!(
            "{} is {is}, and was {length} bytes long; put a copy in its place or, to do without what it held, make an empty \
             file of that name with .{LOST} in place of .log",
            directory.file(number).display(),
        ));
    }
    Ok(())
}

impl Segment {
    /// Reads a file's header. None for a file that was being begun when the power went.
    pub fn open(directory: &Directory, number: u64) -> Result<Option<Self>, String> {
        let path = directory.file(number);
        let failed = |error: io::Error| cannot_read(&path, &error);
        let found = std::fs::metadata(&path).map_err(failed)?;
        if !found.is_file() {
            return Err(format!("{} is no file; move it away", path.display()));
        }
        let (length, mut bytes) = (found.len(), Vec::with_capacity(HEADER));
        File::open(&path).map_err(failed)?.take(HEADER as u64).read_to_end(&mut bytes).map_err(failed)?;
        let header = match Header::decode(&bytes) {
            Ok(header) if header.number == number => header,
            Err(Unreadable::Corrupt) if length <= HEADER as u64 => {
                // If that fails, the next start tries again.
                let _ = directory.remove(number);
                return Ok(None);
            }
            Ok(_) => return Err(unreadable(&path, 16, Unreadable::Corrupt)),
            Err(why) => return Err(unreadable(&path, 0, why)),
        };
        let (synced, vouched) = (HEADER as u64, 0);
        Ok(Some(Self { last: header.sequence, time: header.start, length, synced, vouched, header }))
    }
}

/// What is said of a file that the system does not read.
pub fn cannot_read(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

/// What is said of a file that is not what was written.
pub fn unreadable(path: &Path, offset: u64, why: Unreadable) -> String {
    let path = path.display();
    match why {
        Unreadable::Newer(version) => format!(
            "{path} was written by a later version of streamer (format {version}); start that one, or name another \
             directory"
        ),
        Unreadable::Corrupt => format!(
            "{path} is damaged at byte {offset}; put a copy in its place or, to do without what it holds, let its name \
             end in .lost"
        ),
    }
}
