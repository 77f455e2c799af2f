//! The locks that keep two sync servers off one set of logs: they would break the order of records
//! and each other's deletions.
//!
//! One is on our state, and one on the folder of logs itself, without a file of ours among HA's:
//! servers with different state folders exclude each other too. A lock is on a file, not on its
//! name. So that of the state is threefold: on the file `.lock`, which tells who has it and which
//! servers of all versions respect; and on the state folder and the one above it, so that whoever
//! deletes the file, or the folder, does not let a second server in. [`Locks::renew`] takes one
//! again whose file was deleted or replaced.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::engine::files::{FILE_MODE, FOLDER_MODE};
use crate::engine::os::files::{Links, open_folder, open_regular};
use crate::engine::os::process::{is_locked, try_lock, unlock};

/// Bytes of the lock file that are looked at for the holder's process id.
const HOLDER_BYTES_MAX: u64 = 32;

/// The lock of a state folder, held as long as this lives; the system gives it up when the process
/// ends, however it ends. The file stays, with the last holder's process id.
#[derive(Debug)]
pub struct StateLock {
    /// The state folder, and the one above it; `None` where that cannot be locked. Given up before
    /// the file: whoever sees that the file is free can have all of them.
    folders: [Option<Locked>; 2],
    file: Locked,
}

/// An open file or folder that is locked as long as this lives. Closing alone would not give the
/// lock up: between its fork and its exec, a child process has the file open too.
#[derive(Debug)]
struct Locked(File);

impl Drop for Locked {
    fn drop(&mut self) {
        if let Err(why) = unlock(&self.0) {
            tracing::warn!(%why, "a lock could not be given up; the end of the process does it");
        }
    }
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("{path}: another sync server{} holds these logs; two would break the order, so end \
             that one first", holder.as_ref().map_or_else(String::new, |pid| format!(" \
        (process {pid})")))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process id that it has.
        holder: Option<u32>,
    },
    /// It cannot be told.
    #[error(
        "{path}: {cause}; the state folder must be writable and on a file system that has locks"
    )]
    Io {
        /// The lock file or its folder.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

/// Both locks, held as long as this lives.
#[derive(Debug)]
pub struct Locks {
    logs: PathBuf,
    state: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    /// The folder of logs; `None` where its file system cannot lock folders, or where it is the
    /// folder above the state, which is locked.
    logs: Option<Locked>,
    /// Given up last, as [`StateLock`] says.
    state: StateLock,
}

impl Locks {
    /// The process that has the lock of a folder of logs, if the system tells; takes nothing.
    pub(crate) fn holder(logs: &Path) -> Option<u32> {
        flock_holder(&File::open(logs).ok()?)
    }

    /// Locks the state folder, then the folder of logs.
    ///
    /// # Errors
    /// When another process holds one of them, or the system refuses.
    pub fn take(logs: &Path, state: &Path) -> Result<Self, LockError> {
        let state_lock = StateLock::take(state)?;
        let is_locked = |folder: &Locked| is_other(&folder.0, logs) == Some(false);
        let logs_lock = match state_lock.folders.iter().flatten().any(is_locked) {
            true => None,
            false => lock_logs(logs)?,
        };
        Ok(Self {
            logs: logs.to_owned(),
            state: state.to_owned(),
            held: Mutex::new(Held {
                logs: logs_lock,
                state: state_lock,
            }),
        })
    }

    /// Takes a lock again whose file is not the one that its path names any more.
    ///
    /// # Errors
    /// When another process holds it by now, or the system refuses; a folder of logs that is not
    /// there is not an error.
    pub fn renew(&self) -> Result<(), LockError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.state.renew(&self.state)? {
            tracing::warn!(path = %StateLock::path(&self.state).display(), "the lock of the state \
                folder was deleted or replaced under us, and is taken again");
        }
        let logs = held.logs.as_ref();
        if logs.is_some_and(|logs| is_other(&logs.0, &self.logs) == Some(true)) {
            held.logs = lock_logs(&self.logs)?;
            tracing::warn!(path = %self.logs.display(), "the folder of logs is another one than \
                before, and is locked anew");
        }
        Ok(())
    }
}

/// Whether `path` names another file than this one; `None` where it names none.
pub(crate) fn is_other(file: &File, path: &Path) -> Option<bool> {
    let (ours, there) = (file.metadata().ok()?, std::fs::metadata(path).ok()?);
    Some((ours.dev(), ours.ino()) != (there.dev(), there.ino()))
}

/// Locks the folder of logs; `None` where its file system cannot lock folders, which is logged.
fn lock_logs(logs: &Path) -> Result<Option<Locked>, LockError> {
    let folder = File::open(logs).map_err(|cause| LockError::Io {
        path: logs.to_owned(),
        cause,
    })?;
    let locked = lock_folder(folder, logs)?;
    // NFS locks only what is open for writing, which a folder cannot be.
    Ok(locked
        .inspect_err(|cause| {
            tracing::warn!(path = %logs.display(), %cause, "the file system of the logs cannot \
                lock a folder; a second sync server on these logs with another ngx_path would not \
                be noticed");
        })
        .ok())
}

/// Locks a folder. The inner error is the system's where it cannot.
fn lock_folder(folder: File, path: &Path) -> Result<io::Result<Locked>, LockError> {
    match try_lock(&folder) {
        Ok(true) => Ok(Ok(Locked(folder))),
        Ok(false) => Err(LockError::Held {
            path: path.to_owned(),
            holder: flock_holder(&folder),
        }),
        Err(cause) => Ok(Err(cause)),
    }
}

/// How often the holder of a lock is looked for.
const HOLDER_READS_MAX: usize = 8;

/// The process that holds a file's lock, by `/proc/locks`. The kernel gives that in pieces, by the
/// numbers of the lines: where another lock goes between two of them, one that stays is left out.
/// So it is read again while the lock is held.
fn flock_holder(file: &File) -> Option<u32> {
    let meta = file.metadata().ok()?;
    let is_held = || is_locked(file).unwrap_or(false);
    for _ in 0..HOLDER_READS_MAX {
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        let holder = holder_in(&locks, meta.dev(), meta.ino(), is_held);
        if holder.is_some() || !is_held() {
            return holder;
        }
    }
    None
}

/// The same by its text: `1: FLOCK  ADVISORY  WRITE 812 08:01:3145 0 EOF`, the device in
/// hexadecimal. btrfs shows another device there than it tells of a file: there, if the file
/// `is_locked` and only one lock has its inode, that one is taken for it.
fn holder_in(
    locks: &str,
    device: u64,
    inode: u64,
    is_locked: impl FnOnce() -> bool,
) -> Option<u32> {
    let inode = inode.to_string();
    let held: Vec<(&str, u32)> = locks
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let is_flock = words.nth(1) == Some("FLOCK");
            let pid = words.nth(2)?.parse().ok().filter(|pid| *pid > 0)?;
            let (device, of) = words.next()?.rsplit_once(':')?;
            (is_flock && of == inode).then_some((device, pid))
        })
        .collect();
    let own = format!("{:02x}:{:02x}", libc::major(device), libc::minor(device));
    let exact = held.iter().find(|(device, _)| *device == own);
    match (exact, &held[..]) {
        (Some((_, pid)), _) => Some(*pid),
        (None, [(_, pid)]) if is_locked() => Some(*pid),
        _ => None,
    }
}

impl StateLock {
    /// Where the lock of a state folder is.
    #[must_use]
    pub fn path(state: &Path) -> PathBuf {
        state.join(".lock")
    }

    /// Locks `<state>/.lock` for this process, whose id is written into it if the disk has room;
    /// and the folder, and the one above it. The folder is made where it is missing.
    ///
    /// # Errors
    /// When another process holds one of them, or the system refuses.
    pub fn take(state: &Path) -> Result<Self, LockError> {
        // First: it tells who has it.
        let file = lock_file(state)?;
        let [own, above] = Self::folders(state);
        let folders = [lock_if_possible(own)?, lock_if_possible(above)?];
        Ok(Self { folders, file })
    }

    /// The process that has the lock, as far as the system tells. Takes and makes nothing.
    pub(crate) fn holder(state: &Path) -> Option<u32> {
        let path = Self::path(state);
        let file = open_regular(&path, OpenOptions::new().read(true), Links::Refused);
        flock_holder(&file.ok()?)
    }

    /// Takes again what is not what its path names any more. True: that was so.
    fn renew(&mut self, state: &Path) -> Result<bool, LockError> {
        let mut is_renewed = false;
        if is_other(&self.file.0, &Self::path(state)) != Some(false) {
            self.file = lock_file(state)?;
            is_renewed = true;
        }
        for (held, path) in self.folders.iter_mut().zip(Self::folders(state)) {
            let is_other = |folder: &Locked| is_other(&folder.0, path) == Some(true);
            if held.as_ref().is_some_and(is_other) {
                *held = lock_if_possible(path)?;
                is_renewed = true;
            }
        }
        Ok(is_renewed)
    }

    fn folders(state: &Path) -> [&Path; 2] {
        [state, state.parent().unwrap_or(state)]
    }
}

/// Locks a folder, if it can be opened and its file system has such locks: it only keeps those out
/// who do not find the lock file.
fn lock_if_possible(path: &Path) -> Result<Option<Locked>, LockError> {
    let locked = match open_folder(path) {
        Ok(folder) => lock_folder(folder, path)?,
        Err(cause) => Err(cause),
    };
    Ok(locked
        .inspect_err(|cause| {
            tracing::debug!(path = %path.display(), %cause, "the folder cannot be locked, only the \
                lock file in the state folder is");
        })
        .ok())
}

fn lock_file(state: &Path) -> Result<Locked, LockError> {
    let path = StateLock::path(state);
    let io = |cause| LockError::Io {
        path: path.clone(),
        cause,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(state)
        .map_err(io)?;
    let mut options = OpenOptions::new();
    // Not emptied when opened: it may be another's.
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE);
    let mut file = open_regular(&path, &mut options, Links::Refused).map_err(io)?;
    if !try_lock(&file).map_err(io)? {
        let holder = holder(&mut file);
        return Err(LockError::Held { path, holder });
    }
    match file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
    {
        // The lock holds all the same; the id only tells others who has it.
        Err(cause) if is_disk_full(&cause) => {
            tracing::warn!(path = %path.display(), %cause, "no room for our process id in the \
                lock file; another server would be refused without naming this one");
        }
        written => written.map_err(io)?,
    }
    Ok(Locked(file))
}

/// Whether there is room for nothing more, of the disk or of this user's share of it.
pub(crate) fn is_disk_full(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(HOLDER_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_set_of_logs_has_one_server_whatever_their_state_folders() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        std::fs::create_dir(path("logs")).unwrap();
        let first = Locks::take(&path("logs"), &path("one/status")).unwrap();
        let why = Locks::take(&path("logs"), &path("two/status")).unwrap_err();
        // Some sandboxes tell nobody who holds what.
        let holder = flock_holder(&File::open(path("logs")).unwrap());
        let holder = holder.map_or_else(String::new, |pid| {
            assert_eq!(pid, std::process::id());
            format!(" (process {pid})")
        });
        let logs = path("logs");
        let expected = format!(
            "{}: another sync server{holder} holds these logs",
            logs.display()
        );
        assert!(why.to_string().starts_with(&expected), "{why}");
        drop(first);
        Locks::take(&path("logs"), &path("two/status")).unwrap();
    }

    #[test]
    fn a_second_server_is_refused_although_the_lock_or_its_folder_is_deleted() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        for logs in ["logs", "others"] {
            std::fs::create_dir(path(logs)).unwrap();
        }
        let state = path("ha/status");
        let is_refused = || {
            let second = Locks::take(&path("others"), &state);
            matches!(second, Err(LockError::Held { .. }))
        };
        let first = Locks::take(&path("logs"), &state).unwrap();
        assert!(is_refused());
        std::fs::remove_file(StateLock::path(&state)).unwrap();
        assert!(is_refused(), "before the first server has looked");
        first.renew().unwrap();
        std::fs::remove_dir_all(&state).unwrap();
        assert!(is_refused());
        first.renew().unwrap();
        first.renew().unwrap();
        drop(first);
        assert!(!is_refused());
    }

    #[test]
    fn logs_may_be_in_the_folder_that_has_the_state() {
        let home = tempfile::tempdir().unwrap();
        let locks = Locks::take(home.path(), &home.path().join("status")).unwrap();
        locks.renew().unwrap();
        let other = tempfile::tempdir().unwrap();
        let second = Locks::take(home.path(), &other.path().join("status"));
        assert!(matches!(second, Err(LockError::Held { .. })));
    }

    #[test]
    fn a_lock_whose_file_is_deleted_or_replaced_is_taken_again() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        std::fs::create_dir(path("logs")).unwrap();
        let first = Locks::take(&path("logs"), &path("one/status")).unwrap();
        first.renew().unwrap();
        std::fs::remove_dir_all(path("one/status")).unwrap();
        first.renew().unwrap();
        let held = |locks: Result<Locks, LockError>| matches!(locks, Err(LockError::Held { .. }));
        assert!(held(Locks::take(&path("logs"), &path("one/status"))));
        std::fs::rename(path("logs"), path("old")).unwrap();
        // Nothing is there to be locked.
        first.renew().unwrap();
        std::fs::create_dir(path("logs")).unwrap();
        first.renew().unwrap();
        assert!(held(Locks::take(&path("logs"), &path("two/status"))));
        std::fs::rename(path("logs"), path("older")).unwrap();
        std::fs::create_dir(path("logs")).unwrap();
        let second = Locks::take(&path("logs"), &path("two/status")).unwrap();
        assert!(matches!(first.renew(), Err(LockError::Held { .. })));
        drop(second);
        first.renew().unwrap();
    }

    #[test]
    fn a_lock_is_given_up_although_a_child_still_has_the_file_open() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("status");
        let lock = StateLock::take(&state).unwrap();
        // As a fork has it: another descriptor of the same open file.
        let _child = lock.file.0.try_clone().unwrap();
        assert!(matches!(
            StateLock::take(&state),
            Err(LockError::Held { .. })
        ));
        drop(lock);
        StateLock::take(&state).unwrap();
    }

    #[test]
    fn who_has_a_lock_is_told_by_device_and_inode() {
        let device = libc::makedev(8, 0x1a);
        let other = "1: FLOCK  ADVISORY  WRITE 11 00:2f:1 0 EOF\n";
        let posix = "2: POSIX  ADVISORY  WRITE 12 08:1a:1 0 EOF\n";
        let own = "3: FLOCK  ADVISORY  WRITE 13 08:1a:1 0 EOF\n";
        let waits = "3: -> FLOCK  ADVISORY  WRITE 14 08:1a:1 0 EOF\n";
        let holder =
            |lines: &[&str], is_locked| holder_in(&lines.concat(), device, 1, || is_locked);
        assert_eq!(holder(&[other, posix, own, waits], true), Some(13));
        assert_eq!(holder(&[posix, other], true), Some(11), "as on btrfs");
        assert_eq!(holder(&[posix, other], false), None, "another file's");
        assert_eq!(holder(&[other, &other.replace("2f", "30")], true), None);
        assert_eq!(holder(&[posix], true), None);
    }
}
