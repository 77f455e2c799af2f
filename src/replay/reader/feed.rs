//! Reading logs in turns: which backend is next, which file, and how much of it.

use std::io;
use std::time::Duration;

use memchr::memchr;

use crate::clock::Now;
use crate::limits::{BODY_PIECES_MAX, OUTBOX_RETRY, REJECTED_HEAD_BYTES, SHARES_MIN};
use crate::replay::disk::{Disk, read_fully};
use crate::replay::outbox::After;
use crate::replay::reader::begin::scratch;
use crate::replay::reader::catalog::Next;
use crate::replay::reader::cursor::Want;
use crate::replay::reader::source::Source;
use crate::replay::reader::split::is_settled;
use crate::replay::reader::{LogReader, Wake};

/// What is done in one turn: eight large pieces, or the beginnings and ends of many small logs.
const UNITS_PER_TURN: usize = 64;

/// A piece of this many bytes is large: it counts for eight.
const LARGE_PIECE_BYTES: usize = 64 * 1024;
const LARGE_PIECE_UNITS: usize = 8;

/// How many small pieces are read before their messages are sent, as each send may wake every
/// thread.
const UNITS_SENT_TOGETHER: usize = 32;

/// What a piece of this many bytes counts for.
fn units(bytes: usize) -> usize {
    (1 + bytes * LARGE_PIECE_UNITS / LARGE_PIECE_BYTES).min(LARGE_PIECE_UNITS)
}

/// The result of a step for one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Something was done; there may be more.
    Done,
    /// Nothing before this monotonic instant, unless something comes.
    Until(Duration),
    /// Nothing, unless something of its own comes: an inotify event, a plan.
    Nothing,
    /// Nothing, unless credit comes: memory that it or another backend gives back, or lines of its
    /// own.
    NoCredit,
}

impl<D: Disk> LogReader<D> {
    /// Reads a few pieces, of the backends in turn.
    pub(super) fn poll_pieces(&mut self, now: Now, wake: &mut Wake) {
        self.count_read_for();
        let (mut done, mut unsent) = (0, 0);
        while done < UNITS_PER_TURN && (unsent > 0 || self.deliver()) && self.step(now, wake) {
            let units = units(std::mem::take(&mut self.step_bytes));
            done += units;
            let together = unsent + units;
            let is_enough = units == LARGE_PIECE_UNITS || together >= UNITS_SENT_TOGETHER;
            unsent = if is_enough { 0 } else { together };
        }
        wake.busy |= done >= UNITS_PER_TURN;
        if !self.outbox.deliver() {
            wake.busy = false;
            wake.at(now.after(OUTBOX_RETRY));
        }
    }

    /// Sends what there is room for. Returns whether checkpointer and workers have everything; what
    /// the controller has no room for keeps nobody from reading.
    fn deliver(&mut self) -> bool {
        self.outbox.deliver()
            || (self.outbox.has_all(After::Checkpointer) && self.outbox.has_all(After::Workers))
    }

    /// One step for the next backend that has something to do. Returns false if none has.
    fn step(&mut self, now: Now, wake: &mut Wake) -> bool {
        let mut from = self.first;
        for _ in 0..self.sources.awake_count() {
            let next = self.sources.first_awake(from);
            let Some(at) = next.or_else(|| self.sources.first_awake(0)) else {
                break;
            };
            from = at + 1;
            match self.step_source(at, now) {
                Step::Done => {
                    self.first = from;
                    return true;
                }
                Step::Until(until) => {
                    wake.at(until);
                    self.let_rest(at, until, now);
                }
                Step::Nothing => self.let_rest(at, Duration::MAX, now),
                Step::NoCredit => {}
            }
        }
        false
    }

    /// Lets a backend rest that has nothing to be read before `until`, unless something of its own
    /// comes. One that waits for something else as well stays awake.
    fn let_rest(&mut self, at: usize, until: Duration, now: Now) {
        if !self.sources[at].must_stay_awake() {
            let until = until.min(self.next_look(at, now));
            self.sources.rest(at, until);
        }
    }

    /// When a backend's folder or its open logs are looked at next.
    fn next_look(&self, at: usize, now: Now) -> Duration {
        let listed_at = self.sources[at].listing.due_at(now);
        let look_at = self.open_logs_due_at(at, now);
        look_at.map_or(listed_at, |look_at| look_at.min(listed_at))
    }

    /// Panics if a backend rests that has something to do, or rests for too long.
    #[cfg(debug_assertions)]
    pub(super) fn check_resting(&self, now: Now) {
        for (until, at, source) in self.sources.resting() {
            let name = &source.info.name;
            assert!(!source.must_stay_awake(), "{name} rests with work to do");
            assert!(
                until <= self.next_look(at, now),
                "{name} rests beyond a look"
            );
        }
    }

    fn step_source(&mut self, at: usize, now: Now) -> Step {
        self.close_finished(at, now);
        if let Some(step) = self.give_body(at, now) {
            return step;
        }
        let closed_after = self.settings.closed_after;
        let source = &mut self.sources[at];
        if !source.may_be_fed() {
            return Step::Nothing;
        }
        if let Some(until) = source.reading.waits_until(now) {
            return Step::Until(until);
        }
        let (index, step) = match source.catalog.poll_next(now, closed_after) {
            Next::Nothing => {
                // The log that could not be read is gone.
                self.note_faults(at, |faults| faults.reading = None);
                return Step::Nothing;
            }
            Next::Until(until) => return Step::Until(until),
            Next::Begin(index) => (index, self.begin(at, index, now)),
            Next::Read(index) => (index, self.read(at, index, now)),
        };
        match step {
            Ok(step) => {
                if step == Step::Done {
                    self.handle_readable(at);
                }
                step
            }
            Err(error) => self.handle_failure(at, index, &error, now),
        }
    }

    /// Continues to read a file: a piece of whole lines, or a step towards the end of a long one.
    fn read(&mut self, at: usize, index: usize, now: Now) -> io::Result<Step> {
        if !self.open(at, index, now)? {
            return Ok(Step::Nothing);
        }
        let was_unchecked = self.sources[at].catalog.file(index).is_unchecked();
        if !self.look(at, index, now)? {
            return Ok(Step::Done);
        }
        // A last line without newline is read when its log is closed.
        let closed_after = self.settings.closed_after;
        let is_closed = self.sources[at].catalog.file(index).quiet_for(now) >= closed_after;
        if !self.identify(at, index, is_closed && !failpoint!(IdentifyLate))? {
            return Ok(Step::Done);
        }
        if self.sources[at].catalog.file(index).lacks_lines() {
            let loss = self.sources[at].catalog.handle_rewritten(index);
            self.handle_loss(at, &loss);
            return Ok(Step::Done);
        }
        let chunk_bytes = self.chunk_bytes();
        // A last line without newline is taken as it is only if it still has none now.
        let file = self.sources[at].catalog.file(index);
        let is_tail = file
            .begun
            .as_ref()
            .is_some_and(|begun| !begun.cursor.has_unread(file.meta.bytes));
        if is_tail && self.observe_open(at, now)? {
            return Ok(Step::Done);
        }
        let file = self.sources[at].catalog.file_mut(index);
        let Some(begun) = &mut file.begun else {
            return Ok(Step::Done);
        };
        let line_bytes_max = self.bounds.line_bytes_max;
        let want = begun
            .cursor
            .want(file.meta.bytes, is_closed, chunk_bytes, line_bytes_max);
        self.step_bytes = match want {
            Want::Nothing | Want::Skip { .. } => 0,
            Want::Search { bytes } | Want::Line { bytes, .. } | Want::Lines { bytes } => bytes,
        };
        match want {
            Want::Nothing if was_unchecked => Ok(Step::Done),
            Want::Nothing => Ok(Step::Nothing),
            Want::Search { bytes } => self.search(at, index, bytes, now),
            Want::Skip { end } => self.skip(at, index, end, now),
            Want::Line { bytes, .. } if is_settled(&mut begun.settled, begun.cursor.line()) => {
                let end = begun.cursor.byte() + bytes as u64;
                self.skip(at, index, end, now)
            }
            Want::Line { bytes, newline } if self.is_long(bytes) => {
                self.scan(at, index, bytes, newline, now)
            }
            Want::Line { bytes, newline } => self.read_line(at, index, bytes, newline, now),
            Want::Lines { bytes } => self.read_lines(at, index, bytes, now),
        }
    }

    /// Looks for the end of a line that is longer than a chunk.
    fn search(&mut self, at: usize, index: usize, bytes: usize, now: Now) -> io::Result<Step> {
        let file = self.sources[at].catalog.file_mut(index);
        let (Some(log), Some(begun)) = (&file.log, &mut file.begun) else {
            return Ok(Step::Done);
        };
        let into = scratch(&mut self.scratch, bytes);
        let read = read_fully(&**log, begun.cursor.searched(), into)?;
        if read == 0 {
            return self.handle_missing(at, now);
        }
        begun
            .cursor
            .handle_searched(read, memchr(b'\n', &into[..read]));
        Ok(Step::Done)
    }

    /// Skips a line up to `end` without reading it into memory: it is settled, or too long.
    fn skip(&mut self, at: usize, index: usize, end: u64, now: Now) -> io::Result<Step> {
        if self.lines_left(at) == 0 {
            return Ok(Step::NoCredit);
        }
        let file = self.sources[at].catalog.file_mut(index);
        let (Some(log), Some(begun)) = (&file.log, &mut file.begun) else {
            return Ok(Step::Done);
        };
        let head = scratch(&mut self.scratch, REJECTED_HEAD_BYTES);
        let read = read_fully(&**log, begun.cursor.byte(), head)?;
        if read == 0 {
            return self.handle_missing(at, now);
        }
        // A line that is skipped because it is settled can be short.
        let line_end = memchr(b'\n', &head[..read]).unwrap_or(read);
        let head = head[..line_end].to_vec();
        self.emit_skipped(at, index, head, end, now);
        Ok(Step::Done)
    }

    /// Reads and emits whole lines.
    fn read_lines(&mut self, at: usize, index: usize, bytes: usize, now: Now) -> io::Result<Step> {
        let lines_max = self.lines_left(at);
        let source = &self.sources[at];
        let cursor = source
            .catalog
            .file(index)
            .begun
            .as_ref()
            .map(|begun| &begun.cursor);
        let bytes = match cursor {
            // A part of it was searched in vain: a whole line needs more bytes.
            Some(cursor) if cursor.searched() > cursor.byte() => bytes,
            _ => bytes.min(
                source
                    .credit
                    .bytes_of(lines_max)
                    .max(self.bounds.chunk_bytes_min),
            ),
        };
        let size = self.buffers.rounded(bytes);
        if lines_max == 0 || !self.has_credit(at, size) {
            return Ok(Step::NoCredit);
        }
        let mut buffer = self.take_buffer(bytes);
        let read = self.fill(at, index, &mut buffer[..bytes]);
        let Ok(read @ 1..) = read else {
            self.give_buffer(buffer);
            read?;
            return self.handle_missing(at, now);
        };
        self.emit_lines(at, index, buffer, read, lines_max, now)?;
        Ok(Step::Done)
    }

    /// Reads and emits one line that is longer than a chunk, or that has no newline.
    fn read_line(
        &mut self,
        at: usize,
        index: usize,
        bytes: usize,
        newline: bool,
        now: Now,
    ) -> io::Result<Step> {
        if self.lines_left(at) == 0 || !self.has_credit(at, self.buffers.rounded(bytes)) {
            return Ok(Step::NoCredit);
        }
        let mut buffer = self.take_buffer(bytes);
        let read = self.fill(at, index, &mut buffer[..bytes]);
        if !matches!(read, Ok(read) if read == bytes) {
            self.give_buffer(buffer);
            read?;
            return self.handle_missing(at, now);
        }
        self.emit_line(at, index, buffer, bytes, newline, now)?;
        Ok(Step::Done)
    }

    /// Reads at the file's cursor; returns how many bytes there were.
    fn fill(&mut self, at: usize, index: usize, into: &mut [u8]) -> io::Result<usize> {
        let file = self.sources[at].catalog.file(index);
        let (Some(log), Some(begun)) = (&file.log, &file.begun) else {
            return Ok(0);
        };
        read_fully(&**log, begun.cursor.byte(), into)
    }

    /// A file has fewer bytes than expected: it must have shrunk.
    pub(super) fn handle_missing(&mut self, at: usize, now: Now) -> io::Result<Step> {
        if self.observe_open(at, now)? {
            return Ok(Step::Done);
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file system gives fewer bytes than the log has",
        ))
    }

    /// How many more lines of the backend may be in flight now.
    pub(super) fn lines_left(&self, at: usize) -> u32 {
        let lines_max = self.settings.in_flight_per_backend;
        self.sources[at].credit.lines_left(lines_max)
    }

    /// Whether the backend's credit allows another chunk of `size` bytes.
    pub(super) fn has_credit(&self, at: usize, size: usize) -> bool {
        let pieces = self.sources.len() * BODY_PIECES_MAX;
        let credit = &self.sources[at].credit;
        let lines = self.bounds.lines_bytes(self.share_bytes());
        // Shares get smaller with each backend that is read for, and the others may still hold more
        // than theirs. Meanwhile each may have one chunk.
        let all_bytes_max = self.share_bytes() * self.shares();
        let fits_all = credit.chunk_bytes == 0 || self.buffers.out_bytes() + size <= all_bytes_max;
        let has_place = self.chunks + pieces < self.links.returns.capacity();
        has_place && fits_all && credit.fits(size, lines)
    }

    /// How much is read at once.
    pub(super) fn chunk_bytes(&self) -> usize {
        self.bounds.chunk_bytes(self.share_bytes())
    }

    /// Whether a line of `bytes` bytes is too long for memory.
    fn is_long(&self, bytes: usize) -> bool {
        let held_bytes_max = self.bounds.line_held_bytes_max(self.share_bytes());
        self.buffers.rounded(bytes) > held_bytes_max
    }

    pub(super) fn share_bytes(&self) -> usize {
        let budget = self.settings.memory_budget_bytes;
        self.bounds.share_bytes(budget, self.shares())
    }

    fn shares(&self) -> usize {
        self.read_for.max(self.sources.len().min(SHARES_MIN))
    }

    /// Counts the backends that are read for. None of them rests.
    fn count_read_for(&mut self) {
        let is_read_for = |source: &&Source<D::File>| source.is_read_for();
        self.read_for = self.sources.awake().filter(is_read_for).count();
    }
}
