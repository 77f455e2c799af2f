//! Cumulative numbers of a backend: since its first line, across restarts; each record counts once.

/// How a line was settled, as the ledger counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// The backend applied it, now or when it was sent before.
    Applied,
    /// The backend had a newer version.
    Superseded,
    /// It was to delete what is not there.
    Absent,
    /// It is in rejected.jsonl.
    Rejected,
}

/// A backend's cumulative numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Lines read from logs.
    pub processed: u64,
    /// Lines settled: the four below, and what the original had synced.
    pub settled: u64,
    /// See [`Tally::Applied`].
    pub applied: u64,
    /// See [`Tally::Superseded`].
    pub superseded: u64,
    /// See [`Tally::Absent`].
    pub absent: u64,
    /// See [`Tally::Rejected`].
    pub rejected: u64,
}

impl Totals {
    /// Whether the parts fit into the whole. The original's start has no parts, so they need not
    /// make it up.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        let parts = [self.applied, self.superseded, self.absent, self.rejected];
        let sum = parts
            .iter()
            .try_fold(0_u64, |sum, &part| sum.checked_add(part));
        sum.is_some_and(|sum| sum <= self.settled)
    }

    /// Of the settled: what the original had synced, which told no outcomes.
    #[must_use]
    pub fn taken_over(&self) -> u64 {
        let parts = [self.applied, self.superseded, self.absent, self.rejected];
        parts
            .iter()
            .fold(self.settled, |rest, part| rest.saturating_sub(*part))
    }

    /// Counts a settled line.
    pub fn settle(&mut self, tally: Tally) {
        self.settled = self.settled.saturating_add(1);
        let of_kind = match tally {
            Tally::Applied => &mut self.applied,
            Tally::Superseded => &mut self.superseded,
            Tally::Absent => &mut self.absent,
            Tally::Rejected => &mut self.rejected,
        };
        *of_kind = of_kind.saturating_add(1);
    }

    /// Counts a line that was rejected, was taken back, and is settled anew: it stays one that was
    /// rejected, so that no number ever falls. Where no line is known to have been rejected (the
    /// totals were lost), it counts as a new one.
    pub(crate) fn settle_anew(&mut self, tally: Tally) {
        if self.rejected == 0 {
            self.processed = self.processed.saturating_add(1);
            self.settle(tally);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_taken_back_counts_once() {
        let mut totals = Totals {
            processed: 2,
            ..Totals::default()
        };
        totals.settle(Tally::Rejected);
        totals.settle(Tally::Applied);
        totals.settle_anew(Tally::Rejected);
        totals.settle_anew(Tally::Applied);
        let counted = totals;
        assert_eq!((counted.processed, counted.settled), (2, 2));
        assert_eq!((counted.applied, counted.rejected), (1, 1));
        // Totals that were lost know of none.
        let mut totals = Totals::default();
        totals.settle_anew(Tally::Absent);
        assert_eq!((totals.processed, totals.settled, totals.absent), (1, 1, 1));
        assert!(totals.is_plausible());
    }
}
