//! The syntax of each kind of value that an option takes. Every error is a sentence that says what to write instead.

use core::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

#[cfg(feature = "redis")]
use super::RedisUrl;
use super::StoreKind;
use crate::codec::{decimal, text};
use crate::http::has_port;
use crate::streams::limits::{self, Limits};
use crate::time::Millis;

/// An address and a port. `:8000` means every interface; names but `localhost` are not looked up.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let spelt_out = match text.rsplit_once(':') {
        Some(("", port)) => format!("[::]:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        _ => text.into(),
    };
    spelt_out.parse().map_err(|_| {
        if decimal::parse(text.as_bytes()).is_some() {
            format!("{text:?} lacks an address; write :{text} for all interfaces, 127.0.0.1:{text} for this machine")
        } else {
            format!("write an IP address and a port, as in 127.0.0.1:8000, [::1]:8000 or :8000, not {text:?}")
        }
    })
}

pub(super) fn address_or_off(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        Ok(None)
    } else {
        address(text).map(Some).map_err(|said| format!("{said}; or write off"))
    }
}

/// Where to connect for a server that listens on `listen`: what stands for every interface is reached on loopback, and by
/// IPv4, which every system has.
pub(super) fn reach(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// A whole number within bounds, in digits alone.
pub(super) fn number(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let number = decimal::parse(text.as_bytes()).and_then(|n| usize::try_from(n).ok());
    number
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| format!("write a whole number from {least} to {most}, not {text:?}"))
}

/// How many streams may be played at once.
pub(super) fn limits(text: &str) -> Result<Limits<Box<[u8]>>, String> {
    let limits = Limits::parse(text.as_bytes()).map(Limits::into_owned);
    limits.ok_or_else(|| format!("write 0 to 1000, or that for classes too as in 3,live=1, not {text:?}"))
}

/// A length of time within bounds.
pub(super) fn time(text: &str, least: Millis, most: Millis) -> Result<Millis, String> {
    let time = Millis::parse(text)?;
    let within = (least..=most).contains(&time);
    within.then_some(time).ok_or_else(|| format!("write a time from {least} to {most}, not {text:?}"))
}

/// One of a few words.
pub(super) fn choice<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let (last, others) = words.split_last().unwrap_or((&"", &[]));
        format!("write {} or {last}, not {text:?}", others.join(", "))
    })
}

/// What a switch's variable says.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" | "" => Ok(false),
        _ => Err(format!("write 1, true, yes or on, or else 0, false, no or off, not {text:?}")),
    }
}

/// The name of a file, which is not looked at yet.
pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("write the path of a file, not \"\"".into()) } else { Ok(text.into()) }
}

pub(super) fn store(text: &str) -> Result<StoreKind, String> {
    match text {
        "memory" => Ok(StoreKind::Memory),
        #[cfg(feature = "redis")]
        _ if text.starts_with("redis") => RedisUrl::parse(text).map(|url| StoreKind::Redis(Box::new(url))),
        #[cfg(feature = "journal")]
        _ if text.len() > "dir:".len() && text.starts_with("dir:") => Ok(StoreKind::Dir(text[4..].into())),
        // What was written is not repeated: it may hold a password.
        _ if cfg!(all(feature = "journal", feature = "redis")) => {
            Err("write memory, dir:PATH as in dir:/var/lib/streamer, or redis://HOST:PORT".into())
        }
        _ => Err("write memory, or build this program with the feature that has the store".into()),
    }
}

/// The server and the path in `http://host:port[/path]`; the path is `/healthz` unless given.
pub(super) fn health_url(text: &str) -> Result<(String, String), String> {
    let (authority, path) = match text.strip_prefix("http://") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", ""),
    };
    let is_path = path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if !has_port(authority.as_bytes()) || !is_path {
        return Err(format!(
            "write http://host:port/path, as in http://127.0.0.1:8000/healthz, not {text:?}"
        ));
    }
    let path = if path.is_empty() { "/healthz" } else { path };
    Ok((authority.into(), path.into()))
}

/// The classes that a stream carries.
pub(super) fn classes(text: &str) -> Result<String, String> {
    if !text.is_empty() && limits::is_list(text.as_bytes()) {
        Ok(text.into())
    } else {
        Err(format!("write at most 4 words of a-z, 0-9 and -, as in mobile,live, not {text:?}"))
    }
}

/// Whom a token is meant for.
pub(super) fn audience(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("write a name, as in tv.example, not \"\"".into()) } else { Ok(text.into()) }
}

pub(super) fn user(text: &str) -> Result<String, String> {
    if text::is_user_id(text.as_bytes()) {
        Ok(text.into())
    } else {
        Err("a user is 1 to 256 bytes without colons and control characters".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(address(text).unwrap().to_string(), expected);
        }
        check("127.0.0.1:8000", "127.0.0.1:8000");
        check("10.1.2.3:1", "10.1.2.3:1");
        check(":8000", "[::]:8000");
        check(":0", "[::]:0");
        check("localhost:65535", "127.0.0.1:65535");
        check("[::1]:8000", "[::1]:8000");
        check("[::]:80", "[::]:80");
    }

    #[test]
    fn refuses_what_is_no_address() {
        for text in [
            "",
            ":",
            "localhost",
            "localhost:",
            "127.0.0.1",
            "::1:8000",
            "[::1]",
            "example.org:80",
            ":65536",
            ":+80",
        ] {
            let expected = "write an IP address and a port, as in 127.0.0.1:8000, [::1]:8000 or :8000, not ";
            assert_eq!(address(text), Err(format!("{expected}{text:?}")));
        }
        let bare = r#""80" lacks an address; write :80 for all interfaces, 127.0.0.1:80 for this machine"#;
        assert_eq!(address("80"), Err(bare.into()));
        assert_eq!(address_or_off("80"), Err(format!("{bare}; or write off")));
        assert_eq!(address_or_off("off"), Ok(None));
    }

    #[test]
    fn reaches_what_listens_everywhere_on_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:81", "127.0.0.1:81"),
            ("[::]:81", "127.0.0.1:81"),
            ("127.0.0.9:81", "127.0.0.9:81"),
            ("10.1.2.3:81", "10.1.2.3:81"),
        ] {
            assert_eq!(reach(listen.parse().unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn holds_numbers_to_their_bounds() {
        assert_eq!(["1", "3", "007", "1000"].map(|n| number(n, 1, 1000)), [Ok(1), Ok(3), Ok(7), Ok(1000)]);
        for text in [
            "",
            "0",
            "1001",
            "-1",
            "+1",
            "1.0",
            "0x1",
            "1e3",
            " 1",
            "1 ",
            "1_000",
            "٣",
            "99999999999999999999",
        ] {
            assert_eq!(
                number(text, 1, 1000),
                Err(format!("write a whole number from 1 to 1000, not {text:?}"))
            );
        }
    }

    #[test]
    fn holds_times_to_their_bounds() {
        let read = |text| time(text, Millis::from_secs(1), Millis::from_secs(86_400));
        assert_eq!(
            ["1s", "24h", "1d"].map(|text| read(text).unwrap().millis()),
            [1000, 86_400_000, 86_400_000]
        );
        for text in ["0s", "999ms", "25h", "86400001ms"] {
            assert_eq!(read(text), Err(format!("write a time from 1s to 24h, not {text:?}")));
        }
        assert!(read("soon").unwrap_err().starts_with("\"soon\" is not a length of time; write"));
    }

    #[test]
    fn reads_words_and_switches() {
        let words = [("text", 1), ("json", 2), ("off", 3)];
        assert_eq!(choice("json", &words), Ok(2));
        assert_eq!(choice("xml", &words), Err("write text, json or off, not \"xml\"".into()));
        assert!(["1", "true", "yes", "on", "TRUE", "Yes"].iter().all(|text| switch(text) == Ok(true)));
        assert!(["0", "false", "no", "off", "", "OFF"].iter().all(|text| switch(text) == Ok(false)));
        for text in ["2", "y", " ", "tru", "enabled"] {
            let expected = "write 1, true, yes or on, or else 0, false, no or off, not ";
            assert_eq!(switch(text), Err(format!("{expected}{text:?}")));
        }
    }

    #[test]
    fn reads_the_one_form_of_health_url() {
        #[track_caller]
        fn check(text: &str, authority: &str, path: &str) {
            assert_eq!(health_url(text), Ok((authority.into(), path.into())));
        }
        check("http://127.0.0.1:8000", "127.0.0.1:8000", "/healthz");
        check("http://127.0.0.1:8001/readyz", "127.0.0.1:8001", "/readyz");
        check("http://streamer:80/", "streamer:80", "/");
        check("http://Streamer_1.example:80/a/b?c:d", "Streamer_1.example:80", "/a/b?c:d");
        check("http://[::1]:8000/healthz", "[::1]:8000", "/healthz");
        for text in [
            "",
            "127.0.0.1:8000",
            "https://127.0.0.1:8000/",
            "HTTP://127.0.0.1:8000",
            "http://",
            "http:///",
            "http://localhost",
            "http://localhost/",
            "http://localhost:/",
            "http://localhost:x/",
            "http://localhost:70000/",
            "http://::1:80/",
            "http://me@localhost:80/",
            "http://localhost:80?x",
            "http://localhost:80/#x",
            "http://localhost:80/ x",
            "http://localhost:80/\r\n",
        ] {
            let expected = "write http://host:port/path, as in http://127.0.0.1:8000/healthz, not ";
            assert_eq!(health_url(text), Err(format!("{expected}{text:?}")));
        }
    }
}
