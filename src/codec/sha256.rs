//! SHA-256 (FIPS 180-4, sections 5 and 6.2), and HMAC (RFC 2104) over it.

use std::hint::black_box;

use crate::sys;

const BLOCK: usize = 64;
/// Where a last block's message must end before to leave room for the message length.
const LENGTH_AT: usize = BLOCK - size_of::<u64>();

#[must_use]
pub fn digest(message: &[u8]) -> [u8; 32] {
    finish(INITIAL, 0, message)
}

/// The digest of a message of which `before` bytes have been worked into the state: whole blocks. What is left is padded
/// with a one bit, zeros, and the message's length in bits (section 5.1.1).
fn finish(mut state: [u32; 8], before: usize, message: &[u8]) -> [u8; 32] {
    let (blocks, rest) = message.as_chunks();
    compress(&mut state, blocks);
    let mut last = [[0; BLOCK]; 2];
    let padded = last.as_flattened_mut();
    padded[..rest.len()].copy_from_slice(rest);
    padded[rest.len()] = 0x80;
    let count = if rest.len() < LENGTH_AT { 1 } else { 2 };
    let length = 8 * (before + message.len()) as u64;
    padded[count * BLOCK - size_of::<u64>()..count * BLOCK].copy_from_slice(&length.to_be_bytes());
    compress(&mut state, &last[..count]);
    // It may have been the end of a password. What is wiped must look used, or it would not be.
    last.as_flattened_mut()[..rest.len()].fill(0);
    black_box(&last);
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

/// A key for HMAC-SHA-256, worked in once: signing up to 55 bytes then costs two compressions, not four.
#[derive(Clone)]
pub struct HmacKey {
    /// Has taken `key XOR ipad`.
    inner: [u32; 8],
    /// Has taken `key XOR opad`.
    outer: [u32; 8],
}

impl HmacKey {
    /// Any key will do; RFC 2104, section 3, advises 32 random bytes. One longer than a block is replaced by
    /// its digest.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        let mut block = [0; BLOCK];
        if key.len() > BLOCK {
            block[..32].copy_from_slice(&digest(key));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let after = |pad: u8| {
            let mut state = INITIAL;
            compress(&mut state, &[block.map(|byte| byte ^ pad)]);
            state
        };
        Self { inner: after(0x36), outer: after(0x5c) }
    }

    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 32] {
        finish(self.outer, BLOCK, &finish(self.inner, BLOCK, message))
    }
}

/// Whether two secrets are equal, in a time that tells nothing about their contents. It does tell whether
/// their lengths differ, so compare digests or signatures, whose length is no secret.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    // What `black_box` takes must be known in full, so this cannot become a comparison that stops early.
    a.len() == b.len() && black_box(a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
}

/// The first 32 bits of the fractional parts of the square roots of the first 8 primes (section 5.3.3).
#[rustfmt::skip]
const INITIAL: [u32; 8] = [
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes (section 4.2.2).
#[rustfmt::skip]
const K: [[u32; 16]; 4] = [
    [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    ],
    [
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    ],
    [
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    ],
    [
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    ],
];

/// Works whole blocks into the hash value: by the processor's instructions where it has them, which take a seventh of the
/// time.
fn compress(state: &mut [u32; 8], blocks: &[[u8; BLOCK]]) {
    if !sys::compress_sha256(state, blocks, &K) {
        blocks.iter().for_each(|block| compress_portably(state, block));
    }
}

/// Section 6.2.2. Only 16 words of the message schedule are ever needed at once, so they are replaced in
/// place; all indices are constants once the compiler has unrolled the loops, which leaves no bounds check.
fn compress_portably(state: &mut [u32; 8], block: &[u8; BLOCK]) {
    let mut schedule = [0; 16];
    for (word, bytes) in schedule.iter_mut().zip(block.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    let mut working = *state;
    sixteen_rounds(&mut working, &schedule, &K[0]);
    for constants in &K[1..] {
        next_sixteen(&mut schedule);
        sixteen_rounds(&mut working, &schedule, constants);
    }
    for (word, worked) in state.iter_mut().zip(working) {
        *word = word.wrapping_add(worked);
    }
}

#[inline(always)]
fn sixteen_rounds(working: &mut [u32; 8], schedule: &[u32; 16], constants: &[u32; 16]) {
    for t in 0..16 {
        let [a, b, c, d, e, f, g, h] = *working;
        let sum1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = g ^ (e & (f ^ g));
        let t1 =
            h.wrapping_add(sum1).wrapping_add(choice).wrapping_add(constants[t]).wrapping_add(schedule[t]);
        let sum0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let majority = (a & b) | (c & (a | b));
        let t2 = sum0.wrapping_add(majority);
        *working = [t1.wrapping_add(t2), a, b, c, d.wrapping_add(t1), e, f, g];
    }
}

/// Replaces words `t - 16 .. t` of the schedule by `t .. t + 16`.
#[inline(always)]
fn next_sixteen(schedule: &mut [u32; 16]) {
    for t in 0..16 {
        let (w2, w15) = (schedule[(t + 14) % 16], schedule[(t + 1) % 16]);
        let sigma1 = w2.rotate_right(17) ^ w2.rotate_right(19) ^ (w2 >> 10);
        let sigma0 = w15.rotate_right(7) ^ w15.rotate_right(18) ^ (w15 >> 3);
        let w7 = schedule[(t + 9) % 16];
        schedule[t] = schedule[t].wrapping_add(sigma0).wrapping_add(w7).wrapping_add(sigma1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hex;

    #[track_caller]
    fn check(message: &[u8], expected: &str) {
        assert_eq!(digest(message), hex::decode(expected.as_bytes()).expect("64 digits"));
        check_both_ways(message);
    }

    /// The processor's instructions and the portable code give the same, block for block: what a digest is made of goes
    /// one way, whichever it is here, and this goes both.
    #[track_caller]
    fn check_both_ways(message: &[u8]) {
        let mut padded = message.to_vec();
        padded.push(0x80);
        padded.resize(padded.len().next_multiple_of(BLOCK), 0);
        let (mut one, mut other) = (INITIAL, INITIAL);
        for blocks in padded.as_chunks().0.chunks(3) {
            if !sys::compress_sha256(&mut one, blocks, &K) {
                return println!("skipped: this processor has no instructions for SHA-256");
            }
            blocks.iter().for_each(|block| compress_portably(&mut other, block));
            assert_eq!(one, other);
        }
    }

    #[test]
    fn digests_the_examples_of_nist() {
        check(b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        check(b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        check(
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        );
        check(
            b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
        );
        check(&vec![b'a'; 1_000_000], "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }

    #[test]
    fn padding_is_right_around_the_end_of_a_block() {
        check(&[b'a'; 54], "a3f01b6939256127582ac8ae9fb47a382a244680806a3f613a118851c1ca1d47");
        check(&[b'a'; 55], "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
        check(&[b'a'; 56], "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a");
        check(&[b'a'; 57], "f13b2d724659eb3bf47f2dd6af1accc87b81f09f59f2b75e5c0bed6589dfe8c6");
        check(&[b'a'; 63], "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34");
        check(&[b'a'; 64], "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
        check(&[b'a'; 65], "635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0");
        check(&[b'a'; 119], "31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb");
        check(&[b'a'; 120], "2f3d335432c70b580af0e8e1b3674a7c020d683aa5f73aaaedfdc55af904c21c");
        check(&[b'a'; 128], "6836cf13bac400e9105071cd6af47084dfacad4e5e302c94bfed24e013afb73e");
    }

    /// `expected` may be the beginning of the signature, as in case 5 of RFC 4231.
    #[track_caller]
    fn check_hmac(key: &[u8], message: &[u8], expected: &str) {
        let mut signature = Vec::new();
        hex::encode(&HmacKey::new(key).sign(message), &mut signature);
        assert!(signature.starts_with(expected.as_bytes()), "{}", message.escape_ascii());
    }

    #[test]
    fn signs_the_cases_of_rfc_4231() {
        check_hmac(
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        );
        check_hmac(
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        check_hmac(
            &[0xaa; 20],
            &[0xdd; 50],
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        );
        check_hmac(
            &std::array::from_fn::<u8, 25, _>(|n| n as u8 + 1),
            &[0xcd; 50],
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        );
        check_hmac(&[0x0c; 20], b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b");
        check_hmac(
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        );
        check_hmac(&[0xaa; 131], b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.", "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
    }

    #[test]
    fn a_key_longer_than_a_block_is_digested_first_and_one_as_long_is_not() {
        check_hmac(&[b'k'; 0], b"", "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
        check_hmac(&[b'k'; 63], b"", "a73e4ae46b2a9f2402fff056e156c0a25551e3db5097f9367522239bfbc2d02e");
        check_hmac(&[b'k'; 64], b"", "83026a325aaee70e36cfe607536aa1054104ad1077c36134810d4ccded1ccd3b");
        check_hmac(&[b'k'; 65], b"", "41f1c4cc3107cd5b8d92460f61032902bfdb06484eef17e861b83a5012d3b7f3");
    }

    #[track_caller]
    fn check_equal(a: &[u8], b: &[u8], expected: bool) {
        assert_eq!(
            (equal(a, b), equal(b, a)),
            (expected, expected),
            "{} {}",
            a.escape_ascii(),
            b.escape_ascii()
        );
    }

    #[test]
    fn equal_means_every_byte_and_the_length() {
        check_equal(b"", b"", true);
        check_equal(b"", b"a", false);
        check_equal(b"", b"\0", false);
        check_equal(b"secret", b"secret", true);
        check_equal(b"secret", b"secre", false);
        check_equal(b"secret", b"secret\0", false);
        check_equal(b"secret", b"secrets", false);
        check_equal(b"secret", b"Secret", false);
        check_equal(b"secret", b"sEcret", false);
        check_equal(b"secret", b"secreT", false);
        check_equal(b"\x01\x01", b"\x00\x00", false);
        check_equal(b"\x80", b"\x00", false);
        check_equal(&[7; 32], &[7; 32], true);
    }
}
