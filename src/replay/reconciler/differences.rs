//! A backend's `differences.jsonl`: the keys on which the masters still differ (R6).
//!
//! The reconciler appends differences, and settlements of those that are equal by now; an
//! operator's command appends settlements too. No line is overwritten. Once most of the file is
//! about what is no longer left, the reconciler replaces it ([`compaction`]). It reads and replaces
//! the file in steps that take no long time.

mod compaction;
mod lines;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use self::compaction::{Compacted, Compaction, Step};
use self::lines::Lines;
use crate::clock::Now;
use crate::limits::{
    DIFFERENCES_COMPACT_BYTES, DIFFERENCES_COMPACT_RETRY, RECONCILE_DIFFERENCE_BYTES,
};
use crate::reconcile::comparison::Compared;
use crate::reconcile::decision::Seen;
use crate::reconcile::difference::{
    Difference, DifferencesLeft, FILE_NAME, How, NEXT, Settlement, Stored, id_of,
};
use crate::reconcile::key::{KeyId, Kind};
use crate::reconcile::outcome::{Outcome, WhyLeft};
use crate::replay::disk::{Area, Disk, OpenFile, read_fully, unless_missing};

/// See the module.
#[derive(Debug)]
pub(super) struct Differences {
    backend: Arc<str>,
    left: DifferencesLeft,
    /// Which file was read: its inode and birth. `None` where there was none.
    file: Option<(u64, u64)>,
    /// How far it was read.
    lines: Lines,
    /// Whether all that the file had was read, or could not be.
    is_read: bool,
    /// How many were left when it was last known which, and the file's bytes then.
    counted: Option<(u64, u64)>,
    compaction: Option<Compaction>,
    /// The file's bytes when it was last compacted.
    compacted_bytes: u64,
    /// It is not compacted before this time, monotonic.
    compact_at: Duration,
    /// One with fewer bytes is not compacted.
    compact_bytes: u64,
    /// Lines that are not on disk yet.
    unwritten: Vec<u8>,
    /// The last write has failed, and may have left a part of a line.
    has_failed: bool,
}

/// What there is to be done with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Nothing, until it changes.
    None,
    /// It is being read.
    Reading,
    /// It is being replaced.
    Compacting,
}

impl Differences {
    pub(super) fn new(backend: Arc<str>) -> Self {
        Self {
            backend,
            left: DifferencesLeft::default(),
            file: None,
            lines: Lines::default(),
            is_read: false,
            counted: None,
            compaction: None,
            compacted_bytes: 0,
            compact_at: Duration::ZERO,
            compact_bytes: DIFFERENCES_COMPACT_BYTES,
            unwritten: Vec::new(),
            has_failed: false,
        }
    }

    /// How many keys are left different, at most, as far as the file was read.
    pub(super) fn left(&self) -> u64 {
        self.counted.map_or(self.left.count(), |(left, _)| left)
    }

    /// Whether it is known which keys are left different, or can't be: the file was read.
    pub(super) fn is_read(&self) -> bool {
        self.is_read && self.counted.is_none()
    }

    /// Reads a piece of what was appended to the file since it was last read. Once that is all,
    /// replaces the file a step further, if it is worth it and `may_compact`.
    ///
    /// # Errors
    /// What the disk says; the next call goes on.
    pub(super) fn step<D: Disk>(
        &mut self,
        disk: &mut D,
        may_compact: bool,
        now: Now,
    ) -> io::Result<Work> {
        if self.counted.is_some() {
            self.forget();
        }
        if !self.read(disk)? {
            return Ok(Work::Reading);
        }
        if !may_compact || !self.is_worth_compacting(now) {
            return Ok(Work::None);
        }
        self.compact(disk).or_else(|cause| {
            self.compaction = None;
            self.remove_next(disk);
            self.compact_at = now.after(DIFFERENCES_COMPACT_RETRY);
            tracing::warn!(
                backend = &*self.backend,
                %cause,
                "differences.jsonl cannot be replaced by one without what is settled: it stays as \
                 it is, and grows"
            );
            Ok(Work::None)
        })
    }

    /// The same where nothing is compared, so nobody asks which keys are left: only how many is
    /// kept in memory, and the file is read again from its beginning when it changes.
    ///
    /// # Errors
    /// What the disk says; the next call goes on.
    pub(super) fn count(&mut self, disk: &mut impl Disk) -> io::Result<Work> {
        self.stop_compacting(disk);
        if let Some((_, bytes)) = self.counted {
            let file = unless_missing(disk.open(Area::State, &self.backend, FILE_NAME))?;
            let meta = file.map(|file| file.meta()).transpose()?;
            let is_same = self.file == meta.map(|meta| meta.key())
                && bytes == meta.map_or(0, |meta| meta.bytes);
            if is_same {
                return Ok(Work::None);
            }
            self.forget();
        }
        if !self.read(disk)? {
            return Ok(Work::Reading);
        }
        let counted = (self.left.count(), self.lines.read_bytes());
        let file = self.file;
        self.forget();
        self.file = file;
        self.counted = Some(counted);
        Ok(Work::None)
    }

    /// Reads the file from its beginning the next time.
    fn forget(&mut self) {
        self.left = self.left.emptied();
        self.lines = Lines::default();
        self.file = None;
        self.is_read = false;
        self.counted = None;
    }

    /// Reads a piece. Returns whether that is all that there is.
    fn read(&mut self, disk: &mut impl Disk) -> io::Result<bool> {
        // Nothing waits for what cannot be read.
        self.is_read = true;
        let Some(file) = unless_missing(disk.open(Area::State, &self.backend, FILE_NAME))? else {
            self.forget();
            self.stop_compacting(disk);
            self.is_read = true;
            return Ok(true);
        };
        let meta = file.meta()?;
        if self.file != Some(meta.key()) || meta.bytes < self.lines.read_bytes() {
            // Somebody has replaced it.
            self.forget();
            self.stop_compacting(disk);
            self.file = Some(meta.key());
            self.is_read = true;
        }
        let left = &mut self.left;
        let is_all = self
            .lines
            .read_piece(&file, meta.bytes, |line| match line {
                Some(line) => left.handle_line(line),
                None => left.handle_unrecognized(),
            })?;
        self.is_read = is_all;
        Ok(is_all)
    }

    /// Whether most lines are about what is no longer left. Of those beyond that is not known: then
    /// it is worth it when the file has doubled, and shows how many are left.
    fn is_worth_compacting(&self, now: Now) -> bool {
        if self.compaction.is_some() {
            return true;
        }
        let bytes = self.lines.read_bytes();
        let is_mostly_dead = self.lines.count() >= self.left.count().saturating_mul(2);
        let has_doubled = bytes >= self.compacted_bytes.saturating_mul(2);
        self.compact_at <= now.monotonic
            && bytes >= self.compact_bytes
            && (is_mostly_dead || self.left.has_beyond() && has_doubled)
    }

    fn compact<D: Disk>(&mut self, disk: &mut D) -> io::Result<Work> {
        let file = disk.open(Area::State, &self.backend, FILE_NAME)?;
        if self.file != Some(file.meta()?.key()) {
            // Found out by the next read.
            return Ok(Work::Reading);
        }
        let backend = &*self.backend;
        let compaction = match &mut self.compaction {
            Some(compaction) => compaction,
            None => {
                let begun = Compaction::begin(disk, backend, &self.lines, self.left.emptied())?;
                self.compaction.insert(begun)
            }
        };
        match compaction.step(disk, backend, &file)? {
            Step::More => Ok(Work::Compacting),
            Step::Later => Ok(Work::None),
            Step::Done(compacted) => {
                self.compaction = None;
                self.handle_compacted(disk, compacted)?;
                Ok(Work::Reading)
            }
        }
    }

    /// Goes on in the new file, as if it had been read up to the same place.
    fn handle_compacted(&mut self, disk: &mut impl Disk, compacted: Compacted) -> io::Result<()> {
        tracing::info!(
            backend = &*self.backend,
            bytes = self.lines.read_bytes(),
            left_bytes = compacted.bytes,
            "differences.jsonl is replaced by one without what is settled"
        );
        self.compacted_bytes = compacted.bytes;
        if self.left.has_beyond() {
            // Read from its beginning, the new one shows how many are beyond.
            self.forget();
            return Ok(());
        }
        let file = disk.open(Area::State, &self.backend, FILE_NAME)?;
        self.file = Some(file.meta()?.key());
        self.lines
            .move_by(compacted.saved_bytes, compacted.saved_lines);
        Ok(())
    }

    /// Leaves the file as it is.
    pub(super) fn stop_compacting(&mut self, disk: &mut impl Disk) {
        if self.compaction.take().is_some() {
            self.remove_next(disk);
        }
    }

    fn remove_next(&self, disk: &mut impl Disk) {
        // One that stays is overwritten the next time.
        let _ = disk.remove(Area::State, &self.backend, NEXT);
    }

    /// A key was compared: it is left different, or is no longer.
    pub(super) fn handle(&mut self, backend: &str, compared: &Compared, unix: u64) {
        let difference = |left: WhyLeft| difference_of(backend, compared, left, unix);
        let how = match compared.outcome {
            Outcome::Reported(left) => return difference(left).encode(&mut self.unwritten),
            Outcome::Skipped(_) => return,
            Outcome::Equal => How::Equal,
            Outcome::Mended(_) => How::Mended,
        };
        if self.may_have(&compared.key) {
            let settlement = Settlement {
                id: id_of(&compared.key),
                line: None,
                how,
                unix,
            };
            settlement.encode(&mut self.unwritten);
        }
    }

    /// Whether a key may be left different.
    pub(super) fn may_have(&self, key: &KeyId) -> bool {
        !self.is_read || self.left.may_have(id_of(key))
    }

    /// Whether lines are to be written before there are more.
    pub(super) fn is_full(&self) -> bool {
        self.unwritten.len() >= RECONCILE_DIFFERENCE_BYTES
    }

    /// Forgets the lines that are not on disk.
    pub(super) fn drop_unwritten(&mut self) {
        self.unwritten.clear();
    }

    /// Writes the lines that are not on disk, durably. Returns whether it is known then what is
    /// left; if not, the next call goes on with that.
    ///
    /// # Errors
    /// What the disk says; the next call tries again.
    pub(super) fn write(&mut self, disk: &mut impl Disk) -> io::Result<bool> {
        if !self.unwritten.is_empty() {
            // Behind what a crash or a failed write has left of a line, a newline begins the next.
            if self.has_failed || self.ends_torn(disk)? {
                self.unwritten.insert(0, b'\n');
            }
            self.has_failed = true;
            disk.append(Area::State, &self.backend, FILE_NAME, &self.unwritten)?;
            disk.sync(Area::State, &self.backend, FILE_NAME)?;
            disk.sync_folder(Area::State, &self.backend)?;
            self.has_failed = false;
            self.unwritten.clear();
        }
        // They are on disk. That they cannot be read is said where they are counted.
        Ok(self.read(disk).unwrap_or(true))
    }

    fn ends_torn(&self, disk: &mut impl Disk) -> io::Result<bool> {
        let Some(file) = unless_missing(disk.open(Area::State, &self.backend, FILE_NAME))? else {
            return Ok(false);
        };
        let mut last = [b'\n'];
        let bytes = file.meta()?.bytes;
        read_fully(&file, bytes.saturating_sub(1), &mut last)?;
        Ok(last != *b"\n")
    }
}

/// What is written of a key that is left different.
#[must_use]
pub fn difference_of(backend: &str, compared: &Compared, left: WhyLeft, unix: u64) -> Difference {
    let KeyId {
        kind,
        table,
        key,
        body,
    } = &compared.key;
    let stored = |seen| match seen {
        Seen::Absent => None,
        Seen::Present { version, score } => Some(Stored {
            version,
            score: (*kind == Kind::SortedSet).then_some(score),
        }),
    };
    Difference {
        unix,
        backend: backend.to_owned(),
        peer: compared.peer.to_string(),
        kind: kind.name().to_owned(),
        table: table.to_vec(),
        key: key.to_vec(),
        member: body.as_ref().map(|body| body.to_vec()),
        on_backend: stored(compared.on_backend),
        on_peer: stored(compared.on_peer),
        had_ttl: compared.had_ttl,
        why: left.code().to_owned(),
        detail: left.text().to_owned(),
    }
}
