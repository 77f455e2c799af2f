//! How many bytes of answers are sure enough to come, for a driver that wants to be woken when all
//! are there and not for each.
//!
//! A backend's answers to writes are all about as long. The shortest of the last bursts is taken
//! for each, less a part of one in all: the last answer has to come before so many bytes are there,
//! and one that is a little shorter than any before it is not waited for in vain.

/// Bursts after which older answers are forgotten: the shortest one counts for these and as many
/// more.
const BURSTS: u32 = 32;

/// The shortest answer of late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AnswerSizes {
    shortest: usize,
    shortest_before: usize,
    bursts: u32,
}

impl Default for AnswerSizes {
    fn default() -> Self {
        Self {
            shortest: usize::MAX,
            shortest_before: usize::MAX,
            bursts: 0,
        }
    }
}

impl AnswerSizes {
    /// An answer of so many bytes has come.
    pub(super) fn handle_answer(&mut self, bytes: usize) {
        self.shortest = self.shortest.min(bytes);
    }

    /// A burst is answered.
    pub(super) fn handle_burst(&mut self) {
        self.bursts += 1;
        if self.bursts >= BURSTS {
            *self = Self {
                shortest_before: self.shortest,
                ..Self::default()
            };
        }
    }

    /// Bytes that come until the last of so many answers does, of which `received` are here. At
    /// least one.
    pub(super) fn bytes_due(self, answers: usize, received: usize) -> usize {
        let one = self.shortest.min(self.shortest_before);
        if one == usize::MAX {
            return 1;
        }
        let all = answers.saturating_mul(one).saturating_sub(one * 3 / 4);
        all.saturating_sub(received).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sizes: &[usize]) -> AnswerSizes {
        let mut answer_sizes = AnswerSizes::default();
        for &bytes in sizes {
            answer_sizes.handle_answer(bytes);
        }
        answer_sizes
    }

    #[test]
    fn the_last_answer_and_no_earlier_one_brings_the_bytes_that_are_due() {
        for answers in 1..=64 {
            let due = of(&[93, 95, 102]).bytes_due(answers, 0);
            assert!(due > (answers - 1) * 93 && due <= answers * 93, "{answers}");
            let due = of(&[93]).bytes_due(answers, 40);
            assert!(due + 40 > (answers - 1) * 93, "{answers}");
        }
        assert_eq!(AnswerSizes::default().bytes_due(12, 0), 1, "none is known");
        assert_eq!(of(&[93]).bytes_due(1, 80), 1);
    }

    #[test]
    fn a_short_answer_counts_for_some_bursts_and_is_forgotten() {
        let mut answer_sizes = of(&[93, 60]);
        let mut bursts = 0;
        while answer_sizes.bytes_due(10, 0) < 10 * 90 - 93 {
            answer_sizes.handle_answer(93);
            answer_sizes.handle_burst();
            bursts += 1;
        }
        assert_eq!(bursts, 2 * BURSTS);
    }
}
