//! Lines that are too long to be held: their values go in pieces.

use std::io;
use std::time::Duration;

use super::fixture::{A, B, BOUNDS, Fixture, put, put_value, settings};
use crate::binlog::long_line::line_digest;
use crate::limits::{BODY_PIECES_MAX, LONG_LINES_MAX};
use crate::replay::messages::{LineInLog, ResumePlan};

/// A reader with so little memory that a line of more than a chunk is long.
fn fixture(backends: &[&str]) -> Fixture {
    let mut settings = settings();
    settings.memory_budget_bytes = 4 * 1024 * backends.len();
    let mut fixture = Fixture::with(settings, BOUNDS, 64);
    fixture.know(backends);
    fixture
}

fn long(key: &str) -> Vec<u8> {
    put_value(key, &value())
}

fn value() -> Vec<u8> {
    (0..2000_u32).map(|nth| (nth % 251) as u8).collect()
}

fn longs() -> Vec<u8> {
    (0..20)
        .flat_map(|nth| long(&format!("long{nth:02}")))
        .collect()
}

#[test]
fn a_long_line_goes_in_pieces_of_the_backends_share() {
    let mut fixture = fixture(&["a:1"]);
    fixture.append(A, "01", &[put("a"), long("long"), put("b")].concat());
    fixture.run();
    assert_eq!(fixture.keys(A), ["a", "long", "b"]);
    let got = fixture.got[&A]
        .iter()
        .find(|got| got.key == "long")
        .unwrap();
    assert_eq!(got.value, value());
    let share = BOUNDS.share_bytes(4 * 1024, 1);
    assert!(fixture.piece_bytes_max * BODY_PIECES_MAX <= share / 4);
}

#[test]
fn who_settles_no_long_line_keeps_nobody_else_from_his() {
    let mut fixture = fixture(&["a:1", "b:2"]);
    fixture.append(A, "01", &long("first"));
    fixture.run();
    fixture.stuck.push(A);
    fixture.append(A, "01", &longs());
    fixture.append(B, "01", &longs());
    fixture.run();
    assert_eq!(fixture.keys(B).len(), 20);
    assert_eq!(
        fixture.keys(A).len(),
        1 + LONG_LINES_MAX,
        "what may be open at one time is bounded"
    );
    let bytes = fixture.links.counters.memory_bytes.load();
    assert!(bytes <= 8 * 1024, "{bytes}");
}

#[test]
fn one_long_line_is_read_until_its_backend_has_taken_one() {
    let mut fixture = fixture(&["a:1"]);
    fixture.stuck.push(A);
    fixture.append(A, "01", &longs());
    fixture.run();
    assert_eq!(fixture.keys(A).len(), 1);
    fixture.down(A);
    fixture.plan(A, ResumePlan::default());
    fixture.up(A);
    fixture.run();
    assert_eq!(fixture.keys(A).len(), 2, "the same one again");
    fixture.down(A);
    fixture.stuck.clear();
    fixture.plan(A, ResumePlan::default());
    fixture.up(A);
    fixture.run();
    assert_eq!(fixture.keys(A).len(), 2 + 20);
}

#[test]
fn a_bad_long_line_is_rejected_by_its_place_in_the_log() {
    let mut fixture = fixture(&["a:1"]);
    let bad = [vec![b'!'; 3000], b"\n".to_vec()].concat();
    fixture.append(A, "01", &[bad.clone(), bad.clone(), put("a")].concat());
    fixture.run();
    assert_eq!(fixture.keys(A), ["a"]);
    let in_log = Some(LineInLog {
        bytes: 3000,
        digest: line_digest(&bad[..3000]),
    });
    let found: Vec<_> = fixture
        .rejected
        .iter()
        .map(|rejection| (rejection.reason, rejection.offset, rejection.in_log))
        .collect();
    assert_eq!(found, [("not_base64", Some(0), in_log); 2]);
}

#[test]
fn a_log_that_is_deleted_gives_its_values_all_the_same() {
    let mut fixture = fixture(&["a:1"]);
    fixture.append(A, "01", &long("long"));
    while fixture.reading.is_empty() {
        fixture.turn();
        fixture.receive();
    }
    fixture.disk.remove_log("a:1", "01");
    fixture.hint_listing(A);
    fixture.run_for(Duration::from_secs(5));
    assert_eq!(fixture.got[&A][0].value, value());
    fixture.run_for(Duration::from_secs(5));
    assert_eq!(fixture.disk.open_files(), 0, "nobody holds it any more");
}

#[test]
fn a_log_that_is_changed_gives_no_value_to_its_end() {
    let mut fixture = fixture(&["a:1"]);
    fixture.append(A, "01", &long("long"));
    while fixture.reading.is_empty() {
        fixture.turn();
        fixture.receive();
    }
    fixture.pass(Duration::from_secs(1));
    fixture.disk.truncate_log("a:1", "01", 0);
    fixture.append(A, "01", &put_value("long", &vec![7; 2000]));
    fixture.run_for(Duration::from_secs(5));
    assert_eq!(fixture.changed, ["long"]);
    assert_eq!(fixture.got[&A].len(), 1, "the line that stands there now");
    assert_eq!(fixture.got[&A][0].value, vec![7; 2000]);
}

#[test]
fn a_value_that_cannot_be_read_for_a_while_waits() {
    let mut fixture = fixture(&["a:1", "b:2"]);
    fixture.append(A, "01", &long("long"));
    while fixture.reading.is_empty() {
        fixture.turn();
        fixture.receive();
    }
    fixture.disk.fail_logs_of("a:1", io::ErrorKind::Other);
    fixture.append(B, "01", &long("other"));
    fixture.run_for(Duration::from_secs(5));
    assert_eq!((fixture.keys(A).len(), fixture.keys(B).len()), (0, 1));
    fixture.disk.mend();
    fixture.run_for(Duration::from_secs(60));
    assert_eq!(fixture.got[&A][0].value, value());
}

/// Its value was asked for, and its descriptor fails from now on.
fn with_stale_descriptor() -> Fixture {
    let mut fixture = fixture(&["a:1"]);
    fixture.append(A, "01", &[long("long"), put("a")].concat());
    while fixture.reading.is_empty() {
        fixture.turn();
        fixture.receive();
    }
    fixture.disk.make_stale("a:1", "01");
    fixture
}

#[test]
fn a_value_whose_descriptor_is_stale_is_read_by_the_logs_name() {
    let mut fixture = with_stale_descriptor();
    for _ in 0..60 {
        fixture.run_for(Duration::from_secs(1));
    }
    assert_eq!(fixture.keys(A), ["long", "a"]);
    let got = fixture.got[&A].iter().find(|got| got.key == "long");
    assert!(got.unwrap().value == value());
}

#[test]
fn a_value_whose_descriptor_is_stale_and_whose_log_has_no_name_is_given_up() {
    let mut fixture = with_stale_descriptor();
    fixture.disk.remove_log("a:1", "01");
    fixture.hint_listing(A);
    for _ in 0..60 {
        fixture.run_for(Duration::from_secs(1));
    }
    assert_eq!(fixture.changed, ["long"]);
    assert_eq!(fixture.disk.open_files(), 0, "nobody holds it any more");
}
