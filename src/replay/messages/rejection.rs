//! What is said of a line that is rejected.

use super::{FileId, LineInLog, SegmentId};

/// A line that is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub file: FileId,
    /// Where its line is.
    pub segment: SegmentId,
    /// The line's index in the segment.
    pub line: u32,
    /// Where the line begins, in bytes from the segment's first; none where the sender does not
    /// know.
    pub offset: Option<u32>,
    /// One word for the reason, for filters and counters: a `LineFault`'s or an outcome's code.
    pub reason: &'static str,
    /// The reason as a sentence.
    pub detail: String,
    /// The line as HA wrote it, without its newline; cut (and said so in `detail`) where it is too
    /// long to be a record, or its first bytes where all of it is in its log.
    pub raw: Vec<u8>,
    /// Set where the checkpointer is to read the whole line from its log when it writes it.
    pub in_log: Option<LineInLog>,
    /// When, Unix seconds.
    pub unix: u64,
}
