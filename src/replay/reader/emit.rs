//! Turns a piece that was read into messages: the segment first, then its bad lines, then its
//! records by worker.
//!
//! Decoding overwrites a line, so the bytes of a bad line are read again before anything of its
//! piece is sent. If the disk fails then, the whole piece is read again later: a line is rejected
//! without its bytes only if they are gone (G1, G9).

use std::io;
use std::sync::Arc;

use crate::binlog::LineFault;
use crate::binlog::long_line::{Scanned, ValueDigest};
use crate::clock::Now;
use crate::ledger::file::Place;
use crate::ledger::identity::LastRead;
use crate::ledger::segment::NewSegment;
use crate::limits::LINE_TIME_BYTES_MAX;
use crate::replay::chunk::Chunk;
use crate::replay::disk::{Disk, last_read_at, read_fully};
use crate::replay::messages::{
    BackendMessage, Batch, LineInLog, LongBody, Origin, Rejection, WorkerMessage,
};
use crate::replay::outbox::After;
use crate::replay::reader::LogReader;
use crate::replay::reader::hour::last_clock_s;
use crate::replay::reader::long_lines::LongLine;
use crate::replay::reader::split::{Fault, Piece, Taken, is_settled, put_back};

/// A line that is rejected.
struct Refused {
    line: u32,
    offset: usize,
    code: &'static str,
    detail: String,
    raw: Vec<u8>,
    in_log: Option<LineInLog>,
}

impl Refused {
    fn new(fault: &Fault, raw: Vec<u8>) -> Self {
        let mut detail = fault.fault.to_string();
        if raw.len() < fault.span.len() {
            detail.push_str("; its bytes could not be read again");
        }
        Self {
            line: fault.line,
            offset: fault.span.start,
            code: fault.fault.code(),
            detail,
            raw,
            in_log: None,
        }
    }
}

impl<D: Disk> LogReader<D> {
    /// Emits the whole lines in the first `read` bytes of `buffer`, which were read at the file's
    /// cursor.
    pub(super) fn emit_lines(
        &mut self,
        at: usize,
        index: usize,
        mut buffer: Vec<u8>,
        read: usize,
        lines_max: u32,
        now: Now,
    ) -> io::Result<()> {
        let last_s = last_clock_s(&buffer[..read]);
        let Some(taken) = self.split(at, index, &mut buffer[..read], lines_max, false, now) else {
            self.give_buffer(buffer);
            return Ok(());
        };
        let refused = match self.refused(at, index, &taken) {
            Ok(refused) => refused,
            Err(error) => {
                self.give_buffer(buffer);
                return Err(error);
            }
        };
        if taken.lines > 0 {
            let origin = self.tell_segment(at, index, &buffer, &taken);
            for refused in refused {
                self.tell_rejected(at, &origin, refused, now);
            }
            self.give_records(at, &origin, buffer, None);
        } else {
            self.give_buffer(buffer);
        }
        self.book(at, index, &taken, read);
        self.look_at_hour(at, index, last_s);
        Ok(())
    }

    /// The lines of a piece that are to be rejected, with their bytes.
    fn refused(&mut self, at: usize, index: usize, taken: &Taken) -> io::Result<Vec<Refused>> {
        if self.splitter.faults.is_empty() {
            return Ok(Vec::new());
        }
        let mut raw = self.take_buffer(taken.bytes);
        let has = self.read_again(at, index, &mut raw[..taken.bytes]);
        let refused = has.map(|has| {
            let faults = std::mem::take(&mut self.splitter.faults);
            let with_bytes = |fault: &Fault| {
                let line = fault.span.start.min(has)..fault.span.end.min(has);
                Refused::new(fault, raw[line].to_vec())
            };
            faults.iter().map(with_bytes).collect()
        });
        self.give_buffer(raw);
        refused
    }

    /// Emits the one line in the first `bytes` bytes of `buffer`, which were read at the file's
    /// cursor.
    pub(super) fn emit_line(
        &mut self,
        at: usize,
        index: usize,
        mut buffer: Vec<u8>,
        bytes: usize,
        newline: bool,
        now: Now,
    ) -> io::Result<()> {
        let Some(taken) = self.split(at, index, &mut buffer[..bytes], 1, !newline, now) else {
            self.give_buffer(buffer);
            return Ok(());
        };
        match self.splitter.faults.pop() {
            None => {
                let origin = self.tell_segment(at, index, &buffer, &taken);
                self.give_records(at, &origin, buffer, None);
            }
            Some(fault) => {
                // The buffer itself goes to the checkpointer: there is no room for a second one of
                // its length.
                let size = buffer.len();
                let has = match self.read_again(at, index, &mut buffer[..bytes]) {
                    Ok(has) => has,
                    Err(error) => {
                        self.give_buffer(buffer);
                        return Err(error);
                    }
                };
                let origin = self.tell_segment(at, index, &buffer, &taken);
                self.buffers.forget(size);
                buffer.truncate(has.min(fault.span.end));
                self.tell_rejected(at, &origin, Refused::new(&fault, buffer), now);
            }
        }
        self.book(at, index, &taken, bytes);
        Ok(())
    }

    /// Emits the line of `bytes` bytes at the file's cursor, which has been scanned and is not in
    /// memory.
    pub(super) fn emit_long(
        &mut self,
        at: usize,
        index: usize,
        scanned: Scanned,
        bytes: usize,
        newline: bool,
        now: Now,
    ) {
        let Scanned {
            start,
            digest,
            record,
        } = scanned;
        let line = LineInLog {
            bytes: bytes as u64 - u64::from(newline),
            digest,
        };
        let taken = Taken {
            lines: 1,
            bytes,
            all: true,
            last_read: None,
        };
        let source = &self.sources[at];
        let file = source.catalog.file(index);
        let begun = file.begun.as_ref().expect("what is fed was begun");
        let (first_byte, log, name) = (
            begun.cursor.byte(),
            file.log.clone().expect("what is scanned is open"),
            Arc::clone(&file.name),
        );
        let piece = self.piece(at, index, 1, !newline, now);
        let piece = piece.expect("what is fed was begun");
        self.splitter.clear();
        let origin = self.announce_segment(at, index, &start, &taken);
        self.sources[at].credit.charge_long(bytes as u64);
        match record {
            Ok(record) => {
                let kept = start.len().min(self.bounds.chunk_bytes_min / 4);
                let prefix_bytes = usize::try_from(record.payload_at).unwrap_or(usize::MAX);
                let prefix = &start[..start.len().min(prefix_bytes)];
                let start = &start[..kept];
                self.splitter
                    .take_long(prefix, &record, start.len(), &piece);
                let mut buffer = self.take_buffer(start.len() + record.head.len());
                buffer[..start.len()].copy_from_slice(start);
                buffer[start.len()..][..record.head.len()].copy_from_slice(&record.head);
                let body = LongBody {
                    bytes: u32::try_from(record.value_bytes).expect("a line has less than 4 GiB"),
                    order: record.order,
                    line,
                };
                let long = LongLine {
                    log,
                    file: origin.file,
                    name,
                    at: first_byte,
                    record,
                    given: ValueDigest::default(),
                };
                self.sources[at].bodies.add(origin.segment, Some(long));
                self.give_records(at, &origin, buffer, Some(body));
            }
            Err(fault) => {
                self.sources[at].bodies.add(origin.segment, None);
                let refused = Refused {
                    line: 0,
                    offset: 0,
                    code: fault.code(),
                    detail: fault.to_string(),
                    raw: start,
                    in_log: Some(line),
                };
                self.tell_rejected(at, &origin, refused, now);
            }
        }
        self.book(at, index, &taken, bytes);
    }

    /// Emits a line up to `end` that is not read: it is settled, or longer than any may be. `head`
    /// is its first bytes.
    pub(super) fn emit_skipped(
        &mut self,
        at: usize,
        index: usize,
        head: Vec<u8>,
        end: u64,
        now: Now,
    ) {
        let file = self.sources[at].catalog.file_mut(index);
        let Some(begun) = &mut file.begun else {
            return;
        };
        let bytes = end - begun.cursor.byte();
        let is_settled = is_settled(&mut begun.settled, begun.cursor.line());
        let taken = Taken {
            lines: 1,
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            all: true,
            last_read: None,
        };
        self.splitter.clear();
        if is_settled {
            self.splitter.settled_before.push(0);
        }
        let origin = self.tell_segment(at, index, &head, &taken);
        if !is_settled {
            let fault = LineFault::TooLong;
            let detail = format!(
                "{fault}; it has {bytes}, of which the first {} are kept",
                head.len()
            );
            let refused = Refused {
                line: 0,
                offset: 0,
                code: fault.code(),
                detail,
                raw: head,
                in_log: None,
            };
            self.tell_rejected(at, &origin, refused, now);
        }
        let file = self.sources[at].catalog.file_mut(index);
        if let Some(begun) = &mut file.begun {
            begun.cursor.handle_skipped(end);
        }
        self.count_fed(at, index, bytes);
    }

    fn split(
        &mut self,
        at: usize,
        index: usize,
        bytes: &mut [u8],
        lines_max: u32,
        tail_is_line: bool,
        now: Now,
    ) -> Option<Taken> {
        let piece = self.piece(at, index, lines_max, tail_is_line, now)?;
        let file = self.sources[at].catalog.file_mut(index);
        let begun = file.begun.as_mut()?;
        Some(self.splitter.split(bytes, &piece, &mut begun.settled))
    }

    /// The piece at the file's cursor.
    fn piece(
        &self,
        at: usize,
        index: usize,
        lines_max: u32,
        tail_is_line: bool,
        now: Now,
    ) -> Option<Piece> {
        let source = &self.sources[at];
        let file = source.catalog.file(index);
        let begun = file.begun.as_ref()?;
        Some(Piece {
            first_line: begun.cursor.line(),
            first_byte: begun.cursor.byte(),
            sent: begun.sent_from(begun.cursor.line()),
            sent_below: file.sent_below,
            old_below: file.old_below,
            outages: source.outages.clone(),
            has_times: !source.zone.is_unclear(),
            now,
            tail_is_line,
            lines_max,
            lanes: source.lanes,
        })
    }

    /// Announces a segment to the checkpointer that begins at the file's cursor with `bytes`, and
    /// charges the backend's credit.
    fn tell_segment(&mut self, at: usize, index: usize, bytes: &[u8], taken: &Taken) -> Origin {
        let credit = &mut self.sources[at].credit;
        credit.charge(taken.lines, taken.bytes as u64);
        self.announce_segment(at, index, bytes, taken)
    }

    /// The last bytes of all that was read of a file, what is taken now included. They are read
    /// again if they are not at hand; if that fails, so will what is read next.
    fn note_read(&mut self, at: usize, index: usize, taken: &Taken) -> LastRead {
        let file = self.sources[at].catalog.file_mut(index);
        let (Some(log), Some(begun)) = (&file.log, &mut file.begun) else {
            return LastRead::default();
        };
        let end = begun.cursor.byte() + taken.bytes as u64;
        let read_again = || last_read_at(&**log, end).ok();
        if let Some(last_read) = taken.last_read.or_else(read_again) {
            begun.handle_read(last_read);
        }
        begun.last_read
    }

    fn announce_segment(&mut self, at: usize, index: usize, bytes: &[u8], taken: &Taken) -> Origin {
        let last_read = self.note_read(at, index, taken);
        let segment = self.new_segment();
        let source = &mut self.sources[at];
        let file = source.catalog.file(index);
        let begun = file.begun.as_ref().expect("what is fed was begun");
        let prefix = &bytes[..bytes.len().min(LINE_TIME_BYTES_MAX)];
        let written = match source.zone.is_unclear() {
            true => None,
            false => (self.rules.written_unix)(prefix),
        };
        let first = Place {
            line: begun.cursor.line(),
            byte: begun.cursor.byte(),
        };
        let origin = Origin {
            segment,
            file: begun.file,
            log: Arc::clone(&file.name),
            first_line: first.line,
        };
        let backend = source.info.id;
        let segment = NewSegment {
            id: segment,
            file: begun.file,
            first,
            end_byte: first.byte + taken.bytes as u64,
            lines: taken.lines,
            settled_before: std::mem::take(&mut self.splitter.settled_before),
            written_unix: written.unwrap_or_else(|| file.written_unix()),
            last_read,
        };
        if !failpoint!(ForgetAnnounced) {
            let counters = &source.info.counters;
            counters.announced_unix.set(segment.written_unix);
            counters.announced_bytes.add(taken.bytes as u64);
        }
        self.outbox
            .backend_message(backend, BackendMessage::Segment { segment });
        origin
    }

    /// Reads the bytes at the file's cursor again, since decoding has overwritten them; returns how
    /// many there were. If that fails, nothing of the piece has been sent yet, and it is as if it
    /// had never been split.
    fn read_again(&mut self, at: usize, index: usize, into: &mut [u8]) -> io::Result<usize> {
        let file = self.sources[at].catalog.file_mut(index);
        let (Some(log), Some(begun)) = (&file.log, &mut file.begun) else {
            return Ok(0);
        };
        let read = read_fully(&**log, begun.cursor.byte(), into);
        if read.is_err() {
            put_back(
                &mut begun.settled,
                begun.cursor.line(),
                &self.splitter.settled_before,
            );
            self.splitter.clear();
        }
        read
    }

    fn tell_rejected(&mut self, at: usize, origin: &Origin, refused: Refused, now: Now) {
        let rejection = Rejection {
            file: origin.file,
            segment: origin.segment,
            line: refused.line,
            offset: u32::try_from(refused.offset).ok(),
            reason: refused.code,
            detail: refused.detail,
            raw: refused.raw,
            in_log: refused.in_log,
            unix: now.unix,
        };
        self.outbox.backend_message(
            self.sources[at].info.id,
            BackendMessage::Rejected(Box::new(rejection)),
        );
    }

    /// Makes a chunk of `buffer` and sends its records to their workers. `body` describes the value
    /// of a record whose value is not in the chunk.
    fn give_records(
        &mut self,
        at: usize,
        origin: &Origin,
        buffer: Vec<u8>,
        body: Option<LongBody>,
    ) {
        if !self.splitter.has_records() {
            return self.give_buffer(buffer);
        }
        let source = &mut self.sources[at];
        let (backend, epoch) = (source.info.id, source.epoch);
        source.credit.chunk_bytes += buffer.len();
        self.chunks += 1;
        let chunk = Chunk::new(buffer, backend);
        for (worker, records) in self.splitter.records.iter_mut().enumerate() {
            if records.is_empty() {
                continue;
            }
            let batch = Batch {
                backend,
                epoch,
                origin: origin.clone(),
                chunk: Arc::clone(&chunk),
                records: std::mem::replace(records, self.links.fed_pool.take()),
                body,
            };
            self.outbox
                .after(After::Checkpointer)
                .worker(worker, WorkerMessage::Batch(batch));
        }
        self.links.returns.release(chunk);
    }

    /// Advances the cursor by what was emitted, out of `read` bytes.
    fn book(&mut self, at: usize, index: usize, taken: &Taken, read: usize) {
        let file = self.sources[at].catalog.file_mut(index);
        if let Some(begun) = &mut file.begun {
            begun
                .cursor
                .handle_lines(taken.lines, taken.bytes, read, taken.all);
        }
        self.count_fed(at, index, taken.bytes as u64);
    }

    fn count_fed(&mut self, at: usize, index: usize, bytes: u64) {
        let source = &mut self.sources[at];
        source.info.counters.read_bytes.add(bytes);
        source.count_file(index);
    }
}
