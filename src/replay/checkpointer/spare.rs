//! Room that is kept aside for a full disk.
//!
//! Logs and state are on one disk as HA and we are installed. When it is full, only deleting
//! finished logs makes room, and a log goes only when a durable checkpoint says that it is settled
//! (G10). So a file is kept aside that can hold the checkpoints, and is given up when a write finds
//! no room: then they are written, logs go, and the file is taken again.
//!
//! ```text
//!   held ── a write finds no room ──▶ given up, the write is tried again at once ── a release_interval later, where there is room ──▶ held
//! ```

use std::time::Duration;

use crate::clock::Now;
use crate::limits::{SPARE_BYTES_MIN, SPARE_PER_CHECKPOINT};
use crate::replay::disk::Disk;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Spare {
    /// Bytes that are kept; 0: none are.
    held_bytes: u64,
    /// It is not taken before this.
    take_at: Duration,
    /// That there is none was reported.
    is_reported: bool,
}

impl Spare {
    /// Takes as much as checkpoints of so many bytes in all need, or has it grow to that, where it
    /// is time.
    pub(super) fn take(&mut self, disk: &mut impl Disk, checkpoint_bytes: u64, now: Now) {
        let wanted_bytes = SPARE_BYTES_MIN.max(checkpoint_bytes * SPARE_PER_CHECKPOINT);
        if self.held_bytes >= wanted_bytes || now.monotonic < self.take_at {
            return;
        }
        match disk.take_spare(wanted_bytes) {
            Ok(false) => {}
            Ok(true) => {
                self.held_bytes = wanted_bytes;
                if std::mem::take(&mut self.is_reported) {
                    tracing::info!(
                        bytes = wanted_bytes,
                        "there is room again, and it is kept aside for checkpoints on a full disk"
                    );
                }
            }
            Err(cause) => {
                self.held_bytes = 0;
                if !std::mem::replace(&mut self.is_reported, true) {
                    tracing::warn!(
                        %cause,
                        bytes = wanted_bytes,
                        "no room can be kept aside for checkpoints: should the disk of the state be \
                         full, no log can be deleted until somebody makes room"
                    );
                }
            }
        }
    }

    /// Gives it up. True: there is room now that was not there before.
    pub(super) fn give_up(
        &mut self,
        disk: &mut impl Disk,
        release_interval: Duration,
        now: Now,
    ) -> bool {
        if std::mem::take(&mut self.held_bytes) == 0 {
            return false;
        }
        self.take_at = now.after(release_interval);
        self.is_reported = true;
        match disk.give_up_spare() {
            Ok(was_there) => {
                tracing::warn!(
                    "the disk of the state is full: the room that was kept aside is used for \
                     checkpoints, so that finished logs can be deleted; make room on it"
                );
                was_there
            }
            Err(cause) => {
                tracing::warn!(%cause, "the room that was kept aside for checkpoints cannot be \
                    given up");
                false
            }
        }
    }
}
