//! What the feeder has to say and nobody has had room for yet.
//!
//! Each receiver gets its messages in order. Batches wait until the keeper has all that was said before, so that it knows
//! a segment before one of its records can be settled.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::replay::chunk::Returns;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{BackendId, ControlMail, KeeperMail, WorkerMail};

/// To whom the feeder speaks.
pub(super) struct Receivers {
    /// The workers, by number.
    pub(super) workers: Vec<Arc<Mailbox<WorkerMail>>>,
    /// The keeper.
    pub(super) keeper: Arc<Mailbox<KeeperMail>>,
    /// The control thread.
    pub(super) control: Arc<Mailbox<ControlMail>>,
}

/// Messages that wait for room.
pub(super) struct Outbox {
    to: Receivers,
    for_keeper: VecDeque<KeeperMail>,
    for_workers: Vec<VecDeque<WorkerMail>>,
    for_control: VecDeque<ControlMail>,
}

impl Outbox {
    /// Nothing said yet.
    #[must_use]
    pub(super) fn new(to: Receivers) -> Self {
        let for_workers = to.workers.iter().map(|_| VecDeque::new()).collect();
        Self {
            to,
            for_keeper: VecDeque::new(),
            for_workers,
            for_control: VecDeque::new(),
        }
    }

    /// Says something to the keeper.
    pub(super) fn tell_keeper(&mut self, mail: KeeperMail) {
        self.for_keeper.push_back(mail);
    }

    /// Gives a worker a batch or a piece of a body, behind all that the keeper has been told before.
    pub(super) fn give_worker(&mut self, worker: usize, mail: WorkerMail) {
        self.for_workers[worker].push_back(mail);
    }

    /// Says something to the control thread.
    pub(super) fn tell_control(&mut self, mail: ControlMail) {
        self.for_control.push_back(mail);
    }

    /// Sends what there is room for. True: keeper and workers have everything.
    pub(super) fn flush(&mut self) -> bool {
        send(&mut self.for_control, &self.to.control);
        if !send(&mut self.for_keeper, &self.to.keeper) {
            return false;
        }
        let mut all = true;
        for (waiting, worker) in self.for_workers.iter_mut().zip(&self.to.workers) {
            all &= send(waiting, worker);
        }
        all
    }

    /// Whether everything has been sent, to control as well.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.for_keeper.is_empty()
            && self.for_control.is_empty()
            && self.for_workers.iter().all(VecDeque::is_empty)
    }

    /// Drops a backend's batches that no worker has.
    pub(super) fn forget_batches(&mut self, backend: BackendId, returns: &Returns) {
        for waiting in &mut self.for_workers {
            for mail in std::mem::take(waiting) {
                match mail {
                    WorkerMail::Batch(batch) if batch.backend == backend => {
                        returns.release(batch.chunk)
                    }
                    mail => waiting.push_back(mail),
                }
            }
        }
    }
}

fn send<T>(waiting: &mut VecDeque<T>, mailbox: &Mailbox<T>) -> bool {
    while let Some(mail) = waiting.pop_front() {
        if let Err(mail) = mailbox.send(mail) {
            waiting.push_front(mail);
            return false;
        }
    }
    true
}
