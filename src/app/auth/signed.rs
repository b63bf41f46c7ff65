//! `--secret FILE`: tokens that another service signs, so that millions of users need no table.
//!
//! ```text
//! token     = "v1." limit "." expiry "." signature       ; sent as the Basic password
//! limit     = "" / 1*20DIGIT                             ; 0 to 1000; empty: the server's limit
//! expiry    = 1*20DIGIT                                  ; seconds since the Unix epoch, the first invalid one
//! signature = base64url( HMAC-SHA256( key, "v1" LF user LF limit LF expiry ) )      ; RFC 4648 section 5, no padding
//! ```
//!
//! A user-id has no control characters, so the line feeds keep the parts apart: no two (user, limit, expiry) sign the
//! same bytes.
//!
//! *Invariant:* nothing of a token is believed before its signature has been checked.

use super::{BYTE_ORDER_MARK, Failure, Grant, MARKED, limit};
use crate::codec::sha256::{self, HmacKey};
use crate::codec::{base64, decimal};
use crate::time::Timestamp;

/// How long a key has to be, in bytes: as long as the hash (RFC 2104 section 3).
pub const MIN_KEY: usize = 32;
/// How many keys there may be; checking a token that none has signed costs as many signatures.
pub const MAX_KEYS: usize = 4;

/// How many digits the largest 64-bit number has.
const MAX_DIGITS: usize = 20;
/// Characters of a signature: 32 bytes in base64.
const SIGNATURE: usize = 43;

/// The keys of a file: the first signs, every one verifies, so that keys can be changed without an outage.
pub struct Keys(Vec<HmacKey>);

impl Keys {
    /// Reads a file's text, a key a line. The key is the line's bytes as they stand, blanks at the ends taken off.
    ///
    /// # Errors
    ///
    /// The number of the bad line, counted from 1, and what is wrong with it.
    pub fn read(text: &[u8]) -> Result<Self, (usize, String)> {
        let mut keys = Vec::new();
        for (i, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let key = line.trim_ascii();
            if key.is_empty() {
                continue;
            }
            is_key(key).map_err(|what| (i + 1, what))?;
            if keys.len() == MAX_KEYS {
                return Err((i + 1, format!("there may be {MAX_KEYS} keys at most")));
            }
            keys.push(HmacKey::new(key));
        }
        if keys.is_empty() {
            return Err((1, format!("there is no key; write one of at least {MIN_KEY} bytes on a line")));
        }
        Ok(Self(keys))
    }

    /// How many keys there are: at least 1.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Makes the token of `user`, valid before `expiry` in seconds since the Unix epoch.
    pub fn mint(&self, user: &[u8], limit: Option<u32>, expiry: u64) -> String {
        let limit = limit.map(|limit| limit.to_string()).unwrap_or_default();
        let expiry = expiry.to_string();
        let signature = sign(&self.0[0], user, limit.as_bytes(), expiry.as_bytes());
        let signature = base64::encode_url_digest(&signature);
        format!("v1.{limit}.{expiry}.{}", String::from_utf8_lossy(&signature))
    }

    /// Lets `user` in if `token` is theirs, signed by one of the keys, and not expired at `wall`.
    ///
    /// # Errors
    ///
    /// [`Failure::WrongToken`]; for one that was signed all the same, [`Failure::LimitOutOfRange`] or
    /// [`Failure::Expired`].
    pub fn check(&self, user: &[u8], token: &[u8], wall: Timestamp) -> Result<Grant, Failure> {
        let parts = split(token).ok_or(Failure::WrongToken)?;
        let signed = |key: &HmacKey| {
            let expected = base64::encode_url_digest(&sign(key, user, parts.limit, parts.expiry));
            sha256::equal(&expected, parts.signature)
        };
        if !self.0.iter().any(signed) {
            return Err(Failure::WrongToken);
        }
        let limit = match parts.limit {
            b"" => None,
            digits => Some(limit(digits).ok_or(Failure::LimitOutOfRange)?),
        };
        let expiry = decimal::parse(parts.expiry).ok_or(Failure::WrongToken)?;
        if wall.secs() >= expiry {
            return Err(Failure::Expired);
        }
        Ok(Grant { limit, admin: false })
    }
}

struct Claims<'a> {
    limit: &'a [u8],
    expiry: &'a [u8],
    signature: &'a [u8],
}

/// Refuses a comment and the lines around a PEM file: others can guess what they say, so they must not become keys.
fn is_key(line: &[u8]) -> Result<(), String> {
    if line.starts_with(BYTE_ORDER_MARK) {
        return Err(MARKED.into());
    }
    if line.starts_with(b"#") || line.starts_with(b"-----") {
        return Err(
            "this is no key but a comment or a PEM line; a file of keys holds nothing but keys".into()
        );
    }
    match line.len() {
        ..MIN_KEY => Err(format!("a key has at least {MIN_KEY} bytes, this one {}", line.len())),
        _ => Ok(()),
    }
}

/// Takes a token apart. Lengths and digits are looked at first: a signature is not computed over what is no token.
fn split(token: &[u8]) -> Option<Claims<'_>> {
    let mut parts = token.strip_prefix(b"v1.")?.split(|&byte| byte == b'.');
    let parts = (parts.next()?, parts.next()?, parts.next()?, parts.next());
    let (limit, expiry, signature, None) = parts else { return None };
    let is_number = |part: &[u8]| part.len() <= MAX_DIGITS && part.iter().all(u8::is_ascii_digit);
    let has_form = is_number(limit) && is_number(expiry) && signature.len() == SIGNATURE;
    has_form.then_some(Claims { limit, expiry, signature })
}

fn sign(key: &HmacKey, user: &[u8], limit: &[u8], expiry: &[u8]) -> [u8; 32] {
    key.sign(&[b"v1\n", user, b"\n", limit, b"\n", expiry])
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "an example key of 32 bytes or more";
    const OTHER: &str = "another key, which is 32 bytes too";

    fn keys(text: &str) -> Keys {
        Keys::read(text.as_bytes()).ok().unwrap()
    }

    /// The worked example of the README.
    #[test]
    fn signs_what_the_readme_shows() {
        let expected = "v1.5.1800000000.RqwS6wMMOPtAWv4-h_VBHMFsRswtnqfLbhldMVpNLVs";
        assert_eq!(keys(KEY).mint(b"alice", Some(5), 1_800_000_000), expected);
    }

    #[track_caller]
    fn check(keys: &Keys, user: &str, token: &str, secs: u64, expected: Result<Option<u32>, Failure>) {
        let wall = Timestamp::from_millis(secs * 1000);
        let checked = keys.check(user.as_bytes(), token.as_bytes(), wall);
        assert_eq!(checked.map(|grant| grant.limit), expected, "{user} {token}");
    }

    #[test]
    fn takes_its_own_tokens_until_they_expire() {
        let keys = keys(KEY);
        for limit in [None, Some(1), Some(1000)] {
            let token = keys.mint("Żółw".as_bytes(), limit, 1000);
            check(&keys, "Żółw", &token, 999, Ok(limit));
            check(&keys, "Żółw", &token, 1000, Err(Failure::Expired));
        }
    }

    #[test]
    fn takes_nothing_that_was_altered() {
        let keys = keys(KEY);
        let token = keys.mint(b"alice", Some(5), 1000);
        let wrong = |user: &str, token: &str| check(&keys, user, token, 0, Err(Failure::WrongToken));
        for i in 0..token.len() {
            let mut altered = token.clone().into_bytes();
            altered[i] ^= 1;
            wrong("alice", &String::from_utf8(altered).unwrap());
            wrong("alice", &token[..i]);
        }
        wrong("Alice", &token);
        wrong("alice", &format!("{token}."));
        wrong("alice", &format!("{token}A"));
        wrong("alice", "");
        for changed in ["v1..1000.", "v1.05.1000.", "v1.5.01000.", "v1.5.9999.", "v2.5.1000.", "v1.50.100."] {
            wrong("alice", &format!("{changed}{}", token.rsplit('.').next().unwrap()));
        }
        // Claims that would run together without the line feeds between them.
        let other = keys.mint(b"alice", Some(51), 1000);
        wrong("alice5", &other.replace("v1.51.", "v1.1."));
    }

    #[test]
    fn a_signature_does_not_make_nonsense_valid() {
        let keys = keys(KEY);
        let long = "1".repeat(MAX_DIGITS + 1);
        for (limit, expiry, failure) in [
            ("1001", "9999", Failure::LimitOutOfRange),
            ("99999999999999999999", "9999", Failure::LimitOutOfRange),
            ("1001", "0", Failure::LimitOutOfRange),
            (&long, "9999", Failure::WrongToken),
            ("+5", "9999", Failure::WrongToken),
            ("5", "", Failure::WrongToken),
            ("5", "1e9", Failure::WrongToken),
            ("5", &long, Failure::WrongToken),
            ("5", "99999999999999999999", Failure::WrongToken),
        ] {
            let signature = sign(&keys.0[0], b"alice", limit.as_bytes(), expiry.as_bytes());
            let signature = base64::encode_url_digest(&signature);
            let token = format!("v1.{limit}.{expiry}.{}", str::from_utf8(&signature).unwrap());
            check(&keys, "alice", &token, 0, Err(failure));
        }
    }

    #[test]
    fn keys_can_be_changed_without_an_outage() {
        let old = keys(OTHER).mint(b"alice", None, 1000);
        let both = keys(&format!("{KEY}\r\n\n  {OTHER}\n"));
        assert_eq!(both.count(), 2);
        check(&both, "alice", &old, 0, Ok(None));
        let new = both.mint(b"alice", None, 1000);
        check(&keys(KEY), "alice", &new, 0, Ok(None));
        check(&keys(OTHER), "alice", &new, 0, Err(Failure::WrongToken));
    }

    #[test]
    fn refuses_a_file_without_a_good_key() {
        let five = [KEY; 5].join("\n");
        for (text, line) in [
            ("", 1),
            ("\n\n", 1),
            ("short", 1),
            (&*format!("{KEY}\nshort\n"), 2),
            (&five, 5),
            (&format!("# made on Monday, for the staging servers\n{KEY}\n"), 1),
            (&format!("{KEY}\n  # the old one, until the first of the month\n"), 2),
            (&format!("{KEY}\n-----BEGIN EC PRIVATE KEY-----------------\n"), 2),
            (&format!("\u{feff}{KEY}\n"), 1),
            (&format!("{KEY}\n\u{feff}{OTHER}\n"), 2),
        ] {
            assert_eq!(Keys::read(text.as_bytes()).err().map(|(line, _)| line), Some(line), "{text}");
        }
    }
}
