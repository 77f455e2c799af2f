//! What the reader tells the checkpointer about a log.

use std::sync::Arc;

use super::{BackendId, FileId, FileStart};
use crate::ledger::identity::{Identity, LogKey};

/// A file whose lines are about to be fed.
#[derive(Clone, Debug)]
pub struct FileOpened {
    /// Its number from now on.
    pub file: FileId,
    /// Its name in the backend's folder.
    pub name: Arc<str>,
    pub identity: Identity,
    /// How much of it is settled: by which entry of the last [`ResumePlan`](super::ResumePlan) the
    /// reader resumes it, if any. An entry's identity decides, never its name; a legacy entry goes
    /// by name, and only for a file of at least
    /// [`LegacyResume::bytes_read`](crate::ledger::plan::LegacyResume::bytes_read) bytes.
    pub start: FileStart,
}

/// A log that was in its folder and is not there any more: deleted, moved away, or covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwayLog {
    /// Whose log it is.
    pub backend: BackendId,
    /// Its name when it was last seen.
    pub name: Arc<str>,
    /// What tells it from others.
    pub key: LogKey,
    /// Its length then, whether or not any of it was read.
    pub bytes: u64,
    /// How many of its bytes were not read. That is logged.
    pub unread_bytes: u64,
}
