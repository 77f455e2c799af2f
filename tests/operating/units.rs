//! The units: what they ask systemd for, and what systemd says of them.

use std::fs;
use std::process::Command;

use crate::support::{Process, eventually};
use crate::{program, read, root, skip};

const SERVICE: &str = "packaging/systemd/hustdbsync.service";
const SOCKET: &str = "packaging/systemd/hustdbsync.socket";

/// Exposure above this, of 10, is not hardened. 2.0 is what its own analysis calls OK.
const EXPOSURE_MAX: f64 = 2.0;

/// The values of a setting, in order.
fn values<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .collect()
}

#[test]
fn the_service_is_told_apart_from_one_that_hangs_and_has_a_user_of_its_own() {
    let unit = read(SERVICE);
    for (name, value) in [
        ("Type", "notify"),
        ("WatchdogSec", "60"),
        ("User", "hustdbsync"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        (
            "ExecStart",
            "/usr/bin/hustdbsync run --config /etc/hustdbsync/sync_server.json",
        ),
    ] {
        assert_eq!(values(&unit, name), [value], "{name}");
    }
    let calls = values(&unit, "SystemCallFilter").join(" ");
    for call in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
        assert!(calls.contains(call), "{call} would be refused");
    }
}

#[test]
fn the_socket_is_where_the_configuration_listens_by_default() {
    let config =
        hustdbsync::internals::config::Config::parse("{}", std::path::Path::new("x")).unwrap();
    assert_eq!(
        values(&read(SOCKET), "ListenStream"),
        [config.listen_address().to_string()]
    );
}

/// A copy of the units in a folder, whose program is there.
fn copies() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for unit in [SERVICE, SOCKET] {
        let text = read(unit).replace("/usr/bin/hustdbsync", env!("CARGO_BIN_EXE_hustdbsync"));
        let name = root().join(unit);
        fs::write(folder.path().join(name.file_name().unwrap()), text).unwrap();
    }
    folder
}

#[test]
fn systemd_finds_nothing_wrong_with_them() {
    let Some(analyze) = program("systemd-analyze") else {
        return skip("looking at the units", "systemd-analyze (package systemd)");
    };
    let folder = copies();
    let output = Command::new(analyze)
        // Pages of the manual are installed with the package, not here.
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(folder.path().join("hustdbsync.service"))
        .arg(folder.path().join("hustdbsync.socket"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let about_us: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("hustdbsync"))
        .collect();
    assert!(about_us.is_empty(), "{about_us:#?}");
}

#[test]
fn the_service_is_exposed_to_little() {
    let Some(analyze) = program("systemd-analyze") else {
        return skip(
            "the exposure of the service",
            "systemd-analyze (package systemd)",
        );
    };
    let folder = copies();
    let output = Command::new(analyze)
        .args(["security", "--offline=true", "--no-pager"])
        .arg(folder.path().join("hustdbsync.service"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let exposure = said
        .lines()
        .find(|line| line.contains("Overall exposure level"))
        .and_then(|line| {
            line.split(": ")
                .nth(1)?
                .split(' ')
                .next()?
                .parse::<f64>()
                .ok()
        })
        .unwrap_or_else(|| {
            panic!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
        });
    assert!(exposure <= EXPOSURE_MAX, "{said}");
}

#[test]
fn systemd_lets_through_every_call_that_the_server_makes() {
    let (Some(analyze), Some(strace)) = (program("systemd-analyze"), program("strace")) else {
        return skip("the service's system calls", "systemd-analyze and strace");
    };
    let groups = Command::new(analyze)
        .args(["syscall-filter", "--no-pager"])
        .output()
        .unwrap();
    let groups = String::from_utf8_lossy(&groups.stdout).into_owned();
    let unit = read(SERVICE);
    let mut allowed = std::collections::BTreeSet::new();
    for line in values(&unit, "SystemCallFilter") {
        match line.strip_prefix('~') {
            None => line.split(' ').for_each(|name| {
                expand(&groups, name, &mut |call| {
                    allowed.insert(call);
                })
            }),
            Some(line) => line.split(' ').for_each(|name| {
                expand(&groups, name, &mut |call| {
                    allowed.remove(&call);
                })
            }),
        }
    }
    assert!(allowed.len() > 200, "{allowed:?}");
    let mut place = crate::place::Place::new();
    let trace = place.path("trace");
    // -D: the server is our own child, and strace stands beside it.
    let command = format!(
        "exec {} -D -f -qq -o {} hustdbsync run --config /etc/hustdbsync/sync_server.json",
        strace.display(),
        trace.display()
    );
    let mut server = Process::spawn(place.shell(&command).stderr(std::process::Stdio::null()));
    place.wait_until_it_answers();
    eventually("it has replayed all", || {
        let state = place.path("data/status");
        let backends = fs::read_dir(state).into_iter().flatten().flatten();
        backends
            .map(|entry| entry.path().join("rejected.jsonl"))
            .any(|path| path.exists())
    });
    server.signal("TERM");
    server.wait();
    place.stop();
    let text = fs::read_to_string(&trace).unwrap();
    let made: std::collections::BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1)?.split('(').next())
        .filter(|call| {
            !call.is_empty()
                && call
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        })
        .collect();
    assert!(
        made.contains("epoll_wait") || made.contains("epoll_pwait"),
        "{made:?}"
    );
    let refused: Vec<_> = made
        .iter()
        .filter(|call| !allowed.contains(**call))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
}

/// The calls that a name of a filter means, groups within groups too.
fn expand(groups: &str, name: &str, each: &mut impl FnMut(String)) {
    if !name.starts_with('@') {
        return each(name.to_owned());
    }
    let lines = groups
        .lines()
        .skip_while(|line| *line != name)
        .skip(1)
        .take_while(|line| line.starts_with(' '));
    for line in lines.map(str::trim).filter(|line| !line.starts_with('#')) {
        expand(groups, line, each);
    }
}
