//! Differences that are left, read from the state's files as a stream, at least twice: which lines
//! count is known at the end.

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use super::selection::Selection;
use crate::cli::lines::Lines;
use crate::cli::state_files::{at, backends_with};
use crate::engine::os::files::{Links, open_regular};
use crate::limits::DIFFERENCE_LINE_BYTES_MAX;
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
/// Of more than can be kept, it goes through the file several times.
pub(super) fn each(
    path: &Path,
    selection: &Selection,
    tell: &mut dyn FnMut(Found<'_>) -> io::Result<()>,
) -> io::Result<Beside> {
    each_of(path, DifferencesLeft::default(), selection, tell)
}

fn each_of(
    path: &Path,
    none: DifferencesLeft,
    selection: &Selection,
    tell: &mut dyn FnMut(Found<'_>) -> io::Result<()>,
) -> io::Result<Beside> {
    let named = at(path);
    // It stays the same file, also where the server replaces it meanwhile.
    let file = open_regular(path, File::options().read(true), Links::Followed).map_err(named)?;
    let mut beside = Beside::default();
    let mut window = Some(none);
    while let Some(mut left) = window {
        each_line(&file, &named, |line| {
            match line {
                Some(line) => left.handle_line(line),
                None => left.handle_unrecognized(),
            }
            Ok(())
        })?;
        beside.unrecognized = left.unrecognized();
        window = left.next();
        each_line(&file, &named, |line| {
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
    }
    Ok(beside)
}

/// Gives each whole line of a file; `None` stands for one that is too long to be kept.
fn each_line(
    mut file: &File,
    named: &dyn Fn(io::Error) -> io::Error,
    mut tell: impl FnMut(Option<&[u8]>) -> io::Result<()>,
) -> io::Result<()> {
    file.rewind().map_err(named)?;
    let mut lines = Lines::with_bound(file, DIFFERENCE_LINE_BYTES_MAX);
    while let Some(line) = lines.next().map_err(named)? {
        // Without its newline it is being written this moment, or was torn and does not count.
        if !line.ended {
            break;
        }
        tell(line.text.as_deref())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::differences::settle::Settlements;
    use crate::reconcile::difference::How;

    fn difference(key: usize) -> Difference {
        Difference::sample(&key.to_string())
    }

    #[test]
    fn more_than_can_be_kept_are_all_told_and_can_be_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let mut content = Vec::new();
        for key in 0..10 {
            difference(key).encode(&mut content);
        }
        content.extend_from_slice(b"a note\n");
        std::fs::write(&path, content).unwrap();
        let few = || DifferencesLeft::with_keys_max(3);
        let all = Selection::default();
        let mut told = Vec::new();
        let beside = each_of(&path, few(), &all, &mut |found| {
            told.push(found.difference.key.clone());
            Ok(())
        });
        told.sort();
        let keys: Vec<Vec<u8>> = (0..10).map(|key| difference(key).key).collect();
        assert_eq!(told, keys);
        let expected = Beside {
            others: 0,
            unrecognized: 1,
        };
        assert_eq!(beside.unwrap(), expected);

        let mut settlements = Settlements::new(&path);
        let mut left = 10;
        let settled = each_of(&path, few(), &all, &mut |found| {
            left -= 1;
            settlements.add(found.id, hash_of(found.line), How::Dropped)
        });
        settled.unwrap();
        settlements.write().unwrap();
        assert_eq!(left, 0);
        let mut none = |_: Found<'_>| panic!("one is left");
        each_of(&path, few(), &all, &mut none).unwrap();
    }
}
