//! The batches that a worker holds. A batch's chunk stays in memory until the last of its records
//! is settled.
//!
//! The table counts records without atomics: a chunk's shared count changes once per batch, not
//! once per record.

use std::sync::Arc;

use slab::Slab;

use crate::binlog::Record;
use crate::replay::chunk::Chunk;
use crate::replay::messages::{LongBody, Origin};

/// Where a held batch is in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchKey(u32);

#[derive(Debug)]
struct Held {
    chunk: Arc<Chunk>,
    origin: Origin,
    body: Option<LongBody>,
    /// Records of the batch that are not settled; never 0.
    records: u32,
}

/// All batches of a worker.
#[derive(Debug, Default)]
pub struct BatchTable {
    entries: Slab<Held>,
}

impl BatchTable {
    /// Holds a batch of `records` records, at least one.
    ///
    /// # Panics
    /// If the batch has no record, or if four thousand million batches are held.
    pub fn hold(
        &mut self,
        chunk: Arc<Chunk>,
        origin: Origin,
        body: Option<LongBody>,
        records: u32,
    ) -> BatchKey {
        assert!(records > 0, "an empty batch would never be released");
        let at = self.entries.insert(Held {
            chunk,
            origin,
            body,
            records,
        });
        BatchKey(u32::try_from(at).expect("fewer batches than u32 can count"))
    }

    fn entry(&self, key: BatchKey) -> &Held {
        &self.entries[key.0 as usize]
    }

    /// A record's bytes.
    #[must_use]
    pub fn bytes(&self, key: BatchKey, at: u32, bytes: u32) -> &[u8] {
        &self.entry(key).chunk.bytes()[at as usize..at as usize + bytes as usize]
    }

    /// A share of the chunk that the batch came from, for whoever needs its bytes for longer than
    /// the batch is held.
    #[must_use]
    pub fn share(&self, key: BatchKey) -> Arc<Chunk> {
        Arc::clone(&self.entry(key).chunk)
    }

    /// All bytes of the chunk that the batch came from.
    #[must_use]
    pub fn chunk_bytes(&self, key: BatchKey) -> &[u8] {
        self.entry(key).chunk.bytes()
    }

    /// Where the batch's lines are in the log.
    #[must_use]
    pub fn origin(&self, key: BatchKey) -> &Origin {
        &self.entry(key).origin
    }

    /// Bytes of a record's value, whether it is in memory or in the log only.
    #[must_use]
    pub fn value_bytes(&self, key: BatchKey, record: &Record<'_>) -> usize {
        self.long_body(key)
            .map_or(record.value.len(), |body| body.bytes as usize)
    }

    /// The value of the batch's one record, if it is in the log only.
    #[must_use]
    pub fn long_body(&self, key: BatchKey) -> Option<&LongBody> {
        self.entry(key).body.as_ref()
    }

    /// One record is completed. Returns the chunk with the last one.
    #[must_use]
    pub fn complete_one(&mut self, key: BatchKey) -> Option<Arc<Chunk>> {
        let held = &mut self.entries[key.0 as usize];
        held.records -= 1;
        (held.records == 0).then(|| self.entries.remove(key.0 as usize).chunk)
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::messages::{BackendId, FileId, SegmentId};

    #[test]
    fn the_last_record_returns_the_chunk_and_the_place_is_reused() {
        let mut held = BatchTable::default();
        let chunk = Chunk::new(b"abcdef".to_vec(), BackendId(0));
        let origin = Origin {
            segment: SegmentId(7),
            file: FileId(3),
            log: "202608180600.log".into(),
            first_line: 12,
        };
        let key = held.hold(chunk, origin.clone(), None, 2);
        assert_eq!(held.bytes(key, 2, 3), b"cde");
        assert_eq!(held.origin(key), &origin);
        assert!(held.complete_one(key).is_none());
        let chunk = held.complete_one(key).expect("the last record returns it");
        assert!(held.is_empty());
        assert_eq!(held.hold(chunk, origin, None, 1), key);
    }
}
