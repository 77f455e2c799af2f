//! Sets of lines as runs: what is settled above a watermark.
//!
//! Lanes run ahead of one another, so lines above the first unsettled one are settled in long runs
//! with a few gaps. There are no more gaps than lines in flight, hence no more runs than that plus
//! one, however far the lanes have run.

/// Lines in a row. Lines are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRun {
    pub first: u64,
    /// How many, at least one.
    pub lines: u64,
}

impl LineRun {
    /// The line after the last.
    #[must_use]
    pub fn end(self) -> u64 {
        self.first + self.lines
    }
}

/// A set of lines of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineRuns {
    /// Ascending; between two there is at least one line that is in neither.
    runs: Vec<LineRun>,
}

impl LineRuns {
    /// Adds `lines` lines from `first` on, all of them behind those that are in the set. None are
    /// none.
    ///
    /// # Panics
    /// When a line before the set's end is added, or there is no such line number.
    pub fn push(&mut self, first: u64, lines: u64) {
        let pushed = self.try_push(first, lines);
        assert!(pushed, "runs are added in ascending order");
    }

    /// As [`LineRuns::push`], for numbers that come from outside: false where they don't fit, and
    /// nothing is added.
    #[must_use]
    pub(crate) fn try_push(&mut self, first: u64, lines: u64) -> bool {
        if first.checked_add(lines).is_none() || first < self.end() {
            return false;
        }
        match self.runs.last_mut() {
            _ if lines == 0 => {}
            Some(last) if last.end() == first => last.lines += lines,
            _ => self.runs.push(LineRun { first, lines }),
        }
        true
    }

    /// The line after the last of the set; 0 for an empty set.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.end())
    }

    /// The runs, ascending.
    #[must_use]
    pub fn as_slice(&self) -> &[LineRun] {
        &self.runs
    }

    /// The lines, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.runs.iter().flat_map(|run| run.first..run.end())
    }

    /// Whether there is no line in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Lines in the set.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.runs.iter().map(|run| run.lines).sum()
    }

    /// Whether `line` is in the set.
    #[must_use]
    pub fn contains(&self, line: u64) -> bool {
        let after = self.runs.partition_point(|run| run.end() <= line);
        self.runs.get(after).is_some_and(|run| run.first <= line)
    }

    /// Of the `lines` lines from `first` on, those that are in the set, as indices from `first`,
    /// ascending.
    pub(crate) fn indices(&self, first: u64, lines: u32) -> impl Iterator<Item = u32> + '_ {
        let end = first + u64::from(lines);
        let from = self.runs.partition_point(|run| run.end() <= first);
        self.runs[from..]
            .iter()
            .take_while(move |run| run.first < end)
            .flat_map(move |run| run.first.max(first)..run.end().min(end))
            .map(move |line| u32::try_from(line - first).expect("less than `lines`"))
    }

    /// Forgets the lines before `line`.
    pub(crate) fn forget_before(&mut self, line: u64) {
        let whole = self.runs.partition_point(|run| run.end() <= line);
        self.runs.drain(..whole);
        if let Some(run) = self.runs.first_mut().filter(|run| run.first < line) {
            run.lines = run.end() - line;
            run.first = line;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn runs(lines: &BTreeSet<u64>) -> LineRuns {
        let mut runs = LineRuns::default();
        for &line in lines {
            runs.push(line, 1);
        }
        runs
    }

    fn check(lines: BTreeSet<u64>, first: u64, count: u32) {
        let mut set = runs(&lines);
        assert_eq!(set.lines(), lines.len() as u64);
        assert!(
            set.as_slice()
                .windows(2)
                .all(|two| two[0].end() < two[1].first)
        );
        for line in 0..100 {
            assert_eq!(set.contains(line), lines.contains(&line), "line {line}");
        }
        let expected: Vec<u32> = lines
            .range(first..first + u64::from(count))
            .map(|line| u32::try_from(line - first).unwrap())
            .collect();
        assert_eq!(set.indices(first, count).collect::<Vec<_>>(), expected);
        set.forget_before(first);
        assert_eq!(set, runs(&lines.range(first..).copied().collect()));
    }

    proptest! {
        #[test]
        fn runs_are_a_set_of_lines(
            lines in proptest::collection::btree_set(0..90_u64, 0..60),
            first in 0..95_u64,
            count in 0..40_u32,
        ) {
            check(lines, first, count);
        }
    }

    #[test]
    fn numbers_from_outside_that_go_back_or_overflow_are_refused() {
        let mut runs = LineRuns::default();
        assert!(runs.try_push(5, 2));
        assert!(!runs.try_push(6, 1));
        assert!(!runs.try_push(u64::MAX, 1));
        assert!(runs.try_push(7, 1));
        assert_eq!(runs.as_slice(), [LineRun { first: 5, lines: 3 }]);
    }
}
