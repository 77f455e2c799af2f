//! Any bytes as a line, and as a record in a line: a record or a fault as another base64 reader has
//! it, never a panic; what is a record is the same when it is written anew. A line that is rejected
//! reads back from rejected.jsonl.
#![no_main]

use base64::prelude::{BASE64_STANDARD, Engine};
use hustdbsync::internals::binlog::{LineFault, Record, line};
use hustdbsync::internals::ledger::rejected::{RejectedLine, pieces};
use hustdbsync_fuzz::{encoded, mended};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let found = check(bytes);
    if let Some(record) = mended(bytes) {
        let mut text = Vec::new();
        line::encode(&bytes[..bytes.len().min(3)], b"", &mut text);
        text.pop();
        text.push(b' ');
        line::encode(b"", &encoded(&record), &mut text);
        assert_eq!(text.pop(), Some(b'\n'));
        assert!(!text[bytes.len().min(3)..].contains(&b'\n'));
        assert_eq!(check(&text), Ok(encoded(&record)));
    }
    check_rejected(bytes, found.err());
    pieces(bytes).for_each(drop);
});

/// The record's bytes in a line, after they were held against another reader's.
fn check(bytes: &[u8]) -> Result<Vec<u8>, LineFault> {
    let mut text = bytes.to_vec();
    let found = line::decode_in_place(&mut text).map(|range| text[range].to_vec());
    let payload = bytes
        .rsplit(|byte| *byte == b' ')
        .next()
        .unwrap_or_default();
    let expected = match BASE64_STANDARD.decode(payload) {
        _ if payload.is_empty() => Err(LineFault::NoPayload),
        Err(_) => Err(LineFault::NotBase64),
        Ok(payload) => Record::parse(&payload).map(|record| {
            // What is accepted is the record's whole content, but for the checksum of no table.
            let again = encoded(&record);
            assert_eq!(Record::parse(&again), Ok(record));
            payload.clone()
        }),
    };
    assert_eq!(found, expected);
    found
}

fn check_rejected(raw: &[u8], fault: Option<LineFault>) {
    let line = RejectedLine {
        unix: 1,
        backend: "127.0.0.1:9998".to_owned(),
        file: "a.log".to_owned(),
        line: 1,
        byte: Some(0),
        log: Some((u64::MAX, 0)),
        reason: fault.map_or("none", |fault| fault.code()).to_owned(),
        detail: fault.map_or(String::new(), |fault| fault.to_string()),
        raw: raw.to_vec(),
    };
    let mut text = Vec::new();
    line.encode(&mut text);
    assert_eq!(text.pop(), Some(b'\n'));
    assert!(!text.contains(&b'\n'));
    assert_eq!(
        RejectedLine::parse(&text).expect("it was written here"),
        line
    );
}
