//! Which of the lines that were rejected: the arguments, as a filter and as a query.

use clap::Args;

use crate::cli::backend_name;
use crate::cli::status::client::in_query;
use crate::cli::values::{id, unix, word};
use crate::ledger::rejected::{Filter, show_id};

/// Those for which all that is given holds.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct Selection {
    /// Of this backend, host:port
    #[arg(long, value_name = "BACKEND", value_parser = backend_name)]
    pub(super) backend: Option<String>,
    /// With this reason, as `rejected list` shows it
    #[arg(long, value_name = "REASON", value_parser = word)]
    pub(super) reason: Option<String>,
    /// Rejected at this time or later: 2026-11-22, "2026-11-22 16:40", seconds since 1970, or 30m,
    /// 2h, 3d ago
    #[arg(long, value_name = "TIME", value_parser = unix)]
    pub(super) since: Option<u64>,
    /// Rejected at this time or before
    #[arg(long, value_name = "TIME", value_parser = unix)]
    pub(super) until: Option<u64>,
    /// These, by the ids that `rejected list` shows
    #[arg(long = "id", value_name = "ID", value_delimiter = ',', value_parser = id)]
    pub(super) ids: Vec<u64>,
}

impl Selection {
    /// Whether nothing is given.
    pub(super) fn is_empty(&self) -> bool {
        self.backend.is_none() && self.filter(&self.ids) == Filter::default()
    }

    /// As a filter of one backend's lines, of these ids.
    pub(super) fn filter(&self, ids: &[u64]) -> Filter {
        Filter {
            reason: self.reason.clone(),
            since: self.since,
            until: self.until,
            ids: ids.to_vec(),
        }
    }

    /// As a query, of these ids.
    pub(super) fn query(&self, ids: &[u64]) -> String {
        let mut parts = Vec::new();
        if let Some(backend) = &self.backend {
            parts.push(format!("backend={}", in_query(backend)));
        }
        if let Some(reason) = &self.reason {
            parts.push(format!("reason={}", in_query(reason)));
        }
        let times = [("since", self.since), ("until", self.until)];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_what_is_given_or_says_all() {
        let none = Selection::default();
        assert!(none.is_empty());
        assert_eq!(none.query(&[]), "all=true");
        let some = Selection {
            backend: Some("[::1]:1".into()),
            reason: Some("table_type".into()),
            since: Some(1),
            until: Some(2),
            ids: vec![255],
        };
        assert_eq!(
            some.query(&some.ids),
            "backend=%5B::1%5D:1&reason=table_type&since=1&until=2&id=00000000000000ff"
        );
        assert!(!some.is_empty());
    }
}
