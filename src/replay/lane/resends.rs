//! How many writes of sorted sets a lane may be ahead of what a checkpoint has of it.
//!
//! Should this process be killed, the next one looks up what may have been sent since the last
//! checkpoint. From version 64 on a lookup tells no more than [`WRITES_AHEAD_MAX`] writes of a
//! member apart (guarantees, G4). So a lane begins no further one once it has [`SETTLED_MAX`] that
//! are settled and not durable; with the burst that is out then, it is no further ahead than that.
//! It asks for a checkpoint when it has half of them.

use crate::binlog::Record;
use crate::binlog::version::{STORED_OTHERWISE_FROM, WRITES_AHEAD_MAX};
use crate::limits::BURST_REQUESTS_MAX;

/// So many settled writes may be missing from the checkpoint.
const SETTLED_MAX: u64 = (WRITES_AHEAD_MAX - BURST_REQUESTS_MAX) as u64;

/// See the module. Each is a number of writes since the lane began.
#[derive(Debug, Default)]
pub(super) struct Resends {
    /// Settled or rejected.
    settled: u64,
    /// Settled when a checkpoint was asked for.
    asked: u64,
    /// In a durable checkpoint.
    durable: u64,
}

impl Resends {
    /// Whether a record is of that kind.
    pub(super) fn counts(record: &Record<'_>) -> bool {
        record.version >= STORED_OTHERWISE_FROM && record.is_harmful_twice()
    }

    /// Whether another one may go.
    pub(super) fn may_go(&self) -> bool {
        self.settled - self.durable < SETTLED_MAX
    }

    /// One is settled or rejected.
    pub(super) fn handle_settled(&mut self) {
        self.settled += 1;
    }

    /// Whether it is time to ask for a checkpoint.
    pub(super) fn wants_checkpoint(&self) -> bool {
        self.settled - self.durable >= SETTLED_MAX / 2
    }

    /// A checkpoint was asked for, behind all that is settled.
    pub(super) fn handle_asked(&mut self) {
        self.asked = self.settled;
    }

    /// It is durable.
    pub(super) fn handle_durable(&mut self) {
        self.durable = self.asked;
    }
}
