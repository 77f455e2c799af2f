//! One file's books: watermark, segments, what is settled above.

use proptest::prelude::*;

use super::*;

/// The naive model: every line by itself.
#[derive(Default)]
struct Model {
    settled: Vec<bool>,
    /// Lines of each segment, and its number's state.
    segments: Vec<(u64, u64)>,
}

impl Model {
    fn watermark(&self) -> u64 {
        let open = self
            .segments
            .iter()
            .find(|(first, end)| !self.is_settled(*first, *end));
        open.map_or(self.settled.len() as u64, |(first, _)| *first)
    }

    fn is_settled(&self, first: u64, end: u64) -> bool {
        (first..end).all(|line| self.settled[line as usize])
    }

    fn settled_lines(&self, first: u64, end: u64) -> impl Iterator<Item = u64> {
        (first..end).filter(|&line| self.settled[line as usize])
    }

    /// Fails where the ledger says something else, or would write it down.
    fn check(&self, file: &FileLedger) {
        let total = self.settled.len() as u64;
        let watermark = self.watermark();
        assert_eq!(file.watermark(), place(watermark));
        let resume = file.to_resume(|id| {
            let (first, end) = self.segments[id.0 as usize];
            self.settled_lines(first, end)
        });
        let runs = resume.settled.as_slice().iter();
        let lines: Vec<u64> = runs.flat_map(|run| run.first..run.end()).collect();
        let expected: Vec<u64> = self.settled_lines(watermark, total).collect();
        assert_eq!(lines, expected);
        assert_eq!(file.is_settled(), expected.is_empty() && watermark == total);
        assert_eq!(file.registered(), place(total));
    }
}

fn identity() -> Identity {
    Identity::new(1, 2, 3, b"")
}

fn place(line: u64) -> Place {
    Place {
        line,
        byte: line * 7,
    }
}

/// Feeds segments of `sizes` lines in which `before` are settled from the start, then settles the
/// rest segment by segment in `order`.
fn check(sizes: &[u32], before: &[bool], order: &[usize]) {
    let mut model = Model::default();
    let settled_before = |line: u64| before.get(line as usize).copied().unwrap_or(false);
    let total: u64 = sizes.iter().map(|&size| u64::from(size)).sum();
    let mut runs = LineRuns::default();
    (0..total)
        .filter(|&line| settled_before(line))
        .for_each(|line| runs.push(line, 1));
    let resume = FileResume {
        name: "a".into(),
        identity: identity(),
        line: 0,
        byte: 0,
        settled: runs,
        lines_read: 3,
        away_unix: 0,
        sent: LineRuns::default(),
        last_read: LastRead::default(),
    };
    let mut file = FileLedger::resume(resume);
    let mut processed = 0;
    for (index, &size) in sizes.iter().enumerate() {
        let first = model.settled.len() as u64;
        let end = first + u64::from(size);
        model.settled.extend((first..end).map(settled_before));
        model.segments.push((first, end));
        let indices: Vec<u32> = (0..size)
            .filter(|&line| settled_before(first + u64::from(line)))
            .collect();
        processed += file.register(
            SegmentId(index as u64),
            place(first),
            end * 7,
            size,
            &indices,
        );
        file.check_invariants();
    }
    assert_eq!(
        processed,
        total.saturating_sub(3),
        "the first three were counted before"
    );
    for &at in order {
        let (first, end) = model.segments[at % sizes.len()];
        if model.is_settled(first, end) {
            continue;
        }
        model.settled[first as usize..end as usize].fill(true);
        file.settle_segment(SegmentId((at % sizes.len()) as u64), first);
        file.check_invariants();
        model.check(&file);
    }
}

proptest! {
    #[test]
    fn pieces_say_what_single_lines_say(
        sizes in proptest::collection::vec(1..6_u32, 1..12),
        before in proptest::collection::vec(any::<bool>(), 0..30),
        order in proptest::collection::vec(0..12_usize, 0..40),
    ) {
        check(&sizes, &before, &order);
    }
}

#[test]
fn segments_that_run_ahead_of_a_stuck_one_cost_one_piece() {
    let mut file = FileLedger::new("a".into(), identity());
    for index in 0..1000 {
        file.register(SegmentId(index), place(index), (index + 1) * 7, 1, &[]);
        if index > 0 {
            file.settle_segment(SegmentId(index), index);
        }
    }
    assert_eq!(file.pieces.len(), 2);
    assert_eq!(file.watermark(), place(0));
    file.settle_segment(SegmentId(0), 0);
    assert_eq!(file.settled_end(), Some(place(1000)));
}

#[test]
#[should_panic(expected = "without a gap")]
fn a_gap_between_segments_stops_everything() {
    FileLedger::new("a".into(), identity()).register(SegmentId(0), place(1), 14, 1, &[]);
}

#[test]
#[should_panic(expected = "exactly the settled lines")]
fn passing_over_a_line_that_is_not_settled_stops_everything() {
    FileLedger::new("a".into(), identity()).register(SegmentId(0), place(0), 14, 2, &[1]);
}
