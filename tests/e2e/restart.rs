//! Ends and starts: nothing is lost, nothing is counted twice.

use std::fs;
use std::time::{Duration, Instant};

use hustdbsync::internals::fake_hustdb::{Act, FakeHustdb, On, Rule, Script};
use hustdbsync::internals::workload::{Workload, Written};

use crate::harness::{
    DEADLINE, Home, assert_holds, assert_in_order, eventually, fake_hustdb, now_unix, slow_down,
    values,
};

fn mixed(home: &Home, fake_hustdb: &FakeHustdb, records: u64) -> Written {
    let workload = Workload {
        // Files that are not old, so that they stay and the checkpoint matters.
        aged: false,
        ..Workload::mixed(records, now_unix())
    };
    workload
        .write(&home.path("logs"), &fake_hustdb.name())
        .unwrap()
}

#[test]
fn a_server_that_is_ended_in_the_middle_goes_on_where_it_was() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let written = mixed(&home, &fake_hustdb, 20_000);
    slow_down(&fake_hustdb);
    let mut settled_before = 0;
    for _ in 0..3 {
        let server = home.start();
        let name = fake_hustdb.name();
        eventually("some more is settled", || {
            server
                .backend(&name)
                .is_some_and(|backend| backend.counts.settled > settled_before + 500)
        });
        let known = server.backend(&name).unwrap().counts.settled;
        assert!(known < 20_000, "it was ended too late to show anything");
        server.stop();
        settled_before = known;
    }
    fake_hustdb.set_script(Script::default()).unwrap();
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 20_000);
    assert_holds(&fake_hustdb, &written.expected(now_unix()));
}

#[test]
fn a_server_that_starts_again_with_everything_settled_sends_nothing() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    mixed(&home, &fake_hustdb, 1000);
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1000);
    server.stop();
    let requests = || fake_hustdb.counters().beside_probes();
    let before = requests();
    let server = home.start();
    server.wait_for_state(&fake_hustdb.name(), "up");
    let backend = server.wait_settled(&fake_hustdb.name(), 1000);
    assert_eq!(backend.counts.in_flight_records, 0);
    // New lines behind the old ones are all that is sent.
    home.log(&fake_hustdb.name()).put("new", 1, "v");
    server.wait_settled(&fake_hustdb.name(), 1001);
    // Besides probes of the password there is one request.
    assert_eq!(
        fake_hustdb
            .history()
            .iter()
            .filter(|applied| applied.key == b"new")
            .count(),
        1
    );
    assert!(requests() <= before + 3);
}

#[test]
fn a_graceful_end_lets_what_is_in_flight_finish() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let mut text = Vec::new();
    for key in 0..500 {
        let key = format!("k{key}");
        text.extend(crate::log::line_of(&crate::log::put(&key, 1, "v")));
    }
    home.log(&fake_hustdb.name()).raw(text);
    fake_hustdb
        .set_script(Script::default().burst_delay(Duration::from_millis(30)))
        .unwrap();
    let server = home.start();
    eventually("something is in flight", || {
        fake_hustdb.counters().applied > 0
    });
    server.stop();
    let applied = fake_hustdb.counters().applied;
    fake_hustdb.set_script(Script::default()).unwrap();
    let server = home.start();
    let backend = server.wait_settled(&fake_hustdb.name(), 500);
    assert_eq!(backend.counts.resent, 0);
    assert_eq!(
        fake_hustdb.counters().duplicates,
        0,
        "nothing was sent twice, {applied} before the end"
    );
    assert_in_order(&fake_hustdb);
}

#[test]
fn an_end_does_not_wait_for_a_mute_backend_beyond_its_time() {
    let (home, fake_hustdb) = (
        Home::new()
            .with("sync.drain_timeout", "300ms")
            .with("sync.response_timeout", "1h"),
        fake_hustdb(),
    );
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    fake_hustdb
        .set_script(Script::default().rule(Rule::new(On::Mutations, Act::Silence).times(1)))
        .unwrap();
    let server = home.start();
    eventually("it is sent", || fake_hustdb.counters().beside_probes() > 0);
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < DEADLINE / 4, "{:?}", begun.elapsed());
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1);
    assert_eq!(values(&fake_hustdb).len(), 1);
}

#[test]
fn a_checkpoint_that_does_not_read_back_means_that_the_log_is_sent_again() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let written = mixed(&home, &fake_hustdb, 1000);
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1000);
    server.stop();
    let checkpoint = home.state(&fake_hustdb.name(), "checkpoint");
    let mut bytes = fs::read(&checkpoint).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&checkpoint, bytes).unwrap();
    let requests = fake_hustdb.counters().requests;
    let server = home.start();
    eventually("all of it is sent again", || {
        fake_hustdb.counters().requests >= requests + 1000
            && server
                .backend(&fake_hustdb.name())
                .is_some_and(|backend| backend.backlog_bytes == 0)
    });
    server.stop();
    assert_holds(&fake_hustdb, &written.expected(now_unix()));
}

#[test]
fn two_servers_on_one_state_are_refused() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let server = home.start();
    let said = home.start_error();
    assert!(said.contains(".lock"), "{said}");
    assert!(said.contains(&std::process::id().to_string()), "{said}");
    // The first one works on, and when it has ended there is room for another.
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    server.wait_settled(&fake_hustdb.name(), 1);
    server.stop();
    home.start().wait_settled(&fake_hustdb.name(), 1);
}

#[test]
fn what_can_not_run_says_which_setting_is_to_blame() {
    let check = |home: &Home, setting: &str| {
        let said = home.start_error();
        assert!(said.contains(setting), "{said} names no {setting}");
    };
    let home = Home::new();
    check(
        &Home::new().with("sync.logs_path", "/no/such/logs"),
        "/no/such/logs",
    );
    check(
        &Home::new().with("sync.auth_path", "/no/such/login"),
        "/no/such/login",
    );
    fs::write(home.path("file"), "").unwrap();
    let path = home.path("file").join("below");
    check(
        &Home::new().with("sync.ngx_path", path.to_str().unwrap()),
        "file/below",
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    check(&Home::new().with("network.port", port), &port.to_string());
}
