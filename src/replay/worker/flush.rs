//! How a worker lets go of a backend: at once, or when what is in flight has been answered.

use std::time::Duration;

use crate::clock::Now;
use crate::replay::lane::{Results, Step};
use crate::replay::messages::{BackendId, BackendMessage, Component, Epoch, SegmentId};

use super::backend_lanes::Drain;
use super::{Action, Worker, lanes_of};

impl Worker {
    /// Begins to let go of a backend's records; says so to the checkpointer, behind all their
    /// outcomes, when it is done.
    pub(super) fn flush(
        &mut self,
        backend: BackendId,
        epoch: Epoch,
        drain_until: Option<Duration>,
        now: Now,
    ) {
        let Some(Some(lanes)) = self.backends.get_mut(backend.index()) else {
            self.say_flushed(backend, epoch, Vec::new());
            return;
        };
        let until = drain_until.unwrap_or_default();
        lanes.drain = Some(Drain { epoch, until });
        self.finish_drain(backend, now);
    }

    /// Ends a flush whose time has come: nothing is in flight any more, or what is takes too long.
    pub(super) fn finish_drain(&mut self, backend: BackendId, now: Now) {
        let Some(Some(lanes)) = self.backends.get(backend.index()) else {
            return;
        };
        let Some(drain) = lanes.drain else {
            return;
        };
        let busy = lanes
            .slots
            .iter()
            .any(|slot| self.slots[*slot].lane.is_busy_by_itself());
        if busy && now.monotonic < drain.until {
            self.earliest = self.earliest.min(drain.until);
            return;
        }
        for i in 0..lanes.slots.len() {
            self.discard(backend, i, now);
        }
        let lanes = self.backends[backend.index()]
            .as_mut()
            .expect("it was there");
        lanes.hand_over(&self.links, &mut self.outbox);
        lanes.drain = None;
        lanes.epoch = drain.epoch;
        lanes.ttl_ready = false;
        let sent = std::mem::take(&mut lanes.sent);
        self.say_flushed(backend, drain.epoch, sent);
    }

    /// Forgets a backend that is flushed: its slots are others' from now on.
    pub(super) fn forget(&mut self, backend: BackendId, now: Now) {
        let count = match self.backends.get(backend.index()) {
            Some(Some(lanes)) if lanes.backend == backend => lanes.slots.len(),
            _ => return,
        };
        for i in 0..count {
            self.discard(backend, i, now);
        }
        let mut lanes = self.backends[backend.index()].take().expect("it was there");
        lanes.hand_over(&self.links, &mut self.outbox);
        for slot in lanes.slots {
            let known = &mut self.slots[slot];
            known.lane = known.lane.successor(known.lane.number());
            known.backend = None;
            self.free.push(slot);
        }
    }

    /// Lets go of the records of the backend's `i`th lane here, and of its connection.
    fn discard(&mut self, backend: BackendId, i: usize, now: Now) {
        let lanes = lanes_of(&mut self.backends, backend);
        let slot = lanes.slots[i];
        let mut results = Results {
            backend,
            epoch: lanes.epoch,
            unix: now.unix,
            settled: &mut lanes.settled,
            sent: &mut lanes.sent,
            outbox: &mut self.outbox,
            settled_pool: &self.links.settled_pool,
            returns: &self.links.returns,
        };
        let lane = &mut self.slots[slot].lane;
        if lane.discard(&mut self.held, &lanes.counters, &mut results) == Step::Close {
            lanes.count_connection(true, false);
            self.actions.push_back(Action::Close(slot));
        }
    }

    fn say_flushed(&mut self, backend: BackendId, epoch: Epoch, sent: Vec<(SegmentId, u32)>) {
        self.outbox.backend_message(
            backend,
            BackendMessage::Flushed {
                epoch,
                component: Component::Worker(self.index),
                sent,
            },
        );
    }
}
