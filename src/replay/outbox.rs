//! What control has to tell the other threads: in order to each of them, never waiting for any.
//!
//! A full mailbox must not stop control, which has to answer HA. So what a mailbox does not take
//! stays here and is tried again by [`Outbox::deliver`]. Where the order matters across receivers,
//! an envelope waits [`After`] all that one group was told before: the checkpointer hears of a
//! flush before anyone who could answer it; workers of a backend that is up before the reader that
//! sends them its records.
//!
//! Bounded by what there is to say: a few envelopes an epoch of each backend.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{CheckpointerMessage, ReaderMessage, WorkerMessage};

/// Whom an envelope waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nobody.
    Nothing,
    /// All that the reader was told so far.
    LogReader,
    /// All that the checkpointer was told so far.
    Checkpointer,
    /// All that any worker was told so far.
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

    /// The number of the oldest envelope that is still here.
    fn oldest(&self) -> u64 {
        self.envelopes
            .front()
            .map_or(u64::MAX, |envelope| envelope.number)
    }

    /// Delivers what may go. True: something went.
    fn deliver(&mut self, oldest: Oldest) -> bool {
        let mut went = false;
        while let Some(envelope) = self.envelopes.pop_front() {
            if !oldest.lets(envelope.after, envelope.number) {
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
            went = true;
        }
        went
    }
}

/// The oldest envelope that each group has not got.
#[derive(Clone, Copy)]
struct Oldest {
    reader: u64,
    checkpointer: u64,
    workers: u64,
}

impl Oldest {
    fn lets(self, after: After, number: u64) -> bool {
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
    /// Envelopes written so far.
    written: u64,
}

impl Outbox {
    /// Post for these mailboxes.
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
            written: 0,
        }
    }

    /// To the reader.
    pub fn reader(&mut self, after: After, message: ReaderMessage) {
        let number = self.number();
        self.reader.envelopes.push_back(Envelope {
            number,
            after,
            message,
        });
    }

    /// To the checkpointer.
    pub fn checkpointer(&mut self, after: After, message: CheckpointerMessage) {
        let number = self.number();
        self.checkpointer.envelopes.push_back(Envelope {
            number,
            after,
            message,
        });
    }

    /// To every worker.
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

    /// Delivers what can be. True: all is delivered; otherwise try again soon.
    pub fn deliver(&mut self) -> bool {
        loop {
            let mut went = self.checkpointer.deliver(self.oldest());
            for index in 0..self.workers.len() {
                let oldest = self.oldest();
                went |= self.workers[index].deliver(oldest);
            }
            went |= self.reader.deliver(self.oldest());
            if !went {
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
        self.written += 1;
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::mailbox::NoWaker;
    use crate::replay::messages::BackendId;
    use crate::replay::reachability::KnownOutages;

    const BACKEND: BackendId = BackendId(0);

    struct Bench {
        reader: Arc<Mailbox<ReaderMessage>>,
        checkpointer: Arc<Mailbox<CheckpointerMessage>>,
        workers: Vec<Arc<Mailbox<WorkerMessage>>>,
        outbox: Outbox,
    }

    fn mailbox<T>() -> Arc<Mailbox<T>> {
        Arc::new(Mailbox::new(1, Box::new(NoWaker)))
    }

    fn bench() -> Bench {
        let (reader, checkpointer) = (mailbox(), mailbox());
        let workers = vec![mailbox(), mailbox()];
        let outbox = Outbox::new(
            Arc::clone(&reader),
            Arc::clone(&checkpointer),
            workers.clone(),
        );
        Bench {
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
        let mut bench = bench();
        for epoch in 0..3 {
            bench.outbox.reader(After::Nothing, up(epoch));
        }
        for epoch in 0..3 {
            assert_eq!(bench.outbox.deliver(), epoch == 2);
            let Some(ReaderMessage::Up { epoch: got, .. }) = bench.reader.receive() else {
                panic!("envelope {epoch}");
            };
            assert_eq!(got, epoch);
        }
        assert!(bench.outbox.is_empty());
    }

    #[test]
    fn the_reader_hears_of_up_after_every_worker_did() {
        let mut bench = bench();
        bench.workers[1].send(ttl()).unwrap();
        bench.outbox.workers(After::Nothing, ttl);
        bench.outbox.reader(After::Workers, up(0));
        assert!(!bench.outbox.deliver());
        assert_eq!(bench.workers[0].len(), 1);
        assert!(bench.reader.is_empty(), "worker 1 does not know yet");
        bench.workers[1].receive();
        assert!(bench.outbox.deliver());
        assert_eq!(bench.reader.len(), 1);
    }

    #[test]
    fn a_envelope_does_not_wait_for_what_was_written_after_it() {
        let mut bench = bench();
        bench.checkpointer.send(CheckpointerMessage::Stop).unwrap();
        bench.outbox.workers(After::Nothing, ttl);
        bench.outbox.reader(After::Workers, up(0));
        bench.outbox.workers(After::Checkpointer, ttl);
        bench
            .outbox
            .checkpointer(After::Nothing, CheckpointerMessage::Stop);
        assert!(!bench.outbox.deliver());
        assert_eq!(bench.reader.len(), 1, "its workers have been told");
    }

    #[test]
    fn everyone_hears_of_a_flush_after_the_checkpointer_did() {
        let mut bench = bench();
        bench.checkpointer.send(CheckpointerMessage::Stop).unwrap();
        let flush = CheckpointerMessage::Flush {
            backend: BACKEND,
            epoch: 1,
        };
        bench.outbox.checkpointer(After::Nothing, flush);
        bench.outbox.workers(After::Checkpointer, ttl);
        bench.outbox.reader(After::Checkpointer, up(1));
        assert!(!bench.outbox.deliver());
        assert!(bench.workers[0].is_empty() && bench.reader.is_empty());
        bench.checkpointer.receive();
        assert!(bench.outbox.deliver());
        assert_eq!((bench.workers[0].len(), bench.reader.len()), (1, 1));
    }
}
