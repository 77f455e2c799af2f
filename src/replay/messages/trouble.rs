//! Why a lane could not go on, and on what.

use std::sync::Arc;

/// The record on which a lane failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRecord {
    /// Its log's name in its backend's folder.
    pub log: Arc<str>,
    /// Its line's number in the log, from 1.
    pub line: u64,
    /// Whether the backend answered something else since this record failed before: then the
    /// failure is the record's own.
    pub others_answered: bool,
}

/// Why a lane could not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The connection could not be made or broke: what the system said, or that the peer closed it.
    #[error("{0}")]
    Connection(String),
    /// No answer within the time for it.
    #[error("no answer within response_timeout")]
    Timeout,
    /// The answer is no HTTP/1.1 or too large.
    #[error("{0}")]
    Garbage(String),
    /// An answer that is neither a settlement nor a rejection: its status and what it says.
    #[error("the backend answered {0}")]
    Answer(String),
    /// 401 with a challenge: the password is wrong.
    #[error("the backend refused our password (401)")]
    Refused,
}
