//! An upgrade in place: what the original left is taken over, once.

use std::fs;

use hustdbsync::internals::fake_hustdb::FakeHustdb;

use crate::harness::{Home, eventually, eventually_some, fake_hustdb, value, values};
use crate::log::{line_of, put};

const STATUS_BYTES: usize = 10_000_000;
const NAME: &str = "2026-11-22-16-40.log";

/// The original's status of a log of which it has synced these lines.
fn status(bytes_read: u32, synced: &[bool]) -> Vec<u8> {
    let mut status = vec![b'0'; STATUS_BYTES];
    let lines = u32::try_from(synced.len()).unwrap();
    let ones = synced.iter().filter(|synced| **synced).count();
    status[..4].copy_from_slice(&bytes_read.to_le_bytes());
    status[4..8].copy_from_slice(&lines.to_le_bytes());
    status[8..12].copy_from_slice(&u32::try_from(ones).unwrap().to_le_bytes());
    for (line, synced) in synced.iter().enumerate() {
        if *synced {
            status[STATUS_BYTES - 1 - line] = b'1';
        }
    }
    status
}

fn totals(read: u64, synced: u64) -> Vec<u8> {
    [read.to_le_bytes(), synced.to_le_bytes()].concat()
}

/// A log of ten lines, and what the original left of it.
fn upgraded(fake_hustdb: &FakeHustdb, synced: &[bool]) -> Home {
    let home = Home::new();
    let log = home.log(&fake_hustdb.name());
    let mut text = Vec::new();
    for key in 0..10 {
        text.extend(line_of(&put(&format!("k{key}"), 1, "v")));
    }
    log.raw(&text);
    let folder = home.state(&fake_hustdb.name(), "");
    fs::create_dir_all(&folder).unwrap();
    fs::write(
        folder.join(NAME),
        status(u32::try_from(text.len()).unwrap(), synced),
    )
    .unwrap();
    let ones = synced.iter().filter(|synced| **synced).count() as u64;
    fs::write(
        folder.join("total_status.log"),
        totals(100 + synced.len() as u64, 100 + ones),
    )
    .unwrap();
    fs::write(home.path("status/total_status.log"), totals(0, 0)).unwrap();
    home
}

#[test]
fn the_first_line_that_was_not_synced_and_all_behind_it_are_sent() {
    let fake_hustdb = fake_hustdb();
    let mut synced = [true; 10];
    synced[4] = false;
    synced[7] = false;
    let home = upgraded(&fake_hustdb, &synced);
    let server = home.start();
    let name = fake_hustdb.name();
    let counts = eventually_some("all of it is settled", || {
        let counts = server.backend(&name)?.counts;
        let settled = values(&fake_hustdb).len() == 6 && counts.settled == counts.processed;
        (settled && counts.in_flight_records == 0 && counts.unread_bytes == 0).then_some(counts)
    });
    let keys: Vec<String> = values(&fake_hustdb)
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, ["k4", "k5", "k6", "k7", "k8", "k9"]);
    assert!(
        counts.processed >= 110,
        "the original's are counted on: {counts:?}"
    );
    server.stop();

    // Ours has taken its place, and nothing is taken over twice.
    let status = home.state(&name, NAME);
    assert!(!status.exists() || fs::metadata(&status).unwrap().len() != STATUS_BYTES as u64);
    assert!(home.state(&name, "checkpoint").exists());
    let history = fake_hustdb.history().len();
    let server = home.start();
    server.wait_for_state(&name, "up");
    home.log(&name).put("new", 1, "v");
    eventually("a new line arrives", || {
        value(&fake_hustdb, "new").is_some()
    });
    assert_eq!(fake_hustdb.history().len(), history + 1);
    server.wait_settled(&name, counts.processed + 1);
}

#[test]
fn a_status_of_another_size_is_not_the_originals_and_everything_is_sent() {
    let fake_hustdb = fake_hustdb();
    let home = upgraded(&fake_hustdb, &[true; 10]);
    fs::write(home.state(&fake_hustdb.name(), NAME), "something else").unwrap();
    let _server = home.start();
    eventually("all keys are there", || values(&fake_hustdb).len() == 10);
}
