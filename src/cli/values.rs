//! Values that arguments of several commands have: ids, codes, times.

use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::cli::local_time::now_unix;
use crate::config::BackendName;
use crate::status::control_request::parse_id;
use crate::text::parse_duration;

/// A code of one word, such as a reason: one of those that there are.
pub(super) fn one_of(words: &[&str], word: &str) -> Result<String, String> {
    match words.contains(&word) {
        true => Ok(word.to_owned()),
        false => Err(format!("it is one of {}", words.join(", "))),
    }
}

/// What a line of a list is named by.
pub(super) fn id(text: &str) -> Result<u64, String> {
    parse_id(text).ok_or_else(|| "an id has 16 hexadecimal digits".to_owned())
}

/// A time as people write it, in Unix seconds.
pub(super) fn unix(text: &str) -> Result<u64, String> {
    unix_at(text, now_unix(), TimeZone::system())
}

/// Seconds since 1970 that are taken for a time: from 2001 to the year 5138.
const UNIX: Range<u64> = 1_000_000_000..100_000_000_000;

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
    // A date without dashes is no number of seconds, and neither are milliseconds.
    let count = text.parse().ok().filter(|unix| UNIX.contains(unix));
    count.or_else(ago).or_else(stamp).or_else(civil).ok_or_else(|| {
        "a time is 2026-11-22, \"2026-11-22 16:40\", 2026-11-22T16:40:38Z, seconds since 1970, or \
         30m, 2h, 3d ago".to_owned()
    })
}

/// A backend's name among the arguments.
pub(super) fn backend_name(text: &str) -> Result<String, String> {
    match BackendName::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(fault) => Err(fault.to_string()),
    }
}

/// A time as people write it: `30s`, `500ms`, `5m`, `2h`, or seconds.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text, Some(Duration::from_secs(1)))
        .ok()
        // No longer than a clock goes.
        .filter(|time| *time <= Duration::from_secs(366 * 86_400))
        .ok_or_else(|| "a time is a number with ms, s, m, h or d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_a_number_or_an_age() {
        for (text, expected) in [
            ("0", None),
            ("20261122", Some(1_795_305_600)),
            ("2026", None),
            ("1795365638000", None),
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
    fn ids_and_codes_are_words_of_their_kind() {
        assert_eq!(id("00000000000000ff"), Ok(255));
        assert!(id("ff").is_err() && id("+0000000000000ff").is_err());
        let codes = ["table_type", "version"];
        assert_eq!(one_of(&codes, "version"), Ok("version".to_owned()));
        for slip in ["tabletype", ""] {
            let refused = one_of(&codes, slip).unwrap_err();
            assert_eq!(refused, "it is one of table_type, version", "{slip}");
        }
    }

    #[test]
    fn a_time_has_a_unit_or_is_seconds_and_at_most_a_year() {
        for (text, expected) in [
            ("30s", Some(30_000)),
            ("7", Some(7000)),
            ("366d", Some(31_622_400_000)),
            ("367d", None),
            ("-1s", None),
            ("9999999999999h", None),
        ] {
            assert_eq!(
                time(text).ok(),
                expected.map(Duration::from_millis),
                "{text}"
            );
        }
    }
}
