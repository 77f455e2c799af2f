//! What happened, in order: its hash tells whether two runs were the same; printed, it tells what
//! went wrong.

use std::fmt::{Display, Write as _};
use std::time::Duration;

/// The trace of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    prints: bool,
    hash: u64,
    text: String,
}

impl Trace {
    pub(crate) fn new(prints: bool) -> Self {
        Self {
            prints,
            hash: 0,
            text: String::new(),
        }
    }

    /// Notes what happens at this time.
    pub(crate) fn note(&mut self, now: Duration, what: impl Display) {
        self.text.clear();
        let _ = write!(self.text, "{:>12.6} {what}", now.as_secs_f64());
        self.hash = xxhash_rust::xxh3::xxh3_64_with_seed(self.text.as_bytes(), self.hash);
        if self.prints {
            println!("{}", self.text);
        }
    }

    /// Notes something too frequent to be printed.
    pub(crate) fn count(&mut self, now: Duration, what: u64) {
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.hash = xxhash_rust::xxh3::xxh3_64_with_seed(&what.to_le_bytes(), self.hash ^ nanos);
    }

    pub(crate) fn prints(&self) -> bool {
        self.prints
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}
