//! A worker: the lanes of all backends that fall to it, without the system calls.
//!
//! A driver (mio's in `engine`, a simulated one in the tests) calls, in this order, for ever:
//! [`Worker::receive_messages`], [`Worker::poll_action`] until there is none,
//! [`Worker::hand_over`], then waits for events or [`Worker::deadline`] and tells them by
//! `handle_…`. Lanes are named to it by a slot, which never changes its lane.
//!
//! Outcomes are gathered for [`HAND_OVER_WITHIN`] at most, so that the checkpointer is not woken
//! for each; the last ones go at once, unless others have just gone. They leave through one
//! first-in-first-out outbox to the checkpointer, so that what the checkpointer knows is always a
//! prefix of what each lane did (guarantees, G3). While the outbox cannot be emptied no new burst
//! is composed: it stays bounded by what is in flight.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::connections::{Action, Connected};
use crate::limits::{HAND_OVER_WITHIN, OUTBOX_RETRY};
use crate::pace::Bucket;
use crate::replay::batch_table::BatchTable;
use crate::replay::chunk::{Chunk, Share};
use crate::replay::lane::{Lane, LaneContext, LaneSettings, Results, Step};
use crate::replay::links::Links;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{
    BackendId, BackendMessage, Batch, BodyReader, BodyRequest, Epoch, ReaderMessage, WorkerMessage,
};
use crate::replay::outbox::{After, Outbox};
use crate::status::counters::BackendCounters;

use self::backend_lanes::BackendLanes;

mod backend_lanes;
mod flush;
#[cfg(test)]
mod tests;

struct Slot {
    lane: Lane,
    /// None where its backend is forgotten and the slot waits to be used again.
    backend: Option<BackendId>,
    /// Whether the slot is in `ready`.
    queued: bool,
}

/// See the module.
pub struct Worker {
    index: usize,
    mailbox: Arc<Mailbox<WorkerMessage>>,
    links: Links,
    /// By their ids.
    backends: Vec<Option<BackendLanes>>,
    slots: Vec<Slot>,
    /// Those that have no backend.
    free: Vec<usize>,
    /// Slots whose lanes may have something to do.
    ready: VecDeque<usize>,
    actions: VecDeque<Action>,
    held: BatchTable,
    outbox: Outbox,
    /// No lane's deadline is before this one; it may be too early.
    earliest: Duration,
    /// The slot whose deadline is looked at first.
    first_slot: usize,
    /// Backends with outcomes that are to be handed over: few of many. One may be named twice.
    to_hand_over: Vec<BackendId>,
    /// When what is settled is to go to the checkpointer, full batch or not.
    hand_over_at: Duration,
    /// And when it went there last.
    handed_over_at: Duration,
    random: fastrand::Rng,
    /// The checkpointer could not take everything: no new bursts until it has.
    stuck: bool,
    stopped: bool,
}

impl Worker {
    /// Worker `index`; `seed` is for jitter.
    #[must_use]
    pub fn new(index: usize, links: Links, seed: u64) -> Self {
        Self {
            index,
            mailbox: Arc::clone(&links.mailboxes.workers[index]),
            outbox: Outbox::new(&links.mailboxes),
            links,
            backends: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            actions: VecDeque::new(),
            held: BatchTable::default(),
            earliest: Duration::MAX,
            first_slot: 0,
            to_hand_over: Vec::new(),
            hand_over_at: Duration::MAX,
            handed_over_at: Duration::ZERO,
            random: fastrand::Rng::with_seed(seed),
            stuck: false,
            stopped: false,
        }
    }

    /// Its mailbox, for its driver's sleep.
    #[must_use]
    pub fn mailbox(&self) -> &Mailbox<WorkerMessage> {
        &self.mailbox
    }

    /// Whether it has been told to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Takes what is in the mailbox.
    pub fn receive_messages(&mut self, now: Now) {
        self.mailbox.note_turn();
        while let Some(message) = self.mailbox.receive() {
            match message {
                WorkerMessage::Batch(batch) => self.take_batch(batch),
                WorkerMessage::Body(reader, piece) => self.take_body(reader, piece, now),
                WorkerMessage::Open {
                    backend,
                    epoch,
                    address,
                    settings,
                    counters,
                } => self.open(backend, epoch, address, settings, counters, now),
                WorkerMessage::Flush {
                    backend,
                    epoch,
                    drain_until,
                } => self.flush(backend, epoch, drain_until, now),
                WorkerMessage::Forget { backend } => self.forget(backend, now),
                WorkerMessage::Ttl { backend, ready } => {
                    self.change(backend, |lanes| lanes.ttl_ready = ready)
                }
                WorkerMessage::CheckpointDurable { backend } => {
                    self.handle_checkpoint_durable(backend)
                }
                WorkerMessage::Settings { backend, settings } => {
                    self.change(backend, |lanes| lanes.set(settings))
                }
                WorkerMessage::Stop => self.stopped = true,
            }
        }
    }

    /// Whether [`Worker::poll_action`] may have something.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.actions.is_empty() || !self.ready.is_empty()
    }

    /// The body's part of it, for a driver whose sends go on while it does other things: the share
    /// keeps the bytes in memory until it is given to [`Worker::release`]. None where there is no
    /// body that was not copied behind its head.
    #[must_use]
    pub fn outgoing_body(&self, slot: usize) -> Option<Share> {
        self.slots[slot].lane.outgoing_body(&self.held)
    }

    /// Takes a share of [`Worker::outgoing_body`] back.
    pub fn release(&self, share: Arc<Chunk>) {
        self.links.returns.release(share);
    }

    /// Looks whether something is late.
    pub fn handle_deadlines(&mut self, now: Now) {
        if now.monotonic < self.earliest {
            return;
        }
        self.earliest = Duration::MAX;
        let (first, slots) = (self.first_slot, self.slots.len());
        for slot in (first..slots).chain(0..first.min(slots)) {
            let actions = self.actions.len();
            self.step(slot, now, |lane, cx| lane.handle_deadline(cx));
            // Where a rate is bound, who has got something now gets no more before all others.
            if self.actions.len() > actions {
                self.first_slot = slot + 1;
            }
        }
        for place in 0..self.backends.len() {
            if let Some(backend) = self.backends[place].as_ref().map(|lanes| lanes.backend) {
                self.finish_drain(backend, now);
            }
        }
    }

    /// When [`Worker::handle_deadlines`] or [`Worker::hand_over`] wants to be called, monotonic.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.earliest.min(self.hand_over_at)
    }

    /// Gives outcomes to the checkpointer, where they are many or have waited, and troubles to
    /// control. False: a mailbox is full, call again soon.
    pub fn hand_over(&mut self, now: Now) -> bool {
        if now.monotonic >= self.hand_over_at || self.stopped {
            self.hand_over_at = Duration::MAX;
            self.handed_over_at = now.monotonic;
            for backend in self.to_hand_over.drain(..) {
                if let Some(Some(lanes)) = self.backends.get_mut(backend.index()) {
                    lanes.hand_over(&self.links, &mut self.outbox);
                }
            }
        }
        let was_stuck = self.stuck;
        let is_all = self.outbox.deliver();
        self.stuck = !self.outbox.has_all(After::Checkpointer);
        if was_stuck && !self.stuck {
            self.wake(|_| true);
        }
        is_all
    }

    /// How long the driver may wait for events. Unless that is no time at all, mail wakes the
    /// reader from now on, until the mailbox is told that its reader is awake. `handed_over`: what
    /// [`Worker::hand_over`] said.
    #[must_use]
    pub fn prepare_wait(&self, handed_over: bool, now: Now) -> Duration {
        if self.has_work() || !self.mailbox().prepare_sleep() {
            Duration::ZERO
        } else if handed_over {
            self.deadline().saturating_sub(now.monotonic)
        } else {
            OUTBOX_RETRY
        }
    }

    /// What must hold between calls.
    #[cfg(feature = "testing")]
    pub fn check_invariants(&self) {
        for slot in &self.slots {
            slot.lane.check_invariants();
        }
        let waiting: usize = self.slots.iter().map(|slot| slot.lane.len()).sum();
        assert_eq!(
            waiting == 0,
            self.held.is_empty(),
            "batches are held for waiting records only"
        );
        for lanes in self.backends.iter().flatten() {
            assert!(
                lanes.settled.is_empty() || self.to_hand_over.contains(&lanes.backend),
                "outcomes that nobody hands over"
            );
        }
    }

    fn take_batch(&mut self, batch: Batch) {
        let lanes = self
            .backends
            .get(batch.backend.index())
            .and_then(Option::as_ref);
        let current =
            lanes.is_some_and(|lanes| lanes.epoch == batch.epoch && lanes.drain.is_none());
        if !current || batch.records.is_empty() {
            self.links.returns.release(batch.chunk);
            self.links.fed_pool.give(batch.records);
            return;
        }
        let slots = &lanes.expect("a current batch has lanes").slots;
        let records =
            u32::try_from(batch.records.len()).expect("a chunk's lines are counted in u32");
        let key = self
            .held
            .hold(batch.chunk, batch.origin, batch.body, records);
        for fed in &batch.records {
            let slot = slots[usize::from(fed.lane) / self.links.mailboxes.workers.len()];
            debug_assert_eq!(self.slots[slot].lane.number(), fed.lane);
            self.slots[slot].lane.push(key, fed);
            if !self.slots[slot].queued {
                self.slots[slot].queued = true;
                self.ready.push_back(slot);
            }
        }
        self.links.fed_pool.give(batch.records);
    }

    /// Gives a piece of a body to its lane, if that still wants it.
    fn take_body(&mut self, reader: BodyReader, piece: Option<Share>, now: Now) {
        let BodyReader { slot, nth, .. } = reader;
        if self.slots[slot].lane.wants_body(nth) {
            self.step(slot, now, |lane, cx| lane.handle_body(piece, cx));
        } else if let Some(piece) = piece {
            self.links.returns.release(piece.chunk);
        }
    }

    fn open(
        &mut self,
        backend: BackendId,
        epoch: Epoch,
        address: SocketAddr,
        settings: Arc<LaneSettings>,
        counters: Arc<BackendCounters>,
        now: Now,
    ) {
        if self.backends.len() <= backend.index() {
            self.backends.resize_with(backend.index() + 1, || None);
        }
        let known = self.backends[backend.index()].take();
        let (mut slots, settled, long_trials, awaits_checkpoint) =
            known.map_or_else(Default::default, |lanes| {
                let long_trials = lanes.long_trials.begun_anew();
                (
                    lanes.slots,
                    lanes.settled,
                    long_trials,
                    lanes.awaits_checkpoint,
                )
            });
        for lane in (self.index..settings.lanes as usize)
            .step_by(self.links.mailboxes.workers.len())
            .skip(slots.len())
        {
            let lane = u16::try_from(lane).expect("lanes are counted in u16");
            slots.push(self.new_slot(lane, backend));
        }
        let mut lanes = BackendLanes {
            backend,
            epoch,
            address,
            settings: Arc::clone(&settings),
            counters,
            slots,
            ttl_ready: false,
            lookups_from: settings.lookups_from(now),
            bucket: Bucket::new(0.0, now.monotonic),
            long_trials,
            settled,
            sent: Vec::new(),
            drain: None,
            awaits_checkpoint,
        };
        lanes.set(settings);
        self.backends[backend.index()] = Some(lanes);
    }

    /// A slot for a lane: one whose backend was forgotten, else another.
    fn new_slot(&mut self, lane: u16, backend: BackendId) -> usize {
        let backend = Some(backend);
        if let Some(slot) = self.free.pop() {
            let known = &mut self.slots[slot];
            known.lane = known.lane.successor(lane);
            known.backend = backend;
            return slot;
        }
        self.slots.push(Slot {
            lane: Lane::new(lane),
            backend,
            queued: false,
        });
        self.slots.len() - 1
    }

    /// Changes what holds for a backend, and lets its lanes look again.
    fn change(&mut self, backend: BackendId, change: impl FnOnce(&mut BackendLanes)) {
        if let Some(Some(lanes)) = self.backends.get_mut(backend.index()) {
            change(lanes);
            self.wake(|of| of == backend);
        }
    }

    /// Lets lanes look again whether there is something to do.
    fn wake(&mut self, of: impl Fn(BackendId) -> bool) {
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if slot.backend.is_some_and(&of) && !slot.queued {
                slot.queued = true;
                self.ready.push_back(at);
            }
        }
    }

    /// Lets a slot's lane act, and keeps the books of what came of it.
    fn step(
        &mut self,
        slot: usize,
        now: Now,
        act: impl FnOnce(&mut Lane, &mut LaneContext<'_>) -> Step,
    ) {
        let Some(backend) = self.slots[slot].backend else {
            return;
        };
        let (lane, lanes) = self.lane_of(slot, backend);
        let had_connection = lane.has_connection();
        let had_settled = !lanes.settled.is_empty();
        let had_to_wait = lanes.long_trials.waits_until(now.monotonic).is_some();
        self.act(slot, backend, now, act);
        self.take_from_lane(slot, backend);
        let (lane, lanes) = self.lane_of(slot, backend);
        if cfg!(debug_assertions) {
            lane.check_invariants();
        }
        // Nothing is said of a backend behind `Flushed`: its lanes are empty from then on.
        let asks_checkpoint =
            !lanes.awaits_checkpoint && !lane.is_empty() && lane.wants_checkpoint();
        lanes.count_connection(had_connection, lane.has_connection());
        let has_settled = !lanes.settled.is_empty();
        let must_wait = lanes.long_trials.waits_until(now.monotonic).is_some();
        let is_drained = lanes.drain.is_some() && !lane.is_busy();
        if has_settled {
            self.plan_hand_over(backend, !had_settled, now);
        }
        if asks_checkpoint {
            self.ask_checkpoint(backend);
        }
        self.note_deadlines(slot, backend, now);
        if is_drained {
            self.finish_drain(backend, now);
        }
        if had_to_wait && !must_wait {
            self.wake(|of| of == backend);
        }
    }

    /// A slot's lane, and what holds for all lanes of its backend.
    fn lane_of(&mut self, slot: usize, backend: BackendId) -> (&mut Lane, &mut BackendLanes) {
        let lanes = lanes_of(&mut self.backends, backend);
        (&mut self.slots[slot].lane, lanes)
    }

    /// Lets a lane act, and notes what it wants of the driver.
    fn act(
        &mut self,
        slot: usize,
        backend: BackendId,
        now: Now,
        act: impl FnOnce(&mut Lane, &mut LaneContext<'_>) -> Step,
    ) {
        let lane = &mut self.slots[slot].lane;
        let lanes = lanes_of(&mut self.backends, backend);
        let mut cx = LaneContext {
            now,
            jitter: self.random.u64(..),
            settings: &lanes.settings,
            counters: &lanes.counters,
            held: &mut self.held,
            sending: !self.stuck && lanes.drain.is_none(),
            ttl_ready: lanes.ttl_ready,
            lookups_from: lanes.lookups_from,
            bucket: &mut lanes.bucket,
            long_trials: &mut lanes.long_trials,
            results: Results {
                backend,
                epoch: lanes.epoch,
                unix: now.unix,
                settled: &mut lanes.settled,
                sent: &mut lanes.sent,
                outbox: &mut self.outbox,
                settled_pool: &self.links.settled_pool,
                returns: &self.links.returns,
            },
        };
        match act(lane, &mut cx) {
            Step::Connect => self.actions.push_back(Action::Connect(slot, lanes.address)),
            Step::Transmit => self.actions.push_back(Action::Transmit(slot)),
            // It goes on once the driver has closed the connection.
            Step::Close => {
                self.actions.push_back(Action::Close(slot));
                self.make_ready(slot);
            }
            Step::Rest => {}
        }
    }

    /// Lets a slot's lane look for something to do when the driver has done all that is wanted.
    fn make_ready(&mut self, slot: usize) {
        if !self.slots[slot].queued {
            self.slots[slot].queued = true;
            self.ready.push_back(slot);
        }
    }

    /// Gives back the pieces of values that a lane has sent, and asks for the next one that it
    /// wants.
    fn take_from_lane(&mut self, slot: usize, backend: BackendId) {
        let lane = &mut self.slots[slot].lane;
        while let Some(piece) = lane.poll_spent() {
            self.links.returns.release(piece);
        }
        if let Some((batch, from, nth)) = lane.poll_body_request() {
            self.outbox.reader(ReaderMessage::Body(BodyRequest {
                backend,
                segment: self.held.origin(batch).segment,
                from,
                reader: BodyReader {
                    worker: self.index,
                    slot,
                    nth,
                },
            }));
        }
    }

    /// Outcomes of this backend's records are to be handed over; `is_first`: none were before.
    fn plan_hand_over(&mut self, backend: BackendId, is_first: bool, now: Now) {
        if is_first {
            self.to_hand_over.push(backend);
        }
        if self.hand_over_at == Duration::MAX {
            // Where nothing waits any more there is nothing to gather, and no timer has to wake
            // this thread for it.
            let gathered_from = match self.held.is_empty() {
                true => self.handed_over_at.min(now.monotonic),
                false => now.monotonic,
            };
            self.hand_over_at = gathered_from.saturating_add(HAND_OVER_WITHIN);
        }
    }

    /// Asks for a checkpoint of all that is settled by now.
    fn ask_checkpoint(&mut self, backend: BackendId) {
        let lanes = lanes_of(&mut self.backends, backend);
        lanes.hand_over(&self.links, &mut self.outbox);
        lanes.awaits_checkpoint = true;
        for slot in &lanes.slots {
            self.slots[*slot].lane.handle_checkpoint_asked();
        }
        let worker = self.index;
        let message = BackendMessage::Checkpoint { worker };
        self.outbox.backend_message(backend, message);
    }

    /// What was settled when a checkpoint was asked for is durable: the lanes may go on.
    fn handle_checkpoint_durable(&mut self, backend: BackendId) {
        let lanes = self.backends.get_mut(backend.index());
        let lanes = lanes.and_then(Option::as_mut);
        let Some(lanes) = lanes.filter(|lanes| lanes.backend == backend) else {
            return;
        };
        lanes.awaits_checkpoint = false;
        for slot in &lanes.slots {
            self.slots[*slot].lane.handle_checkpoint_durable();
        }
        self.wake(|of| of == backend);
    }

    /// Notes when a lane wants to act again without an event.
    fn note_deadlines(&mut self, slot: usize, backend: BackendId, now: Now) {
        let stuck = self.stuck;
        let (lane, lanes) = self.lane_of(slot, backend);
        let own = lane.deadline(&lanes.settings);
        // A lane that waits for something else is woken by that; the bucket would wake it in a
        // circle.
        let waits_for_rate = !stuck
            && lanes.drain.is_none()
            && lane.is_at_rest()
            && !lane.is_empty()
            && lanes.bucket.is_spent();
        let by_rate = waits_for_rate.then(|| lanes.bucket.next());
        let long_from = lanes.long_trials.waits_until(now.monotonic);
        let long_from = long_from.filter(|_| lane.is_at_rest());
        let first = [own, by_rate, long_from].into_iter().flatten().min();
        self.earliest = first.map_or(self.earliest, |at| at.min(self.earliest));
    }
}

/// What holds for all lanes of a backend that a slot has.
fn lanes_of(backends: &mut [Option<BackendLanes>], backend: BackendId) -> &mut BackendLanes {
    backends[backend.index()]
        .as_mut()
        .expect("a slot's backend has lanes")
}

impl Connected for Worker {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn poll_action(&mut self, now: Now) -> Option<Action> {
        while self.actions.is_empty() {
            let slot = self.ready.pop_front()?;
            self.slots[slot].queued = false;
            self.step(slot, now, |lane, cx| lane.poll_step(cx));
        }
        self.actions.pop_front()
    }

    /// A head's bytes, then a body's.
    fn outgoing(&self, slot: usize) -> [&[u8]; 2] {
        self.slots[slot].lane.outgoing(&self.held)
    }

    fn answer_bytes_due(&self, slot: usize) -> Option<usize> {
        let Slot { lane, backend, .. } = &self.slots[slot];
        let lanes = self.backends[backend.as_ref()?.index()].as_ref()?;
        lane.answer_bytes_due(&lanes.settings)
    }

    fn keepalive_interval(&self, slot: usize) -> Duration {
        let backend = self.slots[slot]
            .backend
            .expect("what connects has a backend");
        let lanes = self.backends[backend.index()].as_ref();
        lanes
            .expect("a slot's backend has lanes")
            .settings
            .keepalive_interval
    }

    fn handle_connected(&mut self, slot: usize, segment_bytes_max: usize, now: Now) {
        let backend = self.slots[slot].backend;
        let lanes = backend.and_then(|backend| self.backends.get(backend.index())?.as_ref());
        if let Some(lanes) = lanes {
            lanes.counters.connections_made.add(1);
        }
        self.step(slot, now, |lane, cx| {
            lane.handle_connected(segment_bytes_max, cx);
            lane.poll_step(cx)
        });
    }

    fn handle_sent(&mut self, slot: usize, bytes: usize, now: Now) {
        self.step(slot, now, |lane, cx| match lane.handle_sent(bytes, cx) {
            // What is left goes when the driver says that there is room.
            Step::Transmit => Step::Rest,
            step => step,
        });
    }

    fn handle_received(&mut self, slot: usize, bytes: &[u8], now: Now) {
        self.step(slot, now, |lane, cx| lane.handle_received(bytes, cx));
    }

    fn handle_closed(&mut self, slot: usize, why: String, now: Now) {
        debug_assert!(
            !self.slots[slot].lane.has_connection() || !self.actions.contains(&Action::Close(slot)),
            "the end of a connection that is to be closed is not the next one's"
        );
        self.step(slot, now, |lane, cx| lane.handle_closed(why, cx));
    }
}
