//! One line of a log as a line for people, or as JSON.

use std::io::Write as _;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::binlog::{LineFault, Method, Record};

/// A file and a line's number in it.
pub(super) type Place<'a> = (&'a Path, u64);

/// How to write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) json: bool,
    pub(super) values: bool,
    /// Whether the file has to be named.
    pub(super) several_files: bool,
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

#[derive(Debug, Serialize)]
struct FaultJson<'a> {
    file: &'a str,
    line: u64,
    fault: &'static str,
    reason: String,
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
        if self.json {
            self.record_json(place, record, out);
        } else {
            self.record_text(place, record, out);
        }
        out.push(b'\n');
    }

    /// Appends what is wrong with a line.
    pub(super) fn fault(self, place: Place<'_>, fault: LineFault, out: &mut Vec<u8>) {
        if self.json {
            let fault = FaultJson {
                file: &place.0.to_string_lossy(),
                line: place.1,
                fault: fault.code(),
                reason: fault.to_string(),
            };
            let _ = serde_json::to_writer(&mut *out, &fault);
        } else {
            self.place(place, out);
            let _ = write!(out, "FAULT  {fault}");
        }
        out.push(b'\n');
    }

    fn place(self, (path, number): Place<'_>, out: &mut Vec<u8>) {
        let _ = match self.several_files {
            true => write!(out, "{}:{number}  ", path.display()),
            false => write!(out, "{number:>7}  "),
        };
    }

    fn record_text(self, place: Place<'_>, record: &Record<'_>, out: &mut Vec<u8>) {
        self.place(place, out);
        let _ = write!(out, "{:<9} v{:<3} ", record.method.name(), record.version);
        if !record.table.is_empty() {
            let _ = write!(out, "table \"{}\" ", record.table.escape_ascii());
        }
        let _ = write!(out, "key \"{}\"", record.key.escape_ascii());
        if record.method == Method::Zadd {
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
            let _ = write!(out, "  expires {}", local(record.expires_unix));
        }
        if self.values && !record.value.is_empty() {
            let _ = write!(out, "  value \"{}\"", record.value.escape_ascii());
        }
    }

    fn record_json(self, (path, line): Place<'_>, record: &Record<'_>, out: &mut Vec<u8>) {
        let sorted = matches!(record.method, Method::Zadd);
        let (key, key_base64) = text_or_base64(record.key);
        let (value, value_base64) = match self.values {
            true => text_or_base64(record.value),
            false => (None, None),
        };
        let json = RecordJson {
            file: &path.to_string_lossy(),
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
        };
        let _ = serde_json::to_writer(out, &json);
    }
}

fn text_or_base64(octets: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(octets) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(base64_simd::STANDARD.encode_to_string(octets))),
    }
}

fn local(unix: u32) -> String {
    let time = Timestamp::from_second(unix.into()).unwrap_or(Timestamp::MAX);
    time.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}
