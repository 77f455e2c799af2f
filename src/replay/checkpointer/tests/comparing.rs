//! The checkpointer has the reconciler compare finished logs, once each (docs/reconcile.md, R4).

use std::io::ErrorKind;

use super::fixture::{B, Fixture, LOG, NAME};
use crate::replay::disk::Area;
use crate::replay::messages::{CheckpointerMessage, FileStart, FinishedLog};
use crate::replay::testdisk::{Op, TestDisk};

const NEXT: &str = "2026-11-22-16-41.log";

/// A log of four settled lines for which the reconciler was asked, and what it was asked.
fn asked() -> (Fixture, Vec<FinishedLog>) {
    let mut fixture = Fixture::new(TestDisk::default());
    fixture.compare_keys();
    fixture.write_log(LOG, 4);
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(0, 1, 0, 4, &[]);
    fixture.settle(0, &[0, 1, 2, 3]);
    fixture.pass(200);
    let logs = fixture.to_compare();
    assert_eq!(logs.len(), 1);
    (fixture, logs)
}

/// The backend goes down, and comes up again unless `stays_down`.
fn have_outage(fixture: &mut Fixture, stays_down: bool) {
    fixture.flush(1);
    fixture.pass(10);
    if !stays_down {
        fixture.open(2, LOG, FileStart::Resumed(0));
        fixture.pass(10);
    }
}

#[test]
fn what_is_compared_counts_though_the_backend_was_down_meanwhile() {
    let (mut fixture, logs) = asked();
    have_outage(&mut fixture, false);
    assert_eq!(fixture.to_compare(), [], "it was asked for");
    fixture.send(CheckpointerMessage::Compared { backend: B, logs });
    fixture.pass(10);
    assert_eq!(fixture.disk.log(NAME, LOG), None);
    assert_eq!(fixture.to_compare(), []);
}

#[test]
fn a_point_waits_for_the_keys_of_its_logs_while_the_backend_is_down() {
    let (mut fixture, _) = asked();
    let before = fixture.take_point().unwrap();
    have_outage(&mut fixture, true);
    let during = fixture.take_point().unwrap();
    fixture.pass(30);
    assert_eq!(before.is_settled(None), Some(false));
    assert_eq!(during.is_settled(None), Some(false));
    assert_eq!(fixture.uncompared().0, 1);
}

#[test]
fn what_was_asked_is_asked_anew_once_comparing_is_switched_on_again() {
    let (mut fixture, logs) = asked();
    // Somebody holds it, or it would be deleted at once.
    fixture.disk.set_writer(NAME, LOG, true);
    fixture.settings.compares_keys = false;
    fixture.send(CheckpointerMessage::Settings(fixture.settings.clone()));
    fixture.pass(10);
    assert_eq!(fixture.uncompared(), (0, 0));
    fixture.compare_keys();
    fixture.disk.set_writer(NAME, LOG, false);
    fixture.pass(10);
    assert_eq!(fixture.to_compare(), logs);
}

#[test]
fn a_state_that_cannot_be_written_for_a_moment_has_nothing_asked_twice() {
    let (mut fixture, _) = asked();
    let faults = [Op::Write(Area::State), Op::Sync(Area::State)];
    let fail = |fixture: &Fixture, op| {
        fixture.disk.fail(op, ErrorKind::StorageFull, 0, u32::MAX);
    };
    faults.into_iter().for_each(|op| fail(&fixture, op));
    fixture.write_log(NEXT, 1);
    fixture.open(2, NEXT, FileStart::New);
    fixture.segment(1, 2, 0, 1, &[]);
    fixture.settle(1, &[0]);
    fixture.pass(10);
    assert!(fixture.has_fault());
    fixture.disk.mend();
    fixture.pass(200);
    let asked = fixture.to_compare();
    let names: Vec<&str> = asked.iter().map(|log| &*log.name).collect();
    assert_eq!(names, [NEXT]);
}
