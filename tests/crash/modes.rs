//! What the server makes is for its group at most, and its secrets stand nowhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hustdbsync::internals::fake_hustdb::FakeHustdb;

use crate::real::ha::{Ha, Load, put};
use crate::real::process::Process;
use crate::real::{HTTP_SERVER_PASSWORD, Home, PASSWORD, fake_hustdb, wait_for};

/// A server that has written all that it writes: checkpoint, rejected lines, lock, at the most
/// talkative level.
fn after_work() -> (Home, FakeHustdb) {
    let (home, fake_hustdb) = (Home::new().with("sync.log_level", "trace"), fake_hustdb());
    let load = Load {
        threads: 1,
        records: 500,
        value_bytes: 10,
        line_pause: Duration::ZERO,
        lines_at_first: u64::MAX,
        first_minute: 0,
        seed: 1,
    };
    let mut ha = Ha::start(&home.logs(), &fake_hustdb.name(), load);
    assert!(wait_for(Duration::from_secs(30), || ha.written() >= 400));
    // So that something is rejected, whatever the seed.
    let log = home
        .logs()
        .join(fake_hustdb.name())
        .join("2026-11-01-00-30.log");
    fs::write(&log, "no line of HA's\n").unwrap();
    ha.finish();
    let mut process = Process::start(&home);
    let checkpoint = home
        .path("status")
        .join(fake_hustdb.name())
        .join("checkpoint");
    let is_done = || !home.rejected(&fake_hustdb.name()).is_empty() && checkpoint.exists();
    assert!(
        wait_for(Duration::from_secs(60), is_done),
        "{}",
        home.said()
    );
    // It refuses the password once, as that is when one is tempted to say it.
    fake_hustdb
        .set_credentials(Some(("user", "another")))
        .unwrap();
    let mut text = Vec::new();
    put("k", &mut text);
    fs::write(log.with_file_name("2026-11-01-00-31.log"), text).unwrap();
    assert!(
        wait_for(Duration::from_secs(60), || home.said().contains("refused")),
        "{}",
        home.said()
    );
    process.end();
    (home, fake_hustdb)
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(below(&path)),
            false => found.push(path),
        }
    }
    found
}

#[test]
fn files_are_made_0640_and_folders_0750_and_no_secret_is_written() {
    let (home, fake_hustdb) = after_work();
    let state = home.path("status");
    let made = below(&state);
    for name in ["checkpoint", "rejected.jsonl"] {
        assert!(
            made.contains(&state.join(fake_hustdb.name()).join(name)),
            "{made:?}"
        );
    }
    for path in &made {
        let expected = if path.is_dir() { 0o750 } else { 0o640 };
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, expected, "{} is {mode:o}", path.display());
    }
    let login = base64_simd::STANDARD.encode_to_string(format!("user:{PASSWORD}"));
    let http_server =
        base64_simd::STANDARD.encode_to_string(format!("sync:{HTTP_SERVER_PASSWORD}"));
    let state_files = made.iter().filter(|path| path.is_file());
    for path in state_files.chain([&home.path("stderr")]) {
        let text = fs::read(path).unwrap();
        for secret in [PASSWORD, HTTP_SERVER_PASSWORD, &login, &http_server] {
            assert!(
                memchr::memmem::find(&text, secret.as_bytes()).is_none(),
                "{} has {secret}",
                path.display()
            );
        }
    }
}

#[test]
fn no_secret_is_in_help_check_or_the_error_of_a_bad_setting() {
    let home = Home::new().with("sync.threads", "many");
    let config = home.write_config();
    let binary = env!("CARGO_BIN_EXE_hustdbsync");
    let says = |arguments: &[&str]| {
        let output = Command::new(binary)
            .args(arguments)
            .current_dir(home.path(""))
            .output()
            .unwrap();
        [output.stdout, output.stderr].concat()
    };
    let config = config.to_str().unwrap();
    let mut all = Vec::new();
    for arguments in [
        vec!["--help"],
        vec!["run", "--help"],
        vec!["check", "--help"],
        vec!["status", "--help"],
        vec!["demo", "--help"],
        vec!["inspect", "--help"],
        vec!["fake-hustdb", "--help"],
        vec!["check", "--config", config],
        vec!["run", "--config", config],
    ] {
        let said = says(&arguments);
        assert!(!said.is_empty(), "{arguments:?}");
        all.extend(said);
    }
    let good = Home::new();
    let good_config = good.write_config();
    all.extend(says(&["check", "--config", good_config.to_str().unwrap()]));
    for secret in [PASSWORD, HTTP_SERVER_PASSWORD] {
        assert!(
            memchr::memmem::find(&all, secret.as_bytes()).is_none(),
            "{}",
            String::from_utf8_lossy(&all)
        );
    }
}
