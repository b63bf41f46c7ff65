//! The compression of SHA-256 (FIPS 180-4, section 6.2.2) by the instructions that processors have for it. All of this is
//! safe code. Only to call it on a processor that lacks them would not be: the room's other file asks the processor first.
//!
//! Four rounds take four words of the message schedule at a time. `w` holds the sixteen words that are next: those that
//! were used are replaced by the words that come 16 later. There are no pointers: vectors are put together from numbers,
//! which the compiler turns into loads.

#[cfg(target_arch = "x86_64")]
pub use x86::compress;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// The first word is the lowest.
    #[target_feature(enable = "sse2")]
    #[inline]
    fn vector([a, b, c, d]: [u32; 4]) -> __m128i {
        _mm_set_epi32(d as i32, c as i32, b as i32, a as i32)
    }

    #[target_feature(enable = "sse4.1")]
    #[inline]
    fn words(vector: __m128i) -> [u32; 4] {
        let halves = [_mm_extract_epi64::<0>(vector), _mm_extract_epi64::<1>(vector)];
        let [[a, b], [c, d]] = halves.map(|half| [half as u32, (half >> 32) as u32]);
        [a, b, c, d]
    }

    /// Four words of a block, whose first byte is their highest.
    #[target_feature(enable = "ssse3")]
    #[inline]
    fn big_endian(bytes: &[u8; 16]) -> __m128i {
        let bytes = u128::from_le_bytes(*bytes);
        let vector = _mm_set_epi64x((bytes >> 64) as i64, bytes as i64);
        _mm_shuffle_epi8(vector, _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203))
    }

    /// Works `blocks` into `state`; `k` are the constants of the rounds.
    #[target_feature(enable = "sha,sse4.1")]
    pub fn compress(state: &mut [u32; 8], blocks: &[[u8; 64]], k: &[[u32; 16]; 4]) {
        // The instructions want the state's words in this order.
        let [a, b, c, d, e, f, g, h] = *state;
        let (mut abef, mut cdgh) = (vector([f, e, b, a]), vector([h, g, d, c]));
        for block in blocks {
            let before = (abef, cdgh);
            let quarters = block.as_chunks().0;
            let mut w = [0, 1, 2, 3].map(|i| big_endian(&quarters[i]));
            for constants in k {
                for (i, constants) in constants.as_chunks().0.iter().enumerate() {
                    let sum = _mm_add_epi32(w[i], vector(*constants));
                    cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
                    abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32::<0b1110>(sum));
                    let [w0, w1, w2, w3] = [0, 1, 2, 3].map(|next| w[(i + next) % 4]);
                    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
                    w[i] = _mm_sha256msg2_epu32(sum, w3);
                }
            }
            abef = _mm_add_epi32(abef, before.0);
            cdgh = _mm_add_epi32(cdgh, before.1);
        }
        let ([f, e, b, a], [h, g, d, c]) = (words(abef), words(cdgh));
        *state = [a, b, c, d, e, f, g, h];
    }
}

#[cfg(target_arch = "aarch64")]
pub use arm::compress;

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    /// The first word is the lowest.
    #[target_feature(enable = "neon")]
    #[inline]
    fn vector([a, b, c, d]: [u32; 4]) -> uint32x4_t {
        let pair = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        vcombine_u32(vcreate_u32(pair(a, b)), vcreate_u32(pair(c, d)))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn words(vector: uint32x4_t) -> [u32; 4] {
        let halves = [vget_low_u32(vector), vget_high_u32(vector)];
        let [[a, b], [c, d]] = halves.map(|half| [vget_lane_u32::<0>(half), vget_lane_u32::<1>(half)]);
        [a, b, c, d]
    }

    /// Four words of a block, whose first byte is their highest.
    #[target_feature(enable = "neon")]
    #[inline]
    fn big_endian(bytes: &[u8; 16]) -> uint32x4_t {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| u32::from_be_bytes(bytes.as_chunks().0[i]));
        vector([a, b, c, d])
    }

    /// Works `blocks` into `state`; `k` are the constants of the rounds.
    #[target_feature(enable = "sha2")]
    pub fn compress(state: &mut [u32; 8], blocks: &[[u8; 64]], k: &[[u32; 16]; 4]) {
        let [a, b, c, d, e, f, g, h] = *state;
        let (mut abcd, mut efgh) = (vector([a, b, c, d]), vector([e, f, g, h]));
        for block in blocks {
            let before = (abcd, efgh);
            let quarters = block.as_chunks().0;
            let mut w = [0, 1, 2, 3].map(|i| big_endian(&quarters[i]));
            for constants in k {
                for (i, constants) in constants.as_chunks().0.iter().enumerate() {
                    let sum = vaddq_u32(w[i], vector(*constants));
                    (abcd, efgh) = (vsha256hq_u32(abcd, efgh, sum), vsha256h2q_u32(efgh, abcd, sum));
                    let [w0, w1, w2, w3] = [0, 1, 2, 3].map(|next| w[(i + next) % 4]);
                    w[i] = vsha256su1q_u32(vsha256su0q_u32(w0, w1), w2, w3);
                }
            }
            abcd = vaddq_u32(abcd, before.0);
            efgh = vaddq_u32(efgh, before.1);
        }
        let ([a, b, c, d], [e, f, g, h]) = (words(abcd), words(efgh));
        *state = [a, b, c, d, e, f, g, h];
    }
}
