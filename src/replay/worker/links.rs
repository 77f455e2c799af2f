//! What a worker shares with the other threads.

use std::sync::Arc;

use crate::replay::chunk::BufferReturns;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{
    CheckpointerMessage, ControlMessage, Fed, ReaderMessage, Settled, WorkerMessage,
};
use crate::replay::vec_pool::VecPool;

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
