//! Files that were deleted while somebody had them open, which NFS and FUSE keep in their folder
//! under a hidden name (`.nfs…`, `.fuse_hidden…`) until they are closed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::ledger::identity::LogKey;
use crate::limits::IDENTITY_PREFIX_BYTES_MAX;
use crate::replay::disk::{Area, Disk, LogEntry, read_fully};
use crate::replay::reader::LogReader;
use crate::replay::reader::begin::scratch;
use crate::replay::reader::entries::Entries;

impl<D: Disk> LogReader<D> {
    /// Files that were deleted while somebody had them open, and that are logs which an earlier
    /// process had begun: by inode and birth time, with the log's name. They are to be read to
    /// their end. Others are not: what they were is not known, and it may be a log that was
    /// finished.
    pub(super) fn known_hidden(
        &mut self,
        at: usize,
        entries: &Entries,
    ) -> HashMap<LogKey, Arc<str>> {
        let mut known = HashMap::new();
        let source = &self.sources[at];
        let Some(resume) = &source.resume else {
            return known;
        };
        let hidden = entries.in_order().iter().filter(|entry| entry.is_hidden());
        for entry in hidden.filter(|entry| resume.may_continue(&entry.meta)) {
            let prefix = scratch(&mut self.scratch, IDENTITY_PREFIX_BYTES_MAX);
            let opened = self.disk.open(Area::Logs, &source.info.name, &entry.name);
            let read = opened.and_then(|log| read_fully(&log, 0, prefix));
            // One that cannot be read now is looked at again with the next listing.
            let name = read
                .ok()
                .and_then(|bytes| resume.name_of(&entry.meta, &prefix[..bytes]));
            known.extend(name.map(|name| (entry.meta.key(), name)));
        }
        known
    }

    /// Logs files under hidden names of which nothing is known, once each.
    pub(super) fn say_hidden(&mut self, at: usize, entries: &Entries) {
        let source = &mut self.sources[at];
        if source.resume.is_none() {
            return;
        }
        let hidden = entries.in_order().iter().filter(|entry| entry.is_hidden());
        let there: HashSet<_> = hidden.clone().map(|entry| entry.meta.key()).collect();
        source.said_hidden.retain(|key| there.contains(key));
        for entry in hidden {
            let source = &self.sources[at];
            let key = entry.meta.key();
            let is_said = source.said_hidden.contains(&key);
            if entry.meta.bytes == 0 || is_said || source.catalog.has(key) {
                continue;
            }
            if self.was_finished(at, entry) == Some(false) {
                let (backend, file) = (&self.sources[at].info.name, &entry.name);
                tracing::warn!(%backend, %file, bytes = entry.meta.bytes, "a file was deleted \
                    while somebody has it open, and nothing is known of it: it is a log that was \
                    replayed and deleted, or one that was never read. It is not read, and is gone \
                    once it is closed (lsof says by whom). If its lines are wanted, copy it to a \
                    log's name in its folder; if they were replayed before, increments among them \
                    count again");
                self.sources[at].said_hidden.insert(key);
            }
        }
    }

    /// Whether a file is a log that this process has read. `None`: it cannot be read now.
    fn was_finished(&mut self, at: usize, entry: &LogEntry) -> Option<bool> {
        let identity = self.read_identity(at, &entry.name).ok()?;
        let first_lines = &self.sources[at].first_lines;
        Some(first_lines.has(identity.lead_hash, entry.meta.key()))
    }
}
