//! Delays between attempts after a failure of the disk: longer each time, and logged rarely.

use std::time::Duration;

use crate::clock::Now;
use crate::limits::DESCRIPTOR_FAILS;
use crate::pace::retry_delay;
use crate::replay::logged::LoggedRarely;

/// Time between two warnings about the same failure.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// How often something has failed in a row, and when the next attempt is due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    /// When the first of them was.
    since: Duration,
    until: Duration,
    warned: LoggedRarely,
}

impl Backoff {
    /// The attempt has failed. Returns whether that is to be logged.
    pub(super) fn handle_failure(&mut self, now: Now) -> bool {
        if self.failures == 0 {
            self.since = now.monotonic;
        }
        self.failures = self.failures.saturating_add(1);
        self.until = now.after(retry_delay(self.failures));
        self.warned.comes(WARN_INTERVAL, now)
    }

    /// The attempt has succeeded. Returns whether the one before had failed.
    pub(super) fn handle_success(&mut self) -> bool {
        let had_failed = self.failures > 0;
        *self = Self::default();
        had_failed
    }

    /// Whether it has failed for so long that it is not the disk alone.
    #[must_use]
    pub(super) fn has_lasted(&self, now: Now) -> bool {
        self.failures > 0 && now.monotonic.saturating_sub(self.since) >= DESCRIPTOR_FAILS
    }

    /// Until when to wait; `None` if there is no need to.
    #[must_use]
    pub(super) fn waits_until(&self, now: Now) -> Option<Duration> {
        (self.until > now.monotonic).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{RETRY_FIRST_MS, RETRY_LAST_MS};

    #[test]
    fn the_delay_doubles_up_to_its_last_and_one_warning_a_minute_is_given() {
        let mut backoff = Backoff::default();
        assert!(backoff.handle_failure(Now::at_ms(0)));
        assert_eq!(
            backoff.waits_until(Now::at_ms(0)),
            Some(Duration::from_millis(RETRY_FIRST_MS))
        );
        assert_eq!(backoff.waits_until(Now::at_ms(RETRY_FIRST_MS)), None);
        assert!(!backoff.handle_failure(Now::at_ms(0)));
        assert_eq!(
            backoff.waits_until(Now::at_ms(0)),
            Some(Duration::from_millis(2 * RETRY_FIRST_MS))
        );
        for _ in 0..40 {
            assert!(!backoff.handle_failure(Now::at_ms(0)));
        }
        assert_eq!(
            backoff.waits_until(Now::at_ms(0)),
            Some(Duration::from_millis(RETRY_LAST_MS))
        );
        assert!(backoff.handle_failure(Now::at_ms(60_000)));
        assert!(backoff.handle_success());
        assert!(!backoff.handle_success());
    }
}
