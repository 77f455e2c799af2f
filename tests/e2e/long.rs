//! Values that are too long to be held in memory, beside backends in trouble (G6).

use hustdbsync::internals::fake_hustdb::{Act, FakeHustdb, On, Rule, Script};

use crate::harness::{Home, fake_hustdb, value};

/// A value of so many bytes that is like no other.
fn long_value(bytes: usize, nth: usize) -> String {
    let blocks = (0..=bytes / 16).map(|block| format!("{nth:04}-{block:010}|"));
    let mut value: String = blocks.collect();
    value.truncate(bytes);
    value
}

/// Writes `count` values of `bytes` bytes, the same for whatever backend.
fn write(home: &Home, fake_hustdb: &FakeHustdb, count: usize, bytes: usize) {
    let log = home.log(&fake_hustdb.name());
    for nth in 0..count {
        log.put(&format!("k{nth}"), 1, &long_value(bytes, nth));
    }
}

/// Whether it has all of these.
#[track_caller]
fn assert_has(fake_hustdb: &FakeHustdb, count: usize, bytes: usize) {
    for nth in 0..count {
        let found = value(fake_hustdb, &format!("k{nth}"));
        assert!(found == Some(long_value(bytes, nth)), "k{nth} is another");
    }
}

fn failing() -> FakeHustdb {
    let fake_hustdb = fake_hustdb();
    let rule = Rule::new(On::Mutations, Act::status(500));
    fake_hustdb
        .set_script(Script::default().rule(rule))
        .unwrap();
    fake_hustdb
}

#[test]
fn a_backend_that_fails_long_values_keeps_no_other_from_its_own() {
    const BYTES: usize = 12_000_000;
    // However long the other takes: nothing that fails is rejected.
    let home = Home::new().with("sync.attempts_max", 1_000_000);
    let (failing, well) = (failing(), fake_hustdb());
    write(&home, &failing, 3, BYTES);
    write(&home, &well, 3, BYTES);
    let server = home.start();
    server.wait_settled(&well.name(), 3);
    assert_has(&well, 3, BYTES);
    assert_eq!(server.backend(&failing.name()).unwrap().counts.settled, 0);
    failing.set_script(Script::default()).unwrap();
    server.wait_settled(&failing.name(), 3);
    assert_has(&failing, 3, BYTES);
}

#[test]
fn backends_that_take_seconds_for_each_value_keep_no_other_from_its_own() {
    const BYTES: usize = 12_000_000;
    // None of the slow ones lets go of anything before that.
    let home = Home::new().with("sync.response_timeout", "1h");
    let slow = [fake_hustdb(), fake_hustdb(), fake_hustdb()];
    for fake_hustdb in &slow {
        let script = Script::default().rule(Rule::new(On::Mutations, Act::Silence));
        fake_hustdb.set_script(script).unwrap();
        write(&home, fake_hustdb, 1, BYTES);
    }
    let well = fake_hustdb();
    write(&home, &well, 3, BYTES);
    let server = home.start();
    server.wait_settled(&well.name(), 3);
    for fake_hustdb in &slow {
        let counts = server.backend(&fake_hustdb.name()).unwrap().counts;
        assert_eq!((counts.settled, counts.resent), (0, 0));
    }
    assert_has(&well, 3, BYTES);
}

#[test]
fn many_idle_backends_make_no_value_too_long() {
    const BYTES: usize = 600_000;
    let (home, failing, well) = (Home::new(), failing(), fake_hustdb());
    for port in 1..=38 {
        std::fs::create_dir(home.path(format!("logs/127.0.0.1:{port}"))).unwrap();
    }
    write(&home, &failing, 20, BYTES);
    write(&home, &well, 20, BYTES);
    let server = home.start();
    server.wait_settled(&well.name(), 20);
    assert_has(&well, 20, BYTES);
}

#[test]
fn the_longest_value_of_all_goes_within_the_least_memory() {
    // What hustdb takes at most.
    const BYTES: usize = 33_554_432;
    let home = Home::new().with("sync.memory_budget", "48MiB");
    let well = fake_hustdb();
    write(&home, &well, 2, BYTES);
    let server = home.start();
    server.wait_settled(&well.name(), 2);
    assert_has(&well, 2, BYTES);
}

#[test]
fn a_long_line_that_is_refused_is_rejected_whole() {
    const BYTES: usize = 3_000_000;
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    for port in 1..=38 {
        std::fs::create_dir(home.path(format!("logs/127.0.0.1:{port}"))).unwrap();
    }
    fake_hustdb
        .set_script(Script::default().rule(Rule::new(On::Mutations, Act::status(400))))
        .unwrap();
    write(&home, &fake_hustdb, 1, BYTES);
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1);
    let rejected = home.rejected(&fake_hustdb.name());
    let raw = rejected[0]["raw"].as_str().unwrap();
    let text = long_value(BYTES, 0);
    let line = crate::log::line_of(&crate::log::put("k0", 1, &text));
    assert_eq!(rejected[0]["reason"], "bad_request");
    assert!(
        raw.as_bytes() == line.trim_ascii_end(),
        "it is another line"
    );
    server.stop();
}
