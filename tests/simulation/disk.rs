//! The simulated disk, with short reads, and with a canary of every deletion.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use fastrand::Rng;
use hustdbsync::internals::replay::disk::{Disk, LogEntry, LogLease, LogMeta};
use hustdbsync::internals::replay::durable_write::{Completed, DurableWrite, JobId, Submitted};
use hustdbsync::internals::replay::testdisk::{TestDisk, TestLog};

use crate::clock;

/// A log that was deleted, with what was durable in that instant.
#[derive(Debug)]
pub(crate) struct Deletion {
    pub(crate) backend: String,
    pub(crate) name: String,
    pub(crate) meta: LogMeta,
    pub(crate) checkpoint: Option<Vec<u8>>,
    pub(crate) rejected: Vec<u8>,
    /// Its content.
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug)]
struct Canary {
    random: Rng,
    /// Of a thousand reads, so many are short.
    short_reads: u32,
    deletions: Vec<Deletion>,
    /// Something empty is mounted over the logs' path.
    root_is_covered: bool,
    /// Over these backends' folders, too. What others do to logs they do beneath.
    covered: BTreeSet<String>,
    /// How often each backend's folder has been listed.
    listings: BTreeMap<String, u64>,
    /// Of each backend, how long the last listing has shown each log to be, by inode and birth.
    seen: BTreeMap<String, BTreeMap<(u64, u64), u64>>,
    /// Backends of which a listing has shown that their logs' names are not in order.
    names_go_back: BTreeSet<String>,
}

/// A handle of the one disk.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk {
    pub(crate) inner: TestDisk,
    canary: Arc<Mutex<Canary>>,
}

impl SimDisk {
    pub(crate) fn new(seed: u64, short_reads: u32) -> Self {
        Self {
            inner: TestDisk::default(),
            canary: Arc::new(Mutex::new(Canary {
                random: Rng::with_seed(seed),
                short_reads,
                deletions: Vec::new(),
                root_is_covered: false,
                covered: BTreeSet::new(),
                listings: BTreeMap::new(),
                seen: BTreeMap::new(),
                names_go_back: BTreeSet::new(),
            })),
        }
    }

    /// Logs that were deleted since this was last asked.
    pub(crate) fn take_deletions(&self) -> Vec<Deletion> {
        std::mem::take(&mut self.canary().deletions)
    }

    /// How often a backend's folder has been listed.
    pub(crate) fn listings(&self, backend: &str) -> u64 {
        self.canary().listings.get(backend).copied().unwrap_or(0)
    }

    /// Mounts something empty over a backend's folder, or takes it away; none: over the logs' path.
    pub(crate) fn set_covered(&self, backend: Option<&str>, is_covered: bool) {
        let mut canary = self.canary();
        match (backend, is_covered) {
            (None, _) => canary.root_is_covered = is_covered,
            (Some(backend), true) => _ = canary.covered.insert(backend.to_owned()),
            (Some(backend), false) => _ = canary.covered.remove(backend),
        }
    }

    /// Whether something is mounted over a backend's logs.
    pub(crate) fn is_covered(&self, backend: &str) -> bool {
        let canary = self.canary();
        canary.root_is_covered || canary.covered.contains(backend)
    }

    /// That the path of a backend's logs leads to them.
    fn check_path(&self, backend: &str) -> io::Result<()> {
        match self.is_covered(backend) {
            true => Err(io::ErrorKind::NotFound.into()),
            false => Ok(()),
        }
    }

    /// How long a log was when its folder was last listed in this life of the server.
    pub(crate) fn seen_bytes(&self, backend: &str, key: (u64, u64)) -> u64 {
        let canary = self.canary();
        let of_backend = canary.seen.get(backend);
        of_backend
            .and_then(|seen| seen.get(&key))
            .copied()
            .unwrap_or(0)
    }

    /// So many bytes are left of a log.
    pub(crate) fn cut_seen(&self, backend: &str, key: (u64, u64), bytes: u64) {
        let mut canary = self.canary();
        let of_backend = canary.seen.get_mut(backend);
        if let Some(seen) = of_backend.and_then(|seen| seen.get_mut(&key)) {
            *seen = bytes.min(*seen);
        }
    }

    /// The server's next life has seen nothing.
    pub(crate) fn forget_seen(&self) {
        let mut canary = self.canary();
        canary.seen.clear();
        canary.names_go_back.clear();
    }

    /// Whether a listing has shown that the names of a backend's logs are not in order.
    pub(crate) fn has_shown_names_go_back(&self, backend: &str) -> bool {
        self.canary().names_go_back.contains(backend)
    }

    fn canary(&self) -> std::sync::MutexGuard<'_, Canary> {
        self.canary.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for SimDisk {
    type Log = TestLog;

    fn backend_folders(&mut self) -> io::Result<Vec<String>> {
        let mut folders = self.inner.backend_folders()?;
        if self.canary().root_is_covered {
            folders.clear();
        }
        Ok(folders)
    }

    fn log_entries(&mut self, backend: &str) -> io::Result<Vec<LogEntry>> {
        let mut entries = self.inner.log_entries(backend)?;
        if self.is_covered(backend) {
            entries.clear();
        }
        let mut canary = self.canary();
        *canary.listings.entry(backend.to_owned()).or_insert(0) += 1;
        if clock::do_names_go_back(&entries) {
            canary.names_go_back.insert(backend.to_owned());
        }
        let seen = entries
            .iter()
            .map(|entry| (entry.meta.key(), entry.meta.bytes));
        canary.seen.insert(backend.to_owned(), seen.collect());
        Ok(entries)
    }

    fn open_log(&mut self, backend: &str, name: &str) -> io::Result<TestLog> {
        self.check_path(backend)?;
        self.inner.open_log(backend, name)
    }

    fn log_meta(&mut self, log: &TestLog) -> io::Result<LogMeta> {
        self.inner.log_meta(log)
    }

    fn read_log(&mut self, log: &TestLog, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let bytes = {
            let mut canary = self.canary();
            if into.len() > 1 && canary.random.u32(..1000) < canary.short_reads {
                canary.random.usize(1..into.len())
            } else {
                into.len()
            }
        };
        self.inner.read_log(log, offset, &mut into[..bytes])
    }

    fn lease_log(&mut self, log: &TestLog) -> io::Result<LogLease> {
        self.inner.lease_log(log)
    }

    fn end_lease(&mut self, log: &TestLog) -> io::Result<()> {
        self.inner.end_lease(log)
    }

    fn delete_log(&mut self, backend: &str, name: &str) -> io::Result<()> {
        self.check_path(backend)?;
        let deletion = self.inner.meta_of(backend, name).map(|meta| Deletion {
            backend: backend.to_owned(),
            name: name.to_owned(),
            meta,
            checkpoint: self.inner.durable_state(backend, "checkpoint"),
            rejected: self
                .inner
                .durable_state(backend, "rejected.jsonl")
                .unwrap_or_default(),
            bytes: self.inner.log(backend, name).unwrap_or_default(),
        });
        self.inner.delete_log(backend, name)?;
        self.canary().deletions.extend(deletion);
        Ok(())
    }

    fn sync_log_folder(&mut self, backend: &str) -> io::Result<()> {
        self.inner.sync_log_folder(backend)
    }

    fn stage_log(&mut self, backend: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.inner.stage_log(backend, name, bytes)
    }

    fn sync_staged_log(&mut self, backend: &str, name: &str) -> io::Result<()> {
        self.inner.sync_staged_log(backend, name)
    }

    fn publish_log(&mut self, backend: &str, from: &str, to: &str) -> io::Result<()> {
        self.inner.publish_log(backend, from, to)
    }

    fn state_folders(&mut self) -> io::Result<Vec<String>> {
        self.inner.state_folders()
    }

    fn state_files(&mut self, backend: &str) -> io::Result<Vec<String>> {
        self.inner.state_files(backend)
    }

    fn read_state(
        &mut self,
        backend: &str,
        name: &str,
        bytes_max: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        self.inner.read_state(backend, name, bytes_max)
    }

    fn read_state_at(
        &mut self,
        backend: &str,
        name: &str,
        offset: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        self.inner.read_state_at(backend, name, offset, into)
    }

    fn write_state(&mut self, backend: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_state(backend, name, bytes)
    }

    fn append_state(&mut self, backend: &str, name: &str, bytes: &[u8]) -> io::Result<u64> {
        self.inner.append_state(backend, name, bytes)
    }

    fn truncate_state(&mut self, backend: &str, name: &str, bytes: u64) -> io::Result<()> {
        self.inner.truncate_state(backend, name, bytes)
    }

    fn state_bytes(&mut self, backend: &str, name: &str) -> io::Result<Option<u64>> {
        self.inner.state_bytes(backend, name)
    }

    fn sync_state(&mut self, backend: &str, name: &str) -> io::Result<()> {
        self.inner.sync_state(backend, name)
    }

    fn rename_state(&mut self, backend: &str, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename_state(backend, from, to)
    }

    fn remove_state(&mut self, backend: &str, name: &str) -> io::Result<()> {
        self.inner.remove_state(backend, name)
    }

    fn remove_state_folder(&mut self, backend: &str) -> io::Result<()> {
        self.inner.remove_state_folder(backend)
    }

    fn sync_state_folder(&mut self, backend: &str) -> io::Result<()> {
        self.inner.sync_state_folder(backend)
    }

    fn begin(&mut self, job_id: JobId, chain: DurableWrite) -> Submitted {
        self.inner.begin(job_id, chain)
    }

    fn completed(&mut self) -> Option<Completed> {
        self.inner.completed()
    }
}
