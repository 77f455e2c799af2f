//! Differences that are left, read from the state's files as a stream, twice: which lines count is
//! known at the end.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::selection::Selection;
use crate::cli::lines::Lines;
use crate::cli::state_files::backends_with;
use crate::engine::os::files::{Links, open_regular};
use crate::reconcile::difference::{Difference, DifferencesLeft, FILE_NAME, Line, hash_of};

/// A difference that is left.
pub(super) struct Found<'a> {
    pub(super) id: u64,
    pub(super) difference: &'a Difference,
    /// Its line as it stands in the file, without its newline.
    pub(super) line: &'a [u8],
}

/// What there was beside those that were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Beside {
    /// Differences that are left and were not selected.
    pub(super) others: u64,
    /// Lines about further keys than can be held.
    pub(super) beyond: u64,
    /// Lines that are none of this server's.
    pub(super) unrecognized: u64,
}

/// The files that are selected, in the order of their backends' names.
pub(super) fn files(state: &Path, selection: &Selection) -> io::Result<Vec<PathBuf>> {
    let backends = backends_with(state, FILE_NAME, selection.scope.backend.as_deref())?;
    let path = |backend: String| state.join(backend).join(FILE_NAME);
    Ok(backends.into_iter().map(path).collect())
}

/// Gives each difference of a file that is left and selected to `tell`, in the order of the file.
pub(super) fn each(
    path: &Path,
    selection: &Selection,
    tell: &mut dyn FnMut(Found<'_>) -> io::Result<()>,
) -> io::Result<Beside> {
    let mut left = DifferencesLeft::default();
    each_line(path, |line| {
        match line {
            Some(line) => left.handle_line(line),
            None => left.handle_unrecognized(),
        }
        Ok(())
    })?;
    let mut beside = Beside {
        others: 0,
        beyond: left.beyond(),
        unrecognized: left.unrecognized(),
    };
    each_line(path, |line| {
        let Some(line) = line else { return Ok(()) };
        match Line::parse(line) {
            Ok(Line::Difference(id, difference)) if left.take(id, hash_of(line)) => {
                if selection.admits(id, &difference) {
                    return tell(Found {
                        id,
                        difference: &difference,
                        line,
                    });
                }
                beside.others += 1;
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(beside)
}

/// Gives each whole line; `None` stands for one that is too long to be held.
fn each_line(path: &Path, mut tell: impl FnMut(Option<&[u8]>) -> io::Result<()>) -> io::Result<()> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let file = open_regular(path, File::options().read(true), Links::Followed).map_err(named)?;
    let mut lines = Lines::new(file);
    while let Some(line) = lines.next().map_err(named)? {
        // Without its newline it is being written this moment, or was torn and does not count.
        if !line.ended {
            break;
        }
        tell(line.text.as_deref())?;
    }
    Ok(())
}
