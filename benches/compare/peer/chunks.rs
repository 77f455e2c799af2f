//! The log in large chunks of whole lines, decoded where they lie.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use hustdbsync::internals::binlog::line;
use hyper::body::Bytes;

const CHUNK_BYTES: usize = 1 << 20;

/// Reads a file chunk by chunk.
pub(super) struct Chunks {
    file: File,
    /// The beginning of the line that the last chunk ended in.
    rest: Vec<u8>,
}

/// Octets, shared by all records in them, and where those are.
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) records: Vec<Range<usize>>,
}

impl Chunks {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            rest: Vec::new(),
        })
    }

    /// The next chunk; none at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Chunk>> {
        let mut text = std::mem::take(&mut self.rest);
        text.reserve_exact(CHUNK_BYTES);
        let read = (&self.file)
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut text)?;
        if read == 0 {
            return Ok(None);
        }
        let whole = memchr::memrchr(b'\n', &text).map_or(0, |newline| newline + 1);
        self.rest = text[whole..].to_vec();
        text.truncate(whole);
        let mut records = Vec::new();
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &text[start..]) {
            let record = line::decode_in_place(&mut text[start..start + length])
                .map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
            records.push(start + record.start..start + record.end);
            start += length + 1;
        }
        Ok(Some(Chunk {
            bytes: Bytes::from(text),
            records,
        }))
    }
}
