//! `--secret FILE`: JSON Web Tokens that another service mints, so that millions of users need no table.
//!
//! ```text
//! sub    the user                              required
//! exp    the first second it is not valid      required; a number from 0 to 2^53, its fraction cut off
//! nbf    the first second it is valid          the same; `iat` is not looked at
//! aud    whom it is meant for                  a string or several; there only under --audience, and then required
//! limit  the user's own limit                  3 or "3,mobile=1"
//! class  the classes of all that it starts     ["mobile"]; at most 4, each once
//! admin  whether the user is an operator       true or false
//! ```
//!
//! *Invariant:* no token is kept. What a connection remembers of one is who it was for, and a hash under a key of
//! this process that nobody else knows. (Not tested.)

use std::hash::{BuildHasher, RandomState};

use super::keys::Keys;
use super::{Failure, User};
use crate::codec::json::{self, Text, Value};
use crate::codec::jwt::{self, MAX_PART};
use crate::codec::{decimal, text};
use crate::streams::MAX_LIMIT;
use crate::streams::arena::Arena;
use crate::streams::batch::Asked;
use crate::streams::limits::{self, Limits};
use crate::time::Timestamp;

/// How far the clock of a minting service may be from ours, in seconds.
const LEEWAY: u64 = 30;
/// Above this not every number is one of those that JSON's readers share (RFC 8259 section 6).
const MAX_TIME: u64 = 1 << 53;

/// What tokens are held against.
pub struct Signed {
    keys: Keys,
    /// Whom tokens must be meant for.
    audience: Option<String>,
    /// Its key is drawn anew at each reading of the file, so that a reload voids what connections remember.
    hasher: RandomState,
}

/// What a connection remembers of the last token that was verified on it. So a token is verified once a connection, and
/// not with each request.
#[derive(Default)]
pub struct LastToken(Option<Box<Verified>>);

#[derive(Default)]
struct Verified {
    /// The whole field's.
    hash: u64,
    /// The first second at which the token is not valid, leeway included; 0 when nothing is remembered.
    until: u64,
    user: Vec<u8>,
    /// The user's own limit, and behind it those of classes.
    limit: Option<u32>,
    class_limits: Vec<u8>,
    /// What all that the user starts carries.
    classes: Vec<u8>,
    admin: bool,
}

impl LastToken {
    /// The user, if `hash` is that of the field that was verified, and the token still valid.
    pub(super) fn recall(
        &self,
        hash: u64,
        wall: Timestamp,
        limits: Limits<&[u8]>,
        arena: &mut Arena<Asked>,
    ) -> Option<User> {
        let known = self.0.as_deref().filter(|known| known.hash == hash && wall.secs() < known.until)?;
        let own = known.limit.map(|total| Limits { total, classes: &known.class_limits[..] });
        Some(User {
            name: arena.add(&known.user),
            limits: own.unwrap_or(limits).into_arena(arena),
            classes: arena.add(&known.classes),
            is_admin: known.admin,
        })
    }
}

impl Signed {
    /// Takes the tokens that one of the keys has signed, and that are meant for `audience`.
    pub fn new(keys: Keys, audience: Option<String>) -> Self {
        Self { keys, audience, hasher: RandomState::new() }
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// By what a field is known again.
    pub(super) fn hash(&self, field: &[u8]) -> u64 {
        self.hasher.hash_one(field)
    }

    /// Verifies a token and has `last` remember it under `hash`. If `user` is given, it must be theirs.
    /// An error is the cause; nothing is remembered then.
    pub(super) fn verify(
        &self,
        token: &[u8],
        user: Option<&[u8]>,
        wall: Timestamp,
        hash: u64,
        last: &mut LastToken,
    ) -> Result<(), Failure> {
        let mut buffer = [0; MAX_PART];
        let text = self.keys.open(token, &mut buffer)?;
        let known = last.0.get_or_insert_default();
        known.until = 0;
        let times = self.read(text, known)?;
        let now = wall.secs();
        if now >= times.expiry + LEEWAY {
            return Err(Failure::Expired);
        }
        if now + LEEWAY < times.begin {
            return Err(Failure::Early);
        }
        if user.is_some_and(|user| user != known.user) {
            return Err(Failure::OtherUser);
        }
        (known.hash, known.until) = (hash, times.expiry + LEEWAY);
        Ok(())
    }

    /// Reads the claims into `known`.
    fn read(&self, text: &[u8], known: &mut Verified) -> Result<Times, Failure> {
        known.clear();
        let (mut expiry, mut begin, mut audience) = (None, 0, None);
        let mut are_good = true;
        jwt::members(text, |name, value| {
            let is_good = match CLAIMS.iter().find(|claim| name.is(claim)) {
                Some(&"sub") => known.read_user(value),
                Some(&"exp") => time(value).map(|time| expiry = Some(time)),
                Some(&"nbf") => time(value).map(|time| begin = time),
                Some(&"aud") => self.is_meant(value).map(|is_meant| audience = Some(is_meant)),
                Some(&"limit") => known.read_limit(value),
                Some(&"class") => known.read_classes(value),
                Some(&"admin") => match value {
                    Value::Bool(admin) => {
                        known.admin = admin;
                        Some(())
                    }
                    _ => None,
                },
                _ => Some(()),
            };
            are_good &= is_good.is_some();
        })
        .filter(|()| are_good && !known.user.is_empty())
        .ok_or(Failure::Claims)?;
        let expiry = expiry.ok_or(Failure::Claims)?;
        // A token that says whom it is for is for nobody else (RFC 7519 section 4.1.3).
        match (&self.audience, audience) {
            (None, None) | (Some(_), Some(true)) => Ok(Times { expiry, begin }),
            _ => Err(Failure::Audience),
        }
    }

    /// Whether `aud` names us; None if it names nobody.
    fn is_meant(&self, value: Value) -> Option<bool> {
        let ours = |name: Text| self.audience.as_deref().is_some_and(|ours| name.is(ours));
        match value {
            Value::String(name) => Some(ours(name)),
            Value::Array(names) => {
                let (mut is_meant, mut are_names) = (false, true);
                json::elements(names, |name| match name {
                    Value::String(name) => is_meant |= ours(name),
                    _ => are_names = false,
                });
                are_names.then_some(is_meant)
            }
            _ => None,
        }
    }
}

const CLAIMS: [&str; 7] = ["sub", "exp", "nbf", "aud", "limit", "class", "admin"];

/// When a token is valid, in seconds since the Unix epoch.
struct Times {
    begin: u64,
    expiry: u64,
}

impl Verified {
    fn clear(&mut self) {
        [&mut self.user, &mut self.class_limits, &mut self.classes].into_iter().for_each(Vec::clear);
        (self.limit, self.admin) = (None, false);
    }

    fn read_user(&mut self, value: Value) -> Option<()> {
        let Value::String(name) = value else { return None };
        name.write(&mut self.user);
        text::is_user_id(&self.user).then_some(())
    }

    fn read_limit(&mut self, value: Value) -> Option<()> {
        let total = match value {
            Value::Number(number) => u32::try_from(decimal::whole(number)?).ok()?,
            Value::String(written) => {
                written.write(&mut self.class_limits);
                let Limits { total, classes } = Limits::parse(&self.class_limits)?;
                let behind = self.class_limits.len() - classes.len();
                self.class_limits.drain(..behind);
                total
            }
            _ => return None,
        };
        self.limit = Some(total);
        (total <= MAX_LIMIT).then_some(())
    }

    fn read_classes(&mut self, value: Value) -> Option<()> {
        let Value::Array(words) = value else { return None };
        let mut are_good = true;
        json::elements(words, |word| {
            let Value::String(word) = word else { return are_good = false };
            if !self.classes.is_empty() {
                self.classes.push(b',');
            }
            let start = self.classes.len();
            word.write(&mut self.classes);
            are_good &= limits::is_class(&self.classes[start..]);
        });
        (are_good && limits::is_list(&self.classes)).then_some(())
    }
}

fn time(value: Value) -> Option<u64> {
    let Value::Number(number) = value else { return None };
    decimal::whole(number).filter(|time| *time <= MAX_TIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "an-example-key-of-32-bytes-or-more";
    const NOW: u64 = 1_700_000_000;

    fn signed(audience: Option<&str>) -> Signed {
        Signed::new(Keys::read(KEY.as_bytes()).ok().unwrap(), audience.map(str::to_owned))
    }

    /// Who gets in with these claims, at [`NOW`]: `user limit classes admin`.
    #[track_caller]
    fn check(signed: &Signed, claims: &str, expected: Result<&str, Failure>) {
        let mut token = Vec::new();
        signed.keys.write(|out| out.extend_from_slice(claims.as_bytes()), &mut token);
        let (mut arena, mut last) = (Arena::default(), LastToken::default());
        let wall = Timestamp::from_millis(1000 * NOW + 999);
        let verified = signed.verify(&token, None, wall, 7, &mut last).map(|()| {
            let user = last.recall(7, wall, Limits::from(3), &mut arena).unwrap();
            let Limits { total, classes } = user.limits.of(&arena);
            let [name, of_classes, classes] =
                [arena.get(user.name), classes, arena.get(user.classes)].map(String::from_utf8_lossy);
            format!("{name} {total},{of_classes} {classes} {}", user.is_admin)
        });
        assert_eq!(verified.as_deref().map_err(|failure| *failure), expected, "{claims}");
        let is_remembered = last.recall(7, wall, Limits::from(3), &mut arena).is_some();
        assert_eq!(is_remembered, expected.is_ok(), "{claims}");
    }

    #[test]
    fn claims_say_who_and_what() {
        let signed = signed(None);
        for (claims, expected) in [
            (r#""sub":"alice""#, "alice 3,  false"),
            (r#""sub":"\u017b\u00f3\u0142w \ud83d\udc22""#, "Żółw 🐢 3,  false"),
            (r#""sub":"auth0|12/3@x","iat":"whenever","jti":null,"x":{"x":[1]}"#, "auth0|12/3@x 3,  false"),
            (r#""sub":"a","limit":5"#, "a 5,  false"),
            (r#""sub":"a","limit":0"#, "a 0,  false"),
            (r#""sub":"a","limit":1000"#, "a 1000,  false"),
            (r#""sub":"a","limit":2.9"#, "a 2,  false"),
            (r#""sub":"a","limit":1e1"#, "a 10,  false"),
            (r#""sub":"a","limit":"4""#, "a 4,  false"),
            (r#""sub":"a","limit":"3,mobile=1,live=0""#, "a 3,mobile=1,live=0  false"),
            (r#""sub":"a","limit":"3\u002cmobile=1""#, "a 3,mobile=1  false"),
            (r#""sub":"a","class":[]"#, "a 3,  false"),
            (r#""sub":"a","class":["mobile","profile-ann","x","1"]"#, "a 3, mobile,profile-ann,x,1 false"),
            (r#""sub":"a","admin":true"#, "a 3,  true"),
            (r#""sub":"a","admin":false,"\u006cimit":1"#, "a 1,  false"),
        ] {
            check(&signed, &format!(r#"{{{claims},"exp":1700000900}}"#), Ok(expected));
        }
    }

    #[test]
    fn a_claim_of_a_wrong_kind_is_refused() {
        let signed = signed(None);
        for claims in [
            r#""sub":"alice""#,
            r#""exp":1700000900"#,
            r#""sub":"alice","exp":"1700000900""#,
            r#""sub":"alice","exp":null"#,
            r#""sub":"alice","exp":true"#,
            r#""sub":"alice","exp":[1700000900]"#,
            r#""sub":"alice","exp":-1"#,
            r#""sub":"alice","exp":1e400"#,
            r#""sub":"alice","exp":9007199254740993"#,
            r#""sub":"alice","exp":9007199254740992,"exp":9007199254740992"#,
            r#""sub":"alice","exp":1700000900,"sub":"bob""#,
            r#""sub":"alice","exp":1700000900,"\u0073ub":"bob""#,
            r#""sub":"alice","exp":1700000900,"x":1,"x":1"#,
            r#""sub":"alice","exp":1700000900,"nbf":"0""#,
            r#""sub":"alice","exp":1700000900,"nbf":null"#,
            r#""sub":"alice","exp":1700000900,"nbf":-1"#,
            r#""sub":"","exp":1700000900"#,
            r#""sub":null,"exp":1700000900"#,
            r#""sub":5,"exp":1700000900"#,
            r#""sub":["alice"],"exp":1700000900"#,
            r#""sub":"a:b","exp":1700000900"#,
            r#""sub":"a\u0000","exp":1700000900"#,
            r#""sub":"a\n","exp":1700000900"#,
            &format!(r#""sub":"{}","exp":1700000900"#, "x".repeat(257)),
            r#""sub":"a","exp":1700000900,"limit":1001"#,
            r#""sub":"a","exp":1700000900,"limit":-1"#,
            r#""sub":"a","exp":1700000900,"limit":4294967299"#,
            r#""sub":"a","exp":1700000900,"limit":null"#,
            r#""sub":"a","exp":1700000900,"limit":"""#,
            r#""sub":"a","exp":1700000900,"limit":"3,""#,
            r#""sub":"a","exp":1700000900,"limit":"3,mobile=1,mobile=1""#,
            r#""sub":"a","exp":1700000900,"limit":[3]"#,
            r#""sub":"a","exp":1700000900,"class":"mobile""#,
            r#""sub":"a","exp":1700000900,"class":null"#,
            r#""sub":"a","exp":1700000900,"class":["mobile","mobile"]"#,
            r#""sub":"a","exp":1700000900,"class":["a","b","c","d","e"]"#,
            r#""sub":"a","exp":1700000900,"class":["Mobile"]"#,
            r#""sub":"a","exp":1700000900,"class":["a,b"]"#,
            r#""sub":"a","exp":1700000900,"class":[""]"#,
            r#""sub":"a","exp":1700000900,"class":[1]"#,
            r#""sub":"a","exp":1700000900,"admin":"true""#,
            r#""sub":"a","exp":1700000900,"admin":1"#,
            r#""sub":"a","exp":1700000900,"admin":null"#,
            r#""sub":"a","exp":1700000900,"aud":null"#,
            r#""sub":"a","exp":1700000900,"aud":[1]"#,
        ] {
            check(&signed, &format!("{{{claims}}}"), Err(Failure::Claims));
        }
        for text in
            ["", "[]", "null", r#"["sub","exp"]"#, "{", r#"{"sub":"a","exp":1700000900} x"#, "\u{feff}{}"]
        {
            check(&signed, text, Err(Failure::Claims));
        }
    }

    #[test]
    fn clocks_may_differ_by_half_a_minute_and_no_more() {
        let signed = signed(None);
        for (times, failure) in [
            ("\"exp\":1700000001", None),
            ("\"exp\":1700000000", None),
            ("\"exp\":1699999971", None),
            ("\"exp\":1699999970", Some(Failure::Expired)),
            ("\"exp\":1699999970.9999999999999999", Some(Failure::Expired)),
            ("\"exp\":1.699999971e9", None),
            ("\"exp\":16999999710e-1", None),
            ("\"exp\":0", Some(Failure::Expired)),
            ("\"exp\":9007199254740992", None),
            ("\"exp\":1700000900,\"nbf\":1700000030", None),
            ("\"exp\":1700000900,\"nbf\":1700000030.5", None),
            ("\"exp\":1700000900,\"nbf\":1700000031", Some(Failure::Early)),
            ("\"exp\":1700000900,\"nbf\":0", None),
            ("\"exp\":1,\"nbf\":9007199254740992", Some(Failure::Expired)),
        ] {
            let expected = failure.map_or(Ok("alice 3,  false"), Err);
            check(&signed, &format!("{{\"sub\":\"alice\",{times}}}"), expected);
        }
    }

    #[test]
    fn a_token_is_for_whom_it_says() {
        let of = |audience: &str| format!(r#"{{"sub":"a","exp":1700000900{audience}}}"#);
        let ours = |audience: &str| format!(",\"aud\":{audience}");
        let good = Ok("a 3,  false");
        check(&signed(None), &of(""), good);
        for audience in [r#""tv""#, r#"["tv"]"#, "[]", r#""""#] {
            check(&signed(None), &of(&ours(audience)), Err(Failure::Audience));
        }
        let tv = signed(Some("tv"));
        check(&tv, &of(""), Err(Failure::Audience));
        for audience in [r#""tv""#, r#"["web","tv"]"#, r#""\u0074v""#] {
            check(&tv, &of(&ours(audience)), good);
        }
        for audience in [r#""TV""#, r#""tv ""#, r#"["web"]"#, "[]", r#""""#] {
            check(&tv, &of(&ours(audience)), Err(Failure::Audience));
        }
    }

    #[test]
    fn a_connection_remembers_the_last_token_until_it_expires_or_keys_are_read_again() {
        let wall = |secs| Timestamp::from_millis(1000 * secs);
        let (mut last, mut arena) = (LastToken::default(), Arena::default());
        let one = signed(None);
        let token =
            one.keys.mint(&super::super::keys::Claims { user: "alice", expiry: NOW, ..Default::default() });
        let hash = one.hash(token.as_bytes());
        let mut recalls = |last: &LastToken, hash, secs| {
            last.recall(hash, wall(secs), Limits::from(3), &mut arena)
                .map(|user| arena.get(user.name).to_vec())
        };
        assert_eq!(recalls(&last, hash, NOW), None);
        assert_eq!(recalls(&last, 0, 0), None);
        assert_eq!(one.verify(token.as_bytes(), Some(b"alice"), wall(NOW), hash, &mut last), Ok(()));
        assert_eq!(recalls(&last, hash, NOW + 29), Some(b"alice".to_vec()));
        assert_eq!(recalls(&last, hash, NOW + 30), None);
        assert_eq!(recalls(&last, hash + 1, NOW), None);
        // The same file, read again.
        assert_eq!(recalls(&last, signed(None).hash(token.as_bytes()), NOW), None);
        let failed = one.verify(token.as_bytes(), Some(b"bob"), wall(NOW), hash, &mut last);
        assert_eq!((failed, recalls(&last, hash, NOW)), (Err(Failure::OtherUser), None));
    }
}
