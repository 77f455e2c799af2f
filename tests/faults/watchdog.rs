//! A thread that hangs in a system call: systemd's watchdog is not fed until it goes on. A
//! checkpoint that hangs has a thread of its own and stops nobody.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use hustdbsync::internals::workload::Workload;

use crate::faults::shim::Faults;
use crate::real::process::Process;
use crate::real::{Home, fake_hustdb, now_unix, wait_for};

/// How long the call hangs, in seconds: for all that is to be seen meanwhile on a busy machine.
const HANGS: i32 = 10;
/// Hangs of which nothing is seen, because this test was held up, before it gives up.
const TRIES: u32 = 5;

const HANG: Duration = Duration::from_secs(HANGS as u64);

/// So often it is to be fed.
const WATCHDOG: Duration = Duration::from_millis(800);

/// Between two looks at the threads.
const LOOK: Duration = Duration::from_millis(WATCHDOG.as_millis() as u64 / 4);

/// Whether it is fed within this time.
fn is_fed(manager: &UnixDatagram, within: Duration) -> bool {
    let until = Instant::now() + within;
    let mut word = [0; 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        manager.set_read_timeout(Some(left)).unwrap();
        if let Ok(length) = manager.recv(&mut word)
            && word[..length].starts_with(b"WATCHDOG=1")
        {
            return true;
        }
    }
}

fn forget_what_was_said(manager: &UnixDatagram) {
    manager.set_nonblocking(true).unwrap();
    while manager.recv(&mut [0; 1024]).is_ok() {}
    manager.set_nonblocking(false).unwrap();
}

#[test]
fn a_thread_that_hangs_is_not_taken_for_alive_and_a_checkpoint_that_hangs_stops_none() {
    let home = Home::new();
    let fake_hustdb = fake_hustdb();
    let manager = UnixDatagram::bind(home.path("notify")).unwrap();
    let faults = Faults::new(&home.path(""));
    let [preload, file] = faults.environment();
    let (notify, microseconds) = (home.path("notify"), WATCHDOG.as_micros().to_string());
    let environment = [
        preload,
        file,
        ("NOTIFY_SOCKET", notify.to_str().unwrap()),
        ("WATCHDOG_USEC", &microseconds),
    ];
    let mut process = Process::start_with(&home, &environment);
    let long = Duration::from_secs(40);
    assert!(is_fed(&manager, long), "{}", home.said());
    // The next checkpoint takes a while.
    let armed = Instant::now();
    faults.arm("fsync", "checkpoint.new", -HANGS, Some(1));
    Workload::mixed(20, now_unix())
        .write(&home.logs(), &fake_hustdb.name())
        .unwrap();
    assert!(wait_for(long, || faults.hits() == 1), "it is never written");
    forget_what_was_said(&manager);
    // Within the time that is left of it, and not only where the machine has no time for it.
    let hang_ends = armed + HANG;
    for _ in 0..2 {
        let left = hang_ends.saturating_duration_since(Instant::now());
        assert!(
            is_fed(&manager, left),
            "it is not fed while a checkpoint hangs"
        );
    }
    // The checkpointer itself syncs what was rejected.
    let is_seen = (1..=TRIES).any(|number| {
        let armed = Instant::now();
        faults.arm("fsync", "rejected.jsonl", -HANGS, Some(1));
        let log = format!("2026-11-01-00-{}.log", 30 + number);
        let log = home.logs().join(fake_hustdb.name()).join(log);
        fs::write(log, "no line of HA's\n").unwrap();
        assert!(
            wait_for(long, || faults.hits() == 1),
            "it is never rejected"
        );
        // What was said before does not count: much, where the checkpoint came late. One word more
        // is for the turn that hangs: the next look says it, or, where another thread or the look
        // itself is late, one of the two after it.
        forget_what_was_said(&manager);
        is_fed(&manager, LOOK * 3);
        let was_fed = is_fed(&manager, WATCHDOG);
        // Surely, as it has not hung for longer than since it was armed.
        let still_hangs = armed.elapsed() < HANG;
        assert!(
            !(was_fed && still_hangs),
            "it is fed while the checkpointer hangs"
        );
        assert!(
            was_fed || is_fed(&manager, long),
            "it is fed again when that goes on"
        );
        still_hangs
    });
    assert!(is_seen, "this test was held up {TRIES} times");
    process.end();
}
