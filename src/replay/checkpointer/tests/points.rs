//! "Synced up to here": what stood in the logs at an instant, and nothing else.

use std::sync::atomic::Ordering;

use super::fixture::{B, Fixture, LINE, LOG, NAME, OTHER};
use crate::replay::disk::Area;
use crate::replay::disk::Disk;
use crate::replay::messages::{
    AwayLog, BackendMessage, CheckpointerMessage, ControlMessage, EntriesMoved, FileId, FileStart,
    FinishedLog,
};
use crate::replay::testdisk::{Crash, Op, TestDisk};
use crate::status::control_request::Listed;
use crate::status::sync_point::{Listing, PointBoard};

const NEXT: &str = "2026-11-22-16-41.log";

/// Whether control was told that it moved since this was last asked.
fn has_moved(fixture: &mut Fixture) -> bool {
    let told = std::mem::take(&mut fixture.told);
    let mut told = told.iter();
    told.any(|message| matches!(message, ControlMessage::SyncPointMoved))
}

/// Two logs of four lines each, the first open.
fn fixture() -> Fixture {
    let mut fixture = Fixture::new(TestDisk::default());
    fixture.write_log(LOG, 4);
    fixture.write_log(NEXT, 4);
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(0, 1, 0, 4, &[]);
    fixture.turn();
    fixture
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

/// What the first backend's folder had.
fn listing(point: &PointBoard) -> Listing {
    point.backends[0].listing().unwrap().clone()
}

/// Whether all but what is gone is settled, durably.
fn is_rest_settled(point: &PointBoard) -> bool {
    point.backends[0].rest_settled.load(Ordering::Acquire)
}

#[test]
fn what_is_there_is_settled_when_it_is_on_disk_whatever_is_gone() {
    let mut fixture = fixture();
    fixture.take_away(NEXT);
    let point = fixture.take_point().unwrap();
    fixture.pass(3);
    assert!(!is_rest_settled(&point));
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.disk.fail(
        Op::Sync(Area::State),
        std::io::ErrorKind::Other,
        0,
        u32::MAX,
    );
    fixture.pass(3);
    check_missing(&point, 1, 40);
    check_gone(&point, 1, 40);
    assert!(!is_rest_settled(&point), "it is not on disk");
    fixture.disk.mend();
    fixture.pass(10);
    assert!(is_rest_settled(&point));
    assert_eq!(point.is_settled(None), Some(false));
}

#[test]
fn a_point_is_settled_when_all_that_stood_in_the_logs_is_and_durably() {
    let mut fixture = fixture();
    let point = fixture.take_point().unwrap();
    assert_eq!(
        (&*point.backends[0].name, listing(&point).bytes),
        (NAME, 80)
    );
    check_missing(&point, 2, 80);
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.pass(1);
    check_missing(&point, 1, 40);
    // What comes later does not count.
    fixture.write_log(NEXT, 6);
    fixture.write_log("2026-11-22-16-42.log", 1);
    fixture.open(2, NEXT, FileStart::New);
    fixture.segment(1, 2, 0, 4, &[]);
    fixture.segment(2, 2, 4, 6, &[]);
    fixture.settle(1, &[0, 1, 2, 3]);
    fixture.disk.fail(
        Op::Sync(Area::State),
        std::io::ErrorKind::Other,
        0,
        u32::MAX,
    );
    fixture.pass(3);
    check_missing(&point, 0, 0);
    assert_eq!(point.is_settled(None), Some(false), "it is not on disk");
    assert!(!has_moved(&mut fixture));
    fixture.disk.mend();
    fixture.pass(10);
    assert_eq!(point.is_settled(None), Some(true));
    assert!(has_moved(&mut fixture));
    fixture.disk.crash(Crash::LosesAll);
    fixture.restart();
    assert_eq!(fixture.counts().settled, 8, "settled means on disk");
}

#[test]
fn where_keys_are_compared_a_point_is_settled_once_those_of_its_logs_are() {
    let mut fixture = fixture();
    fixture.compare_keys();
    let point = fixture.take_point().unwrap();
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.open(2, NEXT, FileStart::New);
    fixture.segment(1, 2, 0, 4, &[]);
    fixture.settle(1, &[0, 1, 2, 3]);
    fixture.pass(5);
    check_missing(&point, 0, 0);
    assert_eq!(point.is_settled(None), Some(false), "they may still grow");
    fixture.pass(200);
    let logs = fixture.to_compare();
    let names: Vec<&str> = logs.iter().map(|log| &*log.name).collect();
    assert_eq!(names, [LOG, NEXT]);
    assert_eq!(point.is_settled(None), Some(false));
    let (waiting, since) = fixture.uncompared();
    assert_eq!(waiting, 2);
    let age = fixture.now.unix - since;
    assert!(
        (100..=130).contains(&age),
        "they were quiet for 80 s: {age}"
    );

    let compare = |fixture: &mut Fixture, file: u64, log: &FinishedLog| {
        fixture.send(CheckpointerMessage::Compared {
            backend: B,
            logs: vec![log.clone()],
        });
        fixture.pass(10);
        assert_eq!(fixture.disk.log(NAME, &log.name), None, "it is deleted");
        // The reader releases it.
        fixture.tell_gone(file);
        fixture.pass(10);
    };
    compare(&mut fixture, 1, &logs[0]);
    assert_eq!(point.is_settled(None), Some(false), "one is left");
    assert!(!has_moved(&mut fixture));
    compare(&mut fixture, 2, &logs[1]);
    assert_eq!(point.is_settled(None), Some(true));
    assert!(has_moved(&mut fixture));
    assert_eq!(fixture.uncompared(), (0, 0));
    assert_eq!(fixture.to_compare(), []);
}

#[test]
fn lines_that_are_rejected_count_as_settled_and_are_told() {
    let mut fixture = fixture();
    fixture.disk.remove_log(NAME, NEXT);
    let point = fixture.take_point().unwrap();
    fixture.settle(0, &[0, 1, 3]);
    fixture.reject(0, 2);
    fixture.pass(3);
    assert_eq!(point.is_settled(Some(NAME)), Some(true));
    assert_eq!(point.backends[0].rejected.load(), 1);
}

#[test]
fn a_log_that_nfs_keeps_for_who_has_it_open_is_waited_for() {
    let mut fixture = fixture();
    fixture.disk.remove_log(NAME, NEXT);
    fixture.disk.rename_log(NAME, LOG, ".nfs0001");
    // What this one was nobody knows: it may be a log that was finished.
    fixture.write_log(".nfs0002", 4);
    let point = fixture.take_point().unwrap();
    check_missing(&point, 1, 40);
    assert_eq!(listing(&point).hidden, Some((".nfs0002".into(), 1)));
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.pass(3);
    assert_eq!(point.is_settled(None), Some(true));
}

#[test]
fn a_log_that_nfs_keeps_and_that_was_never_begun_is_waited_for_while_this_process_knows_it() {
    let mut fixture = fixture();
    fixture.disk.rename_log(NAME, NEXT, ".nfs0001");
    let meta = fixture.disk.meta_of(NAME, ".nfs0001").unwrap();
    fixture.send(CheckpointerMessage::LogAway(AwayLog {
        backend: B,
        name: NEXT.into(),
        key: meta.key(),
        bytes: meta.bytes,
        unread_bytes: meta.bytes,
    }));
    fixture.turn();
    let point = fixture.take_point().unwrap();
    check_missing(&point, 2, 80);
    assert_eq!(listing(&point).hidden, None);
    assert_eq!(
        listing(&fixture.take_point().unwrap()).hidden,
        None,
        "nor the next time"
    );
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.pass(5);
    assert_eq!(point.is_settled(None), Some(false));
    check_gone(&point, 0, 0);
}

#[test]
fn a_finished_log_that_somebody_has_open_is_not_told_of() {
    let mut fixture = fixture();
    fixture.disk.remove_log(NAME, NEXT);
    fixture.settle(0, &[0, 1, 2, 3]);
    let meta = fixture.disk.meta_of(NAME, LOG).unwrap();
    fixture.pass(200);
    assert_eq!(fixture.disk.meta_of(NAME, LOG), None, "it is finished");
    fixture.disk.name_log(NAME, ".nfs0001", &meta);
    fixture.tell_gone(1);
    fixture.turn();
    assert_eq!(listing(&fixture.take_point().unwrap()).hidden, None);
    fixture.disk.remount();
    assert_eq!(listing(&fixture.take_point().unwrap()).hidden, None);
    // The next process knows nothing of it.
    fixture.restart();
    let hidden = listing(&fixture.take_point().unwrap()).hidden;
    assert_eq!(hidden, Some((".nfs0001".into(), 1)));
}

#[test]
fn what_was_settled_before_is_settled_at_once() {
    let mut fixture = fixture();
    fixture.disk.remove_log(NAME, NEXT);
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.pass(2);
    assert_eq!(fixture.take_point().unwrap().is_settled(None), Some(true));
    // The ledger of a new process, before any file is opened.
    fixture.restart();
    assert_eq!(fixture.take_point().unwrap().is_settled(None), Some(true));
}

#[test]
fn a_log_that_is_deleted_when_it_is_finished_is_settled() {
    let mut fixture = fixture();
    fixture.disk.remove_log(NAME, NEXT);
    fixture.write_log(NEXT, 0);
    let point = fixture.take_point().unwrap();
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.tell_gone(1);
    fixture.disk.remove_log(NAME, LOG);
    fixture.pass(3);
    assert_eq!(point.is_settled(None), Some(true));
}

#[test]
fn a_log_that_goes_unsettled_is_missing_and_gone_until_it_is_back() {
    for empties in [false, true] {
        let mut fixture = fixture();
        fixture.settle(0, &[0, 1, 2, 3]);
        let point = fixture.take_point().unwrap();
        fixture.pass(2);
        check_missing(&point, 1, 40);
        if empties {
            fixture.disk.truncate_log(NAME, NEXT, 0);
        } else {
            fixture.disk.remove_log(NAME, NEXT);
        }
        fixture.pass(30);
        assert_eq!(point.is_settled(None), Some(false), "{empties}");
        check_missing(&point, 1, 40);
        check_gone(&point, 1, 40);
    }
}

#[test]
fn a_log_with_another_name_is_the_same_log() {
    let mut fixture = fixture();
    fixture.settle(0, &[0, 1, 2, 3]);
    let point = fixture.take_point().unwrap();
    fixture
        .disk
        .rename(Area::Logs, NAME, NEXT, "other.log")
        .unwrap();
    fixture.pass(5);
    check_missing(&point, 1, 40);
    fixture.open(2, "other.log", FileStart::New);
    fixture.segment(1, 2, 0, 4, &[]);
    fixture.settle(1, &[0, 1, 2, 3]);
    fixture.pass(5);
    assert_eq!(point.is_settled(None), Some(true));
}

#[test]
fn a_log_whose_device_has_another_number_is_the_same_log() {
    let mut fixture = fixture();
    let point = fixture.take_point().unwrap();
    fixture.disk.remount();
    fixture.pass(30);
    check_missing(&point, 2, 80);
    check_gone(&point, 0, 0);
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.pass(5);
    assert!(!is_rest_settled(&point), "the other log is there");
    // The ledger knows it by the new number, and forgets it once it is delivered.
    deliver(&mut fixture, 2, 4);
    fixture.disk.remove_log(NAME, NEXT);
    fixture.tell_gone(2);
    fixture.pass(5);
    assert_eq!(point.is_settled(None), Some(true));
}

/// File systems number their files each for itself, and not all keep birth times.
#[test]
fn another_backend_s_log_with_the_same_inode_is_another_log() {
    const SECOND: &str = "127.0.0.2:9998";
    let mut fixture = fixture();
    fixture.add_backend(OTHER, SECOND);
    fixture.disk.remove_log(NAME, NEXT);
    let meta = fixture.disk.meta_of(NAME, LOG).unwrap();
    fixture.disk.name_log(SECOND, LOG, &meta);
    let point = fixture.take_point().unwrap();
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.disk.remove_log(NAME, LOG);
    fixture.tell_gone(1);
    fixture.pass(30);
    assert_eq!(point.is_settled(Some(NAME)), Some(true));
    assert_eq!(point.is_settled(Some(SECOND)), Some(false));
    check_listed(&point, 1, 40);
    // A copy of the first one's log is none of the second one's.
    fixture.disk.remove_log(SECOND, LOG);
    let (backend, key, copy) = (B, meta.key(), (1, 1));
    fixture.send(CheckpointerMessage::LogCopied { backend, key, copy });
    fixture.pass(30);
    assert_eq!(point.backends[1].gone_bytes.load(), 40);
}

#[test]
fn a_backend_that_has_just_come_is_waited_for_and_a_folder_that_is_none_is_not() {
    let mut fixture = fixture();
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.disk.remove_log(NAME, NEXT);
    fixture
        .disk
        .append_log("10.0.0.9:8085", LOG, b"some line\n");
    fixture.disk.append_log("strange", LOG, b"some line\n");
    let point = fixture.take_point().unwrap();
    let names: Vec<&str> = point
        .backends
        .iter()
        .map(|backend| &*backend.name)
        .collect();
    assert_eq!(names, ["10.0.0.9:8085", NAME]);
    fixture.pass(3);
    assert_eq!(point.is_settled(Some(NAME)), Some(true));
    assert_eq!(point.is_settled(Some("10.0.0.9:8085")), Some(false));
    fixture.add_backend(OTHER, "10.0.0.9:8085");
    fixture.pass(3);
    assert_eq!(point.is_settled(None), Some(false), "nothing of it was fed");
    fixture.disk.remove_log("10.0.0.9:8085", LOG);
    fixture.pass(30);
    assert_eq!(point.is_settled(None), Some(false), "it has gone unread");
    assert_eq!(point.backends[0].gone_bytes.load(), 10);
}

#[test]
fn logs_that_cannot_be_listed_make_no_point() {
    let mut fixture = fixture();
    fixture.disk.fail(
        Op::Look(Area::Logs),
        std::io::ErrorKind::PermissionDenied,
        0,
        1,
    );
    let why = fixture.take_point().unwrap_err();
    assert!(why.starts_with("the logs cannot be listed: "), "{why}");
}

#[test]
fn a_folder_that_cannot_be_listed_holds_up_its_own_backend_alone() {
    const SECOND: &str = "127.0.0.2:9998";
    let mut fixture = fixture();
    fixture.disk.append_log(SECOND, LOG, LINE);
    // One look lists the folders, then each of them: the first one's is read, the second's is not.
    fixture.disk.fail(
        Op::Look(Area::Logs),
        std::io::ErrorKind::PermissionDenied,
        2,
        u32::MAX,
    );
    let point = fixture.take_point().unwrap();
    check_missing(&point, 2, 80);
    assert_eq!(point.is_settled(Some(SECOND)), Some(false));
    assert_eq!(point.backends[1].listing(), None);
    fixture.disk.mend();
    deliver(&mut fixture, 2, 4);
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.pass(5);
    assert_eq!(point.is_settled(Some(NAME)), Some(true));
    // What it has when it can be listed again is its part of the point.
    check_listed(&point, 1, 10);
    assert_eq!(point.is_settled(Some(SECOND)), Some(false));
    fixture.add_backend(OTHER, SECOND);
    fixture.disk.remove_log(SECOND, LOG);
    fixture.pass(30);
    assert_eq!(point.is_settled(Some(SECOND)), Some(false));
    assert_eq!(point.backends[1].gone_bytes.load(), 10);
}

#[track_caller]
fn check_listed(point: &PointBoard, logs: u64, bytes: u64) {
    let listing = point.backends[1].listing().expect("it is listed by now");
    assert_eq!((listing.logs, listing.bytes), (logs, bytes));
}

#[test]
fn a_folder_that_is_empty_once_it_can_be_listed_is_settled() {
    let mut fixture = fixture();
    fixture.disk.remove_log(NAME, LOG);
    fixture.disk.remove_log(NAME, NEXT);
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.tell_gone(1);
    fixture.pass(3);
    fixture.disk.fail(
        Op::Look(Area::Logs),
        std::io::ErrorKind::PermissionDenied,
        1,
        u32::MAX,
    );
    let point = fixture.take_point().unwrap();
    fixture.pass(30);
    assert_eq!(point.is_settled(None), Some(false));
    fixture.disk.mend();
    fixture.pass(5);
    assert_eq!(point.is_settled(None), Some(true));
}

#[test]
fn a_point_that_is_forgotten_is_looked_at_no_more() {
    let mut fixture = fixture();
    let point = fixture.take_point().unwrap();
    fixture.send(CheckpointerMessage::ForgetSyncPoint { id: 3 });
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.pass(5);
    check_missing(&point, 2, 80);
}

#[test]
fn a_log_that_is_moved_away_does_not_hide_what_is_behind_it_and_may_come_back() {
    let mut fixture = fixture();
    let point = fixture.take_point().unwrap();
    // The first one is fed, and not settled; it goes, and the one behind it is delivered.
    let away = fixture.disk.move_out(NAME, LOG).unwrap();
    fixture.open(2, NEXT, FileStart::New);
    fixture.segment(1, 2, 0, 4, &[]);
    fixture.settle(1, &[0, 1, 2, 3]);
    fixture.pass(30);
    check_missing(&point, 1, 40);
    check_gone(&point, 1, 40);
    fixture.disk.move_in(NAME, LOG, away);
    fixture.pass(30);
    check_missing(&point, 1, 40);
    check_gone(&point, 0, 0);
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.pass(30);
    assert_eq!(point.is_settled(None), Some(true));
}

#[test]
fn a_deleted_log_that_is_read_on_while_it_is_open_is_settled_in_the_end() {
    let mut fixture = fixture();
    fixture.disk.remove_log(NAME, NEXT);
    let point = fixture.take_point().unwrap();
    fixture.disk.remove_log(NAME, LOG);
    fixture.pass(30);
    check_gone(&point, 1, 40);
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.tell_gone(1);
    fixture.pass(30);
    assert_eq!(point.is_settled(None), Some(true));
}

#[test]
fn a_log_that_had_gone_before_is_missing_until_it_is_back_and_delivered() {
    for was_begun in [false, true] {
        let mut fixture = fixture();
        fixture.settle(0, &[0, 1, 2, 3]);
        if was_begun {
            fixture.open(2, NEXT, FileStart::New);
            fixture.segment(1, 2, 0, 2, &[]);
            fixture.settle(1, &[0, 1]);
        }
        fixture.turn();
        let away = fixture.take_away(NEXT);
        fixture.pass(3);
        let point = fixture.take_point().unwrap();
        let missing = if was_begun { 20 } else { 40 };
        check_missing(&point, 1, missing);
        check_gone(&point, 1, missing);
        assert_eq!(point.backends[0].gone_log.load(), NEXT);
        fixture.pass(30);
        assert_eq!(point.is_settled(None), Some(false), "{was_begun}");
        assert!(is_rest_settled(&point));
        fixture.disk.move_in(NAME, NEXT, away);
        fixture.pass(30);
        check_gone(&point, 0, 0);
        assert_eq!(point.backends[0].gone_log.load(), "");
        assert!(!is_rest_settled(&point), "it is back");
        if !was_begun {
            fixture.open(2, NEXT, FileStart::New);
            fixture.segment(1, 2, 0, 2, &[]);
            fixture.settle(1, &[0, 1]);
        }
        fixture.segment(2, 2, 2, 2, &[]);
        fixture.settle(2, &[0, 1]);
        fixture.pass(30);
        assert_eq!(point.is_settled(None), Some(true), "{was_begun}");
    }
}

/// The second log is replaced under its name by a file of `lines` lines. Gives the new one's key.
fn replace(fixture: &mut Fixture, lines: u64) -> (u64, u64) {
    let key = fixture.disk.meta_of(NAME, NEXT).unwrap().key();
    fixture.take_away(NEXT);
    fixture.write_log(NEXT, lines);
    let copy = fixture.disk.meta_of(NAME, NEXT).unwrap().key();
    let backend = B;
    fixture.send(CheckpointerMessage::LogCopied { backend, key, copy });
    fixture.turn();
    copy
}

/// All lines of the second log, under the number `file`, are delivered as this segment.
fn deliver(fixture: &mut Fixture, file: u64, lines: u32) {
    fixture.open(file, NEXT, FileStart::New);
    fixture.segment(file, file, 0, lines, &[]);
    let all: Vec<u32> = (0..lines).collect();
    fixture.settle(file, &all);
}

#[test]
fn a_replaced_log_is_missing_until_its_copy_is_delivered() {
    for (was_taken, is_read_before) in [(false, false), (true, false), (false, true)] {
        let mut fixture = fixture();
        fixture.settle(0, &[0, 1, 2, 3]);
        if is_read_before {
            fixture.open(2, NEXT, FileStart::New);
            fixture.segment(1, 2, 0, 4, &[]);
            fixture.settle(1, &[0]);
        }
        fixture.turn();
        let taken = was_taken.then(|| fixture.take_point().unwrap());
        replace(&mut fixture, 5);
        if is_read_before {
            fixture.tell(BackendMessage::FileMoved {
                file: FileId(2),
                name: NEXT.into(),
                away_unix: fixture.now.unix,
            });
            fixture.flush(1);
        }
        let point = taken.unwrap_or_else(|| fixture.take_point().unwrap());
        fixture.pass(30);
        assert_eq!(point.is_settled(None), Some(false), "{was_taken}");
        // What it had is in its copy, and comes.
        check_gone(&point, 0, 0);
        deliver(&mut fixture, 3, 5);
        fixture.pass(5);
        assert_eq!(point.is_settled(None), Some(true), "{was_taken}");
        // Nor is it missed by who asks later, once the copy has been deleted.
        fixture.pass(200);
        assert_eq!(fixture.disk.meta_of(NAME, NEXT), None);
        assert_eq!(fixture.take_point().unwrap().is_settled(None), Some(true));
    }
}

#[test]
fn a_log_that_is_replaced_again_is_missing_until_the_last_copy_is_delivered() {
    let mut fixture = fixture();
    fixture.settle(0, &[0, 1, 2, 3]);
    replace(&mut fixture, 4);
    let point = fixture.take_point().unwrap();
    replace(&mut fixture, 4);
    fixture.pass(5);
    check_gone(&point, 0, 0);
    deliver(&mut fixture, 3, 4);
    fixture.pass(5);
    assert_eq!(point.is_settled(None), Some(true));
}

#[test]
fn a_log_that_is_away_is_missing_for_a_day() {
    let mut fixture = fixture();
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.take_away(NEXT);
    fixture.pass(24 * 3600 - 60);
    assert_eq!(fixture.take_point().unwrap().is_settled(None), Some(false));
    fixture.pass(120);
    assert_eq!(fixture.take_point().unwrap().is_settled(None), Some(true));
}

#[test]
fn a_log_that_was_delivered_may_go() {
    let mut fixture = fixture();
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.turn();
    let name = LOG.into();
    fixture.take_away(LOG);
    fixture.tell(BackendMessage::FileMoved {
        file: FileId(1),
        name,
        away_unix: fixture.now.unix,
    });
    fixture.disk.remove_log(NAME, NEXT);
    fixture.pass(3);
    assert_eq!(fixture.take_point().unwrap().is_settled(None), Some(true));
}

#[test]
fn what_was_in_flight_when_its_log_went_is_missing_until_it_is_settled() {
    let mut fixture = fixture();
    fixture.disk.remove_log(NAME, NEXT);
    fixture.turn();
    fixture.take_away(LOG);
    let point = fixture.take_point().unwrap();
    check_gone(&point, 1, 40);
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.tell(BackendMessage::FileMoved {
        file: FileId(1),
        name: LOG.into(),
        away_unix: fixture.now.unix,
    });
    fixture.pass(5);
    assert_eq!(point.is_settled(None), Some(true));
}

#[test]
fn a_log_that_we_have_deleted_is_not_missed_however_late_it_is_told_of() {
    let mut fixture = fixture();
    fixture.disk.remove_log(NAME, NEXT);
    let meta = fixture.disk.meta_of(NAME, LOG).unwrap();
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.pass(200);
    assert_eq!(fixture.disk.meta_of(NAME, LOG), None, "it is finished");
    // A flush came first, so that the reader does not know what became of it.
    fixture.flush(1);
    fixture.turn();
    fixture.send(CheckpointerMessage::LogAway(AwayLog {
        backend: B,
        name: LOG.into(),
        key: meta.key(),
        bytes: meta.bytes,
        unread_bytes: 0,
    }));
    fixture.turn();
    assert_eq!(fixture.take_point().unwrap().is_settled(None), Some(true));
}

/// A file system without birth times gives the next log the inode of a deleted one.
#[test]
fn a_log_that_has_the_inode_of_one_that_we_have_deleted_is_missed() {
    let mut fixture = fixture();
    fixture.disk.remove_log(NAME, NEXT);
    let meta = fixture.disk.meta_of(NAME, LOG).unwrap();
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.pass(200);
    assert_eq!(fixture.disk.meta_of(NAME, LOG), None, "it is finished");
    fixture.tell_gone(1);
    fixture.send(CheckpointerMessage::LogAway(AwayLog {
        backend: B,
        name: NEXT.into(),
        key: meta.key(),
        bytes: 40,
        unread_bytes: 40,
    }));
    fixture.turn();
    assert_eq!(away(&fixture), (1, 40, Some(NEXT.to_owned())));
    let point = fixture.take_point().unwrap();
    check_gone(&point, 1, 40);
    assert_eq!(point.is_settled(None), Some(false));
}

#[test]
fn lines_that_an_earlier_process_had_read_of_a_log_that_is_away_are_missing() {
    let mut fixture = fixture();
    fixture.settle(0, &[0, 1]);
    fixture.disk.remove_log(NAME, NEXT);
    fixture.pass(5);
    let meta = fixture.disk.meta_of(NAME, LOG).unwrap();
    fixture.disk.move_out(NAME, LOG).unwrap();
    fixture.restart();
    let point = fixture.take_point().unwrap();
    check_gone(&point, 1, 2);
    assert_eq!(point.is_settled(None), Some(false));
    // It was replaced meanwhile.
    fixture.write_log(LOG, 4);
    let copy = fixture.disk.meta_of(NAME, LOG).unwrap().key();
    let (backend, key) = (B, meta.key());
    fixture.send(CheckpointerMessage::LogCopied { backend, key, copy });
    fixture.open(2, LOG, FileStart::New);
    fixture.segment(1, 2, 0, 4, &[]);
    fixture.pass(5);
    assert_eq!(point.is_settled(None), Some(false));
    fixture.settle(1, &[0, 1, 2, 3]);
    fixture.pass(5);
    for point in [point, fixture.take_point().unwrap()] {
        assert_eq!(point.is_settled(None), Some(true));
    }
}

/// What the counters say is away, and the first log that the controller was told of.
fn away(fixture: &Fixture) -> (u64, u64, Option<String>) {
    let told = fixture.told.iter().rev();
    let first = told.filter_map(|message| match message {
        ControlMessage::LogsAway { first, .. } => Some(first.as_deref().map(str::to_owned)),
        _ => None,
    });
    let counts = fixture.counts();
    (
        counts.away_logs,
        counts.away_bytes,
        first.into_iter().next().flatten(),
    )
}

#[test]
fn what_leaves_its_folder_undelivered_is_counted_until_it_is_back_or_delivered() {
    let mut fixture = fixture();
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.turn();
    assert_eq!(away(&fixture), (0, 0, None));
    let taken = fixture.take_away(NEXT);
    fixture.turn();
    assert_eq!(away(&fixture), (1, 40, Some(NEXT.to_owned())));
    fixture.disk.move_in(NAME, NEXT, taken);
    fixture.pass(6);
    assert_eq!(away(&fixture), (0, 0, None));
    // A log that was delivered may go.
    fixture.take_away(LOG);
    fixture.pass(6);
    assert_eq!(away(&fixture), (0, 0, None));
}

#[test]
fn logs_are_listed_in_the_order_of_replay_after_those_that_are_gone() {
    let mut fixture = fixture();
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.turn();
    fixture.take_away(NEXT);
    for minute in 0..150 {
        fixture.write_log(
            &format!("2026-11-23-{:02}-{:02}.log", minute / 60, minute % 60),
            1,
        );
    }
    fixture.send(CheckpointerMessage::ListLogs { backend: B, ask: 8 });
    fixture.turn();
    let told = std::mem::take(&mut fixture.told);
    let mut lists = told.into_iter().filter_map(|message| match message {
        ControlMessage::Listed {
            ask: 8,
            listed: Ok(Listed::Logs(list)),
        } => Some(list),
        _ => None,
    });
    let list = lists.next().expect("each question is answered");
    assert_eq!((list.logs.len(), list.more), (100, 52));
    let shown = |nth: usize| {
        let log = &list.logs[nth];
        (&*log.name, log.bytes, log.completed_bytes, log.gone)
    };
    assert_eq!(shown(0), (NEXT, 40, 0, true));
    assert_eq!(shown(1), (LOG, 40, 40, false));
    assert_eq!(shown(2), ("2026-11-23-00-00.log", 10, 0, false));
}

#[test]
fn what_has_left_counts_for_a_day_and_a_copy_counts_as_there() {
    let mut fixture = fixture();
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.take_away(NEXT);
    fixture.pass(24 * 3600 - 60);
    assert_eq!(away(&fixture), (1, 40, Some(NEXT.to_owned())));
    fixture.pass(120);
    assert_eq!(away(&fixture), (0, 0, None));
    fixture.write_log(NEXT, 4);
    replace(&mut fixture, 5);
    fixture.pass(6);
    assert_eq!(away(&fixture), (0, 0, None), "its copy has all of it");
}

#[test]
fn what_an_earlier_process_had_read_of_a_log_that_has_left_since_is_counted() {
    let mut fixture = fixture();
    fixture.settle(0, &[0, 1]);
    fixture.pass(5);
    fixture.disk.move_out(NAME, LOG).unwrap();
    fixture.restart();
    fixture.pass(6);
    assert_eq!(
        away(&fixture),
        (0, 0, None),
        "the reader has not looked yet"
    );
    fixture.tell(BackendMessage::EntriesMoved(EntriesMoved {
        files: vec![(0, fixture.now.unix)],
        legacy: Vec::new(),
    }));
    fixture.pass(6);
    // Two lines, of which only the number is known.
    assert_eq!(away(&fixture), (1, 2, Some(LOG.to_owned())));
}
