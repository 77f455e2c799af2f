//! The binary itself: signals, and an end that nobody had time to prepare.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use hustdbsync::internals::binlog::line;
use hustdbsync::internals::fake_hustdb::{Act, FakeHustdb, On, Rule, Script};
use hustdbsync::internals::workload::{Workload, Written};

use crate::harness::{
    Home, assert_holds, eventually, fake_hustdb, now_unix, slow_down, value, whole_lines,
};
use crate::log::{line_at, put};
pub(crate) use crate::support::Process;

impl Process {
    pub(crate) fn start(home: &Home) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hustdbsync"));
        command
            .arg("run")
            .arg("--config")
            .arg(home.write_config())
            .stderr(fs::File::create(home.path("stderr")).unwrap());
        Self::spawn(&mut command)
    }
}

fn mixed(home: &Home, fake_hustdb: &FakeHustdb, records: u64) -> Written {
    Workload::mixed(records, now_unix())
        .write(&home.path("logs"), &fake_hustdb.name())
        .unwrap()
}

#[test]
fn a_server_that_is_killed_again_and_again_loses_nothing() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let written = mixed(&home, &fake_hustdb, 10_000);
    slow_down(&fake_hustdb);
    for _ in 0..4 {
        let before = fake_hustdb.counters().requests;
        let process = Process::start(&home);
        eventually("some more is sent", || {
            fake_hustdb.counters().requests > before + 500
        });
        drop(process);
    }
    fake_hustdb.set_script(Script::default()).unwrap();
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 10_000);
    assert_holds(&fake_hustdb, &written.expected(now_unix()));
}

#[test]
fn sigterm_and_sigint_end_it_with_0() {
    for signal in ["TERM", "INT"] {
        let (home, fake_hustdb) = (Home::new(), fake_hustdb());
        home.log(&fake_hustdb.name()).put("k", 1, "v");
        let mut process = Process::start(&home);
        eventually("it works", || value(&fake_hustdb, "k").is_some());
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(0), "{signal}");
        assert!(home.state(&fake_hustdb.name(), "checkpoint").exists());
    }
}

/// systemd starts it again each second; with 78 it would not.
#[test]
fn a_start_without_the_folder_of_logs_ends_with_1_and_says_what_to_do() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    let (logs, away) = (home.path("logs"), home.path("away"));
    fs::rename(&logs, &away).unwrap();
    assert_eq!(Process::start(&home).wait().code(), Some(1));
    let said = fs::read_to_string(home.path("stderr")).unwrap();
    for word in [
        "sync.logs_path",
        "/logs: No such file or directory",
        "Mount it",
    ] {
        assert!(said.contains(word), "no {word} in {said}");
    }
    fs::rename(&away, &logs).unwrap();
    let mut process = Process::start(&home);
    eventually("it works", || value(&fake_hustdb, "k").is_some());
    process.end();
}

#[test]
fn sighup_takes_a_mended_password_and_a_bad_file_changes_nothing() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    fs::write(home.path("htpasswd"), "user:old\n").unwrap();
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    let mut process = Process::start(&home);
    eventually("it is refused", || {
        fake_hustdb.counters().beside_probes() > 0
    });
    fs::write(home.path("sync_server.json"), "{").unwrap();
    process.signal("HUP");
    eventually("the bad file is told", || {
        let said = fs::read_to_string(home.path("stderr")).unwrap();
        said.lines()
            .any(|line| line.contains("ERROR") && line.contains("sync_server.json"))
    });
    fs::write(home.path("htpasswd"), "user:password\n").unwrap();
    home.write_config();
    process.signal("HUP");
    eventually("it is let in", || value(&fake_hustdb, "k").is_some());
    process.end();
}

#[test]
fn a_lane_that_keeps_failing_while_others_go_on_is_said_once() {
    let (home, fake_hustdb) = (Home::new().with("sync.attempts_max", 6), fake_hustdb());
    fake_hustdb
        .set_script(Script::default().rule(Rule::new(
            On::KeyPrefix(b"poison".to_vec()),
            Act::status(500),
        )))
        .unwrap();
    let written = |prefix: &str, count: u32| {
        let mut text = Vec::new();
        for nth in 0..count {
            let key = format!("{prefix}{nth}");
            text.extend(crate::log::line_of(&crate::log::put(&key, 1, "v")));
        }
        home.log(&fake_hustdb.name()).raw(text);
    };
    written("poison", 1);
    written("good", 50);
    let mut process = Process::start(&home);
    let said = || fs::read_to_string(home.path("stderr")).unwrap();
    eventually("the failing lane is said", || {
        said().contains("a connection keeps failing")
    });
    let mut round = 0;
    // Others have to be answered meanwhile; more of them come until it is rejected.
    eventually("it is rejected", || {
        round += 1;
        written(&format!("more{round}-"), 5);
        !home.rejected(&fake_hustdb.name()).is_empty()
    });
    process.end();
    let said = said();
    let lines: Vec<_> = said
        .lines()
        .filter(|line| line.contains("a connection keeps failing"))
        .collect();
    let [line] = lines[..] else {
        panic!("{lines:#?}")
    };
    for part in [
        " WARN ",
        &fake_hustdb.name(),
        "failures=3",
        "cause=the backend answered 500",
        "attempts_max=6",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

/// What a demo that succeeds says.
#[track_caller]
fn demo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_hustdbsync"))
        .arg("demo")
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

#[test]
fn the_demo_says_that_all_is_as_it_should_be() {
    let said = demo(&["--records", "5000", "--backends", "3"]);
    assert_eq!(said.matches("all as they should be").count(), 3, "{said}");
    assert!(said.contains("5,000 records in "), "{said}");
}

#[test]
fn the_demo_shows_keys_that_a_replay_leaves_wrong_and_none_after_comparing() {
    let said = demo(&["--reconcile", "--records", "2000"]);
    let (_, after_replay) = said.split_once("Wrong on 127.0.0.1:").unwrap();
    let (_, wrong) = after_replay.split_once(": ").unwrap();
    assert!(!wrong.starts_with("0 of "), "{said}");
    assert!(said.contains(" Wrong: 0 of "), "{said}");
}

#[test]
fn the_demo_replays_a_folder_of_logs() {
    let folder = tempfile::tempdir().unwrap();
    for backend in ["a:1", "b:2"] {
        Workload::mixed(1000, now_unix())
            .write(folder.path(), backend)
            .unwrap();
    }
    // One was being written to when it was copied: its last line has no end.
    let last = fs::read_dir(folder.path().join("a:1")).unwrap();
    let last = last.map(|entry| entry.unwrap().path()).max().unwrap();
    let bytes = fs::read(&last).unwrap();
    fs::write(&last, &bytes[..bytes.len() - 5]).unwrap();
    let said = demo(&["--logs", folder.path().to_str().unwrap()]);
    assert_eq!(said.matches("all as they should be").count(), 2, "{said}");
    // The logs given are only read.
    assert!(fs::read_dir(folder.path().join("a:1")).unwrap().count() >= 4);
}

/// Runs the binary; gives its exit code, and what it says on stdout and stderr.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hustdbsync"))
        .args(args)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn inspect_shows_records_and_faults_and_exits_with_1_only_where_it_has_to() {
    let home = Home::new();
    let log = home.log("h:1");
    log.put("k", 3, "value").raw("faulty!\n");
    let path = log.path();
    let path = path.to_str().unwrap();

    let (code, out, err) = run(&["inspect", path]);
    assert_eq!(code, Some(0));
    assert!(
        out.starts_with("      1  put       v3   key \"k\"  5 B\n      2  FAULT  "),
        "{out}"
    );
    assert!(err.starts_with("1 file, 2 lines, "), "{err}");

    let (code, out, _) = run(&["inspect", "--json", "--values", "--strict", path]);
    assert_eq!(code, Some(1), "strictly, a fault counts");
    let first: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["method"], &first["value"]),
        (&"put".into(), &"value".into())
    );

    let (code, out, err) = run(&["inspect", "/no/such/log", path]);
    assert_eq!(code, Some(1));
    assert_eq!(
        out.lines().count(),
        2,
        "the other file is shown all the same"
    );
    assert!(err.contains("/no/such/log can't be read"), "{err}");
}

/// The status of a request on a connection of its own; none if nothing comes.
fn status_of(addr: &str, path: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(addr).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split(' ').nth(1)?.to_owned())
}

#[test]
fn the_fake_hustdb_does_wrong_what_it_is_told_to_and_stops_when_it_is_told_to() {
    use std::io::{BufRead, BufReader, Write};
    let mut child = Command::new(env!("CARGO_BIN_EXE_hustdbsync"))
        .args([
            "fake-hustdb",
            "--listen",
            "127.0.0.1:0",
            "--fault",
            "status 503",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut process = Process::of(child);
    let mut said = BufReader::new(process.take_stdout()).lines();
    let line = said.next().unwrap().unwrap();
    let addr = line
        .split([' ', ';'])
        .find(|word| word.contains(':'))
        .unwrap();
    let key = "/hustdb/get?key=a";
    let status = |path: &str| status_of(addr, path);
    assert_eq!(status(key).as_deref(), Some("503"));
    assert_eq!(
        status("/status.html").as_deref(),
        Some("200"),
        "a probe is none of it"
    );
    let mut tell = |word: &str| {
        writeln!(stdin, "{word}").unwrap();
        assert_eq!(
            said.next().unwrap().unwrap(),
            format!("from now on: {word}")
        );
    };
    tell("well");
    assert_eq!(status(key).as_deref(), Some("404"));
    tell("close of probes times 1");
    assert_eq!(status("/status.html"), None);
    assert_eq!(status("/status.html").as_deref(), Some("200"));
    tell("down");
    assert_eq!(status(key), None);
    tell("up");
    assert_eq!(status(key).as_deref(), Some("404"));
    process.signal("INT");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn the_fake_hustdb_serves_until_it_is_told_to_end_and_says_what_it_counted() {
    use std::io::{BufRead, BufReader, Read, Write};
    let child = Command::new(env!("CARGO_BIN_EXE_hustdbsync"))
        .args(["fake-hustdb", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut process = Process::of(child);
    let mut said = BufReader::new(process.take_stdout());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let addr = line
        .split("listens on ")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    stream
        .write_all(b"GET /status.html HTTP/1.1\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
    process.end();
    let mut report = String::new();
    said.read_to_string(&mut report).unwrap();
    assert!(report.starts_with("1 requests (1 probes)"), "{report}");
}

#[test]
fn lines_of_another_time_zone_are_noticed_said_and_shown() {
    let (home, fake_hustdb) = (Home::new().with_port(), fake_hustdb());
    // HA's clock is at UTC, the server's eight hours east of it.
    let written = jiff::Timestamp::now().strftime("[%Y-%m-%d %H:%M:%S] [DEBUG] | ");
    let (mut record, mut text) = (Vec::new(), Vec::new());
    crate::log::put("k", 1, "v").encode(&mut record);
    line::encode(written.to_string().as_bytes(), &record, &mut text);
    home.log(&fake_hustdb.name()).raw(text);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hustdbsync"));
    command
        .arg("run")
        .arg("--config")
        .arg(home.write_config())
        .env("TZ", "SGT-8")
        .stderr(fs::File::create(home.path("stderr")).unwrap());
    let mut process = Process::spawn(&mut command);
    eventually("the record is there", || {
        value(&fake_hustdb, "k").as_deref() == Some("v")
    });
    eventually("it is reported", || {
        let (code, report, _) = home.command(&["status", "--json"]);
        assert_eq!(code, 0);
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        report["backends"][0]["zone_off_seconds"] == 8 * 3600
    });
    let (_, table, _) = home.command(&["status"]);
    assert!(table.contains("08:00:00"), "{table}");
    process.end();
    let said = fs::read_to_string(home.path("stderr")).unwrap();
    for word in ["another time zone", "UTC+08", "-08:00", &fake_hustdb.name()] {
        assert!(said.contains(word), "no {word} in {said}");
    }
}

/// How often the server has logged this.
fn count_said(home: &Home, text: &str) -> usize {
    let said = fs::read_to_string(home.path("stderr")).unwrap();
    whole_lines(&said)
        .filter(|line| line.contains(text))
        .count()
}

#[test]
fn a_log_that_nfs_hides_and_that_nobody_has_begun_is_said_once_and_named_by_a_wait() {
    const UNKNOWN: &str = "nothing is known of it";
    let (home, fake_hustdb) = (Home::new().with_port(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    let hidden = log.file(".nfs00000000000a1b2c00000001");
    hidden.put("k", 1, "v");
    let mut process = Process::start(&home);
    eventually("it is logged", || count_said(&home, UNKNOWN) > 0);
    for _ in 0..2 {
        let (code, out, err) = home.command(&["status", "--wait=60s"]);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        let not_waited_for = "not waited for: .nfs00000000000a1b2c00000001: deleted while";
        assert!(out.contains(not_waited_for), "{out}");
    }
    // As the warning says.
    fs::copy(hidden.path(), log.path()).unwrap();
    eventually("the record is there", || {
        value(&fake_hustdb, "k").as_deref() == Some("v")
    });
    process.end();
    assert_eq!(count_said(&home, UNKNOWN), 1);
}

#[test]
fn a_log_with_lines_of_both_hours_when_clocks_went_back_is_logged_once() {
    const TWICE: &str = "the log has lines of an hour that came twice";
    let (home, fake_hustdb) = (Home::new().with_port(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    let now = now_unix();
    for (file, written_later_s) in [("1.log", 30), ("2.log", 3600), ("3.log", 3605)] {
        let log = log.file(file);
        log.raw(line_at(now, &put(file, 1, "v")));
        log.raw(line_at(now, &put(file, 2, "w")));
        let modified = SystemTime::now() + Duration::from_secs(written_later_s);
        let opened = fs::File::options().append(true).open(log.path()).unwrap();
        opened.set_modified(modified).unwrap();
    }
    if fs::metadata(log.file("1.log").path())
        .unwrap()
        .created()
        .is_err()
    {
        eprintln!("skipped: the file system does not keep when a file was made");
        return;
    }
    let mut process = Process::start(&home);
    eventually("all is delivered", || {
        value(&fake_hustdb, "3.log").as_deref() == Some("w")
    });
    process.end();
    let said = fs::read_to_string(home.path("stderr")).unwrap();
    assert_eq!(count_said(&home, TWICE), 1, "{said}");
    assert!(said.contains("2.log") && said.contains("TZ=UTC"), "{said}");
}
