//! Where each file goes on: the keeper's plan, an entry at a time.

use std::collections::HashSet;

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
    /// Used, or forgotten.
    used: Vec<bool>,
    legacy_used: Vec<bool>,
    /// What is forgotten and not told yet.
    forgotten: Forgotten,
}

/// Entries that will never be used.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Forgotten {
    pub(super) files: Vec<usize>,
    pub(super) legacy: Vec<usize>,
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
            forgotten: Forgotten::default(),
        }
    }

    /// What was forgotten since this was last asked, to be told to the keeper before anything that is opened.
    pub(super) fn take_forgotten(&mut self) -> Option<Forgotten> {
        let forgotten = std::mem::take(&mut self.forgotten);
        (forgotten != Forgotten::default()).then_some(forgotten)
    }

    fn forget(&mut self, index: usize) {
        if !std::mem::replace(&mut self.used[index], true) {
            self.forgotten.files.push(index);
        }
    }

    fn forget_legacy(&mut self, index: usize) {
        if !std::mem::replace(&mut self.legacy_used[index], true) {
            self.forgotten.legacy.push(index);
        }
    }

    /// Forgets whatever is of none of these files, which are all there are.
    pub(super) fn forget_others<'a>(
        &mut self,
        files: impl Iterator<Item = (&'a str, &'a LogMeta)>,
    ) {
        let (mut keys, mut names) = (HashSet::new(), HashSet::new());
        for (name, meta) in files {
            keys.insert((meta.device, meta.inode));
            names.insert(name);
        }
        for index in 0..self.used.len() {
            let identity = &self.plan.files[index].identity;
            if !keys.contains(&(identity.device, identity.inode)) {
                self.forget(index);
            }
        }
        for index in 0..self.legacy_used.len() {
            if !names.contains(&*self.plan.legacy[index].name) {
                self.forget_legacy(index);
            }
        }
    }

    /// Where the file goes on that has this name, is this, and begins with `prefix`. It is known by what it is, not by its name;
    /// the original's status files know names only. A file with fewer bytes than were read of it is another one.
    pub(super) fn start(&mut self, name: &str, meta: &LogMeta, prefix: &[u8]) -> Start {
        let start = if let Some(index) = self.find(meta, prefix) {
            self.used[index] = true;
            let entry = &self.plan.files[index];
            let runs = entry.settled.as_slice().iter();
            Start {
                cursor: Cursor::at(entry.line, entry.byte),
                settled: runs.map(|run| run.first..run.end()).collect(),
                entry: FileStart::Resumed(index),
            }
        } else if let Some(index) = self.find_legacy(name, meta) {
            self.legacy_used[index] = true;
            // The original tells lines, not bytes: the file is read from its beginning, and these lines are passed over.
            let lines = self.plan.legacy[index].line;
            Start {
                cursor: Cursor::default(),
                settled: (lines > 0).then_some(0..lines).into_iter().collect(),
                entry: FileStart::Legacy(index),
            }
        } else {
            return self.start_anew(name, meta);
        };
        self.forget_legacy_of(name);
        start
    }

    /// A file of which nothing is settled. What is known of its inode, or was by its name, is of a file that it is no more.
    pub(super) fn start_anew(&mut self, name: &str, meta: &LogMeta) -> Start {
        let others: Vec<usize> = self.entries_of(meta).collect();
        others.into_iter().for_each(|index| self.forget(index));
        self.forget_legacy_of(name);
        Start {
            cursor: Cursor::default(),
            settled: SettledRuns::new(),
            entry: FileStart::New,
        }
    }

    /// A status file of the original's is for the first log that is opened under its name, and for no later one.
    fn forget_legacy_of(&mut self, name: &str) {
        for index in 0..self.plan.legacy.len() {
            if *self.plan.legacy[index].name == *name {
                self.forget_legacy(index);
            }
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
