//! The memory for pieces of log: how much each backend may use, and a pool of buffers.
//!
//! ```text
//!  memory budget, in equal shares, one for each backend that is read for
//!  ├─ pieces of bodies that are too long for memory (`bodies`): two, each an eighth of the share
//!  └─ lines: chunks, and lines longer than a chunk that have at most a quarter of this
//! ```
//!
//! No memory is shared between backends. A backend that does not settle its records uses up its own
//! share and takes nothing from the others, however long its lines are (G6). Those that have
//! nothing to read, or are down, have no share: their folders cost the others nothing.

use crate::limits::{BODY_PIECES_MAX, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, LINE_BYTES_MAX};

/// The reader's bounds: the usual limits, or smaller ones in a simulation, so that a little input
/// shows the effects of a lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderBounds {
    /// The least chunk, in bytes.
    pub chunk_bytes_min: usize,
    /// The largest chunk, in bytes; the least one times a power of two.
    pub chunk_bytes_max: usize,
    /// The longest line, in bytes, its newline not counted. At least a largest chunk: only longer
    /// lines are measured.
    pub line_bytes_max: usize,
}

impl Default for ReaderBounds {
    fn default() -> Self {
        Self {
            chunk_bytes_min: CHUNK_BYTES_MIN,
            chunk_bytes_max: CHUNK_BYTES_MAX,
            line_bytes_max: LINE_BYTES_MAX,
        }
    }
}

impl ReaderBounds {
    /// A backend's share of `budget_bytes`. At least a smallest chunk and its pieces, for any
    /// number of backends.
    #[must_use]
    pub fn share_bytes(&self, budget_bytes: usize, backends: usize) -> usize {
        let least = self.chunk_bytes_min + BODY_PIECES_MAX * self.piece_bytes_min();
        (budget_bytes / backends.max(1)).max(least)
    }

    /// The smallest piece of a body, in bytes of the log: whole groups of base64.
    #[must_use]
    pub fn piece_bytes_min(&self) -> usize {
        self.chunk_bytes_min / 4
    }

    /// How much of a body is read at once by a backend with this share, in bytes of the log: an
    /// eighth of it.
    #[must_use]
    pub fn piece_bytes(&self, share_bytes: usize) -> usize {
        let mut piece = self.chunk_bytes_max;
        while piece > self.piece_bytes_min() && piece > share_bytes / 8 {
            piece /= 2;
        }
        piece
    }

    /// The part of this share that is for lines.
    #[must_use]
    pub fn lines_bytes(&self, share_bytes: usize) -> usize {
        share_bytes - BODY_PIECES_MAX * self.piece_bytes(share_bytes)
    }

    /// The longest line that is held in memory for a backend with this share. Several fit, so that
    /// one is read while others are sent.
    #[must_use]
    pub fn line_held_bytes_max(&self, share_bytes: usize) -> usize {
        (self.lines_bytes(share_bytes) / 4).max(self.chunk_bytes(share_bytes))
    }

    /// How much is read at once for a backend with this share: a quarter of what is for lines, so
    /// that reading and sending overlap.
    #[must_use]
    pub fn chunk_bytes(&self, share_bytes: usize) -> usize {
        let mut chunk = self.chunk_bytes_max;
        while chunk > self.chunk_bytes_min && chunk > self.lines_bytes(share_bytes) / 4 {
            chunk /= 2;
        }
        chunk
    }
}

/// A pool of buffers for chunks, by size.
#[derive(Debug)]
pub struct Buffers {
    bounds: ReaderBounds,
    /// One list for each size: the least piece's, twice that, and so on.
    free: Vec<Vec<Vec<u8>>>,
    free_bytes: usize,
    /// Bytes of all buffers in use.
    out_bytes: usize,
}

impl Buffers {
    /// No buffer yet.
    #[must_use]
    pub fn new(bounds: ReaderBounds) -> Self {
        let least = bounds.piece_bytes_min();
        let sizes = (bounds.chunk_bytes_max / least).ilog2() as usize + 1;
        assert_eq!(least << (sizes - 1), bounds.chunk_bytes_max);
        assert!(least.is_multiple_of(4), "a piece is whole groups of base64");
        assert!(bounds.chunk_bytes_max <= bounds.line_bytes_max);
        Self {
            bounds,
            free: vec![Vec::new(); sizes],
            free_bytes: 0,
            out_bytes: 0,
        }
    }

    /// How many bytes a buffer for `bytes` bytes of lines has.
    #[must_use]
    pub fn rounded(&self, bytes: usize) -> usize {
        let bytes = bytes.max(self.bounds.chunk_bytes_min);
        self.size_of(bytes).unwrap_or(bytes)
    }

    /// A buffer of [`Buffers::rounded`] bytes with arbitrary content. While all buffers together
    /// exceed `kept_bytes_max`, idle ones are freed.
    pub fn take(&mut self, bytes: usize, kept_bytes_max: usize) -> Vec<u8> {
        self.take_sized(self.rounded(bytes), kept_bytes_max)
    }

    /// A buffer for a piece of a body that has `bytes` bytes in the log.
    pub fn take_piece(&mut self, bytes: usize, kept_bytes_max: usize) -> Vec<u8> {
        self.take_sized(self.size_of(bytes).unwrap_or(bytes), kept_bytes_max)
    }

    fn take_sized(&mut self, size: usize, kept_bytes_max: usize) -> Vec<u8> {
        self.out_bytes += size;
        if let Some(list) = self.list_of(size)
            && let Some(buffer) = list.pop()
        {
            self.free_bytes -= size;
            return buffer;
        }
        self.trim(kept_bytes_max);
        vec![0; size]
    }

    /// Takes back a buffer that [`Buffers::take`] has returned.
    pub fn give(&mut self, buffer: Vec<u8>, kept_bytes_max: usize) {
        let size = buffer.len();
        self.out_bytes -= size;
        if let Some(list) = self.list_of(size) {
            list.push(buffer);
            self.free_bytes += size;
        }
        self.trim(kept_bytes_max);
    }

    /// A buffer of `bytes` bytes will not be returned: it has a new owner.
    pub fn forget(&mut self, bytes: usize) {
        self.out_bytes -= bytes;
    }

    /// Bytes of all buffers in use.
    #[must_use]
    pub fn out_bytes(&self) -> usize {
        self.out_bytes
    }

    /// Bytes of all buffers, in use or idle.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.out_bytes + self.free_bytes
    }

    /// Frees idle buffers, the largest first, until the rest fits.
    fn trim(&mut self, kept_bytes_max: usize) {
        for list in self.free.iter_mut().rev() {
            while self.out_bytes + self.free_bytes > kept_bytes_max
                && let Some(buffer) = list.pop()
            {
                self.free_bytes -= buffer.len();
            }
        }
    }

    /// The size of chunk that holds `bytes` bytes, if one does.
    fn size_of(&self, bytes: usize) -> Option<usize> {
        let least = self.bounds.piece_bytes_min();
        let sizes = (0..self.free.len()).map(|index| least << index);
        sizes.into_iter().find(|size| bytes <= *size)
    }

    fn list_of(&mut self, size: usize) -> Option<&mut Vec<Vec<u8>>> {
        let least = self.bounds.piece_bytes_min();
        self.free
            .iter_mut()
            .enumerate()
            .find(|(index, _)| least << index == size)
            .map(|(_, list)| list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: ReaderBounds = ReaderBounds {
        chunk_bytes_min: 64,
        chunk_bytes_max: 512,
        line_bytes_max: 999,
    };

    #[test]
    fn shares_are_equal_and_never_less_than_a_chunk() {
        assert_eq!(BOUNDS.share_bytes(8000, 4), 2000);
        assert_eq!(BOUNDS.share_bytes(8000, 1000), 64 + 2 * 16);
        assert_eq!(BOUNDS.share_bytes(0, 1), 64 + 2 * 16);
        assert_eq!(BOUNDS.chunk_bytes(1 << 20), 512);
        assert_eq!(BOUNDS.chunk_bytes(1600), 256);
        assert_eq!(BOUNDS.chunk_bytes(96), 64);
        assert_eq!(BOUNDS.piece_bytes(1 << 20), 512);
        assert_eq!(BOUNDS.piece_bytes(2000), 128);
        assert_eq!(BOUNDS.line_held_bytes_max(2000), 436);
    }

    #[test]
    fn chunks_and_pieces_are_within_the_share_at_every_size() {
        for share in 96..20_000 {
            let pieces = BODY_PIECES_MAX * BOUNDS.piece_bytes(share);
            assert!(pieces + BOUNDS.chunk_bytes(share) <= share, "{share}");
            assert!(
                BOUNDS.line_held_bytes_max(share) <= BOUNDS.lines_bytes(share),
                "{share}"
            );
        }
    }

    #[test]
    fn buffers_are_used_again_and_idle_ones_are_given_up_first() {
        let mut buffers = Buffers::new(BOUNDS);
        let small = buffers.take(10, 1000);
        let large = buffers.take(300, 1000);
        assert_eq!((small.len(), large.len()), (64, 512));
        let address = large.as_ptr();
        buffers.give(large, 1000);
        let again = buffers.take(512, 1000);
        assert_eq!(again.as_ptr(), address);
        buffers.give(again, 1000);
        let other = buffers.take(500, 1000);
        buffers.give(other, 100);
        assert_eq!((buffers.free_bytes, buffers.out_bytes), (0, 64));
    }

    #[test]
    fn a_line_longer_than_a_chunk_is_not_kept() {
        let mut buffers = Buffers::new(BOUNDS);
        let line = buffers.take(700, 1000);
        assert_eq!(line.len(), 700);
        buffers.give(line, 10_000);
        assert_eq!((buffers.free_bytes, buffers.out_bytes), (0, 0));
    }
}
