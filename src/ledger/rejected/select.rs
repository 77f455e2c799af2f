//! Which of the rejected lines? And where those go that are taken back.
//!
//! Lines that are taken back are given to the reader as a log of their own in the backend's folder:
//! they go the way of every other line. Its name sorts before HA's (`2026-…`), since what is in it
//! is older than anything that waits.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::RejectedLine;

/// How the names of logs of lines begin that were taken back.
const RETURNED_START: &str = "0-rejected-";
const RETURNED_END: &str = ".log";

/// Name of such a log while it is being made. Nobody reads it.
pub const STAGED: &str = ".rejected-returning";

/// The next rejected.jsonl while it is being made.
pub const NEXT: &str = "rejected.jsonl.new";

/// Reasons of lines of which only a part was kept: nothing can be made of them.
const CUT: [&str; 1] = ["line_too_long"];

/// The name of a log of lines that were taken back at this time, the `nth` (from 0) of that second.
#[must_use]
pub fn returned_name(unix: u64, nth: u32) -> String {
    format!("{RETURNED_START}{unix}-{nth}{RETURNED_END}")
}

/// Whether a log has lines that were taken back. They may have been sent before, and they have been
/// counted.
#[must_use]
pub fn is_returned(log: &str) -> bool {
    log.starts_with(RETURNED_START) && log.ends_with(RETURNED_END)
}

/// What a line of rejected.jsonl, given without its newline, is named by: a hash of it. Lines that
/// are octet for octet the same are one.
#[must_use]
pub fn id(line: &[u8]) -> u64 {
    xxh3_64(line)
}

/// What a rejected line is known by, whenever and why it was rejected: its log, whatever that is
/// called (its name where no more is known of it), its place there, and all its bytes.
#[must_use]
pub fn place_id(line: &RejectedLine) -> u128 {
    match line.log {
        Some((inode, born_nanos)) => {
            let mut hash = Xxh3::new();
            hash.update(&inode.to_le_bytes());
            hash.update(&born_nanos.to_le_bytes());
            hash_place(hash, line)
        }
        None => name_id(line),
    }
}

/// What [`place_id`] is of a line of whose log no more is known than its name.
#[must_use]
pub fn name_id(line: &RejectedLine) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(line.file.as_bytes());
    hash.update(&[0]);
    hash_place(hash, line)
}

fn hash_place(mut hash: Xxh3, line: &RejectedLine) -> u128 {
    hash.update(&line.line.to_le_bytes());
    hash.update(&line.byte.unwrap_or(u64::MAX).to_le_bytes());
    hash.update(&line.raw);
    hash.digest128()
}

/// An id as people write it.
#[must_use]
pub fn show_id(id: u64) -> String {
    format!("{id:016x}")
}

/// Which lines: those for which all of it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The reason's code.
    pub reason: Option<String>,
    /// Rejected then or later, Unix seconds.
    pub since: Option<u64>,
    /// Rejected then or before, Unix seconds.
    pub until: Option<u64>,
    /// One of these; empty: any.
    pub ids: Vec<u64>,
}

impl Filter {
    /// Whether a line with this id is one of them.
    #[must_use]
    pub fn admits(&self, line: &RejectedLine, id: u64) -> bool {
        let reason = self.reason.as_ref();
        reason.is_none_or(|reason| *reason == line.reason)
            && self.since.is_none_or(|since| since <= line.unix)
            && self.until.is_none_or(|until| line.unix <= until)
            && (self.ids.is_empty() || self.ids.contains(&id))
    }

    /// Whether a line is one of them that cannot be read: where all are.
    #[must_use]
    pub fn admits_unread(&self) -> bool {
        *self == Self::default()
    }
}

impl RejectedLine {
    /// Whether its log line was kept whole, so that it can be replayed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !CUT.contains(&self.reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(reason: &str, unix: u64) -> RejectedLine {
        RejectedLine {
            unix,
            backend: "a:1".to_owned(),
            file: "2026-11-22-16-40.log".to_owned(),
            line: 1,
            byte: None,
            log: None,
            reason: reason.to_owned(),
            detail: String::new(),
            raw: Vec::new(),
        }
    }

    #[test]
    fn all_that_is_given_must_hold() {
        let of = line("checksum", 100);
        let admits = |filter: Filter| filter.admits(&of, 7);
        let none = Filter::default;
        assert!(admits(none()));
        for (reason, expected) in [("checksum", true), ("check", false)] {
            let reason = Some(reason.to_owned());
            assert_eq!(admits(Filter { reason, ..none() }), expected);
        }
        for (since, until, expected) in [(100, 100, true), (101, 200, false), (0, 99, false)] {
            let (since, until) = (Some(since), Some(until));
            assert_eq!(
                admits(Filter {
                    since,
                    until,
                    ..none()
                }),
                expected
            );
        }
        assert!(admits(Filter {
            ids: vec![1, 7],
            ..none()
        }));
        assert!(!admits(Filter {
            ids: vec![1],
            ..none()
        }));
    }

    #[test]
    fn a_returned_log_comes_before_has_and_is_known_by_its_name() {
        let name = returned_name(1_800_000_000, 2);
        assert!(is_returned(&name) && *name < *"1970-01-01-00-00.log");
        assert!(!is_returned("2026-11-22-16-40.log") && !is_returned(STAGED));
    }

    #[test]
    fn a_line_that_was_cut_is_not_whole() {
        assert!(!line("line_too_long", 1).is_whole());
        assert!(line("checksum", 1).is_whole());
    }
}
