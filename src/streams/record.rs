//! An account as bytes, for engines that keep it outside of this process.
//!
//! ```text
//! record     = version last streams ended hold message
//! version    = %x02
//! last       = number                             ; when all of it is forgotten; 0 for an empty account
//! streams    = number *( name generation before before position paused )    ; how many, then each: its start, its end
//! ended      = number *( hash before cause )
//! hold       = %x00 / ( %x01 / %x02 ) before      ; none, or one that the message is not about, or is
//! paused     = number                             ; 0 when it plays, else its place among the pauses
//! cause      = %x00 / %x01 hash / %x02 / %x03     ; stopped, replaced by, by the operator: the message is not about it, or is
//! before     = number                             ; how long before `last`, in milliseconds
//! name       = text                               ; the key, and the classes if there are any
//! message    = text
//! hash       = 8OCTET       generation = 8OCTET   ; the lowest byte first
//! text       = number *OCTET                      ; how many bytes, then the bytes: UTF-8
//! number     = *( %x80-FF ) %x00-7F               ; LEB128, in as few bytes as it takes
//! ```
//!
//! Version 1 is read too. It has no generations and no starts, and at the end no message: instead each ended stream has its key, and each
//! cause and hold its text.
//!
//! One stream takes some 30 bytes and its key. Equal accounts have equal records: there is one way to write each.
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
//! *Invariant:* what [`Account::decode`] takes of this version, [`Account::encode`] writes again byte for byte.
//! (Tested by `no_bytes_make_it_panic_and_what_it_takes_is_written_again`.)

use std::fmt;
use std::num::NonZeroU32;

use super::account::{
    Account, Cause, Ended, Hold, MAX_ENDED, MAX_NAME, MAX_PAUSED, MAX_PLAYING, Rare, Stream, hash,
};
use super::name::Name;
use super::position::Position;
use crate::time::Timestamp;

/// The format that is written.
const VERSION: u8 = 2;
/// The longest text is a name.
const MAX_TEXT: usize = MAX_NAME;

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
        for Stream { name, started, expires, position, paused, generation } in self.streams.iter() {
            put_text(name, out);
            out.extend_from_slice(&generation.to_le_bytes());
            before(*started, out);
            before(*expires, out);
            put_number(position.secs().into(), out);
            put_number(paused.map_or(0, NonZeroU32::get).into(), out);
        }
        let Some(Rare { ended, hold, message }) = self.streams.rare() else {
            return out.extend_from_slice(&[0; 3]);
        };
        put_number(ended.len() as u64, out);
        for Ended { key, expires, cause } in ended {
            out.extend_from_slice(&key.to_le_bytes());
            before(*expires, out);
            put_cause(*cause, out);
        }
        out.push(hold.as_ref().map_or(0, |hold| 1 + u8::from(hold.told)));
        if let Some(Hold { until, told: _ }) = hold {
            before(*until, out);
        }
        put_text(message, out);
    }

    /// Reads a record. Whatever the bytes are, it builds no more than an account can hold, and does not panic.
    /// An error is what is wrong with them, if they are no record that [`Account::encode`] writes.
    pub fn decode(record: &[u8]) -> Result<Self, Corrupt> {
        match record.split_first() {
            Some((&version @ 1..=VERSION, rest)) => {
                let reader = RecordReader { rest, version, last: Timestamp::default() };
                reader.account().ok_or(Corrupt::Content)
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

fn put_cause(cause: Cause, out: &mut Vec<u8>) {
    match cause {
        Cause::Stopped => out.push(0),
        Cause::Replaced(by) => {
            out.push(1);
            out.extend_from_slice(&by.to_le_bytes());
        }
        Cause::Operator { told } => out.push(2 + u8::from(told)),
    }
}

/// What is still to be read of a record. Whatever reads gives None when there is something else.
struct RecordReader<'a> {
    rest: &'a [u8],
    version: u8,
    last: Timestamp,
}

impl RecordReader<'_> {
    fn account(mut self) -> Option<Account> {
        self.last = Timestamp::from_millis(self.number()?);
        let mut account = Account::default();
        self.streams(&mut account)?;
        let rare = self.rare()?;
        if !rare.is_empty() {
            *account.streams.rare_or_default() = rare;
        } else if rare != Rare::default() {
            return None;
        }
        let ends = self.rest.is_empty() && self.last == account.forgotten_at().unwrap_or_default();
        ends.then_some(account)
    }

    fn streams(&mut self, account: &mut Account) -> Option<()> {
        let n = self.count(MAX_PLAYING + MAX_PAUSED)?;
        let mut n_paused = 0;
        for _ in 0..n {
            let name = self.text().filter(|name| !name.as_bytes().is_empty())?;
            let generation = if self.version == 1 { 0 } else { self.number_64()? };
            let started = if self.version == 1 { None } else { Some(self.time()?) };
            let expires = self.time()?;
            // When it was started nobody knows any more.
            let started = started.unwrap_or(expires);
            let position = Position::from_secs(self.number_32()?);
            let paused = NonZeroU32::new(self.number_32()?);
            n_paused += usize::from(paused.is_some());
            account.streams.push(Stream { name, started, expires, position, paused, generation });
        }
        (n_paused <= MAX_PAUSED && n - n_paused <= MAX_PLAYING).then_some(())
    }

    fn rare(&mut self) -> Option<Rare> {
        let (mut rare, is_old) = (Rare::default(), self.version == 1);
        for _ in 0..self.count(MAX_ENDED)? {
            let key = if is_old { hash(self.text()?.as_bytes()) } else { self.number_64()? };
            let (expires, mut said) = (self.time()?, Name::default());
            let cause = match self.byte()? {
                0 => Cause::Stopped,
                1 if is_old => Cause::Replaced(hash(self.text()?.as_bytes())),
                1 => Cause::Replaced(self.number_64()?),
                2 if is_old => {
                    said = self.text()?;
                    Cause::Operator { told: !said.as_bytes().is_empty() }
                }
                tag @ (2 | 3) if !is_old => Cause::Operator { told: tag == 3 },
                _ => return None,
            };
            rare.ended.push(Ended { key, expires, cause });
            if !said.as_bytes().is_empty() {
                rare.say(said.as_bytes(), 1);
            }
        }
        let tag = self.byte()?;
        let until = match tag {
            0 => None,
            1 => Some(self.time()?),
            2 if !is_old => Some(self.time()?),
            _ => return None,
        };
        let message = if is_old && tag == 0 { Name::default() } else { self.text()? };
        let told = if is_old { !message.as_bytes().is_empty() } else { tag == 2 };
        rare.hold = until.map(|until| Hold { until, told });
        match (is_old, told) {
            (false, _) => rare.message = message,
            (true, true) => rare.say(message.as_bytes(), 0),
            (true, false) => {}
        }
        Some(rare)
    }

    fn time(&mut self) -> Option<Timestamp> {
        let before = self.number()?;
        self.last.millis().checked_sub(before).map(Timestamp::from_millis)
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

    fn number_64(&mut self) -> Option<u64> {
        let (number, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u64::from_le_bytes(*number))
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

        fn number_64(&mut self) -> u64 {
            self.below(1 << 53) << 11 | self.below(1 << 11)
        }

        fn account(&mut self) -> Account {
            let mut account = Account::default();
            let of = |random: &mut Self, most: usize| {
                let most = [1, 3, most as u64][random.below(3) as usize];
                random.below(most + 1)
            };
            for i in 0..of(self, 50) {
                let paused = NonZeroU32::new(self.number()).filter(|_| i < MAX_PAUSED as u64);
                let (position, generation) = (Position::from_secs(self.number()), self.number_64());
                let (name, expires) = (self.text(1), self.time());
                let started = Timestamp::from_millis(expires.millis() - self.below(expires.millis() + 1));
                account.streams.push(Stream { name, started, expires, position, paused, generation });
            }
            let mut rare = Rare::default();
            for _ in 0..of(self, MAX_ENDED) {
                let cause = match self.below(4) {
                    0 => Cause::Stopped,
                    1 => Cause::Replaced(self.number_64()),
                    n => Cause::Operator { told: n == 2 },
                };
                rare.ended.push(Ended { key: self.number_64(), expires: self.time(), cause });
            }
            rare.hold = (self.below(4) == 0).then(|| Hold { until: self.time(), told: self.below(2) == 0 });
            if !rare.is_empty() {
                rare.message = self.text(0);
                *account.streams.rare_or_default() = rare;
            }
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
                assert!(record[0] == 1 || encoded(&account) == record);
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
        check(b"\x02\0\0\0\0\0", Ok(0));
        check(b"\x02\x05\x01\x01aGENERATE\x02\0\x07\0\0\0\0", Ok(1));
        check(b"\x02\x05\0\x01THE HASH\0\x01ANOTHER!\x01\0\x01?", Ok(0));
        check(b"", BAD);
        check(b"\x03\0\0\0\0\0", Err(Corrupt::Version));
        check(b"\0\0\0\0\0\0", Err(Corrupt::Version));
        check(b"\x02", BAD);
        check(b"\x02\0\0\0\0", BAD);
        // A byte too many, a number that is longer than it has to be or than it can be.
        check(b"\x02\0\0\0\0\0\0", BAD);
        check(b"\x02\x80\0\0\0\0\0", BAD);
        check(b"\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\0\0\0\0", BAD);
        check(b"\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\0\0\0\0\0", BAD);
        // An empty account that is forgotten some time, a stream that is forgotten after everything or before time begins.
        check(b"\x02\x05\0\0\0\0", BAD);
        check(b"\x02\x05\x01\x01aGENERATE\x02\x01\x07\0\0\0\0", BAD);
        check(b"\x02\x05\x02\x01aGENERATE\x02\0\x07\0\x01bGENERATE\x02\x06\x07\0\0\0\0", BAD);
        check(b"\x02\x05\x01\x01aGENERATE\x06\0\x07\0\0\0\0", BAD);
        // A name without bytes or of no UTF-8, a position or a pause beyond 32 bits.
        check(b"\x02\x05\x01\0GENERATE\x02\0\x07\0\0\0\0", BAD);
        check(b"\x02\x05\x01\x01\xffGENERATE\x02\0\x07\0\0\0\0", BAD);
        check(b"\x02\x05\x01\x01aGENERATE\x02\0\x80\x80\x80\x80\x10\0\0\0\0", BAD);
        check(b"\x02\x05\x01\x01aGENERATE\x02\0\x07\x80\x80\x80\x80\x10\0\0\0", BAD);
        // An unknown tag, a message about nothing.
        check(b"\x02\x05\x01\x01aGENERATE\x02\0\x07\0\0\x03\0", BAD);
        check(b"\x02\x05\0\x01THE HASH\0\x04\0\0", BAD);
        check(b"\x02\0\0\0\0\x01?", BAD);
    }

    #[test]
    fn version_1_is_read() {
        let hold = |message: &str| format!("\x01\0{}{message}", char::from(message.len() as u8));
        let record =
            |ended: &str, hold: &str| format!("\x01\x05\x01\x04a\0tv\x01\x07\0{ended}{hold}").into_bytes();
        let read = |record: &[u8]| Account::decode(record).unwrap();
        let plain = read(&record("\0", &hold("")));
        let Stream { name, generation, .. } = &plain.streams[0];
        assert_eq!((name.as_bytes(), *generation), (&b"a\0tv"[..], 0));
        let hold_of =
            |account: &Account| account.streams.rare().and_then(|rare| Some(rare.hold.clone()?.told));
        assert_eq!(hold_of(&plain), Some(false));
        // What ended by another stream, and of two messages the last.
        let account =
            read(&record("\x04\x01b\0\x01\x01a\x01c\0\x02\x03one\x01d\0\0\x01e\0\x02\x03two", &hold("")));
        let rare = account.streams.rare().unwrap();
        let causes: Vec<_> = rare.ended.iter().map(|ended| (ended.key, ended.cause)).collect();
        let told = |told| Cause::Operator { told };
        let expected = [
            (hash(b"b"), Cause::Replaced(hash(b"a"))),
            (hash(b"c"), told(false)),
            (hash(b"d"), Cause::Stopped),
            (hash(b"e"), told(true)),
        ];
        assert_eq!((&causes[..], rare.message.as_bytes()), (&expected[..], &b"two"[..]));
        assert_eq!(hold_of(&read(&record("\0", &hold("why")))), Some(true));
        assert_eq!(Account::decode(&encoded(&account)), Ok(account));
        for bad in [&record("\0", "\x02\0")[..], &record("\x01\x01b\0\x03", "\0"), b"\x01\0\0\0"] {
            assert_eq!(Account::decode(bad), Err(Corrupt::Content), "{bad:?}");
        }
    }

    fn stream(name: &[u8], paused: bool) -> Stream {
        Stream {
            name: Name::from(name),
            started: Timestamp::from_millis(1_763_000_000_000),
            expires: Timestamp::from_millis(1_764_000_000_000),
            position: Position::from_secs(754),
            paused: NonZeroU32::new(1).filter(|_| paused),
            generation: u64::MAX,
        }
    }

    fn ended(n: u64) -> Ended {
        let expires = Timestamp::from_millis(1_764_000_000_000 - n);
        Ended { key: u64::MAX - n, cause: Cause::Replaced(u64::MAX), expires }
    }

    #[test]
    fn builds_no_more_than_an_account_holds() {
        for (playing, paused, fits) in [
            (MAX_PLAYING, MAX_PAUSED, true),
            (MAX_PLAYING + 1, 0, false),
            (0, MAX_PAUSED + 1, false),
            (MAX_PLAYING + 1, MAX_PAUSED, false),
        ] {
            let mut account = Account::default();
            let name = |n: usize| format!("v{n}").into_bytes();
            (0..playing + paused).for_each(|n| account.streams.push(stream(&name(n), n >= playing)));
            assert_eq!(Account::decode(&encoded(&account)).is_ok(), fits, "{playing} and {paused}");
        }
        for (n, fits) in [(MAX_ENDED, true), (MAX_ENDED + 1, false)] {
            let mut account = Account::default();
            account.streams.rare_or_default().ended.extend((0..n as u64).map(ended));
            assert_eq!(Account::decode(&encoded(&account)).is_ok(), fits, "{n}");
        }
    }

    #[test]
    fn a_record_is_small() {
        let mut account = Account::default();
        account.streams.push(stream(b"video-0001\0living-room-tv", false));
        account.streams.push(stream(b"video-0002", false));
        assert_eq!(encoded(&account).len(), 82);
    }

    /// What one client can make of an account at the usual limit: three play, sixteen are paused and sixteen have ended, all
    /// of the longest names.
    #[test]
    fn a_record_of_the_longest_names_is_bounded() {
        let mut account = Account::default();
        (0..3 + MAX_PAUSED).for_each(|n| account.streams.push(stream(&[b'x'; MAX_NAME], n >= 3)));
        let rare = account.streams.rare_or_default();
        rare.ended.extend((0..MAX_ENDED as u64).map(ended));
        rare.message = Name::from(&[b'x'; 200][..]);
        let len = encoded(&account).len();
        assert!(len <= 10_000, "{len}");
    }
}
