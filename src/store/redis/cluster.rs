//! Which node has which key: slots, the map of a Cluster, and the errors that send a client elsewhere.
//!
//! *Invariant:* nothing here touches a socket; it reads what a server said.

use crate::codec::crc::crc16;
use crate::codec::redis_url::Address;
use crate::codec::resp::{Items, Reply};

/// How many slots a Cluster has.
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

/// A range of slots and who has it, as a node sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Range {
    /// The first slot and the last.
    pub slots: (u16, u16),
    /// The master; None when the node does not know its address.
    pub master: Option<Address>,
    /// Other nodes that can be asked for the map.
    pub replicas: Vec<Address>,
}

/// Reads the answer to `CLUSTER SLOTS`, given by a node at `asked`. None: it is something else.
pub fn map(reply: Reply, asked: &Address) -> Option<Vec<Range>> {
    let Reply::Array(ranges) = reply else { return None };
    ranges.map(|range| self::range(range, asked)).collect()
}

fn range(reply: Reply, asked: &Address) -> Option<Range> {
    let Reply::Array(mut parts) = reply else { return None };
    let (first, last) = (slot_number(parts.next()?)?, slot_number(parts.next()?)?);
    let Reply::Array(master) = parts.next()? else { return None };
    let replicas = parts.filter_map(|node| match node {
        Reply::Array(node) => self::node(node, asked),
        _ => None,
    });
    Some(Range { slots: (first, last), master: node(master, asked), replicas: replicas.collect() })
}

fn slot_number(reply: Reply) -> Option<u16> {
    let Reply::Integer(n) = reply else { return None };
    u16::try_from(n).ok().filter(|&n| usize::from(n) < SLOTS)
}

/// A node: host, port, id and, since version 7, what else is known of it. A host that is null or empty means the host
/// that was asked; `?` that it is not known, but its address or name may be among the rest.
fn node(mut parts: Items, asked: &Address) -> Option<Address> {
    let host = parts.next()?;
    let Reply::Integer(port) = parts.next()? else { return None };
    let port = u16::try_from(port).ok().filter(|&port| port > 0)?;
    let host = match host {
        Reply::Null | Reply::Bulk(b"") => return beside(asked, port),
        Reply::Bulk(b"?") => metadata(parts.nth(1)?)?,
        Reply::Bulk(host) => host,
        _ => return None,
    };
    Some(Address::Tcp { host: String::from_utf8(host.to_vec()).ok()?, port })
}

/// The `ip` or `hostname` among names and values.
fn metadata(reply: Reply<'_>) -> Option<&[u8]> {
    let Reply::Array(mut items) = reply else { return None };
    while let (Some(Reply::Bulk(name)), Some(value)) = (items.next(), items.next()) {
        if let (b"ip" | b"hostname", Reply::Bulk(value)) = (name, value)
            && !value.is_empty()
        {
            return Some(value);
        }
    }
    None
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
pub enum Refused {
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
    /// It will not be done.
    Never,
    /// Nor will another be: what is said here has to be changed first.
    All(&'static str),
}

/// Reads an error, given by a node at `asked`.
pub fn refused(error: &[u8], asked: &Address) -> Refused {
    // Version 6.2 wraps what a script runs into.
    let error = match error.windows(2).position(|two| two == b" -") {
        Some(at) if error.starts_with(b"ERR Error running script") => &error[at + 2..],
        _ => error,
    };
    let mut words = error.split(|&byte| byte == b' ');
    match words.next().unwrap_or_default() {
        b"MOVED" => Refused::Moved(target(words.nth(1), asked)),
        b"ASK" => Refused::Ask(target(words.nth(1), asked)),
        b"TRYAGAIN" | b"CLUSTERDOWN" => Refused::Later,
        b"NOSCRIPT" => Refused::NoScript,
        b"READONLY" | b"LOADING" | b"MASTERDOWN" | b"NOAUTH" => Refused::Elsewhere,
        _ => advice(error).map_or(Refused::Never, Refused::All),
    }
}

/// What an error says of the server, for the operator: it goes on from the server's address, and says what to do. None: the
/// error is about one command, or passes by itself.
pub fn advice(error: &[u8]) -> Option<&'static str> {
    const FEW_RIGHTS: &str =
        "does not let this user do what it has to: give it the rights that docs/stores.md lists";
    let is = |start: &str| error.starts_with(start.as_bytes());
    Some(match error.split(|&byte| byte == b' ').next().unwrap_or_default() {
        b"DENIED" => "is in protected mode: give it a password, or set `protected-mode no`",
        b"NOAUTH" => "wants a password: give it in --store, as redis://:PASSWORD@HOST or by ?password-file=",
        b"WRONGPASS" => "refuses the password or the user: correct them in --store",
        b"NOPERM" => FEW_RIGHTS,
        b"NOREPLICAS" => {
            "takes no changes while it has so few replicas: bring them back, or lower `min-replicas-to-write`"
        }
        b"MISCONF" => {
            "takes no changes while it cannot save them: see to its disk; its log says what is wrong"
        }
        b"OOM" => "takes no changes while its memory is full: raise its `maxmemory`",
        b"ERR" if is("ERR The user executing the script") || is("ERR ACL failure in script") => FEW_RIGHTS,
        b"ERR" if is("ERR max number of clients reached") => "takes no more clients: raise its `maxclients`",
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
    use crate::codec::resp;

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
    fn check(node: &str, expected: Option<Address>) {
        let text = format!("*1\r\n*4\r\n:0\r\n:16383\r\n{node}*2\r\n$1\r\nr\r\n:9\r\n");
        let (reply, _) = resp::reply(text.as_bytes()).unwrap().unwrap();
        let ranges = map(reply, &tcp("seed", 1)).unwrap();
        let range = Range { slots: (0, 16383), master: expected, replicas: vec![tcp("r", 9)] };
        assert_eq!(ranges, [range], "{node:?}");
    }

    #[test]
    fn reads_every_kind_of_host() {
        check("*3\r\n$9\r\n127.0.0.1\r\n:7000\r\n$2\r\nid\r\n", Some(tcp("127.0.0.1", 7000)));
        check("*4\r\n$3\r\n::1\r\n:7000\r\n$2\r\nid\r\n*0\r\n", Some(tcp("::1", 7000)));
        check("*3\r\n$4\r\nhost\r\n:7000\r\n$2\r\nid\r\n", Some(tcp("host", 7000)));
        check("*2\r\n$-1\r\n:7000\r\n", Some(tcp("seed", 7000)));
        check("*2\r\n$0\r\n\r\n:7000\r\n", Some(tcp("seed", 7000)));
        check("*3\r\n$1\r\n?\r\n:7000\r\n$2\r\nid\r\n", None);
        check(
            "*4\r\n$1\r\n?\r\n:7000\r\n$2\r\nid\r\n*2\r\n$2\r\nip\r\n$7\r\n1.2.3.4\r\n",
            Some(tcp("1.2.3.4", 7000)),
        );
        check("*2\r\n$1\r\nh\r\n:0\r\n", None);
    }

    #[test]
    fn what_is_no_map_is_refused_and_an_empty_one_is_none() {
        for (text, expected) in [("+OK\r\n", false), ("*1\r\n:1\r\n", false), ("*0\r\n", true)] {
            let (reply, _) = resp::reply(text.as_bytes()).unwrap().unwrap();
            assert_eq!(map(reply, &tcp("h", 1)).is_some(), expected, "{text:?}");
        }
    }

    #[test]
    fn reads_errors() {
        use Refused::*;
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
            ("ERR ACL failure in script: User app has no permissions to run the 'set' command", "the rights"),
        ] {
            let Refused::All(advice) = refused(text.as_bytes(), &tcp("h", 1)) else { panic!("{text}") };
            assert!(advice.contains(expected), "{text}: {advice}");
        }
    }
}
