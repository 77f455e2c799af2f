//! Calls that fail at the start: the server says what and why, and does not half run.

use std::time::Duration;

use libc::{EACCES, EAGAIN, EDQUOT, EIO, EMFILE, ENOBUFS, ENOMEM, ENOSPC, EROFS};

use crate::faults::shim::Faults;
use crate::real::process::Process;
use crate::real::{Home, wait_for};

/// It ends with a sentence that has the error and `names`.
#[track_caller]
fn check(call: &str, about: &str, errors: &[i32], names: &str) {
    for &error in errors {
        let home = Home::new();
        let faults = Faults::new(&home.path(""));
        faults.arm(call, about, error, None);
        let mut process = Process::start_with(&home, &faults.environment());
        let mut status = None;
        wait_for(Duration::from_secs(20), || {
            status = process.ended();
            status.is_some()
        });
        let said = home.said();
        let status = status.unwrap_or_else(|| panic!("{call} {error}: it runs\n{said}"));
        assert!(
            !status.success() && status.code().is_some(),
            "{call} {error}: {status}"
        );
        let cause = format!("os error {error}");
        assert!(
            said.contains(&cause) && said.contains(names),
            "{call} {error}: {cause:?} and {names:?} are not said\n{said}"
        );
    }
}

#[test]
fn a_start_that_fails_says_what_failed_and_why() {
    check(
        "pthread_create",
        "",
        &[EAGAIN],
        "no thread to write the log",
    );
    check("opendir", "/logs", &[EACCES, EMFILE, EIO], "sync.logs_path");
    check("mkdir", "/status", &[EACCES, ENOSPC, EROFS], "/status");
    check(
        "open64",
        "/status/.lock",
        &[EACCES, ENOSPC, EMFILE],
        ".lock",
    );
    check("open64", "htpasswd", &[EACCES, EIO], "sync.auth_path");
    check(
        "open64",
        "sync_server.json",
        &[EACCES, EIO],
        "sync_server.json",
    );
    check("socket", "socket:", &[EMFILE, ENOBUFS], "listen");
    check("epoll_ctl", "eventfd", &[ENOSPC], "eventfd");
    check("eventfd", "eventfd", &[EMFILE, ENOMEM], "eventfd");
    check("epoll_create1", "epoll", &[EMFILE, ENOMEM], "epoll");
    check("bind", "socket:", &[ENOMEM], "listen");
    check("listen", "socket:", &[ENOMEM], "listen");
    check("flock", "/status/.lock", &[EIO], ".lock");
    check("ftruncate64", "/status/.lock", &[EIO], ".lock");
}

#[test]
fn a_disk_without_room_for_the_pid_file_stops_no_start() {
    for error in [ENOSPC, EDQUOT] {
        let home = Home::new();
        let faults = Faults::new(&home.path(""));
        faults.arm("write", "hustdbsync.pid", error, None);
        let mut process = Process::start_as("-d", &home, &faults.environment());
        let runs = wait_for(Duration::from_secs(20), || process.http_server().is_some());
        let said = home.said();
        assert!(runs, "{error}: it does not run\n{said}");
        assert!(said.contains("no room for the pid file"), "{said}");
        let has_empty = home.path("hustdbsync.pid").exists();
        assert!(!has_empty, "{error}: an empty pid file stays");
        process.end();
    }
}
