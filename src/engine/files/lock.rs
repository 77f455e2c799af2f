//! The locks that keep two sync servers off one set of logs: they would break the order of records
//! and each other's deletions.
//!
//! One is on our state, and one on the folder of logs itself, without a file of ours among HA's:
//! servers with different state folders exclude each other too. A lock is on a file, not on its
//! name. So [`Locks::renew`] takes one again whose file was deleted or replaced.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::engine::files::{FILE_MODE, FOLDER_MODE};
use crate::engine::os::files::{Links, open_regular};
use crate::engine::os::process::{try_lock, unlock};

/// Bytes of the lock file that are looked at for the holder's process id.
const HOLDER_BYTES_MAX: u64 = 32;

/// Held as long as this lives; the system gives it up when the process ends, however it ends. The
/// file stays, with the last holder's process id.
#[derive(Debug)]
pub struct StateLock {
    file: File,
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
    held: Mutex<(StateLock, LogsLock)>,
}

impl Locks {
    /// Locks the state folder, then the folder of logs.
    ///
    /// # Errors
    /// When another process holds one of them, or the system refuses.
    pub fn take(logs: &Path, state: &Path) -> Result<Self, LockError> {
        let held = (StateLock::take(state)?, LogsLock::take(logs)?);
        Ok(Self {
            logs: logs.to_owned(),
            state: state.to_owned(),
            held: Mutex::new(held),
        })
    }

    /// Takes a lock again whose file is not the one that its path names any more.
    ///
    /// # Errors
    /// When another process holds it by now, or the system refuses; a folder of logs that is not
    /// there is not an error.
    pub fn renew(&self) -> Result<(), LockError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, logs) = &mut *held;
        let path = StateLock::path(&self.state);
        if is_other(&state.file, &path) != Some(false) {
            *state = StateLock::take(&self.state)?;
            tracing::warn!(path = %path.display(), "the lock of the state folder was deleted or \
                replaced under us, and is taken again");
        }
        let file = logs.0.as_ref();
        if file.is_some_and(|file| is_other(file, &self.logs) == Some(true)) {
            *logs = LogsLock::take(&self.logs)?;
            tracing::warn!(path = %self.logs.display(), "the folder of logs is another one than \
                before, and is locked anew");
        }
        Ok(())
    }
}

/// Whether `path` names another file than this one; `None` where it names none.
fn is_other(file: &File, path: &Path) -> Option<bool> {
    let (ours, there) = (file.metadata().ok()?, std::fs::metadata(path).ok()?);
    Some((ours.dev(), ours.ino()) != (there.dev(), there.ino()))
}

/// The folder of logs, locked; `None` where its file system cannot lock folders.
#[derive(Debug)]
struct LogsLock(Option<File>);

impl LogsLock {
    fn take(logs: &Path) -> Result<Self, LockError> {
        let io = |cause| LockError::Io {
            path: logs.to_owned(),
            cause,
        };
        let folder = File::open(logs).map_err(io)?;
        match try_lock(&folder) {
            Ok(true) => Ok(Self(Some(folder))),
            Ok(false) => Err(LockError::Held {
                path: logs.to_owned(),
                holder: flock_holder(&folder),
            }),
            // NFS locks only what is open for writing, which a folder cannot be.
            Err(cause) => {
                tracing::warn!(path = %logs.display(), %cause, "the file system of the logs cannot \
                    lock a folder; a second sync server on these logs with another ngx_path would \
                    not be noticed");
                Ok(Self(None))
            }
        }
    }
}

/// As with [`StateLock`].
impl Drop for LogsLock {
    fn drop(&mut self) {
        if let Some(why) = self.0.as_ref().and_then(|folder| unlock(folder).err()) {
            tracing::warn!(%why, "the lock of the folder of logs could not be given up; the end of \
                the process does it");
        }
    }
}

/// The process that holds a file's lock, as `/proc/locks` has it: `1: FLOCK  ADVISORY  WRITE 812
/// 08:01:3145 0 EOF`.
fn flock_holder(file: &File) -> Option<u32> {
    let inode = file.metadata().ok()?.ino().to_string();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let is_flock = words.nth(1) == Some("FLOCK");
        let pid = words.nth(2)?.parse().ok().filter(|pid| *pid > 0);
        let file = words.next()?.rsplit(':').next()?;
        pid.filter(|_| is_flock && file == inode)
    })
}

impl StateLock {
    /// Where the lock of a state folder is.
    #[must_use]
    pub fn path(state: &Path) -> PathBuf {
        state.join(".lock")
    }

    /// Locks `<state>/.lock` for this process, whose id is written into it if the disk has room.
    /// The folder is made where it is missing.
    ///
    /// # Errors
    /// When another process holds it, or the system refuses.
    pub fn take(state: &Path) -> Result<Self, LockError> {
        let path = Self::path(state);
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
        Ok(Self { file })
    }
}

/// Closing alone would not do: between its fork and its exec, a child process has the file open
/// too, and would hold the lock on.
impl Drop for StateLock {
    fn drop(&mut self) {
        if let Err(why) = unlock(&self.file) {
            tracing::warn!(%why, "the lock of the state folder could not be given up; the end of \
                the process does it");
        }
    }
}

fn is_disk_full(cause: &io::Error) -> bool {
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
        let first = Locks::take(&path("logs"), &path("one")).unwrap();
        let why = Locks::take(&path("logs"), &path("two")).unwrap_err();
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
        Locks::take(&path("logs"), &path("two")).unwrap();
    }

    #[test]
    fn a_lock_whose_file_is_deleted_or_replaced_is_taken_again() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        std::fs::create_dir(path("logs")).unwrap();
        let first = Locks::take(&path("logs"), &path("one")).unwrap();
        first.renew().unwrap();
        std::fs::remove_dir_all(path("one")).unwrap();
        first.renew().unwrap();
        let held = |locks: Result<Locks, LockError>| matches!(locks, Err(LockError::Held { .. }));
        assert!(held(Locks::take(&path("logs"), &path("one"))));
        std::fs::rename(path("logs"), path("old")).unwrap();
        // Nothing is there to be locked.
        first.renew().unwrap();
        std::fs::create_dir(path("logs")).unwrap();
        first.renew().unwrap();
        assert!(held(Locks::take(&path("logs"), &path("two"))));
        std::fs::rename(path("logs"), path("older")).unwrap();
        std::fs::create_dir(path("logs")).unwrap();
        let second = Locks::take(&path("logs"), &path("two")).unwrap();
        assert!(matches!(first.renew(), Err(LockError::Held { .. })));
        drop(second);
        first.renew().unwrap();
    }

    #[test]
    fn a_lock_is_given_up_although_a_child_still_has_the_file_open() {
        let state = tempfile::tempdir().unwrap();
        let lock = StateLock::take(state.path()).unwrap();
        // As a fork has it: another descriptor of the same open file.
        let _child = lock.file.try_clone().unwrap();
        assert!(matches!(
            StateLock::take(state.path()),
            Err(LockError::Held { .. })
        ));
        drop(lock);
        StateLock::take(state.path()).unwrap();
    }
}
