//! A ring that asks the kernel to read ahead, on a thread of the kernel's: advice that nobody waits
//! for.
//!
//! No memory is lent, and the kernel keeps a file open as long as an operation on it is under way;
//! so there is nothing to be kept sound.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, types};

/// Requests that may be under way. While so many are, the disk is busy with what was asked for
/// before, and what is asked for in addition is forgotten.
const UNDER_WAY_MAX: u32 = 64;

/// See the module.
pub struct AdviceRing {
    uring: IoUring,
    under_way: u32,
    lacks_threads: bool,
}

impl AdviceRing {
    /// A ring for one thread.
    ///
    /// # Errors
    /// What io_uring_setup(2) says where it gives none.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            uring: IoUring::builder().dontfork().build(UNDER_WAY_MAX)?,
            under_way: 0,
            lacks_threads: false,
        })
    }

    /// Asks for `bytes` bytes of a file from `offset` on to be read into the page cache. False: the
    /// kernel had no thread for what was asked for earlier, and this is not asked for either.
    pub fn ask(&mut self, file: &File, offset: u64, bytes: u32) -> bool {
        for completion in self.uring.completion() {
            self.under_way -= 1;
            self.lacks_threads |= was_not_begun(completion.result());
        }
        if self.lacks_threads {
            return false;
        }
        if self.under_way == UNDER_WAY_MAX {
            return true;
        }
        // Reading ahead may wait for the disk, so the kernel never does it on the thread that
        // submits it.
        let fd = types::Fd(file.as_raw_fd());
        let entry = opcode::Fadvise::new(fd, bytes.into(), libc::POSIX_FADV_WILLNEED)
            .offset(offset)
            .build();
        // SAFETY: the entry names no memory. Its descriptor is open until it is submitted below,
        // when the kernel takes a share of the file; where that fails it stays in the queue, and
        // whatever file has the number by then gets an advice that does it no harm.
        if unsafe { self.uring.submission().push(&entry) }.is_ok() {
            self.under_way += 1;
        }
        let _ = self.uring.submit();
        true
    }
}

/// The kernel cancels what it has no thread for; nobody else does.
fn was_not_begun(result: i32) -> bool {
    matches!(-result, libc::ECANCELED | libc::EAGAIN)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn more_is_asked_for_than_can_be_under_way_and_beyond_the_end() {
        let Ok(mut ring) = AdviceRing::new() else {
            return;
        };
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 100_000]).unwrap();
        for piece in 0..1000 {
            assert!(ring.ask(&file, piece * 1000, 4096));
            assert!(ring.under_way <= UNDER_WAY_MAX);
        }
        ring.lacks_threads = true;
        assert!(!ring.ask(&file, 0, 4096));
        assert!(
            [libc::ECANCELED, libc::EAGAIN]
                .iter()
                .all(|error| was_not_begun(-error))
        );
        assert!(
            [0, -libc::EINVAL]
                .into_iter()
                .all(|result| !was_not_begun(result))
        );
        // The file may be closed before the kernel has read it.
        drop(file);
        drop(ring);
    }
}
