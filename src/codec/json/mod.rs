//! JSON (RFC 8259): reads the members of one object without allocating, and writes strings.
//!
//! There is no tree. The outermost object's members are handed over as they are met; a container inside it is
//! validated and passed by. Where the RFC leaves a choice, the strict one is taken: a byte order mark
//! (section 8.1), unpaired surrogates (section 8.2) and nesting deeper than [`MAX_DEPTH`] (section 9) are
//! refused. Repeated names (section 4) are all handed over; what they mean is the caller's to say.
//!
//! *Invariant:* nothing here allocates while it reads, and nothing here knows what a member means. (Tested by
//! `requests_in_steady_state_allocate_nothing`.)

mod string;

use std::fmt;

pub use self::string::{Inside, Quoted, Text};

/// Hands every member of the text's one object to `visit`, in order. The text is validated to its end; after
/// an error the visits made until then mean nothing.
/// An error is the first thing wrong with the text.
pub fn members<'a>(text: &'a [u8], visit: impl FnMut(Text<'a>, Value<'a>)) -> Result<(), Error> {
    let mut reader = Reader { text: str::from_utf8(text).map_err(|_| Error::Utf8)?, at: 0 };
    reader.space();
    if reader.peek() != Some(b'{') {
        return any(text).and(Err(Error::NotAnObject));
    }
    reader.object(MAX_DEPTH - 1, visit)?;
    reader.end()
}

/// Hands every element of an array to `visit`, in order. `array` is what [`Value::Array`] holds.
pub fn elements<'a>(array: &'a str, visit: impl FnMut(Value<'a>)) {
    let read = Reader { text: array, at: 0 }.array(MAX_DEPTH, visit);
    debug_assert_eq!(read, Ok(()));
}

/// Validates a text of any JSON value.
/// An error is the first thing wrong with the text; never [`Error::NotAnObject`].
pub fn any(text: &[u8]) -> Result<(), Error> {
    let mut reader = Reader { text: str::from_utf8(text).map_err(|_| Error::Utf8)?, at: 0 };
    reader.value(MAX_DEPTH)?;
    reader.end()
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

/// A member's value. What containers hold is valid.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    /// A number as it was written: its range and precision are the caller's to judge.
    Number(&'a str),
    String(Text<'a>),
    /// An array as it was written: [`elements`] reads it.
    Array(&'a str),
    Object,
}

/// The grammar, sections 2 to 7: each method reads what its rule says and moves past it, or says where it could not.
struct Reader<'a> {
    text: &'a str,
    /// All before is valid. Always between two characters, as only bytes that were looked at are passed.
    at: usize,
}

impl<'a> Reader<'a> {
    /// `value = false / null / true / object / array / number / string`
    ///
    /// There is room for this many containers inside each other, the value itself counted.
    fn value(&mut self, room: usize) -> Result<Value<'a>, Error> {
        self.space();
        match self.peek() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => self.object(less(room)?, |_, _| ()).map(|()| Value::Object),
            Some(b'[') => {
                let start = self.at;
                self.array(less(room)?, |_| ())?;
                Ok(Value::Array(&self.text[start..self.at]))
            }
            Some(b'n') => self.word("null").map(|()| Value::Null),
            Some(b't') => self.word("true").map(|()| Value::Bool(true)),
            Some(b'f') => self.word("false").map(|()| Value::Bool(false)),
            _ => self.number().map(Value::Number),
        }
    }

    /// `object = "{" [ member *( "," member ) ] "}"`, `member = string ":" value`, `ws` around every mark
    fn object(&mut self, room: usize, mut visit: impl FnMut(Text<'a>, Value<'a>)) -> Result<(), Error> {
        self.mark(b'{')?;
        if self.eat_mark(b'}') {
            return Ok(());
        }
        loop {
            self.space();
            let name = self.string()?;
            self.mark(b':')?;
            let value = self.value(room)?;
            visit(name, value);
            if self.eat_mark(b'}') {
                return Ok(());
            }
            self.mark(b',')?;
        }
    }

    /// `array = "[" [ value *( "," value ) ] "]"`
    fn array(&mut self, room: usize, mut visit: impl FnMut(Value<'a>)) -> Result<(), Error> {
        self.mark(b'[')?;
        if self.eat_mark(b']') {
            return Ok(());
        }
        loop {
            visit(self.value(room)?);
            if self.eat_mark(b']') {
                return Ok(());
            }
            self.mark(b',')?;
        }
    }

    /// `string = quotation-mark *char quotation-mark`
    fn string(&mut self) -> Result<Text<'a>, Error> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += string::plain_run(self.rest());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.at += string::unescape(self.rest()).ok_or_else(|| self.wrong())?.1,
                _ => return Err(self.wrong()),
            }
            escaped = true;
        }
        let raw = &self.text[start..self.at];
        self.at += 1;
        Ok(Text { raw, escaped })
    }

    /// `number = [ "-" ] ( "0" / digit1-9 *DIGIT ) [ "." 1*DIGIT ] [ ( "e" / "E" ) [ "-" / "+" ] 1*DIGIT ]`
    fn number(&mut self) -> Result<&'a str, Error> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _signed = self.eat(b'-') || self.eat(b'+');
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    /// `1*DIGIT`
    fn digits(&mut self) -> Result<(), Error> {
        match self.rest().iter().take_while(|c| c.is_ascii_digit()).count() {
            0 => Err(self.wrong()),
            count => {
                self.at += count;
                Ok(())
            }
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Error> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.wrong());
        }
        self.at += word.len();
        Ok(())
    }

    /// Nothing but white space follows.
    fn end(&mut self) -> Result<(), Error> {
        self.space();
        if self.rest().is_empty() { Ok(()) } else { Err(self.wrong()) }
    }

    /// One of the six structural characters, which may have white space before them.
    fn mark(&mut self, c: u8) -> Result<(), Error> {
        self.space();
        self.expect(c)
    }

    fn eat_mark(&mut self, c: u8) -> bool {
        self.space();
        self.eat(c)
    }

    /// `ws = *( space / tab / line feed / carriage return )`
    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, c: u8) -> Result<(), Error> {
        if self.eat(c) { Ok(()) } else { Err(self.wrong()) }
    }

    fn eat(&mut self, c: u8) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    const fn wrong(&self) -> Error {
        Error::Syntax(self.at)
    }
}

/// The room left inside a container.
fn less(room: usize) -> Result<usize, Error> {
    room.checked_sub(1).ok_or(Error::Depth)
}

#[cfg(test)]
mod tests;
