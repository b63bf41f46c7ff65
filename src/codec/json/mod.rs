//! JSON (RFC 8259): reads the members of one object without allocating, and writes strings.
//!
//! There is no tree. The outermost object's members are handed over as they are met; a container inside it is
//! validated and passed by. Where the RFC leaves a choice, the strict one is taken: a byte order mark
//! (section 8.1), unpaired surrogates (section 8.2) and nesting deeper than [`MAX_DEPTH`] (section 9) are
//! refused. Repeated names (section 4) are all handed over; what they mean is the caller's to say.
//!
//! *Invariant:* nothing here allocates while it reads, and nothing here knows what a member means.

mod reader;
mod string;

use std::fmt;

use self::reader::Reader;
pub use self::string::{Text, write_inside, write_string};

/// Hands every member of the text's one object to `visit`, in order. The text is validated to its end; after
/// an error the visits made until then mean nothing.
///
/// # Errors
/// The first thing wrong with the text.
pub fn members<'a>(text: &'a [u8], visit: impl FnMut(Text<'a>, Value<'a>)) -> Result<(), Error> {
    Reader::new(text)?.only_object(visit)
}

/// Validates a text of any JSON value.
///
/// # Errors
/// The first thing wrong with the text; never [`Error::NotAnObject`].
pub fn any(text: &[u8]) -> Result<(), Error> {
    Reader::new(text)?.only_value()
}

/// How deep containers may nest, the outermost counted. Reading one takes a stack frame, so this bounds the
/// stack too. Most parsers stop between 100 and 1,000; no text this server understands nests at all.
pub const MAX_DEPTH: usize = 32;

/// Why a text was refused. Its `Display` completes "the body is …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The text is not JSON: at this byte offset is what cannot be there, or the end where more must follow.
    Syntax(usize),
    /// Containers nest deeper than [`MAX_DEPTH`].
    Depth,
    /// It is JSON, but not an object.
    NotAnObject,
    /// The text is not UTF-8.
    Utf8,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(at) => write!(f, "not JSON at byte {at}"),
            Self::Depth => write!(f, "nested deeper than {MAX_DEPTH} levels"),
            Self::NotAnObject => f.write_str("not a JSON object"),
            Self::Utf8 => f.write_str("not UTF-8"),
        }
    }
}

impl std::error::Error for Error {}

/// A member's value. What containers hold is valid, and not kept.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as it was written: its range and precision are the caller's to judge.
    Number(&'a str),
    /// A string.
    String(Text<'a>),
    /// An array.
    Array,
    /// An object.
    Object,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_members(text: &str, expected: Result<&str, Error>) {
        let mut seen = String::new();
        let visit = |name: Text<'_>, value: Value<'_>| {
            seen.extend(name.chars());
            match value {
                Value::String(text) => seen += &format!("={}", String::from_iter(text.chars())),
                Value::Number(number) => seen += &format!("={number}"),
                other => seen += &format!("={other:?}"),
            }
            seen.push(';');
        };
        assert_eq!(members(text.as_bytes(), visit).map(|()| seen.as_str()), expected, "{text}");
    }

    #[test]
    fn hands_over_the_members_of_the_outermost_object_in_order() {
        check_members("{}", Ok(""));
        check_members(r#"{"time":"1:00"}"#, Ok("time=1:00;"));
        check_members(r#" { "b" : -1.5e3 , "a" : null , "b" : true } "#, Ok("b=-1.5e3;a=Null;b=Bool(true);"));
        check_members(
            r#"{"o":{"x":1,"y":{"z":[]}},"l":[{"x":2}],"f":false}"#,
            Ok("o=Object;l=Array;f=Bool(false);"),
        );
        check_members(r#"{"t\u0069me":"1\u003a00","":"\ud83d\ude00\t"}"#, Ok("time=1:00;=\u{1f600}\t;"));
        for other in ["[]", "null", "1", "\"{}\"", " [{}] "] {
            check_members(other, Err(Error::NotAnObject));
        }
        check_members("[", Err(Error::Syntax(1)));
        check_members("", Err(Error::Syntax(0)));
        check_members("{}{}", Err(Error::Syntax(2)));
    }

    #[test]
    fn no_beginning_of_an_object_is_one_and_no_changed_byte_panics() {
        let text = r#"{"a":[1.5e-3,"\ud83d\ude00é",{"b":null}],"c\n":false,"d":"\"x"}"#.as_bytes();
        assert_eq!(members(text, |_, _| ()), Ok(()));
        for at in 0..text.len() {
            assert!(members(&text[..at], |_, _| ()).is_err(), "cut at {at}");
            for byte in 0..=u8::MAX {
                let mut changed = text.to_vec();
                changed[at] = byte;
                let _either = members(&changed, |name, _| assert!(name.is(&String::from_iter(name.chars()))));
            }
        }
    }

    #[test]
    fn errors_say_what_the_text_is() {
        assert_eq!(Error::Syntax(7).to_string(), "not JSON at byte 7");
        assert_eq!(Error::Depth.to_string(), "nested deeper than 32 levels");
        assert_eq!(Error::NotAnObject.to_string(), "not a JSON object");
        assert_eq!(Error::Utf8.to_string(), "not UTF-8");
    }
}
