//! The query of `/`: which stream is meant, and which one may give way.
//!
//! *Invariant:* a key that leaves here is UTF-8 of the contract's length without control characters, so that NUL can
//! stand between id and device.

use crate::codec::text::{self, TextError};
use crate::codec::urlencoded;
use crate::streams::arena::{Arena, Word};
use crate::streams::batch::Asked;

/// How long a video id may be, in bytes after percent-decoding.
pub const MAX_ID: usize = 256;
/// How long a device may be.
pub const MAX_DEVICE: usize = 64;

/// What the query says, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// `id`, or `id NUL device`; None when there is neither.
    pub key: Option<Word<Asked>>,
    /// `replace` and `replaceDevice`; an empty word when `replace` has no value.
    pub replace: Option<Word<Asked>>,
}

/// What is wrong with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// The parameter comes more than once.
    Repeated(&'static str),
    /// The parameter is there, but empty.
    Empty(&'static str),
    /// The parameter has more than so many bytes.
    TooLong(&'static str, usize),
    /// The parameter is not UTF-8 when decoded.
    Utf8(&'static str),
    /// The parameter holds a control character.
    Control(&'static str),
    /// The first parameter makes no sense without the second.
    Alone(&'static str, &'static str),
    /// A `%` without its two digits.
    Percent,
}

const NAMES: [&str; 4] = ["id", "device", "replace", "replaceDevice"];

impl Query {
    /// Decodes `query`, the part behind the `?`, into `arena`. Unknown parameters are ignored.
    ///
    /// # Errors
    ///
    /// The first [`QueryError`], in the order of the parameters of the contract.
    pub fn decode(query: &[u8], arena: &mut Arena<Asked>) -> Result<Self, QueryError> {
        let mut raw: [Option<&[u8]>; 4] = [None; 4];
        for (name, value) in urlencoded::pairs(query) {
            let Some(i) = NAMES.iter().position(|known| urlencoded::is(name, known.as_bytes())) else {
                continue;
            };
            if raw[i].replace(value).is_some() {
                return Err(QueryError::Repeated(NAMES[i]));
            }
        }
        let [id, device, replace, replace_device] = raw;
        let key = match (id, device) {
            (Some(id), device) => Some(key(id, device, ["id", "device"], arena)?),
            (None, Some(_)) => return Err(QueryError::Alone("device", "id")),
            (None, None) => None,
        };
        let replace = match (replace, replace_device) {
            (Some(b""), None) => Some(Word::default()),
            (Some(id), device) => Some(self::key(id, device, ["replace", "replaceDevice"], arena)?),
            (None, Some(_)) => return Err(QueryError::Alone("replaceDevice", "replace")),
            (None, None) => None,
        };
        Ok(Self { key, replace })
    }
}

fn key(
    id: &[u8],
    device: Option<&[u8]>,
    names: [&'static str; 2],
    arena: &mut Arena<Asked>,
) -> Result<Word<Asked>, QueryError> {
    let mark = arena.mark();
    text(id, names[0], MAX_ID, arena)?;
    if let Some(device) = device {
        arena.bytes().push(0);
        text(device, names[1], MAX_DEVICE, arena)?;
    }
    Ok(arena.since(mark))
}

/// Decodes one value to the end of `arena`, and holds it to the contract.
fn text(raw: &[u8], name: &'static str, most: usize, arena: &mut Arena<Asked>) -> Result<(), QueryError> {
    let mark = arena.mark();
    urlencoded::decode(raw, arena.bytes()).map_err(|_| QueryError::Percent)?;
    let decoded = &arena.bytes()[mark..];
    if decoded.is_empty() {
        return Err(QueryError::Empty(name));
    }
    if decoded.len() > most {
        return Err(QueryError::TooLong(name, most));
    }
    text::check(decoded).map_err(|error| match error {
        TextError::Utf8 => QueryError::Utf8(name),
        TextError::Control => QueryError::Control(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Result<(Option<&str>, Option<&str>), QueryError>) {
        let mut arena = Arena::default();
        let decoded = Query::decode(query.as_bytes(), &mut arena);
        let show =
            |word: Word<Asked>| String::from_utf8(arena.get(word).to_vec()).unwrap().replace('\0', "/");
        let shown = decoded.map(|query| (query.key.map(show), query.replace.map(show)));
        let expected = expected.map(|(key, replace)| (key.map(String::from), replace.map(String::from)));
        assert_eq!(shown, expected, "{query}");
    }

    #[test]
    fn finds_the_four_parameters_and_ignores_the_rest() {
        for (query, key, replace) in [
            ("", None, None),
            ("id=V", Some("V"), None),
            ("x=1&id=V&y&=&", Some("V"), None),
            ("ID=W&id=V&identity=X", Some("V"), None),
            ("%69%64=V", Some("V"), None),
            ("id=a+b%20c%2Bd", Some("a b c+d"), None),
            ("id=a=b", Some("a=b"), None),
            ("id=%E2%82%AC", Some("€"), None),
            ("device=tv&id=V", Some("V/tv"), None),
            ("id=V&replace=", Some("V"), Some("")),
            ("id=V&replace", Some("V"), Some("")),
            ("id=V&replace=W", Some("V"), Some("W")),
            ("replaceDevice=tv&replace=W&id=V&device=pad", Some("V/pad"), Some("W/tv")),
        ] {
            check(query, Ok((key, replace)));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (query, fault) in [
            ("id=V&id=V", QueryError::Repeated("id")),
            ("id=V&%69d=W", QueryError::Repeated("id")),
            ("id=V&device=a&device=a", QueryError::Repeated("device")),
            ("id=V&replace=a&replace=b", QueryError::Repeated("replace")),
            ("id=", QueryError::Empty("id")),
            ("id", QueryError::Empty("id")),
            ("id=V&device=", QueryError::Empty("device")),
            ("device=tv", QueryError::Alone("device", "id")),
            ("id=V&replaceDevice=tv", QueryError::Alone("replaceDevice", "replace")),
            ("id=V&replace=&replaceDevice=tv", QueryError::Empty("replace")),
            ("id=%FF", QueryError::Utf8("id")),
            ("id=%C3", QueryError::Utf8("id")),
            ("id=%00", QueryError::Control("id")),
            ("id=a%0D%0Ab", QueryError::Control("id")),
            ("id=%7F", QueryError::Control("id")),
            ("id=%C2%85", QueryError::Control("id")),
            ("id=V&device=%09", QueryError::Control("device")),
            ("id=%4", QueryError::Percent),
        ] {
            check(query, Err(fault));
        }
    }

    #[test]
    fn counts_bytes_after_decoding() {
        let euros = |n: usize| "%E2%82%AC".repeat(n);
        let check = |query: String, fault: Option<QueryError>| {
            assert_eq!(Query::decode(query.as_bytes(), &mut Arena::default()).err(), fault, "{query}");
        };
        check(format!("id={}", "x".repeat(256)), None);
        check(format!("id={}", "x".repeat(257)), Some(QueryError::TooLong("id", 256)));
        check(format!("id={}x", euros(85)), None);
        check(format!("id={}xx", euros(85)), Some(QueryError::TooLong("id", 256)));
        check(format!("id=V&device={}", "x".repeat(64)), None);
        check(format!("id=V&device={}", "x".repeat(65)), Some(QueryError::TooLong("device", 64)));
    }
}
