//! One line of a log, or of rejected lines, as a line for people, or as JSON.

use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::binlog::Record;
use crate::cli::local_time::local;
use crate::cli::paint::{Ink, Paint};
use crate::ledger::rejected::{RejectedLine, as_text_or_base64};
use crate::text::without_controls;

/// A file and a line's number in it.
pub(super) type Place<'a> = (&'a Path, u64);

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Pretty,
    /// An object a line.
    Json,
    /// As it stands in the log.
    Raw,
}

/// How to write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) form: Form,
    pub(super) values: bool,
    /// Whether the file has to be named.
    pub(super) several_files: bool,
    pub(super) paint: Paint,
}

/// A record as JSON. Octets that are no UTF-8 are given in base64, under another name.
#[derive(Debug, Default, Serialize)]
struct RecordJson<'a> {
    file: &'a str,
    line: u64,
    method: &'static str,
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    expires_unix: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opt: Option<i8>,
    value_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

/// A rejected line as JSON: where it stood and why it was rejected, and what it was.
#[derive(Debug, Serialize)]
struct RejectedJson<'a> {
    unix: u64,
    backend: &'a str,
    reason: &'a str,
    detail: &'a str,
    #[serde(flatten)]
    record: Option<RecordJson<'a>>,
    #[serde(flatten)]
    place: Option<PlaceJson<'a>>,
}

/// Of a line without a record.
#[derive(Debug, Serialize)]
struct PlaceJson<'a> {
    file: &'a str,
    line: u64,
}

#[derive(Debug, Serialize)]
struct FaultJson<'a> {
    file: &'a str,
    line: u64,
    fault: &'a str,
    reason: &'a str,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

// Writing to a `Vec` can't fail, so what says that it did is dropped here.
impl Format {
    /// Appends what `record` is.
    pub(super) fn record(self, place: Place<'_>, record: &Record<'_>, out: &mut Vec<u8>) {
        if self.form == Form::Json {
            let file = place.0.to_string_lossy();
            let json = self.record_json(&file, place.1, record);
            let _ = serde_json::to_writer(&mut *out, &json);
        } else {
            self.place(place, out);
            self.record_text(record, out);
        }
        out.push(b'\n');
    }

    /// Appends a line that was rejected, and the record in it if there is one.
    pub(super) fn rejected(
        self,
        line: &RejectedLine,
        record: Option<&Record<'_>>,
        out: &mut Vec<u8>,
    ) {
        if self.form == Form::Json {
            let place = PlaceJson {
                file: &line.file,
                line: line.line,
            };
            let json = RejectedJson {
                unix: line.unix,
                backend: &line.backend,
                reason: &line.reason,
                detail: &line.detail,
                record: record.map(|record| self.record_json(&line.file, line.line, record)),
                place: record.is_none().then_some(place),
            };
            let _ = serde_json::to_writer(&mut *out, &json);
        } else {
            let _ = write!(
                out,
                "{}  {} {}:{}  {} ({})",
                local(line.unix),
                line.backend.escape_debug(),
                line.file.escape_debug(),
                line.line,
                self.paint.ink(Ink::Fault, line.reason.escape_debug()),
                line.detail.escape_debug()
            );
            if let Some(record) = record {
                out.extend_from_slice(b"  ");
                self.record_text(record, out);
            }
        }
        out.push(b'\n');
    }

    /// Appends what is wrong with a line, in a word for programs and in a sentence.
    pub(super) fn fault(self, place: Place<'_>, fault: &str, reason: &str, out: &mut Vec<u8>) {
        if self.form == Form::Json {
            let fault = FaultJson {
                file: &place.0.to_string_lossy(),
                line: place.1,
                fault,
                reason,
            };
            let _ = serde_json::to_writer(&mut *out, &fault);
        } else {
            self.place(place, out);
            let _ = write!(out, "{}  {reason}", self.paint.ink(Ink::Fault, "FAULT"));
        }
        out.push(b'\n');
    }

    fn place(self, (path, number): Place<'_>, out: &mut Vec<u8>) {
        let _ = match self.several_files {
            true => write!(
                out,
                "{}{}  ",
                self.paint
                    .ink(Ink::Dim, without_controls(&path.to_string_lossy())),
                self.paint.ink(Ink::Dim, format_args!(":{number}"))
            ),
            false => write!(
                out,
                "{}  ",
                self.paint.ink(Ink::Dim, format_args!("{number:>7}"))
            ),
        };
    }

    fn record_text(self, record: &Record<'_>, out: &mut Vec<u8>) {
        let method = self.paint.ink(Ink::Verb, record.method.name());
        let _ = write!(out, "{method:<9} v{:<3} ", record.version);
        if !record.table.is_empty() {
            let _ = write!(out, "table \"{}\" ", record.table.escape_ascii());
        }
        let _ = write!(out, "key \"{}\"", record.key.escape_ascii());
        if record.method.row().score {
            let _ = match record.opt {
                0 => write!(out, "  score {}", record.score),
                1.. => write!(out, "  score + {}", record.score),
                _ => write!(out, "  score - {}", record.score),
            };
        }
        if !record.value.is_empty() {
            let _ = write!(out, "  {} B", record.value.len());
        }
        if record.expires_unix != 0 {
            let _ = write!(out, "  expires {}", local(record.expires_unix.into()));
        }
        if self.values && !record.value.is_empty() {
            let _ = write!(out, "  value \"{}\"", record.value.escape_ascii());
        }
    }

    fn record_json<'a>(self, file: &'a str, line: u64, record: &Record<'a>) -> RecordJson<'a> {
        let sorted = record.method.row().score;
        let (key, key_base64) = as_text_or_base64(record.key);
        let (value, value_base64) = match self.values {
            true => as_text_or_base64(record.value),
            false => (None, None),
        };
        RecordJson {
            file,
            line,
            method: record.method.name(),
            version: record.version,
            table: (!record.table.is_empty()).then(|| record.table.escape_ascii().to_string()),
            key,
            key_base64,
            expires_unix: record.expires_unix,
            score: sorted.then_some(record.score),
            opt: sorted.then_some(record.opt),
            value_bytes: record.value.len(),
            value,
            value_base64,
        }
    }
}
