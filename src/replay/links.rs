//! What the threads share: their mailboxes, what inotify has told, pools of buffers and vectors.
//! Each is given what it may reach and no more.

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

/// All that the threads share.
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

    /// The controller's part.
    #[must_use]
    pub fn for_controller(&self) -> ControllerLinks {
        let mailboxes = &self.mailboxes;
        ControllerLinks {
            mailbox: Arc::clone(&mailboxes.control),
            reader: Arc::clone(&mailboxes.reader),
            checkpointer: Arc::clone(&mailboxes.checkpointer),
            workers: mailboxes.workers.clone(),
            reconciler: mailboxes.reconciler.clone(),
            dirty_flags: Arc::clone(&self.dirty_flags),
        }
    }

    /// The reader's part.
    #[must_use]
    pub fn for_reader(&self) -> ReaderLinks {
        let mailboxes = &self.mailboxes;
        ReaderLinks {
            mailbox: Arc::clone(&mailboxes.reader),
            workers: mailboxes.workers.clone(),
            checkpointer: Arc::clone(&mailboxes.checkpointer),
            control: Arc::clone(&mailboxes.control),
            returns: Arc::clone(&self.returns),
            dirty_flags: Arc::clone(&self.dirty_flags),
            fed_pool: Arc::clone(&self.fed_pool),
            counters: Arc::clone(&self.counters),
        }
    }

    /// A worker's part.
    ///
    /// # Panics
    /// There is no worker of this number.
    #[must_use]
    pub fn for_worker(&self, index: usize) -> WorkerLinks {
        let mailboxes = &self.mailboxes;
        WorkerLinks {
            mailbox: Arc::clone(&mailboxes.workers[index]),
            checkpointer: Arc::clone(&mailboxes.checkpointer),
            control: Arc::clone(&mailboxes.control),
            reader: Arc::clone(&mailboxes.reader),
            returns: Arc::clone(&self.returns),
            settled_pool: Arc::clone(&self.settled_pool),
            fed_pool: Arc::clone(&self.fed_pool),
        }
    }

    /// The checkpointer's part.
    #[must_use]
    pub fn for_checkpointer(&self) -> CheckpointerLinks {
        let mailboxes = &self.mailboxes;
        CheckpointerLinks {
            mailbox: Arc::clone(&mailboxes.checkpointer),
            reader: Arc::clone(&mailboxes.reader),
            control: Arc::clone(&mailboxes.control),
            workers: mailboxes.workers.clone(),
            reconciler: mailboxes.reconciler.clone(),
            settled_pool: Arc::clone(&self.settled_pool),
        }
    }
}

/// What the controller shares with the other threads.
#[derive(Clone)]
pub struct ControllerLinks {
    /// Its own.
    pub mailbox: Arc<Mailbox<ControlMessage>>,
    /// The reader's.
    pub reader: Arc<Mailbox<ReaderMessage>>,
    /// The checkpointer's.
    pub checkpointer: Arc<Mailbox<CheckpointerMessage>>,
    /// The workers', by number.
    pub workers: Vec<Arc<Mailbox<WorkerMessage>>>,
    /// The reconciler's, where there is one.
    pub reconciler: Option<Arc<Mailbox<ReconcilerMessage>>>,
    /// The flags that inotify events set.
    pub dirty_flags: Arc<DirtyFlags>,
}

/// What the reader shares with the other threads.
#[derive(Clone)]
pub struct ReaderLinks {
    /// Its own mailbox.
    pub mailbox: Arc<Mailbox<ReaderMessage>>,
    /// The workers', by number.
    pub workers: Vec<Arc<Mailbox<WorkerMessage>>>,
    /// The checkpointer's.
    pub checkpointer: Arc<Mailbox<CheckpointerMessage>>,
    /// The controller's.
    pub control: Arc<Mailbox<ControlMessage>>,
    /// Where chunks are returned. Its capacity bounds how many are in use.
    pub returns: Arc<BufferReturns>,
    /// What inotify has reported.
    pub dirty_flags: Arc<DirtyFlags>,
    /// Vectors of records, emptied by the workers.
    pub fed_pool: Arc<VecPool<Fed>>,
    /// The process's counters.
    pub counters: Arc<ServerCounters>,
}

/// What a worker shares with the other threads.
#[derive(Clone)]
pub struct WorkerLinks {
    /// Its own mailbox.
    pub mailbox: Arc<Mailbox<WorkerMessage>>,
    /// The checkpointer's.
    pub checkpointer: Arc<Mailbox<CheckpointerMessage>>,
    /// Control's.
    pub control: Arc<Mailbox<ControlMessage>>,
    /// The reader's.
    pub reader: Arc<Mailbox<ReaderMessage>>,
    /// Where chunks are returned.
    pub returns: Arc<BufferReturns>,
    /// Vectors of outcomes, emptied by the checkpointer.
    pub settled_pool: Arc<VecPool<Settled>>,
    /// Vectors of records, filled by the reader.
    pub fed_pool: Arc<VecPool<Fed>>,
}

/// What the checkpointer shares with the other threads.
#[derive(Clone)]
pub struct CheckpointerLinks {
    /// Its own mailbox.
    pub mailbox: Arc<Mailbox<CheckpointerMessage>>,
    /// The reader's.
    pub reader: Arc<Mailbox<ReaderMessage>>,
    /// The controller's.
    pub control: Arc<Mailbox<ControlMessage>>,
    /// The reconciler's, where there is one.
    pub reconciler: Option<Arc<Mailbox<ReconcilerMessage>>>,
    /// The workers', by number.
    pub workers: Vec<Arc<Mailbox<WorkerMessage>>>,
    /// Vectors of outcomes, emptied here.
    pub settled_pool: Arc<VecPool<Settled>>,
}

/// What the reconciler shares with the other threads.
#[derive(Clone)]
pub struct ReconcilerLinks {
    /// Its own mailbox.
    pub mailbox: Arc<Mailbox<ReconcilerMessage>>,
    /// The checkpointer's.
    pub checkpointer: Arc<Mailbox<CheckpointerMessage>>,
}
