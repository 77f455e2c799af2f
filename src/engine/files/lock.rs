//! The lock that keeps two sync servers off one set of logs: they would break the order of records and each other's deletions.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::engine::files::{FILE_MODE, FOLDER_MODE};
use crate::engine::os::files::{Links, open_regular};
use crate::engine::os::process::{try_lock, unlock};

/// Bytes of the lock file that are looked at for the holder's process id.
const HOLDER_BYTES_MAX: u64 = 32;

/// Held as long as this lives; the system gives it up when the process ends, however it ends. The file stays, with the last holder's process id.
#[derive(Debug)]
pub struct StateLock {
    file: File,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("{path}: another sync server{} holds these logs; two would break the order, so end that one first", holder.as_ref().map_or_else(String::new, |pid| format!(" (process {pid})")))]
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

impl StateLock {
    /// Where the lock of a state folder is.
    #[must_use]
    pub fn path(state: &Path) -> PathBuf {
        state.join(".lock")
    }

    /// Locks `<state>/.lock` for this process, whose id is written into it. The folder is made where it is missing.
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
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(io)?;
        Ok(Self { file })
    }
}

/// Closing alone would not do: between its fork and its exec, a child process has the file open too, and would hold the lock on.
impl Drop for StateLock {
    fn drop(&mut self) {
        if let Err(why) = unlock(&self.file) {
            tracing::warn!(%why, "the lock of the state folder could not be given up; the end of the process does it");
        }
    }
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
