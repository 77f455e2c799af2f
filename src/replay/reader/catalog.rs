//! One backend's log files in their order: which file each is, how far it has been read, and which
//! is next.
//!
//! ```text
//!            begin                 all read, no tail, quiet
//!  waiting ─────────▶ being read ──────────────────────────▶ passed    ┐ unlinked: kept open until
//!     ▲                  │   ▲                                 │       │ it is read, then away or
//!     └── shrank, flush ─┘   └──────── grew ───────────────────┘       ┘ gone
//!
//!  in the folder ──its name is gone──▶ away ──listed again, under any name──▶ in the folder
//!                                        └── for too long, or too many ──▶ forgotten
//! ```
//!
//! **A log is identified by its content, not by its name** (G10). Files in a listing are matched
//! with known files by inode and birth time. A name only shows where a file is and in which order
//! it is read; a device's number is ignored. The first bytes are compared when the file is read
//! (`begin`). Everything known about a log that went away is kept for a while.
//!
//! **The order is strict** (G2): the first file in order that has something to read is read. A file
//! that may still get lines of its minute holds back the newer ones until it has been quiet for a
//! second. If it ends in a line without newline, it holds them back until that line is complete, or
//! until the file is closed (`closed_after`), when the line is taken as it is. So a writer that
//! stalls in the middle of a line delays its backend, but no longer than `closed_after`.
//!
//! An event of one file costs the same for any number of files; only a listing and a flush look at
//! all of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use crate::clock::Now;
use crate::ledger::identity::LogKey;
use crate::limits::{AWAY_LOG_KEPT, AWAY_LOGS_MAX, FILE_QUIET_MS};
use crate::replay::disk::{LogEntry, LogMeta};
use crate::replay::messages::FileId;
use crate::replay::reader::entries::Entries;
use crate::replay::reader::log_file::{Begun, LogFile, Loss, Observed, Order, Stage};

/// What is next in a backend's logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Begin the file at this index.
    Begin(usize),
    /// Continue to read the file at this index.
    Read(usize),
    /// Nothing before this monotonic instant, unless something changes.
    Until(Duration),
    /// Nothing, unless something changes.
    Nothing,
}

/// What a listing showed besides files that are new or have grown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) losses: Vec<Loss>,
    pub(super) moves: Vec<Moved>,
}

/// A known file that was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    /// Its number, if it is begun.
    pub(super) file: Option<FileId>,
    /// Its old name.
    pub(super) from: Arc<str>,
    /// Its new name.
    pub(super) to: Arc<str>,
    /// It had been away.
    pub(super) is_back: bool,
    /// Since when it has been on its way out, Unix seconds, as reported to the checkpointer; 0 if
    /// it is in the folder.
    pub(super) away_unix: u64,
    /// Its metadata.
    pub(super) meta: LogMeta,
}

/// A backend's files.
#[derive(Debug)]
pub(super) struct Catalog<L> {
    /// A file's index is its place here as long as it is known.
    files: Slab<LogFile<L>>,
    /// All that can be read, in order.
    order: BTreeMap<Order, usize>,
    /// Those of them that have not been passed.
    pending: BTreeMap<Order, usize>,
    /// Those that have been passed since the last listing, and are looked at again after the next
    /// one. Some may be gone, or pending again.
    passed: BTreeSet<usize>,
    begun: HashMap<FileId, usize>,
    /// Those whose name is gone and that can be read through their descriptor.
    unlinked: BTreeSet<usize>,
    /// Those that are open, in no order.
    open: Vec<usize>,
    /// Those that are away, by when they went (Unix seconds).
    away: BTreeSet<(u64, usize)>,
    unread_bytes: u64,
    numbers: u64,
    /// When this process first looked at the logs (nanoseconds since 1970). An older file existed
    /// then, somewhere.
    started_nanos: u64,
    /// When a file that may have been sent was last forgotten (nanoseconds since 1970). An older,
    /// unknown file may be that one.
    forgot_nanos: u64,
}

impl<L> Default for Catalog<L> {
    fn default() -> Self {
        Self {
            files: Slab::new(),
            order: BTreeMap::new(),
            pending: BTreeMap::new(),
            passed: BTreeSet::new(),
            begun: HashMap::new(),
            unlinked: BTreeSet::new(),
            open: Vec::new(),
            away: BTreeSet::new(),
            unread_bytes: 0,
            numbers: 0,
            started_nanos: 0,
            forgot_nanos: 0,
        }
    }
}

impl<L> Catalog<L> {
    /// How many files can be read.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Indices of all files that can be read, in order.
    pub(super) fn indices(&self) -> impl Iterator<Item = usize> {
        self.order.values().copied()
    }

    /// The files that have not been passed, in order.
    pub(super) fn unpassed(&self) -> impl Iterator<Item = &LogFile<L>> {
        self.pending.values().map(|index| self.file(*index))
    }

    /// The file at `index`, which must be known.
    pub(super) fn file(&self, index: usize) -> &LogFile<L> {
        &self.files[index]
    }

    /// The file at `index`, if there is one.
    pub(super) fn find(&self, index: usize) -> Option<&LogFile<L>> {
        self.files.get(index)
    }

    /// The file at `index`, to be changed. If it has been passed, it is looked at again.
    pub(super) fn file_mut(&mut self, index: usize) -> &mut LogFile<L> {
        let file = &mut self.files[index];
        if file.away_unix == 0 && !self.pending.contains_key(&file.order) {
            self.pending.insert(file.order.clone(), index);
        }
        file
    }

    /// What is next.
    pub(super) fn poll_next(&mut self, now: Now, closed_after: Duration) -> Next {
        while let Some(first) = self.pending.first_entry() {
            let index = *first.get();
            let file = &self.files[index];
            match file.stage(now, closed_after) {
                Stage::ToBegin => return Next::Begin(index),
                Stage::ToRead => return Next::Read(index),
                Stage::Until(at) => return Next::Until(at),
                Stage::Passed => {
                    first.remove();
                    self.passed.insert(index);
                }
            }
        }
        Next::Nothing
    }

    /// Takes over a listing of the folder. `starting`: what is there may have been sent by an
    /// earlier process. `resume_byte`: where a file that is not begun would be. `counted_from`: the
    /// same, but without a plan, where its unread bytes began before. `known_name`: the log that a
    /// hidden file is, by its inode and birth time.
    pub(super) fn handle_listing(
        &mut self,
        entries: &Entries,
        now: Now,
        starting: bool,
        resume_byte: impl Fn(&LogMeta) -> u64,
        counted_from: impl Fn(&LogFile<L>) -> u64,
        known_name: impl Fn(LogKey) -> Option<Arc<str>>,
    ) -> Listed {
        let all = entries.in_order();
        let mut taken = vec![false; all.len()];
        let mut listed = Listed::default();
        let mut displaced: HashSet<Arc<str>> = HashSet::new();
        for index in self.known() {
            let file = &self.files[index];
            if file.deleted {
                continue;
            }
            let same = entries.of_key(file.meta.key());
            match entries.pick(file, &taken) {
                Some(at) => {
                    // Another entry with the same key is another name of the same log.
                    let device = all[at].meta.device;
                    for (_, other) in same {
                        taken[*other] |= all[*other].meta.device == device;
                    }
                    self.handle_found(index, &all[at], now, &resume_byte, &mut listed);
                }
                None if file.away_unix > 0 || file.unlinked => {}
                None => {
                    let is_replaced = entries.find(&file.place).is_some();
                    if is_replaced && file.may_have_been_sent() {
                        displaced.insert(Arc::clone(&file.place));
                    }
                    // It may be finished and deleted before the plan, which would show that.
                    let unread = file.unread_bytes(|_| counted_from(file));
                    self.handle_missing(index, is_replaced, unread, now, &mut listed);
                }
            }
        }
        if starting {
            // A file that was away then, and comes back unknown, may have been sent by an earlier
            // process too.
            self.started_nanos = now.unix.saturating_mul(1_000_000_000);
        }
        let mut new: HashSet<(u64, u64, u64)> = HashSet::new();
        for (entry, _) in all.iter().zip(&taken).filter(|(_, taken)| !**taken) {
            let name = match entry.is_hidden() {
                true => known_name(entry.meta.key()),
                false => Some(Arc::from(&*entry.name)),
            };
            let Some(name) = name else {
                // Nothing tells which log it was: it may be one that was finished and deleted.
                continue;
            };
            let (inode, born_nanos) = entry.meta.key();
            if !new.insert((entry.meta.device, inode, born_nanos)) {
                continue;
            }
            let number = self.next_number();
            let mut file = LogFile::new(entry.clone(), number, now);
            file.name = name;
            if starting {
                file.old_below = file.meta.bytes;
            } else if file.is_older_than(self.started_nanos) {
                file.old_below = u64::MAX;
            }
            if file.is_older_than(self.forgot_nanos) {
                file.sent_below = u64::MAX;
            }
            if displaced.contains(&file.name) && !failpoint!(TrustReplacement) {
                file.sent_below = u64::MAX;
            }
            self.insert(file);
        }
        // What has been passed can be due by now.
        for index in std::mem::take(&mut self.passed) {
            if let Some(file) = self.find(index).filter(|file| file.away_unix == 0) {
                self.pending.insert(file.order.clone(), index);
            }
        }
        listed
    }

    /// Files that are not begun and have shrunk, or of which `has_more` was read than they have.
    /// Once they have grown again nothing shows it.
    pub(super) fn note_shrunk(
        &mut self,
        has_more: impl Fn(&LogMeta) -> bool,
    ) -> impl Iterator<Item = &LogFile<L>> {
        self.files.iter_mut().filter_map(move |(_, file)| {
            file.shrank |= file.begun.is_none() && has_more(&file.meta);
            file.shrank.then_some(&*file)
        })
    }

    /// A known file is in the listing.
    fn handle_found(
        &mut self,
        index: usize,
        entry: &LogEntry,
        now: Now,
        resume_byte: impl Fn(&LogMeta) -> u64,
        listed: &mut Listed,
    ) {
        let file = &self.files[index];
        let is_hidden = entry.is_hidden();
        let name = if is_hidden || *file.name == *entry.name {
            Arc::clone(&file.name)
        } else {
            Arc::from(&*entry.name)
        };
        let is_moved = *file.place != *entry.name || file.unlinked || file.away_unix > 0;
        if is_moved {
            let (from, is_back) = (Arc::clone(&file.name), file.away_unix > 0 || file.unlinked);
            self.unlist(index);
            let file = &mut self.files[index];
            (file.name, file.place) = (name, Arc::from(&*entry.name));
            (file.unlinked, file.away_unix) = (false, 0);
            let moved = Moved {
                file: file.begun.as_ref().map(|begun| begun.file),
                from,
                to: Arc::clone(&file.name),
                is_back,
                away_unix: if is_hidden { now.unix.max(1) } else { 0 },
                meta: entry.meta,
            };
            self.list(index);
            listed.moves.push(moved);
        }
        let file = &mut self.files[index];
        if file.meta.device != entry.meta.device {
            // Its descriptor may belong to a mount that is gone.
            self.close(index);
        }
        let file = &mut self.files[index];
        let observed = file.observe(entry.meta, now);
        listed
            .losses
            .extend(self.loss_of(index, observed, resume_byte));
    }

    /// What a look at a file has shown to be lost. One that shrank is a new file from now on.
    /// `resume_byte`: where a file that is not begun would be.
    pub(super) fn loss_of(
        &mut self,
        index: usize,
        observed: Observed,
        resume_byte: impl Fn(&LogMeta) -> u64,
    ) -> Option<Loss> {
        match observed {
            Observed::Same | Observed::Changed => None,
            Observed::Cut(bytes) => self.file(index).handle_cut(bytes, resume_byte),
            Observed::Shrunk(bytes) => {
                Some(self.begin_anew(index, |file| file.handle_shrunk(bytes)))
            }
        }
    }

    /// A known file is not in the listing.
    fn handle_missing(
        &mut self,
        index: usize,
        is_replaced: bool,
        unread: u64,
        now: Now,
        listed: &mut Listed,
    ) {
        let file = &mut self.files[index];
        listed
            .losses
            .push(file.handle_unlinked(is_replaced, unread));
        if file.log.is_some() {
            self.unlist(index);
            let file = &mut self.files[index];
            file.unlinked = true;
            self.list(index);
        } else if file.may_have_been_sent() && !failpoint!(ForgetAway) {
            let moved = self.send_away(index, now);
            listed.moves.extend(moved);
        } else {
            self.remove(index);
        }
    }

    /// A file has left the folder and is not open: what is known about it is kept. Returns what to
    /// report to the checkpointer.
    pub(super) fn send_away(&mut self, index: usize, now: Now) -> Option<Moved> {
        self.unlist(index);
        self.close(index);
        let away_unix = now.unix.max(1);
        let file = &mut self.files[index];
        (file.unlinked, file.away_unix) = (false, away_unix);
        self.unread_bytes -= std::mem::take(&mut file.counted_bytes);
        self.away.insert((away_unix, index));
        file.begun.as_ref().map(|begun| Moved {
            file: Some(begun.file),
            from: Arc::clone(&file.name),
            to: Arc::clone(&file.name),
            is_back: false,
            away_unix,
            meta: file.meta,
        })
    }

    /// Forgets a file that has been away for too long, or that is one too many. If a file that was
    /// forgotten early comes back, its lines may have been sent.
    pub(super) fn forget_one_away(&mut self, now: Now) -> Option<LogFile<L>> {
        let &(since, index) = self.away.first()?;
        let is_over = since.saturating_add(AWAY_LOG_KEPT.as_secs()) <= now.unix;
        let is_too_many = self.away.len() > AWAY_LOGS_MAX;
        if !is_over && !is_too_many {
            return None;
        }
        self.forgot_nanos = now.unix.saturating_mul(1_000_000_000);
        Some(self.remove(index))
    }

    /// The file at `index` has been deleted by the checkpointer.
    pub(super) fn mark_deleted(&mut self, index: usize) {
        self.unlist(index);
        let file = &mut self.files[index];
        (file.unlinked, file.deleted, file.away_unix) = (true, true, 0);
        self.list(index);
    }

    /// Removes the file that has this inode and birth time and is not begun: the checkpointer has
    /// deleted it. It was kept over a flush to be read again, and all of it turned out to be
    /// settled. Returns its place.
    pub(super) fn remove_not_begun(&mut self, key: LogKey) -> Option<usize> {
        let is_it = |index: &usize| {
            let file = self.file(*index);
            file.begun.is_none() && file.meta.key() == key
        };
        // Few are away, and of the others the oldest are deleted first.
        let away = self.away.iter().map(|(_, index)| *index);
        let index = away.chain(self.indices()).find(is_it)?;
        self.remove(index);
        Some(index)
    }

    /// Removes a file.
    pub(super) fn remove(&mut self, index: usize) -> LogFile<L> {
        self.unlist(index);
        let file = self.files.remove(index);
        self.open.retain(|open| *open != index);
        if let Some(begun) = &file.begun {
            self.begun.remove(&begun.file);
        }
        self.unread_bytes -= file.counted_bytes;
        file
    }

    /// The index of the file with this number.
    #[must_use]
    pub(super) fn index_of(&self, file: FileId) -> Option<usize> {
        self.begun.get(&file).copied()
    }

    /// The file at `index` is begun.
    pub(super) fn handle_begun(&mut self, index: usize, begun: Begun) {
        self.begun.insert(begun.file, index);
        self.file_mut(index).begun = Some(Box::new(begun));
    }

    /// The file at `index` has other content than what was read of it.
    pub(super) fn handle_rewritten(&mut self, index: usize) -> Loss {
        self.begin_anew(index, LogFile::handle_rewritten)
    }

    /// The file at `index` becomes a new one.
    fn begin_anew(
        &mut self,
        index: usize,
        become_new: impl FnOnce(&mut LogFile<L>) -> Loss,
    ) -> Loss {
        self.open.retain(|open| *open != index);
        let file = self.file_mut(index);
        let begun = file.begun.as_ref().map(|begun| begun.file);
        let loss = become_new(file);
        if file.log.is_some() {
            self.open.push(index);
        }
        if let Some(begun) = begun {
            self.begun.remove(&begun);
        }
        loss
    }

    /// Unlinked files of which everything has been read, and that have been quiet.
    pub(super) fn read_to_the_end(&self, now: Now) -> impl Iterator<Item = usize> {
        let quiet = Duration::from_millis(FILE_QUIET_MS);
        let unlinked = self.unlinked.iter().copied();
        unlinked.filter(move |index| {
            let file = self.file(*index);
            let read = |begun: &Begun| !begun.cursor.has_tail(file.meta.bytes);
            file.begun.as_deref().is_some_and(read) && file.quiet_for(now) >= quiet
        })
    }

    /// Whether some file has lost its name.
    #[must_use]
    pub(super) fn has_unlinked(&self) -> bool {
        !self.unlinked.is_empty()
    }

    /// Forgets how far each file was read, and closes all but the unlinked ones. From now on only
    /// the checkpointer looks at files that it has deleted.
    pub(super) fn forget_positions(&mut self, counted_from: impl Fn(&LogFile<L>) -> u64) {
        for index in self.known() {
            let file = &mut self.files[index];
            if file.deleted {
                self.remove(index);
            } else {
                let unread_bytes = file.unread_bytes(|_| counted_from(file));
                file.counted_from = file.meta.bytes.saturating_sub(unread_bytes);
                file.forget_position();
            }
        }
        let files = &self.files;
        self.open.retain(|index| {
            let file = files.get(*index);
            file.is_some_and(|file| file.log.is_some())
        });
        self.begun.clear();
        self.passed.clear();
        self.pending = self.order.clone();
    }

    /// Whether there are files that are not open.
    #[must_use]
    pub(super) fn has_closed(&self) -> bool {
        self.order.len() > self.open.len()
    }

    /// Which files are open, in no order.
    #[must_use]
    pub(super) fn open(&self) -> &[usize] {
        &self.open
    }

    /// The same, in the log's order from its end.
    pub(super) fn open_newest_first(&self) -> Vec<usize> {
        let mut open = self.open.clone();
        open.sort_unstable_by(|one, other| self.file(*other).order.cmp(&self.file(*one).order));
        open
    }

    /// Closes a file.
    pub(super) fn close(&mut self, index: usize) {
        self.files[index].log = None;
        self.open.retain(|open| *open != index);
    }

    /// The file at `index` has been opened.
    pub(super) fn handle_opened(&mut self, index: usize, log: L) {
        self.file_mut(index).log = Some(Arc::new(log));
        if !self.open.contains(&index) {
            self.open.push(index);
        }
    }

    /// The files before `index` that may have got a line and are not open: back to the last one
    /// that was begun.
    pub(super) fn closed_before(&self, index: usize) -> Vec<usize> {
        let older = self.order.range(..&self.file(index).order).rev();
        let mut closed = Vec::new();
        for (_, &before) in older {
            let file = self.file(before);
            if file.log.is_none() && !file.deleted {
                closed.push(before);
            }
            if file.begun.is_some() {
                break;
            }
        }
        closed
    }

    /// Closes all files but `index`, the last one before it that was begun, and the unlinked ones.
    pub(super) fn close_others(&mut self, index: usize) {
        let order = &self.file(index).order;
        let before = self.open.iter().copied().filter(|open| {
            let file = self.file(*open);
            file.begun.is_some() && file.order < *order
        });
        let before = before.max_by_key(|open| &self.file(*open).order);
        let files = &mut self.files;
        self.open.retain(|open| {
            let file = &mut files[*open];
            let stays = *open == index || Some(*open) == before || file.unlinked;
            if !stays {
                file.log = None;
            }
            stays
        });
    }

    /// Unread bytes, as last counted by [`Catalog::recount`].
    #[must_use]
    pub(super) fn unread_bytes(&self) -> u64 {
        self.unread_bytes
    }

    /// Counts a file's unread bytes anew.
    pub(super) fn recount(&mut self, index: usize, counted_from: impl Fn(&LogFile<L>) -> u64) {
        let Some(file) = self.files.get_mut(index) else {
            return;
        };
        if file.away_unix > 0 {
            return;
        }
        let bytes = file.unread_bytes(|_| counted_from(file));
        let before = std::mem::replace(&mut file.counted_bytes, bytes);
        self.unread_bytes = self.unread_bytes - before + bytes;
    }

    /// Whether the file with this inode and birth time is known.
    pub(super) fn has(&self, key: LogKey) -> bool {
        let mut known = self.files.iter();
        known.any(|(_, file)| file.meta.key() == key)
    }

    /// Files that are not begun and whose first lines are not known: at most so many, those that
    /// were seen last.
    pub(super) fn without_first_line(&self, files_max: usize) -> Vec<usize> {
        let is_unknown = |file: &LogFile<L>| {
            file.lead_hash == 0 && file.meta.bytes > 0 && file.begun.is_none() && !file.deleted
        };
        let unknown = self.order.values().copied();
        let mut unknown: Vec<usize> = unknown.filter(|at| is_unknown(self.file(*at))).collect();
        if unknown.len() > files_max {
            unknown.select_nth_unstable_by_key(files_max, |at| Reverse(self.file(*at).number));
            unknown.truncate(files_max);
        }
        unknown
    }

    /// Files that have all of logs that are lost, as far as first lines and lengths show: the keys
    /// of each lost log and of its copy.
    pub(super) fn copies_of(&self, losses: &[Loss]) -> Vec<(LogKey, LogKey)> {
        let lost = losses.iter().filter(|loss| loss.lead_hash != 0);
        let mut lost: HashMap<u64, Vec<&Loss>> = lost.fold(HashMap::new(), |mut all, loss| {
            all.entry(loss.lead_hash).or_default().push(loss);
            all
        });
        let mut copies = Vec::new();
        if lost.is_empty() {
            return copies;
        }
        let there = self.order.values().map(|index| self.file(*index));
        for file in there.filter(|file| !file.unlinked) {
            let Some(same) = lost.get_mut(&file.lead_hash) else {
                continue;
            };
            let (key, bytes) = (file.meta.key(), file.meta.bytes);
            same.retain(|loss| {
                let is_copied = loss.meta.key() != key && loss.meta.bytes <= bytes;
                copies.extend(is_copied.then(|| (loss.meta.key(), key)));
                !is_copied
            });
        }
        copies
    }

    /// There is a copy of the file with this inode and birth time, of `bytes` bytes. What is in
    /// both files may be sent as the copy's.
    pub(super) fn handle_copied(&mut self, key: LogKey, bytes: u64) {
        let all = self.files.iter_mut().map(|(_, file)| file);
        for file in all.filter(|file| file.meta.key() == key) {
            file.handle_copied(bytes);
        }
    }

    /// The indices of all files, while those change.
    fn known(&self) -> Vec<usize> {
        self.files.iter().map(|(index, _)| index).collect()
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn insert(&mut self, file: LogFile<L>) {
        let index = self.files.insert(file);
        self.list(index);
    }

    /// Adds a file to the lists that its present state belongs to.
    fn list(&mut self, index: usize) {
        let file = &mut self.files[index];
        file.order = Order {
            name: Arc::clone(&file.name),
            is_named: !file.unlinked && file.place == file.name,
            number: file.number,
        };
        self.order.insert(file.order.clone(), index);
        self.pending.insert(file.order.clone(), index);
        if file.unlinked {
            self.unlinked.insert(index);
        }
    }

    /// Removes a file from the lists that it is in.
    fn unlist(&mut self, index: usize) {
        let file = &self.files[index];
        self.order.remove(&file.order);
        self.pending.remove(&file.order);
        self.unlinked.remove(&index);
        self.away.remove(&(file.away_unix, index));
    }
}
