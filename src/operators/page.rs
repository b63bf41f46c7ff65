//! The page of the admin listener, and the policy that a browser holds it to.
//!
//! *Invariant:* the page asks this listener alone: its policy allows no other source, and nothing inline but its
//! own script and style, by their hashes. (Tested by `has_one_script_and_one_style_and_nothing_inline`.)

use std::sync::LazyLock;

use crate::codec::{base64, sha256};
use crate::http::encode::Response;

const TEXT: &str = include_str!("page.html");

/// The page's `Content-Security-Policy`: its one script and its one style by their hashes, and nothing else.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |tag: &str| {
        let mut text = String::from("'sha256-").into_bytes();
        base64::encode(&sha256::digest(element(TEXT, tag).as_bytes()), &mut text);
        String::from_utf8_lossy(&text).into_owned() + "'"
    };
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    )
});

pub fn write(mut response: Response) {
    response.field("Content-Security-Policy", &**POLICY);
    response.field("X-Content-Type-Options", "nosniff");
    response.field("Referrer-Policy", "no-referrer");
    response.body("text/html; charset=utf-8", |out| out.extend_from_slice(TEXT.as_bytes()));
}

/// What stands between the first `<tag>` and its `</tag>`.
fn element<'a>(page: &'a str, tag: &str) -> &'a str {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let inside = page.split_once(&open).and_then(|(_, rest)| rest.split_once(&close));
    inside.map_or("", |(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_one_script_and_one_style_and_nothing_inline() {
        for tag in ["script", "style"] {
            assert_eq!(TEXT.matches(&format!("<{tag}")).count(), 1);
            assert!(element(TEXT, tag).len() > 100);
        }
        for inline in [" style=", " onclick=", " onload=", "javascript:", "http://", "https://"] {
            let found = TEXT
                .replace("http://www.w3.org/2000/svg", "")
                .replace("'http://${host}/", "")
                .contains(inline);
            assert!(!found, "{inline}");
        }
    }
}
