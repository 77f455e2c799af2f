//! Where to continue in each file: the checkpointer's plan, one entry for each file.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use crate::ledger::identity::{Identity, LastRead, LogKey};
use crate::limits::{AWAY_LOG_KEPT, AWAY_LOGS_MAX};
use crate::replay::disk::LogMeta;
use crate::replay::messages::{EntriesForgotten, EntriesMoved, FileStart, ResumePlan};
use crate::replay::reader::cursor::Cursor;
use crate::replay::reader::entries::Entries;
use crate::replay::reader::log_file::LogFile;
use crate::replay::reader::split::SettledRuns;

/// A plan of which each entry is used once.
#[derive(Debug)]
pub(super) struct Resume {
    plan: ResumePlan,
    /// Key and index of each file's entry, ascending: a plan can have thousands.
    by_key: Vec<(LogKey, usize)>,
    /// Hash of the first line and index of each file's entry of which the last bytes are known,
    /// ascending.
    by_lead: Vec<(u64, usize)>,
    /// Whether each entry is used or forgotten.
    used: Vec<bool>,
    legacy_used: Vec<bool>,
    /// The index of the original's entry for a name.
    legacy_by_name: HashMap<Arc<str>, usize>,
    /// What is forgotten and not reported yet.
    forgotten: EntriesForgotten,
}

/// Where a file begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Its first line that is read.
    pub(super) cursor: Cursor,
    /// Lines from there on that are settled already.
    pub(super) settled: SettledRuns,
    /// Lines from there on that were sent and not answered.
    pub(super) sent: Vec<Range<u64>>,
    /// The last bytes of all that was read of it before.
    pub(super) last_read: LastRead,
    /// Which entry of the plan this is.
    pub(super) entry: FileStart,
    /// There was an entry for this inode, and it no longer fits: the file shrank, or was rewritten.
    pub(super) is_rewritten: bool,
}

/// Since when something has been away, or 0 if it is there; `None` if that is known already.
fn away_since(is_there: bool, known_unix: u64, now_unix: u64) -> Option<u64> {
    match (is_there, known_unix) {
        (true, 0) => None,
        (true, _) => Some(0),
        (false, 0) => Some(now_unix.max(1)),
        (false, _) => None,
    }
}

fn is_over(since_unix: u64, now_unix: u64) -> bool {
    since_unix.saturating_add(AWAY_LOG_KEPT.as_secs()) <= now_unix
}

/// Where a file that is not begun would probably begin, by what is known: at its beginning without
/// a plan.
pub(super) fn byte_of(resume: Option<&Resume>) -> impl Fn(&LogMeta) -> u64 {
    move |meta| resume.map_or(0, |resume| resume.byte_of(meta))
}

/// The same for counting: without a plan, where its unread bytes began in the epoch before.
pub(super) fn byte_counted_from<L>(resume: Option<&Resume>) -> impl Fn(&LogFile<L>) -> u64 {
    move |file| resume.map_or(file.counted_from, |resume| resume.byte_of(&file.meta))
}

impl Resume {
    /// No entry is used yet.
    #[must_use]
    pub(super) fn new(plan: ResumePlan) -> Self {
        let used = vec![false; plan.files.len()];
        let legacy_used = vec![false; plan.legacy.len()];
        let entries = plan.files.iter().enumerate();
        let mut by_key: Vec<_> = entries
            .map(|(index, entry)| (entry.identity.key(), index))
            .collect();
        by_key.sort_unstable();
        let entries = plan.files.iter().enumerate();
        let mut by_lead: Vec<_> = entries
            .filter(|(_, entry)| entry.identity.lead_hash != 0 && entry.last_read.bytes > 0)
            .map(|(index, entry)| (entry.identity.lead_hash, index))
            .collect();
        by_lead.sort_unstable();
        let legacy = plan.legacy.iter().enumerate();
        let legacy_by_name = legacy
            .map(|(index, entry)| (Arc::clone(&entry.name), index))
            .collect();
        Self {
            plan,
            by_key,
            by_lead,
            used,
            legacy_used,
            legacy_by_name,
            forgotten: EntriesForgotten::default(),
        }
    }

    /// What was forgotten since the last call. It is to be reported to the checkpointer before any
    /// file is opened.
    pub(super) fn take_forgotten(&mut self) -> Option<EntriesForgotten> {
        let forgotten = std::mem::take(&mut self.forgotten);
        (forgotten != EntriesForgotten::default()).then_some(forgotten)
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

    /// The identities of the plan's files, used or not.
    pub(super) fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.plan.files.iter().map(|entry| &entry.identity)
    }

    /// Compares the plan with all files that exist. Entries without a file are kept for a while,
    /// since their files may come back. Returns what has changed, for the checkpointer.
    pub(super) fn handle_listing(&mut self, entries: &Entries, now_unix: u64) -> EntriesMoved {
        let mut moved = EntriesMoved::default();
        let mut away = BTreeSet::new();
        for index in 0..self.used.len() {
            let entry = &mut self.plan.files[index];
            if self.used[index] {
                continue;
            }
            let key = entry.identity.key();
            let is_there = !entries.of_key(key).is_empty();
            if let Some(since) = away_since(is_there, entry.away_unix, now_unix) {
                entry.away_unix = since;
                moved.files.push((index, since));
            }
            if entry.away_unix > 0 {
                away.insert((entry.away_unix, index));
            }
        }
        while let Some(&(since, index)) = away.first()
            && (away.len() > AWAY_LOGS_MAX || is_over(since, now_unix) || failpoint!(ForgetAway))
        {
            away.pop_first();
            self.forget(index);
        }
        for index in 0..self.legacy_used.len() {
            let entry = &mut self.plan.legacy[index];
            if self.legacy_used[index] {
                continue;
            }
            let is_there = entries.find(&entry.name).is_some();
            if let Some(since) = away_since(is_there, entry.away_unix, now_unix) {
                entry.away_unix = since;
                moved.legacy.push((index, since));
            }
            if entry.away_unix > 0 && is_over(entry.away_unix, now_unix) {
                self.forget_legacy(index);
            }
        }
        moved
    }

    /// Where to continue in the file that has this name and metadata, and begins with `prefix`. It
    /// is identified by its content, not by its name; only the original's status files have nothing
    /// but names. A file with fewer bytes than were read of it is another file.
    pub(super) fn start(&mut self, name: &str, meta: &LogMeta, prefix: &[u8]) -> Start {
        let start = if let Some(index) = self.find(meta, prefix) {
            self.used[index] = true;
            let entry = &self.plan.files[index];
            let runs = entry.settled.as_slice().iter();
            let sent = entry.sent.as_slice().iter();
            Start {
                cursor: Cursor::at(entry.line, entry.byte),
                settled: runs.map(|run| run.first..run.end()).collect(),
                sent: sent.map(|run| run.first..run.end()).collect(),
                last_read: entry.last_read,
                entry: FileStart::Resumed(index),
                is_rewritten: false,
            }
        } else if let Some(index) = self.find_legacy(name, meta) {
            self.legacy_used[index] = true;
            // The original records lines, not bytes: the file is read from its beginning, and these
            // lines are skipped.
            let lines = self.plan.legacy[index].line;
            Start {
                cursor: Cursor::default(),
                settled: (lines > 0).then_some(0..lines).into_iter().collect(),
                sent: Vec::new(),
                last_read: LastRead::default(),
                entry: FileStart::Legacy(index),
                is_rewritten: false,
            }
        } else {
            return self.start_anew(name, meta);
        };
        self.forget_legacy_of(name);
        start
    }

    /// What was last read of the file that has this metadata and begins with `prefix`, and by what
    /// it is known; `None` if nothing is known of it.
    pub(super) fn last_read(&self, meta: &LogMeta, prefix: &[u8]) -> Option<(Identity, LastRead)> {
        let entry = &self.plan.files[self.find(meta, prefix)?];
        Some((entry.identity, entry.last_read))
    }

    /// Logs that are away and begin with the line of this hash: the identity of each, and what was
    /// last read of it.
    pub(super) fn away_with(&self, lead_hash: u64) -> Vec<(Identity, LastRead)> {
        let first = self.by_lead.partition_point(|(lead, _)| *lead < lead_hash);
        let same = self.by_lead[first..].iter();
        let same = same.take_while(|(lead, _)| *lead == lead_hash);
        let open = same.filter(|(_, index)| !self.used[*index]);
        let away = open.map(|(_, index)| &self.plan.files[*index]);
        away.filter(|entry| entry.away_unix > 0)
            .map(|entry| (entry.identity, entry.last_read))
            .collect()
    }

    /// A file of which nothing is settled. Entries for its inode or its name are of an earlier
    /// file.
    pub(super) fn start_anew(&mut self, name: &str, meta: &LogMeta) -> Start {
        let is_rewritten = self.forget_log(name, meta);
        Start {
            cursor: Cursor::default(),
            settled: SettledRuns::new(),
            sent: Vec::new(),
            last_read: LastRead::default(),
            entry: FileStart::New,
            is_rewritten,
        }
    }

    /// What was read of this file is not in it any more. Says whether anything was known.
    pub(super) fn forget_log(&mut self, name: &str, meta: &LogMeta) -> bool {
        let known: Vec<usize> = self.entries_of(meta).collect();
        let is_known = !known.is_empty();
        known.into_iter().for_each(|index| self.forget(index));
        self.forget_legacy_of(name);
        is_known
    }

    /// Whether more was read of this file than it has now.
    #[must_use]
    pub(super) fn has_more_of(&self, meta: &LogMeta) -> bool {
        self.entries_of(meta).next().is_some() && self.entries_within(meta).next().is_none()
    }

    /// A status file of the original applies to the first log that is opened under its name, and to
    /// no later one.
    fn forget_legacy_of(&mut self, name: &str) {
        if let Some(&index) = self.legacy_by_name.get(name) {
            self.forget_legacy(index);
        }
    }

    /// Whether a file may be a log that goes on, determined without opening it.
    #[must_use]
    pub(super) fn may_continue(&self, meta: &LogMeta) -> bool {
        self.entries_within(meta).any(|index| !self.used[index])
    }

    /// The name of the log that goes on in the file which begins with `prefix`.
    #[must_use]
    pub(super) fn name_of(&self, meta: &LogMeta, prefix: &[u8]) -> Option<Arc<str>> {
        let entry = self.find(meta, prefix)?;
        Some(Arc::clone(&self.plan.files[entry].name))
    }

    /// Where reading would probably continue, determined without opening the file, for the
    /// counters.
    #[must_use]
    pub(super) fn byte_of(&self, meta: &LogMeta) -> u64 {
        let entry = self.entries_within(meta).find(|index| !self.used[*index]);
        entry.map_or(0, |index| self.plan.files[index].byte)
    }

    fn find(&self, meta: &LogMeta, prefix: &[u8]) -> Option<usize> {
        self.entries_within(meta).find(|&index| {
            let identity = &self.plan.files[index].identity;
            let is_open = !self.used[index] || failpoint!(UseForgotten);
            is_open && identity.is_of(meta.key(), prefix)
        })
    }

    /// Entries of files with this inode and birth time, of which no more was read than there is.
    fn entries_within(&self, meta: &LogMeta) -> impl Iterator<Item = usize> {
        let bytes = meta.bytes;
        self.entries_of(meta).filter(move |index| {
            let entry = &self.plan.files[*index];
            let read = match failpoint!(TrustLastRead) {
                true => entry.byte,
                false => entry.byte.max(entry.last_read.end()),
            };
            read <= bytes
        })
    }

    /// Entries of files with this inode and birth time.
    fn entries_of(&self, meta: &LogMeta) -> impl Iterator<Item = usize> {
        let key = meta.key();
        let first = self.by_key.partition_point(|(known, _)| *known < key);
        let same = self.by_key[first..].iter();
        let same = same.take_while(move |(known, _)| *known == key);
        same.map(|(_, index)| *index)
    }

    fn find_legacy(&self, name: &str, meta: &LogMeta) -> Option<usize> {
        let index = *self.legacy_by_name.get(name)?;
        let entry = &self.plan.legacy[index];
        (!self.legacy_used[index] && entry.bytes_read <= meta.bytes).then_some(index)
    }
}
