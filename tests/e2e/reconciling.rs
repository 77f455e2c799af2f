//! `sync.reconcile`: both masters are equal after an outage, whatever was written to them
//! meanwhile (docs/reconcile.md, R1 to R6).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hustdbsync::internals::binlog::Method;
use hustdbsync::internals::fake_hustdb::{self, Act, On, Request, Rule, Script};
use hustdbsync::internals::limits::VALUE_BYTES_MAX;
use hustdbsync::internals::reconcile::difference::FILE_NAME;
use hustdbsync::internals::workload::Mutation;

use crate::harness::{eventually, free_port, slow_down, value};
use crate::pair::{Pair, put, write_of};

fn keys(prefix: &str, count: u32) -> Vec<Mutation> {
    (0..count)
        .map(|nth| put(&format!("{prefix}{nth}"), "missed"))
        .collect()
}

/// A finished log of keys that the other master misses, by number.
fn log_for_peer(pair: &Pair, numbers: std::ops::Range<u32>) {
    let log = pair.home.log(&pair.names()[1]);
    for number in numbers {
        log.put(&format!("p{number}"), 1, "v");
    }
    pair.age_logs(1);
}

/// Writes past HA, to one master.
fn write_past_ha(pair: &Pair, at: usize, target: &str, body: &[u8]) {
    let request = Request::new(fake_hustdb::Method::Post, target.as_bytes(), body);
    assert_eq!(pair.masters[at].apply(&request).status, 200, "{target}");
}

#[test]
fn repair_makes_every_key_equal_that_was_written_while_its_records_waited() {
    let mut pair = Pair::new("repair");
    pair.have_outage();
    let mut process = pair.start();
    pair.wait_gone();
    pair.assert_equal();
    assert_eq!(pair.differences(), []);
    pair.wait_said("INFO", &["finished logs are compared", "not_compared=0"]);
    process.end();
}

/// Of an increment that races with a record nobody can tell what the score was meant to be.
#[test]
fn repair_makes_keys_equal_or_reports_them_while_clients_write_on() {
    let mut pair = Pair::new("repair");
    pair.have_outage();
    slow_down(pair.backend());
    let written = pair.backend().counters().mutations;
    let mut process = pair.start();
    eventually("it is replayed", || {
        pair.backend().counters().mutations > written
    });
    pair.write_all(&pair.writes(4, 100));
    pair.script(0, Script::default());
    pair.wait_gone();
    let differences = pair.differences();
    assert!(differences.len() < 5, "{differences:#?}");
    let reported: BTreeSet<_> = differences.iter().map(Pair::item).collect();
    let wrong = pair.wrong();
    assert!(wrong.is_subset(&reported), "{wrong:?} {differences:#?}");
    process.end();
}

/// R1. The same outage as in the other tests.
#[test]
fn off_sends_no_lookup_and_leaves_keys_wrong() {
    let mut pair = Pair::new("off");
    pair.has_sorted_sets = false;
    pair.have_outage();
    let before = [0, 1].map(|at: usize| pair.masters[at].counters());
    let mut process = pair.start();
    pair.wait_gone();
    let wrong = pair.wrong().len();
    assert!(wrong > 20, "{wrong} keys wrong");
    let after = [0, 1].map(|at: usize| pair.masters[at].counters());
    assert_eq!((pair.lookups(0), pair.lookups(1)), (0, 0));
    assert_eq!(after[0].mutations - before[0].mutations, pair.logged);
    assert_eq!(after[1], before[1], "nobody speaks to the peer");
    assert_eq!(pair.differences(), []);
    process.end();
}

/// R3 and R6.
#[test]
fn report_writes_down_each_difference_and_nothing_to_the_masters() {
    let mut pair = Pair::new("report");
    pair.has_sorted_sets = false;
    pair.have_outage();
    let written = [0, 1].map(|at: usize| pair.masters[at].counters().mutations);
    let mut process = pair.start();
    pair.wait_gone();
    let writes = [0, 1].map(|at: usize| pair.masters[at].counters().mutations - written[at]);
    assert_eq!(writes, [pair.logged, 0], "the replay's, and none");
    let differences = pair.differences();
    let seen: BTreeSet<_> = differences.iter().map(Pair::item).collect();
    assert_eq!(
        seen.len(),
        differences.len(),
        "a key in two spellings is written down once"
    );
    assert_eq!(seen, pair.wrong());
    assert!(differences.iter().all(|left| left.why == "report_only"));
    process.end();
}

/// R5: the peer keeps logs for `reconcile_timeout`. Then they go, and this is said.
#[track_caller]
fn check_unavailable(make: impl FnOnce(&Pair), why: &str) {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let mut pair = Pair::new("repair");
    pair.home.set("sync.reconcile_timeout", TIMEOUT.as_secs());
    // So that it is seen within that why nothing comes.
    pair.home.set("sync.response_timeout", "500ms");
    pair.miss(&keys("k", 20));
    make(&pair);
    let begun = Instant::now();
    let mut process = pair.start();
    eventually("it is replayed", || value(pair.backend(), "k19").is_some());
    pair.wait_gone();
    let stayed = begun.elapsed();
    assert!(stayed >= TIMEOUT, "{why}: they have gone after {stayed:?}");
    pair.wait_said("WARN", &["sync.reconcile_timeout", &pair.names()[1], why]);
    pair.wait_said("WARN", &["not_compared=20", "a master was not available"]);
    assert_eq!(pair.differences(), []);
    process.end();
}

#[test]
fn a_peer_that_is_down_keeps_logs_for_the_timeout() {
    check_unavailable(|pair| pair.peer().kill().unwrap(), "refused");
}

#[test]
fn a_peer_that_refuses_the_password_keeps_logs_for_the_timeout() {
    let other = Some(("user", "other"));
    check_unavailable(
        |pair| pair.peer().set_credentials(other).unwrap(),
        "password",
    );
}

#[test]
fn a_peer_that_answers_garbage_keeps_logs_for_the_timeout() {
    let garbage = || Script::default().rule(Rule::new(On::Everything, Act::garbage()));
    check_unavailable(|pair| pair.script(1, garbage()), "");
    let html = || Script::default().rule(Rule::new(On::Everything, Act::html()));
    check_unavailable(|pair| pair.script(1, html()), "200");
}

#[test]
fn a_frozen_peer_keeps_logs_for_the_timeout() {
    let frozen = || Script::default().rule(Rule::new(On::Everything, Act::Silence));
    check_unavailable(|pair| pair.script(1, frozen()), "answer");
}

/// `status` says why a finished log stays: an alert sends operators there.
#[track_caller]
fn check_told(make: impl FnOnce(&Pair), why: &str, mend: impl FnOnce(&Pair)) {
    let mut pair = Pair::new("report");
    pair.home.set("network.port", free_port());
    pair.have_outage();
    make(&pair);
    let mut process = pair.start();
    let tells = || {
        let (_, told, _) = pair.home.command(&["status"]);
        let of_log = told.split_once("keys are to be compared: 1, for ");
        of_log.is_some_and(|(_, rest)| rest.contains(why))
    };
    eventually(&format!("status says {why:?}"), tells);
    mend(&pair);
    pair.wait_gone();
    assert!(!pair.differences().is_empty());
    process.end();
}

#[test]
fn what_a_comparison_waits_for_is_told() {
    check_told(
        |pair| pair.peer().kill().unwrap(),
        "cannot be asked: Connection refused",
        |pair| pair.peer().restart().unwrap(),
    );
    let table = |pair: &Pair| pair.home.path("conf").join("hustdbtable.json");
    check_told(
        |pair| std::fs::remove_file(table(pair)).unwrap(),
        "HA's table cannot be read",
        |pair| pair.write_table(&pair.names()),
    );
    let file = |pair: &Pair| pair.home.state(&pair.names()[0], FILE_NAME);
    check_told(
        |pair| std::fs::create_dir_all(file(pair)).unwrap(),
        "differences.jsonl cannot be written",
        |pair| std::fs::remove_dir(file(pair)).unwrap(),
    );
}

/// Of a key in several logs the last record counts, which may be in one that is not finished.
#[test]
fn logs_of_one_outage_are_compared_together() {
    let mut pair = Pair::new("repair");
    pair.miss(&keys("k", 20));
    let newer = pair.home.log(&pair.names()[0]).file("2999-01-01-00-00.log");
    newer.put("k0", 9, "newer");
    let mut process = pair.start();
    let newest = Some("newer".to_owned());
    eventually("both are replayed", || {
        value(pair.backend(), "k0") == newest
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(pair.lookups(1), 0);
    pair.age_logs(0);
    pair.wait_gone();
    pair.wait_said("INFO", &["logs=2", "compared=20"]);
    process.end();
}

/// A login that is mended is that of a comparison under way, too.
#[test]
fn a_password_that_is_mended_lets_a_comparison_go_on() {
    let mut pair = Pair::new("repair");
    pair.miss(&keys("k", 20));
    let other = Some(("user", "other"));
    pair.peer().set_credentials(other).unwrap();
    let mut process = pair.start();
    let before = pair.peer().counters().accepted;
    eventually("the peer is asked", || {
        pair.peer().counters().accepted > before
    });
    pair.backend().set_credentials(other).unwrap();
    std::fs::write(pair.home.path("htpasswd"), "user:other\n").unwrap();
    pair.reload(&process);
    pair.wait_gone();
    pair.wait_said("INFO", &["compared=20", "not_compared=0"]);
    process.end();
}

/// hustdb sweeps what has expired half a minute after its start.
#[test]
fn keys_are_compared_once_the_backend_has_been_up_for_the_delay() {
    const DELAY: Duration = Duration::from_secs(2);
    let mut pair = Pair::new("repair");
    pair.home.set("sync.reconcile_delay", DELAY.as_secs());
    pair.miss(&keys("k", 20));
    let begun = Instant::now();
    let mut process = pair.start();
    eventually("keys are compared", || pair.lookups(1) > 0);
    assert!(begun.elapsed() >= DELAY);
    pair.wait_gone();
    process.end();
}

/// A disk that is full keeps the masters from nothing.
#[test]
fn what_cannot_be_written_for_long_gives_no_master_up() {
    let mut pair = Pair::new("report");
    // A master that answers fewer than a second's worth of the rate in this time is given up.
    pair.home.set("sync.reconcile_timeout", 2);
    pair.home.set("sync.reconcile_rate", 200);
    pair.have_outage();
    let path = pair.home.state(&pair.names()[0], FILE_NAME);
    std::fs::create_dir_all(&path).unwrap();
    let mut process = pair.start();
    pair.wait_said("ERROR", &["differences.jsonl cannot be written"]);
    std::thread::sleep(Duration::from_secs(4));
    std::fs::remove_dir(&path).unwrap();
    pair.wait_gone();
    pair.wait_said("INFO", &["not_compared=0"]);
    process.end();
}

/// One that answers so late that there are never several keys under way.
#[test]
fn a_slow_peer_keeps_logs_for_the_timeout() {
    let mut pair = Pair::new("repair");
    pair.home.set("sync.reconcile_timeout", 3);
    pair.miss(&keys("k", 400));
    let slow = Script::default().answer_delay(Duration::from_millis(600));
    pair.script(1, slow);
    let mut process = pair.start();
    pair.wait_gone();
    pair.wait_said("WARN", &["sync.reconcile_timeout", &pair.names()[1]]);
    process.end();
}

/// The log stays, and all is compared once the peer is back.
#[test]
fn a_peer_that_comes_back_in_time_is_compared() {
    let mut pair = Pair::new("repair");
    pair.have_outage();
    pair.peer().kill().unwrap();
    let mut process = pair.start();
    eventually("it is replayed", || {
        pair.lookups(0) > 0 || pair.backend().counters().mutations > 0
    });
    pair.peer().restart().unwrap();
    pair.wait_gone();
    pair.assert_equal();
    process.end();
}

/// R4.
#[test]
fn a_server_that_is_killed_while_it_compares_begins_again() {
    let mut pair = Pair::new("repair");
    pair.have_outage();
    let asked = || pair.peer().counters().beside_probes();
    for _ in 0..3 {
        // It cannot come to the end, however late it is killed.
        let silence = Rule::new(On::Data, Act::Silence).after(60);
        pair.script(1, Script::default().rule(silence));
        let before = asked();
        let process = pair.start();
        eventually("it compares", || asked() > before + 60);
        drop(process);
        assert!(pair.has_logs());
    }
    pair.script(1, Script::default());
    let mut process = pair.start();
    pair.wait_gone();
    pair.assert_equal();
    assert_eq!(pair.differences(), []);
    process.end();
}

/// A table by which nothing can be compared: the log goes all the same, and this is said.
#[track_caller]
fn check_table(write: impl FnOnce(&Pair), why: &str) {
    let mut pair = Pair::new("repair");
    pair.home.set("sync.reconcile_timeout", 1);
    pair.miss(&keys("k", 20));
    write(&pair);
    let before = pair.peer().counters();
    let mut process = pair.start();
    pair.wait_gone();
    pair.wait_said("WARN", &["not_compared=20", &pair.names()[0], why]);
    assert_eq!(pair.peer().counters(), before);
    assert_eq!(pair.lookups(0), 0);
    process.end();
}

#[test]
fn a_table_that_is_missing_is_said() {
    let gone = |pair: &Pair| std::fs::remove_dir_all(pair.home.path("conf")).unwrap();
    check_table(gone, "HA's table cannot be read");
}

#[test]
fn a_malformed_table_is_said() {
    check_table(
        |pair| pair.write_table_text("{\"table\": ["),
        "HA's table cannot be read",
    );
}

#[test]
fn a_table_that_names_the_backend_twice_or_not_at_all_is_said() {
    let twice = |pair: &Pair| {
        let [backend, _] = pair.names();
        pair.write_table(&[backend.clone(), backend]);
    };
    check_table(twice, "HA's table names only this backend");
    let others = |pair: &Pair| {
        let [_, peer] = pair.names();
        pair.write_table(&[peer, "10.0.0.9:8085".to_owned()]);
    };
    check_table(others, "HA's table does not name this backend");
}

/// HA rewrites it under a running server.
#[test]
fn a_table_that_is_not_there_for_a_moment_keeps_the_logs() {
    let mut pair = Pair::new("repair");
    let table = pair.home.path("conf").join("hustdbtable.json");
    let aside = table.with_extension("aside");
    std::fs::rename(&table, &aside).unwrap();
    pair.miss(&keys("k", 20));
    let mut process = pair.start();
    eventually("it is replayed", || value(pair.backend(), "k19").is_some());
    std::thread::sleep(Duration::from_secs(1));
    assert!(pair.has_logs());
    std::fs::rename(&aside, &table).unwrap();
    pair.wait_gone();
    pair.wait_said("INFO", &["compared=20", "not_compared=0"]);
    process.end();
}

/// At a low rate one pass over the keys lasts for long.
#[test]
fn a_table_that_changes_while_keys_are_compared_holds_from_then_on() {
    let mut pair = Pair::new("repair");
    pair.home.set("sync.reconcile_rate", 50);
    pair.miss(&keys("k", 500));
    let mut process = pair.start();
    eventually("keys are compared", || pair.lookups(1) > 0);
    let [_, peer] = pair.names();
    pair.write_table(&[peer, "10.0.0.9:8085".to_owned()]);
    pair.wait_gone();
    pair.wait_said("WARN", &["not_in_table", "does not name this backend"]);
    assert!(pair.lookups(1) < 500);
    process.end();
}

#[test]
fn a_log_that_is_gone_before_its_keys_were_read_is_counted() {
    let mut pair = Pair::new("repair");
    pair.home.set("sync.reconcile_rate", 10);
    pair.miss(&keys("k", 5));
    // The other master's log is the newer one, which is compared first.
    std::thread::sleep(Duration::from_millis(20));
    log_for_peer(&pair, 0..30);
    let mut process = pair.start();
    eventually("keys are compared", || pair.lookups(1) > 0);
    pair.remove_logs();
    pair.wait_said("WARN", &["not_compared=1", "log_gone"]);
    process.end();
}

#[test]
fn a_key_that_a_master_never_answers_is_left_out_alone() {
    for sick in [0, 1] {
        let mut pair = Pair::new("repair");
        // So many that others are answered whenever it is asked for once more.
        pair.miss(&keys("k", 5000));
        // The backend takes the record, and the peer is not asked for it: lookups come later.
        let on = On::KeyPrefix(b"k777".to_vec());
        let records = [1, 0][sick];
        let rule = Rule::new(on, Act::status(500)).after(records);
        pair.script(sick, Script::default().rule(rule));
        let mut process = pair.start();
        pair.wait_gone();
        pair.wait_said("WARN", &["compared=4999", "not_compared=1", "declined"]);
        process.end();
    }
}

/// Logs of both masters of a pair are not compared at one time.
#[test]
fn a_peer_that_goes_down_while_its_logs_are_compared_keeps_others_for_the_timeout() {
    let mut pair = Pair::new("repair");
    pair.home.set("sync.reconcile_timeout", 2);
    pair.home.set("sync.reconcile_rate", 10);
    log_for_peer(&pair, 0..200);
    let mut process = pair.start();
    eventually("its keys are compared", || pair.lookups(1) > 0);
    pair.miss(&keys("k", 5));
    eventually("it is replayed", || value(pair.backend(), "k4").is_some());
    pair.peer().kill().unwrap();
    pair.wait_gone();
    process.end();
}

/// Newer logs of the other master come first, but not for ever.
#[test]
fn logs_of_the_peer_that_come_again_and_again_hold_no_comparison_up_for_ever() {
    let mut pair = Pair::new("repair");
    pair.home.set("sync.reconcile_rate", 50);
    pair.miss(&keys("k", 200));
    let mut process = pair.start();
    eventually("keys are compared", || pair.lookups(1) > 0);
    for number in 0..20 {
        if !pair.has_logs() {
            break;
        }
        log_for_peer(&pair, number..number + 1);
        std::thread::sleep(Duration::from_secs(3));
    }
    assert!(!pair.has_logs(), "the log stays:\n{}", pair.said());
    process.end();
}

#[test]
fn a_table_that_is_mended_counts_from_the_next_log_on() {
    let mut pair = Pair::new("repair");
    pair.has_sorted_sets = false;
    pair.home.set("sync.reconcile_timeout", 1);
    pair.write_table_text("no table");
    pair.have_outage();
    let mut process = pair.start();
    pair.wait_gone();
    assert!(!pair.wrong().is_empty());
    // That was the table's; the peer may take longer.
    pair.home.set("sync.reconcile_timeout", 900);
    pair.reload(&process);
    pair.write_table(&pair.names());
    // The same keys once more: what was left wrong is mended with them.
    pair.miss(&pair.writes(2, 400));
    pair.wait_gone();
    pair.assert_equal();
    process.end();
}

#[test]
fn the_longest_value_and_a_member_of_any_octets_are_copied() {
    let mut pair = Pair::new("repair");
    let member = b"NUL \0 CR \r LF \n end";
    let add = write_of(Method::Sadd, "s", member, b"");
    pair.miss(&[put("k", "one"), put("k", "two"), add]);
    // The waiting record overwrites the long value, of version 1 on the backend.
    let longest = Mutation {
        body: vec![b'v'; VALUE_BYTES_MAX],
        ..put("k", "")
    };
    pair.write(&longest);
    // Removed on the backend, and there again before it is compared: on the peer only.
    let remove = write_of(Method::Srem, "s", member, b"");
    pair.miss(&[remove]);
    write_past_ha(&pair, 1, "/hustdb/sadd?tb=s&ver=9&is_dup=true", member);
    let mut process = pair.start();
    pair.wait_gone();
    assert_eq!(
        value(pair.backend(), "k").map(|value| value.len()),
        Some(VALUE_BYTES_MAX)
    );
    pair.assert_equal();
    assert_eq!(pair.backend().contents().len(), 2);
    process.end();
}

#[test]
fn a_table_on_one_side_only_is_made_and_one_of_another_type_is_reported() {
    let mut pair = Pair::new("repair");
    let hset = |table: &str| write_of(Method::Hset, table, b"k", b"v");
    let hdel = |table: &str| write_of(Method::Hdel, table, b"k", b"");
    pair.miss(&[hset("h"), hdel("h"), hset("mixed"), hdel("mixed")]);
    write_past_ha(&pair, 0, "/hustdb/sadd?tb=mixed&ver=1&is_dup=true", b"m");
    for table in ["h", "mixed"] {
        let target = format!("/hustdb/hset?tb={table}&key=k&ver=7&is_dup=true");
        write_past_ha(&pair, 1, &target, b"v");
    }
    let mut process = pair.start();
    pair.wait_gone();
    let differences = pair.differences();
    let [left] = &differences[..] else {
        panic!("{differences:#?}");
    };
    assert_eq!((&*left.why, &*left.table), ("declined", &b"mixed"[..]));
    let wrong: Vec<_> = pair.wrong().into_iter().map(|item| item.table).collect();
    assert!(wrong.iter().all(|table| table == b"mixed"), "{wrong:?}");
    process.end();
}

/// The checkpointer looks at its logs every few seconds: it may miss that.
#[test]
fn a_log_whose_comparison_was_switched_off_and_on_again_is_compared() {
    let mut pair = Pair::new("repair");
    pair.home.set("sync.reconcile_rate", 10);
    pair.miss(&keys("k", 100));
    let mut process = pair.start();
    eventually("keys are compared", || pair.lookups(1) > 0);
    for (mode, rate) in [("off", 10), ("repair", 0)] {
        pair.home.set("sync.reconcile", mode);
        pair.home.set("sync.reconcile_rate", rate);
        pair.reload(&process);
    }
    pair.wait_gone();
    process.end();
}

#[test]
fn a_reload_switches_it_on_and_off() {
    let mut pair = Pair::new("off");
    let mut process = pair.start();
    // Before that a signal would end it.
    pair.wait_said("INFO", &["workers run on"]);
    for (mode, compares) in [("off", false), ("repair", true), ("off", false)] {
        pair.home.set("sync.reconcile", mode);
        pair.reload(&process);
        let before = pair.lookups(1);
        pair.miss(&keys(mode, 20));
        pair.wait_gone();
        assert_eq!(pair.lookups(1) > before, compares, "{mode}");
    }
    process.end();
}
