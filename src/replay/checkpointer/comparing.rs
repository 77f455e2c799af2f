//! Finished logs that are kept until the reconciler has compared their keys (docs/reconcile.md).
//!
//! Nothing of this is on disk: after a crash the logs are still there, and are compared again.

use std::collections::{BTreeMap, BTreeSet};

use crate::replay::messages::{FileId, FinishedLog};

/// What is known of the comparison of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// The reconciler has yet to be asked.
    NotAsked,
    /// The reconciler has been asked.
    Waiting,
    /// All of it is compared.
    Compared,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ComparingLogs {
    /// Up to which byte the reconciler was asked, and when, in seconds since 1970.
    asked: BTreeMap<FileId, (u64, u64)>,
    /// Up to which byte the keys are compared.
    compared: BTreeMap<FileId, u64>,
}

impl ComparingLogs {
    /// How far a log of this length is.
    pub(super) fn state(&self, file: FileId, bytes: u64) -> Comparison {
        let asked = self.asked.get(&file).map(|(bytes, _)| *bytes);
        if self.compared.get(&file) == Some(&bytes) {
            Comparison::Compared
        } else if asked == Some(bytes) {
            Comparison::Waiting
        } else {
            Comparison::NotAsked
        }
    }

    /// Whether a log's keys have been compared, if not all that it has by now.
    pub(super) fn is_compared(&self, file: FileId) -> bool {
        self.compared.contains_key(&file)
    }

    /// The reconciler is asked for a log.
    pub(super) fn handle_asked(&mut self, log: &FinishedLog, unix: u64) {
        self.asked.insert(log.file, (log.bytes, unix));
    }

    /// The reconciler has compared logs, each up to this byte.
    pub(super) fn handle_compared(&mut self, logs: &[(FileId, u64)]) {
        self.compared.extend(logs.iter().copied());
    }

    /// How many of these logs wait for the reconciler, and since when the first of them does, in
    /// seconds since 1970; 0: none does.
    pub(super) fn waiting(&self, files: &[FileId]) -> (u64, u64) {
        let since = |file: &FileId| {
            let (bytes, unix) = self.asked.get(file)?;
            (self.state(*file, *bytes) == Comparison::Waiting).then_some(*unix)
        };
        let waiting = files.iter().filter_map(since);
        (waiting.clone().count() as u64, waiting.min().unwrap_or(0))
    }

    /// How many of these logs are compared.
    pub(super) fn compared(&self, files: &[FileId]) -> u64 {
        files.iter().filter(|file| self.is_compared(**file)).count() as u64
    }

    /// Forgets all other logs.
    pub(super) fn retain(&mut self, files: &BTreeSet<FileId>) {
        self.asked.retain(|file, _| files.contains(file));
        self.compared.retain(|file, _| files.contains(file));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_log_that_has_grown_is_compared_again() {
        let mut comparing = ComparingLogs::default();
        let file = FileId(3);
        assert_eq!(comparing.state(file, 10), Comparison::NotAsked);
        let log = |file, bytes| FinishedLog {
            file,
            name: Arc::from("a.log"),
            key: (1, 2),
            bytes,
            modified_nanos: 0,
        };
        assert_eq!(comparing.waiting(&[file]), (0, 0));
        comparing.handle_asked(&log(file, 10), 700);
        comparing.handle_asked(&log(FileId(5), 10), 600);
        assert_eq!(comparing.state(file, 10), Comparison::Waiting);
        assert_eq!(comparing.waiting(&[file, FileId(4)]), (1, 700));
        assert_eq!(comparing.waiting(&[file, FileId(5)]), (2, 600));
        comparing.handle_compared(&[(file, 10)]);
        assert_eq!(comparing.state(file, 10), Comparison::Compared);
        assert_eq!(comparing.waiting(&[file]), (0, 0));
        assert_eq!(comparing.compared(&[file, FileId(5)]), 1);
        assert_eq!(comparing.state(file, 11), Comparison::NotAsked);
        comparing.retain(&BTreeSet::new());
        assert_eq!(comparing.state(file, 10), Comparison::NotAsked);
    }
}
