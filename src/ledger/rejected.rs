//! The lines of `rejected.jsonl`: one JSON object for each log line that was rejected, with its
//! reason.
//!
//! ```json
//! {"time":"2026-11-22T16:40:38Z","unix":1795365638,"backend":"10.0.0.1:8085",
//!  "file":"2026-11-22-16-40.log","line":12,"byte":4711,"log":"131-1795365600000000000",
//!  "reason":"not_base64","detail":"…","raw":"[2026-11-22 16:40:38] [DEBUG] | MQAAA…"}
//! ```
//!
//! (in one line). `line` counts from 1, as editors do; `byte` is where it begins and is missing
//! where that is not known. A raw line that is not UTF-8 stands in `raw_base64` instead of `raw`. A
//! line is whole when its newline is there: what follows the last newline was cut off by a crash
//! before it was synced, so the log line it tells of does not count as settled and will be rejected
//! again.

mod select;

use base64_simd::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ledger::identity::LogKey;

pub use select::{
    Filter, NEXT, STAGED, id, is_returned, name_id, place_id, returned_name, show_id,
};

/// The reasons that a line can have, in the order of docs/format.md.
pub const REASONS: [&str; 19] = [
    "no_payload",
    "not_base64",
    "too_short",
    "length_past_end",
    "head_length",
    "checksum",
    "unknown_method",
    "line_too_long",
    "value_not_kept",
    "head_too_long",
    "not_found",
    "table_type",
    "bad_request",
    "method_not_allowed",
    "version",
    "by_setting",
    "attempts",
    "log_changed",
    "written_after_deletion",
];

/// Name of the file in a backend's state folder.
pub const NAME: &str = "rejected.jsonl";

/// A log line that was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedLine {
    /// When, Unix seconds.
    pub unix: u64,
    /// Whose log.
    pub backend: String,
    /// The log's name.
    pub file: String,
    /// The line's number, from 1.
    pub line: u64,
    /// Where it begins in the log, if known.
    pub byte: Option<u64>,
    /// What the log was, whatever it was called: inode and birth; `None` where it is not known, as
    /// in lines of older versions.
    pub log: Option<LogKey>,
    /// One word for the reason.
    pub reason: String,
    /// The reason as a sentence.
    pub detail: String,
    /// The line as HA wrote it, without its newline.
    pub raw: Vec<u8>,
}

/// Why bytes are no line of this file.
#[derive(Debug, thiserror::Error)]
pub enum RejectedFault {
    /// No JSON object with these members.
    #[error("it is not as this server writes it: {0}")]
    Json(#[from] serde_json::Error),
    /// Neither text nor base64, or both.
    #[error(
        "it should have the log line as `raw` or as `raw_base64`, and has both or none of them"
    )]
    Raw,
    /// Bad base64.
    #[error("its `raw_base64` is not base64")]
    Base64,
}

/// A piece of the file between newlines.
#[derive(Debug)]
pub enum Piece {
    /// A whole line.
    Line(RejectedLine),
    /// A whole line that somebody else wrote, or that has rotted.
    Faulty,
    /// What follows the last newline: cut off, it does not count.
    Torn,
}

#[derive(Serialize, Deserialize)]
struct Json<'a> {
    time: String,
    unix: u64,
    backend: std::borrow::Cow<'a, str>,
    file: std::borrow::Cow<'a, str>,
    line: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    byte: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    reason: std::borrow::Cow<'a, str>,
    detail: std::borrow::Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    raw: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
}

impl RejectedLine {
    /// Appends it to `out` with its newline.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (raw, raw_base64) = as_text_or_base64(&self.raw);
        let json = Json {
            time: rfc3339(self.unix),
            unix: self.unix,
            backend: self.backend.as_str().into(),
            file: self.file.as_str().into(),
            line: self.line,
            byte: self.byte,
            log: self.log.map(|(inode, born)| format!("{inode}-{born}")),
            reason: self.reason.as_str().into(),
            detail: self.detail.as_str().into(),
            raw: raw.map(Into::into),
            raw_base64,
        };
        serde_json::to_writer(&mut *out, &json)
            .expect("a vector takes every byte, and the keys are strings");
        out.push(b'\n');
    }

    /// Reads one back, given without its newline.
    ///
    /// # Errors
    /// When it is not as [`RejectedLine::encode`] writes it.
    pub fn parse(bytes: &[u8]) -> Result<Self, RejectedFault> {
        let json: Json<'_> = serde_json::from_slice(bytes)?;
        let raw = match (json.raw, json.raw_base64) {
            (Some(text), None) => text.into_owned().into_bytes(),
            (None, Some(base64)) => from_base64(&base64).ok_or(RejectedFault::Base64)?,
            _ => return Err(RejectedFault::Raw),
        };
        Ok(Self {
            unix: json.unix,
            backend: json.backend.into_owned(),
            file: json.file.into_owned(),
            line: json.line,
            byte: json.byte,
            log: json.log.as_deref().and_then(parse_log),
            reason: json.reason.into_owned(),
            detail: json.detail.into_owned(),
            raw,
        })
    }
}

/// Inode and birth; what somebody else wrote there is not known.
fn parse_log(text: &str) -> Option<LogKey> {
    let (inode, born_nanos) = text.split_once('-')?;
    Some((inode.parse().ok()?, born_nanos.parse().ok()?))
}

/// The pieces of a file's content.
pub fn pieces(bytes: &[u8]) -> impl Iterator<Item = Piece> {
    bytes
        .split_inclusive(|&byte| byte == b'\n')
        .map(|piece| match piece.strip_suffix(b"\n") {
            None => Piece::Torn,
            Some(line) => RejectedLine::parse(line).map_or(Piece::Faulty, Piece::Line),
        })
}

/// Bytes for JSON: as text, or in base64 where they are not UTF-8. One of both is there.
pub(crate) fn as_text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode_to_string(bytes))),
    }
}

/// Bytes from JSON. `None`: it is not base64.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode_to_vec(text).ok()
}

/// A Unix time for people and for programs; the last time that can be written stands for those
/// after it.
pub(crate) fn rfc3339(unix: u64) -> String {
    let time = i64::try_from(unix)
        .ok()
        .and_then(|unix| Timestamp::from_second(unix).ok());
    time.unwrap_or(Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(raw: &[u8]) -> RejectedLine {
        RejectedLine {
            unix: 1_795_365_638,
            backend: "127.0.0.1:9998".to_owned(),
            file: "2026-11-22-16-40.log".to_owned(),
            line: 12,
            byte: Some(4711),
            log: Some((131, 1_795_365_600_000_000_000)),
            reason: "not_base64".to_owned(),
            detail: "the payload has an invalid character".to_owned(),
            raw: raw.to_vec(),
        }
    }

    fn encoded(line: &RejectedLine) -> Vec<u8> {
        let mut bytes = Vec::new();
        line.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_line_reads_as_the_manual_says() {
        let expected = concat!(
            r#"{"time":"2026-11-22T16:40:38Z","unix":1795365638,"backend":"127.0.0.1:9998","#,
            r#""file":"2026-11-22-16-40.log","line":12,"byte":4711,"#,
            r#""log":"131-1795365600000000000","reason":"not_base64","#,
            r#""detail":"the payload has an invalid character","raw":"| MQ=\u0000"}"#,
        );
        assert_eq!(
            String::from_utf8(encoded(&line(b"| MQ=\0"))).unwrap(),
            format!("{expected}\n")
        );
    }

    #[test]
    fn a_line_of_an_older_version_has_no_log() {
        let mut old = line(b"x");
        old.log = None;
        let text = String::from_utf8(encoded(&old)).unwrap();
        assert!(!text.contains("\"log\""), "{text}");
        assert_eq!(
            RejectedLine::parse(text.trim_end().as_bytes()).unwrap(),
            old
        );
        let unrecognized = text.replace("\"reason\"", "\"log\":\"1-x\",\"reason\"");
        assert_eq!(
            RejectedLine::parse(unrecognized.trim_end().as_bytes()).unwrap(),
            old
        );
    }

    #[test]
    fn bytes_that_are_not_text_stand_in_base64() {
        let bytes = encoded(&line(b"\xff\xfe"));
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(
            text.contains(r#""raw_base64":"//4=""#) && !text.contains(r#""raw":"#),
            "{text}"
        );
        assert_eq!(
            RejectedLine::parse(bytes.trim_ascii_end()).unwrap(),
            line(b"\xff\xfe")
        );
    }

    #[test]
    fn a_time_that_no_calendar_has_is_written_all_the_same() {
        let mut line = line(b"");
        line.unix = u64::MAX;
        assert_eq!(
            RejectedLine::parse(encoded(&line).trim_ascii_end()).unwrap(),
            line
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_and_a_torn_end_is_told(
            raw in proptest::collection::vec(any::<u8>(), 0..60),
            detail in ".{0,40}",
            byte in any::<Option<u64>>(),
            cut in 1..100_usize,
        ) {
            let mut first = line(&raw);
            first.detail = detail;
            first.byte = byte;
            let mut bytes = encoded(&first);
            prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
            let second = encoded(&line(b"second"));
            bytes.extend_from_slice(&second[..second.len() - cut]);
            let pieces: Vec<_> = pieces(&bytes).collect();
            prop_assert_eq!(pieces.len(), 2);
            prop_assert!(matches!(&pieces[0], Piece::Line(line) if *line == first));
            prop_assert!(matches!(pieces[1], Piece::Torn));
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            for piece in pieces(&bytes) {
                prop_assert!(!matches!(piece, Piece::Line(_)));
            }
        }
    }
}
