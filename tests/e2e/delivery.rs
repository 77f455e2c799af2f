//! What is logged arrives: found wherever it appears, in order, while it runs.

use std::fs;
use std::time::{Duration, Instant};

use hustdbsync::internals::fake_hustdb::FakeHustdb;
use hustdbsync::internals::fake_hustdb::store::live_versions;
use hustdbsync::internals::workload::Workload;

use crate::harness::{
    Home, assert_holds, assert_in_order, assert_unharmed, eventually, fake_hustdb, now_unix, value,
    values,
};

/// A home in which nothing is found by looking again from time to time: only by being told.
fn notified() -> Home {
    Home::new().with("sync.rescan_interval", "1h")
}

#[test]
fn a_mixed_backlog_of_two_backends_from_before_the_start_is_replayed() {
    let (home, fake_hustdbs) = (Home::new(), [fake_hustdb(), fake_hustdb()]);
    let written: Vec<_> = fake_hustdbs
        .iter()
        .zip(1..)
        .map(|(fake_hustdb, seed)| {
            let workload = Workload {
                seed,
                ..Workload::mixed(20_000, now_unix())
            };
            workload
                .write(&home.path("logs"), &fake_hustdb.name())
                .unwrap()
        })
        .collect();
    let server = home.start();
    for (fake_hustdb, written) in fake_hustdbs.iter().zip(&written) {
        let backend = server.wait_settled(&fake_hustdb.name(), written.records);
        assert_eq!(backend.counts.rejected, 0);
        assert!(backend.counts.expired > 0);
        assert_holds(fake_hustdb, &written.expected(now_unix()));
    }
}

#[test]
fn large_values_arrive_whole() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let workload = Workload {
        value_bytes: 5_000_000,
        ..Workload::mixed(12, now_unix())
    };
    let written = workload
        .write(&home.path("logs"), &fake_hustdb.name())
        .unwrap();
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 12);
    assert_holds(&fake_hustdb, &written.expected(now_unix()));
}

#[test]
fn lines_appended_while_it_runs_are_delivered_one_by_one() {
    let (home, fake_hustdb) = (notified(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    let server = home.start();
    for version in 1..=50 {
        let text = version.to_string();
        log.put("k", version, &text);
        eventually("the line arrives", || {
            value(&fake_hustdb, "k").as_ref() == Some(&text)
        });
    }
    server.wait_settled(&fake_hustdb.name(), 50);
    assert_in_order(&fake_hustdb);
}

#[test]
fn a_later_minutes_file_is_replayed_behind_the_earlier_one() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    let server = home.start();
    let mut minute = 10;
    // A file that has been quiet for a second can be followed by the next: where this test was held
    // up for so long, it shows nothing.
    let key = loop {
        let key = format!("k{minute}");
        let older = log.file(&format!("2026-11-22-16-{minute}.log"));
        let newer = log.file(&format!("2026-11-22-16-{}.log", minute + 1));
        minute += 2;
        let begun = Instant::now();
        older.put(&key, 1, "first");
        newer.put(&key, 3, "third");
        // A worker still appends to the older minute after the newer one has begun.
        older.put(&key, 2, "second");
        if begun.elapsed() < Duration::from_millis(500) {
            break key;
        }
    };
    eventually("the last is there", || {
        value(&fake_hustdb, &key).as_deref() == Some("third")
    });
    let history = fake_hustdb.history();
    let of_key = history
        .iter()
        .filter(|applied| applied.key == key.as_bytes());
    let versions: Vec<u32> = of_key.map(|applied| applied.ver).collect();
    assert_eq!(versions, [1, 2, 3]);
    drop(server);
}

#[test]
fn a_folder_that_appears_while_it_runs_is_taken_in() {
    let home = notified();
    let server = home.start();
    let (first, second) = (fake_hustdb(), fake_hustdb());
    for fake_hustdb in [&first, &second] {
        home.log(&fake_hustdb.name())
            .put("k", 1, &fake_hustdb.name());
        server.wait_settled(&fake_hustdb.name(), 1);
        assert_eq!(value(fake_hustdb, "k"), Some(fake_hustdb.name()));
    }
}

#[test]
fn a_folder_that_is_moved_in_whole_is_taken_in() {
    let (home, fake_hustdb) = (notified(), fake_hustdb());
    let server = home.start();
    let aside = crate::log::Log::new(home.path("aside"), "2026-11-22-16-40.log");
    aside.put("k", 1, "v");
    fs::rename(aside.folder(), home.path("logs").join(fake_hustdb.name())).unwrap();
    server.wait_settled(&fake_hustdb.name(), 1);
    assert_eq!(value(&fake_hustdb, "k").as_deref(), Some("v"));
}

#[test]
fn what_is_no_backend_in_the_logs_folder_is_left_alone() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    fs::write(home.path("logs/error.log"), "not ours\n").unwrap();
    fs::write(home.path("logs/nginx.pid"), "1\n").unwrap();
    fs::create_dir(home.path("logs/no backend")).unwrap();
    fs::write(home.path("logs/no backend/a.log"), "not ours\n").unwrap();
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1);
    assert_eq!(
        fs::read(home.path("logs/error.log")).unwrap(),
        b"not ours\n"
    );
    let snapshot = server.engine().snapshot();
    let sound = snapshot
        .backends()
        .iter()
        .filter(|backend| backend.counts.processed > 0);
    assert_eq!(sound.count(), 1);
}

#[test]
fn records_of_one_key_in_all_its_spellings_keep_their_order() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    // As hustdb numbers them: some are lower than the one before.
    let live: Vec<u32> = live_versions(0).take(2000).collect();
    let mut text = Vec::new();
    for (number, &version) in live.iter().enumerate() {
        let key = ["a%20b", "%61%20b", "a%20%62"][number % 3];
        let value = number.to_string();
        text.extend(crate::log::line_of(&crate::log::put(key, version, &value)));
    }
    log.raw(text);
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 2000);
    let versions: Vec<u32> = fake_hustdb
        .history()
        .iter()
        .map(|applied| applied.ver)
        .collect();
    assert_eq!(versions, live);
}

#[test]
fn a_key_that_is_deleted_and_made_again_ends_as_the_log_says() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    for round in 0..200 {
        log.put("k", 1, &format!("{round}.1"));
        log.put("k", 2, &format!("{round}.2"));
        log.del("k", 2);
    }
    log.put("k", 1, "last");
    log.put("gone", 1, "x").del("gone", 1);
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 603);
    assert_eq!(values(&fake_hustdb), [("k".to_owned(), "last".to_owned())]);
    assert_eq!(fake_hustdb.history().len(), 603);
}

#[test]
fn a_backend_that_ends_connections_after_some_answers_loses_nothing() {
    let fake_hustdb =
        crate::harness::fake_hustdb_with(hustdbsync::internals::fake_hustdb::Options {
            requests_per_connection: 100,
            ..Default::default()
        });
    let home = Home::new().with("sync.requests_per_connection", 90);
    let written = mixed(&home, &fake_hustdb, 5000);
    let server = home.start();
    let backend = server.wait_settled(&fake_hustdb.name(), 5000);
    assert_eq!(
        backend.counts.resent, 0,
        "each connection is retired in time"
    );
    assert_holds(&fake_hustdb, &written.expected(now_unix()));
    assert_unharmed(&fake_hustdb);
}

#[test]
fn one_request_a_send_is_possible() {
    let (home, fake_hustdb) = (Home::new().with("sync.burst_bytes", 0), fake_hustdb());
    let written = mixed(&home, &fake_hustdb, 1000);
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1000);
    assert_holds(&fake_hustdb, &written.expected(now_unix()));
}

fn mixed(
    home: &Home,
    fake_hustdb: &FakeHustdb,
    records: u64,
) -> hustdbsync::internals::workload::Written {
    Workload::mixed(records, now_unix())
        .write(&home.path("logs"), &fake_hustdb.name())
        .unwrap()
}
