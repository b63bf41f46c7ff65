//! The query: which stream is meant and which one may give way, and what an operator adds to that.
//!
//! *Invariant:* a key that leaves here is UTF-8 of the contract's length without control characters, so that NUL can
//! stand between id and device.

use crate::codec::text::{self, TextError};
use crate::codec::urlencoded;
use crate::streams::arena::{Arena, Word};
use crate::streams::batch::{Asked, Replace};
use crate::streams::{MAX_DEVICE, MAX_ID};
use crate::time::Millis;

/// How long an operator's reason may be, in bytes after percent-decoding.
pub const MAX_REASON: usize = 200;
/// How long a hold may last.
pub const MAX_HOLD: Millis = Millis::from_secs(30 * 24 * 60 * 60);

/// What the query of a player says, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// `id`, or `id NUL device`; None when there is neither.
    pub key: Option<Word<Asked>>,
    /// `replace` and `replaceDevice`.
    pub replace: Replace,
    /// Whether there is `switch`.
    pub switch: bool,
}

/// What the query of an operator says, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserQuery {
    /// `id`, or `id NUL device`; None when there is neither.
    pub key: Option<Word<Asked>>,
    /// `reason`; empty when there is none.
    pub reason: Word<Asked>,
    /// `hold`.
    pub hold: Option<Millis>,
    /// `user`: a second way to name one, for names such as `..` that no path can hold. Not checked yet.
    pub user: Option<Word<Asked>>,
}

/// What is wrong with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// The parameter comes more than once.
    Repeated(&'static str),
    /// The parameter is there, but empty.
    Empty(&'static str),
    /// The parameter has more than so many bytes.
    TooLong(&'static str, usize),
    /// The parameter is not UTF-8 when decoded.
    Utf8(&'static str),
    /// The parameter holds a control character.
    Control(&'static str),
    /// The first parameter makes no sense without the second.
    Alone(&'static str, &'static str),
    /// The first parameter makes no sense beside the second.
    Beside(&'static str, &'static str),
    /// The parameter takes no value.
    Value(&'static str),
    /// `hold` is no length of time, or too long.
    Hold,
    /// A `%` without its two digits.
    Percent,
}

impl Query {
    /// Decodes `query`, the part behind the `?`, into `arena`. Unknown parameters are ignored.
    ///
    /// # Errors
    ///
    /// The first [`QueryError`], in the order of the parameters of the contract.
    pub fn decode(query: &[u8], arena: &mut Arena<Asked>) -> Result<Self, QueryError> {
        let [id, device, replace, replace_device, switch] =
            values(query, ["id", "device", "replace", "replaceDevice", "switch"])?;
        let key = stream(id, device, arena)?;
        let replace = match (replace, replace_device) {
            (Some(b""), None) => Replace::Oldest,
            (Some(id), device) => {
                Replace::Stream(self::key(id, device, ["replace", "replaceDevice"], arena)?)
            }
            (None, Some(_)) => return Err(QueryError::Alone("replaceDevice", "replace")),
            (None, None) => Replace::ByPolicy,
        };
        match switch {
            Some(b"") if device.is_none() => Err(QueryError::Alone("switch", "device")),
            Some(b"") | None => Ok(Self { key, replace, switch: switch.is_some() }),
            Some(_) => Err(QueryError::Value("switch")),
        }
    }
}

impl UserQuery {
    /// As [`Query::decode`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn decode(query: &[u8], arena: &mut Arena<Asked>) -> Result<Self, QueryError> {
        let [id, device, reason, hold, user] = values(query, ["id", "device", "reason", "hold", "user"])?;
        let key = stream(id, device, arena)?;
        let reason = match reason {
            None | Some(b"") => Word::default(),
            Some(reason) => word(reason, "reason", MAX_REASON, arena)?,
        };
        let hold = match hold {
            None => None,
            Some(_) if key.is_some() => return Err(QueryError::Beside("hold", "id")),
            Some(hold) => Some(length(hold, arena)?),
        };
        let user = user.map(|user| word(user, "user", usize::MAX, arena)).transpose()?;
        Ok(Self { key, reason, hold, user })
    }
}

/// The values of the parameters called `names`, still encoded.
fn values<'a, const N: usize>(
    query: &'a [u8],
    names: [&'static str; N],
) -> Result<[Option<&'a [u8]>; N], QueryError> {
    let mut raw = [None; N];
    for (name, value) in urlencoded::pairs(query) {
        let Some(i) = names.iter().position(|known| urlencoded::is(name, known.as_bytes())) else {
            continue;
        };
        if raw[i].replace(value).is_some() {
            return Err(QueryError::Repeated(names[i]));
        }
    }
    Ok(raw)
}

/// The key of the stream that is meant, if one is.
fn stream(
    id: Option<&[u8]>,
    device: Option<&[u8]>,
    arena: &mut Arena<Asked>,
) -> Result<Option<Word<Asked>>, QueryError> {
    match (id, device) {
        (Some(id), device) => key(id, device, ["id", "device"], arena).map(Some),
        (None, Some(_)) => Err(QueryError::Alone("device", "id")),
        (None, None) => Ok(None),
    }
}

fn length(raw: &[u8], arena: &mut Arena<Asked>) -> Result<Millis, QueryError> {
    let written = word(raw, "hold", MAX_REASON, arena)?;
    let text = std::str::from_utf8(arena.get(written)).unwrap_or_default();
    Millis::parse(text).ok().filter(|length| *length <= MAX_HOLD).ok_or(QueryError::Hold)
}

fn word(
    raw: &[u8],
    name: &'static str,
    most: usize,
    arena: &mut Arena<Asked>,
) -> Result<Word<Asked>, QueryError> {
    let mark = arena.mark();
    text(raw, name, most, arena)?;
    Ok(arena.since(mark))
}

fn key(
    id: &[u8],
    device: Option<&[u8]>,
    names: [&'static str; 2],
    arena: &mut Arena<Asked>,
) -> Result<Word<Asked>, QueryError> {
    let mark = arena.mark();
    text(id, names[0], MAX_ID, arena)?;
    if let Some(device) = device {
        arena.bytes().push(0);
        text(device, names[1], MAX_DEVICE, arena)?;
    }
    Ok(arena.since(mark))
}

/// Decodes one value to the end of `arena`, and holds it to the contract.
fn text(raw: &[u8], name: &'static str, most: usize, arena: &mut Arena<Asked>) -> Result<(), QueryError> {
    let mark = arena.mark();
    urlencoded::decode(raw, arena.bytes()).map_err(|_| QueryError::Percent)?;
    let decoded = &arena.bytes()[mark..];
    if decoded.is_empty() {
        return Err(QueryError::Empty(name));
    }
    if decoded.len() > most {
        return Err(QueryError::TooLong(name, most));
    }
    text::check(decoded).map_err(|error| match error {
        TextError::Utf8 => QueryError::Utf8(name),
        TextError::Control => QueryError::Control(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Result<(Option<&str>, Option<&str>), QueryError>) {
        let mut arena = Arena::default();
        let decoded = Query::decode(query.as_bytes(), &mut arena);
        let show = |word| String::from_utf8_lossy(arena.get(word)).replace('\0', "/");
        let shown = decoded.map(|query| {
            let replace = match query.replace {
                Replace::ByPolicy => None,
                Replace::Oldest => Some(String::new()),
                Replace::Stream(key) => Some(show(key)),
            };
            let switch = query.switch.then(|| "and switch".into());
            (query.key.map(show), replace.or(switch))
        });
        let expected = expected.map(|(key, replace)| (key.map(String::from), replace.map(String::from)));
        assert_eq!(shown, expected, "{query}");
    }

    #[test]
    fn finds_the_parameters_and_ignores_the_rest() {
        for (query, key, replace) in [
            ("", None, None),
            ("id=V", Some("V"), None),
            ("x=1&id=V&y&=&", Some("V"), None),
            ("ID=W&id=V&identity=X", Some("V"), None),
            ("%69%64=V", Some("V"), None),
            ("id=a+b%20c%2Bd", Some("a b c+d"), None),
            ("id=a=b", Some("a=b"), None),
            ("id=%E2%82%AC", Some("€"), None),
            ("device=tv&id=V", Some("V/tv"), None),
            ("id=V&replace=", Some("V"), Some("")),
            ("id=V&replace", Some("V"), Some("")),
            ("id=V&replace=W", Some("V"), Some("W")),
            ("replaceDevice=tv&replace=W&id=V&device=pad", Some("V/pad"), Some("W/tv")),
            ("id=V&device=tv&switch", Some("V/tv"), Some("and switch")),
            ("switch=&id=V&device=tv", Some("V/tv"), Some("and switch")),
            ("id=V&reason=%FF&hold=x&user=", Some("V"), None),
        ] {
            check(query, Ok((key, replace)));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (query, fault) in [
            ("id=V&id=V", QueryError::Repeated("id")),
            ("id=V&%69d=W", QueryError::Repeated("id")),
            ("id=V&device=a&device=a", QueryError::Repeated("device")),
            ("id=V&replace=a&replace=b", QueryError::Repeated("replace")),
            ("id=", QueryError::Empty("id")),
            ("id", QueryError::Empty("id")),
            ("id=V&device=", QueryError::Empty("device")),
            ("device=tv", QueryError::Alone("device", "id")),
            ("id=V&replaceDevice=tv", QueryError::Alone("replaceDevice", "replace")),
            ("id=V&replace=&replaceDevice=tv", QueryError::Empty("replace")),
            ("id=%FF", QueryError::Utf8("id")),
            ("id=%C3", QueryError::Utf8("id")),
            ("id=%00", QueryError::Control("id")),
            ("id=a%0D%0Ab", QueryError::Control("id")),
            ("id=%7F", QueryError::Control("id")),
            ("id=%C2%85", QueryError::Control("id")),
            ("id=V&device=%09", QueryError::Control("device")),
            ("id=%4", QueryError::Percent),
            ("id=V&switch", QueryError::Alone("switch", "device")),
            ("id=V&device=tv&switch=no", QueryError::Value("switch")),
            ("id=V&device=tv&switch&switch", QueryError::Repeated("switch")),
        ] {
            check(query, Err(fault));
        }
    }

    #[test]
    fn counts_bytes_after_decoding() {
        let euros = |n: usize| "%E2%82%AC".repeat(n);
        let check = |query: String, fault: Option<QueryError>| {
            assert_eq!(Query::decode(query.as_bytes(), &mut Arena::default()).err(), fault, "{query}");
        };
        check(format!("id={}", "x".repeat(256)), None);
        check(format!("id={}", "x".repeat(257)), Some(QueryError::TooLong("id", 256)));
        check(format!("id={}x", euros(85)), None);
        check(format!("id={}xx", euros(85)), Some(QueryError::TooLong("id", 256)));
        check(format!("id=V&device={}", "x".repeat(64)), None);
        check(format!("id=V&device={}", "x".repeat(65)), Some(QueryError::TooLong("device", 64)));
    }

    #[test]
    fn an_operator_gives_reasons_and_holds() {
        #[track_caller]
        fn check(query: &str, expected: Result<(&str, Option<u64>, Option<&str>), QueryError>) {
            let mut arena = Arena::default();
            let decoded = UserQuery::decode(query.as_bytes(), &mut arena);
            let show = |word| String::from_utf8_lossy(arena.get(word)).into_owned();
            let shown = decoded.map(|UserQuery { reason, hold, user, .. }| {
                (show(reason), hold.map(Millis::millis), user.map(show))
            });
            let expected = expected.map(|(reason, hold, user)| (reason.into(), hold, user.map(String::from)));
            assert_eq!(shown, expected, "{query}");
        }
        check("", Ok(("", None, None)));
        check("reason=", Ok(("", None, None)));
        check("reason=shared+account&hold=10m", Ok(("shared account", Some(600_000), None)));
        check("hold=0s", Ok(("", Some(0), None)));
        check("hold=30d&user=..", Ok(("", Some(2_592_000_000), Some(".."))));
        check("id=V&switch=x&replace&replaceDevice=", Ok(("", None, None)));
        check(&format!("reason={}", "x".repeat(200)), Ok((&"x".repeat(200), None, None)));
        for (query, fault) in [
            ("hold=31d", QueryError::Hold),
            ("hold=2592000001ms", QueryError::Hold),
            ("hold=-1s", QueryError::Hold),
            ("hold=soon", QueryError::Hold),
            ("hold=99999999999999999999d", QueryError::Hold),
            ("hold=", QueryError::Empty("hold")),
            ("hold=1s&hold=1s", QueryError::Repeated("hold")),
            ("hold=1s&id=V", QueryError::Beside("hold", "id")),
            ("reason=a%0Ab", QueryError::Control("reason")),
            ("reason=%FF", QueryError::Utf8("reason")),
            ("reason=a&reason=b", QueryError::Repeated("reason")),
            ("user=", QueryError::Empty("user")),
            ("device=tv", QueryError::Alone("device", "id")),
        ] {
            check(query, Err(fault));
        }
        check(&format!("reason={}", "x".repeat(201)), Err(QueryError::TooLong("reason", 200)));
    }
}
