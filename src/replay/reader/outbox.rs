//! The reader's messages that a full mailbox has not taken yet.
//!
//! Each receiver gets its messages in order. Batches wait until the checkpointer has everything
//! that was queued for it before them, so that it knows a segment before one of its records is
//! settled.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::replay::chunk::BufferReturns;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{BackendId, CheckpointerMessage, ControlMessage, WorkerMessage};

/// The mailboxes that the reader sends to.
pub(super) struct Receivers {
    /// The workers', by number.
    pub(super) workers: Vec<Arc<Mailbox<WorkerMessage>>>,
    /// The checkpointer's.
    pub(super) checkpointer: Arc<Mailbox<CheckpointerMessage>>,
    /// The controller's.
    pub(super) control: Arc<Mailbox<ControlMessage>>,
}

/// Messages that wait for room.
pub(super) struct Outbox {
    to: Receivers,
    for_checkpointer: VecDeque<CheckpointerMessage>,
    for_workers: Vec<VecDeque<WorkerMessage>>,
    for_control: VecDeque<ControlMessage>,
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub(super) fn new(to: Receivers) -> Self {
        let for_workers = to.workers.iter().map(|_| VecDeque::new()).collect();
        Self {
            to,
            for_checkpointer: VecDeque::new(),
            for_workers,
            for_control: VecDeque::new(),
        }
    }

    /// Queues a message for the checkpointer.
    pub(super) fn tell_checkpointer(&mut self, message: CheckpointerMessage) {
        self.for_checkpointer.push_back(message);
    }

    /// Queues a batch or a piece of a body for a worker, after everything that is queued for the
    /// checkpointer now.
    pub(super) fn give_worker(&mut self, worker: usize, message: WorkerMessage) {
        self.for_workers[worker].push_back(message);
    }

    /// Queues a message for the controller.
    pub(super) fn tell_control(&mut self, message: ControlMessage) {
        self.for_control.push_back(message);
    }

    /// Sends what there is room for. Returns whether checkpointer and workers have everything.
    pub(super) fn flush(&mut self) -> bool {
        send(&mut self.for_control, &self.to.control);
        if !send(&mut self.for_checkpointer, &self.to.checkpointer) {
            return false;
        }
        let mut all = true;
        for (waiting, worker) in self.for_workers.iter_mut().zip(&self.to.workers) {
            all &= send(waiting, worker);
        }
        all
    }

    /// Whether everything has been sent, also to the controller.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.for_checkpointer.is_empty()
            && self.for_control.is_empty()
            && self.for_workers.iter().all(VecDeque::is_empty)
    }

    /// Drops a backend's batches that no worker has received.
    pub(super) fn forget_batches(&mut self, backend: BackendId, returns: &BufferReturns) {
        for waiting in &mut self.for_workers {
            for message in std::mem::take(waiting) {
                match message {
                    WorkerMessage::Batch(batch) if batch.backend == backend => {
                        returns.release(batch.chunk)
                    }
                    message => waiting.push_back(message),
                }
            }
        }
    }
}

fn send<T>(waiting: &mut VecDeque<T>, mailbox: &Mailbox<T>) -> bool {
    while let Some(message) = waiting.pop_front() {
        if let Err(message) = mailbox.send(message) {
            waiting.push_front(message);
            return false;
        }
    }
    true
}
