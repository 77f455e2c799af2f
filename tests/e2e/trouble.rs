//! Backends that are down, cut off, mad, or don't let us in.

use std::fs;
use std::time::{Duration, Instant};

use hustdbsync::internals::fake_hustdb::{Accept, Act, FakeHustdb, On, Options, Rule, Script};
use hustdbsync::internals::workload::{Workload, Written};

use crate::harness::{
    Home, Running, assert_holds, assert_in_order, eventually, fake_hustdb, fake_hustdb_with,
    now_unix, slow_down, value, values,
};

/// Puts of 20 keys, each 50 times.
fn overwrites(home: &Home, fake_hustdb: &FakeHustdb) -> u64 {
    let mut text = Vec::new();
    for version in 1..=50 {
        for key in 0..20 {
            let (key, value) = (format!("k{key}"), version.to_string());
            text.extend(crate::log::line_of(&crate::log::put(&key, version, &value)));
        }
    }
    home.log(&fake_hustdb.name()).raw(text);
    50 * 20
}

#[track_caller]
fn assert_all_overwritten(fake_hustdb: &FakeHustdb) {
    assert_in_order(fake_hustdb);
    let values = values(fake_hustdb);
    assert_eq!(values.len(), 20);
    for (key, value) in values {
        assert_eq!(value, "50", "{key}");
    }
}

fn mixed(home: &Home, fake_hustdb: &FakeHustdb, records: u64) -> Written {
    Workload::mixed(records, now_unix())
        .write(&home.path("logs"), &fake_hustdb.name())
        .unwrap()
}

#[test]
fn a_backend_that_was_dead_and_comes_back_is_drained_at_once() {
    // Only the short interval of a backend with a backlog can notice it within the deadline.
    let home = Home::new().with("sync.checkdb_interval", "1h");
    let fake_hustdb = fake_hustdb();
    fake_hustdb.kill().unwrap();
    let records = overwrites(&home, &fake_hustdb);
    let server = home.start();
    let backend = server.wait_for_state(&fake_hustdb.name(), "down");
    assert!(!backend.why.is_empty());
    fake_hustdb.restart().unwrap();
    server.wait_settled(&fake_hustdb.name(), records);
    assert_all_overwritten(&fake_hustdb);
}

#[test]
fn a_backend_that_dies_in_the_middle_again_and_again_gets_everything_in_order() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let written = mixed(&home, &fake_hustdb, 20_000);
    // Slow enough that it is killed with much still to come.
    slow_down(&fake_hustdb);
    let server = home.start();
    for round in 1..=4 {
        let before = fake_hustdb.counters().applied;
        eventually("some more is applied", || {
            fake_hustdb.counters().applied >= before + 300
        });
        fake_hustdb.kill().unwrap();
        server.wait_for_state(&fake_hustdb.name(), "down");
        if round == 4 {
            fake_hustdb.set_script(Script::default()).unwrap();
        }
        fake_hustdb.restart().unwrap();
    }
    server.wait_settled(&fake_hustdb.name(), 20_000);
    assert_holds(&fake_hustdb, &written.expected(now_unix()));
}

#[test]
fn dead_mute_and_refusing_backends_hold_nobody_up() {
    let home = Home::new();
    let (dead, mute, refusing, well) = (fake_hustdb(), fake_hustdb(), fake_hustdb(), fake_hustdb());
    dead.kill().unwrap();
    mute.set_script(Script::default().rule(Rule::new(On::Data, Act::Silence)))
        .unwrap();
    refusing.set_credentials(Some(("other", "other"))).unwrap();
    for fake_hustdb in [&dead, &mute, &refusing] {
        overwrites(&home, fake_hustdb);
    }
    let written = mixed(&home, &well, 5000);
    let server = home.start();
    server.wait_settled(&well.name(), 5000);
    assert_holds(&well, &written.expected(now_unix()));
    for fake_hustdb in [&dead, &mute, &refusing] {
        let backend = server.backend(&fake_hustdb.name()).unwrap();
        assert_eq!(backend.counts.settled, 0, "{backend:?}");
        assert!(home.rejected(&fake_hustdb.name()).is_empty());
    }
}

/// A backend that does this to some mutations, and is well again afterwards, ends with everything
/// in order.
#[track_caller]
fn check_recovers(act: Act, applied: bool) {
    let fake_hustdb = fake_hustdb();
    let mut rule = Rule::new(On::Mutations, act.clone()).after(100).times(5);
    rule.applied = applied;
    fake_hustdb
        .set_script(Script::default().rule(rule))
        .unwrap();
    let home = Home::new().with("sync.response_timeout", "200ms");
    let records = overwrites(&home, &fake_hustdb);
    let server = home.start();
    let backend = server.wait_settled(&fake_hustdb.name(), records);
    assert_eq!(backend.counts.rejected, 0, "{act:?}");
    assert!(backend.counts.resent > 0, "{act:?}: {backend:?}");
    assert_all_overwritten(&fake_hustdb);
}

#[test]
fn connections_that_break_lose_nothing() {
    for applied in [false, true] {
        check_recovers(Act::Close, applied);
        check_recovers(Act::Reset, applied);
        check_recovers(Act::Cut(20), applied);
    }
}

#[test]
fn answers_that_never_come_or_never_end_lose_nothing() {
    check_recovers(Act::Silence, true);
    check_recovers(Act::Half, true);
    check_recovers(Act::EndlessHeader, true);
}

#[test]
fn answers_that_are_none_lose_nothing() {
    check_recovers(Act::garbage(), false);
    check_recovers(Act::html(), false);
    check_recovers(Act::status(500), false);
    check_recovers(Act::status(403), true);
}

/// A backend that does this to everything, probes too, is held for down; when it is well again, it
/// gets everything.
#[track_caller]
fn check_down(act: Act) {
    let fake_hustdb = fake_hustdb();
    fake_hustdb
        .set_script(Script::default().rule(Rule::new(On::Everything, act.clone())))
        .unwrap();
    let home = Home::new().with("sync.response_timeout", "200ms");
    let records = overwrites(&home, &fake_hustdb);
    let server = home.start();
    eventually("it is probed", || fake_hustdb.counters().probes > 2);
    let backend = server.wait_for_state(&fake_hustdb.name(), "down");
    assert!(!backend.why.is_empty());
    assert_eq!(fake_hustdb.counters().beside_probes(), 0, "{act:?}");
    fake_hustdb.set_script(Script::default()).unwrap();
    server.wait_settled(&fake_hustdb.name(), records);
    assert_all_overwritten(&fake_hustdb);
}

#[test]
fn what_answers_no_probe_rightly_is_no_backend_until_it_does() {
    check_down(Act::garbage());
    check_down(Act::html());
    check_down(Act::status(404));
    check_down(Act::EndlessHeader);
    check_down(Act::Half);
    check_down(Act::Silence);
    check_down(Act::Reset);
    let fake_hustdb = fake_hustdb();
    fake_hustdb
        .set_script(Script::default().accept(Accept::Reset))
        .unwrap();
    let home = Home::new();
    let records = overwrites(&home, &fake_hustdb);
    let server = home.start();
    server.wait_for_state(&fake_hustdb.name(), "down");
    fake_hustdb.set_script(Script::default()).unwrap();
    server.wait_settled(&fake_hustdb.name(), records);
}

/// A fake HustDB that fails whatever changes the key "poison".
fn poisoned() -> FakeHustdb {
    let fake_hustdb = fake_hustdb();
    let poison = On::KeyPrefix(b"poison".to_vec());
    fake_hustdb
        .set_script(Script::default().rule(Rule::new(poison, Act::status(500))))
        .unwrap();
    fake_hustdb
}

/// One line is rejected, and it is this one.
fn assert_rejected(home: &Home, fake_hustdb: &FakeHustdb, line: u64) {
    let rejected = home.rejected(&fake_hustdb.name());
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0]["line"], line);
    assert!(rejected[0].to_string().contains("500"), "{rejected:?}");
}

#[test]
fn a_single_record_that_always_fails_is_rejected_and_its_neighbours_are_not() {
    let fake_hustdb = poisoned();
    let home = Home::new().with("sync.attempts_max", 3);
    let log = home.log(&fake_hustdb.name());
    let records = overwrites(&home, &fake_hustdb);
    log.put("poison", 1, "x");
    let more = overwrites(&home, &fake_hustdb);
    let server = home.start();
    let backend = server.wait_settled(&fake_hustdb.name(), records + 1 + more);
    assert_eq!(backend.counts.rejected, 1);
    assert_rejected(&home, &fake_hustdb, records + 1);
    assert_all_overwritten(&fake_hustdb);
}

/// hustdb sometimes misreads a target that ends where its read does.
#[test]
fn a_record_whose_target_is_misread_is_sent_again_and_not_rejected() {
    let fake_hustdb = fake_hustdb();
    fake_hustdb
        .set_script(Script::default().rule(Rule::misread_targets().times(2)))
        .unwrap();
    let home = Home::new();
    let fixed = "POST /hustdb/put?key=&ver=1&ttl=0&is_dup=true".len();
    let key = "k".repeat(4096 - fixed);
    let log = home.log(&fake_hustdb.name());
    log.put(&key, 1, "v");
    log.put("behind", 1, "v");
    let server = home.start();
    let backend = server.wait_settled(&fake_hustdb.name(), 2);
    assert_eq!(backend.counts.rejected, 0);
    assert!(backend.counts.resent >= 2, "{backend:?}");
    assert_eq!(value(&fake_hustdb, &key).as_deref(), Some("v"));
    server.stop();
}

#[test]
fn a_record_that_always_fails_does_not_hold_up_a_backends_only_connection() {
    let fake_hustdb = poisoned();
    let home = Home::new()
        .with("sync.attempts_max", 3)
        .with("sync.connections_per_backend", 1);
    home.log(&fake_hustdb.name()).put("poison", 1, "x");
    let records = overwrites(&home, &fake_hustdb);
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1 + records);
    assert_rejected(&home, &fake_hustdb, 1);
    assert_all_overwritten(&fake_hustdb);
}

#[test]
fn a_record_that_always_fails_is_rejected_also_when_it_is_all_there_is() {
    let fake_hustdb = poisoned();
    let home = Home::new().with("sync.attempts_max", 3);
    home.log(&fake_hustdb.name()).put("poison", 1, "x");
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1);
    assert_rejected(&home, &fake_hustdb, 1);
}

/// A backend that answers probes and fails records, all of which are one lane's, says so in all
/// places for as long as it does. `stays_up`: so few records fail that it isn't taken down by them.
#[track_caller]
fn check_says_why(keys: u32, lanes: u32, stays_up: bool) {
    let fake_hustdb = fake_hustdb();
    let fails = Rule::new(On::Mutations, Act::status(500));
    fake_hustdb
        .set_script(Script::default().rule(fails))
        .unwrap();
    let home = Home::new()
        .with_port()
        .with("sync.attempts_max", 1_000_000)
        .with("sync.connections_per_backend", lanes);
    let name = fake_hustdb.name();
    let log = home.log(&name);
    for key in 0..keys {
        log.put(&format!("k{key}"), 1, "v");
    }
    let server = home.start();
    // Where it doesn't stay up, it may be so too briefly to be seen; its reason is seen either way.
    eventually(
        "it says why nothing moves, and is up where it stays so",
        || {
            let backend = server.backend(&name);
            backend.is_some_and(|backend| {
                (backend.state == "up" || !stays_up) && backend.why.contains("500")
            })
        },
    );
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        let backend = server.backend(&name).unwrap();
        assert!(!backend.why.is_empty(), "{}", backend.state);
        std::thread::sleep(Duration::from_millis(2));
    }
    eventually(
        "both commands say so, while it is up where it stays so",
        || {
            let (_, json, _) = home.command(&["status", "--json"]);
            let (_, table, _) = home.command(&["status"]);
            let report: serde_json::Value = serde_json::from_str(&json).unwrap();
            let told = &report["backends"][0];
            (told["state"] == "up" || !stays_up)
                && told["why"].as_str().unwrap().contains("500")
                && table
                    .lines()
                    .any(|line| line.contains(&name) && line.contains("500"))
        },
    );
    let credentials = "Authorization: Basic c3luYzpzeW5j\r\n";
    let metrics = crate::ha::ask(server.engine().local_addr(), "GET /metrics", credentials);
    let failures =
        format!("hustdbsync_lane_failures_total{{backend=\"{name}\",cause=\"answer\"}} ");
    let failures = metrics
        .lines()
        .find_map(|line| line.strip_prefix(&*failures));
    let failures = failures.unwrap_or_else(|| panic!("{metrics}"));
    assert!(failures.parse::<f64>().unwrap() > 0.0, "{failures}");
    fake_hustdb.set_script(Script::default()).unwrap();
    server.wait_settled(&name, keys.into());
    eventually("there is nothing more to say", || {
        let backend = server.backend(&name).unwrap();
        backend.state == "up" && backend.why.is_empty()
    });
    server.stop();
}

#[test]
fn a_backend_that_fails_every_record_says_so_while_it_is_up_when_all_are_in_one_lane() {
    // One record, in one of several lanes; and so many that the backend is at fault, in the only
    // one.
    check_says_why(1, 4, true);
    check_says_why(20, 1, false);
}

#[test]
fn a_wrong_password_pauses_the_backend_and_the_right_one_lets_it_go_on() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    fake_hustdb
        .set_credentials(Some(("user", "other")))
        .unwrap();
    let records = overwrites(&home, &fake_hustdb);
    let server = home.start();
    let backend = server.wait_for_state(&fake_hustdb.name(), "refused");
    assert!(!backend.why.is_empty());
    assert_eq!(backend.counts.settled, 0);
    assert!(home.rejected(&fake_hustdb.name()).is_empty());
    // It isn't hammered: from now on it is only asked whether the password is right.
    let asked = fake_hustdb.counters().requests;
    eventually("it is asked again", || {
        fake_hustdb.counters().requests > asked + 3
    });
    assert_eq!(
        server.backend(&fake_hustdb.name()).unwrap().counts.settled,
        0
    );
    fake_hustdb
        .set_credentials(Some((crate::harness::USER, crate::harness::PASSWORD)))
        .unwrap();
    server.wait_settled(&fake_hustdb.name(), records);
    assert_all_overwritten(&fake_hustdb);
}

#[test]
fn a_password_that_was_mended_in_its_file_is_taken_at_a_reload() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    fs::write(home.path("htpasswd"), "user:old\n").unwrap();
    let records = overwrites(&home, &fake_hustdb);
    let server = home.start();
    server.wait_for_state(&fake_hustdb.name(), "refused");
    fs::write(home.path("htpasswd"), "user:password\n").unwrap();
    server.engine().reload();
    server.wait_settled(&fake_hustdb.name(), records);
    assert_all_overwritten(&fake_hustdb);
}

#[test]
fn a_backend_without_a_password_needs_none() {
    let fake_hustdb = FakeHustdb::start(Options::default()).unwrap();
    let home = Home::new();
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1);
    assert_eq!(value(&fake_hustdb, "k").as_deref(), Some("v"));
}

#[test]
fn a_name_that_does_not_resolve_is_told_and_holds_nobody_up() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    home.log("no-such-host.invalid:1").put("k", 1, "v");
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1);
    let backend = server.wait_for_state("no-such-host.invalid:1", "unresolved");
    assert!(!backend.why.is_empty());
}

#[test]
fn a_score_that_was_added_is_not_added_again_when_its_answer_was_lost() {
    use hustdbsync::internals::binlog::{Method, Record};
    let fake_hustdb = fake_hustdb();
    // The first addition is carried out, and its answer never arrives.
    fake_hustdb
        .set_script(Script::default().rule(Rule::new(On::Mutations, Act::Reset).times(1).applied()))
        .unwrap();
    let home = Home::new();
    let log = home.log(&fake_hustdb.name());
    for version in 1..=10 {
        log.record(&Record {
            method: Method::Zadd,
            version,
            key: b"member",
            expires_unix: 0,
            table: b"scores",
            score: 5,
            opt: 1,
            value: b"member",
        });
    }
    let server = home.start();
    let backend = server.wait_settled(&fake_hustdb.name(), 10);
    assert!(backend.counts.asked > 0, "{backend:?}");
    let contents = fake_hustdb.contents();
    let stored = contents.values().next().unwrap();
    assert_eq!(
        stored.value,
        hustdbsync::internals::fake_hustdb::Value::Score(50)
    );
    assert_eq!(stored.version, 10);
}

#[test]
fn a_sorted_set_keeps_its_order_when_answers_were_lost() {
    use hustdbsync::internals::binlog::{Method, Record};
    let fake_hustdb = fake_hustdb();
    // Ten writes are carried out, and none of their answers arrives.
    let lost = Rule::new(On::Mutations, Act::Reset).after(9).times(1);
    fake_hustdb
        .set_script(Script::default().rule(lost.applied()))
        .unwrap();
    let home = Home::new();
    let log = home.log(&fake_hustdb.name());
    for version in 1..=9 {
        log.record(&Record {
            version,
            table: b"scores",
            score: 10 * i64::from(version),
            ..Record::new(Method::Zadd, b"member", b"member")
        });
    }
    log.record(&Record {
        version: 3,
        table: b"scores",
        ..Record::new(Method::Zrem, b"other", b"other")
    });
    let server = home.start();
    let backend = server.wait_settled(&fake_hustdb.name(), 10);
    assert!(backend.counts.asked > 0, "{backend:?}");
    assert_eq!(fake_hustdb.misordered(), [].into());
    let contents = fake_hustdb.contents();
    let stored = contents.values().next().unwrap();
    assert_eq!(
        stored.value,
        hustdbsync::internals::fake_hustdb::Value::Score(90)
    );
}

#[test]
fn requests_that_could_hurt_a_backend_are_rejected() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    log.put(&"k".repeat(5000), 1, "too long a head")
        .put(&"k".repeat(9000), 1, "would crash it")
        .put(&"k".repeat(3000), 1, "long, and possible");
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 3);
    let rejected = home.rejected(&fake_hustdb.name());
    let lines: Vec<_> = rejected.iter().map(|line| line["line"].clone()).collect();
    assert_eq!(lines, [1, 2]);
    assert_eq!(values(&fake_hustdb).len(), 1);
    crate::harness::assert_unharmed(&fake_hustdb);
}

#[test]
fn a_slow_backend_is_waited_for() {
    let script = Script::default().answer_delay(std::time::Duration::from_millis(20));
    let fake_hustdb = fake_hustdb_with(Options {
        script,
        ..Options::default()
    });
    let home = Home::new();
    let written = mixed(&home, &fake_hustdb, 200);
    let server: Running = home.start();
    let backend = server.wait_settled(&fake_hustdb.name(), 200);
    assert_eq!(backend.counts.resent, 0);
    assert_holds(&fake_hustdb, &written.expected(now_unix()));
}
