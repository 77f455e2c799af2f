//! A segment as it is told of: when it is booked, when it is done, where a line of it stands.

use std::sync::Arc;

use crate::ledger::file::Place;
use crate::ledger::identity::{Identity, LastRead};
use crate::ledger::ids::{FileId, SegmentId};

/// A run of lines to book.
#[derive(Clone, Debug)]
pub struct NewSegment {
    /// Its number.
    pub id: SegmentId,
    pub file: FileId,
    /// Where its first line begins.
    pub first: Place,
    /// Where its last line ends, newline included: where the next segment begins.
    pub end_byte: u64,
    /// Lines in it, at least one.
    pub lines: u32,
    /// Lines in it that were settled before: exactly those that
    /// [`FileResume::settled`](crate::ledger::plan::FileResume::settled) of the entry has, or for a
    /// legacy entry those before
    /// [`LegacyResume::line`](crate::ledger::plan::LegacyResume::line); as indices within the
    /// segment, ascending. They are counted already.
    pub settled_before: Vec<u32>,
    /// When its first line was written, Unix seconds, as far as can be told.
    pub written_unix: u64,
    /// The last bytes of all that was read of the file, as far as that is known.
    pub last_read: LastRead,
}

impl NewSegment {
    /// Bytes of log in it, newlines included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end_byte - self.first.byte
    }

    /// The same once all its lines are settled.
    #[must_use]
    pub fn done(&self) -> SegmentDone {
        SegmentDone {
            segment: self.id,
            lines: self.lines,
            bytes: self.bytes(),
        }
    }
}

/// A segment all of whose lines are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentDone {
    pub segment: SegmentId,
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
