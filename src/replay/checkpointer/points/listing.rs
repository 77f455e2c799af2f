//! Which logs a point has: those in a backend's folder, and those that have left it undelivered.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;

use super::away::AwayLogs;
use super::log::Log;
use crate::ledger::identity::LogKey;
use crate::ledger::rejected;
use crate::limits::SYNC_POINT_LOGS_MAX;
use crate::replay::checkpointer::backend_state::{BackendState, BackendStates};
use crate::replay::disk::{Area, Disk, LogEntry};
use crate::status::sync_point::Listing;

/// What one backend has.
pub(super) struct Listed {
    /// Its logs, the last one in the order of their names first.
    pub(super) logs: Vec<Log>,
    /// Hidden files that nobody waits for: the first one's name, and how many there are.
    pub(super) hidden: Option<(Box<str>, u64)>,
}

impl Listed {
    pub(super) fn listing(&self) -> Listing {
        Listing {
            logs: self.logs.len() as u64,
            bytes: self.logs.iter().map(|log| log.bytes).sum(),
            hidden: self.hidden.clone(),
        }
    }
}

/// Why a folder was not listed.
pub(super) enum NotListed {
    /// It cannot be.
    Unreadable(io::Error),
    /// No point can remember so many logs.
    TooMany(String),
}

/// Every backend, by its name: what it has, or why its folder cannot be listed.
pub(super) type Backends = BTreeMap<String, Result<Listed, String>>;

pub(super) struct Lister<'a> {
    pub(super) away: &'a mut AwayLogs,
    pub(super) backend_states: &'a BackendStates,
    /// How many logs more can be remembered.
    pub(super) room: usize,
    pub(super) unix: u64,
}

impl Lister<'_> {
    /// All backends: those that have a folder, and those of which a log is away.
    pub(super) fn list(
        &mut self,
        disk: &mut impl Disk,
        is_backend: fn(&str) -> bool,
    ) -> Result<Backends, String> {
        let folders = disk.folders(Area::Logs);
        let mut folders = folders.map_err(|error| format!("the logs cannot be listed: {error}"))?;
        folders.retain(|folder| is_backend(folder));
        let known = self.backend_states.iter().flatten();
        let known = known.map(|backend_state| backend_state.name().to_string());
        let names: BTreeSet<String> = known.chain(folders.iter().cloned()).collect();
        let folders: HashSet<String> = folders.into_iter().collect();
        let mut backends = Backends::new();
        for name in names {
            let has_folder = folders.contains(&name);
            let listed = if has_folder {
                self.list_folder(disk, &name)
            } else {
                self.list_entries(&name, Vec::new())
            };
            match listed {
                Ok(listed) if !has_folder && listed.logs.is_empty() => {}
                Ok(listed) => drop(backends.insert(name, Ok(listed))),
                Err(NotListed::Unreadable(error)) => {
                    backends.insert(name, Err(error.to_string()));
                }
                Err(NotListed::TooMany(why)) => return Err(why),
            }
        }
        Ok(backends)
    }

    /// One backend that has a folder, or had one.
    pub(super) fn list_folder(
        &mut self,
        disk: &mut impl Disk,
        backend: &str,
    ) -> Result<Listed, NotListed> {
        let entries = disk.entries(Area::Logs, backend);
        self.list_entries(backend, entries.map_err(NotListed::Unreadable)?)
    }

    /// A file that NFS or FUSE keep under a hidden name for whoever has it open is a log if it is
    /// known what it was. If not, it may be one that was deleted since it was finished, by this
    /// process or by an earlier one.
    fn list_entries(
        &mut self,
        backend: &str,
        mut entries: Vec<LogEntry>,
    ) -> Result<Listed, NotListed> {
        entries.retain(|entry| entry.meta.bytes > 0 && entry.name != rejected::STAGED);
        let mut hidden: Vec<Box<str>> = Vec::new();
        entries.retain(|entry| {
            let key = entry.meta.key();
            let is_log = !entry.is_hidden() || self.is_known(backend, key);
            if !is_log && !self.is_deleted(backend, key) {
                hidden.push(entry.name.as_str().into());
            }
            is_log
        });
        self.check_room(entries.len())?;
        let log = |LogEntry { name, meta }| Log {
            name: name.into(),
            key: meta.key(),
            bytes: meta.bytes,
            settled: 0,
            copy: None,
        };
        let mut logs: Vec<Log> = entries.into_iter().map(log).collect();
        self.add_away(backend, &mut logs);
        self.check_room(logs.len())?;
        self.room -= logs.len();
        logs.sort_by(|one, other| other.name.cmp(&one.name));
        let count = hidden.len() as u64;
        let hidden = hidden.into_iter().min().map(|first| (first, count));
        Ok(Listed { logs, hidden })
    }

    fn is_known(&self, backend: &str, key: LogKey) -> bool {
        named(self.backend_states, backend).is_some_and(|backend_state| {
            let ledger = backend_state.ledger();
            let settled = ledger.and_then(|ledger| ledger.settled_anywhere(key));
            settled.is_some() || self.away.has(backend_state.info().id, key)
        })
    }

    fn is_deleted(&self, backend: &str, key: LogKey) -> bool {
        let backend_state = named(self.backend_states, backend);
        backend_state
            .is_some_and(|backend_state| self.away.is_deleted(backend_state.info().id, key))
    }

    /// Adds the logs that are known and not in the folder.
    fn add_away(&mut self, backend: &str, logs: &mut Vec<Log>) {
        if let Some(backend_state) = named(self.backend_states, backend) {
            let there = logs.iter().map(|log| log.key).collect();
            logs.append(&mut self.away.undelivered(backend_state, there, self.unix));
        }
    }

    fn check_room(&self, logs: usize) -> Result<(), NotListed> {
        if logs <= self.room {
            return Ok(());
        }
        Err(NotListed::TooMany(format!(
            "there are too many logs: all sync points together remember {SYNC_POINT_LOGS_MAX}; \
             wait until more of the backlog is gone"
        )))
    }
}

/// The backend of this name, if it is known.
pub(super) fn named<'a>(backend_states: &'a BackendStates, name: &str) -> Option<&'a BackendState> {
    let mut known = backend_states.iter().flatten();
    known.find(|backend_state| **backend_state.name() == *name)
}
