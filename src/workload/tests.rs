//! What the made-up logs hold, and that they are what they say.

use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::binlog::Record;
use crate::fake_hustdb::{Space, differences};

const NOW: u64 = 1_795_365_584;

/// Writes the workload and replays what was written, line by line: the backend must end as the
/// healthy master did. Gives the log.
#[track_caller]
fn check(workload: &Workload) -> Vec<Vec<u8>> {
    let logs = tempfile::tempdir().unwrap();
    let written = workload.write(logs.path(), "h:1").unwrap();
    let mut replayed = Replayed::new("h:1", 4096);
    let mut lines = Vec::new();
    for file in &written.files {
        let text = fs::read(file).unwrap();
        assert_eq!(text.last(), Some(&b'\n'));
        lines.extend(
            text.split_inclusive(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec),
        );
    }
    for line in &lines {
        with_record(line, |record| assert!(replayed.apply(record, 0, NOW)));
    }
    assert_eq!(lines.len() as u64, workload.records);
    assert_eq!(
        lines.iter().map(|line| line.len() as u64).sum::<u64>(),
        written.bytes
    );
    let expected = written.expected(NOW);
    assert_eq!(differences(&expected, &replayed.contents(NOW), 0, 20), None);
    lines
}

fn with_record<T>(line: &[u8], see: impl FnOnce(&Record<'_>) -> T) -> T {
    let mut line = line.strip_suffix(b"\n").unwrap().to_vec();
    let range = line::decode_in_place(&mut line).unwrap();
    see(&Record::parse(&line[range]).unwrap())
}

#[test]
fn a_mixed_log_leads_a_backend_to_what_the_healthy_master_holds() {
    for seed in 1..4 {
        check(&Workload {
            seed,
            ..Workload::mixed(4000, NOW)
        });
    }
}

#[test]
fn a_mixed_log_has_all_there_is() {
    let workload = Workload::mixed(4000, NOW);
    let mut methods = BTreeMap::new();
    let mut versions_max = 0;
    let (mut ended, mut ending, mut escaped, mut raw) = (0, 0, 0, 0);
    for line in check(&workload) {
        with_record(&line, |record| {
            *methods.entry(record.method).or_insert(0) += 1;
            versions_max = versions_max.max(record.version);
            match u64::from(record.expires_unix) {
                0 => {}
                expires if expires <= NOW => ended += 1,
                _ => ending += 1,
            }
            escaped += u32::from(record.key.contains(&b'%'));
            raw += u32::from(!record.key.is_ascii());
        });
    }
    assert_eq!(
        methods.into_keys().collect::<Vec<_>>(),
        Method::ALL[..8].to_vec()
    );
    assert!(versions_max > 3, "{versions_max}");
    for count in [ended, ending, escaped, raw] {
        assert!(count > 20, "{ended} {ending} {escaped} {raw}");
    }
}

#[test]
fn a_mixed_log_ends_with_keys_in_every_space_and_some_deleted() {
    let logs = tempfile::tempdir().unwrap();
    let workload = Workload::mixed(4000, NOW);
    let expected = workload.write(logs.path(), "h:1").unwrap().expected(NOW);
    for space in [Space::Kv, Space::Hash, Space::Set, Space::SortedSet] {
        let found = expected.keys().filter(|item| item.space == space).count();
        let keys = usize::try_from(workload.keys).unwrap();
        assert!(0 < found && found < keys, "{space:?}: {found} of {keys}");
    }
}

#[test]
fn a_uniform_log_writes_each_key_once() {
    let lines = check(&Workload::uniform(500, 7, NOW));
    for (number, line) in lines.iter().enumerate() {
        with_record(line, |record| {
            assert_eq!(record.key, format!("key:{number:010}").as_bytes());
            assert_eq!((record.version, record.value.len()), (1, 7));
        });
    }
}

#[test]
fn sizes_at_both_ends_are_possible() {
    check(&Workload {
        value_bytes: 1,
        ..Workload::mixed(50, NOW)
    });
    check(&Workload {
        value_bytes: 300_000,
        ..Workload::mixed(5, NOW)
    });
    check(&Workload::mixed(1, NOW));
    check(&Workload {
        minutes: 1,
        ..Workload::mixed(3, NOW)
    });
    assert!(check(&Workload::mixed(0, NOW)).is_empty());
}

#[test]
fn the_same_workload_is_the_same_bytes_and_another_seed_is_others() {
    let workload = Workload::mixed(300, NOW);
    let other = Workload {
        seed: 2,
        ..workload.clone()
    };
    assert_eq!(check(&workload), check(&workload));
    assert_ne!(check(&workload), check(&other));
}

#[test]
fn files_are_named_for_their_minute_and_as_old_as_it() {
    let logs = tempfile::tempdir().unwrap();
    let workload = Workload::mixed(100, NOW);
    let written = workload.write(logs.path(), "127.0.0.1:9998").unwrap();
    // The story begins within a minute, so it may touch one more.
    assert!((4..=5).contains(&written.files.len()));
    let mut sorted = written.files.clone();
    sorted.sort();
    assert_eq!(sorted, written.files);
    for file in &written.files {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert_eq!(name.len(), "2026-11-22-16-40.log".len());
        assert_eq!(file.parent().unwrap(), logs.path().join("127.0.0.1:9998"));
        let text = fs::read_to_string(file).unwrap();
        for line in text.lines() {
            let (day, rest) = line[1..].split_once(' ').unwrap();
            let minute = rest[..5].replace(':', "-");
            assert_eq!(format!("{day}-{minute}.log"), name);
            assert_eq!(line.split_once("] [DEBUG] | ").unwrap().0.len(), 20);
        }
        let modified = fs::metadata(file).unwrap().modified().unwrap();
        let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!(since.as_secs() + AGE_S <= NOW, "{since:?}");
    }
}
