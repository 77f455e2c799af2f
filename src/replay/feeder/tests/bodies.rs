//! Lines that are too long to be held: their values go in pieces.

use std::io;
use std::time::Duration;

use super::rig::{A, B, BOUNDS, Rig, put, put_value, settings};
use crate::binlog::long_line::line_digest;
use crate::limits::{BODY_PIECES_MAX, LONG_LINES_MAX};
use crate::replay::messages::LineInLog;

/// A feeder with so little memory that a line of more than a chunk is long.
fn rig(backends: &[&str]) -> Rig {
    let mut settings = settings();
    settings.memory_budget_bytes = 4 * 1024 * backends.len();
    let mut rig = Rig::with(settings, BOUNDS, 64);
    rig.know(backends);
    rig
}

fn long(key: &str) -> Vec<u8> {
    put_value(key, &value())
}

fn value() -> Vec<u8> {
    (0..2000_u32).map(|nth| (nth % 251) as u8).collect()
}

#[test]
fn a_long_line_goes_in_pieces_of_the_backends_share() {
    let mut rig = rig(&["a:1"]);
    rig.append(A, "01", &[put("a"), long("long"), put("b")].concat());
    rig.run();
    assert_eq!(rig.keys(A), ["a", "long", "b"]);
    let got = rig.got[&A].iter().find(|got| got.key == "long").unwrap();
    assert_eq!(got.value, value());
    let share = BOUNDS.share_bytes(4 * 1024, 1);
    assert!(rig.piece_bytes_max * BODY_PIECES_MAX <= share / 4);
}

#[test]
fn who_settles_no_long_line_keeps_nobody_else_from_his() {
    let mut rig = rig(&["a:1", "b:2"]);
    rig.stuck.push(A);
    let lines: Vec<u8> = (0..20)
        .flat_map(|nth| long(&format!("long{nth:02}")))
        .collect();
    rig.append(A, "01", &lines);
    rig.append(B, "01", &lines);
    rig.run();
    assert_eq!(rig.keys(B).len(), 20);
    assert_eq!(
        rig.keys(A).len(),
        LONG_LINES_MAX,
        "what may be open at one time is bounded"
    );
    let bytes = rig.links.counters.memory_bytes.load();
    assert!(bytes <= 8 * 1024, "{bytes}");
}

#[test]
fn a_bad_long_line_is_set_aside_by_its_place_in_the_log() {
    let mut rig = rig(&["a:1"]);
    let bad = [vec![b'!'; 3000], b"\n".to_vec()].concat();
    rig.append(A, "01", &[bad.clone(), bad.clone(), put("a")].concat());
    rig.run();
    assert_eq!(rig.keys(A), ["a"]);
    let in_log = Some(LineInLog {
        bytes: 3000,
        digest: line_digest(&bad[..3000]),
    });
    let found: Vec<_> = rig
        .rejected
        .iter()
        .map(|rejection| (rejection.reason, rejection.offset, rejection.in_log))
        .collect();
    assert_eq!(found, [("not_base64", Some(0), in_log); 2]);
}

#[test]
fn a_log_that_is_deleted_gives_its_values_all_the_same() {
    let mut rig = rig(&["a:1"]);
    rig.append(A, "01", &long("long"));
    while rig.reading.is_empty() {
        rig.feeder.turn(rig.now);
        rig.receive();
    }
    rig.disk.remove("a:1", "01");
    rig.hint_listing(A);
    rig.run_for(Duration::from_secs(5));
    assert_eq!(rig.got[&A][0].value, value());
    rig.run_for(Duration::from_secs(5));
    assert_eq!(rig.disk.open_logs(), 0, "nobody holds it any more");
}

#[test]
fn a_log_that_is_changed_gives_no_value_to_its_end() {
    let mut rig = rig(&["a:1"]);
    rig.append(A, "01", &long("long"));
    while rig.reading.is_empty() {
        rig.feeder.turn(rig.now);
        rig.receive();
    }
    rig.pass(Duration::from_secs(1));
    rig.disk.truncate("a:1", "01", 0);
    rig.append(A, "01", &put_value("long", &vec![7; 2000]));
    rig.run_for(Duration::from_secs(5));
    assert_eq!(rig.changed, ["long"]);
    assert_eq!(rig.got[&A].len(), 1, "the line that stands there now");
    assert_eq!(rig.got[&A][0].value, vec![7; 2000]);
}

#[test]
fn a_value_that_cannot_be_read_for_a_while_waits() {
    let mut rig = rig(&["a:1", "b:2"]);
    rig.append(A, "01", &long("long"));
    while rig.reading.is_empty() {
        rig.feeder.turn(rig.now);
        rig.receive();
    }
    rig.disk.fail("a:1", Some(io::ErrorKind::Other));
    rig.append(B, "01", &long("other"));
    rig.run_for(Duration::from_secs(5));
    assert_eq!((rig.keys(A).len(), rig.keys(B).len()), (0, 1));
    rig.disk.fail("a:1", None);
    rig.run_for(Duration::from_secs(60));
    assert_eq!(rig.got[&A][0].value, value());
}
