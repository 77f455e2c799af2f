//! Which part of a ledger is durable: a checkpoint's way to the disk, and what depends on it.
//!
//! ```text
//!                 begin_checkpoint                  checkpoint_durable
//!   none under way ──────────────▶ one under way ─────────────────────▶ none under way; what the
//!         ▲                              │                              checkpoint has is durable
//!         └────── checkpoint_failed ─────┘
//! ```
//!
//! A checkpoint takes time, and the ledger changes meanwhile. Deletion and sync points depend on
//! what is durable, never on a checkpoint that was only begun.

use std::sync::Arc;

use crate::ledger::backend::{BackendLedger, Books};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::file::Place;
use crate::ledger::identity::{Identity, LastRead};
use crate::ledger::ids::FileId;
use crate::ledger::totals::Totals;

/// The instant of which a checkpoint is being written.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnderWay {
    /// `changes` then.
    pub(super) changes: u64,
    /// `forgotten` then: it is without those entries.
    pub(super) forgotten: u64,
    /// `totals` then.
    pub(super) totals: Totals,
}

/// A file of which everything is settled, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FinishedFile {
    pub(crate) end: Place,
    pub(crate) identity: Identity,
    /// Its last bytes.
    pub(crate) last_read: LastRead,
}

impl BackendLedger {
    /// A count that grows with every change of what a checkpoint holds.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// What [`BackendLedger::changes`] was at the last durable checkpoint; `None` before the first.
    #[must_use]
    pub(crate) fn durable_changes(&self) -> Option<u64> {
        self.durable_changes
    }

    /// A checkpoint of the ledger as it is now.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            totals: self.totals,
            resume: self.resume_plan(),
        }
    }

    /// A checkpoint of the ledger as it is now, which is under way until
    /// [`BackendLedger::checkpoint_durable`] or [`BackendLedger::checkpoint_failed`].
    ///
    /// # Panics
    /// When one is under way.
    #[must_use]
    pub(crate) fn begin_checkpoint(&mut self) -> Checkpoint {
        assert!(
            self.under_way.is_none(),
            "one checkpoint of a backend is written at a time"
        );
        self.under_way = Some(UnderWay {
            changes: self.changes,
            forgotten: self.forgotten,
            totals: self.totals,
        });
        for books in self.files.values_mut() {
            books.begun_end = books.file.settled_end();
        }
        self.checkpoint()
    }

    /// The checkpoint under way has become durable. Later changes are not in it.
    ///
    /// # Panics
    /// When none is under way.
    pub(crate) fn checkpoint_durable(&mut self) {
        let begun = self.under_way.take().expect("one was begun");
        self.durable_changes = Some(begun.changes);
        self.forgotten -= begun.forgotten;
        self.durable_totals = begun.totals;
        for books in self.files.values_mut() {
            books.durable_end = books.begun_end.take();
            if books.durably_settled_end().is_some() {
                books.file.release_memory();
            }
        }
        self.check_structure();
    }

    /// The checkpoint under way is not known to be durable. The ledger is as if it had not been
    /// begun.
    ///
    /// # Panics
    /// When none is under way.
    pub(crate) fn checkpoint_failed(&mut self) {
        self.under_way.take().expect("one was begun");
        for books in self.files.values_mut() {
            books.begun_end = None;
        }
    }

    /// Whether something has changed since the last durable checkpoint.
    #[must_use]
    pub(crate) fn is_changed(&self) -> bool {
        self.durable_changes != Some(self.changes) || self.forgotten > 0
    }

    /// Whether the next checkpoint forgets files. The deletion of their names must be durable
    /// before it is written: otherwise a file could come back after a crash, and would be sent
    /// again from its beginning, after newer records.
    #[must_use]
    pub(crate) fn forgets_files(&self) -> bool {
        self.forgotten > 0
    }

    /// Files of which all that was read is settled, and durably so, in the order of the logs. Stops
    /// before the first file of which that is not true: since logs are deleted from the oldest on,
    /// reading the remaining ones from their beginning (after the loss of a checkpoint) sends a
    /// suffix of all records. At most `files_max` files.
    #[must_use]
    pub(crate) fn deletable_files(&self, files_max: usize) -> Vec<(FileId, Arc<str>)> {
        let in_order = self.by_name.iter().filter_map(|(name, id)| {
            let books = self.files.get(id)?;
            let is_there = books.can_be_opened_again() && !books.file.is_away();
            is_there.then_some((*id, name, books))
        });
        in_order
            .take_while(|(_, _, books)| books.durably_settled_end().is_some())
            .take(files_max)
            .map(|(id, name, _)| (id, Arc::clone(name)))
            .collect()
    }

    /// A file, if everything that was read of it is settled and a durable checkpoint contains that.
    #[must_use]
    pub(crate) fn finished(&self, id: FileId) -> Option<FinishedFile> {
        let books = self.files.get(&id)?;
        Some(FinishedFile {
            end: books.durably_settled_end()?,
            identity: books.file.identity(),
            last_read: books.file.last_read(),
        })
    }

    /// A finished log was deleted. Its entry closes when the reader reports `FileGone`, since the
    /// reader may have read more of it meanwhile.
    ///
    /// # Panics
    /// When not everything of it was durably settled.
    pub(crate) fn file_deleted(&mut self, id: FileId) {
        assert!(
            self.finished(id).is_some(),
            "{id:?} was deleted after it was settled"
        );
        self.files.get_mut(&id).expect("it is settled").deleted = true;
        self.check_structure();
    }
}

impl Books {
    /// Where the file ends, if everything up to there is settled now and was when the last
    /// checkpoint became durable.
    pub(super) fn durably_settled_end(&self) -> Option<Place> {
        if failpoint!(DeleteBeforeCheckpoint) {
            return self.file.settled_end();
        }
        self.durable_end
            .filter(|&end| self.file.settled_end() == Some(end))
    }
}
