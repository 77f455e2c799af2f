//! What an operator sees: `status` of some backends, of another host, in a terminal; `ctl probe`.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::harness::{Home, eventually, fake_hustdb};

/// A server with a backend that is up and one that is down and has a log. Their names.
fn up_and_down(
    home: &Home,
) -> (
    crate::harness::Running,
    [hustdbsync::internals::fake_hustdb::FakeHustdb; 2],
) {
    let (up, down) = (fake_hustdb(), fake_hustdb());
    let server = home.start();
    home.log(&up.name()).put("k", 1, "v");
    down.kill().unwrap();
    home.log(&down.name()).put("k", 1, "v");
    server.wait_settled(&up.name(), 1);
    server.wait_for_state(&down.name(), "down");
    (server, [up, down])
}

#[test]
fn some_backends_are_shown_and_what_waits_for_them_is_an_exit_code() {
    let home = Home::new().with_port();
    let (server, [up, down]) = up_and_down(&home);
    let sees = |out: &str| (out.contains(&up.name()), out.contains(&down.name()));
    let (code, out, _) = home.command(&["status", "--fail-if-not-in-sync"]);
    assert_eq!((code, sees(&out)), (3, (true, true)), "{out}");
    let place = |name: String| out.lines().position(|line| line.contains(&name));
    assert!(
        place(down.name()) < place(up.name()),
        "trouble comes first: {out}"
    );
    let of = ["status", "--fail-if-not-in-sync", "--backend"];
    eventually("the one that is up is in sync", || {
        home.command(&[&of[..], &[&up.name()]].concat()).0 == 0
    });
    let (_, out, _) = home.command(&["status", "--json", "--backend", &down.name()]);
    assert_eq!(sees(&out), (false, true), "{out}");
    let (code, out, err) = home.command(&["status", "--backend", "10.0.0.1:1"]);
    assert_eq!((code, &*out), (1, ""));
    assert!(
        err.contains("no backend 10.0.0.1:1; it has ") && sees(&err) == (true, true),
        "{err}"
    );
    let (code, out, _) = home.command(&["status", "--wait", "300ms", "--backend", &down.name()]);
    assert!(
        code == 3 && out.starts_with("not in sync within 300ms"),
        "{out}"
    );
    server.stop();
}

#[test]
fn a_server_elsewhere_is_asked_by_its_url() {
    let home = Home::new().with_port();
    let (server, [up, _]) = up_and_down(&home);
    let network = home.config().network;
    let ask = |args: &[&str], password: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hustdbsync"));
        command.current_dir(home.path("logs")).args(args);
        let url = format!("http://127.0.0.1:{}/", network.port);
        command.args(["--url", &url]);
        command
            .env_remove("HUSTDBSYNC_USER")
            .env_remove("HUSTDBSYNC_PASSWD");
        if let Some(password) = password {
            command.env("HUSTDBSYNC_USER", &network.user);
            command.env("HUSTDBSYNC_PASSWD", password);
        }
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let right = Some("sync");
    let (code, said) = ask(&["status"], right);
    assert!(code == Some(0) && said.contains(&up.name()), "{said}");
    let (code, said) = ask(&["ctl", "pause", &up.name()], right);
    assert_eq!(code, Some(0), "{said}");
    server.wait_for_state(&up.name(), "paused");
    let (code, said) = ask(&["status"], Some("wrong"));
    assert!(
        code == Some(1) && said.contains("refuses the user"),
        "{said}"
    );
    let (code, said) = ask(&["status"], None);
    assert!(
        code == Some(1) && said.contains("HUSTDBSYNC_PASSWD"),
        "{said}"
    );
    server.stop();
}

#[test]
fn a_probe_says_what_it_found() {
    let home = Home::new().with_port();
    let (server, [up, down]) = up_and_down(&home);
    let (code, out, err) = home.command(&["ctl", "probe", &up.name()]);
    assert_eq!(code, 0, "{out}{err}");
    let last = out.lines().last().unwrap();
    let is_good = last.starts_with(&format!("{}: good, ", up.name()));
    assert!(is_good && last.ends_with(" ms; it is up"), "{out}");
    let (code, out, err) = home.command(&["ctl", "probe", &down.name()]);
    assert_eq!(code, 0, "{out}{err}");
    let last = out.lines().last().unwrap();
    assert!(
        last.contains("refused") && last.ends_with("; it is down"),
        "{out}"
    );
    server.stop();
}

/// `script` gives it a terminal of its own.
#[test]
fn a_watch_in_a_terminal_is_a_screen_until_q() {
    let home = Home::new().with_port();
    let (server, [up, down]) = up_and_down(&home);
    let command = format!(
        "stty cols 70 rows 12; exec {} status --watch --config {}",
        env!("CARGO_BIN_EXE_hustdbsync"),
        home.path("sync_server.json").display()
    );
    home.config();
    let mut script = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = script.stdin.take().unwrap();
    // What is typed before it reads waits in the terminal.
    keys.write_all(b"jq").unwrap();
    let output = script.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    for part in [
        "\u{1b}[?1049h",
        &down.name(),
        &up.name(),
        "q ends the watch",
        "\u{1b}[?1049l",
    ] {
        assert!(shown.contains(part), "no {part:?} in {shown:?}");
    }
    server.stop();
}
