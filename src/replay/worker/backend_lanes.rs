//! What a worker keeps for each backend, and how its lanes' results leave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::OUTCOMES_PER_BATCH;
use crate::pace::{Bucket, LongTrials};
use crate::replay::batch_table::{BatchKey, BatchTable};
use crate::replay::chunk::Chunk;
use crate::replay::lane::{LaneSettings, RawLine, Sink};
use crate::replay::messages::{
    BackendId, CheckpointerMessage, ControlMessage, Epoch, FailedRecord, Rejection, SegmentId,
    Settled, Trouble,
};
use crate::replay::outbox::{After, Outbox};
use crate::replay::outcome::Settlement;
use crate::replay::worker::links::WorkerLinks;
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
    pub(super) fn hand_over(&mut self, links: &WorkerLinks, outbox: &mut Outbox) {
        hand_over(self.backend, &mut self.settled, links, outbox);
    }
}

fn hand_over(
    backend: BackendId,
    settled: &mut Vec<Settled>,
    links: &WorkerLinks,
    outbox: &mut Outbox,
) {
    if !settled.is_empty() {
        let batch = std::mem::replace(settled, links.settled_pool.take());
        outbox.checkpointer(
            After::Nothing,
            CheckpointerMessage::Settled { backend, batch },
        );
    }
}

/// Takes lanes' results into the outbox.
pub(super) struct Results<'a> {
    pub(super) backend: BackendId,
    pub(super) epoch: Epoch,
    pub(super) unix: u64,
    pub(super) settled: &'a mut Vec<Settled>,
    pub(super) sent: &'a mut Vec<(SegmentId, u32)>,
    pub(super) outbox: &'a mut Outbox,
    pub(super) links: &'a WorkerLinks,
}

impl Results<'_> {
    fn hand_over(&mut self) {
        hand_over(self.backend, self.settled, self.links, self.outbox);
    }
}

impl Sink for Results<'_> {
    fn settle(&mut self, held: &BatchTable, batch: BatchKey, line: u32, settlement: Settlement) {
        self.settled.push(Settled {
            segment: held.origin(batch).segment,
            line,
            settlement,
        });
        if self.settled.len() >= OUTCOMES_PER_BATCH {
            self.hand_over();
        }
    }

    fn reject(
        &mut self,
        held: &BatchTable,
        batch: BatchKey,
        line: u32,
        reason: &'static str,
        detail: String,
        raw: RawLine,
    ) {
        self.hand_over();
        let origin = held.origin(batch);
        self.outbox.checkpointer(
            After::Nothing,
            CheckpointerMessage::Rejected(Box::new(Rejection {
                backend: self.backend,
                file: origin.file,
                segment: origin.segment,
                line,
                offset: Some(raw.offset),
                reason,
                detail,
                raw: raw.bytes,
                in_log: raw.in_log,
                unix: self.unix,
            })),
        );
    }

    fn discard_sent(&mut self, held: &BatchTable, batch: BatchKey, line: u32) {
        self.sent.push((held.origin(batch).segment, line));
    }

    fn release(&mut self, chunk: Arc<Chunk>) {
        self.links.returns.release(chunk);
    }

    fn trouble(&mut self, lane: u16, trouble: Trouble, record: Option<FailedRecord>) {
        self.outbox.control(
            After::Nothing,
            ControlMessage::Trouble {
                backend: self.backend,
                lane,
                epoch: self.epoch,
                trouble,
                record,
            },
        );
    }
}
