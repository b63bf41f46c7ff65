//! The address of an engine, as `--store` takes it.
//!
//! ```text
//! redis://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…][/DB][?prefix=P&password-file=FILE]
//! redis+unix://[USER[:PASSWORD]@]/PATH[?db=DB&prefix=P&password-file=FILE]
//! ```
//!
//! User, password, path and values are percent-encoded. No error and no [`fmt::Debug`] shows a password.

use std::fmt;
use std::path::PathBuf;

use super::{decimal, urlencoded};

/// What stands before a user in the engine's keys unless `?prefix=` says otherwise.
const PREFIX: &str = "streamer:";
const PORT: u16 = 6379;

/// Where an engine is, and how to get in.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// Nodes of one Cluster, or servers one of which is the master. There is at least one.
    pub addresses: Vec<Address>,
    /// The user of the engine's access list, if it is not the default one.
    pub user: Option<String>,
    /// The password.
    pub password: Password,
    /// The number of the database.
    pub database: u32,
    /// What stands before a user in the engine's keys.
    pub prefix: Vec<u8>,
}

/// How the password is known.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// There is none.
    None,
    /// It stood in the address.
    Given(String),
    /// It is the first line of a file.
    File(PathBuf),
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A name or a number, and a port.
    Tcp {
        /// An IPv6 address stands here without its brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

impl Url {
    /// Reads an address; its scheme is one of the two above, or `rediss`, which is refused.
    ///
    /// # Errors
    ///
    /// A sentence that says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("write redis://HOST:PORT")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut url = match scheme {
            "redis" => Self::tcp(rest)?,
            "redis+unix" => Self::unix(rest)?,
            "rediss" => {
                return Err(
                    "there is no TLS in this program: let a tunnel such as stunnel connect to the server, \
                            and write redis:// and the tunnel's address"
                        .into(),
                );
            }
            _ => return Err("write redis://HOST:PORT or redis+unix:///PATH".into()),
        };
        for (name, value) in urlencoded::pairs(query.as_bytes()) {
            url.set(name, &decode(value)?)?;
        }
        if url.user.is_some() && url.password == Password::None {
            return Err(
                "a user needs a password: write USER:PASSWORD@, or only :PASSWORD@ for the default user"
                    .into(),
            );
        }
        Ok(url)
    }

    fn tcp(rest: &str) -> Result<Self, String> {
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (mut url, hosts) = Self::log_in(authority)?;
        url.addresses = hosts.split(',').map(Address::parse).collect::<Option<_>>().ok_or(
            "write HOST:PORT after redis://, and percent-encode / ? # @ in a user or password (%2F %3F %23 %40)",
        )?;
        if !database.is_empty() {
            url.set(b"db", database)?;
        }
        Ok(url)
    }

    fn unix(rest: &str) -> Result<Self, String> {
        let slash =
            rest.find('/').ok_or("write the socket's whole path, as in redis+unix:///run/redis.sock")?;
        let (mut url, host) = Self::log_in(&rest[..slash])?;
        if !host.is_empty() {
            return Err(
                "a socket has no host: write three slashes, as in redis+unix:///run/redis.sock".into()
            );
        }
        url.addresses.push(Address::Unix(decode(&rest.as_bytes()[slash..])?.into()));
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
        let url = Self { addresses: Vec::new(), user, password, database: 0, prefix: PREFIX.into() };
        Ok((url, hosts))
    }

    fn set(&mut self, name: &[u8], value: &str) -> Result<(), String> {
        match name {
            b"db" => {
                let number = decimal::parse(value.as_bytes()).filter(|number| *number <= 1_000_000);
                self.database = number.ok_or("the database is a number, as in redis://localhost/1")? as u32;
            }
            b"prefix" => self.prefix = value.into(),
            b"password-file" if self.password == Password::None => {
                self.password = Password::File(value.into());
            }
            b"password-file" => return Err("write the password or password-file, not both".into()),
            _ => return Err("of parameters there are prefix, password-file and, for a socket, db".into()),
        }
        Ok(())
    }
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
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<core::net::Ipv6Addr>().ok()?;
                (host, port)
            }
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match port {
            "" => PORT,
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
        f.write_str(if is_socket { "redis+unix://" } else { "redis://" })?;
        for (i, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if i == 0 { "" } else { "," })?;
        }
        match self.database {
            0 => Ok(()),
            n if is_socket => write!(f, "?db={n}"),
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
        assert_eq!(url.user.as_deref(), user);
        let given = password.map_or(Password::None, |password| Password::Given(password.into()));
        assert!(url.password == given, "another password");
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
    fn a_password_may_be_in_a_file() {
        let url = Url::parse("redis://ann@h?password-file=/run/secrets/redis").unwrap();
        assert!(url.password == Password::File("/run/secrets/redis".into()));
        assert_eq!(url.user.as_deref(), Some("ann"));
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
            ("redis+unix://h/path", "three slashes"),
            ("redis+unix://path", "whole path"),
        ] {
            let said = Url::parse(text).unwrap_err();
            assert!(said.contains(expected) && !said.contains("SECRET"), "{text}: {said}");
        }
    }
}
