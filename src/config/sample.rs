//! The documented sample of a configuration: every key at its default, each under its meaning.

use std::fmt::Write;

use serde_json::Value;

use super::Config;
use super::key::{Key, Origin};
use super::kind::{Kind, show_size, show_time};

const ABOUT: &str = "Keys that begin with // are comments. Every key is optional, and is shown \
                     here at its default. Times and sizes are numbers in the unit named, or \
                     strings such as \"5s\", \"500ms\", \"64MiB\".";

/// The sample's text. It is a configuration itself: what explains stands in keys that begin with
/// `//`, which nobody reads.
#[must_use]
pub fn sample() -> String {
    let mut text = format!("{{\n    \"//\": {}", Value::from(ABOUT));
    for section in ["network", "sync"] {
        let rows: Vec<String> = Config::keys()
            .filter(|key| key.section == section)
            .map(row)
            .collect();
        // Writing to a string can't fail.
        let _ = write!(
            text,
            ",\n    \"{section}\": {{\n{}\n    }}",
            rows.join(",\n")
        );
    }
    text.push_str("\n}\n");
    text
}

fn row(key: &Key) -> String {
    let origin = if key.origin == Origin::New {
        " New in this server."
    } else {
        ""
    };
    let comment = Value::from(format!("{}{}{origin}", key.meaning, range(&key.kind)));
    format!(
        "        \"//{}\": {comment},\n        \"{}\": {}",
        key.name, key.name, key.default
    )
}

/// The range, where there is one that the meaning doesn't tell.
fn range(kind: &Kind) -> String {
    match kind {
        Kind::Count { min, max } => format!(" From {min} to {max}."),
        Kind::Size { min, max } => format!(" From {} to {}.", show_size(*min), show_size(*max)),
        Kind::Time { min, max, .. } => format!(" From {} to {}.", show_time(*min), show_time(*max)),
        Kind::Word(_) => format!(" Takes {kind}."),
        _ => String::new(),
    }
}
