//! Decides which of a backend's states and causes are logged: every change of state, and every
//! cause that lasts, but not each of two causes that alternate.

use std::time::Duration;

use crate::clock::Now;
use crate::limits::CAUSE_LOG_INTERVAL;

/// What was logged last of a backend.
#[derive(Debug, Default)]
pub struct Announcer {
    state: &'static str,
    cause: String,
    /// Another cause of the same state is not logged before this.
    quiet_until: Duration,
}

/// What there is to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// The state is another one.
    State,
    /// The state is the same, and has another cause.
    Cause,
}

impl Announcer {
    /// The backend is in this state, for this reason. Called with each probe, so that a cause held
    /// back is logged once the interval is over.
    #[must_use]
    pub fn poll(&mut self, state: &'static str, cause: &str, now: Now) -> Option<Announcement> {
        if self.state != state {
            self.state = state;
            cause.clone_into(&mut self.cause);
            // The cause of a state that has just begun is often only its first sign: the next one
            // need not wait.
            self.quiet_until = now.monotonic;
            return Some(Announcement::State);
        }
        if self.cause == cause || now.monotonic < self.quiet_until {
            return None;
        }
        cause.clone_into(&mut self.cause);
        self.quiet_until = now.after(CAUSE_LOG_INTERVAL);
        Some(Announcement::Cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now::at_ms(seconds * 1_000)
    }

    #[test]
    fn each_state_is_logged_and_its_second_cause_at_once() {
        let mut announcer = Announcer::default();
        let state = Some(Announcement::State);
        assert_eq!(announcer.poll("down", "closed", at(1)), state);
        assert_eq!(announcer.poll("down", "closed", at(1)), None);
        let cause = announcer.poll("down", "no buffer space", at(1));
        assert_eq!(cause, Some(Announcement::Cause));
        assert_eq!(announcer.poll("up", "", at(2)), state);
        assert_eq!(announcer.poll("down", "no buffer space", at(2)), state);
    }

    #[test]
    fn causes_that_alternate_are_logged_once_an_interval_and_the_last_one_always() {
        let mut announcer = Announcer::default();
        let interval = CAUSE_LOG_INTERVAL.as_secs();
        assert!(announcer.poll("down", "closed", at(0)).is_some());
        assert!(announcer.poll("down", "refused", at(0)).is_some());
        for second in 1..interval {
            let cause = ["closed", "refused"][usize::from(second % 2 == 0)];
            assert_eq!(announcer.poll("down", cause, at(second)), None);
        }
        let last = announcer.poll("down", "timed out", at(interval));
        assert_eq!(last, Some(Announcement::Cause));
        assert_eq!(announcer.poll("down", "timed out", at(3 * interval)), None);
    }
}
