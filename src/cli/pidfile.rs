//! `hustdbsync.pid`: a decimal process number without newline, beside the configuration, as the
//! original has it.
//!
//! Contract: the file is ours from [`PidFile::write`] to [`PidFile::remove`]. One that names a
//! living `hustdbsync` is never replaced; any other is stale and is. A disk without room for it
//! stops no start: the server is what makes room there.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::process;
use crate::engine::files::{FILE_MODE, is_disk_full};
use crate::engine::os::files::{Links, open_regular, read_regular};

/// Linux gives no process a number above this (`PID_MAX_LIMIT`).
const PID_MAX: u32 = 1 << 22;
/// More than any pid file has. One is read only this far.
const PID_FILE_BYTES_MAX: u64 = 64;

/// What a pid file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is none.
    Missing,
    /// It names no living `hustdbsync`, or this very process (a container's processes get the same
    /// numbers again).
    Stale,
    /// A `hustdbsync` with this number runs.
    Running(u32),
}

/// Why there is no pid file of ours.
#[derive(Debug, thiserror::Error)]
pub(super) enum PidFileError {
    /// Another one runs.
    #[error("a hustdbsync runs already: process {pid}, says {}; end it with -q, or remove the file \
        if that process is another configuration's", .path.display())]
    Running {
        /// Its number.
        pid: u32,
        /// The file that says so.
        path: PathBuf,
    },
    /// The file can't be read or written.
    #[error("the pid file {}: {error}; its folder, which is the configuration's, must be writable \
        (or use `hustdbsync run`, which writes none)", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The file, while it is ours.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
}

/// Where the pid file of a configuration is.
pub(super) fn beside(config: &Path) -> PathBuf {
    config.with_file_name("hustdbsync.pid")
}

/// Reads a pid file; `proc` is the folder of `/proc`.
pub(super) fn look(path: &Path, proc: &Path) -> io::Result<Found> {
    let text = match read_regular(path, PID_FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
        Err(error) => return Err(error),
    };
    let others = parse(&text).filter(|pid| *pid != std::process::id());
    Ok(
        match others.filter(|pid| process::is_hustdbsync(proc, *pid)) {
            Some(pid) => Found::Running(pid),
            None => Found::Stale,
        },
    )
}

/// The number in a pid file, whoever has it.
pub(super) fn named(path: &Path) -> Option<u32> {
    parse(&read_regular(path, PID_FILE_BYTES_MAX).ok()?)
}

fn parse(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|pid| digits_only && (1..=PID_MAX).contains(pid))
}

/// # Errors
/// The file names a running `hustdbsync`, or can't be read.
pub(super) fn refuse_if_running(path: &Path, proc: &Path) -> Result<(), PidFileError> {
    match look(path, proc) {
        Ok(Found::Running(pid)) => Err(PidFileError::Running {
            pid,
            path: path.to_owned(),
        }),
        Ok(Found::Missing | Found::Stale) => Ok(()),
        Err(error) => Err(PidFileError::Io {
            path: path.to_owned(),
            error,
        }),
    }
}

impl PidFile {
    /// Writes this process's number, in place of a stale file if there is one. `None`: the disk has
    /// no room for it, which is logged.
    ///
    /// To be called by who holds the locks of the logs: they, not this, tell two apart that start
    /// at the same instant, and who is refused there must not have touched the other's file.
    ///
    /// # Errors
    /// Another `hustdbsync` runs, or the file can't be written.
    pub(super) fn write(path: PathBuf, proc: &Path) -> Result<Option<Self>, PidFileError> {
        refuse_if_running(&path, proc)?;
        match write(&path, &std::process::id().to_string()) {
            Ok(()) => Ok(Some(Self { path })),
            Err(error) if is_disk_full(&error) => {
                // What may be there by now is an empty file.
                let _ = fs::remove_file(&path);
                tracing::warn!(
                    path = %path.display(), %error,
                    "no room for the pid file; until the next start, `hustdbsync ctl stop` ends \
                     this server, and -q does not find it"
                );
                Ok(None)
            }
            Err(error) => Err(PidFileError::Io { path, error }),
        }
    }

    /// Removes the file, unless it has become somebody else's.
    pub(super) fn remove(self) {
        let ours = read_regular(&self.path, PID_FILE_BYTES_MAX)
            .is_ok_and(|text| parse(&text) == Some(std::process::id()));
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(
                path = %self.path.display(), %error,
                "the pid file stays; the next start replaces it"
            );
        }
    }
}

/// Writes a file that others than its group can't read, whatever the umask.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::File::options();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE);
    let mut file = open_regular(path, &mut options, Links::Followed)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found for a file of this text, where process 7 is a `hustdbsync` and process 8 is
    /// none.
    fn check(text: &str, expected: Found) {
        let folder = tempfile::tempdir().unwrap();
        process::fake::process(folder.path(), 7, "hustdbsync", "/opt/hustdbsync", 'S');
        process::fake::process(folder.path(), 8, "nginx", "/usr/sbin/nginx", 'S');
        process::fake::process(folder.path(), std::process::id(), "hustdbsync", "/x", 'S');
        let path = folder.path().join("hustdbsync.pid");
        fs::write(&path, text).unwrap();
        assert_eq!(look(&path, folder.path()).unwrap(), expected, "{text:?}");
    }

    #[test]
    fn only_a_living_hustdbsync_makes_the_file_count() {
        check("7", Found::Running(7));
        check("7\n", Found::Running(7));
        check("8", Found::Stale);
        check("9", Found::Stale);
        check(&std::process::id().to_string(), Found::Stale);
    }

    #[test]
    fn what_is_no_process_number_is_stale() {
        for text in [
            "",
            "0",
            "-7",
            "+7",
            "7 8",
            "seven",
            "4294967303",
            "99999999999999999999",
        ] {
            check(text, Found::Stale);
        }
    }

    #[test]
    fn the_file_holds_our_number_without_newline_and_goes_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hustdbsync.pid");
        fs::write(&path, "999").unwrap();
        let file = PidFile::write(path.clone(), folder.path())
            .unwrap()
            .unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            std::process::id().to_string()
        );
        file.remove();
        assert_eq!(look(&path, folder.path()).unwrap(), Found::Missing);
    }

    #[test]
    fn a_file_that_became_anothers_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hustdbsync.pid");
        let file = PidFile::write(path.clone(), folder.path())
            .unwrap()
            .unwrap();
        fs::write(&path, "7").unwrap();
        file.remove();
        assert_eq!(fs::read_to_string(&path).unwrap(), "7");
    }

    #[test]
    fn a_running_one_is_named_and_its_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        process::fake::process(folder.path(), 7, "hustdbsync", "/opt/hustdbsync", 'S');
        let path = folder.path().join("hustdbsync.pid");
        fs::write(&path, "7").unwrap();
        let error = PidFile::write(path.clone(), folder.path())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("a hustdbsync runs already: process 7, says "),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "7");
    }

    #[test]
    fn a_folder_that_is_missing_is_named() {
        let path = Path::new("/nonexistent/hustdbsync.pid").to_owned();
        let error = PidFile::write(path, Path::new("/proc"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("the pid file /nonexistent/hustdbsync.pid: No such file"),
            "{error}"
        );
    }
}
