//! Lines that are taken back or thrown away: none is lost, whatever falls in between (G1, G9).

use std::io::ErrorKind;

use super::fixture::{Fixture, LOG, NAME};
use crate::binlog::LineFault;
use crate::ledger::rejected::{self, RejectedLine, is_returned};
use crate::limits::{REJECTED_DETAIL_CHARS_MAX, REJECTED_SHOWN_MAX};
use crate::replay::checkpointer::drop_rejected;
use crate::replay::disk::Area;
use crate::replay::disk::Disk;
use crate::replay::messages::{
    BackendId, BackendMessage, CheckpointerMessage, ControlMessage, FileId, FileStart, Filter,
    RejectedVerb, Rejection, Requeued, SegmentId,
};
use crate::replay::testdisk::{Crash, Op, TestDisk};
use crate::status::control_request::{Listed, RejectedList};

const REASONS: [&str; 4] = ["table_type", "checksum", "table_type", "line_too_long"];

fn raw(line: usize) -> Vec<u8> {
    format!("line {line}").into_bytes()
}

/// A log of ten lines, of which the first four are rejected, for `REASONS`.
fn fixture() -> Fixture {
    let mut fixture = Fixture::new(TestDisk::default());
    fixture.write_log(LOG, 10);
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(0, 1, 0, 10, &[]);
    for (line, reason) in REASONS.into_iter().enumerate() {
        fixture.tell(BackendMessage::Rejected(Box::new(Rejection {
            file: FileId(1),
            segment: SegmentId(0),
            line: line as u32,
            offset: None,
            reason,
            detail: String::new(),
            raw: raw(line),
            in_log: None,
            unix: 1_800_000_000 + line as u64,
        })));
    }
    fixture.settle(0, &[4, 5, 6, 7, 8, 9]);
    fixture.pass(2);
    fixture.told.clear();
    assert_eq!(
        (fixture.counts().settled, fixture.counts().rejected),
        (10, 4)
    );
    fixture
}

fn of_reason(reason: &str) -> Filter {
    Filter {
        reason: Some(reason.to_owned()),
        ..Filter::default()
    }
}

fn ask(fixture: &mut Fixture, what: RejectedVerb, filter: Filter) -> Result<Requeued, String> {
    fixture.tell(BackendMessage::Requeue {
        ask: 7,
        what,
        filter,
    });
    fixture.turn();
    let told = std::mem::take(&mut fixture.told);
    let outcome = told.into_iter().find_map(|message| match message {
        ControlMessage::Requeued {
            backend: BackendId(0),
            ask: 7,
            outcome,
        } => Some(outcome),
        _ => None,
    });
    outcome.expect("each question is answered")
}

#[test]
fn the_lines_that_are_left_are_counted_whoever_takes_some_out() {
    let mut fixture = fixture();
    let left = |fixture: &Fixture| fixture.counts().rejected_lines;
    assert_eq!(left(&fixture), 4);
    ask(&mut fixture, RejectedVerb::Drop, of_reason("checksum")).unwrap();
    assert_eq!(left(&fixture), 3);
    fixture.restart();
    assert_eq!(left(&fixture), 3, "an earlier process's count, too");
    fixture
        .disk
        .remove(Area::State, NAME, rejected::NAME)
        .unwrap();
    fixture.pass(60);
    assert_eq!(left(&fixture), 0, "taken out by hand");
    ask(&mut fixture, RejectedVerb::Replay, Filter::default()).unwrap();
    assert_eq!(left(&fixture), 0);
}

fn listed(fixture: &mut Fixture) -> RejectedList {
    fixture.tell(BackendMessage::ListRejected { ask: 8 });
    fixture.turn();
    let told = std::mem::take(&mut fixture.told);
    let mut listed = told.into_iter().filter_map(|message| match message {
        ControlMessage::Listed {
            ask: 8,
            listed: Ok(Listed::Rejected(list)),
        } => Some(list),
        _ => None,
    });
    listed.next().expect("each question is answered")
}

#[test]
fn the_lines_that_were_rejected_last_are_listed_without_what_stands_in_them() {
    let mut fixture = fixture();
    let list = listed(&mut fixture);
    let written = fixture.rejected();
    assert_eq!((list.left, list.lines.len(), written.len()), (4, 4, 4));
    for (shown, line) in list.lines.iter().rev().zip(&written) {
        assert_eq!((shown.line, &shown.reason), (line.line, &line.reason));
        assert_eq!(shown.detail, line.detail);
        // The id is one that replaying and dropping understand.
        let filter = Filter {
            ids: vec![u64::from_str_radix(&shown.id, 16).unwrap()],
            ..Filter::default()
        };
        let dropped = ask(&mut fixture, RejectedVerb::Drop, filter).unwrap();
        assert_eq!(dropped.done, 1, "{shown:?}");
    }
    assert_eq!(listed(&mut fixture), RejectedList::default());
}

#[test]
fn of_more_lines_than_are_shown_the_last_are_listed() {
    let mut fixture = fixture();
    // A line that is longer than all that is read, between short ones.
    let (first, mut file) = (fixture.rejected().remove(0), Vec::new());
    for number in 0..2 * REJECTED_SHOWN_MAX as u64 {
        let is_long = number == 50;
        let line = RejectedLine {
            line: number,
            raw: vec![b'x'; if is_long { 300 << 10 } else { 9 }],
            detail: "d".repeat(REJECTED_DETAIL_CHARS_MAX + 1),
            ..first.clone()
        };
        line.encode(&mut file);
    }
    let write = |fixture: &mut Fixture, file: &[u8]| {
        fixture
            .disk
            .remove(Area::State, NAME, rejected::NAME)
            .unwrap();
        // It is seen that they are gone.
        assert_eq!(listed(fixture), RejectedList::default());
        fixture
            .disk
            .append(Area::State, NAME, rejected::NAME, file)
            .unwrap();
    };
    write(&mut fixture, &file);
    let list = listed(&mut fixture);
    assert_eq!(list.left, 2 * REJECTED_SHOWN_MAX as u64);
    let numbers: Vec<u64> = list.lines.iter().map(|line| line.line).collect();
    let expected: Vec<u64> = (100..200).rev().collect();
    assert_eq!(numbers, expected);
    let detail = &list.lines[0].detail;
    assert_eq!(detail.chars().count(), REJECTED_DETAIL_CHARS_MAX);

    let ends = memchr::memchr_iter(b'\n', &file).nth(50).unwrap();
    write(&mut fixture, &file[..=ends]);
    let list = listed(&mut fixture);
    assert_eq!(
        (list.lines.len(), list.left),
        (0, 51),
        "the last one is too long"
    );
}

/// Logs of lines that were taken back, with what is in them.
fn returned(fixture: &Fixture) -> Vec<(String, Vec<u8>)> {
    let mut disk = fixture.disk.clone();
    let entries = disk.entries(Area::Logs, NAME).unwrap();
    let names = entries.into_iter().map(|entry| entry.name);
    let names = names.filter(|name| is_returned(name));
    names
        .map(|name| (name.clone(), fixture.disk.log(NAME, &name).unwrap()))
        .collect()
}

fn reject(fixture: &Fixture) -> Vec<Vec<u8>> {
    fixture
        .rejected()
        .into_iter()
        .map(|line| line.raw)
        .collect()
}

#[test]
fn lines_that_are_taken_back_are_a_log_and_rejected_no_more() {
    let mut fixture = fixture();
    let expected = Requeued {
        done: 2,
        cut: 0,
        left: 2,
    };
    assert_eq!(
        ask(&mut fixture, RejectedVerb::Replay, of_reason("table_type")),
        Ok(expected)
    );
    assert_eq!(reject(&fixture), [raw(1), raw(3)]);
    let logs = returned(&fixture);
    assert_eq!(logs.len(), 1);
    assert_eq!(logs[0].1, b"line 0\nline 2\n");
    assert!(*logs[0].0 < *LOG, "what is older goes first");
    let nothing = Requeued {
        left: 2,
        ..Requeued::default()
    };
    assert_eq!(
        ask(&mut fixture, RejectedVerb::Replay, of_reason("table_type")),
        Ok(nothing)
    );
    assert_eq!(returned(&fixture).len(), 1);
}

#[test]
fn two_logs_of_one_second_have_two_names() {
    let mut fixture = fixture();
    for reason in ["table_type", "checksum"] {
        assert!(ask(&mut fixture, RejectedVerb::Replay, of_reason(reason)).is_ok());
    }
    assert_eq!(returned(&fixture).len(), 2);
}

#[test]
fn a_line_that_was_cut_stays_and_is_told() {
    assert_eq!(LineFault::TooLong.code(), REASONS[3]);
    let mut fixture = fixture();
    let expected = Requeued {
        done: 3,
        cut: 1,
        left: 1,
    };
    assert_eq!(
        ask(&mut fixture, RejectedVerb::Replay, Filter::default()),
        Ok(expected)
    );
    assert_eq!(reject(&fixture), [raw(3)]);
}

#[test]
fn a_line_is_settled_once_however_often_it_is_taken_back() {
    let mut fixture = fixture();
    ask(&mut fixture, RejectedVerb::Replay, of_reason("table_type")).unwrap();
    let (name, _) = returned(&fixture).remove(0);
    fixture.open(2, &name, FileStart::New);
    fixture.send_segment_of(1, 2, 0, 2, 14);
    fixture.settle(1, &[0]);
    fixture.turn();
    let counts = fixture.counts();
    assert_eq!(
        (
            counts.processed,
            counts.settled,
            counts.applied,
            counts.rejected
        ),
        (10, 10, 6, 4)
    );
    // The other is refused again.
    fixture.reject_of(2, 1, 1);
    fixture.pass(2);
    assert_eq!(
        (fixture.counts().settled, fixture.counts().rejected),
        (10, 4)
    );
    assert_eq!(fixture.rejected().len(), 3);
    fixture.restart();
    assert_eq!(
        (fixture.counts().processed, fixture.counts().settled),
        (10, 10)
    );
}

#[test]
fn lines_that_are_dropped_are_gone_with_or_without_a_server() {
    let mut fixture = fixture();
    let only = |id| Filter {
        ids: vec![id],
        ..Filter::default()
    };
    let content = fixture.disk.state(NAME, rejected::NAME).unwrap();
    let first = content.split(|byte| *byte == b'\n').next().unwrap();
    let dropped = ask(&mut fixture, RejectedVerb::Drop, only(rejected::id(first))).unwrap();
    assert_eq!((dropped.done, dropped.left), (1, 3));
    assert_eq!(reject(&fixture), [raw(1), raw(2), raw(3)]);
    let dropped = drop_rejected(&mut fixture.disk.clone(), NAME, &Filter::default()).unwrap();
    assert_eq!((dropped.done, dropped.left), (3, 0));
    assert!(reject(&fixture).is_empty() && returned(&fixture).is_empty());
    let nothing = drop_rejected(&mut fixture.disk.clone(), "b:1", &Filter::default());
    assert_eq!(nothing, Ok(Requeued::default()));
}

#[test]
fn a_line_that_nobody_knows_goes_where_all_are_dropped_and_else_stays() {
    let mut fixture = fixture();
    let mut disk = fixture.disk.clone();
    disk.append(Area::State, NAME, rejected::NAME, b"a note\n")
        .unwrap();
    let replayed = ask(&mut fixture, RejectedVerb::Replay, Filter::default()).unwrap();
    assert_eq!((replayed.done, replayed.cut, replayed.left), (3, 1, 2));
    let of_its_time = Filter {
        since: Some(0),
        ..Filter::default()
    };
    let dropped = ask(&mut fixture, RejectedVerb::Drop, of_its_time).unwrap();
    assert_eq!((dropped.done, dropped.left), (1, 1));
    let dropped = ask(&mut fixture, RejectedVerb::Drop, Filter::default()).unwrap();
    assert_eq!((dropped.done, dropped.left), (1, 0));
}

#[test]
fn a_stranger_s_lines_and_long_ones_are_kept_as_they_are() {
    let mut fixture = fixture();
    let mut disk = fixture.disk.clone();
    let mut long = RejectedLine {
        unix: 1,
        backend: NAME.to_owned(),
        file: LOG.to_owned(),
        line: 1,
        byte: None,
        log: None,
        reason: "keep".to_owned(),
        detail: String::new(),
        raw: vec![b'x'; 3 * crate::limits::CHUNK_BYTES_MAX],
    };
    let mut bytes = b"a note\n".to_vec();
    long.encode(&mut bytes);
    long.reason = "table_type".to_owned();
    long.encode(&mut bytes);
    bytes.extend_from_slice(b"without an end");
    disk.append(Area::State, NAME, rejected::NAME, &bytes)
        .unwrap();
    let requeued = ask(&mut fixture, RejectedVerb::Replay, of_reason("table_type")).unwrap();
    assert_eq!((requeued.done, requeued.left), (3, 5));
    let content = fixture.disk.state(NAME, rejected::NAME).unwrap();
    assert!(content.ends_with(b"\nwithout an end\n"));
    assert!(content.windows(8).any(|window| window == b"\na note\n"));
    assert_eq!(returned(&fixture)[0].1.len(), 14 + long.raw.len() + 1);
}

/// What `what` comes to when the machine dies at each of its steps: each line is in one of its two
/// places, or in both.
fn check_crashes(what: RejectedVerb) {
    let mut probe = fixture();
    let before = probe.disk.steps();
    ask(&mut probe, what, of_reason("table_type")).unwrap();
    let steps = probe.disk.steps();
    assert!(steps > before + 4);
    for step in before + 1..=steps + 1 {
        let mut crashes = vec![Crash::LosesAll, Crash::LosesNothing];
        crashes.extend((0..8).map(|seed| Crash::LosesSome(seed * 1000 + step)));
        for crash in crashes {
            let mut fixture = fixture();
            fixture.disk.die_at(step);
            let answer = ask(&mut fixture, what, of_reason("table_type"));
            fixture.disk.crash(crash);
            fixture.restart();
            let kept = reject(&fixture);
            for line in [1, 3] {
                assert!(kept.contains(&raw(line)), "{step} {crash:?}: {line} stays");
            }
            let logs = returned(&fixture);
            let back: Vec<u8> = logs.into_iter().flat_map(|(_, bytes)| bytes).collect();
            assert!(
                back.is_empty() || back == b"line 0\nline 2\n",
                "{step} {crash:?}: a log is whole or not there"
            );
            for line in [0, 2] {
                let is_kept = kept.contains(&raw(line));
                assert!(
                    is_kept || what == RejectedVerb::Drop || !back.is_empty(),
                    "{step} {crash:?}: {line} is lost"
                );
                if answer.is_ok() {
                    assert!(
                        !is_kept,
                        "{step} {crash:?}: {line} was said to be taken out"
                    );
                }
            }
            // What was left of it is in nobody's way.
            assert!(ask(&mut fixture, what, of_reason("checksum")).is_ok());
            assert_eq!(fixture.disk.state(NAME, rejected::NEXT), None);
            assert_eq!(fixture.disk.log(NAME, rejected::STAGED), None);
        }
    }
}

#[test]
fn a_crash_at_any_step_of_taking_back_loses_no_line_and_tears_none() {
    check_crashes(RejectedVerb::Replay);
}

#[test]
fn a_crash_at_any_step_of_dropping_drops_all_or_none() {
    check_crashes(RejectedVerb::Drop);
}

#[test]
fn whatever_fails_before_the_names_change_changes_nothing_and_is_said() {
    for op in [
        Op::Append(Area::Logs),
        Op::Sync(Area::Logs),
        Op::Append(Area::State),
        Op::Sync(Area::State),
        Op::Rename(Area::Logs),
    ] {
        let mut fixture = fixture();
        fixture.disk.fail(op, ErrorKind::StorageFull, 0, 1);
        let why = ask(&mut fixture, RejectedVerb::Replay, of_reason("table_type")).unwrap_err();
        assert!(why.starts_with("cannot "), "{why}");
        assert_eq!(reject(&fixture).len(), 4, "{op:?}");
        assert!(returned(&fixture).is_empty(), "{op:?}");
        let again = ask(&mut fixture, RejectedVerb::Replay, of_reason("table_type")).unwrap();
        assert_eq!(again.done, 2, "{op:?}");
    }
}

#[test]
fn what_fails_when_the_lines_are_on_their_way_is_said_so() {
    for op in [Op::SyncFolder(Area::Logs), Op::Rename(Area::State)] {
        let mut fixture = fixture();
        fixture.disk.fail(op, ErrorKind::Other, 0, 1);
        let why = ask(&mut fixture, RejectedVerb::Replay, of_reason("table_type")).unwrap_err();
        assert!(why.contains("on their way, and still in"), "{why}");
        assert_eq!((reject(&fixture).len(), returned(&fixture).len()), (4, 1));
    }
}

#[test]
fn a_full_rejected_file_can_be_worked_off() {
    let mut fixture = fixture();
    fixture.settings.rejected_bytes_max = 100;
    fixture.send(CheckpointerMessage::Settings(fixture.settings.clone()));
    fixture.write_log("2026-11-22-16-41.log", 1);
    fixture.open(2, "2026-11-22-16-41.log", FileStart::New);
    fixture.segment(1, 2, 0, 1, &[]);
    fixture.reject(1, 0);
    fixture.pass(1);
    assert!(fixture.is_paused());
    assert_eq!(
        ask(&mut fixture, RejectedVerb::Drop, Filter::default())
            .unwrap()
            .done,
        4
    );
    fixture.pass(10);
    assert!(!fixture.is_paused());
    assert_eq!(fixture.rejected().len(), 1);
}
