//! The hot paths by themselves.

use std::hint::black_box;

use hustdbsync::internals::binlog::request::Template;
use hustdbsync::internals::binlog::{Lifetime, Method, Record, key, line};
use hustdbsync::internals::http::response;
use hustdbsync::internals::ledger::acks::{OpenSegment, OpenSegments};
use hustdbsync::internals::ledger::file::Place;
use hustdbsync::internals::ledger::ids::{FileId, SegmentId};

use crate::replay::replay;
use crate::{RECORDS, VALUE_BYTES, measured};

/// A path's name, and what runs it.
type Path = (&'static str, fn());

/// All of them; the longest is the last.
pub(crate) const PATHS: [Path; 7] = [
    ("split", split),
    ("decode", decode),
    ("record", record),
    ("compose", compose),
    ("answers", answers),
    ("acks", acks),
    ("replay", replay),
];

const PREFIX: &[u8] = b"[2026-11-22 16:40:38] [DEBUG] | ";
pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nVersion: 12\r\nVerError: false\r\n\
                                   Content-Length: 0\r\nContent-Type: text/plain\r\n\r\n";

/// The records' bytes.
fn records() -> Vec<Vec<u8>> {
    let value = [b'v'; VALUE_BYTES];
    let record = |number: usize| {
        let (key, mut bytes) = (format!("key:{number:012}"), Vec::new());
        let record = Record::new(Method::Put, key.as_bytes(), &value);
        record.encode(&mut bytes);
        bytes
    };
    (0..RECORDS).map(record).collect()
}

/// The records' lines.
pub(crate) fn log() -> Vec<u8> {
    let mut log = Vec::new();
    for record in records() {
        line::encode(PREFIX, &record, &mut log);
    }
    log
}

/// Where lines end.
fn split() {
    let log = log();
    let lines = measured(|| memchr::memchr_iter(b'\n', black_box(&log)).count());
    assert_eq!(lines, RECORDS);
}

/// A line's payload, decoded in place and checked.
fn decode() {
    let mut log = log();
    let decoded = measured(|| {
        let mut rest = &mut log[..];
        let mut decoded = 0;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at_mut(end + 1);
            decoded += usize::from(black_box(line::decode_in_place(&mut line[..end])).is_ok());
            rest = after;
        }
        decoded
    });
    assert_eq!(decoded, RECORDS);
}

/// A record's fields, and the hash that its lane is chosen by.
fn record() {
    let records = records();
    let mut scratch = Vec::new();
    let hashes = measured(|| {
        let hash = |bytes: &Vec<u8>| {
            let record = Record::parse(black_box(bytes)).expect("it was just encoded");
            key::order_hash(&record, &mut scratch)
        };
        records.iter().map(hash).fold(0, u64::wrapping_add)
    });
    black_box(hashes);
}

/// A request's head.
fn compose() {
    let records = records();
    let template = Template::new("127.0.0.1:9998", Some("aHVzdHN0b3JlOmh1c3RzdG9yZQ=="));
    let mut head = Vec::with_capacity(4096);
    measured(|| {
        for bytes in &records {
            head.clear();
            let record = Record::parse_checked(black_box(bytes));
            black_box(template.compose(&record, Lifetime::Unlimited, &mut head));
        }
    });
}

/// Answers, one behind the other.
fn answers() {
    let all = ANSWER.repeat(RECORDS);
    let taken = measured(|| {
        let (mut rest, mut taken) = (&all[..], 0);
        while let Ok(Some(response)) = response::parse(black_box(rest)) {
            rest = &rest[response.bytes()..];
            taken += 1;
        }
        taken
    });
    assert_eq!(taken, RECORDS);
}

/// Which lines are completed, in the order in which 16 lanes may complete them.
fn acks() {
    const LANES: usize = 16;
    let mut open = OpenSegments::default();
    let lines = u32::try_from(RECORDS).expect("they are few");
    let first = Place { line: 0, byte: 0 };
    let segment = SegmentId(7);
    open.push(OpenSegment::new(
        segment,
        FileId(1),
        first,
        lines,
        1 << 20,
        0,
        &[],
    ));
    let order: Vec<u32> = (0..LANES)
        .flat_map(|lane| (lane..RECORDS).step_by(LANES))
        .map(|line| u32::try_from(line).expect("they are few"))
        .collect();
    let closed = measured(|| {
        let settle = |line: &u32| black_box(open.settle(segment, *line));
        order.iter().filter_map(settle).count()
    });
    assert_eq!(closed, 1);
}
