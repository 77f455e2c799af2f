//! Files that shrink, are replaced or deleted under us, and disks that refuse.

use std::io;
use std::time::Duration;

use super::fixture::{A, B, BOUNDS, Fixture, put, put_value, puts, settings};
use crate::replay::disk::Area;
use crate::replay::messages::{ControlMessage, ReaderMessage};
use crate::replay::reader::Turn;
use crate::replay::testdisk::Op;

const SECOND: Duration = Duration::from_secs(1);

fn fixture() -> Fixture {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.run();
    fixture.append(A, "01", &puts(["a", "b", "c"]));
    fixture.run();
    fixture
}

fn lines(fixture: &Fixture) -> Vec<String> {
    fixture.got[&A].iter().map(|got| got.key.clone()).collect()
}

#[test]
fn a_file_that_shrank_below_what_was_read_is_read_again_as_a_new_one() {
    let mut fixture = fixture();
    let first = fixture.opened[0].file;
    fixture.disk.truncate_log("a:1", "01", put("a").len());
    fixture.hint_grew(A);
    fixture.run();
    assert_eq!(fixture.gone, [first]);
    assert_eq!(lines(&fixture)[3..], ["a"]);
    assert!(
        fixture.got[&A][3].maybe_sent,
        "it was sent before the file shrank"
    );
}

/// A log of 40 lines, of which some were read; gives how many bytes were not.
fn half_read() -> (Fixture, u64) {
    let mut few = settings();
    few.in_flight_per_backend = 4;
    let mut fixture = Fixture::with(few, BOUNDS, 64);
    fixture.know(&["a:1"]);
    fixture.stuck.push(A);
    fixture.append(A, "01", &puts((0..40).map(|n| format!("old{n:02}"))));
    fixture.run();
    let unread = puts(["old00"]).len() * (40 - lines(&fixture).len());
    (fixture, unread as u64)
}

#[test]
fn a_file_that_is_emptied_is_told_with_its_bytes_that_were_not_read() {
    for anew in [0, 10, 100] {
        let (mut fixture, unread) = half_read();
        let first = fixture.opened[0].file;
        let bytes = fixture.disk.meta_of("a:1", "01").unwrap().bytes;
        assert!(0 < unread && unread < bytes);
        fixture.disk.truncate_log("a:1", "01", 0);
        fixture.append(A, "01", &puts((0..anew).map(|n| format!("new{n:02}"))));
        fixture.stuck.clear();
        fixture.hint_grew(A);
        fixture.run_for(2 * SECOND);
        assert_eq!(fixture.gone, [first]);
        assert_eq!(fixture.away[0], ("01".to_owned(), bytes), "{anew}");
        // It may look cut at first: what is left of it is of the new one.
        let told = fixture.unread.iter().map(|(_, bytes)| *bytes);
        assert_eq!(told.sum::<u64>(), unread, "{anew}");
    }
}

#[test]
fn what_is_left_of_a_file_that_was_cut_below_what_was_read_is_not_told_to_be_lost() {
    let (mut fixture, unread) = half_read();
    let read = puts((0..40).map(|n| format!("old{n:02}"))).len() as u64 - unread;
    fixture.disk.truncate_log("a:1", "01", read as usize - 1);
    fixture.hint_grew(A);
    fixture.run_for(2 * SECOND);
    assert_eq!(fixture.unread, [("01".to_owned(), unread)]);
    let mut fixture = self::fixture();
    fixture.disk.truncate_log("a:1", "01", put("a").len());
    fixture.hint_grew(A);
    fixture.run_for(2 * SECOND);
    assert_eq!(fixture.unread, [], "all of it was read");
}

#[test]
fn a_file_that_lost_only_what_was_not_read_goes_on() {
    let mut fixture = fixture();
    fixture.append(A, "01", b"[half a line");
    fixture.run();
    fixture
        .disk
        .truncate_log("a:1", "01", puts(["a", "b", "c"]).len());
    fixture.append(A, "01", &put("d"));
    fixture.run();
    assert!(fixture.gone.is_empty() && fixture.rejected.is_empty());
    assert_eq!(fixture.keys(A), ["a", "b", "c", "d"]);
}

#[test]
fn a_file_that_was_written_anew_at_once_is_told_by_its_first_bytes() {
    let mut fixture = fixture();
    fixture.disk.truncate_log("a:1", "01", 0);
    fixture.append(A, "01", &puts((0..100).map(|n| format!("key{n}"))));
    fixture.run();
    assert_eq!(fixture.gone.len(), 1);
    assert_eq!(lines(&fixture).len(), 103);
}

#[test]
fn a_long_file_that_was_emptied_and_grew_beyond_what_was_read_is_a_new_one() {
    let mut fixture = fixture();
    fixture.append(A, "01", &puts((0..200).map(|n| format!("old{n}"))));
    fixture.run();
    let before = lines(&fixture).len();
    fixture.disk.truncate_log("a:1", "01", 0);
    fixture.append(A, "01", &puts((0..400).map(|n| format!("new{n}"))));
    fixture.run();
    assert_eq!(fixture.gone.len(), 1);
    assert!(fixture.rejected.is_empty());
    assert_eq!(lines(&fixture).len() - before, 400);
}

/// Its first 4 KiB are as before.
#[test]
fn a_log_that_was_cut_in_its_midst_and_grew_beyond_what_was_read_is_a_new_one() {
    let mut fixture = fixture();
    let old = puts((0..400).map(|n| format!("old{n:03}")));
    fixture.append(A, "01", &old);
    fixture.run();
    let before = lines(&fixture).len();
    let kept = puts((0..300).map(|n| format!("old{n:03}"))).len() + puts(["a", "b", "c"]).len();
    fixture.disk.truncate_log("a:1", "01", kept);
    fixture.append(A, "01", &puts((0..200).map(|n| format!("new{n:03}"))));
    fixture.run();
    assert_eq!(fixture.gone.len(), 1);
    assert!(fixture.rejected.is_empty());
    assert_eq!(lines(&fixture).len() - before, 503);
    let again = &fixture.got[&A][before..];
    assert!(
        again.iter().all(|got| got.maybe_sent),
        "nobody knows which were sent"
    );
}

#[test]
fn a_log_that_was_begun_empty_and_is_written_anew_while_it_is_not_read_is_a_new_one() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.append(A, "01", b"");
    fixture.run_for(100 * SECOND);
    assert_eq!(fixture.opened.len(), 1, "it is begun when it is closed");
    fixture.append(A, "01", &put("a"));
    fixture.run();
    let plan = fixture.ledgers[&A].1.checkpoint().resume;
    assert_eq!(plan.files[0].line, 1, "what a checkpoint has then");
    fixture.down(A);
    fixture.run();
    fixture.disk.truncate_log("a:1", "01", 0);
    fixture.append(A, "01", &puts(["b", "c"]));
    fixture.plan(A, plan);
    fixture.up(A);
    fixture.run();
    assert_eq!(lines(&fixture), ["a", "b", "c"]);
    assert!(
        fixture.got[&A][1].maybe_sent,
        "nobody knows whose lines they are"
    );
}

#[test]
fn a_line_without_newline_is_told_to_be_the_logs_before_it_is_read() {
    let mut fixture = fixture();
    let mut last = put("d");
    last.pop();
    fixture.append(A, "01", &last);
    fixture.run_for(100 * SECOND);
    assert_eq!(fixture.keys(A), ["a", "b", "c", "d"]);
    assert_eq!(fixture.identified.len(), 1, "with what it has by then");
}

#[test]
fn a_replaced_file_is_read_to_its_end_and_then_the_new_one() {
    let mut fixture = fixture();
    let (first, old) = (
        fixture.opened[0].file,
        fixture.disk.meta_of("a:1", "01").unwrap(),
    );
    fixture.disk.remove_log("a:1", "01");
    fixture.disk.append_unlinked(&old, &put("d"));
    fixture.append(A, "01", &put("e"));
    fixture.run_for(2 * SECOND);
    assert_eq!(fixture.gone, [first]);
    assert_eq!(lines(&fixture)[3..], ["d", "e"]);
    assert_eq!(fixture.opened.len(), 2);
    assert_eq!(fixture.disk.open_files(), 1);
}

/// A log is replaced while its backend is down. Whether the new one has all of it is told.
#[track_caller]
fn check_copy(was_begun: bool, starting: bool, new: &[&str], is_copy: bool) {
    let mut fixture = match was_begun {
        true => fixture(),
        false => Fixture::new(),
    };
    if was_begun {
        fixture.down(A);
    } else {
        fixture
            .disk
            .append_log("a:1", "00", if starting { b"x\n" } else { b"" });
        fixture.add("a:1");
    }
    fixture.run_for(SECOND);
    let old = ["a", "b", "c", "d"];
    let known = if was_begun { 3 } else { 0 };
    fixture.append(A, "01", &puts(old[known..].iter().copied()));
    fixture.run_for(3 * SECOND);
    let old = fixture.disk.meta_of("a:1", "01").unwrap();
    fixture.disk.remove_log("a:1", "01");
    fixture.append(A, "01", &puts(new.iter().copied()));
    fixture.run_for(3 * SECOND);
    assert_eq!(fixture.away.len(), 1);
    let new = fixture.disk.meta_of("a:1", "01").unwrap();
    let expected = is_copy.then(|| (old.key(), new.key()));
    assert_eq!(fixture.copied, Vec::from_iter(expected), "{was_begun}");
}

#[test]
fn who_waits_for_a_replaced_log_hears_whether_the_new_one_has_all_of_it() {
    for was_begun in [false, true] {
        check_copy(was_begun, false, &["a", "b", "c", "d"], true);
        check_copy(was_begun, false, &["a", "b", "c", "d", "e"], true);
        check_copy(was_begun, false, &["a", "b", "c"], false);
        check_copy(was_begun, false, &["b", "c", "d", "e"], false);
    }
    check_copy(false, true, &["a", "b", "c", "d"], true);
}

/// An operator mends a log just after the server has started.
#[test]
fn a_log_that_is_replaced_soon_after_a_start_is_known_by_its_first_line() {
    let mut fixture = Fixture::new();
    fixture.disk.append_log("a:1", "01", &puts(["a", "b"]));
    fixture.add("a:1");
    fixture.run_for(Duration::from_millis(300));
    let old = fixture.disk.meta_of("a:1", "01").unwrap();
    fixture.disk.remove_log("a:1", "01");
    fixture.append(A, "01", &puts(["a", "b"]));
    fixture.run_for(3 * SECOND);
    let new = fixture.disk.meta_of("a:1", "01").unwrap();
    assert_eq!(fixture.copied, [(old.key(), new.key())]);
}

/// It is copied, and its own name goes.
#[test]
fn a_log_that_was_copied_before_it_was_deleted_is_told_to_be_there() {
    let mut fixture = fixture();
    fixture.down(A);
    fixture.append(A, "01", &put("d"));
    fixture.run_for(3 * SECOND);
    let old = fixture.disk.meta_of("a:1", "01").unwrap();
    fixture.append(A, "02", &puts(["a", "b", "c", "d"]));
    fixture.run_for(3 * SECOND);
    fixture.disk.remove_log("a:1", "01");
    fixture.hint_listing(A);
    fixture.run_for(3 * SECOND);
    let copy = fixture.disk.meta_of("a:1", "02").unwrap();
    assert_eq!(fixture.copied, [(old.key(), copy.key())]);
}

/// Who waits for all that is in the logs hears of what was cut off before it was read.
#[test]
fn what_was_cut_off_unread_is_told_to_the_checkpointer() {
    let mut fixture = fixture();
    fixture.send(ReaderMessage::StorePaused {
        backend: A,
        paused: true,
    });
    let read = puts(["a", "b", "c"]).len();
    fixture.append(A, "01", &put("d"));
    fixture.run_for(2 * SECOND);
    assert!(fixture.away.is_empty());
    fixture.disk.truncate_log("a:1", "01", read);
    fixture.hint_grew(A);
    fixture.run_for(2 * SECOND);
    let whole = (read + put("d").len()) as u64;
    assert_eq!(fixture.away, [("01".to_owned(), whole)]);
}

#[test]
fn a_deleted_file_stays_open_until_what_was_read_of_it_is_settled() {
    let mut fixture = fixture();
    fixture.stuck.push(A);
    let old = fixture.disk.meta_of("a:1", "01").unwrap();
    fixture.disk.append_unlinked(&old, &put("d"));
    fixture.disk.remove_log("a:1", "01");
    fixture.hint_listing(A);
    fixture.run_for(2 * SECOND);
    assert_eq!(lines(&fixture)[3..], ["d"]);
    assert!(fixture.gone.is_empty(), "a flush could need it again");
    fixture.down(A);
    fixture.stuck.clear();
    fixture.plan(A, crate::replay::messages::ResumePlan::default());
    fixture.up(A);
    fixture.run_for(2 * SECOND);
    let mut again = lines(&fixture).split_off(4);
    again.sort();
    assert_eq!(again, ["a", "b", "c", "d"]);
    assert_eq!(fixture.gone, [fixture.opened[1].file]);
    assert_eq!(fixture.disk.open_files(), 0);
}

#[test]
fn a_file_that_the_checkpointer_deleted_is_let_go() {
    let mut fixture = fixture();
    let (file, key) = (
        fixture.opened[0].file,
        fixture.disk.meta_of("a:1", "01").unwrap().key(),
    );
    fixture.disk.remove_log("a:1", "01");
    fixture.send(ReaderMessage::FileDeleted {
        backend: A,
        file,
        key,
        is_elsewhere: false,
    });
    fixture.hint_listing(A);
    fixture.run_for(2 * SECOND);
    assert_eq!(fixture.gone, [file]);
    assert_eq!(
        (
            fixture.disk.open_files(),
            fixture.infos[0].counters.load().log_files
        ),
        (0, 0)
    );
}

#[test]
fn what_came_to_a_file_as_the_checkpointer_deleted_it_is_still_read() {
    let mut fixture = fixture();
    let old = fixture.disk.meta_of("a:1", "01").unwrap();
    let (file, key) = (fixture.opened[0].file, old.key());
    fixture.disk.remove_log("a:1", "01");
    fixture.disk.append_unlinked(&old, &put("d"));
    fixture.send(ReaderMessage::FileDeleted {
        backend: A,
        file,
        key,
        is_elsewhere: false,
    });
    fixture.run_for(2 * SECOND);
    assert_eq!(lines(&fixture)[3..], ["d"]);
    assert_eq!(fixture.gone, [file]);
}

/// The listing was first to show that it is gone. Its backend went down before the message came.
#[test]
fn a_file_that_the_checkpointer_deleted_is_not_sent_again_after_a_flush() {
    let mut fixture = fixture();
    fixture.stuck.push(A);
    let file = fixture.opened[0].file;
    let key = fixture.disk.meta_of("a:1", "01").unwrap().key();
    fixture.append(A, "01", &put("d"));
    fixture.run_for(2 * SECOND);
    fixture.disk.remove_log("a:1", "01");
    fixture.hint_listing(A);
    fixture.run_for(2 * SECOND);
    fixture.down(A);
    fixture.send(ReaderMessage::FileDeleted {
        backend: A,
        file,
        key,
        is_elsewhere: false,
    });
    fixture.stuck.clear();
    fixture.plan(A, crate::replay::messages::ResumePlan::default());
    fixture.up(A);
    fixture.run_for(2 * SECOND);
    assert_eq!(lines(&fixture).len(), 4, "each was sent once, before");
    assert_eq!(fixture.disk.open_files(), 0);
}

/// It was closed, as newer ones are read. Its backend went down before the message came, whether a
/// listing shows first that it is gone or not.
#[test]
fn a_closed_file_that_the_checkpointer_deleted_is_not_missed_after_a_flush() {
    for is_listed in [false, true] {
        let mut fixture = fixture();
        for name in ["02", "03"] {
            fixture.append(A, name, &put(name));
            fixture.run_for(2 * SECOND);
        }
        fixture.run_for(100 * SECOND);
        let file = fixture.opened[0].file;
        let key = fixture.disk.meta_of("a:1", "01").unwrap().key();
        fixture.down(A);
        fixture.run();
        fixture.disk.remove_log("a:1", "01");
        if is_listed {
            fixture.hint_listing(A);
            fixture.run_for(SECOND);
        }
        fixture.send(ReaderMessage::FileDeleted {
            backend: A,
            file,
            key,
            is_elsewhere: false,
        });
        fixture.plan(A, crate::replay::messages::ResumePlan::default());
        fixture.up(A);
        fixture.run_for(2 * SECOND);
        let unread: u64 = fixture.unread.iter().map(|(_, bytes)| *bytes).sum();
        assert_eq!(unread, 0, "{is_listed}: all of it was read");
        assert!(!fixture.reader.sources[0].catalog.has(key), "{is_listed}");
        assert_eq!(fixture.away.len(), usize::from(is_listed));
    }
}

#[test]
fn a_disk_that_refuses_is_asked_again_later_and_the_others_go_on() {
    for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::Other] {
        let mut fixture = Fixture::fed(&["a:1", "b:2"]);
        fixture.append(A, "01", &put("a"));
        fixture.append(B, "01", &put("b"));
        fixture.disk.fail_logs_of("a:1", kind);
        let turn = fixture.run();
        assert!(matches!(turn, Turn::Idle { until } if until > fixture.now.monotonic));
        assert_eq!((fixture.keys(A).len(), fixture.keys(B).len()), (0, 1));
        let faults = |fixture: &mut Fixture| -> Vec<bool> {
            let told = std::mem::take(&mut fixture.control).into_iter();
            told.filter_map(|message| match message {
                ControlMessage::LogFault { backend: A, fault } => Some(fault.is_some()),
                ControlMessage::LogFault { .. } => {
                    panic!("{message:?} is not of who is in trouble")
                }
                _ => None,
            })
            .collect()
        };
        assert_eq!(faults(&mut fixture), [true], "its trouble is told, once");
        assert_eq!(fixture.infos[A.index()].counters.logs_faulty.load(), 1);
        let reads = fixture.disk.reads();
        for _ in 0..100 {
            fixture.turn();
        }
        assert_eq!(fixture.disk.reads(), reads, "it is not asked in a circle");
        fixture.disk.mend();
        fixture.run_for(SECOND);
        assert_eq!(fixture.keys(A), ["a"]);
        assert_eq!(faults(&mut fixture), [false], "and its end");
        assert_eq!(fixture.infos[A.index()].counters.logs_faulty.load(), 0);
    }
}

#[test]
fn a_log_that_could_not_be_read_and_is_gone_is_no_trouble_any_more() {
    let mut fixture = fixture();
    fixture.disk.fail_logs_of("a:1", io::ErrorKind::Other);
    fixture.append(A, "01", &put("d"));
    fixture.run_for(10 * SECOND);
    assert_eq!(fixture.infos[A.index()].counters.logs_faulty.load(), 1);
    fixture.disk.remove_log("a:1", "01");
    fixture.disk.mend();
    fixture.hint_listing(A);
    fixture.run_for(10 * SECOND);
    fixture.run_for(10 * SECOND);
    assert_eq!(fixture.infos[A.index()].counters.logs_faulty.load(), 0);
}

#[test]
fn reading_fails_in_the_middle_of_a_file_and_goes_on() {
    let mut fixture = fixture();
    fixture.disk.fail_logs_of("a:1", io::ErrorKind::Other);
    fixture.append(A, "01", &put("d"));
    fixture.run_for(10 * SECOND);
    assert_eq!(lines(&fixture).len(), 3);
    fixture.disk.mend();
    fixture.run_for(10 * SECOND);
    assert_eq!(fixture.keys(A), ["a", "b", "c", "d"]);
}

/// A disk that fails from this read on, for a while, changes nothing in what is fed and rejected.
/// `log` has one bad line.
fn check_reads_fail(log: &[u8], bad: &[u8], keys: &[&str], reads: u32) {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.run();
    fixture.append(A, "01", log);
    fixture
        .disk
        .fail(Op::Read(Area::Logs), io::ErrorKind::Other, reads, u32::MAX);
    fixture.run();
    fixture.run_for(10 * SECOND);
    let told = (
        fixture.got.len(),
        fixture.segments.len(),
        fixture.rejected.len(),
    );
    let asked = fixture.disk.reads();
    for _ in 0..100 {
        fixture.turn();
    }
    assert_eq!(fixture.disk.reads(), asked, "it is not asked in a circle");
    fixture.disk.mend();
    fixture.run_for(10 * SECOND);
    assert_eq!(fixture.keys(A), keys, "{reads} reads, {told:?}");
    let raw: Vec<_> = fixture.rejected.iter().map(|line| &*line.raw).collect();
    assert_eq!(raw, [bad], "{reads} reads, {told:?}");
}

#[test]
fn a_bad_line_whose_bytes_can_not_be_read_again_is_rejected_later_with_them() {
    // The line as a whole could be decoded in part, so that its bytes are no longer what they were.
    let mut bad = put("bad");
    bad.truncate(bad.len() - 5);
    bad.extend_from_slice(b"#");
    let short = [&put("a")[..], &bad, b"\n", &put("b")].concat();
    let mut long = put_value("long", &[7; 2000]);
    long.truncate(long.len() - 5);
    long.extend_from_slice(b"#");
    let alone = [&put("a")[..], &long, b"\n", &put("b")].concat();
    for reads in 0..10 {
        check_reads_fail(&short, &bad, &["a", "b"], reads);
        check_reads_fail(&alone, &long, &["a", "b"], reads);
    }
}
