//! Request targets and hosts.

use super::{Method, scan};
use crate::codec::{decimal, hex};
use core::net::{IpAddr, Ipv6Addr};
use std::ops::Range;

/// The parts of a request target, as places in the request's bytes; empty where it has none.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) authority: Range<usize>,
    pub(super) path: Range<usize>,
    pub(super) query: Range<usize>,
}

/// Whether a target of this method may begin with this byte: garbage need not be waited for.
#[inline]
pub(super) fn may_begin(method: Method, byte: u8) -> bool {
    match byte {
        b'/' => method != Method::Connect,
        b'*' => matches!(method, Method::Options | Method::Connect),
        b'h' | b'H' => true,
        _ => method == Method::Connect,
    }
}

/// Takes a target apart. Its bytes are known to be ones that a target may hold; `question` is its first `?`.
///
/// ```text
/// RFC 9112 section 3.2
/// request-target = origin-form / absolute-form / authority-form / asterisk-form
/// origin-form    = absolute-path [ "?" query ]
/// asterisk-form  = "*"
/// authority-form = uri-host ":" port
/// ```
#[inline]
pub(super) fn parts(
    method: Method,
    bytes: &[u8],
    target: Range<usize>,
    question: Option<usize>,
) -> Option<Parts> {
    let path_end = question.unwrap_or(target.end);
    let query = question.map_or(0..0, |question| question + 1..target.end);
    match (&bytes[target.clone()], method) {
        (authority, Method::Connect) => {
            has_port(authority).then(|| Parts { authority: target, ..Parts::default() })
        }
        ([b'/', ..], _) => Some(Parts { authority: 0..0, path: target.start..path_end, query }),
        ([b'*'], Method::Options) => Some(Parts::default()),
        (_, _) => absolute(bytes, target.start..path_end).map(|parts| Parts { query, ..parts }),
    }
}

/// ```text
/// RFC 9112 section 3.2.2, RFC 9110 section 4.2, RFC 3986 section 3
/// absolute-form = absolute-URI
/// http-URI      = "http" "://" authority path-abempty [ "?" query ]
/// https-URI     = "https" "://" authority path-abempty [ "?" query ]
/// ```
///
/// Other schemes are not served here, and userinfo is refused (RFC 9110 section 4.2.4: it obscures the
/// authority).
#[cold]
fn absolute(bytes: &[u8], before_query: Range<usize>) -> Option<Parts> {
    let uri = &bytes[before_query.clone()];
    let scheme = ["https://", "http://"].into_iter().find(|scheme| {
        uri.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    })?;
    let authority_start = before_query.start + scheme.len();
    let rest = &bytes[authority_start..before_query.end];
    let authority_end = authority_start + rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
    is_authority(&bytes[authority_start..authority_end]).then_some(Parts {
        authority: authority_start..authority_end,
        path: authority_end..before_query.end,
        query: 0..0,
    })
}

/// Whether these bytes name a host, as `Host` and a target of http or https do.
///
/// ```text
/// RFC 9110 section 7.2, RFC 3986 section 3.2
/// Host = uri-host [ ":" port ]
/// port = *DIGIT
/// ```
///
/// Stricter than the grammar: the host is not empty (RFC 9110 section 4.2.1 for http) and a port is one that
/// exists.
#[inline]
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    let (host, port) = split_port(bytes);
    is_host(host) && port.is_none_or(is_port)
}

/// Whether these bytes name a host and a port.
pub fn has_port(bytes: &[u8]) -> bool {
    is_authority(bytes) && split_port(bytes).1.is_some_and(|port| !port.is_empty())
}

/// The host and what follows the colon behind it. The colons in brackets belong to the host.
#[inline]
pub fn split_port(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    let place = |bytes: &[u8], sought| bytes.iter().position(|&byte| byte == sought);
    let bracket = if bytes.first() == Some(&b'[') { place(bytes, b']').unwrap_or(0) } else { 0 };
    match place(&bytes[bracket..], b':') {
        Some(colon) => (&bytes[..bracket + colon], Some(&bytes[bracket + colon + 1..])),
        None => (bytes, None),
    }
}

/// The address that a host is, in brackets or not.
pub fn address(host: &[u8]) -> Option<IpAddr> {
    let inside = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(host);
    str::from_utf8(inside).ok()?.parse().ok()
}

fn is_port(digits: &[u8]) -> bool {
    digits.is_empty() || decimal::parse_port(digits).is_some()
}

/// ```text
/// RFC 3986 section 3.2.2
/// host       = IP-literal / IPv4address / reg-name
/// IP-literal = "[" ( IPv6address / IPvFuture ) "]"
/// ```
///
/// Whatever is an `IPv4address` is a `reg-name` too.
#[inline]
fn is_host(host: &[u8]) -> bool {
    match host {
        [] => false,
        [b'[', address @ .., b']'] => is_ipv6(address) || is_ip_future(address),
        _ => is_reg_name(host),
    }
}

fn is_ipv6(address: &[u8]) -> bool {
    str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// `IPvFuture = "v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )`
fn is_ip_future(address: &[u8]) -> bool {
    let [b'v' | b'V', rest @ ..] = address else { return false };
    let Some(dot) = rest.iter().position(|&byte| byte == b'.') else { return false };
    let (version, name) = (&rest[..dot], &rest[dot + 1..]);
    let is_name = |part: &[u8]| scan::run(part, 0, scan::REG_NAME) == part.len();
    !version.is_empty()
        && version.iter().all(u8::is_ascii_hexdigit)
        && !name.is_empty()
        && name.split(|&byte| byte == b':').all(is_name)
}

/// `reg-name = *( unreserved / pct-encoded / sub-delims )`
#[inline]
fn is_reg_name(name: &[u8]) -> bool {
    let mut at = scan::run(name, 0, scan::REG_NAME);
    while let [b'%', high, low, ..] = name[at..]
        && hex::digit(high).is_some()
        && hex::digit(low).is_some()
    {
        at = scan::run(name, at + 3, scan::REG_NAME);
    }
    at == name.len()
}
