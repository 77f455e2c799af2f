//! Lines that are too long for memory: which are in flight, and how far one is scanned.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::binlog::long_line::{LongRecord, Scanner, ValueDigest};
use crate::limits::LONG_LINES_MAX;
use crate::replay::messages::{BodyRequest, FileId, SegmentId};
use crate::replay::reader::backoff::Backoff;

/// A line whose value is sent in pieces.
#[derive(Debug)]
pub(super) struct LongLine<L> {
    pub(super) log: Arc<L>,
    pub(super) file: FileId,
    pub(super) name: Arc<str>,
    /// Where the line begins in the log.
    pub(super) at: u64,
    pub(super) record: LongRecord,
    /// The digest of the pieces that the lane has got so far.
    pub(super) given: ValueDigest,
}

/// One backend's lines that are too long for memory.
#[derive(Debug)]
pub(super) struct Bodies<L> {
    /// Those in flight. `None` means that the line is rejected, so it has no value to send.
    pub(super) lines: HashMap<SegmentId, Option<LongLine<L>>>,
    pub(super) asks: VecDeque<BodyRequest>,
    /// How reading them again fails.
    pub(super) reading: Backoff,
    /// Pieces in use.
    pub(super) pieces: usize,
    /// The backend has taken one since the last flush.
    pub(super) is_proven: bool,
}

impl<L> Default for Bodies<L> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            asks: VecDeque::new(),
            reading: Backoff::default(),
            pieces: 0,
            is_proven: false,
        }
    }
}

impl<L> Bodies<L> {
    /// Whether no such line is in flight, and no piece in use.
    pub(super) fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.pieces == 0
    }

    /// How many such lines are in flight.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// How many may be in flight. To scan one costs as much as to send it: until the backend has
    /// taken one there is one, so that a backend in trouble takes little from the others (G6).
    pub(super) fn len_max(&self) -> usize {
        if self.is_proven { LONG_LINES_MAX } else { 1 }
    }

    /// A line has been sent to its worker.
    pub(super) fn add(&mut self, segment: SegmentId, line: Option<LongLine<L>>) {
        self.lines.insert(segment, line);
    }

    /// A segment is settled. Returns whether it was such a line.
    pub(super) fn handle_done(&mut self, segment: SegmentId) -> bool {
        let line = self.lines.remove(&segment);
        self.is_proven |= matches!(line, Some(Some(_)));
        line.is_some()
    }

    /// A lane requests a piece. This replaces an earlier request of the same lane.
    pub(super) fn handle_ask(&mut self, ask: BodyRequest) {
        let lane = |ask: &BodyRequest| (ask.reader.worker, ask.reader.slot);
        self.asks.retain(|other| lane(other) != lane(&ask));
        self.asks.push_back(ask);
    }

    /// The line of a segment, unless it is settled or has no value.
    pub(super) fn line_mut(&mut self, segment: SegmentId) -> Option<&mut LongLine<L>> {
        self.lines.get_mut(&segment)?.as_mut()
    }

    /// Whether the piece is the next one of its line. A line may begin again at any time.
    pub(super) fn await_piece(&mut self, ask: &BodyRequest) -> bool {
        let Some(line) = self.line_mut(ask.segment) else {
            return false;
        };
        if ask.from == 0 {
            line.given = ValueDigest::default();
        }
        ask.from == line.given.bytes()
    }

    /// Forgets everything that is in flight. Pieces are returned when the lanes release them.
    pub(super) fn forget(&mut self) {
        self.lines.clear();
        self.asks.clear();
        self.reading = Backoff::default();
        self.is_proven = false;
    }
}

/// A scan in progress.
#[derive(Debug)]
pub(super) struct Scan {
    /// Where the line begins and ends in the file, newline included.
    pub(super) from: u64,
    pub(super) end: u64,
    /// How far it has been scanned.
    pub(super) at: u64,
    pub(super) scanner: Box<Scanner>,
}

impl Scan {
    pub(super) fn new(from: u64, end: u64) -> Self {
        Self {
            from,
            end,
            at: from,
            scanner: Box::default(),
        }
    }
}
