//! Who asks: `Authorization: Basic` (RFC 7617) held against one of three kinds of credentials.
//!
//! *Invariant:* only this room makes a [`User`], so code that is handed one need not ask again; and no response or log
//! line says whether it was the user or the token that was wrong, nor holds the token.

pub mod signed;
pub mod users;

use crate::codec::{base64, decimal, text};
use crate::streams::MAX_LIMIT;
use crate::streams::arena::{Arena, Word};
use crate::streams::batch::Asked;
use crate::time::Timestamp;

/// Which users are let in.
pub enum Credentials {
    /// Anybody: the user-id is believed.
    Open,
    /// Those of a file, by the hash of their token.
    Users(users::Users),
    /// The holders of tokens signed under one of the keys.
    Signed(signed::Keys),
}

/// A user who was let in.
#[derive(Clone, Copy, Debug)]
pub struct User {
    name: Word<Asked>,
    limit: u32,
    admin: bool,
}

impl User {
    /// The user-id: see [`text::is_user_id`].
    pub fn name(self) -> Word<Asked> {
        self.name
    }

    /// How many streams the user may play at once.
    pub fn limit(self) -> u32 {
        self.limit
    }

    /// Whether the user may change what belongs to others.
    pub fn is_admin(self) -> bool {
        self.admin
    }
}

/// What the credentials say about a user who was let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// The user's own limit, if it is not the server's.
    pub limit: Option<u32>,
    /// Whether the user is marked `admin`.
    pub admin: bool,
}

/// Why a client was not let in: for the counters, never for the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No `Authorization`.
    Missing,
    /// Not Basic, not base64, no colon, a control character, or a user-id that none can have.
    Malformed,
    /// A user that the file does not name.
    UnknownUser,
    /// Not the user's token, or not signed by any key.
    WrongToken,
    /// Signed, but no longer valid.
    Expired,
    /// Signed, but for more streams than a user can be given.
    LimitOutOfRange,
}

impl Failure {
    /// Every cause, in the order of the enum, with its label in the metrics.
    pub const ALL: [(Self, &str); 6] = [
        (Self::Missing, "missing"),
        (Self::Malformed, "malformed"),
        (Self::UnknownUser, "unknown_user"),
        (Self::WrongToken, "wrong_token"),
        (Self::Expired, "expired"),
        (Self::LimitOutOfRange, "limit_out_of_range"),
    ];
}

/// Reads a user's own limit: 0 to [`MAX_LIMIT`].
fn limit(digits: &[u8]) -> Option<u32> {
    decimal::parse(digits).and_then(|limit| u32::try_from(limit).ok()).filter(|limit| *limit <= MAX_LIMIT)
}

/// Some editors begin a file with this. Here it would become part of the first user's name or of the first key.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
const MARKED: &str = "the line begins with a byte order mark; save the file without one";

impl Credentials {
    /// Lets in the user that `authorization` proves; `limit` is that of users who have none of their own.
    ///
    /// ```text
    /// credentials = "Basic" 1*SP token68               ; RFC 7617 section 2; the scheme without regard to case
    /// user-pass   = user-id ":" password               ; after base64; a user-id has no colon
    /// ```
    ///
    /// "The user-id and password MUST NOT contain any control characters": such a pair is not looked up.
    ///
    /// # Errors
    ///
    /// The cause, for the counters.
    pub fn check(
        &self,
        authorization: &[u8],
        wall: Timestamp,
        limit: u32,
        arena: &mut Arena<Asked>,
    ) -> Result<User, Failure> {
        if authorization.is_empty() {
            return Err(Failure::Missing);
        }
        let mark = arena.mark();
        decode(authorization, arena.bytes()).ok_or(Failure::Malformed)?;
        let pair = &arena.bytes()[mark..];
        let colon = pair.iter().position(|&byte| byte == b':').ok_or(Failure::Malformed)?;
        let (user, password) = (&pair[..colon], &pair[colon + 1..]);
        let granted = match self {
            _ if !text::is_user_id(user) || text::has_control(password) => Err(Failure::Malformed),
            Self::Open => Ok(Grant::default()),
            Self::Users(users) => users.check(user, password),
            Self::Signed(keys) => keys.check(user, password, wall),
        };
        // The password goes from memory as soon as it has been looked at.
        arena.bytes()[mark + colon..].fill(0);
        arena.bytes().truncate(mark + colon);
        let grant = granted?;
        Ok(User { name: arena.since(mark), limit: grant.limit.unwrap_or(limit), admin: grant.admin })
    }

    /// Whether the users file names `user`; None where there is no such file.
    pub fn knows(&self, user: &[u8]) -> Option<bool> {
        match self {
            Self::Users(users) => Some(users.grant(user).is_some()),
            Self::Open | Self::Signed(_) => None,
        }
    }

    /// The limit of `user`, as far as it is known without a token.
    pub fn limit_of(&self, user: &[u8], limit: u32) -> u32 {
        match self {
            Self::Users(users) => users.grant(user).and_then(|grant| grant.limit).unwrap_or(limit),
            Self::Open | Self::Signed(_) => limit,
        }
    }
}

fn decode(authorization: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (scheme, rest) = authorization.split_at_checked(5)?;
    if !scheme.eq_ignore_ascii_case(b"basic") || rest.first() != Some(&b' ') {
        return None;
    }
    base64::decode(rest.trim_ascii_start(), out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(authorization: &[u8], expected: Result<&[u8], Failure>) {
        let mut arena = Arena::default();
        arena.add(b"before");
        let user = Credentials::Open.check(authorization, Timestamp::default(), 3, &mut arena);
        assert_eq!(user.map(|user| arena.get(user.name())), expected);
    }

    fn basic(pair: &[u8]) -> Vec<u8> {
        let mut out = b"Basic ".to_vec();
        base64::encode(pair, &mut out);
        out
    }

    #[test]
    fn takes_any_well_formed_pair() {
        for (pair, user) in [
            (&b"alice:x"[..], &b"alice"[..]),
            (b"alice:", b"alice"),
            (b"a:b:c", b"a"),
            (b"al ice:x", b"al ice"),
            ("Żółw:€".as_bytes(), "Żółw".as_bytes()),
            (b"alice:\xFF", b"alice"),
            ("alice:\u{80}~ ".as_bytes(), b"alice"),
        ] {
            check(&basic(pair), Ok(user));
        }
        // RFC 7617 section 2 and 2.1.
        check(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", Ok(b"Aladdin"));
        check(b"Basic dGVzdDoxMjPCow==", Ok(b"test"));
        check(b"bASIC   YTpi", Ok(b"a"));
    }

    #[test]
    fn refuses_what_is_no_pair() {
        check(b"", Err(Failure::Missing));
        for authorization in [
            &b"Basic"[..],
            b"Basic ",
            b"BasicYTpi",
            b"Bearer YTpi",
            b"Basic YTpi=",
            b"Basic YTp",
            b"Basic YT pi",
        ] {
            check(authorization, Err(Failure::Malformed));
        }
        for pair in [&b""[..], b"alice", b":x", b"a\0b:x", b"a\r\nb:x", b"\xFF:x", "a\u{85}:x".as_bytes()] {
            check(&basic(pair), Err(Failure::Malformed));
        }
        for pair in [&b"alice:\0"[..], b"alice:x\n", b"alice:\x1Fx", b"alice:\x7F", b"alice:\t"] {
            check(&basic(pair), Err(Failure::Malformed));
        }
        let long = |n: usize| basic(&[&vec![b'x'; n][..], b":x"].concat());
        check(&long(256), Ok(&[b'x'; 256]));
        check(&long(257), Err(Failure::Malformed));
    }
}
