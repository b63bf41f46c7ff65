//! An account as bytes, for engines that keep it outside of this process.
//!
//! ```text
//! record  = version last streams ended hold
//! version = %x01
//! last    = number                                    ; when all of it is forgotten; 0 for an empty account
//! streams = number *( key before position paused )    ; how many, then each of them
//! ended   = number *( key before cause )
//! hold    = %x00 / %x01 before message
//! paused  = number                                    ; 0 when it plays, else its place among the pauses
//! cause   = %x00 / %x01 key / %x02 message            ; stopped, replaced by, ended by the operator
//! before  = number                                    ; how long before `last`, in milliseconds
//! key     = text    message = text
//! text    = number *OCTET                             ; how many bytes, then the bytes: UTF-8
//! number  = *( %x80-FF ) %x00-7F                      ; LEB128, in as few bytes as it takes
//! ```
//!
//! One stream takes some 15 bytes and its key. A compare-and-set compares records, so that equal accounts have equal
//! records: there is one way to write each.
//!
//! ```
//! use streamer::streams::account::Account;
//!
//! let mut record = Vec::new();
//! Account::default().encode(&mut record);
//! assert_eq!(Account::decode(&record), Ok(Account::default()));
//! assert!(Account::decode(b"something else").is_err());
//! ```
//!
//! *Invariant:* what [`Account::decode`] takes, [`Account::encode`] writes again byte for byte.

use std::fmt;
use std::num::NonZeroU32;

use super::account::{Account, Cause, Ended, Hold, MAX_ENDED, MAX_PAUSED, MAX_PLAYING, Rare, Stream};
use super::inline_vec::InlineVec;
use super::name::Name;
use super::position::Position;
use super::{MAX_DEVICE, MAX_ID};
use crate::time::Timestamp;

/// The format that is written, and the only one so far.
const VERSION: u8 = 1;
/// The longest text is a key: id, NUL and device.
const MAX_TEXT: usize = MAX_ID + 1 + MAX_DEVICE;

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrupt {
    /// They are of another format: written by another version of this program, or by another program.
    Version,
    /// They are not what they begin as.
    Content,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "the record is of an unknown version",
            Self::Content => "the record is damaged",
        })
    }
}

impl std::error::Error for Corrupt {}

impl Account {
    /// Appends the account's record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let last = self.forgotten_at().unwrap_or_default();
        let before = |at: Timestamp, out: &mut Vec<u8>| put_number(at.until(last).millis(), out);
        out.push(VERSION);
        put_number(last.millis(), out);
        put_number(self.streams.len() as u64, out);
        // Taken apart, so that no field is forgotten.
        for Stream { key, expires, position, paused } in self.streams.iter() {
            put_text(key, out);
            before(*expires, out);
            put_number(position.secs().into(), out);
            put_number(paused.map_or(0, NonZeroU32::get).into(), out);
        }
        let (ended, hold) = match self.rare.as_deref() {
            Some(Rare { ended, hold }) => (&ended[..], hold),
            None => (&[][..], &None),
        };
        put_number(ended.len() as u64, out);
        for Ended { key, expires, cause } in ended {
            put_text(key, out);
            before(*expires, out);
            put_cause(cause, out);
        }
        out.push(u8::from(hold.is_some()));
        if let Some(Hold { until, message }) = hold {
            before(*until, out);
            put_text(message, out);
        }
    }

    /// Reads a record. Whatever the bytes are, it builds no more than an account can hold, and does not panic.
    ///
    /// # Errors
    ///
    /// What is wrong with them, if they are no record that [`Account::encode`] writes.
    pub fn decode(record: &[u8]) -> Result<Self, Corrupt> {
        match record.split_first() {
            Some((&VERSION, rest)) => {
                let account = Reader { rest, last: Timestamp::default() }.account();
                account.ok_or(Corrupt::Content)
            }
            Some(_) => Err(Corrupt::Version),
            None => Err(Corrupt::Content),
        }
    }
}

fn put_number(mut n: u64, out: &mut Vec<u8>) {
    while n > 0x7F {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_text(text: &Name, out: &mut Vec<u8>) {
    put_number(text.as_bytes().len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn put_cause(cause: &Cause, out: &mut Vec<u8>) {
    let (tag, text) = match cause {
        Cause::Stopped => (0, None),
        Cause::Replaced(by) => (1, Some(by)),
        Cause::Operator(message) => (2, Some(message)),
    };
    out.push(tag);
    text.inspect(|text| put_text(text, out));
}

/// What is still to be read of a record. Whatever reads gives None when there is something else.
struct Reader<'a> {
    rest: &'a [u8],
    last: Timestamp,
}

impl Reader<'_> {
    fn account(mut self) -> Option<Account> {
        self.last = Timestamp::from_millis(self.number()?);
        let account = Account { streams: self.streams()?, rare: self.rare()?.map(Box::new) };
        let ends = self.rest.is_empty() && self.last == account.forgotten_at().unwrap_or_default();
        ends.then_some(account)
    }

    fn streams(&mut self) -> Option<InlineVec<Stream>> {
        let (mut streams, mut n_paused) = (InlineVec::default(), 0);
        let n = self.count(MAX_PLAYING + MAX_PAUSED)?;
        for _ in 0..n {
            let key = self.key()?;
            let expires = self.time()?;
            let position = Position::from_secs(self.number_32()?);
            let paused = NonZeroU32::new(self.number_32()?);
            n_paused += usize::from(paused.is_some());
            streams.push(Stream { key, expires, position, paused });
        }
        (n_paused <= MAX_PAUSED && n - n_paused <= MAX_PLAYING).then_some(streams)
    }

    fn rare(&mut self) -> Option<Option<Rare>> {
        let mut rare = Rare::default();
        for _ in 0..self.count(MAX_ENDED)? {
            let (key, expires, cause) = (self.key()?, self.time()?, self.cause()?);
            rare.ended.push(Ended { key, expires, cause });
        }
        rare.hold = match self.byte()? {
            0 => None,
            1 => Some(Hold { until: self.time()?, message: self.text()? }),
            _ => return None,
        };
        Some((rare != Rare::default()).then_some(rare))
    }

    fn cause(&mut self) -> Option<Cause> {
        Some(match self.byte()? {
            0 => Cause::Stopped,
            1 => Cause::Replaced(self.key()?),
            2 => Cause::Operator(self.text()?),
            _ => return None,
        })
    }

    fn time(&mut self) -> Option<Timestamp> {
        let before = self.number()?;
        self.last.millis().checked_sub(before).map(Timestamp::from_millis)
    }

    fn key(&mut self) -> Option<Name> {
        self.text().filter(|key| !key.as_bytes().is_empty())
    }

    fn text(&mut self) -> Option<Name> {
        let len = self.count(MAX_TEXT)?;
        let (text, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        std::str::from_utf8(text).ok().map(|text| Name::from(text.as_bytes()))
    }

    fn count(&mut self, most: usize) -> Option<usize> {
        usize::try_from(self.number()?).ok().filter(|&n| n <= most)
    }

    fn number_32(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        let (mut n, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            // What is shifted out at the top would be lost, and a last byte of zero says nothing.
            if shift > 63 || bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                return None;
            }
            n |= bits << shift;
            if byte < 0x80 {
                return Some(n);
            }
            shift += 7;
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Random(u64);

    impl Random {
        /// Xorshift: anything below `n`.
        fn below(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) % n
        }

        fn text(&mut self, least: u64) -> Name {
            let longest = [8, 30, MAX_TEXT as u64][self.below(3) as usize];
            let len = least + self.below(longest + 1 - least);
            let text: Vec<u8> = (0..len).map(|_| b"ab0\0"[self.below(4) as usize]).collect();
            Name::from(&text[..])
        }

        fn time(&mut self) -> Timestamp {
            let most = [1, 100_000, 1 << 41, u64::MAX][self.below(4) as usize];
            Timestamp::from_millis(self.below(most))
        }

        fn number(&mut self) -> u32 {
            let most = [1, 200, 1 << 32][self.below(3) as usize];
            self.below(most) as u32
        }

        fn account(&mut self) -> Account {
            let mut account = Account::default();
            let of = |random: &mut Self, most: usize| {
                let most = [1, 3, most as u64][random.below(3) as usize];
                random.below(most + 1)
            };
            for i in 0..of(self, 50) {
                let paused = NonZeroU32::new(self.number()).filter(|_| i < MAX_PAUSED as u64);
                let position = Position::from_secs(self.number());
                account.streams.push(Stream { key: self.text(1), expires: self.time(), position, paused });
            }
            let mut rare = Rare::default();
            for _ in 0..of(self, MAX_ENDED) {
                let cause = match self.below(3) {
                    0 => Cause::Stopped,
                    1 => Cause::Replaced(self.text(1)),
                    _ => Cause::Operator(self.text(0)),
                };
                rare.ended.push(Ended { key: self.text(1), expires: self.time(), cause });
            }
            rare.hold = (self.below(4) == 0).then(|| Hold { until: self.time(), message: self.text(0) });
            account.rare = (rare != Rare::default()).then(|| Box::new(rare));
            account
        }
    }

    fn encoded(account: &Account) -> Vec<u8> {
        let mut record = Vec::new();
        account.encode(&mut record);
        record
    }

    #[test]
    fn every_account_is_read_back_as_itself() {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        assert_eq!(Account::decode(&encoded(&Account::default())), Ok(Account::default()));
        for _ in 0..5_000 {
            let account = random.account();
            let record = encoded(&account);
            assert_eq!(Account::decode(&record), Ok(account));
        }
    }

    #[test]
    fn no_bytes_make_it_panic_and_what_it_takes_is_written_again() {
        let mut random = Random(0x2545_F491_4F6C_DD1D);
        let mut taken = 0;
        for _ in 0..50_000 {
            let mut record = encoded(&random.account());
            for _ in 0..=random.below(3) {
                let at = random.below(record.len() as u64) as usize;
                match random.below(4) {
                    0 => record.truncate(at.max(1)),
                    1 => record[at] = random.below(256) as u8,
                    2 => record[at] ^= 1 << random.below(8),
                    _ => record.insert(at, [0, 1, 0x80, 0xFF][random.below(4) as usize]),
                }
            }
            if let Ok(account) = Account::decode(&record) {
                assert_eq!(encoded(&account), record);
                taken += 1;
            }
        }
        assert!(taken > 100, "{taken}");
    }

    #[test]
    fn refuses_whatever_it_would_not_write() {
        #[track_caller]
        fn check(record: &[u8], expected: Result<usize, Corrupt>) {
            assert_eq!(Account::decode(record).map(|account| account.streams.len()), expected, "{record:?}");
        }
        const BAD: Result<usize, Corrupt> = Err(Corrupt::Content);
        check(b"\x01\0\0\0\0", Ok(0));
        check(b"\x01\x05\x01\x01a\0\x07\0\0\0", Ok(1));
        check(b"", BAD);
        check(b"\x02\0\0\0\0", Err(Corrupt::Version));
        check(b"\x01", BAD);
        check(b"\x01\0\0\0", BAD);
        // A byte too many, a number that is longer than it has to be or than it can be.
        check(b"\x01\0\0\0\0\0", BAD);
        check(b"\x01\x80\0\0\0\0", BAD);
        check(b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\0\0\0", BAD);
        check(b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\0\0\0\0", BAD);
        // An empty account that is forgotten some time, a stream that is forgotten after everything or before time begins.
        check(b"\x01\x05\0\0\0", BAD);
        check(b"\x01\x05\x01\x01a\x01\x07\0\0\0", BAD);
        check(b"\x01\x05\x02\x01a\0\x07\0\x01b\x06\x07\0\0\0", BAD);
        // A key without bytes or of no UTF-8, a position or a pause beyond 32 bits, an unknown tag.
        check(b"\x01\x05\x01\0\0\x07\0\0\0", BAD);
        check(b"\x01\x05\x01\x01\xff\0\x07\0\0\0", BAD);
        check(b"\x01\x05\x01\x01a\0\x80\x80\x80\x80\x10\0\0\0", BAD);
        check(b"\x01\x05\x01\x01a\0\x07\x80\x80\x80\x80\x10\0\0", BAD);
        check(b"\x01\x05\x01\x01a\0\x07\0\0\x02", BAD);
        check(b"\x01\x05\0\x01\x01a\0\x03\0", BAD);
    }

    #[test]
    fn builds_no_more_than_an_account_holds() {
        let stream = |n: usize, paused: bool| Stream {
            key: Name::from(format!("v{n}").as_bytes()),
            expires: Timestamp::default(),
            position: Position::default(),
            paused: NonZeroU32::new(1).filter(|_| paused),
        };
        for (playing, paused, fits) in [
            (MAX_PLAYING, MAX_PAUSED, true),
            (MAX_PLAYING + 1, 0, false),
            (0, MAX_PAUSED + 1, false),
            (MAX_PLAYING + 1, MAX_PAUSED, false),
        ] {
            let mut account = Account::default();
            (0..playing + paused).for_each(|n| account.streams.push(stream(n, n >= playing)));
            assert_eq!(Account::decode(&encoded(&account)).is_ok(), fits, "{playing} and {paused}");
        }
        let ended = |n| Ended {
            key: Name::from(&b"v"[..]),
            cause: Cause::Stopped,
            expires: Timestamp::from_millis(n),
        };
        for (n, fits) in [(MAX_ENDED, true), (MAX_ENDED + 1, false)] {
            let mut rare = Rare::default();
            (0..n as u64).for_each(|n| rare.ended.push(ended(n)));
            let account = Account { rare: Some(Box::new(rare)), ..Account::default() };
            assert_eq!(Account::decode(&encoded(&account)).is_ok(), fits, "{n}");
        }
    }

    #[test]
    fn a_record_is_small() {
        let mut account = Account::default();
        let now = 1_764_000_000_000;
        for (key, at) in [(&b"video-0001\0living-room-tv"[..], now), (b"video-0002", now + 2500)] {
            let expires = Timestamp::from_millis(at);
            let position = Position::from_secs(754);
            account.streams.push(Stream { key: Name::from(key), expires, position, paused: None });
        }
        assert_eq!(
            (encoded(&account).len(), account.forgotten_at().map(Timestamp::millis)),
            (56, Some(now + 2500))
        );
    }
}
