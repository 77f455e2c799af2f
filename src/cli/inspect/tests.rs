//! What inspect prints of good and bad lines.

use super::*;
use crate::binlog::{Method, line};

const PREFIX: &[u8] = b"[2026-11-22 16:40:38] [DEBUG] | ";

fn line_of(record: &Record<'_>) -> Vec<u8> {
    let (mut bytes, mut text) = (Vec::new(), Vec::new());
    record.encode(&mut bytes);
    line::encode(PREFIX, &bytes, &mut text);
    text
}

fn put() -> Record<'static> {
    Record {
        method: Method::Put,
        version: 3,
        key: b"a%20b",
        expires_unix: 0,
        table: b"",
        score: 0,
        opt: 0,
        value: b"two words",
    }
}

fn zadd() -> Record<'static> {
    Record {
        method: Method::Zadd,
        key: b"\xff",
        table: b"z",
        score: 7,
        opt: -1,
        value: b"\xff",
        ..put()
    }
}

/// Inspects `log`; gives what was printed and the summary.
fn said(log: &[u8], json: bool, values: bool) -> (String, String) {
    let format = Format {
        json,
        values,
        several_files: false,
    };
    let (mut tally, mut out) = (Tally::default(), Vec::new());
    inspect_one(Path::new("l"), log, format, &mut tally, &mut out)
        .unwrap()
        .unwrap();
    (String::from_utf8(out).unwrap(), tally.to_string())
}

#[track_caller]
fn check(log: &[u8], json: bool, values: bool, expected: &str) {
    assert_eq!(said(log, json, values).0, expected);
}

#[test]
fn a_record_is_a_line() {
    let log = [line_of(&put()), line_of(&zadd())].concat();
    check(
        &log,
        false,
        false,
        "      1  put       v3   key \"a%20b\"  9 B\n      2  zadd      v3   table \"z\" key \"\\xff\"  score - 7  1 B\n",
    );
}

#[test]
fn json_has_octets_that_are_no_text_in_base64() {
    let log = [line_of(&put()), line_of(&zadd())].concat();
    check(
        &log,
        true,
        true,
        "{\"file\":\"l\",\"line\":1,\"method\":\"put\",\"version\":3,\"key\":\"a%20b\",\"value_bytes\":9,\"value\":\"two words\"}\n\
         {\"file\":\"l\",\"line\":2,\"method\":\"zadd\",\"version\":3,\"table\":\"z\",\"key_base64\":\"/w==\",\"score\":7,\"opt\":-1,\"value_bytes\":1,\"value_base64\":\"/w==\"}\n",
    );
}

#[test]
fn values_are_shown_on_demand_and_expiry_always() {
    let record = Record {
        expires_unix: 1,
        ..put()
    };
    let (text, _) = said(&line_of(&record), false, true);
    assert!(text.contains("  expires 19"), "{text}");
    assert!(text.ends_with("  value \"two words\"\n"), "{text}");
}

#[test]
fn faults_stand_among_the_records_and_are_counted() {
    let log = [&line_of(&put())[..], b"\n| !!\n", &line_of(&put())].concat();
    let (text, summary) = said(&log, false, false);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[1],
        "      2  FAULT  the line has no payload after its last space"
    );
    assert_eq!(lines[2], "      3  FAULT  the payload is not base64");
    assert_eq!(lines.len(), 4);
    assert_eq!(
        summary,
        format!(
            "1 file, 4 lines, {} B\n  put                 2  18 B of values\n  FAULT               1  no_payload\n  FAULT               1  not_base64\n",
            log.len()
        )
    );
    check(
        b"\n",
        true,
        false,
        "{\"file\":\"l\",\"line\":1,\"fault\":\"no_payload\",\"reason\":\"the line has no payload after its last space\"}\n",
    );
}

#[test]
fn a_last_line_without_newline_is_told() {
    let line = line_of(&put());
    let (text, summary) = said(&line[..line.len() - 1], false, false);
    assert_eq!(text.lines().count(), 1);
    assert!(
        summary.ends_with(
            "  no fault\n  1 last line without newline: still being written, or cut off\n"
        ),
        "{summary}"
    );
}
