//! Whether a failure is a record's own or its backend's.

use super::*;
use crate::limits::KEYS_FAILING_ALONE_MAX;
use crate::replay::messages::FailedRecord;

#[test]
fn a_record_that_fails_while_others_move_is_rejected_after_attempts_max() {
    let mut fixture = Fixture::new(settings());
    fixture.feed(&puts(2));
    for others in [1, 1, 0] {
        fixture.connect();
        fixture.answer(0, &answer("500 Internal Server Error", ""));
        fixture.counters.answers.add(others);
        fixture.wait(10);
    }
    assert_eq!(fixture.bursts(), ["a", "a", "a"]);
    assert_eq!(fixture.told(), ["1.0!attempts"]);
    fixture.connect();
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.told(), ["1.1=Applied"]);
    assert_eq!(fixture.troubles().len(), 3);
}

#[test]
fn a_backend_that_answers_nobody_sets_nothing_aside() {
    let mut fixture = Fixture::new(settings());
    fixture.feed(&puts(2));
    for _ in 0..20 {
        fixture.connect();
        fixture.answer(0, &answer("500 Internal Server Error", ""));
        fixture.wait(10);
    }
    assert_eq!(fixture.told(), [""; 0]);
}

#[test]
fn own_answers_in_the_same_read_are_not_others_moving() {
    let mut fixture = Fixture::fed(
        LaneSettings {
            attempts_max: 1,
            ..settings()
        },
        &puts(3),
    );
    fixture.answer(0, APPLIED);
    fixture.answer(
        0,
        &(APPLIED.to_owned() + &answer("500 Internal Server Error", "")),
    );
    assert_eq!(fixture.told(), ["1.0=Applied", "1.1=Applied"]);
}

const FAILED: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
const MISSING: &str = "HTTP/1.1 404 Not Found\r\nVersion: 0\r\nContent-Length: 0\r\n\r\n";
const HARMLESS: &str = "GET /hustdb/zscore?tb=hustdbsync_probe&key=probe HTTP/1.1\r\n";

fn settings_with_tries(attempts_max: u32) -> LaneSettings {
    LaneSettings {
        attempts_max,
        ..settings()
    }
}

impl Fixture {
    fn wait_ms(&mut self, ms: u64) {
        self.now.monotonic += Duration::from_millis(ms);
        self.worker.handle_deadlines(self.now);
        self.turn();
    }

    /// Connects, fails what is sent then, and lets the delay pass.
    fn fail(&mut self) {
        self.connect();
        self.answer(0, FAILED);
        self.wait(10);
    }

    /// The same, and another lane's record is answered meanwhile.
    fn fail_while_others_move(&mut self) {
        self.fail();
        self.counters.answers.add(1);
    }

    /// Goes on until nothing waits any more; requests for these keys fail. Says what the
    /// checkpointer was told.
    fn replay_with_failing(&mut self, failing: &[&str]) -> Vec<String> {
        let mut told = vec![];
        for _ in 0..200 {
            self.connect();
            let Some(burst) = self.bursts().pop() else {
                return told;
            };
            let keys: Vec<_> = burst.split(' ').collect();
            let good = keys.iter().take_while(|key| !failing.contains(key)).count();
            let fails = if good < keys.len() { FAILED } else { "" };
            self.answer(0, &(APPLIED.repeat(good) + fails));
            if good < keys.len() {
                self.bursts();
                self.wait(10);
            }
            told.extend(self.told());
        }
        panic!("it goes in circles; told: {told:?}");
    }

    /// Answers the last request, a question otherwise than a mutation.
    fn answer_last(&mut self, mutation: &str, question: &str) {
        let is_question = self
            .sent
            .last()
            .is_some_and(|(_, burst)| burst.contains("/zscore"));
        self.answer(0, if is_question { question } else { mutation });
    }

    fn flush_and_open(&mut self) {
        self.epoch += 1;
        let (backend, epoch) = (BACKEND, self.epoch);
        self.message(WorkerMessage::Flush {
            backend,
            epoch,
            drain_until: None,
        });
        self.message(WorkerMessage::Open {
            backend,
            epoch,
            address: "127.0.0.1:1".parse().unwrap(),
            settings: Arc::new(settings()),
            counters: Arc::clone(&self.counters),
        });
    }
}

#[test]
fn failures_before_a_flush_still_count_after_it() {
    let mut fixture = Fixture::new(settings());
    fixture.feed(&puts(2));
    fixture.fail_while_others_move();
    fixture.fail_while_others_move();
    fixture.flush_and_open();
    fixture.feed(&puts(2));
    fixture.fail();
    assert_eq!(fixture.told(), ["1.0 sent", "flushed 1", "2.0!attempts"]);
}

#[test]
fn failures_of_one_record_are_not_anothers() {
    let mut fixture = Fixture::new(settings());
    fixture.feed(&puts(2));
    fixture.fail_while_others_move();
    fixture.fail_while_others_move();
    fixture.flush_and_open();
    fixture.feed(&[put("b")]);
    fixture.fail();
    assert_eq!(fixture.told(), ["1.0 sent", "flushed 1"]);
}

#[test]
fn where_no_other_lane_moves_a_record_of_another_key_goes_ahead_as_a_canary_of_each_try() {
    let mut fixture = Fixture::new(settings());
    fixture.feed(&[put("a"), put("b"), put("c")]);
    (0..2).for_each(|_| fixture.fail());
    for _ in 0..2 {
        fixture.bursts();
        fixture.connect();
        assert!(["b", "c"].contains(&&*fixture.bursts()[0]));
        fixture.answer(0, APPLIED);
        assert!(fixture.bursts()[0].starts_with('a'));
        fixture.answer(0, FAILED);
        fixture.wait(10);
    }
    let mut told = fixture.told();
    told[..2].sort();
    assert_eq!(told, ["1.1=Applied", "1.2=Applied", "1.0!attempts"]);
}

#[test]
fn each_try_is_waited_for_longer_whatever_else_is_answered() {
    let mut fixture = Fixture::new(settings_with_tries(10));
    fixture.feed(&puts(9));
    let waits = (0..6).map(|_| {
        fixture.connect();
        while fixture
            .bursts()
            .last()
            .is_some_and(|burst| !burst.starts_with('a'))
        {
            fixture.answer(0, APPLIED);
        }
        fixture.answer(0, FAILED);
        fixture.counters.answers.add(1);
        let waited = (1_u32..).find(|_| {
            fixture.wait_ms(5);
            !fixture.asked.is_empty()
        });
        waited.unwrap() * 5
    });
    let waits: Vec<_> = waits.collect();
    for (nth, waited) in (0..).zip(&waits) {
        assert!((25 << nth..=55 << nth).contains(waited), "{waits:?}");
    }
}

#[test]
fn bad_spells_of_a_backend_count_once_each_however_long_they_are() {
    let mut fixture = Fixture::new(settings());
    fixture.counters.in_flight_records.set(9);
    fixture.feed(&puts(1));
    for _ in 0..2 {
        (0..20).for_each(|_| fixture.fail());
        fixture.counters.answers.add(1);
    }
    assert_eq!(fixture.bursts(), ["a"; 40]);
    fixture.connect();
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.told(), ["1.0=Applied"]);
}

#[test]
fn a_failure_tells_its_line_and_whether_it_is_the_records_own() {
    let failed = |line, others_answered| {
        Some(FailedRecord {
            log: LOG.into(),
            line,
            others_answered,
        })
    };
    let mut fixture = Fixture::fed(settings(), &puts(3));
    fixture.answer(0, APPLIED);
    fixture.answer(0, FAILED);
    fixture.counters.answers.add(1);
    fixture.wait(10);
    fixture.fail();
    fixture.fail();
    fixture.connect();
    fixture.break_connection(0);
    let records: Vec<_> = fixture
        .failures()
        .into_iter()
        .map(|(_, record)| record)
        .collect();
    let suspected = [failed(102, false), failed(102, true), failed(102, false)];
    let canary = failed(103, false);
    assert_eq!((&records[..3], &records[3]), (&suspected[..], &canary));
}

#[test]
fn records_that_always_fail_do_not_hold_up_the_others_of_their_lane() {
    let mut fixture = Fixture::new(settings());
    fixture.feed(&puts(9));
    let mut told = fixture.replay_with_failing(&["a", "b", "e", "h"]);
    told.sort();
    let expected = KEYS[..9].iter().enumerate().map(|(line, key)| {
        let fails = ["a", "b", "e", "h"].contains(key);
        format!("1.{line}{}", if fails { "!attempts" } else { "=Applied" })
    });
    assert_eq!(told, expected.collect::<Vec<_>>());
}

#[test]
fn a_canary_never_overtakes_a_record_of_its_own_key() {
    let version = |version, key| Record {
        version,
        ..put(key)
    };
    let mut fixture = Fixture::new(settings());
    fixture.feed(&[
        version(1, "a"),
        version(2, "a"),
        version(1, "b"),
        version(2, "b"),
        version(3, "%62"),
    ]);
    (0..2).for_each(|_| fixture.fail());
    fixture.sent.clear();
    fixture.connect();
    assert!(
        fixture.sent[0].1.contains("key=b&ver=1&"),
        "{}",
        fixture.sent[0].1
    );
    fixture.answer(0, APPLIED);
    let told = fixture.replay_with_failing(&["a"]);
    let of_b: Vec<_> = told
        .iter()
        .filter(|told| told.ends_with("Applied"))
        .collect();
    assert_eq!(of_b, ["1.2=Applied", "1.3=Applied", "1.4=Applied"]);
}

#[test]
fn a_canary_that_fails_goes_back_to_its_place_and_is_not_blamed() {
    let mut fixture = Fixture::new(settings());
    fixture.counters.in_flight_records.set(9);
    fixture.feed(&puts(2));
    (0..20).for_each(|_| fixture.fail());
    let bursts = fixture.bursts();
    assert!(bursts.contains(&"b".to_owned()), "{bursts:?}");
    assert_eq!(fixture.told(), [""; 0]);
    let mut told = fixture.replay_with_failing(&[]);
    told.sort();
    assert_eq!(told, ["1.0=Applied", "1.1=Applied"]);
}

#[test]
fn the_last_record_of_all_is_rejected_when_a_harmless_question_is_answered() {
    let mut fixture = Fixture::new(settings());
    fixture.counters.in_flight_records.set(1);
    fixture.feed(&puts(1));
    (0..2).for_each(|_| fixture.fail());
    for _ in 0..2 {
        fixture.sent.clear();
        fixture.connect();
        assert!(
            fixture.sent[0].1.starts_with(HARMLESS),
            "{}",
            fixture.sent[0].1
        );
        assert_eq!(fixture.told(), [""; 0], "it is tried once more");
        fixture.answer(0, &answer("404 Not Found", ""));
        fixture.answer(0, FAILED);
        fixture.wait(10);
    }
    assert_eq!(fixture.told(), ["1.0!attempts"]);
}

/// One lane has all that the backend has, and every record of it fails, while the question is
/// answered. Says what was rejected.
fn rejected_of_keys_that_all_fail(keys: usize) -> Vec<String> {
    let names: Vec<String> = (0..keys).map(|key| format!("k{key}")).collect();
    let records = names.iter().map(|name| Record {
        key: name.as_bytes(),
        ..put("")
    });
    let mut fixture = Fixture::new(settings());
    fixture.feed(&records.collect::<Vec<_>>());
    let mut told = vec![];
    for _ in 0..200 {
        fixture
            .counters
            .in_flight_records
            .set((keys - told.len()) as u64);
        fixture.connect();
        while let Some((slot, burst)) = fixture.sent.pop() {
            let is_harmless = burst.starts_with(HARMLESS);
            fixture.answer(slot, if is_harmless { MISSING } else { FAILED });
        }
        fixture.wait(10);
        told.extend(fixture.told());
    }
    told
}

#[test]
fn a_few_keys_that_all_fail_and_are_alone_are_rejected() {
    let told = rejected_of_keys_that_all_fail(KEYS_FAILING_ALONE_MAX);
    assert_eq!(told.len(), KEYS_FAILING_ALONE_MAX, "{told:?}");
    assert!(
        told.iter().all(|one| one.ends_with("!attempts")),
        "{told:?}"
    );
}

#[test]
fn many_keys_that_all_fail_are_the_backends_failure() {
    let told = rejected_of_keys_that_all_fail(KEYS_FAILING_ALONE_MAX + 1);
    assert_eq!(told, [""; 0]);
}

#[test]
fn the_last_record_of_all_waits_where_the_question_fails_too() {
    const STRANGERS: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for failed in [FAILED, STRANGERS] {
        let mut fixture = Fixture::new(settings());
        fixture.counters.in_flight_records.set(1);
        fixture.feed(&puts(1));
        for _ in 0..20 {
            fixture.connect();
            fixture.answer(0, failed);
            fixture.wait(10);
        }
        assert!(fixture.sent.last().unwrap().1.starts_with(HARMLESS));
        assert_eq!(fixture.told(), [""; 0]);
    }
}

#[test]
fn where_other_lanes_have_records_and_none_is_answered_it_is_the_backends_failure() {
    let mut fixture = Fixture::new(settings());
    fixture.counters.in_flight_records.set(2);
    fixture.feed(&puts(1));
    for _ in 0..20 {
        fixture.fail();
    }
    assert_eq!(fixture.bursts(), ["a"; 20]);
    assert_eq!(fixture.told(), [""; 0]);
}

#[test]
fn the_answer_to_its_own_question_is_not_others_moving() {
    let mut fixture = Fixture::new(settings());
    fixture.counters.in_flight_records.set(2);
    fixture.feed_as(&[zadd(b"m")], true);
    for _ in 0..5 {
        fixture.connect();
        fixture.answer(0, &answer("404 Not Found", ""));
        fixture.answer(0, FAILED);
        fixture.wait(10);
    }
    assert_eq!(fixture.told(), [""; 0]);
    assert_eq!(fixture.counters.answers.load(), 0);
}

#[test]
fn what_a_canary_was_asked_says_nothing_of_the_record_behind_it() {
    let mut fixture = Fixture::new(LaneSettings {
        records_per_second_max: 20,
        ..settings_with_tries(10)
    });
    fixture.counters.in_flight_records.set(9);
    let member = |key| Record {
        value: b"",
        ..Record { key, ..zadd(b"") }
    };
    fixture.feed_as(&[member(b"a"), member(b"b")], true);
    (0..2).for_each(|_| fixture.fail());
    fixture.sent.clear();
    fixture.connect();
    // The rate lets one request go at a time: what comes next waits for its turn.
    let mut answered = 0;
    for _ in 0..8 {
        if fixture.sent.len() > answered {
            answered = fixture.sent.len();
            fixture.answer_last(APPLIED, MISSING);
        }
        fixture.wait_ms(50);
    }
    let mut asked = vec![];
    for (_, burst) in &fixture.sent {
        let line = burst.lines().next().unwrap();
        let key = if line.contains("key=a") { "a" } else { "b" };
        if line.contains("/zscore") {
            asked.push(key);
        } else {
            assert_eq!(asked.last(), Some(&key), "{:?}", fixture.sent);
        }
    }
    assert_eq!(fixture.told(), ["1.1=Applied", "1.0=Applied"]);
}
