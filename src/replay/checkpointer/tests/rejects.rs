//! Lines that are rejected: on disk before they count (G9).

use std::io::ErrorKind;

use super::fixture::{Fixture, LOG, NAME, settled_lines};
use crate::binlog::long_line::line_digest;
use crate::ledger::rejected;
use crate::replay::disk::Area;
use crate::replay::disk::Disk;
use crate::replay::messages::{CheckpointerMessage, FileStart, ReaderMessage};
use crate::replay::testdisk::{Crash, Op, TestDisk};

fn fixture() -> Fixture {
    let mut fixture = Fixture::new(TestDisk::default());
    fixture.write_log(LOG, 10);
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(0, 1, 0, 4, &[]);
    fixture.turn();
    fixture
}

#[test]
fn a_line_is_rejected_with_all_that_is_known_of_it() {
    let mut fixture = fixture();
    fixture.reject(0, 3);
    fixture.turn();
    let lines = fixture.rejected();
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    assert_eq!(
        (
            line.backend.as_str(),
            line.file.as_str(),
            line.line,
            line.byte
        ),
        (NAME, LOG, 4, Some(30))
    );
    assert_eq!(
        (line.reason.as_str(), line.detail.as_str(), &line.raw[..]),
        ("not_found", "404", &b"some line"[..])
    );
    assert_eq!(
        (fixture.counts().settled, fixture.counts().rejected),
        (1, 1)
    );
}

/// Rejects line 3, dies before a checkpoint says so, does what `meanwhile` does to the disk,
/// starts, and rejects the same line again.
fn rejected_again(meanwhile: impl FnOnce(&mut Fixture)) -> Fixture {
    rejected_again_as(LOG, meanwhile)
}

/// The same of a log that is called `name` by then.
fn rejected_again_as(name: &str, meanwhile: impl FnOnce(&mut Fixture)) -> Fixture {
    let mut fixture = killed_before_the_checkpoint(name, meanwhile);
    fixture.reject(1, 3);
    fixture.turn();
    assert_eq!(
        (fixture.counts().settled, fixture.counts().rejected),
        (1, 1)
    );
    fixture
}

/// A process that has begun the log of a line which the one before it had rejected.
fn killed_before_the_checkpoint(name: &str, meanwhile: impl FnOnce(&mut Fixture)) -> Fixture {
    let mut fixture = fixture();
    fixture.pass(10);
    fixture
        .disk
        .fail(Op::Write(Area::State), ErrorKind::Other, 0, u32::MAX);
    fixture.reject(0, 3);
    fixture.turn();
    assert_eq!(fixture.rejected().len(), 1);
    fixture.disk.mend();
    fixture.disk.crash(Crash::LosesNothing);
    meanwhile(&mut fixture);
    fixture.restart();
    let start = fixture.plan().map_or(FileStart::New, |plan| {
        assert_eq!(
            settled_lines(&plan),
            [0_u64; 0],
            "no checkpoint has it as settled"
        );
        FileStart::Resumed(0)
    });
    fixture.open(2, name, start);
    fixture.segment(1, 2, 0, 4, &[]);
    fixture
}

#[test]
fn a_line_that_a_killed_process_has_rejected_is_not_rejected_twice() {
    let mut fixture = rejected_again(|_| {});
    fixture.disk.crash(Crash::LosesAll);
    assert_eq!(fixture.rejected().len(), 1, "it is there once, and durably");
    fixture.restart();
    // Another line of the same bytes is another line.
    fixture.turn();
    fixture.open(3, LOG, FileStart::New);
    fixture.segment(2, 3, 0, 4, &[]);
    fixture.reject(2, 2);
    fixture.turn();
    assert_eq!(fixture.rejected().len(), 2);
}

#[test]
fn a_line_that_a_killed_process_has_rejected_is_known_after_writes_that_fail() {
    let mut fixture = killed_before_the_checkpoint(LOG, |_| {});
    for op in [Op::Sync(Area::State), Op::Read(Area::State)] {
        fixture.disk.fail(op, ErrorKind::Other, 0, 1);
    }
    fixture.reject(1, 3);
    fixture.turn();
    assert_eq!(fixture.counts().rejected, 0, "it cannot be made durable");
    fixture.pass(1);
    assert_eq!(fixture.counts().rejected, 1);
    assert_eq!(fixture.rejected().len(), 1);
}

#[test]
fn a_line_that_a_killed_process_has_rejected_is_known_under_its_logs_new_name() {
    let fixture = rejected_again_as("other", |fixture| {
        fixture.disk.rename_log(NAME, LOG, "other")
    });
    assert_eq!(fixture.rejected().len(), 1);
}

#[test]
fn a_line_that_another_log_has_at_the_same_place_is_another_line() {
    let fixture = rejected_again(|fixture| {
        fixture.disk.rename_log(NAME, LOG, "other");
        fixture.write_log(LOG, 10);
    });
    assert_eq!(fixture.rejected().len(), 2);
}

#[test]
fn a_line_that_an_older_version_has_rejected_is_known_by_its_logs_name() {
    let fixture = rejected_again(|fixture| {
        let mut line = fixture.rejected().remove(0);
        line.log = None;
        let mut bytes = Vec::new();
        line.encode(&mut bytes);
        fixture.disk.put_state(NAME, rejected::NAME, &bytes);
    });
    assert_eq!(fixture.rejected().len(), 1);
}

#[test]
fn a_line_whose_file_was_moved_away_meanwhile_is_rejected_in_the_new_one() {
    let fixture = rejected_again(|fixture| {
        fixture
            .disk
            .clone()
            .remove(Area::State, NAME, rejected::NAME)
            .unwrap()
    });
    assert_eq!(fixture.rejected().len(), 1);
}

#[test]
fn a_line_that_is_not_held_is_read_from_its_log_when_it_is_written() {
    let mut fixture = fixture();
    let log = fixture.disk.log(NAME, LOG).expect("there is a log");
    let digest = line_digest(&log[30..39]);
    fixture.reject_in_log(0, 3, digest);
    fixture.turn();
    // Somebody has changed this one.
    fixture.reject_in_log(0, 2, digest ^ 1);
    fixture.turn();
    // It cannot be read for a while.
    fixture
        .disk
        .fail(Op::Open(Area::Logs), ErrorKind::Other, 0, 1);
    fixture.reject_in_log(0, 1, line_digest(&log[10..19]));
    fixture.turn();
    assert_eq!(fixture.rejected().len(), 2);
    assert!(fixture.is_paused());
    fixture.pass(10);
    // And this one is gone.
    fixture.disk.remove_log(NAME, LOG);
    fixture.reject_in_log(0, 0, line_digest(&log[..9]));
    fixture.turn();
    let found: Vec<_> = fixture
        .rejected()
        .into_iter()
        .map(|line| {
            (
                line.line,
                line.raw,
                line.detail.contains("the first 3 are kept"),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (4, log[30..39].to_vec(), false),
            (3, b"its".to_vec(), true),
            (2, log[10..19].to_vec(), false),
            (1, b"its".to_vec(), true),
        ]
    );
}

#[test]
fn what_was_settled_behind_a_line_that_cannot_be_rejected_waits_with_it() {
    let mut fixture = fixture();
    fixture
        .disk
        .fail(Op::Sync(Area::State), ErrorKind::Other, 0, u32::MAX);
    fixture.settle(0, &[0]);
    fixture.reject(0, 1);
    fixture.settle(0, &[2, 3]);
    fixture.turn();
    assert_eq!(
        (fixture.counts().settled, fixture.counts().rejected),
        (1, 0)
    );
    assert!(fixture.is_paused());
    fixture.disk.mend();
    fixture.pass(10);
    assert_eq!(
        (fixture.counts().settled, fixture.counts().rejected),
        (4, 1)
    );
    assert!(fixture.fed.iter().any(
        |message| matches!(message, ReaderMessage::SegmentDone { done, .. } if done.lines == 4)
    ));
    fixture.disk.crash(Crash::LosesAll);
    assert_eq!(
        fixture.rejected().len(),
        1,
        "it was written again, not only synced again"
    );
}

#[test]
fn what_a_failed_write_left_is_cut_off_at_once_or_before_the_next() {
    for truncations_that_fail in [0, 1] {
        let mut fixture = fixture();
        fixture
            .disk
            .fail(Op::Append(Area::State), ErrorKind::StorageFull, 0, 1);
        fixture.disk.fail(
            Op::Truncate(Area::State),
            ErrorKind::Other,
            0,
            truncations_that_fail,
        );
        fixture.reject(0, 1);
        fixture.turn();
        let left = fixture.disk.state(NAME, rejected::NAME).unwrap();
        assert_eq!(left.is_empty(), truncations_that_fail == 0);
        fixture.pass(1);
        let content = fixture.disk.state(NAME, rejected::NAME).unwrap();
        assert_eq!(rejected::pieces(&content).count(), 1);
        assert_eq!(fixture.rejected().len(), 1);
    }
}

#[test]
fn a_flush_waits_for_lines_that_cannot_be_rejected() {
    let mut fixture = fixture();
    fixture.plan();
    fixture
        .disk
        .fail(Op::Append(Area::State), ErrorKind::StorageFull, 0, u32::MAX);
    fixture.reject(0, 1);
    fixture.flush(1);
    fixture.pass(1);
    assert!(fixture.plan().is_none());
    fixture.disk.mend();
    fixture.pass(10);
    assert_eq!(
        settled_lines(&fixture.plan().expect("it is rejected now")),
        [1]
    );
}

#[test]
fn a_full_rejected_file_pauses_the_backend_until_there_is_room_and_checkpoints_go_on() {
    let mut fixture = fixture();
    fixture.settings.rejected_bytes_max = 100;
    fixture.send(CheckpointerMessage::Settings(fixture.settings.clone()));
    fixture.reject(0, 1);
    fixture.turn();
    fixture.settle(0, &[0]);
    fixture.reject(0, 2);
    fixture.pass(10);
    assert!(fixture.is_paused());
    assert_eq!(
        fixture.counts().settled,
        2,
        "the limit is where no further line is begun"
    );
    fixture.disk.crash(Crash::LosesNothing);
    fixture.restart();
    assert_eq!(settled_lines(&fixture.plan().unwrap()), [0, 1]);
}

#[test]
fn a_full_rejected_file_that_is_moved_away_lets_the_backend_go_on() {
    use crate::replay::disk::Disk;
    let mut fixture = fixture();
    fixture.settings.rejected_bytes_max = 100;
    fixture.send(CheckpointerMessage::Settings(fixture.settings.clone()));
    fixture.reject(0, 1);
    fixture.turn();
    fixture.reject(0, 2);
    fixture.pass(2);
    assert!(fixture.is_paused());
    fixture
        .disk
        .rename(Area::State, NAME, rejected::NAME, "rejected.old")
        .unwrap();
    fixture.pass(10);
    assert!(!fixture.is_paused());
    assert_eq!(
        fixture
            .rejected()
            .iter()
            .map(|line| line.line)
            .collect::<Vec<_>>(),
        [3]
    );
    fixture.disk.crash(Crash::LosesAll);
    assert_eq!(
        fixture.rejected().len(),
        1,
        "the new file's name is durable too"
    );
}

#[test]
fn many_lines_are_rejected_by_one_write() {
    let mut fixture = fixture();
    fixture.pass(1);
    (0..4).for_each(|line| fixture.reject(0, line));
    let before = fixture.disk.steps();
    fixture.turn();
    assert_eq!(
        fixture.disk.steps() - before,
        3,
        "an append, a sync, and the name of the new file"
    );
    assert_eq!(fixture.rejected().len(), 4);
}

#[test]
fn a_torn_end_is_cut_off_at_the_start_and_a_missing_newline_added() {
    let mut fixture = fixture();
    fixture.reject(0, 3);
    fixture.turn();
    let whole = fixture.disk.state(NAME, rejected::NAME).unwrap();
    let torn = [&whole[..], &whole[..whole.len() / 2]].concat();
    let bare = [&whole[..], &whole[..whole.len() - 1]].concat();
    let doubled = whole.repeat(2);
    let long = [&whole[..], &vec![b'x'; 3_000_000][..]].concat();
    for (found, mended) in [
        (&torn, &whole),
        (&bare, &doubled),
        (&long, &whole),
        (&whole, &whole),
    ] {
        fixture.disk.put_state(NAME, rejected::NAME, found);
        fixture.restart();
        assert_eq!(
            fixture.disk.state(NAME, rejected::NAME).as_ref(),
            Some(mended)
        );
    }
}
