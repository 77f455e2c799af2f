//! Records whose values come in pieces.

use super::fixture::*;
use super::*;
use crate::replay::messages::Trouble;

fn long_put(fixture: &mut Fixture, bytes: u32) {
    fixture.feed_long(
        &Record {
            value: b"",
            ..put("long")
        },
        bytes,
        false,
    );
}

/// What was sent since the last call, all in one.
fn sent(fixture: &mut Fixture) -> String {
    std::mem::take(&mut fixture.sent)
        .into_iter()
        .map(|(_, bytes)| bytes)
        .collect()
}

#[test]
fn a_long_body_is_sent_by_pieces_and_no_more_than_two_are_here() {
    let mut fixture = Fixture::new(settings());
    long_put(&mut fixture, 9);
    fixture.feed(&puts(1));
    fixture.connect();
    let ask = fixture
        .body_request()
        .expect("the first piece is asked for");
    assert_eq!((ask.from, ask.segment.0), (0, 1));
    assert!(sent(&mut fixture).ends_with("Content-Length: 9\r\n\r\n"));
    fixture.give_body(ask, b"abcd");
    let ask = fixture.body_request().expect("and the next");
    assert_eq!(ask.from, 4);
    fixture.give_body(ask, b"efghi");
    assert_eq!(fixture.body_request(), None);
    assert_eq!(sent(&mut fixture), "abcdefghi");
    assert_eq!(fixture.chunks_home(), 2);
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.bursts(), ["a"], "what follows goes on its own");
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.told(), ["1.0=Applied", "2.0=Applied"]);
    assert_eq!(fixture.chunks_home(), 2);
}

#[test]
fn a_long_body_that_broke_off_is_sent_again_from_its_beginning() {
    let mut fixture = Fixture::new(settings());
    long_put(&mut fixture, 9);
    fixture.connect();
    let ask = fixture.body_request().unwrap();
    fixture.give_body(ask, b"abcd");
    let old = fixture.body_request().unwrap();
    fixture.break_connection(0);
    assert_eq!(fixture.chunks_home(), 1);
    fixture.wait(10);
    fixture.connect();
    sent(&mut fixture);
    // A piece for the body that was given up.
    fixture.give_body(old, b"efghi");
    assert_eq!(
        (sent(&mut fixture).as_str(), fixture.chunks_home()),
        ("", 1)
    );
    let ask = fixture.body_request().unwrap();
    assert_eq!(ask.from, 0);
    fixture.give_body(ask, b"abcdefghi");
    assert_eq!(sent(&mut fixture), "abcdefghi");
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.told(), ["1.0=Applied"]);
    assert_eq!(fixture.chunks_home(), 2);
}

#[test]
fn the_backend_is_not_late_while_the_reader_is() {
    let mut fixture = Fixture::new(settings());
    long_put(&mut fixture, 9);
    fixture.connect();
    let ask = fixture.body_request().unwrap();
    fixture.wait(1000);
    assert!(fixture.troubles().is_empty());
    fixture.give_body(ask, b"abcdefghi");
    fixture.wait(6);
    assert_eq!(fixture.troubles(), [Trouble::Timeout]);
}

#[test]
fn a_body_whose_log_was_changed_is_rejected_and_its_connection_closed() {
    let mut fixture = Fixture::new(settings());
    long_put(&mut fixture, 9);
    fixture.feed(&puts(1));
    fixture.connect();
    let ask = fixture.body_request().unwrap();
    fixture.give_body(ask, b"abcd");
    let ask = fixture.body_request().unwrap();
    fixture.message(WorkerMessage::Body(ask.reader, None));
    assert_eq!(fixture.closed, [0]);
    assert_eq!(fixture.told(), ["1.0!log_changed"]);
    fixture.connect();
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.told(), ["2.0=Applied"]);
    assert_eq!(fixture.chunks_home(), 3);
}

#[test]
fn a_flush_gives_back_what_a_long_body_holds() {
    let mut fixture = Fixture::new(settings());
    long_put(&mut fixture, 9);
    fixture.connect();
    let ask = fixture.body_request().unwrap();
    let reader = ask.reader;
    fixture.worker.handle_deadlines(fixture.now);
    fixture.message(WorkerMessage::Flush {
        backend: BACKEND,
        epoch: 1,
        drain_until: Some(fixture.now.after(Duration::from_secs(60))),
    });
    assert_eq!(
        fixture.told(),
        ["1.0 sent", "flushed 1"],
        "it does not wait for the reader"
    );
    fixture.give_body(BodyRequest { reader, ..ask }, b"abcd");
    assert_eq!(fixture.chunks_home(), 2);
}

#[test]
fn a_long_zadd_that_may_have_been_applied_is_asked_for_with_its_body() {
    let mut fixture = Fixture::new(settings());
    fixture.feed_long(
        &Record {
            value: b"",
            ..zadd(b"")
        },
        9,
        true,
    );
    fixture.connect();
    let ask = fixture.body_request().unwrap();
    fixture.give_body(ask, b"abcdefghi");
    let question = sent(&mut fixture);
    assert!(
        question.starts_with("GET /hustdb/zscore?tb=z HTTP"),
        "{question}"
    );
    assert!(question.ends_with("abcdefghi"), "{question}");
    fixture.answer(
        0,
        "HTTP/1.1 404 Not Found\r\nVersion: 0\r\nContent-Length: 0\r\n\r\n",
    );
    let ask = fixture
        .body_request()
        .expect("it is not applied: now it goes");
    assert_eq!(ask.from, 0);
    fixture.give_body(ask, b"abcdefghi");
    assert!(sent(&mut fixture).starts_with("GET /hustdb/zadd?"));
}
