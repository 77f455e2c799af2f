//! What is logged arrives: found wherever it appears, in order, while it runs.

use std::fs;
use std::time::{Duration, Instant};

use hustdbsync::standin::Standin;
use hustdbsync::workload::Workload;

use crate::harness::{
    Home, assert_holds, assert_in_order, assert_unharmed, eventually, now_unix, standin, value,
    values,
};

/// A home in which nothing is found by looking again from time to time: only by being told.
fn notified() -> Home {
    Home::new().with("sync.rescan_interval", "1h")
}

#[test]
fn a_mixed_backlog_of_two_backends_from_before_the_start_is_replayed() {
    let (home, standins) = (Home::new(), [standin(), standin()]);
    let written: Vec<_> = standins
        .iter()
        .zip(1..)
        .map(|(standin, seed)| {
            let workload = Workload {
                seed,
                ..Workload::mixed(20_000, now_unix())
            };
            workload.write(&home.path("logs"), &standin.name()).unwrap()
        })
        .collect();
    let server = home.start();
    for (standin, written) in standins.iter().zip(&written) {
        let backend = server.wait_settled(&standin.name(), written.records);
        assert_eq!(backend.counts.rejected, 0);
        assert!(backend.counts.expired > 0);
        assert_holds(standin, &written.expected(now_unix()));
    }
}

#[test]
fn large_values_arrive_whole() {
    let (home, standin) = (Home::new(), standin());
    let workload = Workload {
        value_bytes: 5_000_000,
        ..Workload::mixed(12, now_unix())
    };
    let written = workload.write(&home.path("logs"), &standin.name()).unwrap();
    let server = home.start();
    server.wait_settled(&standin.name(), 12);
    assert_holds(&standin, &written.expected(now_unix()));
}

#[test]
fn lines_appended_while_it_runs_are_delivered_one_by_one() {
    let (home, standin) = (notified(), standin());
    let log = home.log(&standin.name());
    let server = home.start();
    for version in 1..=50 {
        let text = version.to_string();
        log.put("k", version, &text);
        eventually("the line arrives", || {
            value(&standin, "k").as_ref() == Some(&text)
        });
    }
    server.wait_settled(&standin.name(), 50);
    assert_in_order(&standin);
}

#[test]
fn a_later_minutes_file_is_replayed_behind_the_earlier_one() {
    let (home, standin) = (Home::new(), standin());
    let log = home.log(&standin.name());
    let server = home.start();
    let mut minute = 10;
    // A file that has been quiet for a second can be followed by the next: where this test was held up for so long, it shows nothing.
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
        value(&standin, &key).as_deref() == Some("third")
    });
    let history = standin.history();
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
    let (first, second) = (standin(), standin());
    for standin in [&first, &second] {
        home.log(&standin.name()).put("k", 1, &standin.name());
        server.wait_settled(&standin.name(), 1);
        assert_eq!(value(standin, "k"), Some(standin.name()));
    }
}

#[test]
fn a_folder_that_is_moved_in_whole_is_taken_in() {
    let (home, standin) = (notified(), standin());
    let server = home.start();
    let aside = crate::log::Log::new(home.path("aside"), "2026-11-22-16-40.log");
    aside.put("k", 1, "v");
    fs::rename(aside.folder(), home.path("logs").join(standin.name())).unwrap();
    server.wait_settled(&standin.name(), 1);
    assert_eq!(value(&standin, "k").as_deref(), Some("v"));
}

#[test]
fn what_is_no_backend_in_the_logs_folder_is_left_alone() {
    let (home, standin) = (Home::new(), standin());
    fs::write(home.path("logs/error.log"), "not ours\n").unwrap();
    fs::write(home.path("logs/nginx.pid"), "1\n").unwrap();
    fs::create_dir(home.path("logs/no backend")).unwrap();
    fs::write(home.path("logs/no backend/a.log"), "not ours\n").unwrap();
    home.log(&standin.name()).put("k", 1, "v");
    let server = home.start();
    server.wait_settled(&standin.name(), 1);
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
    let (home, standin) = (Home::new(), standin());
    let log = home.log(&standin.name());
    let mut text = Vec::new();
    for version in 1..=2000 {
        let key = ["a%20b", "%61%20b", "a%20%62"][version as usize % 3];
        let value = version.to_string();
        text.extend(crate::log::line_of(&crate::log::put(key, version, &value)));
    }
    log.raw(text);
    let server = home.start();
    server.wait_settled(&standin.name(), 2000);
    let versions: Vec<u32> = standin
        .history()
        .iter()
        .map(|applied| applied.ver)
        .collect();
    assert_eq!(versions, (1..=2000).collect::<Vec<_>>());
}

#[test]
fn a_key_that_is_deleted_and_made_again_ends_as_the_log_says() {
    let (home, standin) = (Home::new(), standin());
    let log = home.log(&standin.name());
    for round in 0..200 {
        log.put("k", 1, &format!("{round}.1"));
        log.put("k", 2, &format!("{round}.2"));
        log.del("k", 2);
    }
    log.put("k", 1, "last");
    log.put("gone", 1, "x").del("gone", 1);
    let server = home.start();
    server.wait_settled(&standin.name(), 603);
    assert_eq!(values(&standin), [("k".to_owned(), "last".to_owned())]);
    assert_eq!(standin.history().len(), 603);
}

#[test]
fn a_backend_that_ends_connections_after_some_answers_loses_nothing() {
    let standin = crate::harness::standin_with(hustdbsync::standin::Options {
        requests_per_connection: 100,
        ..Default::default()
    });
    let home = Home::new().with("sync.requests_per_connection", 90);
    let written = mixed(&home, &standin, 5000);
    let server = home.start();
    let backend = server.wait_settled(&standin.name(), 5000);
    assert_eq!(
        backend.counts.resent, 0,
        "each connection is retired in time"
    );
    assert_holds(&standin, &written.expected(now_unix()));
    assert_unharmed(&standin);
}

#[test]
fn one_request_a_send_is_possible() {
    let (home, standin) = (Home::new().with("sync.burst_bytes", 0), standin());
    let written = mixed(&home, &standin, 1000);
    let server = home.start();
    server.wait_settled(&standin.name(), 1000);
    assert_holds(&standin, &written.expected(now_unix()));
}

fn mixed(home: &Home, standin: &Standin, records: u64) -> hustdbsync::workload::Written {
    Workload::mixed(records, now_unix())
        .write(&home.path("logs"), &standin.name())
        .unwrap()
}
