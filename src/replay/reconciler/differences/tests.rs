//! A file of differences is read, counted and replaced, on a disk that fails and dies.

use std::collections::BTreeSet;
use std::io;

use super::*;
use crate::limits::{DIFFERENCE_LINE_BYTES_MAX, RECONCILE_READ_BYTES};
use crate::reconcile::difference::hash_of;
use crate::replay::testdisk::{Crash, Op, TestDisk};

const BACKEND: &str = "a:1";

fn now(seconds: u64) -> Now {
    Now::new(Duration::from_secs(seconds), 1_795_696_200 + seconds)
}

fn line(key: u64, unix: u64) -> (u64, Vec<u8>) {
    let difference = Difference {
        unix,
        backend: BACKEND.to_owned(),
        ..Difference::sample(&key.to_string())
    };
    let mut line = Vec::new();
    difference.encode(&mut line);
    (difference.id(), line)
}

fn settlement(id: u64, line: Option<&[u8]>) -> Vec<u8> {
    let settlement = Settlement {
        id,
        line: line.map(|line| hash_of(line.trim_ascii_end())),
        how: How::Dropped,
        unix: 0,
    };
    let mut line = Vec::new();
    settlement.encode(&mut line);
    line
}

/// The ids that a reader of the file finds left.
fn left_on(disk: &TestDisk) -> BTreeSet<u64> {
    let file = disk.state(BACKEND, FILE_NAME).unwrap_or_default();
    let mut ids = BTreeSet::new();
    let mut left = DifferencesLeft::default();
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        if let Some(line) = line.strip_suffix(b"\n") {
            left.handle_line(line);
        }
    }
    for key in 0..100 {
        ids.extend(Some(line(key, 0).0).filter(|id| left.may_have(*id)));
    }
    assert_eq!(left.count(), ids.len() as u64);
    ids
}

/// A file with ten differences, of which three are left, and what is left.
fn mostly_settled(disk: &TestDisk) -> BTreeSet<u64> {
    let mut content = b"{\"torn\n".to_vec();
    for key in 0..10 {
        let (id, older) = line(key, 1);
        content.extend_from_slice(&older);
        let (_, newer) = line(key, 2);
        content.extend_from_slice(&newer);
        // Of one that was replaced, it ends nothing.
        content.extend(settlement(id, Some(&older)));
        if key >= 3 {
            content.extend(settlement(id, Some(&newer)));
        }
    }
    disk.put_state(BACKEND, FILE_NAME, &content);
    (0..3).map(|key| line(key, 2).0).collect()
}

/// With the size from which on it is compacted.
fn differences(compact_bytes: u64) -> Differences {
    Differences {
        compact_bytes,
        ..Differences::new(BACKEND.into())
    }
}

/// Takes steps until there is nothing more to do; `between` is called before each.
fn rest(
    differences: &mut Differences,
    disk: &TestDisk,
    mut between: impl FnMut(),
) -> io::Result<()> {
    loop {
        between();
        if differences.step(&mut disk.clone(), true, now(1))? == Work::None {
            return Ok(());
        }
    }
}

#[test]
fn most_of_a_file_goes_once_it_is_settled() {
    let disk = TestDisk::default();
    let expected = mostly_settled(&disk);
    let before = disk.state(BACKEND, FILE_NAME).unwrap();
    let mut ours = differences(1);
    rest(&mut ours, &disk, || {}).unwrap();
    let after = disk.durable_state(BACKEND, FILE_NAME).unwrap();
    assert_eq!(after.iter().filter(|byte| **byte == b'\n').count(), 3);
    assert_eq!((left_on(&disk), ours.left()), (expected, 3));
    // A line that is left stays as it is, so that a settlement that names it finds it.
    let (_, newer) = line(0, 2);
    assert!(after.starts_with(&newer) && before.len() > after.len());
    assert_eq!(disk.state(BACKEND, NEXT), None);
    // What is worth it is that most of it goes.
    let steps = disk.steps();
    rest(&mut ours, &disk, || {}).unwrap();
    assert_eq!(disk.steps(), steps);
}

#[test]
fn a_small_file_and_one_of_what_is_left_stay() {
    let disk = TestDisk::default();
    mostly_settled(&disk);
    let steps = disk.steps();
    rest(&mut differences(1 << 20), &disk, || {}).unwrap();
    let mut ours = differences(1);
    while ours.step(&mut disk.clone(), false, now(1)).unwrap() != Work::None {}
    assert_eq!(disk.steps(), steps);
}

#[test]
fn a_crash_at_any_step_of_a_compaction_loses_nothing() {
    for seed in 0..20 {
        let mut step = 0;
        loop {
            let disk = TestDisk::default();
            let expected = mostly_settled(&disk);
            disk.die_at(disk.steps() + step);
            let is_done = rest(&mut differences(1), &disk, || {}).is_ok() && !disk.is_dead();
            let crash = match seed {
                0 => Crash::LosesAll,
                1 => Crash::LosesNothing,
                seed => Crash::LosesSome(seed),
            };
            disk.crash(crash);
            assert_eq!(left_on(&disk), expected, "seed {seed}, step {step}");
            // The next process ends what the last one has begun.
            rest(&mut differences(1), &disk, || {}).unwrap();
            assert_eq!(left_on(&disk), expected, "seed {seed}, step {step}");
            if is_done {
                break;
            }
            step += 1;
        }
        assert!(step > 5, "{step}");
    }
}

#[test]
fn what_is_appended_while_a_file_is_compacted_is_kept() {
    for seed in 0..200 {
        let disk = TestDisk::default();
        let mut expected = mostly_settled(&disk);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut ours = differences(1);
        let mut appends = 20;
        // As a command does, durably, or we ourselves.
        let mut append = || {
            if appends == 0 || random.bool() {
                return;
            }
            appends -= 1;
            let key = random.u64(0..12);
            let (id, newest) = line(key, random.u64(1..4));
            let appended = match random.u8(0..3) {
                0 => {
                    expected.insert(id);
                    newest
                }
                1 => {
                    expected.remove(&id);
                    settlement(id, None)
                }
                _ => settlement(id, Some(&line(99, 0).1)),
            };
            let mut disk = disk.clone();
            disk.append(Area::State, BACKEND, FILE_NAME, &appended)
                .unwrap();
            disk.sync(Area::State, BACKEND, FILE_NAME).unwrap();
        };
        rest(&mut ours, &disk, &mut append).unwrap();
        rest(&mut ours, &disk, || {}).unwrap();
        disk.crash(Crash::LosesAll);
        assert_eq!(left_on(&disk), expected, "seed {seed}");
        assert_eq!(ours.left(), expected.len() as u64, "seed {seed}");
        let kept = |key| ours.left.may_have(line(key, 0).0);
        let kept: BTreeSet<u64> = (0..12).filter(|key| kept(*key)).collect();
        let known: BTreeSet<u64> = (0..12)
            .filter(|key| expected.contains(&line(*key, 0).0))
            .collect();
        assert_eq!(kept, known, "seed {seed}");
    }
}

/// They are found one after the other, and none is left in the end.
#[test]
fn more_than_can_be_kept_are_compacted_and_their_count_falls() {
    let disk = TestDisk::default();
    let mut content = Vec::new();
    for unix in 1..4 {
        (0..10).for_each(|key| content.extend(line(key, unix).1));
    }
    disk.put_state(BACKEND, FILE_NAME, &content);
    let mut ours = Differences {
        left: DifferencesLeft::with_keys_max(3),
        ..differences(1)
    };
    rest(&mut ours, &disk, || {}).unwrap();
    assert_eq!((left_on(&disk).len(), ours.left()), (10, 10));
    // Of those beyond it is not known whether they are left, so they are taken for it.
    assert!((0..10).all(|key| ours.left.may_have(line(key, 0).0)));

    let mut disk_of_command = disk.clone();
    for key in 0..9 {
        let (id, newest) = line(key, 3);
        let settles = settlement(id, Some(&newest));
        disk_of_command
            .append(Area::State, BACKEND, FILE_NAME, &settles)
            .unwrap();
    }
    rest(&mut ours, &disk, || {}).unwrap();
    assert_eq!((left_on(&disk).len(), ours.left()), (1, 1));
    assert!(!ours.left.has_beyond());
}

#[test]
fn a_disk_without_room_leaves_the_file_and_is_tried_again_later() {
    for op in [
        Op::Write(Area::State),
        Op::Append(Area::State),
        Op::Sync(Area::State),
        Op::Rename(Area::State),
        Op::SyncFolder(Area::State),
    ] {
        let disk = TestDisk::default();
        let expected = mostly_settled(&disk);
        disk.fail(op, io::ErrorKind::StorageFull, 0, 1);
        let mut ours = differences(1);
        rest(&mut ours, &disk, || {}).unwrap();
        assert_eq!(left_on(&disk), expected, "{op:?}");
        assert_eq!(disk.state(BACKEND, NEXT), None, "{op:?}");
        assert_eq!(ours.left(), 3, "{op:?}");
        let later = now(2 + DIFFERENCES_COMPACT_RETRY.as_secs());
        while ours.step(&mut disk.clone(), true, later).unwrap() != Work::None {}
        assert_eq!((left_on(&disk), ours.left()), (expected, 3), "{op:?}");
        let lines = disk.state(BACKEND, FILE_NAME).unwrap();
        assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 3);
    }
}

#[test]
fn a_long_file_is_read_a_piece_at_a_time_and_a_line_of_no_end_is_not_kept() {
    let disk = TestDisk::default();
    let mut content = line(1, 1).1;
    content.resize(content.len() + 3 * DIFFERENCE_LINE_BYTES_MAX, b'x');
    content.push(b'\n');
    content.extend(line(2, 1).1);
    disk.put_state(BACKEND, FILE_NAME, &content);
    let mut ours = differences(u64::MAX);
    let mut steps = 1;
    // A vector doubles as it grows.
    let memory_max = 2 * (DIFFERENCE_LINE_BYTES_MAX + RECONCILE_READ_BYTES);
    while ours.step(&mut disk.clone(), true, now(1)).unwrap() == Work::Reading {
        assert!(!ours.is_read());
        assert!(ours.lines.memory_bytes() <= memory_max);
        steps += 1;
    }
    assert_eq!(steps, content.len().div_ceil(RECONCILE_READ_BYTES));
    assert!(ours.is_read());
    assert_eq!((ours.left(), ours.left.unrecognized()), (2, 1));
}

#[test]
fn where_nothing_is_compared_only_the_number_is_kept() {
    let disk = TestDisk::default();
    mostly_settled(&disk);
    let steps = disk.steps();
    let mut ours = differences(1);
    let count = |ours: &mut Differences| {
        while ours.count(&mut disk.clone()).unwrap() == Work::Reading {}
        assert_eq!(ours.left.count(), 0);
        ours.left()
    };
    assert_eq!(count(&mut ours), 3);
    let reads = disk.reads();
    assert_eq!((count(&mut ours), disk.reads()), (3, reads));
    assert_eq!(disk.steps(), steps, "nothing is written");
    let settles = settlement(line(0, 0).0, None);
    let mut command = disk.clone();
    command
        .append(Area::State, BACKEND, FILE_NAME, &settles)
        .unwrap();
    assert_eq!(count(&mut ours), 2);
    // Switched on, it is known again which they are.
    assert!(!ours.is_read());
    while ours.step(&mut disk.clone(), false, now(1)).unwrap() != Work::None {}
    assert!(ours.is_read() && ours.left.may_have(line(1, 0).0));
}
