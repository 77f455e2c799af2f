//! Finds out whether a log has lines of the hour that comes twice.
//!
//! When clocks are set back in HA's time zone, HA gives the second hour's logs the names of the
//! first hour's. A log that is still there then gets lines of both. Its lines are in their order;
//! but those of the second hour are replayed before logs of the first hour whose names are greater.
//! Neither names nor lines show it: HA writes to a log for one minute, and it is the same minute
//! again. What shows it is how long the log was written to, by the file system's times, which no
//! time zone changes: an hour longer than its lines' times say.

use jiff::civil::DateTime;
use memchr::memrchr;

use crate::binlog::line::line_clock;
use crate::limits::LINE_TIME_BYTES_MAX;
use crate::replay::disk::{Disk, LogMeta};
use crate::replay::reader::LogReader;

const HOUR_S: i64 = 3600;
/// Between a line's time, which is in whole seconds, and the write of it, at both ends of the log.
const SLACK_S: i64 = 10;
/// Bytes of `[2026-10-25`.
const DATE_BYTES: usize = 11;

/// The time in a line's prefix as its clock shows it, in seconds; only differences mean something.
/// `None` where the line does not begin with HA's own prefix.
pub(super) fn clock_s(line: &[u8]) -> Option<i64> {
    const DAY_0: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    let time = line_clock(line).filter(|_| line[DATE_BYTES] == b' ')?;
    Some(time.duration_since(DAY_0).as_secs())
}

/// The time of the last whole line that was read.
pub(super) fn last_clock_s(read: &[u8]) -> Option<i64> {
    let end = memrchr(b'\n', read)?;
    let start = memrchr(b'\n', &read[..end]).map_or(0, |newline| newline + 1);
    let line = &read[start..];
    clock_s(&line[..line.len().min(LINE_TIME_BYTES_MAX)])
}

/// Whether a log whose first and last lines have these times has lines of both hours.
fn has_both_hours(first_s: i64, last_s: i64, meta: &LogMeta) -> bool {
    let seconds = |nanos: u64| i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX);
    let written_for = seconds(meta.modified_nanos) - seconds(meta.born_nanos);
    let unseen_s = written_for.saturating_sub(last_s - first_s);
    meta.born_nanos > 0 && (unseen_s - HOUR_S).abs() <= SLACK_S
}

impl<D: Disk> LogReader<D> {
    /// A log was read to its end, where the last line has the time `last_s`. Logs it, once for each
    /// backend, if the log has lines of both hours.
    pub(super) fn look_at_hour(&mut self, at: usize, index: usize, last_s: Option<i64>) {
        let source = &mut self.sources[at];
        let Some(file) = source.catalog.find(index) else {
            return;
        };
        let begun = file.begun.as_ref();
        let begun = begun.filter(|begun| begun.cursor.byte() == file.meta.bytes);
        let first_s = begun.and_then(|begun| begun.first_s);
        let (Some(first_s), Some(last_s)) = (first_s, last_s) else {
            return;
        };
        if source.said_hour_twice || !has_both_hours(first_s, last_s, &file.meta) {
            return;
        }
        source.said_hour_twice = true;
        tracing::warn!(backend = %source.info.name, file = %file.name, "the log has lines of an \
            hour that came twice, as when clocks are set back in HA's time zone: those of the \
            second hour are replayed before logs of the first whose names are greater, so what \
            was written to one key in both hours may end with the earlier value, if the backend \
            was down meanwhile; run HA in UTC (TZ=UTC)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lines_time_is_what_its_clock_shows() {
        let second = |line: &str| clock_s(line.as_bytes());
        let noon = second("[2026-10-25 12:00:00] x").unwrap();
        for (line, after_s) in [
            ("[2026-10-25 12:00:01]", 1),
            ("[2026-10-25 13:01:00]", 3660),
            ("[2026-10-26 12:00:00]", 86_400),
            ("[2026-11-01 12:00:00]", 7 * 86_400),
            ("[2027-10-25 12:00:00]", 365 * 86_400),
            ("[2028-10-25 12:00:00]", (365 + 366) * 86_400),
            ("[2026-03-01 12:00:00]", -238 * 86_400),
            ("[2026-02-28 12:00:00]", -239 * 86_400),
        ] {
            assert_eq!(second(line), Some(noon + after_s), "{line}");
        }
        for line in [
            "",
            "[2026-10-25 12:00:00",
            "[2026-10-25T12:00:00]",
            "[x026-10-25 12:00:00]",
        ] {
            assert_eq!(second(line), None, "{line}");
        }
        let last = last_clock_s(b"[2026-10-25 11:00:00] x\n[2026-10-25 12:00:00] y\n");
        assert_eq!(last, Some(noon));
        assert_eq!(last_clock_s(b"[2026-10-25 12:00:00] y\n"), Some(noon));
        assert_eq!(last_clock_s(b""), None);
    }

    /// A log that was written to for so long, by its file and by its lines.
    #[track_caller]
    fn check(by_file_s: u64, by_lines_s: i64, expected: bool) {
        let meta = |born: u64| LogMeta {
            born_nanos: born * 1_000_000_000,
            modified_nanos: (10_000 + by_file_s) * 1_000_000_000,
            ..LogMeta::default()
        };
        let found = has_both_hours(500, 500 + by_lines_s, &meta(10_000));
        assert_eq!(found, expected, "{by_file_s} {by_lines_s}");
        assert!(
            !has_both_hours(500, 500 + by_lines_s, &meta(0)),
            "it has no birth"
        );
    }

    #[test]
    fn a_log_that_was_written_to_for_an_hour_more_than_its_lines_say_has_both_hours() {
        check(3600, 0, true);
        check(3590, -10, true);
        check(3630, 30, true);
        check(55, 55, false);
        // Of an HA that makes a log an hour, or a day.
        check(3599, 3599, false);
        check(86_399, 86_399, false);
        // Somebody else has touched it.
        check(86_400, 55, false);
        check(0, 59, false);
    }
}
