//! When a line was written, by its prefix: HA writes local time, `[2026-11-22 16:40:38]`, unless its operator changed the format.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Bytes of `2026-11-22 16:40:38`.
const TIME_BYTES: usize = 19;

/// Unix seconds; none where the line does not begin with HA's own prefix.
#[must_use]
pub fn written_unix(line: &[u8]) -> Option<u64> {
    written_in(line, TimeZone::system())
}

fn written_in(line: &[u8], zone: TimeZone) -> Option<u64> {
    let rest = line.strip_prefix(b"[")?;
    let (time, rest) = rest.split_at_checked(TIME_BYTES)?;
    if rest.first() != Some(&b']') {
        return None;
    }
    let time: DateTime = str::from_utf8(time).ok()?.parse().ok()?;
    let seconds = time.to_zoned(zone).ok()?.timestamp().as_second();
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

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(line: Vec<u8>) {
            let _ = written_unix(&line);
        }
    }
}
