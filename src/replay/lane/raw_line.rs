//! A rejected record's line, for the file that it is rejected in.

use memchr::memrchr;

use crate::replay::batch_table::{BatchKey, BatchTable};
use crate::replay::messages::LineInLog;

/// A line as HA wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawLine {
    /// Where it begins in its chunk, which begins with its segment's first byte.
    pub offset: u32,
    /// Its bytes, without the newline; its first ones where all of it is in its log.
    pub bytes: Vec<u8>,
    /// Set where it is not held.
    pub in_log: Option<LineInLog>,
}

/// The line as HA wrote it: its prefix still stands before the record, the payload is the record in
/// base64.
pub(super) fn line_of(held: &BatchTable, batch: BatchKey, at: u32, bytes: u32) -> RawLine {
    if let Some(body) = held.long_body(batch) {
        return RawLine {
            offset: 0,
            bytes: held.bytes(batch, 0, at).to_vec(),
            in_log: Some(body.line),
        };
    }
    let before = &held.chunk_bytes(batch)[..at as usize];
    let offset = memrchr(b'\n', before).map_or(0, |newline| newline + 1);
    let prefix = &before[offset..];
    let mut line = Vec::new();
    crate::binlog::line::encode(prefix, held.bytes(batch, at, bytes), &mut line);
    line.pop();
    RawLine {
        offset: u32::try_from(offset).expect("offsets into a chunk are u32"),
        bytes: line,
        in_log: None,
    }
}
