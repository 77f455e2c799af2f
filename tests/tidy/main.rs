//! The rules that a machine can check: which module imports which, where system calls and unsafe
//! code may be; and that what the documents name exists (`documents`).
//! ARCHITECTURE.md has the map.

mod circles;
mod documents;

use std::fs;
use std::path::{Path, PathBuf};

/// Modules, and what they may import. A module that is not here may import everything.
const MODULES: [(&str, &[&str]); 15] = [
    ("clock", &[]),
    ("limits", &[]),
    ("text", &[]),
    ("binlog", &["limits"]),
    ("http", &["clock", "limits"]),
    ("ledger", &["limits"]),
    ("status", &["clock", "http", "limits", "text"]),
    ("pace", &["limits"]),
    ("connections", &["clock"]),
    (
        "reconcile",
        &[
            "binlog",
            "clock",
            "connections",
            "http",
            "ledger",
            "limits",
            "pace",
            "text",
        ],
    ),
    (
        "replay",
        &[
            "binlog",
            "clock",
            "connections",
            "http",
            "ledger",
            "limits",
            "pace",
            "reconcile",
            "status",
        ],
    ),
    ("config", &["limits", "reconcile", "replay", "text"]),
    ("fake_hustdb", &["limits"]),
    ("workload", &["binlog", "fake_hustdb"]),
    (
        "engine",
        &[
            "binlog",
            "clock",
            "config",
            "connections",
            "http",
            "ledger",
            "limits",
            "reconcile",
            "replay",
            "status",
            "text",
        ],
    ),
];

/// Modules without system calls, threads and clocks.
const PURE: [&str; 11] = [
    "clock",
    "limits",
    "text",
    "binlog",
    "http",
    "ledger",
    "status",
    "replay",
    "reconcile",
    "pace",
    "connections",
];

/// Crates that are not to be found in those. What they may not use of the standard library is in
/// clippy.toml.
const IMPURE: [&str; 4] = ["mio::", "inotify::", "libc::", "rustix::"];

/// What makes clippy check that.
const DENIES: &str = "#![deny(clippy::disallowed_methods, clippy::disallowed_types)]";

/// Every Rust file below `folder`, by its path from the crate's root, and its text.
fn files(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("its entries can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is text");
                let name = path.strip_prefix(root).expect("it is below the root");
                found.push((name.display().to_string(), text));
            }
        }
    }
    assert!(!found.is_empty(), "there are files below {folder}");
    found
}

fn is_test(path: &str) -> bool {
    path.contains("test")
}

/// The module that a file below `src` belongs to.
fn module(path: &str) -> &str {
    let below = path.strip_prefix("src/").expect("modules are below src");
    below
        .split(['/', '.'])
        .next()
        .expect("a path has a first part")
}

/// The code of a file, without comments and without the tests at its end.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

fn check(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn modules_import_downward_only() {
    let mut complaints = Vec::new();
    for (path, text) in files("src").iter().filter(|(path, _)| !is_test(path)) {
        let Some((name, allowed)) = MODULES.iter().find(|(name, _)| *name == module(path)) else {
            continue;
        };
        for line in code(text) {
            for (at, _) in line.match_indices("crate::") {
                let imported = line[at + 7..]
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next();
                let imported = imported.expect("a split has a first part");
                if imported != *name && !allowed.contains(&imported) && !imported.is_empty() {
                    complaints.push(format!("{path}: {name} may not import {imported}"));
                }
            }
        }
    }
    check(complaints);
}

#[test]
fn the_core_makes_no_system_call_and_reads_no_clock() {
    let mut complaints = Vec::new();
    for (path, text) in files("src").iter().filter(|(path, _)| !is_test(path)) {
        if !PURE.contains(&module(path)) {
            continue;
        }
        let name = module(path);
        let is_root = [format!("src/{name}.rs"), format!("src/{name}/mod.rs")].contains(path);
        if is_root && !text.lines().any(|line| line == DENIES) {
            complaints.push(format!("{path} does not say {DENIES}"));
        }
        for line in code(text) {
            complaints.extend(
                IMPURE
                    .iter()
                    .filter(|word| line.contains(*word))
                    .map(|word| format!("{path}: {word} does not belong into the core")),
            );
        }
    }
    check(complaints);
}

#[test]
fn unsafe_code_is_in_one_place() {
    let complaints = files("src")
        .into_iter()
        .filter(|(path, text)| {
            !path.starts_with("src/engine/os") && code(text).any(|line| line.contains("unsafe "))
        })
        .map(|(path, _)| format!("{path}: unsafe belongs into src/engine/os"))
        .collect();
    check(complaints);
}

/// The table in docs/unsafe.md has each file with its number of blocks, and no other.
#[test]
fn each_unsafe_block_is_in_its_document() {
    let document = documents::read("docs/unsafe.md");
    let mut told: Vec<(&str, usize)> = document
        .lines()
        .filter_map(|line| {
            let (file, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            let (blocks, _) = rest.split_once(' ')?;
            Some((file, blocks.parse().ok()?))
        })
        .collect();
    told.sort_unstable();
    let sources = files("src/engine/os");
    let mut found: Vec<(&str, usize)> = sources
        .iter()
        .map(|(path, text)| {
            let blocks = code(text).map(|line| line.matches("unsafe ").count()).sum();
            (path.trim_start_matches("src/engine/os/"), blocks)
        })
        .filter(|(_, blocks)| *blocks > 0)
        .collect();
    found.sort_unstable();
    assert_eq!(told, found, "docs/unsafe.md beside the code");
}

#[test]
fn nothing_is_left_for_later() {
    let words = ["TODO", "FIXME", "XXX", "HACK"];
    let mut complaints = Vec::new();
    for folder in ["src", "benches", "fuzz/fuzz_targets"] {
        for (path, text) in files(folder) {
            complaints.extend(
                words
                    .iter()
                    .filter(|word| text.contains(*word))
                    .map(|word| format!("{path} says {word}: do it, or write an issue")),
            );
        }
    }
    check(complaints);
}

/// What rustfmt leaves alone: strings, comments, and what stands in macros and attributes.
#[test]
fn lines_of_code_and_prose_end_within_100_columns() {
    let sources = ["src", "benches", "fuzz", "tests"]
        .into_iter()
        .flat_map(files);
    let complaints = sources
        .chain(documents::documents())
        .flat_map(|(path, text)| {
            let long = |line: &&str| {
                // A row of a table is one line, and so is a link's target.
                let words = line.trim_start().trim_start_matches("//!").trim_start();
                let is_row = words.starts_with('|');
                line.chars().count() > 100 && !is_row && !line.contains("](")
            };
            // What was written of a version stays.
            let is_past = path == "CHANGELOG.md";
            let count = text.lines().filter(long).count();
            (count > 0 && !is_past)
                .then(|| format!("{path}: {count} lines are longer than 100 columns"))
        })
        .collect();
    check(complaints);
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    let complaints = ["src", "benches", "fuzz/fuzz_targets", "tests"]
        .into_iter()
        .flat_map(files)
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| format!("{path} does not begin with a module doc"))
        .collect();
    check(complaints);
}
