//! A backend's rejected.jsonl, within its limit.
//!
//! The process can be killed after a line is durable here and before the checkpoint that has it as
//! settled. Then the line is read again and rejected again. So the lines at the file's end are
//! remembered at the start, and such a line is counted but not written a second time.

use std::collections::HashSet;
use std::io;

use crate::binlog::long_line::line_digest;
use crate::ledger::backend::BackendLedger;
use crate::ledger::rejected::{self, Piece, RejectedLine};
use crate::limits::{
    CHUNK_BYTES_MAX, REJECTED_DETAIL_CHARS_MAX, REJECTED_KNOWN_BYTES_MAX, REJECTED_SHOWN_BYTES_MAX,
    REJECTED_SHOWN_MAX,
};
use crate::replay::checkpointer::open::read_exactly;
use crate::replay::checkpointer::requeue::requeue;
use crate::replay::checkpointer::store::{AppendFile, StoreError, doing};
use crate::replay::disk::{Area, Disk, read_fully};
use crate::replay::messages::{Filter, LineInLog, RejectedVerb, Rejection, Requeued};
use crate::status::control_request::{RejectedList, RejectedPlace};

/// How many lines of one write are logged one by one.
const TOLD_MAX: usize = 5;

/// See the module.
#[derive(Debug)]
pub(super) struct RejectedLog {
    file: AppendFile,
    known: Known,
    count: Count,
    encoded: Vec<u8>,
}

impl Default for RejectedLog {
    fn default() -> Self {
        Self {
            file: AppendFile::new(rejected::NAME),
            known: Known::default(),
            count: Count::default(),
            encoded: Vec::new(),
        }
    }
}

/// How many lines the file has, as of a length that it had.
#[derive(Debug, Default)]
struct Count {
    lines: u64,
    file_bytes: u64,
}

/// Lines that an earlier process has written and that may be rejected again.
#[derive(Debug, Default)]
struct Known {
    lines: HashSet<u128>,
    /// The file's length after our last write. If it differs, the file was moved away or changed,
    /// and these lines no longer count.
    file_bytes: u64,
}

impl Count {
    fn add(&mut self, piece: &[u8]) {
        self.lines += memchr::memchr_iter(b'\n', piece).count() as u64;
        self.file_bytes += piece.len() as u64;
    }
}

impl Known {
    /// Takes out what this line is known by if it is in the file already.
    fn take(&mut self, line: &RejectedLine) -> Option<u128> {
        if self.lines.is_empty() || failpoint!(RejectTwice) {
            return None;
        }
        // Older versions wrote no more of a log than its name.
        let mut ids = [rejected::place_id(line), rejected::name_id(line)].into_iter();
        ids.find(|id| self.lines.remove(id))
    }
}

impl RejectedLog {
    /// Remembers the lines at the file's end, which was just repaired.
    pub(super) fn remember(
        &mut self,
        disk: &mut impl Disk,
        backend: &str,
    ) -> Result<(), StoreError> {
        let file_bytes = self.file.bytes(disk, backend)?;
        let from = file_bytes.saturating_sub(REJECTED_KNOWN_BYTES_MAX);
        let end = read_exactly(disk, backend, from, file_bytes)?;
        // If it doesn't begin with the file, its first piece is the end of a line, which doesn't
        // parse and is skipped.
        let lines = rejected::pieces(&end).filter_map(|piece| match piece {
            Piece::Line(line) => Some(rejected::place_id(&line)),
            Piece::Faulty | Piece::Torn => None,
        });
        self.known = Known {
            lines: lines.collect(),
            file_bytes,
        };
        Ok(())
    }

    /// How many lines the file has. Only what is new of it is read. If it is shorter than it was,
    /// somebody took lines out, and all of it is.
    pub(super) fn lines(&mut self, disk: &mut impl Disk, backend: &str) -> Result<u64, StoreError> {
        let file_bytes = self.file.bytes(disk, backend)?;
        if file_bytes < self.count.file_bytes {
            self.count = Count::default();
        }
        while self.count.file_bytes < file_bytes {
            let from = self.count.file_bytes;
            let to = file_bytes.min(from + CHUNK_BYTES_MAX as u64);
            let piece = read_exactly(disk, backend, from, to)?;
            self.count.add(&piece);
        }
        Ok(self.count.lines)
    }

    /// Makes lines durable, from the first on and at least one, until the file has `bytes_max` or
    /// the write `write_bytes_max`. The last line may exceed a limit, since a limit is where no
    /// further line is begun. Returns how many lines it were.
    pub(super) fn write(
        &mut self,
        disk: &mut impl Disk,
        backend: &str,
        lines: impl Iterator<Item = (RejectedLine, Option<LineInLog>)>,
        write_bytes_max: usize,
        bytes_max: u64,
    ) -> Result<usize, StoreError> {
        let bytes = self.file.bytes(disk, backend)?;
        let room = bytes_max.saturating_sub(bytes);
        if room == 0 {
            return Err(StoreError::RejectedFull { bytes, bytes_max });
        }
        let write_bytes_max =
            usize::try_from(room).map_or(write_bytes_max, |room| room.min(write_bytes_max));
        if bytes != self.known.file_bytes {
            self.known.lines.clear();
        }
        self.encoded.clear();
        let (mut count, mut again, mut told) = (0, Vec::new(), Vec::new());
        for (mut line, in_log) in lines {
            if let Some(in_log) = in_log {
                match read_line(disk, backend, &mut line, in_log) {
                    Err(_) if count > 0 => break,
                    read => read.map_err(doing("read a line that is to be rejected"))?,
                }
            }
            count += 1;
            if let Some(id) = self.known.take(&line) {
                again.push(id);
                continue;
            }
            line.encode(&mut self.encoded);
            if told.len() < TOLD_MAX {
                let RejectedLine {
                    file,
                    line,
                    reason,
                    detail,
                    ..
                } = line;
                told.push((file, line, reason, detail));
            }
            if self.encoded.len() >= write_bytes_max {
                break;
            }
        }
        let written = if self.encoded.is_empty() {
            // The process that wrote them may have died before they were synced.
            self.file.sync(disk, backend)
        } else {
            self.file.append(disk, backend, &self.encoded)
        };
        if let Err(error) = written {
            // The next attempt begins with the same lines.
            self.known.lines.extend(again);
            return Err(error);
        }
        self.known.file_bytes = bytes + self.encoded.len() as u64;
        if self.count.file_bytes == bytes {
            self.count.add(&self.encoded);
        }
        // A line can have tens of megabytes; such a buffer is not kept.
        self.encoded.shrink_to(write_bytes_max);
        tell(backend, &told, count - again.len());
        Ok(count)
    }

    /// The lines that were rejected last, the newest first: as many as fit into what is read.
    pub(super) fn list(
        &mut self,
        disk: &mut impl Disk,
        backend: &str,
    ) -> Result<RejectedList, StoreError> {
        let left = self.lines(disk, backend)?;
        let file_bytes = self.file.bytes(disk, backend)?;
        let from = file_bytes.saturating_sub(REJECTED_SHOWN_BYTES_MAX);
        let end = read_exactly(disk, backend, from, file_bytes)?;
        let whole = match from {
            0 => &end[..],
            // Its first piece is the end of a line, or the whole of one.
            _ => memchr::memchr(b'\n', &end).map_or(&[][..], |first| &end[first + 1..]),
        };
        let lines = whole.split(|&byte| byte == b'\n').rev();
        let lines = lines.filter_map(|line| Some(place(line, RejectedLine::parse(line).ok()?)));
        Ok(RejectedList {
            lines: lines.take(REJECTED_SHOWN_MAX).collect(),
            left,
        })
    }

    /// Takes lines out. See [`requeue`].
    pub(super) fn requeue(
        &mut self,
        disk: &mut impl Disk,
        backend: &str,
        what: RejectedVerb,
        filter: &Filter,
        unix: u64,
    ) -> Result<Requeued, StoreError> {
        let bytes = self.file.bytes(disk, backend)?;
        let requeued = requeue(disk, backend, bytes, what, filter, unix)?;
        if requeued.done > 0 {
            self.file = AppendFile::new(rejected::NAME);
            self.known = Known::default();
            self.count = Count::default();
        }
        Ok(requeued)
    }
}

/// What is shown of a line.
fn place(bytes: &[u8], line: RejectedLine) -> RejectedPlace {
    RejectedPlace {
        id: rejected::show_id(rejected::id(bytes)),
        unix: line.unix,
        file: line.file,
        line: line.line,
        reason: line.reason,
        detail: line
            .detail
            .chars()
            .take(REJECTED_DETAIL_CHARS_MAX)
            .collect(),
    }
}

/// Completes `line` from its log. If the log does not have the line any more, only its first bytes
/// are kept, and the detail says so.
fn read_line(
    disk: &mut impl Disk,
    backend: &str,
    line: &mut RejectedLine,
    in_log: LineInLog,
) -> io::Result<()> {
    let bytes = usize::try_from(in_log.bytes).expect("a line's bytes fit the address space");
    let mut raw = vec![0; bytes];
    let whole = match disk.open(Area::Logs, backend, &line.file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
        Ok(log) => {
            let at = line.byte.expect("a line that is in its log has its place");
            let read = read_fully(&log, at, &mut raw)?;
            read == bytes && line_digest(&raw) == in_log.digest
        }
    };
    if whole {
        line.raw = raw;
    } else {
        let kept = line.raw.len();
        line.detail.push_str(&format!(
            "; its log has not got it any more: of its {bytes} bytes the first {kept} are kept"
        ));
    }
    Ok(())
}

/// Logs what was rejected; a few lines each with place and reason.
fn tell(backend: &str, told: &[(String, u64, String, String)], count: usize) {
    for (file, line, reason, cause) in told {
        tracing::warn!(
            backend,
            file,
            line,
            reason,
            cause,
            "a line is rejected in rejected.jsonl; nothing waits for it, and it can be replayed \
             when the cause is mended"
        );
    }
    let lines = count - told.len();
    if lines > 0 {
        tracing::warn!(
            backend,
            lines,
            "as many more lines are rejected in rejected.jsonl with those"
        );
    }
}

/// The line of `rejected.jsonl` for a rejection.
pub(super) fn rejected_line(
    backend: &str,
    rejection: &Rejection,
    ledger: &BackendLedger,
) -> RejectedLine {
    let place = ledger
        .line_place(rejection.segment, rejection.line)
        .expect("a line is rejected while it is in flight");
    RejectedLine {
        unix: rejection.unix,
        backend: backend.to_owned(),
        file: place.file.to_string(),
        line: place.line + 1,
        byte: rejection
            .offset
            .map(|offset| place.segment_byte + u64::from(offset)),
        log: Some(place.identity.key()),
        reason: rejection.reason.to_owned(),
        detail: rejection.detail.clone(),
        raw: rejection.raw.clone(),
    }
}
