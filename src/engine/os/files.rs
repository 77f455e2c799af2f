//! What the standard library lacks for files: leases, advice, and reads that wait for no disk.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Whether a lease was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Nobody has the file open for writing; whoever opens it for writing waits until the lease is given up.
    Given,
    /// Somebody has it open for writing.
    Writers,
    /// The file system has no leases, or gives us none since the file is not ours.
    Unavailable,
}

/// From `linux/fcntl.h`; libc does not have it.
const F_SETSIG: libc::c_int = 10;

/// Asks for a read lease on a file that is open for reading only. It is given up by [`end_lease`] or when the file is closed.
///
/// When somebody wants to write, the kernel signals the holder, by default with SIGIO, which would end the process. It is told to use SIGURG,
/// which is ignored by default: we hold leases for the blink of a deletion, and give them up anyway.
///
/// # Errors
/// What the system says beyond [`Lease`].
pub fn take_lease(file: &File) -> io::Result<Lease> {
    // SAFETY: the descriptor is borrowed and so open; no pointer is passed.
    if unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) } == 0 {
        return Ok(Lease::Given);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Ok(Lease::Writers),
        Some(
            libc::EINVAL
            | libc::EACCES
            | libc::EPERM
            | libc::EOPNOTSUPP
            | libc::ENOSYS
            | libc::ENOLCK,
        ) => Ok(Lease::Unavailable),
        _ => Err(error),
    }
}

/// Gives a lease up; none is no error.
///
/// # Errors
/// What the system says.
pub fn end_lease(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed and so open; no pointer is passed.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // There was none.
        Some(libc::EAGAIN | libc::EINVAL) => Ok(()),
        _ => Err(error),
    }
}

/// Says that a file will be read from front to back. It is advice only: whether it is taken is not told.
pub fn advise_sequential(file: &File) {
    // SAFETY: the descriptor is borrowed and so open; no pointer is passed.
    let _ = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_SEQUENTIAL) };
}

/// Asks for a part of a file to be read into the page cache. It is advice only. The call begins the reads and does not wait for them, but for room in the
/// disk's queue.
pub fn advise_needed(file: &File, offset: u64, bytes: u32) {
    let Ok(offset) = libc::off_t::try_from(offset) else {
        return;
    };
    // SAFETY: the descriptor is borrowed and so open; no pointer is passed.
    let _ = unsafe {
        libc::posix_fadvise(
            file.as_raw_fd(),
            offset,
            bytes.into(),
            libc::POSIX_FADV_WILLNEED,
        )
    };
}

/// Reads at `offset` what is in the page cache, up to the first byte that is not (preadv2(2), `RWF_NOWAIT`).
///
/// # Errors
/// What the system says: `WouldBlock` where the first byte is not in memory, others where the file system cannot tell.
pub fn read_at_in_memory(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let place = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    // SAFETY: `place` is one iovec over `into`, which is ours to write to and lives through the call; the descriptor is borrowed and so open.
    let read = unsafe {
        libc::preadv2(
            file.as_raw_fd(),
            &raw const place,
            1,
            offset,
            libc::RWF_NOWAIT,
        )
    };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}
