//! Times to live: what has expired, what never does, and a backend that has just started is waited
//! for.

use std::time::Duration;

use hustdbsync::internals::binlog::{Method, Record};
use hustdbsync::internals::fake_hustdb::{Method as Http, Options, Request};

use crate::harness::{Home, eventually, fake_hustdb, fake_hustdb_with, now_unix, value, values};
use crate::log::{line_at, put};

/// The line of a record that a client wrote so many seconds ago, with this ttl.
fn line(record: Record<'_>, seconds_ago: u64, ttl: u32) -> Vec<u8> {
    let unix = now_unix() - seconds_ago;
    let record = Record {
        expires_unix: u32::try_from(unix).unwrap().wrapping_add(ttl),
        ..record
    };
    line_at(unix, &record)
}

#[test]
fn an_expired_value_is_deleted_and_a_member_written_where_it_exists() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    for (target, body) in [
        ("/hustdb/put?key=k", "stale"),
        ("/hustdb/hset?tb=h&key=k", "stale"),
        ("/hustdb/sadd?tb=s", "k"),
        ("/hustdb/zadd?tb=z&score=1", "k"),
    ] {
        let seed = Request::new(Http::Get, target.as_bytes(), body.as_bytes());
        assert_eq!(fake_hustdb.apply(&seed).status, 200);
    }
    assert_eq!(fake_hustdb.contents().len(), 4);
    let log = home.log(&fake_hustdb.name());
    let write = |method, table, key, score| Record {
        method,
        table,
        score,
        ..put(key, 2, key)
    };
    for record in [
        write(Method::Put, &b""[..], "k", 0),
        write(Method::Hset, b"h", "k", 0),
        write(Method::Sadd, b"s", "k", 0),
        write(Method::Zadd, b"z", "k", 7),
        write(Method::Sadd, b"s", "absent", 0),
        write(Method::Zadd, b"z", "absent", 0),
        write(Method::Zadd, b"no_such_table", "absent", 0),
    ] {
        log.raw(line(record, 200, 100));
    }
    let server = home.start();
    let backend = server.wait_settled(&fake_hustdb.name(), 7);
    assert_eq!((backend.counts.expired, backend.counts.rejected), (7, 0));
    assert_eq!(backend.counts.asked, 5);
    // The score is another one, so its time to live counts: it ends.
    eventually("only the set's member is left", || {
        let contents = fake_hustdb.contents();
        let mut members = contents.iter().map(|(item, stored)| {
            (
                (&item.table[..], &item.key[..]) == (&b"s"[..], b"k"),
                stored.version,
            )
        });
        members.next() == Some((true, 2)) && members.next().is_none()
    });
    let lookup = Request::new(Http::Get, b"/hustdb/zscore?tb=z", b"k");
    let answer = fake_hustdb.apply(&lookup);
    assert_eq!((answer.status, answer.version), (404, Some(2)));
}

#[test]
fn a_ttl_that_hustdb_takes_for_none_gets_no_end() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    for (key, ttl) in [("a", 2_592_010), ("b", u32::MAX), ("c", u32::MAX - 300)] {
        log.raw(line(put(key, 1, "v"), 200, ttl));
    }
    let server = home.start();
    let backend = server.wait_settled(&fake_hustdb.name(), 3);
    assert_eq!((backend.counts.applied, backend.counts.ttl_unclear), (3, 0));
    let contents = fake_hustdb.contents();
    assert!(contents.values().all(|stored| stored.expires_unix == 0));
}

#[test]
fn a_ttl_whose_line_tells_no_time_is_taken_as_it_is_and_counted() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let record = Record {
        expires_unix: u32::try_from(now_unix()).unwrap() - 1,
        ..put("k", 1, "v")
    };
    let line = line_at(now_unix(), &record);
    home.log(&fake_hustdb.name())
        .raw([b"other ", &line[..]].concat());
    let server = home.start();
    let backend = server.wait_settled(&fake_hustdb.name(), 1);
    assert_eq!((backend.counts.expired, backend.counts.ttl_unclear), (1, 1));
    assert!(fake_hustdb.contents().is_empty());
}

#[test]
fn a_write_that_has_time_left_lives_as_long_as_the_log_says() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let ends = now_unix() + 5000;
    home.log(&fake_hustdb.name())
        .raw(line(put("k", 1, "v"), 0, 5000));
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1);
    let contents = fake_hustdb.contents();
    let stored = contents.values().next().unwrap();
    assert!(stored.expires_unix.abs_diff(ends) <= 5);
}

#[test]
fn a_backend_whose_clock_stands_at_zero_gets_no_write_with_a_ttl_and_all_others() {
    let fake_hustdb = fake_hustdb_with(Options {
        clock_zero_for: Duration::from_millis(1500),
        ..Options::default()
    });
    let home = Home::new().with("sync.ttl_hold", "3s");
    let log = home.log(&fake_hustdb.name());
    log.raw(line(put("short", 1, "v"), 0, 5000));
    for key in 0..40 {
        log.put(&format!("k{key}"), 1, "v");
    }
    fake_hustdb.restart().unwrap();
    let server = home.start();
    eventually("a record without a ttl overtakes it", || {
        !values(&fake_hustdb).is_empty()
    });
    server.wait_settled(&fake_hustdb.name(), 41);
    assert_eq!(value(&fake_hustdb, "short").as_deref(), Some("v"));
    let first = &fake_hustdb.history()[0];
    assert_ne!(first.key, b"short");
}

#[test]
fn a_backend_that_starts_again_is_held_again() {
    let fake_hustdb = fake_hustdb_with(Options {
        clock_zero_for: Duration::from_millis(1500),
        ..Options::default()
    });
    let home = Home::new().with("sync.ttl_hold", "3s");
    let log = home.log(&fake_hustdb.name());
    let server = home.start();
    log.raw(line(put("a", 1, "v"), 0, 5000));
    server.wait_settled(&fake_hustdb.name(), 1);
    fake_hustdb.kill().unwrap();
    server.wait_for_state(&fake_hustdb.name(), "down");
    log.raw(line(put("b", 1, "v"), 0, 5000));
    fake_hustdb.restart().unwrap();
    server.wait_settled(&fake_hustdb.name(), 2);
    assert_eq!(value(&fake_hustdb, "b").as_deref(), Some("v"));
}
