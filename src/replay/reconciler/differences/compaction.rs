//! Replaces `differences.jsonl` by one that has only what is left.
//!
//! ```text
//!  fold ──▶ copy ──┬─▶ copy the rest ──▶ lock ─▶ the last of the rest ─▶ sync ─▶ rename ─▶ sync
//!   ▲              │   as it stands
//!   └── those beyond
//! ```
//!
//! What the file had when this began is read for what is left, and read again to copy those lines;
//! as many times as there are more than can be kept. What was appended since is copied as it
//! stands: it says the same behind those lines as behind all. Both the old file and the new one are
//! complete at any time, so a crash loses nothing. Whoever appends by a command locks the file, and
//! looks then whether it is still the one of that name. The last bytes are copied under the same
//! lock, so no settlement goes to a file that nobody reads any more.

use std::io;

use super::lines::Lines;
use crate::limits::{DIFFERENCES_SYNC_BYTES, RECONCILE_READ_BYTES};
use crate::reconcile::difference::{DifferencesLeft, FILE_NAME, Line, NEXT, hash_of};
use crate::replay::disk::{Area, Disk, OpenFile, read_fully};

/// See the module.
#[derive(Debug)]
pub(super) struct Compaction {
    phase: Phase,
    /// The lines up to here are folded and copied.
    end: u64,
    /// How many lines those are.
    end_lines: u64,
    window: DifferencesLeft,
    lines: Lines,
    /// Lines that were copied because they are left.
    copied: u64,
    new_bytes: u64,
    unsynced_bytes: u64,
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Fold,
    Copy,
    /// The old file is copied up to here.
    Rest(u64),
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more to be done.
    More,
    /// A command has the file in its hands; it goes on later.
    Later,
    /// The file is replaced.
    Done(Compacted),
}

/// The file that has taken the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Compacted {
    pub(super) bytes: u64,
    /// How many bytes it has less than the other.
    pub(super) saved_bytes: u64,
    /// How many lines it has less.
    pub(super) saved_lines: u64,
}

impl Compaction {
    /// Begins with the whole lines that were read by now. `none` is empty.
    pub(super) fn begin(
        disk: &mut impl Disk,
        backend: &str,
        read: &Lines,
        none: DifferencesLeft,
    ) -> io::Result<Self> {
        disk.write(Area::State, backend, NEXT, b"")?;
        Ok(Self {
            phase: Phase::Fold,
            end: read.whole_bytes(),
            end_lines: read.count(),
            window: none,
            lines: Lines::default(),
            copied: 0,
            new_bytes: 0,
            unsynced_bytes: 0,
        })
    }

    /// Does what takes no long time.
    pub(super) fn step<D: Disk>(
        &mut self,
        disk: &mut D,
        backend: &str,
        file: &D::File,
    ) -> io::Result<Step> {
        match self.phase {
            Phase::Fold => self.fold(file).map(|()| Step::More),
            Phase::Copy => self.copy(disk, backend, file).map(|()| Step::More),
            Phase::Rest(at) => self.copy_rest(disk, backend, file, at),
        }
    }

    fn fold(&mut self, file: &impl OpenFile) -> io::Result<()> {
        let window = &mut self.window;
        let is_all = self.lines.read_piece(file, self.end, |line| {
            line.into_iter().for_each(|line| window.handle_line(line));
        })?;
        if is_all {
            self.begin_phase(Phase::Copy);
        }
        Ok(())
    }

    fn copy<D: Disk>(&mut self, disk: &mut D, backend: &str, file: &D::File) -> io::Result<()> {
        let next = self.window.next();
        let (window, copied) = (&mut self.window, &mut self.copied);
        let mut kept = Vec::new();
        let is_all = self.lines.read_piece(file, self.end, |line| {
            let Some(line) = line else { return };
            if let Ok(Line::Difference(id, _)) = Line::parse(line)
                && window.take(id, hash_of(line))
            {
                kept.extend_from_slice(line);
                kept.push(b'\n');
                *copied += 1;
            }
        })?;
        self.append(disk, backend, &kept)?;
        if is_all {
            match next {
                Some(next) => {
                    self.window = next;
                    self.begin_phase(Phase::Fold);
                }
                None => self.begin_phase(Phase::Rest(self.end)),
            }
        }
        Ok(())
    }

    fn begin_phase(&mut self, phase: Phase) {
        self.phase = phase;
        self.lines = Lines::default();
    }

    fn copy_rest<D: Disk>(
        &mut self,
        disk: &mut D,
        backend: &str,
        file: &D::File,
        at: u64,
    ) -> io::Result<Step> {
        let mut at = at;
        // Most of it before the lock, which commands wait for.
        if self.copy_piece(disk, backend, file, &mut at)? {
            self.phase = Phase::Rest(at);
            return Ok(Step::More);
        }
        self.phase = Phase::Rest(at);
        self.sync(disk, backend)?;
        if !file.try_lock()? {
            return Ok(Step::Later);
        }
        if self.copy_piece(disk, backend, file, &mut at)? {
            self.phase = Phase::Rest(at);
            return Ok(Step::More);
        }
        self.sync(disk, backend)?;
        disk.rename(Area::State, backend, NEXT, FILE_NAME)?;
        disk.sync_folder(Area::State, backend)?;
        Ok(Step::Done(Compacted {
            bytes: self.new_bytes,
            saved_bytes: at - self.new_bytes,
            saved_lines: self.end_lines - self.copied,
        }))
    }

    /// Copies what stands there, and moves on behind it. Returns whether there may be more.
    fn copy_piece<D: Disk>(
        &mut self,
        disk: &mut D,
        backend: &str,
        file: &D::File,
        at: &mut u64,
    ) -> io::Result<bool> {
        let mut piece = vec![0; RECONCILE_READ_BYTES];
        let read = read_fully(file, *at, &mut piece)?;
        self.append(disk, backend, &piece[..read])?;
        *at += read as u64;
        Ok(read == piece.len())
    }

    fn append(&mut self, disk: &mut impl Disk, backend: &str, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        disk.append(Area::State, backend, NEXT, bytes)?;
        self.new_bytes += bytes.len() as u64;
        self.unsynced_bytes += bytes.len() as u64;
        match self.unsynced_bytes >= DIFFERENCES_SYNC_BYTES {
            true => self.sync(disk, backend),
            false => Ok(()),
        }
    }

    fn sync(&mut self, disk: &mut impl Disk, backend: &str) -> io::Result<()> {
        disk.sync(Area::State, backend, NEXT)?;
        self.unsynced_bytes = 0;
        Ok(())
    }
}
