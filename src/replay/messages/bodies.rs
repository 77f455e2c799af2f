//! What is said of lines that are too long to be held in memory.

use super::{BackendId, SegmentId};

/// A line that is too long to be held in memory: it is a segment of its own, and is in its log
/// only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineInLog {
    /// Its bytes, its newline not counted.
    pub bytes: u64,
    /// Their hash ([`line_digest`](crate::binlog::long_line::line_digest)).
    pub digest: u64,
}

/// The lane that a piece of a body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyReader {
    pub worker: usize,
    pub slot: usize,
    /// Which of the lane's bodies it is: pieces of one that was given up are dropped.
    pub nth: u64,
}

/// Asks the reader for a piece of a body. A lane asks for one at a time, from the first on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyRequest {
    pub backend: BackendId,
    /// The line's segment.
    pub segment: SegmentId,
    /// Where the piece begins in the value, in bytes.
    pub from: u64,
    /// Who asks.
    pub reader: BodyReader,
}

/// A record whose value is in its log only. The lane asks for that in pieces ([`BodyRequest`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongBody {
    /// Bytes of the value.
    pub bytes: u32,
    /// The whole record's [`order_hash`](crate::binlog::key::order_hash).
    pub order: u64,
    pub line: LineInLog,
}
