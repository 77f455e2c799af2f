//! Reading a log that may be in memory, or on disk.
//!
//! A log that was written a moment ago is in the page cache. A backlog of days is not, and whoever
//! reads it waits for the disk each time, unless somebody asked for it before. The kernel reads
//! ahead too, but no further than it thinks fit, and it begins late; so a log that turned out not
//! to be in memory is asked for piece by piece, some way ahead of what is read. One that is in
//! memory costs nothing more than its reads.
//!
//! It is advice: where the kernel refuses or has no room for it, reading takes longer.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::os::files::{advise_needed, read_at_in_memory};
use crate::limits::{READ_AHEAD_BYTES, READ_AHEAD_PIECE_BYTES};

/// How far ahead a log was asked for; none as long as all that was read of it was in memory.
#[derive(Debug)]
pub(super) struct Asked(AtomicU64);

/// Nothing was asked for.
const NOT_ASKED: u64 = u64::MAX;

impl Default for Asked {
    fn default() -> Self {
        Self(AtomicU64::new(NOT_ASKED))
    }
}

impl Asked {
    /// Up to which byte.
    fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|asked| *asked != NOT_ASKED)
    }

    fn set(&self, asked: u64) {
        self.0.store(asked, Ordering::Relaxed);
    }
}

/// Reads at `offset`; fewer bytes than there is room for are no sign of the end, none are.
///
/// # Errors
/// What the system says.
pub(super) fn read_ahead_at(
    file: &File,
    asked: &Asked,
    offset: u64,
    into: &mut [u8],
) -> io::Result<usize> {
    let end = offset + into.len() as u64;
    let mut filled = 0;
    if asked.get().is_none() {
        // What it cannot tell, the plain read does.
        filled = read_at_in_memory(file, offset, into).unwrap_or(0);
        if filled == into.len() {
            return Ok(filled);
        }
    }
    ask(file, asked, end);
    match read_at(file, offset + filled as u64, &mut into[filled..]) {
        Ok(read) => Ok(filled + read),
        Err(_) if filled > 0 => Ok(filled),
        Err(error) => Err(error),
    }
}

/// Asks for what comes behind `end`, as far as that was not done yet.
fn ask(file: &File, asked: &Asked, end: u64) {
    let mut next = asked.get().unwrap_or(0).max(end);
    while next < end + READ_AHEAD_BYTES {
        advise_needed(file, next, READ_AHEAD_PIECE_BYTES);
        next += u64::from(READ_AHEAD_PIECE_BYTES);
    }
    asked.set(next);
}

pub(super) fn read_at(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read_at(into, offset) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const PIECE: u64 = READ_AHEAD_PIECE_BYTES as u64;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_log_in_memory_is_read_and_nothing_is_asked_for() {
        let file = file_of(b"one\ntwo\n");
        let (asked, mut into) = (Asked::default(), [0; 4]);
        assert_eq!(read_ahead_at(&file, &asked, 4, &mut into).unwrap(), 4);
        assert_eq!(&into, b"two\n");
        assert_eq!(asked.get(), None);
    }

    #[test]
    fn a_read_that_ends_early_asks_for_what_comes_behind_it_and_says_what_is_there() {
        let file = file_of(b"one\ntwo\n");
        let (asked, mut into) = (Asked::default(), [0; 100]);
        assert_eq!(read_ahead_at(&file, &asked, 4, &mut into).unwrap(), 4);
        assert_eq!(&into[..4], b"two\n");
        assert_eq!(asked.get(), Some(104 + READ_AHEAD_BYTES));
        assert_eq!(read_ahead_at(&file, &asked, 8, &mut into).unwrap(), 0);
        assert_eq!(read_ahead_at(&file, &asked, 0, &mut into[..3]).unwrap(), 3);
    }

    #[test]
    fn a_piece_is_asked_for_once_however_small_the_reads() {
        let file = file_of(&vec![b'x'; 3 * READ_AHEAD_PIECE_BYTES as usize]);
        let (asked, mut into) = (Asked(AtomicU64::new(0)), [0; 64]);
        let mut seen = Vec::new();
        for offset in (0..PIECE).step_by(into.len()) {
            assert_eq!(read_ahead_at(&file, &asked, offset, &mut into).unwrap(), 64);
            seen.push(asked.get().unwrap());
        }
        seen.dedup();
        assert_eq!(seen, [64 + READ_AHEAD_BYTES, 64 + READ_AHEAD_BYTES + PIECE]);
    }
}
