//! A log is what it holds: under NFS's name for a deleted file, and on a disk whose device number
//! has changed, it is the same log.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hustdbsync::internals::binlog::{Method, Record};
use hustdbsync::internals::fake_hustdb::{FakeHustdb, Value};

use crate::harness::{Home, Running, eventually, fake_hustdb, value, values};
use crate::log::{Log, line_of, put};
use crate::mounted::Disk;

/// As an NFS client names a file that is deleted while somebody on its machine has it open.
const HIDDEN: &str = ".nfs00000000000a1b2c00000001";
const LATER: &str = "2026-11-22-16-41.log";
/// Lines of one [`Story::lines`].
const LINES: u64 = 4;
/// What each of them adds to the score.
const INCREMENT: i64 = 5;

/// What happened to one backend: sets of lines, each of which shows by itself whether it was sent
/// once.
struct Story {
    fake_hustdb: FakeHustdb,
    told: u32,
}

impl Story {
    fn new() -> Self {
        Self {
            fake_hustdb: fake_hustdb(),
            told: 0,
        }
    }

    fn name(&self) -> String {
        self.fake_hustdb.name()
    }

    /// The next set: a key that is put and deleted, an increment, a key that stays.
    fn lines(&mut self) -> Vec<u8> {
        self.told += 1;
        let (dead, alive) = (format!("dead{}", self.told), format!("alive{}", self.told));
        let increment = Record {
            method: Method::Zadd,
            table: b"scores",
            score: INCREMENT,
            opt: 1,
            ..put("member", self.told, "member")
        };
        let delete = Record {
            method: Method::Del,
            ..put(&dead, 1, "")
        };
        let mut lines = line_of(&put(&dead, 1, "v"));
        lines.extend(line_of(&delete));
        lines.extend(line_of(&increment));
        lines.extend(line_of(&put(&alive, 1, "v")));
        lines
    }

    /// All that was told has been sent, and each line of it once.
    #[track_caller]
    fn assert_told_once(&self, server: &Running) {
        let told = u64::from(self.told);
        let backend = server.wait_settled(&self.name(), told * LINES);
        assert_eq!(backend.counts.rejected, 0, "{backend:?}");
        self.assert_holds_once();
    }

    #[track_caller]
    fn assert_holds_once(&self) {
        let told = u64::from(self.told);
        let fake_hustdb = &self.fake_hustdb;
        assert_eq!(fake_hustdb.history().len() as u64, told * LINES);
        assert_eq!(fake_hustdb.counters().duplicates, 0);
        let contents = fake_hustdb.contents();
        let score = contents.values().find_map(|stored| match stored.value {
            Value::Score(score) => Some(score),
            _ => None,
        });
        assert_eq!(score, Some(i64::from(self.told) * INCREMENT));
        let keys = values(fake_hustdb);
        assert_eq!(
            keys.len() as u64,
            told,
            "deleted keys stay deleted: {keys:?}"
        );
    }
}

fn open(log: &Log) -> File {
    File::options().append(true).open(log.path()).unwrap()
}

#[test]
fn a_log_under_nfs_name_for_it_is_read_to_its_end_and_sent_once() {
    let (home, mut story) = (Home::new(), Story::new());
    let log = home.log(&story.name());
    log.raw(story.lines());
    let server = home.start();
    story.assert_told_once(&server);
    // HA's worker has it open, and so have we.
    let mut worker = open(&log);
    let hidden = log.file(HIDDEN);
    fs::rename(log.path(), hidden.path()).unwrap();
    worker.write_all(&story.lines()).unwrap();
    story.assert_told_once(&server);
    // Other workers open its name anew, while this one is not ready.
    log.raw(story.lines());
    story.assert_told_once(&server);
    worker.write_all(&story.lines()).unwrap();
    story.assert_told_once(&server);
    // The last descriptor is closed, and the client removes it.
    drop(worker);
    fs::remove_file(hidden.path()).unwrap();
    log.raw(story.lines());
    log.file(LATER).raw(story.lines());
    story.assert_told_once(&server);
    server.stop();
    let server = home.start();
    log.file(LATER).raw(story.lines());
    story.assert_told_once(&server);
}

#[test]
fn a_log_that_nfs_hides_while_no_server_runs_is_read_to_its_end_by_the_next_one() {
    let (home, mut story) = (Home::new(), Story::new());
    let log = home.log(&story.name());
    log.raw(story.lines());
    let server = home.start();
    story.assert_told_once(&server);
    server.stop();
    let mut worker = open(&log);
    let hidden = log.file(HIDDEN);
    fs::rename(log.path(), hidden.path()).unwrap();
    worker.write_all(&story.lines()).unwrap();
    log.raw(story.lines());
    let server = home.start();
    story.assert_told_once(&server);
    worker.write_all(&story.lines()).unwrap();
    story.assert_told_once(&server);
    server.stop();
    drop(worker);
    fs::remove_file(hidden.path()).unwrap();
    log.raw(story.lines());
    let server = home.start();
    story.assert_told_once(&server);
}

#[test]
fn a_log_that_has_its_name_back_from_nfs_goes_on_where_it_was() {
    let (home, mut story) = (Home::new(), Story::new());
    let log = home.log(&story.name());
    log.raw(story.lines());
    let server = home.start();
    story.assert_told_once(&server);
    let hidden = log.file(HIDDEN);
    let mut worker = open(&log);
    fs::rename(log.path(), hidden.path()).unwrap();
    worker.write_all(&story.lines()).unwrap();
    story.assert_told_once(&server);
    fs::rename(hidden.path(), log.path()).unwrap();
    log.raw(story.lines());
    story.assert_told_once(&server);
    // The same while nobody looks.
    fs::rename(log.path(), hidden.path()).unwrap();
    server.stop();
    let server = home.start();
    log.file(LATER).raw(story.lines());
    story.assert_told_once(&server);
    fs::rename(hidden.path(), log.path()).unwrap();
    log.raw(story.lines());
    story.assert_told_once(&server);
}

#[test]
fn a_log_that_is_deleted_on_nfs_while_its_backend_is_down_is_sent_once_it_is_up() {
    let (home, mut story) = (Home::new(), Story::new());
    let log = home.log(&story.name());
    log.raw(story.lines());
    let server = home.start();
    story.assert_told_once(&server);
    story.fake_hustdb.kill().unwrap();
    server.wait_for_state(&story.name(), "down");
    let mut worker = open(&log);
    worker.write_all(&story.lines()).unwrap();
    fs::rename(log.path(), log.file(HIDDEN).path()).unwrap();
    worker.write_all(&story.lines()).unwrap();
    log.raw(story.lines());
    story.fake_hustdb.restart().unwrap();
    story.assert_told_once(&server);
}

/// Nothing of it was read before, so nothing but the running server knows what it is.
#[test]
fn a_log_that_nfs_hides_before_it_is_begun_is_waited_for() {
    let home = Home::new().with_port();
    let fake_hustdb = fake_hustdb();
    fake_hustdb.kill().unwrap();
    let server = home.start();
    let log = home.log(&fake_hustdb.name());
    log.put("k", 1, "v");
    server.wait_for_state(&fake_hustdb.name(), "down");
    let _worker = open(&log);
    let backlog = || server.backend(&fake_hustdb.name()).unwrap().backlog_bytes;
    eventually("it is seen", || backlog() > 0);
    fs::rename(log.path(), log.file(HIDDEN).path()).unwrap();
    // Taken when the listing has shown it.
    eventually("it is waited for", || {
        let (code, out, _) = home.command(&["status", "--wait=0s"]);
        code == 3 && !out.contains("not in the folder any more")
    });
    fake_hustdb.restart().unwrap();
    let (code, out, _) = home.command(&["status", "--wait=60s"]);
    assert_eq!(code, 0, "{out}");
    assert_eq!(
        crate::harness::value(&fake_hustdb, "k").as_deref(),
        Some("v")
    );
    server.stop();
}

fn device_of(path: &Path) -> u64 {
    fs::metadata(path).unwrap().dev()
}

/// A home whose logs are on a disk of their own, and that disk; none, and said so, where this user
/// can't have one.
fn home_on_a_disk() -> Option<(Home, Disk)> {
    let home = Home::new();
    match Disk::mount(&home.path("disk"), &home.path("logs")) {
        Ok(disk) => Some((home, disk)),
        Err(why) => {
            eprintln!("SKIPPED: no device number was changed: {why}");
            None
        }
    }
}

#[test]
fn a_disk_that_comes_back_under_another_device_number_while_the_server_is_stopped_is_the_same() {
    let Some((home, mut disk)) = home_on_a_disk() else {
        return;
    };
    let mut story = Story::new();
    let log = home.log(&story.name());
    for _ in 0..3 {
        log.raw(story.lines());
        let server = home.start();
        story.assert_told_once(&server);
        server.stop();
        // Some that were not sent, too.
        log.raw(story.lines());
        let before = device_of(&log.path());
        disk.mount_again();
        assert_ne!(device_of(&log.path()), before);
    }
    let server = home.start();
    story.assert_told_once(&server);
    server.stop();
}

#[test]
fn a_disk_that_is_replaced_under_a_running_server_by_its_copy_is_the_same() {
    let Some((home, mut disk)) = home_on_a_disk() else {
        return;
    };
    let mut story = Story::new();
    let log = home.log(&story.name());
    log.raw(story.lines());
    let server = home.start();
    story.assert_told_once(&server);
    // Away for a moment, in which only what lies below it is seen.
    let copy = disk.copy();
    let before = device_of(&log.path());
    disk.unmount_lazily();
    let below = fake_hustdb();
    home.log(&below.name()).put("k", 1, "v");
    eventually("what lies below is read", || value(&below, "k").is_some());
    disk.mount_copy(&copy);
    assert_ne!(device_of(&log.path()), before);
    log.raw(story.lines());
    story.assert_told_once(&server);
    // And without a moment: mounted over the other.
    let copy = disk.copy();
    let before = device_of(&log.path());
    disk.mount_copy(&copy);
    assert_ne!(device_of(&log.path()), before);
    log.raw(story.lines());
    story.assert_told_once(&server);
    log.file(LATER).raw(story.lines());
    story.assert_told_once(&server);
    server.stop();
}
