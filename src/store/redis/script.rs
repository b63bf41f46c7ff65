//! The one script: a compare-and-set.
//!
//! The first call on a connection sends the whole text, and those behind it its hash: that saves the engine a sixth of its
//! time. A server that has forgotten the text says so, and is sent it again.

use super::hints::random;
use super::resp;
use crate::codec::decimal;
use crate::time::Millis;

/// If the record under the key begins with `ARGV[1]`, makes it `ARGV[2]` for `ARGV[3]` milliseconds and says 1; else gives the
/// record that is there, or says 0 if it is longer than any of ours: the answers behind it are not to wait for it. No record
/// is an empty one, and of one that is to stay as it is the stamp stands twice.
///
/// `GETEX` without an option reads as `GET` does, but counts as writing, as all do that come before an answer: so a server
/// that has become a replica refuses to answer questions too, instead of answering from what it was told last.
const TEXT: &str = "local c,k,a,b=redis.call,KEYS[1],ARGV[1],ARGV[2] \
local is=c('GETRANGE',k,'0',#a==9 and '8' or #a-1)==a \
if not is or a==b then \
local r=c('GETEX',k) or '' \
if not is then return #r>4194304 and 0 or r end \
elseif b=='' then c('DEL',k) \
else c('SET',k,b,'PX',ARGV[3]) end \
return 1";

/// How calls by the hash begin: seven words, of which these are the first three. The hash is the SHA-1 of the text.
const BY_HASH: &[u8] =
    b"*7\r\n$7\r\nEVALSHA\r\n$40\r\n5cdeb4a34554d1bffa486558ec8a5d919658e552\r\n$1\r\n1\r\n";

/// What a record begins with here: a mark, which none of version 1 has, and 64 bits that are drawn at each writing. Records
/// are compared by that alone, for Lua takes 12 µs for each string of an account that is as heavy as can be.
const STAMP: usize = 9;
const MARK: u8 = b's';

/// Begins a record that is to be written.
pub fn put_stamp(out: &mut Vec<u8>) {
    out.push(MARK);
    out.extend_from_slice(&random().to_le_bytes());
}

/// A record as it is compared, and the account in it. One of a version before is compared as a whole.
pub fn split(record: &[u8]) -> (&[u8], &[u8]) {
    match record {
        [MARK, ..] => record.split_at_checked(STAMP).unwrap_or((record, b"")),
        _ => (record, record),
    }
}

/// Which record is to become which, under the key of `prefix` and `user`.
pub struct Swap<'a> {
    pub prefix: &'a [u8],
    pub user: &'a [u8],
    pub old: &'a [u8],
    pub new: &'a [u8],
    /// How long the engine is to keep the new one.
    pub keep: Millis,
}

/// Appends the call, by the hash if the server `knows` the text.
pub fn compare_and_set(swap: &Swap, knows: bool, out: &mut Vec<u8>) {
    let Swap { prefix, user, old, new, keep } = *swap;
    if knows {
        out.extend_from_slice(BY_HASH);
    } else {
        resp::begin(7, out);
        [b"EVAL", TEXT.as_bytes(), b"1"].iter().for_each(|word| resp::bulk(word, out));
    }
    resp::bulk_of(&[prefix, user], out);
    let stamp = split(old).0;
    resp::bulk(stamp, out);
    resp::bulk(if old == new { stamp } else { new }, out);
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
        let hash = sha1(TEXT.as_bytes());
        let mut stamped = Vec::new();
        put_stamp(&mut stamped);
        stamped.extend_from_slice(b"record");
        let stamp = &stamped[..STAMP];
        for (old, new, sent) in [
            (&b""[..], &b"new\r\n"[..], [&b""[..], b"new\r\n"]),
            (&stamped, b"new", [stamp, b"new"]),
            (&stamped, &stamped, [stamp, stamp]),
            (&stamped, b"", [stamp, b""]),
            (b"\x01of version 1", b"new", [b"\x01of version 1", b"new"]),
        ] {
            let swap = Swap { prefix: b"p:", user: b"ann", old, new, keep: Millis::from_secs(95) };
            for (knows, first) in [(false, [b"EVAL", TEXT.as_bytes()]), (true, [b"EVALSHA", hash.as_bytes()])]
            {
                let mut out = Vec::new();
                compare_and_set(&swap, knows, &mut out);
                let (reply, end) = resp::reply(&out).unwrap().unwrap();
                let rest = [b"1", &b"p:ann"[..], sent[0], sent[1], b"95000"];
                let expected = first.into_iter().chain(rest).map(resp::Reply::Bulk).collect();
                assert_eq!((reply, end), (resp::Reply::Array(expected), out.len()));
            }
        }
    }

    #[test]
    fn no_two_writings_have_one_stamp() {
        let stamps: std::collections::HashSet<_> = (0..1000)
            .map(|_| {
                let mut out = Vec::new();
                put_stamp(&mut out);
                assert_eq!(split(&out), (&out[..], &b""[..]));
                out
            })
            .collect();
        assert_eq!(stamps.len(), 1000);
    }

    /// FIPS 180-4, for less than 2^29 bytes.
    fn sha1(message: &[u8]) -> String {
        let mut h: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
        let mut padded = [message, &[0x80]].concat();
        padded.resize((message.len() + 9).next_multiple_of(64) - 8, 0);
        padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
        for block in padded.chunks(64) {
            let mut w: Vec<u32> =
                block.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
            for t in 16..80 {
                w.push((w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16]).rotate_left(1));
            }
            let [mut a, mut b, mut c, mut d, mut e] = h;
            for (t, word) in w.iter().enumerate() {
                let (f, k) = match t {
                    0..20 => (b & c | !b & d, 0x5a82_7999),
                    20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                    40..60 => (b & c | b & d | c & d, 0x8f1b_bcdc),
                    _ => (b ^ c ^ d, 0xca62_c1d6_u32),
                };
                let next =
                    a.rotate_left(5).wrapping_add(f).wrapping_add(e).wrapping_add(k).wrapping_add(*word);
                (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
            }
            h.iter_mut().zip([a, b, c, d, e]).for_each(|(h, x)| *h = h.wrapping_add(x));
        }
        h.map(|word| format!("{word:08x}")).concat()
    }
}
