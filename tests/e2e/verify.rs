//! `verify` and `differences repair`: a log's keys are compared with the other master by a command.

use std::fs;

use hustdbsync::internals::fake_hustdb::query::Method;
use hustdbsync::internals::fake_hustdb::{FakeHustdb, Request};
use hustdbsync::internals::reconcile::difference::{Difference, FILE_NAME, Held};

use crate::harness::{Home, assert_holds, fake_hustdb, value};

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
        let held = |version| {
            Some(Held {
                version,
                score: None,
            })
        };
        let difference = Difference {
            unix: 1_795_696_200,
            backend: backend.name(),
            peer: peer.name(),
            kind: "key".to_owned(),
            table: Vec::new(),
            key: key.as_bytes().to_vec(),
            member: None,
            on_backend: held(versions[0]),
            on_peer: held(versions[1]),
            had_ttl,
            why: "report_only".to_owned(),
            detail: String::new(),
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
