//! How many lines were rejected, or keys not compared, for which reason: reasons are words that
//! other modules give, so the table fills as they come.
//!
//! One thread adds (the checkpointer, the reconciler), any may read. Not on a record's way: a line
//! that is rejected is written and synced first.

use std::sync::OnceLock;

use super::counter::Counter;

/// Words that are told apart; what comes beyond counts as [`OTHER`]. There are about twenty.
const REASONS_MAX: usize = 32;

/// The word for those that had no room.
pub const OTHER: &str = "other";

/// Counts by reason.
#[derive(Debug, Default)]
pub struct Reasons {
    words: [OnceLock<&'static str>; REASONS_MAX],
    counts: [Counter; REASONS_MAX],
    other: Counter,
}

impl Reasons {
    /// `times` more for this reason.
    pub fn add(&self, reason: &'static str, times: u64) {
        let place = self
            .words
            .iter()
            .position(|word| *word.get_or_init(|| reason) == reason);
        place
            .map_or(&self.other, |place| &self.counts[place])
            .add(times);
    }

    /// The sum over all reasons.
    #[must_use]
    pub fn total(&self) -> u64 {
        let counts = self.counts.iter().chain([&self.other]);
        counts.map(Counter::load).sum()
    }

    /// Every reason there was, in the order of their coming, with its count.
    #[must_use]
    pub fn load(&self) -> Vec<(&'static str, u64)> {
        let known = self.words.iter().zip(&self.counts);
        let mut all: Vec<_> = known
            .map_while(|(word, count)| Some((*word.get()?, count.load())))
            .collect();
        match self.other.load() {
            0 => {}
            other => all.push((OTHER, other)),
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_count_and_what_has_no_room_counts_together() {
        let reasons = Reasons::default();
        assert_eq!(reasons.load(), []);
        reasons.add("checksum", 1);
        reasons.add("opt", 2);
        reasons.add("checksum", 3);
        assert_eq!(reasons.load(), [("checksum", 4), ("opt", 2)]);
        assert_eq!(reasons.total(), 6);

        let words: Vec<&'static str> = (0..REASONS_MAX + 5)
            .map(|number| &*Box::leak(format!("r{number}").into_boxed_str()))
            .collect();
        for word in words {
            reasons.add(word, 1);
        }
        let told = reasons.load();
        assert_eq!(told.len(), REASONS_MAX + 1);
        assert_eq!(told.last(), Some(&(OTHER, 7)));
        assert_eq!(reasons.total(), 6 + 37);
    }
}
