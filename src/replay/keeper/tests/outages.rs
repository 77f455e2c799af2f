//! What is kept of a backend's outages.

use std::io::ErrorKind;

use super::rig::{B, NAME, Rig};
use crate::replay::messages::{ControlMail, KeeperMail};
use crate::replay::testdisk::{Crash, Op, TestDisk};

fn keep(rig: &mut Rig, bytes: &[u8]) {
    let bytes = bytes.to_vec();
    rig.send(KeeperMail::KeepOutages { backend: B, bytes });
    rig.turn();
}

fn forget(rig: &mut Rig) {
    rig.send(KeeperMail::ForgetOutages { backend: B });
    rig.turn();
}

fn forgotten(rig: &Rig) -> usize {
    let is_it = |mail: &&ControlMail| matches!(mail, ControlMail::OutagesForgotten { backend: B });
    rig.told.iter().filter(is_it).count()
}

/// What the keeper has found at its start.
fn read(rig: &Rig) -> &Result<Option<Vec<u8>>, ()> {
    let read = rig.outages.as_ref();
    read.expect("it is said when state has been read")
}

#[test]
fn what_is_kept_is_durable_and_found_at_the_next_start() {
    let mut rig = Rig::new(TestDisk::default());
    assert_eq!(*read(&rig), Ok(None));
    keep(&mut rig, b"one");
    keep(&mut rig, b"two");
    rig.disk.crash(Crash::LosesAll);
    rig.restart();
    assert_eq!(*read(&rig), Ok(Some(b"two".to_vec())));
    // The first that is read is what was forgotten.
    rig.disk.fail(Op::ReadState, ErrorKind::Other, 1, 1);
    rig.restart();
    assert_eq!(*read(&rig), Err(()), "it is no reason not to start");
}

#[test]
fn a_crash_in_the_midst_leaves_the_one_before_or_the_next() {
    for step in 1..10 {
        let mut rig = Rig::new(TestDisk::default());
        keep(&mut rig, b"one");
        rig.disk.die_at(rig.disk.steps() + step);
        keep(&mut rig, b"two");
        rig.disk.crash(Crash::LosesAll);
        rig.restart();
        let found = read(&rig).clone().unwrap().unwrap();
        assert!(found == b"one" || found == b"two", "step {step}");
    }
}

#[test]
fn that_it_is_forgotten_is_said_when_that_is_durable_and_not_before() {
    let mut rig = Rig::new(TestDisk::default());
    keep(&mut rig, b"one");
    for op in [Op::RemoveState, Op::SyncStateFolder] {
        rig.disk.fail(op, ErrorKind::Other, 0, 1);
        forget(&mut rig);
        assert_eq!(forgotten(&rig), 0);
        assert!(rig.has_fault() && rig.is_paused());
        rig.pass(10);
        assert_eq!(forgotten(&rig), 1);
        assert!(!rig.has_fault());
        rig.told.clear();
    }
    rig.disk.crash(Crash::LosesAll);
    rig.restart();
    assert_eq!(*read(&rig), Ok(None));
}

#[test]
fn what_cannot_be_kept_is_nobodys_fault() {
    let mut rig = Rig::new(TestDisk::default());
    keep(&mut rig, b"one");
    for op in [Op::WriteState, Op::SyncState, Op::RenameState] {
        rig.disk.fail(op, ErrorKind::StorageFull, 0, 1);
        keep(&mut rig, b"two");
        assert!(!rig.has_fault());
        rig.restart();
        assert_eq!(*read(&rig), Ok(Some(b"one".to_vec())));
    }
    assert!(rig.disk.state(NAME, "outages").is_some());
}
