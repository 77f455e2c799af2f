//! One backend's log files, in the order of the log: what each is, how far it has been read, which is next.
//!
//! ```text
//!            begin                 all read, no tail, quiet
//!  waiting ─────────▶ being read ──────────────────────────▶ passed      ┐ unlinked: kept by its open descriptor until
//!     ▲                  │   ▲                                 │         │ read, then gone
//!     └── shrank, flush ─┘   └──────── grew ───────────────────┘         ┘
//! ```
//!
//! **The order of the log is strict** (G2): the first file in order that has something to read is the one that is read. A file that may
//! still get lines of its minute holds back the newer ones: until it has been quiet for a second, and where it ends in a line without
//! newline, until that line has come to its end or the file is closed (`closed_after`), when the line is taken as it is. So a
//! writer that stalls in the middle of a line delays its backend, no longer than `closed_after`.

use std::time::Duration;

use crate::clock::Now;
use crate::ledger::rejected;
use crate::limits::FILE_QUIET_MS;
use crate::replay::disk::{LogEntry, LogMeta};
use crate::replay::feeder::log_file::{Begun, LogFile, Loss, Observed, Stage};
use crate::replay::messages::FileId;

/// What is next in a backend's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Begin the file at this index.
    Begin(usize),
    /// Read on in the file at this index.
    Read(usize),
    /// Nothing before this monotonic instant, unless something changes.
    Until(Duration),
    /// Nothing, unless something changes.
    Nothing,
}

/// A backend's files.
#[derive(Debug)]
pub(super) struct Catalog<L> {
    /// By name; of one name the unlinked ones first.
    files: Vec<LogFile<L>>,
    /// All files before this one have been passed.
    passed: usize,
    /// Whether a file is unlinked.
    has_unlinked: bool,
    /// Where the open files are.
    open: Vec<usize>,
}

impl<L> Default for Catalog<L> {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            passed: 0,
            has_unlinked: false,
            open: Vec::new(),
        }
    }
}

impl<L> Catalog<L> {
    /// All files, in order.
    #[must_use]
    pub(super) fn files(&self) -> &[LogFile<L>] {
        &self.files
    }

    /// The files that have not been passed, in order.
    pub(super) fn unpassed(&self) -> impl Iterator<Item = &LogFile<L>> {
        self.files[self.passed..].iter()
    }

    /// The file at `index`, to be changed. Whatever was passed is looked at again.
    pub(super) fn file_mut(&mut self, index: usize) -> &mut LogFile<L> {
        self.passed = self.passed.min(index);
        &mut self.files[index]
    }

    /// What is next.
    pub(super) fn poll_next(&mut self, now: Now, closed_after: Duration) -> Next {
        while let Some(file) = self.files.get(self.passed) {
            match file.stage(now, closed_after) {
                Stage::ToBegin => return Next::Begin(self.passed),
                Stage::ToRead => return Next::Read(self.passed),
                Stage::Until(at) => return Next::Until(at),
                Stage::Passed => self.passed += 1,
            }
        }
        Next::Nothing
    }

    /// Takes over a listing of the folder. `starting`: what is there may have been sent by an earlier process. `resume_byte`: where a
    /// file that is not begun would be.
    pub(super) fn handle_listing(
        &mut self,
        mut entries: Vec<LogEntry>,
        now: Now,
        starting: bool,
        resume_byte: impl Fn(&LogMeta) -> u64,
    ) -> Vec<Loss> {
        // What we are about to give to ourselves is not ready.
        entries.retain(|entry| entry.name != rejected::STAGED);
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        let mut losses = Vec::new();
        let mut known = vec![false; entries.len()];
        self.files.retain_mut(|file| {
            if file.unlinked {
                return true;
            }
            let found = entries.binary_search_by(|entry| entry.name.as_str().cmp(&file.name));
            match found {
                Ok(at) if file.is_same(&entries[at].meta) => {
                    known[at] = true;
                    if file.observe(entries[at].meta, now) == Observed::Shrunk {
                        losses.push(file.handle_shrunk());
                    }
                    true
                }
                found => {
                    let unread = file.unread_bytes(resume_byte(&file.meta));
                    file.handle_unlinked(found.is_ok(), unread, &mut losses)
                }
            }
        });
        for (entry, _) in entries.into_iter().zip(known).filter(|(_, known)| !known) {
            let mut file = LogFile::new(entry, now);
            if starting {
                file.old_below = file.meta.bytes;
            }
            self.files.push(file);
        }
        self.files
            .sort_by(|one, other| (&one.name, !one.unlinked).cmp(&(&other.name, !other.unlinked)));
        self.note_files();
        losses
    }

    /// The file at `index` has been deleted by the keeper.
    pub(super) fn mark_deleted(&mut self, index: usize) {
        let file = self.file_mut(index);
        file.unlinked = true;
        file.deleted = true;
        self.has_unlinked = true;
    }

    /// Takes a file out.
    pub(super) fn remove(&mut self, index: usize) -> LogFile<L> {
        let file = self.files.remove(index);
        self.note_files();
        file
    }

    /// Where the file of this number is.
    #[must_use]
    pub(super) fn index_of(&self, file: FileId) -> Option<usize> {
        let is_it = |begun: &Begun| begun.file == file;
        self.files
            .iter()
            .position(|file| file.begun.as_ref().is_some_and(is_it))
    }

    /// Unlinked files of which everything has been read, and that have been quiet.
    pub(super) fn read_to_the_end(&self, now: Now) -> impl Iterator<Item = usize> {
        let quiet = Duration::from_millis(FILE_QUIET_MS);
        let files = self.files.iter().enumerate().filter(move |(_, file)| {
            let read = |begun: &Begun| !begun.cursor.has_tail(file.meta.bytes);
            file.unlinked && file.begun.as_ref().is_some_and(read) && file.quiet_for(now) >= quiet
        });
        files.map(|(index, _)| index)
    }

    /// Whether some file has lost its name.
    #[must_use]
    pub(super) fn has_unlinked(&self) -> bool {
        self.has_unlinked
    }

    /// Forgets how far each file was read; closes all but the unlinked ones. What the keeper has deleted is its own matter from now on.
    pub(super) fn forget_positions(&mut self) {
        self.files.retain(|file| !file.deleted);
        self.files.iter_mut().for_each(LogFile::forget_position);
        self.note_files();
    }

    /// Where the open files are, in order.
    #[must_use]
    pub(super) fn open(&self) -> &[usize] {
        &self.open
    }

    /// The file at `index` has been opened.
    pub(super) fn handle_opened(&mut self, index: usize, log: L) {
        self.files[index].log = Some(log);
        if let Err(at) = self.open.binary_search(&index) {
            self.open.insert(at, index);
        }
    }

    /// Closes all files but `index`, the last one before it that was begun, and the unlinked ones.
    pub(super) fn close_others(&mut self, index: usize) {
        let before = (0..index).rev().find(|at| self.files[*at].begun.is_some());
        for (at, file) in self.files.iter_mut().enumerate() {
            if at != index && Some(at) != before && !file.unlinked {
                file.log = None;
            }
        }
        self.note_open();
    }

    /// After files have come, gone, or changed places.
    fn note_files(&mut self) {
        self.has_unlinked = self.files.iter().any(|file| file.unlinked);
        self.passed = 0;
        self.note_open();
    }

    fn note_open(&mut self) {
        self.open.clear();
        let files = self.files.iter().enumerate();
        self.open.extend(
            files
                .filter(|(_, file)| file.log.is_some())
                .map(|(at, _)| at),
        );
    }
}
