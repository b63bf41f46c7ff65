//! JSON Web Tokens (RFC 7519) in the compact form (RFC 7515 section 3.1), signed with HS256 (RFC 7518 section 3.2) and
//! nothing else.
//!
//! ```text
//! token     = base64url(header) "." base64url(claims) "." base64url(signature)      ; RFC 4648 section 5, no padding
//! signature = HMAC-SHA256(key, all before the last dot)
//! ```
//!
//! The algorithm is ours to say, not the token's: a header that names another one is refused before its signature is looked
//! at (RFC 8725 section 3.1), and so is one with `crit`, for no extension is understood here.
//!
//! *Invariant:* no claim is decoded before the signature has been checked. (Not tested.)

use super::base64;
use super::json::{self, Text, Value};
use super::sha256::{self, HmacKey};

/// How long a token may be, in bytes.
pub const MAX_TOKEN: usize = 4096;
/// As much as a part of a token can be decoded to.
pub const MAX_PART: usize = MAX_TOKEN / 4 * 3;
/// How many members an object may have.
const MAX_MEMBERS: usize = 64;

/// Characters of a signature: 32 bytes in base64.
const SIGNATURE: usize = 43;
/// `{"alg":"HS256"}` and the dot behind it.
const HEADER: &[u8] = b"eyJhbGciOiJIUzI1NiJ9.";

/// Why bytes are no token of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They are not three parts, or too long, or the header is no JSON object.
    Form,
    /// The header names another algorithm, or what must be understood.
    Algorithm,
    /// No key has signed it.
    Signature,
}

/// The claims, decoded into `buffer`, of a token that one of the keys has signed. They may still be anything.
/// An error is the first [`Fault`].
pub fn open<'a>(token: &[u8], keys: &[HmacKey], buffer: &'a mut [u8; MAX_PART]) -> Result<&'a [u8], Fault> {
    let mut parts = token.splitn(4, |&byte| byte == b'.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Fault::Form);
    };
    if token.len() > MAX_TOKEN {
        return Err(Fault::Form);
    }
    check_header(base64::decode_url(header, buffer).map_err(|_| Fault::Form)?)?;
    let signed = &token[..header.len() + 1 + claims.len()];
    let is_by = |key: &HmacKey| sha256::equal(&base64::encode_url_digest(&key.sign(signed)), signature);
    // Of another length it is none, and need not be computed.
    if signature.len() != SIGNATURE || !keys.iter().any(is_by) {
        return Err(Fault::Signature);
    }
    base64::decode_url(claims, buffer).map_err(|_| Fault::Form)
}

fn check_header(header: &[u8]) -> Result<(), Fault> {
    let (mut is_hs256, mut is_critical) = (false, false);
    members(header, |name, value| {
        if name.is("alg") {
            is_hs256 = matches!(value, Value::String(alg) if alg.is("HS256"));
        }
        is_critical |= name.is("crit");
    })
    .ok_or(Fault::Form)?;
    if is_hs256 && !is_critical { Ok(()) } else { Err(Fault::Algorithm) }
}

/// Hands over the members of the text's one object; None if it is none, or has a member twice (RFC 7519 section 4), of
/// which two readers could pick different ones.
pub fn members<'a>(text: &'a [u8], mut visit: impl FnMut(Text<'a>, Value<'a>)) -> Option<()> {
    let mut names: [Option<Text>; MAX_MEMBERS] = [None; MAX_MEMBERS];
    let mut are_distinct = true;
    let mut count = 0;
    let read = json::members(text, |name, value| {
        are_distinct &=
            count < MAX_MEMBERS && !names[..count].iter().flatten().any(|other| other.means(&name));
        if are_distinct {
            names[count] = Some(name);
            count += 1;
            visit(name, value);
        }
    });
    (read.is_ok() && are_distinct).then_some(())
}

/// Appends a token signed with `key`. `claims` appends its claims, a JSON object.
pub fn write(key: &HmacKey, claims: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(HEADER);
    let from = out.len();
    claims(out);
    base64::encode_url_in_place(out, from);
    let signature = base64::encode_url_digest(&key.sign(&out[start..]));
    out.push(b'.');
    out.extend_from_slice(&signature);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515 appendix A.1.1, of which RFC 7519 section 3.1 is the beginning.
    const KEY: &str =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    const HEAD: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9";
    const CLAIMS: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const SIGNATURE_OF_A_1: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    fn key() -> HmacKey {
        let mut bytes = [0; 64];
        HmacKey::new(base64::decode_url(KEY.as_bytes(), &mut bytes).unwrap())
    }

    /// Signs whatever stands in the first two parts.
    fn sign(header: &str, claims: &str) -> String {
        let encode = |text: &str| {
            let mut out = text.as_bytes().to_vec();
            base64::encode_url_in_place(&mut out, 0);
            String::from_utf8(out).unwrap()
        };
        sign_raw(&encode(header), &encode(claims))
    }

    fn sign_raw(header: &str, claims: &str) -> String {
        let signed = format!("{header}.{claims}");
        let signature = base64::encode_url_digest(&key().sign(signed.as_bytes()));
        format!("{signed}.{}", str::from_utf8(&signature).unwrap())
    }

    #[track_caller]
    fn check(token: &str, expected: Result<&str, Fault>) {
        for keys in [&[key()][..], &[HmacKey::new(b"another"), key()]] {
            let mut buffer = [0; MAX_PART];
            let opened = open(token.as_bytes(), keys, &mut buffer);
            assert_eq!(opened, expected.map(str::as_bytes), "{token}");
        }
    }

    #[test]
    fn reads_the_example_of_rfc_7515_and_rfc_7519() {
        let claims = "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
        check(&format!("{HEAD}.{CLAIMS}.{SIGNATURE_OF_A_1}"), Ok(claims));
        assert_eq!(sign_raw(HEAD, CLAIMS), format!("{HEAD}.{CLAIMS}.{SIGNATURE_OF_A_1}"));
        let mut seen = String::new();
        members(claims.as_bytes(), |name, value| {
            seen.extend(name.chars());
            if let Value::Number(number) = value {
                seen += number;
            }
        });
        assert_eq!(seen, "issexp1300819380http://example.com/is_root");
    }

    #[test]
    fn what_is_written_is_read() {
        for claims in ["{}", r#"{"sub":"alice"}"#, r#"{"sub":"Żółw","exp":1800000000,"limit":"3,mobile=1"}"#]
        {
            let mut token = b"kept".to_vec();
            write(&key(), |out| out.extend_from_slice(claims.as_bytes()), &mut token);
            let token = String::from_utf8(token.split_off(4)).unwrap();
            check(&token, Ok(claims));
            assert_eq!(token, sign(r#"{"alg":"HS256"}"#, claims));
        }
    }

    #[test]
    fn the_algorithm_is_ours_to_say() {
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"ES256"}"#,
            r#"{"alg":"PS256"}"#,
            r#"{"alg":"EdDSA"}"#,
            r#"{"alg":"HS384"}"#,
            r#"{"alg":"HS512"}"#,
            r#"{"alg":"HS1"}"#,
            r#"{"alg":"hs256"}"#,
            r#"{"alg":"Hs256"}"#,
            r#"{"alg":"HS256 "}"#,
            r#"{"alg":"HS256\u0000"}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"alg":{"alg":"HS256"}}"#,
            r#"{"alg":null}"#,
            r#"{"alg":true}"#,
            r#"{"alg":256}"#,
            r#"{"alg":""}"#,
            r#"{"ALG":"HS256"}"#,
            r#"{"header":{"alg":"HS256"}}"#,
            r#"{"typ":"JWT"}"#,
            "{}",
            r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
            r#"{"alg":"HS256","crit":[]}"#,
            r#"{"alg":"HS256","crit":null}"#,
            r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#,
            r#"{"alg":"HS256","\u0063rit":["x"]}"#,
        ] {
            check(&sign(header, "{}"), Err(Fault::Algorithm));
        }
        for header in [
            r#"{"alg":"HS256","kid":"../../../../dev/null"}"#,
            r#"{"alg":"HS256","kid":"' UNION SELECT 'key"}"#,
            r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"},"jku":"https://evil.example/","x5u":"file:///"}"#,
            r#"{"\u0061lg":"HS\u003256","typ":"at+jwt","cty":"JWT"}"#,
        ] {
            // What names a key names none of ours: those of the file are tried.
            check(&sign(header, "{}"), Ok("{}"));
            let other = HmacKey::new(b"AAAA");
            assert_eq!(
                open(sign(header, "{}").as_bytes(), &[other], &mut [0; MAX_PART]),
                Err(Fault::Signature)
            );
        }
    }

    #[test]
    fn a_header_is_one_json_object_with_each_member_once() {
        let many: String = (1..65).map(|n| format!(r#","a{n}":0"#)).collect();
        let most: String = (1..64).map(|n| format!(r#","a{n}":0"#)).collect();
        check(&sign(&format!(r#"{{"alg":"HS256"{most}}}"#), "{}"), Ok("{}"));
        for header in [
            r#"{"alg":"HS256","alg":"HS256"}"#,
            r#"{"alg":"none","alg":"HS256"}"#,
            r#"{"alg":"HS256","\u0061lg":"none"}"#,
            r#"{"alg":"HS256","x":1,"x":1}"#,
            &format!(r#"{{"alg":"HS256"{many}}}"#),
            r#"["alg","HS256"]"#,
            r#"[{"alg":"HS256"}]"#,
            r#""HS256""#,
            "null",
            "",
            r#"{"alg":"HS256"} x"#,
            r#"{"alg":"HS256"}{}"#,
            r#"{alg:"HS256"}"#,
            "\u{feff}{\"alg\":\"HS256\"}",
            &format!(r#"{{"alg":"HS256","x":{}}}"#, "[".repeat(40)),
        ] {
            check(&sign(header, "{}"), Err(Fault::Form));
        }
    }

    #[test]
    fn a_token_is_three_parts_of_unpadded_base64url() {
        let token = sign(r#"{"alg":"HS256"}"#, r#"{"sub":"alice","x":"\u00ff>?"}"#);
        let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!() };
        for other in [
            "",
            ".",
            "..",
            "...",
            header,
            &format!("{header}.{claims}"),
            &format!("{token}."),
            &format!("{token}.{signature}"),
            &format!(".{token}"),
            &format!(".{claims}.{signature}"),
            &format!(" {token}"),
            &format!("{header}=.{claims}.{signature}"),
            &format!("{header} .{claims}.{signature}"),
            &format!("{header}\n.{claims}.{signature}"),
            &format!("{header}..{claims}.{signature}"),
            &sign_raw(&format!("{header}="), claims),
            &sign_raw(&format!("{header}=="), claims),
            &sign_raw(&format!("{header}A"), claims),
            &sign_raw("", claims),
            &sign_raw(header, &format!("{claims}=")),
            &sign_raw(header, &format!("{claims}\n")),
            &sign_raw(header, &claims.replace(['-', '_'], "+")),
            &sign_raw(header, &claims.replace(['-', '_'], "/")),
            &sign_raw(header, &"A".repeat(MAX_TOKEN)),
        ] {
            check(other, Err(Fault::Form));
        }
        let fits = MAX_TOKEN - header.len() - 2 - SIGNATURE;
        let padded = |len: usize| sign_raw(header, &"A".repeat(len));
        let mut buffer = [0; MAX_PART];
        let longest = padded(fits / 4 * 4);
        assert!(open(longest.as_bytes(), &[key()], &mut buffer).is_ok());
        assert_eq!(open(padded(fits + 1).as_bytes(), &[key()], &mut buffer), Err(Fault::Form));
    }

    #[test]
    fn nothing_but_the_signature_itself_is_taken_for_it() {
        let token = sign(r#"{"alg":"HS256"}"#, "{}");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        for other in [
            "",
            "A",
            &signature[..42],
            &signature[..22],
            &format!("{signature}="),
            &format!("{signature}A"),
            &format!(" {signature}"),
            &"A".repeat(SIGNATURE),
            SIGNATURE_OF_A_1,
            &signature.to_ascii_lowercase(),
        ] {
            check(&format!("{signed}.{other}"), Err(Fault::Signature));
        }
        // The last character has two bits that mean nothing: three other ones would decode to the same bytes.
        for last in base64_alphabet().filter(|last| !signature.ends_with(*last)) {
            check(&format!("{signed}.{}{last}", &signature[..42]), Err(Fault::Signature));
        }
        for at in 0..token.len() {
            let mut altered = token.clone().into_bytes();
            altered[at] ^= 1;
            let opened = open(&altered, &[key()], &mut [0; MAX_PART]).map(|_| ());
            assert!(opened.is_err(), "{at}");
            assert!(open(&token.as_bytes()[..at], &[key()], &mut [0; MAX_PART]).is_err(), "cut at {at}");
        }
        // Key confusion: signed with what a public key, an empty key or no key at all would be.
        for wrong in ["", "\0", "-----BEGIN PUBLIC KEY-----", KEY] {
            let mut forged = Vec::new();
            write(&HmacKey::new(wrong.as_bytes()), |out| out.extend_from_slice(b"{}"), &mut forged);
            check(str::from_utf8(&forged).unwrap(), Err(Fault::Signature));
        }
    }

    fn base64_alphabet() -> impl Iterator<Item = char> {
        ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_'])
    }
}
