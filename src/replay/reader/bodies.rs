//! Lines that are too long for memory. They are scanned in pieces and sent to the workers without
//! their values; the lanes request the values in pieces while they send them.
//!
//! ```text
//!  scan, one piece a step ──▶ Batch: head, length, hashes ──▶ lane ── request ──▶ a piece ──▶ lane
//!                                                          … SegmentDone: the line is forgotten
//! ```
//!
//! However long a line is and however slow its backend, it costs its backend [`BODY_PIECES_MAX`]
//! pieces, and other backends nothing (G6, G7). The log is read through the descriptor by which it
//! was scanned, which stays open until the line is settled, so deleting the log does no harm.
//! Changing it does: then the bytes differ from those that were scanned, and the lane learns that
//! before it has sent the last of them (G12).

use std::io;

use crate::binlog::long_line::Scanned;
use crate::clock::Now;
use crate::limits::{BODY_PIECES_MAX, LONG_LINES_MAX};
use crate::replay::chunk::{Chunk, Share};
use crate::replay::disk::{Disk, read_fully};
use crate::replay::messages::{BodyRequest, WorkerMessage};
use crate::replay::outbox::After;
use crate::replay::reader::LogReader;
use crate::replay::reader::begin::scratch;
use crate::replay::reader::feed::Step;
use crate::replay::reader::long_lines::Scan;

impl<D: Disk> LogReader<D> {
    /// Continues to scan the line of `bytes` bytes at the file's cursor, and emits it at its end.
    pub(super) fn scan(
        &mut self,
        at: usize,
        index: usize,
        bytes: usize,
        newline: bool,
        now: Now,
    ) -> io::Result<Step> {
        let lines = match failpoint!(OneLongLineForAll) {
            false => self.sources[at].bodies.len(),
            true => {
                self.sources
                    .iter()
                    .map(|source| source.bodies.len())
                    .sum::<usize>()
                    * LONG_LINES_MAX
            }
        };
        // Its head needs a chunk.
        let has_credit = self.has_credit(at, self.bounds.chunk_bytes_min);
        if self.lines_left(at) == 0 || lines >= self.sources[at].bodies.len_max() || !has_credit {
            return Ok(Step::NoCredit);
        }
        let chunk_bytes = self.chunk_bytes();
        let file = self.sources[at].catalog.file_mut(index);
        let (Some(log), Some(begun)) = (&file.log, &mut file.begun) else {
            return Ok(Step::Done);
        };
        let (from, end) = (begun.cursor.byte(), begun.cursor.byte() + bytes as u64);
        let is_of_line = |scan: &Scan| (scan.from, scan.end) == (from, end);
        if !begun.scan.as_ref().is_some_and(is_of_line) {
            begun.scan = Some(Scan::new(from, end));
        }
        let scan = begun.scan.as_mut().expect("it was begun just now");
        let text_end = end - u64::from(newline);
        let left = usize::try_from(text_end - scan.at).unwrap_or(usize::MAX);
        let into = scratch(&mut self.scratch, left.min(chunk_bytes));
        let read = read_fully(&**log, scan.at, into)?;
        if read == 0 && left > 0 {
            return self.handle_missing(at, now);
        }
        scan.scanner.push(&into[..read]);
        scan.at += read as u64;
        if scan.at < text_end {
            return Ok(Step::Done);
        }
        let scanned: Scanned = begun.scan.take().expect("it is here").scanner.finish();
        self.emit_long(at, index, scanned, bytes, newline, now);
        Ok(Step::Done)
    }

    /// Sends a lane the piece of a body that it has requested. `None` means that no request can be
    /// served now.
    pub(super) fn give_body(&mut self, at: usize, now: Now) -> Option<Step> {
        let source = &mut self.sources[at];
        let ask = *source.bodies.asks.front()?;
        if let Some(until) = source.bodies.reading.waits_until(now) {
            return Some(Step::Until(until));
        }
        if source.bodies.pieces >= BODY_PIECES_MAX {
            return None;
        }
        source.bodies.asks.pop_front();
        if !source.bodies.await_piece(&ask) {
            return Some(Step::Done);
        }
        match self.read_piece(at, ask) {
            Ok(piece) => {
                self.handle_readable_body(at);
                self.send_piece(ask, piece);
                Some(Step::Done)
            }
            Err(error) => Some(self.handle_failing_body(at, ask, &error, now)),
        }
    }

    /// Reads a piece that is awaited. `None`: the log has not got it any more.
    fn read_piece(&mut self, at: usize, ask: BodyRequest) -> io::Result<Option<Share>> {
        let piece_bytes = self.bounds.piece_bytes(self.share_bytes());
        let budget_bytes = self.settings.memory_budget_bytes;
        let source = &mut self.sources[at];
        let line = source.bodies.line_mut(ask.segment).expect("it is awaited");
        let place = line.record.piece(ask.from, piece_bytes);
        self.step_bytes = place.bytes;
        let mut buffer = self.buffers.take_piece(place.bytes, budget_bytes);
        let into = &mut buffer[..place.bytes];
        let read = match read_fully(&*line.log, line.at + place.at, into) {
            Ok(read) => read,
            Err(error) => {
                self.buffers.give(buffer, budget_bytes);
                return Err(error);
            }
        };
        let decoded = base64_simd::STANDARD.decode_inplace(&mut buffer[..read]);
        let decoded = decoded.ok().filter(|_| read == place.bytes);
        let value = decoded.and_then(|decoded| decoded.get(place.skip..));
        let value = value.filter(|value| line.given.push(value, &line.record));
        let bytes = value.map_or(0, |value| value.len());
        if bytes == 0 {
            let (backend, file) = (&source.info.name, &line.name);
            tracing::warn!(%backend, %file, "the log was changed under us: a long line of it that \
                waited to be sent is not what was read; it is rejected");
            self.buffers.give(buffer, budget_bytes);
            return Ok(None);
        }
        source.bodies.pieces += 1;
        Ok(Some(Share {
            chunk: Chunk::of_body(buffer, ask.backend),
            at: place.skip,
            len: bytes,
        }))
    }

    /// Sends a lane its piece. `None`: the log has not got it any more.
    pub(super) fn send_piece(&mut self, ask: BodyRequest, piece: Option<Share>) {
        self.outbox
            .after(After::Checkpointer)
            .worker(ask.reader.worker, WorkerMessage::Body(ask.reader, piece));
    }
}
