//! `--endpoint`: where a player goes next.
//!
//! *Invariant:* what is written is a JSON string: percent-encoding leaves nothing that JSON would escape, and a template
//! holds nothing of the kind.

use crate::codec::template::Template;
use crate::codec::urlencoded;
use crate::streams::batch::id_and_device;

/// Appends the endpoint of the stream with this key, in quotes.
pub fn write(template: &Template, key: &[u8], out: &mut Vec<u8>) {
    let (id, device) = id_and_device(key);
    out.push(b'"');
    template.write(id, device, out);
    out.push(b'"');
}

/// Appends the path and query of the stream with this key, for `Location`.
pub fn write_location(key: &[u8], out: &mut Vec<u8>) {
    let (id, device) = id_and_device(key);
    out.extend_from_slice(b"/?id=");
    urlencoded::encode(id, out);
    if let Some(device) = device {
        out.extend_from_slice(b"&device=");
        urlencoded::encode(device, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_json_string() {
        let mut out = Vec::new();
        write(&Template::parse("/{device}/{id}").unwrap(), b"a\"b\0tv", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), r#""/tv/a%22b""#);
    }

    #[test]
    fn a_location_names_the_stream_itself() {
        for (key, expected) in [(&b"V"[..], "/?id=V"), (b"a&b\0t=v", "/?id=a%26b&device=t%3Dv")] {
            let mut out = Vec::new();
            write_location(key, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
