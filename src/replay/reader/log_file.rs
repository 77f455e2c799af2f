//! One log file: what it is, how far it has been read, whether newer ones must wait for it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::ledger::identity::Identity;
use crate::ledger::rejected;
use crate::limits::FILE_QUIET_MS;
use crate::replay::disk::{LogEntry, LogMeta};
use crate::replay::messages::FileId;
use crate::replay::reader::bodies::Scan;
use crate::replay::reader::catalog::Order;
use crate::replay::reader::cursor::Cursor;
use crate::replay::reader::split::SettledRuns;

/// A file that is being read, or has been, in this epoch.
#[derive(Debug)]
pub(super) struct Begun {
    /// Its number.
    pub(super) file: FileId,
    /// What the checkpointer knows it by.
    pub(super) identity: Identity,
    /// How far it has been fed.
    pub(super) cursor: Cursor,
    /// Lines that need not be fed.
    pub(super) settled: SettledRuns,
    /// Lines that this process has sent without an answer, ascending; those behind the cursor may
    /// be gone from it.
    pub(super) sent: Vec<Range<u64>>,
    /// Set while a line that is too long to be held is scanned.
    pub(super) scan: Option<Scan>,
    /// The file's length and time of change when its first bytes were last seen to be what they
    /// were.
    pub(super) checked: (u64, u64),
}

impl Begun {
    /// Of the lines that were sent without an answer those from this one on.
    pub(super) fn sent_from(&self, line: u64) -> Vec<Range<u64>> {
        let behind = self.sent.partition_point(|run| run.end <= line);
        self.sent[behind..].to_vec()
    }

    /// Whether lines that have not been fed are settled.
    fn has_settled_ahead(&self) -> bool {
        let settled = self.settled.back().map_or(0, |run| run.end);
        settled > self.cursor.line() && !failpoint!(TrustSettledLines)
    }
}

/// As [`Begun::checked`]: its first bytes are to be looked at.
const NEVER: (u64, u64) = (u64::MAX, u64::MAX);

/// A log file.
#[derive(Debug)]
pub(super) struct LogFile<L> {
    /// Its name in the backend's folder: what it is called, and where it is in the order of the
    /// log.
    pub(super) name: Arc<str>,
    /// The name by which it can be opened: the same, but for one that NFS or FUSE keep under
    /// another until it is closed.
    pub(super) place: Arc<str>,
    /// Which one it was to be seen.
    pub(super) number: u64,
    /// Where it is in the catalog's order.
    pub(super) order: Order,
    /// What it was when last looked at.
    pub(super) meta: LogMeta,
    /// Its unread bytes, as they were counted.
    pub(super) counted_bytes: u64,
    /// Since when it has been in no listing and not open, Unix seconds; 0: it can be read.
    pub(super) away_unix: u64,
    /// Lines that begin before this byte may have been sent before, whatever a plan says.
    pub(super) sent_below: u64,
    /// Lines that begin before this byte were fed in an earlier epoch. Those of them that were sent
    /// are in the plan.
    pub(super) fed_below: u64,
    /// Lines that begin before this byte were there when this process started: an earlier one may
    /// have sent them.
    pub(super) old_below: u64,
    /// Its name is gone or belongs to another file; it can be read through `log` only.
    pub(super) unlinked: bool,
    /// The checkpointer has deleted it.
    pub(super) deleted: bool,
    /// Open for reading. Only the file that is read, the one before, and unlinked ones are.
    pub(super) log: Option<Arc<L>>,
    /// Set once it is begun in this epoch.
    pub(super) begun: Option<Begun>,
    /// It shrank while it was not begun: nothing that is known of it holds.
    pub(super) shrank: bool,
    seen: LastChange,
}

/// When a file was last seen to change: `age` before the monotonic instant `at`.
#[derive(Clone, Copy, Debug)]
struct LastChange {
    at: Duration,
    age: Duration,
}

/// What looking at a file again showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observed {
    /// As before.
    Same,
    /// It has grown, or was touched.
    Changed,
    /// Lines that were fed are gone: it is to be read again as a new file.
    Shrunk,
}

impl<L> LogFile<L> {
    /// A file that is seen for the first time.
    pub(super) fn new(entry: LogEntry, number: u64, now: Now) -> Self {
        // What changed before we looked is told by the file's own time. A time to come says
        // nothing: as if it had changed just now. Whole seconds round the age down: newer files
        // must not be begun too early.
        let slip = u64::from(failpoint!(QuietTooEarly));
        let now_nanos = (now.unix + slip).saturating_mul(1_000_000_000);
        let age = Duration::from_nanos(now_nanos.saturating_sub(entry.meta.modified_nanos));
        // Lines that were taken back can have been sent: whoever tries a record often enough
        // rejects it.
        let was_sent = rejected::is_returned(&entry.name);
        let name: Arc<str> = Arc::from(entry.name);
        Self {
            place: Arc::clone(&name),
            order: Order::default(),
            name,
            number,
            meta: entry.meta,
            counted_bytes: 0,
            away_unix: 0,
            sent_below: if was_sent { u64::MAX } else { 0 },
            fed_below: 0,
            old_below: 0,
            unlinked: false,
            deleted: false,
            log: None,
            begun: None,
            shrank: false,
            seen: LastChange {
                at: now.monotonic,
                age,
            },
        }
    }

    /// Whether this is the file that `meta` is of.
    #[must_use]
    pub(super) fn is_same(&self, meta: &LogMeta) -> bool {
        self.meta.key() == meta.key()
    }

    /// Whether it looks as it did when last looked at.
    pub(super) fn is_unchanged(&self, meta: &LogMeta) -> bool {
        self.meta.device == meta.device && (meta.bytes, meta.modified_nanos) == self.last_change()
    }

    /// There is a copy of it with `bytes`, from which lines may be missing: what is in both may be
    /// sent as the copy's.
    pub(super) fn handle_copied(&mut self, bytes: u64) {
        self.sent_below = self.sent_below.max(bytes).max(self.meta.bytes);
    }

    /// Whether lines of it have been fed, or may have been.
    pub(super) fn may_have_been_sent(&self) -> bool {
        let was_fed = self.begun.is_some() || self.fed_below > 0;
        was_fed || self.sent_below > 0 || self.old_below > 0 || self.shrank
    }

    /// Whether it was made, as far as that is known, before this time.
    pub(super) fn is_older_than(&self, nanos: u64) -> bool {
        let born = match self.meta.born_nanos {
            0 => self.meta.modified_nanos,
            born => born,
        };
        born < nanos
    }

    /// Its length and time of change.
    pub(super) fn last_change(&self) -> (u64, u64) {
        (self.meta.bytes, self.meta.modified_nanos)
    }

    /// Whether it ends before lines that were settled: it must have shrunk.
    pub(super) fn lacks_lines(&self) -> bool {
        let lacks =
            |begun: &Begun| !begun.cursor.has_tail(self.meta.bytes) && begun.has_settled_ahead();
        self.begun.as_ref().is_some_and(lacks)
    }

    /// Whether it has changed since its first bytes were looked at.
    pub(super) fn is_unchecked(&self) -> bool {
        let begun = self.begun.as_ref();
        begun.is_some_and(|begun| begun.checked != self.last_change())
    }

    /// Takes over what the file is now.
    pub(super) fn observe(&mut self, meta: LogMeta, now: Now) -> Observed {
        if meta.device != self.meta.device
            && let Some(begun) = &mut self.begun
        {
            // What it is now, its first bytes are to tell.
            begun.checked = NEVER;
        }
        if (meta.bytes, meta.modified_nanos) == self.last_change() {
            self.meta = meta;
            return Observed::Same;
        }
        let shrank = meta.bytes < self.meta.bytes;
        self.meta = meta;
        self.seen = LastChange {
            at: now.monotonic,
            age: Duration::ZERO,
        };
        self.shrank |= shrank && self.begun.is_none();
        // Which of the lines ahead are settled holds no longer either: others may come to stand
        // there.
        let goes_on = |begun: &mut Begun| {
            begun.cursor.handle_shrunk(meta.bytes) && !begun.has_settled_ahead()
        };
        let lines_left =
            !shrank || failpoint!(TrustShrunkLog) || self.begun.as_mut().is_none_or(goes_on);
        if lines_left {
            Observed::Changed
        } else {
            Observed::Shrunk
        }
    }

    /// Bytes that have not been fed; `resume_byte` says where a file that is not begun would be.
    #[must_use]
    pub(super) fn unread_bytes(&self, resume_byte: u64) -> u64 {
        let fed = self
            .begun
            .as_ref()
            .map_or(resume_byte, |begun| begun.cursor.byte());
        self.meta.bytes.saturating_sub(fed)
    }

    /// About when its first lines were written, Unix seconds: when it was made, if that is known.
    #[must_use]
    pub(super) fn written_unix(&self) -> u64 {
        let LogMeta {
            born_nanos,
            modified_nanos,
            ..
        } = self.meta;
        let nanos = if born_nanos == 0 {
            modified_nanos
        } else {
            born_nanos.min(modified_nanos)
        };
        nanos / 1_000_000_000
    }

    /// For how long it has not changed.
    #[must_use]
    pub(super) fn quiet_for(&self, now: Now) -> Duration {
        self.seen.age + now.monotonic.saturating_sub(self.seen.at)
    }

    /// The monotonic instant at which it will have been quiet for `quiet`.
    fn quiet_at(&self, quiet: Duration) -> Duration {
        self.seen.at + quiet.saturating_sub(self.seen.age)
    }

    /// Forgets how far it was read. What was sent of it the next plan says.
    pub(super) fn forget_position(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.fed_below = self.fed_below.max(begun.cursor.byte());
        }
        if !self.unlinked {
            self.log = None;
        }
    }

    /// Where the file stands.
    pub(super) fn stage(&self, now: Now, closed_after: Duration) -> Stage {
        let quiet = Duration::from_millis(FILE_QUIET_MS);
        let is_closed = self.quiet_for(now) >= closed_after;
        let Some(begun) = &self.begun else {
            return match self.meta.bytes {
                // What is known of an empty file is little to know it by: it is begun when it gets
                // a line, or when it will get none.
                0 if is_closed => Stage::ToBegin,
                0 if self.quiet_for(now) >= quiet => Stage::Passed,
                0 => Stage::Until(self.quiet_at(quiet)),
                _ => Stage::ToBegin,
            };
        };
        if begun.cursor.has_unread(self.meta.bytes) || self.is_unchecked() || self.lacks_lines() {
            return Stage::ToRead;
        }
        if begun.cursor.has_tail(self.meta.bytes) {
            if is_closed {
                return Stage::ToRead;
            }
            return Stage::Until(self.quiet_at(closed_after));
        }
        if self.quiet_for(now) >= quiet {
            return Stage::Passed;
        }
        Stage::Until(self.quiet_at(quiet))
    }
}

/// What is to be done with a file.
pub(super) enum Stage {
    /// Begin it.
    ToBegin,
    /// Read on in it, or see whether it is what it was.
    ToRead,
    /// Nothing to read, and newer files must wait.
    Until(Duration),
    /// Nothing to read, and newer files may be begun.
    Passed,
}

/// What a listing showed that the checkpointer and the operator are to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// The file's name.
    pub(super) name: Arc<str>,
    /// Its number, if it was begun.
    pub(super) file: Option<FileId>,
    /// What it was when last looked at.
    pub(super) meta: LogMeta,
    /// Bytes that were not read.
    pub(super) unread_bytes: u64,
    /// Whether it can still be read, being open.
    pub(super) readable: bool,
    /// How.
    pub(super) kind: LossKind,
}

/// How a file was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LossKind {
    /// It has fewer bytes than were read.
    Shrunk,
    /// Its name belongs to another file now.
    Replaced,
    /// Its name is gone.
    Deleted,
}

impl<L> LogFile<L> {
    /// It shrank below what was fed, or is not what was read: it is a new file, and whatever is in
    /// it may have been sent.
    pub(super) fn handle_shrunk(&mut self) -> Loss {
        let loss = self.loss(LossKind::Shrunk, 0);
        self.forget_position();
        self.sent_below = u64::MAX;
        loss
    }

    /// Its name is gone, or `replaced`.
    pub(super) fn handle_unlinked(&mut self, replaced: bool, unread: u64) -> Loss {
        let kind = if replaced {
            LossKind::Replaced
        } else {
            LossKind::Deleted
        };
        self.loss(kind, unread)
    }

    fn loss(&self, kind: LossKind, unread_bytes: u64) -> Loss {
        Loss {
            name: Arc::clone(&self.name),
            file: self.begun.as_ref().map(|begun| begun.file),
            meta: self.meta,
            unread_bytes,
            readable: self.log.is_some() && kind != LossKind::Shrunk,
            kind,
        }
    }
}
