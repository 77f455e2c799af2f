//! Where the logs and our state are, and what names may stand for.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::names::unescape;
use crate::engine::os::files::{Links, open_regular};

/// Of every file that we make: its owner's, and its group's to read.
pub const FILE_MODE: u32 = 0o640;
/// Of every folder that we make.
pub const FOLDER_MODE: u32 = 0o750;

/// A folder of logs and a folder of state.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// Of a folder a backend.
    pub(super) logs: PathBuf,
    /// The same; it is made when something is written there.
    pub(super) state: PathBuf,
}

impl Paths {
    pub(super) fn log_folder(&self, backend: &str) -> io::Result<PathBuf> {
        Ok(self.logs.join(plain(backend)?))
    }

    pub(super) fn log(&self, backend: &str, name: &str) -> io::Result<PathBuf> {
        let name = unescape(name);
        // What was escaped must not leave the folder either.
        let leaves = name.as_bytes().iter().any(|byte| [b'/', 0].contains(byte));
        if leaves || name.is_empty() || name == "." || name == ".." {
            return Err(no_name(&name.to_string_lossy()));
        }
        Ok(self.log_folder(backend)?.join(name))
    }

    /// The file that keeps room aside. Its name is no backend's.
    pub(super) fn spare(&self) -> PathBuf {
        self.state.join(".spare")
    }

    pub(super) fn state_folder(&self, backend: &str) -> io::Result<PathBuf> {
        Ok(self.state.join(plain(backend)?))
    }

    pub(super) fn state(&self, backend: &str, name: &str) -> io::Result<PathBuf> {
        Ok(self.state_folder(backend)?.join(plain(name)?))
    }

    /// Opens a state file for writing; its folders are made where they are missing.
    pub(super) fn open_state(
        &self,
        backend: &str,
        name: &str,
        options: &mut OpenOptions,
    ) -> io::Result<(File, PathBuf)> {
        let path = self.state(backend, name)?;
        options.create(true).mode(FILE_MODE);
        let opened = open_regular(&path, options, Links::Refused).or_else(|error| {
            if error.kind() != ErrorKind::NotFound {
                return Err(error);
            }
            DirBuilder::new()
                .recursive(true)
                .mode(FOLDER_MODE)
                .create(self.state_folder(backend)?)?;
            open_regular(&path, options, Links::Refused)
        });
        Ok((opened.map_err(at(&path))?, path))
    }
}

/// A name that stays in its folder.
fn plain(name: &str) -> io::Result<&str> {
    let leaves = name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']);
    if leaves {
        return Err(no_name(name));
    }
    Ok(name)
}

fn no_name(name: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidInput,
        format!("{name:?} is no name of a file in a folder"),
    )
}

/// Puts the path in front of what the system says, and what to do behind it where that is known.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    |error| {
        let to_do = match error.kind() {
            ErrorKind::PermissionDenied => {
                "; allow it to the user that runs hustdbsync (owner, group and mode of it and of \
                 the folders above)"
            }
            _ if error.raw_os_error() == Some(libc::EIO) => {
                "; its disk fails: the kernel's log says more (dmesg)"
            }
            ErrorKind::StorageFull => "; make room on its disk",
            ErrorKind::QuotaExceeded => "; make room, or raise this user's quota on its disk",
            ErrorKind::FileTooLarge => {
                "; this process may not write files that long: raise its limit (ulimit -f, \
                 systemd: LimitFSIZE=)"
            }
            _ => "",
        };
        io::Error::new(error.kind(), format!("{}: {error}{to_do}", path.display()))
    }
}
