//! Logs that have left their folders before everything in them was delivered.
//!
//! A listing does not show them, and the ledger does not know those that were never begun. So the
//! reader reports how long each was, and a sync point that is taken later counts what is missing.
//! They are remembered for as long as they may come back: for [`AWAY_LOG_KEPT`], and at most
//! [`AWAY_LOGS_MAX`] of each backend.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use super::log::Log;
use crate::ledger::backend::{BackendLedger, ClosedFile};
use crate::ledger::identity::LogKey;
use crate::limits::{AWAY_LOG_KEPT, AWAY_LOGS_MAX};
use crate::replay::checkpointer::backend_state::BackendState;
use crate::replay::messages::{AwayLog, BackendId};

#[derive(Debug)]
struct Away {
    log: Log,
    since_unix: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AwayLogs {
    /// Those of each backend, in the order in which they left.
    backends: BTreeMap<BackendId, VecDeque<Away>>,
    /// Logs that we have deleted ourselves. The log reader may still report one of them. Without
    /// birth times a later log can have the key of one of them, so the name counts too.
    deleted: VecDeque<(BackendId, LogKey, Arc<str>)>,
}

impl AwayLogs {
    /// A log has left its folder. Returns how many bytes of it are not delivered.
    pub(super) fn handle_away(
        &mut self,
        away: AwayLog,
        ledger: Option<&BackendLedger>,
        unix: u64,
    ) -> u64 {
        let mut log = Log {
            name: (*away.name).into(),
            key: away.key,
            bytes: away.bytes,
            settled: 0,
            copy: None,
        };
        let key = log.key;
        log.note_settled(ledger);
        let deleted = (away.backend, key, away.name);
        let left_bytes = match self.deleted.contains(&deleted) {
            true => 0,
            false => log.bytes.saturating_sub(log.settled),
        };
        let all = self.backends.entry(away.backend).or_default();
        all.retain(|known| known.log.key != key);
        if left_bytes > 0 {
            let since_unix = unix;
            all.push_back(Away { log, since_unix });
        }
        if all.len() > AWAY_LOGS_MAX {
            all.pop_front();
        }
        if all.is_empty() {
            self.backends.remove(&away.backend);
        }
        left_bytes
    }

    /// The ledger has closed a log, and reports how far it was delivered.
    pub(super) fn handle_closed(&mut self, backend: BackendId, closed: &ClosedFile) {
        let closed_key = closed.resume.identity.key();
        if closed.deleted {
            let name = Arc::clone(&closed.resume.name);
            self.deleted.push_back((backend, closed_key, name));
            if self.deleted.len() > AWAY_LOGS_MAX {
                self.deleted.pop_front();
            }
        }
        let Some(all) = self.backends.get_mut(&backend) else {
            return;
        };
        for Away { log, .. } in all.iter_mut() {
            log.handle_closed(closed);
        }
        all.retain(|known| !(closed.deleted && known.log.key == closed_key));
    }

    /// All that a log had which is away is in another file. `unread`: the log, if nothing but the
    /// ledger knows it.
    pub(super) fn handle_copied(
        &mut self,
        backend: BackendId,
        key: LogKey,
        copy: LogKey,
        unread: Option<Log>,
        unix: u64,
    ) {
        let all = self.backends.entry(backend).or_default();
        let is_known = all.iter().any(|away| away.log.key == key);
        if let Some(log) = unread.filter(|_| !is_known && all.len() < AWAY_LOGS_MAX) {
            let since_unix = unix;
            all.push_back(Away { log, since_unix });
        }
        for Away { log, .. } in all {
            log.handle_copied(key, copy);
        }
    }

    /// Whether this log has left its folder undelivered, as far as is remembered.
    pub(super) fn has(&self, backend: BackendId, key: LogKey) -> bool {
        let mut all = self.backends.get(&backend).into_iter().flatten();
        all.any(|away| away.log.key == key)
    }

    /// Whether we have deleted this log ourselves, whatever it was called, as far as is remembered.
    pub(super) fn is_deleted(&self, backend: BackendId, key: LogKey) -> bool {
        let mut deleted = self.deleted.iter();
        deleted.any(|(of, known, _)| (*of, *known) == (backend, key))
    }

    /// Logs of a backend that are not among those in its folder, and not delivered.
    pub(super) fn undelivered(
        &mut self,
        backend_state: &BackendState,
        mut there: HashSet<LogKey>,
        unix: u64,
    ) -> Vec<Log> {
        let (backend, ledger) = (backend_state.info().id, backend_state.ledger());
        let mut missing = self.missing(backend, &there, ledger, unix);
        there.extend(missing.iter().map(|log| log.key));
        missing.retain(|log| log.settled < log.bytes);
        let unread = unread_entries(backend_state);
        missing.extend(unread.filter(|log| !there.contains(&log.key)));
        missing
    }

    /// Whether something of a backend may have left its folder undelivered.
    pub(super) fn may_miss(&self, backend_state: &BackendState) -> bool {
        let ledger = backend_state.ledger().into_iter();
        let mut entries = ledger.flat_map(BackendLedger::unleased);
        self.backends.contains_key(&backend_state.info().id)
            || entries.any(|entry| entry.away_unix > 0)
    }

    /// Forgets a backend.
    pub(super) fn forget(&mut self, backend: BackendId) {
        self.backends.remove(&backend);
        self.deleted.retain(|(of, ..)| *of != backend);
    }

    /// Those of a backend that are not delivered, and not among the logs in its folder; and those
    /// that were delivered as copies, of which the ledger knows less.
    pub(super) fn missing(
        &mut self,
        backend: BackendId,
        there: &HashSet<LogKey>,
        ledger: Option<&BackendLedger>,
        unix: u64,
    ) -> Vec<Log> {
        let Some(all) = self.backends.get_mut(&backend) else {
            return Vec::new();
        };
        all.retain_mut(|Away { log, since_unix }| {
            log.note_settled(ledger);
            let is_over = since_unix.saturating_add(AWAY_LOG_KEPT.as_secs()) <= unix;
            let is_known = log.settled < log.bytes || log.copy.is_some();
            is_known && !is_over
        });
        // One that is back, or there under a hidden name, may leave once more.
        let logs = all.iter().map(|away| &away.log);
        logs.filter(|log| !there.contains(&log.key))
            .cloned()
            .collect()
    }
}

impl Log {
    /// Takes over from the ledger how far it is delivered.
    fn note_settled(&mut self, ledger: Option<&BackendLedger>) {
        let known = ledger.and_then(|ledger| ledger.settled_anywhere(self.key));
        self.settled = self.settled.max(known.unwrap_or(0)).min(self.bytes);
        if ledger.is_some_and(|ledger| self.is_settled_as_copy(ledger)) {
            self.settled = self.bytes;
        }
    }
}

/// Logs of which an earlier process had read lines that are not delivered, as far as it had read
/// them. Where that is not known, each line counts as a byte.
pub(super) fn unread_entries(backend_state: &BackendState) -> impl Iterator<Item = Log> {
    let entries = backend_state
        .ledger()
        .into_iter()
        .flat_map(BackendLedger::unleased);
    let logs = entries.map(|entry| {
        let lines = entry.lines_read.saturating_sub(entry.line);
        let lines = lines.saturating_sub(entry.settled.lines());
        let bytes = match (lines, entry.last_read.end()) {
            (0, _) => entry.byte,
            (lines, 0) => entry.byte.saturating_add(lines),
            (_, end) => end,
        };
        Log {
            name: (*entry.name).into(),
            key: entry.identity.key(),
            bytes,
            settled: entry.byte,
            copy: None,
        }
    });
    logs.filter(|log| log.settled < log.bytes)
}
