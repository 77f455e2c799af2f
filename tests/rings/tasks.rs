//! The real binary as a user who may have no more tasks: the kernel has no thread for a
//! checkpoint's calls on a ring.
//!
//! Elsewhere such calls are made to fail as the kernel does it. Here it does it. Root is not bound
//! by `RLIMIT_NPROC`, so the server is another user where the tests are root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use hustdbsync::ledger::checkpoint::Checkpoint;
use hustdbsync::workload::Workload;
use serde_json::json;

use crate::rings::fixture::{fake_hustdb, has_rings, home, now_unix};
use crate::support::{DEADLINE, Process, eventually, holds_within};

const RECORDS: u64 = 500;
/// Nobody's, most likely; the lower bits are the process's, so that two runs have two.
const USERS: u32 = 2_000_000_000;

/// Gives a folder and all that is in it to a user.
fn give(path: &Path, user: Option<u32>) {
    if user.is_none() {
        return;
    }
    chown(path, user, user).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), user);
        }
    }
}

/// The names of a process's threads.
fn threads(process: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .collect()
}

/// Nobody of the process's user can begin another task from now on. False: there is no `prlimit`
/// here.
fn forbid_tasks(process: u32, user: Option<u32>) -> bool {
    let mut command = Command::new("prlimit");
    command.arg(format!("--pid={process}")).arg("--nproc=1:1");
    if let Some(user) = user {
        // Even root may have no right to another's limits.
        command.uid(user).gid(user);
    }
    match command.status() {
        Ok(status) => {
            assert!(status.success(), "prlimit: {status}");
            true
        }
        Err(cause) => {
            eprintln!("SKIPPED: prlimit: {cause}");
            false
        }
    }
}

#[test]
fn a_user_who_may_have_no_more_tasks_gets_checkpoints_by_plain_calls() {
    if !has_rings() {
        return;
    }
    let (home, fake_hustdb) = (home(), fake_hustdb());
    let root = home.path();
    let is_root = fs::metadata(root).unwrap().uid() == 0;
    let user = is_root.then(|| USERS + std::process::id() % 1_000_000);
    // The user need not be let into where the binary was built.
    let binary = root.join("hustdbsync");
    fs::copy(env!("CARGO_BIN_EXE_hustdbsync"), &binary).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = json!({
        "network": { "port": 0 },
        "sync": {
            "logs_path": root.join("logs"),
            "ngx_path": root,
            "auth_path": root.join("htpasswd"),
            "engine": "io_uring",
            "threads": 2,
            "pin_workers": false,
            "checkpoint_interval": "50ms",
            "rescan_interval": "1s",
            "ttl_hold": "0s",
        }
    });
    let (config, log) = (root.join("sync_server.json"), root.join("stderr"));
    fs::write(&config, settings.to_string()).unwrap();
    give(root, user);
    let mut command = Command::new(&binary);
    command.arg("run").arg("--config").arg(&config);
    command.stderr(fs::File::create(&log).unwrap());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let mut server = Process::spawn(&mut command);
    let process = server.id();
    let mut has_ended = false;
    eventually("all threads run", || {
        has_ended = server.ended().is_some();
        let is_control = |name: &String| name.trim() == "control";
        has_ended || threads(process).iter().any(is_control)
    });
    if has_ended {
        let said = fs::read_to_string(&log).unwrap();
        eprintln!("SKIPPED: as this user it has no rings: {said}");
        return;
    }
    let is_of_ring = |name: &String| name.starts_with("iou-wrk");
    let rings_threads = threads(process).into_iter().filter(is_of_ring).count();
    assert_eq!(
        rings_threads, 0,
        "none is there yet, for nothing is written"
    );
    if !forbid_tasks(process, user) {
        return;
    }

    let name = fake_hustdb.name();
    for round in 1..=2 {
        let workload = Workload {
            first_key: round * RECORDS,
            ..Workload::uniform(RECORDS, 100, now_unix())
        };
        let _ = workload.write(&root.join("logs"), &name).unwrap();
        give(&root.join("logs"), user);
        let checkpoint = root.join("status").join(&name).join("checkpoint");
        let is_written = holds_within(DEADLINE, || {
            let bytes = fs::read(&checkpoint).unwrap_or_default();
            Checkpoint::decode(&bytes).is_ok_and(|it| it.totals.settled == round * RECORDS)
        });
        let said = || fs::read_to_string(&log).unwrap();
        assert!(is_written, "no checkpoint has all of it: {}", said());
    }
    let said = fs::read_to_string(&log).unwrap();
    let times = said.matches("since there may be no more tasks").count();
    assert!(
        (1..=2).contains(&times),
        "once of checkpoints, once of reading ahead: {said}"
    );
    server.end();
}
