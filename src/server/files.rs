//! The files of `--users` and `--secret`: read at the start, and again on SIGHUP.
//!
//! *Invariant:* a file that cannot be used changes nothing, and is told of with its name and line.

use std::fmt::Write;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::app::auth::Credentials;
use crate::app::auth::signed::Keys;
use crate::app::auth::users::Users;
use crate::config::CredentialsKind;

/// More than any list of keys needs. A larger file was named by mistake.
const MAX_SECRET: u64 = 64 * 1024;

/// Reads the credentials. Says what it read, for the operator.
///
/// # Errors
///
/// A sentence with the file, the line and what is wrong.
pub fn load(kind: &CredentialsKind) -> Result<(Credentials, String), String> {
    match kind {
        CredentialsKind::Open => Ok((Credentials::Open, "anybody is let in (--open)".into())),
        CredentialsKind::Users(path) => {
            let users = users(path)?;
            let plural = if users.count() == 1 { "" } else { "s" };
            let said = format!("{} user{plural} from {}", users.count(), path.display());
            Ok((Credentials::Users(users), said))
        }
        CredentialsKind::Secret(path) => {
            let keys = keys(path)?;
            let plural = if keys.count() == 1 { "" } else { "s" };
            let mut said = format!("{} key{plural} from {}", keys.count(), path.display());
            if is_world_readable(path) {
                let _ = write!(
                    said,
                    "; warning: everybody on this machine can read it, `chmod o= {}`",
                    path.display()
                );
            }
            Ok((Credentials::Signed(keys), said))
        }
    }
}

/// Reads the keys of a secret file.
///
/// # Errors
///
/// A sentence with the file, the line and what is wrong.
pub fn keys(path: &Path) -> Result<Keys, String> {
    let mut text = Vec::new();
    let file = open(path, "--secret")?;
    let read = file.take(MAX_SECRET + 1).read_to_end(&mut text);
    if read.map_err(|error| format!("--secret {}: {error}", path.display()))? as u64 > MAX_SECRET {
        return Err(format!(
            "--secret {}: it is larger than any list of keys; name the file with the keys",
            path.display()
        ));
    }
    Keys::read(&text).map_err(|(line, what)| at(path, line, &what))
}

fn users(path: &Path) -> Result<Users, String> {
    let mut lines = 0;
    if path.is_file() {
        // Counted first, so that the table is made once and in the right size. A pipe can be read only once.
        let text = BufReader::with_capacity(1 << 16, open(path, "--users")?);
        lines = text.split(b'\n').take_while(Result::is_ok).count();
    }
    let text = BufReader::with_capacity(1 << 16, open(path, "--users")?);
    let users = Users::read(text, lines).map_err(|(line, what)| at(path, line, &what))?;
    match users.count() {
        0 => Err(format!(
            "--users {}: it names no user; `streamer token USER` prints a line for it",
            path.display()
        )),
        _ => Ok(users),
    }
}

fn open(path: &Path, flag: &str) -> Result<File, String> {
    let failed = |what: &str| format!("{flag} {}: {what}", path.display());
    if path.is_dir() {
        return Err(failed("this is a directory; name a file"));
    }
    File::open(path).map_err(|error| match (error.kind(), uid()) {
        (ErrorKind::NotFound, _) => failed("there is no such file; write the path of one"),
        (ErrorKind::PermissionDenied, Some(uid)) => {
            failed(&format!("this process runs as uid {uid}, which may not read it; `chown {uid}` the file"))
        }
        _ => failed(&error.to_string()),
    })
}

/// The user that this process runs as, where the system has a /proc to say it.
fn uid() -> Option<u32> {
    fs::metadata("/proc/self").ok().map(|metadata| metadata.uid())
}

fn at(path: &Path, line: usize, what: &str) -> String {
    format!("{}, line {line}: {what}", path.display())
}

fn is_world_readable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}
