//! Ttls by the line's own time, long keys, values that HA did not keep.

use super::*;

#[test]
fn a_ttl_that_hustdb_takes_for_no_limit_is_replayed_without_one() {
    const WRITTEN: u32 = 900_000;
    for (ttl, expected) in [
        (u32::MAX, "put?key=t&ver=1&ttl=0&"),
        (2_592_002, "put?key=t&ver=1&ttl=0&"),
        (2_592_000, "put?key=t&ver=1&ttl=2492000&"),
        (99_999, "del?key=t&ver=1&"),
    ] {
        let mut fixture = Fixture::new(settings());
        let record = Record {
            expires_unix: WRITTEN.wrapping_add(ttl),
            ..put("t")
        };
        fixture.feed_written(&[record], false, WRITTEN);
        fixture.connect();
        let burst = &fixture.sent[0].1;
        assert!(burst.contains(expected), "ttl {ttl}: {burst}");
        assert_eq!(fixture.counters.ttl_unclear.load(), 0);
    }
}

#[test]
fn a_ttl_without_the_lines_time_is_counted_once() {
    let mut fixture = Fixture::new(settings());
    let record = Record {
        expires_unix: 999_999,
        ..put("t")
    };
    fixture.feed(&[record, put("a")]);
    fixture.connect();
    assert!(fixture.sent[0].1.starts_with("GET /hustdb/del?"));
    fixture.break_connection(0);
    fixture.wait(1);
    fixture.connect();
    fixture.answer(0, APPLIED);
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.counters.ttl_unclear.load(), 1);
}

#[test]
fn only_a_target_that_ends_behind_octet_4096_is_rejected() {
    // "POST /hustdb/put?key=" and "&ver=1&ttl=0&is_dup=true".
    let around = 21 + 24;
    for (key_bytes, is_sent) in [
        (3_836, true),
        (4_096 - around, true),
        (4_097 - around, false),
    ] {
        let mut fixture = Fixture::new(settings());
        let key = "k".repeat(key_bytes);
        let long = Record {
            key: key.as_bytes(),
            ..put("")
        };
        fixture.feed(&[long, put("a")]);
        fixture.connect();
        assert_eq!(fixture.sent.len(), 1);
        assert_eq!(fixture.sent[0].1.contains(&key), is_sent, "{key_bytes}");
        let told = fixture.told();
        if is_sent {
            assert_eq!(told, [""; 0]);
            assert!(!fixture.sent[0].1.contains("key=a"), "it goes alone");
        } else {
            assert_eq!(told, ["1.0!head_too_long"]);
        }
    }
}

const REFUSED: &str = "HTTP/1.1 401 Unauthorized\r\nVersion: 0\r\nContent-Length: 0\r\n\r\n";

/// A put whose target ends at this octet is sent, and answered so.
#[track_caller]
fn check_answers(target_end: usize, answers: &[&str], told: &[&str], connections: usize) {
    let mut fixture = Fixture::new(settings());
    let key = "k".repeat(target_end - 21 - 24);
    let long = Record {
        key: key.as_bytes(),
        ..put("")
    };
    fixture.feed(&[long, put("a")]);
    let mut made = 0;
    for answer in answers {
        if !fixture.asked.is_empty() {
            made += 1;
            fixture.connect();
        }
        assert!(fixture.sent.last().unwrap().1.contains(&key), "G2");
        // Other lanes go on.
        fixture.counters.answers.add(1);
        fixture.answer(0, answer);
        fixture.wait(10);
    }
    assert_eq!(fixture.told(), told, "{target_end}");
    assert_eq!(made, connections, "{target_end}");
}

#[test]
fn a_refusal_of_a_target_that_ends_with_hustdbs_read_is_no_verdict_on_the_record() {
    check_answers(4096, &[REFUSED, REFUSED, APPLIED], &["1.0=Applied"], 3);
    // Not for ever (G8).
    check_answers(4096, &[REFUSED; 3], &["1.0!attempts"], 3);
    check_answers(4095, &[REFUSED], &["1.0!version"], 1);
}

#[test]
fn a_request_line_that_is_longer_than_a_segment_goes_alone_and_is_counted_once() {
    let mut fixture = Fixture::new(settings());
    let key = "k".repeat(1_500);
    let long = Record {
        key: key.as_bytes(),
        ..put("")
    };
    fixture.feed(&[put("a"), long, put("b")]);
    let slot = fixture.asked.pop().unwrap();
    fixture.worker.handle_connected(slot, 1_448, fixture.now);
    fixture.turn();
    fixture.answer(slot, APPLIED);
    assert_eq!(fixture.sent.len(), 2);
    assert_eq!(fixture.sent[1].1.matches(" HTTP/1.1\r\n").count(), 1);
    fixture.break_connection(slot);
    fixture.wait(1);
    let slot = fixture.asked.pop().unwrap();
    fixture.worker.handle_connected(slot, 1_448, fixture.now);
    fixture.turn();
    fixture.answer(slot, APPLIED);
    assert_eq!(fixture.told(), ["1.0=Applied", "1.1=Applied"]);
    assert_eq!(fixture.counters.long_targets.load(), 1);
}

#[test]
fn a_value_that_ha_did_not_keep_is_the_reason_for_the_rejection() {
    for method in [Method::Put, Method::Hset, Method::Del] {
        let mut fixture = Fixture::new(settings());
        let record = Record {
            method,
            table: b"t",
            value: b"",
            ..put("k")
        };
        fixture.feed(&[record]);
        fixture.connect();
        fixture.answer(0, &answer("404 Not Found", ""));
        let expected = match method {
            Method::Del => "1.0=Absent",
            _ => "1.0!value_not_kept",
        };
        assert_eq!(fixture.told(), [expected]);
    }
    // With a value, 404 is the backend's own reason.
    let mut fixture = Fixture::fed(settings(), &[put("k")]);
    fixture.answer(0, &answer("404 Not Found", ""));
    assert_eq!(fixture.told(), ["1.0!not_found"]);
}
