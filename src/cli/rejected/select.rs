//! Which of the lines that were rejected: the arguments, as a filter and as a query.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::cli::backend_name;
use crate::cli::status::client::in_query;
use crate::ledger::rejected::{Filter, show_id};
use crate::status::control_request::parse_id;
use crate::text::parse_duration;

/// Those for which all that is given holds.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct Selection {
    /// Of this backend, host:port
    #[arg(long, value_name = "BACKEND", value_parser = backend_name)]
    pub(super) backend: Option<String>,
    /// With this reason, as `rejected list` shows it
    #[arg(long, value_name = "REASON", value_parser = reason)]
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

fn reason(text: &str) -> Result<String, String> {
    let is_code = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_code
        .then(|| text.to_owned())
        .ok_or_else(|| "a reason is one word, such as table_type".to_owned())
}

fn id(text: &str) -> Result<u64, String> {
    parse_id(text).ok_or_else(|| "an id has 16 hexadecimal digits".to_owned())
}

fn unix(text: &str) -> Result<u64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    unix_at(
        text,
        now.unwrap_or(Duration::ZERO).as_secs(),
        TimeZone::system(),
    )
}

/// A time as people write it; `now`, Unix seconds, is for times ago, the zone for those without
/// one.
fn unix_at(text: &str, now: u64, zone: TimeZone) -> Result<u64, String> {
    let ago = || Some(now.saturating_sub(parse_duration(text, None).ok()?.as_secs()));
    let civil = || -> Option<u64> {
        let time: DateTime = text.parse().ok()?;
        let seconds = time.to_zoned(zone).ok()?.timestamp().as_second();
        u64::try_from(seconds).ok()
    };
    let stamp = || {
        let stamp: Timestamp = text.parse().ok()?;
        u64::try_from(stamp.as_second()).ok()
    };
    let count = text.parse().ok();
    count.or_else(ago).or_else(stamp).or_else(civil).ok_or_else(|| {
        "a time is 2026-11-22, \"2026-11-22 16:40\", 2026-11-22T16:40:38Z, seconds since 1970, or \
         30m, 2h, 3d ago".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_a_number_or_an_age() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1795365638", Some(1_795_365_638)),
            ("30s", Some(1_799_999_970)),
            ("2h", Some(1_799_992_800)),
            ("99999999d", Some(0)),
            ("2026-11-22T16:40:38Z", Some(1_795_365_638)),
            ("2026-11-22T17:40:38+01:00", Some(1_795_365_638)),
            ("2026-11-22 16:40:38", Some(1_795_365_638)),
            ("2026-11-22 16:40", Some(1_795_365_600)),
            ("2026-11-22", Some(1_795_305_600)),
            ("1960-01-01", None),
            ("yesterday", None),
            ("-5", None),
            ("5w", None),
            ("", None),
        ] {
            let found = unix_at(text, 1_800_000_000, TimeZone::UTC);
            assert_eq!(found.ok(), expected, "{text}");
        }
    }

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

    #[test]
    fn ids_and_reasons_are_words_of_their_kind() {
        assert_eq!(id("00000000000000ff"), Ok(255));
        assert!(id("ff").is_err() && id("+0000000000000ff").is_err());
        assert!(reason("table_type").is_ok() && reason("a b").is_err() && reason("").is_err());
    }
}
