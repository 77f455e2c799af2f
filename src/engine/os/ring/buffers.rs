//! The buffers that a ring receives into: the kernel takes the next one when bytes have come, and
//! gets it back once they are read.
//!
//! ```text
//!           recycle               bytes have come
//!   ours ───────────▶ kernel's ─────────────────▶ ours, as a `Filled`
//! ```

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::pages::Pages;
use crate::limits::RING_BUFFER_BYTES;

/// The number of our group of buffers; a ring has one.
pub(super) const GROUP: u16 = 0;

/// A buffer that has bytes and is ours until it is recycled. There is one of these for each, so
/// nobody reads what the kernel may write.
#[derive(Debug)]
pub struct Filled {
    buffer: u16,
    bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Buffers {
    /// Where the kernel finds the free buffers: a ring of descriptions, its tail in the first one.
    descriptions: Pages,
    bytes: Pages,
    tail: u16,
    /// Which buffers are the kernel's.
    given: Vec<bool>,
}

impl Buffers {
    /// Registers so many, a power of two, with `uring`, all of them free.
    ///
    /// # Errors
    /// What io_uring_register(2) says, or no memory.
    pub(super) fn register(uring: &IoUring, buffers: u16) -> io::Result<Self> {
        let (count, all) = (usize::from(buffers), buffers);
        let mut buffers = Self {
            descriptions: Pages::new(count * size_of::<BufRingEntry>())?,
            bytes: Pages::new(count * RING_BUFFER_BYTES)?,
            tail: 0,
            given: vec![false; count],
        };
        let start = buffers.descriptions.at(0).as_ptr() as u64;
        // SAFETY: the descriptions have room for so many entries, begin at a page, and live as long
        // as the ring (see `Ring`).
        unsafe {
            uring
                .submitter()
                .register_buf_ring_with_flags(start, all, GROUP, 0)?;
        }
        for buffer in 0..all {
            buffers.give(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// What the kernel says of a completion: it has put `bytes` bytes into `buffer`. None where
    /// that cannot be.
    pub(super) fn filled(&mut self, buffer: u16, bytes: usize) -> Option<Filled> {
        let given = self.given.get_mut(usize::from(buffer))?;
        if !*given || bytes > RING_BUFFER_BYTES {
            return None;
        }
        *given = false;
        Some(Filled { buffer, bytes })
    }

    /// The bytes.
    pub(super) fn bytes(&self, filled: &Filled) -> &[u8] {
        let start = self
            .bytes
            .at(usize::from(filled.buffer) * RING_BUFFER_BYTES);
        // SAFETY: the buffer is within the pages, was filled up to `bytes` at least once (they are
        // zeroed), and is not the kernel's as long as `filled` is there, which is borrowed for as
        // long as the result.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), filled.bytes) }
    }

    /// Gives a buffer back to the kernel.
    pub(super) fn recycle(&mut self, filled: Filled) {
        self.give(filled.buffer);
        self.publish();
    }

    fn give(&mut self, buffer: u16) {
        let place = (usize::from(self.tail) & (self.given.len() - 1)) * size_of::<BufRingEntry>();
        let entry = self.descriptions.at(place).as_ptr().cast::<BufRingEntry>();
        let start = self.bytes.at(usize::from(buffer) * RING_BUFFER_BYTES);
        let length = u32::try_from(RING_BUFFER_BYTES).expect("buffers are small");
        // SAFETY: the entry is within its pages and aligned, since pages are and entries have 16
        // bytes. The kernel does not look at it before the tail is published. Its fields are set
        // one by one: the first entry's last field is the tail, which must stay.
        let entry = unsafe { &mut *entry };
        entry.set_addr(start.as_ptr() as u64);
        entry.set_len(length);
        entry.set_bid(buffer);
        self.given[usize::from(buffer)] = true;
        self.tail = self.tail.wrapping_add(1);
    }

    /// Tells the kernel of what was given.
    fn publish(&mut self) {
        let start = self.descriptions.at(0).as_ptr().cast::<BufRingEntry>();
        // SAFETY: `start` is the first entry; its tail field is aligned and shared with the kernel,
        // which is why it is written atomically.
        let tail = unsafe { &*BufRingEntry::tail(start).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}
