//! A lane is not so far ahead of what is durable that lookups could not tell it, should the process
//! be killed.

use super::*;
use crate::binlog::version::WRITES_AHEAD_MAX;
use crate::limits::BURST_REQUESTS_MAX;

/// So many may be settled, and not durable.
const SETTLED_MAX: usize = WRITES_AHEAD_MAX - BURST_REQUESTS_MAX;

impl Fixture {
    /// Answers whatever is sent until nothing more is. Gives how many requests that were.
    fn answer_all(&mut self) -> usize {
        let mut answered = 0;
        self.connect();
        while let Some((slot, burst)) = self.sent.pop() {
            let requests = burst.matches(" HTTP/1.1\r\n").count();
            answered += requests;
            self.answer(slot, &APPLIED.repeat(requests));
            self.connect();
        }
        answered
    }

    fn tell_durable(&mut self) {
        self.message(WorkerMessage::CheckpointDurable { backend: BACKEND });
    }
}

fn add(version: u32) -> Record<'static> {
    Record {
        version,
        ..zadd(b"m")
    }
}

#[test]
fn a_lane_stops_when_so_many_are_settled_and_goes_on_when_they_are_durable() {
    let mut fixture = Fixture::new(settings());
    fixture.feed(&vec![add(64); 1_000]);
    let sent = fixture.answer_all();
    assert!((SETTLED_MAX..WRITES_AHEAD_MAX).contains(&sent), "{sent}");
    let told = fixture.told();
    let asked = told.iter().position(|what| what == "checkpoint");
    let asked = asked.expect("it asks for a checkpoint");
    assert!((SETTLED_MAX / 2..sent).contains(&asked), "{asked} in time");
    assert_eq!(told.len(), sent + 1, "and once");
    fixture.wait(9);
    assert_eq!(fixture.answer_all(), 0, "it waits for that");
    fixture.tell_durable();
    let more = fixture.answer_all();
    assert!(
        sent + more < asked + WRITES_AHEAD_MAX,
        "{sent} and {more}, of which {asked} are durable"
    );
    assert!(fixture.told().contains(&"checkpoint".to_owned()));
}

#[test]
fn a_new_epoch_forgets_nothing_of_what_is_not_durable() {
    let mut fixture = Fixture::new(settings());
    fixture.feed(&vec![add(64); 1_000]);
    fixture.answer_all();
    fixture.flush(1, None);
    fixture.epoch = 1;
    fixture.message(WorkerMessage::Open {
        backend: BACKEND,
        epoch: 1,
        address: "127.0.0.1:1".parse().unwrap(),
        settings: Arc::new(settings()),
        counters: Arc::clone(&fixture.counters),
    });
    fixture.feed(&vec![add(64); 1_000]);
    assert_eq!(fixture.answer_all(), 0);
    fixture.tell_durable();
    assert!(fixture.answer_all() > 0);
}

#[test]
fn writes_of_many_members_wait_for_no_checkpoint() {
    let keys: Vec<String> = (0..500).map(|number| format!("m{number}")).collect();
    let records: Vec<_> = keys
        .iter()
        .map(|key| Record {
            key: key.as_bytes(),
            ..add(64)
        })
        .collect();
    let mut fixture = Fixture::new(settings());
    fixture.feed(&records);
    assert_eq!(fixture.answer_all(), 500);
    assert!(!fixture.told().contains(&"checkpoint".to_owned()));
}

#[test]
fn what_is_told_by_its_version_or_may_be_sent_twice_waits_for_no_checkpoint() {
    for record in [add(63), put("a")] {
        let mut fixture = Fixture::new(settings());
        fixture.feed(&vec![record; 500]);
        assert_eq!(fixture.answer_all(), 500);
        assert!(!fixture.told().contains(&"checkpoint".to_owned()));
    }
}
