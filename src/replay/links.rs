//! What the threads share: their mailboxes, what inotify has told, pools of buffers and vectors.

use std::sync::Arc;

use crate::replay::chunk::BufferReturns;
use crate::replay::dirty_flags::DirtyFlags;
use crate::replay::mailbox::Mailbox;
#[cfg(feature = "testing")]
use crate::replay::mailbox::NoWaker;
use crate::replay::messages::{
    CheckpointerMessage, ControlMessage, Fed, ReaderMessage, ReconcilerMessage, Settled,
    WorkerMessage,
};
use crate::replay::vec_pool::VecPool;
use crate::status::counters::ServerCounters;

/// Everybody's mailbox.
#[derive(Clone)]
pub struct Mailboxes {
    /// The controller's.
    pub control: Arc<Mailbox<ControlMessage>>,
    /// The reader's.
    pub reader: Arc<Mailbox<ReaderMessage>>,
    /// The checkpointer's.
    pub checkpointer: Arc<Mailbox<CheckpointerMessage>>,
    /// The workers', by number.
    pub workers: Vec<Arc<Mailbox<WorkerMessage>>>,
    /// The reconciler's, where there is one.
    pub reconciler: Option<Arc<Mailbox<ReconcilerMessage>>>,
}

#[cfg(feature = "testing")]
impl Mailboxes {
    /// Of so many messages each, where nobody sleeps; without a reconciler.
    #[must_use]
    pub fn without_wakers(workers: usize, capacity: usize) -> Self {
        fn mailbox<T>(capacity: usize) -> Arc<Mailbox<T>> {
            Arc::new(Mailbox::new(capacity, Box::new(NoWaker)))
        }
        Self {
            control: mailbox(capacity),
            reader: mailbox(capacity),
            checkpointer: mailbox(capacity),
            workers: (0..workers).map(|_| mailbox(capacity)).collect(),
            reconciler: None,
        }
    }
}

/// All that the threads share. Each has a copy.
#[derive(Clone)]
pub struct Links {
    /// Everybody's mailbox.
    pub mailboxes: Mailboxes,
    /// What inotify has reported.
    pub dirty_flags: Arc<DirtyFlags>,
    /// Where chunks are returned.
    pub returns: Arc<BufferReturns>,
    /// Vectors of outcomes: from the checkpointer, which empties them, to the workers.
    pub settled_pool: Arc<VecPool<Settled>>,
    /// Vectors of records: from the workers, which empty them, to the reader.
    pub fed_pool: Arc<VecPool<Fed>>,
    /// The process's counters.
    pub counters: Arc<ServerCounters>,
}

impl Links {
    /// With room for so many chunks to be returned at a time (`chunks_max` of the reader), and so
    /// many vectors in each pool.
    #[must_use]
    pub fn new(mailboxes: Mailboxes, chunks: usize, pooled: usize) -> Self {
        let reader = &mailboxes.reader;
        Self {
            dirty_flags: Arc::new(DirtyFlags::new(Arc::clone(reader))),
            returns: Arc::new(BufferReturns::new(chunks, Arc::clone(reader))),
            settled_pool: Arc::new(VecPool::new(pooled)),
            fed_pool: Arc::new(VecPool::new(pooled)),
            counters: Arc::default(),
            mailboxes,
        }
    }
}
