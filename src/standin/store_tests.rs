//! The model against what spec and source say of hustdb, one request at a time.

use proptest::prelude::*;

use super::answer::{Answer, Body};
use super::contents::Value;
use super::query::{Method, Request};
use super::store::{Store, VERSION_MAX};

/// Sends `steps` (line of method and target, body) to a store, one second apart from 1000 on, and compares the answers.
#[track_caller]
fn check(steps: &[(&str, &str, Answer)]) -> Store {
    let mut store = Store::default();
    for (second, (line, body, expected)) in steps.iter().enumerate() {
        let answer = send(&mut store, line, body, 1000 + second as u64);
        assert_eq!(&answer, expected, "the answer to step {second}: {line}");
    }
    store
}

fn send(store: &mut Store, line: &str, body: &str, now_unix: u64) -> Answer {
    let (method, target) = line.split_once(' ').expect("a method and a target");
    let method = if method == "GET" {
        Method::Get
    } else {
        Method::Post
    };
    store.apply(
        &Request::new(method, target.as_bytes(), body.as_bytes()),
        now_unix,
    )
}

fn written(version: u32) -> Answer {
    Answer::write(200, version, false)
}

fn superseded(version: u32) -> Answer {
    Answer::write(200, version, true)
}

fn scored(version: u32, score: i64) -> Answer {
    Answer {
        body: Body::Score(score),
        ..written(version)
    }
}

fn found(version: u32, value: &str) -> Answer {
    Answer::read(200, version, Body::Bytes(value.into()))
}

#[test]
fn a_replayed_put_is_taken_from_the_stored_version_on() {
    check(&[
        (
            "POST /hustdb/put?key=k&ver=5&ttl=0&is_dup=true",
            "five",
            written(5),
        ),
        (
            "POST /hustdb/put?key=k&ver=4&ttl=0&is_dup=true",
            "four",
            superseded(5),
        ),
        ("GET /hustdb/get?key=k", "", found(5, "five")),
        (
            "POST /hustdb/put?key=k&ver=5&ttl=0&is_dup=true",
            "again",
            written(5),
        ),
        (
            "POST /hustdb/put?key=k&ver=9&ttl=0&is_dup=true",
            "nine",
            written(9),
        ),
        ("GET /hustdb/get?key=k", "", found(9, "nine")),
    ]);
}

#[test]
fn live_writes_count_up_from_one_and_wrap() {
    check(&[
        ("POST /hustdb/put?key=k", "a", written(1)),
        ("POST /hustdb/put?key=k", "b", written(2)),
        (
            "POST /hustdb/put?key=k&ver=1",
            "c",
            Answer::write(401, 2, true),
        ),
        ("POST /hustdb/put?key=k&ver=2", "c", written(3)),
        (
            "POST /hustdb/put?key=new&ver=2",
            "c",
            Answer::write(401, 0, false),
        ),
        (
            "POST /hustdb/put?key=k&ver=4194303&is_dup=1",
            "d",
            written(VERSION_MAX),
        ),
        ("POST /hustdb/put?key=k", "e", written(1)),
    ]);
}

#[test]
fn there_are_no_tombstones() {
    check(&[
        ("POST /hustdb/put?key=k&ver=5&is_dup=true", "a", written(5)),
        ("GET /hustdb/del?key=k&ver=4&is_dup=true", "", superseded(5)),
        ("GET /hustdb/del?key=k&ver=7&is_dup=true", "", written(5)),
        (
            "GET /hustdb/del?key=k&ver=7&is_dup=true",
            "",
            Answer::write(404, 0, false),
        ),
        ("POST /hustdb/put?key=k&ver=1&is_dup=true", "b", written(1)),
        (
            "GET /hustdb/exist?key=k",
            "",
            Answer::read(200, 1, Body::Empty),
        ),
    ]);
}

#[test]
fn a_version_out_of_range_is_401_with_a_version() {
    let invalid = Answer::write(401, 0, false);
    check(&[
        (
            "POST /hustdb/put?key=k&ver=0&is_dup=true",
            "a",
            invalid.clone(),
        ),
        (
            "POST /hustdb/put?key=k&ver=4194304&is_dup=true",
            "a",
            invalid.clone(),
        ),
        (
            "GET /hustdb/del?key=k&ver=0&is_dup=true",
            "",
            invalid.clone(),
        ),
        ("POST /hustdb/sadd?tb=t&is_dup=true", "a", invalid.clone()),
        (
            "GET /hustdb/zadd?tb=z&score=1&opt=0&ver=4194304&is_dup=true",
            "a",
            invalid,
        ),
    ]);
}

#[test]
fn a_table_has_one_type_and_must_have_been_made() {
    check(&[
        (
            "GET /hustdb/hdel?key=k&ver=3&tb=t&is_dup=true",
            "",
            Answer::write(412, 3, false),
        ),
        (
            "POST /hustdb/srem?ver=3&tb=t&is_dup=true",
            "k",
            Answer::write(412, 3, false),
        ),
        (
            "GET /hustdb/zrem?ver=3&tb=t&is_dup=true",
            "k",
            Answer::write(412, 3, false),
        ),
        (
            "GET /hustdb/zscore?tb=t",
            "k",
            Answer::read(412, 0, Body::Empty),
        ),
        (
            "POST /hustdb/hset?key=k&ver=3&tb=t&is_dup=true",
            "v",
            written(3),
        ),
        (
            "POST /hustdb/sadd?ver=3&tb=t&is_dup=true",
            "k",
            Answer::write(412, 3, false),
        ),
        (
            "GET /hustdb/zadd?ver=3&tb=t&score=1&opt=0&is_dup=true",
            "k",
            Answer::write(412, 3, false),
        ),
        ("GET /hustdb/hget?tb=t&key=k", "", found(3, "v")),
        (
            "GET /hustdb/hdel?key=k&ver=3&tb=t&is_dup=true",
            "",
            written(3),
        ),
        (
            "GET /hustdb/hdel?key=k&ver=3&tb=t&is_dup=true",
            "",
            Answer::write(404, 0, false),
        ),
        (
            "GET /hustdb/hget?tb=t&key=k",
            "",
            Answer::read(404, 0, Body::Empty),
        ),
    ]);
}

#[test]
fn sets_hold_raw_members() {
    let store = check(&[
        (
            "POST /hustdb/sadd?ver=2&tb=s&is_dup=true",
            "a%41",
            written(2),
        ),
        (
            "GET /hustdb/sismember?tb=s",
            "a%41",
            Answer::read(200, 2, Body::Empty),
        ),
        (
            "GET /hustdb/sismember?tb=s",
            "aA",
            Answer::read(404, 0, Body::Empty),
        ),
        (
            "POST /hustdb/srem?ver=1&tb=s&is_dup=true",
            "a%41",
            superseded(2),
        ),
    ]);
    let contents = store.contents(2000);
    let (item, stored) = contents.first_key_value().expect("one member");
    assert_eq!(
        (item.table.as_slice(), item.key.as_slice()),
        (&b"s"[..], &b"a%41"[..])
    );
    assert_eq!((stored.version, &stored.value), (2, &Value::Member));
}

#[test]
fn scores_are_set_added_and_subtracted_under_the_version() {
    check(&[
        (
            "GET /hustdb/zadd?ver=1&tb=z&score=10&opt=0&is_dup=true",
            "m",
            scored(1, 10),
        ),
        (
            "GET /hustdb/zadd?ver=2&tb=z&score=5&opt=1&is_dup=true",
            "m",
            scored(2, 15),
        ),
        (
            "GET /hustdb/zadd?ver=2&tb=z&score=5&opt=1&is_dup=true",
            "m",
            scored(2, 20),
        ),
        (
            "GET /hustdb/zadd?ver=3&tb=z&score=30&opt=-1&is_dup=true",
            "m",
            scored(3, -10),
        ),
        (
            "GET /hustdb/zadd?ver=2&tb=z&score=7&opt=0&is_dup=true",
            "m",
            Answer {
                body: Body::Score(-10),
                ..superseded(3)
            },
        ),
        (
            "GET /hustdb/zscore?tb=z",
            "m",
            Answer::read(200, 3, Body::Score(-10)),
        ),
        (
            "GET /hustdb/zadd?ver=4&tb=z&score=-10&opt=0&is_dup=true",
            "m",
            scored(4, -10),
        ),
        ("GET /hustdb/zadd?tb=z&score=-10", "m", scored(4, -10)),
        ("GET /hustdb/zadd?tb=z&score=-9", "m", scored(5, -9)),
        (
            "GET /hustdb/zrem?ver=5&tb=z&is_dup=true&key=m",
            "",
            written(5),
        ),
        (
            "GET /hustdb/zscore?tb=z&key=m",
            "",
            Answer::read(404, 0, Body::Empty),
        ),
    ]);
}

#[test]
fn what_has_expired_is_absent_and_a_ttl_above_thirty_days_is_none() {
    let mut store = check(&[
        (
            "POST /hustdb/put?key=short&ver=9&ttl=2&is_dup=true",
            "a",
            written(9),
        ),
        (
            "POST /hustdb/put?key=long&ver=9&ttl=2592001&is_dup=true",
            "a",
            written(9),
        ),
        (
            "GET /hustdb/get?key=short",
            "",
            Answer::read(404, 0, Body::Empty),
        ),
        (
            "POST /hustdb/put?key=short&ver=1&ttl=2592000&is_dup=true",
            "b",
            written(1),
        ),
    ]);
    let contents = store.contents(1004);
    let expiries: Vec<u64> = contents
        .values()
        .map(|stored| stored.expires_unix)
        .collect();
    assert_eq!(expiries, [0, 1003 + 2_592_000]);
    assert_eq!(store.contents(1003 + 2_592_000).len(), 1);
    store.clear();
    assert!(store.contents(0).is_empty());
}

#[test]
fn a_write_with_a_ttl_while_the_clock_stands_at_zero_is_gone() {
    let mut store = Store::default();
    assert_eq!(
        send(
            &mut store,
            "POST /hustdb/put?key=k&ver=1&ttl=100&is_dup=true",
            "a",
            0
        ),
        written(1)
    );
    assert_eq!(
        send(
            &mut store,
            "POST /hustdb/put?key=l&ver=1&ttl=0&is_dup=true",
            "a",
            0
        ),
        written(1)
    );
    let keys: Vec<_> = store
        .contents(1_700_000_000)
        .into_keys()
        .map(|item| item.key)
        .collect();
    assert_eq!(keys, [b"l"]);
}

#[test]
fn what_hustdb_no_longer_has_is_404() {
    let gone = Answer::bare(404);
    check(&[
        (
            "POST /husttb/put?key=k&ver=1&tb=t&is_dup=true",
            "v",
            gone.clone(),
        ),
        (
            "GET /husttb/delete?key=k&ver=1&tb=t&is_dup=true",
            "",
            gone.clone(),
        ),
        ("GET /hustdb/nothing", "", gone.clone()),
        ("GET /", "", gone),
        ("GET /status.html", "", Answer::status_page()),
    ]);
}

#[test]
fn a_store_that_discards_answers_as_if_it_stored() {
    let mut store = Store::new(true);
    assert_eq!(
        send(
            &mut store,
            "POST /hustdb/put?key=k&ver=5&is_dup=true",
            "a",
            1
        ),
        written(5)
    );
    assert_eq!(
        send(
            &mut store,
            "POST /hustdb/put?key=k&ver=0&is_dup=true",
            "a",
            1
        ),
        Answer::write(401, 0, false)
    );
    assert!(store.contents(1).is_empty());
}

proptest! {
    /// Replaying any suffix of a log again, in order, leaves what replaying the log once leaves, if nothing adds to a score.
    #[test]
    fn a_suffix_sent_again_changes_nothing(
        log in proptest::collection::vec((0u8..3, 1u32..6, any::<bool>()), 1..30),
        from in any::<prop::sample::Index>(),
    ) {
        let lines: Vec<(String, String)> = log
            .iter()
            .map(|(key, ver, put)| match put {
                true => (format!("POST /hustdb/put?key=k{key}&ver={ver}&is_dup=true"), format!("v{key}{ver}")),
                false => (format!("GET /hustdb/del?key=k{key}&ver={ver}&is_dup=true"), String::new()),
            })
            .collect();
        // A log as HA writes it: versions grow until a delete, which takes the version away.
        let mut once = Store::default();
        let mut real = Vec::new();
        let mut versions = [0u32; 3];
        for ((key, _, put), (line, body)) in log.iter().zip(&lines) {
            let version = &mut versions[usize::from(*key)];
            if !put && *version == 0 {
                continue;
            }
            if *put {
                *version += 1;
            }
            let at = line.find("ver=").expect("a version");
            let line = format!("{}ver={}&is_dup=true", &line[..at], version);
            if !put {
                *version = 0;
            }
            send(&mut once, &line, body, 1);
            real.push((line, body.clone()));
        }
        prop_assume!(!real.is_empty());
        let mut twice = Store::default();
        for (line, body) in real.iter().chain(&real[from.index(real.len())..]) {
            send(&mut twice, line, body, 1);
        }
        prop_assert_eq!(once.contents(1), twice.contents(1));
    }
}
