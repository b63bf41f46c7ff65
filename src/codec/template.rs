//! URI templates of the simplest kind (RFC 6570 level 1), with three names: `https://cdn.example.com/{id}/master.m3u8`.
//!
//! What is filled in must not name another host or path than the template does. So no placeholder stands before the path.
//! And in the path a value of `.` or `..`, or one that is absent, is written as `-`: browsers take `%2E%2E` for `..` too
//! (URL Standard, "double-dot URL path segment"), and nothing at all in `/{device}/{id}` would make `//V`, which names the
//! host V. In the query every value stands as it is, and an absent one is empty.
//!
//! A [`Template`] holds visible ASCII without `"` and `\`, and so does what is written from it: it may stand in a JSON
//! string and in a header field.

use super::urlencoded;

/// A template, taken apart once so that filling it in is copying.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Text that is copied, never empty.
    Text(String),
    /// The value of a name, percent-encoded.
    Value { name: Placeholder, in_path: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    Id,
    Device,
    Pass,
}

impl Placeholder {
    fn parse(name: &str) -> Result<Self, String> {
        match name {
            "id" => Ok(Self::Id),
            "device" => Ok(Self::Device),
            "pass" => Ok(Self::Pass),
            _ => Err(format!(
                "write {{id}}, {{device}} or {{pass}}, not {{{name}}}: there is no other placeholder"
            )),
        }
    }
}

impl Template {
    /// Takes a template apart.
    /// An error is a sentence that says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty()
            || !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
        {
            return Err(format!("write a URL of visible ASCII without quotes and backslashes, not {text:?}"));
        }
        let path = path(text).ok_or_else(|| {
            format!("write a path or a URL whose host has no placeholder, as in https://cdn.example/{{id}}, not {text:?}")
        })?;
        let query = path + text[path..].find(['?', '#']).unwrap_or(text.len() - path);
        let mut parts = Vec::new();
        let mut at = 0;
        for piece in text.split('{') {
            let mut plain = piece;
            if at > 0 {
                let (name, behind) = piece.split_once('}').ok_or_else(|| lone_brace(text))?;
                parts.push(Part::Value { name: Placeholder::parse(name)?, in_path: at <= query });
                plain = behind;
            }
            if plain.contains('}') {
                return Err(lone_brace(text));
            }
            if !plain.is_empty() {
                parts.push(Part::Text(plain.into()));
            }
            at += piece.len() + 1;
        }
        Ok(Self(parts))
    }

    /// Whether it names that. Without `{id}` every player goes to one place.
    #[must_use]
    pub fn names(&self, wanted: Placeholder) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Value { name, .. } if *name == wanted))
    }

    /// Appends the template, filled in. `pass` is empty where there is none.
    pub fn write(&self, id: &[u8], device: Option<&[u8]>, pass: &[u8], out: &mut Vec<u8>) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Value { name, in_path } => {
                    let value = match name {
                        Placeholder::Id => id,
                        Placeholder::Device => device.unwrap_or_default(),
                        Placeholder::Pass => pass,
                    };
                    match value {
                        b"" | b"." | b".." if *in_path => out.push(b'-'),
                        value => urlencoded::encode(value, out),
                    }
                }
            }
        }
    }
}

/// Where the path begins, if no placeholder stands before it.
fn path(text: &str) -> Option<usize> {
    let fixed = &text[..text.find('{').unwrap_or(text.len())];
    let authority = match fixed.find("//") {
        Some(0) => 2,
        Some(at) if fixed[..at].ends_with(':') => at + 2,
        _ if text.starts_with(['/', '?']) => return Some(0),
        _ => return None,
    };
    match fixed[authority..].find(['/', '?', '#']) {
        Some(at) => Some(authority + at),
        None if fixed.len() == text.len() => Some(text.len()),
        None => None,
    }
}

fn lone_brace(text: &str) -> String {
    format!(
        "a brace in {text:?} lacks its partner; write {{id}} or {{device}}, and %7B or %7D for a brace itself"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_what_is_percent_encoded() {
        #[track_caller]
        fn check(template: &str, id: &str, device: &str, expected: &str) {
            let mut out = Vec::new();
            let device = (!device.is_empty()).then_some(device.as_bytes());
            Template::parse(template).unwrap().write(id.as_bytes(), device, b"", &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{template}");
        }
        check("/?id={id}", "V", "", "/?id=V");
        check("/?id={id}", "V", "tv", "/?id=V");
        check("https://cdn.example/{id}/m.m3u8", "a b/\"&", "", "https://cdn.example/a%20b%2F%22%26/m.m3u8");
        check("/{device}/{id}{id}", "é", "t v", "/t%20v/%C3%A9%C3%A9");
        check("https://gate.example/play", "V", "", "https://gate.example/play");
        check("https://gate.example", "V", "", "https://gate.example");
        check("https://gate.example?id={id}&d={device}&x", "V", "", "https://gate.example?id=V&d=&x");
        check("//cdn.example/{id}", "V", "", "//cdn.example/V");
    }

    #[test]
    fn what_is_filled_in_names_no_other_host_or_path() {
        for (template, id, device, expected) in [
            ("/{device}/{id}", "V", None, "/-/V"),
            ("/a/{id}", "..", None, "/a/-"),
            ("/a/{id}/b", ".", None, "/a/-/b"),
            ("/a/{id}{device}", ".", Some("."), "/a/--"),
            ("/a/.{id}", ".", None, "/a/.-"),
            ("/a/{id}", "...", None, "/a/..."),
            ("/a/{id}", "../b", None, "/a/..%2Fb"),
            ("/a/{id}", "%2e%2e", None, "/a/%252e%252e"),
            ("/{id}", "/evil.example", None, "/%2Fevil.example"),
            ("/?id={id}&d={device}", "..", Some("."), "/?id=..&d=."),
            ("https://a.example/{id}?d={device}#{id}", "..", None, "https://a.example/-?d=#.."),
        ] {
            let mut out = Vec::new();
            Template::parse(template).unwrap().write(id.as_bytes(), device.map(str::as_bytes), b"", &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{template}");
        }
        for template in [
            "{id}",
            "{id}/x",
            "https://{id}",
            "https://{id}/",
            "https://a.{device}/",
            "//{id}",
            "https:{id}",
            "x/{id}",
            "x",
        ] {
            let expected =
                "write a path or a URL whose host has no placeholder, as in https://cdn.example/{id}, not ";
            assert_eq!(Template::parse(template), Err(format!("{expected}{template:?}")));
        }
    }

    #[test]
    fn an_absent_pass_is_a_dash_in_the_path_and_empty_in_the_query() {
        for (pass, expected) in
            [(&b"p.q-r_s"[..], "/pass/p.q-r_s/a%22b?pass=p.q-r_s"), (b"", "/pass/-/a%22b?pass=")]
        {
            let mut out = Vec::new();
            Template::parse("/pass/{pass}/{id}?pass={pass}").unwrap().write(b"a\"b", None, pass, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn knows_whether_it_names_the_video() {
        assert!(Template::parse("/?id={id}").unwrap().names(Placeholder::Id));
        assert!(!Template::parse("/play?d={device}").unwrap().names(Placeholder::Id));
        assert!(Template::parse("/{id}?pass={pass}").unwrap().names(Placeholder::Pass));
        assert!(!Template::parse("/{id}").unwrap().names(Placeholder::Pass));
    }

    #[test]
    fn refuses_what_cannot_be_filled_in() {
        #[track_caller]
        fn check(template: &str, expected: &str) {
            assert_eq!(Template::parse(template), Err(expected.into()));
        }
        check("/{x}", "write {id}, {device} or {pass}, not {x}: there is no other placeholder");
        check("/{}", "write {id}, {device} or {pass}, not {}: there is no other placeholder");
        check("/{ID}", "write {id}, {device} or {pass}, not {ID}: there is no other placeholder");
        for template in ["/{", "/}", "/{id", "/id}", "/{id}}", "/{{id}", "/{{id}}", "/}{", "/{id}/}{id}"] {
            check(template, &lone_brace(template));
        }
        assert_eq!(
            lone_brace("/{id"),
            r#"a brace in "/{id" lacks its partner; write {id} or {device}, and %7B or %7D for a brace itself"#
        );
        for template in ["", "/ {id}", "/\t", "/\n", "/é", "/\"", "/\\", "/\u{7f}"] {
            let expected = "write a URL of visible ASCII without quotes and backslashes, not ";
            check(template, &format!("{expected}{template:?}"));
        }
    }
}
