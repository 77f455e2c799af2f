//! Finished logs that are kept until the reconciler has compared their keys (docs/reconcile.md).
//!
//! Nothing of this is on disk: after a crash the logs are still there, and are compared again. A
//! log is told by its backend and its key, as an outage of the backend gives it another number.

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::identity::LogKey;
use crate::replay::messages::{BackendId, FinishedLog};

/// What is known of the comparison of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CompareState {
    /// The reconciler has yet to be asked.
    NotAsked,
    /// The reconciler has been asked.
    Waiting,
    Compared,
}

#[derive(Clone, Copy, Debug, Default)]
struct Log {
    /// Up to which byte the reconciler was asked last, and when, in seconds since 1970.
    asked: (u64, u64),
    /// Up to which byte the keys are compared.
    compared: Option<u64>,
}

impl Log {
    fn waits(&self) -> bool {
        self.compared != Some(self.asked.0)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ComparingLogs {
    logs: BTreeMap<BackendId, BTreeMap<LogKey, Log>>,
}

impl ComparingLogs {
    /// How far a log of this length is.
    pub(super) fn state(&self, backend: BackendId, key: LogKey, bytes: u64) -> CompareState {
        match self.log(backend, key) {
            Some(log) if log.compared == Some(bytes) => CompareState::Compared,
            Some(log) if log.asked.0 == bytes => CompareState::Waiting,
            Some(_) | None => CompareState::NotAsked,
        }
    }

    /// Whether a log's keys have been compared, if not all that it has by now.
    pub(super) fn is_compared(&self, backend: BackendId, key: LogKey) -> bool {
        let log = self.log(backend, key);
        log.is_some_and(|log| log.compared.is_some())
    }

    fn log(&self, backend: BackendId, key: LogKey) -> Option<&Log> {
        self.logs.get(&backend)?.get(&key)
    }

    /// The reconciler is asked for a log.
    pub(super) fn handle_asked(&mut self, backend: BackendId, log: &FinishedLog, unix: u64) {
        let logs = self.logs.entry(backend).or_default();
        logs.entry(log.key).or_default().asked = (log.bytes, unix);
    }

    /// The reconciler has compared logs. One that nothing is known of any more has been deleted, or
    /// comparing was switched off meanwhile.
    pub(super) fn handle_compared(&mut self, backend: BackendId, compared: &[FinishedLog]) {
        let Some(logs) = self.logs.get_mut(&backend) else {
            return;
        };
        for FinishedLog { key, bytes, .. } in compared {
            if let Some(log) = logs.get_mut(key) {
                log.compared = Some(*bytes);
            }
        }
    }

    /// How many of a backend's logs wait for the reconciler, and since when the first of them does,
    /// in seconds since 1970; 0: none does.
    pub(super) fn waiting(&self, backend: BackendId) -> (u64, u64) {
        let logs = self
            .logs
            .get(&backend)
            .into_iter()
            .flat_map(BTreeMap::values);
        let since = logs.filter(|log| log.waits()).map(|log| log.asked.1);
        (since.clone().count() as u64, since.min().unwrap_or(0))
    }

    /// How many of a backend's logs are compared, and are not deleted yet.
    pub(super) fn compared(&self, backend: BackendId) -> u64 {
        let logs = self
            .logs
            .get(&backend)
            .into_iter()
            .flat_map(BTreeMap::values);
        logs.filter(|log| log.compared.is_some()).count() as u64
    }

    /// Backends of which some logs are known.
    pub(super) fn backends(&self) -> Vec<BackendId> {
        self.logs.keys().copied().collect()
    }

    /// Forgets all logs of a backend but these.
    pub(super) fn retain(&mut self, backend: BackendId, known: &BTreeSet<LogKey>) {
        if let Some(logs) = self.logs.get_mut(&backend) {
            logs.retain(|key, _| known.contains(key));
            if logs.is_empty() {
                self.logs.remove(&backend);
            }
        }
    }

    /// Nothing is compared any more: the reconciler does not answer what it was asked.
    pub(super) fn clear(&mut self) {
        self.logs.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_log_that_has_grown_is_compared_again() {
        const B: BackendId = BackendId(0);
        let mut comparing = ComparingLogs::default();
        let key = (3, 1);
        assert_eq!(comparing.state(B, key, 10), CompareState::NotAsked);
        let log = |key, bytes| FinishedLog {
            name: Arc::from("a.log"),
            key,
            bytes,
            modified_nanos: 0,
        };
        assert_eq!(comparing.waiting(B), (0, 0));
        comparing.handle_asked(B, &log(key, 10), 700);
        assert_eq!(comparing.waiting(B), (1, 700));
        comparing.handle_asked(B, &log((5, 1), 10), 600);
        assert_eq!(comparing.state(B, key, 10), CompareState::Waiting);
        assert_eq!(comparing.waiting(B), (2, 600));
        comparing.handle_compared(B, &[log(key, 10), log((6, 1), 10)]);
        assert_eq!(comparing.state(B, key, 10), CompareState::Compared);
        assert_eq!(comparing.waiting(B), (1, 600));
        assert_eq!(comparing.compared(B), 1);
        assert_eq!(comparing.state(B, key, 11), CompareState::NotAsked);
        comparing.handle_asked(B, &log(key, 11), 800);
        assert_eq!(comparing.state(B, key, 11), CompareState::Waiting);
        comparing.retain(B, &BTreeSet::new());
        assert_eq!(comparing.state(B, key, 10), CompareState::NotAsked);
        assert_eq!(comparing.backends(), []);
    }
}
