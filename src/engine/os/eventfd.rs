//! A counter in the kernel that one thread waits on and others count up: a waker for whoever waits
//! on a ring.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd};

/// How often it is tried to ring before it is believed that nobody listens. One try is enough but
/// for signals.
const TRIES: u32 = 8;

/// See the module. Reading it waits until it has been rung.
#[derive(Debug)]
pub struct Eventfd(File);

impl Eventfd {
    /// One that has not been rung.
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

    /// Makes a read of it return, now or the next time. It blocks only where it has been rung 2⁶⁴
    /// times and never read.
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
