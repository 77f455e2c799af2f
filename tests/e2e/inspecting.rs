//! `inspect` from outside: what it follows, how it ends, what it shows on a terminal.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::harness::Home;
use crate::log::{line_of, put};
use crate::support::Process;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hustdbsync");

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(PROGRAM).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn a_file_s_name_begins_no_line_and_colours_none() {
    let home = Home::new();
    let log = home.log("h:1");
    log.put("k", 1, "v");
    let folder = log.folder();
    let name = folder.join("a\nb\x1b[31m.log");
    fs::copy(log.path(), &name).unwrap();
    fs::write(folder.join("c\nd.log"), [0; 16]).unwrap();
    let (_, out, err) = run(&["inspect", folder.to_str().unwrap()]);
    assert!(out.contains(r"a\nb\u{1b}[31m.log"), "{out}");
    assert!(!out.contains("\nb") && !out.contains('\x1b'), "{out}");
    assert!(!out.contains("\nd"), "{out}");
    let gone = folder.join("e\nf.log");
    let (_, _, said) = run(&["inspect", gone.to_str().unwrap()]);
    assert!(said.contains(r"e\nf.log"), "{said}");
    assert!(!said.contains("\nf") && !err.contains("\nf"), "{said}");
}

#[test]
fn following_shows_the_last_line_and_each_as_it_comes_over_the_next_log_and_ends_with_0() {
    let home = Home::new();
    let log = home.log("h:1");
    log.put("z", 1, "v").put("a", 1, "v");
    let child = Command::new(PROGRAM)
        .args(["inspect", "--follow", "-n", "1", "--json", "--key", "?"])
        .arg(log.folder())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut process = Process::of(child.unwrap());
    let mut lines = BufReader::new(process.take_stdout()).lines();
    let mut next =
        || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["key"], "a");
    log.put("not this one", 1, "v").put("b", 1, "v");
    let came = next();
    assert_eq!((&came["key"], &came["line"]), (&"b".into(), &4.into()));
    log.file("2026-11-22-16-41.log").put("c", 1, "v");
    let came = next();
    assert_eq!((&came["key"], &came["line"]), (&"c".into(), &1.into()));
    assert!(came["file"].as_str().unwrap().ends_with("-41.log"));
    process.signal("INT");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn wrong_use_is_one_line_and_2() {
    for args in [
        &["inspect"][..],
        &["inspect", "--method", "frob", "x"],
        &["inspect", "--follow", "a", "b"],
        &["inspect", "--follow", "-"],
        &["inspect", "--raw", "--json", "x"],
        &["inspect", "--key", "", "x"],
        &["completions", "cobol"],
        &["man"],
        &["check", "--sample", "--config", "x"],
        &["fake-hustdb", "--threads", "0"],
        &["status", "--interval", "0"],
        &["frobnicate"],
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, &*out), (Some(2), ""), "{args:?}");
        assert_eq!(err.lines().count(), 1, "{args:?}: {err}");
        assert!(
            err.starts_with("hustdbsync: ") && err.contains("--help`)"),
            "{err}"
        );
    }
}

#[test]
fn a_filter_gives_a_smaller_log_and_statistics_stand_alone() {
    let home = Home::new();
    let log = home.log("h:1");
    log.put("a", 1, "v").put("b", 1, "v").put("a", 2, "vv");
    let folder = home.path("logs");
    let folder = folder.to_str().unwrap();
    let (code, out, err) = run(&["inspect", "--raw", "--quiet", "--key", "b", folder]);
    assert_eq!((code, &*err), (Some(0), ""));
    assert_eq!(out.as_bytes(), line_of(&put("b", 1, "v")));
    let (_, out, err) = run(&["inspect", "--stats", folder]);
    assert!(
        out.contains("key \"a\"") && !out.contains("key \"b\""),
        "{out}"
    );
    assert!(err.starts_with("1 file, 3 lines, "), "{err}");
    let (_, out, _) = run(&["inspect", "--backend", "h:2", folder]);
    assert_eq!(out, "");
}

/// What a terminal would get. `script` is in every Debian.
fn on_a_terminal(command: &str, environment: &[(&str, &str)]) -> String {
    let output = Command::new("script")
        .args(["-qec", command, "/dev/null"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_terminal_gets_colours_and_progress_unless_it_is_told_otherwise() {
    let home = Home::new();
    let log = home.log("h:1");
    let lines: Vec<u8> = (0..20_000)
        .flat_map(|nth| line_of(&put(&format!("k{nth}"), 1, "value")))
        .collect();
    log.raw(lines);
    let path = log.path();
    let path = path.display();
    let shown = format!("{PROGRAM} inspect {path}");
    assert!(on_a_terminal(&shown, &[]).contains("\u{1b}[32mput"));
    assert!(!on_a_terminal(&shown, &[("NO_COLOR", "1")]).contains("\u{1b}[32m"));
    assert!(on_a_terminal(&shown, &[("NO_COLOR", "")]).contains("\u{1b}[32m"));
    assert!(!on_a_terminal(&shown, &[("TERM", "dumb")]).contains("\u{1b}[32m"));
    let counted = format!("{PROGRAM} inspect --stats {path}");
    assert!(
        on_a_terminal(&counted, &[]).contains("/s"),
        "a bar with its rate"
    );
    assert!(!on_a_terminal(&format!("{counted} --quiet"), &[]).contains("/s"));
    let (_, _, err) = run(&["inspect", "--stats", log.path().to_str().unwrap()]);
    assert!(!err.contains("/s"), "{err}");
}

#[test]
fn completions_and_man_pages_come_from_the_program() {
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef"),
        ("fish", "complete -c"),
    ] {
        let (code, out, _) = run(&["completions", shell]);
        assert_eq!(code, Some(0));
        assert!(out.contains(word) && out.contains("inspect"), "{shell}");
    }
    let home = Home::new();
    let folder = home.path("man8");
    assert_eq!(run(&["man", folder.to_str().unwrap()]).0, Some(0));
    assert!(fs::read_dir(folder).unwrap().count() >= 8);
}
