//! One log file's books: a watermark, and what was fed above it.
//!
//! ```text
//!  0                 watermark                       registered               ahead
//!  │ settled, forgotten  │ piece │ piece (settled) │ piece │   not fed yet   ▒▒▒ settled by an
//!                                                                                earlier epoch
//! ```
//!
//! A piece is a segment in flight, or settled segments in a row, which are one piece. So there are
//! at most twice as many pieces as segments in flight, however far the file has been read. The
//! watermark is the first line of the first segment in flight: it moves by whole segments, since
//! only their ends are known by byte.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::ledger::identity::{Identity, LastRead};
use crate::ledger::ids::SegmentId;
use crate::ledger::plan::FileResume;
use crate::ledger::runs::LineRuns;

/// Segments of a file that are in the same state.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Line (from 0) after the last one.
    end_line: u64,
    /// Where that line begins.
    end_byte: u64,
    /// The segment in flight that it is; none where all its lines are settled.
    in_flight: Option<SegmentId>,
}

impl Piece {
    fn is_settled(&self) -> bool {
        self.in_flight.is_none()
    }
}

/// A place in a file: a line and where it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line's number, from 0.
    pub line: u64,
    /// The offset of its first byte.
    pub byte: u64,
}

/// The books of one file.
#[derive(Debug)]
pub struct FileLedger {
    name: Arc<str>,
    identity: Identity,
    /// All lines before it are settled; the first piece begins here.
    watermark: Place,
    /// Above the watermark. The first is in flight; of two neighbours at least one is.
    pieces: VecDeque<Piece>,
    /// Lines that no segment has covered yet and that are settled all the same.
    ahead: LineRuns,
    /// Lines that were sent and whose answers never came; settled ones among them do not count any
    /// more.
    sent: BTreeSet<u64>,
    /// Lines before it have been counted as processed.
    lines_read: u64,
    /// The last bytes of all that was read.
    last_read: LastRead,
    /// Since when it has not been in its folder, Unix seconds; 0: it is there.
    away_unix: u64,
    /// Nothing more will be fed from it: it was deleted, or is another file now.
    gone: bool,
}

impl FileLedger {
    /// The books of a file of which nothing is settled.
    #[must_use]
    pub fn new(name: Arc<str>, identity: Identity) -> Self {
        Self::resume(FileResume {
            name,
            identity,
            line: 0,
            byte: 0,
            settled: LineRuns::default(),
            lines_read: 0,
            away_unix: 0,
            sent: LineRuns::default(),
            last_read: LastRead::default(),
        })
    }

    /// The books of a file that was begun before.
    #[must_use]
    pub fn resume(from: FileResume) -> Self {
        Self {
            name: from.name,
            identity: from.identity,
            watermark: Place {
                line: from.line,
                byte: from.byte,
            },
            pieces: VecDeque::new(),
            sent: from.sent.iter().collect(),
            ahead: from.settled,
            lines_read: from.lines_read,
            last_read: from.last_read,
            away_unix: 0,
            gone: false,
        }
    }

    /// The file's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the file is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Takes over the name that the file has now, and since when it has not been in its folder
    /// (Unix seconds; 0: it is there).
    pub(crate) fn handle_moved(&mut self, name: Arc<str>, away_unix: u64) {
        self.name = name;
        self.away_unix = away_unix;
    }

    /// Whether it is not in its folder.
    #[must_use]
    pub(crate) fn is_away(&self) -> bool {
        self.away_unix > 0
    }

    /// Takes over an identity that covers more of the file.
    pub(crate) fn identify(&mut self, identity: Identity) {
        self.identity = identity;
    }

    /// The last bytes of all that was read.
    #[must_use]
    pub(crate) fn last_read(&self) -> LastRead {
        self.last_read
    }

    /// It has been read up to the end of these bytes, or they are not what it was read up to any
    /// more.
    pub(crate) fn handle_read(&mut self, last_read: LastRead) {
        self.last_read = last_read;
    }

    /// Nothing more will be fed from it.
    pub(crate) fn mark_gone(&mut self) {
        self.gone = true;
    }

    /// See [`FileLedger::mark_gone`].
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// All lines before this place are settled.
    #[must_use]
    pub(crate) fn watermark(&self) -> Place {
        self.watermark
    }

    /// Where the next segment begins.
    #[must_use]
    pub(crate) fn registered(&self) -> Place {
        self.pieces.back().map_or(self.watermark, |last| Place {
            line: last.end_line,
            byte: last.end_byte,
        })
    }

    /// Whether every line that was fed is settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Where the file ends, if all of it up to there is settled and nothing is known of lines
    /// behind.
    #[must_use]
    pub(crate) fn settled_end(&self) -> Option<Place> {
        (self.pieces.is_empty() && self.ahead.is_empty() && !self.gone).then_some(self.watermark)
    }

    /// Books a segment of `lines` lines from `first` to `end_byte`; gives how many of them count as
    /// processed.
    ///
    /// # Panics
    /// When the segment does not begin where the last one ended, or `settled_before` is not what
    /// these books say: lines would be lost.
    pub fn register(
        &mut self,
        id: SegmentId,
        first: Place,
        end_byte: u64,
        lines: u32,
        settled_before: &[u32],
    ) -> u64 {
        let name = &self.name;
        assert!(
            !self.gone,
            "nothing is fed from {name} after it was said to be gone"
        );
        assert_eq!(
            first,
            self.registered(),
            "segments of {name} follow one another without a gap"
        );
        assert!(
            lines > 0 && end_byte > first.byte,
            "a segment of {name} has lines, and they have bytes"
        );
        assert!(
            self.ahead
                .indices(first.line, lines)
                .eq(settled_before.iter().copied()),
            "exactly the settled lines of {name} are passed over"
        );
        let end_line = first.line + u64::from(lines);
        self.ahead.forget_before(end_line);
        let settled = settled_before.len() == lines as usize;
        let in_flight = (!settled).then_some(id);
        self.pieces.push_back(Piece {
            end_line,
            end_byte,
            in_flight,
        });
        if settled {
            self.join(self.pieces.len() - 1);
        }
        let counted = end_line.saturating_sub(self.lines_read.max(first.line));
        self.lines_read = self.lines_read.max(end_line);
        counted
    }

    /// Books that all lines of the segment that begins at `first_line` are settled.
    ///
    /// # Panics
    /// When there is no such segment in flight.
    pub(crate) fn settle_segment(&mut self, id: SegmentId, first_line: u64) {
        let at = self
            .pieces
            .partition_point(|piece| piece.end_line <= first_line);
        let piece = self
            .pieces
            .get_mut(at)
            .filter(|piece| piece.in_flight == Some(id));
        piece
            .expect("a segment that becomes settled was in flight")
            .in_flight = None;
        self.join(at);
    }

    /// Joins the settled piece `at` with settled neighbours, and moves the watermark over what is
    /// settled at the front.
    fn join(&mut self, at: usize) {
        if self.pieces.get(at + 1).is_some_and(Piece::is_settled) {
            self.pieces.remove(at);
        }
        if at > 0 && self.pieces[at - 1].is_settled() {
            self.pieces.remove(at - 1);
        }
        if let Some(&Piece {
            end_line,
            end_byte,
            in_flight: None,
        }) = self.pieces.front()
        {
            self.watermark = Place {
                line: end_line,
                byte: end_byte,
            };
            self.pieces.pop_front();
        }
    }

    /// Gives back what its pieces took: most files get no more of them once they are settled, and
    /// there can be a hundred thousand.
    pub(crate) fn release_memory(&mut self) {
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
    }

    /// This line was sent, and its answer will never come.
    pub(crate) fn note_sent(&mut self, line: u64) {
        self.sent.insert(line);
    }

    /// These books when nothing is in flight any more. `settled_in_flight` gives the settled lines
    /// (absolute, ascending) of a segment in flight.
    pub(crate) fn to_resume<I: Iterator<Item = u64>>(
        &self,
        mut settled_in_flight: impl FnMut(SegmentId) -> I,
    ) -> FileResume {
        let mut settled = LineRuns::default();
        let mut first_line = self.watermark.line;
        for piece in &self.pieces {
            match piece.in_flight {
                None => settled.push(first_line, piece.end_line - first_line),
                Some(id) => settled_in_flight(id).for_each(|line| settled.push(line, 1)),
            }
            first_line = piece.end_line;
        }
        for run in self.ahead.as_slice() {
            settled.push(run.first, run.lines);
        }
        let mut sent = LineRuns::default();
        for line in self.sent.range(self.watermark.line..) {
            if !settled.contains(*line) {
                sent.push(*line, 1);
            }
        }
        FileResume {
            name: Arc::clone(&self.name),
            identity: self.identity,
            line: self.watermark.line,
            byte: self.watermark.byte,
            settled,
            lines_read: self.lines_read,
            away_unix: self.away_unix,
            sent,
            last_read: self.last_read,
        }
    }

    /// The segments in flight, with the line that each begins at; ascending.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = (u64, SegmentId)> + '_ {
        let firsts = std::iter::once(self.watermark.line)
            .chain(self.pieces.iter().map(|piece| piece.end_line));
        firsts
            .zip(&self.pieces)
            .filter_map(|(first_line, piece)| Some((first_line, piece.in_flight?)))
    }

    /// Panics where the books don't agree.
    pub fn check_invariants(&self) {
        assert!(
            self.pieces.front().is_none_or(|front| !front.is_settled()),
            "what is settled at the front is below the watermark"
        );
        let mut before = Piece {
            end_line: self.watermark.line,
            end_byte: self.watermark.byte,
            in_flight: Some(SegmentId(0)),
        };
        for &piece in &self.pieces {
            assert!(before.end_line < piece.end_line && before.end_byte < piece.end_byte);
            assert!(
                !(before.is_settled() && piece.is_settled()),
                "settled neighbours are one piece"
            );
            before = piece;
        }
        assert!(
            self.ahead
                .as_slice()
                .first()
                .is_none_or(|run| before.end_line <= run.first)
        );
        assert!(
            before.end_line == 0 || before.end_line <= self.lines_read,
            "what was registered was counted"
        );
    }
}
