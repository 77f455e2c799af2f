//! Checkpoints: one instant, whatever happens while one is written.

use std::io::ErrorKind;
use std::time::Duration;

use super::fixture::{B, Fixture, LOG, NAME, OTHER, settled_lines};
use crate::ledger::segment::SegmentDone;
use crate::replay::checkpointer::Turn;
use crate::replay::disk::Area;
use crate::replay::messages::{
    BackendId, BackendMessage, CheckpointerMessage, Component, ControlMessage, FileId, FileOpened,
    FileStart, ReaderMessage, SegmentId, WorkerMessage,
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
/// Which of them are rejected.
const REJECTED: [usize; 3] = [2, 3, 9];

/// Settles the story's lines one after the other, with half a second between them.
fn tell_story(fixture: &mut Fixture) {
    fixture.open(1, LOG, FileStart::New);
    (0..3).for_each(|segment| fixture.segment(segment, 1, segment * 10, 10, &[]));
    for (index, (segment, line)) in STORY.into_iter().enumerate() {
        if REJECTED.contains(&index) {
            fixture.reject(segment, line);
        } else {
            fixture.settle(segment, &[line]);
        }
        fixture.turn();
        if index % 2 == 1 {
            fixture.pass(1);
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

fn storied() -> Fixture {
    let fixture = Fixture::new(TestDisk::default());
    fixture.write_log(LOG, 30);
    fixture
}

fn check_after_crash(step: u64, crash: Crash) {
    let mut fixture = storied();
    fixture.disk.die_at(step);
    tell_story(&mut fixture);
    let done_before = fixture.counts();
    fixture.disk.crash(crash);
    fixture.restart();
    let plan = fixture.plan().expect("a start is never stopped");
    let lines = settled_lines(&plan);
    let told = prefix(&lines).unwrap_or_else(|| panic!("{lines:?} are no instant of the story"));
    let counts = fixture.counts();
    assert_eq!(counts.settled, told as u64);
    assert!(counts.settled <= done_before.settled);
    let rejected: Vec<u64> = fixture
        .rejected()
        .iter()
        .map(|line| line.line - 1)
        .collect();
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
            "{line} of {segment} counts as settled and is rejected"
        );
    }
}

#[test]
fn room_that_is_kept_aside_lets_a_full_disk_go_on_and_is_taken_again() {
    for op in [Op::Write(Area::State), Op::Sync(Area::State)] {
        let disk = TestDisk::default();
        disk.keep_spare();
        let mut fixture = Fixture::new(disk);
        fixture.write_log(LOG, 10);
        fixture.open(1, LOG, FileStart::New);
        fixture.segment(0, 1, 0, 10, &[]);
        fixture.turn();
        assert!(
            fixture.disk.spare_bytes() > 0,
            "it is taken while there is room"
        );
        fixture.disk.fail(op, ErrorKind::StorageFull, 0, u32::MAX);
        fixture.reject(0, 9);
        fixture.settle(0, &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        fixture.turn();
        assert!(
            !fixture.is_paused() && !fixture.has_fault(),
            "{op:?}: nobody waits"
        );
        fixture.pass(1);
        assert_eq!(fixture.disk.spare_bytes(), 0, "{op:?}");
        fixture.pass(60);
        assert!(fixture.disk.spare_bytes() > 0, "{op:?}: it is taken again");
        fixture.disk.crash(Crash::LosesAll);
        fixture.restart();
        assert_eq!(fixture.rejected().len(), 1, "{op:?}");
        assert_eq!(
            (fixture.counts().settled, fixture.counts().durable_settled),
            (10, 10)
        );
    }
}

#[test]
fn room_is_kept_aside_again_as_soon_as_a_shorter_release_interval_says() {
    let disk = TestDisk::default();
    disk.keep_spare();
    let mut fixture = Fixture::new(disk);
    fixture.settings.release_interval = Duration::from_secs(3600);
    fixture.send(CheckpointerMessage::Settings(fixture.settings.clone()));
    fixture.write_log(LOG, 10);
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(0, 1, 0, 10, &[]);
    fixture.turn();
    fixture
        .disk
        .fail(Op::Write(Area::State), ErrorKind::StorageFull, 0, u32::MAX);
    fixture.settle(0, &[0]);
    fixture.pass(60);
    assert_eq!(fixture.disk.spare_bytes(), 0);
    fixture.settings.release_interval = Duration::from_secs(5);
    fixture.send(CheckpointerMessage::Settings(fixture.settings.clone()));
    fixture.turn();
    fixture.pass(5);
    assert!(fixture.disk.spare_bytes() > 0);
}

#[test]
fn a_kill_makes_no_number_less_than_what_ha_was_told() {
    let mut fixture = Fixture::new(TestDisk::default());
    fixture.write_log(LOG, 10);
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(0, 1, 0, 10, &[]);
    fixture.settle(0, &[0, 1]);
    fixture.pass(10);
    let told = |fixture: &Fixture| {
        (
            fixture.counts().durable_processed,
            fixture.counts().durable_settled,
        )
    };
    assert_eq!(told(&fixture), (10, 2));
    fixture
        .disk
        .fail(Op::Write(Area::State), ErrorKind::Other, 0, u32::MAX);
    fixture.settle(0, &[2, 3]);
    fixture.pass(1);
    assert_eq!((fixture.counts().settled, told(&fixture)), (4, (10, 2)));
    fixture.disk.crash(Crash::LosesNothing);
    fixture.disk.mend();
    fixture.restart();
    assert_eq!((fixture.counts().settled, told(&fixture)), (2, (10, 2)));
}

#[test]
fn after_a_crash_at_any_step_the_checkpoint_is_one_instant_and_rejected_lines_are_on_disk() {
    let mut fixture = storied();
    tell_story(&mut fixture);
    assert_eq!(fixture.counts().settled, STORY.len() as u64);
    let steps = fixture.disk.steps();
    assert!(steps > 20, "the story has {steps} steps");
    for step in 1..=steps + 1 {
        check_after_crash(step, Crash::LosesAll);
        check_after_crash(step, Crash::LosesNothing);
        (0..8).for_each(|seed| check_after_crash(step, Crash::LosesSome(seed * 1000 + step)));
    }
}

#[test]
fn what_is_settled_survives_the_worst_crash_after_a_checkpoint_interval() {
    let mut fixture = storied();
    tell_story(&mut fixture);
    fixture.pass(2);
    fixture.disk.crash(Crash::LosesAll);
    fixture.restart();
    assert_eq!(
        prefix(&settled_lines(&fixture.plan().unwrap())),
        Some(STORY.len())
    );
    assert_eq!(
        (fixture.counts().processed, fixture.counts().settled),
        (30, 12)
    );
}

#[test]
fn each_fault_of_each_call_pauses_the_backend_and_goes_away_without_loss() {
    let calls = [
        Op::Look(Area::State),
        Op::Write(Area::State),
        Op::Sync(Area::State),
        Op::Rename(Area::State),
        Op::SyncFolder(Area::State),
        Op::Append(Area::State),
    ];
    for op in calls {
        for kind in [
            ErrorKind::StorageFull,
            ErrorKind::PermissionDenied,
            ErrorKind::Other,
        ] {
            let mut fixture = storied();
            fixture.disk.fail(op, kind, 0, u32::MAX);
            tell_story(&mut fixture);
            fixture.pass(3);
            assert!(
                fixture.has_fault() && fixture.is_paused(),
                "{op:?} fails with {kind}"
            );
            assert!(fixture.disk.log(NAME, LOG).is_some());
            fixture.disk.mend();
            fixture.pass(20);
            assert!(
                !fixture.has_fault() && !fixture.is_paused(),
                "{op:?} goes well again"
            );
            assert_eq!(fixture.counts().settled, STORY.len() as u64);
            assert_eq!(
                fixture.rejected().len(),
                REJECTED.len(),
                "each is rejected once: {op:?}, {kind}"
            );
            fixture.disk.crash(Crash::LosesAll);
            fixture.restart();
            assert_eq!(
                prefix(&settled_lines(&fixture.plan().unwrap())),
                Some(STORY.len()),
                "{op:?}, {kind}"
            );
        }
    }
}

#[test]
fn a_fault_is_told_once_with_its_cause_and_tried_again_ever_more_rarely() {
    let mut fixture = storied();
    fixture
        .disk
        .fail(Op::Write(Area::State), ErrorKind::StorageFull, 0, u32::MAX);
    fixture.open(1, LOG, FileStart::New);
    let before = fixture.disk.steps();
    fixture.pass(60);
    let tries = (fixture.disk.steps() - before) / 2;
    assert!((12..40).contains(&tries), "{tries} tries in a minute");
    let faults: Vec<_> = fixture
        .told
        .iter()
        .filter_map(|message| {
            if let ControlMessage::StoreFault { fault, .. } = message {
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
    let mut fixture = storied();
    tell_story(&mut fixture);
    fixture.plan();
    fixture.tell(BackendMessage::Flush { epoch: 1 });
    let flushed = |component| {
        CheckpointerMessage::Of(
            B,
            BackendMessage::Flushed {
                epoch: 1,
                component,
                sent: Vec::new(),
            },
        )
    };
    fixture.send(flushed(Component::Worker(1)));
    fixture.send(flushed(Component::LogReader));
    // Worker 0 still has something to tell.
    fixture.settle(0, &[6]);
    fixture.turn();
    assert!(
        fixture.plan().is_none(),
        "a worker may still tell something"
    );
    fixture.reject(0, 7);
    fixture.send(flushed(Component::Worker(0)));
    fixture.turn();
    let plan = fixture.plan().expect("everybody has let go");
    assert_eq!(
        settled_lines(&plan),
        [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 27, 28, 29]
    );
    assert!(matches!(
        fixture.told[..],
        [ControlMessage::Flushed { epoch: 1, .. }]
    ));
    assert_eq!(fixture.counts().in_flight_records, 0);
    // The reader goes on from there, and nothing is counted twice.
    fixture.open(2, LOG, FileStart::Resumed(0));
    fixture.segment(
        10,
        2,
        0,
        30,
        &[0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 27, 28, 29],
    );
    fixture.settle(10, &[8, 9]);
    fixture.turn();
    assert_eq!(
        (fixture.counts().processed, fixture.counts().settled),
        (30, 16)
    );
}

#[test]
fn a_second_flush_overtakes_the_first() {
    let mut fixture = storied();
    fixture.plan();
    fixture.tell(BackendMessage::Flush { epoch: 1 });
    fixture.tell(BackendMessage::Flushed {
        epoch: 1,
        component: Component::LogReader,
        sent: Vec::new(),
    });
    fixture.flush(2);
    fixture.tell(BackendMessage::Flushed {
        epoch: 1,
        component: Component::Worker(0),
        sent: Vec::new(),
    });
    fixture.turn();
    assert!(fixture.plan().is_some());
    assert!(matches!(
        fixture.told[..],
        [ControlMessage::Flushed { epoch: 2, .. }]
    ));
}

#[test]
fn a_segment_is_done_with_its_last_line() {
    let mut fixture = storied();
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(4, 1, 0, 2, &[]);
    fixture.settle(4, &[1]);
    fixture.turn();
    assert!(
        !fixture
            .fed
            .iter()
            .any(|message| matches!(message, ReaderMessage::SegmentDone { .. }))
    );
    assert_eq!(
        (
            fixture.counts().in_flight_records,
            fixture.counts().in_flight_bytes
        ),
        (1, 20)
    );
    fixture.settle(4, &[0]);
    fixture.turn();
    assert!(fixture.fed.iter().any(|message| matches!(
        message,
        ReaderMessage::SegmentDone {
            done: SegmentDone {
                lines: 2,
                bytes: 20,
                ..
            },
            epoch: 0,
            ..
        }
    )));
    assert_eq!(
        (
            fixture.counts().in_flight_records,
            fixture.counts().settled_bytes
        ),
        (0, 20)
    );
}

#[test]
fn the_end_writes_what_there_is_and_says_so() {
    let mut fixture = storied();
    fixture.settings.checkpoint_interval = Duration::from_secs(3600);
    fixture.send(CheckpointerMessage::Settings(fixture.settings.clone()));
    fixture.pass(1);
    tell_story(&mut fixture);
    fixture.send(CheckpointerMessage::Stop);
    fixture.settle(2, &[0]);
    assert_eq!(fixture.turn(), Turn::Done);
    assert!(matches!(
        fixture.told.last(),
        Some(ControlMessage::CheckpointerDone)
    ));
    fixture.disk.crash(Crash::LosesAll);
    fixture.restart();
    assert_eq!(
        settled_lines(&fixture.plan().unwrap()).len(),
        STORY.len() + 1,
        "also what came behind the word to end"
    );
}

#[test]
fn a_shorter_checkpoint_interval_holds_at_once() {
    let mut fixture = storied();
    fixture.settings.checkpoint_interval = Duration::from_secs(3600);
    fixture.send(CheckpointerMessage::Settings(fixture.settings.clone()));
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(0, 1, 0, 10, &[]);
    fixture.settle(0, &[0]);
    fixture.pass(10);
    fixture.settle(0, &[1]);
    fixture.pass(10);
    assert_eq!(fixture.counts().durable_settled, 1);
    fixture.settings.checkpoint_interval = Duration::from_secs(1);
    fixture.send(CheckpointerMessage::Settings(fixture.settings.clone()));
    fixture.turn();
    fixture.pass(1);
    assert_eq!(fixture.counts().durable_settled, 2);
}

impl Fixture {
    /// A worker asks for a checkpoint.
    fn ask_for_checkpoint(&mut self) {
        let message = BackendMessage::Checkpoint { worker: 0 };
        self.tell(message);
        self.turn();
    }

    /// Whether the worker has got its answer.
    fn has_answered(&self) -> bool {
        let answer = self.links.mailboxes.workers[0].receive();
        assert!(answer.is_none() || self.links.mailboxes.workers[0].receive().is_none());
        matches!(
            answer,
            Some(WorkerMessage::CheckpointDurable { backend: B })
        )
    }
}

/// A log of ten lines of which one is settled and durable, and another only settled.
fn settled_since() -> Fixture {
    let mut fixture = storied();
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(0, 1, 0, 10, &[]);
    fixture.settle(0, &[0]);
    fixture.turn();
    fixture.pass(1);
    fixture.settle(0, &[1]);
    fixture.turn();
    assert_eq!(fixture.counts().durable_settled, 1);
    fixture
}

#[test]
fn a_worker_that_asks_for_a_checkpoint_hears_when_it_is_durable() {
    let mut fixture = settled_since();
    fixture.disk.set_chains_wait(true);
    fixture.ask_for_checkpoint();
    let begun = fixture.disk.chains_under_way();
    assert_eq!(begun.len(), 1, "at once");
    assert!(!fixture.has_answered(), "it is not durable yet");
    // What is settled now is not in it: whoever asks behind that waits for the next one.
    fixture.settle(0, &[2]);
    fixture.ask_for_checkpoint();
    while !fixture.disk.step_chain(begun[0]) {}
    fixture.turn();
    assert!(fixture.has_answered());
    assert_eq!(fixture.counts().durable_settled, 2);
    let next = fixture.disk.chains_under_way();
    assert_eq!(next.len(), 1, "it comes at once, too");
    while !fixture.disk.step_chain(next[0]) {}
    fixture.turn();
    assert!(fixture.has_answered());
    assert_eq!(fixture.counts().durable_settled, 3);
    fixture.ask_for_checkpoint();
    assert!(fixture.has_answered(), "there is nothing to write");
}

#[test]
fn what_waits_for_a_rejected_line_is_in_the_checkpoint_that_a_worker_asks_for() {
    let mut fixture = settled_since();
    fixture.pass(2);
    fixture.disk.set_chains_wait(true);
    fixture.reject(0, 2);
    fixture.settle(0, &[3]);
    fixture.ask_for_checkpoint();
    assert!(!fixture.has_answered());
    let begun = fixture.disk.chains_under_way();
    while !fixture.disk.step_chain(begun[0]) {}
    fixture.turn();
    assert!(fixture.has_answered());
    assert_eq!(fixture.counts().durable_settled, 4);
}

/// Records go on, as they do without a checkpoint.
#[test]
fn a_worker_is_not_held_up_while_no_checkpoint_can_be_written() {
    let mut fixture = settled_since();
    let op = Op::Write(Area::State);
    fixture.disk.fail(op, ErrorKind::StorageFull, 0, u32::MAX);
    fixture.ask_for_checkpoint();
    assert!(fixture.has_answered());
    assert_eq!(fixture.counts().durable_settled, 1);
    fixture.ask_for_checkpoint();
    assert!(fixture.has_answered());
}

#[test]
fn the_end_comes_although_the_disk_is_full() {
    let mut fixture = storied();
    tell_story(&mut fixture);
    fixture
        .disk
        .fail(Op::Write(Area::State), ErrorKind::StorageFull, 0, u32::MAX);
    fixture.settle(2, &[0]);
    fixture.send(CheckpointerMessage::Stop);
    assert_eq!(fixture.turn(), Turn::Done);
    assert!(fixture.has_fault());
}

#[test]
fn the_end_uses_the_room_that_is_kept_aside() {
    const SECOND: &str = "127.0.0.1:9999";
    for waits in [false, true] {
        let disk = TestDisk::default();
        disk.keep_spare();
        let mut fixture = Fixture::new(disk);
        // Both find the disk full, and one of them makes room.
        fixture.add_backend(OTHER, SECOND);
        fixture.write_log(LOG, 10);
        fixture.open(1, LOG, FileStart::New);
        fixture.segment(0, 1, 0, 10, &[]);
        fixture.pass(3);
        assert!(fixture.disk.spare_bytes() > 0);
        fixture.disk.set_chains_wait(waits);
        fixture.settle(0, &[0, 1, 2]);
        fixture.send(CheckpointerMessage::Of(
            OTHER,
            BackendMessage::FileOpened(FileOpened {
                file: FileId(2),
                name: LOG.into(),
                identity: fixture.identity(LOG),
                start: FileStart::New,
            }),
        ));
        fixture
            .disk
            .fail(Op::Write(Area::State), ErrorKind::StorageFull, 0, u32::MAX);
        fixture.send(CheckpointerMessage::Stop);
        fixture.turn();
        fixture.step_to_end();
        assert_eq!(fixture.turn(), Turn::Done);
        assert!(!fixture.has_fault(), "{waits}");
        assert_eq!(fixture.disk.spare_bytes(), 0, "{waits}");
        assert!(
            fixture.disk.state(SECOND, "checkpoint").is_some(),
            "{waits}"
        );
        fixture.disk.crash(Crash::LosesAll);
        fixture.restart();
        assert_eq!(fixture.counts().settled, 3, "{waits}");
    }
}

#[test]
fn one_backends_fault_is_not_anothers() {
    let mut fixture = storied();
    fixture.add_backend(OTHER, "127.0.0.1:9999");
    fixture
        .disk
        .fail(Op::Append(Area::State), ErrorKind::StorageFull, 0, u32::MAX);
    tell_story(&mut fixture);
    fixture.pass(5);
    let paused: Vec<BackendId> = fixture
        .fed
        .iter()
        .filter_map(|message| {
            if let ReaderMessage::StorePaused { backend, .. } = message {
                Some(*backend)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(paused, [B]);
    assert_eq!(
        fixture.counts().settled,
        2,
        "what was settled before the first line that cannot be rejected"
    );
}

#[test]
fn a_plan_says_what_was_sent_without_an_answer_and_the_next_one_too_until_it_is_settled() {
    let mut fixture = storied();
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(0, 1, 0, 10, &[]);
    fixture.settle(0, &[0, 1, 3]);
    let flush = |fixture: &mut Fixture, epoch, sent: &[(u64, u32)]| {
        fixture.tell(BackendMessage::Flush { epoch });
        for component in [
            Component::LogReader,
            Component::Worker(0),
            Component::Worker(1),
        ] {
            let sent = if component == Component::Worker(1) {
                sent
            } else {
                &[]
            };
            let sent = sent
                .iter()
                .map(|&(segment, line)| (SegmentId(segment), line));
            fixture.tell(BackendMessage::Flushed {
                epoch,
                component,
                sent: sent.collect(),
            });
        }
        fixture.turn();
        let plan = fixture.plan().expect("everybody has let go");
        plan.files[0].sent.iter().collect::<Vec<u64>>()
    };
    assert_eq!(flush(&mut fixture, 1, &[(0, 2), (0, 5)]), [2, 5]);
    // In the next epoch one of them is settled before it is sent again, and another line is sent.
    fixture.open(2, LOG, FileStart::Resumed(0));
    fixture.segment(1, 2, 0, 10, &[0, 1, 3]);
    fixture.settle(1, &[2]);
    assert_eq!(flush(&mut fixture, 2, &[(1, 6)]), [5, 6]);
    // One that ends before anything of it was fed.
    assert_eq!(flush(&mut fixture, 3, &[]), [5, 6]);
    fixture.restart();
    fixture.turn();
    let plan = fixture.plan().expect("the first plan");
    assert!(plan.files.iter().all(|file| file.sent.is_empty()));
}
