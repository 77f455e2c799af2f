//! Which lines in flight are settled.
//!
//! One bit a line, in the segments that have unsettled lines. A settlement is a look at the segment
//! that was hit last, else a binary search over some hundred segments, and one bit: it allocates
//! nothing.

use std::collections::VecDeque;

use bitvec::vec::BitVec;

use crate::ledger::file::Place;
use crate::ledger::ids::{FileId, SegmentId};

/// A segment with unsettled lines.
#[derive(Debug)]
pub struct OpenSegment {
    id: SegmentId,
    file: FileId,
    first: Place,
    bytes: u64,
    written_unix: u64,
    /// One bit a line, set when it is settled.
    settled: BitVec<u64>,
    /// Zeros in `settled`, at least one.
    unsettled: u32,
}

impl OpenSegment {
    /// A segment of `lines` lines from `first` on, of which those of `settled_before` (indices) are
    /// settled.
    ///
    /// # Panics
    /// When `settled_before` names a line twice or one behind the end.
    #[must_use]
    pub fn new(
        id: SegmentId,
        file: FileId,
        first: Place,
        lines: u32,
        bytes: u64,
        written_unix: u64,
        settled_before: &[u32],
    ) -> Self {
        let mut settled = BitVec::repeat(false, lines as usize);
        for &line in settled_before {
            let twice = settled.replace(line as usize, true);
            assert!(!twice, "line {line} of {id:?} was settled once");
        }
        let before = u32::try_from(settled_before.len()).expect("no more than `lines`");
        Self {
            id,
            file,
            first,
            bytes,
            written_unix,
            settled,
            unsettled: lines - before,
        }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// Which file's lines.
    #[must_use]
    pub fn file(&self) -> FileId {
        self.file
    }

    /// Where its first line begins.
    #[must_use]
    pub fn first(&self) -> Place {
        self.first
    }

    /// Lines in it.
    #[must_use]
    pub fn lines(&self) -> u32 {
        u32::try_from(self.settled.len()).expect("it was made of a u32")
    }

    /// Bytes of log in it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Lines in it that are not settled.
    #[must_use]
    pub fn unsettled(&self) -> u32 {
        self.unsettled
    }

    /// Its settled lines as indices, ascending.
    pub fn settled(&self) -> impl Iterator<Item = u32> + '_ {
        self.settled
            .iter_ones()
            .map(|index| u32::try_from(index).expect("less than `lines`"))
    }

    fn settle(&mut self, line: u32) {
        let index = line as usize;
        assert!(
            index < self.settled.len(),
            "line {line} is within {:?}",
            self.id
        );
        let twice = self.settled.replace(index, true);
        assert!(
            !twice,
            "line {line} of {:?} is settled once: an acknowledgement must not be counted for \
             another line",
            self.id
        );
        self.unsettled -= 1;
    }

    fn check_invariants(&self) {
        assert_eq!(self.settled.count_zeros(), self.unsettled as usize);
        assert!(self.unsettled > 0, "a settled segment is not kept");
    }
}

/// All segments of a backend that have unsettled lines.
#[derive(Debug, Default)]
pub struct OpenSegments {
    /// Ascending by number.
    segments: VecDeque<OpenSegment>,
    /// Where the last settlement was, as a first guess for the next.
    last_hit: usize,
    /// Unsettled lines in all of them.
    unsettled: u64,
}

impl OpenSegments {
    /// Takes in a segment with unsettled lines.
    ///
    /// # Panics
    /// When its number is not above those that are here.
    pub fn push(&mut self, segment: OpenSegment) {
        assert!(
            self.segments.back().is_none_or(|last| last.id < segment.id),
            "segments come in ascending order"
        );
        self.unsettled += u64::from(segment.unsettled);
        self.segments.push_back(segment);
    }

    /// Settles a line; gives the segment back when this was its last.
    ///
    /// # Panics
    /// When there is no such unsettled line: whoever says so has lost count, and nothing it says
    /// can be trusted.
    pub fn settle(&mut self, id: SegmentId, line: u32) -> Option<OpenSegment> {
        let at = self
            .position(id)
            .unwrap_or_else(|| panic!("{id:?} is in flight, its line {line} unsettled"));
        let segment = &mut self.segments[at];
        segment.settle(line);
        self.unsettled -= 1;
        if segment.unsettled > 0 {
            return None;
        }
        self.segments.remove(at)
    }

    /// The segment of this number.
    #[must_use]
    pub fn find(&self, id: SegmentId) -> Option<&OpenSegment> {
        let at = self
            .segments
            .binary_search_by_key(&id, |segment| segment.id)
            .ok()?;
        self.segments.get(at)
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &OpenSegment> {
        self.segments.iter()
    }

    /// Unsettled lines in all of them.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.unsettled
    }

    /// Bytes of log in all of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// When the oldest line in flight was written, Unix seconds.
    #[must_use]
    pub(crate) fn oldest_written_unix(&self) -> Option<u64> {
        self.segments
            .iter()
            .map(|segment| segment.written_unix)
            .min()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.segments.clear();
        self.last_hit = 0;
        self.unsettled = 0;
    }

    fn position(&mut self, id: SegmentId) -> Option<usize> {
        if self
            .segments
            .get(self.last_hit)
            .is_none_or(|segment| segment.id != id)
        {
            self.last_hit = self
                .segments
                .binary_search_by_key(&id, |segment| segment.id)
                .ok()?;
        }
        Some(self.last_hit)
    }

    /// Panics where the books don't agree.
    pub fn check_invariants(&self) {
        self.segments.iter().for_each(OpenSegment::check_invariants);
        assert!(
            self.segments
                .iter()
                .is_sorted_by(|one, next| one.id < next.id)
        );
        assert_eq!(
            self.unsettled,
            self.segments
                .iter()
                .map(|segment| u64::from(segment.unsettled))
                .sum::<u64>()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(lines: u32, count: u64) -> OpenSegments {
        let mut segments = OpenSegments::default();
        for id in 0..count {
            segments.push(OpenSegment::new(
                SegmentId(id * 3),
                FileId(1),
                Place {
                    line: id * u64::from(lines),
                    byte: id * 10,
                },
                lines,
                10,
                id,
                &[],
            ));
        }
        segments
    }

    #[test]
    fn a_segment_comes_back_with_its_last_line_and_not_before() {
        let mut segments = segments(2, 3);
        assert!(segments.settle(SegmentId(3), 1).is_none());
        let done = segments
            .settle(SegmentId(3), 0)
            .expect("both lines are settled");
        assert_eq!(
            (done.id(), done.lines(), done.unsettled()),
            (SegmentId(3), 2, 0)
        );
        assert!(
            segments.settle(SegmentId(6), 0).is_none(),
            "the guess is off by one now"
        );
        assert_eq!(segments.unsettled(), 3);
        segments.check_invariants();
    }

    #[test]
    #[should_panic(expected = "is settled once")]
    fn settling_a_line_twice_stops_everything() {
        let mut segments = segments(2, 1);
        segments.settle(SegmentId(0), 1);
        segments.settle(SegmentId(0), 1);
    }

    #[test]
    #[should_panic(expected = "is in flight")]
    fn settling_a_line_of_an_unknown_segment_stops_everything() {
        segments(2, 1).settle(SegmentId(1), 0);
    }

    #[test]
    fn the_oldest_line_in_flight_is_known() {
        let mut segments = segments(1, 3);
        assert_eq!(segments.oldest_written_unix(), Some(0));
        segments.settle(SegmentId(0), 0);
        assert_eq!(segments.oldest_written_unix(), Some(1));
    }
}
