//! What is out is bounded; nobody waits for another's credit.

use std::collections::HashMap;
use std::sync::Arc;

use super::fixture::{A, B, BOUNDS, Fixture, put, put_value, puts, settings};
use crate::ledger::segment::NewSegment;
use crate::replay::messages::{BackendId, ReaderMessage};

fn keys(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("key{number:05}"))
}

#[test]
fn a_backend_that_settles_nothing_stops_at_its_share_and_the_other_goes_on() {
    let mut fixture = Fixture::fed(&["a:1", "b:2"]);
    fixture.stuck.push(A);
    fixture.append(A, "01", &puts(keys(1000)));
    fixture.append(B, "01", &puts(keys(1000)));
    fixture.run();
    let share = BOUNDS.share_bytes(20_000, 2);
    let out: u64 = fixture
        .segments
        .values()
        .filter(|segment| fixture.owners[&segment.id] == A)
        .map(NewSegment::bytes)
        .sum();
    assert!(out > 0 && out <= share as u64, "{out} of {share}");
    assert_eq!(fixture.keys(B).len(), 1000);
    assert!(fixture.infos[0].counters.load().unread_bytes > 0);

    // Once it settles, it goes on to the end, and every buffer is returned.
    fixture.stuck.clear();
    settle_kept(&mut fixture);
    fixture.run();
    assert_eq!(fixture.keys(A), keys(1000).collect::<Vec<_>>());
}

const MANY: usize = 40;

fn many_fed() -> Fixture {
    let names: Vec<String> = (0..MANY).map(|nth| format!("h:{nth:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Fixture::fed(&names)
}

#[test]
fn folders_of_idle_backends_make_nobodys_share_smaller() {
    let mut fixture = many_fed();
    fixture.run();
    fixture.append(A, "01", &put_value("long", &[b'v'; 500]));
    fixture.append(A, "02", &puts(keys(1000)));
    fixture.stuck.push(A);
    fixture.run_for(std::time::Duration::from_secs(5));
    assert_eq!(fixture.piece_bytes_max, 0, "the value is held whole");
    let share = BOUNDS.share_bytes(20_000, 4);
    let bytes: usize = held(&fixture);
    assert!(bytes > share / 4 && bytes <= share, "{bytes} of {share}");
}

#[test]
fn many_that_are_read_for_at_once_are_within_the_budget() {
    let mut fixture = many_fed();
    for index in 0..MANY {
        fixture.stuck.push(BackendId::from_index(index));
    }
    fixture.append(A, "01", &puts(keys(1000)));
    fixture.run_for(std::time::Duration::from_secs(2));
    for index in 1..MANY {
        fixture.append(BackendId::from_index(index), "01", &puts(keys(1000)));
    }
    fixture.run_for(std::time::Duration::from_secs(5));
    let bytes = held(&fixture);
    let at_least_one_each = MANY * BOUNDS.chunk_bytes_min;
    assert!(bytes <= 20_000 + at_least_one_each, "{bytes}");
    for index in 0..MANY {
        let backend = BackendId::from_index(index);
        assert!(
            !fixture.keys(backend).is_empty(),
            "{backend:?} is read for, too"
        );
    }
}

/// Each backend that comes makes everybody's share smaller, and who settles nothing keeps his.
#[test]
fn all_of_them_are_within_the_budget_although_they_come_one_by_one() {
    const ALL: [&str; 4] = ["a:1", "b:2", "c:3", "d:4"];
    let mut fixture = Fixture::new();
    for (index, name) in ALL.into_iter().enumerate() {
        fixture.know(&[name]);
        let backend = BackendId::from_index(index);
        fixture.stuck.push(backend);
        fixture.append(backend, "01", &puts(keys(1000)));
        fixture.run();
    }
    let held = held(&fixture);
    assert!(held <= 20_000 + 3 * BOUNDS.chunk_bytes_max, "{held}");
}

/// Bytes of all chunks that are out. A chunk's batches share it, one a worker.
fn held(fixture: &Fixture) -> usize {
    let chunks: HashMap<_, _> = fixture
        .kept
        .iter()
        .map(|batch| (Arc::as_ptr(&batch.chunk), batch.chunk.bytes().len()))
        .collect();
    chunks.values().sum()
}

fn settle_kept(fixture: &mut Fixture) {
    for batch in std::mem::take(&mut fixture.kept) {
        fixture.links.returns.release(batch.chunk);
    }
    for segment in fixture
        .segments
        .values()
        .filter(|segment| fixture.owners[&segment.id] == A)
    {
        fixture.send(ReaderMessage::SegmentDone {
            backend: A,
            done: segment.done(),
            epoch: fixture.epochs[&A],
        });
    }
}

#[test]
fn lines_in_flight_are_bounded() {
    let mut settings = settings();
    settings.in_flight_per_backend = 16;
    let mut fixture = Fixture::with(settings, BOUNDS, 64);
    fixture.know(&["a:1"]);
    fixture.stuck.push(A);
    fixture.append(A, "01", &[b'\n'; 500]);
    fixture.run();
    let lines: u32 = fixture.segments.values().map(|segment| segment.lines).sum();
    assert_eq!(lines, 16);
    fixture.stuck.clear();
    settle_kept(&mut fixture);
    fixture.run();
    assert_eq!(fixture.rejected.len(), 500);
}

#[test]
fn full_mailboxes_lose_nothing_and_keep_the_order() {
    let mut fixture = Fixture::with(settings(), BOUNDS, 1);
    fixture.know(&["a:1"]);
    fixture.append(A, "01", &puts(keys(500)));
    fixture.run();
    for _ in 0..5000 {
        fixture.pass(std::time::Duration::from_millis(1));
        fixture.run();
        if fixture.keys(A).len() == 500 {
            break;
        }
    }
    assert_eq!(fixture.keys(A), keys(500).collect::<Vec<_>>());
}

#[test]
fn a_line_longer_than_a_chunk_is_fed_whole() {
    let mut fixture = Fixture::fed(&["a:1"]);
    let (long, longer) = (
        put_value("long", &[7; 1500]),
        put_value("longer", &[8; 2800]),
    );
    let log = [put("a"), long, put("b"), longer, put("c")].concat();
    fixture.append(A, "01", &log);
    fixture.run();
    assert_eq!(fixture.keys(A), ["a", "long", "b", "longer", "c"]);
}

#[test]
fn a_line_longer_than_any_is_rejected_without_being_held() {
    let mut fixture = Fixture::fed(&["a:1"]);
    let log = [put("a"), vec![b'x'; 50_000], b"\n".to_vec(), put("b")].concat();
    fixture.append(A, "01", &log);
    fixture.run();
    assert_eq!(fixture.keys(A), ["a", "b"]);
    let [rejection] = &fixture.rejected[..] else {
        panic!("{:?}", fixture.rejected)
    };
    assert_eq!(
        (rejection.reason, rejection.raw.len()),
        ("line_too_long", 4096)
    );
    assert!(
        rejection.detail.contains("it has 50001"),
        "{}",
        rejection.detail
    );
}

#[test]
fn a_line_may_be_as_long_as_the_longest_and_no_longer() {
    let mut fixture = Fixture::fed(&["a:1"]);
    for (file, more) in [("01", 0), ("02", 1)] {
        let line = vec![b'!'; BOUNDS.line_bytes_max + more];
        fixture.append(A, file, &[line, b"\n".to_vec()].concat());
    }
    fixture.run_for(std::time::Duration::from_secs(2));
    let reasons: Vec<_> = fixture
        .rejected
        .iter()
        .map(|rejection| rejection.reason)
        .collect();
    assert_eq!(reasons, ["not_base64", "line_too_long"]);
}

#[test]
fn a_bad_lines_bytes_are_those_of_the_log() {
    let mut fixture = Fixture::fed(&["a:1"]);
    let mut cut = put("cut");
    cut.truncate(cut.len() - 10);
    cut.push(b'\n');
    let log = [put("a"), b"\n".to_vec(), cut.clone(), put("b")].concat();
    fixture.append(A, "01", &log);
    fixture.run();
    assert_eq!(fixture.keys(A), ["a", "b"]);
    let found: Vec<_> = fixture
        .rejected
        .iter()
        .map(|r| (r.line, r.offset, r.raw.clone(), r.unix))
        .collect();
    let offset = |lines: &[&[u8]]| u32::try_from(lines.concat().len()).ok();
    let unix = fixture.now.unix;
    let a = put("a");
    assert_eq!(
        found,
        [
            (1, offset(&[&a]), Vec::new(), unix),
            (2, offset(&[&a, b"\n"]), cut[..cut.len() - 1].to_vec(), unix),
        ]
    );
}

#[test]
fn records_of_one_key_stay_in_one_lane_and_in_order() {
    let mut fixture = Fixture::fed(&["a:1"]);
    let many: Vec<String> = (0..300).map(|n| format!("key{}", n % 7)).collect();
    fixture.append(A, "01", &puts(&many));
    fixture.run();
    for key in 0..7 {
        let key = format!("key{key}");
        let order = fixture.order_of(A, &key);
        assert!(order.is_sorted() && order.len() >= 42);
        let lanes: std::collections::BTreeSet<_> = fixture.got[&A]
            .iter()
            .filter(|got| got.key == key)
            .map(|got| got.lane)
            .collect();
        assert_eq!(lanes.len(), 1);
    }
}
