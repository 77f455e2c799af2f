//! Backends that come and go: their places, their numbers, their state.

use std::fs;

use crate::harness::{Home, Running, eventually, fake_hustdb, value};

/// More than there may be at a time.
const MANY: u16 = 1100;

#[test]
fn more_than_there_is_room_for_come_and_go_and_a_new_one_gets_its_records() {
    // Each of them is down. Were they all probed ten times a second, the disk would be busy with
    // their outages for minutes.
    let home = Home::new()
        .with("sync.probe_interval_down", "60s")
        .with("sync.checkdb_interval", "60s");
    let logs = home.path("logs");
    let folder = |nth: u16| logs.join(format!("127.0.0.1:{}", 1 + nth));
    for nth in 0..MANY {
        fs::create_dir(folder(nth)).unwrap();
    }
    let server = home.start();
    let count = || server.engine().snapshot().backends().len();
    eventually("there are as many as may be", || count() == 1024);
    for nth in 0..MANY {
        fs::remove_dir(folder(nth)).unwrap();
    }
    let new = fake_hustdb();
    home.log(&new.name()).put("k", 1, "v");
    server.wait_settled(&new.name(), 1);
    assert_eq!(value(&new, "k").as_deref(), Some("v"));
    eventually("all others are forgotten", || count() == 1);
    server.stop();
}

/// The only backend is forgotten: nothing is left of it but its share of the totals, which a
/// restart reads again. Returns the restarted server.
fn check_forgotten(home: &Home, server: Running, name: &str, totals: (u64, u64)) -> Running {
    // A snapshot is some milliseconds old.
    eventually("its numbers are in the total alone", || {
        let snapshot = server.engine().snapshot();
        (snapshot.backends().len(), snapshot.totals()) == (0, totals)
    });
    assert!(!home.path("status").join(name).exists());
    server.stop();
    let server = home.start();
    eventually("the totals are read", || {
        server.engine().snapshot().totals() == totals
    });
    server
}

#[test]
fn what_one_had_come_to_stays_in_the_total_over_restarts() {
    let home = Home::new().with_port();
    let fake_hustdb = fake_hustdb();
    let name = fake_hustdb.name();
    let log = home.log(&name);
    log.put("a", 1, "v").put("b", 1, "v");
    let server = home.start();
    server.wait_settled(&name, 2);
    fs::remove_dir_all(log.folder()).unwrap();
    let (code, _, err) = {
        let mut answer = home.command(&["ctl", "forget", &name]);
        eventually("its folder is missed", || {
            answer = home.command(&["ctl", "forget", &name]);
            !answer.2.contains("its folder is there")
        });
        answer
    };
    // Where nothing is left of it, the server forgets it by itself.
    if code != 0 && !err.contains("there is no backend") {
        assert!(
            err.contains("it still has ") && err.contains("--yes"),
            "{err}"
        );
        let (code, out, err) = home.command(&["ctl", "forget", &name, "--yes"]);
        assert_eq!((code, out), (0, format!("{name}: forgotten\n")), "{err}");
    }
    let server = check_forgotten(&home, server, &name, (2, 2));
    log.put("c", 1, "v");
    server.wait_settled(&name, 1);
    eventually("what came since is added", || {
        server.engine().snapshot().totals() == (3, 3)
    });
    server.stop();
}

#[test]
fn one_whose_folder_went_while_the_server_was_down_is_shown_and_can_be_forgotten_or_come_back() {
    let home = Home::new().with_port().with("sync.rescan_interval", "1s");
    let fake_hustdb = fake_hustdb();
    let name = fake_hustdb.name();
    let log = home.log(&name);
    log.put("a", 1, "v").put("b", 1, "v");
    let server = home.start();
    server.wait_settled(&name, 2);
    server.stop();
    let away = home.path("away");
    fs::rename(log.folder(), &away).unwrap();
    let server = home.start();
    eventually("it is shown, with what it had come to", || {
        let counts = server.backend(&name).map(|backend| backend.counts.settled);
        counts == Some(2)
    });
    let (code, _, err) = home.command(&["ctl", "forget", &name]);
    assert!(
        code == 1 && err.contains("its place in a log that is gone") && err.contains("--yes"),
        "{err}"
    );
    // Its folder comes back: it goes on where it was.
    fs::rename(&away, log.folder()).unwrap();
    log.put("c", 1, "v");
    server.wait_settled(&name, 3);
    assert_eq!(value(&fake_hustdb, "c").as_deref(), Some("v"));
    assert_eq!(fake_hustdb.counters().applied, 3, "nothing is sent again");
    server.stop();

    fs::remove_dir_all(log.folder()).unwrap();
    let server = home.start();
    eventually("it is shown again", || server.backend(&name).is_some());
    eventually("it is forgotten", || {
        let (code, ..) = home.command(&["ctl", "forget", &name, "--yes"]);
        code == 0
    });
    let server = check_forgotten(&home, server, &name, (3, 3));
    assert!(server.backend(&name).is_none());
    server.stop();
}
