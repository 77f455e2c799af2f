//! Lines that are set aside: on disk before they count (G9).

use std::io::ErrorKind;

use super::rig::{LOG, NAME, Rig, settled_lines};
use crate::binlog::long_line::line_digest;
use crate::ledger::rejected;
use crate::replay::disk::Disk;
use crate::replay::messages::{FeederMail, FileStart, KeeperMail};
use crate::replay::testdisk::{Crash, Op, TestDisk};

fn rig() -> Rig {
    let mut rig = Rig::new(TestDisk::default());
    rig.write_log(LOG, 10);
    rig.open(1, LOG, FileStart::New);
    rig.segment(0, 1, 0, 4, &[]);
    rig.turn();
    rig
}

#[test]
fn a_line_is_set_aside_with_all_that_is_known_of_it() {
    let mut rig = rig();
    rig.reject(0, 3);
    rig.turn();
    let lines = rig.rejected();
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
    assert_eq!((rig.counts().settled, rig.counts().rejected), (1, 1));
}

/// Rejects line 3, dies before a checkpoint says so, does what `meanwhile` does to the disk, starts, and rejects the same line again.
fn rejected_again(meanwhile: impl FnOnce(&mut Rig)) -> Rig {
    rejected_again_as(LOG, meanwhile)
}

/// The same of a log that is called `name` by then.
fn rejected_again_as(name: &str, meanwhile: impl FnOnce(&mut Rig)) -> Rig {
    let mut rig = rig();
    rig.pass(10);
    rig.disk.fail(Op::WriteState, ErrorKind::Other, 0, u32::MAX);
    rig.reject(0, 3);
    rig.turn();
    assert_eq!(rig.rejected().len(), 1);
    rig.disk.mend();
    rig.disk.crash(Crash::LosesNothing);
    meanwhile(&mut rig);
    rig.restart();
    let start = rig.plan().map_or(FileStart::New, |plan| {
        assert_eq!(
            settled_lines(&plan),
            [0_u64; 0],
            "no checkpoint has it as settled"
        );
        FileStart::Resumed(0)
    });
    rig.open(2, name, start);
    rig.segment(1, 2, 0, 4, &[]);
    rig.reject(1, 3);
    rig.turn();
    assert_eq!((rig.counts().settled, rig.counts().rejected), (1, 1));
    rig
}

#[test]
fn a_line_that_a_killed_process_has_set_aside_is_not_set_aside_twice() {
    let mut rig = rejected_again(|_| {});
    rig.disk.crash(Crash::LosesAll);
    assert_eq!(rig.rejected().len(), 1, "it is there once, and durably");
    rig.restart();
    // Another line of the same bytes is another line.
    rig.turn();
    rig.open(3, LOG, FileStart::New);
    rig.segment(2, 3, 0, 4, &[]);
    rig.reject(2, 2);
    rig.turn();
    assert_eq!(rig.rejected().len(), 2);
}

#[test]
fn a_line_that_a_killed_process_has_set_aside_is_known_under_its_logs_new_name() {
    let rig = rejected_again_as("other", |rig| rig.disk.rename_log(NAME, LOG, "other"));
    assert_eq!(rig.rejected().len(), 1);
}

#[test]
fn a_line_that_another_log_has_at_the_same_place_is_another_line() {
    let rig = rejected_again(|rig| {
        rig.disk.rename_log(NAME, LOG, "other");
        rig.write_log(LOG, 10);
    });
    assert_eq!(rig.rejected().len(), 2);
}

#[test]
fn a_line_that_an_older_version_has_set_aside_is_known_by_its_logs_name() {
    let rig = rejected_again(|rig| {
        let mut line = rig.rejected().remove(0);
        line.log = None;
        let mut bytes = Vec::new();
        line.encode(&mut bytes);
        rig.disk.put_state(NAME, rejected::NAME, &bytes);
    });
    assert_eq!(rig.rejected().len(), 1);
}

#[test]
fn a_line_whose_file_was_moved_away_meanwhile_is_set_aside_in_the_new_one() {
    let rig = rejected_again(|rig| rig.disk.clone().remove_state(NAME, rejected::NAME).unwrap());
    assert_eq!(rig.rejected().len(), 1);
}

#[test]
fn a_line_that_is_not_held_is_read_from_its_log_when_it_is_written() {
    let mut rig = rig();
    let log = rig.disk.log(NAME, LOG).expect("there is a log");
    let digest = line_digest(&log[30..39]);
    rig.reject_in_log(0, 3, digest);
    rig.turn();
    // Somebody has changed this one.
    rig.reject_in_log(0, 2, digest ^ 1);
    rig.turn();
    // It cannot be read for a while.
    rig.disk.fail(Op::ReadLog, ErrorKind::Other, 0, 1);
    rig.reject_in_log(0, 1, line_digest(&log[10..19]));
    rig.turn();
    assert_eq!(rig.rejected().len(), 2);
    assert!(rig.is_paused());
    rig.pass(10);
    // And this one is gone.
    rig.disk.remove_log(NAME, LOG);
    rig.reject_in_log(0, 0, line_digest(&log[..9]));
    rig.turn();
    let found: Vec<_> = rig
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
fn what_was_settled_behind_a_line_that_cannot_be_set_aside_waits_with_it() {
    let mut rig = rig();
    rig.disk.fail(Op::SyncState, ErrorKind::Other, 0, u32::MAX);
    rig.settle(0, &[0]);
    rig.reject(0, 1);
    rig.settle(0, &[2, 3]);
    rig.turn();
    assert_eq!((rig.counts().settled, rig.counts().rejected), (1, 0));
    assert!(rig.is_paused());
    rig.disk.mend();
    rig.pass(10);
    assert_eq!((rig.counts().settled, rig.counts().rejected), (4, 1));
    assert!(
        rig.fed
            .iter()
            .any(|mail| matches!(mail, FeederMail::SegmentDone { lines: 4, .. }))
    );
    rig.disk.crash(Crash::LosesAll);
    assert_eq!(
        rig.rejected().len(),
        1,
        "it was written again, not only synced again"
    );
}

#[test]
fn what_a_failed_write_left_is_cut_off_at_once_or_before_the_next() {
    for truncations_that_fail in [0, 1] {
        let mut rig = rig();
        rig.disk.fail(Op::AppendState, ErrorKind::StorageFull, 0, 1);
        rig.disk.fail(
            Op::TruncateState,
            ErrorKind::Other,
            0,
            truncations_that_fail,
        );
        rig.reject(0, 1);
        rig.turn();
        let left = rig.disk.state(NAME, rejected::NAME).unwrap();
        assert_eq!(left.is_empty(), truncations_that_fail == 0);
        rig.pass(1);
        let content = rig.disk.state(NAME, rejected::NAME).unwrap();
        assert_eq!(rejected::pieces(&content).count(), 1);
        assert_eq!(rig.rejected().len(), 1);
    }
}

#[test]
fn a_flush_waits_for_lines_that_cannot_be_set_aside() {
    let mut rig = rig();
    rig.plan();
    rig.disk
        .fail(Op::AppendState, ErrorKind::StorageFull, 0, u32::MAX);
    rig.reject(0, 1);
    rig.flush(1);
    rig.pass(1);
    assert!(rig.plan().is_none());
    rig.disk.mend();
    rig.pass(10);
    assert_eq!(
        settled_lines(&rig.plan().expect("it is set aside now")),
        [1]
    );
}

#[test]
fn a_full_rejected_file_pauses_the_backend_until_there_is_room_and_checkpoints_go_on() {
    let mut rig = rig();
    rig.settings.rejected_bytes_max = 100;
    rig.send(KeeperMail::Settings(rig.settings.clone()));
    rig.reject(0, 1);
    rig.turn();
    rig.settle(0, &[0]);
    rig.reject(0, 2);
    rig.pass(10);
    assert!(rig.is_paused());
    assert_eq!(
        rig.counts().settled,
        2,
        "the limit is where no further line is begun"
    );
    rig.disk.crash(Crash::LosesNothing);
    rig.restart();
    assert_eq!(settled_lines(&rig.plan().unwrap()), [0, 1]);
}

#[test]
fn a_full_rejected_file_that_is_moved_away_lets_the_backend_go_on() {
    use crate::replay::disk::Disk;
    let mut rig = rig();
    rig.settings.rejected_bytes_max = 100;
    rig.send(KeeperMail::Settings(rig.settings.clone()));
    rig.reject(0, 1);
    rig.turn();
    rig.reject(0, 2);
    rig.pass(2);
    assert!(rig.is_paused());
    rig.disk
        .rename_state(NAME, rejected::NAME, "rejected.old")
        .unwrap();
    rig.pass(10);
    assert!(!rig.is_paused());
    assert_eq!(
        rig.rejected()
            .iter()
            .map(|line| line.line)
            .collect::<Vec<_>>(),
        [3]
    );
    rig.disk.crash(Crash::LosesAll);
    assert_eq!(
        rig.rejected().len(),
        1,
        "the new file's name is durable too"
    );
}

#[test]
fn many_lines_are_set_aside_by_one_write() {
    let mut rig = rig();
    rig.pass(1);
    (0..4).for_each(|line| rig.reject(0, line));
    let before = rig.disk.steps();
    rig.turn();
    assert_eq!(
        rig.disk.steps() - before,
        3,
        "an append, a sync, and the name of the new file"
    );
    assert_eq!(rig.rejected().len(), 4);
}

#[test]
fn a_torn_end_is_cut_off_at_the_start_and_a_missing_newline_added() {
    let mut rig = rig();
    rig.reject(0, 3);
    rig.turn();
    let whole = rig.disk.state(NAME, rejected::NAME).unwrap();
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
        rig.disk.put_state(NAME, rejected::NAME, found);
        rig.restart();
        assert_eq!(rig.disk.state(NAME, rejected::NAME).as_ref(), Some(mended));
    }
}
