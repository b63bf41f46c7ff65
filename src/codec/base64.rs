//! Base 64 (RFC 4648): the standard alphabet (section 4), and the one for URLs and file names (section 5).
//!
//! What is decoded must be what an encoder writes: bits left over must be zero (section 3.5), and anything outside the
//! alphabets is refused, line breaks included (section 3.3).

use super::Invalid;

/// Appends `bytes` in the standard alphabet, padded.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let former = out.len();
    out.resize(former + bytes.len().div_ceil(3) * 4, b'=');
    encode_symbols(bytes, STANDARD, &mut out[former..][..symbols(bytes.len())]);
}

/// Appends the bytes that a text stands for, in either alphabet, padded or not: for credentials, of which it does not
/// matter how they were written.
/// An error is [`Invalid`] when it stands for none; `out` is then as it was.
pub fn decode(encoded: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    let symbols = without_padding(encoded);
    let former = out.len();
    out.resize(former + symbols.len() * 3 / 4, 0);
    let decoded = decode_symbols(symbols, &mut out[former..]);
    if decoded.is_err() {
        // What it got to may be a secret.
        out[former..].fill(0);
        out.truncate(former);
    }
    decoded
}

/// Puts the bytes that an unpadded text in the alphabet for URLs stands for at the beginning of `out`: for tokens, where no
/// two texts may stand for the same bytes.
/// An error is [`Invalid`] when it stands for none, or for more than there is room for.
pub fn decode_url<'a>(encoded: &[u8], out: &'a mut [u8]) -> Result<&'a [u8], Invalid> {
    let out = out.get_mut(..encoded.len() * 3 / 4).ok_or(Invalid)?;
    if encoded.iter().any(|symbol| matches!(symbol, b'+' | b'/')) {
        return Err(Invalid);
    }
    decode_symbols(encoded, out).map(|()| &*out)
}

/// Writes what begins at `from` in the alphabet for URLs, without padding, in its own place.
pub fn encode_url_in_place(out: &mut Vec<u8>, from: usize) {
    let end = out.len();
    out.resize(end + symbols(end - from), 0);
    let (bytes, encoded) = out.split_at_mut(end);
    encode_symbols(&bytes[from..], URL, encoded);
    out.copy_within(end.., from);
    out.truncate(from + symbols(end - from));
}

/// A 256-bit digest in the alphabet for URLs and file names, without padding. It is written in place: a check of a
/// signature allocates nothing.
#[must_use]
pub fn encode_url_digest(digest: &[u8; 32]) -> [u8; 43] {
    let mut out = [0; 43];
    encode_symbols(digest, URL, &mut out);
    out
}

/// How many symbols stand for so many bytes.
const fn symbols(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

/// A third `=`, or one in the middle, stays in the text and is refused with it: no alphabet has that symbol.
fn without_padding(encoded: &[u8]) -> &[u8] {
    match encoded {
        [symbols @ .., b'=', b'='] | [symbols @ .., b'='] if encoded.len().is_multiple_of(4) => symbols,
        symbols => symbols,
    }
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The value of each byte, in either alphabet.
static VALUES: [u32; 256] = {
    let mut values = [NO_SYMBOL; 256];
    let mut value = 0;
    while value < 64 {
        values[STANDARD[value as usize] as usize] = value;
        values[URL[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// What [`VALUES`] holds for a byte that is no symbol: wherever it stands among four, a bit of it comes to lie above the
/// 24 that they make.
const NO_SYMBOL: u32 = 1 << 24 | 1 << 18 | 1 << 12 | 1 << 6;
const BITS: u32 = 24;

/// Fills `out`, which has as many symbols as stand for the bytes.
fn encode_symbols(bytes: &[u8], alphabet: &[u8; 64], out: &mut [u8]) {
    let (triples, rest) = bytes.as_chunks::<3>();
    let (quads, last) = out.as_chunks_mut::<4>();
    for (quad, triple) in quads.iter_mut().zip(triples) {
        *quad = symbols_of(*triple, alphabet);
    }
    let mut padded = [0; 3];
    padded[..rest.len()].copy_from_slice(rest);
    last.copy_from_slice(&symbols_of(padded, alphabet)[..last.len()]);
}

/// Four symbols for three bytes.
fn symbols_of([a, b, c]: [u8; 3], alphabet: &[u8; 64]) -> [u8; 4] {
    let bits = u32::from_be_bytes([0, a, b, c]);
    [bits >> 18, bits >> 12, bits >> 6, bits].map(|six| alphabet[(six & 63) as usize])
}

/// Fills `out`, which has three bytes for four symbols.
fn decode_symbols(symbols: &[u8], out: &mut [u8]) -> Result<(), Invalid> {
    let (quads, rest) = symbols.as_chunks::<4>();
    let (triples, last) = out.as_chunks_mut::<3>();
    let mut seen = 0;
    for (triple, quad) in triples.iter_mut().zip(quads) {
        *triple = bytes_of(quad, &mut seen);
    }
    // One symbol holds no whole byte; of two or three, the bits past the last whole byte must be zero.
    let bytes = match *rest {
        [] => [0; 3],
        [a, b] => bytes_of(&[a, b, b'A', b'A'], &mut seen),
        [a, b, c] => bytes_of(&[a, b, c, b'A'], &mut seen),
        _ => return Err(Invalid),
    };
    last.copy_from_slice(&bytes[..last.len()]);
    let is_exact = bytes[last.len()..].iter().all(|&byte| byte == 0);
    if is_exact && seen >> BITS == 0 { Ok(()) } else { Err(Invalid) }
}

/// Three bytes from four symbols. `seen` gathers all bits: an unknown symbol shows in it to the end.
fn bytes_of(quad: &[u8; 4], seen: &mut u32) -> [u8; 3] {
    let bits = quad.iter().fold(0, |bits, symbol| bits << 6 | VALUES[usize::from(*symbol)]);
    *seen |= bits;
    let [_, bytes @ ..] = bits.to_be_bytes();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in `out` already stays there, and stays alone when the text is refused.
    #[track_caller]
    fn check_decode(encoded: &str, expected: Result<&[u8], Invalid>) {
        let mut out = b"kept ".to_vec();
        assert_eq!(decode(encoded.as_bytes(), &mut out), expected.map(|_| ()), "{encoded:?}");
        assert_eq!(out, [b"kept ", expected.unwrap_or_default()].concat(), "{encoded:?}");
    }

    #[track_caller]
    fn check_url(encoded: &str, expected: Result<&[u8], Invalid>) {
        let mut out = [0; 300];
        assert_eq!(decode_url(encoded.as_bytes(), &mut out), expected, "{encoded:?}");
    }

    /// `text` is what the bytes are in the standard alphabet. Each other way to write it is read as well, but of those for
    /// tokens alone.
    #[track_caller]
    fn check(bytes: &[u8], text: &str) {
        let mut out = b"kept ".to_vec();
        encode(bytes, &mut out);
        assert_eq!(String::from_utf8(out), Ok(format!("kept {text}")));
        let url = text.replace('+', "-").replace('/', "_");
        let unpadded = url.replace('=', "");
        let mut out = [b"kept ", bytes].concat();
        encode_url_in_place(&mut out, 5);
        assert_eq!(String::from_utf8(out), Ok(format!("kept {unpadded}")));
        for way in [text, &text.replace('=', ""), &url, &unpadded] {
            check_decode(way, Ok(bytes));
            check_url(way, if way == unpadded { Ok(bytes) } else { Err(Invalid) });
        }
    }

    #[test]
    fn speaks_the_vectors_of_section_10() {
        check(b"", "");
        check(b"f", "Zg==");
        check(b"fo", "Zm8=");
        check(b"foo", "Zm9v");
        check(b"foob", "Zm9vYg==");
        check(b"fooba", "Zm9vYmE=");
        check(b"foobar", "Zm9vYmFy");
        check(b"Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        check(b"\xfb\xff\xfe", "+//+");
        check(b"\xff", "/w==");
        check(b"\0\0", "AAA=");
    }

    #[test]
    fn a_digest_is_written_as_any_bytes_are() {
        for seed in 0..=u8::MAX {
            let digest: [u8; 32] = core::array::from_fn(|i| seed.wrapping_mul(i as u8 | 1) ^ 0xfb);
            let mut expected = digest.to_vec();
            encode_url_in_place(&mut expected, 0);
            assert_eq!(expected, encode_url_digest(&digest));
        }
    }

    #[test]
    fn padding_is_whole_and_only_at_the_end() {
        let cut = ["Z", "Zg=", "Zm9vY"];
        let overpadded = ["=", "==", "===", "====", "Z===", "Zg===", "Zm8==", "Zm9v=", "Zm9v==", "Zm9v===="];
        let misplaced = ["Zg==Zg==", "Zm8=Zm8=", "=Zm8", "Z=m8", "Zm=8", "Zg=A", "=A==", "Zm9v=A=="];
        for bad in [&cut[..], &overpadded, &misplaced].concat() {
            check_decode(bad, Err(Invalid));
            check_url(bad, Err(Invalid));
        }
    }

    #[test]
    fn what_has_no_room_is_refused() {
        assert_eq!(decode_url(b"Zm9v", &mut [0; 2]), Err(Invalid));
        assert_eq!(decode_url(b"Zm9v", &mut [0; 3]), Ok(&b"foo"[..]));
    }

    #[test]
    fn bits_left_over_must_be_zero() {
        for last in ["h", "i", "k", "o", "v"] {
            check_decode(&format!("Z{last}=="), Err(Invalid));
            check_url(&format!("Z{last}"), Err(Invalid));
        }
        for last in ["9", "-", "_"] {
            check_decode(&format!("Zm{last}="), Err(Invalid));
            check_url(&format!("Zm{last}"), Err(Invalid));
        }
    }

    #[test]
    fn every_byte_outside_the_alphabets_is_refused_everywhere() {
        for byte in (0..=u8::MAX).filter(|&c| !c.is_ascii_alphanumeric()) {
            for at in 0..7 {
                let mut text = *b"QUJDREU";
                text[at] = byte;
                let known = at < 6 && matches!(byte, b'+' | b'/' | b'-' | b'_');
                assert_eq!(decode(&text, &mut Vec::new()).is_ok(), known, "{}", text.escape_ascii());
                let known = known && matches!(byte, b'-' | b'_');
                assert_eq!(decode_url(&text, &mut [0; 9]).is_ok(), known, "{}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn what_was_encoded_decodes_to_itself_at_every_length() {
        let bytes: Vec<u8> = (0..=u8::MAX).rev().collect();
        for length in 0..=bytes.len() {
            let mut text = Vec::new();
            encode(&bytes[..length], &mut text);
            check_decode(&String::from_utf8_lossy(&text), Ok(&bytes[..length]));
            let mut text = bytes[..length].to_vec();
            encode_url_in_place(&mut text, 0);
            check_url(&String::from_utf8_lossy(&text), Ok(&bytes[..length]));
        }
    }
}
