//! What a server is called: whether a request's `Host` names it.
//!
//! A page of anyone's can have its own name looked up as this server's address (DNS rebinding); a
//! browser then takes what the page asks this server for as its own. The name stands in `Host`, and
//! gives it away.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The names of a server. Addresses and names without a dot (`localhost`, a host of one's own
/// network) are always among them: no page of a stranger's can have such a name.
#[derive(Clone, Debug, Default)]
pub struct HostNames {
    names: Vec<String>,
    any: bool,
}

impl HostNames {
    /// A server on a host of this name, which is called by these names, too; `*` is any.
    #[must_use]
    pub fn new(host: &str, others: &[String]) -> Self {
        let names = others.iter().map(String::as_str).chain([host]);
        let names = names.filter(|name| !name.is_empty());
        Self {
            names: names.map(str::to_owned).collect(),
            any: others.iter().any(|name| name == "*"),
        }
    }

    /// Whether a request with this `Host` may mean this server. One without does: HA's older
    /// modules send none, and each browser does.
    #[must_use]
    pub fn has(&self, host: Option<&[u8]>) -> bool {
        let Some(host) = host else {
            return true;
        };
        let Ok(host) = std::str::from_utf8(host.trim_ascii()) else {
            return false;
        };
        let name = without_port(host);
        let name = name.strip_suffix('.').unwrap_or(name);
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        self.any
            || name.parse::<Ipv4Addr>().is_ok()
            || is_ipv6(name)
            || is_in_own_network(name)
            || self.names.iter().any(|known| is(known))
    }
}

/// `host` of `host:port`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_in_own_network(name: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.bytes().all(is_name)
}

fn is_ipv6(name: &str) -> bool {
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// Whether a page of this `Origin` came from the server that this `Host` names: a page from
/// elsewhere has another, and none is told as `null`.
#[must_use]
pub fn is_same_origin(origin: &[u8], host: Option<&[u8]>) -> bool {
    let of = |scheme: &[u8]| {
        let start = origin.get(..scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme)
            .then(|| &origin[scheme.len()..])
    };
    // A proxy before us may be asked by https.
    let authority = of(b"http://").or_else(|| of(b"https://"));
    match (authority, host) {
        (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host.trim_ascii()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(others: &[&str], host: &str, expected: bool) {
        let others: Vec<String> = others.iter().map(|name| (*name).to_owned()).collect();
        let names = HostNames::new("db7.example.com", &others);
        assert_eq!(names.has(Some(host.as_bytes())), expected, "{host:?}");
    }

    #[test]
    fn its_own_name_addresses_and_names_of_its_network_name_it() {
        for host in [
            "db7.example.com",
            "DB7.Example.com:8089",
            "db7.example.com.:8089",
            "db7:8089",
            "localhost",
            "localhost:8089",
            "other-host:8089",
            "127.0.0.1:8089",
            "10.1.2.3",
            "[::1]:8089",
            "[fe80::1]",
        ] {
            check(&[], host, true);
        }
        assert!(HostNames::default().has(None));
    }

    #[test]
    fn another_name_does_not() {
        for host in [
            "",
            "evil.example",
            "db7.evil.example",
            "db7.example.com.evil.example",
            "127.0.0.1.evil.example:8089",
            "::1",
            "[::1",
            "[db7]",
            "db7:80:89",
            "db7:8089x",
            "localhost.evil.example",
            "\u{fc}",
        ] {
            check(&[], host, false);
        }
        assert!(!HostNames::new("db7", &[]).has(Some(b"\xff")));
        assert!(
            !HostNames::new("", &[]).has(Some(b"")),
            "a host without a name"
        );
    }

    #[test]
    fn names_of_the_configuration_count_too() {
        check(&["sync.example", "other"], "Sync.Example:80", true);
        check(&["sync.example"], "x.sync.example", false);
        check(&["*"], "evil.example", true);
    }

    #[test]
    fn a_page_is_ours_if_its_origin_is_the_host_that_it_asks() {
        let same = |origin: &str, host: Option<&str>| {
            is_same_origin(origin.as_bytes(), host.map(str::as_bytes))
        };
        assert!(same("http://db7:8089", Some("db7:8089")));
        assert!(same("HTTPS://sync.example", Some("sync.example")));
        for (origin, host) in [
            ("null", Some("null")),
            ("http://db7:8089", None),
            ("http://db7:8089", Some("db7:8088")),
            ("http://db7.evil", Some("db7")),
            ("ftp://db7", Some("db7")),
            ("http://", Some("db7")),
            ("", Some("")),
        ] {
            assert!(!same(origin, host), "{origin} {host:?}");
        }
    }
}
