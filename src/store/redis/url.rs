//! The address of an engine, as `--store` takes it.
//!
//! ```text
//! redis://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…][/DB][?prefix=P&password-file=FILE]
//! redis+unix://[USER[:PASSWORD]@]/PATH[?db=DB&prefix=P&password-file=FILE]
//! redis+sentinel://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…]/NAME[?db=DB&prefix=P&password-file=FILE
//!                  &sentinel-user=USER&sentinel-password-file=FILE]
//! ```
//!
//! User, password, path, name and values are percent-encoded. No error and no [`fmt::Debug`] shows a password.

use std::fmt;
use std::path::PathBuf;

use crate::codec::{decimal, urlencoded};

/// What stands before a user in the engine's keys unless `?prefix=` says otherwise.
const PREFIX: &str = "streamer:";
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

// What is said of addresses that cannot be read.
const NO_SCHEME: &str = "write redis://HOST:PORT, redis+unix:///PATH or redis+sentinel://HOST:PORT/NAME";
const NO_TLS: &str = "there is no TLS in this program: let a tunnel such as stunnel connect to the server, and write redis:// \
    and the tunnel's address";
const NO_HOST: &str =
    "write HOST:PORT after the scheme, and percent-encode / ? # @ in a user or password (%2F %3F %23 %40)";
const NO_PATH: &str = "write the socket's whole path, as in redis+unix:///run/redis.sock";
const NO_HOST_OF_SOCKET: &str =
    "a socket has no host: write three slashes, as in redis+unix:///run/redis.sock";
const NO_NAME: &str = "write the name that the Sentinels know, as in redis+sentinel://HOST:26379/mymaster";
const NO_PASSWORD: &str = "a user needs a password: write USER:PASSWORD@, or only :PASSWORD@ for the default user; \
    sentinel-user needs sentinel-password-file";
const TWO_PASSWORDS: &str = "write the password or password-file, not both";
const NO_PARAMETER: &str = "of parameters there are prefix, password-file, for a socket or Sentinels db, and for Sentinels \
    sentinel-user and sentinel-password-file";

/// Where an engine is, and how to get in.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// Nodes of one Cluster, servers one of which is the master, or Sentinels. There is at least one.
    pub addresses: Vec<Address>,
    /// What the addresses, which are Sentinels, are to be asked for.
    pub watched: Option<Watched>,
    pub access: Access,
    /// What stands before a user in the engine's keys.
    pub prefix: Vec<u8>,
}

/// A master that Sentinels watch.
#[derive(Clone, PartialEq, Eq)]
pub struct Watched {
    /// What the Sentinels call it.
    pub name: String,
    /// How to get in at the Sentinels.
    pub access: Access,
}

#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// The user of the engine's access list, if it is not the default one.
    pub user: Option<String>,
    pub password: Password,
    pub database: u32,
}

#[derive(Clone, Default, PartialEq, Eq)]
pub enum Password {
    #[default]
    None,
    /// It stood in the address.
    Given(String),
    /// It is the first line of a file.
    File(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A name or a number, and a port.
    Tcp {
        /// An IPv6 address stands here without its brackets.
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl Url {
    /// Reads an address; its scheme is one of the three above, or `rediss`, which is refused.
    ///
    /// # Errors
    ///
    /// A sentence that says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("write redis://HOST:PORT")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (mut url, hosts) = Self::log_in(authority)?;
        match scheme {
            "redis" => {
                url.addresses = addresses(hosts, PORT).ok_or(NO_HOST)?;
                if path.len() > 1 {
                    url.set(b"db", &path[1..])?;
                }
            }
            "redis+unix" if path.is_empty() => return Err(NO_PATH.into()),
            "redis+unix" if !hosts.is_empty() => return Err(NO_HOST_OF_SOCKET.into()),
            "redis+unix" => url.addresses.push(Address::Unix(decode(path.as_bytes())?.into())),
            "redis+sentinel" => {
                url.addresses = addresses(hosts, SENTINEL_PORT).ok_or(NO_HOST)?;
                let name = decode(path.get(1..).unwrap_or_default().as_bytes())?;
                if name.is_empty() {
                    return Err(NO_NAME.into());
                }
                url.watched = Some(Watched { name, access: Access::default() });
            }
            "rediss" => return Err(NO_TLS.into()),
            _ => return Err(NO_SCHEME.into()),
        }
        for (name, value) in urlencoded::pairs(query.as_bytes()) {
            url.set(name, &decode(value)?)?;
        }
        let lacks = |access: &Access| access.user.is_some() && access.password == Password::None;
        if lacks(&url.access) || url.watched.as_ref().is_some_and(|watched| lacks(&watched.access)) {
            return Err(NO_PASSWORD.into());
        }
        Ok(url)
    }

    /// Reads `[USER[:PASSWORD]@]`; returns what follows it too.
    fn log_in(authority: &str) -> Result<(Self, &str), String> {
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let user = Some(decode(user.as_bytes())?).filter(|user| !user.is_empty());
        let password = match decode(password.as_bytes())? {
            none if none.is_empty() => Password::None,
            password => Password::Given(password),
        };
        let access = Access { user, password, database: 0 };
        let url = Self { addresses: Vec::new(), watched: None, access, prefix: PREFIX.into() };
        Ok((url, hosts))
    }

    fn set(&mut self, name: &[u8], value: &str) -> Result<(), String> {
        let access = &mut self.access;
        match (name, &mut self.watched) {
            (b"db", _) => {
                let number = decimal::parse(value.as_bytes()).filter(|number| *number <= 1_000_000);
                access.database = number.ok_or("the database is a number, as in redis://localhost/1")? as u32;
            }
            (b"prefix", _) => self.prefix = value.into(),
            (b"password-file", _) if access.password == Password::None => {
                access.password = Password::File(value.into());
            }
            (b"password-file", _) => return Err(TWO_PASSWORDS.into()),
            (b"sentinel-user", Some(watched)) => watched.access.user = Some(value.into()),
            (b"sentinel-password-file", Some(watched)) => {
                watched.access.password = Password::File(value.into());
            }
            _ => return Err(NO_PARAMETER.into()),
        }
        Ok(())
    }
}

/// Addresses with commas between them.
fn addresses(hosts: &str, port: u16) -> Option<Vec<Address>> {
    hosts.split(',').map(|host| Address::parse(host, port)).collect()
}

/// Decodes a part of the address.
fn decode(raw: &[u8]) -> Result<String, String> {
    let mut out = Vec::new();
    let decoded = urlencoded::decode_path(raw, &mut out).ok();
    decoded
        .and_then(|()| String::from_utf8(out).ok())
        .ok_or_else(|| "a % is followed by two hexadecimal digits; write %25 for itself".into())
}

impl Address {
    /// `HOST`, `HOST:PORT` or `[IPV6]:PORT`.
    fn parse(text: &str, default: u16) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<core::net::Ipv6Addr>().ok()?;
                (host, port)
            }
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match port {
            "" => default,
            port => decimal::parse_port(port.strip_prefix(':')?.as_bytes()).filter(|port| *port > 0)?,
        };
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '?' | '#' | '@' | '[' | ']');
        (!host.is_empty() && host.chars().all(plain)).then(|| Self::Tcp { host: host.into(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Without user and password.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_socket = matches!(self.addresses[..], [Address::Unix(_)]);
        f.write_str(match (&self.watched, is_socket) {
            (Some(_), _) => "redis+sentinel://",
            (None, true) => "redis+unix://",
            (None, false) => "redis://",
        })?;
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        f.write_str(&addresses.join(","))?;
        self.watched.as_ref().map_or(Ok(()), |watched| write!(f, "/{}", watched.name))?;
        match self.access.database {
            0 => Ok(()),
            n if is_socket || self.watched.is_some() => write!(f, "?db={n}"),
            n => write!(f, "/{n}"),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str, user: Option<&str>, password: Option<&str>, prefix: &str) {
        let url = Url::parse(text).unwrap();
        assert_eq!(url.to_string(), shown);
        assert_eq!(url.access.user.as_deref(), user);
        let given = password.map_or(Password::None, |password| Password::Given(password.into()));
        assert!(url.access.password == given, "another password");
        assert_eq!(String::from_utf8_lossy(&url.prefix), prefix);
        assert!(password.is_none_or(|password| !format!("{url:?} {url}").contains(password)));
    }

    #[test]
    fn reads_addresses() {
        let p = "streamer:";
        check("redis://localhost", "redis://localhost:6379", None, None, p);
        check("redis://10.0.0.7:7000/3", "redis://10.0.0.7:7000/3", None, None, p);
        check("redis://a,b:7001,[::1],[::1]:9", "redis://a:6379,b:7001,[::1]:6379,[::1]:9", None, None, p);
        check("redis://:geheim@h", "redis://h:6379", None, Some("geheim"), p);
        check("redis://eve:p%40ss+w%2Ford@h:1/", "redis://h:1", Some("eve"), Some("p@ss+w/ord"), p);
        check("redis://a:b@c@h", "redis://h:6379", Some("a"), Some("b@c"), p);
        check("redis://h?prefix=", "redis://h:6379", None, None, "");
        check("redis://h/0?prefix=s%3Av1%3A", "redis://h:6379", None, None, "s:v1:");
        check("redis+unix:///run/redis.sock?db=2", "redis+unix:///run/redis.sock?db=2", None, None, p);
        check("redis+unix://u:w@/a%20b", "redis+unix:///a b", Some("u"), Some("w"), p);
    }

    #[test]
    fn sentinels_are_asked_for_a_name_and_have_an_access_of_their_own() {
        let text = "redis+sentinel://ann:SECRET@a,[::1]:7/m%2Fy?db=2&prefix=x:&sentinel-user=eve&sentinel-password-file=/f";
        let url = Url::parse(text).unwrap();
        assert_eq!(url.to_string(), "redis+sentinel://a:26379,[::1]:7/m/y?db=2");
        let access = Access { user: Some("eve".into()), password: Password::File("/f".into()), database: 0 };
        assert!(url.watched == Some(Watched { name: "m/y".into(), access }));
        assert_eq!((url.access.user.as_deref(), url.access.database), (Some("ann"), 2));
    }

    #[test]
    fn a_password_may_be_in_a_file() {
        let url = Url::parse("redis://ann@h?password-file=/run/secrets/redis").unwrap();
        assert!(url.access.password == Password::File("/run/secrets/redis".into()));
        assert_eq!(url.access.user.as_deref(), Some("ann"));
    }

    #[test]
    fn says_what_to_write_instead_and_never_the_password() {
        for (text, expected) in [
            ("rediss://h", "tunnel"),
            ("http://h", "redis://HOST:PORT"),
            ("redis", "redis://HOST:PORT"),
            ("redis://", "HOST:PORT"),
            ("redis://h:0", "HOST:PORT"),
            ("redis://h:70000", "HOST:PORT"),
            ("redis://h:x", "HOST:PORT"),
            ("redis://a,,b", "HOST:PORT"),
            ("redis://[::1", "HOST:PORT"),
            ("redis://[h]:1", "HOST:PORT"),
            ("redis://:SECRET/1@h", "percent-encode"),
            ("redis://:SECRET%zz@h", "%25"),
            ("redis://ann@h", "USER:PASSWORD@"),
            ("redis://h/one", "number"),
            ("redis://h/1/2", "number"),
            ("redis://h?db=-1", "number"),
            ("redis://h?tls=1", "prefix"),
            ("redis://:SECRET@h?password-file=f", "not both"),
            ("redis+sentinel://h", "the name"),
            ("redis+sentinel://h/?db=1", "the name"),
            ("redis+sentinel://h:0/m", "HOST:PORT"),
            ("redis+sentinel://h/m?sentinel-user=a", "sentinel-password-file"),
            ("redis://h?sentinel-user=a", "prefix"),
            ("redis+unix://h/path", "three slashes"),
            ("redis+unix://path", "whole path"),
        ] {
            let said = Url::parse(text).unwrap_err();
            assert!(said.contains(expected) && !said.contains("SECRET"), "{text}: {said}");
        }
    }
}
