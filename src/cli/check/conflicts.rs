//! Others that would be in the way: on the port, on the logs.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::findings::Findings;
use crate::cli::pidfile::{self, Found};
use crate::cli::port_owner;
use crate::cli::process::is_hustdbsync;
use crate::config::Config;
use crate::engine::files::{Locks, StateLock};
use crate::engine::os::files::{Links, open_regular};
use crate::engine::os::process::is_locked;

/// Who holds the port where a unit asks for that.
const SYSTEMD: &str = "process 1 (systemd)";

/// Others that would be in the way. The server that runs with this configuration now is none; true
/// where it does.
pub(super) fn others(config: &Config, proc: &Path, findings: &mut Findings) -> bool {
    let address = config.listen_address();
    let bound = TcpListener::bind(address).map(drop);
    if let Some(pid) = running(config, proc, &bound) {
        findings.fact(
            "listen",
            format!("{address}, as process {pid} does, which runs with these logs now"),
        );
        return true;
    }
    listener(address, bound, proc, findings);
    lock(config, findings);
    logs_lock(config, findings);
    pid_file(config, proc, findings);
    false
}

/// The server that has the lock of these logs and listens on this port. Where this user can't see
/// who listens, the holder's name has to do.
fn running(config: &Config, proc: &Path, bound: &io::Result<()>) -> Option<u32> {
    let port = config.listen_address().port();
    let is_in_use = matches!(bound, Err(error) if error.kind() == ErrorKind::AddrInUse);
    let holder = StateLock::holder(&config.state_path()).filter(|_| is_in_use)?;
    let is_it = match port_owner::owner(proc, port) {
        Some(_) => port_owner::listens(proc, holder, port),
        None => is_hustdbsync(proc, holder),
    };
    is_it.then_some(holder)
}

/// The listener's address, and what came of binding it: ours, and free.
fn listener(address: SocketAddr, bound: io::Result<()>, proc: &Path, findings: &mut Findings) {
    let port = address.port();
    let Err(error) = bound else {
        if port == 0 {
            findings.warning(
                "network.port: 0 is any free port, which HA can't know; give the one that is in \
                 HA's configuration",
            );
            findings.fact("listen", format!("{}, on any free port", address.ip()));
        } else {
            findings.fact("listen", address.to_string());
        }
        return;
    };
    findings.fault(match error.kind() {
        ErrorKind::AddrInUse => {
            let owner = port_owner::owner(proc, port);
            if owner.as_deref() == Some(SYSTEMD) {
                return findings.fact(
                    "listen",
                    format!("{address}, held by systemd, which hands it over (hustdbsync.socket)"),
                );
            }
            let who = owner.map_or_else(
                || {
                    " by somebody whom this user can't see (where it is systemd, for \
                    hustdbsync.socket, all is well)"
                        .to_owned()
                },
                |owner| format!(" by {owner}"),
            );
            format!(
                "network.port: {address} is in use{who}; end that, or give another port here \
                and in HA's configuration"
            )
        }
        ErrorKind::AddrNotAvailable => {
            format!(
                "network.bind: {} is no address of this machine; give one that is, or leave the \
                setting out",
                address.ip()
            )
        }
        ErrorKind::PermissionDenied => {
            format!(
                "network.port: {address}: {error}; give a port from 1024 up, or the right to \
                use this one (CAP_NET_BIND_SERVICE)"
            )
        }
        _ => format!("network.bind: {address}: {error}; give another address or port"),
    });
}

/// The lock that keeps two sync servers off one set of logs.
fn lock(config: &Config, findings: &mut Findings) {
    let path = StateLock::path(&config.state_path());
    let file = match open_regular(&path, File::options().read(true), Links::Followed) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return;
        }
        Err(error) => {
            return findings.fault(format!(
                "{}: {error}; let the user that runs hustdbsync read it",
                path.display()
            ));
        }
    };
    // Where a server starts in the blink of the look, that start fails and says so.
    match is_locked(&file) {
        Ok(false) => {}
        Ok(true) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            let holder = holder.lines().next().filter(|line| !line.trim().is_empty());
            let holder = holder.map_or_else(String::new, |holder| {
                format!(" (process {})", holder.trim())
            });
            findings.fault(format!(
                "{}: another sync server{holder} holds these logs; two would break the order, so \
                 end that one first",
                path.display()
            ));
        }
        Err(error) => findings.fault(format!(
            "{}: {error}; the state folder must be on a file system that has locks",
            path.display()
        )),
    }
}

/// The same of a server with another state, which has the lock of the folder of logs.
fn logs_lock(config: &Config, findings: &mut Findings) {
    let logs = &config.sync.logs_path;
    if StateLock::holder(&config.state_path()).is_some() {
        return;
    }
    if let Some(pid) = Locks::holder(logs) {
        findings.fault(format!(
            "sync.logs_path: {}: another sync server (process {pid}), with another sync.ngx_path, \
             holds these logs; two would break the order, so end that one first",
            logs.display()
        ));
    }
}

/// A `hustdbsync` that runs with this configuration: the original takes no lock, and is known by
/// its pid file only.
fn pid_file(config: &Config, proc: &Path, findings: &mut Findings) {
    let path = pidfile::beside(&config.path);
    match pidfile::look(&path, proc) {
        Ok(Found::Running(pid)) => {
            findings.fault(format!(
                "{}: a hustdbsync runs already, as process {pid}; end it with -q",
                path.display()
            ));
        }
        Ok(Found::Missing | Found::Stale) => {}
        Err(error) => findings.fault(format!(
            "{}: {error}; make it readable, or remove it if no hustdbsync runs",
            path.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;

    use super::*;
    use crate::cli::check::harness::{Home, any_listener};
    use crate::cli::process::fake;
    use crate::engine::os::process::{try_lock, unlock};

    #[test]
    fn a_port_in_use_is_a_fault_that_names_its_owner() {
        let mut home = Home::new();
        let (_listener, port) = any_listener();
        home.config.network.port = port;
        home.check(
            &[&format!(
                "network.port: 127.0.0.1:{port} is in use by somebody whom this user can't \
                see (where it is systemd, for hustdbsync.socket, all is well); end that, or give \
                another port here and in HA's configuration"
            )],
            &[],
        );
        let mut findings = Findings::default();
        others(&home.config, Path::new("/proc"), &mut findings);
        let expected = format!(
            "127.0.0.1:{port} is in use by process {} (",
            std::process::id()
        );
        assert!(findings.faults[0].contains(&expected), "{findings:?}");
    }

    #[test]
    fn a_port_that_systemd_holds_for_us_is_no_fault() {
        let mut home = Home::new();
        let (_listener, port) = any_listener();
        home.config.network.port = port;
        let proc = home.path("proc");
        fake::process(&proc, 1, "systemd", "/usr/lib/systemd/systemd", 'S');
        fs::create_dir(proc.join("net")).unwrap();
        let row = format!("0: 0100007F:{port:04X} 00000000:0000 0A 0:0 0:0 0 0 0 4242 1");
        fs::write(proc.join("net/tcp"), row).unwrap();
        std::os::unix::fs::symlink("socket:[4242]", proc.join("1/fd/3")).unwrap();
        let mut findings = Findings::default();
        others(&home.config, &proc, &mut findings);
        assert!(findings.faults.is_empty(), "{findings:?}");
        assert!(
            findings.facts[0].1.contains("held by systemd"),
            "{findings:?}"
        );
    }

    #[test]
    fn an_address_of_another_machine_is_a_fault() {
        let mut home = Home::new();
        // Set apart for documentation, by RFC 5737.
        home.config.network.bind = Some("192.0.2.1".parse().unwrap());
        home.check(
            &[
                "network.bind: 192.0.2.1 is no address of this machine; give one that is, or \
            leave the setting out",
            ],
            &[],
        );
    }

    #[test]
    fn a_lock_that_another_holds_is_a_fault_and_one_that_is_free_is_none() {
        let home = Home::new();
        fs::write(home.path("status/.lock"), "4711\n").unwrap();
        home.check(&[], &[]);
        let held = File::open(home.path("status/.lock")).unwrap();
        assert!(try_lock(&held).unwrap());
        home.check(
            &[
                "~/status/.lock: another sync server (process 4711) holds these logs; two would \
                 break the order, so end that one first",
            ],
            &[],
        );
        unlock(&held).unwrap();
        home.check(&[], &[]);
    }

    #[test]
    fn a_server_of_the_same_logs_with_another_state_is_a_fault() {
        let home = Home::new();
        let locks = Locks::take(&home.path("logs"), &home.path("other/status")).unwrap();
        home.check(
            &[&format!(
                "sync.logs_path: ~/logs: another sync server (process {}), with another \
                 sync.ngx_path, holds these logs; two would break the order, so end that one first",
                std::process::id()
            )],
            &[],
        );
        drop(locks);
        home.check(&[], &[]);
    }

    /// This test has the lock and the port, as the server that runs would.
    #[test]
    fn the_server_that_runs_with_this_configuration_is_no_fault() {
        let mut home = Home::new();
        let (listener, port) = any_listener();
        home.config.network.port = port;
        let held = File::create(home.path("status/.lock")).unwrap();
        assert!(try_lock(&held).unwrap());
        let examine = |home: &Home| {
            let mut findings = Findings::default();
            others(&home.config, Path::new("/proc"), &mut findings);
            findings
        };
        let beside = examine(&home);
        assert!(beside.faults.is_empty(), "{beside:?}");
        let expected = format!(
            "127.0.0.1:{port}, as process {} does, which runs with these logs now",
            std::process::id()
        );
        assert_eq!(beside.facts, [("listen", expected)]);
        // One that has the logs and another port is in the way.
        drop(listener);
        assert_eq!(examine(&home).faults.len(), 1);
    }

    #[test]
    fn an_original_that_runs_is_a_fault_and_a_stale_pid_file_is_none() {
        let home = Home::new();
        fs::write(home.path("conf/hustdbsync.pid"), "7").unwrap();
        home.check(&[], &[]);
        fake::process(&home.path("proc"), 7, "hustdbsync", "/opt/hustdbsync", 'S');
        home.check(
            &["~/conf/hustdbsync.pid: a hustdbsync runs already, as process 7; end it with -q"],
            &[],
        );
    }
}
