//! Who asks: `Authorization: Basic` (RFC 7617) or `Bearer` (RFC 6750), held against one of three kinds of credentials.
//!
//! *Invariant:* only this room makes a [`User`], so code that is handed one need not ask again; and no response or
//! log line says whether it was the user or the token that was wrong, nor holds the token. (Tested by
//! `failures_are_counted_by_cause_and_no_secret_is_written_down`.)

pub mod keys;
pub mod signed;
pub mod users;

use crate::codec::{base64, labelled, text};
use crate::streams::arena::{Arena, Word};
use crate::streams::batch::Asked;
use crate::streams::limits::Limits;
use crate::time::Timestamp;

use signed::LastToken;

/// What the files of credentials say, read together.
pub struct Credentials {
    /// Which users are let in.
    pub mode: Mode,
    /// What passes are signed with, if there are any. It lets nobody in.
    pub pass: Option<keys::Keys>,
}

/// Which users are let in.
pub enum Mode {
    /// Anybody: the user-id is believed.
    Open,
    /// Those of a file, by the hash of their token.
    Users(users::Users),
    /// The holders of tokens signed under one of the keys.
    Signed(signed::Signed),
}

/// A user who was let in.
#[derive(Clone, Copy, Debug)]
pub struct User {
    /// Private, so that others cannot make a user.
    name: Word<Asked>,
    /// How many streams the user may play at once.
    pub limits: Limits<Word<Asked>>,
    /// What every stream that the user starts carries, with commas between the words.
    pub classes: Word<Asked>,
    /// Whether the user may look at and change what belongs to others.
    pub is_admin: bool,
}

impl User {
    /// The user-id: see [`text::is_user_id`].
    pub fn name(self) -> Word<Asked> {
        self.name
    }
}

/// What the credentials say about a user who was let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The user's own limit, if it is not the server's.
    pub limits: Option<Limits<&'a [u8]>>,
    /// Whether the user is marked `admin`.
    pub admin: bool,
}

labelled! {
    /// Why a client was not let in: for the counters, never for the response.
    pub enum Failure {
        /// No `Authorization`.
        Missing = "missing",
        /// Neither Basic nor Bearer, not base64, no colon, a control character, or a user-id that none can have.
        Malformed = "malformed",
        /// Bearer, where no tokens are signed.
        Scheme = "scheme",
        /// A user that the file does not name.
        UnknownUser = "unknown_user",
        /// Not the user's token, of those whose hashes stand in the file.
        WrongToken = "wrong_token",
        /// No JWT.
        Form = "form",
        /// A JWT of another algorithm, or one that asks for more.
        Algorithm = "algorithm",
        /// A JWT that no key has signed.
        Signature = "signature",
        /// Signed, but a claim is missing, twice there or of a wrong kind.
        Claims = "claims",
        /// Signed, but for somebody else to take.
        Audience = "audience",
        /// Signed, but no longer valid.
        Expired = "expired",
        /// Signed, but not valid yet.
        Early = "early",
        /// Signed, but for another user than the one beside it.
        OtherUser = "other_user",
    }
}

/// How a client is told to say who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// By Basic alone.
    Basic,
    /// By Basic alone; it was Bearer.
    NotBearer,
    /// By Basic or by Bearer.
    Either,
    /// The same; there was a Bearer token that is not taken.
    InvalidToken,
}

impl Challenge {
    /// The sentence that says so.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Basic => "Valid credentials are needed; send `Authorization: Basic` with user and token.",
            Self::NotBearer => {
                "No Bearer token is taken here; send `Authorization: Basic` with user and token."
            }
            Self::Either | Self::InvalidToken => {
                "A valid token is needed; send `Authorization: Bearer` with it, or `Basic` with user and token."
            }
        }
    }

    /// What follows the challenge of Basic in a field of its own, since not every client takes a list of challenges apart
    /// (RFC 6750 section 3).
    pub fn bearer(self) -> Option<&'static str> {
        match self {
            Self::Basic | Self::NotBearer => None,
            Self::Either => Some("Bearer realm=\"streamer\""),
            Self::InvalidToken => Some("Bearer realm=\"streamer\", error=\"invalid_token\""),
        }
    }
}

/// Some editors begin a file with this. Here it would become part of the first user's name or of the first key.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
const MARKED: &str = "the line begins with a byte order mark; save the file without one";

/// ```text
/// credentials = ( "Basic" / "Bearer" ) 1*SP token68      ; RFC 9110 section 11.4; without regard to case
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Basic,
    Bearer,
}

impl Scheme {
    fn split(authorization: &[u8]) -> Option<(Self, &[u8])> {
        [(Self::Basic, &b"basic"[..]), (Self::Bearer, b"bearer")].into_iter().find_map(|(scheme, name)| {
            let (start, value) = authorization.split_at_checked(name.len())?;
            let is_whole = value.first().is_none_or(|&byte| byte == b' ');
            (is_whole && start.eq_ignore_ascii_case(name)).then(|| (scheme, value.trim_ascii_start()))
        })
    }
}

/// What a request comes with, beside its `Authorization`.
pub struct Asking<'a> {
    pub wall: Timestamp,
    /// How many streams a user may play at once who has no limit of their own.
    pub limits: Limits<&'a [u8]>,
    pub last: &'a mut LastToken,
    /// Where the user's name is put.
    pub arena: &'a mut Arena<Asked>,
}

impl From<Mode> for Credentials {
    /// Without passes.
    fn from(mode: Mode) -> Self {
        Self { mode, pass: None }
    }
}

impl Credentials {
    /// Lets in the user that `authorization` proves.
    /// An error is the cause, for the counters.
    pub fn check(&self, authorization: &[u8], asking: Asking) -> Result<User, Failure> {
        if authorization.is_empty() {
            return Err(Failure::Missing);
        }
        let signed = match &self.mode {
            Mode::Open => return check_pair(authorization, asking, |_, _| Ok(Grant::default())),
            Mode::Users(users) => {
                return check_pair(authorization, asking, |user, token| users.check(user, token));
            }
            Mode::Signed(signed) => signed,
        };
        let Asking { wall, limits, last, arena } = asking;
        let hash = signed.hash(authorization);
        if let Some(user) = last.recall(hash, wall, limits, arena) {
            return Ok(user);
        }
        match Scheme::split(authorization).ok_or(Failure::Malformed)? {
            (Scheme::Bearer, token) => signed.verify(token, None, wall, hash, last),
            (Scheme::Basic, pair) => {
                with_pair(pair, arena, |user, token| signed.verify(token, Some(user), wall, hash, last))
            }
        }?;
        last.recall(hash, wall, limits, arena).ok_or(Failure::Expired)
    }

    /// What to answer a client that was not let in.
    pub fn challenge(&self, authorization: &[u8]) -> Challenge {
        let is_bearer = matches!(Scheme::split(authorization), Some((Scheme::Bearer, _)));
        match (&self.mode, is_bearer) {
            (Mode::Signed(_), true) => Challenge::InvalidToken,
            (Mode::Signed(_), false) => Challenge::Either,
            (_, true) => Challenge::NotBearer,
            (_, false) => Challenge::Basic,
        }
    }

    /// The users of the file, if there is one. Of no others anything is known without a token.
    pub fn users(&self) -> Option<&users::Users> {
        if let Mode::Users(users) = &self.mode { Some(users) } else { None }
    }
}

/// Lets in the user of a pair that `check` knows.
fn check_pair<'a>(
    authorization: &[u8],
    Asking { limits, arena, .. }: Asking,
    check: impl FnOnce(&[u8], &[u8]) -> Result<Grant<'a>, Failure>,
) -> Result<User, Failure> {
    let pair = match Scheme::split(authorization).ok_or(Failure::Malformed)? {
        (Scheme::Basic, pair) => pair,
        (Scheme::Bearer, _) => return Err(Failure::Scheme),
    };
    let mark = arena.mark();
    let Grant { limits: own, admin } = with_pair(pair, arena, check)?;
    let name = arena.since(mark);
    let limits = own.unwrap_or(limits).into_arena(arena);
    Ok(User { name, limits, classes: Word::default(), is_admin: admin })
}

/// Decodes a pair of Basic into `arena`, and has `check` look at the user and the password. Only a user who is let in stays.
/// The rest is wiped, so that no secret stays in the arena for as long as an engine takes; what the client sent stays in the
/// worker's buffer until other requests overwrite it.
///
/// ```text
/// user-pass = user-id ":" password               ; RFC 7617 section 2; a user-id has no colon
/// ```
///
/// "The user-id and password MUST NOT contain any control characters": such a pair is not looked up. The base64 may be
/// without padding or in the alphabet for URLs, as it must be where it stands in one.
fn with_pair<T>(
    encoded: &[u8],
    arena: &mut Arena<Asked>,
    check: impl FnOnce(&[u8], &[u8]) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mark = arena.mark();
    base64::decode(encoded, arena.bytes()).map_err(|_| Failure::Malformed)?;
    let pair = &arena.bytes()[mark..];
    let colon = pair.iter().position(|&byte| byte == b':').unwrap_or(0);
    let checked = match pair.split_at(colon) {
        (user, [b':', password @ ..]) if text::is_user_id(user) && !text::has_control(password) => {
            check(user, password)
        }
        _ => Err(Failure::Malformed),
    };
    let stays = mark + if checked.is_ok() { colon } else { 0 };
    arena.bytes()[stays..].fill(0);
    arena.bytes().truncate(stays);
    checked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(authorization: &[u8], expected: Result<&[u8], Failure>) {
        let mut arena = Arena::default();
        arena.add(b"before");
        let (last, limits) = (&mut LastToken::default(), Limits::from(3));
        let asking = Asking { wall: Timestamp::default(), limits, last, arena: &mut arena };
        let user = Credentials::from(Mode::Open).check(authorization, asking);
        assert_eq!(user.map(|user| arena.get(user.name)), expected);
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
        // As a path holds it.
        check(b"Basic YWxpY2U6Pz4_", Ok(b"alice"));
        check(b"Basic YTo", Ok(b"a"));
    }

    #[test]
    fn refuses_what_is_no_pair() {
        check(b"", Err(Failure::Missing));
        check(b"Bearer YTpi", Err(Failure::Scheme));
        for authorization in [
            &b"Basic"[..],
            b"Basic ",
            b"BasicYTpi",
            b"Basic YTpi=",
            b"Basic YTq",
            b"Basic YT pi",
            b"Bearers YTpi",
            b"Digest YTpi",
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
