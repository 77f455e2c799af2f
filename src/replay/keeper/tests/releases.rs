//! Deleting finished logs (G10).

use std::collections::BTreeMap;
use std::io::ErrorKind;

use super::rig::{B, LOG, NAME, Rig};
use crate::ledger::checkpoint::Checkpoint;
use crate::limits::REJECTED_WRITE_BYTES_MAX;
use crate::replay::messages::{FeederMail, FileId, FileStart, KeeperMail, ResumePlan};
use crate::replay::testdisk::{Crash, Op, TestDisk};

const NEXT: &str = "2026-11-22-16-41.log";

/// A log of four lines, all settled but those of `open`.
fn rig(open: &[u32]) -> Rig {
    let mut rig = Rig::new(TestDisk::default());
    rig.write_log(LOG, 4);
    rig.open(1, LOG, FileStart::New);
    rig.segment(0, 1, 0, 4, &[]);
    let settled: Vec<u32> = (0..4).filter(|line| !open.contains(line)).collect();
    rig.settle(0, &settled);
    rig.turn();
    rig
}

fn is_there(rig: &Rig, name: &str) -> bool {
    rig.disk.log(NAME, name).is_some()
}

fn checkpointed(rig: &Rig) -> ResumePlan {
    Checkpoint::decode(&rig.disk.state(NAME, "checkpoint").unwrap())
        .unwrap()
        .resume
}

/// The feeder answers what it was told.
fn feeder_lets_go(rig: &mut Rig) {
    let deleted = |mail| {
        if let FeederMail::FileDeleted { file, .. } = mail {
            Some(file)
        } else {
            None
        }
    };
    let files: Vec<FileId> = std::mem::take(&mut rig.fed)
        .into_iter()
        .filter_map(deleted)
        .collect();
    assert!(!files.is_empty(), "the feeder was told");
    for file in files {
        rig.send(KeeperMail::FileGone { backend: B, file });
    }
    rig.turn();
}

#[test]
fn a_finished_log_goes_after_the_grace_period_and_then_its_entry() {
    let mut rig = rig(&[]);
    rig.pass(79);
    assert!(is_there(&rig, LOG), "it may still be written to");
    rig.pass(10);
    assert!(!is_there(&rig, LOG));
    feeder_lets_go(&mut rig);
    rig.pass(10);
    assert_eq!(checkpointed(&rig).files, []);
    assert_eq!(
        (
            rig.counts().processed,
            rig.counts().settled,
            rig.counts().rejected
        ),
        (4, 4, 0)
    );
}

#[test]
fn a_log_with_an_unsettled_line_stays() {
    let mut rig = rig(&[2]);
    rig.pass(300);
    assert!(is_there(&rig, LOG));
}

#[test]
fn a_log_that_has_more_than_was_read_stays() {
    let mut rig = rig(&[]);
    rig.write_log(LOG, 1);
    rig.pass(300);
    assert!(is_there(&rig, LOG));
}

/// How many finished logs stay, as told.
fn kept(rig: &Rig) -> u64 {
    rig.counts().logs_kept
}

#[test]
fn a_log_that_somebody_has_open_for_writing_stays_until_it_is_closed() {
    let mut rig = rig(&[]);
    rig.disk.set_writer(NAME, LOG, true);
    rig.pass(300);
    assert!(is_there(&rig, LOG));
    assert_eq!(kept(&rig), 1, "it is told that it stays");
    rig.disk.set_writer(NAME, LOG, false);
    rig.pass(6);
    assert!(!is_there(&rig, LOG));
    assert_eq!(kept(&rig), 0);
}

#[test]
fn a_log_that_grew_between_the_look_and_the_claim_stays() {
    let mut rig = rig(&[]);
    rig.disk.append_before_claim(b"late line\n");
    rig.pass(300);
    assert_eq!(rig.disk.log(NAME, LOG).unwrap().len(), 50);
}

#[test]
fn without_leases_the_grace_period_protects() {
    let mut rig = rig(&[]);
    rig.disk.set_leases(false);
    rig.pass(79);
    assert!(is_there(&rig, LOG));
    rig.pass(10);
    assert!(!is_there(&rig, LOG));
}

#[test]
fn a_log_stays_while_no_checkpoint_says_that_it_is_settled() {
    let mut rig = rig(&[3]);
    rig.pass(10);
    rig.disk
        .fail(Op::RenameState, ErrorKind::StorageFull, 0, u32::MAX);
    rig.settle(0, &[3]);
    rig.pass(300);
    assert!(is_there(&rig, LOG));
    rig.disk.mend();
    rig.pass(20);
    assert!(!is_there(&rig, LOG));
}

#[test]
fn a_log_of_the_future_goes_when_it_was_seen_to_be_quiet() {
    let mut rig = Rig::new(TestDisk::default());
    rig.disk.set_time(rig.now.unix + 1_000_000);
    rig.write_log(LOG, 1);
    rig.open(1, LOG, FileStart::New);
    rig.segment(0, 1, 0, 1, &[]);
    rig.settle(0, &[0]);
    rig.pass(75);
    assert!(is_there(&rig, LOG));
    rig.pass(20);
    assert!(!is_there(&rig, LOG));
}

#[test]
fn a_log_under_another_files_name_stays() {
    let mut rig = rig(&[]);
    rig.disk.remove_log(NAME, LOG);
    rig.write_log(LOG, 4);
    rig.pass(300);
    assert!(
        is_there(&rig, LOG),
        "as long, as old, but not the file that was settled"
    );
}

#[test]
fn logs_go_in_their_order() {
    let mut rig = rig(&[1]);
    rig.write_log(NEXT, 1);
    rig.open(2, NEXT, FileStart::New);
    rig.segment(1, 2, 0, 1, &[]);
    rig.settle(1, &[0]);
    rig.pass(300);
    assert!(
        is_there(&rig, NEXT),
        "what is deleted is the front of the log"
    );
    rig.settle(0, &[1]);
    rig.pass(10);
    assert!(!is_there(&rig, LOG) && !is_there(&rig, NEXT));
}

#[test]
fn a_log_that_cannot_be_deleted_is_tried_again_and_pauses_nothing() {
    let mut rig = rig(&[]);
    rig.disk
        .fail(Op::DeleteLog, ErrorKind::PermissionDenied, 0, 3);
    rig.pass(94);
    assert!(is_there(&rig, LOG) && !rig.is_paused());
    rig.pass(10);
    assert!(!is_there(&rig, LOG));
}

#[test]
fn lines_written_to_a_deleted_log_are_set_aside() {
    let mut rig = rig(&[]);
    let meta = rig.disk.meta_of(NAME, LOG).unwrap();
    rig.pass(90);
    assert!(!is_there(&rig, LOG));
    rig.disk.append_unlinked(&meta, b"late line\ntorn");
    feeder_lets_go(&mut rig);
    rig.disk.fail(Op::AppendState, ErrorKind::StorageFull, 0, 1);
    rig.pass(15);
    let late: Vec<_> = rig
        .rejected()
        .into_iter()
        .map(|line| (line.line, line.byte, line.raw, line.reason))
        .collect();
    let reason = || "written_after_deletion".to_owned();
    assert_eq!(
        late,
        [
            (5, Some(40), b"late line".to_vec(), reason()),
            (6, Some(50), b"torn".to_vec(), reason())
        ]
    );
    assert_eq!(
        (
            rig.counts().processed,
            rig.counts().settled,
            rig.counts().rejected
        ),
        (6, 6, 2)
    );
}

/// A log of four lines and a torn one, which is a line like any other once its log is closed.
fn torn_rig() -> Rig {
    let mut rig = rig(&[]);
    rig.disk.append_log(NAME, LOG, b"torn here!");
    rig.segment(1, 1, 4, 1, &[]);
    rig.settle(1, &[0]);
    rig.turn();
    rig
}

#[test]
fn the_rest_of_a_line_that_was_settled_torn_is_set_aside_and_is_no_other_line() {
    let mut rig = torn_rig();
    let meta = rig.disk.meta_of(NAME, LOG).unwrap();
    rig.pass(90);
    assert!(!is_there(&rig, LOG));
    rig.disk.append_unlinked(&meta, b" rest\nlate line\n");
    feeder_lets_go(&mut rig);
    rig.pass(15);
    let late: Vec<_> = rig
        .rejected()
        .into_iter()
        .map(|line| (line.line, line.byte, line.raw))
        .collect();
    assert_eq!(
        late,
        [
            (5, Some(50), b" rest".to_vec()),
            (6, Some(56), b"late line".to_vec())
        ]
    );
    let counts = rig.counts();
    assert_eq!(
        (counts.processed, counts.settled, counts.rejected),
        (6, 6, 1)
    );
}

/// What comes to a deleted log in any pieces, with lines longer than what is written at once, and with writes that
/// fail in between, counts each line once and loses no byte.
#[test]
fn each_late_line_counts_once_however_long_and_torn() {
    for seed in 0..16 {
        let mut random = fastrand::Rng::with_seed(seed);
        let is_torn = random.bool();
        let mut rig = if is_torn { torn_rig() } else { rig(&[]) };
        let meta = rig.disk.meta_of(NAME, LOG).unwrap();
        rig.pass(90);
        assert!(!is_there(&rig, LOG));
        let mut late = Vec::new();
        for _ in 0..random.usize(1..5) {
            let bytes = match random.u8(..4) {
                0 => REJECTED_WRITE_BYTES_MAX + random.usize(..3) - 1,
                1 => 2 * REJECTED_WRITE_BYTES_MAX + random.usize(..100),
                _ => random.usize(1..30),
            };
            late.resize(late.len() + bytes, b'a' + random.u8(..26));
            late.push(b'\n');
        }
        if random.bool() {
            late.pop();
        }
        rig.disk.append_unlinked(&meta, &late);
        feeder_lets_go(&mut rig);
        let spared = random.u32(..3);
        rig.disk
            .fail(Op::AppendState, ErrorKind::StorageFull, spared, 1);
        rig.pass(30);
        let lines = late.strip_suffix(b"\n").unwrap_or(&late);
        let lines: Vec<&[u8]> = lines.split(|&byte| byte == b'\n').collect();
        let mut found: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for piece in rig.rejected() {
            found.entry(piece.line).or_default().extend(piece.raw);
        }
        let expected: BTreeMap<u64, Vec<u8>> =
            (5..).zip(lines.iter().map(|line| line.to_vec())).collect();
        assert!(found == expected, "seed {seed}: {:?}", found.keys());
        let before = if is_torn { 5 } else { 4 };
        let new = lines.len() as u64 - u64::from(is_torn);
        let counts = rig.counts();
        assert_eq!(
            (counts.processed, counts.settled, counts.rejected),
            (before + new, before + new, new),
            "seed {seed}"
        );
    }
}

#[test]
fn what_the_feeder_read_of_a_deleted_log_is_delivered_and_what_a_flush_cuts_off_is_set_aside() {
    let mut rig = rig(&[]);
    let meta = rig.disk.meta_of(NAME, LOG).unwrap();
    rig.pass(90);
    rig.disk
        .append_unlinked(&meta, b"late line\nlate line\nlate line\n");
    rig.segment(1, 1, 4, 2, &[]);
    rig.settle(1, &[1]);
    feeder_lets_go(&mut rig);
    rig.pass(20);
    assert_eq!(rig.counts().settled, 5, "one line is on its way");
    rig.flush(1);
    rig.pass(20);
    assert_eq!(rig.plan().unwrap().files, [], "its name leads nowhere");
    let late: Vec<u64> = rig.rejected().iter().map(|line| line.line).collect();
    assert_eq!(late, [5, 7], "line 6 was delivered");
    assert_eq!((rig.counts().processed, rig.counts().settled), (7, 7));
}

#[test]
fn a_deleted_log_that_comes_back_in_a_crash_is_not_sent_again() {
    for passed in [0, 10] {
        let mut rig = rig(&[]);
        rig.pass(90);
        if passed > 0 {
            feeder_lets_go(&mut rig);
            rig.pass(passed);
        }
        rig.disk.crash(Crash::LosesAll);
        rig.restart();
        let plan = rig.plan().unwrap();
        if is_there(&rig, LOG) {
            assert_eq!(plan.files[0].byte, 40, "all of it is known to be settled");
        } else {
            assert!(passed > 0);
            assert_eq!(plan.files, []);
        }
    }
}

#[test]
fn an_entry_stays_while_its_logs_name_is_not_durably_gone() {
    let mut rig = rig(&[]);
    rig.pass(90);
    rig.disk
        .fail(Op::SyncLogFolder, ErrorKind::Other, 0, u32::MAX);
    feeder_lets_go(&mut rig);
    rig.pass(10);
    assert!(rig.is_paused());
    assert_eq!(checkpointed(&rig).files.len(), 1);
    rig.disk.mend();
    rig.pass(10);
    assert_eq!(checkpointed(&rig).files, []);
}

#[test]
fn entries_that_the_feeder_forgets_are_dropped_and_the_others_kept() {
    let mut rig = rig(&[2]);
    rig.write_log(NEXT, 1);
    rig.open(2, NEXT, FileStart::New);
    rig.pass(2);
    rig.restart();
    let files = rig.plan().unwrap().files;
    assert_eq!(files.len(), 2);
    let gone = files.iter().position(|file| &*file.name == NEXT);
    rig.send(KeeperMail::EntriesForgotten {
        backend: B,
        files: vec![gone.unwrap()],
        legacy: vec![],
    });
    rig.pass(2);
    let names: Vec<_> = checkpointed(&rig)
        .files
        .iter()
        .map(|file| file.name.to_string())
        .collect();
    assert_eq!(names, [LOG]);
}

/// Two logs, both finished.
fn two_finished() -> Rig {
    let rig = rig(&[]);
    rig.write_log(NEXT, 1);
    rig.open(2, NEXT, FileStart::New);
    rig.segment(1, 2, 0, 1, &[]);
    rig.settle(1, &[0]);
    rig
}

#[test]
fn a_log_that_cannot_go_keeps_no_other() {
    let mut rig = two_finished();
    rig.disk.set_writer(NAME, LOG, true);
    rig.pass(100);
    assert!(is_there(&rig, LOG) && !is_there(&rig, NEXT));
    let mut rig = two_finished();
    rig.disk
        .fail(Op::DeleteLog, ErrorKind::PermissionDenied, 0, 1);
    rig.pass(81);
    assert!(is_there(&rig, LOG) && !is_there(&rig, NEXT));
    assert_eq!(kept(&rig), 1);
    rig.pass(10);
    assert!(!is_there(&rig, LOG));
    assert_eq!(kept(&rig), 0);
    // One that is not there at all.
    let mut rig = two_finished();
    rig.disk.remove_log(NAME, LOG);
    rig.pass(100);
    assert!(!is_there(&rig, NEXT));
    assert_eq!(kept(&rig), 0, "what is not there does not stay");
}

#[test]
fn a_log_with_two_names_loses_both_and_is_known_until_then() {
    const SECOND: &str = "second.log";
    let mut rig = rig(&[]);
    rig.disk.link_log(NAME, LOG, SECOND);
    rig.pass(90);
    assert!(!is_there(&rig, LOG) && is_there(&rig, SECOND));
    let is_told = |mail: &FeederMail| {
        matches!(
            mail,
            FeederMail::FileDeleted {
                is_elsewhere: true,
                ..
            }
        )
    };
    assert!(rig.fed.iter().any(is_told));
    rig.pass(10);
    let files = checkpointed(&rig).files;
    assert_eq!(files.len(), 1);
    assert!(files[0].away_unix > 0 && files[0].line == 4);
    // The feeder sees the other name.
    rig.send(KeeperMail::FileMoved {
        backend: B,
        file: FileId(1),
        name: SECOND.into(),
        away_unix: 0,
    });
    rig.pass(20);
    assert!(!is_there(&rig, SECOND));
}

#[test]
fn as_many_finished_logs_go_at_once_as_may_be_kept_open() {
    let mut rig = Rig::new(TestDisk::default());
    let logs = 1200;
    for number in 0..logs {
        let name = format!("{number:05}.log");
        rig.write_log(&name, 1);
        rig.open(number + 1, &name, FileStart::New);
        rig.segment(number, number + 1, 0, 1, &[]);
        rig.settle(number, &[0]);
        if number % 100 == 0 {
            rig.turn();
        }
    }
    let left = |rig: &Rig| {
        (0..logs)
            .filter(|number| is_there(rig, &format!("{number:05}.log")))
            .count()
    };
    rig.pass(78);
    assert_eq!(left(&rig), 1200);
    for step in 0..100 {
        if rig
            .fed
            .iter()
            .any(|mail| matches!(mail, FeederMail::FileDeleted { .. }))
        {
            feeder_lets_go(&mut rig);
        }
        rig.now.monotonic += std::time::Duration::from_millis(100);
        rig.now.unix += u64::from(step % 10 == 9);
        rig.turn();
    }
    assert_eq!(left(&rig), 0, "not 256 each release_interval");
}
