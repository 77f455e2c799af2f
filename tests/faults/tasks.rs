//! No thread left to write checkpoints with, as at RLIMIT_NPROC or systemd's TasksMax.

use std::fs;

use hustdbsync::internals::ledger::checkpoint::Checkpoint;
use hustdbsync::internals::workload::Workload;
use libc::EAGAIN;

use crate::faults::LONG;
use crate::faults::shim::Faults;
use crate::real::process::Process;
use crate::real::{Home, fake_hustdb, now_unix, wait_for};

const RECORDS: u64 = 200;

/// The names of a process's threads.
fn threads(process: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).collect()
}

#[test]
fn without_a_thread_checkpoints_are_written_all_the_same_and_with_one_it_writes_them() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let faults = Faults::new(&home.path(""));
    let mut process = Process::start_with(&home, &faults.environment());
    let is_listening = wait_for(LONG, || process.http_server().is_some());
    assert!(is_listening, "{}", home.said());
    let deliver = |round: u64| {
        let workload = Workload {
            first_key: round * RECORDS,
            ..Workload::uniform(RECORDS, 100, now_unix())
        };
        let _ = workload.write(&home.logs(), &fake_hustdb.name()).unwrap();
        let checkpoint = home
            .path("status")
            .join(fake_hustdb.name())
            .join("checkpoint");
        let is_written = wait_for(LONG, || {
            let bytes = fs::read(&checkpoint).unwrap_or_default();
            Checkpoint::decode(&bytes).is_ok_and(|it| it.totals.settled == round * RECORDS)
        });
        assert!(is_written, "no checkpoint has all of it: {}", home.said());
    };
    let has_thread = |process: &Process| threads(process.id()).contains(&"checkpoint".to_owned());
    faults.arm("pthread_create", "", EAGAIN, None);
    deliver(1);
    assert!(faults.hits() > 0 && !has_thread(&process));
    let why = "it cannot start a thread for them";
    let is_said = wait_for(LONG, || {
        let said = home.said();
        let mut lines = said.lines().filter(|line| line.contains(why));
        lines
            .next()
            .is_some_and(|line| line.contains("os error 11"))
    });
    assert!(is_said, "{}", home.said());
    faults.disarm();
    deliver(2);
    assert!(has_thread(&process), "{:?}", threads(process.id()));
    process.end();
    assert!(!home.said().contains("panicked"), "{}", home.said());
}
