//! Reads a backend's state at a start: our checkpoint, or else what the original left, or else
//! nothing.

use std::collections::HashSet;
use std::io::{self, ErrorKind};

use crate::ledger::backend::BackendLedger;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::identity::LogKey;
use crate::ledger::legacy::{self, LegacyStatus, LegacyTotals};
use crate::ledger::plan::LegacyResume;
use crate::ledger::rejected::{self, RejectedLine};
use crate::limits::{
    CHECKPOINT_BYTES_MAX, CHECKPOINT_READS_MAX, OUTAGES_BYTES_MAX, REJECTED_TAIL_BYTES_MAX,
};
use crate::replay::checkpointer::store::{
    CHECKPOINT, CHECKPOINT_NEW, OUTAGES, StoreError, doing, is_known_state,
};
use crate::replay::disk::{Area, Disk, LogEntry, read_fully, read_state, state_bytes};
use crate::replay::reachability::{file_line, split_file_line};

/// What was found.
pub(super) struct Found {
    pub(super) ledger: BackendLedger,
    /// The original's files that our next checkpoint replaces.
    pub(super) replaced: Vec<String>,
    /// The stored outages.
    pub(super) outages: Result<Option<Vec<u8>>, ()>,
}

/// Reads a backend's state. `attempt` is the number of this attempt, from 1.
pub(super) fn find(disk: &mut impl Disk, backend: &str, attempt: u32) -> Result<Found, StoreError> {
    let files = disk
        .entries(Area::State, backend)
        .map_err(doing("list the state's folder"))?;
    let has = |wanted: &str| files.iter().any(|file| file.name == wanted);
    if has(CHECKPOINT_NEW) {
        disk.remove(Area::State, backend, CHECKPOINT_NEW)
            .map_err(doing("remove an unfinished checkpoint"))?;
    }
    // A new `rejected.jsonl` that never took effect.
    if has(rejected::NEXT) {
        disk.remove(Area::State, backend, rejected::NEXT)
            .map_err(doing("remove an unfinished rejected.jsonl"))?;
        // If it cannot be removed, it does no harm.
        let _ = disk.remove(Area::Logs, backend, rejected::STAGED);
    }
    if has(rejected::NAME) {
        mend_rejected(disk, backend)?;
    }
    let outages = match files.iter().find(|file| file.name == OUTAGES) {
        Some(file) => read_outages(disk, backend, file.meta.key()),
        None => Ok(None),
    };
    let statuses = find_statuses(disk, backend, &files)?;
    let mut replaced: Vec<String> = statuses.iter().map(|(name, _)| name.clone()).collect();
    if has(legacy::TOTALS_NAME) {
        replaced.push(legacy::TOTALS_NAME.to_owned());
    }
    if has(CHECKPOINT)
        && let Some(checkpoint) = read_checkpoint(disk, backend, attempt)?
    {
        let ledger = BackendLedger::from_checkpoint(checkpoint);
        return Ok(Found {
            ledger,
            replaced,
            outages,
        });
    }
    let totals = if has(legacy::TOTALS_NAME) {
        read_totals(disk, backend)?
    } else {
        None
    };
    let entries: Vec<LegacyResume> = statuses
        .iter()
        .map(|(name, status)| status.into_resume(name))
        .collect();
    for entry in &entries {
        tracing::info!(
            backend,
            file = &*entry.name,
            line = entry.line + 1,
            "the original began this log; it goes on from this line"
        );
    }
    let statuses: Vec<LegacyStatus> = statuses.into_iter().map(|(_, status)| status).collect();
    let ledger = BackendLedger::from_legacy(legacy::first_totals(totals, &statuses), entries);
    Ok(Found {
        ledger,
        replaced,
        outages,
    })
}

/// The stored outages. They say that nothing has been sent since, so a copy of them, as one from a
/// backup, says nothing.
fn read_outages(disk: &mut impl Disk, backend: &str, key: LogKey) -> Result<Option<Vec<u8>>, ()> {
    let read = read_state(disk, backend, OUTAGES, OUTAGES_BYTES_MAX + 1);
    let Some(bytes) = read.map_err(|_| ())? else {
        return Ok(None);
    };
    let (outages, line) = split_file_line(&bytes);
    // Without a birth, a copy may have the inode of the file that was removed.
    let (_, born_nanos) = key;
    if born_nanos != 0 && line == file_line(key).as_bytes() {
        return Ok(Some(outages.to_vec()));
    }
    tracing::warn!(
        backend,
        "the file outages is a copy, as one from a backup, or an older version's: it is not \
         believed, and increments that may have been applied are looked up"
    );
    Err(())
}

/// What an earlier run knew of the logs that are in a folder now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::replay) struct Known {
    /// Logs that it had begun.
    pub(in crate::replay) logs_begun: usize,
    /// It has left something.
    pub(in crate::replay) has_state: bool,
}

/// What an earlier run knew of the logs in a backend's folder. Reads only, and trusts no more than
/// [`find`] does.
pub(in crate::replay) fn known_of(disk: &mut impl Disk, backend: &str) -> io::Result<Known> {
    let files = disk.entries(Area::State, backend)?;
    if files.is_empty() {
        return Ok(Known::default());
    }
    let entries = disk.entries(Area::Logs, backend)?;
    let has = |wanted: &str| files.iter().any(|file| file.name == wanted);
    let read = match has(CHECKPOINT) {
        true => read_state(disk, backend, CHECKPOINT, CHECKPOINT_BYTES_MAX + 1)?,
        false => None,
    };
    let checkpoint = read.and_then(|bytes| Checkpoint::decode(&bytes).ok());
    let files = checkpoint.iter().flat_map(|known| &known.resume.files);
    let begun: HashSet<LogKey> = files.map(|file| file.identity.key()).collect();
    // The original knew logs by their names.
    let is_begun = |entry: &&LogEntry| {
        let by_original = || !is_known_state(&entry.name) && has(&entry.name);
        begun.contains(&entry.meta.key()) || checkpoint.is_none() && by_original()
    };
    Ok(Known {
        logs_begun: entries.iter().filter(is_begun).count(),
        has_state: true,
    })
}

/// Our checkpoint; `None` if there is none, or none that can be trusted, which is logged.
fn read_checkpoint(
    disk: &mut impl Disk,
    backend: &str,
    attempt: u32,
) -> Result<Option<Checkpoint>, StoreError> {
    let why = match read_state(disk, backend, CHECKPOINT, CHECKPOINT_BYTES_MAX + 1) {
        Ok(None) => return Ok(None),
        Ok(Some(bytes)) => match Checkpoint::decode(&bytes) {
            Ok(checkpoint) => return Ok(Some(checkpoint)),
            Err(fault) => fault.to_string(),
        },
        Err(cause)
            if cause.kind() == ErrorKind::PermissionDenied || attempt < CHECKPOINT_READS_MAX =>
        {
            return Err(doing("read the checkpoint")(cause));
        }
        Err(cause) => cause.to_string(),
    };
    tracing::warn!(
        backend,
        file = CHECKPOINT,
        why,
        "the checkpoint cannot be trusted: what is left of this backend's logs is sent again from \
         its beginning, and its totals start anew"
    );
    Ok(None)
}

fn find_statuses(
    disk: &mut impl Disk,
    backend: &str,
    files: &[LogEntry],
) -> Result<Vec<(String, LegacyStatus)>, StoreError> {
    let mut statuses = Vec::new();
    let is_status = |file: &&LogEntry| {
        !is_known_state(&file.name) && file.meta.bytes == legacy::STATUS_BYTES as u64
    };
    for LogEntry { name, .. } in files.iter().filter(is_status) {
        let content = read_state(disk, backend, name, legacy::STATUS_BYTES)
            .map_err(doing("read a status file of the original"))?;
        if let Some(Ok(status)) = content.map(|content| LegacyStatus::decode(&content)) {
            statuses.push((name.clone(), status));
        }
    }
    Ok(statuses)
}

fn read_totals(disk: &mut impl Disk, backend: &str) -> Result<Option<LegacyTotals>, StoreError> {
    let bytes = read_state(disk, backend, legacy::TOTALS_NAME, legacy::TOTALS_BYTES + 1)
        .map_err(doing("read the original's totals"))?;
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    Ok(LegacyTotals::decode(&bytes)
        .inspect_err(|why| {
            tracing::warn!(backend, file = legacy::TOTALS_NAME, %why, "the \
            original's totals cannot be taken over; counting starts at zero")
        })
        .ok())
}

/// Removes the rest of an append that a crash has cut off, so that the next append begins a line.
fn mend_rejected(disk: &mut impl Disk, backend: &str) -> Result<(), StoreError> {
    let name = rejected::NAME;
    let length = state_bytes(disk, backend, name)
        .map_err(doing("measure rejected.jsonl"))?
        .unwrap_or(0);
    let (whole, tail) = split_tail(disk, backend, length)?;
    if whole == length {
        return Ok(());
    }
    if tail.is_some_and(|tail| RejectedLine::parse(&tail).is_ok()) {
        disk.append(Area::State, backend, name, b"\n")
            .map_err(doing("end the last line of rejected.jsonl"))?;
    } else {
        tracing::warn!(
            backend,
            file = name,
            bytes = length - whole,
            "a torn line at the end is cut off; its log line will be rejected again"
        );
        disk.truncate(Area::State, backend, name, whole)
            .map_err(doing("cut a torn line off rejected.jsonl"))?;
    }
    disk.sync(Area::State, backend, name)
        .map_err(doing("sync rejected.jsonl"))
}

/// Where the last line without newline begins, and that line, unless it is too long to be examined.
fn split_tail(
    disk: &mut impl Disk,
    backend: &str,
    length: u64,
) -> Result<(u64, Option<Vec<u8>>), StoreError> {
    const PIECE_BYTES: u64 = 64 * 1024;
    let mut tail = Vec::new();
    let mut begins = length;
    while begins > 0 {
        let from = begins.saturating_sub(PIECE_BYTES);
        let piece = read_exactly(disk, backend, from, begins)?;
        let newline = memchr::memrchr(b'\n', &piece).map(|at| at + 1);
        let kept = piece[newline.unwrap_or(0)..].to_vec();
        begins -= kept.len() as u64;
        if tail.len() <= REJECTED_TAIL_BYTES_MAX {
            tail.splice(..0, kept);
        }
        if newline.is_some() {
            break;
        }
    }
    Ok((
        begins,
        (tail.len() <= REJECTED_TAIL_BYTES_MAX).then_some(tail),
    ))
}

/// A part of rejected.jsonl, all of which has to be there.
pub(super) fn read_exactly(
    disk: &mut impl Disk,
    backend: &str,
    from: u64,
    to: u64,
) -> Result<Vec<u8>, StoreError> {
    let reading = doing("read the end of rejected.jsonl");
    let mut piece = vec![0; usize::try_from(to - from).expect("a piece fits into memory")];
    if piece.is_empty() {
        return Ok(piece);
    }
    let file = disk.open(Area::State, backend, rejected::NAME);
    let filled = file.and_then(|file| read_fully(&file, from, &mut piece));
    if filled.map_err(&reading)? < piece.len() {
        return Err(reading(ErrorKind::UnexpectedEof.into()));
    }
    Ok(piece)
}
