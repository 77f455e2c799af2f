//! The memory for pieces of log: who may have how much, and buffers that are used again.
//!
//! ```text
//!  memory budget
//!  ├─ the reserve: one line of the greatest length, for whoever has the turn (`LongLine`)
//!  └─ the rest, in equal shares, one for each backend: chunks, and lines that fit a share
//! ```
//!
//! A share is a backend's own. One that does not settle its records runs out of its share and takes nothing from the others (G6).
//! A line that does not fit a share is rare; there is one buffer for such at a time, which is handed round. A backend that
//! stops answering while it has that buffer keeps it until it is held to be down.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Now;
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, LINE_BYTES_MAX};
use crate::replay::messages::BackendId;

/// Lengths that the feeder keeps to. The limits, or less in a simulation, so that little input shows what much does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeederBounds {
    /// The least chunk, in bytes.
    pub chunk_bytes_min: usize,
    /// The largest chunk, in bytes; the least one times a power of two.
    pub chunk_bytes_max: usize,
    /// The longest line, in bytes, its newline not counted. At least a largest chunk: only longer lines are measured.
    pub line_bytes_max: usize,
}

impl Default for FeederBounds {
    fn default() -> Self {
        Self {
            chunk_bytes_min: CHUNK_BYTES_MIN,
            chunk_bytes_max: CHUNK_BYTES_MAX,
            line_bytes_max: LINE_BYTES_MAX,
        }
    }
}

impl FeederBounds {
    /// Bytes that are set apart for one line of any length.
    #[must_use]
    pub fn reserve_bytes(&self) -> usize {
        self.line_bytes_max + 1
    }

    /// A backend's share of `budget_bytes`. At least one least chunk, whatever the number of backends.
    #[must_use]
    pub fn share_bytes(&self, budget_bytes: usize, backends: usize) -> usize {
        let shared = budget_bytes.saturating_sub(self.reserve_bytes());
        (shared / backends.max(1)).max(self.chunk_bytes_min)
    }

    /// How much is read at once by a backend with this share: a quarter of it, so that it reads while it sends.
    #[must_use]
    pub fn chunk_bytes(&self, share_bytes: usize) -> usize {
        let mut chunk = self.chunk_bytes_max;
        while chunk > self.chunk_bytes_min && chunk > share_bytes / 4 {
            chunk /= 2;
        }
        chunk
    }
}

/// Chunks' buffers that wait to be used again, by size.
#[derive(Debug)]
pub struct Buffers {
    bounds: FeederBounds,
    /// One list for each size: the least, twice that, and so on.
    free: Vec<Vec<Vec<u8>>>,
    free_bytes: usize,
    /// Bytes of all buffers that are out.
    out_bytes: usize,
}

impl Buffers {
    /// No buffer yet.
    #[must_use]
    pub fn new(bounds: FeederBounds) -> Self {
        let sizes = (bounds.chunk_bytes_max / bounds.chunk_bytes_min).ilog2() as usize + 1;
        assert_eq!(
            bounds.chunk_bytes_min << (sizes - 1),
            bounds.chunk_bytes_max
        );
        assert!(bounds.chunk_bytes_max <= bounds.line_bytes_max);
        Self {
            bounds,
            free: vec![Vec::new(); sizes],
            free_bytes: 0,
            out_bytes: 0,
        }
    }

    /// How many bytes a buffer for `bytes` bytes has.
    #[must_use]
    pub fn rounded(&self, bytes: usize) -> usize {
        self.size_of(bytes).unwrap_or(bytes)
    }

    /// A buffer of [`Buffers::rounded`] bytes, with anything in them. `kept_bytes_max`: what all buffers together shall not exceed as
    /// long as there are idle ones to give up.
    pub fn take(&mut self, bytes: usize, kept_bytes_max: usize) -> Vec<u8> {
        let size = self.rounded(bytes);
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

    /// Takes back a buffer that [`Buffers::take`] gave.
    pub fn give(&mut self, buffer: Vec<u8>, kept_bytes_max: usize) {
        let size = buffer.len();
        self.out_bytes -= size;
        if let Some(list) = self.list_of(size) {
            list.push(buffer);
            self.free_bytes += size;
        }
        self.trim(kept_bytes_max);
    }

    /// A buffer of `bytes` bytes that was out will not come back: it has been handed on for good.
    pub fn forget(&mut self, bytes: usize) {
        self.out_bytes -= bytes;
    }

    /// Bytes of all buffers, out or idle.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.out_bytes + self.free_bytes
    }

    /// Gives up idle buffers, the largest first, until all fit.
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
        let sizes = (0..self.free.len()).map(|index| self.bounds.chunk_bytes_min << index);
        sizes.into_iter().find(|size| bytes <= *size)
    }

    fn list_of(&mut self, size: usize) -> Option<&mut Vec<Vec<u8>>> {
        let least = self.bounds.chunk_bytes_min;
        self.free
            .iter_mut()
            .enumerate()
            .find(|(index, _)| least << index == size)
            .map(|(_, list)| list)
    }
}

/// The one buffer for a line that does not fit its backend's share: who has it, who waits for it.
#[derive(Debug, Default)]
pub struct LongLine {
    held: Option<Held>,
    /// Who waits, and when they last asked.
    waiting: VecDeque<(BackendId, Duration)>,
}

/// Who has not asked again for this long does not need the buffer any more (its file shrank, say), and loses its place.
const ASKED_AGAIN_WITHIN: Duration = Duration::from_secs(1);

/// Where the buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    by: BackendId,
    /// Bytes of the line, its newline counted.
    bytes: u64,
    /// The buffer's address while it is a chunk; none once it went to the keeper as a rejected line.
    address: Option<usize>,
}

impl LongLine {
    /// Asks for the buffer; it goes round in the order of asking. True: take it now, and say so by [`LongLine::hold`]. False: ask again
    /// soon.
    pub fn ask(&mut self, backend: BackendId, now: Now) -> bool {
        match self
            .waiting
            .iter_mut()
            .find(|(waiting, _)| *waiting == backend)
        {
            Some((_, asked)) => *asked = now.monotonic,
            None => self.waiting.push_back((backend, now.monotonic)),
        }
        if self.held.is_some() {
            return false;
        }
        self.waiting
            .retain(|(_, asked)| *asked + ASKED_AGAIN_WITHIN >= now.monotonic);
        self.waiting
            .front()
            .is_some_and(|(first, _)| *first == backend)
    }

    /// The buffer has been taken by the first who waited.
    pub fn hold(&mut self, backend: BackendId, buffer: &[u8]) {
        let first = self.waiting.pop_front().map(|(first, _)| first);
        assert!(
            self.held.is_none() && first == Some(backend),
            "the long line's buffer is handed round in turn"
        );
        let address = Some(buffer.as_ptr().addr());
        let bytes = buffer.len() as u64;
        self.held = Some(Held {
            by: backend,
            bytes,
            address,
        });
    }

    /// Bytes of the buffer; 0 while nobody has it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let bytes = self.held.map_or(0, |held| held.bytes);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Whether this is the long line's buffer.
    #[must_use]
    pub fn is_held(&self, buffer: &[u8]) -> bool {
        let address = Some(buffer.as_ptr().addr());
        self.held.is_some_and(|held| held.address == address)
    }

    /// The line was rejected: the buffer went to the keeper with it, and counts as held until the keeper is done with the line.
    pub fn hand_on(&mut self) {
        if let Some(held) = &mut self.held {
            held.address = None;
        }
    }

    /// Whether this buffer, which came home, is the long line's; if so it is free again.
    pub fn handle_returned(&mut self, buffer: &[u8]) -> bool {
        let home = self.is_held(buffer);
        if home {
            self.held = None;
        }
        home
    }

    /// The keeper is done with a segment of `backend` that has so many bytes. A line in the buffer is a segment of its own.
    pub fn handle_done(&mut self, backend: BackendId, bytes: u64) {
        self.free_if(|held| held.by == backend && held.bytes == bytes);
    }

    /// The backend's pipeline has been flushed: it waits no more, and the keeper has let go of its lines.
    pub fn handle_flushed(&mut self, backend: BackendId) {
        self.waiting.retain(|(waiting, _)| *waiting != backend);
        self.free_if(|held| held.by == backend);
    }

    fn free_if(&mut self, is_it: impl Fn(&Held) -> bool) {
        let handed_on = |held: &Held| held.address.is_none() && is_it(held);
        if self.held.as_ref().is_some_and(handed_on) {
            self.held = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: FeederBounds = FeederBounds {
        chunk_bytes_min: 64,
        chunk_bytes_max: 512,
        line_bytes_max: 999,
    };

    #[test]
    fn shares_are_equal_and_never_less_than_a_chunk() {
        assert_eq!(BOUNDS.share_bytes(9000, 4), 2000);
        assert_eq!(BOUNDS.share_bytes(9000, 1000), 64);
        assert_eq!(BOUNDS.share_bytes(0, 1), 64);
        assert_eq!(BOUNDS.chunk_bytes(1 << 20), 512);
        assert_eq!(BOUNDS.chunk_bytes(1200), 256);
        assert_eq!(BOUNDS.chunk_bytes(64), 64);
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

    #[test]
    fn the_long_lines_buffer_goes_round_in_the_order_of_asking() {
        let (one, two) = (BackendId(1), BackendId(2));
        let mut long = LongLine::default();
        let now = Now::default();
        let buffer = vec![0; 10];
        assert!(long.ask(one, now));
        long.hold(one, &buffer);
        assert!(!long.ask(two, now) && !long.ask(one, now));
        assert!(!long.handle_returned(&[1, 2]));
        assert!(long.handle_returned(&buffer));
        assert!(!long.ask(one, now), "the other one asked first");
        assert!(long.ask(two, now));
        long.hold(two, &buffer);
        long.hand_on();
        long.handle_done(one, 10);
        long.handle_done(two, 9);
        assert!(
            !long.ask(one, now),
            "it went to the keeper with the other one's line"
        );
        long.handle_done(two, 10);
        assert!(long.ask(one, now));
        assert!(!long.ask(two, now));
        long.handle_flushed(one);
        assert!(long.ask(two, now));
    }

    #[test]
    fn who_asks_no_more_loses_its_place() {
        let at = |ms| Now {
            monotonic: Duration::from_millis(ms),
            unix: 0,
        };
        let mut long = LongLine::default();
        assert!(long.ask(BackendId(1), at(0)));
        assert!(!long.ask(BackendId(2), at(500)));
        assert!(!long.ask(BackendId(2), at(1000)));
        assert!(long.ask(BackendId(2), at(1001)));
    }
}
