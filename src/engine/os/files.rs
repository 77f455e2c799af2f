//! What the standard library lacks for files: leases, advice, and reads that wait for no disk.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::replay::disk::LogLease;

/// Whether the last part of a path may be a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// It may: an operator chose the path.
    Followed,
    /// It may not: the file is ours or HA's.
    Refused,
}

/// Opens a regular file as `options` say. Anything else (a pipe, a device, a socket) is an error
/// that says so, and opening it waits for nobody: a pipe without its other end would otherwise hold
/// this thread up for ever.
///
/// # Errors
/// What the system says, or that it is not a regular file. The path is not named.
pub(crate) fn open_regular(
    path: &Path,
    options: &mut OpenOptions,
    links: Links,
) -> io::Result<File> {
    let follow = match links {
        Links::Followed => 0,
        Links::Refused => libc::O_NOFOLLOW,
    };
    let flags = follow | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match options.custom_flags(flags).open(path) {
        // Nobody reads from the pipe, or it is a socket.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Err(not_regular()),
        opened => opened?,
    };
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(not_regular());
    }
    // Some file systems, and io_uring, would take it at its word.
    block(&file)?;
    Ok(file)
}

fn not_regular() -> io::Error {
    io::Error::new(
        ErrorKind::InvalidInput,
        "it is not a regular file; move it away",
    )
}

/// Takes `O_NONBLOCK` off an open file.
fn block(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed and so open; no pointer is passed.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    // SAFETY: as above.
    let is_set = flags != -1
        && unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK) } != -1;
    if is_set {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A whole regular file, as far as `bytes_max`.
///
/// # Errors
/// As for [`open_regular`].
pub(crate) fn read_regular(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(path, OpenOptions::new().read(true), Links::Followed)?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a folder to sync or lock it. What is not a folder is an error at once.
///
/// # Errors
/// What the system says.
pub(crate) fn open_folder(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NONBLOCK)
        .open(path)
}

/// From `linux/fcntl.h`; libc does not have it.
const F_SETSIG: libc::c_int = 10;

/// Asks for a read lease on a file that is open for reading only. It is given up by [`end_lease`]
/// or when the file is closed.
///
/// When somebody wants to write, the kernel signals the holder, by default with SIGIO, which would
/// end the process. It is told to use SIGURG, which is ignored by default: we hold leases for the
/// blink of a deletion, and give them up anyway.
///
/// # Errors
/// What the system says beyond [`LogLease`].
pub(crate) fn take_lease(file: &File) -> io::Result<LogLease> {
    // SAFETY: the descriptor is borrowed and so open; no pointer is passed.
    if unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) } == 0 {
        return Ok(LogLease::Alone);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Ok(LogLease::Writers),
        Some(libc::EACCES | libc::EPERM) => Ok(LogLease::NotPermitted),
        Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOLCK) => {
            Ok(LogLease::Unknown)
        }
        _ => Err(error),
    }
}

/// Gives a lease up; none is no error.
///
/// # Errors
/// What the system says.
pub(crate) fn end_lease(file: &File) -> io::Result<()> {
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

/// Makes sure that a file has its first `bytes` on the disk, and so that many at least. What it has
/// stays.
///
/// # Errors
/// What the system says; the file may then have a part of it.
pub fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let bytes = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    loop {
        // SAFETY: the descriptor is borrowed and so open; no pointer is passed.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes) } {
            0 => return Ok(()),
            libc::EINTR => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// Says that a file will be read from front to back. It is advice only: whether it is taken is not
/// told.
pub(crate) fn advise_sequential(file: &File) {
    // SAFETY: the descriptor is borrowed and so open; no pointer is passed.
    let _ = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_SEQUENTIAL) };
}

/// Asks for a part of a file to be read into the page cache. It is advice only. The call begins the
/// reads and does not wait for them, but for room in the disk's queue.
pub(crate) fn advise_needed(file: &File, offset: u64, bytes: u32) {
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

/// Reads at `offset` what is in the page cache, up to the first byte that is not (preadv2(2),
/// `RWF_NOWAIT`).
///
/// # Errors
/// What the system says: `WouldBlock` where the first byte is not in memory, others where the file
/// system cannot tell.
pub(crate) fn read_at_in_memory(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let place = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    // SAFETY: `place` is one iovec over `into`, which is ours to write to and lives through the
    // call; the descriptor is borrowed and so open.
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_a_regular_file_is_opened_and_nothing_else_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let made = Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(made.success());
        let _socket = UnixListener::bind(path("socket")).unwrap();
        symlink("/dev/null", path("device")).unwrap();
        let ways = [
            OpenOptions::new().read(true).clone(),
            OpenOptions::new().write(true).truncate(true).clone(),
            OpenOptions::new().append(true).create(true).clone(),
        ];
        for mut way in ways {
            for name in ["pipe", "socket", "device"] {
                let error = open_regular(&path(name), &mut way, Links::Followed).unwrap_err();
                let said = error.to_string();
                assert!(said.contains("not a regular file"), "{name}: {said}");
            }
            let error = open_regular(folder.path(), &mut way, Links::Followed).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::IsADirectory);
        }
    }

    #[test]
    fn a_link_is_followed_only_where_it_may_be_and_what_is_opened_waits_as_ever() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "text").unwrap();
        symlink(&file, &link).unwrap();
        let mut reading = OpenOptions::new().read(true).clone();
        open_regular(&link, &mut reading, Links::Refused).unwrap_err();
        let opened = open_regular(&link, &mut reading, Links::Followed).unwrap();
        // SAFETY: the descriptor is open; no pointer is passed.
        let flags = unsafe { libc::fcntl(opened.as_raw_fd(), libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0);
        assert_eq!(read_regular(&link, 3).unwrap(), b"tex");
        open_folder(&file).unwrap_err();
        open_folder(folder.path()).unwrap();
    }
}
