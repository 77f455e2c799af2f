//! Disk space that is reserved for checkpoints on a full disk.
//!
//! In a usual installation, logs and state are on one disk. When it is full, only deleting finished
//! logs makes room, and a log is deleted only when a durable checkpoint contains that it is settled
//! (G10). So a spare file reserves room for the checkpoints. It is removed when a write finds no
//! room; then the checkpoints are written, logs are deleted, and the file is created again.
//!
//! ```text
//!   held ── a write finds no room ──▶ given up; the write is tried again at once
//!    ▲                                  │
//!    └── a release_interval later, if there is room
//! ```

use std::time::Duration;

use crate::clock::Now;
use crate::limits::{SPARE_BYTES_MIN, SPARE_PER_CHECKPOINT};
use crate::replay::disk::Disk;
use crate::replay::logged::LoggedOnce;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Spare {
    /// Bytes that are reserved; 0 if none are.
    held_bytes: u64,
    /// When it was given up last, monotonic.
    given_up_at: Option<Duration>,
    /// How often that made room.
    times_given_up: u32,
    /// That nothing is reserved.
    lacking: LoggedOnce,
}

impl Spare {
    /// Reserves as much as checkpoints of this many bytes in total need, if an attempt is due.
    pub(super) fn take(
        &mut self,
        disk: &mut impl Disk,
        checkpoint_bytes: u64,
        release_interval: Duration,
        now: Now,
    ) {
        let wanted_bytes = SPARE_BYTES_MIN.max(checkpoint_bytes * SPARE_PER_CHECKPOINT);
        let take_at = self
            .given_up_at
            .map(|at| at.saturating_add(release_interval));
        if self.held_bytes >= wanted_bytes || take_at.is_some_and(|at| now.monotonic < at) {
            return;
        }
        match disk.reserve(wanted_bytes) {
            Ok(false) => {}
            Ok(true) => {
                self.held_bytes = wanted_bytes;
                if self.lacking.ends() {
                    tracing::info!(
                        bytes = wanted_bytes,
                        "there is room again, and it is kept aside for checkpoints on a full disk"
                    );
                }
            }
            Err(cause) => {
                self.held_bytes = 0;
                if self.lacking.begins() {
                    tracing::warn!(
                        %cause,
                        bytes = wanted_bytes,
                        "no room can be kept aside for checkpoints: should the disk of the state \
                         be full, no log can be deleted until somebody makes room"
                    );
                }
            }
        }
    }

    /// How often room was made by giving it up.
    pub(super) fn times_given_up(&self) -> u32 {
        self.times_given_up
    }

    /// Gives the reserved room up. Returns whether that made room.
    pub(super) fn give_up(&mut self, disk: &mut impl Disk, now: Now) -> bool {
        if std::mem::take(&mut self.held_bytes) == 0 {
            return false;
        }
        self.given_up_at = Some(now.monotonic);
        self.lacking.begins();
        match disk.reserve(0) {
            Ok(was_there) => {
                self.times_given_up += u32::from(was_there);
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
