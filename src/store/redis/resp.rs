//! RESP2, the protocol of Redis and Valkey: commands out, replies in.
//!
//! ```text
//! +OK\r\n    -ERR why\r\n    :42\r\n    $5\r\nhello\r\n    $-1\r\n (null)    *2\r\n:1\r\n:2\r\n    *-1\r\n (null)
//! ```
//!
//! Sizes come before what they measure, so a reply is found whole or not yet whole without looking at its bytes, and a
//! reply of several megabytes that comes in pieces costs little at each piece.
//!
//! Stricter than the protocol in one thing: a line ends in CR LF and holds neither before that, so that a server that has
//! lost its place is noticed at once.

use crate::codec::decimal;

/// How deep arrays may nest. The deepest reply that this program asks for, that of `CLUSTER SLOTS`, has four levels.
pub const MAX_DEPTH: usize = 8;
/// How long a reply may be in all. The map of a Cluster cut into its 16,384 slots takes about a tenth of it.
pub const MAX_REPLY: usize = 16 * 1024 * 1024;
/// How long a line may be: those of statuses, errors, numbers and sizes.
pub const MAX_LINE: usize = 64 * 1024;

/// What a server said, its bytes where they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// A status: `OK`, `PONG`.
    Simple(&'a [u8]),
    /// An error. Its first word says which: `MOVED`, `ERR`.
    Error(&'a [u8]),
    Integer(i64),
    Bulk(&'a [u8]),
    /// Nothing: a bulk string or an array that is not there.
    Null,
    /// Replies in a row.
    Array(Vec<Reply<'a>>),
}

/// These bytes are no RESP2, or break one of the bounds above. What follows them cannot be read either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A reply and where it ends; `None`: it is not all there yet.
pub type Read<'a> = Result<Option<(Reply<'a>, usize)>, Malformed>;

/// Reads the first reply in `bytes`.
///
/// # Errors
/// What is there is [`Malformed`], whatever may follow.
pub fn reply(bytes: &[u8]) -> Read<'_> {
    match read(bytes, 0, MAX_DEPTH)? {
        None if bytes.len() >= MAX_REPLY => Err(Malformed),
        read => Ok(read),
    }
}

/// Appends a command: an array of bulk strings.
pub fn command(words: &[&[u8]], out: &mut Vec<u8>) {
    begin(words.len(), out);
    words.iter().for_each(|word| bulk(word, out));
}

/// Appends the head of a command of so many words, for a caller that appends each with [`bulk`].
pub fn begin(words: usize, out: &mut Vec<u8>) {
    out.push(b'*');
    decimal::write(words as u64, out);
    out.extend_from_slice(b"\r\n");
}

pub fn bulk(bytes: &[u8], out: &mut Vec<u8>) {
    bulk_of(&[bytes], out);
}

/// Appends one bulk string of several parts.
#[inline]
pub fn bulk_of(parts: &[&[u8]], out: &mut Vec<u8>) {
    out.push(b'$');
    decimal::write(parts.iter().map(|part| part.len() as u64).sum(), out);
    out.extend_from_slice(b"\r\n");
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(b"\r\n");
}

/// Reads the reply that begins at `at`. `depth`: how many more levels there may be.
fn read(bytes: &[u8], at: usize, depth: usize) -> Read<'_> {
    let Some((kind, line, at)) = line(bytes, at)? else { return Ok(None) };
    let reply = match kind {
        b'+' => Reply::Simple(line),
        b'-' => Reply::Error(line),
        b':' => Reply::Integer(integer(line).ok_or(Malformed)?),
        _ => match (size(line)?, kind) {
            (None, _) => Reply::Null,
            (Some(size), b'$') => return bulk_string(bytes, at, size),
            (Some(size), _) => return array(bytes, at, size, depth),
        },
    };
    Ok(Some((reply, at)))
}

fn bulk_string(bytes: &[u8], at: usize, size: usize) -> Read<'_> {
    match bytes.get(at + size..).unwrap_or_default() {
        [b'\r', b'\n', ..] => Ok(Some((Reply::Bulk(&bytes[at..at + size]), at + size + 2))),
        [] | [b'\r'] => Ok(None),
        _ => Err(Malformed),
    }
}

fn array(bytes: &[u8], mut at: usize, size: usize, depth: usize) -> Read<'_> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    // It grows with what has come, and not by what is announced.
    let mut items = Vec::new();
    for _ in 0..size {
        let Some((item, end)) = read(bytes, at, depth)? else { return Ok(None) };
        items.push(item);
        at = end;
    }
    Ok(Some((Reply::Array(items), at)))
}

/// The kind of a line, what stands behind that, and where the next line begins.
type Line<'a> = (u8, &'a [u8], usize);

/// The line that begins at `at`.
fn line(bytes: &[u8], at: usize) -> Result<Option<Line<'_>>, Malformed> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some((&kind, rest)) = rest.split_first() else { return Ok(None) };
    if !matches!(kind, b'+' | b'-' | b':' | b'$' | b'*') {
        return Err(Malformed);
    }
    let near = &rest[..rest.len().min(MAX_LINE)];
    match near.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        Some(end) => match rest[end..] {
            [b'\r', b'\n', ..] => Ok(Some((kind, &rest[..end], at + 1 + end + 2))),
            [b'\r'] => Ok(None),
            _ => Err(Malformed),
        },
        None if near.len() < MAX_LINE => Ok(None),
        None => Err(Malformed),
    }
}

/// `[<+|->]<digits>`, in 64 bits.
fn integer(line: &[u8]) -> Option<i64> {
    match line {
        [b'-', digits @ ..] => 0i64.checked_sub_unsigned(decimal::parse(digits)?),
        [b'+', digits @ ..] | digits => decimal::parse(digits)?.try_into().ok(),
    }
}

/// The size of a bulk string or an array; `-1` stands for null.
fn size(line: &[u8]) -> Result<Option<usize>, Malformed> {
    if line == b"-1" {
        return Ok(None);
    }
    match decimal::parse(line) {
        Some(size) if size <= MAX_REPLY as u64 => Ok(Some(size as usize)),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reply as text: what the `redis-cli` of a reader's mind would show.
    fn show(reply: Reply) -> String {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        match reply {
            Reply::Simple(line) => format!("+{}", text(line)),
            Reply::Error(line) => format!("-{}", text(line)),
            Reply::Integer(n) => n.to_string(),
            Reply::Bulk(bytes) => format!("{:?}", text(bytes)),
            Reply::Null => "null".into(),
            Reply::Array(items) => format!("[{}]", items.into_iter().map(show).collect::<Vec<_>>().join(" ")),
        }
    }

    /// Read whole, with the next reply behind it, and not before its last byte has come.
    #[track_caller]
    fn check(bytes: &str, expected: &str) {
        let bytes = bytes.as_bytes();
        for behind in ["", "+", "+NEXT\r\n", "*3\r\n"] {
            let all = [bytes, behind.as_bytes()].concat();
            let (reply, end) = reply(&all).expect("well-formed").expect("whole");
            assert_eq!((show(reply).as_str(), end), (expected, bytes.len()), "before {behind:?}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(reply(&bytes[..cut]), Ok(None), "the first {cut} bytes");
        }
    }

    #[test]
    fn reads_the_examples_of_the_specification() {
        check("+OK\r\n", "+OK");
        check("+PONG\r\n", "+PONG");
        check("-Error message\r\n", "-Error message");
        check("-ERR unknown command 'asdf'\r\n", "-ERR unknown command \\'asdf\\'");
        check(
            "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        );
        check(":0\r\n", "0");
        check(":1000\r\n", "1000");
        check(":-1\r\n", "-1");
        check(":+7\r\n", "7");
        check("$5\r\nhello\r\n", "\"hello\"");
        check("$0\r\n\r\n", "\"\"");
        check("$-1\r\n", "null");
        check("*0\r\n", "[]");
        check("*2\r\n$5\r\nhello\r\n$5\r\nworld\r\n", "[\"hello\" \"world\"]");
        check("*3\r\n:1\r\n:2\r\n:3\r\n", "[1 2 3]");
        check("*5\r\n:1\r\n:2\r\n:3\r\n:4\r\n$5\r\nhello\r\n", "[1 2 3 4 \"hello\"]");
        check("*-1\r\n", "null");
        check("*2\r\n*3\r\n:1\r\n:2\r\n:3\r\n*2\r\n+Hello\r\n-World\r\n", "[[1 2 3] [+Hello -World]]");
        check("*3\r\n$5\r\nhello\r\n$-1\r\n$5\r\nworld\r\n", "[\"hello\" null \"world\"]");
    }

    #[test]
    fn bulk_strings_hold_any_bytes() {
        check("$8\r\na\r\nb\r\nc\0\r\n", "\"a\\\\r\\\\nb\\\\r\\\\nc\\\\x00\"");
        check("*2\r\n$2\r\n\r\n\r\n:5\r\n", "[\"\\\\r\\\\n\" 5]");
        check("+\r\n", "+");
        check(":9223372036854775807\r\n", "9223372036854775807");
        check(":-9223372036854775808\r\n", "-9223372036854775808");
    }

    #[test]
    fn reads_what_cluster_slots_answers() {
        check(
            "*1\r\n*3\r\n:0\r\n:5460\r\n*4\r\n$9\r\n127.0.0.1\r\n:30001\r\n$4\r\n09db\r\n*2\r\n$8\r\nhostname\r\n$1\r\nh\r\n",
            "[[0 5460 [\"127.0.0.1\" 30001 \"09db\" [\"hostname\" \"h\"]]]]",
        );
    }

    #[test]
    fn refuses_what_is_no_resp2() {
        for bytes in [
            "x",
            "OK\r\n",
            "\r\n",
            "%1\r\n",
            "_\r\n",
            "+O\nK\r\n",
            "+O\rK\r\n",
            "+OK\n",
            ":\r\n",
            ":a\r\n",
            ":--1\r\n",
            ":1 \r\n",
            ":9223372036854775808\r\n",
            ":-9223372036854775809\r\n",
            "$\r\n",
            "$-2\r\n",
            "$+1\r\na\r\n",
            "$5\r\nhello!\r\n",
            "$5\r\nhelloX",
            "$5\r\nhello\rX",
            "$1.0\r\n",
            "*a\r\n",
            "*-2\r\n",
            "*1\r\nx",
            "*2\r\n:1\r\n?",
            "$18446744073709551616\r\n",
            "*18446744073709551615\r\n",
            "$16777217\r\n",
        ] {
            assert_eq!(reply(bytes.as_bytes()), Err(Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn depth_lines_and_sizes_are_bounded_on_both_sides() {
        let nested = |depth: usize| "*1\r\n".repeat(depth) + ":1\r\n";
        assert!(matches!(reply(nested(MAX_DEPTH).as_bytes()), Ok(Some(_))));
        assert_eq!(reply(nested(MAX_DEPTH + 1).as_bytes()), Err(Malformed));
        let line = |length: usize| format!("+{}", "x".repeat(length));
        assert_eq!(reply(line(MAX_LINE - 1).as_bytes()), Ok(None));
        assert_eq!(reply(line(MAX_LINE).as_bytes()), Err(Malformed));
        let mut long = format!("*2\r\n${}\r\n", MAX_REPLY - 100).into_bytes();
        long.resize(MAX_REPLY - 1, b'x');
        assert_eq!(reply(&long[..1000]), Ok(None));
        let head = format!("*2\r\n${MAX_REPLY}\r\n");
        let mut long = head.into_bytes();
        long.resize(MAX_REPLY, b'x');
        assert_eq!(reply(&long), Err(Malformed));
        // An array that announces much costs nothing until it comes.
        assert_eq!(reply(b"*16777216\r\n"), Ok(None));
    }

    #[test]
    fn what_commands_are_written_as_reads_as_an_array() {
        let mut out = b"kept".to_vec();
        command(&[b"SET", b"", b"a\r\nb"], &mut out);
        assert_eq!(out, b"kept*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\na\r\nb\r\n");
        let (read, end) = reply(&out[4..]).unwrap().unwrap();
        assert_eq!((show(read).as_str(), end), ("[\"SET\" \"\" \"a\\\\r\\\\nb\"]", out.len() - 4));
    }

    #[test]
    fn never_panics_and_reads_the_same_however_the_bytes_are_cut() {
        let seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut state = seed;
        let mut random = |n: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % n
        };
        let pieces = [
            "+OK",
            "-ERR",
            ":",
            "12",
            "$",
            "*",
            "\r\n",
            "\r",
            "5",
            "-1",
            "hello",
            "0",
            "\n",
            "*2\r\n",
            "$1\r\na\r\n",
        ];
        for round in 0..20_000 {
            let text: String = (0..random(12)).map(|_| pieces[random(pieces.len())]).collect();
            let whole = reply(text.as_bytes());
            for cut in 0..text.len() {
                match (reply(&text.as_bytes()[..cut]), &whole) {
                    (Ok(None), _) => {}
                    (early, whole) => {
                        assert_eq!(&early, whole, "seed {seed}, round {round}: {text:?} cut at {cut}");
                    }
                }
            }
        }
    }
}
