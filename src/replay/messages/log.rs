//! What the reader tells the checkpointer about a log.

use std::sync::Arc;

use super::{BackendId, FileId, FileStart, SegmentId};
use crate::ledger::file::Place;
use crate::ledger::identity::{Identity, LastRead};
use crate::ledger::segment::NewSegment;

/// A file whose lines are about to be fed.
#[derive(Clone, Debug)]
pub struct FileOpened {
    /// Whose log it is.
    pub backend: BackendId,
    /// Its number from now on.
    pub file: FileId,
    /// Its name in the backend's folder.
    pub name: Arc<str>,
    /// What it is.
    pub identity: Identity,
    /// How much of it is settled: by which entry of the last [`ResumePlan`](super::ResumePlan) the
    /// reader resumes it, if any. An entry's identity decides, never its name; a legacy entry goes
    /// by name, and only for a file of at least
    /// [`LegacyResume::bytes_read`](crate::ledger::plan::LegacyResume::bytes_read) bytes.
    pub start: FileStart,
}

/// A run of lines, told to the checkpointer before any of its records is given to a worker.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its number.
    pub segment: SegmentId,
    /// Whose log.
    pub backend: BackendId,
    /// Which file.
    pub file: FileId,
    /// Number of its first line in the file, from 0.
    pub first_line: u64,
    /// Where its first line begins in the file.
    pub first_byte: u64,
    /// Where its last line ends, newline included: the next segment's `first_byte`.
    pub end_byte: u64,
    /// Lines in it, at least one.
    pub lines: u32,
    /// Lines in it that were settled before: exactly those that
    /// [`FileResume::settled`](crate::ledger::plan::FileResume::settled) of the entry has, or for a
    /// legacy entry those before
    /// [`LegacyResume::line`](crate::ledger::plan::LegacyResume::line); as indices within the
    /// segment, ascending. The checkpointer already counted them.
    pub settled_before: Vec<u32>,
    /// When the first line was written, Unix seconds, as far as can be told.
    pub written_unix: u64,
    /// The last bytes of all that was read of the file, as far as that is known.
    pub last_read: LastRead,
}

impl Segment {
    /// Bytes of log in it, newlines included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end_byte - self.first_byte
    }
}

impl<'a> From<&'a Segment> for NewSegment<'a> {
    fn from(segment: &'a Segment) -> Self {
        Self {
            id: segment.segment,
            file: segment.file,
            first: Place {
                line: segment.first_line,
                byte: segment.first_byte,
            },
            end_byte: segment.end_byte,
            lines: segment.lines,
            settled_before: &segment.settled_before,
            written_unix: segment.written_unix,
            last_read: segment.last_read,
        }
    }
}

/// A log that was in its folder and is not there any more: deleted, moved away, or covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwayLog {
    /// Whose log it is.
    pub backend: BackendId,
    /// Its name when it was last seen.
    pub name: Arc<str>,
    /// Its device then.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// When it was made, nanoseconds since 1970; 0 where the file system does not keep that.
    pub born_nanos: u64,
    /// Its length then, whether or not any of it was read.
    pub bytes: u64,
    /// How many of its bytes were not read. That is logged.
    pub unread_bytes: u64,
}
