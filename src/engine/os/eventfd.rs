//! A counter in the kernel on which one thread waits, and that others increment: a waker for a
//! thread that waits on an io_uring.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd};

/// How many attempts a wake takes before it is assumed that nobody waits. One is enough, except for
/// signals.
const TRIES: u32 = 8;

/// See the module. Reading it waits until the next wake.
#[derive(Debug)]
pub struct Eventfd(File);

impl Eventfd {
    /// A counter at 0.
    ///
    /// # Errors
    /// When the process has no descriptor left, or the system no memory.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointer is passed; the result is checked.
        let raw = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `raw` was just opened by us and nobody else has it.
        Ok(Self(unsafe { File::from_raw_fd(raw) }))
    }

    /// Ends a read: the current one, or else the next. It blocks only after 2⁶⁴ wakes without a
    /// read.
    pub fn wake(&self) {
        for _ in 0..TRIES {
            match (&self.0).write(&1_u64.to_ne_bytes()) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                // Any other failure means that its descriptor is gone, and then nobody waits on it
                // any more.
                _ => return,
            }
        }
    }
}

impl AsFd for Eventfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_was_rung_is_read_once() {
        let eventfd = Eventfd::new().unwrap();
        eventfd.wake();
        eventfd.wake();
        let mut count = [0; 8];
        (&eventfd.0).read_exact(&mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 2);
    }
}
