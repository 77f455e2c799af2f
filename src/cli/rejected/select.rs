//! Which of the lines that were rejected: the arguments, as a filter and as a query.

use clap::Args;

use crate::cli::scope::Scope;
use crate::cli::status::client::in_query;
use crate::cli::values::one_of;
use crate::ledger::rejected::{Filter, REASONS, show_id};

/// Those for which all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(in crate::cli) struct Selection {
    #[command(flatten)]
    pub(super) scope: Scope,
    /// With this reason, as `rejected list` shows it
    #[arg(long, value_name = "REASON", value_parser = reason)]
    pub(super) reason: Option<String>,
}

impl Selection {
    /// As a filter of one backend's lines, of these ids.
    pub(super) fn filter(&self, ids: &[u64]) -> Filter {
        Filter {
            reason: self.reason.clone(),
            since: self.scope.since,
            until: self.scope.until,
            ids: ids.to_vec(),
        }
    }

    /// As a query, of these ids.
    pub(super) fn query(&self, ids: &[u64]) -> String {
        let mut parts = Vec::new();
        if let Some(backend) = &self.scope.backend {
            parts.push(format!("backend={}", in_query(backend)));
        }
        if let Some(reason) = &self.reason {
            parts.push(format!("reason={}", in_query(reason)));
        }
        let times = [("since", self.scope.since), ("until", self.scope.until)];
        for (name, unix) in times {
            parts.extend(unix.map(|unix| format!("{name}={unix}")));
        }
        if !ids.is_empty() {
            let ids: Vec<String> = ids.iter().map(|id| show_id(*id)).collect();
            parts.push(format!("id={}", ids.join(",")));
        }
        if parts.is_empty() {
            parts.push("all=true".to_owned());
        }
        parts.join("&")
    }
}

fn reason(word: &str) -> Result<String, String> {
    one_of(&REASONS, word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_are_those_of_the_manual() {
        let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/format.md");
        let manual = std::fs::read_to_string(manual).unwrap();
        let (_, section) = manual.split_once("## A line that is rejected").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let words = rows.flat_map(|row| row.split('|').next().unwrap().split("`, `"));
        let words: Vec<&str> = words
            .map(|word| word.trim_end_matches(['`', ' ']))
            .collect();
        assert_eq!(words, REASONS);
    }

    #[test]
    fn a_query_has_what_is_given_or_says_all() {
        let none = Selection::default();
        assert_eq!(none.query(&[]), "all=true");
        let some = Selection {
            scope: Scope {
                backend: Some("[::1]:1".into()),
                since: Some(1),
                until: Some(2),
                ids: vec![255],
            },
            reason: Some("table_type".into()),
        };
        assert_eq!(
            some.query(&some.scope.ids),
            "backend=%5B::1%5D:1&reason=table_type&since=1&until=2&id=00000000000000ff"
        );
    }
}
