//! From a piece that was read to messages: the segment first, then its bad lines, then its records by worker.
//!
//! Decoding overwrites a line, so a bad one's bytes are read again before anything of its piece is told. Where the disk fails then, the
//! whole piece is read again later: a line is set aside without its bytes only if they are gone (G1, G9).

use std::io;
use std::sync::Arc;

use crate::binlog::LineFault;
use crate::clock::Now;
use crate::limits::LINE_TIME_BYTES_MAX;
use crate::replay::chunk::Chunk;
use crate::replay::disk::Disk;
use crate::replay::feeder::Feeder;
use crate::replay::feeder::begin::read_fully;
use crate::replay::feeder::split::{Fault, Piece, Taken, is_settled, put_back};
use crate::replay::messages::{Batch, KeeperMail, Origin, Rejection, Segment};

/// A line of it that is set aside.
struct Refused {
    line: u32,
    offset: usize,
    code: &'static str,
    detail: String,
    raw: Vec<u8>,
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
        }
    }
}

impl<D: Disk> Feeder<D> {
    /// Feeds the whole lines in the first `read` bytes of `buffer`, which stand at the file's cursor.
    pub(super) fn emit_lines(
        &mut self,
        at: usize,
        index: usize,
        mut buffer: Vec<u8>,
        read: usize,
        lines_max: u32,
        now: Now,
    ) -> io::Result<()> {
        let Some(taken) = self.split(at, index, &mut buffer[..read], lines_max, false, now) else {
            self.drop_buffer(buffer);
            return Ok(());
        };
        let refused = match self.refused(at, index, &taken) {
            Ok(refused) => refused,
            Err(error) => {
                self.drop_buffer(buffer);
                return Err(error);
            }
        };
        if taken.lines > 0 {
            let origin = self.tell_segment(at, index, &buffer, &taken);
            for refused in refused {
                self.tell_rejected(at, &origin, refused, now);
            }
            self.give_records(at, &origin, buffer);
        } else {
            self.drop_buffer(buffer);
        }
        self.book(at, index, &taken, read);
        Ok(())
    }

    /// The lines of a piece that are to be set aside, with their bytes.
    fn refused(&mut self, at: usize, index: usize, taken: &Taken) -> io::Result<Vec<Refused>> {
        if self.splitter.faults.is_empty() {
            return Ok(Vec::new());
        }
        let mut raw = self.buffers.take(taken.bytes, self.kept_bytes_max());
        let has = self.read_again(at, index, &mut raw[..taken.bytes]);
        let refused = has.map(|has| {
            let faults = std::mem::take(&mut self.splitter.faults);
            let with_bytes = |fault: &Fault| {
                let line = fault.span.start.min(has)..fault.span.end.min(has);
                Refused::new(fault, raw[line].to_vec())
            };
            faults.iter().map(with_bytes).collect()
        });
        self.buffers.give(raw, self.kept_bytes_max());
        refused
    }

    /// Feeds the one line that is the first `bytes` bytes of `buffer` and stands at the file's cursor.
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
            self.drop_buffer(buffer);
            return Ok(());
        };
        match self.splitter.faults.pop() {
            None => {
                let origin = self.tell_segment(at, index, &buffer, &taken);
                self.give_records(at, &origin, buffer);
            }
            Some(fault) => {
                // The buffer itself goes to the keeper: there is no room for a second one as long as this.
                let size = buffer.len();
                let has = match self.read_again(at, index, &mut buffer[..bytes]) {
                    Ok(has) => has,
                    Err(error) => {
                        self.drop_buffer(buffer);
                        return Err(error);
                    }
                };
                let origin = self.tell_segment(at, index, &buffer, &taken);
                if self.long_line.is_held(&buffer) {
                    self.long_line.hand_on();
                } else {
                    self.buffers.forget(size);
                }
                buffer.truncate(has.min(fault.span.end));
                self.tell_rejected(at, &origin, Refused::new(&fault, buffer), now);
            }
        }
        self.book(at, index, &taken, bytes);
        Ok(())
    }

    /// Tells of a line up to `end` that is not read: it is settled, or longer than any may be. `head`: its first bytes.
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
        let lanes = self.sources[at].lanes;
        let outages = self.sources[at].outages.clone();
        let file = self.sources[at].catalog.file_mut(index);
        let begun = file.begun.as_mut()?;
        let piece = Piece {
            first_line: begun.cursor.line(),
            first_byte: begun.cursor.byte(),
            sent_below: file.sent_below,
            old_below: file.old_below,
            outages,
            now,
            tail_is_line,
            lines_max,
            lanes,
        };
        Some(self.splitter.split(bytes, &piece, &mut begun.settled))
    }

    /// Tells the keeper of a segment that begins at the file's cursor and with `bytes`, and charges the backend's credit.
    fn tell_segment(&mut self, at: usize, index: usize, bytes: &[u8], taken: &Taken) -> Origin {
        let segment = self.new_segment();
        let source = &mut self.sources[at];
        let file = source.catalog.file(index);
        let begun = file.begun.as_ref().expect("what is fed was begun");
        let written = (self.rules.written_unix)(&bytes[..bytes.len().min(LINE_TIME_BYTES_MAX)]);
        let first_byte = begun.cursor.byte();
        let origin = Origin {
            segment,
            file: begun.file,
            log: Arc::clone(&file.name),
            first_line: begun.cursor.line(),
        };
        let segment = Segment {
            segment,
            backend: source.info.id,
            file: begun.file,
            first_line: origin.first_line,
            first_byte,
            end_byte: first_byte + taken.bytes as u64,
            lines: taken.lines,
            settled_before: std::mem::take(&mut self.splitter.settled_before),
            written_unix: written.unwrap_or_else(|| file.written_unix()),
        };
        source.credit.charge(taken.lines, taken.bytes as u64);
        self.outbox.tell_keeper(KeeperMail::Segment(segment));
        origin
    }

    /// Reads the bytes at the file's cursor again, since decoding has overwritten them; gives how many there were. Where that fails, nothing of
    /// the piece has been told yet, and it is as if it had never been split.
    fn read_again(&mut self, at: usize, index: usize, into: &mut [u8]) -> io::Result<usize> {
        let file = self.sources[at].catalog.file_mut(index);
        let (Some(log), Some(begun)) = (&file.log, &mut file.begun) else {
            return Ok(0);
        };
        let read = read_fully(&mut self.disk, log, begun.cursor.byte(), into);
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
            backend: self.sources[at].info.id,
            file: origin.file,
            segment: origin.segment,
            line: refused.line,
            offset: u32::try_from(refused.offset).ok(),
            reason: refused.code,
            detail: refused.detail,
            raw: refused.raw,
            unix: now.unix,
        };
        self.outbox
            .tell_keeper(KeeperMail::Rejected(Box::new(rejection)));
    }

    /// Makes a chunk of `buffer` and gives its records to their workers.
    fn give_records(&mut self, at: usize, origin: &Origin, buffer: Vec<u8>) {
        if !self.splitter.has_records() {
            return self.drop_buffer(buffer);
        }
        let source = &mut self.sources[at];
        let (backend, epoch) = (source.info.id, source.epoch);
        if !self.long_line.is_held(&buffer) {
            source.credit.chunk_bytes += buffer.len();
        }
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
                records: std::mem::replace(records, self.fed_spares.take()),
            };
            self.outbox.give_worker(worker, batch);
        }
        self.returns.release(chunk);
    }

    /// Books what was fed, out of `read` bytes.
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
