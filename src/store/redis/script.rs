//! The one script: a compare-and-set.
//!
//! The whole text is sent each time. That costs the engine no more than naming it by its hash, and a server that has
//! just started or taken over knows it at once.

use crate::codec::decimal;
use crate::codec::resp;
use crate::time::Millis;

/// If the record under the key is `ARGV[1]`, makes it `ARGV[2]` for `ARGV[3]` milliseconds and says 1; else gives the record
/// that is there. No record is an empty one.
///
/// `GETEX` without an option reads as `GET` does, but counts as writing: so a server that has become a replica refuses
/// to answer questions too, instead of answering from what it was told last.
const TEXT: &str = "local r=redis.call('GETEX',KEYS[1]) or '' \
if r~=ARGV[1] then return r end \
if ARGV[2]=='' then if r~='' then redis.call('DEL',KEYS[1]) end \
elseif r~=ARGV[2] then redis.call('SET',KEYS[1],ARGV[2],'PX',ARGV[3]) end \
return 1";

/// Appends the call for one key, `prefix` and `user`.
pub fn compare_and_set(prefix: &[u8], user: &[u8], old: &[u8], new: &[u8], keep: Millis, out: &mut Vec<u8>) {
    resp::begin(7, out);
    resp::bulk(b"EVAL", out);
    resp::bulk(TEXT.as_bytes(), out);
    resp::bulk(b"1", out);
    out.push(b'$');
    decimal::write((prefix.len() + user.len()) as u64, out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(prefix);
    out.extend_from_slice(user);
    out.extend_from_slice(b"\r\n");
    resp::bulk(old, out);
    resp::bulk(new, out);
    let millis = keep.millis().max(1);
    out.push(b'$');
    decimal::write(u64::from(millis.ilog10()) + 1, out);
    out.extend_from_slice(b"\r\n");
    decimal::write(millis, out);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_well_formed_command() {
        let mut out = Vec::new();
        compare_and_set(b"p:", b"ann", b"", b"new\r\n", Millis::from_secs(95), &mut out);
        let (reply, end) = resp::reply(&out).unwrap().unwrap();
        let resp::Reply::Array(items) = reply else { panic!("{reply:?}") };
        let words: Vec<_> = items.collect();
        let expected =
            [b"EVAL", TEXT.as_bytes(), b"1", b"p:ann", b"", b"new\r\n", b"95000"].map(resp::Reply::Bulk);
        assert_eq!((&words[..], end), (&expected[..], out.len()));
    }
}
