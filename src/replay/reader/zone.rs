//! Finds out whether HA's lines are in the time zone in which we read them.
//!
//! HA writes local time without its zone. If its `TZ` is not ours, each line is off by hours: an
//! outage seems to cover what it does not, and a ttl seems to have passed or to be long. The log's
//! own times show that. Its first line is written when the log is created, and HA writes to it for
//! a minute, so its modification time is close to that line. Time zones differ by multiples of a
//! quarter of an hour: a first line that is off by such a multiple, to within a few seconds, is in
//! another zone. A log that was copied or touched shows something else or nothing, and changes
//! nothing.

use crate::replay::disk::LogMeta;

/// What zones differ by is a multiple of this.
const QUARTER_S: i64 = 15 * 60;
/// UTC−12:00 and UTC+14:00 are as far from each other as two zones can be.
const QUARTERS_MAX: i64 = 26 * 4;
/// Between a line's time, which is in whole seconds, and the write of it.
const SLACK_S: i64 = 5;
/// How long HA writes to one log.
const LOG_S: i64 = 60;

/// What a log's first line shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// It is of our zone.
    Ours,
    /// Its time is this many seconds too late, or too early if negative.
    Off(i64),
    /// Nothing.
    None,
}

/// What is known about the zone of a backend's lines.
#[derive(Debug, Default)]
pub(super) struct Zone {
    off_s: i64,
    /// A first line has shown that the lines' times are correct.
    is_ours: bool,
}

impl Zone {
    /// By how many seconds the lines' times are too late, or too early if negative; 0 if they are
    /// correct, as far as is known.
    #[must_use]
    pub(super) fn off_s(&self) -> i64 {
        self.off_s
    }

    /// Whether lines' times mean nothing.
    #[must_use]
    pub(super) fn is_unclear(&self) -> bool {
        self.off_s != 0
    }

    /// When a log was begun, Unix seconds: by its own times that is `file_unix`. Those of a copy
    /// are younger than the minute that HA named the log after, which then tells. So is a log of
    /// another zone, by what zones differ by: until a line has shown which it is, that name tells
    /// nothing. `unix_of` reads the time in a line's prefix.
    #[must_use]
    pub(super) fn begun_unix(
        &self,
        name: &str,
        file_unix: u64,
        unix_of: fn(&[u8]) -> Option<u64>,
    ) -> u64 {
        let named = named_minute(name).and_then(|prefix| unix_of(&prefix));
        let Some(named) = named.filter(|_| !self.is_unclear()) else {
            return file_unix;
        };
        let younger = file_unix.saturating_sub(named);
        let younger = i64::try_from(younger).unwrap_or(i64::MAX);
        let rest = (younger + QUARTER_S / 2).rem_euclid(QUARTER_S) - QUARTER_S / 2;
        let may_be_zone = rest.abs() <= LOG_S + SLACK_S && younger / QUARTER_S <= QUARTERS_MAX;
        match may_be_zone && !self.is_ours {
            true => file_unix,
            false => named.min(file_unix),
        }
    }

    /// Handles a log's first line, which has the time `line_unix`. Returns whether what is known
    /// has changed.
    pub(super) fn handle_first_line(&mut self, line_unix: Option<u64>, meta: &LogMeta) -> bool {
        let off_s = match line_unix.map_or(Sign::None, |line| sign_of(line, meta)) {
            Sign::Ours => 0,
            Sign::Off(off_s) => off_s,
            Sign::None => return false,
        };
        self.is_ours = off_s == 0;
        std::mem::replace(&mut self.off_s, off_s) != off_s
    }
}

/// What a line's prefix would be that was written when the minute began that HA named a log after:
/// `2026-11-22-16-40.log`. `None` for another name. It is asked for with each read, and so takes no
/// memory.
fn named_minute(name: &str) -> Option<[u8; 21]> {
    let minute = name.strip_suffix(".log")?.as_bytes();
    let minute: &[u8; 16] = minute.try_into().ok()?;
    let mut prefix = *b"[0000-00-00 00:00:00]";
    prefix[1..17].copy_from_slice(minute);
    (prefix[11], prefix[14]) = (b' ', b':');
    let is_named = minute[10] == b'-' && minute[13] == b'-';
    is_named.then_some(prefix)
}

fn sign_of(line_unix: u64, meta: &LogMeta) -> Sign {
    let seconds = |nanos: u64| i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX);
    let line = i64::try_from(line_unix).unwrap_or(i64::MAX);
    let (born, modified) = (seconds(meta.born_nanos), seconds(meta.modified_nanos));
    let from_birth = line.saturating_sub(born);
    let from_change = line.saturating_sub(modified);
    let is_ours =
        from_birth.abs() <= SLACK_S || (-LOG_S - SLACK_S..=SLACK_S).contains(&from_change);
    if is_ours {
        return Sign::Ours;
    }
    // If no birth time is known, or the file is a copy that has kept the original's modification
    // time, only that time is left: half a minute after the line, on average.
    let has_birth = born > 0 && born <= modified.saturating_add(SLACK_S);
    let (off, slack) = if has_birth {
        (from_birth, SLACK_S)
    } else {
        (from_change.saturating_add(LOG_S / 2), LOG_S / 2 + SLACK_S)
    };
    let quarters = off.saturating_add(QUARTER_S / 2).div_euclid(QUARTER_S);
    let rest = off.saturating_sub(quarters.saturating_mul(QUARTER_S));
    if quarters == 0 || quarters.abs() > QUARTERS_MAX || rest.abs() > slack {
        return Sign::None;
    }
    Sign::Off(quarters * QUARTER_S)
}

/// `+08:00`, `-03:30`.
pub(super) fn as_hours(off_s: i64) -> String {
    let (sign, minutes) = (if off_s < 0 { '-' } else { '+' }, off_s.abs() / 60);
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    /// When the log was made.
    const BORN: u64 = 1_795_365_600;

    fn meta(born_unix: u64, modified_unix: u64) -> LogMeta {
        LogMeta {
            device: 1,
            inode: 2,
            born_nanos: born_unix * 1_000_000_000,
            modified_nanos: modified_unix * 1_000_000_000,
            bytes: 100,
            links: 1,
        }
    }

    #[track_caller]
    fn check(line_off: i64, meta: &LogMeta, expected: Sign) {
        let line = BORN.checked_add_signed(line_off).unwrap();
        assert_eq!(sign_of(line, meta), expected, "{line_off} {meta:?}");
    }

    #[test]
    fn a_first_line_is_off_by_what_the_zones_differ_by() {
        for modified in [BORN, BORN + 59, BORN + 86_400] {
            let log = meta(BORN, modified);
            check(0, &log, Sign::Ours);
            check(-1, &log, Sign::Ours);
            for off in [8 * HOUR, -8 * HOUR, 900, -12_600, 26 * HOUR] {
                check(off, &log, Sign::Off(off));
                check(off - 3, &log, Sign::Off(off));
            }
            check(27 * HOUR, &log, Sign::None);
            check(8 * HOUR - 100, &log, Sign::None);
        }
        let (early, late, far) = (0, u64::MAX, u64::MAX / 1_000_000_000);
        assert_eq!(sign_of(late, &meta(BORN, BORN)), Sign::None);
        assert_eq!(sign_of(early, &meta(far, far)), Sign::None);
    }

    #[test]
    fn where_no_birth_is_known_the_last_change_tells() {
        for log in [meta(0, BORN + 50), meta(BORN + 7000, BORN + 50)] {
            check(0, &log, Sign::Ours);
            check(-7 * HOUR, &log, Sign::Off(-7 * HOUR));
            check(HOUR, &log, Sign::Off(HOUR));
            check(HOUR + 300, &log, Sign::None);
        }
    }

    #[test]
    fn a_copy_was_begun_when_its_name_says() {
        // 2026-11-22 16:40:00 UTC
        const NAMED: u64 = 1_795_365_600;
        let unix_of: fn(&[u8]) -> Option<u64> =
            |prefix| (prefix == b"[2026-11-22 16:40:00]").then_some(NAMED);
        let begun = |zone: &Zone, name: &str, file_unix| zone.begun_unix(name, file_unix, unix_of);
        let name = "2026-11-22-16-40.log";
        let (unknown, mut ours) = (Zone::default(), Zone::default());
        ours.handle_first_line(Some(BORN), &meta(BORN, BORN));
        for (younger, by_unknown) in [
            // HA made it within its minute.
            (30, NAMED + 30),
            // It was copied here later.
            (400, NAMED),
            (86_400 * 30, NAMED),
            // It was copied, or HA is in another zone.
            (3_600, NAMED + 3_600),
            (28_800 + 59, NAMED + 28_800 + 59),
        ] {
            assert_eq!(begun(&unknown, name, NAMED + younger), by_unknown);
            assert_eq!(begun(&ours, name, NAMED + younger), NAMED);
        }
        assert_eq!(begun(&ours, name, NAMED - 50), NAMED - 50, "names can lie");
        for other in [
            "0-rejected-1.log",
            "2026-11-22-16-40",
            "a-b-c-d-e.log",
            ".log",
        ] {
            assert_eq!(begun(&ours, other, NAMED + 400), NAMED + 400, "{other}");
        }
        let mut off = Zone::default();
        off.handle_first_line(Some(BORN + 28_800), &meta(BORN, BORN));
        assert_eq!(begun(&off, name, NAMED + 400), NAMED + 400);
    }

    #[test]
    fn a_copy_says_nothing_and_a_log_of_our_zone_ends_it() {
        let mut zone = Zone::default();
        assert!(!zone.handle_first_line(Some(BORN), &meta(BORN, BORN)));
        assert!(zone.handle_first_line(Some(BORN + 28_800), &meta(BORN, BORN)));
        assert_eq!((zone.off_s(), zone.is_unclear()), (28_800, true));
        for line in [None, Some(BORN)] {
            assert!(!zone.handle_first_line(line, &meta(BORN + 1000, BORN + 1000)));
            assert!(zone.is_unclear());
        }
        assert!(zone.handle_first_line(Some(BORN), &meta(BORN, BORN)));
        assert!(!zone.is_unclear());
        assert_eq!(
            (as_hours(28_800), as_hours(-12_600)),
            ("+08:00".into(), "-03:30".into())
        );
    }
}
