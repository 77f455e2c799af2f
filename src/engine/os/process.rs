//! Processes: becoming a daemon, signals, locks, permissions.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where [`daemonize`] returns: in both processes.
#[derive(Debug)]
pub enum Daemonized {
    /// The process that was started from the terminal. The other end of the pipe is the daemon's;
    /// it reads as ended when the daemon closes it or ends.
    Starter(io::PipeReader),
    /// The daemon: its own session, no terminal, stdin to stderr on `/dev/null`, umask 027.
    Daemon(io::PipeWriter),
}

/// Forks twice and leaves the terminal. The working folder stays, so that relative paths keep their
/// meaning (as the original has it).
///
/// # Errors
/// This process has more than one thread (the others would be missing in the daemon, whatever they
/// held locked), or the system refuses. What fails after the first fork ends the daemon and is
/// written to the pipe as `-` and a sentence.
pub(crate) fn daemonize() -> io::Result<Daemonized> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other(
            "a process with several threads can't become a daemon",
        ));
    }
    let (reader, mut writer) = io::pipe()?;
    // SAFETY: this is the only thread, so the child finds every lock and the allocator in a whole
    // state, and may run any code.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => drop(reader),
        between => {
            drop(writer);
            reap(between);
            return Ok(Daemonized::Starter(reader));
        }
    }
    if let Err(error) = leave_terminal() {
        use io::Write;
        // Nobody is left to tell if this fails too; the starter then reads an early end.
        let _ = write!(writer, "-could not become a daemon: {error}");
        drop(writer);
        exit_at_once(1);
    }
    Ok(Daemonized::Daemon(writer))
}

/// In the child: a session of its own, then the second fork, so that no terminal can become ours
/// again.
fn leave_terminal() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: no memory is involved.
    if unsafe { libc::setsid() } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above: the forked process has one thread.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        _ => exit_at_once(0),
    }
    // SAFETY: no memory is involved.
    unsafe { libc::umask(0o027) };
    for standard in 0..=2 {
        // SAFETY: both are open descriptors or get replaced; std's handles of 0 to 2 stay valid,
        // since the numbers do.
        if unsafe { libc::dup2(null.as_raw_fd(), standard) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Ends this process without what std and libc do at an end: those buffers are the parent's.
fn exit_at_once(code: i32) -> ! {
    // SAFETY: never returns, touches no memory.
    unsafe { libc::_exit(code) }
}

/// Waits for the process between us and the daemon, which ends at once.
fn reap(pid: libc::pid_t) {
    loop {
        // SAFETY: a null status is allowed, and nothing else is passed by pointer.
        let waited = unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        if waited != -1 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Sends SIGTERM to one process.
///
/// # Errors
/// There is no such process, or it belongs to someone else. 0 and numbers that no process can have
/// are refused, since to the system they mean whole groups.
pub fn terminate(pid: u32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0);
    let pid = pid
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no process has this number"))?;
    // SAFETY: no memory is involved; the number is one process, not a group.
    if unsafe { libc::kill(pid, libc::SIGTERM) } == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Has a write beyond the process's limit on files (RLIMIT_FSIZE) fail with an error, as a write to
/// a full disk does. As the system has it, SIGXFSZ ends the process.
pub(crate) fn ignore_file_size_signal() {
    // SAFETY: no handler is installed and no memory is involved; for this signal it can't fail.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Whether this process has root's rights.
#[must_use]
pub fn is_root() -> bool {
    user_id() == 0
}

/// The user whose rights this process has.
#[must_use]
pub(crate) fn user_id() -> u32 {
    // SAFETY: no memory is involved, and it cannot fail.
    unsafe { libc::geteuid() }
}

/// Asks the system whether we may read a path and change it: write the file, or make and delete in
/// the folder. The system knows of groups, ACLs and read-only mounts.
///
/// # Errors
/// We may not, and why.
pub(crate) fn may_change(path: &Path) -> io::Result<()> {
    let enter = if std::fs::metadata(path)?.is_dir() {
        libc::X_OK
    } else {
        0
    };
    let mode = enter | libc::R_OK | libc::W_OK;
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a C string that outlives the call.
    if unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_EACCESS) } == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Tries to lock a file for this process alone (flock), until the file is closed. False where
/// another holds it.
///
/// # Errors
/// Any but that.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    try_flock(file, libc::LOCK_EX)
}

/// Tries to lock a file against those who [`lock`] it, until the file is closed. False where one of
/// them holds it. Unlike theirs, this lock can be had on NFS of a file that is open for reading.
///
/// # Errors
/// Any but that.
pub(crate) fn try_lock_shared(file: &File) -> io::Result<bool> {
    try_flock(file, libc::LOCK_SH)
}

/// Locks a file for this process alone, until the file is closed. Waits for whoever holds it.
///
/// # Errors
/// What the system says.
pub(crate) fn lock(file: &File) -> io::Result<()> {
    loop {
        match flock(file, libc::LOCK_EX) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            locked => return locked,
        }
    }
}

/// Whether another has a file locked. Where nobody has, this has it for the blink of the look.
///
/// # Errors
/// What the system says.
pub(crate) fn is_locked(file: &File) -> io::Result<bool> {
    let is_free = try_lock(file)?;
    if is_free {
        unlock(file)?;
    }
    Ok(!is_free)
}

/// Gives up a lock of [`try_lock`], also where a child process that was just forked has the file
/// open too.
///
/// # Errors
/// What the system says.
pub(crate) fn unlock(file: &File) -> io::Result<()> {
    flock(file, libc::LOCK_UN)
}

fn try_flock(file: &File, kind: libc::c_int) -> io::Result<bool> {
    match flock(file, kind | libc::LOCK_NB) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        locked => locked.map(|()| true),
    }
}

fn flock(file: &File, operation: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` lives; no memory is involved.
    if unsafe { libc::flock(file.as_raw_fd(), operation) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_does_not_fork() {
        let (ready, wait) = std::sync::mpsc::channel::<()>();
        // The harness runs tests on threads, and this one makes sure of it.
        let other = std::thread::spawn(move || wait.recv());
        let error = daemonize().unwrap_err();
        assert_eq!(
            error.to_string(),
            "a process with several threads can't become a daemon"
        );
        drop(ready);
        assert!(other.join().unwrap().is_err());
    }

    #[test]
    fn numbers_that_mean_groups_are_not_signalled() {
        for pid in [0, u32::MAX, 1 << 31] {
            assert_eq!(
                terminate(pid).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{pid}"
            );
        }
    }

    #[test]
    fn a_lock_is_held_by_one_until_it_is_given_up() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let first = File::open(file.path()).unwrap();
        let second = File::open(file.path()).unwrap();
        assert!(try_lock(&first).unwrap());
        assert!(!try_lock(&second).unwrap());
        unlock(&first).unwrap();
        assert!(try_lock(&second).unwrap());
    }

    #[test]
    fn a_look_at_a_lock_takes_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let first = File::open(file.path()).unwrap();
        let second = File::open(file.path()).unwrap();
        assert!(!is_locked(&first).unwrap());
        assert!(try_lock(&second).unwrap(), "the look has left it free");
        assert!(is_locked(&first).unwrap());
    }

    #[test]
    fn access_is_asked_of_the_system() {
        let folder = tempfile::tempdir().unwrap();
        assert!(may_change(folder.path()).is_ok());
        let missing = may_change(&folder.path().join("none")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
