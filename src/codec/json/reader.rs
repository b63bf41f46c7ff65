//! The grammar of RFC 8259, sections 2 to 7: one method for each rule.

use super::string::{self, Text};
use super::{Error, MAX_DEPTH, Value};

/// Each method reads what its grammar rule says and moves past it, or says where it could not.
pub(super) struct Reader<'a> {
    text: &'a str,
    /// All before is valid. Always between two characters, as only bytes that were looked at are passed.
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a [u8]) -> Result<Self, Error> {
        let text = str::from_utf8(text).map_err(|_| Error::Utf8)?;
        Ok(Self { text, at: 0 })
    }

    /// `JSON-text = ws value ws`
    pub(super) fn only_value(mut self) -> Result<(), Error> {
        self.value(MAX_DEPTH)?;
        self.end()
    }

    /// The same, where the value is an object. Another value is [`Error::NotAnObject`] if it is one at all.
    pub(super) fn only_object(mut self, visit: impl FnMut(Text<'a>, Value<'a>)) -> Result<(), Error> {
        self.space();
        if self.peek() != Some(b'{') {
            return self.only_value().and(Err(Error::NotAnObject));
        }
        self.object(MAX_DEPTH - 1, visit)?;
        self.end()
    }

    /// `value = false / null / true / object / array / number / string`
    ///
    /// There is room for this many containers inside each other, the value itself counted.
    fn value(&mut self, room: usize) -> Result<Value<'a>, Error> {
        self.space();
        match self.peek() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => self.object(less(room)?, |_, _| ()).map(|()| Value::Object),
            Some(b'[') => self.array(less(room)?).map(|()| Value::Array),
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
    fn array(&mut self, room: usize) -> Result<(), Error> {
        self.mark(b'[')?;
        if self.eat_mark(b']') {
            return Ok(());
        }
        loop {
            self.value(room)?;
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
mod tests {
    use super::*;
    use crate::codec::json::{any, members};

    #[track_caller]
    fn check(text: &[u8], expected: Result<(), Error>) {
        assert_eq!(any(text), expected, "{}", text.escape_ascii());
        let object = [b" {\"a\":", text, b"}\n"].concat();
        assert_eq!(members(&object, |_, _| ()).is_ok(), expected.is_ok(), "{}", object.escape_ascii());
    }

    #[track_caller]
    fn check_good(text: &str) {
        check(text.as_bytes(), Ok(()));
    }

    /// `^` stands before what cannot be there.
    #[track_caller]
    fn check_bad(marked: &str) {
        let at = marked.find('^').expect("a mark");
        check(marked.replacen('^', "", 1).as_bytes(), Err(Error::Syntax(at)));
    }

    /// Many rows without a blank in them.
    fn each(rows: &str, check: fn(&str)) {
        rows.split_whitespace().for_each(check);
    }

    #[test]
    fn takes_every_kind_of_value() {
        each(
            r#"null true false [] {} [[]] [{}] {"":[]} [1] {"a":1,"a":2} [null,true,false,0,"",[],{}]"#,
            check_good,
        );
        check_good(" \t\r\n null \t\r\n ");
        check_good("[ ]");
        check_good("{ }");
        check_good("[1 , 2]");
        check_good(r#"{ "a" : { "b" : [ ] } , "c" : null }"#);
    }

    #[test]
    fn numbers_follow_the_grammar() {
        each(
            "0 -0 1 -1 10 123 0.0 0.5 -0.25 1.5 1e1 1E1 1e+1 1e-1 0e0 0e+00 1.5e10 -1.5E-10 1e400",
            check_good,
        );
        each("123456789012345678901234567890 0.0000000000000000000000000000000001", check_good);
        each(
            "-^ ^+1 -^-1 0^0 0^1 -0^1 1.^ ^.5 -^.5 1.^e1 1e^ 1e+^ 1e+^-1 1e1^.5 1.5^.5 0^x1 1^_0 1^a 1^/2",
            check_bad,
        );
        each("^Infinity -^Infinity ^NaN -^NaN 1^\0 ^\u{ff11}", check_bad);
        check_bad("-^ 1");
        check_bad("1 ^000");
    }

    #[test]
    fn structure_follows_the_grammar() {
        each(
            "^ ^nul null^l ^Null ^True ^TRUE ^truth ^fals ^undefined ^* ^<a> ^\0 1^\0 1^, 1^//x ^//x ^/**/1",
            check_bad,
        );
        each(
            "[^ ^] {^ ^} [1^ [1,^ [1,^] [^,1] [^,] [1,^,2] [1]^] [1^} {^] []^{} [\"a\"^:1] [1]^/**/ [^a] [^'a']",
            check_bad,
        );
        each(
            r#"{"a"^} {"a":^} {"a":1^ {"a":1,^} {"a":1,^,"b":2} {^,"a":1} {"a":^:1} {"a"^,1} {"a":1}^} {"a":1}^#"#,
            check_bad,
        );
        each("{^a:1} {^'a':1} {^1:1} {^null:1} {^[]:1} ^\u{feff}1 [^\u{2060}]", check_bad);
        check_bad(" ^");
        check_bad("[1 ^2]");
        check_bad("null ^null");
        check_bad(r#"{"a" ^1}"#);
        check_bad(r#"{"a":1 ^"b":2}"#);
        check_bad("^\u{c}1");
        check_bad("1^\u{b}");
        check_bad("^\u{a0}1");
        check_bad("1^\u{2028}");
    }

    #[test]
    fn strings_follow_the_grammar() {
        each(
            r#""" "a" "\"\\\/\b\f\n\r\t" "\u0000\u00e9\uFFFF" "\uD83D\uDe00" "\uD800\uDC00\uDBFF\uDFFF" "\\u12""#,
            check_good,
        );
        check_good("\"\u{7f}é世\u{1f600}\u{2028}\u{ffff}\"");
        check_good(r#""/ // /* ' # &""#);
        each(r#""^ "a^ ^a" ^'a' "a"^b" "^\ "\"^ "^\a" "^\'" "^\x41" "^\0" "^\U0041" "^\é""#, check_bad);
        each(
            r#""^\u" "^\u1" "^\u123" "^\u123g" "^\u+123" "^\u{41}" "^\uD800\u" "\uD83D\uDE00^\uDE00""#,
            check_bad,
        );
        each(
            r#""^\uD800" "^\uD800a" "^\uD800\n" "^\uD800\u0041" "^\uD800\uD800" "^\uD800\uDC0" "^\uDC00""#,
            check_bad,
        );
        for control in '\0'..' ' {
            check_bad(&format!("\"a^{control}\""));
            check_bad(&format!("\"^\\{control}\""));
        }
        check_bad(r#""^\u 041""#);
    }

    #[test]
    fn bytes_must_be_utf_8() {
        check(b"\xff", Err(Error::Utf8));
        check(b"\"\x80\"", Err(Error::Utf8));
        check(b"\"\xc3\"", Err(Error::Utf8));
        check(b"\"\xc0\xaf\"", Err(Error::Utf8));
        check(b"\"\xed\xa0\x80\"", Err(Error::Utf8));
        check(b"\"\xf4\x90\x80\x80\"", Err(Error::Utf8));
        check(b"\xff\xfe1\0", Err(Error::Utf8));
    }

    #[test]
    fn nests_32_deep_and_no_deeper() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]"), (" [ 1 , ", " ] ")] {
            let nested = |levels: usize| open.repeat(levels) + "1" + &close.repeat(levels);
            let levels = if open.contains("[{") { MAX_DEPTH / 2 } else { MAX_DEPTH };
            assert_eq!(any(nested(levels).as_bytes()), Ok(()), "{open}");
            assert_eq!(any(nested(levels + 1).as_bytes()), Err(Error::Depth), "{open}");
            assert_eq!(any(open.repeat(100_000).as_bytes()), Err(Error::Depth), "{open}");
        }
        let object =
            |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert_eq!(members(object(MAX_DEPTH).as_bytes(), |_, _| ()), Ok(()));
        assert_eq!(members(object(MAX_DEPTH + 1).as_bytes(), |_, _| ()), Err(Error::Depth));
    }
}
