//! The one script: a compare-and-set.
//!
//! The first call on a connection sends the whole text, and those behind it its hash: that saves the engine a sixth of its
//! time. A server that has forgotten the text says so, and is sent it again.

use crate::codec::decimal;
use crate::codec::resp;
use crate::time::Millis;

/// If the record under the key is `ARGV[1]`, makes it `ARGV[2]` for `ARGV[3]` milliseconds and says 1; else gives the record
/// that is there. No record is an empty one.
///
/// `GETEX` without an option reads as `GET` does, but counts as writing: so a server that has become a replica refuses
/// to answer questions too, instead of answering from what it was told last.
const TEXT: &str = "local c,k,a,b=redis.call,KEYS[1],ARGV[1],ARGV[2] \
local r=c('GETEX',k) or '' \
if r~=a then return r end \
if b=='' then if r~='' then c('DEL',k) end \
elseif r~=b then c('SET',k,b,'PX',ARGV[3]) end \
return 1";

/// How calls by the hash begin: seven words, of which these are the first three. The hash is the SHA-1 of the text.
const BY_HASH: &[u8] =
    b"*7\r\n$7\r\nEVALSHA\r\n$40\r\n075549aed65eaf32fc1cc91a552c60542fd94032\r\n$1\r\n1\r\n";

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
        let swap =
            Swap { prefix: b"p:", user: b"ann", old: b"", new: b"new\r\n", keep: Millis::from_secs(95) };
        let hash = sha1(TEXT.as_bytes());
        for (knows, first) in [(false, [b"EVAL", TEXT.as_bytes()]), (true, [b"EVALSHA", hash.as_bytes()])] {
            let mut out = Vec::new();
            compare_and_set(&swap, knows, &mut out);
            let (reply, end) = resp::reply(&out).unwrap().unwrap();
            let resp::Reply::Array(items) = reply else { panic!("{reply:?}") };
            let words: Vec<_> = items.collect();
            let rest = [b"1", &b"p:ann"[..], b"", b"new\r\n", b"95000"];
            let expected: Vec<_> = first.into_iter().chain(rest).map(resp::Reply::Bulk).collect();
            assert_eq!((words, end), (expected, out.len()));
        }
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
