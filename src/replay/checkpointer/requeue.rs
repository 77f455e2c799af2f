//! Takes lines out of rejected.jsonl: to replay them, or to drop them.
//!
//! ```text
//!   rejected.jsonl ──read once──┬─▶ other lines ─▶ rejected.jsonl.new       ┐ written and synced:
//!                               └─▶ lines to be replayed ─▶ a staged log    ┘ no effect yet
//!   then  1. the staged log gets its name, synced: the reader finds it
//!         2. rejected.jsonl.new becomes rejected.jsonl, synced
//! ```
//!
//! A crash at any point loses no line. A crash between the last two steps leaves lines in
//! rejected.jsonl that are also being replayed. Replaying those again is harmless (G4: a log of
//! requeued lines counts as sent before). What needs room on the disk comes first, so that a full
//! disk changes nothing.
//!
//! The file is streamed: it takes memory for one line and for one write.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::ledger::rejected::{self, RejectedLine};
use crate::limits::{CHUNK_BYTES_MAX, REJECTED_WRITE_BYTES_MAX};
use crate::replay::checkpointer::store::{StoreError, doing};
use crate::replay::disk::{Area, Disk, OpenFile, state_bytes, unless_missing};
use crate::replay::messages::{Filter, RejectedVerb, Requeued};

/// Drops a backend's rejected lines while no server runs. The caller must hold the lock of the
/// state.
///
/// # Errors
/// What could not be done, as a sentence; nothing was dropped then.
pub fn drop_rejected(
    disk: &mut impl Disk,
    backend: &str,
    filter: &Filter,
) -> Result<Requeued, String> {
    let bytes = state_bytes(disk, backend, rejected::NAME).map_err(|error| error.to_string())?;
    requeue(
        disk,
        backend,
        bytes.unwrap_or(0),
        RejectedVerb::Drop,
        filter,
        0,
    )
    .map_err(|error| error.to_string())
}

/// Takes the lines that `filter` admits out of the first `bytes` of rejected.jsonl.
pub(super) fn requeue(
    disk: &mut impl Disk,
    backend: &str,
    bytes: u64,
    what: RejectedVerb,
    filter: &Filter,
    unix: u64,
) -> Result<Requeued, StoreError> {
    clear(disk, backend)?;
    let prepared = prepare(disk, backend, bytes, what, filter);
    let requeued = match prepared {
        Ok(requeued) if requeued.done > 0 => requeued,
        other => {
            // If this fails too, the next attempt begins with it.
            let _ = clear(disk, backend);
            return other;
        }
    };
    if what == RejectedVerb::Replay && !failpoint!(ReplayNothing) {
        publish(disk, backend, unix)?;
    }
    disk.rename(Area::State, backend, rejected::NEXT, rejected::NAME)
        .and_then(|()| disk.sync_folder(Area::State, backend))
        .map_err(doing(match what {
            RejectedVerb::Replay => {
                "put the new rejected.jsonl into its place; the lines are on their way, and still \
                 in it"
            }
            RejectedVerb::Drop => "put the new rejected.jsonl into its place",
        }))?;
    Ok(requeued)
}

/// Removes what an earlier attempt left.
fn clear(disk: &mut impl Disk, backend: &str) -> Result<(), StoreError> {
    unless_missing(disk.remove(Area::Logs, backend, rejected::STAGED))
        .map_err(doing("remove an unfinished log of lines to be replayed"))?;
    unless_missing(disk.remove(Area::State, backend, rejected::NEXT))
        .map_err(doing("remove an unfinished rejected.jsonl"))?;
    Ok(())
}

/// Writes both files, durably.
fn prepare(
    disk: &mut impl Disk,
    backend: &str,
    bytes: u64,
    what: RejectedVerb,
    filter: &Filter,
) -> Result<Requeued, StoreError> {
    let mut requeued = Requeued::default();
    let (mut kept, mut taken) = (Vec::new(), Vec::new());
    let mut lines = Lines::new(bytes);
    while let Some(line) = lines.next(disk, backend)? {
        let line = &lines.buffer[line];
        let read = RejectedLine::parse(line).ok();
        // Nobody else would ever take it out, and it is counted.
        if read.is_none() && what == RejectedVerb::Drop && filter.admits_unread() {
            requeued.done += 1;
            continue;
        }
        match read.filter(|parsed| filter.admits(parsed, rejected::id(line))) {
            Some(parsed) if what == RejectedVerb::Drop || parsed.is_whole() => {
                requeued.done += 1;
                taken.extend_from_slice(&parsed.raw);
                taken.push(b'\n');
            }
            other => {
                requeued.cut += u64::from(other.is_some());
                requeued.left += 1;
                kept.extend_from_slice(line);
                kept.push(b'\n');
            }
        }
        if what == RejectedVerb::Drop {
            taken.clear();
        }
        if taken.len() >= REJECTED_WRITE_BYTES_MAX {
            stage(disk, backend, &mut taken)?;
        }
        if kept.len() >= REJECTED_WRITE_BYTES_MAX {
            keep(disk, backend, &mut kept)?;
        }
    }
    if requeued.done == 0 {
        return Ok(requeued);
    }
    keep(disk, backend, &mut kept)?;
    disk.sync(Area::State, backend, rejected::NEXT)
        .map_err(doing("sync the new rejected.jsonl"))?;
    if what == RejectedVerb::Replay {
        stage(disk, backend, &mut taken)?;
        disk.sync(Area::Logs, backend, rejected::STAGED)
            .map_err(doing("sync the log of lines to be replayed"))?;
    }
    Ok(requeued)
}

fn stage(disk: &mut impl Disk, backend: &str, taken: &mut Vec<u8>) -> Result<(), StoreError> {
    disk.append(Area::Logs, backend, rejected::STAGED, taken)
        .map_err(doing("write the log of lines to be replayed"))?;
    taken.clear();
    Ok(())
}

fn keep(disk: &mut impl Disk, backend: &str, kept: &mut Vec<u8>) -> Result<(), StoreError> {
    disk.append(Area::State, backend, rejected::NEXT, kept)
        .map_err(doing("write the new rejected.jsonl"))?;
    kept.clear();
    Ok(())
}

/// Gives the staged log a name that no log has.
fn publish(disk: &mut impl Disk, backend: &str, unix: u64) -> Result<(), StoreError> {
    let listed = disk
        .entries(Area::Logs, backend)
        .map_err(doing("list the log folder"))?;
    let names: BTreeSet<&str> = listed.iter().map(|entry| entry.name.as_str()).collect();
    let name = (0..)
        .map(|nth| rejected::returned_name(unix, nth))
        .find(|name| !names.contains(name.as_str()))
        .expect("a folder has fewer logs than there are numbers");
    disk.rename(Area::Logs, backend, rejected::STAGED, &name)
        .map_err(doing("give the log of lines to be replayed its name"))?;
    disk.sync_folder(Area::Logs, backend).map_err(doing(
        "sync the log folder; the lines are on their way, and still in rejected.jsonl",
    ))
}

/// The lines of rejected.jsonl, one at a time.
struct Lines {
    /// Where reading ends.
    end: u64,
    /// Where reading goes on.
    next: u64,
    buffer: Vec<u8>,
    /// What is before it in `buffer` has been returned.
    given: usize,
    /// There is no newline in `buffer` from `given` up to here.
    searched: usize,
}

impl Lines {
    fn new(end: u64) -> Self {
        Self {
            end,
            next: 0,
            buffer: Vec::new(),
            given: 0,
            searched: 0,
        }
    }

    /// Where the next line is in `buffer`, without its newline. The last one may have none.
    fn next(
        &mut self,
        disk: &mut impl Disk,
        backend: &str,
    ) -> Result<Option<Range<usize>>, StoreError> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                let line = self.given..self.searched + at;
                self.given = line.end + 1;
                self.searched = self.given;
                return Ok(Some(line));
            }
            if !self.fill(disk, backend)? {
                let rest = self.given..self.buffer.len();
                self.given = rest.end;
                self.searched = rest.end;
                return Ok((!rest.is_empty()).then_some(rest));
            }
        }
    }

    /// Reads some more. Returns false if there is no more.
    fn fill(&mut self, disk: &mut impl Disk, backend: &str) -> Result<bool, StoreError> {
        self.buffer.drain(..self.given);
        self.given = 0;
        self.searched = self.buffer.len();
        let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(false);
        }
        let has = self.buffer.len();
        self.buffer.resize(has + left.min(CHUNK_BYTES_MAX), 0);
        let read = disk
            .open(Area::State, backend, rejected::NAME)
            .and_then(|file| file.read_at(self.next, &mut self.buffer[has..]))
            .map_err(doing("read rejected.jsonl"))?;
        self.buffer.truncate(has + read);
        self.next += read as u64;
        if read == 0 {
            self.end = self.next;
        }
        Ok(read > 0)
    }
}
