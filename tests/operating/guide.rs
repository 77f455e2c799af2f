//! The operator's guide is whole: each setting with its default and when it takes effect, each
//! alert, each command.

use std::process::Command;

use hustdbsync::internals::config::{Config, Effect};

use crate::{read, root};

const GUIDE: &str = "docs/operations.md";

#[test]
fn each_setting_stands_in_it_with_its_default_and_when_it_takes_effect() {
    let guide = read(GUIDE);
    for key in Config::keys() {
        let begin = format!("| `{}` | `{}` | ", key.path(), key.default);
        let row = guide
            .lines()
            .find(|line| line.starts_with(&begin))
            .unwrap_or_else(|| panic!("{GUIDE} has no row that begins with {begin:?}"));
        let effect = row[begin.len()..].split(" |").next().unwrap();
        let expected: &[&str] = match key.effect {
            Effect::Immediate => &["now"],
            // Some have no effect at all.
            Effect::NeedsRestart => &["start", "never"],
        };
        assert!(expected.contains(&effect), "{}: {effect}", key.path());
        let what = row.rsplit("| ").next().unwrap();
        assert!(what.len() > 20, "{} says nothing of it", key.path());
    }
    // And no setting that there is not.
    for line in guide
        .lines()
        .filter(|line| line.starts_with("| `network.") || line.starts_with("| `sync."))
    {
        let name = line.split('`').nth(1).unwrap();
        assert!(
            Config::keys().any(|key| key.path() == name),
            "{name} is no setting"
        );
    }
}

#[test]
fn each_alert_has_its_section() {
    let alerts = root().join("packaging/prometheus/alerts.yml");
    let Ok(alerts) = std::fs::read_to_string(&alerts) else {
        panic!("{} is missing", alerts.display());
    };
    let guide = read(GUIDE);
    let names: Vec<&str> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(names.len() > 5, "{names:?}");
    for name in &names {
        let section = guide
            .split(&format!("\n### {name}\n"))
            .nth(1)
            .unwrap_or_else(|| panic!("{GUIDE} has no section {name}"));
        let text = section.split("\n### ").next().unwrap();
        assert!(text.len() > 100, "{name} says too little");
        let anchor = format!("docs/operations.md#{}", name.to_lowercase());
        assert!(alerts.contains(&anchor), "{name} does not name {anchor}");
    }
    for section in guide
        .lines()
        .filter_map(|line| line.strip_prefix("### Hustdbsync"))
    {
        let name = format!("Hustdbsync{section}");
        assert!(names.contains(&&*name), "{name} is no alert");
    }
}

#[test]
fn each_command_is_told_of() {
    let help = Command::new(env!("CARGO_BIN_EXE_hustdbsync"))
        .arg("-h")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands = help.split("Commands:\n").nth(1).unwrap();
    let commands = commands.split("\n\n").next().unwrap();
    let names = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    let documents = read(GUIDE) + &read("README.md") + &read("CONTRIBUTING.md");
    let mut count = 0;
    for name in names.filter(|name| *name != "help") {
        count += 1;
        assert!(
            documents.contains(&format!("hustdbsync {name}"))
                || documents.contains(&format!("-- {name}")),
            "no document tells of hustdbsync {name}"
        );
    }
    assert!(count >= 7, "{help}");
}
