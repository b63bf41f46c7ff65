//! Files of keys, as `--secret` and `--pass` name them: a key a line, `1*512(%x21-7E)` as it stands.
//!
//! Whatever else stands in such a file (a comment, a users file named by mistake, what a crash has left) could be guessed,
//! and who guesses a key is anybody they like. So a line is refused unless it can only be a key.

use std::ops::RangeInclusive;

use super::{BYTE_ORDER_MARK, Failure, MARKED};
use crate::codec::json::Quoted;
use crate::codec::jwt::{self, Fault, MAX_PART};
use crate::codec::sha256::HmacKey;
use crate::codec::{append, hex};

/// How long a key is, in bytes: at least as long as the hash (RFC 7518 section 3.2).
const LENGTH: RangeInclusive<usize> = 32..=512;
/// How many different characters a key has at least.
const LEAST_DISTINCT: usize = 8;
/// How many keys there may be; checking a token that none has signed costs as many signatures.
pub const MAX_KEYS: usize = 4;

/// The keys of a file: the first signs, every one verifies, so that keys can be changed without an outage.
pub struct Keys(Vec<HmacKey>);

/// The claims of a token to be made. What is absent is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claims<'a> {
    /// `sub`.
    pub user: &'a str,
    /// `exp`, in seconds since the Unix epoch.
    pub expiry: u64,
    /// `limit`, as it is written: `3` or `3,mobile=1`.
    pub limit: Option<&'a str>,
    /// `class`, with commas between the words.
    pub classes: Option<&'a str>,
    pub admin: bool,
    pub audience: Option<&'a str>,
}

impl Claims<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        append!(out, "{\"sub\":", Quoted(self.user.as_bytes()), ",\"exp\":", self.expiry);
        match self.limit {
            Some(limit) if limit.contains(',') => append!(out, ",\"limit\":\"", limit, "\""),
            Some(limit) => append!(out, ",\"limit\":", limit),
            None => {}
        }
        if let Some(classes) = self.classes {
            append!(out, ",\"class\":[\"", &*classes.replace(',', "\",\""), "\"]");
        }
        append!(out, if self.admin { ",\"admin\":true" } else { "" });
        if let Some(audience) = self.audience {
            append!(out, ",\"aud\":", Quoted(audience.as_bytes()));
        }
        append!(out, "}");
    }
}

impl Keys {
    /// Reads a file's text.
    /// An error is the number of the bad line, counted from 1, and what is wrong with it.
    pub fn read(text: &[u8]) -> Result<Self, (usize, String)> {
        let mut keys = Vec::new();
        for (i, key) in text.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            check(key).map_err(|what| (i + 1, what))?;
            if keys.len() == MAX_KEYS {
                return Err((i + 1, format!("there may be {MAX_KEYS} keys at most")));
            }
            keys.push(HmacKey::new(key));
        }
        if keys.is_empty() {
            return Err((1, "there is no key; `streamer key` prints one".into()));
        }
        Ok(Self(keys))
    }

    /// How many keys there are: at least 1.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether one of the keys is one of the other's.
    pub fn share(&self, other: &Self) -> bool {
        self.0.iter().any(|key| other.0.iter().any(|other| key.sign(b"") == other.sign(b"")))
    }

    pub fn mint(&self, claims: &Claims) -> String {
        let mut out = Vec::new();
        self.write(|out| claims.write(out), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Appends a token whose claims `claims` appends.
    pub fn write(&self, claims: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
        jwt::write(&self.0[0], claims, out);
    }

    /// The claims of a token that one of the keys has signed.
    pub(super) fn open<'a>(&self, token: &[u8], buffer: &'a mut [u8; MAX_PART]) -> Result<&'a [u8], Failure> {
        jwt::open(token, &self.0, buffer).map_err(|fault| match fault {
            Fault::Form => Failure::Form,
            Fault::Algorithm => Failure::Algorithm,
            Fault::Signature => Failure::Signature,
        })
    }
}

/// Refuses what could be something else than a key.
fn check(line: &[u8]) -> Result<(), String> {
    let is_users_line = || line.split(|&byte| byte == b':').nth(1).and_then(hex::decode::<32>).is_some();
    let what = match line {
        _ if line.starts_with(BYTE_ORDER_MARK) => return Err(MARKED.into()),
        [b'#', ..] => "a comment",
        [b'-', b'-', b'-', b'-', b'-', ..] => "a line of a PEM file",
        [b'{' | b'[', ..] => "JSON",
        [b'<', ..] => "HTML or XML",
        _ if line.iter().all(|&byte| byte == 0) => "zeros, as a crash leaves them in a file",
        _ if is_users_line() => "a line of a users file",
        [.., b'\r'] => "a line that ends in a carriage return",
        _ if line.iter().any(u8::is_ascii_whitespace) => "a text with blanks",
        _ if !line.iter().all(u8::is_ascii_graphic) => "a text of other than printable ASCII",
        _ if !LENGTH.contains(&line.len()) => {
            return Err(format!(
                "a key has {} to {} bytes, this one {}; `streamer key` prints a good one",
                LENGTH.start(),
                LENGTH.end(),
                line.len()
            ));
        }
        _ if distinct(line) < LEAST_DISTINCT => {
            "a text of so few different characters that it can be guessed"
        }
        _ => return Ok(()),
    };
    Err(format!("this is no key but {what}; the file holds keys alone, and `streamer key` prints one"))
}

fn distinct(line: &[u8]) -> usize {
    (0..=u8::MAX).filter(|byte| line.contains(byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "an-example-key-of-32-bytes-or-more";
    const OTHER: &str = "Another/key+of_all~kinds,too!?%20";

    #[track_caller]
    fn check_file(text: &[u8], expected: Result<usize, (usize, &str)>) {
        let read = Keys::read(text);
        match (read, expected) {
            (Ok(keys), Ok(count)) => assert_eq!(keys.count(), count, "{}", text.escape_ascii()),
            (Err((line, said)), Err((number, what))) => {
                assert!(
                    line == number && said.contains(what),
                    "{}: line {line}: {said}",
                    text.escape_ascii()
                );
            }
            (read, expected) => panic!("{}: {:?}, not {expected:?}", text.escape_ascii(), read.err()),
        }
    }

    #[test]
    fn a_key_is_a_line_as_it_stands() {
        check_file(KEY.as_bytes(), Ok(1));
        check_file(format!("\n{KEY}\n\n{OTHER}\n").as_bytes(), Ok(2));
        check_file("0123456789abcdef0123456789abcdef\n".as_bytes(), Ok(1));
        check_file("0123456789abcdef0123456789abcde\n".as_bytes(), Err((1, "32 to 512 bytes, this one 31")));
        check_file(&[&[b'k'; 505][..], b"0123456"].concat(), Ok(1));
        check_file(&[&[b'k'; 506][..], b"0123456"].concat(), Err((1, "this one 513")));
        check_file(&[&[b'k'; 26][..], b"012345"].concat(), Err((1, "so few different")));
        check_file([KEY; 5].join("\n").as_bytes(), Err((5, "4 keys at most")));
        let token = Keys::read(OTHER.as_bytes()).ok().unwrap().mint(&Claims::default());
        let both = Keys::read(format!("{KEY}\n{OTHER}").as_bytes()).ok().unwrap();
        assert!(both.open(token.as_bytes(), &mut [0; MAX_PART]).is_ok());
        assert_ne!(token, both.mint(&Claims::default()), "the first key signs");
    }

    #[test]
    fn what_could_be_something_else_is_no_key() {
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        for (line, what) in [
            ("# made on Monday, for the staging servers", "a comment"),
            ("#an-example-key-of-32-bytes-or-more", "a comment"),
            ("; made on Monday, for the staging servers", "blanks"),
            ("-----BEGIN EC PRIVATE KEY-----------------", "PEM"),
            ("{\"key\":\"an-example-key-of-32-bytes-or-more\"}", "JSON"),
            ("[\"an-example-key-of-32-bytes-or-more\"]", "JSON"),
            ("<!doctype-html><title>404-Not-Found</title>", "HTML"),
            ("export SECRET=an-example-key-of-32-bytes-or-more", "blanks"),
            ("  an-example-key-of-32-bytes-or-more", "blanks"),
            ("an-example-key-of-32-bytes-or-more ", "blanks"),
            ("an-example-key\tof-32-bytes-or-more-than", "blanks"),
            ("an-example-key-of-32-bytes-or-more\r", "carriage return"),
            ("an-example-kéy-of-32-bytes-or-more", "printable ASCII"),
            ("an-example-key-of-32-bytes-or-more\x7f", "printable ASCII"),
            ("an-example-key-of-32-bytes-\0-or-more", "printable ASCII"),
            (&"\0".repeat(40), "zeros"),
            (&"k".repeat(40), "so few different"),
            (&format!("alice:{hash}"), "users file"),
            (&format!("alice:{hash}:3:admin"), "users file"),
            ("\u{feff}an-example-key-of-32-bytes-or-more", "byte order mark"),
            ("short", "this one 5"),
        ] {
            check_file(line.as_bytes(), Err((1, what)));
            check_file(format!("{KEY}\n{line}\n").as_bytes(), Err((2, what)));
        }
        check_file(b"", Err((1, "there is no key")));
        check_file(b"\n\n", Err((1, "there is no key")));
    }

    #[test]
    fn files_share_a_key_or_do_not() {
        let keys = |text: &str| Keys::read(text.as_bytes()).ok().unwrap();
        assert!(keys(&format!("{KEY}\n{OTHER}")).share(&keys(OTHER)));
        assert!(!keys(KEY).share(&keys(OTHER)));
    }

    #[test]
    fn a_token_says_what_it_is_to_say() {
        let keys = Keys::read(KEY.as_bytes()).ok().unwrap();
        for (claims, expected) in [
            (Claims { user: "a\"b", expiry: 5, ..Claims::default() }, r#"{"sub":"a\"b","exp":5}"#),
            (
                Claims {
                    user: "Żółw",
                    expiry: 1_800_000_000,
                    limit: Some("3,mobile=1"),
                    classes: Some("live,profile-ann"),
                    admin: true,
                    audience: Some("tv"),
                },
                r#"{"sub":"Żółw","exp":1800000000,"limit":"3,mobile=1","class":["live","profile-ann"],"admin":true,"aud":"tv"}"#,
            ),
            (
                Claims { user: "u", limit: Some("0"), classes: Some("x"), ..Claims::default() },
                r#"{"sub":"u","exp":0,"limit":0,"class":["x"]}"#,
            ),
        ] {
            let token = keys.mint(&claims);
            let mut buffer = [0; MAX_PART];
            let opened = keys.open(token.as_bytes(), &mut buffer).unwrap();
            assert_eq!(str::from_utf8(opened), Ok(expected));
        }
    }
}
