//! Files that shrink, are replaced or deleted under us, and disks that refuse.

use std::io;
use std::time::Duration;

use super::rig::{A, B, Rig, put, put_value, puts};
use crate::replay::feeder::Turn;
use crate::replay::messages::{ControlMail, FeederMail};

const SECOND: Duration = Duration::from_secs(1);

fn rig() -> Rig {
    let mut rig = Rig::fed(&["a:1"]);
    rig.run();
    rig.append(A, "01", &puts(["a", "b", "c"]));
    rig.run();
    rig
}

fn lines(rig: &Rig) -> Vec<String> {
    rig.got[&A].iter().map(|got| got.key.clone()).collect()
}

#[test]
fn a_file_that_shrank_below_what_was_read_is_read_again_as_a_new_one() {
    let mut rig = rig();
    let first = rig.opened[0].file;
    rig.disk.truncate("a:1", "01", put("a").len());
    rig.hint_grew(A);
    rig.run();
    assert_eq!(rig.gone, [first]);
    assert_eq!(lines(&rig)[3..], ["a"]);
    assert!(
        rig.got[&A][3].maybe_sent,
        "it was sent before the file shrank"
    );
}

#[test]
fn a_file_that_lost_only_what_was_not_read_goes_on() {
    let mut rig = rig();
    rig.append(A, "01", b"[half a line");
    rig.run();
    rig.disk.truncate("a:1", "01", puts(["a", "b", "c"]).len());
    rig.append(A, "01", &put("d"));
    rig.run();
    assert!(rig.gone.is_empty() && rig.rejected.is_empty());
    assert_eq!(rig.keys(A), ["a", "b", "c", "d"]);
}

#[test]
fn a_file_that_was_written_anew_at_once_is_told_by_its_first_bytes() {
    let mut rig = rig();
    rig.disk.truncate("a:1", "01", 0);
    rig.append(A, "01", &puts((0..100).map(|n| format!("key{n}"))));
    rig.run();
    assert_eq!(rig.gone.len(), 1);
    assert_eq!(lines(&rig).len(), 103);
}

#[test]
fn a_long_file_that_was_emptied_and_grew_beyond_what_was_read_is_a_new_one() {
    let mut rig = rig();
    rig.append(A, "01", &puts((0..200).map(|n| format!("old{n}"))));
    rig.run();
    let before = lines(&rig).len();
    rig.disk.truncate("a:1", "01", 0);
    rig.append(A, "01", &puts((0..400).map(|n| format!("new{n}"))));
    rig.run();
    assert_eq!(rig.gone.len(), 1);
    assert!(rig.rejected.is_empty());
    assert_eq!(lines(&rig).len() - before, 400);
}

#[test]
fn a_replaced_file_is_read_to_its_end_and_then_the_new_one() {
    let mut rig = rig();
    let (first, old) = (rig.opened[0].file, rig.disk.meta("a:1", "01").inode);
    rig.disk.remove("a:1", "01");
    rig.disk.append_unlinked(old, &put("d"));
    rig.append(A, "01", &put("e"));
    rig.run_for(2 * SECOND);
    assert_eq!(rig.gone, [first]);
    assert_eq!(lines(&rig)[3..], ["d", "e"]);
    assert_eq!(rig.opened.len(), 2);
    assert_eq!(rig.disk.open_logs(), 1);
}

#[test]
fn a_deleted_file_stays_open_until_what_was_read_of_it_is_settled() {
    let mut rig = rig();
    rig.stuck.push(A);
    let old = rig.disk.meta("a:1", "01").inode;
    rig.disk.append_unlinked(old, &put("d"));
    rig.disk.remove("a:1", "01");
    rig.hint_listing(A);
    rig.run_for(2 * SECOND);
    assert_eq!(lines(&rig)[3..], ["d"]);
    assert!(rig.gone.is_empty(), "a flush could need it again");
    rig.down(A);
    rig.stuck.clear();
    rig.plan(A, crate::replay::messages::ResumePlan::default());
    rig.up(A);
    rig.run_for(2 * SECOND);
    let mut again = lines(&rig).split_off(4);
    again.sort();
    assert_eq!(again, ["a", "b", "c", "d"]);
    assert_eq!(rig.gone, [rig.opened[1].file]);
    assert_eq!(rig.disk.open_logs(), 0);
}

#[test]
fn a_file_that_the_keeper_deleted_is_let_go() {
    let mut rig = rig();
    let file = rig.opened[0].file;
    rig.disk.remove("a:1", "01");
    rig.send(FeederMail::FileDeleted {
        backend: A,
        file,
        is_elsewhere: false,
    });
    rig.hint_listing(A);
    rig.run_for(2 * SECOND);
    assert_eq!(rig.gone, [file]);
    assert_eq!(
        (rig.disk.open_logs(), rig.infos[0].counters.load().log_files),
        (0, 0)
    );
}

#[test]
fn what_came_to_a_file_as_the_keeper_deleted_it_is_still_read() {
    let mut rig = rig();
    let file = rig.opened[0].file;
    let old = rig.disk.meta("a:1", "01").inode;
    rig.disk.remove("a:1", "01");
    rig.disk.append_unlinked(old, &put("d"));
    rig.send(FeederMail::FileDeleted {
        backend: A,
        file,
        is_elsewhere: false,
    });
    rig.run_for(2 * SECOND);
    assert_eq!(lines(&rig)[3..], ["d"]);
    assert_eq!(rig.gone, [file]);
}

#[test]
fn a_disk_that_refuses_is_asked_again_later_and_the_others_go_on() {
    for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::Other] {
        let mut rig = Rig::fed(&["a:1", "b:2"]);
        rig.append(A, "01", &put("a"));
        rig.append(B, "01", &put("b"));
        rig.disk.fail("a:1", Some(kind));
        let turn = rig.run();
        assert!(matches!(turn, Turn::Idle { until } if until > rig.now.monotonic));
        assert_eq!((rig.keys(A).len(), rig.keys(B).len()), (0, 1));
        let faults = |rig: &mut Rig| -> Vec<bool> {
            let told = std::mem::take(&mut rig.control).into_iter();
            told.filter_map(|mail| match mail {
                ControlMail::LogFault { backend: A, fault } => Some(fault.is_some()),
                ControlMail::LogFault { .. } => panic!("{mail:?} is not of who is in trouble"),
                _ => None,
            })
            .collect()
        };
        assert_eq!(faults(&mut rig), [true], "its trouble is told, once");
        assert_eq!(rig.infos[A.index()].counters.logs_faulty.load(), 1);
        let reads = rig.disk.reads();
        for _ in 0..100 {
            rig.feeder.turn(rig.now);
        }
        assert_eq!(rig.disk.reads(), reads, "it is not asked in a circle");
        rig.disk.fail("a:1", None);
        rig.run_for(SECOND);
        assert_eq!(rig.keys(A), ["a"]);
        assert_eq!(faults(&mut rig), [false], "and its end");
        assert_eq!(rig.infos[A.index()].counters.logs_faulty.load(), 0);
    }
}

#[test]
fn a_log_that_could_not_be_read_and_is_gone_is_no_trouble_any_more() {
    let mut rig = rig();
    rig.disk.fail("a:1", Some(io::ErrorKind::Other));
    rig.append(A, "01", &put("d"));
    rig.run_for(10 * SECOND);
    assert_eq!(rig.infos[A.index()].counters.logs_faulty.load(), 1);
    rig.disk.remove("a:1", "01");
    rig.disk.fail("a:1", None);
    rig.hint_listing(A);
    rig.run_for(10 * SECOND);
    rig.run_for(10 * SECOND);
    assert_eq!(rig.infos[A.index()].counters.logs_faulty.load(), 0);
}

#[test]
fn reading_fails_in_the_middle_of_a_file_and_goes_on() {
    let mut rig = rig();
    rig.disk.fail("a:1", Some(io::ErrorKind::Other));
    rig.append(A, "01", &put("d"));
    rig.run_for(10 * SECOND);
    assert_eq!(lines(&rig).len(), 3);
    rig.disk.fail("a:1", None);
    rig.run_for(10 * SECOND);
    assert_eq!(rig.keys(A), ["a", "b", "c", "d"]);
}

/// A disk that fails from this read on, for a while, changes nothing in what is fed and set aside. `log` has one bad line.
fn check_reads_fail(log: &[u8], bad: &[u8], keys: &[&str], reads: usize) {
    let mut rig = Rig::fed(&["a:1"]);
    rig.run();
    rig.append(A, "01", log);
    rig.disk.fail_after(Some(reads));
    rig.run();
    rig.run_for(10 * SECOND);
    let told = (rig.got.len(), rig.segments.len(), rig.rejected.len());
    let asked = rig.disk.reads();
    for _ in 0..100 {
        rig.feeder.turn(rig.now);
    }
    assert_eq!(rig.disk.reads(), asked, "it is not asked in a circle");
    rig.disk.fail_after(None);
    rig.run_for(10 * SECOND);
    assert_eq!(rig.keys(A), keys, "{reads} reads, {told:?}");
    let raw: Vec<_> = rig.rejected.iter().map(|line| &*line.raw).collect();
    assert_eq!(raw, [bad], "{reads} reads, {told:?}");
}

#[test]
fn a_bad_line_whose_bytes_can_not_be_read_again_is_set_aside_later_with_them() {
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
