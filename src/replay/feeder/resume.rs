//! Where each file goes on: the keeper's plan, an entry at a time.

use crate::replay::disk::LogMeta;
use crate::replay::feeder::cursor::Cursor;
use crate::replay::feeder::split::SettledRuns;
use crate::replay::messages::{FileStart, ResumePlan};

/// A plan of which each entry is used once.
#[derive(Debug)]
pub(super) struct Resume {
    plan: ResumePlan,
    /// Device, inode and index of each file's entry, ascending: a plan can have thousands.
    by_inode: Vec<(u64, u64, usize)>,
    used: Vec<bool>,
    legacy_used: Vec<bool>,
}

/// Where a file begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Its first line that is fed.
    pub(super) cursor: Cursor,
    /// Lines from there on that need not be fed.
    pub(super) settled: SettledRuns,
    /// Which entry of the plan says so.
    pub(super) entry: FileStart,
}

impl Resume {
    /// Nothing used yet.
    #[must_use]
    pub(super) fn new(plan: ResumePlan) -> Self {
        let used = vec![false; plan.files.len()];
        let legacy_used = vec![false; plan.legacy.len()];
        let entries = plan.files.iter().enumerate();
        let mut by_inode: Vec<_> = entries
            .map(|(index, entry)| (entry.identity.device, entry.identity.inode, index))
            .collect();
        by_inode.sort_unstable();
        Self {
            plan,
            by_inode,
            used,
            legacy_used,
        }
    }

    /// Where the file goes on that has this name, is this, and begins with `prefix`. It is known by what it is, not by its name;
    /// the original's status files know names only. A file with fewer bytes than were read of it is another one.
    pub(super) fn start(&mut self, name: &str, meta: &LogMeta, prefix: &[u8]) -> Start {
        if let Some(index) = self.find(meta, prefix) {
            self.used[index] = true;
            let entry = &self.plan.files[index];
            let runs = entry.settled.as_slice().iter();
            return Start {
                cursor: Cursor::at(entry.line, entry.byte),
                settled: runs.map(|run| run.first..run.end()).collect(),
                entry: FileStart::Resumed(index),
            };
        }
        if let Some(index) = self.find_legacy(name, meta) {
            self.legacy_used[index] = true;
            // The original tells lines, not bytes: the file is read from its beginning, and these lines are passed over.
            let lines = self.plan.legacy[index].line;
            return Start {
                cursor: Cursor::default(),
                settled: (lines > 0).then_some(0..lines).into_iter().collect(),
                entry: FileStart::Legacy(index),
            };
        }
        self.start_anew(meta)
    }

    /// A file of which nothing is settled. What is known of its inode is of a file that it is no more; the keeper forgets that too.
    pub(super) fn start_anew(&mut self, meta: &LogMeta) -> Start {
        let others: Vec<usize> = self.entries_of(meta).collect();
        others.into_iter().for_each(|index| self.used[index] = true);
        Start {
            cursor: Cursor::default(),
            settled: SettledRuns::new(),
            entry: FileStart::New,
        }
    }

    /// Where a file would probably go on; told without reading it, for the counters.
    #[must_use]
    pub(super) fn byte_of(&self, meta: &LogMeta) -> u64 {
        let entry = self.entries_within(meta).next();
        entry.map_or(0, |index| self.plan.files[index].byte)
    }

    fn find(&self, meta: &LogMeta, prefix: &[u8]) -> Option<usize> {
        self.entries_within(meta).find(|&index| {
            let identity = &self.plan.files[index].identity;
            !self.used[index] && identity.is_of(meta.device, meta.inode, meta.born_nanos, prefix)
        })
    }

    /// Entries of files with this device and inode, of which no more was read than there is.
    fn entries_within(&self, meta: &LogMeta) -> impl Iterator<Item = usize> {
        let bytes = meta.bytes;
        self.entries_of(meta)
            .filter(move |index| self.plan.files[*index].byte <= bytes)
    }

    /// Entries of files with this device and inode.
    fn entries_of(&self, meta: &LogMeta) -> impl Iterator<Item = usize> {
        let key = (meta.device, meta.inode);
        let first = self
            .by_inode
            .partition_point(|(device, inode, _)| (*device, *inode) < key);
        let same = self.by_inode[first..]
            .iter()
            .take_while(move |(device, inode, _)| (*device, *inode) == key);
        same.map(|(_, _, index)| *index)
    }

    fn find_legacy(&self, name: &str, meta: &LogMeta) -> Option<usize> {
        self.plan
            .legacy
            .iter()
            .enumerate()
            .position(|(index, entry)| {
                !self.legacy_used[index] && *entry.name == *name && entry.bytes_read <= meta.bytes
            })
    }
}
