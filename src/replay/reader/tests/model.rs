//! The reader against its naive model: a file held whole, split at every newline, decoded line by
//! line.

use std::time::Duration;

use proptest::prelude::*;

use super::fixture::{A, BOUNDS, Fixture, put, put_value, settings};
use crate::binlog::line::decode_in_place;
use crate::binlog::long_line::line_digest;
use crate::binlog::{LineFault, Record};
use crate::limits::REJECTED_HEAD_BYTES;
use crate::replay::messages::LineInLog;
use crate::replay::reader::buffers::ReaderBounds;

/// A line's number, where it begins, and its key or why it has none.
type Line = (u64, u64, Result<String, &'static str>);

fn naive(log: &[u8], line_bytes_max: usize) -> Vec<Line> {
    let mut lines: Vec<&[u8]> = log.split(|byte| *byte == b'\n').collect();
    lines.pop_if(|last| last.is_empty());
    let mut at = 0;
    let mut found = Vec::new();
    for (number, line) in lines.into_iter().enumerate() {
        let mut copy = line.to_vec();
        let key = if line.len() > line_bytes_max {
            Err(LineFault::TooLong.code())
        } else {
            decode_in_place(&mut copy)
                .map_err(|fault| fault.code())
                .map(|range| {
                    let record = Record::parse(&copy[range]).unwrap();
                    show(std::str::from_utf8(record.key).unwrap(), record.value)
                })
        };
        found.push((number as u64, at, key));
        at += line.len() as u64 + 1;
    }
    found
}

/// A record in short.
fn show(key: &str, value: &[u8]) -> String {
    format!("{key} {:x}", line_digest(value))
}

fn fed(fixture: &Fixture) -> Vec<Line> {
    let mut found: Vec<Line> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for rejection in &fixture.rejected {
        let segment = &fixture.segments[&rejection.segment];
        let byte = segment.first.byte + u64::from(rejection.offset.unwrap());
        found.push((
            segment.first.line + u64::from(rejection.line),
            byte,
            Err(rejection.reason),
        ));
    }
    for got in fixture.got.get(&A).into_iter().flatten() {
        places.insert(got.line, show(&got.key, &got.value));
    }
    // Where a record's line began is told by its segment only; lines between are counted by the
    // peer.
    found.extend(
        places
            .into_iter()
            .map(|(line, key)| (line, u64::MAX, Ok(key))),
    );
    found.sort_by_key(|(line, ..)| *line);
    found
}

fn log() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => (0..20_u8).prop_map(|n| put(&format!("k{n}"))),
        2 => (0..1500_usize).prop_map(|bytes| put_value("long", &vec![5; bytes])),
        2 => proptest::collection::vec(any::<u8>(), 0..60),
        2 => (0..90_usize, 0..20_u8).prop_map(|(cut, n)| {
            let mut line = put(&format!("k{n}"));
            line.truncate(cut);
            line
        }),
        4 => (0..90_usize).prop_map(|bytes| [vec![b'x'; bytes], b"\n".to_vec()].concat()),
        1 => Just(b"\n".to_vec()),
        1 => (0..5000_usize).prop_map(|bytes| vec![b'x'; bytes]),
    ];
    proptest::collection::vec(piece, 0..25).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_chunks_and_reads_the_same_lines_are_fed_and_rejected(
        log in log(),
        chunk in 0..4_u32,
        read_bytes_max in prop_oneof![Just(0_usize), 1..400_usize],
        beyond_chunk in 0..2500_usize,
        budget in 0..6000_usize,
        in_flight in 1..40_u32,
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let line_bytes_max = (64 << chunk) + beyond_chunk;
        let bounds = ReaderBounds {
            chunk_bytes_min: 64,
            chunk_bytes_max: 64 << chunk,
            line_bytes_max,
        };
        let mut settings = settings();
        settings.memory_budget_bytes = budget;
        settings.in_flight_per_backend = in_flight;
        let mut fixture = Fixture::with(settings, bounds, 8);
        fixture.disk.read_at_most(read_bytes_max);
        fixture.know(&["a:1"]);
        // The file grows in steps that end anywhere.
        let mut ends: Vec<usize> = cuts
            .iter()
            .map(|cut| cut.index(log.len() + 1))
            .chain([log.len()])
            .collect();
        ends.sort_unstable();
        let mut from = 0;
        for end in ends {
            fixture.append(A, "01", &log[from..end]);
            for _ in 0..200 {
                fixture.pass(Duration::from_millis(1));
                fixture.run();
            }
            from = end;
        }
        fixture.run_for(Duration::from_secs(90));
        fixture.run_for(Duration::from_secs(90));

        let expected = naive(&log, line_bytes_max);
        let found = fed(&fixture);
        prop_assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert_eq!((found.0, &found.2), (expected.0, &expected.2));
            if found.2.is_err() {
                prop_assert_eq!(found.1, expected.1);
            }
        }
        // Segments follow one another without a gap, up to the file's end.
        let mut end = (0, 0);
        for segment in fixture.segments.values() {
            prop_assert_eq!((segment.first.line, segment.first.byte), end);
            end = (
                segment.first.line + u64::from(segment.lines),
                segment.end_byte,
            );
            prop_assert_eq!(
                expected
                    .get(usize::try_from(end.0).unwrap())
                    .map_or(log.len() as u64, |line| line.1),
                end.1
            );
        }
        prop_assert_eq!(end.0, expected.len() as u64);
        for rejection in &fixture.rejected {
            let segment = &fixture.segments[&rejection.segment];
            let from =
                usize::try_from(segment.first.byte).unwrap() + rejection.offset.unwrap() as usize;
            let line = log[from..].split(|byte| *byte == b'\n').next().unwrap();
            let in_log = LineInLog {
                bytes: line.len() as u64,
                digest: line_digest(line),
            };
            prop_assert!(rejection.in_log.is_none_or(|found| found == in_log));
            let is_whole = line.len() <= line_bytes_max && rejection.in_log.is_none();
            let kept = if is_whole {
                line.len()
            } else {
                line.len().min(REJECTED_HEAD_BYTES)
            };
            prop_assert_eq!(&line[..kept], &rejection.raw);
        }
    }
}

#[test]
fn the_models_bounds_are_those_of_the_fixture() {
    assert_eq!(
        naive(&put("k"), BOUNDS.line_bytes_max),
        [(0, 0, Ok(show("k", b"value")))]
    );
    assert_eq!(naive(b"", 1), []);
}
