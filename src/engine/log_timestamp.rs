//! When a line was written, by its prefix: HA writes local time, `[2026-11-22 16:40:38]`, unless
//! its operator changed the format.
//!
//! In the hour that clocks are set back, local time stands for two instants. Then the prefix tells
//! no time: what hangs on it (a ttl, whether an increment may be applied) must not be guessed.

use jiff::tz::TimeZone;

use crate::binlog::line::line_clock;

/// Unix seconds; `None` where the line does not begin with HA's own prefix, or that time is
/// ambiguous.
#[must_use]
pub fn written_unix(line: &[u8]) -> Option<u64> {
    written_in(line, TimeZone::system())
}

/// The time zone in which lines are read: its name, where it has one, and what it differs from UTC
/// by now.
#[must_use]
pub(crate) fn zone_of_lines() -> String {
    let now = jiff::Timestamp::now();
    let zone = TimeZone::system();
    let name = zone.iana_name().unwrap_or("without a name");
    format!("{name}, UTC{}", zone.to_offset(now))
}

fn written_in(line: &[u8], zone: TimeZone) -> Option<u64> {
    let instant = zone.into_ambiguous_zoned(line_clock(line)?);
    let instant = instant.unambiguous().ok()?;
    let seconds = instant.timestamp().as_second();
    u64::try_from(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<u64>) {
        assert_eq!(
            written_in(line.as_bytes(), TimeZone::UTC),
            expected,
            "{line}"
        );
    }

    #[test]
    fn has_own_prefix_tells_the_time_and_others_nothing() {
        check("[2026-11-22 16:40:38] [DEBUG] | MQAA", Some(1_795_365_638));
        check("[1960-01-01 00:00:00] x", None);
        check("[2026-13-22 16:40:38] x", None);
        check("[2026-11-22 16:40:38", None);
        check("2026-11-22 16:40:38 x", None);
        check("[DEBUG] MQAA", None);
        check("", None);
    }

    #[test]
    fn a_local_time_that_is_two_instants_tells_nothing() {
        let berlin = || TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let written = |line: &str| written_in(line.as_bytes(), berlin());
        assert_eq!(written("[2026-10-25 01:59:59] x"), Some(1_792_886_399));
        assert_eq!(written("[2026-10-25 02:00:00] x"), None);
        assert_eq!(written("[2026-10-25 02:59:59] x"), None);
        assert_eq!(written("[2026-10-25 03:00:00] x"), Some(1_792_893_600));
        assert_eq!(written("[2026-03-29 02:30:00] x"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(line: Vec<u8>) {
            let _ = written_unix(&line);
        }
    }
}
