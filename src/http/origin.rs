//! Whose pages may call from a browser: the origins of `--cors`, held against the `Origin` of a request (Fetch Standard
//! section 3.2, RFC 6454 section 6.2).
//!
//! *Invariant:* an origin that matches holds nothing but what an origin is written with, so it may be echoed.
//! (Tested by `lets_in_the_origins_that_are_listed_and_no_other`.)

use super::target::{address, split_port};
use crate::codec::decimal;

/// The origins that are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// `*`: every one.
    Any,
    /// One of these.
    Listed(Vec<Origin>),
}

/// One origin, or the subdomains of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This very text, `null` among others.
    Exact(String),
    /// As `https://*.example.com:8443`.
    Subdomains {
        /// What stands before the asterisk.
        before: String,
        /// What stands behind it.
        behind: String,
    },
}

impl Origins {
    /// Reads a list that has commas between its origins.
    /// An error is a sentence that says what to write instead. Browsers compare whole strings, so a capital letter or a final slash
    /// would never match: it is refused, so that it is not searched for later.
    pub fn parse(text: &str) -> Result<Self, String> {
        let origins = text.split(',').map(str::trim).map(Origin::parse).collect::<Option<Vec<_>>>();
        match origins {
            _ if text.split(',').any(|origin| origin.trim() == "*") => Ok(Self::Any),
            Some(origins) => Ok(Self::Listed(origins)),
            None => Err(format!(
                "write origins in lower case without path and final slash, as in https://app.example, \
                 https://*.example.com, app://tv or null, with commas between them, or * for all; not {text:?}"
            )),
        }
    }

    /// Whether pages of this origin may call.
    #[must_use]
    pub fn contain(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(origins) => origins.iter().any(|listed| listed.matches(origin)),
        }
    }
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self::Exact(text.into()));
        }
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.'));
        if !is_scheme {
            return None;
        }
        match authority.strip_prefix('*') {
            Some(behind) => {
                let domain = behind.strip_prefix('.')?;
                is_authority(domain)
                    .then(|| Self::Subdomains { before: format!("{scheme}://"), behind: behind.into() })
            }
            // `file://` is what pages in an app's own files have.
            None => {
                let empty = authority.is_empty() && !matches!(scheme, "http" | "https");
                (empty || is_authority(authority)).then(|| Self::Exact(text.into()))
            }
        }
    }

    fn matches(&self, origin: &[u8]) -> bool {
        match self {
            Self::Exact(text) => text.as_bytes() == origin,
            Self::Subdomains { before, behind } => {
                let labels = origin.strip_prefix(before.as_bytes());
                labels.and_then(|rest| rest.strip_suffix(behind.as_bytes())).is_some_and(is_name)
            }
        }
    }
}

/// A name, an IPv4 address or an IPv6 address in brackets, and perhaps a port; in lower case.
fn is_authority(text: &str) -> bool {
    let (host, port) = split_port(text.as_bytes());
    let is_v6 = host.starts_with(b"[") && address(host).is_some_and(|address| address.is_ipv6());
    (is_name(host) || is_v6 && !text.contains(|c: char| c.is_ascii_uppercase()))
        && port.is_none_or(|port| decimal::parse_port(port).is_some())
}

/// Labels with dots between them.
fn is_name(name: &[u8]) -> bool {
    let is_label = |label: &[u8]| {
        !label.is_empty() && label.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    name.split(|&byte| byte == b'.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_in_the_origins_that_are_listed_and_no_other() {
        #[track_caller]
        fn check(list: &str, inside: &[&str], outside: &[&str]) {
            let origins = Origins::parse(list).unwrap();
            for origin in inside {
                assert!(origins.contain(origin.as_bytes()), "{list}: {origin}");
            }
            for origin in outside {
                assert!(!origins.contain(origin.as_bytes()), "{list}: {origin}");
            }
        }
        check("*", &["https://a.example", "null", "app://tv"], &[]);
        check("https://a.example, *", &["null"], &[]);
        check(
            "https://app.example,http://localhost:3000, null",
            &["https://app.example", "http://localhost:3000", "null"],
            &[
                "",
                "http://app.example",
                "https://app.example:444",
                "https://App.example",
                "https://app.example.evil",
                "https://www.app.example",
                "http://localhost",
                "NULL",
            ],
        );
        check(
            "https://*.example.com",
            &["https://a.example.com", "https://a.b-c.example.com", "https://xn--a.example.com"],
            &[
                "https://example.com",
                "https://.example.com",
                "https://a..example.com",
                "https://evilexample.com",
                "http://a.example.com",
                "https://a.example.com:8443",
                "https://a.example.com.evil.example",
                "https://evil.example/.example.com",
                "https://evil.example?.example.com",
                "https://evil.example:80.example.com",
                "https://me@a.example.com",
                "https://a\r\nx.example.com",
                "https://\u{e9}.example.com",
            ],
        );
        check("https://*.example.com:8443", &["https://a.example.com:8443"], &["https://a.example.com"]);
        check(
            "file://,capacitor://localhost,chrome-extension://abc",
            &["file://", "capacitor://localhost"],
            &["file:"],
        );
    }

    #[test]
    fn reads_origins_as_browsers_send_them() {
        for text in [
            "https://app.example",
            "http://127.0.0.1:80",
            "https://[::1]:8443",
            "https://[::1]",
            "app://tv",
            "https://xn--bcher-kva.example",
        ] {
            assert_eq!(Origins::parse(text), Ok(Origins::Listed(vec![Origin::Exact(text.into())])));
        }
        for text in [
            "",
            ",",
            "null,",
            "**",
            "app.example",
            "//app.example",
            "https://",
            "https://app.example/",
            "https://app.example/x",
            "https://app.example?x",
            "https://App.example",
            "HTTPS://app.example",
            "1s://app.example",
            "https://app.example:",
            "https://app.example:65536",
            "https://app.example:+1",
            "https://:443",
            "https://::1",
            "https://me@app.example",
            "https://a.example https://b.example",
            "https://bücher.example",
            "https://a.example\r\nX: y",
            "https://*",
            "https://*.",
            "https://*example.com",
            "https://a.*.example.com",
            "*.example.com",
            "*://a.example",
        ] {
            let said = Origins::parse(text).unwrap_err();
            assert!(said.ends_with(&format!("not {text:?}")), "{said}");
        }
    }
}
