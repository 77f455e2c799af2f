//! Checkpoints that take their time: what goes on meanwhile, and what has to wait.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use super::rig::{B, LOG, NAME, OTHER, Rig, settled_lines};
use crate::ledger::checkpoint::Checkpoint;
use crate::replay::keeper::Turn;
use crate::replay::messages::{ControlMail, FeederMail, FileId, FileStart, KeeperMail, ResumePlan};
use crate::replay::testdisk::{Crash, Op, TestDisk};
use crate::status::sync_point::PointBoard;

const SECOND: Duration = Duration::from_secs(1);

/// A log of ten lines in one segment, of which the first is settled; a durable checkpoint says that much. From now on checkpoints take their time.
fn rig() -> Rig {
    let mut rig = Rig::new(TestDisk::default());
    rig.write_log(LOG, 10);
    rig.open(1, LOG, FileStart::New);
    rig.segment(0, 1, 0, 10, &[]);
    rig.settle(0, &[0]);
    rig.pass(2);
    assert_eq!(durable_lines(&rig), [0]);
    rig.disk.set_chains_wait(true);
    rig
}

/// The same with the second line settled too, which a checkpoint under way has.
fn under_way() -> Rig {
    let mut rig = rig();
    rig.settle(0, &[1]);
    rig.pass(2);
    assert_eq!(rig.disk.chains_under_way().len(), 1);
    rig
}

fn durable_plan(rig: &Rig) -> ResumePlan {
    let bytes = rig.disk.durable_state(NAME, "checkpoint").unwrap();
    Checkpoint::decode(&bytes).unwrap().resume
}

fn durable_lines(rig: &Rig) -> Vec<u64> {
    settled_lines(&durable_plan(rig))
}

#[test]
fn outcomes_are_taken_in_while_a_checkpoint_is_under_way_and_are_in_the_next_one() {
    let mut rig = under_way();
    rig.settle(0, &[2]);
    rig.turn();
    assert_eq!(rig.counts().settled, 3, "taken in at once");
    let checkpoints = rig.counts().checkpoints;
    rig.step_to_end();
    assert_eq!(rig.counts().checkpoints, checkpoints + 1);
    assert_eq!(
        durable_lines(&rig),
        [0, 1],
        "the instant at which it was begun"
    );
    rig.pass(2);
    rig.step_to_end();
    assert_eq!(durable_lines(&rig), [0, 1, 2]);
}

#[test]
fn rejected_lines_are_set_aside_while_a_checkpoint_is_under_way() {
    let mut rig = under_way();
    rig.reject(0, 2);
    rig.settle(0, &[3]);
    rig.turn();
    assert_eq!((rig.counts().rejected, rig.counts().settled), (1, 4));
    assert_eq!(rig.rejected().len(), 1);
}

#[test]
fn a_keeper_with_a_checkpoint_under_way_sleeps() {
    let rig = under_way();
    assert!(
        rig.next_deadline() >= rig.now.monotonic + SECOND,
        "only the next look at finished logs is due"
    );
}

#[test]
fn no_log_is_deleted_before_the_checkpoint_that_says_so_has_ended() {
    let mut rig = rig();
    rig.settle(0, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    rig.pass(100);
    for _ in 0..4 {
        assert_eq!(rig.disk.chains_under_way().len(), 1);
        assert!(rig.disk.log(NAME, LOG).is_some());
        rig.step();
        rig.pass(10);
    }
    assert!(rig.disk.chains_under_way().is_empty());
    assert!(rig.disk.log(NAME, LOG).is_none());
}

#[test]
fn no_sync_point_is_settled_before_the_checkpoint_that_says_so_has_ended() {
    let mut rig = rig();
    rig.send(KeeperMail::SyncPoint {
        id: 3,
        is_backend: |_| true,
    });
    rig.turn();
    let point: Arc<PointBoard> = std::mem::take(&mut rig.told)
        .into_iter()
        .find_map(|mail| match mail {
            ControlMail::SyncPointTaken { taken, .. } => taken.ok(),
            _ => None,
        })
        .expect("it was asked for");
    rig.settle(0, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    rig.pass(2);
    for _ in 0..4 {
        assert_eq!(point.is_settled(None), Some(false));
        rig.step();
        rig.pass(2);
    }
    assert_eq!(point.is_settled(None), Some(true));
}

#[test]
fn files_of_the_original_stay_until_the_checkpoint_that_replaces_them_has_ended() {
    let disk = TestDisk::default();
    disk.put_state(NAME, "totals", &[0; 16]);
    disk.set_chains_wait(true);
    let mut rig = Rig::new(disk);
    let there = |rig: &Rig| rig.disk.state(NAME, crate::ledger::legacy::TOTALS_NAME);
    rig.disk
        .put_state(NAME, crate::ledger::legacy::TOTALS_NAME, &[0; 16]);
    rig.restart();
    rig.pass(2);
    for _ in 0..4 {
        assert!(there(&rig).is_some());
        rig.step();
    }
    assert!(there(&rig).is_none());
}

#[test]
fn a_crash_between_any_two_steps_leaves_the_old_checkpoint_or_the_new_one() {
    let crashes = |steps: u64| {
        let some = (0..16).map(move |seed| Crash::LosesSome(seed * 100 + steps));
        [Crash::LosesAll, Crash::LosesNothing]
            .into_iter()
            .chain(some)
    };
    for steps in 0..=4 {
        for crash in crashes(steps) {
            let mut rig = under_way();
            (0..steps).for_each(|_| rig.step());
            rig.settle(0, &[2]);
            rig.turn();
            rig.disk.crash(crash);
            rig.restart();
            let lines = settled_lines(&rig.plan().unwrap());
            let (is_old, is_new) = (lines == [0], lines == [0, 1]);
            let as_it_must = match (steps, crash) {
                (4, _) | (3, Crash::LosesNothing) => is_new,
                (3, Crash::LosesSome(_)) => is_old || is_new,
                _ => is_old,
            };
            assert!(as_it_must, "{steps} steps, {crash:?}: {lines:?}");
        }
    }
}

#[test]
fn a_step_that_fails_raises_the_fault_which_goes_when_a_retry_is_durable() {
    for op in [
        Op::WriteState,
        Op::SyncState,
        Op::RenameState,
        Op::SyncStateFolder,
    ] {
        let mut rig = under_way();
        rig.disk.fail(op, ErrorKind::Other, 0, 1);
        rig.step_to_end();
        assert!(rig.has_fault() && rig.is_paused(), "{op:?}");
        assert_eq!(
            rig.disk.state(NAME, "checkpoint.new").is_some(),
            op == Op::RenameState,
            "{op:?}: the next try begins with a file of its own"
        );
        rig.pass(1);
        assert_eq!(rig.disk.chains_under_way().len(), 1, "{op:?}: tried again");
        assert!(
            rig.next_deadline() > rig.now.monotonic,
            "{op:?}: nothing circles meanwhile"
        );
        for _ in 0..4 {
            assert!(
                rig.has_fault() && rig.is_paused(),
                "{op:?}: while the retry is under way"
            );
            rig.pass(1);
            rig.step();
        }
        assert!(!rig.has_fault() && !rig.is_paused(), "{op:?}");
        assert_eq!(durable_lines(&rig), [0, 1], "{op:?}");
    }
}

#[test]
fn a_checkpoint_does_not_clear_the_fault_of_rejected_lines_nor_they_that_of_a_checkpoint() {
    // Lines can't be set aside, a checkpoint can be written.
    let mut rig = under_way();
    rig.disk
        .fail(Op::AppendState, ErrorKind::StorageFull, 0, u32::MAX);
    rig.reject(0, 2);
    rig.turn();
    assert!(rig.has_fault());
    rig.step_to_end();
    assert_eq!(durable_lines(&rig), [0, 1]);
    assert!(rig.has_fault(), "lines wait to be set aside");
    rig.disk.mend();
    rig.pass(20);
    rig.step_to_end();
    rig.pass(20);
    assert!(!rig.has_fault());
    // The other way round.
    let mut rig = under_way();
    rig.disk.fail(Op::WriteState, ErrorKind::StorageFull, 0, 1);
    rig.step_to_end();
    assert!(rig.has_fault());
    rig.reject(0, 2);
    rig.pass(1);
    assert_eq!(rig.rejected().len(), 1);
    assert!(rig.has_fault(), "the checkpoint's retry is under way");
    rig.step_to_end();
    assert!(!rig.has_fault());
}

#[test]
fn a_fault_of_both_is_tried_again_ever_more_rarely_and_told_once() {
    let mut rig = under_way();
    rig.disk
        .fail(Op::AppendState, ErrorKind::StorageFull, 0, u32::MAX);
    rig.disk
        .fail(Op::WriteState, ErrorKind::StorageFull, 0, u32::MAX);
    rig.reject(0, 2);
    rig.turn();
    let before = rig.disk.steps();
    for _ in 0..600 {
        rig.step();
        rig.now.monotonic += Duration::from_millis(100);
        rig.turn();
    }
    let tries = (rig.disk.steps() - before) / 4;
    assert!((10..60).contains(&tries), "{tries} tries in a minute");
    let faults = rig.told.iter();
    let faults = faults.filter(|mail| matches!(mail, ControlMail::StoreFault { .. }));
    assert_eq!(faults.count(), 1);
}

#[test]
fn a_checkpoint_that_does_not_end_is_told_and_pauses_its_backend_until_it_does() {
    let mut rig = under_way();
    rig.pass(27);
    assert!(!rig.has_fault());
    rig.pass(5);
    assert!(rig.has_fault() && rig.is_paused());
    let steps = rig.disk.steps();
    rig.pass(100);
    assert_eq!(rig.disk.steps(), steps, "nothing else can be tried");
    let faults = rig.told.iter();
    let faults = faults.filter(|mail| matches!(mail, ControlMail::StoreFault { .. }));
    assert_eq!(faults.count(), 1);
    rig.step_to_end();
    assert!(!rig.has_fault() && !rig.is_paused());
    assert_eq!(durable_lines(&rig), [0, 1]);
}

#[test]
fn what_is_deleted_while_a_checkpoint_is_under_way_is_forgotten_by_the_next_behind_its_folders_sync()
 {
    let mut rig = under_way();
    rig.disk.remove_log(NAME, LOG);
    rig.send(KeeperMail::FileGone {
        backend: B,
        file: FileId(1),
    });
    rig.settle(0, &[2, 3, 4, 5, 6, 7, 8, 9]);
    rig.step_to_end();
    assert_eq!(durable_plan(&rig).files.len(), 1);
    rig.disk.fail(Op::SyncLogFolder, ErrorKind::Other, 0, 1);
    rig.pass(2);
    rig.step();
    assert!(
        rig.has_fault(),
        "it is not written while the name may come back"
    );
    rig.pass(2);
    rig.step_to_end();
    assert_eq!(durable_plan(&rig).files.len(), 0);
}

#[test]
fn a_flush_is_answered_while_a_checkpoint_is_under_way() {
    let mut rig = under_way();
    rig.plan();
    rig.flush(1);
    rig.turn();
    let plan = rig.plan().expect("nobody waits for the disk");
    assert_eq!(settled_lines(&plan), [0, 1]);
    rig.open(2, LOG, FileStart::Resumed(0));
    rig.segment(7, 2, 0, 10, &[0, 1]);
    rig.settle(7, &[2, 3, 4, 5, 6, 7, 8, 9]);
    rig.pass(90);
    rig.step_to_end();
    assert!(
        rig.disk.log(NAME, LOG).is_some(),
        "what has ended is of before the flush"
    );
    rig.pass(2);
    rig.step_to_end();
    rig.pass(10);
    assert!(rig.disk.log(NAME, LOG).is_none());
}

#[test]
fn checkpoints_of_two_backends_are_under_way_at_one_time() {
    let mut rig = rig();
    rig.add_backend(OTHER, "127.0.0.1:9999");
    rig.settle(0, &[1]);
    rig.pass(2);
    assert_eq!(rig.disk.chains_under_way().len(), 2);
    // The one that was begun last may end first.
    let other = rig.disk.chains_under_way()[1];
    while !rig.disk.step_chain(other) {}
    rig.turn();
    rig.step_to_end();
    assert_eq!(durable_lines(&rig), [0, 1]);
}

#[test]
fn the_end_waits_for_the_last_checkpoints_of_all_backends_and_begins_them_together() {
    let mut rig = under_way();
    rig.add_backend(OTHER, "127.0.0.1:9999");
    rig.settle(0, &[2]);
    rig.reject(0, 3);
    rig.send(KeeperMail::Stop);
    rig.settle(0, &[4]);
    assert_eq!(rig.turn(), Turn::Sleep);
    assert_eq!(rig.rejected().len(), 1, "first what is set aside");
    assert_eq!(
        rig.disk.chains_under_way().len(),
        2,
        "the earlier one, and the other backend's last"
    );
    rig.step_to_end();
    assert!(matches!(rig.told.last(), Some(ControlMail::KeeperDone)));
    assert_eq!(rig.turn(), Turn::Done);
    assert_eq!(durable_lines(&rig), [0, 1, 2, 3, 4]);
}

#[test]
fn the_end_says_nothing_before_and_comes_although_a_last_checkpoint_fails() {
    let mut rig = rig();
    rig.settle(0, &[1]);
    rig.send(KeeperMail::Stop);
    rig.turn();
    rig.disk
        .fail(Op::RenameState, ErrorKind::Other, 0, u32::MAX);
    let is_done = |rig: &Rig| {
        let mut told = rig.told.iter();
        told.any(|mail| matches!(mail, ControlMail::KeeperDone))
    };
    for _ in 0..3 {
        assert!(!is_done(&rig));
        // What comes behind the end changes nothing, and holds nothing up.
        rig.settle(0, &[2]);
        assert_eq!(rig.turn(), Turn::Sleep);
        rig.step();
    }
    assert!(is_done(&rig) && rig.has_fault());
    assert_eq!(rig.turn(), Turn::Done);
    assert_eq!(durable_lines(&rig), [0]);
}

#[test]
fn lines_behind_a_checkpoint_that_fails_at_the_end_are_in_the_last_one() {
    let mut rig = under_way();
    rig.settle(0, &[2]);
    rig.send(KeeperMail::Stop);
    rig.turn();
    rig.disk.fail(Op::SyncState, ErrorKind::Other, 0, 1);
    rig.step_to_end();
    assert_eq!(durable_lines(&rig), [0, 1, 2]);
    assert!(!rig.has_fault());
    let paused = rig.fed.iter();
    assert!(
        paused
            .filter(|mail| matches!(mail, FeederMail::StorePaused { .. }))
            .count()
            <= 2
    );
}
