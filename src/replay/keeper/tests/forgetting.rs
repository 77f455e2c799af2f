//! Backends that are forgotten: what they had come to stays, what there was of them goes.

use std::io::ErrorKind;

use super::rig::{B, LOG, NAME, OTHER, Rig};
use crate::ledger::forgotten::ForgottenTotals;
use crate::replay::messages::{ControlMail, FileStart, KeeperMail};
use crate::replay::testdisk::{Crash, Op, TestDisk};

const OTHER_NAME: &str = "127.0.0.1:9999";

/// What control knows all forgotten backends to have come to.
fn told(rig: &Rig) -> ForgottenTotals {
    let totals = rig.told.iter().rev().find_map(|mail| match mail {
        ControlMail::Forgotten { totals, .. } | ControlMail::ForgottenBefore(totals) => {
            Some(*totals)
        }
        _ => None,
    });
    totals.unwrap_or_default()
}

fn is_forgotten(rig: &Rig) -> bool {
    let is_it = |mail: &ControlMail| matches!(mail, ControlMail::Forgotten { backend: B, .. });
    rig.told.iter().any(is_it)
}

fn left(rig: &mut Rig) -> Result<Option<String>, String> {
    rig.send(KeeperMail::AskLeft { backend: B });
    rig.turn();
    let left = rig.told.iter().rev().find_map(|mail| match mail {
        ControlMail::StateLeft { left, .. } => Some(left.clone()),
        _ => None,
    });
    left.expect("it is answered")
}

/// Three lines were delivered, and their log and its folder are gone.
fn delivered() -> Rig {
    let mut rig = Rig::new(TestDisk::default());
    rig.write_log(LOG, 3);
    rig.open(1, LOG, FileStart::New);
    rig.segment(1, 1, 0, 3, &[]);
    rig.settle(1, &[0, 1, 2]);
    rig.turn();
    assert!(left(&mut rig).unwrap().unwrap().contains("1 logs"));
    rig.disk.remove_log(NAME, LOG);
    rig.send(KeeperMail::FileGone {
        backend: B,
        file: crate::replay::messages::FileId(1),
    });
    rig.pass(2);
    rig
}

fn forget(rig: &mut Rig) {
    rig.send(KeeperMail::Forget { backend: B });
    rig.turn();
}

#[test]
fn one_of_which_nothing_is_left_goes_and_its_numbers_stay() {
    let mut rig = delivered();
    assert_eq!(left(&mut rig), Ok(None));
    assert!(rig.disk.state(NAME, "checkpoint").is_some());
    forget(&mut rig);
    assert!(is_forgotten(&rig));
    let three = ForgottenTotals {
        processed: 3,
        settled: 3,
    };
    assert_eq!(told(&rig), three);
    assert_eq!(rig.disk.state(NAME, "checkpoint"), None);
    // Whoever has its place next is another.
    rig.add_backend(B.next_at_place(), NAME);
    rig.pass(2);
    rig.disk.crash(Crash::LosesAll);
    rig.restart();
    assert_eq!(told(&rig), three);
    assert_eq!(rig.counts().processed, 0, "it is a new one");
}

#[test]
fn what_was_set_aside_is_told_and_held_until_it_does_not_matter() {
    let mut rig = delivered();
    rig.disk.put_state(NAME, "rejected.jsonl", b"{}\n");
    let said = left(&mut rig).unwrap().unwrap();
    assert!(
        said.starts_with("3 bytes of lines that were set aside"),
        "{said}"
    );
    forget(&mut rig);
    assert!(
        is_forgotten(&rig),
        "whoever says so takes what is left along"
    );
    assert_eq!(rig.disk.state(NAME, "rejected.jsonl"), None);
}

#[test]
fn a_death_at_any_step_counts_it_once_and_leaves_nothing() {
    for crash in [Crash::LosesAll, Crash::LosesNothing, Crash::LosesSome(7)] {
        for step in 1.. {
            let mut rig = delivered();
            rig.disk.die_at(rig.disk.steps() + step);
            forget(&mut rig);
            let has_died = rig.disk.is_dead();
            let was_forgotten = is_forgotten(&rig);
            rig.disk.crash(crash);
            // Its folder is there again: it is met at the start, before anything else is done.
            rig.restart();
            rig.pass(10);
            let sum = told(&rig).processed + rig.counts().durable_processed;
            assert_eq!(sum, 3, "{crash:?}, step {step}");
            assert!(told(&rig).processed == 3 || !was_forgotten);
            if !has_died {
                assert!(was_forgotten && step > 4, "all steps were tried");
                break;
            }
        }
    }
}

#[test]
fn one_that_cannot_be_removed_keeps_no_other_and_is_counted_once() {
    let mut rig = delivered();
    rig.add_backend(OTHER, OTHER_NAME);
    rig.disk
        .fail(Op::RemoveState, ErrorKind::PermissionDenied, 0, 1);
    rig.send(KeeperMail::Forget { backend: B });
    rig.send(KeeperMail::Forget { backend: OTHER });
    rig.turn();
    assert!(!is_forgotten(&rig));
    let other = |mail: &ControlMail| matches!(mail, ControlMail::Forgotten { backend: OTHER, .. });
    assert!(rig.told.iter().any(other));
    assert_eq!(told(&rig).processed, 0, "control still has its three");
    rig.pass(6);
    assert!(is_forgotten(&rig));
    assert_eq!(told(&rig).processed, 3);
}

#[test]
fn a_full_disk_is_waited_for() {
    let mut rig = delivered();
    rig.disk.fail(Op::WriteState, ErrorKind::StorageFull, 0, 2);
    forget(&mut rig);
    rig.pass(3);
    assert!(!is_forgotten(&rig));
    rig.pass(10);
    assert!(is_forgotten(&rig));
    assert_eq!(told(&rig).processed, 3);
}

#[test]
fn a_checkpoint_that_is_under_way_comes_to_its_end_first() {
    let mut rig = delivered();
    rig.disk.set_chains_wait(true);
    rig.write_log(LOG, 1);
    rig.open(2, LOG, FileStart::New);
    rig.pass(2);
    assert!(!rig.disk.chains_under_way().is_empty());
    forget(&mut rig);
    assert!(!is_forgotten(&rig));
    assert!(
        rig.next_deadline() > rig.now.monotonic,
        "it waits, and does not turn"
    );
    rig.step_to_end();
    assert!(is_forgotten(&rig));
    assert_eq!(rig.disk.state(NAME, "checkpoint"), None);
}

#[test]
fn what_went_undelivered_is_told_and_is_not_missed_once_the_backend_is_forgotten() {
    let mut rig = delivered();
    rig.write_log("2026-11-22-16-41.log", 2);
    rig.take_away("2026-11-22-16-41.log");
    let told = left(&mut rig).unwrap().unwrap();
    assert!(told.starts_with("20 bytes in 1 logs"), "{told}");
    // An operator wants it gone all the same.
    forget(&mut rig);
    assert!(is_forgotten(&rig));
    rig.add_backend(B.next_at_place(), NAME);
    let is_backend = |folder: &str| folder.contains(':');
    rig.send(KeeperMail::SyncPoint { id: 3, is_backend });
    rig.pass(3);
    let point = rig.told.iter().find_map(|mail| match mail {
        ControlMail::SyncPointTaken { taken, .. } => taken.clone().ok(),
        _ => None,
    });
    assert_eq!(point.unwrap().is_settled(None), Some(true));
}
