//! A worker against a scripted backend: what it sends, what it reports, and what it lets go.

mod fixture;
mod idle;
mod long;
mod lookup;
mod poison;
mod resends;
mod what_is_sent;

use proptest::prelude::*;

use super::*;
use crate::binlog::{Method, Record, line};
use crate::replay::messages::{BackendMessage, CheckpointerMessage, Trouble};
use crate::replay::outcome::Settlement;
use fixture::*;

#[test]
fn a_lane_connects_when_records_come_and_sends_them_in_growing_bursts() {
    let mut fixture = Fixture::new(settings());
    assert!(fixture.asked.is_empty());
    fixture.feed(&puts(6));
    fixture.connect();
    assert_eq!(fixture.bursts(), ["a"]);
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.bursts(), ["b c"]);
    fixture.answer(0, &APPLIED.repeat(2));
    assert_eq!(fixture.bursts(), ["d e f"]);
    fixture.answer(0, APPLIED);
    assert_eq!(
        fixture.bursts(),
        [""; 0],
        "nothing goes while answers are outstanding"
    );
    fixture.answer(0, &APPLIED.repeat(2));
    assert_eq!(
        fixture.told(),
        [
            "1.0=Applied",
            "1.1=Applied",
            "1.2=Applied",
            "1.3=Applied",
            "1.4=Applied",
            "1.5=Applied"
        ]
    );
    assert_eq!(fixture.chunks_home(), 1);
    assert_eq!(fixture.counters.answers.load(), 6);
    assert_eq!(fixture.counters.connections_open.load(), 1);
}

#[test]
fn a_burst_is_bounded_by_its_bytes_and_none_is_one_request() {
    let mut fixture = Fixture::fed(
        LaneSettings {
            burst_bytes: 250,
            ..settings()
        },
        &puts(9),
    );
    for _ in 0..3 {
        let requests = fixture.sent.last().unwrap().1.matches("POST").count();
        fixture.answer(0, &APPLIED.repeat(requests));
    }
    assert_eq!(fixture.bursts(), ["a", "b c", "d e", "f g"]);

    let mut fixture = Fixture::fed(
        LaneSettings {
            burst_bytes: 0,
            ..settings()
        },
        &puts(3),
    );
    fixture.answer(0, APPLIED);
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.bursts(), ["a", "b", "c"]);
}

#[test]
fn after_a_broken_connection_the_suffix_is_sent_again_in_order() {
    let mut fixture = Fixture::fed(settings(), &puts(6));
    fixture.answer(0, APPLIED);
    fixture.answer(0, &APPLIED.repeat(2));
    fixture.answer(0, APPLIED);
    fixture.bursts();
    fixture.break_connection(0);
    assert_eq!(fixture.troubles(), [Trouble::Connection("reset".into())]);
    assert!(fixture.asked.is_empty(), "it waits before it tries again");
    fixture.wait(1);
    fixture.connect();
    assert_eq!(fixture.bursts(), ["e"]);
    assert_eq!(fixture.counters.resent.load(), 1);
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.bursts(), ["f"]);
}

#[test]
fn what_each_answer_means_reaches_the_checkpointer_in_order() {
    let mut fixture = Fixture::new(settings());
    let del = Record {
        method: Method::Del,
        value: b"",
        ..put("x")
    };
    fixture.feed(&[put("a"), del, put("b"), put("c")]);
    fixture.connect();
    fixture.answer(0, &answer("200 OK", "Version: 9\r\nVerError: true\r\n"));
    fixture.answer(
        0,
        &(answer("404 Not Found", "Version: 0\r\n")
            + &answer("401 Unauthorized", "Version: 0\r\n")),
    );
    fixture.answer(0, APPLIED);
    assert_eq!(
        fixture.told(),
        ["1.0=Superseded", "1.1=Absent", "1.2!version", "1.3=Applied"]
    );
}

#[test]
fn a_rejected_line_is_kept_as_ha_wrote_it() {
    let mut fixture = Fixture::fed(settings(), &[put("first"), put("k")]);
    fixture.answer(0, APPLIED);
    fixture.answer(0, &answer("400 Bad Request", ""));
    let (mut bytes, mut expected) = (vec![], vec![]);
    put("k").encode(&mut bytes);
    line::encode(b"[now] | ", &bytes, &mut expected);
    expected.pop();
    let rejected =
        std::iter::from_fn(|| fixture.links.mailboxes.checkpointer.receive()).find_map(|message| {
            match message {
                CheckpointerMessage::Of(_, BackendMessage::Rejected(one)) => Some(one),
                _ => None,
            }
        });
    let rejected = rejected.expect("a line is rejected");
    assert_eq!(rejected.raw, expected);
    assert_eq!(rejected.reason, "bad_request");
    assert_eq!(rejected.detail, "the backend answered 400 to put");
}

#[test]
fn a_target_that_hustdb_cannot_stand_is_rejected_unsent() {
    let mut fixture = Fixture::new(LaneSettings {
        head_bytes_max: 100,
        ..settings()
    });
    let long: &'static str =
        "a-key-of-some-length-that-makes-the-head-of-its-request-too-long-for-the-bound-set-here";
    fixture.feed(&[put("a"), put(long), put("b")]);
    fixture.connect();
    fixture.answer(0, APPLIED);
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.bursts(), ["a", "b"]);
    assert_eq!(
        fixture.told(),
        ["1.0=Applied", "1.1!head_too_long", "1.2=Applied"]
    );
}

#[test]
fn a_wrong_password_settles_and_sets_aside_nothing() {
    let mut fixture = Fixture::new(LaneSettings {
        attempts_max: 1,
        ..settings()
    });
    fixture.feed(&puts(2));
    fixture.counters.answers.add(100);
    for _ in 0..3 {
        fixture.connect();
        fixture.answer(
            0,
            &answer(
                "401 Unauthorized",
                "WWW-Authenticate: Basic realm=\"libevhtp\"\r\n",
            ),
        );
        fixture.wait(10);
    }
    assert_eq!(fixture.told(), [""; 0]);
    assert_eq!(fixture.troubles(), vec![Trouble::Refused; 3]);
}

#[test]
fn garbage_silence_and_answers_too_many_are_trouble() {
    for (bytes, trouble) in [
        (
            "<html>",
            "the answer is no HTTP/1.1: its version".to_owned(),
        ),
        (&APPLIED.repeat(2), "more answers than requests".to_owned()),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3221225472\r\n\r\n",
            "the answer is larger than 65536 bytes".to_owned(),
        ),
    ] {
        let mut fixture = Fixture::fed(settings(), &puts(1));
        fixture.answer(0, bytes);
        assert_eq!(fixture.troubles(), [Trouble::Garbage(trouble)]);
        assert_eq!(fixture.closed, [0]);
    }
    let mut fixture = Fixture::fed(settings(), &puts(1));
    fixture.wait(6);
    assert_eq!(fixture.troubles(), [Trouble::Timeout]);
}

#[test]
fn a_connection_that_is_not_made_in_time_is_tried_again() {
    let mut fixture = Fixture::new(settings());
    fixture.feed(&puts(1));
    assert_eq!(fixture.asked, [0]);
    fixture.wait(2);
    assert_eq!(fixture.troubles().len(), 1);
    fixture.wait(2);
    assert_eq!(fixture.asked, [0]);
    fixture.connect();
    assert_eq!(fixture.bursts(), ["a"]);
}

#[test]
fn a_record_with_a_ttl_waits_for_the_backends_clock_and_the_lane_behind_it() {
    let mut fixture = Fixture::new(settings());
    fixture.set_ttl_ready(false);
    let ttl = Record {
        expires_unix: 2_000_000,
        ..put("t")
    };
    fixture.feed(&[put("a"), ttl, put("b")]);
    fixture.connect();
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.bursts(), ["a"]);
    fixture.set_ttl_ready(true);
    assert_eq!(fixture.bursts(), ["t b"]);
}

#[test]
fn a_lane_that_waits_for_the_backends_clock_is_not_woken_by_its_rate() {
    let mut fixture = Fixture::new(LaneSettings {
        idle_timeout: Duration::MAX,
        records_per_second_max: 10,
        ..settings()
    });
    fixture.set_ttl_ready(false);
    let ttl = Record {
        expires_unix: 2_000_000,
        ..put("t")
    };
    fixture.feed(&[put("a"), ttl]);
    fixture.connect();
    fixture.answer(0, APPLIED);
    fixture.wait(500);
    fixture.wait(500);
    assert_eq!(fixture.worker.deadline(), Duration::MAX);
}

#[test]
fn an_expired_record_is_deleted_and_does_not_wait() {
    let mut fixture = Fixture::new(settings());
    fixture.set_ttl_ready(false);
    let expired = Record {
        expires_unix: 999_999,
        ..put("t")
    };
    fixture.feed(&[expired]);
    fixture.connect();
    assert!(
        fixture.sent[0]
            .1
            .starts_with("GET /hustdb/del?key=t&ver=1&is_dup=true ")
    );
    fixture.answer(0, &answer("404 Not Found", ""));
    assert_eq!(fixture.told(), ["1.0=Absent"]);
    assert_eq!(fixture.counters.expired.load(), 1);
}

#[test]
fn a_send_that_ends_inside_a_request_line_closes_the_connection() {
    let mut fixture = Fixture::new(settings());
    fixture.feed(&puts(1));
    for slot in std::mem::take(&mut fixture.asked) {
        fixture.worker.handle_connected(slot, 65_000, fixture.now);
        while fixture.worker.poll_action(fixture.now).is_some() {}
        fixture.worker.handle_sent(slot, 20, fixture.now);
    }
    fixture.turn();
    assert_eq!(fixture.closed, [0]);
    fixture.wait(1);
    fixture.connect();
    assert_eq!(fixture.bursts(), ["a"]);
}

/// The backend closes a connection of which enough is answered, or which it said it would close:
/// its driver is told that before it closes it itself.
#[test]
fn the_end_of_a_connection_behind_its_last_answer_is_none_of_the_next_one() {
    let closing = APPLIED.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    for (requests_per_connection, answer) in [(2, APPLIED), (80_000, &closing)] {
        let mut fixture = Fixture::new(LaneSettings {
            requests_per_connection,
            ..settings()
        });
        fixture.feed(&puts(9));
        let (mut answers, mut ends) = (0, 0);
        while answers < 9 {
            fixture.connect();
            let (slot, burst) = fixture.sent.pop().expect("no connection is waited for");
            let count = burst.matches(" HTTP/1.1").count();
            let told = APPLIED.repeat(count - 1) + answer;
            fixture
                .worker
                .handle_received(slot, told.as_bytes(), fixture.now);
            answers += count;
            if answer == closing || answers % 2 == 0 {
                let why = "it closed the connection".to_owned();
                fixture.worker.handle_received(slot, b"HTTP", fixture.now);
                fixture.worker.handle_closed(slot, why, fixture.now);
                ends += 1;
            }
            fixture.turn();
        }
        assert!(ends > 3);
        assert_eq!(fixture.told().len(), 9);
        assert_eq!(fixture.troubles(), []);
    }
}

#[test]
fn a_connection_is_retired_after_its_requests() {
    let mut fixture = Fixture::fed(
        LaneSettings {
            requests_per_connection: 2,
            ..settings()
        },
        &puts(3),
    );
    fixture.answer(0, APPLIED);
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.bursts(), ["a", "b"]);
    assert_eq!(
        (&fixture.closed[..], &fixture.asked[..]),
        (&[0][..], &[0][..])
    );
    fixture.connect();
    assert_eq!(fixture.bursts(), ["c"]);
    assert_eq!(fixture.troubles(), []);
    assert_eq!(fixture.counters.connections_open.load(), 1);
}

#[test]
fn a_large_body_is_sent_from_its_chunk() {
    let value: &'static [u8] = vec![b'x'; 100_000].leak();
    let mut fixture = Fixture::fed(
        settings(),
        &[
            Record {
                value,
                ..put("big")
            },
            put("a"),
        ],
    );
    let burst = &fixture.sent[0].1;
    assert!(burst.contains("\r\nContent-Length: 100000\r\n\r\nxxx"));
    assert_eq!(burst.matches('x').count(), 100_000);
    fixture.answer(0, APPLIED);
    fixture.bursts();
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.told(), ["1.0=Applied", "1.1=Applied"]);
}

#[test]
fn a_large_body_that_was_answered_is_not_looked_at_again() {
    let value: &'static [u8] = vec![b'x'; 100_000].leak();
    let mut fixture = Fixture::fed(
        settings(),
        &[Record {
            value,
            ..put("big")
        }],
    );
    fixture.answer(0, APPLIED);
    // A driver asks whenever its socket has room, and the batch has been let go.
    assert_eq!(fixture.chunks_home(), 1);
    assert_eq!(fixture.worker.outgoing(0), [b"", b""]);
}

#[test]
fn what_an_earlier_process_may_have_sent_is_not_counted_as_sent_again() {
    let mut fixture = Fixture::new(settings());
    fixture.feed_as(&puts(6), true);
    fixture.connect();
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.bursts(), ["a", "b c"]);
    assert_eq!(fixture.counters.resent.load(), 0);
    // What is out when a backend is let go of is sent again, what only waits is not.
    fixture.flush(1, None);
    assert_eq!(fixture.counters.resent.load(), 2);
}

#[test]
fn a_flush_forgets_everything_and_says_so_behind_all_outcomes() {
    let mut fixture = Fixture::fed(settings(), &puts(6));
    fixture.answer(0, APPLIED);
    fixture.flush(1, None);
    // Six were queued, and two of them were on their way.
    assert_eq!(
        fixture.told(),
        ["1.0=Applied", "1.1 sent", "1.2 sent", "flushed 1"]
    );
    assert_eq!(fixture.closed, [0]);
    assert_eq!(fixture.chunks_home(), 1);
    assert_eq!(fixture.counters.connections_open.load(), 0);
    fixture.feed(&puts(2));
    assert_eq!(
        fixture.chunks_home(),
        1,
        "a batch of an older epoch is returned at once"
    );
    assert!(fixture.asked.is_empty());
}

#[test]
fn a_drain_lets_what_is_in_flight_be_answered_and_no_more() {
    let mut fixture = Fixture::fed(settings(), &puts(6));
    let drain_until = Some(fixture.now.monotonic + Duration::from_secs(3));
    fixture.flush(1, drain_until);
    assert_eq!(fixture.told(), [""; 0]);
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.told(), ["1.0=Applied", "flushed 1"]);
    assert_eq!(fixture.bursts(), ["a"]);
}

#[test]
fn a_connection_that_stands_when_the_drain_has_just_ended_is_closed() {
    let mut fixture = Fixture::fed(
        LaneSettings {
            lanes: 2,
            ..settings()
        },
        &puts(1),
    );
    fixture.lane = 1;
    fixture.feed(&puts(1));
    let drain_until = Some(fixture.now.monotonic + Duration::from_secs(3));
    fixture.flush(1, drain_until);
    // Both events are of one poll: the driver acts when it has told all of them.
    fixture
        .worker
        .handle_received(0, APPLIED.as_bytes(), fixture.now);
    fixture.worker.handle_connected(1, 65_000, fixture.now);
    fixture.turn();
    assert_eq!(fixture.told(), ["1.0=Applied", "flushed 1"]);
    assert_eq!(fixture.closed, [0, 1]);
}

#[test]
fn a_drain_ends_when_its_time_is_up() {
    let mut fixture = Fixture::fed(settings(), &puts(6));
    let drain_until = Some(fixture.now.monotonic + Duration::from_secs(3));
    fixture.flush(1, drain_until);
    fixture.wait(2);
    assert_eq!(fixture.told(), [""; 0]);
    fixture.wait(2);
    assert_eq!(fixture.told(), ["1.0 sent", "flushed 1"]);
}

#[test]
fn a_backend_that_was_never_opened_is_flushed_at_once() {
    let mut fixture = Fixture::new(settings());
    fixture.message(WorkerMessage::Flush {
        backend: BackendId(7),
        epoch: 1,
        drain_until: None,
    });
    assert_eq!(fixture.told(), ["flushed 1"]);
}

#[test]
fn while_the_checkpointer_takes_nothing_no_new_burst_goes() {
    let mut fixture = Fixture::fed(settings(), &puts(6));
    while fixture
        .links
        .mailboxes
        .checkpointer
        .send(CheckpointerMessage::Stop)
        .is_ok()
    {}
    fixture.answer(0, APPLIED);
    assert_eq!(
        fixture.bursts(),
        ["a", "b c"],
        "known only when the outbox is handed over"
    );
    fixture.answer(0, &APPLIED.repeat(2));
    assert_eq!(fixture.bursts(), [""; 0]);
    while fixture.links.mailboxes.checkpointer.receive().is_some() {}
    fixture.turn();
    fixture.turn();
    assert_eq!(fixture.bursts(), ["d e f"]);
}

#[test]
fn outcomes_are_gathered_for_a_while_before_the_checkpointer_is_woken() {
    let mut fixture = Fixture::fed(settings(), &puts(2));
    fixture
        .worker
        .handle_received(0, APPLIED.as_bytes(), fixture.now);
    fixture.worker.hand_over(fixture.now);
    assert_eq!(fixture.told(), [""; 0]);
    fixture.now.monotonic = fixture.worker.deadline();
    fixture.worker.hand_over(fixture.now);
    assert_eq!(fixture.told(), ["1.0=Applied"]);
}

#[test]
fn a_rate_is_kept_and_the_lane_goes_on_by_itself() {
    let mut fixture = Fixture::fed(
        LaneSettings {
            records_per_second_max: 10,
            ..settings()
        },
        &puts(4),
    );
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.bursts(), ["a"]);
    fixture.now.monotonic = fixture.worker.deadline();
    fixture.wait(0);
    assert_eq!(fixture.bursts(), ["b"]);
}

proptest! {
    #[test]
    fn answers_cut_anywhere_settle_the_same(
        cuts in proptest::collection::vec(1..120_usize, 0..40),
    ) {
        let mut fixture = Fixture::fed(settings(), &puts(9));
        let mut cuts = cuts.into_iter().chain(std::iter::repeat(40));
        let (mut burst, mut told) = (0, vec![]);
        while burst < fixture.sent.len() {
            let requests = fixture.sent[burst].1.matches("POST").count();
            let answers = APPLIED.repeat(requests);
            let mut rest = &answers[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                fixture.answer(0, now);
                rest = later;
                let Some(due) = fixture.worker.answer_bytes_due(0).filter(|_| !rest.is_empty())
                else {
                    continue;
                };
                prop_assert!(due <= rest.len(), "no driver waits for bytes that never come");
                let unanswered = rest.len().div_ceil(APPLIED.len());
                let is_known = burst > 0 || unanswered < requests;
                prop_assert!(
                    unanswered == 1 || !is_known || rest.len() - due < APPLIED.len(),
                    "all but a part of the last answer may gather"
                );
            }
            burst += 1;
            told.extend(fixture.told());
        }
        let expected: Vec<_> = (0..9)
            .map(|line| format!("1.{line}={:?}", Settlement::Applied))
            .collect();
        prop_assert_eq!(told, expected);
        prop_assert_eq!(fixture.chunks_home(), 1);
    }
}
