//! What a keeper finds at its start.

use std::io::ErrorKind;

use super::rig::{LOG, NAME, Rig, settled_lines};
use crate::ledger::legacy;
use crate::replay::messages::FileStart;
use crate::replay::testdisk::{Op, TestDisk};

const STATUS: &str = LOG;

/// A status file of the original's: five lines read, the first two and the fourth synced.
fn with_legacy() -> TestDisk {
    let disk = TestDisk::default();
    let mut status = vec![b'0'; legacy::STATUS_BYTES];
    status[..4].copy_from_slice(&50_u32.to_le_bytes());
    status[4..8].copy_from_slice(&5_u32.to_le_bytes());
    for line in [0, 1, 3] {
        status[9_999_999 - line] = b'1';
    }
    disk.put_state(NAME, STATUS, &status);
    let totals = [100_u64.to_le_bytes(), 90_u64.to_le_bytes()].concat();
    disk.put_state(NAME, legacy::TOTALS_NAME, &totals);
    disk.put_state(NAME, "notes.txt", b"an operator's");
    disk
}

#[test]
fn a_new_backend_starts_with_nothing() {
    let mut rig = Rig::new(TestDisk::default());
    let plan = rig.plan().unwrap();
    assert_eq!((plan.files.len(), plan.legacy.len()), (0, 0));
    assert!(
        rig.disk.state(NAME, "checkpoint").is_some(),
        "and shows at once that state can be written"
    );
}

#[test]
fn a_corrupt_checkpoint_is_not_trusted_and_does_not_stop_the_start() {
    let mut rig = Rig::new(TestDisk::default());
    rig.write_log(LOG, 3);
    rig.open(1, LOG, FileStart::New);
    rig.segment(0, 1, 0, 3, &[]);
    rig.settle(0, &[0]);
    rig.pass(2);
    let good = rig.disk.state(NAME, "checkpoint").unwrap();
    for at in [0, 10, 40, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        rig.disk.put_state(NAME, "checkpoint", &bad);
        rig.restart();
        assert_eq!(rig.plan().unwrap().files, []);
        assert!(!rig.has_fault());
    }
    rig.disk.put_state(NAME, "checkpoint", &good);
    rig.disk
        .put_state(NAME, "checkpoint.new", b"half of the next");
    rig.restart();
    assert_eq!(settled_lines(&rig.plan().unwrap()), [0]);
    assert_eq!(rig.disk.state(NAME, "checkpoint.new"), None);
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_given_up_unless_reading_is_forbidden() {
    for (kind, gives_up) in [
        (ErrorKind::Other, true),
        (ErrorKind::PermissionDenied, false),
    ] {
        let mut rig = Rig::new(TestDisk::default());
        rig.write_log(LOG, 1);
        rig.open(1, LOG, FileStart::New);
        rig.pass(2);
        rig.disk.fail(Op::ReadState, kind, 0, u32::MAX);
        rig.restart();
        assert!(
            rig.plan().is_none() && rig.is_paused(),
            "it may go well the next time"
        );
        rig.pass(60);
        let plan = rig.plan();
        assert_eq!(
            plan.is_some_and(|plan| plan.files.is_empty()),
            gives_up,
            "{kind}"
        );
        rig.disk.mend();
        rig.pass(10);
        assert!(!rig.is_paused());
        assert_eq!(
            rig.plan().map(|plan| plan.files.len()),
            (!gives_up).then_some(1),
            "{kind}"
        );
    }
}

#[test]
fn what_the_original_left_is_taken_over_once_and_counts_each_record_once() {
    let mut rig = Rig::new(with_legacy());
    let plan = rig.plan().unwrap();
    assert_eq!(plan.legacy.len(), 1);
    assert_eq!(
        (
            plan.legacy[0].line,
            plan.legacy[0].lines_read,
            plan.legacy[0].bytes_read
        ),
        (2, 5, 50)
    );
    assert_eq!((rig.counts().processed, rig.counts().settled), (100, 89));
    assert_eq!(rig.disk.state(NAME, STATUS), None, "our checkpoint has it");
    assert_eq!(rig.disk.state(NAME, legacy::TOTALS_NAME), None);
    assert!(rig.disk.state(NAME, "notes.txt").is_some());
    rig.restart();
    assert_eq!(
        rig.plan().unwrap().legacy.len(),
        1,
        "also before its log has been opened"
    );
    rig.write_log(LOG, 6);
    rig.open(1, LOG, FileStart::Legacy(0));
    rig.segment(0, 1, 0, 6, &[0, 1]);
    rig.settle(0, &[2, 3, 4, 5]);
    rig.turn();
    assert_eq!((rig.counts().processed, rig.counts().settled), (101, 93));
    rig.pass(2);
    rig.restart();
    assert_eq!(settled_lines(&rig.plan().unwrap()).len(), 6);
    assert_eq!((rig.counts().processed, rig.counts().settled), (101, 93));
}

#[test]
fn the_originals_files_stay_until_our_checkpoint_is_durable() {
    let disk = with_legacy();
    disk.fail(Op::SyncStateFolder, ErrorKind::Other, 0, u32::MAX);
    let mut rig = Rig::new(disk);
    rig.pass(5);
    assert!(rig.disk.state(NAME, STATUS).is_some());
    rig.disk.mend();
    rig.pass(10);
    assert_eq!(rig.disk.state(NAME, STATUS), None);
}
