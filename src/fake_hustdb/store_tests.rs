//! The model against what docs/hustdb.md says of hustdb, one request at a time.

use proptest::prelude::*;

use super::answer::{Answer, Body};
use super::contents::Value;
use super::query::{Method, Request};
use super::store::{Store, VERSION_MAX, kept_version};

/// Sends `steps` (line of method and target, body) to a store, one second apart from 1000 on, and
/// compares the answers.
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
fn live_writes_count_up_from_one() {
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
        ("POST /hustdb/put?key=k", "e", written(66_544)),
        ("POST /hustdb/put?key=k", "f", written(1_249)),
    ]);
}

/// Each was measured on a running hustdb 1.9.
#[test]
fn from_64_on_another_version_is_stored_than_was_given() {
    for (given, kept) in [
        (1, 1),
        (63, 63),
        (64, 80),
        (255, 303),
        (4_096, 4_096),
        (65_535, 66_543),
        (66_542, 1_246),
        (66_545, 1_249),
        (70_000, 4_544),
        (131_071, 66_543),
        (1_000_000, 17_104),
        (4_194_302, 66_542),
        (VERSION_MAX, 66_543),
    ] {
        assert_eq!(kept_version(given), kept, "{given}");
        let put = format!("POST /hustdb/put?key=k&ver={given}&is_dup=true");
        let again = format!("POST /hustdb/put?key=k&ver={}&is_dup=true", kept + 64);
        check(&[
            (&put, "a", written(kept)),
            ("GET /hustdb/get?key=k", "", found(kept, "a")),
            (&again, "b", written(kept + 64)),
            (
                "GET /hustdb/get?key=k",
                "",
                found(kept_version(kept + 64), "b"),
            ),
        ]);
    }
}

#[test]
fn a_live_write_counts_on_from_the_version_that_is_stored() {
    check(&[
        (
            "POST /hustdb/put?key=k&ver=64&is_dup=true",
            "a",
            written(80),
        ),
        (
            "POST /hustdb/put?key=k&ver=79&is_dup=true",
            "b",
            superseded(80),
        ),
        (
            "POST /hustdb/put?key=k&ver=100&is_dup=true",
            "b",
            written(100),
        ),
        (
            "POST /hustdb/put?key=k&ver=105&is_dup=true",
            "c",
            superseded(116),
        ),
        ("POST /hustdb/put?key=k", "d", written(117)),
        ("GET /hustdb/get?key=k", "", found(133, "d")),
        (
            "GET /hustdb/del?key=k&ver=132&is_dup=true",
            "",
            superseded(133),
        ),
        (
            "GET /hustdb/del?key=k&ver=133&is_dup=true",
            "",
            written(133),
        ),
    ]);
}

#[test]
fn where_version_0_would_be_stored_a_write_is_done_and_may_be_answered_500() {
    let failed = |version| Answer::write(500, version, false);
    let scored = |score| Answer::read(200, 0, Body::Score(score));
    check(&[
        (
            "POST /hustdb/put?key=k&ver=65536&is_dup=true",
            "a",
            failed(0),
        ),
        ("GET /hustdb/get?key=k", "", found(0, "a")),
        (
            "POST /hustdb/put?key=k&ver=65536&is_dup=true",
            "b",
            written(65_536),
        ),
        ("GET /hustdb/get?key=k", "", found(0, "b")),
        ("POST /hustdb/put?key=k", "c", written(1)),
        (
            "GET /hustdb/zadd?tb=z&score=1&opt=1&ver=65536&is_dup=true",
            "m",
            failed(0),
        ),
        ("GET /hustdb/zscore?tb=z", "m", scored(1)),
        (
            "GET /hustdb/zadd?tb=z&score=3&opt=1&ver=131072&is_dup=true",
            "m",
            failed(131_072),
        ),
        ("GET /hustdb/zscore?tb=z", "m", scored(4)),
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
            "GET /hustdb/del?key=k&ver=4194304&is_dup=true",
            "",
            invalid.clone(),
        ),
        ("POST /hustdb/sadd?tb=t&is_dup=true", "a", invalid),
        (
            "GET /hustdb/zadd?tb=z&score=1&opt=0&ver=4194304&is_dup=true",
            "a",
            Answer::write(401, 0, true),
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
            "GET /hustdb/hdel?key=other&ver=3&tb=t&is_dup=true",
            "",
            Answer::write(404, 0, false),
        ),
        (
            "GET /hustdb/hget?tb=t&key=other",
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
                body: Body::Score(7),
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
        ("GET /hustdb/zadd?tb=z&score=-10", "m", written(4)),
        ("GET /hustdb/zadd?tb=z&score=-9", "m", scored(5, -9)),
        (
            "GET /hustdb/zrem?ver=5&tb=z&is_dup=true&key=m",
            "",
            written(5),
        ),
        (
            "GET /hustdb/zscore?tb=z&key=m",
            "",
            Answer::read(412, 0, Body::Empty),
        ),
    ]);
}

/// Measured on a live hustdb 1.9: zrangebyscore finds the member elsewhere, or not at all.
#[test]
fn a_superseded_write_harms_the_order_of_its_set() {
    for (line, is_harmed) in [
        ("zadd?tb=z&ver=4&score=10&opt=0&key=m&is_dup=true", true),
        ("zadd?tb=z&ver=4&score=50&opt=0&key=m&is_dup=true", false),
        ("zadd?tb=z&ver=5&score=10&opt=0&key=m&is_dup=true", false),
        ("zadd?tb=z&ver=4&score=10&opt=1&key=m&is_dup=true", true),
        ("zrem?tb=z&ver=4&key=m&is_dup=true", true),
        ("zrem?tb=z&ver=5&key=m&is_dup=true", false),
        ("zrem?tb=z&ver=0&key=m&is_dup=true", false),
    ] {
        let mut store = Store::new(false);
        let stored = "zadd?tb=z&ver=5&score=50&opt=0&key=m&is_dup=true";
        for line in [stored, line] {
            let target = format!("/hustdb/{line}");
            store.apply(&Request::new(Method::Get, target.as_bytes(), b""), 1000);
        }
        assert_eq!(store.misordered().count() == 1, is_harmed, "{line}");
    }
}

/// A write of a history: its ttl, or none.
type Ttl = Option<u32>;

/// What a live hustdb 1.9 said of histories of one key, read after 6 s and then after 45 s: the
/// status and the version. In a sorted set each write sets another score.
#[test]
fn a_time_to_live_does_what_was_measured() {
    const NONE: Ttl = None;
    const SHORT: Ttl = Some(3);
    const LONG: Ttl = Some(600);
    const GONE: (u16, u32) = (404, 0);
    for (history, plain, set, sorted) in [
        (
            &[SHORT][..],
            [(404, 1), GONE],
            [(200, 1), GONE],
            [(404, 1), GONE],
        ),
        (
            &[NONE, SHORT],
            [(404, 2), GONE],
            [(200, 2), (200, 2)],
            [(404, 2), (404, 2)],
        ),
        (
            &[SHORT, NONE],
            [(200, 2), GONE],
            [(200, 2), GONE],
            [(200, 2), GONE],
        ),
        (
            &[SHORT, LONG],
            [(200, 2), GONE],
            [(200, 2), GONE],
            [(200, 2), GONE],
        ),
        (
            &[NONE, SHORT, NONE],
            [(200, 3), (200, 3)],
            [(200, 3), (200, 3)],
            [(200, 3), (200, 3)],
        ),
        (
            &[LONG, SHORT],
            [(404, 2), GONE],
            [(200, 2), (200, 2)],
            [(404, 2), (404, 2)],
        ),
    ] {
        for replayed in [false, true] {
            check_history("put?key=k", "get?key=k", history, replayed, plain);
            check_history(
                "hset?tb=t&key=k",
                "hget?tb=t&key=k",
                history,
                replayed,
                plain,
            );
            check_history(
                "sadd?tb=t&key=k",
                "sismember?tb=t&key=k",
                history,
                replayed,
                set,
            );
            check_history(
                "zadd?tb=t&key=k",
                "zscore?tb=t&key=k",
                history,
                replayed,
                sorted,
            );
        }
    }
}

/// A live zadd of the score that is there already changes nothing, so that only the first time to
/// live counts.
#[test]
fn a_time_to_live_that_comes_with_the_same_score_does_nothing() {
    for (history, read) in [
        (&[None, Some(3)][..], [(200, 1), (200, 1)]),
        (&[Some(3), None], [(404, 1), (404, 0)]),
        (&[Some(3), Some(600)], [(404, 1), (404, 0)]),
        (&[Some(600), Some(3)], [(200, 1), (200, 1)]),
    ] {
        check_history(
            "zadd?tb=t&key=k&opt=0&score=7",
            "zscore?tb=t&key=k",
            history,
            false,
            read,
        );
    }
}

/// Writes the history at one instant, half a minute before a sweep, and reads after 6 s and after
/// 45 s.
#[track_caller]
fn check_history(
    write: &str,
    read: &str,
    history: &[Ttl],
    replayed: bool,
    expected: [(u16, u32); 2],
) {
    const BEGIN: u64 = 1_700_000_040;
    assert_eq!(BEGIN % super::store::SWEEP_INTERVAL_S, 0);
    let mut store = Store::default();
    // Another member keeps the table.
    let kept = write.replace("key=k", "key=kept");
    let kept = format!("GET /hustdb/{kept}&score=1&val=v");
    assert_eq!(send(&mut store, &kept, "", BEGIN).status, 200);
    for (step, ttl) in (1..).zip(history) {
        let ttl = ttl.map_or_else(String::new, |ttl| format!("&ttl={ttl}"));
        let replay = if replayed {
            format!("&ver={step}&is_dup=true")
        } else {
            String::new()
        };
        // Of two scores the last counts: this one is another each time unless the history has its
        // own.
        let score = if write.contains("score=") {
            String::new()
        } else {
            format!("&score={step}")
        };
        let line = format!("GET /hustdb/{write}{score}&val=v{ttl}{replay}");
        assert_eq!(send(&mut store, &line, "", BEGIN).status, 200);
    }
    for (after, expected) in [6, 45].into_iter().zip(expected) {
        let answer = send(
            &mut store,
            &format!("GET /hustdb/{read}"),
            "",
            BEGIN + after,
        );
        assert_eq!(
            (answer.status, answer.version),
            (expected.0, Some(expected.1)),
            "{write}, {history:?}, replayed: {replayed}, after {after} s"
        );
    }
}

#[test]
fn what_has_expired_keeps_its_version_until_it_is_read_or_swept() {
    let mut store = Store::default();
    let mut at = |unix, line, expected| {
        let body = if line_writes(line) { "v" } else { "" };
        assert_eq!(
            send(&mut store, line, body, unix),
            expected,
            "{line} at {unix}"
        );
    };
    let there = Answer::read(200, 9, Body::Empty);
    at(
        1000,
        "POST /hustdb/put?key=k&ver=9&ttl=2&is_dup=true",
        written(9),
    );
    at(1005, "GET /hustdb/exist?key=k", there);
    at(
        1005,
        "POST /hustdb/put?key=k&ver=8&is_dup=true",
        superseded(9),
    );
    at(
        1005,
        "GET /hustdb/get?key=k",
        Answer::read(404, 9, Body::Empty),
    );
    at(
        1005,
        "GET /hustdb/exist?key=k",
        Answer::read(404, 0, Body::Empty),
    );
    at(
        1005,
        "POST /hustdb/put?key=k&ver=1&ttl=2&is_dup=true",
        written(1),
    );
    at(1008, "GET /hustdb/del?key=k&ver=1&is_dup=true", written(1));
    at(
        1010,
        "POST /hustdb/put?key=k&ver=7&ttl=2&is_dup=true",
        written(7),
    );
    at(1020, "POST /hustdb/put?key=k&ver=1&is_dup=true", written(1));
}

/// What a live hustdb 1.9 answered, and read at the end; and what a peer had in the end to which
/// the second write came later, once its time was over, with a ttl of a second.
#[test]
fn a_score_that_has_expired_keeps_its_value_for_the_next_one() {
    for (second, last, read) in [
        ("score=7&opt=0", None, (404, 2, None)),
        ("score=3&opt=1", None, (404, 2, None)),
        ("score=3&opt=-1", None, (404, 2, None)),
        ("score=0&opt=1", None, (404, 2, None)),
        ("score=7&opt=0", Some("score=3&opt=1"), (200, 3, Some(10))),
        ("score=7&opt=0", Some("score=9&opt=0"), (200, 3, Some(9))),
        ("score=7&opt=0", Some("score=7&opt=0"), (404, 2, None)),
    ] {
        for is_peer in [false, true] {
            let mut store = Store::default();
            let mut send = |unix, arguments: &str, version: u32, ttl: u32| {
                let mut line = format!("GET /hustdb/zadd?tb=t&key=m&{arguments}");
                if ttl > 0 {
                    line.push_str(&format!("&ttl={ttl}"));
                }
                if is_peer {
                    line.push_str(&format!("&ver={version}&is_dup=true"));
                }
                assert_eq!(send(&mut store, &line, "", unix).status, 200);
            };
            send(1_000, "score=5&opt=0", 1, 0);
            send(1_001, second, 2, if is_peer { 1 } else { 3 });
            if let Some(last) = last {
                // A live zadd of the score that is there leaves the version, and so HA logs it.
                let version = if last == second { 2 } else { 3 };
                send(1_005, last, version, 0);
            }
            let (status, version, score) = read;
            let body = score.map_or(Body::Empty, Body::Score);
            let answer = store.apply(
                &Request::new(Method::Get, b"/hustdb/zscore?tb=t&key=m", b""),
                1_050,
            );
            let why = format!("{second}, {last:?}, peer: {is_peer}");
            assert_eq!(answer, Answer::read(status, version, body), "{why}");
        }
    }
}

fn line_writes(line: &str) -> bool {
    line.starts_with("POST")
}

#[test]
fn a_ttl_above_thirty_days_is_none() {
    let mut store = Store::default();
    for (key, ttl) in [
        ("max", "2592000"),
        ("more", "2592001"),
        ("minus", "-1"),
        ("u32", "4294967295"),
    ] {
        let line = format!("POST /hustdb/put?key={key}&ttl={ttl}");
        assert_eq!(send(&mut store, &line, "v", 1000), written(1));
    }
    let ends: Vec<_> = store
        .contents(1004)
        .into_iter()
        .map(|(item, stored)| (item.key, stored.expires_unix))
        .filter(|(_, ends)| *ends != 0)
        .collect();
    assert_eq!(ends, [(b"max".to_vec(), 1000 + 2_592_000)]);
    assert_eq!(store.contents(1000 + 2_592_000).len(), 3);
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
    /// Replaying any suffix of a log again, in order, leaves what replaying the log once leaves, if
    /// nothing adds to a score.
    #[test]
    fn a_suffix_sent_again_changes_nothing(
        log in proptest::collection::vec((0u8..3, 1u32..6, any::<bool>()), 1..30),
        from in any::<prop::sample::Index>(),
    ) {
        let lines: Vec<(String, String)> = log
            .iter()
            .map(|(key, ver, put)| match put {
                true => (
                    format!("POST /hustdb/put?key=k{key}&ver={ver}&is_dup=true"),
                    format!("v{key}{ver}"),
                ),
                false => (
                    format!("GET /hustdb/del?key=k{key}&ver={ver}&is_dup=true"),
                    String::new(),
                ),
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
