//! The alerts and the dashboard: that Prometheus takes them, that alerts fire when they should, and
//! that each number they ask for is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::observe::metrics::scraped;
use crate::observe::promtool::promtool;

fn packaging(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("packaging")
        .join(below)
}

pub(crate) fn read(below: &str) -> String {
    fs::read_to_string(packaging(below)).unwrap()
}

#[test]
fn prometheus_takes_the_rules_and_each_alert_fires_when_it_should() {
    let folder = packaging("prometheus");
    promtool(&["check", "rules", "rules.yml", "alerts.yml"], &folder, "");
    promtool(&["test", "rules", "alerts_test.yml"], &folder, "");
}

/// Names of metrics in an expression: ours, the process's, and those that a rule records.
fn names(expression: &str) -> BTreeSet<String> {
    let is_part =
        |envelope: char| envelope.is_ascii_alphanumeric() || envelope == '_' || envelope == ':';
    let words = expression.split(|envelope| !is_part(envelope));
    words
        .filter(|word| {
            word.starts_with("hustdbsync_")
                || word.starts_with("process_")
                || word.contains(":hustdbsync_")
        })
        .map(str::to_owned)
        .collect()
}

/// The values of `key` in lines of YAML.
pub(crate) fn values<'t>(yaml: &'t str, key: &str) -> Vec<&'t str> {
    let lines = yaml.lines().map(str::trim_start);
    lines
        .filter_map(|line| {
            line.trim_start_matches("- ")
                .strip_prefix(key)?
                .strip_prefix(": ")
        })
        .collect()
}

/// Without comments and annotations' prose: what is asked for.
fn expressions(yaml: &str) -> String {
    let lines = yaml.lines().filter(|line| {
        let line = line.trim_start();
        !line.starts_with('#') && !line.starts_with("runbook_url:")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn strings<'j>(json: &'j Json, key: &str, found: &mut Vec<&'j str>) {
    match json {
        Json::Object(object) => {
            for (name, value) in object {
                match value {
                    Json::String(text) if name == key => found.push(text),
                    value => strings(value, key, found),
                }
            }
        }
        Json::Array(array) => array.iter().for_each(|value| strings(value, key, found)),
        _ => {}
    }
}

#[test]
fn every_number_that_alerts_and_dashboard_ask_for_is_exported() {
    let text = scraped("text/plain");
    let samples = crate::observe::client::samples(&text);
    let names_of = |series: &String| series.split('{').next().unwrap().to_owned();
    let mut exported: BTreeSet<String> = samples.keys().map(names_of).collect();
    let rules = read("prometheus/rules.yml");
    exported.extend(values(&rules, "record").into_iter().map(str::to_owned));

    let alerts = read("prometheus/alerts.yml");
    let dashboard: Json = serde_json::from_str(&read("grafana/hustdbsync.json")).unwrap();
    let mut asked = names(&expressions(&alerts));
    asked.extend(names(&expressions(&rules)));
    let mut queries = Vec::new();
    for key in ["expr", "query", "definition"] {
        strings(&dashboard, key, &mut queries);
    }
    assert!(queries.len() > 30, "the dashboard asks for something");
    asked.extend(queries.into_iter().flat_map(names));
    assert!(asked.len() > 30, "{asked:?}");
    let missing: Vec<&String> = asked.difference(&exported).collect();
    assert!(
        missing.is_empty(),
        "asked for and not exported: {missing:?}\n{text}"
    );
}

#[test]
fn every_alert_has_a_test_and_names_its_chapter_in_the_operators_guide() {
    let (alerts, tests) = (
        read("prometheus/alerts.yml"),
        read("prometheus/alerts_test.yml"),
    );
    let names = values(&alerts, "alert");
    let runbooks = values(&alerts, "runbook_url");
    assert_eq!(names.len(), runbooks.len());
    assert!(!names.is_empty());
    for (name, runbook) in names.iter().zip(runbooks) {
        let expected = format!("\"docs/operations.md#{}\"", name.to_lowercase());
        assert_eq!(runbook, expected);
        assert!(tests.contains(&expected), "{name} is never seen to fire");
    }
}

#[test]
fn the_dashboards_panels_have_a_place_each_and_ask_the_chosen_source() {
    let dashboard: Json = serde_json::from_str(&read("grafana/hustdbsync.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{}",
            panel["title"]
        );
        let of = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for x in of("x")..of("x") + of("w") {
            for y in of("y")..of("y") + of("h") {
                assert!(
                    x < 24 && taken.insert((x, y)),
                    "{} lies on another",
                    panel["title"]
                );
            }
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}");
        }
    }
}
