//! What is kept of a backend's outages.

use std::io::ErrorKind;

use super::fixture::{B, Fixture, NAME};
use crate::replay::disk::Area;
use crate::replay::messages::{BackendMessage, ControlMessage};
use crate::replay::testdisk::{Crash, Op, TestDisk};

fn keep(fixture: &mut Fixture, bytes: &[u8]) {
    let bytes = bytes.to_vec();
    fixture.tell(BackendMessage::KeepOutages { bytes });
    fixture.turn();
}

fn forget(fixture: &mut Fixture) {
    fixture.tell(BackendMessage::ForgetOutages);
    fixture.turn();
}

fn forgotten(fixture: &Fixture) -> usize {
    let is_it = |message: &&ControlMessage| {
        matches!(message, ControlMessage::OutagesForgotten { backend: B })
    };
    fixture.told.iter().filter(is_it).count()
}

/// What the checkpointer has found at its start.
fn read(fixture: &Fixture) -> &Result<Option<Vec<u8>>, ()> {
    let read = fixture.outages.as_ref();
    read.expect("it is said when state has been read")
}

#[test]
fn what_is_kept_is_durable_and_found_at_the_next_start() {
    let mut fixture = Fixture::new(TestDisk::default());
    assert_eq!(*read(&fixture), Ok(None));
    keep(&mut fixture, b"one\n");
    keep(&mut fixture, b"two\n");
    fixture.disk.crash(Crash::LosesAll);
    fixture.restart();
    assert_eq!(*read(&fixture), Ok(Some(b"two\n".to_vec())));
    fixture
        .disk
        .fail(Op::Read(Area::State), ErrorKind::Other, 0, 1);
    fixture.restart();
    assert_eq!(*read(&fixture), Err(()), "it is no reason not to start");
}

/// A server that has sent since is given back a state from before.
#[test]
fn a_copy_is_not_believed_and_is_removed_before_anything_is_sent() {
    let mut fixture = Fixture::new(TestDisk::default());
    keep(&mut fixture, b"one\n");
    let copy = fixture.disk.state(NAME, "outages").unwrap();
    forget(&mut fixture);
    fixture.disk.put_state(NAME, "outages", &copy);
    fixture.restart();
    assert_eq!(*read(&fixture), Err(()));
    forget(&mut fixture);
    assert_eq!(fixture.disk.state(NAME, "outages"), None);
}

#[test]
fn a_crash_in_the_midst_leaves_the_one_before_or_the_next() {
    for step in 1..10 {
        let mut fixture = Fixture::new(TestDisk::default());
        keep(&mut fixture, b"one\n");
        fixture.disk.die_at(fixture.disk.steps() + step);
        keep(&mut fixture, b"two\n");
        fixture.disk.crash(Crash::LosesAll);
        fixture.restart();
        let found = read(&fixture).clone().unwrap().unwrap();
        assert!(found == b"one\n" || found == b"two\n", "step {step}");
    }
}

#[test]
fn that_it_is_forgotten_is_said_when_that_is_durable_and_not_before() {
    let mut fixture = Fixture::new(TestDisk::default());
    keep(&mut fixture, b"one\n");
    for op in [Op::Remove(Area::State), Op::SyncFolder(Area::State)] {
        fixture.disk.fail(op, ErrorKind::Other, 0, 1);
        forget(&mut fixture);
        assert_eq!(forgotten(&fixture), 0);
        assert!(fixture.has_fault() && fixture.is_paused());
        fixture.pass(10);
        assert_eq!(forgotten(&fixture), 1);
        assert!(!fixture.has_fault());
        fixture.told.clear();
    }
    fixture.disk.crash(Crash::LosesAll);
    fixture.restart();
    assert_eq!(*read(&fixture), Ok(None));
}

#[test]
fn what_cannot_be_kept_is_probe_record_fault() {
    let mut fixture = Fixture::new(TestDisk::default());
    keep(&mut fixture, b"one\n");
    for op in [
        Op::Write(Area::State),
        Op::Sync(Area::State),
        Op::Rename(Area::State),
    ] {
        fixture.disk.fail(op, ErrorKind::StorageFull, 0, 1);
        keep(&mut fixture, b"two\n");
        assert!(!fixture.has_fault());
        fixture.restart();
        assert_eq!(*read(&fixture), Ok(Some(b"one\n".to_vec())));
    }
    assert!(fixture.disk.state(NAME, "outages").is_some());
}
