//! A worker against a scripted backend: what it sends, what it reports, and what it lets go.

mod blame;
mod idle;
mod long;
mod lookup;
mod rig;
mod what_is_sent;

use proptest::prelude::*;

use super::*;
use crate::binlog::{Method, Record, line};
use crate::replay::messages::Trouble;
use crate::replay::outcome::Settlement;
use rig::*;

#[test]
fn a_lane_connects_when_records_come_and_sends_them_in_growing_bursts() {
    let mut rig = Rig::new(settings());
    assert!(rig.asked.is_empty());
    rig.feed(&puts(6));
    rig.connect();
    assert_eq!(rig.bursts(), ["a"]);
    rig.answer(0, APPLIED);
    assert_eq!(rig.bursts(), ["b c"]);
    rig.answer(0, &APPLIED.repeat(2));
    assert_eq!(rig.bursts(), ["d e f"]);
    rig.answer(0, APPLIED);
    assert_eq!(
        rig.bursts(),
        [""; 0],
        "nothing goes while answers are outstanding"
    );
    rig.answer(0, &APPLIED.repeat(2));
    assert_eq!(
        rig.told(),
        [
            "1.0=Applied",
            "1.1=Applied",
            "1.2=Applied",
            "1.3=Applied",
            "1.4=Applied",
            "1.5=Applied"
        ]
    );
    assert_eq!(rig.chunks_home(), 1);
    assert_eq!(rig.counters.answers.load(), 6);
    assert_eq!(rig.counters.connections_open.load(), 1);
}

#[test]
fn a_burst_is_bounded_by_its_bytes_and_none_is_one_request() {
    let mut rig = Rig::new(LaneSettings {
        burst_bytes: 250,
        ..settings()
    });
    rig.feed(&puts(9));
    rig.connect();
    for _ in 0..3 {
        let requests = rig.sent.last().unwrap().1.matches("POST").count();
        rig.answer(0, &APPLIED.repeat(requests));
    }
    assert_eq!(rig.bursts(), ["a", "b c", "d e", "f g"]);

    let mut rig = Rig::new(LaneSettings {
        burst_bytes: 0,
        ..settings()
    });
    rig.feed(&puts(3));
    rig.connect();
    rig.answer(0, APPLIED);
    rig.answer(0, APPLIED);
    assert_eq!(rig.bursts(), ["a", "b", "c"]);
}

#[test]
fn after_a_broken_connection_the_suffix_is_sent_again_in_order() {
    let mut rig = Rig::new(settings());
    rig.feed(&puts(6));
    rig.connect();
    rig.answer(0, APPLIED);
    rig.answer(0, &APPLIED.repeat(2));
    rig.answer(0, APPLIED);
    rig.bursts();
    rig.break_connection(0);
    assert_eq!(rig.troubles(), [Trouble::Connection("reset".into())]);
    assert!(rig.asked.is_empty(), "it waits before it tries again");
    rig.wait(1);
    rig.connect();
    assert_eq!(rig.bursts(), ["e"]);
    assert_eq!(rig.counters.resent.load(), 1);
    rig.answer(0, APPLIED);
    assert_eq!(rig.bursts(), ["f"]);
}

#[test]
fn what_each_answer_means_reaches_the_keeper_in_order() {
    let mut rig = Rig::new(settings());
    let del = Record {
        method: Method::Del,
        value: b"",
        ..put("x")
    };
    rig.feed(&[put("a"), del, put("b"), put("c")]);
    rig.connect();
    rig.answer(0, &answer("200 OK", "Version: 9\r\nVerError: true\r\n"));
    rig.answer(
        0,
        &(answer("404 Not Found", "Version: 0\r\n")
            + &answer("401 Unauthorized", "Version: 0\r\n")),
    );
    rig.answer(0, APPLIED);
    assert_eq!(
        rig.told(),
        ["1.0=Superseded", "1.1=Absent", "1.2!version", "1.3=Applied"]
    );
}

#[test]
fn a_rejected_line_is_kept_as_ha_wrote_it() {
    let mut rig = Rig::new(settings());
    rig.feed(&[put("first"), put("k")]);
    rig.connect();
    rig.answer(0, APPLIED);
    rig.answer(0, &answer("400 Bad Request", ""));
    let (mut bytes, mut expected) = (vec![], vec![]);
    put("k").encode(&mut bytes);
    line::encode(b"[now] | ", &bytes, &mut expected);
    expected.pop();
    let rejected = std::iter::from_fn(|| rig.links.keeper.receive()).find_map(|mail| match mail {
        KeeperMail::Rejected(one) => Some(one),
        _ => None,
    });
    let rejected = rejected.expect("a line is set aside");
    assert_eq!(rejected.raw, expected);
    assert_eq!(rejected.reason, "bad_request");
    assert_eq!(rejected.detail, "the backend answered 400 to put");
}

#[test]
fn a_target_that_hustdb_cannot_stand_is_set_aside_unsent() {
    let mut rig = Rig::new(LaneSettings {
        head_bytes_max: 100,
        ..settings()
    });
    let long: &'static str =
        "a-key-of-some-length-that-makes-the-head-of-its-request-too-long-for-the-bound-set-here";
    rig.feed(&[put("a"), put(long), put("b")]);
    rig.connect();
    rig.answer(0, APPLIED);
    rig.answer(0, APPLIED);
    assert_eq!(rig.bursts(), ["a", "b"]);
    assert_eq!(
        rig.told(),
        ["1.0=Applied", "1.1!head_too_long", "1.2=Applied"]
    );
}

#[test]
fn a_wrong_password_settles_and_sets_aside_nothing() {
    let mut rig = Rig::new(LaneSettings {
        attempts_max: 1,
        ..settings()
    });
    rig.feed(&puts(2));
    rig.counters.answers.add(100);
    for _ in 0..3 {
        rig.connect();
        rig.answer(
            0,
            &answer(
                "401 Unauthorized",
                "WWW-Authenticate: Basic realm=\"libevhtp\"\r\n",
            ),
        );
        rig.wait(10);
    }
    assert_eq!(rig.told(), [""; 0]);
    assert_eq!(rig.troubles(), vec![Trouble::Refused; 3]);
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
        let mut rig = Rig::new(settings());
        rig.feed(&puts(1));
        rig.connect();
        rig.answer(0, bytes);
        assert_eq!(rig.troubles(), [Trouble::Garbage(trouble)]);
        assert_eq!(rig.closed, [0]);
    }
    let mut rig = Rig::new(settings());
    rig.feed(&puts(1));
    rig.connect();
    rig.wait(6);
    assert_eq!(rig.troubles(), [Trouble::Timeout]);
}

#[test]
fn a_connection_that_is_not_made_in_time_is_tried_again() {
    let mut rig = Rig::new(settings());
    rig.feed(&puts(1));
    assert_eq!(rig.asked, [0]);
    rig.wait(2);
    assert_eq!(rig.troubles().len(), 1);
    rig.wait(2);
    assert_eq!(rig.asked, [0]);
    rig.connect();
    assert_eq!(rig.bursts(), ["a"]);
}

#[test]
fn a_record_with_a_ttl_waits_for_the_backends_clock_and_the_lane_behind_it() {
    let mut rig = Rig::new(settings());
    rig.mail(WorkerMail::Ttl {
        backend: BACKEND,
        ready: false,
    });
    let ttl = Record {
        expires_unix: 2_000_000,
        ..put("t")
    };
    rig.feed(&[put("a"), ttl, put("b")]);
    rig.connect();
    rig.answer(0, APPLIED);
    assert_eq!(rig.bursts(), ["a"]);
    rig.mail(WorkerMail::Ttl {
        backend: BACKEND,
        ready: true,
    });
    assert_eq!(rig.bursts(), ["t b"]);
}

#[test]
fn a_lane_that_waits_for_the_backends_clock_is_not_woken_by_its_rate() {
    let mut rig = Rig::new(LaneSettings {
        idle_timeout: Duration::MAX,
        records_per_second_max: 10,
        ..settings()
    });
    rig.mail(WorkerMail::Ttl {
        backend: BACKEND,
        ready: false,
    });
    let ttl = Record {
        expires_unix: 2_000_000,
        ..put("t")
    };
    rig.feed(&[put("a"), ttl]);
    rig.connect();
    rig.answer(0, APPLIED);
    rig.wait(500);
    rig.wait(500);
    assert_eq!(rig.worker.deadline(), Duration::MAX);
}

#[test]
fn an_expired_record_is_deleted_and_does_not_wait() {
    let mut rig = Rig::new(settings());
    rig.mail(WorkerMail::Ttl {
        backend: BACKEND,
        ready: false,
    });
    let expired = Record {
        expires_unix: 999_999,
        ..put("t")
    };
    rig.feed(&[expired]);
    rig.connect();
    assert!(
        rig.sent[0]
            .1
            .starts_with("GET /hustdb/del?key=t&ver=1&is_dup=true ")
    );
    rig.answer(0, &answer("404 Not Found", ""));
    assert_eq!(rig.told(), ["1.0=Absent"]);
    assert_eq!(rig.counters.expired.load(), 1);
}

#[test]
fn a_send_that_ends_inside_a_request_line_closes_the_connection() {
    let mut rig = Rig::new(settings());
    rig.feed(&puts(1));
    for slot in std::mem::take(&mut rig.asked) {
        rig.worker.handle_connected(slot, 65_000, rig.now);
        while rig.worker.poll_action(rig.now).is_some() {}
        rig.worker.handle_sent(slot, 20, rig.now);
    }
    rig.turn();
    assert_eq!(rig.closed, [0]);
    rig.wait(1);
    rig.connect();
    assert_eq!(rig.bursts(), ["a"]);
}

#[test]
fn a_connection_is_retired_after_its_requests() {
    let mut rig = Rig::new(LaneSettings {
        requests_per_connection: 2,
        ..settings()
    });
    rig.feed(&puts(3));
    rig.connect();
    rig.answer(0, APPLIED);
    rig.answer(0, APPLIED);
    assert_eq!(rig.bursts(), ["a", "b"]);
    assert_eq!((&rig.closed[..], &rig.asked[..]), (&[0][..], &[0][..]));
    rig.connect();
    assert_eq!(rig.bursts(), ["c"]);
    assert_eq!(rig.troubles(), []);
    assert_eq!(rig.counters.connections_open.load(), 1);
}

#[test]
fn a_large_body_is_sent_from_its_chunk() {
    let value: &'static [u8] = vec![b'x'; 100_000].leak();
    let mut rig = Rig::new(settings());
    rig.feed(&[
        Record {
            value,
            ..put("big")
        },
        put("a"),
    ]);
    rig.connect();
    let burst = &rig.sent[0].1;
    assert!(burst.contains("\r\nContent-Length: 100000\r\n\r\nxxx"));
    assert_eq!(burst.matches('x').count(), 100_000);
    rig.answer(0, APPLIED);
    rig.bursts();
    rig.answer(0, APPLIED);
    assert_eq!(rig.told(), ["1.0=Applied", "1.1=Applied"]);
}

#[test]
fn a_large_body_that_was_answered_is_not_looked_at_again() {
    let value: &'static [u8] = vec![b'x'; 100_000].leak();
    let mut rig = Rig::new(settings());
    rig.feed(&[Record {
        value,
        ..put("big")
    }]);
    rig.connect();
    rig.answer(0, APPLIED);
    // A driver asks whenever its socket has room, and the batch has been let go.
    assert_eq!(rig.chunks_home(), 1);
    assert_eq!(rig.worker.outgoing(0), [b"", b""]);
}

#[test]
fn what_an_earlier_process_may_have_sent_is_not_counted_as_sent_again() {
    let mut rig = Rig::new(settings());
    rig.feed_as(&puts(6), true);
    rig.connect();
    rig.answer(0, APPLIED);
    assert_eq!(rig.bursts(), ["a", "b c"]);
    assert_eq!(rig.counters.resent.load(), 0);
    // What is out when a backend is let go of is sent again, what only waits is not.
    rig.mail(WorkerMail::Flush {
        backend: BACKEND,
        epoch: 1,
        drain_until: None,
    });
    assert_eq!(rig.counters.resent.load(), 2);
}

#[test]
fn a_flush_forgets_everything_and_says_so_behind_all_outcomes() {
    let mut rig = Rig::new(settings());
    rig.feed(&puts(6));
    rig.connect();
    rig.answer(0, APPLIED);
    rig.mail(WorkerMail::Flush {
        backend: BACKEND,
        epoch: 1,
        drain_until: None,
    });
    // Six were queued, and two of them were on their way.
    assert_eq!(
        rig.told(),
        ["1.0=Applied", "1.1 sent", "1.2 sent", "flushed 1"]
    );
    assert_eq!(rig.closed, [0]);
    assert_eq!(rig.chunks_home(), 1);
    assert_eq!(rig.counters.connections_open.load(), 0);
    rig.feed(&puts(2));
    assert_eq!(
        rig.chunks_home(),
        1,
        "a batch of an older epoch goes home at once"
    );
    assert!(rig.asked.is_empty());
}

#[test]
fn a_drain_lets_what_is_in_flight_be_answered_and_no_more() {
    let mut rig = Rig::new(settings());
    rig.feed(&puts(6));
    rig.connect();
    let drain_until = Some(rig.now.monotonic + Duration::from_secs(3));
    rig.mail(WorkerMail::Flush {
        backend: BACKEND,
        epoch: 1,
        drain_until,
    });
    assert_eq!(rig.told(), [""; 0]);
    rig.answer(0, APPLIED);
    assert_eq!(rig.told(), ["1.0=Applied", "flushed 1"]);
    assert_eq!(rig.bursts(), ["a"]);
}

#[test]
fn a_connection_that_stands_when_the_drain_has_just_ended_is_closed() {
    let mut rig = Rig::new(LaneSettings {
        lanes: 2,
        ..settings()
    });
    rig.feed(&puts(1));
    rig.connect();
    rig.lane = 1;
    rig.feed(&puts(1));
    let drain_until = Some(rig.now.monotonic + Duration::from_secs(3));
    rig.mail(WorkerMail::Flush {
        backend: BACKEND,
        epoch: 1,
        drain_until,
    });
    // Both events are of one poll: the driver acts when it has told all of them.
    rig.worker.handle_received(0, APPLIED.as_bytes(), rig.now);
    rig.worker.handle_connected(1, 65_000, rig.now);
    rig.turn();
    assert_eq!(rig.told(), ["1.0=Applied", "flushed 1"]);
    assert_eq!(rig.closed, [0, 1]);
}

#[test]
fn a_drain_ends_when_its_time_is_up() {
    let mut rig = Rig::new(settings());
    rig.feed(&puts(6));
    rig.connect();
    let drain_until = Some(rig.now.monotonic + Duration::from_secs(3));
    rig.mail(WorkerMail::Flush {
        backend: BACKEND,
        epoch: 1,
        drain_until,
    });
    rig.wait(2);
    assert_eq!(rig.told(), [""; 0]);
    rig.wait(2);
    assert_eq!(rig.told(), ["1.0 sent", "flushed 1"]);
}

#[test]
fn a_backend_that_was_never_opened_is_flushed_at_once() {
    let mut rig = Rig::new(settings());
    rig.mail(WorkerMail::Flush {
        backend: BackendId(7),
        epoch: 1,
        drain_until: None,
    });
    assert_eq!(rig.told(), ["flushed 1"]);
}

#[test]
fn while_the_keeper_takes_nothing_no_new_burst_goes() {
    let mut rig = Rig::new(settings());
    rig.feed(&puts(6));
    rig.connect();
    while rig.links.keeper.send(KeeperMail::Stop).is_ok() {}
    rig.answer(0, APPLIED);
    assert_eq!(
        rig.bursts(),
        ["a", "b c"],
        "known only when the outbox is handed over"
    );
    rig.answer(0, &APPLIED.repeat(2));
    assert_eq!(rig.bursts(), [""; 0]);
    while rig.links.keeper.receive().is_some() {}
    rig.turn();
    rig.turn();
    assert_eq!(rig.bursts(), ["d e f"]);
}

#[test]
fn outcomes_are_gathered_for_a_while_before_the_keeper_is_woken() {
    let mut rig = Rig::new(settings());
    rig.feed(&puts(2));
    rig.connect();
    rig.worker.handle_received(0, APPLIED.as_bytes(), rig.now);
    rig.worker.hand_over(rig.now);
    assert_eq!(rig.told(), [""; 0]);
    rig.now.monotonic = rig.worker.deadline();
    rig.worker.hand_over(rig.now);
    assert_eq!(rig.told(), ["1.0=Applied"]);
}

#[test]
fn a_rate_is_kept_and_the_lane_goes_on_by_itself() {
    let mut rig = Rig::new(LaneSettings {
        records_per_second_max: 10,
        ..settings()
    });
    rig.feed(&puts(4));
    rig.connect();
    rig.answer(0, APPLIED);
    assert_eq!(rig.bursts(), ["a"]);
    rig.now.monotonic = rig.worker.deadline();
    rig.wait(0);
    assert_eq!(rig.bursts(), ["b"]);
}

proptest! {
    #[test]
    fn answers_cut_anywhere_settle_the_same(cuts in proptest::collection::vec(1..120_usize, 0..40)) {
        let mut rig = Rig::new(settings());
        rig.feed(&puts(9));
        rig.connect();
        let mut cuts = cuts.into_iter().chain(std::iter::repeat(40));
        let (mut burst, mut told) = (0, vec![]);
        while burst < rig.sent.len() {
            let requests = rig.sent[burst].1.matches("POST").count();
            let answers = APPLIED.repeat(requests);
            let mut rest = &answers[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                rig.answer(0, now);
                rest = later;
            }
            burst += 1;
            told.extend(rig.told());
        }
        let expected: Vec<_> = (0..9).map(|line| format!("1.{line}={:?}", Settlement::Applied)).collect();
        prop_assert_eq!(told, expected);
        prop_assert_eq!(rig.chunks_home(), 1);
    }
}
