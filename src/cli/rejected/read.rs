//! Lines that were rejected, read from the state's files as a stream.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::select::Selection;
use crate::cli::state_files::{at, backends_with};
use crate::engine::os::files::{Links, open_regular};
use crate::ledger::rejected::{self, RejectedLine};

/// The backends that have such lines and are selected, in the order of their names.
pub(super) fn backends(state: &Path, selection: &Selection) -> io::Result<Vec<String>> {
    backends_with(state, rejected::NAME, selection.scope.backend.as_deref())
}

/// Gives each selected line, with its id, to `tell`; gives how many lines are none of this
/// server's.
pub(super) fn each(
    state: &Path,
    selection: &Selection,
    tell: &mut dyn FnMut(u64, &RejectedLine) -> io::Result<()>,
) -> io::Result<u64> {
    let filter = selection.filter(&selection.scope.ids);
    let mut unrecognized = 0;
    for backend in backends(state, selection)? {
        let path = state.join(backend).join(rejected::NAME);
        let named = at(&path);
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
