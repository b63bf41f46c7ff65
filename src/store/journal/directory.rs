//! The directory of a journal, and its files as a writer sees them; `docs/journal.md` says what each of them is.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const CONTROL: &str = "control";
/// What the name of every journal file ends with.
const SUFFIX: &str = ".log";
/// What the name of a file ends with that the operator does without.
pub const LOST: &str = "lost";

/// A file that is written from its beginning to its end. Tests put faults in here.
pub trait Medium: Send + Sync {
    /// Writes all of `bytes` at `offset`. If that fails, some of them may be there.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
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
    fn remove(&self, number: u64) -> io::Result<()>;
    /// Returns when what was made and deleted is on the disk.
    fn sync(&self) -> io::Result<()>;
    /// The file that is written over and over.
    fn control(&self) -> &dyn Medium;
}

/// A directory that this process has for itself.
pub struct Directory {
    pub path: PathBuf,
    control: File,
}

impl Directory {
    /// Opens a directory, which is made if it is not there, and locks it.
    ///
    /// # Errors
    ///
    /// A sentence that says what to do: another server uses it, or the system's refusal.
    pub fn open(path: &Path) -> Result<Self, String> {
        let refused = |why: String| format!("--store dir:{}: {why}", path.display());
        let failed = |error: io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied => "; it has to belong to the user that the server runs as",
                io::ErrorKind::ReadOnlyFilesystem => "; mount it for writing",
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "; name a directory",
                _ => "",
            };
            refused(format!("{error}{hint}"))
        };
        std::fs::create_dir_all(path).map_err(failed)?;
        let name = path.join(CONTROL);
        if std::fs::metadata(&name).is_ok_and(|found| !found.is_file()) {
            return Err(format!("{} is no file; move it away", name.display()));
        }
        let control = options().open(name).map_err(failed)?;
        loop {
            let why = match control.try_lock() {
                Ok(()) => return Ok(Self { path: path.into(), control }),
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(TryLockError::WouldBlock) => {
                    "another server uses this directory; stop it, or name another directory".into()
                }
                Err(TryLockError::Error(error)) => format!(
                    "cannot lock it: {error}; has its file system (NFS?) no locks? Name a directory on a local disk"
                ),
            };
            return Err(refused(why));
        }
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

    pub fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:010}{SUFFIX}"))
    }

    /// Whether the operator does without the file with this number: says so by a file beside its place.
    pub fn is_given_up(&self, number: u64) -> bool {
        self.file(number).with_extension(LOST).exists()
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
            // What fails to tell says nothing of that.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Ok(()),
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

    /// Its parent too: it may just have been made.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        File::open(self.path.join(".."))?.sync_all()
    }

    fn control(&self) -> &dyn Medium {
        &self.control
    }
}

impl Medium for File {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()?;
        if self.metadata()?.nlink() == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file has been deleted"));
        }
        Ok(())
    }
}
