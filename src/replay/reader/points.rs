//! Sync points on their way to the checkpointer: each waits until every folder has been listed once
//! more.
//!
//! So the checkpointer knows every log that was gone before the point was requested.

use std::time::Duration;

use crate::clock::Now;
use crate::replay::disk::Disk;
use crate::replay::messages::CheckpointerMessage;
use crate::replay::reader::LogReader;

/// A point that waits.
#[derive(Debug)]
pub(super) struct WaitingPoint {
    id: u64,
    is_backend: fn(&str) -> bool,
    asked_at: Duration,
}

impl<D: Disk> LogReader<D> {
    /// The controller requests a sync point.
    pub(super) fn handle_point(&mut self, id: u64, is_backend: fn(&str) -> bool, now: Now) {
        self.root.want_now(now);
        for at in 0..self.sources.len() {
            self.sources[at].listing.want_now(now);
        }
        self.points.push(WaitingPoint {
            id,
            is_backend,
            asked_at: now.monotonic,
        });
    }

    /// Passes the points on that need not wait any longer.
    pub(super) fn pass_points_on(&mut self, now: Now) {
        if self.points.is_empty() {
            return;
        }
        let sources = self.sources.iter().map(|source| &source.listing);
        let listings = sources.chain([&self.root]);
        let listed_at = listings.map(|listing| listing.listed_at(now)).min();
        let outbox = &mut self.outbox;
        self.points.retain(|point| {
            let waits = listed_at.is_some_and(|at| at < point.asked_at);
            if !waits {
                let (id, is_backend) = (point.id, point.is_backend);
                outbox.checkpointer(CheckpointerMessage::SyncPoint { id, is_backend });
            }
            waits
        });
    }
}
