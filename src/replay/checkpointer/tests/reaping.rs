//! Deleting finished logs (G10).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use super::fixture::{Fixture, LOG, NAME};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::file::Place;
use crate::ledger::identity::LastRead;
use crate::ledger::segment::NewSegment;
use crate::limits::REJECTED_WRITE_BYTES_MAX;
use crate::replay::disk::Area;
use crate::replay::messages::{
    BackendMessage, CheckpointerMessage, EntriesForgotten, FileId, FileStart, ReaderMessage,
    ResumePlan, SegmentId,
};
use crate::replay::testdisk::{Crash, Op, TestDisk};

const NEXT: &str = "2026-11-22-16-41.log";

/// A log of four lines, all settled but those of `open`.
fn fixture(open: &[u32]) -> Fixture {
    let mut fixture = Fixture::new(TestDisk::default());
    fixture.write_log(LOG, 4);
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(0, 1, 0, 4, &[]);
    let settled: Vec<u32> = (0..4).filter(|line| !open.contains(line)).collect();
    fixture.settle(0, &settled);
    fixture.turn();
    fixture
}

fn is_there(fixture: &Fixture, name: &str) -> bool {
    fixture.disk.log(NAME, name).is_some()
}

fn checkpointed(fixture: &Fixture) -> ResumePlan {
    Checkpoint::decode(&fixture.disk.state(NAME, "checkpoint").unwrap())
        .unwrap()
        .resume
}

/// The reader answers what it was told.
fn reader_lets_go(fixture: &mut Fixture) {
    let deleted = |message| {
        if let ReaderMessage::FileDeleted { file, .. } = message {
            Some(file)
        } else {
            None
        }
    };
    let files: Vec<FileId> = std::mem::take(&mut fixture.fed)
        .into_iter()
        .filter_map(deleted)
        .collect();
    assert!(!files.is_empty(), "the reader was told");
    for FileId(file) in files {
        fixture.tell_gone(file);
    }
    fixture.turn();
}

#[test]
fn a_finished_log_goes_after_the_grace_period_and_then_its_entry() {
    let mut fixture = fixture(&[]);
    fixture.pass(79);
    assert!(is_there(&fixture, LOG), "it may still be written to");
    fixture.pass(10);
    assert!(!is_there(&fixture, LOG));
    assert_eq!(fixture.to_compare(), [], "sync.reconcile is off (R1)");
    reader_lets_go(&mut fixture);
    fixture.pass(10);
    assert_eq!(checkpointed(&fixture).files, []);
    assert_eq!(
        (
            fixture.counts().processed,
            fixture.counts().settled,
            fixture.counts().rejected
        ),
        (4, 4, 0)
    );
}

#[test]
fn a_log_with_an_unsettled_line_stays() {
    let mut fixture = fixture(&[2]);
    fixture.pass(300);
    assert!(is_there(&fixture, LOG));
}

#[test]
fn a_log_that_has_more_than_was_read_stays() {
    let mut fixture = fixture(&[]);
    fixture.write_log(LOG, 1);
    fixture.pass(300);
    assert!(is_there(&fixture, LOG));
}

/// How many finished logs stay, as told.
fn kept(fixture: &Fixture) -> u64 {
    fixture.counts().logs_kept
}

#[test]
fn a_log_that_somebody_has_open_for_writing_stays_until_it_is_closed() {
    let mut fixture = fixture(&[]);
    fixture.disk.set_writer(NAME, LOG, true);
    fixture.pass(300);
    assert!(is_there(&fixture, LOG));
    assert_eq!(kept(&fixture), 1, "it is told that it stays");
    fixture.disk.set_writer(NAME, LOG, false);
    fixture.pass(6);
    assert!(!is_there(&fixture, LOG));
    assert_eq!(kept(&fixture), 0);
}

#[test]
fn a_log_that_grew_between_the_look_and_the_lease_stays() {
    let mut fixture = fixture(&[]);
    fixture.disk.append_before_lease(b"late line\n");
    fixture.pass(300);
    assert_eq!(fixture.disk.log(NAME, LOG).unwrap().len(), 50);
}

#[test]
fn without_leases_the_grace_period_protects() {
    let mut fixture = fixture(&[]);
    fixture.disk.set_leases(false);
    fixture.pass(79);
    assert!(is_there(&fixture, LOG));
    fixture.pass(10);
    assert!(!is_there(&fixture, LOG));
}

#[test]
fn a_log_stays_while_no_checkpoint_says_that_it_is_settled() {
    let mut fixture = fixture(&[3]);
    fixture.pass(10);
    fixture
        .disk
        .fail(Op::Rename(Area::State), ErrorKind::StorageFull, 0, u32::MAX);
    fixture.settle(0, &[3]);
    fixture.pass(300);
    assert!(is_there(&fixture, LOG));
    fixture.disk.mend();
    fixture.pass(20);
    assert!(!is_there(&fixture, LOG));
}

#[test]
fn a_log_of_the_future_goes_when_it_was_seen_to_be_quiet() {
    let mut fixture = Fixture::new(TestDisk::default());
    fixture.disk.set_time(fixture.now.unix + 1_000_000);
    fixture.write_log(LOG, 1);
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(0, 1, 0, 1, &[]);
    fixture.settle(0, &[0]);
    fixture.pass(75);
    assert!(is_there(&fixture, LOG));
    fixture.pass(20);
    assert!(!is_there(&fixture, LOG));
}

#[test]
fn a_log_under_another_files_name_stays() {
    let mut fixture = fixture(&[]);
    fixture.disk.remove_log(NAME, LOG);
    fixture.write_log(LOG, 4);
    fixture.pass(300);
    assert!(
        is_there(&fixture, LOG),
        "as long, as old, but not the file that was settled"
    );
}

/// As much of it was settled as it has now, and it begins as before.
#[test]
fn a_log_that_was_cut_and_has_grown_again_to_its_length_stays() {
    for is_cut in [false, true] {
        let mut fixture = Fixture::new(TestDisk::default());
        fixture.write_log(LOG, 1);
        fixture.open(1, LOG, FileStart::New);
        fixture.write_log(LOG, 3);
        let read = fixture.disk.log(NAME, LOG).unwrap();
        let line_bytes = read.len() / 4;
        fixture.tell(BackendMessage::Segment {
            segment: NewSegment {
                id: SegmentId(0),
                file: FileId(1),
                first: Place { line: 0, byte: 0 },
                end_byte: read.len() as u64,
                lines: 4,
                settled_before: Vec::new(),
                written_unix: 0,
                last_read: LastRead::new(0, &read),
            },
        });
        fixture.settle(0, &[0, 1, 2, 3]);
        fixture.turn();
        if is_cut {
            fixture.disk.truncate_log(NAME, LOG, line_bytes);
            let others = vec![b'x'; read.len() - line_bytes];
            fixture.disk.append_log(NAME, LOG, &others);
        }
        fixture.pass(300);
        assert_eq!(is_there(&fixture, LOG), is_cut);
    }
}

#[test]
fn logs_go_in_their_order() {
    let mut fixture = fixture(&[1]);
    fixture.write_log(NEXT, 1);
    fixture.open(2, NEXT, FileStart::New);
    fixture.segment(1, 2, 0, 1, &[]);
    fixture.settle(1, &[0]);
    fixture.pass(300);
    assert!(
        is_there(&fixture, NEXT),
        "what is deleted is the front of the log"
    );
    fixture.settle(0, &[1]);
    fixture.pass(10);
    assert!(!is_there(&fixture, LOG) && !is_there(&fixture, NEXT));
}

#[test]
fn a_log_that_cannot_be_deleted_is_tried_again_and_pauses_nothing() {
    let mut fixture = fixture(&[]);
    fixture
        .disk
        .fail(Op::Remove(Area::Logs), ErrorKind::PermissionDenied, 0, 3);
    fixture.pass(94);
    assert!(is_there(&fixture, LOG) && !fixture.is_paused());
    fixture.pass(10);
    assert!(!is_there(&fixture, LOG));
}

#[test]
fn a_shorter_release_interval_holds_at_once() {
    let with_interval = |fixture: &mut Fixture, seconds| {
        fixture.settings.release_interval = Duration::from_secs(seconds);
        fixture.send(CheckpointerMessage::Settings(fixture.settings.clone()));
        fixture.turn();
    };
    // Also for a log that had to stay at the last look.
    for has_writer in [false, true] {
        let mut fixture = fixture(&[]);
        if has_writer {
            fixture.disk.set_writer(NAME, LOG, true);
            fixture.pass(90);
        }
        with_interval(&mut fixture, 3600);
        fixture.pass(10);
        assert_eq!(kept(&fixture), u64::from(has_writer));
        if has_writer {
            fixture.disk.set_writer(NAME, LOG, false);
        }
        fixture.pass(100);
        assert!(is_there(&fixture, LOG));
        with_interval(&mut fixture, 5);
        fixture.pass(5);
        assert!(!is_there(&fixture, LOG), "{has_writer}");
    }
}

#[test]
fn lines_written_to_a_deleted_log_are_rejected() {
    let mut fixture = fixture(&[]);
    let meta = fixture.disk.meta_of(NAME, LOG).unwrap();
    fixture.pass(90);
    assert!(!is_there(&fixture, LOG));
    fixture.disk.append_unlinked(&meta, b"late line\ntorn");
    reader_lets_go(&mut fixture);
    fixture
        .disk
        .fail(Op::Append(Area::State), ErrorKind::StorageFull, 0, 1);
    fixture.pass(15);
    let late: Vec<_> = fixture
        .rejected()
        .into_iter()
        .map(|line| (line.line, line.byte, line.raw, line.reason))
        .collect();
    let reason = || "written_after_deletion".to_owned();
    assert_eq!(
        late,
        [
            (5, Some(40), b"late line".to_vec(), reason()),
            (6, Some(50), b"torn".to_vec(), reason())
        ]
    );
    assert_eq!(
        (
            fixture.counts().processed,
            fixture.counts().settled,
            fixture.counts().rejected
        ),
        (6, 6, 2)
    );
}

#[test]
fn lines_written_to_a_deleted_log_are_rejected_at_the_end_in_the_room_that_is_kept_aside() {
    let mut fixture = fixture(&[]);
    fixture.disk.keep_spare();
    let meta = fixture.disk.meta_of(NAME, LOG).unwrap();
    fixture.pass(90);
    assert!(!is_there(&fixture, LOG));
    assert!(fixture.disk.spare_bytes() > 0);
    fixture.disk.append_unlinked(&meta, b"late line\n");
    reader_lets_go(&mut fixture);
    fixture
        .disk
        .fail(Op::Append(Area::State), ErrorKind::StorageFull, 0, u32::MAX);
    fixture.send(CheckpointerMessage::Stop);
    fixture.turn();
    assert_eq!(fixture.rejected().len(), 1);
    assert_eq!(fixture.disk.spare_bytes(), 0);
}

/// A log of four lines and a torn one, which is a line like any other once its log is closed.
fn torn_fixture() -> Fixture {
    let mut fixture = fixture(&[]);
    fixture.disk.append_log(NAME, LOG, b"torn here!");
    fixture.segment(1, 1, 4, 1, &[]);
    fixture.settle(1, &[0]);
    fixture.turn();
    fixture
}

#[test]
fn the_rest_of_a_line_that_was_settled_torn_is_rejected_and_is_no_other_line() {
    let mut fixture = torn_fixture();
    let meta = fixture.disk.meta_of(NAME, LOG).unwrap();
    fixture.pass(90);
    assert!(!is_there(&fixture, LOG));
    fixture.disk.append_unlinked(&meta, b" rest\nlate line\n");
    reader_lets_go(&mut fixture);
    fixture.pass(15);
    let late: Vec<_> = fixture
        .rejected()
        .into_iter()
        .map(|line| (line.line, line.byte, line.raw))
        .collect();
    assert_eq!(
        late,
        [
            (5, Some(50), b" rest".to_vec()),
            (6, Some(56), b"late line".to_vec())
        ]
    );
    let counts = fixture.counts();
    assert_eq!(
        (counts.processed, counts.settled, counts.rejected),
        (6, 6, 1)
    );
}

/// What comes to a deleted log in any pieces, with lines longer than what is written at once, and
/// with writes that fail in between, counts each line once and loses no byte.
#[test]
fn each_late_line_counts_once_however_long_and_torn() {
    for seed in 0..16 {
        let mut random = fastrand::Rng::with_seed(seed);
        let is_torn = random.bool();
        let mut fixture = if is_torn {
            torn_fixture()
        } else {
            fixture(&[])
        };
        let meta = fixture.disk.meta_of(NAME, LOG).unwrap();
        fixture.pass(90);
        assert!(!is_there(&fixture, LOG));
        let mut late = Vec::new();
        for _ in 0..random.usize(1..5) {
            let bytes = match random.u8(..4) {
                0 => REJECTED_WRITE_BYTES_MAX + random.usize(..3) - 1,
                1 => 2 * REJECTED_WRITE_BYTES_MAX + random.usize(..100),
                _ => random.usize(1..30),
            };
            late.resize(late.len() + bytes, b'a' + random.u8(..26));
            late.push(b'\n');
        }
        if random.bool() {
            late.pop();
        }
        fixture.disk.append_unlinked(&meta, &late);
        reader_lets_go(&mut fixture);
        let spared = random.u32(..3);
        fixture
            .disk
            .fail(Op::Append(Area::State), ErrorKind::StorageFull, spared, 1);
        fixture.pass(30);
        let lines = late.strip_suffix(b"\n").unwrap_or(&late);
        let lines: Vec<&[u8]> = lines.split(|&byte| byte == b'\n').collect();
        let mut found: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for piece in fixture.rejected() {
            found.entry(piece.line).or_default().extend(piece.raw);
        }
        let expected: BTreeMap<u64, Vec<u8>> =
            (5..).zip(lines.iter().map(|line| line.to_vec())).collect();
        assert!(found == expected, "seed {seed}: {:?}", found.keys());
        let before = if is_torn { 5 } else { 4 };
        let new = lines.len() as u64 - u64::from(is_torn);
        let counts = fixture.counts();
        assert_eq!(
            (counts.processed, counts.settled, counts.rejected),
            (before + new, before + new, new),
            "seed {seed}"
        );
    }
}

#[test]
fn what_the_reader_read_of_a_deleted_log_is_delivered_and_what_a_flush_cuts_off_is_rejected() {
    let mut fixture = fixture(&[]);
    let meta = fixture.disk.meta_of(NAME, LOG).unwrap();
    fixture.pass(90);
    fixture
        .disk
        .append_unlinked(&meta, b"late line\nlate line\nlate line\n");
    fixture.segment(1, 1, 4, 2, &[]);
    fixture.settle(1, &[1]);
    reader_lets_go(&mut fixture);
    fixture.pass(20);
    assert_eq!(fixture.counts().settled, 5, "one line is on its way");
    fixture.flush(1);
    fixture.pass(20);
    assert_eq!(fixture.plan().unwrap().files, [], "its name leads nowhere");
    let late: Vec<u64> = fixture.rejected().iter().map(|line| line.line).collect();
    assert_eq!(late, [5, 7], "line 6 was delivered");
    assert_eq!(
        (fixture.counts().processed, fixture.counts().settled),
        (7, 7)
    );
}

#[test]
fn a_deleted_log_that_comes_back_in_a_crash_is_not_sent_again() {
    for passed in [0, 10] {
        let mut fixture = fixture(&[]);
        fixture.pass(90);
        if passed > 0 {
            reader_lets_go(&mut fixture);
            fixture.pass(passed);
        }
        fixture.disk.crash(Crash::LosesAll);
        fixture.restart();
        let plan = fixture.plan().unwrap();
        if is_there(&fixture, LOG) {
            assert_eq!(plan.files[0].byte, 40, "all of it is known to be settled");
        } else {
            assert!(passed > 0);
            assert_eq!(plan.files, []);
        }
    }
}

#[test]
fn an_entry_stays_while_its_logs_name_is_not_durably_gone() {
    let mut fixture = fixture(&[]);
    fixture.pass(90);
    fixture
        .disk
        .fail(Op::SyncFolder(Area::Logs), ErrorKind::Other, 0, u32::MAX);
    reader_lets_go(&mut fixture);
    fixture.pass(10);
    assert!(fixture.is_paused());
    assert_eq!(checkpointed(&fixture).files.len(), 1);
    fixture.disk.mend();
    fixture.pass(10);
    assert_eq!(checkpointed(&fixture).files, []);
}

#[test]
fn entries_that_the_reader_forgets_are_dropped_and_the_others_kept() {
    let mut fixture = fixture(&[2]);
    fixture.write_log(NEXT, 1);
    fixture.open(2, NEXT, FileStart::New);
    fixture.pass(2);
    fixture.restart();
    let files = fixture.plan().unwrap().files;
    assert_eq!(files.len(), 2);
    let gone = files.iter().position(|file| &*file.name == NEXT);
    fixture.tell(BackendMessage::EntriesForgotten(EntriesForgotten {
        files: vec![gone.unwrap()],
        legacy: vec![],
    }));
    fixture.pass(2);
    let names: Vec<_> = checkpointed(&fixture)
        .files
        .iter()
        .map(|file| file.name.to_string())
        .collect();
    assert_eq!(names, [LOG]);
}

/// Two logs, both finished.
fn two_finished() -> Fixture {
    let fixture = fixture(&[]);
    fixture.write_log(NEXT, 1);
    fixture.open(2, NEXT, FileStart::New);
    fixture.segment(1, 2, 0, 1, &[]);
    fixture.settle(1, &[0]);
    fixture
}

#[test]
fn a_log_that_cannot_go_keeps_no_other() {
    let mut fixture = two_finished();
    fixture.disk.set_writer(NAME, LOG, true);
    fixture.pass(100);
    assert!(is_there(&fixture, LOG) && !is_there(&fixture, NEXT));
    let mut fixture = two_finished();
    fixture
        .disk
        .fail(Op::Remove(Area::Logs), ErrorKind::PermissionDenied, 0, 1);
    fixture.pass(81);
    assert!(is_there(&fixture, LOG) && !is_there(&fixture, NEXT));
    assert_eq!(kept(&fixture), 1);
    fixture.pass(10);
    assert!(!is_there(&fixture, LOG));
    assert_eq!(kept(&fixture), 0);
    // One that is not there at all.
    let mut fixture = two_finished();
    fixture.disk.remove_log(NAME, LOG);
    fixture.pass(100);
    assert!(!is_there(&fixture, NEXT));
    assert_eq!(kept(&fixture), 0, "what is not there does not stay");
}

#[test]
fn a_log_with_two_names_loses_both_and_is_known_until_then() {
    const SECOND: &str = "second.log";
    let mut fixture = fixture(&[]);
    fixture.disk.link_log(NAME, LOG, SECOND);
    fixture.pass(90);
    assert!(!is_there(&fixture, LOG) && is_there(&fixture, SECOND));
    let is_told = |message: &ReaderMessage| {
        matches!(
            message,
            ReaderMessage::FileDeleted {
                is_elsewhere: true,
                ..
            }
        )
    };
    assert!(fixture.fed.iter().any(is_told));
    fixture.pass(10);
    let files = checkpointed(&fixture).files;
    assert_eq!(files.len(), 1);
    assert!(files[0].away_unix > 0 && files[0].line == 4);
    // The reader sees the other name.
    fixture.tell(BackendMessage::FileMoved {
        file: FileId(1),
        name: SECOND.into(),
        away_unix: 0,
    });
    fixture.pass(20);
    assert!(!is_there(&fixture, SECOND));
}

#[test]
fn as_many_finished_logs_go_at_once_as_may_be_kept_open() {
    let mut fixture = Fixture::new(TestDisk::default());
    let logs = 1200;
    for number in 0..logs {
        let name = format!("{number:05}.log");
        fixture.write_log(&name, 1);
        fixture.open(number + 1, &name, FileStart::New);
        fixture.segment(number, number + 1, 0, 1, &[]);
        fixture.settle(number, &[0]);
        if number % 100 == 0 {
            fixture.turn();
        }
    }
    let left = |fixture: &Fixture| {
        (0..logs)
            .filter(|number| is_there(fixture, &format!("{number:05}.log")))
            .count()
    };
    fixture.pass(78);
    assert_eq!(left(&fixture), 1200);
    for step in 0..100 {
        if fixture
            .fed
            .iter()
            .any(|message| matches!(message, ReaderMessage::FileDeleted { .. }))
        {
            reader_lets_go(&mut fixture);
        }
        fixture.now.monotonic += std::time::Duration::from_millis(100);
        fixture.now.unix += u64::from(step % 10 == 9);
        fixture.turn();
    }
    assert_eq!(left(&fixture), 0, "not 256 each release_interval");
}
