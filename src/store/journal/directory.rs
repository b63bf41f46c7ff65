//! The directory of a journal, and its files as a writer sees them.
//!
//! ```text
//! control          the horizon and the lease clock; locked as long as a server uses the directory
//! 0000000042.log   what one worker wrote in an eighth of a lease
//! *.torn           tails that were cut off, kept for a look
//! ```
//!
//! *Invariant:* what is written and read here is not understood here.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file that is locked.
pub const CONTROL: &str = "control";
/// What the name of every journal file ends with.
const SUFFIX: &str = ".log";

/// A file that is written from its beginning to its end. Tests put faults in here.
pub trait Medium: Send + Sync {
    /// Writes some of `bytes` at `offset`, as `pwrite` does.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Cuts the file off.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Returns when all that was written is on the disk. A file that has been deleted meanwhile is an error: what is on
    /// the disk of it will not be found.
    fn sync(&self) -> io::Result<()>;
}

/// Where files are kept. Tests put faults in here.
pub trait Disk: Send + Sync {
    /// An error if this is not the place any more that was opened: what is written would not be found by the next start.
    fn check(&self) -> io::Result<()>;
    /// Makes a file with this number. It is found after a power cut once `sync` has returned.
    fn create(&self, number: u64) -> io::Result<Arc<dyn Medium>>;
    /// Deletes a file.
    fn remove(&self, number: u64) -> io::Result<()>;
    /// Returns when what was made and deleted is on the disk.
    fn sync(&self) -> io::Result<()>;
    /// The file that is written over and over.
    fn control(&self) -> &dyn Medium;
}

/// A directory that this process has for itself.
pub struct Directory {
    path: PathBuf,
    control: File,
}

impl Directory {
    /// Opens a directory, which is made if it is not there, and locks it.
    ///
    /// # Errors
    ///
    /// A sentence that says what to do: another server uses it, or the system's refusal.
    pub fn open(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied => "; it has to belong to the user that the server runs as",
                io::ErrorKind::ReadOnlyFilesystem => "; mount it for writing",
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "; name a directory",
                _ => "",
            };
            format!("--store dir:{}: {error}{hint}", path.display())
        };
        std::fs::create_dir_all(path).map_err(failed)?;
        let control = options().open(path.join(CONTROL)).map_err(failed)?;
        match control.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!(
                    "--store dir:{}: another server uses this directory; stop it, or name another directory",
                    path.display()
                ));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let directory = Self { path: path.into(), control };
        directory.sync().map_err(failed)?;
        Ok(directory)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the control file holds.
    pub fn read_control(&self) -> io::Result<Vec<u8>> {
        std::fs::read(self.path.join(CONTROL))
    }

    /// The numbers of the journal files, lowest first.
    pub fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            numbers.extend(name.to_str().and_then(number_of));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The path of the file with this number.
    pub fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:010}{SUFFIX}"))
    }

    /// Cuts a file off at `length`, and keeps aside what was behind. Returns where that is.
    pub fn cut(&self, number: u64, length: u64, tail: &[u8]) -> io::Result<PathBuf> {
        let aside = self.path.join(format!("{number:010}-{length}.torn"));
        options().truncate(true).open(&aside)?.write_all(tail)?;
        let file = OpenOptions::new().write(true).open(self.file(number))?;
        file.set_len(length)?;
        file.sync_data()?;
        Ok(aside)
    }
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() >= 10 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// For this user alone: accounts say who watches what.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

impl Disk for Directory {
    /// The path has to lead to the very file that is locked. A directory that was deleted is not made anew: if it was not
    /// deleted but its volume unmounted, then the new one would be on another disk, and hide what the volume holds.
    fn check(&self) -> io::Result<()> {
        let place = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        match std::fs::metadata(self.path.join(CONTROL)) {
            Ok(found) if place(&found) == place(&self.control.metadata()?) => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the directory was deleted, moved or unmounted; put it back, or start the server anew, which goes on with \
                 what is there then",
            )),
        }
    }

    fn create(&self, number: u64) -> io::Result<Arc<dyn Medium>> {
        self.check()?;
        Ok(Arc::new(options().create_new(true).open(self.file(number))?))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        std::fs::remove_file(self.file(number))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn control(&self) -> &dyn Medium {
        &self.control
    }
}

impl Medium for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()?;
        if self.metadata()?.nlink() == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file has been deleted"));
        }
        Ok(())
    }
}
