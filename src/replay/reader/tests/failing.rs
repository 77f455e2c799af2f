//! Logs that can't be read any more, by one descriptor or by any.

use std::io;
use std::time::Duration;

use super::fixture::{A, Fixture, puts};
use crate::replay::disk::Area;
use crate::replay::testdisk::Op;

fn firsts(from: u32, to: u32) -> Vec<u8> {
    puts((from..to).map(|n| format!("first{n}")))
}

/// So many lines of the first log have come, each once, and the second's one, if it is to come.
#[track_caller]
fn check(fixture: &Fixture, firsts: usize, has_second: bool) {
    let mut keys = fixture.keys(A);
    assert_eq!(keys.pop_if(|key| key == "second").is_some(), has_second);
    let expected: Vec<String> = (0..firsts).map(|n| format!("first{n}")).collect();
    assert_eq!(keys, expected);
}

/// A log of forty lines, of which a piece can be read and no more, and one behind it.
fn with_broken_sectors() -> (Fixture, usize) {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.append(A, "01", &firsts(0, 40));
    fixture.append(A, "02", &puts(["second"]));
    fixture.disk.break_sectors("a:1", "01", 1024);
    pass(&mut fixture, 600);
    let read = fixture.keys(A).len();
    assert!((1..40).contains(&read), "{read}");
    check(&fixture, read, false);
    (fixture, read)
}

/// A log of which half was read, and the rest has just come, with one behind it.
fn half_read() -> Fixture {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.append(A, "01", &firsts(0, 20));
    fixture.run();
    fixture.append(A, "01", &firsts(20, 40));
    fixture.append(A, "02", &puts(["second"]));
    fixture
}

fn pass(fixture: &mut Fixture, seconds: u32) {
    for _ in 0..seconds {
        fixture.run_for(Duration::from_secs(1));
    }
}

#[test]
fn a_log_that_cannot_be_read_holds_back_newer_ones_until_it_is_taken_away() {
    for is_moved in [false, true] {
        let (mut fixture, read) = with_broken_sectors();
        let moved = is_moved.then(|| fixture.disk.move_out("a:1", "01").unwrap());
        fixture.disk.remove_log("a:1", "01");
        fixture.hint_listing(A);
        pass(&mut fixture, 30);
        check(&fixture, read, true);
        assert_eq!(fixture.away.last().unwrap().0, "01");
        let Some(number) = moved else { continue };
        fixture.disk.mend_sectors();
        fixture.disk.move_in("a:1", "01", number);
        fixture.hint_listing(A);
        pass(&mut fixture, 30);
        assert_eq!(fixture.keys(A).len(), 41, "once it is back it goes on");
    }
}

#[test]
fn a_log_whose_descriptor_is_stale_is_opened_anew_by_its_name() {
    let mut fixture = half_read();
    fixture.disk.make_stale("a:1", "01");
    pass(&mut fixture, 60);
    check(&fixture, 40, true);
}

#[test]
fn a_log_whose_descriptor_is_stale_and_whose_name_is_gone_is_given_up() {
    let mut fixture = half_read();
    fixture.disk.make_stale("a:1", "01");
    fixture.disk.remove_log("a:1", "01");
    pass(&mut fixture, 60);
    check(&fixture, 20, true);
    assert_eq!(fixture.away.last().unwrap().0, "01");
}

#[test]
fn a_log_that_was_read_and_is_only_kept_open_keeps_no_newer_one_back() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.append(A, "01", &firsts(0, 40));
    pass(&mut fixture, 100);
    fixture.disk.make_stale("a:1", "01");
    fixture.append(A, "02", &puts(["second"]));
    pass(&mut fixture, 60);
    check(&fixture, 40, true);
}

#[test]
fn a_deleted_log_is_not_given_up_for_a_failure_that_passes() {
    let mut fixture = half_read();
    let read = Op::Read(Area::Logs);
    fixture.disk.fail(read, io::ErrorKind::Other, 0, 5);
    fixture.disk.remove_log("a:1", "01");
    pass(&mut fixture, 60);
    check(&fixture, 40, true);
}
