//! Reads a backend's state at a start: our checkpoint, or else what the original left, or else
//! nothing.

use std::collections::HashSet;
use std::io::{self, ErrorKind};

use crate::ledger::backend::BackendLedger;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::legacy::{self, LegacyStatus, LegacyTotals};
use crate::ledger::plan::LegacyResume;
use crate::ledger::rejected::{self, RejectedLine};
use crate::limits::{
    CHECKPOINT_BYTES_MAX, CHECKPOINT_READS_MAX, OUTAGES_BYTES_MAX, REJECTED_TAIL_BYTES_MAX,
};
use crate::replay::checkpointer::store::{
    CHECKPOINT, CHECKPOINT_NEW, OUTAGES, StoreError, doing, is_known_state,
};
use crate::replay::disk::{Disk, LogEntry};

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
    let names = disk
        .state_files(backend)
        .map_err(doing("list the state's folder"))?;
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    if has(CHECKPOINT_NEW) {
        disk.remove_state(backend, CHECKPOINT_NEW)
            .map_err(doing("remove an unfinished checkpoint"))?;
    }
    // A new `rejected.jsonl` that never took effect.
    if has(rejected::NEXT) {
        disk.remove_state(backend, rejected::NEXT)
            .map_err(doing("remove an unfinished rejected.jsonl"))?;
        // If it cannot be removed, it does no harm.
        let _ = disk.delete_log(backend, rejected::STAGED);
    }
    if has(rejected::NAME) {
        mend_rejected(disk, backend)?;
    }
    let outages = if has(OUTAGES) {
        disk.read_state(backend, OUTAGES, OUTAGES_BYTES_MAX + 1)
            .map_err(|_| ())
    } else {
        Ok(None)
    };
    let statuses = find_statuses(disk, backend, &names)?;
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
    let names = disk.state_files(backend)?;
    if names.is_empty() {
        return Ok(Known::default());
    }
    let entries = disk.log_entries(backend)?;
    let read = match names.iter().any(|name| name == CHECKPOINT) {
        true => disk.read_state(backend, CHECKPOINT, CHECKPOINT_BYTES_MAX + 1)?,
        false => None,
    };
    let checkpoint = read.and_then(|bytes| Checkpoint::decode(&bytes).ok());
    let files = checkpoint.iter().flat_map(|known| &known.resume.files);
    let begun: HashSet<(u64, u64)> = files
        .map(|file| (file.identity.inode, file.identity.born_nanos))
        .collect();
    // The original knew logs by their names.
    let is_begun = |entry: &&LogEntry| {
        let by_original = || !is_known_state(&entry.name) && names.contains(&entry.name);
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
    let why = match disk.read_state(backend, CHECKPOINT, CHECKPOINT_BYTES_MAX + 1) {
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
    names: &[String],
) -> Result<Vec<(String, LegacyStatus)>, StoreError> {
    const READING: &str = "read a status file of the original";
    let mut statuses = Vec::new();
    for name in names.iter().filter(|name| !is_known_state(name)) {
        let bytes = disk.state_bytes(backend, name).map_err(doing(READING))?;
        if bytes != Some(legacy::STATUS_BYTES as u64) {
            continue;
        }
        let content = disk
            .read_state(backend, name, legacy::STATUS_BYTES)
            .map_err(doing(READING))?;
        if let Some(Ok(status)) = content.map(|content| LegacyStatus::decode(&content)) {
            statuses.push((name.clone(), status));
        }
    }
    Ok(statuses)
}

fn read_totals(disk: &mut impl Disk, backend: &str) -> Result<Option<LegacyTotals>, StoreError> {
    let bytes = disk
        .read_state(backend, legacy::TOTALS_NAME, legacy::TOTALS_BYTES + 1)
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
    let length = disk
        .state_bytes(backend, name)
        .map_err(doing("measure rejected.jsonl"))?
        .unwrap_or(0);
    let (whole, tail) = split_tail(disk, backend, length)?;
    if whole == length {
        return Ok(());
    }
    if tail.is_some_and(|tail| RejectedLine::parse(&tail).is_ok()) {
        disk.append_state(backend, name, b"\n")
            .map_err(doing("end the last line of rejected.jsonl"))?;
    } else {
        tracing::warn!(
            backend,
            file = name,
            bytes = length - whole,
            "a torn line at the end is cut off; its log line will be rejected again"
        );
        disk.truncate_state(backend, name, whole)
            .map_err(doing("cut a torn line off rejected.jsonl"))?;
    }
    disk.sync_state(backend, name)
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
    let mut filled = 0;
    while filled < piece.len() {
        match disk.read_state_at(
            backend,
            rejected::NAME,
            from + filled as u64,
            &mut piece[filled..],
        ) {
            Ok(0) => return Err(reading(ErrorKind::UnexpectedEof.into())),
            Ok(bytes) => filled += bytes,
            Err(cause) => return Err(reading(cause)),
        }
    }
    Ok(piece)
}
