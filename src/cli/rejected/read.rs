//! Lines that were rejected, read from the state's files as a stream.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::Path;

use super::select::Selection;
use crate::engine::os::files::{Links, open_regular};
use crate::ledger::rejected::{self, RejectedLine};

/// The backends that have state and are selected, in the order of their names.
pub(super) fn backends(state: &Path, selection: &Selection) -> io::Result<Vec<String>> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", state.display()));
    let folders = match fs::read_dir(state) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        folders => folders.map_err(named)?,
    };
    let mut names = Vec::new();
    for folder in folders {
        let folder = folder.map_err(named)?;
        names.extend(folder.file_name().into_string().ok().filter(|name| {
            let is_wanted = |wanted: &String| wanted == name;
            selection.backend.as_ref().is_none_or(is_wanted)
                && folder.path().join(rejected::NAME).exists()
        }));
    }
    names.sort();
    Ok(names)
}

/// Gives each selected line, with its id, to `tell`; gives how many lines are none of this
/// server's.
pub(super) fn each(
    state: &Path,
    selection: &Selection,
    tell: &mut dyn FnMut(u64, &RejectedLine) -> io::Result<()>,
) -> io::Result<u64> {
    let filter = selection.filter(&selection.ids);
    let mut unrecognized = 0;
    for backend in backends(state, selection)? {
        let path = state.join(backend).join(rejected::NAME);
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let open = |path: &Path| open_regular(path, File::options().read(true), Links::Followed);
        let mut lines = BufReader::new(open(&path).map_err(named)?);
        let mut line = Vec::new();
        loop {
            line.clear();
            lines.read_until(b'\n', &mut line).map_err(named)?;
            // Without its newline it is being written this moment, or was torn and does not count.
            let Some(bytes) = line.strip_suffix(b"\n") else {
                break;
            };
            match RejectedLine::parse(bytes) {
                Ok(parsed) => {
                    let id = rejected::id(bytes);
                    if filter.admits(&parsed, id) {
                        tell(id, &parsed)?;
                    }
                }
                Err(_) => unrecognized += 1,
            }
        }
    }
    Ok(unrecognized)
}
