//! What the binary logs: in which form, what of a line that is rejected, and how often the same.

use std::fs;
use std::process::Command;

use crate::harness::{Home, eventually, eventually_some, fake_hustdb, whole_lines};
use crate::process::Process;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hustdbsync");

/// A server whose stderr goes to a file of its home.
struct Logging<'a> {
    home: &'a Home,
    process: Process,
}

impl<'a> Logging<'a> {
    fn start(home: &'a Home) -> Self {
        let process = Process::start(home);
        Self { home, process }
    }

    /// The lines with `part` in them.
    fn lines(&self, part: &str) -> Vec<String> {
        let said = fs::read_to_string(self.home.path("stderr")).unwrap();
        let lines = whole_lines(&said).filter(|line| line.contains(part));
        lines.map(str::to_owned).collect()
    }
}

/// The number behind `lines=` in all of these.
fn counted(lines: &[String]) -> usize {
    let counts = lines.iter().map(|line| {
        let count = line.split("lines=").nth(1).unwrap();
        count.split(' ').next().unwrap().parse::<usize>().unwrap()
    });
    counts.sum()
}

#[test]
fn who_asks_for_something_is_logged_with_the_backend_and_who_only_looks_is_not() {
    let (home, fake_hustdb) = (Home::new().with_port(), fake_hustdb());
    let name = fake_hustdb.name();
    home.log(&name).put("k", 1, "v");
    let mut server = Logging::start(&home);
    eventually("it is known", || {
        home.command(&["ctl", "pause", &name]).0 == 0
    });
    home.command(&["status", "--wait=0s"]);
    server.process.end();
    let told = server.lines("somebody asks at the HTTP server");
    let last = told.last().unwrap();
    let part = format!(
        "to pause it backend={name} peer=127.0.0.1 user={}",
        home.config().network.user
    );
    assert!(last.contains(&part), "{last}");
    assert!(
        told.iter().all(|line| line.contains("to pause it")),
        "{told:#?}"
    );
    assert!(!server.lines("starts config=").is_empty());
}

#[test]
fn a_line_that_is_rejected_is_told_with_its_place_and_cause_and_many_are_counted() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let log = home.log(&fake_hustdb.name());
    for nth in 0..40 {
        log.put(&format!("k{nth}"), 1, "v").raw("| !!\n");
    }
    let mut server = Logging::start(&home);
    eventually("all are rejected", || {
        home.rejected(&fake_hustdb.name()).len() == 40
    });
    server.process.end();
    let told = server.lines("it can be replayed when the cause is mended");
    let (left_out, told): (Vec<_>, Vec<_>) = told
        .into_iter()
        .partition(|line| line.contains("said so many more times"));
    assert_eq!(told.len(), 5, "{told:#?}");
    for part in [
        " WARN ",
        &*format!("backend={} ", fake_hustdb.name()),
        "file=2026-11-22-16-40.log ",
        "line=2 ",
        "reason=not_base64 ",
        "cause=\"the payload is not base64\"",
    ] {
        assert!(told[0].contains(part), "{part} is not in {}", told[0]);
    }
    // However many were written at once, each is accounted for: one by one, with those, or as left
    // out.
    let together = server.lines("as many more lines are rejected");
    let together: Vec<String> = together
        .into_iter()
        .filter(|line| !line.contains("said so many more times"))
        .collect();
    let all = told.len() + counted(&left_out) + counted(&together);
    assert_eq!(all, 40, "{told:#?}{left_out:#?}{together:#?}");
}

#[test]
fn what_is_said_again_and_again_is_counted() {
    let home = Home::new();
    fs::create_dir(home.path("logs/127.0.0.1:9")).unwrap();
    let mut server = Logging::start(&home);
    // Said by the thread that has taken the signals over by then.
    eventually("it runs", || {
        !server.lines("found; it is probed next").is_empty()
    });
    fs::write(home.path("sync_server.json"), "{").unwrap();
    // That one of them finds the file empty, as it is written below, is another cause.
    let part = "column 1: EOF while parsing";
    for told in 1..=5 {
        server.process.signal("HUP");
        eventually("it is told", || server.lines(part).len() == told);
    }
    // From here on they are counted only.
    server.process.signal("HUP");
    home.write_config();
    eventually("a good one is read", || {
        server.process.signal("HUP");
        !server.lines("the configuration was read again").is_empty()
    });
    server.process.end();
    let (left_out, told): (Vec<_>, Vec<_>) = server
        .lines(part)
        .into_iter()
        .partition(|line| line.contains("said so many more times"));
    assert_eq!(told.len(), 5, "{told:#?}");
    for line in left_out {
        assert!(line.contains("ERROR") && line.contains("lines="), "{line}");
    }
}

#[test]
fn json_lines_are_logged_where_they_are_asked_for_and_a_lost_journal_is_no_loss() {
    use std::os::unix::fs::MetadataExt;
    // Where there is a journal, text lines go there.
    let has_journal = std::path::Path::new("/run/systemd/journal/socket").exists();
    let formats = [("json", true), ("text", false)];
    for (format, is_json) in formats.into_iter().take(if has_journal { 1 } else { 2 }) {
        let home = Home::new().with("sync.log_format", format);
        let stderr = fs::File::create(home.path("stderr")).unwrap();
        let metadata = stderr.metadata().unwrap();
        // As under systemd, but for the journal's socket, which is not there: lines go to stderr
        // then.
        let stream = format!("{}:{}", metadata.dev(), metadata.ino());
        let mut process = Command::new(PROGRAM)
            .args(["run", "--config"])
            .arg(home.write_config())
            .env("JOURNAL_STREAM", stream)
            .env_remove("RUST_LOG")
            .stderr(stderr)
            .spawn()
            .unwrap();
        let first = eventually_some("a line is logged", || {
            let said = fs::read_to_string(home.path("stderr")).unwrap();
            whole_lines(&said).nth(1).map(str::to_owned)
        });
        process.kill().unwrap();
        process.wait().unwrap();
        let parsed = serde_json::from_str::<serde_json::Value>(&first);
        assert_eq!(parsed.is_ok(), is_json, "{first}");
    }
}
