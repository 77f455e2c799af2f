//! Time as the core sees it: handed in, never read.
//!
//! Everything below `engine` takes a [`Now`] instead of looking up a clock, so that a simulation
//! can be the clock.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

/// One instant, on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Since an arbitrary start; never goes back. Deadlines and intervals are measured on it.
    pub monotonic: Duration,
    /// Seconds since 1970-01-01T00:00:00Z, as the system has them; can jump. Expiry (`ttl`) and
    /// what people read is measured on it.
    pub unix: u64,
}

impl Now {
    /// These two.
    #[must_use]
    pub const fn new(monotonic: Duration, unix: u64) -> Self {
        Self { monotonic, unix }
    }

    /// The monotonic instant `delay` from now.
    #[must_use]
    pub fn after(self, delay: Duration) -> Duration {
        self.monotonic.saturating_add(delay)
    }

    /// So many milliseconds after the arbitrary start, for unit tests that need no wall clock.
    #[cfg(test)]
    pub(crate) fn at_ms(ms: u64) -> Self {
        Self::new(Duration::from_millis(ms), 0)
    }
}
