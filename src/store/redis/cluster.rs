//! Which node has which key: slots, the map of a Cluster, and the errors that send a client elsewhere.

use super::resp::Reply;
use super::url::Address;

pub const SLOTS: usize = 16384;

/// The slot of a key. Of a key with a hash tag only the tag counts: what stands between the first `{` and the first `}`
/// behind it, if that is anything (Cluster specification, "Hash tags").
pub fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let length = rest.iter().position(|&byte| byte == b'}')?;
        (length > 0).then(|| &rest[..length])
    });
    crc16(tag.unwrap_or(key)) % SLOTS as u16
}

/// CRC-16/XMODEM: polynomial 0x1021, nothing reflected, begins and ends with 0. Redis Cluster places keys by it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// A range of slots and who has it, as a node sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Range {
    /// The first slot and the last.
    pub slots: (u16, u16),
    /// The master; None when the node does not know its address.
    pub master: Option<Address>,
    /// Other nodes that can be asked for the map.
    pub replicas: Vec<Address>,
    /// What all of these are called in the Cluster.
    pub ids: Vec<Vec<u8>>,
}

/// Reads the answer to `CLUSTER SLOTS`, given by a node at `asked`. None: it is something else.
pub fn map(reply: &Reply, asked: &Address) -> Option<Vec<Range>> {
    let Reply::Array(ranges) = reply else { return None };
    ranges.iter().map(|range| self::range(range, asked)).collect()
}

/// How many slots these ranges leave out.
pub fn uncovered(ranges: &[Range]) -> usize {
    let covered: usize = ranges
        .iter()
        .filter(|range| range.master.is_some())
        .map(|Range { slots: (first, last), .. }| usize::from(last.saturating_sub(*first)) + 1)
        .sum();
    SLOTS.saturating_sub(covered)
}

fn range(reply: &Reply, asked: &Address) -> Option<Range> {
    let Reply::Array(parts) = reply else { return None };
    let [first, last, parts @ ..] = &parts[..] else { return None };
    let slots = (slot_number(first)?, slot_number(last)?);
    let (mut addresses, mut ids) = (Vec::new(), Vec::new());
    for part in parts {
        let Reply::Array(node) = part else { return None };
        addresses.push(self::node(node, asked));
        if let Some(Reply::Bulk(id)) = node.get(2) {
            ids.push(id.to_vec());
        }
    }
    let master = if addresses.is_empty() { return None } else { addresses.remove(0) };
    Some(Range { slots, master, replicas: addresses.into_iter().flatten().collect(), ids })
}

fn slot_number(reply: &Reply) -> Option<u16> {
    let Reply::Integer(n) = reply else { return None };
    u16::try_from(*n).ok().filter(|&n| usize::from(n) < SLOTS)
}

/// A node: host, port, id and, since version 7, what else is known of it. A host that is null or empty means the host
/// that was asked; `?` that it is not known, but its address or name may be among the rest.
fn node(parts: &[Reply], asked: &Address) -> Option<Address> {
    let [host, Reply::Integer(port), rest @ ..] = parts else { return None };
    let port = u16::try_from(*port).ok().filter(|&port| port > 0)?;
    let host = match host {
        Reply::Null | Reply::Bulk(b"") => return beside(asked, port),
        Reply::Bulk(b"?") => metadata(rest.get(1)?)?,
        Reply::Bulk(host) => host,
        _ => return None,
    };
    Some(Address::Tcp { host: String::from_utf8(host.to_vec()).ok()?, port })
}

/// The `ip` or `hostname` among names and values.
fn metadata<'a>(reply: &Reply<'a>) -> Option<&'a [u8]> {
    let Reply::Array(items) = reply else { return None };
    items.chunks_exact(2).find_map(|pair| match *pair {
        [Reply::Bulk(b"ip" | b"hostname"), Reply::Bulk(value)] => {
            Some(value).filter(|value| !value.is_empty())
        }
        _ => None,
    })
}

/// The same host at another port. What is reached through a socket of the file system is on this machine.
fn beside(asked: &Address, port: u16) -> Option<Address> {
    let host = match asked {
        Address::Tcp { host, .. } => host.clone(),
        Address::Unix(_) => "127.0.0.1".into(),
    };
    Some(Address::Tcp { host, port })
}

/// What an error means for the command that it answers.
#[derive(Debug, PartialEq, Eq)]
pub enum ErrorReply {
    /// The slot has moved there; None when the node does not know the address.
    Moved(Option<Address>),
    /// Only this key: ask there, once, after `ASKING`.
    Ask(Option<Address>),
    /// Not now: the Cluster is changing.
    Later,
    /// The connection is of no use: its server is a replica now, or is only starting.
    Elsewhere,
    /// The server does not know the script by its hash.
    NoScript,
    /// What is under the key is no record, which is nothing to other keys.
    NoRecord,
    /// It will not be done, nor perhaps will others.
    Never,
}

/// Reads an error, given by a node at `asked`.
pub fn refused(error: &[u8], asked: &Address) -> ErrorReply {
    let mut words = unwrapped(error).split(|&byte| byte == b' ');
    match words.next().unwrap_or_default() {
        b"MOVED" => ErrorReply::Moved(target(words.nth(1), asked)),
        b"ASK" => ErrorReply::Ask(target(words.nth(1), asked)),
        b"TRYAGAIN" | b"CLUSTERDOWN" => ErrorReply::Later,
        b"NOSCRIPT" => ErrorReply::NoScript,
        b"WRONGTYPE" => ErrorReply::NoRecord,
        b"READONLY" | b"LOADING" | b"MASTERDOWN" | b"NOAUTH" => ErrorReply::Elsewhere,
        _ => ErrorReply::Never,
    }
}

/// Version 6.2 wraps what a script runs into: `ERR Error running script (call to f_…): @user_script:1: -READONLY …`
fn unwrapped(error: &[u8]) -> &[u8] {
    const MARK: &[u8] = b"1: ";
    match error.windows(MARK.len()).rposition(|window| window == MARK) {
        Some(at) if error.starts_with(b"ERR Error running script") => {
            let rest = &error[at + MARK.len()..];
            rest.strip_prefix(b"-").unwrap_or(rest)
        }
        _ => error,
    }
}

/// What an error says of the server, for the operator: it goes on from the server's address, and says what to do. None: it
/// passes by itself, or nothing is known of it.
pub fn advice(error: &[u8]) -> Option<&'static str> {
    const FEW_RIGHTS: &str =
        "does not let this user do what it has to: give it the rights that docs/stores.md lists";
    let error = unwrapped(error);
    let says = |text: &str| error.windows(text.len()).any(|window| window == text.as_bytes());
    Some(match error.split(|&byte| byte == b' ').next().unwrap_or_default() {
        b"DENIED" => "is in protected mode: give it a password, or set `protected-mode no`",
        b"NOAUTH" => "wants a password: give it in --store, as redis://:PASSWORD@HOST or by ?password-file=",
        b"WRONGPASS" => "refuses the password or the user: correct them in --store",
        b"NOPERM" => FEW_RIGHTS,
        b"READONLY" => "is a replica: give the address of the master, of all servers, or of the Sentinels",
        b"NOREPLICAS" => {
            "takes no changes while it has so few replicas: bring them back, or lower `min-replicas-to-write`"
        }
        b"MISCONF" => {
            "takes no changes while it cannot save them: see to its disk; its log says what is wrong"
        }
        b"OOM" => "takes no changes while its memory is full: raise its `maxmemory`",
        _ if says("can't run this command") || says("ACL failure in script") => FEW_RIGHTS,
        _ if says("max number of clients reached") => "takes no more clients: raise its `maxclients`",
        _ if says("nknown Redis command") || says("nknown command") => {
            "lacks a command that is needed: it has to be Redis 6.2 or later, or Valkey, with EVAL, GETRANGE, GETEX and TIME"
        }
        _ => return None,
    })
}

/// `HOST:PORT`, where an IPv6 address has no brackets, and no host means the host that was asked.
fn target(word: Option<&[u8]>, asked: &Address) -> Option<Address> {
    let (host, port) = std::str::from_utf8(word?).ok()?.rsplit_once(':')?;
    let port = port.parse().ok().filter(|&port| port > 0)?;
    match host {
        "" => beside(asked, port),
        "?" => None,
        host => Some(Address::Tcp { host: host.trim_matches(['[', ']']).into(), port }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redis::resp;

    #[test]
    fn gives_the_check_values_of_the_catalogue() {
        for (text, expected) in [("123456789", 0x31c3), ("", 0), ("\u{1}", 0x1021), ("foo", 0xaf96)] {
            assert_eq!(crc16(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn keys_have_the_slots_of_the_specification() {
        for (key, expected) in [
            ("123456789", 0x31c3),
            ("foo", 12182),
            ("{user1000}.following", slot(b"user1000")),
            ("{user1000}.followers", slot(b"user1000")),
            ("foo{}{bar}", crc16(b"foo{}{bar}") % 16384),
            ("foo{{bar}}zap", slot(b"{bar")),
            ("foo{bar}{zap}", slot(b"bar")),
            ("foo{bar", crc16(b"foo{bar") % 16384),
            ("}foo{", crc16(b"}foo{") % 16384),
            ("", 0),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    #[track_caller]
    fn check(node: &str, expected: Option<&Address>) {
        let text = format!("*1\r\n*4\r\n:0\r\n:16383\r\n{node}*2\r\n$1\r\nr\r\n:9\r\n");
        let (reply, _) = resp::reply(text.as_bytes()).unwrap().unwrap();
        let ranges = map(&reply, &tcp("seed", 1)).unwrap();
        assert_eq!(
            (ranges[0].master.as_ref(), &ranges[0].replicas),
            (expected, &vec![tcp("r", 9)]),
            "{node:?}"
        );
        assert_eq!(uncovered(&ranges), if expected.is_some() { 0 } else { SLOTS });
    }

    #[test]
    fn reads_every_kind_of_host() {
        check("*3\r\n$9\r\n127.0.0.1\r\n:7000\r\n$2\r\nid\r\n", Some(&tcp("127.0.0.1", 7000)));
        check("*4\r\n$3\r\n::1\r\n:7000\r\n$2\r\nid\r\n*0\r\n", Some(&tcp("::1", 7000)));
        check("*3\r\n$4\r\nhost\r\n:7000\r\n$2\r\nid\r\n", Some(&tcp("host", 7000)));
        check("*2\r\n$-1\r\n:7000\r\n", Some(&tcp("seed", 7000)));
        check("*2\r\n$0\r\n\r\n:7000\r\n", Some(&tcp("seed", 7000)));
        check("*3\r\n$1\r\n?\r\n:7000\r\n$2\r\nid\r\n", None);
        check(
            "*4\r\n$1\r\n?\r\n:7000\r\n$2\r\nid\r\n*2\r\n$2\r\nip\r\n$7\r\n1.2.3.4\r\n",
            Some(&tcp("1.2.3.4", 7000)),
        );
        check("*2\r\n$1\r\nh\r\n:0\r\n", None);
    }

    #[test]
    fn what_is_no_map_is_refused_and_an_empty_one_is_none() {
        for (text, expected) in [("+OK\r\n", false), ("*1\r\n:1\r\n", false), ("*0\r\n", true)] {
            let (reply, _) = resp::reply(text.as_bytes()).unwrap().unwrap();
            assert_eq!(map(&reply, &tcp("h", 1)).is_some(), expected, "{text:?}");
        }
    }

    #[test]
    fn reads_errors() {
        use ErrorReply::*;
        for (text, expected) in [
            ("MOVED 3999 127.0.0.1:6381", Moved(Some(tcp("127.0.0.1", 6381)))),
            ("MOVED 3999 ::1:6381", Moved(Some(tcp("::1", 6381)))),
            ("MOVED 3999 [::1]:6381", Moved(Some(tcp("::1", 6381)))),
            ("MOVED 3999 :6381", Moved(Some(tcp("h", 6381)))),
            ("MOVED 3999 ?:6381", Moved(None)),
            ("MOVED 3999", Moved(None)),
            ("ASK 3999 host.example:6381", Ask(Some(tcp("host.example", 6381)))),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Later),
            ("CLUSTERDOWN Hash slot not served", Later),
            ("READONLY You can't write against a read only replica.", Elsewhere),
            (
                "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't",
                Elsewhere,
            ),
            ("ERR Error running script (call to f_1): @user_script:1: nil value", Never),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", NoRecord),
            ("ERR Error running script (call to f_1): @user_script:1: WRONGTYPE Operation against", NoRecord),
            ("LOADING Redis is loading the dataset in memory", Elsewhere),
            ("MASTERDOWN Link with MASTER is down", Elsewhere),
            ("NOSCRIPT No matching script. Please use EVAL.", NoScript),
            ("ERR wrong number of arguments for 'evalsha' command", Never),
            ("", Never),
        ] {
            assert_eq!(refused(text.as_bytes(), &tcp("h", 1)), expected, "{text}");
        }
    }

    #[test]
    fn what_the_operator_has_to_change_is_said() {
        for (text, expected) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", "`maxmemory`"),
            ("NOREPLICAS Not enough good replicas to write.", "`min-replicas-to-write`"),
            (
                "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -NOREPLICAS Not enough",
                "`min-replicas-to-write`",
            ),
            ("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to", "its disk"),
            ("NOPERM this user has no permissions to run the 'evalsha' command", "the rights"),
            (
                "ERR The user executing the script can't run this command or subcommand script: 1",
                "the rights",
            ),
            (
                "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: The user executing the script can't run this command or subcommand",
                "the rights",
            ),
            ("ERR unknown command 'EVAL', with args beginning with: ", "EVAL"),
            (
                "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: Unknown Redis command called from Lua script",
                "GETEX",
            ),
            ("ERR ACL failure in script: User app has no permissions to run the 'set' command", "the rights"),
        ] {
            assert_eq!(refused(text.as_bytes(), &tcp("h", 1)), ErrorReply::Never);
            let advice = advice(text.as_bytes()).expect(text);
            assert!(advice.contains(expected), "{text}: {advice}");
        }
    }
}
