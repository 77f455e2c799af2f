//! Numbers of what the ledger keeps books on.

/// A log file, as long as the reader knows it. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u64);

/// A run of whole lines of one file that was fed at once. Given in ascending order, never used
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(pub u64);
