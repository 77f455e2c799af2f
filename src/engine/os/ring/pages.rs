//! Memory straight from the system: page by page, at one place for as long as it lives.

use std::io;
use std::ptr::NonNull;

/// Zeroed memory that begins at a page.
#[derive(Debug)]
pub(super) struct Pages {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it owns its memory, and gives out pointers only, whose users answer for what they do.
unsafe impl Send for Pages {}

impl Pages {
    /// At least one byte.
    ///
    /// # Errors
    /// What mmap(2) says.
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        // SAFETY: a new private mapping at a place that the system chooses touches no memory that
        // is in use.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start: NonNull<u8> = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        // A child shares nothing with a ring of ours. It is advice only.
        // SAFETY: the mapping is our own and whole.
        let _ = unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_DONTFORK) };
        Ok(Self { start, bytes })
    }

    /// Where the byte `at` is.
    pub(super) fn at(&self, at: usize) -> NonNull<u8> {
        assert!(at < self.bytes, "a place is within the pages");
        // SAFETY: it stays within the mapping, as was just checked.
        unsafe { self.start.add(at) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is our own and whole; whoever had pointers into it has let go of them
        // before (see `Ring`).
        let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
