//! Times to live: what has expired is deleted, and a backend that has just started is waited for.

use std::time::Duration;

use hustdbsync::binlog::{Method, Record};
use hustdbsync::standin::{Method as Http, Options, Request};

use crate::harness::{Home, eventually, now_unix, standin, standin_with, value, values};
use crate::log::put;

fn expiring(record: Record<'_>, seconds: i64) -> Record<'_> {
    let unix = i64::try_from(now_unix()).unwrap() + seconds;
    Record {
        expires_unix: u32::try_from(unix).unwrap(),
        ..record
    }
}

#[test]
fn an_expired_write_deletes_the_older_value() {
    let (home, standin) = (Home::new(), standin());
    for (target, body) in [
        ("/hustdb/put?key=k", "stale"),
        ("/hustdb/hset?tb=h&key=k", "stale"),
        ("/hustdb/sadd?tb=s", "k"),
        ("/hustdb/zadd?tb=z&score=1", "k"),
    ] {
        let seed = Request::new(Http::Get, target.as_bytes(), body.as_bytes());
        assert_eq!(standin.apply(&seed).status, 200);
    }
    assert_eq!(standin.contents().len(), 4);
    let log = home.log(&standin.name());
    let write = |method, table| Record {
        method,
        table,
        ..put("k", 2, "k")
    };
    for (method, table) in [
        (Method::Put, &b""[..]),
        (Method::Hset, b"h"),
        (Method::Sadd, b"s"),
        (Method::Zadd, b"z"),
    ] {
        log.record(&expiring(write(method, table), -100));
    }
    let server = home.start();
    let backend = server.wait_settled(&standin.name(), 4);
    assert_eq!((backend.counts.expired, backend.counts.rejected), (4, 0));
    assert!(standin.contents().is_empty());
}

#[test]
fn a_write_that_has_time_left_lives_as_long_as_the_log_says() {
    let (home, standin) = (Home::new(), standin());
    let record = expiring(put("k", 1, "v"), 5000);
    home.log(&standin.name()).record(&record);
    let server = home.start();
    server.wait_settled(&standin.name(), 1);
    let contents = standin.contents();
    let stored = contents.values().next().unwrap();
    assert!(stored.expires_unix.abs_diff(u64::from(record.expires_unix)) <= 5);
}

#[test]
fn a_backend_whose_clock_stands_at_zero_gets_no_write_with_a_ttl_and_all_others() {
    let standin = standin_with(Options {
        clock_zero_for: Duration::from_millis(1500),
        ..Options::default()
    });
    let home = Home::new().with("sync.ttl_hold", "3s");
    let log = home.log(&standin.name());
    log.record(&expiring(put("short", 1, "v"), 5000));
    for key in 0..40 {
        log.put(&format!("k{key}"), 1, "v");
    }
    standin.restart().unwrap();
    let server = home.start();
    eventually("a record without a ttl overtakes it", || {
        !values(&standin).is_empty()
    });
    server.wait_settled(&standin.name(), 41);
    assert_eq!(value(&standin, "short").as_deref(), Some("v"));
    let first = &standin.history()[0];
    assert_ne!(first.key, b"short");
}

#[test]
fn a_backend_that_starts_again_is_held_again() {
    let standin = standin_with(Options {
        clock_zero_for: Duration::from_millis(1500),
        ..Options::default()
    });
    let home = Home::new().with("sync.ttl_hold", "3s");
    let log = home.log(&standin.name());
    let server = home.start();
    log.record(&expiring(put("a", 1, "v"), 5000));
    server.wait_settled(&standin.name(), 1);
    standin.kill().unwrap();
    server.wait_for_state(&standin.name(), "down");
    log.record(&expiring(put("b", 1, "v"), 5000));
    standin.restart().unwrap();
    server.wait_settled(&standin.name(), 2);
    assert_eq!(value(&standin, "b").as_deref(), Some("v"));
}
