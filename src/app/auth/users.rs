//! `--users FILE`: a line a user, `user:sha256-of-token-in-hex[:limit[:admin]]`.
//!
//! A token is 256 random bits, so that one SHA-256 hides it as well as a slow hash would hide a password, and the check
//! costs a server nothing worth mentioning.
//!
//! The table is made for a server whose caches hold other things: a check reads one of the slots, which is eight bytes and
//! tells by a fingerprint whether it is the user's, and then one record, in which all the rest lies side by side.
//!
//! *Invariant:* an unknown user takes the same steps as a wrong token. (Of many users each step may find another
//! cache cold, so that a thousand answers measured side by side may still differ by part of a microsecond.) (Not
//! tested.)

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, Read};

use super::{BYTE_ORDER_MARK, Failure, Grant, MARKED};
use crate::codec::sha256::{self, digest};
use crate::codec::{hex, text};
use crate::streams::limits::Limits;

/// How long a token may be, in bytes. Ours have 43; one that is longer than any is not worth the hashing.
const MAX_TOKEN: usize = 1024;
/// How long a line may be, in bytes. A user and a limit of many classes need half.
const MAX_LINE: u64 = 1024;
/// Stands for no limit of the user's own; more than the highest limit there can be.
const NO_LIMIT: u16 = u16::MAX;

/// The users of a file, found by name.
pub struct Users {
    /// Keyed, for names may come from people who sign up.
    hasher: RandomState,
    /// Two to the power of something, at most three quarters of them taken: the upper [`FINGERPRINT`] bits of the name's
    /// hash, and below them where its record begins, plus one; 0 where there is none. A user is in the first free slot
    /// from where the lower bits of the hash point to.
    slots: Box<[u64]>,
    /// Every [`Record`], one behind the other.
    records: Vec<u8>,
    count: usize,
}

const FINGERPRINT: u32 = 24;
const OFFSET: u64 = u64::MAX >> FINGERPRINT;

/// One user: `digest[32] limit[2] admin[1] length[1] classes length[2] name`. The limit is [`NO_LIMIT`] if it is the
/// server's; the classes are those that have a limit.
#[derive(Clone, Copy)]
struct Record<'a> {
    name: &'a [u8],
    digest: &'a [u8; 32],
    grant: Grant<'a>,
}

impl<'a> Record<'a> {
    fn write(self, out: &mut Vec<u8>) {
        let limit = self.grant.limits.map_or(NO_LIMIT, |limits| limits.total as u16);
        let classes = self.grant.limits.map_or(&[][..], |limits| limits.classes);
        out.extend_from_slice(self.digest);
        out.extend_from_slice(&limit.to_le_bytes());
        out.push(u8::from(self.grant.admin));
        out.push(classes.len() as u8);
        out.extend_from_slice(classes);
        out.extend_from_slice(&(self.name.len() as u16).to_le_bytes());
        out.extend_from_slice(self.name);
    }

    /// The record that `bytes` begin with, and what is behind it.
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (digest, rest) = bytes.split_first_chunk()?;
        let (limit, rest) = rest.split_first_chunk()?;
        let (admin, rest) = rest.split_first()?;
        let (length, rest) = rest.split_first()?;
        let (classes, rest) = rest.split_at_checked(usize::from(*length))?;
        let (length, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        let total = u16::from_le_bytes(*limit);
        let limits = (total != NO_LIMIT).then_some(Limits { total: total.into(), classes });
        let grant = Grant { limits, admin: *admin == 1 };
        Some((Self { name, digest, grant }, rest))
    }
}

impl Users {
    /// Reads a file's lines. Empty lines and those that begin with `#` are passed over.
    ///
    /// `room` is how many users to make room for at once; a table that grows while a million lines come in would be there
    /// twice at times.
    /// An error is the number of the first bad line, counted from 1, and what is wrong with it; 0 where it could not be read.
    pub fn read(mut lines: impl BufRead, room: usize) -> Result<Self, (usize, String)> {
        let slots = empty_slots(room);
        let mut users = Self { hasher: RandomState::new(), slots, records: Vec::new(), count: 0 };
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = lines.by_ref().take(MAX_LINE + 2).read_until(b'\n', &mut line);
            if read.map_err(|error| (number, error.to_string()))? == 0 {
                break;
            }
            users.take(&line).map_err(|what| (number, what.into()))?;
        }
        users.records.shrink_to_fit();
        Ok(users)
    }

    /// Takes in a line, with the line feed at its end.
    fn take(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let text = line.trim_ascii_end();
        match line {
            _ if line.len() as u64 > MAX_LINE + 1 => Err("the line has more than 1024 bytes; no user's has"),
            [.., b'\n'] if text.is_empty() || text[0] == b'#' => Ok(()),
            _ if line.starts_with(BYTE_ORDER_MARK) => Err(MARKED),
            [b' ' | b'\t', ..] => {
                Err("the line begins with a blank, which would be part of the user; remove it")
            }
            [.., b'\n'] => self.add(text),
            // Of a line that was cut, what is left can mean something else: another limit, or none.
            _ => Err("the file is cut short: its last line has no line feed; end it with one"),
        }
    }

    fn add(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let mut digest = [0; 32];
        let record = parse(line, &mut digest)?;
        if self.count + 1 > self.slots.len() / 4 * 3 {
            self.grow();
        }
        let (slot, Err(empty)) = self.find(record.name) else {
            return Err("this user has a line already; keep one");
        };
        if self.records.len() as u64 >= OFFSET {
            return Err("there is no room for more users");
        }
        self.slots[slot] = empty | (self.records.len() as u64 + 1);
        self.count += 1;
        record.write(&mut self.records);
        Ok(())
    }

    /// Makes twice as many slots, and finds each user a new one.
    fn grow(&mut self) {
        self.slots = empty_slots(self.slots.len());
        let mut rest = &self.records[..];
        while let Some((record, behind)) = Record::read(rest) {
            if let (slot, Err(empty)) = self.find(record.name) {
                self.slots[slot] = empty | ((self.records.len() - rest.len()) as u64 + 1);
            }
            rest = behind;
        }
    }

    /// The slot where the search for `name` ends: with the user's record, or with the fingerprint to put there.
    fn find(&self, name: &[u8]) -> (usize, Result<Record<'_>, u64>) {
        let hash = self.hasher.hash_one(name);
        let fingerprint = hash & !OFFSET;
        let mut at = hash as usize % self.slots.len();
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return (at, Err(fingerprint));
            }
            if slot & !OFFSET == fingerprint
                && let Some((record, _)) = Record::read(&self.records[(slot & OFFSET) as usize - 1..])
                && record.name == name
            {
                return (at, Ok(record));
            }
            at = (at + 1) % self.slots.len();
        }
    }

    /// How many users there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Lets `user` in if `token` is the one whose hash stands in the file.
    /// An error is [`Failure::UnknownUser`] or [`Failure::WrongToken`].
    pub fn check(&self, user: &[u8], token: &[u8]) -> Result<Grant<'_>, Failure> {
        let (_, record) = self.find(user);
        if token.len() > MAX_TOKEN {
            return Err(record.map_or(Failure::UnknownUser, |_| Failure::WrongToken));
        }
        // Hashed and compared whether there is such a user or not: the time taken must not tell.
        let is = digest(token);
        let expected = record.map_or(&[0; 32], |record| record.digest);
        match (sha256::equal(&is, expected), record) {
            (true, Ok(record)) => Ok(record.grant),
            (_, Ok(_)) => Err(Failure::WrongToken),
            (_, Err(_)) => Err(Failure::UnknownUser),
        }
    }

    /// What the file grants `user`, if it names one.
    pub fn grant(&self, user: &[u8]) -> Option<Grant<'_>> {
        self.find(user).1.ok().map(|record| record.grant)
    }
}

/// Slots for more than `users`, at most three quarters of them to be taken.
fn empty_slots(users: usize) -> Box<[u64]> {
    vec![0; (users + users / 3 + 4).next_power_of_two()].into()
}

/// A line's user; the digest is put into `digest`.
fn parse<'a>(line: &'a [u8], digest: &'a mut [u8; 32]) -> Result<Record<'a>, &'static str> {
    let mut parts = line.split(|&byte| byte == b':');
    let name = parts.next().unwrap_or_default();
    if !text::is_user_id(name) {
        return Err("the user before the first colon is empty, too long or has control characters");
    }
    *digest = parts.next().and_then(hex::decode).ok_or(
        "after the user comes the SHA-256 of the token as 64 hex digits; `streamer token USER` prints a line",
    )?;
    let limits = match parts.next().unwrap_or_default() {
        b"" => None,
        limits => Some(Limits::parse(limits).ok_or(
            "the limit behind the hash is no number from 0 to 1000, nor that and limits of classes, as in 3,live=1",
        )?),
    };
    let admin = match parts.next() {
        None | Some(b"") => false,
        Some(b"admin") => true,
        Some(_) => return Err("behind the limit only `admin` may stand"),
    };
    match parts.next() {
        None => Ok(Record { name, digest, grant: Grant { limits, admin } }),
        Some(_) => Err("a line has at most four parts: user:hash:limit:admin"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The SHA-256 of `secret`.
    const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn read(text: &str) -> Result<Users, (usize, String)> {
        Users::read(format!("{text}\n").replace("HASH", HASH).as_bytes(), 0)
    }

    #[test]
    fn lets_in_who_has_the_token() {
        let users = read(
            "# staff\n\nann:HASH\nbob:HASH:5\r\nops:HASH::admin\nŻółw:HASH:1000:admin\ncat:HASH:7:\neve:HASH:0\nfay:HASH:4,mobile=1,live=2\n",
        );
        let users = users.unwrap();
        assert_eq!(users.count(), 7);
        let grant = |limit: Option<u32>, admin| Ok(Grant { limits: limit.map(Limits::from), admin });
        let classes = users.grant(b"fay").and_then(|grant| grant.limits).unwrap();
        assert_eq!(classes.into_owned().to_string(), "4,mobile=1,live=2");
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
    fn finds_each_of_many_whatever_room_was_made() {
        let name = |n: usize| format!("user{n}{}", "x".repeat(n % 240));
        let lines: String = (0..2000).map(|n| format!("{}:{HASH}:{}\n", name(n), n % 1000 + 1)).collect();
        for room in [0, 1, 1999, 2000, 5000] {
            let users = Users::read(lines.as_bytes(), room).unwrap();
            assert_eq!(users.count(), 2000);
            for n in 0..2000 {
                let limit = users.grant(name(n).as_bytes()).and_then(|grant| grant.limits);
                assert_eq!(limit, Some(Limits::from(n as u32 % 1000 + 1)), "{n} of room {room}");
                assert_eq!(users.grant(name(n + 2000).as_bytes()), None);
            }
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
            ("ann:HASH:5,live", 1, "0 to 1000"),
            ("ann:HASH:5,live=1,live=2", 1, "0 to 1000"),
            ("\u{feff}ann:HASH", 1, "byte order mark"),
            ("\u{feff}# staff\nann:HASH", 1, "byte order mark"),
            ("ann:HASH\n\u{feff}bob:HASH", 2, "byte order mark"),
            ("ann:HASH:5:root", 1, "only `admin`"),
            ("ann:HASH:5:admin:", 1, "four parts"),
            ("ann:HASH\nbob:HASH\n\nann:HASH:4", 4, "already"),
            (" ann:HASH", 1, "begins with a blank"),
            ("ann:HASH\n\tbob:HASH", 2, "begins with a blank"),
            (&format!("ann:HASH\n#{}", "x".repeat(1024)), 2, "more than 1024 bytes"),
            (&format!("ann:HASH\n{}", "\0".repeat(100_000)), 2, "more than 1024 bytes"),
            ("\0", 1, "control characters"),
        ] {
            let (line, said) = read(text).err().unwrap();
            assert!(line == number && said.contains(what), "{text}: line {line}: {said}");
        }
        assert_eq!(read(&format!("#{}\nann:HASH\n  ", "x".repeat(1023))).unwrap().count(), 1);
    }

    /// A suspended user would be let in again, with another limit.
    #[test]
    fn a_file_that_is_cut_anywhere_in_its_last_line_is_refused() {
        let whole = format!("ann:{HASH}\nbob:{HASH}:0\n");
        assert_eq!(Users::read(whole.as_bytes(), 0).unwrap().count(), 2);
        for len in whole.find("bob").unwrap() + 1..whole.len() {
            let (line, said) = Users::read(&whole.as_bytes()[..len], 0).err().unwrap();
            assert!(line == 2 && said.contains("cut short"), "{len}: line {line}: {said}");
        }
    }
}
