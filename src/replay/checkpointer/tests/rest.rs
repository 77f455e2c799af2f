//! Backends that have nothing to do rest, and whatever gives them something to do wakes them.

use std::time::Duration;

use super::fixture::{Fixture, LOG};
use crate::limits::CHECKPOINTER_GATHERS;
use crate::replay::messages::{BackendId, FileStart};
use crate::replay::testdisk::TestDisk;

/// B and 40 others, whose states are read, and B's log of ten lines, which is begun.
fn many() -> Fixture {
    let mut fixture = Fixture::new(TestDisk::default());
    for index in 1..=40 {
        fixture.add_backend(BackendId::from_index(index), &format!("h:{index:02}"));
    }
    fixture.write_log(LOG, 10);
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(0, 1, 0, 10, &[]);
    fixture.turn();
    fixture.pass(3);
    assert_eq!(fixture.awake(), 0);
    fixture
}

#[test]
fn what_is_settled_of_who_rested_is_published_and_in_a_checkpoint_when_its_time_has_come() {
    let mut fixture = many();
    let checkpoints = fixture.counts().checkpoints;
    fixture.settle(0, &[0, 1, 2]);
    fixture.turn();
    assert_eq!(fixture.counts().settled, 3, "it is published");
    assert_eq!(fixture.counts().checkpoints, checkpoints + 1);
    // The next one has its time, and no message comes meanwhile.
    fixture.settle(0, &[3]);
    fixture.turn();
    assert_eq!(fixture.counts().durable_settled, 3);
    assert_eq!(fixture.awake(), 0);
    assert!(fixture.next_deadline() <= fixture.now.after(Duration::from_secs(1)));
    fixture.pass(1);
    assert_eq!(fixture.counts().durable_settled, 4);
}

#[test]
fn a_line_that_is_rejected_is_written_at_once_though_its_backend_rested() {
    let mut fixture = many();
    fixture.reject(0, 0);
    fixture.turn();
    assert_eq!(fixture.rejected().len(), 1);
    assert_eq!(fixture.counts().rejected, 1);
}

#[test]
fn the_end_of_a_checkpoint_wakes_its_backend() {
    let mut fixture = many();
    fixture.disk.set_chains_wait(true);
    fixture.settle(0, &[0]);
    fixture.turn();
    assert_eq!(fixture.counts().durable_settled, 0);
    assert_eq!(fixture.awake(), 0, "a checkpoint is under way");
    fixture.step_to_end();
    assert_eq!(fixture.counts().durable_settled, 1);
}

#[test]
fn a_flush_of_who_rested_ends_with_a_plan() {
    let mut fixture = many();
    let _ = fixture.plan();
    fixture.flush(1);
    fixture.turn();
    assert!(fixture.plan().is_some());
}

#[test]
fn behind_a_segment_it_leaves_what_can_wait_for_a_while_unless_the_reader_needs_credit() {
    let mut fixture = Fixture::new(TestDisk::default());
    fixture.links.mailboxes.reader.set_content(true);
    fixture.write_log(LOG, 10);
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(0, 1, 0, 10, &[]);
    fixture.turn();
    let mut now = fixture.now;
    let (gathers_until, due_at) = (now.after(CHECKPOINTER_GATHERS), fixture.next_deadline());
    assert!(gathers_until < due_at);
    let sleeps = |fixture: &Fixture, now| {
        let until = fixture.checkpointer.prepare_sleep(now).unwrap();
        (until, fixture.links.mailboxes.checkpointer.is_content())
    };
    assert_eq!(sleeps(&fixture, now), (gathers_until, true));

    fixture.links.mailboxes.reader.set_content(false);
    assert_eq!(sleeps(&fixture, now), (due_at, false));

    fixture.links.mailboxes.reader.set_content(true);
    fixture.settle(0, &[0]);
    fixture.turn();
    now.monotonic = gathers_until;
    assert!(!sleeps(&fixture, now).1, "an outcome alone begins nothing");
}
