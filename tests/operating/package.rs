//! The Debian package: what is in it, and that what it installs runs. Made from the program that is
//! built already.
//!
//! It is unpacked into a folder; `.ci/package` installs it for real where it may, and removes it
//! again.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::place::Place;
use crate::support::Process;
use crate::{program, read, root, skip};

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_package_is_built_and_what_it_brings_runs() {
    let Some(_) = program("dpkg-shlibdeps") else {
        return skip("the Debian package", "dpkg-shlibdeps");
    };
    let built = Path::new(env!("CARGO_BIN_EXE_hustdbsync"))
        .parent()
        .unwrap();
    let said = output(
        Command::new(root().join("packaging/deb"))
            .arg(built)
            .args(["-Zgzip", "-z1"]),
    );
    let package = root().join(said.lines().last().expect("it says where the package is"));
    let listed = output(Command::new("dpkg-deb").arg("--contents").arg(&package));
    for file in [
        "./usr/bin/hustdbsync",
        "./usr/lib/systemd/system/hustdbsync.service",
        "./usr/lib/systemd/system/hustdbsync.socket",
        "./etc/hustdbsync/sync_server.json",
        "./usr/share/man/man8/hustdbsync.8.gz",
        "./usr/share/man/man8/hustdbsync-inspect.8.gz",
        "./usr/share/bash-completion/completions/hustdbsync",
        "./usr/share/zsh/vendor-completions/_hustdbsync",
        "./usr/share/fish/vendor_completions.d/hustdbsync.fish",
    ] {
        assert!(
            listed
                .lines()
                .any(|line| line.ends_with(&format!(" {file}"))),
            "{file} is not in\n{listed}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    output(
        Command::new("dpkg-deb")
            .arg("--raw-extract")
            .arg(&package)
            .arg(folder.path()),
    );
    let control = folder.path().join("DEBIAN");
    assert_eq!(
        fs::read_to_string(control.join("conffiles"))
            .unwrap()
            .trim(),
        "/etc/hustdbsync/sync_server.json"
    );
    let text = fs::read_to_string(control.join("control")).unwrap();
    assert!(text.contains("\nDepends: adduser, libc6 (>= "), "{text}");
    for script in ["postinst", "prerm", "postrm"] {
        output(Command::new("sh").arg("-n").arg(control.join(script)));
    }
    // The program of the package, on a place of its own.
    let place = Place::new();
    let mut server = Process::spawn(
        place
            .shell(&format!(
                "exec {} run --config /etc/hustdbsync/sync_server.json",
                folder.path().join("usr/bin/hustdbsync").display()
            ))
            .stderr(Stdio::null()),
    );
    place.wait_until_it_answers();
    server.end();
}

#[test]
fn the_packaged_configuration_is_the_documented_sample() {
    assert_eq!(
        read("packaging/sync_server.json"),
        hustdbsync::internals::config::sample()
    );
}
