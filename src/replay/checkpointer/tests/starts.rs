//! What a checkpointer finds at its start.

use std::io::ErrorKind;

use super::fixture::{Fixture, LOG, NAME, settled_lines};
use crate::ledger::legacy;
use crate::replay::disk::Area;
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
    let mut fixture = Fixture::new(TestDisk::default());
    let plan = fixture.plan().unwrap();
    assert_eq!((plan.files.len(), plan.legacy.len()), (0, 0));
    assert!(
        fixture.disk.state(NAME, "checkpoint").is_some(),
        "and shows at once that state can be written"
    );
}

#[test]
fn a_corrupt_checkpoint_is_not_trusted_and_does_not_stop_the_start() {
    let mut fixture = Fixture::new(TestDisk::default());
    fixture.write_log(LOG, 3);
    fixture.open(1, LOG, FileStart::New);
    fixture.segment(0, 1, 0, 3, &[]);
    fixture.settle(0, &[0]);
    fixture.pass(2);
    let good = fixture.disk.state(NAME, "checkpoint").unwrap();
    for at in [0, 10, 40, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fixture.disk.put_state(NAME, "checkpoint", &bad);
        fixture.restart();
        assert_eq!(fixture.plan().unwrap().files, []);
        assert!(!fixture.has_fault());
    }
    fixture.disk.put_state(NAME, "checkpoint", &good);
    fixture
        .disk
        .put_state(NAME, "checkpoint.new", b"half of the next");
    fixture.restart();
    assert_eq!(settled_lines(&fixture.plan().unwrap()), [0]);
    assert_eq!(fixture.disk.state(NAME, "checkpoint.new"), None);
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_given_up_unless_reading_is_forbidden() {
    for (kind, gives_up) in [
        (ErrorKind::Other, true),
        (ErrorKind::PermissionDenied, false),
    ] {
        let mut fixture = Fixture::new(TestDisk::default());
        fixture.write_log(LOG, 1);
        fixture.open(1, LOG, FileStart::New);
        fixture.pass(2);
        fixture.disk.fail(Op::Read(Area::State), kind, 0, u32::MAX);
        fixture.restart();
        assert!(
            fixture.plan().is_none() && fixture.is_paused(),
            "it may go well the next time"
        );
        fixture.pass(60);
        let plan = fixture.plan();
        assert_eq!(
            plan.is_some_and(|plan| plan.files.is_empty()),
            gives_up,
            "{kind}"
        );
        fixture.disk.mend();
        fixture.pass(10);
        assert!(!fixture.is_paused());
        assert_eq!(
            fixture.plan().map(|plan| plan.files.len()),
            (!gives_up).then_some(1),
            "{kind}"
        );
    }
}

#[test]
fn what_the_original_left_is_taken_over_once_and_counts_each_record_once() {
    let mut fixture = Fixture::new(with_legacy());
    let plan = fixture.plan().unwrap();
    assert_eq!(plan.legacy.len(), 1);
    assert_eq!(
        (
            plan.legacy[0].line,
            plan.legacy[0].lines_read,
            plan.legacy[0].bytes_read
        ),
        (2, 5, 50)
    );
    assert_eq!(
        (fixture.counts().processed, fixture.counts().settled),
        (100, 89)
    );
    assert_eq!(
        fixture.disk.state(NAME, STATUS),
        None,
        "our checkpoint has it"
    );
    assert_eq!(fixture.disk.state(NAME, legacy::TOTALS_NAME), None);
    assert!(fixture.disk.state(NAME, "notes.txt").is_some());
    fixture.restart();
    assert_eq!(
        fixture.plan().unwrap().legacy.len(),
        1,
        "also before its log has been opened"
    );
    fixture.write_log(LOG, 6);
    fixture.open(1, LOG, FileStart::Legacy(0));
    fixture.segment(0, 1, 0, 6, &[0, 1]);
    fixture.settle(0, &[2, 3, 4, 5]);
    fixture.turn();
    assert_eq!(
        (fixture.counts().processed, fixture.counts().settled),
        (101, 93)
    );
    fixture.pass(2);
    fixture.restart();
    assert_eq!(settled_lines(&fixture.plan().unwrap()).len(), 6);
    assert_eq!(
        (fixture.counts().processed, fixture.counts().settled),
        (101, 93)
    );
}

#[test]
fn the_originals_files_stay_until_our_checkpoint_is_durable() {
    let disk = with_legacy();
    disk.fail(Op::SyncFolder(Area::State), ErrorKind::Other, 0, u32::MAX);
    let mut fixture = Fixture::new(disk);
    fixture.pass(5);
    assert!(fixture.disk.state(NAME, STATUS).is_some());
    fixture.disk.mend();
    fixture.pass(10);
    assert_eq!(fixture.disk.state(NAME, STATUS), None);
}
