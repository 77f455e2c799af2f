//! Lines of a log, one at a time, in bounded memory whatever the file holds.

use std::io::{self, BufRead, BufReader, Read};

use crate::limits::LINE_BYTES_MAX;

/// Bytes asked for at once.
const READ_BYTES: usize = 256 * 1024;
/// A buffer that grew beyond this for one long line is given back with the next.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Reads lines.
pub(super) struct Lines<R> {
    input: BufReader<R>,
    line: Vec<u8>,
    line_bytes_max: usize,
    /// Lines read so far.
    count: u64,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Its number, from 1.
    pub(super) number: u64,
    /// Its bytes, without newline, to be decoded in place. None where there are more than any line
    /// of HA's has: what they were is not kept.
    pub(super) text: Option<&'a mut [u8]>,
    /// Bytes that it takes in the log, its newline too.
    pub(super) log_bytes: u64,
    /// Whether there was a newline. Only a last line can have none.
    pub(super) ended: bool,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self::with_bound(input, LINE_BYTES_MAX)
    }

    /// The same for lines of so many bytes.
    pub(super) fn with_bound(input: R, line_bytes_max: usize) -> Self {
        Self {
            input: BufReader::with_capacity(READ_BYTES, input),
            line: Vec::new(),
            line_bytes_max,
            count: 0,
        }
    }

    /// Whether the next line has to be read first, which may take its time.
    pub(super) fn is_drained(&self) -> bool {
        memchr::memchr(b'\n', self.input.buffer()).is_none()
    }

    /// The next line, none at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        self.line.shrink_to(KEPT_BYTES_MAX);
        let (mut length, mut ended) = (0, false);
        while !ended {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                break;
            }
            let end = memchr::memchr(b'\n', chunk);
            ended = end.is_some();
            let part = &chunk[..end.unwrap_or(chunk.len())];
            length += part.len();
            if length <= self.line_bytes_max {
                self.line.extend_from_slice(part);
            }
            let taken = part.len() + usize::from(ended);
            self.input.consume(taken);
        }
        if length == 0 && !ended {
            return Ok(None);
        }
        self.count += 1;
        Ok(Some(Line {
            number: self.count,
            text: (length <= self.line_bytes_max).then_some(&mut self.line[..]),
            log_bytes: length as u64 + u64::from(ended),
            ended,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `input`, of at most 5 bytes: `|` behind those that ended, `…` for those too
    /// long.
    fn check(input: &str, expected: &[&str]) {
        // One byte a read: no line arrives in one piece.
        struct Drops<'a>(&'a [u8]);
        impl Read for Drops<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = buffer.len().min(1);
                self.0.read(&mut buffer[..count])
            }
        }
        let mut dripping = Lines::with_bound(Drops(input.as_bytes()), 5);
        let mut whole = Lines::with_bound(input.as_bytes(), 5);
        assert_eq!(texts(&mut dripping), expected);
        assert_eq!(texts(&mut whole), expected);
    }

    fn texts(lines: &mut Lines<impl Read>) -> Vec<String> {
        let (mut texts, mut bytes) = (Vec::new(), 0);
        while let Some(line) = lines.next().unwrap() {
            bytes += line.log_bytes;
            assert_eq!(line.number, texts.len() as u64 + 1);
            let text = line.text.map_or("…".into(), |text| {
                String::from_utf8_lossy(text).into_owned()
            });
            texts.push(text + if line.ended { "|" } else { "" });
        }
        texts.push(bytes.to_string());
        texts
    }

    #[test]
    fn lines_come_one_by_one_the_empty_ones_too() {
        check("", &["0"]);
        check("\n", &["|", "1"]);
        check("a\n\nbc\n", &["a|", "|", "bc|", "6"]);
    }

    #[test]
    fn a_last_line_without_newline_is_a_line() {
        check("a\nbc", &["a|", "bc", "4"]);
        check("a\nbcdefg", &["a|", "…", "8"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_counted() {
        check("12345\n123456\nab\n", &["12345|", "…|", "ab|", "16"]);
    }
}
