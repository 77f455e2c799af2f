//! Every command in the documents is run: each line of each block marked `sh`, in a place of its
//! own with a server that runs.
//!
//! A line must end with 0. Those that go on until they are told to end are told so once they have
//! said something. What cannot be run in a test stands in [`EXCEPTIONS`], with the reason.

use std::fs::File;
use std::process::Stdio;

use crate::place::Place;
use crate::support::{Process, eventually, eventually_some};
use crate::{program, read};

const DOCUMENTS: [&str; 4] = [
    "README.md",
    "docs/operations.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
];

/// How commands begin that are not run here, and why not.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("cargo ", ".ci/run runs them itself, at length"),
    ("apt-get ", "it changes the machine; .ci/run does it"),
    (
        "dpkg ",
        "it changes the machine; `package` installs it in a folder",
    ),
    (
        "systemctl ",
        "no systemd runs here; `units` looks at the units",
    ),
    ("journalctl ", "no journal is kept here"),
    (
        "podman ",
        "no container engine is here; `container` looks at the file",
    ),
    (
        "packaging/deb",
        "`package` runs it where dpkg-dev is installed",
    ),
    ("packaging/sbom", "`materials` runs it"),
    (
        "hustdbsync verify ",
        "it needs two masters; tests/e2e/verify.rs runs it",
    ),
    ("printf ", "it feeds verify"),
    (".ci/run", "it is what runs this"),
];

/// How commands begin that go on until they are told to end.
const ENDLESS: &[&str] = &[
    "hustdbsync run",
    "hustdbsync status --watch",
    "hustdbsync inspect --follow",
    "hustdbsync fake-hustdb",
];

/// How commands begin that need the server not to run yet, since they start one or look whether one
/// could.
const ALONE: &[&str] = &["hustdbsync run", "hustdbsync check", "hustdbsync --config"];

/// The commands of a document: the lines of its `sh` blocks, those that end in a backslash together
/// with the next.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_inside = false;
    let mut begun = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(language) = line.strip_prefix("```") {
            is_inside = !is_inside && language == "sh";
            continue;
        }
        if !is_inside || line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(part) => begun.push_str(part),
            None => {
                begun.push_str(line);
                found.push(std::mem::take(&mut begun));
            }
        }
    }
    found
}

fn begins(command: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|begin| command.starts_with(begin))
}

fn run(place: &mut Place, command: &str) {
    let is_alone = begins(command, ALONE);
    if is_alone {
        place.stop();
    } else if !place.answers() && !command.starts_with("hustdbsync -q") {
        place.start();
    }
    let path = place.path("said");
    let said = File::create(&path).unwrap();
    let is_endless = begins(command, ENDLESS);
    // Then the signal is the command's own, not its shell's.
    let exec = if is_endless { "exec " } else { "" };
    let child = place
        .shell(&format!("{exec}{command}"))
        .stdout(said.try_clone().unwrap())
        .stderr(said)
        .spawn();
    let mut process = Process::of(child.unwrap());
    let text = || std::fs::read_to_string(&path).unwrap_or_default();
    if is_endless {
        eventually(command, || !text().is_empty() || process.ended().is_some());
        if command.starts_with("hustdbsync run") {
            place.wait_until_it_answers();
        }
        // `status --watch` leaves its signals to the system, and whoever runs us in the background
        // has SIGINT ignored.
        let leaves_signals = command.starts_with("hustdbsync status");
        process.signal(if leaves_signals { "TERM" } else { "INT" });
    }
    let status = eventually_some(command, || process.ended());
    let is_good = status.success() || is_endless && status.code().is_none();
    assert!(is_good, "{command}: {status}\n{}", text());
}

#[test]
fn every_command_of_the_documents_works() {
    let mut place = Place::new();
    // Where the place's own host has what the commands use, besides the program.
    let curl = program("curl").is_some();
    for document in DOCUMENTS {
        for command in commands(&read(document)) {
            if EXCEPTIONS
                .iter()
                .any(|(begin, _)| command.starts_with(begin))
            {
                continue;
            }
            if command.starts_with("curl ") && !curl {
                crate::skip("a command of the documents", "curl");
                continue;
            }
            eprintln!("{document}: {command}");
            run(&mut place, &command);
        }
    }
}

#[test]
fn no_exception_is_left_over() {
    let all: Vec<String> = DOCUMENTS
        .iter()
        .flat_map(|document| commands(&read(document)))
        .collect();
    for (begin, why) in EXCEPTIONS {
        assert!(
            all.iter().any(|command| command.starts_with(begin)),
            "no document has a command that begins with {begin:?} ({why})"
        );
    }
    assert!(all.len() > 30, "{}", all.len());
}

#[test]
fn the_two_commands_of_the_readme_are_those_that_ci_runs() {
    let commands = commands(&read("README.md"));
    let ci = read(".ci/run");
    for command in ["cargo run --release -- demo", "cargo test"] {
        let is_there = commands.iter().any(|found| found.starts_with(command));
        assert!(is_there, "README.md does not say {command}");
    }
    assert!(ci.contains("\ncargo test --locked\n"));
    // The program that the tests have built: a release build takes minutes and shows nothing more.
    assert!(ci.contains("\ntarget/debug/hustdbsync demo\n"));
}

#[test]
fn blocks_are_read_line_by_line() {
    let text = "```sh\n# no\na  # yes\n\nb \\\n  c\n```\n```json\nx\n```\n  ```sh\n  d\n  ```\n";
    assert_eq!(commands(text), ["a  # yes", "b c", "d"]);
}

#[test]
fn what_begins_a_process_that_runs_on_is_ended() {
    // A place that is dropped leaves nothing behind.
    let mut place = Place::new();
    place.start();
    place.stop();
    assert!(!place.answers());
    let status = place
        .shell("exit 3")
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(3));
}
