//! The image's file: no engine builds it here, so what can be seen without one is.

use std::fs;
use std::path::Path;

use crate::{read, root};

const FILE: &str = "packaging/oci/Containerfile";

/// The arguments of each line with this instruction.
fn arguments<'a>(text: &'a str, instruction: &str) -> Vec<Vec<&'a str>> {
    text.lines()
        .filter_map(|line| line.strip_prefix(instruction)?.strip_prefix(' '))
        .map(|rest| rest.split_whitespace().collect())
        .collect()
}

/// Files outside of `folder` that sources below it include, by their paths in the repository.
fn included_from_beside(folder: &Path) -> Vec<String> {
    let mut included = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            included.extend(included_from_beside(&path));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for rest in text
            .split("include_str!(\"")
            .chain(text.split("include_bytes!(\""))
        {
            let (name, _) = rest.split_once('"').unwrap_or_default();
            if let Some((_, beside)) = name.rsplit_once("../") {
                included.push(beside.to_owned());
            }
        }
    }
    included
}

#[test]
fn all_that_is_copied_is_there_and_is_all_that_the_build_needs() {
    let text = read(FILE);
    let mut copied = Vec::new();
    for words in arguments(&text, "COPY") {
        if words[0].starts_with("--from=") {
            continue;
        }
        let (_, sources) = words.split_last().unwrap();
        for source in sources {
            assert!(root().join(source).exists(), "COPY {source}");
            copied.push(*source);
        }
    }
    // What cargo reads before it builds: a bench that is named must be there.
    for needed in ["Cargo.toml", "Cargo.lock", "src", "benches", "README.md"] {
        assert!(copied.contains(&needed), "{needed} is not copied");
    }
    // And what the sources take in from beside them.
    let included = included_from_beside(&root().join("src"));
    assert!(!included.is_empty());
    for file in included {
        assert!(
            copied.iter().any(|copied| file == *copied),
            "{file} is not copied"
        );
    }
}

#[test]
fn it_builds_as_the_readme_says_with_the_oldest_compiler_that_is_promised() {
    let text = read(FILE);
    let manifest = read("Cargo.toml");
    let oldest = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .unwrap()
        .trim_matches('"');
    assert!(text.contains(&format!("rust:{oldest}-")), "{oldest}");
    assert!(text.contains("cargo install --locked --path ."));
    assert!(read("README.md").contains("cargo install --path ."));
}

#[test]
fn it_runs_as_nobody_in_particular_and_is_asked_for_its_health() {
    let text = read(FILE);
    let user = arguments(&text, "USER");
    let user = user.last().and_then(|words| words.first()).unwrap();
    let number: u32 = user.split(':').next().unwrap().parse().unwrap();
    assert_ne!(number, 0);
    assert!(text.contains("\nHEALTHCHECK "));
    let health = text.split("HEALTHCHECK").nth(1).unwrap();
    assert!(health.contains("[\"hustdbsync\", \"status\""));
}
