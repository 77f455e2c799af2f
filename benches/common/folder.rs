//! How much there is in a folder. For the benches and the tests.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// Bytes of all files below `folder` whose names count; those that go while it is looked at don't.
pub(crate) fn bytes_below(folder: &Path, counts: &dyn Fn(&OsStr) -> bool) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_below(&entry.path(), counts),
            Ok(meta) if counts(&entry.file_name()) => meta.len(),
            _ => 0,
        })
        .sum()
}
