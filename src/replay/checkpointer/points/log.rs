//! A log of a sync point.

use crate::ledger::backend::{BackendLedger, ClosedFile};
use crate::ledger::identity::LogKey;

/// A log as it was when the point was taken, or when it left its folder before that.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) name: Box<str>,
    pub(super) key: LogKey,
    pub(super) bytes: u64,
    /// Up to which byte it was settled when the ledger closed it, or when it left its folder; 0 if
    /// neither has happened.
    pub(super) settled: u64,
    /// The file that has all that it had, if it was replaced by a copy.
    pub(super) copy: Option<LogKey>,
}

impl Log {
    /// All that it had is in the file `copy` if it is the log `key`, or if that one has it.
    pub(super) fn handle_copied(&mut self, key: LogKey, copy: LogKey) {
        if self.key == key || self.copy == Some(key) {
            self.copy = Some(copy);
        }
    }

    /// Whether the copy is settled as far as this went, by the ledger.
    pub(super) fn is_settled_as_copy(&self, ledger: &BackendLedger) -> bool {
        let copy = self.copy;
        let settled = copy.and_then(|copy| ledger.settled_anywhere(copy));
        settled.is_some_and(|settled| settled >= self.bytes)
    }

    /// The ledger has closed a log: this one, or its copy.
    pub(super) fn handle_closed(&mut self, closed: &ClosedFile) {
        let identity = &closed.resume.identity;
        let settled = closed.resume.byte;
        let is_copy = self.copy == Some(identity.key());
        if is_copy && settled >= self.bytes {
            self.settled = self.bytes;
        }
        if self.key == identity.key() {
            self.settled = self.settled.max(settled);
        }
    }
}
