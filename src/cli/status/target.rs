//! Which server is asked, and as whom.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::config::{BackendName, Config};

/// Where the user's name and password come from with `--url`, where there is no configuration, or
/// where they are others than in it.
const USER_VARIABLE: &str = "HUSTDBSYNC_USER";
const PASSWORD_VARIABLE: &str = "HUSTDBSYNC_PASSWD";

/// How long the addresses of one name are tried, all together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which server to ask, and as whom.
#[derive(Clone)]
pub struct StatusTarget {
    /// Where it listens for HA.
    pub addr: SocketAddr,
    /// `network.user`
    pub user: String,
    /// `network.passwd`
    pub passwd: String,
}

/// The password stays out of logs.
impl std::fmt::Debug for StatusTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusTarget")
            .field("addr", &self.addr)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl StatusTarget {
    /// The server that runs with this configuration, and who may ask it.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let mut addr = config.listen_address();
        if addr.ip().is_unspecified() {
            // `::` takes both families, of which the list may admit one.
            let ipv4 = Ipv4Addr::LOCALHOST.into();
            let takes_ipv4 = addr.is_ipv4() || config.network.access_allow.admits(ipv4);
            addr.set_ip(match takes_ipv4 {
                true => ipv4,
                false => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Self {
            addr,
            user: config.network.user.clone(),
            passwd: config.network.passwd.expose().to_owned(),
        }
    }

    /// The server at `url`, as `http://host:port`; of several addresses that the host has, at the
    /// first where somebody listens. User and password are those of the environment, else those of
    /// `configured`, the server of this host's configuration.
    ///
    /// # Errors
    /// A sentence: `url` is none, its host has no address, nobody listens at any of several, nobody
    /// says who asks, or not in UTF-8.
    pub fn at(
        url: &str,
        configured: Option<&Self>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, String> {
        let authority = parse(url).ok_or_else(|| {
            format!(
                "{url} is no address of a server: it is http://host:port, as in \
                http://10.0.0.7:8089"
            )
        })?;
        let found = authority
            .to_socket_addrs()
            .map_err(|cause| format!("{authority} has no address: {cause}"))?;
        let addr = reached(authority, found.as_slice())?;
        let of = |name: &str, of_configured: fn(&Self) -> &String| match variable(name) {
            Some(text) => match text.into_string() {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(format!("the variable {name} is no text in UTF-8")),
            },
            None => Ok(configured.map(of_configured).cloned()),
        };
        let user = of(USER_VARIABLE, |target| &target.user)?;
        let passwd = of(PASSWORD_VARIABLE, |target| &target.passwd)?;
        match (user, passwd) {
            (Some(user), Some(passwd)) => Ok(Self { addr, user, passwd }),
            _ => Err(format!(
                "nobody says as whom to ask {url}: set {USER_VARIABLE} and {PASSWORD_VARIABLE} to \
                 its network.user and network.passwd, or give a configuration that has them \
                 (--config)"
            )),
        }
    }
}

/// The first of a name's addresses where somebody listens. An only one is not tried.
fn reached(name: &str, addresses: &[SocketAddr]) -> Result<SocketAddr, String> {
    let tries = match addresses {
        [] => return Err(format!("{name} has no address")),
        [only] => return Ok(*only),
        several => u32::try_from(several.len()).unwrap_or(u32::MAX),
    };
    let mut failed = Vec::new();
    for addr in addresses {
        match TcpStream::connect_timeout(addr, CONNECT_TIMEOUT / tries) {
            Ok(_) => return Ok(*addr),
            Err(cause) => failed.push(format!("{addr}: {cause}")),
        }
    }
    Err(format!(
        "cannot reach the sync server at {name} ({}); is it running, and with this network.port?",
        failed.join("; ")
    ))
}

/// `host:port` of `http://host:port[/]`, written as the names of backends are.
fn parse(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    BackendName::parse(rest).is_ok().then_some(rest)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_url_has_a_host_and_a_port() {
        for (url, expected) in [
            ("http://10.0.0.7:81", Some("10.0.0.7:81")),
            ("http://ha2:81/", Some("ha2:81")),
            ("ha2:81", Some("ha2:81")),
            ("http://[::1]:81", Some("[::1]:81")),
            ("http://[::1]", None),
            ("http://ha2", None),
            ("https://ha2", None),
            ("http://", None),
            ("http://ha2:x", None),
            ("http://[::1", None),
            ("http://ha2/page", None),
            ("http://user:secret@ha2", None),
        ] {
            assert_eq!(parse(url), expected, "{url}");
        }
    }

    #[test]
    fn of_a_names_addresses_the_first_is_taken_where_somebody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listens = listener.local_addr().unwrap();
        // Nobody listens there, nor takes that port when it is given any.
        let [one, other] = ["127.0.0.1:1", "127.0.0.2:1"].map(|text| text.parse().unwrap());
        assert_eq!(reached("ha2:81", &[one, listens, other]), Ok(listens));
        assert_eq!(reached("ha2:81", &[one]), Ok(one));
        assert_eq!(reached("ha2:81", &[]).unwrap_err(), "ha2:81 has no address");
        let error = reached("ha2:81", &[one, other]).unwrap_err();
        for words in ["at ha2:81 (127.0.0.1:1: ", "; 127.0.0.2:1: ", "running"] {
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_server_that_listens_everywhere_is_asked_where_it_admits_us() {
        for (bind, access_allow, expected) in [
            ("0.0.0.0", "127.0.0.1,10.0.0.1", "127.0.0.1:8089"),
            ("::", "127.0.0.1,10.0.0.1", "127.0.0.1:8089"),
            ("::", "::1,10.0.0.1", "[::1]:8089"),
        ] {
            let text =
                format!(r#"{{"network": {{"bind": "{bind}", "access_allow": "{access_allow}"}}}}"#);
            let config = Config::parse(text, Path::new("sync_server.json")).unwrap();
            assert_eq!(StatusTarget::of(&config).addr.to_string(), expected);
        }
    }

    #[test]
    fn who_asks_is_said_by_the_environment_or_by_the_configuration() {
        let configured = StatusTarget {
            addr: "127.0.0.1:1".parse().unwrap(),
            user: "configured".into(),
            passwd: "one".into(),
        };
        let nobody = |_: &str| None;
        let both = |name: &str| Some(OsString::from(format!("{name} is set")));
        let asks = |configured, variable: fn(&str) -> Option<OsString>| {
            StatusTarget::at("127.0.0.1:81", configured, variable)
        };
        let target = asks(Some(&configured), nobody).unwrap();
        assert_eq!(target.addr, "127.0.0.1:81".parse().unwrap());
        assert_eq!((&*target.user, &*target.passwd), ("configured", "one"));
        let target = asks(Some(&configured), both).unwrap();
        assert_eq!(target.user, "HUSTDBSYNC_USER is set");
        let error = asks(None, nobody).unwrap_err();
        assert!(error.contains("HUSTDBSYNC_PASSWD"), "{error}");
    }

    #[test]
    fn the_password_is_not_shown() {
        let target = StatusTarget {
            addr: "127.0.0.1:1".parse().unwrap(),
            user: "sync".into(),
            passwd: "secret".into(),
        };
        assert!(!format!("{target:?}").contains("secret"));
    }
}
