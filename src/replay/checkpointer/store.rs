//! The two sequences by which state becomes durable.
//!
//! *Replace*: write a new file, sync it, rename it over the old one, sync the folder. A crash at
//! any point leaves either the old content or the new one, complete. This is a durable write: the
//! order is defined here, and the disk takes the steps while the checkpointer continues.
//!
//! *Append*: append, sync. After any failure the file is cut back to its old length, and the append
//! starts over. After a failed sync nothing is known about what was written, and a second sync
//! could succeed without it: so the bytes are written again.

use std::io;
use std::time::Duration;

use crate::ledger::{legacy, rejected};
use crate::reconcile::difference;
use crate::replay::disk::{Area, Disk, OpenFile, state_bytes, unless_missing};
use crate::replay::durable_write::{Step, StepError};
use crate::replay::reachability::file_line;

pub(super) const CHECKPOINT: &str = "checkpoint";
/// The name under which the next checkpoint is written.
pub(super) const CHECKPOINT_NEW: &str = "checkpoint.new";

/// The known outages of the backend; see [`gate`](crate::replay::reachability::gate).
pub(super) const OUTAGES: &str = "outages";

/// The name under which the next file of outages is written.
pub(super) const OUTAGES_NEW: &str = "outages.new";

/// Whether a file of this name in a backend's state folder is one that we write, or the original's
/// totals. Any other may be a status file of the original, which has the name of its log.
pub(super) fn is_known_state(name: &str) -> bool {
    let known = [
        CHECKPOINT,
        CHECKPOINT_NEW,
        OUTAGES,
        OUTAGES_NEW,
        rejected::NAME,
        rejected::NEXT,
        difference::FILE_NAME,
        difference::NEXT,
        legacy::TOTALS_NAME,
    ];
    known.contains(&name)
}

/// Why state could not be made durable.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// What was being done, and the system's error; its text names the path.
    #[error("cannot {doing}: {cause}")]
    Io {
        /// As in "write the checkpoint".
        doing: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// `rejected.jsonl` has reached its limit.
    #[error(
        "rejected.jsonl has {bytes} bytes and may have {bytes_max} (`rejected_max_bytes`): look \
         into it and move it away, or allow more"
    )]
    RejectedFull {
        /// Its length.
        bytes: u64,
        /// The setting.
        bytes_max: u64,
    },
    /// A checkpoint is larger than any that is read back.
    #[error(
        "the checkpoint would have {0} bytes, more than are read back: are there that many logs?"
    )]
    CheckpointTooLarge(usize),
    /// A checkpoint does not complete.
    #[error("the checkpoint is still under way after {} s: the disk hangs", .0.as_secs())]
    CheckpointHangs(Duration),
}

impl StoreError {
    /// Whether the disk is full, or this user's quota used up.
    pub(super) fn lacks_room(&self) -> bool {
        match self {
            Self::Io { cause, .. } => matches!(
                cause.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            _ => false,
        }
    }
}

/// Makes a [`StoreError::Io`], for `map_err`.
pub(super) fn doing(doing: &'static str) -> impl Fn(io::Error) -> StoreError {
    move |cause| StoreError::Io { doing, cause }
}

/// The steps that replace a backend's checkpoint. Once all have succeeded, it is durable. A
/// checkpoint that `forgets_files` is written only after the deletion of their names is durable.
pub fn replace_checkpoint(steps: &mut Vec<Step>, forgets_files: bool) {
    steps.clear();
    if forgets_files {
        steps.push(Step::SyncLogFolder);
    }
    steps.push(Step::Write(CHECKPOINT_NEW));
    if !failpoint!(UnsyncedCheckpoint) {
        steps.push(Step::Sync(CHECKPOINT_NEW));
    }
    steps.push(Step::Rename {
        from: CHECKPOINT_NEW,
        to: CHECKPOINT,
    });
    steps.push(Step::SyncStateFolder);
}

/// Cleans up after a failed step, and returns the error with what was being done.
pub(super) fn not_replaced(disk: &mut impl Disk, backend: &str, error: StepError) -> StoreError {
    let StepError { step, cause } = error;
    if let Step::Write(name) | Step::Sync(name) = step {
        // The next attempt should begin with a new file. If the removal fails too, it begins with
        // emptying the old one.
        let _ = disk.remove(Area::State, backend, name);
    }
    doing(match step {
        Step::SyncLogFolder => "sync the log folder",
        Step::Write(_) => "write the checkpoint",
        Step::Sync(_) => "sync the checkpoint",
        Step::Rename { .. } => "put the checkpoint into its place",
        Step::SyncStateFolder => "sync the state's folder",
    })(cause)
}

/// Replaces the stored outages. They end with a line that says which file it is.
pub(super) fn keep_outages(
    disk: &mut impl Disk,
    backend: &str,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let mut write = || -> io::Result<()> {
        disk.write(Area::State, backend, OUTAGES_NEW, bytes)?;
        let meta = disk.open(Area::State, backend, OUTAGES_NEW)?.meta()?;
        let file_line = file_line(meta.key());
        disk.append(Area::State, backend, OUTAGES_NEW, file_line.as_bytes())
    };
    write().map_err(doing("write its outages"))?;
    disk.sync(Area::State, backend, OUTAGES_NEW)
        .map_err(doing("sync its outages"))?;
    disk.rename(Area::State, backend, OUTAGES_NEW, OUTAGES)
        .map_err(doing("put its outages into their place"))?;
    disk.sync_folder(Area::State, backend)
        .map_err(doing("sync the state's folder"))
}

/// Removes the stored outages, durably.
pub(super) fn forget_outages(disk: &mut impl Disk, backend: &str) -> Result<(), StoreError> {
    unless_missing(disk.remove(Area::State, backend, OUTAGES))
        .map_err(doing("remove its outages, before it is sent to"))?;
    disk.sync_folder(Area::State, backend)
        .map_err(doing("sync the state's folder"))
}

/// A state file that only grows.
#[derive(Debug)]
pub(super) struct AppendFile {
    name: &'static str,
    /// After a failure: the length up to which the content is known to be good.
    good_bytes: Option<u64>,
    /// Its name is durable.
    named: bool,
}

impl AppendFile {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            good_bytes: None,
            named: false,
        }
    }

    /// Its length, without what a failed append left.
    pub(super) fn bytes(&self, disk: &mut impl Disk, backend: &str) -> Result<u64, StoreError> {
        let bytes = state_bytes(disk, backend, self.name)
            .map_err(doing("measure rejected.jsonl"))?
            .unwrap_or(0);
        Ok(self.good_bytes.map_or(bytes, |good| good.min(bytes)))
    }

    /// Appends `bytes`. When this returns `Ok`, they are durable.
    pub(super) fn append(
        &mut self,
        disk: &mut impl Disk,
        backend: &str,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let length =
            state_bytes(disk, backend, self.name).map_err(doing("measure rejected.jsonl"))?;
        // Somebody may have moved the file away.
        self.named &= length.is_some();
        let good = self.bytes(disk, backend)?;
        if length.is_some_and(|length| length > good) {
            disk.truncate(Area::State, backend, self.name, good)
                .map_err(doing("cut a failed write off rejected.jsonl"))?;
        }
        if self.good_bytes.is_some() && length.is_some() {
            // What is appended now takes the place of what was cut off. A crash before it is synced
            // would leave a line of which one sector is old and the next is new.
            disk.sync(Area::State, backend, self.name)
                .map_err(doing("sync rejected.jsonl"))?;
        }
        self.good_bytes = Some(good);
        let appended = self.append_synced(disk, backend, bytes);
        match appended {
            Ok(()) => self.good_bytes = None,
            // At once, so that readers see as little of it as possible. If this fails too, the next
            // append does it.
            Err(_) => drop(disk.truncate(Area::State, backend, self.name, good)),
        }
        appended
    }

    /// Makes the present content durable, and the file's name.
    pub(super) fn sync(&mut self, disk: &mut impl Disk, backend: &str) -> Result<(), StoreError> {
        disk.sync(Area::State, backend, self.name)
            .map_err(doing("sync rejected.jsonl"))?;
        if !self.named {
            disk.sync_folder(Area::State, backend)
                .map_err(doing("sync the state's folder"))?;
            self.named = true;
        }
        Ok(())
    }

    fn append_synced(
        &mut self,
        disk: &mut impl Disk,
        backend: &str,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        disk.append(Area::State, backend, self.name, bytes)
            .map_err(doing("append to rejected.jsonl"))?;
        if failpoint!(SettleBeforeSync) {
            return Ok(());
        }
        self.sync(disk, backend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::testdisk::{Crash, Op, TestDisk};

    const FILE: &str = "rejected.jsonl";

    /// A line of several sectors.
    fn line(byte: u8) -> Vec<u8> {
        let mut line = vec![byte; 3000];
        line.push(b'\n');
        line
    }

    /// Appends after an append that failed, on a machine that dies at this step.
    fn left_after(step: u64, seed: u64) -> Vec<u8> {
        let disk = TestDisk::default();
        let mut file = AppendFile::new(FILE);
        file.append(&mut disk.clone(), "b:1", &line(b'a')).unwrap();
        disk.fail(Op::Append(Area::State), io::ErrorKind::StorageFull, 0, 1);
        file.append(&mut disk.clone(), "b:1", &line(b'b'))
            .unwrap_err();
        disk.die_at(disk.steps() + step);
        let _ = file.append(&mut disk.clone(), "b:1", &line(b'c'));
        disk.crash(Crash::LosesSome(seed));
        disk.state("b:1", FILE).unwrap_or_default()
    }

    #[test]
    fn no_line_is_made_of_a_failed_append_and_a_later_one() {
        for (step, seed) in (0..6).flat_map(|step| (0..300).map(move |seed| (step, seed))) {
            let left = left_after(step, seed);
            // A sector that was never written is zeros, which are no line's.
            for line in left.split(|byte| *byte == b'\n') {
                let is_mixed = line.contains(&b'b') && line.contains(&b'c');
                assert!(
                    !is_mixed,
                    "step {step}, seed {seed}: {}",
                    line.escape_ascii()
                );
            }
        }
    }
}
