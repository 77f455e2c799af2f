//! The real thing: a disk that is full, a process without a descriptor left.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::faults::{LONG, MINUTE, ask_server, trickle};
use crate::real::process::Process;
use crate::real::{Home, fake_hustdb, wait_for};

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
    // A folder where the spare file would be: with it, the first checkpoint would still find room.
    fs::create_dir(home.path("status/.spare")).unwrap();
    let fake_hustdb = fake_hustdb();
    let mut ha = trickle(&home, &fake_hustdb, 60);
    let mut process = Process::start(&home);
    let pass = |length: Duration, ha: &mut crate::real::ha::Ha| {
        let until = Instant::now() + length;
        while Instant::now() < until {
            ha.pass_minute();
            thread::sleep(MINUTE);
        }
    };
    assert!(
        wait_for(LONG, || fake_hustdb.counters().applied > 20),
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
    let (logs, cpu) = (home.log_names(&fake_hustdb.name()), process.cpu_time());
    pass(Duration::from_secs(2), &mut ha);
    let gone: Vec<_> = logs
        .difference(&home.log_names(&fake_hustdb.name()))
        .cloned()
        .collect();
    assert!(
        gone.is_empty(),
        "{gone:?} were deleted with nothing on disk\n{}",
        home.said()
    );
    let cpu = process.cpu_time() - cpu;
    assert!(cpu < Duration::from_millis(800), "{cpu:?}\n{}", home.said());
    // What is delivered is bounded, as nothing of it can be remembered. What was on its way when
    // the disk was full may take a moment more.
    let sent = || fake_hustdb.counters().beside_probes();
    let stands_still = wait_for(LONG, || {
        let before = sent();
        pass(Duration::from_millis(500), &mut ha);
        sent() == before
    });
    assert!(stands_still, "it delivers what it cannot note down");
    disk.empty();
    let story = ha.finish();
    let drained = wait_for(LONG, || home.log_names(&fake_hustdb.name()).is_empty());
    assert!(drained, "{}", home.said());
    process.end();
    // All lines of the log are out.
    let said = home.said();
    assert!(said.contains("its state can be written again"), "{said}");
    story.assert_replayed(&home, &fake_hustdb);
}

/// Logs and state on one small disk, as HA and we are installed.
fn on_one_disk(home: &Home) -> Option<SmallDisk> {
    let disk = SmallDisk::mount(&home.path("disk"))?;
    fs::remove_dir(home.logs()).unwrap();
    for name in ["logs", "status"] {
        let folder = disk.0.join(name);
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(&folder, home.path(name)).unwrap();
    }
    Some(disk)
}

/// Some hundred lines for this backend, in HA's folder.
fn write_log(home: &Home, fake_hustdb: &hustdbsync::internals::fake_hustdb::FakeHustdb) {
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    hustdbsync::internals::workload::Workload::uniform(300, 100, unix.unwrap().as_secs())
        .write(&home.logs(), &fake_hustdb.name())
        .unwrap();
}

#[test]
fn logs_and_state_on_one_full_disk_go_on_by_the_room_that_was_kept_aside() {
    let home = Home::new();
    let Some(disk) = on_one_disk(&home) else {
        eprintln!("SKIPPED: this user cannot mount a tmpfs, so no disk was really full");
        return;
    };
    // A first run, while there is room.
    let mut process = Process::start(&home);
    let spare = home.path("status/.spare");
    assert!(wait_for(LONG, || spare.exists()), "{}", home.said());
    process.end();
    let fake_hustdb = fake_hustdb();
    write_log(&home, &fake_hustdb);
    disk.fill();
    let mut process = Process::start(&home);
    let drained = wait_for(LONG, || home.log_names(&fake_hustdb.name()).is_empty());
    assert!(drained, "{}", home.said());
    assert_eq!(fake_hustdb.counters().applied, 300, "{}", home.said());
    // What the logs had is room enough for it to be taken again.
    disk.empty();
    assert!(wait_for(LONG, || spare.exists()), "{}", home.said());
    process.end();
    let said = home.said();
    assert!(said.contains("kept aside is used"), "{said}");
}

#[test]
fn a_first_start_on_a_full_disk_deletes_nothing_says_what_to_do_and_goes_on_with_a_little_room() {
    let home = Home::new();
    let Some(disk) = on_one_disk(&home) else {
        eprintln!("SKIPPED: this user cannot mount a tmpfs, so no disk was really full");
        return;
    };
    let fake_hustdb = fake_hustdb();
    write_log(&home, &fake_hustdb);
    disk.fill();
    let logs = home.log_names(&fake_hustdb.name());
    let mut process = Process::start(&home);
    let said = wait_for(LONG, || home.said().contains("make room on its disk"));
    assert!(said, "{}", home.said());
    thread::sleep(Duration::from_millis(500));
    assert_eq!(home.log_names(&fake_hustdb.name()), logs, "{}", home.said());
    assert_eq!(process.ended(), None, "{}", home.said());
    // Far less than the spare: a checkpoint's room is enough.
    let filler = File::options()
        .write(true)
        .open(disk.0.join("filler"))
        .unwrap();
    filler
        .set_len(filler.metadata().unwrap().len() - 32 * 1024)
        .unwrap();
    let drained = wait_for(LONG, || home.log_names(&fake_hustdb.name()).is_empty());
    assert!(drained, "{}", home.said());
    process.end();
}

#[test]
fn a_bound_on_the_length_of_files_is_an_error_and_not_the_end() {
    let home = Home::new();
    let fake_hustdb = fake_hustdb();
    // What it says goes behind what is there already: this bound is its log's too.
    fs::write(home.path("stderr"), vec![b'\n'; 4096]).unwrap();
    let mut process = Process::start_with_short_files(&home, 0);
    let mut status = None;
    let ended = wait_for(LONG, || {
        status = process.ended();
        status.is_some()
    });
    assert!(ended, "it runs although it can't write its lock");
    assert_eq!(status.unwrap().signal(), None, "SIGXFSZ has killed it");

    // With room for all but the rejected lines.
    let line = [&[b'x'; 2000][..], b"\n"].concat();
    let folder = home.logs().join(fake_hustdb.name());
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("2026-11-22-16-40.log"), line.repeat(8)).unwrap();
    fs::remove_file(home.path("stderr")).unwrap();
    let mut process = Process::start_with_short_files(&home, 16);
    assert!(
        wait_for(LONG, || home.said().contains("LimitFSIZE=")),
        "{}",
        home.said()
    );
    thread::sleep(Duration::from_millis(300));
    assert_eq!(process.ended(), None, "{}", home.said());
    process.kill();
    // Without the bound it goes on, and every line is there once.
    let mut process = Process::start(&home);
    let drained = wait_for(LONG, || home.log_names(&fake_hustdb.name()).is_empty());
    assert!(drained, "{}", home.said());
    process.end();
    assert_eq!(home.rejected(&fake_hustdb.name()).len(), 8);
}

#[test]
fn rejected_lines_that_go_to_a_pipe_hold_up_their_backend_alone() {
    let home = Home::new();
    let (piped, other) = (fake_hustdb(), fake_hustdb());
    let state = home.path("status").join(piped.name());
    fs::create_dir_all(&state).unwrap();
    let made = Command::new("mkfifo")
        .arg(state.join("rejected.jsonl"))
        .status();
    assert!(made.unwrap().success());
    for backend in [&piped, &other] {
        let folder = home.logs().join(backend.name());
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("2026-11-22-16-40.log"), "no record\n").unwrap();
    }
    let mut process = Process::start(&home);
    let drained = wait_for(LONG, || home.log_names(&other.name()).is_empty());
    assert!(drained, "{}", home.said());
    assert!(
        wait_for(LONG, || {
            let said = home.said();
            let mut lines = said.lines();
            lines.any(|line| line.contains(&piped.name()) && line.contains("not a regular file"))
        }),
        "{}",
        home.said()
    );
    assert_eq!(home.log_names(&piped.name()).len(), 1);
    // Once it is moved away, its backend goes on without a restart.
    fs::remove_file(state.join("rejected.jsonl")).unwrap();
    let drained = wait_for(LONG, || home.log_names(&piped.name()).is_empty());
    assert!(drained, "{}", home.said());
    process.end();
    assert_eq!(home.rejected(&piped.name()).len(), 1);
}

#[test]
fn a_http_server_that_takes_every_descriptor_leaves_delivery_its_own() {
    const OPEN_FILES: u32 = 64;
    let home = Home::new().with("network.enable_defer_accept", false);
    let fake_hustdb = fake_hustdb();
    let mut ha = trickle(&home, &fake_hustdb, 60);
    let mut process = Process::start_bounded(&home, OPEN_FILES);
    assert!(
        wait_for(LONG, || fake_hustdb.counters().applied > 20),
        "{}",
        home.said()
    );
    let http_server = process.http_server().unwrap();
    let idle: Vec<TcpStream> = (0..300)
        .filter_map(|_| TcpStream::connect(("127.0.0.1", http_server)).ok())
        .collect();
    assert!(idle.len() >= 200, "{}", idle.len());
    // With every place taken: new connections to the backend, new logs, checkpoints, deletions.
    for _ in 0..5 {
        fake_hustdb.restart().unwrap();
        let before = fake_hustdb.counters().applied;
        ha.pass_minute();
        assert!(
            wait_for(LONG, || fake_hustdb.counters().applied > before + 20),
            "{}",
            home.said()
        );
    }
    assert!(ask_server(&process, LONG).is_some(), "{}", home.said());
    drop(idle);
    let story = ha.finish();
    let drained = wait_for(LONG, || home.log_names(&fake_hustdb.name()).is_empty());
    assert!(drained, "{}", home.said());
    process.end();
    story.assert_replayed(&home, &fake_hustdb);
}
