//! All books of one backend.
//!
//! ```text
//!                    open_file                 register, settle … settle
//!  entry of the plan ─────────▶ FileLedger (leased) ──────────────────▶ settled ──▶ deleted
//!         ▲                         │
//!         └──────── collapse ───────┘
//! ```
//!
//! A file's books begin as an entry of the plan, are leased when the reader opens the file, and
//! become an entry again when the pipeline is flushed ([`BackendLedger::collapse`]). A checkpoint
//! is the same thing without letting go: the entries as they would be, and the totals, at one
//! instant.

mod durable;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use self::durable::FinishedFile;
use self::durable::UnderWay;
use crate::ledger::acks::{OpenSegment, OpenSegments};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::file::{FileLedger, Place};
use crate::ledger::identity::{Identity, LogKey};
use crate::ledger::ids::{FileId, SegmentId};
use crate::ledger::plan::{
    EntriesForgotten, EntriesMoved, FileResume, FileStart, LegacyResume, ResumePlan,
};
use crate::ledger::rejected;
use crate::ledger::segment::{LinePlace, NewSegment, Registered, SegmentDone};
use crate::ledger::totals::{Tally, Totals};

/// A file whose books were closed, since there is no name any more by which it could be opened
/// again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedFile {
    /// Its number.
    pub id: FileId,
    /// How far its lines were settled.
    pub resume: FileResume,
    /// Lines that had been read and were not settled.
    pub unsettled: u64,
    /// Whether we deleted it ourselves. Then whatever is not settled in it was written after that,
    /// and the checkpointer still has it open.
    pub deleted: bool,
}

/// The books of one backend.
#[derive(Debug, Default)]
pub struct BackendLedger {
    /// Boxed: files come in the order of their numbers, which leaves a tree's nodes half empty.
    files: BTreeMap<FileId, Box<Books>>,
    /// All of `files` in the order of the log.
    by_name: BTreeSet<(Arc<str>, FileId)>,
    open: OpenSegments,
    /// Entries of the last plan, at their places in it; none where the reader has leased it.
    unleased: Vec<Option<FileResume>>,
    /// The same for files that the original began.
    legacy: Vec<Option<LegacyResume>>,
    totals: Totals,
    /// `totals` as the last durable checkpoint has them: a kill makes no number less than these.
    durable_totals: Totals,
    /// Counts every change of what a checkpoint holds.
    changes: u64,
    /// `changes` as the last durable checkpoint has it; none before there is one.
    durable_changes: Option<u64>,
    /// Files whose books were closed and that nobody has taken note of.
    closed: Vec<ClosedFile>,
    /// Entries dropped since the last durable checkpoint, which still has them.
    forgotten: u64,
    /// The checkpoint that is being written; none where none is.
    under_way: Option<UnderWay>,
    /// Files of lines that were rejected and taken back, while their books are open.
    returned: BTreeSet<FileId>,
}

#[derive(Debug)]
struct Books {
    file: FileLedger,
    /// The settled end that the last durable checkpoint has for it.
    durable_end: Option<Place>,
    /// The one that the checkpoint under way has for it; none where it was opened later.
    begun_end: Option<Place>,
    /// We have deleted it; the reader may not know yet.
    deleted: bool,
}

impl BackendLedger {
    /// The books that `checkpoint` holds, nothing leased. They need no new checkpoint.
    #[must_use]
    pub fn from_checkpoint(checkpoint: Checkpoint) -> Self {
        let mut ledger = Self {
            totals: checkpoint.totals,
            durable_totals: checkpoint.totals,
            durable_changes: Some(0),
            ..Self::default()
        };
        ledger.unleased = checkpoint.resume.files.into_iter().map(Some).collect();
        ledger.legacy = checkpoint.resume.legacy.into_iter().map(Some).collect();
        ledger
    }

    /// New books that take over what the original left. They need a checkpoint.
    #[must_use]
    pub fn from_legacy(totals: Totals, legacy: Vec<LegacyResume>) -> Self {
        Self {
            totals,
            // The original's files stay until our checkpoint replaces them.
            durable_totals: totals,
            legacy: legacy.into_iter().map(Some).collect(),
            ..Self::default()
        }
    }

    /// Cumulative numbers.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Those that no kill makes less: what a durable checkpoint has.
    #[must_use]
    pub fn durable_totals(&self) -> Totals {
        self.durable_totals
    }

    /// Lines in flight.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.open.unsettled()
    }

    /// Bytes of log in the segments that are in flight.
    #[must_use]
    pub fn in_flight_bytes(&self) -> u64 {
        self.open.bytes()
    }

    /// When the oldest line in flight was written, Unix seconds.
    #[must_use]
    pub fn oldest_written_unix(&self) -> Option<u64> {
        self.open.oldest_written_unix()
    }

    /// Logs that something is known of.
    #[must_use]
    pub fn known_logs(&self) -> usize {
        let unleased = self.unleased.iter().flatten().count();
        self.files.len() + unleased + self.legacy.iter().flatten().count()
    }

    /// Opens a file's books under the number `id`.
    ///
    /// # Panics
    /// When `start` names an entry that is not there (any more), or the number is taken: whoever
    /// says so would go on at a wrong place.
    pub fn open_file(&mut self, id: FileId, name: &Arc<str>, identity: Identity, start: FileStart) {
        let file = match start {
            FileStart::New => FileLedger::new(Arc::clone(name), identity),
            FileStart::Resumed(index) => {
                let entry = self.unleased.get_mut(index).and_then(Option::take);
                let entry = entry.unwrap_or_else(|| {
                    panic!("{name} resumes an entry of the plan, and each is resumed once")
                });
                let mut file = FileLedger::resume(entry);
                file.handle_moved(Arc::clone(name), 0);
                file.identify(identity);
                file
            }
            FileStart::Legacy(index) => {
                let entry = self.legacy.get_mut(index).and_then(Option::take);
                let entry = entry.unwrap_or_else(|| {
                    panic!("{name} resumes a status file of the plan, and each is resumed once")
                });
                FileLedger::resume(entry.into_resume(identity))
            }
        };
        if rejected::is_returned(name) {
            self.returned.insert(id);
        }
        let taken = self.files.insert(
            id,
            Box::new(Books {
                file,
                durable_end: None,
                begun_end: None,
                deleted: false,
            }),
        );
        assert!(taken.is_none(), "{id:?} is given once");
        self.by_name.insert((Arc::clone(name), id));
        self.changed();
        self.check_structure();
    }

    /// Books a segment.
    ///
    /// # Panics
    /// When its file is not open, or it does not follow the one before.
    pub fn register(&mut self, segment: &NewSegment) -> Registered {
        let NewSegment {
            id,
            file,
            first,
            end_byte,
            lines,
            ref settled_before,
            written_unix,
            last_read,
        } = *segment;
        let books = self
            .files
            .get_mut(&file)
            .unwrap_or_else(|| panic!("{file:?} of {id:?} is open"));
        let processed = books
            .file
            .register(id, first, end_byte, lines, settled_before);
        books.file.handle_read(last_read);
        // What was taken back was counted when it was read first.
        let processed = if self.returned.contains(&file) {
            0
        } else {
            processed
        };
        self.totals.processed = self.totals.processed.saturating_add(processed);
        let done = (settled_before.len() == lines as usize).then(|| segment.done());
        if done.is_none() {
            self.open.push(OpenSegment::new(
                id,
                file,
                first,
                lines,
                segment.bytes(),
                written_unix,
                settled_before,
            ));
        }
        self.changed();
        self.check_structure();
        Registered { processed, done }
    }

    /// Settles a line; tells when it was the last of its segment.
    ///
    /// # Panics
    /// When that line is not in flight, or is settled already.
    pub fn settle(&mut self, segment: SegmentId, line: u32, tally: Tally) -> Option<SegmentDone> {
        let was_returned = !self.returned.is_empty() && self.is_returned(segment);
        let done = self.open.settle(segment, line);
        if was_returned {
            self.totals.settle_anew(tally);
        } else {
            self.totals.settle(tally);
        }
        self.changed();
        let done = done?;
        let books = self
            .files
            .get_mut(&done.file())
            .expect("a file with lines in flight has books");
        books.file.settle_segment(done.id(), done.first().line);
        if books.file.is_gone() && books.file.is_settled() {
            self.close(done.file());
        }
        self.check_structure();
        Some(SegmentDone {
            segment: done.id(),
            lines: done.lines(),
            bytes: done.bytes(),
        })
    }

    /// A line in flight was sent, and whoever sent it has let go of it without an answer.
    pub fn note_sent(&mut self, segment: SegmentId, line: u32) {
        if let Some(segment) = self.open.find(segment) {
            let number = segment.first().line + u64::from(line);
            let books = self.files.get_mut(&segment.file());
            let books = books.expect("a file with lines in flight has books");
            books.file.note_sent(number);
        }
    }

    /// Where a line in flight stands in its file.
    #[must_use]
    pub fn line_place(&self, segment: SegmentId, line: u32) -> Option<LinePlace> {
        let segment = self.open.find(segment)?;
        let books = self.files.get(&segment.file())?;
        Some(LinePlace {
            file: Arc::clone(books.file.name()),
            line: segment.first().line + u64::from(line),
            segment_byte: segment.first().byte,
            identity: books.file.identity(),
        })
    }

    /// A file's name is gone or belongs to another file: its books close when what is in flight is
    /// settled.
    pub fn file_gone(&mut self, id: FileId) {
        let Some(books) = self.files.get_mut(&id) else {
            return;
        };
        books.file.mark_gone();
        if books.file.is_settled() {
            self.close(id);
        } else {
            // From now on no checkpoint has it, and its name may come back.
            self.forgotten += 1;
        }
        self.changed();
        self.check_structure();
    }

    /// A file has another name, or has gone from its folder at `away_unix`, or is back (0). Its
    /// books stay open: it may come back.
    pub fn file_moved(&mut self, id: FileId, name: &Arc<str>, away_unix: u64) {
        if let Some(books) = self.files.get_mut(&id) {
            self.by_name.remove(&(Arc::clone(books.file.name()), id));
            self.by_name.insert((Arc::clone(name), id));
            books.file.handle_moved(Arc::clone(name), away_unix);
            self.changed();
        }
    }

    /// Files of the last plan's entries have gone from the folder, or are back.
    pub fn entries_moved(&mut self, moved: &EntriesMoved) {
        for &(index, away_unix) in &moved.files {
            if let Some(Some(entry)) = self.unleased.get_mut(index) {
                entry.away_unix = away_unix;
            }
        }
        for &(index, away_unix) in &moved.legacy {
            if let Some(Some(entry)) = self.legacy.get_mut(index) {
                entry.away_unix = away_unix;
            }
        }
        self.changed();
    }

    /// More of a file's first bytes are known: from now on it is told by them.
    pub fn identify_file(&mut self, id: FileId, identity: Identity) {
        if let Some(books) = self.files.get_mut(&id) {
            books.file.identify(identity);
            self.changed();
        }
    }

    /// The reader will not use these entries of the last plan: their files are gone, or are others
    /// by now.
    ///
    /// # Panics
    /// When one is not there (any more): whoever says so takes the books for others than they are.
    pub fn forget_entries(&mut self, forgotten: &EntriesForgotten) {
        let EntriesForgotten { files, legacy } = forgotten;
        for &index in files {
            let entry = self.unleased.get_mut(index).and_then(Option::take);
            entry.expect("an entry is used or forgotten once");
        }
        for &index in legacy {
            let entry = self.legacy.get_mut(index).and_then(Option::take);
            entry.expect("a status file's entry is used or forgotten once");
        }
        self.forgotten += (files.len() + legacy.len()) as u64;
        self.check_structure();
    }

    /// Lets go of everything in flight and leased: nobody holds any of it any more. Gives the plan
    /// from which to start again; files that are gone are not in it, their books are closed.
    pub fn collapse(&mut self) -> ResumePlan {
        let leaving = self
            .files
            .iter()
            .filter(|(_, books)| !books.can_be_opened_again());
        let leaving: Vec<FileId> = leaving.map(|(&id, _)| id).collect();
        leaving.into_iter().for_each(|id| self.close(id));
        let plan = self.resume_plan();
        self.files.clear();
        self.by_name.clear();
        self.returned.clear();
        self.open.clear();
        self.unleased = plan.files.iter().cloned().map(Some).collect();
        self.legacy = plan.legacy.iter().cloned().map(Some).collect();
        self.check_structure();
        plan
    }

    /// Files whose books were closed since this was last asked.
    pub fn take_closed(&mut self) -> Vec<ClosedFile> {
        std::mem::take(&mut self.closed)
    }

    /// Counts a line that was rejected without having been fed; as processed too, unless that
    /// `was_counted`.
    pub fn count_rejected(&mut self, was_counted: bool) {
        self.totals.processed = self
            .totals
            .processed
            .saturating_add(u64::from(!was_counted));
        self.totals.settle(Tally::Rejected);
        self.changed();
    }

    fn is_returned(&self, segment: SegmentId) -> bool {
        let segment = self.open.find(segment);
        segment.is_some_and(|segment| self.returned.contains(&segment.file()))
    }

    /// Up to which byte the file with this inode and birth is settled; none where nothing is known
    /// of it, or it has gone from its folder and nothing of it is in flight: nobody need wait for
    /// it. Where it was begun anew while lines of it were in flight, what holds for both.
    #[must_use]
    pub fn settled_to(&self, key: LogKey) -> Option<u64> {
        let is_it = |identity: &Identity| identity.key() == key;
        let open = self.files.values().map(|books| &books.file);
        let open = open
            .filter(|file| is_it(&file.identity()) && !(file.is_away() && file.is_settled()))
            .map(|file| file.watermark().byte);
        let unleased = self.unleased.iter().flatten();
        let unleased = unleased
            .filter(|entry| is_it(&entry.identity) && entry.away_unix == 0)
            .map(|entry| entry.byte);
        open.chain(unleased).min()
    }

    /// The same, wherever the file is.
    #[must_use]
    pub fn settled_anywhere(&self, key: LogKey) -> Option<u64> {
        let is_it = |identity: &Identity| identity.key() == key;
        let open = self.files.values().map(|books| &books.file);
        let open = open.filter(|file| is_it(&file.identity()));
        let unleased = self.unleased().filter(|entry| is_it(&entry.identity));
        open.map(|file| file.watermark().byte)
            .chain(unleased.map(|entry| entry.byte))
            .min()
    }

    /// Inode numbers and birth times of all logs of which something is known, and that are in their
    /// folder as far as we know.
    pub fn logs_there(&self) -> impl Iterator<Item = LogKey> {
        let open = self.files.values();
        let open = open.filter(|books| books.can_be_opened_again() && !books.file.is_away());
        let unleased = self.unleased().filter(|entry| entry.away_unix == 0);
        open.map(|books| books.file.identity().key())
            .chain(unleased.map(|entry| entry.identity.key()))
    }

    /// Entries of the last plan that the reader has not leased.
    pub fn unleased(&self) -> impl Iterator<Item = &FileResume> {
        self.unleased.iter().flatten()
    }

    fn close(&mut self, id: FileId) {
        let books = &self.files[&id];
        let in_flight = books
            .file
            .in_flight()
            .map(|(_, id)| u64::from(self.open_segment(id).unsettled()));
        let closed = ClosedFile {
            id,
            unsettled: in_flight.sum(),
            resume: self.entry(books),
            deleted: books.deleted,
        };
        let name = Arc::clone(books.file.name());
        self.by_name.remove(&(name, id));
        self.closed.push(closed);
        self.files.remove(&id);
        self.returned.remove(&id);
        self.forgotten += 1;
    }

    fn changed(&mut self) {
        self.changes += 1;
    }

    fn open_segment(&self, id: SegmentId) -> &OpenSegment {
        self.open
            .find(id)
            .expect("a piece in flight is an open segment")
    }

    fn entry(&self, books: &Books) -> FileResume {
        books.file.to_resume(|id| {
            let open = self.open_segment(id);
            open.settled()
                .map(|line| open.first().line + u64::from(line))
        })
    }

    fn resume_plan(&self) -> ResumePlan {
        let kept = self.files.values().filter(|books| !books.file.is_gone());
        ResumePlan {
            files: kept
                .map(|books| self.entry(books))
                .chain(self.unleased.iter().flatten().cloned())
                .collect(),
            legacy: self.legacy.iter().flatten().cloned().collect(),
        }
    }

    fn check_structure(&self) {
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    /// Panics where the books don't agree with one another.
    pub fn check_invariants(&self) {
        self.open.check_invariants();
        assert_eq!(self.by_name.len(), self.files.len());
        let mut in_flight = 0;
        for (&id, books) in &self.files {
            books.file.check_invariants();
            assert!(
                !(books.file.is_gone() && books.file.is_settled()),
                "books of a file that is gone close when they can"
            );
            for (first_line, segment) in books.file.in_flight() {
                let open = self.open_segment(segment);
                assert_eq!((open.file(), open.first().line), (id, first_line));
                in_flight += 1;
            }
        }
        assert_eq!(
            in_flight,
            self.open.iter().count(),
            "each open segment is a piece of its file"
        );
        assert!(
            self.under_way.is_none_or(
                |begun| begun.changes <= self.changes && begun.forgotten <= self.forgotten
            ),
            "what is being written is of an earlier instant"
        );
        assert!(
            self.totals.is_plausible(),
            "what was settled was settled somehow"
        );
    }
}

impl Books {
    /// Whether its name still leads to it, as far as we know.
    fn can_be_opened_again(&self) -> bool {
        !self.deleted && !self.file.is_gone()
    }
}
