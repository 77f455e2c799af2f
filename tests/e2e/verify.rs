//! `verify` and `differences repair`: a log's keys are compared with the other master by a command.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::thread;

use hustdbsync::internals::fake_hustdb::query::Method;
use hustdbsync::internals::fake_hustdb::{FakeHustdb, Request};
use hustdbsync::internals::reconcile::difference::{Difference, FILE_NAME};

use crate::differences::{self, stored};
use crate::harness::{Home, assert_holds, eventually, fake_hustdb, value};
use crate::support::Process;

/// Two masters, and HA's table that names them as a pair.
fn pair() -> (Home, FakeHustdb, FakeHustdb) {
    let (home, backend, peer) = (Home::new().with_port(), fake_hustdb(), fake_hustdb());
    let [a, b] = [backend.name(), peer.name()];
    let folder = home.path("conf");
    fs::create_dir_all(&folder).unwrap();
    let table =
        format!(r#"{{"table": [{{"item": {{"key": [0, 1024], "val": ["{a}", "{b}"]}}}}]}}"#);
    fs::write(folder.join("hustdbtable.json"), table).unwrap();
    (home, backend, peer)
}

/// Puts a key on one master, as at this version.
fn put(master: &FakeHustdb, key: &str, version: u32, value: &str) {
    let target = format!("/hustdb/put?key={key}&ver={version}&is_dup=true");
    let request = Request::new(Method::Post, target.as_bytes(), value.as_bytes());
    assert_eq!(master.apply(&request).status, 200);
}

/// A line about a key of which the masters had these versions.
fn difference(backend: &FakeHustdb, peer: &FakeHustdb, key: &str, on: [u32; 2]) -> Difference {
    Difference {
        peer: peer.name(),
        on_backend: stored(on[0]),
        on_peer: stored(on[1]),
        ..differences::difference(&backend.name(), key, "report_only")
    }
}

#[test]
fn keys_that_differ_are_told_and_mended_on_demand() {
    let (home, backend, peer) = pair();
    let log = home.log(&backend.name());
    for (key, value) in [("same", "v"), ("behind", "old"), ("lacked", "v")] {
        log.put(key, 1, value);
    }
    for master in [&backend, &peer] {
        put(master, "same", 1, "v");
    }
    put(&backend, "behind", 1, "old");
    put(&peer, "behind", 2, "new");
    put(&backend, "lacked", 1, "v");

    let (code, out, err) = home.command(&["verify", &backend.name()]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("peer_newer  key behind"), "{out}");
    assert!(out.contains("peer_lacks  key lacked"), "{out}");
    assert!(err.contains("1 equal, 0 mended, 2 different"), "{err}");

    let (code, out, err) = home.command(&["verify", &backend.name(), "--repair"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(err.contains("1 equal, 1 mended, 1 different"), "{err}");
    let keys = home.path("keys");
    fs::write(&keys, "key\tsame\r\nkey\tbehind\n").unwrap();
    let keys = keys.to_str().unwrap();
    let (code, _, err) = home.command(&["verify", &backend.name(), "--keys", keys]);
    assert_eq!((code, err.contains("2 equal")), (0, true), "{err}");
}

#[test]
fn a_list_on_stdin_is_compared_for_every_backend_and_each_key_once() {
    let (home, backend, peer) = pair();
    for master in [&backend, &peer] {
        put(master, "same", 1, "v");
    }
    put(&peer, "behind", 2, "new");
    let (backend, peer) = (backend.name(), peer.name());
    let list = "key\tbehind\nkey\tsame\nkey\tbehind\n";
    let (code, out, err) = home.command_reading(list, &["verify", &backend, &peer, "--keys", "-"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains(&format!("{backend}  backend_lacks")), "{out}");
    assert!(out.contains(&format!("{peer}  peer_lacks")), "{out}");
    assert!(err.contains("2 equal, 0 mended, 2 different"), "{err}");
}

/// `sync.reconcile` is off here, so it is not the reason.
#[test]
fn what_is_only_looked_at_is_said_to_be_left_as_nothing_was_to_be_written() {
    let (home, backend, peer) = pair();
    put(&peer, "behind", 2, "new");
    let args = ["verify", &backend.name(), "--keys", "-", "--json"];
    let (_, out, err) = home.command_reading("key\tbehind\n", &args);
    assert!(out.contains(r#""why":"report_only""#), "{out}{err}");
    let detail = r#""detail":"verify writes nothing without --repair""#;
    assert!(out.contains(detail), "{out}");
}

#[test]
fn targets_that_cannot_be_meant_are_told_with_what_is_wrong() {
    let (home, backend, _peer) = pair();
    let log = home.log(&backend.name());
    log.put("k", 1, "v");
    let log = log.path();
    let log = log.to_str().unwrap();
    let check = |args: &[&str], expected_code, expected: &str| {
        let (code, out, err) = home.command(&[&["verify"], args].concat());
        let is_told = err.contains(expected);
        assert_eq!(
            (code, is_told),
            (expected_code, true),
            "{args:?} {out}{err}"
        );
    };
    check(
        &[""],
        2,
        "BACKEND|LOG is empty: give host:port, or the path of a log",
    );
    check(
        &[log, "--keys", "-"],
        2,
        "--keys compares a list in place of logs, so it takes backends only",
    );
    check(
        &["127.0.0.1"],
        1,
        "127.0.0.1 is no log (No such file or directory (os error 2)) and no backend's name (it \
         has no colon before a port)",
    );
    check(
        &["logs/no.log"],
        1,
        "logs/no.log: No such file or directory",
    );
}

#[test]
fn differences_are_repaired_and_listed_no_more() {
    let (home, backend, peer) = pair();
    put(&backend, "behind", 1, "old");
    put(&peer, "behind", 2, "new");
    put(&backend, "lacked", 1, "v");
    put(&backend, "unclear", 9, "ours");
    put(&peer, "unclear", 8, "theirs");
    let log = home.log(&backend.name());
    for (key, value) in [("behind", "old"), ("lacked", "v"), ("unclear", "x")] {
        log.put(key, 1, value);
    }
    let (_, lines, _) = home.command(&["verify", &backend.name(), "--json"]);
    let file = home.state(&backend.name(), FILE_NAME);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, &lines).unwrap();

    let (code, out, err) = home.command(&["differences", "repair", "--all"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("0 equal, 1 mended, 2 different"), "{out}{err}");
    for (key, why) in [("lacked", "peer_lacks"), ("unclear", "backend_newer")] {
        let is_it = |line: &str| line.contains(&format!("key {key} ")) && line.ends_with(why);
        assert!(out.lines().any(is_it), "{key}: {out}{err}");
    }
    let (_, out, _) = home.command(&["differences", "list"]);
    assert_eq!(out.lines().count(), 2, "{out}");

    let unknown = ["--id", "1f2e3d4c5b6a7988"];
    for verb in ["repair", "drop"] {
        let (code, _, err) = home.command(&[&["differences", verb], &unknown[..]].concat());
        let is_told = err.contains("of 1 given by --id, 1 are not left");
        assert_eq!((code, is_told), (1, true), "{err}");
    }

    let (code, out, err) = home.command(&["differences", "repair", "--all", "--take", "backend"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("2 mended"), "{out}{err}");
    assert_holds(&peer, &backend.contents());
    let (_, _, err) = home.command(&["differences", "list"]);
    assert!(err.contains("no differences"), "{err}");
}

/// Writes differences about keys that both masters have alike by now.
fn write_settled(home: &Home, backend: &FakeHustdb, peer: &FakeHustdb, keys: usize) {
    let settled = (0..keys).map(|number| {
        let key = format!("k{number}");
        for master in [backend, peer] {
            put(master, &key, 2, "v");
        }
        difference(backend, peer, &key, [1, 2])
    });
    write_differences(home, backend, settled);
}

fn write_differences(
    home: &Home,
    backend: &FakeHustdb,
    differences: impl IntoIterator<Item = Difference>,
) {
    let mut lines = Vec::new();
    for difference in differences {
        difference.encode(&mut lines);
    }
    let file = home.state(&backend.name(), FILE_NAME);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, lines).unwrap();
}

/// The command finds equal what it read; what the server has written since is not what it read.
#[test]
fn a_repair_settles_no_difference_that_came_while_it_looked() {
    let (mut home, backend, peer) = pair();
    home.set("sync.reconcile_rate", 4);
    write_settled(&home, &backend, &peer, 8);
    let asked_before = peer.counters().beside_probes();
    let (code, out, err) = thread::scope(|scope| {
        let repair = scope.spawn(|| home.command(&["differences", "repair", "--all"]));
        eventually("the command looks", || {
            peer.counters().beside_probes() > asked_before
        });
        let mut lines = Vec::new();
        let newer = Difference {
            why: "still_differs".to_owned(),
            ..difference(&backend, &peer, "k7", [1, 2])
        };
        newer.encode(&mut lines);
        let file = home.state(&backend.name(), FILE_NAME);
        let mut file = fs::File::options().append(true).open(file).unwrap();
        file.write_all(&lines).unwrap();
        repair.join().unwrap()
    });
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("8 equal"), "{out}{err}");
    let (_, out, _) = home.command(&["differences", "list"]);
    assert!(
        out.contains("key k7") && out.contains("still_differs"),
        "{out}"
    );
    assert_eq!(out.lines().count(), 1, "{out}");
}

#[test]
fn a_repair_that_is_killed_keeps_what_it_has_settled() {
    let (mut home, backend, peer) = pair();
    home.set("sync.reconcile_rate", 10);
    write_settled(&home, &backend, &peer, 1000);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hustdbsync"));
    command.args(["differences", "repair", "--all", "--config"]);
    let repair = Process::spawn(command.arg(home.write_config()));
    let file = home.state(&backend.name(), FILE_NAME);
    let bytes = fs::metadata(&file).unwrap().len();
    eventually("some are settled", || {
        fs::metadata(&file).unwrap().len() > bytes
    });
    repair.kill();
    let (_, _, err) = home.command(&["differences", "list"]);
    let left = err.split(' ').next().unwrap();
    assert!((1..1000).contains(&left.parse().unwrap()), "{err}");
}

/// As in the server: a key that both masters' logs have left different is nobody's to decide, in
/// whatever order the backends' folders stand.
#[test]
fn a_key_that_two_backends_have_listed_is_mended_only_where_somebody_takes_a_side() {
    let (home, one, other) = pair();
    put(&one, "k", 2, "deleted");
    write_differences(&home, &one, [difference(&one, &other, "k", [2, 0])]);
    write_differences(&home, &other, [difference(&other, &one, "k", [0, 2])]);
    let repair = |args: &[&str]| home.command(&[&["differences", "repair"], args].concat());
    let (code, out, err) = repair(&["--all"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("0 mended"), "{out}{err}");
    assert_eq!(
        [value(&one, "k").is_some(), value(&other, "k").is_some()],
        [true, false]
    );

    let (code, _, err) = repair(&["--all", "--take", "peer"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("say by --backend"), "{err}");

    let (code, out, err) = repair(&["--backend", &one.name(), "--take", "peer"]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(value(&one, "k"), None);
    let (code, out, err) = repair(&["--all"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("1 equal"), "{out}{err}");
    assert_eq!(value(&other, "k"), None);
}

/// A copy of a key with a ttl would never end. Values that differ under one version are seen,
/// whatever is compared of logs.
#[test]
fn what_had_a_ttl_is_repaired_only_where_somebody_takes_a_side() {
    let (home, backend, peer) = pair();
    put(&backend, "ends", 1, "old");
    put(&peer, "ends", 2, "new");
    put(&backend, "same", 3, "one");
    put(&peer, "same", 3, "two");
    let mut lines = Vec::new();
    for (key, versions, had_ttl) in [("ends", [1, 2], true), ("same", [3, 3], false)] {
        let difference = Difference {
            had_ttl,
            ..difference(&backend, &peer, key, versions)
        };
        difference.encode(&mut lines);
    }
    let file = home.state(&backend.name(), FILE_NAME);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, lines).unwrap();

    let (code, out, err) = home.command(&["differences", "repair", "--all"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("0 equal, 1 mended, 1 different"), "{out}{err}");
    assert_eq!(value(&backend, "ends").unwrap(), "old");
    assert_eq!(value(&backend, "same").unwrap(), "two");
    let (code, out, err) = home.command(&["differences", "repair", "--all", "--take", "peer"]);
    assert_eq!(code, 0, "{out}{err}");
    assert_holds(&backend, &peer.contents());
}

#[test]
fn who_compares_is_told_of_records_that_wait() {
    let (mut home, backend, _peer) = pair();
    home.set("sync.max_rate_per_backend", 1);
    let log = home.log(&backend.name());
    for number in 0..60 {
        log.put(&format!("k{number}"), 1, "v");
    }
    let warning = format!("records wait to be replayed to {}: ", backend.name());
    let (_, _, err) = home.command(&["verify", &backend.name()]);
    assert!(!err.contains(&warning), "nobody answers: {err}");
    let server = home.start();
    eventually("its log is seen", || {
        let known = server.backend(&backend.name());
        known.is_some_and(|known| known.backlog_bytes > 0)
    });
    for command in [
        &["verify", &backend.name()][..],
        &["differences", "repair", "--all"],
    ] {
        let (_, _, err) = home.command(command);
        assert!(err.contains(&warning), "{command:?}: {err}");
    }
}

#[test]
fn who_does_not_answer_or_is_not_named_is_said() {
    let (home, backend, _peer) = pair();
    home.log(&backend.name()).put("k", 1, "v");
    let (code, _, err) = home.command(&["verify", "no-such-thing"]);
    assert_eq!(code, 1);
    assert!(err.contains("no-such-thing"), "{err}");
    let other = "127.0.0.1:9";
    let (code, _, err) = home.command(&["verify", other]);
    let is_told = err.contains("it has no log, and HA's table does not name it");
    assert_eq!((code, is_told), (1, true), "{err}");
    home.log(other).put("k", 1, "v");
    let (code, _, err) = home.command(&["verify", other]);
    assert_eq!(code, 1);
    assert!(
        err.contains("HA's table does not name this backend"),
        "{err}"
    );
}
