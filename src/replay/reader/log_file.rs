//! One log file: its identity, how far it has been read, and whether newer files must wait for it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::ledger::identity::{Identity, LastRead};
use crate::ledger::rejected;
use crate::limits::FILE_QUIET_MS;
use crate::replay::disk::{LogEntry, LogMeta};
use crate::replay::messages::FileId;
use crate::replay::reader::cursor::Cursor;
use crate::replay::reader::long_lines::Scan;
use crate::replay::reader::split::SettledRuns;

/// A file that is being read, or has been, in this epoch.
#[derive(Debug)]
pub(super) struct Begun {
    /// Its number.
    pub(super) file: FileId,
    /// Its identity, as the checkpointer has it.
    pub(super) identity: Identity,
    /// How far it has been read.
    pub(super) cursor: Cursor,
    /// The last bytes of all that was read of it, in this epoch or before.
    pub(super) last_read: LastRead,
    /// Lines that are settled already, and are skipped.
    pub(super) settled: SettledRuns,
    /// Lines that were sent and not answered, ascending; those before the cursor may be missing.
    pub(super) sent: Vec<Range<u64>>,
    /// The time of its first line, as [`clock_s`](super::hour::clock_s) has it.
    pub(super) first_s: Option<i64>,
    /// Set while a line that is too long for memory is scanned.
    pub(super) scan: Option<Scan>,
    /// The file's length and modification time when its first bytes were last compared.
    pub(super) checked: (u64, u64),
}

impl Begun {
    /// The lines from this one on that were sent and not answered.
    pub(super) fn sent_from(&self, line: u64) -> Vec<Range<u64>> {
        let behind = self.sent.partition_point(|run| run.end <= line);
        self.sent[behind..].to_vec()
    }

    /// It has been read up to the end of these bytes, if it was not read further before.
    pub(super) fn handle_read(&mut self, last_read: LastRead) {
        if last_read.end() > self.last_read.end() {
            self.last_read = last_read;
        }
    }

    /// It has this many bytes now, fewer than it had. Whether what is before the cursor can still
    /// be told from other lines: where more had been read, as before an outage, the bytes that
    /// would show it are gone.
    #[must_use]
    pub(super) fn handle_cut(&mut self, bytes: u64) -> bool {
        let is_there = self.last_read.end() <= bytes;
        if !is_there {
            self.last_read = LastRead::default();
        }
        is_there || self.cursor.byte() == 0
    }

    /// Whether lines after the cursor are settled.
    pub(super) fn has_settled_ahead(&self) -> bool {
        let settled = self.settled.back().map_or(0, |run| run.end);
        settled > self.cursor.line() && !failpoint!(TrustSettledLines)
    }
}

/// A value of [`Begun::checked`]: the first bytes are to be compared.
pub(super) const NEVER: (u64, u64) = (u64::MAX, u64::MAX);

/// A log file.
#[derive(Debug)]
pub(super) struct LogFile<L> {
    /// Its name in the backend's folder, which also determines its place in the order.
    pub(super) name: Arc<str>,
    /// The name by which it can be opened: the same, except for a deleted file that NFS or FUSE
    /// keep under another name until it is closed.
    pub(super) place: Arc<str>,
    /// A number that grows with each file that is seen.
    pub(super) number: u64,
    /// Where it is in the catalog's order.
    pub(super) order: Order,
    /// Its metadata when last looked at.
    pub(super) meta: LogMeta,
    /// Its unread bytes, as they were counted.
    pub(super) counted_bytes: u64,
    /// Where its unread bytes begin while no plan tells: where they did in the epoch before.
    pub(super) counted_from: u64,
    /// The hash of its first line, as in its identity; 0 while that is not known.
    pub(super) lead_hash: u64,
    /// Since when it has been in no listing and not open, Unix seconds; 0 if it can be read.
    pub(super) away_unix: u64,
    /// Lines that begin before this byte may have been sent before, whatever the plan contains.
    pub(super) sent_below: u64,
    /// Lines that begin before this byte were read in an earlier epoch. The plan contains which of
    /// them were sent.
    pub(super) fed_below: u64,
    /// This process has begun it before, in whatever epoch.
    pub(super) was_begun: bool,
    /// Lines that begin before this byte existed when this process started: an earlier process may
    /// have sent them.
    pub(super) old_below: u64,
    /// Its name is gone or belongs to another file; it can be read through `log` only.
    pub(super) unlinked: bool,
    /// The checkpointer has deleted it.
    pub(super) deleted: bool,
    /// Open for reading. Only the current file, the one before it, and unlinked ones are open.
    pub(super) log: Option<Arc<L>>,
    /// Set once it is begun in this epoch. Boxed: a backlog consists of logs that are not.
    pub(super) begun: Option<Box<Begun>>,
    /// It shrank while it was not begun: what is known about it no longer holds.
    pub(super) shrank: bool,
    seen: LastChange,
}

/// When a file was last seen to change: `age` before the monotonic instant `at`.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastChange {
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
    /// It has lost so many bytes at its end. What of it was read is there, and it goes on.
    Cut(u64),
    /// It has lost so many bytes at its end, and lines that were read are gone, or may be: it is to
    /// be read again as a new file.
    Shrunk(u64),
}

impl<L> LogFile<L> {
    /// A file that is seen for the first time.
    pub(super) fn new(entry: LogEntry, number: u64, now: Now) -> Self {
        // The file's modification time shows when it changed last. If that lies in the future, it
        // counts as just changed. Whole seconds round the age down, so that newer files are not
        // begun too early.
        let slip = u64::from(failpoint!(QuietTooEarly));
        let now_nanos = (now.unix + slip).saturating_mul(1_000_000_000);
        let age = Duration::from_nanos(now_nanos.saturating_sub(entry.meta.modified_nanos));
        // Requeued lines may have been sent: some were rejected after many attempts.
        let was_sent = rejected::is_returned(&entry.name);
        let name: Arc<str> = Arc::from(entry.name);
        Self {
            place: Arc::clone(&name),
            order: Order::default(),
            name,
            number,
            meta: entry.meta,
            counted_bytes: 0,
            counted_from: 0,
            lead_hash: 0,
            away_unix: 0,
            sent_below: if was_sent { u64::MAX } else { 0 },
            fed_below: 0,
            was_begun: false,
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

    /// Whether `meta` is of this file.
    #[must_use]
    pub(super) fn is_same(&self, meta: &LogMeta) -> bool {
        self.meta.key() == meta.key()
    }

    /// Whether its metadata is unchanged.
    pub(super) fn is_unchanged(&self, meta: &LogMeta) -> bool {
        self.meta.device == meta.device && (meta.bytes, meta.modified_nanos) == self.last_change()
    }

    /// There is a copy of it of `bytes` bytes. What is in both files may be sent as the copy's.
    pub(super) fn handle_copied(&mut self, bytes: u64) {
        self.sent_below = self.sent_below.max(bytes).max(self.meta.bytes);
    }

    /// Whether lines of it have been read, or may have been.
    pub(super) fn may_have_been_sent(&self) -> bool {
        let was_fed = self.begun.is_some() || self.fed_below > 0;
        was_fed || self.sent_below > 0 || self.old_below > 0 || self.shrank
    }

    /// Whether it was created before this time, as far as that is known.
    pub(super) fn is_older_than(&self, nanos: u64) -> bool {
        let born = match self.meta.born_nanos {
            0 => self.meta.modified_nanos,
            born => born,
        };
        born < nanos
    }

    /// Its length and modification time.
    pub(super) fn last_change(&self) -> (u64, u64) {
        (self.meta.bytes, self.meta.modified_nanos)
    }

    /// Whether it ends before lines that were settled: it must have shrunk.
    pub(super) fn lacks_lines(&self) -> bool {
        let lacks =
            |begun: &Begun| !begun.cursor.has_tail(self.meta.bytes) && begun.has_settled_ahead();
        self.begun.as_deref().is_some_and(lacks)
    }

    /// Whether it has changed since its first bytes were compared.
    pub(super) fn is_unchecked(&self) -> bool {
        let begun = self.begun.as_ref();
        begun.is_some_and(|begun| begun.checked != self.last_change())
    }

    /// Takes over the file's present metadata.
    pub(super) fn observe(&mut self, meta: LogMeta, now: Now) -> Observed {
        if meta.device != self.meta.device
            && let Some(begun) = &mut self.begun
        {
            // Its first bytes will show which file it is now.
            begun.checked = NEVER;
        }
        if (meta.bytes, meta.modified_nanos) == self.last_change() {
            self.meta = meta;
            return Observed::Same;
        }
        let lost_bytes = self.meta.bytes.saturating_sub(meta.bytes);
        let shrank = lost_bytes > 0;
        self.meta = meta;
        self.seen = LastChange {
            at: now.monotonic,
            age: Duration::ZERO,
        };
        if shrank && self.begun.is_none() {
            (self.shrank, self.lead_hash) = (true, 0);
        }
        // The lines ahead that were settled are no longer known to be: other lines may be written
        // there.
        let goes_on = |begun: &mut Begun| {
            let can_be_told = begun.handle_cut(meta.bytes);
            begun.cursor.handle_shrunk(meta.bytes) && can_be_told && !begun.has_settled_ahead()
        };
        let lines_left =
            !shrank || failpoint!(TrustShrunkLog) || self.begun.as_deref_mut().is_none_or(goes_on);
        match lines_left {
            true if shrank && !failpoint!(IgnoreCuts) => Observed::Cut(lost_bytes),
            true => Observed::Changed,
            false => Observed::Shrunk(lost_bytes),
        }
    }

    /// Unread bytes. `resume_byte`: where it would begin if it is not begun and did not shrink.
    #[must_use]
    pub(super) fn unread_bytes(&self, resume_byte: impl FnOnce(&LogMeta) -> u64) -> u64 {
        let fed = match &self.begun {
            Some(begun) => begun.cursor.byte(),
            None if self.shrank => 0,
            None => resume_byte(&self.meta),
        };
        self.meta.bytes.saturating_sub(fed)
    }

    /// About when its first lines were written, Unix seconds: its birth time, if that is known.
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
    pub(super) fn quiet_at(&self, quiet: Duration) -> Duration {
        self.seen.at + quiet.saturating_sub(self.seen.age)
    }

    /// Forgets how far it was read. The next plan contains what was sent of it.
    pub(super) fn forget_position(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.fed_below = self.fed_below.max(begun.cursor.byte());
        }
        if !self.unlinked {
            self.log = None;
        }
    }

    /// What is to be done with the file.
    pub(super) fn stage(&self, now: Now, closed_after: Duration) -> Stage {
        let quiet = Duration::from_millis(FILE_QUIET_MS);
        let is_closed = self.quiet_for(now) >= closed_after;
        let Some(begun) = &self.begun else {
            return match self.meta.bytes {
                // An empty file has hardly anything to identify it by. It is begun when it gets a
                // line, or when it is clear that it will get none.
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

/// The next step for a file.
pub(super) enum Stage {
    ToBegin,
    /// Continue to read it, or check that it is still the same.
    ToRead,
    /// Nothing to read, and newer files must wait.
    Until(Duration),
    /// Nothing to read, and newer files may be begun.
    Passed,
}

/// A loss that a listing showed, for the checkpointer and the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// The file's name.
    pub(super) name: Arc<str>,
    /// Its number, if it was begun.
    pub(super) file: Option<FileId>,
    /// Its metadata when last looked at before that.
    pub(super) meta: LogMeta,
    /// Bytes that were not read.
    pub(super) unread_bytes: u64,
    /// The hash of its first line; 0 where that is not known.
    pub(super) lead_hash: u64,
    /// Whether it can still be read, because it is open.
    pub(super) readable: bool,
    /// How it was lost.
    pub(super) kind: LossKind,
}

/// How a file was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LossKind {
    /// It has fewer bytes than were read.
    Shrunk,
    /// It has lost bytes at its end that were not delivered before, as far as is known.
    Cut,
    /// Its name belongs to another file now.
    Replaced,
    /// Its name is gone.
    Deleted,
}

impl<L> LogFile<L> {
    /// It has lost so many bytes at its end, among them some that were read: it is a new file, and
    /// its lines may have been sent.
    pub(super) fn handle_shrunk(&mut self, lost_bytes: u64) -> Loss {
        let before = self.before(lost_bytes);
        self.become_new(before, lost_bytes.min(self.unread_of(before)))
    }

    /// It has other content than what was read of it, and is a new file. What was not read of it,
    /// as far as it went when its content was compared, may be gone.
    pub(super) fn handle_rewritten(&mut self) -> Loss {
        let checked = self.begun.as_ref().map(|begun| begun.checked);
        let (bytes, _) = checked.filter(|known| *known != NEVER).unwrap_or_default();
        let bytes = bytes.min(self.meta.bytes);
        let before = LogMeta { bytes, ..self.meta };
        self.become_new(before, self.unread_of(before))
    }

    fn become_new(&mut self, before: LogMeta, unread_bytes: u64) -> Loss {
        let loss = Loss {
            meta: before,
            ..self.loss(LossKind::Shrunk, unread_bytes)
        };
        self.forget_position();
        (self.sent_below, self.lead_hash) = (u64::MAX, 0);
        loss
    }

    /// It has lost so many bytes at its end. `None` means that all of them were delivered before.
    /// `resume_byte`: where it would be if it is not begun.
    pub(super) fn handle_cut(
        &self,
        bytes: u64,
        resume_byte: impl Fn(&LogMeta) -> u64,
    ) -> Option<Loss> {
        let before = self.before(bytes);
        let read = match &self.begun {
            Some(begun) => begun.cursor.byte(),
            None => resume_byte(&before),
        };
        let unread = bytes.min(before.bytes.saturating_sub(read));
        (unread > 0).then(|| Loss {
            meta: before,
            ..self.loss(LossKind::Cut, unread)
        })
    }

    /// What it was before it lost so many bytes at its end.
    fn before(&self, lost_bytes: u64) -> LogMeta {
        LogMeta {
            bytes: self.meta.bytes + lost_bytes,
            ..self.meta
        }
    }

    /// How many bytes of what it was before were not read, if it is begun.
    fn unread_of(&self, before: LogMeta) -> u64 {
        let begun = self.begun.as_ref();
        begun.map_or(0, |begun| before.bytes.saturating_sub(begun.cursor.byte()))
    }

    /// Its name is gone, or, if `replaced`, belongs to another file.
    pub(super) fn handle_unlinked(&self, replaced: bool, unread: u64) -> Loss {
        let kind = if replaced {
            LossKind::Replaced
        } else {
            LossKind::Deleted
        };
        self.loss(kind, unread)
    }

    pub(super) fn loss(&self, kind: LossKind, unread_bytes: u64) -> Loss {
        Loss {
            name: Arc::clone(&self.name),
            file: self.begun.as_ref().map(|begun| begun.file),
            meta: self.meta,
            unread_bytes,
            lead_hash: self.lead_hash,
            readable: self.log.is_some() && kind != LossKind::Shrunk,
            kind,
        }
    }
}

/// A file's place in the order: by name; of files with the same name those first that have lost it,
/// then the one that was seen first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    pub(super) name: Arc<str>,
    pub(super) is_named: bool,
    pub(super) number: u64,
}
