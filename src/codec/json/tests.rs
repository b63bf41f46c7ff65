//! Texts that are read, and texts that are refused.

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
        Ok(r#"o=Object;l=Array("[{\"x\":2}]");f=Bool(false);"#),
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
fn hands_over_the_elements_of_an_array_in_order() {
    for (array, expected) in
        [("[]", ""), (r#"[ "a" , ["b"] , {"c":1}, 1e3 ]"#, r#"a;Array("[\"b\"]");Object;Number("1e3");"#)]
    {
        let mut seen = String::new();
        elements(array, |value| {
            match value {
                Value::String(text) => seen.extend(text.chars()),
                other => seen += &format!("{other:?}"),
            }
            seen.push(';');
        });
        assert_eq!(seen, expected);
    }
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
    each("0 -0 1 -1 10 123 0.0 0.5 -0.25 1.5 1e1 1E1 1e+1 1e-1 0e0 0e+00 1.5e10 -1.5E-10 1e400", check_good);
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
    let object = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    assert_eq!(members(object(MAX_DEPTH).as_bytes(), |_, _| ()), Ok(()));
    assert_eq!(members(object(MAX_DEPTH + 1).as_bytes(), |_, _| ()), Err(Error::Depth));
}
