//! Where records come from.

use std::sync::Arc;

use crate::ledger::ids::{FileId, SegmentId};

/// Where a segment's lines stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub segment: SegmentId,
    pub file: FileId,
    /// The file's name in its backend's folder.
    pub log: Arc<str>,
    /// Number of the segment's first line in the file, from 0.
    pub first_line: u64,
}
