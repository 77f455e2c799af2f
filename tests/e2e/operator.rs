//! What an operator says by commands: wait until a backend is in sync, pause, resume, drain.

use std::io::Write;

use hustdbsync::internals::workload::Workload;

use crate::harness::{
    Home, assert_holds, assert_in_order, eventually, fake_hustdb, now_unix, slow_down, value,
};
use crate::mounted::Mount;
use crate::process::Process;

#[test]
fn a_script_waits_until_a_backend_is_whole_before_it_takes_the_other_down() {
    let home = Home::new().with_port();
    let (whole, gone) = (fake_hustdb(), fake_hustdb());
    let server = home.start();
    gone.kill().unwrap();
    home.log(&gone.name()).put("k", 1, "v");
    server.wait_for_state(&gone.name(), "down");
    let written = Workload::mixed(5000, now_unix())
        .write(&home.path("logs"), &whole.name())
        .unwrap();
    // No hint need have come: what is in the logs now counts.
    let (code, out, err) = home.command(&["status", "--wait=60s", "--backend", &whole.name()]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.starts_with(&format!("{} is in sync", whole.name())),
        "{out}"
    );
    assert_holds(&whole, &written.expected(now_unix()));

    let (code, out, _) = home.command(&["status", "--wait=300ms"]);
    assert_eq!(code, 3, "{out}");
    assert!(
        out.starts_with("not in sync within 300ms")
            && out.contains(&format!("  {}: ", gone.name()))
            && out.contains("in 1 log to go; it is down: ")
            && !out.contains(&format!("  {}: ", whole.name())),
        "{out}"
    );
    let (code, out, _) = home.command(&["status", "--wait=0s", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["settled"]), (3, &false.into()), "{out}");

    gone.restart().unwrap();
    let (code, out, _) = home.command(&["status", "--wait=60s"]);
    assert_eq!((code, out.as_str()), (0, "all 2 backends are in sync\n"));
    assert_eq!(value(&gone, "k").as_deref(), Some("v"));
    server.stop();
}

#[test]
fn a_wait_ends_with_3_where_the_folder_of_logs_is_gone_and_goes_on_where_it_is_back() {
    let home = Home::new().with_port();
    let fake_hustdb = fake_hustdb();
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1);
    let (logs, away) = (home.path("logs"), home.path("away"));
    std::fs::rename(&logs, &away).unwrap();
    let (code, out, err) = home.command(&["status", "--wait=60s"]);
    assert_eq!((code, err.as_str()), (3, ""), "{out}");
    assert!(
        out.starts_with("not in sync: the logs cannot be listed: ") && out.contains("/logs"),
        "{out}"
    );
    let (code, out, err) = home.command(&["status", "--wait=0s", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["settled"]), (3, &false.into()), "{out}");
    assert!(err.contains("cannot be listed"), "{err}");
    let (code, out) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| home.command(&["status", "--wait=60s"]));
        std::fs::rename(&away, &logs).unwrap();
        let (code, out, _) = waiting.join().unwrap();
        (code, out)
    });
    assert_eq!(code, 0, "{out}");
    server.stop();
}

#[test]
fn a_wait_fails_soon_where_what_is_missing_is_gone() {
    let home = Home::new().with_port();
    let fake_hustdb = fake_hustdb();
    fake_hustdb.kill().unwrap();
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    let server = home.start();
    server.wait_for_state(&fake_hustdb.name(), "down");
    let log = home.log(&fake_hustdb.name()).path();
    let (code, out, err) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| home.command(&["status", "--wait=60s"]));
        eventually("it waits", || {
            let (_, out, _) = home.command(&["status", "--json"]);
            out.contains("\"sync_point_waiters\":1,")
        });
        std::fs::rename(&log, home.path("log")).unwrap();
        waiting.join().unwrap()
    });
    assert_eq!((code, err.as_str()), (3, ""), "{out}");
    assert!(
        out.starts_with("not in sync: what is missing is gone from its folders")
            && out.contains("in 1 of them not in the folder any more"),
        "{out}"
    );
    let (code, out, err) = home.command(&["status", "--wait=60s", "--ignore-gone"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("in sync, except for what is gone"), "{out}");
    std::fs::rename(home.path("log"), &log).unwrap();
    fake_hustdb.restart().unwrap();
    let (code, out, _) = home.command(&["status", "--wait=60s"]);
    assert_eq!(code, 0, "{out}");
    assert_eq!(value(&fake_hustdb, "k").as_deref(), Some("v"));
}

#[test]
fn a_wait_that_begins_when_a_log_or_its_folder_has_gone_names_it_and_fails_soon() {
    let home = Home::new().with_port();
    let fake_hustdb = fake_hustdb();
    fake_hustdb.kill().unwrap();
    let log = home.log(&fake_hustdb.name());
    log.put("k", 1, "v");
    let server = home.start();
    server.wait_for_state(&fake_hustdb.name(), "down");
    eventually("it is seen", || {
        server.backend(&fake_hustdb.name()).unwrap().backlog_bytes > 0
    });
    let away = home.path("away");
    let file_name = log.path().file_name().unwrap().to_str().unwrap().to_owned();
    for gone in [log.path(), log.folder().to_owned()] {
        std::fs::rename(&gone, &away).unwrap();
        let (code, out, err) = home.command(&["status", "--wait=60s"]);
        assert_eq!((code, err.as_str()), (3, ""), "{out}");
        assert!(
            out.starts_with("not in sync: what is missing is gone from its folders")
                && out.contains(&format!(
                    "in 1 of them not in the folder any more ({file_name}): "
                )),
            "{out}"
        );
        let (code, out, _) = home.command(&["status", "--wait=0s", "--json"]);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        let told = &report["backends"][0];
        assert_eq!(
            (code, &report["settled"], told["gone_log"].as_str()),
            (3, &false.into(), Some(&*file_name)),
            "{out}"
        );
        assert!(told["gone_bytes"].as_u64() > Some(0), "{out}");
        std::fs::rename(&away, &gone).unwrap();
    }
    fake_hustdb.restart().unwrap();
    let (code, out, _) = home.command(&["status", "--wait=60s"]);
    assert_eq!(code, 0, "{out}");
    assert_eq!(value(&fake_hustdb, "k").as_deref(), Some("v"));
    // What was delivered may go.
    std::fs::rename(log.folder(), &away).unwrap();
    let (code, out, _) = home.command(&["status", "--wait=60s"]);
    assert_eq!(code, 0, "{out}");
    server.stop();
}

/// `sed -i`, `cp a b && mv b a`, or rsync, while the log waits for its backend.
#[test]
fn a_wait_for_a_replaced_log_ends_when_the_new_one_is_delivered() {
    for was_begun in [false, true] {
        let home = Home::new().with_port();
        let fake_hustdb = fake_hustdb();
        let server = home.start();
        let log = home.log(&fake_hustdb.name());
        // At its start a server looks at first lines, by which it knows a copy, only later.
        std::fs::create_dir_all(log.folder()).unwrap();
        server.wait_for_state(&fake_hustdb.name(), "up");
        if was_begun {
            log.put("first", 1, "v");
            server.wait_settled(&fake_hustdb.name(), 1);
        }
        fake_hustdb.kill().unwrap();
        log.put("k", 1, "v");
        server.wait_for_state(&fake_hustdb.name(), "down");
        eventually("it is seen", || {
            server.backend(&fake_hustdb.name()).unwrap().backlog_bytes > 0
        });
        let copy = home.path("copy");
        std::fs::copy(log.path(), &copy).unwrap();
        std::fs::rename(&copy, log.path()).unwrap();
        let (code, out, err) = home.command(&["status", "--wait=1s"]);
        assert_eq!((code, err.as_str()), (3, ""), "{out}");
        fake_hustdb.restart().unwrap();
        let (code, out, _) = home.command(&["status", "--wait=60s"]);
        assert_eq!(code, 0, "{was_begun}: {out}");
        assert_eq!(value(&fake_hustdb, "k").as_deref(), Some("v"));
        server.stop();
    }
}

#[test]
fn a_wait_outlasts_a_restart_of_the_server() {
    let home = Home::new().with_port();
    let fake_hustdb = fake_hustdb();
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    fake_hustdb.kill().unwrap();
    let server = home.start();
    server.wait_for_state(&fake_hustdb.name(), "down");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| home.command(&["status", "--wait=60s"]));
        eventually("it waits", || {
            let (_, out, _) = home.command(&["status", "--json"]);
            out.contains("\"sync_point_waiters\":1,")
        });
        server.stop();
        let server = home.start();
        fake_hustdb.restart().unwrap();
        let (code, out, err) = waiting.join().unwrap();
        assert_eq!(code, 0, "{out}{err}");
        assert_eq!(value(&fake_hustdb, "k").as_deref(), Some("v"));
        server.stop();
    });
}

#[test]
fn a_paused_backend_is_left_alone_and_loses_nothing() {
    let home = Home::new().with_port();
    let (fake_hustdb, other) = (fake_hustdb(), fake_hustdb());
    let name = fake_hustdb.name();
    let written = Workload::mixed(20_000, now_unix())
        .write(&home.path("logs"), &name)
        .unwrap();
    slow_down(&fake_hustdb);
    let server = home.start();
    eventually("some is sent", || fake_hustdb.counters().requests > 500);
    let (code, out, err) = home.command(&["ctl", "pause", &name]);
    assert_eq!(
        (code, out, err.as_str()),
        (0, format!("{name}: paused\n"), "")
    );
    let paused = server.wait_for_state(&name, "paused");
    assert!(
        paused.why.contains("hustdbsync ctl resume"),
        "{}",
        paused.why
    );
    eventually("all connections are closed", || {
        server.backend(&name).unwrap().counts.connections_open == 0
    });
    // Like hustdb it goes on with what it has received before it sees their end.
    eventually("it sees their end", || fake_hustdb.counters().open <= 1);
    let before = fake_hustdb.counters().requests;
    home.log(&other.name()).put("k", 1, "v");
    server.wait_settled(&other.name(), 1);
    assert_eq!(fake_hustdb.counters().requests, before, "it is left alone");
    let again = (0, format!("{name}: it is paused already\n"), String::new());
    assert_eq!(home.command(&["ctl", "pause", &name]), again);
    let (code, out, _) = home.command(&["status", "--wait=0s", "--backend", &name]);
    assert!(
        code == 3 && out.contains("it is paused: an operator"),
        "{out}"
    );

    fake_hustdb
        .set_script(hustdbsync::internals::fake_hustdb::Script::default())
        .unwrap();
    let (code, _, err) = home.command(&["ctl", "resume", &name]);
    assert_eq!((code, err.as_str()), (0, ""));
    server.wait_settled(&name, 20_000);
    assert_holds(&fake_hustdb, &written.expected(now_unix()));
    server.stop();
}

#[test]
fn a_rate_is_bound_and_let_go() {
    let home = Home::new().with_port();
    let fake_hustdb = fake_hustdb();
    let name = fake_hustdb.name();
    let log = home.log(&name);
    log.put("first", 1, "v");
    let server = home.start();
    server.wait_settled(&name, 1);
    let (code, out, _) = home.command(&["ctl", "rate", &name, "50"]);
    assert_eq!(
        (code, out),
        (0, format!("{name}: at most 50 records/s now\n"))
    );
    let mut lines = Vec::new();
    for nth in 0..200 {
        lines.extend(crate::log::line_of(&crate::log::put(
            &format!("k{nth}"),
            1,
            "v",
        )));
    }
    let began = std::time::Instant::now();
    log.raw(lines);
    eventually("some are settled", || {
        server.backend(&name).unwrap().counts.settled > 60
    });
    let settled = server.backend(&name).unwrap().counts.settled;
    let most = 1.0 + 50.0 * (began.elapsed().as_secs_f64() + 1.0) + 64.0;
    assert!(
        (settled as f64) < most,
        "{settled} in {:?}",
        began.elapsed()
    );
    let (code, out, _) = home.command(&["ctl", "rate", &name, "default"]);
    assert_eq!(
        (code, out),
        (0, format!("{name}: its rate has no bound now\n"))
    );
    server.wait_settled(&name, 201);
    assert_in_order(&fake_hustdb);
    server.stop();
}

#[test]
fn a_drain_ends_the_process_with_0_and_a_server_that_is_not_there_is_said_to_be() {
    let home = Home::new().with_port();
    let fake_hustdb = fake_hustdb();
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    let mut process = Process::start(&home);
    eventually("it works", || value(&fake_hustdb, "k").is_some());
    let (code, _, err) = home.command(&["ctl", "rotate"]);
    assert!(code == 1 && err.contains("no log file of its own"), "{err}");
    let (code, out, err) = home.command(&["ctl", "stop"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("then the server ends"), "{out}");
    assert_eq!(process.wait().code(), Some(0));
    for args in [
        &["ctl", "stop"][..],
        &["ctl", "pause", "10.0.0.1:1"],
        &["status", "--wait=1s"],
        &["rejected", "replay", "--all"],
    ] {
        let (code, _, err) = home.command(args);
        assert!(
            code == 1 && err.contains("is it running") && err.lines().count() == 1,
            "{args:?}: {err}"
        );
    }
}

/// Who asks why a backend is down runs it beside the server.
#[test]
fn check_finds_no_fault_in_the_server_that_runs() {
    let home = Home::new().with_port();
    let backend = fake_hustdb();
    home.log(&backend.name()).put("k", 1, "v");
    let server = home.start();
    server.wait_settled(&backend.name(), 1);
    let (_, out, err) = home.command(&["check"]);
    let is_named = format!("as process {} does, which runs with", std::process::id());
    assert!(out.contains(&is_named), "{out}{err}");
    assert!(!err.contains("another sync server"), "{err}");
}

#[test]
fn a_disk_of_state_that_takes_no_write_is_a_fault_that_check_finds() {
    let home = Home::new().with_port();
    let status = home.path("status");
    std::fs::create_dir(&status).unwrap();
    let memory = match Mount::memory(&status) {
        Ok(memory) => memory,
        Err(why) => {
            eprintln!("SKIPPED: nothing can be mounted here: {why}");
            return;
        }
    };
    let (code, out, _) = home.command(&["check"]);
    assert_eq!(code, 0, "{out}");
    let mut filler = std::fs::File::create(status.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    let (code, _, err) = home.command(&["check"]);
    let told = format!("{}: its file system is full", status.display());
    assert!(code == 1 && err.contains(&told), "{err}");

    // A server says so of its backends, too, and what the disk said.
    let fake_hustdb = fake_hustdb();
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    let server = home.start();
    eventually("its state is faulty", || {
        let backend = server.backend(&fake_hustdb.name());
        backend.is_some_and(|backend| backend.counts.state_faulty > 0)
    });
    let told = format!("cannot write the state of {}", fake_hustdb.name());
    eventually("check says so", || {
        let (code, _, err) = home.command(&["check"]);
        code == 1 && err.contains(&told) && err.contains("os error 28")
    });
    filler.set_len(0).unwrap();
    server.wait_settled(&fake_hustdb.name(), 1);
    eventually("check finds no fault", || home.command(&["check"]).0 == 0);
    server.stop();
    drop(memory);
}
