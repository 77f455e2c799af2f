//! What the program is made of, and the crate as it would be published.

use std::process::Command;

use serde_json::Value;

use crate::{read, root};

fn output(command: &mut Command) -> String {
    let output = command.current_dir(root()).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_bill_of_materials_has_every_dependency_with_its_version_and_licence() {
    let bill: Value = serde_json::from_str(&output(&mut Command::new("packaging/sbom"))).unwrap();
    assert_eq!(bill["bomFormat"], "CycloneDX");
    assert_eq!(bill["metadata"]["component"]["name"], "hustdbsync");
    assert_eq!(
        bill["metadata"]["component"]["version"],
        env!("CARGO_PKG_VERSION")
    );
    let components = bill["components"].as_array().unwrap();
    let lock = read("Cargo.lock");
    for component in components {
        let (name, version) = (
            component["name"].as_str().unwrap(),
            component["version"].as_str().unwrap(),
        );
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"");
        assert!(
            lock.contains(&entry),
            "{name} {version} is not in Cargo.lock"
        );
        let licence = &component["licenses"][0]["expression"];
        assert!(
            licence.as_str().is_some_and(|text| !text.is_empty()),
            "{name} has no licence"
        );
    }
    let names: Vec<&str> = components
        .iter()
        .filter_map(|component| component["name"].as_str())
        .collect();
    // Those that are named, and those that they need; none that only tests need.
    let manifest = read("Cargo.toml");
    let dependencies = manifest
        .split("[dependencies]\n")
        .nth(1)
        .unwrap()
        .split("\n[")
        .next()
        .unwrap();
    for name in dependencies
        .lines()
        .filter_map(|line| line.split(" = ").next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
    {
        assert!(names.contains(&name), "{name} is missing");
    }
    assert!(!names.contains(&"proptest") && !names.contains(&"tokio"));
}

#[test]
fn the_crate_says_what_it_is_and_takes_along_what_it_needs() {
    let text = output(Command::new(env!("CARGO")).args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]));
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let package = &metadata["packages"][0];
    for key in ["description", "license", "rust_version", "readme"] {
        assert!(
            package[key].as_str().is_some_and(|text| !text.is_empty()),
            "{key}"
        );
    }
    let list = output(Command::new(env!("CARGO")).args([
        "package",
        "--list",
        "--allow-dirty",
        "--offline",
    ]));
    let files: Vec<&str> = list.lines().collect();
    for needed in [
        "LICENSE",
        "README.md",
        "src/main.rs",
        "packaging/systemd/hustdbsync.service",
        "docs/operations.md",
    ] {
        assert!(files.contains(&needed), "{needed} is left out");
    }
    for file in files {
        assert!(
            !file.starts_with("fuzz/") && !file.starts_with(".ci"),
            "{file} is taken along"
        );
    }
}
