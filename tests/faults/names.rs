//! No thread left to look a name up with, as at RLIMIT_NPROC or systemd's TasksMax.

use std::time::{SystemTime, UNIX_EPOCH};

use hustdbsync::internals::workload::Workload;
use libc::EAGAIN;

use crate::faults::LONG;
use crate::faults::shim::Faults;
use crate::real::process::Process;
use crate::real::{Home, fake_hustdb, wait_for};

const RECORDS: u64 = 50;

fn write_log(home: &Home, backend: &str) {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Workload::uniform(RECORDS, 100, unix.as_secs())
        .write(&home.logs(), backend)
        .unwrap();
}

#[test]
fn without_a_thread_an_address_comes_up_and_a_name_waits_with_its_cause_until_there_is_one() {
    let home = Home::new();
    let faults = Faults::new(&home.path(""));
    let (by_address, by_name) = (fake_hustdb(), fake_hustdb());
    let name = by_name.name().replace("127.0.0.1", "localhost");
    let mut process = Process::start_with(&home, &faults.environment());
    assert!(
        wait_for(LONG, || process.http_server().is_some()),
        "{}",
        home.said()
    );
    faults.arm("pthread_create", "", EAGAIN, None);
    write_log(&home, &name);
    let why = format!("cannot look up its name {name}: no thread for it");
    let is_said = wait_for(LONG, || home.said().contains(&why));
    assert!(
        is_said && home.said().contains("os error 11"),
        "{}",
        home.said()
    );
    // Whoever needs no thread waits for none.
    write_log(&home, &by_address.name());
    let is_delivered = wait_for(LONG, || by_address.counters().applied == RECORDS);
    assert!(is_delivered, "{}", home.said());
    assert_eq!(by_name.counters().applied, 0);
    assert_eq!(process.ended(), None, "{}", home.said());
    // It is tried again by itself.
    faults.disarm();
    let is_delivered = wait_for(LONG, || by_name.counters().applied == RECORDS);
    assert!(is_delivered, "{}", home.said());
    process.end();
    assert!(!home.said().contains("panicked"), "{}", home.said());
}
