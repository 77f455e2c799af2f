//! Times for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `2026-11-22 16:40:38`, by the local clock. A time that no clock shows is the last one that does.
pub(super) fn local(unix: u64) -> String {
    let time = i64::try_from(unix)
        .ok()
        .and_then(|unix| Timestamp::from_second(unix).ok());
    time.unwrap_or(Timestamp::MAX)
        .to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}
