//! The real thing: a disk that is full, a process without a descriptor left.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::real::process::Process;
use crate::real::{Home, standin, wait_for};
use crate::{LONG, MINUTE, ask_door, compare, trickle};

/// A small file system in memory, mounted until this goes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m,mode=0750", "hustdbsync-test"])
            .arg(at)
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then(|| Self(at.to_owned()))
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let mut filler = File::create(self.0.join("filler")).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, as the process may still have files there when a test fails.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_pauses_and_deletes_nothing_and_room_on_it_is_noticed() {
    let home = Home::new();
    let Some(disk) = SmallDisk::mount(&home.path("status")) else {
        eprintln!("SKIPPED: this user cannot mount a tmpfs, so no disk was really full");
        return;
    };
    let standin = standin();
    let mut ha = trickle(&home, &standin, 60);
    let process = Process::start(&home);
    let pass = |length: Duration, ha: &mut crate::real::ha::Ha| {
        let until = Instant::now() + length;
        while Instant::now() < until {
            ha.pass_minute();
            thread::sleep(MINUTE);
        }
    };
    assert!(
        wait_for(LONG, || standin.counters().applied > 20),
        "{}",
        home.said()
    );
    pass(Duration::from_millis(500), &mut ha);
    disk.fill();
    assert!(
        wait_for(LONG, || home.said().contains("os error 28")),
        "{}",
        home.said()
    );
    let (logs, cpu) = (home.log_names(&standin.name()), process.cpu_time());
    pass(Duration::from_secs(2), &mut ha);
    let gone: Vec<_> = logs
        .difference(&home.log_names(&standin.name()))
        .cloned()
        .collect();
    assert!(
        gone.is_empty(),
        "{gone:?} were deleted with nothing on disk\n{}",
        home.said()
    );
    // What is delivered is bounded, as nothing of it can be remembered.
    let sent = standin.counters().requests - standin.counters().probes;
    pass(Duration::from_millis(500), &mut ha);
    let then = standin.counters().requests - standin.counters().probes;
    assert_eq!(sent, then, "it goes on delivering what it cannot note down");
    assert!(
        process.cpu_time() - cpu < Duration::from_millis(800),
        "{}",
        home.said()
    );
    disk.empty();
    let story = ha.finish();
    let drained = wait_for(LONG, || home.log_names(&standin.name()).is_empty());
    assert!(drained, "{}", home.said());
    let said = home.said();
    assert!(said.contains("its state can be written again"), "{said}");
    process.terminate();
    compare("a full disk", &home, &standin, &story);
}

#[test]
fn a_door_that_takes_every_descriptor_leaves_delivery_its_own() {
    const OPEN_FILES: u32 = 64;
    let home = Home::new().with("network.enable_defer_accept", false);
    let standin = standin();
    let mut ha = trickle(&home, &standin, 60);
    let process = Process::start_bounded(&home, OPEN_FILES);
    assert!(
        wait_for(LONG, || standin.counters().applied > 20),
        "{}",
        home.said()
    );
    let door = process.door().unwrap();
    let idle: Vec<TcpStream> = (0..300)
        .filter_map(|_| TcpStream::connect(("127.0.0.1", door)).ok())
        .collect();
    assert!(idle.len() >= 200, "{}", idle.len());
    // With every place taken: new connections to the backend, new logs, checkpoints, deletions.
    for _ in 0..5 {
        standin.restart().unwrap();
        let before = standin.counters().applied;
        ha.pass_minute();
        assert!(
            wait_for(LONG, || standin.counters().applied > before + 20),
            "{}",
            home.said()
        );
    }
    assert!(ask_door(&process, LONG).is_some(), "{}", home.said());
    drop(idle);
    let story = ha.finish();
    let drained = wait_for(LONG, || home.log_names(&standin.name()).is_empty());
    assert!(drained, "{}", home.said());
    process.terminate();
    compare("no descriptors", &home, &standin, &story);
}
