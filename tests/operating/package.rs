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
    let (Some(_), Some(_)) = (program("cargo-deb"), program("dpkg-deb")) else {
        return skip("the Debian package", "cargo-deb");
    };
    let built = Path::new(env!("CARGO_BIN_EXE_hustdbsync"))
        .parent()
        .unwrap();
    let said = output(
        Command::new(root().join("packaging/deb"))
            .arg(built)
            .arg("--fast"),
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
    for script in ["postinst", "postrm"] {
        let text = fs::read_to_string(control.join(script)).unwrap();
        assert!(!text.contains("#DEBHELPER#"), "{script} is not filled in");
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
fn every_file_of_the_package_that_is_not_made_is_there() {
    let manifest = read("Cargo.toml");
    let assets = manifest
        .split("assets = [")
        .nth(1)
        .unwrap()
        .split("\n]")
        .next()
        .unwrap();
    let sources: Vec<&str> = assets
        .lines()
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    assert!(sources.len() > 5);
    for source in sources {
        assert!(
            source.starts_with("target/package/") || is_there(source),
            "{source} is missing"
        );
    }
}

/// Whether there is such a file; a star is any name.
fn is_there(source: &str) -> bool {
    let path = root().join(source);
    let name = path.file_name().unwrap().to_str().unwrap();
    let Some(extension) = name.strip_prefix('*') else {
        return path.exists();
    };
    let files = fs::read_dir(path.parent().unwrap())
        .into_iter()
        .flatten()
        .flatten();
    files
        .map(|file| file.file_name())
        .any(|file| file.to_string_lossy().ends_with(extension))
}

#[test]
fn the_packaged_configuration_is_the_documented_sample() {
    assert_eq!(
        read("packaging/sync_server.json"),
        hustdbsync::config::sample()
    );
}
