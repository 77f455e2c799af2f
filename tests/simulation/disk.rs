//! The simulated disk, and what the server has seen of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hustdbsync::internals::replay::disk::LogEntry;
use hustdbsync::internals::replay::testdisk::{Observer, TestDisk};

use crate::clock;

/// What the server has seen in this life.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Listed>>);

#[derive(Debug, Default)]
struct Listed {
    /// Of each backend, how long the last listing has shown each log to be, by inode and birth.
    bytes: BTreeMap<String, BTreeMap<(u64, u64), u64>>,
    /// Backends of which a listing has shown that their logs' names are not in order.
    names_go_back: BTreeSet<String>,
}

impl Seen {
    fn listed(&self) -> MutexGuard<'_, Listed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Seen {
    fn handle_listed(&mut self, backend: &str, entries: &[LogEntry]) {
        let mut listed = self.listed();
        if clock::do_names_go_back(entries) {
            listed.names_go_back.insert(backend.to_owned());
        }
        let bytes = entries
            .iter()
            .map(|entry| (entry.meta.key(), entry.meta.bytes));
        listed.bytes.insert(backend.to_owned(), bytes.collect());
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct SimDisk {
    pub(crate) inner: TestDisk,
    /// Logs that the server has deleted, by backend and name, and when.
    pub(crate) deleted: BTreeMap<(String, String), Duration>,
    seen: Seen,
}

impl SimDisk {
    pub(crate) fn new(seed: u64, short_reads: u32) -> Self {
        let (inner, seen) = (TestDisk::default(), Seen::default());
        inner.shorten_reads(seed, short_reads);
        inner.observe(seen.clone());
        let deleted = BTreeMap::new();
        Self {
            inner,
            deleted,
            seen,
        }
    }

    /// What has this name from now on is not the log that the server has deleted.
    pub(crate) fn handle_renewed(&mut self, backend: &str, name: &str) {
        self.deleted.remove(&(backend.to_owned(), name.to_owned()));
    }

    /// How long a log was when its folder was last listed in this life of the server.
    pub(crate) fn seen_bytes(&self, backend: &str, key: (u64, u64)) -> u64 {
        let listed = self.seen.listed();
        let of_backend = listed.bytes.get(backend);
        of_backend
            .and_then(|bytes| bytes.get(&key))
            .copied()
            .unwrap_or(0)
    }

    /// So many bytes are left of a log.
    pub(crate) fn cut_seen(&self, backend: &str, key: (u64, u64), bytes: u64) {
        let mut listed = self.seen.listed();
        let of_backend = listed.bytes.get_mut(backend);
        if let Some(seen) = of_backend.and_then(|of_backend| of_backend.get_mut(&key)) {
            *seen = bytes.min(*seen);
        }
    }

    /// The server's next life has seen nothing.
    pub(crate) fn forget_seen(&self) {
        *self.seen.listed() = Listed::default();
    }

    /// Whether a listing has shown that the names of a backend's logs are not in order.
    pub(crate) fn has_shown_names_go_back(&self, backend: &str) -> bool {
        self.seen.listed().names_go_back.contains(backend)
    }
}
