//! The controller's messages to the other threads: in order to each of them, without waiting.
//!
//! A full mailbox must not stop the controller, which has to answer HA. So a message that finds its
//! mailbox full stays here until [`Outbox::deliver`] sends it. Where the order matters across
//! receivers, a message is held back until one group of threads has received everything that was
//! queued for it earlier ([`After`]): the checkpointer receives a flush before anyone who could
//! answer it, and the workers learn that a backend is up before the reader sends them its records.
//!
//! The queues stay short: there are a few messages in each epoch of a backend.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{CheckpointerMessage, ReaderMessage, WorkerMessage};

/// Whose earlier messages have to be delivered before an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nobody's.
    Nothing,
    /// The reader's.
    LogReader,
    /// The checkpointer's.
    Checkpointer,
    /// All workers'.
    Workers,
}

struct Envelope<T> {
    number: u64,
    after: After,
    message: T,
}

struct Queue<T> {
    mailbox: Arc<Mailbox<T>>,
    /// By ascending numbers.
    envelopes: VecDeque<Envelope<T>>,
}

impl<T> Queue<T> {
    fn new(mailbox: Arc<Mailbox<T>>) -> Self {
        Self {
            mailbox,
            envelopes: VecDeque::new(),
        }
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
            if !oldest.allows(envelope.after, envelope.number) {
                self.envelopes.push_front(envelope);
                break;
            }
            let Envelope {
                number,
                after,
                message,
            } = envelope;
            if let Err(message) = self.mailbox.send(message) {
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
}

/// The number of each group's oldest undelivered envelope.
#[derive(Clone, Copy)]
struct Oldest {
    reader: u64,
    checkpointer: u64,
    workers: u64,
}

impl Oldest {
    fn allows(self, after: After, number: u64) -> bool {
        match after {
            After::Nothing => true,
            After::LogReader => self.reader > number,
            After::Checkpointer => self.checkpointer > number,
            After::Workers => self.workers > number,
        }
    }
}

/// See the module.
pub struct Outbox {
    reader: Queue<ReaderMessage>,
    checkpointer: Queue<CheckpointerMessage>,
    workers: Vec<Queue<WorkerMessage>>,
    /// Envelopes queued so far.
    queued: u64,
}

impl Outbox {
    /// An outbox for these mailboxes.
    #[must_use]
    pub fn new(
        reader: Arc<Mailbox<ReaderMessage>>,
        checkpointer: Arc<Mailbox<CheckpointerMessage>>,
        workers: impl IntoIterator<Item = Arc<Mailbox<WorkerMessage>>>,
    ) -> Self {
        Self {
            reader: Queue::new(reader),
            checkpointer: Queue::new(checkpointer),
            workers: workers.into_iter().map(Queue::new).collect(),
            queued: 0,
        }
    }

    /// Queues a message for the reader.
    pub fn reader(&mut self, after: After, message: ReaderMessage) {
        let number = self.number();
        self.reader.envelopes.push_back(Envelope {
            number,
            after,
            message,
        });
    }

    /// Queues a message for the checkpointer.
    pub fn checkpointer(&mut self, after: After, message: CheckpointerMessage) {
        let number = self.number();
        self.checkpointer.envelopes.push_back(Envelope {
            number,
            after,
            message,
        });
    }

    /// Queues a message for every worker.
    pub fn workers(&mut self, after: After, mut message: impl FnMut() -> WorkerMessage) {
        for index in 0..self.workers.len() {
            let number = self.number();
            self.workers[index].envelopes.push_back(Envelope {
                number,
                after,
                message: message(),
            });
        }
    }

    /// Delivers what can be delivered now. Returns whether that was everything; otherwise call it
    /// again soon.
    pub fn deliver(&mut self) -> bool {
        loop {
            let mut has_delivered = self.checkpointer.deliver(self.oldest());
            for index in 0..self.workers.len() {
                let oldest = self.oldest();
                has_delivered |= self.workers[index].deliver(oldest);
            }
            has_delivered |= self.reader.deliver(self.oldest());
            if !has_delivered {
                return self.is_empty();
            }
        }
    }

    /// Whether all is delivered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.checkpointer.envelopes.is_empty()
            && self.reader.envelopes.is_empty()
            && self.workers.iter().all(|queue| queue.envelopes.is_empty())
    }

    fn oldest(&self) -> Oldest {
        Oldest {
            reader: self.reader.oldest(),
            checkpointer: self.checkpointer.oldest(),
            workers: self
                .workers
                .iter()
                .map(Queue::oldest)
                .min()
                .unwrap_or(u64::MAX),
        }
    }

    fn number(&mut self) -> u64 {
        self.queued += 1;
        self.queued
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::mailbox::NoWaker;
    use crate::replay::messages::BackendId;
    use crate::replay::reachability::KnownOutages;

    const BACKEND: BackendId = BackendId(0);

    struct Fixture {
        reader: Arc<Mailbox<ReaderMessage>>,
        checkpointer: Arc<Mailbox<CheckpointerMessage>>,
        workers: Vec<Arc<Mailbox<WorkerMessage>>>,
        outbox: Outbox,
    }

    fn mailbox<T>() -> Arc<Mailbox<T>> {
        Arc::new(Mailbox::new(1, Box::new(NoWaker)))
    }

    fn fixture() -> Fixture {
        let (reader, checkpointer) = (mailbox(), mailbox());
        let workers = vec![mailbox(), mailbox()];
        let outbox = Outbox::new(
            Arc::clone(&reader),
            Arc::clone(&checkpointer),
            workers.clone(),
        );
        Fixture {
            reader,
            checkpointer,
            workers,
            outbox,
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
            fixture.outbox.reader(After::Nothing, up(epoch));
        }
        for epoch in 0..3 {
            assert_eq!(fixture.outbox.deliver(), epoch == 2);
            let Some(ReaderMessage::Up { epoch: got, .. }) = fixture.reader.receive() else {
                panic!("envelope {epoch}");
            };
            assert_eq!(got, epoch);
        }
        assert!(fixture.outbox.is_empty());
    }

    #[test]
    fn the_reader_receives_up_after_every_worker_has_been_told() {
        let mut fixture = fixture();
        fixture.workers[1].send(ttl()).unwrap();
        fixture.outbox.workers(After::Nothing, ttl);
        fixture.outbox.reader(After::Workers, up(0));
        assert!(!fixture.outbox.deliver());
        assert_eq!(fixture.workers[0].len(), 1);
        assert!(fixture.reader.is_empty(), "worker 1 does not know yet");
        fixture.workers[1].receive();
        assert!(fixture.outbox.deliver());
        assert_eq!(fixture.reader.len(), 1);
    }

    #[test]
    fn an_envelope_does_not_wait_for_what_was_queued_after_it() {
        let mut fixture = fixture();
        fixture
            .checkpointer
            .send(CheckpointerMessage::Stop)
            .unwrap();
        fixture.outbox.workers(After::Nothing, ttl);
        fixture.outbox.reader(After::Workers, up(0));
        fixture.outbox.workers(After::Checkpointer, ttl);
        fixture
            .outbox
            .checkpointer(After::Nothing, CheckpointerMessage::Stop);
        assert!(!fixture.outbox.deliver());
        assert_eq!(fixture.reader.len(), 1, "its workers have been told");
    }

    #[test]
    fn everyone_receives_a_flush_after_the_checkpointer() {
        let mut fixture = fixture();
        fixture
            .checkpointer
            .send(CheckpointerMessage::Stop)
            .unwrap();
        let flush = CheckpointerMessage::Flush {
            backend: BACKEND,
            epoch: 1,
        };
        fixture.outbox.checkpointer(After::Nothing, flush);
        fixture.outbox.workers(After::Checkpointer, ttl);
        fixture.outbox.reader(After::Checkpointer, up(1));
        assert!(!fixture.outbox.deliver());
        assert!(fixture.workers[0].is_empty() && fixture.reader.is_empty());
        fixture.checkpointer.receive();
        assert!(fixture.outbox.deliver());
        assert_eq!((fixture.workers[0].len(), fixture.reader.len()), (1, 1));
    }
}
