//! Differences that an operator has seen and wants to see no more.

use std::io;
use std::path::Path;

use super::read::{each, files};
use super::selection::Selection;
use super::settle::Settlements;
use crate::reconcile::difference::{How, hash_of};

/// How many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) done: u64,
    /// Of the same backends.
    pub(super) left: u64,
}

/// Settles those that are selected. That is on disk when this returns.
pub(super) fn drop(state: &Path, selection: &Selection) -> io::Result<Dropped> {
    let mut dropped = Dropped::default();
    for path in files(state, selection)? {
        let mut settlements = Settlements::new(&path);
        let beside = each(&path, selection, &mut |found| {
            dropped.done += 1;
            settlements.add(found.id, hash_of(found.line), How::Dropped)
        })?;
        settlements.write()?;
        dropped.left += beside.others;
    }
    Ok(dropped)
}
