//! The one place that reads clocks.

use std::time::{Instant, SystemTime};

use crate::clock::Now;

/// The system's clocks; every thread has a copy, all count from one start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock {
    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Now {
        Now::new(
            self.start.elapsed(),
            SystemTime::UNIX_EPOCH
                .elapsed()
                .map_or(0, |since| since.as_secs()),
        )
    }
}
