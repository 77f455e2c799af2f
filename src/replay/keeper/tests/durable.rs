//! Checkpoints: one instant, whatever happens while one is written.

use std::io::ErrorKind;

use super::rig::{B, LOG, NAME, OTHER, Rig, settled_lines};
use crate::replay::keeper::Turn;
use crate::replay::messages::{
    BackendId, ControlMail, FeederMail, FileStart, KeeperMail, Party, SegmentId,
};
use crate::replay::testdisk::{Crash, Op, TestDisk};

/// The order in which the story settles lines of a log of 30; three segments of ten.
const STORY: [(u64, u32); 12] = [
    (0, 0),
    (0, 5),
    (1, 1),
    (0, 2),
    (2, 9),
    (1, 0),
    (1, 2),
    (2, 8),
    (0, 1),
    (0, 3),
    (0, 4),
    (2, 7),
];
/// Which of them are set aside.
const REJECTED: [usize; 3] = [2, 3, 9];

/// Settles the story's lines one after the other, with half a second between them.
fn tell_story(rig: &mut Rig) {
    rig.open(1, LOG, FileStart::New);
    (0..3).for_each(|segment| rig.segment(segment, 1, segment * 10, 10, &[]));
    for (index, (segment, line)) in STORY.into_iter().enumerate() {
        if REJECTED.contains(&index) {
            rig.reject(segment, line);
        } else {
            rig.settle(segment, &[line]);
        }
        rig.turn();
        if index % 2 == 1 {
            rig.pass(1);
        }
    }
}

/// How many settlements of the story `lines` are, if they are its first ones.
fn prefix(lines: &[u64]) -> Option<usize> {
    let line = |(segment, line): (u64, u32)| segment * 10 + u64::from(line);
    let mut expected: Vec<u64> = STORY.into_iter().take(lines.len()).map(line).collect();
    expected.sort_unstable();
    (expected == lines).then_some(lines.len())
}

fn storied() -> Rig {
    let rig = Rig::new(TestDisk::default());
    rig.write_log(LOG, 30);
    rig
}

fn check_after_crash(step: u64, crash: Crash) {
    let mut rig = storied();
    rig.disk.die_at(step);
    tell_story(&mut rig);
    let done_before = rig.counts();
    rig.disk.crash(crash);
    rig.restart();
    let plan = rig.plan().expect("a start is never stopped");
    let lines = settled_lines(&plan);
    let told = prefix(&lines).unwrap_or_else(|| panic!("{lines:?} are no instant of the story"));
    let counts = rig.counts();
    assert_eq!(counts.settled, told as u64);
    assert!(counts.settled <= done_before.settled);
    let rejected: Vec<u64> = rig.rejected().iter().map(|line| line.line - 1).collect();
    let count = REJECTED.iter().filter(|index| **index < told).count();
    assert_eq!(counts.rejected, count as u64);
    for (segment, line) in STORY
        .into_iter()
        .enumerate()
        .filter(|(index, _)| *index < told && REJECTED.contains(index))
        .map(|(_, line)| line)
    {
        assert!(
            rejected.contains(&(segment * 10 + u64::from(line))),
            "{line} of {segment} counts as settled and is set aside"
        );
    }
}

#[test]
fn room_that_is_kept_aside_lets_a_full_disk_go_on_and_is_taken_again() {
    for op in [Op::WriteState, Op::SyncState] {
        let disk = TestDisk::default();
        disk.keep_spare();
        let mut rig = Rig::new(disk);
        rig.write_log(LOG, 10);
        rig.open(1, LOG, FileStart::New);
        rig.segment(0, 1, 0, 10, &[]);
        rig.turn();
        assert!(
            rig.disk.spare_bytes() > 0,
            "it is taken while there is room"
        );
        rig.disk.fail(op, ErrorKind::StorageFull, 0, u32::MAX);
        rig.reject(0, 9);
        rig.settle(0, &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        rig.turn();
        assert!(!rig.is_paused() && !rig.has_fault(), "{op:?}: nobody waits");
        rig.pass(1);
        assert_eq!(rig.disk.spare_bytes(), 0, "{op:?}");
        rig.pass(60);
        assert!(rig.disk.spare_bytes() > 0, "{op:?}: it is taken again");
        rig.disk.crash(Crash::LosesAll);
        rig.restart();
        assert_eq!(rig.rejected().len(), 1, "{op:?}");
        assert_eq!(
            (rig.counts().settled, rig.counts().durable_settled),
            (10, 10)
        );
    }
}

#[test]
fn a_kill_makes_no_number_less_than_what_ha_was_told() {
    let mut rig = Rig::new(TestDisk::default());
    rig.write_log(LOG, 10);
    rig.open(1, LOG, FileStart::New);
    rig.segment(0, 1, 0, 10, &[]);
    rig.settle(0, &[0, 1]);
    rig.pass(10);
    let told = |rig: &Rig| (rig.counts().durable_processed, rig.counts().durable_settled);
    assert_eq!(told(&rig), (10, 2));
    rig.disk.fail(Op::WriteState, ErrorKind::Other, 0, u32::MAX);
    rig.settle(0, &[2, 3]);
    rig.pass(1);
    assert_eq!((rig.counts().settled, told(&rig)), (4, (10, 2)));
    rig.disk.crash(Crash::LosesNothing);
    rig.disk.mend();
    rig.restart();
    assert_eq!((rig.counts().settled, told(&rig)), (2, (10, 2)));
}

#[test]
fn after_a_crash_at_any_step_the_checkpoint_is_one_instant_and_rejected_lines_are_on_disk() {
    let mut rig = storied();
    tell_story(&mut rig);
    assert_eq!(rig.counts().settled, STORY.len() as u64);
    let steps = rig.disk.steps();
    assert!(steps > 20, "the story has {steps} steps");
    for step in 1..=steps + 1 {
        check_after_crash(step, Crash::LosesAll);
        check_after_crash(step, Crash::LosesNothing);
        (0..8).for_each(|seed| check_after_crash(step, Crash::LosesSome(seed * 1000 + step)));
    }
}

#[test]
fn what_is_settled_survives_the_worst_crash_after_a_checkpoint_interval() {
    let mut rig = storied();
    tell_story(&mut rig);
    rig.pass(2);
    rig.disk.crash(Crash::LosesAll);
    rig.restart();
    assert_eq!(
        prefix(&settled_lines(&rig.plan().unwrap())),
        Some(STORY.len())
    );
    assert_eq!((rig.counts().processed, rig.counts().settled), (30, 12));
}

#[test]
fn each_fault_of_each_call_pauses_the_backend_and_goes_away_without_loss() {
    let calls = [
        Op::ListState,
        Op::WriteState,
        Op::SyncState,
        Op::RenameState,
        Op::SyncStateFolder,
        Op::AppendState,
    ];
    for op in calls {
        for kind in [
            ErrorKind::StorageFull,
            ErrorKind::PermissionDenied,
            ErrorKind::Other,
        ] {
            let mut rig = storied();
            rig.disk.fail(op, kind, 0, u32::MAX);
            tell_story(&mut rig);
            rig.pass(3);
            assert!(
                rig.has_fault() && rig.is_paused(),
                "{op:?} fails with {kind}"
            );
            assert!(rig.disk.log(NAME, LOG).is_some());
            rig.disk.mend();
            rig.pass(20);
            assert!(
                !rig.has_fault() && !rig.is_paused(),
                "{op:?} goes well again"
            );
            assert_eq!(rig.counts().settled, STORY.len() as u64);
            assert_eq!(
                rig.rejected().len(),
                REJECTED.len(),
                "each is set aside once: {op:?}, {kind}"
            );
            rig.disk.crash(Crash::LosesAll);
            rig.restart();
            assert_eq!(
                prefix(&settled_lines(&rig.plan().unwrap())),
                Some(STORY.len()),
                "{op:?}, {kind}"
            );
        }
    }
}

#[test]
fn a_fault_is_told_once_with_its_cause_and_tried_again_ever_more_rarely() {
    let mut rig = storied();
    rig.disk
        .fail(Op::WriteState, ErrorKind::StorageFull, 0, u32::MAX);
    rig.open(1, LOG, FileStart::New);
    let before = rig.disk.steps();
    rig.pass(60);
    let tries = (rig.disk.steps() - before) / 2;
    assert!((12..40).contains(&tries), "{tries} tries in a minute");
    let faults: Vec<_> = rig
        .told
        .iter()
        .filter_map(|mail| {
            if let ControlMail::StoreFault { fault, .. } = mail {
                fault.clone()
            } else {
                None
            }
        })
        .collect();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].contains("write the checkpoint"), "{}", faults[0]);
}

#[test]
fn a_flush_gives_exactly_what_is_settled_when_everybody_has_let_go() {
    let mut rig = storied();
    tell_story(&mut rig);
    rig.plan();
    rig.send(KeeperMail::Flush {
        backend: B,
        epoch: 1,
    });
    let flushed = |party| KeeperMail::Flushed {
        backend: B,
        epoch: 1,
        party,
        sent: Vec::new(),
    };
    rig.send(flushed(Party::Worker(1)));
    rig.send(flushed(Party::Feeder));
    // Worker 0 still has something to tell.
    rig.settle(0, &[6]);
    rig.turn();
    assert!(rig.plan().is_none(), "a worker may still tell something");
    rig.reject(0, 7);
    rig.send(flushed(Party::Worker(0)));
    rig.turn();
    let plan = rig.plan().expect("everybody has let go");
    assert_eq!(
        settled_lines(&plan),
        [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 27, 28, 29]
    );
    assert!(matches!(
        rig.told[..],
        [ControlMail::Flushed { epoch: 1, .. }]
    ));
    assert_eq!(rig.counts().in_flight_records, 0);
    // The feeder goes on from there, and nothing is counted twice.
    rig.open(2, LOG, FileStart::Resumed(0));
    rig.segment(
        10,
        2,
        0,
        30,
        &[0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 27, 28, 29],
    );
    rig.settle(10, &[8, 9]);
    rig.turn();
    assert_eq!((rig.counts().processed, rig.counts().settled), (30, 16));
}

#[test]
fn a_second_flush_overtakes_the_first() {
    let mut rig = storied();
    rig.plan();
    rig.send(KeeperMail::Flush {
        backend: B,
        epoch: 1,
    });
    rig.send(KeeperMail::Flushed {
        backend: B,
        epoch: 1,
        party: Party::Feeder,
        sent: Vec::new(),
    });
    rig.flush(2);
    rig.send(KeeperMail::Flushed {
        backend: B,
        epoch: 1,
        party: Party::Worker(0),
        sent: Vec::new(),
    });
    rig.turn();
    assert!(rig.plan().is_some());
    assert!(matches!(
        rig.told[..],
        [ControlMail::Flushed { epoch: 2, .. }]
    ));
}

#[test]
fn a_segment_is_done_with_its_last_line() {
    let mut rig = storied();
    rig.open(1, LOG, FileStart::New);
    rig.segment(4, 1, 0, 2, &[]);
    rig.settle(4, &[1]);
    rig.turn();
    assert!(
        !rig.fed
            .iter()
            .any(|mail| matches!(mail, FeederMail::SegmentDone { .. }))
    );
    assert_eq!(
        (rig.counts().in_flight_records, rig.counts().in_flight_bytes),
        (1, 20)
    );
    rig.settle(4, &[0]);
    rig.turn();
    assert!(rig.fed.iter().any(|mail| matches!(
        mail,
        FeederMail::SegmentDone {
            lines: 2,
            bytes: 20,
            epoch: 0,
            ..
        }
    )));
    assert_eq!(
        (rig.counts().in_flight_records, rig.counts().settled_bytes),
        (0, 20)
    );
}

#[test]
fn the_end_writes_what_there_is_and_says_so() {
    let mut rig = storied();
    rig.settings.checkpoint_interval = std::time::Duration::from_secs(3600);
    rig.send(KeeperMail::Settings(rig.settings.clone()));
    rig.pass(1);
    tell_story(&mut rig);
    rig.send(KeeperMail::Stop);
    rig.settle(2, &[0]);
    assert_eq!(rig.turn(), Turn::Done);
    assert!(matches!(rig.told.last(), Some(ControlMail::KeeperDone)));
    rig.disk.crash(Crash::LosesAll);
    rig.restart();
    assert_eq!(
        settled_lines(&rig.plan().unwrap()).len(),
        STORY.len() + 1,
        "also what came behind the word to end"
    );
}

#[test]
fn the_end_comes_although_the_disk_is_full() {
    let mut rig = storied();
    tell_story(&mut rig);
    rig.disk
        .fail(Op::WriteState, ErrorKind::StorageFull, 0, u32::MAX);
    rig.settle(2, &[0]);
    rig.send(KeeperMail::Stop);
    assert_eq!(rig.turn(), Turn::Done);
    assert!(rig.has_fault());
}

#[test]
fn one_backends_fault_is_not_anothers() {
    let mut rig = storied();
    rig.add_backend(OTHER, "127.0.0.1:9999");
    rig.disk
        .fail(Op::AppendState, ErrorKind::StorageFull, 0, u32::MAX);
    tell_story(&mut rig);
    rig.pass(5);
    let paused: Vec<BackendId> = rig
        .fed
        .iter()
        .filter_map(|mail| {
            if let FeederMail::StorePaused { backend, .. } = mail {
                Some(*backend)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(paused, [B]);
    assert_eq!(
        rig.counts().settled,
        2,
        "what was settled before the first line that cannot be set aside"
    );
}

#[test]
fn a_plan_says_what_was_sent_without_an_answer_and_the_next_one_too_until_it_is_settled() {
    let mut rig = storied();
    rig.open(1, LOG, FileStart::New);
    rig.segment(0, 1, 0, 10, &[]);
    rig.settle(0, &[0, 1, 3]);
    let flush = |rig: &mut Rig, epoch, sent: &[(u64, u32)]| {
        rig.send(KeeperMail::Flush { backend: B, epoch });
        for party in [Party::Feeder, Party::Worker(0), Party::Worker(1)] {
            let sent = if party == Party::Worker(1) { sent } else { &[] };
            let sent = sent
                .iter()
                .map(|&(segment, line)| (SegmentId(segment), line));
            rig.send(KeeperMail::Flushed {
                backend: B,
                epoch,
                party,
                sent: sent.collect(),
            });
        }
        rig.turn();
        let plan = rig.plan().expect("everybody has let go");
        plan.files[0].sent.iter().collect::<Vec<u64>>()
    };
    assert_eq!(flush(&mut rig, 1, &[(0, 2), (0, 5)]), [2, 5]);
    // In the next epoch one of them is settled before it is sent again, and another line is sent.
    rig.open(2, LOG, FileStart::Resumed(0));
    rig.segment(1, 2, 0, 10, &[0, 1, 3]);
    rig.settle(1, &[2]);
    assert_eq!(flush(&mut rig, 2, &[(1, 6)]), [5, 6]);
    // One that ends before anything of it was fed.
    assert_eq!(flush(&mut rig, 3, &[]), [5, 6]);
    rig.restart();
    rig.turn();
    let plan = rig.plan().expect("the first plan");
    assert!(plan.files.iter().all(|file| file.sent.is_empty()));
}
