//! Checkpoints that take their time: what goes on meanwhile, and what has to wait.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use super::fixture::{Fixture, LOG, NAME, OTHER, settled_lines};
use crate::ledger::checkpoint::Checkpoint;
use crate::replay::checkpointer::Turn;
use crate::replay::disk::Area;
use crate::replay::messages::{
    CheckpointerMessage, ControlMessage, FileStart, ReaderMessage, ResumePlan,
};
use crate::replay::testdisk::{Crash, Op, TestDisk};
use crate::status::sync_point::PointBoard;

const SECOND: Duration = Duration::from_secs(1);

/// A log of ten lines in one segment, of which the first is settled; a durable checkpoint says that
/// much. From now on checkpoints take their time.
fn fixture() -> Fixture {
    let mut fixture = Fixture::new(TestDisk::default());
    fixture.write_log(LOG, 10);
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(0, 1, 0, 10, &[]);
    fixture.settle(0, &[0]);
    fixture.pass(2);
    assert_eq!(durable_lines(&fixture), [0]);
    fixture.disk.set_chains_wait(true);
    fixture
}

/// The same with the second line settled too, which a checkpoint under way has.
fn under_way() -> Fixture {
    let mut fixture = fixture();
    fixture.settle(0, &[1]);
    fixture.pass(2);
    assert_eq!(fixture.disk.chains_under_way().len(), 1);
    fixture
}

fn durable_plan(fixture: &Fixture) -> ResumePlan {
    let bytes = fixture.disk.durable_state(NAME, "checkpoint").unwrap();
    Checkpoint::decode(&bytes).unwrap().resume
}

fn durable_lines(fixture: &Fixture) -> Vec<u64> {
    settled_lines(&durable_plan(fixture))
}

#[test]
fn outcomes_are_taken_in_while_a_checkpoint_is_under_way_and_are_in_the_next_one() {
    let mut fixture = under_way();
    fixture.settle(0, &[2]);
    fixture.turn();
    assert_eq!(fixture.counts().settled, 3, "taken in at once");
    let checkpoints = fixture.counts().checkpoints;
    fixture.step_to_end();
    assert_eq!(fixture.counts().checkpoints, checkpoints + 1);
    assert_eq!(
        durable_lines(&fixture),
        [0, 1],
        "the instant at which it was begun"
    );
    fixture.pass(2);
    fixture.step_to_end();
    assert_eq!(durable_lines(&fixture), [0, 1, 2]);
}

#[test]
fn rejected_lines_are_rejected_while_a_checkpoint_is_under_way() {
    let mut fixture = under_way();
    fixture.reject(0, 2);
    fixture.settle(0, &[3]);
    fixture.turn();
    assert_eq!(
        (fixture.counts().rejected, fixture.counts().settled),
        (1, 4)
    );
    assert_eq!(fixture.rejected().len(), 1);
}

#[test]
fn a_checkpointer_with_a_checkpoint_under_way_sleeps() {
    let fixture = under_way();
    assert!(
        fixture.next_deadline() >= fixture.now.monotonic + SECOND,
        "only the next look at finished logs is due"
    );
}

#[test]
fn no_log_is_deleted_before_the_checkpoint_that_says_so_has_ended() {
    let mut fixture = fixture();
    fixture.settle(0, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    fixture.pass(100);
    for _ in 0..4 {
        assert_eq!(fixture.disk.chains_under_way().len(), 1);
        assert!(fixture.disk.log(NAME, LOG).is_some());
        fixture.step();
        fixture.pass(10);
    }
    assert!(fixture.disk.chains_under_way().is_empty());
    assert!(fixture.disk.log(NAME, LOG).is_none());
}

#[test]
fn no_sync_point_is_settled_before_the_checkpoint_that_says_so_has_ended() {
    let mut fixture = fixture();
    fixture.send(CheckpointerMessage::SyncPoint {
        id: 3,
        is_backend: |_| true,
    });
    fixture.turn();
    let point: Arc<PointBoard> = std::mem::take(&mut fixture.told)
        .into_iter()
        .find_map(|message| match message {
            ControlMessage::SyncPointTaken { taken, .. } => taken.ok(),
            _ => None,
        })
        .expect("it was asked for");
    fixture.settle(0, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    fixture.pass(2);
    for _ in 0..4 {
        assert_eq!(point.is_settled(None), Some(false));
        fixture.step();
        fixture.pass(2);
    }
    assert_eq!(point.is_settled(None), Some(true));
}

#[test]
fn files_of_the_original_stay_until_the_checkpoint_that_replaces_them_has_ended() {
    let disk = TestDisk::default();
    disk.put_state(NAME, "totals", &[0; 16]);
    disk.set_chains_wait(true);
    let mut fixture = Fixture::new(disk);
    let there = |fixture: &Fixture| fixture.disk.state(NAME, crate::ledger::legacy::TOTALS_NAME);
    fixture
        .disk
        .put_state(NAME, crate::ledger::legacy::TOTALS_NAME, &[0; 16]);
    fixture.restart();
    fixture.pass(2);
    for _ in 0..4 {
        assert!(there(&fixture).is_some());
        fixture.step();
    }
    assert!(there(&fixture).is_none());
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
            let mut fixture = under_way();
            (0..steps).for_each(|_| fixture.step());
            fixture.settle(0, &[2]);
            fixture.turn();
            fixture.disk.crash(crash);
            fixture.restart();
            let lines = settled_lines(&fixture.plan().unwrap());
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
        Op::Write(Area::State),
        Op::Sync(Area::State),
        Op::Rename(Area::State),
        Op::SyncFolder(Area::State),
    ] {
        let mut fixture = under_way();
        fixture.disk.fail(op, ErrorKind::Other, 0, 1);
        fixture.step_to_end();
        assert!(fixture.has_fault() && fixture.is_paused(), "{op:?}");
        assert_eq!(
            fixture.disk.state(NAME, "checkpoint.new").is_some(),
            op == Op::Rename(Area::State),
            "{op:?}: the next try begins with a file of its own"
        );
        fixture.pass(1);
        assert_eq!(
            fixture.disk.chains_under_way().len(),
            1,
            "{op:?}: tried again"
        );
        assert!(
            fixture.next_deadline() > fixture.now.monotonic,
            "{op:?}: nothing circles meanwhile"
        );
        for _ in 0..4 {
            assert!(
                fixture.has_fault() && fixture.is_paused(),
                "{op:?}: while the retry is under way"
            );
            fixture.pass(1);
            fixture.step();
        }
        assert!(!fixture.has_fault() && !fixture.is_paused(), "{op:?}");
        assert_eq!(durable_lines(&fixture), [0, 1], "{op:?}");
    }
}

#[test]
fn a_checkpoint_does_not_clear_the_fault_of_rejected_lines_nor_they_that_of_a_checkpoint() {
    // Lines can't be rejected, a checkpoint can be written.
    let mut fixture = under_way();
    fixture
        .disk
        .fail(Op::Append(Area::State), ErrorKind::StorageFull, 0, u32::MAX);
    fixture.reject(0, 2);
    fixture.turn();
    assert!(fixture.has_fault());
    fixture.step_to_end();
    assert_eq!(durable_lines(&fixture), [0, 1]);
    assert!(fixture.has_fault(), "lines wait to be rejected");
    fixture.disk.mend();
    fixture.pass(20);
    fixture.step_to_end();
    fixture.pass(20);
    assert!(!fixture.has_fault());
    // The other way round.
    let mut fixture = under_way();
    fixture
        .disk
        .fail(Op::Write(Area::State), ErrorKind::StorageFull, 0, 1);
    fixture.step_to_end();
    assert!(fixture.has_fault());
    fixture.reject(0, 2);
    fixture.pass(1);
    assert_eq!(fixture.rejected().len(), 1);
    assert!(fixture.has_fault(), "the checkpoint's retry is under way");
    fixture.step_to_end();
    assert!(!fixture.has_fault());
}

#[test]
fn a_fault_of_both_is_tried_again_ever_more_rarely_and_told_once() {
    let mut fixture = under_way();
    fixture
        .disk
        .fail(Op::Append(Area::State), ErrorKind::StorageFull, 0, u32::MAX);
    fixture
        .disk
        .fail(Op::Write(Area::State), ErrorKind::StorageFull, 0, u32::MAX);
    fixture.reject(0, 2);
    fixture.turn();
    let before = fixture.disk.steps();
    for _ in 0..600 {
        fixture.step();
        fixture.now.monotonic += Duration::from_millis(100);
        fixture.turn();
    }
    let tries = (fixture.disk.steps() - before) / 4;
    assert!((10..60).contains(&tries), "{tries} tries in a minute");
    let faults = fixture.told.iter();
    let faults = faults.filter(|message| matches!(message, ControlMessage::StoreFault { .. }));
    assert_eq!(faults.count(), 1);
}

#[test]
fn a_checkpoint_that_does_not_end_is_told_and_pauses_its_backend_until_it_does() {
    let mut fixture = under_way();
    fixture.pass(27);
    assert!(!fixture.has_fault());
    fixture.pass(5);
    assert!(fixture.has_fault() && fixture.is_paused());
    let steps = fixture.disk.steps();
    fixture.pass(100);
    assert_eq!(fixture.disk.steps(), steps, "nothing else can be tried");
    let faults = fixture.told.iter();
    let faults = faults.filter(|message| matches!(message, ControlMessage::StoreFault { .. }));
    assert_eq!(faults.count(), 1);
    fixture.step_to_end();
    assert!(!fixture.has_fault() && !fixture.is_paused());
    assert_eq!(durable_lines(&fixture), [0, 1]);
}

#[test]
fn what_is_deleted_during_a_checkpoint_is_forgotten_by_the_next_behind_its_folders_sync() {
    let mut fixture = under_way();
    fixture.disk.remove_log(NAME, LOG);
    fixture.tell_gone(1);
    fixture.settle(0, &[2, 3, 4, 5, 6, 7, 8, 9]);
    fixture.step_to_end();
    assert_eq!(durable_plan(&fixture).files.len(), 1);
    fixture
        .disk
        .fail(Op::SyncFolder(Area::Logs), ErrorKind::Other, 0, 1);
    fixture.pass(2);
    fixture.step();
    assert!(
        fixture.has_fault(),
        "it is not written while the name may come back"
    );
    fixture.pass(2);
    fixture.step_to_end();
    assert_eq!(durable_plan(&fixture).files.len(), 0);
}

#[test]
fn a_flush_is_answered_while_a_checkpoint_is_under_way() {
    let mut fixture = under_way();
    fixture.plan();
    fixture.flush(1);
    fixture.turn();
    let plan = fixture.plan().expect("nobody waits for the disk");
    assert_eq!(settled_lines(&plan), [0, 1]);
    fixture.open(2, LOG, FileStart::Resumed(0));
    fixture.segment(7, 2, 0, 10, &[0, 1]);
    fixture.settle(7, &[2, 3, 4, 5, 6, 7, 8, 9]);
    fixture.pass(90);
    fixture.step_to_end();
    assert!(
        fixture.disk.log(NAME, LOG).is_some(),
        "what has ended is of before the flush"
    );
    fixture.pass(2);
    fixture.step_to_end();
    fixture.pass(10);
    assert!(fixture.disk.log(NAME, LOG).is_none());
}

#[test]
fn checkpoints_of_two_backends_are_under_way_at_one_time() {
    let mut fixture = fixture();
    fixture.add_backend(OTHER, "127.0.0.1:9999");
    fixture.settle(0, &[1]);
    fixture.pass(2);
    assert_eq!(fixture.disk.chains_under_way().len(), 2);
    // The one that was begun last may end first.
    let other = fixture.disk.chains_under_way()[1];
    while !fixture.disk.step_chain(other) {}
    fixture.turn();
    fixture.step_to_end();
    assert_eq!(durable_lines(&fixture), [0, 1]);
}

#[test]
fn the_end_waits_for_the_last_checkpoints_of_all_backends_and_begins_them_together() {
    let mut fixture = under_way();
    fixture.add_backend(OTHER, "127.0.0.1:9999");
    fixture.settle(0, &[2]);
    fixture.reject(0, 3);
    fixture.send(CheckpointerMessage::Stop);
    fixture.settle(0, &[4]);
    assert_eq!(fixture.turn(), Turn::Sleep);
    assert_eq!(fixture.rejected().len(), 1, "first what is rejected");
    assert_eq!(
        fixture.disk.chains_under_way().len(),
        2,
        "the earlier one, and the other backend's last"
    );
    fixture.step_to_end();
    assert!(matches!(
        fixture.told.last(),
        Some(ControlMessage::CheckpointerDone)
    ));
    assert_eq!(fixture.turn(), Turn::Done);
    assert_eq!(durable_lines(&fixture), [0, 1, 2, 3, 4]);
}

#[test]
fn the_end_says_nothing_before_and_comes_although_a_last_checkpoint_fails() {
    let mut fixture = fixture();
    fixture.settle(0, &[1]);
    fixture.send(CheckpointerMessage::Stop);
    fixture.turn();
    fixture
        .disk
        .fail(Op::Rename(Area::State), ErrorKind::Other, 0, u32::MAX);
    let is_done = |fixture: &Fixture| {
        let mut told = fixture.told.iter();
        told.any(|message| matches!(message, ControlMessage::CheckpointerDone))
    };
    for _ in 0..3 {
        assert!(!is_done(&fixture));
        // What comes behind the end changes nothing, and holds nothing up.
        fixture.settle(0, &[2]);
        assert_eq!(fixture.turn(), Turn::Sleep);
        fixture.step();
    }
    assert!(is_done(&fixture) && fixture.has_fault());
    assert_eq!(fixture.turn(), Turn::Done);
    assert_eq!(durable_lines(&fixture), [0]);
}

#[test]
fn lines_behind_a_checkpoint_that_fails_at_the_end_are_in_the_last_one() {
    let mut fixture = under_way();
    fixture.settle(0, &[2]);
    fixture.send(CheckpointerMessage::Stop);
    fixture.turn();
    fixture
        .disk
        .fail(Op::Sync(Area::State), ErrorKind::Other, 0, 1);
    fixture.step_to_end();
    assert_eq!(durable_lines(&fixture), [0, 1, 2]);
    assert!(!fixture.has_fault());
    let paused = fixture.fed.iter();
    assert!(
        paused
            .filter(|message| matches!(message, ReaderMessage::StorePaused { .. }))
            .count()
            <= 2
    );
}
