//! "Synced up to here": what stood in the logs at an instant, and nothing else.

use std::sync::Arc;

use super::rig::{B, LOG, NAME, OTHER, Rig};
use crate::replay::disk::Disk;
use crate::replay::messages::{AwayLog, ControlMail, FileId, FileStart, KeeperMail};
use crate::replay::testdisk::{Crash, Op, TestDisk};
use crate::status::sync_point::PointBoard;

const NEXT: &str = "2026-11-22-16-41.log";

fn is_backend(folder: &str) -> bool {
    folder.contains(':')
}

/// Takes a point; gives its board.
fn take(rig: &mut Rig) -> Result<Arc<PointBoard>, String> {
    rig.send(KeeperMail::SyncPoint { id: 3, is_backend });
    rig.turn();
    let told = std::mem::take(&mut rig.told);
    let taken = told.into_iter().find_map(|mail| match mail {
        ControlMail::SyncPointTaken { id: 3, taken } => Some(taken),
        _ => None,
    });
    taken.expect("each question is answered")
}

/// Whether control was told that it moved since this was last asked.
fn has_moved(rig: &mut Rig) -> bool {
    let told = std::mem::take(&mut rig.told);
    let mut told = told.iter();
    told.any(|mail| matches!(mail, ControlMail::SyncPointMoved { id: 3 }))
}

/// Two logs of four lines each, the first open.
fn rig() -> Rig {
    let mut rig = Rig::new(TestDisk::default());
    rig.write_log(LOG, 4);
    rig.write_log(NEXT, 4);
    rig.open(1, LOG, FileStart::New);
    rig.segment(0, 1, 0, 4, &[]);
    rig.turn();
    rig
}

#[track_caller]
fn check_missing(point: &PointBoard, logs: u64, bytes: u64) {
    let backend = &point.backends[0];
    assert_eq!(
        (backend.missing_logs.load(), backend.missing_bytes.load()),
        (logs, bytes)
    );
}

#[track_caller]
fn check_gone(point: &PointBoard, logs: u64, bytes: u64) {
    let backend = &point.backends[0];
    assert_eq!(
        (backend.gone_logs.load(), backend.gone_bytes.load()),
        (logs, bytes)
    );
}

#[test]
fn a_point_is_settled_when_all_that_stood_in_the_logs_is_and_durably() {
    let mut rig = rig();
    let point = take(&mut rig).unwrap();
    assert_eq!(
        (&*point.backends[0].name, point.backends[0].bytes),
        (NAME, 80)
    );
    check_missing(&point, 2, 80);
    rig.settle(0, &[0, 1, 2, 3]);
    rig.pass(1);
    check_missing(&point, 1, 40);
    // What comes later does not count.
    rig.write_log(NEXT, 6);
    rig.write_log("2026-11-22-16-42.log", 1);
    rig.open(2, NEXT, FileStart::New);
    rig.segment(1, 2, 0, 4, &[]);
    rig.segment(2, 2, 4, 6, &[]);
    rig.settle(1, &[0, 1, 2, 3]);
    rig.disk
        .fail(Op::SyncState, std::io::ErrorKind::Other, 0, u32::MAX);
    rig.pass(3);
    check_missing(&point, 0, 0);
    assert_eq!(point.is_settled(None), Some(false), "it is not on disk");
    assert!(!has_moved(&mut rig));
    rig.disk.mend();
    rig.pass(10);
    assert_eq!(point.is_settled(None), Some(true));
    assert!(has_moved(&mut rig));
    rig.disk.crash(Crash::LosesAll);
    rig.restart();
    assert_eq!(rig.counts().settled, 8, "settled means on disk");
}

#[test]
fn lines_that_are_set_aside_count_as_settled_and_are_told() {
    let mut rig = rig();
    rig.disk.remove_log(NAME, NEXT);
    let point = take(&mut rig).unwrap();
    rig.settle(0, &[0, 1, 3]);
    rig.reject(0, 2);
    rig.pass(3);
    assert_eq!(point.is_settled(Some(NAME)), Some(true));
    assert_eq!(point.backends[0].set_aside.load(), 1);
}

#[test]
fn what_was_settled_before_is_settled_at_once() {
    let mut rig = rig();
    rig.disk.remove_log(NAME, NEXT);
    rig.settle(0, &[0, 1, 2, 3]);
    rig.pass(2);
    assert_eq!(take(&mut rig).unwrap().is_settled(None), Some(true));
    // The ledger of a new process, before any file is opened.
    rig.restart();
    assert_eq!(take(&mut rig).unwrap().is_settled(None), Some(true));
}

#[test]
fn a_log_that_is_deleted_when_it_is_finished_is_settled() {
    let mut rig = rig();
    rig.disk.remove_log(NAME, NEXT);
    rig.write_log(NEXT, 0);
    let point = take(&mut rig).unwrap();
    rig.settle(0, &[0, 1, 2, 3]);
    rig.send(KeeperMail::FileGone {
        backend: B,
        file: FileId(1),
    });
    rig.disk.remove_log(NAME, LOG);
    rig.pass(3);
    assert_eq!(point.is_settled(None), Some(true));
}

#[test]
fn a_log_that_goes_unsettled_is_missing_and_gone_until_it_is_back() {
    for empties in [false, true] {
        let mut rig = rig();
        rig.settle(0, &[0, 1, 2, 3]);
        let point = take(&mut rig).unwrap();
        rig.pass(2);
        check_missing(&point, 1, 40);
        if empties {
            rig.disk.truncate_log(NAME, NEXT, 0);
        } else {
            rig.disk.remove_log(NAME, NEXT);
        }
        rig.pass(30);
        assert_eq!(point.is_settled(None), Some(false), "{empties}");
        check_missing(&point, 1, 40);
        check_gone(&point, 1, 40);
    }
}

#[test]
fn a_log_with_another_name_is_the_same_log() {
    let mut rig = rig();
    rig.settle(0, &[0, 1, 2, 3]);
    let point = take(&mut rig).unwrap();
    rig.disk.publish_log(NAME, NEXT, "other.log").unwrap();
    rig.pass(5);
    check_missing(&point, 1, 40);
    rig.open(2, "other.log", FileStart::New);
    rig.segment(1, 2, 0, 4, &[]);
    rig.settle(1, &[0, 1, 2, 3]);
    rig.pass(5);
    assert_eq!(point.is_settled(None), Some(true));
}

#[test]
fn a_backend_that_has_just_come_is_waited_for_and_a_folder_that_is_none_is_not() {
    let mut rig = rig();
    rig.settle(0, &[0, 1, 2, 3]);
    rig.disk.remove_log(NAME, NEXT);
    rig.disk.append_log("10.0.0.9:8085", LOG, b"some line\n");
    rig.disk.append_log("strange", LOG, b"some line\n");
    let point = take(&mut rig).unwrap();
    let names: Vec<&str> = point
        .backends
        .iter()
        .map(|backend| &*backend.name)
        .collect();
    assert_eq!(names, ["10.0.0.9:8085", NAME]);
    rig.pass(3);
    assert_eq!(point.is_settled(Some(NAME)), Some(true));
    assert_eq!(point.is_settled(Some("10.0.0.9:8085")), Some(false));
    rig.add_backend(OTHER, "10.0.0.9:8085");
    rig.pass(3);
    assert_eq!(point.is_settled(None), Some(false), "nothing of it was fed");
    rig.disk.remove_log("10.0.0.9:8085", LOG);
    rig.pass(30);
    assert_eq!(point.is_settled(None), Some(false), "it has gone unread");
    assert_eq!(point.backends[0].gone_bytes.load(), 10);
}

#[test]
fn logs_that_cannot_be_listed_make_no_point() {
    let mut rig = rig();
    rig.disk
        .fail(Op::ReadLog, std::io::ErrorKind::PermissionDenied, 0, 1);
    let why = take(&mut rig).unwrap_err();
    assert!(why.starts_with("the logs cannot be listed: "), "{why}");
}

#[test]
fn a_point_that_is_forgotten_is_looked_at_no_more() {
    let mut rig = rig();
    let point = take(&mut rig).unwrap();
    rig.send(KeeperMail::ForgetSyncPoint { id: 3 });
    rig.settle(0, &[0, 1, 2, 3]);
    rig.pass(5);
    check_missing(&point, 2, 80);
}

#[test]
fn a_log_that_is_moved_away_does_not_hide_what_is_behind_it_and_may_come_back() {
    let mut rig = rig();
    let point = take(&mut rig).unwrap();
    // The first one is fed, and not settled; it goes, and the one behind it is delivered.
    let away = rig.disk.move_out(NAME, LOG).unwrap();
    rig.open(2, NEXT, FileStart::New);
    rig.segment(1, 2, 0, 4, &[]);
    rig.settle(1, &[0, 1, 2, 3]);
    rig.pass(30);
    check_missing(&point, 1, 40);
    check_gone(&point, 1, 40);
    rig.disk.move_in(NAME, LOG, away);
    rig.pass(30);
    check_missing(&point, 1, 40);
    check_gone(&point, 0, 0);
    rig.settle(0, &[0, 1, 2, 3]);
    rig.pass(30);
    assert_eq!(point.is_settled(None), Some(true));
}

#[test]
fn a_deleted_log_that_is_read_on_while_it_is_open_is_settled_in_the_end() {
    let mut rig = rig();
    rig.disk.remove_log(NAME, NEXT);
    let point = take(&mut rig).unwrap();
    rig.disk.remove_log(NAME, LOG);
    rig.pass(30);
    check_gone(&point, 1, 40);
    rig.settle(0, &[0, 1, 2, 3]);
    rig.send(KeeperMail::FileGone {
        backend: B,
        file: FileId(1),
    });
    rig.pass(30);
    assert_eq!(point.is_settled(None), Some(true));
}

#[test]
fn a_log_that_had_gone_before_is_missing_until_it_is_back_and_delivered() {
    for was_begun in [false, true] {
        let mut rig = rig();
        rig.settle(0, &[0, 1, 2, 3]);
        if was_begun {
            rig.open(2, NEXT, FileStart::New);
            rig.segment(1, 2, 0, 2, &[]);
            rig.settle(1, &[0, 1]);
        }
        rig.turn();
        let away = rig.take_away(NEXT);
        rig.pass(3);
        let point = take(&mut rig).unwrap();
        let missing = if was_begun { 20 } else { 40 };
        check_missing(&point, 1, missing);
        check_gone(&point, 1, missing);
        assert_eq!(point.backends[0].gone_log(), NEXT);
        rig.pass(30);
        assert_eq!(point.is_settled(None), Some(false), "{was_begun}");
        rig.disk.move_in(NAME, NEXT, away);
        rig.pass(30);
        check_gone(&point, 0, 0);
        assert_eq!(point.backends[0].gone_log(), "");
        if !was_begun {
            rig.open(2, NEXT, FileStart::New);
            rig.segment(1, 2, 0, 2, &[]);
            rig.settle(1, &[0, 1]);
        }
        rig.segment(2, 2, 2, 2, &[]);
        rig.settle(2, &[0, 1]);
        rig.pass(30);
        assert_eq!(point.is_settled(None), Some(true), "{was_begun}");
    }
}

#[test]
fn a_log_that_is_away_is_missing_for_a_day() {
    let mut rig = rig();
    rig.settle(0, &[0, 1, 2, 3]);
    rig.take_away(NEXT);
    rig.pass(24 * 3600 - 60);
    assert_eq!(take(&mut rig).unwrap().is_settled(None), Some(false));
    rig.pass(120);
    assert_eq!(take(&mut rig).unwrap().is_settled(None), Some(true));
}

#[test]
fn a_log_that_was_delivered_may_go() {
    let mut rig = rig();
    rig.settle(0, &[0, 1, 2, 3]);
    rig.turn();
    let name = LOG.into();
    rig.take_away(LOG);
    rig.send(KeeperMail::FileMoved {
        backend: B,
        file: FileId(1),
        name,
        away_unix: rig.now.unix,
    });
    rig.disk.remove_log(NAME, NEXT);
    rig.pass(3);
    assert_eq!(take(&mut rig).unwrap().is_settled(None), Some(true));
}

#[test]
fn what_was_in_flight_when_its_log_went_is_missing_until_it_is_settled() {
    let mut rig = rig();
    rig.disk.remove_log(NAME, NEXT);
    rig.turn();
    rig.take_away(LOG);
    let point = take(&mut rig).unwrap();
    check_gone(&point, 1, 40);
    rig.settle(0, &[0, 1, 2, 3]);
    rig.send(KeeperMail::FileMoved {
        backend: B,
        file: FileId(1),
        name: LOG.into(),
        away_unix: rig.now.unix,
    });
    rig.pass(5);
    assert_eq!(point.is_settled(None), Some(true));
}

#[test]
fn a_log_that_we_have_deleted_is_not_missed_however_late_it_is_told_of() {
    let mut rig = rig();
    rig.disk.remove_log(NAME, NEXT);
    let meta = rig.disk.meta_of(NAME, LOG).unwrap();
    rig.settle(0, &[0, 1, 2, 3]);
    rig.pass(200);
    assert_eq!(rig.disk.meta_of(NAME, LOG), None, "it is finished");
    // A flush came first, so that the feeder does not know what became of it.
    rig.flush(1);
    rig.turn();
    rig.send(KeeperMail::LogAway(AwayLog {
        backend: B,
        name: LOG.into(),
        device: meta.device,
        inode: meta.inode,
        born_nanos: meta.born_nanos,
        bytes: meta.bytes,
    }));
    rig.turn();
    assert_eq!(take(&mut rig).unwrap().is_settled(None), Some(true));
}

#[test]
fn lines_that_an_earlier_process_had_read_of_a_log_that_is_away_are_missing() {
    let mut rig = rig();
    rig.settle(0, &[0, 1]);
    rig.disk.remove_log(NAME, NEXT);
    rig.pass(5);
    rig.disk.move_out(NAME, LOG).unwrap();
    rig.restart();
    let point = take(&mut rig).unwrap();
    check_gone(&point, 1, 2);
    assert_eq!(point.is_settled(None), Some(false));
}
