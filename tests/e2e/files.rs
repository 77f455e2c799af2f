//! Log files: when they go, and what happens when they change under us.

use std::fs::{self, File};
use std::time::Duration;

use hustdbsync::internals::fake_hustdb::FakeHustdb;

use crate::harness::{Home, eventually, fake_hustdb, value, values};
use crate::mounted::Mount;

const NAME: &str = "2026-11-22-16-40.log";
/// More than `checklog_interval` and the 20 s behind it.
const OLD: Duration = Duration::from_secs(600);

#[test]
fn a_log_that_is_old_and_settled_is_deleted_and_its_state_goes() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    home.log(&fake_hustdb.name()).put("k", 1, "v").age(OLD);
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1);
    eventually("it is deleted", || !home.has_log(&fake_hustdb.name(), NAME));
    assert_eq!(value(&fake_hustdb, "k").as_deref(), Some("v"));
    // The counters don't go with it, and a file of the same name is another file.
    home.log(&fake_hustdb.name()).put("k", 2, "w");
    server.wait_settled(&fake_hustdb.name(), 2);
    assert_eq!(value(&fake_hustdb, "k").as_deref(), Some("w"));
}

#[test]
fn a_log_that_may_still_get_lines_stays() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    log.put("k", 1, "v");
    let old = log.file("2026-11-22-16-39.log");
    old.put("old", 1, "v").age(OLD);
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 2);
    // The old one's end shows that there has been time to delete.
    eventually("the old one is deleted", || {
        !home.has_log(&fake_hustdb.name(), "2026-11-22-16-39.log")
    });
    assert!(home.has_log(&fake_hustdb.name(), NAME));
}

#[test]
fn a_log_that_is_not_settled_stays_however_old() {
    let (home, well, dead) = (Home::new(), fake_hustdb(), fake_hustdb());
    dead.kill().unwrap();
    for fake_hustdb in [&well, &dead] {
        home.log(&fake_hustdb.name()).put("k", 1, "v").age(OLD);
    }
    let server = home.start();
    eventually("the other's is deleted", || {
        !home.has_log(&well.name(), NAME)
    });
    assert!(home.has_log(&dead.name(), NAME));
    dead.restart().unwrap();
    server.wait_settled(&dead.name(), 1);
    eventually("now it is", || !home.has_log(&dead.name(), NAME));
}

#[test]
fn a_log_that_somebody_has_open_for_writing_stays() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    let earlier = log.file("2026-11-22-16-39.log");
    earlier.put("earlier", 1, "v").age(OLD);
    log.put("k", 1, "v").age(OLD);
    let open = File::options().append(true).open(log.path()).unwrap();
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 2);
    eventually("the one nobody has open is deleted", || {
        !home.has_log(&fake_hustdb.name(), "2026-11-22-16-39.log")
    });
    assert!(home.has_log(&fake_hustdb.name(), NAME));
    drop(open);
    eventually("then the other", || {
        !home.has_log(&fake_hustdb.name(), NAME)
    });
}

#[test]
fn a_last_line_without_newline_waits_while_the_file_is_open() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    let line = crate::log::line_of(&crate::log::put("k", 1, "v"));
    let (start, end) = line.split_at(60);
    log.put("before", 1, "v").raw(start);
    let server = home.start();
    server.wait_for_state(&fake_hustdb.name(), "up");
    eventually("the whole line is delivered", || {
        value(&fake_hustdb, "before").is_some()
    });
    assert_eq!(values(&fake_hustdb).len(), 1);
    log.raw(end);
    server.wait_settled(&fake_hustdb.name(), 2);
    assert_eq!(value(&fake_hustdb, "k").as_deref(), Some("v"));
    assert!(home.rejected(&fake_hustdb.name()).is_empty());
}

#[test]
fn a_last_line_without_newline_of_a_closed_file_is_a_line() {
    let (home, whole, cut) = (Home::new(), fake_hustdb(), fake_hustdb());
    let line = crate::log::line_of(&crate::log::put("k", 1, "v"));
    let log = home.log(&whole.name());
    log.put("before", 1, "v")
        .raw(line.trim_ascii_end())
        .age(OLD);
    let log = home.log(&cut.name());
    log.put("before", 1, "v").raw(&line[..61]).age(OLD);
    let server = home.start();
    server.wait_settled(&whole.name(), 2);
    assert_eq!(value(&whole, "k").as_deref(), Some("v"));
    server.wait_settled(&cut.name(), 2);
    let rejected = home.rejected(&cut.name());
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0]["line"], 2);
    eventually("both are deleted", || {
        !home.has_log(&whole.name(), NAME) && !home.has_log(&cut.name(), NAME)
    });
}

#[test]
fn a_log_that_was_replaced_under_us_is_read_as_the_new_file_that_it_is() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    log.put("a", 1, "v").put("b", 1, "v");
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 2);
    let other = log.file("new");
    other.put("c", 1, "v").put("d", 1, "v").put("e", 1, "v");
    fs::rename(other.path(), log.path()).unwrap();
    eventually("the new file's keys are there", || {
        values(&fake_hustdb).len() == 5
    });
    log.put("f", 1, "v");
    eventually("and what follows", || values(&fake_hustdb).len() == 6);
}

#[test]
fn a_log_that_shrank_under_us_is_read_again() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    log.put("a", 1, "v").put("b", 1, "v");
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 2);
    fs::write(log.path(), "").unwrap();
    log.put("c", 1, "v");
    eventually("what stands in it now is delivered", || {
        value(&fake_hustdb, "c").is_some()
    });
    log.put("d", 1, "v");
    eventually("and what follows", || value(&fake_hustdb, "d").is_some());
}

#[test]
fn a_log_that_is_deleted_under_us_harms_nothing() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    log.put("a", 1, "v");
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1);
    fs::remove_file(log.path()).unwrap();
    log.file("2026-11-22-16-41.log").put("b", 1, "v");
    eventually("the next file is delivered", || {
        value(&fake_hustdb, "b").is_some()
    });
    fs::remove_dir_all(log.folder()).unwrap();
    log.file("2026-11-22-16-42.log").put("c", 1, "v");
    eventually("the folder comes back", || {
        value(&fake_hustdb, "c").is_some()
    });
}

#[test]
fn files_are_taken_in_the_order_of_their_names() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    for (name, version) in [("c.log", 3), ("a.log", 1), ("b.log", 2)] {
        log.file(name).put("k", version, name).age(OLD);
    }
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 3);
    let versions: Vec<u32> = fake_hustdb
        .history()
        .iter()
        .map(|applied| applied.ver)
        .collect();
    assert_eq!(versions, [1, 2, 3]);
}

#[test]
fn a_folder_under_a_second_name_is_read_once_and_its_backend_gets_a_folder_of_its_own_later() {
    let (home, real, other) = (Home::new(), fake_hustdb(), fake_hustdb());
    home.log(&real.name()).put("k", 1, "v");
    let second = home.path("logs").join(other.name());
    std::os::unix::fs::symlink(home.path("logs").join(real.name()), &second).unwrap();
    let server = home.start();
    server.wait_settled(&real.name(), 1);
    for nth in 0..3 {
        home.log(&real.name()).put(&format!("k{nth}"), 1, "v");
        server.wait_settled(&real.name(), 2 + nth);
    }
    assert!(server.backend(&other.name()).is_none(), "it is no backend");
    fs::remove_file(&second).unwrap();
    home.log(&other.name()).put("own", 1, "v");
    server.wait_settled(&other.name(), 1);
    assert_eq!(values(&other), [("own".to_owned(), "v".to_owned())]);
    // A running backend's folder is replaced by another name of the first one's.
    fs::remove_dir_all(&second).unwrap();
    std::os::unix::fs::symlink(home.path("logs").join(real.name()), &second).unwrap();
    home.log(&real.name()).put("last", 1, "v");
    server.wait_settled(&real.name(), 5);
    server.stop();
    assert_eq!((values(&real).len(), values(&other).len()), (5, 1));
}

#[test]
fn what_is_mounted_over_logs_and_away_again_is_seen_at_once() {
    // The look at all folders does not help.
    let home = Home::new().with("sync.rescan_interval", "1h");
    let (first, second) = (fake_hustdb(), fake_hustdb());
    let folder = |fake_hustdb: &FakeHustdb| home.path("logs").join(fake_hustdb.name());
    let mut settled = [0, 0];
    for fake_hustdb in [&first, &second] {
        fs::create_dir(folder(fake_hustdb)).unwrap();
    }
    let server = home.start();
    let mut check = || {
        for (fake_hustdb, settled) in [&first, &second].into_iter().zip(&mut settled) {
            *settled += 1;
            let key = format!("k{settled}");
            home.log(&fake_hustdb.name()).put(&key, 1, "v");
            server.wait_settled(&fake_hustdb.name(), *settled);
        }
    };
    check();
    // Over one folder; of the logs of another, over it; over all, with new folders.
    let over_one = match Mount::memory(&folder(&first)) {
        Ok(mounted) => mounted,
        Err(why) => return eprintln!("SKIPPED: nothing was mounted over logs: {why}"),
    };
    check();
    drop(over_one);
    check();
    fs::create_dir(home.path("others")).unwrap();
    let over_one = Mount::bind(&home.path("others"), &folder(&second)).unwrap();
    check();
    drop(over_one);
    check();
    let over_all = Mount::memory(&home.path("logs")).unwrap();
    check();
    drop(over_all);
    check();
}

#[test]
fn a_folder_mounted_over_anothers_under_a_running_server_stays_its_backends() {
    let home = Home::new().with("sync.rescan_interval", "1h");
    let both = in_order();
    let folder = |fake_hustdb: &FakeHustdb| home.path("logs").join(fake_hustdb.name());
    for fake_hustdb in &both {
        home.log(&fake_hustdb.name()).put("first", 1, "v");
    }
    let server = home.start();
    let mut sent = [1, 1];
    for (own, covered) in [(0, 1), (1, 0)] {
        for (fake_hustdb, sent) in both.iter().zip(sent) {
            server.wait_settled(&fake_hustdb.name(), sent);
        }
        let mounted = match Mount::bind(&folder(&both[own]), &folder(&both[covered])) {
            Ok(mounted) => mounted,
            Err(why) => return eprintln!("SKIPPED: no folder was mounted over another: {why}"),
        };
        for _ in 0..3 {
            sent[own] += 1;
            let key = format!("k{}", sent[own]);
            home.log(&both[own].name()).put(&key, 1, "v");
            server.wait_settled(&both[own].name(), sent[own]);
        }
        assert_eq!(both[covered].history().len() as u64, sent[covered]);
        drop(mounted);
    }
    server.stop();
}

#[test]
fn lines_of_a_log_that_is_a_link_by_now_come_soon() {
    let home = Home::new().with("sync.rescan_interval", "1h");
    let fake_hustdb = fake_hustdb();
    let log = home.log(&fake_hustdb.name());
    log.put("k", 1, "v");
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1);
    fs::rename(log.path(), home.path("moved.log")).unwrap();
    std::os::unix::fs::symlink(home.path("moved.log"), log.path()).unwrap();
    for version in 2..5 {
        log.put("k", version, "v");
        server.wait_settled(&fake_hustdb.name(), version.into());
    }
    // A hard link is written to by its other name.
    let next = log.file("2026-11-22-16-41.log");
    let elsewhere = home.log("elsewhere").file("x.log");
    elsewhere.put("k", 5, "v");
    fs::hard_link(elsewhere.path(), next.path()).unwrap();
    server.wait_settled(&fake_hustdb.name(), 5);
    elsewhere.put("k", 6, "v");
    server.wait_settled(&fake_hustdb.name(), 6);
}

/// Nothing in the folder changes when a log there gets a name elsewhere.
#[test]
fn lines_that_come_by_a_name_elsewhere_come_soon_from_the_first_one_on() {
    let home = Home::new().with("sync.rescan_interval", "1h");
    let fake_hustdb = fake_hustdb();
    let log = home.log(&fake_hustdb.name());
    log.put("k", 1, "v");
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1);
    let elsewhere = home.log("elsewhere").file("x.log");
    fs::create_dir_all(elsewhere.folder()).unwrap();
    fs::hard_link(log.path(), elsewhere.path()).unwrap();
    for version in 2..4 {
        elsewhere.put("k", version, "v");
        server.wait_settled(&fake_hustdb.name(), version.into());
    }
}

/// Two backends, in the order of their names.
fn in_order() -> [FakeHustdb; 2] {
    let mut both = [fake_hustdb(), fake_hustdb()];
    both.sort_by_key(FakeHustdb::name);
    both
}

/// A server starts on a folder that has two names by now. Its one log has a settled line, by what
/// `known` was sent earlier: it gets the next one, and `other`, which is the other name, gets
/// nothing.
#[track_caller]
fn assert_read_under_the_known_name(home: &Home, known: &FakeHustdb, other: &FakeHustdb) {
    let server = home.start();
    home.log(&known.name()).put("second", 2, "v");
    server.wait_settled(&known.name(), 2);
    home.log(&other.name()).put("third", 3, "v");
    server.wait_settled(&known.name(), 3);
    assert_eq!(known.history().len(), 3, "nothing is sent again");
    assert_eq!(other.history(), [], "nothing is sent to the other");
    let (code, table, _) = home.command(&["status"]);
    let whose = format!("{}: it is the folder \"{}\"", other.name(), known.name());
    assert!(code == 0 && table.contains(&whose), "{table}");
    let (code, table, _) = home.command(&["status", "--wait=1s", "--backend", &other.name()]);
    assert!(code == 3 && table.contains("second name"), "{table}");
    server.stop();
}

/// A home in which a backend of this name was sent one line, and the server has ended.
fn home_after(known: &FakeHustdb, make_folder: impl FnOnce(&Home)) -> Home {
    let home = Home::new().with_port();
    make_folder(&home);
    home.log(&known.name()).put("first", 1, "v");
    let server = home.start();
    server.wait_settled(&known.name(), 1);
    server.stop();
    home
}

#[test]
fn a_folder_mounted_under_a_second_name_while_the_server_is_stopped_is_read_by_who_knew_its_logs() {
    let [other, known] = in_order();
    let home = home_after(&known, |_| {});
    let folder = |fake_hustdb: &FakeHustdb| home.path("logs").join(fake_hustdb.name());
    fs::create_dir(folder(&other)).unwrap();
    let _mounted = match Mount::bind(&folder(&known), &folder(&other)) {
        Ok(mounted) => mounted,
        Err(why) => return eprintln!("SKIPPED: no folder was mounted under a second name: {why}"),
    };
    assert_read_under_the_known_name(&home, &known, &other);
}

#[test]
fn a_link_that_was_read_before_stays_the_name_under_which_its_folder_is_read() {
    let [other, known] = in_order();
    let linked = |home: &Home| home.path("logs").join(known.name());
    let home = home_after(&known, |home| {
        fs::create_dir(home.path("elsewhere")).unwrap();
        std::os::unix::fs::symlink(home.path("elsewhere"), linked(home)).unwrap();
    });
    // The folder comes back among the others, and under another name.
    let folder = home.path("logs").join(other.name());
    fs::rename(home.path("elsewhere"), &folder).unwrap();
    fs::remove_file(linked(&home)).unwrap();
    std::os::unix::fs::symlink(&folder, linked(&home)).unwrap();
    assert_read_under_the_known_name(&home, &known, &other);
}
