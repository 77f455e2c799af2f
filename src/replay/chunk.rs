//! Pieces of log in memory: read once, decoded in place, shared by the lanes until the last of
//! their records is settled.
//!
//! A chunk is filled by the reader alone, then shared read-only. Whoever drops the last share sends
//! its buffer home, so that the reader uses it again; nothing is copied or allocated a record.

use std::sync::Arc;

use super::ids::BackendId;
use super::mailbox::Wake;
use super::sync::ArrayQueue;

/// A shared piece of log. Offsets into it are `u32`.
#[derive(Debug)]
pub struct Chunk {
    bytes: Vec<u8>,
    backend: BackendId,
    is_body: bool,
}

/// A piece of a chunk, which stays in memory for as long as this is there.
#[derive(Debug)]
pub struct Share {
    pub chunk: Arc<Chunk>,
    /// Where the piece begins in it.
    pub at: usize,
    /// How long it is.
    pub len: usize,
}

impl Share {
    /// The piece.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.chunk.bytes()[self.at..self.at + self.len]
    }
}

/// A buffer that was returned, with the backend whose credit it gives back.
#[derive(Debug)]
pub struct Returned {
    /// The buffer; its length is what the backend's credit was charged.
    pub bytes: Vec<u8>,
    pub backend: BackendId,
    /// Whether it was a piece of a body.
    pub is_body: bool,
}

impl Chunk {
    /// Makes `bytes` a chunk of `backend`'s log.
    #[must_use]
    pub fn new(bytes: Vec<u8>, backend: BackendId) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            backend,
            is_body: false,
        })
    }

    /// Makes `bytes` a piece of a body that is too long to be held.
    #[must_use]
    pub fn of_body(bytes: Vec<u8>, backend: BackendId) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            backend,
            is_body: true,
        })
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The return for buffers.
pub struct BufferReturns {
    queue: ArrayQueue<Returned>,
    reader: Arc<dyn Wake>,
}

impl BufferReturns {
    /// Room for `capacity` buffers at once: as many as there can be chunks.
    #[must_use]
    pub fn new(capacity: usize, reader: Arc<impl Wake + 'static>) -> Self {
        Self {
            queue: ArrayQueue::new(capacity),
            reader,
        }
    }

    /// How many buffers have room.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// Gives up one share; the last one sends the buffer home, and wakes the reader
    /// unless that is content.
    pub fn release(&self, share: Arc<Chunk>) {
        let Some(chunk) = Arc::into_inner(share) else {
            return;
        };
        let returned = Returned {
            bytes: chunk.bytes,
            backend: chunk.backend,
            is_body: chunk.is_body,
        };
        let home = self.queue.push(returned);
        assert!(home.is_ok(), "there is room for every chunk there can be");
        self.reader.wake_for_later();
    }

    /// The next buffer that was returned.
    pub fn receive(&self) -> Option<Returned> {
        self.queue.pop()
    }

    /// Whether none was returned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
