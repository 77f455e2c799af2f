//! How many compared keys came to which end.

use std::collections::BTreeMap;

use indicatif::HumanCount;

use crate::reconcile::outcome::{Mend, Outcome, Skipped};

/// How many keys came to which end.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) equal: u64,
    pub(super) mended: u64,
    pub(super) different: u64,
    skipped: BTreeMap<String, u64>,
}

impl Tally {
    /// A key has its outcome.
    pub(super) fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Equal => self.equal += 1,
            Outcome::Mended(Mend::Copied | Mend::Raised | Mend::MadeAnew | Mend::Deleted) => {
                self.mended += 1;
            }
            Outcome::Reported(_) => self.different += 1,
            Outcome::Skipped(why) => self.skip(why, 1),
        }
    }

    pub(super) fn skip(&mut self, why: Skipped, keys: u64) {
        if keys > 0 {
            *self.skipped.entry(why.to_string()).or_default() += keys;
        }
    }

    /// Whether both masters have the same of each key.
    pub(super) fn are_equal(&self) -> bool {
        self.different == 0 && self.skipped.is_empty()
    }

    /// How many keys.
    pub(super) fn keys(&self) -> u64 {
        self.equal + self.mended + self.different + self.skipped.values().sum::<u64>()
    }

    /// A sentence.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{} equal, {} mended, {} different",
            HumanCount(self.equal),
            HumanCount(self.mended),
            HumanCount(self.different)
        );
        for (why, keys) in &self.skipped {
            text.push_str(&format!(", {} not compared: {why}", HumanCount(*keys)));
        }
        text
    }
}
