//! The binary from outside: exit codes, and what the terminal shows.

#[path = "e2e/port.rs"]
mod port;
#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::holds_within;

/// Runs the binary with a configuration folder of its own.
fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hustdbsync"));
    command
        .args(args)
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

/// Runs it and compares the exit code and what stdout and stderr contain; `~` stands for the
/// folder's path.
fn check(folder: &Path, args: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = run(folder, args);
    let short =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(folder.to_str().unwrap(), "~");
    let (out, err) = (short(&output.stdout), short(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
    assert!(
        out.contains(stdout),
        "{args:?} says {stdout:?} on stdout:\n{out}"
    );
    assert!(
        err.contains(stderr),
        "{args:?} says {stderr:?} on stderr:\n{err}"
    );
}

/// HA's home with a configuration in which everything is right.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let root = home.path();
    fs::create_dir_all(root.join("logs/127.0.0.1:9998")).unwrap();
    fs::write(root.join("htpasswd"), "user:password\n").unwrap();
    let text = format!(
        r#"{{"network": {{"port": 0}},
             "sync": {{"logs_path": "{0}/logs", "ngx_path": "{0}",
                       "auth_path": "{0}/htpasswd"}}}}"#,
        root.display()
    );
    fs::write(root.join("sync_server.json"), text).unwrap();
    home
}

#[test]
fn help_teaches_and_wrong_arguments_exit_with_2() {
    let home = tempfile::tempdir().unwrap();
    check(
        home.path(),
        &["--help"],
        0,
        "Exit codes: 0 done, 1 failed",
        "",
    );
    check(
        home.path(),
        &["--help"],
        0,
        "hustdbsync check --sample > sync_server.json",
        "",
    );
    check(
        home.path(),
        &["check", "--help"],
        0,
        "Says all faults at once",
        "",
    );
    check(
        home.path(),
        &["--frobnicate"],
        2,
        "",
        "unexpected argument '--frobnicate'",
    );
    check(home.path(), &["-d", "-q"], 2, "", "cannot be used with");
}

/// An operator's commands, wrongly used, each with what is said.
const WRONG_USE: [(&str, &str); 25] = [
    ("ctl", "requires a subcommand"),
    ("ctl pause", "<BACKEND>"),
    ("ctl pause nobody", "invalid value 'nobody'"),
    ("ctl rate 127.0.0.1:9998", "<RATE>"),
    ("ctl rate 127.0.0.1:9998 fast", "records a second"),
    ("ctl forget", "<BACKEND>"),
    ("ctl forget nobody --yes", "invalid value 'nobody'"),
    ("ctl end", "unrecognized subcommand 'end'"),
    ("status --wait=soon", "a time is a number"),
    ("status --wait --backend 127.*", "is one backend"),
    ("status --sort colour", "invalid value 'colour'"),
    ("status --wait --watch", "cannot be used with"),
    ("rejected", "requires a subcommand"),
    ("rejected replay", "say which lines"),
    ("rejected replay --all --reason checksum", "say which lines"),
    ("rejected drop --reason checksum", "say --yes"),
    ("rejected drop --id 5", "16 hexadecimal digits"),
    ("rejected list --reason tooshort", "it is one of no_payload"),
    (
        "rejected drop --reason tooshort --yes",
        "it is one of no_payload",
    ),
    ("rejected list --since yesterday", "a time is 2026-11-22"),
    ("differences", "requires a subcommand"),
    ("differences drop", "say which differences"),
    (
        "differences drop --all --why ttl_unknown",
        "say which differences",
    ),
    ("differences drop --since 2h", "say --yes"),
    ("differences show --id 5", "16 hexadecimal digits"),
];

#[test]
fn wrong_use_of_the_operator_s_commands_is_one_line_and_exits_with_2() {
    let home = home();
    let check_line = |args: &[&str], why| {
        check(home.path(), args, 2, "", why);
        let said = String::from_utf8(run(home.path(), args).stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
    };
    for (command, why) in WRONG_USE {
        check_line(&command.split(' ').collect::<Vec<_>>(), why);
    }
    let args = ["differences", "list", "--seen", "a b"];
    check_line(&args, "it is one of both_lack");
}

#[test]
fn rejected_lines_and_differences_need_no_server() {
    let home = home();
    fs::create_dir(home.path().join("status")).unwrap();
    for (command, stdout, stderr) in [
        ("rejected list", "", "no rejected lines"),
        ("rejected drop --all --yes", "0 lines dropped, 0 left", ""),
        ("differences list", "", "no differences"),
        (
            "differences drop --all --yes",
            "0 differences dropped, 0 left",
            "",
        ),
    ] {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.extend(["--config", "sync_server.json"]);
        check(home.path(), &args, 0, stdout, stderr);
    }
}

#[test]
fn rejected_lines_and_differences_of_a_state_that_is_not_there_are_not_none() {
    let home = home();
    for command in [
        "rejected list",
        "rejected show",
        "rejected drop --all --yes",
        "differences list",
        "differences show",
        "differences repair --all",
        "differences drop --all --yes",
    ] {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.extend(["--config", "sync_server.json"]);
        check(
            home.path(),
            &args,
            1,
            "",
            "there is no state folder ~/status: ",
        );
    }
}

#[test]
fn check_says_what_would_be_used_or_every_fault() {
    let home = home();
    let args = ["check", "--config", "sync_server.json"];
    check(
        home.path(),
        &args,
        0,
        "sync_server.json: no fault found\n",
        "",
    );
    check(
        home.path(),
        &args,
        0,
        "\n  state    ~/status (to be made)\n",
        "",
    );
    fs::remove_file(home.path().join("htpasswd")).unwrap();
    fs::create_dir(home.path().join("logs/nobody")).unwrap();
    check(
        home.path(),
        &args,
        1,
        "",
        "sync_server.json: 2 faults\n  fault    sync.auth_path: ~/htpasswd: No such file",
    );
    check(
        home.path(),
        &args,
        1,
        "",
        "\n  fault    backend folder ~/logs/nobody: it has no colon",
    );
    assert!(!home.path().join("status").exists(), "check makes nothing");
}

#[test]
fn the_sample_passes_its_own_check_of_settings() {
    let home = tempfile::tempdir().unwrap();
    let sample = run(home.path(), &["check", "--sample"]);
    fs::write(home.path().join("sample.json"), &sample.stdout).unwrap();
    let output = run(home.path(), &["check", "--config", "sample.json"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("is no setting"), "{said}");
}

#[test]
fn a_configuration_that_is_missing_or_wrong_stops_every_way_to_run() {
    let home = tempfile::tempdir().unwrap();
    fs::write(
        home.path().join("bad.json"),
        r#"{"sync": {"threads": 0, "ngx_path": 1}}"#,
    )
    .unwrap();
    fs::write(
        home.path().join("outcomes.json"),
        r#"{"sync": {"outcomes": {"418 tea": "gone"}}}"#,
    )
    .unwrap();
    // A supervisor is to start `run` no more with it.
    for (way, code) in [(&["run"][..], 78), (&["-d"], 1), (&[], 1)] {
        let with = |file| [way, &["--config", file]].concat();
        check(
            home.path(),
            &with("none.json"),
            code,
            "",
            "hustdbsync: the configuration none.json has 1 fault:\n  it can't be read",
        );
        check(
            home.path(),
            &with("bad.json"),
            code,
            "",
            "has 2 faults:\n  sync.ngx_path: 1 is a number",
        );
        check(
            home.path(),
            &with("outcomes.json"),
            code,
            "",
            "  sync.outcomes: {\"418 tea\": \"gone\"} has \"418 tea\", which is no answer",
        );
    }
    assert!(!home.path().join("hustdbsync.pid").exists());
}

#[test]
fn a_password_of_the_environment_is_told_and_one_that_is_no_text_is_a_fault() {
    use std::os::unix::ffi::OsStrExt;
    let home = home();
    let with = |args: &[&str], password: &[u8]| {
        let output = Command::new(env!("CARGO_BIN_EXE_hustdbsync"))
            .args(args)
            .args(["--config", "sync_server.json"])
            .current_dir(home.path())
            .env("HUSTDBSYNC_PASSWD", std::ffi::OsStr::from_bytes(password))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    for (way, code) in [("run", 78), ("check", 1), ("-d", 1)] {
        let (ended, said) = with(&[way], b"s3cret\xff");
        assert_eq!(ended, Some(code), "{said}");
        let told = "network.passwd: the variable HUSTDBSYNC_PASSWD is no text in UTF-8; ";
        assert!(said.contains(told) && !said.contains("s3cret"), "{said}");
    }
    let (ended, said) = with(&["check"], b"s3cret");
    assert_eq!(ended, Some(0), "{said}");
    let told = "\n  password network.passwd is the variable HUSTDBSYNC_PASSWD's\n";
    assert!(said.contains(told) && !said.contains("s3cret"), "{said}");
    let url = ["status", "--url", "127.0.0.1:9"];
    let (ended, said) = with(&url, b"s3cret\xff");
    assert_eq!(ended, Some(1), "{said}");
    let told = "the variable HUSTDBSYNC_PASSWD is no text in UTF-8";
    assert!(said.contains(told), "{said}");
}

#[test]
fn quitting_what_does_not_run_fails_and_says_so() {
    let home = home();
    let args = ["-q", "--config", "sync_server.json"];
    check(
        home.path(),
        &args,
        1,
        "",
        "hustdbsync: nothing to end: there is no hustdbsync.pid",
    );
    // This test's own process lives, and is no hustdbsync.
    fs::write(
        home.path().join("hustdbsync.pid"),
        std::process::id().to_string(),
    )
    .unwrap();
    check(
        home.path(),
        &args,
        1,
        "",
        "nothing to end: hustdbsync.pid names no running hustdbsync",
    );
}

#[test]
fn a_daemon_that_can_not_start_says_why_on_the_terminal() {
    let home = home();
    // A file stands where the folder of the daemon's log has to be. Found out only after the fork.
    let conf = home.path().join("conf");
    fs::create_dir(&conf).unwrap();
    fs::copy(
        home.path().join("sync_server.json"),
        conf.join("sync_server.json"),
    )
    .unwrap();
    fs::write(conf.join("logs"), "").unwrap();
    check(
        home.path(),
        &["--config", "conf/sync_server.json"],
        1,
        "",
        "hustdbsync: the log folder conf/logs: ",
    );
    assert!(!conf.join("hustdbsync.pid").exists());
}

#[test]
fn who_is_refused_by_the_lock_leaves_the_pid_file_alone_and_quitting_names_the_holder() {
    let home = home();
    let start = |way: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hustdbsync"));
        command.args([way, "--config", "sync_server.json"]);
        command.current_dir(home.path()).stderr(Stdio::null());
        support::Process::spawn(&mut command)
    };
    // Of two that start at once, the first has the lock before it has the pid file.
    let mut first = start("run");
    support::eventually("it listens", || {
        support::proc::listening_port(first.id()).is_some()
    });
    fs::write(home.path().join("hustdbsync.pid"), "999999").unwrap();
    let mut second = start("-d");
    assert_eq!(second.wait().code(), Some(1));
    let pid_file = fs::read_to_string(home.path().join("hustdbsync.pid"));
    assert_eq!(pid_file.unwrap(), "999999");
    let output = run(home.path(), &["-q", "--config", "sync_server.json"]);
    let said = String::from_utf8(output.stderr).unwrap();
    let told = format!(
        "; process {} has these logs, and no such file names it: ",
        first.id()
    );
    // Some sandboxes tell nobody who holds what.
    if !fs::read_to_string("/proc/locks")
        .unwrap_or_default()
        .is_empty()
    {
        assert!(said.contains(&told), "{said}");
    }
    assert_eq!(output.status.code(), Some(1), "{said}");
    first.end();
}

/// Puts the program beside its configuration, as the original stands; what runs it gives its exit
/// code and all that it says.
fn program_in(home: &Path) -> impl Fn(&[&str]) -> (Option<i32>, String) {
    program_called("hustdbsync", home)
}

/// The same with an executable of this name.
fn program_called(name: &str, home: &Path) -> impl Fn(&[&str]) -> (Option<i32>, String) {
    let program = home.join(name);
    // Copied by a process of its own: a descriptor of this one's that writes could be open in a
    // child that another test has just forked, and what is open for writing cannot be run.
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_hustdbsync"))
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    move |args| {
        let output = Command::new(&program)
            .args(args)
            .env_remove("RUST_LOG")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }
}

#[test]
fn a_daemon_starts_refuses_a_second_and_ends_on_request() {
    let home = home();
    let run = program_in(home.path());
    assert_eq!(run(&[]), (Some(0), String::new()));
    let pid = fs::read_to_string(home.path().join("hustdbsync.pid")).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&home.path().join("hustdbsync.pid")), 0o640);
    assert_ne!(pid.parse::<u32>().unwrap(), std::process::id());
    let (code, said) = run(&[]);
    // Ended before anything is asserted, so that nothing is left running.
    let ended = run(&["-q"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(&format!("a hustdbsync runs already: process {pid}, ")),
        "{said}"
    );
    assert_eq!(ended, (Some(0), String::new()));
    assert!(!home.path().join("hustdbsync.pid").exists());
    let logs = fs::read_dir(home.path().join("logs")).unwrap().flatten();
    let logs: Vec<_> = logs.filter(|entry| entry.path().is_file()).collect();
    assert_eq!(logs.len(), 1, "one file for the day: {logs:?}");
    assert_eq!(mode(&logs[0].path()), 0o640);
}

#[test]
fn a_daemon_whose_executable_was_renamed_ends_on_request() {
    let home = home();
    let run = program_called("sync-server", home.path());
    assert_eq!(run(&[]), (Some(0), String::new()));
    let pid = fs::read_to_string(home.path().join("hustdbsync.pid")).unwrap();
    let (code, said) = run(&["-q"]);
    // Some sandboxes tell nobody who holds what.
    let holds = fs::read_to_string("/proc/locks").unwrap_or_default();
    if holds.is_empty() {
        let killed = Command::new("kill").arg(&pid).status();
        assert!(killed.unwrap().success());
        return;
    }
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(!home.path().join("hustdbsync.pid").exists());
}

#[test]
fn a_daemon_begins_its_log_file_anew_when_it_is_told_to() {
    let home = home();
    let port = port::free();
    let config = home.path().join("sync_server.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.replace("\"port\": 0", &format!("\"port\": {port}")),
    )
    .unwrap();
    let run = program_in(home.path());
    let log = || {
        let files = fs::read_dir(home.path().join("logs")).unwrap().flatten();
        let paths = files.map(|entry| entry.path());
        paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .max()
    };
    assert_eq!(run(&[]), (Some(0), String::new()));
    let moved = home.path().join("logs/moved");
    fs::rename(log().unwrap(), &moved).unwrap();
    let told = run(&["ctl", "rotate"]);
    let patience = std::time::Duration::from_secs(20);
    holds_within(patience, || log().is_some());
    // Ended before anything is asserted, so that nothing is left running.
    let again = home.path().join("logs/moved again");
    fs::rename(log().unwrap(), &again).unwrap();
    let pid = fs::read_to_string(home.path().join("hustdbsync.pid")).unwrap();
    let mut shell = Shell::new();
    for signal in ["USR2", "USR1"] {
        shell.signal(pid.trim().parse().unwrap(), signal);
    }
    holds_within(patience, || log().is_some());
    let ended = run(&["ctl", "stop"]);
    let again = fs::read_to_string(again).unwrap();
    assert!(again.contains("begun anew"), "{again}");
    assert_eq!(told.0, Some(0), "{}", told.1);
    assert!(told.1.starts_with("asked for: "), "{}", told.1);
    assert_eq!(ended.0, Some(0), "{}", ended.1);
    let said = fs::read_to_string(log().unwrap()).unwrap();
    assert!(said.contains("begun anew from here on, as asked"), "{said}");
    let all = fs::read_to_string(&moved).unwrap() + &again + &said;
    assert!(
        all.contains("starts") && all.contains("SIGUSR2 means nothing here"),
        "{all}"
    );
}

#[test]
fn a_log_file_that_can_not_be_begun_anew_is_told_in_the_old_one() {
    let home = home();
    let run = program_in(home.path());
    assert_eq!(run(&[]), (Some(0), String::new()));
    let logs = home.path().join("logs");
    let files = fs::read_dir(&logs).unwrap().flatten();
    let mut paths = files.map(|entry| entry.path());
    let log = paths.find(|path| path.is_file()).unwrap();
    let moved = logs.join("moved");
    fs::rename(&log, &moved).unwrap();
    fs::create_dir(&log).unwrap();
    let pid = fs::read_to_string(home.path().join("hustdbsync.pid")).unwrap();
    let pid = pid.parse().unwrap();
    let mut shell = Shell::new();
    shell.signal(pid, "USR1");
    let said = || fs::read_to_string(&moved).unwrap();
    let patience = std::time::Duration::from_secs(20);
    holds_within(patience, || said().contains("cannot be opened"));
    // More lines, which are not told of again.
    shell.signal(pid, "USR2");
    holds_within(patience, || said().contains("SIGUSR2 means nothing here"));
    assert_eq!(run(&["-q"]).0, Some(0));
    let told = said().matches("cannot be opened; lines go on").count();
    assert_eq!(told, 1, "{}", said());
}

/// A shell that is there already, so that a signal is sent in the next instant.
struct Shell(std::process::Child);

impl Shell {
    fn new() -> Self {
        let mut shell = Command::new("sh");
        let shell = shell.stdin(std::process::Stdio::piped());
        Self(shell.spawn().unwrap())
    }

    fn signal(&mut self, pid: u32, signal: &str) {
        use std::io::Write;
        let order = format!("kill -{signal} {pid}\n");
        let stdin = self.0.stdin.as_mut().unwrap();
        stdin.write_all(order.as_bytes()).unwrap();
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// Whether the mask of this name in `/proc/<pid>/status` has `signal`.
fn has_signal(pid: u32, mask: &str, signal: u32) -> bool {
    let field = support::proc::field(pid, "status", &format!("{mask}:"));
    field.is_some_and(|bits| {
        let bits = u64::from_str_radix(&bits, 16).unwrap();
        bits >> (signal - 1) & 1 == 1
    })
}

#[test]
fn signals_in_its_first_instants_are_followed_and_end_nothing() {
    const SIGPIPE: u32 = 13;
    const SIGTERM: u32 = 15;
    const ROUNDS: u64 = 40;
    let home = home();
    let mut shell = Shell::new();
    let mut ended_early = 0;
    for round in 0..ROUNDS {
        let said = fs::File::create(home.path().join("stderr")).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_hustdbsync"))
            .arg("run")
            .arg("--config")
            .arg(home.path().join("sync_server.json"))
            .env_remove("RUST_LOG")
            .stderr(said)
            .spawn()
            .unwrap();
        let pid = process.id();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let mut wait_for = |mask, signal| {
            while !has_signal(pid, mask, signal)
                && process.try_wait().unwrap().is_none()
                && std::time::Instant::now() < end
            {
                std::hint::spin_loop();
            }
        };
        // The language's runtime ignores it just before `main`; nothing of ours can run earlier.
        wait_for("SigIgn", SIGPIPE);
        std::thread::sleep(std::time::Duration::from_micros(500 + 50 * round));
        // HUP last: where the tests were started under nohup it is ignored at first, so one that
        // came too early would end nothing and be lost.
        for signal in ["USR1", "USR2", "ALRM", "HUP"] {
            shell.signal(pid, signal);
        }
        wait_for("SigCgt", SIGTERM);
        let reloaded = || {
            let said = fs::read_to_string(home.path().join("stderr")).unwrap();
            said.contains("the configuration was read again")
        };
        while !reloaded()
            && process.try_wait().unwrap().is_none()
            && std::time::Instant::now() < end
        {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let was_reloaded = reloaded();
        shell.signal(pid, "QUIT");
        let status = process.wait().unwrap();
        if status.code() == Some(0) {
            assert!(was_reloaded, "round {round}");
        } else {
            ended_early += 1;
        }
    }
    // On a busy machine a process may stand still between its runtime's first step and `main`. One
    // that followed signals only once it is set up would end early in every round.
    assert!(
        ended_early <= ROUNDS / 4,
        "{ended_early} of {ROUNDS} ended early"
    );
}

/// A pipe that nobody reads.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full_disk() -> Stdio {
    fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

#[test]
fn exit_codes_are_the_same_where_nothing_can_be_said() {
    let home = home();
    let cases: [(&[&str], i32); 19] = [
        (&["--help"], 0),
        (&["-x"], 2),
        (&["rejected", "drop"], 2),
        (&["inspect", "--follow", "-"], 2),
        (&["check", "--sample"], 0),
        (&["check", "--config", "sync_server.json"], 0),
        (&["check", "--config", "missing"], 1),
        (&["run", "--config", "missing"], 78),
        (&["run", "--config", "htpasswd"], 78),
        (&["-q", "--config", "sync_server.json"], 1),
        (&["status", "--config", "sync_server.json"], 1),
        (&["status", "--wait=0s", "--config", "sync_server.json"], 1),
        (&["ctl", "stop", "--config", "sync_server.json"], 1),
        (&["rejected", "list", "--config", "sync_server.json"], 1),
        (&["differences", "drop"], 2),
        (&["differences", "list", "--config", "sync_server.json"], 1),
        (&["inspect", "missing.log"], 1),
        (&["completions", "bash"], 0),
        (&["demo", "--records", "100"], 0),
    ];
    for (args, code) in cases {
        let run = |out: Stdio, err: Stdio| {
            Command::new(env!("CARGO_BIN_EXE_hustdbsync"))
                .args(args)
                .current_dir(home.path())
                .env_remove("RUST_LOG")
                .stdout(out)
                .stderr(err)
                .status()
                .unwrap()
                .code()
        };
        // As a reader that has gone; and where all that is lost is what is said besides.
        assert_eq!(run(closed_pipe(), closed_pipe()), Some(code), "{args:?}");
        assert_eq!(run(Stdio::null(), full_disk()), Some(code), "{args:?}");
    }
    // What was asked for cannot be had.
    for args in [&["check", "--sample"][..], &["completions", "bash"]] {
        let status = Command::new(env!("CARGO_BIN_EXE_hustdbsync"))
            .args(args)
            .stdout(full_disk())
            .stderr(Stdio::null())
            .status();
        assert_eq!(status.unwrap().code(), Some(1), "{args:?}");
    }
}

#[test]
fn completions_offer_the_backends_that_have_a_folder() {
    let home = home();
    let folder = home.path();
    fs::create_dir(folder.join("logs/not-a-backend")).unwrap();
    let config = folder.join("sync_server.json");
    let args = [
        "completions",
        "--backends",
        "--config",
        config.to_str().unwrap(),
    ];
    check(folder, &args, 0, "127.0.0.1:9998\n", "");
    let output = run(folder, &args);
    assert_eq!(output.stdout, b"127.0.0.1:9998\n");
    check(folder, &["completions"], 2, "", "");
}
