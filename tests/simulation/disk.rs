//! The simulated disk, with short reads, and with a canary of every deletion.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use fastrand::Rng;
use hustdbsync::replay::disk::{Disk, LogEntry, LogLease, LogMeta};
use hustdbsync::replay::durable_write::{Completed, DurableWrite, JobId, Submitted};
use hustdbsync::replay::testdisk::{TestDisk, TestLog};

/// A log that was deleted, with what was durable in that instant.
#[derive(Debug)]
pub(crate) struct Deletion {
    pub(crate) backend: String,
    pub(crate) name: String,
    pub(crate) meta: LogMeta,
    pub(crate) checkpoint: Option<Vec<u8>>,
    pub(crate) rejected: Vec<u8>,
    /// What is written behind its end begins a line.
    pub(crate) ends_a_line: bool,
}

#[derive(Debug)]
struct Canary {
    random: Rng,
    /// Of a thousand reads, so many are short.
    short_reads: u32,
    deletions: Vec<Deletion>,
    /// How often each backend's folder has been listed.
    listings: BTreeMap<String, u64>,
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
                listings: BTreeMap::new(),
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

    fn canary(&self) -> std::sync::MutexGuard<'_, Canary> {
        self.canary.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for SimDisk {
    type Log = TestLog;

    fn backend_folders(&mut self) -> io::Result<Vec<String>> {
        self.inner.backend_folders()
    }

    fn log_entries(&mut self, backend: &str) -> io::Result<Vec<LogEntry>> {
        let entries = self.inner.log_entries(backend)?;
        let listings = &mut self.canary().listings;
        *listings.entry(backend.to_owned()).or_insert(0) += 1;
        Ok(entries)
    }

    fn open_log(&mut self, backend: &str, name: &str) -> io::Result<TestLog> {
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
        let deletion = self.inner.meta_of(backend, name).map(|meta| Deletion {
            backend: backend.to_owned(),
            name: name.to_owned(),
            meta,
            checkpoint: self.inner.durable_state(backend, "checkpoint"),
            rejected: self
                .inner
                .durable_state(backend, "rejected.jsonl")
                .unwrap_or_default(),
            ends_a_line: self
                .inner
                .log(backend, name)
                .is_some_and(|bytes| bytes.last().is_none_or(|last| *last == b'\n')),
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
