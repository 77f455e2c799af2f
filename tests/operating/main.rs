//! What an operator is given besides the program: units, package, image, bill of materials, and
//! documents whose every command works.
//!
//! What needs a program that is not everywhere (systemd-analyze, dpkg-shlibdeps) says loudly that
//! it is skipped where that is missing.

mod commands;
mod container;
mod guide;
mod materials;
mod package;
mod place;
#[path = "../e2e/port.rs"]
mod port;
#[path = "../support/mod.rs"]
mod support;
mod units;

use std::path::{Path, PathBuf};

/// The crate's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the crate as text.
#[track_caller]
fn read(below: impl AsRef<Path>) -> String {
    let path = root().join(below);
    std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// Where a program is, if it is installed.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Says that a test shows nothing here.
fn skip(test: &str, missing: &str) {
    eprintln!("SKIPPED: {test} needs {missing}, which is not installed; .ci/run brings it");
}
