//! `--endpoint`: where a player goes next.
//!
//! *Invariant:* what is written is a JSON string: percent-encoding leaves nothing that JSON would escape, and a template
//! holds nothing of the kind.

use crate::codec::urlencoded;
use crate::config::{Part, Template};
use crate::streams::batch::id_and_device;

/// Appends the endpoint of the stream with this key, in quotes.
pub fn write(template: &Template, key: &[u8], out: &mut Vec<u8>) {
    let (id, device) = id_and_device(key);
    out.push(b'"');
    for part in template.parts() {
        match part {
            Part::Text(text) => out.extend_from_slice(text.as_bytes()),
            Part::Id => urlencoded::encode(id, out),
            Part::Device => urlencoded::encode(device.unwrap_or_default(), out),
        }
    }
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
    fn fills_in_what_is_percent_encoded() {
        for (template, key, expected) in [
            ("/?id={id}", &b"V"[..], r#""/?id=V""#),
            ("/?id={id}", b"V\0tv", r#""/?id=V""#),
            ("https://cdn.example/{id}/m.m3u8", b"a b/\"&", r#""https://cdn.example/a%20b%2F%22%26/m.m3u8""#),
            ("/{device}/{id}{id}", "é\0t v".as_bytes(), r#""/t%20v/%C3%A9%C3%A9""#),
            ("/{device}/{id}", b"V", r#""//V""#),
        ] {
            let mut out = Vec::new();
            write(&Template::parse(template).unwrap(), key, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{template}");
        }
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
