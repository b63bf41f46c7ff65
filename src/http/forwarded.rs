//! Who sent a request that came through a proxy: `X-Forwarded-For`, believed from the peers of `--proxy` alone.
//!
//! Every proxy adds the address that it was called from behind those that it was told. So the last address that is none
//! of ours is the client; what stands before it, the client may have made up.
//!
//! *Invariant:* nothing of the field is believed that one of the proxies has not written. (Tested by
//! `the_client_is_the_last_that_is_no_proxy`.)

use core::net::IpAddr;

use super::target::{self, split_port};
use crate::codec::decimal;

/// The addresses of the proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Network>);

/// All addresses whose first bits are those of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Proxies {
    /// Reads a list such as `10.0.0.0/8,::1`.
    /// An error is a sentence that says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let networks = text.split(',').map(|network| Network::parse(network.trim()));
        networks.collect::<Option<_>>().map(Self).ok_or_else(|| {
            format!(
                "write addresses or networks with commas between them, as in 127.0.0.1,10.0.0.0/8,::1, not {text:?}"
            )
        })
    }

    /// Whether this is one of the proxies.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The last address that is none of the proxies'. `values` runs from the first `X-Forwarded-For` value to the end
    /// of the last one, with whatever lines stand between them. None when the proxies name nothing but themselves, or
    /// something that is no address.
    #[must_use]
    pub fn client(&self, values: &[u8]) -> Option<IpAddr> {
        let mut lines = values.rsplit(|&byte| byte == b'\n').peekable();
        while let Some(line) = lines.next() {
            let is_first = lines.peek().is_none();
            let Some(value) = (if is_first { Some(line) } else { value(line) }) else { continue };
            for element in value.rsplit(|&byte| byte == b',') {
                let element = element.trim_ascii();
                if element.is_empty() {
                    continue;
                }
                let address = address(element)?;
                if !self.contain(address) {
                    return Some(address);
                }
            }
        }
        None
    }
}

/// The value of this line, if it is another one of the field.
fn value(line: &[u8]) -> Option<&[u8]> {
    let (name, value) = line.split_at_checked("X-Forwarded-For".len())?;
    let value = value.strip_prefix(b":")?;
    name.eq_ignore_ascii_case(b"X-Forwarded-For").then_some(value)
}

/// An address as proxies write it: alone, or with a port behind it, which IPv6 puts brackets before.
fn address(element: &[u8]) -> Option<IpAddr> {
    let with_port = || match split_port(element) {
        (host, Some(port)) => decimal::parse_port(port).and_then(|_| target::address(host)),
        _ => None,
    };
    Some(target::address(element).or_else(with_port)?.to_canonical())
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(decimal::parse(bits.as_bytes())?)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().ok()?.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = u32::try_from(bits.unwrap_or(most.into())).ok().filter(|bits| *bits <= most)?;
        Some(Self { address, bits })
    }

    fn contains(self, address: IpAddr) -> bool {
        let differs = match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            _ => return false,
        };
        differs >= self.bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_what_its_first_bits_say() {
        for (list, inside, outside) in [
            (
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255"][..],
                &["11.0.0.0", "9.255.255.255", "::a00:1"][..],
            ),
            ("127.0.0.1, ::1", &["127.0.0.1", "::1"], &["127.0.0.2", "::2"]),
            ("10.1.2.3/31", &["10.1.2.2", "10.1.2.3"], &["10.1.2.1", "10.1.2.4"]),
            ("0.0.0.0/0", &["1.2.3.4", "255.255.255.255"], &["::1"]),
            ("2001:db8::/32", &["2001:db8::1", "2001:db8:ffff::"], &["2001:db9::"]),
            ("::/0", &["::1", "ffff::"], &["1.2.3.4"]),
            ("::ffff:10.0.0.1", &["10.0.0.1"], &["10.0.0.2"]),
        ] {
            let proxies = Proxies::parse(list).unwrap();
            for address in inside {
                assert!(proxies.contain(address.parse().unwrap()), "{list}: {address}");
            }
            for address in outside {
                assert!(!proxies.contain(address.parse().unwrap()), "{list}: {address}");
            }
        }
    }

    #[test]
    fn refuses_what_is_no_network() {
        for text in [
            "",
            ",",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10/8",
            "lb.example",
            "10.0.0.1:80",
            "[::1]",
        ] {
            let said = Proxies::parse(text).unwrap_err();
            assert!(said.ends_with(&format!("not {text:?}")), "{said}");
        }
    }

    #[test]
    fn the_client_is_the_last_that_is_no_proxy() {
        let proxies = Proxies::parse("127.0.0.1,10.0.0.0/8,::1").unwrap();
        for (values, expected) in [
            ("1.2.3.4", Some("1.2.3.4")),
            ("9.9.9.9, 1.2.3.4", Some("1.2.3.4")),
            ("9.9.9.9, 1.2.3.4, 10.0.0.7 ,127.0.0.1", Some("1.2.3.4")),
            ("1.2.3.4:5678, 10.0.0.7:80", Some("1.2.3.4")),
            ("[2001:db8::1]:443, [::1]", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("::ffff:1.2.3.4, ::ffff:10.0.0.1", Some("1.2.3.4")),
            ("1.2.3.4,,", Some("1.2.3.4")),
            ("1.2.3.4, unknown", None),
            ("unknown, 1.2.3.4", Some("1.2.3.4")),
            ("1.2.3.4:5:6", None),
            ("1.2.3.4:", None),
            ("[::2]x", None),
            ("10.0.0.1", None),
            ("", None),
            ("\u{fe}", None),
            ("1.2.3.4\r\nHost: x\r\nx-forwarded-for: 10.0.0.9", Some("1.2.3.4")),
            ("1.2.3.4\r\nX-Forwarded-For:5.6.7.8", Some("5.6.7.8")),
            ("10.0.0.1\r\nX-Forwarded-Four: 5.6.7.8\r\nX-Forwarded-For: 10.0.0.2", None),
        ] {
            let client = proxies.client(values.as_bytes());
            assert_eq!(client, expected.map(|address| address.parse().unwrap()), "{values}");
        }
    }
}
