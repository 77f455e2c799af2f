//! How a lane's results leave, in the lane's order.

use std::sync::Arc;

use super::RawLine;
use crate::limits::OUTCOMES_PER_BATCH;
use crate::replay::batch_table::{BatchKey, BatchTable};
use crate::replay::chunk::{BufferReturns, Chunk};
use crate::replay::messages::{
    BackendId, BackendMessage, ControlMessage, Epoch, FailedRecord, Rejection, SegmentId, Settled,
    Trouble,
};
use crate::replay::outbox::Outbox;
use crate::replay::outcome::Settlement;
use crate::replay::vec_pool::VecPool;

/// Takes the results of one backend's lanes into the outbox of their worker.
pub struct Results<'a> {
    pub backend: BackendId,
    pub epoch: Epoch,
    /// The time, Unix seconds.
    pub unix: u64,
    /// What is settled and not handed over.
    pub settled: &'a mut Vec<Settled>,
    /// Lines that were let go of after they had been sent.
    pub sent: &'a mut Vec<(SegmentId, u32)>,
    /// The worker's.
    pub outbox: &'a mut Outbox,
    /// Empty vectors to settle into.
    pub settled_pool: &'a VecPool<Settled>,
    /// Where chunks are returned.
    pub returns: &'a BufferReturns,
}

impl Results<'_> {
    /// A record is settled by the backend. Its batch is still held.
    pub(super) fn settle(
        &mut self,
        held: &BatchTable,
        batch: BatchKey,
        line: u32,
        settlement: Settlement,
    ) {
        self.settled.push(Settled {
            segment: held.origin(batch).segment,
            line,
            settlement,
        });
        if self.settled.len() >= OUTCOMES_PER_BATCH {
            self.hand_over();
        }
    }

    /// A record is to be rejected. Its batch is still held.
    pub(super) fn reject(
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
        self.outbox.backend_message(
            self.backend,
            BackendMessage::Rejected(Box::new(Rejection {
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

    /// A record that was sent is let go of, and its answer will never come. Its batch is still
    /// held.
    pub(super) fn discard_sent(&mut self, held: &BatchTable, batch: BatchKey, line: u32) {
        self.sent.push((held.origin(batch).segment, line));
    }

    /// A share of a chunk is no longer needed.
    pub(super) fn release(&self, chunk: Arc<Chunk>) {
        self.returns.release(chunk);
    }

    /// The lane is in trouble, on this record unless it was connecting or asked for something else.
    pub(super) fn trouble(&mut self, lane: u16, trouble: Trouble, record: Option<FailedRecord>) {
        self.outbox.control(ControlMessage::Trouble {
            backend: self.backend,
            lane,
            epoch: self.epoch,
            trouble,
            record,
        });
    }

    fn hand_over(&mut self) {
        hand_over(self.backend, self.settled, self.settled_pool, self.outbox);
    }
}

/// Puts what is settled into the outbox.
pub fn hand_over(
    backend: BackendId,
    settled: &mut Vec<Settled>,
    pool: &VecPool<Settled>,
    outbox: &mut Outbox,
) {
    if !settled.is_empty() {
        let batch = std::mem::replace(settled, pool.take());
        outbox.backend_message(backend, BackendMessage::Settled { batch });
    }
}
