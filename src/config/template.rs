//! The template that tells a player where to go next: `https://cdn.example.com/{id}/master.m3u8`.
//!
//! *Invariant:* a [`Template`] holds visible ASCII without `"` and `\` only, so that its text may stand in a JSON
//! string and in a header field as it is.

/// A template, taken apart once so that filling it in is copying.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text that is copied, never empty.
    Text(String),
    /// `{id}`: the video id goes here, percent-encoded.
    Id,
    /// `{device}`: the device goes here, percent-encoded; nothing when there is none.
    Device,
}

impl Template {
    /// Takes a template apart.
    ///
    /// # Errors
    ///
    /// A sentence that says what to write instead, when it is empty, holds characters that no URI holds, a brace
    /// without its partner, or a placeholder that is not `{id}` or `{device}`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty()
            || !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
        {
            return Err(format!("write a URL of visible ASCII without quotes and backslashes, not {text:?}"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (part, after) = first_part(rest).ok_or_else(|| lone_brace(text))??;
            parts.push(part);
            rest = after;
        }
        Ok(Self(parts))
    }

    /// The pieces in order.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }
}

/// The first piece of a text that is not empty, and what follows it. `None` when a brace lacks its partner.
fn first_part(text: &str) -> Option<Result<(Part, &str), String>> {
    let Some(inside) = text.strip_prefix('{') else {
        let (plain, rest) = text.split_at(text.find('{').unwrap_or(text.len()));
        return (!plain.contains('}')).then(|| Ok((Part::Text(plain.into()), rest)));
    };
    let (name, rest) = inside.split_once('}').filter(|(name, _)| !name.contains('{'))?;
    Some(match name {
        "id" => Ok((Part::Id, rest)),
        "device" => Ok((Part::Device, rest)),
        _ => Err(format!("write {{id}} or {{device}}, not {{{name}}}: there is no other placeholder")),
    })
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
    fn takes_templates_apart() {
        let text = |text: &str| Part::Text(text.into());
        #[track_caller]
        fn check(template: &str, parts: &[Part]) {
            assert_eq!(Template::parse(template).unwrap().parts(), parts);
        }
        check("/?id={id}", &[text("/?id="), Part::Id]);
        check("{id}", &[Part::Id]);
        check("{id}{device}", &[Part::Id, Part::Device]);
        check("{id}{id}", &[Part::Id, Part::Id]);
        check("https://gate.example/play", &[text("https://gate.example/play")]);
        check(
            "https://cdn.example/{id}/m.m3u8?d={device}&x",
            &[text("https://cdn.example/"), Part::Id, text("/m.m3u8?d="), Part::Device, text("&x")],
        );
    }

    #[test]
    fn refuses_what_cannot_be_filled_in() {
        #[track_caller]
        fn check(template: &str, expected: &str) {
            assert_eq!(Template::parse(template), Err(expected.into()));
        }
        check("/{x}", "write {id} or {device}, not {x}: there is no other placeholder");
        check("/{}", "write {id} or {device}, not {}: there is no other placeholder");
        check("/{ID}", "write {id} or {device}, not {ID}: there is no other placeholder");
        for template in ["{", "}", "/{id", "/id}", "/{id}}", "/{{id}", "/{{id}}", "}{", "{id}/}{id}"] {
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
