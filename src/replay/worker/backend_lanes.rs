//! What a worker keeps for each backend.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::pace::{Bucket, LongTrials};
use crate::replay::lane::{LaneSettings, hand_over};
use crate::replay::links::Links;
use crate::replay::messages::{BackendId, Epoch, SegmentId, Settled};
use crate::replay::outbox::Outbox;
use crate::status::counters::BackendCounters;

/// One backend, as far as this worker has to do with it.
pub(super) struct BackendLanes {
    pub(super) backend: BackendId,
    pub(super) epoch: Epoch,
    pub(super) address: SocketAddr,
    pub(super) settings: Arc<LaneSettings>,
    pub(super) counters: Arc<BackendCounters>,
    /// Slots of its lanes: of lane `first + i * workers` at `i`.
    pub(super) slots: Vec<usize>,
    pub(super) ttl_ready: bool,
    /// When lookups may go, monotonic.
    pub(super) lookups_from: Duration,
    pub(super) bucket: Bucket,
    pub(super) long_trials: LongTrials,
    pub(super) settled: Vec<Settled>,
    /// Lines that were let go of after they had been sent, since this was last told.
    pub(super) sent: Vec<(SegmentId, u32)>,
    pub(super) drain: Option<Drain>,
    /// A checkpoint was asked for, and is not durable yet.
    pub(super) awaits_checkpoint: bool,
}

/// A flush that lets what is in flight be answered first.
#[derive(Clone, Copy)]
pub(super) struct Drain {
    pub(super) epoch: Epoch,
    pub(super) until: Duration,
}

impl BackendLanes {
    /// Takes other settings over; connections stay.
    pub(super) fn set(&mut self, settings: Arc<LaneSettings>) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rate need not be exact to the last record"
        )]
        let rate = settings.records_per_second_max as f64 * self.slots.len() as f64
            / f64::from(settings.lanes.max(1));
        self.bucket.set_rate(rate);
        self.settings = settings;
    }

    /// Keeps the number of connections.
    pub(super) fn count_connection(&self, before: bool, after: bool) {
        match (before, after) {
            (false, true) => self.counters.connections_open.add(1),
            (true, false) => self.counters.connections_open.sub(1),
            _ => {}
        }
    }

    /// Puts what is settled into the outbox.
    pub(super) fn hand_over(&mut self, links: &Links, outbox: &mut Outbox) {
        hand_over(self.backend, &mut self.settled, &links.settled_pool, outbox);
    }
}
