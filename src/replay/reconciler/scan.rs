//! Reads the keys of finished logs, a piece at a time.

use std::io;
use std::sync::Arc;

use memchr::memchr;

use crate::binlog::line_start::{LineStart, START_BYTES_MAX, decode_start};
use crate::limits::{RECONCILE_MEMBER_BYTES_MAX, RECONCILE_READ_BYTES};
use crate::reconcile::key::{KeyRef, Logged};
use crate::reconcile::keys::Keys;
use crate::replay::disk::{Area, Disk, OpenFile};
use crate::replay::messages::FinishedLog;

/// A line's prefix is shorter than this.
const PREFIX_BYTES_MAX: usize = 4096;

/// Of a line that is longer, no more is looked at.
const LINE_BYTES_KEPT: usize = START_BYTES_MAX + PREFIX_BYTES_MAX;

/// How far the reading has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ScanStep {
    More,
    /// This log is not there any more, or is another one by now. There may be more.
    Gone(Arc<str>),
    /// Every log was read to its end.
    All,
}

/// One pass over some logs.
#[derive(Debug)]
pub(super) struct Scan<L> {
    /// The log that is read: its place, and the open file.
    log: (usize, Option<L>),
    offset: u64,
    /// A line whose end has not been read yet.
    line: Vec<u8>,
    /// Whether the rest of a long line is passed over.
    is_skipping: bool,
    piece: Vec<u8>,
    decoded: Vec<u8>,
}

impl<L> Default for Scan<L> {
    fn default() -> Self {
        Self {
            log: (0, None),
            offset: 0,
            line: Vec::new(),
            is_skipping: false,
            piece: Vec::new(),
            decoded: Vec::new(),
        }
    }
}

/// What a pass takes keys into.
pub(super) struct KeySink<'a> {
    pub(super) keys: &'a mut Keys,
    /// Records whose key has no lookup.
    pub(super) without_lookup: &'a mut u64,
    pub(super) written_unix: fn(&[u8]) -> Option<u64>,
}

impl<L: OpenFile> Scan<L> {
    /// The log that is read now.
    pub(super) fn log<'a>(&self, logs: &'a [FinishedLog]) -> Option<&'a FinishedLog> {
        logs.get(self.log.0)
    }

    /// Reads the next piece.
    ///
    /// # Errors
    /// What the disk says; the next call tries again.
    pub(super) fn step<D: Disk<File = L>>(
        &mut self,
        backend: &str,
        logs: &[FinishedLog],
        disk: &mut D,
        into: &mut KeySink<'_>,
    ) -> io::Result<ScanStep> {
        let Some(wanted) = self.log(logs) else {
            return Ok(ScanStep::All);
        };
        if self.log.1.is_none() {
            match disk.open(Area::Logs, backend, &wanted.name) {
                Ok(log) if log.meta()?.key() == wanted.key => {
                    self.log.1 = Some(log);
                    return Ok(ScanStep::More);
                }
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
                Ok(_) | Err(_) => {
                    self.next_log();
                    return Ok(ScanStep::Gone(Arc::clone(&wanted.name)));
                }
            }
        }
        let log = self.log.1.as_ref().expect("it is open");
        let left = wanted.bytes - self.offset;
        let mut piece = std::mem::take(&mut self.piece);
        piece.resize(
            RECONCILE_READ_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX)),
            0,
        );
        let read = log.read_at(self.offset, &mut piece);
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(cause) => {
                self.piece = piece;
                return Err(cause);
            }
        };
        self.take(&piece[..bytes], into);
        self.piece = piece;
        self.offset += bytes as u64;
        if bytes == 0 || self.offset == wanted.bytes {
            self.end_line(into);
            self.next_log();
        }
        Ok(ScanStep::More)
    }

    fn next_log(&mut self) {
        self.log = (self.log.0 + 1, None);
        self.offset = 0;
        self.line.clear();
        self.is_skipping = false;
    }

    fn take(&mut self, mut bytes: &[u8], into: &mut KeySink<'_>) {
        while let Some(end) = memchr(b'\n', bytes) {
            let rest = &bytes[end + 1..];
            if self.line.is_empty() && !self.is_skipping {
                push(&bytes[..end], into, &mut self.decoded);
            } else {
                self.keep(&bytes[..end]);
                self.end_line(into);
            }
            bytes = rest;
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_KEPT - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.is_skipping |= bytes.len() > room;
    }

    fn end_line(&mut self, into: &mut KeySink<'_>) {
        push(&self.line, into, &mut self.decoded);
        self.line.clear();
        self.is_skipping = false;
    }
}

/// Takes a line's key, if it has a record. What has none was rejected.
fn push(line: &[u8], into: &mut KeySink<'_>, decoded: &mut Vec<u8>) {
    let line = &line[..line.len().min(LINE_BYTES_KEPT)];
    let Ok(start) = decode_start(line, decoded) else {
        return;
    };
    let LineStart {
        record,
        is_whole,
        payload_at,
    } = start;
    let key = KeyRef::of(&record).filter(|key| {
        let fits = is_whole && key.bytes() <= RECONCILE_MEMBER_BYTES_MAX;
        key.kind.has_value() || fits
    });
    let Some(key) = key else {
        *into.without_lookup += 1;
        return;
    };
    into.keys.push(key, || {
        // Only a ttl asks for it, and it costs more than the rest of the line.
        let written = match record.has_ttl() {
            true => (into.written_unix)(&line[..payload_at]),
            false => None,
        };
        let written = written.and_then(|unix| u32::try_from(unix).ok());
        Logged::of(&record, written.unwrap_or(0), is_whole)
    });
}

/// Reads the keys of a log, all of it. Gives how many of its records have no lookup.
///
/// # Errors
/// What the disk says.
pub(crate) fn read_keys<D: Disk>(
    disk: &mut D,
    backend: &str,
    name: &str,
    keys: &mut Keys,
    written_unix: fn(&[u8]) -> Option<u64>,
) -> io::Result<u64> {
    let log = disk.open(Area::Logs, backend, name)?;
    let meta = log.meta()?;
    let logs = [FinishedLog {
        name: name.into(),
        key: meta.key(),
        bytes: meta.bytes,
        modified_nanos: meta.modified_nanos,
    }];
    let mut without_lookup = 0;
    let mut into = KeySink {
        keys,
        without_lookup: &mut without_lookup,
        written_unix,
    };
    let mut scan = Scan::default();
    while scan.step(backend, &logs, disk, &mut into)? != ScanStep::All {}
    Ok(without_lookup)
}
