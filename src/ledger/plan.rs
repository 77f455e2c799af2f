//! Where to start again: what the checkpointer knows of a backend's logs when nothing is in flight.

use std::sync::Arc;

use crate::ledger::identity::{Identity, LastRead};
use crate::ledger::runs::LineRuns;

/// Where to go on in a backend's logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResumePlan {
    /// One entry for each file of which the ledger knows something, in no order. Two can have the
    /// same name where a file was replaced.
    pub files: Vec<FileResume>,
    /// Files that the original began (docs/format.md) and that have not been opened since.
    pub legacy: Vec<LegacyResume>,
}

impl LegacyResume {
    /// The same as an entry of a file that has been opened and is `identity`.
    #[must_use]
    pub fn into_resume(self, identity: Identity) -> FileResume {
        let mut settled = LineRuns::default();
        settled.push(0, self.line);
        FileResume {
            name: self.name,
            identity,
            line: 0,
            byte: 0,
            settled,
            lines_read: self.lines_read,
            away_unix: 0,
            sent: LineRuns::default(),
            last_read: LastRead::default(),
        }
    }
}

/// Where to go on in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileResume {
    /// The file's name when it was last seen.
    pub name: Arc<str>,
    pub identity: Identity,
    /// All lines before this one (from 0) are settled.
    pub line: u64,
    /// Where that line begins.
    pub byte: u64,
    /// Further settled lines, none before `line`. The line `line` itself is among them only in a
    /// file that the original began.
    pub settled: LineRuns,
    /// Lines that have been counted as processed: those before this one are not counted again.
    pub lines_read: u64,
    /// Since when it has not been in its folder, Unix seconds; 0: it is there. What is known of it
    /// is kept for a while: it may come back.
    pub away_unix: u64,
    /// Lines that this process has sent and that are not settled: their answers never came. Of what
    /// an earlier process has sent a checkpoint says nothing.
    pub sent: LineRuns,
    /// The last bytes of all that was read. Every settled line ends before their end.
    pub last_read: LastRead,
}

/// Where to go on in a file that the original began. It is fed from its first line; lines before
/// `line` are settled before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyResume {
    /// The file's name.
    pub name: Arc<str>,
    /// Lines (every `\n` counts) that are settled from the start.
    pub line: u64,
    /// Lines that the original counted as processed.
    pub lines_read: u64,
    /// Bytes that the original had read. A file that has fewer is another one: nothing of it is
    /// settled.
    pub bytes_read: u64,
    /// Since when no log has had its name, as in [`FileResume::away_unix`].
    pub away_unix: u64,
}

/// How much of a file is settled when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileStart {
    /// Nothing.
    New,
    /// As the last plan's file of this index says. Each index is used at most once.
    Resumed(usize),
    /// As the last plan's legacy entry of this index says. Each index is used at most once.
    Legacy(usize),
}

/// Entries of a plan, by their indices, whose files have gone from the folder or are back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntriesMoved {
    /// Files' entries, with since when they have been away (Unix seconds; 0: they are there).
    pub files: Vec<(usize, u64)>,
    /// The same of the original's files' entries.
    pub legacy: Vec<(usize, u64)>,
}

/// Entries of a plan, by their indices, that will never be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntriesForgotten {
    /// Files' entries.
    pub files: Vec<usize>,
    /// The original's files' entries.
    pub legacy: Vec<usize>,
}
