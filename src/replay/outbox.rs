//! A thread's messages to the other threads: in order to each of them, without waiting.
//!
//! A full mailbox must not stop the controller, which has to answer HA, nor lose what another
//! thread reports. So a message that finds its mailbox full stays here until [`Outbox::deliver`]
//! sends it. Where the order matters across receivers, a message is held back until one group of
//! threads has received everything that was queued for it earlier ([`After`]):
//!
//! - The checkpointer receives a flush before anyone who could answer it, and the workers learn
//!   that a backend is up before the reader sends them its records (see `dispatch`).
//! - The checkpointer knows a segment before a worker can settle one of its records.
//! - The reconciler knows whether keys are compared before the checkpointer asks for it.
//! - The reader has a backend's plan before the controller hears that the backend is flushed.
//!
//! The queues stay short: some messages in each epoch of a backend, and what is read and answered
//! until its sender, which looks whether all is delivered, takes in nothing more.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::replay::links::Mailboxes;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{
    BackendId, BackendMessage, Batch, CheckpointerMessage, ControlMessage, ReaderMessage,
    ReconcilerMessage, WorkerMessage,
};

/// Whose earlier messages have to be delivered before an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The reader's.
    LogReader,
    /// The checkpointer's.
    Checkpointer,
    Workers,
    /// The reconciler's.
    Reconciler,
}

/// A message to a thread.
trait Mail {
    /// Whether it can wait until its receiver wakes up for something else, where that has nothing
    /// to do.
    fn can_wait(&self) -> bool {
        false
    }
}

impl Mail for ReaderMessage {
    fn can_wait(&self) -> bool {
        // It gives back credit, which nobody needs who has read all that there is.
        matches!(self, Self::SegmentDone { .. })
    }
}

impl Mail for CheckpointerMessage {
    fn can_wait(&self) -> bool {
        // The credit that they lead to is needed only where there is more to read.
        matches!(
            self,
            Self::Of(
                _,
                BackendMessage::FileIdentified { .. }
                    | BackendMessage::Segment { .. }
                    | BackendMessage::Settled { .. }
            )
        )
    }
}

impl Mail for ControlMessage {}
impl Mail for ReconcilerMessage {}
impl Mail for WorkerMessage {}

struct Envelope<T> {
    number: u64,
    after: Option<After>,
    message: T,
}

struct Queue<T> {
    mailbox: Arc<Mailbox<T>>,
    /// By ascending numbers.
    envelopes: VecDeque<Envelope<T>>,
    /// It was sent what can wait, and may have to be woken for it.
    owes_wake: bool,
}

impl<T: Mail> Queue<T> {
    fn new(mailbox: &Arc<Mailbox<T>>) -> Self {
        Self {
            mailbox: Arc::clone(mailbox),
            envelopes: VecDeque::new(),
            owes_wake: false,
        }
    }

    fn push(&mut self, number: u64, after: Option<After>, message: T) {
        self.envelopes.push_back(Envelope {
            number,
            after,
            message,
        });
    }

    /// The number of the oldest undelivered envelope; `u64::MAX` if there is none.
    fn oldest(&self) -> u64 {
        self.envelopes
            .front()
            .map_or(u64::MAX, |envelope| envelope.number)
    }

    /// Delivers envelopes from the front as long as their turn has come and there is room. Returns
    /// whether any was delivered.
    fn deliver(&mut self, oldest: Oldest) -> bool {
        let mut has_delivered = false;
        while let Some(envelope) = self.envelopes.pop_front() {
            let waits = |after| !oldest.allows(after, envelope.number);
            if envelope.after.is_some_and(waits) {
                self.envelopes.push_front(envelope);
                break;
            }
            let Envelope {
                number,
                after,
                message,
            } = envelope;
            let sent = if message.can_wait() {
                self.owes_wake = true;
                self.mailbox.send_for_later(message)
            } else {
                self.mailbox.send(message)
            };
            if let Err(message) = sent {
                self.envelopes.push_front(Envelope {
                    number,
                    after,
                    message,
                });
                break;
            }
            has_delivered = true;
        }
        has_delivered
    }

    /// Wakes the receiver of what can wait, if it has to be. Behind all other wake-ups, since each
    /// takes as long as a record does.
    fn wake(&mut self) {
        if std::mem::take(&mut self.owes_wake) {
            self.mailbox.wake_for_later();
        }
    }
}

/// The number of each group's oldest undelivered envelope.
#[derive(Clone, Copy)]
struct Oldest {
    reader: u64,
    checkpointer: u64,
    workers: u64,
    reconciler: u64,
}

impl Oldest {
    fn allows(self, after: After, number: u64) -> bool {
        match after {
            After::LogReader => self.reader > number,
            After::Checkpointer => self.checkpointer > number,
            After::Workers => self.workers > number,
            After::Reconciler => self.reconciler > number,
        }
    }
}

/// See the module.
pub struct Outbox {
    reader: Queue<ReaderMessage>,
    checkpointer: Queue<CheckpointerMessage>,
    control: Queue<ControlMessage>,
    workers: Vec<Queue<WorkerMessage>>,
    /// `None`: there is no reconciler.
    reconciler: Option<Queue<ReconcilerMessage>>,
    /// Envelopes queued so far.
    queued: u64,
}

impl Outbox {
    /// An outbox for these mailboxes.
    #[must_use]
    pub fn new(mailboxes: &Mailboxes) -> Self {
        let workers = mailboxes.workers.iter();
        Self {
            reader: Queue::new(&mailboxes.reader),
            checkpointer: Queue::new(&mailboxes.checkpointer),
            control: Queue::new(&mailboxes.control),
            workers: workers.map(Queue::new).collect(),
            reconciler: mailboxes.reconciler.as_ref().map(Queue::new),
            queued: 0,
        }
    }

    /// For messages that are held back until this group has received what was queued for it before.
    pub fn after(&mut self, group: After) -> Ordered<'_> {
        Ordered {
            outbox: self,
            after: Some(group),
        }
    }

    fn at_once(&mut self) -> Ordered<'_> {
        Ordered {
            outbox: self,
            after: None,
        }
    }

    /// Queues a message for the reader.
    pub fn reader(&mut self, message: ReaderMessage) {
        self.at_once().reader(message);
    }

    /// Queues a message for the checkpointer.
    pub fn checkpointer(&mut self, message: CheckpointerMessage) {
        self.at_once().checkpointer(message);
    }

    /// Queues a message about a backend for the checkpointer.
    pub fn backend_message(&mut self, backend: BackendId, message: BackendMessage) {
        self.checkpointer(CheckpointerMessage::Of(backend, message));
    }

    /// Queues a message for the controller.
    pub fn control(&mut self, message: ControlMessage) {
        self.at_once().control(message);
    }

    /// Queues a message for one worker.
    pub fn worker(&mut self, index: usize, message: WorkerMessage) {
        self.at_once().worker(index, message);
    }

    /// Queues a message for every worker.
    pub fn workers(&mut self, message: impl FnMut() -> WorkerMessage) {
        self.at_once().workers(message);
    }

    /// Queues a message for the reconciler, where there is one.
    pub fn reconciler(&mut self, message: ReconcilerMessage) {
        let number = self.number();
        if let Some(reconciler) = &mut self.reconciler {
            reconciler.push(number, None, message);
        }
    }

    /// Delivers what can be delivered now. Returns whether that was everything; otherwise call it
    /// again after `OUTBOX_RETRY`.
    pub fn deliver(&mut self) -> bool {
        loop {
            let mut has_delivered = self.control.deliver(self.oldest());
            has_delivered |= self.checkpointer.deliver(self.oldest());
            for index in 0..self.workers.len() {
                let oldest = self.oldest();
                has_delivered |= self.workers[index].deliver(oldest);
            }
            has_delivered |= self.reader.deliver(self.oldest());
            let oldest = self.oldest();
            let reconciler = self.reconciler.as_mut();
            has_delivered |= reconciler.is_some_and(|reconciler| reconciler.deliver(oldest));
            if !has_delivered {
                self.checkpointer.wake();
                self.reader.wake();
                return self.is_empty();
            }
        }
    }

    /// Whether all is delivered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.control.envelopes.is_empty()
            && [
                After::LogReader,
                After::Checkpointer,
                After::Workers,
                After::Reconciler,
            ]
            .into_iter()
            .all(|group| self.has_all(group))
    }

    /// Whether all that was queued for these receivers is delivered.
    #[must_use]
    pub fn has_all(&self, group: After) -> bool {
        self.oldest().allows(group, u64::MAX - 1)
    }

    /// Drops what is queued for the reader, which has no use for it any more.
    pub fn forget_reader(&mut self) {
        self.reader.envelopes.clear();
    }

    /// Takes back a backend's batches that no worker has received.
    pub fn take_batches(&mut self, backend: BackendId) -> Vec<Batch> {
        let mut taken = Vec::new();
        for worker in &mut self.workers {
            for envelope in std::mem::take(&mut worker.envelopes) {
                match envelope.message {
                    WorkerMessage::Batch(batch) if batch.backend == backend => taken.push(batch),
                    _ => worker.envelopes.push_back(envelope),
                }
            }
        }
        taken
    }

    fn oldest(&self) -> Oldest {
        let workers = self.workers.iter().map(Queue::oldest);
        Oldest {
            reader: self.reader.oldest(),
            checkpointer: self.checkpointer.oldest(),
            workers: workers.min().unwrap_or(u64::MAX),
            reconciler: self.reconciler.as_ref().map_or(u64::MAX, Queue::oldest),
        }
    }

    fn number(&mut self) -> u64 {
        self.queued += 1;
        self.queued
    }
}

/// See [`Outbox::after`].
pub struct Ordered<'a> {
    outbox: &'a mut Outbox,
    after: Option<After>,
}

impl Ordered<'_> {
    /// Queues a message for the reader.
    pub fn reader(self, message: ReaderMessage) {
        let number = self.outbox.number();
        self.outbox.reader.push(number, self.after, message);
    }

    /// Queues a message for the checkpointer.
    pub fn checkpointer(self, message: CheckpointerMessage) {
        let number = self.outbox.number();
        self.outbox.checkpointer.push(number, self.after, message);
    }

    /// Queues a message for the controller.
    pub fn control(self, message: ControlMessage) {
        let number = self.outbox.number();
        self.outbox.control.push(number, self.after, message);
    }

    /// Queues a message for one worker.
    pub fn worker(self, index: usize, message: WorkerMessage) {
        let number = self.outbox.number();
        self.outbox.workers[index].push(number, self.after, message);
    }

    /// Queues a message for every worker.
    pub fn workers(self, mut message: impl FnMut() -> WorkerMessage) {
        for worker in &mut self.outbox.workers {
            self.outbox.queued += 1;
            worker.push(self.outbox.queued, self.after, message());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::messages::BackendId;
    use crate::replay::reachability::KnownOutages;

    const BACKEND: BackendId = BackendId(0);

    struct Fixture {
        mailboxes: Mailboxes,
        outbox: Outbox,
    }

    fn fixture() -> Fixture {
        let mailboxes = Mailboxes::without_wakers(2, 1);
        Fixture {
            outbox: Outbox::new(&mailboxes),
            mailboxes,
        }
    }

    fn up(epoch: u32) -> ReaderMessage {
        ReaderMessage::Up {
            backend: BACKEND,
            epoch,
            outages: KnownOutages::default(),
        }
    }

    fn ttl() -> WorkerMessage {
        WorkerMessage::Ttl {
            backend: BACKEND,
            ready: true,
        }
    }

    #[test]
    fn what_a_full_mailbox_does_not_take_stays_in_order() {
        let mut fixture = fixture();
        for epoch in 0..3 {
            fixture.outbox.reader(up(epoch));
        }
        for epoch in 0..3 {
            assert_eq!(fixture.outbox.deliver(), epoch == 2);
            let Some(ReaderMessage::Up { epoch: got, .. }) = fixture.mailboxes.reader.receive()
            else {
                panic!("envelope {epoch}");
            };
            assert_eq!(got, epoch);
        }
        assert!(fixture.outbox.is_empty());
    }

    #[test]
    fn the_reader_receives_up_after_every_worker_has_been_told() {
        let mut fixture = fixture();
        fixture.mailboxes.workers[1].send(ttl()).unwrap();
        fixture.outbox.workers(ttl);
        fixture.outbox.after(After::Workers).reader(up(0));
        assert!(!fixture.outbox.deliver());
        assert_eq!(fixture.mailboxes.workers[0].len(), 1);
        assert!(
            fixture.mailboxes.reader.is_empty(),
            "worker 1 does not know yet"
        );
        fixture.mailboxes.workers[1].receive();
        assert!(fixture.outbox.deliver());
        assert_eq!(fixture.mailboxes.reader.len(), 1);
    }

    #[test]
    fn an_envelope_does_not_wait_for_what_was_queued_after_it() {
        let mut fixture = fixture();
        fixture
            .mailboxes
            .checkpointer
            .send(CheckpointerMessage::Stop)
            .unwrap();
        fixture.outbox.workers(ttl);
        fixture.outbox.after(After::Workers).reader(up(0));
        fixture.outbox.after(After::Checkpointer).workers(ttl);
        fixture.outbox.checkpointer(CheckpointerMessage::Stop);
        assert!(!fixture.outbox.deliver());
        assert_eq!(
            fixture.mailboxes.reader.len(),
            1,
            "its workers have been told"
        );
    }

    #[test]
    fn everyone_receives_a_flush_after_the_checkpointer() {
        let mut fixture = fixture();
        fixture
            .mailboxes
            .checkpointer
            .send(CheckpointerMessage::Stop)
            .unwrap();
        let flush = CheckpointerMessage::Of(BACKEND, BackendMessage::Flush { epoch: 1 });
        fixture.outbox.checkpointer(flush);
        fixture.outbox.after(After::Checkpointer).workers(ttl);
        fixture.outbox.after(After::Checkpointer).reader(up(1));
        assert!(!fixture.outbox.deliver());
        assert!(fixture.mailboxes.workers[0].is_empty() && fixture.mailboxes.reader.is_empty());
        fixture.mailboxes.checkpointer.receive();
        assert!(fixture.outbox.deliver());
        assert_eq!(
            (
                fixture.mailboxes.workers[0].len(),
                fixture.mailboxes.reader.len()
            ),
            (1, 1)
        );
    }

    #[test]
    fn the_controller_hears_of_a_flush_after_the_reader_has_its_plan() {
        let mut fixture = fixture();
        fixture.mailboxes.reader.send(up(0)).unwrap();
        fixture.outbox.reader(up(1));
        let flushed = ControlMessage::Flushed {
            backend: BACKEND,
            epoch: 1,
        };
        fixture.outbox.after(After::LogReader).control(flushed);
        let done = ControlMessage::CheckpointerDone;
        fixture.outbox.control(done);
        assert!(!fixture.outbox.deliver());
        assert!(
            fixture.mailboxes.control.is_empty(),
            "nor what comes after it"
        );
        assert!(!fixture.outbox.has_all(After::LogReader));
        fixture.outbox.forget_reader();
        assert!(fixture.outbox.has_all(After::LogReader));
        assert!(!fixture.outbox.deliver());
        let received = fixture.mailboxes.control.receive();
        assert!(matches!(received, Some(ControlMessage::Flushed { .. })));
        assert!(fixture.outbox.deliver());
    }
}
