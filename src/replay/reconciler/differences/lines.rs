//! The lines of a file that grows, a piece of it at a time.

use std::io;

use crate::limits::{DIFFERENCE_LINE_BYTES_MAX, RECONCILE_READ_BYTES};
use crate::replay::disk::OpenFile;

/// How far a file was read, and the line that it was read into.
#[derive(Debug, Default)]
pub(super) struct Lines {
    read_bytes: u64,
    /// The line whose end has not been read yet, unless it is longer than any of ours.
    line: Vec<u8>,
    line_bytes: u64,
    /// Lines that were read to their end.
    count: u64,
}

impl Lines {
    /// How far the file was read.
    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Where the line begins whose end has not been read yet.
    pub(super) fn whole_bytes(&self) -> u64 {
        self.read_bytes - self.line_bytes
    }

    /// How many lines were read to their end.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Bytes of memory that it has.
    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.line.capacity()
    }

    /// Goes on at the same place of another file, which has so many bytes and lines less before it.
    pub(super) fn move_by(&mut self, fewer_bytes: u64, fewer_lines: u64) {
        self.read_bytes -= fewer_bytes;
        self.count -= fewer_lines;
    }

    /// Reads at most a piece, up to this byte of the file, and gives each line, without its
    /// newline; `None` stands for one that is too long. Returns whether that byte, or the file's
    /// end, is reached.
    pub(super) fn read_piece(
        &mut self,
        file: &impl OpenFile,
        end: u64,
        mut handle: impl FnMut(Option<&[u8]>),
    ) -> io::Result<bool> {
        let left = usize::try_from(end.saturating_sub(self.read_bytes)).unwrap_or(usize::MAX);
        let mut piece = vec![0; RECONCILE_READ_BYTES.min(left)];
        let read = match piece.len() {
            0 => 0,
            _ => file.read_at(self.read_bytes, &mut piece)?,
        };
        for part in piece[..read].split_inclusive(|byte| *byte == b'\n') {
            self.read_bytes += part.len() as u64;
            self.line_bytes += part.len() as u64;
            let is_too_long = self.line_bytes > DIFFERENCE_LINE_BYTES_MAX as u64 + 1;
            if is_too_long {
                self.line = Vec::new();
            } else {
                self.line.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                let line = self.line.strip_suffix(b"\n");
                handle(line.filter(|_| !is_too_long));
                self.line.clear();
                self.line_bytes = 0;
                self.count += 1;
            }
        }
        Ok(read == 0 || self.read_bytes >= end)
    }
}
