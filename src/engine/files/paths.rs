//! Where the logs and our state are, and what names may stand for.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::names::unescape;
use crate::engine::os::files::{Links, open_regular};
use crate::replay::disk::Area;

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
    pub(super) fn area(&self, area: Area) -> &Path {
        match area {
            Area::Logs => &self.logs,
            Area::State => &self.state,
        }
    }

    /// The file that keeps room aside. Its name is no backend's.
    pub(super) fn spare(&self) -> PathBuf {
        self.state.join(".spare")
    }

    pub(super) fn folder(&self, area: Area, backend: &str) -> io::Result<PathBuf> {
        let leaves = leaves_folder(backend.as_bytes());
        (!leaves)
            .then(|| self.area(area).join(backend))
            .ok_or_else(|| no_name(backend))
    }

    pub(super) fn file(&self, area: Area, backend: &str, name: &str) -> io::Result<PathBuf> {
        let name = unescape(name);
        // What was escaped must not leave the folder either.
        if leaves_folder(name.as_bytes()) {
            return Err(no_name(&name.to_string_lossy()));
        }
        Ok(self.folder(area, backend)?.join(name))
    }

    /// Writes to a file, which is made where it is missing. A missing folder of state is made, too.
    pub(super) fn write_to(
        &self,
        area: Area,
        backend: &str,
        name: &str,
        options: &mut OpenOptions,
        bytes: &[u8],
    ) -> io::Result<()> {
        let path = self.file(area, backend, name)?;
        options.create(true).mode(FILE_MODE);
        open_regular(&path, options, Links::Refused)
            .or_else(|error| {
                if error.kind() != ErrorKind::NotFound || area == Area::Logs {
                    return Err(error);
                }
                DirBuilder::new()
                    .recursive(true)
                    .mode(FOLDER_MODE)
                    .create(self.folder(area, backend)?)?;
                open_regular(&path, options, Links::Refused)
            })
            .and_then(|mut file| file.write_all(bytes))
            .map_err(at(&path))
    }
}

/// Whether a name leads out of its folder.
fn leaves_folder(name: &[u8]) -> bool {
    [&b""[..], b".", b".."].contains(&name) || name.iter().any(|byte| [b'/', 0].contains(byte))
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
