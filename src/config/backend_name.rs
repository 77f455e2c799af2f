//! The name of a backend's folder: `host:port`, where host is an IPv4 address, a name, or an IPv6
//! address in brackets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A backend, as its folder names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendName {
    pub host: Host,
    /// From 1.
    pub port: u16,
    text: String,
}

/// The part before the port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    Address(IpAddr),
    /// A name, to be resolved.
    Name(String),
}

/// Why a folder's name is no backend's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendNameError {
    /// Not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// No colon.
    #[error("it has no colon before a port")]
    NoPort,
    /// The port is none.
    #[error("{0:?} is no port: it takes a number from 1 to 65535 without leading zeros")]
    Port(String),
    /// Nothing before the port.
    #[error("it has no host before the port")]
    NoHost,
    /// IPv6 without brackets.
    #[error("an IPv6 address stands in brackets, as in [::1]:9998")]
    Brackets,
    /// Brackets around something else.
    #[error("{0:?} in brackets is no IPv6 address")]
    Ipv6(String),
    /// Looks like IPv4 and isn't: resolvers read it as something else.
    #[error("{0:?} is neither an IPv4 address nor a name: the last part of a name is not a number")]
    Ipv4(String),
    /// No host name.
    #[error(
        "{0:?} is no host name: it takes a-z, A-Z, 0-9, - and _ in parts of 1 to 63, separated \
         by dots, in all 253 at most"
    )]
    Name(String),
}

impl BackendName {
    /// Parses a folder's name, given as the bytes that the file system has.
    ///
    /// # Errors
    /// It isn't exactly `host:port`.
    pub fn parse(name: impl AsRef<[u8]>) -> Result<Self, BackendNameError> {
        let text = std::str::from_utf8(name.as_ref()).map_err(|_| BackendNameError::NotUtf8)?;
        let (host, port) = text.rsplit_once(':').ok_or(BackendNameError::NoPort)?;
        // IPv6 first, since "::1" would otherwise have the port 1.
        let host = parse_host(host)?;
        let port = parse_port(port).ok_or_else(|| BackendNameError::Port(port.to_owned()))?;
        Ok(Self {
            host,
            port,
            text: text.to_owned(),
        })
    }

    /// Exactly as the folder is named: also what `Host:` and `/sync_status` say.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_port(text: &str) -> Option<u16> {
    // Two folders must not name one backend, so there is one way to write a port.
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

fn parse_host(text: &str) -> Result<Host, BackendNameError> {
    if text.is_empty() {
        return Err(BackendNameError::NoHost);
    }
    if let Some(inner) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return match inner.parse::<Ipv6Addr>() {
            Ok(address) => Ok(Host::Address(address.into())),
            Err(_) => Err(BackendNameError::Ipv6(inner.to_owned())),
        };
    }
    if text.contains(':') {
        return Err(BackendNameError::Brackets);
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Address(address.into()));
    }
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() > 253 || !text.split('.').all(is_label) {
        return Err(BackendNameError::Name(text.to_owned()));
    }
    let last = text.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BackendNameError::Ipv4(text.to_owned()));
    }
    Ok(Host::Name(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Result<(Host, u16), BackendNameError>) {
        let parsed = BackendName::parse(name);
        if let Ok(parsed) = &parsed {
            assert_eq!(parsed.as_str(), name);
        }
        assert_eq!(
            parsed.map(|name| (name.host, name.port)),
            expected,
            "{name}"
        );
    }

    fn address(text: &str) -> Host {
        Host::Address(text.parse().unwrap())
    }

    #[test]
    fn addresses_and_names_with_a_port_are_backends() {
        check("127.0.0.1:9998", Ok((address("127.0.0.1"), 9998)));
        check("[2001:db8::1]:65535", Ok((address("2001:db8::1"), 65_535)));
        check(
            "db-1.example.com:1",
            Ok((Host::Name("db-1.example.com".to_owned()), 1)),
        );
        check("hust_db:80", Ok((Host::Name("hust_db".to_owned()), 80)));
        check("1db:80", Ok((Host::Name("1db".to_owned()), 80)));
    }

    #[test]
    fn everything_else_says_why_not() {
        use BackendNameError as E;
        check("127.0.0.1_9998", Err(E::NoPort));
        check("", Err(E::NoPort));
        check(":9998", Err(E::NoHost));
        for port in [
            "",
            "0",
            "09998",
            "+9998",
            "65536",
            "99999999999",
            "9998 ",
            "http",
        ] {
            check(&format!("127.0.0.1:{port}"), Err(E::Port(port.to_owned())));
        }
        check("::1:9998", Err(E::Brackets));
        check("[::1]", Err(E::Brackets));
        check("[localhost]:1", Err(E::Ipv6("localhost".to_owned())));
        check("1.2.3:1", Err(E::Ipv4("1.2.3".to_owned())));
        check("256.1.1.1:1", Err(E::Ipv4("256.1.1.1".to_owned())));
        check("a..b:1", Err(E::Name("a..b".to_owned())));
        check("a b:1", Err(E::Name("a b".to_owned())));
        check("../x:1", Err(E::Name("../x".to_owned())));
        assert_eq!(BackendName::parse(b"\xFF:1"), Err(E::NotUtf8));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(name: Vec<u8>) {
            let _ = BackendName::parse(name);
        }
    }
}
