//! Lines that were rejected: listed, replayed once their cause is mended, thrown away.

use hustdbsync::internals::binlog::{Method, Record};
use hustdbsync::internals::fake_hustdb::{Act, FakeHustdb, On, Rule, Script};

use crate::harness::{Home, Running, eventually, fake_hustdb, value};
use crate::log::put;

/// A backend that refuses two of three puts, and a server that has rejects them.
fn refused() -> (Home, FakeHustdb, Running) {
    let (home, fake_hustdb) = (Home::new().with_port(), fake_hustdb());
    let rule = Rule::new(On::KeyPrefix(b"bad".to_vec()), Act::status(400));
    fake_hustdb
        .set_script(Script::default().rule(rule))
        .unwrap();
    home.log(&fake_hustdb.name())
        .put("bad1", 1, "v1")
        .put("good", 1, "v")
        .put("bad2", 1, "v2");
    let server = home.start();
    let backend = server.wait_settled(&fake_hustdb.name(), 3);
    assert_eq!(backend.counts.rejected, 2);
    (home, fake_hustdb, server)
}

/// The ids that `rejected list` shows with these arguments.
fn listed(home: &Home, args: &[&str]) -> Vec<String> {
    let (code, out, _) = home.command(&[&["rejected", "list"], args].concat());
    assert_eq!(code, 0, "{out}");
    out.lines().map(|line| line[..16].to_owned()).collect()
}

#[test]
fn lines_are_replayed_when_the_cause_is_mended_and_count_once() {
    let (home, fake_hustdb, server) = refused();
    let name = fake_hustdb.name();
    assert_eq!(listed(&home, &[]).len(), 2);
    assert_eq!(
        listed(&home, &["--reason", "bad_request", "--since", "1h"]).len(),
        2
    );
    assert!(listed(&home, &["--until", "2020-01-01"]).is_empty());
    let (_, shown, _) = home.command(&["rejected", "show", "--values"]);
    assert!(
        shown.contains("record   put, version 1, key bad2, value v2\n"),
        "{shown}"
    );

    // The cause is still there: they come back, and are still two.
    let (code, out, err) = home.command(&["rejected", "replay", "--backend", &name]);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "2 lines replayed, 0 left\n", "")
    );
    eventually("they are rejected again", || {
        let files = home.rejected(&name).into_iter();
        files
            .filter(|line| line["file"].as_str().unwrap().starts_with("0-rejected-"))
            .count()
            == 2
    });
    server.wait_settled(&name, 3);

    fake_hustdb.set_script(Script::default()).unwrap();
    let (code, out, _) = home.command(&["rejected", "replay", "--all"]);
    assert_eq!((code, out.as_str()), (0, "2 lines replayed, 0 left\n"));
    eventually("they are applied", || {
        value(&fake_hustdb, "bad1").as_deref() == Some("v1")
            && value(&fake_hustdb, "bad2").as_deref() == Some("v2")
    });
    let counts = server.wait_settled(&name, 3).counts;
    assert_eq!(
        (counts.applied, counts.rejected),
        (1, 2),
        "each counts once"
    );
    assert!(listed(&home, &[]).is_empty() && home.rejected(&name).is_empty());
    let applied = fake_hustdb.history().len();
    server.stop();
    // And once means once: a restart sends nothing again.
    let server = home.start();
    server.wait_settled(&name, 3);
    assert_eq!(fake_hustdb.history().len(), applied);
    server.stop();
}

#[test]
fn lines_are_replayed_to_a_backend_that_comes_back_later() {
    let (home, fake_hustdb, server) = refused();
    let name = fake_hustdb.name();
    fake_hustdb.set_script(Script::default()).unwrap();
    fake_hustdb.kill().unwrap();
    server.wait_for_state(&name, "down");
    let id = &listed(&home, &[])[0];
    let (code, out, _) = home.command(&["rejected", "replay", "--id", id]);
    assert_eq!((code, out.as_str()), (0, "1 line replayed, 1 left\n"));
    server.stop();
    let server = home.start();
    fake_hustdb.restart().unwrap();
    // Which of the two was rejected first, and so is listed first, their lanes decide.
    let applied = || {
        let keys = ["bad1", "bad2"].into_iter();
        keys.filter(|key| value(&fake_hustdb, key).is_some())
            .count()
    };
    eventually("it is applied", || applied() > 0);
    server.wait_settled(&name, 3);
    assert_eq!(applied(), 1, "the other one was not asked for");
    server.stop();
}

#[test]
fn an_addition_that_is_replayed_is_asked_for_first() {
    let (home, fake_hustdb) = (Home::new().with_port(), fake_hustdb());
    let server = home.start();
    home.log(&fake_hustdb.name()).put("first", 1, "v");
    server.wait_settled(&fake_hustdb.name(), 1);
    let rule = Rule::new(On::Mutations, Act::status(400)).times(1);
    fake_hustdb
        .set_script(Script::default().rule(rule))
        .unwrap();
    home.log(&fake_hustdb.name()).record(&Record {
        method: Method::Zadd,
        table: b"t",
        score: 5,
        opt: 1,
        ..put("m", 1, "m")
    });
    server.wait_settled(&fake_hustdb.name(), 2);
    let asked = server.backend(&fake_hustdb.name()).unwrap().counts.asked;
    assert_eq!(asked, 1, "its line was written while the backend was up");
    let (code, _, err) = home.command(&["rejected", "replay", "--all"]);
    assert_eq!((code, err.as_str()), (0, ""));
    eventually("it is applied", || fake_hustdb.history().len() == 2);
    // It counted as settled before, and does again: that says nothing of this time.
    eventually("it was asked for, as it may have been sent before", || {
        server.backend(&fake_hustdb.name()).unwrap().counts.asked == 2
    });
    server.wait_settled(&fake_hustdb.name(), 2);
    server.stop();
}

#[test]
fn lines_of_a_server_with_another_state_are_neither_replayed_nor_dropped() {
    let (mut home, fake_hustdb, server) = refused();
    let name = fake_hustdb.name();
    home.set("sync.ngx_path", home.path("other").display().to_string());
    let told = |args: &[&str]| {
        let (code, out, err) = home.command(args);
        assert_eq!((code, out.as_str()), (1, ""), "{args:?}: {err}");
        err
    };
    let absent = told(&["rejected", "list"]);
    assert!(absent.contains("there is no state folder"), "{absent}");
    std::fs::create_dir_all(home.path("other/status")).unwrap();
    for args in [
        &["rejected", "drop", "--all", "--yes"][..],
        &["rejected", "replay", "--all"],
        &["differences", "repair", "--all"],
        &["differences", "drop", "--all", "--yes"],
        &["ctl", "forget", &name, "--yes"],
    ] {
        let err = told(args);
        for path in ["status", "other/status"].map(|path| home.path(path)) {
            assert!(err.contains(path.to_str().unwrap()), "{args:?}: {err}");
        }
    }
    assert_eq!(home.rejected(&name).len(), 2);
    server.stop();
}

#[test]
fn lines_are_dropped_by_the_server_or_where_none_runs_by_the_command() {
    let (home, fake_hustdb, server) = refused();
    let ids = listed(&home, &[]);
    let (code, out, _) = home.command(&["rejected", "drop", "--id", &ids[0]]);
    assert_eq!((code, out.as_str()), (0, "1 line dropped, 1 left\n"));
    assert_eq!(listed(&home, &[]), ids[1..]);
    let (code, out, err) = home.command(&["rejected", "drop", "--id", &ids[0]]);
    assert_eq!((code, out.as_str()), (1, "0 lines dropped, 1 left\n"));
    assert!(err.contains("of 1 given by --id, 1 are not left"), "{err}");
    server.stop();
    // And a line that this server did not write.
    let path = format!("status/{}/rejected.jsonl", fake_hustdb.name());
    let content = std::fs::read(home.path(&path)).unwrap();
    std::fs::write(home.path(&path), [&content[..], b"a note\n"].concat()).unwrap();
    let (_, _, err) = home.command(&["rejected", "list"]);
    assert!(err.contains("1 further line of rejected.jsonl"), "{err}");
    let (code, out, err) = home.command(&["rejected", "drop", "--all", "--yes"]);
    assert_eq!(
        (code, out.as_str()),
        (0, "2 lines dropped, 0 left\n"),
        "{err}"
    );
    assert!(listed(&home, &[]).is_empty());
    let server = home.start();
    let backend = server.wait_settled(&fake_hustdb.name(), 3);
    assert_eq!(
        backend.counts.rejected, 2,
        "they were rejected, and are settled"
    );
    server.stop();
}
