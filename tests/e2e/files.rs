//! Log files: when they go, and what happens when they change under us.

use std::fs::{self, File};
use std::time::Duration;

use crate::harness::{Home, eventually, fake_hustdb, value, values};

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
