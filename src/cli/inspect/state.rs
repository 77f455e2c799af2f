//! State files: ours, and what the original left. Recognised by what is in them, where that tells,
//! else by name and length.
//!
//! | file | known by | shown |
//! |---|---|---|
//! | `checkpoint` | its first 8 bytes | totals, and for each log how far it is settled |
//! | `outages` | its first line | from when to when the backend was surely dead |
//! | `rejected.jsonl` | its name, or its first line | a line each: when, where, why, what |
//! | `differences.jsonl` | its name, or its first line | a line each: as `differences list` does |
//! | the original's, of a log | 10,000,000 bytes, at last a digit | how far it is read and synced |
//! | `total_status.log` | its name and 16 bytes | records read and synced |

use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::Path;

use indicatif::HumanCount;
use serde_json::{Value, json};

use crate::cli::local_time::local;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::legacy::{LegacyStatus, LegacyTotals, STATUS_BYTES, TOTALS_BYTES, TOTALS_NAME};
use crate::ledger::rejected;
use crate::reconcile::difference;
use crate::replay::reachability::{self, Outage};

/// Bytes at the beginning of a file that tell what it is.
pub(super) const HEAD_BYTES: usize = 16;

/// A checkpoint has some kilobytes. One that has more than this is none.
const CHECKPOINT_BYTES_MAX: u64 = 64 << 20;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// HA's log, or anything else that has lines.
    Log,
    /// `rejected.jsonl`.
    Rejected,
    /// `differences.jsonl`.
    Differences,
    Checkpoint,
    Outages,
    /// The original's, of one log.
    Status,
    /// The original's, of a backend.
    Totals,
}

impl Kind {
    /// Whether each of its lines says something by itself.
    pub(super) fn has_lines(self) -> bool {
        matches!(self, Self::Log | Self::Rejected | Self::Differences)
    }
}

/// What the file at `path` is, that begins with `head`. `ends`: its length and last byte, where
/// they are known.
pub(super) fn recognise(path: &Path, head: &[u8], ends: Option<(u64, u8)>) -> Kind {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    if head.starts_with(b"HUSTCKPT") {
        return Kind::Checkpoint;
    }
    if head.starts_with(&reachability::HEAD.as_bytes()[..HEAD_BYTES]) {
        return Kind::Outages;
    }
    if name == rejected::NAME || head.starts_with(b"{\"time\":\"") {
        return Kind::Rejected;
    }
    let is_difference = head.starts_with(b"{\"id\":\"") || head.starts_with(b"{\"settles\":\"");
    if name == difference::FILE_NAME || is_difference {
        return Kind::Differences;
    }
    match ends {
        // A log ends in a newline, or in base64 of which some digits could be: but not behind
        // twelve bytes that are numbers.
        Some((length, b'0' | b'1'))
            if length == STATUS_BYTES as u64 && head.iter().any(|&byte| byte < b'\t') =>
        {
            Kind::Status
        }
        Some((length, _)) if length == TOTALS_BYTES as u64 && name == TOTALS_NAME => Kind::Totals,
        _ => Kind::Log,
    }
}

/// What a state file that has no lines says, as text or as JSON in a line. `kind` is none that has
/// lines ([`Kind::has_lines`]).
///
/// # Errors
/// It can't be read, or is not what it began as.
pub(super) fn describe(kind: Kind, input: impl io::Read, as_json: bool) -> io::Result<String> {
    let mut bytes = Vec::new();
    input.take(CHECKPOINT_BYTES_MAX).read_to_end(&mut bytes)?;
    let fault = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let (text, object) = match kind {
        Kind::Checkpoint => {
            let checkpoint = Checkpoint::decode(&bytes).map_err(|why| {
                fault(format!(
                    "it is no whole checkpoint: {why}; the server sends its backend's logs again \
                     from their beginning"
                ))
            })?;
            (checkpoint_text(&checkpoint), checkpoint_json(&checkpoint))
        }
        Kind::Outages => {
            let outages = reachability::decode(&bytes).ok_or_else(|| {
                fault(
                    "the file of outages is not whole; the server takes none from it, and looks up \
                     every score before it adds to it"
                        .to_owned(),
                )
            })?;
            (outages_text(&outages), outages_json(&outages))
        }
        Kind::Status => {
            let status = LegacyStatus::decode(&bytes).map_err(|why| fault(why.to_string()))?;
            let LegacyStatus {
                line,
                lines_read,
                bytes_read,
                synced_above,
            } = status;
            (
                format!(
                    "status of a log by the original: {} lines and {} bytes read; the first line \
                     not synced is {}, and {} behind it are\n",
                    HumanCount(lines_read),
                    HumanCount(bytes_read),
                    line + 1,
                    HumanCount(synced_above)
                ),
                json!({"kind": "legacy_status", "lines_read": lines_read, "bytes_read": bytes_read,
                       "first_unsynced_line": line + 1, "synced_above": synced_above}),
            )
        }
        Kind::Totals | Kind::Log | Kind::Rejected | Kind::Differences => {
            let totals = LegacyTotals::decode(&bytes).map_err(|why| fault(why.to_string()))?;
            let LegacyTotals { processed, synced } = totals;
            (
                format!(
                    "totals by the original: {} records read, {} synced\n",
                    HumanCount(processed),
                    HumanCount(synced)
                ),
                json!({"kind": "legacy_totals", "processed": processed, "synced": synced}),
            )
        }
    };
    Ok(if as_json { format!("{object}\n") } else { text })
}

fn outages_text(outages: &[Outage]) -> String {
    let mut text = format!("outages: {}\n", HumanCount(outages.len() as u64));
    for outage in outages {
        let (from, until) = (local(outage.from), local(outage.until));
        let _ = writeln!(text, "  surely dead from {from} to {until}");
    }
    text
}

fn outages_json(outages: &[Outage]) -> Value {
    let outages = outages
        .iter()
        .map(|outage| json!({"from_unix": outage.from, "until_unix": outage.until}));
    json!({"kind": "outages", "outages": outages.collect::<Vec<_>>()})
}

fn checkpoint_text(checkpoint: &Checkpoint) -> String {
    let totals = checkpoint.totals;
    let mut text = format!(
        "checkpoint: {} lines read, {} completed ({} applied, {} superseded, {} absent already, {} \
         rejected)\n",
        HumanCount(totals.processed),
        HumanCount(totals.settled),
        HumanCount(totals.applied),
        HumanCount(totals.superseded),
        HumanCount(totals.absent),
        HumanCount(totals.rejected)
    );
    // Writing to a string can't fail.
    for file in &checkpoint.resume.files {
        let _ = writeln!(
            text,
            "  {}  completed before line {} (byte {}), {} more lines behind it; {} lines read",
            file.name.escape_debug(),
            file.line + 1,
            HumanCount(file.byte),
            HumanCount(file.settled.lines()),
            HumanCount(file.lines_read)
        );
    }
    for file in &checkpoint.resume.legacy {
        let _ = writeln!(
            text,
            "  {}  begun by the original: completed before line {}; {} lines and {} bytes read",
            file.name.escape_debug(),
            file.line + 1,
            HumanCount(file.lines_read),
            HumanCount(file.bytes_read)
        );
    }
    if checkpoint.resume.files.is_empty() && checkpoint.resume.legacy.is_empty() {
        text.push_str("  no log is begun\n");
    }
    text
}

fn checkpoint_json(checkpoint: &Checkpoint) -> Value {
    let totals = checkpoint.totals;
    let files = checkpoint.resume.files.iter().map(|file| {
        json!({
            "file": &*file.name,
            "settled_before_line": file.line + 1,
            "settled_before_byte": file.byte,
            "settled_behind": file.settled.lines(),
            "lines_read": file.lines_read,
        })
    });
    let legacy = checkpoint.resume.legacy.iter().map(|file| {
        json!({
            "file": &*file.name,
            "settled_before_line": file.line + 1,
            "lines_read": file.lines_read,
            "bytes_read": file.bytes_read,
        })
    });
    json!({
        "kind": "checkpoint",
        "processed": totals.processed,
        "settled": totals.settled,
        "applied": totals.applied,
        "superseded": totals.superseded,
        "absent": totals.absent,
        "rejected": totals.rejected,
        "files": files.collect::<Vec<_>>(),
        "legacy": legacy.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::plan::{LegacyResume, ResumePlan};
    use crate::ledger::totals::Totals;

    fn check(name: &str, head: &[u8], ends: Option<(u64, u8)>, expected: Kind) {
        assert_eq!(recognise(Path::new(name), head, ends), expected, "{name}");
    }

    #[test]
    fn a_file_is_known_by_its_content_first() {
        let log = b"[2026-11-22 16:4";
        check("h:1/x.log", log, Some((10, b'\n')), Kind::Log);
        check("x", b"HUSTCKPT\x01\0\0\0\0\0\0\0", None, Kind::Checkpoint);
        check("checkpoint", b"", Some((0, 0)), Kind::Log);
        check("rejected.jsonl", b"", Some((0, 0)), Kind::Rejected);
        check("-", b"{\"time\":\"2026-11", None, Kind::Rejected);
        let status = b"\x10\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0";
        check("x.log", status, Some((10_000_000, b'1')), Kind::Status);
        check("x.log", status, Some((9_999_999, b'1')), Kind::Log);
        check("x.log", log, Some((10_000_000, b'1')), Kind::Log);
        check("total_status.log", &[0; 16], Some((16, 0)), Kind::Totals);
        check(
            "total_status.log",
            log,
            Some((10_000_000, b'\n')),
            Kind::Log,
        );
    }

    fn described(kind: Kind, bytes: &[u8], as_json: bool) -> String {
        describe(kind, bytes, as_json).unwrap_or_else(|why| why.to_string())
    }

    #[test]
    fn a_checkpoint_is_shown_and_a_torn_one_is_told() {
        let checkpoint = Checkpoint {
            totals: Totals {
                processed: 1200,
                settled: 1000,
                applied: 999,
                rejected: 1,
                ..Totals::default()
            },
            resume: ResumePlan {
                files: Vec::new(),
                legacy: vec![LegacyResume {
                    name: "a.log".into(),
                    line: 11,
                    lines_read: 20,
                    bytes_read: 4096,
                    away_unix: 0,
                }],
            },
        };
        let mut bytes = Vec::new();
        checkpoint.encode(&mut bytes);
        assert_eq!(
            described(Kind::Checkpoint, &bytes, false),
            "checkpoint: 1,200 lines read, 1,000 completed (999 applied, 0 superseded, 0 absent \
             already, 1 rejected)\n  \
             a.log  begun by the original: completed before line 12; 20 lines and 4,096 \
             bytes read\n"
        );
        let json: Value = serde_json::from_str(&described(Kind::Checkpoint, &bytes, true)).unwrap();
        assert_eq!(json["legacy"][0]["settled_before_line"], 12);
        let why = described(Kind::Checkpoint, &bytes[..40], false);
        assert!(
            why.starts_with("it is no whole checkpoint: its body"),
            "{why}"
        );
    }

    #[test]
    fn outages_are_shown_and_a_torn_file_is_told() {
        let outage = Outage {
            from: 1_800_000_000,
            until: 1_800_000_060,
        };
        let bytes = reachability::encode(&[outage]);
        let head = &bytes[..HEAD_BYTES];
        check(
            "outages",
            head,
            Some((bytes.len() as u64, b'\n')),
            Kind::Outages,
        );
        let said = described(Kind::Outages, &bytes, false);
        let (from, until) = (local(outage.from), local(outage.until));
        assert_eq!(
            said,
            format!("outages: 1\n  surely dead from {from} to {until}\n")
        );
        let json: Value = serde_json::from_str(&described(Kind::Outages, &bytes, true)).unwrap();
        assert_eq!(json["outages"][0]["until_unix"], outage.until);
        let why = described(Kind::Outages, &bytes[..30], false);
        assert!(why.starts_with("the file of outages is not whole"), "{why}");
    }

    #[test]
    fn what_the_original_left_is_shown() {
        let mut status = vec![b'0'; STATUS_BYTES];
        status[..12].copy_from_slice(&[0, 1, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0]);
        // Lines 1, 2 and 4 are synced, from the end backwards.
        for line in [0, 1, 3] {
            status[STATUS_BYTES - 1 - line] = b'1';
        }
        assert_eq!(
            described(Kind::Status, &status, false),
            "status of a log by the original: 5 lines and 256 bytes read; the first line not \
             synced is 3, and 1 behind it are\n"
        );
        let mut totals = [0; 16];
        (totals[0], totals[8]) = (7, 5);
        assert_eq!(
            described(Kind::Totals, &totals, false),
            "totals by the original: 7 records read, 5 synced\n"
        );
        let json: Value = serde_json::from_str(&described(Kind::Totals, &totals, true)).unwrap();
        assert_eq!(
            (&json["processed"], &json["synced"]),
            (&7.into(), &5.into())
        );
    }
}
