//! How far a log file has been read, and what to read next.
//!
//! ```text
//!  0              byte                 searched              size
//!  │ fed, `line` lines │ begins with a line │ not looked at yet │
//!                      └── no newline in here ──┘
//! ```
//!
//! A chunk is read from `byte` on; what follows its last newline is read again with the next chunk.
//! So no bytes are kept between two reads. Only a line that is longer than a chunk is treated
//! differently: first its end is searched for, then it gets a buffer of its own, or is skipped if
//! it is longer than any line may be.

/// A place in a log file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Lines before `byte`.
    line: u64,
    /// Where the next line begins.
    byte: u64,
    /// There is no newline from `byte` up to here. At least `byte`.
    searched: u64,
    /// Where the line at `byte` ends, newline included, once a search has found that out. At most
    /// `searched`.
    line_end: Option<u64>,
}

/// What to do next with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Nothing until it grows or is closed.
    Nothing,
    /// Read this many bytes at [`Cursor::byte`] and emit the whole lines in them.
    Lines {
        /// How many; at most a chunk.
        bytes: usize,
    },
    /// Look for a newline in this many bytes at [`Cursor::searched`].
    Search {
        /// How many; at most a chunk.
        bytes: usize,
    },
    /// Read these bytes at [`Cursor::byte`]: they are one line.
    Line {
        /// How many, newline included.
        bytes: usize,
        /// Whether the last of them is a newline; a closed file's last line needs none.
        newline: bool,
    },
    /// The bytes up to here are one line that is longer than any may be.
    Skip { end: u64 },
}

impl Cursor {
    /// Before line `line` (from 0), which begins at `byte`.
    #[must_use]
    pub fn at(line: u64, byte: u64) -> Self {
        Self {
            line,
            byte,
            searched: byte,
            line_end: None,
        }
    }

    /// Number of the next line, from 0.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Where the next line begins.
    #[must_use]
    pub fn byte(&self) -> u64 {
        self.byte
    }

    /// There is no newline from [`Cursor::byte`] up to here.
    #[must_use]
    pub fn searched(&self) -> u64 {
        self.searched
    }

    /// Whether there is something to read in a file of `size` bytes before it grows or is closed.
    #[must_use]
    pub fn has_unread(&self, size: u64) -> bool {
        self.searched < size || self.line_end.is_some()
    }

    /// Whether a file of `size` bytes ends in a line without newline, as far as is known.
    #[must_use]
    pub fn has_tail(&self, size: u64) -> bool {
        self.byte < size
    }

    /// What to do next. `closed` means that nobody will append to the file any more, so that its
    /// end is the end of a line.
    #[must_use]
    pub fn want(&self, size: u64, closed: bool, chunk_bytes: usize, line_bytes_max: usize) -> Want {
        if let Some(end) = self.line_end {
            return self.want_line(end, true, line_bytes_max);
        }
        if self.searched < size {
            if self.searched - self.byte < chunk_bytes as u64 {
                let bytes = clamp(size - self.byte, chunk_bytes);
                return Want::Lines { bytes };
            }
            let bytes = clamp(size - self.searched, chunk_bytes);
            return Want::Search { bytes };
        }
        if closed && self.byte < size {
            return self.want_line(size, false, line_bytes_max);
        }
        Want::Nothing
    }

    fn want_line(&self, end: u64, newline: bool, line_bytes_max: usize) -> Want {
        let bytes = end - self.byte;
        if bytes - u64::from(newline) > line_bytes_max as u64 {
            return Want::Skip { end };
        }
        let bytes = usize::try_from(bytes).expect("a line's bytes fit the address space");
        Want::Line { bytes, newline }
    }

    /// `lines` lines in `bytes` bytes were emitted, out of `read` bytes at [`Cursor::byte`]. `all`
    /// means that there is no newline in the rest.
    pub fn handle_lines(&mut self, lines: u32, bytes: usize, read: usize, all: bool) {
        let read_to = self.byte + read as u64;
        self.line += u64::from(lines);
        self.byte += bytes as u64;
        self.searched = if all { read_to } else { self.byte };
        self.line_end = None;
        self.check_invariants();
    }

    /// `read` bytes at [`Cursor::searched`] have been searched, and a newline was found at this
    /// offset in them.
    pub fn handle_searched(&mut self, read: usize, newline: Option<usize>) {
        match newline {
            Some(at) => {
                self.searched += at as u64 + 1;
                self.line_end = Some(self.searched);
            }
            None => self.searched += read as u64,
        }
        self.check_invariants();
    }

    /// The line at [`Cursor::byte`], up to `end`, is skipped without being read.
    pub fn handle_skipped(&mut self, end: u64) {
        *self = Self::at(self.line + 1, end);
    }

    /// The file now has `size` bytes, fewer than it had. Returns false if lines that were emitted
    /// are gone.
    #[must_use]
    pub fn handle_shrunk(&mut self, size: u64) -> bool {
        if size < self.byte {
            return false;
        }
        self.searched = self.searched.min(size);
        self.line_end = self.line_end.filter(|end| *end <= size);
        self.check_invariants();
        true
    }

    fn check_invariants(&self) {
        debug_assert!(self.byte <= self.searched);
        debug_assert!(
            self.line_end
                .is_none_or(|end| end == self.searched && end > self.byte)
        );
    }
}

fn clamp(bytes: u64, most: usize) -> usize {
    usize::try_from(bytes).map_or(most, |bytes| bytes.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cursor: &Cursor, size: u64, closed: bool, expected: Want) {
        assert_eq!(cursor.want(size, closed, 100, 250), expected);
    }

    #[test]
    fn whole_lines_are_read_by_the_chunk() {
        let mut cursor = Cursor::at(7, 1000);
        check(&cursor, 1000, false, Want::Nothing);
        check(&cursor, 1040, false, Want::Lines { bytes: 40 });
        check(&cursor, 1400, false, Want::Lines { bytes: 100 });
        cursor.handle_lines(3, 90, 100, true);
        assert_eq!(
            (cursor.line(), cursor.byte(), cursor.searched()),
            (10, 1090, 1100)
        );
        check(&cursor, 1100, false, Want::Nothing);
        check(&cursor, 1101, false, Want::Lines { bytes: 11 });
        cursor.handle_lines(1, 4, 11, false);
        assert_eq!((cursor.byte(), cursor.searched()), (1094, 1094));
    }

    #[test]
    fn the_end_of_a_long_line_is_searched_for_once() {
        let mut cursor = Cursor::default();
        cursor.handle_lines(0, 0, 100, true);
        check(&cursor, 300, false, Want::Search { bytes: 100 });
        cursor.handle_searched(100, None);
        check(&cursor, 230, false, Want::Search { bytes: 30 });
        cursor.handle_searched(30, Some(9));
        check(
            &cursor,
            230,
            false,
            Want::Line {
                bytes: 210,
                newline: true,
            },
        );
        cursor.handle_lines(1, 210, 210, true);
        check(&cursor, 230, false, Want::Lines { bytes: 20 });
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped() {
        let mut cursor = Cursor::default();
        cursor.handle_lines(0, 0, 100, true);
        cursor.handle_searched(100, None);
        cursor.handle_searched(100, Some(51));
        check(&cursor, 300, false, Want::Skip { end: 252 });
        cursor.handle_skipped(252);
        assert_eq!(cursor, Cursor::at(1, 252));
    }

    #[test]
    fn a_last_line_without_newline_is_a_line_once_the_file_is_closed() {
        let mut cursor = Cursor::default();
        cursor.handle_lines(0, 0, 30, true);
        check(&cursor, 30, false, Want::Nothing);
        assert!(cursor.has_tail(30) && !cursor.has_unread(30));
        let line = Want::Line {
            bytes: 30,
            newline: false,
        };
        check(&cursor, 30, true, line);
    }

    #[test]
    fn a_file_that_shrank_below_what_was_fed_is_told_apart() {
        let mut cursor = Cursor::default();
        cursor.handle_lines(1, 50, 80, true);
        assert!(cursor.handle_shrunk(60));
        assert_eq!(cursor.searched(), 60);
        assert!(!cursor.handle_shrunk(49));
    }
}
