//! The time, and times for people.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Now, in seconds since 1970.
pub(super) fn now_unix() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

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
