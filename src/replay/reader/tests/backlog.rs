//! The bytes that are told as unread while a backend goes down and comes back.

use std::time::Duration;

use super::fixture::{A, Fixture, puts};
use crate::replay::messages::{ReaderMessage, ResumePlan};

const SECOND: Duration = Duration::from_secs(1);

/// Only the first of two logs is settled.
fn half_settled() -> (Fixture, u64) {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.append(A, "01", &puts(["a", "b", "c"]));
    fixture.run();
    fixture.stuck.push(A);
    let second = puts(["d", "e"]);
    fixture.append(A, "02", &second);
    fixture.run_for(SECOND);
    assert_eq!(fixture.keys(A), ["a", "b", "c", "d", "e"]);
    assert_eq!(unread_bytes(&fixture), 0, "all of it was read");
    (fixture, second.len() as u64)
}

fn unread_bytes(fixture: &Fixture) -> u64 {
    fixture.infos[A.index()].counters.load().unread_bytes
}

fn oldest_unix(fixture: &Fixture) -> u64 {
    let counts = fixture.infos[A.index()].counters.load();
    counts.oldest_unsettled_unix
}

#[test]
fn what_was_settled_before_an_outage_is_not_unread_again_before_the_plan_comes() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.append(A, "01", &puts(["a", "b", "c"]));
    fixture.run();
    fixture.down(A);
    fixture.run();
    assert_eq!((unread_bytes(&fixture), oldest_unix(&fixture)), (0, 0));
}

#[test]
fn what_was_in_flight_at_an_outage_is_unread_from_its_first_moment() {
    let (mut fixture, in_flight) = half_settled();
    fixture.down(A);
    fixture.run();
    assert_eq!(unread_bytes(&fixture), in_flight);
    fixture.down(A);
    fixture.run();
    assert_eq!(
        unread_bytes(&fixture),
        in_flight,
        "though no plan came between"
    );
}

#[test]
fn what_is_settled_of_it_after_all_and_what_is_written_meanwhile_is_counted() {
    let (mut fixture, in_flight) = half_settled();
    let last = fixture.segments.values().last().unwrap();
    let done = ReaderMessage::SegmentDone {
        backend: A,
        done: last.done(),
        epoch: fixture.epochs[&A],
    };
    fixture.down(A);
    fixture.run();
    let more = puts(["f"]);
    fixture.append(A, "02", &more);
    fixture.run_for(2 * SECOND);
    assert_eq!(unread_bytes(&fixture), in_flight + more.len() as u64);
    fixture.send(done);
    fixture.run();
    assert_eq!(unread_bytes(&fixture), more.len() as u64);
}

#[test]
fn a_plan_has_the_last_word() {
    let (mut fixture, in_flight) = half_settled();
    fixture.down(A);
    fixture.run();
    fixture.plan(A, ResumePlan::default());
    fixture.run();
    let first = puts(["a", "b", "c"]).len() as u64;
    assert_eq!(unread_bytes(&fixture), first + in_flight);
}
