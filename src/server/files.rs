//! The files of `--users`, `--secret` and `--pass`: read at the start, and again on SIGHUP.
//!
//! *Invariant:* a file that cannot be used changes nothing, and is told of with its name and line. (Tested by
//! `a_file_that_cannot_be_used_is_told_of_with_its_line`.)

use std::fmt::Write;
use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::StartError;
use crate::app::auth::keys::Keys;
use crate::app::auth::signed::Signed;
use crate::app::auth::users::Users;
use crate::app::auth::{Credentials, Mode};
use crate::config::{Config, CredentialsKind};

/// More than any list of keys needs. A larger file was named by mistake.
const KEYS_FILE: u64 = 64 * 1024;
/// More than any list of users has.
const USERS_FILE: u64 = 1 << 30;
/// About what a line of a users file takes.
const USER: u64 = 80;

/// Reads the credentials. Says what it read, for the operator.
///
/// # Errors
///
/// A sentence with the file, the line and what is wrong.
pub fn load(config: &Config) -> Result<(Credentials, String), StartError> {
    let (mode, mut said) = mode(config)?;
    let pass = config.pass.as_deref().map(|path| keys(path, "--pass")).transpose()?;
    if let (Some(pass), Some(path)) = (&pass, &config.pass) {
        said += &format!("; passes: {}", say_keys(pass, path));
        if matches!(&mode, Mode::Signed(signed) if signed.keys().share(pass)) {
            let said = "--pass and --secret have a key in common: a pass would let its holder in; give one of them another \
                        key";
            return Err(StartError { said: said.into(), code: 2 });
        }
    }
    Ok((Credentials { mode, pass }, said))
}

fn mode(config: &Config) -> Result<(Mode, String), String> {
    match &config.credentials {
        CredentialsKind::Open => Ok((Mode::Open, "anybody is let in (--open)".into())),
        CredentialsKind::Users(path) => {
            let users = users(path)?;
            let plural = if users.count() == 1 { "" } else { "s" };
            let said = format!("{} user{plural} from {}", users.count(), path.display());
            Ok((Mode::Users(users), said))
        }
        CredentialsKind::Secret(path) => {
            let keys = keys(path, "--secret")?;
            let said = say_keys(&keys, path);
            Ok((Mode::Signed(Signed::new(keys, config.audience.clone())), said))
        }
    }
}

fn say_keys(keys: &Keys, path: &Path) -> String {
    let plural = if keys.count() == 1 { "" } else { "s" };
    let (is_world_readable, path) = (is_world_readable(path), path.display());
    let mut said = format!("{} key{plural} from {path}", keys.count());
    if is_world_readable {
        // Writing to a string cannot fail.
        let _ = write!(said, "; warning: everybody on this machine can read it, `chmod o= {path}`");
    }
    said
}

/// Reads a file of keys that `flag` names.
///
/// # Errors
///
/// A sentence with the file, the line and what is wrong.
pub fn keys(path: &Path, flag: &str) -> Result<Keys, String> {
    let mut text = Vec::new();
    let read = open(path, flag, KEYS_FILE)?.take(KEYS_FILE).read_to_end(&mut text);
    read.map_err(|error| format!("{flag} {}: {error}", path.display()))?;
    Keys::read(&text).map_err(|(line, what)| at(path, line, &what))
}

fn users(path: &Path) -> Result<Users, String> {
    let file = open(path, "--users", USERS_FILE)?;
    // A table that grew with the lines would be there twice at times.
    let room = file.metadata().map_or(0, |metadata| metadata.len() / USER);
    let text = BufReader::with_capacity(1 << 16, file);
    let users = Users::read(text, room as usize).map_err(|(line, what)| at(path, line, &what))?;
    match users.count() {
        0 => Err(format!(
            "--users {}: it names no user; `streamer token USER` prints a line for it",
            path.display()
        )),
        _ => Ok(users),
    }
}

/// Opens a file that is smaller than `most`: what is larger was named by mistake, and is not read.
fn open(path: &Path, flag: &str, most: u64) -> Result<File, String> {
    let failed = |what: &str| format!("{flag} {}: {what}", path.display());
    if path.is_dir() {
        return Err(failed("this is a directory; name a file"));
    }
    let file = File::open(path).map_err(|error| match (error.kind(), uid()) {
        (ErrorKind::NotFound, _) => failed("there is no such file; write the path of one"),
        (ErrorKind::PermissionDenied, Some(uid)) => {
            failed(&format!("this process runs as uid {uid}, which may not read it; `chown {uid}` the file"))
        }
        _ => failed(&error.to_string()),
    })?;
    match file.metadata() {
        Ok(metadata) if metadata.len() >= most => {
            Err(failed(&format!("it has {} bytes, more than such a file can have", metadata.len())))
        }
        _ => Ok(file),
    }
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
