//! What inspect prints of good and bad lines.

use super::*;
use crate::binlog::{Method, line};
use crate::ledger::rejected::RejectedLine;
use crate::reconcile::difference::{Difference, How, Settlement, Stored};

const PREFIX: &[u8] = b"[2026-11-22 16:40:38] [DEBUG] | ";

fn line_of(record: &Record<'_>) -> Vec<u8> {
    let (mut bytes, mut text) = (Vec::new(), Vec::new());
    record.encode(&mut bytes);
    line::encode(PREFIX, &bytes, &mut text);
    text
}

fn put() -> Record<'static> {
    Record {
        version: 3,
        ..Record::new(Method::Put, b"a%20b", b"two words")
    }
}

fn zadd() -> Record<'static> {
    Record {
        method: Method::Zadd,
        key: b"\xff",
        table: b"z",
        score: 7,
        opt: -1,
        value: b"\xff",
        ..put()
    }
}

/// The arguments.
#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: InspectArgs,
}

fn args(words: &[&str]) -> Result<InspectArgs, clap::Error> {
    use clap::Parser;
    Command::try_parse_from(["inspect"].iter().chain(words)).map(|command| command.args)
}

/// Inspects a file of this name and content; gives what was printed and the summary.
fn inspected(name: &str, content: &[u8], words: &[&str]) -> (String, String) {
    let args = args(&[words, &[name]].concat()).unwrap();
    let mut out = Vec::new();
    let mut inspection = Inspection::new(&args, Paint::PLAIN, &mut out);
    let ends = content.last().map(|last| (content.len() as u64, *last));
    let mut progress = Progress::of(&[], false);
    inspection
        .file(Path::new(name), content, ends, &mut progress)
        .unwrap()
        .unwrap();
    inspection.end().unwrap();
    let summary = inspection.tally.to_string();
    drop(inspection);
    (String::from_utf8(out).unwrap(), summary)
}

fn said(log: &[u8], json: bool, values: bool) -> (String, String) {
    let mut words = Vec::new();
    words.extend(json.then_some("--json"));
    words.extend(values.then_some("--values"));
    inspected("l", log, &words)
}

#[track_caller]
fn check(log: &[u8], json: bool, values: bool, expected: &str) {
    assert_eq!(said(log, json, values).0, expected);
}

#[test]
fn a_record_is_a_line() {
    let log = [line_of(&put()), line_of(&zadd())].concat();
    check(
        &log,
        false,
        false,
        "      1  put       v3   key \"a%20b\"  9 B\n      2  zadd      v3   table \"z\" key \
         \"\\xff\"  score - 7  1 B\n",
    );
}

#[test]
fn the_last_entries_are_shown_as_tail_does() {
    let log = [line_of(&put()), line_of(&zadd()), b"faulty\n".to_vec()].concat();
    let numbers = |words: &[&str]| -> Vec<String> {
        let (text, _) = inspected("l", &log, words);
        let lines = text
            .lines()
            .map(|line| line.split_whitespace().next().unwrap().to_owned());
        lines.collect()
    };
    assert_eq!(numbers(&["-n", "2"]), ["2", "3"]);
    assert_eq!(
        numbers(&["-n", "1", "--method", "put,zadd"]),
        ["2"],
        "of what is shown"
    );
    assert_eq!(numbers(&["-n", "9"]), ["1", "2", "3"]);
    assert!(numbers(&["-n", "0"]).is_empty());
}

#[test]
fn json_has_octets_that_are_no_text_in_base64() {
    let log = [line_of(&put()), line_of(&zadd())].concat();
    check(
        &log,
        true,
        true,
        concat!(
            r#"{"file":"l","line":1,"method":"put","version":3,"key":"a%20b","#,
            r#""value_bytes":9,"value":"two words"}"#,
            "\n",
            r#"{"file":"l","line":2,"method":"zadd","version":3,"table":"z","key_base64":"/w==","#,
            r#""score":7,"opt":-1,"value_bytes":1,"value_base64":"/w=="}"#,
            "\n",
        ),
    );
}

#[test]
fn values_are_shown_on_demand_and_expiry_always() {
    let record = Record {
        expires_unix: 1,
        ..put()
    };
    let (text, _) = said(&line_of(&record), false, true);
    assert!(text.contains("  expires 19"), "{text}");
    assert!(text.ends_with("  value \"two words\"\n"), "{text}");
}

#[test]
fn faults_stand_among_the_records_and_are_counted() {
    let log = [&line_of(&put())[..], b"\n| !!\n", &line_of(&put())].concat();
    let (text, summary) = said(&log, false, false);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[1],
        "      2  FAULT  the line has no payload after its last space"
    );
    assert_eq!(lines[2], "      3  FAULT  the payload is not base64");
    assert_eq!(lines.len(), 4);
    assert_eq!(
        summary,
        format!(
            "1 file, 4 lines, {} B\n  put                 2  18 B of \
             values\n  FAULT               1  no_payload\n  FAULT               1  not_base64\n",
            log.len()
        )
    );
    check(
        b"\n",
        true,
        false,
        "{\"file\":\"l\",\"line\":1,\"fault\":\"no_payload\",\"reason\":\"the line has no payload \
         after its last space\"}\n",
    );
}

#[test]
fn a_last_line_without_newline_is_told() {
    let line = line_of(&put());
    let (text, summary) = said(&line[..line.len() - 1], false, false);
    assert_eq!(text.lines().count(), 1);
    assert!(
        summary.ends_with(
            "  no fault\n  1 last line without newline: still being written, or cut off\n"
        ),
        "{summary}"
    );
}

#[test]
fn raw_lines_are_those_of_the_log_and_a_filter_makes_a_smaller_log() {
    let log = [&line_of(&put())[..], b"faulty!\n", &line_of(&zadd())].concat();
    assert_eq!(inspected("l", &log, &["--raw"]).0.as_bytes(), log);
    let (out, summary) = inspected("l", &log, &["--raw", "--method", "zadd,put", "--key", "a*"]);
    assert_eq!(out.as_bytes(), line_of(&put()));
    assert!(
        summary.contains("\n  of them 1 record asked for\n") && summary.contains("FAULT"),
        "{summary}"
    );
}

#[test]
fn statistics_stand_in_place_of_the_records() {
    let log = [line_of(&put()), line_of(&put())].concat();
    let (out, _) = inspected("l", &log, &["--stats"]);
    assert!(out.starts_with("2 records, 18 B of values\n"), "{out}");
    assert!(out.ends_with("  2  key \"a%20b\"\n"), "{out}");
    let (out, _) = inspected("l", &log, &["--stats", "--json", "--key", "nobody"]);
    assert!(out.starts_with("{\"records\":0,"), "{out}");
}

#[test]
fn rejected_lines_are_shown_with_their_record_and_given_back_raw() {
    let rejected = |raw: &[u8], line| {
        let mut bytes = Vec::new();
        RejectedLine {
            unix: 1_795_365_638,
            backend: "h:1".to_owned(),
            file: "a.log".to_owned(),
            line,
            byte: None,
            log: None,
            reason: "refused".to_owned(),
            detail: "the backend answered 400".to_owned(),
            raw: raw.to_vec(),
        }
        .encode(&mut bytes);
        bytes
    };
    let put = line_of(&put());
    let content = [
        &rejected(put.trim_ascii_end(), 12)[..],
        &rejected(b"faulty!", 13),
        b"{}\n",
        b"{\"time\":\"20",
    ]
    .concat();
    let name = "rejected.jsonl";
    let (out, summary) = inspected(name, &content, &[]);
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        lines[0].ends_with(
            "  h:1 a.log:12  refused (the backend answered 400)  put       v3   key \"a%20b\"  9 B"
        ),
        "{out}"
    );
    assert!(
        lines[1].ends_with("  h:1 a.log:13  refused (the backend answered 400)"),
        "{out}"
    );
    assert!(
        lines[2].contains("  FAULT  it is not as this server writes it"),
        "{out}"
    );
    assert!(lines[3].contains("  FAULT  it is torn"), "{out}");
    assert!(
        summary.contains(" 2  not as this server writes it\n"),
        "{summary}"
    );
    assert_eq!(
        inspected(name, &content, &["--raw", "--key", "a b"])
            .0
            .as_bytes(),
        put
    );
    let (out, _) = inspected(name, &content, &["--json"]);
    let first: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["key"], &first["line"]),
        (&"a%20b".into(), &12.into())
    );
    let second: serde_json::Value = serde_json::from_str(out.lines().nth(1).unwrap()).unwrap();
    assert_eq!(
        (&second["reason"], &second["line"]),
        (&"refused".into(), &13.into())
    );
    assert_eq!(
        inspected(name, &content, &["--backend", "h:2", "--quiet"])
            .0
            .lines()
            .count(),
        2
    );
}

#[test]
fn differences_are_shown_as_they_are_listed() {
    let difference = |backend: &str, key: &[u8]| Difference {
        unix: 1_795_365_638,
        backend: backend.to_owned(),
        peer: "b:1".to_owned(),
        kind: "hash".to_owned(),
        table: b"t".to_vec(),
        key: key.to_vec(),
        member: None,
        on_backend: None,
        on_peer: Some(Stored {
            version: 2,
            score: None,
        }),
        had_ttl: false,
        why: "report_only".to_owned(),
        detail: "sync.reconcile is report".to_owned(),
    };
    let first = difference("a:1", b"a%20b");
    let mut content = Vec::new();
    first.encode(&mut content);
    difference("c:1", b"other").encode(&mut content);
    let settlement = Settlement {
        id: first.id(),
        line: None,
        how: How::Mended,
        unix: 1_795_365_640,
    };
    settlement.encode(&mut content);
    content.extend_from_slice(b"{\"torn");

    let (out, summary) = inspected("x", &content, &[]);
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        lines[0].ends_with(
            "  a:1  backend_lacks  hash t a%20b  nothing, version 2 on b:1  report_only"
        ),
        "{out}"
    );
    assert!(lines[2].ends_with("  settled: it was mended"), "{out}");
    assert!(lines[3].contains("  FAULT  it is torn"), "{out}");
    assert!(
        summary.contains(" 1  not as this server writes it\n"),
        "{summary}"
    );
    let shown = |args: &[&str]| inspected("differences.jsonl", &content, args).0;
    assert_eq!(
        shown(&["--key", "a b", "--backend", "a:1"]).lines().count(),
        2
    );
    assert_eq!(shown(&["--method", "put"]).lines().count(), 1);
    assert!(content.starts_with(shown(&["--json"]).lines().next().unwrap().as_bytes()));
}

#[test]
fn a_checkpoint_is_recognised_whatever_its_name() {
    let mut bytes = Vec::new();
    crate::ledger::checkpoint::Checkpoint::default().encode(&mut bytes);
    let (out, _) = inspected("x", &bytes, &[]);
    assert!(out.starts_with("checkpoint: 0 lines read, "), "{out}");
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    for words in [
        &["--raw", "--json", "l"][..],
        &["--follow", "--stats", "l"],
        &["--method", "frob", "l"],
        &["--key", "", "l"],
        &[],
    ] {
        assert!(args(words).is_err(), "{words:?}");
    }
    for words in [&["--follow", "a", "b"][..], &["--follow", "-"]] {
        assert!(args(words).unwrap().fault().is_some(), "{words:?}");
    }
    assert!(args(&["--follow", "a"]).unwrap().fault().is_none());
}
