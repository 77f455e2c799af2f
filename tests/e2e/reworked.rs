//! Lines that were set aside: listed, replayed once their cause is mended, thrown away.

use hustdbsync::binlog::{Method, Record};
use hustdbsync::standin::{Act, On, Rule, Script, Standin};

use crate::harness::{Home, Running, eventually, standin, value};
use crate::log::put;

/// A backend that refuses two of three puts, and a server that has set them aside.
fn refused() -> (Home, Standin, Running) {
    let (home, standin) = (Home::new().with_port(), standin());
    let rule = Rule::new(On::KeyPrefix(b"bad".to_vec()), Act::status(400));
    standin.set_script(Script::default().rule(rule)).unwrap();
    home.log(&standin.name())
        .put("bad1", 1, "v1")
        .put("good", 1, "v")
        .put("bad2", 1, "v2");
    let server = home.start();
    let backend = server.wait_settled(&standin.name(), 3);
    assert_eq!(backend.counts.rejected, 2);
    (home, standin, server)
}

/// The ids that `rejected list` shows with these arguments.
fn listed(home: &Home, args: &[&str]) -> Vec<String> {
    let (code, out, _) = home.command(&[&["rejected", "list"], args].concat());
    assert_eq!(code, 0, "{out}");
    out.lines().map(|line| line[..16].to_owned()).collect()
}

#[test]
fn lines_are_replayed_when_the_cause_is_mended_and_count_once() {
    let (home, standin, server) = refused();
    let name = standin.name();
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
    eventually("they are set aside again", || {
        let files = home.rejected(&name).into_iter();
        files
            .filter(|line| line["file"].as_str().unwrap().starts_with("0-rejected-"))
            .count()
            == 2
    });
    server.wait_settled(&name, 3);

    standin.set_script(Script::default()).unwrap();
    let (code, out, _) = home.command(&["rejected", "replay", "--all"]);
    assert_eq!((code, out.as_str()), (0, "2 lines replayed, 0 left\n"));
    eventually("they are applied", || {
        value(&standin, "bad1").as_deref() == Some("v1")
            && value(&standin, "bad2").as_deref() == Some("v2")
    });
    let counts = server.wait_settled(&name, 3).counts;
    assert_eq!(
        (counts.applied, counts.rejected),
        (1, 2),
        "each counts once"
    );
    assert!(listed(&home, &[]).is_empty() && home.rejected(&name).is_empty());
    let applied = standin.history().len();
    server.stop();
    // And once means once: a restart sends nothing again.
    let server = home.start();
    server.wait_settled(&name, 3);
    assert_eq!(standin.history().len(), applied);
    server.stop();
}

#[test]
fn lines_are_replayed_to_a_backend_that_comes_back_later() {
    let (home, standin, server) = refused();
    let name = standin.name();
    standin.set_script(Script::default()).unwrap();
    standin.kill().unwrap();
    server.wait_for_state(&name, "down");
    let id = &listed(&home, &[])[0];
    let (code, out, _) = home.command(&["rejected", "replay", "--id", id]);
    assert_eq!((code, out.as_str()), (0, "1 line replayed, 1 left\n"));
    server.stop();
    let server = home.start();
    standin.restart().unwrap();
    // Which of the two was rejected first, and so is listed first, their lanes decide.
    let applied = || {
        let keys = ["bad1", "bad2"].into_iter();
        keys.filter(|key| value(&standin, key).is_some()).count()
    };
    eventually("it is applied", || applied() > 0);
    server.wait_settled(&name, 3);
    assert_eq!(applied(), 1, "the other one was not asked for");
    server.stop();
}

#[test]
fn an_addition_that_is_replayed_is_asked_for_first() {
    let (home, standin) = (Home::new().with_port(), standin());
    let server = home.start();
    home.log(&standin.name()).put("first", 1, "v");
    server.wait_settled(&standin.name(), 1);
    let rule = Rule::new(On::Mutations, Act::status(400)).times(1);
    standin.set_script(Script::default().rule(rule)).unwrap();
    home.log(&standin.name()).record(&Record {
        method: Method::Zadd,
        table: b"t",
        score: 5,
        opt: 1,
        ..put("m", 1, "m")
    });
    server.wait_settled(&standin.name(), 2);
    let asked = server.backend(&standin.name()).unwrap().counts.asked;
    assert_eq!(asked, 1, "its line was written while the backend was up");
    let (code, _, err) = home.command(&["rejected", "replay", "--all"]);
    assert_eq!((code, err.as_str()), (0, ""));
    eventually("it is applied", || standin.history().len() == 2);
    let counts = server.wait_settled(&standin.name(), 2).counts;
    assert_eq!(counts.asked, 2, "it may have been sent before");
    server.stop();
}

#[test]
fn lines_are_dropped_by_the_server_or_where_none_runs_by_the_command() {
    let (home, standin, server) = refused();
    let ids = listed(&home, &[]);
    let (code, out, _) = home.command(&["rejected", "drop", "--id", &ids[0]]);
    assert_eq!((code, out.as_str()), (0, "1 line dropped, 1 left\n"));
    assert_eq!(listed(&home, &[]), ids[1..]);
    server.stop();
    let (code, out, _) = home.command(&["rejected", "drop", "--all", "--yes"]);
    assert_eq!((code, out.as_str()), (0, "1 line dropped, 0 left\n"));
    assert!(listed(&home, &[]).is_empty());
    let server = home.start();
    let backend = server.wait_settled(&standin.name(), 3);
    assert_eq!(
        backend.counts.rejected, 2,
        "they were set aside, and are settled"
    );
    server.stop();
}
