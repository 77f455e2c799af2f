//! Where the logs and our state are, and what names may stand for.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

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
        Ok(self.log_folder(backend)?.join(plain(name)?))
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
        options
            .create(true)
            .mode(FILE_MODE)
            .custom_flags(libc::O_NOFOLLOW);
        let opened = options.open(&path).or_else(|error| {
            if error.kind() != ErrorKind::NotFound {
                return Err(error);
            }
            DirBuilder::new()
                .recursive(true)
                .mode(FOLDER_MODE)
                .create(self.state_folder(backend)?)?;
            options.open(&path)
        });
        Ok((opened.map_err(at(&path))?, path))
    }
}

/// A name that stays in its folder.
fn plain(name: &str) -> io::Result<&str> {
    let leaves = name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']);
    if leaves {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!("{name:?} is no name of a file in a folder"),
        ));
    }
    Ok(name)
}

/// Puts the path in front of what the system says.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
