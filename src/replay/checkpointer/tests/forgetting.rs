//! Backends that are forgotten: what they had come to stays, what there was of them goes.

use std::io::ErrorKind;

use super::fixture::{B, Fixture, LOG, NAME, OTHER};
use crate::ledger::forgotten::ForgottenTotals;
use crate::reconcile::difference;
use crate::replay::disk::Area;
use crate::replay::messages::{CheckpointerMessage, ControlMessage, FileStart};
use crate::replay::testdisk::{Crash, Op, TestDisk};

const OTHER_NAME: &str = "127.0.0.1:9999";

/// What control knows all forgotten backends to have come to.
fn told(fixture: &Fixture) -> ForgottenTotals {
    let totals = fixture.told.iter().rev().find_map(|message| match message {
        ControlMessage::Forgotten { totals, .. } | ControlMessage::ForgottenBefore(totals) => {
            Some(*totals)
        }
        _ => None,
    });
    totals.unwrap_or_default()
}

fn is_forgotten(fixture: &Fixture) -> bool {
    let is_it =
        |message: &ControlMessage| matches!(message, ControlMessage::Forgotten { backend: B, .. });
    fixture.told.iter().any(is_it)
}

fn left(fixture: &mut Fixture) -> Result<Option<String>, String> {
    fixture.send(CheckpointerMessage::AskLeft { backend: B });
    fixture.turn();
    let left = fixture.told.iter().rev().find_map(|message| match message {
        ControlMessage::StateLeft { left, .. } => Some(left.clone()),
        _ => None,
    });
    left.expect("it is answered")
}

/// Three lines were delivered, and their log and its folder are gone.
fn delivered() -> Fixture {
    let mut fixture = Fixture::new(TestDisk::default());
    fixture.write_log(LOG, 3);
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(1, 1, 0, 3, &[]);
    fixture.settle(1, &[0, 1, 2]);
    fixture.turn();
    let told = left(&mut fixture).unwrap().unwrap();
    assert!(told.contains("its place in a log"), "{told}");
    fixture.disk.remove_log(NAME, LOG);
    fixture.tell_gone(1);
    fixture.pass(2);
    fixture
}

fn forget(fixture: &mut Fixture) {
    fixture.send(CheckpointerMessage::Forget { backend: B });
    fixture.turn();
}

#[test]
fn keys_that_differ_are_left_of_it() {
    let mut fixture = delivered();
    fixture.differ(2);
    let why = left(&mut fixture).unwrap().unwrap();
    assert!(
        why.starts_with("2 keys on which it and its other master differ"),
        "{why}"
    );
}

#[test]
fn one_whose_differences_nobody_has_read_is_not_forgotten() {
    let mut fixture = delivered();
    fixture.disk.put_state(NAME, difference::FILE_NAME, b"{}\n");
    let why = left(&mut fixture).unwrap_err();
    assert!(
        why.starts_with("its differences.jsonl has not been read"),
        "{why}"
    );
    fixture.differ(0);
    assert_eq!(left(&mut fixture), Ok(None));
}

#[test]
fn one_of_which_nothing_is_left_goes_and_its_numbers_stay() {
    let mut fixture = delivered();
    assert_eq!(left(&mut fixture), Ok(None));
    assert!(fixture.disk.state(NAME, "checkpoint").is_some());
    forget(&mut fixture);
    assert!(is_forgotten(&fixture));
    let three = ForgottenTotals {
        processed: 3,
        settled: 3,
    };
    assert_eq!(told(&fixture), three);
    assert_eq!(fixture.disk.state(NAME, "checkpoint"), None);
    // Whoever has its place next is another.
    fixture.add_backend(B.next_at_place(), NAME);
    fixture.pass(2);
    fixture.disk.crash(Crash::LosesAll);
    fixture.restart();
    assert_eq!(told(&fixture), three);
    assert_eq!(fixture.counts().processed, 0, "it is a new one");
}

#[test]
fn what_was_rejected_is_told_and_held_until_it_does_not_matter() {
    let mut fixture = delivered();
    fixture.disk.put_state(NAME, "rejected.jsonl", b"{}\n");
    let said = left(&mut fixture).unwrap().unwrap();
    assert!(
        said.starts_with("3 bytes of lines that were rejected"),
        "{said}"
    );
    forget(&mut fixture);
    assert!(
        is_forgotten(&fixture),
        "whoever says so takes what is left along"
    );
    assert_eq!(fixture.disk.state(NAME, "rejected.jsonl"), None);
}

#[test]
fn a_death_at_any_step_counts_it_once_and_leaves_nothing() {
    for crash in [Crash::LosesAll, Crash::LosesNothing, Crash::LosesSome(7)] {
        for step in 1.. {
            let mut fixture = delivered();
            fixture.disk.die_at(fixture.disk.steps() + step);
            forget(&mut fixture);
            let has_died = fixture.disk.is_dead();
            let was_forgotten = is_forgotten(&fixture);
            fixture.disk.crash(crash);
            // Its folder is there again: it is met at the start, before anything else is done.
            fixture.restart();
            fixture.pass(10);
            let sum = told(&fixture).processed + fixture.counts().durable_processed;
            assert_eq!(sum, 3, "{crash:?}, step {step}");
            assert!(told(&fixture).processed == 3 || !was_forgotten);
            if !has_died {
                assert!(was_forgotten && step > 4, "all steps were tried");
                break;
            }
        }
    }
}

#[test]
fn one_that_cannot_be_removed_keeps_no_other_and_is_counted_once() {
    let mut fixture = delivered();
    fixture.add_backend(OTHER, OTHER_NAME);
    fixture
        .disk
        .fail(Op::Remove(Area::State), ErrorKind::PermissionDenied, 0, 1);
    fixture.send(CheckpointerMessage::Forget { backend: B });
    fixture.send(CheckpointerMessage::Forget { backend: OTHER });
    fixture.turn();
    assert!(!is_forgotten(&fixture));
    let other = |message: &ControlMessage| {
        matches!(message, ControlMessage::Forgotten { backend: OTHER, .. })
    };
    assert!(fixture.told.iter().any(other));
    assert_eq!(told(&fixture).processed, 0, "control still has its three");
    fixture.pass(6);
    assert!(is_forgotten(&fixture));
    assert_eq!(told(&fixture).processed, 3);
}

#[test]
fn a_full_disk_is_waited_for() {
    let mut fixture = delivered();
    fixture
        .disk
        .fail(Op::Write(Area::State), ErrorKind::StorageFull, 0, 2);
    forget(&mut fixture);
    fixture.pass(3);
    assert!(!is_forgotten(&fixture));
    fixture.pass(10);
    assert!(is_forgotten(&fixture));
    assert_eq!(told(&fixture).processed, 3);
}

#[test]
fn a_checkpoint_that_is_under_way_comes_to_its_end_first() {
    let mut fixture = delivered();
    fixture.disk.set_chains_wait(true);
    fixture.write_log(LOG, 1);
    fixture.open(2, LOG, FileStart::New);
    fixture.pass(2);
    assert!(!fixture.disk.chains_under_way().is_empty());
    forget(&mut fixture);
    assert!(!is_forgotten(&fixture));
    assert!(
        fixture.next_deadline() > fixture.now.monotonic,
        "it waits, and does not turn"
    );
    fixture.step_to_end();
    assert!(is_forgotten(&fixture));
    assert_eq!(fixture.disk.state(NAME, "checkpoint"), None);
}

#[test]
fn what_went_undelivered_is_told_and_is_not_missed_once_the_backend_is_forgotten() {
    let mut fixture = delivered();
    fixture.write_log("2026-11-22-16-41.log", 2);
    fixture.take_away("2026-11-22-16-41.log");
    let told = left(&mut fixture).unwrap().unwrap();
    assert!(told.starts_with("20 bytes in 1 logs"), "{told}");
    // An operator wants it gone all the same.
    forget(&mut fixture);
    assert!(is_forgotten(&fixture));
    fixture.add_backend(B.next_at_place(), NAME);
    let is_backend = |folder: &str| folder.contains(':');
    fixture.send(CheckpointerMessage::SyncPoint { id: 3, is_backend });
    fixture.pass(3);
    let point = fixture.told.iter().find_map(|message| match message {
        ControlMessage::SyncPointTaken { taken, .. } => taken.clone().ok(),
        _ => None,
    });
    assert_eq!(point.unwrap().is_settled(None), Some(true));
}
