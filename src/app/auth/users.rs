//! `--users FILE`: a line a user, `user:sha256-of-token-in-hex[:limit[:admin]]`.
//!
//! A token is 256 random bits, so that one SHA-256 hides it as well as a slow hash would hide a password, and the check
//! costs a server nothing worth mentioning.
//!
//! *Invariant:* an unknown user costs as much work as a wrong token.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::io::BufRead;

use super::{BYTE_ORDER_MARK, Failure, Grant, MARKED, limit};
use crate::codec::sha256::{self, digest};
use crate::codec::{hex, text};

/// How long a token may be, in bytes. Ours have 43; one that is longer than any is not worth the hashing.
const MAX_TOKEN: usize = 1024;
/// Stands for no limit of the user's own.
const NO_LIMIT: u32 = u32::MAX;

/// The users of a file, found by name.
#[derive(Default)]
pub struct Users(HashSet<Record>);

/// One user in one block: `digest[32] limit[4] admin[1] name`, the limit [`NO_LIMIT`] if it is the server's. A million of them are a million blocks, not two.
///
/// It compares and hashes as the name alone, so that a set of records is asked with a name.
struct Record(Box<[u8]>);

const LIMIT_AT: usize = 32;
const ADMIN_AT: usize = LIMIT_AT + 4;
const NAME_AT: usize = ADMIN_AT + 1;

impl Record {
    fn new(name: &[u8], digest: &[u8; 32], grant: Grant) -> Self {
        let limit = grant.limit.unwrap_or(NO_LIMIT).to_le_bytes();
        Self([digest, &limit[..], &[u8::from(grant.admin)], name].concat().into())
    }

    fn name(&self) -> &[u8] {
        &self.0[NAME_AT..]
    }

    fn digest(&self) -> &[u8] {
        &self.0[..LIMIT_AT]
    }

    fn grant(&self) -> Grant {
        let limit = self.0[LIMIT_AT..ADMIN_AT].iter().rfold(0, |limit, &byte| limit << 8 | u32::from(byte));
        Grant { limit: (limit != NO_LIMIT).then_some(limit), admin: self.0[ADMIN_AT] == 1 }
    }
}

impl Borrow<[u8]> for Record {
    fn borrow(&self) -> &[u8] {
        self.name()
    }
}

impl Hash for Record {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Record {}

impl Users {
    /// Reads a file's lines. Empty lines and those that begin with `#` are passed over.
    ///
    /// `room` is how many users to make room for at once; a set that grows while a million lines come in would hold its
    /// old and its new table at the same time.
    ///
    /// # Errors
    ///
    /// The number of the first bad line, counted from 1, and what is wrong with it; 0 where it could not be read.
    pub fn read(mut lines: impl BufRead, room: usize) -> Result<Self, (usize, String)> {
        let mut users = HashSet::with_capacity(room);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if lines.read_until(b'\n', &mut line).map_err(|error| (number, error.to_string()))? == 0 {
                break;
            }
            if line.starts_with(BYTE_ORDER_MARK) {
                return Err((number, MARKED.into()));
            }
            let text = line.trim_ascii_end();
            if text.is_empty() || text[0] == b'#' {
                continue;
            }
            let record = parse(text).map_err(|what| (number, what.into()))?;
            if !users.insert(record) {
                return Err((number, "this user has a line already; keep one".into()));
            }
        }
        Ok(Self(users))
    }

    /// How many users there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Lets `user` in if `token` is the one whose hash stands in the file.
    ///
    /// # Errors
    ///
    /// [`Failure::UnknownUser`] or [`Failure::WrongToken`].
    pub fn check(&self, user: &[u8], token: &[u8]) -> Result<Grant, Failure> {
        let record = self.0.get(user);
        if token.len() > MAX_TOKEN {
            return Err(record.map_or(Failure::UnknownUser, |_| Failure::WrongToken));
        }
        // Hashed and compared whether there is such a user or not: the time taken must not tell.
        let is = digest(token);
        let expected = record.map_or(&[0; 32][..], Record::digest);
        match (sha256::equal(&is, expected), record) {
            (true, Some(record)) => Ok(record.grant()),
            (_, Some(_)) => Err(Failure::WrongToken),
            (_, None) => Err(Failure::UnknownUser),
        }
    }

    /// What the file grants `user`, if it names one.
    pub fn grant(&self, user: &[u8]) -> Option<Grant> {
        self.0.get(user).map(Record::grant)
    }
}

fn parse(line: &[u8]) -> Result<Record, &'static str> {
    let mut parts = line.split(|&byte| byte == b':');
    let name = parts.next().unwrap_or_default();
    if !text::is_user_id(name) {
        return Err("the user before the first colon is empty, too long or has control characters");
    }
    let digest = parts.next().and_then(hex::decode::<32>);
    let digest = digest.ok_or("after the user comes the SHA-256 of the token as 64 hex digits")?;
    let limit = match parts.next().unwrap_or_default() {
        b"" => None,
        digits => Some(limit(digits).ok_or("the limit behind the hash is not a number from 0 to 1000")?),
    };
    let admin = match parts.next() {
        None | Some(b"") => false,
        Some(b"admin") => true,
        Some(_) => return Err("behind the limit only `admin` may stand"),
    };
    match parts.next() {
        None => Ok(Record::new(name, &digest, Grant { limit, admin })),
        Some(_) => Err("a line has at most four parts: user:hash:limit:admin"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The SHA-256 of `secret`.
    const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn read(text: &str) -> Result<Users, (usize, String)> {
        Users::read(text.replace("HASH", HASH).as_bytes(), 0)
    }

    #[test]
    fn lets_in_who_has_the_token() {
        let users = read(
            "# staff\n\nann:HASH\nbob:HASH:5\r\nops:HASH::admin\nŻółw:HASH:1000:admin\ncat:HASH:7:\neve:HASH:0\n",
        );
        let users = users.unwrap();
        assert_eq!(users.count(), 6);
        let grant = |limit, admin| Ok(Grant { limit, admin });
        for (user, token, expected) in [
            ("ann", "secret", grant(None, false)),
            ("bob", "secret", grant(Some(5), false)),
            ("ops", "secret", grant(None, true)),
            ("Żółw", "secret", grant(Some(1000), true)),
            ("cat", "secret", grant(Some(7), false)),
            ("eve", "secret", grant(Some(0), false)),
            ("ann", &"x".repeat(MAX_TOKEN + 1), Err(Failure::WrongToken)),
            ("dan", &"x".repeat(MAX_TOKEN + 1), Err(Failure::UnknownUser)),
            ("ann", "", Err(Failure::WrongToken)),
            ("ann", "secre", Err(Failure::WrongToken)),
            ("ann", "secret ", Err(Failure::WrongToken)),
            ("ann", HASH, Err(Failure::WrongToken)),
            ("Ann", "secret", Err(Failure::UnknownUser)),
            ("dan", "secret", Err(Failure::UnknownUser)),
            ("", "secret", Err(Failure::UnknownUser)),
        ] {
            assert_eq!(users.check(user.as_bytes(), token.as_bytes()), expected, "{user} {token}");
        }
    }

    #[test]
    fn names_the_bad_line() {
        for (text, number, what) in [
            ("ann", 1, "64 hex digits"),
            ("# x\nann:", 2, "64 hex digits"),
            ("ann:HASH\nbob:HAS", 2, "64 hex digits"),
            ("ann:HASH0", 1, "64 hex digits"),
            (":HASH", 1, "before the first colon"),
            ("ann:HASH:1001", 1, "0 to 1000"),
            ("ann:HASH:4294967295", 1, "0 to 1000"),
            ("ann:HASH:4294967301", 1, "0 to 1000"),
            ("ann:HASH:+5", 1, "0 to 1000"),
            ("\u{feff}ann:HASH", 1, "byte order mark"),
            ("\u{feff}# staff\nann:HASH", 1, "byte order mark"),
            ("ann:HASH\n\u{feff}bob:HASH", 2, "byte order mark"),
            ("ann:HASH:5:root", 1, "only `admin`"),
            ("ann:HASH:5:admin:", 1, "four parts"),
            ("ann:HASH\nbob:HASH\n\nann:HASH:4", 4, "already"),
        ] {
            let (line, said) = read(text).err().unwrap();
            assert!(line == number && said.contains(what), "{text}: line {line}: {said}");
        }
    }
}
