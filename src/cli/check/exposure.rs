//! Who may come near: the listener's peers and passwords, and the owners of our state.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::findings::Findings;
use crate::config::Config;
use crate::engine::os::process::user_id;

/// Of so many folders that another user owns the names are told.
const NAMED_MAX: usize = 3;

/// `network.access_allow`, and a password that everybody knows, beyond this machine.
pub(super) fn listener(config: &Config, findings: &mut Findings) {
    let address = config.listen_address();
    let network = &config.network;
    if !network.access_allow.reaches(address.ip()) {
        findings.warning(format!(
            "network.access_allow: nobody in {} can reach {}, where the server listens; set \
             network.bind to an address that they reach, such as ::",
            network.access_allow,
            address.ip()
        ));
    }
    if network.passwd.expose().is_empty() {
        findings.warning(format!(
            "network.passwd: it is empty; whoever reaches {address} and knows the user may pause \
             backends and drop rejected lines"
        ));
    }
    let is_loopback = address.ip().to_canonical().is_loopback();
    if is_loopback || network.access_allow.loopback().is_some() {
        return;
    }
    if network.access_allow.admits_everyone(address.ip()) {
        findings.warning(format!(
            "network.access_allow: everybody who reaches {address} may connect; name the hosts \
             that HA, Prometheus and people use"
        ));
    }
    if network.has_default_login() {
        findings.warning(format!(
            "network.passwd: user and password are the defaults, and {address} can be reached from \
             other hosts; whoever knows them may pause backends and drop rejected lines"
        ));
    }
}

/// Folders of our state that another user owns, as after a first start as root. The superuser may
/// write there all the same.
pub(super) fn state(config: &Config, findings: &mut Findings) {
    let user = user_id();
    if user != 0 {
        owned_by(config, user, findings);
    }
}

fn owned_by(config: &Config, user: u32, findings: &mut Findings) {
    let state = config.state_path();
    let entries = fs::read_dir(&state).into_iter().flatten().flatten();
    let below = entries.map(|entry| entry.path());
    let foreign = |path: &PathBuf| fs::metadata(path).is_ok_and(|it| it.uid() != user);
    let mut others: Vec<PathBuf> = [state.clone()]
        .into_iter()
        .chain(below)
        .filter(foreign)
        .collect();
    others.sort();
    if others.is_empty() {
        return;
    }
    let named = others
        .iter()
        .take(NAMED_MAX)
        .map(|path| path.display().to_string());
    let more = match others.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    findings.warning(format!(
        "sync.ngx_path: another user owns {}{more}; a server that runs as user {user} may not be \
         able to write there (chown -R)",
        named.collect::<Vec<_>>().join(", ")
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::harness::Home;
    use crate::config::{AccessList, Secret};

    fn allow(home: &mut Home, list: &str) {
        home.config.network.access_allow = list.parse::<AccessList>().unwrap();
    }

    #[test]
    fn who_listens_to_everybody_or_with_the_default_password_is_warned() {
        let mut home = Home::new();
        home.check(&[], &[]);
        allow(&mut home, "10.0.0.0/8");
        let password = "network.passwd: user and password are the defaults, and 0.0.0.0:0 can be \
                        reached from other hosts; whoever knows them may pause backends and drop \
                        rejected lines";
        home.check(&[], &[password]);
        allow(&mut home, "");
        let everybody = "network.access_allow: everybody who reaches 0.0.0.0:0 may connect; name \
                         the hosts that HA, Prometheus and people use";
        home.check(&[], &[everybody, password]);
        home.config.network.user = "operator".to_owned();
        home.check(&[], &[everybody]);
        home.config.network.passwd = Secret::new("");
        let empty = "network.passwd: it is empty; whoever reaches 0.0.0.0:0 and knows the user may \
                     pause backends and drop rejected lines";
        home.check(&[], &[empty, everybody]);
        home.config.network.bind = Some("127.0.0.1".parse().unwrap());
        home.check(&[], &[&empty.replace("0.0.0.0", "127.0.0.1")]);
        home.config.network.passwd = Secret::new("secret");
        home.check(&[], &[]);
    }

    #[test]
    fn a_list_that_names_every_address_admits_everybody() {
        let mut home = Home::new();
        home.config.network.user = "operator".to_owned();
        for (list, bind, warns) in [
            ("0.0.0.0/0", "0.0.0.0", true),
            ("0.0.0.0-255.255.255.255", "10.0.0.1", true),
            ("128.0.0.0/1,10.0.0.0/8,0.0.0.0/1", "0.0.0.0", true),
            ("0.0.0.0/0", "::ffff:0.0.0.0", true),
            ("::/0,0.0.0.0/0", "::", true),
            ("0.0.0.0/0", "::", true),
            ("::/0", "::", true),
            ("::/0", "2001:db8::1", true),
            ("::/1,8000::/1", "::", true),
            ("0.0.0.0/0,2001:db8::/32", "2001:db8::1", false),
            ("::/0,10.0.0.0/8", "10.0.0.1", false),
            ("0.0.0.0/1", "0.0.0.0", false),
            ("0.0.0.1-255.255.255.255", "0.0.0.0", false),
            ("0.0.0.0/0", "127.0.0.1", false),
            ("0.0.0.0/0", "::ffff:127.0.0.1", false),
        ] {
            allow(&mut home, list);
            home.config.network.bind = Some(bind.parse().unwrap());
            let mut findings = Findings::default();
            listener(&home.config, &mut findings);
            let warned = findings.warnings.iter().any(|it| it.contains("everybody"));
            assert_eq!(warned, warns, "{list:?} {bind}: {findings:?}");
        }
    }

    #[test]
    fn a_listener_that_nobody_reaches_who_may_connect_is_warned_of() {
        let mut home = Home::new();
        home.config.network.user = "operator".to_owned();
        let warnings = |config: &Config| {
            let mut findings = Findings::default();
            listener(config, &mut findings);
            findings.warnings
        };
        allow(&mut home, "::1");
        assert_eq!(warnings(&home.config), [""; 0]);
        allow(&mut home, "2001:db8::1");
        let nobody = "network.access_allow: nobody in 2001:db8::1 can reach 0.0.0.0, where the \
                      server listens; set network.bind to an address that they reach, such as ::";
        assert_eq!(warnings(&home.config), [nobody]);
        home.config.network.bind = Some("::".parse().unwrap());
        assert_eq!(warnings(&home.config), [""; 0]);
    }

    #[test]
    fn state_that_another_user_owns_is_named() {
        let home = Home::new();
        for name in ["a:1", "b:2", "c:3", "d:4"] {
            fs::create_dir(home.path("status").join(name)).unwrap();
        }
        let mut findings = Findings::default();
        let own = fs::metadata(home.path("status")).unwrap().uid();
        owned_by(&home.config, own, &mut findings);
        assert_eq!(findings.warnings, [""; 0]);
        owned_by(&home.config, own + 1, &mut findings);
        let warning = &findings.warnings[0];
        assert!(
            warning.contains("status/a:1") && warning.contains("and 2 more"),
            "{warning}"
        );
    }
}
