//! Lines that are rejected: each with its reason and number, nothing else with it.

use hustdbsync::internals::binlog::{Method, Record};

use crate::harness::{Home, fake_hustdb, values};
use crate::log::{PREFIX, line_of, put};

/// Among sound lines, one that is `line`: it is rejected for `reason`, with its number and all its
/// bytes, and the others are delivered.
#[track_caller]
fn check(line: &[u8], reason: &str) {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    home.log(&fake_hustdb.name())
        .put("first", 1, "v")
        .raw(line)
        .put("last", 1, "v");
    let server = home.start();
    let backend = server.wait_settled(&fake_hustdb.name(), 3);
    assert_eq!(backend.counts.rejected, 1);
    assert_eq!(values(&fake_hustdb).len(), 2);
    let rejected = home.rejected(&fake_hustdb.name());
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    let entry = &rejected[0];
    assert_eq!(entry["line"], 2, "{entry}");
    assert_eq!(entry["file"], "2026-11-22-16-40.log", "{entry}");
    assert_eq!(entry["reason"], reason, "{entry}");
    assert!(
        entry["time"].is_string() && entry["detail"].is_string(),
        "{entry}"
    );
    let raw = match entry["raw"].as_str() {
        Some(raw) => raw.as_bytes().to_vec(),
        None => base64_simd::STANDARD
            .decode_to_vec(entry["raw_base64"].as_str().unwrap())
            .unwrap(),
    };
    assert_eq!(raw, line.strip_suffix(b"\n").unwrap());
    // Settled for good: nothing is rejected again.
    server.stop();
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 3);
    server.stop();
    assert_eq!(home.rejected(&fake_hustdb.name()).len(), 1);
}

/// A sound record's bytes, changed, as a line.
fn spoilt(spoil: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let (mut bytes, mut line) = (Vec::new(), Vec::new());
    put("key", 1, "value").encode(&mut bytes);
    spoil(&mut bytes);
    hustdbsync::internals::binlog::line::encode(PREFIX, &bytes, &mut line);
    line
}

#[test]
fn a_line_without_payload() {
    check(b"\n", "no_payload");
    check(&[PREFIX, b"\n"].concat(), "no_payload");
}

#[test]
fn a_line_that_is_no_base64() {
    check(&[PREFIX, b"MQAA*AAA\n"].concat(), "not_base64");
    check(&[PREFIX, b"MQAAAAE\n"].concat(), "not_base64");
    check(&[&[0; 4096][..], b"\n"].concat(), "not_base64");
    check(b"\xff\xfe\n", "not_base64");
}

#[test]
fn a_record_that_is_shorter_than_a_head() {
    check(&spoilt(|bytes| bytes.truncate(20)), "too_short");
}

#[test]
fn a_record_whose_lengths_disagree_or_point_past_its_end() {
    check(&spoilt(|bytes| bytes[0] += 1), "head_length");
    check(&spoilt(|bytes| bytes[9..13].fill(0xff)), "length_past_end");
}

#[test]
fn a_record_whose_checksum_is_off() {
    check(&spoilt(|bytes| bytes[13] ^= 1), "checksum");
}

#[test]
fn a_record_of_a_method_that_nobody_knows() {
    check(&spoilt(|bytes| bytes[4] = 99), "unknown_method");
}

#[test]
fn records_that_the_backend_refuses() {
    // A version of 0, or above hustdb's last.
    check(&line_of(&put("k", 0, "v")), "version");
    check(&line_of(&put("k", 4_194_304, "v")), "version");
    // A table's name that is none.
    check(
        &line_of(&Record {
            method: Method::Hset,
            table: b"no-table!",
            ..put("k", 1, "v")
        }),
        "bad_request",
    );
    // HA did not keep a value that came in the query.
    check(&line_of(&put("k", 1, "")), "value_not_kept");
    // What belongs to an older hustdb has no place in this one.
    check(
        &line_of(&Record {
            method: Method::TbPut,
            table: b"t",
            ..put("k", 1, "v")
        }),
        "not_found",
    );
}

#[test]
fn a_table_of_another_type() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let member = Record {
        method: Method::Sadd,
        table: b"t",
        ..put("m", 1, "m")
    };
    let hset = Record {
        method: Method::Hset,
        table: b"t",
        ..put("k", 1, "v")
    };
    home.log(&fake_hustdb.name()).record(&member);
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1);
    home.log(&fake_hustdb.name()).record(&hset);
    server.wait_settled(&fake_hustdb.name(), 2);
    let rejected = home.rejected(&fake_hustdb.name());
    assert_eq!(rejected[0]["reason"], "table_type");
    assert_eq!(rejected[0]["line"], 2);
}

#[test]
fn an_operator_can_say_what_an_answer_means() {
    let (home, fake_hustdb) = (
        Home::new().with(
            "sync.outcomes",
            serde_json::json!({"404 put": "superseded"}),
        ),
        fake_hustdb(),
    );
    home.log(&fake_hustdb.name()).put("k", 1, "");
    let server = home.start();
    let backend = server.wait_settled(&fake_hustdb.name(), 1);
    assert_eq!((backend.counts.rejected, backend.counts.superseded), (0, 1));
}

#[test]
fn deletes_of_what_is_not_there_are_settled() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    for method in [Method::Del, Method::Hdel, Method::Srem, Method::Zrem] {
        let table: &[u8] = if method == Method::Del { b"" } else { b"t" };
        let value = match method {
            Method::Srem | Method::Zrem => "k",
            _ => "",
        };
        log.record(&Record {
            method,
            table,
            ..put("k", 1, value)
        });
    }
    let server = home.start();
    let backend = server.wait_settled(&fake_hustdb.name(), 4);
    assert_eq!((backend.counts.rejected, backend.counts.absent), (0, 4));
}

#[test]
fn many_faulty_lines_keep_their_numbers_and_hold_nothing_up() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let mut text = Vec::new();
    for number in 1..=3000u32 {
        if number % 3 == 0 {
            text.extend_from_slice(b"no base64!\n");
        } else {
            text.extend(line_of(&put(&format!("k{number}"), 1, "v")));
        }
    }
    home.log(&fake_hustdb.name()).raw(text);
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 3000);
    assert_eq!(values(&fake_hustdb).len(), 2000);
    let mut lines: Vec<u64> = home
        .rejected(&fake_hustdb.name())
        .iter()
        .map(|entry| entry["line"].as_u64().unwrap())
        .collect();
    lines.sort_unstable();
    assert_eq!(lines, (1..=1000).map(|third| third * 3).collect::<Vec<_>>());
}
