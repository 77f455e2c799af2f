//! Records whose values come in pieces.

use super::rig::*;
use super::*;
use crate::replay::messages::Trouble;

fn long_put(rig: &mut Rig, bytes: u32) {
    rig.feed_long(
        &Record {
            value: b"",
            ..put("long")
        },
        bytes,
        false,
    );
}

/// What was sent since the last call, all in one.
fn sent(rig: &mut Rig) -> String {
    std::mem::take(&mut rig.sent)
        .into_iter()
        .map(|(_, bytes)| bytes)
        .collect()
}

#[test]
fn a_long_body_is_sent_by_pieces_and_no_more_than_two_are_here() {
    let mut rig = Rig::new(settings());
    long_put(&mut rig, 9);
    rig.feed(&puts(1));
    rig.connect();
    let ask = rig.body_ask().expect("the first piece is asked for");
    assert_eq!((ask.from, ask.segment.0), (0, 1));
    assert!(sent(&mut rig).ends_with("Content-Length: 9\r\n\r\n"));
    rig.give_body(ask, b"abcd");
    let ask = rig.body_ask().expect("and the next");
    assert_eq!(ask.from, 4);
    rig.give_body(ask, b"efghi");
    assert_eq!(rig.body_ask(), None);
    assert_eq!(sent(&mut rig), "abcdefghi");
    assert_eq!(rig.chunks_home(), 2);
    rig.answer(0, APPLIED);
    assert_eq!(rig.bursts(), ["a"], "what follows goes on its own");
    rig.answer(0, APPLIED);
    assert_eq!(rig.told(), ["1.0=Applied", "2.0=Applied"]);
    assert_eq!(rig.chunks_home(), 2);
}

#[test]
fn a_long_body_that_broke_off_is_sent_again_from_its_beginning() {
    let mut rig = Rig::new(settings());
    long_put(&mut rig, 9);
    rig.connect();
    let ask = rig.body_ask().unwrap();
    rig.give_body(ask, b"abcd");
    let old = rig.body_ask().unwrap();
    rig.break_connection(0);
    assert_eq!(rig.chunks_home(), 1);
    rig.wait(10);
    rig.connect();
    sent(&mut rig);
    // A piece for the body that was given up.
    rig.give_body(old, b"efghi");
    assert_eq!((sent(&mut rig).as_str(), rig.chunks_home()), ("", 1));
    let ask = rig.body_ask().unwrap();
    assert_eq!(ask.from, 0);
    rig.give_body(ask, b"abcdefghi");
    assert_eq!(sent(&mut rig), "abcdefghi");
    rig.answer(0, APPLIED);
    assert_eq!(rig.told(), ["1.0=Applied"]);
    assert_eq!(rig.chunks_home(), 2);
}

#[test]
fn the_backend_is_not_late_while_the_feeder_is() {
    let mut rig = Rig::new(settings());
    long_put(&mut rig, 9);
    rig.connect();
    let ask = rig.body_ask().unwrap();
    rig.wait(1000);
    assert!(rig.troubles().is_empty());
    rig.give_body(ask, b"abcdefghi");
    rig.wait(6);
    assert_eq!(rig.troubles(), [Trouble::Timeout]);
}

#[test]
fn a_body_whose_log_was_changed_is_set_aside_and_its_connection_closed() {
    let mut rig = Rig::new(settings());
    long_put(&mut rig, 9);
    rig.feed(&puts(1));
    rig.connect();
    let ask = rig.body_ask().unwrap();
    rig.give_body(ask, b"abcd");
    let ask = rig.body_ask().unwrap();
    rig.mail(WorkerMail::Body(ask.reader, None));
    assert_eq!(rig.closed, [0]);
    assert_eq!(rig.told(), ["1.0!log_changed"]);
    rig.connect();
    rig.answer(0, APPLIED);
    assert_eq!(rig.told(), ["2.0=Applied"]);
    assert_eq!(rig.chunks_home(), 3);
}

#[test]
fn a_flush_gives_back_what_a_long_body_holds() {
    let mut rig = Rig::new(settings());
    long_put(&mut rig, 9);
    rig.connect();
    let ask = rig.body_ask().unwrap();
    let reader = ask.reader;
    rig.worker.handle_deadlines(rig.now);
    rig.mail(WorkerMail::Flush {
        backend: BACKEND,
        epoch: 1,
        drain_until: Some(rig.now.after(Duration::from_secs(60))),
    });
    assert_eq!(
        rig.told(),
        ["1.0 sent", "flushed 1"],
        "it does not wait for the feeder"
    );
    rig.give_body(BodyAsk { reader, ..ask }, b"abcd");
    assert_eq!(rig.chunks_home(), 2);
}

#[test]
fn a_long_zadd_that_may_have_been_applied_is_asked_for_with_its_body() {
    let mut rig = Rig::new(settings());
    rig.feed_long(
        &Record {
            value: b"",
            ..zadd(b"")
        },
        9,
        true,
    );
    rig.connect();
    let ask = rig.body_ask().unwrap();
    rig.give_body(ask, b"abcdefghi");
    let question = sent(&mut rig);
    assert!(
        question.starts_with("GET /hustdb/zscore?tb=z HTTP"),
        "{question}"
    );
    assert!(question.ends_with("abcdefghi"), "{question}");
    rig.answer(
        0,
        "HTTP/1.1 404 Not Found\r\nVersion: 0\r\nContent-Length: 0\r\n\r\n",
    );
    let ask = rig.body_ask().expect("it is not applied: now it goes");
    assert_eq!(ask.from, 0);
    rig.give_body(ask, b"abcdefghi");
    assert!(sent(&mut rig).starts_with("GET /hustdb/zadd?"));
}
