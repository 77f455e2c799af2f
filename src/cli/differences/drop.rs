//! Differences that an operator has seen and wants to see no more.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::read::{each, files};
use super::selection::Selection;
use crate::cli::local_time::now_unix;
use crate::engine::os::files::{Links, open_regular};
use crate::reconcile::difference::{How, Settlement};

/// How many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) done: u64,
    /// Of the same backends.
    pub(super) left: u64,
}

/// Settles those that are selected, each file's in one write that is on disk when this returns.
pub(super) fn drop(state: &Path, selection: &Selection) -> io::Result<Dropped> {
    let unix = now_unix();
    let mut dropped = Dropped::default();
    for path in files(state, selection)? {
        let mut lines = Vec::new();
        let beside = each(&path, selection, &mut |found| {
            dropped.done += 1;
            let settlement = Settlement {
                id: found.id,
                how: How::Dropped,
                unix,
            };
            settlement.encode(&mut lines);
            Ok(())
        })?;
        dropped.left += beside.others + beside.beyond;
        if !lines.is_empty() {
            append(&path, lines).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
        }
    }
    Ok(dropped)
}

/// Appends lines durably. A running server may append at the same time, so it is one write; after
/// a line that a crash has torn, it begins with a newline.
pub(super) fn append(path: &Path, mut lines: Vec<u8>) -> io::Result<()> {
    let options = &mut File::options();
    let mut file = open_regular(path, options.read(true).append(true), Links::Followed)?;
    let bytes = file.seek(SeekFrom::End(0))?;
    let mut last = [b'\n'];
    if bytes > 0 {
        file.seek(SeekFrom::Start(bytes - 1))?;
        file.read_exact(&mut last)?;
    }
    if last != *b"\n" {
        lines.insert(0, b'\n');
    }
    file.write_all(&lines)?;
    file.sync_all()
}
