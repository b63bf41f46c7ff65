//! The query: which stream is meant and which one may give way, and what an operator adds to that.
//!
//! *Invariant:* a key that leaves here is UTF-8 of the contract's length without control characters, so that NUL
//! can stand between id and device. (Tested by `says_what_is_wrong`.)

use super::problem::Problem;
use crate::codec::text::{self, TextError};
use crate::codec::urlencoded;
use crate::streams::arena::{Arena, Word};
use crate::streams::batch::{Asked, Replace};
use crate::streams::limits;
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
    pub switch: bool,
    /// `class`, and the classes of the credentials: `mobile,live`.
    pub classes: Word<Asked>,
    /// Whether there is `class`.
    pub names_classes: bool,
}

/// What the query of an operator says, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserQuery {
    /// `id`, or `id NUL device`; None when there is neither.
    pub key: Option<Word<Asked>>,
    /// `reason`; empty when there is none.
    pub reason: Word<Asked>,
    pub hold: Option<Millis>,
    /// `user`: a second way to name one, for names such as `..` that no path can hold. Not checked yet.
    pub user: Option<Word<Asked>>,
}

impl Query {
    /// Decodes `query`, the part behind the `?`, into `arena`. Unknown parameters are ignored. `granted` are the classes of
    /// the credentials, which no query can leave out.
    /// An error is the first [`Problem`], in the order of the parameters of the contract.
    pub fn decode(query: &[u8], granted: Word<Asked>, arena: &mut Arena<Asked>) -> Result<Self, Problem> {
        let [id, device, replace, replace_device, switch, class] =
            values(query, ["id", "device", "replace", "replaceDevice", "switch", "class"])?;
        let key = stream(id, device, arena)?;
        let replace = match (replace, replace_device) {
            (Some(b""), None) => Replace::Oldest,
            (Some(id), device) => {
                Replace::Stream(self::key(id, device, ["replace", "replaceDevice"], arena)?)
            }
            (None, Some(_)) => return Err(Problem::QueryAlone("replaceDevice", "replace")),
            (None, None) => Replace::ByPolicy,
        };
        match switch {
            Some(b"") if device.is_none() => Err(Problem::QueryAlone("switch", "device")),
            Some(b"") | None => {
                let classes = class.map_or(Ok(granted), |class| classes(class, granted, arena))?;
                Ok(Self { key, replace, switch: switch.is_some(), classes, names_classes: class.is_some() })
            }
            Some(_) => Err(Problem::QueryValue("switch")),
        }
    }
}

impl UserQuery {
    /// As [`Query::decode`].
    pub fn decode(query: &[u8], arena: &mut Arena<Asked>) -> Result<Self, Problem> {
        let [id, device, reason, hold, user] = values(query, ["id", "device", "reason", "hold", "user"])?;
        let key = stream(id, device, arena)?;
        let reason = match reason {
            None | Some(b"") => Word::default(),
            Some(reason) => word(reason, "reason", MAX_REASON, arena)?,
        };
        let hold = match hold {
            None => None,
            Some(_) if key.is_some() => return Err(Problem::QueryBeside("hold", "id")),
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
) -> Result<[Option<&'a [u8]>; N], Problem> {
    let mut raw = [None; N];
    for (name, value) in urlencoded::pairs(query) {
        let Some(i) = names.iter().position(|known| urlencoded::is(name, known.as_bytes())) else {
            continue;
        };
        if raw[i].replace(value).is_some() {
            return Err(Problem::QueryRepeated(names[i]));
        }
    }
    Ok(raw)
}

/// The key of the stream that is meant, if one is.
fn stream(
    id: Option<&[u8]>,
    device: Option<&[u8]>,
    arena: &mut Arena<Asked>,
) -> Result<Option<Word<Asked>>, Problem> {
    match (id, device) {
        (Some(id), device) => key(id, device, ["id", "device"], arena).map(Some),
        (None, Some(_)) => Err(Problem::QueryAlone("device", "id")),
        (None, None) => Ok(None),
    }
}

fn length(raw: &[u8], arena: &mut Arena<Asked>) -> Result<Millis, Problem> {
    let written = word(raw, "hold", MAX_REASON, arena)?;
    let text = std::str::from_utf8(arena.get(written)).unwrap_or_default();
    Millis::parse(text).ok().filter(|length| *length <= MAX_HOLD).ok_or(Problem::QueryHold)
}

/// The classes that a query names, and behind them those of the credentials that it does not.
fn classes(raw: &[u8], granted: Word<Asked>, arena: &mut Arena<Asked>) -> Result<Word<Asked>, Problem> {
    let mark = arena.mark();
    urlencoded::decode(raw, arena.bytes()).map_err(|_| Problem::QueryPercent)?;
    let named = arena.since(mark);
    if !limits::is_list(arena.get(named)) {
        return Err(Problem::QueryClasses);
    }
    let mut copy = [0; limits::MAX_LIST];
    let length = arena.get(granted).len();
    copy[..length].copy_from_slice(arena.get(granted));
    for class in limits::classes(&copy[..length]) {
        if limits::classes(arena.get(named)).any(|other| other == class) {
            continue;
        }
        if arena.mark() > mark {
            arena.bytes().push(b',');
        }
        arena.bytes().extend_from_slice(class);
    }
    let all = arena.since(mark);
    if limits::is_list(arena.get(all)) { Ok(all) } else { Err(Problem::QueryClasses) }
}

fn word(
    raw: &[u8],
    name: &'static str,
    most: usize,
    arena: &mut Arena<Asked>,
) -> Result<Word<Asked>, Problem> {
    let mark = arena.mark();
    text(raw, name, most, arena)?;
    Ok(arena.since(mark))
}

fn key(
    id: &[u8],
    device: Option<&[u8]>,
    names: [&'static str; 2],
    arena: &mut Arena<Asked>,
) -> Result<Word<Asked>, Problem> {
    let mark = arena.mark();
    text(id, names[0], MAX_ID, arena)?;
    if let Some(device) = device {
        arena.bytes().push(0);
        text(device, names[1], MAX_DEVICE, arena)?;
    }
    Ok(arena.since(mark))
}

/// Decodes one value to the end of `arena`, and holds it to the contract.
fn text(raw: &[u8], name: &'static str, most: usize, arena: &mut Arena<Asked>) -> Result<(), Problem> {
    let mark = arena.mark();
    urlencoded::decode(raw, arena.bytes()).map_err(|_| Problem::QueryPercent)?;
    let decoded = &arena.bytes()[mark..];
    if decoded.is_empty() {
        return Err(Problem::QueryEmpty(name));
    }
    if decoded.len() > most {
        return Err(Problem::QueryTooLong(name, most));
    }
    text::check(decoded).map_err(|error| match error {
        TextError::Utf8 => Problem::QueryUtf8(name),
        TextError::Control => Problem::QueryControl(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Result<(Option<&str>, Option<&str>), Problem>) {
        let mut arena = Arena::default();
        let decoded = Query::decode(query.as_bytes(), Word::default(), &mut arena);
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
            ("id=V&id=V", Problem::QueryRepeated("id")),
            ("id=V&%69d=W", Problem::QueryRepeated("id")),
            ("id=V&device=a&device=a", Problem::QueryRepeated("device")),
            ("id=V&replace=a&replace=b", Problem::QueryRepeated("replace")),
            ("id=", Problem::QueryEmpty("id")),
            ("id", Problem::QueryEmpty("id")),
            ("id=V&device=", Problem::QueryEmpty("device")),
            ("device=tv", Problem::QueryAlone("device", "id")),
            ("id=V&replaceDevice=tv", Problem::QueryAlone("replaceDevice", "replace")),
            ("id=V&replace=&replaceDevice=tv", Problem::QueryEmpty("replace")),
            ("id=%FF", Problem::QueryUtf8("id")),
            ("id=%C3", Problem::QueryUtf8("id")),
            ("id=%00", Problem::QueryControl("id")),
            ("id=a%0D%0Ab", Problem::QueryControl("id")),
            ("id=%7F", Problem::QueryControl("id")),
            ("id=%C2%85", Problem::QueryControl("id")),
            ("id=V&device=%09", Problem::QueryControl("device")),
            ("id=%4", Problem::QueryPercent),
            ("id=V&switch", Problem::QueryAlone("switch", "device")),
            ("id=V&device=tv&switch=no", Problem::QueryValue("switch")),
            ("id=V&device=tv&switch&switch", Problem::QueryRepeated("switch")),
        ] {
            check(query, Err(fault));
        }
    }

    #[test]
    fn counts_bytes_after_decoding() {
        let euros = |n: usize| "%E2%82%AC".repeat(n);
        let check = |query: String, fault: Option<Problem>| {
            assert_eq!(
                Query::decode(query.as_bytes(), Word::default(), &mut Arena::default()).err(),
                fault,
                "{query}"
            );
        };
        check(format!("id={}", "x".repeat(256)), None);
        check(format!("id={}", "x".repeat(257)), Some(Problem::QueryTooLong("id", 256)));
        check(format!("id={}x", euros(85)), None);
        check(format!("id={}xx", euros(85)), Some(Problem::QueryTooLong("id", 256)));
        check(format!("id=V&device={}", "x".repeat(64)), None);
        check(format!("id=V&device={}", "x".repeat(65)), Some(Problem::QueryTooLong("device", 64)));
    }

    #[test]
    fn an_operator_gives_reasons_and_holds() {
        #[track_caller]
        fn check(query: &str, expected: Result<(&str, Option<u64>, Option<&str>), Problem>) {
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
            ("hold=31d", Problem::QueryHold),
            ("hold=2592000001ms", Problem::QueryHold),
            ("hold=-1s", Problem::QueryHold),
            ("hold=soon", Problem::QueryHold),
            ("hold=99999999999999999999d", Problem::QueryHold),
            ("hold=", Problem::QueryEmpty("hold")),
            ("hold=1s&hold=1s", Problem::QueryRepeated("hold")),
            ("hold=1s&id=V", Problem::QueryBeside("hold", "id")),
            ("reason=a%0Ab", Problem::QueryControl("reason")),
            ("reason=%FF", Problem::QueryUtf8("reason")),
            ("reason=a&reason=b", Problem::QueryRepeated("reason")),
            ("user=", Problem::QueryEmpty("user")),
            ("device=tv", Problem::QueryAlone("device", "id")),
        ] {
            check(query, Err(fault));
        }
        check(&format!("reason={}", "x".repeat(201)), Err(Problem::QueryTooLong("reason", 200)));
    }
}
