//! The record of a line whose value need not be there: whose key is it?

use crate::binlog::line::payload;
use crate::binlog::{LineFault, Record};

/// The most base64 that a record's head takes: fixed fields, a key and a table of HA's largest
/// request line.
pub const START_BYTES_MAX: usize = 128 * 1024;

/// The record that a line has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineStart<'a> {
    /// The record, its value perhaps cut.
    pub record: Record<'a>,
    /// Whether the value is all there.
    pub is_whole: bool,
    /// Where the payload begins in the line, behind the prefix.
    pub payload_at: usize,
}

/// Decodes the record that a line begins with into `decoded`. `line` is the whole line, or at least
/// the first [`START_BYTES_MAX`] bytes of it behind its prefix; of what is longer the value is cut.
///
/// # Errors
/// Whatever is wrong with the line, as far as it was looked at.
pub fn decode_start<'a>(line: &[u8], decoded: &'a mut Vec<u8>) -> Result<LineStart<'a>, LineFault> {
    let payload_at = payload(line)?.start;
    let payload = &line[payload_at..];
    let is_whole = payload.len() <= START_BYTES_MAX;
    let start = if is_whole {
        payload
    } else {
        &payload[..START_BYTES_MAX]
    };
    decoded.clear();
    decoded.resize(
        base64_simd::STANDARD.estimated_decoded_length(start.len()),
        0,
    );
    let bytes = base64_simd::STANDARD
        .decode(start, base64_simd::Out::from_slice(decoded))
        .map_err(|_| LineFault::NotBase64)?
        .len();
    Ok(LineStart {
        record: Record::parse(&decoded[..bytes])?,
        is_whole,
        payload_at,
    })
}

const _: () = assert!(START_BYTES_MAX.is_multiple_of(4), "whole groups of base64");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::{Method, line};

    #[test]
    fn a_long_lines_key_is_read_and_its_value_is_cut() {
        for (bytes, is_whole) in [(10, true), (90_000, true), (400_000, false)] {
            let value = vec![7; bytes];
            let record = Record {
                version: 3,
                expires_unix: 9,
                table: b"table",
                ..Record::new(Method::Hset, b"key", &value)
            };
            let (mut encoded, mut text) = (Vec::new(), Vec::new());
            record.encode(&mut encoded);
            line::encode(b"[2026-11-22 16:40:38] ", &encoded, &mut text);
            text.pop();
            let mut decoded = Vec::new();
            let found = decode_start(&text, &mut decoded).unwrap();
            let read = found.record;
            assert_eq!((read.key, read.table), (record.key, record.table));
            assert_eq!(found.is_whole, is_whole);
            assert_eq!(read.value.len() == bytes, is_whole);
            assert_eq!(found.payload_at, "[2026-11-22 16:40:38] ".len());
        }
        assert_eq!(
            decode_start(b"x !!!!", &mut Vec::new()),
            Err(LineFault::NotBase64)
        );
    }
}
