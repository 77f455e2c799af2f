//! The image's file: no engine builds it here, so what can be seen without one is.

use crate::{read, root};

const FILE: &str = "packaging/oci/Containerfile";

/// The arguments of each line with this instruction.
fn arguments<'a>(text: &'a str, instruction: &str) -> Vec<Vec<&'a str>> {
    text.lines()
        .filter_map(|line| line.strip_prefix(instruction)?.strip_prefix(' '))
        .map(|rest| rest.split_whitespace().collect())
        .collect()
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
