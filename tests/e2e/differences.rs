//! `differences`: what is left in a state's files is listed, shown and dropped, while a server runs
//! and where none does.

use std::fs;
use std::io::Write;

use hustdbsync::internals::reconcile::difference::{
    Difference, FILE_NAME, How, Settlement, Stored,
};

use crate::harness::{Home, eventually, fake_hustdb};

/// What a master had of a key: this version.
pub(crate) fn stored(version: u32) -> Option<Stored> {
    Some(Stored {
        version,
        score: None,
    })
}

pub(crate) fn difference(backend: &str, key: &str, why: &str) -> Difference {
    Difference {
        unix: 1_795_696_200,
        backend: backend.to_owned(),
        peer: "10.0.0.8:8085".to_owned(),
        kind: "key".to_owned(),
        table: Vec::new(),
        key: key.as_bytes().to_vec(),
        member: None,
        on_backend: stored(3),
        on_peer: stored(4),
        had_ttl: false,
        why: why.to_owned(),
        detail: "its time to live is not known".to_owned(),
    }
}

/// Appends as a server does: whole lines in one write.
fn append(home: &Home, backend: &str, encode: impl FnOnce(&mut Vec<u8>)) {
    let path = home.state(backend, FILE_NAME);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut lines = Vec::new();
    encode(&mut lines);
    let mut options = fs::File::options();
    let mut file = options.create(true).append(true).open(path).unwrap();
    file.write_all(&lines).unwrap();
}

/// What a command that must succeed says on stdout.
#[track_caller]
fn said(home: &Home, args: &[&str]) -> String {
    let (code, out, err) = home.command(&[&["differences"], args].concat());
    assert_eq!(code, 0, "{out}{err}");
    out
}

#[test]
fn what_is_left_is_listed_shown_and_dropped() {
    let (home, fake_hustdb) = (Home::new().with_port(), fake_hustdb());
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    let server = home.start();
    let name = fake_hustdb.name();
    server.wait_settled(&name, 1);
    let of = |key, why| difference(&name, key, why);
    append(&home, &name, |lines| {
        for key in ["one", "two", "three", "mended"] {
            of(key, "ttl_unknown").encode(lines);
        }
        of("four", "report_only").encode(lines);
        let settlement = Settlement {
            id: of("mended", "").id(),
            line: None,
            how: How::Mended,
            unix: 1_795_696_201,
        };
        settlement.encode(lines);
    });
    append(&home, "10.0.0.9:1", |lines| {
        difference("10.0.0.9:1", "five", "report_only").encode(lines);
    });

    let all = said(&home, &["list"]);
    assert_eq!(all.lines().count(), 5, "{all}");
    assert!(
        all.contains("  peer_newer  key one  version 3, version 4 on 10.0.0.8:8085  ttl_unknown\n"),
        "{all}"
    );
    let ours = said(
        &home,
        &["list", "--backend", &name, "--why", "ttl_unknown", "--json"],
    );
    let keys: Vec<serde_json::Value> = ours
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].clone())
        .collect();
    assert_eq!(keys, ["one", "two", "three"]);
    let id = &said(&home, &["list", "--why", "report_only", "--backend", &name])[..16];
    let shown = said(&home, &["show", "--id", id]);
    assert!(
        shown.contains("key      key four\n")
            && shown.contains("seen     peer_newer: the peer has"),
        "{shown}"
    );

    // A line was torn by a crash; nothing of what comes after it is lost.
    append(&home, &name, |lines| {
        lines.extend_from_slice(b"{\"id\":\"torn")
    });
    let dropped = said(&home, &["drop", "--id", id]);
    assert_eq!(dropped, "1 difference dropped, 4 left\n");
    let dropped = said(&home, &["drop", "--backend", &name, "--yes"]);
    assert_eq!(dropped, "3 differences dropped, 0 left\n");
    assert_eq!(said(&home, &["list"]).lines().count(), 1);
    append(&home, &name, |lines| of("one", "declined").encode(lines));
    assert!(said(&home, &["list", "--backend", &name]).contains("declined"));
    server.stop();
    assert_eq!(
        said(&home, &["drop", "--all", "--yes"]),
        "2 differences dropped, 0 left\n"
    );
}

/// They stay where comparing is switched off, and so does the alert, until somebody drops them.
#[test]
fn what_is_left_is_counted_also_where_nothing_is_compared() {
    let (home, fake_hustdb) = (Home::new().with_port(), fake_hustdb());
    let name = fake_hustdb.name();
    home.log(&name).put("k", 1, "v");
    append(&home, &name, |lines| {
        difference(&name, "one", "report_only").encode(lines);
    });
    let server = home.start();
    server.wait_settled(&name, 1);
    let left = |expected: Option<u64>| {
        eventually("differences are counted", || {
            let reconcile = server.backend(&name).and_then(|backend| backend.reconcile);
            reconcile.map(|reconcile| reconcile.differences_left) == expected
        });
    };
    left(Some(1));
    said(&home, &["drop", "--all", "--yes"]);
    left(None);
    server.stop();
}

#[test]
fn what_is_mistyped_is_refused() {
    let home = Home::new();
    append(&home, "10.0.0.9:1", |lines| {
        difference("10.0.0.9:1", "one", "report_only").encode(lines);
    });
    for (args, code, expected) in [
        (
            &["list", "--why", "ttl_unkown"][..],
            2,
            "it is one of report_only, backend_newer",
        ),
        (
            &["drop", "--seen", "newer", "--yes"],
            2,
            "it is one of both_lack, backend_lacks",
        ),
        (
            &["repair", "--all", "--why", "declined"],
            2,
            "say which differences: by --id",
        ),
        (
            &["repair", "--all", "--id", "1f2e3d4c5b6a7988"],
            2,
            "say which differences: by --id",
        ),
        (
            &["list", "--backend", "10.0.0.8:1"],
            1,
            "10.0.0.8:1 is not a backend here: neither",
        ),
        (
            &["drop", "--backend", "10.0.0.8:1", "--yes"],
            1,
            "is not a backend here",
        ),
    ] {
        let (found, out, err) = home.command(&[&["differences"], args].concat());
        assert_eq!(found, code, "{args:?} {out}{err}");
        assert!(err.contains(expected), "{args:?} {err}");
    }
    assert_eq!(
        said(&home, &["list", "--backend", "10.0.0.9:1"])
            .lines()
            .count(),
        1
    );
}

/// Commands append to it, while the server replaces it and afterwards.
#[test]
fn a_file_of_what_is_mostly_settled_is_replaced_by_a_server_that_compares() {
    let (home, fake_hustdb) = (Home::new().with_port(), fake_hustdb());
    let home = home.with("sync.reconcile", "report");
    let name = fake_hustdb.name();
    home.log(&name).put("k", 1, "v");
    let of = |key: usize| difference(&name, &key.to_string(), "report_only");
    append(&home, &name, |lines| {
        (0..6_000).for_each(|key| of(key).encode(lines));
    });
    let dropped = said(&home, &["drop", "--all", "--yes"]);
    assert_eq!(dropped, "6000 differences dropped, 0 left\n");
    append(&home, &name, |lines| {
        (0..100).for_each(|key| of(key).encode(lines));
    });
    let bytes = || fs::metadata(home.state(&name, FILE_NAME)).unwrap().len();
    let before = bytes();
    let server = home.start();
    let ids: Vec<String> = said(&home, &["list"])
        .lines()
        .map(|line| line[..16].to_owned())
        .collect();
    assert_eq!(ids.len(), 100);
    for id in &ids[..3] {
        assert!(said(&home, &["drop", "--id", id]).starts_with("1 difference dropped, "));
    }
    eventually("the file is replaced", || bytes() < before / 20);
    assert_eq!(said(&home, &["list"]).lines().count(), 97);
    let left = said(&home, &["drop", "--id", &ids[3]]);
    assert_eq!(left, "1 difference dropped, 96 left\n");
    eventually("what is left is counted", || {
        let reconcile = server.backend(&name).and_then(|backend| backend.reconcile);
        reconcile.is_some_and(|reconcile| reconcile.differences_left == 96)
    });
    server.stop();
    assert!(!home.state(&name, "differences.jsonl.next").exists());
}
