//! A segment as it is told of: when it is booked, when it is done, where a line of it stands.

use std::sync::Arc;

use crate::ledger::file::Place;
use crate::ledger::identity::{Identity, LastRead};
use crate::ledger::ids::{FileId, SegmentId};

/// A segment to book.
#[derive(Clone, Copy, Debug)]
pub struct NewSegment<'a> {
    /// Its number.
    pub id: SegmentId,
    /// Which file.
    pub file: FileId,
    /// Where its first line begins.
    pub first: Place,
    /// Where its last line ends.
    pub end_byte: u64,
    /// Lines in it, at least one.
    pub lines: u32,
    /// Lines in it that were settled before: indices, ascending.
    pub settled_before: &'a [u32],
    /// When its first line was written, Unix seconds.
    pub written_unix: u64,
    /// The last bytes of all that was read of the file.
    pub last_read: LastRead,
}

/// A segment all of whose lines are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentDone {
    /// Which.
    pub segment: SegmentId,
    /// Lines in it.
    pub lines: u32,
    /// Bytes of log in it.
    pub bytes: u64,
}

/// What booking a segment did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Lines in it that count as processed for the first time.
    pub processed: u64,
    /// Set where all its lines were settled before.
    pub done: Option<SegmentDone>,
}

/// Where a line in flight stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinePlace {
    /// Its file's name.
    pub file: Arc<str>,
    /// Its number, from 0.
    pub line: u64,
    /// Where its segment begins in the file.
    pub segment_byte: u64,
    /// What the file is.
    pub identity: Identity,
}
