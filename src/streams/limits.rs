//! Limits and classes: how many streams may play at once, in all and of each kind.
//!
//! ```text
//! limits  = number *8( "," class "=" number )     ; `3`, or `3,mobile=1,live=2`; no class twice
//! classes = [ class *3( "," class ) ]             ; `mobile,live`; what one stream carries
//! class   = 1*16( %x61-7A / DIGIT / "-" )
//! number  = 1*4DIGIT                              ; 0 to 1000
//! ```
//!
//! Nearly nobody has limits of classes. So they stay the text that they were written as: it costs whoever has none an
//! empty word, and is read where a stream that carries a class wants to start.
//!
//! *Invariant:* the text that limits of classes are kept as has passed [`Limits::parse`]. (Not tested.)

use std::fmt;

use super::MAX_LIMIT;
use super::arena::{Arena, Word};
use crate::codec::decimal;

/// How many classes a stream may carry.
pub const MAX_CLASSES: usize = 4;
/// How long a class may be, in bytes.
pub const MAX_CLASS: usize = 16;
/// How many classes may have a limit.
pub const MAX_CLASS_LIMITS: usize = 8;
/// How long a list of classes may be, in bytes.
pub const MAX_LIST: usize = MAX_CLASSES * (MAX_CLASS + 1) - 1;

/// How many streams a user may play at once. `C` is where the limits of classes are kept: in a text, an arena or a box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits<C> {
    /// In all. 0 suspends the account.
    pub total: u32,
    /// Of each class, as written behind the total: `mobile=1,live=2`.
    pub classes: C,
}

impl<'a> Limits<&'a [u8]> {
    /// Reads limits; None for what the grammar does not take.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let end = text.iter().position(|&byte| byte == b',').unwrap_or(text.len());
        let (total, rest) = (number(&text[..end])?, &text[end..]);
        let limits = Self { total, classes: rest.get(1..).unwrap_or_default() };
        let parts = || rest.split(|&byte| byte == b',').skip(1);
        let are_good = parts().count() <= MAX_CLASS_LIMITS && parts().all(|part| pair(part).is_some());
        let comes_once = |class: &[u8]| limits.of_classes().filter(|(other, _)| *other == class).count() == 1;
        (are_good && limits.of_classes().all(|(class, _)| comes_once(class))).then_some(limits)
    }

    /// The classes that have a limit, and how many streams that carry each may play at once, in the order as written.
    pub fn of_classes(self) -> impl Iterator<Item = (&'a [u8], u32)> {
        self.classes.split(|&byte| byte == b',').filter_map(pair)
    }

    /// The same, with the limits of classes copied into `arena`.
    pub fn into_arena<A: Copy>(self, arena: &mut Arena<A>) -> Limits<Word<A>> {
        Limits { total: self.total, classes: arena.add(self.classes) }
    }

    pub fn into_owned(self) -> Limits<Box<[u8]>> {
        Limits { total: self.total, classes: self.classes.into() }
    }
}

impl Limits<Box<[u8]>> {
    pub fn borrow(&self) -> Limits<&[u8]> {
        Limits { total: self.total, classes: &self.classes }
    }
}

impl<A: Copy> Limits<Word<A>> {
    /// The same, borrowed from the arena that holds the limits of classes.
    pub fn of(self, arena: &Arena<A>) -> Limits<&[u8]> {
        Limits { total: self.total, classes: arena.get(self.classes) }
    }
}

impl fmt::Display for Limits<Box<[u8]>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comma = if self.classes.is_empty() { "" } else { "," };
        write!(f, "{}{comma}{}", self.total, String::from_utf8_lossy(&self.classes))
    }
}

impl<C: Default> From<u32> for Limits<C> {
    /// In all, and of no class.
    fn from(total: u32) -> Self {
        Self { total, classes: C::default() }
    }
}

/// The words of a list of classes.
pub fn classes(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').filter(|class| !class.is_empty())
}

/// Whether this is a list of classes: of good ones, none of them twice, and not too many; or of none.
pub fn is_list(list: &[u8]) -> bool {
    let words = || list.split(|&byte| byte == b',');
    let comes_once = |class| words().filter(|other| *other == class).count() == 1;
    list.is_empty()
        || (list.len() <= MAX_LIST
            && words().count() <= MAX_CLASSES
            && words().all(|class| is_class(class) && comes_once(class)))
}

/// Whether `word` can be a class.
pub fn is_class(word: &[u8]) -> bool {
    let is_in = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=MAX_CLASS).contains(&word.len()) && word.iter().all(is_in)
}

fn pair(text: &[u8]) -> Option<(&[u8], u32)> {
    let equals = text.iter().position(|&byte| byte == b'=')?;
    let (class, limit) = (&text[..equals], number(&text[equals + 1..])?);
    is_class(class).then_some((class, limit))
}

/// Of four digits at most, so that a text of limits is short however it is written.
fn number(digits: &[u8]) -> Option<u32> {
    Some(digits)
        .filter(|digits| digits.len() <= 4)
        .and_then(decimal::parse)
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| *n <= MAX_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_the_grammar_takes_and_nothing_else() {
        let eight = (0..8).map(|n| format!(",class-{n}={n}")).collect::<String>();
        for (text, classes) in [
            ("3", Some(0)),
            ("0", Some(0)),
            ("1000", Some(0)),
            ("3,mobile=1", Some(1)),
            ("3,mobile=1,live=0", Some(2)),
            ("3,0-abcdefghijklmn=1000", Some(1)),
            (&format!("3{eight}"), Some(8)),
            (&format!("3{eight},nine=9"), None),
            ("", None),
            ("1001", None),
            ("01000", None),
            ("+3", None),
            ("-1", None),
            ("3 ", None),
            ("3,", None),
            ("3,,live=1", None),
            ("3,live", None),
            ("3,live=", None),
            ("3,live=1001", None),
            ("3,live=-1", None),
            ("3,=1", None),
            ("3,Live=1", None),
            ("3,live=1=1", None),
            ("3, live=1", None),
            ("3,l\u{e9}ve=1", None),
            ("3,0-abcdefghijklmno=1", None),
            ("3,live=1,mobile=1,live=2", None),
            ("live=1", None),
            (",live=1", None),
        ] {
            let limits = Limits::parse(text.as_bytes());
            assert_eq!(limits.map(|limits| limits.of_classes().count()), classes, "{text}");
        }
    }

    #[test]
    fn a_list_is_of_at_most_four_different_classes() {
        let longest = ["a", "b", "c", "d"].map(|letter| letter.repeat(MAX_CLASS)).join(",");
        assert_eq!(longest.len(), MAX_LIST);
        for (list, good) in [
            ("", true),
            ("mobile", true),
            ("mobile,live,4k,profile-ann", true),
            (&longest, true),
            ("a,b,c,d,e", false),
            (&"a".repeat(MAX_CLASS + 1), false),
            ("a,", false),
            (",a", false),
            ("a,,b", false),
            ("a,b,a", false),
            ("A", false),
            ("a b", false),
            ("a=1", false),
        ] {
            assert_eq!(is_list(list.as_bytes()), good, "{list}");
        }
    }

    #[test]
    fn they_say_the_same_wherever_they_are_kept() {
        let limits = Limits::parse(b"3,mobile=1,live=20").unwrap();
        let expected = [(&b"mobile"[..], 1), (b"live", 20)];
        let mut arena = Arena::<()>::default();
        let (kept, owned) = (limits.into_arena(&mut arena), limits.into_owned());
        for limits in [limits, kept.of(&arena), owned.borrow()] {
            assert_eq!(limits.total, 3);
            assert!(limits.of_classes().eq(expected));
        }
        assert_eq!(owned.to_string(), "3,mobile=1,live=20");
    }
}
